//! Which instruction set to use, chosen once per process, and how code is compiled for each.

use std::sync::OnceLock;

use super::{Portable, Vector};
use crate::float::Float;

/// The environment variable that forces a lower instruction set than the processor's best.
pub const VARIABLE: &str = "RECURRUST_ISA";

/// An instruction set of the architecture, from the lowest to the highest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum InstructionSet {
    /// Whatever the compiler's target surely has.
    Portable,
    /// AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512 (F, DQ, VL).
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// NEON, which every aarch64 has.
    #[cfg(target_arch = "aarch64")]
    Neon,
}

impl InstructionSet {
    /// All of them.
    #[cfg(target_arch = "x86_64")]
    pub const ALL: [Self; 3] = [Self::Portable, Self::Avx2, Self::Avx512];
    /// All of them.
    #[cfg(target_arch = "aarch64")]
    pub const ALL: [Self; 2] = [Self::Portable, Self::Neon];
    /// All of them.
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    pub const ALL: [Self; 1] = [Self::Portable];

    /// What users call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "scalar",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => "avx512",
            #[cfg(target_arch = "aarch64")]
            Self::Neon => "neon",
        }
    }

    /// The set that users call so.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let name = name.trim().to_ascii_lowercase();
        Self::ALL.into_iter().find(|set| set.name() == name)
    }

    /// Whether this processor has it.
    #[must_use]
    pub fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                Self::Avx2.is_available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            }
            #[cfg(target_arch = "aarch64")]
            Self::Neon => true,
        }
    }

    /// The set in use: the best that the processor has, unless the environment names a lower one.
    #[must_use]
    pub fn current() -> Self {
        static CURRENT: OnceLock<InstructionSet> = OnceLock::new();
        *CURRENT.get_or_init(|| {
            let wanted = std::env::var(VARIABLE).unwrap_or_default();
            let limit = Self::named(&wanted);
            Self::ALL
                .into_iter()
                .rev()
                .find(|set| limit.is_none_or(|limit| *set <= limit) && set.is_available())
                .unwrap_or(Self::Portable)
        })
    }

    /// How many numbers a register holds.
    #[must_use]
    pub fn lanes<F: SimdFloat>(self) -> usize {
        match self {
            Self::Portable => F::Portable::LANES,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => F::Avx2::LANES,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => F::Avx512::LANES,
            #[cfg(target_arch = "aarch64")]
            Self::Neon => F::Neon::LANES,
        }
    }
}

/// The register types of a precision.
pub trait SimdFloat: Float {
    /// For any processor.
    type Portable: Vector<Element = Self>;
    /// For AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    type Avx2: Vector<Element = Self>;
    /// For AVX-512.
    #[cfg(target_arch = "x86_64")]
    type Avx512: Vector<Element = Self>;
    /// For NEON.
    #[cfg(target_arch = "aarch64")]
    type Neon: Vector<Element = Self>;
}

impl SimdFloat for f32 {
    type Portable = Portable<f32, 4>;
    #[cfg(target_arch = "x86_64")]
    type Avx2 = super::x86::F32x8;
    #[cfg(target_arch = "x86_64")]
    type Avx512 = super::x86::F32x16;
    #[cfg(target_arch = "aarch64")]
    type Neon = super::arm::F32x4;
}

impl SimdFloat for f64 {
    type Portable = Portable<f64, 2>;
    #[cfg(target_arch = "x86_64")]
    type Avx2 = super::x86::F64x4;
    #[cfg(target_arch = "x86_64")]
    type Avx512 = super::x86::F64x8;
    #[cfg(target_arch = "aarch64")]
    type Neon = super::arm::F64x2;
}

/// Work that is compiled once for each instruction set.
///
/// `run` and everything below it must be `#[inline(always)]`: only then does the whole of it
/// become part of the one function that is compiled for the set. What many kernels have in common,
/// and is long enough for a call to cost nothing, is better a kernel of its own that they run: then it
/// is compiled once instead of once for each of them.
pub trait Kernel<F: SimdFloat> {
    /// What the work gives.
    type Output;

    /// The work, on registers of one instruction set.
    fn run<V: Vector<Element = F>>(self) -> Self::Output;
}

/// Runs work on an instruction set.
///
/// # Panics
/// When the processor doesn't have it.
pub fn dispatch<F: SimdFloat, K: Kernel<F>>(set: InstructionSet, kernel: K) -> K::Output {
    assert!(set.is_available());
    match set {
        InstructionSet::Portable => on_portable(kernel),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the processor has the instruction set.
        InstructionSet::Avx2 => unsafe { on_avx2(kernel) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the processor has the instruction set.
        InstructionSet::Avx512 => unsafe { on_avx512(kernel) },
        #[cfg(target_arch = "aarch64")]
        InstructionSet::Neon => on_neon(kernel),
    }
}

// Never inlined: a kernel that another one runs would become a part of that one.

#[inline(never)]
fn on_portable<F: SimdFloat, K: Kernel<F>>(kernel: K) -> K::Output {
    kernel.run::<F::Portable>()
}

#[cfg(target_arch = "aarch64")]
#[inline(never)]
fn on_neon<F: SimdFloat, K: Kernel<F>>(kernel: K) -> K::Output {
    kernel.run::<F::Neon>()
}

#[cfg(target_arch = "x86_64")]
#[inline(never)]
#[target_feature(enable = "avx2,fma")]
fn on_avx2<F: SimdFloat, K: Kernel<F>>(kernel: K) -> K::Output {
    kernel.run::<F::Avx2>()
}

#[cfg(target_arch = "x86_64")]
#[inline(never)]
#[target_feature(enable = "avx2,fma,avx512f,avx512dq,avx512vl")]
fn on_avx512<F: SimdFloat, K: Kernel<F>>(kernel: K) -> K::Output {
    kernel.run::<F::Avx512>()
}
