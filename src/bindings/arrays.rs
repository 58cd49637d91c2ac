//! NumPy arrays as slices and sequences, and back: every check, view and copy.
//!
//! Inputs are read in place when their type fits, their last axis is contiguous and their data is
//! aligned; otherwise they are copied once, and counted. Nothing here is borrowed through
//! rust-numpy's run-time flags: readers of one array run together, and a program that writes to
//! an array while a call reads it gets numbers of its own making, as with NumPy itself.

use std::any::Any;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ndarray::{ArrayD, ArrayView, Dimension, IxDyn};
use numpy::{
    Element, PY_ARRAY_API, PyArray, PyArrayDescrMethods, PyArrayDyn, PyArrayMethods,
    PyUntypedArray, PyUntypedArrayMethods, npyffi,
};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::options::shown;
use crate::engine::EngineFloat;
use crate::engine::{Buffer, Pool, Sequence};
use crate::error::{Error, checked_size, shape_text};
use crate::memory::copied_vec;
use crate::parameters::Parameters;

/// Element types that cross the boundary.
pub trait Number: EngineFloat + Element {}
impl Number for f32 {}
impl Number for f64 {}

static INPUT_COPIES: AtomicUsize = AtomicUsize::new(0);

/// How many inputs had to be copied so far, because of their type, strides or alignment.
#[pyfunction]
pub fn input_copies() -> usize {
    INPUT_COPIES.load(Ordering::Relaxed)
}

/// What kind of thing an argument is, for messages.
fn kind_of(value: &Bound<'_, PyAny>) -> String {
    value
        .get_type()
        .name()
        .map_or_else(|_| "an object".to_owned(), |name| name.to_string())
}

/// What to raise when NumPy can't convert an argument. Ragged lists have no shape; whatever else an
/// object of the user's own raises is the user's to see.
fn unconvertible(value: &Bound<'_, PyAny>, name: &str, error: PyErr) -> PyErr {
    let py = value.py();
    if !error.is_instance_of::<PyValueError>(py) && !error.is_instance_of::<PyTypeError>(py) {
        return error;
    }
    let raised = PyErr::from(Error::shape(
        name.to_owned(),
        "an array of numbers",
        format!("{} that NumPy can't convert ({error})", kind_of(value)),
    ));
    raised.set_cause(py, Some(error));
    raised
}

/// The argument as an array of numbers of any type.
pub fn numbers<'py>(value: &Bound<'py, PyAny>, name: &str) -> PyResult<Bound<'py, PyUntypedArray>> {
    let array = if let Ok(array) = value.cast::<PyUntypedArray>() {
        array.clone()
    } else {
        if value.is_none() {
            return Err(Error::dtype(name.to_owned(), "an array of numbers", "None").into());
        }
        value
            .py()
            .import("numpy")?
            .call_method1("asarray", (value,))
            .map_err(|error| unconvertible(value, name, error))?
            .cast_into::<PyUntypedArray>()?
    };
    let dtype = array.dtype();
    if !matches!(dtype.kind(), b'f' | b'i' | b'u' | b'b') {
        return Err(Error::dtype(
            name.to_owned(),
            "an array of real numbers",
            format!("dtype {dtype}"),
        )
        .into());
    }
    Ok(array)
}

/// Whether numbers are computed with in double precision: float64 and wider; all others in single.
pub fn is_double(array: &Bound<'_, PyUntypedArray>) -> bool {
    array.dtype().kind() == b'f' && array.dtype().itemsize() >= 8
}

/// Checks the number of axes.
pub fn check_dimensions(
    array: &Bound<'_, PyUntypedArray>,
    name: &str,
    accepted: &[usize],
    expected: &str,
) -> PyResult<()> {
    if accepted.contains(&array.ndim()) {
        return Ok(());
    }
    Err(Error::shape(
        name.to_owned(),
        expected,
        format!("{}-D {}", array.ndim(), shape_text(array.shape())),
    )
    .into())
}

