"""Numbers that tell a reader how good predictions are.

`Trainer` takes them by name (`metrics=["accuracy"]`) or as functions; a metric of your own is any
function of predictions and targets that returns a number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from recurrust.exceptions import ConfigError, DtypeError, ShapeError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["accuracy", "mean_absolute_error", "named_metrics", "root_mean_squared_error"]

Metric: TypeAlias = "Callable[[NDArray[Any], NDArray[Any]], float]"

# How far probabilities may be from a sum of 1; those of float16 are some 0.001 off.
_ROUNDING = 0.01

# Quantities of the history that no metric may be named after.
_RESERVED = ("loss", "lr", "skipped")


def accuracy(pred: ArrayLike, target: ArrayLike) -> float:
    """Return the fraction of right classes.

    Parameters
    ----------
    pred : array_like
        Logits or probabilities, the classes on the last axis; their greatest entry is the class
        predicted. A last axis of size 1, or a `pred` of one axis, holds the logits of yes: above 0
        is yes. A prediction of NaN is wrong.
    target : array_like
        The classes, one axis less than `pred`: integers, of which negative ones are left out. Or,
        shaped like `pred`, the probabilities of the classes (which sum to 1) or of yes.

    Returns
    -------
    float
        Between 0 and 1; NaN if there is nothing to compare.

    Raises
    ------
    ShapeError
        If the shapes don't go together.
    DtypeError
        If classes are no integers.
    ConfigError
        If probabilities don't sum to 1, as with several yes or no for each sample.

    Examples
    --------
    >>> accuracy([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]], [1, 0, 0])
    0.6666666666666666
    """
    pred, target = np.asarray(pred), np.asarray(target)
    if pred.shape == target.shape:
        if pred.ndim < 2 or pred.shape[-1] == 1:
            right = ((pred > 0) == (target > 0.5)) & ~np.isnan(pred)
        else:
            _require_probabilities(target)
            right = _greatest_is(pred, target.argmax(axis=-1))
    elif target.shape == pred.shape[:-1] and pred.shape[-1] > 1:
        if target.dtype.kind not in "iub":
            raise DtypeError(f"target must hold classes as integers, got dtype {target.dtype}")
        right = _greatest_is(pred, target)[target >= 0]
    else:
        raise ShapeError(
            "target must have the shape of pred without its last axis (classes), or that of pred "
            f"(probabilities): pred has shape {pred.shape}, target {target.shape}"
        )
    return float(right.mean()) if right.size else math.nan


def mean_absolute_error(pred: ArrayLike, target: ArrayLike) -> float:
    """Return the mean absolute difference (MAE).

    Parameters
    ----------
    pred, target : array_like
        Numbers in any shape, the same for both.

    Returns
    -------
    float
        In the unit of the targets; NaN if there is nothing to compare.

    Raises
    ------
    ShapeError
        If the shapes differ.

    Examples
    --------
    >>> mean_absolute_error([1.0, 2.0], [1.0, 4.0])
    1.0
    """
    differences = _differences(pred, target)
    return float(np.abs(differences).mean()) if differences.size else math.nan


def root_mean_squared_error(pred: ArrayLike, target: ArrayLike) -> float:
    """Return the root of the mean squared difference (RMSE).

    Parameters
    ----------
    pred, target : array_like
        Numbers in any shape, the same for both.

    Returns
    -------
    float
        In the unit of the targets; NaN if there is nothing to compare.

    Raises
    ------
    ShapeError
        If the shapes differ.

    Examples
    --------
    >>> root_mean_squared_error([1.0, 2.0], [4.0, 6.0])
    3.5355339059327378
    """
    differences = _differences(pred, target)
    return math.sqrt(np.square(differences).mean()) if differences.size else math.nan


_NAMED: dict[str, Metric] = {
    "accuracy": accuracy,
    "mae": mean_absolute_error,
    "mean_absolute_error": mean_absolute_error,
    "rmse": root_mean_squared_error,
    "root_mean_squared_error": root_mean_squared_error,
}


def named_metrics(
    metrics: Iterable[str | Metric] | Mapping[str, str | Metric],
) -> dict[str, Metric]:
    """Return metrics by the name that the history has for each; what `Trainer` calls.

    Parameters
    ----------
    metrics : iterable, or mapping of str to metric
        Names or functions. In an iterable each goes by its own name.

    Raises
    ------
    DtypeError
        If it is no list and no mapping.
    ConfigError
        If there is no metric of a name, one is no function, or two have the same name or one
        that the history needs for something else.
    """
    if not isinstance(metrics, Iterable) or isinstance(metrics, str):
        raise DtypeError(
            f"metrics must be a list or mapping of names or functions, got {metrics!r:.80}"
        )
    if isinstance(metrics, Mapping):
        pairs = list(metrics.items())
    else:
        pairs = [(_name_of(metric), metric) for metric in metrics]
    named: dict[str, Metric] = {}
    for name, metric in pairs:
        if name in named:
            raise ConfigError(f"two metrics are named {name!r}: pass a mapping of names to metrics")
        if name in _RESERVED or name.startswith("val_"):
            raise ConfigError(f"a metric can't be named {name!r}, which stands for something else")
        named[name] = _function_of(metric)
    return named


def _name_of(metric: str | Metric) -> str:
    if isinstance(metric, str):
        return metric
    return getattr(metric, "__name__", type(metric).__name__)


def _function_of(metric: str | Metric) -> Metric:
    if isinstance(metric, str):
        if metric not in _NAMED:
            raise ConfigError(f"there is no metric {metric!r}; there are {', '.join(_NAMED)}")
        return _NAMED[metric]
    if not callable(metric):
        raise ConfigError(
            f"a metric must be a name or a function of (pred, target), got {metric!r:.80}"
        )
    return metric


def _require_probabilities(target: NDArray[Any]) -> None:
    """Raise unless the last axis holds the probabilities of classes, of which one is right."""
    sums = target.sum(axis=-1, dtype=np.float64)
    fine = np.abs(sums - 1) < _ROUNDING
    if not fine.all():
        raise ConfigError(
            "accuracy compares the greatest of pred and target, so each row of target must sum to "
            f"1, but one sums to {sums[~fine][0]:g}. If every column is a yes or no of its own, "
            "use a function: lambda pred, target: ((pred > 0) == (target > 0.5)).mean()"
        )


def _greatest_is(pred: NDArray[Any], classes: NDArray[Any]) -> NDArray[np.bool_]:
    right: NDArray[np.bool_] = (pred.argmax(axis=-1) == classes) & ~np.isnan(pred).any(axis=-1)
    return right


def _differences(pred: ArrayLike, target: ArrayLike) -> NDArray[np.float64]:
    pred, target = np.asarray(pred), np.asarray(target)
    if pred.shape != target.shape:
        raise ShapeError(
            f"pred and target must have the same shape, got {pred.shape} and {target.shape}"
        )
    differences: NDArray[np.float64] = np.subtract(pred, target, dtype=np.float64)
    return differences
