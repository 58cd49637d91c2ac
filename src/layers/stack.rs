//! A stack of recurrent layers in one or two directions.

use std::sync::Arc;

use crate::cells::CellKind;
use crate::engine::{
    self, Backward, Buffer, EngineFloat, Forward, Layout, PackedGradients, PackedWeights, Pool,
    Sequence, SequenceMut, Tape, zeroed_vec,
};
use crate::error::{Result, checked_size};
use crate::float::Float;
use crate::init::Initializer;
use crate::interrupt::Interrupt;
use crate::lengths::{Direction, Steps};
use crate::parameters::{AlignedBuffer, Parameters, Reading};
use crate::random::{Purpose, Ticket};
use crate::simd::InstructionSet;

use super::recurrent::Recurrent;
use super::regularization::{Rates, StackMasks};

/// How the outputs of two directions become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MergeMode {
    /// Side by side: twice the features.
    Concat,
    /// Added.
    Sum,
    /// Half of the sum.
    Average,
    /// Multiplied.
    Mul,
}

/// Which ways the layers of a stack walk over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Directions {
    /// From the first step to the last.
    Forward,
    /// From the last step to the first.
    Backward,
    /// Both, merged in every layer.
    Both,
}

/// How parameters are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// `weight_ih_l0`, `weight_ih_l0_reverse`, ...
    Layers,
    /// `weight_ih`, ...: a single cell.
    Cell,
}

/// What a stack is made of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StackConfig {
    /// Which cell.
    pub cell: CellKind,
    /// Features of the input.
    pub input_size: usize,
    /// Units of each direction of each layer.
    pub hidden_size: usize,
    /// Layers.
    pub num_layers: usize,
    /// Whether there are biases.
    pub bias: bool,
    /// Which ways every layer walks.
    pub directions: Directions,
    /// How two directions become one.
    pub merge_mode: MergeMode,
    /// Whether the output has every step, or only the final hidden state.
    pub return_sequences: bool,
    /// How parameters are called.
    pub naming: Naming,
}

impl StackConfig {
    /// The directions of every layer.
    #[must_use]
    pub fn directions(&self) -> &'static [Direction] {
        match self.directions {
            Directions::Forward => &[Direction::Forward],
            Directions::Backward => &[Direction::Backward],
            Directions::Both => &[Direction::Forward, Direction::Backward],
        }
    }

    /// Whether every layer has two directions.
    #[must_use]
    pub fn is_bidirectional(&self) -> bool {
        self.directions == Directions::Both
    }

    /// Features of every layer's output.
    #[must_use]
    pub fn output_size(&self) -> usize {
        if self.is_bidirectional() && self.merge_mode == MergeMode::Concat {
            self.hidden_size.saturating_mul(2)
        } else {
            self.hidden_size
        }
    }

    /// What the names of a direction's parameters end with.
    #[must_use]
    pub fn suffix(&self, layer: usize, direction: Direction) -> String {
        match (self.naming, direction, self.is_bidirectional()) {
            (Naming::Cell, ..) => String::new(),
            (Naming::Layers, Direction::Backward, true) => format!("_l{layer}_reverse"),
            (Naming::Layers, ..) => format!("_l{layer}"),
        }
    }

    /// Features of one layer's input.
    #[must_use]
    pub fn layer_inputs(&self, layer: usize) -> usize {
        if layer == 0 {
            self.input_size
        } else {
            self.output_size()
        }
    }

    /// Rows of a state array: layers times directions.
    #[must_use]
    pub fn state_rows(&self) -> usize {
        self.num_layers * self.directions().len()
    }

    /// Roughly how many multiplications and additions one step of one row takes.
    #[must_use]
    pub fn cost(&self) -> usize {
        (0..self.num_layers)
            .map(|layer| {
                let width = self.layer_inputs(layer).saturating_add(self.hidden_size);
                (2 * self.directions().len() * self.cell.gates())
                    .saturating_mul(self.hidden_size)
                    .saturating_mul(width)
            })
            .fold(0, usize::saturating_add)
    }
}

/// What a forward pass gives.
#[derive(Debug)]
pub struct Outcome<F: Float> {
    /// (steps, rows, features) in the layout asked for, or (rows, features) without sequences.
    pub output: Buffer<F>,
    /// Each final state, (layers * directions, rows, hidden).
    pub states: Vec<Vec<F>>,
}

