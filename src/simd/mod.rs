//! Vector types: one register of numbers, with the few operations that cells need.
//!
//! The equations of a cell are written over [`Vector`], so the same lines run on every
//! instruction set. [`Portable`] is the instance that needs none in particular.

mod activations;
#[cfg(target_arch = "aarch64")]
mod arm;
mod dispatch;
mod portable;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod register;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::marker::PhantomData;
use std::ops::{Add, Div, Mul, Neg, Sub};

pub use dispatch::{InstructionSet, Kernel, SimdFloat, VARIABLE, dispatch};
pub use portable::{Portable, Scalar};

/// No register of any instruction set holds more numbers.
const MAX_LANES: usize = 16;

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
    type Element: SimdFloat;

    /// How many numbers one register holds.
    const LANES: usize;

    /// How many rows of four registers the instruction set's registers hold as sums, with some
    /// left for operands.
    const TILE_ROWS: usize;

    /// How many streams of weights, four registers at a time, a single row multiplies by side by side.
    const STREAMS: usize;

    /// Reads [`Vector::LANES`] numbers.
    ///
    /// # Safety
    /// The numbers at `from` are valid for reads.
    unsafe fn load(from: *const Self::Element) -> Self;

    /// Writes [`Vector::LANES`] numbers.
    ///
    /// # Safety
    /// The numbers at `to` are valid for writes.
    unsafe fn store(self, to: *mut Self::Element);

    /// Asks for the numbers at an address to be brought into the processor's second cache, soon. A hint
    /// that needs no valid address, and does nothing where there is no such instruction.
    #[inline(always)]
    fn prefetch(_from: *const Self::Element) {}

    /// The same number in every lane.
    fn splat(value: Self::Element) -> Self;

    /// `self * factor + addend`; rounded once where the instruction set can.
    #[must_use]
    fn mul_add(self, factor: Self, addend: Self) -> Self;

    /// One over the number, to within 0.6 ulp, for normal numbers whose reciprocal is normal.
    #[must_use]
    fn reciprocal(self) -> Self;

    /// The square root, rounded exactly.
    #[must_use]
    fn sqrt(self) -> Self;

    /// The smaller one of each pair; NaN in `self` stays.
    #[must_use]
    fn at_most(self, limit: Self) -> Self;

    /// The larger one of each pair; NaN in `self` stays.
    #[must_use]
    fn at_least(self, limit: Self) -> Self;

    /// Zero where `z` is `limit` or more, else `self`.
    #[must_use]
    fn zero_from(self, z: Self, limit: Self) -> Self;

    /// The nearest integer, for magnitudes below 2^20.
    #[must_use]
    fn round(self) -> Self;

    /// An exponent as the nearest integer n and the rest; what is so low that 2^n is nothing next
    /// to 1 may be raised. NaN stays in the rest.
    #[must_use]
    fn split_exponent(self) -> (Self, Self);

    /// `self * 2^n`, for `self` between 1/2 and 2 and the n of [`Vector::split_exponent`].
    #[must_use]
    fn scale(self, n: Self) -> Self;

    /// The logistic function, 1 / (1 + exp(-x)).
    #[inline(always)]
    #[must_use]
    fn sigmoid(self) -> Self {
        activations::sigmoid(self)
    }

    /// The exponential of numbers that are not positive.
    #[inline(always)]
    #[must_use]
    fn exp(self) -> Self {
        activations::exp(self)
    }

    /// The hyperbolic tangent.
    #[inline(always)]
    #[must_use]
    fn tanh(self) -> Self {
        activations::tanh(self)
    }

    /// Zero where the magnitude is below the smallest normal number. A state that decays to
    /// nothing would otherwise spend thousands of steps among the subnormals, where arithmetic is
    /// many times slower; the processor's floating-point mode stays as the caller set it.
    #[must_use]
    fn flush_tiny(self) -> Self;

    /// Reads the first numbers of a slice, as many as a register holds; zeros where it is shorter.
    #[inline(always)]
    #[must_use]
    fn from_slice(numbers: &[Self::Element]) -> Self {
        if numbers.len() >= Self::LANES {
            // SAFETY: the slice holds a register.
            return unsafe { Self::load(numbers.as_ptr()) };
        }
        let mut register = [Self::Element::default(); MAX_LANES];
        register[..numbers.len()].copy_from_slice(numbers);
        // SAFETY: no register is longer than the buffer.
        unsafe { Self::load(register.as_ptr()) }
    }

    /// Writes the first numbers of a slice, as many as it has and the register holds.
    #[inline(always)]
    fn to_slice(self, numbers: &mut [Self::Element]) {
        if numbers.len() >= Self::LANES {
            // SAFETY: the slice holds a register.
            return unsafe { self.store(numbers.as_mut_ptr()) };
        }
        let mut register = [Self::Element::default(); MAX_LANES];
        // SAFETY: no register is longer than the buffer.
        unsafe { self.store(register.as_mut_ptr()) };
        let count = numbers.len();
        numbers.copy_from_slice(&register[..count]);
    }
}

