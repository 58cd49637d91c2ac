//! `Parameter`: one array of weights and its gradient.

use std::sync::{Arc, OnceLock};

use numpy::PyUntypedArrayMethods;
use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyWeakrefMethods, PyWeakrefReference};

use super::arrays::{self, Contiguous, Number, View};
use super::run::with_writing;
use crate::error::checked_size;
use crate::float::{Float, Precision};
use crate::memory::copied_vec;
use crate::parameters::Parameters;

/// The parameters of one module, of either precision.
#[derive(Debug, Clone)]
pub enum AnyParameters {
    /// float32.
    Single(Arc<Parameters<f32>>),
    /// float64.
    Double(Arc<Parameters<f64>>),
}

/// Runs an expression with `$parameters` bound to the typed parameters.
macro_rules! with_parameters {
    ($any:expr, $parameters:ident => $body:expr) => {
        match $any {
            $crate::bindings::parameter::AnyParameters::Single($parameters) => $body,
            $crate::bindings::parameter::AnyParameters::Double($parameters) => $body,
        }
    };
}
pub(super) use with_parameters;

impl AnyParameters {
    /// The element type.
    pub fn precision(&self) -> Precision {
        match self {
            Self::Single(_) => Precision::Single,
            Self::Double(_) => Precision::Double,
        }
    }

    /// How many numbers the module learns.
    pub fn count(&self) -> usize {
        with_parameters!(self, parameters => parameters.count())
    }

    /// The index of a name.
    pub fn index_of(&self, name: &str) -> Option<usize> {
        with_parameters!(self, parameters => parameters.index_of(name))
    }

    /// One parameter's live memory as an array.
    pub fn view<'py>(
        &self,
        py: Python<'py>,
        index: usize,
        which: View,
    ) -> PyResult<Bound<'py, PyAny>> {
        with_parameters!(self, parameters => arrays::view(py, parameters, index, which))
    }

    /// Names and shapes.
    pub fn entries(&self) -> &[crate::parameters::Entry] {
        with_parameters!(self, parameters => parameters.entries())
    }
}

/// Typed parameters from parameters of either precision.
pub trait Pick: Number {
    /// The parameters, when they are of this type.
    fn pick(any: &AnyParameters) -> Option<&Arc<Parameters<Self>>>;
}

impl Pick for f32 {
    fn pick(any: &AnyParameters) -> Option<&Arc<Parameters<f32>>> {
        match any {
            AnyParameters::Single(parameters) => Some(parameters),
            AnyParameters::Double(_) => None,
        }
    }
}

impl Pick for f64 {
    fn pick(any: &AnyParameters) -> Option<&Arc<Parameters<f64>>> {
        match any {
            AnyParameters::Double(parameters) => Some(parameters),
            AnyParameters::Single(_) => None,
        }
    }
}

/// Copies an array into one parameter, all or nothing.
pub fn assign<F: Number>(
    py: Python<'_>,
    parameters: &Parameters<F>,
    index: usize,
    value: &Bound<'_, PyAny>,
    name: &str,
) -> PyResult<()> {
    let array = arrays::numbers(value, name)?;
    arrays::check_shape(&array, name, &parameters.entries()[index].shape)?;
    // The source may be a view of the very memory that is written, so it is read out first.
    let source = copied_vec(Contiguous::<F>::new(&array)?.as_slice())?;
    with_writing(py, parameters, |writing| {
        writing.slice_mut(index).copy_from_slice(&source);
    })
}

/// An array of weights and its gradient.
///
/// Layers make their own parameters; make one yourself for a layer of your own.
///
/// Parameters
/// ----------
/// array : array_like of float
///     Initial values, copied. float64 arrays give a float64 parameter, all others a float32 one.
/// name : str, default ""
///     What the parameter is called in messages.
///
/// Raises
/// ------
/// DtypeError
///     If ``array`` isn't an array of real numbers.
#[pyclass(frozen, weakref, module = "recurrust._core")]
pub struct Parameter {
    memory: AnyParameters,
    index: usize,
    name: String,
    /// Weak reference to the layer, so that pickling keeps parameter and layer together without
    /// keeping the layer alive.
    owner: OnceLock<Py<PyWeakrefReference>>,
}

