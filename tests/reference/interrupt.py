"""Ctrl-C at a chosen time."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable


def interrupt_during(call: Callable[[], object], after: float = 0.1) -> None:
    """Send SIGINT some seconds after the start of a call and assert that it ends the call."""
    timer = threading.Timer(after, os.kill, (os.getpid(), signal.SIGINT))
    finished = False
    try:
        timer.start()
        call()
        finished = True
        timer.join()  # if the call was over too soon, the signal comes here
    except KeyboardInterrupt:
        assert not finished, "the call went on to its end"
    else:
        raise AssertionError("the signal was lost")
