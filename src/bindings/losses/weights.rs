//! What elements count: masks and sample weights.

use numpy::PyUntypedArrayMethods;
use pyo3::prelude::*;

use crate::bindings::arrays::{self, Contiguous, Number};
use crate::error::{Error, shape_text};
use crate::memory::{collected_vec, copied_vec, filled_vec};

/// The first of some weights that isn't finite, or below zero, as an error that names it.
pub(super) fn check<F: Number>(name: &str, weights: &[F]) -> PyResult<()> {
    let wrong = |weight: &F| !weight.is_finite() || *weight < F::zero();
    match weights.iter().position(wrong) {
        Some(index) => Err(Error::config(
            format!("{name}[{index}]"),
            "a finite weight, 0 or more",
            weights[index].to_string(),
        )
        .into()),
        None => Ok(()),
    }
}

/// One weight an element, from a mask and sample weights whose shapes are leading axes of the
/// elements'.
pub(super) fn element_weights<F: Number>(
    mask: Option<&Bound<'_, PyAny>>,
    sample_weight: Option<&Bound<'_, PyAny>>,
    shape: &[usize],
) -> PyResult<Option<Vec<F>>> {
    let count = arrays::element_count(shape)?;
    let mut weights: Option<Vec<F>> = None;
    for (name, value) in [("mask", mask), ("sample_weight", sample_weight)] {
        let Some(value) = value.filter(|value| !value.is_none()) else {
            continue;
        };
        let array = arrays::numbers(value, name)?;
        if !shape.starts_with(array.shape()) || (array.ndim() == 0 && !shape.is_empty()) {
            return Err(Error::shape(
                name,
                format!(
                    "shape {} or its leading axes, e.g. (batch,)",
                    shape_text(shape)
                ),
                shape_text(array.shape()),
            )
            .into());
        }
        let factors: Vec<F> = if name == "mask" {
            let flags = arrays::flags(value, name, array.shape(), false)?;
            let weight = |valid| if valid { F::one() } else { F::zero() };
            collected_vec(flags.into_iter().map(weight))?
        } else {
            let values = copied_vec(Contiguous::<F>::new(&array)?.as_slice())?;
            check("sample_weight", &values)?;
            values
        };
        let repeat = (count / factors.len().max(1)).max(1);
        let mut product = match weights.take() {
            Some(weights) => weights,
            None => filled_vec(F::one(), count)?,
        };
        for (weights, &factor) in product.chunks_mut(repeat).zip(&factors) {
            for weight in weights {
                *weight *= factor;
            }
        }
        weights = Some(product);
    }
    Ok(weights)
}
