//! How a cell runs over a sequence: written once for every cell.
//!
//! A call covers one direction of one layer over all of its steps, on memory that the caller
//! owns; `parts.rs` says how several threads share it. Forward, a step adds the recurrent product to the accumulators of its block of time and
//! hands each register of units to the cell; when training, what the backward pass needs goes to
//! a [`Tape`], which nobody changes afterwards. Backward, the gradients of a block's accumulators
//! go to scratch memory of one block's size, from which the weights' and the input's gradients
//! are made by large products.

mod affine;
mod backward;
mod compiled;
mod forward;
mod gradient_products;
mod masks;
mod packing;
mod parts;
mod products;
mod sequence;
mod shared;
mod tape;
pub mod threads;
mod tile;
mod workspace;

use std::ops::Range;

use crate::lengths::Direction;
use crate::simd::SimdFloat;

pub use affine::PackedAffine;
pub use backward::{Backward, backward};
pub use compiled::EngineFloat;
pub use forward::{Forward, forward};
pub use masks::{MAX_STATES, Mask, Regularization, Zoneout};
pub use packing::{Geometry, MasterWeights, PackedGradients, PackedWeights, matrix, matrix_mut};
pub use products::{ProductPath, add_outer_product, add_product, add_product_transposed};
pub use sequence::{Layout, Sequence, SequenceMut};
pub use tape::Tape;
pub use workspace::{Buffer, Pool, zeroed_vec};

/// How many rows (steps times batch rows) a block of time aims at: enough for large products to
/// run at full speed, few enough for the accumulators to stay in the cache.
const BLOCK_ROWS: usize = 384;

/// How many bytes of weights a processor has in a cache of its own: one or two megabytes in those of
/// these years.
const CACHED_BYTES: usize = 2 << 20;

/// Makes sure that calls which run together have one geometry, and that it is one of the instruction
/// set that computes: the kernels read memory by it.
///
/// # Panics
/// When they haven't.
fn check_geometries<'a, F: SimdFloat>(
    first: &Geometry,
    mut others: impl Iterator<Item = &'a Geometry>,
) {
    assert_eq!(first.lanes, first.set.lanes::<F>());
    assert!(others.all(|geometry| geometry == first));
}

/// The next multiple of a cache line.
fn whole_lines<F>(len: usize) -> usize {
    len.next_multiple_of(64 / size_of::<F>())
}

/// How many steps a block of time has; a function of the shape alone, so that results are too.
fn steps_per_block(rows: usize) -> usize {
    (BLOCK_ROWS / rows.max(1)).max(1)
}

/// The step at one position of a walk over `count` steps.
fn step_at(direction: Direction, count: usize, position: usize) -> usize {
    match direction {
        Direction::Forward => position,
        Direction::Backward => count - 1 - position,
    }
}

/// The steps at a range of positions of a walk over `count` steps, in the order of time.
fn steps_at(direction: Direction, count: usize, positions: &Range<usize>) -> Range<usize> {
    match direction {
        Direction::Forward => positions.clone(),
        Direction::Backward => count - positions.end..count - positions.start,
    }
}
