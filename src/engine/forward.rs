//! The forward pass of one direction over all of its steps.

use std::ops::Range;

use super::packing::PackedWeights;
use super::parts::{Own, Part, Plan, Work};
use super::sequence::{Sequence, SequenceMut, SharedSequence};
use super::shared::Shared;
use super::tape::{SharedTape, Tape};
use super::tile::{STREAMS, for_row_chunks, sweep, sweep_row};
use super::workspace::Pool;
use super::{step_at, steps_at, steps_per_block};
use crate::cells::{Cell, with_cell};
use crate::error::Result;
use crate::float::Float;
use crate::interrupt::Interrupt;
use crate::lengths::{Direction, Steps};
use crate::simd::{Kernel, Registers, SimdFloat, Vector, dispatch};

/// The operands of one call.
pub struct Forward<'a, F: Float> {
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
    /// (steps, rows, hidden): the hidden state of every valid step; the others are left as they are.
    /// Nothing when only the final states are wanted.
    pub output: Option<SequenceMut<'a, F>>,
    /// What the backward pass needs, when there will be one.
    pub tape: Option<&'a mut Tape<F>>,
}

/// Runs the forward passes of a layer's directions: calls of the same geometry and the same steps.
/// `interrupt` is asked at every step.
///
/// # Errors
/// Out of memory or interrupted; what was written so far is then of no use.
pub fn forward<F: SimdFloat>(
    calls: &mut [Forward<'_, F>],
    pool: &Pool<F>,
    interrupt: &Interrupt<'_>,
) -> Result<()> {
    let Some(first) = calls.first() else {
        return Ok(());
    };
    let (geometry, steps, rows) = (
        *first.weights.geometry(),
        first.steps.steps(),
        first.steps.rows(),
    );
    let per_state = rows * geometry.padded_hidden();
    if per_state == 0 {
        return Ok(());
    }
    let work = Work {
        calls: calls.len(),
        steps,
        rows,
        passes: 1,
    };
    let plan = Plan::new::<F>(&geometry, work);
    let act = |job: &Job<'_, F>, part: &Part<'_>| {
        with_cell!(geometry.cell, cell => {
            dispatch(geometry.set, Run { cell, job, part, pool })
        })
    };
    for group in calls.chunks_mut(plan.together()) {
        let mut hidden = pool.take(group.len() * per_state)?;
        let mut jobs = group
            .iter_mut()
            .zip(hidden.chunks_exact_mut(per_state))
            .map(|(call, hidden)| Job::new(call, hidden));
        match jobs.len() {
            // Without the list: a step of a stream allocates nothing.
            1 => plan.run(jobs.next().as_slice(), interrupt, act)?,
            _ => plan.run(&jobs.collect::<Vec<_>>(), interrupt, act)?,
        }
    }
    Ok(())
}

/// A call whose memory is shared by its parts.
struct Job<'a, F: Float> {
    weights: &'a PackedWeights<F>,
    input: Sequence<'a, F>,
    steps: &'a Steps,
    direction: Direction,
    /// (rows, padded hidden) each: the hidden states that a step reads, and those that it makes, in
    /// turn. They start in the first, and end there.
    hidden: [Shared<'a, F>; 2],
    /// (further states, rows, padded hidden), replaced in place.
    others: Shared<'a, F>,
    output: Option<SharedSequence<'a, F>>,
    tape: Option<SharedTape<'a, F>>,
}

impl<'a, F: Float> Job<'a, F> {
    fn new(call: &'a mut Forward<'_, F>, second_hidden: &'a mut [F]) -> Self {
        let geometry = call.weights.geometry();
        let (steps, rows) = (call.steps.steps(), call.steps.rows());
        let per_state = rows * geometry.padded_hidden();
        // The tiles read through pointers: what they rely on is made sure of here, once a call.
        assert_eq!(call.input.sizes(), (steps, rows, geometry.inputs));
        assert_eq!(call.states.len(), geometry.cell.states() * per_state);
        let (hidden, others) = call.states.split_at_mut(per_state);
        Self {
            weights: call.weights,
            input: call.input,
            steps: call.steps,
            direction: call.direction,
            hidden: [Shared::new(hidden), Shared::new(second_hidden)],
            others: Shared::new(others),
            output: call.output.as_mut().map(SequenceMut::share),
            tape: call.tape.as_mut().map(|tape| tape.share()),
        }
    }
}

struct Run<'a, F: Float, C> {
    cell: C,
    job: &'a Job<'a, F>,
    part: &'a Part<'a>,
    pool: &'a Pool<F>,
}

