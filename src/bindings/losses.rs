//! Losses.

use numpy::{PyUntypedArray, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::arrays::{self, Contiguous, Number};
use super::options;
use super::run::interruptible;
use crate::error::{Error, shape_text};
use crate::losses::classification::{CrossEntropy, Targets};
use crate::losses::regression::Regression;
use crate::losses::{Extent, Reduced, Reduction, Request};
use crate::memory::{collected_vec, copied_vec, filled_vec};
use crate::simd::InstructionSet;

const REDUCTION_NAMES: [&str; 3] = ["mean", "sum", "none"];
const REDUCTIONS: [Reduction; 3] = [Reduction::Mean, Reduction::Sum, Reduction::None];

/// Which loss, and its options.
#[derive(Clone)]
enum Kind {
    Regression(Regression),
    CrossEntropy(CrossEntropy),
}

/// Base of the losses.
///
/// Calling a loss gives a float, or an array with ``reduction="none"``.
#[pyclass(frozen, subclass, weakref, module = "recurrust._core")]
pub struct Loss {
    kind: Kind,
    reduction: usize,
}

/// The value and, if asked for, the gradient.
type Evaluated<'py> = (Bound<'py, PyAny>, Option<Bound<'py, PyAny>>, f64);

impl Loss {
    fn new(kind: Kind, reduction: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        Ok(Self {
            kind,
            reduction: reduction.map_or(Ok(0), |reduction| {
                options::choice("reduction", reduction, &REDUCTION_NAMES)
            })?,
        })
    }

    fn evaluate<'py>(
        &self,
        pred: &Bound<'py, PyAny>,
        target: &Bound<'py, PyAny>,
        mask: Option<&Bound<'py, PyAny>>,
        sample_weight: Option<&Bound<'py, PyAny>>,
        extent: Extent,
    ) -> PyResult<Evaluated<'py>> {
        let pred = arrays::numbers(pred, "pred")?;
        if arrays::is_double(&pred) {
            self.evaluate_typed::<f64>(&pred, target, mask, sample_weight, extent)
        } else {
            self.evaluate_typed::<f32>(&pred, target, mask, sample_weight, extent)
        }
    }

    fn evaluate_typed<'py, F: Number>(
        &self,
        pred: &Bound<'py, PyUntypedArray>,
        target: &Bound<'py, PyAny>,
        mask: Option<&Bound<'py, PyAny>>,
        sample_weight: Option<&Bound<'py, PyAny>>,
        extent: Extent,
    ) -> PyResult<Evaluated<'py>> {
        let py = pred.py();
        let predictions = Contiguous::<F>::new(pred)?;
        let shape = pred.shape();
        let element_shape = match &self.kind {
            Kind::Regression(_) => shape,
            Kind::CrossEntropy(_) if shape.is_empty() => {
                return Err(
                    Error::shape("pred", "(..., classes)", "a single number".to_owned()).into(),
                );
            }
            Kind::CrossEntropy(_) => &shape[..shape.len() - 1],
        };
        let weights = element_weights::<F>(mask, sample_weight, element_shape)?;
        let request = Request {
            weights: weights.as_deref(),
            reduction: REDUCTIONS[self.reduction],
            extent,
        };
        let values = predictions.as_slice();
        let set = InstructionSet::current();
        let reduced = match &self.kind {
            Kind::Regression(loss) => {
                let array = arrays::numbers(target, "target")?;
                if array.shape() != shape {
                    return Err(Error::shape(
                        "target",
                        format!("shape {}, the shape of pred", shape_text(shape)),
                        shape_text(array.shape()),
                    )
                    .into());
                }
                let targets = Contiguous::<F>::new(&array)?;
                let targets = targets.as_slice();
                interruptible(py, |_| loss.reduce(set, values, targets, request))?
            }
            Kind::CrossEntropy(loss) => cross_entropy(loss, (values, shape), target, request)?,
        };
        let Reduced {
            value,
            elements,
            gradient,
            weight,
        } = reduced;
        let value = match elements {
            Some(elements) => arrays::to_numpy(py, elements, element_shape)?.into_any(),
            None => value.into_pyobject(py)?.into_any(),
        };
        let gradient = gradient
            .map(|gradient| arrays::to_numpy(py, gradient, shape).map(Bound::into_any))
            .transpose()?;
        Ok((value, gradient, weight))
    }
}

