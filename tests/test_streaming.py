"""Networks one step at a time."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import recurrust as rr
from recurrust import _core
from reference.comparison import assert_close
from reference.layers import EVERY_OPTION, KINDS, randomize
from reference.process import run
from test_concurrency import together

DTYPES = ("float32", "float64")
# Whatever acts at evaluation: variants of the cells, and zoneout.
OPTIONS: dict[str, dict[str, Any]] = {
    **{name: options for name, options in EVERY_OPTION.items() if "dropout" not in name},
    "LSTM, zoneout, pair": {"kind": "LSTM", "zoneout": (0.3, 0.2)},
}


def network(
    dtype: str = "float32", hidden_size: int = 6, kinds: tuple[str, str] = ("LSTM", "LSTM")
) -> rr.Sequential:
    """3 features in, 2 out; every kind of layer that can be streamed."""
    first, second = (getattr(rr, kind) for kind in kinds)
    return rr.Sequential(
        first(3, hidden_size, 2, dtype=dtype, seed=1),
        rr.Dropout(0.5),
        rr.Linear(hidden_size, 4, dtype=dtype, seed=2),
        second(4, 5, bias=False, dtype=dtype, seed=3),
        rr.Linear(5, 2, bias=False, dtype=dtype, seed=4),
    ).eval()


def steps(stream: Any, x: Any) -> Any:
    return np.stack([stream.step(row) for row in x])


def arrays(state: Any) -> list[Any]:
    """The arrays of a state, whatever its structure."""
    if state is None:
        return []
    if isinstance(state, np.ndarray):
        return [state]
    return [array for part in state for array in arrays(part)]


def assert_same(state: Any, expected: Any) -> None:
    got, wanted = arrays(state), arrays(expected)
    assert len(got) == len(wanted) > 0
    for a, b in zip(got, wanted, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


# ------------------------------------------------------------------------- the whole sequence


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("num_layers", [1, 3])
@pytest.mark.parametrize("hidden_size", [1, 3, 16, 17, 33, 70])
@pytest.mark.parametrize("kind", KINDS)
def test_steps_of_a_layer_are_the_whole_sequence_bit_for_bit(
    kind: str, hidden_size: int, num_layers: int, bias: bool, dtype: str, rng: np.random.Generator
) -> None:
    for batch_size in (1, 2, 5, 7, 64):
        layer = getattr(rr, kind)(4, hidden_size, num_layers, bias=bias, dtype=dtype)
        randomize(layer, rng, scale=0.5)
        x = rng.normal(size=(11, batch_size, 4)).astype(dtype)
        y, state = layer(x)
        stream = layer.stream(batch_size)
        np.testing.assert_array_equal(steps(stream, x), y)
        assert_same(stream.state, state)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch_size", [1, 2, 5, 7, 64])
@pytest.mark.parametrize("kinds", [("LSTM", "LSTM"), ("GRU", "RNN"), ("RNN", "GRU")], ids="-".join)
def test_steps_of_a_network_are_the_whole_sequence(
    kinds: tuple[str, str], batch_size: int, dtype: str, rng: np.random.Generator
) -> None:
    """Sums of linear layers are rounded differently; all else is equal bit for bit."""
    for hidden_size in (1, 16, 17, 70):
        model = network(dtype, hidden_size, kinds)
        x = rng.normal(size=(12, batch_size, 3)).astype(dtype)
        y, states = model(x, return_state=True)
        stream = model.stream(batch_size)
        got = steps(stream, x)
        assert got.dtype == y.dtype
        assert_close(got, y, 1e-14 if dtype == "float64" else 2e-6)
        assert_same(stream.state[0], states[0])


def layer_with(option: str, hidden_size: int, dtype: str, rng: np.random.Generator) -> Any:
    """Two layers of 4 features at evaluation, as streams are."""
    options = {**OPTIONS[option], "num_layers": 2}
    layer = getattr(rr, options.pop("kind"))(4, hidden_size, dtype=dtype, **options)
    randomize(layer, rng, scale=min(0.3, hidden_size**-0.5))
    return layer.eval()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("option", OPTIONS)
def test_steps_with_options(option: str, dtype: str, rng: np.random.Generator) -> None:
    for batch_size, hidden_size in ((1, 20), (2, 70), (7, 20), (64, 33)):
        layer = layer_with(option, hidden_size, dtype, rng)
        x = rng.normal(size=(11, batch_size, 4)).astype(dtype)
        y, state = layer(x)
        for stream in (
            layer.stream(batch_size),
            pickle.loads(pickle.dumps(layer)).stream(batch_size),
        ):
            np.testing.assert_array_equal(steps(stream, x), y)
            assert_same(stream.state, state)


@pytest.mark.parametrize("batch_size", [1, 7])
@pytest.mark.parametrize("option", OPTIONS)
def test_options_go_on_from_the_middle(
    option: str, batch_size: int, rng: np.random.Generator
) -> None:
    """The state is all that counts: got, set in another stream, cloned, given to the layer."""
    layer = layer_with(option, 20, "float32", rng)
    x = rng.normal(size=(11, batch_size, 4)).astype("f4")
    y, final = layer(x)
    _, middle = layer(x[:5])
    stream = layer.stream(batch_size)
    steps(stream, x[:5])
    assert_same(stream.state, middle)
    np.testing.assert_array_equal(layer(x[5:], stream.state)[0], y[5:])
    other = layer.stream(batch_size)
    steps(other, x[::-1])
    other.state = stream.state
    for follower in (stream.clone(), other, stream):
        np.testing.assert_array_equal(steps(follower, x[5:]), y[5:])
        assert_same(follower.state, final)


@pytest.mark.parametrize("kind", ["GRU", "RNN"])
def test_states_of_single_arrays(kind: str, rng: np.random.Generator) -> None:
    """Got, set, reset, cloned and pickled like those of pairs."""
    layer = getattr(rr, kind)(3, 5, 2, seed=1)
    x = rng.normal(size=(6, 2, 3)).astype("f4")
    y, h = layer(x)
    stream = layer.stream(2)
    steps(stream, x[:4])
    assert isinstance(stream.state, np.ndarray)
    for other in (stream.clone(), pickle.loads(pickle.dumps(stream))):
        np.testing.assert_array_equal(steps(other, x[4:]), y[4:])
        np.testing.assert_array_equal(other.state, h)
    stream.state = h
    np.testing.assert_array_equal(steps(stream, x), layer(x, h)[0])
    stream.reset(rows=[1])
    assert stream.state.shape == (2, 2, 5)
    assert np.count_nonzero(stream.state[:, 1]) == 0
    assert np.count_nonzero(stream.state[:, 0]) == 10
    with pytest.raises(rr.ShapeError, match="state"):
        stream.state = h[:, :1]
    with pytest.raises((rr.ShapeError, rr.DtypeError), match="state"):
        stream.state = (h, h)


@pytest.mark.parametrize("batch_first", [True, False])
def test_the_layout_of_sequences_does_not_matter(
    batch_first: bool, rng: np.random.Generator
) -> None:
    layer = rr.LSTM(3, 4, batch_first=batch_first, seed=1)
    x = rng.normal(size=(6, 2, 3)).astype("f4")
    y, _ = layer(x.swapaxes(0, 1) if batch_first else x)
    stream = layer.stream(2)
    np.testing.assert_array_equal(steps(stream, x), y.swapaxes(0, 1) if batch_first else y)


def test_training_mode_changes_nothing(rng: np.random.Generator) -> None:
    model = network()
    x = rng.normal(size=(5, 2, 3)).astype("f4")
    expected = steps(model.stream(2), x)
    state = rr.get_rng_state()
    np.testing.assert_array_equal(steps(model.train().stream(2), x), expected)
    assert rr.get_rng_state() == state


@pytest.mark.parametrize(
    "model",
    [rr.Sequential(rr.Linear(3, 70, seed=1)), rr.Sequential(rr.Dropout(), rr.LSTM(3, 2, seed=1))],
    ids=["without state", "Dropout first"],
)
def test_other_networks(model: rr.Sequential, rng: np.random.Generator) -> None:
    x = rng.normal(size=(4, 3, 3)).astype("f4")
    y, states = model.eval()(x, return_state=True)
    stream = model.stream(3)
    assert_close(steps(stream, x), y, 1e-6)
    assert [state is None for state in stream.state] == [state is None for state in states]


def test_rows_do_not_see_each_other(rng: np.random.Generator) -> None:
    stream = network().stream(4)
    x = rng.normal(size=(6, 4, 3)).astype("f4")
    expected = steps(stream, x)
    stream.reset()
    x[2, 1] = np.nan
    got = steps(stream, x)
    assert np.isnan(got[2:, 1]).all()
    np.testing.assert_array_equal(got[:2, 1], expected[:2, 1])
    np.testing.assert_array_equal(got[:, [0, 2, 3]], expected[:, [0, 2, 3]])
    stream.reset(1)
    assert np.isfinite(steps(stream, x[:2])).all()


# -------------------------------------------------------------------------------------- operands


def test_a_single_row_needs_no_batch_axis(rng: np.random.Generator) -> None:
    model = network()
    x = rng.normal(size=(5, 3)).astype("f4")
    with_axis, without = model.stream(), model.stream()
    for row in x:
        y = without.step(row)
        assert y.shape == (2,)
        np.testing.assert_array_equal(with_axis.step(row[np.newaxis]), y[np.newaxis])


@pytest.mark.parametrize("batch_size", [1, 3])
def test_inputs_are_converted_and_may_have_any_strides(
    batch_size: int, rng: np.random.Generator
) -> None:
    model = network()
    x = rng.integers(-3, 4, size=(batch_size, 3))
    expected = model.stream(batch_size).step(x.astype("f4"))
    wide = np.zeros((2 * batch_size, 6), np.float32)
    wide[::2, ::2] = x
    backwards = np.ascontiguousarray(x[::-1].astype("f4"))
    unaligned = np.zeros(4 * x.size + 1, np.uint8)[1:].view(np.float32).reshape(x.shape)
    unaligned[...] = x
    for given in (
        x,
        x.tolist(),
        x.astype("f8"),
        x.astype(">f4"),
        x.astype("f2"),
        np.asfortranarray(x.astype("f4")),
        wide[::2, ::2],
        backwards[::-1],
        unaligned,
    ):
        y = model.stream(batch_size).step(given)
        assert y.dtype == np.float32
        np.testing.assert_array_equal(y, expected)


def test_fitting_inputs_are_not_copied() -> None:
    stream = network().stream(2)
    before = _core.input_copies()
    stream.step(np.ones((2, 3), np.float32))
    stream.step(np.ones((2, 5), np.float32)[:, 1:4])
    assert _core.input_copies() == before
    stream.step(np.ones((2, 3)))
    assert _core.input_copies() == before + 1


@pytest.mark.parametrize("dtype", DTYPES)
def test_out_is_written_and_returned(dtype: str, rng: np.random.Generator) -> None:
    x = rng.normal(size=(4, 3, 3)).astype(dtype)
    model = network(dtype)
    expected = steps(model.stream(3), x)
    stream = model.stream(3)
    memory = np.full((2, 3, 2), np.nan, dtype)
    for row, wanted in zip(x, expected, strict=True):
        out = memory[1]
        assert stream.step(row, out) is out
        np.testing.assert_array_equal(out, wanted)
    assert np.isnan(memory[0]).all()
    stream.reset()
    assert stream.step(x[0], out=None).base is None


def test_new_outputs_belong_to_the_caller() -> None:
    stream = rr.LSTM(2, 4, seed=1).stream()
    x = np.ones((1, 2), np.float32)
    first = stream.step(x)
    kept = first.copy()
    second = stream.step(x)
    assert (second != first).any()
    assert first.flags.owndata
    assert first.flags.writeable
    second[...] = 0
    first_state = stream.state[0]
    np.testing.assert_array_equal(first, kept)
    assert (first_state != 0).all()


def test_out_may_be_the_input(rng: np.random.Generator) -> None:
    """x is read wholly before out is written, also where they overlap only in part."""
    for layer in (rr.LSTM(4, 4, 2, seed=1), rr.Sequential(rr.Linear(4, 4, seed=1))):
        x = rng.normal(size=(3, 4)).astype("f4")
        expected = layer.stream(3).step(x)
        same = x.copy()
        assert layer.stream(3).step(same, same) is same
        np.testing.assert_array_equal(same, expected)
        memory = np.zeros(20, np.float32)
        shifted, out = memory[2:14].reshape(3, 4), memory[5:17].reshape(3, 4)
        shifted[...] = x
        layer.stream(3).step(shifted, out)
        np.testing.assert_array_equal(out, expected)


def test_subclasses_of_arrays_are_arrays() -> None:
    class Tagged(np.ndarray):
        pass

    layer = rr.LSTM(2, 3, seed=1)
    x = np.ones((1, 2), np.float32)
    out = np.zeros((1, 3), np.float32).view(Tagged)
    assert layer.stream().step(x.view(Tagged), out) is out
    np.testing.assert_array_equal(out, layer.stream().step(x))


WRONG_INPUTS: list[tuple[int, Any, type[Exception], str]] = [
    (2, np.ones((2, 4)), rr.ShapeError, r"x: expected shape \(2, 3\), got \(2, 4\)"),
    (2, np.ones((1, 3)), rr.ShapeError, r"x: expected shape \(2, 3\) \(for .*\), got \(1, 3\)"),
    (2, np.ones((3, 3)), rr.ShapeError, r"got \(3, 3\)"),
    (2, np.ones(3), rr.ShapeError, r"x: expected shape \(2, 3\), got \(3,\)"),
    (2, np.ones((1, 2, 3)), rr.ShapeError, r"got \(1, 2, 3\)"),
    (2, np.ones((2, 0)), rr.ShapeError, r"got \(2, 0\)"),
    (2, 1.0, rr.ShapeError, r"got \(\)"),
    (1, np.ones(4), rr.ShapeError, r"x: expected shape \(1, 3\) or \(3,\), got \(4,\)"),
    (1, np.ones((3, 1)), rr.ShapeError, r"got \(3, 1\)"),
    (1, np.ones((1, 1, 3)), rr.ShapeError, r"got \(1, 1, 3\)"),
    (1, [[1.0, 2.0], [3.0]], rr.ShapeError, "x: expected an array of numbers"),
    (1, None, rr.DtypeError, "x: expected an array of numbers, got None"),
    (1, "abc", rr.DtypeError, "x: expected an array of real numbers"),
    (1, np.ones(3, complex), rr.DtypeError, "complex128"),
    (1, np.array([object()] * 3), rr.DtypeError, "object"),
]


@pytest.mark.parametrize(("batch_size", "x", "error", "message"), WRONG_INPUTS)
def test_wrong_inputs_change_nothing(
    batch_size: int, x: Any, error: type[Exception], message: str
) -> None:
    stream = network().stream(batch_size)
    stream.step(np.ones((batch_size, 3), np.float32))
    before = stream.state
    with pytest.raises(error, match=message):
        stream.step(x)
    assert_same(stream.state, before)


def wrong_outs() -> list[tuple[str, Any, type[Exception], str]]:
    right = np.zeros((2, 2), np.float32)
    frozen = right.copy()
    frozen.flags.writeable = False
    unaligned = np.zeros(17, np.uint8)[1:].view(np.float32).reshape(2, 2)
    return [
        ("a list", [[0.0, 0.0]] * 2, rr.DtypeError, "out: expected an array of dtype float32"),
        ("float64", right.astype("f8"), rr.DtypeError, "out: .*float32, got dtype float64"),
        ("byte order", right.astype(">f4"), rr.DtypeError, "out: expected an array of dtype"),
        ("integers", right.astype("i4"), rr.DtypeError, "got dtype int32"),
        ("too few rows", right[:1], rr.ShapeError, r"out: expected shape \(2, 2\), got \(1, 2\)"),
        ("no axis", right[0], rr.ShapeError, r"got \(2,\)"),
        ("another axis", right[np.newaxis], rr.ShapeError, r"got \(1, 2, 2\)"),
        ("empty", right[:0], rr.ShapeError, r"got \(0, 2\)"),
        ("read-only", frozen, rr.ConfigError, "out: expected a writeable array"),
        ("broadcast", np.broadcast_to(right[0], (2, 2)), rr.ConfigError, "out: expected a"),
        ("transposed", np.zeros((2, 2), np.float32).T, rr.ConfigError, "out: .*C-contiguous"),
        ("strided", np.zeros((2, 4), np.float32)[:, ::2], rr.ConfigError, "out: .*C-contiguous"),
        ("unaligned", unaligned, rr.ConfigError, "out: .*aligned"),
    ]


@pytest.mark.parametrize(
    ("out", "error", "message"),
    [pytest.param(*case[1:], id=case[0]) for case in wrong_outs()],
)
def test_wrong_outs_change_nothing(out: Any, error: type[Exception], message: str) -> None:
    stream = network().stream(2)
    x = np.ones((2, 3), np.float32)
    stream.step(x)
    before, content = stream.state, np.array(out)
    with pytest.raises(error, match=message):
        stream.step(x, out)
    assert_same(stream.state, before)
    np.testing.assert_array_equal(out, content)


def test_out_has_as_many_axes_as_x() -> None:
    stream = network().stream()
    x = np.ones(3, np.float32)
    with pytest.raises(rr.ShapeError, match=r"out: expected shape \(2,\), got \(1, 2\)"):
        stream.step(x, np.zeros((1, 2), np.float32))
    with pytest.raises(rr.ShapeError, match=r"out: expected shape \(1, 2\), got \(2,\)"):
        stream.step(x[np.newaxis], np.zeros(2, np.float32))
    assert all((array == 0).all() for array in arrays(stream.state))


# ----------------------------------------------------------------------------------------- state


@pytest.mark.parametrize("batch_size", [1, 3])
def test_states_go_from_layer_to_stream_and_back(batch_size: int, rng: np.random.Generator) -> None:
    layer = rr.LSTM(3, 5, 2, seed=1)
    x = rng.normal(size=(8, batch_size, 3)).astype("f4")
    y, state = layer(x)
    half, at_half = layer(x[:4])
    stream = layer.stream(batch_size)
    stream.state = at_half
    np.testing.assert_array_equal(steps(stream, x[4:]), y[4:])
    assert_same(stream.state, state)
    stream.reset()
    np.testing.assert_array_equal(steps(stream, x[:4]), half)
    np.testing.assert_array_equal(layer(x[4:], stream.state)[0], y[4:])


def test_states_go_from_network_to_stream_and_back(rng: np.random.Generator) -> None:
    model = network("float64")
    x = rng.normal(size=(8, 3, 3))
    y, _ = model(x, return_state=True)
    _, at_half = model(x[:4], return_state=True)
    stream = model.stream(3)
    stream.state = at_half
    assert isinstance(stream.state, tuple)
    assert [type(entry) for entry in stream.state] == [type(entry) for entry in at_half]
    assert_close(steps(stream, x[4:]), y[4:], 1e-14)
    stream.reset()
    steps(stream, x[:4])
    assert_close(model(x[4:], state=stream.state), y[4:], 1e-14)


def test_the_state_of_one_sequence_needs_no_batch_axis(rng: np.random.Generator) -> None:
    layer = rr.LSTM(3, 5, 2, seed=1)
    x = rng.normal(size=(8, 3)).astype("f4")
    y, _ = layer(x)
    _, state = layer(x[:4])
    assert state[0].shape == (2, 5)
    stream = layer.stream()
    stream.state = state
    np.testing.assert_array_equal(steps(stream, x[4:]), y[4:])


def test_states_are_copies() -> None:
    stream = rr.LSTM(3, 5, seed=1).stream(2)
    x = np.ones((2, 3), np.float32)
    stream.step(x)
    h, c = stream.state
    kept = h.copy()
    h[...] = 7
    assert_same(stream.state, (kept, c))
    stream.state = h, c
    h[...] = 8
    np.testing.assert_array_equal(stream.state[0], np.full((1, 2, 5), 7, np.float32))


def test_states_are_converted() -> None:
    stream = rr.LSTM(3, 5, seed=1).stream(2)
    stream.state = [np.full((1, 2, 5), 3), np.ones((1, 5, 2)).swapaxes(1, 2) / 3]
    expected = np.full((1, 2, 5), 3, np.float32), np.full((1, 2, 5), 1 / 3, np.float32)
    assert_same(stream.state, expected)


def test_none_is_zeros() -> None:
    layer, model = rr.LSTM(3, 5, seed=1), network()
    for stream in (layer.stream(2), model.stream(2)):
        stream.step(np.ones((2, 3), np.float32))
        assert all((array != 0).all() for array in arrays(stream.state))
        stream.state = None
        assert all((array == 0).all() for array in arrays(stream.state))
    stream = model.stream(2)
    stream.step(np.ones((2, 3), np.float32))
    before = stream.state
    stream.state = [None, None, None, before[3], None]
    assert (stream.state[0][0] == 0).all()
    assert (stream.state[0][1] == 0).all()
    assert_same(stream.state[3], before[3])


H = np.ones((2, 3, 6), np.float32)
S = np.ones((1, 3, 5), np.float32)
WRONG_STATES: list[tuple[str, Any, type[Exception], str]] = [
    ("too few layers", [(H, H)] * 4, rr.ConfigError, r"state: expected one entry a layer \(5\)"),
    ("one array", H, rr.DtypeError, "state: expected a tuple or list with one entry a layer"),
    ("a number", 3, rr.DtypeError, "state: expected a tuple or list"),
    ("of Dropout", [None, H, None, None, None], rr.ConfigError, r"state\[1\].*layer 1 \(Dropout\)"),
    ("of Linear", [None, None, None, None, (S, S)], rr.ConfigError, r"layer 4 \(Linear\) has none"),
    ("rows", [(H[:, :2], H), None, None, None, None], rr.ShapeError, r"h: .*\(2, 3, 6\)"),
    ("units", [(H, H), None, None, (S, H), None], rr.ShapeError, r"\[3\]: c: .*\(1, 3, 5\)"),
    (
        "no c",
        [(H, H), None, None, (S,), None],
        rr.ShapeError,
        r"state\[3\]: expected a tuple \(h, c\), got 1 values",
    ),
    ("bare h", [H, None, None, None, None], rr.DtypeError, r"tuple \(h, c\)"),
    ("no axis", [(H[:, 0], H[:, 0]), None, None, None, None], rr.ShapeError, r"\(2, 3, 6\)"),
    ("text", [("a", "b"), None, None, None, None], rr.DtypeError, r"state\[0\]: h"),
]


@pytest.mark.parametrize(
    ("state", "error", "message"),
    [pytest.param(*case[1:], id=case[0]) for case in WRONG_STATES],
)
def test_wrong_states_change_nothing(state: Any, error: type[Exception], message: str) -> None:
    stream = network().stream(3)
    stream.step(np.ones((3, 3), np.float32))
    before = stream.state
    with pytest.raises(error, match=message):
        stream.state = state
    assert_same(stream.state, before)


def test_wrong_states_of_a_layer_change_nothing() -> None:
    stream = rr.LSTM(3, 6, 2, seed=1).stream(3)
    stream.step(np.ones((3, 3), np.float32))
    before = stream.state
    for state, error in (
        ((H, H[:1]), rr.ShapeError),
        ((H, H, H), rr.ShapeError),
        ([(H, H)], rr.ShapeError),
        (H, rr.DtypeError),
    ):
        with pytest.raises(error, match="state"):
            stream.state = state
        assert_same(stream.state, before)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (None, [0, 1, 2, 3]),
        (1, [1]),
        (-1, [3]),
        (np.int8(2), [2]),
        ([0, -2, 0], [0, 2]),
        ((3,), [3]),
        (np.array([1, 2], np.uint64), [1, 2]),
        (np.array([-4]), [0]),
        ([True, False, False, True], [0, 3]),
        (np.array([False] * 4), []),
        ([], []),
    ],
)
def test_reset_takes_rows_as_numpy_does(rows: Any, expected: list[int]) -> None:
    stream = network().stream(4)
    x = np.ones((4, 3), np.float32)
    stream.step(x)
    before = stream.state
    stream.reset(rows)
    for array, old in zip(arrays(stream.state), arrays(before), strict=True):
        wanted = old.copy()
        wanted[:, expected] = 0
        assert (old != 0).all()
        np.testing.assert_array_equal(array, wanted)


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        (4, rr.ConfigError, r"rows\[0\]: expected -4 to 3, got 4"),
        ([0, -5], rr.ConfigError, r"rows\[1\]: expected -4 to 3, got -5"),
        ([2**62], rr.ConfigError, "rows"),
        ([-(2**63)], rr.ConfigError, r"rows\[0\]"),
        (np.array([2**63], np.uint64), rr.ConfigError, "rows"),
        ([[0, 1]], rr.ShapeError, r"rows: .*\(1, 2\)"),
        ([True, False], rr.ShapeError, r"rows: expected shape \(4,\), got \(2,\)"),
        (True, rr.ShapeError, "rows"),
        ([[True] * 4], rr.ShapeError, "rows"),
        ([0.0, 1.0], rr.DtypeError, "rows: expected an array of integers"),
        ("all", rr.DtypeError, "rows"),
        (slice(0, 2), rr.DtypeError, "rows"),
    ],
)
def test_wrong_rows_change_nothing(rows: Any, error: type[Exception], message: str) -> None:
    stream = network().stream(4)
    stream.step(np.ones((4, 3), np.float32))
    before = stream.state
    with pytest.raises(error, match=message):
        stream.reset(rows)
    assert_same(stream.state, before)


def test_a_reset_row_starts_anew(rng: np.random.Generator) -> None:
    model = network()
    x = rng.normal(size=(6, 3, 3)).astype("f4")
    stream, fresh = model.stream(3), model.stream(3)
    steps(stream, x[:3])
    stream.reset([1])
    np.testing.assert_array_equal(steps(stream, x[3:])[:, 1], steps(fresh, x[3:])[:, 1])


# ------------------------------------------------------------------------- weights, copies, files


def test_training_changes_nothing(rng: np.random.Generator) -> None:
    model = network("float64")
    x = rng.normal(size=(6, 2, 3))
    stream = model.stream(2)
    expected = steps(model.stream(2), x)
    first = steps(stream, x[:3])
    optimizer = rr.SGD(model.parameters(), lr=0.5)
    y, cache = model.forward_with_cache(x)
    model.backward(np.ones_like(y), cache=cache)
    optimizer.step()
    np.testing.assert_array_equal(np.concatenate([first, steps(stream, x[3:])]), expected)
    retrained = steps(model.stream(2), x)
    assert_close(retrained, model(x), 1e-14)
    assert np.abs(retrained - expected).max() > 1e-3


def test_the_stream_outlives_its_network(rng: np.random.Generator) -> None:
    model = network()
    x = rng.normal(size=(6, 1, 3)).astype("f4")
    stream, expected = model.stream(), steps(model.stream(), x)
    del model
    gc.collect()
    np.testing.assert_array_equal(steps(stream, x), expected)


COPIES: dict[str, Callable[[Any], Any]] = {
    "clone": lambda stream: stream.clone(),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    **{
        f"pickle {protocol}": lambda stream, protocol=protocol: pickle.loads(
            pickle.dumps(stream, protocol)
        )
        for protocol in range(2, 6)
    },
}


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["network", "layer"])
def test_copies_go_on_by_themselves(
    kind: str, dtype: str, way: str, rng: np.random.Generator
) -> None:
    model: Any = network(dtype) if kind == "network" else rr.LSTM(3, 4, 2, dtype=dtype)
    x = rng.normal(size=(8, 2, 3)).astype(dtype)
    stream = model.stream(2)
    expected = steps(model.stream(2), x)
    steps(stream, x[:4])
    # The copy has the frozen weights, not those of today.
    for parameter in model.parameters():
        parameter.assign(parameter.data * 2)
    generator = rr.get_rng_state()
    twin = COPIES[way](stream)
    assert rr.get_rng_state() == generator
    assert twin is not stream
    assert repr(twin) == repr(stream)
    assert_same(twin.state, stream.state)
    steps(stream, x[:2])
    np.testing.assert_array_equal(steps(twin, x[4:]), expected[4:])
    kept = stream.state
    twin.reset()
    assert_same(stream.state, kept)


def test_deep_copies_of_containers_share_their_stream() -> None:
    stream = rr.LSTM(2, 3, seed=1).stream()
    first, second = copy.deepcopy([stream, stream])
    assert first is second
    first, second = pickle.loads(pickle.dumps([stream, stream]))
    assert first is second


def test_description() -> None:
    stream = network("float64").stream(7)
    assert (stream.batch_size, stream.input_size, stream.output_size) == (7, 3, 2)
    assert stream.dtype == "float64"
    assert repr(stream) == (
        "Stream(LSTM 3 -> 6, Dropout, Linear 6 -> 4, LSTM 4 -> 5, Linear 5 -> 2, "
        'batch_size=7, dtype="float64")'
    )
    assert repr(rr.LSTM(3, 5).stream()) == 'Stream(LSTM 3 -> 5, batch_size=1, dtype="float32")'
    for name in ("batch_size", "input_size", "output_size", "dtype"):
        with pytest.raises(AttributeError):
            setattr(stream, name, 1)
    with pytest.raises(AttributeError):
        del stream.state
    with pytest.raises(TypeError):
        type(stream)()


# -------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("option", ["bidirectional", "reverse", "return_sequences"])
def test_layers_that_need_the_whole_sequence_are_refused(option: str) -> None:
    value = option != "return_sequences"
    layer = rr.LSTM(3, 4, **{option: value})
    message = rf"{option}: expected {not value}.* a stream .*, got {value}"
    with pytest.raises(rr.ConfigError, match=f"^LSTM: {message}"):
        layer.stream()
    with pytest.raises(rr.ConfigError, match=rf"^layer 1 \(LSTM\): {message}"):
        rr.Sequential(rr.Dropout(), layer).stream()


class Doubling:
    """A layer of the user's own."""

    def __call__(self, x: Any) -> Any:
        return 2 * x

    def forward_with_cache(self, x: Any) -> tuple[Any, None]:
        return 2 * x, None

    def backward(self, dy: Any, *, cache: None) -> Any:
        return 2 * dy

    def named_parameters(self) -> Any:
        return iter(())

    def train(self) -> None: ...

    def eval(self) -> None: ...


