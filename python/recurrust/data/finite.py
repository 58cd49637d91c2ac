"""Finding values that are not finite."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from recurrust._arguments import require_array
from recurrust.exceptions import DtypeError, NonFiniteError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["check_finite", "require_finite"]

# `check_finite` looks at about this many elements at a time, so that it needs little memory
# of its own even for overlapping windows.
_CHECKED_AT_ONCE = 1 << 20


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
    ShapeError
        If its entries have different shapes.

    Examples
    --------
    >>> check_finite([[1.0, 2.0], [3.0, float("nan")]], "x")
    Traceback (most recent call last):
        ...
    recurrust.exceptions.NonFiniteError: x is nan at row 1, column 1
    """
    values = np.atleast_1d(require_array(name, array))
    if values.dtype.kind not in "fiub":
        raise DtypeError(f"{name} must hold real numbers, got dtype {values.dtype}")
    require_finite(values, name, lengths=None if lengths is None else np.asarray(lengths))


def require_finite(
    values: NDArray[Any],
    name: str,
    *,
    lengths: NDArray[Any] | None = None,
    dtype: np.dtype[Any] | None = None,
    row: int | None = None,
) -> None:
    """Raise as `check_finite` does, for an array of numbers; not for users.

    With `dtype` also if a value is beyond its range. `row` is where the array is in a list.
    """
    if values.dtype.kind != "f":
        return
    ends = None if lengths is None else lengths[:, np.newaxis]
    rows_at_once = max(1, _CHECKED_AT_ONCE // max(1, values[:1].size))
    for start in range(0, len(values), rows_at_once):
        rows = slice(start, start + rows_at_once)
        part = values[rows]
        with np.errstate(over="ignore"):
            fine = np.isfinite(part if dtype is None else part.astype(dtype, copy=False))
        if ends is not None:
            padding = np.arange(values.shape[1]) >= ends[rows]
            fine |= padding.reshape(padding.shape + (1,) * (values.ndim - 2))
        if not fine.all():
            place = np.unravel_index(int(np.argmin(fine)), fine.shape)
            first, *others = (int(index) for index in place)
            where = _where((*(() if row is None else (row,)), start + first, *others))
            value = part[place]
            beyond = f", beyond the range of the model's {dtype}" if np.isfinite(value) else ""
            raise NonFiniteError(f"{name} is {value} at {where}{beyond}")


def _where(place: tuple[int, ...]) -> str:
    """Return a place in words."""
    axes = {1: ("row",), 2: ("row", "column"), 3: ("row", "step", "column")}.get(
        len(place), ("row", *(f"axis {axis} index" for axis in range(1, len(place))))
    )
    return ", ".join(f"{axis} {index}" for axis, index in zip(axes, place, strict=True))
