"""Loss and metrics of a data set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from recurrust.training.batches import slices
from recurrust.training.passes import measure
from recurrust.training.tally import Tally

if TYPE_CHECKING:
    from recurrust.metrics import Metric
    from recurrust.sequential import Sequential
    from recurrust.training.protocols import Loss
    from recurrust.training.samples import Samples

__all__ = ["evaluate"]


def evaluate(
    network: Sequential,
    loss: Loss,
    metrics: Mapping[str, Metric],
    samples: Samples,
    batch_size: int,
) -> dict[str, float]:
    """Return the loss and metrics of a data set, in evaluation mode."""
    network.eval()
    tally = Tally()
    for rows in slices(len(samples), batch_size):
        measured = measure(network, loss, samples.batch(rows))
        tally.add(measured, loss)
        if metrics:
            tally.keep([measured])
    return tally.result(metrics)
