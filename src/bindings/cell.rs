//! `RecurrentCell`, one step at a time: everything that the kinds of cells share.

use std::fmt::Write;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::arrays::{self, Contiguous, Number, Rows};
use super::initialization::InitialWeights;
use super::module::Module;
use super::options::{self, Keywords};
use super::stack::{
    self, AnyStack, OptionValue, RecurrentCache, StackElement, Typed, build, cache,
    states_to_numpy, typed_tape,
};
use crate::cells::CellKind;
use crate::engine::Layout;
use crate::layers::regularization::Rates;
use crate::layers::stack::{Directions, MergeMode, Naming, StackConfig};
use crate::lengths::Steps;

/// Axes of steps and rows in x: one step; rows if there are any.
fn axes(batched: bool) -> (Option<usize>, Option<usize>) {
    (None, batched.then_some(0))
}

/// Base of the single-step cells.
#[pyclass(frozen, subclass, extends = Module, module = "recurrust._core")]
pub struct RecurrentCell {
    stack: AnyStack,
    config: StackConfig,
    /// Names of the states.
    states: &'static [&'static str],
}

struct Call<'py, F: Number> {
    x: Rows<'py, F>,
    batched: bool,
    steps: Steps,
    initial: Vec<Contiguous<'py, F>>,
}

impl RecurrentCell {
    /// The options that aren't told by the class.
    fn options(&self) -> impl Iterator<Item = (&'static str, OptionValue)> {
        let options = stack::cell_options(self.config.cell).into_iter();
        options.filter(|(name, _)| *name != "peephole")
    }

    fn shape(rows: usize, width: usize, batched: bool) -> Vec<usize> {
        if batched {
            vec![rows, width]
        } else {
            vec![width]
        }
    }

    fn prepare<'py, F: StackElement>(
        &self,
        x: &Bound<'py, PyAny>,
        state: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Call<'py, F>> {
        let expected = "(batch, features) or (features,)";
        let x = stack::input::<F>(x, "x", &[1, 2], expected, self.config.input_size)?;
        let batched = x.shape().len() == 2;
        let rows = if batched { x.shape()[0] } else { 1 };
        let shape = Self::shape(rows, self.config.hidden_size, batched);
        let initial = stack::states(state, "state", self.states, &shape)?;
        Ok(Call {
            x,
            batched,
            steps: Steps::dense(1, rows),
            initial,
        })
    }

    fn forward<'py, F: StackElement>(
        &self,
        memory: &Module,
        x: &Bound<'py, PyAny>,
        state: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = x.py();
        let typed = Typed::<F>::new(&self.stack, memory.memory())?;
        let call = self.prepare(x, state)?;
        let input = call.x.sequence(axes(call.batched));
        let outcome = typed.forward(
            py,
            input,
            &call.initial,
            &call.steps,
            None,
            Layout::TimeMajor,
        )?;
        let shape = Self::shape(call.steps.rows(), self.config.hidden_size, call.batched);
        states_to_numpy(py, outcome.states, &shape)
    }

    fn forward_cached<'py, F: StackElement>(
        &self,
        memory: &Module,
        x: &Bound<'py, PyAny>,
        state: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let py = x.py();
        let typed = Typed::<F>::new(&self.stack, memory.memory())?;
        let call = self.prepare(x, state)?;
        let input = call.x.sequence(axes(call.batched));
        let shape = Self::shape(call.steps.rows(), self.config.hidden_size, call.batched);
        let (outcome, tape) = typed.forward_with_tape(
            py,
            input,
            &call.initial,
            call.steps,
            None,
            Layout::TimeMajor,
        )?;
        let cache = RecurrentCache {
            tape: F::any_tape(tape),
            batched: call.batched,
        };
        (states_to_numpy(py, outcome.states, &shape)?, cache).into_pyobject(py)
    }

    fn backward_typed<'py, F: StackElement>(
        &self,
        py: Python<'py>,
        memory: &Module,
        dstate: &Bound<'py, PyAny>,
        cache: &RecurrentCache,
        input_grad: bool,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let typed = Typed::<F>::new(&self.stack, memory.memory())?;
        let tape = typed_tape::<F>(cache)?;
        stack::check_version(tape.version(), typed.parameters.version())?;
        let (rows, batched) = (tape.steps().rows(), cache.batched);
        let shape = Self::shape(rows, self.config.hidden_size, batched);
        let state_gradient = stack::state_gradients(Some(dstate), self.states, &shape)?;
        let layout = input_grad.then_some(Layout::TimeMajor);
        let gradients = typed.backward(py, tape, None, &state_gradient, layout)?;
        let input_shape = Self::shape(rows, self.config.input_size, batched);
        let dx = gradients
            .input
            .map(|dx| arrays::lend_to_numpy(py, dx, &input_shape))
            .transpose()?;
        let dstate = states_to_numpy(py, gradients.states, &shape)?;
        (dx, dstate).into_pyobject(py)
    }
}

