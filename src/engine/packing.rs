//! The weights as the engine wants them, and the way back for gradients.
//!
//! Masters stay in PyTorch's layout, gate after gate. Packed, the accumulators of one register of
//! units (a block) stand together, for one feature after the other: `(block, feature, accumulator,
//! lane)`. A tile reads them in the order in which they stand, and then holds everything that a cell
//! needs to go on. Where all accumulators of all units are counted through, a column is `(block *
//! accumulators + accumulator) * lanes + lane`, for unit `block * lanes + lane`.

use std::sync::OnceLock;

use ndarray::{ArrayView2, ArrayViewMut2};

use super::workspace::{Buffer, Pool};
use crate::cells::{Accumulator, CellKind};
use crate::error::{Result, checked_size};
use crate::float::Float;
use crate::parameters::AlignedBuffer;
use crate::simd::InstructionSet;

/// Registers side by side in a product that isn't a cell's: with the accumulators' gradients, of a
/// linear layer.
pub(super) const PANEL_REGISTERS: usize = 4;

/// Sizes of one direction of one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Which cell.
    pub cell: CellKind,
    /// Features of the input.
    pub inputs: usize,
    /// Units.
    pub hidden: usize,
    /// The instruction set that computes.
    pub set: InstructionSet,
    /// Numbers in one of its registers.
    pub lanes: usize,
}

impl Geometry {
    /// Registers of units, the last one padded.
    #[must_use]
    pub fn blocks(&self) -> usize {
        self.hidden.div_ceil(self.lanes)
    }

    /// Units with the padding.
    #[must_use]
    pub fn padded_hidden(&self) -> usize {
        self.blocks() * self.lanes
    }

    /// Columns of the packed weights: every accumulator of every unit.
    #[must_use]
    pub fn width(&self) -> usize {
        self.padded_hidden() * self.cell.accumulators().len()
    }

    /// Numbers in the packed weights without the biases.
    #[must_use]
    pub fn weights(&self) -> usize {
        self.width()
            .saturating_mul(self.inputs.saturating_add(self.hidden))
    }

    /// Numbers in all accumulators of one register of units.
    #[must_use]
    pub fn register_set(&self) -> usize {
        self.cell.accumulators().len() * self.lanes
    }

    /// Columns that a product with the accumulators' gradients makes at a time.
    #[must_use]
    pub fn panel(&self) -> usize {
        PANEL_REGISTERS * self.lanes
    }

    /// Saved values of every unit.
    #[must_use]
    pub fn saved_width(&self) -> usize {
        self.padded_hidden() * self.cell.saved()
    }

    /// Calls `act` with each accumulator, each unit and its column.
    fn columns(&self, mut act: impl FnMut(Accumulator, usize, usize)) {
        let accumulators = self.cell.accumulators();
        for (index, &accumulator) in accumulators.iter().enumerate() {
            for unit in 0..self.hidden {
                let (block, lane) = (unit / self.lanes, unit % self.lanes);
                let column = (block * accumulators.len() + index) * self.lanes + lane;
                act(accumulator, unit, column);
            }
        }
    }
}

/// One direction's weights in PyTorch's layout; slices of values or of gradients.
#[derive(Debug, Clone, Copy)]
pub struct MasterWeights<W> {
    /// (gates * hidden, inputs).
    pub input: W,
    /// (gates * hidden, hidden).
    pub hidden: W,
    /// (gates * hidden,) each, or none.
    pub biases: Option<(W, W)>,
}

/// Weights ready for the engine.
#[derive(Debug)]
pub struct PackedWeights<F> {
    geometry: Geometry,
    /// (blocks, inputs, accumulators, lanes).
    input: AlignedBuffer<F>,
    /// (blocks, hidden, accumulators, lanes).
    hidden: AlignedBuffer<F>,
    /// (blocks, accumulators, lanes).
    bias: AlignedBuffer<F>,
    /// What the backward pass multiplies by, made when first needed.
    transposed: OnceLock<TransposedWeights<F>>,
}

/// Weights for products with the accumulators' gradients: panels of [`Geometry::panel`] columns.
#[derive(Debug)]
pub struct TransposedWeights<F> {
    /// (panels of inputs, width, panel).
    input: AlignedBuffer<F>,
    /// (panels of hidden, width, panel).
    hidden: AlignedBuffer<F>,
}

impl<F: Float> PackedWeights<F> {
    /// Packs masters.
    ///
    /// # Errors
    /// [`crate::error::Error::OutOfMemory`] when the allocator refuses.
    pub fn pack(geometry: Geometry, master: MasterWeights<&[F]>) -> Result<Self> {
        let Geometry { inputs, hidden, .. } = geometry;
        let width = geometry.width();
        let mut packed = Self {
            geometry,
            input: AlignedBuffer::zeroed(checked_size(&[inputs, width])?)?,
            hidden: AlignedBuffer::zeroed(checked_size(&[hidden, width])?)?,
            bias: AlignedBuffer::zeroed(width)?,
            transposed: OnceLock::new(),
        };
        let to_input = packed.input.as_mut_slice();
        let to_hidden = packed.hidden.as_mut_slice();
        let to_bias = packed.bias.as_mut_slice();
        let set = geometry.register_set();
        geometry.columns(|accumulator, unit, column| {
            let (block, offset) = (column / set, column % set);
            let scatter = |to: &mut [F], from: &[F]| {
                let start = block * set * from.len() + offset;
                for (k, &weight) in from.iter().enumerate() {
                    to[start + k * set] = weight;
                }
            };
            if let Some(gate) = accumulator.input_gate {
                let row = gate * hidden + unit;
                scatter(to_input, &master.input[row * inputs..][..inputs]);
                if let Some((bias, _)) = master.biases {
                    to_bias[column] += bias[row];
                }
            }
            if let Some(gate) = accumulator.hidden_gate {
                let row = gate * hidden + unit;
                scatter(to_hidden, &master.hidden[row * hidden..][..hidden]);
                if let Some((_, bias)) = master.biases {
                    to_bias[column] += bias[row];
                }
            }
        });
        Ok(packed)
    }

