//! What Adam and its relatives share: the two moments, and two ways to let weights decay.

use super::{Gradient, splat};
use crate::simd::Vector;

/// Running means of gradients and of their squares, and the gradient that goes into them.
pub(super) struct Moments<V> {
    gradient: Gradient<V>,
    /// 1 - beta1, beta2, 1 - beta2.
    new1: V,
    old2: V,
    new2: V,
    /// What decoupled decay leaves of a weight.
    shrink: V,
}

/// The options about moments and decay, which all of them have.
pub(super) struct MomentOptions {
    pub lr: f64,
    pub betas: (f64, f64),
    pub weight_decay: f64,
    pub decoupled: bool,
    pub maximize: bool,
}

impl<V: Vector> Moments<V> {
    pub fn new(options: &MomentOptions) -> Self {
        let (beta1, beta2) = options.betas;
        let (l2, shrink) = if options.decoupled {
            (0.0, 1.0 - options.lr * options.weight_decay)
        } else {
            (options.weight_decay, 1.0)
        };
        Self {
            gradient: Gradient::new(options.maximize, l2),
            new1: splat(1.0 - beta1),
            old2: splat(beta2),
            new2: splat(1.0 - beta2),
            shrink: splat(shrink),
        }
    }

    /// The gradient that counts, the weight after its decay, and the new moments.
    #[inline(always)]
    pub fn next(&self, gradient: V, value: V, m: V, v: V) -> [V; 4] {
        let g = self.gradient.of(gradient, value);
        // A moment that fades must not linger among the subnormals.
        let m = self.new1.mul_add(g - m, m).flush_tiny();
        let v = self.old2.mul_add(v, self.new2 * g * g);
        [g, self.shrink * value, m, v]
    }
}

/// What makes up for a mean that started from zero, by its number of terms.
pub(super) fn bias_correction(beta: f64, number: u64) -> f64 {
    // The number as f64 keeps powers right however large it is.
    1.0 - beta.powf(number as f64)
}
