//! A table of vectors, one for each index.

use crate::engine::{Buffer, Pool};
use crate::error::{Error, Result, checked_size};
use crate::float::Float;
use crate::init::standard_normal;
use crate::interrupt::Interrupt;
use crate::parameters::{Gradients, Parameters, Reading, Snapshot};
use crate::random::{Purpose, Ticket};

/// `y = W[x]`.
#[derive(Debug, Clone, Copy)]
pub struct Embedding {
    /// How many vectors there are.
    pub count: usize,
    /// Numbers of a vector.
    pub width: usize,
    /// The index of what means nothing: its vector starts as zeros and is never learned.
    pub padding: Option<usize>,
}

/// Index of the weight (count, width) among the parameters.
const WEIGHT: usize = 0;

/// Some hundredths of a second.
const NUMBERS_BETWEEN_CHECKS: usize = 1 << 25;

impl Embedding {
    /// Parameters of the standard normal distribution, PyTorch's rule.
    ///
    /// # Errors
    /// Out of memory.
    pub fn parameters<F: Float>(&self, ticket: Ticket) -> Result<Parameters<F>> {
        let shape = vec![self.count, self.width];
        let parameters = Parameters::new(vec![("weight".to_owned(), shape)])?;
        {
            let mut writing = parameters.write();
            let table = writing.slice_mut(WEIGHT);
            let mut generator = ticket.generator(Purpose::Initialization, 0);
            standard_normal(table, &mut generator);
            if let Some(padding) = self.padding {
                table[padding * self.width..][..self.width].fill(F::zero());
            }
        }
        Ok(parameters)
    }

    /// The vectors, one after the other, of indices that have a shape; it is for the message.
    ///
    /// # Errors
    /// [`Error::Config`] naming the first index that has no vector; out of memory or interrupted.
    pub fn forward<F: Float>(
        &self,
        weights: &Reading<'_, F>,
        indices: &[i64],
        shape: &[usize],
        pool: &Pool<F>,
        interrupt: &Interrupt<'_>,
    ) -> Result<Buffer<F>> {
        self.check(indices, shape)?;
        let mut output = pool.take(checked_size(&[indices.len(), self.width])?)?;
        let chunk = (NUMBERS_BETWEEN_CHECKS / self.width).max(1);
        let outputs = output.chunks_mut(chunk * self.width);
        for (to, indices) in outputs.zip(indices.chunks(chunk)) {
            interrupt.check()?;
            self.look_up(weights.slice(WEIGHT), indices, to);
        }
        Ok(output)
    }

    /// One step: the vectors of indices, one a row. Allocates nothing.
    ///
    /// # Errors
    /// [`Error::Config`] naming the first index that has no vector; nothing was written then.
    pub fn step<F: Float>(
        &self,
        weights: &Snapshot<F>,
        indices: &[i64],
        shape: &[usize],
        output: &mut [F],
    ) -> Result<()> {
        self.check(indices, shape)?;
        self.look_up(weights.slice(WEIGHT), indices, output);
        Ok(())
    }

    /// Raises if an index has no vector.
    fn check(&self, indices: &[i64], shape: &[usize]) -> Result<()> {
        match indices.iter().position(|&index| self.row(index).is_none()) {
            Some(place) => Err(self.unknown(indices[place], place, shape)),
            None => Ok(()),
        }
    }

    fn look_up<F: Float>(&self, table: &[F], indices: &[i64], output: &mut [F]) {
        for (to, &index) in output.chunks_exact_mut(self.width).zip(indices) {
            if let Some(row) = self.row(index) {
                to.copy_from_slice(&table[row * self.width..][..self.width]);
            }
        }
    }

    /// Adds the gradients of the vectors, in the order of their indices, given that of the output.
    ///
    /// They are added where they belong, as no call fails here: a table of all gradients, nearly all
    /// of them zeros, would cost more than a batch.
    pub fn backward<F: Float>(
        &self,
        gradients: &mut Gradients<'_, F>,
        indices: &[i64],
        output_gradient: &[F],
    ) {
        let table = gradients.slice_mut(WEIGHT);
        for (&index, dy) in indices.iter().zip(output_gradient.chunks_exact(self.width)) {
            let Some(row) = self.row(index).filter(|&row| Some(row) != self.padding) else {
                continue;
            };
            let sums = &mut table[row * self.width..][..self.width];
            for (sum, &value) in sums.iter_mut().zip(dy) {
                *sum += value;
            }
        }
    }

    /// The row of the table that an index means, if there is one.
    fn row(&self, index: i64) -> Option<usize> {
        usize::try_from(index).ok().filter(|&row| row < self.count)
    }

    /// The error of an index without a vector.
    fn unknown(&self, index: i64, place: usize, shape: &[usize]) -> Error {
        let argument = if shape.is_empty() {
            "x".to_owned()
        } else {
            format!("x[{}]", place_text(place, shape))
        };
        let expected = format!("an index from 0 to {}", self.count - 1);
        Error::config(argument, expected, index.to_string())
    }
}

/// Where an element of a row-major array stands: its index along each axis.
fn place_text(mut place: usize, shape: &[usize]) -> String {
    let mut indices = vec![0; shape.len()];
    for (index, &size) in indices.iter_mut().zip(shape).rev() {
        *index = place % size;
        place /= size;
    }
    let indices: Vec<String> = indices.iter().map(usize::to_string).collect();
    indices.join(", ")
}
