"""Where a call of `fit` is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from recurrust._arguments import require_integer
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

    @classmethod
    def of(cls, hook: Any, arguments: Any, heard: Any) -> Event:
        """Return an event from what a file says of it."""
        arguments = list(arguments)
        if hook not in ("on_batch_end", "on_epoch_end") or len(arguments) != 2:
            raise ValueError(f"run.event must be a hook with its arguments, got {hook!r:.80}")
        return cls(hook, arguments, require_integer("run.event.heard", heard, 0))


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
        """Return a run with the state of another.

        Raises
        ------
        KeyError, TypeError, ValueError, AttributeError, IndexError
            If it is none.
        """
        event = state["event"]
        data = dict(state["data"])
        batches = None  # of batches that the user hands over, nobody knows how many there are
        if "batch_size" in data:
            size = require_integer("batch_size", data["batch_size"], 1)
            batches = -(-require_integer("samples", data["samples"], 1) // size)
        return cls(
            data=data,
            batch=require_integer("run.batch", state["batch"], 0, batches),
            lr=float(state["lr"]),
            skipped=require_integer("run.skipped", state["skipped"], 0),
            event=None if event is None else Event.of(*event),
            tally=Tally.of(state["tally"]),
            accumulation=Accumulation.of(state["accumulation"]),
        )
