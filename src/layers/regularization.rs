//! The rates of a stack's regularisation, and the masks that one training call draws.

use super::stack::StackConfig;
use crate::engine::{self, MAX_STATES, Pool, Zoneout};
use crate::error::Result;
use crate::float::Float;
use crate::random::{Purpose, Ticket};
use crate::regularization::masks::{DrawnMask, MaskKind};
use crate::simd::SimdFloat;

/// How often what is dropped or kept; every rate has an entry for each layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Rates {
    /// Of the output of a layer on its way to the next one; that of the last layer means nothing.
    pub dropout: Vec<f64>,
    /// Of a layer's input.
    pub input: Vec<f64>,
    /// Of the hidden state on its way to the recurrent weights.
    pub recurrent: Vec<f64>,
    /// Of the stack's output; only that of the last layer means something.
    pub output: Vec<f64>,
    /// Of the candidate (Semeniuta et al. 2016).
    pub update: Vec<f64>,
    /// Of the recurrent weights, once a call (Wan et al. 2013, Merity et al. 2018).
    pub weight: Vec<f64>,
    /// Of units that keep their old state (Krueger et al. 2016): cell state, hidden state.
    pub zoneout: Vec<[f64; MAX_STATES]>,
    /// Whether masks of inputs and of hidden states are constant over time (Gal and Ghahramani 2016).
    pub variational: bool,
    /// Whether evaluation uses zoneout's expected state, rather than the new one.
    pub expectation: bool,
}

impl Rates {
    /// Nothing is dropped or kept.
    #[must_use]
    pub fn none(layers: usize) -> Self {
        let zero = vec![0.0; layers];
        Self {
            dropout: zero.clone(),
            input: zero.clone(),
            recurrent: zero.clone(),
            output: zero.clone(),
            update: zero.clone(),
            weight: zero,
            zoneout: vec![[0.0; MAX_STATES]; layers],
            variational: true,
            expectation: true,
        }
    }

    /// Whether training draws anything.
    #[must_use]
    pub fn draws(&self) -> bool {
        let between = &self.dropout[..self.dropout.len().saturating_sub(1)];
        let rates = [&self.input, &self.recurrent, &self.update, &self.weight];
        let rates = rates.into_iter().flatten().chain(between);
        rates
            .chain(self.output.last())
            .chain(self.zoneout.iter().flatten())
            .any(|&rate| rate > 0.0)
    }

    /// The rate of zoneout of one state of a layer; the hidden state comes first.
    fn zoneout_of(&self, layer: usize, state: usize) -> f64 {
        let [cell, hidden] = self.zoneout[layer];
        if state == 0 { hidden } else { cell }
    }

    /// What evaluation does to the steps of a layer.
    #[must_use]
    pub fn evaluation<F: Float>(&self, layer: usize) -> engine::Regularization<'static, F> {
        let mut zoneout = [Zoneout::Off; MAX_STATES];
        for (state, zoneout) in zoneout.iter_mut().enumerate() {
            let rate = self.zoneout_of(layer, state);
            if self.expectation && rate > 0.0 {
                *zoneout = Zoneout::Expected(F::of(rate));
            }
        }
        engine::Regularization {
            zoneout,
            ..engine::Regularization::default()
        }
    }
}

/// The masks of one call.
#[derive(Debug)]
pub struct StackMasks<F: Float> {
    layers: Vec<LayerMasks<F>>,
    output: Option<DrawnMask<F>>,
    /// Whether the output has every step.
    over_time: bool,
}

#[derive(Debug)]
struct LayerMasks<F: Float> {
    input: Option<DrawnMask<F>>,
    directions: Vec<DirectionMasks<F>>,
    /// Of the output on its way to the next layer.
    output: Option<DrawnMask<F>>,
}

#[derive(Debug)]
struct DirectionMasks<F: Float> {
    /// What the names of the direction's parameters end with.
    suffix: String,
    recurrent: Option<DrawnMask<F>>,
    update: Option<DrawnMask<F>>,
    weight: Option<DrawnMask<F>>,
    zoneout: [Option<DrawnMask<F>>; MAX_STATES],
}

/// What a mask is for: a part of its key.
#[derive(Debug, Clone, Copy)]
enum Place {
    Input,
    Recurrent,
    Update,
    Weight,
    ZoneoutHidden,
    ZoneoutCell,
    Between,
    Output,
}

/// How many there are.
const PLACES: usize = 8;