impl<F: SimdFloat, C: Cell> Kernel<F> for Run<'_, F, C> {
    type Output = Result<()>;

    #[inline(always)]
    fn run<V: Vector<Element = F>>(self) -> Result<()> {
        run::<V, C>(self.cell, self.job, self.part, self.pool)
    }
}

#[inline(always)]
fn run<V: Vector, C: Cell>(
    cell: C,
    job: &Job<'_, V::Element>,
    part: &Part<'_>,
    pool: &Pool<V::Element>,
) -> Result<()> {
    const {
        assert!(C::PHASES == 1, "this engine computes one-phase cells");
    }
    let geometry = job.weights.geometry();
    let (count, rows) = (job.steps.steps(), job.steps.rows());
    // A single row goes through the input weights in blocks of time, which then are the tile's
    // rows; with several rows, both products run in one sweep.
    let hoisted = rows == 1;
    let width = part.blocks.len() * geometry.register_set();
    let per_block = if hoisted {
        steps_per_block(rows).min(count)
    } else {
        1
    };
    let mut input_sums = pool.take(if hoisted { per_block * width } else { 0 })?;
    let mut scratch = pool.take(V::TILE_ROWS.max(STREAMS) * geometry.register_set())?;
    let own = Own::new(geometry, part, rows);
    let mut current = 0;

    for start in (0..count).step_by(per_block.max(1)) {
        let end = (start + per_block).min(count);
        let times = steps_at(job.direction, count, &(start..end));
        if hoisted {
            input_products::<V, C>(job, &part.blocks, times.clone(), &mut input_sums);
        }
        for position in start..end {
            part.check()?;
            let step = step_at(job.direction, count, position);
            if let Some(resets) = job.steps.resets_entering(step, job.direction) {
                // SAFETY: the part's own places; the others don't look at them before all have met.
                unsafe {
                    own.clear(&job.hidden[current], resets);
                    own.clear(&job.others, resets);
                }
                part.exchange()?;
            }
            let valid = job.steps.valid(step);
            if let Some(tape) = &job.tape {
                // SAFETY: the part's own places of the tape, which nobody reads meanwhile.
                unsafe { tape.record(step, &own, &job.hidden[current], &job.others, valid) };
            }
            if valid.is_some_and(|valid| !valid.contains(&true)) {
                continue;
            }
            let mut stage = Stage {
                job,
                from: &job.hidden[current],
                to: &job.hidden[1 - current],
                saved_start: step * rows * geometry.saved_width(),
                valid,
                scratch: &mut scratch,
                padded: geometry.padded_hidden(),
                per_state: rows * geometry.padded_hidden(),
            };
            if hoisted {
                let sums = &input_sums[(step - times.start) * width..][..width];
                step_row::<V, C>(cell, &mut stage, sums, &part.blocks);
            } else {
                step_rows::<V, C>(cell, &mut stage, step, part);
            }
            // SAFETY: the part's own places, and of the state that all read only those which it has
            // just written.
            unsafe { hand_on(job, current, step, &own, valid) };
            current = 1 - current;
            part.exchange()?;
        }
    }
    if current == 1 {
        let [first, second] = &job.hidden;
        // SAFETY: the part's own places, and nobody reads them any more.
        unsafe { own.copy(first, 0, second, 0, None) };
    }
    Ok(())
}

