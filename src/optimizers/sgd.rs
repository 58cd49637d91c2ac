//! Stochastic gradient descent with momentum (Sutskever et al. 2013).

use super::{Memory, effective_gradient};
use crate::float::Float;

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

impl Sgd {
    pub(super) fn memory_names(&self) -> Vec<&'static str> {
        if self.momentum == 0.0 {
            Vec::new()
        } else {
            vec!["momentum_buffer"]
        }
    }

    pub(super) fn update<F: Float>(
        &self,
        values: &mut [F],
        gradient: &[F],
        memory: &mut Memory<F>,
    ) {
        let (lr, decay) = (F::of(self.lr), F::of(self.weight_decay));
        let first = memory.updates == 1;
        let momentum = F::of(self.momentum);
        let share = F::of(1.0 - self.dampening);
        let mut velocities = memory.arrays.first_mut().map(|(_, velocity)| velocity);
        for index in 0..values.len() {
            let g = effective_gradient(gradient[index], values[index], self.maximize, decay);
            let direction = match &mut velocities {
                None => g,
                Some(velocity) => {
                    let v = &mut velocity[index];
                    *v = if first { g } else { momentum * *v + share * g };
                    if self.nesterov { g + momentum * *v } else { *v }
                }
            };
            values[index] -= lr * direction;
        }
    }
}
