"""Early stopping, progress, learning rates, and callbacks of the user's own."""

from __future__ import annotations

import json
import math
import pickle
import sys
import time

import numpy as np
import pytest

import recurrust as rr
from recurrust.callbacks import LinePrinter, progress


class StandIn:
    """As much of a trainer as a callback sees; the weight is the number of the epoch."""

    def __init__(self, *names):
        self.history = rr.History(names)
        self.network = rr.Sequential(rr.Linear(1, 1, bias=False, seed=0))
        self.epoch = 0
        self.stopped = False

    @property
    def weight(self):
        return float(self.network[0].weight[0, 0])

    def stop(self):
        self.stopped = True

    def feed(self, callback, values, name="val_loss"):
        """Feed values until the callback stops."""
        for value in values:
            self.epoch += 1
            self.network[0].weight = [[self.epoch]]
            callback.on_epoch_end(self, self.epoch, {name: value, "loss": 0.0})
            if self.stopped:
                break

    def run(self, callback, values, name="val_loss"):
        """Feed the values of a whole run; return the number of epochs."""
        callback.on_train_begin(self, len(values))
        self.stopped = False
        try:
            self.feed(callback, values, name)
        finally:
            callback.on_train_end(self)
        return self.epoch


def through_a_file(state):
    """Return a state as it comes out of a checkpoint: numbers from JSON, arrays apart."""
    if isinstance(state, dict):
        return {name: through_a_file(value) for name, value in state.items()}
    return state.copy() if isinstance(state, np.ndarray) else json.loads(json.dumps(state))


def problem(seed=0, samples=40):
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(samples, 5, 2)).astype(np.float32)
    return x, x.sum(axis=(1, 2))[:, None]


def make_trainer(callbacks=(), lr=0.01, dropout=0.0, **options):
    model = rr.Sequential(
        rr.LSTM(2, 4, batch_first=True, return_sequences=False, seed=1),
        rr.Dropout(dropout),
        rr.Linear(4, 1, seed=2),
    )
    optimizer = rr.Adam(model.parameters(), lr=lr)
    return rr.Trainer(model, rr.MSELoss(), optimizer, callbacks=callbacks, seed=3, **options)


