//! The backward pass.

use super::registers::{AHEAD, ROWS, Registers, Sums, splat};
use crate::simd::{Kernel, SimdFloat, Vector};

/// So many rows' gradients are summed up before the sums go on in double precision.
const ROWS_PER_SUM: usize = 16;

/// The backward pass of some rows.
pub struct Backward<'a, F> {
    pub features: usize,
    pub weight: &'a [F],
    pub normalized: &'a [F],
    pub scales: &'a [F],
    pub output_gradient: &'a [F],
    pub input_gradient: Option<&'a mut [F]>,
    /// Those of the weight, then those of the bias: of a few rows,
    pub sums: &'a mut [F],
    /// and of all.
    pub totals: &'a mut [f64],
}

impl<F: SimdFloat> Kernel<F> for Backward<'_, F> {
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

impl<F: SimdFloat> Backward<'_, F> {
    #[inline(always)]
    fn all<V: Vector<Element = F>, const SHORT: bool, const R: usize>(mut self) {
        let registers = Registers::<V, SHORT>::new(self.features);
        let count = self.scales.len();
        for block in (0..count).step_by(ROWS_PER_SUM) {
            self.sums.fill(F::zero());
            let rows = block..count.min(block + ROWS_PER_SUM);
            let whole = rows.start + rows.len() / R * R;
            for row in (rows.start..whole).step_by(R) {
                self.some::<V, SHORT, R>(registers, row);
            }
            for row in whole..rows.end {
                self.some::<V, SHORT, 1>(registers, row);
            }
            for (total, sum) in self.totals.iter_mut().zip(&*self.sums) {
                *total += sum.double();
            }
        }
    }

    /// Some rows from one on.
    #[inline(always)]
    fn some<V: Vector<Element = F>, const SHORT: bool, const R: usize>(
        &mut self,
        registers: Registers<V, SHORT>,
        first: usize,
    ) {
        let numbers = first * self.features..(first + R) * self.features;
        let (weight_sums, bias_sums) = self.sums.split_at_mut(self.features);
        let mut slopes = Slopes::<V, SHORT, R> {
            registers,
            weight: self.weight,
            normalized: &self.normalized[numbers.clone()],
            gradient: &self.output_gradient[numbers.clone()],
            weight_sums,
            bias_sums,
        };
        let (totals, products) = slopes.sum_up();
        let Some(to) = &mut self.input_gradient else {
            return;
        };
        let to = &mut to[numbers];
        let share = 1.0 / self.features as f64;
        // Moving a row along (1, ..., 1) doesn't change n, and moving it along n changes only the
        // deviation: the gradient has no part along either.
        let mut parts = [[splat::<V>(0.0); 3]; R];
        for row in 0..R {
            let scale = self.scales[first + row];
            parts[row] = [
                splat(totals[row] * share),
                splat(-products[row] * share),
                V::splat(scale),
            ];
        }
        let mut start = 0;
        while start < registers.whole {
            slopes.project(start, &parts, to);
            start += V::LANES;
        }
        if let Some(start) = registers.last {
            slopes.project(start, &parts, to);
        }
    }
}

/// The gradients of rows side by side.
struct Slopes<'a, V: Vector, const SHORT: bool, const R: usize> {
    registers: Registers<V, SHORT>,
    weight: &'a [V::Element],
    normalized: &'a [V::Element],
    gradient: &'a [V::Element],
    weight_sums: &'a mut [V::Element],
    bias_sums: &'a mut [V::Element],
}

impl<V: Vector, const SHORT: bool, const R: usize> Slopes<'_, V, SHORT, R> {
    /// Adds to the parameters' gradients; the sums of each row's gradients of n, and of their
    /// products with n.
    #[inline(always)]
    fn sum_up(&mut self) -> ([f64; R], [f64; R]) {
        let registers = self.registers;
        let mut sums = Sums::<V, R>::new();
        let mut products = Sums::<V, R>::new();
        let mut start = 0;
        while start < registers.whole {
            let end = registers.end_of_sum(start);
            while start < end {
                for row in 0..R {
                    let ahead = row * registers.features + start + AHEAD;
                    V::prefetch(self.normalized.as_ptr().wrapping_add(ahead));
                    V::prefetch(self.gradient.as_ptr().wrapping_add(ahead));
                }
                let gradients = self.gradients(start);
                self.add(start, gradients, &mut sums, &mut products);
                start += V::LANES;
            }
            if start < registers.whole {
                sums.flush();
                products.flush();
            }
        }
        if let Some(start) = registers.last {
            let mut gradients = self.gradients(start);
            for row in 0..R {
                gradients[row] = gradients[row] * registers.own;
            }
            self.add(start, gradients, &mut sums, &mut products);
        }
        (sums.totals(), products.totals())
    }

    /// A register of each row.
    #[inline(always)]
    fn gradients(&self, start: usize) -> [V; R] {
        let mut gradients = [splat(0.0); R];
        for row in 0..R {
            let place = self.registers.place_in_row(row, start);
            gradients[row] = V::from_slice(&self.gradient[place]);
        }
        gradients
    }

    #[inline(always)]
    fn add(
        &mut self,
        start: usize,
        gradients: [V; R],
        sums: &mut Sums<V, R>,
        products: &mut Sums<V, R>,
    ) {
        let place = self.registers.place(start);
        let weight = V::from_slice(&self.weight[place.clone()]);
        let mut weight_sum = V::from_slice(&self.weight_sums[place.clone()]);
        let mut bias_sum = V::from_slice(&self.bias_sums[place.clone()]);
        let mut slopes = gradients;
        let mut numbers = gradients;
        for row in 0..R {
            let place = self.registers.place_in_row(row, start);
            numbers[row] = V::from_slice(&self.normalized[place]);
            slopes[row] = gradients[row] * weight;
            weight_sum = gradients[row].mul_add(numbers[row], weight_sum);
            bias_sum = bias_sum + gradients[row];
        }
        sums.add(slopes);
        products.add_products(slopes, numbers);
        weight_sum.to_slice(&mut self.weight_sums[place.clone()]);
        bias_sum.to_slice(&mut self.bias_sums[place]);
    }

    /// The gradients of a register of each row's x.
    #[inline(always)]
    fn project(&self, start: usize, parts: &[[V; 3]; R], to: &mut [V::Element]) {
        let place = self.registers.place(start);
        let weight = V::from_slice(&self.weight[place]);
        for row in 0..R {
            let [along_ones, along_n, scale] = parts[row];
            let place = self.registers.place_in_row(row, start);
            let numbers = V::from_slice(&self.normalized[place.clone()]);
            let gradients = V::from_slice(&self.gradient[place.clone()]);
            V::prefetch(to.as_ptr().wrapping_add(place.start + AHEAD));
            let slopes = numbers.mul_add(along_n, gradients * weight - along_ones);
            (slopes * scale).to_slice(&mut to[place]);
        }
    }
}
