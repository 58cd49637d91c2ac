//! Gradients: set to zero, and clipped.

use pyo3::prelude::*;

use super::optimizer::parameter_of;
use crate::bindings::errors::NonFiniteError;
use crate::bindings::options;
use crate::bindings::parameter::{Parameter, with_parameters};
use crate::error::Error;
use crate::optimizers::clip::{self, JointNorm};
use crate::simd::InstructionSet;

/// Parameters of an iterable, those without gradients left out.
fn with_gradients<'py>(params: &Bound<'py, PyAny>) -> PyResult<Vec<Bound<'py, Parameter>>> {
    if let Ok(parameter) = params.cast::<Parameter>() {
        return Ok(vec![parameter.clone()]);
    }
    let items = params.try_iter().map_err(|_| {
        PyErr::from(Error::dtype(
            "params",
            "an iterable of parameters",
            options::shown(params),
        ))
    })?;
    let mut list = Vec::new();
    for item in items {
        let item = item?;
        let parameter = parameter_of(&item)?;
        let has_gradients = with_parameters!(parameter.get().memory(), parameters => {
            parameters.has_gradients()
        });
        if has_gradients {
            list.push(parameter.clone());
        }
    }
    Ok(list)
}

/// Sets a parameter's gradient to zero, if it has one.
pub(super) fn clear(parameter: &Parameter) -> PyResult<()> {
    with_parameters!(parameter.memory(), parameters => {
        if parameters.has_gradients() {
            parameters.gradients()?.slice_mut(parameter.index()).fill(0.0);
        }
    });
    Ok(())
}

/// Set the gradients of parameters to zero. Those that never had one stay without.
///
/// Parameters
/// ----------
/// params : iterable of Parameter
///
/// Raises
/// ------
/// DtypeError
///     If an item isn't a parameter; the gradients are as they were.
#[pyfunction]
pub fn zero_grad_(params: &Bound<'_, PyAny>) -> PyResult<()> {
    let list = with_gradients(params)?;
    list.iter().try_for_each(|parameter| clear(parameter.get()))
}

/// Scale gradients so that their joint Euclidean norm is at most ``max_norm`` (Pascanu et al. 2013).
///
/// The factor is ``min(1, max_norm / (norm + 1e-6))``, as in PyTorch. The norm neither overflows nor
/// vanishes, whatever the gradients' magnitudes.
///
/// Parameters
/// ----------
/// params : iterable of Parameter
/// max_norm : float
///     Above 0; infinity only measures.
/// error_if_nonfinite : bool, default False
///     Whether a norm that is NaN or infinite is an error.
///
/// Returns
/// -------
/// float
///     The norm before clipping.
///
/// Raises
/// ------
/// ConfigError
///     If ``max_norm`` isn't above 0.
/// NonFiniteError
///     When asked for; the gradients are as they were, and the message names the first parameter
///     at fault.
#[pyfunction]
#[pyo3(signature = (params, max_norm, error_if_nonfinite = false))]
pub fn clip_grad_norm_(
    params: &Bound<'_, PyAny>,
    max_norm: &Bound<'_, PyAny>,
    error_if_nonfinite: bool,
) -> PyResult<f64> {
    let max_norm = options::real("max_norm", max_norm, "a number above 0", |norm| norm > 0.0)?;
    let list = with_gradients(params)?;
    let set = InstructionSet::current();
    let mut norm = JointNorm::default();
    let mut at_fault = None;
    for parameter in &list {
        let this = parameter.get();
        with_parameters!(this.memory(), parameters => {
            norm.add(set, parameters.gradients()?.slice(this.index()));
        });
        if at_fault.is_none() && !norm.value().is_finite() {
            at_fault = Some(this.label());
        }
    }
    if error_if_nonfinite && let Some(name) = at_fault {
        return Err(NonFiniteError::new_err(format!(
            "the gradient of {name} is NaN or infinite; gradients were not clipped"
        )));
    }
    let factor = norm.factor(max_norm);
    // The factor is never above one; NaN must reach the gradients.
    let unchanged = factor >= 1.0;
    if !unchanged {
        for parameter in &list {
            let this = parameter.get();
            with_parameters!(this.memory(), parameters => {
                clip::scale(parameters.gradients()?.slice_mut(this.index()), factor);
            });
        }
    }
    Ok(norm.value())
}

/// Cut every element of the gradients to ``-value`` to ``value``.
///
/// Parameters
/// ----------
/// params : iterable of Parameter
/// value : float
///     Above 0.
///
/// Raises
/// ------
/// ConfigError
///     If ``value`` isn't above 0.
#[pyfunction]
pub fn clip_grad_value_(params: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
    let value = options::real("value", value, "a number above 0", |value| value > 0.0)?;
    for parameter in with_gradients(params)? {
        let this = parameter.get();
        with_parameters!(this.memory(), parameters => {
            clip::clamp(parameters.gradients()?.slice_mut(this.index()), value);
        });
    }
    Ok(())
}
