//! Memory that is used again: what a pool hands out, and what it gives back to the system.

use recurrust::engine::{Buffer, Pool};
use recurrust::error::Result;

/// As `PATIENCE` in `src/engine/workspace.rs`.
const PATIENCE: usize = 1000;

fn address(buffer: &Buffer<f32>) -> *mut f32 {
    buffer.as_root_ptr()
}

#[test]
fn a_returned_buffer_is_used_again_and_its_content_is_cleared_when_asked() -> Result<()> {
    let pool = Pool::default();
    let mut first = pool.take(5000)?;
    first.fill(7.0);
    let place = address(&first);
    drop(first);
    let again = pool.take_zeroed(4000)?;
    assert_eq!(address(&again), place);
    assert!(again.iter().all(|&number| number.to_bits() == 0));
    assert_ne!(address(&pool.take(4000)?), place);
    Ok(())
}

#[test]
fn small_requests_do_not_use_up_large_buffers() -> Result<()> {
    let pool = Pool::default();
    let large = pool.take(1 << 20)?;
    let place = address(&large);
    drop(large);
    let small = pool.take(5000)?;
    assert_ne!(address(&small), place);
    assert_eq!(address(&pool.take(1 << 20)?), place);
    Ok(())
}

#[test]
fn buffers_that_nobody_asks_for_go_back_to_the_system() -> Result<()> {
    const LARGE: usize = 1 << 20;
    const SMALL: usize = 8192;
    let pool = Pool::<f32>::default();
    let (large, small) = (pool.take(LARGE)?, pool.take(SMALL)?);
    assert_eq!(pool.resting_bytes(), 0);
    drop(large);
    drop(small);
    assert_eq!(pool.resting_bytes(), 4 * (LARGE + SMALL));
    // The small one alone is in use from here on.
    for _ in 0..PATIENCE {
        drop(pool.take(SMALL)?);
    }
    assert_eq!(pool.resting_bytes(), 4 * (LARGE + SMALL));
    drop(pool.take(SMALL)?);
    assert_eq!(pool.resting_bytes(), 4 * SMALL);
    Ok(())
}

#[test]
fn a_pool_keeps_no_more_than_its_limit() -> Result<()> {
    let pool = Pool::<f32>::default();
    let len = 20 << 20; // 80 MB each, of which three fit
    let buffers: Vec<_> = (0..4).map(|_| pool.take(len)).collect::<Result<_>>()?;
    drop(buffers);
    assert_eq!(pool.resting_bytes(), 3 * 4 * len);
    // One that is too large by itself doesn't drive out the others.
    drop(pool.take(4 * len)?);
    assert_eq!(pool.resting_bytes(), 3 * 4 * len);
    // Many small ones do: the oldest go.
    let many: Vec<_> = (0..32).map(|_| pool.take(2048)).collect::<Result<_>>()?;
    drop(many);
    assert_eq!(pool.resting_bytes(), 32 * 4 * 2048);
    Ok(())
}
