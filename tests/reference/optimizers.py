"""Optimizers in NumPy: `update(parameter, gradient, memory, step, **options)` in place.

`memory` is a dict that belongs to one parameter and starts empty; `step` counts from 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Memory = dict[str, Array]


def sgd(
    p: Array,
    g: Array,
    memory: Memory,
    step: int,
    *,
    lr: float = 1e-3,
    momentum: float = 0,
    dampening: float = 0,
    weight_decay: float = 0,
    nesterov: bool = False,
    maximize: bool = False,
) -> None:
    """Robbins and Monro (1951); momentum of Polyak (1964), or of Nesterov (1983).

    v <- momentum v + (1 - dampening) g, but v = g at the first step
    """
    g = (-g if maximize else g) + weight_decay * p
    if momentum:
        first = "v" not in memory
        memory["v"] = g.copy() if first else momentum * memory["v"] + (1 - dampening) * g
        g = g + momentum * memory["v"] if nesterov else memory["v"]
    p -= lr * g


def adam(
    p: Array,
    g: Array,
    memory: Memory,
    step: int,
    *,
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0,
    amsgrad: bool = False,
    maximize: bool = False,
) -> None:
    """Kingma and Ba (2015); amsgrad of Reddi et al. (2018): the largest v so far.

    m <- b1 m + (1 - b1) g        v <- b2 v + (1 - b2) g^2
    p <- p - lr m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)
    """
    b1, b2 = betas
    g = (-g if maximize else g) + weight_decay * p
    memory["m"] = b1 * memory.get("m", np.zeros_like(p)) + (1 - b1) * g
    memory["v"] = b2 * memory.get("v", np.zeros_like(p)) + (1 - b2) * g**2
    v = memory["v"]
    if amsgrad:
        v = memory["largest"] = np.maximum(memory.get("largest", v), v)
    p -= lr * (memory["m"] / (1 - b1**step)) / (np.sqrt(v / (1 - b2**step)) + eps)


def adamw(
    p: Array,
    g: Array,
    memory: Memory,
    step: int,
    *,
    lr: float = 1e-3,
    weight_decay: float = 1e-2,
    **options: Any,
) -> None:
    """Loshchilov and Hutter (2019): the weights decay apart from the gradient's step."""
    p *= 1 - lr * weight_decay
    adam(p, g, memory, step, lr=lr, **options)


def rmsprop(
    p: Array,
    g: Array,
    memory: Memory,
    step: int,
    *,
    lr: float = 1e-2,
    alpha: float = 0.99,
    eps: float = 1e-8,
    weight_decay: float = 0,
    momentum: float = 0,
    centered: bool = False,
    maximize: bool = False,
) -> None:
    """Hinton (2012); centred as in Graves (2013).

    s <- alpha s + (1 - alpha) g^2        u = g / (sqrt(s) + eps)
    """
    g = (-g if maximize else g) + weight_decay * p
    s = memory["s"] = alpha * memory.get("s", np.zeros_like(p)) + (1 - alpha) * g**2
    if centered:
        mean = memory["mean"] = alpha * memory.get("mean", np.zeros_like(p)) + (1 - alpha) * g
        s = s - mean**2
    u = g / (np.sqrt(s) + eps)
    if momentum:
        u = memory["u"] = momentum * memory.get("u", np.zeros_like(p)) + u
    p -= lr * u
