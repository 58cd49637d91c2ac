//! `RecurrentLayer`: everything that the kinds of layers share.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::arrays::{self, Contiguous, Number, Rows};
use super::initialization::InitialWeights;
use super::module::Module;
use super::options::{self, Keywords};
use super::parameter::AnyParameters;
use super::regularization;
use super::run::with_reading;
use super::stack::{
    self, AnyStack, OptionValue, RecurrentCache, StackElement, Typed, build, cache,
    states_to_numpy, typed_tape,
};
use super::streaming::Stream;
use crate::cells::CellKind;
use crate::engine::Layout;
use crate::error::{Error, shape_text};
use crate::layers::stack::{Directions, MergeMode, Naming, Outcome, StackConfig};
use crate::lengths::Steps;
use crate::streaming::FrozenLayer;

/// More layers than anybody stacks: a slip of the keyboard must not fill the memory.
const MOST_LAYERS: usize = 10_000;

/// Names of merge modes, in the order of [`MERGE_MODES`].
const MERGE_NAMES: [&str; 4] = ["concat", "sum", "average", "mul"];
const MERGE_MODES: [MergeMode; 4] = [
    MergeMode::Concat,
    MergeMode::Sum,
    MergeMode::Average,
    MergeMode::Mul,
];

/// Base of the recurrent layers.
#[pyclass(frozen, subclass, extends = Module, module = "recurrust._core")]
pub struct RecurrentLayer {
    stack: AnyStack,
    config: StackConfig,
    batch_first: bool,
    /// Names of the states.
    states: &'static [&'static str],
}

/// The arguments of a forward call, checked.
struct Call<'py, F: Number> {
    x: Rows<'py, F>,
    batched: bool,
    steps: Steps,
    initial: Vec<Contiguous<'py, F>>,
}

impl RecurrentLayer {
    /// The layer as a stream needs it, with the weights that it has now.
    pub fn freeze<F: StackElement>(
        &self,
        py: Python<'_>,
        memory: &AnyParameters,
        label: &str,
    ) -> PyResult<FrozenLayer<F>> {
        let typed = Typed::<F>::new(&self.stack, memory)?;
        let parameters = typed.parameters;
        with_reading(py, parameters, parameters.count(), |weights, _| {
            FrozenLayer::recurrent(typed.stack, weights).map_err(|error| error.inside(label))
        })
    }

    /// The options of the cell and of regularisation that differ from their defaults.
    fn options(&self) -> Vec<(&'static str, OptionValue)> {
        let rates = match &self.stack {
            AnyStack::Single(stack) => stack.rates(),
            AnyStack::Double(stack) => stack.rates(),
        };
        let mut options = stack::cell_options(self.config.cell);
        options.extend(regularization::differing(rates, self.states.len()));
        options
    }

