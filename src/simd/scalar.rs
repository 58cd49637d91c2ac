//! The portable vector: a single number.

use std::ops::{Add, Div, Mul, Neg, Sub};

use super::Vector;
use crate::float::{Float, Precision};

/// A register of one number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scalar<F>(pub F);

impl<F: Float> Add for Scalar<F> {
    type Output = Self;

    #[inline]
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl<F: Float> Sub for Scalar<F> {
    type Output = Self;

    #[inline]
    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}

impl<F: Float> Mul for Scalar<F> {
    type Output = Self;

    #[inline]
    fn mul(self, other: Self) -> Self {
        Self(self.0 * other.0)
    }
}

impl<F: Float> Div for Scalar<F> {
    type Output = Self;

    #[inline]
    fn div(self, other: Self) -> Self {
        Self(self.0 / other.0)
    }
}

impl<F: Float> Neg for Scalar<F> {
    type Output = Self;

    #[inline]
    fn neg(self) -> Self {
        Self(-self.0)
    }
}

impl<F: Float> Vector for Scalar<F> {
    type Element = F;

    const LANES: usize = 1;

    #[inline]
    fn load(from: &[F]) -> Self {
        Self(from[0])
    }

    #[inline]
    fn store(self, to: &mut [F]) {
        to[0] = self.0;
    }

    #[inline]
    fn splat(value: F) -> Self {
        Self(value)
    }

    #[inline]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        // Two roundings: a fused multiply-add without the instruction is a slow library call.
        Self(self.0 * factor.0 + addend.0)
    }

    #[inline]
    fn round(self) -> Self {
        // Adding 1.5 * 2^(digits - 1) leaves no room for a fraction; the sum rounds to nearest.
        let shift = F::of(match F::PRECISION {
            Precision::Single => 12_582_912.0,
            Precision::Double => 6_755_399_441_055_744.0,
        });
        Self((self.0 + shift) - shift)
    }

    #[inline]
    fn power_of_two(self) -> Self {
        Self(F::power_of_two(self.0))
    }

    #[inline]
    fn clamp(self, low: Self, high: Self) -> Self {
        if self.0 < low.0 {
            low
        } else if self.0 > high.0 {
            high
        } else {
            self
        }
    }

    #[inline]
    fn flush_tiny(self) -> Self {
        if self.0.abs() < F::min_positive_value() {
            Self(F::zero())
        } else {
            self
        }
    }
}
