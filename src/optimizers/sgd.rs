//! Stochastic gradient descent with momentum (Sutskever et al. 2013).

use super::{Equations, Gradient, Method, Progress, splat};
use crate::simd::Vector;

/// Options of SGD, as PyTorch's.
#[derive(Debug, Clone, PartialEq)]
pub struct Sgd {
    /// Learning rate.
    pub lr: f64,
    /// Factor of the velocity.
    pub momentum: f64,
    /// How much of the gradient is kept out of the velocity, from the second update on.
    pub dampening: f64,
    /// L2 penalty.
    pub weight_decay: f64,
    /// Nesterov's look-ahead.
    pub nesterov: bool,
    /// Climbs instead of descending.
    pub maximize: bool,
}

impl Default for Sgd {
    fn default() -> Self {
        Self {
            lr: 1e-3,
            momentum: 0.0,
            dampening: 0.0,
            weight_decay: 0.0,
            nesterov: false,
            maximize: false,
        }
    }
}

/// One update.
pub(super) struct Update<V> {
    gradient: Gradient<V>,
    lr: V,
    /// Factor of the velocity; nothing without momentum.
    momentum: Option<V>,
    /// Share of the gradient that goes into the velocity.
    share: V,
    nesterov: bool,
}

impl Method<2> for Sgd {
    type Equations<V: Vector> = Update<V>;

    const MEMORY: &'static [&'static str] = &["momentum_buffer"];

    fn memory_names(&self) -> Vec<&'static str> {
        Self::MEMORY[..usize::from(self.momentum != 0.0)].to_vec()
    }

    fn equations<V: Vector>(&self, progress: Progress) -> Update<V> {
        // The first velocity is the gradient.
        let dampening = if progress.number == 1 {
            0.0
        } else {
            self.dampening
        };
        Update {
            gradient: Gradient::new(self.maximize, self.weight_decay),
            lr: splat(self.lr),
            momentum: (self.momentum != 0.0).then(|| splat(self.momentum)),
            share: splat(1.0 - dampening),
            nesterov: self.nesterov,
        }
    }
}

impl<V: Vector> Equations<V, 2> for Update<V> {
    #[inline(always)]
    fn apply(&self, gradient: V, [value, velocity]: [V; 2]) -> [V; 2] {
        let g = self.gradient.of(gradient, value);
        let (velocity, direction) = match self.momentum {
            None => (velocity, g),
            Some(momentum) => {
                // A velocity that fades must not linger among the subnormals.
                let velocity = momentum.mul_add(velocity, self.share * g).flush_tiny();
                let ahead = momentum.mul_add(velocity, g);
                (velocity, if self.nesterov { ahead } else { velocity })
            }
        };
        let value = (-self.lr).mul_add(direction, value);
        [value, velocity]
    }
}
