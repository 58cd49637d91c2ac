"""Preparing series for a network: windows, padding, splitting, scaling, checking."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from recurrust._arguments import is_integer, require_integer, require_real
from recurrust.exceptions import ConfigError, DtypeError, NonFiniteError, ShapeError, StateError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "StandardScaler",
    "check_finite",
    "pad_sequences",
    "train_test_split_time",
    "windows",
]

# `check_finite` looks at about this many elements at a time, so that it needs little memory
# of its own even for overlapping windows.
_CHECKED_AT_ONCE = 1 << 20


def windows(
    series: ArrayLike, window: int, horizon: int, stride: int = 1
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Cut a series into inputs of `window` steps and the `horizon` steps that follow each.

    Both results are read-only views of the series: no values are copied, however far the
    windows overlap. A series of the model's own dtype is therefore best converted before it is
    cut.

    Parameters
    ----------
    series : array_like
        Shape (steps,) or (steps, features), in order of time.
    window : int
        Steps per input, at least 1.
    horizon : int
        Steps per target, at least 1.
    stride : int, default 1
        Steps from the start of one window to the start of the next, at least 1.

    Returns
    -------
    x : ndarray
        Shape (N, window, features), where N = (steps - window - horizon) // stride + 1 and a
        series of one axis has one feature.
    y : ndarray
        Shape (N, horizon) for a series of one axis, else (N, horizon, features).

    Raises
    ------
    ConfigError
        If `window`, `horizon` or `stride` is less than 1.
    DtypeError
        If one of them is no integer.
    ShapeError
        If the series has no or more than two axes, or fewer than `window + horizon` steps.

    Examples
    --------
    >>> x, y = windows([0.0, 1.0, 2.0, 3.0, 4.0], window=3, horizon=1)
    >>> x[:, :, 0]
    array([[0., 1., 2.],
           [1., 2., 3.]])
    >>> y
    array([[3.],
           [4.]])
    """
    for name, value in (("window", window), ("horizon", horizon), ("stride", stride)):
        require_integer(name, value, 1)
    array = np.asarray(series)
    if array.ndim not in (1, 2):
        raise ShapeError(
            f"series must have shape (steps,) or (steps, features), got shape {array.shape}"
        )
    needed = window + horizon
    if len(array) < needed:
        raise ShapeError(
            f"series has {len(array)} steps, but window={window} and horizon={horizon} need "
            f"at least {needed}"
        )
    columns = array.reshape(len(array), -1)
    spans = np.lib.stride_tricks.sliding_window_view(columns, needed, axis=0)[::stride]
    spans = spans.swapaxes(1, 2)
    x, y = spans[:, :window], spans[:, window:]
    return x, y[:, :, 0] if array.ndim == 1 else y


