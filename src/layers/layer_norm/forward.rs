//! The forward pass.
//!
//! A row is read three times, from the nearest cache: for its mean, for the variance around it, and
//! for the result. The mean is taken of distances from the row's first number, and the variance of
//! distances from the mean, so that no digits cancel out however far from zero a row lies.

use std::ops::Range;

use super::registers::{AHEAD, ROWS, Registers, Sums, splat};
use crate::engine::Sequence;
use crate::float::Float;
use crate::simd::{Kernel, SimdFloat, Vector};

/// The forward pass of some rows.
pub struct Normalize<'a, F> {
    pub features: usize,
    pub epsilon: f64,
    pub weight: &'a [F],
    pub bias: &'a [F],
    pub input: Sequence<'a, F>,
    /// Which rows, counted over all steps.
    pub rows: Range<usize>,
    pub output: &'a mut [F],
    /// n, and one over the deviation of each row.
    pub tape: Option<(&'a mut [F], &'a mut [F])>,
}

impl<F: SimdFloat> Kernel<F> for Normalize<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Element = F>>(self) {
        if self.features < V::LANES {
            self.all::<V, true, ROWS>();
        } else {
            self.all::<V, false, ROWS>();
        }
    }
}

impl<F: SimdFloat> Normalize<'_, F> {
    #[inline(always)]
    fn all<V: Vector<Element = F>, const SHORT: bool, const R: usize>(mut self) {
        let registers = Registers::<V, SHORT>::new(self.features);
        let whole = self.rows.len() / R * R;
        for row in (0..whole).step_by(R) {
            self.some::<V, SHORT, R>(registers, row);
        }
        for row in whole..self.rows.len() {
            self.some::<V, SHORT, 1>(registers, row);
        }
    }

    /// Some rows from one on.
    #[inline(always)]
    fn some<V: Vector<Element = F>, const SHORT: bool, const R: usize>(
        &mut self,
        registers: Registers<V, SHORT>,
        first: usize,
    ) {
        let (_, rows_per_step, _) = self.input.sizes();
        let mut rows = [&[][..]; R];
        for row in 0..R {
            let index = self.rows.start + first + row;
            let input = self.input.row(index / rows_per_step, index % rows_per_step);
            // Now the compiler sees that all are of one size.
            rows[row] = &input[..self.features];
        }
        let numbers = first * self.features..(first + R) * self.features;
        let mut rows = Rows::<V, SHORT, R> {
            registers,
            input: rows,
            weight: self.weight,
            bias: self.bias,
            output: &mut self.output[numbers.clone()],
            normalized: None,
        };
        let mut scales = None;
        if let Some((normalized, all_scales)) = &mut self.tape {
            rows.normalized = Some(&mut normalized[numbers]);
            scales = Some(&mut all_scales[first..first + R]);
        }
        let moments = rows.moments(self.epsilon);
        if let Some(scales) = scales {
            for row in 0..R {
                scales[row] = moments[row].scale;
            }
        }
        rows.normalize(&moments);
    }
}

/// Rows that are normalised side by side.
struct Rows<'a, V: Vector, const SHORT: bool, const R: usize> {
    registers: Registers<V, SHORT>,
    input: [&'a [V::Element]; R],
    weight: &'a [V::Element],
    bias: &'a [V::Element],
    output: &'a mut [V::Element],
    /// Where n goes, if it is wanted.
    normalized: Option<&'a mut [V::Element]>,
}

/// What brings a row to mean 0 and variance 1: `(x - shift - rest) * scale`.
#[derive(Clone, Copy, Default)]
struct Moments<F> {
    /// The mean, rounded,
    shift: F,
    /// and what it lacks.
    rest: F,
    scale: F,
}

