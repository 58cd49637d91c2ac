//! Adam (Kingma and Ba 2015), AMSGrad (Reddi et al. 2018), `AdamW` (Loshchilov and Hutter 2019).

use super::{Equations, Gradient, Method, splat};
use crate::simd::Vector;

/// Options of Adam, as PyTorch's.
#[derive(Debug, Clone, PartialEq)]
pub struct Adam {
    /// Learning rate.
    pub lr: f64,
    /// Decay rates of the two moments.
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

/// One update.
pub(super) struct Update<V> {
    gradient: Gradient<V>,
    /// 1 - beta1, beta2, 1 - beta2.
    new1: V,
    old2: V,
    new2: V,
    /// What makes up for the root of a second moment that started from zero.
    unbias2: V,
    eps: V,
    /// The learning rate, divided by what makes up for a first moment that started from zero.
    step_size: V,
    /// What decoupled decay leaves of a weight.
    shrink: V,
    amsgrad: bool,
}

impl Method<4> for Adam {
    type Equations<V: Vector> = Update<V>;

    const MEMORY: &'static [&'static str] = &["exp_avg", "exp_avg_sq", "max_exp_avg_sq"];

    fn memory_names(&self) -> Vec<&'static str> {
        Self::MEMORY[..2 + usize::from(self.amsgrad)].to_vec()
    }

    fn equations<V: Vector>(&self, number: u64) -> Update<V> {
        let (beta1, beta2) = self.betas;
        // The number as f64 keeps powers right however large it is.
        let number = number as f64;
        let (l2, shrink) = if self.decoupled {
            (0.0, 1.0 - self.lr * self.weight_decay)
        } else {
            (self.weight_decay, 1.0)
        };
        Update {
            gradient: Gradient::new(self.maximize, l2),
            new1: splat(1.0 - beta1),
            old2: splat(beta2),
            new2: splat(1.0 - beta2),
            unbias2: splat(1.0 / (1.0 - beta2.powf(number)).sqrt()),
            eps: splat(self.eps),
            step_size: splat(self.lr / (1.0 - beta1.powf(number))),
            shrink: splat(shrink),
            amsgrad: self.amsgrad,
        }
    }
}

impl<V: Vector> Equations<V, 4> for Update<V> {
    #[inline(always)]
    fn apply(&self, gradient: V, [value, m, v, largest]: [V; 4]) -> [V; 4] {
        let g = self.gradient.of(gradient, value);
        // A moment that fades must not linger among the subnormals.
        let m = self.new1.mul_add(g - m, m).flush_tiny();
        let v = self.old2.mul_add(v, self.new2 * g * g);
        let largest = v.at_least(largest);
        let second = if self.amsgrad { largest } else { v };
        let denominator = second.sqrt().mul_add(self.unbias2, self.eps);
        let value = (-self.step_size).mul_add(m / denominator, self.shrink * value);
        [value, m, v, largest]
    }
}
