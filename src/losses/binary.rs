//! The loss of answers that are yes or no.

use super::blocks::{self, Block, Elements};
use super::{Reduced, Request, weighted};
use crate::error::Result;
use crate::float::Float;
use crate::simd::{InstructionSet, Vector};

/// Binary cross-entropy of logits `x` and targets `t` from 0 to 1: `(1 - t) ln(1 + exp(x))` and
/// `t ln(1 + exp(-x))`, the latter with a weight.
#[derive(Debug, Clone, PartialEq)]
pub struct BinaryCrossEntropy {
    /// What positive answers count more: a weight for each class of the last axis, or one for all.
    pub positive_weights: Option<Vec<f64>>,
}

impl BinaryCrossEntropy {
    /// The loss; `logits`, `targets` and weights have the same length.
    ///
    /// # Errors
    /// Out of memory.
    ///
    /// # Panics
    /// When the processor doesn't have the instruction set.
    pub fn reduce<F: Float>(
        &self,
        set: InstructionSet,
        logits: &[F],
        targets: &[F],
        request: Request<'_, F>,
    ) -> Result<Reduced<F>> {
        blocks::reduce(self, set, logits, targets, request)
    }
}

impl<F: Float> Elements<F> for BinaryCrossEntropy {
    fn width(&self) -> usize {
        1
    }

    #[inline(always)]
    fn fill<V: Vector<Element = f64>>(&self, block: Block<'_, F>) {
        // exp(-|x|), and ln(1 + exp(-|x|)): the same for both signs, and neither overflows.
        let [powers, logarithms, positives] = block.room;
        for (to, logit) in powers.iter_mut().zip(block.predictions) {
            *to = -logit.double().abs();
        }
        // Whole registers: what is beyond the block counts for nothing.
        let filled = block.targets.len().next_multiple_of(V::LANES);
        for start in (0..filled).step_by(V::LANES) {
            let register = start..start + V::LANES;
            let power = V::from_slice(&powers[register.clone()]).exp();
            power.to_slice(&mut powers[register]);
        }
        // Apart, so that the constants of each loop stay in registers.
        for start in (0..filled).step_by(V::LANES) {
            let register = start..start + V::LANES;
            let logarithm = ln_1p(V::from_slice(&powers[register.clone()]));
            logarithm.to_slice(&mut logarithms[register]);
        }
        for (to, target) in positives.iter_mut().zip(block.targets) {
            *to = target.double();
        }
        if let Some(weights) = &self.positive_weights {
            let weights = weights.iter().cycle().skip(block.first % weights.len());
            for (positive, weight) in positives[..block.targets.len()].iter_mut().zip(weights) {
                *positive *= weight;
            }
        }
        let numbers = block.predictions.iter().zip(block.targets);
        let made = powers.iter().zip(&*logarithms).zip(&*positives);
        let results = block.losses.iter_mut().zip(block.slopes);
        for (((logit, target), ((power, logarithm), &positive)), (loss, slope)) in
            numbers.zip(made).zip(results)
        {
            let (logit, negative) = (logit.double(), 1.0 - target.double());
            // The probability of the likelier answer, and of the other.
            let likely = 1.0 / (1.0 + power);
            let unlikely = power * likely;
            let up = if logit > 0.0 { logit } else { 0.0 };
            let down = if logit > 0.0 { 0.0 } else { -logit };
            let yes = if logit > 0.0 { likely } else { unlikely };
            let no = if logit > 0.0 { unlikely } else { likely };
            // An answer that isn't wanted costs nothing, even when its logit is infinite.
            *loss = weighted(up + logarithm, negative) + weighted(down + logarithm, positive);
            *slope = weighted(yes, negative) - weighted(no, positive);
        }
    }
}

/// `atanh(s) / s` as a polynomial in the square of s, for s up to 1/3; minimax (Remez), constant term
/// first, relative error 4.6e-17.
const INVERSE_HYPERBOLIC_TANGENT: [f64; 10] = [
    1.0,
    0.333_333_333_333_414_15,
    0.199_999_999_975_886_63,
    0.142_857_145_609_397_77,
    0.111_110_951_934_589_07,
    0.090_914_360_819_309_31,
    0.076_817_435_274_027_8,
    0.067_964_961_987_301_94,
    0.049_363_398_739_707_82,
    0.088_985_019_445_151_7,
];

/// `ln(1 + y) = 2 atanh(y / (2 + y))`, for y from 0 to 1.
#[inline(always)]
fn ln_1p<V: Vector<Element = f64>>(y: V) -> V {
    let s = y / (y + V::splat(2.0));
    let square = s * s;
    let mut sum = V::splat(INVERSE_HYPERBOLIC_TANGENT[INVERSE_HYPERBOLIC_TANGENT.len() - 1]);
    for &term in INVERSE_HYPERBOLIC_TANGENT.iter().rev().skip(1) {
        sum = sum.mul_add(square, V::splat(term));
    }
    (s + s) * sum
}
