//! Registers of x86-64: AVX-512 (512 bit) and AVX2 with FMA (256 bit).
//!
//! Every method is inlined into functions that are compiled for the instruction set
//! (`dispatch.rs`), and runs only where the processor has it: that is why the blocks below are
//! sound.

#[allow(clippy::wildcard_imports)] // a list of seventy intrinsics tells nobody anything
use std::arch::x86_64::*;
use std::ops::{Add, Div, Mul, Neg, Sub};

use super::Vector;
use crate::float::Float;

/// Defines one register type: its name, lanes, and the intrinsics that implement it.
macro_rules! register {
    (
        $(#[$doc:meta])*
        $name:ident($raw:ident): [$element:ty; $lanes:literal], tile rows $tile_rows:literal, streams $streams:literal,
        $load:ident $store:ident $splat:ident $add:ident $sub:ident $mul:ident $div:ident
        $fma:ident $sqrt:ident $min:ident $max:ident
        round $round:expr, reciprocal $reciprocal:expr, split_exponent $split:expr, scale $scale:expr,
        zero_from $zero_from:expr, negate $negate:expr, flush $flush:expr
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub struct $name($raw);

        impl Add for $name {
            type Output = Self;

            #[inline(always)]
            fn add(self, other: Self) -> Self {
                // SAFETY: see the head of this file.
                Self(unsafe { $add(self.0, other.0) })
            }
        }

        impl Sub for $name {
            type Output = Self;

            #[inline(always)]
            fn sub(self, other: Self) -> Self {
                // SAFETY: see the head of this file.
                Self(unsafe { $sub(self.0, other.0) })
            }
        }

        impl Mul for $name {
            type Output = Self;

            #[inline(always)]
            fn mul(self, other: Self) -> Self {
                // SAFETY: see the head of this file.
                Self(unsafe { $mul(self.0, other.0) })
            }
        }

        impl Div for $name {
            type Output = Self;

            #[inline(always)]
            fn div(self, other: Self) -> Self {
                // SAFETY: see the head of this file.
                Self(unsafe { $div(self.0, other.0) })
            }
        }

        impl Neg for $name {
            type Output = Self;

            #[inline(always)]
            fn neg(self) -> Self {
                // SAFETY: see the head of this file.
                Self(unsafe { $negate(self.0) })
            }
        }

        impl Vector for $name {
            type Element = $element;

            const LANES: usize = $lanes;
            const TILE_ROWS: usize = $tile_rows;
            const STREAMS: usize = $streams;

            #[inline(always)]
            unsafe fn load(from: *const $element) -> Self {
                // SAFETY: the caller vouches for the memory; for the rest see the head.
                Self(unsafe { $load(from) })
            }

            #[inline(always)]
            unsafe fn store(self, to: *mut $element) {
                // SAFETY: the caller vouches for the memory; for the rest see the head.
                unsafe { $store(to, self.0) }
            }

            #[inline(always)]
            fn prefetch(from: *const $element) {
                // SAFETY: the instruction ignores addresses that it can't read.
                unsafe { _mm_prefetch::<_MM_HINT_T1>(from.cast()) };
            }

            #[inline(always)]
            fn splat(value: $element) -> Self {
                // SAFETY: see the head of this file.
                Self(unsafe { $splat(value) })
            }

            #[inline(always)]
            fn mul_add(self, factor: Self, addend: Self) -> Self {
                // SAFETY: see the head of this file.
                Self(unsafe { $fma(self.0, factor.0, addend.0) })
            }

            #[inline(always)]
            fn reciprocal(self) -> Self {
                // SAFETY: see the head of this file.
                Self(unsafe { $reciprocal(self.0) })
            }

            #[inline(always)]
            fn sqrt(self) -> Self {
                // SAFETY: see the head of this file.
                Self(unsafe { $sqrt(self.0) })
            }

            #[inline(always)]
            fn at_most(self, limit: Self) -> Self {
                // With NaN in either operand, this instruction returns the second.
                // SAFETY: see the head of this file.
                Self(unsafe { $min(limit.0, self.0) })
            }

            #[inline(always)]
            fn at_least(self, limit: Self) -> Self {
                // As above.
                // SAFETY: see the head of this file.
                Self(unsafe { $max(limit.0, self.0) })
            }

            #[inline(always)]
            fn zero_from(self, z: Self, limit: Self) -> Self {
                // SAFETY: see the head of this file.
                Self(unsafe { $zero_from(self.0, z.0, limit.0) })
            }

            #[inline(always)]
            fn round(self) -> Self {
                // SAFETY: see the head of this file.
                Self(unsafe { $round(self.0) })
            }

            #[inline(always)]
            fn split_exponent(self) -> (Self, Self) {
                // SAFETY: see the head of this file.
                let (n, rest) = unsafe { $split(self.0) };
                (Self(n), Self(rest))
            }

            #[inline(always)]
            fn scale(self, n: Self) -> Self {
                // SAFETY: see the head of this file.
                Self(unsafe { $scale(self.0, n.0) })
            }

            #[inline(always)]
            fn flush_tiny(self) -> Self {
                // SAFETY: see the head of this file.
                Self(unsafe { $flush(self.0) })
            }
        }
    };
}

/// Selects subnormal numbers in a classification.
const SUBNORMAL: i32 = 0x20;

const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

register!(
    /// Sixteen single-precision numbers.
    F32x16(__m512): [f32; 16], tile rows 6, streams 4,
    _mm512_loadu_ps _mm512_storeu_ps _mm512_set1_ps _mm512_add_ps _mm512_sub_ps _mm512_mul_ps
    _mm512_div_ps _mm512_fmadd_ps _mm512_sqrt_ps _mm512_min_ps _mm512_max_ps
    round |a| _mm512_roundscale_ps::<NEAREST>(a),
    reciprocal |a| {
        // The estimate has 14 bits; Newton's step doubles them.
        let estimate = _mm512_rcp14_ps(a);
        let error = _mm512_fnmadd_ps(a, estimate, _mm512_set1_ps(1.0));
        _mm512_fmadd_ps(error, estimate, estimate)
    },
    split_exponent |a| {
        let rest = _mm512_reduce_ps::<NEAREST>(a);
        (_mm512_sub_ps(a, rest), rest)
    },
    scale |a, n| _mm512_scalef_ps(a, n),
    zero_from |a, z, limit| {
        _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_NGE_UQ>(z, limit), a)
    },
    negate |a| _mm512_xor_ps(a, _mm512_set1_ps(-0.0)),
    flush |a| _mm512_mask_xor_ps(a, _mm512_fpclass_ps_mask::<SUBNORMAL>(a), a, a)
);

