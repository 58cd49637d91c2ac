"""Every gradient agrees with central differences of the same code's forward pass (float64)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

import recurrust as rr
from reference.comparison import assert_all_close
from reference.differences import TOLERANCE, central_differences
from reference.layers import VARIANTS, Arrays, Case, gradients_of, make_case, named_state, randomize

T, B = 6, 4
DIRECTIONS: dict[str, dict[str, Any]] = {
    "forward": {},
    "reverse": {"reverse": True},
    "concat": {"bidirectional": True},
    "sum": {"bidirectional": True, "merge_mode": "sum"},
    "average": {"bidirectional": True, "merge_mode": "average"},
    "mul": {"bidirectional": True, "merge_mode": "mul"},
}
LENGTHS = np.array([6, 0, 4, 5])
HOLES = np.array(
    [[1, 0, 1, 1, 1, 1], [0, 1, 0, 1, 1, 1], [1, 1, 0, 1, 0, 1], [1, 1, 1, 1, 1, 0]], bool
).T
RESETS = np.array(
    [[0, 0, 0, 1, 0, 0], [0, 1, 0, 0, 0, 0], [0, 0, 1, 0, 1, 0], [1, 0, 0, 0, 0, 1]], bool
).T
FLAGS: list[Arrays] = [
    {},
    {"lengths": LENGTHS},
    {"mask": HOLES},
    {"resets": RESETS},
    {"lengths": LENGTHS, "mask": HOLES, "resets": RESETS},
]


def differences(
    terms: Callable[[Arrays], Any], inputs: Mapping[str, np.ndarray[Any, Any]]
) -> Arrays:
    """The gradient of a sum of terms that depend on several arrays, by name."""
    return {
        name: central_differences(lambda at, name=name: terms({**inputs, name: at}), array)
        for name, array in inputs.items()
    }


def with_parameters(
    layer: Any, inputs: Mapping[str, np.ndarray[Any, Any]], terms: Callable[[Arrays], Any]
) -> Arrays:
    """Differences with respect to a layer's parameters and to other inputs."""
    names = [name for name, _ in layer.named_parameters()]

    def run(values: Arrays) -> Any:
        for name, parameter in layer.named_parameters():
            parameter.assign(values[name])
        return terms(values)

    before = layer.state_dict()
    result = differences(run, {**inputs, **before})
    layer.load_state_dict({name: before[name] for name in names})
    return result


def check_layer(case: Case) -> None:
    state = case.state if isinstance(case.state, tuple) else (case.state,)

    def terms(values: Arrays) -> np.ndarray[Any, Any]:
        initial = tuple(values[f"{name}0"] for name, _ in zip(("h", "c"), state, strict=False))
        y, final = case.layer(
            values["x"], initial if len(initial) == 2 else initial[0], **case.flags
        )
        parts = final if isinstance(final, tuple) else (final,)
        pairs = zip((y, *parts), (case.dy, case.dhn, case.dcn), strict=False)
        return np.concatenate([(a * da).ravel() for a, da in pairs if da is not None])

    inputs = {"x": case.x, **named_state(case.state, "", "0")}
    assert_all_close(case.by_recurrust()[1], with_parameters(case.layer, inputs, terms), TOLERANCE)


@pytest.mark.parametrize("return_sequences", [True, False])
@pytest.mark.parametrize("loss_on", [("y",), ("h",), ("c",), ("y", "h", "c")], ids="".join)
@pytest.mark.parametrize("num_layers", [1, 3])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_lstm(
    direction: str,
    num_layers: int,
    loss_on: tuple[str, ...],
    return_sequences: bool,
    rng: np.random.Generator,
) -> None:
    for flags in FLAGS:
        case = make_case(
            rng,
            T,
            B,
            2,
            # Wide enough for gradients far above the rounding error of the differences.
            4,
            loss_on=loss_on,
            num_layers=num_layers,
            return_sequences=return_sequences,
            dtype="float64",
            **DIRECTIONS[direction],
        )
        randomize(case.layer, rng, scale=1.0)
        case.flags.update(flags)
        check_layer(case)


@pytest.mark.parametrize("kind", ["GRU", "RNN"])
@pytest.mark.parametrize("return_sequences", [True, False])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_other_cells(
    direction: str, return_sequences: bool, kind: str, rng: np.random.Generator
) -> None:
    options = {"num_layers": 2, "return_sequences": return_sequences, "dtype": "float64"}
    for flags in FLAGS:
        case = make_case(rng, T, B, 2, 4, kind=kind, **options, **DIRECTIONS[direction])
        case.flags.update(flags)
        check_layer(case)


