//! A place where the members of a team wait for each other.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::team::Member;
use crate::error::Result;

/// How long a member waits busily (some ten microseconds) before it lets others have the
/// processor, who may be the ones it waits for.
const SPINS: usize = 500;

/// A number that has its cache line for itself: those who wait for one number must not slow down
/// those who change another.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Alone(AtomicUsize);

/// Lets nobody pass before everybody has come. Can be used again at once.
#[derive(Debug)]
pub struct Barrier {
    members: usize,
    arrived: Alone,
    /// How often everybody has come.
    generation: Alone,
}

impl Barrier {
    /// For so many members.
    pub fn new(members: usize) -> Self {
        Self {
            members,
            arrived: Alone::default(),
            generation: Alone::default(),
        }
    }

    /// Waits until all members have come. What they wrote before is then visible to all.
    ///
    /// # Errors
    /// Interrupted when a member has given up: it won't come.
    #[inline]
    pub fn wait(&self, member: &Member<'_>) -> Result<()> {
        if self.members == 1 {
            return Ok(());
        }
        self.wait_for_others(member)
    }

    #[inline(never)]
    fn wait_for_others(&self, member: &Member<'_>) -> Result<()> {
        let generation = self.generation.0.load(Ordering::Acquire);
        if self.arrived.0.fetch_add(1, Ordering::AcqRel) + 1 == self.members {
            // Nobody comes again before the generation changes.
            self.arrived.0.store(0, Ordering::Relaxed);
            self.generation
                .0
                .store(generation.wrapping_add(1), Ordering::Release);
            return Ok(());
        }
        for turn in 0.. {
            if self.generation.0.load(Ordering::Acquire) != generation {
                break;
            }
            if turn < SPINS {
                spin_loop();
            } else {
                member.check()?;
                std::thread::yield_now();
            }
        }
        Ok(())
    }
}
