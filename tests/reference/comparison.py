"""How near two arrays must be."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike


def assert_close(
    got: ArrayLike, expected: ArrayLike, tolerance: float, name: str = "", least: float = 0.0
) -> None:
    """Assert equal shapes and differences of at most `tolerance` times the largest entry.

    The largest entry counts as `least` at least: what is left of larger numbers that have nearly
    cancelled has the rounding errors of those.
    """
    got, expected = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    assert got.shape == expected.shape, f"{name}: shape {got.shape}, expected {expected.shape}"
    if expected.size == 0:
        return
    assert np.isfinite(expected).all(), f"{name}: the expected values are not finite"
    error = np.abs(got - expected).max()
    allowed = tolerance * max(np.abs(expected).max(), least)
    assert error <= allowed, f"{name}: differs by {error:.3e}, allowed {allowed:.3e}"


def assert_all_close(
    got: Mapping[str, ArrayLike],
    expected: Mapping[str, ArrayLike],
    tolerance: float,
    least: float = 0.0,
) -> None:
    """Assert the same names, and that each array is close."""
    assert got.keys() == expected.keys()
    for name, array in expected.items():
        assert_close(got[name], array, tolerance, name, least)
