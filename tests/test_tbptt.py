"""Sequences that are trained window by window."""

from __future__ import annotations

import math

import numpy as np
import pytest

import recurrust as rr

LENGTHS = np.array([10, 3, 0, 7, 4, 9])


def network(layer=rr.LSTM, *, batch_first=True, dtype="float64", num_layers=2, **options):
    return rr.Sequential(
        layer(2, 4, num_layers, batch_first=batch_first, dtype=dtype, seed=1, **options),
        rr.Linear(4, 1, dtype=dtype, seed=2),
    )


def build(model=None, loss=None, lr=0.1, **options):
    model = network() if model is None else model
    options = {"seed": 0, **options}
    return rr.Trainer(model, loss or rr.MSELoss(), rr.SGD(model.parameters(), lr=lr), **options)


def arrays(samples=6, steps=10):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(samples, steps, 2))
    return x, x.sum(axis=2, keepdims=True).cumsum(axis=1)


def by_hand(model, x, y, steps, lengths=None, lr=0.1):
    """Train on one batch; return the loss of each window and how many elements it has."""
    loss, optimizer = rr.MSELoss(), rr.SGD(model.parameters(), lr=lr)
    state, values = None, []
    for start in range(0, x.shape[1], steps):
        part = slice(start, start + steps)
        options, weights, count = {"state": state, "return_state": True}, {}, x[:, part, 0].size
        if lengths is not None:
            rest = np.clip(lengths - start, 0, x[:, part].shape[1])
            if not rest.any():
                break
            options["lengths"] = rest
            weights["mask"] = np.arange(x[:, part].shape[1]) < rest[:, None]
            count = rest.sum()
        pred, state, cache = model.forward_with_cache(x[:, part], **options)
        value, gradient = loss.value_and_grad(pred, y[:, part], **weights)
        model.zero_grad()
        model.backward(gradient, cache=cache)
        optimizer.step()
        values.append((value, count))
    return values


def assert_close(got, expected, rtol=1e-12):
    for name, array in expected.state_dict().items():
        np.testing.assert_allclose(got.state_dict()[name], array, rtol=rtol, atol=1e-13)


