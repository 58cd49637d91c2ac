//! Initial weights.

use ndarray::Array1;
use ndarray_rand::RandomExt;
use ndarray_rand::rand::Rng;
use ndarray_rand::rand_distr::Uniform;

use crate::error::{Error, Result};
use crate::float::Float;

/// Numbers are drawn in chunks of this many, so that no second array of the weights' size exists.
const CHUNK: usize = 4096;

/// Fills with values uniform in `[-1 / sqrt(fan), 1 / sqrt(fan))`, PyTorch's rule: `fan` is the
/// hidden size for recurrent layers and the number of inputs for linear ones.
///
/// Numbers are drawn in double precision, so both precisions start from the same weights.
///
/// # Errors
/// [`Error::Config`] when `fan` is zero.
pub fn torch_uniform<F: Float>(
    values: &mut [F],
    fan: usize,
    generator: &mut impl Rng,
) -> Result<()> {
    let bound = 1.0 / (fan as f64).sqrt();
    let distribution = Uniform::new(-bound, bound)
        .map_err(|_| Error::config("fan", "a positive integer", fan.to_string()))?;
    for chunk in values.chunks_mut(CHUNK) {
        let drawn = Array1::random_using(chunk.len(), distribution, generator);
        for (value, &number) in chunk.iter_mut().zip(&drawn) {
            *value = F::of(number);
        }
    }
    Ok(())
}
