//! Losses of numbers.

use pyo3::prelude::*;

use super::loss::{Kind, Loss, Options};
use crate::bindings::options;
use crate::losses::regression::Regression;

/// The options of a loss.
pub(super) fn options(py: Python<'_>, loss: Regression) -> PyResult<Options<'_>> {
    let option = |name, value: f64| Ok(vec![(name, value.into_pyobject(py)?.into_any())]);
    match loss {
        Regression::Squared | Regression::Absolute => Ok(Vec::new()),
        Regression::Huber { delta } => option("delta", delta),
        Regression::SmoothL1 { beta } => option("beta", beta),
    }
}

/// Mean squared error: ``(pred - target)**2``.
///
/// Parameters
/// ----------
/// reduction : {"mean", "sum", "none"}, default "mean"
#[pyclass(name = "MSELoss", frozen, subclass, extends = Loss, module = "recurrust._core")]
pub struct MseLoss;

#[pymethods]
impl MseLoss {
    #[new]
    #[pyo3(signature = (*, reduction = None), text_signature = "(*, reduction='mean')")]
    fn new(reduction: Option<&Bound<'_, PyAny>>) -> PyResult<PyClassInitializer<Self>> {
        Loss::subclass(Self, Kind::Regression(Regression::Squared), reduction)
    }
}

/// Mean absolute error: ``|pred - target|``, with gradient 0 where both are equal.
///
/// Parameters
/// ----------
/// reduction : {"mean", "sum", "none"}, default "mean"
#[pyclass(name = "MAELoss", frozen, subclass, extends = Loss, module = "recurrust._core")]
pub struct MaeLoss;

#[pymethods]
impl MaeLoss {
    #[new]
    #[pyo3(signature = (*, reduction = None), text_signature = "(*, reduction='mean')")]
    fn new(reduction: Option<&Bound<'_, PyAny>>) -> PyResult<PyClassInitializer<Self>> {
        Loss::subclass(Self, Kind::Regression(Regression::Absolute), reduction)
    }
}

/// Huber's loss (1964): ``(pred - target)**2 / 2`` up to a distance of ``delta``, straight from
/// there on: ``delta * (|pred - target| - delta / 2)``.
///
/// Parameters
/// ----------
/// delta : float, default 1.0
///     Above 0.
/// reduction : {"mean", "sum", "none"}, default "mean"
///
/// Raises
/// ------
/// ConfigError, DtypeError
///     If an option can't have that value.
#[pyclass(frozen, subclass, extends = Loss, module = "recurrust._core")]
pub struct HuberLoss;

#[pymethods]
impl HuberLoss {
    #[new]
    #[pyo3(
        signature = (delta = None, *, reduction = None),
        text_signature = "(delta=1.0, *, reduction='mean')"
    )]
    fn new(
        delta: Option<&Bound<'_, PyAny>>,
        reduction: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let delta = delta.map_or(Ok(1.0), |delta| {
            options::real("delta", delta, "a finite number above 0", |delta| {
                delta.is_finite() && delta > 0.0
            })
        })?;
        Loss::subclass(
            Self,
            Kind::Regression(Regression::Huber { delta }),
            reduction,
        )
    }
}

/// Huber's loss divided by its distance ``beta``: ``(pred - target)**2 / (2 * beta)``, then
/// ``|pred - target| - beta / 2``.
///
/// Parameters
/// ----------
/// beta : float, default 1.0
///     0 or more; with 0 it is ``MAELoss``.
/// reduction : {"mean", "sum", "none"}, default "mean"
///
/// Raises
/// ------
/// ConfigError, DtypeError
///     If an option can't have that value.
#[pyclass(frozen, subclass, extends = Loss, module = "recurrust._core")]
pub struct SmoothL1Loss;

#[pymethods]
impl SmoothL1Loss {
    #[new]
    #[pyo3(
        signature = (beta = None, *, reduction = None),
        text_signature = "(beta=1.0, *, reduction='mean')"
    )]
    fn new(
        beta: Option<&Bound<'_, PyAny>>,
        reduction: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let beta = beta.map_or(Ok(1.0), |beta| options::non_negative("beta", beta))?;
        Loss::subclass(
            Self,
            Kind::Regression(Regression::SmoothL1 { beta }),
            reduction,
        )
    }
}
