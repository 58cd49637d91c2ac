//! Losses: values of single elements, their gradients, and how they become one number.
//!
//! An element is what carries a weight: a number of a regression, a sample's class of a
//! classification. Elements of weight zero (masked, ignored) count for nothing, even where they
//! are NaN. The total weight is known before the elements are gone through, so that values and
//! gradients are made in one pass.

pub mod classification;
pub mod regression;

use crate::engine::zeroed_vec;
use crate::error::Result;
use crate::float::Float;

/// How many partial sums run side by side.
const PARTIAL_SUMS: usize = 16;

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
    let mut sums = [0.0; PARTIAL_SUMS];
    let (chunks, rest) = numbers.as_chunks::<PARTIAL_SUMS>();
    for chunk in chunks {
        for lane in 0..PARTIAL_SUMS {
            sums[lane] += chunk[lane].double();
        }
    }
    for (sum, number) in sums.iter_mut().zip(rest) {
        *sum += number.double();
    }
    sums.into_iter().sum()
}
