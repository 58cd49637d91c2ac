//! The register tile: a few rows of sums that stay in registers while they sweep over weights.

use crate::cells::Cell;
use crate::simd::{All, Registers, Span, Vector};

/// Weights that will be needed next, which a tile brings nearer while it computes. Without it, the
/// first rows of every panel wait for weights from far away, and while the others find them in the
/// second cache, nothing comes from there.
#[derive(Debug, Clone, Copy)]
pub struct Ahead<F> {
    from: *const F,
    /// With every step of the tile.
    bytes: usize,
}

/// How many cache lines a tile brings nearer with every step: enough for two chunks of rows to bring
/// panels of four registers of 64 bytes.
const LINES_AHEAD: usize = 2;

impl<F> Ahead<F> {
    /// What one of several chunks of rows brings nearer of the panel at `next`, while each sweeps over
    /// `count` register sets of `set` numbers. Nothing for a single chunk, whose own weights already
    /// come as fast as they can.
    pub fn share(
        next: *const F,
        count: usize,
        set: usize,
        chunk: usize,
        chunks: usize,
    ) -> Option<Self> {
        let bytes = set * size_of::<F>() / chunks;
        (chunks > 1).then(|| Self {
            from: next.wrapping_byte_add(chunk * count * bytes),
            bytes,
        })
    }
}

/// Adds `rows x weights` to `M` rows of sums: for each of `count` steps, one register set of
/// weights times one number of each row.
///
/// # Safety
/// `rows + m * row_stride + k * step` is valid for reads for each row m below `M` and step k below
/// `count`, and so are `count` register sets one after the other at `weights`.
#[inline(always)]
pub unsafe fn sweep<V: Vector, R: Registers<V>, const M: usize>(
    sums: [R; M],
    count: usize,
    rows: *const V::Element,
    strides: (isize, isize),
    weights: *const V::Element,
) -> [R; M] {
    // SAFETY: as the caller vouches.
    unsafe {
        let weights = (weights, V::LANES);
        sweep_into::<V, R, All<V, R>, M>(sums, count, rows, strides, weights, None)
    }
}

/// As [`sweep`], with weights for some registers of the sums only, and bringing other weights nearer
/// meanwhile. The weights' registers of one step are `spread` numbers apart: they follow each other, or
/// each comes from a panel of its own of one register a step.
///
/// # Safety
/// As there; a register set of weights has the registers of the span.
#[inline(always)]
pub unsafe fn sweep_into<V: Vector, R: Registers<V>, S: Span, const M: usize>(
    sums: [R; M],
    count: usize,
    rows: *const V::Element,
    strides: (isize, isize),
    weights: (*const V::Element, usize),
    ahead: Option<Ahead<V::Element>>,
) -> [R; M] {
    let nothing = Ahead {
        from: weights.0,
        bytes: 0,
    };
    // SAFETY: as the caller vouches.
    unsafe {
        match ahead {
            None => sweep_lines::<V, R, S, M, 0>(sums, count, rows, strides, weights, nothing),
            Some(ahead) => {
                sweep_lines::<V, R, S, M, LINES_AHEAD>(sums, count, rows, strides, weights, ahead)
            }
        }
    }
}

/// See [`sweep_into`]; brings `LINES` cache lines nearer with every step.
///
/// # Safety
/// As there.
#[inline(always)]
unsafe fn sweep_lines<V: Vector, R: Registers<V>, S: Span, const M: usize, const LINES: usize>(
    mut sums: [R; M],
    count: usize,
    mut rows: *const V::Element,
    (row_stride, step): (isize, isize),
    (mut weights, spread): (*const V::Element, usize),
    mut ahead: Ahead<V::Element>,
) -> [R; M] {
    // Panels of one step are equal either way.
    let weights_step = if spread == V::LANES {
        S::COUNT * V::LANES
    } else {
        V::LANES
    };
    for _ in 0..count {
        for line in 0..LINES {
            V::prefetch(ahead.from.wrapping_byte_add(line * 64));
        }
        ahead.from = ahead.from.wrapping_byte_add(ahead.bytes);
        // SAFETY: the caller vouches for rows and weights of every step.
        unsafe {
            let mut x = [V::splat(*rows); M];
            let mut row = rows;
            for x in x.iter_mut().skip(1) {
                row = row.wrapping_offset(row_stride);
                *x = V::splat(*row);
            }
            // One register of weights after the other: with few registers there is only room for one
            // beside the sums and the rows' numbers.
            for index in 0..S::COUNT {
                let w = V::load(weights.wrapping_add(index * spread));
                for (sum, x) in sums.iter_mut().zip(x) {
                    sum.set(S::START + index, x.mul_add(w, sum.get(S::START + index)));
                }
            }
        }
        rows = rows.wrapping_offset(step);
        weights = weights.wrapping_add(weights_step);
    }
    sums
}