/// What a backward pass gives.
#[derive(Debug)]
pub struct Gradients<F: Float> {
    /// The gradient with respect to the input, in the layout asked for.
    pub input: Option<Buffer<F>>,
    /// The gradients with respect to the initial states, (layers * directions, rows, hidden).
    pub states: Vec<Vec<F>>,
    /// The gradients of the parameters, to be added by [`crate::parameters::Gradients::add`].
    pub parameters: AlignedBuffer<F>,
}

/// What the backward pass of a stack needs; never changed after the forward pass.
#[derive(Debug)]
pub struct StackTape<F: Float> {
    /// The weights that the forward pass used.
    version: u64,
    steps: Steps,
    layers: Vec<LayerTape<F>>,
    masks: Option<StackMasks<F>>,
}

#[derive(Debug)]
struct LayerTape<F: Float> {
    /// (steps, rows, inputs), time-major, zero at invalid steps.
    input: Buffer<F>,
    directions: Vec<Tape<F>>,
    /// What merging multiplied, where it multiplies: both directions' outputs, time-major, or
    /// their final hidden states where only these are wanted.
    factors: Option<[Buffer<F>; 2]>,
}

impl<F: Float> StackTape<F> {
    /// The version of the weights that the forward pass used.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The steps of the forward pass.
    #[must_use]
    pub fn steps(&self) -> &Steps {
        &self.steps
    }

    /// The masks of the forward pass, if there were any.
    #[must_use]
    pub fn masks(&self) -> Option<&StackMasks<F>> {
        self.masks.as_ref()
    }
}

/// A stack of recurrent layers.
#[derive(Debug)]
pub struct Stack<F: Float> {
    config: StackConfig,
    rates: Rates,
    /// By layer, then direction.
    directions: Vec<Recurrent<F>>,
    pool: Pool<F>,
}

impl<F: EngineFloat> Stack<F> {
    /// A stack and its parameters, uniform in +-1/sqrt(hidden size).
    ///
    /// # Errors
    /// Out of memory.
    pub fn new(config: StackConfig, ticket: Ticket) -> Result<(Self, Parameters<F>)> {
        Self::on(InstructionSet::current(), config, ticket)
    }

    /// As [`Stack::new`], computing on a given instruction set.
    ///
    /// # Errors
    /// Out of memory.
    pub fn on(
        set: InstructionSet,
        config: StackConfig,
        ticket: Ticket,
    ) -> Result<(Self, Parameters<F>)> {
        let (stack, parameters) = Self::zeroed(set, config)?;
        stack.initialize(&parameters, Initializer::Torch, ticket, &Interrupt::never())?;
        Ok((stack, parameters))
    }

    /// A stack and its parameters, all of them zero.
    ///
    /// # Errors
    /// Out of memory.
    pub fn zeroed(set: InstructionSet, config: StackConfig) -> Result<(Self, Parameters<F>)> {
        let mut shapes = Vec::new();
        let mut directions = Vec::new();
        for layer in 0..config.num_layers {
            for &direction in config.directions() {
                let suffix = config.suffix(layer, direction);
                let (inputs, hidden) = (config.layer_inputs(layer), config.hidden_size);
                directions.push(Recurrent::new(
                    set,
                    config.cell,
                    inputs,
                    hidden,
                    shapes.len(),
                    config.bias,
                ));
                shapes.extend(Recurrent::<F>::parameter_shapes(
                    config.cell,
                    inputs,
                    hidden,
                    config.bias,
                    &suffix,
                ));
            }
        }
        let parameters = Parameters::new(shapes)?;
        let stack = Self {
            config,
            rates: Rates::none(config.num_layers),
            directions,
            pool: Pool::default(),
        };
        Ok((stack, parameters))
    }

    /// The stack with regularisation.
    ///
    /// # Panics
    /// When there isn't a rate for each layer.
    #[must_use]
    pub fn with_rates(self, rates: Rates) -> Self {
        assert_eq!(rates.zoneout.len(), self.config.num_layers);
        Self { rates, ..self }
    }

    /// What is dropped or kept in training.
    #[must_use]
    pub fn rates(&self) -> &Rates {
        &self.rates
    }