    /// Names of the states.
    pub fn states(&self) -> &'static [&'static str] {
        self.states
    }

    /// A batch axis first, where there is one and it is.
    fn layout(&self) -> Layout {
        if self.batch_first {
            Layout::BatchMajor
        } else {
            Layout::TimeMajor
        }
    }

    /// Whether there is one direction, which runs backwards.
    fn is_reverse(&self) -> bool {
        self.config.directions == Directions::Backward
    }

    /// The axes of steps and rows in x and y.
    fn axes(&self, batched: bool) -> (Option<usize>, Option<usize>) {
        match (batched, self.batch_first) {
            (false, _) => (Some(0), None),
            (true, false) => (Some(0), Some(1)),
            (true, true) => (Some(1), Some(0)),
        }
    }

    fn expected_input(&self) -> &'static str {
        if self.batch_first {
            "(batch, steps, features) or (steps, features)"
        } else {
            "(steps, batch, features) or (steps, features)"
        }
    }

    fn state_shape(&self, rows: usize, batched: bool) -> Vec<usize> {
        if batched {
            vec![self.config.state_rows(), rows, self.config.hidden_size]
        } else {
            vec![self.config.state_rows(), self.config.hidden_size]
        }
    }

    /// The shape of an array over time with the given features.
    fn sequence_shape(&self, steps: usize, rows: usize, width: usize, batched: bool) -> Vec<usize> {
        match (batched, self.batch_first) {
            (false, _) => vec![steps, width],
            (true, false) => vec![steps, rows, width],
            (true, true) => vec![rows, steps, width],
        }
    }

    fn output_shape(&self, steps: usize, rows: usize, batched: bool) -> Vec<usize> {
        let width = self.config.output_size();
        match (self.config.return_sequences, batched) {
            (true, _) => self.sequence_shape(steps, rows, width, batched),
            (false, true) => vec![rows, width],
            (false, false) => vec![width],
        }
    }

    fn prepare<'py, F: StackElement>(
        &self,
        x: &Bound<'py, PyAny>,
        state: Option<&Bound<'py, PyAny>>,
        lengths: Option<&Bound<'py, PyAny>>,
        mask: Option<&Bound<'py, PyAny>>,
        resets: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Call<'py, F>> {
        let width = self.config.input_size;
        let x = stack::input::<F>(x, "x", &[2, 3], self.expected_input(), width)?;
        let batched = x.shape().len() == 3;
        let (step_axis, row_axis) = self.axes(batched);
        let size = |axis: Option<usize>| axis.map_or(1, |axis| x.shape()[axis]);
        let (count, rows) = (size(step_axis), size(row_axis));

        let lengths = lengths.filter(|value| !value.is_none());
        let lengths = lengths
            .map(|value| row_lengths(value, rows, batched))
            .transpose()?;
        let flag_shape = &x.shape()[..x.shape().len() - 1];
        let transposed = batched && self.batch_first;
        let flags = |value: Option<&Bound<'py, PyAny>>, name: &str| {
            value
                .filter(|value| !value.is_none())
                .map(|value| arrays::flags(value, name, flag_shape, transposed))
                .transpose()
        };
        let (mask, resets) = (flags(mask, "mask")?, flags(resets, "resets")?);
        let steps = Steps::new(count, rows, lengths.as_deref(), mask, resets)?;
        let initial = stack::states(
            state,
            "state",
            self.states,
            &self.state_shape(rows, batched),
        )?;
        Ok(Call {
            x,
            batched,
            steps,
            initial,
        })
    }

    fn outcome<'py, F: Number>(
        &self,
        py: Python<'py>,
        outcome: Outcome<F>,
        (steps, rows): (usize, usize),
        batched: bool,
    ) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
        let shape = self.output_shape(steps, rows, batched);
        let y = arrays::lend_to_numpy(py, outcome.output, &shape)?.into_any();
        let state = states_to_numpy(py, outcome.states, &self.state_shape(rows, batched))?;
        Ok((y, state))
    }

    fn forward<'py, F: StackElement>(
        &self,
        memory: &Module,
        x: &Bound<'py, PyAny>,
        state: Option<&Bound<'py, PyAny>>,
        lengths: Option<&Bound<'py, PyAny>>,
        mask: Option<&Bound<'py, PyAny>>,
        resets: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let py = x.py();
        let typed = Typed::<F>::new(&self.stack, memory.memory())?;
        let call = self.prepare(x, state, lengths, mask, resets)?;
        let input = call.x.sequence(self.axes(call.batched));
        let ticket = typed.ticket(memory.is_training());
        let (initial, steps) = (&call.initial, &call.steps);
        let outcome = typed.forward(py, input, initial, steps, ticket, self.layout())?;
        let sizes = (call.steps.steps(), call.steps.rows());
        self.outcome(py, outcome, sizes, call.batched)?
            .into_pyobject(py)
    }

    fn forward_cached<'py, F: StackElement>(
        &self,
        memory: &Module,
        x: &Bound<'py, PyAny>,
        state: Option<&Bound<'py, PyAny>>,
        lengths: Option<&Bound<'py, PyAny>>,
        mask: Option<&Bound<'py, PyAny>>,
        resets: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let py = x.py();
        let typed = Typed::<F>::new(&self.stack, memory.memory())?;
        let call = self.prepare(x, state, lengths, mask, resets)?;
        let input = call.x.sequence(self.axes(call.batched));
        let sizes = (call.steps.steps(), call.steps.rows());
        let ticket = typed.ticket(memory.is_training());
        let (initial, layout) = (&call.initial, self.layout());
        let (outcome, tape) =
            typed.forward_with_tape(py, input, initial, call.steps, ticket, layout)?;
        let (y, state) = self.outcome(py, outcome, sizes, call.batched)?;
        let cache = RecurrentCache {
            tape: F::any_tape(tape),
            batched: call.batched,
        };
        (y, state, cache).into_pyobject(py)
    }

    fn backward_typed<'py, F: StackElement>(
        &self,
        py: Python<'py>,
        memory: &Module,
        dy: Option<&Bound<'py, PyAny>>,
        dstate: Option<&Bound<'py, PyAny>>,
        cache: &RecurrentCache,
        input_grad: bool,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let typed = Typed::<F>::new(&self.stack, memory.memory())?;
        let tape = typed_tape::<F>(cache)?;
        // Shapes below are checked against this layer's sizes, so the cache must be its own.
        stack::check_version(tape.version(), typed.parameters.version())?;
        let batched = cache.batched;
        let (steps, rows) = (tape.steps().steps(), tape.steps().rows());
        let shape = self.output_shape(steps, rows, batched);
        let dy = dy
            .filter(|dy| !dy.is_none())
            .map(|dy| {
                let array = arrays::numbers(dy, "dy")?;
                arrays::check_shape(&array, "dy", &shape)?;
                Rows::<F>::new(&array)
            })
            .transpose()?;
        let axes = match (self.config.return_sequences, batched) {
            (true, _) => self.axes(batched),
            (false, true) => (None, Some(0)),
            (false, false) => (None, None),
        };
        let output_gradient = dy.as_ref().map(|dy| dy.sequence(axes));
        let state_shape = self.state_shape(rows, batched);
        let state_gradient = stack::state_gradients(dstate, self.states, &state_shape)?;
        let layout = input_grad.then(|| self.layout());
        let gradients = typed.backward(py, tape, output_gradient, &state_gradient, layout)?;
        let width = self.config.input_size;
        let shape = self.sequence_shape(steps, rows, width, batched);
        let dx = gradients
            .input
            .map(|dx| arrays::lend_to_numpy(py, dx, &shape))
            .transpose()?;
        let dstate = states_to_numpy(py, gradients.states, &state_shape)?;
        (dx, dstate).into_pyobject(py)
    }
}

