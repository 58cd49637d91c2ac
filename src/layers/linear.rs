//! The affine layer on the last axis.

use ndarray::Axis;

use crate::engine::{
    ProductPath, Sequence, add_outer_product, add_product, add_product_transposed, matrix,
    matrix_mut, zeroed_vec,
};
use crate::error::{Result, checked_size};
use crate::float::Float;
use crate::init::torch_uniform;
use crate::parameters::{AlignedBuffer, Parameters, Reading};
use crate::random::{Purpose, Ticket};

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

    /// The output, (steps, rows, outputs), of an input (steps, rows, inputs) in any strides.
    ///
    /// # Errors
    /// Out of memory.
    pub fn forward<F: Float>(
        &self,
        weights: &Reading<'_, F>,
        input: Sequence<'_, F>,
    ) -> Result<Vec<F>> {
        let (steps, rows_per_step, _) = input.sizes();
        let rows = checked_size(&[steps, rows_per_step])?;
        let mut output = zeroed_vec(checked_size(&[rows, self.outputs])?)?;
        if self.bias {
            for row in output.chunks_exact_mut(self.outputs) {
                row.copy_from_slice(weights.slice(BIAS));
            }
        }
        input.matrices(&(0..steps), |x, block_rows| {
            let mut y = matrix_mut(&mut output, rows, self.outputs);
            add_product_transposed(
                ProductPath::for_rows(rows),
                x,
                matrix(weights.slice(WEIGHT), self.outputs, self.inputs),
                y.slice_axis_mut(Axis(0), block_rows),
            );
        });
        Ok(output)
    }

    /// The gradients, given that of the output.
    ///
    /// # Errors
    /// Out of memory; nothing was changed then.
    pub fn backward<F: Float>(
        &self,
        weights: &Reading<'_, F>,
        parameters: &Parameters<F>,
        input: &[F],
        output_gradient: &[F],
        input_grad: bool,
    ) -> Result<LinearGradients<F>> {
        let rows = input.len() / self.inputs;
        let dy = matrix(output_gradient, rows, self.outputs);
        let mut gradients = parameters.gradient_scratch()?;
        let entries = parameters.entries();
        let buffer = gradients.as_mut_slice();
        add_outer_product(
            dy,
            matrix(input, rows, self.inputs),
            matrix_mut(
                &mut buffer[entries[WEIGHT].range()],
                self.outputs,
                self.inputs,
            ),
        );
        if self.bias {
            let bias = &mut buffer[entries[BIAS].range()];
            for row in output_gradient.chunks_exact(self.outputs) {
                for (sum, &value) in bias.iter_mut().zip(row) {
                    *sum += value;
                }
            }
        }
        let input_gradient = if input_grad {
            let mut dx = zeroed_vec(input.len())?;
            add_product(
                ProductPath::for_rows(rows),
                dy,
                matrix(weights.slice(WEIGHT), self.outputs, self.inputs),
                matrix_mut(&mut dx, rows, self.inputs),
            );
            Some(dx)
        } else {
            None
        };
        Ok((input_gradient, gradients))
    }
}