    /// The masks of a training call over so many steps and rows.
    ///
    /// # Errors
    /// Out of memory.
    pub fn draw_masks(&self, ticket: Ticket, steps: &Steps) -> Result<StackMasks<F>> {
        let padded = self.directions[0].geometry().padded_hidden();
        let sizes = (steps.steps(), steps.rows());
        StackMasks::draw(&self.config, &self.rates, ticket, sizes, padded, &self.pool)
    }

    /// Gives all parameters their initial values, one after the other from one generator.
    ///
    /// # Errors
    /// Out of memory or interrupted; some parameters have their values then.
    pub fn initialize(
        &self,
        parameters: &Parameters<F>,
        initializer: Initializer,
        ticket: Ticket,
        interrupt: &Interrupt<'_>,
    ) -> Result<()> {
        let mut writing = parameters.write();
        let mut generator = ticket.generator(Purpose::Initialization, 0);
        let per_direction = parameters.entries().len() / self.directions.len().max(1);
        for (index, entry) in parameters.entries().iter().enumerate() {
            initializer.fill(
                writing.slice_mut(index),
                &entry.shape,
                self.directions[index / per_direction].role(index),
                self.config.hidden_size,
                &mut generator,
                interrupt,
            )?;
        }
        Ok(())
    }

    /// Sets an LSTM's biases of all forget gates: input biases to `value`, recurrent ones to zero.
    pub fn set_forget_bias(&self, parameters: &Parameters<F>, value: f64) {
        let mut writing = parameters.write();
        for direction in &self.directions {
            direction.set_forget_bias(&mut writing, value);
        }
    }

    /// What the stack is made of.
    #[must_use]
    pub fn config(&self) -> &StackConfig {
        &self.config
    }

    /// The packed weights, by layer, then direction.
    ///
    /// # Errors
    /// [`crate::error::Error::OutOfMemory`] when the allocator refuses.
    pub fn packed(&self, weights: &Reading<'_, F>) -> Result<Vec<Arc<PackedWeights<F>>>> {
        (0..self.config.num_layers)
            .map(|layer| self.packed_layer(layer, weights, None))
            .collect::<Result<Vec<_>>>()
            .map(|layers| layers.concat())
    }

    /// The forward pass without a tape.
    ///
    /// `initial` has one slice a state, each (layers * directions, rows, hidden), or is empty for
    /// zeros. `layout` is that of the output. Without masks it is that of evaluation.
    ///
    /// # Errors
    /// Out of memory or interrupted.
    pub fn forward(
        &self,
        weights: &Reading<'_, F>,
        input: Sequence<'_, F>,
        initial: &[&[F]],
        steps: &Steps,
        masks: Option<&StackMasks<F>>,
        layout: Layout,
        interrupt: &Interrupt<'_>,
    ) -> Result<Outcome<F>> {
        let mut states = StateBuffers::new(&self.config, steps.rows(), self.lanes(), initial)?;
        let mut lower: Option<Buffer<F>> = None;
        for layer in 0..self.config.num_layers {
            let sizes = (steps.steps(), steps.rows(), self.config.layer_inputs(layer));
            let mut of_input = masks.into_iter().flat_map(|masks| masks.of_input(layer));
            match &mut lower {
                Some(values) => {
                    for mask in of_input {
                        let (whole, layout) = (&mut values[..], Layout::TimeMajor);
                        mask.multiply(&mut SequenceMut::contiguous(whole, layout, sizes));
                    }
                }
                None => {
                    if let Some(mask) = of_input.next() {
                        lower = Some(mask.product(&input, &self.pool)?);
                    }
                }
            }
            let x = match &lower {
                Some(values) => Sequence::contiguous(values, Layout::TimeMajor, sizes),
                None => input,
            };
            let pass = LayerPass {
                weights,
                steps,
                masks,
                layout: self.layer_layout(layer, layout),
                interrupt,
            };
            let (output, _) = self.forward_layer(layer, x, &mut states, &pass, None)?;
            lower = output;
        }
        self.outcome(lower, states, steps, masks, layout)
    }

