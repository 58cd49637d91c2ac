"""Masks act as they should on an LSTM of one unit, worked out by hand for two steps.

The reference is not asked: it could be wrong in the same way. Masks are read from the cache, and
calls are made until every pattern of 0 and 1 has been drawn.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from math import exp, tanh
from typing import Any

import numpy as np
import pytest

import recurrust as rr
from reference.comparison import assert_close
from reference.differences import TOLERANCE, central_differences

Masks = dict[str, list[float]]
CALLS = 300  # enough for every pattern: 16 of them take some 60 on average


def every_call(layer: Any, x: Any, state: Any, patterns: int) -> Iterator[tuple[Masks, Any]]:
    """One call for each pattern of masks: these as lists, and what the call returns."""
    seen = set()
    for _ in range(CALLS):
        *returned, cache = layer.forward_with_cache(x, state)
        masks = {name: mask.ravel().tolist() for name, mask in cache.masks.items()}
        key = tuple(itertools.chain(*masks.values()))
        if key not in seen:
            seen.add(key)
            yield masks, (*returned, cache)
    assert len(seen) == patterns


# --------------------------------------------------------------------------------------- numbers


def lstm(weight_hh: float = 0.0, candidate: float = 0.0, **options: Any) -> rr.LSTM:
    """Gates are 1/2, as all of their weights are 0; the candidate is tanh(weight h + bias)."""
    layer = rr.LSTM(1, 1, dtype="float64", **options)
    values = {name: 0 * array for name, array in layer.state_dict().items()}
    values["weight_hh_l0"][2] = weight_hh
    values["bias_ih_l0"][2] = candidate
    layer.load_state_dict(values)
    return layer


# Options, the initial h and c, and for the masks of both steps: the outputs of both steps and the
# final c. Rates are 1/2, so what isn't dropped counts twice.
NUMBERS: dict[str, tuple[dict[str, Any], tuple[float, float], dict[Any, list[float]]]] = {
    # c' = c / 2 and h' = tanh(c') / 2, from h = 0.75 and c = 1: h is kept or 0.2310586, then kept
    # or 0.1224593, whatever was kept before.
    "zoneout of the hidden state": (
        {"zoneout": (0.0, 0.5)},
        (0.75, 1.0),
        {
            (0, 0): [0.2310586, 0.1224593, 0.25],
            (1, 0): [0.75, 0.1224593, 0.25],
            (0, 1): [0.2310586, 0.2310586, 0.25],
            (1, 1): [0.75, 0.75, 0.25],
        },
    ),
    # h is made of the new c, also where the old one is kept: tanh(1 / 2) / 2 at the first step.
    "zoneout of the cell state": (
        {"zoneout": (0.5, 0.0)},
        (0.75, 1.0),
        {
            (0, 0): [0.2310586, 0.1224593, 0.25],
            (1, 0): [0.2310586, 0.2310586, 0.5],
            (0, 1): [0.2310586, 0.1224593, 0.5],
            (1, 1): [0.2310586, 0.2310586, 1.0],
        },
    ),
    # The candidate is tanh(1) = 0.7615942: c' = c / 2 + m 0.3807971.
    "update dropout": (
        {"candidate": 1.0, "update_dropout": 0.5},
        (0.75, 0.0),
        {
            (0, 0): [0.0, 0.0, 0.0],
            (2, 0): [0.3210075, 0.1816997, 0.3807971],
            (0, 2): [0.0, 0.3210075, 0.7615942],
            (2, 2): [0.3210075, 0.4076089, 1.1423912],
        },
    ),
    # The candidate is tanh(m h): c' = c / 2 + tanh(m h) / 2 from h = 1 and c = 0.
    "recurrent dropout": (
        {"weight_hh": 1.0, "recurrent_dropout": 0.5, "variational": False},
        (1.0, 0.0),
        {
            (0, 0): [0.0, 0.0, 0.0],
            (2, 0): [0.2239275, 0.1182233, 0.2410069],
            (0, 2): [0.0, 0.0, 0.0],
            (2, 2): [0.2239275, 0.2113907, 0.4510740],
        },
    ),
    "recurrent dropout, variational": (
        {"weight_hh": 1.0, "recurrent_dropout": 0.5},
        (1.0, 0.0),
        {(0,): [0.0, 0.0, 0.0], (2,): [0.2239275, 0.2113907, 0.4510740]},
    ),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers(name: str) -> None:
    rr.manual_seed(1)
    options, state, expected = NUMBERS[name]
    layer = lstm(**options)
    initial = tuple(np.full((1, 1, 1), value) for value in state)
    for masks, (y, (_, c), _) in every_call(layer, np.zeros((2, 1, 1)), initial, len(expected)):
        (mask,) = masks.values()
        np.testing.assert_allclose([*y.ravel(), c.item()], expected[tuple(mask)], atol=6e-8, rtol=0)


def test_numbers_of_weight_dropout() -> None:
    """As recurrent dropout for both steps, where the candidate's weight is the only one."""
    rr.manual_seed(1)
    layer = lstm(weight_hh=1.0, weight_dropout=0.5)
    initial = np.ones((1, 1, 1)), np.zeros((1, 1, 1))
    for masks, (y, (_, c), _) in every_call(layer, np.zeros((2, 1, 1)), initial, 16):
        _, _, candidate, _ = masks["weight_dropout_l0"]
        expected = [0.2239275, 0.2113907, 0.4510740] if candidate == 2 else [0, 0, 0]
        np.testing.assert_allclose([*y.ravel(), c.item()], expected, atol=6e-8, rtol=0)


