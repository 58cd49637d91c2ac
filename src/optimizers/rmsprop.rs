//! `RMSprop` (Tieleman and Hinton 2012), centred as in Graves (2013).

use super::{Memory, effective_gradient};
use crate::float::Float;

/// Options of `RMSprop`, as PyTorch's.
#[derive(Debug, Clone, PartialEq)]
pub struct RmsProp {
    /// Learning rate.
    pub lr: f64,
    /// Decay rate of the mean square.
    pub alpha: f64,
    /// Added to the root, outside of it.
    pub eps: f64,
    /// L2 penalty.
    pub weight_decay: f64,
    /// Factor of the velocity.
    pub momentum: f64,
    /// Subtracts the squared mean: divides by the deviation rather than the root mean square.
    pub centered: bool,
    /// Climbs instead of descending.
    pub maximize: bool,
}

impl RmsProp {
    pub(super) fn memory_names(&self) -> Vec<&'static str> {
        let mut names = vec!["square_avg"];
        if self.momentum > 0.0 {
            names.push("momentum_buffer");
        }
        if self.centered {
            names.push("grad_avg");
        }
        names
    }

    pub(super) fn update<F: Float>(
        &self,
        values: &mut [F],
        gradient: &[F],
        memory: &mut Memory<F>,
    ) {
        let (lr, decay, eps) = (F::of(self.lr), F::of(self.weight_decay), F::of(self.eps));
        let (old, new) = (F::of(self.alpha), F::of(1.0 - self.alpha));
        let momentum = F::of(self.momentum);
        let (mut squares, mut velocities, mut means) = (None, None, None);
        for (name, array) in &mut memory.arrays {
            match *name {
                "square_avg" => squares = Some(array),
                "momentum_buffer" => velocities = Some(array),
                _ => means = Some(array),
            }
        }
        let Some(squares) = squares else { return };
        for index in 0..values.len() {
            let g = effective_gradient(gradient[index], values[index], self.maximize, decay);
            let square = &mut squares[index];
            *square = old * *square + new * g * g;
            let variance = match &mut means {
                None => *square,
                Some(means) => {
                    let mean = &mut means[index];
                    *mean += new * (g - *mean);
                    // Rounding may leave a difference just below zero.
                    (*square - *mean * *mean).max(F::zero())
                }
            };
            let direction = g / (variance.sqrt() + eps);
            let direction = match &mut velocities {
                None => direction,
                Some(velocities) => {
                    let velocity = &mut velocities[index];
                    *velocity = momentum * *velocity + direction;
                    *velocity
                }
            };
            values[index] -= lr * direction;
        }
    }
}
