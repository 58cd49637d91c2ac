"""References of any cell and options with random parameters."""

from __future__ import annotations

from typing import Any

import numpy as np

from reference.cell import Array, Cell
from reference.gru import GRUCell
from reference.lstm import LSTMCell
from reference.recurrent import ReferenceRecurrent, parameter_shapes
from reference.rnn import RNNCell

CELLS: dict[str, type[Cell]] = {"LSTM": LSTMCell, "GRU": GRUCell, "RNN": RNNCell}


def random_reference(
    rng: np.random.Generator,
    cell: Cell,
    input_size: int,
    hidden_size: int,
    *,
    bias: bool = True,
    **options: Any,
) -> ReferenceRecurrent:
    """A stack whose weights are normally distributed, the gains of its normalisers around 1."""
    of_shapes = ("num_layers", "bidirectional", "merge_mode")
    shapes = parameter_shapes(
        cell,
        input_size,
        hidden_size,
        bias=bias,
        **{name: options[name] for name in of_shapes if name in options},
    )
    parameters = {
        name: rng.normal(size=shape, loc=1.0 if is_gain(name) else 0.0, scale=0.6)
        for name, shape in shapes.items()
    }
    return ReferenceRecurrent(cell, parameters, **options)


def is_gain(name: str) -> bool:
    """Whether a parameter multiplies what was normalised."""
    return name.startswith("norm_") and "bias" not in name


def random_states(
    rng: np.random.Generator, reference: ReferenceRecurrent, B: int
) -> tuple[Array, ...]:
    """A state for every layer and direction, or the gradient of one."""
    return tuple(rng.normal(size=shape) for shape in reference.state_shapes(B))