/// One length a row; a single number when x has no batch axis.
fn row_lengths(value: &Bound<'_, PyAny>, rows: usize, batched: bool) -> PyResult<Vec<i64>> {
    let (lengths, shape) = arrays::integers(value, "lengths", false)?;
    let fits = shape == [rows] || (!batched && shape.is_empty());
    if fits {
        return Ok(lengths);
    }
    Err(Error::shape(
        "lengths",
        format!("shape {} (one length a row)", shape_text(&[rows])),
        shape_text(&shape),
    )
    .into())
}

/// Runs a generic method with the layer's element type.
macro_rules! typed_call {
    ($this:expr, $method:ident ( $($argument:expr),* )) => {
        match &$this.stack {
            AnyStack::Single(_) => $this.$method::<f32>($($argument),*),
            AnyStack::Double(_) => $this.$method::<f64>($($argument),*),
        }
    };
}

#[pymethods]
impl RecurrentLayer {
    // Python shows no documentation of calls: it stands at `forward_with_cache`.
    #[pyo3(signature = (x, state = None, *, lengths = None, mask = None, resets = None))]
    fn __call__<'py>(
        slf: &Bound<'py, Self>,
        x: &Bound<'py, PyAny>,
        state: Option<&Bound<'py, PyAny>>,
        lengths: Option<&Bound<'py, PyAny>>,
        mask: Option<&Bound<'py, PyAny>>,
        resets: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let this = slf.get();
        let module = slf.as_super().get();
        typed_call!(this, forward(module, x, state, lengths, mask, resets))
    }

    /// Run the layer over sequences and keep what ``backward`` needs.
    ///
    /// ``layer(x, ...)`` takes the same arguments and gives ``y, state`` without keeping anything.
    ///
    /// Parameters
    /// ----------
    /// x : array_like, shape (T, B, I), (B, T, I) with ``batch_first``, or (T, I)
    ///     Sequences; (T, I) is one sequence, whose results have no batch axis. Read in place when
    ///     the dtype is the layer's and the last axis is contiguous, else copied.
    /// state : array_like, pair of array_like, or None
    ///     Initial states, (h, c) for an LSTM and h for the others, each (num_layers * directions, B, H);
    ///     zeros when None.
    /// lengths : array_like of int, shape (B,), optional
    ///     Steps of each sequence, 0 to T, in any order. Outputs past a length are 0, the final
    ///     state is that of the last valid step, the backward direction starts there.
    /// mask : array_like of bool, (T, B) or in x's layout, optional
    ///     Where False, the step is passed over: the state is carried, the output is 0. With
    ///     ``lengths``, a step is valid when both say so.
    /// resets : array_like of bool, in x's layout, optional
    ///     Where True at step t, the state doesn't cross from t - 1 to t (either way), and no
    ///     gradient does. Ignored past a length.
    ///
    /// Returns
    /// -------
    /// y : numpy.ndarray
    ///     (T, B, F) in x's layout; without ``return_sequences`` (B, F), the merged final hidden
    ///     states of the top layer.
    /// state : numpy.ndarray or pair of them
    ///     Final states, shaped like the initial ones.
    /// cache : RecurrentCache
    ///     For ``backward``, as often as you like, until the weights change.
    ///
    /// Raises
    /// ------
    /// ShapeError, DtypeError, ConfigError
    ///     If an argument doesn't fit; the message names it.
    /// MemoryError
    ///     If there isn't enough.
    #[pyo3(signature = (x, state = None, *, lengths = None, mask = None, resets = None))]
    fn forward_with_cache<'py>(
        slf: &Bound<'py, Self>,
        x: &Bound<'py, PyAny>,
        state: Option<&Bound<'py, PyAny>>,
        lengths: Option<&Bound<'py, PyAny>>,
        mask: Option<&Bound<'py, PyAny>>,
        resets: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let this = slf.get();
        let module = slf.as_super().get();
        typed_call!(
            this,
            forward_cached(module, x, state, lengths, mask, resets)
        )
    }

    /// Complete backpropagation through time; adds to the parameters' gradients.
    ///
    /// Parameters
    /// ----------
    /// dy : array_like, shaped like y, or None
    ///     Gradient of the loss with respect to y; None for zeros.
    /// dstate : array_like, pair of (array_like or None), or None
    ///     Gradient with respect to the final states, structured like them; None for zeros.
    /// cache : RecurrentCache
    ///     From ``forward_with_cache`` of this layer.
    /// input_grad : bool, default True
    ///     Whether the gradient of x is wanted.
    ///
    /// Returns
    /// -------
    /// dx : numpy.ndarray or None
    ///     Gradient with respect to x; 0 at invalid steps.
    /// dstate : numpy.ndarray or pair of them
    ///     Gradient with respect to the initial states.
    ///
    /// Raises
    /// ------
    /// StateError
    ///     If the weights have changed since, or the cache is another layer's.
    /// ShapeError, DtypeError
    ///     If a gradient doesn't fit. After any error the gradients are as they were.
    #[pyo3(signature = (dy = None, dstate = None, *, cache, input_grad = true))]
    fn backward<'py>(
        slf: &Bound<'py, Self>,
        dy: Option<&Bound<'py, PyAny>>,
        dstate: Option<&Bound<'py, PyAny>>,
        cache: &Bound<'py, PyAny>,
        input_grad: bool,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let (py, this) = (slf.py(), slf.get());
        let module = slf.as_super().get();
        let cache = self::cache(cache)?;
        typed_call!(
            this,
            backward_typed(py, module, dy, dstate, cache, input_grad)
        )
    }

    /// A copy of the layer for one step at a time, with the weights that it has now.
    ///
    /// Parameters
    /// ----------
    /// batch_size : int, default 1
    ///     Sequences side by side, 1 or more.
    ///
    /// Returns
    /// -------
    /// Stream
    ///     Its ``step`` gives, step by step, what the layer gives for the whole sequence in
    ///     evaluation mode, bit for bit; its ``state`` has the structure of the layer's.
    ///
    /// Raises
    /// ------
    /// ConfigError
    ///     If the layer is bidirectional, runs in reverse or has ``return_sequences=False``, if its
    ///     class has a call of its own, or if ``batch_size`` is less than 1.
    /// DtypeError
    ///     If ``batch_size`` isn't an integer.
    /// MemoryError
    ///     If the states don't fit.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np
    /// >>> import recurrust as rr
    /// >>> stream = rr.LSTM(3, 5, seed=0).stream()
    /// >>> for x in np.zeros((7, 3), np.float32):
    /// ...     y = stream.step(x)
    /// >>> y.shape
    /// (5,)
    #[pyo3(signature = (batch_size = None), text_signature = "(self, batch_size=1)")]
    fn stream(slf: &Bound<'_, Self>, batch_size: Option<&Bound<'_, PyAny>>) -> PyResult<Stream> {
        Stream::of_layer(slf.as_any(), batch_size)
    }

    /// Features of the input.
    #[getter]
    fn input_size(&self) -> usize {
        self.config.input_size
    }

    /// Units of each direction of each layer.
    #[getter]
    fn hidden_size(&self) -> usize {
        self.config.hidden_size
    }

    /// Layers.
    #[getter]
    fn num_layers(&self) -> usize {
        self.config.num_layers
    }

    /// Features of y.
    #[getter]
    fn output_size(&self) -> usize {
        self.config.output_size()
    }

    /// Whether x and y have the batch axis first.
    #[getter]
    fn batch_first(&self) -> bool {
        self.batch_first
    }

    /// Whether there are two directions.
    #[getter]
    fn bidirectional(&self) -> bool {
        self.config.is_bidirectional()
    }

    /// Whether y has every step.
    #[getter]
    fn return_sequences(&self) -> bool {
        self.config.return_sequences
    }

    /// The constructor's keywords that make such a layer again.
    ///
    /// Without ``init``, ``forget_bias`` and ``seed``: its weights are loaded afterwards.
    #[getter]
    fn config<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyDict>> {
        let this = slf.get();
        let config = PyDict::new(slf.py());
        config.set_item("input_size", this.config.input_size)?;
        config.set_item("hidden_size", this.config.hidden_size)?;
        config.set_item("num_layers", this.config.num_layers)?;
        config.set_item("bias", this.config.bias)?;
        config.set_item("batch_first", this.batch_first)?;
        config.set_item("bidirectional", this.config.is_bidirectional())?;
        config.set_item("reverse", this.is_reverse())?;
        config.set_item("merge_mode", merge_name(this.config.merge_mode))?;
        config.set_item("return_sequences", this.config.return_sequences)?;
        for (name, value) in this.options() {
            config.set_item(name, value)?;
        }
        let module = slf.as_super().get();
        config.set_item("dtype", module.memory().precision().name())?;
        Ok(config)
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let this = slf.get();
        let memory = slf.as_super().get().memory();
        let config = &this.config;
        let mut options = vec![
            config.input_size.to_string(),
            config.hidden_size.to_string(),
        ];
        if config.num_layers != 1 {
            options.push(format!("num_layers={}", config.num_layers));
        }
        for (text, shown) in [
            ("bias=False", !config.bias),
            ("batch_first=True", this.batch_first),
            ("bidirectional=True", config.is_bidirectional()),
            ("reverse=True", this.is_reverse()),
            ("return_sequences=False", !config.return_sequences),
        ] {
            if shown {
                options.push(text.to_owned());
            }
        }
        if config.is_bidirectional() && config.merge_mode != MergeMode::Concat {
            options.push(format!("merge_mode={:?}", merge_name(config.merge_mode)));
        }
        for (name, value) in this.options() {
            options.push(format!("{name}={value}"));
        }
        options.push(format!("dtype={:?}", memory.precision().name()));
        Ok(format!(
            "{}({})  # {} parameters",
            slf.get_type().name()?,
            options.join(", "),
            memory.count()
        ))
    }
}

