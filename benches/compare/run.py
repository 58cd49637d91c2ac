"""One row: check that both sides give the same, then time them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field

import figures
import registry
from cases import Case, Comparison, Figure, Row
from measure import Effort, Samples, Summary, clock_probe, summarize, time_pairs
from sides import Data, UnavailableError, largest_differences

# Largest differences between sides, in units of the largest entry of each array.
TOLERANCES = {"float32": 1e-5, "float64": 1e-12}
# These compute the very same.
EXACT = ("one thread", "one after the other")


@dataclass(frozen=True)
class Against:
    """How one other side compares."""

    samples: Samples
    summary: Summary
    # By array; empty where the sides rightly differ.
    differences: Mapping[str, float]


@dataclass
class ComparisonResult:
    """A measured row; a side that is in none of the mappings has not been asked for."""

    row: Comparison
    against: dict[str, Against] = field(default_factory=dict)
    # Why there is nothing to report, by side.
    missing: dict[str, str] = field(default_factory=dict)
    # How the outputs differ, by side; such a side is not timed.
    disagreeing: dict[str, str] = field(default_factory=dict)
    # Seconds of the clock probe before and after, where anything was timed.
    clock: tuple[float, float] = (0.0, 0.0)

    @property
    def ours(self) -> float | None:
        """Median seconds of one call of ours."""
        times = [time for against in self.against.values() for time in against.samples.ours]
        return statistics.median(times) if times else None

    @property
    def verdicts(self) -> dict[str, str]:
        """Whether each target is met, by what it is about."""
        found = {
            name: self.against[name].summary.meets(target)
            for name, target in self.row.targets.items()
            if name in self.against and target is not None
        }
        if self.row.limit is not None and self.ours is not None:
            found["time"] = "met" if self.ours <= self.row.limit else "missed"
        return found


@dataclass
class FigureResult:
    """A measured number, or why there is none."""

    row: Figure
    value: float | None
    detail: str

    @property
    def verdicts(self) -> dict[str, str]:
        """Whether the bound is kept."""
        if self.value is None:
            return {}
        good = self.value >= self.row.bound if self.row.at_least else self.value <= self.row.bound
        return {"bound": "met" if good else "missed"}


Result = ComparisonResult | FigureResult


def without(row: Row, reason: str) -> Result:
    """Return the result of a row that can't be measured."""
    if isinstance(row, Figure):
        return FigureResult(row, None, reason)
    return ComparisonResult(row, missing=dict.fromkeys(row.targets, reason))


def run(row: Row, effort: Effort, threads: int) -> Result:
    """Measure a row."""
    try:
        if isinstance(row, Figure):
            return FigureResult(row, *figures.measure(row, effort, threads))
        return _compare(row, effort, threads)
    except UnavailableError as reason:
        return without(row, str(reason))


def _compare(row: Comparison, effort: Effort, threads: int) -> ComparisonResult:
    result = ComparisonResult(row)
    before = clock_probe()
    data = Data(row.case)
    ours = registry.build("recurrust", row.kind, data, threads)
    # Once only: a training step changes the weights.
    expected = ours.outputs() if ours.outputs is not None else {}
    for name in row.targets:
        try:
            other = registry.build(name, row.kind, data, threads)
        except UnavailableError as reason:
            result.missing[name] = str(reason)
            continue
        differences: dict[str, float] = {}
        if other.outputs is not None:
            differences = largest_differences(expected, other.outputs())
            problem = _disagreement(differences, _tolerance(row.case, name))
            if problem is not None:
                result.disagreeing[name] = problem
                continue
        samples = time_pairs(ours, other, effort)
        result.against[name] = Against(samples, summarize(samples.ratios), differences)
    if result.against:
        result.clock = (before, clock_probe())
    return result


def _tolerance(case: Case, name: str) -> float:
    return 0.0 if name in EXACT else TOLERANCES[case.dtype]


def _disagreement(differences: Mapping[str, float], tolerance: float) -> str | None:
    """Return what differs by too much, if anything does."""
    # Also catches NaN.
    wrong = {name: size for name, size in differences.items() if not size <= tolerance}
    if not wrong:
        return None
    shown = ", ".join(f"{name} by {size:.1e}" for name, size in wrong.items())
    return f"{shown}; allowed {tolerance:.0e} of the largest entry"
