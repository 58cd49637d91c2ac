"""Programs run in a process of their own."""

from __future__ import annotations

import subprocess
import sys


def run(program: str, timeout: float = 120) -> str:
    """What a Python program prints; fails with its errors if it doesn't end well."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
