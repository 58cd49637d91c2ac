"""A data set of samples, and the batches cut from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from recurrust import _core
from recurrust.data import pad_sequences, require_finite
from recurrust.exceptions import ConfigError, DtypeError, ShapeError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from recurrust.sequential import Sequential

__all__ = ["Batch", "Samples", "samples_for"]

Rows: TypeAlias = "slice | NDArray[np.int64]"


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples that go through the network together; axis 0 is the sample."""

    x: NDArray[Any]
    y: NDArray[Any] | None
    lengths: NDArray[np.int64] | None
    sample_weight: NDArray[Any] | None
    # Whether ragged inputs have a target for every step, or one for all; None for other inputs.
    stepwise: bool | None = None

    @property
    def valid_steps(self) -> NDArray[np.bool_]:
        """Which steps lie within their sample's length, shape (samples, steps); needs lengths."""
        assert self.lengths is not None
        valid: NDArray[np.bool_] = np.arange(self.x.shape[1]) < self.lengths[:, np.newaxis]
        return valid

    def windows(self, steps: int) -> Iterator[Batch]:
        """Yield the batch in windows of some steps, as views, as long as a sample goes on."""
        total = self.x.shape[1]
        if self.y is None or self.y.ndim < 2 or self.y.shape[1] != total:
            shape = None if self.y is None else self.y.shape
            raise ShapeError(
                f"y must have a target for each of the {total} steps of x to be cut into windows "
                f"(tbptt), got shape {shape}"
            )
        for start in range(0, max(total, 1), steps):
            part = slice(start, start + steps)
            x, weight, lengths = self.x[:, part], self.sample_weight, None
            if self.lengths is not None:
                lengths = np.clip(self.lengths - start, 0, x.shape[1])
                if start > 0 and not lengths.any():
                    return
            if weight is not None and weight.ndim > 1 and weight.shape[1] == total:
                weight = weight[:, part]
            yield Batch(x, self.y[:, part], lengths, weight, self.stepwise)


