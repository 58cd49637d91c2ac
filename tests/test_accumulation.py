"""Several batches that make one step."""

from __future__ import annotations

import math

import numpy as np
import pytest

import recurrust as rr

LENGTHS = np.array([5, 3, 0, 1, 5, 2, 4, 0, 0, 1, 5, 5])


def build(loss=None, lr=0.1, *, dtype="float64", outputs=1, optimizer=rr.SGD, **options):
    model = rr.Sequential(
        rr.LSTM(2, 4, batch_first=True, dtype=dtype, seed=1),
        rr.Linear(4, outputs, dtype=dtype, seed=2),
    )
    options = {"seed": 0, **options}
    return rr.Trainer(model, loss or rr.MSELoss(), optimizer(model.parameters(), lr=lr), **options)


def arrays(samples=12, steps=5):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(samples, steps, 2))
    return x, x.sum(axis=2, keepdims=True)


def assert_close(trainer, expected, rtol=1e-11):
    for name, array in expected.network.state_dict().items():
        got = trainer.network.state_dict()[name]
        np.testing.assert_allclose(got, array, rtol=rtol, atol=rtol * np.abs(array).max())


class Squares:
    """A loss of one's own, a mean over the valid steps."""

    def __call__(self, pred, target, mask=None):
        return self.value_and_grad(pred, target, mask)[0]

    def value_and_grad(self, pred, target, mask=None):
        valid = np.ones(pred.shape[:2]) if mask is None else mask
        difference = (pred - target) * valid[:, :, None]
        total = max(valid.sum(), 1)
        return (difference**2).sum() / total, 2 * difference / total


class TestIsOneLargeBatch:
    """Batches of 2 or 3 make the steps that batches of 6 make."""

    def compare(self, loss=None, *, y=None, outputs=1, clip_norm=None, **fit):
        x, targets = arrays()
        y = targets if y is None else y
        options = {"epochs": 3, "verbose": 0, "shuffle": True, **fit}
        expected = build(loss, outputs=outputs, clip_norm=clip_norm)
        history = expected.fit(x, y, batch_size=6, **options)
        assert history["loss"][-1] != history["loss"][0]
        for batch_size, batches in ((2, 3), (3, 2), (1, 6)):
            trainer = build(
                loss, outputs=outputs, clip_norm=clip_norm, accumulate_grad_batches=batches
            )
            got = trainer.fit(x, y, batch_size=batch_size, **options)
            np.testing.assert_allclose(got["loss"], history["loss"], rtol=1e-11)
            assert_close(trainer, expected)

    def test_mean(self):
        self.compare()

    def test_sum(self):
        self.compare(rr.MSELoss(reduction="sum"))

    def test_joint_clipping(self):
        self.compare(clip_norm=0.01)

    @pytest.mark.parametrize("loss", [rr.MSELoss(), Squares()])
    def test_valid_elements_differ(self, loss):
        self.compare(loss, lengths=LENGTHS)

    def test_sample_weights(self):
        weights = np.random.default_rng(1).uniform(size=12)
        weights[[0, 5, 6]] = 0.0
        self.compare(sample_weight=weights, lengths=LENGTHS)

    def test_class_weights_and_ignored_targets(self):
        y = np.random.default_rng(2).integers(0, 3, (12, 5))
        y[:, 1] = -100
        y[3] = -100
        loss = rr.CrossEntropyLoss(np.array([1.0, 2.0, 0.5]), ignore_index=-100)
        self.compare(loss, y=y, outputs=3, lengths=LENGTHS)

    def test_batches_of_different_sizes(self):
        x, y = arrays()
        expected = build()
        expected.fit(x, y, epochs=1, batch_size=12, shuffle=False, verbose=0)
        trainer = build(accumulate_grad_batches=4)
        slices = (slice(0, 1), slice(1, 8), slice(8, 10), slice(10, 12))
        trainer.fit([(x[rows], y[rows]) for rows in slices], epochs=1, verbose=0)
        assert_close(trainer, expected)

    def test_single_precision(self):
        x, y = arrays()
        expected, trainer = (
            build(dtype="float32"),
            build(dtype="float32", accumulate_grad_batches=3),
        )
        expected.fit(x, y, epochs=2, batch_size=6, verbose=0)
        trainer.fit(x, y, epochs=2, batch_size=2, verbose=0)
        assert_close(trainer, expected, rtol=1e-5)
        assert trainer.model[0].weight_ih_l0.dtype == np.float32

    def test_an_optimizer_with_a_memory(self):
        x, y = arrays()
        expected, trainer = (
            build(optimizer=rr.Adam),
            build(optimizer=rr.Adam, accumulate_grad_batches=2),
        )
        expected.fit(x, y, epochs=3, batch_size=4, verbose=0)
        trainer.fit(x, y, epochs=3, batch_size=2, verbose=0)
        assert_close(trainer, expected, rtol=1e-8)
        counts = [one.optimizer.state_dict()["state"][0]["step"] for one in (expected, trainer)]
        assert counts == [9, 9]


