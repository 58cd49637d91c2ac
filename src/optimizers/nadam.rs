//! `NAdam`: Adam with Nesterov's momentum (Dozat 2016).

use super::moments::{MomentOptions, Moments, bias_correction};
use super::{Equations, Method, Progress, splat};
use crate::float::Float;
use crate::simd::Vector;

/// Options of `NAdam`, as PyTorch's.
#[derive(Debug, Clone, PartialEq)]
pub struct NAdam {
    /// Learning rate.
    pub lr: f64,
    /// MomentOptions rates of the two moments.
    pub betas: (f64, f64),
    /// Added to the root of the second moment.
    pub eps: f64,
    /// L2 penalty, or decay of the weights themselves when `decoupled`.
    pub weight_decay: f64,
    /// How soon the momentum, which starts from half of it, reaches the first decay rate.
    pub momentum_decay: f64,
    /// Weight decay as `AdamW`'s.
    pub decoupled: bool,
    /// Climbs instead of descending.
    pub maximize: bool,
}

impl Default for NAdam {
    fn default() -> Self {
        Self {
            lr: 2e-3,
            betas: (0.9, 0.999),
            eps: 1e-8,
            weight_decay: 0.0,
            momentum_decay: 4e-3,
            decoupled: false,
            maximize: false,
        }
    }
}

impl NAdam {
    /// The momentum of the update with this number, counted from one.
    fn momentum(&self, number: f64) -> f64 {
        self.betas.0 * (1.0 - 0.5 * 0.96f64.powf(number * self.momentum_decay))
    }
}

/// One update.
pub(super) struct Update<V> {
    moments: Moments<V>,
    /// What makes up for the root of a second moment that started from zero.
    unbias2: V,
    eps: V,
    /// The learning rate's share for the gradient, and for the first moment.
    gradient_size: V,
    moment_size: V,
}

impl Method<3> for NAdam {
    type Equations<V: Vector> = Update<V>;

    const MEMORY: &'static [&'static str] = &["exp_avg", "exp_avg_sq"];

    fn product_name(&self) -> Option<&'static str> {
        Some("mu_product")
    }

    fn factor(&self, number: u64) -> f64 {
        self.momentum(number as f64)
    }

    fn equations<V: Vector>(&self, Progress { number, product }: Progress) -> Update<V> {
        let correction2 = bias_correction(self.betas.1, number);
        let number = number as f64;
        let (now, next) = (self.momentum(number), self.momentum(number + 1.0));
        // A momentum just below one is one in single precision.
        let product = product.min((1.0 - f32::EPSILON).double());
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
            gradient_size: splat(self.lr * (1.0 - now) / (1.0 - product)),
            moment_size: splat(self.lr * next / (1.0 - product * next)),
        }
    }
}

impl<V: Vector> Equations<V, 3> for Update<V> {
    #[inline(always)]
    fn apply(&self, gradient: V, [value, m, v]: [V; 3]) -> [V; 3] {
        let [g, value, m, v] = self.moments.next(gradient, value, m, v);
        let denominator = v.sqrt().mul_add(self.unbias2, self.eps);
        let step = self.gradient_size.mul_add(g, self.moment_size * m);
        [value - step / denominator, m, v]
    }
}
