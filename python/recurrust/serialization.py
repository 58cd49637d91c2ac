"""Models in files."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from recurrust import _core
from recurrust.data import MinMaxScaler, Scaler, StandardScaler
from recurrust.exceptions import ConfigError, DtypeError, FileFormatError
from recurrust.sequential import Layer, Sequential

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["CHECKPOINT_FORMAT", "checkpoint_metadata", "load", "load_scalers", "save"]

_FORMAT = "recurrust"
_FORMAT_VERSION = 1

# Files of a trainer's state; how its model is to be built stands there as in those of a model.
CHECKPOINT_FORMAT = "recurrust.checkpoint"
# What the names of its model's arrays begin with.
_IN_CHECKPOINT = "model."

# Every kind of layer that a file can describe, by the name that it has there.
_KINDS: dict[str, type[Any]] = {
    "Dropout": _core.Dropout,
    "Embedding": _core.Embedding,
    "GRU": _core.GRU,
    "GRUCell": _core.GRUCell,
    "LSTM": _core.LSTM,
    "LSTMCell": _core.LSTMCell,
    "LayerNorm": _core.LayerNorm,
    "Linear": _core.Linear,
    "PeepholeLSTMCell": _core.PeepholeLSTMCell,
    "RNN": _core.RNN,
    "RNNCell": _core.RNNCell,
    "Zoneout": _core.Zoneout,
}

_SCALERS: dict[str, type[Scaler]] = {
    "MinMaxScaler": MinMaxScaler,
    "StandardScaler": StandardScaler,
}

# Kinds whose constructor draws initial weights.
_SEEDED = (_core.RecurrentLayer, _core.RecurrentCell, _core.Linear, _core.Embedding)

_Module = TypeVar("_Module", bound=_core.Module)


def save(
    model: Layer,
    path: str | os.PathLike[str],
    *,
    scalers: Mapping[str, Scaler] | None = None,
) -> None:
    """Write a model to a file: its layers, their options, modes and weights.

    The file is in safetensors format and stands for itself. It appears whole or not at all.

    Parameters
    ----------
    model : Layer
        A `Sequential` of layers of recurrust, or one such layer.
    path : path-like
        The file; an existing one is replaced.
    scalers : mapping of str to Scaler, optional
        Fitted scalers that the model can't be used without, by names of yours, such as "x" and
        "y". They are kept in the same file; `load_scalers` reads them.

    Raises
    ------
    ConfigError
        If the model has a layer of your own, of which only you know how to build it; or a scaler
        is one of your own.
    DtypeError
        If `scalers` is no mapping of names to scalers.
    StateError
        If a scaler has not been fitted.
    OSError
        If the file can't be written.

    See Also
    --------
    load : Read a model from a file.
    load_scalers : Read the scalers.
    """
    arrays = {
        f"{index}.{name}": parameter.data
        for index, layer in enumerate(_layers_of(model))
        for name, parameter in layer.named_parameters()
    }
    metadata = {
        "format": _FORMAT,
        "format_version": str(_FORMAT_VERSION),
        "model": json.dumps(_described_model(model)),
    }
    if scalers is not None:
        metadata["scalers"] = json.dumps(_described_scalers(scalers))
    _core.write_tensors(os.fspath(path), arrays, metadata)


def checkpoint_metadata(model: Layer) -> dict[str, str]:
    """Return what a checkpoint must say of its model for `load` to build it; not for users.

    It is nothing for a model with a layer of the user's. Modes are those of use, not of the
    moment within the training.
    """
    try:
        described = _described_model(model)
    except ConfigError:
        return {}
    for layer in described["layers"]:
        layer["training"] = False
    return {"model": json.dumps(described), "model_version": str(_FORMAT_VERSION)}


def load(path: str | os.PathLike[str]) -> Any:
    """Read the model from a file of `save`, or from a checkpoint.

    Parameters
    ----------
    path : path-like
        A file that `save`, `Trainer.save_checkpoint` or `ModelCheckpoint` wrote.

    Returns
    -------
    Sequential or layer
        What was saved, each layer in the mode that it had; from a checkpoint, in evaluation
        mode.

    Raises
    ------
    FileFormatError
        If the file is damaged, not one of recurrust, or written by a newer version than this
        release can read; or a checkpoint of a model with a layer of your own.
    OSError
        If the file can't be read.

    See Also
    --------
    save : Write a model to a file.
    Trainer.load_checkpoint : Go on with the training.
    load_scalers : Read the scalers that were saved with it.
    """
    arrays, metadata = _read(path)
    try:
        described = json.loads(metadata["model"])
        by_layer: list[dict[str, NDArray[Any]]] = [{} for _ in described["layers"]]
        for name, array in arrays.items():
            index, parameter = name.split(".", 1)
            if not 0 <= int(index) < len(by_layer):
                raise ValueError(f"{name} belongs to no layer")
            by_layer[int(index)][parameter] = array
        layers = [
            _restore(description, own)
            for description, own in zip(described["layers"], by_layer, strict=True)
        ]
        if described["sequential"]:
            return Sequential(*layers)
        (layer,) = layers
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise FileFormatError(f"{path} does not describe a model: {error}") from error
    return layer


def load_scalers(path: str | os.PathLike[str]) -> dict[str, Scaler]:
    """Read the scalers that `save` wrote beside a model.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    dict of str to Scaler
        By the names that they were saved with; empty if there are none.

    Raises
    ------
    FileFormatError
        If the file is damaged, not one of recurrust, or written by a newer version than this
        release can read.
    OSError
        If the file can't be read.

    See Also
    --------
    save : Write a model, and scalers, to a file.
    """
    _, metadata = _read(path)
    scalers: dict[str, Scaler] = {}
    try:
        for name, described in json.loads(metadata.get("scalers", "{}")).items():
            scalers[name] = _SCALERS[described["kind"]](**described["config"])
            scalers[name].load_state_dict(described["state"])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise FileFormatError(f"{os.fspath(path)} does not describe scalers: {error}") from error
    return scalers


def _read(path: str | os.PathLike[str]) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Return arrays and metadata of a file that holds a model, those of other things left out."""
    path = os.fspath(path)
    arrays, metadata = _core.read_tensors(path)
    is_checkpoint = metadata.get("format") == CHECKPOINT_FORMAT
    if is_checkpoint and "model" not in metadata:
        raise FileFormatError(
            f"{path} is a checkpoint that does not say how to build its model, which has a layer "
            "of your own or is of an earlier release: build it yourself, and give it to a trainer "
            "for Trainer.load_checkpoint"
        )
    if not is_checkpoint and (metadata.get("format") != _FORMAT or "model" not in metadata):
        raise FileFormatError(f"{path} does not hold a model of recurrust")
    version = metadata.get("model_version" if is_checkpoint else "format_version", "")
    if version != str(_FORMAT_VERSION):
        raise FileFormatError(
            f"{path} has format version {version!r}, but this release reads version "
            f"{_FORMAT_VERSION}: update recurrust"
        )
    if is_checkpoint:
        own = {name for name in arrays if name.startswith(_IN_CHECKPOINT)}
        arrays = {name.removeprefix(_IN_CHECKPOINT): arrays[name] for name in own}
    return arrays, metadata


