"""How many digits float32 loses: no more than about what others lose."""

from __future__ import annotations

import numpy as np
import pytest

import recurrust as rr
from reference.layers import gradients_of

SEEDS = range(9)
ULP = 2.0**-23

# The median error of PyTorch 2.15 in float32 against float64 over nine seeds, relative to a
# tensor's largest entry: 20 steps, 4 rows, 16 features, default weights, normal inputs and
# gradients.
PYTORCH = {
    ("RNN", 128): {"y": 1.61e-7, "dx": 3.35e-7, "weight_hh_l0": 2.09e-7},
    ("RNN", 1024): {"y": 1.73e-7, "dx": 5.35e-7, "weight_hh_l0": 3.00e-7},
    ("LSTM", 128): {"y": 1.92e-7, "dx": 5.66e-7, "weight_hh_l0": 3.00e-7},
    ("LSTM", 1024): {"y": 2.30e-7, "dx": 4.48e-7, "weight_hh_l0": 3.61e-7},
    ("GRU", 128): {"y": 1.52e-7, "dx": 3.19e-7, "weight_hh_l0": 1.81e-7},
    ("GRU", 1024): {"y": 1.87e-7, "dx": 4.46e-7, "weight_hh_l0": 2.17e-7},
}


@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize(("kind", "hidden"), PYTORCH)
def test_float32_is_about_as_exact_as_pytorch(kind: str, hidden: int, rows: int) -> None:
    errors: dict[str, list[float]] = {}
    for seed in SEEDS:
        layer = getattr(rr, kind)(16, hidden, seed=seed)
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(20, rows, 16)).astype(np.float32)
        dy = rng.normal(size=(20, rows, hidden)).astype(np.float32)
        results = []
        for model in (layer, layer.astype("float64")):
            y, _, cache = model.forward_with_cache(x)
            dx, _ = model.backward(dy, cache=cache)
            results.append({"y": y, "dx": dx, **gradients_of(model)})
        for name in PYTORCH[kind, hidden]:
            got, exact = (result[name] for result in results)
            errors.setdefault(name, []).append(np.abs(got - exact).max() / np.abs(exact).max())
    for name, values in errors.items():
        limit = 2 * PYTORCH[kind, hidden][name] + 2 * ULP
        assert np.median(values) <= limit, name