impl Parameter {
    /// A parameter of a layer.
    pub fn of_layer(
        memory: AnyParameters,
        index: usize,
        owner: &Bound<'_, PyAny>,
    ) -> PyResult<Self> {
        let name = memory.entries()[index].name.clone();
        let parameter = Self {
            memory,
            index,
            name,
            owner: OnceLock::new(),
        };
        let weak = PyWeakrefReference::new(owner)?.unbind();
        let _ = parameter.owner.set(weak);
        Ok(parameter)
    }

    /// The module's parameters that this one is among.
    pub fn memory(&self) -> &AnyParameters {
        &self.memory
    }

    /// Its place there.
    pub fn index(&self) -> usize {
        self.index
    }

    /// What it is called.
    pub fn label(&self) -> &str {
        if self.name.is_empty() {
            "parameter"
        } else {
            &self.name
        }
    }
}

#[pymethods]
impl Parameter {
    #[new]
    #[pyo3(signature = (array, name = ""))]
    fn new(array: &Bound<'_, PyAny>, name: &str) -> PyResult<Self> {
        let values = arrays::numbers(array, "array")?;
        let shape = values.shape().to_vec();
        checked_size(&shape)?;
        let is_double = arrays::is_double(&values);
        let shapes = vec![(name.to_owned(), shape)];
        let py = array.py();
        let memory = if is_double {
            let parameters = Parameters::<f64>::new(shapes)?;
            assign(py, &parameters, 0, array, "array")?;
            AnyParameters::Double(Arc::new(parameters))
        } else {
            let parameters = Parameters::<f32>::new(shapes)?;
            assign(py, &parameters, 0, array, "array")?;
            AnyParameters::Single(Arc::new(parameters))
        };
        Ok(Self {
            memory,
            index: 0,
            name: name.to_owned(),
            owner: OnceLock::new(),
        })
    }

    /// The values: a read-only view of the live memory, valid for ever.
    #[getter]
    fn data<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.memory.view(py, self.index, View::Values)
    }

    /// The gradient: a writable view of the live memory, valid for ever; zeros at first.
    #[getter]
    fn grad<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.memory.view(py, self.index, View::Gradient)
    }

    /// Copy values in.
    ///
    /// Parameters
    /// ----------
    /// array : array_like
    ///     Values of the parameter's shape; converted to its dtype. May be a view of the
    ///     parameter itself.
    ///
    /// Raises
    /// ------
    /// ShapeError
    ///     If the shape differs.
    /// DtypeError
    ///     If ``array`` isn't an array of real numbers.
    fn assign(&self, array: &Bound<'_, PyAny>) -> PyResult<()> {
        with_parameters!(&self.memory, parameters => {
            assign(array.py(), parameters, self.index, array, self.label())
        })
    }

    /// What the parameter is called, e.g. ``weight_ih_l0``.
    #[getter]
    fn name(&self) -> &str {
        &self.name
    }

    /// Shape of the array.
    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, &self.memory.entries()[self.index].shape)
    }

    /// ``numpy.dtype`` of the array.
    #[getter]
    fn dtype<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        py.import("numpy")?
            .call_method1("dtype", (self.memory.precision().name(),))
    }

    /// Changes at every write to the values of this parameter's layer.
    #[getter]
    fn version(&self) -> u64 {
        with_parameters!(&self.memory, parameters => parameters.version())
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyTuple>> {
        let (py, this) = (slf.py(), slf.get());
        let owner = this.owner.get().and_then(|weak| weak.bind(py).upgrade());
        if let Some(layer) = owner {
            let of_layer = py
                .import("recurrust.serialization")?
                .getattr("_parameter_of")?;
            return (of_layer, (layer, this.name.as_str())).into_pyobject(py);
        }
        let values = this.data(py)?.call_method0("copy")?;
        (slf.get_type(), (values, this.name.as_str())).into_pyobject(py)
    }

    fn __repr__(&self) -> String {
        format!(
            "Parameter({:?}, shape={}, dtype={})",
            self.name,
            crate::error::shape_text(&self.memory.entries()[self.index].shape),
            self.memory.precision().name()
        )
    }
}

/// Clears the gradients of a whole module, if it has any.
pub fn clear_gradients<F: Float>(parameters: &Parameters<F>) -> PyResult<()> {
    if parameters.has_gradients() {
        parameters.gradients()?.clear();
    }
    Ok(())
}
