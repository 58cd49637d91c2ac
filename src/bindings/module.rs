//! `Module`: what every layer has.

use std::sync::atomic::{AtomicBool, Ordering};

use numpy::PyUntypedArrayMethods;
use pyo3::exceptions::PyAttributeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyIterator, PyList, PyMapping, PyTuple};

use super::arrays::{self, Contiguous, View};
use super::options;
use super::parameter::{AnyParameters, Parameter, assign, clear_gradients, with_parameters};
use super::run::with_writing;
use crate::error::{Error, shape_text};
use crate::memory::copied_vec;

/// Base of every layer: parameters, training mode, copying and saving.
#[pyclass(frozen, subclass, weakref, module = "recurrust._core")]
pub struct Module {
    memory: AnyParameters,
    training: AtomicBool,
    /// The parameter objects, made when first asked for and the same ever after.
    objects: PyOnceLock<Vec<Py<Parameter>>>,
}

impl Module {
    /// A module in training mode.
    pub fn new(memory: AnyParameters) -> Self {
        Self {
            memory,
            training: AtomicBool::new(true),
            objects: PyOnceLock::new(),
        }
    }

    /// The parameters.
    pub fn memory(&self) -> &AnyParameters {
        &self.memory
    }

    /// Whether the module is in training mode.
    pub fn is_training(&self) -> bool {
        self.training.load(Ordering::Relaxed)
    }

    fn set_training(&self, training: bool) {
        self.training.store(training, Ordering::Relaxed);
    }
}

fn objects<'a>(slf: &'a Bound<'_, Module>) -> PyResult<&'a Vec<Py<Parameter>>> {
    let (py, this) = (slf.py(), slf.get());
    this.objects.get_or_try_init(py, || {
        (0..this.memory.entries().len())
            .map(|index| {
                Py::new(
                    py,
                    Parameter::of_layer(this.memory.clone(), index, slf.as_any())?,
                )
            })
            .collect()
    })
}

/// Matches a mapping of arrays against the parameters: the arrays in the parameters' order (absent
/// ones only without `strict`), or every difference there is.
fn matched<'py>(
    memory: &AnyParameters,
    mapping: &Bound<'py, PyAny>,
    strict: bool,
) -> PyResult<Vec<Option<Bound<'py, numpy::PyUntypedArray>>>> {
    let Ok(mapping) = mapping.cast::<PyMapping>() else {
        return Err(Error::dtype(
            "mapping",
            "a mapping from names to arrays",
            options::shown(mapping),
        )
        .into());
    };
    let mut found: Vec<Option<_>> = memory.entries().iter().map(|_| None).collect();
    let mut wrong = vec![false; found.len()];
    let mut differences = Vec::new();
    let mut of_type = 0;
    for item in mapping.items()?.iter() {
        let (key, value): (Bound<'py, PyAny>, Bound<'py, PyAny>) = item.extract()?;
        let index = key
            .extract::<String>()
            .ok()
            .and_then(|name| memory.index_of(&name));
        let Some(index) = index else {
            if strict {
                differences.push(format!(
                    "{}: there is no such parameter",
                    options::shown(&key)
                ));
            }
            continue;
        };
        let entry = &memory.entries()[index];
        let array = match arrays::numbers(&value, &entry.name) {
            Ok(array) => array,
            Err(error) => {
                differences.push(error.value(value.py()).to_string());
                of_type += 1;
                wrong[index] = true;
                continue;
            }
        };
        if array.shape() == entry.shape {
            found[index] = Some(array);
        } else {
            differences.push(format!(
                "{}: expected {}, got {}",
                entry.name,
                shape_text(&entry.shape),
                shape_text(array.shape())
            ));
            wrong[index] = true;
        }
    }
    if strict {
        for (index, entry) in memory.entries().iter().enumerate() {
            // What is wrong was reported already.
            if found[index].is_none() && !wrong[index] {
                differences.push(format!("{}: missing", entry.name));
            }
        }
    }
    if differences.is_empty() {
        Ok(found)
    } else {
        Err(Error::Mismatch {
            text: format!(
                "the mapping doesn't fit, nothing was changed:\n  {}",
                differences.join("\n  ")
            ),
            types_only: of_type == differences.len(),
        }
        .into())
    }
}