class Samples:
    """Inputs, and what belongs to them sample by sample.

    Floating data become the network's dtype batch by batch, when they are gathered from the
    data set anyway: overlapping windows would grow many times over if they were converted as a
    whole.

    Parameters
    ----------
    x : array_like or sequence of array_like
        Samples on axis 0; or sequences of different lengths, each (steps_i, ...).
    y : array_like, sequence of array_like or None
        Targets, samples on axis 0; or one sequence per sequence of `x`, as long as that.
    lengths : array_like of int, optional
        Valid steps of each sample, for an `x` that is one array.
    sample_weight : array_like, optional
        Weights, samples on axis 0.
    dtype : str
        What floating data become.
    integer_inputs : bool
        Whether integers in `x` stay integers (e.g. for a layer that looks them up).

    Raises
    ------
    ShapeError
        If there is no sample, or the numbers of samples or steps differ.
    DtypeError
        If something does not hold numbers.
    ConfigError
        If `lengths` is given for an `x` that is a list of sequences.
    """

    def __init__(
        self,
        x: Any,
        y: Any,
        lengths: ArrayLike | None,
        sample_weight: ArrayLike | None,
        *,
        dtype: str,
        integer_inputs: bool = False,
    ) -> None:
        self._dtype = np.dtype(dtype)
        self._integer_inputs = integer_inputs
        self.x = _as_samples(x, "x")
        if len(self.x) == 0:
            raise ShapeError("x has no samples")
        self.y = None if y is None else _as_samples(y, "y")
        try:
            self.sample_weight = None if sample_weight is None else np.atleast_1d(sample_weight)
        except ValueError as error:  # sequences of different lengths
            raise ShapeError(
                "sample_weight must be one array of shape (samples,), (samples, steps) or that of "
                "the unreduced loss; pad weights of steps with recurrust.data.pad_sequences"
            ) from error
        if self.sample_weight is not None and self.sample_weight.dtype.kind not in "fiub":
            raise DtypeError(
                f"sample_weight must hold real numbers, got dtype {self.sample_weight.dtype}"
            )
        self.lengths: NDArray[np.int64] | None
        if isinstance(self.x, list):
            if lengths is not None:
                raise ConfigError(
                    "lengths can't be given for a list of sequences, which have their own"
                )
            self.lengths = np.array([len(sequence) for sequence in self.x], dtype=np.int64)
        else:
            self.lengths = None if lengths is None else _as_lengths(lengths, self.x.shape)
        for name, values in (("y", self.y), ("sample_weight", self.sample_weight)):
            if values is not None and len(values) != len(self.x):
                raise ShapeError(
                    f"x has {len(self.x)} samples, but {name} has {len(values)}: "
                    "there must be one for each"
                )
        if isinstance(self.y, list):
            self._require_equal_steps(self.y)

    def _require_equal_steps(self, y: list[NDArray[Any]]) -> None:
        """Raise unless each target sequence is as long as its input sequence."""
        if self.lengths is None:
            raise ShapeError("y holds sequences of different lengths, but x is one array")
        for index, (sequence, steps) in enumerate(zip(y, self.lengths, strict=True)):
            if len(sequence) != steps:
                raise ShapeError(f"x[{index}] has {steps} steps, but y[{index}] {len(sequence)}")

    def __len__(self) -> int:
        return len(self.x)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one input; of the longest, where lengths differ."""
        if isinstance(self.x, list):
            return max((sequence.shape for sequence in self.x), key=lambda shape: shape[0])
        return self.x.shape[1:]

    def batch(self, rows: Rows) -> Batch:
        """Gather some samples; a slice of an array that needs no conversion is a view."""
        x, lengths = self._gather(self.x, rows)
        if x.dtype.kind == "f" or not self._integer_inputs:
            x = x.astype(self._dtype, copy=False)
        if lengths is None and self.lengths is not None:
            lengths = self.lengths[rows]
        y = None
        if self.y is not None:
            y = self._gather(self.y, rows)[0]
            if y.dtype.kind == "f":
                y = y.astype(self._dtype, copy=False)
        weight = None
        if self.sample_weight is not None:
            weight = self.sample_weight[rows].astype(self._dtype, copy=False)
            if isinstance(self.y, list) and weight.ndim > 1:  # one for each step of the longest
                weight = weight[:, : x.shape[1]]
        ragged = isinstance(self.x, list) and y is not None
        return Batch(x, y, lengths, weight, isinstance(self.y, list) if ragged else None)

    @staticmethod
    def _gather(
        values: NDArray[Any] | list[NDArray[Any]], rows: Rows
    ) -> tuple[NDArray[Any], NDArray[np.int64] | None]:
        if not isinstance(values, list):
            return values[rows], None
        chosen = values[rows] if isinstance(rows, slice) else [values[row] for row in rows]
        return pad_sequences(chosen)

    def split(self, first: int) -> tuple[Samples, Samples]:
        """Return the first samples, and those after them."""
        return self._part(slice(first)), self._part(slice(first, None))

    def _part(self, rows: slice) -> Samples:
        part = object.__new__(Samples)
        part._dtype = self._dtype
        part._integer_inputs = self._integer_inputs
        part.x = self.x[rows]
        part.y = None if self.y is None else self.y[rows]
        part.lengths = None if self.lengths is None else self.lengths[rows]
        part.sample_weight = None if self.sample_weight is None else self.sample_weight[rows]
        return part

    def check_finite(self, prefix: str = "") -> None:
        """Raise `NonFiniteError` where inputs, targets or weights are not finite for the network.

        Steps past a sample's length are not looked at.
        """
        for name, values in (("x", self.x), ("y", self.y), ("sample_weight", self.sample_weight)):
            if values is None:
                continue
            label = prefix + name
            if isinstance(values, list):
                for row, sequence in enumerate(values):
                    require_finite(sequence, label, dtype=self._dtype, row=row)
                continue
            per_step = values.ndim > 1 and values.shape[1:2] == self.sample_shape[:1]
            lengths = self.lengths if per_step else None
            require_finite(values, label, lengths=lengths, dtype=self._dtype)


def samples_for(
    network: Sequential,
    x: Any,
    y: Any,
    lengths: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
) -> Samples:
    """Return samples for a network, checked as far as it need not run for it."""
    first = network[0]
    takes_indices = isinstance(first, _core.Embedding)
    takes_features = isinstance(first, _core.Module) and not takes_indices
    samples = Samples(
        x, y, lengths, sample_weight, dtype=network.dtype, integer_inputs=not takes_features
    )
    shape = (len(samples), *samples.sample_shape)
    if takes_indices:
        if network.recurrent and len(shape) != 2:
            raise ShapeError(
                "x must have shape (samples, steps) for a recurrent model of indices, got "
                f"{len(shape)} axes: {shape}"
            )
        return samples
    if len(shape) < 2:
        raise ShapeError(f"x must have shape (samples, features), got {shape}")
    if takes_features and network.recurrent and len(shape) != 3:
        raise ShapeError(
            "x must have shape (samples, steps, features) for a recurrent model, got "
            f"{len(shape)} axes: {shape}"
            + ("; x[..., numpy.newaxis] has one feature" if len(shape) == 2 else "")
        )
    return samples


def _as_samples(data: Any, name: str) -> NDArray[Any] | list[NDArray[Any]]:
    """Return one array, or a list of arrays if they differ in their number of steps."""
    try:
        array = np.asarray(data)
    except ValueError:  # sequences of different lengths
        array = None
    if array is not None and array.dtype != object:
        if array.dtype.kind not in "fiub":
            raise DtypeError(f"{name} must hold real numbers, got dtype {array.dtype}")
        if array.ndim == 0:
            raise ShapeError(f"{name} must have samples on axis 0, got a single number")
        return array
    if array is not None and array.ndim != 1:
        raise DtypeError(
            f"{name} must hold numbers, got dtype object (a table of mixed columns?): "
            "convert it to one numeric dtype"
        )
    sequences = []
    for index, sequence in enumerate(data):
        try:
            sequences.append(np.asarray(sequence))
        except ValueError as error:  # different lengths again
            raise ShapeError(
                f"{name}[{index}] must be one array of shape (steps, ...), but its own entries "
                "have different shapes"
            ) from error
    for index, sequence in enumerate(sequences):
        if sequence.dtype.kind not in "fiub":
            raise DtypeError(f"{name}[{index}] must hold real numbers, got {sequence.dtype}")
        if sequence.ndim == 0:
            raise ShapeError(f"{name}[{index}] must have shape (steps, ...), got a single number")
        if sequence.shape[1:] != sequences[0].shape[1:]:
            raise ShapeError(
                f"{name} must be alike but for the number of steps: {name}[0] has shape "
                f"{sequences[0].shape}, {name}[{index}] has shape {sequence.shape}"
            )
    return sequences


def _as_lengths(lengths: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.int64]:
    array = np.asarray(lengths)
    if array.dtype.kind not in "iu":
        raise DtypeError(f"lengths must hold integers, got dtype {array.dtype}")
    if array.shape != shape[:1]:
        raise ShapeError(
            f"lengths must have shape ({shape[0]},), one for each sample, got {array.shape}"
        )
    if len(shape) < 2:
        raise ShapeError(f"lengths need an x with steps on axis 1, got shape {shape}")
    if array.min() < 0 or array.max() > shape[1]:
        worst = int(array.min()) if array.min() < 0 else int(array.max())
        raise ShapeError(f"lengths must be between 0 and the {shape[1]} steps of x, got {worst}")
    return array.astype(np.int64)
