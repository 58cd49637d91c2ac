//! The base of the optimizers: groups of parameters, their rules, and what these remember.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use numpy::PyUntypedArrayMethods;
use pyo3::PyClass;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use super::clipping::clear;
use super::group;
use crate::bindings::arrays::{self, Contiguous, Number};
use crate::bindings::parameter::{AnyParameters, Parameter, with_parameters};
use crate::bindings::{options, run};
use crate::error::{Error, shape_text};
use crate::memory::copied_vec;
use crate::optimizers::{Memory, Rule};
use crate::parameters::Parameters;
use crate::simd::InstructionSet;

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

    /// A copy that has all arrays which a rule needs, for a parameter of so many elements.
    fn completed(&self, rule: &Rule, len: usize) -> crate::error::Result<Self> {
        let mut copy = self.duplicate()?;
        match &mut copy {
            Self::Single(Some(memory)) => rule.complete(memory, len)?,
            Self::Double(Some(memory)) => rule.complete(memory, len)?,
            Self::Single(None) | Self::Double(None) => {}
        }
        Ok(copy)
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
        product: memory.product,
        arrays,
    }))
}

/// A group's rule and what it remembers about each of its parameters.
struct GroupState {
    rule: Rule,
    /// With all arrays that the rule needs.
    memories: Vec<AnyMemory>,
}

impl GroupState {
    /// Another rule from now on.
    fn set_rule(&mut self, rule: Rule, members: &[Py<Parameter>]) -> crate::error::Result<()> {
        if rule.memory_names() != self.rule.memory_names() {
            let memories = self.memories.iter().zip(members);
            self.memories = memories
                .map(|(memory, member)| memory.completed(&rule, len_of(member.get())))
                .collect::<crate::error::Result<_>>()?;
        }
        self.rule = rule;
        Ok(())
    }
}

