//! Optimizers and gradient clipping.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use numpy::PyUntypedArrayMethods;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyMappingProxy, PyTuple};

use super::arrays::{self, Contiguous, Number};
use super::errors::NonFiniteError;
use super::options;
use super::parameter::{AnyParameters, Parameter, with_parameters};
use super::run;
use crate::error::{Error, shape_text};
use crate::memory::copied_vec;
use crate::optimizers::clip::{self, JointNorm};
use crate::optimizers::{Adam as AdamRule, Memory, RmsProp as RmsPropRule, Rule, Sgd as SgdRule};
use crate::parameters::Parameters;
use crate::simd::InstructionSet;

/// Which optimizer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sgd,
    Adam,
    AdamW,
    RmsProp,
}

/// A group's options, as Python has them, turned into a rule.
fn rule(kind: Kind, group: &Bound<'_, PyDict>) -> PyResult<Rule> {
    let get = |name: &str| -> PyResult<Bound<'_, PyAny>> {
        group.get_item(name)?.ok_or_else(|| {
            Error::config(
                "params",
                format!("a group with {name:?}"),
                options::shown(group),
            )
            .into()
        })
    };
    let number = |name: &'static str| options::non_negative(name, &get(name)?);
    let below_one = |name: &'static str, value: &Bound<'_, PyAny>| {
        options::real(name, value, "a number from 0 to below 1", |number| {
            (0.0..1.0).contains(&number)
        })
    };
    let flag = |name: &'static str| options::boolean(name, &get(name)?);
    let (lr, weight_decay, maximize) = (number("lr")?, number("weight_decay")?, flag("maximize")?);
    Ok(match kind {
        Kind::Sgd => {
            let rule = SgdRule {
                lr,
                momentum: number("momentum")?,
                dampening: options::real(
                    "dampening",
                    &get("dampening")?,
                    "a finite number",
                    f64::is_finite,
                )?,
                weight_decay,
                nesterov: flag("nesterov")?,
                maximize,
            };
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
            Rule::Sgd(rule)
        }
        Kind::Adam | Kind::AdamW => {
            let betas = get("betas")?;
            let pair: Vec<Bound<'_, PyAny>> = betas
                .try_iter()
                .and_then(Iterator::collect)
                .unwrap_or_default();
            let [first, second] = pair.as_slice() else {
                return Err(
                    Error::dtype("betas", "a pair of numbers", options::shown(&betas)).into(),
                );
            };
            Rule::Adam(AdamRule {
                lr,
                betas: (
                    below_one("betas[0]", first)?,
                    below_one("betas[1]", second)?,
                ),
                eps: number("eps")?,
                weight_decay,
                amsgrad: flag("amsgrad")?,
                maximize,
                decoupled: kind == Kind::AdamW,
            })
        }
        Kind::RmsProp => Rule::RmsProp(RmsPropRule {
            lr,
            alpha: options::real("alpha", &get("alpha")?, "a number from 0 to 1", |number| {
                (0.0..=1.0).contains(&number)
            })?,
            eps: number("eps")?,
            weight_decay,
            momentum: number("momentum")?,
            centered: flag("centered")?,
            maximize,
        }),
    })
}

/// A rule's options, as Python has them.
fn group_options<'py>(py: Python<'py>, rule: &Rule) -> PyResult<Bound<'py, PyDict>> {
    let group = PyDict::new(py);
    match rule {
        Rule::Sgd(rule) => {
            group.set_item("lr", rule.lr)?;
            group.set_item("momentum", rule.momentum)?;
            group.set_item("dampening", rule.dampening)?;
            group.set_item("weight_decay", rule.weight_decay)?;
            group.set_item("nesterov", rule.nesterov)?;
            group.set_item("maximize", rule.maximize)?;
        }
        Rule::Adam(rule) => {
            group.set_item("lr", rule.lr)?;
            group.set_item("betas", rule.betas)?;
            group.set_item("eps", rule.eps)?;
            group.set_item("weight_decay", rule.weight_decay)?;
            group.set_item("amsgrad", rule.amsgrad)?;
            group.set_item("maximize", rule.maximize)?;
        }
        Rule::RmsProp(rule) => {
            group.set_item("lr", rule.lr)?;
            group.set_item("alpha", rule.alpha)?;
            group.set_item("eps", rule.eps)?;
            group.set_item("weight_decay", rule.weight_decay)?;
            group.set_item("momentum", rule.momentum)?;
            group.set_item("centered", rule.centered)?;
            group.set_item("maximize", rule.maximize)?;
        }
    }
    Ok(group)
}

