"""Everything about a trainer that changes while it trains: taken down, compared, put back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from recurrust import _core
from recurrust._arguments import require_integer
from recurrust.exceptions import ConfigError, FileFormatError
from recurrust.history import History
from recurrust.training.run import Run
from recurrust.training.step import trained_parameters

if TYPE_CHECKING:
    from recurrust.trainer import Trainer

__all__ = ["capture", "differences", "load_state", "restore", "state_of"]

# What comes of states that are not as they should be.
_UNFIT = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError)


def capture(trainer: Trainer) -> dict[str, Any]:
    """Return the state of a trainer between two steps.

    Raises
    ------
    ConfigError
        If the optimizer or the schedule doesn't tell its state, or couldn't take it back.
    """
    optimizer, scheduler = trainer.optimizer, trainer.scheduler
    for name, part in (("optimizer", optimizer), ("scheduler", scheduler)):
        missing = [
            method
            for method in ("state_dict", "load_state_dict")
            if part is not None and not hasattr(part, method)
        ]
        if missing:
            raise ConfigError(
                f"{name} ({type(part).__name__}) has no {' and no '.join(missing)}, so a "
                "checkpoint can't hold its state"
            )
    return {
        "description": _description(trainer),
        "model": trainer.network.state_dict(),
        "optimizer": state_of(optimizer),
        "scheduler": state_of(scheduler),
        "callbacks": [state_of(callback) for callback in trainer.callbacks],
        "random_stream": list(_core.get_rng_state()),
        "seed": trainer.seed,
        "epoch": trainer.epoch,
        "stopping": trainer._stopping,
        "history": trainer.history.state_dict(),
        "run": None if trainer._position is None else trainer._position.state_dict(),
    }


def restore(trainer: Trainer, state: Mapping[str, Any], source: str) -> None:
    """Put a trainer into a state; nothing has changed after an error.

    Raises
    ------
    FileFormatError
        If `source`, where the state comes from, is not one that `capture` describes, or a part of
        the trainer refuses what it holds.
    ConfigError
        If the trainer is not like the one that the state is of; all differences are listed.
    """
    try:
        found = differences(state["description"], _description(trainer))
        history = History(())
        history.load_state_dict(state["history"])
        run = None if state["run"] is None else Run.of(state["run"])
        seed, position = (int(number) for number in state["random_stream"])
        own = {
            "seed": require_integer("seed", state["seed"], 0, 2**64 - 1),
            "epoch": require_integer("epoch", state["epoch"], 0),
            "_stopping": bool(state["stopping"]),
            "history": history,
            "interrupted": False,
            "_resumed": run,
        }
    except _UNFIT as error:
        raise FileFormatError(f"{source} does not describe a checkpoint: {error!r}") from error
    if found:
        listed = "\n  ".join(found)
        raise ConfigError(
            f"{source} is a checkpoint of another trainer, nothing was changed:\n  {listed}"
        )
    before = capture(trainer)
    stream = _core.get_rng_state()
    try:
        if run is not None:
            _require_gradients(trainer, run)
        _core.set_rng_state((seed, position))
        _apply(trainer, state)
    except BaseException as error:
        _core.set_rng_state(stream)
        _apply(trainer, before)
        if isinstance(error, _UNFIT):
            raise FileFormatError(f"{source} does not describe a checkpoint: {error!r}") from error
        raise
    vars(trainer).update(own)  # what can't fail


def _require_gradients(trainer: Trainer, run: Run) -> None:
    """Raise unless the gradients that a run has accumulated are those of a trainer's parameters."""
    group = run.accumulation
    shapes = [parameter.shape for parameter in trained_parameters(trainer, run)]
    expected = shapes if group.batches > 0 else []
    if group.shapes != expected:
        raise ValueError(f"accumulated gradients must have shapes {expected}, got {group.shapes}")


def _apply(trainer: Trainer, state: Mapping[str, Any]) -> None:
    """Hand their states to the parts of a trainer."""
    trainer.network.load_state_dict(state["model"])
    # Then the optimizer: a rate that was set by hand lasts until the schedule's next step.
    for part, own in (
        (trainer.scheduler, state["scheduler"]),
        (trainer.optimizer, state["optimizer"]),
        *zip(trainer.callbacks, state["callbacks"], strict=True),
    ):
        load_state(part, own)


def state_of(part: Any) -> Any:
    """Return the state of an object that may have none."""
    return part.state_dict() if hasattr(part, "state_dict") else {}


def load_state(part: Any, state: Any) -> None:
    """Give an object its state; one that has none gets none."""
    if hasattr(part, "load_state_dict"):
        part.load_state_dict(state)


def _description(trainer: Trainer) -> dict[str, Any]:
    """Return what a trainer is made of, as far as a state of it can't be of another."""
    described: dict[str, Any] = {
        "loss": type(trainer.loss).__name__,
        "optimizer": type(trainer.optimizer).__name__,
        "scheduler": None if trainer.scheduler is None else type(trainer.scheduler).__name__,
        "schedule_every": trainer.schedule_every,
        "tbptt": trainer.tbptt,
        "accumulate_grad_batches": trainer.accumulate_grad_batches,
        "callbacks": [type(callback).__name__ for callback in trainer.callbacks],
        "metrics": list(trainer.metrics),
        "layers": len(trainer.network),
    }
    for index, layer in enumerate(trainer.network.config["layers"]):
        described[f"layer {index}"] = layer["kind"]
        for name, value in layer["config"].items():
            described[f"layer {index} ({layer['kind']}): {name}"] = value
    for name, parameter in trainer.network.named_parameters():
        described[name] = f"{parameter.dtype} of shape {parameter.shape}"
    groups = getattr(trainer.optimizer, "param_groups", None)
    if groups is not None:
        described["parameters of the optimizer's groups"] = [
            len(group["params"]) for group in groups
        ]
    # As it comes back from a file.
    plain: dict[str, Any] = json.loads(
        json.dumps(described, default=lambda value: type(value).__name__)
    )
    return plain


def differences(expected: Mapping[str, Any], got: Mapping[str, Any]) -> list[str]:
    """Return a line for each thing that differs."""
    return [
        f"{name}: expected {_shown(expected, name)}, got {_shown(got, name)}"
        for name in {**expected, **got}
        if name not in expected or name not in got or expected[name] != got[name]
    ]


def _shown(mapping: Mapping[str, Any], name: str) -> str:
    return repr(mapping[name]) if name in mapping else "nothing"
