//! Layer normalisation (Ba, Kiros and Hinton 2016) on the last axis.
//!
//! A row is read three times, from the nearest cache: for its mean, for the variance around it, and
//! for the result. The mean is taken of distances from the row's first number, and the variance of
//! distances from the mean, so that no digits cancel out however far from zero a row lies.

use std::ops::Range;

use crate::engine::{Buffer, Pool, Sequence};
use crate::error::{Result, checked_size};
use crate::float::Float;
use crate::interrupt::Interrupt;
use crate::memory::filled_vec;
use crate::parameters::{AlignedBuffer, Parameters, Reading, Snapshot};
use crate::simd::{InstructionSet, Kernel, SimdFloat, Vector, dispatch};

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

/// Rows that are gone through side by side, so that no sum waits for the one before it.
const ROWS: usize = 4;

/// So many registers of a row are summed up before the sum goes on in double precision: a long row
/// loses no more digits than a short one.
const REGISTERS_PER_SUM: usize = 32;

/// So many rows' gradients are summed up before the sums go on in double precision.
const ROWS_PER_SUM: usize = 16;

/// How many numbers before they are needed the memory is asked for them.
const AHEAD: usize = 2048;

/// No register of any instruction set holds more numbers.
const MOST_LANES: usize = 16;

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

/// The registers of a row. Where its numbers don't fill them, the last ends with the row: it begins
/// with numbers that the one before has, too. A `SHORT` row has less than one register.
#[derive(Clone, Copy)]
struct Registers<V, const SHORT: bool> {
    /// Numbers of a row.
    features: usize,
    /// The numbers before this one fill whole registers.
    whole: usize,
    /// Where the last register starts, if numbers are left.
    last: Option<usize>,
    /// Ones in the lanes of the last that have numbers of their own, zeros in the others.
    own: V,
}

impl<V: Vector, const SHORT: bool> Registers<V, SHORT> {
    #[inline(always)]
    fn new(features: usize) -> Self {
        let left = features % V::LANES;
        let mut own = [V::Element::default(); MOST_LANES];
        for lane in 0..V::LANES {
            let is_own = if SHORT {
                lane < left
            } else {
                lane + left >= V::LANES
            };
            own[lane] = V::Element::of(f64::from(is_own));
        }
        Self {
            features,
            whole: features - left,
            last: (left > 0).then(|| features.saturating_sub(V::LANES)),
            own: V::from_slice(&own),
        }
    }

    /// What a register that starts here has of a row.
    #[inline(always)]
    fn place(&self, start: usize) -> Range<usize> {
        if SHORT {
            0..self.features
        } else {
            start..start + V::LANES
        }
    }

    /// Where the whole registers that are summed up together with the one at `start` end.
    #[inline(always)]
    fn end_of_sum(&self, start: usize) -> usize {
        self.whole.min(start + REGISTERS_PER_SUM * V::LANES)
    }

    /// The same of a row among rows that stand one after the other.
    #[inline(always)]
    fn place_in_row(&self, row: usize, start: usize) -> Range<usize> {
        let place = self.place(start);
        let before = row * self.features;
        before + place.start..before + place.end
    }
}

/// The forward pass of some rows.
struct Normalize<'a, F> {
    features: usize,
    epsilon: f64,
    weight: &'a [F],
    bias: &'a [F],
    input: Sequence<'a, F>,
    /// Which rows, counted over all steps.
    rows: Range<usize>,
    output: &'a mut [F],
    /// n, and one over the deviation of each row.
    tape: Option<(&'a mut [F], &'a mut [F])>,
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

/// A sum over each of some rows.
struct Sums<V, const R: usize> {
    /// Over the latest registers.
    registers: [V; R],
    /// Over all before them.
    totals: [f64; R],
}

impl<V: Vector, const R: usize> Sums<V, R> {
    #[inline(always)]
    fn new() -> Self {
        Self {
            registers: [splat(0.0); R],
            totals: [0.0; R],
        }
    }

    #[inline(always)]
    fn add(&mut self, values: [V; R]) {
        for row in 0..R {
            self.registers[row] = self.registers[row] + values[row];
        }
    }

    #[inline(always)]
    fn add_products(&mut self, a: [V; R], b: [V; R]) {
        for row in 0..R {
            self.registers[row] = a[row].mul_add(b[row], self.registers[row]);
        }
    }

    #[inline(always)]
    fn flush(&mut self) {
        for row in 0..R {
            self.totals[row] += total(self.registers[row]);
            self.registers[row] = splat(0.0);
        }
    }

    #[inline(always)]
    fn totals(mut self) -> [f64; R] {
        self.flush();
        self.totals
    }
}

/// The backward pass of some rows.
struct Backward<'a, F> {
    features: usize,
    weight: &'a [F],
    normalized: &'a [F],
    scales: &'a [F],
    output_gradient: &'a [F],
    input_gradient: Option<&'a mut [F]>,
    /// Those of the weight, then those of the bias: of a few rows,
    sums: &'a mut [F],
    /// and of all.
    totals: &'a mut [f64],
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

/// The sum of all numbers in a register.
#[inline(always)]
fn total<V: Vector>(register: V) -> f64 {
    let mut lanes = [V::Element::default(); MOST_LANES];
    register.to_slice(&mut lanes[..V::LANES]);
    let mut half = V::LANES / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
        half /= 2;
    }
    lanes[0].double()
}

/// A constant.
#[inline(always)]
fn splat<V: Vector>(value: f64) -> V {
    V::splat(V::Element::of(value))
}
