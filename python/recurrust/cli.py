"""The command ``recurrust``."""

from __future__ import annotations

import argparse
import csv
import importlib.util
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import NoReturn

import numpy as np

from recurrust import _core
from recurrust.callbacks import Callback, ProgressBar
from recurrust.exceptions import ConfigError, RecurrustError, ShapeError
from recurrust.forecasting import (
    Forecaster,
    Score,
    Series,
    baseline_forecasts,
    comparison_table,
    find_period,
    held_out_origins,
    plot_forecast,
    read_csv,
    training_size,
    verdict,
)
from recurrust.forecasting.forecaster import smallest_count
from recurrust.trainer import Trainer

__all__ = ["main"]

_DESCRIPTION = """\
Learn a series with an LSTM, compare it with simple baselines on the last part of the series, and
forecast what comes next.
"""

_EPILOG = """\
the table:
  Text in UTF-8 with a header row; cells separated by commas, semicolons, tabs or bars; a decimal
  point; no missing values. Two forms are told apart by their header:
    long  one row a value, oldest first. The values are the only column of numbers, or --column.
          The times, if there are any, are --time-column, else the columns year and month (Jan,
          January or 1), else the first column named after a time (time, date, year, ...), else
          the first of dates.
    wide  one row a year: a column for each month (JAN, January or 1, in any order) and one for
          the year. A table with all twelve months is taken as wide unless --column is given or
          --form says otherwise. Blank months at the end of the last year are left off.
  Times are continued if they are evenly spaced whole numbers, quarters (2010-Q4) or dates that
  begin with the year (2010-12, 2010-12-31, 2010-12-31 23:00); otherwise values are counted.

the method:
  The last part of the series is for testing alone: season, scale, baselines and network are
  measured on what comes before it. The seasonal means are taken off, the rest is scaled, and the
  network learns by how much the values depart from damped persistence (for each step ahead a
  straight line in the last value). A first run on most of the training part, stopped early on
  its last fifth (at least the horizon), finds the number of epochs; a second run on all of it
  makes the model. Tested are all forecasts that lie wholly in the test part. The same model
  makes the final forecast.

example:
  recurrust forecast elnino.csv --horizon 12 --plot elnino_forecast.png
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        What follows the name of the command; by default that of this process.

    Returns
    -------
    int
        Exit status: 0, 2 after an error in the arguments or the data, or 130 after Ctrl-C.
    """
    options = _parser().parse_args(arguments)
    try:
        _check_texts(options)
        _forecast(options)
    except RecurrustError as error:
        return _failed(str(error))
    except OSError as error:
        name = "" if error.filename is None else f"{error.filename}: "
        return _failed(f"{name}{error.strerror or error}")
    except MemoryError:
        return _failed("not enough memory for a network and windows of this size")
    except KeyboardInterrupt:
        print("\nrecurrust forecast: interrupted", file=sys.stderr)
        return 130
    return 0