@pytest.mark.parametrize("variant", [name for name in VARIANTS if "RNN" not in name])
def test_variants(variant: str, rng: np.random.Generator) -> None:
    """Limits far enough from what is summed up to be no kinks of the differences."""
    options = VARIANTS[variant] | ({"clip": 20.0} if "clip" in variant else {})
    for flags in FLAGS:
        case = make_case(rng, T, B, 2, 4, bidirectional=True, dtype="float64", **options)
        case.flags.update(flags)
        check_layer(case)


def distance_to_kink(case: Case) -> float:
    """The smallest magnitude of a pre-activation of one layer of rectified units."""
    w = {name.removesuffix("_l0"): array for name, array in case.layer.state_dict().items()}
    h, least = case.state[0], np.inf
    for x in case.x:
        a = x @ w["weight_ih"].T + w["bias_ih"] + h @ w["weight_hh"].T + w["bias_hh"]
        h, least = np.maximum(a, 0), min(least, np.abs(a).min())
    return float(least)


def test_relu(rng: np.random.Generator) -> None:
    """Away from its kink, where differences say nothing."""
    while True:
        case = make_case(rng, T, B, 2, 4, kind="RNN", nonlinearity="relu", dtype="float64")
        if distance_to_kink(case) > 1e-3:
            break
    check_layer(case)


@pytest.mark.parametrize(
    "options",
    [
        {"bias": False},
        {"batch_first": True, "num_layers": 2, "bidirectional": True},
        {"batch_first": True, "reverse": True, "return_sequences": False},
    ],
)
def test_lstm_layout_and_bias(options: dict[str, Any], rng: np.random.Generator) -> None:
    for flags in ((), ("lengths", "mask", "resets")):
        check_layer(make_case(rng, 5, 4, 3, 4, flags=flags, dtype="float64", **options))


@pytest.mark.parametrize("bias", [True, False])
def test_lstm_cell(bias: bool, rng: np.random.Generator) -> None:
    for used in itertools.product((True, False), repeat=2):
        if not any(used):
            continue
        cell = rr.LSTMCell(3, 4, bias=bias, dtype="float64")
        randomize(cell, rng)
        inputs = {
            "x": rng.normal(size=(B, 3)),
            "h0": rng.normal(size=(B, 4)),
            "c0": rng.normal(size=(B, 4)),
        }
        dh, dc = (rng.normal(size=(B, 4)) if use else None for use in used)

        def scalar(values: Arrays, cell: Any = cell, dh: Any = dh, dc: Any = dc) -> float:
            h, c = cell(values["x"], (values["h0"], values["c0"]))
            pairs = ((h, dh), (c, dc))
            return float(sum((a * da).sum() for a, da in pairs if da is not None))

        expected = with_parameters(cell, inputs, scalar)
        _, cache = cell.forward_with_cache(inputs["x"], (inputs["h0"], inputs["c0"]))
        dx, (dh0, dc0) = cell.backward((dh, dc), cache=cache)
        assert_all_close({"x": dx, "h0": dh0, "c0": dc0, **gradients_of(cell)}, expected, TOLERANCE)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(3,), (4, 3), (5, 4, 3)])
def test_linear(shape: tuple[int, ...], bias: bool, rng: np.random.Generator) -> None:
    layer = rr.Linear(3, 2, bias=bias, dtype="float64")
    randomize(layer, rng)
    x = rng.normal(size=shape)
    dy = rng.normal(size=(*shape[:-1], 2))
    expected = with_parameters(
        layer, {"x": x}, lambda values: float((layer(values["x"]) * dy).sum())
    )
    _, cache = layer.forward_with_cache(x)
    dx = layer.backward(dy, cache=cache)
    assert_all_close({"x": dx, **gradients_of(layer)}, expected, TOLERANCE)


@pytest.mark.parametrize("p", [0.0, 0.3, 0.9, 1.0])
def test_dropout(p: float, rng: np.random.Generator) -> None:
    layer = rr.Dropout(p)
    x, dy = rng.normal(size=(2, 5, 4))
    stream = rr.get_rng_state()

    def scalar(values: Arrays) -> float:
        rr.set_rng_state(stream)
        return float((layer(values["x"]) * dy).sum())

    expected = differences(scalar, {"x": x})
    rr.set_rng_state(stream)
    _, cache = layer.forward_with_cache(x)
    assert_all_close({"x": layer.backward(dy, cache=cache)}, expected, TOLERANCE)


