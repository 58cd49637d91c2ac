"""Which module has which side. Nothing is imported before it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

from sides import Data, Side, UnavailableError

_MODULES: Mapping[str, str] = {
    "recurrust": "ours",
    "dense call": "ours",
    "plain layer": "ours",
    "one thread": "ours",
    "one after the other": "ours",
    "step by step": "ours",
    "torch": "with_torch",
    "torch with fused Adam": "with_torch",
    "onnxruntime": "with_onnx",
    "openvino": "with_onnx",
}
_PACKAGES = ("numpy", "torch", "onnxruntime", "openvino", "onnx")


def build(name: str, kind: str, data: Data, threads: int) -> Side:
    """Return a side ready to be called, or raise `UnavailableError` with the reason."""
    try:
        module = importlib.import_module(_MODULES[name])
        builders = module.load(name, threads)
    except ImportError as error:
        raise UnavailableError(str(error)) from error
    if kind not in builders:
        raise UnavailableError(f"{name} has no such call")
    side: Side = builders[kind](data)
    return side


def versions() -> dict[str, str]:
    """Return the versions of NumPy and all other libraries that are installed."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
