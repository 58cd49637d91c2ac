//! Gradient clipping (Pascanu, Mikolov and Bengio 2013).

use std::ops::Range;

use crate::float::{Float, Precision};
use crate::simd::{InstructionSet, Kernel, SimdFloat, Vector, dispatch};

/// Added to the norm before dividing by it, as PyTorch does.
const EPSILON: f64 = 1e-6;

/// Sums of plain squares that didn't overflow, nor miss what counts because its square vanished.
const SAFE_SUMS: Range<f64> = 1e-280..1e300;

/// How many partial sums run side by side; the same on every instruction set.
const PARTIAL_SUMS: usize = 16;

/// The Euclidean norm of several tensors together, collected one by one.
///
/// Where plain squares would overflow or vanish, they are taken relative to the largest magnitude,
/// so neither huge nor tiny gradients do.
#[derive(Debug, Clone, Copy)]
pub struct JointNorm {
    /// What the numbers were divided by before they were squared.
    scale: f64,
    sum: f64,
}

impl Default for JointNorm {
    fn default() -> Self {
        Self {
            scale: 1.0,
            sum: 0.0,
        }
    }
}

impl JointNorm {
    /// Adds one tensor.
    ///
    /// # Panics
    /// When the processor doesn't have the instruction set.
    pub fn add<F: SimdFloat>(&mut self, set: InstructionSet, values: &[F]) {
        let sum = dispatch(set, SumOfSquares { values });
        // Squares of single-precision numbers have room enough in double precision.
        let single = F::PRECISION == Precision::Single;
        if single || SAFE_SUMS.contains(&sum) || sum.is_nan() {
            self.join(1.0, sum);
            return;
        }
        let numbers = || values.iter().map(|value| value.double());
        let largest = numbers().fold(0.0, |largest: f64, number| largest.max(number.abs()));
        if largest.is_infinite() {
            self.join(1.0, largest);
        } else if largest > 0.0 {
            let squares = numbers().map(|number| (number / largest).powi(2));
            self.join(largest, squares.sum());
        }
    }

    /// Adds a sum of squares of numbers that were divided by `scale`.
    fn join(&mut self, scale: f64, sum: f64) {
        if self.sum == 0.0 {
            *self = Self { scale, sum };
            return;
        }
        // One factor after the other: the square of a ratio may vanish where its effect does not.
        if scale > self.scale {
            let ratio = self.scale / scale;
            self.sum = self.sum * ratio * ratio + sum;
            self.scale = scale;
        } else {
            let ratio = scale / self.scale;
            self.sum += sum * ratio * ratio;
        }
    }

    /// The norm; NaN when an element is, infinite when an element is.
    #[must_use]
    pub fn value(&self) -> f64 {
        self.scale * self.sum.sqrt()
    }

    /// What gradients are multiplied by so that their norm is at most `max_norm`.
    #[must_use]
    pub fn factor(&self, max_norm: f64) -> f64 {
        let factor = max_norm / (self.value() + EPSILON);
        // NaN stays NaN: a clipped NaN must not look like a gradient.
        if factor > 1.0 { 1.0 } else { factor }
    }
}

/// The sum of plain squares, in double precision.
struct SumOfSquares<'a, F> {
    values: &'a [F],
}

impl<F: SimdFloat> Kernel<F> for SumOfSquares<'_, F> {
    type Output = f64;

    /// The compiler makes registers of the partial sums: the same sums on every instruction set.
    #[inline(always)]
    fn run<V: Vector<Element = F>>(self) -> f64 {
        let mut sums = [0.0; PARTIAL_SUMS];
        let (chunks, rest) = self.values.as_chunks::<PARTIAL_SUMS>();
        for chunk in chunks {
            for lane in 0..PARTIAL_SUMS {
                sums[lane] += chunk[lane].double() * chunk[lane].double();
            }
        }
        for (sum, value) in sums.iter_mut().zip(rest) {
            *sum += value.double() * value.double();
        }
        sums.into_iter().sum()
    }
}

/// Multiplies by a factor.
pub fn scale<F: Float>(values: &mut [F], factor: f64) {
    let factor = F::of(factor);
    for value in values {
        *value *= factor;
    }
}

/// Cuts every element to `-limit..=limit`.
pub fn clamp<F: Float>(values: &mut [F], limit: f64) {
    let limit = F::of(limit);
    for value in values {
        if *value > limit {
            *value = limit;
        } else if *value < -limit {
            *value = -limit;
        }
    }
}
