//! Adam (Kingma and Ba 2015), AMSGrad (Reddi et al. 2018), `AdamW` (Loshchilov and Hutter 2019).

use super::moments::{MomentOptions, Moments, bias_correction};
use super::{Equations, Method, Progress, splat};
use crate::simd::Vector;

/// Options of Adam, as PyTorch's.
#[derive(Debug, Clone, PartialEq)]
pub struct Adam {
    /// Learning rate.
    pub lr: f64,
    /// MomentOptions rates of the two moments.
    pub betas: (f64, f64),
    /// Added to the root of the second moment.
    pub eps: f64,
    /// L2 penalty, or decay of the weights themselves when `decoupled`.
    pub weight_decay: f64,
    /// Divides by the largest second moment so far.
    pub amsgrad: bool,
    /// Climbs instead of descending.
    pub maximize: bool,
    /// `AdamW`'s weight decay.
    pub decoupled: bool,
}

impl Default for Adam {
    fn default() -> Self {
        Self {
            lr: 1e-3,
            betas: (0.9, 0.999),
            eps: 1e-8,
            weight_decay: 0.0,
            amsgrad: false,
            maximize: false,
            decoupled: false,
        }
    }
}

impl Adam {
    /// `AdamW`, with PyTorch's defaults.
    #[must_use]
    pub fn adamw() -> Self {
        Self {
            weight_decay: 1e-2,
            decoupled: true,
            ..Self::default()
        }
    }
}

/// One update.
pub(super) struct Update<V> {
    moments: Moments<V>,
    /// What makes up for the root of a second moment that started from zero.
    unbias2: V,
    eps: V,
    /// The learning rate, divided by what makes up for a first moment that started from zero.
    step_size: V,
    amsgrad: bool,
}

impl Method<4> for Adam {
    type Equations<V: Vector> = Update<V>;

    const MEMORY: &'static [&'static str] = &["exp_avg", "exp_avg_sq", "max_exp_avg_sq"];

    fn memory_names(&self) -> Vec<&'static str> {
        Self::MEMORY[..2 + usize::from(self.amsgrad)].to_vec()
    }

    fn equations<V: Vector>(&self, progress: Progress) -> Update<V> {
        let (beta1, beta2) = self.betas;
        let correction1 = bias_correction(beta1, progress.number);
        let correction2 = bias_correction(beta2, progress.number);
        Update {
            moments: Moments::new(&MomentOptions {
                lr: self.lr,
                betas: self.betas,
                weight_decay: self.weight_decay,
                decoupled: self.decoupled,
                maximize: self.maximize,
            }),
            unbias2: splat(1.0 / correction2.sqrt()),
            eps: splat(self.eps),
            step_size: splat(self.lr / correction1),
            amsgrad: self.amsgrad,
        }
    }
}

impl<V: Vector> Equations<V, 4> for Update<V> {
    #[inline(always)]
    fn apply(&self, gradient: V, [value, m, v, largest]: [V; 4]) -> [V; 4] {
        let [_, value, m, v] = self.moments.next(gradient, value, m, v);
        let (largest, second) = if self.amsgrad {
            let largest = v.at_least(largest);
            (largest, largest)
        } else {
            (largest, v)
        };
        let denominator = second.sqrt().mul_add(self.unbias2, self.eps);
        let value = (-self.step_size).mul_add(m / denominator, value);
        [value, m, v, largest]
    }
}
