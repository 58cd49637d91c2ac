//! `Embedding`.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::arrays::{self, Contiguous, Number};
use super::module::Module;
use super::options;
use super::parameter::{AnyParameters, with_parameters};
use super::pools::{Pooled, Pools};
use super::run::with_reading;
use super::stack::check_version;
use crate::error::Error;
use crate::float::Precision;
use crate::layers::embedding::Embedding as Core;
use crate::parameters::Parameters;
use crate::random::Ticket;
use crate::streaming::FrozenLayer;

/// A table of vectors, one for each index: ``y = weight[x]``.
///
/// Parameters
/// ----------
/// n : int
///     How many vectors there are, 1 or more: indices are 0 to n - 1.
/// dim : int
///     Numbers of a vector, 1 or more.
/// padding_idx : int, optional
///     An index from 0 to n - 1 that means nothing, such as padding: its vector starts as zeros and
///     gets no gradient.
/// dtype : {"float32", "float64"}, default "float32"
///     Type of parameters and results.
/// seed : int, optional
///     Seed of the initial weights, of the standard normal distribution; without it they come from
///     the process-wide stream.
///
/// Raises
/// ------
/// ConfigError, DtypeError
///     If an option can't have that value.
#[pyclass(frozen, subclass, extends = Module, module = "recurrust._core")]
pub struct Embedding {
    core: Core,
    pools: Pools,
}

/// What ``Embedding.backward`` needs from its forward pass.
#[pyclass(frozen, module = "recurrust._core")]
pub struct EmbeddingCache {
    version: u64,
    indices: Vec<i64>,
    shape: Vec<usize>,
}

impl Embedding {
    /// The layer as a stream needs it, with the weights that it has now.
    pub fn freeze<F: Number>(
        &self,
        py: Python<'_>,
        parameters: &Parameters<F>,
    ) -> PyResult<FrozenLayer<F>> {
        let core = self.core;
        with_reading(py, parameters, parameters.count(), |weights, _| {
            FrozenLayer::embedding(core, weights)
        })
    }

    /// Vectors of indices, and what to keep of them.
    fn forward<'py, F: Pooled>(
        &self,
        parameters: &Parameters<F>,
        x: &Bound<'py, PyAny>,
    ) -> PyResult<(Bound<'py, PyAny>, EmbeddingCache)> {
        let py = x.py();
        let (indices, shape) = arrays::integers(x, "x", false)?;
        let core = self.core;
        let pool = F::pool(&self.pools);
        let operations = indices.len().saturating_mul(core.width);
        let (output, version) = with_reading(py, parameters, operations, |weights, interrupt| {
            let output = core.forward(weights, &indices, &shape, pool, interrupt)?;
            Ok((output, weights.version()))
        })?;
        let y = arrays::lend_to_numpy(py, output, &[&shape[..], &[core.width]].concat())?;
        let cache = EmbeddingCache {
            version,
            indices,
            shape,
        };
        Ok((y.into_any(), cache))
    }

    fn backward_typed<F: Number>(
        &self,
        parameters: &Parameters<F>,
        dy: &Bound<'_, PyAny>,
        cache: &EmbeddingCache,
    ) -> PyResult<()> {
        check_version(cache.version, parameters.version())?;
        let core = self.core;
        let array = arrays::numbers(dy, "dy")?;
        arrays::check_shape(&array, "dy", &[&cache.shape[..], &[core.width]].concat())?;
        let dy = Contiguous::<F>::new(&array)?;
        let gradient = dy.as_slice();
        with_reading(array.py(), parameters, gradient.len(), |weights, _| {
            check_version(cache.version, weights.version())?;
            core.backward(&mut parameters.gradients()?, &cache.indices, gradient);
            Ok(())
        })
    }
}

