//! Named parameters in one aligned buffer per module, gradients beside them, a version.
//!
//! The buffer is allocated once and never grows or moves, so NumPy views of it stay valid for as
//! long as anybody holds the [`Parameters`]. Masters are kept in PyTorch's layout. Readers run
//! together; a writer waits for them and raises the version, by which packed copies and caches
//! notice that they are out of date. Whoever locks both values and gradients locks the values first.

use std::alloc::Layout;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{
    Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak,
};

use crate::error::{Error, Result, checked_size};
use crate::float::Float;

/// Alignment of every buffer: one cache line, the widest vector register.
const ALIGNMENT: usize = 64;

/// Memory of at least so many bytes asks for huge pages, which take the processor fewer tables to
/// find and the system fewer interruptions to clear.
const HUGE: usize = 4 << 20;

/// The size of a huge page.
const HUGE_PAGE: usize = 2 << 20;

/// A zeroed, aligned allocation of fixed size.
///
/// Not a `Vec` or a `Box`: views of the memory live outside of Rust, so the only pointers into it
/// are derived from this one root.
#[derive(Debug)]
pub struct AlignedBuffer<F> {
    /// The first element, somewhere at the start of the allocation.
    pointer: NonNull<F>,
    allocation: NonNull<u8>,
    len: usize,
    marker: PhantomData<F>,
}

// SAFETY: the buffer owns its memory, and `F` is a plain number.
unsafe impl<F: Float> Send for AlignedBuffer<F> {}
// SAFETY: shared access only hands out the pointer or shared slices.
unsafe impl<F: Float> Sync for AlignedBuffer<F> {}

impl<F> AlignedBuffer<F> {
    /// What is allocated for so many elements. Huge memory has room to be aligned: an allocator that
    /// aligns it would clear it at once, however long this takes, where the system clears every page
    /// when it is first touched.
    fn layout(len: usize) -> Result<Layout> {
        Layout::array::<F>(len)
            .and_then(|layout| {
                if layout.size() < HUGE {
                    layout.align_to(ALIGNMENT)
                } else {
                    let size = layout.size().saturating_add(HUGE_PAGE);
                    Layout::from_size_align(size, layout.align())
                }
            })
            .map_err(|_| Error::OutOfMemory { bytes: usize::MAX })
    }
}

impl<F: Float> AlignedBuffer<F> {
    /// `len` zeros.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] when the allocator refuses.
    pub fn zeroed(len: usize) -> Result<Self> {
        let layout = Self::layout(len)?;
        if len == 0 {
            return Ok(Self {
                pointer: NonNull::dangling(),
                allocation: NonNull::dangling(),
                len,
                marker: PhantomData,
            });
        }
        // SAFETY: the layout has a size above zero.
        let allocation = NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) });
        let allocation = allocation.ok_or(Error::OutOfMemory {
            bytes: layout.size(),
        })?;
        let pointer = if layout.size() < HUGE {
            allocation
        } else {
            let pad = allocation.as_ptr().align_offset(HUGE_PAGE).min(HUGE_PAGE);
            // SAFETY: the allocation has a huge page to spare.
            let pointer = unsafe { allocation.add(pad) };
            #[cfg(target_os = "linux")]
            // SAFETY: the memory is ours; advice changes nothing of its content, and may be ignored.
            unsafe {
                libc::madvise(
                    pointer.as_ptr().cast(),
                    len * size_of::<F>(),
                    libc::MADV_HUGEPAGE,
                );
            }
            pointer
        };
        Ok(Self {
            pointer: pointer.cast(),
            allocation,
            len,
            marker: PhantomData,
        })
    }

    /// Address of the first element.
    #[must_use]
    pub fn as_ptr(&self) -> *mut F {
        self.pointer.as_ptr()
    }

    /// All elements.
    #[must_use]
    pub fn as_slice(&self) -> &[F] {
        // SAFETY: the memory is initialised and lives as long as `self`.
        unsafe { std::slice::from_raw_parts(self.pointer.as_ptr(), self.len) }
    }

    /// All elements, to be changed.
    pub fn as_mut_slice(&mut self) -> &mut [F] {
        // SAFETY: as above, and `&mut self` makes the borrow exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.pointer.as_ptr(), self.len) }
    }
}

impl<F> Drop for AlignedBuffer<F> {
    fn drop(&mut self) {
        if self.len > 0
            && let Ok(layout) = Self::layout(self.len)
        {
            // SAFETY: allocated in `zeroed` with this very layout.
            unsafe { std::alloc::dealloc(self.allocation.as_ptr(), layout) };
        }
    }
}

