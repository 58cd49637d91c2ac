"""Losses and metrics of batches, put together to those of all their samples."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from recurrust import _core
from recurrust.exceptions import DtypeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recurrust.metrics import Metric
    from recurrust.training.passes import Measured
    from recurrust.training.protocols import Loss

__all__ = ["Tally", "total_weight"]

# Losses that count every element once unless told otherwise.
_PLAIN_MEANS = (
    _core.MSELoss,
    _core.MAELoss,
    _core.HuberLoss,
    _core.SmoothL1Loss,
    _core.BCEWithLogitsLoss,
)


class _Seen(NamedTuple):
    """Predictions and targets of some samples, for the metrics."""

    pred: NDArray[Any]
    target: NDArray[Any]
    # Whether they have steps on axis 1; else the valid steps of all samples stand on axis 0.
    steps: bool


class Tally:
    """Puts the losses of batches together to that of all their samples, and the metrics.

    Metrics may be any functions of all predictions and targets, so these are kept where there
    are metrics; losses need two sums.
    """

    def __init__(self) -> None:
        self._sum = 0.0
        self._weight = 0.0
        self._batches = 0
        self._seen: list[_Seen] = []

    def add(self, measured: Measured, loss: Loss) -> None:
        """Add the loss of a batch, or of a part of it."""
        self._batches += 1
        weight = total_weight(loss, measured)
        if weight is None:
            self._sum += measured.value
        else:
            self._weight += weight
            # A batch without any valid element has no mean.
            self._sum += measured.value * weight if weight != 0 else 0.0

    def keep(self, windows: Sequence[Measured]) -> None:
        """Keep a batch for the metrics; it may have been cut along its steps."""
        if not windows:
            return
        first = windows[0]
        # Copies: the targets may be views of memory that its owner uses again.
        pred = _along_steps([window.pred for window in windows])
        target = _along_steps([window.target for window in windows])
        if "mask" in first.weights:
            valid = _along_steps([window.weights["mask"] for window in windows])
            self._seen.append(_Seen(pred[valid], target[valid], False))
        else:
            self._seen.append(_Seen(pred, target, first.per_step))

    @property
    def loss(self) -> float:
        """The loss of all batches; NaN if there was none."""
        if self._batches == 0:
            return math.nan
        return self._sum / self._weight if self._weight != 0 else self._sum

    def result(self, metrics: Mapping[str, Metric]) -> dict[str, float]:
        """Return loss and metrics of all batches; NaN if there was none."""
        values = {"loss": self.loss}
        if metrics and not self._seen:
            return values | dict.fromkeys(metrics, math.nan)
        if metrics:
            seen = self._seen
            if len({(one.pred.shape[1:], one.target.shape[1:]) for one in seen}) > 1:
                seen = [_flat(one) for one in seen]  # batches of different numbers of steps
            pred = np.concatenate([one.pred for one in seen])
            target = np.concatenate([one.target for one in seen])
            for name, metric in metrics.items():
                values[name] = _number(name, metric(pred, target))
        return values

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the result depends on."""
        return {
            "sum": self._sum,
            "weight": self._weight,
            "batches": self._batches,
            "seen": [list(one) for one in _joined(self._seen)],
        }

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Tally:
        """Return a tally with the state of another."""
        tally = cls()
        tally._sum = float(state["sum"])
        tally._weight = float(state["weight"])
        tally._batches = int(state["batches"])
        tally._seen = [_seen_of(*one) for one in state["seen"]]
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


def _number(name: str, value: Any) -> float:
    """Return what a metric has returned: any number, also one of another library."""
    if not isinstance(value, str | bytes):
        with contextlib.suppress(TypeError, ValueError):
            if np.ndim(value) == 0:
                return float(value)
    raise DtypeError(f"metric {name!r} must return a number, got {value!r:.80}")


def _seen_of(pred: Any, target: Any, steps: Any) -> _Seen:
    for array in (pred, target):
        if not isinstance(array, np.ndarray) or array.shape[:1] != pred.shape[:1]:
            raise TypeError(f"predictions and targets must be arrays, got {array!r:.80}")
    return _Seen(pred, target, bool(steps))


def _along_steps(windows: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Return a copy of arrays put together along axis 1; of one alone, whatever its axes."""
    return np.concatenate(windows, axis=1) if len(windows) > 1 else np.array(windows[0])


def _flat(seen: _Seen) -> _Seen:
    """Put the steps of all samples on axis 0."""
    if not seen.steps:
        return seen
    pred, target = (array.reshape(-1, *array.shape[2:]) for array in (seen.pred, seen.target))
    return _Seen(pred, target, False)


def _joined(parts: Sequence[_Seen]) -> Iterator[_Seen]:
    """Put neighbours that are alike together: a file needs a name for each array."""

    def kind(one: _Seen) -> tuple[Any, ...]:
        pred, target = one.pred, one.target
        return pred.dtype, pred.shape[1:], target.dtype, target.shape[1:], one.steps

    for key, run in groupby(parts, kind):
        pred, target, _ = zip(*run, strict=True)
        yield _Seen(np.concatenate(pred), np.concatenate(target), key[-1])
