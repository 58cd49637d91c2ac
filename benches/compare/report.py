"""Results as Markdown for people and as JSON with all samples."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from cases import Comparison
from run import TOLERANCES, Against, ComparisonResult, FigureResult, Result
from rust_lstm import Line

BEGIN = "<!-- compare: begin -->"
END = "<!-- compare: end -->"

# A change of the clock that makes a row doubtful.
_STEADY = 1.02


def to_json(
    results: Iterable[Result], environment: Mapping[str, Any], rust_lstm: Iterable[Line] = ()
) -> dict[str, Any]:
    """Return everything that was measured."""
    return {
        "environment": environment,
        "tolerances": TOLERANCES,
        "rows": [_row_to_json(result) for result in results],
        "rust_lstm": [line._asdict() for line in rust_lstm],
    }


def _row_to_json(result: Result) -> dict[str, Any]:
    entry = {**asdict(result.row), "verdicts": result.verdicts}
    if isinstance(result, FigureResult):
        return {**entry, "value": result.value, "detail": result.detail}
    sides = {
        name: {
            "ours_seconds": against.samples.ours,
            "other_seconds": against.samples.other,
            "median_ratio": against.summary.median,
            "quartiles": against.summary.quartiles,
            "interval": against.summary.interval,
            "verdict": against.summary.verdict,
            "largest_differences": against.differences,
        }
        for name, against in result.against.items()
    }
    return {
        **entry,
        "sides": sides,
        "missing": result.missing,
        "disagreeing": result.disagreeing,
        "clock_probe": result.clock,
    }


def to_markdown(
    results: Sequence[Result],
    environment: Mapping[str, Any],
    rust_lstm: Sequence[Line] = (),
) -> str:
    """Return tables by section, and what stands out before them."""
    rows_of = itertools.groupby(results, key=lambda result: result.row.section)
    parts = [_setting(environment), _highlights(results)]
    for section, group in rows_of:
        members = list(group)
        parts.append(f"### {section}")
        comparisons = [member for member in members if isinstance(member, ComparisonResult)]
        figures = [member for member in members if isinstance(member, FigureResult)]
        if comparisons:
            parts.append(_comparisons(comparisons))
        if figures:
            parts.append(_figures(figures))
        notes = _notes(members)
        if notes:
            parts.append("\n".join(f"- {note}" for note in notes))
    if rust_lstm:
        parts += ["### Against the crate rust-lstm, float64", _rust_lstm(rust_lstm)]
    return "\n\n".join(part for part in parts if part) + "\n"


def replace_marked(text: str, content: str) -> str:
    """Return a document with what stands between its markers replaced."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the document must have the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{content}\n{END}{after}"


def _setting(environment: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in environment["versions"].items())
    options = environment["options"]
    threads = "one thread" if options["threads"] == 1 else f"{options['threads']} threads"
    processor = environment["processor"]["name"]
    return (
        f"{versions}; Python {environment['python']}; {processor}, "
        f"{environment['build']['instruction_set']}; {threads}; {options['pairs']} pairs a row.\n"
        "Shapes are steps, batch, inputs, hidden. Numbers are the other side's time over "
        "recurrust's, median and 95 % interval of the median: above 1 recurrust is faster. "
        "A target is met where the whole interval reaches it."
    )


def _highlights(results: Iterable[Result]) -> str:
    """Tell how many targets are met, and every row where recurrust loses."""
    counts = {"met": 0, "missed": 0, "unclear": 0}
    slower, missed, differing = [], [], []
    for result in results:
        for about, verdict in result.verdicts.items():
            counts[verdict] += 1
            if verdict == "missed":
                missed.append(f"{result.row.name} ({about})")
        if isinstance(result, ComparisonResult):
            differing += [f"{result.row.name} ({name})" for name in result.disagreeing]
            slower += [
                f"{result.row.name} ({name})"
                for name, against in result.against.items()
                if against.summary.verdict == "slower"
            ]
    lines = [
        f"Targets: {counts['met']} met, {counts['missed']} missed, {counts['unclear']} unclear."
    ]
    for title, names in (("Slower", slower), ("Missed", missed), ("Outputs differ", differing)):
        if names:
            lines.append(f"{title}: {'; '.join(names)}.")
    return "  \n".join(lines)


