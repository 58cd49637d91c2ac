"""`Embedding`: values and gradients beside the reference, bad indices, and training on integers."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import recurrust as rr
from reference.embedding import embed, embed_backward

SHAPES = ((), (1,), (7,), (0,), (5, 3), (0, 4), (2, 3, 4), (2, 1, 3, 2, 2))
INTEGERS = ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", ">i4")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("padding_idx", [None, 0, 4])
def test_values_and_gradients(
    padding_idx: int | None, dtype: str, rng: np.random.Generator
) -> None:
    # A vector is as wide as a part of a register, one, or some and a part.
    for shape in SHAPES:
        for dim in (1, 3, 16, 37):
            layer = rr.Embedding(5, dim, padding_idx=padding_idx, dtype=dtype)
            x = rng.integers(0, 5, size=shape)
            dy = rng.normal(size=(*shape, dim)).astype(dtype)
            y, cache = layer.forward_with_cache(x)
            assert y.dtype == dtype
            np.testing.assert_array_equal(y, embed(layer.weight, x), strict=True)
            np.testing.assert_array_equal(layer(x), y, strict=True)
            assert layer.backward(dy, cache=cache) is None
            (weight,) = layer.parameters()
            expected = embed_backward(layer.weight, x, dy.astype("f8"), padding_idx)
            scale = max(1.0, abs(dy).sum())
            allowed = 4 * np.finfo(dtype).eps * scale
            np.testing.assert_allclose(weight.grad, expected, rtol=0, atol=allowed)
            if padding_idx is not None:
                assert not weight.grad[padding_idx].any()


def test_gradients_are_summed_up_in_the_order_of_the_indices() -> None:
    """In float32, where the order shows: 2^24 swallows a one, and two ones together it doesn't."""
    large = 2.0**24
    for values, expected in (([large, 1, 1], large), ([1, 1, large], large + 2)):
        layer = rr.Embedding(2, 1)
        _, cache = layer.forward_with_cache([1, 1, 1])
        layer.backward(np.array(values, "f4")[:, np.newaxis], cache=cache)
        np.testing.assert_array_equal(next(layer.parameters()).grad, [[0], [expected]])


@pytest.mark.parametrize("input_grad", [True, False])
def test_backward_adds_and_caches_stay_as_they_were(
    input_grad: bool, rng: np.random.Generator
) -> None:
    layer = rr.Embedding(6, 3, dtype="float64")
    x = rng.integers(0, 6, size=(4, 5))
    kept = x.copy()
    dy = rng.integers(-8, 9, size=(4, 5, 3)).astype("f8")  # sums without rounding
    _, cache = layer.forward_with_cache(x)
    x[...] = 0
    for _ in range(2):
        assert layer.backward(dy, cache=cache, input_grad=input_grad) is None
    (weight,) = layer.parameters()
    np.testing.assert_array_equal(weight.grad, 2 * embed_backward(layer.weight, kept, dy))
    layer.zero_grad()
    assert not weight.grad.any()


@pytest.mark.parametrize("dtype", INTEGERS)
def test_any_integers_in_any_strides(dtype: str, rng: np.random.Generator) -> None:
    layer = rr.Embedding(100, 4)
    x = rng.integers(0, 100, size=(6, 8)).astype(dtype)
    for given in (x, x.T, x[::-1, ::3], np.asfortranarray(x), x[:, :1]):
        np.testing.assert_array_equal(layer(given), layer.weight[given.astype("i8")])
        y, cache = layer.forward_with_cache(given)
        layer.zero_grad()
        layer.backward(np.ones_like(y)[..., ::-1], cache=cache)
        counts = np.bincount(given.astype("i8").ravel(), minlength=100)
        expected = np.repeat(counts[:, np.newaxis], 4, axis=1)
        np.testing.assert_array_equal(next(layer.parameters()).grad, expected)
    np.testing.assert_array_equal(layer(x.tolist()), layer(x))
    np.testing.assert_array_equal(layer(7), layer.weight[7])
    assert layer([]).shape == (0, 4)


