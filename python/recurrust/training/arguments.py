"""Checks of what a trainer is given."""

from __future__ import annotations

import contextlib
import inspect
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from recurrust import _core
from recurrust._arguments import require_integer, require_object, require_real
from recurrust.exceptions import ConfigError, DtypeError
from recurrust.schedulers import LambdaLR
from recurrust.training.batches import BATCH_KEYS

if TYPE_CHECKING:
    from recurrust.callbacks import Callback
    from recurrust.sequential import Sequential
    from recurrust.training.protocols import Optimizer, Scheduler
    from recurrust.training.samples import Samples

__all__ = [
    "callbacks_of",
    "require_shared_parameters",
    "require_split",
    "require_targets",
    "require_windows",
    "scheduler_of",
    "seed_from_stream",
    "split_samples",
    "validation_parts",
]

_HOOKS = ("on_train_begin", "on_batch_end", "on_epoch_end", "on_train_end")


def callbacks_of(callbacks: Any) -> tuple[Callback, ...]:
    """Return the argument `callbacks`, checked."""
    if not isinstance(callbacks, Iterable):
        raise DtypeError(f"callbacks must be a list of callbacks, got {callbacks!r:.80}")
    listed = tuple(callbacks)
    seen: dict[int, int] = {}
    for index, callback in enumerate(listed):
        require_object(f"callbacks[{index}]", callback, _HOOKS, "rr.EarlyStopping()")
        first = seen.setdefault(id(callback), index)
        if first != index:
            raise ConfigError(
                f"callbacks[{first}] and callbacks[{index}] are the same object, which would count "
                "everything twice"
            )
    return listed


def seed_from_stream() -> int:
    """Return a seed that follows from where the process-wide random stream is."""
    seed, position = _core.get_rng_state()
    return int(np.random.SeedSequence([seed, position]).generate_state(1, np.uint64)[0])


def scheduler_of(optimizer: Any, scheduler: Any) -> Scheduler | None:
    """Return the schedule that the argument `scheduler` stands for, checked."""
    if scheduler is None:
        return None
    is_function = callable(scheduler) and not hasattr(scheduler, "step")
    if is_function and not isinstance(scheduler, type):
        return LambdaLR(optimizer, scheduler)
    example = "rr.StepLR(optimizer, 10) or a function of the step"
    require_object("scheduler", scheduler, ("step", "state_dict"), example)
    if getattr(scheduler, "optimizer", optimizer) is not optimizer:
        raise ConfigError(
            "scheduler was built on another optimizer: build it on the one that is given to the "
            "trainer"
        )
    with contextlib.suppress(ValueError):  # some functions of C don't tell what they take
        try:
            inspect.signature(scheduler.step).bind(0.0)
        except TypeError as error:
            raise DtypeError(
                "scheduler.step must take one argument, the loss (it may ignore it); "
                f"got {scheduler!r:.80}"
            ) from error
    checked: Scheduler = scheduler
    return checked


def require_shared_parameters(optimizer: Optimizer, network: Sequential) -> None:
    """Raise if an optimizer that says what it moves moves nothing of the network."""
    groups = getattr(optimizer, "param_groups", None)
    own = {id(parameter) for parameter in network.parameters()}
    if groups is None or not own:
        return
    if not any(id(parameter) in own for group in groups for parameter in group["params"]):
        raise ConfigError(
            "optimizer has none of the model's parameters, so training would change nothing: "
            "build it from model.parameters(), after the model was copied or converted"
        )


def require_windows(tbptt: Any, accumulate_grad_batches: int, network: Sequential) -> int | None:
    """Return the argument `tbptt`, checked as far as the network need not run for it."""
    if tbptt is None:
        return None
    steps = require_integer("tbptt", tbptt, 1)
    if accumulate_grad_batches > 1:
        raise ConfigError(
            "tbptt makes several steps of a batch and accumulate_grad_batches one step of several "
            "batches: use one of them"
        )
    if not network.recurrent:
        raise ConfigError("tbptt needs a recurrent layer, whose state goes from window to window")
    for index, layer in enumerate(network):
        label = f"tbptt: layer {index} ({type(layer).__name__})"
        if getattr(layer, "bidirectional", False) or getattr(layer, "config", {}).get("reverse"):
            raise ConfigError(f"{label} goes backwards in time, so it needs whole sequences")
        if not getattr(layer, "return_sequences", True):
            raise ConfigError(
                f"{label} has return_sequences=False, but every step needs an output of its own"
            )
    return steps


def validation_parts(data: Any) -> dict[str, Any]:
    """Return the parts of the argument `validation_data` by name."""
    if not isinstance(data, Mapping):
        if not isinstance(data, Sequence):
            raise DtypeError(
                f"validation_data must be (x, y) or a mapping, got {type(data).__name__}"
            )
        if len(data) != 2:
            raise ConfigError(
                "validation_data must be (x, y) or a mapping with the keys x, y, lengths and "
                f"sample_weight, got {len(data)} entries"
            )
        data = dict(zip(("x", "y"), data, strict=True))
    if not {"x", "y"} <= data.keys() <= set(BATCH_KEYS):
        raise ConfigError(
            "validation_data must have the keys x and y, and may have lengths and sample_weight; "
            f"got {sorted(data)}"
        )
    require_targets(data["y"])
    return dict(data)


def require_targets(y: Any) -> None:
    """Raise if there are no targets to compare predictions with."""
    if y is None:
        raise DtypeError(
            "y is missing: arrays with targets are needed here (only fit takes batches, which have "
            "their own; evaluate those one by one)"
        )


def split_samples(samples: Samples, validation_split: float) -> tuple[Samples, Samples]:
    """Return the samples to train on, and the last part of them to validate on."""
    # 10 * (1 - 0.9) is a little less than 1.
    first = math.floor(len(samples) * (1 - validation_split) + 1e-9)
    if not 0 < first < len(samples):
        raise ConfigError(
            f"validation_split={validation_split} of {len(samples)} samples leaves one part empty"
        )
    return samples.split(first)


def require_split(validation_split: Any) -> float:
    """Return the argument `validation_split`, checked."""
    if not 0 <= require_real("validation_split", validation_split) < 1:
        raise ConfigError(f"validation_split must be in [0, 1), got {validation_split}")
    return float(validation_split)
