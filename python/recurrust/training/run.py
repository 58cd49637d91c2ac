"""Where a call of `fit` is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from recurrust.training.accumulation import Accumulation
from recurrust.training.interrupts import Interrupts
from recurrust.training.tally import Tally

if TYPE_CHECKING:
    from recurrust._core import Parameter

__all__ = ["Event", "Run"]


@dataclass(slots=True)
class Event:
    """A hook that the first callbacks have been told about, and the others not yet."""

    hook: str
    arguments: list[Any]
    heard: int


@dataclass(slots=True)
class Run:
    """The position of a call of `fit`, and what its epoch has gathered so far.

    The number of the epoch is the trainer's; together with it, this is what goes on exactly when
    it is saved between two steps and taken up again.
    """

    # What the batches are cut from (`Batches.description`).
    data: dict[str, Any]
    # Batches of the present epoch that are done; none between epochs.
    batch: int = 0
    # The learning rate of the epoch's first step.
    lr: float = math.nan
    skipped: int = 0
    event: Event | None = None
    tally: Tally = field(default_factory=Tally)
    accumulation: Accumulation = field(default_factory=Accumulation)
    # Parameters that only the optimizer has, once looked for; no part of the state.
    others: list[Parameter] | None = None
    # How Ctrl-C is held back; no part of the state.
    interrupts: Interrupts = field(default_factory=Interrupts)

    def begin_epoch(self, lr: float) -> None:
        """Forget what the epoch before has gathered."""
        self.batch = 0
        self.lr = lr
        self.skipped = 0
        self.tally = Tally()
        self.accumulation = Accumulation()
        self.others = None

    def state_dict(self) -> dict[str, Any]:
        """Return everything, to be saved."""
        event = self.event
        return {
            "data": self.data,
            "batch": self.batch,
            "lr": self.lr,
            "skipped": self.skipped,
            "event": None if event is None else [event.hook, event.arguments, event.heard],
            "tally": self.tally.state_dict(),
            "accumulation": self.accumulation.state_dict(),
        }

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Run:
        """Return a run with the state of another."""
        event = state["event"]
        return cls(
            data=dict(state["data"]),
            batch=int(state["batch"]),
            lr=float(state["lr"]),
            skipped=int(state["skipped"]),
            event=None if event is None else Event(event[0], list(event[1]), int(event[2])),
            tally=Tally.of(state["tally"]),
            accumulation=Accumulation.of(state["accumulation"]),
        )
