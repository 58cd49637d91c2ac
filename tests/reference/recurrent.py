"""A stack of layers, each of one or two directions, for any cell.

What a cell computes stands in lstm.py, gru.py and rnn.py; what happens over time in direction.py;
the masks in masks.py. The gradients are those of any scalar L, from dL/dy and dL/d(final states).
Each function that goes backwards stands below the one that goes forwards.

The dropouts of the stack, each a mask that multiplies:

* input dropout: the input of a layer, one mask for all its directions;
* dropout: what goes from one layer to the next, after its directions are merged;
* output dropout: y, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reference.cell import Array, Cell, Parameters, States
from reference.direction import Direction, Steps
from reference.masks import ZONEOUT, DirectionMasks, Masks, check, complete
from reference.merging import merge, merge_backward, merged_size


def as_state(parts: States) -> Any:
    """A state as layers take and return it: one of a single part is that array alone."""
    return parts if len(parts) > 1 else parts[0]


def as_tuple(state: Any) -> States:
    """The parts of a state, as the stack has it inside."""
    return state if isinstance(state, tuple) else (state,)


def parameter_shapes(
    cell: Cell,
    input_size: int,
    hidden_size: int,
    *,
    bias: bool = True,
    num_layers: int = 1,
    bidirectional: bool = False,
    merge_mode: str = "concat",
) -> dict[str, tuple[int, ...]]:
    """The names and shapes of all parameters of a stack."""
    suffixes = ["", "_reverse"] if bidirectional else [""]
    between = merged_size(merge_mode, cell.state_sizes(hidden_size)[0], len(suffixes))
    return {
        f"{name}_l{layer}{suffix}": shape
        for layer in range(num_layers)
        for suffix in suffixes
        for name, shape in cell.parameter_shapes(
            between if layer else input_size, hidden_size, bias
        ).items()
    }


@dataclass(frozen=True)
class LayerTape:
    """What one layer's way backwards needs."""

    directions: list[Direction]
    tapes: list[dict[int, Any]]  # by direction
    outputs: list[Array]  # by direction
    input_dropout: Array
    dropout: Array  # what the merged output is multiplied with


@dataclass(frozen=True)
class Tape:
    """What the way backwards through the stack needs."""

    layers: list[LayerTape]
    final_h: list[Array]  # of the top layer, by direction
    output_dropout: Array


@dataclass(frozen=True)
class Gradients:
    """dL/d(...) of everything that goes into the forward pass."""

    x: Array
    states: States  # of the initial states
    parameters: dict[str, Array]

    @property
    def h0(self) -> Array:
        return self.states[0]

    @property
    def c0(self) -> Array:
        return self.states[1]