/// Name, shape and place of one parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// PyTorch's name, e.g. `weight_ih_l0`.
    pub name: String,
    /// Shape of the array, row-major.
    pub shape: Vec<usize>,
    offset: usize,
    len: usize,
}

impl Entry {
    /// Where the parameter's elements stand in the module's buffer.
    #[must_use]
    pub fn range(&self) -> std::ops::Range<usize> {
        self.offset..self.offset + self.len
    }
}

/// The parameters of one module and their gradients.
#[derive(Debug)]
pub struct Parameters<F> {
    entries: Vec<Entry>,
    data: AlignedBuffer<F>,
    /// Allocated when first asked for: a net that only predicts never has gradients.
    gradients: OnceLock<AlignedBuffer<F>>,
    version: AtomicU64,
    data_lock: RwLock<()>,
    gradient_lock: Mutex<()>,
    /// The latest snapshot, for as long as anybody holds it.
    snapshot: Mutex<Weak<Snapshot<F>>>,
}

/// Versions are unique in the process, so that a cache also notices another module's weights.
fn next_version() -> u64 {
    static VERSION: AtomicU64 = AtomicU64::new(1);
    VERSION.fetch_add(1, Ordering::Relaxed)
}

impl<F: Float> Parameters<F> {
    /// Zeroed parameters of the given names and shapes.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] when the allocator refuses.
    pub fn new(shapes: Vec<(String, Vec<usize>)>) -> Result<Self> {
        let mut entries = Vec::with_capacity(shapes.len());
        let mut end = 0usize;
        let per_line = ALIGNMENT / size_of::<F>();
        for (name, shape) in shapes {
            let len = checked_size(&shape)?;
            entries.push(Entry {
                name,
                shape,
                offset: end,
                len,
            });
            // Each parameter starts on a cache line of its own.
            end = len
                .checked_next_multiple_of(per_line)
                .and_then(|len| end.checked_add(len))
                .ok_or(Error::OutOfMemory { bytes: usize::MAX })?;
        }
        Ok(Self {
            entries,
            data: AlignedBuffer::zeroed(end)?,
            gradients: OnceLock::new(),
            version: AtomicU64::new(next_version()),
            data_lock: RwLock::new(()),
            gradient_lock: Mutex::new(()),
            snapshot: Mutex::new(Weak::new()),
        })
    }

    /// Names and shapes, in order.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The index of a name.
    #[must_use]
    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.entries.iter().position(|entry| entry.name == name)
    }

    /// How many numbers the module learns.
    #[must_use]
    pub fn count(&self) -> usize {
        self.entries.iter().map(|entry| entry.len).sum()
    }

    /// Changes whenever a parameter is written; unique in the process.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Address of a parameter's first element; valid as long as `self`.
    #[must_use]
    pub fn data_ptr(&self, index: usize) -> *mut F {
        self.data.as_ptr().wrapping_add(self.entries[index].offset)
    }

    /// Address of a gradient's first element; valid as long as `self`.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] when the gradients don't exist yet and can't be allocated.
    pub fn gradient_ptr(&self, index: usize) -> Result<*mut F> {
        let gradients = self.gradient_buffer()?;
        Ok(gradients.as_ptr().wrapping_add(self.entries[index].offset))
    }

    fn gradient_buffer(&self) -> Result<&AlignedBuffer<F>> {
        if let Some(buffer) = self.gradients.get() {
            return Ok(buffer);
        }
        let buffer = AlignedBuffer::zeroed(self.data.len)?;
        Ok(self.gradients.get_or_init(|| buffer))
    }

    /// Whether a gradient was ever asked for or added.
    #[must_use]
    pub fn has_gradients(&self) -> bool {
        self.gradients.get().is_some()
    }

    /// A zeroed buffer in the layout of the gradients, to be filled and added later.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] when the allocator refuses.
    pub fn gradient_scratch(&self) -> Result<AlignedBuffer<F>> {
        AlignedBuffer::zeroed(self.data.len)
    }

    /// Waits for writers, then reads.
    pub fn read(&self) -> Reading<'_, F> {
        Reading {
            parameters: self,
            _guard: self
                .data_lock
                .read()
                .unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Reads if nobody writes just now.
    pub fn try_read(&self) -> Option<Reading<'_, F>> {
        match self.data_lock.try_read() {
            Ok(guard) => Some(Reading {
                parameters: self,
                _guard: guard,
            }),
            Err(std::sync::TryLockError::Poisoned(poisoned)) => Some(Reading {
                parameters: self,
                _guard: poisoned.into_inner(),
            }),
            Err(std::sync::TryLockError::WouldBlock) => None,
        }
    }

    /// Waits for readers and writers, then writes; the version changes at the end.
    pub fn write(&self) -> Writing<'_, F> {
        Writing {
            parameters: self,
            _guard: self
                .data_lock
                .write()
                .unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Exclusive access to the gradients.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] when the gradients don't exist yet and can't be allocated.
    pub fn gradients(&self) -> Result<Gradients<'_, F>> {
        let buffer = self.gradient_buffer()?;
        Ok(Gradients {
            parameters: self,
            buffer,
            _guard: self
                .gradient_lock
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        })
    }
}

