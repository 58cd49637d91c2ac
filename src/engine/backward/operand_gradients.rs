//! The gradients of what was multiplied by weights: of hidden states and inputs.

use super::super::gradient_products::{Product, Receiver, add};
use super::super::masks::Mask;
use super::super::packing::PANEL_REGISTERS;
use super::super::parts::{Own, Part};
use super::super::sequence::SharedSequence;
use super::super::shared::Shared;
use super::Job;
use crate::float::Float;
use crate::simd::SimdFloat;

/// How many bytes of transposed weights all rows of a step are multiplied by before the next ones are.
const PIECE_BYTES: usize = 256 << 10;

/// Adds, for a part's own rows and units, what reaches the hidden state that enters a step through the
/// recurrent product.
///
/// # Safety
/// Nobody writes the accumulators' gradients of the step, or uses the part's own places.
#[inline(always)]
pub(super) unsafe fn hidden_gradient<F: SimdFloat>(
    job: &Job<'_, F>,
    part: &Part<'_, F>,
    own: &Own,
    (step, block_start): (usize, usize),
    tile: &mut [F],
) {
    let geometry = job.weights.geometry();
    let (rows, width) = (job.steps.rows(), geometry.hidden_width());
    let first = ((step - block_start) * rows + own.rows.start) * width;
    let panels = part.blocks.start / PANEL_REGISTERS..part.blocks.end.div_ceil(PANEL_REGISTERS);
    // SAFETY: as the caller vouches.
    unsafe {
        let product = Product {
            gradients: job
                .hidden_gradients()
                .read(first..first + own.rows.len() * width),
            width,
            weights: job.transposed.hidden(),
            columns: geometry.hidden,
            panels,
            piece: PIECE_BYTES / (geometry.panel() * size_of::<F>()),
            single: rows == 1,
            tile,
            receiver: StateReceiver {
                gradient: &job.state_gradient,
                first_row: own.rows.start,
                padded: own.padded,
                dropout: job.regularization.recurrent,
                step,
            },
        };
        product.run(geometry.set);
    }
}

/// Makes, for a part's own rows and units, the gradient of what the second recurrent product multiplied.
///
/// # Safety
/// As for [`hidden_gradient`].
#[inline(always)]
pub(super) unsafe fn gated_gradient<F: SimdFloat>(
    job: &Job<'_, F>,
    part: &Part<'_, F>,
    own: &Own,
    (step, block_start): (usize, usize),
    tile: &mut [F],
) {
    let geometry = job.weights.geometry();
    let (rows, width) = (job.steps.rows(), geometry.second_width());
    let first = ((step - block_start) * rows + own.rows.start) * width;
    // SAFETY: as the caller vouches.
    unsafe {
        let product = Product {
            gradients: job
                .second_gradients
                .read(first..first + own.rows.len() * width),
            width,
            weights: job.transposed.second(),
            columns: geometry.hidden,
            panels: part.blocks.start / PANEL_REGISTERS..part.blocks.end.div_ceil(PANEL_REGISTERS),
            piece: width,
            single: rows == 1,
            tile,
            receiver: GatedReceiver {
                gradient: &job.gated_gradient,
                first_row: own.rows.start,
                padded: own.padded,
            },
        };
        product.run(geometry.set);
    }
}

/// Writes the gradient of what the second recurrent product multiplied.
struct GatedReceiver<'a, F> {
    gradient: &'a Shared<'a, F>,
    first_row: usize,
    padded: usize,
}

impl<F: Float> Receiver<F> for GatedReceiver<'_, F> {
    #[inline(always)]
    unsafe fn receive(&self, row: usize, column: usize, values: &[F]) {
        let start = (self.first_row + row) * self.padded + column;
        // SAFETY: as the caller vouches.
        let to = unsafe { self.gradient.write(start..start + values.len()) };
        to.copy_from_slice(values);
    }
}

/// Adds to the gradient of the hidden state that enters a step.
struct StateReceiver<'a, F> {
    gradient: &'a Shared<'a, F>,
    first_row: usize,
    padded: usize,
    dropout: Option<Mask<'a, F>>,
    step: usize,
}

impl<F: Float> Receiver<F> for StateReceiver<'_, F> {
    #[inline(always)]
    unsafe fn receive(&self, row: usize, column: usize, values: &[F]) {
        let row = self.first_row + row;
        let start = row * self.padded + column;
        // SAFETY: as the caller vouches.
        let to = unsafe { self.gradient.write(start..start + values.len()) };
        let Some(mask) = self.dropout else {
            add(to, values);
            return;
        };
        let factors = &mask.row(self.step, row)[column..];
        for ((to, &value), &factor) in to.iter_mut().zip(values).zip(factors) {
            *to += value * factor;
        }
    }
}

/// Writes the gradient of the input, or adds to it.
pub(super) struct InputReceiver<'a, F> {
    pub gradient: &'a SharedSequence<'a, F>,
    pub adds: bool,
    /// The step and the row that come first, and how many rows a step has.
    pub first_step: usize,
    pub first_row: usize,
    pub rows: usize,
}

impl<F: Float> Receiver<F> for InputReceiver<'_, F> {
    #[inline(always)]
    unsafe fn receive(&self, row: usize, column: usize, values: &[F]) {
        let row = self.first_row + row;
        let (step, row) = (self.first_step + row / self.rows, row % self.rows);
        let place = column..column + values.len();
        // SAFETY: as the caller vouches.
        let to = unsafe { self.gradient.write(step, row, place) };
        if self.adds {
            add(to, values);
        } else {
            to.copy_from_slice(values);
        }
    }
}
