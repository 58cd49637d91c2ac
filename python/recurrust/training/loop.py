"""How a call of `fit` goes through its epochs."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from recurrust.exceptions import ConfigError
from recurrust.history import History
from recurrust.training.checkpoint import differences, load_state, state_of
from recurrust.training.evaluation import evaluate
from recurrust.training.passes import modes_restored
from recurrust.training.run import Event, Run
from recurrust.training.step import finish_group, learn

if TYPE_CHECKING:
    from recurrust.callbacks import Callback
    from recurrust.trainer import Trainer
    from recurrust.training.batches import Batches
    from recurrust.training.samples import Samples

__all__ = ["train", "under_way"]


@contextlib.contextmanager
def under_way(
    trainer: Trainer,
    batches: Batches,
    names: Sequence[str],
    callbacks: Sequence[Callback],
    epochs: int,
) -> Iterator[Run]:
    """Begin a run, or go on with that of a checkpoint; end it, also after Ctrl-C.

    Neither may be left half done, so call it where Ctrl-C is held back.

    `names` are the quantities that the history shall have.
    """
    resumed = trainer._resumed
    if resumed is not None:
        _require_same_run(trainer, resumed, batches, names)
    with contextlib.ExitStack() as undo:
        _restore_afterwards(trainer, undo)
        if resumed is None:
            trainer.history = History(names)
            trainer._stopping = False
        trainer.interrupted = False
        # Callbacks forget their states when a run begins.
        kept = [(one, state_of(one)) for one in trainer.callbacks if resumed is not None]
        with modes_restored(trainer.network), contextlib.ExitStack() as ends:
            for callback in callbacks:
                callback.on_train_begin(trainer, epochs)
                ends.callback(callback.on_train_end, trainer)
            for one, state in kept:
                load_state(one, state)
            run = resumed or Run(dict(batches.description))
            trainer._run, trainer._resumed = run, None
            undo.pop_all()
            try:
                yield run
            except KeyboardInterrupt:
                trainer.interrupted = True
            finally:
                trainer._run, trainer._stepping = None, False


def _restore_afterwards(trainer: Trainer, stack: contextlib.ExitStack) -> None:
    """Have a trainer put back as it is now, with what a run that can't begin may change.

    Callbacks that began must end, and when they do they may change even the weights.
    """
    names = ("history", "interrupted", "_stopping")
    stack.callback(trainer.network.load_state_dict, trainer.network.state_dict())
    for callback in trainer.callbacks:
        stack.callback(load_state, callback, state_of(callback))
    stack.callback(vars(trainer).update, {name: vars(trainer)[name] for name in names})


def _require_same_run(trainer: Trainer, run: Run, batches: Batches, names: Sequence[str]) -> None:
    """Raise unless a run from a checkpoint can go on with some batches."""
    expected: dict[str, Any] = {"history": list(trainer.history)}
    got: dict[str, Any] = {"history": list(names)}
    if run.batch > 0:
        expected, got = expected | run.data, got | dict(batches.description)
    found = differences(expected, got)
    if found:
        listed = "\n  ".join(found)
        raise ConfigError(
            f"the run from the checkpoint can't go on with these data:\n  {listed}\n"
            "Give it the same, or build a new trainer of the same model and optimizer"
        )


def train(
    trainer: Trainer,
    run: Run,
    batches: Batches,
    validation: Samples | None,
    callbacks: Sequence[Callback],
    *,
    epochs: int,
    batch_size: int,
) -> None:
    """Train for some epochs, from where the run is."""
    resumed_between_epochs = run.batch == 0 and len(trainer.history.epochs) > 0
    if run.event is not None:
        own = callbacks[: len(trainer.callbacks)]  # whoever shows the progress was not there
        _tell(trainer, run, own, run.event.hook, *run.event.arguments, heard=run.event.heard)
    if resumed_between_epochs and trainer._stopping:
        return
    for _ in range(epochs):
        values = _train_epoch(trainer, run, batches, callbacks)
        if validation is not None:
            measured = evaluate(
                trainer.network, trainer.loss, trainer.metrics, validation, batch_size
            )
            values |= {f"val_{name}": value for name, value in measured.items()}
        run.interrupts.hold(_finish_epoch, trainer, run, values)
        recorded = {name: values[name] for name in trainer.history}
        _tell(trainer, run, callbacks, "on_epoch_end", trainer.epoch, recorded)
        if trainer._stopping:
            return


def _train_epoch(
    trainer: Trainer, run: Run, batches: Batches, callbacks: Sequence[Callback]
) -> dict[str, float]:
    """Train for what is left of an epoch; return what the history records of the whole."""
    if run.batch == 0:
        run.begin_epoch(float(trainer.optimizer.lr))
    trainer.network.train()
    where = f" in epoch {trainer.epoch + 1}, batch "
    for batch in batches.epoch(trainer.epoch, run.batch):
        trainer._stepping = True
        loss = learn(trainer, batch, run, f"{where}{run.batch}")
        run.batch += 1
        if run.batch % trainer.accumulate_grad_batches == 0:
            finish_group(trainer, run, f"{where}{run.batch - 1}")
        trainer._stepping = False
        _tell(trainer, run, callbacks, "on_batch_end", run.batch - 1, loss)
    trainer._stepping = True
    finish_group(trainer, run, f"{where}{run.batch - 1}")
    trainer._stepping = False
    measured = run.tally.result(trainer.metrics)
    return {"lr": run.lr, **measured, "skipped": float(run.skipped)}


def _finish_epoch(trainer: Trainer, run: Run, values: dict[str, float]) -> None:
    """Step the schedule, count the epoch and record it."""
    trainer._stepping = True
    stepped = not math.isnan(values["loss"])  # else every batch was skipped
    if stepped and trainer.scheduler is not None and trainer.schedule_every == "epoch":
        trainer.scheduler.step(values.get("val_loss", values["loss"]))
    trainer.epoch += 1
    run.batch = 0
    trainer.history.append(trainer.epoch, values)
    trainer._stepping = False


def _tell(
    trainer: Trainer,
    run: Run,
    callbacks: Sequence[Callback],
    hook: str,
    *arguments: Any,
    heard: int = 0,
) -> None:
    """Call a hook of all callbacks but the first ones, which have heard of it already.

    A checkpoint that one of them writes notes who has not, so that they will.
    """
    for index, callback in enumerate(callbacks[heard:], heard + 1):
        run.event = Event(hook, list(arguments), index)
        getattr(callback, hook)(trainer, *arguments)
    run.event = None