/// After a step: rows for which it was invalid keep their hidden state, the others output it.
///
/// # Safety
/// Nobody else uses the part's own places of the new hidden state and of the output, or writes those
/// of the old one.
#[inline(always)]
unsafe fn hand_on<F: Float>(
    job: &Job<'_, F>,
    current: usize,
    step: usize,
    own: &Own,
    valid: Option<&[bool]>,
) {
    if valid.is_none() && job.output.is_none() {
        return;
    }
    let hidden = job.weights.geometry().hidden;
    let units = own.columns.start..own.columns.end.min(hidden);
    for row in own.rows.clone() {
        let start = row * own.padded;
        // SAFETY: as the caller vouches.
        unsafe {
            let new = &job.hidden[1 - current];
            if valid.is_some_and(|valid| !valid[row]) {
                let place = start + own.columns.start..start + own.columns.end;
                let old = job.hidden[current].read(place.clone());
                new.write(place).copy_from_slice(old);
            } else if let Some(output) = &job.output {
                let values = new.read(start + units.start..start + units.end);
                output
                    .write(step, row, units.clone())
                    .copy_from_slice(values);
            }
        }
    }
}

/// What the tiles of one step work on.
struct Stage<'a, F: Float> {
    job: &'a Job<'a, F>,
    /// The hidden states that the step reads.
    from: &'a Shared<'a, F>,
    /// Those that it makes.
    to: &'a Shared<'a, F>,
    /// Where the step's saved values start, (rows, blocks, saved values, lanes).
    saved_start: usize,
    valid: Option<&'a [bool]>,
    /// A tile's sums.
    scratch: &'a mut [F],
    padded: usize,
    per_state: usize,
}

