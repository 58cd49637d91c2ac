"""Ctrl-C, held back while things change that belong together."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from types import FrameType

    from typing_extensions import ParamSpec, Self

    Arguments = ParamSpec("Arguments")
    Result = TypeVar("Result")

__all__ = ["Interrupts"]


class Interrupts:
    """Holds Ctrl-C back inside of a `with` block, but for what `allow` calls.

    What was held back is handled as soon as that is allowed, by whatever handled it before: as a
    rule, `KeyboardInterrupt` is raised. A second Ctrl-C meanwhile is not held back, so that
    nobody's code can hang for ever.

    Python runs handlers between the calls of a function in the main thread, so an exception could
    come between any two lines of this package, and right after a native call that has finished
    its work. In other threads none is raised, and nothing happens here.
    """

    def __init__(self) -> None:
        self._held = False
        self._waiting: tuple[int, FrameType | None] | None = None
        self._previous: Callable[[int, FrameType | None], Any] | None = None

    def __enter__(self) -> Self:
        self._held = True
        previous = signal.getsignal(signal.SIGINT)
        if callable(previous):  # else Ctrl-C is ignored, or ends the process
            self._previous = previous
            try:
                signal.signal(signal.SIGINT, self._handle)
            except ValueError:  # not in the main thread
                self._previous = None
        return self

    def __exit__(self, *exception: object) -> None:
        if self._previous is not None and signal.getsignal(signal.SIGINT) == self._handle:
            signal.signal(signal.SIGINT, self._previous)
        self._held = False
        self._catch_up()

    def allow(
        self,
        function: Callable[Arguments, Result],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Result:
        """Call a function that Ctrl-C may end."""
        before = self._held
        try:
            self._held = False
            self._catch_up()
            return function(*args, **kwargs)
        finally:
            self._held = before

    def hold(
        self,
        function: Callable[Arguments, Result],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Result:
        """Call a function that must not be left half done; then see to what was held back."""
        before = self._held
        try:
            self._held = True
            return function(*args, **kwargs)
        finally:
            self._held = before
            self._catch_up()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._held and self._waiting is None:
            self._waiting = number, frame
        elif self._previous is not None:
            self._previous(number, frame)

    def _catch_up(self) -> None:
        if self._held or self._waiting is None or self._previous is None:
            return
        waiting, self._waiting = self._waiting, None
        self._previous(*waiting)
