"""What all learning rate schedules share."""

from __future__ import annotations

import copy
import inspect
import itertools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from recurrust._arguments import require_integer
from recurrust.exceptions import ConfigError
from recurrust.schedulers import _plot
from recurrust.schedulers._groups import Optimizer, per_group, read_rates, write

if TYPE_CHECKING:
    import os

    from matplotlib.figure import Figure
    from numpy.typing import NDArray
    from typing_extensions import Self

__all__ = ["LRScheduler"]

# Numbers the schedules in the order in which they were built.
_ORDER = itertools.count()


class LRScheduler:
    """Base of the learning rate schedules; derive one of your own by defining `rate`.

    A schedule is a function of how many steps were taken and of the base rate: the rate that the
    optimizer had when the schedule was built, of each parameter group its own. The first rate
    holds from construction on. Whether a step is an epoch or a batch is up to who calls `step`;
    `Trainer` does it according to its `schedule_every`.

    The rate is the schedule's: what you set by hand lasts until its next step. An optimizer
    should have one schedule at a time; `SequentialLR` and `WarmupLR` put several together.

    Parameters
    ----------
    optimizer : Optimizer
        Whose rates to set, of each parameter group its own.

    Attributes
    ----------
    base_lrs : list of float
        The base rate of each parameter group.
    step_count : int
        How many steps were taken.

    Raises
    ------
    DtypeError
        If `optimizer` is none.

    Examples
    --------
    Options come first: the constructor of the base sets the first rate.

    >>> import numpy as np, recurrust as rr
    >>> class InverseSquareRootLR(rr.LRScheduler):
    ...     def __init__(self, optimizer, warmup_steps):
    ...         self.warmup_steps = warmup_steps
    ...         super().__init__(optimizer)
    ...
    ...     def rate(self, step, base_lr):
    ...         return base_lr / max(1, step / self.warmup_steps) ** 0.5
    >>> optimizer = rr.SGD([rr.Parameter(np.zeros(3))], lr=0.1)
    >>> scheduler = InverseSquareRootLR(optimizer, warmup_steps=2)
    >>> scheduler.preview(9).round(3).tolist()
    [0.1, 0.1, 0.1, 0.082, 0.071, 0.063, 0.058, 0.053, 0.05]
    >>> scheduler
    InverseSquareRootLR(warmup_steps=2, step_count=0)
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self.step_count = 0
        self._built = next(_ORDER)
        rates = self._starting_rates()
        self._set_base(per_group("optimizer.lr", rates, len(rates)))
        self._apply()

    def rate(self, step: int, base_lr: float) -> float:
        """Return the rate after a number of steps; what a schedule of your own defines.

        Parameters
        ----------
        step : int
            How many steps were taken; 0 for the first rate.
        base_lr : float
            The rate that the optimizer's group had when the schedule was built.

        Returns
        -------
        float
            The rate, finite and not negative.
        """
        raise NotImplementedError(f"{type(self).__name__} must define rate(step, base_lr)")

    def step(self, metric: float | None = None) -> None:
        """Go on to the next rate.

        Parameters
        ----------
        metric : float, optional
            What the training achieved; only `ReduceLROnPlateau` needs it.

        Raises
        ------
        DtypeError
            If a metric is needed and is no number.
        ConfigError
            If the next rate is negative or not finite. Nothing has changed after an error.
        """
        before = self.state_dict()
        try:
            self._advance(metric)
            self._apply()
        except BaseException:
            self._load(before)
            raise

    def state_dict(self) -> dict[str, Any]:
        """Return all that changes from step to step, and the base rates, as plain numbers.

        Returns
        -------
        dict
            What `load_state_dict` of a schedule with the same options takes.
        """
        return {"step_count": self.step_count, "base_lrs": list(self.base_lrs)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over the state of another schedule, and set the optimizer's rate accordingly.

        Parameters
        ----------
        state : mapping
            From `state_dict`.

        Raises
        ------
        ConfigError, DtypeError
            If it doesn't fit; nothing has changed then.
        """
        before = self.state_dict()
        try:
            self._load(state)
            self._apply()
        except BaseException:
            self._load(before)
            raise

    def preview(self, n: int) -> NDArray[np.float64]:
        """Return the rates of the next steps, without taking any.

        `ReduceLROnPlateau` is shown as if nothing improved from now on.

        Parameters
        ----------
        n : int
            How many rates, at least 1; the first is the present one.

        Returns
        -------
        ndarray
            Shape (n,), or (n, groups) if the optimizer has several parameter groups.

        Raises
        ------
        ConfigError
            If `n` is less than 1.
        DtypeError
            If `n` is no integer.
        """
        n = require_integer("n", n, 1)
        trial = copy.copy(self)
        rates = np.empty((n, len(self.base_lrs)))
        for index in range(n):
            if index > 0:
                trial._advance(math.nan)
            rates[index] = trial._finite_rates()
        return rates[:, 0] if len(self.base_lrs) == 1 else rates

    def plot(self, n: int, path: str | os.PathLike[str] | None = None) -> Figure | None:
        """Draw the rates of the next steps.

        Without matplotlib a plot made of characters is printed instead.

        Parameters
        ----------
        n : int
            How many, as for `preview`.
        path : path-like, optional
            Where to write the picture; its ending chooses the format.

        Returns
        -------
        matplotlib.figure.Figure or None
            The figure, known to `matplotlib.pyplot` (so that `show` shows it) unless it was
            written to a file; None without matplotlib.

        Raises
        ------
        ConfigError
            If `n` is less than 1.
        DtypeError
            If `n` is no integer.
        ImportError
            If there is a `path`, and matplotlib is not installed.
        """
        rates = self.preview(n).reshape(n, -1)
        try:
            return _plot.figure(rates, self.step_count, type(self).__name__, path)
        except ImportError:
            if path is not None:
                raise
            print(_plot.text(rates, self.step_count))
            return None

    def __copy__(self) -> Self:
        # Steps and state of its own, but of the same optimizer: also where a schedule has parts.
        return copy.deepcopy(self, {id(self.optimizer): self.optimizer})

    def __repr__(self) -> str:
        names = [*list(inspect.signature(type(self)).parameters)[1:], "step_count"]
        options = [f"{name}={getattr(self, name)!r}" for name in names if hasattr(self, name)]
        return f"{type(self).__name__}({', '.join(options)})"

    # What schedules that are more than a function of the step count override.

    def _starting_rates(self) -> list[float]:
        """Return what the base rates shall be."""
        return read_rates(self.optimizer)

    def _set_base(self, base_lrs: list[float]) -> None:
        """Take over the base rates, before the first step."""
        self.base_lrs = base_lrs

    def _advance(self, metric: float | None) -> None:
        """Take a step but for setting the rate; a metric of NaN is no improvement."""
        self.step_count += 1

    def _rates(self) -> list[float]:
        """Return the present rate of each group."""
        return [self.rate(self.step_count, base_lr) for base_lr in self.base_lrs]

    def _momenta(self) -> list[float] | None:
        """Return the present momentum of each group, or None to leave it alone."""
        return None

    def _load(self, state: Mapping[str, Any]) -> None:
        """Take over a state but for setting the rate; may leave it half done if it doesn't fit."""
        own = self.state_dict().keys()
        if not isinstance(state, Mapping) or state.keys() != own:
            got = sorted(map(str, state)) if isinstance(state, Mapping) else f"{state!r:.80}"
            raise ConfigError(f"state must be a mapping with the keys {sorted(own)}, got {got}")
        self.step_count = require_integer("state['step_count']", state["step_count"], 0)
        self.base_lrs = per_group("state['base_lrs']", state["base_lrs"], len(self.base_lrs))

    # What none overrides.

    def _apply(self) -> None:
        """Set the optimizer's rate, and momentum if it is scheduled."""
        write(self.optimizer, self._finite_rates(), self._momenta())

    def _finite_rates(self) -> list[float]:
        try:
            return self._rates()
        except OverflowError as error:
            raise ConfigError(
                f"{type(self).__name__}: the learning rate of step {self.step_count} is beyond "
                "the range of floating-point numbers"
            ) from error
