"""Drawing a series with its forecasts."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from recurrust.forecasting.series import Series

__all__ = ["plot_forecast"]

_HISTORY, _PREDICTION, _FORECAST = "#404040", "#1f77b4", "#d1495b"


def plot_forecast(
    series: Series,
    train_size: int,
    predictions: NDArray[np.float64],
    forecast: NDArray[np.float64],
    rmse_by_step: NDArray[np.float64],
    path: str | os.PathLike[str] | None = None,
) -> Figure:
    """Draw the series, the forecasts of its test part and the forecast after its end.

    The upper panel shows the test part and as much before it, the lower one the last stretch
    with the forecast.

    Parameters
    ----------
    series : Series
        What was forecast.
    train_size : int
        Steps before the test part.
    predictions : ndarray
        Shape (N,): forecasts one step ahead from the start of the test part on.
    forecast : ndarray
        Shape (horizon,): forecasts of the steps after the end.
    rmse_by_step : ndarray
        Shape (horizon,): root mean square error in the test part of each step ahead, drawn as a
        band around the forecast.
    path : path-like, optional
        Where to write the picture; its ending chooses the format.

    Returns
    -------
    matplotlib.figure.Figure
        The figure.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    from matplotlib.figure import Figure

    horizon, steps = len(forecast), len(series)
    time = series.time.extended(horizon)
    test = steps - train_size
    figure = Figure(figsize=(10.0, 7.0), dpi=150, layout="constrained")
    upper, lower = figure.subplots(2)
    figure.suptitle(f"{series.name}: forecast of {horizon} {series.time.unit}s", fontsize=14)

    _draw_test(upper, series, time, train_size, predictions, max(0, train_size - test // 2))
    upper.set_title(f"Test part: one {series.time.unit} ahead", loc="left", fontsize=11)

    shown = max(0, steps - max(4 * horizon, 24))
    _draw_test(lower, series, time, train_size, predictions, shown)
    ahead = time[steps:]
    joined = np.concatenate([series.values[-1:], forecast])
    lower.plot(time[steps - 1 :], joined, color=_FORECAST, lw=1.2)
    lower.plot(ahead, forecast, color=_FORECAST, lw=0, marker="o", ms=4, label="forecast")
    lower.fill_between(
        ahead,
        forecast - rmse_by_step,
        forecast + rmse_by_step,
        color=_FORECAST,
        alpha=0.18,
        lw=0,
        label="± RMSE of the same step ahead in the test part",
    )
    title = f"The next {horizon} {series.time.unit}s"
    lower.set_title(title, loc="left", fontsize=11)
    for axis in (upper, lower):
        axis.set_ylabel(series.name)
        axis.set_xlabel(series.time.name)
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
        axis.margins(x=0.01)
        axis.legend(loc="best", fontsize=9, frameon=False)
    if path is not None:
        figure.savefig(path)
    return figure


def _draw_test(
    axis: Any,
    series: Series,
    time: NDArray[Any],
    train_size: int,
    predictions: NDArray[np.float64],
    first: int,
) -> None:
    """Draw the series from an index on, with the predictions that fall into it."""
    steps = len(series)
    axis.plot(time[first:steps], series.values[first:], color=_HISTORY, lw=1.2, label="observed")
    start = max(first, train_size)
    end = train_size + len(predictions)
    if start < end:
        axis.plot(
            time[start:end],
            predictions[start - train_size :],
            color=_PREDICTION,
            lw=1.2,
            label=f"predicted one {series.time.unit} ahead",
        )
    if first < train_size:
        axis.axvline(time[train_size], color="#888888", lw=1, ls="--")
        axis.annotate(
            " test part",
            (time[train_size], 1),
            xycoords=("data", "axes fraction"),
            va="top",
            color="#666666",
            fontsize=9,
        )
