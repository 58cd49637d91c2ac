//! The forward pass of one direction over all of its steps.

use ndarray::{Axis, s};

use super::packing::{PackedWeights, matrix, matrix_mut};
use super::products::{ProductPath, add_product};
use super::sequence::{Sequence, SequenceMut};
use super::workspace::Pool;
use super::{Geometry, LANES, steps_per_block};
use crate::cells::{Cell, with_cell};
use crate::error::{Result, checked_size};
use crate::float::Float;
use crate::interrupt::Interrupt;
use crate::lengths::{Direction, Steps};
use crate::parameters::AlignedBuffer;
use crate::simd::{Portable, Registers, Vector};

/// What the backward pass needs; made once, never changed.
///
/// Both buffers are time-major. The states are those that enter each step, after resets.
#[derive(Debug)]
pub struct Tape<F> {
    /// (states, steps, rows, padded hidden).
    states: AlignedBuffer<F>,
    /// (steps, rows, blocks, saved values, lanes).
    saved: AlignedBuffer<F>,
    /// steps * rows * padded hidden.
    state_len: usize,
}

impl<F: Float> Tape<F> {
    /// An empty tape for so many steps and rows.
    ///
    /// # Errors
    /// [`crate::error::Error::OutOfMemory`] when the allocator refuses.
    pub fn new(geometry: &Geometry, steps: usize, rows: usize) -> Result<Self> {
        let state_len = checked_size(&[steps, rows, geometry.padded_hidden()])?;
        let states = checked_size(&[geometry.cell.states(), state_len])?;
        let saved = checked_size(&[steps, rows, geometry.saved_width()])?;
        Ok(Self {
            states: AlignedBuffer::zeroed(states)?,
            saved: AlignedBuffer::zeroed(saved)?,
            state_len,
        })
    }

    /// One state over all steps, (steps, rows, padded hidden).
    pub(super) fn state(&self, state: usize) -> &[F] {
        &self.states.as_slice()[state * self.state_len..][..self.state_len]
    }

    /// (steps, rows, blocks, saved values, lanes).
    pub(super) fn saved(&self) -> &[F] {
        self.saved.as_slice()
    }

    /// Notes the states that enter a step; `states` is (states, rows, padded hidden).
    fn record_states(&mut self, step: usize, states: &[F], per_state: usize) {
        for (index, state) in states.chunks_exact(per_state).enumerate() {
            let start = index * self.state_len + step * per_state;
            self.states.as_mut_slice()[start..start + per_state].copy_from_slice(state);
        }
    }
}

/// The operands of one call.
pub struct Forward<'a, F> {
    /// Packed weights.
    pub weights: &'a PackedWeights<F>,
    /// (steps, rows, inputs).
    pub input: Sequence<'a, F>,
    /// Which steps count.
    pub steps: &'a Steps,
    /// Which way to walk.
    pub direction: Direction,
    /// (states, rows, padded hidden): the initial states, replaced by the final ones.
    pub states: &'a mut [F],
    /// (steps, rows, hidden): the hidden state of every valid step; zeros at the others. The
    /// memory must be zero before. Nothing when only the final states are wanted.
    pub output: Option<SequenceMut<'a, F>>,
    /// What the backward pass needs, when there will be one.
    pub tape: Option<&'a mut Tape<F>>,
    /// Scratch memory.
    pub pool: &'a Pool<F>,
    /// Asked at every step.
    pub interrupt: &'a Interrupt<'a>,
}

/// Runs the forward pass.
///
/// # Errors
/// Out of memory or interrupted; what was written so far is then of no use.
pub fn forward<F: Float>(call: Forward<'_, F>) -> Result<()> {
    with_cell!(call.weights.geometry().cell, cell => run::<Portable<F, LANES>, _>(cell, call))
}

