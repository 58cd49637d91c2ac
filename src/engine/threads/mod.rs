//! Several threads on one call.
//!
//! A call cuts its work into parts (`engine/parts.rs`) and lends itself a team (`team.rs`), which runs
//! one part on the caller's thread and the others on threads that wait for such work. What a part
//! computes never depends on how many parts there are, so results don't either.

mod barrier;
mod team;
mod workers;

use std::sync::atomic::{AtomicUsize, Ordering};

pub(super) use barrier::Barrier;
pub(super) use team::{Member, Team};

/// Zero: not chosen yet.
static THREADS: AtomicUsize = AtomicUsize::new(0);

/// The environment variable that chooses the number at the start.
pub const VARIABLE: &str = "RECURRUST_NUM_THREADS";

/// The number of threads chosen by [`set_num_threads`], else by the environment, else one for
/// each processor.
#[must_use]
pub fn num_threads() -> usize {
    match THREADS.load(Ordering::Relaxed) {
        0 => {
            let count = std::env::var(VARIABLE)
                .ok()
                .and_then(|text| text.trim().parse().ok())
                .filter(|&count| count > 0)
                .unwrap_or_else(|| {
                    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
                });
            // Looked up once: both questions cost more than a small call. Whoever chose meanwhile wins.
            match THREADS.compare_exchange(0, count, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => count,
                Err(chosen) => chosen,
            }
        }
        count => count,
    }
}

/// Chooses the number of threads, at least one.
pub fn set_num_threads(count: usize) {
    THREADS.store(count.max(1), Ordering::Relaxed);
}
