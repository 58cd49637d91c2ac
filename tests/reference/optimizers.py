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


def adagrad(
    p: Array,
    g: Array,
    memory: Memory,
    step: int,
    *,
    lr: float = 1e-2,
    lr_decay: float = 0,
    weight_decay: float = 0,
    initial_accumulator_value: float = 0,
    eps: float = 1e-10,
    maximize: bool = False,
) -> None:
    """Duchi, Hazan and Singer (2011).

    s <- s + g^2        p <- p - lr / (1 + (t - 1) lr_decay) g / (sqrt(s) + eps)
    """
    g = (-g if maximize else g) + weight_decay * p
    s = memory["s"] = memory.get("s", np.full_like(p, initial_accumulator_value)) + g**2
    p -= lr / (1 + (step - 1) * lr_decay) * g / (np.sqrt(s) + eps)


def adadelta(
    p: Array,
    g: Array,
    memory: Memory,
    step: int,
    *,
    lr: float = 1.0,
    rho: float = 0.9,
    eps: float = 1e-6,
    weight_decay: float = 0,
    maximize: bool = False,
) -> None:
    """Zeiler (2012).

    s <- rho s + (1 - rho) g^2        u = sqrt(d + eps) / sqrt(s + eps) g
    d <- rho d + (1 - rho) u^2        p <- p - lr u
    """
    g = (-g if maximize else g) + weight_decay * p
    s = memory["s"] = rho * memory.get("s", np.zeros_like(p)) + (1 - rho) * g**2
    d = memory.get("d", np.zeros_like(p))
    u = np.sqrt(d + eps) / np.sqrt(s + eps) * g
    memory["d"] = rho * d + (1 - rho) * u**2
    p -= lr * u


def nadam(
    p: Array,
    g: Array,
    memory: Memory,
    step: int,
    *,
    lr: float = 2e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0,
    momentum_decay: float = 4e-3,
    decoupled_weight_decay: bool = False,
    maximize: bool = False,
) -> None:
    """Dozat (2016).

    mu_t = b1 (1 - 0.96^(t momentum_decay) / 2)        M_t = mu_1 ... mu_t
    p <- p - lr (mu_t+1 m / (1 - M_t+1) + (1 - mu_t) g / (1 - M_t)) / (sqrt(v / (1 - b2^t)) + eps)
    """
    b1, b2 = betas
    g = -g if maximize else g
    if decoupled_weight_decay:
        p *= 1 - lr * weight_decay
    else:
        g = g + weight_decay * p
    now, later = (b1 * (1 - 0.96 ** (t * momentum_decay) / 2) for t in (step, step + 1))
    # PyTorch keeps the product in single precision.
    product = np.float32(memory.get("product", np.ones(()))) * np.float32(now)
    memory["product"] = np.asarray(product, np.float64)
    m = memory["m"] = b1 * memory.get("m", np.zeros_like(p)) + (1 - b1) * g
    v = memory["v"] = b2 * memory.get("v", np.zeros_like(p)) + (1 - b2) * g**2
    root = np.sqrt(v / (1 - b2**step)) + eps
    p -= lr * later / (1 - memory["product"] * later) * m / root
    p -= lr * (1 - now) / (1 - memory["product"]) * g / root


def radam(
    p: Array,
    g: Array,
    memory: Memory,
    step: int,
    *,
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0,
    decoupled_weight_decay: bool = False,
    maximize: bool = False,
) -> None:
    """Liu et al. (2020): momentum alone until the length of the average, rho, exceeds 5.

    rho_inf = 2 / (1 - b2) - 1        rho = rho_inf - 2 t b2^t / (1 - b2^t)
    r = sqrt((rho - 4) (rho - 2) rho_inf / ((rho_inf - 4) (rho_inf - 2) rho))
    p <- p - lr r m / (1 - b1^t) sqrt(1 - b2^t) / (sqrt(v) + eps)
    """
    b1, b2 = betas
    g = -g if maximize else g
    if decoupled_weight_decay:
        p *= 1 - lr * weight_decay
    else:
        g = g + weight_decay * p
    m = memory["m"] = b1 * memory.get("m", np.zeros_like(p)) + (1 - b1) * g
    v = memory["v"] = b2 * memory.get("v", np.zeros_like(p)) + (1 - b2) * g**2
    end = 2 / (1 - b2) - 1
    rho = end - 2 * step * b2**step / (1 - b2**step)
    direction = m / (1 - b1**step)
    if rho > 5:
        r = np.sqrt((rho - 4) * (rho - 2) * end / ((end - 4) * (end - 2) * rho))
        direction = direction * r * np.sqrt(1 - b2**step) / (np.sqrt(v) + eps)
    p -= lr * direction
