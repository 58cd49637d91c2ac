"""Compare recurrust with every other library that is installed, on equal outputs.

    python benches/compare

measures all rows and prints their tables; without --quick it takes a good while. Timed is the
public call from Python, on arrays that are in place, with outputs freshly made by both sides, all
in one process. Where the process may use several cores, rows of one thread stay on the last of
them; `taskset -c 1 python benches/compare` chooses the core, and leaves out rows that need two.

Before a row is timed, both sides must give the same outputs, states and gradients. Then both warm
up, and are sampled in pairs, back to back in random order; a row's number is the median of the
pairs' ratios. The exit code is 1 if outputs differ anywhere, else 0.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cases
import machine
import ours  # notes the default number of threads before any core is taken away
import registry
import report
import rust_lstm
from measure import Effort
from run import ComparisonResult, Result, run, without
from sides import UnavailableError

_FULL = Effort(pairs=30, sample=2e-3, warm_up=0.3, warm_up_calls=10)
_QUICK = Effort(pairs=7, sample=1e-3, warm_up=0.02, warm_up_calls=2)
# Threads of the other side spin for some milliseconds before they sleep.
_PAUSE = 0.02


def main() -> int:
    """Run the command and return its exit code."""
    parser = _parser()
    arguments = parser.parse_args()
    effort = _QUICK if arguments.quick else _FULL
    if arguments.pairs is not None:
        effort = effort._replace(pairs=arguments.pairs)
    if arguments.threads > 1:
        effort = effort._replace(pause=_PAUSE)
    # Cells to come have rows once they are there.
    available = [row for row in cases.rows() if ours.has(row.case.cell)]
    rows = [row for row in available if arguments.rows.search(row.name)]
    if not rows and not arguments.rust_lstm:
        parser.error("no row matches --rows; without it all are measured")
    if arguments.threads > len(machine.available_cores()):
        parser.error("--threads must be at most the number of processor cores it may use")
    environment = _environment(arguments, effort)
    results: list[Result] = []
    lines: list[rust_lstm.Line] = []
    try:
        for result in _measured(rows, effort, arguments.threads):
            results.append(result)
        if arguments.rust_lstm:
            lines = _against_rust_lstm()
    finally:
        # Also what there is when it is interrupted.
        environment["load_average_after"] = machine.load_average()
        tables = report.to_markdown(results, environment, lines)
        print(tables)
        if arguments.output is not None:
            measured = report.to_json(results, environment, lines)
            arguments.output.mkdir(parents=True, exist_ok=True)
            (arguments.output / "compare.json").write_text(json.dumps(measured, indent=1) + "\n")
            (arguments.output / "compare.md").write_text(tables)
    if arguments.document is not None:
        document = report.replace_marked(arguments.document.read_text(), tables)
        arguments.document.write_text(document)
    return int(any(isinstance(r, ComparisonResult) and r.disagreeing for r in results))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python benches/compare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rows", type=_pattern, default="", help="measure rows whose name matches")
    parser.add_argument("--pairs", type=_positive, help="samples of each side (default 30)")
    parser.add_argument("--threads", type=_positive, default=1, help="of every side (default 1)")
    parser.add_argument("--quick", action="store_true", help="few short samples: a rough look")
    parser.add_argument("--output", type=Path, help="write compare.json and compare.md there")
    parser.add_argument("--document", type=_document, help="put the tables into a marked file")
    parser.add_argument("--rust-lstm", action="store_true", help="also run benches/rust_lstm")
    return parser


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"not a regular expression: {error}") from error


def _document(text: str) -> Path:
    """Look for the markers now rather than after all is measured."""
    path = Path(text)
    try:
        report.replace_marked(path.read_text(), "")
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return path


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"must be a positive integer, got {text!r}")
    return int(text)


def _environment(arguments: argparse.Namespace, effort: Effort) -> dict[str, Any]:
    return {
        "versions": {"recurrust": ours.BUILD["version"], **registry.versions()},
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": machine.processor(),
        "build": ours.BUILD,
        "cores": machine.available_cores(),
        "default_threads": ours.DEFAULT_THREADS,
        "load_average_before": machine.load_average(),
        "options": {
            "rows": arguments.rows.pattern,
            "threads": arguments.threads,
            "quick": arguments.quick,
            **effort._asdict(),
        },
    }


def _measured(rows: Sequence[cases.Row], effort: Effort, threads: int) -> Iterator[Result]:
    cores = machine.available_cores()
    own = cores[-1:] if threads == 1 else cores
    with machine.only_on(own):
        for row in _with_progress(rows):
            if row.cores > len(cores):
                yield without(row, f"needs {row.cores} processor cores")
                continue
            with machine.only_on(own if row.cores == 1 else cores):
                yield run(row, effort, threads)


def _with_progress(rows: Sequence[cases.Row]) -> Iterator[cases.Row]:
    """Yield rows and show on the error stream which one is measured."""
    try:
        from tqdm import tqdm
    except ModuleNotFoundError:
        for index, row in enumerate(rows):
            print(f"{index + 1}/{len(rows)} {row.name}", file=sys.stderr)
            yield row
        return
    with tqdm(total=len(rows), unit="row", dynamic_ncols=True) as bar:
        for row in rows:
            bar.set_postfix_str(row.name)
            yield row
            bar.update()


def _against_rust_lstm() -> list[rust_lstm.Line]:
    try:
        return rust_lstm.run()
    except UnavailableError as reason:
        print(f"rust-lstm: {reason}", file=sys.stderr)
        return []


if __name__ == "__main__":
    sys.exit(main())