fn run<V: Vector, C: Cell>(cell: C, call: Forward<'_, V::Element>) -> Result<()> {
    const {
        assert!(C::PHASES == 1, "this engine computes one-phase cells");
    }
    let Forward {
        weights,
        input,
        steps,
        direction,
        states,
        mut output,
        mut tape,
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
    let mut accumulators = pool.take(checked_size(&[per_block, rows, width])?)?;

    for block in 0..count.div_ceil(per_block.max(1)) {
        let start = block * per_block;
        let end = (start + per_block).min(count);
        let times = match direction {
            Direction::Forward => start..end,
            Direction::Backward => count - end..count - start,
        };
        // The input product of the whole block at once, on top of the biases.
        let used = &mut accumulators[..times.len() * rows * width];
        for row in used.chunks_exact_mut(width) {
            row.copy_from_slice(weights.bias());
        }
        let path = ProductPath::for_rows(times.len() * rows);
        input.matrices(&times, |x, block_rows| {
            let mut sums = matrix_mut(used, times.len() * rows, width);
            let to = sums.slice_axis_mut(Axis(0), block_rows);
            add_product(path, x, weights.input(), to);
        });

        for position in start..end {
            interrupt.check()?;
            let step = match direction {
                Direction::Forward => position,
                Direction::Backward => count - 1 - position,
            };
            if let Some(resets) = steps.resets_entering(step, direction) {
                clear_rows(states, resets, padded);
            }
            if let Some(tape) = &mut tape {
                tape.record_states(step, states, per_state);
            }
            let valid = steps.valid(step);
            if valid.is_some_and(|valid| !valid.contains(&true)) {
                continue;
            }
            let sums = &mut used[(step - times.start) * rows * width..][..rows * width];
            let h = matrix(&states[..per_state], rows, padded);
            add_product(
                ProductPath::for_rows(rows),
                h.slice(s![.., ..hidden]),
                weights.hidden(),
                matrix_mut(sums, rows, width),
            );
            for row in 0..rows {
                if valid.is_some_and(|valid| !valid[row]) {
                    continue;
                }
                let saved = tape.as_deref_mut().map(|tape| {
                    let width = geometry.saved_width();
                    &mut tape.saved.as_mut_slice()[(step * rows + row) * width..][..width]
                });
                let sums = &sums[row * width..][..width];
                step_row::<V, C>(cell, sums, states, (row * padded, per_state), saved);
                if let Some(output) = &mut output {
                    output
                        .row_mut(step, row)
                        .copy_from_slice(&states[row * padded..][..hidden]);
                }
            }
        }
    }
    Ok(())
}

/// One step of one row: all registers of units. State `s` of the row stands at
/// `row_start + s * per_state`.
#[inline]
fn step_row<V: Vector, C: Cell>(
    cell: C,
    accumulators: &[V::Element],
    states: &mut [V::Element],
    (row_start, per_state): (usize, usize),
    mut saved: Option<&mut [V::Element]>,
) {
    let accumulator_len = <C::Accumulators<V> as Registers<V>>::COUNT * V::LANES;
    let saved_len = <C::Saved<V> as Registers<V>>::COUNT * V::LANES;
    for (block, sums) in accumulators.chunks_exact(accumulator_len).enumerate() {
        let at = row_start + block * V::LANES;
        let previous = C::States::<V>::build(|state| V::load(&states[at + state * per_state..]));
        let (new, kept) = cell.forward::<V>(C::Accumulators::<V>::load(sums), previous);
        for state in 0..<C::States<V> as Registers<V>>::COUNT {
            new.get(state).store(&mut states[at + state * per_state..]);
        }
        if let Some(saved) = &mut saved {
            kept.store(&mut saved[block * saved_len..][..saved_len]);
        }
    }
}

/// Sets the flagged rows of every state to zero; `states` is (states, rows, width).
pub(super) fn clear_rows<F: Float>(states: &mut [F], flags: &[bool], width: usize) {
    for (row, values) in states.chunks_exact_mut(width).enumerate() {
        if flags[row % flags.len()] {
            values.fill(F::zero());
        }
    }
}
