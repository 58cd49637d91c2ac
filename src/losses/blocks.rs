//! One pass in double precision over elements that have one target and some predictions each.

use super::{BLOCK, Extent, Reduced, Request, total, weighted};
use crate::error::Result;
use crate::float::Float;
use crate::memory::filled_vec;
use crate::simd::{InstructionSet, Kernel, Vector, dispatch};

/// A loss of such elements.
pub(super) trait Elements<F> {
    /// How many predictions an element has.
    fn width(&self) -> usize;

    /// Fills in a block's losses and slopes. `#[inline(always)]`, as all of a [`Kernel`].
    fn fill<V: Vector<Element = f64>>(&self, block: Block<'_, F>);
}

/// At most [`BLOCK`] elements, one after the other.
pub(super) struct Block<'a, F> {
    /// The place of the first element among all.
    pub first: usize,
    pub predictions: &'a [F],
    pub targets: &'a [F],
    /// One loss an element.
    pub losses: &'a mut [f64],
    /// One slope a prediction.
    pub slopes: &'a mut [f64],
    /// Room for numbers of [`BLOCK`] elements each.
    pub room: [&'a mut [f64]; ROOMS],
}

/// How many numbers of each element a loss may keep.
const ROOMS: usize = 3;

/// The reduced loss.
///
/// # Errors
/// Out of memory.
pub(super) fn reduce<F: Float>(
    loss: &impl Elements<F>,
    set: InstructionSet,
    predictions: &[F],
    targets: &[F],
    request: Request<'_, F>,
) -> Result<Reduced<F>> {
    let count = targets.len();
    let weight = request.weights.map_or(count as f64, total);
    let mut reduced = request.room(weight, count, predictions.len())?;
    if request.extent != Extent::Weight {
        let pass = Pass {
            loss,
            predictions,
            targets,
            request,
            reduced: &mut reduced,
            slopes: filled_vec(0.0, count.min(BLOCK) * loss.width())?,
            room: filled_vec(0.0, ROOMS * BLOCK)?,
        };
        dispatch(set, pass);
    }
    Ok(reduced)
}

/// The pass, which fills in the value and what else there is room for.
struct Pass<'a, F, L> {
    loss: &'a L,
    predictions: &'a [F],
    targets: &'a [F],
    request: Request<'a, F>,
    reduced: &'a mut Reduced<F>,
    /// Of one block, a number a prediction.
    slopes: Vec<f64>,
    /// Of one block, some numbers an element.
    room: Vec<f64>,
}

impl<F: Float, L: Elements<F>> Kernel<f64> for Pass<'_, F, L> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Element = f64>>(mut self) {
        let (request, width) = (self.request, self.loss.width());
        let count = self.targets.len();
        let scale = request.value(1.0, self.reduced.weight);
        let mut losses = [0.0; BLOCK];
        let mut weights = [1.0; BLOCK];
        let mut sum = 0.0;
        for start in (0..count).step_by(BLOCK) {
            let place = start..count.min(start + BLOCK);
            let wide = place.start * width..place.end * width;
            let losses = &mut losses[..place.len()];
            let slopes = &mut self.slopes[..wide.len()];
            if let Some(given) = request.weights {
                for (weight, given) in weights.iter_mut().zip(&given[place.clone()]) {
                    *weight = given.double();
                }
            }
            let weights = &weights[..place.len()];
            let (first, others) = self.room.split_at_mut(BLOCK);
            let (second, third) = others.split_at_mut(BLOCK);
            self.loss.fill::<V>(Block {
                first: start,
                predictions: &self.predictions[wide.clone()],
                targets: &self.targets[place.clone()],
                losses,
                slopes,
                room: [first, second, third],
            });
            for (loss, weight) in losses.iter_mut().zip(weights) {
                *loss = weighted(*loss, *weight);
            }
            sum += total(losses);
            if let Some(to) = &mut self.reduced.elements {
                for (to, &loss) in to[place].iter_mut().zip(&*losses) {
                    *to = F::of(loss);
                }
            }
            if let Some(to) = &mut self.reduced.gradient {
                let to = &mut to[wide];
                // One prediction of every element, then the next: long loops, whatever the width.
                for place in 0..width {
                    let to = to[place..].iter_mut().step_by(width);
                    let slopes = slopes[place..].iter().step_by(width);
                    for ((to, &slope), weight) in to.zip(slopes).zip(weights) {
                        *to = F::of(weighted(slope, weight * scale));
                    }
                }
            }
        }
        self.reduced.value = request.value(sum, self.reduced.weight);
    }
}