class Shouting(rr.Linear):
    """Computes otherwise than its base."""

    def __call__(self, x: Any) -> Any:
        return 2 * super().__call__(x)


class Named(rr.LSTM):
    """Computes as its base."""

    note = "mine"


@pytest.mark.parametrize("layer", [Doubling(), Shouting(3, 3), rr.LSTMCell(3, 3)])
def test_layers_of_other_kinds_are_named(layer: Any) -> None:
    model = rr.Sequential(rr.LSTM(3, 3), layer)
    with pytest.raises(rr.ConfigError, match=rf"layer 1 \({type(layer).__name__}\): expected a"):
        model.stream()


def test_classes_derived_from_layers_that_compute_alike(rng: np.random.Generator) -> None:
    layer = Named(3, 4)
    x = rng.normal(size=(5, 2, 3)).astype("f4")
    stream = layer.stream(2)
    np.testing.assert_array_equal(steps(stream, x), layer(x)[0])
    assert repr(stream).startswith("Stream(Named 3 -> 4")
    twin = pickle.loads(pickle.dumps(stream))
    np.testing.assert_array_equal(twin.step(x[0]), stream.step(x[0]))


@pytest.mark.parametrize("model", [rr.LSTM(3, 4), network()], ids=["layer", "network"])
def test_wrong_batch_sizes(model: Any) -> None:
    for batch_size in (0, -1, -(2**70), 2**70):
        with pytest.raises(rr.ConfigError, match="batch_size: expected a positive integer"):
            model.stream(batch_size)
    for batch_size in (2**40, 2**58, 2**63 - 1):
        with pytest.raises(MemoryError):
            model.stream(batch_size)
    for batch_size in (1.0, "1", True, [1]):
        with pytest.raises(rr.DtypeError, match="batch_size: expected a positive integer"):
            model.stream(batch_size)
    assert model.stream(np.int64(3)).batch_size == 3
    assert model.stream(batch_size=2).batch_size == 2