BAD_INDICES: list[tuple[Any, str]] = [
    (5, r"x: expected an index from 0 to 4, got 5"),
    ([0, 5, 6], r"x\[1\]: expected an index from 0 to 4, got 5"),
    ([[0, 1, 2], [3, -1, 9]], r"x\[1, 1\]: expected an index from 0 to 4, got -1"),
    (np.full((2, 3, 1), 2**62), r"x\[0, 0, 0\]: expected .* got 4611686018427387904"),
    (np.array([2**64 - 1], "u8"), r"x: expected numbers below 2\*\*63, got "),
    (np.array([-128], "i1"), r"x\[0\]: expected .* got -128"),
]


@pytest.mark.parametrize(("x", "message"), BAD_INDICES)
def test_indices_without_a_vector(x: Any, message: str) -> None:
    layer = rr.Embedding(5, 3)
    for call in (layer, layer.forward_with_cache):
        with pytest.raises(rr.ConfigError, match=f"^{message}"):
            call(x)


@pytest.mark.parametrize("x", [[0.0, 1.0], 1.5, [True, False], None, "a", [[0], [0, 1]], 1j])
def test_what_is_no_integer(x: Any) -> None:
    layer = rr.Embedding(5, 3)
    for call in (layer, layer.forward_with_cache):
        with pytest.raises((rr.DtypeError, rr.ShapeError), match=r"^x: expected an array of "):
            call(x)


@pytest.mark.parametrize("padding_idx", [3, 4, -1])
def test_padding_must_be_an_index(padding_idx: int) -> None:
    with pytest.raises(rr.ConfigError, match=rf"padding_idx: expected .*, got {padding_idx}"):
        rr.Embedding(3, 2, padding_idx=padding_idx)


def test_a_failed_backward_changes_nothing() -> None:
    layer, other = rr.Embedding(5, 3), rr.Embedding(5, 3)
    (weight,) = layer.parameters()
    weight.grad[...] = 7
    _, cache = layer.forward_with_cache([1, 2])
    dy = np.ones((2, 3), "f4")
    for bad in (dy[:1], dy[:, :2], np.ones((2, 3, 1)), 1.0):
        with pytest.raises(rr.ShapeError, match=r"^dy: expected shape \(2, 3\)"):
            layer.backward(bad, cache=cache)
    for bad in (None, dy + 0j):
        with pytest.raises(rr.DtypeError, match=r"^dy: "):
            layer.backward(bad, cache=cache)
    for foreign in (None, 3, rr.Linear(3, 1).forward_with_cache(dy)[1]):
        with pytest.raises(rr.DtypeError, match=r"^cache: "):
            layer.backward(dy, cache=foreign)
    with pytest.raises(rr.StateError, match=r"^cache: made with other weights"):
        other.backward(dy, cache=cache)
    layer.weight = layer.weight + 1
    with pytest.raises(rr.StateError, match=r"^cache: made with other weights"):
        layer.backward(dy, cache=cache)
    assert (weight.grad == 7).all()


def test_initial_weights() -> None:
    layer = rr.Embedding(300, 200, seed=3)
    assert layer.state_dict().keys() == {"weight"}
    # Mean, variance and kurtosis of the standard normal distribution, within five standard errors.
    values = layer.weight.astype("f8").ravel()
    count = values.size
    assert abs(values.mean()) < 5 / np.sqrt(count)
    assert abs((values**2).mean() - 1) < 5 * np.sqrt(2 / count)
    assert abs((values**4).mean() - 3) < 5 * np.sqrt(96 / count)
    double = rr.Embedding(300, 200, dtype="float64", seed=3)
    np.testing.assert_array_equal(double.weight.astype("f4"), layer.weight)
    assert (rr.Embedding(300, 200, seed=4).weight != layer.weight).mean() > 0.99
    padded = rr.Embedding(300, 200, padding_idx=7, seed=3)
    rest = np.arange(300) != 7
    np.testing.assert_array_equal(padded.weight[rest], layer.weight[rest])
    assert not padded.weight[7].any()
    rr.manual_seed(5)
    first, second = rr.Embedding(3, 2), rr.Embedding(3, 2)
    rr.manual_seed(5)
    np.testing.assert_array_equal(rr.Embedding(3, 2).weight, first.weight)
    assert (second.weight != first.weight).all()


