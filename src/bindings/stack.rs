//! Stacks of either precision, and what layers and single cells share when they run one.

use std::fmt::{Display, Formatter};
use std::sync::Arc;

use numpy::{PyUntypedArray, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use super::arrays::{self, Contiguous, Number, Rows};
use super::errors::StateError;
use super::initialization::InitialWeights;
use super::options;
use super::parameter::{AnyParameters, Pick};
use super::regularization::masks_to_numpy;
use super::run::with_reading;
use crate::cells::{self, CellKind, Clip, Nonlinearity};
use crate::engine::{Layout, Sequence};
use crate::error::{Error, Result};
use crate::float::Precision;
use crate::layers::regularization::{Rates, StackMasks};
use crate::layers::stack::{Gradients, Outcome, Stack, StackConfig, StackTape};
use crate::lengths::Steps;
use crate::parameters::Parameters;
use crate::random::Ticket;
use crate::simd::InstructionSet;

/// A stack of either precision.
pub enum AnyStack {
    /// float32.
    Single(Stack<f32>),
    /// float64.
    Double(Stack<f64>),
}

/// Typed stacks and tapes from those of either precision.
pub trait StackElement: Pick {
    /// The stack, when it is of this type.
    fn stack(any: &AnyStack) -> Option<&Stack<Self>>;
    /// The tape, when it is of this type.
    fn tape(any: &AnyTape) -> Option<&StackTape<Self>>;
    /// A tape of this type.
    fn any_tape(tape: StackTape<Self>) -> AnyTape;
}

/// A tape of either precision.
pub enum AnyTape {
    /// float32.
    Single(StackTape<f32>),
    /// float64.
    Double(StackTape<f64>),
}

macro_rules! stack_element {
    ($float:ty, $variant:ident) => {
        impl StackElement for $float {
            fn stack(any: &AnyStack) -> Option<&Stack<Self>> {
                match any {
                    AnyStack::$variant(stack) => Some(stack),
                    _ => None,
                }
            }

            fn tape(any: &AnyTape) -> Option<&StackTape<Self>> {
                match any {
                    AnyTape::$variant(tape) => Some(tape),
                    _ => None,
                }
            }

            fn any_tape(tape: StackTape<Self>) -> AnyTape {
                AnyTape::$variant(tape)
            }
        }
    };
}
stack_element!(f32, Single);
stack_element!(f64, Double);

/// The value of an option of a cell.
#[derive(Debug, Clone, IntoPyObject)]
pub enum OptionValue {
    /// True or False.
    Flag(bool),
    /// A number.
    Number(f64),
    /// One of a few names.
    Name(&'static str),
    /// A number for each layer.
    Numbers(Vec<f64>),
    /// Two numbers for each layer.
    Pairs(Vec<(f64, f64)>),
}

impl Display for OptionValue {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Flag(true) => formatter.write_str("True"),
            Self::Flag(false) => formatter.write_str("False"),
            Self::Number(number) => write!(formatter, "{number:?}"),
            Self::Name(name) => write!(formatter, "{name:?}"),
            Self::Numbers(numbers) => write!(formatter, "{numbers:?}"),
            Self::Pairs(pairs) => write!(formatter, "{pairs:?}"),
        }
    }
}

/// The options of a cell that differ from their defaults, as its constructors take them.
pub fn cell_options(cell: CellKind) -> Vec<(&'static str, OptionValue)> {
    let (mut options, mut limits) = (Vec::new(), Clip::default());
    match cell {
        CellKind::Lstm(_) => {}
        CellKind::LstmVariant(cells::LstmVariant { options: variant })
        | CellKind::CoupledLstm(cells::CoupledLstm { options: variant }) => {
            if variant.peephole {
                options.push(("peephole", OptionValue::Flag(true)));
            }
            if matches!(cell, CellKind::CoupledLstm(_)) {
                options.push(("coupled", OptionValue::Flag(true)));
            }
            limits = variant.clip;
        }
        CellKind::Gru(cell) => limits = cell.clip,
        CellKind::GruBefore(cell) => {
            options.push(("reset_after", OptionValue::Flag(false)));
            limits = cell.clip;
        }
        CellKind::Rnn(cell) => {
            if cell.nonlinearity == Nonlinearity::Relu {
                options.push(("nonlinearity", OptionValue::Name("relu")));
            }
            limits = cell.clip;
        }
    }
    if let Some(limit) = limits.0 {
        options.push(("clip", OptionValue::Number(limit)));
    }
    options
}