    /// The forward pass, and what its backward pass will need.
    ///
    /// # Errors
    /// Out of memory or interrupted.
    pub fn forward_with_tape(
        &self,
        weights: &Reading<'_, F>,
        input: Sequence<'_, F>,
        initial: &[&[F]],
        steps: Steps,
        masks: Option<StackMasks<F>>,
        layout: Layout,
        interrupt: &Interrupt<'_>,
    ) -> Result<(Outcome<F>, StackTape<F>)> {
        let mut states = StateBuffers::new(&self.config, steps.rows(), self.lanes(), initial)?;
        let mut layers = Vec::with_capacity(self.config.num_layers);
        // Padding may hold anything, and zero times NaN would spoil the weights' gradients.
        let (count, rows, width) = input.sizes();
        let mut x = self.pool.take(checked_size(&[count, rows, width])?)?;
        input.copy_where(&mut x, |step, row| {
            steps.valid(step).is_none_or(|valid| valid[row])
        });
        let mut top = None;
        for layer in 0..self.config.num_layers {
            let mut tapes = (0..self.config.directions().len())
                .map(|index| {
                    let geometry = self.directions_of(layer)[0].geometry();
                    let regularization = self.regularization(masks.as_ref(), layer, index);
                    let drops = regularization.recurrent.is_some();
                    Tape::new(geometry, &steps, drops, &self.pool)
                })
                .collect::<Result<Vec<_>>>()?;
            let sizes = (steps.steps(), steps.rows(), self.config.layer_inputs(layer));
            for mask in masks.iter().flat_map(|masks| masks.of_input(layer)) {
                mask.multiply(&mut SequenceMut::contiguous(
                    &mut x,
                    Layout::TimeMajor,
                    sizes,
                ));
            }
            let pass = LayerPass {
                weights,
                steps: &steps,
                masks: masks.as_ref(),
                layout: self.layer_layout(layer, layout),
                interrupt,
            };
            let sequence = Sequence::contiguous(&x, Layout::TimeMajor, sizes);
            let (output, factors) =
                self.forward_layer(layer, sequence, &mut states, &pass, Some(&mut tapes))?;
            let input = match output {
                Some(output) if layer + 1 < self.config.num_layers => {
                    std::mem::replace(&mut x, output)
                }
                output => {
                    top = output;
                    std::mem::replace(&mut x, self.pool.take(0)?)
                }
            };
            layers.push(LayerTape {
                input,
                directions: tapes,
                factors,
            });
        }
        let outcome = self.outcome(top, states, &steps, masks.as_ref(), layout)?;
        let tape = StackTape {
            version: weights.version(),
            steps,
            layers,
            masks,
        };
        Ok((outcome, tape))
    }