class TestEarlyStopping:
    def test_stops_after_patience_epochs_without_improvement(self):
        stand_in = StandIn("val_loss")
        callback = rr.EarlyStopping(patience=3)
        assert stand_in.run(callback, [5.0, 4.0, 4.5, 4.2, 4.0, 1.0]) == 5
        assert (callback.best, callback.best_epoch) == (4.0, 2)
        assert stand_in.weight == 2.0

    def test_an_improvement_starts_the_count_again(self):
        stand_in = StandIn("val_loss")
        callback = rr.EarlyStopping(patience=2)
        assert stand_in.run(callback, [5, 6, 4, 6, 3, 7, 7, 0]) == 7
        assert stand_in.weight == 5.0

    def test_min_delta(self):
        stand_in = StandIn("val_loss")
        callback = rr.EarlyStopping(patience=2, min_delta=0.5)
        assert stand_in.run(callback, [5.0, 4.75, 4.5, 0.0]) == 3
        assert stand_in.weight == 1.0

    def test_best_weights_return_without_early_stop(self):
        stand_in = StandIn("val_loss")
        assert stand_in.run(rr.EarlyStopping(patience=10), [3.0, 1.0, 2.0]) == 3
        assert stand_in.weight == 2.0

    def test_weights_may_stay(self):
        stand_in = StandIn("val_loss")
        stand_in.run(rr.EarlyStopping(patience=2, restore_best_weights=False), [1.0, 2.0, 3.0])
        assert stand_in.weight == 3.0

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    def test_what_is_not_finite_is_no_improvement(self, value):
        stand_in = StandIn("val_loss")
        callback = rr.EarlyStopping(patience=3)
        assert stand_in.run(callback, [value, 2.0, value, value, value, 1.0]) == 5
        assert (callback.best, callback.best_epoch, stand_in.weight) == (2.0, 2, 2.0)
        never = StandIn("val_loss")
        assert never.run(callback, [value] * 9) == 3
        assert (callback.best, callback.best_epoch, never.weight) == (None, None, 3.0)

    def test_greater_may_be_better(self):
        stand_in = StandIn("accuracy")
        callback = rr.EarlyStopping("accuracy", patience=2, min_delta=0.05, mode="max")
        assert stand_in.run(callback, [0.5, 0.7, 0.72, 0.6, 0.9], name="accuracy") == 4
        assert stand_in.weight == 2.0

    def test_warmup_is_not_looked_at(self):
        stand_in = StandIn("val_loss")
        callback = rr.EarlyStopping(patience=2, warmup=3)
        # The best value of all and three without improvement, but all too early.
        assert stand_in.run(callback, [1.0, 5.0, 6.0, 4.0, 3.0, 3.5, 3.5, 0.0]) == 7
        assert (callback.best, callback.best_epoch, stand_in.weight) == (3.0, 5, 5.0)
        # It counts in every run.
        assert stand_in.run(callback, [1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 0.0]) == 13
        assert (callback.best, callback.best_epoch) == (2.0, 11)
        within = StandIn("val_loss")
        assert within.run(callback, [1.0, 2.0]) == 2
        assert (callback.best, within.weight) == (None, 2.0)

    @pytest.mark.parametrize(
        ("values", "epochs", "best"),
        [
            # Improvements that don't reach the baseline use up patience, yet the best returns.
            ([9.0, 8.0, 7.0, 1.0], 3, 3),
            ([9.0, 8.0, 4.0, 3.0, 6.0, 6.0, 6.0, 1.0], 7, 4),
            # Equal is not better.
            ([9.0, 8.0, 5.0, 1.0], 3, 3),
            ([9.0, 8.0, 9.0, 1.0], 3, 2),
        ],
    )
    def test_baseline(self, values, epochs, best):
        stand_in = StandIn("val_loss")
        callback = rr.EarlyStopping(patience=3, baseline=5.0)
        assert stand_in.run(callback, values) == epochs
        assert (callback.best_epoch, stand_in.weight) == (best, float(best))

    def test_baseline_of_what_shall_be_great(self):
        stand_in = StandIn("accuracy")
        callback = rr.EarlyStopping("accuracy", 2, 0.1, mode="max", baseline=0.5)
        assert stand_in.run(callback, [0.3, 0.75, 0.7, 0.8, 0.9], name="accuracy") == 4
        assert (callback.best, stand_in.weight) == (0.75, 2.0)

    @pytest.mark.parametrize("options", [{}, {"warmup": 2}, {"baseline": 3.0}, {"min_delta": 0.3}])
    @pytest.mark.parametrize("given", ["before the run", "in the run"])
    def test_going_on_from_a_state_is_exact(self, options, given):
        values = [2.0, 5.0, 4.0, math.nan, 3.75, 4.5, 2.5, 3.0, math.inf, 2.75, 1.0, 0.5]
        whole, straight = StandIn("val_loss"), rr.EarlyStopping(patience=3, **options)
        stopped = whole.run(straight, values)
        for cut in range(1, stopped):
            first, early = StandIn("val_loss"), rr.EarlyStopping(patience=3, **options)
            early.on_train_begin(first, len(values))
            first.feed(early, values[:cut])
            state = through_a_file(early.state_dict())
            first.network[0].weight = [[-1.0]]

            second, resumed = StandIn("val_loss"), rr.EarlyStopping(patience=3, **options)
            second.epoch = cut
            if given == "before the run":
                resumed.load_state_dict(state)
                # It can be handed on before the run begins.
                assert through_a_file(resumed.state_dict()).keys() == state.keys()
                assert resumed.state_dict()["running"] is True
                assert second.run(resumed, values[cut:]) == stopped
            else:
                resumed.on_train_begin(second, len(values) - cut)
                resumed.load_state_dict(state)
                second.feed(resumed, values[cut:])
                resumed.on_train_end(second)
                assert second.epoch == stopped
            assert second.weight == whole.weight
            assert (resumed.best, resumed.best_epoch) == (straight.best, straight.best_epoch)
            # The next run stands for itself again.
            second.run(resumed, [9.0, 9.0, 9.0, 9.0])
            assert resumed.best_epoch == stopped + 1 + options.get("warmup", 0)

    def test_state_of_a_run_that_has_ended(self):
        stand_in, callback = StandIn("val_loss"), rr.EarlyStopping(patience=3)
        stand_in.run(callback, [1.0, 2.0])
        other = rr.EarlyStopping(patience=3)
        other.load_state_dict(through_a_file(callback.state_dict()))
        assert (other.best, other.best_epoch) == (1.0, 1)
        # As the first callback, it starts afresh.
        assert stand_in.run(other, [5.0, 6.0, 6.0, 6.0, 6.0]) == 6
        assert (other.best, other.best_epoch, stand_in.weight) == (5.0, 3, 3.0)

    @pytest.mark.parametrize(
        "change",
        [
            {"best": "a"},
            {"best_epoch": 0},
            {"waited": -1},
            {"seen": 1.5},
            {"more": 1},
        ],
    )
    def test_a_state_that_does_not_fit_changes_nothing(self, change):
        stand_in, callback = StandIn("val_loss"), rr.EarlyStopping()
        callback.on_train_begin(stand_in, 2)
        stand_in.feed(callback, [3.0, 4.0])
        before = pickle.dumps(callback)
        with pytest.raises((rr.ConfigError, rr.DtypeError), match="state"):
            callback.load_state_dict({**callback.state_dict(), **change})
        with pytest.raises(rr.ConfigError, match=r"keys \['best', .*'weights'\], got \['best'\]"):
            callback.load_state_dict({"best": 1.0})
        with pytest.raises(rr.ConfigError, match=r"state must be a mapping .* got 3"):
            callback.load_state_dict(3)
        assert pickle.dumps(callback) == before

    def test_every_run_starts_afresh(self):
        stand_in = StandIn("val_loss")
        callback = rr.EarlyStopping(patience=2)
        stand_in.run(callback, [1.0, 2.0, 3.0])
        assert stand_in.run(callback, [9.0, 8.0, 9.0]) == 6
        assert (callback.best, callback.best_epoch, stand_in.weight) == (8.0, 5, 5.0)

    def test_unknown_quantity_names_those_there_are(self):
        trainer = make_trainer([rr.EarlyStopping()])
        before = trainer.network.state_dict()
        with pytest.raises(rr.ConfigError, match=r"monitor='val_loss'.*available are loss, lr"):
            trainer.fit(*problem(), epochs=2, verbose=0)
        for name, array in trainer.network.state_dict().items():
            np.testing.assert_array_equal(array, before[name])

    @pytest.mark.parametrize(
        ("options", "text"),
        [
            ({"patience": 0}, "patience must be at least 1, got 0"),
            ({"min_delta": -1.0}, "min_delta .*-1.0"),
            ({"min_delta": math.nan}, "min_delta .*nan"),
            ({"mode": "auto"}, "mode .*'auto'"),
            ({"mode": ["min"]}, "mode must be"),
            ({"baseline": math.inf}, "baseline must be finite, got inf"),
            ({"warmup": -1}, "warmup must be at least 0, got -1"),
        ],
    )
    def test_impossible_options(self, options, text):
        with pytest.raises(rr.ConfigError, match=text):
            rr.EarlyStopping(**options)

    @pytest.mark.parametrize("options", [{"patience": "a"}, {"patience": 2.5}, {"patience": True}])
    def test_patience_must_be_an_integer(self, options):
        text = f"patience must be an integer of at least 1, got {options['patience']!r}"
        with pytest.raises(rr.DtypeError, match=text):
            rr.EarlyStopping(**options)

    @pytest.mark.parametrize("name", ["min_delta", "baseline"])
    def test_what_must_be_a_number(self, name):
        with pytest.raises(rr.DtypeError, match=f"{name} must be a number, got 'a'"):
            rr.EarlyStopping(**{name: "a"})

    def test_fit_that_runs_to_its_end_returns_the_best_weights(self):
        weights = {}

        class Recording(rr.Callback):
            def on_epoch_end(self, trainer, epoch, values):
                weights[epoch] = trainer.network.state_dict()

        stopping = rr.EarlyStopping(patience=100)
        # So high a rate that the loss goes up and down.
        trainer = make_trainer([stopping, Recording()], lr=0.3)
        history = trainer.fit(*problem(), epochs=12, validation_split=0.25, verbose=0)
        assert len(history["loss"]) == 12
        best = int(np.argmin(history["val_loss"])) + 1
        assert best < 12, "the last epoch must not be the best for this test to mean anything"
        assert stopping.best_epoch == best
        for name, array in trainer.network.state_dict().items():
            np.testing.assert_array_equal(array, weights[best][name])
        x, y = problem()
        assert trainer.evaluate(x[30:], y[30:])["loss"] == pytest.approx(min(history["val_loss"]))

    def test_u65_restoring_leaves_options_alone(self):
        trainer = make_trainer([rr.EarlyStopping(patience=1)], lr=0.3, dropout=0.5)
        config = trainer.model.config
        trainer.fit(*problem(), epochs=20, validation_split=0.25, verbose=0)
        assert len(trainer.history["loss"]) < 20
        assert trainer.model.config == config
        x, _ = problem()
        dropped = np.mean(trainer.model[:2](x) == 0)
        assert 0.3 < dropped < 0.7
        assert not np.array_equal(trainer.model(x), trainer.model(x))

    def test_pickle(self):
        callback = rr.EarlyStopping("loss", 4, 0.1, False, mode="max")
        assert vars(pickle.loads(pickle.dumps(callback))) == vars(callback)


