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
    *,
    label: str | None = None,
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
    label : str, optional
        What the values are, with their unit; by default the name of the series.

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

    horizon, steps, unit = len(forecast), len(series), series.time.unit
    # A pair of dollar signs would start a formula.
    name = series.name.replace("$", r"\$")
    time = series.time.extended(horizon)
    figure = Figure(figsize=(10.0, 7.2), dpi=150, layout="constrained")
    upper, lower = figure.subplots(2)

    before = (steps - train_size) // 2
    _draw_known(upper, series, time, train_size, predictions, max(0, train_size - before))
    upper.set_title(f"{name}: the test part, predicted one {unit} ahead", loc="left")

    shown = max(0, steps - max(4 * horizon, 24))
    _draw_known(lower, series, time, train_size, predictions, shown)
    # The line starts at the last value, so that the eye sees where the forecast sets out.
    ahead = np.concatenate([series.values[-1:], forecast])
    lower.plot(
        time[steps - 1 :],
        ahead,
        color=_FORECAST,
        lw=1.5,
        marker="o",
        ms=4,
        markevery=slice(1, None),
        label="forecast",
    )
    lower.fill_between(
        time[steps:],
        forecast - rmse_by_step,
        forecast + rmse_by_step,
        color=_FORECAST,
        alpha=0.18,
        lw=0,
        label="± RMSE in the test part, as far ahead",
    )
    lower.set_title(
        f"{name}: the next {horizon} {unit}s" if horizon > 1 else f"{name}: the next {unit}",
        loc="left",
    )
    for axis in (upper, lower):
        axis.set_ylabel(name if label is None else label.replace("$", r"\$"))
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
        axis.margins(x=0.01)
    if series.time.positions is None or time.dtype.kind == "i":
        lower.set_xlabel(series.time.name.replace("$", r"\$"))
    figure.legend(
        *lower.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False
    )
    if path is not None:
        figure.savefig(path)
    return figure


def _draw_known(
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
