//! Allocations that may fail: a caller's absurd size is an error, never an abort.

use crate::error::{Error, Result};

/// A copy of a slice.
///
/// # Errors
/// [`Error::OutOfMemory`] when the allocator refuses.
pub fn copied_vec<T: Copy>(values: &[T]) -> Result<Vec<T>> {
    let mut copy = reserved_vec(values.len())?;
    copy.extend_from_slice(values);
    Ok(copy)
}

/// The same value so many times.
///
/// # Errors
/// [`Error::OutOfMemory`] when the allocator refuses.
pub fn filled_vec<T: Copy>(value: T, count: usize) -> Result<Vec<T>> {
    let mut vector = reserved_vec(count)?;
    vector.resize(count, value);
    Ok(vector)
}

/// The values of an iterator that knows how many it has.
///
/// # Errors
/// [`Error::OutOfMemory`] when the allocator refuses.
pub fn collected_vec<T>(values: impl ExactSizeIterator<Item = T>) -> Result<Vec<T>> {
    let mut vector = reserved_vec(values.len())?;
    vector.extend(values);
    Ok(vector)
}

fn reserved_vec<T>(count: usize) -> Result<Vec<T>> {
    let mut vector = Vec::new();
    vector
        .try_reserve_exact(count)
        .map_err(|_| Error::OutOfMemory {
            bytes: count.saturating_mul(size_of::<T>()),
        })?;
    Ok(vector)
}
