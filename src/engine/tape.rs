//! What the backward pass needs of the forward pass.

use super::Geometry;
use super::parts::Own;
use super::shared::Shared;
use crate::error::{Result, checked_size};
use crate::float::Float;
use crate::parameters::AlignedBuffer;

/// What the backward pass needs; made once, never changed.
///
/// Both buffers are time-major. The states are those that enter each step, after resets.
#[derive(Debug)]
pub struct Tape<F> {
    /// (states, steps, rows, padded hidden).
    states: AlignedBuffer<F>,
    /// (steps, rows, blocks, saved values, lanes).
    saved: AlignedBuffer<F>,
    /// steps * rows * padded hidden.
    state_len: usize,
}

impl<F: Float> Tape<F> {
    /// An empty tape for so many steps and rows.
    ///
    /// # Errors
    /// [`crate::error::Error::OutOfMemory`] when the allocator refuses.
    pub fn new(geometry: &Geometry, steps: usize, rows: usize) -> Result<Self> {
        let state_len = checked_size(&[steps, rows, geometry.padded_hidden()])?;
        let states = checked_size(&[geometry.cell.states(), state_len])?;
        let saved = checked_size(&[steps, rows, geometry.saved_width()])?;
        Ok(Self {
            states: AlignedBuffer::zeroed(states)?,
            saved: AlignedBuffer::zeroed(saved)?,
            state_len,
        })
    }

    /// One state over all steps, (steps, rows, padded hidden).
    pub(super) fn state(&self, state: usize) -> &[F] {
        &self.states.as_slice()[state * self.state_len..][..self.state_len]
    }

    /// (steps, rows, blocks, saved values, lanes).
    pub(super) fn saved(&self) -> &[F] {
        self.saved.as_slice()
    }

    /// For the parts of a call.
    pub(super) fn share(&mut self) -> SharedTape<'_, F> {
        SharedTape {
            states: Shared::new(self.states.as_mut_slice()),
            saved: Shared::new(self.saved.as_mut_slice()),
            state_len: self.state_len,
        }
    }
}

/// A tape in which several parts of a call write.
pub(super) struct SharedTape<'a, F> {
    states: Shared<'a, F>,
    /// (steps, rows, blocks, saved values, lanes).
    pub saved: Shared<'a, F>,
    state_len: usize,
}

impl<F: Float> SharedTape<'_, F> {
    /// Notes the states that enter a step, the hidden ones and the others. Rows for which the step
    /// is invalid stay zero: what they carry may be anything, and the zero gradients there times NaN
    /// would spoil the weights'.
    ///
    /// # Safety
    /// Nobody else uses the part's own places of the tape, or writes those of the states.
    #[inline(always)]
    pub unsafe fn record(
        &self,
        step: usize,
        own: &Own,
        hidden: &Shared<'_, F>,
        others: &Shared<'_, F>,
        valid: Option<&[bool]>,
    ) {
        let to = step * own.per_state;
        // SAFETY: as the caller vouches.
        unsafe {
            own.copy(&self.states, to, hidden, 0, valid);
            for (state, from) in (0..others.len()).step_by(own.per_state).enumerate() {
                let to = (state + 1) * self.state_len + to;
                own.copy(&self.states, to, others, from, valid);
            }
        }
    }
}
