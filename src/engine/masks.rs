//! What multiplies values over time and units, at random or not, as the kernels read it.

use crate::float::Float;
use crate::simd::Vector;

/// How many states a cell has at most.
pub const MAX_STATES: usize = 2;

/// Factors of units, (steps, rows, padded units) or, the same at every step, (1, rows, padded units).
#[derive(Debug, Clone, Copy)]
pub struct Mask<'a, F> {
    values: &'a [F],
    /// How far the next step's are; zero when they are the same.
    step: usize,
    padded: usize,
}

impl<'a, F: Float> Mask<'a, F> {
    /// Factors of `rows` rows, padded to whole registers.
    ///
    /// # Panics
    /// When their number doesn't fit.
    #[must_use]
    pub fn new(values: &'a [F], (steps, rows, padded): (usize, usize, usize)) -> Self {
        assert_eq!(values.len(), steps * rows * padded);
        Self {
            values,
            step: if steps == 1 { 0 } else { rows * padded },
            padded,
        }
    }

    /// Those of one row at one step.
    #[inline(always)]
    #[must_use]
    pub fn row(&self, step: usize, row: usize) -> &'a [F] {
        &self.values[step * self.step + row * self.padded..][..self.padded]
    }

    /// Those of one register of units.
    ///
    /// # Safety
    /// The mask has this step, row and block: see [`Regularization::check`].
    #[inline(always)]
    pub(super) unsafe fn register<V: Vector<Element = F>>(
        &self,
        step: usize,
        row: usize,
        block: usize,
    ) -> V {
        let start = step * self.step + row * self.padded + block * V::LANES;
        debug_assert!(start + V::LANES <= self.values.len());
        // SAFETY: as the caller vouches.
        unsafe { V::load(self.values.as_ptr().add(start)) }
    }

    /// Whether there are factors for all places.
    fn covers(&self, steps: usize, rows: usize, padded: usize) -> bool {
        let own_steps = if self.step == 0 { 1 } else { steps };
        self.padded == padded && self.values.len() == own_steps * rows * padded
    }
}

/// How much of an old state is kept (Krueger et al. 2016).
#[derive(Debug, Clone, Copy, Default)]
pub enum Zoneout<'a, F> {
    /// Nothing.
    #[default]
    Off,
    /// The expected part, of all units alike.
    Expected(F),
    /// All (1) or nothing (0), for each unit by itself.
    Drawn(Mask<'a, F>),
}

/// What regularises the steps of one direction.
#[derive(Debug, Clone, Copy, Default)]
pub struct Regularization<'a, F> {
    /// Factors of the hidden state that the recurrent weights see (Gal and Ghahramani 2016, and per
    /// step Semeniuta et al. 2016); the state that is carried on stays whole.
    pub recurrent: Option<Mask<'a, F>>,
    /// Factors of the candidate (Semeniuta et al. 2016).
    pub update: Option<Mask<'a, F>>,
    /// For each state of the cell.
    pub zoneout: [Zoneout<'a, F>; MAX_STATES],
}

impl<F: Float> Regularization<'_, F> {
    /// Whether there is anything.
    #[must_use]
    pub fn is_active(&self) -> bool {
        let mut zoneouts = self.zoneout.iter();
        zoneouts.any(|zoneout| !matches!(zoneout, Zoneout::Off))
            || self.recurrent.is_some()
            || self.update.is_some()
    }

    /// Makes sure that all masks have factors for so many steps, rows and padded units.
    ///
    /// # Panics
    /// When they haven't.
    pub(super) fn check(&self, steps: usize, rows: usize, padded: usize) {
        let zoneouts = self.zoneout.iter().filter_map(|zoneout| match zoneout {
            Zoneout::Drawn(mask) => Some(mask),
            Zoneout::Off | Zoneout::Expected(_) => None,
        });
        let mut masks = zoneouts.chain(&self.recurrent).chain(&self.update);
        assert!(masks.all(|mask| mask.covers(steps, rows, padded)));
    }

    /// The candidate's factors of one register of units, if there are any.
    ///
    /// # Safety
    /// The masks have this step, row and block: see [`Regularization::check`].
    #[inline(always)]
    pub(super) unsafe fn update<V: Vector<Element = F>>(
        &self,
        step: usize,
        row: usize,
        block: usize,
    ) -> Option<V> {
        // Not `map`: a closure around vectors may be left out of line.
        #[allow(clippy::manual_map)]
        match &self.update {
            // SAFETY: as the caller vouches.
            Some(mask) => Some(unsafe { mask.register(step, row, block) }),
            None => None,
        }
    }

    /// How much one register of units keeps of an old state, if anything.
    ///
    /// # Safety
    /// As for [`Regularization::update`].
    #[inline(always)]
    pub(super) unsafe fn kept<V: Vector<Element = F>>(
        &self,
        state: usize,
        step: usize,
        row: usize,
        block: usize,
    ) -> Option<V> {
        match &self.zoneout[state] {
            Zoneout::Off => None,
            Zoneout::Expected(rate) => Some(V::splat(*rate)),
            // SAFETY: as the caller vouches.
            Zoneout::Drawn(mask) => Some(unsafe { mask.register(step, row, block) }),
        }
    }
}
