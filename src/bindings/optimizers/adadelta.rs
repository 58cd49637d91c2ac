//! Adadelta.

use pyo3::prelude::*;

use super::group::Group;
use super::optimizer::Optimizer;
use crate::optimizers::{Adadelta as AdadeltaRule, Rule};

/// The options in their order.
pub(super) fn options(rule: &mut AdadeltaRule, group: &Group<'_, '_>) -> PyResult<()> {
    group.non_negative("lr", &mut rule.lr)?;
    group.share("rho", &mut rule.rho)?;
    group.non_negative("eps", &mut rule.eps)?;
    group.non_negative("weight_decay", &mut rule.weight_decay)?;
    group.flag("maximize", &mut rule.maximize)
}

/// Adadelta (Zeiler 2012): each step is as long as the steps before it were, for gradients as before.
///
/// Parameters
/// ----------
/// params : iterable of Parameter or of dict
///     Parameters, or groups with options of their own.
/// lr : float, default 1.0
///     Factor of the steps, 0 or more.
/// rho : float, default 0.9
///     Decay rate of the mean squares of gradients and of steps, 0 to 1.
/// eps : float, default 1e-6
///     Added to the mean squares, inside of their roots.
/// weight_decay : float, default 0
///     L2 penalty.
/// maximize : bool, default False
///     Climb instead of descend.
///
/// Raises
/// ------
/// ConfigError, DtypeError
///     If an option can't have that value.
#[pyclass(frozen, subclass, extends = Optimizer, module = "recurrust._core")]
pub struct Adadelta;

#[pymethods]
impl Adadelta {
    #[new]
    #[pyo3(
        signature = (params, lr = None, rho = None, eps = None, weight_decay = None, *, maximize = None),
        text_signature = "(params, lr=1.0, rho=0.9, eps=1e-06, weight_decay=0.0, *, maximize=False)"
    )]
    fn new(
        params: &Bound<'_, PyAny>,
        lr: Option<&Bound<'_, PyAny>>,
        rho: Option<&Bound<'_, PyAny>>,
        eps: Option<&Bound<'_, PyAny>>,
        weight_decay: Option<&Bound<'_, PyAny>>,
        maximize: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let given = [
            ("lr", lr),
            ("rho", rho),
            ("eps", eps),
            ("weight_decay", weight_decay),
            ("maximize", maximize),
        ];
        Optimizer::subclass(
            Self,
            Rule::Adadelta(AdadeltaRule::default()),
            params,
            &given,
        )
    }
}
