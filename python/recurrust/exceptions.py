"""The errors that recurrust raises, all under one root."""

from __future__ import annotations

__all__ = [
    "ConfigError",
    "DtypeError",
    "FileFormatError",
    "NonFiniteError",
    "RecurrustError",
    "ShapeError",
    "StateError",
]


class RecurrustError(Exception):
    """Root of every error that recurrust raises on purpose."""


class ShapeError(RecurrustError, ValueError):
    """An array has the wrong number of axes or the wrong size along one of them."""


class ConfigError(RecurrustError, ValueError):
    """An option has a value that it can't have, or two options contradict each other."""


class StateError(RecurrustError, ValueError):
    """An object is not in the state that the call needs, e.g. a cache older than the weights."""


class FileFormatError(RecurrustError, ValueError):
    """A file is damaged, foreign, or of a version that this release can't read."""


class NonFiniteError(RecurrustError, ValueError):
    """A loss, a gradient or an input is NaN or infinite where that can't be used."""


class DtypeError(RecurrustError, TypeError):
    """An argument has a type or dtype that can't be used without losing information."""
