//! One step of a single row: several blocks of units side by side, and weights from the end where the
//! step before stopped.

use std::ops::Range;

use super::super::gradient_products::add_to;
use super::super::tile::sweep_row_onto;
use super::registers::apply_cell;
use super::{CHUNKS, EDGE_BYTES, Stage};
use crate::cells::Cell;
use crate::simd::{Registers, Vector};

/// One step of a single row, whose input products are made: G blocks of units side by side.
#[inline(always)]
pub(super) fn step_row<V: Vector, C: Cell, const G: usize, const ZIGZAG: bool>(
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
