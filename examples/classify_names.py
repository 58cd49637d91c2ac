"""Tell from the letters of a first name whether more women or more men have it.

Run it with `python examples/classify_names.py`; it takes a few seconds. The names are sequences of
2 to 11 letters, given to the trainer as a list of arrays. 1000 of them are held out. Who says
"female" to all of these is right in 76 %, who looks at the last letter in 82 %, this network in
86 to 89 %.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np

import recurrust as rr

CSV = Path(__file__).parent / "data/first_names.csv"
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
TEST_SIZE = 1000


def read() -> tuple[list[str], np.ndarray]:
    """Return names, and 1 for male or 0 for female, in an order that has nothing to say."""
    with open(CSV, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    order = np.random.default_rng(0).permutation(len(rows))
    names = [rows[row]["name"] for row in order]
    male = np.array([rows[row]["gender"] == "male" for row in order], dtype=np.float32)
    return names, male[:, np.newaxis]


def encode(name: str) -> np.ndarray:
    """Return the number of each letter."""
    return np.array([LETTERS.index(letter) for letter in name])


def train(seed: int, verbose: int = 0) -> rr.Trainer:
    """Return a trainer that has done its work."""
    names, male = read()
    x = [encode(name) for name in names]
    model = rr.Sequential(
        rr.Embedding(len(LETTERS), 32, seed=seed + 2000),
        rr.LSTM(32, 64, batch_first=True, return_sequences=False, seed=seed),
        rr.Dropout(0.3),
        rr.Linear(64, 1, seed=seed + 1000),
    )
    epochs = 15
    optimizer = rr.AdamW(model.parameters(), lr=0.005, weight_decay=0.01)
    trainer = rr.Trainer(
        model,
        rr.BCEWithLogitsLoss(),
        optimizer,
        rr.CosineAnnealingLR(optimizer, T_max=epochs),
        clip_norm=1.0,
        metrics=["accuracy"],
        seed=seed,
    )
    rr.manual_seed(seed)  # for dropout
    trainer.fit(x[TEST_SIZE:], male[TEST_SIZE:], epochs=epochs, batch_size=32, verbose=verbose)
    return trainer


def accuracy(trainer: rr.Trainer) -> float:
    """Return the part of the names held out that is told right."""
    names, male = read()
    x = [encode(name) for name in names[:TEST_SIZE]]
    return trainer.evaluate(x, male[:TEST_SIZE])["accuracy"]


def main(seed: int = 1) -> None:
    trainer = train(seed, verbose=2)
    print(f"accuracy on {TEST_SIZE} names held out: {accuracy(trainer):.3f}")
    names = ("ADA", "ALAN", "GRACE", "EDSGER", "BARBARA", "DONALD")
    for name, logit in zip(names, trainer.predict(list(map(encode, names))), strict=True):
        print(f"{name:>8}: male with probability {1 / (1 + np.exp(-logit[0])):.2f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
