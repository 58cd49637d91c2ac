//! The equations of one step of each recurrent cell, forward and backward.
//!
//! A cell is not a function over whole-batch arrays but a value that tells the engine how many
//! accumulators it needs, what each one sums up, and what to do with one register of units. The
//! engine is written once for all cells, and each equation stands once.
//!
//! Gate orders, as rows of the weight matrices, are PyTorch's: LSTM i, f, g, o (input, forget,
//! candidate, output); GRU r, z, n (reset, update, candidate). Other orders exist only where foreign
//! weights are read or written.

mod clip;
mod gru;
mod gru_before;
mod lstm;
mod rnn;

pub use clip::Clip;
pub use gru::Gru;
pub use gru_before::GruBefore;
pub use lstm::{CoupledLstm, Lstm, LstmOptions, LstmVariant};
pub use rnn::{Nonlinearity, Rnn};

use crate::simd::{Registers, Scalar, Span, Vector};

/// Where a product of weights goes: to accumulators that stand one after the other.
///
/// The LSTM's accumulators each take both products of their gate. A cell that needs the two products
/// of a gate apart (the reset-after GRU's candidate) has two accumulators for it, the first and the
/// last: then each product still goes to neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feed {
    /// The first accumulator that the product goes to.
    pub first: usize,
    /// For each accumulator, the gate whose weights and bias it takes.
    pub gates: &'static [usize],
}

/// One kind of recurrent cell.
pub trait Cell: Copy + Send + Sync + 'static {
    /// One register for each accumulator.
    type Accumulators<V: Vector>: Registers<V>;
    /// The accumulators of as many neighbouring registers of units as a tile covers. With a single
    /// accumulator a tile of one register of units would have too few sums to keep the processor busy.
    /// More than one register needs cells whose accumulators take both products.
    type Tile<V: Vector>: Registers<V>;
    /// The accumulators that take the product with the input weights, and the input bias.
    type Input: Span;
    /// Those that take the product with the recurrent weights, and the recurrent bias.
    type Hidden: Span;
    /// Those that take a second recurrent product, whose operand the cell itself makes of the hidden
    /// state at every step; none for most cells.
    type Second: Span;
    /// One register for each parameter of a unit that isn't part of a matrix: peepholes.
    type Constants<V: Vector>: Registers<V>;
    /// One register for each state that is carried over time; the hidden state comes first.
    type States<V: Vector>: Registers<V>;
    /// One register for each value that the backward pass needs and can't cheaply compute again.
    type Saved<V: Vector>: Registers<V>;

    /// Whether the cell computes with regularisation; the plain LSTM, for which every instruction
    /// counts, leaves that to its variant.
    const REGULARIZED: bool = true;

    /// How many blocks of hidden-size rows the weight matrices have.
    fn gates(&self) -> usize;

    /// The gates of the accumulators that take the product with the input weights.
    fn input_gates(&self) -> &'static [usize];

    /// The gates of the accumulators that take the product with the recurrent weights.
    fn hidden_gates(&self) -> &'static [usize];

    /// The gates of the accumulators that take the second recurrent product.
    fn second_gates(&self) -> &'static [usize] {
        &[]
    }

    /// What the hidden state is multiplied by in the operand of the second recurrent product, from
    /// accumulators that have everything but that product.
    fn factor<V: Vector>(&self, _: Self::Accumulators<V>) -> V {
        V::splat(num_traits::One::one())
    }

    /// The way back through [`Cell::factor`]: the factor, and the gradients of the accumulators, given
    /// that of the factor.
    fn factor_backward<V: Vector>(
        &self,
        saved: Self::Saved<V>,
        gradient: V,
    ) -> (V, Self::Accumulators<V>);

    /// How many of the constants there are with the cell's options: all or none.
    fn constants(&self) -> usize {
        0
    }

    /// One step of one register of units: the new states, and what the backward pass needs. The
    /// candidate is multiplied by `update`, if there is one.
    fn forward<V: Vector>(
        &self,
        accumulators: Self::Accumulators<V>,
        previous: Self::States<V>,
        constants: Self::Constants<V>,
        update: Option<V>,
    ) -> (Self::States<V>, Self::Saved<V>);

    /// The gradient of one step: with respect to the accumulators, with respect to the previous
    /// states along the paths that don't pass through an accumulator, and with respect to the
    /// constants.
    ///
    /// `gradient` is the loss's gradient with respect to the new states.
    fn backward<V: Vector>(
        &self,
        saved: Self::Saved<V>,
        previous: Self::States<V>,
        gradient: Self::States<V>,
        constants: Self::Constants<V>,
        update: Option<V>,
    ) -> (Self::Accumulators<V>, Self::States<V>, Self::Constants<V>);
}

