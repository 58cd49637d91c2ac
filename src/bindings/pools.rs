//! Memory that a layer's outputs and caches use again, in the layer's precision.

use super::arrays::Number;
use crate::engine::Pool;

/// A pool of either precision; that of the other one stays empty.
#[derive(Default)]
pub struct Pools {
    single: Pool<f32>,
    double: Pool<f64>,
}

/// Numbers that have a pool.
pub trait Pooled: Number {
    /// That one of the two.
    fn pool(pools: &Pools) -> &Pool<Self>;
}

impl Pooled for f32 {
    fn pool(pools: &Pools) -> &Pool<Self> {
        &pools.single
    }
}

impl Pooled for f64 {
    fn pool(pools: &Pools) -> &Pool<Self> {
        &pools.double
    }
}
