"""The masks of dropout and zoneout: explicit values, time-major, that training hands to `forward`.

Names, with the suffix of a layer (_l0) or of a direction (_l0, _l0_reverse), and shapes:

    input_dropout_l0        (T or 1, B, features)   the layer's input, in all its directions
    recurrent_dropout_l0    (T or 1, B, size of h)  the h that the recurrent weights see
    update_dropout_l0       (T, B, H)               the candidate
    weight_dropout_l0       (gates * H, size of h)  the recurrent weights, once per call
    zoneout_hidden_l0       (T, B, size of h)       1 keeps the old value, 0 takes the new one
    zoneout_cell_l0         (T, B, H)               the same for the LSTM's cell state
    dropout_l0              (T, B, features)        the merged output between layer 0 and layer 1
    output_dropout          (T, B, features)        the stack's y alone, never its states;
                            or (B, features)        with return_sequences=False

A dropout mask of rate p holds 0 with probability p, else 1 / (1 - p); p = 1 gives zeros. Where it
says T or 1, one step of time is a mask that is constant over time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Masks = Mapping[str, ArrayLike]
Shapes = Mapping[str, tuple[int, ...]]

# A mask of these may be constant over time.
VARIATIONAL = ("input_dropout", "recurrent_dropout")
ZONEOUT = {"h": "zoneout_hidden", "c": "zoneout_cell"}


@dataclass(frozen=True)
class DirectionMasks:
    """The masks of one direction of one layer, complete: what doesn't drop holds 1."""

    recurrent_dropout: Array  # (T, B, size of h)
    update_dropout: Array  # (T, B, H)
    weight_dropout: Array  # (gates * H, size of h)
    zoneout: tuple[Array, ...]  # (T, B, size) for each state: how much of the old one is kept


def check(masks: Masks, shapes: Shapes) -> None:
    """Refuse masks that the network doesn't have, or of wrong shapes."""
    for name, mask in masks.items():
        if name not in shapes:
            raise ValueError(f"there is no mask {name}; there are {', '.join(shapes)}")
        allowed = [shapes[name]]
        if name.startswith(VARIATIONAL):
            allowed.append((1, *shapes[name][1:]))
        if np.shape(mask) not in allowed:
            raise ValueError(f"{name} has the shape {np.shape(mask)}, expected {allowed}")


def complete(masks: Masks, shapes: Shapes, keep: Mapping[str, float]) -> dict[str, Array]:
    """All masks in their full shapes. A missing dropout drops nothing; a zoneout keeps `keep`."""
    result = {}
    for name, shape in shapes.items():
        otherwise = keep.get(name.partition("_l")[0], 1.0)
        result[name] = np.broadcast_to(np.asarray(masks.get(name, otherwise), np.float64), shape)
    return result


def draw(
    rng: np.random.Generator, shapes: Shapes, names: Iterable[str], rate: float
) -> dict[str, Array]:
    """Random masks of one rate for every place whose name starts with one of `names`."""
    drawn = {}
    for name, shape in shapes.items():
        if name.startswith(tuple(names)):
            hit = rng.random(shape) < rate
            keep = 1 / (1 - rate) if rate < 1 else 0.0
            drawn[name] = hit.astype(float) if "zoneout" in name else np.where(hit, 0.0, keep)
    return drawn
