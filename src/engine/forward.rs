//! The forward pass of one direction over all of its steps.

use std::ops::Range;

use super::packing::PackedWeights;
use super::sequence::{Sequence, SequenceMut};
use super::tile::{STREAMS, for_row_chunks, sweep, sweep_row};
use super::workspace::Pool;
use super::{Geometry, step_at, steps_at, steps_per_block};
use crate::cells::{Cell, with_cell};
use crate::error::{Result, checked_size};
use crate::float::Float;
use crate::interrupt::Interrupt;
use crate::lengths::{Direction, Steps};
use crate::parameters::AlignedBuffer;
use crate::simd::{Kernel, Registers, SimdFloat, Vector, dispatch};

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

    /// Notes the states that enter a step; `states` is (states, rows, padded hidden). Rows for which
    /// the step is invalid stay zero: what they carry may be anything, and the zero gradients there
    /// times NaN would spoil the weights'.
    fn record_states(
        &mut self,
        step: usize,
        states: &[F],
        (rows, padded): (usize, usize),
        valid: Option<&[bool]>,
    ) {
        let per_state = rows * padded;
        for (index, state) in states.chunks_exact(per_state).enumerate() {
            let start = index * self.state_len + step * per_state;
            let to = &mut self.states.as_mut_slice()[start..start + per_state];
            let Some(valid) = valid else {
                to.copy_from_slice(state);
                continue;
            };
            let pairs = to.chunks_exact_mut(padded).zip(state.chunks_exact(padded));
            for ((to, from), _) in pairs.zip(valid).filter(|(_, valid)| **valid) {
                to.copy_from_slice(from);
            }
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
pub fn forward<F: SimdFloat>(call: Forward<'_, F>) -> Result<()> {
    let set = call.weights.geometry().set;
    with_cell!(call.weights.geometry().cell, cell => dispatch(set, Run { cell, call }))
}

struct Run<'a, F, C> {
    cell: C,
    call: Forward<'a, F>,
}

impl<F: SimdFloat, C: Cell> Kernel<F> for Run<'_, F, C> {
    type Output = Result<()>;

    #[inline(always)]
    fn run<V: Vector<Element = F>>(self) -> Result<()> {
        run::<V, C>(self.cell, self.call)
    }
}

#[inline(always)]
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
    // The tiles read through pointers: what they rely on is made sure of here, once a call.
    assert_eq!(input.sizes(), (count, rows, geometry.inputs));
    assert_eq!(states.len(), geometry.cell.states() * per_state);
    // A single row goes through the input weights in blocks of time, which then are the tile's
    // rows; with several rows, both products run in one sweep.
    let hoisted = rows == 1;
    let per_block = if hoisted {
        steps_per_block(rows).min(count)
    } else {
        1
    };
    let mut input_sums = pool.take(if hoisted { per_block * width } else { 0 })?;
    // The new hidden states of a step, while its tiles still read the old ones.
    let mut new_hidden = pool.take_zeroed(per_state)?;
    let mut scratch = pool.take(V::TILE_ROWS.max(STREAMS) * geometry.register_set())?;

    for start in (0..count).step_by(per_block.max(1)) {
        let end = (start + per_block).min(count);
        let times = steps_at(direction, count, &(start..end));
        if hoisted {
            input_products::<V, C>(weights, &input, times.clone(), &mut input_sums);
        }
        for position in start..end {
            interrupt.check()?;
            let step = step_at(direction, count, position);
            if let Some(resets) = steps.resets_entering(step, direction) {
                clear_rows(states, resets, padded);
            }
            let valid = steps.valid(step);
            if let Some(tape) = &mut tape {
                tape.record_states(step, states, (rows, padded), valid);
            }
            if valid.is_some_and(|valid| !valid.contains(&true)) {
                continue;
            }
            let saved_width = geometry.saved_width();
            let mut stage = Stage {
                weights,
                states,
                new_hidden: &mut new_hidden,
                saved: tape.as_deref_mut().map(|tape| {
                    &mut tape.saved.as_mut_slice()[step * rows * saved_width..]
                        [..rows * saved_width]
                }),
                valid,
                scratch: &mut scratch,
                padded,
                per_state,
            };
            if hoisted {
                let sums = &input_sums[(step - times.start) * width..][..width];
                step_row::<V, C>(cell, &mut stage, sums);
            } else {
                step_rows::<V, C>(cell, &mut stage, &input, step, rows);
            }
            for row in 0..rows {
                if valid.is_some_and(|valid| !valid[row]) {
                    continue;
                }
                let new = &new_hidden[row * padded..][..padded];
                states[row * padded..][..padded].copy_from_slice(new);
                if let Some(output) = &mut output {
                    output.row_mut(step, row).copy_from_slice(&new[..hidden]);
                }
            }
        }
    }
    Ok(())
}

