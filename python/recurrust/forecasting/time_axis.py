"""The time labels of a series: how far apart they are, and which ones come next."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from recurrust.exceptions import FileFormatError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["TimeAxis"]

_NUMBER = re.compile(r"-?\d{1,9}")
_QUARTER = re.compile(r"(\d{4})([ -]?[Qq])([1-4])")
_DATE = re.compile(r"\d{4}[-/]\d{2}([-/]\d{2}([T ]\d{2}:\d{2}(:\d{2})?)?)?")

# What one step is called, by the unit of the positions and their number in a step.
_UNITS = {
    ("M", 1): "month",
    ("M", 3): "quarter",
    ("M", 12): "year",
    ("D", 1): "day",
    ("D", 7): "week",
    ("m", 60): "hour",
    ("m", 1440): "day",
    ("m", 1): "minute",
    ("s", 3600): "hour",
    ("s", 86400): "day",
    ("s", 60): "minute",
    ("s", 1): "second",
}


@dataclass(frozen=True)
class TimeAxis:
    """The time labels of a series, one a value, in order.

    Understood are whole numbers (years, counters), quarters (``2010-Q4``) and dates that begin
    with the year (``2010-12``, ``2010-12-31``, ``2010-12-31 23:00``), evenly spaced. Days may
    also be spaced evenly in months: the same day of each month, or its last one.

    Attributes
    ----------
    name : str
        What the labels are called, e.g. the name of their column.
    labels : tuple of str
        The labels as they were given.
    unit : str
        What one step of the series is: "month", "day", ... or just "step".
    positions : ndarray or None
        Shape (steps,), datetime64 or integers at equal distances; None if the labels aren't
        understood, so that they can't be continued.
    """

    name: str
    labels: tuple[str, ...]
    unit: str = "step"
    positions: NDArray[Any] | None = None
    _format: Callable[[Any], str] = str

    @classmethod
    def counted(cls, count: int) -> TimeAxis:
        """Return the axis of a series without time labels: its values are numbered from 1.

        Parameters
        ----------
        count : int
            How many values there are.
        """
        return cls.read([str(number) for number in range(1, count + 1)], "observation")

    @classmethod
    def read(cls, labels: Sequence[str], name: str = "time") -> TimeAxis:
        """Find out what labels mean.

        Parameters
        ----------
        labels : sequence of str
            One label a value.
        name : str, default "time"
            What the labels are called.

        Returns
        -------
        TimeAxis
            The axis; without positions if the labels aren't understood or evenly spaced.

        Raises
        ------
        FileFormatError
            If a label lies before its predecessor in time.
        """
        kept = tuple(label.strip() for label in labels)
        parsed = _parse(kept)
        if parsed is None or len(kept) < 2:
            return cls(name, kept)
        positions, form = parsed
        steps = np.diff(positions).astype(np.int64)
        if (steps < 0).any():
            place = int(np.argmax(steps < 0))
            raise FileFormatError(
                f"{name}: {kept[place + 1]!r:.60} follows {kept[place]!r:.60}; "
                "the rows must be in order of time"
            )
        if steps[0] == 0 or (steps != steps[0]).any():
            return cls(name, kept)
        return cls(name, kept, _unit(positions, int(steps[0])), positions, form)

    @property
    def year_length(self) -> int | None:
        """The number of steps in a year, for monthly and quarterly values; else None."""
        return {"month": 12, "quarter": 4}.get(self.unit)

    def extended(self, count: int) -> NDArray[Any]:
        """Return the positions of all values and of the steps that follow.

        Parameters
        ----------
        count : int
            How many steps after the end to add.

        Returns
        -------
        ndarray
            Shape (steps + count,): datetime64 or integers; counted from 1 where the labels
            aren't understood.
        """
        if self.positions is None:
            return np.arange(1, len(self.labels) + count + 1)
        step = self.positions[1] - self.positions[0]
        following = self.positions[-1] + np.arange(1, count + 1) * step
        return np.concatenate([self.positions, following])

    def following(self, count: int) -> list[str]:
        """Return the labels of the steps after the end.

        Parameters
        ----------
        count : int
            How many.

        Returns
        -------
        list of str
            In the style of the series' own labels; where those aren't understood, the numbers
            of the values counted from 1.
        """
        return [self._format(position) for position in self.extended(count)[len(self.labels) :]]


def _parse(labels: tuple[str, ...]) -> tuple[NDArray[Any], Callable[[Any], str]] | None:
    """Return positions on a grid and how to write one as a label, or None."""
    if all(_NUMBER.fullmatch(label) for label in labels):
        return np.array([int(label) for label in labels], dtype=np.int64), str
    quarters = [_QUARTER.fullmatch(label) for label in labels]
    if all(quarters):
        matches = [match for match in quarters if match]
        starts = [f"{match[1]}-{int(match[3]) * 3 - 2:02d}" for match in matches]
        between = matches[0][2]
        return (
            np.array(starts, dtype="datetime64[M]"),
            lambda month: f"{str(month)[:4]}{between}{(int(str(month)[5:]) + 2) // 3}",
        )
    if all(_DATE.fullmatch(label) for label in labels):
        return _parse_dates(labels)
    return None


def _parse_dates(labels: tuple[str, ...]) -> tuple[NDArray[Any], Callable[[Any], str]] | None:
    try:
        dates = np.array([label.replace("/", "-") for label in labels], dtype="datetime64")
    except ValueError:  # such as a thirteenth month
        return None
    separator, before_time = labels[0][4], labels[0][10:11] or "T"

    def written(date: Any) -> str:
        return str(date).replace("-", separator).replace("T", before_time)

    if dates.dtype == np.dtype("datetime64[D]") and np.unique(np.diff(dates)).size > 1:
        months = dates.astype("datetime64[M]")
        days = (dates - months).astype(np.int64) + 1
        if (days == days[0]).all() and days[0] <= 28:
            return months, lambda month: written(month.astype("datetime64[D]") + (days[0] - 1))
        if ((dates + 1).astype("datetime64[M]") > months).all():
            return months, lambda month: written((month + 1).astype("datetime64[D]") - 1)
    return dates, written


def _unit(positions: NDArray[Any], step: int) -> str:
    if positions.dtype.kind == "i":
        years = step == 1 and positions[0] >= 1500 and positions[-1] <= 2200
        return "year" if years else "step"
    return _UNITS.get((np.datetime_data(positions.dtype)[0], step), "step")
