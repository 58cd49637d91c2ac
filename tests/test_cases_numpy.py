"""Arrays that other extensions misread."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import recurrust as rr
from reference.layers import outputs_of


def equal(got: tuple[Any, Any], expected: tuple[Any, Any]) -> None:
    for name, array in outputs_of(*got).items():
        np.testing.assert_array_equal(array, outputs_of(*expected)[name])


def test_u90_strided_views_equal_their_copies(rng: np.random.Generator) -> None:
    layer, narrow = rr.LSTM(6, 5), rr.LSTM(3, 5)
    x = rng.normal(size=(6, 6, 6)).astype("f4")
    for view in (x[:, ::2], x.transpose(1, 0, 2), x.transpose(2, 1, 0), x.T, x[::-1, ::-1, ::-1]):
        equal(layer(view), layer(view.copy()))
    for view in (x[..., :3], x[..., 3:], x[..., ::2], x[:, :, -3:][::-1]):
        equal(narrow(view), narrow(view.copy()))
    h = rng.normal(size=(1, 6, 10)).astype("f4")
    for part in (h[..., :5], h[..., ::2], h[..., ::-2], h[:, ::-1, 5:]):
        equal(layer(x, (part, part)), layer(x, (part.copy(), part.copy())))


def test_u93_read_only_inputs_stay_as_they_are(tmp_path: Path, rng: np.random.Generator) -> None:
    layer = rr.LSTM(3, 5)
    plain = rng.normal(size=(4, 2, 3)).astype("f4")
    path = tmp_path / "x.npy"
    np.save(path, plain)
    locked = plain.copy()
    locked.flags.writeable = False
    mapped = np.load(path, mmap_mode="r")
    spread = np.broadcast_to(plain[:1, :1], (4, 2, 3))
    state = np.broadcast_to(np.float32(0.5), (1, 2, 5))
    for x in (locked, mapped, spread):
        before = (str(x.flags), x.strides, x.copy())
        equal(layer(x, (state, state)), layer(x.copy(), (state.copy(), state.copy())))
        y, _, cache = layer.forward_with_cache(x)
        layer.backward(np.broadcast_to(np.float32(1), y.shape), cache=cache)
        for bad in ({"lengths": [9, 9]}, {"state": (x, x)}, {"mask": x}):
            with pytest.raises((ValueError, TypeError)):
                layer(x, **bad)
        assert (str(x.flags), x.strides) == before[:2]
        np.testing.assert_array_equal(x, before[2])
    assert state.strides == (0, 0, 0)
    layer.weight_ih_l0 = np.broadcast_to(np.float32(2), (20, 3))
    assert (layer.weight_ih_l0 == 2).all()


LSTM, NARROW, CELL, LINEAR = rr.LSTM(3, 5), rr.LSTM(2, 3), rr.LSTMCell(3, 5), rr.Linear(3, 5)
CALLS: dict[str, Callable[[NDArray[Any]], Any]] = {
    "LSTM": lambda x: LSTM(x)[0],
    "LSTM state": lambda x: NARROW(np.zeros((1, 2, 2)), (x[:1], x[1:]))[0],
    "LSTMCell": lambda x: CELL(x[0])[0],
    "Linear": LINEAR,
}


@pytest.mark.parametrize("call", CALLS)
def test_u94_other_dtypes_are_cast_or_refused(call: str, rng: np.random.Generator) -> None:
    run = CALLS[call]
    x = rng.normal(size=(2, 2, 3)) * 10
    for dtype in ("f8", "f2", "i1", "i8", "u4", "?", ">f4", "<f8", np.longdouble):
        given = x.astype(dtype)
        result = run(given)
        assert result.dtype == np.float32
        np.testing.assert_array_equal(result, run(given.astype("f4")))
    for dtype in ("c8", "c16", object, "U8", "S8", "M8[D]", "m8[s]"):
        given = np.zeros(x.shape, dtype)
        with pytest.raises(TypeError, match="real numbers") as caught:
            run(given)
        assert str(given.dtype) in str(caught.value)


def test_u94_lists_are_arrays(rng: np.random.Generator) -> None:
    layer = rr.LSTM(3, 5)
    x = rng.normal(size=(4, 2, 3)).astype("f4")
    equal(layer(x.tolist()), layer(x))
    equal(layer([list(step) for step in x], lengths=(4, 2)), layer(x, lengths=np.array([4, 2])))
    equal(layer(x, mask=[[True, False]] * 4), layer(x, mask=np.array([[True, False]] * 4)))


def test_u96_one_array_in_two_places(rng: np.random.Generator) -> None:
    layer = rr.LSTM(5, 5, dtype="float64")
    x = rng.normal(size=(1, 2, 5))
    equal(layer(x, (x, x)), layer(x.copy(), (x.copy(), x.copy())))
    y, (h, c), cache = layer.forward_with_cache(x, (x, x))
    expected, _ = layer.backward(y.copy(), (h.copy(), c.copy()), cache=cache)
    once = [p.grad.copy() for p in layer.parameters()]
    layer.zero_grad()
    got, _ = layer.backward(y, (y, y), cache=cache)
    layer.zero_grad()
    wanted, _ = layer.backward(y.copy(), (y.copy(), y.copy()), cache=cache)
    np.testing.assert_array_equal(got, wanted)
    assert (got != expected).any()
    assert len(once) == 4
    value, gradient = rr.MSELoss().value_and_grad(x, x)
    assert value == 0
    assert not gradient.any()


def test_u96_one_array_as_inputs_and_targets(rng: np.random.Generator) -> None:
    x = rng.normal(size=(20, 6, 2)).astype("f4")
    results = []
    for target in (x, x.copy()):
        model = rr.Sequential(rr.LSTM(2, 8, batch_first=True, seed=1), rr.Linear(8, 2, seed=2))
        optimizer = rr.Adam(model.parameters(), lr=1e-2)
        trainer = rr.Trainer(model, rr.MSELoss(), optimizer, seed=3)
        trainer.fit(x, target, epochs=5, batch_size=8, verbose=0)
        results.append(model.state_dict())
    for name, array in results[0].items():
        np.testing.assert_array_equal(array, results[1][name])


def test_results_are_plain_arrays(rng: np.random.Generator) -> None:
    class Own(np.ndarray):
        """An array with a type of its own."""

    layer = rr.Linear(3, 5)
    x = rng.normal(size=(4, 3)).astype("f4")
    assert type(layer(x.view(Own))) is np.ndarray
    np.testing.assert_array_equal(layer(x.view(Own)), layer(x))
    record = np.zeros(4, [("a", "i1"), ("x", "f4", (3,))])
    record["x"] = x
    np.testing.assert_array_equal(layer(record["x"]), layer(x))


@pytest.mark.parametrize("change", ["shape", "dtype", "strides"])
def test_an_argument_that_changes_x_while_it_is_converted(change: str) -> None:
    """The call goes on with x as it was checked."""
    layer = rr.LSTM(3, 4, seed=1)
    x = np.arange(30, dtype="f4").reshape(5, 2, 3)
    expected, _ = layer(x.copy(), lengths=[5, 3])

    class Lengths:
        def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # NumPy advises against all of these
                if change == "shape":
                    x.shape = (30,)
                elif change == "dtype":
                    x.dtype = np.int32
                else:
                    x.strides = (0, 0, 0)
            return np.array([5, 3])

    got, _ = layer(x, lengths=Lengths())
    np.testing.assert_array_equal(got, expected)
