//! The gradients of weights, biases and constants.

use std::ops::Range;

use super::super::gradient_products::{add, feature_products};
use super::super::packing::Geometry;
use super::{Job, SharedGradients, sums_products};
use crate::cells::Cell;
use crate::simd::{All, Registers, Span, Vector};

/// Adds the gradients of the constants of some blocks of units, those of one row after the other.
///
/// # Safety
/// Nobody changes the rows' gradients, or uses their sums.
#[inline(always)]
pub(super) unsafe fn sum_constants<V: Vector, C: Cell>(
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

/// As [`weight_products`], of as many registers of units as a tile covers, from `block` on.
///
/// # Safety
/// As there.
#[inline(always)]
pub(super) unsafe fn wide_products<V: Vector, C: Cell>(
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
            let [of_input, of_hidden, _] = &job.weight_gradients;
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
pub(super) unsafe fn weight_products<V: Vector, C: Cell>(
    job: &Job<'_, V::Element>,
    rows: usize,
    block: usize,
    column: &mut [V::Element],
) {
    let geometry = job.weights.geometry();
    let Geometry { inputs, hidden, .. } = *geometry;
    let [of_input, of_hidden, of_second] = &job.weight_gradients;
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

        if C::Second::COUNT > 0 {
            let start = block * geometry.second_set();
            let gradients = job.second_gradients.read(0..rows * geometry.second_width());
            let bias = gather::<V, C::Accumulators<V>, C::Second>(gradients, rows, start, column);
            add_bias::<V, C::Accumulators<V>, C::Second>(of_second, start, bias);
            let features = (job.packed_gated.read(0..hidden * rows), hidden);
            let at = (start, V::LANES);
            add_weights::<V, C::Accumulators<V>, C::Second>(of_second, at, features, column);
        }
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