/// Checks the whole shape.
pub fn check_shape(
    array: &Bound<'_, PyUntypedArray>,
    name: &str,
    expected: &[usize],
) -> PyResult<()> {
    if array.shape() == expected {
        return Ok(());
    }
    Err(Error::shape(
        name.to_owned(),
        format!("shape {}", shape_text(expected)),
        shape_text(array.shape()),
    )
    .into())
}

fn typed_in_place<'py, F: Number>(
    array: &Bound<'py, PyUntypedArray>,
) -> Option<Bound<'py, PyArrayDyn<F>>> {
    let typed = array.as_any().cast::<PyArrayDyn<F>>().ok()?;
    let size = size_of::<F>().cast_signed();
    let aligned = typed.data().is_aligned()
        && typed
            .strides()
            .iter()
            .zip(typed.shape())
            .all(|(&stride, &len)| len <= 1 || stride % size == 0);
    aligned.then(|| typed.clone())
}

fn converted<'py, F: Number>(
    array: &Bound<'py, PyUntypedArray>,
) -> PyResult<Bound<'py, PyArrayDyn<F>>> {
    INPUT_COPIES.fetch_add(1, Ordering::Relaxed);
    let py = array.py();
    let options = PyDict::new(py);
    options.set_item("order", "C")?;
    let copy = array.call_method("astype", (F::get_dtype(py),), Some(&options))?;
    Ok(copy.cast_into::<PyArrayDyn<F>>()?)
}

/// An array with a contiguous last axis, kept alive while it is read in place.
///
/// Address, sizes and strides are taken when it is checked, once: converting the arguments that
/// follow may run anybody's code, which could give the array another shape.
pub struct Rows<'py, F: Number> {
    _array: Bound<'py, PyArrayDyn<F>>,
    pointer: *const F,
    /// Like the strides, kept without an allocation for as many axes as layers take.
    shape: IxDyn,
    /// In elements; negative ones wrap, as ndarray keeps them.
    strides: IxDyn,
}

impl<'py, F: Number> Rows<'py, F> {
    /// The argument itself where possible, else a copy.
    pub fn new(array: &Bound<'py, PyUntypedArray>) -> PyResult<Self> {
        let in_place = typed_in_place::<F>(array).map(Self::capture);
        let fits = |rows: &Self| match (rows.shape().last(), rows.strides.slice().last()) {
            (Some(&len), Some(&stride)) => len <= 1 || stride == 1,
            _ => true,
        };
        match in_place.filter(fits) {
            Some(rows) => Ok(rows),
            None => Ok(Self::capture(converted(array)?)),
        }
    }

    fn capture(array: Bound<'py, PyArrayDyn<F>>) -> Self {
        let size = size_of::<F>().cast_signed();
        let mut strides = IxDyn::zeros(array.ndim());
        for (stride, bytes) in strides.slice_mut().iter_mut().zip(array.strides()) {
            *stride = (bytes / size).cast_unsigned();
        }
        Self {
            pointer: array.data(),
            shape: IxDyn(array.shape()),
            strides,
            _array: array,
        }
    }

    /// Its shape.
    pub fn shape(&self) -> &[usize] {
        self.shape.slice()
    }

    /// How many elements it has.
    pub fn count(&self) -> usize {
        self.shape().iter().product()
    }

    /// As (steps, rows, width); `axes` tells which axis is which, a missing axis has size one.
    pub fn sequence(&self, (steps, rows): (Option<usize>, Option<usize>)) -> Sequence<'_, F> {
        let axis = |axis: Option<usize>| match axis {
            Some(axis) => (self.shape[axis], self.strides[axis].cast_signed()),
            None => (1, 0),
        };
        let (steps, step_stride) = axis(steps);
        let (rows, row_stride) = axis(rows);
        let width = self.shape().last().copied().unwrap_or(1);
        // SAFETY: sizes and strides are the array's own, its last axis is contiguous, and it is
        // kept alive; see the module's words on writers.
        unsafe { Sequence::from_raw(self.pointer, (steps, rows, width), step_stride, row_stride) }
    }
}

