"""Calls that take long on any machine, and Ctrl-C in the middle of them."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

import recurrust as rr


def slow_input(layer: rr.LSTM, seconds: float = 0.5) -> NDArray[np.float32]:
    """An input on which a layer works for at least so long."""
    x = np.random.default_rng(1).normal(size=(64, 24, layer.input_size)).astype("f4")
    while True:
        started = time.monotonic()
        layer(x)
        if time.monotonic() - started > seconds:
            return x
        x = np.concatenate([x, x])


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
