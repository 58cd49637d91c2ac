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

/// How many products a sum collects before it is added to others: the longer a sum of floating-point
/// numbers, the more digits it loses, at every step anew. Sums therefore start from zero, are cut into
/// chains of at most so many products, and what they are added to (biases, sums made earlier) comes last.
/// Not much shorter: packed operands of a chain should fill the nearer caches.
pub const CHAIN: usize = 384;

/// How many products are too few for that to matter.
const SHORT_CHAIN: usize = 64;

/// How long the chains are in which a sum of `count` products is made: as few as possible, of about the
/// same length. At least one.
#[inline(always)]
pub fn chain_length(count: usize) -> usize {
    count.div_ceil(count.div_ceil(CHAIN).max(1)).max(1)
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

    /// What is left after so many steps.
    #[inline(always)]
    pub fn after(self, steps: usize) -> Self {
        Self {
            from: self.from.wrapping_byte_add(steps * self.bytes),
            bytes: self.bytes,
        }
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

/// How far the weights of one step are from those of the next one, if their registers are `spread`
/// numbers apart.
#[inline(always)]
fn weights_step<V: Vector, S: Span>(spread: usize) -> usize {
    // With one register, panels of one step are the same as registers that follow each other.
    if spread == V::LANES {
        S::COUNT * V::LANES
    } else {
        V::LANES
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
    let weights_step = weights_step::<V, S>(spread);
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

/// Stores `rows x weights` plus what was in memory `before`, chain by chain: see [`sweep_into`] and
/// [`store_sums`].
///
/// # Safety
/// As there.
#[inline(always)]
pub unsafe fn sweep_onto<V: Vector, R: Registers<V>, S: Span, const M: usize>(
    count: usize,
    (rows, strides): (*const V::Element, (isize, isize)),
    (weights, spread): (*const V::Element, usize),
    mut before: (*const V::Element, usize),
    to: (*mut V::Element, usize),
) {
    let zero = R::build(|_| V::splat(num_traits::Zero::zero()));
    let chain = chain_length(count);
    let mut start = 0;
    // SAFETY: as the caller vouches; a chain is some of the steps.
    unsafe {
        loop {
            let length = chain.min(count - start);
            let rows = rows.wrapping_offset(start.cast_signed() * strides.1);
            let weights = weights.wrapping_add(start * weights_step::<V, S>(spread));
            let (seeds, weights) = ([zero; M], (weights, spread));
            let sums = sweep_into::<V, R, S, M>(seeds, length, rows, strides, weights, None);
            store_sums(sums, before, to);
            before = (to.0.cast_const(), to.1);
            start += length;
            if start == count {
                break;
            }
        }
    }
}

/// As [`sweep_onto`], of one row and `G` streams of weights: see [`sweep_row`]. A few products are added
/// to what was before one after the other: they lose next to nothing, and with a single row the sums
/// would wait for it in the end.
///
/// # Safety
/// As there.
#[inline(always)]
pub unsafe fn sweep_row_onto<V: Vector, R: Registers<V>, S: Span, const G: usize>(
    count: usize,
    (row, row_stream): (*const V::Element, usize),
    (weights, stream): (*const V::Element, usize),
    mut before: (*const V::Element, usize),
    to: (*mut V::Element, usize),
) {
    let zero = R::build(|_| V::splat(num_traits::Zero::zero()));
    // SAFETY: as the caller vouches; a chain is some of the steps.
    unsafe {
        if count <= SHORT_CHAIN {
            let mut sums = [zero; G];
            for (g, sum) in sums.iter_mut().enumerate() {
                *sum = R::load(before.0.add(g * before.1));
            }
            let (row, weights) = ((row, row_stream), (weights, stream));
            let sums = sweep_row::<V, R, S, G>(sums, count, row, weights);
            for (g, sum) in sums.iter().enumerate() {
                sum.store(to.0.add(g * to.1));
            }
            return;
        }
        let chain = chain_length(count);
        for start in (0..count).step_by(chain) {
            let length = chain.min(count - start);
            let row = (row.add(start), row_stream);
            let weights = (weights.add(start * S::COUNT * V::LANES), stream);
            let sums = sweep_row::<V, R, S, G>([zero; G], length, row, weights);
            store_sums(sums, before, to);
            before = (to.0.cast_const(), to.1);
        }
    }
}

/// Stores the sums of some rows plus what was in memory before: rows `stride` numbers apart there, and
/// `set` numbers apart where they go, which may be the same places.
///
/// # Safety
/// The rows are valid for reads and writes.
#[inline(always)]
pub unsafe fn store_sums<V: Vector, R: Registers<V>, const M: usize>(
    sums: [R; M],
    (before, stride): (*const V::Element, usize),
    (to, set): (*mut V::Element, usize),
) {
    // SAFETY: the caller vouches for the rows.
    unsafe {
        for (m, mut row) in sums.into_iter().enumerate() {
            row.add_span::<All<V, R>>(before.add(m * stride), V::LANES);
            row.store(to.add(m * set));
        }
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
