"""Layers of recurrust with random weights and operands, run by recurrust and by the reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import recurrust as rr
from reference.gru import ReferenceGRU
from reference.lstm import ReferenceLSTM
from reference.rnn import ReferenceRNN

Arrays = dict[str, NDArray[Any]]
State = Any  # (h, c) of an LSTM, h alone of the others

KINDS = ("LSTM", "GRU", "RNN")
# How large weights may be before several layers of a few units amplify rounding errors.
SCALES = {"LSTM": 0.7, "GRU": 0.5, "RNN": 0.4}
# Variants of the cells: kinds and options that change the equations of a step.
VARIANTS: dict[str, dict[str, Any]] = {
    "peephole": {"kind": "LSTM", "peephole": True},
    "coupled": {"kind": "LSTM", "coupled": True},
    "clip": {"kind": "LSTM", "clip": 0.6},
    "peephole, coupled": {"kind": "LSTM", "peephole": True, "coupled": True},
    "peephole, clip": {"kind": "LSTM", "peephole": True, "clip": 0.6},
    "coupled, clip": {"kind": "LSTM", "coupled": True, "clip": 0.6},
    "peephole, coupled, clip": {"kind": "LSTM", "peephole": True, "coupled": True, "clip": 0.6},
    "GRU, clip": {"kind": "GRU", "clip": 0.6},
    "GRU, reset before": {"kind": "GRU", "reset_after": False},
    "GRU, reset before, clip": {"kind": "GRU", "reset_after": False, "clip": 0.6},
    "RNN, clip": {"kind": "RNN", "clip": 0.6},
    "RNN, relu": {"kind": "RNN", "nonlinearity": "relu"},
    "RNN, relu, clip": {"kind": "RNN", "nonlinearity": "relu", "clip": 0.6},
}
# What regularises a call, each alone.
REGULARIZATION: dict[str, dict[str, Any]] = {
    "dropout": {"dropout": 0.4},
    "input dropout": {"input_dropout": 0.4},
    "input dropout, per step": {"input_dropout": 0.4, "variational": False},
    "recurrent dropout": {"recurrent_dropout": 0.4},
    "recurrent dropout, per step": {"recurrent_dropout": 0.4, "variational": False},
    "output dropout": {"output_dropout": 0.4},
    "update dropout": {"update_dropout": 0.4},
    "weight dropout": {"weight_dropout": 0.4},
    "zoneout": {"zoneout": 0.3},
    "zoneout, identity": {"zoneout": 0.3, "zoneout_eval": "identity"},
}
# Every option of cells and of regularisation, alone, in every kind of cell that has it.
EVERY_OPTION: dict[str, dict[str, Any]] = {
    **VARIANTS,
    **{
        f"{kind}, {name}": {"kind": kind, "num_layers": 2 if name == "dropout" else 1, **options}
        for kind in KINDS
        for name, options in REGULARIZATION.items()
    },
}
REFERENCES = {"LSTM": ReferenceLSTM, "GRU": ReferenceGRU, "RNN": ReferenceRNN}


def randomize(layer: Any, rng: np.random.Generator, scale: float = 0.7) -> None:
    """Give every parameter of a layer normally distributed values."""
    for parameter in layer.parameters():
        parameter.assign(rng.normal(size=parameter.shape, scale=scale).astype(parameter.dtype))


def gradients_of(layer: Any) -> Arrays:
    """Copies of the gradients of a layer's parameters."""
    return {name: parameter.grad.copy() for name, parameter in layer.named_parameters()}


def named_state(state: State, prefix: str, suffix: str) -> Arrays:
    """The parts of a state by name."""
    parts = state if isinstance(state, tuple) else (state,)
    return {f"{prefix}{name}{suffix}": part for name, part in zip(("h", "c"), parts, strict=False)}


def outputs_of(y: NDArray[Any], state: State, prefix: str = "") -> Arrays:
    """What a forward pass returns, by name."""
    return {f"{prefix}y": y, **named_state(state, prefix, "_n")}


# What a reference doesn't need to know of a layer: its weights and the masks of a call tell.
UNTOLD = ("input_size", "hidden_size", "bias", "dtype", "variational", "dropout")


