"""Numbers that need processes of their own.

Peak memory is that of the operating system: a fresh process makes the layer of the row with few
steps and trains it once, so that all code and tables are there, and lets it go. Then its high-water
mark is reset, the layer is made in full size and trained on three times, and counted is how far the
mark rose: weights, gradients, packed copies, tape, work buffers, outputs, everything but the
inputs. The allocator is told to give every large block back at once, so that what is counted is
what was needed. Linux only.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

import registry
from cases import Case, Figure
from measure import Effort
from sides import Data, UnavailableError

Result = TypeVar("Result")

# For the C library of Linux: a fixed limit above which blocks go back to the system when freed.
_GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
_WARM_UP_STEPS = 4
_ROUNDS = 11


def measure(row: Figure, effort: Effort, threads: int) -> tuple[float, str]:
    """Return the number of a row and what it is made of."""
    return _KINDS[row.kind](row, effort, threads)


def _memory(row: Figure, _: Effort, threads: int) -> tuple[float, str]:
    kind = "ragged training" if row.case.lengths else "training"
    ours, other = (
        _in_process(_peak, name, kind, row.case, threads, environment=_GIVE_BACK)
        for name in ("recurrust", row.other)
    )
    return ours / other, f"{ours / 1e6:.1f} MB over {other / 1e6:.1f} MB ({row.other})"


def _peak(name: str, kind: str, case: Case, threads: int) -> int:
    """Return by how many bytes training a layer raises the memory of this process."""
    few = replace(case, shape=case.shape._replace(steps=_WARM_UP_STEPS))
    if case.lengths is not None:
        few = replace(few, lengths=(1, _WARM_UP_STEPS))
    side = registry.build(name, kind, Data(few), threads)
    side.call(side.buffers[0])
    del side
    data = Data(case)
    gc.collect()
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError as error:
        raise UnavailableError(f"the system keeps no high-water mark: {error}") from error
    before = _status("VmRSS")
    side = registry.build(name, kind, data, threads)
    for _ in range(3):
        side.call(side.buffers[0])
    return _status("VmHWM") - before


def _status(name: str) -> int:
    """Return an entry of the process's status in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0]) * 1024
    raise UnavailableError(f"the system tells no {name}")


def _processes(row: Figure, effort: Effort, _: int) -> tuple[float, str]:
    """Two processes call at the same time, each with as many threads as by default."""
    context = multiprocessing.get_context("spawn")
    pipes, workers = [], []
    for _ in range(2):
        here, there = context.Pipe()
        workers.append(context.Process(target=_call_when_told, args=(there, row.case), daemon=True))
        workers[-1].start()
        there.close()
        pipes.append(here)
    rounds = []
    seconds = 25 * effort.sample
    try:
        for _ in range(_ROUNDS):
            alone = [_speeds([pipe], seconds)[0] for pipe in pipes]
            together = _speeds(pipes, seconds)
            rounds.append(min(b / a for a, b in zip(alone, together, strict=True)))
    finally:
        for pipe, worker in zip(pipes, workers, strict=True):
            pipe.close()
            worker.join()
    # The first round warms up.
    return statistics.median(rounds[1:]), f"least {min(rounds[1:]):.2f}, most {max(rounds[1:]):.2f}"


def _speeds(pipes: list[Connection], seconds: float) -> list[float]:
    for pipe in pipes:
        pipe.send(seconds)
    return [pipe.recv() for pipe in pipes]


def _call_when_told(pipe: Connection, case: Case) -> None:
    """Answer every number of seconds with the calls per second in that time."""
    import ours

    side = registry.build("recurrust", "inference", Data(case), ours.DEFAULT_THREADS)
    call, x = side.call, side.buffers[0]
    with pipe:
        while True:
            try:
                seconds = pipe.recv()
            except EOFError:
                return
            calls, start = 0, time.perf_counter()
            while time.perf_counter() - start < seconds:
                call(x)
                calls += 1
            pipe.send(calls / (time.perf_counter() - start))


def _alone(row: Figure, _: Effort, threads: int) -> tuple[float, str]:
    """Each sequence by itself must be what it is in the batch."""
    batch = _forward(row.case, threads)
    data = Data(row.case)
    # Only a few: every row takes the same paths.
    chosen = range(0, row.case.shape.batch, 9)
    data.inputs = [data.inputs[0][:, index : index + 1] for index in chosen]
    side = registry.build("recurrust", "inference", data, threads)
    single = np.concatenate([side.call(x)[0] for x in data.inputs], axis=1)  # type: ignore[index]
    return float(np.abs(single - batch[:, list(chosen)]).max()), f"{len(chosen)} sequences"


def _instruction_sets(row: Figure, _: Effort, threads: int) -> tuple[float, str]:
    """All instruction sets must give the same, here against the portable one."""
    results = {}
    for name in ("scalar", "avx2", "avx512", "neon"):
        # A set that isn't there gives a warning, and one of the others once more.
        environment = {"RECURRUST_ISA": name, "PYTHONWARNINGS": "ignore"}
        used, y = _in_process(_named_forward, row.case, threads, environment=environment)
        results[used] = y
    expected = results.pop("scalar")
    differences = {name: float(np.abs(y - expected).max()) for name, y in results.items()}
    return max(differences.values(), default=0.0), ", ".join(
        f"{name} {difference:.1e}" for name, difference in differences.items()
    )


def _named_forward(case: Case, threads: int) -> tuple[str, NDArray[Any]]:
    import recurrust as rr

    return rr.build_info()["instruction_set"], _forward(case, threads)


def _forward(case: Case, threads: int) -> NDArray[Any]:
    side = registry.build("recurrust", "inference", Data(case), threads)
    assert side.outputs is not None
    return side.outputs()["y"]


_KINDS: Mapping[str, Callable[[Figure, Effort, int], tuple[float, str]]] = {
    "memory": _memory,
    "ragged memory": _memory,
    "processes": _processes,
    "alone": _alone,
    "instruction sets": _instruction_sets,
}


def _in_process(
    function: Callable[..., Result], *arguments: Any, environment: Mapping[str, str]
) -> Result:
    """Call a function in a fresh process."""
    context = multiprocessing.get_context("spawn")
    with (
        _environment(environment),
        ProcessPoolExecutor(max_workers=1, mp_context=context) as executor,
    ):
        return executor.submit(function, *arguments).result()


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
