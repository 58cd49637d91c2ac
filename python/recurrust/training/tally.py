"""Losses and metrics of batches, put together to those of all their samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from recurrust import _core

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recurrust.training.passes import Measured
    from recurrust.training.protocols import Loss, Metric

__all__ = ["Tally", "total_weight"]

# Losses that count every element once unless told otherwise.
_PLAIN_MEANS = (
    _core.MSELoss,
    _core.MAELoss,
    _core.HuberLoss,
    _core.SmoothL1Loss,
    _core.BCEWithLogitsLoss,
)


class Tally:
    """Puts the losses of batches together to that of all their samples, and the metrics.

    Metrics may be any functions of all predictions and targets, so these are kept where there
    are metrics; losses need two sums.
    """

    def __init__(self) -> None:
        self._sum = 0.0
        self._weight = 0.0
        self._batches = 0
        self._pred: list[NDArray[Any]] = []
        self._target: list[NDArray[Any]] = []

    def add(self, measured: Measured, loss: Loss, *, keep: bool) -> None:
        """Add a batch; keep its predictions and targets if there are metrics."""
        self._batches += 1
        weight = total_weight(loss, measured)
        if weight is None:
            self._sum += measured.value
        else:
            self._weight += weight
            # A batch without any valid element has no mean.
            self._sum += measured.value * weight if weight != 0 else 0.0
        if keep:
            valid = measured.weights.get("mask")
            self._pred.append(measured.pred if valid is None else measured.pred[valid])
            # The target may be a view of memory that its owner uses again.
            target = measured.target
            self._target.append(np.array(target) if valid is None else target[valid])

    @property
    def loss(self) -> float:
        """The loss of all batches; NaN if there was none."""
        if self._batches == 0:
            return math.nan
        return self._sum / self._weight if self._weight != 0 else self._sum

    def result(self, metrics: Mapping[str, Metric]) -> dict[str, float]:
        """Return loss and metrics of all batches; NaN if there was none."""
        values = {"loss": self.loss}
        if metrics and self._batches == 0:
            return values | dict.fromkeys(metrics, math.nan)
        if metrics:
            pred, target = np.concatenate(self._pred), np.concatenate(self._target)
            for name, metric in metrics.items():
                values[name] = float(metric(pred, target))
        return values

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the result depends on."""
        return {
            "sum": self._sum,
            "weight": self._weight,
            "batches": self._batches,
            "pred": _joined(self._pred),
            "target": _joined(self._target),
        }

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Tally:
        """Return a tally with the state of another."""
        tally = cls()
        tally._sum = float(state["sum"])
        tally._weight = float(state["weight"])
        tally._batches = int(state["batches"])
        tally._pred = list(state["pred"])
        tally._target = list(state["target"])
        return tally


def total_weight(loss: Loss, measured: Measured) -> float | None:
    """Return what a mean was divided by, up to a factor common to all batches; None for sums."""
    if getattr(loss, "reduction", "mean") == "sum":
        return None
    if type(loss) in _PLAIN_MEANS and not measured.weights:
        return float(measured.pred.size)  # as total_weight says, but that takes as long as the loss
    of_loss: Callable[..., float] | None = getattr(loss, "total_weight", None)
    if of_loss is not None:
        return float(of_loss(measured.pred, measured.target, **measured.weights))
    elements = np.ones(measured.target.shape)
    for weight in measured.weights.values():
        elements *= weight.reshape(weight.shape + (1,) * (elements.ndim - weight.ndim))
    return float(elements.sum())


def _joined(parts: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """Put neighbours that are alike together: a file needs a name for each array."""
    runs = groupby(parts, key=lambda part: (part.dtype, part.shape[1:]))
    return [np.concatenate(list(run)) for _, run in runs]