/// What the tiles of one step work on.
struct Stage<'a, F> {
    weights: &'a PackedWeights<F>,
    /// (states, rows, padded hidden): the hidden state is read, the others are replaced.
    states: &'a mut [F],
    /// (rows, padded hidden).
    new_hidden: &'a mut [F],
    /// (rows, blocks, saved values, lanes), when training.
    saved: Option<&'a mut [F]>,
    valid: Option<&'a [bool]>,
    /// A tile's sums.
    scratch: &'a mut [F],
    padded: usize,
    per_state: usize,
}

/// Biases plus input products of a block of steps of a single row.
#[inline(always)]
fn input_products<V: Vector, C: Cell>(
    weights: &PackedWeights<V::Element>,
    input: &Sequence<'_, V::Element>,
    times: Range<usize>,
    sums: &mut [V::Element],
) {
    let geometry = weights.geometry();
    let (inputs, width, set) = (geometry.inputs, geometry.width(), geometry.register_set());
    assert!(sums.len() >= times.len() * width);
    for block in 0..geometry.blocks() {
        let bias = &weights.bias()[block * set..][..set];
        let panel = &weights.input()[block * inputs * set..][..inputs * set];
        for_row_chunks!(V, times.len(), first, M => {
            // SAFETY: the chunk's steps are steps of the input, whose rows have `inputs` numbers;
            // bias and panel hold the block's register sets; the sums' rows hold `width` numbers.
            unsafe {
                let seed = C::Accumulators::<V>::load(bias.as_ptr());
                let x = input.row_ptr(times.start + first, 0);
                let strides = (input.step_stride(), 1);
                let tile = sweep::<V, _, M>([seed; M], inputs, x, strides, panel.as_ptr());
                for (m, row) in tile.iter().enumerate() {
                    row.store(sums.as_mut_ptr().add((first + m) * width + block * set));
                }
            }
        });
    }
}

/// One step of several rows: input and recurrent product in one sweep, then the cell.
#[inline(always)]
fn step_rows<V: Vector, C: Cell>(
    cell: C,
    stage: &mut Stage<'_, V::Element>,
    input: &Sequence<'_, V::Element>,
    step: usize,
    rows: usize,
) {
    let geometry = stage.weights.geometry();
    let (inputs, hidden, set) = (geometry.inputs, geometry.hidden, geometry.register_set());
    for block in 0..geometry.blocks() {
        let bias = &stage.weights.bias()[block * set..][..set];
        let of_input = &stage.weights.input()[block * inputs * set..][..inputs * set];
        let of_hidden = &stage.weights.hidden()[block * hidden * set..][..hidden * set];
        for_row_chunks!(V, rows, first, M => {
            let h = &stage.states[first * stage.padded..stage.per_state];
            assert!(stage.scratch.len() >= M * set);
            // SAFETY: the chunk's rows are rows of the input at this step, with `inputs` numbers
            // each, and of the hidden state, with `padded >= hidden` numbers each; bias and panels
            // hold the block's register sets; the scratch holds the tile.
            unsafe {
                let seed = C::Accumulators::<V>::load(bias.as_ptr());
                let x = input.row_ptr(step, first);
                let strides = (input.row_stride(), 1);
                let tile = sweep::<V, _, M>([seed; M], inputs, x, strides, of_input.as_ptr());
                let strides = (stage.padded.cast_signed(), 1);
                let tile = sweep::<V, _, M>(tile, hidden, h.as_ptr(), strides, of_hidden.as_ptr());
                for (m, row) in tile.iter().enumerate() {
                    row.store(stage.scratch.as_mut_ptr().add(m * set));
                }
            }
            for m in 0..M {
                if stage.valid.is_none_or(|valid| valid[first + m]) {
                    apply_cell::<V, C>(cell, stage, m, first + m, block);
                }
            }
        });
    }
}

