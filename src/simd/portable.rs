//! The portable vector: an array of numbers, which the compiler turns into whatever registers
//! its target surely has.

use std::ops::{Add, Div, Mul, Neg, Sub};

use super::{SimdFloat, Vector};
use crate::float::Float;

/// A register of `N` numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Portable<F, const N: usize>(pub [F; N]);

/// A register of one number.
pub type Scalar<F> = Portable<F, 1>;

impl<F: Float, const N: usize> Portable<F, N> {
    #[inline(always)]
    fn map(self, operation: impl Fn(F) -> F) -> Self {
        Self(self.0.map(operation))
    }

    #[inline(always)]
    fn zip(self, other: Self, operation: impl Fn(F, F) -> F) -> Self {
        Self(std::array::from_fn(|lane| {
            operation(self.0[lane], other.0[lane])
        }))
    }
}

impl<F: Float, const N: usize> Add for Portable<F, N> {
    type Output = Self;

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }
}

impl<F: Float, const N: usize> Sub for Portable<F, N> {
    type Output = Self;

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }
}

impl<F: Float, const N: usize> Mul for Portable<F, N> {
    type Output = Self;

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }
}

impl<F: Float, const N: usize> Div for Portable<F, N> {
    type Output = Self;

    #[inline(always)]
    fn div(self, other: Self) -> Self {
        self.zip(other, |a, b| a / b)
    }
}

impl<F: Float, const N: usize> Neg for Portable<F, N> {
    type Output = Self;

    #[inline(always)]
    fn neg(self) -> Self {
        self.map(|a| -a)
    }
}

impl<F: SimdFloat, const N: usize> Vector for Portable<F, N> {
    type Element = F;

    const LANES: usize = N;
    const TILE_ROWS: usize = 2;
    const STREAMS: usize = 2;

    #[inline(always)]
    unsafe fn load(from: *const F) -> Self {
        // SAFETY: the caller vouches for the memory.
        Self(unsafe { from.cast::<[F; N]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut F) {
        // SAFETY: the caller vouches for the memory.
        unsafe { to.cast::<[F; N]>().write_unaligned(self.0) };
    }

    #[inline(always)]
    fn splat(value: F) -> Self {
        Self([value; N])
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        // Two roundings: a fused multiply-add without the instruction is a slow library call.
        self * factor + addend
    }

    #[inline(always)]
    fn reciprocal(self) -> Self {
        self.map(|a| F::one() / a)
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        self.map(F::sqrt)
    }

    #[inline(always)]
    fn at_most(self, limit: Self) -> Self {
        self.zip(limit, |a, limit| if a > limit { limit } else { a })
    }

    #[inline(always)]
    fn at_least(self, limit: Self) -> Self {
        self.zip(limit, |a, limit| if a < limit { limit } else { a })
    }

    #[inline(always)]
    fn zero_from(self, z: Self, limit: Self) -> Self {
        Self(std::array::from_fn(|lane| {
            if z.0[lane] >= limit.0[lane] {
                F::zero()
            } else {
                self.0[lane]
            }
        }))
    }

    #[inline(always)]
    fn round(self) -> Self {
        self.map(|a| (a + F::SHIFT) - F::SHIFT)
    }

    #[inline(always)]
    fn split_exponent(self) -> (Self, Self) {
        let raised = self.at_least(Self::splat(F::LOWEST_EXPONENT));
        let n = raised.round();
        (n, raised - n)
    }

    #[inline(always)]
    fn scale(self, n: Self) -> Self {
        self.zip(n, F::scale)
    }

    #[inline(always)]
    fn flush_tiny(self) -> Self {
        self.map(|a| {
            if a.abs() < F::min_positive_value() {
                F::zero()
            } else {
                a
            }
        })
    }
}
