//! A rule's options as Python has them: a dict.
//!
//! Each optimizer lists its options once, in a function that exchanges them with a group, one by
//! one: from the dict into the rule, or from the rule into the dict.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::{adadelta, adagrad, adam, nadam, radam, rmsprop, sgd};
use crate::bindings::options;
use crate::error::Error;
use crate::optimizers::Rule;

/// Which way options go.
#[derive(Clone, Copy)]
enum Way {
    FromDict,
    IntoDict,
}

/// A dict of options, which are checked on their way into a rule.
pub(super) struct Group<'a, 'py> {
    dict: &'a Bound<'py, PyDict>,
    way: Way,
}

/// A rule with the options of a dict, which must have them all.
pub(super) fn rule(standard: &Rule, dict: &Bound<'_, PyDict>) -> PyResult<Rule> {
    let mut rule = standard.clone();
    let way = Way::FromDict;
    exchange(&mut rule, &Group { dict, way })?;
    Ok(rule)
}

/// A rule's options as a dict.
pub(super) fn dict<'py>(py: Python<'py>, rule: &Rule) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    let group = Group {
        dict: &dict,
        way: Way::IntoDict,
    };
    exchange(&mut rule.clone(), &group)?;
    Ok(dict)
}

/// A rule with some of its options changed.
pub(super) fn changed(rule: &Rule, given: &Bound<'_, PyDict>) -> PyResult<Rule> {
    let all = dict(given.py(), rule)?;
    for (name, value) in given {
        if all.contains(&name)? {
            all.set_item(name, value)?;
        } else if name.eq("params")? {
            return Err(Error::config(
                "params",
                "no change, as an optimizer keeps its parameters",
                options::shown(&value),
            )
            .into());
        } else {
            return Err(Error::config(
                "param_groups",
                format!("an option among {}", options::shown(&all.keys())),
                options::shown(&name),
            )
            .into());
        }
    }
    self::rule(rule, &all)
}

fn exchange(rule: &mut Rule, group: &Group<'_, '_>) -> PyResult<()> {
    match rule {
        Rule::Sgd(rule) => sgd::options(rule, group),
        Rule::Adam(rule) => adam::options(rule, group),
        Rule::RmsProp(rule) => rmsprop::options(rule, group),
        Rule::Adagrad(rule) => adagrad::options(rule, group),
        Rule::Adadelta(rule) => adadelta::options(rule, group),
        Rule::NAdam(rule) => nadam::options(rule, group),
        Rule::RAdam(rule) => radam::options(rule, group),
    }
}

impl<'py> Group<'_, 'py> {
    /// A finite number of at least zero.
    pub fn non_negative(&self, name: &'static str, value: &mut f64) -> PyResult<()> {
        self.option(name, value, |given| options::non_negative(name, given))
    }

    /// A finite number.
    pub fn finite(&self, name: &'static str, value: &mut f64) -> PyResult<()> {
        self.option(name, value, |given| {
            options::real(name, given, "a finite number", f64::is_finite)
        })
    }

    /// A number from 0 to 1.
    pub fn share(&self, name: &'static str, value: &mut f64) -> PyResult<()> {
        self.option(name, value, |given| {
            options::real(name, given, "a number from 0 to 1", |number| {
                (0.0..=1.0).contains(&number)
            })
        })
    }

    /// True or False.
    pub fn flag(&self, name: &'static str, value: &mut bool) -> PyResult<()> {
        self.option(name, value, |given| options::boolean(name, given))
    }

    /// The decay rates of two moments, each from 0 to below 1.
    pub fn betas(&self, value: &mut (f64, f64)) -> PyResult<()> {
        let below_one = |name: &'static str, given: &Bound<'py, PyAny>| {
            options::real(name, given, "a number from 0 to below 1", |number| {
                (0.0..1.0).contains(&number)
            })
        };
        self.option("betas", value, |given| {
            let pair: Vec<Bound<'_, PyAny>> = given
                .try_iter()
                .and_then(Iterator::collect)
                .unwrap_or_default();
            let [first, second] = pair.as_slice() else {
                return Err(
                    Error::dtype("betas", "a pair of numbers", options::shown(given)).into(),
                );
            };
            Ok((
                below_one("betas[0]", first)?,
                below_one("betas[1]", second)?,
            ))
        })
    }

    /// One option, with what checks it.
    fn option<T: Copy + IntoPyObject<'py>>(
        &self,
        name: &'static str,
        value: &mut T,
        read: impl FnOnce(&Bound<'py, PyAny>) -> PyResult<T>,
    ) -> PyResult<()> {
        match self.way {
            Way::IntoDict => self.dict.set_item(name, *value),
            Way::FromDict => {
                let given = self.dict.get_item(name)?.ok_or_else(|| {
                    PyErr::from(Error::config(
                        "params",
                        format!("a group with {name:?}"),
                        options::shown(self.dict),
                    ))
                })?;
                *value = read(&given)?;
                Ok(())
            }
        }
    }
}
