//! One step of cells with two recurrent products, of which the second needs all units of the first.

use super::super::parts::Part;
use super::super::tile::{for_row_chunks, sweep_onto};
use super::Stage;
use super::registers::apply_cell;
use super::rows::step_rows;
use crate::cells::Cell;
use crate::error::Result;
use crate::simd::{Registers, Vector};

/// One step of some rows: both products of the first accumulators, what the second recurrent product
/// multiplies, that product, then the cell.
///
/// # Errors
/// Interrupted because another part has failed.
#[inline(always)]
pub(super) fn step_rows_twice<V: Vector, C: Cell>(
    cell: C,
    stage: &mut Stage<'_, V::Element>,
    step: usize,
    part: &Part<'_, V::Element>,
    input_sums: Option<&[V::Element]>,
) -> Result<()> {
    step_rows::<V, C, true>(cell, stage, step, part, input_sums);
    part.exchange()?;
    let geometry = stage.job.weights.geometry();
    let (hidden, set) = (geometry.hidden, geometry.register_set());
    let width = part.blocks.len() * set;
    let len = hidden * geometry.second_set();
    assert!(stage.between.len() >= part.rows.len() * width);
    for (number, block) in part.blocks.clone().enumerate() {
        let weights = &stage.job.weights.second()[block * len..][..len];
        for_row_chunks!(V, part.rows.len(), first, M => {
            let row = part.rows.start + first;
            let valid = stage.valid.map(|valid| &valid[row..][..M]);
            assert!(stage.scratch.len() >= M * set);
            // SAFETY: all parts have made their units of these rows' operands, which nobody writes
            // during the product; the panel holds the block's weights, the sums those of each row and
            // block; the scratch holds the tile.
            unsafe {
                let operands = stage.job.gated.read(row * stage.padded..(row + M) * stage.padded);
                let operands = (operands.as_ptr(), (stage.padded.cast_signed(), 1));
                let weights = (weights.as_ptr(), V::LANES);
                let before = stage.between.as_ptr().add(first * width + number * set);
                let to = (stage.scratch.as_mut_ptr(), set);
                sweep_onto::<V, C::Accumulators<V>, C::Second, M>(
                    hidden, operands, weights, (before, width), to,
                );
            }
            for m in 0..M {
                if valid.is_none_or(|valid| valid[m]) {
                    apply_cell::<V, C>(cell, stage, m, row + m, block);
                }
            }
        });
    }
    Ok(())
}

/// What the second recurrent product multiplies, of one register of units of one row, whose sums are
/// the scratch's entry `index`; the sums wait for that product.
#[inline(always)]
pub(super) fn gate_operand<V: Vector, C: Cell>(
    cell: C,
    stage: &mut Stage<'_, V::Element>,
    part: &Part<'_, V::Element>,
    index: usize,
    (row, block): (usize, usize),
) {
    let job = stage.job;
    let geometry = job.weights.geometry();
    let set = geometry.register_set();
    let sums = &stage.scratch[index * set..][..set];
    let number = (row - part.rows.start) * part.blocks.len() + block - part.blocks.start;
    let between = &mut stage.between[number * set..][..set];
    let at = row * stage.padded + block * V::LANES;
    // SAFETY: register sets of the scratch; the part's own places of the operands, and of the hidden
    // state that nobody writes during the step.
    unsafe {
        let sums = C::Accumulators::<V>::load(sums.as_ptr());
        sums.store(between.as_mut_ptr());
        let h = V::load(stage.operands.read(at..at + V::LANES).as_ptr());
        let operand = h * cell.factor(sums);
        operand.store(job.gated.write(at..at + V::LANES).as_mut_ptr());
        if let Some(gated) = job.tape.as_ref().and_then(|tape| tape.gated.as_ref()) {
            let start = stage.step * stage.per_state + at;
            operand.store(gated.pointer(start, V::LANES));
        }
    }
}
