"""Where batches come from, epoch by epoch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from recurrust import _core
from recurrust.exceptions import ConfigError, DtypeError, RecurrustError, ShapeError
from recurrust.training.samples import samples_for

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recurrust.sequential import Sequential
    from recurrust.training.samples import Batch, Samples

__all__ = ["BATCH_KEYS", "Batches", "GivenBatches", "SampleBatches", "slices"]

# What a mapping that holds samples may have.
BATCH_KEYS = ("x", "y", "lengths", "sample_weight")


class Batches(Protocol):
    """What an epoch goes through."""

    @property
    def description(self) -> Mapping[str, Any]:
        """What must be the same when an epoch is resumed."""

    def epoch(self, number: int, done: int) -> Iterator[Batch]:
        """Yield the batches of an epoch, but for the first ones if these are done."""


class SampleBatches:
    """Batches cut from a data set; their order follows from the seed and the epoch alone."""

    def __init__(self, samples: Samples, size: int, seed: int | None) -> None:
        self._samples = samples
        self._size = size
        self._seed = seed

    @property
    def description(self) -> Mapping[str, Any]:
        """What must be the same when an epoch is resumed."""
        return {
            "samples": len(self._samples),
            "batch_size": self._size,
            "shuffle": self._seed is not None,
        }

    def epoch(self, number: int, done: int) -> Iterator[Batch]:
        """Yield the batches of an epoch, but for the first ones if these are done."""
        count = len(self._samples)
        order: NDArray[Any] | None = None
        if self._seed is not None:
            order = _core.shuffled(count, self._seed, number)
        for rows in slices(count, self._size, done):
            yield self._samples.batch(rows if order is None else order[rows])


class GivenBatches:
    """Batches that the user hands over one by one, in the user's order.

    Parameters
    ----------
    source : iterable, or callable that returns an iterator
        Gone through, or called, in every epoch.
    network : Sequential
        What the batches are for.
    check_finite : bool
        Whether to look for values that are not finite before a batch is used.

    Raises
    ------
    DtypeError
        If `source` is neither.
    """

    description: Mapping[str, Any] = {"samples": "batches"}

    def __init__(self, source: Any, network: Sequential, *, check_finite: bool) -> None:
        if hasattr(source, "__array__"):
            raise DtypeError("y is missing: only batches, which are pairs (x, y), have their own")
        if not isinstance(source, Iterable) and not callable(source):
            raise DtypeError(
                "x must be an array, a list of sequences, or, without y, an iterable of batches "
                f"or a function that returns one; got {source!r:.80}"
            )
        self._source = source
        self._network = network
        self._check_finite = check_finite

    def epoch(self, number: int, done: int) -> Iterator[Batch]:
        """Yield the batches of an epoch, but for the first ones if these are done."""
        source = self._source
        if not isinstance(source, Iterable):
            source = source()
            if not isinstance(source, Iterable):
                raise DtypeError(f"x() must return an iterable of batches, got {source!r:.80}")
        iterator = iter(source)
        count = 0
        for item in iterator:
            count += 1
            if count > done:
                yield self._batch(item, count - 1)
        if count == 0 and iterator is self._source:
            raise ConfigError(
                f"x has no batches left for epoch {number + 1}: an iterator such as a generator "
                "can be gone through only once. Pass a function that returns a new one for every "
                "epoch, or a list"
            )
        if count == 0:
            raise ShapeError(f"x has no batches in epoch {number + 1}")
        if count < done:
            raise ConfigError(
                f"x has {count} batches, but {done} were done in the epoch that is resumed: "
                "resume it with the same batches"
            )

    def _batch(self, item: Any, index: int) -> Batch:
        """Return a batch as the network takes it, checked."""
        try:
            samples = samples_for(self._network, **_parts(item))
            if self._check_finite:
                samples.check_finite()
        except RecurrustError as error:
            raise type(error)(f"batch {index}: {error}") from error
        return samples.batch(slice(None))


def slices(count: int, size: int, first: int = 0) -> Iterator[slice]:
    """Yield the rows of each batch, from that with the number `first` on."""
    for start in range(first * size, count, size):
        yield slice(start, min(start + size, count))


def _parts(item: Any) -> dict[str, Any]:
    """Return the parts of a batch by name."""
    if isinstance(item, Mapping):
        if not {"x", "y"} <= item.keys() <= set(BATCH_KEYS):
            raise ConfigError(
                "a mapping must have the keys x and y, and may have lengths and sample_weight; "
                f"got {sorted(map(str, item))}"
            )
        return dict(item)
    if isinstance(item, Sequence) and not isinstance(item, str) and len(item) == 2:
        return {"x": item[0], "y": item[1]}
    got = type(item).__name__
    if isinstance(item, Sequence) and not isinstance(item, str):
        got += f" of {len(item)} entries"
    raise DtypeError(
        f"must be a pair (x, y), or a mapping with the keys {', '.join(BATCH_KEYS)}; got {got}"
    )
