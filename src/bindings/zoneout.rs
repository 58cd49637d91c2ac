//! `Zoneout`.

use std::sync::Arc;

use numpy::{PyArrayDyn, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::arrays::{self, Contiguous, Number};
use super::module::Module;
use super::options;
use super::parameter::AnyParameters;
use crate::error::Error;
use crate::memory::copied_vec;
use crate::parameters::Parameters;
use crate::random::Ticket;
use crate::regularization::zoneout::Kept;

/// Zoneout (Krueger et al. 2016) for a recurrence of one's own: in training mode, each element of a
/// state keeps its old value with a probability, otherwise it takes the new one.
///
/// ``state = zoneout(old_state, new_state)``, where states are hidden states ``h``, or tuples
/// ``(h, c)`` with a cell state, of any shape. Recurrent layers have an option of the same name.
///
/// Masks come from the process-wide random stream (``manual_seed``): each call in training mode
/// draws one ticket.
///
/// Parameters
/// ----------
/// cell : float
///     Probability that an element of a cell state stays, 0 to 1.
/// hidden : float
///     Probability that an element of a hidden state stays, 0 to 1.
/// zoneout_eval : {"expectation", "identity"}, default "expectation"
///     What happens in evaluation mode: ``p * old + (1 - p) * new``, or the new state.
///
/// Raises
/// ------
/// ConfigError, DtypeError
///     If an option can't have that value.
#[pyclass(frozen, subclass, extends = Module, module = "recurrust._core")]
pub struct Zoneout {
    cell: f64,
    hidden: f64,
    evaluation: Evaluation,
}

/// What happens in evaluation mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Evaluation {
    Expectation,
    Identity,
}

impl Evaluation {
    const NAMES: [&'static str; 2] = ["expectation", "identity"];
}

/// What ``Zoneout.backward`` needs from its forward pass.
#[pyclass(frozen, module = "recurrust._core")]
pub struct ZoneoutCache {
    /// One for each state.
    states: Vec<KeptState>,
    is_pair: bool,
}

/// What stayed of one state.
struct KeptState {
    kept: Kept,
    shape: Vec<usize>,
}

/// The arguments' names of a state, for messages.
const PARTS: [&str; 2] = ["h", "c"];

/// The arrays of a state argument, and whether it is a tuple.
fn arrays_of<'py>(
    value: &Bound<'py, PyAny>,
    name: &str,
) -> PyResult<(Vec<Bound<'py, PyUntypedArray>>, bool)> {
    let Ok(pair) = value.cast::<PyTuple>() else {
        return Ok((vec![arrays::numbers(value, name)?], false));
    };
    if pair.len() != PARTS.len() {
        let got = format!("a tuple of {}", pair.len());
        return Err(Error::config(name.to_owned(), "h or a tuple (h, c)", got).into());
    }
    let parts = pair.iter().zip(PARTS);
    let parts = parts.map(|(part, of)| arrays::numbers(&part, &format!("{name}: {of}")));
    Ok((parts.collect::<PyResult<_>>()?, true))
}

/// A state of so many parts as Python has it.
fn to_python<'py>(
    py: Python<'py>,
    mut parts: Vec<Bound<'py, PyAny>>,
    is_pair: bool,
) -> PyResult<Bound<'py, PyAny>> {
    if is_pair {
        return Ok(PyTuple::new(py, parts)?.into_any());
    }
    Ok(parts.remove(0))
}

fn applied<'py, F: Number>(
    old: &Bound<'py, PyUntypedArray>,
    new: &Bound<'py, PyUntypedArray>,
    kept: &Kept,
) -> PyResult<Bound<'py, PyAny>> {
    let (from, to) = (Contiguous::<F>::new(old)?, Contiguous::<F>::new(new)?);
    let state = kept.apply(from.as_slice(), to.as_slice())?;
    Ok(arrays::to_numpy(new.py(), state, new.shape())?.into_any())
}

fn gradients<'py, F: Number>(
    gradient: &Bound<'py, PyUntypedArray>,
    kept: &Kept,
) -> PyResult<[Bound<'py, PyAny>; 2]> {
    let (old, new) = kept.gradients(Contiguous::<F>::new(gradient)?.as_slice())?;
    let array = |values| -> PyResult<Bound<'py, PyAny>> {
        let array: Bound<'py, PyArrayDyn<F>> =
            arrays::to_numpy(gradient.py(), values, gradient.shape())?;
        Ok(array.into_any())
    };
    Ok([array(old)?, array(new)?])
}

