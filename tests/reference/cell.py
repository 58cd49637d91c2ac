"""What the cells have in common: their interface, and the parts that their equations are made of.

A cell knows one step of one direction. The file that follows a cell over time is direction.py; the
one that stacks layers is recurrent.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from reference.layer_norm import Normalized, normalize, normalize_backward

Array = NDArray[np.float64]
States = tuple[Array, ...]
Parameters = dict[str, Array]  # of one direction, by names without suffix: weight_ih, ...


class Cell(Protocol):
    """The equations of one step, forward and backward."""

    @property
    def states(self) -> tuple[str, ...]:
        """The names of the states. The first is h, which is also the output."""

    @property
    def gates(self) -> int:
        """How many times the hidden size the rows of weight_ih are."""

    def state_sizes(self, hidden_size: int) -> tuple[int, ...]:
        """How wide each state is."""

    def parameter_shapes(
        self, input_size: int, hidden_size: int, bias: bool
    ) -> dict[str, tuple[int, ...]]:
        """The names and shapes of the parameters of one direction."""

    def step(
        self,
        weights: Parameters,
        x: Array,
        states: States,
        recurrent_dropout: Array,
        update_dropout: Array,
    ) -> tuple[States, Any]:
        """Return the new states of every row, and the tape. x is (B, I), states are (B, .).

        `recurrent_dropout`, (B, size of h), multiplies the h that the recurrent weights see.
        `update_dropout`, (B, H), multiplies the candidate.
        """

    def step_backward(
        self, weights: Parameters, tape: Any, dstates: States
    ) -> tuple[Array, States, Parameters]:
        """From the gradients of the new states to those of x, of the old states, of the weights."""


# ------------------------------------------------------------------------------------ activations


def sigmoid(a: Array) -> Array:
    """1 / (1 + exp(-a)), by way of tanh because that can't overflow."""
    return 0.5 * (1 + np.tanh(0.5 * a))


def clamp(a: Array, limit: float | None) -> Array:
    """A pre-activation kept within [-limit, limit]."""
    return a if limit is None else np.clip(a, -limit, limit)


def clamp_backward(a: Array, limit: float | None, d: Array) -> Array:
    """The gradient of what was clamped: 0 outside of the limits."""
    return d if limit is None else np.where(np.abs(a) <= limit, d, 0)


# --------------------------------------------------------------------------------------- products


@dataclass(frozen=True)
class AffineTape:
    """What the way back through a product needs."""

    operand: Array
    normalized: Normalized | None  # W v normalised, with layer norm


def affine_shapes(
    rows: int, input_size: int, recurrent_size: int, bias: bool, layer_norm: bool
) -> dict[str, tuple[int, ...]]:
    """The names and shapes of the parameters of a cell's two products."""
    shapes: dict[str, tuple[int, ...]] = {
        "weight_ih": (rows, input_size),
        "weight_hh": (rows, recurrent_size),
    }
    if bias:
        shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
    if layer_norm:
        shapes |= {"norm_ih": (rows,), "norm_hh": (rows,)}
    return shapes


def affine(weights: Parameters, which: str, operand: Array) -> tuple[Array, AffineTape]:
    """W v + b, or LN(W v) * norm + b with layer norm. `which` is ih (v = x) or hh (v = h).

    LN takes the rows of all gates together.
    """
    value = operand @ weights[f"weight_{which}"].T
    normalized = None
    if f"norm_{which}" in weights:
        normalized = normalize(value)
        value = normalized.value * weights[f"norm_{which}"]
    return value + weights.get(f"bias_{which}", 0.0), AffineTape(operand, normalized)


def affine_backward(
    weights: Parameters, which: str, tape: AffineTape, d: Array
) -> tuple[Array, Parameters]:
    """From dL/d(W v + b), (B, rows), to dL/dv and the gradients of the parameters.

    Summed over the rows of the batch: dW = d v^T and db = d; and for each of them dv = W^T d.
    """
    gradients = {}
    if f"bias_{which}" in weights:
        gradients[f"bias_{which}"] = d.sum(axis=0)
    if tape.normalized is not None:
        gradients[f"norm_{which}"] = (d * tape.normalized.value).sum(axis=0)
        d = normalize_backward(tape.normalized, d * weights[f"norm_{which}"])
    gradients[f"weight_{which}"] = d.T @ tape.operand
    return d @ weights[f"weight_{which}"], gradients
