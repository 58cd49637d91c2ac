"""`fit` on batches that come one by one."""

from __future__ import annotations

import math
import weakref

import numpy as np
import pytest

import recurrust as rr

SLICES = (slice(0, 3), slice(3, 4), slice(4, 9))


def build(*, batch_first=True, dtype="float64", lr=0.1, **options):
    model = rr.Sequential(
        rr.LSTM(2, 4, batch_first=batch_first, dtype=dtype, seed=1),
        rr.Linear(4, 1, dtype=dtype, seed=2),
    )
    return rr.Trainer(
        model, rr.MSELoss(), rr.SGD(model.parameters(), lr=lr), **{"seed": 0, **options}
    )


def arrays(samples=9, steps=5):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(samples, steps, 2))
    return x, x.sum(axis=2, keepdims=True), generator.integers(0, steps + 1, samples)


def cut(x, y, slices=SLICES):
    return [(x[rows], y[rows]) for rows in slices]


class Again:
    """Can be gone through any number of times."""

    def __init__(self, batches):
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)


class Loader:
    """Its own iterator, which `iter` sets back to the start."""

    def __init__(self, batches):
        self.batches = batches

    def __iter__(self):
        self.rest = list(self.batches)
        return self

    def __next__(self):
        if not self.rest:
            raise StopIteration
        return self.rest.pop(0)


SOURCES = {
    "list": list,
    "tuple": tuple,
    "iterable": Again,
    "loader": Loader,
    "function": lambda batches: lambda: iter(batches),
    "function that gives a list": lambda batches: lambda: batches,
}


class TestSources:
    @pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
    def test_is_training_on_the_arrays(self, source):
        x, y, _ = arrays()
        whole = build()
        # Slices of equal size, as `fit` cuts them.
        batches = cut(x, y, [slice(start, start + 4) for start in (0, 4, 8)])
        options = {"epochs": 3, "verbose": 0}
        expected = whole.fit(x, y, batch_size=4, shuffle=False, **options)
        trainer = build()
        history = trainer.fit(source(batches), **options)
        assert dict(history) == dict(expected)
        for name, array in whole.network.state_dict().items():
            np.testing.assert_array_equal(trainer.network.state_dict()[name], array)

    def test_a_generator_lasts_for_one_epoch(self):
        x, y, _ = arrays()
        expected = build().fit(cut(x, y), epochs=2, verbose=0)
        trainer = build()
        assert trainer.fit(iter(cut(x, y)), epochs=1, verbose=0)["loss"] == expected["loss"][:1]

        trainer = build()
        ended = []

        class Ending(rr.Callback):
            def on_train_end(self, trainer):
                ended.append(trainer.epoch)

        trainer.callbacks = [Ending()]
        with pytest.raises(
            rr.ConfigError, match=r"x has no batches left for epoch 2: .*Pass a function that"
        ):
            trainer.fit((batch for batch in cut(x, y)), epochs=2, verbose=0)
        # The first epoch stands.
        assert (trainer.epoch, ended) == (1, [1])
        assert trainer.history["loss"] == expected["loss"][:1]
        assert trainer.fit(cut(x, y), epochs=1, verbose=0)["loss"] == expected["loss"][1:]

    def test_no_batches(self):
        for empty in ([], Again([]), lambda: iter(())):
            with pytest.raises(rr.ShapeError, match="x has no batches in epoch 1"):
                build().fit(empty, epochs=1, verbose=0)
        with pytest.raises(rr.ConfigError, match="x has no batches left for epoch 1"):
            build().fit(iter(()), epochs=1, verbose=0)

    @pytest.mark.parametrize(
        ("source", "error", "text"),
        [
            (np.zeros((4, 5, 2)), rr.DtypeError, "y is missing"),
            (5, rr.DtypeError, "x must be an array, a list of sequences, or, without y, .*got 5"),
            (None, rr.DtypeError, "x must be an array, .*got None"),
            (lambda: 5, rr.DtypeError, r"x\(\) must return an iterable of batches, got 5"),
            ("text", rr.DtypeError, r"batch 0: must be a pair \(x, y\), .*got str"),
            ([np.zeros((2, 5, 2))], rr.DtypeError, "batch 0: must be a pair .*got ndarray"),
            ([(1, 2, 3)], rr.DtypeError, "batch 0: must be a pair .*got tuple of 3 entries"),
            ([{"x": 1}], rr.ConfigError, r"batch 0: a mapping must have .*got \['x'\]"),
            ([{"x": 1, "y": 1, "w": 1}], rr.ConfigError, r"batch 0: a mapping .*\['w', 'x', 'y'\]"),
        ],
    )
    def test_what_is_no_source(self, source, error, text):
        trainer = build()
        with pytest.raises(error, match=text):
            trainer.fit(source, epochs=1, verbose=0)
        assert trainer.epoch == 0

    @pytest.mark.parametrize(
        "options", [{"lengths": [5] * 9}, {"sample_weight": [1] * 9}, {"validation_split": 0.5}]
    )
    def test_options_of_arrays(self, options):
        (name,) = options
        with pytest.raises(rr.ConfigError, match=f"{name} is for arrays with targets"):
            build().fit(cut(*arrays()[:2]), epochs=1, verbose=0, **options)

    def test_an_error_of_the_source_ends_the_run(self):
        x, y, _ = arrays()

        def failing():
            yield x, y
            raise ZeroDivisionError

        trainer = build()
        with pytest.raises(ZeroDivisionError):
            trainer.fit(failing, epochs=1, verbose=0)
        assert trainer.epoch == 0
        assert trainer.fit([(x, y)], epochs=1, verbose=0).epochs == [1]


