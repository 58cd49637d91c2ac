//! `RAdam`: Adam that waits until the second moment can be trusted (Liu et al. 2020).

use super::moments::{MomentOptions, Moments, bias_correction};
use super::{Equations, Method, Progress, splat};
use crate::simd::Vector;

/// From this length of the second moment's average on, its variance is known well enough.
const TRUSTED_LENGTH: f64 = 5.0;

/// Options of `RAdam`, as PyTorch's.
#[derive(Debug, Clone, PartialEq)]
pub struct RAdam {
    /// Learning rate.
    pub lr: f64,
    /// MomentOptions rates of the two moments.
    pub betas: (f64, f64),
    /// Added to the root of the second moment.
    pub eps: f64,
    /// L2 penalty, or decay of the weights themselves when `decoupled`.
    pub weight_decay: f64,
    /// Weight decay as `AdamW`'s.
    pub decoupled: bool,
    /// Climbs instead of descending.
    pub maximize: bool,
}

impl Default for RAdam {
    fn default() -> Self {
        Self {
            lr: 1e-3,
            betas: (0.9, 0.999),
            eps: 1e-8,
            weight_decay: 0.0,
            decoupled: false,
            maximize: false,
        }
    }
}

/// One update.
pub(super) struct Update<V> {
    moments: Moments<V>,
    eps: V,
    /// The learning rate with all corrections.
    step_size: V,
    /// Whether the second moment counts already.
    adaptive: bool,
}

impl Method<3> for RAdam {
    type Equations<V: Vector> = Update<V>;

    const MEMORY: &'static [&'static str] = &["exp_avg", "exp_avg_sq"];

    fn equations<V: Vector>(&self, Progress { number, .. }: Progress) -> Update<V> {
        let (beta1, beta2) = self.betas;
        let correction2 = bias_correction(beta2, number);
        // The lengths of simple averages that vary as much as the second moment does: in the end,
        // and now.
        let end = 2.0 / (1.0 - beta2) - 1.0;
        let faded = beta2.powf(number as f64);
        let now = end - 2.0 * number as f64 * faded / correction2;
        let adaptive = now > TRUSTED_LENGTH;
        let mut step_size = self.lr / bias_correction(beta1, number);
        if adaptive {
            let ratio = (now - 4.0) * (now - 2.0) * end / ((end - 4.0) * (end - 2.0) * now);
            step_size *= (ratio * correction2).sqrt();
        }
        Update {
            moments: Moments::new(&MomentOptions {
                lr: self.lr,
                betas: self.betas,
                weight_decay: self.weight_decay,
                decoupled: self.decoupled,
                maximize: self.maximize,
            }),
            eps: splat(self.eps),
            step_size: splat(step_size),
            adaptive,
        }
    }
}

impl<V: Vector> Equations<V, 3> for Update<V> {
    #[inline(always)]
    fn apply(&self, gradient: V, [value, m, v]: [V; 3]) -> [V; 3] {
        let [_, value, m, v] = self.moments.next(gradient, value, m, v);
        let direction = if self.adaptive {
            m / (v.sqrt() + self.eps)
        } else {
            m
        };
        [(-self.step_size).mul_add(direction, value), m, v]
    }
}
