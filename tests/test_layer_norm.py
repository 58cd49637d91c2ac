"""`LayerNorm` beside the reference, for sizes around those of registers and hard numbers."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import recurrust as rr
from reference.differences import central_differences
from reference.layer_norm import normalize, normalize_backward
from reference.layers import gradients_of, randomize

Array = NDArray[Any]

# Parts of a register, whole ones, and more than are summed up side by side.
SIZES = (1, 2, 3, 7, 8, 9, 31, 32, 33, 64, 100, 257)
ROWS = (0, 1, 2, 5)
# Of the largest entry of a tensor.
TOLERANCES = {"float32": 2e-6, "float64": 1e-13}


def expected_of(layer: rr.LayerNorm, x: Array, dy: Array) -> dict[str, Array]:
    """Output and gradients in double precision."""
    weight, bias = layer.weight.astype("f8"), layer.bias.astype("f8")
    rows, upstream = (array.reshape(-1, layer.n).astype("f8") for array in (x, dy))
    tape = normalize(rows)
    return {
        "y": (tape.value * weight + bias).reshape(x.shape),
        "x": normalize_backward(tape, upstream * weight).reshape(x.shape),
        "weight": (upstream * tape.value).sum(axis=0),
        "bias": upstream.sum(axis=0),
    }


def run(layer: rr.LayerNorm, x: Array, dy: Array) -> dict[str, Array]:
    """Output and gradients by the layer."""
    y, cache = layer.forward_with_cache(x)
    np.testing.assert_array_equal(layer(x), y, strict=True)
    layer.zero_grad()
    return {"y": y, "x": layer.backward(dy, cache=cache), **gradients_of(layer)}


def assert_alike(got: dict[str, Array], expected: dict[str, Array], dtype: str, what: str) -> None:
    for name, array in expected.items():
        assert got[name].dtype == dtype
        allowed = TOLERANCES[dtype] * max(1.0, abs(array).max(initial=0))
        np.testing.assert_allclose(
            got[name], array, rtol=0, atol=allowed, err_msg=f"{what}: {name}", strict=False
        )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values_and_gradients(dtype: str, rng: np.random.Generator) -> None:
    for n in SIZES:
        layer = rr.LayerNorm(n, dtype=dtype)
        randomize(layer, rng)
        for outer in ((), *((rows,) for rows in ROWS), (3, 4), (2, 3, 2), (2, 0, 3)):
            x, dy = (rng.normal(size=(*outer, n)).astype(dtype) for _ in range(2))
            assert_alike(run(layer, x, dy), expected_of(layer, x, dy), dtype, f"{outer}, {n}")


def test_central_differences(rng: np.random.Generator) -> None:
    for n in (2, 5, 9):
        layer = rr.LayerNorm(n, eps=1e-3, dtype="float64")
        randomize(layer, rng)
        x, dy = rng.normal(size=(2, 4, n))
        got = run(layer, x, dy)
        differences = {"x": central_differences(lambda at, layer=layer, dy=dy: layer(at) * dy, x)}
        for name, parameter in layer.named_parameters():

            def moved(
                at: Array,
                layer: Any = layer,
                parameter: Any = parameter,
                x: Array = x,
                dy: Array = dy,
            ) -> Array:
                parameter.assign(at)
                return layer(x) * dy

            start = parameter.data.copy()
            differences[name] = central_differences(moved, start)
            parameter.assign(start)
        for name, array in differences.items():
            np.testing.assert_allclose(got[name], array, rtol=0, atol=1e-7 * abs(array).max())


def test_epsilon() -> None:
    """Rows of one size have no variance but epsilon; two numbers are told by hand."""
    x = np.array([[3.0, 3.0], [1.0, 5.0]])
    for eps in (1e-5, 0.25, 5.0):
        y = rr.LayerNorm(2, eps=eps, dtype="float64")(x)
        distance = 2 / np.sqrt(4 + eps)
        np.testing.assert_allclose(y, [[0, 0], [-distance, distance]], rtol=1e-15)


@pytest.mark.parametrize("n", [4, 64, 250])
def test_numbers_far_from_zero_lose_no_digits(n: int, rng: np.random.Generator) -> None:
    """What float32 has of them is normalised as exactly as other numbers: to 2 ulp or so of the
    largest of a row, while gradients, which are differences of slopes, have the slopes' digits."""
    layer = rr.LayerNorm(n)
    offsets = np.array([0, 1e4, -1e6, 1e-12, 1e18])[:, np.newaxis]
    scales = np.array([1, 1, 100, 1e-12, 1e15])[:, np.newaxis]
    x = (rng.normal(size=(5, n)) * scales + offsets).astype("f4")
    dy = rng.normal(size=x.shape).astype("f4")
    got, expected = run(layer, x, dy), expected_of(layer, x, dy)
    for row in range(5):
        scale = 1 / np.sqrt(x[row].astype("f8").var() + layer.eps)
        largest = abs(expected["y"][row]).max()
        for name, size in (("y", largest), ("x", max(1, largest) * scale * abs(dy[row]).max())):
            allowed = 2.5e-7 * size
            np.testing.assert_allclose(got[name][row], expected[name][row], rtol=0, atol=allowed)


