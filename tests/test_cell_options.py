"""Options of the one-step cells: each is a layer of one step."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import recurrust as rr
from reference.layers import gradients_of, randomize

CELLS: list[tuple[str, str, dict[str, Any]]] = [
    ("LSTMCell", "LSTM", {}),
    ("LSTMCell", "LSTM", {"clip": 0.4}),
    ("LSTMCell", "LSTM", {"coupled": True}),
    ("LSTMCell", "LSTM", {"coupled": True, "clip": 0.4, "bias": False}),
    ("PeepholeLSTMCell", "LSTM", {}),
    ("PeepholeLSTMCell", "LSTM", {"clip": 0.4}),
    ("PeepholeLSTMCell", "LSTM", {"coupled": True, "clip": 0.4}),
    ("GRUCell", "GRU", {"clip": 0.4}),
    ("GRUCell", "GRU", {"reset_after": False}),
    ("GRUCell", "GRU", {"reset_after": False, "clip": 0.4, "bias": False}),
    ("RNNCell", "RNN", {"clip": 0.4}),
    ("RNNCell", "RNN", {"clip": 0.4, "nonlinearity": "relu"}),
]


def layer_of(cell: Any, kind: str, options: dict[str, Any]) -> Any:
    """A layer with the weights of a cell."""
    if type(cell).__name__.startswith("Peephole"):
        options = {**options, "peephole": True}
    layer = getattr(rr, kind)(cell.input_size, cell.hidden_size, dtype=cell.dtype, **options)
    layer.load_state_dict({f"{name}_l0": array for name, array in cell.state_dict().items()})
    return layer


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "kind", "options"), CELLS)
def test_a_cell_is_a_layer_of_one_step(
    rng: np.random.Generator, name: str, kind: str, options: dict[str, Any], dtype: str
) -> None:
    cell = getattr(rr, name)(4, 7, dtype=dtype, **options)
    randomize(cell, rng)
    layer = layer_of(cell, kind, options)
    x, h, c, dh, dc = (rng.normal(size=(3, size)).astype(dtype) for size in (4, 7, 7, 7, 7))
    pair = kind == "LSTM"
    state, cache = cell.forward_with_cache(x, (h, c) if pair else h)
    dx, dstate = cell.backward((dh, dc) if pair else dh, cache=cache)
    initial = (h[None], c[None]) if pair else h[None]
    _, expected, layer_cache = layer.forward_with_cache(x[None], initial)
    gradient = (dh[None], dc[None]) if pair else dh[None]
    expected_dx, expected_dstate = layer.backward(None, gradient, cache=layer_cache)
    np.testing.assert_array_equal(np.asarray(state), np.squeeze(np.asarray(expected), -3))
    np.testing.assert_array_equal(dx, expected_dx[0])
    np.testing.assert_array_equal(np.asarray(dstate), np.squeeze(np.asarray(expected_dstate), -3))
    for key, array in gradients_of(cell).items():
        np.testing.assert_array_equal(array, gradients_of(layer)[f"{key}_l0"], err_msg=key)


@pytest.mark.parametrize(("name", "kind", "options"), CELLS)
def test_copies_have_the_options(name: str, kind: str, options: dict[str, Any]) -> None:
    cell = getattr(rr, name)(4, 7, **options)
    for other in (
        pickle.loads(pickle.dumps(cell)),
        cell.astype("float64").astype("float32"),
        eval(repr(cell).partition("#")[0], {name: getattr(rr, name)}),
    ):
        assert other.config == cell.config
        assert all(other.config[key] == value for key, value in options.items())


def test_initial_values() -> None:
    cell = rr.LSTMCell(3, 5, init="rust_lstm", forget_bias=1.5, seed=2)
    assert np.abs(cell.weight_hh).max() <= 0.1
    np.testing.assert_array_equal(cell.bias_ih, np.repeat([0, 1.5, 0, 0], 5).astype("f4"))
    np.testing.assert_array_equal(cell.bias_hh, 0)
    names = []

    def fill(name: str, shape: tuple[int, ...]) -> Any:
        names.append(name)
        return np.full(shape, 0.25)

    gru = rr.GRUCell(3, 5, init=fill)
    assert names == ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]
    np.testing.assert_array_equal(gru.weight_hh, 0.25)


@pytest.mark.parametrize("kind", ["LSTMCell", "PeepholeLSTMCell", "GRUCell", "RNNCell"])
def test_bad_options(kind: str) -> None:
    build = getattr(rr, kind)
    for options, error, text in [
        ({"clip": -1.0}, rr.ConfigError, "clip: expected a positive finite"),
        ({"clip": "1"}, rr.DtypeError, "clip"),
        ({"init": "xavier"}, rr.ConfigError, "init"),
        ({"bias": 1}, rr.DtypeError, "bias"),
        ({"num_layers": 2}, TypeError, f"{kind}.*num_layers"),
        ({"dropout": 0.5}, TypeError, f"{kind}.*dropout"),
    ]:
        with pytest.raises(error, match=text):
            build(3, 4, **options)
    if "LSTM" in kind:
        with pytest.raises(rr.ConfigError, match=r"forget_bias.*coupled"):
            build(3, 4, coupled=True, forget_bias=1.0)
    else:
        with pytest.raises(TypeError, match=f"{kind}.*coupled"):
            build(3, 4, coupled=True)
