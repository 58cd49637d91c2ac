"""A forecast beside the simple ones, and which is best."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from recurrust.forecasting.baselines import (
    Autoregression,
    climatology,
    persistence,
    seasonal_naive,
)
from recurrust.forecasting.evaluation import Score
from recurrust.forecasting.preparation import Preparation
from recurrust.forecasting.season import seasonal_means

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["baseline_forecasts", "comparison_table", "verdict"]


def baseline_forecasts(
    values: NDArray[np.float64],
    train_size: int,
    origins: NDArray[np.int64],
    horizon: int,
    *,
    window: int,
    period: int | None,
) -> dict[str, NDArray[np.float64]]:
    """Forecast with every baseline.

    Parameters
    ----------
    values : ndarray
        Shape (steps,): training and test part.
    train_size : int
        How many values, from the start, the baselines are fitted on.
    origins : ndarray of int
        Shape (N,): the first index of each forecast.
    horizon : int
        Steps to forecast.
    window : int
        Order of the autoregression on the plain values.
    period : int or None
        Steps in a season. "anomalies" are the values less the seasonal means of the training
        part. Without a season there are no anomalies, no seasonal naive forecast, and the
        climatology is the mean. "damped persistence" is what a `Forecaster` sets out from: its
        forecast if the network had nothing to say.

    Returns
    -------
    dict of str to ndarray
        Forecasts of shape (N, horizon) by the baseline's name.
    """
    train = values[:train_size]
    means = seasonal_means(train, period or 1)
    expected = climatology(means, origins, horizon)
    anomalies = values - means[np.arange(len(values)) % len(means)]
    second_order = Autoregression.fit(anomalies[:train_size], 2)
    plain = Autoregression.fit(train, window)
    preparation = Preparation.measure(train, period, horizon)
    last = preparation.scaled(values)[origins - 1]
    silent = np.zeros((len(origins), horizon))

    forecasts = {"persistence": persistence(values, origins, horizon)}
    if period is not None:
        forecasts["seasonal naive"] = seasonal_naive(values, origins, horizon, period)
    return forecasts | {
        "mean" if period is None else "climatology": expected,
        f"AR({window})": plain.predict(values, origins, horizon),
        "AR(2)" if period is None else "AR(2) on anomalies": expected
        + second_order.predict(anomalies, origins, horizon),
        "damped persistence": preparation.forecasts(silent, last, origins),
    }


def comparison_table(scores: Mapping[str, Score], horizon: int, unit: str = "step") -> str:
    """Lay scores out as a table, the best value of each column marked with an asterisk.

    Parameters
    ----------
    scores : mapping of str to Score
        At least one, by the name of what forecast.
    horizon : int
        Steps that were forecast.
    unit : str, default "step"
        What one step is.

    Returns
    -------
    str
        Lines without a newline at the end.
    """
    spans = _spans(horizon, unit)
    rows = {name: _columns(score)[: 2 * len(spans)] for name, score in scores.items()}
    best = [min(column) for column in zip(*rows.values(), strict=True)]
    cells = [cell for row in rows.values() for cell in row]
    form = _number_format(cells, best)
    width = max(10, *(len(f"{cell:{form}}") + 3 for cell in cells))
    name_width = max(map(len, rows))
    lines = [
        " " * name_width + "".join(f"{span:^{2 * width}}" for span in spans),
        " " * name_width + f"{'RMSE ':>{width}}{'MAE ':>{width}}" * len(spans),
    ]
    for name, row in rows.items():
        texts = (
            f"{cell:{form}}" + ("*" if cell == least else " ")
            for cell, least in zip(row, best, strict=True)
        )
        lines.append(f"{name:{name_width}}" + "".join(f"{text:>{width}}" for text in texts))
    return "\n".join(line.rstrip() for line in lines)


def verdict(scores: Mapping[str, Score], model: str, horizon: int, unit: str = "step") -> list[str]:
    """Say in words whether a model or a simple baseline is best, by RMSE.

    Parameters
    ----------
    scores : mapping of str to Score
        Those of the model and of at least one baseline.
    model : str
        The model's name among them.
    horizon : int
        Steps that were forecast.
    unit : str, default "step"
        What one step is.

    Returns
    -------
    list of str
        One sentence for one step ahead and, for a longer horizon, one for all steps.
    """
    spans = _spans(horizon, unit)
    rows = {name: _columns(score)[: 2 * len(spans) : 2] for name, score in scores.items()}
    best = [min(column) for column in zip(*rows.values(), strict=True)]
    form = _number_format((cell for row in rows.values() for cell in row), best)
    sentences = []
    for column, span in enumerate(spans):
        errors = {name: row[column] for name, row in rows.items()}
        own = errors.pop(model)
        where = span[0].upper() + span[1:]
        texts = {
            name: f"{name} {errors[name]:{form}}" for name in sorted(errors, key=errors.__getitem__)
        }
        closest = next(iter(texts))
        winners = [text for name, text in texts.items() if errors[name] < own]
        if winners:
            who = "a simple baseline wins" if len(winners) == 1 else "simple baselines win"
            sentences.append(f"{where}: {who}. RMSE of {', '.join(winners)}; {model} {own:{form}}.")
        elif errors[closest] == own:
            sentences.append(f"{where}: {closest} is as good as the {model}, RMSE {own:{form}}.")
        else:
            sentences.append(
                f"{where}: the {model} wins. RMSE of {model} {own:{form}}; "
                f"the best baseline is {texts[closest]}."
            )
    return sentences


def _spans(horizon: int, unit: str) -> list[str]:
    first = f"one {unit} ahead"
    return [first] if horizon == 1 else [first, f"{unit}s 1 to {horizon}"]


def _columns(score: Score) -> tuple[float, float, float, float]:
    return score.rmse_first, score.mae_first, score.rmse, score.mae


def _number_format(values: Iterable[float], best: Sequence[float]) -> str:
    """Return a format in which three digits of the smallest of the best values but zero show."""
    smallest = min((value for value in best if value > 0), default=1.0)
    if smallest < 1e-6 or max(values) >= 1e9:
        return ".3e"
    return f".{max(2 - math.floor(math.log10(smallest)), 0)}f"
