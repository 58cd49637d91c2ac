"""How data go through a network, and what the loss makes of them."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from recurrust import _core

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recurrust.sequential import Sequential
    from recurrust.training.protocols import Loss
    from recurrust.training.samples import Batch

__all__ = ["Measured", "backward", "measure", "modes_restored", "predict"]


class Measured(NamedTuple):
    """The loss of a batch, and what it was computed from."""

    value: float
    pred: NDArray[Any]
    target: Any
    # The keywords that tell the loss which elements count how much: mask, sample_weight.
    weights: dict[str, NDArray[Any]]
    # Whether there is an output for every step.
    per_step: bool


def predict(network: Sequential, batch: Batch) -> tuple[NDArray[Any], bool]:
    """Return outputs with samples on axis 0, and whether there is one for every step."""
    y = network(_in_layout(network, batch.x), batch.lengths)
    return _samples_first(network, y, batch)


def measure(network: Sequential, loss: Loss, batch: Batch) -> Measured:
    """Return the loss of a batch."""
    pred, per_step = predict(network, batch)
    weights = _weights(batch, per_step)
    call: Callable[..., Any] = loss
    return Measured(float(call(pred, batch.y, **weights)), pred, batch.y, weights, per_step)


def backward(
    network: Sequential, loss: Loss, batch: Batch, state: Sequence[Any] | None = None
) -> tuple[Measured, Sequence[Any]]:
    """Add the loss's gradients to those of the parameters.

    Returns
    -------
    measured : Measured
        The loss; where it is not finite, no gradients were added.
    state : sequence
        The network's states at the end, given those at the start.
    """
    y, final, cache = network.forward_with_cache(
        _in_layout(network, batch.x), batch.lengths, state=state, return_state=True
    )
    pred, per_step = _samples_first(network, y, batch)
    weights = _weights(batch, per_step)
    value, gradient = loss.value_and_grad(pred, batch.y, **weights)
    measured = Measured(float(value), pred, batch.y, weights, per_step)
    if math.isfinite(measured.value):
        if pred is not y:  # but a view with the samples first
            gradient = gradient.swapaxes(0, 1)
        network.backward(gradient, cache=cache, input_grad=False)
    return measured, final


@contextlib.contextmanager
def modes_restored(network: Sequential) -> Iterator[None]:
    """Put every layer back into the mode that it had."""
    modes = [getattr(layer, "training", True) for layer in network]
    try:
        yield
    finally:
        for layer, training in zip(network, modes, strict=True):
            if training:
                layer.train()
            else:
                layer.eval()


def _time_major(network: Sequential) -> bool:
    return network.recurrent and not network.batch_first


def _in_layout(network: Sequential, x: NDArray[Any]) -> NDArray[Any]:
    """Return inputs in the network's layout, as a view."""
    return x.swapaxes(0, 1) if _time_major(network) else x


def _samples_first(network: Sequential, y: NDArray[Any], batch: Batch) -> tuple[NDArray[Any], bool]:
    """Return outputs with samples on axis 0, and whether there is one for every step."""
    steps = batch.x.shape[1:2]  # none where samples are single indices
    told = [layer.return_sequences for layer in network if hasattr(layer, "return_sequences")]
    time_major = _time_major(network)
    axes = 2 if batch.stepwise else 3
    has_steps = y.ndim >= axes and (y.shape[0 if time_major else 1],) == steps
    if not has_steps or not all(told[-1:]):
        return y, False
    # Steps that come after a layer that gave them up are others, even if they are as many. Where
    # layers of the user's may have done so unseen, ragged targets tell.
    per_step = all(told)
    if batch.stepwise is not None and not all(isinstance(one, _core.Module) for one in network):
        per_step = batch.stepwise
    return y.swapaxes(0, 1) if time_major else y, per_step


def _weights(batch: Batch, per_step: bool) -> dict[str, NDArray[Any]]:
    weights: dict[str, NDArray[Any]] = {}
    if per_step and batch.lengths is not None:
        weights["mask"] = batch.valid_steps
    if batch.sample_weight is not None:
        weights["sample_weight"] = batch.sample_weight
    return weights
