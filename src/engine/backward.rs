//! The backward pass of one direction: complete backpropagation through time.

use std::ops::Range;

use super::compiled::EngineFloat;
use super::forward::constants_of;
use super::gradient_products::{Product, Receiver, add, add_to, feature_products, pack_features};
use super::masks::{Mask, Regularization};
use super::packing::{
    Geometry, PANEL_REGISTERS, PackedGradients, PackedWeights, ProductGradients, TransposedWeights,
};
use super::parts::{Own, Part, Plan, Work};
use super::sequence::{Layout, Sequence, SequenceMut, SharedSequence};
use super::shared::Shared;
use super::tape::Tape;
use super::tile::{MAX_TILE_ROWS, Tiles};
use super::workspace::Pool;
use super::{check_geometries, step_at, steps_at, steps_per_block, whole_lines};
use crate::cells::{Cell, CellKind, with_cell};
use crate::error::{Result, checked_size};
use crate::float::Float;
use crate::interrupt::Interrupt;
use crate::lengths::{Direction, Steps};
use crate::simd::{All, Kernel, Registers, SimdFloat, Span, Vector, dispatch};

/// How many bytes of transposed weights all rows of a step are multiplied by before the next ones are.
const PIECE_BYTES: usize = 256 << 10;

/// The operands of one call.
pub struct Backward<'a, F: Float> {
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
    /// As in the forward pass.
    pub regularization: Regularization<'a, F>,
    /// (steps, rows, hidden): the gradient with respect to the output. Nothing for zeros.
    pub output_gradient: Option<Sequence<'a, F>>,
    /// (states, rows, padded hidden): the gradient with respect to the final states, replaced by
    /// that with respect to the initial ones.
    pub state_gradient: &'a mut [F],
    /// The weights' gradients are added here.
    pub weight_gradients: &'a mut PackedGradients<F>,
}

