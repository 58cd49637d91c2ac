"""A recurrent network learns what only the order of the steps tells.

Days of electricity demand in Italy, October to March against April to September (Keogh et al.
2006): 24 hourly values each, 67 days for training and 1029 for testing. Whoever sees the sorted
values alone stays at 0.79, so the same network on shuffled hours must not do better than 0.82.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import recurrust as rr

Samples = tuple[NDArray[np.float32], NDArray[np.int64]]


def folder() -> Path:
    """Where the data are; the package that has them is not imported."""
    package = find_spec("aeon")
    if package is None or not package.submodule_search_locations:
        pytest.skip("the package aeon, which has the data, is not installed")
    return Path(package.submodule_search_locations[0]) / "datasets/data/ItalyPowerDemand"


def read(path: Path) -> Samples:
    """Read a file of series with one channel and equal lengths: values, a colon, the class."""
    lines = path.read_text(encoding="utf-8").splitlines()
    start = next(index for index, line in enumerate(lines) if line.lower().startswith("@data"))
    rows = [line.split(":") for line in lines[start + 1 :] if line.strip()]
    x = np.array([[float(value) for value in values.split(",")] for values, _ in rows], np.float32)
    return x[:, :, None], np.array([int(label) for _, label in rows]) - 1


@pytest.fixture(scope="module")
def data() -> tuple[Samples, Samples]:
    train, test = (read(folder() / f"ItalyPowerDemand_{part}.ts") for part in ("TRAIN", "TEST"))
    assert (train[0].shape, test[0].shape) == ((67, 24, 1), (1029, 24, 1))
    return train, test


def accuracy(train: Samples, test: Samples, seed: int) -> float:
    model = rr.Sequential(
        rr.LSTM(1, 32, return_sequences=False, batch_first=True, seed=seed),
        rr.Linear(32, 2, seed=seed + 1),
    )
    optimizer = rr.Adam(model.parameters(), lr=0.01, weight_decay=1e-4)
    trainer = rr.Trainer(model, rr.CrossEntropyLoss(), optimizer, clip_norm=1.0, seed=seed)
    trainer.fit(*train, epochs=100, batch_size=16, verbose=0)
    predicted: Any = trainer.predict(test[0]).argmax(axis=-1)
    return float((predicted == test[1]).mean())


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_season_is_in_the_order_of_the_hours(seed: int, data: tuple[Samples, Samples]) -> None:
    train, test = data
    assert accuracy(train, test, seed) >= 0.93

    rng = np.random.default_rng(seed)
    shuffled = [(rng.permuted(x, axis=1), y) for x, y in data]
    assert accuracy(*shuffled, seed) <= 0.82