    /// The backward pass.
    ///
    /// `output_gradient` is (steps, rows, features), or (1, rows, features) without sequences.
    /// `state_gradient` has one entry a state: (layers * directions, rows, hidden) or nothing.
    /// The input's gradient is made when `input_layout` says how it should lie.
    ///
    /// # Errors
    /// Out of memory or interrupted; nothing was changed then.
    pub fn backward(
        &self,
        weights: &Reading<'_, F>,
        parameters: &Parameters<F>,
        tape: &StackTape<F>,
        output_gradient: Option<Sequence<'_, F>>,
        state_gradient: &[Option<&[F]>],
        input_layout: Option<Layout>,
        interrupt: &Interrupt<'_>,
    ) -> Result<Gradients<F>> {
        let config = &self.config;
        let (steps, rows) = (tape.steps.steps(), tape.steps.rows());
        let mut states = StateBuffers::zeroed(config, rows, self.lanes())?;
        for (state, gradient) in state_gradient.iter().enumerate() {
            if let Some(gradient) = gradient {
                states.set(state, gradient);
            }
        }
        let masks = tape.masks.as_ref();
        let dropped = match (output_gradient, masks.and_then(StackMasks::of_output)) {
            (Some(dy), Some(mask)) => Some((mask.product(&dy, &self.pool)?, dy.sizes())),
            _ => None,
        };
        let mut from_above = match &dropped {
            Some((dy, sizes)) => Some(Sequence::contiguous(dy, Layout::TimeMajor, *sizes)),
            None => output_gradient,
        };
        if !config.return_sequences
            && let Some(dy) = from_above.take()
        {
            self.add_final_gradient(tape, dy, &mut states);
        }
        let mut buffer = parameters.gradient_scratch()?;
        let mut upper: Option<Buffer<F>> = None;
        let mut input = None;
        for layer in (0..config.num_layers).rev() {
            let sizes = (steps, rows, config.output_size());
            let dy = match &upper {
                Some(values) => Some(Sequence::contiguous(values, Layout::TimeMajor, sizes)),
                None => from_above.take(),
            };
            let inputs = config.layer_inputs(layer);
            let layout = if layer > 0 {
                Some(Layout::TimeMajor)
            } else {
                input_layout
            };
            let mut dx = match layout {
                Some(_) => Some(self.pool.take(checked_size(&[steps, rows, inputs])?)?),
                None => None,
            };
            let layer_tape = &tape.layers[layer];
            let directions = self.directions_of(layer);
            let packed = self.packed_layer(layer, weights, masks)?;
            let mut gradients = directions
                .iter()
                .map(|direction| PackedGradients::zeroed(*direction.geometry(), &self.pool))
                .collect::<Result<Vec<_>>>()?;
            let own = (0..directions.len())
                .map(|index| dy.map(|dy| self.unmerge(dy, layer_tape, index)).transpose())
                .collect::<Result<Vec<_>>>()?;
            let mut calls: Vec<_> = states
                .layer_mut(layer)
                .zip(&mut gradients)
                .enumerate()
                .map(|(index, (state_gradient, weight_gradients))| Backward {
                    weights: &packed[index],
                    tape: &layer_tape.directions[index],
                    input: &layer_tape.input,
                    steps: &tape.steps,
                    direction: config.directions()[index],
                    regularization: self.regularization(masks, layer, index),
                    output_gradient: own[index].as_ref().map(|own| own.sequence(steps, rows)),
                    state_gradient,
                    weight_gradients,
                })
                .collect();
            let input_gradient = dx
                .as_mut()
                .zip(layout)
                .map(|(dx, layout)| SequenceMut::contiguous(dx, layout, (steps, rows, inputs)));
            engine::backward(&mut calls, input_gradient, &self.pool, interrupt)?;
            for (index, (direction, gradients)) in directions.iter().zip(&gradients).enumerate() {
                let mask = masks.and_then(|masks| masks.of_weights(layer, index));
                direction.add_gradients(gradients, mask, parameters, &mut buffer);
            }
            if let Some((dx, layout)) = dx.as_mut().zip(layout) {
                for mask in masks.into_iter().flat_map(|masks| masks.of_input(layer)) {
                    let sizes = (steps, rows, inputs);
                    mask.multiply(&mut SequenceMut::contiguous(dx, layout, sizes));
                }
            }
            if layer > 0 {
                upper = dx;
            } else {
                input = dx;
            }
        }
        Ok(Gradients {
            input,
            states: states.into_arrays()?,
            parameters: buffer,
        })
    }

    /// Numbers in a register of the instruction set in use.
    fn lanes(&self) -> usize {
        self.directions[0].geometry().lanes
    }

    fn directions_of(&self, layer: usize) -> &[Recurrent<F>] {
        let count = self.config.directions().len();
        &self.directions[layer * count..][..count]
    }

    fn packed_layer(
        &self,
        layer: usize,
        weights: &Reading<'_, F>,
        masks: Option<&StackMasks<F>>,
    ) -> Result<Vec<Arc<PackedWeights<F>>>> {
        let directions = self.directions_of(layer).iter().enumerate();
        directions
            .map(|(index, direction)| {
                match masks.and_then(|masks| masks.of_weights(layer, index)) {
                    Some(mask) => direction.packed_masked(weights, mask),
                    None => direction.packed(weights),
                }
            })
            .collect()
    }

