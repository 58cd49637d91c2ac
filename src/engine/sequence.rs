//! Operands over time: (steps, rows, width) in any strides along steps and rows.

use std::marker::PhantomData;
use std::ops::Range;

use ndarray::{ArrayView2, Axis, ShapeBuilder, Slice};

use super::workspace::zeroed_vec;
use crate::error::{Result, checked_size};
use crate::float::Float;

/// The order of the first two axes of a contiguous operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// (steps, rows, width).
    TimeMajor,
    /// (rows, steps, width).
    BatchMajor,
}

/// Sizes and strides (in elements) of an operand whose last axis is contiguous.
#[derive(Debug, Clone, Copy)]
struct Extent {
    steps: usize,
    rows: usize,
    width: usize,
    step_stride: isize,
    row_stride: isize,
}

/// A part of a block of time that is one matrix: its first element, its rows and their stride,
/// and which rows of the block it holds.
struct Piece {
    offset: isize,
    rows: usize,
    stride: isize,
    block_start: usize,
    block_stride: usize,
}

impl Piece {
    /// Which rows of the block the piece holds.
    #[allow(clippy::cast_possible_wrap)] // sizes of memory that exists fit isize
    fn rows_of_block(&self) -> Slice {
        let start = self.block_start as isize;
        let end = start + ((self.rows - 1) * self.block_stride + 1) as isize;
        Slice::new(start, Some(end), self.block_stride as isize)
    }
}

impl Extent {
    #[allow(clippy::cast_possible_wrap)] // sizes of memory that exists fit isize
    fn contiguous(layout: Layout, steps: usize, rows: usize, width: usize, columns: usize) -> Self {
        let (step_stride, row_stride) = match layout {
            Layout::TimeMajor => (rows * columns, columns),
            Layout::BatchMajor => (columns, steps * columns),
        };
        Self {
            steps,
            rows,
            width,
            step_stride: step_stride as isize,
            row_stride: row_stride as isize,
        }
    }

    #[allow(clippy::cast_possible_wrap)]
    fn offset(&self, step: usize, row: usize) -> isize {
        debug_assert!(step < self.steps && row < self.rows);
        step as isize * self.step_stride + row as isize * self.row_stride
    }

    /// Cuts a block of steps into as few matrices as its strides allow.
    #[allow(clippy::cast_possible_wrap)]
    fn pieces(&self, steps: &Range<usize>) -> impl Iterator<Item = Piece> + use<> {
        let extent = *self;
        let (first, count) = (steps.start, steps.len());
        let one_matrix =
            extent.rows == 1 || extent.step_stride == extent.rows as isize * extent.row_stride;
        let by_row = !one_matrix && count > extent.rows;
        let pieces = if count == 0 || extent.rows == 0 {
            0
        } else if one_matrix {
            1
        } else if by_row {
            extent.rows
        } else {
            count
        };
        (0..pieces).map(move |piece| {
            if one_matrix {
                Piece {
                    offset: extent.offset(first, 0),
                    rows: count * extent.rows,
                    stride: if extent.rows == 1 {
                        extent.step_stride
                    } else {
                        extent.row_stride
                    },
                    block_start: 0,
                    block_stride: 1,
                }
            } else if by_row {
                Piece {
                    offset: extent.offset(first, piece),
                    rows: count,
                    stride: extent.step_stride,
                    block_start: piece,
                    block_stride: extent.rows,
                }
            } else {
                Piece {
                    offset: extent.offset(first + piece, 0),
                    rows: extent.rows,
                    stride: extent.row_stride,
                    block_start: piece * extent.rows,
                    block_stride: 1,
                }
            }
        })
    }
}

/// An operand that is read, in place.
#[derive(Debug, Clone, Copy)]
pub struct Sequence<'a, F> {
    pointer: *const F,
    extent: Extent,
    marker: PhantomData<&'a [F]>,
}

// SAFETY: a sequence is a shared borrow of plain numbers.
unsafe impl<F: Float> Send for Sequence<'_, F> {}
// SAFETY: as above.
unsafe impl<F: Float> Sync for Sequence<'_, F> {}

impl<'a, F: Float> Sequence<'a, F> {
    /// Memory with any strides, negative and zero included.
    ///
    /// # Safety
    /// For every step, row and column inside the sizes, the element at `pointer + step *
    /// step_stride + row * row_stride + column` is valid for reads during `'a`.
    #[must_use]
    pub unsafe fn from_raw(
        pointer: *const F,
        (steps, rows, width): (usize, usize, usize),
        step_stride: isize,
        row_stride: isize,
    ) -> Self {
        Self {
            pointer,
            extent: Extent {
                steps,
                rows,
                width,
                step_stride,
                row_stride,
            },
            marker: PhantomData,
        }
    }

