"""Initial weights: `init` and `forget_bias`."""

from __future__ import annotations

import copy
import hashlib
import itertools
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recurrust as rr
from reference.interrupt import interrupt_during

KINDS: dict[str, Callable[..., Any]] = {"LSTM": rr.LSTM, "GRU": rr.GRU, "RNN": rr.RNN}
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
RULES = ["torch", "glorot", "orthogonal", "rust_lstm"]


@pytest.fixture(autouse=True)
def _stream() -> Iterator[None]:
    before = rr.get_rng_state()
    yield
    rr.set_rng_state(before)


def position() -> int:
    return rr.get_rng_state()[1]


def assert_uniform(values: Any, bound: float) -> None:
    """Bounds and moments of the uniform distribution, within five standard errors."""
    values = values.ravel().astype("f8")
    assert np.abs(values).max() <= bound * (1 + 1e-7)
    assert np.abs(values).max() > 0.99 * bound
    assert abs(values.mean()) < 5 * bound / np.sqrt(3 * values.size)
    assert abs((values**2).mean() * 3 / bound**2 - 1) < 5 / np.sqrt(values.size)
    assert np.unique(values).size > 0.99 * values.size


# ------------------------------------------------------------------------------------------ rules


@pytest.mark.parametrize(
    ("kind", "digest"),
    [("LSTM", "0d7e8ac95b914418"), ("GRU", "8e48d4f18d18b6b5"), ("RNN", "cabf90a846611737")],
)
def test_the_bits_of_the_default_stay(kind: str, digest: str) -> None:
    for options in ({}, {"init": "torch"}):
        layer = KINDS[kind](3, 5, 2, bidirectional=True, dtype="float64", seed=7, **options)
        arrays = (array.astype("<f8").tobytes() for array in layer.state_dict().values())
        assert hashlib.sha256(b"".join(arrays)).hexdigest().startswith(digest)


