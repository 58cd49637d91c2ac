"""Learning rate schedules: what an optimizer's rate is at each step of a training run."""

from __future__ import annotations

from recurrust.schedulers.annealing import CosineAnnealingLR, CosineAnnealingWarmRestarts
from recurrust.schedulers.base import LRScheduler
from recurrust.schedulers.composition import SequentialLR, WarmupLR
from recurrust.schedulers.cycles import CyclicLR, OneCycleLR
from recurrust.schedulers.decay import (
    ConstantLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiStepLR,
    PolynomialLR,
    StepLR,
)
from recurrust.schedulers.plateau import ReduceLROnPlateau

__all__ = [
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CyclicLR",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
    "WarmupLR",
]
