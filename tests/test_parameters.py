"""Parameters, modules, modes and random numbers."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import recurrust as rr
from recurrust import _core
from reference.comparison import assert_close
from reference.layers import outputs_of


@pytest.fixture(autouse=True)
def _stream() -> Iterator[None]:
    before = rr.get_rng_state()
    yield
    rr.set_rng_state(before)


# -------------------------------------------------------------------------------------- Parameter


def test_parameter_copies_its_array() -> None:
    array = np.arange(6.0).reshape(2, 3)
    parameter = rr.Parameter(array, "w")
    array[...] = -1
    np.testing.assert_array_equal(parameter.data, np.arange(6).reshape(2, 3))
    assert (parameter.name, parameter.shape, parameter.dtype) == ("w", (2, 3), np.dtype("f8"))
    assert rr.Parameter(array).name == ""
    assert "w" in repr(parameter)
    assert "(2, 3)" in repr(parameter)


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (np.ones(2, "f8"), "float64"),
        (np.ones(2, ">f8"), "float64"),
        ([1.5, 2.5], "float64"),
        (np.ones(2, "f4"), "float32"),
        (np.ones(2, "f2"), "float32"),
        (np.ones(2, "i8"), "float32"),
        ([True, False], "float32"),
    ],
)
def test_dtype_of_a_parameter(values: Any, dtype: str) -> None:
    parameter = rr.Parameter(values)
    assert parameter.dtype == parameter.data.dtype == parameter.grad.dtype == dtype
    np.testing.assert_array_equal(parameter.data, np.asarray(values))


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (2, 1, 3)])
def test_any_shape_of_a_parameter(shape: tuple[int, ...]) -> None:
    parameter = rr.Parameter(np.ones(shape))
    assert parameter.shape == parameter.data.shape == parameter.grad.shape == shape
    assert not parameter.grad.any()
    parameter.assign(np.full(shape, 2.0))
    assert (parameter.data == 2).all()
    parameter.grad[...] = 1
    rr.SGD([parameter], lr=0.5).step()
    assert (parameter.data == 1.5).all()


def test_versions_change_with_the_values_alone() -> None:
    layer = rr.Linear(2, 3)
    weight, bias = layer.parameters()
    version = weight.version
    weight.grad[...] = 1
    layer(np.ones((1, 2), "f4"))
    layer.zero_grad()
    layer.eval()
    layer.state_dict()
    rr.clip_grad_norm_(layer.parameters(), 1.0)
    assert weight.version == version
    seen = {version}
    for write in (
        lambda: weight.assign(np.ones((3, 2))),
        lambda: bias.assign(np.ones(3)),
        lambda: setattr(layer, "bias", np.ones(3)),
        lambda: layer.load_state_dict(layer.state_dict()),
        lambda: rr.SGD([weight]).step(),
    ):
        write()
        assert weight.version not in seen
        seen.add(weight.version)


# ----------------------------------------------------------------------------------------- modules


def test_names_order_and_count() -> None:
    layer = rr.LSTM(3, 4, num_layers=2, bidirectional=True)
    expected = [
        (f"{name}_l{depth}{suffix}", shape)
        for depth, inputs in ((0, 3), (1, 8))
        for suffix in ("", "_reverse")
        for name, shape in (
            ("weight_ih", (16, inputs)),
            ("weight_hh", (16, 4)),
            ("bias_ih", (16,)),
            ("bias_hh", (16,)),
        )
    ]
    assert [(name, p.shape) for name, p in layer.named_parameters()] == expected
    assert list(layer.state_dict()) == [name for name, _ in expected]
    assert layer.num_parameters == sum(int(np.prod(shape)) for _, shape in expected)
    assert [p.name for p in layer.parameters()] == [name for name, _ in expected]
    assert list(layer.parameters()) == [p for _, p in layer.named_parameters()]
    again = list(layer.parameters())
    assert all(one is two for one, two in zip(again, layer.parameters(), strict=True))
    assert {name for name, _ in expected} <= set(dir(layer))

    assert [n for n, _ in rr.LSTM(3, 4, bias=False, reverse=True).named_parameters()] == [
        "weight_ih_l0",
        "weight_hh_l0",
    ]
    assert [(n, p.shape) for n, p in rr.LSTMCell(3, 4).named_parameters()] == [
        ("weight_ih", (16, 3)),
        ("weight_hh", (16, 4)),
        ("bias_ih", (16,)),
        ("bias_hh", (16,)),
    ]
    assert [(n, p.shape) for n, p in rr.Linear(3, 4).named_parameters()] == [
        ("weight", (4, 3)),
        ("bias", (4,)),
    ]
    assert rr.Linear(3, 4, bias=False).num_parameters == 12
    assert list(rr.Dropout().parameters()) == []


@pytest.mark.parametrize(
    ("mode", "features"), [("concat", 8), ("sum", 4), ("average", 4), ("mul", 4)]
)
def test_sizes_of_two_directions(mode: str, features: int) -> None:
    layer = rr.LSTM(3, 4, num_layers=2, bidirectional=True, merge_mode=mode)
    assert layer.output_size == features
    assert layer.weight_ih_l1.shape == layer.weight_ih_l1_reverse.shape == (16, features)
    assert (layer.input_size, layer.hidden_size, layer.num_layers) == (3, 4, 2)
    assert (layer.bidirectional, layer.batch_first, layer.return_sequences) == (True, False, True)


LAYERS: dict[str, Callable[..., Any]] = {
    "LSTM": lambda **options: rr.LSTM(3, 4, 2, bidirectional=True, **options),
    "LSTMCell": lambda **options: rr.LSTMCell(3, 4, **options),
    "Linear": lambda **options: rr.Linear(3, 4, **options),
}


def run(layer: Any, x: Any) -> dict[str, Any]:
    result = layer(x)
    if isinstance(layer, rr.LSTM):
        return outputs_of(*result)
    return dict(enumerate(result)) if isinstance(result, tuple) else {"y": result}


@pytest.mark.parametrize("kind", LAYERS)
def test_a_layer_can_be_built_again_from_its_config(kind: str, rng: np.random.Generator) -> None:
    layer = LAYERS[kind](dtype="float64", bias=False)
    assert "seed" not in layer.config
    twin = type(layer)(**layer.config)
    assert twin.config == layer.config
    assert repr(twin) == repr(layer)
    twin.load_state_dict(layer.state_dict())
    x = rng.normal(size=(5, 3) if kind != "LSTM" else (4, 5, 3))
    for name, array in run(twin, x).items():
        np.testing.assert_array_equal(array, run(layer, x)[name])
    assert f"{layer.num_parameters} parameters" in repr(layer).replace(",", "")


@pytest.mark.parametrize("kind", LAYERS)
def test_astype_gives_a_copy(kind: str, rng: np.random.Generator) -> None:
    single = LAYERS[kind]().eval()
    double = single.astype("float64")
    assert (single.dtype, double.dtype, double.training) == ("float32", "float64", False)
    x = rng.normal(size=(5, 3) if kind != "LSTM" else (4, 5, 3)).astype("f4")
    for name, array in run(double, x).items():
        assert array.dtype == np.float64
        assert_close(run(single, x)[name], array, 2e-6)
    back = double.astype("float32")
    for name, array in back.state_dict().items():
        np.testing.assert_array_equal(array, single.state_dict()[name])
    first = next(iter(double.parameters()))
    first.assign(np.zeros(first.shape))
    assert next(iter(single.parameters())).data.any()
    same = single.astype("float32")
    assert same is not single
    for bad in ("float16", "int", None, 3):
        with pytest.raises(ValueError, match="dtype"):
            single.astype(bad)


@pytest.mark.parametrize("kind", [*LAYERS, "Dropout"])
def test_modes(kind: str) -> None:
    layer = LAYERS[kind]() if kind in LAYERS else rr.Dropout()
    assert layer.training
    assert layer.eval() is layer
    assert not layer.training
    assert layer.train() is layer
    assert layer.training
    assert not layer.train(False).training
    with pytest.raises(AttributeError):
        layer.training = True


def test_state_dict_accepts_what_numpy_reads(rng: np.random.Generator) -> None:
    layer = rr.Linear(2, 3)
    values = {"weight": rng.normal(size=(3, 2)), "bias": [1, 2, 3]}
    layer.load_state_dict(values)
    np.testing.assert_array_equal(layer.weight, values["weight"].astype("f4"))
    np.testing.assert_array_equal(layer.bias, [1, 2, 3])
    layer.load_state_dict({"weight": values["weight"].T.copy().T, "bias": np.arange(6)[::2]})
    np.testing.assert_array_equal(layer.weight, values["weight"].astype("f4"))
    np.testing.assert_array_equal(layer.bias, [0, 2, 4])


def test_classes_of_ones_own() -> None:
    class Named(rr.LSTM):
        """A layer with an attribute and a method of its own."""

        def __init__(self, *sizes: int, **options: Any) -> None:
            self.label = "mine"

        def double(self, x: Any) -> Any:
            return 2 * self(x)[0]

    layer = Named(2, 3, seed=1)
    x = np.ones((4, 1, 2), "f4")
    np.testing.assert_array_equal(layer.double(x), 2 * rr.LSTM(2, 3, seed=1)(x)[0])
    layer.label = "yours"
    assert layer.label == "yours"
    assert "Named(2, 3" in repr(layer)
    with pytest.raises(AttributeError):
        rr.LSTM(2, 3).label = "no room"
    with pytest.raises((AttributeError, TypeError, NotImplementedError)):
        del layer.weight_ih_l0
    assert layer.weight_ih_l0.shape == (12, 2)
    with pytest.raises(AttributeError):
        next(layer.parameters()).grad = x


@pytest.mark.parametrize(
    "name",
    [
        "Module",
        "RecurrentLayer",
        "Loss",
        "Optimizer",
        "RecurrentCache",
        "LinearCache",
        "EmbeddingCache",
        "LayerNormCache",
        "DropoutCache",
        "ZoneoutCache",
    ],
)
def test_bases_and_caches_can_not_be_built(name: str) -> None:
    for arguments in ((), (2, 3)):
        with pytest.raises(TypeError):
            getattr(_core, name)(*arguments)


def test_caches_are_not_copied() -> None:
    x = np.ones((4, 1, 2), "f4")
    for layer in (
        rr.LSTM(2, 3),
        rr.Linear(2, 3),
        rr.LayerNorm(2),
        rr.Dropout(),
        rr.Embedding(2, 3),
    ):
        given = x.astype(int) if isinstance(layer, rr.Embedding) else x
        cache = layer.forward_with_cache(given)[-1]
        with pytest.raises(TypeError):
            pickle.dumps(cache)


# ---------------------------------------------------------------------------------- random numbers


@pytest.mark.parametrize("kind", LAYERS)
def test_initial_weights(kind: str) -> None:
    def weights(layer: Any) -> Any:
        return np.concatenate([p.data.ravel() for p in layer.parameters()])

    one, same, other = (weights(LAYERS[kind](seed=seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).all()
    large = {
        "LSTM": lambda: rr.LSTM(50, 64, seed=3),
        "LSTMCell": lambda: rr.LSTMCell(50, 64, seed=3),
        "Linear": lambda: rr.Linear(64, 300, seed=3),
    }[kind]()
    for parameter in large.parameters():
        bound = 1 / 8  # 1 / sqrt(64)
        values = parameter.data.ravel()
        assert np.abs(values).max() <= bound
        assert np.abs(values).max() > 0.95 * bound
        # Mean and variance of the uniform distribution, within five standard errors.
        assert abs(values.mean()) < 5 * bound / np.sqrt(3 * values.size)
        assert abs((values**2).mean() * 3 / bound**2 - 1) < 5 / np.sqrt(values.size)
        assert np.unique(values).size > 0.99 * values.size


def test_unseeded_weights_come_from_the_stream() -> None:
    rr.manual_seed(5)
    one = rr.LSTM(2, 3).state_dict()
    state = rr.get_rng_state()
    two = rr.LSTM(2, 3).state_dict()
    rr.manual_seed(5)
    again = rr.LSTM(2, 3).state_dict()
    for name, array in one.items():
        np.testing.assert_array_equal(array, again[name])
        assert (array != two[name]).all()
    rr.set_rng_state(state)
    for name, array in rr.LSTM(2, 3).state_dict().items():
        np.testing.assert_array_equal(array, two[name])
    rr.manual_seed(6)
    for name, array in rr.LSTM(2, 3).state_dict().items():
        assert (array != one[name]).all()


def test_what_draws_from_the_stream() -> None:
    x = np.ones((4, 3), "f4")
    layer, dropout = rr.LSTM(3, 4), rr.Dropout(0.5)

    def draws(call: Callable[[], object]) -> int:
        seed, before = rr.get_rng_state()
        call()
        again, after = rr.get_rng_state()
        assert again == seed
        return after - before

    assert draws(lambda: rr.LSTM(3, 4, 2)) == 1
    assert draws(lambda: rr.Linear(3, 4)) == 1
    assert draws(lambda: rr.LSTM(3, 4, seed=1)) == 0
    assert draws(lambda: dropout(x)) == 1
    assert draws(lambda: dropout.forward_with_cache(x)) == 1
    assert draws(lambda: layer(x)) == 0
    dropout.eval()
    assert draws(lambda: dropout(x)) == 0
    assert draws(lambda: layer.eval()(x)) == 0
    assert draws(lambda: pickle.loads(pickle.dumps(layer))) == 0
    assert draws(lambda: copy.deepcopy(layer)) == 0
    assert draws(lambda: layer.astype("float64")) == 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout(p: float, dtype: str) -> None:
    layer = rr.Dropout(p)
    rr.manual_seed(7)
    x = np.arange(1, 200_001, dtype=dtype).reshape(400, 500)
    state = rr.get_rng_state()
    y, cache = layer.forward_with_cache(x)
    assert y.dtype == dtype
    dropped = y == 0
    # Five standard errors.
    assert abs(dropped.mean() - p) < 5 * np.sqrt(p * (1 - p) / x.size)
    for axis in (0, 1):
        share = dropped.mean(axis=axis)
        assert np.abs(share - p).max() < 6 * np.sqrt(p * (1 - p) / x.shape[axis])
    np.testing.assert_allclose(y[~dropped], x[~dropped] / (1 - p), rtol=1e-6)
    np.testing.assert_array_equal(layer.backward(x, cache=cache), y)
    assert (layer(x) != y).any()
    rr.set_rng_state(state)
    np.testing.assert_array_equal(layer(x), y)
    layer.eval()
    np.testing.assert_array_equal(layer(x), x)
    assert not np.shares_memory(layer(x), x)


def test_dropout_of_all_and_of_nothing() -> None:
    x = np.array([1.0, -2.0, np.inf, np.nan])
    all_of_it, none_of_it = rr.Dropout(1), rr.Dropout(0)
    y, cache = all_of_it.forward_with_cache(x[:2])
    np.testing.assert_array_equal(y, [0, 0])
    np.testing.assert_array_equal(all_of_it.backward(x[:2], cache=cache), [0, 0])
    np.testing.assert_array_equal(none_of_it(x), x)
    assert (all_of_it.p, none_of_it.p, rr.Dropout().p) == (1.0, 0.0, 0.5)
    assert "0.25" in repr(rr.Dropout(0.25))


def test_shuffled_is_a_permutation_of_its_arguments() -> None:
    for n in (0, 1, 2, 1000):
        order = _core.shuffled(n, 3, 4)
        assert order.dtype == np.int64
        np.testing.assert_array_equal(np.sort(order), np.arange(n))
        np.testing.assert_array_equal(order, _core.shuffled(n, 3, 4))
    orders = {
        _core.shuffled(50, seed, epoch).tobytes() for seed in range(20) for epoch in range(20)
    }
    assert len(orders) == 400
    # Every element comes to every place about equally often: five standard errors.
    first = np.bincount([_core.shuffled(10, 1, epoch)[0] for epoch in range(5000)], minlength=10)
    assert np.abs(first - 500).max() < 5 * np.sqrt(5000 * 0.1 * 0.9)


def test_build_info() -> None:
    info = rr.build_info()
    assert info["version"] == rr.__version__
    assert info["num_threads"] == rr.get_num_threads()
    assert info["instruction_set"] in ("scalar", "avx2", "avx512", "neon")
    threads = rr.get_num_threads()
    rr.set_num_threads(3)
    assert rr.get_num_threads() == rr.build_info()["num_threads"] == 3
    rr.set_num_threads(threads)
