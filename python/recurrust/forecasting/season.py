"""The season of a series: how long it is, and what it does on average."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from recurrust.exceptions import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["find_period", "seasonal_means"]

# A season must explain this share of the variance of values that it was not measured on.
_LEAST_SHARE = 0.1
# Multiples of a season explain as much as the season itself, but for noise.
_NEAR_BEST = 0.9


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


def find_period(values: NDArray[np.float64]) -> int | None:
    """Find the length of the season, if there is one.

    Candidates are the lags whose autocorrelation, a straight trend removed, stands out of the
    band of white noise. Each is judged by the share of the variance of the second half of the
    series that the seasonal means of the first half explain; so a cycle whose length wanders is
    no season. The shortest lag that comes near the best one is returned, if that explains at
    least a tenth.

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
    steps = np.arange(count)
    detrended = values - np.polynomial.Polynomial.fit(steps, values, 1)(steps)
    spread = detrended @ detrended
    if spread <= 1e-20 * (values @ values):
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
    """Return how much of the second half's variance the first half's season explains."""
    half = len(values) // 2
    later = values[half:]
    phases = np.arange(half, len(values)) % period
    rest = later - seasonal_means(values[:half], period)[phases]
    return float(1 - rest.var() / later.var()) if later.var() > 0 else 0.0