@pytest.mark.parametrize("kind", KINDS)
def test_torch(kind: str) -> None:
    layer = KINDS[kind](100, 64, init="torch", seed=1)
    for array in layer.state_dict().values():
        if array.size > 1000:
            assert_uniform(array, 1 / 8)
        assert np.abs(array).max() <= 1 / 8
        assert (array != 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_glorot(kind: str) -> None:
    layer = KINDS[kind](100, 64, 2, bidirectional=True, init="glorot", seed=1)
    rows = GATES[kind] * 64
    for name, array in layer.state_dict().items():
        if name.startswith("bias"):
            assert not array.any()
        else:
            columns = {"weight_ih_l0": 100, "weight_ih_l1": 128}.get(name[:12], 64)
            assert array.shape == (rows, columns)
            assert_uniform(array, np.sqrt(6 / (rows + columns)))


@pytest.mark.parametrize("kind", KINDS)
def test_rust_lstm(kind: str) -> None:
    layer = KINDS[kind](100, 64, 2, bidirectional=True, init="rust_lstm", seed=1)
    for name, array in layer.state_dict().items():
        if name.startswith("bias"):
            assert not array.any()
        else:
            assert_uniform(array, 0.1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("hidden_size", [1, 2, 7, 8, 9, 64, 67])
def test_orthogonal(kind: str, hidden_size: int) -> None:
    H, gates = hidden_size, GATES[kind]
    layer = KINDS[kind](100, H, 2, bidirectional=True, init="orthogonal", dtype="float64", seed=1)
    squares = []
    for name, array in layer.state_dict().items():
        if name.startswith("bias"):
            assert not array.any()
        elif name.startswith("weight_hh"):
            for square in array.reshape(gates, H, H):
                np.testing.assert_allclose(square @ square.T, np.eye(H), rtol=0, atol=1e-12)
                np.testing.assert_allclose(square.T @ square, np.eye(H), rtol=0, atol=1e-12)
                squares.append(square)
        elif array.size > 1000:
            assert_uniform(array, np.sqrt(6 / sum(array.shape)))
    if H > 1:
        for one, other in itertools.combinations(squares, 2):
            assert np.abs(one - other).max() > 1e-6


def test_orthogonal_in_single_precision() -> None:
    layer = rr.LSTM(3, 64, init="orthogonal", seed=1)
    for square in layer.weight_hh_l0.reshape(4, 64, 64).astype("f8"):
        np.testing.assert_allclose(square @ square.T, np.eye(64), rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_all_orthogonal_matrices_are_equally_likely(size: int) -> None:
    count = 4000
    layer = rr.RNN(1, size, count, init="orthogonal", dtype="float64", seed=5)
    drawn = np.array([p.data for name, p in layer.named_parameters() if "weight_hh" in name])
    assert drawn.shape == (count, size, size)
    # As many reflections as rotations, and moments of Haar's measure, within five standard errors:
    # E q = 0, E q^2 = 1/n, E q^4 = 3 / (n (n + 2)), E trace^2 = 1.
    error = 5 / np.sqrt(count)
    assert abs(np.linalg.det(drawn).mean()) < error
    assert np.abs(drawn.mean(axis=0)).max() < error
    assert np.abs((drawn**2).mean(axis=0) - 1 / size).max() < error
    assert np.abs((drawn**4).mean(axis=0) - 3 / (size * (size + 2))).max() < error
    assert abs((np.trace(drawn, axis1=1, axis2=2) ** 2).mean() - 1) < 2 * error


@pytest.mark.parametrize("init", RULES)
@pytest.mark.parametrize("kind", KINDS)
def test_seeds_and_dtypes(kind: str, init: str) -> None:
    def arrays(**options: Any) -> dict[str, Any]:
        result: dict[str, Any] = KINDS[kind](5, 12, 2, init=init, **options).state_dict()
        return result

    single, double, again = (arrays(seed=1, dtype=d) for d in ("float32", "float64", "float32"))
    other = arrays(seed=2)
    for name, array in single.items():
        assert (array.dtype, double[name].dtype) == ("float32", "float64")
        np.testing.assert_array_equal(array, double[name].astype("f4"))
        np.testing.assert_array_equal(array, again[name])
        if name.startswith("weight"):
            assert (array != other[name]).mean() > 0.9


@pytest.mark.parametrize("init", RULES)
def test_layers_without_biases(init: str) -> None:
    layer = rr.LSTM(5, 8, init=init, bias=False, seed=1)
    assert list(layer.state_dict()) == ["weight_ih_l0", "weight_hh_l0"]
    # The weights come first in a layer, so that they don't depend on its biases.
    with_biases = rr.LSTM(5, 8, init=init, seed=1)
    np.testing.assert_array_equal(layer.weight_hh_l0, with_biases.weight_hh_l0)


def test_ctrl_c_ends_a_long_initialization() -> None:
    interrupt_during(lambda: rr.LSTM(1, 1500, init="orthogonal", seed=1))


# -------------------------------------------------------------------------------------- the stream


@pytest.mark.parametrize("init", [*RULES, lambda name, shape: np.zeros(shape)])
def test_a_layer_draws_one_ticket_whatever_its_options(init: Any) -> None:
    before = position()
    rr.LSTM(3, 4, 2, bidirectional=True, init=init, forget_bias=1.0)
    assert position() == before + 1
    rr.LSTM(3, 4, init=init, seed=1)
    assert position() == before + 1


@pytest.mark.parametrize("init", RULES)
def test_unseeded_weights_come_from_the_stream(init: str) -> None:
    rr.manual_seed(3)
    one, two = rr.GRU(3, 4, init=init), rr.GRU(3, 4, init=init)
    rr.manual_seed(3)
    again = rr.GRU(3, 4, init=init)
    np.testing.assert_array_equal(one.weight_hh_l0, again.weight_hh_l0)
    assert (one.weight_hh_l0 != two.weight_hh_l0).any()


# -------------------------------------------------------------------------------------- callables


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_callable_gives_every_parameter(kind: str, dtype: str) -> None:
    asked: list[tuple[str, tuple[int, ...]]] = []
    given: dict[str, Any] = {}

    def init(name: str, shape: tuple[int, ...]) -> Any:
        asked.append((name, shape))
        given[name] = np.random.default_rng(len(asked)).normal(size=shape)
        return given[name]

    layer = KINDS[kind](3, 4, 2, bidirectional=True, init=init, dtype=dtype)
    assert asked == [(name, parameter.shape) for name, parameter in layer.named_parameters()]
    assert all(type(name) is str and type(shape) is tuple for name, shape in asked)
    for name, array in layer.state_dict().items():
        assert array.dtype == dtype
        np.testing.assert_array_equal(array, given[name].astype(dtype))


def test_a_callable_may_give_whatever_becomes_an_array() -> None:
    values: dict[str, Any] = {
        "weight_ih_l0": [[1, 2]] * 3,
        "weight_hh_l0": np.arange(9, dtype=">i2").reshape(3, 3).T,
        "bias_ih_l0": (True, False, True),
        "bias_hh_l0": np.arange(6, dtype="f2")[::2],
    }
    layer = rr.RNN(2, 3, init=lambda name, shape: values[name])
    for name, array in layer.state_dict().items():
        assert array.dtype == "float32"
        np.testing.assert_array_equal(array, np.asarray(values[name]))


def test_a_callable_may_give_the_weights_of_another_layer() -> None:
    other = rr.LSTM(3, 4, seed=1)
    layer = rr.LSTM(3, 4, init=lambda name, shape: getattr(other, name))
    np.testing.assert_array_equal(layer.weight_hh_l0, other.weight_hh_l0)
    other.weight_hh_l0 = np.zeros((16, 4))
    assert layer.weight_hh_l0.all()


def test_a_callable_may_build_layers() -> None:
    def init(name: str, shape: tuple[int, ...]) -> Any:
        return getattr(rr.GRU(3, 4, init="orthogonal"), name)

    layer = rr.GRU(3, 4, init=init)
    square = layer.weight_hh_l0[4:8]
    np.testing.assert_allclose(square @ square.T, np.eye(4), rtol=0, atol=1e-6)


class Rule:
    """A callable that is no function."""

    def __call__(self, name: str, shape: tuple[int, ...]) -> Any:
        return np.full(shape, 0.5)


def test_a_callable_needs_not_be_a_function() -> None:
    assert (rr.RNN(2, 3, init=Rule()).weight_ih_l0 == 0.5).all()


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (np.zeros(12), rr.ShapeError, r"init: weight_hh_l0: expected shape \(12, 3\), got \(12,\)"),
        (np.zeros((3, 12)), rr.ShapeError, r"weight_hh_l0.*\(12, 3\).*\(3, 12\)"),
        (np.zeros((12, 3, 1)), rr.ShapeError, r"weight_hh_l0.*\(12, 3\).*\(12, 3, 1\)"),
        (0.0, rr.ShapeError, r"weight_hh_l0.*\(12, 3\).*\(\)"),
        ([[1.0], [1.0, 2.0]], rr.ShapeError, "init: weight_hh_l0: expected an array of numbers"),
        (None, rr.DtypeError, "init: weight_hh_l0: expected an array of numbers, got None"),
        (np.zeros((12, 3), complex), rr.DtypeError, "weight_hh_l0.*real numbers.*complex128"),
        (np.full((12, 3), "a"), rr.DtypeError, "weight_hh_l0.*real numbers.*<U1"),
        (np.full((12, 3), np.nan), rr.NonFiniteError, "init: weight_hh_l0: .*finite.*NaN"),
        (np.full((12, 3), -np.inf), rr.NonFiniteError, "init: weight_hh_l0: .*finite.*-inf"),
    ],
)
def test_what_a_callable_gives_is_checked(value: Any, error: type[Exception], message: str) -> None:
    before = position()
    with pytest.raises(error, match=message):
        rr.LSTM(2, 3, init=lambda name, shape: value if "hh" in name else np.zeros(shape))
    assert position() == before


@pytest.mark.parametrize(
    "error", [ZeroDivisionError, TypeError, rr.ShapeError, KeyboardInterrupt, MemoryError]
)
def test_what_a_callable_raises_is_raised(error: type[BaseException]) -> None:
    raised = error("from inside")

    def init(name: str, shape: tuple[int, ...]) -> Any:
        if name == "bias_hh_l0":
            raise raised
        return np.zeros(shape)

    before = position()
    with pytest.raises(error, match="from inside") as caught:
        rr.LSTM(2, 3, init=init)
    assert caught.value is raised
    assert position() == before


# ------------------------------------------------------------------------------------- forget bias


@pytest.mark.parametrize("init", [*RULES, lambda name, shape: np.full(shape, 0.25)])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_forget_bias(init: Any, bidirectional: bool, dtype: str) -> None:
    options: dict[str, Any] = {
        "bidirectional": bidirectional,
        "init": init,
        "dtype": dtype,
        "seed": 1,
    }
    plain, layer = rr.LSTM(3, 5, 3, **options), rr.LSTM(3, 5, 3, forget_bias=1.3, **options)
    found = 0
    for name, array in layer.state_dict().items():
        expected = plain.state_dict()[name]
        if name.startswith("bias"):
            found += 1
            expected[5:10] = 1.3 if name.startswith("bias_ih") else 0.0
        np.testing.assert_array_equal(array, expected)
    assert found == (12 if bidirectional else 6)


def test_forget_bias_in_reverse() -> None:
    layer = rr.LSTM(3, 2, reverse=True, init="glorot", forget_bias=1)
    np.testing.assert_array_equal(layer.bias_ih_l0, [0, 0, 1, 1, 0, 0, 0, 0])
    np.testing.assert_array_equal(layer.bias_hh_l0, np.zeros(8))


@pytest.mark.parametrize("value", [0, -2.5, np.float32(1), np.int64(3), np.array(0.5)])
def test_forget_bias_may_be_any_finite_number(value: Any) -> None:
    layer = rr.LSTM(3, 2, forget_bias=value)
    np.testing.assert_array_equal(layer.bias_ih_l0[2:4], [value, value])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"forget_bias": float("nan")}, rr.ConfigError, "forget_bias: .*finite.*nan"),
        ({"forget_bias": float("inf")}, rr.ConfigError, "forget_bias: .*finite.*inf"),
        ({"forget_bias": 1e300}, rr.ConfigError, r"forget_bias: .*finite float32 number.*1e\+300"),
        ({"forget_bias": "1"}, rr.DtypeError, "forget_bias: .*number.*'1'"),
        ({"forget_bias": True}, rr.DtypeError, "forget_bias: .*number.*True"),
        ({"forget_bias": [1.0]}, rr.DtypeError, r"forget_bias: .*number.*\[1.0\]"),
        ({"forget_bias": 1j}, rr.DtypeError, "forget_bias: .*number.*1j"),
        ({"forget_bias": 1.0, "bias": False}, rr.ConfigError, "forget_bias: .*bias=False.*1.0"),
        ({"forget_bias": 1.0, "coupled": True}, rr.ConfigError, "coupled"),
    ],
)
def test_forget_bias_refuses(options: dict[str, Any], error: type[Exception], message: str) -> None:
    before = position()
    with pytest.raises(error, match=message):
        rr.LSTM(2, 3, **options)
    assert position() == before


