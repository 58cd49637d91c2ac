//! Stochastic gradient descent.

use pyo3::prelude::*;

use super::group::Group;
use super::optimizer::Optimizer;
use crate::error::Error;
use crate::optimizers::{Rule, Sgd as SgdRule};

/// The options in their order.
pub(super) fn options(rule: &mut SgdRule, group: &Group<'_, '_>) -> PyResult<()> {
    group.non_negative("lr", &mut rule.lr)?;
    group.non_negative("momentum", &mut rule.momentum)?;
    group.finite("dampening", &mut rule.dampening)?;
    group.non_negative("weight_decay", &mut rule.weight_decay)?;
    group.flag("nesterov", &mut rule.nesterov)?;
    group.flag("maximize", &mut rule.maximize)?;
    if rule.nesterov && (rule.momentum == 0.0 || rule.dampening != 0.0) {
        return Err(Error::config(
            "nesterov",
            "False unless momentum is positive and dampening zero",
            format!(
                "True with momentum={} and dampening={}",
                rule.momentum, rule.dampening
            ),
        )
        .into());
    }
    Ok(())
}

/// Stochastic gradient descent, with momentum (Sutskever et al. 2013).
///
/// Parameters
/// ----------
/// params : iterable of Parameter or of dict
///     Parameters, or groups with options of their own.
/// lr : float, default 1e-3
///     Learning rate, 0 or more.
/// momentum, dampening, weight_decay : float, default 0
///     Factor of the velocity; share of the gradient kept out of it; L2 penalty.
/// nesterov : bool, default False
///     Nesterov's look-ahead; needs momentum and no dampening.
/// maximize : bool, default False
///     Climb instead of descend.
///
/// Raises
/// ------
/// ConfigError, DtypeError
///     If an option can't have that value.
#[pyclass(name = "SGD", frozen, subclass, extends = Optimizer, module = "recurrust._core")]
pub struct Sgd;

#[pymethods]
impl Sgd {
    #[new]
    #[pyo3(
        signature = (params, lr = None, momentum = None, dampening = None, weight_decay = None, nesterov = None, *, maximize = None),
        text_signature = "(params, lr=0.001, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False, *, maximize=False)"
    )]
    fn new(
        params: &Bound<'_, PyAny>,
        lr: Option<&Bound<'_, PyAny>>,
        momentum: Option<&Bound<'_, PyAny>>,
        dampening: Option<&Bound<'_, PyAny>>,
        weight_decay: Option<&Bound<'_, PyAny>>,
        nesterov: Option<&Bound<'_, PyAny>>,
        maximize: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let given = [
            ("lr", lr),
            ("momentum", momentum),
            ("dampening", dampening),
            ("weight_decay", weight_decay),
            ("nesterov", nesterov),
            ("maximize", maximize),
        ];
        Optimizer::subclass(Self, Rule::Sgd(SgdRule::default()), params, &given)
    }
}