/// Cross-entropy of logits against class indices or probabilities.
fn cross_entropy<F: Number>(
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

/// One weight an element, from a mask and sample weights whose shapes are leading axes of the
/// elements'.
fn element_weights<F: Number>(
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
            if let Some(index) = values
                .iter()
                .position(|weight| !weight.is_finite() || *weight < F::zero())
            {
                return Err(Error::config(
                    format!("sample_weight[{index}]"),
                    "a finite weight, 0 or more",
                    values[index].to_string(),
                )
                .into());
            }
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

#[pymethods]
impl Loss {
    // Python shows no documentation of calls: it stands at `value_and_grad`.
    #[pyo3(signature = (pred, target, mask = None, sample_weight = None))]
    fn __call__<'py>(
        &self,
        pred: &Bound<'py, PyAny>,
        target: &Bound<'py, PyAny>,
        mask: Option<&Bound<'py, PyAny>>,
        sample_weight: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (value, ..) = self.evaluate(pred, target, mask, sample_weight, Extent::Value)?;
        Ok(value)
    }

    /// The loss and its gradient with respect to ``pred``, in one pass.
    ///
    /// ``loss(pred, target, ...)`` takes the same arguments and gives the value alone.
    ///
    /// Parameters
    /// ----------
    /// pred : array_like
    ///     Predictions; for classes, logits (..., C).
    /// target : array_like
    ///     Shaped like ``pred``; for classes, indices (...) or probabilities (..., C).
    /// mask : array_like of bool, optional
    ///     Elements that count. Shape (B,), (B, T) or that of the loss without reduction.
    /// sample_weight : array_like of float, optional
    ///     A weight for each element, 0 or more; shapes as for ``mask``.
    ///
    /// Returns
    /// -------
    /// value : float or numpy.ndarray
    ///     The mean, ``sum(w l) / sum(w)``, or the sum, or each element's ``w l``. A mean over
    ///     nothing is 0.
    /// dpred : numpy.ndarray, shaped like ``pred``
    ///     With ``reduction="none"``, the gradient of the sum.
    ///
    /// Raises
    /// ------
    /// ShapeError
    ///     If shapes don't fit; nothing is ever broadcast against ``pred``.
    /// ConfigError
    ///     If a class index doesn't exist; the message names its position.
    #[pyo3(signature = (pred, target, mask = None, sample_weight = None))]
    fn value_and_grad<'py>(
        &self,
        pred: &Bound<'py, PyAny>,
        target: &Bound<'py, PyAny>,
        mask: Option<&Bound<'py, PyAny>>,
        sample_weight: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let (value, gradient, _) =
            self.evaluate(pred, target, mask, sample_weight, Extent::Gradient)?;
        (value, gradient).into_pyobject(pred.py())
    }

    /// The mean's denominator: the sum of weights of all elements that count. Means over parts of
    /// the data combine to that of the whole with these.
    #[pyo3(signature = (pred, target, mask = None, sample_weight = None))]
    fn total_weight<'py>(
        &self,
        pred: &Bound<'py, PyAny>,
        target: &Bound<'py, PyAny>,
        mask: Option<&Bound<'py, PyAny>>,
        sample_weight: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<f64> {
        let (.., weight) = self.evaluate(pred, target, mask, sample_weight, Extent::Weight)?;
        Ok(weight)
    }

    /// ``"mean"``, ``"sum"`` or ``"none"``.
    #[getter]
    fn reduction(&self) -> &'static str {
        REDUCTION_NAMES[self.reduction]
    }

    fn __getnewargs_ex__<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<(Bound<'py, PyTuple>, Bound<'py, PyDict>)> {
        let keywords = PyDict::new(py);
        keywords.set_item("reduction", self.reduction())?;
        if let Kind::CrossEntropy(loss) = &self.kind {
            keywords.set_item("weight", loss.class_weights.clone())?;
            keywords.set_item("ignore_index", loss.ignore_index)?;
            keywords.set_item("label_smoothing", loss.label_smoothing)?;
        }
        Ok((PyTuple::empty(py), keywords))
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let this = slf.get();
        let mut options = Vec::new();
        if let Kind::CrossEntropy(loss) = &this.kind {
            if let Some(weights) = &loss.class_weights {
                options.push(format!("weight={weights:?}"));
            }
            if let Some(index) = loss.ignore_index {
                options.push(format!("ignore_index={index}"));
            }
            if loss.label_smoothing != 0.0 {
                options.push(format!("label_smoothing={}", loss.label_smoothing));
            }
        }
        options.push(format!("reduction={:?}", this.reduction()));
        Ok(format!(
            "{}({})",
            slf.get_type().name()?,
            options.join(", ")
        ))
    }
}

/// Mean squared error: ``(pred - target)**2``.
///
/// Parameters
/// ----------
/// reduction : {"mean", "sum", "none"}, default "mean"
#[pyclass(name = "MSELoss", frozen, subclass, extends = Loss, module = "recurrust._core")]
pub struct MseLoss;

#[pymethods]
impl MseLoss {
    #[new]
    #[pyo3(signature = (*, reduction = None), text_signature = "(*, reduction='mean')")]
    fn new(reduction: Option<&Bound<'_, PyAny>>) -> PyResult<PyClassInitializer<Self>> {
        let loss = Loss::new(Kind::Regression(Regression::Squared), reduction)?;
        Ok(PyClassInitializer::from(loss).add_subclass(Self))
    }
}

/// Mean absolute error: ``|pred - target|``, with gradient 0 where both are equal.
///
/// Parameters
/// ----------
/// reduction : {"mean", "sum", "none"}, default "mean"
#[pyclass(name = "MAELoss", frozen, subclass, extends = Loss, module = "recurrust._core")]
pub struct MaeLoss;

#[pymethods]
impl MaeLoss {
    #[new]
    #[pyo3(signature = (*, reduction = None), text_signature = "(*, reduction='mean')")]
    fn new(reduction: Option<&Bound<'_, PyAny>>) -> PyResult<PyClassInitializer<Self>> {
        let loss = Loss::new(Kind::Regression(Regression::Absolute), reduction)?;
        Ok(PyClassInitializer::from(loss).add_subclass(Self))
    }
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
                match weights.iter().position(|w| !w.is_finite() || *w < 0.0) {
                    Some(index) => Err(PyErr::from(Error::config(
                        format!("weight[{index}]"),
                        "a finite weight, 0 or more",
                        weights[index].to_string(),
                    ))),
                    None => Ok(weights),
                }
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
        let loss = Loss::new(
            Kind::CrossEntropy(CrossEntropy {
                class_weights,
                ignore_index,
                label_smoothing,
            }),
            reduction,
        )?;
        Ok(PyClassInitializer::from(loss).add_subclass(Self))
    }
}
