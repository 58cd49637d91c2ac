"""The GRU of Cho et al. (2014), in both forms of its reset.

This file defines what one step of `recurrust.GRU` computes, for the input x and the state h that
enters the step. Reset after the product (reset_after=True, as PyTorch and cuDNN do):

    u  = W_ih x + b_ih    v = W_hh h + b_hh             rows in the order r, z, n
    r  = sigmoid(u_r + v_r)    z = sigmoid(u_z + v_z)
    n  = tanh(u_n + r v_n)
    h' = (1 - z) n + z h

Reset before the product (reset_after=False, as in the paper): the rows n of W_hh see r h,

    n  = tanh(u_n + W_hn (r h) + b_hn)

Options, each alone or with any others but for the one pair that is named:

* clip = v: the complete pre-activations of r, z and n are clamped to [-v, v]; outside their
  derivative is 0.
* layer norm (Ba et al. 2016): u = LN(W_ih x) norm_ih + b_ih and v = LN(W_hh h) norm_hh + b_hh,
  each LN over the rows of all gates together. Refused with reset_after=False: the normaliser would
  need W_hn (r h) before r is known.
* recurrent dropout, a mask m for h: W_hh sees m h, and W_hn sees r (m h) when the reset comes
  before. The path z h sees h itself.
* update dropout, a mask m for the candidate: h' = (1 - z) (m n) + z h.
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
from reference.recurrent import ReferenceRecurrent


@dataclass(frozen=True)
class StepTape:
    """What the step backwards needs: its operands and what it made of them, all (B, .)."""

    input: AffineTape
    recurrent: AffineTape  # of all rows, or of r and z alone when the reset comes before
    recurrent_n: AffineTape | None  # of n when the reset comes before
    h: Array
    recurrent_dropout: Array
    update_dropout: Array
    a_r: Array  # pre-activations, before they are clamped
    a_z: Array
    a_n: Array
    r: Array
    z: Array
    n: Array
    v_n: Array  # W_hn h + b_hn, or W_hn (r h) + b_hn when the reset comes before


def rows_of(weights: Parameters, rows: slice) -> Parameters:
    """The recurrent parameters of some rows."""
    return {name: array[rows] for name, array in weights.items() if name.endswith("_hh")}


@dataclass(frozen=True)
class GRUCell:
    """One step of a GRU."""

    reset_after: bool = True
    clip: float | None = None
    layer_norm: bool = False

    states: ClassVar = ("h",)
    gates: ClassVar = 3

    def __post_init__(self) -> None:
        if self.layer_norm and not self.reset_after:
            raise ValueError("layer_norm needs reset_after=True")

    def state_sizes(self, hidden_size: int) -> tuple[int, ...]:
        return (hidden_size,)

    def parameter_shapes(
        self, input_size: int, hidden_size: int, bias: bool
    ) -> dict[str, tuple[int, ...]]:
        return affine_shapes(3 * hidden_size, input_size, hidden_size, bias, self.layer_norm)

    def step(
        self,
        weights: Parameters,
        x: Array,
        states: States,
        recurrent_dropout: Array,
        update_dropout: Array,
    ) -> tuple[States, StepTape]:
        (h,) = states
        H = h.shape[-1]
        dropped_h = recurrent_dropout * h
        u, input_tape = affine(weights, "ih", x)
        u_r, u_z, u_n = np.split(u, 3, axis=-1)
        if self.reset_after:
            v, recurrent_tape = affine(weights, "hh", dropped_h)
            v_r, v_z, v_n = np.split(v, 3, axis=-1)
        else:
            v, recurrent_tape = affine(rows_of(weights, np.s_[: 2 * H]), "hh", dropped_h)
            v_r, v_z = np.split(v, 2, axis=-1)

        a_r, a_z = u_r + v_r, u_z + v_z
        r, z = sigmoid(clamp(a_r, self.clip)), sigmoid(clamp(a_z, self.clip))
        recurrent_n_tape = None
        if self.reset_after:
            a_n = u_n + r * v_n
        else:
            v_n, recurrent_n_tape = affine(rows_of(weights, np.s_[2 * H :]), "hh", r * dropped_h)
            a_n = u_n + v_n
        n = np.tanh(clamp(a_n, self.clip))
        new_h = (1 - z) * (update_dropout * n) + z * h
        tape = StepTape(
            input=input_tape,
            recurrent=recurrent_tape,
            recurrent_n=recurrent_n_tape,
            h=h,
            recurrent_dropout=recurrent_dropout,
            update_dropout=update_dropout,
            a_r=a_r,
            a_z=a_z,
            a_n=a_n,
            r=r,
            z=z,
            n=n,
            v_n=v_n,
        )
        return (new_h,), tape

    def step_backward(
        self, weights: Parameters, tape: StepTape, dstates: States
    ) -> tuple[Array, States, Parameters]:
        """Go back, with sigmoid' = s (1 - s) and tanh' = 1 - t^2.

        From h' = (1 - z) m n + z h:
            dz = dh' (h - m n)        dn = dh' (1 - z) m        dh = dh' z + ...
        Reset after, from a_n = u_n + r v_n:        dr = da_n v_n        dv_n = da_n r
        Reset before, from a_n = u_n + W_hn s + b_hn and s = r h:
            ds = W_hn^T da_n        dr = ds h        dh grows by ds r
        """
        (dh,) = dstates
        r, z, n, m = tape.r, tape.z, tape.n, tape.update_dropout
        H = r.shape[-1]
        da_n = clamp_backward(tape.a_n, self.clip, dh * (1 - z) * m * (1 - n**2))
        da_z = clamp_backward(tape.a_z, self.clip, dh * (tape.h - m * n) * z * (1 - z))

        if self.reset_after:
            dr = da_n * tape.v_n
        else:
            weights_n = rows_of(weights, np.s_[2 * H :])
            ds, gradients_n = affine_backward(weights_n, "hh", tape.recurrent_n, da_n)
            dr = ds * tape.recurrent_dropout * tape.h
        da_r = clamp_backward(tape.a_r, self.clip, dr * r * (1 - r))

        if self.reset_after:
            dv = np.concatenate([da_r, da_z, da_n * r], axis=-1)
            dropped, recurrent_gradients = affine_backward(weights, "hh", tape.recurrent, dv)
        else:
            weights_rz = rows_of(weights, np.s_[: 2 * H])
            dv = np.concatenate([da_r, da_z], axis=-1)
            dropped, gradients_rz = affine_backward(weights_rz, "hh", tape.recurrent, dv)
            dropped = dropped + ds * r
            recurrent_gradients = {
                name: np.concatenate([gradients_rz[name], gradients_n[name]])
                for name in gradients_rz
            }
        du = np.concatenate([da_r, da_z, da_n], axis=-1)
        dx, input_gradients = affine_backward(weights, "ih", tape.input, du)
        dh = dh * z + tape.recurrent_dropout * dropped
        return dx, (dh,), input_gradients | recurrent_gradients


class ReferenceGRU(ReferenceRecurrent):
    """A stack of GRU layers; options and names as `recurrust.GRU`."""

    def __init__(
        self,
        parameters: Mapping[str, ArrayLike],
        *,
        reset_after: bool = True,
        clip: float | None = None,
        layer_norm: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(GRUCell(reset_after, clip, layer_norm), parameters, **options)
