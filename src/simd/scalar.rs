//! The portable vector: a single number.

use std::ops::{Add, Mul, Neg, Sub};

use super::Vector;
use crate::float::Float;

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
    fn sigmoid(self) -> Self {
        // exp overflows to infinity for large negative arguments, and 1 / infinity is the limit.
        Self(F::one() / (F::one() + (-self.0).exp()))
    }

    #[inline]
    fn tanh(self) -> Self {
        Self(self.0.tanh())
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
