"""The benchmark that compares with other libraries; none of them is needed here."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "benches" / "compare"))

import cases
import measure
import registry
import report
import run
import rust_lstm
from cases import Case, Comparison, Figure, Shape
from measure import Effort, Samples, summarize
from run import Against, ComparisonResult, FigureResult
from sides import Data, Side, UnavailableError, largest_differences

TINY = Case(Shape(3, 2, 2, 4))
EFFORT = Effort(pairs=4, sample=1e-4, warm_up=0.0, warm_up_calls=1)
ENVIRONMENT = {
    "versions": {"recurrust": "1.2.3"},
    "python": "3.10.0",
    "processor": {"name": "a processor"},
    "build": {"instruction_set": "scalar"},
    "options": {"threads": 1, "pairs": 4},
}


def comparison(**targets: float | None) -> Comparison:
    return Comparison("A section", "a row", "inference", TINY, targets)


def against(ratios: list[float]) -> Against:
    samples = Samples((1e-3,) * len(ratios), tuple(ratio * 1e-3 for ratio in ratios))
    return Against(samples, summarize(ratios), {"y": 1e-7})


class FakeClock(ModuleType):
    """Stands in for the module `time`; calls move it."""

    now = 0.0

    def perf_counter(self) -> float:
        return self.now


# Statistics


def test_median_and_quartiles() -> None:
    summary = summarize([5.0, 1.0, 4.0, 2.0, 3.0])
    assert summary.median == 3.0
    assert summary.quartiles == (2.0, 4.0)


def test_equal_ratios_have_no_spread() -> None:
    summary = summarize([1.5] * 30)
    assert (summary.median, *summary.quartiles, *summary.interval) == (1.5,) * 5


def test_interval_of_the_median_has_its_coverage() -> None:
    random = np.random.default_rng(1)
    intervals = [summarize(random.normal(2, 0.1, size=30).tolist()).interval for _ in range(200)]
    covered = sum(low <= 2 <= high for low, high in intervals)
    assert 180 <= covered <= 199  # 190 are expected
    # The median of 30 normal numbers has a standard deviation of about 1.25 / sqrt(30) of theirs.
    widths = [high - low for low, high in intervals]
    assert np.median(widths) == pytest.approx(2 * 1.96 * 0.1 * 1.25 / 30**0.5, rel=0.25)


@pytest.mark.parametrize(
    ("ratio", "verdict"),
    [(1.03, "faster"), (1.01, "level"), (1.0, "level"), (0.99, "level"), (0.97, "slower")],
)
def test_only_a_noticeable_difference_counts(ratio: float, verdict: str) -> None:
    assert summarize([ratio] * 5).verdict == verdict


def test_a_wide_interval_decides_nothing() -> None:
    summary = summarize([0.5, 0.9, 1.1, 1.3, 2.0])
    assert summary.median == 1.1
    assert summary.verdict == "level"
    assert summary.meets(1.0) == "unclear"
    assert summary.meets(0.5) == "met"
    assert summary.meets(2.5) == "missed"


# Measuring


def test_pairs_on_a_clock_of_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock("time")
    monkeypatch.setattr(measure, "time", clock)
    calls: dict[str, list[int]] = {"ours": [], "other": []}

    def side(name: str, seconds: float) -> Side:
        def call(buffer: int) -> None:
            calls[name].append(buffer)
            clock.now += seconds

        return Side(call, [0, 1, 2], None)

    effort = Effort(pairs=5, sample=1.0, warm_up=1.0, warm_up_calls=3)
    samples = measure.time_pairs(side("ours", 0.125), side("other", 0.5), effort)
    assert samples.ours == (0.125,) * 5
    assert samples.other == (0.5,) * 5
    assert samples.ratios == (4.0,) * 5
    # A warm-up doubles its calls until both its limits are reached.
    assert calls["ours"] == [index % 3 for index in range(1 + 2 + 4 + 8 + 5 * 8)]
    assert calls["other"] == [index % 3 for index in range(1 + 2 + 5 * 2)]
    calls["other"].clear()
    measure.time_pairs(side("ours", 0.125), side("other", 1.5), effort._replace(warm_up=1e9))
    assert len(calls["other"]) == 2 + 5  # long calls get a short warm-up


def test_sides_that_agree_are_timed() -> None:
    row = Comparison("", "", "two threads inference", TINY, {"one thread": 0.5})
    result = run.run(row, EFFORT, 1)
    assert isinstance(result, ComparisonResult)
    assert (result.missing, result.disagreeing) == ({}, {})
    (found,) = result.against.values()
    assert set(found.differences.values()) == {0.0}
    assert found.differences.keys() == {"y", "h_n", "c_n"}
    assert len(found.samples.ours) == len(found.samples.other) == EFFORT.pairs
    assert min(found.samples.ours) > 0


@pytest.mark.parametrize("error", [2e-5, np.nan])
def test_sides_that_differ_are_not_timed(error: float, monkeypatch: pytest.MonkeyPatch) -> None:
    def build(name: str, kind: str, data: Data, threads: int) -> Side:
        def call(_: object) -> None:
            raise AssertionError("must not be timed")

        y = np.array([0.5, 2.0])
        if name == "wrong":
            y[0] += 2 * error  # 2 is the largest entry
        return Side(call, data.inputs, lambda: {"y": y})

    monkeypatch.setattr(registry, "build", build)
    result = run.run(comparison(wrong=1.0), EFFORT, 1)
    assert isinstance(result, ComparisonResult)
    assert result.against == {}
    assert list(result.disagreeing) == ["wrong"]
    assert "y by " in result.disagreeing["wrong"]


def test_differences_are_in_units_of_the_largest_entry() -> None:
    got = {"y": np.array([1.0, -4.0], np.float32), "c": np.zeros(2)}
    expected = {"y": np.array([1.5, -4.0], np.float32), "c": np.zeros(2)}
    assert largest_differences(got, expected) == {"y": 0.125, "c": 0.0}
    with pytest.raises(ValueError, match="shapes"):
        largest_differences(got, {"y": np.zeros(3), "c": np.zeros(2)})
    with pytest.raises(ValueError, match="sides give"):
        largest_differences(got, {"y": expected["y"]})


def test_a_side_that_is_not_there_has_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "with_torch", None)
    result = run.run(comparison(torch=1.0), EFFORT, 1)
    assert isinstance(result, ComparisonResult)
    assert result.against == {}
    assert result.clock == (0.0, 0.0)
    assert "with_torch" in result.missing["torch"]


def test_ours_trains_and_takes_steps() -> None:
    case = replace(TINY, num_layers=2, bidirectional=True)
    outputs = registry.build("recurrust", "training", Data(case), 1).outputs
    assert outputs is not None
    names = {f"d{name}" for name in Data(case).weights}
    assert outputs().keys() == {"y", "h_n", "c_n", "dx"} | names
    step = registry.build("recurrust", "step", Data(TINY), 1)
    assert step.outputs is not None
    losses = step.outputs()["losses"]
    assert losses.shape == (6,)
    # The same three batches twice.
    assert (losses[3:] < losses[:3]).all()
    with pytest.raises(UnavailableError, match="no such call"):
        registry.build("recurrust", "nothing", Data(TINY), 1)


def test_the_ragged_call_gets_the_lengths() -> None:
    case = replace(TINY, lengths=(1, 2))
    side = registry.build("recurrust", "ragged inference", Data(case), 1)
    assert side.outputs is not None
    y = side.outputs()["y"]
    assert np.abs(y[0]).min() > 0
    assert np.abs(y[2]).max() == 0


# Rows


def named(prefix: str) -> Mapping[str, cases.Row]:
    return {row.name: row for row in cases.rows() if row.name.startswith(prefix)}


def test_names_tell_rows_apart() -> None:
    names = [row.name for row in cases.rows()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("prefix", "count"),
    [
        ("inference 5", 3),
        ("inference float64", 10),
        ("training float64", 9),
        ("training ", 18),
        ("streaming", 1),
        ("step", 3),
        ("lengths", 2),
        ("threads inference", 11),
        ("threads training", 10),
        ("memory", 6),
        ("GRU inference", 10),
        ("GRU training", 9),
        ("RNN inference", 10),
        ("RNN training", 9),
    ],
)
def test_all_rows_are_there(prefix: str, count: int) -> None:
    assert len(named(prefix)) == count


@pytest.mark.parametrize(
    ("name", "targets"),
    [
        ("inference 50,1,8,32", dict.fromkeys(("torch", "onnxruntime", "openvino"), 2.5)),
        ("inference 200,16,512,1024", dict.fromkeys(("torch", "onnxruntime", "openvino"), 1.05)),
        ("training 100,1,16,64", {"torch": 3.0}),
        ("training 100,1,128,128", {"torch": 1.0}),
        ("training 100,32,64,128", {"torch": 1.5}),
        ("training 100,64,256,512", {"torch": 1.35}),
        ("training 200,16,512,1024", {"torch": 1.05}),
        ("training float64 200,16,512,1024", {"torch": 1.3}),
        ("threads training 100,64,128,256", {"one thread": 1.8}),
        ("threads training 200,16,512,1024", {"one thread": 0.95}),
        ("threads inference 100,1,64,128, bidirectional", {"one thread": 1.7}),
        ("GRU inference 100,1,16,64", {"torch": 10.0, "onnxruntime": 1.05}),
    ],
)
def test_targets(name: str, targets: Mapping[str, float]) -> None:
    (row,) = (row for row in cases.rows() if row.name == name)
    assert isinstance(row, Comparison)
    assert row.targets == targets
    assert row.cores == (2 if "threads" in name else 1)


# Reports


def test_tables_show_wins_losses_and_what_is_missing() -> None:
    result = ComparisonResult(
        comparison(fast=2.0, slow=1.05, differing=1.0, absent=1.0),
        {"fast": against([3.0] * 5), "slow": against([0.5] * 5)},
        missing={"absent": "not installed"},
        disagreeing={"differing": "y by 1"},
    )
    text = report.to_markdown([result], ENVIRONMENT)
    assert "Targets: 1 met, 1 missed, 0 unclear." in text
    assert "Slower: a row (slow)." in text
    assert "Missed: a row (slow)." in text
    assert "Outputs differ: a row (differing)." in text
    assert (
        "| a row | 1 ms | 3.00 [3.00, 3.00] | **0.50 [0.50, 0.50] slower** | **outputs differ** "
        "| missing | fast 2, slow 1.05, differing 1, absent 1 | **missed (slow)** |"
    ) in text
    assert "- All rows: absent missing: not installed." in text


def test_a_limit_of_time_is_a_target() -> None:
    row = replace(comparison(fast=2.0), limit=2e-6)
    result = ComparisonResult(row, {"fast": against([3.0] * 5)})
    assert result.verdicts == {"fast": "met", "time": "missed"}
    assert "| 2, at most 2 us | **missed (time)** |" in report.to_markdown([result], ENVIRONMENT)


def test_figures_keep_their_bounds() -> None:
    figure = Figure("A section", "a figure", "memory", TINY, 0.8, at_least=True)
    for value, verdict in ((0.8, "met"), (0.7, "missed")):
        result = FigureResult(figure, value, "how")
        assert result.verdicts == {"bound": verdict}
        assert FigureResult(replace(figure, at_least=False), value, "").verdicts == {"bound": "met"}
    missing = FigureResult(figure, None, "no system for it")
    assert missing.verdicts == {}
    text = report.to_markdown([missing], ENVIRONMENT)
    assert "| a figure | missing |  | at least 0.8 |  |" in text
    assert "- All rows: missing: no system for it." in text


def test_the_json_has_every_sample() -> None:
    result = ComparisonResult(comparison(fast=2.0), {"fast": against([3.0, 2.0, 4.0])})
    text = json.dumps(report.to_json([result], ENVIRONMENT))
    (row,) = json.loads(text)["rows"]
    assert row["name"] == "a row"
    assert row["sides"]["fast"]["ours_seconds"] == [1e-3] * 3
    assert row["sides"]["fast"]["other_seconds"] == [3e-3, 2e-3, 4e-3]
    assert row["sides"]["fast"]["median_ratio"] == 3.0


def test_only_what_is_between_the_markers_is_replaced() -> None:
    document = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"
    once = report.replace_marked(document, "new\n")
    assert once == f"before\n{report.BEGIN}\n\nnew\n\n{report.END}\nafter\n"
    assert report.replace_marked(once, "new\n") == once
    with pytest.raises(ValueError, match="must have the lines"):
        report.replace_marked("no markers", "new\n")


def test_the_table_of_the_rust_program_is_read() -> None:
    text = (
        "a heading, float64\n\n   T   B    I    H  inference  training\n"
        "   1   1    8   32       5.10      1.38\n 100   1  128  128       9.85     17.45\n"
    )
    assert rust_lstm.parse(text) == [
        rust_lstm.Line(Shape(1, 1, 8, 32), 5.10, 1.38),
        rust_lstm.Line(Shape(100, 1, 128, 128), 9.85, 17.45),
    ]
