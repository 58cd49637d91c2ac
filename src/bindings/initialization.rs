//! The options `init` and `forget_bias`: what the parameters of a recurrent layer start with.

use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::arrays::Number;
use super::options::{self, Keywords, shown};
use super::parameter::assign;
use super::run::interruptible;
use crate::error::{Error, Result};
use crate::float::{Float, Precision};
use crate::init::Initializer;
use crate::layers::stack::Stack;
use crate::parameters::Parameters;
use crate::random::Ticket;

/// Names of rules, in the order of [`RULES`].
const RULE_NAMES: [&str; 4] = ["torch", "glorot", "orthogonal", "rust_lstm"];
const RULES: [Initializer; 4] = [
    Initializer::Torch,
    Initializer::Glorot,
    Initializer::Orthogonal,
    Initializer::RustLstm,
];

/// Where the values of all parameters come from.
enum Source<'py> {
    Rule(Initializer),
    /// Called with each parameter's name and shape.
    Callable(Bound<'py, PyAny>),
}

/// What the parameters of a recurrent layer start with.
pub struct InitialWeights<'py> {
    source: Source<'py>,
    /// What the forget gates' input biases have instead.
    forget_bias: Option<f64>,
}

impl Default for InitialWeights<'_> {
    fn default() -> Self {
        Self {
            source: Source::Rule(Initializer::default()),
            forget_bias: None,
        }
    }
}

impl<'py> InitialWeights<'py> {
    /// The options, for a layer with or without biases.
    pub fn new(keywords: &Keywords<'py>, bias: bool, precision: Precision) -> PyResult<Self> {
        let source = match keywords.get("init")? {
            Some(callable) if callable.is_callable() => Source::Callable(callable),
            Some(name) => {
                let index = options::choice_or("init", &name, &RULE_NAMES, Some("a callable"))?;
                Source::Rule(RULES[index])
            }
            None => Source::Rule(Initializer::default()),
        };
        let forget_bias = forget_bias(keywords, bias, precision)?;
        Ok(Self {
            source,
            forget_bias,
        })
    }

    /// Gives the parameters of a new stack their values.
    ///
    /// Without a seed one ticket of the process-wide stream is drawn, whatever the options are: what
    /// is drawn later doesn't depend on them.
    pub fn fill<F: Number>(
        &self,
        py: Python<'py>,
        stack: &Stack<F>,
        parameters: &Parameters<F>,
        seed: Option<u64>,
    ) -> PyResult<()> {
        let ticket = || seed.map_or_else(Ticket::draw, Ticket::seeded);
        match &self.source {
            Source::Rule(rule) => interruptible(py, |interrupt| {
                stack.initialize(parameters, *rule, ticket(), interrupt)
            })?,
            Source::Callable(callable) => {
                for index in 0..parameters.entries().len() {
                    call(callable, parameters, index)?;
                }
                ticket();
            }
        }
        if let Some(value) = self.forget_bias {
            stack.set_forget_bias(parameters, value);
        }
        Ok(())
    }
}

/// The option `forget_bias`, for a layer with or without biases.
fn forget_bias(keywords: &Keywords<'_>, bias: bool, precision: Precision) -> PyResult<Option<f64>> {
    let name = "forget_bias";
    let Some(value) = keywords.get(name)?.filter(|value| !value.is_none()) else {
        return Ok(None);
    };
    let expected = format!("a finite {} number", precision.name());
    let number = options::real(name, &value, &expected, |number| match precision {
        Precision::Single => f32::of(number).is_finite(),
        Precision::Double => number.is_finite(),
    })?;
    let expected = match (bias, keywords.boolean("coupled", false)?) {
        (true, false) => return Ok(Some(number)),
        (false, _) => "None without biases (bias=False)",
        (true, true) => "None without a forget gate (coupled=True)",
    };
    Err(Error::config(name, expected, shown(&value)).into())
}

/// Fills one parameter with what a callable gives for its name and shape.
fn call<F: Number>(
    callable: &Bound<'_, PyAny>,
    parameters: &Parameters<F>,
    index: usize,
) -> PyResult<()> {
    let py = callable.py();
    let entry = &parameters.entries()[index];
    let shape = PyTuple::new(py, &entry.shape)?;
    let value = callable.call1((entry.name.as_str(), shape))?;
    let label = format!("init: {}", entry.name);
    assign(py, parameters, index, &value, &label)?;
    Ok(check_finite(parameters.read().slice(index), &label)?)
}

/// A weight that isn't finite spoils every result: whoever gives one wants to know at once.
fn check_finite<F: Float>(values: &[F], label: &str) -> Result<()> {
    match values.iter().find(|value| !value.is_finite()) {
        Some(value) => Err(Error::NonFinite(format!(
            "{label}: expected finite numbers, got {value}"
        ))),
        None => Ok(()),
    }
}