/// A new stack and its parameters.
pub fn build<'py>(
    py: Python<'py>,
    config: StackConfig,
    rates: Rates,
    precision: Precision,
    initial: &InitialWeights<'py>,
    seed: Option<u64>,
) -> PyResult<(AnyStack, AnyParameters)> {
    let set = InstructionSet::current();
    Ok(match precision {
        Precision::Single => {
            let (stack, parameters) = Stack::zeroed(set, config)?;
            initial.fill(py, &stack, &parameters, seed)?;
            let parameters = AnyParameters::Single(Arc::new(parameters));
            (AnyStack::Single(stack.with_rates(rates)), parameters)
        }
        Precision::Double => {
            let (stack, parameters) = Stack::zeroed(set, config)?;
            initial.fill(py, &stack, &parameters, seed)?;
            let parameters = AnyParameters::Double(Arc::new(parameters));
            (AnyStack::Double(stack.with_rates(rates)), parameters)
        }
    })
}

/// Typed parts of a layer.
pub struct Typed<'a, F: Number> {
    pub stack: &'a Stack<F>,
    pub parameters: &'a Parameters<F>,
}

impl<'a, F: StackElement> Typed<'a, F> {
    /// Both parts, when they are of this type.
    pub fn new(stack: &'a AnyStack, parameters: &'a AnyParameters) -> PyResult<Self> {
        match (F::stack(stack), F::pick(parameters)) {
            (Some(stack), Some(parameters)) => Ok(Self { stack, parameters }),
            _ => Err(StateError::new_err(
                "the layer's parts have different dtypes",
            )),
        }
    }

    fn operations(&self, steps: &Steps) -> usize {
        let cells = steps.steps().saturating_mul(steps.rows());
        cells.saturating_mul(self.stack.config().cost())
    }

    /// The right to the random numbers of a training call, if it needs any.
    pub fn ticket(&self, training: bool) -> Option<Ticket> {
        (training && self.stack.rates().draws()).then(Ticket::draw)
    }