class TestLambdaCallback:
    def test_functions_get_what_methods_get(self):
        calls = []
        trainer = make_trainer(
            [
                rr.LambdaCallback(
                    on_train_begin=lambda trainer, epochs: calls.append(("begin", epochs)),
                    on_epoch_end=lambda trainer, epoch, values: calls.append((epoch, values["lr"])),
                    on_train_end=lambda trainer: calls.append(("end", trainer.epoch)),
                ),
                rr.LambdaCallback(
                    on_batch_end=lambda trainer, batch, loss: calls.append((batch, loss > 0)),
                ),
            ]
        )
        trainer.fit(*problem(), epochs=1, batch_size=20, verbose=0)
        assert calls == [("begin", 1), (0, True), (1, True), (1, 0.01), ("end", 1)]

    def test_what_a_function_returns_means_nothing(self):
        silent = rr.LambdaCallback(on_epoch_end=lambda *arguments: False)
        assert make_trainer([silent]).fit(*problem(), epochs=2, verbose=0).epochs == [1, 2]
        assert silent.state_dict() == {}

    def test_what_is_no_function(self):
        with pytest.raises(rr.DtypeError, match="on_batch_end must be a function, got 3"):
            rr.LambdaCallback(on_batch_end=3)
        with pytest.raises(TypeError, match="on_epoch_begin"):
            rr.LambdaCallback(on_epoch_begin=print)