@pytest.mark.parametrize("n", [2, 33])
def test_sums_over_many_rows_lose_no_digits(n: int) -> None:
    """A hundred thousand tenths: added one by one in float32 they are off by a thousandth."""
    layer = rr.LayerNorm(n)
    count = 100_003
    x = np.tile(np.where(np.arange(n) % 2, 1, -1).astype("f4"), (count, 1))
    dy = np.full((count, n), 0.1, "f4")
    got, expected = run(layer, x, dy), expected_of(layer, x, dy)
    naive = np.cumsum(dy[:, 0], dtype="f4")[-1]
    assert abs(naive / expected["bias"][0] - 1) > 1e-4
    for name in ("weight", "bias"):
        np.testing.assert_allclose(got[name], expected[name], rtol=2e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sums_over_long_rows_lose_no_digits(dtype: str, rng: np.random.Generator) -> None:
    layer = rr.LayerNorm(50_001, dtype=dtype)
    x, dy = rng.normal(size=(2, 5, 50_001)).astype(dtype)
    got, expected = run(layer, x, dy), expected_of(layer, x, dy)
    allowed = 4 * np.finfo(dtype).eps
    for name in ("y", "x"):
        np.testing.assert_allclose(got[name], expected[name], rtol=0, atol=allowed * abs(x).max())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_equal_numbers_give_the_bias(dtype: str) -> None:
    """However large they are, and whatever the size of the row: their distances are none."""
    for n in SIZES:
        layer = rr.LayerNorm(n, dtype=dtype)
        layer.bias = np.arange(n)
        for value in (0.0, 0.1, -3e7, 1e18):
            y = layer(np.full((3, n), value, dtype))
            np.testing.assert_array_equal(y, np.tile(np.arange(n, dtype=dtype), (3, 1)))


def test_results_do_not_depend_on_layout_or_company(rng: np.random.Generator) -> None:
    """Bit for bit: the same rows, in other strides, order and number."""
    layer = rr.LayerNorm(37)
    randomize(layer, rng)
    x = rng.normal(size=(10, 12, 37)).astype("f4")
    y = layer(x)
    np.testing.assert_array_equal(layer(x.reshape(120, 37)), y.reshape(120, 37))
    np.testing.assert_array_equal(layer(x.swapaxes(0, 1)), y.swapaxes(0, 1))
    np.testing.assert_array_equal(layer(x[::-1, ::3]), y[::-1, ::3])
    np.testing.assert_array_equal(layer(x[3, 4]), y[3, 4])
    np.testing.assert_array_equal(layer(x[..., ::-1][..., ::-1]), y)
    np.testing.assert_array_equal(layer(x.astype("f8")), y)
    np.testing.assert_array_equal(layer(x.reshape(2, 5, 12, 37)), y.reshape(2, 5, 12, 37))
    broadcast = np.broadcast_to(x[0, 0], (3, 2, 37))
    np.testing.assert_array_equal(layer(broadcast), np.broadcast_to(y[0, 0], (3, 2, 37)))


def test_a_bad_row_stays_alone(rng: np.random.Generator) -> None:
    layer = rr.LayerNorm(20)
    x, dy = rng.normal(size=(2, 50, 20)).astype("f4")
    good = run(layer, x, dy)
    for bad in (np.nan, np.inf):
        x[7, 3] = bad
        fine = np.arange(50) != 7
        got = run(layer, x, dy)
        for name in ("y", "x"):
            np.testing.assert_array_equal(got[name][fine], good[name][fine])
            assert np.isnan(got[name][7]).all()


def test_backward_adds_and_caches_stay_as_they_were(rng: np.random.Generator) -> None:
    layer = rr.LayerNorm(6, dtype="float64")
    x, dy = rng.normal(size=(2, 4, 6))
    _, cache = layer.forward_with_cache(x)
    x[...] = 0
    dx = layer.backward(dy, cache=cache)
    once = gradients_of(layer)
    np.testing.assert_array_equal(layer.backward(dy, cache=cache), dx)
    assert layer.backward(dy, cache=cache, input_grad=False) is None
    for name, gradient in gradients_of(layer).items():
        np.testing.assert_allclose(gradient, 3 * once[name], rtol=1e-14)
        assert abs(gradient).max() > 0


def test_a_failed_backward_changes_nothing() -> None:
    layer, other = rr.LayerNorm(3), rr.LayerNorm(3)
    for parameter in layer.parameters():
        parameter.grad[...] = 7
    x = np.ones((2, 3), "f4")
    _, cache = layer.forward_with_cache(x)
    for bad in (x[:1], x[:, :2], np.ones((2, 3, 1)), 1.0):
        with pytest.raises(rr.ShapeError, match=r"^dy: expected shape \(2, 3\)"):
            layer.backward(bad, cache=cache)
    for foreign in (None, 3, rr.Linear(3, 1).forward_with_cache(x)[1]):
        with pytest.raises(rr.DtypeError, match=r"^cache: "):
            layer.backward(x, cache=foreign)
    with pytest.raises(rr.StateError, match=r"^cache: made with other weights"):
        other.backward(x, cache=cache)
    layer.weight = [1.0, 2.0, 3.0]
    with pytest.raises(rr.StateError, match=r"^cache: made with other weights"):
        layer.backward(x, cache=cache)
    for parameter in layer.parameters():
        assert (parameter.grad == 7).all()


@pytest.mark.parametrize("shape", [(), (2,), (4,), (3, 2), (0,), (3, 2, 1)])
def test_inputs_of_other_widths(shape: tuple[int, ...]) -> None:
    layer = rr.LayerNorm(3)
    for call in (layer, layer.forward_with_cache):
        with pytest.raises(rr.ShapeError, match=r"^x: expected 3 features on the last axis"):
            call(np.zeros(shape, "f4"))


def test_the_layer_protocol() -> None:
    state = rr.get_rng_state()
    layer = rr.LayerNorm(3, eps=0.125, dtype="float64", seed=4)
    assert (layer.n, layer.eps) == (3, 0.125)
    assert layer.config == {"n": 3, "eps": 0.125, "dtype": "float64"}
    assert repr(layer) == 'LayerNorm(3, eps=0.125, dtype="float64")  # 6 parameters'
    assert repr(rr.LayerNorm(4)) == 'LayerNorm(4, dtype="float32")  # 8 parameters'
    assert rr.LayerNorm(4).eps == 1e-5
    np.testing.assert_array_equal(layer.weight, [1, 1, 1])
    np.testing.assert_array_equal(layer.bias, [0, 0, 0])
    layer.load_state_dict({"weight": [1, 2, 3], "bias": [4, 5, 6]})
    for copied in (pickle.loads(pickle.dumps(layer)), layer.astype("float32")):
        assert copied.eps == 0.125
        np.testing.assert_array_equal(copied.weight, [1, 2, 3])
        np.testing.assert_array_equal(copied.bias, [4, 5, 6])
    assert rr.get_rng_state() == state


def test_threads_share_a_layer(rng: np.random.Generator) -> None:
    layer = rr.LayerNorm(256)
    x, dy = rng.normal(size=(2, 3000, 256)).astype("f4")
    expected = run(layer, x, dy)

    def work(_: int) -> tuple[Array, Array]:
        y, cache = layer.forward_with_cache(x)
        return y, layer.backward(dy, cache=cache)

    layer.zero_grad()
    with ThreadPoolExecutor(4) as pool:
        for y, dx in pool.map(work, range(8)):
            np.testing.assert_array_equal(y, expected["y"])
            np.testing.assert_array_equal(dx, expected["x"])
    for name, gradient in gradients_of(layer).items():
        np.testing.assert_allclose(gradient, 8 * expected[name], rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_streams_normalise_bit_for_bit(dtype: str, rng: np.random.Generator) -> None:
    norms = [rr.LayerNorm(size, eps=0.01, dtype=dtype) for size in (3, 17)]
    for layer in norms:
        randomize(layer, rng)
    model = rr.Sequential(norms[0], rr.LSTM(3, 17, dtype=dtype), norms[1])
    x = rng.normal(size=(8, 2, 3)).astype(dtype)
    expected = model(x)
    stream = model.stream(2)
    assert (stream.input_size, stream.output_size) == (3, 17)
    assert stream.state[0] is None
    assert repr(stream).startswith("Stream(LayerNorm 3 -> 3, LSTM 3 -> 17, LayerNorm 17 -> 17, ")
    np.testing.assert_array_equal([stream.step(step) for step in x[:4]], expected[:4])
    twins = [stream.clone(), pickle.loads(pickle.dumps(stream))]
    for layer in norms:
        randomize(layer, rng)
    for twin in (stream, *twins):
        np.testing.assert_array_equal([twin.step(step) for step in x[4:]], expected[4:])
    alone = rr.Sequential(norms[0]).stream()
    np.testing.assert_array_equal(alone.step(x[0, 0]), norms[0](x[0, 0]))
