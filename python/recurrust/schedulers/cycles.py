"""Schedules that go up and down between two rates, and may cycle the momentum against them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from recurrust._arguments import (
    require_between,
    require_boolean,
    require_choice,
    require_integer,
    require_real,
)
from recurrust.exceptions import ConfigError, DtypeError
from recurrust.schedulers._groups import Optimizer, per_group, read_rates, require_momenta
from recurrust.schedulers.base import LRScheduler

__all__ = ["CyclicLR", "OneCycleLR"]


class _Phase(NamedTuple):
    """A part of one cycle: its last step, and what it leads from and to."""

    end: float
    # The rate is the greatest rate divided by this.
    divisors: tuple[float, float]
    # 0 stands for the greatest momentum, 1 for the least.
    momentum: tuple[float, float]


class OneCycleLR(LRScheduler):
    """Up to a high rate and down to a very low one, once (Smith and Topin 2018).

    The rates don't depend on the optimizer's. After `total_steps` steps the last one holds. It is
    made for a step per batch: `Trainer(..., schedule_every="batch")`.

    Parameters
    ----------
    optimizer : Optimizer
        Whose rate to set.
    max_lr : float or list of float
        The greatest rate, or one for each parameter group; 0 or more.
    total_steps : int, optional
        How many steps there will be, at least 1; without it `epochs` times `steps_per_epoch`.
    epochs, steps_per_epoch : int, optional
        Another way to tell the number of steps, at least 1 each.
    pct_start : float, default 0.3
        The fraction of the steps in which the rate rises.
    anneal_strategy : {"cos", "linear"}, default "cos"
        The form of the rise and the descent.
    cycle_momentum : bool, default False
        Whether the momentum goes down while the rate goes up, and up while it goes down: the
        option "momentum" of each group, or the first of "betas".
    base_momentum, max_momentum : float or list of float, default 0.85 and 0.95
        The least and the greatest momentum.
    div_factor : float, default 25.0
        The first rate is `max_lr / div_factor`; above 0.
    final_div_factor : float, default 1e4
        The last rate is the first one divided by this; above 0.
    three_phase : bool, default False
        Whether the rate first goes down to where it began, as fast as it rose, and only then to
        the last rate.

    Raises
    ------
    ConfigError
        If an option is out of its range, the number of steps is missing, or the optimizer can't
        have such a momentum.
    DtypeError
        If an option is no number, or no integer where one is needed.

    References
    ----------
    L. Smith and N. Topin: Super-convergence: very fast training of neural networks using large
    learning rates. arXiv:1708.07120, 2018.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | Sequence[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: Literal["cos", "linear"] = "cos",
        cycle_momentum: bool = False,
        base_momentum: float | Sequence[float] = 0.85,
        max_momentum: float | Sequence[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
    ) -> None:
        groups = len(read_rates(optimizer))
        self.max_lr = per_group("max_lr", max_lr, groups)
        self.total_steps = _total_steps(total_steps, epochs, steps_per_epoch)
        self.pct_start = require_between("pct_start", pct_start, 0, 1)
        self.anneal_strategy = require_choice("anneal_strategy", anneal_strategy, ("cos", "linear"))
        self.cycle_momentum = require_boolean("cycle_momentum", cycle_momentum)
        self.base_momentum = per_group("base_momentum", base_momentum, groups)
        self.max_momentum = per_group("max_momentum", max_momentum, groups)
        self.div_factor = _divisor("div_factor", div_factor)
        self.final_div_factor = _divisor("final_div_factor", final_div_factor)
        self.three_phase = require_boolean("three_phase", three_phase)
        if self.cycle_momentum:
            require_momenta(optimizer, self.base_momentum, self.max_momentum)
        super().__init__(optimizer)

    def _rates(self) -> list[float]:
        phase, done = self._place()
        first, last = phase.divisors
        return [self._between(rate / first, rate / last, done) for rate in self.max_lr]

    def _momenta(self) -> list[float] | None:
        if not self.cycle_momentum:
            return None
        phase, done = self._place()
        share = self._between(*phase.momentum, done)
        return [
            high - share * (high - low)
            for low, high in zip(self.base_momentum, self.max_momentum, strict=True)
        ]

    def _phases(self) -> list[_Phase]:
        first, last = self.div_factor, self.div_factor * self.final_div_factor
        rising, end = self.pct_start * self.total_steps, self.total_steps - 1
        rise = _Phase(rising - 1, (first, 1.0), (0.0, 1.0))
        if not self.three_phase:
            return [rise, _Phase(end, (1.0, last), (1.0, 0.0))]
        return [
            rise,
            _Phase(2 * rising - 2, (1.0, first), (1.0, 0.0)),
            _Phase(end, (first, last), (0.0, 0.0)),
        ]

    def _place(self) -> tuple[_Phase, float]:
        """Return the present phase, and which fraction of it is done."""
        step = min(self.step_count, self.total_steps - 1)
        start = 0.0
        *earlier, phase = self._phases()
        for candidate in earlier:
            if step <= candidate.end:
                phase = candidate
                break
            start = candidate.end
        # A phase without any length is over at once.
        return phase, (step - start) / (phase.end - start) if phase.end > start else 1.0

    def _between(self, first: float, last: float, done: float) -> float:
        if self.anneal_strategy == "cos":
            done = (1 - math.cos(math.pi * done)) / 2
        return first * (1 - done) + last * done


class CyclicLR(LRScheduler):
    """Up and down between two rates, again and again (Smith 2017).

    The rates don't depend on the optimizer's. It is made for a step per batch:
    `Trainer(..., schedule_every="batch")`.

    Parameters
    ----------
    optimizer : Optimizer
        Whose rate to set.
    base_lr, max_lr : float or list of float
        The two rates, or one for each parameter group; 0 or more.
    step_size_up : int, default 2000
        How many steps each rise takes, at least 1.
    step_size_down : int, optional
        How many steps each descent takes, at least 1; by default as many as the rise.
    mode : {"triangular", "triangular2", "exp_range"}, default "triangular"
        All cycles alike; each half as high as the one before; or height times `gamma` to the
        power of the steps taken.
    gamma : float, default 1.0
        The factor of "exp_range", 0 or more.
    scale_fn : callable, optional
        Takes the place of `mode`: returns the factor of the height.
    scale_mode : {"cycle", "iterations"}, default "cycle"
        Whether `scale_fn` is called with the number of the cycle, from 1, or the steps taken.
    cycle_momentum : bool, default False
        Whether the momentum goes down while the rate goes up, and up while it goes down: the
        option "momentum" of each group, or the first of "betas".
    base_momentum, max_momentum : float or list of float, default 0.8 and 0.9
        The least and the greatest momentum.

    Raises
    ------
    ConfigError
        If an option is out of its range, or the optimizer can't have such a momentum.
    DtypeError
        If an option is no number, or no integer or function where one is needed.

    References
    ----------
    L. Smith: Cyclical learning rates for training neural networks. WACV 2017.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        base_lr: float | Sequence[float],
        max_lr: float | Sequence[float],
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: Literal["triangular", "triangular2", "exp_range"] = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[int], float] | None = None,
        scale_mode: Literal["cycle", "iterations"] = "cycle",
        cycle_momentum: bool = False,
        base_momentum: float | Sequence[float] = 0.8,
        max_momentum: float | Sequence[float] = 0.9,
    ) -> None:
        groups = len(read_rates(optimizer))
        self.base_lr = per_group("base_lr", base_lr, groups)
        self.max_lr = per_group("max_lr", max_lr, groups)
        self.step_size_up = require_integer("step_size_up", step_size_up, 1)
        self.step_size_down = self.step_size_up
        if step_size_down is not None:
            self.step_size_down = require_integer("step_size_down", step_size_down, 1)
        self.mode = require_choice("mode", mode, ("triangular", "triangular2", "exp_range"))
        self.gamma = require_between("gamma", gamma, 0)
        if scale_fn is not None and not callable(scale_fn):
            raise DtypeError(f"scale_fn must be a function or None, got {scale_fn!r:.80}")
        self.scale_fn = scale_fn
        self.scale_mode = require_choice("scale_mode", scale_mode, ("cycle", "iterations"))
        self.cycle_momentum = require_boolean("cycle_momentum", cycle_momentum)
        self.base_momentum = per_group("base_momentum", base_momentum, groups)
        self.max_momentum = per_group("max_momentum", max_momentum, groups)
        if self.cycle_momentum:
            require_momenta(optimizer, self.base_momentum, self.max_momentum)
        super().__init__(optimizer)

    def _rates(self) -> list[float]:
        height = self._height()
        return [
            low + (high - low) * height for low, high in zip(self.base_lr, self.max_lr, strict=True)
        ]

    def _momenta(self) -> list[float] | None:
        if not self.cycle_momentum:
            return None
        height = self._height()
        return [
            high - (high - low) * height
            for low, high in zip(self.base_momentum, self.max_momentum, strict=True)
        ]

    def _height(self) -> float:
        """Return where the rate is between the two: 0 at the base, 1 at a full peak."""
        length = self.step_size_up + self.step_size_down
        cycle, place = divmod(self.step_count, length)
        if place <= self.step_size_up:
            return place / self.step_size_up * self._scale(cycle)
        return (length - place) / self.step_size_down * self._scale(cycle)

    def _scale(self, cycle: int) -> float:
        if self.scale_fn is not None:
            count = cycle + 1 if self.scale_mode == "cycle" else self.step_count
            return require_real("what scale_fn returns", self.scale_fn(count))
        if self.mode == "triangular2":
            return 0.5**cycle
        return self.gamma**self.step_count if self.mode == "exp_range" else 1.0


def _total_steps(total_steps: int | None, epochs: int | None, steps_per_epoch: int | None) -> int:
    if total_steps is not None:
        return require_integer("total_steps", total_steps, 1)
    if epochs is None or steps_per_epoch is None:
        raise ConfigError("OneCycleLR needs total_steps, or both epochs and steps_per_epoch")
    return require_integer("epochs", epochs, 1) * require_integer(
        "steps_per_epoch", steps_per_epoch, 1
    )


def _divisor(name: str, value: float) -> float:
    number = require_between(name, value, 0)
    if number == 0:
        raise ConfigError(f"{name} must be above 0, got {value}")
    return number
