//! One step backwards: the cell on every register of units.

use std::ops::Range;

use super::super::forward::constants_of;
use super::super::gradient_products::{add, add_to};
use super::super::parts::Own;
use super::{Job, sums_products};
use crate::cells::Cell;
use crate::simd::{Registers, Span, Vector};

/// One step of a part's own rows and units: adds the output's gradient to that of the hidden state,
/// replaces the gradients of the new states by those of the previous ones along the direct paths,
/// and writes the accumulators' gradients.
///
/// # Safety
/// Nobody else uses the part's own places of both.
#[inline(always)]
pub(super) unsafe fn step_rows<V: Vector, C: Cell>(
    cell: C,
    job: &Job<'_, V::Element>,
    own: &Own,
    blocks: &Range<usize>,
    (step, block_start): (usize, usize),
    valid: Option<&[bool]>,
) {
    let geometry = job.weights.geometry();
    let rows = job.steps.rows();
    let units = own.columns.start..own.columns.end.min(geometry.hidden);
    for row in own.rows.clone() {
        let index = (step - block_start) * rows + row;
        // SAFETY: as the caller vouches.
        let (to_input, to_hidden) = unsafe { accumulator_gradients::<V, C>(job, index, blocks) };
        let second_set = C::Second::COUNT * V::LANES;
        let start = index * geometry.second_width();
        // SAFETY: as the caller vouches.
        let to_second = unsafe {
            let place = start + blocks.start * second_set..start + blocks.end * second_set;
            job.second_gradients.write(place)
        };
        if valid.is_some_and(|valid| !valid[row]) {
            to_input.fill(num_traits::Zero::zero());
            to_hidden.fill(num_traits::Zero::zero());
            to_second.fill(num_traits::Zero::zero());
            continue;
        }
        if let Some(dy) = &job.output_gradient {
            let start = row * own.padded;
            // SAFETY: as the caller vouches.
            let dh = unsafe {
                job.state_gradient
                    .write(start + units.start..start + units.end)
            };
            add(dh, &dy.row(step, row)[units.clone()]);
        }
        let (input_set, hidden_set) = (C::Input::COUNT * V::LANES, C::Hidden::COUNT * V::LANES);
        for (number, block) in blocks.clone().enumerate() {
            let to_input = &mut to_input[number * input_set..][..input_set];
            let to_hidden = match to_hidden {
                [] => &mut [],
                _ => &mut to_hidden[number * hidden_set..][..hidden_set],
            };
            let to_second = &mut to_second[number * second_set..][..second_set];
            let to = [to_input, to_hidden, to_second];
            // SAFETY: as the caller vouches.
            unsafe { step_registers::<V, C>(cell, job, (step, row), block, to) };
        }
    }
}

/// Where the gradients of the accumulators of one row and some blocks of units go: of those that take
/// the input product, and of those that take the recurrent product, unless they are the same. `index`
/// is that of the row in the block of time.
///
/// # Safety
/// Nobody else uses these places.
#[inline(always)]
#[allow(clippy::mut_from_ref)] // shared memory; the caller vouches for it
pub(super) unsafe fn accumulator_gradients<'a, V: Vector, C: Cell>(
    job: &'a Job<'_, V::Element>,
    index: usize,
    blocks: &Range<usize>,
) -> (&'a mut [V::Element], &'a mut [V::Element]) {
    let geometry = job.weights.geometry();
    let (input_set, hidden_set) = (C::Input::COUNT * V::LANES, C::Hidden::COUNT * V::LANES);
    let start = index * geometry.input_width();
    let of_input = start + blocks.start * input_set..start + blocks.end * input_set;
    let start = index * geometry.hidden_width();
    let of_hidden = start + blocks.start * hidden_set..start + blocks.end * hidden_set;
    // SAFETY: as the caller vouches.
    unsafe {
        let to_input = job.input_gradients.write(of_input);
        if sums_products::<C>() {
            return (to_input, &mut []);
        }
        (to_input, job.hidden_gradients.write(of_hidden))
    }
}

/// One step of one register of units of one row.
///
/// # Safety
/// Nobody else uses these units' state gradients.
#[inline(always)]
unsafe fn step_registers<V: Vector, C: Cell>(
    cell: C,
    job: &Job<'_, V::Element>,
    (step, row): (usize, usize),
    block: usize,
    [to_input, to_hidden, to_second]: [&mut [V::Element]; 3],
) {
    let geometry = job.weights.geometry();
    let index = step * job.steps.rows() + row;
    let saved_len = <C::Saved<V> as Registers<V>>::COUNT * V::LANES;
    let saved =
        &job.tape.saved()[index * geometry.saved_width() + block * saved_len..][..saved_len];
    assert!(to_input.len() == C::Input::COUNT * V::LANES);
    assert!(sums_products::<C>() || to_hidden.len() == C::Hidden::COUNT * V::LANES);
    assert!(to_second.len() == C::Second::COUNT * V::LANES);
    // A register of each state; all are checked at once, which keeps the loop over them plain.
    let further = <C::States<V> as Registers<V>>::COUNT - 1;
    let (padded, offset) = (geometry.padded_hidden(), block * V::LANES);
    let (on_tape, between) = job.tape.states();
    let on_tape = &on_tape[index * padded + offset..][..further * between + V::LANES];
    let on_tape = on_tape.as_ptr();
    let per_state = job.steps.rows() * padded;
    let states = job
        .state_gradient
        .pointer(row * padded + offset, further * per_state + V::LANES);
    // SAFETY: saved values and accumulators are whole registers; the places on the tape and in the
    // states were checked, and the caller vouches for the latter.
    unsafe {
        let previous = C::States::<V>::build(|state| V::load(on_tape.add(state * between)));
        let mut gradient = C::States::<V>::build(|state| V::load(states.add(state * per_state)));
        let saved = C::Saved::<V>::load(saved.as_ptr());
        let constants = constants_of::<V, C>(cell, job.weights.constants(), block);
        let mut update = None;
        let mut kept = C::States::<V>::build(|_| V::splat(num_traits::Zero::zero()));
        if C::REGULARIZED {
            update = job.regularization.update(step, row, block);
            let one = V::splat(num_traits::One::one());
            for state in 0..=further {
                if let Some(keep) = job.regularization.kept::<V>(state, step, row, block) {
                    kept.set(state, keep * gradient.get(state));
                    gradient.set(state, (one - keep) * gradient.get(state));
                }
            }
        }
        let (sums, mut direct, of_constants) =
            cell.backward::<V>(saved, previous, gradient, constants, update);
        if C::REGULARIZED {
            for state in 0..=further {
                direct.set(state, direct.get(state) + kept.get(state));
            }
        }
        if <C::Constants<V> as Registers<V>>::COUNT > 0 && cell.constants() > 0 {
            let len = <C::Constants<V> as Registers<V>>::COUNT * V::LANES;
            let start = row * geometry.constants_width() + block * len;
            add_to(job.constants.pointer(start, len), of_constants);
        }
        sums.store_span::<C::Input>(to_input.as_mut_ptr(), V::LANES);
        if !sums_products::<C>() {
            sums.store_span::<C::Hidden>(to_hidden.as_mut_ptr(), V::LANES);
        }
        sums.store_span::<C::Second>(to_second.as_mut_ptr(), V::LANES);
        for state in 0..=further {
            direct.get(state).store(states.add(state * per_state));
        }
    }
}