register!(
    /// Eight double-precision numbers.
    F64x8(__m512d): [f64; 8], tile rows 6, streams 4,
    _mm512_loadu_pd _mm512_storeu_pd _mm512_set1_pd _mm512_add_pd _mm512_sub_pd _mm512_mul_pd
    _mm512_div_pd _mm512_fmadd_pd _mm512_sqrt_pd _mm512_min_pd _mm512_max_pd
    round |a| _mm512_roundscale_pd::<NEAREST>(a),
    reciprocal |a| {
        // The estimate has 14 bits; Newton's steps double them twice.
        let estimate = _mm512_rcp14_pd(a);
        let error = _mm512_fnmadd_pd(a, estimate, _mm512_set1_pd(1.0));
        let better = _mm512_fmadd_pd(error, estimate, estimate);
        let error = _mm512_fnmadd_pd(a, better, _mm512_set1_pd(1.0));
        _mm512_fmadd_pd(error, better, better)
    },
    split_exponent |a| {
        let rest = _mm512_reduce_pd::<NEAREST>(a);
        (_mm512_sub_pd(a, rest), rest)
    },
    scale |a, n| _mm512_scalef_pd(a, n),
    zero_from |a, z, limit| {
        _mm512_maskz_mov_pd(_mm512_cmp_pd_mask::<_CMP_NGE_UQ>(z, limit), a)
    },
    negate |a| _mm512_xor_pd(a, _mm512_set1_pd(-0.0)),
    flush |a| _mm512_mask_xor_pd(a, _mm512_fpclass_pd_mask::<SUBNORMAL>(a), a, a)
);

