//! Zoneout (Krueger et al. 2016): states that keep some of their old values.

use ndarray_rand::rand::Rng;

use crate::engine::zeroed_vec;
use crate::error::Result;
use crate::float::Float;
use crate::memory::filled_vec;
use crate::random::{Purpose, Ticket};

/// How much of an old state stays.
#[derive(Debug, Clone, PartialEq)]
pub enum Kept {
    /// The elements that are true, whole.
    Mask(Vec<bool>),
    /// The same share of all.
    Share(f64),
}

impl Kept {
    /// Draws which of so many elements stay, each with the given probability. `state` tells apart the
    /// states that share a ticket.
    ///
    /// # Errors
    /// Out of memory.
    pub fn draw(len: usize, probability: f64, ticket: Ticket, state: u64) -> Result<Self> {
        let mut mask = filled_vec(false, len)?;
        if probability > 0.0 {
            let mut generator = ticket.generator(Purpose::Dropout, state);
            for element in &mut mask {
                *element = generator.random::<f64>() < probability;
            }
        }
        Ok(Self::Mask(mask))
    }

    /// The state that results from an old and a new one. What isn't kept, or isn't taken, leaves no
    /// trace, even if it is NaN or infinite.
    ///
    /// # Errors
    /// Out of memory.
    pub fn apply<F: Float>(&self, old: &[F], new: &[F]) -> Result<Vec<F>> {
        let mut state = zeroed_vec(new.len())?;
        let pairs = state.iter_mut().zip(old.iter().zip(new));
        match self {
            Self::Mask(mask) => {
                for ((to, (&old, &new)), &kept) in pairs.zip(mask) {
                    *to = if kept { old } else { new };
                }
            }
            Self::Share(share) => {
                let (of_old, of_new) = (F::of(*share), F::of(1.0 - share));
                for (to, (&old, &new)) in pairs {
                    *to = if *share <= 0.0 {
                        new
                    } else if *share >= 1.0 {
                        old
                    } else {
                        old * of_old + new * of_new
                    };
                }
            }
        }
        Ok(state)
    }

    /// The gradients of the old and the new state, given that of the result.
    ///
    /// # Errors
    /// Out of memory.
    pub fn gradients<F: Float>(&self, gradient: &[F]) -> Result<(Vec<F>, Vec<F>)> {
        let mut old = zeroed_vec(gradient.len())?;
        let mut new = zeroed_vec(gradient.len())?;
        let pairs = old.iter_mut().zip(&mut new).zip(gradient);
        match self {
            Self::Mask(mask) => {
                for (((old, new), &gradient), &kept) in pairs.zip(mask) {
                    *(if kept { old } else { new }) = gradient;
                }
            }
            Self::Share(share) => {
                let (of_old, of_new) = (F::of(*share), F::of(1.0 - share));
                for ((old, new), &gradient) in pairs {
                    (*old, *new) = (part(gradient, of_old), part(gradient, of_new));
                }
            }
        }
        Ok((old, new))
    }
}

/// A share of a value; none of it is zero, whatever the value.
fn part<F: Float>(value: F, share: F) -> F {
    if share == F::zero() {
        F::zero()
    } else {
        value * share
    }
}
