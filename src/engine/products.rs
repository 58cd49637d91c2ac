//! Matrix products outside of cells.

use std::ops::Range;

use ndarray::{Array1, ArrayView1, ArrayView2, ArrayViewMut1, ArrayViewMut2, Axis, s};

use super::gradient_products::{add, add_to};
use super::packing::PANEL_REGISTERS;
use super::tile::{CHAIN, for_row_chunks, sweep};
use super::workspace::zeroed_vec;
use crate::error::{Result, checked_size};
use crate::float::Float;
use crate::simd::{InstructionSet, Kernel, Registers, SimdFloat, Vector, dispatch};

/// Up to this many rows, a product is bound by reading the other matrix once, and packing it for
/// the tile costs more than the product.
const FEW_ROWS: usize = 4;

/// Up to this many outputs, most of a tile's sums would be nobody's.
const FEW_OUTPUTS: usize = 2;

/// How many sums run side by side in a scalar product, so that they can share a register.
const PARTIAL_SUMS: usize = 8;

/// How many rows are multiplied by one panel after the other: few enough for their results to stay
/// in the nearer caches meanwhile.
const ROWS: usize = 96;

/// How a product is computed. The caller chooses by the sizes of the whole operand, not of the
/// piece at hand, so that results don't depend on how an array happens to lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProductPath {
    /// Row by row.
    Rows,
    /// Tile by tile.
    Tiles,
}

impl ProductPath {
    /// The faster path for so many rows and outputs.
    #[must_use]
    pub fn for_sizes(rows: usize, outputs: usize) -> Self {
        if rows > FEW_ROWS && outputs > FEW_OUTPUTS {
            Self::Tiles
        } else {
            Self::Rows
        }
    }
}

/// `c += a b`.
///
/// # Errors
/// Out of memory; `c` is as it was then.
///
/// # Panics
/// When sizes don't fit.
pub fn add_product<F: SimdFloat>(
    path: ProductPath,
    a: ArrayView2<F>,
    b: ArrayView2<F>,
    c: ArrayViewMut2<F>,
) -> Result<()> {
    if path == ProductPath::Tiles {
        return multiply(a, b, c);
    }
    add_combinations(a, b, c)
}

/// `c += a b^T`.
///
/// # Errors
/// Out of memory; `c` is as it was then.
///
/// # Panics
/// When sizes don't fit.
pub fn add_product_transposed<F: SimdFloat>(
    path: ProductPath,
    a: ArrayView2<F>,
    b: ArrayView2<F>,
    mut c: ArrayViewMut2<F>,
) -> Result<()> {
    if path == ProductPath::Tiles {
        return multiply(a, b.reversed_axes(), c);
    }
    for (a_row, mut c_row) in a.rows().into_iter().zip(c.rows_mut()) {
        for (sum, b_row) in c_row.iter_mut().zip(b.rows()) {
            *sum += dot(a_row, b_row);
        }
    }
    Ok(())
}

/// `c += a^T b`.
///
/// # Errors
/// Out of memory; `c` is as it was then.
///
/// # Panics
/// When sizes don't fit.
pub fn add_outer_product<F: SimdFloat>(
    path: ProductPath,
    a: ArrayView2<F>,
    b: ArrayView2<F>,
    c: ArrayViewMut2<F>,
) -> Result<()> {
    if path == ProductPath::Tiles {
        return multiply(a.reversed_axes(), b, c);
    }
    add_combinations(a.reversed_axes(), b, c)
}

/// `c += a b`: row by row, as sums of multiples of the rows of `b`.
fn add_combinations<F: Float>(
    a: ArrayView2<F>,
    b: ArrayView2<F>,
    mut c: ArrayViewMut2<F>,
) -> Result<()> {
    let mut sums = Array1::from(zeroed_vec(b.ncols())?);
    let depths = b.axis_chunks_iter(Axis(0), CHAIN);
    for (a, b) in a.axis_chunks_iter(Axis(1), CHAIN).zip(depths) {
        for (a_row, mut c_row) in a.rows().into_iter().zip(c.rows_mut()) {
            sums.fill(F::zero());
            for (&factor, b_row) in a_row.iter().zip(b.rows()) {
                add_multiple(sums.view_mut(), factor, b_row);
            }
            c_row += &sums;
        }
    }
    Ok(())
}

/// `c += a b`, tile by tile. Each row's sums are the same whatever other rows there are.
fn multiply<F: SimdFloat>(a: ArrayView2<F>, b: ArrayView2<F>, c: ArrayViewMut2<F>) -> Result<()> {
    // The tiles read through pointers: what they rely on is made sure of here.
    assert_eq!(a.ncols(), b.nrows());
    assert_eq!(c.dim(), (a.nrows(), b.ncols()));
    assert!(c.ncols() < 2 || c.strides()[1] == 1);
    let set = InstructionSet::current();
    let panel = PANEL_REGISTERS * set.lanes::<F>();
    let padded = b.ncols().next_multiple_of(panel);
    let multiply = Multiply {
        packed: zeroed_vec(checked_size(&[CHAIN.min(b.nrows()), padded])?)?,
        row: zeroed_vec(panel)?,
        a,
        b,
        c,
    };
    dispatch(set, multiply);
    Ok(())
}

struct Multiply<'a, F> {
    a: ArrayView2<'a, F>,
    b: ArrayView2<'a, F>,
    c: ArrayViewMut2<'a, F>,
    /// Some rows of `b` as the tile reads them, panel by panel.
    packed: Vec<F>,
    /// A row of a tile's sums.
    row: Vec<F>,
}