/// Runs the backward passes of a layer's directions: calls of the same geometry and the same steps.
/// `input_gradient`, (steps, rows, inputs), is replaced by the sum of their gradients with respect
/// to the input.
/// `interrupt` is asked at every step.
///
/// # Errors
/// Out of memory or interrupted; what was written so far is then of no use.
pub fn backward<F: EngineFloat>(
    calls: &mut [Backward<'_, F>],
    mut input_gradient: Option<SequenceMut<'_, F>>,
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
    if rows * geometry.padded_hidden() == 0 || steps == 0 {
        return Ok(());
    }
    let work = Work {
        calls: calls.len(),
        steps,
        rows,
        passes: 2,
    };
    let plan = Plan::new::<F>(&geometry, work);
    let regularized = calls.iter().any(|call| call.regularization.is_active());
    let cell = if regularized {
        geometry.cell.regularized()
    } else {
        geometry.cell
    };
    let act = |job: &Job<'_, F>, part: Part<'_, F>| F::backward_part(cell, job, part);
    let block_rows = checked_size(&[steps_per_block(rows).min(steps), rows])?;
    let (inputs, hidden) = (geometry.inputs, geometry.hidden);
    let of_hidden = if geometry.cell.sums_products() {
        0 // The same as those of the input product.
    } else {
        geometry.hidden_width()
    };
    let constants = checked_size(&[rows, geometry.constants_width()])?;
    let per_call = [
        constants,
        checked_size(&[block_rows, geometry.input_width()])?,
        checked_size(&[block_rows, of_hidden])?,
        checked_size(&[block_rows, inputs])?,
        checked_size(&[block_rows, hidden])?,
    ];
    // A tile of a product with the transposed weights, and the gradients of as many register sets as a tile covers.
    let tile = MAX_TILE_ROWS * geometry.panel();
    let column = checked_size(&[block_rows, geometry.tile_set()])?;
    let per_part = whole_lines::<F>(tile + column);
    let mut is_first = true;
    for group in calls.chunks_mut(plan.together()) {
        // Calls side by side can't add to the same numbers.
        let further = match &input_gradient {
            Some(_) => checked_size(&[group.len() - 1, steps, rows, inputs])?,
            None => 0,
        };
        let mut further = pool.take(further)?;
        let mut further_dx = further.chunks_exact_mut((steps * rows * inputs).max(1));
        let mut shared = pool.take(checked_size(&[group.len(), per_call.iter().sum()])?)?;
        let mut rest = &mut shared[..];
        let mut dx = input_gradient.as_mut().map(SequenceMut::share);
        let jobs: Vec<Job<'_, F>> = group
            .iter_mut()
            .map(|call| {
                let mut is_constants = true;
                let shared = per_call.map(|len| {
                    let (values, tail) = std::mem::take(&mut rest).split_at_mut(len);
                    rest = tail;
                    if std::mem::take(&mut is_constants) {
                        values.fill(F::zero());
                    }
                    Shared::new(values)
                });
                let adds = dx.is_some() && !is_first;
                let own_dx = dx.take().or_else(|| {
                    let sizes = (steps, rows, inputs);
                    let values = further_dx.next()?;
                    Some(SharedSequence::contiguous(values, Layout::TimeMajor, sizes))
                });
                Job::new(call, shared, own_dx, adds)
            })
            .collect::<Result<_>>()?;
        let mut scratch = pool.take(checked_size(&[plan.parts(jobs.len()), per_part])?)?;
        plan.run(&jobs, &mut scratch, interrupt, act)?;
        drop(jobs);
        is_first = false;
        if let Some(dx) = &mut input_gradient {
            for values in further.chunks_exact((steps * rows * inputs).max(1)) {
                dx.add(&Sequence::contiguous(
                    values,
                    Layout::TimeMajor,
                    (steps, rows, inputs),
                ));
            }
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
    let set = job.weights.geometry().set;
    with_cell!(cell, cell => dispatch(set, Run { cell, job, part }))
}

/// A call whose memory is shared by its parts.
pub(super) struct Job<'a, F: Float> {
    weights: &'a PackedWeights<F>,
    transposed: &'a TransposedWeights<F>,
    tape: &'a Tape<F>,
    input: &'a [F],
    steps: &'a Steps,
    direction: Direction,
    regularization: Regularization<'a, F>,
    output_gradient: Option<Sequence<'a, F>>,
    /// (states, rows, padded hidden).
    state_gradient: Shared<'a, F>,
    input_gradient: Option<SharedSequence<'a, F>>,
    /// Whether the gradient is added to what is there, or replaces it.
    adds: bool,
    /// Of the input weights and of the recurrent ones.
    weight_gradients: [SharedGradients<'a, F>; 2],
    /// The gradients of the constants, (rows, blocks, constants, lanes): those of each row over all
    /// steps, so that their sum doesn't depend on how the rows are cut.
    constants: Shared<'a, F>,
    /// And their sum over all rows.
    constant_gradients: Shared<'a, F>,
    /// The gradients of the accumulators that take the input product in one block, (steps, rows, input
    /// width), and of those that take the recurrent product, where they are others.
    input_gradients: Shared<'a, F>,
    hidden_gradients: Shared<'a, F>,
    /// What the weights were multiplied with in a block, tile by tile: inputs and hidden states.
    packed_x: Shared<'a, F>,
    packed_h: Shared<'a, F>,
}

/// The gradients of a product's weights, to which several parts of a call add.
struct SharedGradients<'a, F> {
    weights: Shared<'a, F>,
    bias: Shared<'a, F>,
}

impl<'a, F: Float> SharedGradients<'a, F> {
    fn new(gradients: &'a mut ProductGradients<F>) -> Self {
        Self {
            weights: Shared::new(&mut gradients.weights),
            bias: Shared::new(&mut gradients.bias),
        }
    }
}

impl<'a, F: Float> Job<'a, F> {
    fn new(
        call: &'a mut Backward<'_, F>,
        [
            constants,
            input_gradients,
            hidden_gradients,
            packed_x,
            packed_h,
        ]: [Shared<'a, F>; 5],
        input_gradient: Option<SharedSequence<'a, F>>,
        adds: bool,
    ) -> Result<Self> {
        let sums = &mut *call.weight_gradients;
        let geometry = call.weights.geometry();
        let (steps, rows) = (call.steps.steps(), call.steps.rows());
        let padded = geometry.padded_hidden();
        call.regularization.check(steps, rows, padded);
        Ok(Self {
            weights: call.weights,
            transposed: call.weights.transposed()?,
            tape: call.tape,
            input: call.input,
            steps: call.steps,
            direction: call.direction,
            regularization: call.regularization,
            output_gradient: call.output_gradient,
            state_gradient: Shared::new(call.state_gradient),
            input_gradient,
            adds,
            weight_gradients: [&mut sums.input, &mut sums.hidden].map(SharedGradients::new),
            constants,
            constant_gradients: Shared::new(&mut sums.constants),
            input_gradients,
            hidden_gradients,
            packed_x,
            packed_h,
        })
    }

    /// The gradients of the accumulators that take the recurrent product.
    fn hidden_gradients(&self) -> &Shared<'a, F> {
        if self.weights.geometry().cell.sums_products() {
            &self.input_gradients
        } else {
            &self.hidden_gradients
        }
    }
}

struct Run<'a, F: Float, C> {
    cell: C,
    job: &'a Job<'a, F>,
    part: Part<'a, F>,
}

impl<F: SimdFloat, C: Cell> Kernel<F> for Run<'_, F, C> {
    type Output = Result<()>;

    #[inline(always)]
    fn run<V: Vector<Element = F>>(self) -> Result<()> {
        run::<V, C>(self.cell, self.job, self.part)
    }
}

