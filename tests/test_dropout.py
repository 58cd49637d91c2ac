"""`Dropout` with one mask for all steps, and the masks in its caches."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import recurrust as rr
from reference.differences import central_differences

SHAPES = ((5, 3, 4), (1, 3, 4), (5, 1, 1), (0, 3, 4), (5, 0, 4), (5, 3, 0), (6, 4), (0, 4), (1, 1))


def step_axis(x: NDArray[Any], batch_first: bool) -> int:
    return int(batch_first and x.ndim == 3)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_one_mask_for_all_steps(
    p: float, batch_first: bool, dtype: str, rng: np.random.Generator
) -> None:
    layer = rr.Dropout(p, variational=True, batch_first=batch_first)
    for shape in SHAPES:
        x, dy = rng.normal(size=(2, *shape)).astype(dtype)
        y, cache = layer.forward_with_cache(x)
        dx = layer.backward(dy, cache=cache)
        assert y.dtype == dx.dtype == dtype
        mask = cache.mask
        if p == 0:
            assert mask is None
            np.testing.assert_array_equal(y, x, strict=True)
            np.testing.assert_array_equal(dx, dy, strict=True)
            continue
        expected = list(shape)
        expected[step_axis(x, batch_first)] = 1
        assert mask is not None
        assert (mask.shape, mask.dtype) == (tuple(expected), dtype)
        assert np.isin(mask, [0] if p == 1 else [0, np.array(1 / (1 - p), dtype)]).all()
        np.testing.assert_array_equal(y, x * mask, strict=True)
        np.testing.assert_array_equal(dx, dy * mask, strict=True)


def test_samples_and_calls_have_masks_of_their_own() -> None:
    layer = rr.Dropout(0.5, variational=True)
    rr.manual_seed(1)
    x = np.ones((3, 50, 40), "f4")
    first, second = layer(x), layer(x)
    assert (first != second).any()
    mask = first[0] / 2
    # Among 50 samples of 40 features no two agree, and every feature is dropped here and there.
    assert len(np.unique(mask, axis=0)) == 50
    assert abs(mask.mean() - 0.5) < 5 * 0.5 / np.sqrt(mask.size)
    assert ((mask.mean(axis=0) > 0) & (mask.mean(axis=0) < 1)).all()
    np.testing.assert_array_equal(first, np.broadcast_to(first[0], first.shape))


def test_the_layout_changes_nothing_and_a_batch_of_one_is_a_sequence(
    rng: np.random.Generator,
) -> None:
    time_major = rr.Dropout(0.4, variational=True)
    batch_major = rr.Dropout(0.4, variational=True, batch_first=True)
    x = rng.normal(size=(6, 3, 5))
    state = rr.get_rng_state()
    y = time_major(x)
    rr.set_rng_state(state)
    np.testing.assert_array_equal(batch_major(x.swapaxes(0, 1)).swapaxes(0, 1), y)
    for layer in (time_major, batch_major):
        rr.set_rng_state(state)
        alone = layer(x[:, 0])
        rr.set_rng_state(state)
        np.testing.assert_array_equal(time_major(x[:, :1])[:, 0], alone)


@pytest.mark.parametrize("shape", [(5, 3, 4), (5, 4)])
@pytest.mark.parametrize("batch_first", [False, True])
def test_central_differences(
    batch_first: bool, shape: tuple[int, ...], rng: np.random.Generator
) -> None:
    layer = rr.Dropout(0.4, variational=True, batch_first=batch_first)
    x, dy = rng.normal(size=(2, *shape))
    state = rr.get_rng_state()

    def moved(at: NDArray[Any]) -> NDArray[Any]:
        rr.set_rng_state(state)
        return layer(at) * dy

    expected = central_differences(moved, x)
    rr.set_rng_state(state)
    _, cache = layer.forward_with_cache(x)
    np.testing.assert_allclose(layer.backward(dy, cache=cache), expected, rtol=0, atol=1e-8)


def test_what_is_dropped_leaves_no_trace() -> None:
    layer = rr.Dropout(1, variational=True)
    x = np.full((3, 2, 4), np.nan)
    x[0, 0, 0] = np.inf
    y, cache = layer.forward_with_cache(x)
    assert not y.any()
    assert not layer.backward(x, cache=cache).any()


def test_masks_of_plain_dropout_and_of_evaluation(rng: np.random.Generator) -> None:
    x = rng.normal(size=(4, 3, 2, 2))
    layer = rr.Dropout(0.5)
    y, cache = layer.forward_with_cache(x)
    np.testing.assert_array_equal(y, x * cache.mask, strict=True)
    cache.mask[...] = 7  # a copy
    np.testing.assert_array_equal(layer.backward(x, cache=cache), y)
    variational = rr.Dropout(0.5, variational=True).eval()
    state = rr.get_rng_state()
    y, cache = variational.forward_with_cache(x[0])
    np.testing.assert_array_equal(y, x[0])
    assert cache.mask is None
    assert rr.get_rng_state() == state


@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4, 5)])
def test_other_axes_are_refused(shape: tuple[int, ...]) -> None:
    for batch_first, expected in ((False, r"\(steps, batch, "), (True, r"\(batch, steps, ")):
        layer = rr.Dropout(0.5, variational=True, batch_first=batch_first)
        state = rr.get_rng_state()
        with pytest.raises(rr.ShapeError, match=rf"^x: expected {expected}features\) or \(steps, "):
            layer(np.ones(shape))
        assert rr.get_rng_state() == state


def test_layers_of_a_network_agree_on_the_axis_of_steps(rng: np.random.Generator) -> None:
    lstm = rr.LSTM(3, 4, batch_first=True)
    with pytest.raises(
        rr.ConfigError, match=r"agree on batch_first: layer 0 .*layer 1 \(Dropout\)"
    ):
        rr.Sequential(lstm, rr.Dropout(0.5, variational=True))
    model = rr.Sequential(lstm, rr.Dropout(0.5, variational=True, batch_first=True))
    assert model.batch_first
    y, cache = model.forward_with_cache(rng.normal(size=(2, 6, 3)))
    expected = lstm(rng.normal(size=(2, 6, 3)))[0].shape
    assert y.shape == expected
    dropped = y == 0
    np.testing.assert_array_equal(dropped, np.broadcast_to(dropped[:, :1], y.shape))
    assert dropped.any()
    assert not dropped.all()
    model.backward(np.ones_like(y), cache=cache)
    # Plain dropout doesn't know of steps.
    assert not hasattr(rr.Dropout(0.5), "batch_first")
    assert not rr.Sequential(rr.Linear(3, 4), rr.Dropout(0.5)).recurrent


def test_options_stay() -> None:
    layer = rr.Dropout(0.25, True, batch_first=True)
    assert (layer.p, layer.variational, layer.batch_first) == (0.25, True, True)
    assert layer.config == {"p": 0.25, "variational": True, "batch_first": True}
    assert repr(layer) == "Dropout(p=0.25, variational=True, batch_first=True)"
    assert repr(rr.Dropout(0.25)) == "Dropout(p=0.25)"
    layer.eval()
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), layer.astype("float64")):
        assert (twin.config, twin.training) == (layer.config, False)
    with pytest.raises(AttributeError, match="batch_first"):
        _ = rr.Dropout(0.25).batch_first
