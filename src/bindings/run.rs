//! Locks, the interpreter, and Ctrl-C around the core's work.

use std::cell::RefCell;
use std::sync::{Mutex, PoisonError, TryLockError};

use pyo3::prelude::*;

use crate::error::{Error, Result};
use crate::float::Float;
use crate::interrupt::Interrupt;
use crate::parameters::{Parameters, Reading, Writing};

/// Work of fewer operations than this (some ten microseconds) keeps the interpreter: giving it up
/// and waiting to have it back would cost more, and far more when other threads want it.
const ATTACHED_OPERATIONS: usize = 1_000_000;

thread_local! {
    /// The parameters that calls of this thread read while handlers of signals may run.
    static READ_HERE: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// Notes that this thread reads some parameters, for as long as it lives.
struct ReadHere(usize);

impl ReadHere {
    fn new(address: usize) -> Self {
        READ_HERE.with_borrow_mut(|addresses| addresses.push(address));
        Self(address)
    }
}

impl Drop for ReadHere {
    fn drop(&mut self) {
        READ_HERE.with_borrow_mut(|addresses| {
            let last = addresses.iter().rposition(|&address| address == self.0);
            last.map(|index| addresses.remove(index));
        });
    }
}

/// Whether a call of this thread reads the parameters: the code at hand is a signal's handler then.
fn is_read_here<F: Float>(parameters: &Parameters<F>) -> bool {
    let address = std::ptr::from_ref(parameters).addr();
    READ_HERE.with_borrow(|addresses| addresses.contains(&address))
}

/// Raises unless the parameters may be written: a handler of a signal would wait forever for the
/// call in which it runs.
pub fn check_writable<F: Float>(parameters: &Parameters<F>) -> Result<()> {
    if is_read_here(parameters) {
        return Err(Error::State(
            "a signal's handler can't change the weights inside a call of the same layer; let it \
             set a flag, and change them after the call"
                .to_owned(),
        ));
    }
    Ok(())
}

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
    let in_handler = is_read_here(parameters);
    interruptible(py, |interrupt| {
        // A writer may wait for the very call in which a handler runs: waiting behind it would be
        // forever.
        let reading = if in_handler {
            parameters.try_read().ok_or_else(|| {
                Error::State(
                    "a signal's handler can't use the layer inside a call of the same layer while \
                     another thread waits to change its weights"
                        .to_owned(),
                )
            })?
        } else {
            parameters.read()
        };
        let _here = ReadHere::new(std::ptr::from_ref(parameters).addr());
        work(&reading, interrupt)
    })
}

/// Runs `work` with the parameters locked for writing.
pub fn with_writing<F: Float, T: Send>(
    py: Python<'_>,
    parameters: &Parameters<F>,
    work: impl FnOnce(&mut Writing<'_, F>) -> T + Send,
) -> PyResult<T> {
    check_writable(parameters)?;
    Ok(py.detach(|| work(&mut parameters.write())))
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
