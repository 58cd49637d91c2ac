//! The cell on one register of units, and what regularises it.

use super::Stage;
use crate::cells::Cell;
use crate::simd::{Registers, Vector};

/// The cell on one register of units of one row, whose sums are the scratch's entry `index`. The
/// sums come through memory: taken from the tile directly, they would not stay in registers while
/// it sweeps.
#[inline(always)]
pub(super) fn apply_cell<V: Vector, C: Cell>(
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
pub(in super::super) unsafe fn constants_of<V: Vector, C: Cell>(
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
