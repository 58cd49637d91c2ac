//! Long short-term memory (Hochreiter and Schmidhuber 1997), with the forget gate of Gers,
//! Schmidhuber and Cummins (2000), and its variants.

use super::{Cell, Clip, masked, no_factor};
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
///
/// With update dropout, a mask m: `c' = f c + i (m g)`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Lstm;

/// What may differ from the plain cell.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LstmOptions {
    /// Whether gates see the cell state (Gers and Schmidhuber 2000): `p_i c` is added to `a_i` and
    /// `p_f c` to `a_f`, and `p_o c'`, of the new one, to `a_o`.
    pub peephole: bool,
    /// Limits of the pre-activations, peepholes included.
    pub clip: Clip,
}

/// The LSTM cell with options.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LstmVariant {
    /// What differs.
    pub options: LstmOptions,
}

/// The LSTM cell with coupled gates (Greff et al. 2017): `f = 1 - i`, so that its gates are i, g, o.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct CoupledLstm {
    /// What else differs.
    pub options: LstmOptions,
}

impl Cell for Lstm {
    /// Gates i, f, g, o.
    type Accumulators<V: Vector> = [V; 4];
    type Tile<V: Vector> = [V; 4];
    type Input = Places<0, 4>;
    type Hidden = Places<0, 4>;
    type Second = Places<0, 0>;
    type Constants<V: Vector> = [V; 0];
    /// Hidden state h, cell state c.
    type States<V: Vector> = [V; 2];
    /// Activated gates i, f, g, o; the new cell state is computed again from them.
    type Saved<V: Vector> = [V; 4];

    const REGULARIZED: bool = false;

    fn gates(&self) -> usize {
        4
    }

    fn input_gates(&self) -> &'static [usize] {
        &[0, 1, 2, 3]
    }

    fn hidden_gates(&self) -> &'static [usize] {
        &[0, 1, 2, 3]
    }

    no_factor!();

    #[inline(always)]
    fn forward<V: Vector>(
        &self,
        [a_i, a_f, a_g, a_o]: [V; 4],
        [_, c]: [V; 2],
        _: [V; 0],
        _: Option<V>,
    ) -> ([V; 2], [V; 4]) {
        forward(PLAIN, [a_i, a_g, a_o], Some(a_f), c, None, None)
    }

    #[inline(always)]
    fn backward<V: Vector>(
        &self,
        [i, f, g, o]: [V; 4],
        [_, c]: [V; 2],
        gradient: [V; 2],
        _: [V; 0],
        _: Option<V>,
    ) -> ([V; 4], [V; 2], [V; 0]) {
        let back = backward(PLAIN, [i, g, o], Some(f), c, gradient, None, None);
        (back.all_gates(), back.states, [])
    }
}

impl Cell for LstmVariant {
    /// Gates i, f, g, o.
    type Accumulators<V: Vector> = [V; 4];
    type Tile<V: Vector> = [V; 4];
    type Input = Places<0, 4>;
    type Hidden = Places<0, 4>;
    type Second = Places<0, 0>;
    /// Peepholes of i, f, o.
    type Constants<V: Vector> = [V; 3];
    /// Hidden state h, cell state c.
    type States<V: Vector> = [V; 2];
    /// Activated gates i, f, g, o.
    type Saved<V: Vector> = [V; 4];

    fn gates(&self) -> usize {
        4
    }

    fn input_gates(&self) -> &'static [usize] {
        &[0, 1, 2, 3]
    }

    fn hidden_gates(&self) -> &'static [usize] {
        &[0, 1, 2, 3]
    }

    no_factor!();

    fn constants(&self) -> usize {
        if self.options.peephole { 3 } else { 0 }
    }

    #[inline(always)]
    fn forward<V: Vector>(
        &self,
        [a_i, a_f, a_g, a_o]: [V; 4],
        [_, c]: [V; 2],
        [p_i, p_f, p_o]: [V; 3],
        update: Option<V>,
    ) -> ([V; 2], [V; 4]) {
        let peepholes = self.options.peephole.then_some([p_i, p_f, p_o]);
        forward(
            self.options,
            [a_i, a_g, a_o],
            Some(a_f),
            c,
            peepholes,
            update,
        )
    }

    #[inline(always)]
    fn backward<V: Vector>(
        &self,
        [i, f, g, o]: [V; 4],
        [_, c]: [V; 2],
        gradient: [V; 2],
        [p_i, p_f, p_o]: [V; 3],
        update: Option<V>,
    ) -> ([V; 4], [V; 2], [V; 3]) {
        let peepholes = self.options.peephole.then_some([p_i, p_f, p_o]);
        let back = backward(
            self.options,
            [i, g, o],
            Some(f),
            c,
            gradient,
            peepholes,
            update,
        );
        (back.all_gates(), back.states, back.peepholes)
    }
}

impl Cell for CoupledLstm {
    /// Gates i, g, o.
    type Accumulators<V: Vector> = [V; 3];
    type Tile<V: Vector> = [V; 3];
    type Input = Places<0, 3>;
    type Hidden = Places<0, 3>;
    type Second = Places<0, 0>;
    /// Peepholes of i, o.
    type Constants<V: Vector> = [V; 2];
    /// Hidden state h, cell state c.
    type States<V: Vector> = [V; 2];
    /// Activated gates i, g, o.
    type Saved<V: Vector> = [V; 3];

    fn gates(&self) -> usize {
        3
    }