fn lr_mut(rule: &mut Rule) -> &mut f64 {
    match rule {
        Rule::Sgd(rule) => &mut rule.lr,
        Rule::Adam(rule) => &mut rule.lr,
        Rule::RmsProp(rule) => &mut rule.lr,
    }
}

/// What is remembered about one parameter, of either precision; nothing before its first update.
enum AnyMemory {
    Single(Option<Memory<f32>>),
    Double(Option<Memory<f64>>),
}

impl AnyMemory {
    /// A copy.
    fn duplicate(&self) -> crate::error::Result<Self> {
        Ok(match self {
            Self::Single(memory) => Self::Single(duplicate(memory.as_ref())?),
            Self::Double(memory) => Self::Double(duplicate(memory.as_ref())?),
        })
    }
}

fn duplicate<F: Number>(memory: Option<&Memory<F>>) -> crate::error::Result<Option<Memory<F>>> {
    let Some(memory) = memory else {
        return Ok(None);
    };
    let arrays = memory
        .arrays
        .iter()
        .map(|(name, values)| Ok((*name, copied_vec(values)?)))
        .collect::<crate::error::Result<_>>()?;
    Ok(Some(Memory {
        updates: memory.updates,
        arrays,
    }))
}

/// A group's rule and what it remembers about each of its parameters.
struct GroupState {
    rule: Rule,
    memories: Vec<AnyMemory>,
}

/// Base of the optimizers.
///
/// Mathematics, options and defaults are PyTorch's. ``params`` is an iterable of parameters, or of
/// groups: dicts with ``"params"`` and options of their own.
#[pyclass(frozen, subclass, weakref, module = "recurrust._core")]
pub struct Optimizer {
    kind: Kind,
    /// Parameters by group; never changes.
    groups: Vec<Vec<Py<Parameter>>>,
    /// One entry a group. Nothing of Python is touched while this is locked: it may run anybody's
    /// code, which may come back here.
    states: Mutex<Vec<GroupState>>,
}

impl Optimizer {
    fn new(kind: Kind, params: &Bound<'_, PyAny>, defaults: &Bound<'_, PyDict>) -> PyResult<Self> {
        let items = listed(params)?;
        if items.is_empty() {
            return Err(Error::config("params", "at least one parameter", "none").into());
        }
        // Defaults are checked even where every group has its own.
        let default_rule = rule(kind, defaults)?;
        let mut groups = Vec::new();
        let mut rules = Vec::new();
        let mut seen = HashSet::new();
        if items[0].is_instance_of::<PyDict>() {
            for item in &items {
                let Ok(given) = item.cast::<PyDict>() else {
                    return Err(Error::dtype(
                        "params",
                        "only groups or only parameters",
                        options::shown(item),
                    )
                    .into());
                };
                let merged = defaults.copy()?;
                let mut members = None;
                for (key, value) in given {
                    let name: String = key.extract()?;
                    if name == "params" {
                        members = Some(value);
                    } else if defaults.contains(&key)? {
                        merged.set_item(key, value)?;
                    } else {
                        return Err(Error::config(
                            "params",
                            format!(
                                "a group with options among {}",
                                options::shown(&defaults.keys())
                            ),
                            format!("{name:?}"),
                        )
                        .into());
                    }
                }
                let members = members.ok_or_else(|| {
                    PyErr::from(Error::config(
                        "params",
                        "a group with \"params\"",
                        options::shown(item),
                    ))
                })?;
                let list = if members.is_instance_of::<Parameter>() {
                    vec![members]
                } else {
                    listed(&members)?
                };
                rules.push(rule(kind, &merged)?);
                groups.push(self::members(&list, &mut seen)?);
            }
        } else {
            rules.push(default_rule);
            groups.push(members(&items, &mut seen)?);
        }
        let states = rules
            .into_iter()
            .zip(&groups)
            .map(|(rule, members)| GroupState {
                rule,
                memories: members
                    .iter()
                    .map(|member| no_memory(member.get()))
                    .collect(),
            })
            .collect();
        Ok(Self {
            kind,
            groups,
            states: Mutex::new(states),
        })
    }

