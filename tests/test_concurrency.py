"""Objects shared between threads and processes."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import recurrust as rr
from reference.comparison import assert_close
from reference.layers import gradients_of, randomize
from reference.process import run

LIMIT = 60  # seconds, against deadlocks


def together(*works: Callable[[], object]) -> None:
    """Run each in a thread of its own, all at once; fails if one fails or hangs."""
    barrier = threading.Barrier(len(works))

    def start(work: Callable[[], object]) -> None:
        barrier.wait()
        work()

    pool = ThreadPoolExecutor(len(works))
    try:
        for future in [pool.submit(start, work) for work in works]:
            future.result(timeout=LIMIT)
    finally:
        pool.shutdown(wait=False)


@pytest.mark.parametrize("hidden_size", [4, 96])
def test_readers_see_whole_steps_of_a_writer(hidden_size: int) -> None:
    """Every weight is the same power of 1/2 in turn; a mixture would show in the output."""
    layer = rr.LSTM(2, hidden_size, dtype="float64")
    optimizer = rr.SGD(layer.parameters(), lr=1.0)
    x = np.ones((2, 1, 2))

    def fill(value: float) -> None:
        layer.load_state_dict(
            {name: np.full(array.shape, value) for name, array in layer.state_dict().items()}
        )

    possible = {}
    for value in (0.5, 0.25):
        fill(value)
        possible[value] = layer(x)[0]
    stop = threading.Event()

    def write() -> None:
        for turn in range(300):
            # From 0.25 to 0.5 and back, by a step of the optimizer.
            for parameter in layer.parameters():
                parameter.grad[...] = -0.25 if turn % 2 == 0 else 0.25
            optimizer.step()
        stop.set()

    seen = []

    def read() -> None:
        while not stop.is_set():
            seen.append(layer(x)[0])

    together(write, read, read)
    assert len(seen) > 10
    for y in seen:
        assert any(np.abs(y - wanted).max() < 1e-12 for wanted in possible.values())


def test_readers_and_every_kind_of_writer_do_not_block_each_other(
    rng: np.random.Generator,
) -> None:
    layer = rr.LSTM(8, 64, num_layers=2)
    optimizer = rr.Adam(layer.parameters(), lr=1e-4)
    x = rng.normal(size=(20, 8, 8)).astype("f4")
    state = layer.state_dict()

    def forward() -> None:
        for _ in range(150):
            assert np.isfinite(layer(x)[0]).all()

    def backward() -> None:
        for _ in range(50):
            y, _, cache = layer.forward_with_cache(x)
            try:
                layer.backward(y, cache=cache)
            except rr.StateError:
                continue

    def step() -> None:
        for _ in range(150):
            optimizer.step()
            optimizer.zero_grad()
            assert optimizer.lr == 1e-4

    def look() -> None:
        for _ in range(300):
            assert set(layer.state_dict()) == set(state)
            assert layer.weight_ih_l0.shape == (256, 8)
            assert len(optimizer.state_dict()["param_groups"]) == 1
            rr.clip_grad_norm_(layer.parameters(), 1.0)

    def write() -> None:
        for _ in range(100):
            layer.load_state_dict(state)
            layer.bias_hh_l1 = np.zeros(256)
            layer.zero_grad()

    together(forward, forward, backward, backward, step, look, write)
    layer.load_state_dict(state)
    np.testing.assert_array_equal(layer(x)[0], layer(x)[0])


def test_gradients_of_many_threads_add_up(rng: np.random.Generator) -> None:
    layer = rr.LSTM(3, 20, dtype="float64")
    randomize(layer, rng, scale=0.3)
    cases = []
    for _ in range(8):
        x = rng.normal(size=(10, 4, 3))
        y, _, cache = layer.forward_with_cache(x)
        cases.append((y, cache))
    for y, cache in cases * 5:
        layer.backward(y, cache=cache)
    expected = gradients_of(layer)
    layer.zero_grad()

    def work(y: Any, cache: Any) -> None:
        for _ in range(5):
            layer.backward(y, cache=cache)

    together(*(lambda y=y, cache=cache: work(y, cache) for y, cache in cases))
    for name, gradient in gradients_of(layer).items():
        assert_close(gradient, expected[name], 1e-12, name)


def test_random_numbers_are_shared_out_once() -> None:
    """Masks of concurrent calls are those of the same calls one after the other."""
    layer = rr.Dropout(0.5)
    x = np.ones(64)
    state = rr.get_rng_state()
    rr.manual_seed(11)
    serial = {layer(x).tobytes() for _ in range(400)}
    assert len(serial) == 400
    rr.manual_seed(11)
    found: list[bytes] = []
    together(*[lambda: found.extend(layer(x).tobytes() for _ in range(100))] * 4)
    rr.set_rng_state(state)
    assert len(found) == 400
    assert set(found) == serial


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_computes_the_same() -> None:
    """Also while other threads of the parent are at work, on other layers."""
    program = """
import os, threading, warnings
import numpy as np, recurrust as rr
warnings.simplefilter("ignore", DeprecationWarning)  # of fork in a process with threads
layer, busy = rr.LSTM(8, 64, 2), rr.LSTM(8, 64, 2)
dropout = rr.Dropout(0.5)
x = np.random.default_rng(1).normal(size=(30, 8, 8)).astype("f4")
expected = layer(x)[0]
stop = threading.Event()
def work():
    while not stop.is_set():
        y, _, cache = busy.forward_with_cache(dropout(x))
        busy.backward(y, cache=cache)
threads = [threading.Thread(target=work) for _ in range(2)]
for thread in threads:
    thread.start()
codes = []
for _ in range(20):
    child = os.fork()
    if child == 0:
        code = 1
        try:
            y, _, cache = layer.forward_with_cache(x)
            layer.backward(dropout(y), cache=cache)
            rr.SGD(layer.parameters(), lr=0.1).step()
            code = 0 if (y == expected).all() and (layer(x)[0] != expected).any() else 2
        finally:
            os._exit(code)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
stop.set()
for thread in threads:
    thread.join()
assert (layer(x)[0] == expected).all()
print(sorted(set(codes)))
"""
    assert run(program, timeout=LIMIT).strip() == "[0]"
