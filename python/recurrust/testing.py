"""Checking gradients against central differences."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from recurrust import _core
from recurrust.exceptions import DtypeError, StateError
from recurrust.sequential import Layer, Sequential

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["check_gradients"]

# Rounding excuses an error only where it is a smaller part than this of the array's own greatest
# gradient.
_GREATEST_ROUNDING = 1e-3


def check_gradients(
    model: Layer,
    x: ArrayLike,
    y: ArrayLike,
    loss: Any,
    *,
    step: float = 1e-5,
    tolerance: float = 1e-7,
    lengths: ArrayLike | None = None,
    mask: ArrayLike | None = None,
) -> dict[str, float]:
    """Compare every gradient of a float64 model with central differences of the loss.

    Models of dtype float64 only: differences of a float32 loss are too coarse to judge by. The
    model runs in the mode that it is in; in training mode the same dropout masks are drawn
    every time. Values, gradients and random state are as before afterwards.

    Parameters
    ----------
    model : Layer
        A network or layer of dtype float64.
    x : array_like
        Inputs in the model's own layout. Integers are taken as they are and have no gradient.
    y : array_like
        Targets in the layout of the model's output.
    loss : object
        A loss; its value must be a number.
    step : float, default 1e-5
        How far each number is moved in both directions.
    tolerance : float, default 1e-7
        The greatest error allowed, as a fraction of the greatest gradient within the same array.
        What rounding of the loss explains is allowed as well, as long as that is less than
        this fraction of the greatest gradient of all arrays, and small within its own array.
    lengths, mask : array_like, optional
        Passed to the model.

    Returns
    -------
    dict of str to float
        The greatest relative error for "x" and each parameter, rounding included.

    Raises
    ------
    AssertionError
        If an error exceeds the tolerance, naming the array and place of the worst.
    StateError
        If the loss is so large against its gradient that rounding hides errors.
    DtypeError
        If the model is not float64.

    Examples
    --------
    >>> import numpy as np, recurrust as rr
    >>> layer = rr.Linear(3, 2, dtype="float64", seed=1)
    >>> errors = check_gradients(layer, np.ones((4, 3)), np.zeros((4, 2)), rr.MSELoss())
    >>> sorted(errors)
    ['bias', 'weight', 'x']
    """
    network = model if isinstance(model, Sequential) else Sequential(model)
    if network.dtype != "float64":
        raise DtypeError(
            f"model must be float64 for central differences, got {network.dtype}: use "
            'model.astype("float64")'
        )
    inputs = np.array(x)
    if inputs.dtype.kind == "f":
        inputs = inputs.astype(np.float64)
    target = np.asarray(y)
    parameters = dict(model.named_parameters())
    random_state = _core.get_rng_state()
    gradients_before = {name: parameter.grad.copy() for name, parameter in parameters.items()}

    def value() -> float:
        _core.set_rng_state(random_state)
        return float(loss(network(inputs, lengths, mask), target))

    try:
        for parameter in parameters.values():
            parameter.grad[...] = 0
        _core.set_rng_state(random_state)
        pred, cache = network.forward_with_cache(inputs, lengths, mask)
        loss_value, dpred = loss.value_and_grad(pred, target)
        dx = network.backward(dpred, cache=cache)
        comparisons = {
            name: _compare(parameter.grad, parameter.data.copy(), parameter.assign, value, step)
            for name, parameter in parameters.items()
        }
        if inputs.dtype.kind == "f":
            if dx is None:
                raise AssertionError("the model returned no gradient of x")
            start = inputs.copy()

            def assign(values: NDArray[Any]) -> None:
                inputs[...] = values

            comparisons["x"] = _compare(dx, start, assign, value, step)
    finally:
        for name, parameter in parameters.items():
            parameter.grad[...] = gradients_before[name]
        _core.set_rng_state(random_state)
    _judge(comparisons, tolerance, float(loss_value), step)
    return {name: comparison.error for name, comparison in comparisons.items()}


@dataclass(frozen=True)
class _Comparison:
    """The worst place of one gradient: `error` is relative to `scale`, the greatest gradient."""

    error: float
    scale: float
    found: str


def _judge(
    comparisons: Mapping[str, _Comparison], tolerance: float, loss: float, step: float
) -> None:
    """Raise if a gradient is wrong, or may well be as far as differences can tell."""
    # Two values of the loss are each known to a few ulp only.
    rounding = 8 * float(np.finfo(np.float64).eps) * abs(loss) / step
    wrong = {
        name: comparison
        for name, comparison in comparisons.items()
        if comparison.error == np.inf
        or (comparison.error - tolerance) * comparison.scale > rounding
    }
    if wrong:
        name, worst = max(wrong.items(), key=lambda item: item[1].error)
        raise AssertionError(
            f"gradient of {name}{worst.found}: relative error {worst.error:.3g} exceeds "
            f"{tolerance:.3g}"
        )
    greatest = max((comparison.scale for comparison in comparisons.values()), default=0.0)
    undecided = [
        (name, _GREATEST_ROUNDING * comparison.scale)
        for name, comparison in comparisons.items()
        if comparison.error > tolerance
    ]
    for what, most in (("any array", tolerance * greatest), *undecided):
        if rounding > most:
            raise StateError(
                f"the loss ({loss:.3g}) is too large against the gradient of {what} for "
                f"differences to decide: rounding may shift them by {rounding:.3g}, which must not "
                f"exceed {most:.3g}; take constants out of the loss, or a greater step or tolerance"
            )


def _compare(
    gradient: NDArray[Any],
    start: NDArray[Any],
    assign: Callable[[NDArray[Any]], Any],
    value: Callable[[], float],
    step: float,
) -> _Comparison:
    """Compare a gradient with central differences."""
    expected = np.empty(start.shape)
    moved = start.copy()
    try:
        for index in np.ndindex(start.shape):
            moved[index] = start[index] + step
            assign(moved)
            above = value()
            moved[index] = start[index] - step
            assign(moved)
            expected[index] = (above - value()) / (2 * step)
            moved[index] = start[index]
    finally:
        assign(start)
    if start.size == 0:
        return _Comparison(0.0, 0.0, "")
    # What is not finite must neither pass for right nor hide other errors.
    scale = float(np.abs(np.nan_to_num(np.stack([gradient, expected]))).max())
    differences = np.abs(gradient - expected)
    errors = np.divide(differences, scale, out=np.zeros_like(differences), where=differences > 0)
    errors[~np.isfinite(differences)] = np.inf
    place = np.unravel_index(int(errors.argmax()), errors.shape)
    index_text = ", ".join(str(int(index)) for index in place)
    found = f"[{index_text}] is {gradient[place]:.10g}, central difference {expected[place]:.10g}"
    return _Comparison(float(errors[place]), scale, found)
