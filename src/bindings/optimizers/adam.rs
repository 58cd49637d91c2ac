//! Adam and AdamW.

use pyo3::prelude::*;

use super::group::Group;
use super::optimizer::Optimizer;
use crate::optimizers::{Adam as AdamRule, Rule};

/// The options in their order.
pub(super) fn options(rule: &mut AdamRule, group: &Group<'_, '_>) -> PyResult<()> {
    group.non_negative("lr", &mut rule.lr)?;
    group.betas(&mut rule.betas)?;
    group.non_negative("eps", &mut rule.eps)?;
    group.non_negative("weight_decay", &mut rule.weight_decay)?;
    group.flag("amsgrad", &mut rule.amsgrad)?;
    group.flag("maximize", &mut rule.maximize)
}

/// Adam (Kingma and Ba 2015).
///
/// Parameters
/// ----------
/// params : iterable of Parameter or of dict
///     Parameters, or groups with options of their own.
/// lr : float, default 1e-3
///     Learning rate, 0 or more.
/// betas : tuple of (float, float), default (0.9, 0.999)
///     Decay rates of the two moments, 0 to below 1.
/// eps : float, default 1e-8
///     Added to the root of the second moment.
/// weight_decay : float, default 0
///     L2 penalty.
/// amsgrad : bool, default False
///     Divide by the largest second moment so far (Reddi et al. 2018).
/// maximize : bool, default False
///     Climb instead of descend.
///
/// Raises
/// ------
/// ConfigError, DtypeError
///     If an option can't have that value.
#[pyclass(frozen, subclass, extends = Optimizer, module = "recurrust._core")]
pub struct Adam;

#[pymethods]
impl Adam {
    #[new]
    #[pyo3(
        signature = (params, lr = None, betas = None, eps = None, weight_decay = None, amsgrad = None, *, maximize = None),
        text_signature = "(params, lr=0.001, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.0, amsgrad=False, *, maximize=False)"
    )]
    fn new(
        params: &Bound<'_, PyAny>,
        lr: Option<&Bound<'_, PyAny>>,
        betas: Option<&Bound<'_, PyAny>>,
        eps: Option<&Bound<'_, PyAny>>,
        weight_decay: Option<&Bound<'_, PyAny>>,
        amsgrad: Option<&Bound<'_, PyAny>>,
        maximize: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let given = [
            ("lr", lr),
            ("betas", betas),
            ("eps", eps),
            ("weight_decay", weight_decay),
            ("amsgrad", amsgrad),
            ("maximize", maximize),
        ];
        Optimizer::subclass(Self, Rule::Adam(AdamRule::default()), params, &given)
    }
}

/// Adam with decoupled weight decay (Loshchilov and Hutter 2019).
///
/// Parameters
/// ----------
/// params, lr, betas, eps, amsgrad, maximize
///     As for ``Adam``.
/// weight_decay : float, default 1e-2
///     Share of each weight taken away at each step, times ``lr``.
#[pyclass(frozen, subclass, extends = Optimizer, module = "recurrust._core")]
pub struct AdamW;

#[pymethods]
impl AdamW {
    #[new]
    #[pyo3(
        signature = (params, lr = None, betas = None, eps = None, weight_decay = None, amsgrad = None, *, maximize = None),
        text_signature = "(params, lr=0.001, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.01, amsgrad=False, *, maximize=False)"
    )]
    fn new(
        params: &Bound<'_, PyAny>,
        lr: Option<&Bound<'_, PyAny>>,
        betas: Option<&Bound<'_, PyAny>>,
        eps: Option<&Bound<'_, PyAny>>,
        weight_decay: Option<&Bound<'_, PyAny>>,
        amsgrad: Option<&Bound<'_, PyAny>>,
        maximize: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let given = [
            ("lr", lr),
            ("betas", betas),
            ("eps", eps),
            ("weight_decay", weight_decay),
            ("amsgrad", amsgrad),
            ("maximize", maximize),
        ];
        Optimizer::subclass(Self, Rule::Adam(AdamRule::adamw()), params, &given)
    }
}
