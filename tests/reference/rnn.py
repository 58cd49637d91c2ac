"""The simple recurrent network of Elman (1990).

This file defines what one step of `recurrust.RNN` computes, for the input x and the state h that
enters the step:

    a  = W_ih x + b_ih + W_hh h + b_hh
    h' = tanh(a), or relu(a) = max(a, 0) with nonlinearity="relu"

Options, each alone or with any others:

* clip = v: a is clamped to [-v, v]; outside its derivative is 0.
* layer norm (Ba et al. 2016): a = LN(W_ih x) norm_ih + LN(W_hh h) norm_hh + b_ih + b_hh.
* recurrent dropout, a mask m for h: W_hh h becomes W_hh (m h).
* update dropout, a mask m for the candidate: h' = m tanh(a).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from reference.cell import (
    AffineTape,
    Array,
    Parameters,
    States,
    affine,
    affine_backward,
    affine_shapes,
    clamp,
    clamp_backward,
)
from reference.recurrent import ReferenceRecurrent


@dataclass(frozen=True)
class StepTape:
    """What the step backwards needs, all (B, .)."""

    input: AffineTape
    recurrent: AffineTape
    recurrent_dropout: Array
    update_dropout: Array
    a: Array  # the pre-activation, before it is clamped
    activated: Array


@dataclass(frozen=True)
class RNNCell:
    """One step of a simple recurrent network."""

    nonlinearity: str = "tanh"
    clip: float | None = None
    layer_norm: bool = False

    states: ClassVar = ("h",)
    gates: ClassVar = 1

    def __post_init__(self) -> None:
        if self.nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"nonlinearity must be tanh or relu, got {self.nonlinearity!r}")

    def state_sizes(self, hidden_size: int) -> tuple[int, ...]:
        return (hidden_size,)

    def parameter_shapes(
        self, input_size: int, hidden_size: int, bias: bool
    ) -> dict[str, tuple[int, ...]]:
        return affine_shapes(hidden_size, input_size, hidden_size, bias, self.layer_norm)

    def step(
        self,
        weights: Parameters,
        x: Array,
        states: States,
        recurrent_dropout: Array,
        update_dropout: Array,
    ) -> tuple[States, StepTape]:
        (h,) = states
        from_x, input_tape = affine(weights, "ih", x)
        from_h, recurrent_tape = affine(weights, "hh", recurrent_dropout * h)
        a = from_x + from_h
        clamped = clamp(a, self.clip)
        activated = np.tanh(clamped) if self.nonlinearity == "tanh" else np.maximum(clamped, 0)
        tape = StepTape(
            input=input_tape,
            recurrent=recurrent_tape,
            recurrent_dropout=recurrent_dropout,
            update_dropout=update_dropout,
            a=a,
            activated=activated,
        )
        return (update_dropout * activated,), tape

    def step_backward(
        self, weights: Parameters, tape: StepTape, dstates: States
    ) -> tuple[Array, States, Parameters]:
        """Go back, with tanh' = 1 - t^2; relu' = 1 where its value is positive, 0 elsewhere."""
        (dh,) = dstates
        tanh = self.nonlinearity == "tanh"
        slope = 1 - tape.activated**2 if tanh else np.where(tape.activated > 0, 1.0, 0.0)
        da = clamp_backward(tape.a, self.clip, dh * tape.update_dropout * slope)
        dx, input_gradients = affine_backward(weights, "ih", tape.input, da)
        dropped, recurrent_gradients = affine_backward(weights, "hh", tape.recurrent, da)
        return dx, (tape.recurrent_dropout * dropped,), input_gradients | recurrent_gradients


class ReferenceRNN(ReferenceRecurrent):
    """A stack of simple recurrent layers; options and names as `recurrust.RNN`."""

    def __init__(
        self,
        parameters: Mapping[str, ArrayLike],
        *,
        nonlinearity: str = "tanh",
        clip: float | None = None,
        layer_norm: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(RNNCell(nonlinearity, clip, layer_norm), parameters, **options)
