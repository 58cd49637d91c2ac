//! The gated recurrent unit with the reset gate before the recurrent product, as in the paper of Cho et al.
//! (2014) and by default in ONNX.

use super::{Cell, Clip, masked};
use crate::simd::{Places, Vector};

/// The GRU cell whose reset gate acts on the hidden state that the candidate's recurrent weights see.
///
/// With the pre-activations `a = W_ih x + b_ih + W_hh h + b_hh` of the gates r and z:
///
/// ```text
/// r = sigmoid(a_r)                                       reset gate
/// z = sigmoid(a_z)                                       update gate
/// n = tanh(W_in x + b_in + W_hn (r h) + b_hn)            candidate
/// h' = (1 - z) n + z h                                   hidden state
/// ```
///
/// With update dropout, a mask m: `h' = (1 - z) (m n) + z h`. Limits act on `a_r`, `a_z` and the
/// candidate's whole sum.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct GruBefore {
    /// Limits of the pre-activations.
    pub clip: Clip,
}

impl Cell for GruBefore {
    /// The candidate, gates r and z.
    type Accumulators<V: Vector> = [V; 3];
    type Tile<V: Vector> = [V; 3];
    type Input = Places<0, 3>;
    type Hidden = Places<1, 3>;
    /// The candidate's recurrent product.
    type Second = Places<0, 1>;
    type Constants<V: Vector> = [V; 0];
    /// Hidden state h.
    type States<V: Vector> = [V; 1];
    /// Activated gates r and z, the candidate n.
    type Saved<V: Vector> = [V; 3];

    fn gates(&self) -> usize {
        3
    }

    fn input_gates(&self) -> &'static [usize] {
        &[2, 0, 1]
    }

    fn hidden_gates(&self) -> &'static [usize] {
        &[0, 1]
    }

    fn second_gates(&self) -> &'static [usize] {
        &[2]
    }

    #[inline(always)]
    fn factor<V: Vector>(&self, [_, a_r, _]: [V; 3]) -> V {
        self.clip.apply(a_r).sigmoid()
    }

    #[inline(always)]
    fn factor_backward<V: Vector>(&self, [r, _, _]: [V; 3], dr: V) -> (V, [V; 3]) {
        let one = V::splat(num_traits::One::one());
        let zero = V::splat(num_traits::Zero::zero());
        // sigmoid' = s (1 - s).
        let da_r = self.clip.sigmoid_slope(dr * r * (one - r), r);
        (r, [zero, da_r.flush_tiny(), zero])
    }

    #[inline(always)]
    fn forward<V: Vector>(
        &self,
        [a_n, a_r, a_z]: [V; 3],
        [h]: [V; 1],
        _: [V; 0],
        update: Option<V>,
    ) -> ([V; 1], [V; 3]) {
        let r = self.clip.apply(a_r).sigmoid();
        let z = self.clip.apply(a_z).sigmoid();
        let n = self.clip.apply(a_n).tanh();
        // (1 - z) m n + z h
        let candidate = masked(n, update);
        let h_new = z.mul_add(h - candidate, candidate).flush_tiny();
        ([h_new], [r, z, n])
    }

    /// Of the reset gate only what doesn't pass through the second product: nothing.
    #[inline(always)]
    fn backward<V: Vector>(
        &self,
        [_, z, n]: [V; 3],
        [h]: [V; 1],
        [dh_new]: [V; 1],
        _: [V; 0],
        update: Option<V>,
    ) -> ([V; 3], [V; 1], [V; 0]) {
        let one = V::splat(num_traits::One::one());
        let zero = V::splat(num_traits::Zero::zero());
        // tanh' = 1 - t^2 and sigmoid' = s (1 - s).
        let dn = masked(dh_new * (one - z), update);
        let da_n = self.clip.tanh_slope(dn * (one - n * n), n);
        let da_z = dh_new * (h - masked(n, update)) * z * (one - z);
        let da_z = self.clip.sigmoid_slope(da_z, z);
        (
            [da_n.flush_tiny(), zero, da_z.flush_tiny()],
            [(dh_new * z).flush_tiny()],
            [],
        )
    }
}