    /// The states, locked. A lock is never waited for while holding the interpreter; see
    /// `run::with_reading`.
    fn states(&self, py: Python<'_>) -> MutexGuard<'_, Vec<GroupState>> {
        loop {
            match self.states.try_lock() {
                Ok(states) => return states,
                Err(std::sync::TryLockError::Poisoned(poisoned)) => return poisoned.into_inner(),
                Err(std::sync::TryLockError::WouldBlock) => py.detach(|| {
                    drop(self.states.lock().unwrap_or_else(PoisonError::into_inner));
                }),
            }
        }
    }

    /// Each group's rule, as it is now.
    fn rules(&self, py: Python<'_>) -> Vec<Rule> {
        self.states(py)
            .iter()
            .map(|state| state.rule.clone())
            .collect()
    }

    /// Each group's options and parameters.
    fn group_dicts<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let pairs = self.groups.iter().zip(self.rules(py));
        pairs
            .map(|(members, rule)| {
                let group = group_options(py, &rule)?;
                group.set_item("params", PyList::new(py, members)?)?;
                Ok(group)
            })
            .collect()
    }

    /// A copy of everything that changes.
    fn snapshot(&self, py: Python<'_>) -> crate::error::Result<Vec<GroupState>> {
        self.states(py)
            .iter()
            .map(|state| {
                let memories = state.memories.iter().map(AnyMemory::duplicate);
                Ok(GroupState {
                    rule: state.rule.clone(),
                    memories: memories.collect::<crate::error::Result<_>>()?,
                })
            })
            .collect()
    }
}

/// The items of an iterable.
fn listed<'py>(params: &Bound<'py, PyAny>) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let items = params.try_iter().map_err(|_| {
        PyErr::from(Error::dtype(
            "params",
            "an iterable of parameters or of groups",
            options::shown(params),
        ))
    })?;
    items.collect()
}

/// The memory of a parameter that was never updated.
fn no_memory(parameter: &Parameter) -> AnyMemory {
    match parameter.memory() {
        AnyParameters::Single(_) => AnyMemory::Single(None),
        AnyParameters::Double(_) => AnyMemory::Double(None),
    }
}

fn shape_of(parameter: &Parameter) -> &[usize] {
    &parameter.memory().entries()[parameter.index()].shape
}

/// Items as parameters, each at most once in an optimizer.
fn members(
    items: &[Bound<'_, PyAny>],
    seen: &mut HashSet<(usize, usize)>,
) -> PyResult<Vec<Py<Parameter>>> {
    items
        .iter()
        .map(|item| {
            let parameter = parameter_of(item)?;
            if !seen.insert(identity(parameter.get())) {
                return Err(Error::config(
                    "params",
                    "each parameter once",
                    format!("{} twice", parameter.get().label()),
                )
                .into());
            }
            Ok(parameter.clone().unbind())
        })
        .collect()
}

fn parameter_of<'a, 'py>(item: &'a Bound<'py, PyAny>) -> PyResult<&'a Bound<'py, Parameter>> {
    item.cast::<Parameter>().map_err(|_| {
        Error::dtype(
            "params",
            "rr.Parameter objects, e.g. layer.parameters()",
            options::shown(item),
        )
        .into()
    })
}

/// Tells parameters apart: the module's memory and the place in it.
fn identity(parameter: &Parameter) -> (usize, usize) {
    let memory = with_parameters!(parameter.memory(), parameters => {
        Arc::as_ptr(parameters).addr()
    });
    (memory, parameter.index())
}

/// One update that is ready to run.
type Update<'a, F> = (usize, &'a Rule, &'a mut Memory<F>);

/// The updates of one layer's parameters: nothing in them can fail, and readers of the layer see
/// all of them or none.
type LayerUpdates<'a, F> = (&'a Arc<Parameters<F>>, Vec<Update<'a, F>>);

/// Adds an update to those of its layer.
fn queue<'a, F: Number>(
    layers: &mut Vec<LayerUpdates<'a, F>>,
    parameters: &'a Arc<Parameters<F>>,
    update: Update<'a, F>,
) {
    match layers.last_mut() {
        Some((last, updates)) if Arc::ptr_eq(last, parameters) => updates.push(update),
        _ => layers.push((parameters, vec![update])),
    }
}

