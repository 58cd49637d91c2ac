//! The forward pass of one direction over all of its steps.

use std::marker::PhantomData;
use std::ops::Range;

use super::compiled::EngineFloat;
use super::gradient_products::add_to;
use super::masks::{Mask, Regularization};
use super::packing::PackedWeights;
use super::parts::{Own, Part, Plan, Work};
use super::sequence::{Sequence, SequenceMut, SharedSequence};
use super::shared::Shared;
use super::tape::{SharedTape, Tape};
use super::tile::{
    Ahead, CHAIN, MAX_STREAMS, MAX_TILE_BLOCKS, MAX_TILE_ROWS, Tiles, chain_length, for_row_chunks,
    store_sums, sweep_into, sweep_onto, sweep_row_onto,
};
use super::workspace::Pool;
use super::{CACHED_BYTES, check_geometries, step_at, steps_at, steps_per_block, whole_lines};
use crate::cells::{Cell, CellKind, with_cell};
use crate::error::{Result, checked_size};
use crate::float::Float;
use crate::interrupt::Interrupt;
use crate::lengths::{Direction, Steps};
use crate::simd::{All, Kernel, Registers, SimdFloat, Vector, dispatch};

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
    let per_part = whole_lines::<F>(sums + (TILES + MAX_STREAMS) * set);
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
    let per_call = if drops { 3 * per_state } else { per_state };
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
    with_cell!(cell, cell => match (job.steps.rows(), zigzag) {
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
        let dropped = call.regularization.recurrent.map(|mask| {
            let (first, second) = rest.split_at_mut(per_state);
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
    const {
        assert!(C::PHASES == 1, "this engine computes one-phase cells");
    }
    let geometry = job.weights.geometry();
    let (count, rows) = (job.steps.steps(), job.steps.rows());
    let set = geometry.register_set();
    let width = part.blocks.len() * set;
    let per_step = part.rows.len() * width;
    let (zeros, scratch) = std::mem::take(&mut part.scratch).split_at_mut(MAX_STREAMS * set);
    zeros.fill(num_traits::Zero::zero());
    let (tiles, input_sums) = scratch.split_at_mut(TILES * set);
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
                padded: geometry.padded_hidden(),
                per_state: rows * geometry.padded_hidden(),
            };
            let sums = job
                .hoisted
                .map(|_| &input_sums[(step - times.start) * per_step..][..per_step]);
            if SINGLE {
                let sums = sums.unwrap_or(&[]);
                match V::STREAMS {
                    MAX_STREAMS => {
                        step_row::<V, C, MAX_STREAMS, ZIGZAG>(cell, &mut stage, sums, &part.blocks);
                    }
                    _ => step_row::<V, C, 2, ZIGZAG>(cell, &mut stage, sums, &part.blocks),
                }
            } else {
                step_rows::<V, C>(cell, &mut stage, step, part, sums);
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
    padded: usize,
    per_state: usize,
}

/// Biases plus input products of a part's rows and units for a block of steps: (steps, rows, units).
/// A kernel of its own, which single rows and several ones share.
struct InputProducts<'a, F: Float, C> {
    cell: PhantomData<C>,
    job: &'a Job<'a, F>,
    part: &'a Part<'a, F>,
    times: Range<usize>,
    sums: &'a mut [F],
}

impl<'a, F: Float, C> InputProducts<'a, F, C> {
    fn new(
        job: &'a Job<'a, F>,
        part: &'a Part<'a, F>,
        times: Range<usize>,
        sums: &'a mut [F],
    ) -> Self {
        Self {
            cell: PhantomData,
            job,
            part,
            times,
            sums,
        }
    }
}

impl<F: SimdFloat, C: Cell> Kernel<F> for InputProducts<'_, F, C> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Element = F>>(self) {
        let set = self.job.weights.geometry().register_set();
        let blocks = &self.part.blocks;
        let width = blocks.len() * set;
        assert!(self.sums.len() >= self.times.len() * self.part.rows.len() * width);
        let tiles = Tiles::new::<V, C>(blocks.len());
        for index in 0..tiles.count() {
            let (first, wide) = tiles.place(index);
            let at = &mut self.sums[first * set..];
            let block = blocks.start + first;
            if wide {
                input_block::<V, C, C::Tile<V>>(self.job, self.part, &self.times, block, at);
            } else {
                input_block::<V, C, C::Accumulators<V>>(
                    self.job,
                    self.part,
                    &self.times,
                    block,
                    at,
                );
            }
        }
    }
}

