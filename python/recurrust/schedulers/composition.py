"""Schedules that are made of others."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

from recurrust._arguments import require_between, require_integer, require_list
from recurrust.exceptions import ConfigError, DtypeError
from recurrust.schedulers._groups import Optimizer
from recurrust.schedulers.base import LRScheduler

__all__ = ["SequentialLR", "WarmupLR"]


class _Composition(LRScheduler):
    """Base of schedules that take over others, which nobody else must step from then on."""

    def __init__(self, optimizer: Optimizer, named: Mapping[str, LRScheduler]) -> None:
        for name, scheduler in named.items():
            if not isinstance(scheduler, LRScheduler):
                raise DtypeError(
                    f"{name} must be a schedule such as rr.StepLR(...), got {scheduler!r:.80}"
                )
            if scheduler.optimizer is not optimizer:
                raise ConfigError(f"{name} was built on another optimizer")
            if scheduler.step_count != 0:
                raise ConfigError(
                    f"{name} must not have taken steps, but took {scheduler.step_count}"
                )
        self._parts = list(named.values())
        if len({id(part) for part in self._parts}) != len(self._parts):
            raise ConfigError("a schedule can't be in another one twice: build one for each place")
        super().__init__(optimizer)
        self._built = min([self._built, *(part._built for part in self._parts)])

    def state_dict(self) -> dict[str, Any]:
        """Return all that changes from step to step, and the base rates, as plain numbers."""
        parts = [part.state_dict() for part in self._parts]
        return {**super().state_dict(), "schedulers": parts}

    def _starting_rates(self) -> list[float]:
        if not self._parts:
            return super()._starting_rates()
        # Each part set its first rate when it was built, so only the one that was built first
        # has seen the rates that were there before.
        return list(min(self._parts, key=lambda part: part._built).base_lrs)

    def _set_base(self, base_lrs: list[float]) -> None:
        super()._set_base(base_lrs)
        for part in self._parts:
            part._set_base(base_lrs)

    def _load(self, state: Mapping[str, Any]) -> None:
        super()._load(state)
        states = state["schedulers"]
        if not isinstance(states, Sequence) or len(states) != len(self._parts):
            raise ConfigError(
                f"state['schedulers'] must be a list of {len(self._parts)} states, "
                f"got {states!r:.80}"
            )
        for part, own in zip(self._parts, states, strict=True):
            part._load(own)


class SequentialLR(_Composition):
    """Schedules one after the other.

    Each begins at its own step 0 when its turn comes, from the rates that the optimizer had
    before the first of them was built. All must be freshly built on the same optimizer, and
    belong to this one from then on.

    Parameters
    ----------
    optimizer : Optimizer
        Whose rate to set.
    schedulers : list of LRScheduler
        At least one.
    milestones : list of int
        After how many steps the second schedule begins, the third, and so on: rising, at least 1.

    Raises
    ------
    ConfigError
        If there is no schedule, a milestone is missing, too much or out of order, or a schedule
        is listed twice, has taken steps or was built on another optimizer.
    DtypeError
        If an argument is not what it must be.

    Examples
    --------
    >>> import numpy as np, recurrust as rr
    >>> optimizer = rr.SGD([rr.Parameter(np.zeros(3))], lr=0.1)
    >>> parts = [rr.ConstantLR(optimizer, factor=0.5), rr.ExponentialLR(optimizer, gamma=0.5)]
    >>> rr.SequentialLR(optimizer, parts, milestones=[2]).preview(5).tolist()
    [0.05, 0.05, 0.1, 0.05, 0.025]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: Sequence[LRScheduler],
        milestones: Sequence[int],
    ) -> None:
        self.schedulers: list[LRScheduler] = require_list("schedulers", schedulers, "schedules")
        self.milestones = [
            require_integer(f"milestones[{index}]", milestone, 1)
            for index, milestone in enumerate(require_list("milestones", milestones, "integers"))
        ]
        if not self.schedulers:
            raise ConfigError("schedulers must have at least one schedule")
        if len(self.milestones) != len(self.schedulers) - 1:
            raise ConfigError(
                f"milestones must have one number less than there are schedulers "
                f"({len(self.schedulers)}), got {self.milestones}"
            )
        if sorted(set(self.milestones)) != self.milestones:
            raise ConfigError(f"milestones must be rising, got {self.milestones}")
        super().__init__(
            optimizer,
            {f"schedulers[{index}]": part for index, part in enumerate(self.schedulers)},
        )

    def _active(self) -> LRScheduler:
        return self.schedulers[bisect_right(self.milestones, self.step_count)]

    def _advance(self, metric: float | None) -> None:
        self._active()._advance(metric)
        super()._advance(metric)

    def _rates(self) -> list[float]:
        return self._active()._rates()

    def _momenta(self) -> list[float] | None:
        return self._active()._momenta()


class WarmupLR(_Composition):
    """Rise linearly to the full rate, then follow another schedule (Goyal et al. 2017).

    Parameters
    ----------
    optimizer : Optimizer
        Whose rate to set.
    warmup_steps : int
        After how many steps the full rate is reached, at least 1.
    start_factor : float, default 0.1
        The first rate as a fraction of the full one, from 0 to 1.
    after : LRScheduler, optional
        The schedule that begins then, freshly built on the same optimizer; its first rate is the
        full one. By default the optimizer's rate is, and stays.

    Raises
    ------
    ConfigError
        If an option is out of its range, or `after` has taken steps or was built on another
        optimizer.
    DtypeError
        If an argument is not what it must be.

    References
    ----------
    P. Goyal et al.: Accurate, large minibatch SGD: training ImageNet in 1 hour.
    arXiv:1706.02677, 2017 (gradual warmup).

    Examples
    --------
    >>> import numpy as np, recurrust as rr
    >>> optimizer = rr.SGD([rr.Parameter(np.zeros(3))], lr=0.1)
    >>> after = rr.StepLR(optimizer, step_size=2, gamma=0.5)
    >>> rr.WarmupLR(optimizer, 2, start_factor=0.5, after=after).preview(6).round(3).tolist()
    [0.05, 0.075, 0.1, 0.1, 0.05, 0.05]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        warmup_steps: int,
        start_factor: float = 0.1,
        after: LRScheduler | None = None,
    ) -> None:
        self.warmup_steps = require_integer("warmup_steps", warmup_steps, 1)
        self.start_factor = require_between("start_factor", start_factor, 0, 1)
        self.after = after
        super().__init__(optimizer, {} if after is None else {"after": after})

    def _advance(self, metric: float | None) -> None:
        if self.after is not None and self.step_count >= self.warmup_steps:
            self.after._advance(metric)
        super()._advance(metric)

    def _rates(self) -> list[float]:
        full = self.base_lrs if self.after is None else self.after._rates()
        done = min(self.step_count, self.warmup_steps) / self.warmup_steps
        factor = self.start_factor * (1 - done) + done
        return [rate * factor for rate in full]

    def _momenta(self) -> list[float] | None:
        return None if self.after is None else self.after._momenta()
