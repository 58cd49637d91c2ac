//! How calls are cut into parts for several threads.
//!
//! Rows of a batch never meet, so a call is cut by rows where there are enough of them: the parts
//! need not wait for each other while they walk over time. Where there are few rows, or where the
//! weights don't fit the cache of one processor, it is cut by units: each part multiplies by its
//! own share of the weights, and all parts meet once a step to exchange the hidden states. The two
//! directions of a layer never meet at all; with few rows they are computed side by side.
//!
//! Every number is computed by one part, by the same operations in the same order as without
//! parts: results have the same bits for any number of threads.

use std::ops::Range;

use super::packing::PANEL_REGISTERS;
use super::shared::Shared;
use super::threads::{Barrier, Member, Team, num_threads};
use super::{CACHED_BYTES, Geometry};
use crate::error::Result;
use crate::float::Float;
use crate::interrupt::Interrupt;

/// How many operations make a part worthwhile (some 40 microseconds): waking a thread costs a good
/// part of this.
const OPERATIONS_OF_PART: usize = 2_000_000;

/// How many operations of one step make meeting once a step worthwhile (about a microsecond).
const OPERATIONS_OF_MEETING: usize = 60_000;

/// How many rows make a part: with fewer, tiles don't run at full speed.
const ROWS_OF_PART: usize = 8;

/// Along what a call is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    Rows,
    Units,
}

/// Calls of the same sizes, of which none depends on another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Work {
    /// How many calls.
    pub calls: usize,
    /// Steps of each.
    pub steps: usize,
    /// Rows of each.
    pub rows: usize,
    /// Products of one call, as multiples of those of its forward pass.
    pub passes: usize,
}

/// Who computes what.
pub(super) struct Plan {
    team: Team,
    cutting: Cutting,
    rows: usize,
    blocks: usize,
}

/// How calls are cut.
#[derive(Debug, Clone, Copy)]
struct Cutting {
    /// How many calls are computed side by side.
    together: usize,
    /// Parts of each call.
    parts: usize,
    cut: Cut,
}

impl Cutting {
    /// For at most so many members.
    fn new<F: Float>(geometry: &Geometry, work: Work, members: usize) -> Self {
        let weights = geometry.weights().saturating_mul(size_of::<F>());
        if work.rows >= members * ROWS_OF_PART && weights <= CACHED_BYTES {
            return Self {
                together: 1,
                parts: members,
                cut: Cut::Rows,
            };
        }
        let together = work.calls.min(members);
        let members = members / together;
        let operations = [2, work.rows, geometry.hidden_width(), geometry.hidden]
            .into_iter()
            .fold(1, usize::saturating_mul);
        let panels = geometry.blocks().div_ceil(PANEL_REGISTERS);
        let by_units = members
            .min(panels)
            .min(operations / OPERATIONS_OF_MEETING)
            .max(1);
        let by_rows = members.min(work.rows / ROWS_OF_PART).max(1);
        let (cut, parts) = if by_units >= by_rows {
            (Cut::Units, by_units)
        } else {
            (Cut::Rows, by_rows)
        };
        Self {
            together,
            parts,
            cut,
        }
    }
}

impl Plan {
    /// A plan for as many threads as the user allows, the work is worth, and are free.
    pub fn new<F: Float>(geometry: &Geometry, work: Work) -> Self {
        let weights = geometry.weights();
        let operations = [2, work.passes, work.calls, work.steps, work.rows]
            .into_iter()
            .fold(weights, usize::saturating_mul);
        let wanted = num_threads().min(operations / OPERATIONS_OF_PART).max(1);
        // Only those who will have something to do are called.
        let cutting = Cutting::new::<F>(geometry, work, wanted);
        let team = Team::gather(cutting.together * cutting.parts);
        let members = team.members();
        Self {
            team,
            cutting: Cutting::new::<F>(geometry, work, members),
            rows: work.rows,
            blocks: geometry.blocks(),
        }
    }

    /// How many calls are to be given to [`Plan::run`] at a time.
    pub fn together(&self) -> usize {
        self.cutting.together
    }

    /// How many parts there are of so many calls.
    pub fn parts(&self, calls: usize) -> usize {
        calls * self.cutting.parts
    }

    /// How many rows and registers of units the largest part has.
    pub fn largest_part(&self) -> (usize, usize) {
        (0..self.cutting.parts)
            .map(|index| self.places(index))
            .map(|(rows, blocks)| (rows.len(), blocks.len()))
            .fold((0, 0), |a, b| (a.0.max(b.0), a.1.max(b.1)))
    }

    /// Rows and registers of units of one part.
    fn places(&self, index: usize) -> (Range<usize>, Range<usize>) {
        match self.cutting.cut {
            Cut::Rows => (share(self.rows, index, self.cutting.parts), 0..self.blocks),
            Cut::Units => {
                let panels = self.blocks.div_ceil(PANEL_REGISTERS);
                let own = share(panels, index, self.cutting.parts);
                let end = (own.end * PANEL_REGISTERS).min(self.blocks);
                (0..self.rows, own.start * PANEL_REGISTERS..end)
            }
        }
    }

