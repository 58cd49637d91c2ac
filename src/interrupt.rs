//! Stopping a long call from outside.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::error::{Error, Result};

/// How often a long call asks whether it should stop: a person who presses Ctrl-C should not
/// notice a delay, and the question must cost nothing against the work.
/// In milliseconds.
const INTERVAL: u64 = 100;

/// Asked now and then by long calls; says whether to stop.
///
/// One call owns one `Interrupt`; the time of the last question lives in it.
pub struct Interrupt<'a> {
    should_stop: Option<&'a (dyn Fn() -> bool + Sync)>,
    start: Instant,
    /// In milliseconds from the start.
    last: AtomicU64,
}

impl<'a> Interrupt<'a> {
    /// Never stops.
    #[must_use]
    pub fn never() -> Self {
        Self {
            should_stop: None,
            start: Instant::now(),
            last: AtomicU64::new(0),
        }
    }

    /// Stops once `should_stop` returns true; it is asked at most ten times a second.
    #[must_use]
    pub fn new(should_stop: &'a (dyn Fn() -> bool + Sync)) -> Self {
        Self {
            should_stop: Some(should_stop),
            start: Instant::now(),
            last: AtomicU64::new(0),
        }
    }

    /// To be called every few thousand operations or more.
    ///
    /// # Errors
    /// [`Error::Interrupted`] when the caller wants to stop.
    #[inline]
    pub fn check(&self) -> Result<()> {
        let Some(should_stop) = self.should_stop else {
            return Ok(());
        };
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        if now < self.last.load(Ordering::Relaxed) + INTERVAL {
            return Ok(());
        }
        self.last.store(now, Ordering::Relaxed);
        if should_stop() {
            Err(Error::Interrupted)
        } else {
            Ok(())
        }
    }
}
