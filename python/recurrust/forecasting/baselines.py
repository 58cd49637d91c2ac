"""Simple forecasts that anything more elaborate has to be measured against.

All of them forecast from several origins at once. An origin is the index of the first value to
be forecast; only values before it are looked at. Whatever is estimated comes from a training
part that the caller chooses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from recurrust.exceptions import ShapeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "Autoregression",
    "DampedPersistence",
    "climatology",
    "persistence",
    "seasonal_naive",
]


def persistence(
    values: NDArray[np.float64], origins: NDArray[np.int64], horizon: int
) -> NDArray[np.float64]:
    """Forecast that the last value stays.

    Parameters
    ----------
    values : ndarray
        Shape (steps,).
    origins : ndarray of int
        Shape (N,), each at least 1.
    horizon : int
        Steps to forecast.

    Returns
    -------
    ndarray
        Shape (N, horizon).
    """
    return np.repeat(values[origins - 1, np.newaxis], horizon, axis=1)


def seasonal_naive(
    values: NDArray[np.float64], origins: NDArray[np.int64], horizon: int, period: int
) -> NDArray[np.float64]:
    """Forecast that the last season comes again.

    Parameters
    ----------
    values : ndarray
        Shape (steps,).
    origins : ndarray of int
        Shape (N,), each at least `period`.
    horizon : int
        Steps to forecast.
    period : int
        Steps in a season.

    Returns
    -------
    ndarray
        Shape (N, horizon).
    """
    indices = origins[:, np.newaxis] - period + np.arange(horizon) % period
    return np.take(values, indices)


def climatology(
    means: NDArray[np.float64], origins: NDArray[np.int64], horizon: int
) -> NDArray[np.float64]:
    """Forecast the mean of each step's phase of the season.

    Parameters
    ----------
    means : ndarray
        Shape (period,), as `seasonal_means` returns; of shape (1,) for a series without season.
    origins : ndarray of int
        Shape (N,).
    horizon : int
        Steps to forecast.

    Returns
    -------
    ndarray
        Shape (N, horizon).
    """
    phases = (origins[:, np.newaxis] + np.arange(horizon)) % len(means)
    return np.take(means, phases)


@dataclass(frozen=True)
class DampedPersistence:
    """Each step ahead as a straight line in the last value, by least squares.

    Far steps fall back to the mean as the memory of the last value fades; a trend goes on.

    Attributes
    ----------
    intercept, slope : ndarray of float64
        Shape (horizon,): the lines, one per step ahead.
    spread : ndarray of float64
        Shape (horizon,): standard deviation of the errors in the training part.
    """

    intercept: NDArray[np.float64]
    slope: NDArray[np.float64]
    spread: NDArray[np.float64]

    @classmethod
    def fit(cls, values: NDArray[np.float64], horizon: int) -> DampedPersistence:
        """Fit the lines.

        Parameters
        ----------
        values : ndarray
            Shape (steps,): the training part.
        horizon : int
            Steps to forecast.

        Raises
        ------
        ShapeError
            If there are fewer than `horizon + 3` values.
        """
        if len(values) < horizon + 3:
            raise ShapeError(
                f"values has {len(values)} steps, but horizon={horizon} needs at least "
                f"{horizon + 3}"
            )
        lines = np.empty((3, horizon))
        for step in range(1, horizon + 1):
            last, target = values[:-step], values[step:]
            variance = last.var()
            covariance = ((last - last.mean()) * (target - target.mean())).mean()
            slope = covariance / variance if variance > 0 else 0.0
            intercept = target.mean() - slope * last.mean()
            lines[:, step - 1] = intercept, slope, (target - intercept - slope * last).std()
        return cls(*lines)

    def predict(self, last: NDArray[np.float64]) -> NDArray[np.float64]:
        """Forecast from the last values.

        Parameters
        ----------
        last : ndarray
            Shape (N,): the value before each origin.

        Returns
        -------
        ndarray
            Shape (N, horizon).
        """
        return self.intercept + self.slope * last[:, np.newaxis]


@dataclass(frozen=True)
class Autoregression:
    """A linear autoregression by least squares, forecast step by step.

    Attributes
    ----------
    coefficients : ndarray of float64
        Shape (order,): of the values order, ..., 2, 1 steps back.
    intercept : float
        The constant.
    """

    coefficients: NDArray[np.float64]
    intercept: float

    @classmethod
    def fit(cls, values: NDArray[np.float64], order: int) -> Autoregression:
        """Fit the coefficients.

        Parameters
        ----------
        values : ndarray
            Shape (steps,): the training part.
        order : int
            How many values to look back on, at least 1.

        Raises
        ------
        ShapeError
            If there are no more than `order` values.
        """
        if len(values) <= order:
            raise ShapeError(f"values has {len(values)} steps, but order={order} needs more")
        lagged = np.lib.stride_tricks.sliding_window_view(values[:-1], order)
        design = np.column_stack([lagged, np.ones(len(lagged))])
        solution = np.linalg.lstsq(design, values[order:], rcond=None)[0]
        return cls(solution[:-1].astype(np.float64), float(solution[-1]))

    def predict(
        self, values: NDArray[np.float64], origins: NDArray[np.int64], horizon: int
    ) -> NDArray[np.float64]:
        """Forecast, each step from the values and forecasts before it.

        Parameters
        ----------
        values : ndarray
            Shape (steps,).
        origins : ndarray of int
            Shape (N,), each at least the order.
        horizon : int
            Steps to forecast.

        Returns
        -------
        ndarray
            Shape (N, horizon).
        """
        order = len(self.coefficients)
        known = np.empty((len(origins), order + horizon))
        known[:, :order] = values[origins[:, np.newaxis] + np.arange(-order, 0)]
        for step in range(horizon):
            recent = known[:, step : step + order]
            known[:, order + step] = recent @ self.coefficients + self.intercept
        return known[:, order:]