impl Zoneout {
    /// The result, and what stayed of each state.
    fn forward<'py>(
        slf: &Bound<'py, Self>,
        old: &Bound<'py, PyAny>,
        new: &Bound<'py, PyAny>,
    ) -> PyResult<(Bound<'py, PyAny>, ZoneoutCache)> {
        let this = slf.get();
        let (old, is_pair) = arrays_of(old, "old_state")?;
        let (new, is_new_pair) = arrays_of(new, "new_state")?;
        if is_pair != is_new_pair {
            let name = |is_pair| if is_pair { "a tuple (h, c)" } else { "h" };
            let expected = format!("{}, as old_state is", name(is_pair));
            return Err(Error::config("new_state", expected, name(is_new_pair)).into());
        }
        for ((old, new), part) in old.iter().zip(&new).zip(PARTS) {
            let name = if is_pair {
                format!("new_state: {part}")
            } else {
                "new_state".to_owned()
            };
            arrays::check_shape(new, &name, old.shape())?;
        }
        // One for both states, however many there are.
        let ticket = slf.as_super().get().is_training().then(Ticket::draw);
        let mut parts = Vec::with_capacity(PARTS.len());
        let mut states = Vec::with_capacity(PARTS.len());
        let probabilities = [this.hidden, this.cell];
        for (index, (old, new)) in (0..).zip(old.iter().zip(&new)) {
            let probability = probabilities[parts.len()];
            let kept = match (ticket, this.evaluation) {
                (Some(ticket), _) => Kept::draw(new.len(), probability, ticket, index)?,
                (None, Evaluation::Expectation) => Kept::Share(probability),
                (None, Evaluation::Identity) => Kept::Share(0.0),
            };
            let is_double = arrays::is_double(old) || arrays::is_double(new);
            parts.push(if is_double {
                applied::<f64>(old, new, &kept)?
            } else {
                applied::<f32>(old, new, &kept)?
            });
            let shape = new.shape().to_vec();
            states.push(KeptState { kept, shape });
        }
        let state = to_python(slf.py(), parts, is_pair)?;
        Ok((state, ZoneoutCache { states, is_pair }))
    }
}

#[pymethods]
impl ZoneoutCache {
    /// Which elements kept their old values, copies: a boolean array for ``h``, or a tuple of one for
    /// ``h`` and one for ``c``. None in evaluation mode, where nothing is drawn.
    #[getter]
    fn mask<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let mut masks = Vec::with_capacity(self.states.len());
        for KeptState { kept, shape } in &self.states {
            let Kept::Mask(mask) = kept else {
                return Ok(None);
            };
            let mask = numpy::PyArray1::from_vec(py, copied_vec(mask)?);
            masks.push(mask.call_method1("reshape", (PyTuple::new(py, shape)?,))?);
        }
        to_python(py, masks, self.is_pair).map(Some)
    }
}

#[pymethods]
impl Zoneout {
    #[new]
    #[pyo3(signature = (cell, hidden, *, zoneout_eval = None), text_signature = "(cell, hidden, *, zoneout_eval='expectation')")]
    fn new(
        cell: &Bound<'_, PyAny>,
        hidden: &Bound<'_, PyAny>,
        zoneout_eval: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let evaluation = zoneout_eval.map_or(Ok(0), |value| {
            options::choice("zoneout_eval", value, &Evaluation::NAMES)
        })?;
        let zoneout = Self {
            cell: options::probability("cell", cell)?,
            hidden: options::probability("hidden", hidden)?,
            evaluation: [Evaluation::Expectation, Evaluation::Identity][evaluation],
        };
        let memory = AnyParameters::Single(Arc::new(Parameters::new(Vec::new())?));
        Ok(PyClassInitializer::from(Module::new(memory)).add_subclass(zoneout))
    }

    /// Probability that an element of a cell state stays.
    #[getter]
    fn cell(&self) -> f64 {
        self.cell
    }

    /// Probability that an element of a hidden state stays.
    #[getter]
    fn hidden(&self) -> f64 {
        self.hidden
    }

