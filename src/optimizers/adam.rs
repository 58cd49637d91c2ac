//! Adam (Kingma and Ba 2015), AMSGrad (Reddi et al. 2018), `AdamW` (Loshchilov and Hutter 2019).

use super::{Memory, effective_gradient};
use crate::float::Float;

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

impl Adam {
    pub(super) fn memory_names(&self) -> Vec<&'static str> {
        let mut names = vec!["exp_avg", "exp_avg_sq"];
        if self.amsgrad {
            names.push("max_exp_avg_sq");
        }
        names
    }

    pub(super) fn update<F: Float>(
        &self,
        values: &mut [F],
        gradient: &[F],
        memory: &mut Memory<F>,
    ) {
        let (beta1, beta2) = self.betas;
        // The count as f64 keeps powers right for any number of steps.
        let count = memory.updates as f64;
        let correction1 = 1.0 - beta1.powf(count);
        let correction2 = F::of((1.0 - beta2.powf(count)).sqrt());
        let step_size = F::of(self.lr / correction1);
        let eps = F::of(self.eps);
        let (l2, shrink) = if self.decoupled {
            (F::zero(), F::of(1.0 - self.lr * self.weight_decay))
        } else {
            (F::of(self.weight_decay), F::one())
        };
        let (new1, old2, new2) = (F::of(1.0 - beta1), F::of(beta2), F::of(1.0 - beta2));
        let [(_, first), (_, second), largest @ ..] = memory.arrays.as_mut_slice() else {
            return;
        };
        let mut largest = largest.first_mut().map(|(_, largest)| largest);
        for index in 0..values.len() {
            let g = effective_gradient(gradient[index], values[index], self.maximize, l2);
            let m = &mut first[index];
            *m += new1 * (g - *m);
            let v = &mut second[index];
            *v = old2 * *v + new2 * g * g;
            let v = match &mut largest {
                None => *v,
                Some(largest) => {
                    largest[index] = largest[index].max(*v);
                    largest[index]
                }
            };
            let denominator = v.sqrt() / correction2 + eps;
            values[index] = shrink * values[index] - step_size * (*m / denominator);
        }
    }
}
