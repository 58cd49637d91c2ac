//! The simple recurrent network (Elman 1990).

use super::{Cell, Clip, masked, no_factor};
use crate::simd::{Places, Vector};

/// What the simple recurrent network makes of its pre-activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Nonlinearity {
    /// The hyperbolic tangent.
    #[default]
    Tanh,
    /// The larger one of the number and zero (Le, Jaitly and Hinton 2015).
    Relu,
}

/// The cell of the simple recurrent network.
///
/// ```text
/// h' = tanh(W_ih x + b_ih + W_hh h + b_hh)     or max(0, ...)
/// ```
///
/// With update dropout, a mask m: `h' = m tanh(...)`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Rnn {
    /// What is made of the pre-activation.
    pub nonlinearity: Nonlinearity,
    /// Limits of the pre-activation.
    pub clip: Clip,
}

impl Cell for Rnn {
    /// The pre-activation.
    type Accumulators<V: Vector> = [V; 1];
    type Tile<V: Vector> = [V; 4];
    type Input = Places<0, 1>;
    type Hidden = Places<0, 1>;
    type Second = Places<0, 0>;
    type Constants<V: Vector> = [V; 0];
    /// Hidden state h.
    type States<V: Vector> = [V; 1];
    /// What the pre-activation became.
    type Saved<V: Vector> = [V; 1];

    fn gates(&self) -> usize {
        1
    }

    fn input_gates(&self) -> &'static [usize] {
        &[0]
    }

    fn hidden_gates(&self) -> &'static [usize] {
        &[0]
    }

    no_factor!();

    #[inline(always)]
    fn forward<V: Vector>(
        &self,
        [a]: [V; 1],
        _: [V; 1],
        _: [V; 0],
        update: Option<V>,
    ) -> ([V; 1], [V; 1]) {
        let a = self.clip.apply(a);
        let zero = V::splat(num_traits::Zero::zero());
        let activated = match self.nonlinearity {
            Nonlinearity::Tanh => a.tanh(),
            Nonlinearity::Relu => a.at_least(zero),
        }
        .flush_tiny();
        ([masked(activated, update)], [activated])
    }

    #[inline(always)]
    fn backward<V: Vector>(
        &self,
        [activated]: [V; 1],
        _: [V; 1],
        [dh_new]: [V; 1],
        _: [V; 0],
        update: Option<V>,
    ) -> ([V; 1], [V; 1], [V; 0]) {
        let one = V::splat(num_traits::One::one());
        let zero = V::splat(num_traits::Zero::zero());
        let d = masked(dh_new, update);
        let da = match self.nonlinearity {
            // tanh' = 1 - t^2.
            Nonlinearity::Tanh => {
                let da = d * (one - activated * activated);
                self.clip.tanh_slope(da, activated)
            }
            // 1 above zero and below the limit, else 0.
            Nonlinearity::Relu => {
                let da = d.zero_from(-activated, zero);
                self.clip.identity_slope(da, activated)
            }
        };
        // The previous hidden state acts through the accumulator only.
        ([da.flush_tiny()], [zero], [])
    }
}
