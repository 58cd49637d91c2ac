//! Inverted dropout (Srivastava et al. 2014), also with one mask for all steps (Gal and Ghahramani
//! 2016).

use ndarray_rand::rand::Rng;

use crate::engine::zeroed_vec;
use crate::error::Result;
use crate::float::Float;
use crate::random::{Purpose, Ticket};

/// Draws a mask: each element is zero with the given probability and `1 / (1 - probability)`
/// otherwise, so that the expectation is one. With probability one every element is zero.
///
/// # Errors
/// Out of memory.
pub fn mask<F: Float>(len: usize, probability: f64, ticket: Ticket) -> Result<Vec<F>> {
    let mut mask = zeroed_vec(len)?;
    if probability >= 1.0 {
        return Ok(mask);
    }
    let kept = F::of(1.0 / (1.0 - probability));
    let mut generator = ticket.generator(Purpose::Dropout, 0);
    for element in &mut mask {
        if generator.random::<f64>() >= probability {
            *element = kept;
        }
    }
    Ok(mask)
}

/// How a mask lies over values: (blocks, width) over (blocks, steps, width).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cover {
    /// How often each part of the mask is used again.
    pub steps: usize,
    /// Numbers of such a part.
    pub width: usize,
}

/// The elementwise product of values and a mask. Zero where the mask is zero, even if the value
/// is NaN or infinite.
///
/// # Errors
/// Out of memory.
pub fn apply<F: Float>(values: &[F], mask: &[F], cover: Cover) -> Result<Vec<F>> {
    let mut output = zeroed_vec(values.len())?;
    let Cover { steps, width } = cover;
    // Without a step or a number there are no values.
    let (width, block) = (width.max(1), (steps * width).max(1));
    let blocks = output.chunks_mut(block).zip(values.chunks(block));
    for ((to, values), mask) in blocks.zip(mask.chunks(width)) {
        for (to, values) in to.chunks_mut(width).zip(values.chunks(width)) {
            for ((to, &value), &factor) in to.iter_mut().zip(values).zip(mask) {
                if factor != F::zero() {
                    *to = value * factor;
                }
            }
        }
    }
    Ok(output)
}