def pad_sequences(
    sequences: Sequence[ArrayLike], *, value: float = 0.0
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Stack sequences of different lengths into one array, padded at the end.

    Parameters
    ----------
    sequences : sequence of array_like
        Each of shape (steps_i, ...), alike but for the number of steps, which may be 0.
    value : float, default 0.0
        What the padding holds.

    Returns
    -------
    padded : ndarray
        Shape (N, max(steps_i), ...).
    lengths : ndarray of int64
        Shape (N,): the steps of each sequence, in the order given.

    Raises
    ------
    ShapeError
        If there is no sequence, one has no axis, or they differ beyond the number of steps.
    DtypeError
        If a sequence does not hold numbers.

    Examples
    --------
    >>> padded, lengths = pad_sequences([[1, 2, 3], [4]])
    >>> padded
    array([[1, 2, 3],
           [4, 0, 0]])
    >>> lengths
    array([3, 1])
    """
    arrays = [np.asarray(sequence) for sequence in sequences]
    if not arrays:
        raise ShapeError("sequences is empty: at least one sequence is needed")
    for index, array in enumerate(arrays):
        if array.dtype.kind not in "fiub":
            raise DtypeError(f"sequence {index} must hold numbers, got dtype {array.dtype}")
        if array.ndim == 0:
            raise ShapeError(f"sequence {index} must have shape (steps, ...), got a single number")
        if array.shape[1:] != arrays[0].shape[1:]:
            raise ShapeError(
                f"sequences must be alike but for their steps: sequence 0 has shape "
                f"{arrays[0].shape}, sequence {index} has shape {array.shape}"
            )
    lengths = np.array([len(array) for array in arrays], dtype=np.int64)
    padded = np.full(
        (len(arrays), int(lengths.max()), *arrays[0].shape[1:]),
        value,
        dtype=np.result_type(*arrays),
    )
    for row, array in zip(padded, arrays, strict=True):
        row[: len(array)] = array
    return padded, lengths


def train_test_split_time(
    *arrays: ArrayLike, test_size: float = 0.2, gap: int = 0
) -> tuple[NDArray[Any], ...]:
    """Split arrays at one point in time: the last part is for testing.

    Parameters
    ----------
    *arrays : array_like
        Arrays with equally many entries along axis 0, in order of time.
    test_size : float or int, default 0.2
        The last part: a fraction between 0 and 1 (rounded to the nearest number of entries), or
        a number of entries.
    gap : int, default 0
        Entries left out between the two parts. Windows that overlap share values with their
        neighbours; a gap of (window + horizon - 1) // stride keeps the test part unseen.

    Returns
    -------
    tuple of ndarray
        For each array its training part and its test part, one after the other, as views.

    Raises
    ------
    ConfigError
        If there is no array, `gap` is negative, a fraction is not between 0 and 1, or a part
        would be empty.
    DtypeError
        If `test_size` is no number or `gap` no integer.
    ShapeError
        If the arrays differ in their number of entries.

    Examples
    --------
    >>> past, future = train_test_split_time([1, 2, 3, 4, 5], test_size=2)
    >>> past, future
    (array([1, 2, 3]), array([4, 5]))
    """
    converted = [np.asarray(array) for array in arrays]
    if not converted:
        raise ConfigError("at least one array to split is needed")
    counts = [len(array) if array.ndim else 0 for array in converted]
    if len(set(counts)) > 1:
        raise ShapeError(f"arrays must have equally many entries along axis 0, got {counts}")
    gap = require_integer("gap", gap, 0)
    count = counts[0]
    if is_integer(test_size):
        test = int(test_size)
    else:
        fraction = require_real("test_size", test_size)
        if not 0 < fraction < 1:
            raise ConfigError(
                f"test_size must be a fraction between 0 and 1, or an integer: a number of "
                f"entries; got {test_size}"
            )
        test = round(fraction * count)
    train = count - test - gap
    if test < 1 or train < 1:
        raise ConfigError(
            f"test_size={test_size} and gap={gap} leave {max(train, 0)} training and "
            f"{max(test, 0)} test entries of {count}; both parts need at least one"
        )
    parts: list[NDArray[Any]] = []
    for array in converted:
        parts += [array[:train], array[count - test :]]
    return tuple(parts)


class StandardScaler:
    """Scale every feature to mean 0 and standard deviation 1, and back.

    Features are the last axis; the statistics run over all others. An array of one axis is one
    feature. NaN is left out of the statistics and stays NaN. A feature that never changes is
    only shifted.

    Attributes
    ----------
    mean : ndarray of float64 or None
        Shape (features,), or () if fitted to one axis; None before `fit`.
    scale : ndarray of float64 or None
        What the shifted values are divided by, shaped like `mean`; None before `fit`.

    Examples
    --------
    >>> scaler = StandardScaler()
    >>> scaler.fit_transform([2.0, 4.0, 6.0])
    array([-1.22474487,  0.        ,  1.22474487])
    >>> scaler.inverse_transform([0.0])
    array([4.])
    """

    def __init__(self) -> None:
        self.mean: NDArray[np.float64] | None = None
        self.scale: NDArray[np.float64] | None = None

    def fit(self, data: ArrayLike) -> StandardScaler:
        """Measure mean and standard deviation.

        Parameters
        ----------
        data : array_like
            Shape (steps,) or (..., features).

        Returns
        -------
        StandardScaler
            This scaler.

        Raises
        ------
        ShapeError
            If there is nothing to measure.
        DtypeError
            If the data are not real numbers.
        NonFiniteError
            If a feature holds an infinity, or nothing but NaN.
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
        # Rounding of the mean leaves even a constant feature with some deviation.
        smallest = np.nanmin(columns, axis=0)
        constant = smallest == np.nanmax(columns, axis=0)
        shape = () if values.ndim == 1 else (values.shape[-1],)
        self.mean = np.where(constant, smallest, np.nanmean(columns, axis=0)).reshape(shape)
        self.scale = np.where(constant, 1.0, np.nanstd(columns, axis=0)).reshape(shape)
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
        values, mean, scale = self._prepare(data)
        return ((values - mean) / scale).astype(values.dtype, copy=False)

    def inverse_transform(self, data: ArrayLike) -> NDArray[Any]:
        """Return scaled data in their original units; the inverse of `transform`.

        Parameters
        ----------
        data : array_like
            As for `transform`.

        Raises
        ------
        StateError
            If the scaler has not been fitted.
        ShapeError
            If the number of features differs from that given to `fit`.
        """
        values, mean, scale = self._prepare(data)
        return (values * scale + mean).astype(values.dtype, copy=False)

    def fit_transform(self, data: ArrayLike) -> NDArray[Any]:
        """Measure the data and return them scaled: `fit`, then `transform`."""
        return self.fit(data).transform(data)

    def _prepare(
        self, data: ArrayLike
    ) -> tuple[NDArray[Any], NDArray[np.float64], NDArray[np.float64]]:
        if self.mean is None or self.scale is None:
            raise StateError("this StandardScaler has not been fitted: call fit first")
        values = _as_floats(data)
        if self.mean.ndim and (values.ndim == 0 or values.shape[-1] != len(self.mean)):
            raise ShapeError(
                f"data must have {len(self.mean)} features on its last axis, "
                f"got shape {values.shape}"
            )
        return values, self.mean, self.scale

    def __repr__(self) -> str:
        if self.mean is None or self.scale is None:
            return "StandardScaler()"
        return f"StandardScaler(mean={self.mean.tolist()}, scale={self.scale.tolist()})"


def check_finite(
    array: ArrayLike, name: str = "array", *, lengths: ArrayLike | None = None
) -> None:
    """Raise if an array holds NaN or an infinity, naming the first place.

    Parameters
    ----------
    array : array_like
        Shape (rows,), (rows, columns), (rows, steps, columns), or more axes.
    name : str, default "array"
        What the message calls the array.
    lengths : array_like of int, optional
        Shape (rows,): only so many entries along axis 1 are looked at in each row.

    Raises
    ------
    NonFiniteError
        With row, step and column of the first value that is not finite.
    DtypeError
        If the array does not hold numbers.

    Examples
    --------
    >>> check_finite([[1.0, 2.0], [3.0, float("nan")]], "x")
    Traceback (most recent call last):
        ...
    recurrust.exceptions.NonFiniteError: x is nan at row 1, column 1
    """
    values = np.atleast_1d(np.asarray(array))
    if values.dtype.kind in "iub":
        return
    if values.dtype.kind != "f":
        raise DtypeError(f"{name} must hold real numbers, got dtype {values.dtype}")
    ends = None if lengths is None else np.asarray(lengths)[:, np.newaxis]
    rows_at_once = max(1, _CHECKED_AT_ONCE // max(1, values[:1].size))
    for start in range(0, len(values), rows_at_once):
        rows = slice(start, start + rows_at_once)
        part = values[rows]
        fine = np.isfinite(part)
        if ends is not None:
            padding = np.arange(values.shape[1]) >= ends[rows]
            fine |= padding.reshape(padding.shape + (1,) * (values.ndim - 2))
        if not fine.all():
            place = np.unravel_index(int(np.argmin(fine)), fine.shape)
            first, *others = (int(index) for index in place)
            raise nonfinite_error(name, part[place], (start + first, *others))


def nonfinite_error(name: str, value: float, place: tuple[int, ...]) -> NonFiniteError:
    """Return the error that says where a value is not finite; not for users."""
    axes = {1: ("row",), 2: ("row", "column"), 3: ("row", "step", "column")}.get(
        len(place), ("row", *(f"axis {axis} index" for axis in range(1, len(place))))
    )
    where = ", ".join(f"{axis} {index}" for axis, index in zip(axes, place, strict=True))
    return NonFiniteError(f"{name} is {value} at {where}")


def _as_floats(data: ArrayLike) -> NDArray[Any]:
    """Return the data as a floating array: as they are, or integers as float64."""
    values = np.asarray(data)
    if values.dtype.kind in "iub":
        return values.astype(np.float64)
    if values.dtype.kind != "f":
        raise DtypeError(f"data must hold real numbers, got dtype {values.dtype}")
    return values
