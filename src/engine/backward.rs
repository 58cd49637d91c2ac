//! The backward pass of one direction: complete backpropagation through time.

use ndarray::{Axis, s};

use super::forward::{Tape, clear_rows};
use super::packing::{PackedGradients, PackedWeights, matrix, matrix_mut};
use super::products::{ProductPath, add_outer_product, add_product_transposed};
use super::sequence::{Layout, Sequence, SequenceMut};
use super::workspace::Pool;
use super::{LANES, steps_per_block};
use crate::cells::{Cell, with_cell};
use crate::error::{Result, checked_size};
use crate::float::Float;
use crate::interrupt::Interrupt;
use crate::lengths::{Direction, Steps};
use crate::simd::{Portable, Registers, Vector};

/// The operands of one call.
pub struct Backward<'a, F> {
    /// The weights of the forward pass.
    pub weights: &'a PackedWeights<F>,
    /// The tape of the forward pass.
    pub tape: &'a Tape<F>,
    /// (steps, rows, inputs), time-major and contiguous: the input of the forward pass, finite at
    /// invalid steps too.
    pub input: &'a [F],
    /// As in the forward pass.
    pub steps: &'a Steps,
    /// As in the forward pass.
    pub direction: Direction,
    /// (steps, rows, hidden): the gradient with respect to the output. Nothing for zeros.
    pub output_gradient: Option<Sequence<'a, F>>,
    /// (states, rows, padded hidden): the gradient with respect to the final states, replaced by
    /// that with respect to the initial ones.
    pub state_gradient: &'a mut [F],
    /// (steps, rows, inputs): the gradient with respect to the input is added here.
    pub input_gradient: Option<SequenceMut<'a, F>>,
    /// The weights' gradients are added here.
    pub weight_gradients: &'a mut PackedGradients<F>,
    /// Scratch memory.
    pub pool: &'a Pool<F>,
    /// Asked at every step.
    pub interrupt: &'a Interrupt<'a>,
}

/// Runs the backward pass.
///
/// # Errors
/// Out of memory or interrupted; what was written so far is then of no use.
pub fn backward<F: Float>(call: Backward<'_, F>) -> Result<()> {
    with_cell!(call.weights.geometry().cell, cell => run::<Portable<F, LANES>, _>(cell, call))
}

