//! `Linear`.

use std::sync::Arc;

use numpy::{PyUntypedArray, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::arrays::{self, Contiguous, Number, Rows};
use super::module::Module;
use super::options;
use super::parameter::{AnyParameters, with_parameters};
use super::run::with_reading;
use super::stack::check_version;
use crate::error::{Error, shape_text};
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
pub struct LinearCache {
    version: u64,
    input: AnyInput,
    /// Shape of the input without the features.
    outer: Vec<usize>,
}

enum AnyInput {
    Single(Vec<f32>),
    Double(Vec<f64>),
}

/// Numbers whose vectors a cache can hold.
trait Cached: Number {
    fn wrap(values: Vec<Self>) -> AnyInput;
    fn unwrap(input: &AnyInput) -> Option<&[Self]>;
}

impl Cached for f32 {
    fn wrap(values: Vec<Self>) -> AnyInput {
        AnyInput::Single(values)
    }

    fn unwrap(input: &AnyInput) -> Option<&[Self]> {
        match input {
            AnyInput::Single(values) => Some(values),
            AnyInput::Double(_) => None,
        }
    }
}

impl Cached for f64 {
    fn wrap(values: Vec<Self>) -> AnyInput {
        AnyInput::Double(values)
    }

    fn unwrap(input: &AnyInput) -> Option<&[Self]> {
        match input {
            AnyInput::Double(values) => Some(values),
            AnyInput::Single(_) => None,
        }
    }
}

/// The axes of steps and rows.
type Axes = (Option<usize>, Option<usize>);

/// The shape without the features.
fn outer_shape<'a>(array: &'a Bound<'_, PyUntypedArray>) -> &'a [usize] {
    array.shape().split_last().map_or(&[], |(_, outer)| outer)
}

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

    /// The input with contiguous rows, and its axes of steps and rows. With more axes than two
    /// before the features, they are made one.
    fn input<'py, F: Number>(
        &self,
        array: &Bound<'py, PyUntypedArray>,
    ) -> PyResult<(Rows<'py, F>, Axes)> {
        if array.shape().last() != Some(&self.core.inputs) {
            return Err(Error::shape(
                "x",
                format!("{} features on the last axis", self.core.inputs),
                format!("shape {}", shape_text(array.shape())),
            )
            .into());
        }
        let axes = match array.ndim() {
            1 => (None, None),
            2 => (None, Some(0)),
            3 => (Some(0), Some(1)),
            _ => {
                let rows = arrays::element_count(&array.shape()[..array.ndim() - 1])?;
                let flat = array
                    .call_method1("reshape", (rows, self.core.inputs))?
                    .cast_into::<PyUntypedArray>()?;
                return Ok((Rows::new(&flat)?, (None, Some(0))));
            }
        };
        Ok((Rows::new(array)?, axes))
    }

    fn forward<'py, F: Number>(
        &self,
        parameters: &Parameters<F>,
        x: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = x.py();
        let array = arrays::numbers(x, "x")?;
        let outer = outer_shape(&array).to_vec();
        let (input, axes) = self.input::<F>(&array)?;
        let sequence = input.sequence(axes);
        let operations = input.count().saturating_mul(2 * self.core.outputs);
        let core = self.core;
        let output = with_reading(py, parameters, operations, |weights, interrupt| {
            core.forward(weights, sequence, interrupt)
        })?;
        let shape = [&outer[..], &[core.outputs]].concat();
        Ok(arrays::to_numpy(py, output, &shape)?.into_any())
    }

    fn forward_cached<'py, F: Cached>(
        &self,
        parameters: &Parameters<F>,
        x: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let py = x.py();
        let array = arrays::numbers(x, "x")?;
        let outer = outer_shape(&array).to_vec();
        let (input, axes) = self.input::<F>(&array)?;
        let sequence = input.sequence(axes);
        let operations = input.count().saturating_mul(2 * self.core.outputs);
        let core = self.core;
        let (output, copy, version) =
            with_reading(py, parameters, operations, |weights, interrupt| {
                let output = core.forward(weights, sequence, interrupt)?;
                Ok((output, sequence.to_vec()?, weights.version()))
            })?;
        let shape = [&outer[..], &[core.outputs]].concat();
        let cache = LinearCache {
            version,
            input: F::wrap(copy),
            outer,
        };
        (arrays::to_numpy(py, output, &shape)?, cache).into_pyobject(py)
    }

    fn backward_typed<'py, F: Cached>(
        &self,
        parameters: &Parameters<F>,
        dy: &Bound<'py, PyAny>,
        cache: &LinearCache,
        input_grad: bool,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = dy.py();
        check_version(cache.version, parameters.version())?;
        let Some(input) = F::unwrap(&cache.input) else {
            return Err(Error::State("cache: made by a layer of another dtype".to_owned()).into());
        };
        let mut shape = cache.outer.clone();
        shape.push(self.core.outputs);
        let array = arrays::numbers(dy, "dy")?;
        arrays::check_shape(&array, "dy", &shape)?;
        let dy = Contiguous::<F>::new(&array)?;
        let gradient = dy.as_slice();
        let operations = input.len().saturating_mul(4 * self.core.outputs);
        let core = self.core;
        let dx = with_reading(py, parameters, operations, |weights, interrupt| {
            check_version(cache.version, weights.version())?;
            let (dx, gradients) =
                core.backward(weights, parameters, input, gradient, input_grad, interrupt)?;
            parameters.gradients()?.add(&gradients);
            Ok(dx)
        })?;
        if let Some(last) = shape.last_mut() {
            *last = core.inputs;
        }
        dx.map(|dx| arrays::to_numpy(py, dx, &shape).map(Bound::into_any))
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
