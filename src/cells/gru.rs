//! The gated recurrent unit (Cho et al. 2014), with the reset gate after the recurrent product, as in
//! cuDNN, PyTorch and Keras.

use super::{Cell, Clip, masked, no_factor};
use crate::simd::{Places, Vector};

/// The GRU cell whose reset gate acts on the candidate's recurrent product.
///
/// With the pre-activations `a = W_ih x + b_ih + W_hh h + b_hh` of the gates r and z, and the
/// candidate's two products apart, `x_n = W_in x + b_in` and `h_n = W_hn h + b_hn`:
///
/// ```text
/// r = sigmoid(a_r)          reset gate
/// z = sigmoid(a_z)          update gate
/// n = tanh(x_n + r h_n)     candidate
/// h' = (1 - z) n + z h      hidden state
/// ```
///
/// With update dropout, a mask m: `h' = (1 - z) (m n) + z h`. Limits act on `a_r`, `a_z` and `x_n + r h_n`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Gru {
    /// Limits of the pre-activations.
    pub clip: Clip,
}

impl Cell for Gru {
    /// The candidate's input product, gates r and z, the candidate's recurrent product.
    type Accumulators<V: Vector> = [V; 4];
    type Tile<V: Vector> = [V; 4];
    type Input = Places<0, 3>;
    type Hidden = Places<1, 4>;
    type Second = Places<0, 0>;
    type Constants<V: Vector> = [V; 0];
    /// Hidden state h.
    type States<V: Vector> = [V; 1];
    /// Activated gates r and z, the candidate n and its recurrent product.
    type Saved<V: Vector> = [V; 4];

    fn gates(&self) -> usize {
        3
    }

    fn input_gates(&self) -> &'static [usize] {
        &[2, 0, 1]
    }

    fn hidden_gates(&self) -> &'static [usize] {
        &[0, 1, 2]
    }

    no_factor!();

    #[inline(always)]
    fn forward<V: Vector>(
        &self,
        [x_n, a_r, a_z, h_n]: [V; 4],
        [h]: [V; 1],
        _: [V; 0],
        update: Option<V>,
    ) -> ([V; 1], [V; 4]) {
        let r = self.clip.apply(a_r).sigmoid();
        let z = self.clip.apply(a_z).sigmoid();
        let n = self.clip.apply(r.mul_add(h_n, x_n)).tanh();
        // (1 - z) m n + z h
        let candidate = masked(n, update);
        let h_new = z.mul_add(h - candidate, candidate).flush_tiny();
        ([h_new], [r, z, n, h_n])
    }

    #[inline(always)]
    fn backward<V: Vector>(
        &self,
        [r, z, n, h_n]: [V; 4],
        [h]: [V; 1],
        [dh_new]: [V; 1],
        _: [V; 0],
        update: Option<V>,
    ) -> ([V; 4], [V; 1], [V; 0]) {
        let one = V::splat(num_traits::One::one());

        // tanh' = 1 - t^2; x_n and r h_n are added, so the former's gradient is that of the sum.
        let dn = masked(dh_new * (one - z), update);
        let dx_n = self.clip.tanh_slope(dn * (one - n * n), n);
        let dh_n = dx_n * r;

        // sigmoid' = s (1 - s).
        let da_r = self.clip.sigmoid_slope(dx_n * h_n * r * (one - r), r);
        let da_z = self
            .clip
            .sigmoid_slope(dh_new * (h - masked(n, update)) * z * (one - z), z);

        let dh_previous = dh_new * z;
        (
            [
                dx_n.flush_tiny(),
                da_r.flush_tiny(),
                da_z.flush_tiny(),
                dh_n.flush_tiny(),
            ],
            [dh_previous.flush_tiny()],
            [],
        )
    }
}
