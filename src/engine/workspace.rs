//! Memory that is used again, and allocations that may fail.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::error::{Error, Result};
use crate::float::Float;
use crate::parameters::AlignedBuffer;

/// How many buffers a pool keeps at rest: those of a training step of a few layers.
const KEPT_BUFFERS: usize = 32;

/// How many bytes a pool keeps at rest at most.
const KEPT_BYTES: usize = 256 << 20;

/// A buffer that rests while so many others are asked for goes back to the system, so that a single
/// large call doesn't hold its memory for good: a training step of a layer asks for ten or so.
const PATIENCE: usize = 1000;

/// A buffer at rest may be so many times as large as what is asked for, so that small requests don't
/// use up large buffers, and some bytes larger in any case.
const SLACK: usize = 2;
const SLACK_BYTES: usize = 4096;

fn bytes<F: Float>(memory: &AlignedBuffer<F>) -> usize {
    size_of_val(memory.as_slice())
}

/// What a pool has at rest.
#[derive(Debug)]
struct Resting<F> {
    /// Each with the value of `taken` when it came back; the oldest come first.
    buffers: Vec<(AlignedBuffer<F>, usize)>,
    /// How many buffers have been asked for.
    taken: usize,
}

impl<F: Float> Resting<F> {
    /// Takes out the smallest buffer of `len` numbers or somewhat more.
    fn take(&mut self, len: usize) -> Option<AlignedBuffer<F>> {
        self.taken += 1;
        let largest = len.saturating_mul(SLACK).max(SLACK_BYTES / size_of::<F>());
        let size = |index: usize| self.buffers[index].0.as_slice().len();
        // Of several that fit, the newest: the cache may still have it.
        let best = (0..self.buffers.len())
            .rev()
            .filter(|&index| (len..=largest).contains(&size(index)))
            .min_by_key(|&index| size(index))?;
        Some(self.buffers.remove(best).0)
    }

    /// Takes a buffer back, and gives what is too much or too old to the system: it is put into a
    /// list which the caller drops.
    fn put(&mut self, memory: AlignedBuffer<F>) -> Vec<AlignedBuffer<F>> {
        let mut total = bytes(&memory);
        let mut kept = 1;
        // From the newest to the oldest: those up to the first that doesn't stay.
        let newer = self.buffers.iter().rev().take_while(|(memory, returned)| {
            total += bytes(memory);
            kept += 1;
            total <= KEPT_BYTES && kept <= KEPT_BUFFERS && self.taken - returned <= PATIENCE
        });
        let too_much = self.buffers.len() - newer.count();
        let released = self.buffers.drain(..too_much).map(|(memory, _)| memory);
        let released = released.collect();
        self.buffers.push((memory, self.taken));
        released
    }
}

/// Buffers of one module: scratch memory, outputs, what a backward pass will need. A buffer returns
/// when nobody holds it any more, wherever that is. Fresh memory costs about as much as the work of
/// a small layer: the system clears it, page by page.
#[derive(Debug)]
pub struct Pool<F> {
    resting: Arc<Mutex<Resting<F>>>,
}

impl<F: Float> Default for Pool<F> {
    fn default() -> Self {
        Self {
            resting: Arc::new(Mutex::new(Resting {
                buffers: Vec::with_capacity(KEPT_BUFFERS),
                taken: 0,
            })),
        }
    }
}

impl<F: Float> Pool<F> {
    /// A buffer of `len` numbers of unknown content, returned to the pool when dropped.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] when no resting buffer fits and the allocator refuses.
    pub fn take(&self, len: usize) -> Result<Buffer<F>> {
        let resting = self
            .resting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take(len);
        let memory = match resting {
            Some(memory) => memory,
            None => AlignedBuffer::zeroed(len)?,
        };
        Ok(Buffer {
            home: Arc::downgrade(&self.resting),
            memory: Some(memory),
            len,
        })
    }

    /// How many bytes are at rest.
    #[must_use]
    pub fn resting_bytes(&self) -> usize {
        let resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        resting
            .buffers
            .iter()
            .map(|(memory, _)| bytes(memory))
            .sum()
    }

    /// A buffer of `len` zeros, returned to the pool when dropped.
    ///
    /// # Errors
    /// As [`Pool::take`].
    pub fn take_zeroed(&self, len: usize) -> Result<Buffer<F>> {
        let mut buffer = self.take(len)?;
        buffer.fill(F::zero());
        Ok(buffer)
    }
}

/// A buffer on loan from a [`Pool`].
#[derive(Debug)]
pub struct Buffer<F: Float> {
    home: Weak<Mutex<Resting<F>>>,
    /// Present until dropped.
    memory: Option<AlignedBuffer<F>>,
    len: usize,
}

impl<F: Float> Buffer<F> {
    /// Address of the first element, for views outside of Rust.
    #[must_use]
    pub fn as_root_ptr(&self) -> *mut F {
        self.memory
            .as_ref()
            .map_or(std::ptr::null_mut(), AlignedBuffer::as_ptr)
    }
}

impl<F: Float> Deref for Buffer<F> {
    type Target = [F];

    fn deref(&self) -> &[F] {
        self.memory
            .as_ref()
            .map_or(&[], |memory| &memory.as_slice()[..self.len])
    }
}

impl<F: Float> DerefMut for Buffer<F> {
    fn deref_mut(&mut self) -> &mut [F] {
        self.memory
            .as_mut()
            .map_or(&mut [], |memory| &mut memory.as_mut_slice()[..self.len])
    }
}

impl<F: Float> Drop for Buffer<F> {
    fn drop(&mut self) {
        let (Some(memory), Some(home)) = (self.memory.take(), self.home.upgrade()) else {
            return;
        };
        if bytes(&memory) > KEPT_BYTES {
            return;
        }
        // What goes back to the system does so when the lock is free again.
        let released = home
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .put(memory);
        drop(released);
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