def test_dropout_in_evaluation_passes_gradients_through(rng: np.random.Generator) -> None:
    layer = rr.Dropout(0.5).eval()
    x, dy = rng.normal(size=(2, 5, 4))
    _, cache = layer.forward_with_cache(x)
    np.testing.assert_array_equal(layer.backward(dy, cache=cache), dy)


@pytest.mark.parametrize("weighting", ["plain", "mask", "sample_weight", "both"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(
    "kind",
    [
        "mse",
        "mae",
        "huber",
        "smooth_l1",
        "answers",
        "quantiles",
        "gaussian",
        "classes",
        "smoothed",
        "weighted",
        "ignoring",
        "probabilities",
    ],
)
def test_loss(kind: str, reduction: str, weighting: str, rng: np.random.Generator) -> None:
    pred = rng.normal(size=(4, 3, 5))
    target: Any = rng.integers(0, 5, size=(4, 3))
    loss: Any
    if kind == "mse":
        loss, target = rr.MSELoss(reduction=reduction), rng.normal(size=pred.shape)
    elif kind == "mae":
        loss = rr.MAELoss(reduction=reduction)
        # At least 0.1 away from the kink.
        target = pred + rng.choice([-1, 1], pred.shape) * rng.uniform(0.1, 1, pred.shape)
    elif kind in ("huber", "smooth_l1"):
        loss = (rr.HuberLoss if kind == "huber" else rr.SmoothL1Loss)(0.5, reduction=reduction)
        # At least 0.01 away from the kinks of the slope.
        distance = rng.choice([0.1, 0.45, 0.55, 2], pred.shape) + rng.uniform(0, 0.04, pred.shape)
        target = pred + rng.choice([-1, 1], pred.shape) * distance
    elif kind == "answers":
        loss = rr.BCEWithLogitsLoss(rng.uniform(0.5, 2, 5), reduction=reduction)
        target = rng.uniform(size=pred.shape)
    elif kind == "quantiles":
        loss = rr.QuantileLoss([0.1, 0.3, 0.5, 0.6, 0.9], reduction=reduction)
        target = rng.normal(size=(4, 3))
        away = target[..., None] - pred
        pred -= np.where(np.abs(away) < 0.1, 0.2, 0.0) * np.sign(away)
    elif kind == "gaussian":
        loss = rr.GaussianNLLLoss(full=True, reduction=reduction)
        pred, target = pred[..., :2], rng.normal(size=(4, 3))
    elif kind == "probabilities":
        loss = rr.CrossEntropyLoss(reduction=reduction)
        target = rng.dirichlet(np.ones(5), size=(4, 3))
    else:
        options: dict[str, dict[str, Any]] = {
            "classes": {},
            "smoothed": {"label_smoothing": 0.2},
            "weighted": {"weight": rng.uniform(0.5, 2, 5), "label_smoothing": 0.1},
            "ignoring": {"ignore_index": 2},
        }
        loss = rr.CrossEntropyLoss(**options[kind], reduction=reduction)
    given: Arrays = {}
    if weighting in ("mask", "both"):
        given["mask"] = rng.random((4, 3)) < 0.7
    if weighting in ("sample_weight", "both"):
        given["sample_weight"] = rng.uniform(0.5, 2, 4)
    expected = differences(
        lambda values: float(np.sum(loss(values["pred"], target, **given))), {"pred": pred}
    )
    _, gradient = loss.value_and_grad(pred, target, **given)
    assert_all_close({"pred": gradient}, expected, TOLERANCE)


def test_network_from_loss_to_input(rng: np.random.Generator) -> None:
    """Layers hand gradients on to each other."""
    model = rr.Sequential(
        rr.LSTM(2, 3, bidirectional=True, dtype="float64"),
        rr.Dropout(0.4),
        rr.LSTM(6, 2, return_sequences=False, dtype="float64"),
        rr.Linear(2, 2, dtype="float64"),
    )
    randomize(model, rng, scale=1.0)
    x, target = rng.normal(size=(T, B, 2)), rng.normal(size=(B, 2))
    loss, each = rr.MSELoss(), rr.MSELoss(reduction="none")
    stream = rr.get_rng_state()

    def terms(values: Arrays) -> Any:
        rr.set_rng_state(stream)
        return each(model(values["x"], lengths=LENGTHS), target) / target.size

    expected = with_parameters(model, {"x": x}, terms)
    rr.set_rng_state(stream)
    y, cache = model.forward_with_cache(x, lengths=LENGTHS)
    _, dy = loss.value_and_grad(y, target)
    dx = model.backward(dy, cache=cache)
    assert_all_close({"x": dx, **gradients_of(model)}, expected, TOLERANCE)
