//! Which steps of which rows count: lengths, masks with holes, resets.

use crate::error::{Error, Result, checked_size, shape_text};
use crate::memory::filled_vec;

/// In which order a layer walks over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the first step to the last.
    Forward,
    /// From the last step to the first.
    Backward,
}

/// Validity and resets of every step and row.
///
/// * An invalid step carries the state unchanged and outputs zero.
/// * A reset at step t separates t from t - 1: whichever way the layer walks, the state is zero
///   after crossing that boundary, and no gradient crosses it.
/// * A sequence shorter than the batch's longest is one whose steps past its length are invalid.
///   Resets there are ignored: for that row those steps don't exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Steps {
    count: usize,
    rows: usize,
    /// Time-major; absent when every step is valid.
    valid: Option<Vec<bool>>,
    /// Time-major; absent when there are none.
    resets: Option<Vec<bool>>,
}

impl Steps {
    /// All steps valid, no resets.
    #[must_use]
    pub fn dense(steps: usize, rows: usize) -> Self {
        Self {
            count: steps,
            rows,
            valid: None,
            resets: None,
        }
    }

    /// From what the caller said; `mask` and `resets` are time-major, `lengths` has one number a
    /// row in any order, zero allowed. With both, a step is valid when both say so.
    ///
    /// # Errors
    /// [`Error::Shape`] for a wrong count, [`Error::Config`] for a length outside `0..=steps`.
    pub fn new(
        steps: usize,
        rows: usize,
        lengths: Option<&[i64]>,
        mask: Option<Vec<bool>>,
        resets: Option<Vec<bool>>,
    ) -> Result<Self> {
        let cells = checked_size(&[steps, rows])?;
        for (name, flags) in [("mask", &mask), ("resets", &resets)] {
            if let Some(flags) = flags
                && flags.len() != cells
            {
                return Err(Error::shape(
                    name,
                    format!("{cells} values"),
                    flags.len().to_string(),
                ));
            }
        }
        let mut valid = mask;
        let mut resets = resets;
        if let Some(lengths) = lengths {
            if lengths.len() != rows {
                return Err(Error::shape(
                    "lengths",
                    format!("{} (one length a row)", shape_text(&[rows])),
                    shape_text(&[lengths.len()]),
                ));
            }
            let mut flags = match valid {
                Some(flags) => flags,
                None => filled_vec(true, cells)?,
            };
            for (row, &length) in lengths.iter().enumerate() {
                let length = usize::try_from(length)
                    .ok()
                    .filter(|&length| length <= steps)
                    .ok_or_else(|| {
                        Error::config(
                            format!("lengths[{row}]"),
                            format!("0 to {steps} (the steps of x)"),
                            length.to_string(),
                        )
                    })?;
                for step in length..steps {
                    flags[step * rows + row] = false;
                    if let Some(resets) = &mut resets {
                        resets[step * rows + row] = false;
                    }
                }
            }
            valid = Some(flags);
        }
        Ok(Self {
            count: steps,
            rows,
            valid: valid.filter(|valid| valid.contains(&false)),
            resets: resets.filter(|resets| resets.contains(&true)),
        })
    }

    /// Number of steps, valid or not.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.count
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Whether every step of every row is valid.
    #[must_use]
    pub fn all_valid(&self) -> bool {
        self.valid.is_none()
    }

    /// Which rows are valid at a step; nothing when all are.
    #[must_use]
    pub fn valid(&self, step: usize) -> Option<&[bool]> {
        let flags = &self.valid.as_deref()?[step * self.rows..(step + 1) * self.rows];
        flags.contains(&false).then_some(flags)
    }

    /// Which rows lose their state on the way into a step; nothing when none do.
    #[must_use]
    pub fn resets_entering(&self, step: usize, direction: Direction) -> Option<&[bool]> {
        let boundary = match direction {
            Direction::Forward => step,
            Direction::Backward => step + 1,
        };
        if boundary >= self.count {
            return None;
        }
        let flags = &self.resets.as_deref()?[boundary * self.rows..(boundary + 1) * self.rows];
        flags.contains(&true).then_some(flags)
    }
}
