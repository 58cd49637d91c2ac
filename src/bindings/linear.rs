//! `Linear`.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::arrays::{self, Number};
use super::features::{AnyNumbers, Features, Keepable, Kept};
use super::module::Module;
use super::options;
use super::parameter::{AnyParameters, with_parameters};
use super::run::with_reading;
use crate::error::Error;
use crate::float::Precision;
use crate::layers::linear::Linear as Core;
use crate::parameters::Parameters;
use crate::random::Ticket;
use crate::streaming::FrozenLayer;

/// The affine layer on the last axis, ``y = x W^T + b``.
///
/// Parameters
/// ----------
/// in_features : int
///     Features of the input, 1 or more.
/// out_features : int
///     Features of the output, 1 or more.
/// bias : bool, default True
///     Whether there is a bias.
/// dtype : {"float32", "float64"}, default "float32"
///     Type of parameters and results.
/// seed : int, optional
///     Seed of the initial weights, uniform in +-1/sqrt(in_features); without it they come from the
///     process-wide stream.
///
/// Raises
/// ------
/// ConfigError, DtypeError
///     If an option can't have that value.
#[pyclass(frozen, subclass, extends = Module, module = "recurrust._core")]
pub struct Linear {
    core: Core,
}

/// What ``Linear.backward`` needs from its forward pass.
#[pyclass(frozen, module = "recurrust._core")]
pub struct LinearCache(Kept<AnyNumbers>);

impl Linear {
    /// The layer as a stream needs it, with the weights that it has now.
    pub fn freeze<F: Number>(
        &self,
        py: Python<'_>,
        parameters: &Parameters<F>,
    ) -> PyResult<FrozenLayer<F>> {
        let core = self.core;
        with_reading(py, parameters, parameters.count(), |weights, _| {
            FrozenLayer::linear(core, weights)
        })
    }

    fn forward<'py, F: Number>(
        &self,
        parameters: &Parameters<F>,
        x: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = x.py();
        let core = self.core;
        let input = Features::<F>::new(x, core.inputs)?;
        let sequence = input.sequence();
        let operations = input.count().saturating_mul(2 * core.outputs);
        let output = with_reading(py, parameters, operations, |weights, interrupt| {
            core.forward(weights, sequence, interrupt)
        })?;
        Ok(arrays::to_numpy(py, output, &input.shape_with(core.outputs))?.into_any())
    }

    fn forward_cached<'py, F: Keepable>(
        &self,
        parameters: &Parameters<F>,
        x: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let py = x.py();
        let core = self.core;
        let input = Features::<F>::new(x, core.inputs)?;
        let sequence = input.sequence();
        let operations = input.count().saturating_mul(2 * core.outputs);
        let (output, copy, version) =
            with_reading(py, parameters, operations, |weights, interrupt| {
                let output = core.forward(weights, sequence, interrupt)?;
                Ok((output, sequence.to_vec()?, weights.version()))
            })?;
        let y = arrays::to_numpy(py, output, &input.shape_with(core.outputs))?;
        (y, LinearCache(input.kept(F::wrap(copy), version))).into_pyobject(py)
    }

    fn backward_typed<'py, F: Keepable>(
        &self,
        parameters: &Parameters<F>,
        dy: &Bound<'py, PyAny>,
        LinearCache(kept): &LinearCache,
        input_grad: bool,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = dy.py();
        let core = self.core;
        let input = kept.numbers::<F>(parameters.version())?;
        let dy = kept.gradient::<F>(dy, core.outputs)?;
        let gradient = dy.as_slice();
        let operations = input.len().saturating_mul(4 * core.outputs);
        let dx = with_reading(py, parameters, operations, |weights, interrupt| {
            let input = kept.numbers(weights.version())?;
            let (dx, gradients) =
                core.backward(weights, parameters, input, gradient, input_grad, interrupt)?;
            parameters.gradients()?.add(&gradients);
            Ok(dx)
        })?;
        dx.map(|dx| {
            let shape = kept.shape_with(core.inputs);
            arrays::to_numpy(py, dx, &shape).map(Bound::into_any)
        })
        .transpose()
    }
}

#[pymethods]
impl Linear {
    #[new]
    #[pyo3(signature = (in_features, out_features, bias = None, *, dtype = None, seed = None), text_signature = "(in_features, out_features, bias=True, *, dtype='float32', seed=None)")]
    fn new(
        in_features: &Bound<'_, PyAny>,
        out_features: &Bound<'_, PyAny>,
        bias: Option<&Bound<'_, PyAny>>,
        dtype: Option<&Bound<'_, PyAny>>,
        seed: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let core = Core {
            inputs: options::integer("in_features", in_features, 1)?,
            outputs: options::integer("out_features", out_features, 1)?,
            bias: bias.map_or(Ok(true), |bias| options::boolean("bias", bias))?,
        };
        let precision = dtype.map_or(Ok(Precision::Single), options::precision)?;
        let seed = seed.map(|seed| options::seed("seed", seed)).transpose()?;
        let ticket = seed.map_or_else(Ticket::draw, Ticket::seeded);
        let memory = match precision {
            Precision::Single => AnyParameters::Single(Arc::new(core.parameters(ticket)?)),
            Precision::Double => AnyParameters::Double(Arc::new(core.parameters(ticket)?)),
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
    /// x : array_like, shape (..., in_features)
    ///
    /// Returns
    /// -------
    /// y : numpy.ndarray, shape (..., out_features)
    /// cache : LinearCache
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
    /// dy : array_like, shape (..., out_features)
    ///     Gradient of the loss with respect to y.
    /// cache : LinearCache
    ///     From ``forward_with_cache`` of this layer.
    /// input_grad : bool, default True
    ///     Whether the gradient of x is wanted.
    ///
    /// Returns
    /// -------
    /// dx : numpy.ndarray, shape (..., in_features), or None
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
        let Ok(cache) = cache.cast::<LinearCache>() else {
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

    /// Features of the input.
    #[getter]
    fn in_features(&self) -> usize {
        self.core.inputs
    }

    /// Features of the output.
    #[getter]
    fn out_features(&self) -> usize {
        self.core.outputs
    }

    /// The constructor's keywords that make such a layer again.
    #[getter]
    fn config<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyDict>> {
        let core = slf.get().core;
        let config = PyDict::new(slf.py());
        config.set_item("in_features", core.inputs)?;
        config.set_item("out_features", core.outputs)?;
        config.set_item("bias", core.bias)?;
        let memory = slf.as_super().get().memory();
        config.set_item("dtype", memory.precision().name())?;
        Ok(config)
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let (core, memory) = (slf.get().core, slf.as_super().get().memory());
        Ok(format!(
            "{}({}, {}{}, dtype={:?})  # {} parameters",
            slf.get_type().name()?,
            core.inputs,
            core.outputs,
            if core.bias { "" } else { ", bias=False" },
            memory.precision().name(),
            memory.count()
        ))
    }
}
