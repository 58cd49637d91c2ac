"""Times of two sides in pairs, and what their ratios say."""

from __future__ import annotations

import gc
import itertools
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from sides import Side

# A ratio counts as a difference only if its whole interval lies beyond this one, or its inverse.
NOTICEABLE = 1.02
# No side's warm-up goes on for longer, however few calls that gives.
LONGEST_WARM_UP = 2.0
RESAMPLES = 2000


class Effort(NamedTuple):
    """How long to measure."""

    pairs: int
    # Least seconds of one sample: as many calls as it takes.
    sample: float
    # Least seconds and calls of each side's warm-up.
    warm_up: float
    warm_up_calls: int
    # Seconds to wait before each sample, so that threads of the other side fall asleep.
    pause: float = 0.0


@dataclass(frozen=True)
class Samples:
    """Seconds per call of both sides, pair by pair."""

    ours: tuple[float, ...]
    other: tuple[float, ...]

    @property
    def ratios(self) -> tuple[float, ...]:
        """The other side's time over ours."""
        return tuple(other / ours for ours, other in zip(self.ours, self.other, strict=True))


@dataclass(frozen=True)
class Summary:
    """The middle of some ratios and how sure it is."""

    median: float
    quartiles: tuple[float, float]
    # 95 % bootstrap interval of the median.
    interval: tuple[float, float]

    @property
    def verdict(self) -> str:
        """Whether we are "faster" or "slower" than the other side, or "level" with it."""
        low, high = self.interval
        if low > NOTICEABLE:
            return "faster"
        return "slower" if high < 1 / NOTICEABLE else "level"

    def meets(self, target: float) -> str:
        """Tell whether a target is "met" or "missed", or "unclear" as the interval holds it."""
        low, high = self.interval
        if low >= target:
            return "met"
        return "missed" if high < target else "unclear"


def summarize(ratios: Sequence[float]) -> Summary:
    """Return the median of ratios with quartiles and a bootstrap interval."""
    values = np.array(ratios, dtype=np.float64)
    drawn = np.random.default_rng(0).integers(len(values), size=(RESAMPLES, len(values)))
    medians = np.median(values[drawn], axis=1)
    lower, upper = np.quantile(values, [0.25, 0.75])
    low, high = np.quantile(medians, [0.025, 0.975])
    return Summary(
        float(np.median(values)), (lower.item(), upper.item()), (low.item(), high.item())
    )


def time_pairs(ours: Side, other: Side, effort: Effort) -> Samples:
    """Time two sides in turns, back to back in random order."""
    runs = [_Run(side, effort) for side in (ours, other)]
    random = np.random.default_rng(0)
    times: tuple[list[float], list[float]] = ([], [])
    with _no_collection():
        for _ in range(effort.pairs):
            for index in random.permutation(2):
                if effort.pause > 0:
                    time.sleep(effort.pause)
                times[index].append(runs[index].sample())
    return Samples(tuple(times[0]), tuple(times[1]))


def clock_probe() -> float:
    """Return the seconds of a fixed piece of work: more later means a slower clock."""

    def work() -> float:
        start = time.perf_counter()
        for _ in range(20_000):
            pass
        return time.perf_counter() - start

    return min(work() for _ in range(20))


class _Run:
    """A warm side and how many calls its samples take."""

    def __init__(self, side: Side, effort: Effort) -> None:
        self._side = side
        self._buffers: Iterator[Any] = itertools.cycle(side.buffers)
        per_call = self._warm_up(effort)
        self._calls = max(1, math.ceil(effort.sample / per_call))

    def sample(self) -> float:
        """Return the seconds per call of one sample."""
        return self._seconds(self._calls) / self._calls

    def _warm_up(self, effort: Effort) -> float:
        """Call until all is warm; return the least seconds per call."""
        calls, total, chunk = 0, 0.0, 1
        least = math.inf
        while True:
            seconds = self._seconds(chunk)
            calls, total = calls + chunk, total + seconds
            least = min(least, seconds / chunk)
            enough = total >= effort.warm_up and calls >= effort.warm_up_calls
            if enough or total >= LONGEST_WARM_UP:
                return least
            if seconds < effort.sample:
                chunk *= 2

    def _seconds(self, calls: int) -> float:
        call = self._side.call
        buffers = itertools.islice(self._buffers, calls)
        with self._side.context():
            start = time.perf_counter()
            for buffer in buffers:
                call(buffer)
            return time.perf_counter() - start


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep the garbage collector out of the samples, as timeit does."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
