"""One direction of one layer over time, for any cell.

* A direction visits the steps 0, 1, ..., T - 1, or T - 1, ..., 1, 0 when it goes backwards. Its
  output at a step is the h that the step leaves, wherever it stands in the order of visits.
* A step is valid unless it lies past the row's length or the mask says no. At an invalid step
  the state is carried unchanged and the output is 0; what x and the masks of dropout and zoneout
  hold there does not matter.
* A reset at step t separates t from t - 1: whoever crosses this boundary continues from zeros, also
  for peepholes and zoneout. Forwards that is on the way into t (t = 0 included: the initial state
  is dropped), backwards on the way into t - 1. Resets at or past a row's length are ignored.
* Zoneout (Krueger et al. 2016) mixes each state s that enters with the s' that the cell makes:
  s becomes k s + (1 - k) s'. In training k is a mask of 0 and 1; at evaluation it is the rate (what
  training gives on average), or 0 with zoneout_eval="identity". The cell makes h' from c', not from
  the mixed c.
* Weight dropout (Merity et al. 2017) takes W_hh * m for W_hh, with one mask m for all steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reference.cell import Array, Cell, Parameters, States
from reference.masks import DirectionMasks

Flags = NDArray[np.bool_]


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

    def visits(self, backwards: bool) -> list[tuple[int, Flags, Flags]]:
        """The steps in order: index, which rows are valid, which rows are cut off before it."""
        T, B = self.valid.shape
        columns = self.valid[:, :, None]
        if backwards:
            cut = np.concatenate([self.resets[1:], np.zeros((min(T, 1), B), bool)])[:, :, None]
            return [(t, columns[t], cut[t]) for t in reversed(range(T))]
        return [(t, columns[t], self.resets[t][:, None]) for t in range(T)]


@dataclass(frozen=True)
class Direction:
    """A cell with its weights, and all that one call says about its steps."""

    cell: Cell
    parameters: Parameters
    backwards: bool
    steps: Steps
    masks: DirectionMasks

    @property
    def _weights(self) -> Parameters:
        """The parameters as the steps see them."""
        dropped = self.parameters["weight_hh"] * self.masks.weight_dropout
        return self.parameters | {"weight_hh": dropped}

    def forward(self, x: Array, states: States) -> tuple[Array, States, dict[int, Any]]:
        """Return y, the final states and the tapes by step. x is (T, B, I), states are (B, .)."""
        weights = self._weights
        y = np.zeros((*x.shape[:2], states[0].shape[-1]))
        tapes = {}
        for t, valid, cut in self.steps.visits(self.backwards):
            states = tuple(np.where(cut, 0, old) for old in states)
            new_states, tapes[t] = self.cell.step(
                weights,
                x[t],
                states,
                self.masks.recurrent_dropout[t],
                self.masks.update_dropout[t],
            )
            mixed = tuple(
                keep[t] * old + (1 - keep[t]) * new
                for keep, old, new in zip(self.masks.zoneout, states, new_states, strict=True)
            )
            states = tuple(
                np.where(valid, new, old) for new, old in zip(mixed, states, strict=True)
            )
            y[t] = np.where(valid, states[0], 0)
        return y, states, tapes

    def backward(
        self, tapes: dict[int, Any], dy: Array, dstates: States
    ) -> tuple[Array, States, Parameters]:
        """From the gradients of y and the final states to those of x, states and parameters."""
        weights = self._weights
        dx = np.zeros((*dy.shape[:2], weights["weight_ih"].shape[1]))
        gradients = {name: np.zeros_like(array) for name, array in weights.items()}
        for t, valid, cut in reversed(self.steps.visits(self.backwards)):
            through = [np.where(valid, d, 0) for d in dstates]
            through[0] = through[0] + np.where(valid, dy[t], 0)
            dnew = tuple(
                (1 - keep[t]) * d for keep, d in zip(self.masks.zoneout, through, strict=True)
            )
            dx[t], dold, step_gradients = self.cell.step_backward(weights, tapes[t], dnew)
            for name, gradient in step_gradients.items():
                gradients[name] += gradient
            dstates = tuple(
                np.where(cut, 0, past + keep[t] * d + np.where(valid, 0, carried))
                for past, keep, d, carried in zip(
                    dold, self.masks.zoneout, through, dstates, strict=True
                )
            )
        gradients["weight_hh"] *= self.masks.weight_dropout
        return dx, dstates, gradients