/// Makes sure that a memory exists.
fn remember<'a, F: Number>(
    rule: &Rule,
    parameters: &Parameters<F>,
    index: usize,
    memory: &'a mut Option<Memory<F>>,
) -> PyResult<&'a mut Memory<F>> {
    if memory.is_none() {
        *memory = Some(rule.memory(parameters.entries()[index].range().len())?);
    }
    memory
        .as_mut()
        .ok_or_else(|| Error::State("optimizer: no memory".to_owned()).into())
}

fn apply<F: Number>(layers: Vec<LayerUpdates<'_, F>>) -> crate::error::Result<()> {
    let set = InstructionSet::current();
    for (parameters, updates) in layers {
        // Values before gradients, as the backward pass does: two orders would be a deadlock.
        let mut writing = parameters.write();
        let gradients = parameters.gradients()?;
        for (index, rule, memory) in updates {
            rule.update(
                set,
                writing.slice_mut(index),
                gradients.slice(index),
                memory,
            );
        }
    }
    Ok(())
}

#[pymethods]
impl Optimizer {
    /// Update every parameter once, from its gradient.
    ///
    /// Parameters of layers that never had a gradient are left alone.
    fn step(&self, py: Python<'_>) -> PyResult<()> {
        let mut states = self.states(py);
        let (mut single, mut double) = (Vec::new(), Vec::new());
        for (members, GroupState { rule, memories }) in self.groups.iter().zip(states.iter_mut()) {
            for (member, memory) in members.iter().zip(memories) {
                let (parameters, index) = (member.get().memory(), member.get().index());
                if !with_parameters!(parameters, typed => typed.has_gradients()) {
                    continue;
                }
                match (parameters, memory) {
                    (AnyParameters::Single(parameters), AnyMemory::Single(memory)) => {
                        let memory = remember(rule, parameters, index, memory)?;
                        queue(&mut single, parameters, (index, &*rule, memory));
                    }
                    (AnyParameters::Double(parameters), AnyMemory::Double(memory)) => {
                        let memory = remember(rule, parameters, index, memory)?;
                        queue(&mut double, parameters, (index, &*rule, memory));
                    }
                    // A memory is made with its parameter's precision.
                    _ => {}
                }
            }
        }
        // Before anything is changed.
        for (parameters, _) in &single {
            run::check_writable(parameters)?;
        }
        for (parameters, _) in &double {
            run::check_writable(parameters)?;
        }
        py.detach(|| apply(single).and_then(|()| apply(double)))?;
        Ok(())
    }

    /// Set the gradients of all parameters to zero.
    fn zero_grad(&self) -> PyResult<()> {
        let mut parameters = self.groups.iter().flatten();
        parameters.try_for_each(|parameter| clear(parameter.get()))
    }

    /// The learning rate of the first group; setting it sets that of all groups.
    #[getter]
    fn lr(&self, py: Python<'_>) -> f64 {
        self.states(py)
            .first_mut()
            .map_or(0.0, |state| *lr_mut(&mut state.rule))
    }

    #[setter]
    fn set_lr(&self, lr: &Bound<'_, PyAny>) -> PyResult<()> {
        let value = options::non_negative("lr", lr)?;
        for state in self.states(lr.py()).iter_mut() {
            *lr_mut(&mut state.rule) = value;
        }
        Ok(())
    }

