"""The rates and momenta of an optimizer's parameter groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from recurrust._arguments import is_real, require_between, require_list, require_object
from recurrust.exceptions import ConfigError

__all__ = [
    "Optimizer",
    "per_group",
    "read_rates",
    "require_momenta",
    "write",
]


class Optimizer(Protocol):
    """What a schedule needs of an optimizer: one of recurrust, or your own.

    If it also has `param_groups`, mappings that each have an "lr", these are written to.
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


def write(optimizer: Optimizer, rates: Sequence[float], momenta: Sequence[float] | None) -> None:
    """Set the rate of each group, and the momentum unless there is None; all or nothing.

    Raises
    ------
    ConfigError
        If a rate is negative or not finite, or if an optimizer can't have a momentum.
    DtypeError
        If a rate is no number.
    """
    rates = [require_between("learning rate", rate, 0) for rate in rates]
    groups = _groups(optimizer)
    if groups is None:
        optimizer.lr = rates[0]
        return
    changes: list[dict[str, Any]] = [{"lr": rate} for rate in rates]
    if momenta is not None:
        for group, change, momentum in zip(groups, changes, momenta, strict=True):
            change.update(_momentum(group, momentum))
    _change(groups, changes)


def require_momenta(optimizer: Optimizer, *extremes: Sequence[float]) -> None:
    """Raise unless every group can have the momenta.

    Raises
    ------
    ConfigError
        If a group has no momentum, or can't have such a one.
    """
    groups = _groups(optimizer)
    if groups is None or not all("momentum" in group or "betas" in group for group in groups):
        raise ConfigError("cycle_momentum needs an optimizer whose groups have momentum or betas")
    names = ["betas" if "betas" in group else "momentum" for group in groups]
    before = [{name: group[name]} for name, group in zip(names, groups, strict=True)]
    # Only the optimizer knows what it can have: it is asked now rather than amid a training.
    for momenta in extremes:
        _change(groups, [_momentum(*pair) for pair in zip(groups, momenta, strict=True)])
        _change(groups, before)


def _change(groups: Sequence[Any], changes: Sequence[dict[str, Any]]) -> None:
    """Change options of each group, all or nothing."""
    before = [
        {name: group[name] for name in change}
        for group, change in zip(groups, changes, strict=True)
    ]
    try:
        for group, change in zip(groups, changes, strict=True):
            group.update(change)
    except BaseException:
        for group, options in zip(groups, before, strict=True):
            group.update(options)
        raise


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


def _momentum(group: Any, momentum: float) -> dict[str, Any]:
    """Return the option that makes it a group's momentum: itself, or the first of "betas"."""
    if "betas" in group:
        return {"betas": (momentum, *group["betas"][1:])}
    return {"momentum": momentum}
