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

    /// Adding this number, 1.5 * 2^(digits - 1), leaves no room for a fraction: the sum is rounded
    /// to an integer, which stands in its lowest bits.
    const SHIFT: Self;

    /// The nearest value of this type.
    fn of(value: f64) -> Self;

    /// The value in double precision, exactly.
    fn double(self) -> f64;

    /// The exponent of the smallest normal number, and one more.
    const LOWEST_EXPONENT: Self;

    /// `self * 2^n` for an integer n, where both and the result are normal numbers.
    #[must_use]
    fn scale(self, n: Self) -> Self;
}

impl Float for f32 {
    const PRECISION: Precision = Precision::Single;

    const SHIFT: Self = 12_582_912.0;

    #[inline]
    #[allow(clippy::cast_possible_truncation)] // rounding to nearest is what `of` promises
    fn of(value: f64) -> Self {
        value as f32
    }

    #[inline]
    fn double(self) -> f64 {
        f64::from(self)
    }

    const LOWEST_EXPONENT: Self = -125.0;

    #[inline]
    #[allow(clippy::cast_possible_truncation)] // an integer
    fn scale(self, n: Self) -> Self {
        // The integer's bits go above the 23 bits of the fraction, onto the exponent.
        // NaN counts as 0, so that it stays in `self`.
        let exponent = (n as i32) << 23;
        Self::from_bits(self.to_bits().wrapping_add_signed(exponent))
    }
}

impl Float for f64 {
    const PRECISION: Precision = Precision::Double;

    const SHIFT: Self = 6_755_399_441_055_744.0;

    #[inline]
    fn of(value: f64) -> Self {
        value
    }

    #[inline]
    fn double(self) -> f64 {
        self
    }

    const LOWEST_EXPONENT: Self = -1021.0;

    #[inline]
    #[allow(clippy::cast_possible_truncation)] // an integer
    fn scale(self, n: Self) -> Self {
        // The integer's bits go above the 52 bits of the fraction, onto the exponent.
        // NaN counts as 0, so that it stays in `self`.
        let exponent = i64::from(n as i32) << 52;
        Self::from_bits(self.to_bits().wrapping_add_signed(exponent))
    }
}
