"""Numbers and gradients that went wrong in other libraries."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import recurrust as rr
from reference.comparison import assert_all_close, assert_close
from reference.differences import TOLERANCE, central_differences
from reference.fixed import accumulator, ones, zeros
from reference.layers import gradients_of, make_case, outputs_of, randomize, reference_of
from reference.process import run


def test_zero_weights_halve_the_cell() -> None:
    y, (h, c) = zeros()(np.zeros((3, 1, 1)), (np.zeros((1, 1, 1)), np.ones((1, 1, 1))))
    np.testing.assert_allclose(y.ravel(), [0.2310586, 0.1224593, 0.0621765], atol=1e-7)
    assert c.item() == 0.125
    assert h.item() == y[-1].item()


def test_open_gates_accumulate() -> None:
    y, (_, c) = accumulator()(np.ones((3, 1, 1)))
    np.testing.assert_allclose(y.ravel(), [0.6420150, 0.9092517, 0.9794876], atol=1e-7)
    np.testing.assert_allclose(c.item(), 2.2847825, atol=1e-7)


def test_weights_of_one() -> None:
    layer = ones()
    y, (_, c) = layer(np.array([[[1.0]], [[-1.0]]]))
    np.testing.assert_allclose(y.ravel(), [0.3696064, -0.0001875], atol=1e-7)
    np.testing.assert_allclose(c.item(), -0.0005396, atol=1e-7)
    _, (_, c) = layer(np.array([[[1.0]]]))
    np.testing.assert_allclose(c.item(), 0.5567699, atol=1e-7)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_u24_large_inputs_and_states_stay_finite(dtype: str, rng: np.random.Generator) -> None:
    layer = rr.LSTM(3, 17, num_layers=2, bidirectional=True, dtype=dtype)
    randomize(layer, rng)
    for size in (1e4, 1e30):
        x = rng.choice([-size, size], (6, 5, 3)).astype(dtype)
        h0 = rng.choice([-1.0, 1.0], (4, 5, 17)).astype(dtype)
        c0 = rng.choice([-size, size], (4, 5, 17)).astype(dtype)
        y, (h, c), cache = layer.forward_with_cache(x, (h0, c0))
        expected, expected_state, _ = reference_of(layer).forward(x, (h0, c0))
        assert np.abs(y).max() <= 1
        for name, array in outputs_of(expected, expected_state).items():
            got = outputs_of(y, (h, c))[name]
            assert_close(got, array, 1e-12 if dtype == "float64" else 2e-6, name)
        if size > 1e4:  # the true gradients overflow float32
            continue
        dx, (dh, dc) = layer.backward(np.ones_like(y), (h, np.ones_like(c)), cache=cache)
        for gradient in (dx, dh, dc, *gradients_of(layer).values()):
            assert np.isfinite(gradient).all()


def test_u24_a_saturated_gate_has_no_gradient() -> None:
    layer = accumulator()
    y, _, cache = layer.forward_with_cache(np.full((3, 1, 1), 1e4))
    dx, _ = layer.backward(np.ones_like(y), cache=cache)
    assert not dx.any()


def test_a_bad_row_does_not_touch_the_others(rng: np.random.Generator) -> None:
    layer = rr.LSTM(3, 5, dtype="float64")
    x = rng.normal(size=(6, 4, 3))
    good, (good_h, good_c) = layer(x)
    for bad in (np.nan, np.inf, -np.inf, 1e300):
        spoiled = x.copy()
        spoiled[2, 1] = bad
        y, (h, c) = layer(spoiled)
        rest = [0, 2, 3]
        assert_close(y[:, rest], good[:, rest], 1e-12)
        assert_close(h[:, rest], good_h[:, rest], 1e-12)
        assert_close(c[:, rest], good_c[:, rest], 1e-12)
        assert_close(y[:2], good[:2], 1e-12)


def test_padding_may_hold_anything(rng: np.random.Generator) -> None:
    case = make_case(
        rng, 6, 5, 3, 4, flags=("lengths", "mask"), num_layers=2, bidirectional=True,
        dtype="float64",
    )  # fmt: skip
    expected = case.by_recurrust()
    valid = case.flags["mask"] & (np.arange(6)[:, None] < case.flags["lengths"])
    assert 0 < valid.sum() < valid.size
    assert case.dy is not None
    for filling in (np.nan, np.inf, 1e300):
        case.x[~valid] = filling
        case.dy[~valid] = filling
        for got, wanted in zip(case.by_recurrust(), expected, strict=True):
            assert_all_close(got, wanted, 0.0)


def test_u29_a_double_state_in_a_single_layer(rng: np.random.Generator) -> None:
    layer = rr.LSTM(3, 5)
    x = rng.normal(size=(6, 4, 3)).astype("f4")
    h0, c0 = rng.normal(size=(2, 1, 4, 5))
    single = outputs_of(*layer(x, (h0.astype("f4"), c0.astype("f4"))))
    for state in ((h0, c0), (h0.astype("f4"), c0), (h0, c0.astype("f4"))):
        for name, array in outputs_of(*layer(x, state)).items():
            np.testing.assert_array_equal(array, single[name])
            assert array.dtype == np.float32


def test_u33_gradients_cross_the_steps(rng: np.random.Generator) -> None:
    layer = rr.LSTM(2, 3, dtype="float64")
    x = rng.normal(size=(5, 2, 2))
    y, _, cache = layer.forward_with_cache(x)
    dy = np.zeros_like(y)
    dy[-1] = 1
    dx, _ = layer.backward(dy, cache=cache)
    assert (np.abs(dx[0]) > 1e-8).all()
    assert_close(dx, central_differences(lambda at: layer(at)[0][-1], x), TOLERANCE)

    layer = zeros()
    state = (np.zeros((1, 1, 1)), np.ones((1, 1, 1)))
    _, (_, c), cache = layer.forward_with_cache(np.ones((2, 1, 1)), state)
    _, (_, dc0) = layer.backward(None, (None, np.ones_like(c)), cache=cache)
    assert dc0.item() == 0.25


def test_u34_both_biases_learn(rng: np.random.Generator) -> None:
    layer = rr.LSTM(2, 3, dtype="float64")
    x = rng.normal(size=(5, 2, 2))
    y, _, cache = layer.forward_with_cache(x)
    layer.backward(y, cache=cache)
    before = layer.state_dict()
    gradients = gradients_of(layer)
    rr.SGD(layer.parameters(), lr=0.1).step()
    for name, array in layer.state_dict().items():
        assert (array != before[name]).any(), name
        assert_close(array, before[name] - 0.1 * gradients[name], 1e-14, name)

    def half_square(bias: Any, name: str) -> Any:
        layer.load_state_dict({**before, name: bias})
        return layer(x)[0] ** 2 / 2

    for name in ("bias_ih_l0", "bias_hh_l0"):
        expected = central_differences(lambda at, name=name: half_square(at, name), before[name])
        assert_close(gradients[name], expected, TOLERANCE, name)


def test_u36_initial_states_have_gradients(rng: np.random.Generator) -> None:
    case = make_case(rng, 5, 3, 2, 4, num_layers=2, bidirectional=True, dtype="float64")
    case.flags["lengths"] = np.array([5, 0, 2])
    assert case.state is not None
    assert case.dhn is not None
    assert case.dcn is not None
    _, _, cache = case.forward()
    _, (dh, dc) = case.backward(cache)
    assert dh.shape == dc.shape == case.state[0].shape
    # A row without steps hands the gradient of the final state back.
    np.testing.assert_array_equal(dh[:, 1], case.dhn[:, 1])
    np.testing.assert_array_equal(dc[:, 1], case.dcn[:, 1])

    def terms(h: Any, c: Any) -> Any:
        y, (hn, cn) = case.layer(case.x, (h, c), **case.flags)
        weighted = (y * case.dy, hn * case.dhn, cn * case.dcn)
        return np.concatenate([term.ravel() for term in weighted])

    h0, c0 = case.state
    assert_close(dh, central_differences(lambda at: terms(at, c0), h0), TOLERANCE)
    assert_close(dc, central_differences(lambda at: terms(h0, at), c0), TOLERANCE)


def test_u37_long_sequences_need_little_stack_and_memory_in_proportion() -> None:
    program = """
