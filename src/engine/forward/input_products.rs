//! The products with the input weights, made ahead for a block of time.

use std::marker::PhantomData;
use std::ops::Range;

use super::super::parts::Part;
use super::super::tile::{Tiles, for_row_chunks, sweep_onto};
use super::Job;
use crate::cells::Cell;
use crate::float::Float;
use crate::simd::{All, Kernel, Registers, SimdFloat, Vector};

/// Biases plus input products of a part's rows and units for a block of steps: (steps, rows, units).
/// A kernel of its own, which single rows and several ones share.
pub(super) struct InputProducts<'a, F: Float, C> {
    cell: PhantomData<C>,
    job: &'a Job<'a, F>,
    part: &'a Part<'a, F>,
    times: Range<usize>,
    sums: &'a mut [F],
}

impl<'a, F: Float, C> InputProducts<'a, F, C> {
    pub fn new(
        job: &'a Job<'a, F>,
        part: &'a Part<'a, F>,
        times: Range<usize>,
        sums: &'a mut [F],
    ) -> Self {
        Self {
            cell: PhantomData,
            job,
            part,
            times,
            sums,
        }
    }
}

impl<F: SimdFloat, C: Cell> Kernel<F> for InputProducts<'_, F, C> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Element = F>>(self) {
        let set = self.job.weights.geometry().register_set();
        let blocks = &self.part.blocks;
        let width = blocks.len() * set;
        assert!(self.sums.len() >= self.times.len() * self.part.rows.len() * width);
        let tiles = Tiles::new::<V, C>(blocks.len());
        for index in 0..tiles.count() {
            let (first, wide) = tiles.place(index);
            let at = &mut self.sums[first * set..];
            let block = blocks.start + first;
            if wide {
                input_block::<V, C, C::Tile<V>>(self.job, self.part, &self.times, block, at);
            } else {
                input_block::<V, C, C::Accumulators<V>>(
                    self.job,
                    self.part,
                    &self.times,
                    block,
                    at,
                );
            }
        }
    }
}

/// See [`InputProducts`]: those of the blocks of one tile, from the first one on.
#[inline(always)]
fn input_block<V: Vector, C: Cell, R: Registers<V>>(
    job: &Job<'_, V::Element>,
    part: &Part<'_, V::Element>,
    times: &Range<usize>,
    block: usize,
    sums: &mut [V::Element],
) {
    let geometry = job.weights.geometry();
    let (inputs, set) = (geometry.inputs, geometry.register_set());
    let blocks = R::COUNT / <C::Accumulators<V> as Registers<V>>::COUNT;
    let panel_len = inputs * geometry.input_set();
    let (rows, width) = (part.rows.len(), part.blocks.len() * set);
    // The steps of a single row are the rows of its tiles.
    let (outer, inner, stride) = if job.steps.rows() == 1 {
        let first = times.start;
        (first..first + 1, times.len(), job.input.step_stride())
    } else {
        (times.clone(), rows, job.input.row_stride())
    };
    let bias = &job.weights.bias()[block * set..][..blocks * set];
    let panel = &job.weights.input()[block * panel_len..][..blocks * panel_len];
    let last = (times.len() * rows).max(1) - 1;
    assert!(sums.len() >= last * width + blocks * set);
    for (outer_index, step) in outer.enumerate() {
        for_row_chunks!(V, inner, first, M => {
            // SAFETY: the chunk's rows are rows of the input, with `inputs` numbers each; bias and
            // panels hold the blocks' register sets; the sums' rows hold `width` numbers.
            unsafe {
                let x = job.input.row_ptr(step, part.rows.start);
                let x = x.wrapping_offset(first.cast_signed() * stride);
                let to = sums.as_mut_ptr().add((outer_index * inner + first) * width);
                let (x, weights) = ((x, (stride, 1)), panel.as_ptr());
                let (before, to) = ((bias.as_ptr(), 0), (to, width));
                if R::COUNT == <C::Accumulators<V> as Registers<V>>::COUNT {
                    let weights = (weights, V::LANES);
                    sweep_onto::<V, R, C::Input, M>(inputs, x, weights, before, to);
                } else {
                    // One accumulator of several blocks, each with a panel of its own.
                    let weights = (weights, inputs * V::LANES);
                    sweep_onto::<V, R, All<V, R>, M>(inputs, x, weights, before, to);
                }
            }
        });
    }
}
