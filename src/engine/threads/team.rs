//! The threads that work on one call.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::workers::Loan;
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;

/// The caller's thread, and others on loan.
pub struct Team {
    others: Option<Loan>,
}

/// One member of a team while it works.
pub struct Member<'a> {
    /// 0 for the caller's thread.
    pub number: usize,
    /// Whether some member has given up.
    stopped: &'a AtomicBool,
    /// With the caller's thread, which alone may ask.
    interrupt: Option<&'a Interrupt<'a>>,
}

impl Member<'_> {
    /// To be called every few thousand operations or more.
    ///
    /// # Errors
    /// Interrupted, by the user or because another member has given up.
    #[inline]
    pub fn check(&self) -> Result<()> {
        if self.stopped.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        self.interrupt.map_or(Ok(()), Interrupt::check)
    }
}

/// Why a call came to nothing.
enum Failure {
    Error(Error),
    Panic(Box<dyn Any + Send>),
}

impl Team {
    /// A team of up to so many members; smaller when another call has the threads, or there are no
    /// more to be had.
    pub fn gather(members: usize) -> Self {
        Self {
            others: members
                .checked_sub(1)
                .filter(|&n| n > 0)
                .and_then(Loan::take),
        }
    }

    /// How many members there are, the caller's thread included.
    pub fn members(&self) -> usize {
        1 + self.others.as_ref().map_or(0, Loan::count)
    }

    /// Every member works; returns when all have finished.
    ///
    /// # Errors
    /// The first error of a member. The others are told to give up.
    pub fn run(
        &self,
        interrupt: &Interrupt<'_>,
        work: impl Fn(&Member<'_>) -> Result<()> + Sync,
    ) -> Result<()> {
        let stopped = AtomicBool::new(false);
        let Some(others) = &self.others else {
            return work(&Member {
                number: 0,
                stopped: &stopped,
                interrupt: Some(interrupt),
            });
        };
        let first: Mutex<Option<Failure>> = Mutex::new(None);
        let act = |member: &Member<'_>| {
            // A panic must neither end a thread on loan nor leave this frame while others use it.
            let failure = match catch_unwind(AssertUnwindSafe(|| work(member))) {
                Ok(Ok(())) => return,
                Ok(Err(error)) => Failure::Error(error),
                Err(panic) => Failure::Panic(panic),
            };
            first
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get_or_insert(failure);
            stopped.store(true, Ordering::Relaxed);
        };
        others.run(&|number| {
            act(&Member {
                number,
                stopped: &stopped,
                interrupt: (number == 0).then_some(interrupt),
            });
        });
        match first.into_inner().unwrap_or_else(PoisonError::into_inner) {
            None => Ok(()),
            Some(Failure::Error(error)) => Err(error),
            Some(Failure::Panic(panic)) => resume_unwind(panic),
        }
    }
}