def test_layers_must_fit_each_other() -> None:
    with pytest.raises(rr.ConfigError, match=r"layer 2: expected 4 input features.*, got 5"):
        rr.Sequential(rr.LSTM(3, 4), rr.Dropout(), rr.Linear(5, 2)).stream()
    with pytest.raises(rr.ConfigError, match="layers: expected at least one with weights"):
        rr.Sequential(rr.Dropout()).stream()
    with pytest.raises(rr.ConfigError, match=r"layer 1 \(Linear\): dtype: expected .float32."):
        _core.stream((rr.LSTM(3, 4), rr.Linear(4, 2, dtype="float64")), 1)


# ------------------------------------------------------------------------------ threads and memory


@pytest.mark.parametrize("hidden_size", [4, 600])
def test_threads_take_turns(hidden_size: int) -> None:
    """Every step counts once: the state after so many equal steps doesn't depend on who made them.

    The large network's steps release the interpreter, the small one's don't.
    """
    layer = rr.LSTM(2, hidden_size, seed=1)
    x = np.ones((1, 2), np.float32)
    stream, alone = layer.stream(), layer.stream()
    count = 200

    def work() -> None:
        for _ in range(count):
            assert np.isfinite(stream.step(x)).all()
            assert len(stream.state) == 2
            stream.clone()

    together(work, work, work)
    for _ in range(3 * count):
        alone.step(x)
    assert_same(stream.state, alone.state)


