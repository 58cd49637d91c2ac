//! One step of several rows: their sums stay in a tile of registers.

use super::super::CACHED_BYTES;
use super::super::parts::Part;
use super::super::tile::{
    Ahead, CHAIN, Tiles, chain_length, for_row_chunks, store_sums, sweep_into,
};
use super::Stage;
use super::registers::apply_cell;
use super::second_product::gate_operand;
use crate::cells::Cell;
use crate::simd::{All, Registers, Vector};

/// One step of several rows: the input product in the same sweep, unless its sums are made; the
/// recurrent product; then the cell, or what comes before its second product.
#[inline(always)]
pub(super) fn step_rows<V: Vector, C: Cell, const FIRST: bool>(
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
            step_block::<V, C, C::Tile<V>, FIRST>(cell, stage, step, part, sums, block, next);
        } else {
            step_block::<V, C, C::Accumulators<V>, FIRST>(
                cell, stage, step, part, sums, block, next,
            );
        }
    }
}

/// See [`step_rows`]: the blocks of one tile, from the first one on.
#[inline(always)]
fn step_block<V: Vector, C: Cell, R: Registers<V>, const FIRST: bool>(
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
                        let (index, row, block) = (m * blocks + b, row + m, block + b);
                        if FIRST {
                            gate_operand::<V, C>(cell, stage, part, index, (row, block));
                        } else {
                            apply_cell::<V, C>(cell, stage, index, row, block);
                        }
                    }
                }
            }
        }
    });
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
