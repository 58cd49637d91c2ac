//! Where the passes are compiled: once for each element type, here. Code that is generic over the
//! element type would be compiled again in every crate that uses it, and there is a lot of it.

use super::parts::Part;
use super::{backward, forward};
use crate::cells::CellKind;
use crate::error::Result;
use crate::simd::SimdFloat;

/// The element types that the engine computes with.
#[allow(private_interfaces)] // called by the engine alone
pub trait EngineFloat: SimdFloat {
    /// One part of a forward pass.
    #[doc(hidden)]
    fn forward_part(
        cell: CellKind,
        job: &forward::Job<'_, Self>,
        part: Part<'_, Self>,
    ) -> Result<()>;

    /// One part of a backward pass.
    #[doc(hidden)]
    fn backward_part(
        cell: CellKind,
        job: &backward::Job<'_, Self>,
        part: Part<'_, Self>,
    ) -> Result<()>;
}

macro_rules! engine_float {
    ($($float:ty),*) => {$(
        #[allow(private_interfaces)]
        impl EngineFloat for $float {
            fn forward_part(
                cell: CellKind,
                job: &forward::Job<'_, Self>,
                part: Part<'_, Self>,
            ) -> Result<()> {
                forward::run_part(cell, job, part)
            }

            fn backward_part(
                cell: CellKind,
                job: &backward::Job<'_, Self>,
                part: Part<'_, Self>,
            ) -> Result<()> {
                backward::run_part(cell, job, part)
            }
        }
    )*};
}
engine_float!(f32, f64);
