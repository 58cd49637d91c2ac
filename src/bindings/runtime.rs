//! The process: random stream, threads, what was built.

use std::ffi::CString;

use pyo3::exceptions::PyRuntimeWarning;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::options;
use crate::engine::threads;
use crate::error::Error;
use crate::memory::collected_vec;
use crate::random::{self, StreamState};
use crate::simd::{InstructionSet, VARIABLE};

/// Restart the process-wide random stream.
///
/// Parameters
/// ----------
/// seed : int
///     From 0 to 2**64 - 1. The same seed gives the same weights, masks and orders.
#[pyfunction]
pub fn manual_seed(seed: &Bound<'_, PyAny>) -> PyResult<()> {
    random::manual_seed(options::seed("seed", seed)?);
    Ok(())
}

/// Where the process-wide random stream is.
///
/// Returns
/// -------
/// tuple of (int, int)
///     Seed and position, for ``set_rng_state``.
#[pyfunction]
pub fn get_rng_state() -> (u64, u64) {
    let state = random::state();
    (state.seed, state.position)
}

/// Put the process-wide random stream back to where it was.
///
/// Parameters
/// ----------
/// state : tuple of (int, int)
///     From ``get_rng_state``.
#[pyfunction]
pub fn set_rng_state(state: &Bound<'_, PyAny>) -> PyResult<()> {
    let (seed, position) = state.extract().map_err(|_| {
        PyErr::from(Error::dtype(
            "state",
            "a pair of integers from get_rng_state()",
            options::shown(state),
        ))
    })?;
    random::set_state(StreamState { seed, position });
    Ok(())
}

/// The numbers 0 to n - 1 in an order that depends on the arguments alone.
#[pyfunction]
pub fn shuffled(
    py: Python<'_>,
    n: usize,
    seed: u64,
    epoch: u64,
) -> PyResult<Bound<'_, numpy::PyArray1<i64>>> {
    let order = random::shuffled(n, seed, epoch)?;
    let order = collected_vec(order.into_iter().map(|index| index.cast_signed() as i64))?;
    Ok(numpy::PyArray1::from_vec(py, order))
}

/// Choose how many threads a call may use.
///
/// Results never depend on it. Small calls stay on the caller's thread, and so does a call while
/// another one has the threads. The environment variable ``RECURRUST_NUM_THREADS`` chooses the
/// number at the start; without it, there is one thread for each processor.
///
/// Parameters
/// ----------
/// n : int
///     1 to 1024. More than there are processors is slower. Threads that were started once stay,
///     asleep.
#[pyfunction]
pub fn set_num_threads(n: &Bound<'_, PyAny>) -> PyResult<()> {
    let count = options::integer("n", n, 1)?;
    if count > threads::MOST {
        let expected = format!("an integer from 1 to {}", threads::MOST);
        return Err(Error::config("n", expected, count.to_string()).into());
    }
    threads::set_num_threads(count);
    Ok(())
}

/// How many threads a call may use: as set, else the environment variable
/// ``RECURRUST_NUM_THREADS``, else the number of processors.
#[pyfunction]
pub fn get_num_threads() -> usize {
    threads::num_threads()
}

/// Warns when the environment asks for something that doesn't exist or isn't there.
pub fn check_environment(py: Python<'_>) -> PyResult<()> {
    let category = py.get_type::<PyRuntimeWarning>();
    let warn = |message: String| PyErr::warn(py, &category, &CString::new(message)?, 1);
    if let Some(Err(text)) = threads::environment() {
        warn(format!(
            "{}: expected an integer from 1 to {}, got {text:?}; using {}",
            threads::VARIABLE,
            threads::MOST,
            threads::num_threads()
        ))?;
    }
    let Ok(wanted) = std::env::var(VARIABLE) else {
        return Ok(());
    };
    let current = InstructionSet::current();
    if InstructionSet::named(&wanted) == Some(current) {
        return Ok(());
    }
    let known = InstructionSet::ALL.map(InstructionSet::name).join(", ");
    warn(format!(
        "{VARIABLE}: expected an instruction set of this processor among {known}, got {wanted:?}; \
         using {}",
        current.name()
    ))
}

/// What this installation is.
///
/// Returns
/// -------
/// dict
///     ``version``, ``instruction_set`` in use, ``num_threads``, ``profile`` of the build.
#[pyfunction]
pub fn build_info(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let info = PyDict::new(py);
    info.set_item("version", env!("CARGO_PKG_VERSION"))?;
    info.set_item("instruction_set", InstructionSet::current().name())?;
    info.set_item("num_threads", threads::num_threads())?;
    let profile = if cfg!(debug_assertions) {
        "debug"
    } else {
        "release"
    };
    info.set_item("profile", profile)?;
    Ok(info)
}
