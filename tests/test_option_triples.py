"""Any three options at once equal the NumPy reference, in both modes (float64, to 1e-12).

Options are those of cells, those of structure and those that regularise. Pairs are tested one by
one elsewhere; of the triples, which are thousands, hypothesis takes some.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from reference.comparison import assert_all_close
from reference.layers import KINDS, REGULARIZATION, make_case

EXAMPLES = 300  # of each kind
LEAST = 0.05  # of gradients, as in test_reference.py

CELLS: dict[str, dict[str, dict[str, Any]]] = {
    "LSTM": {
        "peephole": {"peephole": True},
        "coupled": {"coupled": True},
        "clip": {"clip": 0.6},
    },
    "GRU": {"clip": {"clip": 0.6}},
    "RNN": {"clip": {"clip": 0.6}, "relu": {"nonlinearity": "relu"}},
}
STRUCTURES: dict[str, dict[str, Any]] = {
    "bidirectional": {"bidirectional": True},
    "sum": {"bidirectional": True, "merge_mode": "sum"},
    "average": {"bidirectional": True, "merge_mode": "average"},
    "mul": {"bidirectional": True, "merge_mode": "mul"},
    "reverse": {"reverse": True},
    "batch_first": {"batch_first": True},
    "bias=False": {"bias": False},
    "return_sequences=False": {"return_sequences": False},
    "num_layers=1": {"num_layers": 1},
    "num_layers=3": {"num_layers": 3},
}
PAIR_OF_ZONEOUT: dict[str, dict[str, Any]] = {"zoneout, pair": {"zoneout": (0.3, 0.2)}}
FLAGS = ("lengths", "mask", "resets")
OPTIONS: dict[str, dict[str, dict[str, Any]]] = {
    kind: {
        **CELLS[kind],
        **STRUCTURES,
        **{flag: {} for flag in FLAGS},
        **REGULARIZATION,
        **(PAIR_OF_ZONEOUT if kind == "LSTM" else {}),
    }
    for kind in KINDS
}
# Two of a group can't be together, or one of them would do nothing.
GROUPS = (
    ("bidirectional", "sum", "average", "mul", "reverse"),
    ("num_layers=1", "num_layers=3"),
    ("num_layers=1", "dropout"),
    ("input dropout", "input dropout, per step"),
    ("recurrent dropout", "recurrent dropout, per step"),
    ("zoneout", "zoneout, identity", "zoneout, pair"),
)
TRIPLES = {
    kind: [
        triple
        for triple in itertools.combinations(options, 3)
        if all(len(set(triple) & set(group)) < 2 for group in GROUPS)
    ]
    for kind, options in OPTIONS.items()
}
COUNTS = {"LSTM": 2523, "GRU": 1715, "RNN": 1976}


def test_the_triples_are_all_that_there_are() -> None:
    for kind, triples in TRIPLES.items():
        print(kind, len(OPTIONS[kind]), "options,", len(triples), "triples")
        assert {name for triple in triples for name in triple} == set(OPTIONS[kind])
    assert {kind: len(triples) for kind, triples in TRIPLES.items()} == COUNTS


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=EXAMPLES)
@given(
    seed=st.integers(0, 2**32 - 1), T=st.integers(1, 6), B=st.integers(1, 5), H=st.integers(1, 19)
)
def test_any_triple(kind: str, seed: int, T: int, B: int, H: int) -> None:
    # Every example has a triple of its own: by itself, hypothesis would repeat a few of them.
    rng = np.random.default_rng([seed, T, B, H])
    triple = TRIPLES[kind][rng.integers(len(TRIPLES[kind]))]
    note(f"{kind}: {', '.join(triple)}")
    # Two layers, so that also what happens between layers happens; an option may say otherwise.
    options: dict[str, Any] = {"num_layers": 2}
    for name in triple:
        options |= OPTIONS[kind][name]
    flags = tuple(flag for flag in FLAGS if flag in triple)
    case = make_case(rng, T, B, 3, H, kind=kind, flags=flags, dtype="float64", **options)
    for _ in range(2):
        outputs, gradients = case.by_recurrust()
        expected_outputs, expected_gradients = case.by_reference()
        assert_all_close(outputs, expected_outputs, 1e-12)
        assert_all_close(gradients, expected_gradients, 1e-12, LEAST * (T * B) ** 0.5)
        case.layer.eval()
