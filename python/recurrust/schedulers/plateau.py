"""The schedule that looks at what the training achieves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from recurrust._arguments import require_between, require_choice, require_integer, require_real
from recurrust.exceptions import ConfigError
from recurrust.schedulers._groups import Optimizer, per_group, read_rates
from recurrust.schedulers.base import LRScheduler

__all__ = ["ReduceLROnPlateau"]


class ReduceLROnPlateau(LRScheduler):
    """Multiply the rate by a factor when a metric no longer improves (Krizhevsky et al. 2012).

    The rate is reduced at the step after `patience` steps in a row without improvement. NaN or an
    infinity is never an improvement. `Trainer` hands in the validation loss, or the loss without
    validation data.

    Parameters
    ----------
    optimizer : Optimizer
        Whose rate to set.
    mode : {"min", "max"}, default "min"
        Whether smaller or greater metrics are better.
    factor : float, default 0.1
        The factor, from 0 to below 1.
    patience : int, default 10
        How many steps in a row may bring no improvement, 0 or more.
    threshold : float, default 1e-4
        By how much a metric must beat the best one to count as an improvement, 0 or more.
    threshold_mode : {"rel", "abs"}, default "rel"
        Whether the threshold is a fraction of the best metric's magnitude, or a difference.
    cooldown : int, default 0
        For how many steps after a reduction failures aren't counted, 0 or more. Improvements are
        noted all the time.
    min_lr : float or list of float, default 0.0
        The lowest rate, or one for each parameter group; 0 or more.
    eps : float, default 1e-8
        A reduction by no more than this is left out; 0 or more.

    Attributes
    ----------
    best : float or None
        The best metric so far.
    num_bad_epochs : int
        How many steps in a row brought no improvement.
    cooldown_counter : int
        For how many further steps failures won't be counted.

    Raises
    ------
    ConfigError
        If an option is out of its range.
    DtypeError
        If an option is no number, or no integer where one is needed; in `step`, if `metric` is no
        number.

    Notes
    -----
    Where the best metric is negative (the likelihood of a density can make it so), a relative
    threshold asks for an improvement by that fraction of its magnitude; PyTorch would take a
    small setback for one.

    References
    ----------
    A. Krizhevsky, I. Sutskever and G. Hinton: ImageNet classification with deep convolutional
    neural networks. NeurIPS 2012 (done by hand there).
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: Literal["min", "max"] = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: Literal["rel", "abs"] = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0.0,
        eps: float = 1e-8,
    ) -> None:
        self.mode = require_choice("mode", mode, ("min", "max"))
        self.factor = require_between("factor", factor, 0)
        if self.factor >= 1:
            raise ConfigError(f"factor must be below 1, got {factor}")
        self.patience = require_integer("patience", patience, 0)
        self.threshold = require_between("threshold", threshold, 0)
        self.threshold_mode = require_choice("threshold_mode", threshold_mode, ("rel", "abs"))
        self.cooldown = require_integer("cooldown", cooldown, 0)
        self.min_lr = per_group("min_lr", min_lr, len(read_rates(optimizer)))
        self.eps = require_between("eps", eps, 0)
        self.best: float | None = None
        self.num_bad_epochs = 0
        self.cooldown_counter = 0
        super().__init__(optimizer)

    def state_dict(self) -> dict[str, Any]:
        """Return all that changes from step to step, and the base rates, as plain numbers."""
        return {
            **super().state_dict(),
            "lrs": list(self._lrs),
            "best": self.best,
            "num_bad_epochs": self.num_bad_epochs,
            "cooldown_counter": self.cooldown_counter,
        }

    def _set_base(self, base_lrs: list[float]) -> None:
        super()._set_base(base_lrs)
        self._lrs = list(base_lrs)

    def _advance(self, metric: float | None) -> None:
        metric = require_real("metric", metric)
        super()._advance(metric)
        if self._improves(metric):
            self.best = metric
            self.num_bad_epochs = 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self._lrs = [
                self._reduced(rate, least)
                for rate, least in zip(self._lrs, self.min_lr, strict=True)
            ]
            self.cooldown_counter = self.cooldown
            self.num_bad_epochs = 0

    def _rates(self) -> list[float]:
        return self._lrs

    def _improves(self, metric: float) -> bool:
        if not math.isfinite(metric):
            return False
        if self.best is None:
            return True
        margin = self.threshold * (abs(self.best) if self.threshold_mode == "rel" else 1.0)
        if self.mode == "min":
            return metric < self.best - margin
        return metric > self.best + margin

    def _reduced(self, rate: float, least: float) -> float:
        reduced = max(rate * self.factor, least)
        return reduced if rate - reduced > self.eps else rate

    def _load(self, state: Mapping[str, Any]) -> None:
        super()._load(state)
        self._lrs = per_group("state['lrs']", state["lrs"], len(self.base_lrs))
        best = state["best"]
        self.best = None if best is None else require_between("state['best']", best, -math.inf)
        for name in ("num_bad_epochs", "cooldown_counter"):
            setattr(self, name, require_integer(f"state[{name!r}]", state[name], 0))
