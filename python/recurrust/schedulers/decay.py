"""Schedules that multiply the base rate by a factor."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable

from recurrust._arguments import require_between, require_integer, require_list
from recurrust.exceptions import DtypeError
from recurrust.schedulers._groups import Optimizer
from recurrust.schedulers.base import LRScheduler

__all__ = [
    "ConstantLR",
    "ExponentialLR",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "PolynomialLR",
    "StepLR",
]


class LambdaLR(LRScheduler):
    """A factor of your own.

    Parameters
    ----------
    optimizer : Optimizer
        Whose rate to set.
    lr_lambda : callable
        Returns the factor of the base rate, from the number of steps taken. A schedule with a
        lambda can't be pickled; one with a function of a module can.

    Raises
    ------
    DtypeError
        If `lr_lambda` can't be called, or returns no number.
    """

    def __init__(self, optimizer: Optimizer, lr_lambda: Callable[[int], float]) -> None:
        if not callable(lr_lambda):
            raise DtypeError(f"lr_lambda must be a function of the step, got {lr_lambda!r:.80}")
        self.lr_lambda = lr_lambda
        super().__init__(optimizer)

    def rate(self, step: int, base_lr: float) -> float:
        """Return the base rate times the factor."""
        return base_lr * require_between("what lr_lambda returns", self.lr_lambda(step), 0)


class ConstantLR(LRScheduler):
    """A constant factor for a number of steps, then the base rate (Goyal et al. 2017).

    Parameters
    ----------
    optimizer : Optimizer
        Whose rate to set.
    factor : float, default 1/3
        The factor of the first steps, 0 or more.
    total_iters : int, default 5
        How many steps it holds, at least 1.

    Raises
    ------
    ConfigError
        If an option is out of its range.
    DtypeError
        If an option is no number, or no integer where one is needed.

    References
    ----------
    P. Goyal et al.: Accurate, large minibatch SGD: training ImageNet in 1 hour.
    arXiv:1706.02677, 2017 (constant warmup).
    """

    def __init__(self, optimizer: Optimizer, factor: float = 1 / 3, total_iters: int = 5) -> None:
        self.factor = require_between("factor", factor, 0)
        self.total_iters = require_integer("total_iters", total_iters, 1)
        super().__init__(optimizer)

    def rate(self, step: int, base_lr: float) -> float:
        """Return the rate after a number of steps."""
        return base_lr * self.factor if step < self.total_iters else base_lr


class StepLR(LRScheduler):
    """Multiply the rate by a factor every so many steps (e.g. Szegedy et al. 2015).

    Parameters
    ----------
    optimizer : Optimizer
        Whose rate to set.
    step_size : int
        After how many steps the rate changes, at least 1.
    gamma : float, default 0.1
        The factor, 0 or more.

    Raises
    ------
    ConfigError
        If an option is out of its range.
    DtypeError
        If an option is no number, or no integer where one is needed.

    References
    ----------
    C. Szegedy et al.: Going deeper with convolutions. CVPR 2015 (4 % less every 8 epochs).
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        self.step_size = require_integer("step_size", step_size, 1)
        self.gamma = require_between("gamma", gamma, 0)
        super().__init__(optimizer)

    def rate(self, step: int, base_lr: float) -> float:
        """Return the rate after a number of steps."""
        return base_lr * self.gamma ** (step // self.step_size)


class MultiStepLR(LRScheduler):
    """Multiply the rate by a factor at each milestone (e.g. He et al. 2016).

    Parameters
    ----------
    optimizer : Optimizer
        Whose rate to set.
    milestones : iterable of int
        After how many steps the rate changes, in any order; one that is listed twice counts twice.
    gamma : float, default 0.1
        The factor, 0 or more.

    Raises
    ------
    ConfigError
        If an option is out of its range.
    DtypeError
        If an option is no number, or no integer where one is needed.

    References
    ----------
    K. He et al.: Deep residual learning for image recognition. CVPR 2016.
    """

    def __init__(self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1) -> None:
        self.milestones = sorted(
            require_integer(f"milestones[{index}]", milestone, 0)
            for index, milestone in enumerate(require_list("milestones", milestones, "integers"))
        )
        self.gamma = require_between("gamma", gamma, 0)
        super().__init__(optimizer)

    def rate(self, step: int, base_lr: float) -> float:
        """Return the rate after a number of steps."""
        return base_lr * self.gamma ** bisect_right(self.milestones, step)


class ExponentialLR(LRScheduler):
    """Multiply the rate by a factor at every step (Senior et al. 2013).

    Parameters
    ----------
    optimizer : Optimizer
        Whose rate to set.
    gamma : float
        The factor, 0 or more.

    Raises
    ------
    ConfigError
        If `gamma` is negative or not finite.
    DtypeError
        If `gamma` is no number.

    References
    ----------
    A. Senior et al.: An empirical study of learning rates in deep neural networks for speech
    recognition. ICASSP 2013.
    """

    def __init__(self, optimizer: Optimizer, gamma: float) -> None:
        self.gamma = require_between("gamma", gamma, 0)
        super().__init__(optimizer)

    def rate(self, step: int, base_lr: float) -> float:
        """Return the rate after a number of steps."""
        return base_lr * self.gamma**step


class LinearLR(LRScheduler):
    """A factor that goes linearly from one value to another (Goyal et al. 2017).

    Parameters
    ----------
    optimizer : Optimizer
        Whose rate to set.
    start_factor, end_factor : float, default 1/3 and 1.0
        The first and the last factor, 0 or more.
    total_iters : int, default 5
        After how many steps the last factor is reached, at least 1; it holds from there on.

    Raises
    ------
    ConfigError
        If an option is out of its range.
    DtypeError
        If an option is no number, or no integer where one is needed.

    References
    ----------
    P. Goyal et al.: Accurate, large minibatch SGD: training ImageNet in 1 hour.
    arXiv:1706.02677, 2017 (gradual warmup).
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
    ) -> None:
        self.start_factor = require_between("start_factor", start_factor, 0)
        self.end_factor = require_between("end_factor", end_factor, 0)
        self.total_iters = require_integer("total_iters", total_iters, 1)
        super().__init__(optimizer)

    def rate(self, step: int, base_lr: float) -> float:
        """Return the rate after a number of steps."""
        done = min(step, self.total_iters) / self.total_iters
        return base_lr * (self.start_factor * (1 - done) + self.end_factor * done)


class PolynomialLR(LRScheduler):
    """Go down to zero as a power of the steps that are left (e.g. Chen et al. 2018).

    Parameters
    ----------
    optimizer : Optimizer
        Whose rate to set.
    total_iters : int, default 5
        After how many steps the rate is zero, at least 1; it stays so.
    power : float, default 1.0
        The exponent, 0 or more.

    Raises
    ------
    ConfigError
        If an option is out of its range.
    DtypeError
        If an option is no number, or no integer where one is needed.

    References
    ----------
    L.-C. Chen et al.: DeepLab: semantic image segmentation with deep convolutional nets, atrous
    convolution, and fully connected CRFs. TPAMI 2018 (the "poly" policy).
    """

    def __init__(self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0) -> None:
        self.total_iters = require_integer("total_iters", total_iters, 1)
        self.power = require_between("power", power, 0)
        super().__init__(optimizer)

    def rate(self, step: int, base_lr: float) -> float:
        """Return the rate after a number of steps."""
        left = 1 - min(step, self.total_iters) / self.total_iters
        factor: float = left**self.power
        return base_lr * factor