/// `M` rows of sums from memory, `stride` numbers apart. A loop, because the compiler may leave a
/// closure for `from_fn` out of the function that is compiled for the instruction set.
///
/// # Safety
/// The rows are valid for reads.
#[inline(always)]
pub unsafe fn load_rows<V: Vector, R: Registers<V>, const M: usize>(
    from: *const V::Element,
    stride: usize,
) -> [R; M] {
    // SAFETY: the caller vouches for the rows.
    unsafe {
        let mut rows = [R::load(from); M];
        for (m, row) in rows.iter_mut().enumerate().skip(1) {
            *row = R::load(from.add(m * stride));
        }
        rows
    }
}

/// The most rows that a tile of any instruction set has.
pub const MAX_TILE_ROWS: usize = 6;

/// The most blocks of units that a tile covers.
pub const MAX_TILE_BLOCKS: usize = 4;

/// The most streams of weights that a single row multiplies side by side on any instruction set.
pub const MAX_STREAMS: usize = 4;

/// Adds one row times `G` streams of weights to some registers of `G` sets of sums: with a single row,
/// this keeps as many sums in flight as a tile of rows does. Stream g starts `row_stream * g` numbers
/// into the row: zero for different columns of the weights, more for different parts of the row.
///
/// # Safety
/// For each stream g below `G`, `count` numbers at `row + g * row_stream` are valid for reads, and so
/// are `count` register sets of the span's registers at `weights + g * stream`.
#[inline(always)]
pub unsafe fn sweep_row<V: Vector, R: Registers<V>, S: Span, const G: usize>(
    mut sums: [R; G],
    count: usize,
    (row, row_stream): (*const V::Element, usize),
    (weights, stream): (*const V::Element, usize),
) -> [R; G] {
    let mut weights = weights;
    for k in 0..count {
        // SAFETY: the caller vouches for row and weights of every step.
        unsafe {
            let mut from = weights;
            let mut number = row.add(k);
            for sum in &mut sums {
                let x = V::splat(*number);
                for index in 0..S::COUNT {
                    let w = V::load(from.wrapping_add(index * V::LANES));
                    sum.set(S::START + index, x.mul_add(w, sum.get(S::START + index)));
                }
                from = from.wrapping_add(stream);
                number = number.wrapping_add(row_stream);
            }
        }
        weights = weights.wrapping_add(S::COUNT * V::LANES);
    }
    sums
}

/// Blocks of units, as tiles take them: several at a time where a cell has few
/// accumulators, and what is left one by one.
#[derive(Debug, Clone, Copy)]
pub struct Tiles {
    /// How many blocks a tile takes at a time.
    wide: usize,
    groups: usize,
    single: usize,
}

impl Tiles {
    /// So many blocks.
    #[inline(always)]
    pub fn new<V: Vector, C: Cell>(blocks: usize) -> Self {
        let wide =
            <C::Tile<V> as Registers<V>>::COUNT / <C::Accumulators<V> as Registers<V>>::COUNT;
        Self {
            wide,
            groups: blocks / wide,
            single: blocks % wide,
        }
    }

    /// How many tiles there are.
    pub fn count(self) -> usize {
        self.groups + self.single
    }

    /// The first block of one of the tiles, and whether it takes several.
    #[inline(always)]
    pub fn place(self, index: usize) -> (usize, bool) {
        if index < self.groups {
            (index * self.wide, true)
        } else {
            (
                self.groups * self.wide + index - self.groups,
                self.wide == 1,
            )
        }
    }
}

/// Calls `$tile` with a constant number of rows, for each chunk of at most the instruction set's
/// tile rows: `$first` is the chunk's first row.
macro_rules! for_row_chunks {
    ($vector:ident, $rows:expr, $first:ident, $m:ident => $tile:expr) => {{
        let rows = $rows;
        let mut $first = 0;
        while $first < rows {
            match (rows - $first).min($vector::TILE_ROWS) {
                6 if $vector::TILE_ROWS >= 6 => {
                    const $m: usize = 6;
                    $tile;
                    $first += 6;
                }
                5 if $vector::TILE_ROWS >= 5 => {
                    const $m: usize = 5;
                    $tile;
                    $first += 5;
                }
                4 if $vector::TILE_ROWS >= 4 => {
                    const $m: usize = 4;
                    $tile;
                    $first += 4;
                }
                3 if $vector::TILE_ROWS >= 3 => {
                    const $m: usize = 3;
                    $tile;
                    $first += 3;
                }
                2 => {
                    const $m: usize = 2;
                    $tile;
                    $first += 2;
                }
                _ => {
                    const $m: usize = 1;
                    $tile;
                    $first += 1;
                }
            }
        }
    }};
}
pub(super) use for_row_chunks;