class TestState:
    def test_a_callback_has_none_of_itself(self):
        callback = rr.Callback()
        assert callback.state_dict() == {}
        callback.load_state_dict({})
        assert vars(callback) == {}


class TestLearningRateMonitor:
    def test_rates_that_batches_were_trained_with(self):
        monitor = rr.LearningRateMonitor()
        trainer = make_trainer([monitor])
        trainer.scheduler = rr.StepLR(trainer.optimizer, 1, gamma=0.5)
        history = trainer.fit(*problem(), epochs=3, batch_size=10, verbose=0)
        np.testing.assert_array_equal(monitor.rates[:, 0], [0.01] * 4 + [0.005] * 4 + [0.0025] * 4)
        assert monitor.rates[::4, 0].tolist() == history["lr"]
        # The next run stands for itself.
        trainer.fit(*problem(), epochs=1, batch_size=20, verbose=0)
        np.testing.assert_array_equal(monitor.rates, [[0.00125]] * 2)

    def test_schedule_of_batches_and_groups(self):
        model = rr.Sequential(rr.Linear(2, 3, seed=0), rr.Linear(3, 1, seed=1))
        groups = [
            {"params": list(model[0].parameters()), "lr": 0.25},
            {"params": list(model[1].parameters())},
        ]
        optimizer = rr.SGD(groups, lr=0.5)
        monitor = rr.LearningRateMonitor()
        trainer = rr.Trainer(
            model,
            rr.MSELoss(),
            optimizer,
            rr.ExponentialLR(optimizer, 0.5),
            schedule_every="batch",
            callbacks=[monitor],
        )
        trainer.fit(np.ones((6, 2)), np.ones((6, 1)), epochs=2, batch_size=3, verbose=0)
        np.testing.assert_array_equal(
            monitor.rates, [[0.25, 0.5], [0.125, 0.25], [0.0625, 0.125], [0.03125, 0.0625]]
        )

    def test_going_on_from_a_state(self):
        class Optimizer:
            lr = 0.5

        stand_in = StandIn("loss")
        stand_in.optimizer = Optimizer()
        first, second = rr.LearningRateMonitor(), rr.LearningRateMonitor()
        assert first.rates.shape == (0, 0)
        first.on_train_begin(stand_in, 1)
        stand_in.optimizer.lr = 0.25  # the schedule's step
        first.on_batch_end(stand_in, 0, 1.0)
        second.load_state_dict(through_a_file(first.state_dict()))
        second.on_train_begin(stand_in, 1)
        second.on_batch_end(stand_in, 1, 1.0)
        second.on_train_end(stand_in)
        assert second.rates.tolist() == [[0.5], [0.25]]
        second.on_train_begin(stand_in, 1)
        assert len(second.rates) == 0
        with pytest.raises(rr.ConfigError, match=r"shape \(batches, groups\), got float64 and"):
            first.load_state_dict({"running": True, "rates": np.zeros(3), "present": [0.5]})
        with pytest.raises(rr.DtypeError, match="must be a number, got 'a'"):
            first.load_state_dict({"running": True, "rates": np.zeros((3, 1)), "present": ["a"]})
        assert first.rates.tolist() == [[0.5]]

    def test_a_batch_that_was_not_heard_of_yet(self):
        """A checkpoint between a batch's step and this callback: it hears of the batch later."""

        class Optimizer:
            lr = 0.5

        stand_in = StandIn("loss")
        stand_in.optimizer = Optimizer()
        first, second = rr.LearningRateMonitor(), rr.LearningRateMonitor()
        first.on_train_begin(stand_in, 1)
        stand_in.optimizer.lr = 0.25  # the schedule's step
        state = through_a_file(first.state_dict())
        second.load_state_dict(state)
        second.on_train_begin(stand_in, 1)
        second.load_state_dict(state)
        second.on_batch_end(stand_in, 0, 1.0)
        second.on_batch_end(stand_in, 1, 1.0)
        assert second.rates.tolist() == [[0.5], [0.25]]

    def test_plot(self, tmp_path):
        monitor = rr.LearningRateMonitor()
        trainer = make_trainer([monitor])
        trainer.fit(*problem(), epochs=2, batch_size=10, verbose=0)
        figure = monitor.plot(tmp_path / "rates.png")
        assert (tmp_path / "rates.png").read_bytes().startswith(b"\x89PNG")
        (line,) = figure.axes[0].get_lines()
        np.testing.assert_array_equal(line.get_ydata(), [0.01] * 8)


