"""Nested states in files: numbers, texts, lists, mappings and arrays, to the last bit."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from recurrust import _core
from recurrust.exceptions import DtypeError, FileFormatError
from recurrust.serialization import CHECKPOINT_FORMAT

__all__ = ["read_state", "write_state"]

_FORMAT = CHECKPOINT_FORMAT
_FORMAT_VERSION = 1

# Keys of mappings that stand for what JSON doesn't have.
_ARRAY, _DTYPE, _SHAPE, _ITEMS = "~array", "~dtype", "~shape", "~items"

# What files hold as it is; other arrays go there as bytes.
_FILE_DTYPES = ("<f4", "<f8", "<i8", "|u1", "|b1")


def write_state(
    path: str | os.PathLike[str],
    state: Mapping[str, Any],
    further: Mapping[str, str] | None = None,
) -> None:
    """Write a state to a file, which appears whole or not at all.

    `further` is metadata for other readers.

    Raises
    ------
    DtypeError
        If something in it is none of the kinds that files hold, naming its place.
    OSError
        If the file can't be written.
    """
    arrays: dict[str, Any] = {}
    tree = _encode(state, "", arrays)
    metadata = {
        **(further or {}),
        "format": _FORMAT,
        "format_version": str(_FORMAT_VERSION),
        "state": json.dumps(tree),
    }
    _core.write_tensors(os.fspath(path), arrays, metadata)


def read_state(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a state that `write_state` wrote; tuples have become lists.

    Raises
    ------
    FileFormatError
        If the file is damaged or holds something else.
    OSError
        If the file can't be read.
    """
    path = os.fspath(path)
    arrays, metadata = _core.read_tensors(path)
    if metadata.get("format") != _FORMAT or "state" not in metadata:
        hint = ", but a model: recurrust.load reads it" if "model" in metadata else ""
        raise FileFormatError(f"{path} does not hold a checkpoint of recurrust{hint}")
    version = metadata.get("format_version", "")
    if version != str(_FORMAT_VERSION):
        raise FileFormatError(
            f"{path} has format version {version!r}, but this release reads version "
            f"{_FORMAT_VERSION}: update recurrust"
        )
    try:
        state = _decode(json.loads(metadata["state"]), arrays)
    except (ValueError, TypeError, KeyError) as error:
        raise FileFormatError(f"{path} does not describe a checkpoint: {error}") from error
    if not isinstance(state, dict):
        raise FileFormatError(f"{path} does not describe a checkpoint")
    return state


def _encode(value: Any, place: str, arrays: dict[str, Any]) -> Any:
    """Return a value as JSON has it; arrays are put into `arrays`, under their places."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int | np.integer):
        return int(value)
    # Python writes as many digits as tell a float from all others, and also NaN and infinities.
    if isinstance(value, float | np.float16 | np.float32):
        return float(value)
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
        return _encode_array(value, place, arrays)
    if isinstance(value, list | tuple):
        return [_encode(item, f"{place}.{index}", arrays) for index, item in enumerate(value)]
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str | int):
                raise DtypeError(f"{place}: keys must be texts or integers, got {key!r:.80}")
        items = [
            (key, _encode(item, f"{place}.{key}" if place else str(key), arrays))
            for key, item in value.items()
        ]
        if all(isinstance(key, str) and not key.startswith("~") for key, _ in items):
            return dict(items)
        return {_ITEMS: [list(item) for item in items]}
    raise DtypeError(
        f"{place} must be a number, a text, None, an array of numbers, or a list or mapping of "
        f"such, to be saved; got {value!r:.80}"
    )


def _encode_array(array: Any, place: str, arrays: dict[str, Any]) -> dict[str, Any]:
    name = place
    while name in arrays:  # {"a.b": x} and {"a": {"b": x}} have the same place
        name += "~"
    if array.dtype.str in _FILE_DTYPES:
        arrays[name] = array
        return {_ARRAY: name}
    arrays[name] = np.frombuffer(array.tobytes(), np.uint8)
    return {_ARRAY: name, _DTYPE: array.dtype.str, _SHAPE: list(array.shape)}


def _decode(value: Any, arrays: Mapping[str, Any]) -> Any:
    if isinstance(value, list):
        return [_decode(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    if _ITEMS in value:
        return {key: _decode(item, arrays) for key, item in value[_ITEMS]}
    if _ARRAY in value:
        array = arrays[value[_ARRAY]]
        if _DTYPE not in value:
            return array
        return np.frombuffer(array.tobytes(), np.dtype(value[_DTYPE])).reshape(value[_SHAPE]).copy()
    return {key: _decode(item, arrays) for key, item in value.items()}
