//! Files of tensors.

use std::path::PathBuf;

use numpy::PyUntypedArrayMethods;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use super::arrays;
use super::options;
use crate::error::{Error, checked_size};
use crate::files::{self, Content, Dtype, Tensor};

/// File types and NumPy's little-endian names for them.
const DTYPES: [(Dtype, &str); 5] = [
    (Dtype::F32, "<f4"),
    (Dtype::F64, "<f8"),
    (Dtype::I64, "<i8"),
    (Dtype::U8, "|u1"),
    (Dtype::BOOL, "|b1"),
];

/// Write arrays and text to a safetensors file with a digest, atomically.
#[pyfunction]
pub fn write_tensors(
    py: Python<'_>,
    path: PathBuf,
    arrays: &Bound<'_, PyDict>,
    metadata: &Bound<'_, PyDict>,
) -> PyResult<()> {
    let mut content = Content::default();
    for (name, value) in arrays {
        let name: String = name.extract()?;
        let array = arrays::numbers(&value, &name)?;
        let code = array.dtype().getattr("str")?.extract::<String>()?;
        let Some((dtype, _)) = DTYPES.iter().find(|(_, numpy)| *numpy == code) else {
            return Err(Error::dtype(
                name,
                "float32, float64, int64, uint8 or bool",
                array.dtype().to_string(),
            )
            .into());
        };
        let tensor = Tensor {
            dtype: *dtype,
            shape: array.shape().to_vec(),
            bytes: arrays::bytes(&array)?,
        };
        content.tensors.insert(name, tensor);
    }
    for (name, value) in metadata {
        let text = value
            .extract::<String>()
            .map_err(|_| PyErr::from(Error::dtype("metadata", "text", options::shown(&value))))?;
        content.metadata.insert(name.extract()?, text);
    }
    py.detach(|| files::write(&path, &content))?;
    Ok(())
}

/// Read what ``write_tensors`` wrote: arrays and text.
#[pyfunction]
pub fn read_tensors(
    py: Python<'_>,
    path: PathBuf,
) -> PyResult<(Bound<'_, PyDict>, Bound<'_, PyDict>)> {
    let content = py.detach(|| files::read(&path))?;
    let numpy = py.import("numpy")?;
    let arrays = PyDict::new(py);
    for (name, tensor) in &content.tensors {
        let Some((_, code)) = DTYPES.iter().find(|(dtype, _)| *dtype == tensor.dtype) else {
            return Err(Error::FileFormat(format!(
                "{}: tensor {name} has the unknown type {:?}",
                path.display(),
                tensor.dtype
            ))
            .into());
        };
        checked_size(&tensor.shape)?;
        let array = numpy
            .call_method1("frombuffer", (PyBytes::new(py, &tensor.bytes), *code))?
            .call_method1("reshape", (tensor.shape.clone(),))?
            // The buffer is read-only.
            .call_method0("copy")?;
        arrays.set_item(name, array)?;
    }
    let metadata = PyDict::new(py);
    for (name, value) in &content.metadata {
        metadata.set_item(name, value)?;
    }
    Ok((arrays, metadata))
}