/// For cells without a second recurrent product.
macro_rules! no_factor {
    () => {
        #[inline(always)]
        fn factor_backward<V: $crate::simd::Vector>(
            &self,
            _: Self::Saved<V>,
            gradient: V,
        ) -> (V, Self::Accumulators<V>) {
            let zero = V::splat(num_traits::Zero::zero());
            (gradient, $crate::simd::Registers::build(|_| zero))
        }
    };
}
use no_factor;

/// The cells that exist; the one place where a kind of cell is chosen at run time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum CellKind {
    /// Long short-term memory.
    Lstm(Lstm),
    /// Long short-term memory with options.
    LstmVariant(LstmVariant),
    /// Long short-term memory with coupled gates.
    CoupledLstm(CoupledLstm),
    /// Gated recurrent unit.
    Gru(Gru),
    /// Gated recurrent unit whose reset gate acts before the product.
    GruBefore(GruBefore),
    /// The simple recurrent network.
    Rnn(Rnn),
}

/// Runs an expression with `$cell` bound to the concrete cell of a [`CellKind`].
macro_rules! with_cell {
    ($kind:expr, $cell:ident => $body:expr) => {
        match $kind {
            $crate::cells::CellKind::Lstm($cell) => $body,
            $crate::cells::CellKind::LstmVariant($cell) => $body,
            $crate::cells::CellKind::CoupledLstm($cell) => $body,
            $crate::cells::CellKind::Gru($cell) => $body,
            $crate::cells::CellKind::GruBefore($cell) => $body,
            $crate::cells::CellKind::Rnn($cell) => $body,
        }
    };
}
pub(crate) use with_cell;

/// A register times factors, if there are any.
#[inline(always)]
fn masked<V: Vector>(register: V, factors: Option<V>) -> V {
    match factors {
        Some(factors) => register * factors,
        None => register,
    }
}

impl CellKind {
    /// The same cell, compiled with regularisation.
    #[must_use]
    pub fn regularized(self) -> Self {
        match self {
            Self::Lstm(_) => Self::LstmVariant(LstmVariant::default()),
            other => other,
        }
    }

    /// See [`Cell::gates`].
    #[must_use]
    pub fn gates(self) -> usize {
        with_cell!(self, cell => cell.gates())
    }

    /// See [`Cell::constants`].
    #[must_use]
    pub fn constants(self) -> usize {
        with_cell!(self, cell => cell.constants())
    }

    /// How many accumulators the cell has.
    #[must_use]
    pub fn accumulators(self) -> usize {
        fn count<C: Cell>(_: C) -> usize {
            <C::Accumulators<Scalar<f64>> as Registers<_>>::COUNT
        }
        with_cell!(self, cell => count(cell))
    }

    /// How many accumulators a tile covers: those of one register of units or of several.
    #[must_use]
    pub fn tile(self) -> usize {
        fn count<C: Cell>(_: C) -> usize {
            <C::Tile<Scalar<f64>> as Registers<_>>::COUNT
        }
        with_cell!(self, cell => count(cell))
    }

    /// Where the product with the input weights goes.
    #[must_use]
    pub fn input(self) -> Feed {
        fn feed<C: Cell>(cell: C) -> Feed {
            Feed {
                first: C::Input::START,
                gates: cell.input_gates(),
            }
        }
        with_cell!(self, cell => feed(cell))
    }

    /// Where the product with the recurrent weights goes.
    #[must_use]
    pub fn hidden(self) -> Feed {
        fn feed<C: Cell>(cell: C) -> Feed {
            Feed {
                first: C::Hidden::START,
                gates: cell.hidden_gates(),
            }
        }
        with_cell!(self, cell => feed(cell))
    }

    /// Where the second recurrent product goes.
    #[must_use]
    pub fn second(self) -> Feed {
        fn feed<C: Cell>(cell: C) -> Feed {
            Feed {
                first: C::Second::START,
                gates: cell.second_gates(),
            }
        }
        with_cell!(self, cell => feed(cell))
    }

    /// Whether both products go to the same accumulators.
    #[must_use]
    pub fn sums_products(self) -> bool {
        let (input, hidden) = (self.input(), self.hidden());
        input.first == hidden.first && input.gates.len() == hidden.gates.len()
    }

    /// How many states the cell carries over time.
    #[must_use]
    pub fn states(self) -> usize {
        fn count<C: Cell>(_: C) -> usize {
            <C::States<Scalar<f64>> as Registers<_>>::COUNT
        }
        with_cell!(self, cell => count(cell))
    }

    /// How many values the cell saves for the backward pass.
    #[must_use]
    pub fn saved(self) -> usize {
        fn count<C: Cell>(_: C) -> usize {
            <C::Saved<Scalar<f64>> as Registers<_>>::COUNT
        }
        with_cell!(self, cell => count(cell))
    }
}
