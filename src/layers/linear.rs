//! The affine layer on the last axis.

use ndarray::Axis;

use crate::engine::{
    PackedAffine, ProductPath, Sequence, add_outer_product, add_product, add_product_transposed,
    matrix, matrix_mut, zeroed_vec,
};
use crate::error::{Result, checked_size};
use crate::float::Float;
use crate::init::torch_uniform;
use crate::interrupt::Interrupt;
use crate::memory::filled_vec;
use crate::parameters::{AlignedBuffer, Parameters, Reading};
use crate::random::{Purpose, Ticket};
use crate::simd::{InstructionSet, SimdFloat};

/// `y = W x + b`.
#[derive(Debug, Clone, Copy)]
pub struct Linear {
    /// Features of the input.
    pub inputs: usize,
    /// Features of the output.
    pub outputs: usize,
    /// Whether there is a bias.
    pub bias: bool,
}

/// Index of the weight (outputs, inputs) among the parameters.
const WEIGHT: usize = 0;
/// Index of the bias (outputs,).
const BIAS: usize = 1;

/// Some tenths of a second.
const OPERATIONS_BETWEEN_CHECKS: usize = 1 << 31;

/// What [`Linear::backward`] gives: the input's gradient, if wanted, and the parameters'.
pub type LinearGradients<F> = (Option<Vec<F>>, AlignedBuffer<F>);

impl Linear {
    /// Parameters uniform in +-1/sqrt(inputs), PyTorch's rule.
    ///
    /// # Errors
    /// Out of memory.
    pub fn parameters<F: Float>(&self, ticket: Ticket) -> Result<Parameters<F>> {
        let mut shapes = vec![("weight".to_owned(), vec![self.outputs, self.inputs])];
        if self.bias {
            shapes.push(("bias".to_owned(), vec![self.outputs]));
        }
        let parameters = Parameters::new(shapes)?;
        {
            let mut writing = parameters.write();
            let mut generator = ticket.generator(Purpose::Initialization, 0);
            for index in 0..parameters.entries().len() {
                torch_uniform(writing.slice_mut(index), self.inputs, &mut generator)?;
            }
        }
        Ok(parameters)
    }

    /// How many rows are multiplied between two looks at the interrupt.
    fn rows_between_checks(&self) -> usize {
        (OPERATIONS_BETWEEN_CHECKS / (self.inputs * self.outputs)).max(1)
    }

    /// The output, (steps, rows, outputs), of an input (steps, rows, inputs) in any strides.
    ///
    /// # Errors
    /// Out of memory or interrupted.
    pub fn forward<F: SimdFloat>(
        &self,
        weights: &Reading<'_, F>,
        input: Sequence<'_, F>,
        interrupt: &Interrupt<'_>,
    ) -> Result<Vec<F>> {
        let (steps, rows_per_step, _) = input.sizes();
        let rows = checked_size(&[steps, rows_per_step])?;
        let mut output = zeroed_vec(checked_size(&[rows, self.outputs])?)?;
        if self.bias {
            for row in output.chunks_exact_mut(self.outputs) {
                row.copy_from_slice(weights.slice(BIAS));
            }
        }
        let weight = matrix(weights.slice(WEIGHT), self.outputs, self.inputs);
        let mut result = Ok(());
        let path = ProductPath::for_sizes(rows, self.outputs);
        input.matrices(&(0..steps), |x, block_rows| {
            let mut y = matrix_mut(&mut output, rows, self.outputs);
            let mut y = y.slice_axis_mut(Axis(0), block_rows);
            let chunk = self.rows_between_checks();
            let chunks = x.axis_chunks_iter(Axis(0), chunk);
            for (x, y) in chunks.zip(y.axis_chunks_iter_mut(Axis(0), chunk)) {
                if result.is_ok() {
                    result = interrupt
                        .check()
                        .and_then(|()| add_product_transposed(path, x, weight, y));
                }
            }
        });
        result?;
        Ok(output)
    }

    /// The weights packed for products that allocate nothing.
    ///
    /// # Errors
    /// Out of memory.
    pub fn packed<F: SimdFloat>(
        &self,
        set: InstructionSet,
        weights: &Reading<'_, F>,
    ) -> Result<PackedAffine<F>> {
        let weight = matrix(weights.slice(WEIGHT), self.outputs, self.inputs);
        PackedAffine::pack(set, weight, self.bias.then(|| weights.slice(BIAS)))
    }

    /// The gradients, given that of the output.
    ///
    /// # Errors
    /// Out of memory or interrupted; nothing was changed then.
    pub fn backward<F: SimdFloat>(
        &self,
        weights: &Reading<'_, F>,
        parameters: &Parameters<F>,
        input: &[F],
        output_gradient: &[F],
        input_grad: bool,
        interrupt: &Interrupt<'_>,
    ) -> Result<LinearGradients<F>> {
        let rows = input.len() / self.inputs;
        let weight = matrix(weights.slice(WEIGHT), self.outputs, self.inputs);
        let mut gradients = parameters.gradient_scratch()?;
        let mut input_gradient = if input_grad {
            Some(zeroed_vec(input.len())?)
        } else {
            None
        };
        // In double precision: the sum over many rows would lose digits of each.
        let mut bias = filled_vec(0.0, self.outputs)?;
        let entries = parameters.entries();
        let buffer = gradients.as_mut_slice();
        let chunk = self.rows_between_checks();
        let path = ProductPath::for_sizes(rows, self.outputs);
        for start in (0..rows).step_by(chunk) {
            interrupt.check()?;
            let count = chunk.min(rows - start);
            let (from, to) = (start * self.inputs, (start + count) * self.inputs);
            let outputs = start * self.outputs..(start + count) * self.outputs;
            let dy = matrix(&output_gradient[outputs], count, self.outputs);
            add_outer_product(
                path,
                dy,
                matrix(&input[from..to], count, self.inputs),
                matrix_mut(
                    &mut buffer[entries[WEIGHT].range()],
                    self.outputs,
                    self.inputs,
                ),
            )?;
            for row in dy.rows() {
                for (sum, value) in bias.iter_mut().zip(row) {
                    *sum += value.double();
                }
            }
            if let Some(dx) = &mut input_gradient {
                add_product(
                    path,
                    dy,
                    weight,
                    matrix_mut(&mut dx[from..to], count, self.inputs),
                )?;
            }
        }
        if self.bias {
            for (to, &sum) in buffer[entries[BIAS].range()].iter_mut().zip(&bias) {
                *to = F::of(sum);
            }
        }
        Ok((input_gradient, gradients))
    }
}
