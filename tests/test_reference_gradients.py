"""The reference's gradients agree with central differences: each option alone, and every pair.

A pair runs through two layers, two directions, lengths (one of them 0), holes in the mask and
resets, unless one of its options says otherwise.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from reference import masks
from reference.cell import Array, Cell, States
from reference.differences import TOLERANCE, derivative
from reference.drawing import CELLS, random_reference, random_states
from reference.recurrent import ReferenceRecurrent, Tape, as_state, as_tuple

Arrays = dict[str, Array]

# Small, so that a clipped gate or a relu seldom has its kink between the points of a difference.
STEP = 1e-5
ATTEMPTS = 20


@dataclass(frozen=True)
class Option:
    """Arguments of the cell and of the stack, and the masks of a call that trains."""

    cell: dict[str, Any] = field(default_factory=dict)
    stack: dict[str, Any] = field(default_factory=dict)
    masks: tuple[str, ...] = ()
    constant: bool = False  # the masks are constant over time


COMMON = {
    "bias=False": Option(stack={"bias": False}),
    "batch_first": Option(stack={"batch_first": True}),
    "return_sequences=False": Option(stack={"return_sequences": False}),
    "reverse": Option(stack={"reverse": True, "bidirectional": False}),
    "sum": Option(stack={"merge_mode": "sum"}),
    "average": Option(stack={"merge_mode": "average"}),
    "mul": Option(stack={"merge_mode": "mul"}),
    "zoneout": Option(masks=("zoneout",)),
    "zoneout_expectation": Option(stack={"zoneout": 0.3}),
    "zoneout_identity": Option(stack={"zoneout": 0.3, "zoneout_eval": "identity"}),
    "input_dropout": Option(masks=("input_dropout",)),
    "input_dropout_constant": Option(masks=("input_dropout",), constant=True),
    "recurrent_dropout": Option(masks=("recurrent_dropout",)),
    "recurrent_dropout_constant": Option(masks=("recurrent_dropout",), constant=True),
    "update_dropout": Option(masks=("update_dropout",)),
    "weight_dropout": Option(masks=("weight_dropout",)),
    "dropout": Option(masks=("dropout",)),
    "output_dropout": Option(masks=("output_dropout",)),
}
CLIP = Option(cell={"clip": 0.7})
LAYER_NORM = Option(cell={"layer_norm": True})
OPTIONS: dict[str, dict[str, Option]] = {
    "LSTM": {
        "peephole": Option(cell={"peephole": True}),
        "coupled": Option(cell={"coupled": True}),
        "proj_size": Option(cell={"proj_size": 2}),
        "clip": CLIP,
        "layer_norm": LAYER_NORM,
        **COMMON,
        "zoneout_expectation": Option(stack={"zoneout": (0.3, 0.2)}),  # cell, hidden
    },
    "GRU": {
        "reset_before": Option(cell={"reset_after": False}),
        "clip": CLIP,
        "layer_norm": LAYER_NORM,
        **COMMON,
    },
    "RNN": {
        "relu": Option(cell={"nonlinearity": "relu"}),
        "clip": CLIP,
        "layer_norm": LAYER_NORM,
        **COMMON,
    },
}

ONE_OF = {
    "a layer has one way to merge its directions": ("sum", "average", "mul"),
    "zoneout has one mode": ("zoneout", "zoneout_expectation", "zoneout_identity"),
    "a mask is constant over time or isn't": ("input_dropout", "input_dropout_constant"),
    "a recurrent mask is constant over time or isn't": (
        "recurrent_dropout",
        "recurrent_dropout_constant",
    ),
}


AT_EVALUATION = {"zoneout_expectation", "zoneout_identity"}


def reason_against(kind: str, first: str, second: str) -> str | None:
    """Why two options can't be together; None if they can."""
    pair = {first, second}
    for reason, names in ONE_OF.items():
        if pair <= set(names):
            return reason
    if "reverse" in pair and pair & {"sum", "average", "mul"}:
        return "one direction has nothing to merge with"
    if pair & AT_EVALUATION and any(OPTIONS[kind][name].masks for name in pair):
        return "masks act in training, this zoneout at evaluation"
    if pair == {"reset_before", "layer_norm"}:
        return "refused: the normaliser would need r before r is known"
    return None


PAIRS = [
    (kind, first, second)
    for kind, options in OPTIONS.items()
    for first, second in itertools.combinations(options, 2)
]
EXCLUDED = {pair: reason for pair in PAIRS if (reason := reason_against(*pair)) is not None}
TESTED = [pair for pair in PAIRS if pair not in EXCLUDED]


def test_every_pair_of_options_is_tested_or_has_a_reason() -> None:
    for pair, reason in EXCLUDED.items():
        print("excluded", *pair, "--", reason)
    for kind, options in OPTIONS.items():
        tested = sum(kind == pair[0] for pair in TESTED)
        excluded = sum(kind == pair[0] for pair in EXCLUDED)
        print(f"{kind}: {len(options)} options, {tested} pairs tested, {excluded} excluded")
        assert tested + excluded == len(options) * (len(options) - 1) // 2
    assert [len(options) for options in OPTIONS.values()] == [23, 21, 21]
    assert (len(TESTED), len(EXCLUDED)) == (591, 82)


# ---------------------------------------------------------------------------------- what is tested


