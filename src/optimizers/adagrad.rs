//! Adagrad (Duchi, Hazan and Singer 2011).

use super::{Equations, Gradient, Method, Progress, splat};
use crate::simd::Vector;

/// Options of Adagrad, as PyTorch's.
#[derive(Debug, Clone, PartialEq)]
pub struct Adagrad {
    /// Learning rate.
    pub lr: f64,
    /// How fast the learning rate falls: by `1 + lr_decay` times the number of updates before.
    pub lr_decay: f64,
    /// L2 penalty.
    pub weight_decay: f64,
    /// What the sum of squares starts from.
    pub initial_accumulator_value: f64,
    /// Added to the root of the sum.
    pub eps: f64,
    /// Climbs instead of descending.
    pub maximize: bool,
}

impl Default for Adagrad {
    fn default() -> Self {
        Self {
            lr: 1e-2,
            lr_decay: 0.0,
            weight_decay: 0.0,
            initial_accumulator_value: 0.0,
            eps: 1e-10,
            maximize: false,
        }
    }
}

/// One update.
pub(super) struct Update<V> {
    gradient: Gradient<V>,
    lr: V,
    eps: V,
}

impl Method<2> for Adagrad {
    type Equations<V: Vector> = Update<V>;

    const MEMORY: &'static [&'static str] = &["sum"];

    fn start(&self) -> f64 {
        self.initial_accumulator_value
    }

    fn equations<V: Vector>(&self, progress: Progress) -> Update<V> {
        let before = progress.number as f64 - 1.0;
        Update {
            gradient: Gradient::new(self.maximize, self.weight_decay),
            lr: splat(self.lr / (1.0 + before * self.lr_decay)),
            eps: splat(self.eps),
        }
    }
}

impl<V: Vector> Equations<V, 2> for Update<V> {
    #[inline(always)]
    fn apply(&self, gradient: V, [value, sum]: [V; 2]) -> [V; 2] {
        let g = self.gradient.of(gradient, value);
        let sum = g.mul_add(g, sum);
        let value = (-self.lr).mul_add(g / (sum.sqrt() + self.eps), value);
        [value, sum]
    }
}