class TestBatches:
    @pytest.mark.parametrize("batch_first", [True, False])
    def test_lengths_and_weights_of_each_batch(self, batch_first):
        x, y, lengths = arrays()
        weights = np.random.default_rng(1).uniform(size=9)
        batches = [
            {"x": x[rows], "y": y[rows], "lengths": lengths[rows], "sample_weight": weights[rows]}
            for rows in SLICES
        ]
        trainer = build(lr=0.0, batch_first=batch_first)
        expected = trainer.evaluate(x, y, lengths=lengths, sample_weight=weights)["loss"]
        history = trainer.fit(batches, epochs=1, verbose=0)
        assert history["loss"] == [pytest.approx(expected, rel=1e-12)]

    def test_sequences_of_different_lengths(self):
        x, y, lengths = arrays()
        x = [sequence[:steps] for sequence, steps in zip(x, lengths, strict=True)]
        y = [sequence[:steps] for sequence, steps in zip(y, lengths, strict=True)]
        trainer = build(lr=0.0)
        history = trainer.fit(cut(x, y), epochs=1, verbose=0)
        assert history["loss"] == [pytest.approx(trainer.evaluate(x, y)["loss"], rel=1e-12)]

    def test_loss_and_metrics_are_those_of_all_elements(self):
        x, y, _ = arrays()
        trainer = build(lr=0.0, metrics={"worst": lambda pred, target: (pred - target).max()})
        expected = trainer.evaluate(x, y)
        for slices in (SLICES, [slice(0, 9)], [slice(row, row + 1) for row in range(9)]):
            history = trainer.fit(cut(x, y, slices), epochs=1, verbose=0)
            for name, value in expected.items():
                assert history[name] == [pytest.approx(value, rel=1e-12)]

    def test_metrics_of_batches_with_different_numbers_of_steps(self):
        x, y, _ = arrays(6)
        shapes = []

        def worst(pred, target):
            shapes.append((pred.shape, target.shape))
            return np.abs(pred - target).max()

        trainer = build(lr=0.0, metrics=[worst])
        short = [(x[:4, :3], y[:4, :3]), (x[4:], y[4:])]
        history = trainer.fit(short, epochs=1, verbose=0)
        assert shapes == [((4 * 3 + 2 * 5, 1),) * 2]
        expected = max(
            np.abs(trainer.predict(x[rows, :steps]) - y[rows, :steps]).max()
            for rows, steps in ((slice(4), 3), (slice(4, 6), 5))
        )
        assert history["worst"] == [pytest.approx(expected, rel=1e-12)]
        # Some with lengths, others without.
        shapes.clear()
        some = [{"x": x[:4], "y": y[:4], "lengths": [5, 1, 0, 2]}, (x[4:], y[4:])]
        trainer.fit(some, epochs=1, verbose=0)
        assert shapes == [((8 + 2 * 5, 1),) * 2]

    def test_validation(self):
        x, y, lengths = arrays()
        trainer = build()
        held_out = {"x": x, "y": y, "lengths": lengths}
        history = trainer.fit(
            cut(x, y), epochs=2, validation_data=held_out, batch_size=2, verbose=0
        )
        assert history["val_loss"][-1] == trainer.evaluate(**held_out, batch_size=2)["loss"]

    @pytest.mark.parametrize(
        ("batch", "text"),
        [
            ((np.zeros((2, 5, 2)), np.zeros((3, 5, 1))), "batch 1: x has 2 samples, but y has 3"),
            ((np.zeros((2, 5)), np.zeros((2, 1))), "batch 1: x must have shape"),
            ((np.zeros((0, 5, 2)), np.zeros((0, 5, 1))), "batch 1: x has no samples"),
        ],
    )
    def test_shapes_are_checked_batch_by_batch(self, batch, text):
        x, y, _ = arrays()
        trainer = build()
        with pytest.raises(rr.ShapeError, match=text):
            trainer.fit([(x, y), batch], epochs=1, verbose=0)
        assert trainer.epoch == 0

    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_values_that_are_not_finite(self, value):
        x, y, _ = arrays()
        bad = x.copy()
        bad[2, 1, 0] = value
        batches = [(x[:4], y[:4]), (bad[:5], y[:5]), (x[4:], y[4:])]
        with pytest.raises(
            rr.NonFiniteError, match=f"^batch 1: x is {value} at row 2, step 1, column 0"
        ):
            build(on_nonfinite="skip").fit(batches, epochs=1, verbose=0)
        trainer = build(on_nonfinite="skip")
        history = trainer.fit(batches, epochs=1, check_finite=False, verbose=0)
        clean = build()
        expected = clean.fit([batches[0], batches[2]], epochs=1, verbose=0)
        assert history["skipped"] == [1.0]
        assert history["loss"] == expected["loss"]
        for name, array in clean.network.state_dict().items():
            np.testing.assert_array_equal(trainer.network.state_dict()[name], array)

    def test_only_one_batch_is_needed_at_a_time(self):
        alive = []

        def source():
            for _ in range(20):
                x = np.zeros((4, 5, 2))
                y = np.zeros((4, 5, 1))
                alive.append(weakref.ref(x))
                # The one before is still in the hands of whoever iterates.
                assert sum(one() is not None for one in alive) <= 2
                yield x, y

        build().fit(source, epochs=2, verbose=0)
        assert len(alive) == 40

    def test_memory_that_the_source_uses_again(self):
        x, y, _ = arrays()
        buffers = np.empty((4, 5, 2)), np.empty((4, 5, 1))

        def source():
            for start in (0, 4):
                for buffer, values in zip(buffers, (x, y), strict=True):
                    buffer[...] = values[start : start + 4]
                yield buffers

        metrics = {"sum": lambda pred, target: target.sum()}
        history = build(metrics=metrics).fit(source, epochs=1, verbose=0)
        expected = build(metrics=metrics).fit(
            x[:8], y[:8], epochs=1, batch_size=4, shuffle=False, verbose=0
        )
        assert dict(history) == dict(expected)
