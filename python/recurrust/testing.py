"""Checking gradients against central differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from recurrust import _core
from recurrust.exceptions import DtypeError
from recurrust.sequential import Layer, Sequential

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["check_gradients"]


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
    """Compare every gradient of a model with central differences of the loss.

    The model runs in the mode that it is in; in training mode the same dropout masks are drawn
    every time. Values, gradients and random state are as before afterwards.

    Parameters
    ----------
    model : Layer
        A float64 network or layer.
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
        What rounding of the loss explains is not counted as error.
    lengths, mask : array_like, optional
        Passed to the model.

    Returns
    -------
    dict of str to float
        The greatest relative error for "x" and each parameter.

    Raises
    ------
    AssertionError
        If an error exceeds the tolerance, naming the array and place of the worst.
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
        # Two values of the loss are each known to a few ulp only.
        rounding = 8 * np.finfo(np.float64).eps * abs(float(loss_value)) / step
        errors: dict[str, float] = {}
        worst = (0.0, "")
        for name, parameter in parameters.items():
            compared = _compare(
                parameter.grad, parameter.data.copy(), parameter.assign, value, step, rounding
            )
            errors[name] = compared[0]
            worst = max(worst, (compared[0], f"{name}{compared[1]}"))
        if inputs.dtype.kind == "f":
            if dx is None:
                raise AssertionError("the model returned no gradient of x")
            start = inputs.copy()

            def assign(values: NDArray[Any]) -> None:
                inputs[...] = values

            compared = _compare(dx, start, assign, value, step, rounding)
            errors["x"] = compared[0]
            worst = max(worst, (compared[0], f"x{compared[1]}"))
    finally:
        for name, parameter in parameters.items():
            parameter.grad[...] = gradients_before[name]
        _core.set_rng_state(random_state)
    if not worst[0] <= tolerance:
        raise AssertionError(
            f"gradient of {worst[1]}: relative error {worst[0]:.3g} exceeds {tolerance:.3g}"
        )
    return errors


def _compare(
    gradient: NDArray[Any],
    start: NDArray[Any],
    assign: Callable[[NDArray[Any]], Any],
    value: Callable[[], float],
    step: float,
    rounding: float,
) -> tuple[float, str]:
    """Return the greatest relative error of a gradient, and where it is."""
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
        return 0.0, ""
    # What is not finite must neither pass for right nor hide other errors.
    scale = np.abs(np.nan_to_num(np.stack([gradient, expected]))).max()
    excess = np.maximum(np.abs(gradient - expected) - rounding, 0.0)
    errors = np.divide(excess, scale, out=np.zeros_like(excess), where=excess > 0)
    errors[~np.isfinite(excess)] = np.inf
    place = np.unravel_index(int(errors.argmax()), errors.shape)
    index_text = ", ".join(str(int(index)) for index in place)
    found = f"[{index_text}] is {gradient[place]:.10g}, central difference {expected[place]:.10g}"
    return float(errors[place]), found