    /// The sizes.
    #[must_use]
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// (blocks, inputs, accumulators, lanes).
    pub(super) fn input(&self) -> &[F] {
        self.input.as_slice()
    }

    /// (blocks, hidden, accumulators, lanes).
    pub(super) fn hidden(&self) -> &[F] {
        self.hidden.as_slice()
    }

    /// (blocks, accumulators, lanes).
    pub(super) fn bias(&self) -> &[F] {
        self.bias.as_slice()
    }

    /// What the backward pass multiplies by.
    pub(super) fn transposed(&self) -> Result<&TransposedWeights<F>> {
        if let Some(transposed) = self.transposed.get() {
            return Ok(transposed);
        }
        let transposed = TransposedWeights {
            input: self.transpose(self.input.as_slice(), self.geometry.inputs)?,
            hidden: self.transpose(self.hidden.as_slice(), self.geometry.hidden)?,
        };
        Ok(self.transposed.get_or_init(|| transposed))
    }

    /// From (blocks, features, register set) to (panels of features, width, panel).
    fn transpose(&self, from: &[F], features: usize) -> Result<AlignedBuffer<F>> {
        let (set, panel) = (self.geometry.register_set(), self.geometry.panel());
        let width = self.geometry.width();
        let len = checked_size(&[features.div_ceil(panel), width, panel])?;
        let mut buffer = AlignedBuffer::zeroed(len)?;
        let to = buffer.as_mut_slice();
        for (index, row) in from.chunks_exact(set).enumerate() {
            let (block, feature) = (index / features, index % features);
            let start = feature / panel * panel * width + feature % panel;
            for (offset, &weight) in row.iter().enumerate() {
                to[start + (block * set + offset) * panel] = weight;
            }
        }
        Ok(buffer)
    }
}

impl<F: Float> TransposedWeights<F> {
    /// (panels of inputs, width, panel).
    pub(super) fn input(&self) -> &[F] {
        self.input.as_slice()
    }

    /// (panels of hidden, width, panel).
    pub(super) fn hidden(&self) -> &[F] {
        self.hidden.as_slice()
    }
}

/// Weight gradients as the engine makes them, in the layout of [`PackedWeights`].
#[derive(Debug)]
pub struct PackedGradients<F: Float> {
    geometry: Geometry,
    /// (blocks, inputs, accumulators, lanes).
    pub(super) input: Buffer<F>,
    /// (blocks, hidden, accumulators, lanes).
    pub(super) hidden: Buffer<F>,
    /// (blocks, accumulators, lanes).
    pub(super) bias: Buffer<F>,
}

impl<F: Float> PackedGradients<F> {
    /// Zeros.
    ///
    /// # Errors
    /// [`crate::error::Error::OutOfMemory`] when the allocator refuses.
    pub fn zeroed(geometry: Geometry, pool: &Pool<F>) -> Result<Self> {
        let width = geometry.width();
        Ok(Self {
            geometry,
            input: pool.take_zeroed(checked_size(&[width, geometry.inputs])?)?,
            hidden: pool.take_zeroed(checked_size(&[width, geometry.hidden])?)?,
            bias: pool.take_zeroed(width)?,
        })
    }

    /// Adds to gradients in PyTorch's layout.
    pub fn unpack(&self, master: MasterWeights<&mut [F]>) {
        let Geometry { inputs, hidden, .. } = self.geometry;
        let (from_input, from_hidden) = (&self.input[..], &self.hidden[..]);
        let from_bias = &self.bias[..];
        let mut biases = master.biases;
        let set = self.geometry.register_set();
        self.geometry.columns(|accumulator, unit, column| {
            let (block, offset) = (column / set, column % set);
            let gather = |to: &mut [F], from: &[F]| {
                let start = block * set * to.len() + offset;
                for (k, sum) in to.iter_mut().enumerate() {
                    *sum += from[start + k * set];
                }
            };
            if let Some(gate) = accumulator.input_gate {
                let row = gate * hidden + unit;
                gather(&mut master.input[row * inputs..][..inputs], from_input);
                if let Some((bias, _)) = &mut biases {
                    bias[row] += from_bias[column];
                }
            }
            if let Some(gate) = accumulator.hidden_gate {
                let row = gate * hidden + unit;
                gather(&mut master.hidden[row * hidden..][..hidden], from_hidden);
                if let Some((_, bias)) = &mut biases {
                    bias[row] += from_bias[column];
                }
            }
        });
    }
}

/// A row-major matrix over a slice of exactly its size.
///
/// # Panics
/// When the slice has another size.
#[must_use]
pub fn matrix<F>(values: &[F], rows: usize, columns: usize) -> ArrayView2<'_, F> {
    assert_eq!(values.len(), rows * columns);
    // SAFETY: the slice holds exactly the elements of a row-major matrix of this shape.
    unsafe { ArrayView2::from_shape_ptr((rows, columns), values.as_ptr()) }
}

/// As [`matrix`], for writing.
///
/// # Panics
/// When the slice has another size.
pub fn matrix_mut<F>(values: &mut [F], rows: usize, columns: usize) -> ArrayViewMut2<'_, F> {
    assert_eq!(values.len(), rows * columns);
    // SAFETY: as in `matrix`, and the borrow is exclusive.
    unsafe { ArrayViewMut2::from_shape_ptr((rows, columns), values.as_mut_ptr()) }
}
