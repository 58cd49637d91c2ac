//! Inputs with features on the last axis, and what a cache keeps of them.

use numpy::{PyUntypedArray, PyUntypedArrayMethods};
use pyo3::prelude::*;

use super::arrays::{self, Contiguous, Number, Rows};
use super::stack::check_version;
use crate::engine::Sequence;
use crate::error::{Error, Result, shape_text};

/// The axes of steps and rows.
type Axes = (Option<usize>, Option<usize>);

/// An input (..., features), read in place where its rows are contiguous.
pub struct Features<'py, F: Number> {
    rows: Rows<'py, F>,
    axes: Axes,
    /// Shape of the input without the features.
    outer: Vec<usize>,
}

impl<'py, F: Number> Features<'py, F> {
    /// The argument x, which must have so many features.
    pub fn new(x: &Bound<'py, PyAny>, features: usize) -> PyResult<Self> {
        let array = arrays::numbers(x, "x")?;
        let outer = match array.shape().split_last() {
            Some((&last, outer)) if last == features => outer.to_vec(),
            _ => {
                return Err(Error::shape(
                    "x",
                    format!("{features} features on the last axis"),
                    format!("shape {}", shape_text(array.shape())),
                )
                .into());
            }
        };
        // With more axes than two before the features, they are made one.
        let (array, axes) = match array.ndim() {
            1 => (array, (None, None)),
            2 => (array, (None, Some(0))),
            3 => (array, (Some(0), Some(1))),
            _ => {
                let flat = array
                    .call_method1("reshape", (arrays::element_count(&outer)?, features))?
                    .cast_into::<PyUntypedArray>()?;
                (flat, (None, Some(0)))
            }
        };
        let rows = Rows::new(&array)?;
        Ok(Self { rows, axes, outer })
    }

    /// The input as (steps, rows, features).
    pub fn sequence(&self) -> Sequence<'_, F> {
        self.rows.sequence(self.axes)
    }

    /// How many numbers there are.
    pub fn count(&self) -> usize {
        self.rows.count()
    }

    /// The shape of an array with other features.
    pub fn shape_with(&self, features: usize) -> Vec<usize> {
        [&self.outer[..], &[features]].concat()
    }

    /// What a cache has: whatever the backward pass needs, and the version of the weights.
    pub fn kept<T>(self, tape: T, version: u64) -> Kept<T> {
        Kept {
            version,
            tape,
            outer: self.outer,
        }
    }
}

/// What a backward pass needs of an input, and the version of the weights that it met.
pub struct Kept<T> {
    version: u64,
    tape: T,
    /// Shape of the input without the features.
    outer: Vec<usize>,
}

impl<T> Kept<T> {
    /// What was kept, if the weights have not changed.
    pub fn get(&self, version: u64) -> Result<&T> {
        check_version(self.version, version)?;
        Ok(&self.tape)
    }

    /// The shape of an array with other features.
    pub fn shape_with(&self, features: usize) -> Vec<usize> {
        [&self.outer[..], &[features]].concat()
    }

    /// The argument dy, the gradient of an output with so many features.
    pub fn gradient<'py, F: Number>(
        &self,
        dy: &Bound<'py, PyAny>,
        features: usize,
    ) -> PyResult<Contiguous<'py, F>> {
        let array = arrays::numbers(dy, "dy")?;
        arrays::check_shape(&array, "dy", &self.shape_with(features))?;
        Contiguous::new(&array)
    }
}

/// What a cache keeps in either precision.
pub enum Either<S, D> {
    Single(S),
    Double(D),
}

/// The error of a cache in the other precision.
pub fn other_precision() -> Error {
    Error::State("cache: made by a layer of another dtype".to_owned())
}

/// A copy of an input.
pub type AnyNumbers = Either<Vec<f32>, Vec<f64>>;

impl Kept<AnyNumbers> {
    /// The numbers of the input, if the weights have not changed.
    pub fn numbers<F: Keepable>(&self, version: u64) -> Result<&[F]> {
        F::unwrap(self.get(version)?).ok_or_else(other_precision)
    }
}

/// Numbers whose vectors a cache can hold.
pub trait Keepable: Number {
    fn wrap(numbers: Vec<Self>) -> AnyNumbers;
    fn unwrap(numbers: &AnyNumbers) -> Option<&[Self]>;
}

impl Keepable for f32 {
    fn wrap(numbers: Vec<Self>) -> AnyNumbers {
        AnyNumbers::Single(numbers)
    }

    fn unwrap(numbers: &AnyNumbers) -> Option<&[Self]> {
        match numbers {
            AnyNumbers::Single(numbers) => Some(numbers),
            AnyNumbers::Double(_) => None,
        }
    }
}

impl Keepable for f64 {
    fn wrap(numbers: Vec<Self>) -> AnyNumbers {
        AnyNumbers::Double(numbers)
    }

    fn unwrap(numbers: &AnyNumbers) -> Option<&[Self]> {
        match numbers {
            AnyNumbers::Double(numbers) => Some(numbers),
            AnyNumbers::Single(_) => None,
        }
    }
}
