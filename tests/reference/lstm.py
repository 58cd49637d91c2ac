"""The LSTM of Hochreiter and Schmidhuber (1997) with forget gates (Gers et al. 2000).

This file defines what `recurrust.LSTM` computes. One step of one direction, for the input x and
the state (h, c) that enters the step:

    a  = W_ih x + b_ih + W_hh h + b_hh                  rows in the order i, f, g, o
    i  = sigmoid(a_i)    f = sigmoid(a_f)    g = tanh(a_g)    o = sigmoid(a_o)
    c' = f c + i g
    h' = o tanh(c')

Over time:

* A direction visits the steps 0, 1, ..., T - 1, or T - 1, ..., 1, 0 when it goes backwards. Its
  output at a step is h' of that step, wherever it stands in the order of visits.
* A step is valid unless it lies past the row's length or the mask says no. At an invalid step
  the state is carried unchanged and the output is 0; what x holds there does not matter.
* A reset at step t separates t from t - 1: whoever crosses this boundary continues from zeros.
  Forwards that is on the way into t (t = 0 included: the initial state is dropped), backwards
  on the way into t - 1. Resets at or past a row's length are ignored.

The gradients are those of any scalar L, from dL/dy, dL/dh_n and dL/dc_n. Each function that goes
backwards stands below the one that goes forwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]


def sigmoid(a: Array) -> Array:
    """1 / (1 + exp(-a)), by way of tanh because that can't overflow."""
    return 0.5 * (1 + np.tanh(0.5 * a))


# ------------------------------------------------------------------------------------ one step


@dataclass(frozen=True)
class Weights:
    """The weights of one direction of one layer; biases are None without bias."""

    ih: Array  # (4H, I)
    hh: Array  # (4H, H)
    bias_ih: Array | None = None  # (4H,)
    bias_hh: Array | None = None  # (4H,)


@dataclass(frozen=True)
class StepTape:
    """What the step backwards needs: its operands and the gates, all (B, .)."""

    x: Array
    h: Array
    c: Array
    i: Array
    f: Array
    g: Array
    o: Array
    tanh_c: Array


def step(weights: Weights, x: Array, h: Array, c: Array) -> tuple[Array, Array, StepTape]:
    """One step of every row: x is (B, I), h and c are (B, H)."""
    a = x @ weights.ih.T + h @ weights.hh.T
    if weights.bias_ih is not None and weights.bias_hh is not None:
        a = a + weights.bias_ih + weights.bias_hh
    a_i, a_f, a_g, a_o = np.split(a, 4, axis=-1)
    i, f, g, o = sigmoid(a_i), sigmoid(a_f), np.tanh(a_g), sigmoid(a_o)
    new_c = f * c + i * g
    tanh_c = np.tanh(new_c)
    new_h = o * tanh_c
    return new_h, new_c, StepTape(x, h, c, i, f, g, o, tanh_c)


def step_backward(tape: StepTape, dh: Array, dc: Array) -> tuple[Array, Array]:
    """From dL/dh' and dL/dc' to dL/da, (B, 4H), and to the part of dL/dc that misses a.

    With sigmoid' = s (1 - s) and tanh' = 1 - t^2, from h' = o tanh(c'):
        do = dh' tanh(c')        dc' grows by dh' o (1 - tanh(c')^2)
    and from c' = f c + i g:
        di = dc' g        df = dc' c        dg = dc' i        dc = dc' f
    """
    do = dh * tape.tanh_c
    dc = dc + dh * tape.o * (1 - tape.tanh_c**2)
    di, df, dg = dc * tape.g, dc * tape.c, dc * tape.i
    da = np.concatenate(
        [
            di * tape.i * (1 - tape.i),
            df * tape.f * (1 - tape.f),
            dg * (1 - tape.g**2),
            do * tape.o * (1 - tape.o),
        ],
        axis=-1,
    )
    return da, dc * tape.f


# ------------------------------------------------------------------------------- one direction


@dataclass(frozen=True)
class Steps:
    """Which steps of which rows count, (T, B) each."""

    valid: Flags
    resets: Flags

    @staticmethod
    def of(
        T: int,
        B: int,
        lengths: ArrayLike | None = None,
        mask: Flags | None = None,
        resets: Flags | None = None,
    ) -> Steps:
        """Combine what the caller said; `mask` and `resets` are time-major."""
        within = np.ones((T, B), bool)
        if lengths is not None:
            within = np.arange(T)[:, None] < np.asarray(lengths)[None, :]
        return Steps(
            valid=within if mask is None else within & mask,
            resets=np.zeros((T, B), bool) if resets is None else within & resets,
        )

    def visits(self, backwards: bool) -> list[tuple[int, Array, Array]]:
        """The steps in order: index, which rows are valid, which rows are cut off before it."""
        T, B = self.valid.shape
        columns = self.valid[:, :, None]
        if backwards:
            cut = np.concatenate([self.resets[1:], np.zeros((min(T, 1), B), bool)])[:, :, None]
            return [(t, columns[t], cut[t]) for t in reversed(range(T))]
        return [(t, columns[t], self.resets[t][:, None]) for t in range(T)]