impl<V: Vector, const SHORT: bool, const R: usize> Rows<'_, V, SHORT, R> {
    /// A register of each row, as distances from a number of each.
    #[inline(always)]
    fn distances(&self, start: usize, from: [V; R]) -> [V; R] {
        let mut distances = from;
        for row in 0..R {
            let values = V::from_slice(&self.input[row][self.registers.place(start)]);
            distances[row] = values - from[row];
        }
        distances
    }

    /// Asks for what the rows that come next need of the memory.
    #[inline(always)]
    fn prefetch(&self, start: usize) {
        for row in 0..R {
            let ahead = row * self.registers.features + start + AHEAD;
            V::prefetch(self.input[row].as_ptr().wrapping_add(start + AHEAD));
            V::prefetch(self.output.as_ptr().wrapping_add(ahead));
            if let Some(normalized) = &self.normalized {
                V::prefetch(normalized.as_ptr().wrapping_add(ahead));
            }
        }
    }

    #[inline(always)]
    fn moments(&self, epsilon: f64) -> [Moments<V::Element>; R] {
        let registers = self.registers;
        let share = 1.0 / registers.features as f64;
        let mut moments = [Moments::default(); R];

        let mut from = [splat::<V>(0.0); R];
        for row in 0..R {
            from[row] = V::splat(self.input[row][0]);
        }
        let mut sums = Sums::<V, R>::new();
        let mut start = 0;
        while start < registers.whole {
            let end = registers.end_of_sum(start);
            while start < end {
                self.prefetch(start);
                sums.add(self.distances(start, from));
                start += V::LANES;
            }
            if start < registers.whole {
                sums.flush();
            }
        }
        if let Some(start) = registers.last {
            let mut distances = self.distances(start, from);
            for row in 0..R {
                distances[row] = distances[row] * registers.own;
            }
            sums.add(distances);
        }
        let totals = sums.totals();
        for row in 0..R {
            let mean = self.input[row][0].double() + totals[row] * share;
            moments[row].shift = V::Element::of(mean);
            from[row] = V::splat(moments[row].shift);
        }

        let mut sums = Sums::<V, R>::new();
        let mut squares = Sums::<V, R>::new();
        let mut start = 0;
        while start < registers.whole {
            let end = registers.end_of_sum(start);
            while start < end {
                let distances = self.distances(start, from);
                sums.add(distances);
                squares.add_products(distances, distances);
                start += V::LANES;
            }
            if start < registers.whole {
                sums.flush();
                squares.flush();
            }
        }
        if let Some(start) = registers.last {
            let mut distances = self.distances(start, from);
            for row in 0..R {
                distances[row] = distances[row] * registers.own;
            }
            sums.add(distances);
            squares.add_products(distances, distances);
        }
        let (totals, squares) = (sums.totals(), squares.totals());
        for row in 0..R {
            let rest = totals[row] * share;
            let variance = squares[row] * share - rest * rest;
            moments[row].rest = V::Element::of(rest);
            moments[row].scale = V::Element::of(1.0 / (variance + epsilon).sqrt());
        }
        moments
    }

    #[inline(always)]
    fn normalize(&mut self, moments: &[Moments<V::Element>; R]) {
        let mut start = 0;
        while start < self.registers.whole {
            self.normalize_register(start, moments);
            start += V::LANES;
        }
        if let Some(start) = self.registers.last {
            self.normalize_register(start, moments);
        }
    }

    #[inline(always)]
    fn normalize_register(&mut self, start: usize, moments: &[Moments<V::Element>; R]) {
        let place = self.registers.place(start);
        let weight = V::from_slice(&self.weight[place.clone()]);
        let bias = V::from_slice(&self.bias[place.clone()]);
        for row in 0..R {
            let Moments { shift, rest, scale } = moments[row];
            let values = V::from_slice(&self.input[row][place.clone()]);
            let normalized = (values - V::splat(shift) - V::splat(rest)) * V::splat(scale);
            let place = self.registers.place_in_row(row, start);
            if let Some(to) = &mut self.normalized {
                normalized.to_slice(&mut to[place.clone()]);
            }
            let output = &mut self.output[place];
            normalized.mul_add(weight, bias).to_slice(output);
        }
    }
}