def _failed(message: str) -> int:
    print(f"recurrust forecast: error: {message}", file=sys.stderr)
    return 2


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one sentence, as all others are."""

    def error(self, message: str) -> NoReturn:
        """Print the error alone, without the usage, and exit with status 2."""
        self.exit(2, f"{self.prog}: error: {message}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="recurrust", description="Recurrent neural networks on the CPU.")
    parser.add_argument("--version", action="version", version=f"recurrust {_core.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_forecast(
        commands.add_parser(
            "forecast",
            help="forecast a series from a CSV file",
            description=_DESCRIPTION,
            epilog=_EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
    )
    return parser


def _add_forecast(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("csv", metavar="CSV", type=Path, help="the table with the series")
    parser.add_argument(
        "--horizon",
        type=_integer,
        default=12,
        metavar="N",
        help="steps to forecast (default: %(default)s)",
    )

    table = parser.add_argument_group("reading the table")
    table.add_argument(
        "--column",
        metavar="NAME",
        help="column of the values in a long table (default: the only column of numbers)",
    )
    table.add_argument(
        "--time-column",
        metavar="NAME",
        help="column of the times, or of the years in a wide table (default: found by name, then "
        "by dates)",
    )
    table.add_argument(
        "--form",
        choices=("auto", "long", "wide"),
        default="auto",
        help="form of the table, see below (default: %(default)s)",
    )

    season = parser.add_argument_group("season and test")
    season.add_argument(
        "--period",
        type=_period,
        default="auto",
        metavar="N|auto|none",
        help="steps in a season; auto takes a year for monthly and quarterly times and otherwise "
        "looks for a season in the training part (default: %(default)s)",
    )
    season.add_argument(
        "--keep-season",
        action="store_true",
        help="let the network see the season instead of taking off the seasonal means (default: "
        "they are taken off)",
    )
    season.add_argument(
        "--test-fraction",
        type=_number,
        default=0.2,
        metavar="F",
        help="last part of the series, only for testing (default: %(default)s)",
    )

    network = parser.add_argument_group("network and training")
    for option, kind, default, name, text in (
        ("--window", _integer, 12, "N", "steps that the network looks back on"),
        ("--hidden", _integer, 16, "N", "units of an LSTM layer"),
        ("--layers", _integer, 1, "N", "LSTM layers, at most 100"),
        ("--dropout", _number, 0.2, "P", "dropout after each LSTM layer"),
        ("--epochs", _integer, 200, "N", "the most epochs to train"),
        ("--patience", _integer, 50, "N", "epochs without improvement before training stops"),
        ("--learning-rate", _number, 0.003, "R", "step size of AdamW"),
        (
            "--weight-decay",
            _number,
            1.0,
            "R",
            "shrinking of the weights, relative to the step size",
        ),
        ("--seed", _integer, 0, "N", "seed of weights, shuffling and dropout"),
    ):
        network.add_argument(
            option,
            type=kind,
            default=default,
            metavar=name,
            help=f"{text} (default: %(default)s)",
        )

    output = parser.add_argument_group("output")
    output.add_argument(
        "--output-dir",
        type=Path,
        default=Path(),
        metavar="DIR",
        help="folder of the files that are not named below; made if missing (default: the current "
        "folder)",
    )
    output.add_argument(
        "--forecast",
        type=Path,
        metavar="FILE.csv",
        help="the forecast: time, step, value (default: CSV's name with _forecast.csv)",
    )
    output.add_argument(
        "--model",
        type=Path,
        metavar="FILE.safetensors",
        help="the network; season, scale and options go to a .json file beside it (default: CSV's "
        "name with _forecast.safetensors)",
    )
    output.add_argument(
        "--plot",
        type=Path,
        metavar="FILE.png",
        help="a picture of series, test and forecast; needs matplotlib (default: none)",
    )
    output.add_argument(
        "--label",
        metavar="TEXT",
        help="what the values are, with their unit, for the plot (default: the name of their "
        "column, or of the file)",
    )
    output.add_argument(
        "-q",
        "--quiet",
        action="store_true",
        help="don't show the progress of training (default: it is shown)",
    )


def _integer(text: str) -> int:
    return int(_converted(text, int, "an integer"))


def _number(text: str) -> float:
    return _converted(text, float, "a number")


def _period(text: str) -> int | str:
    if text in ("auto", "none"):
        return text
    return int(_converted(text, int, "a number of steps, auto or none"))


def _converted(text: str, kind: type[int | float], expected: str) -> float:
    try:
        return kind(text)
    except ValueError:
        message = f"must be {expected}, got {text!r:.60}"
        raise argparse.ArgumentTypeError(message) from None


def _check_texts(options: argparse.Namespace) -> None:
    """Raise if what is shown after the training can't be printed or drawn."""
    for option, value in (
        ("CSV", options.csv),
        ("--output-dir", options.output_dir),
        ("--forecast", options.forecast),
        ("--model", options.model),
        ("--plot", options.plot),
        ("--label", options.label or ""),
    ):
        # Bytes that are not UTF-8 come as surrogates.
        if any(unicodedata.category(character) in ("Cc", "Cs") for character in str(value)):
            raise ConfigError(f"{option} must be printable text in UTF-8, got {str(value)!a:.60}")