#[inline(always)]
fn run<V: Vector, C: Cell>(
    cell: C,
    job: &Job<'_, V::Element>,
    mut part: Part<'_, V::Element>,
) -> Result<()> {
    let geometry = job.weights.geometry();
    let transposed = job.transposed;
    let (count, rows) = (job.steps.steps(), job.steps.rows());
    let (inputs, hidden, padded) = (geometry.inputs, geometry.hidden, geometry.padded_hidden());
    let input_width = geometry.input_width();
    let own = Own::new(geometry, &part, rows);
    let per_block = steps_per_block(rows).min(count);
    let scratch = std::mem::take(&mut part.scratch);
    let (tile, column) = scratch.split_at_mut(MAX_TILE_ROWS * geometry.panel());
    let part = &part;

    for block in (0..count.div_ceil(per_block.max(1))).rev() {
        let start = block * per_block;
        let end = (start + per_block).min(count);
        let times = steps_at(job.direction, count, &(start..end));
        for position in (start..end).rev() {
            part.check()?;
            let step = step_at(job.direction, count, position);
            let valid = job.steps.valid(step);
            // SAFETY: the part's own places, which nobody reads before all have met.
            unsafe {
                step_rows::<V, C>(cell, job, &own, &part.blocks, (step, times.start), valid);
            }
            part.exchange()?;
            if valid.is_none_or(|valid| valid.contains(&true)) {
                // What reaches the previous hidden state through the accumulators. The rows of
                // invalid steps have zero gradients, so they receive nothing here.
                // SAFETY: the accumulators' gradients are made; the others don't write them before
                // the block is done. The part adds to its own places.
                unsafe { hidden_gradient(job, part, &own, (step, times.start), tile) };
            }
            if let Some(resets) = job.steps.resets_entering(step, job.direction) {
                // SAFETY: the part's own places.
                unsafe { own.clear(&job.state_gradient, resets) };
            }
        }

        // What the whole block adds to the gradients of weights and input.
        let block_rows = times.len() * rows;
        let x = &job.input[times.start * rows * inputs..][..block_rows * inputs];
        let h = &job.tape.operands()[times.start * rows * padded..][..block_rows * padded];
        for (from, stride, count, to) in [
            (x, inputs, inputs, &job.packed_x),
            (h, padded, hidden, &job.packed_h),
        ] {
            let chunks = part.share(count.div_ceil(V::TILE_ROWS));
            // SAFETY: the part's own share, which nobody reads before all have met.
            unsafe { pack_features::<V>(from, stride, count, &chunks, to) };
        }
        part.meet()?;
        let column = &mut column[..block_rows * geometry.tile_set()];
        // SAFETY: all have met, and nobody writes what the products read before all meet again; the
        // part adds to its own shares.
        unsafe {
            let tiles = Tiles::new::<V, C>(geometry.blocks());
            for index in part.share(tiles.count()) {
                match tiles.place(index) {
                    (block, true) => {
                        wide_products::<V, C>(job, block_rows, block, column);
                    }
                    (block, false) => weight_products::<V, C>(job, block_rows, block, column),
                }
            }
            if let Some(dx) = &job.input_gradient {
                let own_rows = part.share(block_rows);
                let from = job
                    .input_gradients
                    .read(own_rows.start * input_width..own_rows.end * input_width);
                let product = Product {
                    gradients: from,
                    width: input_width,
                    weights: transposed.input(),
                    columns: inputs,
                    piece: input_width,
                    panels: 0..inputs.div_ceil(geometry.panel()),
                    single: block_rows == 1,
                    tile: &mut *tile,
                    receiver: InputReceiver {
                        gradient: dx,
                        adds: job.adds,
                        first_step: times.start,
                        first_row: own_rows.start,
                        rows,
                    },
                };
                product.run(geometry.set);
            }
        }
        part.meet()?;
    }
    // SAFETY: all have met; nobody changes the constants' gradients any more.
    unsafe { sum_constants::<V, C>(cell, job, &part.share(geometry.blocks())) };
    Ok(())
}

