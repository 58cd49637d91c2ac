"""Figures of matplotlib, on the screen or in a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os

    from matplotlib.figure import Figure

__all__ = ["new_figure"]


def new_figure(size: tuple[float, float], path: str | os.PathLike[str] | None) -> Figure:
    """Return an empty figure, known to `matplotlib.pyplot` unless it will go to a file.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    if path is None:
        from matplotlib import pyplot as plt

        return plt.figure(figsize=size, layout="constrained")
    from matplotlib.figure import Figure

    return Figure(figsize=size, layout="constrained")
