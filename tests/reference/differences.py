"""Gradients by central differences: slow, and independent of any derivation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

STEP = 1e-5
# Of the largest gradient of a tensor. The truncation error of the differences is about
# STEP ** 2 = 1e-10, their rounding error about 1e-16 / STEP = 1e-11.
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
        point[index] = value + STEP
        above = np.asarray(terms(point))
        point[index] = value - STEP
        below = np.asarray(terms(point))
        point[index] = value
        gradient[index] = (above - below).sum() / (2 * STEP)
    return gradient