/// An option's name, and its value where one was given.
pub(super) type Given<'a, 'py> = (&'static str, Option<&'a Bound<'py, PyAny>>);

/// Base of the optimizers.
///
/// Mathematics, options and defaults are PyTorch's. ``params`` is an iterable of parameters, or of
/// groups: dicts with ``"params"`` and options of their own.
#[pyclass(frozen, subclass, weakref, module = "recurrust._core")]
pub struct Optimizer {
    /// The rule with PyTorch's defaults.
    standard: Rule,
    /// Parameters by group; never changes.
    groups: Vec<Vec<Py<Parameter>>>,
    /// One entry a group. Nothing of Python is touched while this is locked: it may run anybody's
    /// code, which may come back here.
    states: Mutex<Vec<GroupState>>,
}

impl Optimizer {
    fn new(standard: Rule, params: &Bound<'_, PyAny>, given: &[Given<'_, '_>]) -> PyResult<Self> {
        let items = listed(params)?;
        if items.is_empty() {
            return Err(Error::config("params", "at least one parameter", "none").into());
        }
        let defaults = group::dict(params.py(), &standard)?;
        for &(name, value) in given {
            if let Some(value) = value {
                defaults.set_item(name, value)?;
            }
        }
        // Defaults are checked even where every group has its own.
        let default_rule = group::rule(&standard, &defaults)?;
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
                rules.push(group::rule(&standard, &merged)?);
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
            standard,
            groups,
            states: Mutex::new(states),
        })
    }

    /// An optimizer of a class of its own, from that class, PyTorch's defaults and what was given.
    pub(super) fn subclass<T: PyClass<BaseType = Self>>(
        class: T,
        standard: Rule,
        params: &Bound<'_, PyAny>,
        given: &[Given<'_, '_>],
    ) -> PyResult<PyClassInitializer<T>> {
        let optimizer = Self::new(standard, params, given)?;
        Ok(PyClassInitializer::from(optimizer).add_subclass(class))
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

    /// The parameters of a group.
    fn members(&self, index: usize) -> PyResult<&[Py<Parameter>]> {
        self.groups.get(index).map(Vec::as_slice).ok_or_else(|| {
            let expected = format!("the index of one of {} groups", self.groups.len());
            Error::config("index", expected, index.to_string()).into()
        })
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

fn len_of(parameter: &Parameter) -> usize {
    parameter.memory().entries()[parameter.index()]
        .range()
        .len()
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

pub(super) fn parameter_of<'a, 'py>(
    item: &'a Bound<'py, PyAny>,
) -> PyResult<&'a Bound<'py, Parameter>> {
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
            .map_or(0.0, |state| *state.rule.lr_mut())
    }

    #[setter]
    fn set_lr(&self, lr: &Bound<'_, PyAny>) -> PyResult<()> {
        let value = options::non_negative("lr", lr)?;
        for state in self.states(lr.py()).iter_mut() {
            *state.rule.lr_mut() = value;
        }
        Ok(())
    }

    /// The groups, as a tuple of mutable mappings from names to options, and from ``"params"`` to
    /// the list of parameters.
    ///
    /// They show the options as they are now. ``group["lr"] = 0.1`` changes one, for the next
    /// ``step`` on, and ``group.update(momentum=0.9, nesterov=True)`` several at once; they are
    /// checked like those of the constructor, and nothing changes after an error. A group has the
    /// options of the constructor, no more and no less, and keeps its parameters. A momentum, a
    /// mean or a maximum that is turned on after the first step begins from zero.
    ///
    /// Raises
    /// ------
    /// ConfigError, DtypeError
    ///     On writing, if there is no such option, or if it can't have that value.
    /// KeyError
    ///     On reading, if there is no such option.
    /// TypeError
    ///     On deleting.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np, recurrust as rr
    /// >>> optimizer = rr.SGD([rr.Parameter(np.ones(3))], lr=0.1)
    /// >>> optimizer.param_groups[0]["momentum"] = 0.9
    /// >>> optimizer
    /// SGD(1 parameters, lr=0.1, momentum=0.9, dampening=0.0, weight_decay=0.0, nesterov=False, maximize=False)
    #[getter]
    fn param_groups<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyTuple>> {
        let class = slf
            .py()
            .import("recurrust._parameter_group")?
            .getattr("ParameterGroup")?;
        let groups = (0..slf.get().groups.len()).map(|index| class.call1((slf, index)));
        PyTuple::new(slf.py(), groups.collect::<PyResult<Vec<_>>>()?)
    }

    /// A group's options and parameters, as they are now.
    #[pyo3(name = "_group")]
    fn group<'py>(&self, py: Python<'py>, index: usize) -> PyResult<Bound<'py, PyDict>> {
        let members = PyList::new(py, self.members(index)?)?;
        let rule = self.states(py)[index].rule.clone();
        let group = group::dict(py, &rule)?;
        group.set_item("params", members)?;
        Ok(group)
    }

    /// Change some of a group's options, all or nothing.
    #[pyo3(name = "_change_group")]
    fn change_group(&self, index: usize, options: &Bound<'_, PyDict>) -> PyResult<()> {
        let (py, members) = (options.py(), self.members(index)?);
        let mut before = self.states(py)[index].rule.clone();
        loop {
            let after = group::changed(&before, options)?;
            let state = &mut self.states(py)[index];
            // Others may have changed it while the options were read.
            if state.rule == before {
                return Ok(state.set_rule(after, members)?);
            }
            before = state.rule.clone();
        }
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
            let entry = group::dict(py, &rule)?;
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
            let rule = group::rule(&self.standard, options)?;
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
        let groups = (0..this.groups.len()).map(|index| this.group(py, index));
        let groups = groups.collect::<PyResult<Vec<_>>>()?;
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
            for (name, value) in group::dict(slf.py(), &rule)? {
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
    if let Some((name, product)) = memory.product {
        entry.set_item(name, product)?;
    }
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
    let product = rule
        .product_name()
        .map(|name| Ok::<_, PyErr>((name, read_product(name, &item(name)?)?)))
        .transpose()?;
    let needed = rule.memory_names();
    let mut arrays = Vec::new();
    for &name in rule.all_memory_names() {
        // Arrays from before an option was turned off; PyTorch may say None.
        if !needed.contains(&name) && (!given.contains(name)? || item(name)?.is_none()) {
            continue;
        }
        let label = format!("state of parameter {number}: {name}");
        let array = arrays::numbers(&item(name)?, &label)?;
        if array.shape() != shape {
            return Err(PyErr::from(Error::shape(
                label,
                format!("shape {}", shape_text(shape)),
                shape_text(array.shape()),
            )));
        }
        arrays.push((name, copied_vec(Contiguous::<F>::new(&array)?.as_slice())?));
    }
    Ok(Some(Memory {
        updates,
        product,
        arrays,
    }))
}

/// A product of factors of at most one. PyTorch keeps it as a tensor of one float.
fn read_product(name: &'static str, given: &Bound<'_, PyAny>) -> PyResult<f64> {
    let array = arrays::numbers(given, name)?;
    match Contiguous::<f64>::new(&array)?.as_slice() {
        [product] if (0.0..=1.0).contains(product) => Ok(*product),
        _ => Err(Error::config(name, "one number from 0 to 1", options::shown(given)).into()),
    }
}
