//! The backward pass of one direction: complete backpropagation through time.

mod operand_gradients;
mod parameter_gradients;
mod second_product;
mod step;

use super::compiled::EngineFloat;
use super::gradient_products::{Product, pack_features};
use super::masks::Regularization;
use super::packing::{PackedGradients, PackedWeights, ProductGradients, TransposedWeights};
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
use crate::simd::{Kernel, SimdFloat, Span, Vector, dispatch};

use operand_gradients::{InputReceiver, hidden_gradient};
use parameter_gradients::{sum_constants, weight_products, wide_products};
use second_product::through_second;
use step::step_rows;

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
    let gated = if geometry.cell.second().gates.is_empty() {
        0
    } else {
        hidden
    };
    let constants = checked_size(&[rows, geometry.constants_width()])?;
    let per_call = [
        constants,
        checked_size(&[block_rows, geometry.input_width()])?,
        checked_size(&[block_rows, of_hidden])?,
        checked_size(&[block_rows, inputs])?,
        checked_size(&[block_rows, hidden])?,
        checked_size(&[block_rows, geometry.second_width()])?,
        checked_size(&[block_rows, gated])?,
        checked_size(&[rows, gated.next_multiple_of(geometry.lanes)])?,
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
    /// Of the input weights and of the recurrent ones, of the first and of the second product.
    weight_gradients: [SharedGradients<'a, F>; 3],
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
    /// Where there is a second recurrent product: the gradients of its accumulators in one block, (steps,
    /// rows, second width), what it was made of, tile by tile, and the gradient of that at one step,
    /// (rows, padded hidden).
    second_gradients: Shared<'a, F>,
    packed_gated: Shared<'a, F>,
    gated_gradient: Shared<'a, F>,
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
            second_gradients,
            packed_gated,
            gated_gradient,
        ]: [Shared<'a, F>; 8],
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
            weight_gradients: [&mut sums.input, &mut sums.hidden, &mut sums.second]
                .map(SharedGradients::new),
            constants,
            constant_gradients: Shared::new(&mut sums.constants),
            input_gradients,
            hidden_gradients,
            packed_x,
            packed_h,
            second_gradients,
            packed_gated,
            gated_gradient,
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
                if C::Second::COUNT > 0 {
                    // SAFETY: all gradients of the second product's accumulators are made; the part
                    // writes its own places.
                    unsafe {
                        let at = (step, times.start);
                        through_second::<V, C>(cell, job, part, &own, at, tile);
                    }
                    part.exchange()?;
                }
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
        let gated = match job.tape.gated() {
            [] => &[],
            gated => &gated[times.start * rows * padded..][..block_rows * padded],
        };
        let gated_count = if gated.is_empty() { 0 } else { hidden };
        for (from, stride, count, to) in [
            (x, inputs, inputs, &job.packed_x),
            (h, padded, hidden, &job.packed_h),
            (gated, padded, gated_count, &job.packed_gated),
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

/// Whether both products of a cell go to the same accumulators.
const fn sums_products<C: Cell>() -> bool {
    C::Input::START == C::Hidden::START && C::Input::END == C::Hidden::END
}
