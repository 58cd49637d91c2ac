"""Layer normalisation (Ba, Kiros and Hinton 2016), without gain and bias: those are the caller's.

    n = (v - mean(v)) / sqrt(variance(v) + EPSILON)

The mean and the (biased) variance are taken over the last axis, for each row by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

EPSILON = 1e-5


@dataclass(frozen=True)
class Normalized:
    """The normalised rows, and what each was divided by."""

    value: Array  # (B, N)
    deviation: Array  # (B, 1)


def normalize(v: Array) -> Normalized:
    """Normalise every row of v, (B, N)."""
    centred = v - v.mean(axis=-1, keepdims=True)
    variance = (centred**2).mean(axis=-1, keepdims=True)
    deviation = np.sqrt(variance + EPSILON)
    return Normalized(centred / deviation, deviation)


def normalize_backward(tape: Normalized, dn: Array) -> Array:
    """From dL/dn to dL/dv.

    Moving v along (1, ..., 1) doesn't change n, and moving it along n changes only the deviation.
    So dn loses its parts along these two, and what is left is divided by the deviation:
        dv = (dn - mean(dn) - n mean(n dn)) / deviation
    """
    n = tape.value
    along_ones = dn.mean(axis=-1, keepdims=True)
    along_n = (n * dn).mean(axis=-1, keepdims=True)
    return (dn - along_ones - n * along_n) / tape.deviation
