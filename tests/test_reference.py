"""recurrust equals the NumPy reference over shapes, options and flags."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import recurrust as rr
from reference import golden
from reference.comparison import assert_all_close
from reference.layers import KINDS, REFERENCES, VARIANTS, Case, make_case, named_state, randomize

FLAGS = ("lengths", "mask", "resets")
# Gradients that vanish come from those of the outputs, which are about 1 here; those of parameters
# are sums over all steps and rows, which grow as the square root of their number.
LEAST = 0.05
DIRECTIONS: list[dict[str, Any]] = [
    {},
    {"reverse": True},
    {"bidirectional": True},
    {"bidirectional": True, "merge_mode": "sum"},
    {"bidirectional": True, "merge_mode": "average"},
    {"bidirectional": True, "merge_mode": "mul"},
]


def assert_equals_reference(case: Case) -> None:
    tolerance, gradient_tolerance = golden.tolerances(case.layer.dtype)
    outputs, gradients = case.by_recurrust()
    expected_outputs, expected_gradients = case.by_reference()
    assert_all_close(outputs, expected_outputs, tolerance)
    least = LEAST * case.x[..., 0].size ** 0.5
    assert_all_close(gradients, expected_gradients, gradient_tolerance, least)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("hidden_size", [1, 2, 3, 7, 17, 33])
@pytest.mark.parametrize("kind", KINDS)
def test_shapes(kind: str, hidden_size: int, dtype: str, rng: np.random.Generator) -> None:
    """Sizes around those of registers and tiles, and blocks of time of every remainder."""
    for T, B, input_size in [
        (1, 1, 1),
        (1, 5, 3),
        (2, 1, 8),
        (3, 2, 1),
        (5, 6, 17),
        (4, 7, 2),
        (9, 13, 5),
        (40, 1, 4),
        (37, 3, 9),
        (3, 70, 6),
    ]:
        case = make_case(rng, T, B, input_size, hidden_size, kind=kind, dtype=dtype)
        # Larger weights make chaos of many units, in which rounding errors grow from step to step.
        randomize(case.layer, rng, scale=min(0.5, hidden_size**-0.5))
        assert_equals_reference(case)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("flags", [(), *[(flag,) for flag in FLAGS], FLAGS])
@pytest.mark.parametrize("direction", DIRECTIONS, ids=lambda options: ",".join(map(str, options)))
@pytest.mark.parametrize("kind", KINDS)
def test_options(
    kind: str,
    direction: dict[str, Any],
    flags: tuple[str, ...],
    dtype: str,
    rng: np.random.Generator,
) -> None:
    for layers, batch_first, return_sequences, bias in itertools.product(
        (1, 3), (False, True), (False, True), (False, True)
    ):
        case = make_case(
            rng,
            6,
            5,
            4,
            5,
            kind=kind,
            flags=flags,
            num_layers=layers,
            batch_first=batch_first,
            return_sequences=return_sequences,
            bias=bias,
            dtype=dtype,
            **direction,
        )
        assert_equals_reference(case)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_variants(variant: str, dtype: str, rng: np.random.Generator) -> None:
    """Options of cells, over directions, flags, sizes around those of registers, with and without
    bias."""
    for options, flags, (T, B, input_size, hidden_size), bias in [
        ({}, (), (1, 1, 1, 1), True),
        ({"num_layers": 2}, FLAGS, (9, 7, 3, 17), True),
        ({"bidirectional": True, "num_layers": 2}, FLAGS, (6, 5, 2, 4), True),
        ({"bidirectional": True, "return_sequences": False}, ("lengths",), (6, 5, 2, 33), False),
        ({"reverse": True, "batch_first": True}, ("mask",), (30, 1, 3, 20), False),
        ({}, (), (40, 13, 5, 70), True),
    ]:
        options = {**options, **VARIANTS[variant], "bias": bias, "dtype": dtype}
        case = make_case(rng, T, B, input_size, hidden_size, flags=flags, **options)
        randomize(case.layer, rng, scale=min(0.5, hidden_size**-0.5))
        assert_equals_reference(case)


@pytest.mark.parametrize(
    ("T", "B", "input_size", "hidden_size", "options"),
    [
        (300, 4, 3, 20, {}),
        (500, 1, 12, 64, {}),
        (12, 150, 30, 40, {"bidirectional": True}),
        (25, 33, 130, 129, {}),
        (70, 9, 6, 48, {"num_layers": 2, "reverse": True}),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
def test_large_shapes(
    kind: str,
    T: int,
    B: int,
    input_size: int,
    hidden_size: int,
    options: dict[str, Any],
    dtype: str,
    rng: np.random.Generator,
) -> None:
    """Several blocks of time, rows and units. Weights as new layers have them: chaos grows."""
    options = {**options, "kind": kind, "dtype": dtype}
    case = make_case(rng, T, B, input_size, hidden_size, flags=FLAGS[:2], **options)
    randomize(case.layer, rng, scale=hidden_size**-0.5)
    assert_equals_reference(case)


@given(
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(KINDS),
    T=st.integers(1, 12),
    B=st.integers(1, 9),
    input_size=st.integers(1, 9),
    hidden_size=st.integers(1, 20),
    num_layers=st.integers(1, 3),
    direction=st.sampled_from(DIRECTIONS),
    flags=st.sets(st.sampled_from(FLAGS)),
    state=st.booleans(),
    loss_on=st.sets(st.sampled_from(["y", "h", "c"]), min_size=1),
    batch_first=st.booleans(),
    return_sequences=st.booleans(),
    bias=st.booleans(),
)
def test_any_combination(
    seed: int,
    T: int,
    B: int,
    input_size: int,
    hidden_size: int,
    direction: dict[str, Any],
    flags: set[str],
    loss_on: set[str],
    **options: Any,
) -> None:
    rng = np.random.default_rng(seed)
    case = make_case(
        rng,
        T,
        B,
        input_size,
        hidden_size,
        flags=tuple(flags),
        loss_on=tuple(loss_on),
        dtype="float64",
        **options,
        **direction,
    )
    assert_equals_reference(case)


@given(
    data=st.data(), kind=st.sampled_from(KINDS), T=st.integers(1, 5), bidirectional=st.booleans()
)
def test_any_flags(data: st.DataObject, kind: str, T: int, bidirectional: bool) -> None:
    """Every pattern of lengths, holes and resets of two short rows."""
    row = st.lists(st.booleans(), min_size=T, max_size=T)
    mask, resets = (
        np.array(data.draw(st.lists(row, min_size=2, max_size=2)), bool).T for _ in range(2)
    )
    lengths = np.array(data.draw(st.lists(st.integers(0, T), min_size=2, max_size=2)))
    rng = np.random.default_rng(T)
    options: dict[str, Any] = {"bidirectional": bidirectional, "dtype": "float64"}
    case = make_case(rng, T, 2, 2, 3, kind=kind, flags=FLAGS, **options)
    case.flags.update(lengths=lengths, mask=mask, resets=resets)
    assert_equals_reference(case)


@pytest.mark.parametrize("options", DIRECTIONS[:3])
def test_one_sequence_without_batch_axis(options: dict[str, Any], rng: np.random.Generator) -> None:
    case = make_case(rng, 6, 1, 3, 4, num_layers=2, dtype="float64", **options)
    y, (h, c), cache = case.forward()
    dx, (dh, dc) = case.backward(cache)
    with_axis = gradients_of_then_clear(case)

    def solo(array: Any, axis: int = 1) -> Any:
        return np.squeeze(array, axis)

    assert case.state is not None
    y1, (h1, c1), cache1 = case.layer.forward_with_cache(solo(case.x), tuple(map(solo, case.state)))
    dx1, (dh1, dc1) = case.layer.backward(
        solo(case.dy), (solo(case.dhn), solo(case.dcn)), cache=cache1
    )
    for got, expected in [(y1, y), (h1, h), (c1, c), (dx1, dx), (dh1, dh), (dc1, dc)]:
        np.testing.assert_array_equal(got, solo(expected))
    assert_all_close(gradients_of_then_clear(case), with_axis, 0.0)


def gradients_of_then_clear(case: Case) -> dict[str, Any]:
    gradients = {name: p.grad.copy() for name, p in case.layer.named_parameters()}
    case.layer.zero_grad()
    return gradients


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("hidden_size", [1, 3, 17, 33])
@pytest.mark.parametrize("name", [*KINDS, "PeepholeLSTM"])
def test_cell(
    name: str, hidden_size: int, dtype: str, bias: bool, rng: np.random.Generator
) -> None:
    tolerance, gradient_tolerance = golden.tolerances(dtype)
    kind = name.removeprefix("Peephole")
    options = {"peephole": True} if kind != name else {}
    for B, input_size in [(1, 1), (4, 3), (13, 20)]:
        cell = getattr(rr, f"{name}Cell")(input_size, hidden_size, bias=bias, dtype=dtype)
        randomize(cell, rng, scale=min(0.7, hidden_size**-0.5))
        x = rng.normal(size=(B, input_size)).astype(dtype)
        parts = 2 if kind == "LSTM" else 1
        state, dstate = rng.normal(size=(2, parts, B, hidden_size)).astype(dtype)

        def structured(parts: Any) -> Any:
            return tuple(parts) if kind == "LSTM" else parts[0]

        weights = {f"{name}_l0": array for name, array in cell.state_dict().items()}
        reference = REFERENCES[kind](weights, **options)
        _, expected, tape = reference.forward(x[None], structured(state[:, None]))
        back = reference.backward(tape, None, *dstate[:, None])

        got, cache = cell.forward_with_cache(x, structured(state))
        assert_all_close(
            named_state(got, "", ""),
            {name: part[0] for name, part in named_state(expected, "", "").items()},
            tolerance,
        )
        dx, initial = cell.backward(structured(dstate), cache=cache)
        expected_initial = {"h0": back.h0[0]} | ({"c0": back.c0[0]} if kind == "LSTM" else {})
        assert_all_close(
            {"x": dx, **named_state(initial, "", "0")}
            | {f"{name}_l0": p.grad for name, p in cell.named_parameters()},
            {"x": back.x[0], **expected_initial, **back.parameters},
            gradient_tolerance,
            LEAST,
        )
