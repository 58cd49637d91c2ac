"""Layers one after the other."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
    NamedTuple,
    Protocol,
    TypeVar,
    overload,
    runtime_checkable,
)

import numpy as np

from recurrust import _core
from recurrust.exceptions import ConfigError, DtypeError, ShapeError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from recurrust._core import Parameter

__all__ = ["Layer", "Sequential"]

_Value = TypeVar("_Value")


@runtime_checkable
class Layer(Protocol):
    """What a layer must offer to be used in `Sequential` and `Trainer`.

    `forward_with_cache(x)` returns what the call returns, then a cache for `backward`. A layer
    whose call returns `(y, state)` is recurrent: it takes `state`, its `forward_with_cache`
    returns `(y, state, cache)`, and its `backward(dy, dstate, *, cache)` returns `(dx, dstate)`;
    that of others, `backward(dy, *, cache)`, returns `dx`. `lengths` and `mask` are passed to
    layers whose `forward_with_cache` takes them, `input_grad` to those whose `backward` does.
    """

    def __call__(self, x: Any, /) -> Any:
        """Return the output for `x`."""

    @property
    def forward_with_cache(self) -> Callable[..., Any]:
        """Do as the call does, and return a cache as well."""

    @property
    def backward(self) -> Callable[..., Any]:
        """Add to the parameters' gradients and return that of the input."""

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Yield the name of each parameter and the parameter, always the same objects."""

    def train(self) -> Any:
        """Switch to training mode."""

    def eval(self) -> Any:
        """Switch to evaluation mode."""


class _Cache(NamedTuple):
    """What `Sequential.backward` needs: each layer's cache, and which layers had a state."""

    layers: tuple[Any, ...]
    recurrent: tuple[bool, ...]


def _keywords(function: Callable[..., Any], among: frozenset[str]) -> frozenset[str]:
    """Return which of the keywords `among` a function accepts."""
    parameters = inspect.signature(function).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return among
    return among & parameters.keys()