/// A fixed number of registers, e.g. one for each gate, stored one after the other.
pub trait Registers<V: Vector>: Copy {
    /// How many registers.
    const COUNT: usize;

    /// Builds the registers by their index.
    fn build(register: impl FnMut(usize) -> V) -> Self;

    /// One register.
    fn get(&self, index: usize) -> V;

    /// Replaces one register.
    fn set(&mut self, index: usize, register: V);

    /// Reads [`Registers::COUNT`] registers that stand one after the other.
    ///
    /// # Safety
    /// Their numbers are valid for reads.
    #[inline(always)]
    unsafe fn load(from: *const V::Element) -> Self {
        // SAFETY: the caller vouches for all registers.
        Self::build(|index| unsafe { V::load(from.add(index * V::LANES)) })
    }

    /// Writes the registers one after the other.
    ///
    /// # Safety
    /// Their numbers are valid for writes.
    #[inline(always)]
    unsafe fn store(&self, to: *mut V::Element) {
        for index in 0..Self::COUNT {
            // SAFETY: the caller vouches for all registers.
            unsafe { self.get(index).store(to.add(index * V::LANES)) };
        }
    }

    /// Writes some of the registers, `spread` numbers apart.
    ///
    /// # Safety
    /// Their numbers are valid for writes.
    #[inline(always)]
    unsafe fn store_span<S: Span>(&self, to: *mut V::Element, spread: usize) {
        for index in 0..S::COUNT {
            // SAFETY: the caller vouches for these registers.
            unsafe { self.get(S::START + index).store(to.add(index * spread)) };
        }
    }

    /// Adds registers in memory, `spread` numbers apart, to some of these.
    ///
    /// # Safety
    /// Their numbers are valid for reads.
    #[inline(always)]
    unsafe fn add_span<S: Span>(&mut self, from: *const V::Element, spread: usize) {
        for index in 0..S::COUNT {
            // SAFETY: the caller vouches for these registers.
            let values = unsafe { V::load(from.add(index * spread)) };
            self.set(S::START + index, self.get(S::START + index) + values);
        }
    }
}

/// Registers of a set that stand one after the other.
pub trait Span {
    /// The first of them.
    const START: usize;
    /// Behind the last of them.
    const END: usize;
    /// How many.
    const COUNT: usize = Self::END - Self::START;
}

/// The registers from `START` to before `END`.
#[derive(Debug, Clone, Copy)]
pub struct Places<const START: usize, const END: usize>;

impl<const START: usize, const END: usize> Span for Places<START, END> {
    const START: usize = START;
    const END: usize = END;
}

/// All registers of a set.
#[derive(Debug, Clone, Copy)]
pub struct All<V, R>(PhantomData<(V, R)>);

impl<V: Vector, R: Registers<V>> Span for All<V, R> {
    const START: usize = 0;
    const END: usize = R::COUNT;
}

/// Arrays of registers; written out for each length, so that nothing depends on a loop being
/// unrolled.
macro_rules! registers {
    ($count:literal: $($index:literal)*) => {
        impl<V: Vector> Registers<V> for [V; $count] {
            const COUNT: usize = $count;

            #[inline(always)]
            fn build(mut register: impl FnMut(usize) -> V) -> Self {
                [$(register($index)),*]
            }

            #[inline(always)]
            fn get(&self, index: usize) -> V {
                self[index]
            }

            #[inline(always)]
            fn set(&mut self, index: usize, register: V) {
                self[index] = register;
            }
        }
    };
}
impl<V: Vector> Registers<V> for [V; 0] {
    const COUNT: usize = 0;

    #[inline(always)]
    fn build(_: impl FnMut(usize) -> V) -> Self {
        []
    }

    #[inline(always)]
    fn get(&self, index: usize) -> V {
        self[index]
    }

    #[inline(always)]
    fn set(&mut self, index: usize, register: V) {
        self[index] = register;
    }
}

registers!(1: 0);
registers!(2: 0 1);
registers!(3: 0 1 2);
registers!(4: 0 1 2 3);
registers!(5: 0 1 2 3 4);
