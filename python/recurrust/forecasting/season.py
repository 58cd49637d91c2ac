"""The season of a series: how long it is, and what it does on average."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from recurrust.exceptions import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["find_period", "seasonal_means", "straight_trend"]

# A season must explain this share of the variance of values that it was not measured on.
_LEAST_SHARE = 0.1
# Multiples of a season explain as much as the season itself, but for noise.
_NEAR_BEST = 0.9
_QUARTERS = 4


def seasonal_means(values: NDArray[np.float64], period: int) -> NDArray[np.float64]:
    """Return the mean value of every phase of the season.

    Parameters
    ----------
    values : ndarray
        Shape (steps,), at least `period` of them.
    period : int
        Steps in a season, at least 1; 1 gives the mean of all values.

    Returns
    -------
    ndarray
        Shape (period,): entry p is the mean of the values p, p + period, p + 2 period, ...

    Raises
    ------
    ConfigError
        If `period` is less than 1 or there are too few values.
    """
    if not 1 <= period <= len(values):
        raise ConfigError(f"period must be between 1 and {len(values)} (the steps), got {period}")
    return np.array([values[phase::period].mean() for phase in range(period)])


def straight_trend(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the straight line through the values by least squares, less its mean.

    Parameters
    ----------
    values : ndarray
        Shape (steps,), at least one.

    Returns
    -------
    ndarray
        Shape (steps,).
    """
    steps = np.arange(len(values), dtype=np.float64) - (len(values) - 1) / 2
    slope = float(steps @ values) / max(float(steps @ steps), 1.0)
    trend: NDArray[np.float64] = slope * steps
    return trend


def find_period(values: NDArray[np.float64]) -> int | None:
    """Find the length of the season, if there is one.

    Candidates are the lags whose autocorrelation, a straight trend removed, stands out of the
    band of white noise. Each is judged by how much of the variance of a quarter of the series
    the seasonal means of the other three explain, in the worst of the four cases; so a cycle
    whose length wanders is no season. The shortest lag that comes near the best one is returned,
    if that explains at least a tenth.

    Parameters
    ----------
    values : ndarray
        Shape (steps,), in order of time.

    Returns
    -------
    int or None
        Steps in a season, at most a quarter of the series; None if there is none to be seen.
    """
    count = len(values)
    if count < 8:
        return None
    # Nothing below depends on the size of the values; so squares can't overflow.
    scaled = values / max(float(np.abs(values).max()), np.finfo(np.float64).tiny)
    detrended = scaled - scaled.mean() - straight_trend(scaled)
    spread = detrended @ detrended
    if spread <= 1e-20 * (scaled @ scaled):
        return None
    explained: dict[int, float] = {}
    for lag in range(2, count // 4 + 1):
        if detrended[:-lag] @ detrended[lag:] / spread > 2 / np.sqrt(count):
            explained[lag] = _share_explained(detrended, lag)
    best = max(explained.values(), default=0.0)
    if best < _LEAST_SHARE:
        return None
    return next(lag for lag, share in explained.items() if share >= _NEAR_BEST * best)


def _share_explained(values: NDArray[np.float64], period: int) -> float:
    """Return how much of a quarter's variance the season of the rest explains, at worst."""
    steps = np.arange(len(values))
    phases, quarters = steps % period, steps * _QUARTERS // len(values)
    shares = []
    for quarter in range(_QUARTERS):
        inside = quarters == quarter
        # No phase is missing: one piece of the rest is at least half the series, two seasons.
        counts = np.bincount(phases[~inside], minlength=period)
        means = np.bincount(phases[~inside], values[~inside], minlength=period) / counts
        variance = values[inside].var()
        rest = values[inside] - means[phases[inside]]
        shares.append(1 - rest.var() / variance if variance > 0 else 0.0)
    return float(min(shares))
