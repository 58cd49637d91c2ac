"""The command line, from the arguments to the files."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import recurrust as rr
from recurrust.cli import main

ELNINO = Path(__file__).parent.parent / "examples" / "data" / "elnino.csv"
FAST = ("--epochs", "2", "--hidden", "4")


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def monthly(steps: int = 120, *, changed_from: int | None = None) -> str:
    time = np.arange(steps)
    values = 10 + 3 * np.sin(2 * np.pi * time / 12) + np.random.default_rng(2).normal(size=steps)
    if changed_from is not None:
        values[changed_from:] += np.random.default_rng(3).normal(scale=5, size=steps - changed_from)
    rows = (f"{2000 + t // 12}-{t % 12 + 1:02d},{value:.6f}" for t, value in enumerate(values))
    return "\n".join(["date,level", *rows]) + "\n"


def write(text: str, name: str = "series.csv") -> str:
    Path(name).write_text(text, encoding="utf-8")
    return name


def test_forecast_end_to_end(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["forecast", write(monthly()), "--horizon", "6", "--plot", "p.png", *FAST])
    printed = capsys.readouterr()
    assert status == 0, printed.err
    with open("series_forecast.csv", newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert header == ["time", "step", "value"]
    assert [row[0] for row in rows] == [f"2010-{month:02d}" for month in range(1, 7)]
    assert [row[1] for row in rows] == [str(step) for step in range(1, 7)]
    values = np.array([float(row[2]) for row in rows])
    assert np.abs(values - 10).max() < 6
    assert Path("p.png").read_bytes().startswith(b"\x89PNG")

    # The model file makes the same forecast.
    series = rr.forecasting.read_csv("series.csv").values
    restored = rr.forecasting.Forecaster.load("series_forecast.safetensors")
    np.testing.assert_allclose(restored.forecast(series), values, rtol=1e-8)
    assert json.loads(Path("series_forecast.json").read_text())["options"]["period"] == 12

    assert "Season: 12 months (a year, by the times); seasonal means taken off" in printed.out
    assert "Training on the first 96 values, testing on the last 24 (19 forecasts)" in printed.out
    table = {line.split("  ")[0]: line for line in printed.out.splitlines()}
    for name in (
        "LSTM",
        "persistence",
        "seasonal naive",
        "climatology",
        "AR(12)",
        "AR(2) on anomalies",
        "damped persistence",
    ):
        assert len(table[name].removeprefix(name).split()) == 4
    assert printed.out.count("*") == 4 + 1, "one mark per column, one in the legend"


def test_table_says_so_when_a_baseline_wins(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["forecast", str(ELNINO), "--seed", "0", *FAST, "-q"])
    printed = capsys.readouterr()
    assert status == 0
    # Others may win beside the best: damped persistence is close to so short a training.
    wins = r"(a simple baseline wins|simple baselines win)\. RMSE of"
    assert re.search(rf"One month ahead: {wins} AR\(2\) on anomalies 0\.457", printed.out)
    assert re.search(rf"Months 1 to 12: {wins} climatology 0\.751", printed.out)
    assert printed.err == ""
    times = [line.split(",")[0] for line in Path("elnino_forecast.csv").read_text().splitlines()]
    assert times[1:] == [f"2011-{month:02d}" for month in range(1, 13)]


def test_test_part_leaves_no_trace_in_the_model() -> None:
    for name, text in (("a", monthly()), ("b", monthly(changed_from=96))):
        assert main(["forecast", write(text, f"{name}.csv"), "-q", *FAST]) == 0
    assert Path("a_forecast.json").read_text() == Path("b_forecast.json").read_text()
    first, second = (rr.load(f"{name}_forecast.safetensors").state_dict() for name in "ab")
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])
    assert Path("a_forecast.csv").read_text() != Path("b_forecast.csv").read_text()


def test_options_reach_the_model(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = "--window 5 --layers 2 --dropout 0.1 --learning-rate 0.01 --weight-decay 0.5"
    chosen = "--seed 3 --patience 4 --horizon 2 --period none"
    files = "--forecast out/f.csv --model out/m.safetensors"
    Path("out").mkdir()
    path = write(monthly())
    assert main(["forecast", path, *FAST, *f"{arguments} {chosen} {files}".split()]) == 0
    options = json.loads(Path("out/m.json").read_text())["options"]
    assert options == {
        "horizon": 2,
        "window": 5,
        "hidden_size": 4,
        "num_layers": 2,
        "dropout": 0.1,
        "period": None,
        "epochs": 2,
        "patience": 4,
        "learning_rate": 0.01,
        "weight_decay": 0.5,
        "batch_size": 16,
        "validation_fraction": 0.2,
        "seed": 3,
    }
    assert Path("out/f.csv").read_text().count("\n") == 3
    assert sorted(path.name for path in Path().iterdir()) == ["out", "series.csv"]
    assert "Season: none (as asked)" in capsys.readouterr().out


def test_season_can_be_kept(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["forecast", write(monthly()), "--keep-season", "--output-dir", "new", *FAST]) == 0
    assert "Season: 12 months (a year, by the times); kept" in capsys.readouterr().out
    assert json.loads(Path("new/series_forecast.json").read_text())["options"]["period"] is None


def test_season_is_found_without_times(capsys: pytest.CaptureFixture[str]) -> None:
    values = [f"{10 + 5 * np.sin(2 * np.pi * step / 7):.4f}" for step in range(100)]
    assert main(["forecast", write("\n".join(values)), "--horizon", "3", *FAST]) == 0
    printed = capsys.readouterr().out
    assert "Season: 7 steps (found in the training part)" in printed
    assert Path("series_forecast.csv").read_text().splitlines()[1].startswith("101,1,")


def test_uneven_times_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    path = write(monthly().replace("2009-12", "2010-12").replace("level", "cost $x_$"))
    assert main(["forecast", path, "--horizon", "1", "--plot", "p.svg", *FAST]) == 0
    printed = capsys.readouterr().out
    assert "Times: not understood as evenly spaced, so values are counted" in printed
    assert Path("series_forecast.csv").read_text().splitlines()[1].startswith("121,1,")
    assert Path("p.svg").stat().st_size > 0


def test_progress_without_a_terminal_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["forecast", write(monthly()), "--epochs", "20", "--hidden", "4"]) == 0
    printed = capsys.readouterr()
    first, progress, second = printed.err.splitlines()
    assert first == "Finding the number of epochs: at most 20"
    assert re.fullmatch(r"epoch 20  loss \d\.\d{4}  val_loss \d\.\d{4}", progress)
    assert re.fullmatch(r"Training on everything: epochs \d+", second)
    assert "epoch 20" not in printed.out


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        ("", (), "series.csv is empty"),
        ("date,v\n", (), "series.csv has a header, but no rows of values"),
        (
            monthly().replace("2000-03,", "2000-03,warm"),
            (),
            "series.csv, row 4, column 'level': 'warm",
        ),
        (monthly() + "2010-01,\n", (), "series.csv, row 122, column 'level' is blank"),
        (monthly() + "2010-01,nan\n", (), "series.csv, row 122, column 'level' is 'nan'"),
        (monthly(), ("--column", "x"), "no column 'x'; the columns are 'date', 'level'"),
        (monthly(), ("--time-column", "x"), "no column 'x'; the columns are 'date', 'level'"),
        (monthly(), ("--form", "wide"), "no column for each of the twelve months"),
        (
            monthly(40),
            (),
            "series.csv has 40 values, but --window 12, --horizon 12, --period 12 and "
            "--test-fraction 0.2 need at least 56",
        ),
        (monthly(), ("--horizon", "0"), "horizon must be at least 1, got 0"),
        (monthly(), ("--horizon", "1000000000"), "need at least"),
        (monthly(), ("--period", "1"), "--period must be at least 2, got 1"),
        (monthly(), ("--period", "70"), "--period 70 and --test-fraction 0.2 need at least 175"),
        (monthly(), ("--period", "70", "--keep-season"), "need at least 175"),
        (monthly(), ("--test-fraction", "1.5"), "test_fraction must be in (0, 1), got 1.5"),
        (monthly(), ("--dropout", "1"), "dropout must be in [0, 1), got 1.0"),
        (monthly(), ("--plot", "p.xyz"), "--plot p.xyz: the ending must be one of"),
        (monthly(), ("--plot", "missing/p.png"), "there is no folder missing"),
        (monthly(), ("--forecast", "series.csv"), "series.csv is the table or another result"),
        (monthly(), ("--forecast", "x", "--model", "./x"), "x is the table or another result"),
        (monthly(), ("--model", "m.json"), "the ending .json is that of the options"),
        (monthly(), ("--horizon", "1" + "0" * 21), "horizon must be at most 2147483647, got 1000"),
        (monthly(), ("--horizon", "2147483647"), "need at least 10737418231"),
        (monthly(), ("--layers", "100000"), "num_layers must be at most 100, got 100000"),
        (monthly(), ("--seed", str(2**64)), "seed must be at most 18446744073709551615, got 1844"),
        (
            monthly(),
            ("--label", "\udcff"),
            r"--label must be printable text in UTF-8, got '\udcff'",
        ),
        (monthly(), ("--label", "a\nb"), r"--label must be printable text in UTF-8, got 'a\nb'"),
        (monthly(), ("--plot", "\udcff.png"), r"--plot must be printable text in UTF-8, got '\udc"),
        (
            "time,value\n1,2\n2,abc\n",
            (),
            "series.csv, row 3, column 'value': 'abc' is not a number",
        ),
    ],
)
def test_errors_are_one_sentence_and_status_2(
    capsys: pytest.CaptureFixture[str], text: str, arguments: tuple[str, ...], message: str
) -> None:
    path = write(text)
    assert main(["forecast", path, *arguments, *FAST, "-q"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("recurrust forecast: error: ")
    assert message in error
    assert error.count("\n") == 1
    assert [entry.name for entry in Path().iterdir()] == ["series.csv"]


def test_missing_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["forecast", "nowhere.csv"]) == 2
    error = capsys.readouterr().err
    assert error == "recurrust forecast: error: nowhere.csv: No such file or directory\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "recurrust: error: the following arguments are required: COMMAND"),
        ("what", "recurrust: error: argument COMMAND: invalid choice: 'what'"),
        ("forecast", "recurrust forecast: error: the following arguments are required: CSV"),
        ("forecast a --period x", "argument --period: must be a number of steps, auto or none"),
        ("forecast a --horizon x", "argument --horizon: must be an integer, got 'x'"),
        ("forecast a --dropout x", "argument --dropout: must be a number, got 'x'"),
        (f"forecast a --horizon {'9' * 5000}", "must be an integer, got '9999"),
    ],
)
def test_wrong_arguments(capsys: pytest.CaptureFixture[str], arguments: str, message: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments.split())
    error = capsys.readouterr().err
    assert message in error
    assert re.fullmatch(r"recurrust.*: error: .*; see recurrust.* --help\n", error)
    assert len(error) < 250


def test_greatest_seed_and_unusual_label() -> None:
    label = "Temperatur\u00a0(°C), $x_{$"
    options = ("--seed", str(2**64 - 1), "--layers", "2", "--label", label, "--plot", "p.svg")
    assert main(["forecast", write(monthly()), "-q", *options, *FAST]) == 0
    assert json.loads(Path("series_forecast.json").read_text())["options"]["seed"] == 2**64 - 1
    assert Path("p.svg").stat().st_size > 0


def test_help_names_every_option_with_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["forecast", "--help"])
    text = capsys.readouterr().out
    options = text[text.index("reading the table") : text.index("\nthe table:")]
    blocks = ["--" + part for part in options.replace("-q, --", "--").split("\n  --")[1:]]
    named = {block.split()[0] for block in blocks}
    assert named == {
        "--column", "--time-column", "--form", "--period", "--keep-season", "--test-fraction",
        "--window", "--hidden", "--layers", "--dropout", "--epochs", "--patience",
        "--learning-rate", "--weight-decay", "--seed", "--output-dir", "--forecast", "--model",
        "--plot", "--label", "--quiet",
    }  # fmt: skip
    assert [block for block in blocks if "(default:" not in block] == []


def test_version_of_the_installed_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "recurrust.cli", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"recurrust {rr.__version__}\n"
