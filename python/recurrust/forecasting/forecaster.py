"""A long short-term memory network that forecasts several steps of a series at once."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recurrust import _core
from recurrust._arguments import require_integer, require_real, require_seed
from recurrust.callbacks import EarlyStopping
from recurrust.data import check_finite
from recurrust.exceptions import (
    ConfigError,
    DtypeError,
    FileFormatError,
    ShapeError,
    StateError,
)
from recurrust.forecasting.preparation import Preparation
from recurrust.sequential import Sequential
from recurrust.serialization import load, save
from recurrust.trainer import Trainer

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from recurrust.callbacks import Callback
    from recurrust.history import History
    from recurrust.sequential import Layer

__all__ = ["Forecaster"]

# With fewer examples than this there is nothing to learn from.
_LEAST_WINDOWS = 8

# More than anyone has steps, epochs or units; what is computed from such numbers stays exact.
_MOST = 2**31 - 1
_MOST_LAYERS = 100

_FORMAT = "recurrust-forecaster-1"
_OPTIONS = (
    "horizon",
    "window",
    "hidden_size",
    "num_layers",
    "dropout",
    "period",
    "epochs",
    "patience",
    "learning_rate",
    "weight_decay",
    "batch_size",
    "validation_fraction",
    "seed",
)


class Forecaster:
    """Forecasts the next steps of a series with an LSTM.

    The series is prepared in three steps, all measured on the values that `fit` is given: the
    seasonal means are taken off, what is left is scaled to mean 0 and standard deviation 1, and
    for each step ahead the best straight line in the last value (damped persistence) is taken as
    the starting point. The network looks at `window` steps and learns what the lines leave over,
    for all `horizon` steps at once (direct forecasts), each in units of its own standard
    deviation. Its head starts at zero, so that it departs from the lines only where the data ask
    for it. A linear path beside the network is also the idea of LSTNet (Lai et al. 2018,
    https://arxiv.org/abs/1703.07015).

    Training takes two runs: one that stops early on a validation tail and so finds the number of
    epochs, and one of that many epochs on everything.

    Parameters
    ----------
    horizon : int, default 12
        Steps to forecast, at least 1; may be greater than `window`.
    window : int, default 12
        Steps to look back on, at least 1.
    hidden_size : int, default 16
        Units of each LSTM layer.
    num_layers : int, default 1
        LSTM layers, one on the other; at most 100.
    dropout : float, default 0.2
        Dropout in [0, 1) after each LSTM layer.
    period : int, optional
        Steps in a season, at least 2, whose means are taken off. By default none.
    epochs : int, default 200
        The most epochs to train.
    patience : int, default 50
        Stop after this many epochs without improvement on the validation tail.
    learning_rate : float, default 0.003
        Step size of AdamW (Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101).
    weight_decay : float, default 1.0
        Each step shrinks all weights by this times the learning rate. The default is strong,
        for short and noisy series; a long series with little noise may be learned better with
        less, down to 0.
    batch_size : int, default 16
        Windows per step of AdamW.
    validation_fraction : float, default 0.2
        The last part of what `fit` is given, in (0, 1), used to find the number of epochs;
        at least `horizon` steps are taken.
    seed : int, default 0
        Governs initial weights, shuffling and dropout: the same seed gives the same forecasts.

    Attributes
    ----------
    network : Sequential or None
        The network, after `fit`: it takes windows of shape (N, window, 1).
    history : History or None
        The record of the run that found the number of epochs, after `fit`.
    best_epoch : int or None
        That number, after `fit`.

    Raises
    ------
    ConfigError
        If an option has a value that it can't have.
    DtypeError
        If an option is no integer or number where one is needed.

    Examples
    --------
    >>> import numpy as np
    >>> steps = np.arange(200)
    >>> series = 10 + 0.1 * steps + np.sin(2 * np.pi * steps / 12)
    >>> forecaster = Forecaster(horizon=3, period=12, epochs=2).fit(series)
    >>> forecaster.forecast(series).round(1)
    array([29.1, 29.1, 29.3])
    """

    def __init__(
        self,
        horizon: int = 12,
        *,
        window: int = 12,
        hidden_size: int = 16,
        num_layers: int = 1,
        dropout: float = 0.2,
        period: int | None = None,
        epochs: int = 200,
        patience: int = 50,
        learning_rate: float = 3e-3,
        weight_decay: float = 1.0,
        batch_size: int = 16,
        validation_fraction: float = 0.2,
        seed: int = 0,
    ) -> None:
        self.horizon = require_integer("horizon", horizon, 1, _MOST)
        self.window = require_integer("window", window, 1, _MOST)
        self.hidden_size = require_integer("hidden_size", hidden_size, 1, _MOST)
        self.num_layers = require_integer("num_layers", num_layers, 1, _MOST_LAYERS)
        self.period = None if period is None else require_integer("period", period, 2, _MOST)
        self.epochs = require_integer("epochs", epochs, 1, _MOST)
        self.patience = require_integer("patience", patience, 1, _MOST)
        self.batch_size = require_integer("batch_size", batch_size, 1, _MOST)
        self.seed = require_seed(seed)
        self.dropout = require_real("dropout", dropout)
        self.learning_rate = require_real("learning_rate", learning_rate)
        self.weight_decay = require_real("weight_decay", weight_decay)
        self.validation_fraction = require_real("validation_fraction", validation_fraction)
        if not 0 <= dropout < 1:
            raise ConfigError(f"dropout must be in [0, 1), got {dropout}")
        if not 0 < learning_rate < math.inf:
            raise ConfigError(f"learning_rate must be positive and finite, got {learning_rate}")
        if not 0 <= weight_decay < math.inf:
            raise ConfigError(f"weight_decay must be finite and not negative, got {weight_decay}")
        if not 0 < validation_fraction < 1:
            raise ConfigError(f"validation_fraction must be in (0, 1), got {validation_fraction}")
        self.network: Sequential | None = None
        self.history: History | None = None
        self.best_epoch: int | None = None
        self._preparation: Preparation | None = None

    @property
    def least_steps(self) -> int:
        """How many steps `fit` needs at least."""
        examples = self.window + self.horizon + _LEAST_WINDOWS - 1
        return smallest_count(
            lambda steps: (
                steps >= 2 * (self.period or 0) and steps - self._validation_size(steps) >= examples
            )
        )

    def fit(self, values: ArrayLike, *, callbacks: Iterable[Callback] = ()) -> Forecaster:
        """Learn from a series.

        Parameters
        ----------
        values : array_like
            Shape (steps,), oldest first, evenly spaced, all finite.
        callbacks : iterable of Callback
            What to call in both training runs, e.g. a `ProgressBar`.

        Returns
        -------
        Forecaster
            This forecaster.

        Raises
        ------
        ShapeError
            If there are too few steps (see `least_steps`) or more than one axis.
        DtypeError
            If the values are not real numbers.
        NonFiniteError
            If a value is NaN or infinite; or if training comes upon a loss that is.
        """
        series = _as_series(values)
        if len(series) < self.least_steps:
            raise ShapeError(
                f"values has {len(series)} steps, but window={self.window}, "
                f"horizon={self.horizon} and period={self.period} need at least "
                f"{self.least_steps}"
            )
        preparation = Preparation.measure(series, self.period, self.horizon)
        x, y = preparation.examples(series, self.window)
        # No target of training lies in the validation tail; the windows of the tail's targets
        # reach back before it.
        last = len(x) - self._validation_size(len(series))
        tail = slice(last + self.horizon - 1, None)
        callbacks = tuple(callbacks)
        random_state = _core.get_rng_state()
        try:
            early = EarlyStopping(patience=self.patience)
            _, history = self._train(
                x[:last], y[:last], self.epochs, (*callbacks, early), (x[tail], y[tail])
            )
            best_epoch = early.best_epoch or 1
            network, _ = self._train(x, y, best_epoch, callbacks)
        finally:
            _core.set_rng_state(random_state)
        self.network, self.history, self.best_epoch = network, history, best_epoch
        self._preparation = preparation
        return self

    def predict(
        self, values: ArrayLike, origins: ArrayLike, *, offset: int = 0
    ) -> NDArray[np.float64]:
        """Forecast from several points of a series.

        Parameters
        ----------
        values : array_like
            Shape (steps,).
        origins : array_like of int
            Shape (N,): for each forecast the index of its first step, from `window` up to the
            number of steps (which is the step after the end). Only values before it are used.
        offset : int, default 0
            Steps from the first value given to `fit` to the first one of `values`, so that the
            season fits.

        Returns
        -------
        ndarray of float64
            Shape (N, horizon).

        Raises
        ------
        StateError
            If the forecaster has not been fitted.
        ShapeError
            If `values` or `origins` has not one axis.
        ConfigError
            If an origin is out of range.
        DtypeError
            If the values are not real numbers.
        NonFiniteError
            If a value is NaN or infinite.
        """
        if self.network is None or self._preparation is None:
            raise StateError("this Forecaster has not been fitted: call fit first")
        series = _as_series(values)
        starts = np.asarray(origins, dtype=np.int64)
        if starts.ndim != 1:
            raise ShapeError(f"origins must have shape (N,), got shape {starts.shape}")
        outside = (starts < self.window) | (starts > len(series))
        if outside.any():
            raise ConfigError(
                f"origins must be between window={self.window} and the number of steps, "
                f"{len(series)}; got {starts[outside][0]}"
            )
        if not len(starts):
            return np.empty((0, self.horizon))
        scaled = self._preparation.scaled(series, offset)
        x = scaled[starts[:, np.newaxis] + np.arange(-self.window, 0)]
        outputs = self.network(x[:, :, np.newaxis].astype(np.float32))
        return self._preparation.forecasts(outputs, x[:, -1], offset + starts)

    def forecast(self, values: ArrayLike, *, offset: int = 0) -> NDArray[np.float64]:
        """Forecast the steps after the end of a series.

        Parameters
        ----------
        values : array_like
            Shape (steps,), at least `window` of them.
        offset : int, default 0
            As for `predict`.

        Returns
        -------
        ndarray of float64
            Shape (horizon,).

        Raises
        ------
        StateError, ShapeError, ConfigError, DtypeError, NonFiniteError
            As for `predict`.
        """
        forecast: NDArray[np.float64] = self.predict(values, [np.size(values)], offset=offset)[0]
        return forecast

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the forecaster to a file, and what surrounds the network to another beside it.

        Parameters
        ----------
        path : path-like
            The file of the network, in the format of `recurrust.save`.

        Returns
        -------
        Path
            The second file: JSON, of the same name but for its ending, ``.json``. It holds the
            options, the seasonal means, the scale and the lines.

        Raises
        ------
        StateError
            If the forecaster has not been fitted.
        ConfigError
            If `path` ends in ``.json``.
        OSError
            If a file can't be written.
        """
        if self.network is None or self._preparation is None:
            raise StateError("this Forecaster has not been fitted: call fit first")
        beside = Path(path).with_suffix(".json")
        if beside == Path(path):
            raise ConfigError(f"path must not end in .json, which the second file does: {path}")
        described = {
            "format": _FORMAT,
            "options": {name: getattr(self, name) for name in _OPTIONS},
            "best_epoch": self.best_epoch,
            "preparation": self._preparation.to_json(),
        }
        save(self.network, path)
        beside.write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
        return beside

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Forecaster:
        """Read a forecaster that `save` wrote.

        Parameters
        ----------
        path : path-like
            The file of the network; the JSON file must lie beside it.

        Returns
        -------
        Forecaster
            As it was saved, but without `history`.

        Raises
        ------
        FileFormatError
            If a file is damaged or not one of a forecaster, or the two don't belong together.
        OSError
            If a file can't be read.
        """
        network = load(path)
        beside = Path(path).with_suffix(".json")
        try:
            described = json.loads(beside.read_text(encoding="utf-8"))
            if described["format"] != _FORMAT:
                raise ValueError(f"unknown format {described['format']!r}")
            forecaster = cls(**described["options"])
            forecaster.best_epoch = int(described["best_epoch"])
            preparation = Preparation.from_json(described["preparation"])
            if len(preparation.lines.slope) != forecaster.horizon:
                raise ValueError(
                    f"preparation is for {len(preparation.lines.slope)} steps, but horizon="
                    f"{forecaster.horizon}"
                )
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise FileFormatError(f"{beside} does not describe a forecaster: {error}") from error
        forecaster._require_own(network, path, beside)
        forecaster.network, forecaster._preparation = network, preparation
        return forecaster

    def _require_own(self, network: Any, path: str | os.PathLike[str], beside: Path) -> None:
        """Raise unless a network is one that `_build` could have built."""
        layers = list(network) if isinstance(network, Sequential) else []
        kinds = [type(layer) for layer in layers]
        pairs = max(len(kinds) // 2, 1)
        if kinds != [*[_core.LSTM, _core.Dropout] * pairs, _core.Linear]:
            raise FileFormatError(f"{os.fspath(path)} does not hold the network of a forecaster")
        for name, found in (
            ("num_layers", pairs),
            ("hidden_size", layers[0].hidden_size),
            ("horizon", layers[-1].out_features),
        ):
            if found != getattr(self, name):
                raise FileFormatError(
                    f"{beside} has {name}={getattr(self, name)}, but the network in "
                    f"{os.fspath(path)} has {found}; the two files don't belong together"
                )

    def _validation_size(self, steps: int) -> int:
        return max(int(steps * self.validation_fraction), self.horizon)

    def _build(self) -> Sequential:
        layers: list[Layer] = []
        for index in range(self.num_layers):
            layers += [
                _core.LSTM(
                    1 if index == 0 else self.hidden_size,
                    self.hidden_size,
                    batch_first=True,
                    return_sequences=index < self.num_layers - 1,
                    seed=(self.seed + index) % 2**64,
                ),
                _core.Dropout(self.dropout),
            ]
        head = _core.Linear(self.hidden_size, self.horizon, seed=self.seed)
        for parameter in head.parameters():
            parameter.assign(np.zeros(parameter.shape, np.float32))
        return Sequential(*layers, head)

    def _train(
        self,
        x: NDArray[np.float32],
        y: NDArray[np.float32],
        epochs: int,
        callbacks: Iterable[Callback],
        validation: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None,
    ) -> tuple[Sequential, History]:
        """Train a new network; dropout follows from the seed alone."""
        network = self._build()
        _core.manual_seed(self.seed)
        optimizer = _core.AdamW(
            network.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay
        )
        trainer = Trainer(network, _core.MSELoss(), optimizer, callbacks=callbacks, seed=self.seed)
        history = trainer.fit(
            x,
            y,
            epochs=epochs,
            batch_size=self.batch_size,
            validation_data=validation,
            verbose=0,
        )
        if trainer.interrupted:  # the other run must not begin
            raise KeyboardInterrupt
        return network.eval(), history


def smallest_count(enough: Callable[[int], bool]) -> int:
    """Return the smallest number that is enough, where all greater ones are; not for users."""
    bound = 1
    while not enough(bound):
        bound *= 2
    too_few = bound // 2
    while bound - too_few > 1:
        middle = (too_few + bound) // 2
        too_few, bound = (too_few, middle) if enough(middle) else (middle, bound)
    return bound


def _as_series(values: ArrayLike) -> NDArray[np.float64]:
    series = np.asarray(values)
    if series.dtype.kind not in "fiub":
        raise DtypeError(f"values must hold real numbers, got dtype {series.dtype}")
    if series.ndim != 1:
        raise ShapeError(f"values must have shape (steps,), got shape {series.shape}")
    check_finite(series, "values")
    return series.astype(np.float64, copy=False)
