"""A table of vectors, one for each index: y = weight[x]."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def embed(weight: Array, x: NDArray[np.integer]) -> Array:
    """The vectors of indices x, (...,), from a table, (n, dim)."""
    return weight[x]


def embed_backward(
    weight: Array, x: NDArray[np.integer], dy: Array, padding_idx: int | None = None
) -> Array:
    """From dL/dy to dL/dweight: each vector has the sum over the places where its index occurs."""
    gradient = np.zeros(weight.shape)
    for place in np.ndindex(x.shape):
        if x[place] != padding_idx:
            gradient[x[place]] += dy[place]
    return gradient