def test_forget_bias_of_large_numbers_in_double_precision() -> None:
    layer = rr.LSTM(2, 3, forget_bias=1e300, dtype="float64")
    np.testing.assert_array_equal(layer.bias_ih_l0[3:6], [1e300] * 3)


def test_no_forget_bias_without_biases_is_fine() -> None:
    assert rr.LSTM(2, 3, forget_bias=None, bias=False).num_parameters == 12 * (2 + 3)


@pytest.mark.parametrize("kind", ["GRU", "RNN"])
def test_only_an_lstm_has_a_forget_bias(kind: str) -> None:
    with pytest.raises(TypeError, match="forget_bias"):
        KINDS[kind](2, 3, forget_bias=1.0)


# ----------------------------------------------------------------------------------- the arguments


MESSAGE = r'^init: expected one of "torch", "glorot", "orthogonal", "rust_lstm", or a callable, got'


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("value", "error"),
    [
        ("xavier", rr.ConfigError),
        ("Torch", rr.ConfigError),
        ("", rr.ConfigError),
        (None, rr.DtypeError),
        (0.1, rr.DtypeError),
        (["torch"], rr.DtypeError),
        (np.zeros((3, 3)), rr.DtypeError),
    ],
)
def test_init_refuses(kind: str, value: Any, error: type[Exception]) -> None:
    before = position()
    with pytest.raises(error, match=MESSAGE):
        KINDS[kind](2, 3, init=value)
    assert position() == before


def test_initial_weights_are_no_part_of_a_copy_or_a_file(tmp_path: Path) -> None:
    calls = 0

    def init(name: str, shape: tuple[int, ...]) -> Any:
        nonlocal calls
        calls += 1
        return np.full(shape, 0.25)

    layer = rr.LSTM(3, 4, init=init, forget_bias=2.0)
    assert calls == 4
    assert {"init", "forget_bias", "seed"}.isdisjoint(layer.config)
    rr.save(layer, tmp_path / "model.safetensors")
    before = position()
    for same in (
        copy.deepcopy(layer),
        pickle.loads(pickle.dumps(layer)),
        rr.load(tmp_path / "model.safetensors"),
        layer.astype("float64"),
    ):
        for name, array in layer.state_dict().items():
            np.testing.assert_array_equal(same.state_dict()[name], array)
    assert calls == 4
    assert position() == before