@pytest.mark.parametrize(
    ("zoneout_eval", "expected"),
    [
        # h = 0.5 old + 0.5 tanh(c') / 2, c = 0.25 old + 0.75 c', where c' is half of the old c.
        ("expectation", [0.4905293, 0.3209421, 0.390625]),
        ("identity", [0.2310586, 0.1224593, 0.25]),
    ],
)
def test_numbers_of_zoneout_at_evaluation(zoneout_eval: str, expected: list[float]) -> None:
    layer = lstm(zoneout=(0.25, 0.5), zoneout_eval=zoneout_eval).eval()
    initial = np.full((1, 1, 1), 0.75), np.ones((1, 1, 1))
    y, (_, c) = layer(np.zeros((2, 1, 1)), initial)
    np.testing.assert_allclose([*y.ravel(), c.item()], expected, atol=6e-8, rtol=0)


# -------------------------------------------------------------------------- all weights, gradients

# weight_ih, weight_hh, bias_ih, bias_hh: gates i, f, g, o each; then x of both steps, h and c.
VALUES = [
    *(0.5, -0.3, 0.8, 0.2),
    *(0.9, 0.6, -0.7, 0.4),
    *(0.1, 0.3, -0.2, 0.25),
    *(-0.15, 0.2, 0.35, 0.05),
    *(1.2, -0.7),
    *(0.6, -0.8),
]


def sigmoid(a: float) -> float:
    return 1 / (1 + exp(-a))


def gates(v: Any, x: float, h: float, hh: Any = None) -> tuple[float, float, float, float]:
    """i, f, g, o of one step; `hh` stands for the recurrent weights."""
    hh = v[4:8] if hh is None else hh
    i, f, g, o = (v[k] * x + v[8 + k] + hh[k] * h + v[12 + k] for k in range(4))
    return sigmoid(i), sigmoid(f), tanh(g), sigmoid(o)


def recurrent_dropout(v: Any, masks: Masks) -> list[float]:
    """The gates see m h."""
    *_, x1, x2, h, c = v
    m1, m2 = (masks["recurrent_dropout_l0"] * 2)[:2]  # one mask for both steps counts twice
    i, f, g, o = gates(v, x1, m1 * h)
    c = f * c + i * g
    h1 = o * tanh(c)
    i, f, g, o = gates(v, x2, m2 * h1)
    c = f * c + i * g
    return [h1, o * tanh(c), c]