    /// The groups: their parameters and options, as they are now, read-only. Change the learning
    /// rate through ``lr``.
    #[getter]
    fn param_groups<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let groups = self.group_dicts(py)?;
        PyList::new(
            py,
            groups
                .iter()
                .map(|group| PyMappingProxy::new(py, group.as_mapping())),
        )
    }

    /// What the optimizer remembers, as copies.
    ///
    /// Returns
    /// -------
    /// dict
    ///     ``"state"``: for each parameter that was updated, by its number, the count ``"step"``
    ///     and the arrays; ``"param_groups"``: options and numbers of the parameters.
    fn state_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let (state, list) = (PyDict::new(py), PyList::empty(py));
        let mut number = 0usize;
        for (members, GroupState { rule, memories }) in self.groups.iter().zip(self.snapshot(py)?) {
            let numbers = PyList::empty(py);
            for (member, memory) in members.iter().zip(memories) {
                let shape = shape_of(member.get());
                let entry = match memory {
                    AnyMemory::Single(Some(memory)) => Some(memory_dict(py, memory, shape)?),
                    AnyMemory::Double(Some(memory)) => Some(memory_dict(py, memory, shape)?),
                    AnyMemory::Single(None) | AnyMemory::Double(None) => None,
                };
                if let Some(entry) = entry {
                    state.set_item(number, entry)?;
                }
                numbers.append(number)?;
                number += 1;
            }
            let entry = group_options(py, &rule)?;
            entry.set_item("params", numbers)?;
            list.append(entry)?;
        }
        let all = PyDict::new(py);
        all.set_item("state", state)?;
        all.set_item("param_groups", list)?;
        Ok(all)
    }

    /// Take over what another optimizer of the same kind remembered, all or nothing.
    ///
    /// Parameters
    /// ----------
    /// state : dict
    ///     From ``state_dict()`` of an optimizer of equally many parameters of the same shapes.
    ///
    /// Raises
    /// ------
    /// ShapeError, ConfigError, DtypeError
    ///     If it doesn't fit; nothing has changed then.
    fn load_state_dict(&self, state: &Bound<'_, PyAny>) -> PyResult<()> {
        let foreign = |what: &str| -> PyErr {
            Error::config(
                "state",
                "a dict from state_dict() of such an optimizer",
                what.to_owned(),
            )
            .into()
        };
        let item = |name: &str| {
            state
                .get_item(name)
                .map_err(|_| foreign(&format!("one without {name:?}")))
        };
        let (memories, list) = (item("state")?, item("param_groups")?);
        let memories = memories
            .cast_into::<PyDict>()
            .map_err(|_| foreign("\"state\" that is no dict"))?;
        let list: Vec<Bound<'_, PyDict>> = list
            .extract()
            .map_err(|_| foreign("\"param_groups\" that is no list of dicts"))?;
        if list.len() != self.groups.len() {
            return Err(foreign(&format!(
                "{} groups where there are {}",
                list.len(),
                self.groups.len()
            )));
        }
        let mut loaded = Vec::new();
        let mut number = 0usize;
        for (members, options) in self.groups.iter().zip(&list) {
            let numbers = options
                .get_item("params")?
                .and_then(|numbers| numbers.len().ok());
            if numbers != Some(members.len()) {
                return Err(foreign("a group with another number of parameters"));
            }
            let rule = rule(self.kind, options)?;
            let mut fresh = Vec::new();
            for member in members {
                let given = memories.get_item(number)?;
                let shape = shape_of(member.get());
                fresh.push(match member.get().memory() {
                    AnyParameters::Single(_) => {
                        AnyMemory::Single(read_memory(given, &rule, shape, number)?)
                    }
                    AnyParameters::Double(_) => {
                        AnyMemory::Double(read_memory(given, &rule, shape, number)?)
                    }
                });
                number += 1;
            }
            loaded.push(GroupState {
                rule,
                memories: fresh,
            });
        }
        // Nothing can fail any more.
        *self.states(state.py()) = loaded;
        Ok(())
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyTuple>> {
        let (py, this) = (slf.py(), slf.get());
        let groups = this.group_dicts(py)?;
        let state = this.state_dict(py)?;
        (slf.get_type(), (groups,), state).into_pyobject(py)
    }

    fn __setstate__(&self, state: &Bound<'_, PyAny>) -> PyResult<()> {
        self.load_state_dict(state)
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let this = slf.get();
        let mut groups = Vec::new();
        for (members, rule) in this.groups.iter().zip(this.rules(slf.py())) {
            let mut parts = vec![format!("{} parameters", members.len())];
            for (name, value) in group_options(slf.py(), &rule)? {
                parts.push(format!("{name}={}", value.repr()?));
            }
            groups.push(parts.join(", "));
        }
        Ok(format!("{}({})", slf.get_type().name()?, groups.join("; ")))
    }
}

