"""What is compared: every row of the result with its target, and nothing that needs a library.

A target is the least ratio of the other side's time to ours: above 1 recurrust is faster. It is
None where there is only something to report.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Shape(NamedTuple):
    """Sizes of one call."""

    steps: int
    batch: int
    inputs: int
    hidden: int

    def __str__(self) -> str:
        return ",".join(map(str, self))


@dataclass(frozen=True)
class Case:
    """A network and the size of its input."""

    shape: Shape
    dtype: str = "float32"
    cell: str = "LSTM"
    num_layers: int = 1
    bidirectional: bool = False
    # Bounds of the sequences' lengths, both included; None: all have the steps of the shape.
    lengths: tuple[int, int] | None = None
    # Of our layer, beyond the above.
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def directions(self) -> int:
        return 2 if self.bidirectional else 1


@dataclass(frozen=True)
class Comparison:
    """A row that is a ratio of times for each side that recurrust is compared with."""

    section: str
    name: str
    # Which call of the case is timed: a key of the sides' builders.
    kind: str
    case: Case
    # By the name of the other side.
    targets: Mapping[str, float | None]
    # How many processor cores it needs.
    cores: int = 1
    # Most seconds that one call of ours may take.
    limit: float | None = None


@dataclass(frozen=True)
class Figure:
    """A row that is one number, measured in processes of its own."""

    section: str
    name: str
    kind: str
    case: Case
    # The most the number may be, or the least where `at_least`.
    bound: float
    at_least: bool = False
    # The side that recurrust is compared with, where there is one.
    other: str = ""
    cores: int = 1


Row = Comparison | Figure

SHAPES = (
    Shape(1, 1, 8, 32),
    Shape(50, 1, 8, 32),
    Shape(100, 1, 16, 64),
    Shape(100, 1, 128, 128),
    Shape(50, 32, 1, 32),
    Shape(50, 32, 8, 64),
    Shape(100, 32, 64, 128),
    Shape(100, 64, 128, 256),
    Shape(100, 64, 256, 512),
    Shape(200, 16, 512, 1024),
)
# Gradients through a single step are no recurrence.
TRAINING_SHAPES = tuple(shape for shape in SHAPES if shape.steps > 1)
RAGGED = Case(Shape(1000, 32, 32, 128), lengths=(500, 1000))


def rows() -> list[Row]:
    """Return all rows in the order of the report."""
    return [
        *_inference(),
        Comparison(
            "One streaming step, float32",
            "streaming 1,1,8,32",
            "streaming",
            Case(Shape(1, 1, 8, 32)),
            {"onnxruntime": 2.5},
            limit=2e-6,
        ),
        *_training(),
        *_double(),
        *_whole_steps(),
        *_lengths(),
        *_threads(),
        *_memory(),
        *_behaviour(),
        *_other_cells(),
        *_options(),
    ]


def _inference() -> Iterable[Row]:
    targets = {
        Shape(50, 1, 8, 32): 2.5,
        Shape(100, 1, 16, 64): 1.7,
        Shape(100, 1, 128, 128): 1.4,
        Shape(50, 32, 1, 32): 1.5,
        Shape(50, 32, 8, 64): 1.25,
    }
    for shape in SHAPES:
        target = targets.get(shape, 1.05)
        yield Comparison(
            "Inference, float32",
            f"inference {shape}",
            "inference",
            Case(shape),
            dict.fromkeys(("torch", "onnxruntime", "openvino"), target),
        )


def _training() -> Iterable[Row]:
    for shape in TRAINING_SHAPES:
        yield Comparison(
            "Forward and backward, float32",
            f"training {shape}",
            "training",
            Case(shape),
            {"torch": _training_target(shape)},
        )


def _training_target(shape: Shape) -> float:
    if shape.hidden >= 1024:
        return 1.05
    if shape.batch == 1:
        return 3.0 if shape.hidden <= 64 else 1.0
    return 1.5 if shape.batch == 32 else 1.35


def _double() -> Iterable[Row]:
    for title, kind, shapes in (
        ("Inference, float64", "inference", SHAPES),
        ("Forward and backward, float64", "training", TRAINING_SHAPES),
    ):
        for shape in shapes:
            target = 1.3 if shape.hidden >= 1024 else 2.2
            case = Case(shape, dtype="float64")
            yield Comparison(title, f"{kind} float64 {shape}", kind, case, {"torch": target})


def _whole_steps() -> Iterable[Row]:
    cases = (
        (Case(Shape(24, 32, 1, 32)), 3.0),
        (Case(Shape(50, 64, 1, 64), num_layers=2), 1.5),
        (Case(Shape(100, 128, 8, 128), num_layers=2), 1.35),
    )
    network = "LSTM, Linear, MSE, clipping, Adam"
    for title, kind in (
        (f"Whole training step ({network}), float32", "step"),
        (f"An epoch of 6 batches in a plain loop ({network}), float32", "epoch"),
    ):
        for case, target in cases:
            yield Comparison(
                title,
                f"{kind} {case.shape}, {case.num_layers} layer{'s' * (case.num_layers > 1)}",
                kind,
                case,
                {"torch": target, "torch with fused Adam": None},
            )


def _lengths() -> Iterable[Row]:
    for kind in ("inference", "training"):
        yield Comparison(
            "Lengths 500 to 1000 of 1000 steps, float32",
            f"lengths {kind} {RAGGED.shape}",
            f"ragged {kind}",
            RAGGED,
            # At most 1.2 times the time of the call without lengths.
            {"dense call": 1 / 1.2, "torch": None},
        )


def _threads() -> Iterable[Row]:
    bidirectional = Shape(100, 1, 64, 128)
    for kind, shapes in (("inference", SHAPES), ("training", TRAINING_SHAPES)):
        for shape in (*shapes, bidirectional):
            if shape == bidirectional:
                target = 1.7
            else:
                target = 1.8 if shape.batch >= 32 and shape.hidden >= 128 else 0.95
            yield Comparison(
                "Two threads over one, float32",
                f"threads {kind} {shape}" + ", bidirectional" * (shape == bidirectional),
                f"two threads {kind}",
                Case(shape, bidirectional=shape == bidirectional),
                {"one thread": target},
                cores=2,
            )


def _memory() -> Iterable[Row]:
    title = "Peak memory of one training call over the other's, float32"
    for shape in SHAPES:
        # Below, a few pages more or less decide.
        if shape.batch > 1 and shape.hidden >= 64:
            name = f"memory {shape}"
            yield Figure(title, name, "memory", Case(shape), 1.0, other="torch")
    name = f"memory lengths {RAGGED.shape}"
    yield Figure(title, name, "ragged memory", RAGGED, 1.0, other="dense call")


def _behaviour() -> Iterable[Row]:
    """Cases that hurt users of other libraries."""
    title = "Behaviour"
    yield Comparison(
        title,
        "threads by default 5,1,8,32",
        "default threads",
        Case(Shape(5, 1, 8, 32)),
        {"one thread": 1 / 1.1},
        cores=2,
    )
    yield Comparison(
        title,
        "8 threads share a model 20,1,8,32",
        "shared",
        Case(Shape(20, 1, 8, 32)),
        {"one after the other": None},
    )
    yield Comparison(
        title,
        "episodes in one call 128,8,16,64",
        "episodes",
        Case(Shape(128, 8, 16, 64)),
        {"step by step": 3.0},
    )
    yield Figure(
        title,
        "2 processes: least speed of one over its speed alone 5,1,8,32",
        "processes",
        Case(Shape(5, 1, 8, 32)),
        0.8,
        at_least=True,
        cores=2,
    )
    yield Figure(
        title,
        "a sequence alone and in a batch: largest difference 100,64,64,512",
        "alone",
        Case(Shape(100, 64, 64, 512)),
        1e-5,
    )
    yield Figure(
        title,
        "instruction sets: largest difference 50,7,5,33",
        "instruction sets",
        Case(Shape(50, 7, 5, 33)),
        1e-6,
    )


def _other_cells() -> Iterable[Row]:
    for shape in SHAPES:
        yield Comparison(
            "GRU inference, float32",
            f"GRU inference {shape}",
            "inference",
            Case(shape, cell="GRU"),
            {"torch": 10.0 if shape.batch == 1 else 2.2, "onnxruntime": 1.05},
        )
    for shape in TRAINING_SHAPES:
        yield Comparison(
            "GRU forward and backward, float32",
            f"GRU training {shape}",
            "training",
            Case(shape, cell="GRU"),
            {"torch": 10.0 if shape.batch == 1 else 2.2},
        )
    for shape in SHAPES:
        yield Comparison(
            "RNN inference, float32",
            f"RNN inference {shape}",
            "inference",
            Case(shape, cell="RNN"),
            {"torch": 1.0, "onnxruntime": 1.0},
        )
    for shape in TRAINING_SHAPES:
        yield Comparison(
            "RNN forward and backward, float32",
            f"RNN training {shape}",
            "training",
            Case(shape, cell="RNN"),
            {"torch": 1.0},
        )


def _options() -> Iterable[Row]:
    """Options that live in the cell's step may cost 15 % of the plain layer's time."""
    options: dict[str, dict[str, Any]] = {
        "peephole": {"peephole": True},
        "coupled": {"coupled": True},
        "clip": {"clip": 3.0},
        "zoneout": {"zoneout": 0.1},
        "output dropout": {"output_dropout": 0.2},
        "recurrent dropout": {"recurrent_dropout": 0.2},
        "recurrent dropout per step": {"recurrent_dropout": 0.2, "variational": False},
        "update dropout": {"update_dropout": 0.2},
    }
    for shape in (Shape(50, 32, 8, 64), Shape(100, 64, 128, 256)):
        for name, option in options.items():
            yield Comparison(
                "LSTM's options, forward and backward, float32",
                f"option {name} {shape}",
                "option",
                Case(shape, options=option),
                {"plain layer": 1 / 1.15},
            )