def test_every_kind_of_call_beside_the_others() -> None:
    stream = rr.Sequential(rr.LSTM(8, 300, seed=1), rr.Linear(300, 4, seed=2)).stream(4)
    x = np.ones((4, 8), np.float32)
    state = stream.state
    stop = threading.Event()

    def step() -> None:
        out = np.empty((4, 4), np.float32)
        while not stop.is_set():
            assert np.isfinite(stream.step(x, out)).all()

    def disturb() -> None:
        try:
            for turn in range(60):
                stream.reset([turn % 4])
                stream.state = state
                assert len(pickle.loads(pickle.dumps(stream)).state) == 2
                assert stream.clone().batch_size == 4
        finally:
            stop.set()

    together(step, step, disturb)


def test_memory_is_flat() -> None:
    program = """
import gc, resource
import numpy as np, recurrust as rr
def resident():
    gc.collect()
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() / 2**20
model = rr.Sequential(rr.LSTM(8, 32, 2), rr.Dropout(0.5), rr.Linear(32, 4))
stream = model.stream(3)
x, wrong = np.ones((3, 8), np.float32), np.ones((3, 7), np.float32)
for number in range(100_000):
    y = stream.step(x)
    if number % 10 == 0:
        stream.state = stream.state
        stream.reset([0])
        stream.clone().step(x, y[:, :])
        try:
            stream.step(wrong)
        except ValueError:
            pass
    if number == 10_000:
        early = resident()
print(resident() - early)
"""
    assert float(run(program)) < 2
