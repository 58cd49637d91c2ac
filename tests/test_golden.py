"""recurrust agrees with PyTorch: every tensor of every archive in tests/golden."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import recurrust as rr
from reference import golden
from reference.comparison import assert_all_close, assert_close
from reference.layers import gradients_of

OPTIONS = ("num_layers", "bias", "batch_first", "bidirectional", "dtype")
# MSELoss, CrossEntropyLoss, ...: what rr.KIND takes beside the reduction.
LOSS_OPTIONS = ("ignore_index", "label_smoothing")


@pytest.mark.parametrize("name", golden.LSTM_NAMES)
def test_lstm(name: str) -> None:
    data, case = golden.arrays(name), golden.descriptions()["lstm"][name]
    layer = rr.LSTM(
        case["input_size"],
        case["hidden_size"],
        **{"dtype": "float64", **{key: case[key] for key in OPTIONS if key in case}},
    )
    layer.load_state_dict(golden.named(data, "param."))
    state = (data["h0"], data["c0"]) if "h0" in data else None
    tolerance, gradient_tolerance = golden.tolerances(layer.dtype)

    y, (hn, cn), cache = layer.forward_with_cache(data["x"], state, lengths=case.get("lengths"))
    assert_close(y, data["y"], tolerance, "y")
    plain_y, _ = layer(data["x"], state, lengths=case.get("lengths"))
    assert_close(plain_y, data["y"], tolerance, "y without cache")
    if case.get("forward_only"):
        return
    assert_close(hn, data["hn"], tolerance, "hn")
    assert_close(cn, data["cn"], tolerance, "cn")
    dx, (dh0, dc0) = layer.backward(data["dy"], (data["dhn"], data["dcn"]), cache=cache)
    assert_close(dx, data["dx"], gradient_tolerance, "dx")
    assert_close(dh0, data["dh0"], gradient_tolerance, "dh0")
    assert_close(dc0, data["dc0"], gradient_tolerance, "dc0")
    assert_all_close(gradients_of(layer), golden.named(data, "grad."), gradient_tolerance)


def test_clip_grad_norm() -> None:
    data = golden.arrays("clip")
    parameters = [rr.Parameter(np.zeros_like(data[f"g{index}"])) for index in range(3)]
    for index, parameter in enumerate(parameters):
        parameter.grad[...] = data[f"g{index}"]
    norm = rr.clip_grad_norm_(parameters, float(data["max_norm"]))
    assert norm == pytest.approx(float(data["norm"]), rel=1e-12)
    for index, parameter in enumerate(parameters):
        assert_close(parameter.grad, data[f"clipped{index}"], 1e-12, f"gradient {index}")


CLASSES = {"sgd": rr.SGD, "adam": rr.Adam, "adamw": rr.AdamW, "rmsprop": rr.RMSprop}


@pytest.mark.parametrize("name", golden.descriptions()["optimizers"])
def test_optimizer(name: str) -> None:
    data, options = golden.arrays("optimizers"), golden.descriptions()["optimizers"][name]
    parameters = [rr.Parameter(data[f"p0.{index}"]) for index in range(3)]
    optimizer = CLASSES[name.split("_")[0]](parameters, **options)
    for step in range(1, 26):
        for index, parameter in enumerate(parameters):
            parameter.grad[...] = data[f"g{step - 1}.{index}"]
        optimizer.step()
        for index, parameter in enumerate(parameters):
            key = f"{name}.step{step}.{index}"
            if key in data:
                assert_close(parameter.data, data[key], 1e-12, key)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", golden.descriptions()["losses"])
def test_loss(name: str, reduction: str) -> None:
    data, case = golden.arrays("losses"), golden.descriptions()["losses"][name]
    options: dict[str, Any] = {key: case[key] for key in LOSS_OPTIONS if key in case}
    if "weight" in case:
        options["weight"] = data[case["weight"]]
    loss = getattr(rr, case["kind"])(**options, reduction=reduction)
    value, gradient = loss.value_and_grad(data["x"], data[case["target"]])
    expected = data[f"{name}.{reduction}"]
    assert_close(value, expected, 1e-12, "value")
    assert_close(loss(data["x"], data[case["target"]]), expected, 1e-12, "value alone")
    # For "none" the gradient is that of the sum.
    gradient_name = f"{name}.{'mean' if reduction == 'mean' else 'sum'}.dx"
    assert_close(gradient, data[gradient_name], 1e-12, "gradient")
