//! Losses of numbers.

use super::Elements;
use crate::engine::zeroed_vec;
use crate::error::Result;
use crate::float::Float;

/// A loss of one prediction `p` and one target `t`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Regression {
    /// `(p - t)^2`.
    Squared,
    /// `|p - t|`; its gradient at zero is zero.
    Absolute,
}

impl Regression {
    fn value_and_slope<F: Float>(self, prediction: F, target: F) -> (F, F) {
        let difference = prediction - target;
        match self {
            Self::Squared => (difference * difference, difference + difference),
            Self::Absolute => {
                let sign = if difference == F::zero() {
                    F::zero()
                } else {
                    difference.signum()
                };
                (difference.abs(), sign)
            }
        }
    }

    /// The loss of each element; `predictions` and `targets` have the same length.
    ///
    /// # Errors
    /// Out of memory.
    pub fn elements<F: Float>(
        self,
        predictions: &[F],
        targets: &[F],
        gradient: bool,
    ) -> Result<Elements<F>> {
        let mut values = zeroed_vec(predictions.len())?;
        let mut gradients = if gradient {
            Some(zeroed_vec(predictions.len())?)
        } else {
            None
        };
        for (index, (&prediction, &target)) in predictions.iter().zip(targets).enumerate() {
            let (value, slope) = self.value_and_slope(prediction, target);
            values[index] = value;
            if let Some(gradients) = &mut gradients {
                gradients[index] = slope;
            }
        }
        Ok(Elements {
            values,
            gradients,
            weights: None,
            denominators: None,
        })
    }
}