/// The directions that two options ask for.
fn directions(bidirectional: bool, reverse: bool) -> PyResult<Directions> {
    match (bidirectional, reverse) {
        (false, false) => Ok(Directions::Forward),
        (false, true) => Ok(Directions::Backward),
        (true, false) => Ok(Directions::Both),
        (true, true) => Err(Error::config(
            "reverse",
            "False together with bidirectional=True, which has both directions",
            "True",
        )
        .into()),
    }
}

fn merge_name(mode: MergeMode) -> &'static str {
    MERGE_MODES
        .iter()
        .position(|&candidate| candidate == mode)
        .map_or("", |index| MERGE_NAMES[index])
}

/// The keywords that every kind of layer has.
pub const KEYWORDS: &[&str] = &[
    "bias",
    "batch_first",
    "bidirectional",
    "reverse",
    "merge_mode",
    "return_sequences",
    "clip",
    "layer_norm",
    "init",
    "dtype",
    "seed",
];

/// The base of a layer of one kind of cell, and what is beneath it.
pub fn layer<'py>(
    cell: CellKind,
    states: &'static [&'static str],
    [input_size, hidden_size]: [&Bound<'py, PyAny>; 2],
    num_layers: Option<&Bound<'py, PyAny>>,
    keywords: &Keywords<'py>,
) -> PyResult<PyClassInitializer<RecurrentLayer>> {
    keywords.later("layer_norm", false)?;
    let config = StackConfig {
        cell,
        input_size: options::integer("input_size", input_size, 1)?,
        hidden_size: options::integer("hidden_size", hidden_size, 1)?,
        num_layers: num_layers.map_or(Ok(1), |n| options::count("num_layers", n, MOST_LAYERS))?,
        bias: keywords.boolean("bias", true)?,
        directions: directions(
            keywords.boolean("bidirectional", false)?,
            keywords.boolean("reverse", false)?,
        )?,
        merge_mode: MERGE_MODES[keywords.choice("merge_mode", &MERGE_NAMES)?],
        return_sequences: keywords.boolean("return_sequences", true)?,
        naming: Naming::Layers,
    };
    let py = input_size.py();
    let rates = regularization::rates(py, keywords, states.len(), config.num_layers)?;
    let batch_first = keywords.boolean("batch_first", false)?;
    let (precision, seed) = (keywords.precision()?, keywords.seed()?);
    let initial = InitialWeights::new(keywords, config.bias, precision)?;
    let (stack, memory) = build(py, config, rates, precision, &initial, seed)?;
    Ok(
        PyClassInitializer::from(Module::new(memory)).add_subclass(RecurrentLayer {
            stack,
            config,
            batch_first,
            states,
        }),
    )
}
