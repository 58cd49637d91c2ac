"""Stopping in time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from recurrust._arguments import (
    require_boolean,
    require_choice,
    require_integer,
    require_real,
)
from recurrust.callbacks.base import PerRunCallback, require_recorded
from recurrust.exceptions import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recurrust.trainer import Trainer

__all__ = ["EarlyStopping"]


class EarlyStopping(PerRunCallback):
    """Stop when a quantity no longer improves, and bring back the best weights.

    The weights of the best epoch return at the end of `fit` however it ends: also if it was
    never stopped early, or was interrupted. The optimizer's state is left alone.

    Each `fit` counts on its own. One that goes on from a checkpoint goes on counting.

    Parameters
    ----------
    monitor : str, default "val_loss"
        Name of the quantity in the history.
    patience : int, default 10
        Stop after this many epochs in a row without improvement; at least 1.
    min_delta : float, default 0.0
        By how much a value must beat the best one to count as an improvement.
    restore_best_weights : bool, default True
        Whether the weights of the best epoch return at the end.
    mode : {"min", "max"}, default "min"
        Whether smaller or greater values are better.
    baseline : float, optional
        Only values that beat this one, by `min_delta`, start the patience anew. If no epoch
        does, training stops after `patience` epochs, with the best weights so far.
    warmup : int, default 0
        So many epochs at the start of each `fit` are not looked at: they can neither be the best
        nor use up patience.

    Attributes
    ----------
    best : float or None
        The best value of the latest run; a value that is not finite is never an improvement.
    best_epoch : int or None
        Its epoch.

    Raises
    ------
    ConfigError
        If `patience` is less than 1, `min_delta` or `warmup` negative, `min_delta` or `baseline`
        not finite, or `mode` unknown; in `fit`, if `monitor` is not among the quantities recorded.
    DtypeError
        If `patience` or `warmup` is no integer, `min_delta` or `baseline` no number, or
        `restore_best_weights` no truth value.
    """

    best: float | None
    best_epoch: int | None
    _seen: int
    _waited: int
    _weights: dict[str, NDArray[Any]] | None

    def __init__(
        self,
        monitor: str = "val_loss",
        patience: int = 10,
        min_delta: float = 0.0,
        restore_best_weights: bool = True,
        *,
        mode: Literal["min", "max"] = "min",
        baseline: float | None = None,
        warmup: int = 0,
    ) -> None:
        super().__init__()
        patience = require_integer("patience", patience, 1)
        if not 0 <= require_real("min_delta", min_delta) < math.inf:
            raise ConfigError(f"min_delta must be finite and not negative, got {min_delta}")
        if baseline is not None and not math.isfinite(require_real("baseline", baseline)):
            raise ConfigError(f"baseline must be finite, got {baseline}")
        self.monitor = monitor
        self.patience = patience
        self.min_delta = min_delta
        self.restore_best_weights = require_boolean("restore_best_weights", restore_best_weights)
        self.mode = require_choice("mode", mode, ("min", "max"))
        self.baseline = baseline
        self.warmup = require_integer("warmup", warmup, 0)
        self._reset()

    def on_train_begin(self, trainer: Trainer, epochs: int) -> None:
        """Forget the previous run, and check that the quantity will be recorded."""
        require_recorded(trainer, self.monitor)
        super().on_train_begin(trainer, epochs)

    def on_epoch_end(self, trainer: Trainer, epoch: int, values: Mapping[str, float]) -> None:
        """Keep the weights of an improvement, or stop when patience is at its end."""
        self._seen += 1
        if self._seen <= self.warmup:
            return
        value = values[self.monitor]
        self._waited += 1
        if self._beats(value, self.best):
            self.best = value
            self.best_epoch = epoch
            if self.restore_best_weights:
                self._weights = trainer.network.state_dict()
            if self._beats(value, self.baseline):
                self._waited = 0
        if self._waited >= self.patience:
            trainer.stop()

    def on_train_end(self, trainer: Trainer) -> None:
        """Bring back the best weights."""
        super().on_train_end(trainer)
        weights, self._weights = self._weights, None
        if weights is not None:
            trainer.network.load_state_dict(weights)

    def state_dict(self) -> dict[str, Any]:
        """Return how far the run is, with the best weights."""
        return {
            **super().state_dict(),
            "best": self.best,
            "best_epoch": self.best_epoch,
            "seen": self._seen,
            "waited": self._waited,
            "weights": None if self._weights is None else dict(self._weights),
        }

    def _reset(self) -> None:
        self.best = self.best_epoch = None
        self._seen = self._waited = 0
        self._weights = None

    def _load(self, state: Mapping[str, Any]) -> None:
        best, best_epoch, weights = state["best"], state["best_epoch"], state["weights"]
        if best is not None:
            best = require_real("state['best']", best)
        if best_epoch is not None:
            best_epoch = require_integer("state['best_epoch']", best_epoch, 1)
        seen = require_integer("state['seen']", state["seen"], 0)
        waited = require_integer("state['waited']", state["waited"], 0)
        if weights is not None:
            weights = {name: np.array(array) for name, array in weights.items()}
        self.best, self.best_epoch = best, best_epoch
        self._seen, self._waited, self._weights = seen, waited, weights

    def _beats(self, value: float, other: float | None) -> bool:
        if not math.isfinite(value):
            return False
        if other is None:
            return True
        if self.mode == "min":
            return value < other - self.min_delta
        return value > other + self.min_delta
