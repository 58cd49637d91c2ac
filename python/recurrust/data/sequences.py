"""Cutting series into samples: windows, padding, splitting."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from recurrust._arguments import is_integer, require_array, require_integer, require_real
from recurrust.exceptions import ConfigError, DtypeError, ShapeError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["pad_sequences", "train_test_split_time", "windows"]


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
    array = require_array("series", series)
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
        What the padding holds; the sequences' dtype must be able to hold it.

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
        If a sequence does not hold numbers, or `value` is none.
    ConfigError
        If the sequences' dtype can't hold `value`, e.g. NaN among integers.

    Examples
    --------
    >>> padded, lengths = pad_sequences([[1, 2, 3], [4]])
    >>> padded
    array([[1, 2, 3],
           [4, 0, 0]])
    >>> lengths
    array([3, 1])
    """
    arrays = [
        require_array(f"sequence {index}", sequence) for index, sequence in enumerate(sequences)
    ]
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
    shape = (len(arrays), int(lengths.max()), *arrays[0].shape[1:])
    padded = np.full(shape, _as_dtype(value, np.result_type(*arrays)))
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
        If the arrays differ in their number of entries, or the entries of one in their shape.

    Examples
    --------
    >>> past, future = train_test_split_time([1, 2, 3, 4, 5], test_size=2)
    >>> past, future
    (array([1, 2, 3]), array([4, 5]))
    """
    converted = [require_array(f"array {index}", array) for index, array in enumerate(arrays)]
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


def _as_dtype(value: float, dtype: np.dtype[Any]) -> Any:
    """Return what padding holds as an element of the sequences' dtype."""
    truth = isinstance(value, bool | np.bool_)
    number = float(value) if truth else require_real("value", value)
    held: Any = None
    with np.errstate(over="ignore", invalid="ignore"), contextlib.suppress(OverflowError):
        held = np.asarray(value).astype(dtype)[()]
    if held is not None and dtype.kind == "f":
        fits = math.isfinite(held) == math.isfinite(number)
    else:  # converted, what doesn't fit becomes something else
        fits = held is not None and held.item() == value
    if not fits:
        raise ConfigError(
            f"value={value} can't be held by sequences of dtype {dtype}: convert them first, "
            "e.g. to floats"
        )
    return held