class TestGroups:
    def test_what_is_left_makes_a_step(self):
        x, y = arrays(7)
        expected = build()
        for rows in (slice(0, 6), slice(6, 7)):
            expected.train_step(x[rows], y[rows])
        for source in ((x, y), ([(x[row : row + 2], y[row : row + 2]) for row in range(0, 7, 2)],)):
            trainer = build(accumulate_grad_batches=3)
            trainer.fit(*source, epochs=1, batch_size=2, shuffle=False, verbose=0)
            assert_close(trainer, expected)

    def test_more_than_there_are(self):
        x, y = arrays()
        expected, trainer = build(), build(accumulate_grad_batches=100)
        for _ in range(2):  # a group ends with its epoch
            expected.train_step(x, y)
        trainer.fit(x, y, epochs=2, batch_size=5, verbose=0)
        assert_close(trainer, expected)

    def test_a_schedule_of_batches_counts_steps_and_hears_their_losses(self):
        class Listening(rr.ExponentialLR):
            def step(self, metric=None):
                heard.append(metric)
                super().step(metric)

        x, y = arrays(10)
        runs = []
        for batch_size, batches in ((4, 1), (2, 2)):
            heard = []
            trainer = build(accumulate_grad_batches=batches, schedule_every="batch")
            trainer.scheduler = Listening(trainer.optimizer, 0.5)
            trainer.fit(x, y, epochs=1, batch_size=batch_size, lengths=LENGTHS[:10], verbose=0)
            assert trainer.scheduler.step_count == 3
            runs.append(heard)
        np.testing.assert_allclose(runs[1], runs[0], rtol=1e-11)

    def test_callbacks_hear_of_every_batch(self):
        heard = []

        class Recording(rr.Callback):
            def on_batch_end(self, trainer, batch, loss):
                weights = trainer.model[0].weight_ih_l0.copy()
                heard.append((batch, loss, weights))
                # What becomes of a batch's own gradients doesn't matter any more.
                trainer.network.zero_grad()
                trainer.predict(x)

        x, y = arrays(7)
        trainer = build(accumulate_grad_batches=2, callbacks=[Recording()])
        single = build().network.state_dict()
        trainer.fit(x, y, epochs=1, batch_size=2, shuffle=False, verbose=0)
        assert [batch for batch, _, _ in heard] == [0, 1, 2, 3]
        np.testing.assert_array_equal(heard[0][2], single["0.weight_ih_l0"])
        assert not np.array_equal(heard[1][2], heard[0][2])
        np.testing.assert_array_equal(heard[2][2], heard[1][2])
        assert heard[0][1] == build().evaluate(x[:2], y[:2])["loss"]
        expected = build()
        for rows in (slice(0, 4), slice(4, 7)):
            expected.train_step(x[rows], y[rows])
        assert_close(trainer, expected)

    def test_train_step_is_a_step(self):
        x, y = arrays()
        expected, trainer = build(), build(accumulate_grad_batches=3)
        assert trainer.train_step(x, y) == expected.train_step(x, y)
        assert_close(trainer, expected)

    @pytest.mark.parametrize(
        ("value", "error"), [(0, rr.ConfigError), (-1, rr.ConfigError), (1.5, rr.DtypeError)]
    )
    def test_impossible_numbers(self, value, error):
        with pytest.raises(error, match=r"accumulate_grad_batches must be .*at least 1, got"):
            build(accumulate_grad_batches=value)