    /// What happens in evaluation mode.
    #[getter]
    fn zoneout_eval(&self) -> &'static str {
        Evaluation::NAMES[self.evaluation as usize]
    }

    // Python shows no documentation of calls: it stands at `forward_with_cache`.
    fn __call__<'py>(
        slf: &Bound<'py, Self>,
        old_state: &Bound<'py, PyAny>,
        new_state: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Self::forward(slf, old_state, new_state).map(|(state, _)| state)
    }

    /// The state that goes on, and what ``backward`` needs.
    ///
    /// ``state = zoneout(old_state, new_state)`` keeps nothing.
    ///
    /// Parameters
    /// ----------
    /// old_state : array_like, or a tuple (h, c) of two
    ///     The state that entered the step, of any shape.
    /// new_state : array_like, or a tuple (h, c) of two
    ///     The state that the step gave, of the same shape. The hidden state is to be computed from the
    ///     new cell state before its zoneout.
    ///
    /// Returns
    /// -------
    /// state : numpy.ndarray, or a tuple of two
    ///     float64 if one of the two is, else float32.
    /// cache : ZoneoutCache
    ///
    /// Raises
    /// ------
    /// ShapeError, DtypeError, ConfigError
    ///     If the states aren't alike.
    fn forward_with_cache<'py>(
        slf: &Bound<'py, Self>,
        old_state: &Bound<'py, PyAny>,
        new_state: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        Self::forward(slf, old_state, new_state)?.into_pyobject(slf.py())
    }

    /// The gradients of both states: what stayed passes its gradient on to the old one.
    ///
    /// Parameters
    /// ----------
    /// dstate : array_like, or a tuple of two
    ///     Gradient of the loss with respect to the state that ``forward_with_cache`` returned.
    /// cache : ZoneoutCache
    ///     From ``forward_with_cache``.
    ///
    /// Returns
    /// -------
    /// dold_state, dnew_state : numpy.ndarray, or a tuple of two, each
    ///
    /// Raises
    /// ------
    /// ShapeError, DtypeError, ConfigError
    ///     If an argument doesn't fit.
    #[pyo3(signature = (dstate, *, cache))]
    #[allow(clippy::unused_self)] // the cache says it all
    fn backward<'py>(
        &self,
        dstate: &Bound<'py, PyAny>,
        cache: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let py = dstate.py();
        let Ok(cache) = cache.cast::<ZoneoutCache>() else {
            let expected = "the cache of this object's forward_with_cache";
            return Err(Error::dtype("cache", expected, options::shown(cache)).into());
        };
        let cache = cache.get();
        let (parts, is_pair) = arrays_of(dstate, "dstate")?;
        if is_pair != cache.is_pair {
            let name = |is_pair| if is_pair { "a tuple (h, c)" } else { "h" };
            let expected = format!("{}, as the state was", name(cache.is_pair));
            return Err(Error::config("dstate", expected, name(is_pair)).into());
        }
        let mut old = Vec::with_capacity(PARTS.len());
        let mut new = Vec::with_capacity(PARTS.len());
        for ((array, KeptState { kept, shape }), part) in parts.iter().zip(&cache.states).zip(PARTS)
        {
            let name = if is_pair {
                format!("dstate: {part}")
            } else {
                "dstate".to_owned()
            };
            arrays::check_shape(array, &name, shape)?;
            let [of_old, of_new] = if arrays::is_double(array) {
                gradients::<f64>(array, kept)?
            } else {
                gradients::<f32>(array, kept)?
            };
            old.push(of_old);
            new.push(of_new);
        }
        let old = to_python(py, old, is_pair)?;
        (old, to_python(py, new, is_pair)?).into_pyobject(py)
    }

    /// The constructor's keywords that make such an object again.
    #[getter]
    fn config<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let config = PyDict::new(py);
        config.set_item("cell", self.cell)?;
        config.set_item("hidden", self.hidden)?;
        config.set_item("zoneout_eval", self.zoneout_eval())?;
        Ok(config)
    }

    /// A copy; there are no parameters whose type could change.
    fn astype<'py>(
        slf: &Bound<'py, Self>,
        dtype: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        options::precision(dtype)?;
        slf.py().import("copy")?.call_method1("copy", (slf,))
    }

    fn __repr__(&self) -> String {
        let evaluation = match self.evaluation {
            Evaluation::Expectation => String::new(),
            Evaluation::Identity => ", zoneout_eval=\"identity\"".to_owned(),
        };
        format!("Zoneout({}, {}{evaluation})", self.cell, self.hidden)
    }
}
