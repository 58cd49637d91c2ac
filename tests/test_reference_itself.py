"""The reference implementation is right: it agrees with PyTorch and with its own differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from reference import golden, optimizers
from reference.comparison import assert_all_close, assert_close
from reference.differences import TOLERANCE, central_differences
from reference.gru import ReferenceGRU
from reference.losses import (
    absolute_errors,
    binary_cross_entropies,
    cross_entropies,
    huber,
    reduce,
    smooth_l1,
    squared_errors,
)
from reference.lstm import ReferenceLSTM
from reference.recurrent import as_state, as_tuple
from reference.rnn import ReferenceRNN

REFERENCES = {"LSTM": ReferenceLSTM, "GRU": ReferenceGRU, "RNN": ReferenceRNN}


@pytest.mark.parametrize("name", golden.RECURRENT_NAMES)
def test_recurrent_layers_agree_with_others(name: str) -> None:
    case = golden.recurrent_case(name)
    reference = REFERENCES[case.kind](case.parameters, **case.options)
    y, state, tape = reference.forward(case.x, case.state, lengths=case.lengths)
    case.check_outputs(y, state)
    if case.has_gradients:
        back = reference.backward(tape, case.dy, *as_tuple(case.dstate))
        case.check_gradients(back.x, as_state(back.states), back.parameters)


def test_every_archive_of_a_recurrent_layer_is_tested() -> None:
    files = [path.stem for kind in golden.KINDS for path in golden.FOLDER.glob(f"{kind}_*")]
    assert sorted(golden.RECURRENT_NAMES) == sorted(files)
    assert len(files) == 43


@pytest.mark.parametrize("return_sequences", [True, False])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"reverse": True, "batch_first": True},
        {"bidirectional": True, "merge_mode": "concat"},
        {"bidirectional": True, "merge_mode": "sum"},
        {"bidirectional": True, "merge_mode": "average"},
        {"bidirectional": True, "merge_mode": "mul", "batch_first": True},
    ],
    ids=lambda options: ",".join(map(str, options.values())),
)
def test_lstm_agrees_with_central_differences(
    options: dict[str, Any], return_sequences: bool, rng: np.random.Generator
) -> None:
    T, B, inputs, H, L = 4, 3, 2, 2, 2
    directions = 2 if options.get("bidirectional") else 1
    width = H * (2 if options.get("merge_mode") == "concat" else 1)
    parameters = {}
    for layer in range(L):
        for suffix in ["", "_reverse"][:directions]:
            columns = inputs if layer == 0 else width
            parameters[f"weight_ih_l{layer}{suffix}"] = rng.normal(size=(4 * H, columns))
            parameters[f"weight_hh_l{layer}{suffix}"] = rng.normal(size=(4 * H, H))
            parameters[f"bias_ih_l{layer}{suffix}"] = rng.normal(size=4 * H)
            parameters[f"bias_hh_l{layer}{suffix}"] = rng.normal(size=4 * H)
    layout = (B, T) if options.get("batch_first") else (T, B)
    state_shape = (L * directions, B, H)
    inputs = {
        **parameters,
        "x": rng.normal(size=(*layout, inputs)),
        "h0": rng.normal(size=state_shape),
        "c0": rng.normal(size=state_shape),
    }
    flags = {
        "lengths": [4, 0, 3],
        "mask": rng.random(layout) < 0.8,
        "resets": rng.random(layout) < 0.3,
    }
    dy = rng.normal(size=(*layout, width) if return_sequences else (B, width))
    dhn, dcn = rng.normal(size=(2, *state_shape))

    def run(inputs: dict[str, Any]) -> tuple[float, Any, Any]:
        reference = ReferenceLSTM(
            {name: inputs[name] for name in parameters},
            num_layers=L,
            return_sequences=return_sequences,
            **options,
        )
        y, (hn, cn), tape = reference.forward(inputs["x"], (inputs["h0"], inputs["c0"]), **flags)
        return float((y * dy).sum() + (hn * dhn).sum() + (cn * dcn).sum()), reference, tape

    _, reference, tape = run(inputs)
    gradients = reference.backward(tape, dy, dhn, dcn)
    got = {"x": gradients.x, "h0": gradients.h0, "c0": gradients.c0, **gradients.parameters}
    expected = {
        name: central_differences(lambda at, name=name: run({**inputs, name: at})[0], array)
        for name, array in inputs.items()
    }
    assert_all_close(got, expected, TOLERANCE)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_losses_agree_with_pytorch(reduction: str) -> None:
    data = golden.arrays("losses")
    for name, case in golden.descriptions()["losses"].items():
        x, target = data["x"], data[case["target"]]
        own = None
        if case["kind"] == "MSELoss":
            losses = squared_errors(x, target)
        elif case["kind"] == "MAELoss":
            losses = absolute_errors(x, target)
        elif case["kind"] == "HuberLoss":
            losses = huber(x, target, case["delta"])
        elif case["kind"] == "SmoothL1Loss":
            losses = smooth_l1(x, target, case["beta"])
        elif case["kind"] == "BCEWithLogitsLoss":
            losses = binary_cross_entropies(x, target)
        else:
            losses, own = cross_entropies(
                x,
                target,
                weight=data[case["weight"]] if "weight" in case else None,
                ignore_index=case.get("ignore_index"),
                label_smoothing=case.get("label_smoothing", 0.0),
            )
        assert_close(reduce(losses, reduction, own_weight=own), data[f"{name}.{reduction}"], 1e-12)


@pytest.mark.parametrize("name", golden.descriptions()["optimizers"])
def test_optimizers_agree_with_pytorch(name: str) -> None:
    data, options = golden.arrays("optimizers"), golden.descriptions()["optimizers"][name]
    update = getattr(optimizers, name.split("_")[0])
    parameters = [data[f"p0.{index}"].copy() for index in range(3)]
    memories: list[optimizers.Memory] = [{} for _ in parameters]
    for step in range(1, 26):
        for index, (parameter, memory) in enumerate(zip(parameters, memories, strict=True)):
            update(parameter, data[f"g{step - 1}.{index}"], memory, step, **options)
            key = f"{name}.step{step}.{index}"
            if key in data:
                assert_close(parameter, data[key], 1e-12, key)
