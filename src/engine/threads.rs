//! How many threads a call may use. This version computes on the caller's thread; the setting is
//! kept so that programs written now benefit later without a change.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Zero: not chosen yet.
static THREADS: AtomicUsize = AtomicUsize::new(0);

/// The environment variable that chooses the number at the start.
pub const VARIABLE: &str = "RECURRUST_NUM_THREADS";

/// The number of threads chosen by [`set_num_threads`], else by the environment, else one for
/// each processor.
#[must_use]
pub fn num_threads() -> usize {
    match THREADS.load(Ordering::Relaxed) {
        0 => std::env::var(VARIABLE)
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .filter(|&count| count > 0)
            .unwrap_or_else(|| {
                std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
            }),
        count => count,
    }
}

/// Chooses the number of threads, at least one.
pub fn set_num_threads(count: usize) {
    THREADS.store(count.max(1), Ordering::Relaxed);
}
