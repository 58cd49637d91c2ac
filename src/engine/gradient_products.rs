//! The products of the backward pass: with the transposed weights, and of features and gradients.

use std::ops::Range;

use super::CACHED_BYTES;
use super::packing::PANEL_REGISTERS;
use super::shared::Shared;
use super::tile::{
    Ahead, MAX_STREAMS, chain_length, for_row_chunks, store_sums, sweep_into, sweep_row,
    sweep_row_onto,
};
use crate::float::Float;
use crate::simd::{InstructionSet, Kernel, Places, Registers, SimdFloat, Span, Vector, dispatch};

/// All registers of a panel.
type Panel = Places<0, PANEL_REGISTERS>;

/// Where the results of a [`Product`] go.
pub(super) trait Receiver<F> {
    /// Gets the numbers of a row from a column on.
    ///
    /// # Safety
    /// Nobody else uses their places.
    unsafe fn receive(&self, row: usize, column: usize, values: &[F]);
}

/// The product of accumulator gradients and transposed weights: a kernel of its own, which all cells
/// share.
pub(super) struct Product<'a, F, T> {
    /// Rows of accumulator gradients.
    pub gradients: &'a [F],
    /// How many numbers a row has.
    pub width: usize,
    /// (panels of columns, width, panel).
    pub weights: &'a [F],
    /// How many columns the weights have.
    pub columns: usize,
    /// Which panels to multiply by.
    pub panels: Range<usize>,
    /// How many numbers of a row are multiplied at a time; a result then comes in several parts.
    pub piece: usize,
    /// Whether there is a single row: in the whole product, not in this part of it, so that results
    /// don't depend on the parts.
    pub single: bool,
    /// Memory for a tile of panels.
    pub tile: &'a mut [F],
    /// Who gets the results.
    pub receiver: T,
}

impl<F: SimdFloat, T: Receiver<F>> Product<'_, F, T> {
    /// Multiplies.
    ///
    /// # Safety
    /// Nobody else uses the places of the results.
    pub unsafe fn run(self, set: InstructionSet) {
        dispatch(set, self);
    }
}

impl<F: SimdFloat, T: Receiver<F>> Kernel<F> for Product<'_, F, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Element = F>>(self) {
        let (width, tile) = (self.width, self.tile);
        let panel = PANEL_REGISTERS * V::LANES;
        assert!(tile.len() >= V::TILE_ROWS * panel);
        let zero = V::splat(num_traits::Zero::zero());
        let rows = self.gradients.len() / width;
        let far = self.panels.len() * width * panel * size_of::<F>() > CACHED_BYTES;
        for index in self.panels.clone() {
            let weights = &self.weights[index * width * panel..][..width * panel];
            let from = index * panel;
            let count = panel.min(self.columns - from);
            if self.single {
                match V::STREAMS {
                    MAX_STREAMS => product_of_row::<V, MAX_STREAMS>(self.gradients, weights, tile),
                    _ => product_of_row::<V, 2>(self.gradients, weights, tile),
                }
                // SAFETY: as the caller of `run` vouches.
                unsafe { self.receiver.receive(0, from, &tile[..count]) };
                continue;
            }
            for start in (0..width).step_by(self.piece) {
                let piece = self.piece.min(width - start);
                let last = index + 1 == self.panels.end && start + piece == width;
                let weights = &weights[start * panel..][..piece * panel];
                let chain = chain_length(piece);
                for_row_chunks!(V, rows, first, M => {
                    let of_rows = &self.gradients[first * width..][..M * width];
                    let chunk = first / V::TILE_ROWS;
                    // SAFETY: M rows with `piece` numbers from the start on, as many steps of the
                    // panel, and a tile of M panels.
                    unsafe {
                        let numbers = of_rows.as_ptr().add(start);
                        let next = weights.as_ptr_range().end;
                        let chunks = rows.div_ceil(V::TILE_ROWS);
                        let ahead = if far && !last {
                            Ahead::share(next, piece, panel, chunk, chunks)
                        } else {
                            None
                        };
                        let strides = (width.cast_signed(), 1);
                        let to = (tile.as_mut_ptr(), panel);
                        for at in (0..piece).step_by(chain) {
                            let count = chain.min(piece - at);
                            let (seed, numbers) = ([[zero; PANEL_REGISTERS]; M], numbers.add(at));
                            let weights = (weights.as_ptr().add(at * panel), V::LANES);
                            let ahead = ahead.map(|ahead| ahead.after(at));
                            let sums = sweep_into::<V, _, Panel, M>(
                                seed, count, numbers, strides, weights, ahead,
                            );
                            if at == 0 {
                                for (m, row) in sums.iter().enumerate() {
                                    row.store(to.0.add(m * panel));
                                }
                            } else {
                                store_sums(sums, (to.0.cast_const(), panel), to);
                            }
                        }
                    }
                    for m in 0..M {
                        let values = &tile[m * panel..][..count];
                        // SAFETY: as the caller of `run` vouches.
                        unsafe { self.receiver.receive(first + m, from, values) };
                    }
                });
            }
        }
    }
}

