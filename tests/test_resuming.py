"""Training that is stopped at any batch and goes on elsewhere: the same bits as in one piece."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import recurrust as rr

EPOCHS, SAMPLES, BATCH_SIZE = 6, 23, 6
BATCHES = 4


class Losses(rr.Callback):
    """Notes the loss of every batch, as often as it hears of one."""

    def __init__(self):
        self.losses = []

    def on_batch_end(self, trainer, batch, loss):
        self.losses.append((trainer.epoch, batch, loss))


class Saving(rr.Callback):
    """Writes a checkpoint after every batch and epoch."""

    def __init__(self, folder):
        self.folder = folder

    def on_batch_end(self, trainer, batch, loss):
        trainer.save_checkpoint(self.folder / f"{trainer.epoch}-{batch}")

    def on_epoch_end(self, trainer, epoch, values):
        trainer.save_checkpoint(self.folder / f"{epoch}-")


def problem():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(SAMPLES + 8, 7, 2)).astype(np.float32)
    y = x.sum(axis=2, keepdims=True).cumsum(axis=1)
    lengths = generator.integers(0, 8, SAMPLES + 8)
    return x, y, lengths


def build(callbacks=(), *, every="epoch", seed=None, **options):
    """Return a trainer with random weights and everything that has a state."""
    rr.manual_seed(np.random.SeedSequence().generate_state(1)[0] if seed is None else seed)
    regularization = {"dropout": 0.1, "weight_dropout": 0.1, "zoneout": (0.1, 0.05)}
    model = rr.Sequential(
        rr.Dropout(0.3),
        rr.LSTM(2, 5, num_layers=2, batch_first=True, **regularization),
        rr.Linear(5, 1),
    )
    optimizer = rr.Adam(model.parameters(), lr=0.05, amsgrad=True)
    scheduler = rr.WarmupLR(
        optimizer, 2, 0.1, rr.ReduceLROnPlateau(optimizer, patience=0, factor=0.5)
    )
    return rr.Trainer(
        model,
        rr.MSELoss(),
        optimizer,
        scheduler,
        schedule_every=every,
        callbacks=callbacks,
        clip_norm=1.0,
        metrics={"worst": lambda pred, target: np.abs(pred - target).max()},
        **options,
    )


def train(trainer, epochs, **options):
    x, y, lengths = problem()
    held_out = {"x": x[SAMPLES:], "y": y[SAMPLES:], "lengths": lengths[SAMPLES:]}
    return trainer.fit(
        x[:SAMPLES],
        y[:SAMPLES],
        lengths=lengths[:SAMPLES],
        epochs=epochs,
        batch_size=BATCH_SIZE,
        validation_data=held_out,
        verbose=0,
        **options,
    )


def state_of(trainer, path):
    """Return a file of everything that a trainer is."""
    trainer.save_checkpoint(path)
    return path.read_bytes()


@pytest.mark.parametrize("every", ["epoch", "batch"])
@pytest.mark.parametrize("saving_first", [True, False])
def test_every_batch_of_a_run(tmp_path, every, saving_first):
    # One that saves before the others have heard of the batch loses nothing of theirs.
    saving, losses = Saving(tmp_path), Losses()
    # Two epochs without improvement: it stops before the last epoch.
    callbacks = [rr.EarlyStopping(patience=2, min_delta=0.3), losses]
    callbacks.insert(0 if saving_first else 2, saving)
    whole = build(callbacks, every=every, seed=7)
    expected = train(whole, EPOCHS)
    assert 2 < len(expected.epochs) < EPOCHS
    assert callbacks[1 if saving_first else 0].best_epoch < len(expected.epochs)
    final = state_of(whole, tmp_path / "final")

    moments = [
        (epoch, batch) for epoch in range(len(expected.epochs)) for batch in (*range(BATCHES), "")
    ]
    for number, (epoch, batch) in enumerate(moments):
        callbacks = [rr.EarlyStopping(patience=2, min_delta=0.3), Losses()]
        callbacks.insert(0 if saving_first else 2, Saving(tmp_path))
        resumed = build(callbacks, every=every)
        name = f"{epoch + 1}-" if batch == "" else f"{epoch}-{batch}"
        resumed.load_checkpoint(tmp_path / name)
        done = epoch + (batch == "")
        assert resumed.epoch == done
        history = train(resumed, EPOCHS - resumed.epoch)
        assert history.epochs == expected.epochs
        assert dict(history) == dict(expected)
        assert state_of(resumed, tmp_path / "again") == final
        heard = callbacks[2 if saving_first else 1].losses
        # Who saves first has done so before the loss of the batch was noted.
        after = done * BATCHES + (0 if batch == "" else batch + (not saving_first))
        assert heard == losses.losses[after:], number


@pytest.mark.parametrize("saving_first", [True, False])
def test_callbacks_with_files_and_states(tmp_path, monkeypatch, saving_first):
    class Snapshots(rr.Callback):
        """Keeps a checkpoint, and the files as they are then, as if the process died there."""

        def on_batch_end(self, trainer, batch, loss):
            self.keep(trainer, f"{trainer.epoch}-{batch}")

        def on_epoch_end(self, trainer, epoch, values):
            self.keep(trainer, f"{epoch}-")

        def keep(self, trainer, name):
            if self is snapshots:
                trainer.save_checkpoint("checkpoint")
                shutil.copytree("runs", tmp_path / name / "runs", dirs_exist_ok=True)
                shutil.copy("checkpoint", tmp_path / name)

    def callbacks():
        made = [
            rr.CSVLogger("runs/log.csv"),
            rr.LearningRateMonitor(),
            rr.ModelCheckpoint("runs/{epoch}-{worst:.3f}", "worst", keep=2, last=True),
            rr.EarlyStopping("worst", patience=2),
        ]
        made.insert(0 if saving_first else len(made), Snapshots())
        return made

    def results(trainer):
        logger, monitor, checkpoint, stopping = (
            one for one in trainer.callbacks if not isinstance(one, Snapshots)
        )
        files = sorted(path.name for path in Path("runs").iterdir())
        states = [Path(path).read_bytes() for path in checkpoint.paths]
        rates = monitor.rates.tolist()
        best = checkpoint.best, stopping.best, stopping.best_epoch
        return Path(logger.path).read_text(), rates, checkpoint.paths, files, states, best

    def go(folder, name=None):
        monkeypatch.chdir(folder)
        trainer = build(callbacks(), every="batch", seed=7 if name is None else None)
        if name is not None:
            trainer.load_checkpoint("checkpoint")
        else:
            nonlocal snapshots
            snapshots = next(one for one in trainer.callbacks if isinstance(one, Snapshots))
        train(trainer, 4 - trainer.epoch)
        return results(trainer)

    snapshots = None
    (tmp_path / "whole").mkdir()
    expected = go(tmp_path / "whole")
    names = sorted(path.name for path in tmp_path.iterdir() if path.name != "whole")
    assert len(names) >= 3 * (BATCHES + 1)
    for name in names:
        assert go(tmp_path / name, name) == expected, name


def test_options_that_gather_something_within_an_epoch(tmp_path):
    for options in ({"accumulate_grad_batches": 3}, {"tbptt": 3}):
        whole = build([Saving(tmp_path)], seed=3, every="batch", **options)
        expected = train(whole, 2)
        final = state_of(whole, tmp_path / "final")
        for epoch, batch in np.ndindex(2, BATCHES):
            resumed = build([Saving(tmp_path)], every="batch", **options)
            resumed.load_checkpoint(tmp_path / f"{epoch}-{batch}")
            assert dict(train(resumed, 2 - epoch)) == dict(expected)
            assert state_of(resumed, tmp_path / "again") == final


@pytest.mark.parametrize("kind", ["list", "function"])
def test_batches_of_an_iterable(tmp_path, kind):
    x, y, lengths = problem()
    batches = [
        {"x": x[rows], "y": y[rows], "lengths": lengths[rows]}
        for rows in (slice(0, 5), slice(5, 6), slice(6, 20), slice(20, 23))
    ]
    given = batches if kind == "list" else lambda: iter(batches)
    whole = build([Saving(tmp_path)], seed=3)
    expected = whole.fit(given, epochs=2, verbose=0)
    final = state_of(whole, tmp_path / "final")
    for name in ("0-0", "0-3", "1-", "1-2"):
        resumed = build([Saving(tmp_path)])
        resumed.load_checkpoint(tmp_path / name)
        assert dict(resumed.fit(given, epochs=2 - resumed.epoch, verbose=0)) == dict(expected)
        assert state_of(resumed, tmp_path / "again") == final


def test_skipped_batches_stay_counted(tmp_path):
    x, y, _ = problem()
    x[[0, 13]] = np.nan
    options = {"shuffle": False, "batch_size": 6, "check_finite": False, "verbose": 0}
    whole = build([Saving(tmp_path)], seed=3, on_nonfinite="skip")
    expected = whole.fit(x, y, epochs=1, **options)
    assert expected["skipped"] == [2.0]
    final = state_of(whole, tmp_path / "final")
    for batch in range(5):
        resumed = build([Saving(tmp_path)], on_nonfinite="skip")
        resumed.load_checkpoint(tmp_path / f"0-{batch}")
        assert dict(resumed.fit(x, y, epochs=1, **options)) == dict(expected)
        assert state_of(resumed, tmp_path / "again") == final


def test_any_number_of_threads(tmp_path):
    # Large enough for the threads to be used.
    generator = np.random.default_rng(0)
    x = generator.normal(size=(96, 30, 8)).astype(np.float32)
    y = x.sum(axis=2, keepdims=True)
    threads = rr.get_num_threads()
    files = []
    try:
        for count in (1, 2, 3):
            rr.set_num_threads(count)
            rr.manual_seed(7)
            model = rr.Sequential(
                rr.LSTM(8, 128, batch_first=True), rr.Dropout(0.2), rr.Linear(128, 1)
            )
            optimizer = rr.Adam(model.parameters(), lr=0.01)
            callbacks = [Saving(tmp_path)]
            trainer = rr.Trainer(model, rr.MSELoss(), optimizer, callbacks=callbacks, clip_norm=1.0)
            trainer.fit(x, y, epochs=2, batch_size=40, validation_split=0.1, verbose=0)
            files.append([(tmp_path / name).read_bytes() for name in ("0-1", "1-", "2-")])
    finally:
        rr.set_num_threads(threads)
    assert files[0] == files[1] == files[2]
    assert len(set(files[0])) == 3


# Trains to the end from whatever checkpoint is there, and prints the state as it is then.
PROGRAM = """
import hashlib, os, pathlib, signal, sys, threading, time
sys.path.insert(0, {folder!r})
import numpy as np
import recurrust as rr
from test_resuming import EPOCHS, build, state_of, train

