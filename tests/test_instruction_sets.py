"""The choice of the instruction set."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recurrust as rr
from reference import golden
from reference.comparison import assert_all_close
from reference.layers import EVERY_OPTION, KINDS, Arrays, make_case, randomize

SHOW = "import recurrust as rr; print(rr.build_info()['instruction_set'])"


def run(code: str, value: str | None, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {key: text for key, text in os.environ.items() if key != "RECURRUST_ISA"}
    if value is not None:
        environment["RECURRUST_ISA"] = value
    command = [sys.executable, "-c", code, *arguments]
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


# What a process runs to compute everything below with its instruction set.
SAVE = """
import sys
sys.path.insert(0, sys.argv[1])
from test_instruction_sets import save_results
save_results(sys.argv[2])
"""
LAYERS: dict[str, dict[str, Any]] = {**{kind: {"kind": kind} for kind in KINDS}, **EVERY_OPTION}
DTYPES = ("float32", "float64")
Results = dict[str, Arrays]  # masks, outputs and gradients by their names


def results_of(name: str, dtype: str) -> Results:
    """What a layer computes, in both modes."""
    rng = np.random.default_rng(list(name.encode()))
    rr.manual_seed(len(name))
    options = {**LAYERS[name], "num_layers": 2, "bidirectional": True, "dtype": dtype}
    case = make_case(rng, 7, 9, 5, 37, flags=("lengths", "mask", "resets"), **options)
    # Larger weights make chaos of many units, in which rounding errors grow from step to step.
    randomize(case.layer, rng, scale=case.layer.hidden_size**-0.5)
    *_, cache = case.forward()
    outputs, gradients = case.by_recurrust()
    case.layer.eval()
    more_outputs, more_gradients = case.by_recurrust()
    return {
        "masks": cache.masks,
        "outputs": outputs,
        "gradients": gradients,
        "outputs at evaluation": more_outputs,
        "gradients at evaluation": more_gradients,
    }


def save_results(path: str) -> None:
    """Save which instruction set this is, and what it makes of all layers."""
    results = {(name, dtype): results_of(name, dtype) for name in LAYERS for dtype in DTYPES}
    Path(path).write_bytes(pickle.dumps((rr.build_info()["instruction_set"], results)))


@pytest.fixture(scope="module")
def results_of_sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What every instruction set of this machine makes of all layers."""
    path = tmp_path_factory.mktemp("results") / "results"
    found = {}
    for value in ("scalar", "avx2", None):
        run(SAVE, value, str(Path(__file__).parent), str(path))
        # A processor without AVX2 warns and takes its best set, which comes again at the end.
        instruction_set, found_results = pickle.loads(path.read_bytes())
        found[instruction_set] = found_results
    print(*found)
    return found


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", LAYERS)
def test_sets_agree_to_rounding(results_of_sets: dict[str, Any], name: str, dtype: str) -> None:
    expected: Results = results_of_sets["scalar"][name, dtype]
    tolerance, gradient_tolerance = golden.tolerances(dtype)
    bounds = {"masks": 0.0, "outputs": tolerance, "gradients": gradient_tolerance}
    for results in results_of_sets.values():
        for what, arrays in results[name, dtype].items():
            assert_all_close(arrays, expected[what], bounds[what.split()[0]])
