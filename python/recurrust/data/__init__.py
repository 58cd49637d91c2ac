"""Preparing series for a network: windows, padding, splitting, scaling, checking."""

from __future__ import annotations

from recurrust.data.finite import check_finite
from recurrust.data.finite import require_finite as require_finite
from recurrust.data.scalers import MinMaxScaler, Scaler, StandardScaler
from recurrust.data.sequences import pad_sequences, train_test_split_time, windows

__all__ = [
    "MinMaxScaler",
    "Scaler",
    "StandardScaler",
    "check_finite",
    "pad_sequences",
    "train_test_split_time",
    "windows",
]
