"""What every side of a comparison offers, and the data that all sides get."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cases import Case

Arrays: TypeAlias = Mapping[str, NDArray[Any]]

# Buffers that calls go round in, so that no side finds its input in the nearest cache only.
BUFFERS = 3

# How often an epoch goes through the buffers.
EPOCH_ROUNDS = 2

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


class UnavailableError(Exception):
    """A side can't run a case: a library or a feature isn't there."""


@dataclass
class Side:
    """A call to be timed."""

    # Gets one of the buffers; its result is dropped.
    call: Callable[[Any], object]
    buffers: Sequence[Any]
    # What one call with the first buffer gives, by name, to be compared between sides before
    # anything is timed. None where the sides rightly differ.
    outputs: Callable[[], Arrays] | None
    # Entered around every sample.
    context: Callable[[], AbstractContextManager[Any]] = nullcontext


Builder: TypeAlias = Callable[["Data"], Side]
# By kind of call.
Builders: TypeAlias = Mapping[str, Builder]


class Data:
    """Weights and inputs of a case, the same in every run.

    Weights are uniform within 1 / sqrt(hidden) of zero as PyTorch draws them and bear PyTorch's
    names; inputs and gradients are normal.
    """

    def __init__(self, case: Case) -> None:
        steps, batch, inputs, hidden = case.shape
        dtype = np.dtype(case.dtype)
        random = np.random.default_rng(0)
        self.case = case

        def weights(*shape: int) -> NDArray[Any]:
            bound = hidden**-0.5
            return random.uniform(-bound, bound, shape).astype(dtype)

        def normal(*shape: int) -> NDArray[Any]:
            return random.normal(size=shape).astype(dtype)

        rows = _GATES[case.cell] * hidden
        outputs = case.directions * hidden
        self.weights: dict[str, NDArray[Any]] = {}
        for layer in range(case.num_layers):
            for suffix in ("", "_reverse")[: case.directions]:
                columns = inputs if layer == 0 else outputs
                self.weights[f"weight_ih_l{layer}{suffix}"] = weights(rows, columns)
                self.weights[f"weight_hh_l{layer}{suffix}"] = weights(rows, hidden)
                self.weights[f"bias_ih_l{layer}{suffix}"] = weights(rows)
                self.weights[f"bias_hh_l{layer}{suffix}"] = weights(rows)
        # Of the layer after the recurrent ones in a whole training step.
        self.head = {"weight": weights(1, outputs), "bias": weights(1)}
        # Time-major.
        self.inputs = [normal(steps, batch, inputs) for _ in range(BUFFERS)]
        self.targets = [normal(batch, 1) for _ in range(BUFFERS)]
        self.dy = normal(steps, batch, outputs)
        self.lengths: NDArray[np.int64] | None = None
        if case.lengths is not None:
            least, most = case.lengths
            self.lengths = random.integers(least, most, size=batch, endpoint=True)

    def samples(self) -> list[tuple[NDArray[Any], NDArray[Any]]]:
        """Return inputs, batch first, with their targets."""
        batches = [np.ascontiguousarray(x.swapaxes(0, 1)) for x in self.inputs]
        return list(zip(batches, self.targets, strict=True))

    def epoch(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the inputs, batch first, and the targets of several batches."""
        x, y = (np.concatenate(parts) for parts in zip(*self.samples(), strict=True))
        return np.tile(x, (EPOCH_ROUNDS, 1, 1)), np.tile(y, (EPOCH_ROUNDS, 1))


def named(y: Any, state: Any) -> dict[str, Any]:
    """Return output and final states, a pair or a single one, by name."""
    states = state if isinstance(state, tuple) else (state,)
    return {"y": y, **dict(zip(("h_n", "c_n"), states, strict=False))}


def largest_differences(got: Arrays, expected: Arrays) -> dict[str, float]:
    """Return the largest difference of each array, in units of its largest expected entry."""
    if got.keys() != expected.keys():
        raise ValueError(f"sides give {sorted(got)} and {sorted(expected)}")
    differences = {}
    for name, array in expected.items():
        if got[name].shape != array.shape:
            raise ValueError(f"{name}: sides give shapes {got[name].shape} and {array.shape}")
        # In float64, so that the subtraction itself adds nothing.
        exact = array.astype(np.float64)
        error = np.abs(got[name].astype(np.float64) - exact).max()
        differences[name] = float(error / max(np.abs(exact).max(), np.finfo(np.float64).tiny))
    return differences
