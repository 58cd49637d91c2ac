//! Layer normalisation (Ba, Kiros and Hinton 2016) on the last axis.
//!
//! Some rows go side by side through the registers of their own precision (`registers.rs`), forwards
//! (`forward.rs`) and backwards (`backward.rs`).

mod backward;
mod forward;
mod registers;

use backward::Backward;
use forward::Normalize;

use crate::engine::{Buffer, Pool, Sequence};
use crate::error::{Result, checked_size};
use crate::float::Float;
use crate::interrupt::Interrupt;
use crate::memory::filled_vec;
use crate::parameters::{AlignedBuffer, Parameters, Reading, Snapshot};
use crate::simd::{InstructionSet, SimdFloat, dispatch};

/// `y = n w + b`, where `n = (x - mean) / sqrt(variance + epsilon)`.
#[derive(Debug, Clone, Copy)]
pub struct LayerNorm {
    /// Features of input and output, over which mean and variance are taken.
    pub features: usize,
    /// What is added to the variance, which may be zero.
    pub epsilon: f64,
}

/// Index of the weight (features,) among the parameters.
const WEIGHT: usize = 0;
/// Index of the bias (features,).
const BIAS: usize = 1;

/// Some hundredths of a second.
const NUMBERS_BETWEEN_CHECKS: usize = 1 << 25;

/// What the backward pass needs of the forward pass.
#[derive(Debug)]
pub struct Normalized<F: Float> {
    /// n, (rows, features).
    numbers: Buffer<F>,
    /// One over the deviation of each row.
    scales: Buffer<F>,
}

/// What [`LayerNorm::backward`] gives: the input's gradient, if wanted, and the parameters'.
pub type LayerNormGradients<F> = (Option<Buffer<F>>, AlignedBuffer<F>);

impl LayerNorm {
    /// Weights of one, biases of zero.
    ///
    /// # Errors
    /// Out of memory.
    pub fn parameters<F: Float>(&self) -> Result<Parameters<F>> {
        let named = |name: &str| (name.to_owned(), vec![self.features]);
        let parameters = Parameters::new(vec![named("weight"), named("bias")])?;
        parameters.write().slice_mut(WEIGHT).fill(F::one());
        Ok(parameters)
    }

    /// How many rows are normalised between two looks at the interrupt.
    fn rows_between_checks(&self) -> usize {
        (NUMBERS_BETWEEN_CHECKS / self.features).max(1)
    }

    /// The output, (steps, rows, features), of an input of the same sizes in any strides.
    ///
    /// # Errors
    /// Out of memory or interrupted.
    pub fn forward<F: SimdFloat>(
        &self,
        weights: &Reading<'_, F>,
        input: Sequence<'_, F>,
        pool: &Pool<F>,
        interrupt: &Interrupt<'_>,
    ) -> Result<Buffer<F>> {
        let mut output = pool.take(self.count(input)?)?;
        self.normalize(weights, input, &mut output, None, interrupt)?;
        Ok(output)
    }

    /// As [`LayerNorm::forward`], and what the backward pass needs.
    ///
    /// # Errors
    /// Out of memory or interrupted.
    pub fn forward_with_tape<F: SimdFloat>(
        &self,
        weights: &Reading<'_, F>,
        input: Sequence<'_, F>,
        pool: &Pool<F>,
        interrupt: &Interrupt<'_>,
    ) -> Result<(Buffer<F>, Normalized<F>)> {
        let count = self.count(input)?;
        let mut output = pool.take(count)?;
        let mut tape = Normalized {
            numbers: pool.take(count)?,
            scales: pool.take(count / self.features)?,
        };
        self.normalize(weights, input, &mut output, Some(&mut tape), interrupt)?;
        Ok((output, tape))
    }

    fn count<F: Float>(&self, input: Sequence<'_, F>) -> Result<usize> {
        let (steps, rows, _) = input.sizes();
        checked_size(&[steps, rows, self.features])
    }

