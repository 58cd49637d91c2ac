//! Losses: values of single elements, their gradients, and how they become one number.

pub mod classification;
pub mod regression;

use crate::engine::zeroed_vec;
use crate::error::Result;
use crate::float::Float;
use crate::memory::copied_vec;

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

/// Losses of single elements before reduction.
///
/// An element is what carries a weight: a number of a regression, a sample's class of a
/// classification. Elements of weight zero (masked, ignored) count for nothing, even where they
/// are NaN.
#[derive(Debug)]
pub struct Elements<F> {
    /// The loss of each element, not weighted.
    pub values: Vec<F>,
    /// The gradient of each element's loss, not weighted; as many numbers an element as the
    /// prediction has.
    pub gradients: Option<Vec<F>>,
    /// The weight of each element in the sum; ones when absent.
    pub weights: Option<Vec<F>>,
    /// The weight of each element in the mean's denominator, where it isn't the same.
    pub denominators: Option<Vec<F>>,
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

impl<F: Float> Elements<F> {
    /// Multiplies every element's weight, in sum and mean, by further weights.
    ///
    /// # Errors
    /// Out of memory.
    pub fn reweight(&mut self, factors: &[F]) -> Result<()> {
        let multiply = |weights: &mut Vec<F>| {
            for (weight, &factor) in weights.iter_mut().zip(factors) {
                *weight *= factor;
            }
        };
        match &mut self.weights {
            Some(weights) => multiply(weights),
            None => self.weights = Some(copied_vec(factors)?),
        }
        if let Some(denominators) = &mut self.denominators {
            multiply(denominators);
        }
        Ok(())
    }

    /// Reduces. A mean over no weight at all is zero, and so is its gradient.
    ///
    /// # Errors
    /// Out of memory.
    pub fn reduce(self, reduction: Reduction) -> Result<Reduced<F>> {
        let count = self.values.len();
        let weight_of = |index: usize| match &self.weights {
            Some(weights) => weights[index],
            None => F::one(),
        };
        let mut sum = 0.0;
        for (index, &value) in self.values.iter().enumerate() {
            let weight = weight_of(index);
            if weight != F::zero() {
                sum += weight.double() * value.double();
            }
        }
        let weight = match self.denominators.as_ref().or(self.weights.as_ref()) {
            Some(weights) => weights.iter().map(|weight| weight.double()).sum(),
            None => count as f64,
        };
        let (value, scale) = match reduction {
            Reduction::Mean if weight == 0.0 => (0.0, 0.0),
            Reduction::Mean => (sum / weight, 1.0 / weight),
            Reduction::Sum | Reduction::None => (sum, 1.0),
        };
        let gradient = match self.gradients.as_ref() {
            None => None,
            Some(raw) => {
                let mut gradient = zeroed_vec(raw.len())?;
                let each = raw.len() / count.max(1);
                for index in 0..count {
                    let factor = weight_of(index).double() * scale;
                    if factor == 0.0 {
                        continue;
                    }
                    for at in index * each..(index + 1) * each {
                        gradient[at] = F::of(raw[at].double() * factor);
                    }
                }
                Some(gradient)
            }
        };
        let elements = match reduction {
            Reduction::None => {
                let mut elements = zeroed_vec(count)?;
                for (index, element) in elements.iter_mut().enumerate() {
                    let weight = weight_of(index);
                    if weight != F::zero() {
                        *element = weight * self.values[index];
                    }
                }
                Some(elements)
            }
            Reduction::Mean | Reduction::Sum => None,
        };
        Ok(Reduced {
            value,
            elements,
            gradient,
            weight,
        })
    }
}
