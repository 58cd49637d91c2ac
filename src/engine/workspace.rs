//! Scratch memory that is used again, and allocations that may fail.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::float::Float;
use crate::parameters::AlignedBuffer;

/// How many buffers a pool keeps at rest: as many as one call uses at once, for two threads.
const KEPT: usize = 8;

/// Scratch buffers of one module. Their content is whatever was left there.
#[derive(Debug)]
pub struct Pool<F> {
    resting: Mutex<Vec<AlignedBuffer<F>>>,
}

impl<F: Float> Default for Pool<F> {
    fn default() -> Self {
        Self {
            resting: Mutex::new(Vec::with_capacity(KEPT)),
        }
    }
}

impl<F: Float> Pool<F> {
    /// A buffer of `len` numbers of unknown content, returned to the pool when dropped.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] when no resting buffer is large enough and the allocator refuses.
    pub fn take(&self, len: usize) -> Result<Scratch<'_, F>> {
        let resting = {
            let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
            let best = (0..resting.len())
                .filter(|&index| resting[index].as_slice().len() >= len)
                .min_by_key(|&index| resting[index].as_slice().len());
            best.map(|index| resting.swap_remove(index))
        };
        let buffer = match resting {
            Some(buffer) => buffer,
            None => AlignedBuffer::zeroed(len)?,
        };
        Ok(Scratch {
            pool: self,
            buffer: Some(buffer),
            len,
        })
    }

    /// A buffer of `len` zeros, returned to the pool when dropped.
    ///
    /// # Errors
    /// As [`Pool::take`].
    pub fn take_zeroed(&self, len: usize) -> Result<Scratch<'_, F>> {
        let mut scratch = self.take(len)?;
        scratch.fill(F::zero());
        Ok(scratch)
    }

    fn give_back(&self, buffer: AlignedBuffer<F>) {
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        resting.push(buffer);
        if resting.len() > KEPT {
            // The smallest is the cheapest to make again.
            if let Some(smallest) =
                (0..resting.len()).min_by_key(|&index| resting[index].as_slice().len())
            {
                resting.swap_remove(smallest);
            }
        }
    }
}

/// A buffer on loan from a [`Pool`].
#[derive(Debug)]
pub struct Scratch<'a, F: Float> {
    pool: &'a Pool<F>,
    /// Present until dropped.
    buffer: Option<AlignedBuffer<F>>,
    len: usize,
}

impl<F: Float> Deref for Scratch<'_, F> {
    type Target = [F];

    fn deref(&self) -> &[F] {
        self.buffer
            .as_ref()
            .map_or(&[], |buffer| &buffer.as_slice()[..self.len])
    }
}

impl<F: Float> DerefMut for Scratch<'_, F> {
    fn deref_mut(&mut self) -> &mut [F] {
        self.buffer
            .as_mut()
            .map_or(&mut [], |buffer| &mut buffer.as_mut_slice()[..self.len])
    }
}

impl<F: Float> Drop for Scratch<'_, F> {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            self.pool.give_back(buffer);
        }
    }
}

/// A vector of zeros, for memory that is handed to the caller.
///
/// # Errors
/// [`Error::OutOfMemory`] when the allocator refuses.
pub fn zeroed_vec<F: Float>(len: usize) -> Result<Vec<F>> {
    let layout = std::alloc::Layout::array::<F>(len)
        .map_err(|_| Error::OutOfMemory { bytes: usize::MAX })?;
    if len == 0 {
        return Ok(Vec::new());
    }
    // SAFETY: the layout has a size above zero.
    let memory = unsafe { std::alloc::alloc_zeroed(layout) }.cast::<F>();
    if memory.is_null() {
        return Err(Error::OutOfMemory {
            bytes: layout.size(),
        });
    }
    let capacity = len;
    // SAFETY: the global allocator made the memory with the layout that a vector of this capacity
    // has, and zero bytes are zeros of either precision.
    Ok(unsafe { Vec::from_raw_parts(memory, len, capacity) })
}
