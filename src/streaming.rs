//! A whole network frozen for one step at a time.
//!
//! A [`Stream`] has its weights packed, and states and scratch memory of its own: a step allocates
//! nothing and waits for nobody. It gives what the layers give for whole sequences in which every
//! step counts.

use std::sync::Arc;

use crate::engine::{
    self, EngineFloat, Forward, Layout, PackedAffine, PackedWeights, Pool, Regularization,
    Sequence, zeroed_vec,
};
use crate::error::{Error, Result, checked_size, shape_text};
use crate::float::Float;
use crate::interrupt::Interrupt;
use crate::layers::embedding::Embedding;
use crate::layers::layer_norm::LayerNorm;
use crate::layers::linear::Linear;
use crate::layers::stack::{Directions, Stack};
use crate::lengths::{Direction, Steps};
use crate::parameters::{AlignedBuffer, Reading, Snapshot};
use crate::simd::InstructionSet;

/// One layer with the weights that it had when it was frozen. Copies share them.
#[derive(Debug, Clone)]
pub struct FrozenLayer<F: Float>(Kind<F>);

#[derive(Debug, Clone)]
enum Kind<F: Float> {
    /// Layers of cells on top of each other.
    Recurrent {
        weights: Vec<Arc<PackedWeights<F>>>,
        /// What evaluation does to the steps of each.
        regularization: Vec<Regularization<'static, F>>,
        /// The same weights as parameters.
        snapshot: Arc<Snapshot<F>>,
    },
    Linear {
        weights: Arc<PackedAffine<F>>,
        snapshot: Arc<Snapshot<F>>,
    },
    LayerNorm {
        layer: LayerNorm,
        weights: Arc<Snapshot<F>>,
    },
    /// Gives vectors for the indices that a stream takes.
    Embedding {
        layer: Embedding,
        weights: Arc<Snapshot<F>>,
    },
    /// Acts in training only.
    Identity,
}

impl<F: EngineFloat> FrozenLayer<F> {
    /// A stack of recurrent layers.
    ///
    /// # Errors
    /// [`Error::Config`] when an output depends on later steps or isn't there at every step; out of
    /// memory.
    pub fn recurrent(stack: &Stack<F>, weights: &Reading<'_, F>) -> Result<Self> {
        let config = stack.config();
        let (option, expected, got) = match config.directions {
            Directions::Backward => (
                "reverse",
                "False: a stream starts at the first step",
                "True",
            ),
            Directions::Both => (
                "bidirectional",
                "False: a stream doesn't know the steps to come",
                "True",
            ),
            Directions::Forward if !config.return_sequences => (
                "return_sequences",
                "True: a stream gives an output at every step",
                "False",
            ),
            Directions::Forward => {
                return Ok(Self(Kind::Recurrent {
                    weights: stack.packed(weights)?,
                    regularization: (0..stack.config().num_layers)
                        .map(|layer| stack.rates().evaluation(layer))
                        .collect(),
                    snapshot: weights.snapshot()?,
                }));
            }
        };
        Err(Error::config(option, expected, got))
    }

    /// An affine layer.
    ///
    /// # Errors
    /// Out of memory.
    pub fn linear(linear: Linear, weights: &Reading<'_, F>) -> Result<Self> {
        Ok(Self(Kind::Linear {
            weights: Arc::new(linear.packed(InstructionSet::current(), weights)?),
            snapshot: weights.snapshot()?,
        }))
    }

    /// A layer that normalises every row.
    ///
    /// # Errors
    /// Out of memory.
    pub fn layer_norm(layer: LayerNorm, weights: &Reading<'_, F>) -> Result<Self> {
        let weights = weights.snapshot()?;
        Ok(Self(Kind::LayerNorm { layer, weights }))
    }

    /// A layer that gives a vector for each index.
    ///
    /// # Errors
    /// Out of memory.
    pub fn embedding(layer: Embedding, weights: &Reading<'_, F>) -> Result<Self> {
        let weights = weights.snapshot()?;
        Ok(Self(Kind::Embedding { layer, weights }))
    }

    /// A layer that acts in training only.
    #[must_use]
    pub fn identity() -> Self {
        Self(Kind::Identity)
    }

    /// The parameters as they were when the layer was frozen, where it has any.
    #[must_use]
    pub fn snapshot(&self) -> Option<&Snapshot<F>> {
        match &self.0 {
            Kind::Recurrent { snapshot, .. } | Kind::Linear { snapshot, .. } => Some(snapshot),
            Kind::LayerNorm { weights, .. } | Kind::Embedding { weights, .. } => Some(weights),
            Kind::Identity => None,
        }
    }