class TestNonFinite:
    class Breaking:
        """The mean square error, but for targets that are huge."""

        def __init__(self, value=None, gradient=None):
            self.value, self.gradient = value, gradient

        def __call__(self, pred, target):
            return self.value_and_grad(pred, target)[0]

        def value_and_grad(self, pred, target):
            value, gradient = rr.MSELoss().value_and_grad(pred, target)
            if target.max() < 1e6:
                return value, gradient
            gradient = gradient if self.gradient is None else np.full_like(pred, self.gradient)
            return 1.0 if self.value is None else self.value, gradient

    @pytest.mark.parametrize("broken", [{"value": math.nan}, {"gradient": math.nan}])
    def test_a_batch_that_is_skipped_is_left_out(self, broken):
        x, y = arrays(10)
        y[2] = 1e9
        options = {"epochs": 2, "batch_size": 2, "shuffle": False, "verbose": 0}
        trainer = build(self.Breaking(**broken), accumulate_grad_batches=2, on_nonfinite="skip")
        history = trainer.fit(x, y, **options)
        assert history["skipped"] == [1.0, 1.0]
        expected = build()
        for _ in range(2):
            for rows in (slice(0, 2), slice(4, 8), slice(8, 10)):
                expected.train_step(x[rows], y[rows])
        assert_close(trainer, expected)

    def test_nothing_left_of_a_group(self):
        x, y = arrays(4)
        y[:] = 1e9
        trainer = build(
            self.Breaking(math.nan), accumulate_grad_batches=2, on_nonfinite="skip",
            scheduler=None,
        )  # fmt: skip
        before = trainer.network.state_dict()
        history = trainer.fit(x, y, epochs=1, batch_size=1, verbose=0)
        assert history["skipped"] == [4.0]
        assert math.isnan(history["loss"][0])
        for name, array in trainer.network.state_dict().items():
            np.testing.assert_array_equal(array, before[name])

    @pytest.mark.parametrize("broken", [{"value": math.nan}, {"gradient": math.nan}])
    def test_raising_names_the_batch_at_once(self, broken):
        x, y = arrays(10)
        y[6] = 1e9
        trainer = build(self.Breaking(**broken), accumulate_grad_batches=5)
        before = trainer.network.state_dict()
        with pytest.raises(rr.NonFiniteError, match=r"epoch 1, batch 3; the weights are untouched"):
            trainer.fit(x, y, epochs=1, batch_size=2, shuffle=False, verbose=0)
        for name, array in trainer.network.state_dict().items():
            np.testing.assert_array_equal(array, before[name])

    @pytest.mark.parametrize("on_nonfinite", ["raise", "skip"])
    def test_a_sum_beyond_the_range(self, on_nonfinite):
        x, y = arrays(4)
        y[:] = 1e9
        loss = self.Breaking(gradient=1e37)
        trainer = build(loss, dtype="float32", accumulate_grad_batches=2, on_nonfinite=on_nonfinite)
        before = trainer.network.state_dict()
        options = {"epochs": 1, "batch_size": 2, "verbose": 0}
        with np.errstate(over="ignore"):
            if on_nonfinite == "raise":
                with pytest.raises(rr.NonFiniteError, match=r"the gradient of .* is not finite"):
                    trainer.fit(x, y, **options)
            else:
                assert trainer.fit(x, y, **options)["skipped"] == [1.0]
        for name, array in trainer.network.state_dict().items():
            np.testing.assert_array_equal(array, before[name])
