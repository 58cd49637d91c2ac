//! Losses of predictions that describe a distribution: some numbers for each target.

use super::blocks::{self, Block, Elements};
use super::{Reduced, Request};
use crate::error::Result;
use crate::float::Float;
use crate::simd::{InstructionSet, Vector};

/// The pinball loss (Koenker and Bassett 1978), whose least mean is at the quantiles. A prediction
/// below its target costs its level times the difference, one above costs the rest to one. An
/// element's loss is the mean over its predictions, one for each level.
#[derive(Debug, Clone, PartialEq)]
pub struct Quantiles {
    /// Levels between 0 and 1, at least one.
    pub levels: Vec<f64>,
}

impl Quantiles {
    /// The loss; `predictions` is (targets, levels).
    ///
    /// # Errors
    /// Out of memory.
    ///
    /// # Panics
    /// When the processor doesn't have the instruction set.
    pub fn reduce<F: Float>(
        &self,
        set: InstructionSet,
        predictions: &[F],
        targets: &[F],
        request: Request<'_, F>,
    ) -> Result<Reduced<F>> {
        blocks::reduce(self, set, predictions, targets, request)
    }
}

impl<F: Float> Elements<F> for Quantiles {
    fn width(&self) -> usize {
        self.levels.len()
    }

    /// Level by level, so that no sum waits for the one before it.
    #[inline(always)]
    fn fill<V: Vector<Element = f64>>(&self, block: Block<'_, F>) {
        let width = self.levels.len();
        let share = 1.0 / width as f64;
        block.losses.fill(0.0);
        for (place, &level) in self.levels.iter().enumerate() {
            let predictions = block.predictions[place..].iter().step_by(width);
            let slopes = block.slopes[place..].iter_mut().step_by(width);
            let elements = predictions.zip(block.targets).zip(slopes);
            for (((prediction, target), slope), loss) in elements.zip(&mut *block.losses) {
                let excess = prediction.double() - target.double();
                // Without branches, which nobody could predict: 1 - level above, -level below,
                // nothing between.
                let cost = 0.5 * excess.signum() + (0.5 - level);
                let cost = if excess == 0.0 { 0.0 } else { cost };
                *slope = share * cost;
                *loss += *slope * excess;
            }
        }
    }
}

/// The negative log-likelihood of a normal distribution, from its mean and the logarithm of its
/// variance: `(log_var + (target - mean)^2 exp(-log_var)) / 2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gaussian {
    /// Adds the constant, `ln(2 pi) / 2`.
    pub full: bool,
}

impl Gaussian {
    /// The loss; `predictions` is (targets, 2).
    ///
    /// # Errors
    /// Out of memory.
    ///
    /// # Panics
    /// When the processor doesn't have the instruction set.
    pub fn reduce<F: Float>(
        self,
        set: InstructionSet,
        predictions: &[F],
        targets: &[F],
        request: Request<'_, F>,
    ) -> Result<Reduced<F>> {
        blocks::reduce(&self, set, predictions, targets, request)
    }
}

impl<F: Float> Elements<F> for Gaussian {
    fn width(&self) -> usize {
        2
    }

    #[inline(always)]
    fn fill<V: Vector<Element = f64>>(&self, block: Block<'_, F>) {
        let (pairs, _) = block.predictions.as_chunks::<2>();
        let (slopes, _) = block.slopes.as_chunks_mut::<2>();
        // exp(-|log_var| / 2); the power of a positive number is its reciprocal.
        let [powers, ..] = block.room;
        for (to, [_, log_variance]) in powers.iter_mut().zip(pairs) {
            *to = -0.5 * log_variance.double().abs();
        }
        // Whole registers: what is beyond the block counts for nothing.
        let filled = pairs.len().next_multiple_of(V::LANES);
        for start in (0..filled).step_by(V::LANES) {
            let register = start..start + V::LANES;
            let power = V::from_slice(&powers[register.clone()]).exp();
            power.to_slice(&mut powers[register]);
        }
        let constant = if self.full {
            0.5 * std::f64::consts::TAU.ln()
        } else {
            0.0
        };
        let numbers = pairs.iter().zip(block.targets).zip(&*powers);
        let results = block.losses.iter_mut().zip(slopes);
        for (((&[mean, log_variance], target), &power), (loss, slopes)) in numbers.zip(results) {
            let (mean, log_variance) = (mean.double(), log_variance.double());
            let inverse = 1.0 / power;
            let inverse_deviation = if log_variance > 0.0 { power } else { inverse };
            // In deviations. The root of the variance, rather than the variance, divides: squares of
            // the difference may overflow where this doesn't.
            let difference = mean - target.double();
            let excess = times(difference, inverse_deviation);
            let square = excess * excess;
            *loss = 0.5 * (log_variance + square) + constant;
            *slopes = [times(excess, inverse_deviation), 0.5 * (1.0 - square)];
        }
    }
}

/// The product; zero when the number is, even times infinity.
#[inline(always)]
fn times(number: f64, factor: f64) -> f64 {
    let product = number * factor;
    if number == 0.0 { 0.0 } else { product }
}
