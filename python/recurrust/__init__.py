"""Recurrent neural networks on the CPU: exact, fast, small.

Layers, losses and optimizers work on NumPy arrays; `Sequential` puts layers together, `Trainer`
fits them to data, and schedules such as `OneCycleLR` change the learning rate meanwhile. Everything
that is public stands here or in `recurrust.data`, `recurrust.forecasting` and `recurrust.testing`.
"""

from __future__ import annotations

from recurrust import data, forecasting, testing
from recurrust._core import (
    LSTM,
    SGD,
    Adam,
    AdamW,
    CrossEntropyLoss,
    Dropout,
    Linear,
    LSTMCell,
    MAELoss,
    MSELoss,
    Parameter,
    RMSprop,
    __version__,
    build_info,
    clip_grad_norm_,
    clip_grad_value_,
    get_num_threads,
    get_rng_state,
    manual_seed,
    set_num_threads,
    set_rng_state,
)
from recurrust.callbacks import Callback, EarlyStopping, ProgressBar
from recurrust.exceptions import (
    ConfigError,
    DtypeError,
    FileFormatError,
    NonFiniteError,
    RecurrustError,
    ShapeError,
    StateError,
)
from recurrust.history import History
from recurrust.schedulers import (
    ConstantLR,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    CyclicLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    LRScheduler,
    MultiStepLR,
    OneCycleLR,
    PolynomialLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
    WarmupLR,
)
from recurrust.sequential import Sequential
from recurrust.serialization import load, save
from recurrust.trainer import Trainer

__all__ = [
    "LSTM",
    "SGD",
    "Adam",
    "AdamW",
    "Callback",
    "ConfigError",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CrossEntropyLoss",
    "CyclicLR",
    "Dropout",
    "DtypeError",
    "EarlyStopping",
    "ExponentialLR",
    "FileFormatError",
    "History",
    "LRScheduler",
    "LSTMCell",
    "LambdaLR",
    "Linear",
    "LinearLR",
    "MAELoss",
    "MSELoss",
    "MultiStepLR",
    "NonFiniteError",
    "OneCycleLR",
    "Parameter",
    "PolynomialLR",
    "ProgressBar",
    "RMSprop",
    "RecurrustError",
    "ReduceLROnPlateau",
    "Sequential",
    "SequentialLR",
    "ShapeError",
    "StateError",
    "StepLR",
    "Trainer",
    "WarmupLR",
    "__version__",
    "build_info",
    "clip_grad_norm_",
    "clip_grad_value_",
    "data",
    "forecasting",
    "get_num_threads",
    "get_rng_state",
    "load",
    "manual_seed",
    "save",
    "set_num_threads",
    "set_rng_state",
    "testing",
]
