"""What may happen around the epochs of a training run; derive your own from `Callback`."""

from __future__ import annotations

from recurrust.callbacks.base import Callback, LambdaCallback
from recurrust.callbacks.checkpoint import ModelCheckpoint
from recurrust.callbacks.early_stopping import EarlyStopping
from recurrust.callbacks.logging import CSVLogger, LearningRateMonitor
from recurrust.callbacks.progress import LinePrinter, ProgressBar

__all__ = [
    "CSVLogger",
    "Callback",
    "EarlyStopping",
    "LambdaCallback",
    "LearningRateMonitor",
    "LinePrinter",
    "ModelCheckpoint",
    "ProgressBar",
]
