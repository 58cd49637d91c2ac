"""Gradients by central differences: slow, and independent of any derivation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

STEP = 3e-4
# Of the largest gradient of a tensor. With four points, the truncation error of the differences is
# about STEP ** 4 = 1e-14, their rounding error about 1e-16 / STEP = 3e-13. Two points need a much
# smaller step, and then a network whose gradients are small drowns in rounding errors.
TOLERANCE = 1e-7


def derivative(terms: Callable[[float], ArrayLike], step: float = STEP) -> float:
    """The derivative at 0 of the sum of the terms that a function of one number returns.

    Each term is subtracted from its own counterpart, so that large sums don't swallow digits.
    """
    results = {steps: np.asarray(terms(steps * step)) for steps in (-2, -1, 1, 2)}
    near, far = results[1] - results[-1], results[2] - results[-2]
    return float((8 * near - far).sum() / (12 * step))


def central_differences(
    terms: Callable[[NDArray[np.float64]], ArrayLike], at: ArrayLike, step: float = STEP
) -> NDArray[np.float64]:
    """The gradient of the sum of the terms that a function of one array returns."""
    point = np.array(at, np.float64)
    gradient = np.empty_like(point)
    for index in np.ndindex(point.shape):
        value = float(point[index])

        def moved(by: float, index: tuple[int, ...] = index, value: float = value) -> ArrayLike:
            point[index] = value + by
            return terms(point)

        gradient[index] = derivative(moved, step)
        point[index] = value
    return gradient