class TestWindows:
    @pytest.mark.parametrize("layer", [rr.LSTM, rr.GRU, rr.RNN])
    @pytest.mark.parametrize("steps", [1, 3, 5, 9])
    def test_is_the_loop_by_hand(self, layer, steps):
        x, y = arrays()
        model = network(layer)
        values = by_hand(model, x, y, steps)
        assert len(values) == math.ceil(10 / steps)
        trainer = build(network(layer), tbptt=steps)
        history = trainer.fit(x, y, epochs=1, batch_size=6, shuffle=False, verbose=0)
        assert_close(trainer.network, model)
        total = sum(value * count for value, count in values)
        assert history["loss"] == [pytest.approx(total / x[..., 0].size, rel=1e-12)]

    @pytest.mark.parametrize("steps", [2, 4, 7])
    def test_lengths(self, steps):
        x, y = arrays()
        model = network()
        values = by_hand(model, x, y, steps, LENGTHS)
        trainer = build(tbptt=steps)
        history = trainer.fit(
            x, y, lengths=LENGTHS, epochs=1, batch_size=6, shuffle=False, verbose=0
        )
        assert_close(trainer.network, model)
        total = sum(value * count for value, count in values)
        assert history["loss"] == [pytest.approx(total / LENGTHS.sum(), rel=1e-12)]

    def test_windows_as_long_as_the_sequences_change_nothing(self):
        x, y = arrays()
        options = {"epochs": 2, "batch_size": 4, "lengths": LENGTHS, "verbose": 0}
        expected = build()
        history = expected.fit(x, y, **options)
        for steps in (10, 11, 1000):
            trainer = build(tbptt=steps)
            assert dict(trainer.fit(x, y, **options)) == dict(history)
            for name, array in expected.network.state_dict().items():
                np.testing.assert_array_equal(trainer.network.state_dict()[name], array)

    def test_no_step_where_all_sequences_are_over(self):
        x, y = arrays()
        trainer = build(tbptt=2, schedule_every="batch")
        trainer.scheduler = rr.ExponentialLR(trainer.optimizer, 0.5)
        trainer.fit(x, y, lengths=[4, 3, 0, 1, 4, 2], epochs=1, verbose=0)
        assert trainer.scheduler.step_count == 2
        # A batch without anything to learn from is one step, as it is without windows.
        before = trainer.network.state_dict()
        assert trainer.train_step(x, y, lengths=[0] * 6) == 0.0
        assert trainer.scheduler.step_count == 3
        for name, array in trainer.network.state_dict().items():
            np.testing.assert_array_equal(array, before[name])

    def test_the_state_is_carried_and_the_loss_is_that_of_all_steps(self):
        x, y = arrays()
        weights = np.random.default_rng(1).uniform(size=(6, 10))
        for options in (
            {},
            {"lengths": LENGTHS},
            {"sample_weight": weights[:, 0]},
            {"sample_weight": weights, "lengths": LENGTHS},
        ):
            # Nothing is learned, so windows and whole sequences must give the same.
            for batch_first in (True, False):
                trainer = build(network(batch_first=batch_first), lr=0.0, tbptt=3)
                trainer.metrics = {"worst": lambda pred, target: np.abs(pred - target).max()}
                expected = trainer.evaluate(x, y, **options)
                history = trainer.fit(x, y, epochs=1, batch_size=4, verbose=0, **options)
                for name, value in expected.items():
                    assert history[name] == [pytest.approx(value, rel=1e-12)]
                loss = trainer.train_step(x, y, **options)
                assert loss == pytest.approx(expected["loss"], rel=1e-12)

    def test_time_major_models(self):
        x, y = arrays()
        trainers = [build(network(batch_first=first), tbptt=4) for first in (True, False)]
        for trainer in trainers:
            trainer.fit(x, y, lengths=LENGTHS, epochs=3, batch_size=2, verbose=0)
        assert_close(*(trainer.network for trainer in trainers), rtol=1e-10)

    def test_lists_of_sequences_and_batches(self):
        x, y = arrays()
        expected = build(tbptt=4)
        expected.fit(x, y, lengths=LENGTHS, epochs=2, batch_size=3, shuffle=False, verbose=0)
        x_list = [sequence[:steps] for sequence, steps in zip(x, LENGTHS, strict=True)]
        y_list = [sequence[:steps] for sequence, steps in zip(y, LENGTHS, strict=True)]
        listed, given = build(tbptt=4), build(tbptt=4)
        listed.fit(x_list, y_list, epochs=2, batch_size=3, shuffle=False, verbose=0)
        given.fit([(x_list[:3], y_list[:3]), (x_list[3:], y_list[3:])], epochs=2, verbose=0)
        for trainer in (listed, given):
            assert_close(trainer.network, expected.network)

    def test_integer_classes_and_sums(self):
        x, _ = arrays()
        y = (x[:, :, 0] > 0).astype(np.int64)
        model = rr.Sequential(
            rr.LSTM(2, 4, batch_first=True, dtype="float64", seed=1),
            rr.Linear(4, 2, dtype="float64", seed=2),
        )
        for reduction in ("mean", "sum"):
            loss = rr.CrossEntropyLoss(reduction=reduction)
            trainer = build(model, loss, lr=0.0, tbptt=3)
            history = trainer.fit(x, y, lengths=LENGTHS, epochs=1, batch_size=2, verbose=0)
            expected = trainer.evaluate(x, y, lengths=LENGTHS)["loss"]
            assert history["loss"] == [pytest.approx(expected, rel=1e-12)]

    def test_learns_what_lies_further_back_than_a_window(self):
        # The sum of all steps so far: the state must bring what was before the window.
        generator = np.random.default_rng(3)
        x = generator.choice([-1.0, 1.0], size=(32, 24, 1)) * 0.2
        y = x.cumsum(axis=1)
        model = rr.Sequential(
            rr.LSTM(1, 8, batch_first=True, dtype="float64", seed=1),
            rr.Linear(8, 1, dtype="float64", seed=2),
        )
        optimizer = rr.Adam(model.parameters(), lr=0.02)
        trainer = rr.Trainer(model, rr.MSELoss(), optimizer, tbptt=6, seed=0)
        trainer.fit(x, y, epochs=60, batch_size=16, verbose=0)
        late = slice(18, 24)
        error = np.mean((trainer.predict(x) - y)[:, late] ** 2)
        assert error < 0.05 * np.var(y[:, late])

    def test_callbacks_hear_of_batches_and_schedules_of_windows(self):
        class Recording(rr.Callback):
            def on_batch_end(self, trainer, batch, loss):
                heard.append((batch, trainer.scheduler.step_count, loss))

        x, y = arrays()
        heard = []
        trainer = build(lr=0.0, tbptt=4, schedule_every="batch", callbacks=[Recording()])
        trainer.scheduler = rr.StepLR(trainer.optimizer, 1)
        trainer.fit(x, y, epochs=1, batch_size=4, shuffle=False, verbose=0)
        losses = [trainer.evaluate(x[rows], y[rows])["loss"] for rows in (slice(4), slice(4, 6))]
        assert heard == [
            (0, 3, pytest.approx(losses[0], rel=1e-12)),
            (1, 6, pytest.approx(losses[1], rel=1e-12)),
        ]

    def test_steps_that_are_not_finite(self):
        x, y = arrays(2)
        y[0, 5] = np.nan
        options = {"epochs": 1, "check_finite": False, "verbose": 0}
        with pytest.raises(
            rr.NonFiniteError, match="the loss is nan in epoch 1, batch 0, window 1; the weights"
        ):
            build(tbptt=4).fit(x, y, **options)
        trainer = build(tbptt=4, on_nonfinite="skip")
        assert trainer.fit(x, y, **options)["skipped"] == [1.0]
        # Only the second of three windows has made no step.
        model = network()
        state = None
        optimizer = rr.SGD(model.parameters(), lr=0.1)
        for part in (slice(0, 4), slice(4, 8), slice(8, 10)):
            pred, state, cache = model.forward_with_cache(
                x[:, part], state=state, return_state=True
            )
            value, gradient = rr.MSELoss().value_and_grad(pred, y[:, part])
            if math.isfinite(value):
                model.zero_grad()
                model.backward(gradient, cache=cache)
                optimizer.step()
        assert_close(trainer.network, model)

    @pytest.mark.parametrize("layer", [rr.LSTM, rr.GRU])
    def test_a_sample_whose_state_is_not_finite_begins_anew(self, layer):
        x, y = arrays(2)
        x[0, 2] = np.nan
        trainer = build(network(layer), tbptt=2, on_nonfinite="skip")
        history = trainer.fit(x, y, epochs=1, check_finite=False, shuffle=False, verbose=0)
        assert history["skipped"] == [1.0]
        model = network(layer)
        optimizer = rr.SGD(model.parameters(), lr=0.1)
        state = None
        for start in range(0, 10, 2):
            part = slice(start, start + 2)
            pred, state, cache = model.forward_with_cache(
                x[:, part], state=state, return_state=True
            )
            if start == 2:
                entries = state[0] if isinstance(state[0], tuple) else (state[0],)
                for entry in entries:
                    assert not np.isfinite(entry[:, 0]).all()
                    assert np.isfinite(entry[:, 1]).all()
                    entry[:, 0] = 0
                continue
            model.zero_grad()
            model.backward(rr.MSELoss().value_and_grad(pred, y[:, part])[1], cache=cache)
            optimizer.step()
        assert_close(trainer.network, model)

    def test_windows_that_are_skipped_count_neither_in_loss_nor_in_metrics(self):
        x, y = arrays(2)
        x[0, 5] = np.nan
        trainer = build(tbptt=4, lr=0.0, on_nonfinite="skip")
        mae = rr.metrics.mean_absolute_error
        trainer.metrics = {"values": lambda pred, target: pred.size, "mae": mae}
        options = {"epochs": 1, "check_finite": False, "shuffle": False, "verbose": 0}
        history = trainer.fit(x, y, **options)
        model, state, errors = network(), None, []
        for part in (slice(0, 4), slice(4, 8), slice(8, 10)):
            pred, state = model(x[:, part], state=state, return_state=True)
            if part.start == 4:
                for entry in state[0]:
                    entry[:, 0] = 0
            else:
                errors.append((pred - y[:, part]).ravel())
        errors = np.concatenate(errors)
        assert history["skipped"] == [1.0]
        assert history["values"] == [12.0]
        assert history["mae"] == [pytest.approx(np.abs(errors).mean(), rel=1e-12)]
        assert history["loss"] == [pytest.approx((errors**2).mean(), rel=1e-12)]


