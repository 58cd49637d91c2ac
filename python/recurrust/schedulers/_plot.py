"""Pictures of learning rates, with matplotlib or made of characters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from recurrust._figures import new_figure

if TYPE_CHECKING:
    import os

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

__all__ = ["figure", "text"]

_ROWS, _COLUMNS = 12, 64
_MARKS = "*o+x"


def figure(
    rates: NDArray[np.float64], first: int, title: str, path: str | os.PathLike[str] | None
) -> Figure:
    """Draw rates of shape (steps, groups), and write them to a file if there is a path."""
    from matplotlib import ticker

    drawn = new_figure((7.0, 3.6), path)
    axis: Any = drawn.subplots()
    steps = np.arange(first, first + len(rates))
    for group, curve in enumerate(rates.T):
        axis.plot(steps, curve, label=f"group {group}", marker="o" if len(rates) == 1 else None)
    if rates.shape[1] > 1:
        axis.legend()
    axis.set_title(title)
    axis.set_xlabel("step")
    axis.set_ylabel("learning rate")
    axis.grid(alpha=0.3)
    axis.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    if path is not None:
        drawn.savefig(path)
    return drawn


def text(rates: NDArray[np.float64], first: int) -> str:
    """Return rates of shape (steps, groups) as lines of characters."""
    low, high = float(rates.min()), float(rates.max())
    rows = _ROWS if high > low else 1
    columns = min(len(rates), _COLUMNS)
    picture = np.full((rows, columns), " ")
    for group, curve in enumerate(rates.T):
        for column in range(columns):
            rate = curve[column * len(rates) // columns]
            row = round((rate - low) / (high - low) * (rows - 1)) if high > low else 0
            picture[rows - 1 - row, column] = _MARKS[group % len(_MARKS)]
    labels = [""] * rows
    labels[-1], labels[0] = f"{low:.4g}", f"{high:.4g}"
    width = max(map(len, labels))
    lines = [
        f"{label:>{width}} |{''.join(line).rstrip()}"
        for label, line in zip(labels, picture, strict=True)
    ]
    lines.append(f"{'':{width}} +{'-' * columns}")
    lines.append(f"{'':{width}}  learning rate, steps {first} to {first + len(rates) - 1}")
    return "\n".join(lines)
