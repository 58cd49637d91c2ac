//! Vector types: one register of numbers, with the few operations that cells need.
//!
//! The equations of a cell are written over [`Vector`], so the same lines run on every
//! instruction set. [`Portable`] is the instance that needs none in particular.

mod activations;
mod portable;

use std::ops::{Add, Div, Mul, Neg, Sub};

pub use portable::{Portable, Scalar};

use crate::float::Float;

/// A register of [`Vector::LANES`] numbers.
pub trait Vector:
    Copy
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + Send
    + Sync
    + 'static
{
    /// The numbers' type.
    type Element: Float;

    /// How many numbers one register holds.
    const LANES: usize;

    /// The first [`Vector::LANES`] numbers of a slice.
    fn load(from: &[Self::Element]) -> Self;

    /// Writes to the first [`Vector::LANES`] numbers of a slice.
    fn store(self, to: &mut [Self::Element]);

    /// The same number in every lane.
    fn splat(value: Self::Element) -> Self;

    /// `self * factor + addend`; rounded once where the instruction set can.
    #[must_use]
    fn mul_add(self, factor: Self, addend: Self) -> Self;

    /// The nearest integer, for magnitudes below 2^20.
    #[must_use]
    fn round(self) -> Self;

    /// 2^n for an integer n; infinity just above the largest exponent. NaN gives any number.
    #[must_use]
    fn power_of_two(self) -> Self;

    /// The nearest number between `low` and `high`; NaN stays NaN.
    #[must_use]
    fn clamp(self, low: Self, high: Self) -> Self;

    /// The logistic function, 1 / (1 + exp(-x)).
    #[inline]
    #[must_use]
    fn sigmoid(self) -> Self {
        activations::sigmoid(self)
    }

    /// The hyperbolic tangent.
    #[inline]
    #[must_use]
    fn tanh(self) -> Self {
        activations::tanh(self)
    }

    /// Zero where the magnitude is below the smallest normal number. A state that decays to
    /// nothing would otherwise spend thousands of steps among the subnormals, where arithmetic is
    /// many times slower; the processor's floating-point mode stays as the caller set it.
    #[must_use]
    fn flush_tiny(self) -> Self;
}

/// A fixed number of registers, e.g. one for each gate, stored one after the other.
pub trait Registers<V: Vector>: Copy {
    /// How many registers.
    const COUNT: usize;

    /// Builds the registers by their index.
    fn build(register: impl FnMut(usize) -> V) -> Self;

    /// One register.
    fn get(&self, index: usize) -> V;

    /// Reads [`Registers::COUNT`] registers that stand one after the other.
    #[inline]
    fn load(from: &[V::Element]) -> Self {
        Self::build(|index| V::load(&from[index * V::LANES..]))
    }

    /// Writes the registers one after the other.
    #[inline]
    fn store(&self, to: &mut [V::Element]) {
        for index in 0..Self::COUNT {
            self.get(index).store(&mut to[index * V::LANES..]);
        }
    }
}

impl<V: Vector, const COUNT: usize> Registers<V> for [V; COUNT] {
    const COUNT: usize = COUNT;

    #[inline]
    fn build(register: impl FnMut(usize) -> V) -> Self {
        std::array::from_fn(register)
    }

    #[inline]
    fn get(&self, index: usize) -> V {
        self[index]
    }
}