    /// The forward pass; training's when there is a ticket for its masks.
    pub fn forward(
        &self,
        py: Python<'_>,
        input: Sequence<'_, F>,
        initial: &[Contiguous<'_, F>],
        steps: &Steps,
        ticket: Option<Ticket>,
        layout: Layout,
    ) -> PyResult<Outcome<F>> {
        let initial: Vec<&[F]> = initial.iter().map(Contiguous::as_slice).collect();
        let operations = self.operations(steps);
        let stack = self.stack;
        with_reading(py, self.parameters, operations, |weights, interrupt| {
            let masks = ticket
                .map(|ticket| stack.draw_masks(ticket, steps))
                .transpose()?;
            let masks = masks.as_ref();
            stack.forward(weights, input, &initial, steps, masks, layout, interrupt)
        })
    }

    /// The forward pass and its tape.
    pub fn forward_with_tape(
        &self,
        py: Python<'_>,
        input: Sequence<'_, F>,
        initial: &[Contiguous<'_, F>],
        steps: Steps,
        ticket: Option<Ticket>,
        layout: Layout,
    ) -> PyResult<(Outcome<F>, StackTape<F>)> {
        let initial: Vec<&[F]> = initial.iter().map(Contiguous::as_slice).collect();
        let operations = self.operations(&steps);
        let stack = self.stack;
        with_reading(py, self.parameters, operations, |weights, interrupt| {
            let masks = ticket
                .map(|ticket| stack.draw_masks(ticket, &steps))
                .transpose()?;
            stack.forward_with_tape(weights, input, &initial, steps, masks, layout, interrupt)
        })
    }

    /// The backward pass; adds to the gradients at the end, when nothing can fail any more.
    pub fn backward(
        &self,
        py: Python<'_>,
        tape: &StackTape<F>,
        output_gradient: Option<Sequence<'_, F>>,
        state_gradient: &[Option<Contiguous<'_, F>>],
        input_layout: Option<Layout>,
    ) -> PyResult<Gradients<F>> {
        let state_gradient: Vec<Option<&[F]>> = state_gradient
            .iter()
            .map(|gradient| gradient.as_ref().map(Contiguous::as_slice))
            .collect();
        let (stack, parameters) = (self.stack, self.parameters);
        let operations = self.operations(tape.steps()).saturating_mul(3);
        with_reading(py, parameters, operations, |weights, interrupt| {
            check_version(tape.version(), weights.version())?;
            let gradients = stack.backward(
                weights,
                parameters,
                tape,
                output_gradient,
                &state_gradient,
                input_layout,
                interrupt,
            )?;
            parameters.gradients()?.add(&gradients.parameters);
            Ok(gradients)
        })
    }
}

/// A state argument: nothing, or one array a state, each of the given shape.
pub fn states<'py, F: Number>(
    value: Option<&Bound<'py, PyAny>>,
    argument: &str,
    names: &[&'static str],
    shape: &[usize],
) -> PyResult<Vec<Contiguous<'py, F>>> {
    let Some(value) = value.filter(|value| !value.is_none()) else {
        return Ok(Vec::new());
    };
    parts(value, names, argument)?
        .iter()
        .zip(names)
        .map(|(part, name)| state_array(part, &format!("{argument}: {name}"), shape))
        .collect()
}

/// As [`states`] for gradients, where each part may be missing.
pub fn state_gradients<'py, F: Number>(
    value: Option<&Bound<'py, PyAny>>,
    names: &[&'static str],
    shape: &[usize],
) -> PyResult<Vec<Option<Contiguous<'py, F>>>> {
    let Some(value) = value.filter(|value| !value.is_none()) else {
        return Ok(Vec::new());
    };
    parts(value, names, "dstate")?
        .iter()
        .zip(names)
        .map(|(part, name)| {
            if part.is_none() {
                return Ok(None);
            }
            state_array(part, &format!("dstate: d{name}"), shape).map(Some)
        })
        .collect()
}

fn state_array<'py, F: Number>(
    value: &Bound<'py, PyAny>,
    name: &str,
    shape: &[usize],
) -> PyResult<Contiguous<'py, F>> {
    let array = arrays::numbers(value, name)?;
    arrays::check_shape(&array, name, shape)?;
    Contiguous::new(&array)
}

/// The arrays of a state: a tuple or list where there are several, the array itself where there
/// is one.
fn parts<'py>(
    value: &Bound<'py, PyAny>,
    names: &[&'static str],
    argument: &str,
) -> PyResult<Vec<Bound<'py, PyAny>>> {
    if let [_] = names {
        return Ok(vec![value.clone()]);
    }
    let expected = format!("a tuple ({})", names.join(", "));
    let parts: Vec<Bound<'py, PyAny>> = if let Ok(tuple) = value.cast::<PyTuple>() {
        tuple.iter().collect()
    } else if let Ok(list) = value.cast::<PyList>() {
        list.iter().collect()
    } else {
        let got = match value.cast::<PyUntypedArray>() {
            Ok(array) => format!(
                "one array of shape {}",
                crate::error::shape_text(array.shape())
            ),
            Err(_) => options::shown(value),
        };
        return Err(Error::dtype(argument.to_owned(), expected, got).into());
    };
    if parts.len() != names.len() {
        return Err(Error::shape(
            argument.to_owned(),
            expected,
            format!("{} values", parts.len()),
        )
        .into());
    }
    Ok(parts)
}

