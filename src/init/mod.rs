//! Initial weights.
//!
//! Numbers are drawn in double precision, so both precisions start from the same weights.

mod orthogonal;

use ndarray::Array1;
use ndarray_rand::RandomExt;
use ndarray_rand::rand::Rng;
use ndarray_rand::rand_distr::{StandardNormal, Uniform};

use crate::error::{Error, Result};
use crate::float::Float;
use crate::interrupt::Interrupt;

/// Numbers are drawn in chunks of this many, so that no second array of the weights' size exists.
const CHUNK: usize = 4096;

/// The bound of the crate rust-lstm, whatever the sizes.
const RUST_LSTM_BOUND: f64 = 0.1;

/// How the parameters of a recurrent layer start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Initializer {
    /// Everything uniform in +-1/sqrt(hidden size), as in PyTorch.
    #[default]
    Torch,
    /// Weights uniform in +-sqrt(6 / (rows + columns)) (Glorot and Bengio 2010), biases zero.
    ///
    /// Rows and columns are those of the whole matrix, all gates together, as Keras and PyTorch
    /// count them: the input's gradient is a sum over the units of all gates.
    Glorot,
    /// The recurrent weights of each gate orthogonal (Saxe et al. 2014), the rest as in Glorot's.
    Orthogonal,
    /// Weights uniform in +-0.1, biases zero, as in the crate rust-lstm.
    RustLstm,
}

/// What a parameter is to its layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// What the input is multiplied with.
    InputWeights,
    /// What the hidden state is multiplied with, a square for each gate.
    RecurrentWeights,
    /// A bias.
    Bias,
    /// Anything else: rules that speak of matrices and biases leave it to PyTorch's.
    Other,
}

impl Initializer {
    /// Gives a parameter of the given shape its initial values; `hidden` is the layer's hidden size.
    ///
    /// # Errors
    /// Out of memory or interrupted.
    pub fn fill<F: Float>(
        self,
        values: &mut [F],
        shape: &[usize],
        role: Role,
        hidden: usize,
        generator: &mut impl Rng,
        interrupt: &Interrupt<'_>,
    ) -> Result<()> {
        match (self, role) {
            (Self::Torch, _) | (Self::Glorot | Self::Orthogonal, Role::Other) => {
                torch_uniform(values, hidden, generator)
            }
            (_, Role::Bias) => {
                values.fill(F::zero());
                Ok(())
            }
            (Self::RustLstm, _) => uniform(values, RUST_LSTM_BOUND, generator),
            (Self::Orthogonal, Role::RecurrentWeights) => values
                .chunks_exact_mut((hidden * hidden).max(1))
                .try_for_each(|gate| orthogonal::fill(gate, hidden, generator, interrupt)),
            (Self::Glorot | Self::Orthogonal, Role::InputWeights | Role::RecurrentWeights) => {
                let fans: usize = shape.iter().sum();
                uniform(values, (6.0 / fans as f64).sqrt(), generator)
            }
        }
    }
}

/// Fills with values uniform in `[-1 / sqrt(fan), 1 / sqrt(fan))`, PyTorch's rule: `fan` is the
/// hidden size for recurrent layers and the number of inputs for linear ones.
///
/// # Errors
/// [`Error::Config`] when `fan` is zero.
pub fn torch_uniform<F: Float>(
    values: &mut [F],
    fan: usize,
    generator: &mut impl Rng,
) -> Result<()> {
    uniform(values, 1.0 / (fan as f64).sqrt(), generator)
}

/// Fills with values uniform in `[-bound, bound)`.
fn uniform<F: Float>(values: &mut [F], bound: f64, generator: &mut impl Rng) -> Result<()> {
    let distribution = Uniform::new(-bound, bound)
        .map_err(|_| Error::config("bound", "a finite positive number", bound.to_string()))?;
    for chunk in values.chunks_mut(CHUNK) {
        let drawn = Array1::random_using(chunk.len(), distribution, generator);
        for (value, &number) in chunk.iter_mut().zip(&drawn) {
            *value = F::of(number);
        }
    }
    Ok(())
}

/// Fills with values of the standard normal distribution.
pub fn standard_normal<F: Float>(values: &mut [F], generator: &mut impl Rng) {
    for value in values {
        *value = F::of(generator.sample(StandardNormal));
    }
}
