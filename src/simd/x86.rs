//! Registers of x86-64: AVX-512 (512 bit) and AVX2 with FMA (256 bit).

#[allow(clippy::wildcard_imports)] // a list of seventy intrinsics tells nobody anything
use std::arch::x86_64::*;

use super::register::register;
use crate::float::Float;

/// Selects subnormal numbers in a classification.
const SUBNORMAL: i32 = 0x20;

const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

/// Asks for memory to be brought into the second cache.
///
/// # Safety
/// None is needed: every processor of this architecture has the instruction.
#[inline(always)]
unsafe fn bring_nearer(from: *const i8) {
    // SAFETY: as above.
    unsafe { _mm_prefetch::<_MM_HINT_T1>(from) };
}

// With NaN in either operand, minimum and maximum return the second.

register!(
    /// Sixteen single-precision numbers.
    F32x16(__m512): [f32; 16], tile rows 6, streams 4,
    _mm512_loadu_ps _mm512_storeu_ps _mm512_set1_ps _mm512_add_ps _mm512_sub_ps _mm512_mul_ps
    _mm512_div_ps _mm512_sqrt_ps
    mul_add |a, factor, addend| _mm512_fmadd_ps(a, factor, addend),
    at_most |a, limit| _mm512_min_ps(limit, a), at_least |a, limit| _mm512_max_ps(limit, a),
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
    flush |a| _mm512_mask_xor_ps(a, _mm512_fpclass_ps_mask::<SUBNORMAL>(a), a, a),
    prefetch bring_nearer
);

register!(
    /// Eight double-precision numbers.
    F64x8(__m512d): [f64; 8], tile rows 6, streams 4,
    _mm512_loadu_pd _mm512_storeu_pd _mm512_set1_pd _mm512_add_pd _mm512_sub_pd _mm512_mul_pd
    _mm512_div_pd _mm512_sqrt_pd
    mul_add |a, factor, addend| _mm512_fmadd_pd(a, factor, addend),
    at_most |a, limit| _mm512_min_pd(limit, a), at_least |a, limit| _mm512_max_pd(limit, a),
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
    flush |a| _mm512_mask_xor_pd(a, _mm512_fpclass_pd_mask::<SUBNORMAL>(a), a, a),
    prefetch bring_nearer
);

register!(
    /// Eight single-precision numbers.
    F32x8(__m256): [f32; 8], tile rows 3, streams 2,
    _mm256_loadu_ps _mm256_storeu_ps _mm256_set1_ps _mm256_add_ps _mm256_sub_ps _mm256_mul_ps
    _mm256_div_ps _mm256_sqrt_ps
    mul_add |a, factor, addend| _mm256_fmadd_ps(a, factor, addend),
    at_most |a, limit| _mm256_min_ps(limit, a), at_least |a, limit| _mm256_max_ps(limit, a),
    round |a| _mm256_round_ps::<NEAREST>(a),
    reciprocal |a| _mm256_div_ps(_mm256_set1_ps(1.0), a),
    split_exponent |a| {
        let raised = _mm256_max_ps(_mm256_set1_ps(f32::LOWEST_EXPONENT), a);
        let n = _mm256_round_ps::<NEAREST>(raised);
        (n, _mm256_sub_ps(raised, n))
    },
    scale |a, n| {
        // The integer goes onto the exponent; NaN becomes one whose bits leave it alone.
        let exponent = _mm256_slli_epi32::<23>(_mm256_cvtps_epi32(n));
        _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a), exponent))
    },
    zero_from |a, z, limit| _mm256_and_ps(_mm256_cmp_ps::<_CMP_NGE_UQ>(z, limit), a),
    negate |a| _mm256_xor_ps(a, _mm256_set1_ps(-0.0)),
    flush |a| {
        let magnitude = _mm256_andnot_ps(_mm256_set1_ps(-0.0), a);
        let tiny = _mm256_set1_ps(f32::MIN_POSITIVE);
        _mm256_and_ps(_mm256_cmp_ps::<_CMP_NLT_UQ>(magnitude, tiny), a)
    },
    prefetch bring_nearer
);

register!(
    /// Four double-precision numbers.
    F64x4(__m256d): [f64; 4], tile rows 3, streams 2,
    _mm256_loadu_pd _mm256_storeu_pd _mm256_set1_pd _mm256_add_pd _mm256_sub_pd _mm256_mul_pd
    _mm256_div_pd _mm256_sqrt_pd
    mul_add |a, factor, addend| _mm256_fmadd_pd(a, factor, addend),
    at_most |a, limit| _mm256_min_pd(limit, a), at_least |a, limit| _mm256_max_pd(limit, a),
    round |a| _mm256_round_pd::<NEAREST>(a),
    reciprocal |a| _mm256_div_pd(_mm256_set1_pd(1.0), a),
    split_exponent |a| {
        let raised = _mm256_max_pd(_mm256_set1_pd(f64::LOWEST_EXPONENT), a);
        let n = _mm256_round_pd::<NEAREST>(raised);
        (n, _mm256_sub_pd(raised, n))
    },
    scale |a, n| {
        // As above.
        let integer = _mm256_cvtepi32_epi64(_mm256_cvtpd_epi32(n));
        let exponent = _mm256_slli_epi64::<52>(integer);
        _mm256_castsi256_pd(_mm256_add_epi64(_mm256_castpd_si256(a), exponent))
    },
    zero_from |a, z, limit| _mm256_and_pd(_mm256_cmp_pd::<_CMP_NGE_UQ>(z, limit), a),
    negate |a| _mm256_xor_pd(a, _mm256_set1_pd(-0.0)),
    flush |a| {
        let magnitude = _mm256_andnot_pd(_mm256_set1_pd(-0.0), a);
        let tiny = _mm256_set1_pd(f64::MIN_POSITIVE);
        _mm256_and_pd(_mm256_cmp_pd::<_CMP_NLT_UQ>(magnitude, tiny), a)
    },
    prefetch bring_nearer
);