    /// The columns `first_column..first_column + width` of a contiguous array with `columns`
    /// columns.
    ///
    /// # Panics
    /// When the sizes don't fit the slice.
    #[must_use]
    pub fn columns(
        values: &'a [F],
        layout: Layout,
        (steps, rows, width): (usize, usize, usize),
        columns: usize,
        first_column: usize,
    ) -> Self {
        assert!(first_column + width <= columns && steps * rows * columns == values.len());
        Self {
            pointer: values.as_ptr().wrapping_add(first_column),
            extent: Extent::contiguous(layout, steps, rows, width, columns),
            marker: PhantomData,
        }
    }

    /// A contiguous array.
    ///
    /// # Panics
    /// When the sizes don't fit the slice.
    #[must_use]
    pub fn contiguous(values: &'a [F], layout: Layout, sizes: (usize, usize, usize)) -> Self {
        Self::columns(values, layout, sizes, sizes.2, 0)
    }

    /// The columns `first..first + width` of this sequence.
    ///
    /// # Panics
    /// When there are no such columns.
    #[must_use]
    pub fn select(&self, first: usize, width: usize) -> Self {
        assert!(first + width <= self.extent.width);
        let mut part = *self;
        part.pointer = self.pointer.wrapping_add(first);
        part.extent.width = width;
        part
    }

    /// Steps, rows, width.
    #[must_use]
    pub fn sizes(&self) -> (usize, usize, usize) {
        (self.extent.steps, self.extent.rows, self.extent.width)
    }

    /// Address of one row at one step.
    pub(super) fn row_ptr(&self, step: usize, row: usize) -> *const F {
        debug_assert!(step < self.extent.steps && row < self.extent.rows);
        self.pointer.wrapping_offset(self.extent.offset(step, row))
    }

    /// Numbers from one step to the next.
    pub(super) fn step_stride(&self) -> isize {
        self.extent.step_stride
    }

    /// Numbers from one row to the next.
    pub(super) fn row_stride(&self) -> isize {
        self.extent.row_stride
    }

    /// A contiguous, time-major copy.
    ///
    /// # Errors
    /// Out of memory.
    pub fn to_vec(&self) -> Result<Vec<F>> {
        let (steps, rows, width) = self.sizes();
        let mut copy = zeroed_vec(checked_size(&[steps, rows, width])?)?;
        self.copy_where(&mut copy, |_, _| true);
        Ok(copy)
    }

    /// Copies, contiguous and time-major, the steps and rows that `keep` accepts; zeros elsewhere.
    ///
    /// # Panics
    /// When `to` has another size.
    pub fn copy_where(&self, to: &mut [F], keep: impl Fn(usize, usize) -> bool) {
        let Extent {
            steps, rows, width, ..
        } = self.extent;
        assert_eq!(to.len(), steps * rows * width);
        if width > 0 {
            for (index, to) in to.chunks_exact_mut(width).enumerate() {
                let (step, row) = (index / rows, index % rows);
                if keep(step, row) {
                    to.copy_from_slice(self.row(step, row));
                } else {
                    to.fill(F::zero());
                }
            }
        }
    }

    /// One row at one step.
    ///
    /// # Panics
    /// When there is no such step or row.
    #[must_use]
    #[inline]
    pub fn row(&self, step: usize, row: usize) -> &'a [F] {
        assert!(step < self.extent.steps && row < self.extent.rows);
        if self.extent.width == 0 {
            return &[];
        }
        // SAFETY: step and row are inside the sizes, for which the constructors vouch.
        unsafe {
            std::slice::from_raw_parts(
                self.pointer.offset(self.extent.offset(step, row)),
                self.extent.width,
            )
        }
    }

    /// Calls `act` with matrices that make up a block of steps, and with the rows of the block
    /// that each of them holds.
    ///
    /// # Panics
    /// When there are no such steps.
    pub fn matrices(&self, steps: &Range<usize>, mut act: impl FnMut(ArrayView2<'_, F>, Slice)) {
        assert!(steps.end <= self.extent.steps);
        for piece in self.extent.pieces(steps) {
            // ndarray wants strides that aren't negative: from the last row on, then turned round.
            let backwards = piece.stride < 0;
            let last = (piece.rows - 1).cast_signed() * piece.stride;
            let first = piece.offset + if backwards { last } else { 0 };
            let shape = (piece.rows, self.extent.width).strides((piece.stride.unsigned_abs(), 1));
            // SAFETY: every element lies inside the sizes, for which the constructors vouch.
            let mut matrix =
                unsafe { ArrayView2::from_shape_ptr(shape, self.pointer.offset(first)) };
            if backwards {
                matrix.invert_axis(Axis(0));
            }
            act(matrix, piece.rows_of_block());
        }
    }
}

