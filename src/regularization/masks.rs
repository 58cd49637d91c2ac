//! Masks over time: explicit values, each a function of a key and of its place.

use crate::engine::{Buffer, Mask, Pool, Sequence, SequenceMut, zeroed_vec};
use crate::error::{Result, checked_size};
use crate::float::Float;
use crate::random::Words;
use crate::simd::{InstructionSet, Kernel, SimdFloat, Vector, dispatch};

/// How many places are drawn at a time; each gives two elements.
const GROUP: usize = 16;

/// What a mask holds where something is hit, and elsewhere.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MaskKind {
    /// 0 where hit, else `1 / (1 - rate)`, so that the expectation is one (Srivastava et al. 2014). With
    /// rate one everything is hit.
    Dropout,
    /// 1 where hit, which keeps an old value, else 0.
    Zoneout,
}

/// A mask, (steps or 1, rows, width).
#[derive(Debug)]
pub struct DrawnMask<F: Float> {
    /// Every row padded to `padded` numbers.
    values: Buffer<F>,
    steps: usize,
    rows: usize,
    width: usize,
    padded: usize,
}

impl<F: SimdFloat> DrawnMask<F> {
    /// Draws (steps, rows, width) elements, each hit with probability `rate`; rows get a padding of
    /// zeros to `padded` numbers.
    ///
    /// # Errors
    /// Out of memory.
    pub fn draw(
        kind: MaskKind,
        rate: f64,
        words: Words,
        (steps, rows, width): (usize, usize, usize),
        padded: usize,
        pool: &Pool<F>,
    ) -> Result<Self> {
        let mut values = pool.take(checked_size(&[steps, rows, padded])?)?;
        let [hit, missed] = match kind {
            MaskKind::Dropout => [F::zero(), F::of(1.0 / (1.0 - rate))],
            MaskKind::Zoneout => [F::one(), F::zero()],
        };
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a rate is 0 to 1
        let threshold = (rate * 2f64.powi(32)).round() as u64;
        match u32::try_from(threshold) {
            Ok(threshold) => {
                let draw = Draw {
                    words,
                    threshold,
                    hit,
                    missed,
                    width,
                    padded,
                    to: &mut values,
                };
                dispatch(InstructionSet::current(), draw);
            }
            Err(_) => values.fill(hit),
        }
        Ok(Self {
            values,
            steps,
            rows,
            width,
            padded,
        })
    }

    /// As the kernels read it.
    #[must_use]
    pub fn mask(&self) -> Mask<'_, F> {
        Mask::new(&self.values, (self.steps, self.rows, self.padded))
    }

    /// (steps or 1, rows, width).
    #[must_use]
    pub fn sizes(&self) -> (usize, usize, usize) {
        (self.steps, self.rows, self.width)
    }

    /// All elements of a mask without padding, in order.
    ///
    /// # Panics
    /// When there is padding.
    #[must_use]
    pub fn elements(&self) -> &[F] {
        assert_eq!(self.width, self.padded);
        &self.values
    }

    /// A copy of the elements without padding.
    ///
    /// # Errors
    /// Out of memory.
    pub fn to_vec(&self) -> Result<Vec<F>> {
        let mut elements = zeroed_vec(checked_size(&[self.steps, self.rows, self.width])?)?;
        let rows = self.values.chunks_exact(self.padded.max(1));
        for (to, row) in elements.chunks_exact_mut(self.width.max(1)).zip(rows) {
            to.copy_from_slice(&row[..self.width]);
        }
        Ok(elements)
    }

    /// Multiplies values by the mask, (steps, rows, width).
    pub fn multiply(&self, values: &mut SequenceMut<'_, F>) {
        let (steps, rows, _) = values.sizes();
        let mask = self.mask();
        for step in 0..steps {
            for row in 0..rows {
                multiply(values.row_mut(step, row), mask.row(step, row));
            }
        }
    }

    /// Values times the mask, time-major.
    ///
    /// # Errors
    /// Out of memory.
    pub fn product(&self, values: &Sequence<'_, F>, pool: &Pool<F>) -> Result<Buffer<F>> {
        let (steps, rows, width) = values.sizes();
        let mut product = pool.take(checked_size(&[steps, rows, width])?)?;
        let mask = self.mask();
        for (index, to) in product.chunks_exact_mut(width).enumerate() {
            let (step, row) = (index / rows, index % rows);
            to.copy_from_slice(values.row(step, row));
            multiply(to, mask.row(step, row));
        }
        Ok(product)
    }
}

/// Multiplies values by factors. Zero where the factor is zero, even if the value is NaN or infinite.
pub fn multiply<F: Float>(values: &mut [F], factors: &[F]) {
    for (value, &factor) in values.iter_mut().zip(factors) {
        let product = *value * factor;
        *value = if factor == F::zero() { factor } else { product };
    }
}

/// Draws rows of a mask.
struct Draw<'a, F> {
    words: Words,
    /// Words below it are hits.
    threshold: u32,
    hit: F,
    missed: F,
    width: usize,
    padded: usize,
    to: &'a mut [F],
}

impl<F: SimdFloat> Kernel<F> for Draw<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Element = F>>(mut self) {
        let (width, padded) = (self.width, self.padded.max(1));
        let mut few = [F::zero(); 2 * GROUP];
        for (row, to) in std::mem::take(&mut self.to)
            .chunks_exact_mut(padded)
            .enumerate()
        {
            let (drawn, padding) = to.split_at_mut(width);
            padding.fill(F::zero());
            let (groups, rest) = drawn.as_chunks_mut();
            let count = groups.len();
            for (group, to) in groups.iter_mut().enumerate() {
                self.group(row, group, to);
            }
            if !rest.is_empty() {
                self.group(row, count, &mut few);
                rest.copy_from_slice(&few[..rest.len()]);
            }
        }
    }
}

impl<F: Float> Draw<'_, F> {
    /// One group of elements. Each row has places of its own, so that they don't depend on padding.
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation)] // after 2^32 rows they would come again
    fn group(&self, row: usize, group: usize, to: &mut [F; 2 * GROUP]) {
        for place in 0..GROUP {
            let [a, b] = self.words.at([(group * GROUP + place) as u32, row as u32]);
            to[place] = self.element(a);
            to[GROUP + place] = self.element(b);
        }
    }

    /// What a word stands for. No closure: it might be left out of line.
    #[inline(always)]
    fn element(&self, word: u32) -> F {
        if word < self.threshold {
            self.hit
        } else {
            self.missed
        }
    }
}
