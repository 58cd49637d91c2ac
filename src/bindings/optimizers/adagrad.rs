//! Adagrad.

use pyo3::prelude::*;

use super::group::Group;
use super::optimizer::Optimizer;
use crate::optimizers::{Adagrad as AdagradRule, Rule};

/// The options in their order.
pub(super) fn options(rule: &mut AdagradRule, group: &Group<'_, '_>) -> PyResult<()> {
    group.non_negative("lr", &mut rule.lr)?;
    group.non_negative("lr_decay", &mut rule.lr_decay)?;
    group.non_negative("weight_decay", &mut rule.weight_decay)?;
    group.non_negative(
        "initial_accumulator_value",
        &mut rule.initial_accumulator_value,
    )?;
    group.non_negative("eps", &mut rule.eps)?;
    group.flag("maximize", &mut rule.maximize)
}

/// Adagrad (Duchi, Hazan and Singer 2011).
///
/// Parameters
/// ----------
/// params : iterable of Parameter or of dict
///     Parameters, or groups with options of their own.
/// lr : float, default 1e-2
///     Learning rate, 0 or more.
/// lr_decay : float, default 0
///     The n-th step's learning rate is ``lr / (1 + (n - 1) * lr_decay)``.
/// weight_decay : float, default 0
///     L2 penalty.
/// initial_accumulator_value : float, default 0
///     What the sum of squared gradients starts from.
/// eps : float, default 1e-10
///     Added to the root of the sum.
/// maximize : bool, default False
///     Climb instead of descend.
///
/// Raises
/// ------
/// ConfigError, DtypeError
///     If an option can't have that value.
#[pyclass(frozen, subclass, extends = Optimizer, module = "recurrust._core")]
pub struct Adagrad;

#[pymethods]
impl Adagrad {
    #[new]
    #[pyo3(
        signature = (params, lr = None, lr_decay = None, weight_decay = None, initial_accumulator_value = None, eps = None, *, maximize = None),
        text_signature = "(params, lr=0.01, lr_decay=0.0, weight_decay=0.0, initial_accumulator_value=0.0, eps=1e-10, *, maximize=False)"
    )]
    fn new(
        params: &Bound<'_, PyAny>,
        lr: Option<&Bound<'_, PyAny>>,
        lr_decay: Option<&Bound<'_, PyAny>>,
        weight_decay: Option<&Bound<'_, PyAny>>,
        initial_accumulator_value: Option<&Bound<'_, PyAny>>,
        eps: Option<&Bound<'_, PyAny>>,
        maximize: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let given = [
            ("lr", lr),
            ("lr_decay", lr_decay),
            ("weight_decay", weight_decay),
            ("initial_accumulator_value", initial_accumulator_value),
            ("eps", eps),
            ("maximize", maximize),
        ];
        Optimizer::subclass(Self, Rule::Adagrad(AdagradRule::default()), params, &given)
    }
}