/// Adds the product of some rows and some features' input weights to sums of all accumulators of some
/// blocks of units. The registers of several blocks come from panels of `panel` numbers each.
///
/// # Safety
/// As for [`sweep_into`].
#[inline(always)]
unsafe fn sweep_input<V: Vector, C: Cell, R: Registers<V>, const M: usize>(
    sums: [R; M],
    count: usize,
    rows: *const V::Element,
    strides: (isize, isize),
    (weights, panel): (*const V::Element, usize),
) -> [R; M] {
    // SAFETY: as the caller vouches.
    unsafe {
        if R::COUNT == <C::Accumulators<V> as Registers<V>>::COUNT {
            let weights = (weights, V::LANES);
            sweep_into::<V, R, C::Input, M>(sums, count, rows, strides, weights, None)
        } else {
            let weights = (weights, panel);
            sweep_into::<V, R, All<V, R>, M>(sums, count, rows, strides, weights, None)
        }
    }
}

/// As [`sweep_input`], with the recurrent weights.
///
/// # Safety
/// As there.
#[inline(always)]
unsafe fn sweep_hidden<V: Vector, C: Cell, R: Registers<V>, const M: usize>(
    sums: [R; M],
    count: usize,
    rows: *const V::Element,
    strides: (isize, isize),
    (weights, panel): (*const V::Element, usize),
    ahead: Option<Ahead<V::Element>>,
) -> [R; M] {
    // SAFETY: as the caller vouches.
    unsafe {
        if R::COUNT == <C::Accumulators<V> as Registers<V>>::COUNT {
            let weights = (weights, V::LANES);
            sweep_into::<V, R, C::Hidden, M>(sums, count, rows, strides, weights, ahead)
        } else {
            let weights = (weights, panel);
            sweep_into::<V, R, All<V, R>, M>(sums, count, rows, strides, weights, ahead)
        }
    }
}

/// See [`InputProducts`]: those of the blocks of one tile, from the first one on.
#[inline(always)]
fn input_block<V: Vector, C: Cell, R: Registers<V>>(
    job: &Job<'_, V::Element>,
    part: &Part<'_, V::Element>,
    times: &Range<usize>,
    block: usize,
    sums: &mut [V::Element],
) {
    let geometry = job.weights.geometry();
    let (inputs, set) = (geometry.inputs, geometry.register_set());
    let blocks = R::COUNT / <C::Accumulators<V> as Registers<V>>::COUNT;
    let panel_len = inputs * geometry.input_set();
    let (rows, width) = (part.rows.len(), part.blocks.len() * set);
    // The steps of a single row are the rows of its tiles.
    let (outer, inner, stride) = if job.steps.rows() == 1 {
        let first = times.start;
        (first..first + 1, times.len(), job.input.step_stride())
    } else {
        (times.clone(), rows, job.input.row_stride())
    };
    let bias = &job.weights.bias()[block * set..][..blocks * set];
    let panel = &job.weights.input()[block * panel_len..][..blocks * panel_len];
    let last = (times.len() * rows).max(1) - 1;
    assert!(sums.len() >= last * width + blocks * set);
    for (outer_index, step) in outer.enumerate() {
        for_row_chunks!(V, inner, first, M => {
            // SAFETY: the chunk's rows are rows of the input, with `inputs` numbers each; bias and
            // panels hold the blocks' register sets; the sums' rows hold `width` numbers.
            unsafe {
                let x = job.input.row_ptr(step, part.rows.start);
                let x = x.wrapping_offset(first.cast_signed() * stride);
                let to = sums.as_mut_ptr().add((outer_index * inner + first) * width);
                let (x, weights) = ((x, (stride, 1)), panel.as_ptr());
                let (before, to) = ((bias.as_ptr(), 0), (to, width));
                if R::COUNT == <C::Accumulators<V> as Registers<V>>::COUNT {
                    let weights = (weights, V::LANES);
                    sweep_onto::<V, R, C::Input, M>(inputs, x, weights, before, to);
                } else {
                    // One accumulator of several blocks, each with a panel of its own.
                    let weights = (weights, inputs * V::LANES);
                    sweep_onto::<V, R, All<V, R>, M>(inputs, x, weights, before, to);
                }
            }
        });
    }
}

