//! Checks of constructor arguments: each error names the argument, what was expected, what came.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyString};

use crate::cells::Clip;
use crate::error::Error;
use crate::float::{Float, Precision};

/// What came, as Python shows it, cut to a readable length.
pub fn shown(value: &Bound<'_, PyAny>) -> String {
    let text = value
        .repr()
        .map_or_else(|_| "an object without a repr".to_owned(), |r| r.to_string());
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

fn wrong_type(name: &'static str, expected: &str, value: &Bound<'_, PyAny>) -> PyErr {
    Error::dtype(name, expected, shown(value)).into()
}

/// The keyword arguments of a constructor that has many.
pub struct Keywords<'py> {
    given: Option<Bound<'py, PyDict>>,
}

impl<'py> Keywords<'py> {
    /// Keyword arguments, each of which must be among `known` ones.
    pub fn new(
        class: &str,
        given: Option<Bound<'py, PyDict>>,
        known: &[&[&str]],
    ) -> PyResult<Self> {
        for name in given.iter().flat_map(PyDictMethods::keys) {
            let name: String = name.extract()?;
            if !known.iter().any(|names| names.contains(&&*name)) {
                return Err(PyTypeError::new_err(format!(
                    "{class}() got an unexpected keyword argument '{name}'"
                )));
            }
        }
        Ok(Self { given })
    }

    /// The value of one of them; nothing if it wasn't given.
    pub fn get(&self, name: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.given
            .as_ref()
            .map_or(Ok(None), |given| given.get_item(name))
    }

    /// True or False.
    pub fn boolean(&self, name: &'static str, default: bool) -> PyResult<bool> {
        self.get(name)?
            .map_or(Ok(default), |value| boolean(name, &value))
    }

    /// One of a few names: its index; that of the first one by default.
    pub fn choice(&self, name: &'static str, choices: &[&str]) -> PyResult<usize> {
        self.get(name)?
            .map_or(Ok(0), |value| choice(name, &value, choices))
    }

    /// Limits of pre-activations; none by default. Positive and finite in the layer's precision too.
    pub fn clip(&self) -> PyResult<Clip> {
        let value = self.get("clip")?.filter(|value| !value.is_none());
        let precision = self.precision()?;
        let limit = value.map(|value| {
            let expected = format!("a positive finite {} number or None", precision.name());
            real("clip", &value, &expected, |limit| {
                let limit = match precision {
                    Precision::Single => f64::from(f32::of(limit)),
                    Precision::Double => limit,
                };
                limit > 0.0 && limit.is_finite()
            })
        });
        Ok(Clip(limit.transpose()?))
    }

    /// The precision; single by default.
    pub fn precision(&self) -> PyResult<Precision> {
        self.get("dtype")?
            .map_or(Ok(Precision::Single), |value| precision(&value))
    }

    /// The seed of initial weights; none by default.
    pub fn seed(&self) -> PyResult<Option<u64>> {
        self.get("seed")?
            .filter(|value| !value.is_none())
            .map(|value| seed("seed", &value))
            .transpose()
    }

    /// Refuses an option of a later version unless it has its default.
    pub fn later(&self, name: &'static str, default: impl IntoPyObject<'py>) -> PyResult<()> {
        match self.get(name)? {
            Some(value) if !value.eq(default).unwrap_or(false) => {
                Err(super::errors::not_available(name))
            }
            _ => Ok(()),
        }
    }
}

/// An integer of at least `least`.
pub fn integer(name: &'static str, value: &Bound<'_, PyAny>, least: usize) -> PyResult<usize> {
    let expected = match least {
        0 => "an integer, 0 or more".to_owned(),
        1 => "a positive integer".to_owned(),
        _ => format!("an integer of at least {least}"),
    };
    if value.is_instance_of::<PyBool>() {
        return Err(wrong_type(name, &expected, value));
    }
    match value.call_method0("__index__") {
        Ok(index) => index
            .extract::<usize>()
            .ok()
            .filter(|&number| number >= least && number <= isize::MAX.cast_unsigned())
            .ok_or_else(|| {
                let too_large = index.gt(least).unwrap_or(false);
                let bound = if too_large { " below 2**63" } else { "" };
                Error::config(name, format!("{expected}{bound}"), shown(value)).into()
            }),
        Err(_) => Err(wrong_type(name, &expected, value)),
    }
}