    /// Calls `act` with every part of each of at most [`Plan::together`] calls. The scratch memory is
    /// split among them.
    ///
    /// # Errors
    /// The first error of a part. The others are told to give up.
    pub fn run<F: Float, J: Sync>(
        &self,
        calls: &[J],
        scratch: &mut [F],
        interrupt: &Interrupt<'_>,
        act: impl Fn(&J, Part<'_, F>) -> Result<()> + Sync,
    ) -> Result<()> {
        debug_assert!(calls.len() <= self.cutting.together);
        let barriers = [
            Barrier::new(self.cutting.parts),
            Barrier::new(self.cutting.parts),
        ];
        let len = scratch.len() / self.parts(calls.len()).max(1);
        let scratch = Shared::new(scratch);
        self.team.run(interrupt, |member| {
            let (call, index) = (
                member.number / self.cutting.parts,
                member.number % self.cutting.parts,
            );
            let (Some(job), Some(barrier)) = (calls.get(call), barriers.get(call)) else {
                return Ok(());
            };
            let (rows, blocks) = self.places(index);
            let start = member.number * len;
            let part = Part {
                rows,
                blocks,
                // SAFETY: no other member has this number.
                scratch: unsafe { scratch.write(start..start + len) },
                index,
                parts: self.cutting.parts,
                cut: self.cutting.cut,
                barrier,
                member,
            };
            act(job, part)
        })
    }
}

/// What one thread computes of one call.
pub(super) struct Part<'a, F> {
    /// Its rows.
    pub rows: Range<usize>,
    /// Its registers of units: whole panels, but for the last one.
    pub blocks: Range<usize>,
    /// Memory of unknown content.
    pub scratch: &'a mut [F],
    index: usize,
    parts: usize,
    cut: Cut,
    barrier: &'a Barrier,
    member: &'a Member<'a>,
}

impl<F> Part<'_, F> {
    /// Its share of so many things which are nobody's own.
    pub fn share(&self, count: usize) -> Range<usize> {
        share(count, self.index, self.parts)
    }

    /// To be called at every step.
    ///
    /// # Errors
    /// Interrupted, by the user or because another part has failed.
    #[inline]
    pub fn check(&self) -> Result<()> {
        self.member.check()
    }

    /// Waits for the other parts of the call, and sees what they wrote.
    ///
    /// # Errors
    /// Interrupted because another part has failed.
    #[inline]
    pub fn meet(&self) -> Result<()> {
        self.barrier.wait(self.member)
    }

    /// As [`Part::meet`], where parts need each other's units.
    ///
    /// # Errors
    /// Interrupted because another part has failed.
    #[inline]
    pub fn exchange(&self) -> Result<()> {
        match self.cut {
            Cut::Rows => Ok(()),
            Cut::Units => self.meet(),
        }
    }
}

/// One of `parts` nearly equal shares of `count` things.
fn share(count: usize, index: usize, parts: usize) -> Range<usize> {
    let bound = |index: usize| count / parts * index + (count % parts).min(index);
    bound(index)..bound(index + 1)
}

/// Which rows and columns of (rows, padded hidden) a part owns.
pub(super) struct Own {
    /// Its rows.
    pub rows: Range<usize>,
    /// Its columns, in whole registers.
    pub columns: Range<usize>,
    /// Columns of everybody.
    pub padded: usize,
    /// Numbers of everybody.
    pub per_state: usize,
}

impl Own {
    /// Those of a part of a call with so many rows.
    pub fn new<F>(geometry: &Geometry, part: &Part<'_, F>, rows: usize) -> Self {
        let (padded, lanes) = (geometry.padded_hidden(), geometry.lanes);
        Self {
            rows: part.rows.clone(),
            columns: part.blocks.start * lanes..part.blocks.end * lanes,
            padded,
            per_state: rows * padded,
        }
    }

    /// Copies own places from (rows, padded hidden) that start somewhere to others that start
    /// elsewhere; only rows which are valid, if it is said which.
    ///
    /// # Safety
    /// Nobody else uses the part's own places there, or writes those which are copied.
    #[inline(always)]
    pub unsafe fn copy<F: Float>(
        &self,
        to: &Shared<'_, F>,
        to_start: usize,
        from: &Shared<'_, F>,
        from_start: usize,
        valid: Option<&[bool]>,
    ) {
        // SAFETY: as the caller vouches.
        let copy = |start: usize, len: usize| unsafe {
            let from = from.read(from_start + start..from_start + start + len);
            to.write(to_start + start..to_start + start + len)
                .copy_from_slice(from);
        };
        if valid.is_none() && self.columns.len() == self.padded {
            copy(self.rows.start * self.padded, self.rows.len() * self.padded);
            return;
        }
        for row in self.rows.clone() {
            if valid.is_none_or(|valid| valid[row]) {
                copy(row * self.padded + self.columns.start, self.columns.len());
            }
        }
    }

    /// Sets own places of flagged rows to zero, in all (rows, padded hidden) that there are.
    ///
    /// # Safety
    /// Nobody else uses them.
    pub unsafe fn clear<F: Float>(&self, states: &Shared<'_, F>, flags: &[bool]) {
        for start in (0..states.len()).step_by(self.per_state) {
            for row in self.rows.clone().filter(|&row| flags[row]) {
                let start = start + row * self.padded;
                let place = start + self.columns.start..start + self.columns.end;
                // SAFETY: as the caller vouches.
                unsafe { states.write(place) }.fill(F::zero());
            }
        }
    }
}
