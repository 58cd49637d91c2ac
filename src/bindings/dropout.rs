//! `Dropout`.

use std::sync::Arc;

use numpy::{PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::PyAttributeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::arrays::{self, Contiguous, Number};
use super::module::Module;
use super::options;
use super::parameter::AnyParameters;
use crate::error::{Error, checked_size};
use crate::memory::copied_vec;
use crate::parameters::Parameters;
use crate::random::Ticket;
use crate::regularization::dropout::{self, Cover};

/// Inverted dropout (Srivastava et al. 2014): in training mode, zeroes each element with
/// probability ``p`` and scales the others by ``1 / (1 - p)``; otherwise passes them on.
///
/// Masks come from the process-wide random stream (``manual_seed``): each training call with
/// ``p > 0`` draws one ticket, so that no two calls share a mask.
///
/// Parameters
/// ----------
/// p : float, default 0.5
///     Probability of zero, 0 to 1. With 1 everything is zero.
/// variational : bool, default False
///     Whether a sequence has one mask for all of its steps (Gal and Ghahramani 2016). x is then
///     (steps, batch, features), (batch, steps, features) with ``batch_first``, or (steps, features)
///     for one sequence, as recurrent layers have it.
/// batch_first : bool, default False
///     Which axis of x are the steps, if ``variational``; changes nothing otherwise. Layers of a
///     ``Sequential`` must agree on it.
///
/// Raises
/// ------
/// ConfigError, DtypeError
///     If ``p`` isn't a probability.
#[pyclass(frozen, subclass, extends = Module, module = "recurrust._core")]
pub struct Dropout {
    p: f64,
    variational: bool,
    batch_first: bool,
}

/// What ``Dropout.backward`` needs from its forward pass.
#[pyclass(frozen, module = "recurrust._core")]
pub struct DropoutCache {
    /// Nothing when every element was passed on.
    mask: Option<AnyMask>,
    layout: Layout,
}

enum AnyMask {
    Single(Vec<f32>),
    Double(Vec<f64>),
}

/// The shapes of x and its mask.
struct Layout {
    shape: Vec<usize>,
    /// The axis of steps, along which the mask is constant.
    steps: Option<usize>,
}

impl Layout {
    /// The shape of the mask: one step of x, where it is constant over time.
    fn mask_shape(&self) -> Vec<usize> {
        let mut shape = self.shape.clone();
        if let Some(steps) = self.steps {
            shape[steps] = 1;
        }
        shape
    }

    fn cover(&self) -> Cover {
        let width = |axes: &[usize]| axes.iter().product();
        match self.steps {
            Some(axis) => Cover {
                steps: self.shape[axis],
                width: width(&self.shape[axis + 1..]),
            },
            None => Cover {
                steps: 1,
                width: width(&self.shape),
            },
        }
    }
}

/// Calls a generic function with float64 for float64 arrays, and with float32 for all others.
macro_rules! by_dtype {
    ($array:expr, $function:ident ( $($argument:expr),* )) => {
        if arrays::is_double($array) {
            $function::<f64>($array, $($argument),*)
        } else {
            $function::<f32>($array, $($argument),*)
        }
    };
}

/// The masked values, and the mask that was drawn for them.
fn forward<'py, F: Masked>(
    array: &Bound<'py, PyUntypedArray>,
    probability: f64,
    layout: &Layout,
) -> PyResult<(Bound<'py, PyAny>, Option<AnyMask>)> {
    let input = Contiguous::<F>::new(array)?;
    let values = input.as_slice();
    let (output, mask) = if probability > 0.0 {
        let len = checked_size(&layout.mask_shape())?;
        let mask = dropout::mask(len, probability, Ticket::draw())?;
        let output = dropout::apply(values, &mask, layout.cover())?;
        (output, Some(F::wrap(mask)))
    } else {
        (copied_vec(values)?, None)
    };
    let y = arrays::to_numpy(array.py(), output, &layout.shape)?;
    Ok((y.into_any(), mask))
}

/// The values as they are.
fn passed_on<'py, F: Number>(array: &Bound<'py, PyUntypedArray>) -> PyResult<Bound<'py, PyAny>> {
    let output = copied_vec(Contiguous::<F>::new(array)?.as_slice())?;
    Ok(arrays::to_numpy(array.py(), output, array.shape())?.into_any())
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
    array: &Bound<'py, PyUntypedArray>,
    mask: &[F],
    cover: Cover,
) -> PyResult<Bound<'py, PyAny>> {
    let gradient = Contiguous::<F>::new(array)?;
    let dx = dropout::apply(gradient.as_slice(), mask, cover)?;
    Ok(arrays::to_numpy(array.py(), dx, array.shape())?.into_any())
}