/// The product of a single row and one panel of transposed weights. The row is cut into G parts whose
/// sums run side by side: those of one row alone would wait for each other.
#[inline(always)]
fn product_of_row<V: Vector, const G: usize>(
    row: &[V::Element],
    weights: &[V::Element],
    tile: &mut [V::Element],
) {
    let panel = PANEL_REGISTERS * V::LANES;
    assert!(weights.len() == row.len() * panel && tile.len() >= G * panel);
    let part = row.len() / G;
    let whole = part * G;
    tile[..G * panel].fill(num_traits::Zero::zero());
    let sums = (tile.as_mut_ptr(), panel);
    // SAFETY: the parts lie inside the row and the panel, the rest behind them too; the tile holds a
    // panel for each part.
    unsafe {
        let (numbers, from) = ((row.as_ptr(), part), (weights.as_ptr(), part * panel));
        let zeros = (sums.0.cast_const(), panel);
        sweep_row_onto::<V, [V; PANEL_REGISTERS], Panel, G>(part, numbers, from, zeros, sums);
        let rest = row.len() - whole;
        let (row, weights) = (row.as_ptr().add(whole), weights.as_ptr().add(whole * panel));
        let seed = [<[V; PANEL_REGISTERS]>::load(sums.0)];
        let [mut sum] = sweep_row::<V, _, Panel, 1>(seed, rest, (row, 0), (weights, 0));
        for part in 1..G {
            sum.add_span::<Panel>(sums.0.add(part * panel), V::LANES);
        }
        sum.store(sums.0);
    }
}

/// Packs features, rows of `stride` numbers of which the first `count` count, as the tiles below
/// read them: for each chunk of at most a tile's rows of features all rows, one after the other.
/// Strided reads would fall on few sets of the cache.
///
/// # Safety
/// Nobody else uses these chunks.
#[inline(always)]
pub(super) unsafe fn pack_features<V: Vector>(
    from: &[V::Element],
    stride: usize,
    count: usize,
    chunks: &Range<usize>,
    to: &Shared<'_, V::Element>,
) {
    if count == 0 {
        return;
    }
    let rows = from.len() / stride;
    let start = (chunks.start * V::TILE_ROWS).min(count);
    let end = (chunks.end * V::TILE_ROWS).min(count);
    for_row_chunks!(V, end - start, first, M => {
        let first = start + first;
        // SAFETY: as the caller vouches.
        let chunk = unsafe { to.write(first * rows..(first + M) * rows) };
        // A constant width: a call to copy a few numbers takes longer than copying them.
        for (to, from) in chunk.as_chunks_mut::<M>().0.iter_mut().zip(from.chunks_exact(stride)) {
            if let Some(from) = from[first..].first_chunk::<M>() {
                *to = *from;
            }
        }
    });
}

/// Adds, for each packed feature, the sum over all rows of feature times gradients: those of a span of
/// a register set `R`, one row after the other in `column`. The sums' registers of one feature are
/// `spread` numbers apart: see [`sweep_into`].
///
/// # Safety
/// As many register sets as there are features are valid for reads and writes at `sums`.
#[inline(always)]
pub(super) unsafe fn feature_products<V: Vector, R: Registers<V>, S: Span>(
    (features, count): (&[V::Element], usize),
    column: &[V::Element],
    (sums, spread): (*mut V::Element, usize),
) {
    let rows = column.len() / (S::COUNT * V::LANES);
    assert_eq!(features.len(), rows * count);
    let zero = V::splat(num_traits::Zero::zero());
    let step = if spread == V::LANES {
        S::COUNT * V::LANES
    } else {
        V::LANES
    };
    for_row_chunks!(V, count, first, M => {
        let from = &features[first * rows..][..M * rows];
        // SAFETY: M features in each of `rows` rows, and as many register sets of gradients; the caller
        // vouches for the sums.
        unsafe {
            let seed = [R::build(|_| zero); M];
            let (from, strides) = (from.as_ptr(), (1, M.cast_signed()));
            let column = (column.as_ptr(), V::LANES);
            let tile = sweep_into::<V, R, S, M>(seed, rows, from, strides, column, None);
            for (m, row) in tile.into_iter().enumerate() {
                let to = sums.add((first + m) * step);
                let mut row = row;
                row.add_span::<S>(to, spread);
                row.store_span::<S>(to, spread);
            }
        }
    });
}

/// Adds numbers to the first ones of a slice.
#[inline(always)]
pub(super) fn add<F: Float>(to: &mut [F], values: &[F]) {
    for (sum, &value) in to.iter_mut().zip(values) {
        *sum += value;
    }
}

/// Adds registers to memory.
///
/// # Safety
/// The registers' numbers at `to` are valid for reads and writes.
#[inline(always)]
pub(super) unsafe fn add_to<V: Vector, R: Registers<V>>(to: *mut V::Element, values: R) {
    // SAFETY: the caller vouches for the memory.
    unsafe {
        let old = R::load(to);
        R::build(|index| old.get(index) + values.get(index)).store(to);
    }
}
