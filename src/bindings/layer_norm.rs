//! `LayerNorm`.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::arrays::{self, Number};
use super::features::{Features, Keepable, KeptInput};
use super::module::Module;
use super::options;
use super::parameter::{AnyParameters, with_parameters};
use super::run::with_reading;
use crate::error::Error;
use crate::float::Precision;
use crate::layers::layer_norm::LayerNorm as Core;
use crate::parameters::Parameters;
use crate::streaming::FrozenLayer;

/// Layer normalisation on the last axis (Ba, Kiros and Hinton 2016): every row is shifted and scaled
/// to mean 0 and variance 1, ``y = (x - mean) / sqrt(variance + eps) * weight + bias``.
///
/// The variance is the biased one. Means and variances are taken in double precision.
///
/// Parameters
/// ----------
/// n : int
///     Features of input and output, 1 or more.
/// eps : float, default 1e-5
///     Added to the variance, which may be zero; above 0.
/// dtype : {"float32", "float64"}, default "float32"
///     Type of parameters and results.
/// seed : int, optional
///     As other layers have it; changes nothing here, where weights start as ones, biases as zeros.
///
/// Raises
/// ------
/// ConfigError, DtypeError
///     If an option can't have that value.
#[pyclass(frozen, subclass, extends = Module, module = "recurrust._core")]
pub struct LayerNorm {
    core: Core,
}

/// What ``LayerNorm.backward`` needs from its forward pass.
#[pyclass(frozen, module = "recurrust._core")]
pub struct LayerNormCache(KeptInput);

/// PyTorch's.
const DEFAULT_EPSILON: f64 = 1e-5;

/// Roughly how many operations a number takes, forward or backward.
const OPERATIONS: usize = 10;

impl LayerNorm {
    /// The layer as a stream needs it, with the weights that it has now.
    pub fn freeze<F: Number>(
        &self,
        py: Python<'_>,
        parameters: &Parameters<F>,
    ) -> PyResult<FrozenLayer<F>> {
        let core = self.core;
        with_reading(py, parameters, parameters.count(), |weights, _| {
            FrozenLayer::layer_norm(core, weights)
        })
    }

    fn forward<'py, F: Number>(
        &self,
        parameters: &Parameters<F>,
        x: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = x.py();
        let core = self.core;
        let input = Features::<F>::new(x, core.features)?;
        let sequence = input.sequence();
        let operations = input.count().saturating_mul(OPERATIONS);
        let output = with_reading(py, parameters, operations, |weights, interrupt| {
            core.forward(weights, sequence, interrupt)
        })?;
        Ok(arrays::to_numpy(py, output, &input.shape_with(core.features))?.into_any())
    }

    fn forward_cached<'py, F: Keepable>(
        &self,
        parameters: &Parameters<F>,
        x: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let py = x.py();
        let core = self.core;
        let input = Features::<F>::new(x, core.features)?;
        let sequence = input.sequence();
        let operations = input.count().saturating_mul(OPERATIONS);
        let (output, copy, version) =
            with_reading(py, parameters, operations, |weights, interrupt| {
                let output = core.forward(weights, sequence, interrupt)?;
                Ok((output, sequence.to_vec()?, weights.version()))
            })?;
        let y = arrays::to_numpy(py, output, &input.shape_with(core.features))?;
        (y, LayerNormCache(input.kept(copy, version))).into_pyobject(py)
    }

    fn backward_typed<'py, F: Keepable>(
        &self,
        parameters: &Parameters<F>,
        dy: &Bound<'py, PyAny>,
        LayerNormCache(kept): &LayerNormCache,
        input_grad: bool,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = dy.py();
        let core = self.core;
        let input = kept.numbers::<F>(parameters.version())?;
        let dy = kept.gradient::<F>(dy, core.features)?;
        let gradient = dy.as_slice();
        let operations = input.len().saturating_mul(2 * OPERATIONS);
        let dx = with_reading(py, parameters, operations, |weights, interrupt| {
            let input = kept.numbers(weights.version())?;
            let (dx, gradients) =
                core.backward(weights, parameters, input, gradient, input_grad, interrupt)?;
            parameters.gradients()?.add(&gradients);
            Ok(dx)
        })?;
        dx.map(|dx| {
            let shape = kept.shape_with(core.features);
            arrays::to_numpy(py, dx, &shape).map(Bound::into_any)
        })
        .transpose()
    }
}

