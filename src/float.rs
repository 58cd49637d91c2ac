//! The two element types, single and double precision.

use std::fmt::{Debug, Display};
use std::iter::Sum;
use std::ops::{AddAssign, DivAssign, MulAssign, SubAssign};

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// Which element type a [`Float`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// `f32`, NumPy's `float32`.
    Single,
    /// `f64`, NumPy's `float64`.
    Double,
}

impl Precision {
    /// NumPy's name of the element type.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Single => "float32",
            Self::Double => "float64",
        }
    }
}

/// `f32` or `f64`.
pub trait Float:
    num_traits::Float
    + ndarray::LinalgScalar
    + AddAssign
    + SubAssign
    + MulAssign
    + DivAssign
    + Sum
    + Default
    + Debug
    + Display
    + Send
    + Sync
    + sealed::Sealed
    + 'static
{
    /// Which of the two it is.
    const PRECISION: Precision;

    /// The nearest value of this type.
    fn of(value: f64) -> Self;

    /// The value in double precision, exactly.
    fn double(self) -> f64;

    /// 2^n for an integer n from the smallest normal exponent to one above the largest, which gives
    /// infinity.
    #[must_use]
    fn power_of_two(exponent: Self) -> Self;
}

impl Float for f32 {
    const PRECISION: Precision = Precision::Single;

    #[inline]
    #[allow(clippy::cast_possible_truncation)] // rounding to nearest is what `of` promises
    fn of(value: f64) -> Self {
        value as f32
    }

    #[inline]
    fn double(self) -> f64 {
        f64::from(self)
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation)] // the exponent is a small integer
    fn power_of_two(exponent: Self) -> Self {
        // The exponent's bits, biased, above the 23 bits of the fraction.
        Self::from_bits(((exponent as i32 + 127) << 23).cast_unsigned())
    }
}

impl Float for f64 {
    const PRECISION: Precision = Precision::Double;

    #[inline]
    fn of(value: f64) -> Self {
        value
    }

    #[inline]
    fn double(self) -> f64 {
        self
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation)] // the exponent is a small integer
    fn power_of_two(exponent: Self) -> Self {
        // The exponent's bits, biased, above the 52 bits of the fraction.
        Self::from_bits(((exponent as i64 + 1023) << 52).cast_unsigned())
    }
}