def test_the_layer_protocol() -> None:
    layer = rr.Embedding(10, 4, padding_idx=2, dtype="float64", seed=1)
    assert (layer.n, layer.dim, layer.padding_idx) == (10, 4, 2)
    assert layer.config == {"n": 10, "dim": 4, "padding_idx": 2, "dtype": "float64"}
    assert repr(layer) == 'Embedding(10, 4, padding_idx=2, dtype="float64")  # 40 parameters'
    assert repr(rr.Embedding(3, 2)) == 'Embedding(3, 2, dtype="float32")  # 6 parameters'
    state = rr.get_rng_state()
    layer.weight = np.arange(40.0).reshape(10, 4)
    twin, single = pickle.loads(pickle.dumps(layer)), layer.astype("float32")
    assert rr.get_rng_state() == state
    for copied in (twin, single):
        assert copied.padding_idx == 2
        np.testing.assert_array_equal(copied.weight, layer.weight)
    assert single.dtype == "float32"
    with pytest.raises(TypeError):
        rr.Embedding(10, 4, 2)


def test_a_learned_vector_of_padding_stays_when_loaded() -> None:
    """As in PyTorch: the index has no gradient, but its vector is what was loaded."""
    layer = rr.Embedding(3, 2, padding_idx=1)
    layer.load_state_dict({"weight": np.full((3, 2), 5.0)})
    y, cache = layer.forward_with_cache([1])
    np.testing.assert_array_equal(y, [[5, 5]])
    layer.backward(np.ones((1, 2)), cache=cache)
    optimizer = rr.Adam(layer.parameters(), lr=0.1)
    optimizer.step()
    np.testing.assert_array_equal(layer.weight, np.full((3, 2), 5, "f4"))


def test_threads_share_a_layer(rng: np.random.Generator) -> None:
    """Each adds whole numbers, so that the order among threads makes no difference."""
    layer = rr.Embedding(50, 64, dtype="float64")
    x = rng.integers(0, 50, size=20_000)
    dy = rng.integers(-8, 9, size=(20_000, 64)).astype("f8")
    expected = layer(x)

    def work(_: int) -> NDArray[Any]:
        y, cache = layer.forward_with_cache(x)
        layer.backward(dy, cache=cache)
        return y

    with ThreadPoolExecutor(4) as pool:
        for y in pool.map(work, range(8)):
            np.testing.assert_array_equal(y, expected)
    gradient = embed_backward(layer.weight, x, dy)
    np.testing.assert_array_equal(next(layer.parameters()).grad, 8 * gradient)


# ---------------------------------------------------------------------------------- in networks


def model(
    *, batch_first: bool, dtype: str = "float64", padding_idx: int | None = 0, **options: Any
) -> rr.Sequential:
    return rr.Sequential(
        rr.Embedding(7, 3, padding_idx=padding_idx, dtype=dtype, seed=1),
        rr.LSTM(3, 5, batch_first=batch_first, dtype=dtype, seed=2, **options),
        rr.LayerNorm(5, dtype=dtype),
        rr.Linear(5, 7, dtype=dtype, seed=3),
    )


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("flag", [None, "lengths", "mask"])
def test_networks_and_their_gradients(
    batch_first: bool, flag: str | None, rng: np.random.Generator
) -> None:
    network = model(batch_first=batch_first, padding_idx=None)
    shape = (4, 6) if batch_first else (6, 4)
    x = rng.integers(0, 7, size=shape)
    flags: dict[str, Any] = {
        "lengths": {"lengths": [6, 0, 3, 1]},
        "mask": {"mask": rng.random(shape) < 0.6},
    }.get(str(flag), {})
    # The vectors of the indices, as the layers above would have them.
    np.testing.assert_array_equal(network(x, **flags), network[1:](network[0](x), **flags))
    errors = rr.testing.check_gradients(
        network, x, rng.integers(0, 7, size=shape), rr.CrossEntropyLoss(), **flags
    )
    assert errors.keys() == {name for name, _ in network.named_parameters()}
    y, cache = network.forward_with_cache(x, **flags)
    assert network.backward(np.ones_like(y), cache=cache) is None


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("dtype", ["i8", "u1"])
def test_training_on_integers(batch_first: bool, dtype: str, rng: np.random.Generator) -> None:
    """The next element of a cycle: learned to the last step."""
    start = rng.integers(1, 7, size=(60, 1))
    cycle = (start + np.arange(9)) % 6 + 1
    x, y = cycle[:, :-1].astype(dtype), cycle[:, 1:]
    lengths = rng.integers(3, 9, size=60)
    histories = []
    for given in (lengths, None):
        network = model(batch_first=batch_first, dtype="float32")
        optimizer = rr.Adam(network.parameters(), lr=0.03)
        trainer = rr.Trainer(network, rr.CrossEntropyLoss(), optimizer, seed=1)
        history = trainer.fit(
            x, y, epochs=15, batch_size=16, lengths=given, validation_split=0.2, verbose=0
        )
        histories.append(list(history["loss"]))
        assert history["val_loss"][-1] < 0.1 < history["val_loss"][0]
        predicted = trainer.predict(x, lengths=given)
        valid = np.arange(8) < (np.full(60, 8) if given is None else given)[:, np.newaxis]
        assert (predicted.argmax(-1) == y)[valid].mean() > 0.99
        assert not network[0].weight[0].any()
    assert histories[0] != histories[1]


