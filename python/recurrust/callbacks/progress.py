"""Showing how a training run gets on."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from recurrust.callbacks.base import Callback

if TYPE_CHECKING:
    from recurrust.trainer import Trainer

__all__ = ["LinePrinter", "ProgressBar"]

# Within a long epoch the bar shows the latest batch about so often, in seconds.
_EVERY = 0.5


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

    In a notebook it is a widget. Needs tqdm; without it, one line is printed per epoch. `fit`
    shows one by itself unless asked not to with its `verbose`; one among the callbacks is shown
    whatever that says, and then alone.
    """

    def __init__(self) -> None:
        super().__init__()
        self._bar: Any = None
        self._shown = 0.0

    def on_train_begin(self, trainer: Trainer, epochs: int) -> None:
        """Open the bar."""
        super().on_train_begin(trainer, epochs)
        self._shown = time.monotonic()
        try:
            from tqdm.auto import tqdm
        except ImportError:
            self._bar = None
        else:
            self._bar = tqdm(total=epochs, unit="epoch")

    def on_batch_end(self, trainer: Trainer, batch: int, loss: float) -> None:
        """Show now and then that a long epoch gets on."""
        if self._bar is not None and time.monotonic() - self._shown > _EVERY:
            self._shown = time.monotonic()
            self._bar.set_postfix({"batch": batch + 1, **_texts({"loss": loss})})

    def on_epoch_end(self, trainer: Trainer, epoch: int, values: Mapping[str, float]) -> None:
        """Move the bar on."""
        if self._bar is None:
            super().on_epoch_end(trainer, epoch, values)
        else:
            self._shown = time.monotonic()
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
