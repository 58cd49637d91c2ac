"""Schedules along a cosine."""

from __future__ import annotations

import math

from recurrust._arguments import require_between, require_integer
from recurrust.schedulers._groups import Optimizer
from recurrust.schedulers.base import LRScheduler

__all__ = ["CosineAnnealingLR", "CosineAnnealingWarmRestarts"]


class CosineAnnealingLR(LRScheduler):
    """Go down along half a cosine, and up again (Loshchilov and Hutter 2017, without restarts).

    The lowest rate is reached after exactly `T_max` steps. From there on the rate rises, and is
    the base rate again after twice as many: let a training run end where it is lowest.

    Parameters
    ----------
    optimizer : Optimizer
        Whose rate to set.
    T_max : int
        After how many steps the rate is lowest, at least 1.
    eta_min : float, default 0.0
        The lowest rate, 0 or more.

    Raises
    ------
    ConfigError
        If an option is out of its range.
    DtypeError
        If an option is no number, or no integer where one is needed.

    References
    ----------
    I. Loshchilov and F. Hutter: SGDR: stochastic gradient descent with warm restarts. ICLR 2017.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:
        self.T_max = require_integer("T_max", T_max, 1)
        self.eta_min = require_between("eta_min", eta_min, 0)
        super().__init__(optimizer)

    def rate(self, step: int, base_lr: float) -> float:
        """Return the rate after a number of steps."""
        return _along_cosine(base_lr, self.eta_min, step / self.T_max)


class CosineAnnealingWarmRestarts(LRScheduler):
    """Go down along half a cosine, then start again from the top (Loshchilov and Hutter 2017).

    Parameters
    ----------
    optimizer : Optimizer
        Whose rate to set.
    T_0 : int
        How many steps there are to the first restart, at least 1.
    T_mult : int, default 1
        How many times as long each round is as the one before, at least 1.
    eta_min : float, default 0.0
        What the rate goes down to, 0 or more; a restart comes just before it is reached.

    Raises
    ------
    ConfigError
        If an option is out of its range.
    DtypeError
        If an option is no number, or no integer where one is needed.

    References
    ----------
    I. Loshchilov and F. Hutter: SGDR: stochastic gradient descent with warm restarts. ICLR 2017.
    """

    def __init__(
        self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0
    ) -> None:
        self.T_0 = require_integer("T_0", T_0, 1)
        self.T_mult = require_integer("T_mult", T_mult, 1)
        self.eta_min = require_between("eta_min", eta_min, 0)
        super().__init__(optimizer)

    def rate(self, step: int, base_lr: float) -> float:
        """Return the rate after a number of steps."""
        length = self.T_0
        if self.T_mult == 1:
            step %= length
        while step >= length:
            step -= length
            length *= self.T_mult
        return _along_cosine(base_lr, self.eta_min, step / length)


def _along_cosine(high: float, low: float, done: float) -> float:
    return low + (high - low) * (1 + math.cos(math.pi * done)) / 2