import resource, sys, threading
import numpy as np, recurrust as rr
layer = rr.LSTM(3, 3)
def run(T):
    x = np.random.default_rng(1).normal(size=(T, 1, 3)).astype("f4")
    y, _, cache = layer.forward_with_cache(x)
    dx, _ = layer.backward(y, cache=cache)
    results.append((y, dx))
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
results = []
threading.stack_size(256 * 1024)
used = [peak()]
for T in (100_000, 200_000):
    thread = threading.Thread(target=run, args=(T,))
    thread.start()
    thread.join()
    used.append(peak())
y, dx = results[-1]
assert y.shape == dx.shape == (200_000, 1, 3)
assert np.isfinite(y).all() and np.isfinite(dx).all() and dx[0].any() and dx[-1].any()
whole = layer(np.random.default_rng(1).normal(size=(200_000, 1, 3)).astype("f4"))[0]
assert np.abs(whole - y).max() < 1e-6
print((used[2] - used[0]) / 200_000 * 1024)
"""
    # A step keeps x, y, states, gates and gradients: some 40 numbers of 4 bytes.
    assert float(run(program)) < 2000


def test_sums_over_many_rows_keep_their_digits() -> None:
    layer = rr.Linear(1, 1)
    rows = 1_000_000
    x = np.zeros((rows, 1), "f4")
    _, cache = layer.forward_with_cache(x)
    layer.backward(np.full((rows, 1), 0.1, "f4"), cache=cache)
    bias = dict(layer.named_parameters())["bias"]
    assert bias.grad[0] == pytest.approx(rows * float(np.float32(0.1)), rel=1e-6)


def test_a_state_that_is_never_used_may_be_anything() -> None:
    layer = rr.LSTM(2, 3, dtype="float64", seed=1)
    x = np.ones((5, 2, 2))
    h0, c0 = np.zeros((1, 2, 3)), np.zeros((1, 2, 3))
    dy = np.ones((5, 2, 3))
    *_, cache = layer.forward_with_cache(x, (h0, c0), lengths=[0, 5])
    layer.backward(dy, cache=cache)
    expected = [parameter.grad.copy() for parameter in layer.parameters()]
    layer.zero_grad()
    h0[:, 0] = np.nan
    c0[:, 0] = np.nan
    *_, cache = layer.forward_with_cache(x, (h0, c0), lengths=[0, 5])
    layer.backward(dy, cache=cache)
    for parameter, gradient in zip(layer.parameters(), expected, strict=True):
        np.testing.assert_array_equal(parameter.grad, gradient)
