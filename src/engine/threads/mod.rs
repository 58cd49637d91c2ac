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

/// The most threads of a call.
pub const MOST: usize = 1024;

/// What the environment asks for: nothing, a number from 1 to [`MOST`], or something else.
#[must_use]
pub fn environment() -> Option<std::result::Result<usize, String>> {
    let text = std::env::var_os(VARIABLE)?;
    let text = text.to_string_lossy().into_owned();
    let number = text.trim().parse().ok();
    Some(
        number
            .filter(|number| (1..=MOST).contains(number))
            .ok_or(text),
    )
}

/// The number of threads chosen by [`set_num_threads`], else by the environment, else one for
/// each processor.
#[must_use]
pub fn num_threads() -> usize {
    match THREADS.load(Ordering::Relaxed) {
        0 => {
            let count = environment()
                .and_then(std::result::Result::ok)
                .unwrap_or_else(|| {
                    std::thread::available_parallelism().map_or(1, |count| count.get().min(MOST))
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

/// Chooses the number of threads, from 1 to [`MOST`].
pub fn set_num_threads(count: usize) {
    THREADS.store(count.clamp(1, MOST), Ordering::Relaxed);
}
