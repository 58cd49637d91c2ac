//! Layer normalisation (Ba, Kiros and Hinton 2016) on the last axis.
//!
//! Every row is gone through in double precision, in memory of one row that stays in the nearest
//! cache: first the mean, then the variance around it, so that no digits cancel out.

use std::ops::Range;

use crate::engine::{Sequence, zeroed_vec};
use crate::error::{Result, checked_size};
use crate::float::Float;
use crate::interrupt::Interrupt;
use crate::memory::filled_vec;
use crate::parameters::{AlignedBuffer, Parameters, Reading, Snapshot};
use crate::simd::{InstructionSet, Kernel, Vector, dispatch};

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

/// A row in double precision is filled up with zeros to a multiple of this, which is one of any
/// register's numbers.
const LANES: usize = 8;

/// How many registers are summed up side by side, so that no sum waits for the one before it.
const SUMS: usize = 4;

/// What [`LayerNorm::backward`] gives: the input's gradient, if wanted, and the parameters'.
pub type LayerNormGradients<F> = (Option<Vec<F>>, AlignedBuffer<F>);

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

    /// Numbers of the room that one row takes in double precision.
    #[must_use]
    pub fn room(&self) -> usize {
        self.features.next_multiple_of(LANES)
    }

    /// How many rows are normalised between two looks at the interrupt.
    fn rows_between_checks(&self) -> usize {
        (NUMBERS_BETWEEN_CHECKS / self.features).max(1)
    }

    /// The output, (steps, rows, features), of an input of the same sizes in any strides.
    ///
    /// # Errors
    /// Out of memory or interrupted.
    pub fn forward<F: Float>(
        &self,
        weights: &Reading<'_, F>,
        input: Sequence<'_, F>,
        interrupt: &Interrupt<'_>,
    ) -> Result<Vec<F>> {
        let (steps, rows_per_step, _) = input.sizes();
        let rows = checked_size(&[steps, rows_per_step])?;
        let mut output = zeroed_vec(checked_size(&[rows, self.features])?)?;
        let mut room = filled_vec(0.0, self.room())?;
        let chunk = self.rows_between_checks();
        for start in (0..rows).step_by(chunk) {
            interrupt.check()?;
            let rows = start..rows.min(start + chunk);
            let normalize = Normalize {
                layer: *self,
                weight: weights.slice(WEIGHT),
                bias: weights.slice(BIAS),
                input,
                output: &mut output[rows.start * self.features..rows.end * self.features],
                rows,
                room: &mut room,
            };
            dispatch(InstructionSet::current(), normalize);
        }
        Ok(output)
    }

    /// One step, (1, rows, features), to (rows, features), with room for one row. Allocates nothing.
    ///
    /// # Panics
    /// When an operand has other sizes.
    pub fn step<F: Float>(
        &self,
        weights: &Snapshot<F>,
        input: Sequence<'_, F>,
        output: &mut [F],
        room: &mut [f64],
    ) {
        let (steps, rows, features) = input.sizes();
        assert_eq!((steps, features), (1, self.features));
        assert_eq!((output.len(), room.len()), (rows * features, self.room()));
        let normalize = Normalize {
            layer: *self,
            weight: weights.slice(WEIGHT),
            bias: weights.slice(BIAS),
            input,
            output,
            rows: 0..rows,
            room,
        };
        dispatch(InstructionSet::current(), normalize);
    }

    /// The gradients, given that of the output.
    ///
    /// # Errors
    /// Out of memory or interrupted; nothing was changed then.
    pub fn backward<F: Float>(
        &self,
        weights: &Reading<'_, F>,
        parameters: &Parameters<F>,
        input: &[F],
        output_gradient: &[F],
        input_grad: bool,
        interrupt: &Interrupt<'_>,
    ) -> Result<LayerNormGradients<F>> {
        let mut gradients = parameters.gradient_scratch()?;
        let mut input_gradient = input_grad.then(|| zeroed_vec(input.len())).transpose()?;
        // In double precision: the sum over many rows would lose digits of each.
        let mut weight_gradient = filled_vec(0.0, self.features)?;
        let mut bias_gradient = filled_vec(0.0, self.features)?;
        let mut room = filled_vec(0.0, 2 * self.room())?;
        let (normalized, slopes) = room.split_at_mut(self.room());
        let chunk = self.rows_between_checks() * self.features;
        for start in (0..input.len()).step_by(chunk) {
            interrupt.check()?;
            let place = start..input.len().min(start + chunk);
            let backward = Backward {
                layer: *self,
                weight: weights.slice(WEIGHT),
                input: &input[place.clone()],
                output_gradient: &output_gradient[place.clone()],
                input_gradient: input_gradient.as_mut().map(|to| &mut to[place]),
                weight_gradient: &mut weight_gradient,
                bias_gradient: &mut bias_gradient,
                normalized: &mut *normalized,
                slopes: &mut *slopes,
            };
            dispatch(InstructionSet::current(), backward);
        }
        let entries = parameters.entries();
        for (index, sums) in [(WEIGHT, &weight_gradient), (BIAS, &bias_gradient)] {
            let to = &mut gradients.as_mut_slice()[entries[index].range()];
            for (to, &sum) in to.iter_mut().zip(sums) {
                *to = F::of(sum);
            }
        }
        Ok((input_gradient, gradients))
    }

    /// Leaves a row's distances from its mean in `centred`; returns one over the deviation.
    #[inline(always)]
    fn centre<V: Vector<Element = f64>, F: Float>(&self, row: &[F], centred: &mut [f64]) -> f64 {
        let count = self.features as f64;
        for (to, value) in centred.iter_mut().zip(row) {
            *to = value.double();
        }
        let mean = total::<V>(centred) / count;
        // Not of the zeros behind the row.
        for value in &mut centred[..self.features] {
            *value -= mean;
        }
        let variance = product::<V>(centred, centred) / count;
        1.0 / (variance + self.epsilon).sqrt()
    }
}