/// Adds, for a part's own rows and units, what reaches the hidden state that enters a step through the
/// recurrent product.
///
/// # Safety
/// Nobody writes the accumulators' gradients of the step, or uses the part's own places.
#[inline(always)]
unsafe fn hidden_gradient<F: SimdFloat>(
    job: &Job<'_, F>,
    part: &Part<'_, F>,
    own: &Own,
    (step, block_start): (usize, usize),
    tile: &mut [F],
) {
    let geometry = job.weights.geometry();
    let (rows, width) = (job.steps.rows(), geometry.hidden_width());
    let first = ((step - block_start) * rows + own.rows.start) * width;
    let panels = part.blocks.start / PANEL_REGISTERS..part.blocks.end.div_ceil(PANEL_REGISTERS);
    // SAFETY: as the caller vouches.
    unsafe {
        let product = Product {
            gradients: job
                .hidden_gradients()
                .read(first..first + own.rows.len() * width),
            width,
            weights: job.transposed.hidden(),
            columns: geometry.hidden,
            panels,
            piece: PIECE_BYTES / (geometry.panel() * size_of::<F>()),
            single: rows == 1,
            tile,
            receiver: StateReceiver {
                gradient: &job.state_gradient,
                first_row: own.rows.start,
                padded: own.padded,
                dropout: job.regularization.recurrent,
                step,
            },
        };
        product.run(geometry.set);
    }
}

/// Adds to the gradient of the hidden state that enters a step.
struct StateReceiver<'a, F> {
    gradient: &'a Shared<'a, F>,
    first_row: usize,
    padded: usize,
    dropout: Option<Mask<'a, F>>,
    step: usize,
}

impl<F: Float> Receiver<F> for StateReceiver<'_, F> {
    #[inline(always)]
    unsafe fn receive(&self, row: usize, column: usize, values: &[F]) {
        let row = self.first_row + row;
        let start = row * self.padded + column;
        // SAFETY: as the caller vouches.
        let to = unsafe { self.gradient.write(start..start + values.len()) };
        let Some(mask) = self.dropout else {
            add(to, values);
            return;
        };
        let factors = &mask.row(self.step, row)[column..];
        for ((to, &value), &factor) in to.iter_mut().zip(values).zip(factors) {
            *to += value * factor;
        }
    }
}

/// Writes the gradient of the input, or adds to it.
struct InputReceiver<'a, F> {
    gradient: &'a SharedSequence<'a, F>,
    adds: bool,
    /// The step and the row that come first, and how many rows a step has.
    first_step: usize,
    first_row: usize,
    rows: usize,
}

impl<F: Float> Receiver<F> for InputReceiver<'_, F> {
    #[inline(always)]
    unsafe fn receive(&self, row: usize, column: usize, values: &[F]) {
        let row = self.first_row + row;
        let (step, row) = (self.first_step + row / self.rows, row % self.rows);
        let place = column..column + values.len();
        // SAFETY: as the caller vouches.
        let to = unsafe { self.gradient.write(step, row, place) };
        if self.adds {
            add(to, values);
        } else {
            to.copy_from_slice(values);
        }
    }
}