    fn input_gates(&self) -> &'static [usize] {
        &[0, 1, 2]
    }

    fn hidden_gates(&self) -> &'static [usize] {
        &[0, 1, 2]
    }

    no_factor!();

    fn constants(&self) -> usize {
        if self.options.peephole { 2 } else { 0 }
    }

    #[inline(always)]
    fn forward<V: Vector>(
        &self,
        accumulators: [V; 3],
        [_, c]: [V; 2],
        [p_i, p_o]: [V; 2],
        update: Option<V>,
    ) -> ([V; 2], [V; 3]) {
        // There is no forget gate of its own that could see the cell state.
        let peepholes = self.options.peephole.then_some([p_i, p_i, p_o]);
        let (states, [i, _, g, o]) =
            forward(self.options, accumulators, None, c, peepholes, update);
        (states, [i, g, o])
    }

    #[inline(always)]
    fn backward<V: Vector>(
        &self,
        saved: [V; 3],
        [_, c]: [V; 2],
        gradient: [V; 2],
        [p_i, p_o]: [V; 2],
        update: Option<V>,
    ) -> ([V; 3], [V; 2], [V; 2]) {
        let peepholes = self.options.peephole.then_some([p_i, p_i, p_o]);
        let back = backward(self.options, saved, None, c, gradient, peepholes, update);
        let [dp_i, _, dp_o] = back.peepholes;
        ([back.i, back.g, back.o], back.states, [dp_i, dp_o])
    }
}

const PLAIN: LstmOptions = LstmOptions {
    peephole: false,
    clip: Clip(None),
};

/// One step from the pre-activations of i, g, o, and of f unless the gates are coupled: the new states,
/// and all activated gates.
#[inline(always)]
fn forward<V: Vector>(
    options: LstmOptions,
    [a_i, a_g, a_o]: [V; 3],
    a_f: Option<V>,
    c: V,
    peepholes: Option<[V; 3]>,
    update: Option<V>,
) -> ([V; 2], [V; 4]) {
    let one = V::splat(num_traits::One::one());
    let [p_i, p_f, p_o] = match peepholes {
        Some([p_i, p_f, p_o]) => [Some(p_i), Some(p_f), Some(p_o)],
        None => [None; 3],
    };
    // Gates need no flushing: a sigmoid is zero or far from tiny, and g is tiny only while h is about
    // to be flushed.
    let i = options.clip.apply(see(a_i, p_i, c)).sigmoid();
    let f = match a_f {
        Some(a_f) => options.clip.apply(see(a_f, p_f, c)).sigmoid(),
        None => one - i,
    };
    let g = options.clip.apply(a_g).tanh();
    let c_new = f.mul_add(c, i * masked(g, update)).flush_tiny();
    let o = options.clip.apply(see(a_o, p_o, c_new)).sigmoid();
    let h_new = (o * c_new.tanh()).flush_tiny();
    ([h_new, c_new], [i, f, g, o])
}

/// A pre-activation that sees a cell state, if there is a peephole.
#[inline(always)]
fn see<V: Vector>(a: V, peephole: Option<V>, cell_state: V) -> V {
    match peephole {
        Some(peephole) => peephole.mul_add(cell_state, a),
        None => a,
    }
}

/// The gradients of one step.
struct Gradients<V> {
    /// Of the pre-activations.
    i: V,
    f: V,
    g: V,
    o: V,
    /// Of the previous states along the paths that don't pass through a product.
    states: [V; 2],
    /// Of the peepholes of i, f, o.
    peepholes: [V; 3],
}

impl<V: Vector> Gradients<V> {
    #[inline(always)]
    fn all_gates(&self) -> [V; 4] {
        [self.i, self.f, self.g, self.o]
    }
}

/// The way back through [`forward`], from the activated gates and the gradient of the new states.
#[inline(always)]
fn backward<V: Vector>(
    options: LstmOptions,
    [i, g, o]: [V; 3],
    own_f: Option<V>,
    c: V,
    [dh_new, dc_new]: [V; 2],
    peepholes: Option<[V; 3]>,
    update: Option<V>,
) -> Gradients<V> {
    let one = V::splat(num_traits::One::one());
    let zero = V::splat(num_traits::Zero::zero());
    let f = own_f.unwrap_or(one - i);
    let candidate = masked(g, update);
    let c_new = f.mul_add(c, i * candidate).flush_tiny();
    let tanh_c = c_new.tanh();

    // h' = o tanh(c') and tanh' = 1 - tanh^2: both ways into c'. sigmoid' = s (1 - s).
    let da_o = options
        .clip
        .sigmoid_slope(dh_new * tanh_c * o * (one - o), o);
    let mut dc = (dh_new * o).mul_add(one - tanh_c * tanh_c, dc_new);
    if let Some([_, _, p_o]) = peepholes {
        dc = da_o.mul_add(p_o, dc);
    }

    // c' = f c + i m g, where coupled gates have f = 1 - i.
    let (di, df) = match own_f {
        Some(_) => (dc * candidate, dc * c),
        None => (dc * (candidate - c), zero),
    };
    let dg = masked(dc * i, update);
    let da_i = options.clip.sigmoid_slope(di * i * (one - i), i);
    let da_f = options.clip.sigmoid_slope(df * f * (one - f), f);
    let da_g = options.clip.tanh_slope(dg * (one - g * g), g);

    let mut dc_previous = dc * f;
    let mut dp = [zero; 3];
    if let Some([p_i, p_f, _]) = peepholes {
        dc_previous = da_i.mul_add(p_i, dc_previous);
        if own_f.is_some() {
            dc_previous = da_f.mul_add(p_f, dc_previous);
        }
        dp = [da_i * c, da_f * c, da_o * c_new];
    }
    Gradients {
        i: da_i.flush_tiny(),
        f: da_f.flush_tiny(),
        g: da_g.flush_tiny(),
        o: da_o.flush_tiny(),
        // The previous hidden state acts through the products only.
        states: [zero, dc_previous.flush_tiny()],
        peepholes: dp,
    }
}
