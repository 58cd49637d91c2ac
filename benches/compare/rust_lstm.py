"""The comparison with the crate rust-lstm, which is a Rust program: benches/rust_lstm."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from cases import Shape
from sides import UnavailableError

_LINE = re.compile(r"\s*(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+\.\d+)\s+(\d+\.\d+)\s*")


class Line(NamedTuple):
    """Ratios of times, rust-lstm's over recurrust's, of one shape in float64."""

    shape: Shape
    inference: float
    training: float


def run() -> list[Line]:
    """Build and run the program, which checks that outputs and gradients are equal."""
    if shutil.which("cargo") is None:
        raise UnavailableError("cargo is not installed")
    crate = Path(__file__).parent.parent / "rust_lstm"
    command = ["cargo", "run", "--release", "--quiet"]
    done = subprocess.run(command, cwd=crate, capture_output=True, text=True)
    if done.returncode != 0:
        raise UnavailableError(f"its program failed: {done.stderr.strip()[-500:]}")
    return parse(done.stdout)


def parse(text: str) -> list[Line]:
    """Return the lines of the program's table."""
    matches = filter(None, map(_LINE.fullmatch, text.splitlines()))
    return [
        Line(Shape(*map(int, found.groups()[:4])), *map(float, found.groups()[4:]))
        for found in matches
    ]
