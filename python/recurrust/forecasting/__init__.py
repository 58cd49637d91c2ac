"""Forecasting a series with an LSTM, beside the simple baselines that it has to beat.

`Forecaster` learns and forecasts; `read_csv` reads a series; `baseline_forecasts`, `Score`,
`comparison_table` and `plot_forecast` show what a forecast is worth. The command
``recurrust forecast`` does all of that in one go.
"""

from __future__ import annotations

from recurrust.forecasting.comparison import baseline_forecasts, comparison_table, verdict
from recurrust.forecasting.evaluation import Score, held_out_origins, training_size
from recurrust.forecasting.forecaster import Forecaster
from recurrust.forecasting.plot import plot_forecast
from recurrust.forecasting.season import find_period, seasonal_means
from recurrust.forecasting.series import Series, read_csv
from recurrust.forecasting.time_axis import TimeAxis

__all__ = [
    "Forecaster",
    "Score",
    "Series",
    "TimeAxis",
    "baseline_forecasts",
    "comparison_table",
    "find_period",
    "held_out_origins",
    "plot_forecast",
    "read_csv",
    "seasonal_means",
    "training_size",
    "verdict",
]
