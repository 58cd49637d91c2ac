//! The backward pass of one direction: complete backpropagation through time.

use super::forward::{Tape, clear_rows};
use super::packing::{PANEL_REGISTERS, PackedGradients, PackedWeights};
use super::sequence::{Sequence, SequenceMut};
use super::tile::{STREAMS, for_row_chunks, sweep, sweep_row};
use super::workspace::Pool;
use super::{Geometry, step_at, steps_at, steps_per_block};
use crate::cells::{Cell, with_cell};
use crate::error::{Result, checked_size};
use crate::float::Float;
use crate::interrupt::Interrupt;
use crate::lengths::{Direction, Steps};
use crate::simd::{Kernel, Registers, SimdFloat, Vector, dispatch};

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
pub fn backward<F: SimdFloat>(call: Backward<'_, F>) -> Result<()> {
    let set = call.weights.geometry().set;
    with_cell!(call.weights.geometry().cell, cell => dispatch(set, Run { cell, call }))
}

struct Run<'a, F, C> {
    cell: C,
    call: Backward<'a, F>,
}

impl<F: SimdFloat, C: Cell> Kernel<F> for Run<'_, F, C> {
    type Output = Result<()>;

    #[inline(always)]
    fn run<V: Vector<Element = F>>(self) -> Result<()> {
        run::<V, C>(self.cell, self.call)
    }
}

