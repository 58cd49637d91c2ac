//! Rows in registers, and sums over them.

use std::ops::Range;

use crate::float::Float;
use crate::simd::Vector;

/// Rows that are gone through side by side, so that no sum waits for the one before it.
pub const ROWS: usize = 4;

/// So many registers of a row are summed up before the sum goes on in double precision: a long row
/// loses no more digits than a short one.
const REGISTERS_PER_SUM: usize = 32;

/// How many numbers before they are needed the memory is asked for them.
pub const AHEAD: usize = 2048;

/// No register of any instruction set holds more numbers.
const MOST_LANES: usize = 16;

/// The registers of a row. Where its numbers don't fill them, the last ends with the row: it begins
/// with numbers that the one before has, too. A `SHORT` row has less than one register.
#[derive(Clone, Copy)]
pub struct Registers<V, const SHORT: bool> {
    /// Numbers of a row.
    pub features: usize,
    /// The numbers before this one fill whole registers.
    pub whole: usize,
    /// Where the last register starts, if numbers are left.
    pub last: Option<usize>,
    /// Ones in the lanes of the last that have numbers of their own, zeros in the others.
    pub own: V,
}

impl<V: Vector, const SHORT: bool> Registers<V, SHORT> {
    #[inline(always)]
    pub fn new(features: usize) -> Self {
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
    pub fn place(&self, start: usize) -> Range<usize> {
        if SHORT {
            0..self.features
        } else {
            start..start + V::LANES
        }
    }

    /// Where the whole registers that are summed up together with the one at `start` end.
    #[inline(always)]
    pub fn end_of_sum(&self, start: usize) -> usize {
        self.whole.min(start + REGISTERS_PER_SUM * V::LANES)
    }

    /// The same of a row among rows that stand one after the other.
    #[inline(always)]
    pub fn place_in_row(&self, row: usize, start: usize) -> Range<usize> {
        let place = self.place(start);
        let before = row * self.features;
        before + place.start..before + place.end
    }
}

/// A sum over each of some rows.
pub struct Sums<V, const R: usize> {
    /// Over the latest registers.
    registers: [V; R],
    /// Over all before them.
    totals: [f64; R],
}

impl<V: Vector, const R: usize> Sums<V, R> {
    #[inline(always)]
    pub fn new() -> Self {
        Self {
            registers: [splat(0.0); R],
            totals: [0.0; R],
        }
    }

    #[inline(always)]
    pub fn add(&mut self, values: [V; R]) {
        for row in 0..R {
            self.registers[row] = self.registers[row] + values[row];
        }
    }

    #[inline(always)]
    pub fn add_products(&mut self, a: [V; R], b: [V; R]) {
        for row in 0..R {
            self.registers[row] = a[row].mul_add(b[row], self.registers[row]);
        }
    }

    #[inline(always)]
    pub fn flush(&mut self) {
        for row in 0..R {
            self.totals[row] += total(self.registers[row]);
            self.registers[row] = splat(0.0);
        }
    }

    #[inline(always)]
    pub fn totals(mut self) -> [f64; R] {
        self.flush();
        self.totals
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
pub fn splat<V: Vector>(value: f64) -> V {
    V::splat(V::Element::of(value))
}
