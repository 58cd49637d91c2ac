//! Memory in which several parts of a call write, each at places of its own.

use std::marker::PhantomData;
use std::ops::Range;

use crate::float::Float;

/// Numbers that the parts of a call share.
///
/// Two threads may never use the same place at the same time, unless both read it: whoever calls
/// the methods vouches for this.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shared<'a, F> {
    pointer: *mut F,
    len: usize,
    marker: PhantomData<&'a mut [F]>,
}

// SAFETY: the methods that touch the numbers are unsafe, and say what threads must keep to.
unsafe impl<F: Float> Send for Shared<'_, F> {}
// SAFETY: as above.
unsafe impl<F: Float> Sync for Shared<'_, F> {}

impl<'a, F: Float> Shared<'a, F> {
    /// Numbers that are borrowed until the parts are done.
    pub fn new(values: &'a mut [F]) -> Self {
        Self {
            pointer: values.as_mut_ptr(),
            len: values.len(),
            marker: PhantomData,
        }
    }

    /// How many numbers there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The numbers in a range.
    ///
    /// # Safety
    /// Nobody writes them while the slice lives.
    ///
    /// # Panics
    /// When the range reaches beyond the end.
    #[inline(always)]
    pub unsafe fn read(&self, range: Range<usize>) -> &'a [F] {
        assert!(range.start <= range.end && range.end <= self.len);
        // SAFETY: inside the borrowed slice; the caller vouches for the rest.
        unsafe { std::slice::from_raw_parts(self.pointer.add(range.start), range.len()) }
    }

    /// The numbers in a range, to be changed.
    ///
    /// # Safety
    /// Nobody else uses them while the slice lives.
    ///
    /// # Panics
    /// When the range reaches beyond the end.
    #[inline(always)]
    #[allow(clippy::mut_from_ref)] // the caller vouches
    pub unsafe fn write(&self, range: Range<usize>) -> &'a mut [F] {
        assert!(range.start <= range.end && range.end <= self.len);
        // SAFETY: inside the borrowed slice; the caller vouches for the rest.
        unsafe { std::slice::from_raw_parts_mut(self.pointer.add(range.start), range.len()) }
    }

    /// Address of `len` numbers from `start` on, which is checked. Who follows it vouches for what the
    /// other methods ask for.
    ///
    /// # Panics
    /// When they reach beyond the end.
    #[inline(always)]
    pub fn pointer(&self, start: usize, len: usize) -> *mut F {
        assert!(start <= self.len && len <= self.len - start);
        self.pointer.wrapping_add(start)
    }
}
