"""The LSTM of Hochreiter and Schmidhuber (1997) with forget gates (Gers et al. 2000).

This file defines what one step of `recurrust.LSTM` computes, for the input x and the state (h, c)
that enters the step:

    a  = W_ih x + b_ih + W_hh h + b_hh                  rows in the order i, f, g, o
    i  = sigmoid(a_i)    f = sigmoid(a_f)    g = tanh(a_g)    o = sigmoid(a_o)
    c' = f c + i g
    h' = o tanh(c')

Options, each alone or with any others:

* peephole (Gers and Schmidhuber 2000), `peephole` = (p_i, p_f, p_o): a_i grows by p_i c and a_f by
  p_f c, with the old cell state; a_o grows by p_o c', with the new one (before cell zoneout).
* coupled: f = 1 - i. Rows are then i, g, o, and peepholes i, o.
* clip = v: each pre-activation, peephole included, is clamped to [-v, v]; outside its derivative
  is 0.
* projection (Sak et al. 2014), `weight_hr` (P, H): h' = W_hr (o tanh(c')). Then h is P wide.
* layer norm (Ba et al. 2016): a = LN(W_ih x) norm_ih + LN(W_hh h) norm_hh + b_ih + b_hh, each LN
  over all its rows together, and h' = o tanh(LN(c') norm_cell + norm_cell_bias). The c' that is
  carried, and that the peephole sees, is not normalised.
* recurrent dropout, a mask m for h: W_hh h becomes W_hh (m h).
* update dropout (Semeniuta et al. 2016), a mask m for the candidate: c' = f c + i (m g).
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
    sigmoid,
)
from reference.layer_norm import Normalized, normalize, normalize_backward
from reference.recurrent import ReferenceRecurrent


@dataclass(frozen=True)
class StepTape:
    """What the step backwards needs: its operands and what it made of them, all (B, .)."""

    input: AffineTape
    recurrent: AffineTape
    c: Array
    recurrent_dropout: Array
    update_dropout: Array
    a: dict[str, Array]  # pre-activations by gate, before they are clamped
    i: Array
    f: Array
    g: Array
    o: Array
    new_c: Array
    normalized_c: Normalized | None
    squashed_c: Array  # tanh(c'), or tanh(LN(c') ...)


@dataclass(frozen=True)
class LSTMCell:
    """One step of an LSTM."""

    peephole: bool = False
    coupled: bool = False
    clip: float | None = None
    proj_size: int = 0
    layer_norm: bool = False

    states: ClassVar = ("h", "c")

    @property
    def _order(self) -> str:
        """The gates in the order of their rows."""
        return "igo" if self.coupled else "ifgo"

    @property
    def _peephole_order(self) -> str:
        return self._order.replace("g", "")

    @property
    def _sees_old_c(self) -> str:
        """The gates whose peephole sees the cell state that enters."""
        return self._peephole_order.replace("o", "")

    @property
    def gates(self) -> int:
        return len(self._order)

    def state_sizes(self, hidden_size: int) -> tuple[int, ...]:
        return self.proj_size or hidden_size, hidden_size

    def parameter_shapes(
        self, input_size: int, hidden_size: int, bias: bool
    ) -> dict[str, tuple[int, ...]]:
        recurrent_size, _ = self.state_sizes(hidden_size)
        rows = self.gates * hidden_size
        shapes = affine_shapes(rows, input_size, recurrent_size, bias, self.layer_norm)
        if self.proj_size:
            shapes["weight_hr"] = (self.proj_size, hidden_size)
        if self.peephole:
            shapes["peephole"] = (len(self._peephole_order) * hidden_size,)
        if self.layer_norm:
            shapes |= {"norm_cell": (hidden_size,), "norm_cell_bias": (hidden_size,)}
        return shapes

    def _peepholes(self, weights: Parameters) -> dict[str, Array]:
        parts = np.split(weights["peephole"], len(self._peephole_order))
        return dict(zip(self._peephole_order, parts, strict=True))

    def step(
        self,
        weights: Parameters,
        x: Array,
        states: States,
        recurrent_dropout: Array,
        update_dropout: Array,
    ) -> tuple[States, StepTape]:
        h, c = states
        from_x, input_tape = affine(weights, "ih", x)
        from_h, recurrent_tape = affine(weights, "hh", recurrent_dropout * h)
        parts = np.split(from_x + from_h, self.gates, axis=-1)
        a = dict(zip(self._order, parts, strict=True))
        if self.peephole:
            p = self._peepholes(weights)
            for gate in self._sees_old_c:
                a[gate] = a[gate] + p[gate] * c

        i = sigmoid(clamp(a["i"], self.clip))
        f = 1 - i if self.coupled else sigmoid(clamp(a["f"], self.clip))
        g = np.tanh(clamp(a["g"], self.clip))
        new_c = f * c + i * (update_dropout * g)

        if self.peephole:
            a["o"] = a["o"] + p["o"] * new_c
        o = sigmoid(clamp(a["o"], self.clip))
        normalized_c = None
        squashed_c = np.tanh(new_c)
        if self.layer_norm:
            normalized_c = normalize(new_c)
            squashed_c = np.tanh(
                normalized_c.value * weights["norm_cell"] + weights["norm_cell_bias"]
            )
        new_h = o * squashed_c
        if self.proj_size:
            new_h = new_h @ weights["weight_hr"].T
        tape = StepTape(
            input=input_tape,
            recurrent=recurrent_tape,
            c=c,
            recurrent_dropout=recurrent_dropout,
            update_dropout=update_dropout,
            a=a,
            i=i,
            f=f,
            g=g,
            o=o,
            new_c=new_c,
            normalized_c=normalized_c,
            squashed_c=squashed_c,
        )
        return (new_h, new_c), tape

    def step_backward(
        self, weights: Parameters, tape: StepTape, dstates: States
    ) -> tuple[Array, States, Parameters]:
        """Go back, with sigmoid' = s (1 - s) and tanh' = 1 - t^2.

        From h' = o tanh(c'):
            do = dh' tanh(c')        dc' grows by dh' o (1 - tanh(c')^2)
        and from c' = f c + i m g:
            di = dc' m g        df = dc' c        dg = dc' i m        dc = dc' f
        Coupled, f = 1 - i makes di = dc' (m g - c).
        Peepholes: dc' grows by p_o da_o, dc by p_i da_i + p_f da_f; dp = da times the c it saw.
        """
        dh, dc = dstates
        i, f, g, o = tape.i, tape.f, tape.g, tape.o
        gradients: Parameters = {}
        if self.proj_size:
            gradients["weight_hr"] = dh.T @ (o * tape.squashed_c)
            dh = dh @ weights["weight_hr"]

        before_tanh = dh * o * (1 - tape.squashed_c**2)
        if tape.normalized_c is not None:
            gradients["norm_cell"] = (before_tanh * tape.normalized_c.value).sum(axis=0)
            gradients["norm_cell_bias"] = before_tanh.sum(axis=0)
            before_tanh = normalize_backward(tape.normalized_c, before_tanh * weights["norm_cell"])
        dc = dc + before_tanh

        da = {"o": self._before_clip(tape, "o", dh * tape.squashed_c * o * (1 - o))}
        if self.peephole:
            p = self._peepholes(weights)
            dc = dc + p["o"] * da["o"]

        candidate = tape.update_dropout * g
        di = dc * (candidate - tape.c if self.coupled else candidate)
        da["i"] = self._before_clip(tape, "i", di * i * (1 - i))
        da["g"] = self._before_clip(tape, "g", dc * i * tape.update_dropout * (1 - g**2))
        if not self.coupled:
            da["f"] = self._before_clip(tape, "f", dc * tape.c * f * (1 - f))
        dc = dc * f

        if self.peephole:
            dp = {"o": (da["o"] * tape.new_c).sum(axis=0)}
            for gate in self._sees_old_c:
                dc = dc + p[gate] * da[gate]
                dp[gate] = (da[gate] * tape.c).sum(axis=0)
            gradients["peephole"] = np.concatenate([dp[gate] for gate in self._peephole_order])

        da_rows = np.concatenate([da[gate] for gate in self._order], axis=-1)
        dx, input_gradients = affine_backward(weights, "ih", tape.input, da_rows)
        dropped, recurrent_gradients = affine_backward(weights, "hh", tape.recurrent, da_rows)
        gradients |= input_gradients | recurrent_gradients
        return dx, (tape.recurrent_dropout * dropped, dc), gradients

    def _before_clip(self, tape: StepTape, gate: str, d: Array) -> Array:
        return clamp_backward(tape.a[gate], self.clip, d)


class ReferenceLSTM(ReferenceRecurrent):
    """A stack of LSTM layers; options and names as `recurrust.LSTM`."""

    def __init__(
        self,
        parameters: Mapping[str, ArrayLike],
        *,
        peephole: bool = False,
        coupled: bool = False,
        clip: float | None = None,
        proj_size: int = 0,
        layer_norm: bool = False,
        **options: Any,
    ) -> None:
        cell = LSTMCell(peephole, coupled, clip, proj_size, layer_norm)
        super().__init__(cell, parameters, **options)