/// One step of a single row, whose input products are made: several blocks of units side by side.
#[inline(always)]
fn step_row<V: Vector, C: Cell>(
    cell: C,
    stage: &mut Stage<'_, V::Element>,
    input_sums: &[V::Element],
) {
    let blocks = stage.weights.geometry().blocks();
    let mut block = 0;
    while block + STREAMS <= blocks {
        step_streams::<V, C, STREAMS>(cell, stage, input_sums, block);
        block += STREAMS;
    }
    while block < blocks {
        step_streams::<V, C, 1>(cell, stage, input_sums, block);
        block += 1;
    }
}

#[inline(always)]
fn step_streams<V: Vector, C: Cell, const G: usize>(
    cell: C,
    stage: &mut Stage<'_, V::Element>,
    input_sums: &[V::Element],
    block: usize,
) {
    let geometry = stage.weights.geometry();
    let (hidden, set) = (geometry.hidden, geometry.register_set());
    let sums = &input_sums[block * set..][..G * set];
    let weights = &stage.weights.hidden()[block * hidden * set..][..G * hidden * set];
    let h = &stage.states[..hidden];
    assert!(stage.scratch.len() >= G * set);
    // SAFETY: the sums hold G register sets, the weights G streams of `hidden` register sets, the
    // hidden state `hidden` numbers, and the scratch the G results.
    unsafe {
        let seeds: [C::Accumulators<V>; G] =
            std::array::from_fn(|g| C::Accumulators::<V>::load(sums.as_ptr().add(g * set)));
        let stream = hidden * set;
        let tile = sweep_row::<V, _, G>(seeds, hidden, (h.as_ptr(), 0), (weights.as_ptr(), stream));
        for (g, sums) in tile.iter().enumerate() {
            sums.store(stage.scratch.as_mut_ptr().add(g * set));
        }
    }
    for g in 0..G {
        apply_cell::<V, C>(cell, stage, g, 0, block + g);
    }
}

/// The cell on one register of units of one row, whose sums are the scratch's entry `index`. The
/// sums come through memory: taken from the tile directly, they would not stay in registers while
/// it sweeps.
#[inline(always)]
fn apply_cell<V: Vector, C: Cell>(
    cell: C,
    stage: &mut Stage<'_, V::Element>,
    index: usize,
    row: usize,
    block: usize,
) {
    let geometry = stage.weights.geometry();
    let set = geometry.register_set();
    let at = row * stage.padded + block * V::LANES;
    let sums = &stage.scratch[index * set..][..set];
    let count = <C::States<V> as Registers<V>>::COUNT;
    assert!(at + V::LANES <= stage.per_state && count * stage.per_state <= stage.states.len());
    let per_state = stage.per_state;
    let states = stage.states.as_mut_ptr();
    // SAFETY: the sums are a register set; the place in the states was checked.
    let (new, kept) = unsafe {
        let previous = C::States::<V>::build(|state| V::load(states.add(at + state * per_state)));
        cell.forward::<V>(C::Accumulators::<V>::load(sums.as_ptr()), previous)
    };
    // SAFETY: as above.
    unsafe {
        new.get(0)
            .store(stage.new_hidden[at..][..V::LANES].as_mut_ptr());
        for state in 1..count {
            new.get(state).store(states.add(at + state * per_state));
        }
    }
    if let Some(saved) = &mut stage.saved {
        let len = <C::Saved<V> as Registers<V>>::COUNT * V::LANES;
        let place = &mut saved[(row * geometry.blocks() + block) * len..][..len];
        // SAFETY: the place holds exactly the saved registers.
        unsafe { kept.store(place.as_mut_ptr()) };
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