/// An operand that is written.
#[derive(Debug)]
pub struct SequenceMut<'a, F> {
    pointer: *mut F,
    extent: Extent,
    marker: PhantomData<&'a mut [F]>,
}

impl<'a, F: Float> SequenceMut<'a, F> {
    /// A contiguous array.
    ///
    /// # Panics
    /// When the sizes don't fit the slice.
    #[must_use]
    pub fn contiguous(
        values: &'a mut [F],
        layout: Layout,
        (steps, rows, width): (usize, usize, usize),
    ) -> Self {
        assert!(steps * rows * width == values.len());
        Self {
            pointer: values.as_mut_ptr(),
            extent: Extent::contiguous(layout, steps, rows, width, width),
            marker: PhantomData,
        }
    }

    /// Steps, rows, width.
    #[must_use]
    pub fn sizes(&self) -> (usize, usize, usize) {
        (self.extent.steps, self.extent.rows, self.extent.width)
    }

    /// The first so many columns, and the rest.
    ///
    /// # Panics
    /// When there are fewer columns.
    #[must_use]
    pub fn split_columns(self, columns: usize) -> (Self, Self) {
        assert!(columns <= self.extent.width);
        let part = |first: usize, width: usize| Self {
            pointer: self.pointer.wrapping_add(first),
            extent: Extent {
                width,
                ..self.extent
            },
            marker: PhantomData,
        };
        (part(0, columns), part(columns, self.extent.width - columns))
    }

    /// Adds a sequence of the same sizes.
    ///
    /// # Panics
    /// When it has fewer steps, rows or columns.
    pub fn add(&mut self, other: &Sequence<'_, F>) {
        for step in 0..self.extent.steps {
            for row in 0..self.extent.rows {
                let to = self.row_mut(step, row);
                for (sum, &value) in to.iter_mut().zip(other.row(step, row)) {
                    *sum += value;
                }
            }
        }
    }

    /// For the parts of a call, each of which writes places of its own.
    pub(super) fn share(&mut self) -> SharedSequence<'_, F> {
        SharedSequence {
            pointer: self.pointer,
            extent: self.extent,
            marker: PhantomData,
        }
    }

    /// One row at one step.
    ///
    /// # Panics
    /// When there is no such step or row.
    #[inline]
    pub fn row_mut(&mut self, step: usize, row: usize) -> &mut [F] {
        assert!(step < self.extent.steps && row < self.extent.rows);
        if self.extent.width == 0 {
            return &mut [];
        }
        // SAFETY: inside the slice that the constructor checked; `&mut self` keeps it unique.
        unsafe {
            std::slice::from_raw_parts_mut(
                self.pointer.offset(self.extent.offset(step, row)),
                self.extent.width,
            )
        }
    }
}

/// An operand in which several parts of a call write.
#[derive(Debug, Clone, Copy)]
pub(super) struct SharedSequence<'a, F> {
    pointer: *mut F,
    extent: Extent,
    marker: PhantomData<&'a mut [F]>,
}

// SAFETY: the method that touches the numbers is unsafe, and says what threads must keep to.
unsafe impl<F: Float> Send for SharedSequence<'_, F> {}
// SAFETY: as above.
unsafe impl<F: Float> Sync for SharedSequence<'_, F> {}

impl<'a, F: Float> SharedSequence<'a, F> {
    /// A contiguous array.
    ///
    /// # Panics
    /// When the sizes don't fit the slice.
    pub fn contiguous(values: &'a mut [F], layout: Layout, sizes: (usize, usize, usize)) -> Self {
        let sequence = SequenceMut::contiguous(values, layout, sizes);
        Self {
            pointer: sequence.pointer,
            extent: sequence.extent,
            marker: PhantomData,
        }
    }

    /// Some columns of one row at one step.
    ///
    /// # Safety
    /// Nobody else uses them while the slice lives.
    ///
    /// # Panics
    /// When there is no such step, row or column.
    #[inline]
    #[allow(clippy::mut_from_ref)] // the caller vouches
    pub unsafe fn write(&self, step: usize, row: usize, columns: Range<usize>) -> &'a mut [F] {
        assert!(step < self.extent.steps && row < self.extent.rows);
        assert!(columns.start <= columns.end && columns.end <= self.extent.width);
        // SAFETY: inside the sizes, for which the constructors vouch; the caller vouches for the rest.
        unsafe {
            let row = self.pointer.wrapping_offset(self.extent.offset(step, row));
            std::slice::from_raw_parts_mut(row.wrapping_add(columns.start), columns.len())
        }
    }
}
