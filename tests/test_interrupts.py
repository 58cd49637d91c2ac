"""Ctrl-C while a model trains."""

from __future__ import annotations

import contextlib
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


class Counting(rr.Callback):
    """Counts how often a run began and ended."""

    def __init__(self):
        self.begun = self.ended = 0

    def on_train_begin(self, trainer, epochs):
        self.begun += 1

    def on_train_end(self, trainer):
        self.ended += 1


class Pressing:
    """Presses Ctrl-C before a number of lines of the package have run, wherever that is."""

    folder = os.path.dirname(rr.__file__)

    def __init__(self, lines):
        self.left = lines

    def trace(self, frame, event, argument):
        if not frame.f_code.co_filename.startswith(self.folder):
            return None
        if event == "line":
            self.left -= 1
            if self.left == 0:
                sys.settrace(None)
                signal.raise_signal(signal.SIGINT)
        return self.trace

    def __enter__(self):
        self.before = sys.gettrace()
        sys.settrace(self.trace)
        return self

    def __exit__(self, *exception):
        sys.settrace(self.before)


def steps_of(optimizer):
    state = optimizer.state_dict()["state"]
    return state[0]["step"] if state else 0


@pytest.mark.parametrize("every", ["epoch", "batch"])
@pytest.mark.parametrize("offset", range(1, 5))
def test_at_any_line_of_a_run(every, offset):
    x, y = arrays(4)
    model = build().network
    begins = model.state_dict()
    lines, finished = offset, False
    while not finished:
        model.load_state_dict(begins)
        optimizer = rr.Adam(model.parameters(), lr=0.1)
        scheduler = rr.ExponentialLR(optimizer, 0.9)
        counting = Counting()
        options = {"schedule_every": every, "callbacks": [counting], "seed": 0}
        trainer = rr.Trainer(model, rr.MSELoss(), optimizer, scheduler, **options)
        pressing = Pressing(lines)
        with contextlib.suppress(KeyboardInterrupt), pressing:
            trainer.fit(x, y, epochs=2, batch_size=2, verbose=0)
        finished = pressing.left > 0
        lines += 4
        assert counting.begun == counting.ended
        epochs = list(range(1, trainer.epoch + 1))
        assert trainer.history.epochs == epochs
        assert all(len(values) == len(epochs) for values in trainer.history.values())
        expected = steps_of(optimizer) if every == "batch" else trainer.epoch
        assert scheduler.step_count == expected
        assert optimizer.lr == pytest.approx(0.1 * 0.9**expected, rel=1e-12)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert model.training
        assert trainer.fit(x, y, epochs=1, batch_size=4, verbose=0).epochs == [len(epochs) + 1]
    assert lines > 800  # else it was no run
    assert trainer.epoch == 3


class Stepping:
    """An optimizer of one's own in whose step Ctrl-C is pressed."""

    def __init__(self, count, times=1):
        self.lr, self.steps, self.count, self.times = 0.1, 0, count, times

    def step(self):
        if self.steps + 1 == self.count:
            for _ in range(self.times):
                signal.raise_signal(signal.SIGINT)
        self.steps += 1


class Schedule:
    """A schedule that counts, and notes what it is handed."""

    def __init__(self):
        self.metrics = []

    def step(self, metric=None):
        self.metrics.append(metric)

    def state_dict(self):
        return {}


def test_the_schedule_goes_with_the_optimizer():
    x, y = arrays()
    optimizer, schedule = Stepping(count=5), Schedule()
    options = {"schedule_every": "batch", "seed": 0}
    trainer = rr.Trainer(build().network, rr.MSELoss(), optimizer, schedule, **options)
    history = trainer.fit(x, y, epochs=5, batch_size=3, verbose=0)
    assert trainer.interrupted
    assert (history.epochs, optimizer.steps, len(schedule.metrics)) == ([1], 5, 5)
    # So it does in a step alone; the exception comes afterwards.
    optimizer.count = 6
    with pytest.raises(KeyboardInterrupt):
        trainer.train_step(x, y)
    assert (optimizer.steps, len(schedule.metrics)) == (6, 6)


def test_a_second_one_does_not_wait():
    optimizer = Stepping(count=1, times=2)
    trainer = rr.Trainer(build().network, rr.MSELoss(), optimizer, seed=0)
    trainer.fit(*arrays(), epochs=1, verbose=0)
    assert (trainer.interrupted, optimizer.steps) == (True, 0)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_of_ones_own_hears_of_it():
    heard = []
    before = signal.signal(signal.SIGINT, lambda number, frame: heard.append(optimizer.steps))
    try:
        optimizer = Stepping(count=2)
        trainer = rr.Trainer(build().network, rr.MSELoss(), optimizer, seed=0)
        trainer.fit(*arrays(), epochs=1, batch_size=3, verbose=0)
    finally:
        signal.signal(signal.SIGINT, before)
    assert (heard, trainer.interrupted, optimizer.steps) == ([2], False, 3)


@pytest.mark.parametrize("hook", ["on_train_begin", "on_train_end"])
def test_beginning_and_end_are_finished_first(hook):
    def press(*arguments):
        signal.raise_signal(signal.SIGINT)

    counting = Counting()
    trainer = build([rr.LambdaCallback(**{hook: press}), counting])
    if hook == "on_train_begin":
        assert trainer.fit(*arrays(), epochs=1, verbose=0).epochs == []
        assert trainer.interrupted
    else:
        with pytest.raises(KeyboardInterrupt):
            trainer.fit(*arrays(), epochs=1, verbose=0)
        assert trainer.history.epochs == [1]
    assert (counting.begun, counting.ended) == (1, 1)
    trainer.callbacks = ()
    trainer.fit(*arrays(), epochs=1, verbose=0)


def test_loading_a_checkpoint_is_all_or_nothing(tmp_path):
    x, y = arrays(4)
    trainer = build()
    trainer.fit(x, y, epochs=3, verbose=0)
    trainer.save_checkpoint(tmp_path / "checkpoint")
    weights = trainer.network.state_dict()
    other = build()
    begins = other.network.state_dict()
    lines, loaded, seen = 1, False, set()
    while not loaded:
        other = build()
        pressing = Pressing(lines)
        with contextlib.suppress(KeyboardInterrupt), pressing:
            other.load_checkpoint(tmp_path / "checkpoint")
        loaded = pressing.left > 0
        seen.add(other.epoch)
        assert other.history.epochs == list(range(1, other.epoch + 1))
        for name, array in other.network.state_dict().items():
            np.testing.assert_array_equal(array, (weights if other.epoch else begins)[name])
        lines += 3
    assert seen == {0, 3}


def test_in_another_thread_nothing_changes():
    handlers, histories = [], []

    def run():
        noting = rr.LambdaCallback(
            on_batch_end=lambda *arguments: handlers.append(signal.getsignal(signal.SIGINT))
        )
        histories.append(build([noting]).fit(*arrays(), epochs=1, verbose=0))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert handlers == [signal.default_int_handler]
    assert histories[0].epochs == [1]


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