#[pymethods]
impl Module {
    /// Switch to training mode and return the layer; ``train(False)`` is ``eval()``.
    #[pyo3(signature = (mode = true))]
    fn train(slf: Bound<'_, Self>, mode: bool) -> Bound<'_, Self> {
        slf.get().set_training(mode);
        slf
    }

    /// Switch to evaluation mode and return the layer.
    fn eval(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf.get().set_training(false);
        slf
    }

    /// Whether the layer is in training mode; new layers are.
    #[getter]
    fn training(&self) -> bool {
        self.is_training()
    }

    /// Name of the parameters' element type, ``"float32"`` or ``"float64"``.
    #[getter]
    fn dtype(&self) -> &'static str {
        self.memory.precision().name()
    }

    /// How many numbers the layer learns.
    #[getter]
    fn num_parameters(&self) -> usize {
        self.memory.count()
    }

    /// Iterate over ``(name, Parameter)``; always the same objects.
    fn named_parameters<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyIterator>> {
        let py = slf.py();
        let pairs = slf
            .get()
            .memory
            .entries()
            .iter()
            .zip(objects(slf)?)
            .map(|(entry, object)| (entry.name.as_str(), object.clone_ref(py)).into_pyobject(py))
            .collect::<PyResult<Vec<_>>>()?;
        PyList::new(py, pairs)?.try_iter()
    }

    /// Iterate over the parameters; always the same objects.
    fn parameters<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyIterator>> {
        PyList::new(slf.py(), objects(slf)?)?.try_iter()
    }

    /// Set all gradients to zero.
    fn zero_grad(&self) -> PyResult<()> {
        with_parameters!(&self.memory, parameters => clear_gradients(parameters))
    }

