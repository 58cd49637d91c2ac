//! Losses of predictions that describe a distribution.

use pyo3::prelude::*;

use super::loss::{Kind, Loss, Options};
use crate::bindings::arrays::{self, Contiguous};
use crate::bindings::options;
use crate::error::{Error, Result, shape_text};
use crate::losses::distribution::{Gaussian, Quantiles};
use crate::memory::copied_vec;

/// The shape of targets, each with so many predictions on the last axis.
pub(super) fn targets<'a>(shape: &'a [usize], width: usize, what: &str) -> Result<&'a [usize]> {
    match shape.split_last() {
        Some((&last, targets)) if last == width => Ok(targets),
        _ => Err(Error::shape(
            "pred",
            format!("(..., {width}), {what}"),
            shape_text(shape),
        )),
    }
}

/// The options of a quantile loss.
pub(super) fn quantiles_options<'py>(py: Python<'py>, loss: &Quantiles) -> PyResult<Options<'py>> {
    let levels = loss.levels.clone().into_pyobject(py)?;
    Ok(vec![("quantiles", levels.into_any())])
}

/// The options of a likelihood that aren't their defaults.
pub(super) fn gaussian_options(py: Python<'_>, loss: Gaussian) -> PyResult<Options<'_>> {
    let mut options: Options<'_> = Vec::new();
    if loss.full {
        options.push(("full", true.into_pyobject(py)?.to_owned().into_any()));
    }
    Ok(options)
}

/// Quantile (pinball) loss (Koenker and Bassett 1978). A prediction below its target costs ``q *
/// (target - pred)``, one above ``(1 - q) * (pred - target)``.
///
/// ``pred`` is (..., Q), ``target`` (...). A target's loss is the mean over its Q predictions; masks
/// and weights are those of targets.
///
/// Parameters
/// ----------
/// quantiles : array_like of float, shape (Q,)
///     Levels between 0 and 1, at least one, e.g. ``[0.1, 0.5, 0.9]``.
/// reduction : {"mean", "sum", "none"}, default "mean"
///
/// Raises
/// ------
/// ConfigError, DtypeError, ShapeError
///     If an option can't have that value.
#[pyclass(frozen, subclass, extends = Loss, module = "recurrust._core")]
pub struct QuantileLoss;

#[pymethods]
impl QuantileLoss {
    #[new]
    #[pyo3(
        signature = (quantiles, *, reduction = None),
        text_signature = "(quantiles, *, reduction='mean')"
    )]
    fn new(
        quantiles: &Bound<'_, PyAny>,
        reduction: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let array = arrays::numbers(quantiles, "quantiles")?;
        arrays::check_dimensions(&array, "quantiles", &[1], "levels of shape (Q,)")?;
        let levels = copied_vec(Contiguous::<f64>::new(&array)?.as_slice())?;
        if levels.is_empty() {
            return Err(
                Error::shape("quantiles", "at least one", options::shown(quantiles)).into(),
            );
        }
        let outside = |&level: &f64| !(level > 0.0 && level < 1.0);
        if let Some(index) = levels.iter().position(outside) {
            return Err(Error::config(
                format!("quantiles[{index}]"),
                "a number between 0 and 1",
                levels[index].to_string(),
            )
            .into());
        }
        Loss::subclass(Self, Kind::Quantiles(Quantiles { levels }), reduction)
    }
}

/// Negative log-likelihood of a normal distribution: ``(log_var + (target - mean)**2 /
/// exp(log_var)) / 2``.
///
/// ``pred`` is (..., 2), mean and logarithm of the variance; ``target`` is (...). The logarithm makes
/// every output of a network a variance. Masks and weights are those of targets.
///
/// Parameters
/// ----------
/// full : bool, default False
///     Add the constant, ``log(2 * pi) / 2``.
/// reduction : {"mean", "sum", "none"}, default "mean"
///
/// Raises
/// ------
/// ConfigError, DtypeError
///     If an option can't have that value.
#[pyclass(name = "GaussianNLLLoss", frozen, subclass, extends = Loss, module = "recurrust._core")]
pub struct GaussianNllLoss;

#[pymethods]
impl GaussianNllLoss {
    #[new]
    #[pyo3(
        signature = (*, full = None, reduction = None),
        text_signature = "(*, full=False, reduction='mean')"
    )]
    fn new(
        full: Option<&Bound<'_, PyAny>>,
        reduction: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let full = full.map_or(Ok(false), |full| options::boolean("full", full))?;
        Loss::subclass(Self, Kind::Gaussian(Gaussian { full }), reduction)
    }
}