class TestHooks:
    def test_the_same_callback_twice_is_refused(self):
        one, other = rr.LearningRateMonitor(), rr.LearningRateMonitor()
        make_trainer([one, other])
        text = r"callbacks\[0\] and callbacks\[2\] are the same object"
        with pytest.raises(rr.ConfigError, match=text):
            make_trainer([one, other, one])

    def test_order_and_arguments(self):
        calls = []

        class Recording(rr.Callback):
            def on_train_begin(self, trainer, epochs):
                calls.append(("begin", epochs, sorted(trainer.history)))

            def on_batch_end(self, trainer, batch, loss):
                calls.append(("batch", batch, loss > 0))

            def on_epoch_end(self, trainer, epoch, values):
                assert trainer.history["loss"][-1] == values["loss"]
                calls.append(("epoch", epoch, sorted(values)))

            def on_train_end(self, trainer):
                calls.append(("end",))

        trainer = make_trainer([Recording()])
        trainer.fit(*problem(), epochs=2, batch_size=20, verbose=0)
        batches = [("batch", 0, True), ("batch", 1, True)]
        assert calls == [
            ("begin", 2, ["loss", "lr"]),
            *batches, ("epoch", 1, ["loss", "lr"]),
            *batches, ("epoch", 2, ["loss", "lr"]),
            ("end",),
        ]  # fmt: skip

    def test_stop_ends_after_the_epoch(self):
        class Stopping(rr.Callback):
            def on_batch_end(self, trainer, batch, loss):
                trainer.stop()

        trainer = make_trainer([Stopping()])
        history = trainer.fit(*problem(), epochs=5, batch_size=10, verbose=0)
        assert history.epochs == [1]
        trainer.callbacks = ()
        assert trainer.fit(*problem(), epochs=2, verbose=0).epochs == [2, 3]

    def test_every_end_hook_runs_after_an_error(self):
        ended = []

        class Ending(rr.Callback):
            def __init__(self, name):
                self.name = name

            def on_train_end(self, trainer):
                ended.append(self.name)
                raise RuntimeError(self.name)

        class Failing(rr.Callback):
            def on_epoch_end(self, trainer, epoch, values):
                raise ZeroDivisionError

        trainer = make_trainer([Ending("a"), Failing(), Ending("b")])
        with pytest.raises(RuntimeError):
            trainer.fit(*problem(), epochs=3, verbose=0)
        assert sorted(ended) == ["a", "b"]
        assert trainer.epoch == 1
        assert len(trainer.history["loss"]) == 1


