//! Losses of numbers.

use super::{BLOCK, Extent, Reduced, Request, total, weighted};
use crate::error::Result;
use crate::float::Float;
use crate::simd::{InstructionSet, Kernel, SimdFloat, Vector, dispatch};

/// A loss of one prediction `p` and one target `t`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Regression {
    /// `(p - t)^2`.
    Squared,
    /// `|p - t|`; its gradient at zero is zero.
    Absolute,
    /// `(p - t)^2 / 2` up to a distance `delta` above zero, and from there on straight: `delta |p - t|`
    /// and a constant (Huber 1964).
    Huber {
        /// Where the parabola ends.
        delta: f64,
    },
    /// Huber's loss divided by its distance, so that the slope ends at one; [`Self::Absolute`] when
    /// the distance is zero.
    SmoothL1 {
        /// Where the parabola ends.
        beta: f64,
    },
}

impl Regression {
    /// The loss; `predictions`, `targets` and weights have the same length.
    ///
    /// # Errors
    /// Out of memory.
    ///
    /// # Panics
    /// When the processor doesn't have the instruction set.
    pub fn reduce<F: SimdFloat>(
        self,
        set: InstructionSet,
        predictions: &[F],
        targets: &[F],
        request: Request<'_, F>,
    ) -> Result<Reduced<F>> {
        let count = predictions.len();
        let weight = request.weights.map_or(count as f64, total);
        let mut reduced = request.room(weight, count, count)?;
        if request.extent != Extent::Weight {
            let pass = Pass {
                loss: self,
                predictions,
                targets,
                request,
                reduced: &mut reduced,
            };
            dispatch(set, pass);
        }
        Ok(reduced)
    }
}

/// One pass over all elements, which fills in the value and what else there is room for.
struct Pass<'a, F> {
    loss: Regression,
    predictions: &'a [F],
    targets: &'a [F],
    request: Request<'a, F>,
    reduced: &'a mut Reduced<F>,
}

impl<F: SimdFloat> Kernel<F> for Pass<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Element = F>>(self) {
        match self.loss {
            Regression::Squared => self.over(Squared),
            Regression::Absolute => self.over(Absolute),
            Regression::Huber { delta } => self.over(Huber(finite(delta))),
            Regression::SmoothL1 { beta } => match finite(beta) {
                beta if beta == F::zero() => self.over(Absolute),
                beta => self.over(SmoothL1(beta)),
            },
        }
    }
}

/// The value and the slope at a difference. No closure: see `CONTRIBUTING.md`.
trait Shape<F>: Copy {
    /// Value and slope, without branches: nobody could predict the difference.
    fn at(self, difference: F) -> (F, F);
}

#[derive(Clone, Copy)]
struct Squared;

impl<F: Float> Shape<F> for Squared {
    #[inline(always)]
    fn at(self, difference: F) -> (F, F) {
        (difference * difference, difference + difference)
    }
}

#[derive(Clone, Copy)]
struct Absolute;

impl<F: Float> Shape<F> for Absolute {
    #[inline(always)]
    fn at(self, difference: F) -> (F, F) {
        let sign = if difference == F::zero() {
            F::zero()
        } else {
            difference.signum()
        };
        (difference.abs(), sign)
    }
}

#[derive(Clone, Copy)]
struct Huber<F>(F);

impl<F: Float> Shape<F> for Huber<F> {
    #[inline(always)]
    fn at(self, difference: F) -> (F, F) {
        let slope = clamped(difference, self.0);
        (slope * (difference - F::of(0.5) * slope), slope)
    }
}

#[derive(Clone, Copy)]
struct SmoothL1<F>(F);

impl<F: Float> Shape<F> for SmoothL1<F> {
    #[inline(always)]
    fn at(self, difference: F) -> (F, F) {
        let slope = clamped(difference / self.0, F::one());
        (slope * (difference - F::of(0.5) * self.0 * slope), slope)
    }
}

/// The nearest number that isn't infinite.
fn finite<F: Float>(number: f64) -> F {
    F::of(number).min(F::max_value())
}

/// The nearest number from `-limit` to `limit`, without branches; NaN stays.
#[inline(always)]
fn clamped<F: Float>(number: F, limit: F) -> F {
    let number = if number > limit { limit } else { number };
    if number < -limit { -limit } else { number }
}

impl<F: SimdFloat> Pass<'_, F> {
    /// The compiler makes registers of the loops; results have the same bits on every set.
    #[inline(always)]
    fn over(self, shape: impl Shape<F>) {
        let (request, reduced) = (self.request, self.reduced);
        let scale = request.value(1.0, reduced.weight);
        let ones = [F::one(); BLOCK];
        let count = self.predictions.len();
        let mut sum = 0.0;
        for start in (0..count).step_by(BLOCK) {
            let block = start..count.min(start + BLOCK);
            let weights = match request.weights {
                Some(weights) => &weights[block.clone()],
                None => &ones[..block.len()],
            };
            let predictions = &self.predictions[block.clone()];
            let targets = &self.targets[block.clone()];
            let mut losses = [0.0; BLOCK];
            let elements = predictions.iter().zip(targets).zip(weights);
            for (loss, ((&p, &t), weight)) in losses.iter_mut().zip(elements) {
                let (value, _) = shape.at(p - t);
                *loss = weighted(value.double(), weight.double());
            }
            sum += total(&losses);
            if let Some(to) = &mut reduced.elements {
                for (to, &loss) in to[block.clone()].iter_mut().zip(&losses) {
                    *to = F::of(loss);
                }
            }
            if let Some(to) = &mut reduced.gradient {
                let elements = predictions.iter().zip(targets).zip(weights);
                for (to, ((&p, &t), weight)) in to[block].iter_mut().zip(elements) {
                    let (_, slope) = shape.at(p - t);
                    *to = F::of(weighted(slope.double(), weight.double() * scale));
                }
            }
        }
        reduced.value = request.value(sum, reduced.weight);
    }
}