/// Biases plus input products of some registers of units, for a block of steps of a single row.
#[inline(always)]
fn input_products<V: Vector, C: Cell>(
    job: &Job<'_, V::Element>,
    blocks: &Range<usize>,
    times: Range<usize>,
    sums: &mut [V::Element],
) {
    let geometry = job.weights.geometry();
    let (inputs, set) = (geometry.inputs, geometry.register_set());
    let width = blocks.len() * set;
    assert!(sums.len() >= times.len() * width);
    for (index, block) in blocks.clone().enumerate() {
        let bias = &job.weights.bias()[block * set..][..set];
        let panel = &job.weights.input()[block * inputs * set..][..inputs * set];
        for_row_chunks!(V, times.len(), first, M => {
            // SAFETY: the chunk's steps are steps of the input, whose rows have `inputs` numbers;
            // bias and panel hold the block's register sets; the sums' rows hold `width` numbers.
            unsafe {
                let seed = C::Accumulators::<V>::load(bias.as_ptr());
                let x = job.input.row_ptr(times.start + first, 0);
                let strides = (job.input.step_stride(), 1);
                let tile = sweep::<V, _, M>([seed; M], inputs, x, strides, panel.as_ptr());
                for (m, row) in tile.iter().enumerate() {
                    row.store(sums.as_mut_ptr().add((first + m) * width + index * set));
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
    step: usize,
    part: &Part<'_>,
) {
    let (weights, input) = (stage.job.weights, &stage.job.input);
    let geometry = weights.geometry();
    let (inputs, hidden, set) = (geometry.inputs, geometry.hidden, geometry.register_set());
    for block in part.blocks.clone() {
        let bias = &weights.bias()[block * set..][..set];
        let of_input = &weights.input()[block * inputs * set..][..inputs * set];
        let of_hidden = &weights.hidden()[block * hidden * set..][..hidden * set];
        for_row_chunks!(V, part.rows.len(), first, M => {
            let row = part.rows.start + first;
            let valid = stage.valid.map(|valid| &valid[row..][..M]);
            if valid.is_none_or(|valid| valid.contains(&true)) {
                assert!(stage.scratch.len() >= M * set);
                // SAFETY: the chunk's rows are rows of the input at this step, with `inputs` numbers
                // each, and of the hidden state, with `padded >= hidden` numbers each, which nobody
                // writes during the step; bias and panels hold the block's register sets; the
                // scratch holds the tile.
                unsafe {
                    let h = stage.from.read(row * stage.padded..(row + M) * stage.padded);
                    let seed = C::Accumulators::<V>::load(bias.as_ptr());
                    let x = input.row_ptr(step, row);
                    let strides = (input.row_stride(), 1);
                    let tile = sweep::<V, _, M>([seed; M], inputs, x, strides, of_input.as_ptr());
                    let strides = (stage.padded.cast_signed(), 1);
                    let tile =
                        sweep::<V, _, M>(tile, hidden, h.as_ptr(), strides, of_hidden.as_ptr());
                    for (m, row) in tile.iter().enumerate() {
                        row.store(stage.scratch.as_mut_ptr().add(m * set));
                    }
                }
                for m in 0..M {
                    if valid.is_none_or(|valid| valid[m]) {
                        apply_cell::<V, C>(cell, stage, m, row + m, block);
                    }
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
    blocks: &Range<usize>,
) {
    let set = stage.job.weights.geometry().register_set();
    let mut index = 0;
    while index + STREAMS <= blocks.len() {
        let sums = &input_sums[index * set..][..STREAMS * set];
        step_streams::<V, C, STREAMS>(cell, stage, sums, blocks.start + index);
        index += STREAMS;
    }
    while index < blocks.len() {
        let sums = &input_sums[index * set..][..set];
        step_streams::<V, C, 1>(cell, stage, sums, blocks.start + index);
        index += 1;
    }
}

#[inline(always)]
fn step_streams<V: Vector, C: Cell, const G: usize>(
    cell: C,
    stage: &mut Stage<'_, V::Element>,
    input_sums: &[V::Element],
    block: usize,
) {
    let weights = stage.job.weights;
    let (hidden, set) = (weights.geometry().hidden, weights.geometry().register_set());
    let weights = &weights.hidden()[block * hidden * set..][..G * hidden * set];
    assert!(input_sums.len() == G * set && stage.scratch.len() >= G * set);
    // SAFETY: the sums hold G register sets, the weights G streams of `hidden` register sets, the
    // hidden state, which nobody writes during the step, `hidden` numbers, and the scratch the G
    // results.
    unsafe {
        let h = stage.from.read(0..hidden);
        let seeds: [C::Accumulators<V>; G] =
            std::array::from_fn(|g| C::Accumulators::<V>::load(input_sums.as_ptr().add(g * set)));
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
    let job = stage.job;
    let geometry = job.weights.geometry();
    let set = geometry.register_set();
    let sums = &stage.scratch[index * set..][..set];
    let at = row * stage.padded + block * V::LANES;
    let further = |state: usize| {
        let start = (state - 1) * stage.per_state + at;
        start..start + V::LANES
    };
    // SAFETY: the part's own places: a register of each state of this row and block, which nobody
    // else uses but for reading the old hidden state. The sums are a register set.
    let (new, kept) = unsafe {
        let previous = C::States::<V>::build(|state| {
            let from = match state {
                0 => stage.from.read(at..at + V::LANES),
                _ => job.others.read(further(state)),
            };
            V::load(from.as_ptr())
        });
        cell.forward::<V>(C::Accumulators::<V>::load(sums.as_ptr()), previous)
    };
    // SAFETY: as above; nobody reads the new hidden state during the step.
    unsafe {
        let to = stage.to.write(at..at + V::LANES);
        new.get(0).store(to.as_mut_ptr());
        for state in 1..<C::States<V> as Registers<V>>::COUNT {
            let to = job.others.write(further(state));
            new.get(state).store(to.as_mut_ptr());
        }
    }
    if let Some(tape) = &job.tape {
        let len = <C::Saved<V> as Registers<V>>::COUNT * V::LANES;
        let start = stage.saved_start + (row * geometry.blocks() + block) * len;
        // SAFETY: the place holds exactly the saved registers, and is the part's own.
        unsafe { kept.store(tape.saved.pointer(start, len)) };
    }
}
