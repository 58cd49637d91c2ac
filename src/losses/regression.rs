//! Losses of numbers.

use super::{Extent, Reduced, Request, total};
use crate::error::Result;
use crate::simd::{InstructionSet, Kernel, SimdFloat, Vector, dispatch};

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

    /// The compiler makes registers of the loops; results have the same bits on every set.
    #[inline(always)]
    fn run<V: Vector<Element = F>>(self) {
        match self.loss {
            Regression::Squared => {
                self.over(|difference| (difference * difference, difference + difference));
            }
            Regression::Absolute => self.over(|difference| {
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

impl<F: SimdFloat> Pass<'_, F> {
    /// The pass, with the value and the slope of a difference.
    #[inline(always)]
    fn over(self, value_and_slope: impl Fn(F) -> (F, F)) {
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
            let pairs = || {
                let predictions = self.predictions[block.clone()].iter();
                predictions.zip(&self.targets[block.clone()])
            };
            let elements = || pairs().map(|(&p, &t)| value_and_slope(p - t)).zip(weights);
            let mut losses = [0.0; BLOCK];
            for (loss, ((value, _), weight)) in losses.iter_mut().zip(elements()) {
                *loss = weighted(value.double(), weight.double());
            }
            sum += total(&losses);
            if let Some(to) = &mut reduced.elements {
                for (to, &loss) in to[block.clone()].iter_mut().zip(&losses) {
                    *to = F::of(loss);
                }
            }
            if let Some(to) = &mut reduced.gradient {
                for (to, ((_, slope), weight)) in to[block.clone()].iter_mut().zip(elements()) {
                    *to = F::of(weighted(slope.double(), weight.double() * scale));
                }
            }
        }
        reduced.value = request.value(sum, reduced.weight);
    }
}

/// The product; zero where the weight is, even of NaN.
#[inline(always)]
fn weighted(number: f64, weight: f64) -> f64 {
    if weight == 0.0 { 0.0 } else { number * weight }
}