impl<F: SimdFloat> Kernel<F> for Multiply<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Element = F>>(mut self) {
        let columns = self.b.ncols();
        let panels = (0..columns).step_by(PANEL_REGISTERS * V::LANES);
        for start in (0..self.b.nrows()).step_by(CHAIN) {
            let depths = start..self.b.nrows().min(start + CHAIN);
            for column in panels.clone() {
                self.pack::<V>(&depths, column);
            }
            for first in (0..self.a.nrows()).step_by(ROWS) {
                let rows = first..self.a.nrows().min(first + ROWS);
                for column in panels.clone() {
                    match registers::<V>(columns - column) {
                        1 => self.tiles::<V, [V; 1]>(&rows, &depths, column),
                        2 => self.tiles::<V, [V; 2]>(&rows, &depths, column),
                        _ => self.tiles::<V, [V; PANEL_REGISTERS]>(&rows, &depths, column),
                    }
                }
            }
        }
    }
}

/// How far an element is from a matrix's first.
#[inline(always)]
fn offset((row_stride, column_stride): (isize, isize), row: usize, column: usize) -> isize {
    row.cast_signed() * row_stride + column.cast_signed() * column_stride
}

/// How many registers make up a panel when so many columns are left.
#[inline(always)]
fn registers<V: Vector>(columns: usize) -> usize {
    match columns.div_ceil(V::LANES) {
        few @ 1..=2 => few,
        _ => PANEL_REGISTERS,
    }
}

impl<F: SimdFloat> Multiply<'_, F> {
    /// Lays out some rows of one panel of `b`, one after the other. Registers that are filled in part
    /// keep what they held before, in sums that nobody reads.
    #[inline(always)]
    fn pack<V: Vector<Element = F>>(&mut self, depths: &Range<usize>, column: usize) {
        let left = self.b.ncols() - column;
        let width = registers::<V>(left) * V::LANES;
        let panel = &mut self.packed[column * depths.len()..][..width * depths.len()];
        let columns = column..column + left.min(width);
        let from = self.b.slice(s![depths.clone(), columns]);
        if from.strides()[1] == 1 {
            for (to, from) in panel.chunks_exact_mut(width).zip(from.rows()) {
                for (to, &value) in to.iter_mut().zip(from) {
                    *to = value;
                }
            }
        } else {
            // Along the columns, which are contiguous in transposed matrices.
            for (index, from) in from.columns().into_iter().enumerate() {
                for (to, &value) in panel.chunks_exact_mut(width).zip(from) {
                    to[index] = value;
                }
            }
        }
    }

    /// Some rows of `a` times some rows of one panel of `b`.
    #[inline(always)]
    fn tiles<V: Vector<Element = F>, R: Registers<V>>(
        &mut self,
        rows: &Range<usize>,
        depths: &Range<usize>,
        column: usize,
    ) {
        let (count, width) = (depths.len(), R::COUNT * V::LANES);
        let columns = width.min(self.b.ncols() - column);
        let panel = &self.packed[column * count..][..width * count];
        let strides = (self.a.strides()[0], self.a.strides()[1]);
        let stride = self.c.strides()[0];
        let zero = R::build(|_| V::splat(F::zero()));
        assert!(self.row.len() >= width);
        for_row_chunks!(V, rows.len(), first, M => {
            let first = rows.start + first;
            // SAFETY: M rows of `a` have `count` numbers each from this depth on, and the panel has as
            // many register sets. M rows of `c`, whose columns are contiguous, have room for the
            // columns, and `row` for all registers.
            unsafe {
                let from = self.a.as_ptr().offset(offset(strides, first, depths.start));
                let sums = sweep::<V, R, M>([zero; M], count, from, strides, panel.as_ptr());
                for (m, sums) in sums.iter().enumerate() {
                    let to = self.c.as_mut_ptr().offset(offset((stride, 1), first + m, column));
                    if columns == width {
                        add_to(to, *sums);
                    } else {
                        sums.store(self.row.as_mut_ptr());
                        let to = std::slice::from_raw_parts_mut(to, columns);
                        add(to, &self.row);
                    }
                }
            }
        });
    }
}

/// `to += factor values`.
fn add_multiple<F: Float>(mut to: ArrayViewMut1<F>, factor: F, values: ArrayView1<F>) {
    match (to.as_slice_mut(), values.as_slice()) {
        (Some(to), Some(values)) => {
            for (to, &value) in to.iter_mut().zip(values) {
                *to += factor * value;
            }
        }
        _ => to.scaled_add(factor, &values),
    }
}

fn dot<F: Float>(a: ArrayView1<F>, b: ArrayView1<F>) -> F {
    let (Some(a), Some(b)) = (a.as_slice(), b.as_slice()) else {
        return a.dot(&b);
    };
    let mut sums = [F::zero(); PARTIAL_SUMS];
    let (a_chunks, b_chunks) = (a.chunks_exact(PARTIAL_SUMS), b.chunks_exact(PARTIAL_SUMS));
    let rest = a_chunks
        .remainder()
        .iter()
        .zip(b_chunks.remainder())
        .fold(F::zero(), |sum, (&x, &y)| sum + x * y);
    for (x, y) in a_chunks.zip(b_chunks) {
        for lane in 0..PARTIAL_SUMS {
            sums[lane] += x[lane] * y[lane];
        }
    }
    sums.into_iter().fold(rest, |sum, partial| sum + partial)
}
