//! Losses of classes.

use numpy::{PyUntypedArray, PyUntypedArrayMethods};
use pyo3::prelude::*;

use super::loss::{Kind, Loss, Options};
use super::weights;
use crate::bindings::arrays::{self, Contiguous, Number};
use crate::bindings::options;
use crate::bindings::run::interruptible;
use crate::error::{Error, Result, shape_text};
use crate::losses::binary::BinaryCrossEntropy;
use crate::losses::classification::{CrossEntropy, Targets};
use crate::losses::{Reduced, Request};
use crate::memory::copied_vec;
use crate::simd::InstructionSet;

/// The shape of samples whose classes are on the last axis.
pub(super) fn samples(shape: &[usize]) -> Result<&[usize]> {
    match shape.split_last() {
        Some((_, samples)) => Ok(samples),
        None => Err(Error::shape(
            "pred",
            "(..., classes)",
            "a single number".to_owned(),
        )),
    }
}

/// The options of a cross-entropy that aren't their defaults.
pub(super) fn options<'py>(py: Python<'py>, loss: &CrossEntropy) -> PyResult<Options<'py>> {
    let mut options = Vec::new();
    if let Some(weights) = &loss.class_weights {
        options.push(("weight", weights.into_pyobject(py)?.into_any()));
    }
    if let Some(index) = loss.ignore_index {
        options.push(("ignore_index", index.into_pyobject(py)?.into_any()));
    }
    if loss.label_smoothing != 0.0 {
        let smoothing = loss.label_smoothing.into_pyobject(py)?;
        options.push(("label_smoothing", smoothing.into_any()));
    }
    Ok(options)
}

/// Cross-entropy of logits against class indices or probabilities.
pub(super) fn cross_entropy<F: Number>(
    loss: &CrossEntropy,
    (values, shape): (&[F], &[usize]),
    target: &Bound<'_, PyAny>,
    request: Request<'_, F>,
) -> PyResult<Reduced<F>> {
    let py = target.py();
    let classes = shape[shape.len() - 1];
    if classes == 0 {
        return Err(Error::shape("pred", "at least one class", shape_text(shape)).into());
    }
    if let Some(weights) = &loss.class_weights
        && weights.len() != classes
    {
        return Err(Error::shape(
            "weight",
            format!("({classes},), one weight a class of pred"),
            shape_text(&[weights.len()]),
        )
        .into());
    }
    let set = InstructionSet::current();
    let array = arrays::numbers(target, "target")?;
    if array.shape() == shape && array.dtype_is_float() {
        let probabilities = Contiguous::<F>::new(&array)?;
        let targets = probabilities.as_slice();
        let targets = Targets::Probabilities(targets);
        return interruptible(py, |_| loss.reduce(set, values, classes, targets, request));
    }
    if array.shape() == shape {
        return Err(Error::dtype(
            "target",
            format!(
                "probabilities as floats (use .astype(float)), or class indices of shape {}",
                shape_text(&shape[..shape.len() - 1])
            ),
            format!("shape {} of dtype {}", shape_text(shape), array.dtype()),
        )
        .into());
    }
    if array.shape() != &shape[..shape.len() - 1] {
        return Err(Error::shape(
            "target",
            format!(
                "class indices of shape {} or probabilities of shape {}",
                shape_text(&shape[..shape.len() - 1]),
                shape_text(shape)
            ),
            shape_text(array.shape()),
        )
        .into());
    }
    let (indices, _) = arrays::integers(target, "target", true)?;
    let targets = Targets::Indices(&indices);
    interruptible(py, |_| loss.reduce(set, values, classes, targets, request))
}

/// Whether an array's numbers are floats.
trait IsFloat {
    fn dtype_is_float(&self) -> bool;
}

impl IsFloat for Bound<'_, PyUntypedArray> {
    fn dtype_is_float(&self) -> bool {
        use numpy::PyArrayDescrMethods;
        self.dtype().kind() == b'f'
    }
}

/// The shape of answers, yes or no; weights fit the classes on their last axis.
pub(super) fn answers<'a>(loss: &BinaryCrossEntropy, shape: &'a [usize]) -> Result<&'a [usize]> {
    match &loss.positive_weights {
        Some(weights) if weights.len() != 1 && shape.last() != Some(&weights.len()) => {
            Err(Error::shape(
                "pos_weight",
                "a number, or one weight a class on the last axis of pred",
                format!(
                    "{} for pred of shape {}",
                    shape_text(&[weights.len()]),
                    shape_text(shape)
                ),
            ))
        }
        _ => Ok(shape),
    }
}

