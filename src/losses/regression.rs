//! Losses of numbers.

use super::{Extent, Reduced, Request, total};
use crate::error::Result;
use crate::float::Float;

/// How many elements are gone through at a time: few enough to stay in the nearest cache.
const BLOCK: usize = 256;

/// A loss of one prediction `p` and one target `t`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Regression {
    /// `(p - t)^2`.
    Squared,
    /// `|p - t|`; its gradient at zero is zero.
    Absolute,
}

impl Regression {
    /// The loss; `predictions`, `targets` and weights have the same length.
    ///
    /// # Errors
    /// Out of memory.
    pub fn reduce<F: Float>(
        self,
        predictions: &[F],
        targets: &[F],
        request: Request<'_, F>,
    ) -> Result<Reduced<F>> {
        match self {
            Self::Squared => reduce(predictions, targets, request, |difference| {
                (difference * difference, difference + difference)
            }),
            Self::Absolute => reduce(predictions, targets, request, |difference| {
                let sign = if difference == F::zero() {
                    F::zero()
                } else {
                    difference.signum()
                };
                (difference.abs(), sign)
            }),
        }
    }
}

/// The loss, from the value and the slope of a difference.
#[inline(always)]
fn reduce<F: Float>(
    predictions: &[F],
    targets: &[F],
    request: Request<'_, F>,
    value_and_slope: impl Fn(F) -> (F, F),
) -> Result<Reduced<F>> {
    let count = predictions.len();
    let weight = request.weights.map_or(count as f64, total);
    let mut reduced = request.room(weight, count, count)?;
    if request.extent == Extent::Weight {
        return Ok(reduced);
    }
    let scale = request.value(1.0, weight);
    let ones = [F::one(); BLOCK];
    let mut sum = 0.0;
    for start in (0..count).step_by(BLOCK) {
        let block = start..count.min(start + BLOCK);
        let weights = match request.weights {
            Some(weights) => &weights[block.clone()],
            None => &ones[..block.len()],
        };
        let elements = || {
            let differences = predictions[block.clone()]
                .iter()
                .zip(&targets[block.clone()]);
            differences
                .map(|(&p, &t)| value_and_slope(p - t))
                .zip(weights)
        };
        let mut losses = [0.0; BLOCK];
        for (loss, ((value, _), &weight)) in losses.iter_mut().zip(elements()) {
            *loss = weighted(value.double(), weight.double());
        }
        sum += total(&losses);
        if let Some(gradient) = &mut reduced.gradient {
            for (to, ((_, slope), &weight)) in gradient[block.clone()].iter_mut().zip(elements()) {
                *to = F::of(weighted(slope.double(), weight.double() * scale));
            }
        }
        if let Some(losses) = &mut reduced.elements {
            for (to, ((value, _), &weight)) in losses[block.clone()].iter_mut().zip(elements()) {
                *to = F::of(weighted(value.double(), weight.double()));
            }
        }
    }
    reduced.value = request.value(sum, weight);
    Ok(reduced)
}

/// The product; zero where the weight is, even of NaN.
#[inline(always)]
fn weighted(number: f64, weight: f64) -> f64 {
    if weight == 0.0 { 0.0 } else { number * weight }
}