class TestProgress:
    def test_silent(self, capsys):
        make_trainer().fit(*problem(), epochs=1, verbose=0)
        assert capsys.readouterr() == ("", "")

    def test_line_per_epoch(self, capsys):
        trainer = make_trainer()
        trainer.fit(*problem(), epochs=1, validation_split=0.5, verbose=2)
        history = trainer.fit(*problem(), epochs=2, validation_split=0.5, verbose=2)
        lines = capsys.readouterr().out.splitlines()
        assert [line.split("  ")[0] for line in lines] == ["epoch 1/1", "epoch 2/3", "epoch 3/3"]
        loss, val_loss = history["loss"][-1], history["val_loss"][-1]
        assert lines[-1] == f"epoch 3/3  loss {loss:.4g}  val_loss {val_loss:.4g}"

    def test_bar(self, capsys):
        history = make_trainer().fit(*problem(), epochs=2, verbose=1)
        shown = capsys.readouterr()
        assert "2/2" in shown.err
        assert f"loss={history['loss'][-1]:.4g}" in shown.err
        assert shown.out == ""

    @pytest.mark.parametrize("verbose", [0, 1, 2])
    def test_what_is_among_the_callbacks_is_shown_alone(self, capsys, verbose):
        make_trainer([rr.ProgressBar()]).fit(*problem(), epochs=1, verbose=verbose)
        shown = capsys.readouterr()
        assert shown.err.count("\n") == 1
        assert shown.out == ""
        make_trainer([LinePrinter()]).fit(*problem(), epochs=1, verbose=verbose)
        shown = capsys.readouterr()
        assert shown.err == ""
        assert shown.out.count("\n") == 1

    def test_no_epoch_that_was_over_is_shown_again(self, capsys, tmp_path):
        """Callbacks that have not heard of an epoch are told; whoever shows it wasn't there."""
        heard = []
        second = {"on_epoch_end": lambda trainer, epoch, values: heard.append(epoch)}

        def trainer():
            saving = rr.LambdaCallback(
                on_epoch_end=lambda trainer, epoch, values: trainer.save_checkpoint(
                    tmp_path / str(epoch)
                )
            )
            return make_trainer([saving, rr.LambdaCallback(**second)])

        trainer().fit(*problem(), epochs=1, verbose=0)
        resumed = trainer()
        resumed.load_checkpoint(tmp_path / "1")
        resumed.fit(*problem(), epochs=1, verbose=2)
        assert heard == [1, 1, 2]
        lines = capsys.readouterr().out.splitlines()
        assert [line.split("  ")[0] for line in lines] == ["epoch 2/2"]

    def test_lines_without_tqdm(self, capsys, monkeypatch):
        monkeypatch.setitem(sys.modules, "tqdm.auto", None)
        make_trainer().fit(*problem(), epochs=2, verbose=1)
        shown = capsys.readouterr()
        assert shown.err == ""
        assert [line.split("  ")[0] for line in shown.out.splitlines()] == [
            "epoch 1/2",
            "epoch 2/2",
        ]

    def test_bar_moves_within_a_long_epoch(self, capsys, monkeypatch):
        monkeypatch.setattr(progress, "_EVERY", 0.0)
        losses = []

        class Slow(rr.Callback):
            def on_batch_end(self, trainer, batch, loss):
                time.sleep(0.001)  # the clock must have moved
                losses.append(loss)

        make_trainer([Slow()]).fit(*problem(), epochs=1, batch_size=20, verbose=1)
        shown = capsys.readouterr().err
        for batch, loss in enumerate(losses, 1):
            assert f"batch={batch}, loss={loss:.4g}" in shown

    def test_short_epochs_show_no_batches(self, capsys, monkeypatch):
        monkeypatch.setattr(progress, "_EVERY", math.inf)
        make_trainer().fit(*problem(), epochs=2, batch_size=5, verbose=1)
        assert "batch=" not in capsys.readouterr().err

    def test_bar_is_closed_after_an_error(self, capsys):
        class Failing(rr.Callback):
            def on_epoch_end(self, trainer, epoch, values):
                raise ZeroDivisionError

        bar = rr.ProgressBar()
        with pytest.raises(ZeroDivisionError):
            make_trainer([Failing(), bar]).fit(*problem(), epochs=2, verbose=0)
        assert capsys.readouterr().err.endswith("\n")
        pickle.dumps(bar)

    def test_printer_can_be_used_alone(self, capsys):
        make_trainer([LinePrinter()]).fit(*problem(), epochs=1, verbose=0)
        assert capsys.readouterr().out.startswith("epoch 1/1  loss ")