def reference_of(layer: rr.LSTM | rr.GRU | rr.RNN) -> Any:
    """The reference with the weights and options of a layer; one rate of zoneout for all layers."""
    options = {
        name: value
        for name, value in layer.config.items()
        if name not in UNTOLD and not name.endswith("_dropout")
    }
    if isinstance(options.get("zoneout"), list):
        (options["zoneout"],) = set(options["zoneout"])
    return REFERENCES[type(layer).__name__](layer.state_dict(), **options)


@dataclass(frozen=True)
class Case:
    """A layer, the operands of its forward pass, and the gradients that come back."""

    layer: Any
    x: NDArray[Any]
    state: State  # or None
    flags: Arrays  # lengths, mask, resets: those in use
    dy: NDArray[Any] | None
    dhn: NDArray[Any] | None
    dcn: NDArray[Any] | None  # None without a cell state too
    random_state: Any  # with which every forward pass draws the same masks

    def forward(self) -> tuple[NDArray[Any], State, Any]:
        """The layer's forward pass with a cache."""
        kept: tuple[NDArray[Any], State, Any]
        rr.set_rng_state(self.random_state)
        kept = self.layer.forward_with_cache(self.x, self.state, **self.flags)
        return kept

    @property
    def dstate(self) -> Any:
        """The gradient of the final state."""
        return (self.dhn, self.dcn) if isinstance(self.layer, rr.LSTM) else self.dhn

    def backward(self, cache: Any) -> tuple[NDArray[Any], State]:
        """The layer's backward pass; adds to the gradients."""
        back: tuple[NDArray[Any], State] = self.layer.backward(self.dy, self.dstate, cache=cache)
        return back

    def by_recurrust(self) -> tuple[Arrays, Arrays]:
        """Outputs and gradients by name, from recurrust."""
        rr.set_rng_state(self.random_state)
        plain = self.layer(self.x, self.state, **self.flags)
        *kept, cache = self.forward()
        self.layer.zero_grad()
        dx, dstate = self.backward(cache)
        gradients = {"x": dx, **named_state(dstate, "", "0"), **gradients_of(self.layer)}
        return outputs_of(*kept) | outputs_of(*plain, prefix="uncached "), gradients

    def by_reference(self) -> tuple[Arrays, Arrays]:
        """Outputs and gradients by name, from the reference, with the layer's masks."""
        reference = reference_of(self.layer)
        *_, cache = self.forward()
        masks = {"masks": cache.masks, "training": self.layer.training}
        y, state, tape = reference.forward(self.x, self.state, **self.flags, **masks)
        dstates = (self.dhn, self.dcn) if isinstance(self.layer, rr.LSTM) else (self.dhn,)
        back = reference.backward(tape, self.dy, *dstates)
        initial = (back.h0, back.c0) if isinstance(self.layer, rr.LSTM) else back.h0
        gradients = {"x": back.x, **named_state(initial, "", "0"), **back.parameters}
        return outputs_of(y, state) | outputs_of(y, state, prefix="uncached "), gradients


def make_case(
    rng: np.random.Generator,
    T: int,
    B: int,
    input_size: int,
    hidden_size: int,
    *,
    kind: str = "LSTM",
    flags: tuple[str, ...] = (),
    state: bool = True,
    loss_on: tuple[str, ...] = ("y", "h", "c"),
    **options: Any,
) -> Case:
    """A layer and operands: `flags` says which of lengths, mask and resets are used."""
    layer = getattr(rr, kind)(input_size, hidden_size, **options)
    dtype = layer.dtype
    randomize(layer, rng, SCALES[kind])

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
    pair = kind == "LSTM"
    initial = (normal(*states), normal(*states)) if pair else normal(*states)
    output = (*layout, layer.output_size) if layer.return_sequences else (B, layer.output_size)
    return Case(
        layer,
        normal(*layout, input_size),
        initial if state else None,
        {name: drawn[name] for name in flags},
        normal(*output) if "y" in loss_on else None,
        normal(*states) if "h" in loss_on else None,
        normal(*states) if pair and "c" in loss_on else None,
        rr.get_rng_state(),
    )