/// Shared access to parameter values.
pub struct Reading<'a, F> {
    parameters: &'a Parameters<F>,
    _guard: RwLockReadGuard<'a, ()>,
}

impl<F: Float> Reading<'_, F> {
    /// The values of one parameter, row-major.
    #[must_use]
    pub fn slice(&self, index: usize) -> &[F] {
        &self.parameters.data.as_slice()[self.parameters.entries[index].range()]
    }

    /// The version that these values have.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.parameters.version()
    }

    /// A copy of all values that later writes leave alone; shared by all who ask for the same
    /// version.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] when the allocator refuses.
    pub fn snapshot(&self) -> Result<Arc<Snapshot<F>>> {
        let parameters = self.parameters;
        let mut latest = parameters
            .snapshot
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let version = self.version();
        if let Some(snapshot) = latest.upgrade()
            && snapshot.version == version
        {
            return Ok(snapshot);
        }
        let mut data = AlignedBuffer::zeroed(parameters.data.len)?;
        data.as_mut_slice()
            .copy_from_slice(parameters.data.as_slice());
        let snapshot = Arc::new(Snapshot {
            version,
            entries: parameters.entries.clone(),
            data,
        });
        *latest = Arc::downgrade(&snapshot);
        Ok(snapshot)
    }
}

/// The values of a module's parameters as they were at one moment.
#[derive(Debug)]
pub struct Snapshot<F> {
    version: u64,
    entries: Vec<Entry>,
    data: AlignedBuffer<F>,
}

impl<F: Float> Snapshot<F> {
    /// Names and shapes, in order.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The values of one parameter, row-major.
    #[must_use]
    pub fn slice(&self, index: usize) -> &[F] {
        &self.data.as_slice()[self.entries[index].range()]
    }
}

/// Exclusive access to parameter values.
pub struct Writing<'a, F> {
    parameters: &'a Parameters<F>,
    _guard: RwLockWriteGuard<'a, ()>,
}

impl<F: Float> Writing<'_, F> {
    /// The values of one parameter, row-major.
    pub fn slice_mut(&mut self, index: usize) -> &mut [F] {
        let entry = &self.parameters.entries[index];
        // SAFETY: the write lock is held, `&mut self` makes the borrow unique among slices of this
        // guard, and the range lies inside the buffer.
        unsafe { std::slice::from_raw_parts_mut(self.parameters.data_ptr(index), entry.len) }
    }
}

impl<F> Drop for Writing<'_, F> {
    fn drop(&mut self) {
        self.parameters
            .version
            .store(next_version(), Ordering::Release);
    }
}

/// Exclusive access to gradients.
pub struct Gradients<'a, F> {
    parameters: &'a Parameters<F>,
    buffer: &'a AlignedBuffer<F>,
    _guard: MutexGuard<'a, ()>,
}

impl<F: Float> Gradients<'_, F> {
    /// The gradient of one parameter, row-major.
    #[must_use]
    pub fn slice(&self, index: usize) -> &[F] {
        &self.buffer.as_slice()[self.parameters.entries[index].range()]
    }

    /// The gradient of one parameter, row-major, to be changed.
    pub fn slice_mut(&mut self, index: usize) -> &mut [F] {
        let entry = &self.parameters.entries[index];
        let pointer = self.buffer.as_ptr().wrapping_add(entry.offset);
        // SAFETY: the gradient lock is held, `&mut self` makes the borrow unique among slices of
        // this guard, and the range lies inside the buffer.
        unsafe { std::slice::from_raw_parts_mut(pointer, entry.len) }
    }

    /// Adds a scratch buffer made by [`Parameters::gradient_scratch`]; can't fail halfway.
    pub fn add(&mut self, scratch: &AlignedBuffer<F>) {
        for index in 0..self.parameters.entries.len() {
            let range = self.parameters.entries[index].range();
            let addend = &scratch.as_slice()[range];
            for (gradient, &value) in self.slice_mut(index).iter_mut().zip(addend) {
                *gradient += value;
            }
        }
    }

    /// Sets every gradient to zero.
    pub fn clear(&mut self) {
        for index in 0..self.parameters.entries.len() {
            self.slice_mut(index).fill(F::zero());
        }
    }
}