    /// Features of input and output, where the layer has a say in them. The input of a layer that
    /// takes indices has as many as there are indices.
    #[must_use]
    pub fn features(&self) -> Option<(usize, usize)> {
        match &self.0 {
            Kind::Recurrent { weights, .. } => {
                let (first, last) = (weights.first()?, weights.last()?);
                Some((first.geometry().inputs, last.geometry().hidden))
            }
            Kind::Linear { weights, .. } => Some((weights.inputs(), weights.outputs())),
            Kind::LayerNorm { layer, .. } => Some((layer.features, layer.features)),
            Kind::Embedding { layer, .. } => Some((layer.count, layer.width)),
            Kind::Identity => None,
        }
    }

    /// How many states the layer has, and the shape that each of them has with so many rows.
    fn states(&self, rows: usize) -> (usize, [usize; 3]) {
        match &self.0 {
            Kind::Recurrent { weights, .. } => weights.first().map_or((0, [0; 3]), |first| {
                let geometry = first.geometry();
                let shape = [weights.len(), rows, geometry.hidden];
                (geometry.cell.states(), shape)
            }),
            Kind::Linear { .. }
            | Kind::LayerNorm { .. }
            | Kind::Embedding { .. }
            | Kind::Identity => (0, [0; 3]),
        }
    }

    /// Roughly how many multiplications and additions one step of one row takes.
    fn cost(&self) -> usize {
        match &self.0 {
            Kind::Recurrent { weights, .. } => weights
                .iter()
                .map(|weights| {
                    let geometry = weights.geometry();
                    2 * geometry.weights()
                })
                .sum(),
            Kind::Linear { weights, .. } => 2 * weights.inputs() * weights.outputs(),
            Kind::LayerNorm { layer, .. } => 4 * layer.features,
            Kind::Embedding { layer, .. } => layer.width,
            Kind::Identity => 0,
        }
    }

    /// The layer's stages for so many rows, in zero states.
    fn stages(&self, rows: usize) -> Result<Vec<Stage<F>>> {
        match &self.0 {
            Kind::Recurrent {
                weights,
                regularization,
                ..
            } => weights
                .iter()
                .zip(regularization)
                .map(|(weights, regularization)| {
                    let geometry = weights.geometry();
                    let sizes = [geometry.cell.states(), rows, geometry.padded_hidden()];
                    Ok(Stage::Cell {
                        weights: Arc::clone(weights),
                        regularization: *regularization,
                        states: AlignedBuffer::zeroed(checked_size(&sizes)?)?,
                        pool: Pool::default(),
                    })
                })
                .collect(),
            Kind::Linear { weights, .. } => {
                let sizes = [rows, weights.padded_outputs()];
                Ok(vec![Stage::Linear {
                    weights: Arc::clone(weights),
                    output: AlignedBuffer::zeroed(checked_size(&sizes)?)?,
                }])
            }
            Kind::LayerNorm { layer, weights } => Ok(vec![Stage::LayerNorm {
                layer: *layer,
                weights: Arc::clone(weights),
                output: AlignedBuffer::zeroed(checked_size(&[rows, layer.features])?)?,
            }]),
            // Comes before the first stage, where there are no features yet.
            Kind::Embedding { .. } | Kind::Identity => Ok(Vec::new()),
        }
    }
}

/// What is computed from one set of weights, and the memory that it writes.
#[derive(Debug)]
enum Stage<F: Float> {
    /// One layer of cells.
    Cell {
        weights: Arc<PackedWeights<F>>,
        regularization: Regularization<'static, F>,
        /// (states, rows, padded hidden); the hidden state comes first and is the output as well.
        states: AlignedBuffer<F>,
        /// For this stage alone: it asks for the same sizes at every step, so after the first step
        /// they are there.
        pool: Pool<F>,
    },
    Linear {
        weights: Arc<PackedAffine<F>>,
        /// (rows, padded outputs).
        output: AlignedBuffer<F>,
    },
    LayerNorm {
        layer: LayerNorm,
        weights: Arc<Snapshot<F>>,
        /// (rows, features).
        output: AlignedBuffer<F>,
    },
}

