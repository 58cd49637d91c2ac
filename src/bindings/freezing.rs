//! Layers of Python as the frozen layers of the core, and back.

use std::sync::Arc;

use pyo3::PyTypeInfo;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyType};

use super::arrays;
use super::dropout::Dropout;
use super::embedding::Embedding;
use super::layer_norm::LayerNorm;
use super::linear::Linear;
use super::module::Module;
use super::options;
use super::parameter::AnyParameters;
use super::recurrent::RecurrentLayer;
use super::stack::StackElement;
use crate::error::Error;
use crate::float::Precision;
use crate::memory::copied_vec;
use crate::parameters::Parameters;
use crate::streaming::FrozenLayer;

/// What it takes, besides frozen weights, to build a layer again and to talk about it.
pub struct Blueprint {
    class: Py<PyType>,
    config: Py<PyDict>,
    /// Features of input and output, where the layer has a say in them.
    features: Option<(usize, usize)>,
    /// Names of the states.
    states: &'static [&'static str],
}

impl Blueprint {
    /// The plan of a layer that was frozen.
    pub fn new<F: StackElement>(
        layer: &Bound<'_, PyAny>,
        frozen: &FrozenLayer<F>,
    ) -> PyResult<Self> {
        let states = layer
            .cast::<RecurrentLayer>()
            .map_or(&[][..], |layer| layer.get().states());
        Ok(Self {
            class: layer.get_type().unbind(),
            config: layer.getattr("config")?.cast_into::<PyDict>()?.unbind(),
            features: frozen.features(),
            states,
        })
    }

    /// Names of the layer's states.
    pub fn states(&self) -> &'static [&'static str] {
        self.states
    }

    /// The layer in few words.
    pub fn text(&self, py: Python<'_>) -> PyResult<String> {
        let class = self.class.bind(py).name()?;
        Ok(match self.features {
            Some((inputs, outputs)) => format!("{class} {inputs} -> {outputs}"),
            None => class.to_string(),
        })
    }

    /// The layer with its frozen weights.
    pub fn build<'py, F: StackElement>(
        &self,
        py: Python<'py>,
        frozen: &FrozenLayer<F>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let arrays = PyDict::new(py);
        if let Some(snapshot) = frozen.snapshot() {
            for (index, entry) in snapshot.entries().iter().enumerate() {
                let values = copied_vec(snapshot.slice(index))?;
                arrays.set_item(&entry.name, arrays::to_numpy(py, values, &entry.shape)?)?;
            }
        }
        py.import("recurrust.serialization")?
            .getattr("_rebuild_layer")?
            .call1((&self.class, &self.config, arrays, true))
    }
}

/// Whether an object is of a class and computes as the class does.
fn computes_as<T: PyTypeInfo>(layer: &Bound<'_, PyAny>) -> PyResult<bool> {
    let own = T::type_object(layer.py()).getattr("__call__")?;
    Ok(layer.is_instance_of::<T>() && layer.get_type().getattr("__call__")?.is(&own))
}

/// A layer's parameters in the stream's precision.
fn typed<'a, F: StackElement>(
    memory: &'a AnyParameters,
    label: &str,
) -> PyResult<&'a Arc<Parameters<F>>> {
    F::pick(memory).ok_or_else(|| {
        Error::config(
            format!("{label}: dtype"),
            format!("{:?} as of the layers before it", F::PRECISION.name()),
            format!("{:?}", memory.precision().name()),
        )
        .into()
    })
}

/// A layer as a stream needs it, with the weights that it has now.
pub fn freeze<F: StackElement>(layer: &Bound<'_, PyAny>, label: &str) -> PyResult<FrozenLayer<F>> {
    let py = layer.py();
    if computes_as::<RecurrentLayer>(layer)? {
        let layer = layer.cast::<RecurrentLayer>()?;
        return layer
            .get()
            .freeze(py, layer.as_super().get().memory(), label);
    }
    if computes_as::<Linear>(layer)? {
        let layer = layer.cast::<Linear>()?;
        let parameters = typed(layer.as_super().get().memory(), label)?;
        return layer.get().freeze(py, parameters);
    }
    if computes_as::<LayerNorm>(layer)? {
        let layer = layer.cast::<LayerNorm>()?;
        let parameters = typed(layer.as_super().get().memory(), label)?;
        return layer.get().freeze(py, parameters);
    }
    if computes_as::<Embedding>(layer)? {
        let layer = layer.cast::<Embedding>()?;
        let parameters = typed(layer.as_super().get().memory(), label)?;
        return layer.get().freeze(py, parameters);
    }
    if computes_as::<Dropout>(layer)? {
        return Ok(FrozenLayer::identity());
    }
    Err(Error::config(
        label.to_owned(),
        "a layer of recurrust that computes as its class does (LSTM, GRU, RNN, Embedding, LayerNorm, Linear, Dropout) to stream",
        options::shown(layer),
    )
    .into())
}

/// The precision of the first layer that has weights.
pub fn precision(layers: &[Bound<'_, PyAny>]) -> Precision {
    layers
        .iter()
        .filter_map(|layer| layer.cast::<Module>().ok())
        .map(|module| module.get().memory())
        .find(|memory| !memory.entries().is_empty())
        .map_or(Precision::Single, AnyParameters::precision)
}
