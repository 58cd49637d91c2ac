//! The base of the losses: arrays in, a number or arrays out, copies and texts.

use numpy::{PyUntypedArray, PyUntypedArrayMethods};
use pyo3::PyClass;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::weights::element_weights;
use super::{classification, distribution, regression};
use crate::bindings::arrays::{self, Contiguous, Number};
use crate::bindings::options;
use crate::bindings::run::interruptible;
use crate::error::{Error, Result, shape_text};
use crate::losses::binary::BinaryCrossEntropy;
use crate::losses::classification::CrossEntropy;
use crate::losses::distribution::{Gaussian, Quantiles};
use crate::losses::regression::Regression;
use crate::losses::{Extent, Reduced, Reduction, Request};
use crate::simd::InstructionSet;

const REDUCTION_NAMES: [&str; 3] = ["mean", "sum", "none"];
const REDUCTIONS: [Reduction; 3] = [Reduction::Mean, Reduction::Sum, Reduction::None];

/// Which loss, and its options.
#[derive(Clone)]
pub(super) enum Kind {
    Regression(Regression),
    CrossEntropy(CrossEntropy),
    BinaryCrossEntropy(BinaryCrossEntropy),
    Quantiles(Quantiles),
    Gaussian(Gaussian),
}

/// Options by their names.
pub(super) type Options<'py> = Vec<(&'static str, Bound<'py, PyAny>)>;

impl Kind {
    /// The shape of the elements, from that of the predictions.
    fn element_shape<'a>(&self, shape: &'a [usize]) -> Result<&'a [usize]> {
        match self {
            Self::Regression(_) => Ok(shape),
            Self::BinaryCrossEntropy(loss) => classification::answers(loss, shape),
            Self::CrossEntropy(_) => classification::samples(shape),
            Self::Quantiles(loss) => {
                distribution::targets(shape, loss.levels.len(), "one for each quantile")
            }
            Self::Gaussian(_) => distribution::targets(shape, 2, "mean and log variance"),
        }
    }

    /// The loss of predictions, which come with their shape.
    fn reduce<F: Number>(
        &self,
        (values, shape): (&[F], &[usize]),
        target: &Bound<'_, PyAny>,
        request: Request<'_, F>,
    ) -> PyResult<Reduced<F>> {
        let set = InstructionSet::current();
        let on_targets = |work: &(dyn Fn(&[F]) -> Result<Reduced<F>> + Sync)| {
            let targets = targets::<F>(target, self.element_shape(shape)?, shape)?;
            let targets = targets.as_slice();
            interruptible(target.py(), |_| work(targets))
        };
        match self {
            Self::Regression(loss) => {
                on_targets(&|targets| loss.reduce(set, values, targets, request))
            }
            Self::BinaryCrossEntropy(loss) => {
                on_targets(&|targets| loss.reduce(set, values, targets, request))
            }
            Self::CrossEntropy(loss) => {
                classification::cross_entropy(loss, (values, shape), target, request)
            }
            Self::Quantiles(loss) => {
                on_targets(&|targets| loss.reduce(set, values, targets, request))
            }
            Self::Gaussian(loss) => {
                on_targets(&|targets| loss.reduce(set, values, targets, request))
            }
        }
    }

    /// The options that a copy needs: those that are their defaults may be left out.
    fn options<'py>(&self, py: Python<'py>) -> PyResult<Options<'py>> {
        match self {
            Self::Regression(loss) => regression::options(py, *loss),
            Self::BinaryCrossEntropy(loss) => classification::binary_options(py, loss),
            Self::CrossEntropy(loss) => classification::options(py, loss),
            Self::Quantiles(loss) => distribution::quantiles_options(py, loss),
            Self::Gaussian(loss) => distribution::gaussian_options(py, *loss),
        }
    }
}

/// One target an element.
fn targets<'py, F: Number>(
    target: &Bound<'py, PyAny>,
    element_shape: &[usize],
    shape: &[usize],
) -> PyResult<Contiguous<'py, F>> {
    let array = arrays::numbers(target, "target")?;
    if array.shape() != element_shape {
        let part = if element_shape.len() == shape.len() {
            ""
        } else {
            " without its last axis"
        };
        return Err(Error::shape(
            "target",
            format!(
                "shape {}, the shape of pred{part}",
                shape_text(element_shape)
            ),
            shape_text(array.shape()),
        )
        .into());
    }
    Contiguous::new(&array)
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
    /// A loss of a class of its own, from that class and its options.
    pub(super) fn subclass<T: PyClass<BaseType = Self>>(
        class: T,
        kind: Kind,
        reduction: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<PyClassInitializer<T>> {
        let loss = Self::new(kind, reduction)?;
        Ok(PyClassInitializer::from(loss).add_subclass(class))
    }

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
        let element_shape = self.kind.element_shape(shape)?;
        let weights = element_weights::<F>(mask, sample_weight, element_shape)?;
        let request = Request {
            weights: weights.as_deref(),
            reduction: REDUCTIONS[self.reduction],
            extent,
        };
        let predictions = (predictions.as_slice(), shape);
        let reduced = self.kind.reduce(predictions, target, request)?;
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
    ///     Predictions; for classes, logits (..., C); for quantiles (..., Q); for a normal
    ///     distribution (..., 2).
    /// target : array_like
    ///     Shaped like ``pred``; for classes, indices (...) or probabilities (..., C); for quantiles
    ///     and a normal distribution (...).
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
        for (name, value) in self.kind.options(py)? {
            keywords.set_item(name, value)?;
        }
        Ok((PyTuple::empty(py), keywords))
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let this = slf.get();
        let mut options = Vec::new();
        for (name, value) in this.kind.options(slf.py())? {
            options.push(format!("{name}={}", value.repr()?));
        }
        options.push(format!("reduction={:?}", this.reduction()));
        Ok(format!(
            "{}({})",
            slf.get_type().name()?,
            options.join(", ")
        ))
    }
}
