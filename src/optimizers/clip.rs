//! Gradient clipping (Pascanu, Mikolov and Bengio 2013).

use crate::float::Float;

/// Added to the norm before dividing by it, as PyTorch does.
const EPSILON: f64 = 1e-6;

/// The Euclidean norm of several tensors together, collected one by one.
///
/// Squares are taken relative to the largest magnitude so far, so neither huge nor tiny gradients
/// overflow or vanish.
#[derive(Debug, Clone, Copy, Default)]
pub struct JointNorm {
    largest: f64,
    /// Sum of squares, each divided by the square of `largest`.
    sum: f64,
    not_a_number: bool,
}

impl JointNorm {
    /// Adds one tensor.
    pub fn add<F: Float>(&mut self, values: &[F]) {
        let largest = values.iter().fold(0.0f64, |largest, value| {
            self.not_a_number |= value.is_nan();
            largest.max(value.double().abs())
        });
        if largest == 0.0 || self.largest.is_infinite() {
            return;
        }
        if largest > self.largest {
            self.sum *= (self.largest / largest).powi(2);
            self.largest = largest;
        }
        if self.largest.is_finite() {
            self.sum += values
                .iter()
                .map(|value| (value.double() / self.largest).powi(2))
                .sum::<f64>();
        }
    }

    /// The norm; NaN when an element is, infinite when an element is.
    #[must_use]
    pub fn value(&self) -> f64 {
        if self.not_a_number {
            f64::NAN
        } else if self.largest.is_infinite() {
            f64::INFINITY
        } else {
            self.largest * self.sum.sqrt()
        }
    }

    /// What gradients are multiplied by so that their norm is at most `max_norm`.
    #[must_use]
    pub fn factor(&self, max_norm: f64) -> f64 {
        let factor = max_norm / (self.value() + EPSILON);
        // NaN stays NaN: a clipped NaN must not look like a gradient.
        if factor > 1.0 { 1.0 } else { factor }
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