class Sequential:
    """A network of layers, each working on the output of the one before.

    Parameters
    ----------
    *layers : Layer
        At least one; layers of recurrust, or of your own (see `recurrust.sequential.Layer`).

    Raises
    ------
    ConfigError
        If there is no layer, one occurs twice, or layers disagree on `batch_first` or dtype.
    DtypeError
        If an argument is not a layer.

    Examples
    --------
    >>> import numpy as np, recurrust as rr
    >>> model = rr.Sequential(rr.LSTM(3, 8, batch_first=True), rr.Linear(8, 2))
    >>> model(np.zeros((4, 10, 3), np.float32)).shape
    (4, 10, 2)
    """

    def __init__(self, *layers: Layer) -> None:
        if not layers:
            raise ConfigError("Sequential needs at least one layer")
        seen: set[int] = set()
        for index, layer in enumerate(layers):
            if isinstance(layer, Sequential):
                raise ConfigError(
                    f"layer {index} is a Sequential: pass its layers, as in Sequential(*inner, ...)"
                )
            if isinstance(layer, type) or not isinstance(layer, Layer):
                raise DtypeError(
                    f"layer {index} must be a layer (with __call__, forward_with_cache, backward, "
                    f"named_parameters, train and eval), got {layer!r}"
                )
            if id(layer) in seen:
                raise ConfigError(f"layer {index} occurs twice; make a copy with copy.deepcopy")
            seen.add(id(layer))
        self._layers = layers
        self._recurrent = any(hasattr(layer, "batch_first") for layer in layers)
        self._forward_keywords = tuple(
            _keywords(layer.forward_with_cache, frozenset({"state", "lengths", "mask"}))
            for layer in layers
        )
        self._takes_input_grad = tuple(
            bool(_keywords(layer.backward, frozenset({"input_grad"}))) for layer in layers
        )
        self._batch_first = self._require_agreement(
            "batch_first", [_batch_first_of(layer) for layer in layers]
        )
        self._dtype = self._require_agreement("dtype", [_dtype_of(layer) for layer in layers])

    def _require_agreement(self, option: str, values: Sequence[_Value | None]) -> _Value | None:
        """Return the value of all that are not None; raise if they differ."""
        known = [(index, value) for index, value in enumerate(values) if value is not None]
        for index, value in known[1:]:
            first, expected = known[0]
            if value != expected:
                raise ConfigError(
                    f"layers must agree on {option}: {self._label(first)} has {option}="
                    f"{expected!r}, {self._label(index)} has {option}={value!r}"
                )
        return known[0][1] if known else None

    def _label(self, index: int) -> str:
        return f"layer {index} ({type(self._layers[index]).__name__})"

    @property
    def batch_first(self) -> bool:
        """Whether sequences have shape (batch, steps, features); False without recurrent layer."""
        return self._batch_first or False

    @property
    def recurrent(self) -> bool:
        """Whether one of the layers goes over steps (has `batch_first`)."""
        return self._recurrent

    @property
    def dtype(self) -> str:
        """The parameters' dtype, "float32" or "float64"; "float32" without parameters."""
        return self._dtype or "float32"

    @property
    def training(self) -> bool:
        """Whether every layer is in training mode."""
        return all(getattr(layer, "training", True) for layer in self._layers)

    def train(self) -> Sequential:
        """Put every layer into training mode and return the network."""
        for layer in self._layers:
            layer.train()
        return self

    def eval(self) -> Sequential:
        """Put every layer into evaluation mode and return the network."""
        for layer in self._layers:
            layer.eval()
        return self

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Yield each parameter's name, such as "0.weight_ih_l0", and the parameter."""
        for index, layer in enumerate(self._layers):
            for name, parameter in layer.named_parameters():
                yield f"{index}.{name}", parameter

    def parameters(self) -> Iterator[Parameter]:
        """Yield every parameter, in the order of the layers."""
        for layer in self._layers:
            for _, parameter in layer.named_parameters():
                yield parameter

    def zero_grad(self) -> None:
        """Set every gradient to zero."""
        _core.zero_grad_(self.parameters())

    @property
    def num_parameters(self) -> int:
        """How many numbers the network learns."""
        return sum(parameter.data.size for parameter in self.parameters())

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """Return a copy of every parameter's values, by name."""
        return {name: parameter.data.copy() for name, parameter in self.named_parameters()}

    def load_state_dict(self, mapping: Mapping[str, ArrayLike], strict: bool = True) -> None:
        """Set the parameters from a mapping such as `state_dict` returns.

        Parameters
        ----------
        mapping : mapping of str to array_like
            Values by parameter name; views of this network's own weights will do.
        strict : bool, default True
            Whether every parameter must occur and nothing else may. If False, missing and
            unknown names are passed over; shapes must fit in any case.

        Raises
        ------
        ShapeError
            If names or shapes differ: all differences are listed and nothing is changed.
        DtypeError
            If `mapping` is not a mapping, or nothing is wrong but that values are not real
            numbers; nothing is changed.
        """
        if not isinstance(mapping, Mapping):
            raise DtypeError(f"mapping must map names of parameters to arrays, got {mapping!r:.80}")
        parameters = dict(self.named_parameters())
        arrays: dict[str, NDArray[Any]] = {}
        differences: list[str] = []
        wrong_dtypes: list[str] = []
        for name, parameter in parameters.items():
            if name not in mapping:
                if strict:
                    differences.append(f"{name}: missing")
                continue
            try:
                array = np.asarray(mapping[name])
            except ValueError:  # rows of different lengths
                differences.append(f"{name}: expected {parameter.shape}, got no regular array")
                continue
            if array.dtype.kind not in "fiub":
                wrong_dtypes.append(f"{name}: expected real numbers, got dtype {array.dtype}")
                continue
            if array.shape != parameter.shape:
                differences.append(f"{name}: expected {parameter.shape}, got {array.shape}")
                continue
            # A copy of each before the first is written: they may be views of the parameters.
            arrays[name] = np.array(array, dtype=parameter.dtype)
        if strict:
            differences += [
                f"{name!r}: there is no such parameter"
                for name in mapping
                if name not in parameters
            ]
        if differences or wrong_dtypes:
            listed = "\n  ".join(differences + wrong_dtypes)
            error = ShapeError if differences else DtypeError
            raise error(f"the mapping doesn't fit, nothing was changed:\n  {listed}")
        for name, array in arrays.items():
            parameters[name].assign(array)

    def astype(self, dtype: str) -> Sequential:
        """Return a copy of the network with another dtype.

        Parameters
        ----------
        dtype : {"float32", "float64"}
            The parameters' new dtype.

        Raises
        ------
        ConfigError
            If a layer can't be converted (has no method `astype`).
        """
        for index, layer in enumerate(self._layers):
            if not hasattr(layer, "astype"):
                raise ConfigError(f"{self._label(index)} has no method astype")
        return Sequential(*(layer.astype(dtype) for layer in self._layers))  # type: ignore[attr-defined]

    def stream(self, batch_size: int = 1) -> _core.Stream:
        """Return a copy of the network for one step at a time, with the weights it has now.

        Parameters
        ----------
        batch_size : int, default 1
            Sequences side by side, 1 or more.

        Returns
        -------
        Stream
            Its `step` gives, step by step, what the network gives for whole sequences in
            evaluation mode. Recurrent layers do so bit for bit; sums of a `Linear` may be rounded
            differently. Its `state` is a tuple with one entry per layer, None for those that
            have no state. Where an `Embedding` comes first, a step takes integers.

        Raises
        ------
        ConfigError
            If a layer is bidirectional, runs in reverse or has `return_sequences=False`; if a
            layer is one of your own; if an `Embedding` isn't the first; if the layers' sizes don't
            fit each other; if `batch_size` is less than 1.
        DtypeError
            If `batch_size` is not an integer.
        MemoryError
            If the states don't fit.

        Examples
        --------
        >>> import numpy as np, recurrust as rr
        >>> model = rr.Sequential(rr.LSTM(3, 8), rr.Linear(8, 2))
        >>> stream = model.stream()
        >>> for x in np.zeros((10, 3), np.float32):
        ...     y = stream.step(x)
        >>> y.shape
        (2,)
        """
        return _core.stream(self._layers, batch_size)

    @property
    def config(self) -> dict[str, Any]:
        """The kind and the constructor's keywords of every layer: {"layers": [...]}.

        A layer without `config` (one of your own) is described by its kind alone.
        """
        return {
            "layers": [
                {"kind": type(layer).__name__, "config": getattr(layer, "config", {})}
                for layer in self._layers
            ]
        }

    @overload
    def __call__(
        self,
        x: Any,
        lengths: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        *,
        state: Sequence[Any] | None = None,
        return_state: Literal[False] = False,
    ) -> NDArray[Any]: ...

    @overload
    def __call__(
        self,
        x: Any,
        lengths: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        *,
        state: Sequence[Any] | None = None,
        return_state: Literal[True],
    ) -> tuple[NDArray[Any], list[Any]]: ...

    def __call__(
        self,
        x: Any,
        lengths: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        *,
        state: Sequence[Any] | None = None,
        return_state: bool = False,
    ) -> NDArray[Any] | tuple[NDArray[Any], list[Any]]:
        """Run the network.

        Parameters
        ----------
        x : ndarray
            Shape (batch, steps, features) if `batch_first`, else (steps, batch, features); or
            what the first layer takes: an `Embedding` takes integers without the axis of features.
        lengths : array_like of int, optional
            Shape (batch,): valid steps of each sequence, for the layers that take it.
        mask : array_like of bool, optional
            Which steps are valid, in the layout of `x` without features, for the layers that
            take it.
        state : sequence, optional
            One initial state per layer, None for zeros and for layers that have no state.
        return_state : bool, default False
            Whether to return the final states as well.

        Returns
        -------
        y : ndarray
            The output of the last layer. Sequences go no further once a layer has returned one
            output per sequence; neither do `lengths` and `mask`.
        states : list
            One final state per layer, None for those that have none; only if `return_state`.

        Raises
        ------
        ConfigError
            If `state` has not one entry per layer, or one for a layer that has no state.
        """
        y, states, _ = self._forward(x, lengths, mask, state, caching=False)
        return (y, states) if return_state else y

    @overload
    def forward_with_cache(
        self,
        x: Any,
        lengths: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        *,
        state: Sequence[Any] | None = None,
        return_state: Literal[False] = False,
    ) -> tuple[NDArray[Any], object]: ...

    @overload
    def forward_with_cache(
        self,
        x: Any,
        lengths: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        *,
        state: Sequence[Any] | None = None,
        return_state: Literal[True],
    ) -> tuple[NDArray[Any], list[Any], object]: ...

    def forward_with_cache(
        self,
        x: Any,
        lengths: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        *,
        state: Sequence[Any] | None = None,
        return_state: bool = False,
    ) -> tuple[NDArray[Any], object] | tuple[NDArray[Any], list[Any], object]:
        """Run the network and keep what `backward` needs.

        Parameters
        ----------
        x, lengths, mask, state, return_state
            As for calling the network.

        Returns
        -------
        y : ndarray
            The output of the last layer.
        states : list
            One final state per layer; only if `return_state`.
        cache : object
            To be passed to `backward`, as often as wanted while the weights stay the same.
        """
        y, states, cache = self._forward(x, lengths, mask, state, caching=True)
        return (y, states, cache) if return_state else (y, cache)

    def _forward(
        self,
        x: Any,
        lengths: ArrayLike | None,
        mask: ArrayLike | None,
        state: Sequence[Any] | None,
        *,
        caching: bool,
    ) -> tuple[Any, list[Any], _Cache]:
        given = self._per_layer("state", state)
        optional = {"lengths": lengths, "mask": mask}
        optional = {name: value for name, value in optional.items() if value is not None}
        states: list[Any] = []
        caches: list[Any] = []
        recurrent: list[bool] = []
        y = x
        for layer, keywords, initial in zip(
            self._layers, self._forward_keywords, given, strict=True
        ):
            arguments: dict[str, Any] = {
                name: value for name, value in optional.items() if name in keywords
            }
            if initial is not None:
                arguments["state"] = initial
            previous = y
            result: Any
            if caching:
                *result, cache = layer.forward_with_cache(y, **arguments)
                caches.append(cache)
            else:
                result = layer(y, **arguments)
                if not isinstance(result, tuple):
                    result = (result,)
            y = result[0]
            recurrent.append(len(result) == 2)
            states.append(result[1] if len(result) == 2 else None)
            if optional and np.ndim(y) < np.ndim(previous):
                optional = {}
        return y, states, _Cache(tuple(caches), tuple(recurrent))

    def _per_layer(self, name: str, values: Sequence[Any] | None) -> Sequence[Any]:
        """Check that there is one entry per layer, and one only where there is a state."""
        if values is None:
            return [None] * len(self._layers)
        if len(values) != len(self._layers):
            raise ConfigError(
                f"{name} must have one entry per layer ({len(self._layers)}), got {len(values)}"
            )
        for index, value in enumerate(values):
            if value is not None and "state" not in self._forward_keywords[index]:
                raise ConfigError(f"{name}[{index}] must be None: {self._label(index)} has none")
        return values

    @overload
    def backward(
        self, dy: NDArray[Any], *, cache: object, input_grad: bool = True, dstates: None = None
    ) -> NDArray[Any] | None: ...

    @overload
    def backward(
        self, dy: NDArray[Any], *, cache: object, input_grad: bool = True, dstates: Sequence[Any]
    ) -> tuple[NDArray[Any] | None, list[Any]]: ...

    def backward(
        self,
        dy: NDArray[Any],
        *,
        cache: object,
        input_grad: bool = True,
        dstates: Sequence[Any] | None = None,
    ) -> NDArray[Any] | tuple[NDArray[Any] | None, list[Any]] | None:
        """Go backwards through the network, adding to the parameters' gradients.

        Parameters
        ----------
        dy : ndarray
            The gradient of the output.
        cache : object
            From `forward_with_cache`.
        input_grad : bool, default True
            Whether the gradient of `x` is wanted.
        dstates : sequence, optional
            One gradient per layer of its final state, None for zeros.

        Returns
        -------
        dx : ndarray or None
            The gradient of `x`; None if `input_grad` is False, or `x` are indices.
        dstates : list
            One gradient per layer of its initial state, None for layers that have none; only if
            `dstates` was passed.

        Raises
        ------
        ConfigError
            If `dstates` has not one entry per layer, or one for a layer that has no state.
        DtypeError
            If `cache` is not from `forward_with_cache` of a network with as many layers.
        StateError
            If the weights have changed since the cache was made. As with every other error, the
            gradients are then as they were.
        """
        if not isinstance(cache, _Cache) or len(cache.layers) != len(self._layers):
            raise DtypeError(
                f"cache must come from forward_with_cache of this network, got {cache!r:.80}"
            )
        final = self._per_layer("dstates", dstates)
        initial: list[Any] = [None] * len(self._layers)
        # Each layer keeps its gradients if its own call fails; if one further down fails, those
        # above have been added to already.
        undo: list[tuple[Parameter, NDArray[Any]]] = []
        gradient: Any = dy
        try:
            for index in reversed(range(len(self._layers))):
                layer = self._layers[index]
                if index > 0:
                    undo += [
                        (parameter, parameter.grad.copy())
                        for _, parameter in layer.named_parameters()
                    ]
                arguments = {"cache": cache.layers[index]}
                if self._takes_input_grad[index]:
                    arguments["input_grad"] = input_grad or index > 0
                if cache.recurrent[index]:
                    gradient, initial[index] = layer.backward(gradient, final[index], **arguments)
                else:
                    gradient = layer.backward(gradient, **arguments)
        except BaseException:
            for parameter, before in undo:
                parameter.grad[...] = before
            raise
        dx = gradient if input_grad else None
        return dx if dstates is None else (dx, initial)

    def __len__(self) -> int:
        return len(self._layers)

    @overload
    def __getitem__(self, index: int) -> Any: ...

    @overload
    def __getitem__(self, index: slice) -> Sequential: ...

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return Sequential(*self._layers[index])
        return self._layers[index]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._layers)

    def __repr__(self) -> str:
        lines = [f"({index}) {layer!r}" for index, layer in enumerate(self._layers)]
        body = textwrap.indent("\n".join(lines), "  ")
        return f"Sequential(\n{body}\n)  # {self.num_parameters:,} parameters, {self.dtype}"


def _batch_first_of(layer: Layer) -> bool | None:
    """Return the layout that a layer wants, or None if it does not go over steps."""
    value = getattr(layer, "batch_first", None)
    return None if value is None else bool(value)


def _dtype_of(layer: Layer) -> str | None:
    """Return the dtype of a layer's parameters, or None if it has none."""
    return next((parameter.dtype.name for _, parameter in layer.named_parameters()), None)
