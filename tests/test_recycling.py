"""Memory of released outputs and caches is used again, and nothing of its content is ever seen."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest

import recurrust as rr
from reference.layers import KINDS, Arrays, gradients_of, named_state, randomize


def address(array: Any) -> int:
    """Where an array's memory is."""
    return int(array.ctypes.data)


def test_released_outputs_are_used_again_and_held_ones_never(rng: np.random.Generator) -> None:
    layer = rr.LSTM(3, 16)
    x = rng.normal(size=(40, 4, 3)).astype("f4")
    y, _ = layer(x)
    first = address(y)
    held = y[1:]
    del y
    other, _ = layer(-x)
    assert address(other) != first
    expected = held.copy()
    np.testing.assert_array_equal(layer(x)[0][1:], expected)
    np.testing.assert_array_equal(held, expected)
    del held
    gc.collect()
    again, _ = layer(x)
    assert address(again) == first
    np.testing.assert_array_equal(again[1:], expected)


def test_outputs_outlive_their_layer(rng: np.random.Generator) -> None:
    layer = rr.LSTM(3, 16)
    x = rng.normal(size=(40, 4, 3)).astype("f4")
    y, _ = layer(x)
    expected = y.copy()
    del layer
    gc.collect()
    y *= 2  # an ordinary array
    np.testing.assert_array_equal(y, 2 * expected)


def everything(layer: Any, x: Any, flags: Arrays) -> Arrays:
    """What a layer computes, in arrays that aren't recycled."""
    y, state, cache = layer.forward_with_cache(x, **flags)
    layer.zero_grad()
    dx, dstate = layer.backward(np.ones_like(y), dstate=state, cache=cache)
    inference, _ = layer(x, **flags)
    results = {"y": y, "inference": inference, "dx": dx}
    results |= named_state(state, "", "_n") | named_state(dstate, "d", "")
    return {name: array.copy() for name, array in results.items()} | gradients_of(layer)


@pytest.mark.parametrize("merge_mode", ["concat", "sum", "average", "mul"])
@pytest.mark.parametrize("return_sequences", [True, False])
@pytest.mark.parametrize("rows", [1, 7])
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_of_a_former_call_is_seen(
    rng: np.random.Generator, kind: str, rows: int, return_sequences: bool, merge_mode: str
) -> None:
    layer = getattr(rr, kind)(
        5,
        19,
        2,
        bidirectional=True,
        merge_mode=merge_mode,
        return_sequences=return_sequences,
        batch_first=True,
    )
    randomize(layer, rng)
    x = rng.normal(size=(rows, 23, 5)).astype("f4")
    lengths = rng.integers(0, 24, size=rows)
    lengths[0] = 11
    kinds: list[Arrays] = [{}, {"lengths": lengths}, {"mask": rng.random((rows, 23)) < 0.5}]
    fresh = [everything(layer, x, flags) for flags in kinds]
    for flags, expected in zip(kinds, fresh, strict=True):
        everything(layer, np.full_like(x, np.nan), {})
        for name, array in everything(layer, x, flags).items():
            np.testing.assert_array_equal(array, expected[name], err_msg=name)
