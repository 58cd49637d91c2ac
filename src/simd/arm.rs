//! Registers of aarch64: NEON (128 bit), which every processor of this architecture has.
//!
//! There are 32 of them. A tile of 6 rows holds 24 sums and 6 numbers of the rows, which leaves two for
//! the weights; four streams of a single row hold 16 sums, and as many multiplications can be under way
//! in the widest processors.

// As NEON is part of the target, its intrinsics are safe, but for those that read and write memory.
#![allow(unused_unsafe)]

#[allow(clippy::wildcard_imports)] // as for x86
use std::arch::aarch64::*;

use super::register::register;
use crate::float::Float;

/// Asks for memory to be brought into the second cache.
///
/// # Safety
/// None is needed: every processor of this architecture has the instruction.
#[inline(always)]
unsafe fn bring_nearer(from: *const u8) {
    // SAFETY: the instruction changes nothing, and ignores addresses that it can't read.
    unsafe {
        std::arch::asm!("prfm pldl2keep, [{from}]", from = in(reg) from, options(nostack, preserves_flags, readonly));
    }
}

register!(
    /// Four single-precision numbers.
    F32x4(float32x4_t): [f32; 4], tile rows 6, streams 4,
    vld1q_f32 vst1q_f32 vdupq_n_f32 vaddq_f32 vsubq_f32 vmulq_f32
    vdivq_f32 vsqrtq_f32
    mul_add |a, factor, addend| vfmaq_f32(addend, a, factor),
    at_most |a, limit| vminq_f32(a, limit), at_least |a, limit| vmaxq_f32(a, limit),
    round |a| vrndnq_f32(a),
    reciprocal |a| vdivq_f32(vdupq_n_f32(1.0), a),
    split_exponent |a| {
        let raised = vmaxq_f32(a, vdupq_n_f32(f32::LOWEST_EXPONENT));
        let n = vrndnq_f32(raised);
        (n, vsubq_f32(raised, n))
    },
    scale |a, n| {
        // The integer's bits go above the 23 bits of the fraction, onto the exponent.
        let exponent = vshlq_n_s32::<23>(vcvtq_s32_f32(n));
        vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(a), exponent))
    },
    zero_from |a, z, limit| {
        vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(a), vcgeq_f32(z, limit)))
    },
    negate |a| vnegq_f32(a),
    flush |a| {
        let tiny = vcaltq_f32(a, vdupq_n_f32(f32::MIN_POSITIVE));
        vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(a), tiny))
    },
    prefetch bring_nearer
);

register!(
    /// Two double-precision numbers.
    F64x2(float64x2_t): [f64; 2], tile rows 6, streams 4,
    vld1q_f64 vst1q_f64 vdupq_n_f64 vaddq_f64 vsubq_f64 vmulq_f64
    vdivq_f64 vsqrtq_f64
    mul_add |a, factor, addend| vfmaq_f64(addend, a, factor),
    at_most |a, limit| vminq_f64(a, limit), at_least |a, limit| vmaxq_f64(a, limit),
    round |a| vrndnq_f64(a),
    reciprocal |a| vdivq_f64(vdupq_n_f64(1.0), a),
    split_exponent |a| {
        let raised = vmaxq_f64(a, vdupq_n_f64(f64::LOWEST_EXPONENT));
        let n = vrndnq_f64(raised);
        (n, vsubq_f64(raised, n))
    },
    scale |a, n| {
        // The integer's bits go above the 52 bits of the fraction, onto the exponent.
        let exponent = vshlq_n_s64::<52>(vcvtq_s64_f64(n));
        vreinterpretq_f64_s64(vaddq_s64(vreinterpretq_s64_f64(a), exponent))
    },
    zero_from |a, z, limit| {
        vreinterpretq_f64_u64(vbicq_u64(vreinterpretq_u64_f64(a), vcgeq_f64(z, limit)))
    },
    negate |a| vnegq_f64(a),
    flush |a| {
        let tiny = vcaltq_f64(a, vdupq_n_f64(f64::MIN_POSITIVE));
        vreinterpretq_f64_u64(vbicq_u64(vreinterpretq_u64_f64(a), tiny))
    },
    prefetch bring_nearer
);
