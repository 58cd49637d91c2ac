"""Layers of fixed weights whose results can be worked out by hand."""

from __future__ import annotations

import numpy as np

import recurrust as rr


def zeros(input_size: int = 1, hidden_size: int = 1, dtype: str = "float64") -> rr.LSTM:
    """All weights 0: c halves at every step, and h = tanh(c) / 2."""
    layer = rr.LSTM(input_size, hidden_size, dtype=dtype)
    layer.load_state_dict({name: 0 * array for name, array in layer.state_dict().items()})
    return layer


def accumulator(**options: bool) -> rr.LSTM:
    """Open gates, so that c grows by tanh(x) at every step (one input, one unit)."""
    layer = rr.LSTM(1, 1, dtype="float64", **options)
    values = {name: 0 * array for name, array in layer.state_dict().items()}
    for name, array in values.items():
        if name.startswith("bias_ih"):
            array[...] = [20, 20, 0, 20]
        if name.startswith("weight_ih"):
            array[2] = 1
    layer.load_state_dict(values)
    return layer


def ones() -> rr.LSTM:
    """All weights 1, all biases 0 (one input, one unit)."""
    layer = rr.LSTM(1, 1, dtype="float64")
    layer.load_state_dict(
        {
            name: np.zeros_like(array) if "bias" in name else np.ones_like(array)
            for name, array in layer.state_dict().items()
        }
    )
    return layer
