"""Several threads on one call: the same bits for any number, and no trouble with processes."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recurrust as rr
from reference.layers import (
    EVERY_OPTION,
    KINDS,
    Arrays,
    gradients_of,
    named_state,
    outputs_of,
    randomize,
)
from reference.process import run

LIMIT = 60  # seconds, against deadlocks


@pytest.fixture(autouse=True)
def _restore_threads() -> Iterator[None]:
    before = rr.get_num_threads()
    yield
    rr.set_num_threads(before)


def workers() -> int:
    """How many threads the process has for calls, where the system tells."""
    names = [task.read_text().strip() for task in Path("/proc/self/task").glob("*/comm")]
    return sum(name.startswith("recurrust-") for name in names)


def worked() -> int:
    """How long those threads have run, in nanoseconds."""
    time.sleep(0.01)  # until they sleep: a running thread's time isn't up to date
    tasks = [task.parent for task in Path("/proc/self/task").glob("*/comm")]
    ours = [task for task in tasks if (task / "comm").read_text().startswith("recurrust-")]
    return sum(int((task / "schedstat").read_text().split()[0]) for task in ours)


# Steps, rows, inputs, units and directions, one for each way to cut a call into three parts: by
# rows; by units, of a single row and of several, with units that don't fill their registers;
# directions side by side, and each of them cut by units as well; weights larger than the cache.
# Each is worth three threads (two for two directions), whatever the kind of cell.
CUTS = {
    "rows": (30, 32, 9, 40, 1),
    "rows of two directions": (20, 26, 9, 40, 2),
    "units of one row": (60, 1, 16, 300, 1),
    "units of rows": (20, 3, 16, 233, 1),
    "directions": (500, 1, 16, 40, 2),
    "directions and units": (40, 2, 16, 233, 2),
    "large weights": (5, 30, 300, 500, 1),
}


def results_of(layer: Any, x: Any, dy: Any, flags: Arrays) -> Arrays:
    """Everything that a layer computes."""
    y, state = layer(x, **flags)
    results = outputs_of(y, state, "inference_")
    y, state, cache = layer.forward_with_cache(x, **flags)
    results |= outputs_of(y, state)
    layer.zero_grad()
    dx, d_state = layer.backward(dy, dstate=state, cache=cache)
    return results | {"dx": dx} | named_state(d_state, "d", "") | gradients_of(layer)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("kind", KINDS)
def test_threads_never_change_a_bit(
    rng: np.random.Generator, kind: str, cut: str, dtype: str, masked: bool
) -> None:
    steps, rows, inputs, units, directions = CUTS[cut]
    options = {"bidirectional": directions == 2, "batch_first": True, "dtype": dtype}
    layer = getattr(rr, kind)(inputs, units, **options)
    randomize(layer, rng, 0.2)
    x = rng.normal(size=(rows, steps, inputs)).astype(dtype)
    dy = rng.normal(size=(rows, steps, units * directions)).astype(dtype)
    flags = {}
    if masked:
        flags = {
            "lengths": rng.integers(steps // 2, steps + 1, size=rows),
            "resets": rng.random((rows, steps)) < 0.1,
            "mask": rng.random((rows, steps)) < 0.9,
        }
    rr.set_num_threads(1)
    expected = results_of(layer, x, dy, flags)
    for count in (2, 3, 5):
        rr.set_num_threads(count)
        for name, array in results_of(layer, x, dy, flags).items():
            np.testing.assert_array_equal(array, expected[name], err_msg=f"{count}: {name}")


@pytest.mark.skipif(
    not Path("/proc/self/schedstat").exists(), reason="needs the processor time of each thread"
)
@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_cut_uses_threads(rng: np.random.Generator, kind: str, cut: str) -> None:
    """Else equal bits above would say nothing."""
    steps, rows, inputs, units, directions = CUTS[cut]
    layer = getattr(rr, kind)(inputs, units, bidirectional=directions == 2)
    x = rng.normal(size=(steps, rows, inputs)).astype("f4")
    rr.set_num_threads(1)
    y, _, cache = layer.forward_with_cache(x)
    for call in (lambda: layer(x), lambda: layer.backward(y, cache=cache)):
        call()
        rr.set_num_threads(3)
        call()  # the threads are there
        before = worked()
        call()
        assert worked() > before
        rr.set_num_threads(1)
        before = worked()
        call()
        assert worked() == before


def layer_for(cut: str, kind: str, **options: Any) -> Any:
    """A layer whose calls are cut that way, with samples on the first axis."""
    _, _, inputs, units, directions = CUTS[cut]
    return getattr(rr, kind)(
        inputs, units, bidirectional=directions == 2, batch_first=True, **options
    )


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("option", EVERY_OPTION)
def test_options_have_the_same_bits(rng: np.random.Generator, option: str, cut: str) -> None:
    layer = layer_for(cut, **EVERY_OPTION[option])
    randomize(layer, rng, layer.hidden_size**-0.5)
    steps, rows, inputs, *_ = CUTS[cut]
    x = rng.normal(size=(rows, steps, inputs)).astype("f4")
    dy = rng.normal(size=(rows, steps, layer.output_size)).astype("f4")
    masks = rr.get_rng_state()
    for mode in (layer.train, layer.eval) if "zoneout" in option else (layer.train,):
        mode()
        rr.set_num_threads(1)
        rr.set_rng_state(masks)
        expected = results_of(layer, x, dy, {})
        assert all(np.isfinite(array).all() for array in expected.values())
        for count in (2, 3):
            rr.set_num_threads(count)
            rr.set_rng_state(masks)
            for name, array in results_of(layer, x, dy, {}).items():
                np.testing.assert_array_equal(array, expected[name], err_msg=f"{count}: {name}")


@pytest.mark.parametrize("merge_mode", ["sum", "average", "mul"])
def test_merged_directions_have_the_same_bits(rng: np.random.Generator, merge_mode: str) -> None:
    layer = rr.LSTM(16, 96, 2, bidirectional=True, merge_mode=merge_mode)
    x = rng.normal(size=(40, 2, 16)).astype("f4")
    dy = rng.normal(size=(40, 2, 96)).astype("f4")
    rr.set_num_threads(1)
    expected = results_of(layer, x, dy, {})
    for count in (2, 3):
        rr.set_num_threads(count)
        for name, array in results_of(layer, x, dy, {}).items():
            np.testing.assert_array_equal(array, expected[name], err_msg=f"{count}: {name}")


def test_a_training_run_has_the_same_bits(rng: np.random.Generator) -> None:
    x = rng.normal(size=(96, 20, 8)).astype("f4")
    y = x[:, -1, :2].copy()
    losses, weights = [], []
    for count in (1, 2, 3):
        rr.set_num_threads(count)
        rr.manual_seed(7)
        model = rr.Sequential(
            rr.LSTM(8, 48, num_layers=2, return_sequences=False, batch_first=True),
            rr.Dropout(0.2),
            rr.Linear(48, 2),
        )
        optimizer = rr.Adam(model.parameters(), lr=0.01)
        trainer = rr.Trainer(model, rr.MSELoss(), optimizer, clip_norm=1.0)
        history = trainer.fit(x, y, epochs=3, batch_size=32, verbose=0)
        losses.append(history["loss"])
        weights.append(model.state_dict())
    assert losses[0] == losses[1] == losses[2]
    assert losses[0][-1] < losses[0][0]
    for other in weights[1:]:
        for name, array in other.items():
            np.testing.assert_array_equal(array, weights[0][name])


@pytest.mark.parametrize("cut", ["rows", "units of rows", "directions"])
@pytest.mark.parametrize("option", EVERY_OPTION)
def test_training_with_options_has_the_same_bits(
    rng: np.random.Generator, option: str, cut: str
) -> None:
    steps, rows, inputs, *_ = CUTS[cut]
    x = rng.normal(size=(2 * rows, steps, inputs)).astype("f4")
    y = rng.normal(size=(2 * rows, steps, 1)).astype("f4")
    results = []
    for count in (1, 2, 3):
        rr.set_num_threads(count)
        rr.manual_seed(7)
        layer = layer_for(cut, **EVERY_OPTION[option])
        model = rr.Sequential(layer, rr.Linear(layer.output_size, 1))
        before = model.state_dict()
        optimizer = rr.Adam(model.parameters(), lr=0.01)
        trainer = rr.Trainer(model, rr.MSELoss(), optimizer, clip_norm=1.0, seed=1)
        history = trainer.fit(x, y, epochs=2, batch_size=rows, verbose=0)
        results.append({"loss": np.array(history["loss"]), **model.state_dict()})
    assert all((array != results[0][name]).any() for name, array in before.items())
    for result in results[1:]:
        for name, array in result.items():
            np.testing.assert_array_equal(array, results[0][name], err_msg=name)


USES_THREADS = """
import sys
import numpy as np
import recurrust as rr
sys.path.insert(0, "tests")
from test_threads import workers
small, large = rr.LSTM(4, 8), rr.LSTM(32, 64)
rr.set_num_threads(3)
small(np.ones((50, 4, 4), "f4"))
print(workers())
x = np.ones((50, 32, 32), "f4")
rr.set_num_threads(1)
large(x)
print(workers())
rr.set_num_threads(2)
large(x)
print(workers())
rr.set_num_threads(3)
large(x)
print(workers())
rr.set_num_threads(2)
large(x)
print(workers())
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs a list of the threads")
def test_threads_are_made_when_a_call_is_worth_them() -> None:
    assert run(USES_THREADS).split() == ["0", "0", "1", "2", "2"]


