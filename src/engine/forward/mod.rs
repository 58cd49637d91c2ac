//! The forward pass of one direction over all of its steps.

mod input_products;
mod registers;
mod rows;
mod second_product;
mod single_row;

use super::compiled::EngineFloat;
use super::masks::{Mask, Regularization};
use super::packing::PackedWeights;
use super::parts::{Own, Part, Plan, Work};
use super::sequence::{Sequence, SequenceMut, SharedSequence};
use super::shared::Shared;
use super::tape::{SharedTape, Tape};
use super::tile::{MAX_STREAMS, MAX_TILE_BLOCKS, MAX_TILE_ROWS};
use super::workspace::Pool;
use super::{CACHED_BYTES, check_geometries, step_at, steps_at, steps_per_block, whole_lines};
use crate::cells::{Cell, CellKind, with_cell};
use crate::error::{Result, checked_size};
use crate::float::Float;
use crate::interrupt::Interrupt;
use crate::lengths::{Direction, Steps};
use crate::simd::{Kernel, SimdFloat, Span, Vector, dispatch};

pub(super) use registers::constants_of;

use input_products::InputProducts;
use rows::step_rows;
use second_product::step_rows_twice;
use single_row::step_row;

/// How many bytes of weights at either end a single row computes as chunks of their own, see
/// [`chunks`]: most of the nearest cache. Weights of up to so many bytes stay there anyway.
const EDGE_BYTES: usize = 32 << 10;

/// The first weights, those in the middle, the last ones.
const CHUNKS: usize = 3;

/// How many register sets the results of a tile have: of rows and blocks of units, or of all chunks of a
/// single row.
const TILES: usize = if MAX_TILE_ROWS * MAX_TILE_BLOCKS > MAX_STREAMS * CHUNKS {
    MAX_TILE_ROWS * MAX_TILE_BLOCKS
} else {
    MAX_STREAMS * CHUNKS
};

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
    /// What regularises the steps.
    pub regularization: Regularization<'a, F>,
    /// What the backward pass needs, when there will be one.
    pub tape: Option<&'a mut Tape<F>>,
}

/// Runs the forward passes of a layer's directions: calls of the same geometry and the same steps.
/// `interrupt` is asked at every step.
///
/// # Errors
/// Out of memory or interrupted; what was written so far is then of no use.
pub fn forward<F: EngineFloat>(
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
    check_geometries::<F>(&geometry, calls.iter().map(|call| call.weights.geometry()));
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
    // A single row goes through the input weights in blocks of time, which then are the tile's rows,
    // and so do rows whose weights would come from far away at every step. Otherwise both products
    // run in one sweep.
    let bytes = geometry.weights().saturating_mul(size_of::<F>());
    let hoisted = (rows == 1 || bytes > CACHED_BYTES).then(|| steps_per_block(rows).min(steps));
    let set = geometry.register_set();
    let (part_rows, part_blocks) = plan.largest_part();
    let sums = checked_size(&[hoisted.unwrap_or(0), part_rows, part_blocks, set])?;
    let has_second = !geometry.cell.second().gates.is_empty();
    let between = if has_second {
        part_rows * part_blocks * set
    } else {
        0
    };
    let per_part = whole_lines::<F>(sums + between + (TILES + MAX_STREAMS) * set);
    let regularized = calls.iter().any(|call| call.regularization.is_active());
    let cell = if regularized {
        geometry.cell.regularized()
    } else {
        geometry.cell
    };
    let act = |job: &Job<'_, F>, part: Part<'_, F>| F::forward_part(cell, job, part);
    let drops = calls
        .iter()
        .any(|call| call.regularization.recurrent.is_some());
    let buffers = 1 + 2 * usize::from(drops) + usize::from(has_second);
    let per_call = checked_size(&[buffers, per_state])?;
    for group in calls.chunks_mut(plan.together()) {
        let mut hidden = pool.take(checked_size(&[group.len(), per_call])?)?;
        let mut scratch = pool.take(checked_size(&[plan.parts(group.len()), per_part])?)?;
        let mut jobs = group
            .iter_mut()
            .zip(hidden.chunks_exact_mut(per_call))
            .map(|(call, hidden)| Job::new(call, hidden, hoisted));
        match jobs.len() {
            // Without the list: a step of a stream allocates nothing.
            1 => plan.run(jobs.next().as_slice(), &mut scratch, interrupt, act)?,
            _ => plan.run(&jobs.collect::<Vec<_>>(), &mut scratch, interrupt, act)?,
        }
    }
    Ok(())
}

/// One part of a pass.
pub(super) fn run_part<F: SimdFloat>(
    cell: CellKind,
    job: &Job<'_, F>,
    part: Part<'_, F>,
) -> Result<()> {
    let geometry = job.weights.geometry();
    let zigzag = geometry.hidden_width() * geometry.hidden * size_of::<F>() > EDGE_BYTES;
    // A single row that goes through two products is computed as several are.
    let rows = if cell.second().gates.is_empty() {
        job.steps.rows()
    } else {
        usize::MAX
    };
    with_cell!(cell, cell => match (rows, zigzag) {
        (1, true) => dispatch(geometry.set, Run::<_, _, true, true> { cell, job, part }),
        (1, false) => dispatch(geometry.set, Run::<_, _, true, false> { cell, job, part }),
        _ => dispatch(geometry.set, Run::<_, _, false, false> { cell, job, part }),
    })
}

