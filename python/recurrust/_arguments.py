"""Checking the arguments of a call one by one."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from recurrust.exceptions import ConfigError, DtypeError, ShapeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "is_integer",
    "is_real",
    "require_array",
    "require_between",
    "require_boolean",
    "require_choice",
    "require_integer",
    "require_list",
    "require_object",
    "require_real",
    "require_seed",
]

_GREATEST_SEED = 2**64 - 1


def is_integer(value: object) -> bool:
    """Return whether a value is an integer of Python or NumPy; truth values are none."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool | np.bool_)


def is_real(value: object) -> bool:
    """Return whether a value is a real number of Python or NumPy; truth values are none."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool | np.bool_)


def require_array(name: str, values: Any) -> NDArray[Any]:
    """Return an argument as an array; of which numbers or objects is not looked at.

    Raises
    ------
    ShapeError
        If its entries have different shapes.
    """
    try:
        return np.asarray(values)
    except ValueError as error:
        raise ShapeError(
            f"{name} must be one array, but its entries have different shapes"
        ) from error


def require_integer(name: str, value: Any, least: int, most: int | None = None) -> int:
    """Return an argument as an int.

    Raises
    ------
    DtypeError
        If it is no integer.
    ConfigError
        If it is less than `least` or greater than `most`.
    """
    if not is_integer(value):
        raise DtypeError(f"{name} must be an integer of at least {least}, got {value!r:.80}")
    if value < least:
        raise ConfigError(f"{name} must be at least {least}, got {value}")
    if most is not None and value > most:
        raise ConfigError(f"{name} must be at most {most}, got {value}")
    return int(value)


def require_real(name: str, value: Any) -> float:
    """Return an argument as a float.

    Raises
    ------
    DtypeError
        If it is no real number.
    ConfigError
        If it is an integer that no float can hold.
    """
    if not is_real(value):
        raise DtypeError(f"{name} must be a number, got {value!r:.80}")
    try:
        return float(value)
    except OverflowError:
        raise ConfigError(f"{name} must be within the range of floats, got more") from None


def require_between(name: str, value: Any, least: float, most: float = math.inf) -> float:
    """Return an argument as a finite float.

    Raises
    ------
    DtypeError
        If it is no real number.
    ConfigError
        If it is not finite, less than `least` or greater than `most`.
    """
    number = require_real(name, value)
    if not (math.isfinite(number) and least <= number <= most):
        expected = f"at least {least:g}" if most == math.inf else f"from {least:g} to {most:g}"
        raise ConfigError(f"{name} must be finite and {expected}, got {value}")
    return number


def require_choice(name: str, value: Any, choices: Iterable[str]) -> str:
    """Return an argument that is one of some names.

    Raises
    ------
    ConfigError
        If it is none of them.
    """
    for choice in choices:
        if isinstance(value, str) and value == choice:
            return choice
    names = " or ".join(f'"{choice}"' for choice in choices)
    raise ConfigError(f"{name} must be {names}, got {value!r:.80}")


def require_boolean(name: str, value: Any) -> bool:
    """Return an argument as a bool.

    Raises
    ------
    DtypeError
        If it is no truth value.
    """
    if not isinstance(value, bool | np.bool_):
        raise DtypeError(f"{name} must be True or False, got {value!r:.80}")
    return bool(value)


def require_list(name: str, value: Any, of: str) -> list[Any]:
    """Return what an argument iterates over.

    Raises
    ------
    DtypeError
        If it is not iterable; the message tells what it should be a list of.
    """
    try:
        return list(value)
    except TypeError:
        raise DtypeError(f"{name} must be a list of {of}, got {value!r:.80}") from None


def require_object(name: str, value: object, needed: Iterable[str], example: str) -> None:
    """Raise unless an argument is an instance that has all attributes needed.

    Raises
    ------
    DtypeError
        If it is a class, or lacks an attribute.
    """
    if isinstance(value, type):
        raise DtypeError(f"{name} must be an instance such as {example}, got the class {value!r}")
    missing = [attribute for attribute in needed if not hasattr(value, attribute)]
    if missing:
        raise DtypeError(
            f"{name} must be such as {example}, with {', '.join(missing)}; got {value!r:.80}"
        )


def require_seed(value: Any) -> int:
    """Return the argument `seed` as an int.

    Raises
    ------
    DtypeError
        If it is no integer.
    ConfigError
        If it does not fit into 64 bits.
    """
    return require_integer("seed", value, 0, _GREATEST_SEED)