#[inline(always)]
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
    let transposed = weights.transposed()?;
    let (count, rows) = (steps.steps(), steps.rows());
    let (hidden, padded, width) = (geometry.hidden, geometry.padded_hidden(), geometry.width());
    let per_state = rows * padded;
    if per_state == 0 {
        return Ok(());
    }
    let per_block = steps_per_block(rows).min(count);
    // The gradients of one block's accumulators.
    let mut gradients = pool.take(checked_size(&[per_block, rows, width])?)?;
    // A tile of a product with the transposed weights.
    let mut tile = pool.take(V::TILE_ROWS * geometry.panel())?;
    // What the weights were multiplied with in a block, tile by tile.
    let len = checked_size(&[per_block, rows, geometry.inputs + hidden])?;
    let mut features = pool.take(len)?;
    // The gradients of one register set of a whole block.
    let mut column = pool.take(per_block * rows * geometry.register_set())?;

    for block in (0..count.div_ceil(per_block.max(1))).rev() {
        let start = block * per_block;
        let end = (start + per_block).min(count);
        let times = steps_at(direction, count, &(start..end));
        let used = &mut gradients[..times.len() * rows * width];
        for position in (start..end).rev() {
            interrupt.check()?;
            let step = step_at(direction, count, position);
            let valid = steps.valid(step);
            let at_step = &mut used[(step - times.start) * rows * width..][..rows * width];
            for row in 0..rows {
                let to = &mut at_step[row * width..][..width];
                if valid.is_some_and(|valid| !valid[row]) {
                    to.fill(num_traits::Zero::zero());
                    continue;
                }
                if let Some(dy) = &output_gradient {
                    add(&mut state_gradient[row * padded..], dy.row(step, row));
                }
                let place = RowPlace::new(geometry, (step, row), rows);
                step_row::<V, C>(cell, tape, &place, state_gradient, to);
            }
            if valid.is_none_or(|valid| valid.contains(&true)) {
                // What reaches the previous hidden state through the accumulators. The rows of
                // invalid steps have zero gradients, so they receive nothing here.
                let dh = &mut state_gradient[..per_state];
                product::<V>(
                    at_step,
                    width,
                    transposed.hidden(),
                    hidden,
                    &mut tile,
                    |row, from, values| {
                        add(&mut dh[row * padded + from..], values);
                    },
                );
            }
            if let Some(resets) = steps.resets_entering(step, direction) {
                clear_rows(state_gradient, resets, padded);
            }
        }

        // What the whole block adds to the gradients of weights and input.
        let block_rows = times.len() * rows;
        let inputs = geometry.inputs;
        let (packed_x, packed_h) = features.split_at_mut(block_rows * inputs);
        let packed_h = &mut packed_h[..block_rows * hidden];
        let x = &input[times.start * rows * inputs..][..block_rows * inputs];
        pack_features(x, inputs, V::TILE_ROWS, packed_x);
        let h = &tape.state(0)[times.start * per_state..][..block_rows * padded];
        pack_features(h, padded, V::TILE_ROWS, packed_h);
        let column = &mut column[..block_rows * geometry.register_set()];
        weight_products::<V, C>(used, packed_x, packed_h, column, weight_gradients);
        if let Some(dx) = &mut input_gradient {
            product::<V>(
                used,
                width,
                transposed.input(),
                inputs,
                &mut tile,
                |row, from, values| {
                    add(
                        &mut dx.row_mut(times.start + row / rows, row % rows)[from..],
                        values,
                    );
                },
            );
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

impl RowPlace {
    #[inline(always)]
    fn new(geometry: &Geometry, (step, row): (usize, usize), rows: usize) -> Self {
        let padded = geometry.padded_hidden();
        Self {
            saved_start: (step * rows + row) * geometry.saved_width(),
            tape_start: (step * rows + row) * padded,
            state_start: row * padded,
            per_state: rows * padded,
        }
    }
}

/// One step of one row: all registers of units. Replaces the row's state gradient by that of the
/// previous states along the direct paths, and writes the accumulators' gradients.
#[inline(always)]
fn step_row<V: Vector, C: Cell>(
    cell: C,
    tape: &Tape<V::Element>,
    place: &RowPlace,
    state_gradient: &mut [V::Element],
    accumulator_gradients: &mut [V::Element],
) {
    let set = <C::Accumulators<V> as Registers<V>>::COUNT * V::LANES;
    let saved_len = <C::Saved<V> as Registers<V>>::COUNT * V::LANES;
    let count = <C::States<V> as Registers<V>>::COUNT;
    for (block, to) in accumulator_gradients.chunks_exact_mut(set).enumerate() {
        let saved = &tape.saved()[place.saved_start + block * saved_len..][..saved_len];
        let offset = block * V::LANES;
        let at = place.state_start + offset;
        assert!(at + (count - 1) * place.per_state + V::LANES <= state_gradient.len());
        let states = state_gradient.as_mut_ptr();
        // SAFETY: saved values and `to` are whole registers; the slices of the tape are checked;
        // the place in the state gradient was.
        unsafe {
            let previous = C::States::<V>::build(|state| {
                let from = &tape.state(state)[place.tape_start + offset..][..V::LANES];
                V::load(from.as_ptr())
            });
            let gradient =
                C::States::<V>::build(|state| V::load(states.add(at + state * place.per_state)));
            let saved = C::Saved::<V>::load(saved.as_ptr());
            let (sums, direct) = cell.backward::<V>(saved, previous, gradient);
            sums.store(to.as_mut_ptr());
            for state in 0..count {
                direct
                    .get(state)
                    .store(states.add(at + state * place.per_state));
            }
        }
    }
}

/// The product of accumulator gradients, rows of `width`, and transposed weights, which has
/// `columns` columns: calls `result` with a row, a column, and the row's numbers from there on.
#[inline(always)]
fn product<V: Vector>(
    gradients: &[V::Element],
    width: usize,
    weights: &[V::Element],
    columns: usize,
    tile: &mut [V::Element],
    mut result: impl FnMut(usize, usize, &[V::Element]),
) {
    let panel = PANEL_REGISTERS * V::LANES;
    assert!(tile.len() >= V::TILE_ROWS * panel);
    let zero = V::splat(num_traits::Zero::zero());
    for (index, weights) in weights.chunks_exact(width * panel).enumerate() {
        let from = index * panel;
        let count = panel.min(columns - from);
        if gradients.len() == width {
            product_of_row::<V>(gradients, weights, tile);
            result(0, from, &tile[..count]);
            continue;
        }
        for_row_chunks!(V, gradients.len() / width, first, M => {
            let rows = &gradients[first * width..][..M * width];
            // SAFETY: M rows of `width` numbers, `width` steps of panels, and a tile of M panels.
            unsafe {
                let seed = [[zero; PANEL_REGISTERS]; M];
                let strides = (width.cast_signed(), 1);
                let sums =
                    sweep::<V, _, M>(seed, width, rows.as_ptr(), strides, weights.as_ptr());
                for (m, row) in sums.iter().enumerate() {
                    row.store(tile.as_mut_ptr().add(m * panel));
                }
            }
            for m in 0..M {
                result(first + m, from, &tile[m * panel..][..count]);
            }
        });
    }
}

/// The product of a single row and one panel of transposed weights. The row is cut into parts whose
/// sums run side by side: those of one row alone would wait for each other.
#[inline(always)]
fn product_of_row<V: Vector>(row: &[V::Element], weights: &[V::Element], tile: &mut [V::Element]) {
    let panel = PANEL_REGISTERS * V::LANES;
    assert!(weights.len() == row.len() * panel && tile.len() >= panel);
    let part = row.len() / STREAMS;
    let (whole, zero) = (part * STREAMS, V::splat(num_traits::Zero::zero()));
    // SAFETY: the parts lie inside the row and the panel, the rest behind them too; the tile holds a
    // panel.
    unsafe {
        let seed = [[zero; PANEL_REGISTERS]; STREAMS];
        let from = (weights.as_ptr(), part * panel);
        let parts = sweep_row::<V, _, STREAMS>(seed, part, (row.as_ptr(), part), from);
        let rest = row.len() - whole;
        let (row, weights) = (row.as_ptr().add(whole), weights.as_ptr().add(whole * panel));
        let [mut sum] = sweep_row::<V, _, 1>([parts[0]], rest, (row, 0), (weights, 0));
        for part in &parts[1..] {
            sum = Registers::build(|index| sum[index] + part[index]);
        }
        sum.store(tile.as_mut_ptr());
    }
}

/// Packs features, rows of `stride` numbers of which the first ones count, as the tiles below read
/// them: for each chunk of at most `tile_rows` features all rows, one after the other. Strided reads
/// would fall on few sets of the cache.
#[inline(always)]
fn pack_features<F: Float>(from: &[F], stride: usize, tile_rows: usize, to: &mut [F]) {
    let rows = from.len() / stride;
    if rows == 0 {
        return;
    }
    let count = to.len() / rows;
    for first in (0..count).step_by(tile_rows) {
        let width = tile_rows.min(count - first);
        let chunk = &mut to[first * rows..][..width * rows];
        for (to, from) in chunk.chunks_exact_mut(width).zip(from.chunks_exact(stride)) {
            to.copy_from_slice(&from[first..first + width]);
        }
    }
}

/// Adds a block's products of features and accumulator gradients to the weights' gradients, and
/// the sums of the gradients to the biases'.
#[inline(always)]
fn weight_products<V: Vector, C: Cell>(
    gradients: &[V::Element],
    packed_x: &[V::Element],
    packed_h: &[V::Element],
    column: &mut [V::Element],
    weight_gradients: &mut PackedGradients<V::Element>,
) {
    let set = <C::Accumulators<V> as Registers<V>>::COUNT * V::LANES;
    let rows = column.len() / set;
    if rows == 0 {
        return;
    }
    let width = gradients.len() / rows;
    for block in 0..width / set {
        // The block's gradients one after the other: the sweeps below read them many times.
        let mut bias = C::Accumulators::<V>::build(|_| V::splat(num_traits::Zero::zero()));
        for (row, to) in column.chunks_exact_mut(set).enumerate() {
            let from = &gradients[row * width + block * set..][..set];
            // SAFETY: both are register sets.
            unsafe {
                let values = C::Accumulators::<V>::load(from.as_ptr());
                bias = C::Accumulators::<V>::build(|index| bias.get(index) + values.get(index));
                values.store(to.as_mut_ptr());
            }
        }
        let total = &mut weight_gradients.bias.as_mut_slice()[block * set..][..set];
        // SAFETY: a register set.
        unsafe { add_to::<V, _>(total.as_mut_ptr(), bias) };

        for (features, sums) in [
            (packed_x, weight_gradients.input.as_mut_slice()),
            (packed_h, weight_gradients.hidden.as_mut_slice()),
        ] {
            let len = features.len() / rows * set;
            feature_products::<V, C>(features, column, &mut sums[block * len..][..len]);
        }
    }
}

/// Adds, for each packed feature, the sum over all rows of feature times gradients.
#[inline(always)]
fn feature_products<V: Vector, C: Cell>(
    features: &[V::Element],
    column: &[V::Element],
    sums: &mut [V::Element],
) {
    let set = <C::Accumulators<V> as Registers<V>>::COUNT * V::LANES;
    let (rows, count) = (column.len() / set, sums.len() / set);
    assert_eq!(features.len(), rows * count);
    let zero = V::splat(num_traits::Zero::zero());
    for_row_chunks!(V, count, first, M => {
        let from = &features[first * rows..][..M * rows];
        let to = &mut sums[first * set..][..M * set];
        // SAFETY: M features in each of `rows` rows, and as many register sets of gradients; `to`
        // holds M register sets.
        unsafe {
            let seed = [C::Accumulators::<V>::build(|_| zero); M];
            let strides = (1, M.cast_signed());
            let tile = sweep::<V, _, M>(seed, rows, from.as_ptr(), strides, column.as_ptr());
            for (m, row) in tile.iter().enumerate() {
                add_to::<V, _>(to.as_mut_ptr().add(m * set), *row);
            }
        }
    });
}

/// Adds numbers to the first ones of a slice.
#[inline(always)]
fn add<F: Float>(to: &mut [F], values: &[F]) {
    for (sum, &value) in to.iter_mut().zip(values) {
        *sum += value;
    }
}

/// Adds registers to memory.
///
/// # Safety
/// The registers' numbers at `to` are valid for reads and writes.
#[inline(always)]
unsafe fn add_to<V: Vector, R: Registers<V>>(to: *mut V::Element, values: R) {
    // SAFETY: the caller vouches for the memory.
    unsafe {
        let old = R::load(to);
        R::build(|index| old.get(index) + values.get(index)).store(to);
    }
}