/// One step of several rows: the input product in the same sweep, unless its sums are made; the
/// recurrent product; then the cell.
#[inline(always)]
fn step_rows<V: Vector, C: Cell>(
    cell: C,
    stage: &mut Stage<'_, V::Element>,
    step: usize,
    part: &Part<'_, V::Element>,
    input_sums: Option<&[V::Element]>,
) {
    let geometry = stage.job.weights.geometry();
    let set = geometry.register_set();
    let width = part.blocks.len() * set;
    assert!(input_sums.is_none_or(|sums| sums.len() == part.rows.len() * width));
    let hidden_len = geometry.hidden * geometry.hidden_set();
    let far = geometry.weights() * size_of::<V::Element>() > CACHED_BYTES;
    let tiles = Tiles::new::<V, C>(part.blocks.len());
    let count = tiles.count();
    for turn in 0..count {
        let backwards = stage.backwards;
        let index = |turn| if backwards { count - 1 - turn } else { turn };
        let (first, wide) = tiles.place(index(turn));
        // The last tile is the first one of the next step, which comes the other way.
        let next = if far && turn + 1 < count {
            let block = part.blocks.start + tiles.place(index(turn + 1)).0;
            let weights: &[V::Element] = stage.job.weights.hidden();
            Some(weights[block * hidden_len..].as_ptr())
        } else {
            None
        };
        let sums = input_sums.map(|sums| &sums[first * set..]);
        let block = part.blocks.start + first;
        if wide {
            step_block::<V, C, C::Tile<V>>(cell, stage, step, part, sums, block, next);
        } else {
            step_block::<V, C, C::Accumulators<V>>(cell, stage, step, part, sums, block, next);
        }
    }
}

/// See [`step_rows`]: the blocks of one tile, from the first one on.
#[inline(always)]
fn step_block<V: Vector, C: Cell, R: Registers<V>>(
    cell: C,
    stage: &mut Stage<'_, V::Element>,
    step: usize,
    part: &Part<'_, V::Element>,
    input_sums: Option<&[V::Element]>,
    block: usize,
    next: Option<*const V::Element>,
) {
    let (weights, input) = (stage.job.weights, &stage.job.input);
    let geometry = weights.geometry();
    let (inputs, hidden) = (geometry.inputs, geometry.hidden);
    let blocks = R::COUNT / <C::Accumulators<V> as Registers<V>>::COUNT;
    let set = blocks * geometry.register_set();
    let width = part.blocks.len() * geometry.register_set();
    let hidden_set = blocks * geometry.hidden_set();
    let input_len = inputs * geometry.input_set();
    let hidden_len = hidden * geometry.hidden_set();
    let chunks = part.rows.len().div_ceil(V::TILE_ROWS);
    let bias = &weights.bias()[block * geometry.register_set()..][..set];
    let of_input = &weights.input()[block * input_len..][..blocks * input_len];
    let of_hidden = &weights.hidden()[block * hidden_len..][..blocks * hidden_len];
    let last = part.rows.len().max(1) - 1;
    assert!(input_sums.is_none_or(|sums| sums.len() >= last * width + set));
    let zero = R::build(|_| V::splat(num_traits::Zero::zero()));
    let (chain, input_chain) = (chain_length(hidden), chain_length(inputs));
    for_row_chunks!(V, part.rows.len(), first, M => {
        let row = part.rows.start + first;
        let valid = stage.valid.map(|valid| &valid[row..][..M]);
        if valid.is_none_or(|valid| valid.contains(&true)) {
            assert!(stage.scratch.len() >= M * set);
            // SAFETY: the chunk's rows are rows of the input at this step, with `inputs` numbers each,
            // and of the hidden state, with `padded >= hidden` numbers each, which nobody writes during
            // the step; bias and panels hold the blocks' register sets, and the sums those of each row
            // and block; the scratch holds the tile.
            unsafe {
                let h = &stage.operands;
                let h = h.read(row * stage.padded..(row + M) * stage.padded);
                let chunk = first / V::TILE_ROWS;
                let ahead =
                    next.and_then(|next| Ahead::share(next, hidden, hidden_set, chunk, chunks));
                let scratch = stage.scratch.as_mut_ptr();
                let mut before = match input_sums {
                    Some(sums) => (sums.as_ptr().add(first * width), width),
                    None => (bias.as_ptr(), 0),
                };
                // Chains of hidden states, then of inputs unless their sums are made. The inputs go on
                // with the last chain when they fit.
                let mut tile = [zero; M];
                let mut length = 0;
                for start in (0..hidden).step_by(chain) {
                    if length > 0 {
                        store_sums(tile, before, (scratch, set));
                        before = (scratch.cast_const(), set);
                        tile = [zero; M];
                    }
                    length = chain.min(hidden - start);
                    let weights = of_hidden.as_ptr().add(start * geometry.hidden_set());
                    let weights = (weights, hidden * V::LANES);
                    let strides = (stage.padded.cast_signed(), 1);
                    let (h, ahead) = (h.as_ptr().add(start), ahead.map(|ahead| ahead.after(start)));
                    tile = sweep_hidden::<V, C, R, M>(tile, length, h, strides, weights, ahead);
                }
                if input_sums.is_none() {
                    let x = input.row_ptr(step, row);
                    for start in (0..inputs).step_by(input_chain) {
                        let count = input_chain.min(inputs - start);
                        if length + count > CHAIN {
                            store_sums(tile, before, (scratch, set));
                            before = (scratch.cast_const(), set);
                            tile = [zero; M];
                            length = 0;
                        }
                        length += count;
                        let weights = of_input.as_ptr().add(start * geometry.input_set());
                        let weights = (weights, inputs * V::LANES);
                        let (x, strides) = (x.wrapping_add(start), (input.row_stride(), 1));
                        tile = sweep_input::<V, C, R, M>(tile, count, x, strides, weights);
                    }
                }
                store_sums(tile, before, (scratch, set));
            }
            for m in 0..M {
                if valid.is_none_or(|valid| valid[m]) {
                    for b in 0..blocks {
                        apply_cell::<V, C>(cell, stage, m * blocks + b, row + m, block + b);
                    }
                }
            }
        }
    });
}