class ReferenceRecurrent:
    """A stack of layers of one cell.

    `parameters` holds exactly the cell's parameters, each with the suffix of its direction: _l0,
    _l0_reverse, _l1, ... Sizes are those of the parameters; biases are all there, or none is.

    `zoneout` is the rate of every state, or a pair (cell, hidden); `zoneout_eval` is "expectation"
    or "identity".
    """

    def __init__(
        self,
        cell: Cell,
        parameters: Mapping[str, ArrayLike],
        *,
        num_layers: int = 1,
        batch_first: bool = False,
        bidirectional: bool = False,
        reverse: bool = False,
        merge_mode: str = "concat",
        return_sequences: bool = True,
        zoneout: float | tuple[float, float] = 0.0,
        zoneout_eval: str = "expectation",
    ) -> None:
        self.cell = cell
        self.num_layers = num_layers
        self.batch_first = batch_first
        self.merge_mode = merge_mode
        self.return_sequences = return_sequences
        self.zoneout_eval = zoneout_eval
        self.parameters = {
            name: np.asarray(array, np.float64) for name, array in parameters.items()
        }
        rows, self.input_size = self.parameters["weight_ih_l0"].shape
        self.hidden_size = rows // cell.gates
        # For every direction of a layer, what its names end with and whether it goes backwards.
        self._directions = [("", False), ("_reverse", True)] if bidirectional else [("", reverse)]
        self._state_sizes = cell.state_sizes(self.hidden_size)
        pair = zoneout if isinstance(zoneout, tuple) else (zoneout,) * len(cell.states)
        self._zoneout_rates = dict(zip(reversed(cell.states), pair, strict=True))
        self._check_parameters()

    def _check_parameters(self) -> None:
        expected = parameter_shapes(
            self.cell,
            self.input_size,
            self.hidden_size,
            bias="bias_ih_l0" in self.parameters,
            num_layers=self.num_layers,
            bidirectional=len(self._directions) == 2,
            merge_mode=self.merge_mode,
        )
        got = {name: array.shape for name, array in self.parameters.items()}
        if got != expected:
            raise ValueError(f"parameters must be {expected}, got {got}")

    def _suffixes(self, layer: int) -> list[str]:
        return [f"_l{layer}{suffix}" for suffix, _ in self._directions]

    def _features(self, layer: int) -> int:
        """How wide the input of a layer is; for the layer after the last, the output."""
        if layer == 0:
            return self.input_size
        return merged_size(self.merge_mode, self._state_sizes[0], len(self._directions))

    def _time_major(self, array: NDArray[Any]) -> NDArray[Any]:
        return np.swapaxes(array, 0, 1) if self.batch_first else array

    def state_shapes(self, B: int) -> list[tuple[int, ...]]:
        """The shape of each state of all layers."""
        rows = self.num_layers * len(self._directions)
        return [(rows, B, size) for size in self._state_sizes]

    def mask_shapes(self, T: int, B: int) -> dict[str, tuple[int, ...]]:
        """The shapes of all masks that training may use."""
        h_size = self._state_sizes[0]
        shapes: dict[str, tuple[int, ...]] = {}
        for layer in range(self.num_layers):
            shapes[f"input_dropout_l{layer}"] = (T, B, self._features(layer))
            for suffix in self._suffixes(layer):
                shapes["recurrent_dropout" + suffix] = (T, B, h_size)
                shapes["update_dropout" + suffix] = (T, B, self.hidden_size)
                shapes["weight_dropout" + suffix] = (self.cell.gates * self.hidden_size, h_size)
                for state, size in zip(self.cell.states, self._state_sizes, strict=True):
                    shapes[ZONEOUT[state] + suffix] = (T, B, size)
            if layer + 1 < self.num_layers:
                shapes[f"dropout_l{layer}"] = (T, B, self._features(layer + 1))
        output = self._features(self.num_layers)
        shapes["output_dropout"] = (T, B, output) if self.return_sequences else (B, output)
        return shapes

    def _kept(self, training: bool) -> dict[str, float]:
        """What stands for the masks of zoneout that there aren't, by their names."""
        identity = training or self.zoneout_eval == "identity"
        return {
            ZONEOUT[state]: 0.0 if identity else rate for state, rate in self._zoneout_rates.items()
        }

    def forward(
        self,
        x: ArrayLike,
        state: Any = None,
        *,
        lengths: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        resets: ArrayLike | None = None,
        masks: Masks | None = None,
        training: bool = False,
    ) -> tuple[Array, Any, Tape]:
        """Return y, the final state and the tape; x is (T, B, I), or (B, T, I) if `batch_first`.

        The state is a tuple (h, c), or h alone when the cell has no other. `masks` has the names
        and shapes of masks.py, and acts in training only. There, what is missing drops nothing and
        zones nothing out.
        """
        below = self._time_major(np.asarray(x, np.float64))
        T, B, _ = below.shape
        flags = [
            None if given is None else self._time_major(np.asarray(given, bool))
            for given in (mask, resets)
        ]
        steps = Steps.of(T, B, lengths, *flags)
        below = np.where(steps.valid[:, :, None], below, 0)
        shapes, given_masks = self.mask_shapes(T, B), masks or {}
        check(given_masks, shapes)
        all_masks = complete(given_masks if training else {}, shapes, self._kept(training))
        initial = self._states(() if state is None else as_tuple(state), B)

        finals: list[States] = []
        layers = []
        for layer in range(self.num_layers):
            input_dropout = all_masks[f"input_dropout_l{layer}"]
            below = below * input_dropout
            directions, tapes, outputs = [], [], []
            for suffix, (_, backwards) in zip(self._suffixes(layer), self._directions, strict=True):
                direction = Direction(
                    self.cell,
                    self._parameters_of(suffix),
                    backwards,
                    steps,
                    self._direction_masks(suffix, all_masks),
                )
                entering = tuple(array[len(finals)] for array in initial)
                y, final, step_tapes = direction.forward(below, entering)
                directions.append(direction)
                tapes.append(step_tapes)
                outputs.append(y)
                finals.append(final)
            dropout = all_masks.get(f"dropout_l{layer}", np.ones(1))
            layers.append(LayerTape(directions, tapes, outputs, input_dropout, dropout))
            below = merge(self.merge_mode, outputs) * dropout

        output_dropout = all_masks["output_dropout"]
        top = [final[0] for final in finals[-len(self._directions) :]]
        if self.return_sequences:
            y = self._time_major(below * output_dropout)
        else:
            y = merge(self.merge_mode, top) * output_dropout
        final_states = tuple(np.stack(arrays) for arrays in zip(*finals, strict=True))
        tape = Tape(layers, top, output_dropout)
        return y, as_state(final_states), tape

    def _states(self, given: Sequence[ArrayLike | None], B: int) -> States:
        """Copies of the states of all layers; zeros where none is given."""
        shapes = self.state_shapes(B)
        if len(given) == 0:
            given = [None] * len(shapes)
        return tuple(
            np.zeros(shape) if array is None else np.array(array, np.float64)
            for array, shape in zip(given, shapes, strict=True)
        )

    def _parameters_of(self, suffix: str) -> Parameters:
        """The parameters of one direction, by names without suffix."""
        return {
            name.removesuffix(suffix): array
            for name, array in self.parameters.items()
            if name.endswith(suffix)
        }

    def _direction_masks(self, suffix: str, all_masks: dict[str, Array]) -> DirectionMasks:
        return DirectionMasks(
            recurrent_dropout=all_masks["recurrent_dropout" + suffix],
            update_dropout=all_masks["update_dropout" + suffix],
            weight_dropout=all_masks["weight_dropout" + suffix],
            zoneout=tuple(all_masks[ZONEOUT[state] + suffix] for state in self.cell.states),
        )

    def backward(
        self, tape: Tape, dy: ArrayLike | None = None, *dstates: ArrayLike | None
    ) -> Gradients:
        """Return the gradients of everything; a missing gradient counts as zeros.

        `dstates` are those of the final states: dh_n and dc_n, or dh_n alone.
        """
        count = len(self._directions)
        T, B, _ = tape.layers[-1].outputs[0].shape
        states = self._states(dstates, B)
        above = np.zeros((T, B, self._features(self.num_layers)))
        if dy is not None and self.return_sequences:
            above = self._time_major(np.asarray(dy, np.float64)) * tape.output_dropout
        elif dy is not None:
            dropped = np.asarray(dy, np.float64) * tape.output_dropout
            states[0][-count:] += np.stack(merge_backward(self.merge_mode, tape.final_h, dropped))

        parameters: dict[str, Array] = {}
        for layer in reversed(range(self.num_layers)):
            taken = tape.layers[layer]
            parts = merge_backward(self.merge_mode, taken.outputs, above * taken.dropout)
            below = 0.0
            for index, suffix in enumerate(self._suffixes(layer)):
                row = layer * count + index
                dx, dentering, gradients = taken.directions[index].backward(
                    taken.tapes[index], parts[index], tuple(array[row] for array in states)
                )
                below = below + dx
                for array, gradient in zip(states, dentering, strict=True):
                    array[row] = gradient
                parameters |= {name + suffix: array for name, array in gradients.items()}
            above = below * taken.input_dropout
        return Gradients(self._time_major(above), states, parameters)