/// A wholly contiguous array, kept alive while it is read in place; captured as [`Rows`] are.
pub struct Contiguous<'py, F: Number> {
    _array: Bound<'py, PyArrayDyn<F>>,
    pointer: *const F,
    len: usize,
}

impl<'py, F: Number> Contiguous<'py, F> {
    /// The argument itself where possible, else a copy.
    pub fn new(array: &Bound<'py, PyUntypedArray>) -> PyResult<Self> {
        let array = match typed_in_place::<F>(array) {
            Some(typed) if typed.is_c_contiguous() => typed,
            _ => converted(array)?,
        };
        Ok(Self {
            pointer: array.data(),
            len: array.len(),
            _array: array,
        })
    }

    /// Its elements.
    pub fn as_slice(&self) -> &[F] {
        if self.len == 0 {
            return &[];
        }
        // SAFETY: contiguous, aligned, not empty, and kept alive; see the module's words on writers.
        unsafe { std::slice::from_raw_parts(self.pointer, self.len) }
    }
}

/// An array that a call fills: the caller's own, or a new one.
pub struct Output<'py, F: Number>(Bound<'py, PyArrayDyn<F>>);

impl<'py, F: Number> Output<'py, F> {
    /// A new array, whose memory is not set yet.
    pub fn new(py: Python<'py>, shape: &[usize]) -> PyResult<Self> {
        let mut sizes = IxDyn(shape);
        element_count(shape)?;
        let axes = sizes.ndim().try_into()?;
        // SAFETY: NumPy reads that many sizes, which fit its type, and takes over the type's
        // reference; it returns a new array of these sizes and this type, or nothing and an error.
        let array = unsafe {
            let sizes = sizes.slice_mut().as_mut_ptr().cast();
            let dtype = F::get_dtype(py).into_dtype_ptr();
            let pointer = PY_ARRAY_API.PyArray_Empty(py, axes, sizes, dtype, 0);
            Bound::from_owned_ptr_or_err(py, pointer)?.cast_into_unchecked()
        };
        Ok(Self(array))
    }

    /// The argument, which must fit as it is: what is written to a copy would be lost.
    pub fn given(value: &Bound<'py, PyAny>, name: &str, shape: &[usize]) -> PyResult<Self> {
        let expected = format_args!("an array of dtype {}", F::PRECISION.name());
        let Ok(untyped) = value.cast::<PyUntypedArray>() else {
            let got = shown(value);
            return Err(Error::dtype(name.to_owned(), expected.to_string(), got).into());
        };
        let Ok(array) = untyped.as_any().cast::<PyArrayDyn<F>>() else {
            let got = format!("dtype {}", untyped.dtype());
            return Err(Error::dtype(name.to_owned(), expected.to_string(), got).into());
        };
        check_shape(untyped, name, shape)?;
        // SAFETY: the object is an array.
        let flags = unsafe { (*array.as_array_ptr()).flags };
        for (flag, expected) in [
            (npyffi::NPY_ARRAY_C_CONTIGUOUS, "a C-contiguous array"),
            (npyffi::NPY_ARRAY_ALIGNED, "an array with aligned memory"),
            (npyffi::NPY_ARRAY_WRITEABLE, "a writeable array"),
        ] {
            if flags & flag == 0 {
                return Err(Error::config(name.to_owned(), expected, "one that isn't").into());
            }
        }
        Ok(Self(array.clone()))
    }

    /// Its memory.
    pub fn memory(&self) -> OutputMemory<'_, F> {
        OutputMemory {
            pointer: self.0.data(),
            len: self.0.len(),
            marker: PhantomData,
        }
    }

    /// The array, once its memory is filled.
    pub fn into_array(self) -> Bound<'py, PyAny> {
        self.0.into_any()
    }
}