def _comparisons(results: Sequence[ComparisonResult]) -> str:
    names = list(dict.fromkeys(name for result in results for name in result.row.targets))
    rows = [
        [
            result.row.name,
            "" if result.ours is None else _duration(result.ours),
            *(_cell(result, name) for name in names),
            _target(result.row),
            _verdict(result.verdicts),
        ]
        for result in results
    ]
    return _table(["", "recurrust", *names, "target", ""], rows)


def _cell(result: ComparisonResult, name: str) -> str:
    if name in result.against:
        return _ratio(result.against[name])
    if name in result.disagreeing:
        return "**outputs differ**"
    return "missing" if name in result.missing else ""


def _ratio(against: Against) -> str:
    summary = against.summary
    low, high = summary.interval
    text = f"{summary.median:.2f} [{low:.2f}, {high:.2f}]"
    if summary.verdict == "slower":
        return f"**{text} slower**"
    return text if summary.verdict == "faster" else f"{text} level"


def _target(row: Comparison) -> str:
    different = len({*row.targets.values()}) > 1
    texts = [
        f"{name} {target:.3g}" if different else f"{target:.3g}"
        for name, target in row.targets.items()
        if target is not None
    ]
    if not different:
        texts = texts[:1]
    if row.limit is not None:
        texts.append(f"at most {_duration(row.limit)}")
    return ", ".join(texts)


def _verdict(verdicts: Mapping[str, str]) -> str:
    """Return the worst verdict, and about what it is where that is not all."""
    for worst in ("missed", "unclear", "met"):
        about = [name for name, verdict in verdicts.items() if verdict == worst]
        if about:
            text = worst if len(about) == len(verdicts) else f"{worst} ({', '.join(about)})"
            return f"**{text}**" if worst == "missed" else text
    return ""


def _figures(results: Sequence[FigureResult]) -> str:
    rows = [
        [
            result.row.name,
            "missing" if result.value is None else f"{result.value:.2g}",
            "" if result.value is None else result.detail,
            f"{'at least' if result.row.at_least else 'at most'} {result.row.bound:g}",
            _verdict(result.verdicts),
        ]
        for result in results
    ]
    return _table(["", "value", "", "target", ""], rows)


def _notes(results: Sequence[Result]) -> list[str]:
    """Return why something is missing or doubtful, each reason once."""
    reasons: dict[str, list[str]] = {}
    for result in results:
        if isinstance(result, FigureResult):
            if result.value is None:
                reasons.setdefault(f"missing: {result.detail}", []).append(result.row.name)
            continue
        for name, reason in result.missing.items():
            reasons.setdefault(f"{name} missing: {reason}", []).append(result.row.name)
        for name, reason in result.disagreeing.items():
            reasons.setdefault(f"{name} differs: {reason}", []).append(result.row.name)
        before, after = result.clock
        if max(before, after) > _STEADY * min(before, after):
            reasons.setdefault("the clock probe moved by more than 2 % meanwhile", []).append(
                result.row.name
            )
    return [
        f"{'; '.join(names) if len(names) < len(results) else 'All rows'}: {reason}."
        for reason, names in reasons.items()
    ]


def _rust_lstm(lines: Iterable[Line]) -> str:
    rows = [[str(line.shape), f"{line.inference:.2f}", f"{line.training:.2f}"] for line in lines]
    return _table(["", "inference", "forward and backward"], rows)


def _duration(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.3g} s"
    return f"{seconds * 1e3:.3g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.3g} us"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