ENVIRONMENT = """
import warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import recurrust as rr
print(rr.get_num_threads())
for warning in caught:
    print(warning.category.__name__, warning.message)
"""


def test_the_environment_chooses_the_number(monkeypatch: pytest.MonkeyPatch) -> None:
    for text, expected in [("3", 3), (" 2 ", 2), ("1024", 1024)]:
        monkeypatch.setenv("RECURRUST_NUM_THREADS", text)
        assert run(ENVIRONMENT) == f"{expected}\n"


def test_what_is_no_number_of_threads_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    processors = os.cpu_count()
    if hasattr(os, "sched_getaffinity"):
        processors = len(os.sched_getaffinity(0))
    for text in ("0", "-1", "", "two", "1025", "9" * 30):
        monkeypatch.setenv("RECURRUST_NUM_THREADS", text)
        number, warning = run(ENVIRONMENT).splitlines()
        assert number == str(processors)
        assert warning == (
            "RuntimeWarning RECURRUST_NUM_THREADS: expected an integer from 1 to 1024, "
            f'got "{text}"; using {processors}'
        )


def threaded_call() -> np.ndarray[Any, Any]:
    """The result of a call that uses threads, always the same."""
    rr.manual_seed(3)
    layer = rr.LSTM(32, 64)
    y, _ = layer(np.linspace(-1, 1, 50 * 32 * 32, dtype="f4").reshape(50, 32, 32))
    return y


