"""Layers of recurrust with random weights and operands, run by recurrust and by the reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import recurrust as rr
from reference.lstm import ReferenceLSTM

Arrays = dict[str, NDArray[Any]]
State = tuple[NDArray[Any], NDArray[Any]]


def randomize(layer: Any, rng: np.random.Generator, scale: float = 0.7) -> None:
    """Give every parameter of a layer normally distributed values."""
    for parameter in layer.parameters():
        parameter.assign(rng.normal(size=parameter.shape, scale=scale).astype(parameter.dtype))


def gradients_of(layer: Any) -> Arrays:
    """Copies of the gradients of a layer's parameters."""
    return {name: parameter.grad.copy() for name, parameter in layer.named_parameters()}


def outputs_of(y: NDArray[Any], state: State, prefix: str = "") -> Arrays:
    """What a forward pass returns, by name."""
    return {f"{prefix}y": y, f"{prefix}h_n": state[0], f"{prefix}c_n": state[1]}


def reference_of(layer: rr.LSTM) -> ReferenceLSTM:
    """The reference with the weights and options of a layer."""
    config = layer.config
    return ReferenceLSTM(
        layer.state_dict(),
        **{
            name: config[name]
            for name in (
                "num_layers",
                "batch_first",
                "bidirectional",
                "reverse",
                "merge_mode",
                "return_sequences",
            )
        },
    )


@dataclass(frozen=True)
class Case:
    """A layer, the operands of its forward pass, and the gradients that come back."""

    layer: rr.LSTM
    x: NDArray[Any]
    state: State | None
    flags: Arrays  # lengths, mask, resets: those in use
    dy: NDArray[Any] | None
    dhn: NDArray[Any] | None
    dcn: NDArray[Any] | None

    def forward(self) -> tuple[NDArray[Any], State, Any]:
        """The layer's forward pass with a cache."""
        return self.layer.forward_with_cache(self.x, self.state, **self.flags)

    def backward(self, cache: Any) -> tuple[NDArray[Any], State]:
        """The layer's backward pass; adds to the gradients."""
        return self.layer.backward(self.dy, (self.dhn, self.dcn), cache=cache)

    def by_recurrust(self) -> tuple[Arrays, Arrays]:
        """Outputs and gradients by name, from recurrust."""
        plain = self.layer(self.x, self.state, **self.flags)
        *kept, cache = self.forward()
        self.layer.zero_grad()
        dx, (dh0, dc0) = self.backward(cache)
        gradients = {"x": dx, "h0": dh0, "c0": dc0, **gradients_of(self.layer)}
        return outputs_of(*kept) | outputs_of(*plain, prefix="uncached "), gradients

    def by_reference(self) -> tuple[Arrays, Arrays]:
        """Outputs and gradients by name, from the reference."""
        reference = reference_of(self.layer)
        y, state, tape = reference.forward(self.x, self.state, **self.flags)
        back = reference.backward(tape, self.dy, self.dhn, self.dcn)
        gradients = {"x": back.x, "h0": back.h0, "c0": back.c0, **back.parameters}
        return outputs_of(y, state) | outputs_of(y, state, prefix="uncached "), gradients


def make_case(
    rng: np.random.Generator,
    T: int,
    B: int,
    input_size: int,
    hidden_size: int,
    *,
    flags: tuple[str, ...] = (),
    state: bool = True,
    loss_on: tuple[str, ...] = ("y", "h", "c"),
    **options: Any,
) -> Case:
    """A layer and operands: `flags` says which of lengths, mask and resets are used."""
    layer = rr.LSTM(input_size, hidden_size, **options)
    dtype = layer.dtype
    randomize(layer, rng)

    def normal(*shape: int) -> NDArray[Any]:
        return rng.normal(size=shape).astype(dtype)

    layout = (B, T) if layer.batch_first else (T, B)
    rows = layer.num_layers * (2 if layer.bidirectional else 1)
    states = (rows, B, hidden_size)
    drawn = {
        "lengths": rng.integers(0, T, size=B, endpoint=True),
        "mask": rng.random(layout) < 0.7,
        "resets": rng.random(layout) < 0.25,
    }
    output = (*layout, layer.output_size) if layer.return_sequences else (B, layer.output_size)
    return Case(
        layer,
        normal(*layout, input_size),
        (normal(*states), normal(*states)) if state else None,
        {name: drawn[name] for name in flags},
        normal(*output) if "y" in loss_on else None,
        normal(*states) if "h" in loss_on else None,
        normal(*states) if "c" in loss_on else None,
    )
