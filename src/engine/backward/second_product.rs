//! The way back through a second recurrent product, and through what the cell made of the hidden state
//! for it.

use super::super::parts::{Own, Part};
use super::operand_gradients::gated_gradient;
use super::step::accumulator_gradients;
use super::{Job, sums_products};
use crate::cells::Cell;
use crate::simd::{Registers, Span, Vector};

/// Adds, for a part's own rows and units, what reaches the accumulators and the hidden state that enters
/// a step through the second product. The rows of invalid steps have zero gradients.
///
/// # Safety
/// Nobody writes the gradients of the second product's accumulators, or uses the part's own places of
/// the others and of the state's.
#[inline(always)]
pub(super) unsafe fn through_second<V: Vector, C: Cell>(
    cell: C,
    job: &Job<'_, V::Element>,
    part: &Part<'_, V::Element>,
    own: &Own,
    (step, block_start): (usize, usize),
    tile: &mut [V::Element],
) {
    let geometry = job.weights.geometry();
    let rows = job.steps.rows();
    let saved_len = <C::Saved<V> as Registers<V>>::COUNT * V::LANES;
    let (input_set, hidden_set) = (C::Input::COUNT * V::LANES, C::Hidden::COUNT * V::LANES);
    let valid = job.steps.valid(step);
    // SAFETY: as the caller vouches.
    unsafe {
        gated_gradient(job, part, own, (step, block_start), tile);
        for row in own.rows.clone() {
            if valid.is_some_and(|valid| !valid[row]) {
                continue;
            }
            let index = (step - block_start) * rows + row;
            let (to_input, to_hidden) = accumulator_gradients::<V, C>(job, index, &part.blocks);
            let index = step * rows + row;
            let saved = &job.tape.saved()[index * geometry.saved_width()..];
            let operands = &job.tape.operands()[index * own.padded..][..own.padded];
            for (number, block) in part.blocks.clone().enumerate() {
                let place = block * V::LANES..(block + 1) * V::LANES;
                let at = row * own.padded + place.start;
                let d_operand = V::load(job.gated_gradient.read(at..at + V::LANES).as_ptr());
                let operand = V::load(operands[place].as_ptr());
                let saved = &saved[block * saved_len..][..saved_len];
                let saved = C::Saved::<V>::load(saved.as_ptr());
                let (factor, sums) = cell.factor_backward::<V>(saved, d_operand * operand);

                let to_input = &mut to_input[number * input_set..][..input_set];
                let mut of_input = sums;
                of_input.add_span::<C::Input>(to_input.as_ptr(), V::LANES);
                of_input.store_span::<C::Input>(to_input.as_mut_ptr(), V::LANES);
                if !sums_products::<C>() {
                    let to_hidden = &mut to_hidden[number * hidden_set..][..hidden_set];
                    let mut of_hidden = sums;
                    of_hidden.add_span::<C::Hidden>(to_hidden.as_ptr(), V::LANES);
                    of_hidden.store_span::<C::Hidden>(to_hidden.as_mut_ptr(), V::LANES);
                }

                let mut dh = d_operand * factor;
                if let Some(mask) = &job.regularization.recurrent {
                    dh = dh * mask.register(step, row, block);
                }
                let to = job.state_gradient.pointer(at, V::LANES);
                (V::load(to) + dh).store(to);
            }
        }
    }
}