fn run<V: Vector, C: Cell>(cell: C, call: Backward<'_, V::Element>) -> Result<()> {
    let Backward {
        weights,
        tape,
        input,
        steps,
        direction,
        output_gradient,
        state_gradient,
        mut input_gradient,
        weight_gradients,
        pool,
        interrupt,
    } = call;
    let geometry = weights.geometry();
    let (count, rows) = (steps.steps(), steps.rows());
    let (hidden, padded, width) = (geometry.hidden, geometry.padded_hidden(), geometry.width());
    let per_state = rows * padded;
    if per_state == 0 {
        return Ok(());
    }
    let per_block = steps_per_block(rows).min(count);
    // The gradients of one block's accumulators.
    let mut gradients = pool.take(checked_size(&[per_block, rows, width])?)?;
    // The gradient that reaches the previous hidden state through the accumulators.
    let mut through = pool.take(per_state)?;
    let mut column_sums = pool.take(width)?;

    for block in (0..count.div_ceil(per_block.max(1))).rev() {
        let start = block * per_block;
        let end = (start + per_block).min(count);
        let times = match direction {
            Direction::Forward => start..end,
            Direction::Backward => count - end..count - start,
        };
        let used = &mut gradients[..times.len() * rows * width];
        for position in (start..end).rev() {
            interrupt.check()?;
            let step = match direction {
                Direction::Forward => position,
                Direction::Backward => count - 1 - position,
            };
            let valid = steps.valid(step);
            let is_valid = |row: usize| valid.is_none_or(|valid| valid[row]);
            let at_step = &mut used[(step - times.start) * rows * width..][..rows * width];
            for row in 0..rows {
                let to = &mut at_step[row * width..][..width];
                if !is_valid(row) {
                    to.fill(num_traits::Zero::zero());
                    continue;
                }
                if let Some(dy) = &output_gradient {
                    let dh = &mut state_gradient[row * padded..][..hidden];
                    for (sum, &value) in dh.iter_mut().zip(dy.row(step, row)) {
                        *sum += value;
                    }
                }
                let place = RowPlace {
                    saved_start: (step * rows + row) * geometry.saved_width(),
                    tape_start: step * per_state + row * padded,
                    state_start: row * padded,
                    per_state,
                };
                step_row::<V, C>(cell, tape, &place, state_gradient, to);
            }
            if valid.is_none_or(|valid| valid.contains(&true)) {
                through.fill(num_traits::Zero::zero());
                add_product_transposed(
                    ProductPath::for_rows(rows),
                    matrix(at_step, rows, width),
                    weights.hidden(),
                    matrix_mut(&mut through, rows, padded).slice_mut(s![.., ..hidden]),
                );
                // The rows of invalid steps have zero gradients, so they receive nothing here.
                for (sum, &value) in state_gradient[..per_state].iter_mut().zip(through.iter()) {
                    *sum += value;
                }
            }
            if let Some(resets) = steps.resets_entering(step, direction) {
                clear_rows(state_gradient, resets, padded);
            }
        }

        // What the whole block adds to the gradients of weights and input.
        let block_rows = times.len() * rows;
        let block_gradients = matrix(used, block_rows, width);
        let inputs = geometry.inputs;
        let x = Sequence::contiguous(input, Layout::TimeMajor, (count, rows, inputs));
        x.matrices(&times, |x, _| {
            add_outer_product(block_gradients, x, weight_gradients.input_mut());
        });
        let entering = &tape.state(0)[times.start * per_state..][..block_rows * padded];
        add_outer_product(
            block_gradients,
            matrix(entering, block_rows, padded),
            weight_gradients.hidden_mut(),
        );
        add_column_sums(used, &mut column_sums, weight_gradients.bias_mut());
        if let Some(dx) = &mut input_gradient {
            let path = ProductPath::for_rows(block_rows);
            dx.matrices_mut(&times, |to, rows| {
                let from = block_gradients.slice_axis(Axis(0), rows);
                add_product_transposed(path, from, weights.input(), to);
            });
        }
    }
    Ok(())
}

/// Where the values of one row at one step stand.
struct RowPlace {
    saved_start: usize,
    tape_start: usize,
    state_start: usize,
    per_state: usize,
}

/// One step of one row: all registers of units. Replaces the row's state gradient by that of the
/// previous states along the direct paths, and writes the accumulators' gradients.
#[inline]
fn step_row<V: Vector, C: Cell>(
    cell: C,
    tape: &Tape<V::Element>,
    place: &RowPlace,
    state_gradient: &mut [V::Element],
    accumulator_gradients: &mut [V::Element],
) {
    let accumulator_len = <C::Accumulators<V> as Registers<V>>::COUNT * V::LANES;
    let saved_len = <C::Saved<V> as Registers<V>>::COUNT * V::LANES;
    for (block, to) in accumulator_gradients
        .chunks_exact_mut(accumulator_len)
        .enumerate()
    {
        let saved = &tape.saved()[place.saved_start + block * saved_len..][..saved_len];
        let offset = block * V::LANES;
        let previous =
            C::States::<V>::build(|state| V::load(&tape.state(state)[place.tape_start + offset..]));
        let at = |state: usize| place.state_start + offset + state * place.per_state;
        let gradient = C::States::<V>::build(|state| V::load(&state_gradient[at(state)..]));
        let (sums, direct) = cell.backward::<V>(C::Saved::<V>::load(saved), previous, gradient);
        sums.store(to);
        for state in 0..<C::States<V> as Registers<V>>::COUNT {
            direct.get(state).store(&mut state_gradient[at(state)..]);
        }
    }
}

/// Adds the sums of a matrix's columns to `totals`. The sums are made apart in `scratch`: a long
/// series of blocks would otherwise lose digits of each row against the growing total.
fn add_column_sums<F: Float>(values: &[F], scratch: &mut [F], totals: &mut [F]) {
    scratch.fill(F::zero());
    for row in values.chunks_exact(scratch.len()) {
        for (sum, &value) in scratch.iter_mut().zip(row) {
            *sum += value;
        }
    }
    for (total, &sum) in totals.iter_mut().zip(scratch.iter()) {
        *total += sum;
    }
}