/// The contiguous memory of an [`Output`]. It may be an input's memory as well: there is no slice
/// of it, and it is written when the call has read its inputs.
pub struct OutputMemory<'a, F> {
    pointer: *mut F,
    len: usize,
    marker: PhantomData<&'a mut [F]>,
}

// SAFETY: it stands for memory of plain numbers, which the output keeps alive.
unsafe impl<F: Number> Send for OutputMemory<'_, F> {}

impl<F: Number> OutputMemory<'_, F> {
    /// Copies the rows of one step in.
    pub fn fill(self, values: Sequence<'_, F>) {
        let (_, rows, width) = values.sizes();
        assert_eq!(rows * width, self.len);
        for row in 0..rows {
            let from = values.row(0, row);
            // SAFETY: the rows together have as many numbers as the memory, whose array is
            // contiguous, aligned and kept alive; see the module's words on writers. The values
            // are memory of the core, which no array shares.
            unsafe {
                let to = self.pointer.add(row * width);
                to.copy_from_nonoverlapping(from.as_ptr(), width);
            }
        }
    }
}

/// Moves a vector to NumPy: no copy, and nobody else has the memory.
pub fn to_numpy<'py, F: Number>(
    py: Python<'py>,
    values: Vec<F>,
    shape: &[usize],
) -> PyResult<Bound<'py, PyArrayDyn<F>>> {
    let (got, expected) = (values.len(), shape_text(shape));
    let array = ArrayD::from_shape_vec(IxDyn(shape), values)
        .map_err(|_| Error::shape("output", expected, format!("{got} values")))?;
    Ok(PyArrayDyn::from_owned_array(py, array))
}

/// Makes now what NumPy's interface and Python's types would make when first used. They may let
/// another thread have the interpreter meanwhile, and a process forked by it would wait forever.
pub fn prepare(py: Python<'_>) -> PyResult<()> {
    let single = lend_to_numpy(py, Pool::<f32>::default().take(1)?, &[1])?;
    let double = lend_to_numpy(py, Pool::<f64>::default().take(1)?, &[1])?;
    for array in [single.as_untyped(), double.as_untyped()] {
        is_double(array);
    }
    single.try_readonly()?;
    double.try_readonly()?;
    PyArray::from_vec(py, vec![0_i64]).try_readonly()?;
    PyArray::from_vec(py, vec![false]).try_readonly()?;
    Ok(())
}

/// Lends a buffer to NumPy: no copy, and nobody else has the memory until the array is released.
pub fn lend_to_numpy<'py, F: Number>(
    py: Python<'py>,
    buffer: Buffer<F>,
    shape: &[usize],
) -> PyResult<Bound<'py, PyArrayDyn<F>>> {
    let (got, expected) = (buffer.len(), checked_size(shape)?);
    if got != expected {
        return Err(Error::shape("output", shape_text(shape), format!("{got} values")).into());
    }
    let pointer = buffer.as_root_ptr();
    let owner = Bound::new(py, Memory(Arc::new(buffer)))?.into_any();
    // SAFETY: the buffer holds the array's elements, and never moves.
    let memory = unsafe { ArrayView::from_shape_ptr(IxDyn(shape), pointer) };
    // SAFETY: the owner becomes the array's base and keeps the memory until the array is released.
    // Nothing else in Rust looks at it meanwhile.
    Ok(unsafe { PyArray::borrow_from_array(&memory, owner) })
}

/// Keeps memory alive for the arrays that view it.
#[pyclass(frozen, module = "recurrust._core")]
struct Memory(#[allow(dead_code)] Arc<dyn Any + Send + Sync>);

/// Which of a parameter's arrays to view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// The values, read-only for good: NumPy asks the array's owner before it makes an array
    /// writable again, and that has no buffer to offer.
    Values,
    /// The gradient, writable.
    Gradient,
}

