"""Bringing features to a common scale, and back."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from recurrust._arguments import require_array, require_list, require_real
from recurrust.exceptions import ConfigError, DtypeError, NonFiniteError, ShapeError, StateError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray
    from typing_extensions import Self

__all__ = ["MinMaxScaler", "Scaler", "StandardScaler"]


class Scaler:
    """Base of scalers: what they do to every feature on its own.

    Features are the last axis; the statistics run over all others. An array of one axis is one
    feature. NaN is left out of the statistics and stays NaN. A feature that never changes is
    only shifted.

    Fit a scaler to the training rows alone: statistics of rows that are held out would leak into
    the training. `scaler[0]` is the scaler of feature 0 alone, for arrays of any shape;
    `scaler[[0, 2]]` that of two features.
    """

    # The attributes with the statistics, None before `fit`.
    _statistics: ClassVar[tuple[str, str]]

    def __init__(self) -> None:
        for name in self._statistics:
            setattr(self, name, None)

    def fit(self, data: ArrayLike) -> Self:
        """Measure the features.

        Parameters
        ----------
        data : array_like
            Shape (steps,) or (..., features): the training rows.

        Returns
        -------
        Scaler
            This scaler.

        Raises
        ------
        ShapeError
            If there is nothing to measure.
        DtypeError
            If the data are not real numbers.
        NonFiniteError
            If a feature holds an infinity, nothing but NaN, or numbers too large to be scaled.
        """
        values = _as_floats(data).astype(np.float64, copy=False)
        if values.ndim == 0 or values.size == 0:
            raise ShapeError(f"data must hold at least one value, got shape {values.shape}")
        columns = values.reshape(-1, 1 if values.ndim == 1 else values.shape[-1])
        for column, entries in enumerate(columns.T):
            if np.isinf(entries).any():
                raise NonFiniteError(f"feature {column} of data holds an infinity")
            if np.isnan(entries).all():
                raise NonFiniteError(f"feature {column} of data holds nothing but NaN")
        with np.errstate(over="ignore", invalid="ignore"):
            measured = self._measure(columns)
        finite = np.isfinite(measured).all(axis=0)
        if not finite.all():
            raise NonFiniteError(f"feature {int(np.argmin(finite))} of data is too large to scale")
        shape = () if values.ndim == 1 else (values.shape[-1],)
        for name, statistic in zip(self._statistics, measured, strict=True):
            setattr(self, name, statistic.reshape(shape))
        return self

    def transform(self, data: ArrayLike) -> NDArray[Any]:
        """Return the data scaled, in their own floating dtype (integers become float64).

        Parameters
        ----------
        data : array_like
            Features on the last axis, as given to `fit`; any shape if that was one axis.

        Raises
        ------
        StateError
            If the scaler has not been fitted.
        ShapeError
            If the number of features differs from that given to `fit`.
        """
        values, statistics = self._prepare(data)
        return self._scaled(values, *statistics).astype(values.dtype, copy=False)

    def inverse_transform(self, data: ArrayLike) -> NDArray[Any]:
        """Return scaled data in their original units; the inverse of `transform`.

        Parameters
        ----------
        data : array_like
            As for `transform`. Predictions of some features only are turned back by the scaler
            of these: `scaler[0].inverse_transform(pred)`.

        Raises
        ------
        StateError
            If the scaler has not been fitted.
        ShapeError
            If the number of features differs from that given to `fit`.
        """
        values, statistics = self._prepare(data)
        return self._original(values, *statistics).astype(values.dtype, copy=False)

    def fit_transform(self, data: ArrayLike) -> NDArray[Any]:
        """Measure the data and return them scaled: `fit`, then `transform`."""
        return self.fit(data).transform(data)

    def __getitem__(self, features: Any) -> Self:
        first, _ = self._fitted()
        if first.ndim == 0:
            raise ShapeError("this scaler has one feature only, so there is none to choose")
        part = copy.copy(self)
        for name, statistic in zip(self._statistics, self._fitted(), strict=True):
            chosen = np.array(statistic[features])
            if chosen.ndim > 1:
                raise ShapeError(f"features must be chosen on one axis, got {features!r:.80}")
            setattr(part, name, chosen)
        return part

    def state_dict(self) -> dict[str, Any]:
        """Return copies of the statistics by name.

        Raises
        ------
        StateError
            If the scaler has not been fitted.
        """
        return {
            name: statistic.copy()
            for name, statistic in zip(self._statistics, self._fitted(), strict=True)
        }

    def load_state_dict(self, state: Mapping[str, ArrayLike]) -> None:
        """Take over the statistics of another scaler of the same class.

        Parameters
        ----------
        state : mapping
            From `state_dict`.

        Raises
        ------
        ConfigError
            If it doesn't fit; nothing has changed then.
        """
        if not isinstance(state, Mapping) or set(state) != set(self._statistics):
            got = sorted(map(str, state)) if isinstance(state, Mapping) else f"{state!r:.80}"
            raise ConfigError(
                f"state must be a mapping with the keys {list(self._statistics)}, got {got}"
            )
        try:
            first, second = (np.array(state[name], np.float64) for name in self._statistics)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"state must hold numbers: {error}") from error
        if first.shape != second.shape or first.ndim > 1:
            raise ConfigError(
                f"state must hold two numbers, or two arrays of shape (features,); got shapes "
                f"{first.shape} and {second.shape}"
            )
        if not (np.isfinite(first) & np.isfinite(second) & self._fits(first, second)).all():
            raise ConfigError(f"state is not that of a {type(self).__name__}, got {state!r:.200}")
        for name, statistic in zip(self._statistics, (first, second), strict=True):
            setattr(self, name, statistic)

    @property
    def config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {}

    def __repr__(self) -> str:
        shown = [f"{name}={value!r}" for name, value in self.config.items()]
        for name in self._statistics:
            statistic = getattr(self, name)
            if statistic is not None:
                shown.append(f"{name}={statistic.tolist()}")
        return f"{type(self).__name__}({', '.join(shown)})"

    # What a scaler defines.

    def _measure(self, columns: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the statistics of every column, not finite where they are beyond floats."""
        raise NotImplementedError

    def _scaled(self, values: NDArray[Any], first: Any, second: Any) -> NDArray[Any]:
        raise NotImplementedError

    def _original(self, values: NDArray[Any], first: Any, second: Any) -> NDArray[Any]:
        raise NotImplementedError

    def _fits(self, first: Any, second: Any) -> NDArray[np.bool_]:
        """Return where statistics are such as `fit` measures."""
        raise NotImplementedError

    # What none overrides.

    def _fitted(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        first, second = (getattr(self, name) for name in self._statistics)
        if first is None or second is None:
            raise StateError(f"this {type(self).__name__} has not been fitted: call fit first")
        return first, second

    def _prepare(
        self, data: ArrayLike
    ) -> tuple[NDArray[Any], tuple[NDArray[np.float64], NDArray[np.float64]]]:
        statistics = self._fitted()
        values = _as_floats(data)
        shape = statistics[0].shape
        if shape and (values.ndim == 0 or values.shape[-1] != shape[0]):
            raise ShapeError(
                f"data must have {shape[0]} features on its last axis, got shape {values.shape}"
            )
        return values, statistics


class StandardScaler(Scaler):
    """Scale every feature to mean 0 and standard deviation 1, and back.

    Features are the last axis; the statistics run over all others. An array of one axis is one
    feature. NaN is left out of the statistics and stays NaN. A feature that never changes is
    only shifted.

    Fit it to the training rows alone: statistics of rows that are held out would leak into the
    training. `scaler[0]` is the scaler of feature 0 alone, for arrays of any shape.

    Attributes
    ----------
    mean : ndarray of float64 or None
        Shape (features,), or () if fitted to one axis; None before `fit`.
    scale : ndarray of float64 or None
        What the shifted values are divided by, shaped like `mean`; None before `fit`.

    See Also
    --------
    recurrust.save : Keeps scalers in the file of the model.

    Examples
    --------
    >>> scaler = StandardScaler()
    >>> scaler.fit_transform([2.0, 4.0, 6.0])
    array([-1.22474487,  0.        ,  1.22474487])
    >>> scaler.inverse_transform([0.0])
    array([4.])
    """

    _statistics = ("mean", "scale")
    mean: NDArray[np.float64] | None
    scale: NDArray[np.float64] | None

    def _measure(self, columns: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[Any]]:
        # Rounding of the mean leaves even a constant feature with some deviation.
        smallest = np.nanmin(columns, axis=0)
        constant = smallest == np.nanmax(columns, axis=0)
        deviation = np.nanstd(columns, axis=0)
        return (
            np.where(constant, smallest, np.nanmean(columns, axis=0)),
            # The square of a tiny deviation may be 0.
            np.where(constant | (deviation == 0), 1.0, deviation),
        )

    def _scaled(self, values: NDArray[Any], first: Any, second: Any) -> NDArray[Any]:
        scaled: NDArray[Any] = (values - first) / second
        return scaled

    def _original(self, values: NDArray[Any], first: Any, second: Any) -> NDArray[Any]:
        original: NDArray[Any] = values * second + first
        return original

    def _fits(self, first: Any, second: Any) -> NDArray[np.bool_]:
        positive: NDArray[np.bool_] = np.asarray(second) > 0
        return positive


class MinMaxScaler(Scaler):
    """Scale every feature to a range, and back.

    Features are the last axis; the statistics run over all others. An array of one axis is one
    feature. NaN is left out of the statistics and stays NaN. A feature that never changes is
    only shifted, to the lower end. Values beyond those that it was fitted to leave the range.

    Fit it to the training rows alone: statistics of rows that are held out would leak into the
    training. `scaler[0]` is the scaler of feature 0 alone, for arrays of any shape.

    Parameters
    ----------
    feature_range : tuple of float, default (0.0, 1.0)
        What the smallest and the greatest value become.

    Attributes
    ----------
    minimum, maximum : ndarray of float64 or None
        Shape (features,), or () if fitted to one axis; None before `fit`.

    Raises
    ------
    ConfigError
        If `feature_range` is not two finite numbers, the smaller first.
    DtypeError
        If it does not hold numbers.

    See Also
    --------
    recurrust.save : Keeps scalers in the file of the model.

    Examples
    --------
    >>> scaler = MinMaxScaler()
    >>> scaler.fit_transform([2.0, 4.0, 6.0])
    array([0. , 0.5, 1. ])
    >>> scaler.inverse_transform([2.0])
    array([10.])
    """

    _statistics = ("minimum", "maximum")
    minimum: NDArray[np.float64] | None
    maximum: NDArray[np.float64] | None

    def __init__(self, feature_range: tuple[float, float] = (0.0, 1.0)) -> None:
        super().__init__()
        ends = [
            require_real("feature_range", end)
            for end in require_list("feature_range", feature_range, "two numbers")
        ]
        if len(ends) != 2 or not 0 < ends[1] - ends[0] < np.inf:
            raise ConfigError(
                "feature_range must be two finite numbers, the smaller first; "
                f"got {feature_range!r:.80}"
            )
        self.feature_range = (ends[0], ends[1])

    @property
    def config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {"feature_range": self.feature_range}

    def _measure(self, columns: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[Any]]:
        low, high = np.nanmin(columns, axis=0), np.nanmax(columns, axis=0)
        return low, np.where(np.isfinite(high - low), high, np.inf)

    def _scaled(self, values: NDArray[Any], first: Any, second: Any) -> NDArray[Any]:
        start, end = self.feature_range
        scaled: NDArray[Any] = (values - first) / _width(first, second) * (end - start) + start
        return scaled

    def _original(self, values: NDArray[Any], first: Any, second: Any) -> NDArray[Any]:
        start, end = self.feature_range
        original: NDArray[Any] = (values - start) / (end - start) * _width(first, second) + first
        return original

    def _fits(self, first: Any, second: Any) -> NDArray[np.bool_]:
        ordered: NDArray[np.bool_] = np.asarray(first <= second)
        return ordered


def _width(low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far values are apart; 1 where they are all the same."""
    return np.where(high > low, high - low, 1.0)


def _as_floats(data: ArrayLike) -> NDArray[Any]:
    """Return the data as a floating array: as they are, or integers as float64."""
    values = require_array("data", data)
    if values.dtype.kind in "iub":
        return values.astype(np.float64)
    if values.dtype.kind != "f":
        raise DtypeError(f"data must hold real numbers, got dtype {values.dtype}")
    return values