    /// What regularises the steps of one direction: the masks of a training call, else what evaluation
    /// does.
    fn regularization<'a>(
        &self,
        masks: Option<&'a StackMasks<F>>,
        layer: usize,
        index: usize,
    ) -> engine::Regularization<'a, F> {
        match masks {
            Some(masks) => masks.of_direction(layer, index),
            None => self.rates.evaluation(layer),
        }
    }

    /// Layers hand on their outputs time-major; the last one writes in the caller's layout.
    fn layer_layout(&self, layer: usize, last: Layout) -> Layout {
        if layer + 1 == self.config.num_layers {
            last
        } else {
            Layout::TimeMajor
        }
    }

    /// Memory for an output, of which the valid steps will be written.
    fn output(&self, steps: &Steps, len: usize) -> Result<Buffer<F>> {
        if steps.all_valid() {
            self.pool.take(len)
        } else {
            self.pool.take_zeroed(len)
        }
    }

    /// All directions of one layer: the merged output, unless only final states are wanted, and
    /// the directions' own outputs where the backward pass will need them.
    #[allow(clippy::type_complexity)] // a pair of two optional arrays, explained above
    fn forward_layer(
        &self,
        layer: usize,
        input: Sequence<'_, F>,
        states: &mut StateBuffers<F>,
        pass: &LayerPass<'_, F>,
        mut tapes: Option<&mut Vec<Tape<F>>>,
    ) -> Result<(Option<Buffer<F>>, Option<[Buffer<F>; 2]>)> {
        let config = &self.config;
        let (steps, rows) = (pass.steps.steps(), pass.steps.rows());
        let hidden = config.hidden_size;
        let training = tapes.is_some();
        let wanted = config.return_sequences || layer + 1 < config.num_layers;
        let packed = self.packed_layer(layer, pass.weights, pass.masks)?;
        let mut run = |outputs: [Option<SequenceMut<'_, F>>; 2]| {
            let mut tapes = tapes.as_deref_mut().map(|tapes| tapes.iter_mut());
            let mut calls: Vec<_> = states
                .layer_mut(layer)
                .zip(outputs)
                .enumerate()
                .map(|(index, (states, output))| Forward {
                    weights: &packed[index],
                    input,
                    steps: pass.steps,
                    direction: config.directions()[index],
                    states,
                    output,
                    regularization: self.regularization(pass.masks, layer, index),
                    tape: tapes.as_mut().and_then(Iterator::next),
                })
                .collect();
            engine::forward(&mut calls, &self.pool, pass.interrupt)
        };
        if !wanted {
            run([None, None])?;
            let multiplied =
                training && config.is_bidirectional() && config.merge_mode == MergeMode::Mul;
            let finals = |index| -> Result<Buffer<F>> {
                let mut finals = self.pool.take(checked_size(&[rows, hidden])?)?;
                for (row, to) in finals.chunks_exact_mut(hidden).enumerate() {
                    to.copy_from_slice(states.hidden_row(layer, index, row));
                }
                Ok(finals)
            };
            let factors = if multiplied {
                Some([finals(0)?, finals(1)?])
            } else {
                None
            };
            return Ok((None, factors));
        }
        let side_by_side = !config.is_bidirectional() || config.merge_mode == MergeMode::Concat;
        if side_by_side {
            let width = config.output_size();
            let mut output = self.output(pass.steps, checked_size(&[steps, rows, width])?)?;
            let sequence = SequenceMut::contiguous(&mut output, pass.layout, (steps, rows, width));
            let (first, second) = sequence.split_columns(hidden);
            run([Some(first), Some(second)])?;
            return Ok((Some(output), None));
        }
        let len = checked_size(&[steps, rows, hidden])?;
        let mut outputs = [self.output(pass.steps, len)?, self.output(pass.steps, len)?];
        // The backward pass reads the factors time-major, whatever the caller's layout.
        let layout = if config.merge_mode == MergeMode::Mul && training {
            Layout::TimeMajor
        } else {
            pass.layout
        };
        let sequences = outputs.each_mut().map(|output| {
            Some(SequenceMut::contiguous(
                output,
                layout,
                (steps, rows, hidden),
            ))
        });
        run(sequences)?;
        if config.merge_mode == MergeMode::Mul && training {
            let mut merged = self.pool.take(len)?;
            let mut target =
                SequenceMut::contiguous(&mut merged, pass.layout, (steps, rows, hidden));
            for step in 0..steps {
                for row in 0..rows {
                    let at = (step * rows + row) * hidden;
                    let to = target.row_mut(step, row);
                    to.copy_from_slice(&outputs[0][at..at + hidden]);
                    merge_into(config.merge_mode, to, &outputs[1][at..at + hidden]);
                }
            }
            return Ok((Some(merged), Some(outputs)));
        }
        let [mut merged, other] = outputs;
        merge_into(config.merge_mode, &mut merged, &other);
        Ok((Some(merged), None))
    }

    /// Turns the last layer's output or final hidden states, and all states, into arrays.
    fn outcome(
        &self,
        output: Option<Buffer<F>>,
        states: StateBuffers<F>,
        steps: &Steps,
        masks: Option<&StackMasks<F>>,
        layout: Layout,
    ) -> Result<Outcome<F>> {
        let config = &self.config;
        let mut output = if let Some(output) = output {
            output
        } else {
            let top = config.num_layers - 1;
            let (rows, hidden, width) = (states.rows, config.hidden_size, config.output_size());
            let mut merged = self.pool.take(checked_size(&[rows, width])?)?;
            for index in 0..config.directions().len() {
                for row in 0..rows {
                    let from = states.hidden_row(top, index, row);
                    let to = &mut merged[row * width..][..width];
                    if index == 0 {
                        to[..hidden].copy_from_slice(from);
                    } else if config.merge_mode == MergeMode::Concat {
                        to[hidden..].copy_from_slice(from);
                    } else {
                        merge_into(config.merge_mode, to, from);
                    }
                }
            }
            merged
        };
        if let Some(mask) = masks.and_then(StackMasks::of_output) {
            let (rows, width) = (steps.rows(), config.output_size());
            let count = if config.return_sequences {
                steps.steps()
            } else {
                1
            };
            let sizes = (count, rows, width);
            mask.multiply(&mut SequenceMut::contiguous(&mut output, layout, sizes));
        }
        Ok(Outcome {
            output,
            states: states.into_arrays()?,
        })
    }

    /// The gradient of one direction's output, given that of the merged output.
    fn unmerge<'a>(
        &self,
        merged: Sequence<'a, F>,
        tape: &LayerTape<F>,
        index: usize,
    ) -> Result<OwnGradient<'a, F>> {
        let hidden = self.config.hidden_size;
        if !self.config.is_bidirectional() {
            return Ok(OwnGradient::Borrowed(merged));
        }
        let (steps, rows, _) = merged.sizes();
        let mut own = match self.config.merge_mode {
            MergeMode::Concat => {
                return Ok(OwnGradient::Borrowed(merged.select(index * hidden, hidden)));
            }
            MergeMode::Sum => return Ok(OwnGradient::Borrowed(merged)),
            MergeMode::Average | MergeMode::Mul => {
                self.pool.take(checked_size(&[steps, rows, hidden])?)?
            }
        };
        let half = F::of(0.5);
        for step in 0..steps {
            for row in 0..rows {
                let at = (step * rows + row) * hidden;
                let from = merged.row(step, row);
                for (unit, to) in own[at..at + hidden].iter_mut().enumerate() {
                    let factor = match &tape.factors {
                        Some(factors) => factors[1 - index][at + unit],
                        None => half,
                    };
                    *to = from[unit] * factor;
                }
            }
        }
        Ok(OwnGradient::Owned(own, hidden))
    }

    /// Without sequences the output is the merge of the top layer's final hidden states: adds its
    /// gradient to theirs. No gradient over time is ever built.
    fn add_final_gradient(
        &self,
        tape: &StackTape<F>,
        dy: Sequence<'_, F>,
        states: &mut StateBuffers<F>,
    ) {
        let config = &self.config;
        let (hidden, top) = (config.hidden_size, config.num_layers - 1);
        let factors = &tape.layers[top].factors;
        for index in 0..config.directions().len() {
            for row in 0..tape.steps.rows() {
                let from = dy.row(0, row);
                let dh = states.hidden_row_mut(top, index, row);
                for unit in 0..hidden {
                    let gradient = match (config.is_bidirectional(), config.merge_mode) {
                        (true, MergeMode::Concat) => from[index * hidden + unit],
                        (true, MergeMode::Average) => from[unit] * F::of(0.5),
                        (true, MergeMode::Mul) => {
                            let other = factors
                                .as_ref()
                                .map_or(F::zero(), |pair| pair[1 - index][row * hidden + unit]);
                            from[unit] * other
                        }
                        (false, _) | (true, MergeMode::Sum) => from[unit],
                    };
                    dh[unit] += gradient;
                }
            }
        }
    }
}