/// A parameter's live memory as an array, valid for as long as anybody holds the array.
pub fn view<'py, F: Number>(
    py: Python<'py>,
    parameters: &Arc<Parameters<F>>,
    index: usize,
    which: View,
) -> PyResult<Bound<'py, PyAny>> {
    let pointer = match which {
        View::Values => parameters.data_ptr(index),
        View::Gradient => parameters.gradient_ptr(index)?,
    };
    let shape = IxDyn(&parameters.entries()[index].shape);
    let owner: Arc<dyn Any + Send + Sync> = Arc::<Parameters<F>>::clone(parameters);
    let owner = Bound::new(py, Memory(owner))?.into_any();
    // SAFETY: the memory holds the parameter's elements, row-major, and never moves.
    let memory = unsafe { ArrayView::from_shape_ptr(shape, pointer) };
    // SAFETY: the owner becomes the array's base and keeps the memory alive as long as the array.
    let array = unsafe { PyArray::borrow_from_array(&memory, owner) };
    if which == View::Values {
        array.try_readwrite()?.make_nonwriteable();
    }
    Ok(array.into_any())
}

/// Integers, one after the other, and their shape. Floats are accepted when they are whole
/// numbers and `floats` says so.
pub fn integers(
    value: &Bound<'_, PyAny>,
    name: &str,
    floats: bool,
) -> PyResult<(Vec<i64>, Vec<usize>)> {
    let array = numbers(value, name)?;
    let shape = array.shape().to_vec();
    let kind = array.dtype().kind();
    if kind == b'u' && !shape.contains(&0) {
        let largest = array.call_method0("max")?;
        if largest.extract::<i64>().is_err() {
            return Err(
                Error::config(name.to_owned(), "numbers below 2**63", shown(&largest)).into(),
            );
        }
    }
    // An empty list is an array of floats to NumPy.
    let is_empty = shape.contains(&0);
    match kind {
        b'i' | b'u' => {}
        b'f' if floats || is_empty => {
            let values = Contiguous::<f64>::new(&array)?;
            let whole = |number: f64| number.fract() == 0.0 && number.abs() < 9.0e15;
            if let Some(index) = values.as_slice().iter().position(|&v| !whole(v)) {
                return Err(Error::config(
                    format!("{name}[{index}]"),
                    "a whole number",
                    values.as_slice()[index].to_string(),
                )
                .into());
            }
        }
        _ => {
            return Err(Error::dtype(
                name.to_owned(),
                "an array of integers",
                format!("dtype {}", array.dtype()),
            )
            .into());
        }
    }
    let typed = array
        .call_method1("astype", ("int64",))?
        .call_method0("ravel")?
        .cast_into::<PyArray<i64, ndarray::Ix1>>()?;
    Ok((copied_vec(typed.try_readonly()?.as_slice()?)?, shape))
}

/// Booleans of a given shape, one after the other. With `transposed`, the two axes change places.
pub fn flags(
    value: &Bound<'_, PyAny>,
    name: &str,
    shape: &[usize],
    transposed: bool,
) -> PyResult<Vec<bool>> {
    let array = numbers(value, name)?;
    if array.dtype().kind() != b'b' {
        return Err(Error::dtype(
            name.to_owned(),
            "an array of booleans (use .astype(bool))",
            format!("dtype {}", array.dtype()),
        )
        .into());
    }
    check_shape(&array, name, shape)?;
    let mut ordered = array.into_any();
    if transposed {
        ordered = ordered.getattr("T")?;
    }
    let flat = ordered
        .call_method0("ravel")?
        .cast_into::<PyArray<bool, ndarray::Ix1>>()?;
    Ok(copied_vec(flat.try_readonly()?.as_slice()?)?)
}

/// The raw bytes of an array in row-major order.
pub fn bytes(array: &Bound<'_, PyUntypedArray>) -> PyResult<Vec<u8>> {
    array.call_method0("tobytes")?.extract()
}

/// Product of a shape, checked.
pub fn element_count(shape: &[usize]) -> PyResult<usize> {
    Ok(checked_size(shape)?)
}