impl<F: SimdFloat> StackMasks<F> {
    /// Draws all masks of a call over so many steps and rows.
    ///
    /// # Errors
    /// Out of memory.
    pub fn draw(
        config: &StackConfig,
        rates: &Rates,
        ticket: Ticket,
        (steps, rows): (usize, usize),
        padded: usize,
        pool: &Pool<F>,
    ) -> Result<Self> {
        let directions = config.directions().len();
        let (hidden, width) = (config.hidden_size, config.output_size());
        let draw = |place: Place, (layer, direction): (usize, usize), rate: f64, sizes, padded| {
            if rate <= 0.0 {
                return Ok(None);
            }
            let kind = match place {
                Place::ZoneoutHidden | Place::ZoneoutCell => MaskKind::Zoneout,
                _ => MaskKind::Dropout,
            };
            let index = (layer * directions + direction) * PLACES + place as usize;
            let words = ticket.words(Purpose::Masks, index as u64);
            DrawnMask::draw(kind, rate, words, sizes, padded, pool).map(Some)
        };
        let constant = if rates.variational { 1 } else { steps };
        let mut layers = Vec::with_capacity(config.num_layers);
        for layer in 0..config.num_layers {
            let inputs = config.layer_inputs(layer);
            let sizes = (constant, rows, inputs);
            let input = draw(Place::Input, (layer, 0), rates.input[layer], sizes, inputs)?;
            let mut of_directions = Vec::with_capacity(directions);
            for direction in 0..directions {
                let at = (layer, direction);
                let (of_units, all) = ((steps, rows, hidden), (constant, rows, hidden));
                let weights = (1, config.cell.gates() * hidden, hidden);
                let zoneout = |place, state| {
                    let rate = if state < config.cell.states() {
                        rates.zoneout_of(layer, state)
                    } else {
                        0.0
                    };
                    draw(place, at, rate, of_units, padded)
                };
                of_directions.push(DirectionMasks {
                    suffix: config.suffix(layer, config.directions()[direction]),
                    recurrent: draw(Place::Recurrent, at, rates.recurrent[layer], all, padded)?,
                    update: draw(Place::Update, at, rates.update[layer], of_units, padded)?,
                    weight: draw(Place::Weight, at, rates.weight[layer], weights, hidden)?,
                    zoneout: [
                        zoneout(Place::ZoneoutHidden, 0)?,
                        zoneout(Place::ZoneoutCell, 1)?,
                    ],
                });
            }
            let rate = if layer + 1 < config.num_layers {
                rates.dropout[layer]
            } else {
                0.0
            };
            let sizes = (steps, rows, width);
            layers.push(LayerMasks {
                input,
                directions: of_directions,
                output: draw(Place::Between, (layer, 0), rate, sizes, width)?,
            });
        }
        let last = config.num_layers - 1;
        let steps = if config.return_sequences { steps } else { 1 };
        let (rate, sizes) = (rates.output[last], (steps, rows, width));
        Ok(Self {
            layers,
            output: draw(Place::Output, (last, 0), rate, sizes, width)?,
            over_time: config.return_sequences,
        })
    }

    /// What regularises the steps of one direction of a layer.
    #[must_use]
    pub fn of_direction(&self, layer: usize, direction: usize) -> engine::Regularization<'_, F> {
        let masks = &self.layers[layer].directions[direction];
        engine::Regularization {
            recurrent: masks.recurrent.as_ref().map(DrawnMask::mask),
            update: masks.update.as_ref().map(DrawnMask::mask),
            zoneout: masks.zoneout.each_ref().map(|mask| match mask {
                Some(mask) => Zoneout::Drawn(mask.mask()),
                None => Zoneout::Off,
            }),
        }
    }

    /// The masks that the input of a layer goes through: that of the layer below it, and its own.
    pub fn of_input(&self, layer: usize) -> impl Iterator<Item = &DrawnMask<F>> {
        let below = layer
            .checked_sub(1)
            .and_then(|below| self.layers[below].output.as_ref());
        below.into_iter().chain(&self.layers[layer].input)
    }

    /// The mask of the recurrent weights of one direction of a layer.
    #[must_use]
    pub fn of_weights(&self, layer: usize, direction: usize) -> Option<&DrawnMask<F>> {
        self.layers[layer].directions[direction].weight.as_ref()
    }

    /// The mask of the stack's output.
    #[must_use]
    pub fn of_output(&self) -> Option<&DrawnMask<F>> {
        self.output.as_ref()
    }

    /// All masks that there are, by names that end as those of parameters do.
    #[must_use]
    pub fn named(&self) -> Vec<NamedMask<'_, F>> {
        let mut named = Vec::new();
        for (layer, of_layer) in self.layers.iter().enumerate() {
            let suffix = &format!("_l{layer}");
            named.push((
                "input_dropout",
                suffix.clone(),
                MaskShape::Steps,
                &of_layer.input,
            ));
            for direction in &of_layer.directions {
                let [hidden, cell] = &direction.zoneout;
                for (name, shape, mask) in [
                    ("recurrent_dropout", MaskShape::Steps, &direction.recurrent),
                    ("update_dropout", MaskShape::Steps, &direction.update),
                    ("weight_dropout", MaskShape::Weights, &direction.weight),
                    ("zoneout_hidden", MaskShape::Steps, hidden),
                    ("zoneout_cell", MaskShape::Steps, cell),
                ] {
                    named.push((name, direction.suffix.clone(), shape, mask));
                }
            }
            named.push((
                "dropout",
                suffix.clone(),
                MaskShape::Steps,
                &of_layer.output,
            ));
        }
        let shape = if self.over_time {
            MaskShape::Steps
        } else {
            MaskShape::Rows
        };
        named.push(("output_dropout", String::new(), shape, &self.output));
        named
            .into_iter()
            .filter_map(|(name, suffix, shape, mask)| {
                let mask = mask.as_ref()?;
                let name = format!("{name}{suffix}");
                Some(NamedMask { name, shape, mask })
            })
            .collect()
    }
}

/// Which axes a mask has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaskShape {
    /// Steps (or 1), rows, features.
    Steps,
    /// Rows, features.
    Rows,
    /// Those of the recurrent weights.
    Weights,
}

/// A mask and its name.
#[derive(Debug)]
pub struct NamedMask<'a, F: Float> {
    /// E.g. `zoneout_cell_l0_reverse`.
    pub name: String,
    /// Which axes it has.
    pub shape: MaskShape,
    /// The mask.
    pub mask: &'a DrawnMask<F>,
}