/// One step of a single row, whose input products are made: G blocks of units side by side.
#[inline(always)]
fn step_row<V: Vector, C: Cell, const G: usize, const ZIGZAG: bool>(
    cell: C,
    stage: &mut Stage<'_, V::Element>,
    input_sums: &[V::Element],
    blocks: &Range<usize>,
) {
    let set = stage.job.weights.geometry().register_set();
    let (groups, single) = (blocks.len() / G, blocks.len() % G);
    let count = groups + single;
    for turn in 0..count {
        let group = if ZIGZAG && stage.backwards {
            count - 1 - turn
        } else {
            turn
        };
        if group < groups {
            let index = group * G;
            let sums = &input_sums[index * set..][..G * set];
            step_streams::<V, C, G, ZIGZAG>(cell, stage, sums, blocks.start + index);
        } else {
            let index = groups * G + (group - groups);
            let sums = &input_sums[index * set..][..set];
            step_streams::<V, C, 1, ZIGZAG>(cell, stage, sums, blocks.start + index);
        }
    }
}

/// One step of G blocks of units of a single row.
#[inline(always)]
fn step_streams<V: Vector, C: Cell, const G: usize, const ZIGZAG: bool>(
    cell: C,
    stage: &mut Stage<'_, V::Element>,
    input_sums: &[V::Element],
    block: usize,
) {
    let geometry = stage.job.weights.geometry();
    let (hidden, set) = (geometry.hidden, geometry.register_set());
    assert!(input_sums.len() == G * set && stage.scratch.len() >= CHUNKS * G * set);
    let at_edge = block == 0 || block + G == geometry.blocks();
    if ZIGZAG && at_edge {
        let chunks = chunks::<V, G>(stage, block);
        for turn in 0..CHUNKS {
            let chunk = if stage.backwards {
                CHUNKS - 1 - turn
            } else {
                turn
            };
            let seeds = if chunk == 0 { input_sums } else { stage.zeros };
            sweep_chunk::<V, C, G>(stage, block, seeds, &chunks[chunk], chunk);
        }
        // Always in this order, whichever way the chunks were computed.
        let sums = stage.scratch.as_mut_ptr();
        for index in G..CHUNKS * G {
            // SAFETY: register sets of the scratch.
            unsafe {
                let values = C::Accumulators::<V>::load(sums.add(index * set));
                add_to::<V, _>(sums.add(index % G * set), values);
            }
        }
    } else {
        sweep_chunk::<V, C, G>(stage, block, input_sums, &(0..hidden), 0);
    }
    for g in 0..G {
        apply_cell::<V, C>(cell, stage, g, 0, block + g);
    }
}

