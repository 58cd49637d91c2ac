"""What a trainer does with one batch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from recurrust import _core
from recurrust.exceptions import ConfigError, NonFiniteError
from recurrust.training.accumulation import Accumulation
from recurrust.training.passes import Measured, backward
from recurrust.training.tally import Tally

if TYPE_CHECKING:
    from recurrust.trainer import Trainer
    from recurrust.training.run import Run
    from recurrust.training.samples import Batch

__all__ = ["finish_group", "learn", "trained_parameters"]


def learn(trainer: Trainer, batch: Batch, run: Run, where: str) -> float:
    """Train on a batch, window by window if it is to be cut, and return its loss.

    Its part in the epoch is noted in `run`; `where` is for the message of an error.
    """
    if trainer.tbptt is None:
        measured, taken, _ = _step(trainer, batch, run, where)
        if taken and trainer.metrics:
            run.tally.keep([measured])
        return measured.value
    tally = Tally()
    windows: list[Measured] = []
    state: Sequence[Any] | None = None
    for index, window in enumerate(batch.windows(trainer.tbptt)):
        place = f"{where}, window {index}"
        measured, taken, state = _step(trainer, window, run, place, state)
        if taken:
            tally.add(measured, trainer.loss)
        else:
            state = _begun_anew(state, len(window.x))
        if taken and trainer.metrics:
            windows.append(measured)
    run.tally.keep(windows)
    return tally.loss


def finish_group(trainer: Trainer, run: Run, where: str) -> None:
    """Take the step of the batches that were accumulated, if there are any."""
    group, run.accumulation = run.accumulation, Accumulation()
    if group.batches == 0:
        return
    parameters = trained_parameters(trainer, run)
    loss = group.apply(parameters)
    problem = _clip(trainer, parameters, trainer.clip_norm)
    if problem is None:
        run.interrupts.hold(_update, trainer, loss)
    else:
        _skip(trainer, run, parameters, problem, where)


def _step(
    trainer: Trainer, batch: Batch, run: Run, where: str, state: Sequence[Any] | None = None
) -> tuple[Measured, bool, Sequence[Any]]:
    """Take one step, or let the batch have its part in one, unless it must be skipped.

    Returns the loss, whether it counts, and the network's states at the end.
    """
    parameters = trained_parameters(trainer, run)
    _core.zero_grad_(parameters)
    measured, state = backward(trainer.network, trainer.loss, batch, state)
    if trainer.tbptt is not None and not measured.per_step:
        raise ConfigError(
            "tbptt needs a model with an output for every step, but the outputs have shape "
            f"{measured.pred.shape} for inputs of shape {batch.x.shape}"
        )
    accumulating = trainer.accumulate_grad_batches > 1
    if not math.isfinite(measured.value):
        problem: str | None = f"the loss is {measured.value}"
    else:
        problem = _clip(trainer, parameters, None if accumulating else trainer.clip_norm)
    if problem is not None:
        _skip(trainer, run, parameters, problem, where)
        return measured, False, state
    run.tally.add(measured, trainer.loss)
    if accumulating:
        run.accumulation.add(parameters, measured, trainer.loss)
    else:
        run.interrupts.hold(_update, trainer, measured.value)
    return measured, True, state


def _begun_anew(states: Sequence[Any], samples: int) -> list[Any]:
    """Return a network's states, those of samples that have any that is not finite zeroed.

    Of states that are not shaped (layers, samples, features), as some layer of the user's may
    have, nobody knows what belongs to a sample; they stay as they are.
    """

    def is_known(state: Any) -> bool:
        return isinstance(state, np.ndarray) and state.ndim == 3 and state.shape[1] == samples

    parts = [state if isinstance(state, tuple) else (state,) for state in states]
    spoiled = np.zeros((samples, 1), dtype=bool)
    for part in parts:
        for state in filter(is_known, part):
            spoiled[:, 0] |= ~np.isfinite(state).all(axis=(0, 2))
    renewed = [
        tuple(np.where(spoiled, 0, state) if is_known(state) else state for state in part)
        for part in parts
    ]
    return [
        part if isinstance(state, tuple) else part[0]
        for state, part in zip(states, renewed, strict=True)
    ]


def trained_parameters(trainer: Trainer, run: Run) -> list[_core.Parameter]:
    """Return the model's parameters, then those that only the optimizer has.

    It moves these as well, so their gradients must be those of the step, too: a loss may have
    parameters of its own. What others hold in the optimizer's groups is theirs.
    """
    own = list(trainer.network.parameters())
    if run.others is None:
        known = {id(parameter) for parameter in own}
        groups = getattr(trainer.optimizer, "param_groups", None) or ()
        run.others = [
            parameter
            for group in groups
            for parameter in group["params"]
            if isinstance(parameter, _core.Parameter) and id(parameter) not in known
        ]
    return own + run.others


def _update(trainer: Trainer, loss: float) -> None:
    """Move the weights along their gradients."""
    trainer.optimizer.step()
    if trainer.scheduler is not None and trainer.schedule_every == "batch":
        trainer.scheduler.step(loss)


def _skip(
    trainer: Trainer, run: Run, parameters: Iterable[_core.Parameter], problem: str, where: str
) -> None:
    """Count a step that can't be taken, or raise."""
    for name, parameter in _named(trainer, parameters):
        if not np.isfinite(parameter.data).all():  # so no later step could be taken either
            raise NonFiniteError(
                f"{problem}{where}, and {name} itself is not finite any more: an earlier update "
                "was too large for its numbers. Go back to earlier weights; a lower learning "
                "rate, clip_norm or scaled data may help"
            )
    if trainer.on_nonfinite == "raise":
        raise NonFiniteError(
            f"{problem}{where}; the weights are untouched. A lower learning rate, clip_norm "
            "or scaled data may help"
        )
    run.skipped += 1


def _clip(
    trainer: Trainer, parameters: list[_core.Parameter], max_norm: float | None
) -> str | None:
    """Scale the gradients down to a norm; return which is not finite, if any is."""
    limit = math.inf if max_norm is None else max_norm
    try:
        _core.clip_grad_norm_(parameters, limit, error_if_nonfinite=True)
    except NonFiniteError:
        for name, parameter in _named(trainer, parameters):
            if not np.isfinite(parameter.grad).all():
                return f"the gradient of {name} is not finite"
        raise
    return None


def _named(
    trainer: Trainer, parameters: Iterable[_core.Parameter]
) -> Iterator[tuple[str, _core.Parameter]]:
    """Yield parameters with the names that they have in the model."""
    names = {id(parameter): name for name, parameter in trainer.model.named_parameters()}
    for parameter in parameters:
        other = f"the optimizer's parameter {parameter.name!r}"
        yield names.get(id(parameter), other), parameter
