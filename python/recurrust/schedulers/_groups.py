"""The rates and momenta of an optimizer's parameter groups."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping, Sequence
from typing import Any, Protocol

from recurrust._arguments import is_real, require_between, require_list, require_object
from recurrust.exceptions import ConfigError

__all__ = [
    "Optimizer",
    "per_group",
    "read_rates",
    "require_momenta",
    "write_momenta",
    "write_rates",
]


class Optimizer(Protocol):
    """What a schedule needs of an optimizer: one of recurrust, or your own.

    If it also has `param_groups`, each group has its own "lr"; groups that can be written to, as
    PyTorch's, may have rates that differ.
    """

    lr: float


def read_rates(optimizer: Optimizer) -> list[float]:
    """Return the rate of each group.

    Raises
    ------
    DtypeError
        If it is no optimizer.
    """
    require_object("optimizer", optimizer, ("lr",), "rr.Adam(model.parameters())")
    groups = _groups(optimizer)
    return [optimizer.lr] if groups is None else [group["lr"] for group in groups]


def write_rates(optimizer: Optimizer, rates: Sequence[float]) -> None:
    """Set the rate of each group.

    Raises
    ------
    ConfigError
        If a rate is negative or not finite, or if rates differ where groups can't be written to.
    DtypeError
        If a rate is no number.
    """
    rates = [require_between("learning rate", rate, 0) for rate in rates]
    groups = _groups(optimizer)
    if groups is not None and _writable(groups):
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate
    elif len(set(rates)) == 1:
        optimizer.lr = rates[0]
    else:
        raise ConfigError(
            "optimizer has groups whose learning rates differ "
            f"({', '.join(f'{rate:g}' for rate in rates)}), and a schedule can't set them one by "
            "one: its param_groups are read-only. Give all groups the same rate"
        )


def require_momenta(optimizer: Optimizer) -> None:
    """Raise unless the momentum of every group can be set.

    Raises
    ------
    ConfigError
        If a group has no momentum, or can't be written to.
    """
    groups = _groups(optimizer)
    if groups is None or not all("momentum" in group or "betas" in group for group in groups):
        raise ConfigError("cycle_momentum needs an optimizer whose groups have momentum or betas")
    if not _writable(groups):
        raise ConfigError(
            "cycle_momentum needs an optimizer whose param_groups can be written to; those of "
            f"{type(optimizer).__name__} are read-only"
        )


def write_momenta(optimizer: Optimizer, momenta: Sequence[float]) -> None:
    """Set the momentum of each group: "momentum", or the first of "betas"."""
    for group, momentum in zip(_groups(optimizer) or (), momenta, strict=True):
        if "betas" in group:
            group["betas"] = (momentum, *group["betas"][1:])
        else:
            group["momentum"] = momentum


def per_group(name: str, value: Any, count: int) -> list[float]:
    """Return one number for each group, from a number for all or a list.

    Raises
    ------
    DtypeError
        If it is neither a number nor a list of numbers.
    ConfigError
        If a number is negative or not finite, or the list does not have one for each group.
    """
    if is_real(value):
        return [require_between(name, value, 0)] * count
    items = require_list(name, value, "numbers, or a number")
    values = [require_between(f"{name}[{index}]", item, 0) for index, item in enumerate(items)]
    if len(values) != count:
        raise ConfigError(f"{name} must have one number for each of {count} groups, got {values}")
    return values


def _groups(optimizer: Any) -> list[Any] | None:
    """Return the groups, or None if there are none that have rates."""
    groups = list(getattr(optimizer, "param_groups", ()))
    return groups if groups and all("lr" in group for group in groups) else None


def _writable(groups: Iterable[Any]) -> bool:
    return all(isinstance(group, MutableMapping) for group in groups)