def test_lists_of_sequences_are_padded_data_with_lengths(rng: np.random.Generator) -> None:
    sequences = [rng.integers(1, 7, size=steps) for steps in (3, 5, 1, 4)]
    targets = [rng.integers(0, 7, size=len(sequence)) for sequence in sequences]
    padded, lengths = rr.data.pad_sequences(sequences)
    labels, _ = rr.data.pad_sequences(targets)
    losses = []
    for data in ((sequences, targets, None), (padded, labels, lengths)):
        network = model(batch_first=True)
        optimizer = rr.SGD(network.parameters(), lr=0.5)
        trainer = rr.Trainer(network, rr.CrossEntropyLoss(), optimizer, seed=1)
        x, y, given = data
        history = trainer.fit(x, y, lengths=given, epochs=3, batch_size=2, verbose=0)
        losses.append([*history["loss"], trainer.evaluate(x, y, lengths=given)["loss"]])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-12)
    assert losses[0][-1] < losses[0][0]


def test_one_class_for_each_sequence(rng: np.random.Generator) -> None:
    """Whether a three occurs; the last valid step knows."""
    x = rng.integers(1, 7, size=(80, 5))
    y = (x == 3).any(axis=1).astype(int)
    network = model(batch_first=True, dtype="float32", return_sequences=False)
    optimizer = rr.Adam(network.parameters(), lr=0.05)
    trainer = rr.Trainer(network, rr.CrossEntropyLoss(), optimizer, seed=1)
    trainer.fit(x, y, epochs=20, verbose=0)
    assert trainer.predict(x).shape == (80, 7)
    assert (trainer.predict(x).argmax(-1) == y).mean() > 0.95


def test_models_of_single_indices() -> None:
    """Without recurrent layer, a sample may be one index: a table of logits is learned."""
    x = np.arange(6)
    network = rr.Sequential(rr.Embedding(6, 4, seed=1), rr.Linear(4, 3, seed=2))
    optimizer = rr.Adam(network.parameters(), lr=0.1)
    trainer = rr.Trainer(network, rr.CrossEntropyLoss(), optimizer, seed=1)
    trainer.fit(x, x % 3, epochs=60, verbose=0)
    np.testing.assert_array_equal(trainer.predict(x).argmax(-1), x % 3)
    probabilities = np.eye(3)[x % 3]
    assert trainer.evaluate(x, probabilities)["loss"] < 0.1
    trainer.fit(x, probabilities, epochs=1, verbose=0)


