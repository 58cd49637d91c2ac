//! All matrix products; the only file that knows which library computes them.

use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView1, ArrayView2, ArrayViewMut2};

use crate::float::Float;

/// Up to this many rows, a product is bound by reading the other matrix once, and packing it as
/// the library does costs more than the product.
const FEW_ROWS: usize = 4;

/// How many sums run side by side in a scalar product, so that they can share a register.
const PARTIAL_SUMS: usize = 8;

/// How a product is computed. The caller chooses by the rows of the whole operand, not of the
/// piece at hand, so that results don't depend on how an array happens to lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProductPath {
    /// Row by row.
    FewRows,
    /// By the library.
    ManyRows,
}

impl ProductPath {
    /// The faster path for an operand of so many rows.
    #[must_use]
    pub fn for_rows(rows: usize) -> Self {
        if rows > FEW_ROWS {
            Self::ManyRows
        } else {
            Self::FewRows
        }
    }
}

/// `c += a b`.
pub fn add_product<F: Float>(
    path: ProductPath,
    a: ArrayView2<F>,
    b: ArrayView2<F>,
    mut c: ArrayViewMut2<F>,
) {
    if path == ProductPath::ManyRows {
        general_mat_mul(F::one(), &a, &b, F::one(), &mut c);
        return;
    }
    for (a_row, mut c_row) in a.rows().into_iter().zip(c.rows_mut()) {
        for (&factor, b_row) in a_row.iter().zip(b.rows()) {
            match (c_row.as_slice_mut(), b_row.as_slice()) {
                (Some(sums), Some(values)) => {
                    for (sum, &value) in sums.iter_mut().zip(values) {
                        *sum += factor * value;
                    }
                }
                _ => c_row.scaled_add(factor, &b_row),
            }
        }
    }
}

/// `c += a b^T`.
pub fn add_product_transposed<F: Float>(
    path: ProductPath,
    a: ArrayView2<F>,
    b: ArrayView2<F>,
    mut c: ArrayViewMut2<F>,
) {
    if path == ProductPath::ManyRows {
        general_mat_mul(F::one(), &a, &b.t(), F::one(), &mut c);
        return;
    }
    for (a_row, mut c_row) in a.rows().into_iter().zip(c.rows_mut()) {
        for (sum, b_row) in c_row.iter_mut().zip(b.rows()) {
            *sum += dot(a_row, b_row);
        }
    }
}

/// `c += a^T b`.
pub fn add_outer_product<F: Float>(a: ArrayView2<F>, b: ArrayView2<F>, mut c: ArrayViewMut2<F>) {
    general_mat_mul(F::one(), &a.t(), &b, F::one(), &mut c);
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