def zoneout(v: Any, masks: Masks) -> list[float]:
    """Where k is 1, the old h or c stays; the new h comes from the c that the cell made."""
    *_, x1, x2, h, c = v
    h1_kept, h2_kept = masks.get("zoneout_hidden_l0", [0, 0])
    c1_kept, c2_kept = masks.get("zoneout_cell_l0", [0, 0])
    i, f, g, o = gates(v, x1, h)
    new = f * c + i * g
    h1 = h if h1_kept else o * tanh(new)
    c1 = c if c1_kept else new
    i, f, g, o = gates(v, x2, h1)
    new = f * c1 + i * g
    return [h1, h1 if h2_kept else o * tanh(new), c1 if c2_kept else new]


def update_dropout(v: Any, masks: Masks) -> list[float]:
    """m multiplies the candidate."""
    *_, x1, x2, h, c = v
    m1, m2 = masks["update_dropout_l0"]
    i, f, g, o = gates(v, x1, h)
    c = f * c + i * m1 * g
    h1 = o * tanh(c)
    i, f, g, o = gates(v, x2, h1)
    c = f * c + i * m2 * g
    return [h1, o * tanh(c), c]


def weight_dropout(v: Any, masks: Masks) -> list[float]:
    """Both steps have the same dropped weights."""
    *_, x1, x2, h, c = v
    dropped = [weight * m for weight, m in zip(v[4:8], masks["weight_dropout_l0"], strict=True)]
    i, f, g, o = gates(v, x1, h, dropped)
    c = f * c + i * g
    h1 = o * tanh(c)
    i, f, g, o = gates(v, x2, h1, dropped)
    c = f * c + i * g
    return [h1, o * tanh(c), c]


BY_HAND: dict[str, tuple[dict[str, Any], Callable[[Any, Masks], list[float]], int]] = {
    "recurrent dropout": ({"recurrent_dropout": 0.5}, recurrent_dropout, 2),
    "recurrent dropout, per step": (
        {"recurrent_dropout": 0.5, "variational": False},
        recurrent_dropout,
        4,
    ),
    "zoneout of the hidden state": ({"zoneout": (0.0, 0.5)}, zoneout, 4),
    "zoneout of the cell state": ({"zoneout": (0.5, 0.0)}, zoneout, 4),
    "zoneout": ({"zoneout": 0.5}, zoneout, 16),
    "update dropout": ({"update_dropout": 0.5}, update_dropout, 4),
    "weight dropout": ({"weight_dropout": 0.5}, weight_dropout, 16),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_values_and_gradients(name: str) -> None:
    """The gradients are those of a weighted sum of the outputs and the final c, by differences."""
    options, by_hand, patterns = BY_HAND[name]
    rr.manual_seed(1)
    layer = rr.LSTM(1, 1, dtype="float64", **options)
    *parameters, x, state = np.split(np.array(VALUES), [4, 8, 12, 16, 18])
    for parameter, values in zip(layer.parameters(), parameters, strict=True):
        parameter.assign(values.reshape(parameter.shape))
    weights = np.array([0.7, -1.1, 0.4])
    initial = tuple(state.reshape(2, 1, 1, 1))
    for masks, (y, (_, c), cache) in every_call(layer, x.reshape(2, 1, 1), initial, patterns):
        assert_close([*y.ravel(), c.item()], by_hand(VALUES, masks), 1e-13, str(masks))

        layer.zero_grad()
        dx, dstate = layer.backward(
            weights[:2].reshape(2, 1, 1), (None, np.full((1, 1, 1), weights[2])), cache=cache
        )
        gradients = [*(parameter.grad for parameter in layer.parameters()), dx, *dstate]
        expected = central_differences(
            lambda values, masks=masks: weights * by_hand(values.tolist(), masks), VALUES
        )
        got = np.concatenate([gradient.ravel() for gradient in gradients])
        assert_close(got, expected, TOLERANCE, str(masks))