path, kill_at = pathlib.Path(sys.argv[1]), sys.argv[2]

class Saving(rr.Callback):
    count = 0

    def on_batch_end(self, trainer, batch, loss):
        self.count += 1
        if kill_at == "writing" and self.count == 3:
            threading.Thread(target=kill_while_writing).start()
            time.sleep(0.1)
        trainer.save_checkpoint(path)
        if kill_at == str(self.count):
            os.kill(os.getpid(), signal.SIGKILL)

def kill_while_writing():
    while not any(name.startswith(".recurrust-") for name in os.listdir(path.parent)):
        pass
    os.kill(os.getpid(), signal.SIGKILL)

trainer = build([Saving(), rr.EarlyStopping(patience=2, min_delta=0.3)], seed=7)
if kill_at == "writing":  # arrays that take a while to write
    Saving.state_dict = lambda self: {{"ballast": np.zeros(4_000_000)}}
Saving.load_state_dict = lambda self, state: None
if path.exists():
    trainer.load_checkpoint(path)
train(trainer, EPOCHS - trainer.epoch)
print(hashlib.sha256(state_of(trainer, path)).hexdigest())
"""


def run(path, kill_at="never"):
    code = PROGRAM.format(folder=os.path.dirname(__file__))
    return subprocess.run(
        [sys.executable, "-c", code, str(path), kill_at], capture_output=True, text=True
    )


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
class TestKilledProcess:
    @pytest.fixture(scope="class")
    @staticmethod
    def expected(tmp_path_factory):
        finished = run(tmp_path_factory.mktemp("whole") / "checkpoint")
        assert finished.returncode == 0, finished.stderr
        return finished.stdout

    def test_between_two_steps_again_and_again(self, tmp_path, expected):
        path = tmp_path / "checkpoint"
        for kill_at in ("1", "2", "6"):
            killed = run(path, kill_at)
            assert killed.returncode == -signal.SIGKILL, killed.stderr
        finished = run(path)
        assert finished.returncode == 0, finished.stderr
        assert finished.stdout == expected

    def test_in_the_middle_of_writing(self, tmp_path, expected):
        path = tmp_path / "checkpoint"
        killed = run(path, "writing")
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        # It was writing the third: that one is incomplete, the second is there.
        assert [name for name in os.listdir(tmp_path) if name.startswith(".recurrust-")]
        finished = run(path)
        assert finished.returncode == 0, finished.stderr
        assert finished.stdout == expected