    /// Copies of all parameters, by name.
    ///
    /// Returns
    /// -------
    /// dict of str to numpy.ndarray
    fn state_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let state = PyDict::new(py);
        for (index, entry) in self.memory.entries().iter().enumerate() {
            let copy = self
                .memory
                .view(py, index, View::Values)?
                .call_method0("copy")?;
            state.set_item(&entry.name, copy)?;
        }
        Ok(state)
    }

    /// Copy parameters in, all or nothing.
    ///
    /// Parameters
    /// ----------
    /// mapping : mapping of str to array_like
    ///     Arrays by name, e.g. from ``state_dict()`` of this library or of PyTorch; converted
    ///     to the layer's dtype.
    /// strict : bool, default True
    ///     Whether names that are missing or unknown are errors. Wrong shapes always are.
    ///
    /// Raises
    /// ------
    /// ShapeError
    ///     With a list of every difference; nothing has changed then.
    /// DtypeError
    ///     If all differences are values that aren't arrays of real numbers; likewise.
    #[pyo3(signature = (mapping, strict = true))]
    fn load_state_dict(&self, mapping: &Bound<'_, PyAny>, strict: bool) -> PyResult<()> {
        let py = mapping.py();
        let found = matched(&self.memory, mapping, strict)?;
        with_parameters!(&self.memory, parameters => {
            // Read out first: an array may be a view of the very memory that is written.
            let mut sources = Vec::with_capacity(found.len());
            for array in &found {
                sources.push(match array {
                    Some(array) => Some(copied_vec(Contiguous::new(array)?.as_slice())?),
                    None => None,
                });
            }
            with_writing(py, parameters, |writing| {
                for (index, source) in sources.iter().enumerate() {
                    if let Some(source) = source {
                        writing.slice_mut(index).copy_from_slice(source);
                    }
                }
            })?;
        });
        Ok(())
    }

    /// A copy of the layer with another element type.
    ///
    /// Parameters
    /// ----------
    /// dtype : {"float32", "float64"}
    fn astype<'py>(
        slf: &Bound<'py, Self>,
        dtype: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let config = slf.getattr("config")?.cast_into::<PyDict>()?;
        config.set_item("dtype", options::precision(dtype)?.name())?;
        rebuild(slf)?.call1(rebuild_arguments(slf, config)?)
    }

    fn __getattr__<'py>(slf: &Bound<'py, Self>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        match slf.get().memory.index_of(name) {
            Some(index) => slf.get().memory.view(slf.py(), index, View::Values),
            None => Err(no_attribute(slf.as_any(), name)),
        }
    }

    fn __setattr__<'py>(
        slf: &Bound<'py, Self>,
        name: &Bound<'py, PyAny>,
        value: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        let text: String = name.extract()?;
        if let Some(index) = slf.get().memory.index_of(&text) {
            return with_parameters!(&slf.get().memory, parameters => {
                assign(slf.py(), parameters, index, value, &text)
            });
        }
        // Everything else as for any object: a descriptor that sets, else the instance's dict,
        // which classes derived in Python have.
        if let Ok(descriptor) = slf.get_type().getattr(&text)
            && descriptor.hasattr("__set__")?
        {
            descriptor.call_method1("__set__", (slf, value))?;
            return Ok(());
        }
        instance_dict(slf, &text)?.set_item(name, value)
    }

    fn __delattr__(slf: &Bound<'_, Self>, name: &Bound<'_, PyAny>) -> PyResult<()> {
        let text: String = name.extract()?;
        if slf.get().memory.index_of(&text).is_some() {
            return Err(PyAttributeError::new_err(format!(
                "{text:?} is a parameter and can't be deleted"
            )));
        }
        let dict = instance_dict(slf, &text)?;
        dict.del_item(name)
            .map_err(|_| no_attribute(slf.as_any(), &text))
    }

    fn __dir__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyList>> {
        let names = slf
            .py()
            .import("builtins")?
            .getattr("object")?
            .call_method1("__dir__", (slf,))?
            .cast_into::<PyList>()?;
        for entry in slf.get().memory.entries() {
            names.append(&entry.name)?;
        }
        Ok(names)
    }

    fn __reduce__<'py>(
        slf: &Bound<'py, Self>,
    ) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        let config = slf.getattr("config")?.cast_into::<PyDict>()?;
        Ok((rebuild(slf)?, rebuild_arguments(slf, config)?))
    }
}

/// The dict of an instance of a class derived in Python.
fn instance_dict<'py>(slf: &Bound<'py, Module>, name: &str) -> PyResult<Bound<'py, PyDict>> {
    slf.getattr("__dict__")
        .ok()
        .and_then(|dict| dict.cast_into::<PyDict>().ok())
        .ok_or_else(|| no_attribute(slf.as_any(), name))
}

fn no_attribute(slf: &Bound<'_, PyAny>, name: &str) -> PyErr {
    let class = slf
        .get_type()
        .name()
        .map_or_else(|_| "layer".to_owned(), |class| class.to_string());
    PyAttributeError::new_err(format!("{class} has no attribute {name:?}"))
}

/// The function that makes a layer again.
fn rebuild<'py>(slf: &Bound<'py, Module>) -> PyResult<Bound<'py, PyAny>> {
    slf.py()
        .import("recurrust.serialization")?
        .getattr("_rebuild_layer")
}

/// Its arguments: class, configuration, arrays, mode, and what a class derived in Python keeps.
fn rebuild_arguments<'py>(
    slf: &Bound<'py, Module>,
    config: Bound<'py, PyDict>,
) -> PyResult<Bound<'py, PyTuple>> {
    let state = slf.call_method0("state_dict")?;
    let attributes = slf
        .getattr("__dict__")
        .and_then(|dict| dict.call_method0("copy"));
    let training = slf.get().is_training();
    (slf.get_type(), config, state, training, attributes.ok()).into_pyobject(slf.py())
}
