//! `LayerNorm`.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::arrays::{self, Number};
use super::features::{Either, Features, Kept, other_precision};
use super::module::Module;
use super::options;
use super::parameter::{AnyParameters, with_parameters};
use super::pools::{Pooled, Pools};
use super::run::with_reading;
use crate::error::Error;
use crate::float::Precision;
use crate::layers::layer_norm::{LayerNorm as Core, Normalized};
use crate::parameters::Parameters;
use crate::streaming::FrozenLayer;

/// Layer normalisation on the last axis (Ba, Kiros and Hinton 2016): every row is shifted and scaled
/// to mean 0 and variance 1, ``y = (x - mean) / sqrt(variance + eps) * weight + bias``.
///
/// The variance is the biased one. Numbers far from zero lose no digits: what is squared and summed
/// up are distances from the mean.
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
    pools: Pools,
}

/// What ``LayerNorm.backward`` needs from its forward pass.
#[pyclass(frozen, module = "recurrust._core")]
pub struct LayerNormCache(Kept<AnyNormalized>);

type AnyNormalized = Either<Normalized<f32>, Normalized<f64>>;

/// Numbers whose normalised rows a cache can hold.
trait Normalizable: Pooled {
    fn wrap(normalized: Normalized<Self>) -> AnyNormalized;
    fn unwrap(normalized: &AnyNormalized) -> Option<&Normalized<Self>>;
}

impl Normalizable for f32 {
    fn wrap(normalized: Normalized<Self>) -> AnyNormalized {
        AnyNormalized::Single(normalized)
    }

    fn unwrap(normalized: &AnyNormalized) -> Option<&Normalized<Self>> {
        match normalized {
            AnyNormalized::Single(normalized) => Some(normalized),
            AnyNormalized::Double(_) => None,
        }
    }
}

impl Normalizable for f64 {
    fn wrap(normalized: Normalized<Self>) -> AnyNormalized {
        AnyNormalized::Double(normalized)
    }

    fn unwrap(normalized: &AnyNormalized) -> Option<&Normalized<Self>> {
        match normalized {
            AnyNormalized::Double(normalized) => Some(normalized),
            AnyNormalized::Single(_) => None,
        }
    }
}

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

    fn forward<'py, F: Pooled>(
        &self,
        parameters: &Parameters<F>,
        x: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = x.py();
        let core = self.core;
        let pool = F::pool(&self.pools);
        let input = Features::<F>::new(x, core.features)?;
        let sequence = input.sequence();
        let operations = input.count().saturating_mul(OPERATIONS);
        let output = with_reading(py, parameters, operations, |weights, interrupt| {
            core.forward(weights, sequence, pool, interrupt)
        })?;
        Ok(arrays::lend_to_numpy(py, output, &input.shape_with(core.features))?.into_any())
    }

    fn forward_cached<'py, F: Normalizable>(
        &self,
        parameters: &Parameters<F>,
        x: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let py = x.py();
        let core = self.core;
        let pool = F::pool(&self.pools);
        let input = Features::<F>::new(x, core.features)?;
        let sequence = input.sequence();
        let operations = input.count().saturating_mul(OPERATIONS);
        let (output, tape, version) =
            with_reading(py, parameters, operations, |weights, interrupt| {
                let (output, tape) = core.forward_with_tape(weights, sequence, pool, interrupt)?;
                Ok((output, tape, weights.version()))
            })?;
        let y = arrays::lend_to_numpy(py, output, &input.shape_with(core.features))?;
        (y, LayerNormCache(input.kept(F::wrap(tape), version))).into_pyobject(py)
    }

    fn backward_typed<'py, F: Normalizable>(
        &self,
        parameters: &Parameters<F>,
        dy: &Bound<'py, PyAny>,
        LayerNormCache(kept): &LayerNormCache,
        input_grad: bool,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = dy.py();
        let core = self.core;
        let pool = input_grad.then(|| F::pool(&self.pools));
        let tape = F::unwrap(kept.get(parameters.version())?).ok_or_else(other_precision)?;
        let dy = kept.gradient::<F>(dy, core.features)?;
        let gradient = dy.as_slice();
        let operations = gradient.len().saturating_mul(OPERATIONS);
        let dx = with_reading(py, parameters, operations, |weights, interrupt| {
            kept.get(weights.version())?;
            let (dx, gradients) =
                core.backward(weights, parameters, tape, gradient, pool, interrupt)?;
            parameters.gradients()?.add(&gradients);
            Ok(dx)
        })?;
        let shape = kept.shape_with(core.features);
        dx.map(|dx| arrays::lend_to_numpy(py, dx, &shape).map(Bound::into_any))
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
        Ok(
            PyClassInitializer::from(Module::new(memory)).add_subclass(Self {
                core,
                pools: Pools::default(),
            }),
        )
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
