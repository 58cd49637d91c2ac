//! The equations of one step of each recurrent cell, forward and backward.
//!
//! A cell is not a function over whole-batch arrays but a value that tells the engine how many
//! accumulators it needs, what each one sums up, and what to do with one register of units. The
//! engine is written once for all cells, and each equation stands once.
//!
//! Gate orders, as rows of the weight matrices, are PyTorch's: LSTM i, f, g, o (input, forget,
//! candidate, output). Other orders exist only where foreign weights are read or written.

mod lstm;

pub use lstm::Lstm;

use crate::simd::{Registers, Vector};

/// What one accumulator of a cell sums up.
///
/// The LSTM's accumulators each take both products of their gate. A cell that needs the two
/// products apart (the reset-after GRU's candidate) has two accumulators for that gate, one with
/// either product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accumulator {
    /// The gate whose input weights (and input bias) go in.
    pub input_gate: Option<usize>,
    /// The gate whose recurrent weights (and recurrent bias) go in.
    pub hidden_gate: Option<usize>,
}

/// One kind of recurrent cell.
pub trait Cell: Copy + Send + Sync + 'static {
    /// One register for each accumulator.
    type Accumulators<V: Vector>: Registers<V>;
    /// One register for each state that is carried over time; the hidden state comes first.
    type States<V: Vector>: Registers<V>;
    /// One register for each value that the backward pass needs and can't cheaply compute again.
    type Saved<V: Vector>: Registers<V>;

    /// How many times a step multiplies by recurrent weights. The reset-before GRU and layer
    /// normalisation need two; the portable engine runs one-phase cells.
    const PHASES: usize;

    /// How many blocks of hidden-size rows the weight matrices have.
    fn gates(&self) -> usize;

    /// What the accumulators sum up, in their order.
    fn accumulators(&self) -> &'static [Accumulator];

    /// One step of one register of units: the new states, and what the backward pass needs.
    fn forward<V: Vector>(
        &self,
        accumulators: Self::Accumulators<V>,
        previous: Self::States<V>,
    ) -> (Self::States<V>, Self::Saved<V>);

    /// The gradient of one step: with respect to the accumulators, and with respect to the
    /// previous states along the paths that don't pass through an accumulator.
    ///
    /// `gradient` is the loss's gradient with respect to the new states.
    fn backward<V: Vector>(
        &self,
        saved: Self::Saved<V>,
        previous: Self::States<V>,
        gradient: Self::States<V>,
    ) -> (Self::Accumulators<V>, Self::States<V>);
}

/// The cells that exist; the one place where a kind of cell is chosen at run time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CellKind {
    /// Long short-term memory.
    Lstm(Lstm),
}

/// Runs an expression with `$cell` bound to the concrete cell of a [`CellKind`].
macro_rules! with_cell {
    ($kind:expr, $cell:ident => $body:expr) => {
        match $kind {
            $crate::cells::CellKind::Lstm($cell) => $body,
        }
    };
}
pub(crate) use with_cell;

impl CellKind {
    /// See [`Cell::gates`].
    #[must_use]
    pub fn gates(self) -> usize {
        with_cell!(self, cell => cell.gates())
    }

    /// See [`Cell::accumulators`].
    #[must_use]
    pub fn accumulators(self) -> &'static [Accumulator] {
        with_cell!(self, cell => cell.accumulators())
    }

    /// How many states the cell carries over time.
    #[must_use]
    pub fn states(self) -> usize {
        fn count<C: Cell>(_: C) -> usize {
            <C::States<crate::simd::Scalar<f64>> as Registers<_>>::COUNT
        }
        with_cell!(self, cell => count(cell))
    }

    /// How many values the cell saves for the backward pass.
    #[must_use]
    pub fn saved(self) -> usize {
        fn count<C: Cell>(_: C) -> usize {
            <C::Saved<crate::simd::Scalar<f64>> as Registers<_>>::COUNT
        }
        with_cell!(self, cell => count(cell))
    }
}
