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


def central_differences(
    terms: Callable[[NDArray[np.float64]], ArrayLike], at: ArrayLike
) -> NDArray[np.float64]:
    """The gradient of the sum of the terms that a function of one array returns.

    Each term is subtracted from its own counterpart, so that large sums don't swallow digits.
    """
    point = np.array(at, np.float64)
    gradient = np.empty_like(point)
    for index in np.ndindex(point.shape):
        value = point[index]
        results = {}
        for steps in (-2, -1, 1, 2):
            point[index] = value + steps * STEP
            results[steps] = np.asarray(terms(point))
        point[index] = value
        near, far = results[1] - results[-1], results[2] - results[-2]
        gradient[index] = (8 * near - far).sum() / (12 * STEP)
    return gradient
