"""How the outputs of the directions of a layer become one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def merge(mode: str, outputs: list[Array]) -> Array:
    """One output of one or two directions' outputs, (..., H) each."""
    if len(outputs) == 1:
        return outputs[0]
    forwards, backwards = outputs
    if mode == "concat":
        return np.concatenate([forwards, backwards], axis=-1)
    if mode == "mul":
        return forwards * backwards
    return (forwards + backwards) * {"sum": 1.0, "average": 0.5}[mode]


def merge_backward(mode: str, outputs: list[Array], dy: Array) -> list[Array]:
    """The gradient of each direction's output."""
    if len(outputs) == 1:
        return [dy]
    forwards, backwards = outputs
    if mode == "concat":
        return np.split(dy, 2, axis=-1)
    if mode == "mul":
        return [dy * backwards, dy * forwards]
    return [dy * {"sum": 1.0, "average": 0.5}[mode]] * 2


def merged_size(mode: str, size: int, directions: int) -> int:
    """How wide the merged output is."""
    return size * directions if mode == "concat" else size