/// Adds the gradients of the constants of some blocks of units, those of one row after the other.
///
/// # Safety
/// Nobody changes the rows' gradients, or uses their sums.
#[inline(always)]
unsafe fn sum_constants<V: Vector, C: Cell>(
    cell: C,
    job: &Job<'_, V::Element>,
    blocks: &Range<usize>,
) {
    let len = cell.constants() * V::LANES;
    let columns = blocks.start * len..blocks.end * len;
    let width = job.weights.geometry().constants_width();
    for row in 0..job.steps.rows() {
        let start = row * width;
        // SAFETY: as the caller vouches.
        unsafe {
            let values = job
                .constants
                .read(start + columns.start..start + columns.end);
            add(job.constant_gradients.write(columns.clone()), values);
        }
    }
}

/// One step of a part's own rows and units: adds the output's gradient to that of the hidden state,
/// replaces the gradients of the new states by those of the previous ones along the direct paths,
/// and writes the accumulators' gradients.
///
/// # Safety
/// Nobody else uses the part's own places of both.
#[inline(always)]
unsafe fn step_rows<V: Vector, C: Cell>(
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
        if valid.is_some_and(|valid| !valid[row]) {
            to_input.fill(num_traits::Zero::zero());
            to_hidden.fill(num_traits::Zero::zero());
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
            // SAFETY: as the caller vouches.
            unsafe { step_registers::<V, C>(cell, job, (step, row), block, [to_input, to_hidden]) };
        }
    }
}

/// Whether both products of a cell go to the same accumulators.
const fn sums_products<C: Cell>() -> bool {
    C::Input::START == C::Hidden::START && C::Input::END == C::Hidden::END
}

/// Where the gradients of the accumulators of one row and some blocks of units go: of those that take
/// the input product, and of those that take the recurrent product, unless they are the same. `index`
/// is that of the row in the block of time.
///
/// # Safety
/// Nobody else uses these places.
#[inline(always)]
#[allow(clippy::mut_from_ref)] // shared memory; the caller vouches for it
unsafe fn accumulator_gradients<'a, V: Vector, C: Cell>(
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
    [to_input, to_hidden]: [&mut [V::Element]; 2],
) {
    let geometry = job.weights.geometry();
    let index = step * job.steps.rows() + row;
    let saved_len = <C::Saved<V> as Registers<V>>::COUNT * V::LANES;
    let saved =
        &job.tape.saved()[index * geometry.saved_width() + block * saved_len..][..saved_len];
    assert!(to_input.len() == C::Input::COUNT * V::LANES);
    assert!(sums_products::<C>() || to_hidden.len() == C::Hidden::COUNT * V::LANES);
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
        for state in 0..=further {
            direct.get(state).store(states.add(state * per_state));
        }
    }
}

/// As [`weight_products`], of as many registers of units as a tile covers, from `block` on.
///
/// # Safety
/// As there.
#[inline(always)]
unsafe fn wide_products<V: Vector, C: Cell>(
    job: &Job<'_, V::Element>,
    rows: usize,
    block: usize,
    column: &mut [V::Element],
) {
    // SAFETY: as the caller vouches.
    unsafe {
        if <C::Tile<V> as Registers<V>>::COUNT == <C::Accumulators<V> as Registers<V>>::COUNT {
            weight_products::<V, C>(job, rows, block, column);
        } else {
            let [of_input, of_hidden] = &job.weight_gradients;
            let Geometry { inputs, hidden, .. } = *job.weights.geometry();
            let gradients = job
                .input_gradients
                .read(0..rows * job.weights.geometry().width());
            // Each accumulator takes both products, so both have the same gradients.
            let bias = gather::<V, C::Tile<V>, All<V, C::Tile<V>>>(
                gradients,
                rows,
                block * V::LANES,
                column,
            );
            for (gradients, packed, count) in [
                (of_input, &job.packed_x, inputs),
                (of_hidden, &job.packed_h, hidden),
            ] {
                let features = (packed.read(0..count * rows), count);
                let at = (block * V::LANES, count * V::LANES);
                add_bias::<V, C::Tile<V>, All<V, C::Tile<V>>>(gradients, at.0, bias);
                add_weights::<V, C::Tile<V>, All<V, C::Tile<V>>>(gradients, at, features, column);
            }
        }
    }
}

