"""Writing down what happens in a training run."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recurrust._arguments import require_list, require_real
from recurrust.callbacks.base import Callback, PerRunCallback
from recurrust.exceptions import ConfigError, DtypeError
from recurrust.schedulers import _plot
from recurrust.schedulers._groups import read_rates

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from recurrust.trainer import Trainer

__all__ = ["CSVLogger", "LearningRateMonitor"]


class CSVLogger(Callback):
    """Write the history to a CSV file, a row after every epoch.

    The columns are "epoch" and the quantities of the history; numbers are written in full.

    A trainer that has no epochs yet starts the file anew. One that has, because it trains on or
    was loaded from a checkpoint, goes on with it: rows of epochs that are yet to come, left over
    from a program that got further before it was stopped, are dropped. Quantities that come
    anew, such as those of a first validation, get further columns, which are empty in the rows
    that have none.

    Parameters
    ----------
    path : path-like
        The file; missing folders are made.

    Raises
    ------
    DtypeError
        If `path` is no path.
    ConfigError
        In `fit`, if the file to go on with is none of this kind.
    OSError
        In `fit`, if the file can't be written; one that is there stays as it was until then.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        if not isinstance(path, str | os.PathLike):
            raise DtypeError(f"path must be a path, got {path!r:.80}")
        self.path = os.fspath(path)
        self._columns: list[str] = []
        self._written = 0

    def on_train_begin(self, trainer: Trainer, epochs: int) -> None:
        """Start the file, or make it ready to go on."""
        columns = ["epoch", *trainer.history]
        rows: list[list[str]] = []
        if trainer.epoch > 0:
            columns, rows = self._until(trainer.epoch, columns)
        Path(self.path).parent.mkdir(parents=True, exist_ok=True)
        # The rows that are there must not be lost if the process dies meanwhile.
        fresh = f"{self.path}.part"
        try:
            self._write("w", [columns, *rows], fresh)
            os.replace(fresh, self.path)
        except BaseException:
            Path(fresh).unlink(missing_ok=True)
            raise
        self._columns = columns
        self._written = int(rows[-1][0]) if rows else 0

    def on_epoch_end(self, trainer: Trainer, epoch: int, values: Mapping[str, float]) -> None:
        """Write the row of the epoch, unless it is there already."""
        if epoch <= self._written:
            return
        row = [float(values[name]) if name in values else "" for name in self._columns[1:]]
        self._write("a", [[epoch, *row]], self.path)
        self._written = epoch

    def _write(self, mode: str, rows: Iterable[Iterable[Any]], path: str) -> None:
        try:
            with open(path, mode, encoding="utf-8", newline="") as file:
                csv.writer(file, lineterminator="\n").writerows(rows)
        except OSError as error:  # of a full disk doesn't name the file
            raise OSError(error.errno, error.strerror, self.path) from error

    def _until(self, epoch: int, columns: list[str]) -> tuple[list[str], list[list[str]]]:
        """Return the columns of the file that is there and of this run, and the rows so far."""
        try:
            # What is no text shows in the columns.
            with open(self.path, encoding="utf-8", errors="replace", newline="") as file:
                rows = list(csv.reader(file))
        except FileNotFoundError:
            return columns, []
        except csv.Error as error:
            raise ConfigError(f"{self.path} is no CSV file to go on with: {error}") from error
        if not rows:
            return columns, []
        present = rows[0]
        if present[:1] != ["epoch"]:
            raise ConfigError(
                f"{self.path} has the columns {', '.join(present)[:200]}, but the first must be "
                "epoch to be gone on with: give this run a path of its own"
            )
        added = [name for name in columns if name not in present]
        so_far = [
            [*row, *("" for _ in added)]
            for row in rows[1:]
            if len(row) == len(present) and row[0].isdecimal() and int(row[0]) <= epoch
        ]
        return [*present, *added], so_far


class LearningRateMonitor(PerRunCallback):
    """Record the learning rate of every batch, for each parameter group.

    Each `fit` records on its own; one that goes on from a checkpoint goes on recording. The
    history has the rate of each epoch's first batch, which is enough for many runs.

    Attributes
    ----------
    rates : ndarray of float64
        Shape (batches, groups): the rates that the batches of the latest run were trained with.
    """

    _rates: list[list[float]]
    _present: list[float]

    def __init__(self) -> None:
        super().__init__()
        self._reset()

    @property
    def rates(self) -> NDArray[np.float64]:
        """The rates that the batches of the latest run were trained with."""
        groups = len(self._rates[0]) if self._rates else 0
        return np.array(self._rates, dtype=np.float64).reshape(len(self._rates), groups)

    def on_train_begin(self, trainer: Trainer, epochs: int) -> None:
        """Forget the previous run, and note the first rates."""
        super().on_train_begin(trainer, epochs)
        if not self._present:
            self._present = _rates_of(trainer)

    def on_batch_end(self, trainer: Trainer, batch: int, loss: float) -> None:
        """Record the rates of the batch; those that the optimizer has by now are the next's."""
        self._rates.append(self._present)
        self._present = _rates_of(trainer)

    def on_epoch_end(self, trainer: Trainer, epoch: int, values: Mapping[str, float]) -> None:
        """Note the rates that the schedule has set for the next epoch."""
        self._present = _rates_of(trainer)

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """Draw the rates over the batches.

        Parameters
        ----------
        path : path-like, optional
            Where to write the picture; its ending chooses the format.

        Returns
        -------
        matplotlib.figure.Figure
            The figure, known to `matplotlib.pyplot` (so that `show` shows it) unless it was
            written to a file.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        return _plot.figure(self.rates, 0, type(self).__name__, path)

    def state_dict(self) -> dict[str, Any]:
        """Return the rates so far, and those that come next."""
        return {**super().state_dict(), "rates": self.rates, "present": list(self._present)}

    def _reset(self) -> None:
        self._rates, self._present = [], []

    def _load(self, state: Mapping[str, Any]) -> None:
        rates = np.asarray(state["rates"])
        if rates.ndim != 2 or rates.dtype.kind != "f":
            raise ConfigError(
                "state['rates'] must be an array of floats with the shape (batches, groups), got "
                f"{rates.dtype} and {rates.shape}"
            )
        present = require_list("state['present']", state["present"], "numbers")
        self._present = [require_real("state['present']", rate) for rate in present]
        self._rates = rates.tolist()


def _rates_of(trainer: Trainer) -> list[float]:
    optimizer: Any = trainer.optimizer  # only read from, so it need not be one that can be set
    return read_rates(optimizer)