/// An integer from 1 to `most`.
pub fn count(name: &'static str, value: &Bound<'_, PyAny>, most: usize) -> PyResult<usize> {
    let number = integer(name, value, 1)?;
    if number > most {
        let expected = format!("an integer from 1 to {most}");
        return Err(Error::config(name, expected, shown(value)).into());
    }
    Ok(number)
}

/// True or False.
pub fn boolean(name: &'static str, value: &Bound<'_, PyAny>) -> PyResult<bool> {
    let number = if let Ok(value) = value.cast::<PyBool>() {
        Some(value.is_true())
    } else {
        // NumPy's own booleans.
        let is_numpy = value.get_type().name().is_ok_and(|name| {
            name.to_str()
                .is_ok_and(|name| matches!(name, "bool" | "bool_"))
        });
        if is_numpy {
            value.is_truthy().ok()
        } else {
            None
        }
    };
    number.ok_or_else(|| wrong_type(name, "True or False", value))
}

/// A number inside `accepts`, which `expected` describes; NaN never is.
pub fn real(
    name: &'static str,
    value: &Bound<'_, PyAny>,
    expected: &str,
    accepts: impl Fn(f64) -> bool,
) -> PyResult<f64> {
    if value.is_instance_of::<PyBool>() || value.is_instance_of::<PyString>() {
        return Err(wrong_type(name, expected, value));
    }
    let number: f64 = value
        .extract()
        .map_err(|_| wrong_type(name, expected, value))?;
    if number.is_nan() || !accepts(number) {
        return Err(Error::config(name, expected, shown(value)).into());
    }
    Ok(number)
}

/// A probability, 0 to 1.
pub fn probability(name: &'static str, value: &Bound<'_, PyAny>) -> PyResult<f64> {
    real(name, value, "a probability from 0 to 1", |p| {
        (0.0..=1.0).contains(&p)
    })
}

/// A finite number of at least zero.
pub fn non_negative(name: &'static str, value: &Bound<'_, PyAny>) -> PyResult<f64> {
    real(name, value, "a finite number, 0 or more", |number| {
        number.is_finite() && number >= 0.0
    })
}

/// One of a few names: its index.
pub fn choice(name: &'static str, value: &Bound<'_, PyAny>, choices: &[&str]) -> PyResult<usize> {
    choice_or(name, value, choices, None)
}

/// As [`choice`], where there may be an alternative to the names, which the caller has looked for.
pub fn choice_or(
    name: &'static str,
    value: &Bound<'_, PyAny>,
    choices: &[&str],
    alternative: Option<&str>,
) -> PyResult<usize> {
    let quoted: Vec<String> = choices
        .iter()
        .map(|choice| format!("\"{choice}\""))
        .collect();
    let mut expected = if quoted.len() == 1 {
        quoted[0].clone()
    } else {
        format!("one of {}", quoted.join(", "))
    };
    if let Some(alternative) = alternative {
        expected = format!("{expected}, or {alternative}");
    }
    let Ok(text) = value.extract::<String>() else {
        return Err(wrong_type(name, &expected, value));
    };
    choices
        .iter()
        .position(|&choice| choice == text)
        .ok_or_else(|| Error::config(name, expected, shown(value)).into())
}

/// `"float32"`, `"float64"`, or anything NumPy reads as one of the two.
pub fn precision(value: &Bound<'_, PyAny>) -> PyResult<Precision> {
    let dtype = value
        .py()
        .import("numpy")?
        .call_method1("dtype", (value,))
        .and_then(|dtype| dtype.getattr("name"))
        .and_then(|name| name.extract::<String>());
    match dtype.as_deref() {
        // numpy.dtype(None) is float64; here it would be a mistake.
        Ok("float64") if !value.is_none() => Ok(Precision::Double),
        Ok("float32") => Ok(Precision::Single),
        _ => Err(Error::config("dtype", "\"float32\" or \"float64\"", shown(value)).into()),
    }
}

/// A seed from 0 to 2^64 - 1.
pub fn seed(name: &'static str, value: &Bound<'_, PyAny>) -> PyResult<u64> {
    let expected = "an integer from 0 to 2**64 - 1";
    if value.is_instance_of::<PyBool>() {
        return Err(wrong_type(name, expected, value));
    }
    match value.call_method0("__index__") {
        Ok(index) => index
            .extract::<u64>()
            .map_err(|_| Error::config(name, expected, shown(value)).into()),
        Err(_) => Err(wrong_type(name, expected, value)),
    }
}