@dataclass(frozen=True)
class _Outputs:
    """Where the results go."""

    forecast: Path
    model: Path
    plot: Path | None

    @classmethod
    def of(cls, options: argparse.Namespace) -> _Outputs:
        """Return the files, having made sure that they can be written after the training."""
        options.output_dir.mkdir(parents=True, exist_ok=True)
        default = options.output_dir / f"{options.csv.stem}_forecast"
        outputs = cls(
            options.forecast or default.with_name(f"{default.name}.csv"),
            options.model or default.with_name(f"{default.name}.safetensors"),
            options.plot,
        )
        taken = {options.csv.resolve()}
        for path in filter(None, (outputs.forecast, outputs.model, outputs.plot)):
            if not path.parent.is_dir():
                raise ConfigError(f"{path}: there is no folder {path.parent}")
            if path.is_dir():
                raise ConfigError(f"{path} is a folder")
            if path.resolve() in taken:
                raise ConfigError(f"{path} is the table or another result; it needs its own name")
            taken.add(path.resolve())
        if outputs.model.suffix == ".json":
            raise ConfigError(f"--model {outputs.model}: the ending .json is that of the options")
        if outputs.plot is not None:
            _check_plot(outputs.plot)
        return outputs


def _check_plot(path: Path) -> None:
    if importlib.util.find_spec("matplotlib") is None:
        raise ConfigError("--plot needs matplotlib: pip install 'recurrust[cli]'")
    from matplotlib.backend_bases import FigureCanvasBase

    known = FigureCanvasBase.get_supported_filetypes()
    if path.suffix[1:].lower() not in known:
        raise ConfigError(f"--plot {path}: the ending must be one of {', '.join(sorted(known))}")


class _RunNames(Callback):
    """Says which of the two training runs begins."""

    def __init__(self) -> None:
        self._texts = cycle(
            ("Finding the number of epochs: at most {}", "Training on everything: epochs {}")
        )

    def on_train_begin(self, trainer: Trainer, epochs: int) -> None:
        """Print the name of the run and its epochs."""
        print(next(self._texts).format(epochs), file=sys.stderr, flush=True)


class _ProgressLines(Callback):
    """A line now and then, where no progress bar can be drawn."""

    def __init__(self, every: int = 20) -> None:
        self._every = every

    def on_epoch_end(self, trainer: Trainer, epoch: int, values: Mapping[str, float]) -> None:
        """Print every so many epochs."""
        if epoch % self._every == 0:
            shown = "  ".join(f"{name} {values[name]:.4f}" for name in values if name != "lr")
            print(f"epoch {epoch}  {shown}", file=sys.stderr, flush=True)


