"""Losses in NumPy: values only; the tests take their gradients by central differences."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def log_softmax(logits: Array) -> Array:
    """log(exp(x_c) / sum(exp(x))), shifted by the largest so that nothing overflows."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def spread(weights: ArrayLike, shape: tuple[int, ...]) -> Array:
    """Repeat weights of the leading axes along the trailing ones."""
    weights = np.asarray(weights, np.float64)
    trailing = (1,) * (len(shape) - weights.ndim)
    return np.broadcast_to(weights.reshape(weights.shape + trailing), shape)


def reduce(
    losses: Array,
    reduction: str,
    mask: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    own_weight: Array | None = None,
) -> Array:
    """Sum, or mean over weights, of the elements that count; those left out are 0.

    `losses` contain `own_weight` already, e.g. the weights of the classes.
    """
    weights = np.ones(losses.shape)
    if mask is not None:
        weights = weights * spread(mask, losses.shape)
    if sample_weight is not None:
        weights = weights * spread(sample_weight, losses.shape)
    weighted = np.where(weights == 0, 0, weights * losses)
    if reduction == "none":
        return weighted
    if reduction == "sum":
        return weighted.sum()
    total = (weights if own_weight is None else weights * own_weight).sum()
    return weighted.sum() / total if total else np.float64(0)


def squared_errors(pred: ArrayLike, target: ArrayLike) -> Array:
    """(p - t)^2."""
    return (np.asarray(pred, np.float64) - target) ** 2


def absolute_errors(pred: ArrayLike, target: ArrayLike) -> Array:
    """|p - t|."""
    return np.abs(np.asarray(pred, np.float64) - target)


def cross_entropies(
    logits: ArrayLike,
    target: NDArray[np.generic],
    weight: ArrayLike | None = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
) -> tuple[Array, Array]:
    """-sum_c w_c q_c log p_c, and the weight of each loss in the mean.

    p is the softmax of the logits, w the weights of the classes, q the target's probabilities:
    (1 - smoothing) at the class itself and smoothing / C everywhere. In the mean, a loss counts
    with the weight of its class; with probabilities for targets, with 1.
    """
    log_p = log_softmax(np.asarray(logits, np.float64))
    classes = log_p.shape[-1]
    w = np.ones(classes) if weight is None else np.asarray(weight, np.float64)
    if target.shape == log_p.shape:
        q, counted, own = target, np.ones(target.shape[:-1]), np.ones(target.shape[:-1])
    else:
        counted = np.ones(target.shape)
        if ignore_index is not None:
            counted = (target != ignore_index).astype(float)
        known = np.where(counted, target, 0).astype(int)
        q, own = np.eye(classes)[known], w[known] * counted
    q = (1 - label_smoothing) * q + label_smoothing / classes
    return -(w * q * log_p).sum(axis=-1) * counted, own


def huber(pred: ArrayLike, target: ArrayLike, delta: float = 1.0) -> Array:
    """d^2 / 2 for a distance d up to delta, delta (d - delta / 2) beyond."""
    d = absolute_errors(pred, target)
    return np.where(d <= delta, d**2 / 2, delta * (d - delta / 2))


def smooth_l1(pred: ArrayLike, target: ArrayLike, beta: float = 1.0) -> Array:
    """d^2 / (2 beta) for a distance d below beta, d - beta / 2 beyond."""
    return huber(pred, target, beta) / beta if beta else absolute_errors(pred, target)


def binary_cross_entropies(
    logits: ArrayLike, target: ArrayLike, pos_weight: ArrayLike = 1.0
) -> Array:
    """-(w t log p + (1 - t) log(1 - p)), p the logistic function of the logits."""
    logits, target = np.asarray(logits, np.float64), np.asarray(target, np.float64)
    log_p, log_rest = -np.logaddexp(0, -logits), -np.logaddexp(0, logits)
    return -(np.asarray(pos_weight) * target * log_p + (1 - target) * log_rest)


def pinball(pred: ArrayLike, target: ArrayLike, quantiles: ArrayLike) -> Array:
    """max(q (t - p), (q - 1) (t - p)), the mean over the quantiles."""
    levels = np.asarray(quantiles, np.float64)
    shortfall = np.asarray(target, np.float64)[..., np.newaxis] - pred
    return np.maximum(levels * shortfall, (levels - 1) * shortfall).mean(axis=-1)


def gaussian(pred: ArrayLike, target: ArrayLike, full: bool = False) -> Array:
    """-log of the normal density, from mean and log variance; its constant only if full."""
    mean, log_variance = np.moveaxis(np.asarray(pred, np.float64), -1, 0)
    square = (np.asarray(target, np.float64) - mean) ** 2 / np.exp(log_variance)
    return 0.5 * (log_variance + square + (np.log(2 * np.pi) if full else 0))
