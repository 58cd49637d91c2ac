"""How good forecasts are, and which are best."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from recurrust.exceptions import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Score", "comparison_table", "held_out_origins", "training_size", "verdict"]


@dataclass(frozen=True)
class Score:
    """Errors of forecasts from many origins.

    Attributes
    ----------
    rmse, mae : float
        Root mean square error and mean absolute error over all origins and steps together.
    rmse_first, mae_first : float
        The same for one step ahead.
    rmse_by_step : ndarray of float64
        Shape (horizon,): the root mean square error of each step ahead.
    """

    rmse: float
    mae: float
    rmse_first: float
    mae_first: float
    rmse_by_step: NDArray[np.float64]

    @classmethod
    def of(cls, forecasts: NDArray[np.float64], actual: NDArray[np.float64]) -> Score:
        """Compare forecasts with what came.

        Parameters
        ----------
        forecasts, actual : ndarray
            Shape (N, horizon), N at least 1.
        """
        errors = forecasts - actual
        squares, sizes = errors**2, np.abs(errors)
        return cls(
            rmse=math.sqrt(squares.mean()),
            mae=float(sizes.mean()),
            rmse_first=math.sqrt(squares[:, 0].mean()),
            mae_first=float(sizes[:, 0].mean()),
            rmse_by_step=np.sqrt(squares.mean(axis=0)),
        )


def training_size(steps: int, test_fraction: float) -> int:
    """Return how many steps of a series come before the test part.

    Parameters
    ----------
    steps : int
        Steps of the series.
    test_fraction : float
        The test part, in (0, 1); it gets the odd step.

    Raises
    ------
    ConfigError
        If `test_fraction` is out of range.
    """
    if not 0 < test_fraction < 1:
        raise ConfigError(f"test_fraction must be in (0, 1), got {test_fraction}")
    # 10 * (1 - 0.9) is a little less than 1.
    return int(steps * (1 - test_fraction) + 1e-9)


def held_out_origins(steps: int, train_size: int, horizon: int) -> NDArray[np.int64]:
    """Return all origins whose forecasts lie wholly in the test part.

    Parameters
    ----------
    steps : int
        Steps of the series.
    train_size : int
        Steps before the test part.
    horizon : int
        Steps to forecast.

    Raises
    ------
    ConfigError
        If the test part is shorter than the horizon.
    """
    if steps - train_size < horizon:
        raise ConfigError(
            f"the test part has {steps - train_size} steps, but horizon={horizon} needs at least "
            f"{horizon}; a greater test_fraction or a longer series is needed"
        )
    return np.arange(train_size, steps - horizon + 1)


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
    decimals = _decimals(best)
    width = max(10, *(len(_text(cell, decimals)) + 3 for row in rows.values() for cell in row))
    name_width = max(map(len, rows))
    lines = [
        " " * name_width + "".join(f"{span:^{2 * width}}" for span in spans),
        " " * name_width + f"{'RMSE ':>{width}}{'MAE ':>{width}}" * len(spans),
    ]
    for name, row in rows.items():
        cells = (
            _text(cell, decimals) + ("*" if cell == least else " ")
            for cell, least in zip(row, best, strict=True)
        )
        lines.append(f"{name:{name_width}}" + "".join(f"{cell:>{width}}" for cell in cells))
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
    decimals = _decimals([min(column) for column in zip(*rows.values(), strict=True)])
    sentences = []
    for column, span in enumerate(spans):
        errors = {name: row[column] for name, row in rows.items()}
        own = errors.pop(model)
        rival = min(errors, key=lambda name: errors[name])
        own_text, rival_text = _text(own, decimals), _text(errors[rival], decimals)
        where = span[0].upper() + span[1:]
        if errors[rival] < own:
            sentences.append(
                f"{where}: a simple baseline wins. {rival} has an RMSE of {rival_text}, "
                f"the {model} {own_text}."
            )
        elif errors[rival] == own:
            sentences.append(f"{where}: {rival} is as good as the {model}, RMSE {own_text}.")
        else:
            sentences.append(
                f"{where}: the {model} wins with an RMSE of {own_text}; "
                f"the best baseline, {rival}, has {rival_text}."
            )
    return sentences


def _spans(horizon: int, unit: str) -> list[str]:
    first = f"one {unit} ahead"
    return [first] if horizon == 1 else [first, f"{unit}s 1 to {horizon}"]


def _columns(score: Score) -> tuple[float, float, float, float]:
    return score.rmse_first, score.mae_first, score.rmse, score.mae


def _decimals(smallest: Sequence[float]) -> int:
    """Return how many decimals show three digits of the smallest value but zero."""
    positive = [value for value in smallest if value > 0]
    if not positive:
        return 3
    return min(max(2 - math.floor(math.log10(min(positive))), 0), 9)


def _text(value: float, decimals: int) -> str:
    return f"{value:.{decimals}f}" if value < 1e9 else f"{value:.3e}"
