"""What is taken off a series before a network sees it, and put back afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from recurrust.data import windows
from recurrust.exceptions import ConfigError
from recurrust.forecasting.baselines import DampedPersistence, climatology
from recurrust.forecasting.season import seasonal_means, straight_trend

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Preparation"]

# What the lines leave over is never taken as smaller than this part of the series' own spread:
# a series without noise would be divided by zero.
_LEAST_SPREAD = 1e-6


@dataclass(frozen=True)
class Preparation:
    """Seasonal means, scale and damped persistence of a training part.

    Attributes
    ----------
    season : ndarray of float64
        Shape (period,): means of the phases of the season, free of a straight trend; of shape
        (1,), the mean, for a series without season. The trend stays in the values: an unfinished
        season at the end must not bend the means.
    scale : float
        Standard deviation of the values less their seasonal means.
    lines : DampedPersistence
        Fitted to the values less their seasonal means, divided by `scale`.
    """

    season: NDArray[np.float64]
    scale: float
    lines: DampedPersistence

    @classmethod
    def measure(cls, values: NDArray[np.float64], period: int | None, horizon: int) -> Preparation:
        """Measure a training part.

        Parameters
        ----------
        values : ndarray
            Shape (steps,).
        period : int or None
            Steps in a season.
        horizon : int
            Steps to forecast.

        Raises
        ------
        ConfigError
            If the values are too large to be squared.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            season = seasonal_means(values - straight_trend(values), period or 1)
            anomalies = values - season[np.arange(len(values)) % len(season)]
            scale = float(anomalies.std())
        if not np.isfinite(scale):
            raise ConfigError("values are too large for their standard deviation to be finite")
        # Rounding leaves a constant series with a deviation of a few ulp.
        if scale <= 1e-14 * np.abs(values).max():
            scale = 1.0
        return cls(season, scale, DampedPersistence.fit(anomalies / scale, horizon))

    def scaled(self, values: NDArray[np.float64], offset: int = 0) -> NDArray[np.float64]:
        """Take season and scale off.

        Parameters
        ----------
        values : ndarray
            Shape (steps,).
        offset : int, default 0
            Steps from the start of the training part to the first of the values.
        """
        phases = (offset + np.arange(len(values))) % len(self.season)
        return (values - self.season[phases]) / self.scale

    def examples(
        self, values: NDArray[np.float64], window: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Cut the training part into inputs and targets of a network.

        Parameters
        ----------
        values : ndarray
            Shape (steps,).
        window : int
            Steps per input.

        Returns
        -------
        x : ndarray of float32
            Shape (N, window, 1): scaled values.
        y : ndarray of float32
            Shape (N, horizon): what the lines leave over of the values that follow.
        """
        x, y = windows(self.scaled(values), window, len(self.lines.slope))
        rest = (y - self.lines.predict(x[:, -1, 0])) / self._spread
        return x.astype(np.float32), rest.astype(np.float32)

    def forecasts(
        self,
        outputs: NDArray[Any],
        last: NDArray[np.float64],
        origins: NDArray[np.int64],
    ) -> NDArray[np.float64]:
        """Turn the outputs of a network into forecasts of the series.

        Parameters
        ----------
        outputs : ndarray
            Shape (N, horizon).
        last : ndarray
            Shape (N,): the scaled value before each origin.
        origins : ndarray of int
            Shape (N,): steps from the start of the training part to the first one forecast.

        Returns
        -------
        ndarray
            Shape (N, horizon).
        """
        horizon = outputs.shape[1]
        scaled = self.lines.predict(last) + outputs * self._spread
        return scaled * self.scale + climatology(self.season, origins, horizon)

    def to_json(self) -> dict[str, Any]:
        """Return everything as numbers and lists."""
        lines = {name: array.tolist() for name, array in asdict(self.lines).items()}
        return {"season": self.season.tolist(), "scale": self.scale, "lines": lines}

    @classmethod
    def from_json(cls, mapping: Mapping[str, Any]) -> Preparation:
        """Return what `to_json` described."""
        lines = {name: np.array(values, float) for name, values in mapping["lines"].items()}
        return cls(
            np.array(mapping["season"], float), float(mapping["scale"]), DampedPersistence(**lines)
        )

    @property
    def _spread(self) -> NDArray[np.float64]:
        return np.maximum(self.lines.spread, _LEAST_SPREAD)