/// The forward pass of some rows.
struct Normalize<'a, F> {
    layer: LayerNorm,
    weight: &'a [F],
    bias: &'a [F],
    input: Sequence<'a, F>,
    /// Which rows, counted over all steps.
    rows: Range<usize>,
    output: &'a mut [F],
    /// Of one row.
    room: &'a mut [f64],
}

impl<F: Float> Kernel<f64> for Normalize<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Element = f64>>(self) {
        let (_, rows_per_step, _) = self.input.sizes();
        let outputs = self.output.chunks_exact_mut(self.layer.features);
        for (row, output) in self.rows.zip(outputs) {
            let row = self.input.row(row / rows_per_step, row % rows_per_step);
            let scale = self.layer.centre::<V, F>(row, self.room);
            let parameters = self.weight.iter().zip(self.bias);
            for ((to, centred), (weight, bias)) in
                output.iter_mut().zip(&*self.room).zip(parameters)
            {
                *to = F::of(centred * scale * weight.double() + bias.double());
            }
        }
    }
}

/// The backward pass of some rows.
struct Backward<'a, F> {
    layer: LayerNorm,
    weight: &'a [F],
    input: &'a [F],
    output_gradient: &'a [F],
    input_gradient: Option<&'a mut [F]>,
    weight_gradient: &'a mut [f64],
    bias_gradient: &'a mut [f64],
    // Of one row:
    normalized: &'a mut [f64],
    slopes: &'a mut [f64],
}

impl<F: Float> Kernel<f64> for Backward<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Element = f64>>(mut self) {
        let features = self.layer.features;
        let count = features as f64;
        let rows = self.input.chunks_exact(features);
        for (index, (row, dy)) in rows
            .zip(self.output_gradient.chunks_exact(features))
            .enumerate()
        {
            let scale = self.layer.centre::<V, F>(row, self.normalized);
            // Not the zeros behind the row: they would stay NaN after a row with one.
            for value in &mut self.normalized[..features] {
                *value *= scale;
            }
            let sums = self
                .weight_gradient
                .iter_mut()
                .zip(&mut *self.bias_gradient);
            for ((weight, bias), (n, dy)) in sums.zip(self.normalized.iter().zip(dy)) {
                *weight += n * dy.double();
                *bias += dy.double();
            }
            let Some(to) = &mut self.input_gradient else {
                continue;
            };
            for (slope, (dy, weight)) in self.slopes.iter_mut().zip(dy.iter().zip(self.weight)) {
                *slope = dy.double() * weight.double();
            }
            // Moving the row along (1, ..., 1) doesn't change n, and moving it along n changes only
            // the deviation: the gradient has no part along either.
            let along_ones = total::<V>(self.slopes) / count;
            let along_n = product::<V>(self.slopes, self.normalized) / count;
            let to = &mut to[index * features..][..features];
            for (to, (slope, n)) in to.iter_mut().zip(self.slopes.iter().zip(&*self.normalized)) {
                *to = F::of(scale * (slope - along_ones - n * along_n));
            }
        }
    }
}

/// The sum of numbers in whole registers.
///
/// Loops of indices: the compiler leaves iterators over chunks out of the function that is compiled
/// for the instruction set, which costs ten times the sum.
#[inline(always)]
fn total<V: Vector<Element = f64>>(numbers: &[f64]) -> f64 {
    let mut sums = [V::splat(0.0); SUMS];
    let mut start = 0;
    while start + SUMS * V::LANES <= numbers.len() {
        for (index, sum) in sums.iter_mut().enumerate() {
            *sum = *sum + V::from_slice(&numbers[start + index * V::LANES..]);
        }
        start += SUMS * V::LANES;
    }
    while start < numbers.len() {
        sums[0] = sums[0] + V::from_slice(&numbers[start..]);
        start += V::LANES;
    }
    joined(sums)
}

/// The sum of products of numbers in whole registers.
#[inline(always)]
fn product<V: Vector<Element = f64>>(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [V::splat(0.0); SUMS];
    let mut start = 0;
    while start + SUMS * V::LANES <= a.len() {
        for (index, sum) in sums.iter_mut().enumerate() {
            let place = start + index * V::LANES;
            *sum = V::from_slice(&a[place..]).mul_add(V::from_slice(&b[place..]), *sum);
        }
        start += SUMS * V::LANES;
    }
    while start < a.len() {
        sums[0] = V::from_slice(&a[start..]).mul_add(V::from_slice(&b[start..]), sums[0]);
        start += V::LANES;
    }
    joined(sums)
}

/// The sum of all numbers in the registers.
#[inline(always)]
fn joined<V: Vector<Element = f64>>([a, b, c, d]: [V; SUMS]) -> f64 {
    let mut lanes = [0.0; LANES];
    ((a + b) + (c + d)).to_slice(&mut lanes[..V::LANES]);
    for width in [4, 2, 1] {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
    }
    lanes[0]
}
