//! RMSprop.

use pyo3::prelude::*;

use super::group::Group;
use super::optimizer::Optimizer;
use crate::optimizers::{RmsProp as RmsPropRule, Rule};

/// The options in their order.
pub(super) fn options(rule: &mut RmsPropRule, group: &Group<'_, '_>) -> PyResult<()> {
    group.non_negative("lr", &mut rule.lr)?;
    group.share("alpha", &mut rule.alpha)?;
    group.non_negative("eps", &mut rule.eps)?;
    group.non_negative("weight_decay", &mut rule.weight_decay)?;
    group.non_negative("momentum", &mut rule.momentum)?;
    group.flag("centered", &mut rule.centered)?;
    group.flag("maximize", &mut rule.maximize)
}

/// RMSprop (Tieleman and Hinton 2012), centred as in Graves (2013).
///
/// Parameters
/// ----------
/// params : iterable of Parameter or of dict
///     Parameters, or groups with options of their own.
/// lr : float, default 1e-2
///     Learning rate, 0 or more.
/// alpha : float, default 0.99
///     Decay rate of the mean square, 0 to 1.
/// eps : float, default 1e-8
///     Added to the root of the mean square (outside of the root).
/// weight_decay, momentum : float, default 0
///     L2 penalty; factor of the velocity.
/// centered : bool, default False
///     Divide by the deviation rather than the root mean square.
/// maximize : bool, default False
///     Climb instead of descend.
///
/// Raises
/// ------
/// ConfigError, DtypeError
///     If an option can't have that value.
#[pyclass(name = "RMSprop", frozen, subclass, extends = Optimizer, module = "recurrust._core")]
pub struct RmsProp;

#[pymethods]
impl RmsProp {
    #[new]
    #[pyo3(
        signature = (params, lr = None, alpha = None, eps = None, weight_decay = None, momentum = None, centered = None, *, maximize = None),
        text_signature = "(params, lr=0.01, alpha=0.99, eps=1e-08, weight_decay=0.0, momentum=0.0, centered=False, *, maximize=False)"
    )]
    fn new(
        params: &Bound<'_, PyAny>,
        lr: Option<&Bound<'_, PyAny>>,
        alpha: Option<&Bound<'_, PyAny>>,
        eps: Option<&Bound<'_, PyAny>>,
        weight_decay: Option<&Bound<'_, PyAny>>,
        momentum: Option<&Bound<'_, PyAny>>,
        centered: Option<&Bound<'_, PyAny>>,
        maximize: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let given = [
            ("lr", lr),
            ("alpha", alpha),
            ("eps", eps),
            ("weight_decay", weight_decay),
            ("momentum", momentum),
            ("centered", centered),
            ("maximize", maximize),
        ];
        Optimizer::subclass(Self, Rule::RmsProp(RmsPropRule::default()), params, &given)
    }
}
