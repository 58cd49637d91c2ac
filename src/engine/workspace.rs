//! Memory that is used again, and allocations that may fail.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::error::{Error, Result};
use crate::float::Float;
use crate::parameters::AlignedBuffer;

/// How many buffers a pool keeps at rest: those of a training step of a few layers.
const KEPT_BUFFERS: usize = 32;

/// How many bytes a pool keeps at rest at most. Larger memory goes back to the system, so that a
/// single large call doesn't hold it for good.
const KEPT_BYTES: usize = 64 << 20;

/// A buffer at rest may be so many times as large as what is asked for, so that small requests don't
/// use up large buffers, and some bytes larger in any case.
const SLACK: usize = 2;
const SLACK_BYTES: usize = 4096;

/// The oldest come first.
type Resting<F> = Mutex<Vec<AlignedBuffer<F>>>;

/// Buffers of one module: scratch memory, outputs, what a backward pass will need. A buffer returns
/// when nobody holds it any more, wherever that is. Fresh memory costs about as much as the work of
/// a small layer: the system clears it, page by page.
#[derive(Debug)]
pub struct Pool<F> {
    resting: Arc<Resting<F>>,
}

impl<F: Float> Default for Pool<F> {
    fn default() -> Self {
        Self {
            resting: Arc::new(Mutex::new(Vec::with_capacity(KEPT_BUFFERS))),
        }
    }
}

impl<F: Float> Pool<F> {
    /// A buffer of `len` numbers of unknown content, returned to the pool when dropped.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] when no resting buffer fits and the allocator refuses.
    pub fn take(&self, len: usize) -> Result<Buffer<F>> {
        let largest = len.saturating_mul(SLACK).max(SLACK_BYTES / size_of::<F>());
        let resting = {
            let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
            // Of several that fit, the newest: the cache may still have it.
            let best = (0..resting.len())
                .rev()
                .filter(|&index| (len..=largest).contains(&resting[index].as_slice().len()))
                .min_by_key(|&index| resting[index].as_slice().len());
            best.map(|index| resting.remove(index))
        };
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
    home: Weak<Resting<F>>,
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
        let bytes = |memory: &AlignedBuffer<F>| size_of_val(memory.as_slice());
        if bytes(&memory) > KEPT_BYTES {
            return;
        }
        // What goes back to the system does so when the lock is free again.
        let mut too_much = Vec::new();
        let mut resting = home.lock().unwrap_or_else(PoisonError::into_inner);
        let mut total: usize = resting.iter().map(bytes).sum::<usize>() + bytes(&memory);
        while resting.len() == KEPT_BUFFERS || total > KEPT_BYTES {
            let oldest = resting.remove(0);
            total -= bytes(&oldest);
            too_much.push(oldest);
        }
        resting.push(memory);
        drop(resting);
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
