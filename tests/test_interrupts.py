"""Ctrl-C while a model trains."""

from __future__ import annotations

import os
import signal
import sys
import threading

import numpy as np
import pytest

import recurrust as rr


class Interrupting(rr.Callback):
    """Presses Ctrl-C in a hook, at its n-th call."""

    def __init__(self, hook="on_batch_end", count=1):
        self.count = count
        setattr(self, hook, self.press)

    def press(self, *arguments):
        self.count -= 1
        if self.count == 0:
            raise KeyboardInterrupt


class Ending(rr.Callback):
    def __init__(self):
        self.ended = 0

    def on_train_end(self, trainer):
        self.ended += 1


def build(callbacks=(), lr=0.1, **options):
    model = rr.Sequential(
        rr.LSTM(2, 4, batch_first=True, dtype="float64", seed=1),
        rr.Linear(4, 1, dtype="float64", seed=2),
    )
    optimizer = rr.SGD(model.parameters(), lr=lr)
    return rr.Trainer(model, rr.MSELoss(), optimizer, callbacks=callbacks, seed=0, **options)


def arrays(samples=9):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(samples, 5, 2))
    return x, x.sum(axis=2, keepdims=True)


def test_within_an_epoch(capsys):
    x, y = arrays()
    expected = build().fit(x, y, epochs=3, batch_size=3, verbose=0)
    ending = Ending()
    trainer = build([ending, Interrupting(count=8)])
    history = trainer.fit(x, y, epochs=5, batch_size=3, verbose=0)
    assert history is trainer.history
    assert history.epochs == [1, 2]
    assert history["loss"] == expected["loss"][:2]
    assert (trainer.epoch, trainer.interrupted, ending.ended) == (2, True, 1)
    assert trainer.network.training
    # The epoch begins again, in the same order, from the weights as they are now.
    again = build()
    again.fit(x, y, epochs=2, batch_size=3, verbose=0)
    order = []
    again.callbacks = [Interrupting(count=2)]
    again.fit(x, y, epochs=1, batch_size=3, verbose=0)
    for one in (trainer, again):
        one.callbacks = ()
        order.append(one.fit(x, y, epochs=1, batch_size=3, verbose=0))
        assert not one.interrupted
    assert order[0].epochs == [3]
    assert dict(order[0]) == dict(order[1])
    assert order[0]["loss"] != expected["loss"][2:]
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("verbose", [1, 2])
def test_says_so_on_the_screen(capsys, verbose):
    trainer = build([Interrupting(count=4)])
    trainer.fit(*arrays(), epochs=5, batch_size=3, verbose=verbose)
    shown = capsys.readouterr()
    assert shown.out.splitlines()[-1] == "interrupted in epoch 2; epochs in the history: 1"


def test_before_the_first_epoch_is_over():
    trainer = build([Interrupting()])
    history = trainer.fit(*arrays(), epochs=5, verbose=0)
    assert (history.epochs, list(history), history["loss"]) == ([], ["loss", "lr"], [])


def test_after_an_epoch():
    trainer = build([Interrupting("on_epoch_end", 2), Ending()])
    history = trainer.fit(*arrays(), epochs=5, verbose=0)
    assert history.epochs == [1, 2]
    assert trainer.epoch == 2


def test_in_validation():
    class Pressing:
        """A layer in whose third evaluation Ctrl-C is pressed."""

        training = True
        count = 3

        def __call__(self, x):
            self.count -= 1
            if self.count == 0:
                raise KeyboardInterrupt
            return x

        def forward_with_cache(self, x):
            return x, None

        def backward(self, dy, *, cache):
            return dy

        def named_parameters(self):
            return iter(())

        def train(self):
            self.training = True
            return self

        def eval(self):
            self.training = False
            return self

    x, y = arrays()
    model = rr.Sequential(Pressing(), *build().network)
    trainer = rr.Trainer(model, rr.MSELoss(), rr.SGD(model.parameters()))
    history = trainer.fit(x, y, epochs=5, validation_data=(x, y), verbose=0)
    assert history.epochs == [1, 2]
    assert model[0].training


def test_the_best_weights_come_back():
    class Worsening(rr.Callback):
        def on_epoch_end(self, trainer, epoch, values):
            weights.append(trainer.network.state_dict())
            trainer.optimizer.lr = 3.0 if epoch > 1 else 0.1

    weights = []
    stopping = rr.EarlyStopping("loss", patience=9)
    trainer = build([stopping, Worsening(), Interrupting(count=11)], clip_norm=1.0)
    history = trainer.fit(*arrays(), epochs=9, batch_size=3, verbose=0)
    best = int(np.argmin(history["loss"]))
    assert (len(history.epochs), stopping.best_epoch) == (3, best + 1)
    assert best < 2
    for name, array in trainer.network.state_dict().items():
        np.testing.assert_array_equal(array, weights[best][name])


def test_before_training_and_after_it_there_is_nothing_to_return():
    for hook in ("on_train_begin", "on_train_end"):
        trainer = build([Interrupting(hook)])
        with pytest.raises(KeyboardInterrupt):
            trainer.fit(*arrays(), epochs=1, verbose=0)
        assert trainer.fit(*arrays(), epochs=1, verbose=0).epochs == [1 + (hook == "on_train_end")]


def test_a_checkpoint_of_what_is_left_begins_with_the_epoch(tmp_path):
    x, y = arrays()
    trainer = build([Interrupting(count=5)])
    trainer.fit(x, y, epochs=5, batch_size=3, verbose=0)
    trainer.save_checkpoint(tmp_path / "checkpoint")
    other = build([Interrupting(count=99)])
    other.load_checkpoint(tmp_path / "checkpoint")
    assert (other.epoch, other.history.epochs) == (1, [1])
    got = other.fit(x, y, epochs=1, batch_size=3, verbose=0)
    expected = trainer.fit(x, y, epochs=1, batch_size=3, verbose=0)
    assert (got.epochs, dict(got)) == ([2], dict(expected))


def test_a_source_of_batches_is_closed():
    closed = []

    def source():
        try:
            while True:
                yield arrays()
        finally:
            closed.append(True)

    trainer = build([Interrupting(count=3)])
    assert trainer.fit(source, epochs=1, verbose=0).epochs == []
    assert closed == [True]


def test_a_forecaster_trains_no_further():
    values = np.sin(np.arange(120) * 0.3)
    forecaster = rr.forecasting.Forecaster(2, window=8, hidden_size=4, epochs=5)
    begun = []

    class Counting(Interrupting):
        def on_train_begin(self, trainer, epochs):
            begun.append(epochs)

    with pytest.raises(KeyboardInterrupt):
        forecaster.fit(values, callbacks=[Counting(count=3)])
    assert len(begun) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows can't send itself a Ctrl-C alone")
def test_u102_in_the_middle_of_a_long_batch():
    model = rr.Sequential(rr.LSTM(4, 256, batch_first=True, seed=1), rr.Linear(256, 1, seed=2))
    trainer = rr.Trainer(model, rr.MSELoss(), rr.SGD(model.parameters()))
    x = np.zeros((8, 20_000, 4), np.float32)
    y = np.zeros((8, 20_000, 1), np.float32)
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    history = trainer.fit(x, y, epochs=10**6, verbose=0)
    assert trainer.interrupted
    assert len(history.epochs) == trainer.epoch
    assert np.isfinite(trainer.predict(x[:, :5])).all()
