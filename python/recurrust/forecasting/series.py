"""Reading a series of numbers from a CSV file."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from recurrust.exceptions import ConfigError, FileFormatError
from recurrust.forecasting.time_axis import TimeAxis

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Series", "read_csv"]

_MONTHS = (
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
)
# Columns of these names tell when, not what; so does a first column without a name.
_TIME_NAMES = frozenset(
    ("time", "date", "datetime", "timestamp", "year", "quarter", "month", "week", "day", "period")
)
_MISSING = frozenset(("", "na", "n/a", "nan", "null", "none"))


@dataclass(frozen=True)
class Series:
    """Evenly spaced values, oldest first.

    Attributes
    ----------
    name : str
        What the values are called.
    values : ndarray of float64
        Shape (steps,), all finite.
    time : TimeAxis
        When each value was.
    form : {"long", "wide"}
        How the file held them: one row a value, or one row a year.
    """

    name: str
    values: NDArray[np.float64]
    time: TimeAxis
    form: Literal["long", "wide"]

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class _Table:
    """The cells of a CSV file; `lines` are the numbers of the rows in the file."""

    path: Path
    columns: list[str]
    rows: list[list[str]]
    lines: list[int]

    def cells(self, column: int) -> list[str]:
        return [row[column] for row in self.rows]

    def number(self, row: int, column: int) -> float:
        cell = self.rows[row][column]
        where = f"{self.path}, row {self.lines[row]}, column {self.columns[column]!r}"
        if _is_missing(cell):
            what = f"is {cell!r}" if cell else "is blank"
            raise FileFormatError(
                f"{where} {what}; missing values must be filled in or their rows removed first"
            )
        value = _as_number(cell)
        if value is None:
            raise FileFormatError(f"{where}: {cell!r:.60} is not a number")
        if not math.isfinite(value):
            raise FileFormatError(f"{where}: {cell!r:.60} is not finite")
        return value


def read_csv(
    path: str | os.PathLike[str],
    *,
    column: str | None = None,
    time_column: str | None = None,
    form: Literal["auto", "long", "wide"] = "auto",
) -> Series:
    """Read one series from a CSV file.

    The file is text in UTF-8 with a header row (a file of bare numbers may do without), cells
    separated by commas, semicolons, tabs or bars, and numbers written with a decimal point. Two
    forms are understood:

    * long: one row a value, oldest first. A time column, or one for the year and one for the
      month (by name or number), is optional.
    * wide: one row a year, with twelve columns named after the months (``JAN``, ``January`` or
      ``1``, in any order) and one for the year. Other columns are left aside. Months that are
      still blank at the end of the last row are left off.

    Parameters
    ----------
    path : path-like
        The file.
    column : str, optional
        The column with the values of a long table. By default the only column of numbers, not
        counting those whose name means a time (``year``, ``date``, ...).
    time_column : str, optional
        The column with the time labels; for a wide table that with the years. By default the
        first one whose name means a time or whose cells are dates.
    form : {"auto", "long", "wide"}, default "auto"
        The form of the table; "auto" takes it as wide if all twelve months are among the column
        names and no `column` is asked for.

    Returns
    -------
    Series
        The values with their time labels. It is named after its column, or after the file where
        that has several or unnamed ones.

    Raises
    ------
    FileFormatError
        If the file is empty or not such a table, or a cell is missing or no finite number.
    ConfigError
        If a column doesn't exist, several could be meant, or `column` is given for a wide table.
    OSError
        If the file can't be read.
    """
    if form not in ("auto", "long", "wide"):
        raise ConfigError(f'form must be "auto", "long" or "wide", got {form!r}')
    table = _read_table(Path(path))
    months = _month_columns(table.columns)
    if form == "wide" or (form == "auto" and column is None and months is not None):
        if column is not None:
            raise ConfigError(f"column={column!r} has no meaning for a wide table")
        if months is None:
            raise FileFormatError(
                f"{table.path} has no column for each of the twelve months (JAN ... DEC or "
                f"1 ... 12), as the wide form needs; {_available(table)}"
            )
        return _read_wide(table, months, time_column)
    return _read_long(table, column, time_column)


def _read_table(path: Path) -> _Table:
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            reader = csv.reader(file, delimiter=max(",;\t|", key=first.count), strict=True)
            for row in reader:
                cells = [cell.strip() for cell in row]
                if any(cells):
                    rows.append(cells)
                    lines.append(reader.line_num)
    except UnicodeDecodeError as error:
        raise FileFormatError(f"{path} is not text in UTF-8: {error.reason}") from error
    except csv.Error as error:
        raise FileFormatError(f"{path} is not a CSV table: {error}") from error
    if not rows:
        raise FileFormatError(f"{path} is empty")
    if all(_is_number(cell) for cell in rows[0]):
        columns = [str(number) for number in range(1, len(rows[0]) + 1)]
    else:
        columns = rows.pop(0)
        lines.pop(0)
    if not rows:
        raise FileFormatError(f"{path} has a header, but no rows of values")
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(columns):
            raise FileFormatError(
                f"{path}, row {line} has {len(row)} cells where {len(columns)} are expected"
            )
    return _Table(path, columns, rows, lines)


def _read_long(table: _Table, column: str | None, time_column: str | None) -> Series:
    times = None if time_column is None else _find(table, time_column, "time_column")
    values = (
        _only_numeric_column(table, times) if column is None else _find(table, column, "column")
    )
    if times == values:
        raise ConfigError(f"column and time_column are both {column!r}")
    numbers = [table.number(row, values) for row in range(len(table.rows))]
    name = table.columns[values]
    if not name or name.isdigit():
        name = table.path.stem
    return Series(name, np.array(numbers), _time_axis(table, values, times), "long")


def _time_axis(table: _Table, values: int, times: int | None) -> TimeAxis:
    """Return the times of a long table; `times` is their column, where one was asked for."""
    names = [name.lower() for name in table.columns]
    if times is None and {"year", "month"} <= set(names):
        year, month = names.index("year"), names.index("month")
        if values not in (year, month):
            labels = [f"{row[year]}-{_two_digits(row[month])}" for row in table.rows]
            return TimeAxis.read(labels, "month")
    if times is None:
        times = _likely_time_column(table, values)
    if times is None:
        return TimeAxis.counted(len(table.rows))
    return TimeAxis.read(table.cells(times), table.columns[times] or "time")


def _read_wide(table: _Table, months: list[int], time_column: str | None) -> Series:
    if time_column is not None:
        years_column = _find(table, time_column, "time_column")
    else:
        others = [index for index in range(len(table.columns)) if index not in months]
        named = [index for index in others if table.columns[index].lower() == "year"]
        if not others:
            raise FileFormatError(f"{table.path} has months, but no column with the year")
        years_column = (named or others)[0]
    years = [table.number(row, years_column) for row in range(len(table.rows))]
    for row, year in enumerate(years):
        if year != years[0] + row or not year.is_integer():
            raise FileFormatError(
                f"{table.path}, row {table.lines[row]}, column {table.columns[years_column]!r}: "
                f"{table.rows[row][years_column]!r:.60} is not the year expected; "
                "each row must be the year after that of the row before"
            )
    cells = [(row, month) for row in range(len(table.rows)) for month in months]
    for row, month in reversed(cells[-12:]):
        if table.rows[row][month]:
            break
        cells.pop()
    labels = [f"{int(years[0]) + step // 12:04d}-{step % 12 + 1:02d}" for step in range(len(cells))]
    return Series(
        table.path.stem,
        np.array([table.number(row, month) for row, month in cells]),
        TimeAxis.read(labels, "month"),
        "wide",
    )


def _month_columns(columns: Sequence[str]) -> list[int] | None:
    """Return the column of each month, January first, or None if one is missing."""
    found: dict[int, int] = {}
    for index, name in enumerate(columns):
        month = _month_number(name)
        if month is not None and month not in found:
            found[month] = index
    return [found[month] for month in range(1, 13)] if len(found) == 12 else None


def _month_number(name: str) -> int | None:
    if name.isdecimal():
        return int(name) if 1 <= int(name) <= 12 else None
    text = name.lower().rstrip(".")
    matches = [number for number, month in enumerate(_MONTHS, 1) if month.startswith(text)]
    return matches[0] if len(text) >= 3 and matches else None


def _two_digits(month: str) -> str:
    """Return a month in the way of dates, or as it is if it is none."""
    number = _month_number(month)
    return month if number is None else f"{number:02d}"


def _find(table: _Table, name: str, argument: str) -> int:
    for wanted, columns in (
        (name, table.columns),
        (name.strip().lower(), [column.lower() for column in table.columns]),
    ):
        if columns.count(wanted) > 1:
            raise ConfigError(f"{table.path} has several columns named {name!r}")
        if wanted in columns:
            return columns.index(wanted)
    raise ConfigError(f"{argument}: {table.path} has no column {name!r}; {_available(table)}")


def _only_numeric_column(table: _Table, times: int | None) -> int:
    # A name that means a time may be that of the values if there is nothing else.
    others = [
        index
        for index in range(len(table.columns))
        if index != times and (len(table.columns) == 1 or not _means_time(table, index))
    ]
    candidates = [index for index in others if _mostly_numbers(table.cells(index))]
    if not candidates:
        # Numbers among text can't be used either, but the cell in the way is worth naming.
        partly = [index for index in others if any(map(_is_number, table.cells(index)))]
        candidates = partly if len(partly) == 1 else []
    if not candidates:
        raise FileFormatError(f"{table.path} has no column of numbers; {_available(table)}")
    if len(candidates) > 1:
        names = ", ".join(repr(table.columns[index]) for index in candidates)
        raise ConfigError(f"{table.path} has several columns of numbers; name one of {names}")
    return candidates[0]


def _likely_time_column(table: _Table, values: int) -> int | None:
    others = [index for index in range(len(table.columns)) if index != values]
    for index in others:
        if _means_time(table, index):
            return index
    for index in others:
        cells = table.cells(index)
        if not _mostly_numbers(cells) and TimeAxis.read(cells).positions is not None:
            return index
    return None


def _means_time(table: _Table, index: int) -> bool:
    name = table.columns[index].lower()
    return name in _TIME_NAMES or (index == 0 and not name)


def _mostly_numbers(cells: Sequence[str]) -> bool:
    present = [cell for cell in cells if not _is_missing(cell)]
    return 2 * sum(map(_is_number, present)) > len(present)


def _available(table: _Table) -> str:
    return "the columns are " + ", ".join(map(repr, table.columns))


def _is_missing(cell: str) -> bool:
    return cell.lower() in _MISSING


def _is_number(cell: str) -> bool:
    return not _is_missing(cell) and _as_number(cell) is not None


def _as_number(cell: str) -> float | None:
    if "_" in cell:  # Python's own spelling of long numbers, not that of tables
        return None
    try:
        return float(cell)
    except ValueError:
        return None
