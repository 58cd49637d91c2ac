"""What may happen around the epochs of a training run: early stopping, progress, your own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from recurrust._arguments import require_integer, require_real
from recurrust.exceptions import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recurrust.trainer import Trainer

__all__ = ["Callback", "EarlyStopping", "LinePrinter", "ProgressBar"]


class Callback:
    """Base of what `Trainer.fit` calls while it trains; override what you need.

    `on_train_begin` is called in every `fit`, so a callback that resets itself there can be used
    again. `on_train_end` is called for every callback that has begun, however the training ends:
    also after an error or Ctrl-C.
    """

    def on_train_begin(self, trainer: Trainer, epochs: int) -> None:
        """Get ready for a run.

        Parameters
        ----------
        trainer : Trainer
            Who trains; `trainer.history` knows the names of all quantities from here on.
        epochs : int
            How many further epochs are planned.
        """

    def on_batch_end(self, trainer: Trainer, batch: int, loss: float) -> None:
        """React to a training step.

        Parameters
        ----------
        trainer : Trainer
            Who trains.
        batch : int
            The number of the batch within its epoch, from 0.
        loss : float
            Its loss before the step.
        """

    def on_epoch_end(self, trainer: Trainer, epoch: int, values: Mapping[str, float]) -> None:
        """React to an epoch; `trainer.stop()` makes it the last.

        Parameters
        ----------
        trainer : Trainer
            Who trains.
        epoch : int
            The number of the epoch, counted from 1 over all calls of `fit`.
        values : mapping of str to float
            What the history records of the epoch.
        """

    def on_train_end(self, trainer: Trainer) -> None:
        """Finish a run.

        Parameters
        ----------
        trainer : Trainer
            Who trained.
        """


class EarlyStopping(Callback):
    """Stop when a quantity no longer improves, and bring back the best weights.

    The weights of the best epoch return at the end of `fit` however it ends: also if it was
    never stopped early, or was interrupted. The optimizer's state is left alone.

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

    Attributes
    ----------
    best : float or None
        The best value of the latest run; a value that is not finite is never an improvement.
    best_epoch : int or None
        Its epoch.

    Raises
    ------
    ConfigError
        If `patience` is less than 1, `min_delta` negative or not finite, or `mode` unknown; in
        `fit`, if `monitor` is not among the quantities recorded.
    DtypeError
        If `patience` is no integer or `min_delta` no number.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        patience: int = 10,
        min_delta: float = 0.0,
        restore_best_weights: bool = True,
        *,
        mode: Literal["min", "max"] = "min",
    ) -> None:
        patience = require_integer("patience", patience, 1)
        if not 0 <= require_real("min_delta", min_delta) < math.inf:
            raise ConfigError(f"min_delta must be finite and not negative, got {min_delta}")
        if mode not in ("min", "max"):
            raise ConfigError(f'mode must be "min" or "max", got {mode!r}')
        self.monitor = monitor
        self.patience = patience
        self.min_delta = min_delta
        self.restore_best_weights = restore_best_weights
        self.mode = mode
        self.best: float | None = None
        self.best_epoch: int | None = None
        self._waited = 0
        self._weights: dict[str, NDArray[Any]] | None = None

    def on_train_begin(self, trainer: Trainer, epochs: int) -> None:
        """Forget the previous run, and check that the quantity will be recorded."""
        if self.monitor not in trainer.history:
            raise ConfigError(
                f"monitor={self.monitor!r} is not recorded; available are "
                f"{', '.join(trainer.history)}"
            )
        self.best = None
        self.best_epoch = None
        self._waited = 0
        self._weights = None

    def on_epoch_end(self, trainer: Trainer, epoch: int, values: Mapping[str, float]) -> None:
        """Keep the weights of an improvement, or stop when patience is at its end."""
        value = values[self.monitor]
        if self._improves(value):
            self.best = value
            self.best_epoch = epoch
            self._waited = 0
            if self.restore_best_weights:
                self._weights = trainer.network.state_dict()
            return
        self._waited += 1
        if self._waited >= self.patience:
            trainer.stop()

    def on_train_end(self, trainer: Trainer) -> None:
        """Bring back the best weights."""
        weights, self._weights = self._weights, None
        if weights is not None:
            trainer.network.load_state_dict(weights)

    def _improves(self, value: float) -> bool:
        if not math.isfinite(value):
            return False
        if self.best is None:
            return True
        if self.mode == "min":
            return value < self.best - self.min_delta
        return value > self.best + self.min_delta


class LinePrinter(Callback):
    """Print one line per epoch."""

    def __init__(self) -> None:
        self._last = 0

    def on_train_begin(self, trainer: Trainer, epochs: int) -> None:
        """Note which epoch will be the last."""
        self._last = trainer.epoch + epochs

    def on_epoch_end(self, trainer: Trainer, epoch: int, values: Mapping[str, float]) -> None:
        """Print the epoch's line."""
        shown = "  ".join(f"{name} {text}" for name, text in _texts(values).items())
        print(f"epoch {epoch}/{self._last}  {shown}", flush=True)


class ProgressBar(LinePrinter):
    """Show a progress bar over the epochs, with the latest losses and metrics beside it.

    Needs tqdm; without it, one line is printed per epoch.
    """

    def __init__(self) -> None:
        super().__init__()
        self._bar: Any = None

    def on_train_begin(self, trainer: Trainer, epochs: int) -> None:
        """Open the bar."""
        super().on_train_begin(trainer, epochs)
        try:
            from tqdm.auto import tqdm
        except ImportError:
            self._bar = None
        else:
            self._bar = tqdm(total=epochs, unit="epoch")

    def on_epoch_end(self, trainer: Trainer, epoch: int, values: Mapping[str, float]) -> None:
        """Move the bar on."""
        if self._bar is None:
            super().on_epoch_end(trainer, epoch, values)
        else:
            self._bar.set_postfix(_texts(values), refresh=False)
            self._bar.update()

    def on_train_end(self, trainer: Trainer) -> None:
        """Close the bar."""
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.close()


def _texts(values: Mapping[str, float]) -> dict[str, str]:
    """Return what a reader wants to see of an epoch: not the learning rate, few digits."""
    return {name: f"{value:.4g}" for name, value in values.items() if name != "lr"}