/// Adds the products of packed features and accumulator gradients to the weights' gradients of one
/// register of units, and the sums of the gradients to the biases'. `rows` is that of the block of
/// time; `column` receives the gradients.
///
/// # Safety
/// Nobody writes the features and the gradients, or uses the weights' gradients of these units.
#[inline(always)]
unsafe fn weight_products<V: Vector, C: Cell>(
    job: &Job<'_, V::Element>,
    rows: usize,
    block: usize,
    column: &mut [V::Element],
) {
    let geometry = job.weights.geometry();
    let Geometry { inputs, hidden, .. } = *geometry;
    let [of_input, of_hidden] = &job.weight_gradients;
    let (input_at, hidden_at) = (block * geometry.input_set(), block * geometry.hidden_set());
    // SAFETY: as the caller vouches.
    unsafe {
        let gradients = job.input_gradients.read(0..rows * geometry.input_width());
        let bias = gather::<V, C::Accumulators<V>, C::Input>(gradients, rows, input_at, column);
        add_bias::<V, C::Accumulators<V>, C::Input>(of_input, input_at, bias);
        let features = (job.packed_x.read(0..inputs * rows), inputs);
        let at = (input_at, V::LANES);
        add_weights::<V, C::Accumulators<V>, C::Input>(of_input, at, features, column);

        let bias = if sums_products::<C>() {
            bias // And the column is the same.
        } else {
            let gradients = job.hidden_gradients.read(0..rows * geometry.hidden_width());
            gather::<V, C::Accumulators<V>, C::Hidden>(gradients, rows, hidden_at, column)
        };
        add_bias::<V, C::Accumulators<V>, C::Hidden>(of_hidden, hidden_at, bias);
        let features = (job.packed_h.read(0..hidden * rows), hidden);
        let at = (hidden_at, V::LANES);
        add_weights::<V, C::Accumulators<V>, C::Hidden>(of_hidden, at, features, column);
    }
}

/// Copies the gradients of some registers from rows of all units, one after the other: the sweeps read
/// them many times. The sums over all rows.
#[inline(always)]
fn gather<V: Vector, R: Registers<V>, S: Span>(
    gradients: &[V::Element],
    rows: usize,
    start: usize,
    column: &mut [V::Element],
) -> R {
    let (set, width) = (S::COUNT * V::LANES, gradients.len() / rows);
    let mut sums = R::build(|_| V::splat(num_traits::Zero::zero()));
    for (row, to) in column.chunks_exact_mut(set).take(rows).enumerate() {
        let from = &gradients[row * width + start..][..set];
        // SAFETY: both are the span's registers.
        unsafe { sums.add_span::<S>(from.as_ptr(), V::LANES) };
        to.copy_from_slice(from);
    }
    sums
}

/// Adds to the gradient of some registers of the bias.
///
/// # Safety
/// Nobody else uses it.
#[inline(always)]
unsafe fn add_bias<V: Vector, R: Registers<V>, S: Span>(
    gradients: &SharedGradients<'_, V::Element>,
    start: usize,
    mut sums: R,
) {
    // SAFETY: as the caller vouches; a register set is whole.
    unsafe {
        let to = gradients.bias.write(start..start + S::COUNT * V::LANES);
        sums.add_span::<S>(to.as_ptr(), V::LANES);
        sums.store_span::<S>(to.as_mut_ptr(), V::LANES);
    }
}

/// Adds the products of packed features and gathered gradients to the gradient of some columns of the
/// weights, from `start` on, whose registers of one feature are `spread` numbers apart.
///
/// # Safety
/// Nobody else uses it.
#[inline(always)]
unsafe fn add_weights<V: Vector, R: Registers<V>, S: Span>(
    gradients: &SharedGradients<'_, V::Element>,
    (start, spread): (usize, usize),
    (features, count): (&[V::Element], usize),
    column: &[V::Element],
) {
    let set = S::COUNT * V::LANES;
    let rows = features.len() / count.max(1);
    // SAFETY: as the caller vouches; the columns of neighbouring blocks follow each other.
    unsafe {
        let sums = gradients
            .weights
            .write(start * count..(start + set) * count);
        let (sums, column) = ((sums.as_mut_ptr(), spread), &column[..rows * set]);
        feature_products::<V, R, S>((features, count), column, sums);
    }
}