#[pymethods]
impl RecurrentCell {
    // Python shows no documentation of calls: it stands at `forward_with_cache`.
    #[pyo3(signature = (x, state = None))]
    fn __call__<'py>(
        slf: &Bound<'py, Self>,
        x: &Bound<'py, PyAny>,
        state: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (this, module) = (slf.get(), slf.as_super().get());
        match &this.stack {
            AnyStack::Single(_) => this.forward::<f32>(module, x, state),
            AnyStack::Double(_) => this.forward::<f64>(module, x, state),
        }
    }

    /// One step, keeping what ``backward`` needs.
    ///
    /// ``cell(x, state)`` takes the same arguments, gives the state and keeps nothing.
    ///
    /// Parameters
    /// ----------
    /// x : array_like, shape (B, I) or (I,)
    /// state : array_like or tuple of array_like, each (B, H) or (H,), or None
    ///     The state before the step, (h, c) for an LSTM; zeros when None.
    ///
    /// Returns
    /// -------
    /// state : numpy.ndarray or tuple of numpy.ndarray
    ///     The state after the step.
    /// cache : RecurrentCache
    #[pyo3(signature = (x, state = None))]
    fn forward_with_cache<'py>(
        slf: &Bound<'py, Self>,
        x: &Bound<'py, PyAny>,
        state: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let (this, module) = (slf.get(), slf.as_super().get());
        match &this.stack {
            AnyStack::Single(_) => this.forward_cached::<f32>(module, x, state),
            AnyStack::Double(_) => this.forward_cached::<f64>(module, x, state),
        }
    }

    /// The step's gradient; adds to the parameters' gradients.
    ///
    /// Parameters
    /// ----------
    /// dstate : array_like or tuple of (array_like or None)
    ///     Gradient with respect to the state after the step, (dh, dc) for an LSTM; None for zeros.
    /// cache : RecurrentCache
    ///     From ``forward_with_cache`` of this cell.
    /// input_grad : bool, default True
    ///     Whether the gradient of x is wanted.
    ///
    /// Returns
    /// -------
    /// dx : numpy.ndarray or None
    /// dstate : numpy.ndarray or tuple of numpy.ndarray
    ///     Gradient with respect to the state before the step.
    ///
    /// Raises
    /// ------
    /// StateError
    ///     If the weights have changed since, or the cache is another cell's.
    #[pyo3(signature = (dstate, *, cache, input_grad = true))]
    fn backward<'py>(
        slf: &Bound<'py, Self>,
        dstate: &Bound<'py, PyAny>,
        cache: &Bound<'py, PyAny>,
        input_grad: bool,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let (py, this, module) = (slf.py(), slf.get(), slf.as_super().get());
        let cache = self::cache(cache)?;
        match &this.stack {
            AnyStack::Single(_) => {
                this.backward_typed::<f32>(py, module, dstate, cache, input_grad)
            }
            AnyStack::Double(_) => {
                this.backward_typed::<f64>(py, module, dstate, cache, input_grad)
            }
        }
    }

    /// Features of the input.
    #[getter]
    fn input_size(&self) -> usize {
        self.config.input_size
    }

    /// Units.
    #[getter]
    fn hidden_size(&self) -> usize {
        self.config.hidden_size
    }

    /// The constructor's keywords that make such a cell again.
    #[getter]
    fn config<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyDict>> {
        let this = slf.get();
        let config = PyDict::new(slf.py());
        config.set_item("input_size", this.config.input_size)?;
        config.set_item("hidden_size", this.config.hidden_size)?;
        config.set_item("bias", this.config.bias)?;
        for (name, value) in this.options() {
            config.set_item(name, value)?;
        }
        let memory = slf.as_super().get().memory();
        config.set_item("dtype", memory.precision().name())?;
        Ok(config)
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let (this, memory) = (slf.get(), slf.as_super().get().memory());
        let mut further = String::new();
        for (name, value) in this.options() {
            let _ = write!(further, ", {name}={value}");
        }
        Ok(format!(
            "{}({}, {}{}{further}, dtype={:?})  # {} parameters",
            slf.get_type().name()?,
            this.config.input_size,
            this.config.hidden_size,
            if this.config.bias { "" } else { ", bias=False" },
            memory.precision().name(),
            memory.count()
        ))
    }
}

/// The keywords that every kind of cell has.
pub const KEYWORDS: &[&str] = &["bias", "clip", "init", "dtype", "seed"];

/// The base of a cell of one kind, and what is beneath it.
pub fn cell<'py>(
    cell: CellKind,
    states: &'static [&'static str],
    [input_size, hidden_size]: [&Bound<'py, PyAny>; 2],
    keywords: &Keywords<'py>,
) -> PyResult<PyClassInitializer<RecurrentCell>> {
    let config = StackConfig {
        cell,
        input_size: options::integer("input_size", input_size, 1)?,
        hidden_size: options::integer("hidden_size", hidden_size, 1)?,
        num_layers: 1,
        bias: keywords.boolean("bias", true)?,
        directions: Directions::Forward,
        merge_mode: MergeMode::Concat,
        return_sequences: false,
        naming: Naming::Cell,
    };
    let (precision, seed) = (keywords.precision()?, keywords.seed()?);
    let initial = InitialWeights::new(keywords, config.bias, precision)?;
    let (py, rates) = (input_size.py(), Rates::none(1));
    let (stack, memory) = build(py, config, rates, precision, &initial, seed)?;
    Ok(
        PyClassInitializer::from(Module::new(memory)).add_subclass(RecurrentCell {
            stack,
            config,
            states,
        }),
    )
}