def in_child(pipe: Any) -> None:
    """What a forked process does."""
    pipe.send((threaded_call(), workers()))


@pytest.mark.skipif(sys.platform != "linux", reason="forks, and lists threads as Linux does")
def test_a_forked_process_makes_threads_of_its_own() -> None:
    rr.set_num_threads(3)
    expected = threaded_call()
    assert workers() >= 2
    context = multiprocessing.get_context("fork")
    for _ in range(2):
        here, there = context.Pipe()
        child = context.Process(target=in_child, args=(there,))
        child.start()
        assert here.poll(LIMIT), "the child hangs"
        result, count = here.recv()
        child.join(LIMIT)
        assert count == 2
        np.testing.assert_array_equal(result, expected)
    np.testing.assert_array_equal(threaded_call(), expected)


def test_threads_without_work_sleep() -> None:
    rr.set_num_threads(3)
    threaded_call()
    time.sleep(0.05)
    before = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - before < 0.25  # two busy threads would take a whole second


def test_more_threads_than_work(rng: np.random.Generator) -> None:
    layer = rr.LSTM(16, 200)
    x = rng.normal(size=(60, 9, 16)).astype("f4")
    rr.set_num_threads(1)
    expected, _ = layer(x)
    rr.set_num_threads(64)
    np.testing.assert_array_equal(layer(x)[0], expected)
