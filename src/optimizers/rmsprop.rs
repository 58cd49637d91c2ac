//! `RMSprop` (Tieleman and Hinton 2012), centred as in Graves (2013).

use super::{Equations, Gradient, Method, Progress, splat};
use crate::simd::Vector;

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

impl Default for RmsProp {
    fn default() -> Self {
        Self {
            lr: 1e-2,
            alpha: 0.99,
            eps: 1e-8,
            weight_decay: 0.0,
            momentum: 0.0,
            centered: false,
            maximize: false,
        }
    }
}

/// One update.
pub(super) struct Update<V> {
    gradient: Gradient<V>,
    /// alpha, 1 - alpha.
    old: V,
    new: V,
    eps: V,
    lr: V,
    /// Factor of the velocity; nothing without momentum.
    momentum: Option<V>,
    centered: bool,
    zero: V,
}

impl Method<4> for RmsProp {
    type Equations<V: Vector> = Update<V>;

    const MEMORY: &'static [&'static str] = &["square_avg", "momentum_buffer", "grad_avg"];

    fn memory_names(&self) -> Vec<&'static str> {
        let needed = [true, self.momentum > 0.0, self.centered];
        let names = Self::MEMORY.iter().zip(needed);
        names
            .filter_map(|(&name, needed)| needed.then_some(name))
            .collect()
    }

    fn equations<V: Vector>(&self, _progress: Progress) -> Update<V> {
        Update {
            gradient: Gradient::new(self.maximize, self.weight_decay),
            old: splat(self.alpha),
            new: splat(1.0 - self.alpha),
            eps: splat(self.eps),
            lr: splat(self.lr),
            momentum: (self.momentum > 0.0).then(|| splat(self.momentum)),
            centered: self.centered,
            zero: splat(0.0),
        }
    }
}

impl<V: Vector> Equations<V, 4> for Update<V> {
    #[inline(always)]
    fn apply(&self, gradient: V, [value, square, velocity, mean]: [V; 4]) -> [V; 4] {
        let g = self.gradient.of(gradient, value);
        let square = self.old.mul_add(square, self.new * g * g);
        let (mean, variance) = if self.centered {
            let mean = self.new.mul_add(g - mean, mean).flush_tiny();
            // Rounding may leave a difference just below zero.
            (mean, (-mean).mul_add(mean, square).at_least(self.zero))
        } else {
            (mean, square)
        };
        let direction = g / (variance.sqrt() + self.eps);
        let (velocity, direction) = match self.momentum {
            None => (velocity, direction),
            Some(momentum) => {
                // A velocity that fades must not linger among the subnormals.
                let velocity = momentum.mul_add(velocity, direction).flush_tiny();
                (velocity, velocity)
            }
        };
        let value = (-self.lr).mul_add(direction, value);
        [value, square, velocity, mean]
    }
}