/// What the layers of one forward pass share.
struct LayerPass<'a, F: Float> {
    weights: &'a Reading<'a, F>,
    steps: &'a Steps,
    masks: Option<&'a StackMasks<F>>,
    layout: Layout,
    interrupt: &'a Interrupt<'a>,
}

/// The gradient of one direction's output.
enum OwnGradient<'a, F: Float> {
    /// A part of the merged gradient.
    Borrowed(Sequence<'a, F>),
    /// Made from it; time-major, with its width.
    Owned(Buffer<F>, usize),
}

impl<F: Float> OwnGradient<'_, F> {
    fn sequence(&self, steps: usize, rows: usize) -> Sequence<'_, F> {
        match self {
            Self::Borrowed(sequence) => *sequence,
            Self::Owned(values, width) => {
                Sequence::contiguous(values, Layout::TimeMajor, (steps, rows, *width))
            }
        }
    }
}

/// The states (or their gradients) of all directions while a call runs, as the engine wants them:
/// rows padded to whole registers.
struct StateBuffers<F> {
    /// (layers * directions, states, rows, padded).
    values: Vec<F>,
    directions: usize,
    count: usize,
    rows: usize,
    hidden: usize,
    padded: usize,
    per_layer: usize,
}

impl<F: Float> StateBuffers<F> {
    fn zeroed(config: &StackConfig, rows: usize, lanes: usize) -> Result<Self> {
        let directions = config.state_rows();
        let count = config.cell.states();
        let hidden = config.hidden_size;
        let padded = hidden.next_multiple_of(lanes);
        Ok(Self {
            values: zeroed_vec(checked_size(&[directions, count, rows, padded])?)?,
            directions,
            count,
            rows,
            hidden,
            padded,
            per_layer: config.directions().len(),
        })
    }