class TestRefusal:
    @pytest.mark.parametrize(
        ("model", "text"),
        [
            (network(bidirectional=True), "goes backwards in time"),
            (network(reverse=True), r"layer 0 \(LSTM\) goes backwards in time"),
            (network(return_sequences=False), "has return_sequences=False, but every step needs"),
            (rr.Sequential(rr.Linear(2, 1)), "tbptt needs a recurrent layer"),
        ],
    )
    def test_models(self, model, text):
        if "backwards" in text and model[0].bidirectional:
            model = rr.Sequential(model[0], rr.Linear(8, 1, dtype="float64"))
        with pytest.raises(rr.ConfigError, match=text):
            build(model, tbptt=3)

    def test_a_layer_of_ones_own_that_keeps_the_last_step_only(self):
        class Last:
            training = True

            def __call__(self, x):
                return x[:, -1]

            def forward_with_cache(self, x):
                return self(x), x.shape

            def backward(self, dy, *, cache):
                dx = np.zeros(cache)
                dx[:, -1] = dy
                return dx

            def named_parameters(self):
                return iter(())

            def train(self):
                return self

            eval = train

        x, y = arrays()
        trainer = build(rr.Sequential(*network(), Last()), tbptt=5)
        before = trainer.network.state_dict()
        with pytest.raises(rr.ShapeError, match="a target for each of the 10 steps"):
            trainer.fit(x, y[:, 0], epochs=1, verbose=0)
        trainer.loss = Anything()
        with pytest.raises(rr.ConfigError, match=r"tbptt needs a model with an output for every"):
            trainer.fit(x, y, epochs=1, verbose=0)
        for name, array in trainer.network.state_dict().items():
            np.testing.assert_array_equal(array, before[name])

    @pytest.mark.parametrize(
        ("value", "error"), [(0, rr.ConfigError), (-2, rr.ConfigError), (2.0, rr.DtypeError)]
    )
    def test_impossible_windows(self, value, error):
        with pytest.raises(error, match=r"tbptt must be .*at least 1, got"):
            build(tbptt=value)

    def test_accumulation(self):
        with pytest.raises(rr.ConfigError, match=r"tbptt .*accumulate_grad_batches .*use one"):
            build(tbptt=2, accumulate_grad_batches=2)
        assert build(tbptt=2, accumulate_grad_batches=1).tbptt == 2

    def test_targets_that_are_not_one_per_step(self):
        x, y = arrays()
        for targets in (y[:, :5], y[:, 0, 0]):
            with pytest.raises(rr.ShapeError, match=r"y must have a target for each of the 10"):
                build(tbptt=3).fit(x, targets, epochs=1, verbose=0)


class Anything:
    """A loss that takes predictions and targets of any shape."""

    def __call__(self, pred, target):
        return 0.0

    def value_and_grad(self, pred, target):
        return 0.0, np.zeros_like(pred)