@dataclass(frozen=True)
class Problem:
    """A scalar function of everything that goes into a forward pass, and its arguments."""

    cell: Cell
    stack: dict[str, Any]
    inputs: dict[str, Array]  # x, states and parameters
    call: dict[str, Any]  # what else the forward pass takes
    dy: Array
    dstates: States

    def _forward(self, inputs: dict[str, Array]) -> tuple[ReferenceRecurrent, Array, States, Tape]:
        parameters = dict(inputs)
        x = parameters.pop("x")
        states = tuple(parameters.pop(f"{name}0") for name in self.cell.states)
        reference = ReferenceRecurrent(self.cell, parameters, **self.stack)
        y, final, tape = reference.forward(x, as_state(states), **self.call)
        return reference, y, as_tuple(final), tape

    def terms(self, inputs: dict[str, Array]) -> Array:
        """What the function sums up."""
        _, y, final, _ = self._forward(inputs)
        weighted = zip((y, *final), (self.dy, *self.dstates), strict=True)
        return np.concatenate([(array * weight).ravel() for array, weight in weighted])

    def gradients(self) -> Arrays:
        """By the reference's backward pass."""
        reference, _, _, tape = self._forward(self.inputs)
        back = reference.backward(tape, self.dy, *self.dstates)
        states = zip(self.cell.states, back.states, strict=True)
        return {"x": back.x, **{f"{name}0": d for name, d in states}, **back.parameters}

    def slope(self, direction: Arrays, step: float) -> float:
        """The derivative along a direction in the space of the inputs, by differences."""

        def moved(by: float) -> Array:
            there = {name: self.inputs[name] + by * along for name, along in direction.items()}
            return self.terms(self.inputs | there)

        return derivative(moved, step)


def draw(
    rng: np.random.Generator, kind: str, names: tuple[str, ...], T: int, B: int, **stack: Any
) -> Problem:
    """A problem with these options; `stack` is what holds unless an option says otherwise."""
    options = [OPTIONS[kind][name] for name in names]
    arguments: dict[str, Any] = {}
    for option in options:
        arguments |= option.cell
        stack |= option.stack
    cell = CELLS[kind](**arguments)
    bias = stack.pop("bias", True)
    reference = random_reference(rng, cell, 2, 3, bias=bias, **stack)

    drawn: Arrays = {}
    for option in options:
        chosen = masks.draw(rng, reference.mask_shapes(T, B), option.masks, rate=0.4)
        drawn |= {name: mask[:1] if option.constant else mask for name, mask in chosen.items()}
    layout = (B, T) if reference.batch_first else (T, B)
    call = {
        "lengths": rng.permutation([T, *rng.integers(0, T, size=B - 1)]),
        "mask": rng.random(layout) < 0.8,
        "resets": rng.random(layout) < 0.2,
        "masks": drawn,
        "training": bool(drawn),
    }
    x = rng.normal(size=(*layout, 2))
    states = random_states(rng, reference, B)
    y, _, _ = reference.forward(x, as_state(states), **call)
    named = {f"{name}0": state for name, state in zip(cell.states, states, strict=True)}
    inputs = {"x": x, **named, **reference.parameters}
    dy, dstates = rng.normal(size=y.shape), random_states(rng, reference, B)
    return Problem(cell, stack, inputs, call, dy, dstates)


# ------------------------------------------------------------------------------------- directions

Directions = Callable[[np.random.Generator, Arrays], Iterator[Arrays]]


def entry(gradients: Arrays, name: str, index: tuple[int, ...]) -> Arrays:
    """The direction of one entry, scaled so that the tensor's largest gradient counts as 1."""
    along = np.zeros_like(gradients[name])
    along[index] = 1 / np.abs(gradients[name]).max()
    return {name: along}


def every_entry(rng: np.random.Generator, gradients: Arrays) -> Iterator[Arrays]:
    for name, gradient in gradients.items():
        for index in np.ndindex(gradient.shape):
            yield entry(gradients, name, index)


def some_directions(rng: np.random.Generator, gradients: Arrays) -> Iterator[Arrays]:
    """All entries at once, up or down by chance, and a few entries alone."""
    for _ in range(2):
        yield {
            name: rng.choice([-1.0, 1.0], size=gradient.shape) / np.abs(gradient).max()
            for name, gradient in gradients.items()
        }
    for name in rng.choice(list(gradients), size=2, replace=False):
        yield entry(gradients, name, tuple(rng.integers(gradients[name].shape)))


def largest_error(
    rng: np.random.Generator, problem: Problem, directions: Directions
) -> float | None:
    """Of the largest gradient of each tensor; None if differences can't tell.

    They can't at a kink of clip or relu, where another step gives another difference; and a tensor
    whose gradients are all 0 (resets or masks may do that) has no largest one.
    """
    gradients = problem.gradients()
    if not all(gradient.any() for gradient in gradients.values()):
        return None
    errors = []
    for direction in directions(rng, gradients):
        exact = sum((gradients[name] * along).sum() for name, along in direction.items())
        slope = problem.slope(direction, STEP)
        errors.append(abs(slope - exact))
        if errors[-1] > TOLERANCE:
            other = problem.slope(direction, STEP / 2)
            if abs(slope - other) > 0.2 * TOLERANCE:
                return None
    return max(errors)


def check(rng: np.random.Generator, directions: Directions, *args: Any, **options: Any) -> None:
    for _ in range(ATTEMPTS):
        error = largest_error(rng, draw(rng, *args, **options), directions)
        if error is not None:
            assert error <= TOLERANCE
            return
    raise AssertionError(f"{ATTEMPTS} problems, and no differences to rely on")


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, options in OPTIONS.items() for name in options]
)
def test_option(kind: str, name: str, rng: np.random.Generator) -> None:
    layers = 2 if name == "dropout" else 1
    check(rng, every_entry, kind, (name,), T=3, B=2, num_layers=layers)


@pytest.mark.parametrize(("kind", "first", "second"), TESTED)
def test_pair_of_options(kind: str, first: str, second: str, rng: np.random.Generator) -> None:
    check(rng, some_directions, kind, (first, second), T=4, B=3, num_layers=2, bidirectional=True)
