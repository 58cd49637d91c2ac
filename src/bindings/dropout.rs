//! `Dropout`.

use std::sync::Arc;

use numpy::PyUntypedArrayMethods;
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
use crate::regularization::dropout;

/// Inverted dropout (Srivastava et al. 2014): in training mode, zeroes each element with
/// probability ``p`` and scales the others by ``1 / (1 - p)``; otherwise passes them on.
///
/// Masks come from the process-wide random stream (``manual_seed``): each training call with
/// ``p > 0`` draws one ticket.
///
/// Parameters
/// ----------
/// p : float, default 0.5
///     Probability of zero, 0 to 1. With 1 everything is zero.
///
/// Raises
/// ------
/// ConfigError, DtypeError
///     If ``p`` isn't a probability.
#[pyclass(frozen, subclass, extends = Module, module = "recurrust._core")]
pub struct Dropout {
    p: f64,
}

/// What ``Dropout.backward`` needs from its forward pass.
#[pyclass(frozen, module = "recurrust._core")]
pub struct DropoutCache {
    /// Nothing when every element was passed on.
    mask: Option<AnyMask>,
    shape: Vec<usize>,
}

enum AnyMask {
    Single(Vec<f32>),
    Double(Vec<f64>),
}

/// Calls a generic function with float64 for float64 arrays, and with float32 for all others.
macro_rules! by_dtype {
    ($value:expr, $name:literal, $function:ident, $($argument:expr),*) => {{
        let array = arrays::numbers($value, $name)?;
        if arrays::is_double(&array) {
            $function::<f64>(&array, $($argument),*)
        } else {
            $function::<f32>(&array, $($argument),*)
        }
    }};
}

type Applied<'py, F> = (Bound<'py, PyAny>, Option<Vec<F>>);

/// The masked values, and the mask that was drawn for them.
fn forward<'py, F: Number>(
    array: &Bound<'py, numpy::PyUntypedArray>,
    probability: f64,
) -> PyResult<Applied<'py, F>> {
    let input = Contiguous::<F>::new(array)?;
    let values = input.as_slice();
    let (output, mask) = if probability > 0.0 {
        let mask = dropout::mask(values.len(), probability, Ticket::draw())?;
        (dropout::apply(values, &mask)?, Some(mask))
    } else {
        (copied_vec(values)?, None)
    };
    let y = arrays::to_numpy(array.py(), output, array.shape())?;
    Ok((y.into_any(), mask))
}

fn forward_cached<'py, F: Masked>(
    array: &Bound<'py, numpy::PyUntypedArray>,
    probability: f64,
) -> PyResult<(Bound<'py, PyAny>, Option<AnyMask>)> {
    let (y, mask) = forward::<F>(array, probability)?;
    Ok((y, mask.map(F::wrap)))
}

fn output<'py, F: Number>(
    array: &Bound<'py, numpy::PyUntypedArray>,
    probability: f64,
) -> PyResult<Bound<'py, PyAny>> {
    Ok(forward::<F>(array, probability)?.0)
}

/// Numbers whose masks a cache can hold.
trait Masked: Number {
    fn wrap(mask: Vec<Self>) -> AnyMask;
}

impl Masked for f32 {
    fn wrap(mask: Vec<Self>) -> AnyMask {
        AnyMask::Single(mask)
    }
}

impl Masked for f64 {
    fn wrap(mask: Vec<Self>) -> AnyMask {
        AnyMask::Double(mask)
    }
}

fn masked_gradient<'py, F: Number>(
    array: &Bound<'py, numpy::PyUntypedArray>,
    mask: &[F],
) -> PyResult<Bound<'py, PyAny>> {
    let gradient = Contiguous::<F>::new(array)?;
    let dx = dropout::apply(gradient.as_slice(), mask)?;
    Ok(arrays::to_numpy(array.py(), dx, array.shape())?.into_any())
}

#[pymethods]
impl Dropout {
    #[new]
    #[pyo3(signature = (p = None), text_signature = "(p=0.5)")]
    fn new(p: Option<&Bound<'_, PyAny>>) -> PyResult<PyClassInitializer<Self>> {
        let p = p.map_or(Ok(0.5), |p| options::probability("p", p))?;
        let memory = AnyParameters::Single(Arc::new(Parameters::new(Vec::new())?));
        Ok(PyClassInitializer::from(Module::new(memory)).add_subclass(Self { p }))
    }

    /// Probability of zero.
    #[getter]
    fn p(&self) -> f64 {
        self.p
    }

    // Python shows no documentation of calls: it stands at `forward_with_cache`.
    fn __call__<'py>(slf: &Bound<'py, Self>, x: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let probability = probability(slf);
        by_dtype!(x, "x", output, probability)
    }

    /// Apply the layer and keep the mask for ``backward``.
    ///
    /// ``y = layer(x)`` keeps nothing.
    ///
    /// Parameters
    /// ----------
    /// x : array_like of any shape
    ///
    /// Returns
    /// -------
    /// y : numpy.ndarray, shaped like x
    /// cache : DropoutCache
    fn forward_with_cache<'py>(
        slf: &Bound<'py, Self>,
        x: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let py = slf.py();
        let probability = probability(slf);
        let (y, mask) = by_dtype!(x, "x", forward_cached, probability)?;
        let shape = y.cast::<numpy::PyUntypedArray>()?.shape().to_vec();
        (y, DropoutCache { mask, shape }).into_pyobject(py)
    }

    /// The gradient: that of y times the mask.
    ///
    /// Parameters
    /// ----------
    /// dy : array_like, shaped like y
    /// cache : DropoutCache
    /// input_grad : bool, default True
    ///
    /// Returns
    /// -------
    /// dx : numpy.ndarray, shaped like x, or None
    #[pyo3(signature = (dy, *, cache, input_grad = true))]
    #[allow(clippy::unused_self)] // the mask in the cache says it all
    fn backward<'py>(
        &self,
        dy: &Bound<'py, PyAny>,
        cache: &Bound<'py, PyAny>,
        input_grad: bool,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Ok(cache) = cache.cast::<DropoutCache>() else {
            return Err(Error::dtype(
                "cache",
                "the cache of this layer's forward_with_cache",
                options::shown(cache),
            )
            .into());
        };
        let cache = cache.get();
        let array = arrays::numbers(dy, "dy")?;
        arrays::check_shape(&array, "dy", &cache.shape)?;
        if !input_grad {
            return Ok(None);
        }
        match &cache.mask {
            None => by_dtype!(dy, "dy", output, 0.0).map(Some),
            Some(AnyMask::Single(mask)) => masked_gradient(&array, mask).map(Some),
            Some(AnyMask::Double(mask)) => masked_gradient(&array, mask).map(Some),
        }
    }

    /// The constructor's keywords that make such a layer again.
    #[getter]
    fn config<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let config = PyDict::new(py);
        config.set_item("p", self.p)?;
        Ok(config)
    }

    /// A copy; the layer has no parameters whose type could change.
    fn astype<'py>(
        slf: &Bound<'py, Self>,
        dtype: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        options::precision(dtype)?;
        slf.py().import("copy")?.call_method1("copy", (slf,))
    }

    fn __repr__(&self) -> String {
        format!("Dropout(p={})", self.p)
    }
}

/// The probability that is in force now.
fn probability(slf: &Bound<'_, Dropout>) -> f64 {
    if slf.as_super().get().is_training() {
        slf.get().p
    } else {
        0.0
    }
}
