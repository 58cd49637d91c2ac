//! The weights as the engine wants them, and the way back for gradients.
//!
//! Masters stay in PyTorch's layout, gate after gate. Packed, the weights of all accumulators of one
//! register of units (a block) that a product goes to stand together, for one feature after the
//! other: `(block, feature, accumulator, lane)`. A tile reads them in the order in which they stand,
//! and then holds everything that a cell needs to go on. Unit `block * lanes + lane` has its columns
//! at `(block * accumulators + accumulator) * lanes + lane`.

use std::sync::OnceLock;

use ndarray::{ArrayView2, ArrayViewMut2};

use super::workspace::{Buffer, Pool};
use crate::cells::{CellKind, Feed};
use crate::error::{Result, checked_size};
use crate::float::Float;
use crate::parameters::AlignedBuffer;
use crate::simd::InstructionSet;

/// Registers side by side in a product that isn't a cell's: with the accumulators' gradients, of a
/// linear layer.
pub(super) const PANEL_REGISTERS: usize = 4;

/// Sizes of one direction of one layer.
#[derive(Debug, Clone, Copy, PartialEq)]
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

    /// Columns of all accumulators of all units.
    #[must_use]
    pub fn width(&self) -> usize {
        self.blocks() * self.register_set()
    }

    /// Columns of the packed input weights.
    #[must_use]
    pub fn input_width(&self) -> usize {
        self.blocks() * self.input_set()
    }

    /// Columns of the packed recurrent weights.
    #[must_use]
    pub fn hidden_width(&self) -> usize {
        self.blocks() * self.hidden_set()
    }

    /// Columns of the packed weights of the second recurrent product.
    #[must_use]
    pub fn second_width(&self) -> usize {
        self.blocks() * self.second_set()
    }

    /// Numbers in the packed weights without the biases.
    #[must_use]
    pub fn weights(&self) -> usize {
        let input = self.input_width().saturating_mul(self.inputs);
        let hidden = self.hidden_width().saturating_add(self.second_width());
        input.saturating_add(hidden.saturating_mul(self.hidden))
    }

    /// Numbers in all accumulators of one register of units.
    #[must_use]
    pub fn register_set(&self) -> usize {
        self.cell.accumulators() * self.lanes
    }

    /// Numbers in the accumulators that a tile covers.
    #[must_use]
    pub fn tile_set(&self) -> usize {
        self.cell.tile() * self.lanes
    }

    /// Numbers in those accumulators of one register of units that take the input product.
    #[must_use]
    pub fn input_set(&self) -> usize {
        self.cell.input().gates.len() * self.lanes
    }

    /// Numbers in those accumulators of one register of units that take the recurrent product.
    #[must_use]
    pub fn hidden_set(&self) -> usize {
        self.cell.hidden().gates.len() * self.lanes
    }

    /// Numbers in those accumulators of one register of units that take the second recurrent product.
    #[must_use]
    pub fn second_set(&self) -> usize {
        self.cell.second().gates.len() * self.lanes
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

    /// Constants of all units.
    #[must_use]
    pub fn constants_width(&self) -> usize {
        self.padded_hidden() * self.cell.constants()
    }

    /// Calls `act` with the index of each constant among the masters, and where it is packed.
    fn each_constant(&self, mut act: impl FnMut(usize, usize)) {
        let count = self.cell.constants();
        for constant in 0..count {
            for unit in 0..self.hidden {
                let (block, lane) = (unit / self.lanes, unit % self.lanes);
                let place = (block * count + constant) * self.lanes + lane;
                act(constant * self.hidden + unit, place);
            }
        }
    }

    /// Calls `act` with each row of a product's master weights, and the block of units and the offset
    /// in its register set where that row's column is.
    fn columns(&self, feed: Feed, mut act: impl FnMut(usize, usize, usize)) {
        for (index, gate) in feed.gates.iter().enumerate() {
            for unit in 0..self.hidden {
                let (block, lane) = (unit / self.lanes, unit % self.lanes);
                act(gate * self.hidden + unit, block, index * self.lanes + lane);
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
    /// (constants * hidden,), if the cell has any.
    pub constants: Option<W>,
}

/// Weights ready for the engine.
#[derive(Debug)]
pub struct PackedWeights<F> {
    geometry: Geometry,
    /// (blocks, inputs, accumulators that take the input product, lanes).
    input: AlignedBuffer<F>,
    /// (blocks, hidden, accumulators that take the recurrent product, lanes).
    hidden: AlignedBuffer<F>,
    /// (blocks, hidden, accumulators that take the second recurrent product, lanes).
    second: AlignedBuffer<F>,
    /// (blocks, accumulators, lanes).
    bias: AlignedBuffer<F>,
    /// (blocks, constants, lanes).
    constants: AlignedBuffer<F>,
    /// What the backward pass multiplies by, made when first needed.
    transposed: OnceLock<TransposedWeights<F>>,
}

/// Weights for products with the accumulators' gradients: panels of [`Geometry::panel`] columns.
#[derive(Debug)]
pub struct TransposedWeights<F> {
    /// (panels of inputs, input width, panel).
    input: AlignedBuffer<F>,
    /// (panels of hidden, hidden width, panel).
    hidden: AlignedBuffer<F>,
    /// (panels of hidden, second width, panel).
    second: AlignedBuffer<F>,
}

impl<F: Float> PackedWeights<F> {
    /// Packs masters.
    ///
    /// # Errors
    /// [`crate::error::Error::OutOfMemory`] when the allocator refuses.
    pub fn pack(geometry: Geometry, master: MasterWeights<&[F]>) -> Result<Self> {
        let Geometry { inputs, hidden, .. } = geometry;
        let mut bias = AlignedBuffer::zeroed(geometry.width())?;
        let mut pack = |feed: Feed, features: usize, weights: &[F], biases: Option<&[F]>| {
            let set = feed.gates.len() * geometry.lanes;
            let len = checked_size(&[geometry.blocks(), set, features])?;
            let mut packed = AlignedBuffer::zeroed(len)?;
            let to = packed.as_mut_slice();
            geometry.columns(feed, |row, block, offset| {
                let start = block * set * features + offset;
                let from = &weights[row * features..][..features];
                for (k, &weight) in from.iter().enumerate() {
                    to[start + k * set] = weight;
                }
                if let Some(biases) = biases {
                    let first = block * geometry.register_set() + feed.first * geometry.lanes;
                    bias.as_mut_slice()[first + offset] += biases[row];
                }
            });
            Ok(packed)
        };
        let cell = geometry.cell;
        let (of_input, of_hidden) = (
            master.biases.map(|(bias, _)| bias),
            master.biases.map(|(_, bias)| bias),
        );
        let input = pack(cell.input(), inputs, master.input, of_input)?;
        let second = pack(cell.second(), hidden, master.hidden, of_hidden)?;
        let hidden = pack(cell.hidden(), hidden, master.hidden, of_hidden)?;
        let mut constants = AlignedBuffer::zeroed(geometry.constants_width())?;
        geometry.each_constant(|index, place| {
            if let Some(master) = master.constants {
                constants.as_mut_slice()[place] = master[index];
            }
        });
        Ok(Self {
            geometry,
            input,
            hidden,
            second,
            bias,
            constants,
            transposed: OnceLock::new(),
        })
    }

    /// The sizes.
    #[must_use]
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// (blocks, inputs, accumulators that take the input product, lanes).
    pub(super) fn input(&self) -> &[F] {
        self.input.as_slice()
    }

    /// (blocks, hidden, accumulators that take the recurrent product, lanes).
    pub(super) fn hidden(&self) -> &[F] {
        self.hidden.as_slice()
    }

    /// (blocks, hidden, accumulators that take the second recurrent product, lanes).
    pub(super) fn second(&self) -> &[F] {
        self.second.as_slice()
    }

    /// (blocks, accumulators, lanes).
    pub(super) fn bias(&self) -> &[F] {
        self.bias.as_slice()
    }

    /// (blocks, constants, lanes).
    pub(super) fn constants(&self) -> &[F] {
        self.constants.as_slice()
    }

    /// What the backward pass multiplies by.
    pub(super) fn transposed(&self) -> Result<&TransposedWeights<F>> {
        if let Some(transposed) = self.transposed.get() {
            return Ok(transposed);
        }
        let geometry = &self.geometry;
        let (input, hidden) = (self.input.as_slice(), self.hidden.as_slice());
        let transposed = TransposedWeights {
            input: self.transpose(input, geometry.inputs, geometry.input_set())?,
            hidden: self.transpose(hidden, geometry.hidden, geometry.hidden_set())?,
            second: self.transpose(
                self.second.as_slice(),
                geometry.hidden,
                geometry.second_set(),
            )?,
        };
        Ok(self.transposed.get_or_init(|| transposed))
    }

    /// From (blocks, features, register set) to (panels of features, width, panel).
    fn transpose(&self, from: &[F], features: usize, set: usize) -> Result<AlignedBuffer<F>> {
        let (width, panel) = (self.geometry.blocks() * set, self.geometry.panel());
        let len = checked_size(&[features.div_ceil(panel), width, panel])?;
        let mut buffer = AlignedBuffer::zeroed(len)?;
        let to = buffer.as_mut_slice();
        for (index, row) in from.chunks_exact(set.max(1)).enumerate() {
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
    /// (panels of inputs, input width, panel).
    pub(super) fn input(&self) -> &[F] {
        self.input.as_slice()
    }

    /// (panels of hidden, hidden width, panel).
    pub(super) fn hidden(&self) -> &[F] {
        self.hidden.as_slice()
    }

    /// (panels of hidden, second width, panel).
    pub(super) fn second(&self) -> &[F] {
        self.second.as_slice()
    }
}

/// Weight gradients as the engine makes them, in the layout of [`PackedWeights`].
#[derive(Debug)]
pub struct PackedGradients<F: Float> {
    geometry: Geometry,
    pub(super) input: ProductGradients<F>,
    pub(super) hidden: ProductGradients<F>,
    pub(super) second: ProductGradients<F>,
    /// (blocks, constants, lanes).
    pub(super) constants: Buffer<F>,
}

/// The gradients of one product's weights and bias.
#[derive(Debug)]
pub(super) struct ProductGradients<F: Float> {
    /// (blocks, features, accumulators that take the product, lanes).
    pub weights: Buffer<F>,
    /// (blocks, accumulators that take the product, lanes).
    pub bias: Buffer<F>,
}

impl<F: Float> ProductGradients<F> {
    fn zeroed(width: usize, features: usize, pool: &Pool<F>) -> Result<Self> {
        Ok(Self {
            weights: pool.take_zeroed(checked_size(&[width, features])?)?,
            bias: pool.take_zeroed(width)?,
        })
    }

    /// Adds to gradients in PyTorch's layout.
    fn unpack(
        &self,
        geometry: &Geometry,
        (feed, features): (Feed, usize),
        weights: &mut [F],
        mut biases: Option<&mut [F]>,
    ) {
        let set = feed.gates.len() * geometry.lanes;
        geometry.columns(feed, |row, block, offset| {
            let start = block * set * features + offset;
            let to = &mut weights[row * features..][..features];
            for (k, sum) in to.iter_mut().enumerate() {
                *sum += self.weights[start + k * set];
            }
            if let Some(biases) = &mut biases {
                biases[row] += self.bias[block * set + offset];
            }
        });
    }
}

impl<F: Float> PackedGradients<F> {
    /// Zeros.
    ///
    /// # Errors
    /// [`crate::error::Error::OutOfMemory`] when the allocator refuses.
    pub fn zeroed(geometry: Geometry, pool: &Pool<F>) -> Result<Self> {
        let (input, hidden) = (geometry.input_width(), geometry.hidden_width());
        Ok(Self {
            geometry,
            input: ProductGradients::zeroed(input, geometry.inputs, pool)?,
            hidden: ProductGradients::zeroed(hidden, geometry.hidden, pool)?,
            second: ProductGradients::zeroed(geometry.second_width(), geometry.hidden, pool)?,
            constants: pool.take_zeroed(geometry.constants_width())?,
        })
    }

    /// Adds to gradients in PyTorch's layout.
    pub fn unpack(&self, master: MasterWeights<&mut [F]>) {
        let geometry = &self.geometry;
        let (of_input, mut of_hidden) = master.biases.unzip();
        let (cell, features) = (geometry.cell, geometry.hidden);
        let input = (cell.input(), geometry.inputs);
        self.input.unpack(geometry, input, master.input, of_input);
        for (gradients, feed) in [(&self.hidden, cell.hidden()), (&self.second, cell.second())] {
            let biases = of_hidden.as_deref_mut();
            gradients.unpack(geometry, (feed, features), master.hidden, biases);
        }
        if let Some(constants) = master.constants {
            geometry.each_constant(|index, place| constants[index] += self.constants[place]);
        }
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