register!(
    /// Eight single-precision numbers.
    F32x8(__m256): [f32; 8], tile rows 3, streams 2,
    _mm256_loadu_ps _mm256_storeu_ps _mm256_set1_ps _mm256_add_ps _mm256_sub_ps _mm256_mul_ps
    _mm256_div_ps _mm256_fmadd_ps _mm256_sqrt_ps _mm256_min_ps _mm256_max_ps
    round |a| _mm256_round_ps::<NEAREST>(a),
    reciprocal |a| _mm256_div_ps(_mm256_set1_ps(1.0), a),
    split_exponent |a| {
        let raised = _mm256_max_ps(_mm256_set1_ps(f32::LOWEST_EXPONENT), a);
        let n = _mm256_round_ps::<NEAREST>(raised);
        (n, _mm256_sub_ps(raised, n))
    },
    scale |a, n| {
        // The integer stands in the lowest bits of the sum; it goes onto the exponent.
        let integer = _mm256_add_ps(n, _mm256_set1_ps(f32::SHIFT));
        let exponent = _mm256_slli_epi32::<23>(_mm256_castps_si256(integer));
        _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a), exponent))
    },
    zero_from |a, z, limit| _mm256_and_ps(_mm256_cmp_ps::<_CMP_NGE_UQ>(z, limit), a),
    negate |a| _mm256_xor_ps(a, _mm256_set1_ps(-0.0)),
    flush |a| {
        let magnitude = _mm256_andnot_ps(_mm256_set1_ps(-0.0), a);
        let tiny = _mm256_set1_ps(f32::MIN_POSITIVE);
        _mm256_and_ps(_mm256_cmp_ps::<_CMP_NLT_UQ>(magnitude, tiny), a)
    }
);

register!(
    /// Four double-precision numbers.
    F64x4(__m256d): [f64; 4], tile rows 3, streams 2,
    _mm256_loadu_pd _mm256_storeu_pd _mm256_set1_pd _mm256_add_pd _mm256_sub_pd _mm256_mul_pd
    _mm256_div_pd _mm256_fmadd_pd _mm256_sqrt_pd _mm256_min_pd _mm256_max_pd
    round |a| _mm256_round_pd::<NEAREST>(a),
    reciprocal |a| _mm256_div_pd(_mm256_set1_pd(1.0), a),
    split_exponent |a| {
        let raised = _mm256_max_pd(_mm256_set1_pd(f64::LOWEST_EXPONENT), a);
        let n = _mm256_round_pd::<NEAREST>(raised);
        (n, _mm256_sub_pd(raised, n))
    },
    scale |a, n| {
        // The integer stands in the lowest bits of the sum; it goes onto the exponent.
        let integer = _mm256_add_pd(n, _mm256_set1_pd(f64::SHIFT));
        let exponent = _mm256_slli_epi64::<52>(_mm256_castpd_si256(integer));
        _mm256_castsi256_pd(_mm256_add_epi64(_mm256_castpd_si256(a), exponent))
    },
    zero_from |a, z, limit| _mm256_and_pd(_mm256_cmp_pd::<_CMP_NGE_UQ>(z, limit), a),
    negate |a| _mm256_xor_pd(a, _mm256_set1_pd(-0.0)),
    flush |a| {
        let magnitude = _mm256_andnot_pd(_mm256_set1_pd(-0.0), a);
        let tiny = _mm256_set1_pd(f64::MIN_POSITIVE);
        _mm256_and_pd(_mm256_cmp_pd::<_CMP_NLT_UQ>(magnitude, tiny), a)
    }
);
