"""The groups of an optimizer's parameters, as mappings."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from recurrust._core import Optimizer

__all__ = ["ParameterGroup"]


class ParameterGroup(MutableMapping[str, Any]):
    """A view of a group: its options and `"params"`; `Optimizer.param_groups` says more.

    It keeps its optimizer, which alone knows the options.

    Parameters
    ----------
    optimizer : Optimizer
        One of recurrust.
    index : int
        The group's place among the optimizer's groups, from 0.

    Raises
    ------
    ConfigError
        If there is no such group.
    """

    __slots__ = ("_index", "_optimizer")

    def __init__(self, optimizer: Optimizer, index: int) -> None:
        self._optimizer = optimizer
        self._index = index
        self._options()

    def __getitem__(self, name: str) -> Any:
        return self._options()[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self._optimizer._change_group(self._index, {name: value})

    def __delitem__(self, name: str) -> NoReturn:
        raise TypeError("the options of a parameter group can't be deleted")

    def __iter__(self) -> Iterator[str]:
        return iter(self._options())

    def __len__(self) -> int:
        return len(self._options())

    def update(self, other: Any = (), /, **options: Any) -> None:
        """Change several options at once, all or nothing.

        Parameters
        ----------
        other : mapping or iterable of pairs
            Names and values.
        **options
            More of them.

        Raises
        ------
        ConfigError, DtypeError
            If there is no such option, or if it can't have that value.
        """
        self._optimizer._change_group(self._index, dict(other, **options))

    def __repr__(self) -> str:
        options = self._options()
        parts = [f"{len(options.pop('params'))} parameters"]
        parts += [f"{name}={value!r}" for name, value in options.items()]
        return f"ParameterGroup({', '.join(parts)})"

    def _options(self) -> dict[str, Any]:
        """Return what the group has now, as a copy."""
        return self._optimizer._group(self._index)
