//! The rates of regularisation among a layer's options, and the masks of its caches.

use pyo3::exceptions::PyUserWarning;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use super::arrays::{self, Number};
use super::options::{self, Keywords};
use super::stack::OptionValue;
use crate::error::Error;
use crate::layers::regularization::{MaskShape, NamedMask, Rates};

/// The keywords.
pub const KEYWORDS: &[&str] = &[
    "dropout",
    "input_dropout",
    "recurrent_dropout",
    "output_dropout",
    "update_dropout",
    "weight_dropout",
    "variational",
    "zoneout",
    "zoneout_eval",
];

/// How evaluation treats zoneout; the first is the default.
const EVALUATIONS: [&str; 2] = ["expectation", "identity"];

/// The rates of a layer of so many layers, whose cell has so many states.
pub fn rates(
    py: Python<'_>,
    keywords: &Keywords<'_>,
    states: usize,
    layers: usize,
) -> PyResult<Rates> {
    let by_layer = |name| by_layer(keywords, name, layers);
    let rates = Rates {
        dropout: by_layer("dropout")?,
        input: by_layer("input_dropout")?,
        recurrent: by_layer("recurrent_dropout")?,
        output: by_layer("output_dropout")?,
        update: by_layer("update_dropout")?,
        weight: by_layer("weight_dropout")?,
        zoneout: zoneout(keywords, states, layers)?,
        variational: keywords.boolean("variational", true)?,
        expectation: keywords.choice("zoneout_eval", &EVALUATIONS)? == 0,
    };
    if layers == 1 && rates.dropout[0] > 0.0 {
        let text = c"dropout acts between layers: with num_layers=1 it does nothing; use input_dropout or \
                     output_dropout";
        PyErr::warn(py, &py.get_type::<PyUserWarning>(), text, 1)?;
    }
    Ok(rates)
}

/// The entries of a list or tuple.
fn entries<'py>(value: &Bound<'py, PyAny>) -> Option<Vec<Bound<'py, PyAny>>> {
    if let Ok(list) = value.cast::<PyList>() {
        return Some(list.iter().collect());
    }
    let tuple = value.cast::<PyTuple>().ok()?;
    Some(tuple.iter().collect())
}

/// As many entries as there are layers.
fn check_count(name: &'static str, count: usize, layers: usize) -> PyResult<()> {
    if count == layers {
        return Ok(());
    }
    let expected = format!("a number, or a list of one for each layer (num_layers={layers})");
    Err(Error::config(name, expected, format!("a list of {count}")).into())
}

/// A rate for each layer, from one number or a list.
fn by_layer(keywords: &Keywords<'_>, name: &'static str, layers: usize) -> PyResult<Vec<f64>> {
    let Some(value) = keywords.get(name)? else {
        return Ok(vec![0.0; layers]);
    };
    let Some(entries) = entries(&value) else {
        return Ok(vec![options::probability(name, &value)?; layers]);
    };
    check_count(name, entries.len(), layers)?;
    let rates = entries.iter().map(|rate| options::probability(name, rate));
    rates.collect()
}

/// The rates of cell and hidden state for each layer. A tuple of numbers is one of both, for all layers;
/// a list has an entry for each layer, a number or a pair. Cells with one state have no pairs.
fn zoneout(keywords: &Keywords<'_>, states: usize, layers: usize) -> PyResult<Vec<[f64; 2]>> {
    const NAME: &str = "zoneout";
    let single = |value: &Bound<'_, PyAny>| options::probability(NAME, value).map(|rate| [rate; 2]);
    let pair = |value: &Bound<'_, PyAny>| match entries(value).as_deref() {
        Some([cell, hidden]) if states == 2 => Ok([
            options::probability(NAME, cell)?,
            options::probability(NAME, hidden)?,
        ]),
        Some(other) if states == 2 => {
            let got = format!("{} values", other.len());
            Err(Error::config(NAME, "a number or a pair (cell, hidden)", got).into())
        }
        _ => single(value),
    };
    let Some(value) = keywords.get(NAME)? else {
        return Ok(vec![[0.0; 2]; layers]);
    };
    match entries(&value) {
        None => Ok(vec![single(&value)?; layers]),
        Some(rates)
            if states == 2
                && value.is_instance_of::<PyTuple>()
                && rates.iter().all(|rate| entries(rate).is_none()) =>
        {
            Ok(vec![pair(&value)?; layers])
        }
        Some(entries) => {
            check_count(NAME, entries.len(), layers)?;
            entries.iter().map(pair).collect()
        }
    }
}

#[allow(clippy::float_cmp)] // whether rates are the very same
/// The options that differ from their defaults, as constructors take them, also when lists and tuples
/// have become the same on the way.
pub fn differing(rates: &Rates, states: usize) -> Vec<(&'static str, OptionValue)> {
    let mut options = Vec::new();
    for (name, rates) in [
        ("dropout", &rates.dropout),
        ("input_dropout", &rates.input),
        ("recurrent_dropout", &rates.recurrent),
        ("output_dropout", &rates.output),
        ("update_dropout", &rates.update),
        ("weight_dropout", &rates.weight),
    ] {
        options.extend(numbers(rates).map(|value| (name, value)));
    }
    if !rates.variational {
        options.push(("variational", OptionValue::Flag(false)));
    }
    let hidden: Vec<f64> = rates.zoneout.iter().map(|pair| pair[1]).collect();
    let uniform = rates
        .zoneout
        .iter()
        .flatten()
        .all(|&rate| rate == hidden[0]);
    if uniform || states == 1 {
        options.extend(numbers(&hidden).map(|value| ("zoneout", value)));
    } else {
        let pairs = rates.zoneout.iter().map(|&[cell, hidden]| (cell, hidden));
        options.push(("zoneout", OptionValue::Pairs(pairs.collect())));
    }
    if !rates.expectation {
        options.push(("zoneout_eval", OptionValue::Name(EVALUATIONS[1])));
    }
    options
}

#[allow(clippy::float_cmp)] // whether rates are the very same
/// One number when all are the same, nothing when they are zero, else all of them.
fn numbers(rates: &[f64]) -> Option<OptionValue> {
    let first = rates.first().copied().unwrap_or(0.0);
    if rates.iter().any(|&rate| rate != first) {
        return Some(OptionValue::Numbers(rates.to_vec()));
    }
    (first != 0.0).then_some(OptionValue::Number(first))
}

/// Masks as a cache shows them: copies by name, without the axis of rows where there was none.
pub fn masks_to_numpy<'py, F: Number>(
    py: Python<'py>,
    masks: &[NamedMask<'_, F>],
    batched: bool,
) -> PyResult<Bound<'py, PyDict>> {
    let result = PyDict::new(py);
    for NamedMask { name, shape, mask } in masks {
        let (steps, rows, width) = mask.sizes();
        let shape = match (shape, batched) {
            (MaskShape::Steps, true) => vec![steps, rows, width],
            (MaskShape::Steps, false) => vec![steps, width],
            (MaskShape::Rows, false) => vec![width],
            (MaskShape::Rows, true) | (MaskShape::Weights, _) => vec![rows, width],
        };
        result.set_item(name, arrays::to_numpy(py, mask.to_vec()?, &shape)?)?;
    }
    Ok(result)
}