/// The options of a binary cross-entropy that aren't their defaults.
pub(super) fn binary_options<'py>(
    py: Python<'py>,
    loss: &BinaryCrossEntropy,
) -> PyResult<Options<'py>> {
    Ok(match &loss.positive_weights {
        None => Vec::new(),
        Some(weights) => vec![("pos_weight", weights.into_pyobject(py)?.into_any())],
    })
}

/// Cross-entropy of the softmax of logits on the last axis, computed by log-sum-exp.
///
/// Parameters
/// ----------
/// weight : array_like of float, shape (C,), optional
///     A weight for each class, 0 or more. With index targets the mean is over these weights, as
///     in PyTorch.
/// ignore_index : int, optional
///     Samples with this class index count for nothing.
/// label_smoothing : float, default 0.0
///     Share of each target that is spread evenly over all classes, 0 to 1 (Szegedy et al. 2016).
/// reduction : {"mean", "sum", "none"}, default "mean"
///
/// Raises
/// ------
/// ConfigError, DtypeError
///     If an option can't have that value.
#[pyclass(frozen, subclass, extends = Loss, module = "recurrust._core")]
pub struct CrossEntropyLoss;

#[pymethods]
impl CrossEntropyLoss {
    #[new]
    #[pyo3(
        signature = (weight = None, ignore_index = None, label_smoothing = None, *, reduction = None),
        text_signature = "(weight=None, ignore_index=None, label_smoothing=0.0, *, reduction='mean')"
    )]
    fn new(
        weight: Option<&Bound<'_, PyAny>>,
        ignore_index: Option<&Bound<'_, PyAny>>,
        label_smoothing: Option<&Bound<'_, PyAny>>,
        reduction: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let class_weights = weight
            .map(|weight| {
                let array = arrays::numbers(weight, "weight")?;
                arrays::check_dimensions(&array, "weight", &[1], "(classes,)")?;
                let weights = copied_vec(Contiguous::<f64>::new(&array)?.as_slice())?;
                weights::check("weight", &weights)?;
                Ok::<_, PyErr>(weights)
            })
            .transpose()?;
        let ignore_index = ignore_index
            .map(|index| {
                index.extract::<i64>().map_err(|_| {
                    PyErr::from(Error::dtype(
                        "ignore_index",
                        "an integer",
                        options::shown(index),
                    ))
                })
            })
            .transpose()?;
        let label_smoothing = label_smoothing.map_or(Ok(0.0), |smoothing| {
            options::real("label_smoothing", smoothing, "a number from 0 to 1", |s| {
                (0.0..=1.0).contains(&s)
            })
        })?;
        Loss::subclass(
            Self,
            Kind::CrossEntropy(CrossEntropy {
                class_weights,
                ignore_index,
                label_smoothing,
            }),
            reduction,
        )
    }
}

/// Binary cross-entropy of logits, computed so that no logit overflows. Each number is the logit of
/// an answer of its own, yes or no.
///
/// Parameters
/// ----------
/// pos_weight : float or array_like of float, shape (C,), optional
///     What positive answers count more, 0 or more; a number for each class on the last axis, or one
///     for all. The mean's denominator doesn't contain it, as in PyTorch.
/// reduction : {"mean", "sum", "none"}, default "mean"
///
/// Raises
/// ------
/// ConfigError, DtypeError, ShapeError
///     If an option can't have that value.
#[pyclass(name = "BCEWithLogitsLoss", frozen, subclass, extends = Loss, module = "recurrust._core")]
pub struct BceWithLogitsLoss;

#[pymethods]
impl BceWithLogitsLoss {
    #[new]
    #[pyo3(
        signature = (pos_weight = None, *, reduction = None),
        text_signature = "(pos_weight=None, *, reduction='mean')"
    )]
    fn new(
        pos_weight: Option<&Bound<'_, PyAny>>,
        reduction: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let positive_weights = pos_weight.map(positive_weights).transpose()?;
        let kind = Kind::BinaryCrossEntropy(BinaryCrossEntropy { positive_weights });
        Loss::subclass(Self, kind, reduction)
    }
}

/// One weight for all classes, or one for each.
fn positive_weights(given: &Bound<'_, PyAny>) -> PyResult<Vec<f64>> {
    let array = arrays::numbers(given, "pos_weight")?;
    arrays::check_dimensions(&array, "pos_weight", &[0, 1], "a number or (classes,)")?;
    if array.ndim() == 0 {
        return Ok(vec![options::non_negative("pos_weight", given)?]);
    }
    let weights = copied_vec(Contiguous::<f64>::new(&array)?.as_slice())?;
    if weights.is_empty() {
        return Err(
            Error::shape("pos_weight", "at least one weight", options::shown(given)).into(),
        );
    }
    weights::check("pos_weight", &weights)?;
    Ok(weights)
}