@dataclass(frozen=True)
class DirectionTape:
    """The tapes of the steps, by step."""

    steps: dict[int, StepTape]


def direction(
    weights: Weights, x: Array, h: Array, c: Array, steps: Steps, backwards: bool
) -> tuple[Array, Array, Array, DirectionTape]:
    """One direction over time: x is (T, B, I), h and c are (B, H)."""
    T, B, _ = x.shape
    y = np.zeros((T, B, h.shape[-1]))
    tapes = {}
    for t, valid, cut in steps.visits(backwards):
        h, c = np.where(cut, 0, h), np.where(cut, 0, c)
        new_h, new_c, tapes[t] = step(weights, x[t], h, c)
        h, c = np.where(valid, new_h, h), np.where(valid, new_c, c)
        y[t] = np.where(valid, new_h, 0)
    return y, h, c, DirectionTape(tapes)


def direction_backward(
    weights: Weights,
    tape: DirectionTape,
    dy: Array,
    dh: Array,
    dc: Array,
    steps: Steps,
    backwards: bool,
) -> tuple[Array, Array, Array, Weights]:
    """From dy (T, B, H) and the final states' gradients to those of x, h, c and the weights.

    a = W_ih x + b_ih + W_hh h + b_hh gives, summed over rows and steps,
        dW_ih = da x^T        dW_hh = da h^T        db_ih = db_hh = da
    and for each row and step
        dx = W_ih^T da        dh = W_hh^T da
    """
    T, B, _ = dy.shape
    dx = np.zeros((T, B, weights.ih.shape[1]))
    d_ih, d_hh = np.zeros_like(weights.ih), np.zeros_like(weights.hh)
    d_bias = np.zeros(len(weights.ih))
    for t, valid, cut in reversed(steps.visits(backwards)):
        taken = tape.steps[t]
        through_h = np.where(valid, dh + dy[t], 0)
        through_c = np.where(valid, dc, 0)
        da, past_c = step_backward(taken, through_h, through_c)
        dx[t] = da @ weights.ih
        d_ih += da.T @ taken.x
        d_hh += da.T @ taken.h
        d_bias += da.sum(axis=0)
        dh = da @ weights.hh + np.where(valid, 0, dh)
        dc = past_c + np.where(valid, 0, dc)
        dh, dc = np.where(cut, 0, dh), np.where(cut, 0, dc)
    biased = weights.bias_ih is not None
    gradients = Weights(d_ih, d_hh, *((d_bias, d_bias) if biased else ()))
    return dx, dh, dc, gradients


# ------------------------------------------------------------------------- merging two directions


def merge(mode: str, outputs: list[Array]) -> Array:
    """One output of one or two directions' outputs, (..., H) each."""
    if len(outputs) == 1:
        return outputs[0]
    forwards, backwards = outputs
    if mode == "concat":
        return np.concatenate([forwards, backwards], axis=-1)
    if mode == "mul":
        return forwards * backwards
    return (forwards + backwards) * {"sum": 1.0, "average": 0.5}[mode]


def merge_backward(mode: str, outputs: list[Array], dy: Array) -> list[Array]:
    """The gradient of each direction's output."""
    if len(outputs) == 1:
        return [dy]
    forwards, backwards = outputs
    if mode == "concat":
        return np.split(dy, 2, axis=-1)
    if mode == "mul":
        return [dy * backwards, dy * forwards]
    return [dy * {"sum": 1.0, "average": 0.5}[mode]] * 2


# ------------------------------------------------------------------------------------ the stack


@dataclass(frozen=True)
class LayerTape:
    """What one layer's way backwards needs, by direction."""

    directions: list[DirectionTape]
    outputs: list[Array]


@dataclass(frozen=True)
class Tape:
    """What the way backwards through the stack needs."""

    steps: Steps
    layers: list[LayerTape]
    final_h: list[Array]  # of the top layer, by direction


@dataclass(frozen=True)
class Gradients:
    """dL/d(...) of everything that goes into the forward pass."""

    x: Array
    h0: Array
    c0: Array
    parameters: dict[str, Array]