/// States as Python has them: a tuple where there are several, the array where there is one.
pub fn states_to_numpy<'py, F: Number>(
    py: Python<'py>,
    states: Vec<Vec<F>>,
    shape: &[usize],
) -> PyResult<Bound<'py, PyAny>> {
    let mut arrays = states
        .into_iter()
        .map(|state| arrays::to_numpy(py, state, shape).map(Bound::into_any))
        .collect::<PyResult<Vec<_>>>()?;
    if arrays.len() == 1 {
        return Ok(arrays.remove(0));
    }
    Ok(PyTuple::new(py, arrays)?.into_any())
}

/// An array argument with contiguous rows, of one of the given numbers of axes and the given size
/// of the last.
pub fn input<'py, F: Number>(
    value: &Bound<'py, PyAny>,
    name: &'static str,
    dimensions: &[usize],
    expected: &str,
    width: usize,
) -> PyResult<Rows<'py, F>> {
    let array = arrays::numbers(value, name)?;
    arrays::check_dimensions(&array, name, dimensions, expected)?;
    let last = array.shape().last().copied().unwrap_or(0);
    if last != width {
        return Err(Error::shape(
            name,
            format!("{expected} with {width} features on the last axis"),
            format!(
                "{last} features, shape {}",
                crate::error::shape_text(array.shape())
            ),
        )
        .into());
    }
    Rows::new(&array)
}

/// A cache is of use only with the weights it was made with.
pub fn check_version(tape: u64, weights: u64) -> Result<()> {
    if tape == weights {
        return Ok(());
    }
    Err(Error::State(
        "cache: made with other weights than the layer has now; call forward_with_cache again after \
         changing weights, and use each cache with its own layer"
            .to_owned(),
    ))
}

/// What ``backward`` of a recurrent layer or cell needs from its forward pass.
///
/// Never changes: it may be used more than once, and several may live at once. It keeps its own
/// copy of the input. Once the weights have changed it is refused.
#[pyclass(frozen, module = "recurrust._core")]
pub struct RecurrentCache {
    pub(super) tape: AnyTape,
    /// Whether x had a batch axis.
    pub(super) batched: bool,
}

#[pymethods]
impl RecurrentCache {
    /// The masks that regularised the call, as a dict of copies.
    ///
    /// By name, with the suffix of a parameter: ``input_dropout_l0`` (T, B, I), ``recurrent_dropout_l0``
    /// (T, B, H), ``update_dropout_l0`` (T, B, H), ``weight_dropout_l0`` (shaped like ``weight_hh_l0``),
    /// ``zoneout_hidden_l0`` and ``zoneout_cell_l0`` (T, B, H), ``dropout_l0`` (T, B, F) and
    /// ``output_dropout`` (T, B, F), or (B, F) without ``return_sequences``. Time comes first whatever
    /// ``batch_first`` says; T is 1 where a mask is constant over time; B is missing where x has none.
    /// Dropout masks hold 0 or 1 / (1 - rate); those of zoneout 1 where the old value was kept, else 0.
    #[getter]
    fn masks<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        match &self.tape {
            AnyTape::Single(tape) => {
                let masks = tape.masks().map_or_else(Vec::new, StackMasks::named);
                masks_to_numpy(py, &masks, self.batched)
            }
            AnyTape::Double(tape) => {
                let masks = tape.masks().map_or_else(Vec::new, StackMasks::named);
                masks_to_numpy(py, &masks, self.batched)
            }
        }
    }
}

/// The cache argument of a backward call.
pub fn cache<'a>(value: &'a Bound<'_, PyAny>) -> PyResult<&'a RecurrentCache> {
    match value.cast::<RecurrentCache>() {
        Ok(cache) => Ok(cache.get()),
        Err(_) => Err(Error::dtype(
            "cache",
            "the cache of this layer's forward_with_cache",
            options::shown(value),
        )
        .into()),
    }
}

/// The typed tape of a cache.
pub fn typed_tape<F: StackElement>(cache: &RecurrentCache) -> Result<&StackTape<F>> {
    // Another dtype is another layer, whose version can't match either.
    F::tape(&cache.tape).ok_or_else(|| {
        Error::State(
            "cache: made by a layer of another dtype; use each cache with its own layer".to_owned(),
        )
    })
}