/// A call whose memory is shared by its parts.
pub(super) struct Job<'a, F: Float> {
    weights: &'a PackedWeights<F>,
    input: Sequence<'a, F>,
    steps: &'a Steps,
    direction: Direction,
    /// For how many steps at a time the input products are made ahead, if they are.
    hoisted: Option<usize>,
    /// (rows, padded hidden) each: the hidden states that a step reads, and those that it makes, in
    /// turn. They start in the first, and end there.
    hidden: [Shared<'a, F>; 2],
    /// The same after recurrent dropout, which is what the recurrent weights see, and its masks.
    dropped: Option<([Shared<'a, F>; 2], Mask<'a, F>)>,
    regularization: Regularization<'a, F>,
    /// (rows, padded hidden): what the second recurrent product multiplies, where there is one.
    gated: Shared<'a, F>,
    /// (further states, rows, padded hidden), replaced in place.
    others: Shared<'a, F>,
    output: Option<SharedSequence<'a, F>>,
    tape: Option<SharedTape<'a, F>>,
}

impl<'a, F: Float> Job<'a, F> {
    fn new(call: &'a mut Forward<'_, F>, buffers: &'a mut [F], hoisted: Option<usize>) -> Self {
        let geometry = call.weights.geometry();
        let (steps, rows) = (call.steps.steps(), call.steps.rows());
        let per_state = rows * geometry.padded_hidden();
        // The tiles read through pointers: what they rely on is made sure of here, once a call.
        assert_eq!(call.input.sizes(), (steps, rows, geometry.inputs));
        assert_eq!(call.states.len(), geometry.cell.states() * per_state);
        let padded = geometry.padded_hidden();
        call.regularization.check(steps, rows, padded);
        let (hidden, others) = call.states.split_at_mut(per_state);
        let (second_hidden, rest) = buffers.split_at_mut(per_state);
        let mut rest = rest;
        let dropped = call.regularization.recurrent.map(|mask| {
            let (first, tail) = std::mem::take(&mut rest).split_at_mut(per_state);
            let (second, tail) = tail.split_at_mut(per_state);
            rest = tail;
            ([Shared::new(first), Shared::new(second)], mask)
        });
        Self {
            weights: call.weights,
            input: call.input,
            steps: call.steps,
            direction: call.direction,
            hoisted,
            hidden: [Shared::new(hidden), Shared::new(second_hidden)],
            dropped,
            regularization: call.regularization,
            gated: Shared::new(rest),
            others: Shared::new(others),
            output: call.output.as_mut().map(SequenceMut::share),
            tape: call.tape.as_mut().map(|tape| tape.share()),
        }
    }
}

impl<F: Float> Job<'_, F> {
    /// What the recurrent weights see of a hidden state.
    fn operands(&self, current: usize) -> &Shared<'_, F> {
        match &self.dropped {
            Some((dropped, _)) => &dropped[current],
            None => &self.hidden[current],
        }
    }

    /// Makes what the recurrent weights see at a step, if there is one, of the part's own places from the
    /// hidden state that enters it.
    ///
    /// # Safety
    /// Nobody else uses these places, or writes those of the hidden state.
    #[inline(always)]
    unsafe fn drop_out(&self, current: usize, step: Option<usize>, own: &Own) {
        let (Some((dropped, mask)), Some(step)) = (&self.dropped, step) else {
            return;
        };
        for row in own.rows.clone() {
            let factors = &mask.row(step, row)[own.columns.clone()];
            let start = row * own.padded;
            let place = start + own.columns.start..start + own.columns.end;
            // SAFETY: as the caller vouches.
            unsafe {
                let hidden = self.hidden[current].read(place.clone());
                let to = dropped[current].write(place);
                for ((to, &h), &factor) in to.iter_mut().zip(hidden).zip(factors) {
                    *to = h * factor;
                }
            }
        }
    }
}

/// The work of one part: of a single row, whose weights are too large for the nearest cache or not,
/// or of several rows. Small functions, because in large ones the compiler stops inlining.
struct Run<'a, F: Float, C, const SINGLE: bool, const ZIGZAG: bool> {
    cell: C,
    job: &'a Job<'a, F>,
    part: Part<'a, F>,
}

impl<F: SimdFloat, C: Cell, const SINGLE: bool, const ZIGZAG: bool> Kernel<F>
    for Run<'_, F, C, SINGLE, ZIGZAG>
{
    type Output = Result<()>;

    #[inline(always)]
    fn run<V: Vector<Element = F>>(self) -> Result<()> {
        run::<V, C, SINGLE, ZIGZAG>(self.cell, self.job, self.part)
    }
}

