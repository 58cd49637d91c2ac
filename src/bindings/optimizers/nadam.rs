//! NAdam.

use pyo3::prelude::*;

use super::group::Group;
use super::optimizer::Optimizer;
use crate::optimizers::{NAdam as NAdamRule, Rule};

/// The options in their order.
pub(super) fn options(rule: &mut NAdamRule, group: &Group<'_, '_>) -> PyResult<()> {
    group.non_negative("lr", &mut rule.lr)?;
    group.betas(&mut rule.betas)?;
    group.non_negative("eps", &mut rule.eps)?;
    group.non_negative("weight_decay", &mut rule.weight_decay)?;
    group.non_negative("momentum_decay", &mut rule.momentum_decay)?;
    group.flag("decoupled_weight_decay", &mut rule.decoupled)?;
    group.flag("maximize", &mut rule.maximize)
}

/// NAdam: Adam with Nesterov's momentum (Dozat 2016).
///
/// Parameters
/// ----------
/// params : iterable of Parameter or of dict
///     Parameters, or groups with options of their own.
/// lr : float, default 2e-3
///     Learning rate, 0 or more.
/// betas : tuple of (float, float), default (0.9, 0.999)
///     Decay rates of the two moments, 0 to below 1.
/// eps : float, default 1e-8
///     Added to the root of the second moment.
/// weight_decay : float, default 0
///     L2 penalty, or decay of the weights themselves when it is decoupled.
/// momentum_decay : float, default 4e-3
///     How soon the momentum, which starts from half of ``betas[0]``, reaches it; 0 or more.
/// decoupled_weight_decay : bool, default False
///     Take ``lr * weight_decay`` of each weight away, as ``AdamW`` does.
/// maximize : bool, default False
///     Climb instead of descend.
///
/// Raises
/// ------
/// ConfigError, DtypeError
///     If an option can't have that value.
#[pyclass(frozen, subclass, extends = Optimizer, module = "recurrust._core")]
pub struct NAdam;

#[pymethods]
impl NAdam {
    #[new]
    #[pyo3(
        signature = (params, lr = None, betas = None, eps = None, weight_decay = None, momentum_decay = None, decoupled_weight_decay = None, *, maximize = None),
        text_signature = "(params, lr=0.002, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.0, momentum_decay=0.004, decoupled_weight_decay=False, *, maximize=False)"
    )]
    fn new(
        params: &Bound<'_, PyAny>,
        lr: Option<&Bound<'_, PyAny>>,
        betas: Option<&Bound<'_, PyAny>>,
        eps: Option<&Bound<'_, PyAny>>,
        weight_decay: Option<&Bound<'_, PyAny>>,
        momentum_decay: Option<&Bound<'_, PyAny>>,
        decoupled_weight_decay: Option<&Bound<'_, PyAny>>,
        maximize: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let given = [
            ("lr", lr),
            ("betas", betas),
            ("eps", eps),
            ("weight_decay", weight_decay),
            ("momentum_decay", momentum_decay),
            ("decoupled_weight_decay", decoupled_weight_decay),
            ("maximize", maximize),
        ];
        Optimizer::subclass(Self, Rule::NAdam(NAdamRule::default()), params, &given)
    }
}