def _forecast(options: argparse.Namespace) -> None:
    outputs = _Outputs.of(options)
    series = read_csv(
        options.csv, column=options.column, time_column=options.time_column, form=options.form
    )
    train_size = training_size(len(series), options.test_fraction)
    train = series.values[:train_size]
    period, why = _season(options.period, series, train_size)
    forecaster = Forecaster(
        options.horizon,
        window=options.window,
        hidden_size=options.hidden,
        num_layers=options.layers,
        dropout=options.dropout,
        period=None if options.keep_season else period,
        epochs=options.epochs,
        patience=options.patience,
        learning_rate=options.learning_rate,
        weight_decay=options.weight_decay,
        seed=options.seed,
    )
    _check_length(options, series, forecaster.least_steps, period)
    origins = held_out_origins(len(series), train_size, options.horizon)
    unit = series.time.unit
    labels = series.time.labels
    print(f"{options.csv}: {len(series)} values, {labels[0]} to {labels[-1]} ({series.form} form)")
    if series.time.positions is None:
        print("Times: not understood as evenly spaced, so values are counted")
    if period is None:
        print(f"Season: none ({why})")
    else:
        kept = "kept" if options.keep_season else "seasonal means taken off"
        print(f"Season: {period} {unit}s ({why}); {kept}")
    print(
        f"Training on the first {train_size} values, testing on the last "
        f"{len(series) - train_size} ({len(origins)} forecasts)",
        flush=True,
    )

    forecaster.fit(train, callbacks=_progress(options.quiet))
    print(f"Epochs: {forecaster.best_epoch}, found on the end of the training part")
    # One step ahead can be forecast up to the very end; scores need all steps.
    predictions = forecaster.predict(series.values, np.arange(train_size, len(series)))
    forecasts = {"LSTM": predictions[: len(origins)]} | baseline_forecasts(
        series.values, train_size, origins, options.horizon, window=options.window, period=period
    )
    actual = series.values[origins[:, np.newaxis] + np.arange(options.horizon)]
    scores = {name: Score.of(made, actual) for name, made in forecasts.items()}
    print("\nErrors in the test part (* is the best)\n")
    print(comparison_table(scores, options.horizon, unit))
    print("", *verdict(scores, "LSTM", options.horizon, unit), sep="\n")

    forecast = forecaster.forecast(series.values)
    following = series.time.following(options.horizon)
    print(f"\nForecast of {series.name}\n")
    for label, value in zip(following, forecast, strict=True):
        print(f"{label:>12}  {value:.6g}")
    _write_forecast(outputs.forecast, following, forecast.tolist())
    beside = forecaster.save(outputs.model)
    print(f"\nForecast: {outputs.forecast}\nModel:    {outputs.model}, {beside}")
    if outputs.plot is not None:
        plot_forecast(
            series,
            train_size,
            predictions[:, 0],
            forecast,
            scores["LSTM"].rmse_by_step,
            outputs.plot,
            label=options.label,
        )
        print(f"Plot:     {outputs.plot}")


def _season(wanted: int | str, series: Series, train_size: int) -> tuple[int | None, str]:
    """Return the steps in a season and how they came about."""
    if wanted == "none":
        return None, "as asked"
    if isinstance(wanted, int):
        if wanted < 2:
            raise ConfigError(f"--period must be at least 2, got {wanted}")
        return wanted, "as asked"
    year = series.time.year_length
    if year is not None and train_size >= 2 * year:
        return year, "a year, by the times"
    found = find_period(series.values[:train_size])
    return found, "found in the training part" if found else "none found in the training part"


def _check_length(
    options: argparse.Namespace, series: Series, least_steps: int, period: int | None
) -> None:
    """Raise if training or test part is too short, with the length that would do."""
    least_training = max(least_steps, 2 * (period or 0))

    def enough(steps: int) -> bool:
        train_size = training_size(steps, options.test_fraction)
        return train_size >= least_training and steps - train_size >= options.horizon

    if enough(len(series)):
        return
    season = "" if period is None else f", --period {period}"
    raise ShapeError(
        f"{options.csv} has {len(series)} values, but --window {options.window}, --horizon "
        f"{options.horizon}{season} and --test-fraction {options.test_fraction} need at least "
        f"{smallest_count(enough)}"
    )


def _progress(quiet: bool) -> tuple[Callback, ...]:
    if quiet:
        return ()
    return _RunNames(), ProgressBar() if sys.stderr.isatty() else _ProgressLines()


def _write_forecast(path: Path, labels: Sequence[str], values: Sequence[float]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("time", "step", "value"))
        for step, (label, value) in enumerate(zip(labels, values, strict=True), 1):
            writer.writerow((label, step, f"{value:.9g}"))


if __name__ == "__main__":
    raise SystemExit(main())