#[pymethods]
impl LayerNorm {
    #[new]
    #[pyo3(signature = (n, *, eps = None, dtype = None, seed = None), text_signature = "(n, *, eps=1e-05, dtype='float32', seed=None)")]
    fn new(
        n: &Bound<'_, PyAny>,
        eps: Option<&Bound<'_, PyAny>>,
        dtype: Option<&Bound<'_, PyAny>>,
        seed: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let core = Core {
            features: options::integer("n", n, 1)?,
            epsilon: eps.map_or(Ok(DEFAULT_EPSILON), |eps| {
                options::real("eps", eps, "a positive finite number", |eps| {
                    eps.is_finite() && eps > 0.0
                })
            })?,
        };
        let precision = dtype.map_or(Ok(Precision::Single), options::precision)?;
        if let Some(seed) = seed {
            options::seed("seed", seed)?;
        }
        let memory = match precision {
            Precision::Single => AnyParameters::Single(Arc::new(core.parameters()?)),
            Precision::Double => AnyParameters::Double(Arc::new(core.parameters()?)),
        };
        Ok(PyClassInitializer::from(Module::new(memory)).add_subclass(Self { core }))
    }

    // Python shows no documentation of calls: it stands at `forward_with_cache`.
    fn __call__<'py>(slf: &Bound<'py, Self>, x: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        with_parameters!(slf.as_super().get().memory(), parameters => {
            slf.get().forward(parameters, x)
        })
    }

    /// Apply the layer and keep what ``backward`` needs.
    ///
    /// ``y = layer(x)`` keeps nothing.
    ///
    /// Parameters
    /// ----------
    /// x : array_like, shape (..., n)
    ///
    /// Returns
    /// -------
    /// y : numpy.ndarray, shape (..., n)
    /// cache : LayerNormCache
    fn forward_with_cache<'py>(
        slf: &Bound<'py, Self>,
        x: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        with_parameters!(slf.as_super().get().memory(), parameters => {
            slf.get().forward_cached(parameters, x)
        })
    }

    /// The gradient; adds to the parameters' gradients.
    ///
    /// Parameters
    /// ----------
    /// dy : array_like, shape (..., n)
    ///     Gradient of the loss with respect to y.
    /// cache : LayerNormCache
    ///     From ``forward_with_cache`` of this layer.
    /// input_grad : bool, default True
    ///     Whether the gradient of x is wanted.
    ///
    /// Returns
    /// -------
    /// dx : numpy.ndarray, shape (..., n), or None
    ///
    /// Raises
    /// ------
    /// StateError
    ///     If the weights have changed since, or the cache is another layer's.
    #[pyo3(signature = (dy, *, cache, input_grad = true))]
    fn backward<'py>(
        slf: &Bound<'py, Self>,
        dy: &Bound<'py, PyAny>,
        cache: &Bound<'py, PyAny>,
        input_grad: bool,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Ok(cache) = cache.cast::<LayerNormCache>() else {
            return Err(Error::dtype(
                "cache",
                "the cache of this layer's forward_with_cache",
                options::shown(cache),
            )
            .into());
        };
        with_parameters!(slf.as_super().get().memory(), parameters => {
            slf.get().backward_typed(parameters, dy, cache.get(), input_grad)
        })
    }

    /// Features of input and output.
    #[getter]
    fn n(&self) -> usize {
        self.core.features
    }

    /// What is added to the variance.
    #[getter]
    fn eps(&self) -> f64 {
        self.core.epsilon
    }

    /// The constructor's keywords that make such a layer again.
    #[getter]
    fn config<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyDict>> {
        let core = slf.get().core;
        let config = PyDict::new(slf.py());
        config.set_item("n", core.features)?;
        config.set_item("eps", core.epsilon)?;
        let memory = slf.as_super().get().memory();
        config.set_item("dtype", memory.precision().name())?;
        Ok(config)
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let (core, memory) = (slf.get().core, slf.as_super().get().memory());
        let epsilon = if core.epsilon == DEFAULT_EPSILON {
            String::new()
        } else {
            format!(", eps={:?}", core.epsilon)
        };
        Ok(format!(
            "{}({}{epsilon}, dtype={:?})  # {} parameters",
            slf.get_type().name()?,
            core.features,
            memory.precision().name(),
            memory.count()
        ))
    }
}
