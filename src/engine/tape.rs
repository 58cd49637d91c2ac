//! What the backward pass needs of the forward pass.

use super::Geometry;
use super::parts::Own;
use super::shared::Shared;
use super::workspace::{Buffer, Pool};
use crate::error::{Result, checked_size};
use crate::float::Float;
use crate::lengths::Steps;

/// What the backward pass needs; made once, never changed.
///
/// All buffers are time-major. The states are those that enter each step, after resets.
#[derive(Debug)]
pub struct Tape<F: Float> {
    /// (states, steps, rows, padded hidden).
    states: Buffer<F>,
    /// What the recurrent weights were multiplied with where it isn't the hidden state, (steps, rows,
    /// padded hidden).
    dropped: Option<Buffer<F>>,
    /// What the second recurrent product was made of, where there is one, (steps, rows, padded hidden).
    gated: Option<Buffer<F>>,
    /// (steps, rows, blocks, saved values, lanes).
    saved: Buffer<F>,
    /// steps * rows * padded hidden.
    state_len: usize,
}

impl<F: Float> Tape<F> {
    /// An empty tape; `drops` tells whether there is recurrent dropout.
    ///
    /// # Errors
    /// [`crate::error::Error::OutOfMemory`] when the allocator refuses.
    pub fn new(geometry: &Geometry, steps: &Steps, drops: bool, pool: &Pool<F>) -> Result<Self> {
        let (count, rows) = (steps.steps(), steps.rows());
        let state_len = checked_size(&[count, rows, geometry.padded_hidden()])?;
        let states = checked_size(&[geometry.cell.states(), state_len])?;
        let saved = checked_size(&[count, rows, geometry.saved_width()])?;
        let has_second = !geometry.cell.second().gates.is_empty();
        // What isn't written must be zero; what is need not be.
        let take = |len| {
            if steps.all_valid() {
                pool.take(len)
            } else {
                pool.take_zeroed(len)
            }
        };
        Ok(Self {
            states: take(states)?,
            dropped: drops.then(|| take(state_len)).transpose()?,
            gated: has_second.then(|| take(state_len)).transpose()?,
            saved: pool.take(saved)?,
            state_len,
        })
    }

    /// (states, steps, rows, padded hidden), and how many numbers there are of each state.
    pub(super) fn states(&self) -> (&[F], usize) {
        (&self.states, self.state_len)
    }

    /// What the recurrent weights were multiplied with, (steps, rows, padded hidden).
    pub(super) fn operands(&self) -> &[F] {
        match &self.dropped {
            Some(dropped) => dropped,
            None => &self.states[..self.state_len],
        }
    }

    /// What the second recurrent product was made of, (steps, rows, padded hidden); empty without one.
    pub(super) fn gated(&self) -> &[F] {
        self.gated.as_deref().unwrap_or(&[])
    }

    /// (steps, rows, blocks, saved values, lanes).
    pub(super) fn saved(&self) -> &[F] {
        &self.saved
    }

    /// For the parts of a call.
    pub(super) fn share(&mut self) -> SharedTape<'_, F> {
        SharedTape {
            states: Shared::new(&mut self.states),
            dropped: self.dropped.as_mut().map(|dropped| Shared::new(dropped)),
            gated: self.gated.as_mut().map(|gated| Shared::new(gated)),
            saved: Shared::new(&mut self.saved),
            state_len: self.state_len,
        }
    }
}

/// A tape in which several parts of a call write.
pub(super) struct SharedTape<'a, F> {
    states: Shared<'a, F>,
    dropped: Option<Shared<'a, F>>,
    /// What the second recurrent product is made of.
    pub gated: Option<Shared<'a, F>>,
    /// (steps, rows, blocks, saved values, lanes).
    pub saved: Shared<'a, F>,
    state_len: usize,
}

impl<F: Float> SharedTape<'_, F> {
    /// Notes the states that enter a step, the hidden ones and the others, and what the recurrent
    /// weights see where that is something else. Rows for which the step
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
        operands: &Shared<'_, F>,
        valid: Option<&[bool]>,
    ) {
        let to = step * own.per_state;
        // SAFETY: as the caller vouches.
        unsafe {
            own.copy(&self.states, to, hidden, 0, valid);
            if let Some(dropped) = &self.dropped {
                own.copy(dropped, to, operands, 0, valid);
            }
            for (state, from) in (0..others.len()).step_by(own.per_state).enumerate() {
                let to = (state + 1) * self.state_len + to;
                own.copy(&self.states, to, others, from, valid);
            }
        }
    }
}