impl<F: EngineFloat> Stage<F> {
    /// One step: from (1, rows, inputs) to (1, rows, outputs).
    fn step<'a>(
        &'a mut self,
        input: Sequence<'_, F>,
        steps: &Steps,
        interrupt: &Interrupt<'_>,
    ) -> Result<Sequence<'a, F>> {
        let rows = steps.rows();
        match self {
            Self::Cell {
                weights,
                regularization,
                states,
                pool,
            } => {
                let call = Forward {
                    weights,
                    input,
                    steps,
                    direction: Direction::Forward,
                    states: states.as_mut_slice(),
                    output: None,
                    regularization: *regularization,
                    tape: None,
                };
                engine::forward(&mut [call], pool, interrupt)?;
                let geometry = weights.geometry();
                Ok(unpadded(
                    &states.as_slice()[..rows * geometry.padded_hidden()],
                    (rows, geometry.hidden, geometry.padded_hidden()),
                ))
            }
            Self::Linear { weights, output } => {
                weights.apply(input, output.as_mut_slice());
                let sizes = (rows, weights.outputs(), weights.padded_outputs());
                Ok(unpadded(output.as_slice(), sizes))
            }
            Self::LayerNorm {
                layer,
                weights,
                output,
            } => {
                layer.step(weights, input, output.as_mut_slice());
                let sizes = (rows, layer.features, layer.features);
                Ok(unpadded(output.as_slice(), sizes))
            }
        }
    }

    /// The rows of all states, one state after the other, without their padding.
    fn state_rows(&self) -> impl Iterator<Item = &[F]> {
        let (values, padded, hidden): (&[F], _, _) = match self {
            Self::Cell {
                weights, states, ..
            } => {
                let geometry = weights.geometry();
                (states.as_slice(), geometry.padded_hidden(), geometry.hidden)
            }
            Self::Linear { .. } | Self::LayerNorm { .. } => (&[], 1, 1),
        };
        values.chunks_exact(padded).map(move |row| &row[..hidden])
    }

    /// As [`Stage::state_rows`], to be changed.
    fn state_rows_mut(&mut self) -> impl Iterator<Item = &mut [F]> {
        let (values, padded, hidden): (&mut [F], _, _) = match self {
            Self::Cell {
                weights, states, ..
            } => {
                let geometry = weights.geometry();
                let (padded, hidden) = (geometry.padded_hidden(), geometry.hidden);
                (states.as_mut_slice(), padded, hidden)
            }
            Self::Linear { .. } | Self::LayerNorm { .. } => (&mut [], 1, 1),
        };
        values
            .chunks_exact_mut(padded)
            .map(move |row| &mut row[..hidden])
    }
}

/// Rows of numbers without their padding, as one step.
fn unpadded<F: Float>(
    values: &[F],
    (rows, width, padded): (usize, usize, usize),
) -> Sequence<'_, F> {
    Sequence::columns(values, Layout::TimeMajor, (1, rows, width), padded, 0)
}

/// One layer and its memory.
#[derive(Debug)]
struct Layer<F: Float> {
    frozen: FrozenLayer<F>,
    stages: Vec<Stage<F>>,
}

impl<F: EngineFloat> Layer<F> {
    /// One state's rows, those of the lowest layer of cells first.
    fn state_rows(&self, state: usize, rows: usize) -> impl Iterator<Item = &[F]> {
        let stages = self.stages.iter();
        stages.flat_map(move |stage| stage.state_rows().skip(state * rows).take(rows))
    }

    /// As [`Layer::state_rows`], to be changed.
    fn state_rows_mut(&mut self, state: usize, rows: usize) -> impl Iterator<Item = &mut [F]> {
        let stages = self.stages.iter_mut();
        stages.flat_map(move |stage| stage.state_rows_mut().skip(state * rows).take(rows))
    }
}

/// A network that goes one step at a time, with so many rows side by side.
///
/// Whatever the next step depends on is in the weights, which never change, and in the states.
#[derive(Debug)]
pub struct Stream<F: Float> {
    layers: Vec<Layer<F>>,
    /// One step of every row.
    steps: Steps,
    /// (rows, inputs), where the first layer gives vectors for indices.
    vectors: Option<AlignedBuffer<F>>,
    inputs: usize,
    outputs: usize,
}

