//! Locks, the interpreter, and Ctrl-C around the core's work.

use std::sync::{Mutex, PoisonError, TryLockError};

use pyo3::prelude::*;

use crate::error::{Error, Result};
use crate::float::Float;
use crate::interrupt::Interrupt;
use crate::parameters::{Parameters, Reading, Writing};

/// Work of fewer operations than this (some ten microseconds) keeps the interpreter: giving it up
/// and waiting to have it back would cost more, and far more when other threads want it.
const ATTACHED_OPERATIONS: usize = 1_000_000;

/// Runs `work` with the parameters locked for reading.
///
/// A lock is never waited for while holding the interpreter: whoever holds the lock may need the
/// interpreter to look for Ctrl-C before it can go on.
pub fn with_reading<F: Float, T: Send>(
    py: Python<'_>,
    parameters: &Parameters<F>,
    operations: usize,
    work: impl FnOnce(&Reading<'_, F>, &Interrupt<'_>) -> Result<T> + Send,
) -> PyResult<T> {
    if operations < ATTACHED_OPERATIONS
        && let Some(reading) = parameters.try_read()
    {
        return Ok(work(&reading, &Interrupt::never())?);
    }
    interruptible(py, |interrupt| work(&parameters.read(), interrupt))
}

/// Runs `work` with the parameters locked for writing.
pub fn with_writing<F: Float, T: Send>(
    py: Python<'_>,
    parameters: &Parameters<F>,
    work: impl FnOnce(&mut Writing<'_, F>) -> T + Send,
) -> T {
    py.detach(|| work(&mut parameters.write()))
}

/// Runs `work` on what a mutex guards. It must not need the interpreter, and isn't interrupted.
pub fn with_locked<T: Send, R: Send>(
    py: Python<'_>,
    mutex: &Mutex<T>,
    operations: usize,
    work: impl FnOnce(&mut T) -> R + Send,
) -> R {
    if operations < ATTACHED_OPERATIONS {
        match mutex.try_lock() {
            Ok(mut guard) => return work(&mut guard),
            Err(TryLockError::Poisoned(poisoned)) => return work(&mut poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => {}
        }
    }
    py.detach(|| work(&mut mutex.lock().unwrap_or_else(PoisonError::into_inner)))
}

/// Runs `work` without the interpreter, looking for Ctrl-C whenever the core asks.
pub fn interruptible<T: Send>(
    py: Python<'_>,
    work: impl FnOnce(&Interrupt<'_>) -> Result<T> + Send,
) -> PyResult<T> {
    let raised: Mutex<Option<PyErr>> = Mutex::new(None);
    let result = py.detach(|| {
        let should_stop = || {
            Python::attach(|py| match py.check_signals() {
                Ok(()) => false,
                Err(error) => {
                    if let Ok(mut raised) = raised.lock() {
                        *raised = Some(error);
                    }
                    true
                }
            })
        };
        work(&Interrupt::new(&should_stop))
    });
    match result {
        Err(Error::Interrupted) => {
            let raised = raised.into_inner().ok().flatten();
            Err(raised.unwrap_or_else(|| Error::Interrupted.into()))
        }
        other => Ok(other?),
    }
}