#[inline(always)]
fn run<V: Vector, C: Cell, const SINGLE: bool, const ZIGZAG: bool>(
    cell: C,
    job: &Job<'_, V::Element>,
    mut part: Part<'_, V::Element>,
) -> Result<()> {
    let geometry = job.weights.geometry();
    let (count, rows) = (job.steps.steps(), job.steps.rows());
    let set = geometry.register_set();
    let width = part.blocks.len() * set;
    let per_step = part.rows.len() * width;
    let (zeros, scratch) = std::mem::take(&mut part.scratch).split_at_mut(MAX_STREAMS * set);
    zeros.fill(num_traits::Zero::zero());
    let (tiles, scratch) = scratch.split_at_mut(TILES * set);
    let between = if C::Second::COUNT > 0 { per_step } else { 0 };
    let (between, input_sums) = scratch.split_at_mut(between);
    let per_block = job.hoisted.unwrap_or(1);
    let part = &part;
    let own = Own::new(geometry, part, rows);
    let mut current = 0;
    let drops = C::REGULARIZED && job.dropped.is_some();
    let step_of = |position| (position < count).then(|| step_at(job.direction, count, position));
    if drops {
        // SAFETY: the part's own places, at which the others don't look before all have met.
        unsafe { job.drop_out(current, step_of(0), &own) };
        part.exchange()?;
    }

    for start in (0..count).step_by(per_block.max(1)) {
        let end = (start + per_block).min(count);
        let times = steps_at(job.direction, count, &(start..end));
        if job.hoisted.is_some() {
            let (times, sums) = (times.clone(), &mut *input_sums);
            dispatch(
                geometry.set,
                InputProducts::<_, C>::new(job, part, times, sums),
            );
        }
        for position in start..end {
            part.check()?;
            let step = step_at(job.direction, count, position);
            if let Some(resets) = job.steps.resets_entering(step, job.direction) {
                // SAFETY: the part's own places; the others don't look at them before all have met.
                unsafe {
                    own.clear(&job.hidden[current], resets);
                    own.clear(&job.others, resets);
                    if drops {
                        own.clear(job.operands(current), resets);
                    }
                }
                part.exchange()?;
            }
            let valid = job.steps.valid(step);
            if let Some(tape) = &job.tape {
                // SAFETY: the part's own places of the tape, which nobody reads meanwhile.
                unsafe {
                    let (hidden, operands) = (&job.hidden[current], job.operands(current));
                    tape.record(step, &own, hidden, &job.others, operands, valid);
                }
            }
            if valid.is_some_and(|valid| !valid.contains(&true)) {
                if drops {
                    // SAFETY: the part's own places; nobody multiplies at this step.
                    unsafe { job.drop_out(current, step_of(position + 1), &own) };
                    part.exchange()?;
                }
                continue;
            }
            let mut stage = Stage {
                job,
                step,
                from: &job.hidden[current],
                operands: job.operands(current),
                to: &job.hidden[1 - current],
                saved_start: step * rows * geometry.saved_width(),
                valid,
                backwards: position % 2 == 1,
                zeros,
                scratch: tiles,
                between: &mut *between,
                padded: geometry.padded_hidden(),
                per_state: rows * geometry.padded_hidden(),
            };
            let at = (step - times.start) * per_step;
            let sums = job.hoisted.map(|_| &input_sums[at..][..per_step]);
            if SINGLE {
                let sums = sums.unwrap_or(&[]);
                match V::STREAMS {
                    MAX_STREAMS => {
                        step_row::<V, C, MAX_STREAMS, ZIGZAG>(cell, &mut stage, sums, &part.blocks);
                    }
                    _ => step_row::<V, C, 2, ZIGZAG>(cell, &mut stage, sums, &part.blocks),
                }
            } else if C::Second::COUNT > 0 {
                step_rows_twice::<V, C>(cell, &mut stage, step, part, sums)?;
            } else {
                step_rows::<V, C, false>(cell, &mut stage, step, part, sums);
            }
            // SAFETY: the part's own places, and of the state that all read only those which it has
            // just written.
            unsafe { hand_on(job, current, step, &own, valid) };
            current = 1 - current;
            if drops {
                // SAFETY: the part's own places, at which the others don't look before all have met.
                unsafe { job.drop_out(current, step_of(position + 1), &own) };
            }
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
    step: usize,
    /// The hidden states that the step reads.
    from: &'a Shared<'a, F>,
    /// What the recurrent weights see of them.
    operands: &'a Shared<'a, F>,
    /// Those that it makes.
    to: &'a Shared<'a, F>,
    /// Where the step's saved values start, (rows, blocks, saved values, lanes).
    saved_start: usize,
    valid: Option<&'a [bool]>,
    /// Whether to go through the weights from the end, which the cache still has from the step
    /// before.
    backwards: bool,
    /// As many as a single row's streams have sums.
    zeros: &'a [F],
    /// A tile's sums.
    scratch: &'a mut [F],
    /// (part's rows, part's units): sums that wait for the second recurrent product.
    between: &'a mut [F],
    padded: usize,
    per_state: usize,
}