impl<F: EngineFloat> Stream<F> {
    /// A stream of layers, each working on the output of the one before, in zero states.
    ///
    /// # Errors
    /// [`Error::Config`] when no layer says how many features there are, two disagree, or another than
    /// the first takes indices; out of memory.
    pub fn new(layers: Vec<FrozenLayer<F>>, rows: usize) -> Result<Self> {
        let mut features: Option<(usize, usize)> = None;
        let mut takes_indices = false;
        for (index, layer) in layers.iter().enumerate() {
            let Some((mut inputs, outputs)) = layer.features() else {
                continue;
            };
            if matches!(layer.0, Kind::Embedding { .. }) {
                if index > 0 {
                    let expected = "to come first, as it takes indices";
                    let got = "layers before it";
                    return Err(Error::config(format!("layer {index}"), expected, got));
                }
                takes_indices = true;
                inputs = outputs;
            }
            if let Some((_, before)) = features
                && inputs != before
            {
                return Err(Error::config(
                    format!("layer {index}"),
                    format!("{before} input features, which is what the layers before it give"),
                    inputs.to_string(),
                ));
            }
            features = Some((features.map_or(inputs, |(first, _)| first), outputs));
        }
        let Some((inputs, outputs)) = features else {
            return Err(Error::config("layers", "at least one with weights", "none"));
        };
        let sizes = checked_size(&[rows, inputs])?;
        let vectors = takes_indices.then(|| AlignedBuffer::zeroed(sizes));
        let layers = layers
            .into_iter()
            .map(|frozen| {
                let stages = frozen.stages(rows)?;
                Ok(Layer { frozen, stages })
            })
            .collect::<Result<_>>()?;
        let mut stream = Self {
            layers,
            steps: Steps::dense(1, rows),
            vectors: vectors.transpose()?,
            inputs,
            outputs,
        };
        // Fills the pools, so that no later step allocates or fails.
        let zeros = zeroed_vec(sizes)?;
        stream.step(Sequence::contiguous(
            &zeros,
            Layout::TimeMajor,
            (1, rows, inputs),
        ))?;
        stream.reset();
        Ok(stream)
    }

    /// A stream with the same weights and states that goes on by itself.
    ///
    /// # Errors
    /// Out of memory.
    pub fn try_clone(&self) -> Result<Self> {
        let layers = self.layers.iter().map(|layer| layer.frozen.clone());
        let mut clone = Self::new(layers.collect(), self.rows())?;
        for (to, from) in clone.stages_mut().zip(self.stages()) {
            for (to, from) in to.state_rows_mut().zip(from.state_rows()) {
                to.copy_from_slice(from);
            }
        }
        Ok(clone)
    }

