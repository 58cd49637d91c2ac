//! Stopping a long call from outside.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// How often a long call asks whether it should stop: a person who presses Ctrl-C should not
/// notice a delay, and the question must cost nothing against the work.
const INTERVAL: Duration = Duration::from_millis(100);

/// Asked now and then by long calls; says whether to stop.
///
/// One call owns one `Interrupt`; the time of the last question lives in it.
pub struct Interrupt<'a> {
    should_stop: Option<&'a dyn Fn() -> bool>,
    last: Cell<Instant>,
}

impl<'a> Interrupt<'a> {
    /// Never stops.
    #[must_use]
    pub fn never() -> Self {
        Self {
            should_stop: None,
            last: Cell::new(Instant::now()),
        }
    }

    /// Stops once `should_stop` returns true; it is asked at most ten times a second.
    #[must_use]
    pub fn new(should_stop: &'a dyn Fn() -> bool) -> Self {
        Self {
            should_stop: Some(should_stop),
            last: Cell::new(Instant::now()),
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
        if self.last.get().elapsed() < INTERVAL {
            return Ok(());
        }
        self.last.set(Instant::now());
        if should_stop() {
            Err(Error::Interrupted)
        } else {
            Ok(())
        }
    }
}
