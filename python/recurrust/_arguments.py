"""Checking single numbers among the arguments of a call."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np

from recurrust.exceptions import ConfigError, DtypeError

__all__ = ["is_integer", "is_real", "require_integer", "require_real", "require_seed"]

_GREATEST_SEED = 2**64 - 1


def is_integer(value: object) -> bool:
    """Return whether a value is an integer of Python or NumPy; truth values are none."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool | np.bool_)


def is_real(value: object) -> bool:
    """Return whether a value is a real number of Python or NumPy; truth values are none."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool | np.bool_)


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
    """
    if not is_real(value):
        raise DtypeError(f"{name} must be a number, got {value!r:.80}")
    return float(value)


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
