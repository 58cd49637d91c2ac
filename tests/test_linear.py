"""`Linear` beside NumPy, for sizes around those of registers, tiles and panels."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import recurrust as rr

Array = NDArray[Any]

# Few rows and few outputs go row by row, others tile by tile; 400 is more than one block of depth.
ROWS = (1, 4, 5, 7, 97, 400)
INPUTS = (1, 3, 17, 400)
OUTPUTS = (1, 2, 3, 15, 16, 17, 33, 65, 130)


def assert_product(got: Array, a: Array, b: Array, what: str) -> None:
    """Assert that an array is the product of two, but for roundings of what was summed up."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    assert got.shape == (len(a), b.shape[1]), what
    allowed = 8 * np.finfo(got.dtype).eps * (abs(a) @ abs(b))
    assert (abs(got - a @ b) <= allowed).all(), what


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("bias", [False, True])
def test_values_and_gradients(bias: bool, dtype: str, rng: np.random.Generator) -> None:
    for rows, inputs, outputs in itertools.product(ROWS, INPUTS, OUTPUTS):
        layer = rr.Linear(inputs, outputs, bias, dtype=dtype)
        x, dy = (rng.normal(size=(rows, size)).astype(dtype) for size in (inputs, outputs))
        ones = np.ones((rows, 1), dtype)
        # The bias is one more column of the weights, with an input of one.
        weights = np.column_stack(list(layer.state_dict().values()))
        wide = np.hstack([x, ones]) if bias else x
        y, cache = layer.forward_with_cache(x)
        what = f"{rows} rows, {inputs} to {outputs}: "
        assert_product(y, wide, weights.T, what + "y")
        np.testing.assert_array_equal(layer(x), y)
        dx = layer.backward(dy, cache=cache)
        assert_product(dx, dy, weights[:, :inputs], what + "dx")
        gradients = np.column_stack([parameter.grad for parameter in layer.parameters()])
        assert_product(gradients, dy.T, wide, what + "weights")


@pytest.mark.parametrize("outputs", [1, 2, 5, 70])
def test_results_do_not_depend_on_layout_or_company(outputs: int, rng: np.random.Generator) -> None:
    """Bit for bit: the same rows, in other strides, order and number."""
    layer = rr.Linear(37, outputs)
    x = rng.normal(size=(10, 12, 37)).astype("f4")
    y = layer(x)
    np.testing.assert_array_equal(layer(x.reshape(120, 37)), y.reshape(120, outputs))
    np.testing.assert_array_equal(layer(x.swapaxes(0, 1)), y.swapaxes(0, 1))
    np.testing.assert_array_equal(layer(x[::-1, ::3]), y[::-1, ::3])
    np.testing.assert_array_equal(layer(x[:, :1]), y[:, :1])
    np.testing.assert_array_equal(layer(x[..., ::-1][..., ::-1]), y)
    columns = np.asfortranarray(x.reshape(120, 37))
    np.testing.assert_array_equal(layer(columns), y.reshape(120, outputs))


def test_a_bad_row_stays_alone(rng: np.random.Generator) -> None:
    for outputs in (1, 3, 70):
        layer = rr.Linear(20, outputs)
        x, dy = rng.normal(size=(50, 20)).astype("f4"), rng.normal(size=(50, outputs)).astype("f4")
        y, cache = layer.forward_with_cache(x)
        dx = layer.backward(dy, cache=cache)
        x[7], dy[7] = np.nan, np.inf
        fine = np.arange(50) != 7
        bad, cache = layer.forward_with_cache(x)
        np.testing.assert_array_equal(bad[fine], y[fine])
        assert np.isnan(bad[7]).all()
        np.testing.assert_array_equal(layer.backward(dy, cache=cache)[fine], dx[fine])
