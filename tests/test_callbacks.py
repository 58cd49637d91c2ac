"""Early stopping, progress, and callbacks of the user's own."""

from __future__ import annotations

import math
import pickle
import sys

import numpy as np
import pytest

import recurrust as rr
from recurrust.callbacks import LinePrinter


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

    def run(self, callback, values, name="val_loss"):
        """Feed values until the callback stops; return the number of epochs."""
        callback.on_train_begin(self, len(values))
        self.stopped = False
        try:
            for value in values:
                self.epoch += 1
                self.network[0].weight = [[self.epoch]]
                callback.on_epoch_end(self, self.epoch, {name: value, "loss": 0.0})
                if self.stopped:
                    break
        finally:
            callback.on_train_end(self)
        return self.epoch


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

    def test_min_delta_must_be_a_number(self):
        with pytest.raises(rr.DtypeError, match="min_delta must be a number, got 'a'"):
            rr.EarlyStopping(min_delta="a")

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


class TestHooks:
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

    def test_one_bar_is_enough(self, capsys):
        make_trainer([rr.ProgressBar()]).fit(*problem(), epochs=1, verbose=1)
        assert capsys.readouterr().err.count("\n") == 1

    def test_lines_without_tqdm(self, capsys, monkeypatch):
        monkeypatch.setitem(sys.modules, "tqdm.auto", None)
        make_trainer().fit(*problem(), epochs=2, verbose=1)
        shown = capsys.readouterr()
        assert shown.err == ""
        assert [line.split("  ")[0] for line in shown.out.splitlines()] == [
            "epoch 1/2",
            "epoch 2/2",
        ]

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