def _layers_of(model: Layer) -> list[Layer]:
    return list(model) if isinstance(model, Sequential) else [model]


def _described_model(model: Layer) -> dict[str, Any]:
    return {
        "sequential": isinstance(model, Sequential),
        "layers": [_describe(layer, index) for index, layer in enumerate(_layers_of(model))],
    }


def _described_scalers(scalers: Mapping[str, Scaler]) -> dict[str, Any]:
    if not isinstance(scalers, Mapping):
        raise DtypeError(f"scalers must be a mapping of names to scalers, got {scalers!r:.80}")
    described = {}
    for name, scaler in scalers.items():
        if not isinstance(name, str) or not isinstance(scaler, Scaler):
            raise DtypeError(
                "scalers must be a mapping of names to scalers such as rr.data.StandardScaler(), "
                f"got {name!r:.40}: {scaler!r:.80}"
            )
        kind = type(scaler).__name__
        if _SCALERS.get(kind) is not type(scaler):
            raise ConfigError(
                f"scalers[{name!r}] ({kind}) is not one of recurrust's own, so a file can't say "
                "how to build it: save its state_dict() yourself"
            )
        state = {key: array.tolist() for key, array in scaler.state_dict().items()}
        described[name] = {"kind": kind, "config": scaler.config, "state": state}
    return described


def _describe(layer: Layer, index: int) -> dict[str, Any]:
    kind = type(layer).__name__
    if not isinstance(layer, _core.Module) or _KINDS.get(kind) is not type(layer):
        raise ConfigError(
            f"layer {index} ({kind}) is not one of recurrust's own, so a file can't say how to "
            "build it: pickle the model, or save the arrays of model.state_dict()"
        )
    return {"kind": kind, "config": layer.config, "training": layer.training}


def _restore(description: Mapping[str, Any], arrays: Mapping[str, ArrayLike]) -> Any:
    config = {
        # JSON has no tuples.
        name: tuple(value) if isinstance(value, list) else value
        for name, value in description["config"].items()
    }
    if description["kind"] not in _KINDS:
        raise ValueError(f"unknown kind of layer {description['kind']!r}")
    return _rebuild_layer(_KINDS[description["kind"]], config, arrays, description["training"])


def _rebuild_layer(
    cls: type[_Module],
    config: Mapping[str, Any],
    arrays: Mapping[str, ArrayLike],
    training: bool,
    attributes: Mapping[str, Any] | None = None,
) -> _Module:
    """Build a layer with given weights; what pickles and copies of layers call.

    `attributes` is what an instance of a class derived in Python has of its own.
    """
    # The initial weights are replaced at once: they must not cost a draw from the random stream.
    seed = {"seed": 0} if issubclass(cls, _SEEDED) else {}
    layer: _Module = cls.__new__(cls, **config, **seed)
    layer.load_state_dict(arrays)
    if not training:
        layer.eval()
    if attributes:
        vars(layer).update(attributes)
    return layer


def _rebuild_stream(
    model: _core.RecurrentLayer[Any, Any, Any] | Sequential, batch_size: int, state: Any
) -> _core.Stream:
    """Make a stream of a model that has the frozen weights; what pickles of streams call."""
    stream = model.stream(batch_size)
    stream.state = state
    return stream


def _parameter_of(layer: Layer, name: str) -> _core.Parameter:
    """Return a parameter of a layer; what pickles of parameters call."""
    return dict(layer.named_parameters())[name]
