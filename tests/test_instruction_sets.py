"""The choice of the instruction set."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from reference.layers import KINDS

SHOW = "import recurrust as rr; print(rr.build_info()['instruction_set'])"


def run(code: str, value: str | None) -> subprocess.CompletedProcess[str]:
    environment = {key: text for key, text in os.environ.items() if key != "RECURRUST_ISA"}
    if value is not None:
        environment["RECURRUST_ISA"] = value
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True)


@pytest.mark.parametrize("value", ["scalar", " SCALAR "])
def test_the_environment_forces_a_lower_set(value: str) -> None:
    done = run(SHOW, value)
    assert done.stdout == "scalar\n"
    assert done.stderr == ""


def test_an_unknown_set_is_named_and_the_best_one_used() -> None:
    best = run(SHOW, None).stdout
    done = run(SHOW, "sse9")
    assert done.stdout == best
    assert "RECURRUST_ISA: expected an instruction set" in done.stderr
    assert 'got "sse9"' in done.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_sets_agree_to_rounding(kind: str) -> None:
    code = (
        f"import numpy as np, recurrust as rr; l = rr.{kind}(5, 33, bidirectional=True, seed=1); "
        "x = np.sin(np.arange(7 * 3 * 5, dtype='f4')).reshape(7, 3, 5); "
        "y, _, c = l.forward_with_cache(x); dx, _ = l.backward(np.cos(y), cache=c); "
        "print(*np.concatenate([y.ravel(), dx.ravel()]))"
    )
    expected = [float(number) for number in run(code, "scalar").stdout.split()]
    assert len(expected) == 7 * 3 * (66 + 5)
    for value in (None, "avx2"):
        # A processor without AVX2 warns and computes as before: nothing to see then.
        got = [float(number) for number in run(code, value).stdout.split()]
        assert got == pytest.approx(expected, rel=0, abs=2e-6)
