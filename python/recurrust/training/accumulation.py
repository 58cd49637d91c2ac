"""Gradients of several batches that make one step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from recurrust.training.tally import total_weight

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recurrust._core import Parameter
    from recurrust.training.passes import Measured
    from recurrust.training.protocols import Loss

__all__ = ["Accumulation"]


class Accumulation:
    """Puts gradients of batches together to that of one batch that holds all their samples.

    They are kept apart from the parameters' own gradients, so that a batch that turns out not to
    be finite leaves no trace, and nothing that callbacks do with gradients matters.
    """

    def __init__(self) -> None:
        self.batches = 0
        self._weight = 0.0
        self._loss = 0.0
        self._gradients: list[NDArray[Any]] = []

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """The shapes of the gradients so far; none before the first batch."""
        return [gradient.shape for gradient in self._gradients]

    def add(self, parameters: Sequence[Parameter], measured: Measured, loss: Loss) -> None:
        """Add the gradients that the parameters have now, of a batch."""
        weight = total_weight(loss, measured)
        factor = 1.0 if weight is None else weight
        if not self._gradients:
            self._gradients = [np.zeros_like(parameter.grad) for parameter in parameters]
        for total, parameter in zip(self._gradients, parameters, strict=True):
            total += parameter.grad * factor
        self.batches += 1
        self._loss += measured.value * factor
        self._weight += 0.0 if weight is None else weight

    def apply(self, parameters: Sequence[Parameter]) -> float:
        """Give the parameters the joint gradients, and return the joint loss."""
        # Without any valid element everything is zero already; sums have no weight.
        divisor = self._weight or 1.0
        for total, parameter in zip(self._gradients, parameters, strict=True):
            parameter.grad[...] = total / divisor
        return self._loss / divisor

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next step depends on."""
        return {
            "batches": self.batches,
            "weight": self._weight,
            "loss": self._loss,
            "gradients": list(self._gradients),
        }

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Accumulation:
        """Return one with the state of another."""
        accumulation = cls()
        accumulation.batches = int(state["batches"])
        accumulation._weight = float(state["weight"])
        accumulation._loss = float(state["loss"])
        accumulation._gradients = [_floats(array) for array in state["gradients"]]
        return accumulation


def _floats(array: Any) -> NDArray[Any]:
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
        raise TypeError(f"gradients must be arrays of floats, got {array!r:.80}")
    return array