@dataclass(frozen=True)
class ReferenceLSTM:
    """A stack of layers, each of one or two directions; options and names as `recurrust.LSTM`."""

    parameters: Mapping[str, ArrayLike]
    num_layers: int = 1
    batch_first: bool = False
    bidirectional: bool = False
    reverse: bool = False
    merge_mode: str = "concat"
    return_sequences: bool = True
    _weights: list[list[Weights]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(
            self,
            "_weights",
            [
                [self._weights_of(suffix) for suffix in self._suffixes(layer)]
                for layer in range(self.num_layers)
            ],
        )

    def _suffixes(self, layer: int) -> list[str]:
        return [f"_l{layer}"] + ([f"_l{layer}_reverse"] if self.bidirectional else [])

    def _weights_of(self, suffix: str) -> Weights:
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        return Weights(
            *(
                np.asarray(self.parameters[name + suffix], np.float64)
                for name in names
                if name + suffix in self.parameters
            )
        )

    @property
    def _backwards(self) -> list[bool]:
        """For every direction of a layer, whether it goes backwards."""
        return [False, True] if self.bidirectional else [self.reverse]

    def _time_major(self, array: NDArray[Any]) -> NDArray[Any]:
        return np.swapaxes(array, 0, 1) if self.batch_first else array

    def forward(
        self,
        x: ArrayLike,
        state: tuple[ArrayLike, ArrayLike] | None = None,
        *,
        lengths: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        resets: ArrayLike | None = None,
    ) -> tuple[Array, tuple[Array, Array], Tape]:
        """Return y, (h_n, c_n) and the tape; x is (T, B, I), or (B, T, I) if `batch_first`."""
        below = self._time_major(np.asarray(x, np.float64))
        T, B, _ = below.shape
        flags = [
            None if given is None else self._time_major(np.asarray(given, bool))
            for given in (mask, resets)
        ]
        steps = Steps.of(T, B, lengths, *flags)
        below = np.where(steps.valid[:, :, None], below, 0)
        directions = len(self._backwards)
        hidden = self._weights[0][0].hh.shape[1]
        if state is None:
            h0 = c0 = np.zeros((self.num_layers * directions, B, hidden))
        else:
            h0, c0 = (np.asarray(array, np.float64) for array in state)

        final_h, final_c, layers = [], [], []
        for layer, weights in enumerate(self._weights):
            outputs, tapes = [], []
            for index, backwards in enumerate(self._backwards):
                row = layer * directions + index
                y, h, c, tape = direction(weights[index], below, h0[row], c0[row], steps, backwards)
                outputs.append(y)
                tapes.append(tape)
                final_h.append(h)
                final_c.append(c)
            layers.append(LayerTape(tapes, outputs))
            below = merge(self.merge_mode, outputs)
        top = final_h[-directions:]
        y = self._time_major(below) if self.return_sequences else merge(self.merge_mode, top)
        return y, (np.stack(final_h), np.stack(final_c)), Tape(steps, layers, top)

    def backward(
        self,
        tape: Tape,
        dy: ArrayLike | None = None,
        dhn: ArrayLike | None = None,
        dcn: ArrayLike | None = None,
    ) -> Gradients:
        """Return the gradients of everything; a missing gradient counts as zeros."""
        directions = len(self._backwards)
        T, B = tape.steps.valid.shape
        hidden = self._weights[0][0].hh.shape[1]
        states = (self.num_layers * directions, B, hidden)
        dh, dc = (
            np.zeros(states) if given is None else np.array(given, np.float64)
            for given in (dhn, dcn)
        )
        width = merge(self.merge_mode, tape.layers[-1].outputs).shape[-1]
        above = np.zeros((T, B, width))
        if dy is not None and self.return_sequences:
            above = self._time_major(np.asarray(dy, np.float64))
        elif dy is not None:
            parts = merge_backward(self.merge_mode, tape.final_h, np.asarray(dy, np.float64))
            dh[-directions:] += np.stack(parts)

        parameters: dict[str, Array] = {}
        for layer in reversed(range(self.num_layers)):
            layer_tape = tape.layers[layer]
            parts = merge_backward(self.merge_mode, layer_tape.outputs, above)
            below = 0.0
            for index, backwards in enumerate(self._backwards):
                row = layer * directions + index
                dx, dh[row], dc[row], gradients = direction_backward(
                    self._weights[layer][index],
                    layer_tape.directions[index],
                    parts[index],
                    dh[row],
                    dc[row],
                    tape.steps,
                    backwards,
                )
                below = below + dx
                suffix = self._suffixes(layer)[index]
                named = {
                    "weight_ih": gradients.ih,
                    "weight_hh": gradients.hh,
                    "bias_ih": gradients.bias_ih,
                    "bias_hh": gradients.bias_hh,
                }
                parameters |= {
                    name + suffix: gradient
                    for name, gradient in named.items()
                    if gradient is not None
                }
            above = below
        return Gradients(self._time_major(above), dh, dc, parameters)