    fn normalize<F: SimdFloat>(
        &self,
        weights: &Reading<'_, F>,
        input: Sequence<'_, F>,
        output: &mut [F],
        mut tape: Option<&mut Normalized<F>>,
        interrupt: &Interrupt<'_>,
    ) -> Result<()> {
        let features = self.features;
        let rows = output.len() / features;
        let chunk = self.rows_between_checks();
        for start in (0..rows).step_by(chunk) {
            interrupt.check()?;
            let rows = start..rows.min(start + chunk);
            let numbers = rows.start * features..rows.end * features;
            let normalize = Normalize {
                features,
                epsilon: self.epsilon,
                weight: weights.slice(WEIGHT),
                bias: weights.slice(BIAS),
                input,
                output: &mut output[numbers.clone()],
                tape: tape
                    .as_mut()
                    .map(|tape| (&mut tape.numbers[numbers], &mut tape.scales[rows.clone()])),
                rows,
            };
            dispatch(InstructionSet::current(), normalize);
        }
        Ok(())
    }

    /// One step, (1, rows, features), to (rows, features). Allocates nothing.
    ///
    /// # Panics
    /// When an operand has other sizes.
    pub fn step<F: SimdFloat>(
        &self,
        weights: &Snapshot<F>,
        input: Sequence<'_, F>,
        output: &mut [F],
    ) {
        let (steps, rows, features) = input.sizes();
        assert_eq!((steps, features), (1, self.features));
        assert_eq!(output.len(), rows * features);
        let normalize = Normalize {
            features,
            epsilon: self.epsilon,
            weight: weights.slice(WEIGHT),
            bias: weights.slice(BIAS),
            input,
            output,
            tape: None,
            rows: 0..rows,
        };
        dispatch(InstructionSet::current(), normalize);
    }

    /// The gradients, given that of the output.
    ///
    /// # Errors
    /// Out of memory or interrupted; nothing was changed then.
    ///
    /// # Panics
    /// When the gradient has another size than the forward pass.
    pub fn backward<F: SimdFloat>(
        &self,
        weights: &Reading<'_, F>,
        parameters: &Parameters<F>,
        tape: &Normalized<F>,
        output_gradient: &[F],
        input_gradient: Option<&Pool<F>>,
        interrupt: &Interrupt<'_>,
    ) -> Result<LayerNormGradients<F>> {
        let features = self.features;
        let count = tape.numbers.len();
        assert_eq!(output_gradient.len(), count);
        let mut gradients = parameters.gradient_scratch()?;
        let mut input_gradient = input_gradient.map(|pool| pool.take(count)).transpose()?;
        let columns = checked_size(&[2, features])?;
        let mut sums = filled_vec(F::zero(), columns)?;
        let mut totals = filled_vec(0.0, columns)?;
        let rows = tape.scales.len();
        let chunk = self.rows_between_checks();
        for start in (0..rows).step_by(chunk) {
            interrupt.check()?;
            let rows = start..rows.min(start + chunk);
            let numbers = rows.start * features..rows.end * features;
            let backward = Backward {
                features,
                weight: weights.slice(WEIGHT),
                normalized: &tape.numbers[numbers.clone()],
                scales: &tape.scales[rows],
                output_gradient: &output_gradient[numbers.clone()],
                input_gradient: input_gradient.as_mut().map(|to| &mut to[numbers]),
                sums: &mut sums,
                totals: &mut totals,
            };
            dispatch(InstructionSet::current(), backward);
        }
        let entries = parameters.entries();
        let (weight, bias) = totals.split_at(features);
        for (index, totals) in [(WEIGHT, weight), (BIAS, bias)] {
            let to = &mut gradients.as_mut_slice()[entries[index].range()];
            for (to, &total) in to.iter_mut().zip(totals) {
                *to = F::of(total);
            }
        }
        Ok((input_gradient, gradients))
    }
}