#[pymethods]
impl Embedding {
    #[new]
    #[pyo3(signature = (n, dim, *, padding_idx = None, dtype = None, seed = None), text_signature = "(n, dim, *, padding_idx=None, dtype='float32', seed=None)")]
    fn new(
        n: &Bound<'_, PyAny>,
        dim: &Bound<'_, PyAny>,
        padding_idx: Option<&Bound<'_, PyAny>>,
        dtype: Option<&Bound<'_, PyAny>>,
        seed: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let count = options::integer("n", n, 1)?;
        let core = Core {
            count,
            width: options::integer("dim", dim, 1)?,
            padding: padding_idx.map(|index| padding(index, count)).transpose()?,
        };
        let precision = dtype.map_or(Ok(Precision::Single), options::precision)?;
        let seed = seed.map(|seed| options::seed("seed", seed)).transpose()?;
        let ticket = seed.map_or_else(Ticket::draw, Ticket::seeded);
        let memory = match precision {
            Precision::Single => AnyParameters::Single(Arc::new(core.parameters(ticket)?)),
            Precision::Double => AnyParameters::Double(Arc::new(core.parameters(ticket)?)),
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
            slf.get().forward(parameters, x).map(|(y, _)| y)
        })
    }

    /// Look up vectors and keep what ``backward`` needs.
    ///
    /// ``y = layer(x)`` keeps nothing.
    ///
    /// Parameters
    /// ----------
    /// x : array_like of int, shape (...,)
    ///     Indices from 0 to n - 1, of any integer dtype and any number of axes.
    ///
    /// Returns
    /// -------
    /// y : numpy.ndarray, shape (..., dim)
    /// cache : EmbeddingCache
    ///
    /// Raises
    /// ------
    /// ConfigError
    ///     If an index has no vector; the message has the first such index and its place in x.
    /// DtypeError
    ///     If x isn't of integers.
    fn forward_with_cache<'py>(
        slf: &Bound<'py, Self>,
        x: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        with_parameters!(slf.as_super().get().memory(), parameters => {
            slf.get().forward(parameters, x)?.into_pyobject(x.py())
        })
    }

    /// Add to the gradient of ``weight``; indices have none.
    ///
    /// The gradients of an index that occurs more than once are summed up in the order of x.
    ///
    /// Parameters
    /// ----------
    /// dy : array_like, shape (..., dim)
    ///     Gradient of the loss with respect to y.
    /// cache : EmbeddingCache
    ///     From ``forward_with_cache`` of this layer.
    /// input_grad : bool, default True
    ///     As other layers have it; changes nothing here.
    ///
    /// Returns
    /// -------
    /// dx : None
    ///
    /// Raises
    /// ------
    /// StateError
    ///     If the weights have changed since, or the cache is another layer's.
    #[pyo3(signature = (dy, *, cache, input_grad = true))]
    fn backward(
        slf: &Bound<'_, Self>,
        dy: &Bound<'_, PyAny>,
        cache: &Bound<'_, PyAny>,
        input_grad: bool,
    ) -> PyResult<()> {
        let _ = input_grad;
        let Ok(cache) = cache.cast::<EmbeddingCache>() else {
            return Err(Error::dtype(
                "cache",
                "the cache of this layer's forward_with_cache",
                options::shown(cache),
            )
            .into());
        };
        with_parameters!(slf.as_super().get().memory(), parameters => {
            slf.get().backward_typed(parameters, dy, cache.get())
        })
    }

    /// How many vectors there are.
    #[getter]
    fn n(&self) -> usize {
        self.core.count
    }

    /// Numbers of a vector.
    #[getter]
    fn dim(&self) -> usize {
        self.core.width
    }

    /// The index that means nothing, or None.
    #[getter]
    fn padding_idx(&self) -> Option<usize> {
        self.core.padding
    }

    /// The constructor's keywords that make such a layer again.
    #[getter]
    fn config<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyDict>> {
        let core = slf.get().core;
        let config = PyDict::new(slf.py());
        config.set_item("n", core.count)?;
        config.set_item("dim", core.width)?;
        config.set_item("padding_idx", core.padding)?;
        let memory = slf.as_super().get().memory();
        config.set_item("dtype", memory.precision().name())?;
        Ok(config)
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let (core, memory) = (slf.get().core, slf.as_super().get().memory());
        let padding = core
            .padding
            .map_or_else(String::new, |index| format!(", padding_idx={index}"));
        Ok(format!(
            "{}({}, {}{padding}, dtype={:?})  # {} parameters",
            slf.get_type().name()?,
            core.count,
            core.width,
            memory.precision().name(),
            memory.count()
        ))
    }
}

/// An index among so many.
fn padding(value: &Bound<'_, PyAny>, count: usize) -> PyResult<usize> {
    let index = options::integer("padding_idx", value, 0)?;
    if index < count {
        return Ok(index);
    }
    let expected = format!("an index from 0 to {}", count - 1);
    Err(Error::config("padding_idx", expected, index.to_string()).into())
}
