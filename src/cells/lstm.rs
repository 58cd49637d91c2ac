//! Long short-term memory (Hochreiter and Schmidhuber 1997), with the forget gate of Gers,
//! Schmidhuber and Cummins (2000).

use super::Cell;
use crate::simd::{Places, Vector};

/// The LSTM cell.
///
/// With the pre-activations `a = W_ih x + b_ih + W_hh h + b_hh` of the four gates:
///
/// ```text
/// i = sigmoid(a_i)        input gate
/// f = sigmoid(a_f)        forget gate
/// g = tanh(a_g)           candidate
/// o = sigmoid(a_o)        output gate
/// c' = f c + i g          cell state
/// h' = o tanh(c')         hidden state
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lstm;

impl Cell for Lstm {
    /// Gates i, f, g, o.
    type Accumulators<V: Vector> = [V; 4];
    type Tile<V: Vector> = [V; 4];
    type Input = Places<0, 4>;
    type Hidden = Places<0, 4>;
    /// Hidden state h, cell state c.
    type States<V: Vector> = [V; 2];
    /// Activated gates i, f, g, o; the new cell state is computed again from them.
    type Saved<V: Vector> = [V; 4];

    const PHASES: usize = 1;

    fn gates(&self) -> usize {
        4
    }

    fn input_gates(&self) -> &'static [usize] {
        &[0, 1, 2, 3]
    }

    fn hidden_gates(&self) -> &'static [usize] {
        &[0, 1, 2, 3]
    }

    #[inline(always)]
    fn forward<V: Vector>(&self, [a_i, a_f, a_g, a_o]: [V; 4], [_, c]: [V; 2]) -> ([V; 2], [V; 4]) {
        // Gates need no flushing: a sigmoid is zero or far from tiny, and g is tiny only while h is
        // about to be flushed.
        let i = a_i.sigmoid();
        let f = a_f.sigmoid();
        let g = a_g.tanh();
        let o = a_o.sigmoid();
        let c_new = f.mul_add(c, i * g).flush_tiny();
        let h_new = (o * c_new.tanh()).flush_tiny();
        ([h_new, c_new], [i, f, g, o])
    }

    #[inline(always)]
    fn backward<V: Vector>(
        &self,
        [i, f, g, o]: [V; 4],
        [_, c]: [V; 2],
        [dh_new, dc_new]: [V; 2],
    ) -> ([V; 4], [V; 2]) {
        let one = V::splat(num_traits::One::one());
        let zero = V::splat(num_traits::Zero::zero());
        let c_new = f.mul_add(c, i * g).flush_tiny();
        let tanh_c = c_new.tanh();

        // h' = o tanh(c') and tanh' = 1 - tanh^2: both ways into c'.
        let dc = (dh_new * o).mul_add(one - tanh_c * tanh_c, dc_new);

        // sigmoid' = s (1 - s), tanh' = 1 - t^2.
        let da_i = dc * g * i * (one - i);
        let da_f = dc * c * f * (one - f);
        let da_g = dc * i * (one - g * g);
        let da_o = dh_new * tanh_c * o * (one - o);

        // The previous hidden state acts through the accumulators only.
        let dc_previous = dc * f;
        (
            [
                da_i.flush_tiny(),
                da_f.flush_tiny(),
                da_g.flush_tiny(),
                da_o.flush_tiny(),
            ],
            [zero, dc_previous.flush_tiny()],
        )
    }
}
