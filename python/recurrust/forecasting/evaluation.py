"""What forecasts are tested on, and how good they are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from recurrust._arguments import require_real
from recurrust.exceptions import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Score", "held_out_origins", "training_size"]


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
    DtypeError
        If it is no number.
    """
    if not 0 < require_real("test_fraction", test_fraction) < 1:
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
