"""What a training run recorded: one number per epoch and quantity."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from recurrust._figures import new_figure
from recurrust.exceptions import ConfigError

if TYPE_CHECKING:
    import os

    import matplotlib.figure
    import pandas as pd

__all__ = ["History"]

# A table of more rows than this is shortened in the middle.
_ROWS_SHOWN = 12


class History(Mapping[str, list[float]]):
    """The losses, metrics and learning rates of a training run, epoch by epoch.

    A read-only mapping from the name of a quantity ("loss", "lr", "val_loss" with validation
    data, the metrics, "skipped" where steps may be skipped) to its values in order.

    Parameters
    ----------
    names : iterable of str
        The quantities that every epoch has.

    Attributes
    ----------
    epochs : list of int
        The number of each recorded epoch. Epochs count from 1 over all calls of
        `Trainer.fit`.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.epochs: list[int] = []
        self._values: dict[str, list[float]] = {name: [] for name in names}

    def append(self, epoch: int, values: Mapping[str, float]) -> None:
        """Record one epoch.

        Parameters
        ----------
        epoch : int
            Its number.
        values : mapping of str to float
            One value for every quantity.

        Raises
        ------
        KeyError
            If a quantity is missing.
        """
        row = {name: float(values[name]) for name in self._values}
        self.epochs.append(epoch)
        for name, value in row.items():
            self._values[name].append(value)

    def __getitem__(self, name: str) -> list[float]:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def to_pandas(self) -> pd.DataFrame:
        """Return the record as a pandas data frame, indexed by epoch.

        Returns
        -------
        pandas.DataFrame
            One row per epoch, one column per quantity.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        import pandas as pd

        return pd.DataFrame(self._values, index=pd.Index(self.epochs, name="epoch"))

    def plot(self, path: str | os.PathLike[str] | None = None) -> matplotlib.figure.Figure:
        """Draw the learning curves: the losses, and below them the metrics where there are any.

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
        from matplotlib import ticker

        metrics = [
            name
            for name in self._values
            if not name.startswith("val_") and name not in ("loss", "lr", "skipped")
        ]
        panels = ["loss", *metrics]
        size = (7.0, 2.0 + 2.2 * len(panels))
        figure = new_figure(size, path)
        axes: Any = figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
        for axis, name in zip(axes, panels, strict=True):
            marker = "o" if len(self.epochs) == 1 else None
            for curve, label in ((name, "training"), (f"val_{name}", "validation")):
                if curve in self._values:
                    axis.plot(self.epochs, self._values[curve], label=label, marker=marker)
            axis.set_ylabel(name)
            axis.grid(alpha=0.3)
            axis.legend()
        losses = [value for name in ("loss", "val_loss") for value in self._values.get(name, [])]
        if losses and min(losses) > 0 and max(losses) > 20 * min(losses):
            axes[0].set_yscale("log")
        axes[-1].set_xlabel("epoch")
        axes[-1].xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
        if path is not None:
            figure.savefig(path)
        return figure

    def state_dict(self) -> dict[str, Any]:
        """Return the record as plain numbers.

        Returns
        -------
        dict
            "epochs", a list, and "values", a list by name.
        """
        return {
            "epochs": list(self.epochs),
            "values": {name: list(values) for name, values in self._values.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over the record of another history, with its quantities.

        Parameters
        ----------
        state : mapping
            From `state_dict`.

        Raises
        ------
        ConfigError
            If it is no such record; nothing has changed then.
        """
        try:
            epochs = [int(epoch) for epoch in state["epochs"]]
            values = {
                str(name): [float(value) for value in column]
                for name, column in state["values"].items()
            }
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise ConfigError(f"state is not that of a history: {error!r}") from error
        for name, column in values.items():
            if len(column) != len(epochs):
                raise ConfigError(
                    f"state has {len(epochs)} epochs, but {len(column)} values of {name!r}"
                )
        self.epochs, self._values = epochs, values

    def __repr__(self) -> str:
        header = ["epoch", *self._values]
        rows = [
            [str(epoch), *(f"{values[index]:.6g}" for values in self._values.values())]
            for index, epoch in enumerate(self.epochs)
        ]
        if len(rows) > _ROWS_SHOWN:
            half = _ROWS_SHOWN // 2
            rows = [*rows[:half], ["..."] * len(header), *rows[-half:]]
        table = [header, *rows]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        return "\n".join(
            "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
            for row in table
        )