fn memory_dict<'py, F: Number>(
    py: Python<'py>,
    memory: Memory<F>,
    shape: &[usize],
) -> PyResult<Bound<'py, PyDict>> {
    let entry = PyDict::new(py);
    entry.set_item("step", memory.updates)?;
    for (name, values) in memory.arrays {
        entry.set_item(name, arrays::to_numpy(py, values, shape)?)?;
    }
    Ok(entry)
}

/// A parameter's memory from its entry in a state dict.
fn read_memory<F: Number>(
    given: Option<Bound<'_, PyAny>>,
    rule: &Rule,
    shape: &[usize],
    number: usize,
) -> PyResult<Option<Memory<F>>> {
    let Some(given) = given else { return Ok(None) };
    let item = |name: &str| {
        given.get_item(name).map_err(|_| {
            PyErr::from(Error::config(
                "state",
                format!("{name:?} for parameter {number}"),
                options::shown(&given),
            ))
        })
    };
    // PyTorch keeps it as a tensor of one float.
    let (counts, _) = arrays::integers(&item("step")?, "step", true)?;
    let updates = match counts.as_slice() {
        [count] => u64::try_from(*count).ok(),
        _ => None,
    }
    .ok_or_else(|| {
        PyErr::from(Error::config(
            "step",
            "one count, 0 or more",
            format!("{counts:?}"),
        ))
    })?;
    let arrays = rule
        .memory_names()
        .into_iter()
        .map(|name| {
            let label = format!("state of parameter {number}: {name}");
            let array = arrays::numbers(&item(name)?, &label)?;
            if array.shape() != shape {
                return Err(PyErr::from(Error::shape(
                    label,
                    format!("shape {}", shape_text(shape)),
                    shape_text(array.shape()),
                )));
            }
            Ok((name, copied_vec(Contiguous::<F>::new(&array)?.as_slice())?))
        })
        .collect::<PyResult<Vec<_>>>()?;
    Ok(Some(Memory { updates, arrays }))
}

/// Options of one optimizer as a dict, from what was given and PyTorch's defaults.
macro_rules! defaults {
    ($py:expr, $($name:ident = $default:expr),* $(,)?) => {{
        let options = PyDict::new($py);
        $(match $name {
            Some(value) => options.set_item(stringify!($name), value)?,
            None => options.set_item(stringify!($name), $default)?,
        })*
        options
    }};
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
        let options = defaults!(
            params.py(),
            lr = 1e-3,
            momentum = 0.0,
            dampening = 0.0,
            weight_decay = 0.0,
            nesterov = false,
            maximize = false,
        );
        let optimizer = Optimizer::new(Kind::Sgd, params, &options)?;
        Ok(PyClassInitializer::from(optimizer).add_subclass(Self))
    }
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

macro_rules! adam {
    ($class:ident, $kind:expr, $weight_decay:literal, $signature:literal) => {
        #[pymethods]
        impl $class {
            #[new]
            #[pyo3(
                signature = (params, lr = None, betas = None, eps = None, weight_decay = None, amsgrad = None, *, maximize = None),
                text_signature = $signature
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
                let options = defaults!(
                    params.py(),
                    lr = 1e-3,
                    betas = (0.9, 0.999),
                    eps = 1e-8,
                    weight_decay = $weight_decay,
                    amsgrad = false,
                    maximize = false,
                );
                let optimizer = Optimizer::new($kind, params, &options)?;
                Ok(PyClassInitializer::from(optimizer).add_subclass(Self))
            }
        }
    };
}
adam!(
    Adam,
    Kind::Adam,
    0.0,
    "(params, lr=0.001, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.0, amsgrad=False, *, maximize=False)"
);
adam!(
    AdamW,
    Kind::AdamW,
    1e-2,
    "(params, lr=0.001, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.01, amsgrad=False, *, maximize=False)"
);

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
        let options = defaults!(
            params.py(),
            lr = 1e-2,
            alpha = 0.99,
            eps = 1e-8,
            weight_decay = 0.0,
            momentum = 0.0,
            centered = false,
            maximize = false,
        );
        let optimizer = Optimizer::new(Kind::RmsProp, params, &options)?;
        Ok(PyClassInitializer::from(optimizer).add_subclass(Self))
    }
}

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
fn clear(parameter: &Parameter) -> PyResult<()> {
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
