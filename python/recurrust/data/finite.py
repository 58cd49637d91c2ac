"""Finding values that are not finite."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from recurrust.exceptions import DtypeError, NonFiniteError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["check_finite", "nonfinite_error"]

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