#[pymethods]
impl DropoutCache {
    /// What x was multiplied with, a copy: 0 or ``1 / (1 - p)``.
    ///
    /// Shaped like x, but for a single step where the mask is the same for all; None where nothing
    /// was dropped, in evaluation mode or with ``p=0``.
    #[getter]
    fn mask<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let shape = self.layout.mask_shape();
        match &self.mask {
            None => Ok(None),
            Some(AnyMask::Single(mask)) => {
                let mask = arrays::to_numpy(py, copied_vec(mask)?, &shape)?;
                Ok(Some(mask.into_any()))
            }
            Some(AnyMask::Double(mask)) => {
                let mask = arrays::to_numpy(py, copied_vec(mask)?, &shape)?;
                Ok(Some(mask.into_any()))
            }
        }
    }
}

impl Dropout {
    /// The shapes of an input and its mask.
    fn layout(&self, x: &Bound<'_, PyUntypedArray>) -> PyResult<Layout> {
        let shape = x.shape().to_vec();
        if !self.variational {
            return Ok(Layout { shape, steps: None });
        }
        let expected = if self.batch_first {
            "(batch, steps, features) or (steps, features)"
        } else {
            "(steps, batch, features) or (steps, features)"
        };
        arrays::check_dimensions(x, "x", &[2, 3], expected)?;
        let steps = Some(usize::from(self.batch_first && shape.len() == 3));
        Ok(Layout { shape, steps })
    }
}

#[pymethods]
impl Dropout {
    #[new]
    #[pyo3(signature = (p = None, variational = None, *, batch_first = None), text_signature = "(p=0.5, variational=False, *, batch_first=False)")]
    fn new(
        p: Option<&Bound<'_, PyAny>>,
        variational: Option<&Bound<'_, PyAny>>,
        batch_first: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let flag = |name, value: Option<&Bound<'_, PyAny>>| {
            value.map_or(Ok(false), |value| options::boolean(name, value))
        };
        let layer = Self {
            p: p.map_or(Ok(0.5), |p| options::probability("p", p))?,
            variational: flag("variational", variational)?,
            batch_first: flag("batch_first", batch_first)?,
        };
        let memory = AnyParameters::Single(Arc::new(Parameters::new(Vec::new())?));
        Ok(PyClassInitializer::from(Module::new(memory)).add_subclass(layer))
    }

    /// Probability of zero.
    #[getter]
    fn p(&self) -> f64 {
        self.p
    }

    /// Whether a sequence has one mask for all of its steps.
    #[getter]
    fn variational(&self) -> bool {
        self.variational
    }

    /// Whether x is (batch, steps, features), if ``variational``; other layers don't know of steps, and
    /// have no such attribute.
    #[getter]
    fn batch_first(&self) -> PyResult<bool> {
        if self.variational {
            return Ok(self.batch_first);
        }
        let text = "a Dropout without variational=True has no attribute 'batch_first'";
        Err(PyAttributeError::new_err(text))
    }

    // Python shows no documentation of calls: it stands at `forward_with_cache`.
    fn __call__<'py>(slf: &Bound<'py, Self>, x: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let array = arrays::numbers(x, "x")?;
        let layout = slf.get().layout(&array)?;
        by_dtype!(&array, forward(probability(slf), &layout)).map(|(y, _)| y)
    }

    /// Apply the layer and keep the mask for ``backward``.
    ///
    /// ``y = layer(x)`` keeps nothing.
    ///
    /// Parameters
    /// ----------
    /// x : array_like of any shape
    ///     With ``variational`` see there.
    ///
    /// Returns
    /// -------
    /// y : numpy.ndarray, shaped like x
    /// cache : DropoutCache
    fn forward_with_cache<'py>(
        slf: &Bound<'py, Self>,
        x: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let array = arrays::numbers(x, "x")?;
        let layout = slf.get().layout(&array)?;
        let (y, mask) = by_dtype!(&array, forward(probability(slf), &layout))?;
        (y, DropoutCache { mask, layout }).into_pyobject(slf.py())
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
        arrays::check_shape(&array, "dy", &cache.layout.shape)?;
        if !input_grad {
            return Ok(None);
        }
        let cover = cache.layout.cover();
        match &cache.mask {
            None => by_dtype!(&array, passed_on()).map(Some),
            Some(AnyMask::Single(mask)) => masked_gradient(&array, mask, cover).map(Some),
            Some(AnyMask::Double(mask)) => masked_gradient(&array, mask, cover).map(Some),
        }
    }

    /// The constructor's keywords that make such a layer again.
    #[getter]
    fn config<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let config = PyDict::new(py);
        config.set_item("p", self.p)?;
        config.set_item("variational", self.variational)?;
        config.set_item("batch_first", self.batch_first)?;
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
        let mut text = format!("Dropout(p={}", self.p);
        for (name, value) in [
            ("variational", self.variational),
            ("batch_first", self.batch_first),
        ] {
            if value {
                text = format!("{text}, {name}=True");
            }
        }
        text + ")"
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
