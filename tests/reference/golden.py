"""The vectors in tests/golden, made with PyTorch; cases.json there describes them."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FOLDER = Path(__file__).parents[1] / "golden"
LSTM_NAMES = sorted(path.stem for path in FOLDER.glob("lstm_*.npz"))


def arrays(name: str) -> dict[str, NDArray[Any]]:
    """All arrays of one archive, by their keys."""
    with np.load(FOLDER / f"{name}.npz") as archive:
        return dict(archive)


@cache
def descriptions() -> dict[str, Any]:
    """What cases.json says."""
    loaded: dict[str, Any] = json.loads((FOLDER / "cases.json").read_text())
    return loaded


def tolerances(dtype: str) -> tuple[float, float]:
    """How near outputs and gradients must be, relative to each tensor's largest entry."""
    return (1e-12, 1e-12) if dtype == "float64" else (2e-6, 1e-5)


def named(data: dict[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    """The arrays whose keys start with a prefix, without it."""
    return {
        key.removeprefix(prefix): array for key, array in data.items() if key.startswith(prefix)
    }
