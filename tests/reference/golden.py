"""The vectors in tests/golden, of PyTorch and ONNX Runtime; cases.json there describes them.

A recurrent layer's archive holds the weights `param.NAME`, the operands `x, h0, c0, lengths`, the
outputs `y, hn, cn`, their gradients `dy, dhn, dcn`, and the gradients `dx, dh0, dc0, grad.NAME`
that these give. An archive of ONNX holds one node's inputs and outputs under the operator's names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reference.comparison import assert_all_close

Arrays = dict[str, NDArray[Any]]

FOLDER = Path(__file__).parents[1] / "golden"


def arrays(name: str) -> Arrays:
    """All arrays of one archive, by their keys."""
    with np.load(FOLDER / f"{name}.npz") as archive:
        return dict(archive)


@cache
def descriptions() -> dict[str, Any]:
    """What cases.json says."""
    loaded: dict[str, Any] = json.loads((FOLDER / "cases.json").read_text())
    return loaded


KINDS = ("lstm", "gru", "rnn", "ort")
RECURRENT_NAMES = [name for kind in KINDS for name in descriptions()[kind]]
LSTM_NAMES = [name for name, case in descriptions()["lstm"].items() if "proj_size" not in case]


def tolerances(dtype: str) -> tuple[float, float]:
    """How near outputs and gradients must be, relative to each tensor's largest entry."""
    return (1e-12, 1e-12) if dtype == "float64" else (2e-6, 1e-5)


def named(data: Arrays, prefix: str) -> Arrays:
    """The arrays whose keys start with a prefix, without it."""
    return {
        key.removeprefix(prefix): array for key, array in data.items() if key.startswith(prefix)
    }


# ----------------------------------------------------------------------- cases of recurrent layers

# What cases.json says of a layer of PyTorch, under recurrust's names.
OPTIONS = ("num_layers", "batch_first", "bidirectional", "proj_size", "nonlinearity")


@dataclass(frozen=True)
class RecurrentCase:
    """A layer, its operands, and what they must give."""

    kind: str  # LSTM, GRU or RNN
    hidden_size: int
    options: dict[str, Any]  # all but sizes, bias and dtype
    data: Arrays

    @property
    def input_size(self) -> int:
        return self.data["x"].shape[-1]

    @property
    def bias(self) -> bool:
        return "param.bias_ih_l0" in self.data

    @property
    def dtype(self) -> str:
        return self.data["y"].dtype.name

    @property
    def parameters(self) -> Arrays:
        return named(self.data, "param.")

    @property
    def x(self) -> NDArray[Any]:
        return self.data["x"]

    @property
    def lengths(self) -> NDArray[Any] | None:
        return self.data.get("lengths")

    @property
    def state(self) -> Any:
        """The initial state as a layer takes it: (h, c), or h alone, or None."""
        return self._state("h0", "c0") if "h0" in self.data else None

    @property
    def has_gradients(self) -> bool:
        return "dy" in self.data

    @property
    def dy(self) -> NDArray[Any]:
        return self.data["dy"]

    @property
    def dstate(self) -> Any:
        """The gradient of the final state."""
        return self._state("dhn", "dcn")

    def _state(self, h: str, c: str) -> Any:
        return (self.data[h], self.data[c]) if self.kind == "LSTM" else self.data[h]

    def check_outputs(self, y: ArrayLike, state: Any) -> None:
        """Assert the output, and the final state unless the archive lacks it."""
        got = {"y": y, **_named_state(state, "hn", "cn")}
        expected = {key: self.data[key] for key in got if key in self.data}
        tolerance, _ = tolerances(self.dtype)
        assert_all_close({key: got[key] for key in expected}, expected, tolerance)

    def check_gradients(
        self, dx: ArrayLike, dstate: Any, parameters: Mapping[str, ArrayLike]
    ) -> None:
        """Assert the gradients of the operands and of every parameter."""
        got = {"dx": dx, **_named_state(dstate, "dh0", "dc0")}
        _, tolerance = tolerances(self.dtype)
        assert_all_close(got, {key: self.data[key] for key in got}, tolerance)
        assert_all_close(parameters, named(self.data, "grad."), tolerance)


def _named_state(state: Any, *names: str) -> Mapping[str, ArrayLike]:
    """The parts of a state by name; a state of one part is that array alone."""
    return dict(zip(names, state, strict=True)) if isinstance(state, tuple) else {names[0]: state}


def recurrent_case(name: str) -> RecurrentCase:
    """The case of one archive, whoever made it."""
    data, kind = arrays(name), name.partition("_")[0]
    case = descriptions()[kind][name]
    if kind == "ort":
        return _onnx_case(case, data)
    options = {key: case[key] for key in OPTIONS if key in case}
    return RecurrentCase(case["kind"], case["hidden_size"], options, data)


# -------------------------------------------------------------------------- ONNX's names and orders

ONNX_GATES = {"LSTM": "iofg", "GRU": "zrn", "RNN": "h"}
OUR_GATES = {"LSTM": "ifgo", "GRU": "rzn", "RNN": "h"}


def _reordered(stacked: NDArray[Any], have: str, want: str) -> NDArray[Any]:
    """Blocks of rows, one for each gate, in the order that is wanted; others are left out."""
    blocks = dict(zip(have, np.split(stacked, len(have)), strict=True))
    return np.concatenate([blocks[gate] for gate in want])


def _onnx_case(case: dict[str, Any], theirs: Arrays) -> RecurrentCase:
    """A node of ONNX as one of our layers: W, R, B = (W's bias, R's bias) and P by direction."""
    kind, attributes = case["kind"].removeprefix("onnx."), case["attrs"]
    coupled = bool(attributes.get("input_forget", 0))
    options: dict[str, Any] = {"bidirectional": case["directions"] == 2}
    if kind == "LSTM":
        options |= {"peephole": case["peephole"], "coupled": coupled}
    if kind == "GRU":
        options["reset_after"] = bool(attributes["linear_before_reset"])
    if "clip" in attributes:
        options["clip"] = attributes["clip"]

    have, want = ONNX_GATES[kind], OUR_GATES[kind].replace("f" if coupled else "", "")
    data = {}
    for direction in range(case["directions"]):
        suffix = ["_l0", "_l0_reverse"][direction]
        bias_ih, bias_hh = np.split(theirs["B"][direction], 2)
        stacked = {
            "weight_ih": theirs["W"][direction],
            "weight_hh": theirs["R"][direction],
            "bias_ih": bias_ih,
            "bias_hh": bias_hh,
        }
        for name, array in stacked.items():
            data[f"param.{name}{suffix}"] = _reordered(array, have, want)
        if "P" in theirs:
            peephole = theirs["P"][direction]
            data[f"param.peephole{suffix}"] = _reordered(peephole, "iof", want.replace("g", ""))

    T, directions, B, H = theirs["Y"].shape
    data["y"] = theirs["Y"].transpose(0, 2, 1, 3).reshape(T, B, directions * H)
    ours = {
        "X": "x",
        "initial_h": "h0",
        "initial_c": "c0",
        "sequence_lens": "lengths",
        "Y_h": "hn",
        "Y_c": "cn",
    }
    data |= {ours[name]: array for name, array in theirs.items() if name in ours}
    return RecurrentCase(kind, case["hidden_size"], options, data)
