"""Forecast the sunspot number of the next year from those of twenty.

Run it with `python examples/forecast_sunspots.py`; it takes a second. The years until 1920 are for
training; 1921 to 1955 are the test of Weigend, Huberman and Rumelhart (1990), who measure arv: the
mean squared error as a part of the variance of the whole series, which they take as 1535. Window
and epochs were chosen on the years from 1881 to 1920, with the years before for training.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

import recurrust as rr

CSV = Path(__file__).parent / "data/sunspots.csv"
WINDOW = 20
LAST_TRAINING_YEAR = 1920
VARIANCE = 1535


def read() -> tuple[np.ndarray, np.ndarray]:
    """Return years and sunspot numbers."""
    years, numbers = np.loadtxt(CSV, delimiter=",", skiprows=1, unpack=True)
    return years.astype(int), numbers


def train(seed: int) -> tuple[rr.Sequential, rr.data.StandardScaler]:
    """Return a network, and the scaler of what goes in and comes out."""
    years, numbers = read()
    numbers = numbers[years <= LAST_TRAINING_YEAR]
    scaler = rr.data.StandardScaler().fit(numbers)
    x, y = rr.data.windows(scaler.transform(numbers), WINDOW, horizon=1)
    model = rr.Sequential(
        rr.LSTM(1, 16, batch_first=True, return_sequences=False, seed=seed),
        rr.Linear(16, 1, seed=seed + 1000),
    )
    epochs = 60
    optimizer = rr.AdamW(model.parameters(), lr=0.01, weight_decay=1e-3)
    schedule = rr.CosineAnnealingLR(optimizer, T_max=epochs)
    trainer = rr.Trainer(model, rr.MSELoss(), optimizer, schedule, clip_norm=1.0, seed=seed)
    trainer.fit(x, y, epochs=epochs, batch_size=16, verbose=0)
    return model, scaler


def forecast(model: rr.Sequential, scaler: rr.data.StandardScaler) -> np.ndarray:
    """Return the forecast of each year after the first WINDOW, made the year before."""
    x, _ = rr.data.windows(scaler.transform(read()[1]), WINDOW, horizon=1)
    return scaler.inverse_transform(model.eval()(x.astype(np.float32)))[:, 0]


def autoregression(order: int) -> np.ndarray:
    """Return the forecasts of a linear model of the last years, fitted by least squares."""
    years, numbers = read()
    x, y = rr.data.windows(numbers, WINDOW, horizon=1)
    lags = np.column_stack([np.ones(len(x)), x[:, -order:, 0]])
    training = years[WINDOW:] <= LAST_TRAINING_YEAR
    coefficients, *_ = np.linalg.lstsq(lags[training], y[training, 0], rcond=None)
    return lags @ coefficients


def arv(forecasts: np.ndarray, first: int, last: int) -> float:
    """Return the mean squared error of some years as a part of the variance."""
    years, numbers = (values[WINDOW:] for values in read())
    chosen = (years >= first) & (years <= last)
    return float(np.mean((forecasts - numbers)[chosen] ** 2) / VARIANCE)


def main(seed: int = 1) -> None:
    model, scaler = train(seed)
    with tempfile.TemporaryDirectory() as folder:
        # The network is of no use without its scaler: both go into one file.
        path = Path(folder) / "sunspots.safetensors"
        rr.save(model, path, scalers={"sunspots": scaler})
        model, scaler = rr.load(path), rr.load_scalers(path)["sunspots"]
    print("arv              1921-1955  1956-1979  1980-2008")
    for name, forecasts in (
        ("LSTM", forecast(model, scaler)),
        ("AR(2)", autoregression(2)),
        ("AR(9)", autoregression(9)),
        ("year before", read()[1][WINDOW - 1 : -1]),
    ):
        spans = ((1921, 1955), (1956, 1979), (1980, 2008))
        shown = "".join(f"{arv(forecasts, *span):11.3f}" for span in spans)
        print(f"{name:<15}{shown}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