/// Adds a chunk of features' products to the sums of G blocks of units; the results go to the scratch
/// as its G sets number `chunk`.
#[inline(always)]
fn sweep_chunk<V: Vector, C: Cell, const G: usize>(
    stage: &mut Stage<'_, V::Element>,
    block: usize,
    sums: &[V::Element],
    features: &Range<usize>,
    chunk: usize,
) {
    let geometry = stage.job.weights.geometry();
    let (hidden, set) = (geometry.hidden, geometry.register_set());
    let stream = hidden * geometry.hidden_set();
    let weights = &stage.job.weights.hidden()[block * stream..][..G * stream];
    let to = &mut stage.scratch[chunk * G * set..][..G * set];
    assert!(sums.len() >= G * set);
    // SAFETY: the sums hold G register sets; the weights hold G streams of `hidden` register sets, of
    // which the features are some; nobody writes the hidden state during the step; there is place for
    // the G results.
    unsafe {
        let h = &stage.operands.read(0..hidden)[features.clone()];
        let start = features.start * geometry.hidden_set();
        let weights = (weights.as_ptr().add(start), stream);
        let (row, before, to) = (
            (h.as_ptr(), 0),
            (sums.as_ptr(), set),
            (to.as_mut_ptr(), set),
        );
        sweep_row_onto::<V, C::Accumulators<V>, C::Hidden, G>(h.len(), row, weights, before, to);
    }
}

/// The chunks of features in which G blocks of units of a single row are computed: a step that goes
/// through the weights from the other end than the one before starts with those that it read last,
/// which the nearest cache still has. The sums of the chunks are added in one order, so that results
/// don't depend on the way; that is why they are not simply summed up backwards.
#[inline(always)]
fn chunks<V: Vector, const G: usize>(
    stage: &Stage<'_, V::Element>,
    block: usize,
) -> [Range<usize>; CHUNKS] {
    let geometry = stage.job.weights.geometry();
    let hidden = geometry.hidden;
    let weights = geometry.hidden_set() * G * size_of::<V::Element>();
    let edge = (EDGE_BYTES / weights).min(hidden);
    let start = if block == 0 { edge } else { 0 };
    let end = if block + G == geometry.blocks() {
        (hidden - edge).max(start)
    } else {
        hidden
    };
    [0..start, start..end, end..hidden]
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
    let (mut new, kept, previous) = unsafe {
        let previous = C::States::<V>::build(|state| {
            let from = match state {
                0 => stage.from.read(at..at + V::LANES),
                _ => job.others.read(further(state)),
            };
            V::load(from.as_ptr())
        });
        let constants = constants_of::<V, C>(cell, job.weights.constants(), block);
        let sums = C::Accumulators::<V>::load(sums.as_ptr());
        let update = if C::REGULARIZED {
            job.regularization.update(stage.step, row, block)
        } else {
            None
        };
        let (new, kept) = cell.forward::<V>(sums, previous, constants, update);
        (new, kept, previous)
    };
    if C::REGULARIZED {
        let one = V::splat(num_traits::One::one());
        for state in 0..<C::States<V> as Registers<V>>::COUNT {
            // SAFETY: the masks were checked, once a call.
            let keep = unsafe { job.regularization.kept::<V>(state, stage.step, row, block) };
            if let Some(keep) = keep {
                let (old, fresh) = (previous.get(state), new.get(state));
                let mixed = keep.mul_add(old, (one - keep) * fresh);
                new.set(state, mixed.flush_tiny());
            }
        }
    }
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

/// The constants of one block of units; zeros where the cell's options need none.
///
/// # Safety
/// `constants` are those of all blocks.
#[inline(always)]
pub(super) unsafe fn constants_of<V: Vector, C: Cell>(
    cell: C,
    constants: &[V::Element],
    block: usize,
) -> C::Constants<V> {
    if <C::Constants<V> as Registers<V>>::COUNT == 0 || cell.constants() == 0 {
        return C::Constants::<V>::build(|_| V::splat(num_traits::Zero::zero()));
    }
    let len = <C::Constants<V> as Registers<V>>::COUNT * V::LANES;
    // SAFETY: as the caller vouches.
    unsafe { C::Constants::<V>::load(constants[block * len..][..len].as_ptr()) }
}
