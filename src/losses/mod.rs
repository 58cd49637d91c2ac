//! Losses: values of single elements, their gradients, and how they become one number.
//!
//! An element is what carries a weight: a number of a regression, a sample's class of a
//! classification, a target whose distribution is predicted. Elements of weight zero (masked, ignored) count for nothing, even where they
//! are NaN. The total weight is known before the elements are gone through, so that values and
//! gradients are made in one pass.

pub mod binary;
mod blocks;
pub mod classification;
pub mod distribution;
pub mod regression;

use crate::engine::zeroed_vec;
use crate::error::Result;
use crate::float::Float;

/// How many elements are gone through at a time: few enough to stay in the nearest cache.
const BLOCK: usize = 256;

/// How many numbers are joined side by side; a multiple of any register's.
const LANES: usize = 8;

/// How elements become one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduction {
    /// The weighted mean, `sum(w l) / sum(w)`.
    Mean,
    /// The weighted sum, `sum(w l)`.
    Sum,
    /// No reduction: `w l`; the gradient is that of the sum.
    None,
}

/// How much of a loss is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Nothing but the total weight.
    Weight,
    /// The value as well.
    Value,
    /// The gradient as well.
    Gradient,
}

/// What is wanted of a loss, beside its data.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a, F> {
    /// The weight of each element; ones when absent.
    pub weights: Option<&'a [F]>,
    /// How elements become one number.
    pub reduction: Reduction,
    /// How much is wanted.
    pub extent: Extent,
}

/// A reduced loss.
#[derive(Debug)]
pub struct Reduced<F> {
    /// The number, unless there is no reduction.
    pub value: f64,
    /// Weighted losses of single elements, when there is no reduction.
    pub elements: Option<Vec<F>>,
    /// The gradient with respect to the prediction, when asked for.
    pub gradient: Option<Vec<F>>,
    /// The mean's denominator: the sum of weights.
    pub weight: f64,
}

impl<F: Float> Request<'_, F> {
    /// The weight of one element.
    fn weight_of(&self, element: usize) -> f64 {
        self.weights
            .map_or(1.0, |weights| weights[element].double())
    }

    /// Room for the answer, from the total weight: zeros for `elements` and for a prediction of
    /// `len` numbers.
    fn room(&self, weight: f64, elements: usize, len: usize) -> Result<Reduced<F>> {
        let reduced = self.extent != Extent::Weight && self.reduction == Reduction::None;
        let elements = reduced.then(|| zeroed_vec(elements)).transpose()?;
        let gradient = self.extent == Extent::Gradient;
        let gradient = gradient.then(|| zeroed_vec(len)).transpose()?;
        Ok(Reduced {
            value: 0.0,
            elements,
            gradient,
            weight,
        })
    }

    /// The reduced value. A mean over no weight at all is zero.
    fn value(&self, sum: f64, weight: f64) -> f64 {
        match self.reduction {
            Reduction::Mean if weight == 0.0 => 0.0,
            Reduction::Mean => sum / weight,
            Reduction::Sum | Reduction::None => sum,
        }
    }
}

/// The sum in double precision, in an order that depends on the length alone.
#[inline(always)]
fn total<F: Float>(numbers: &[F]) -> f64 {
    fold(numbers, 0.0, |sum, number| sum + number)
}

/// The largest number; NaN doesn't count.
#[inline(always)]
fn largest<F: Float>(numbers: &[F]) -> f64 {
    fold(numbers, f64::NEG_INFINITY, |largest, number| {
        if number > largest { number } else { largest }
    })
}

/// Joins numbers in lanes, which the compiler turns into registers, and then the lanes.
#[inline(always)]
fn fold<F: Float>(numbers: &[F], start: f64, join: impl Fn(f64, f64) -> f64) -> f64 {
    let mut lanes = [start; LANES];
    let (chunks, rest) = numbers.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] = join(lanes[lane], chunk[lane].double());
        }
    }
    for (lane, number) in lanes.iter_mut().zip(rest) {
        *lane = join(*lane, number.double());
    }
    for width in [4, 2, 1] {
        for lane in 0..width {
            lanes[lane] = join(lanes[lane], lanes[lane + width]);
        }
    }
    lanes[0]
}

/// The product; zero where the weight is, even of NaN.
#[inline(always)]
fn weighted(number: f64, weight: f64) -> f64 {
    if weight == 0.0 { 0.0 } else { number * weight }
}
