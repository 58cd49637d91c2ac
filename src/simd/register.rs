//! What a register type is made of, whatever the instruction set.
//!
//! Every method is inlined into functions that are compiled for the instruction set (`dispatch.rs`),
//! and runs only where the processor has it: that is why the blocks below are sound.

/// Defines one register type: its name, lanes, and the intrinsics that implement it. The names are in
/// the scope of the file that uses the macro. What looks like closures is put where it is used: real
/// ones may be left out of line.
macro_rules! register {
    (
        $(#[$doc:meta])*
        $name:ident($raw:ident): [$element:ty; $lanes:literal], tile rows $tile_rows:literal, streams $streams:literal,
        $load:ident $store:ident $splat:ident $add:ident $sub:ident $mul:ident $div:ident $sqrt:ident
        mul_add |$ma:ident, $mb:ident, $mc:ident| $mul_add:expr,
        at_most |$ha:ident, $hb:ident| $at_most:expr, at_least |$la:ident, $lb:ident| $at_least:expr,
        round |$oa:ident| $round:expr, reciprocal |$ra:ident| $reciprocal:expr,
        split_exponent |$ea:ident| $split:expr, scale |$sa:ident, $sb:ident| $scale:expr,
        zero_from |$za:ident, $zb:ident, $zc:ident| $zero_from:expr,
        negate |$na:ident| $negate:expr, flush |$fa:ident| $flush:expr, prefetch $prefetch:expr
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub struct $name($raw);

        impl std::ops::Add for $name {
            type Output = Self;

            #[inline(always)]
            fn add(self, other: Self) -> Self {
                // SAFETY: see the head of this file.
                Self(unsafe { $add(self.0, other.0) })
            }
        }

        impl std::ops::Sub for $name {
            type Output = Self;

            #[inline(always)]
            fn sub(self, other: Self) -> Self {
                // SAFETY: see the head of this file.
                Self(unsafe { $sub(self.0, other.0) })
            }
        }

        impl std::ops::Mul for $name {
            type Output = Self;

            #[inline(always)]
            fn mul(self, other: Self) -> Self {
                // SAFETY: see the head of this file.
                Self(unsafe { $mul(self.0, other.0) })
            }
        }

        impl std::ops::Div for $name {
            type Output = Self;

            #[inline(always)]
            fn div(self, other: Self) -> Self {
                // SAFETY: see the head of this file.
                Self(unsafe { $div(self.0, other.0) })
            }
        }

        impl std::ops::Neg for $name {
            type Output = Self;

            #[inline(always)]
            fn neg(self) -> Self {
                // SAFETY: see the head of this file.
                Self(unsafe { let $na = self.0; $negate })
            }
        }

        impl $crate::simd::Vector for $name {
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
                // SAFETY: see the head of this file; the instruction ignores addresses that it can't
                // read.
                unsafe { $prefetch(from.cast()) };
            }

            #[inline(always)]
            fn splat(value: $element) -> Self {
                // SAFETY: see the head of this file.
                Self(unsafe { $splat(value) })
            }

            #[inline(always)]
            fn mul_add(self, factor: Self, addend: Self) -> Self {
                // SAFETY: see the head of this file.
                Self(unsafe { let ($ma, $mb, $mc) = (self.0, factor.0, addend.0); $mul_add })
            }

            #[inline(always)]
            fn reciprocal(self) -> Self {
                // SAFETY: see the head of this file.
                Self(unsafe { let $ra = self.0; $reciprocal })
            }

            #[inline(always)]
            fn sqrt(self) -> Self {
                // SAFETY: see the head of this file.
                Self(unsafe { $sqrt(self.0) })
            }

            #[inline(always)]
            fn at_most(self, limit: Self) -> Self {
                // SAFETY: see the head of this file.
                Self(unsafe { let ($ha, $hb) = (self.0, limit.0); $at_most })
            }

            #[inline(always)]
            fn at_least(self, limit: Self) -> Self {
                // SAFETY: see the head of this file.
                Self(unsafe { let ($la, $lb) = (self.0, limit.0); $at_least })
            }

            #[inline(always)]
            fn zero_from(self, z: Self, limit: Self) -> Self {
                // SAFETY: see the head of this file.
                Self(unsafe { let ($za, $zb, $zc) = (self.0, z.0, limit.0); $zero_from })
            }

            #[inline(always)]
            fn round(self) -> Self {
                // SAFETY: see the head of this file.
                Self(unsafe { let $oa = self.0; $round })
            }

            #[inline(always)]
            fn split_exponent(self) -> (Self, Self) {
                // SAFETY: see the head of this file.
                let (n, rest) = unsafe { let $ea = self.0; $split };
                (Self(n), Self(rest))
            }

            #[inline(always)]
            fn scale(self, n: Self) -> Self {
                // SAFETY: see the head of this file.
                Self(unsafe { let ($sa, $sb) = (self.0, n.0); $scale })
            }

            #[inline(always)]
            fn flush_tiny(self) -> Self {
                // SAFETY: see the head of this file.
                Self(unsafe { let $fa = self.0; $flush })
            }
        }
    };
}
pub(super) use register;