def test_the_trainer_names_what_is_wrong() -> None:
    network = model(batch_first=True)
    trainer = rr.Trainer(network, rr.CrossEntropyLoss(), rr.SGD(network.parameters(), lr=0.1))
    before = network.state_dict()
    y = np.zeros((4, 5), int)
    for shape in ((4,), (4, 5, 1)):
        with pytest.raises(rr.ShapeError, match=r"x must have shape \(samples, steps\) for"):
            trainer.fit(np.zeros(shape, int), y, epochs=1, verbose=0)
    with pytest.raises(
        rr.DtypeError, match=r"^x: expected an array of integers, got dtype float64"
    ):
        trainer.fit(np.zeros((4, 5)), y, epochs=1, verbose=0)
    with pytest.raises(rr.ConfigError, match=r"^x\[0, 0\]: expected an index from 0 to 6, got 9"):
        trainer.fit(np.full((4, 5), 9), y, epochs=1, verbose=0)
    for name, array in network.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_streams_take_integers(dtype: str, rng: np.random.Generator) -> None:
    network = model(batch_first=False, dtype=dtype)
    x = rng.integers(0, 7, size=(6, 2))
    expected = network(x)
    allowed = 100 * np.finfo(dtype).eps
    stream = network.stream(2)
    assert (stream.input_size, stream.output_size, stream.batch_size) == (3, 7, 2)
    assert stream.state[0] is None
    assert repr(stream).startswith("Stream(Embedding 7 -> 3, LSTM 3 -> 5, ")
    y = [stream.step(step) for step in x[:3]]
    twins = [stream, stream.clone(), pickle.loads(pickle.dumps(stream))]
    network[0].weight = np.zeros((7, 3))  # a stream's weights are its own
    for twin in twins:
        rest = [twin.step(step.astype("u1").tolist()) for step in x[3:]]
        np.testing.assert_allclose([*y, *rest], expected, rtol=0, atol=allowed)


def test_streams_of_one_row_take_single_integers(rng: np.random.Generator) -> None:
    network = model(batch_first=False)
    x = rng.integers(0, 7, size=5)
    expected = network(x)
    forms: list[Any] = [int, np.int16, np.array, lambda index: np.array([index])]
    for form in forms:
        stream = network.stream()
        y = [stream.step(form(index)).reshape(7) for index in x]
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-14)
    out = np.empty(7)
    assert network.stream().step(int(x[0]), out=out) is out
    np.testing.assert_allclose(out, expected[0], rtol=0, atol=1e-14)
    alone = rr.Sequential(network[0]).stream()
    np.testing.assert_array_equal(alone.step(3), network[0].weight[3])


def test_steps_that_fail_leave_the_state() -> None:
    network = model(batch_first=False)
    single, pair = network.stream(), network.stream(2)
    single.step(1)
    pair.step([1, 2])
    bad: list[tuple[Any, Any, type[Exception], str]] = [
        (single, 7, rr.ConfigError, r"^x: expected an index from 0 to 6, got 7"),
        (single, -1, rr.ConfigError, r"^x: expected an index from 0 to 6, got -1"),
        (single, 10**30, rr.DtypeError, r"^x: "),
        (single, 1.0, rr.DtypeError, r"^x: expected an array of integers"),
        (single, True, rr.DtypeError, r"^x: expected an array of integers"),
        (single, np.zeros(3), rr.DtypeError, r"^x: expected an array of integers"),
        (
            single,
            [1, 2],
            rr.ShapeError,
            r"^x: expected shape \(1,\), one index a row, or one index",
        ),
        (pair, 1, rr.ShapeError, r"^x: expected shape \(2,\), one index a row, got \(\)"),
        (pair, [[1, 2]], rr.ShapeError, r"^x: expected shape \(2,\)"),
        (pair, [1, 9], rr.ConfigError, r"^x\[1\]: expected an index from 0 to 6, got 9"),
    ]
    for stream, x, error, message in bad:
        before = stream.state[1]
        with pytest.raises(error, match=message):
            stream.step(x)
        for part, kept in zip(stream.state[1], before, strict=True):
            np.testing.assert_array_equal(part, kept)
    with pytest.raises(rr.ShapeError, match=r"^out: "):
        pair.step([1, 2], out=np.empty(7))


def test_an_embedding_in_a_stream_comes_first() -> None:
    embedding = rr.Embedding(7, 3)
    with pytest.raises(rr.ConfigError, match=r"^layer 1: expected to come first"):
        rr.Sequential(rr.Linear(3, 3), embedding).stream()


@pytest.mark.parametrize("threads", [2, 4])
def test_gradients_do_not_depend_on_the_number_of_threads(
    threads: int, rng: np.random.Generator
) -> None:
    x = rng.integers(0, 50, size=20_000)
    dy = rng.normal(size=(20_000, 64)).astype("f4")
    before = rr.get_num_threads()
    gradients = []
    try:
        for count in (1, threads):
            rr.set_num_threads(count)
            layer = rr.Embedding(50, 64)
            _, cache = layer.forward_with_cache(x)
            layer.backward(dy, cache=cache)
            gradients.append(next(layer.parameters()).grad)
    finally:
        rr.set_num_threads(before)
    np.testing.assert_array_equal(*gradients)