    fn new(config: &StackConfig, rows: usize, lanes: usize, initial: &[&[F]]) -> Result<Self> {
        let mut buffers = Self::zeroed(config, rows, lanes)?;
        for (state, values) in initial.iter().enumerate() {
            buffers.set(state, values);
        }
        Ok(buffers)
    }

    fn per_direction(&self) -> usize {
        self.count * self.rows * self.padded
    }

    /// Where one row of one state stands.
    fn place(&self, direction: usize, state: usize, row: usize) -> std::ops::Range<usize> {
        let start = ((direction * self.count + state) * self.rows + row) * self.padded;
        start..start + self.hidden
    }

    /// Copies one state of all directions in, (layers * directions, rows, hidden).
    fn set(&mut self, state: usize, values: &[F]) {
        for (index, from) in values.chunks_exact(self.hidden).enumerate() {
            let place = self.place(index / self.rows, state, index % self.rows);
            self.values[place].copy_from_slice(from);
        }
    }

    /// The final hidden state of one row.
    fn hidden_row(&self, layer: usize, index: usize, row: usize) -> &[F] {
        &self.values[self.place(layer * self.per_layer + index, 0, row)]
    }

    /// The gradient of the final hidden state of one row.
    fn hidden_row_mut(&mut self, layer: usize, index: usize, row: usize) -> &mut [F] {
        let place = self.place(layer * self.per_layer + index, 0, row);
        &mut self.values[place]
    }

    /// All states of each direction of a layer, (states, rows, padded).
    fn layer_mut(&mut self, layer: usize) -> impl Iterator<Item = &mut [F]> {
        let len = self.per_direction();
        let layer = &mut self.values[layer * self.per_layer * len..][..self.per_layer * len];
        layer.chunks_exact_mut(len.max(1))
    }

    /// One array a state, (layers * directions, rows, hidden).
    fn into_arrays(self) -> Result<Vec<Vec<F>>> {
        (0..self.count)
            .map(|state| {
                let len = checked_size(&[self.directions, self.rows, self.hidden])?;
                let mut array = zeroed_vec(len)?;
                for (index, to) in array.chunks_exact_mut(self.hidden).enumerate() {
                    let place = self.place(index / self.rows, state, index % self.rows);
                    to.copy_from_slice(&self.values[place]);
                }
                Ok(array)
            })
            .collect()
    }
}

/// Merges the second direction into the first; concatenation needs no arithmetic.
fn merge_into<F: Float>(mode: MergeMode, first: &mut [F], second: &[F]) {
    for (a, &b) in first.iter_mut().zip(second) {
        *a = match mode {
            MergeMode::Concat => *a,
            MergeMode::Sum => *a + b,
            MergeMode::Average => (*a + b) * F::of(0.5),
            MergeMode::Mul => *a * b,
        };
    }
}
