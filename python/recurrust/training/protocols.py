"""What a trainer asks of the objects that it is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Loss", "Optimizer", "Scheduler"]


class Loss(Protocol):
    """What a loss must offer: one of recurrust, or your own.

    `mask` and `sample_weight` are passed as keywords where there are any. A loss that does not
    weigh all elements alike also has `total_weight`, with the arguments of the call: the sum that
    the mean is divided by.
    """

    def __call__(self, pred: Any, target: Any, /) -> Any:
        """Return the loss."""

    @property
    def value_and_grad(self) -> Callable[..., tuple[Any, NDArray[Any]]]:
        """Return the loss and its gradient with respect to the prediction."""


class Optimizer(Protocol):
    """What an optimizer must offer: one of recurrust, or your own.

    Checkpoints need `state_dict()` and `load_state_dict(state)` as well.
    """

    @property
    def lr(self) -> float:
        """The learning rate."""

    def step(self) -> Any:
        """Move the parameters along their gradients."""


class Scheduler(Protocol):
    """What a learning rate schedule must offer: one of recurrust, or your own.

    One that has the attribute `optimizer` is used with that optimizer only. Checkpoints need
    `load_state_dict(state)` as well.
    """

    def step(self, metric: float | None = None, /) -> Any:
        """Go on to the next rate."""

    def state_dict(self) -> Any:
        """Return all that changes from step to step."""
