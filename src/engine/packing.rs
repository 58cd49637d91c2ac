//! The weights as the engine wants them, and the way back for gradients.
//!
//! Masters stay in PyTorch's layout, gate after gate. Packed, the accumulators of the same units
//! stand together: column `(block * accumulators + accumulator) * lanes + lane` belongs to unit
//! `block * lanes + lane`, so that one register tile holds everything a cell needs.

use ndarray::{ArrayView2, ArrayViewMut2};

use crate::cells::{Accumulator, CellKind};
use crate::error::Result;
use crate::float::Float;
use crate::parameters::AlignedBuffer;

/// Sizes of one direction of one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Which cell.
    pub cell: CellKind,
    /// Features of the input.
    pub inputs: usize,
    /// Units.
    pub hidden: usize,
    /// Numbers in a vector register.
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
    input: AlignedBuffer<F>,
    hidden: AlignedBuffer<F>,
    bias: AlignedBuffer<F>,
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
            input: AlignedBuffer::zeroed(inputs * width)?,
            hidden: AlignedBuffer::zeroed(hidden * width)?,
            bias: AlignedBuffer::zeroed(width)?,
        };
        let to_input = packed.input.as_mut_slice();
        let to_hidden = packed.hidden.as_mut_slice();
        let to_bias = packed.bias.as_mut_slice();
        geometry.columns(|accumulator, unit, column| {
            if let Some(gate) = accumulator.input_gate {
                let row = gate * hidden + unit;
                for (k, &weight) in master.input[row * inputs..][..inputs].iter().enumerate() {
                    to_input[k * width + column] = weight;
                }
                if let Some((bias, _)) = master.biases {
                    to_bias[column] += bias[row];
                }
            }
            if let Some(gate) = accumulator.hidden_gate {
                let row = gate * hidden + unit;
                for (k, &weight) in master.hidden[row * hidden..][..hidden].iter().enumerate() {
                    to_hidden[k * width + column] = weight;
                }
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

    /// (inputs, width).
    pub(super) fn input(&self) -> ArrayView2<'_, F> {
        matrix(
            self.input.as_slice(),
            self.geometry.inputs,
            self.geometry.width(),
        )
    }

    /// (hidden, width).
    pub(super) fn hidden(&self) -> ArrayView2<'_, F> {
        matrix(
            self.hidden.as_slice(),
            self.geometry.hidden,
            self.geometry.width(),
        )
    }

    /// (width,).
    pub(super) fn bias(&self) -> &[F] {
        self.bias.as_slice()
    }
}

/// Weight gradients as the engine makes them: a row for each column of the packed weights.
#[derive(Debug)]
pub struct PackedGradients<F> {
    geometry: Geometry,
    input: AlignedBuffer<F>,
    hidden: AlignedBuffer<F>,
    bias: AlignedBuffer<F>,
}

impl<F: Float> PackedGradients<F> {
    /// Zeros.
    ///
    /// # Errors
    /// [`crate::error::Error::OutOfMemory`] when the allocator refuses.
    pub fn zeroed(geometry: Geometry) -> Result<Self> {
        let width = geometry.width();
        Ok(Self {
            geometry,
            input: AlignedBuffer::zeroed(width * geometry.inputs)?,
            hidden: AlignedBuffer::zeroed(width * geometry.padded_hidden())?,
            bias: AlignedBuffer::zeroed(width)?,
        })
    }

    /// (width, inputs).
    pub(super) fn input_mut(&mut self) -> ArrayViewMut2<'_, F> {
        let (rows, columns) = (self.geometry.width(), self.geometry.inputs);
        matrix_mut(self.input.as_mut_slice(), rows, columns)
    }

    /// (width, padded hidden).
    pub(super) fn hidden_mut(&mut self) -> ArrayViewMut2<'_, F> {
        let (rows, columns) = (self.geometry.width(), self.geometry.padded_hidden());
        matrix_mut(self.hidden.as_mut_slice(), rows, columns)
    }

    /// (width,).
    pub(super) fn bias_mut(&mut self) -> &mut [F] {
        self.bias.as_mut_slice()
    }

    /// Adds to gradients in PyTorch's layout.
    pub fn unpack(&self, master: MasterWeights<&mut [F]>) {
        let Geometry { inputs, hidden, .. } = self.geometry;
        let padded = self.geometry.padded_hidden();
        let (from_input, from_hidden) = (self.input.as_slice(), self.hidden.as_slice());
        let from_bias = self.bias.as_slice();
        let mut biases = master.biases;
        self.geometry.columns(|accumulator, unit, column| {
            if let Some(gate) = accumulator.input_gate {
                let row = gate * hidden + unit;
                add(
                    &mut master.input[row * inputs..][..inputs],
                    &from_input[column * inputs..][..inputs],
                );
                if let Some((bias, _)) = &mut biases {
                    bias[row] += from_bias[column];
                }
            }
            if let Some(gate) = accumulator.hidden_gate {
                let row = gate * hidden + unit;
                add(
                    &mut master.hidden[row * hidden..][..hidden],
                    &from_hidden[column * padded..][..hidden],
                );
                if let Some((_, bias)) = &mut biases {
                    bias[row] += from_bias[column];
                }
            }
        });
    }
}

fn add<F: Float>(to: &mut [F], from: &[F]) {
    for (sum, &value) in to.iter_mut().zip(from) {
        *sum += value;
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
