//! Adadelta (Zeiler 2012).

use super::{Equations, Gradient, Method, Progress, splat};
use crate::simd::Vector;

/// Options of Adadelta, as PyTorch's.
#[derive(Debug, Clone, PartialEq)]
pub struct Adadelta {
    /// Factor of the steps, which have a size of their own.
    pub lr: f64,
    /// Decay rate of the two mean squares.
    pub rho: f64,
    /// Added to the mean squares, inside of their roots.
    pub eps: f64,
    /// L2 penalty.
    pub weight_decay: f64,
    /// Climbs instead of descending.
    pub maximize: bool,
}

impl Default for Adadelta {
    fn default() -> Self {
        Self {
            lr: 1.0,
            rho: 0.9,
            eps: 1e-6,
            weight_decay: 0.0,
            maximize: false,
        }
    }
}

/// One update.
pub(super) struct Update<V> {
    gradient: Gradient<V>,
    /// rho, 1 - rho.
    old: V,
    new: V,
    eps: V,
    lr: V,
}

impl Method<3> for Adadelta {
    type Equations<V: Vector> = Update<V>;

    const MEMORY: &'static [&'static str] = &["square_avg", "acc_delta"];

    fn equations<V: Vector>(&self, _progress: Progress) -> Update<V> {
        Update {
            gradient: Gradient::new(self.maximize, self.weight_decay),
            old: splat(self.rho),
            new: splat(1.0 - self.rho),
            eps: splat(self.eps),
            lr: splat(self.lr),
        }
    }
}

impl<V: Vector> Equations<V, 3> for Update<V> {
    #[inline(always)]
    fn apply(&self, gradient: V, [value, square, steps]: [V; 3]) -> [V; 3] {
        let g = self.gradient.of(gradient, value);
        // Mean squares that fade must not linger among the subnormals.
        let square = self.old.mul_add(square, self.new * g * g).flush_tiny();
        let step = (steps + self.eps).sqrt() / (square + self.eps).sqrt() * g;
        let steps = self.old.mul_add(steps, self.new * step * step).flush_tiny();
        let value = (-self.lr).mul_add(step, value);
        [value, square, steps]
    }
}