    /// Rows side by side.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.steps.rows()
    }

    /// Whether a step takes an index a row, see [`Stream::step_indices`].
    #[must_use]
    pub fn takes_indices(&self) -> bool {
        self.vectors.is_some()
    }

    /// Features of the input; of the vectors, where it is indices.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Features of the output.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// The layers as they were frozen.
    #[must_use]
    pub fn layers(&self) -> impl ExactSizeIterator<Item = &FrozenLayer<F>> {
        self.layers.iter().map(|layer| &layer.frozen)
    }

    /// Roughly how many multiplications and additions a step takes.
    #[must_use]
    pub fn cost(&self) -> usize {
        let per_row: usize = self.layers().map(FrozenLayer::cost).sum();
        per_row.saturating_mul(self.rows())
    }

    /// One step of every row, from (1, rows, inputs) to (1, rows, outputs). Allocates nothing.
    ///
    /// # Errors
    /// None in practice: what could fail did so when the stream was made.
    ///
    /// # Panics
    /// When the input has other sizes.
    pub fn step<'a>(&'a mut self, input: Sequence<'a, F>) -> Result<Sequence<'a, F>> {
        assert_eq!(input.sizes(), (1, self.rows(), self.inputs));
        Self::through(&mut self.layers, &self.steps, input)
    }

    /// One step of every row, from one index a row to (1, rows, outputs). Allocates nothing. The
    /// shape of the indices is for the message.
    ///
    /// # Errors
    /// [`Error::Config`] when an index has no vector; nothing has changed then.
    ///
    /// # Panics
    /// When there isn't one index a row, or the stream takes none.
    pub fn step_indices(&mut self, indices: &[i64], shape: &[usize]) -> Result<Sequence<'_, F>> {
        let rows = self.rows();
        assert_eq!(indices.len(), rows);
        let first = self.layers.first().map(|layer| &layer.frozen.0);
        let (Some(vectors), Some(Kind::Embedding { layer, weights })) = (&mut self.vectors, first)
        else {
            panic!("the stream takes no indices");
        };
        layer.step(weights, indices, shape, vectors.as_mut_slice())?;
        let sizes = (1, rows, self.inputs);
        let input = Sequence::contiguous(vectors.as_slice(), Layout::TimeMajor, sizes);
        Self::through(&mut self.layers, &self.steps, input)
    }

    /// One step through all layers.
    fn through<'a>(
        layers: &'a mut [Layer<F>],
        steps: &Steps,
        input: Sequence<'a, F>,
    ) -> Result<Sequence<'a, F>> {
        // Stopped between two layers, the states would belong to different steps.
        let interrupt = Interrupt::never();
        let mut values = input;
        for stage in layers.iter_mut().flat_map(|layer| &mut layer.stages) {
            values = stage.step(values, steps, &interrupt)?;
        }
        Ok(values)
    }

    /// The shape of each state of a layer, (layers of cells, rows, hidden); zeros without states.
    ///
    /// # Panics
    /// When there is no such layer.
    #[must_use]
    pub fn state_shape(&self, layer: usize) -> [usize; 3] {
        self.layers[layer].frozen.states(self.rows()).1
    }

    /// Copies of every layer's states.
    ///
    /// # Errors
    /// Out of memory.
    pub fn states(&self) -> Result<Vec<Vec<Vec<F>>>> {
        let rows = self.rows();
        let copy = |layer: &Layer<F>, state, shape: [usize; 3]| -> Result<Vec<F>> {
            let mut values = zeroed_vec(checked_size(&shape)?)?;
            let to = values.chunks_exact_mut(shape[2]);
            for (from, to) in layer.state_rows(state, rows).zip(to) {
                to.copy_from_slice(from);
            }
            Ok(values)
        };
        self.layers
            .iter()
            .map(|layer| {
                let (count, shape) = layer.frozen.states(rows);
                (0..count).map(|state| copy(layer, state, shape)).collect()
            })
            .collect()
    }

    /// Sets every layer's states, all or nothing. A layer that none are given for has zeros then.
    ///
    /// # Errors
    /// [`Error::Shape`] when there are too few or too many.
    pub fn set_states(&mut self, states: &[Vec<&[F]>]) -> Result<()> {
        let rows = self.rows();
        if states.len() != self.layers.len() {
            let expected = format!("{}, one entry a layer", self.layers.len());
            return Err(Error::shape("states", expected, states.len().to_string()));
        }
        for (index, (layer, given)) in self.layers().zip(states).enumerate() {
            let (count, shape) = layer.states(rows);
            let len = checked_size(&shape)?;
            let fits = given.len() == count && given.iter().all(|values| values.len() == len);
            if !fits && !given.is_empty() {
                let got: Vec<usize> = given.iter().map(|values| values.len()).collect();
                return Err(Error::shape(
                    format!("states[{index}]"),
                    format!("{count} of shape {}", shape_text(&shape)),
                    format!("{} of {got:?} numbers", got.len()),
                ));
            }
        }
        self.reset();
        for (layer, states) in self.layers.iter_mut().zip(states) {
            let (_, [_, _, hidden]) = layer.frozen.states(rows);
            for (state, values) in states.iter().enumerate() {
                let from = values.chunks_exact(hidden);
                for (to, from) in layer.state_rows_mut(state, rows).zip(from) {
                    to.copy_from_slice(from);
                }
            }
        }
        Ok(())
    }

    /// Sets all states to zero.
    pub fn reset(&mut self) {
        for row in self.stages_mut().flat_map(Stage::state_rows_mut) {
            row.fill(F::zero());
        }
    }

    /// Sets the states of the flagged rows to zero.
    ///
    /// # Errors
    /// [`Error::Shape`] when there isn't one flag a row.
    pub fn reset_rows(&mut self, flags: &[bool]) -> Result<()> {
        if flags.len() != self.rows() {
            let (expected, got) = (shape_text(&[self.rows()]), shape_text(&[flags.len()]));
            return Err(Error::shape("rows", expected, got));
        }
        for stage in self.stages_mut() {
            for (row, reset) in stage.state_rows_mut().zip(flags.iter().cycle()) {
                if *reset {
                    row.fill(F::zero());
                }
            }
        }
        Ok(())
    }

    fn stages(&self) -> impl Iterator<Item = &Stage<F>> {
        self.layers.iter().flat_map(|layer| &layer.stages)
    }

    fn stages_mut(&mut self) -> impl Iterator<Item = &mut Stage<F>> {
        self.layers.iter_mut().flat_map(|layer| &mut layer.stages)
    }
}
