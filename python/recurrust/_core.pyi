from collections.abc import Callable, Iterable, Iterator, Mapping
from os import PathLike
from typing import Any, Generic, Literal, TypeAlias, TypedDict, TypeVar, final, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray
from typing_extensions import Self, disjoint_base

from recurrust._parameter_group import ParameterGroup

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "BCEWithLogitsLoss",
    "CrossEntropyLoss",
    "Dropout",
    "DropoutCache",
    "Embedding",
    "EmbeddingCache",
    "GRUCell",
    "GaussianNLLLoss",
    "HuberLoss",
    "LSTMCell",
    "LayerNorm",
    "LayerNormCache",
    "Linear",
    "LinearCache",
    "Loss",
    "MAELoss",
    "MSELoss",
    "Module",
    "NAdam",
    "Optimizer",
    "Parameter",
    "PeepholeLSTMCell",
    "QuantileLoss",
    "RAdam",
    "RMSprop",
    "RNNCell",
    "RecurrentCache",
    "RecurrentCell",
    "RecurrentLayer",
    "SmoothL1Loss",
    "Stream",
    "Zoneout",
    "ZoneoutCache",
    "__version__",
    "build_info",
    "clip_grad_norm_",
    "clip_grad_value_",
    "get_num_threads",
    "get_rng_state",
    "input_copies",
    "manual_seed",
    "read_tensors",
    "set_num_threads",
    "set_rng_state",
    "shuffled",
    "stream",
    "write_tensors",
    "zero_grad_",
]

__version__: str

# float32 or float64, as the object's dtype says.
_Floats: TypeAlias = NDArray[np.floating[Any]]
_DtypeName: TypeAlias = Literal["float32", "float64"]
_Reduction: TypeAlias = Literal["mean", "sum", "none"]
# The states of a layer or cell as it gives them, as it takes them, and their gradients: those of an
# LSTM are pairs, those of the others single arrays.
_State = TypeVar("_State")
_StateLike = TypeVar("_StateLike")
_StateGradient = TypeVar("_StateGradient")
_Pair: TypeAlias = tuple[_Floats, _Floats]
_PairLike: TypeAlias = tuple[ArrayLike, ArrayLike]
_PairGradient: TypeAlias = tuple[ArrayLike | None, ArrayLike | None]
_Init: TypeAlias = (
    Literal["torch", "glorot", "orthogonal", "rust_lstm"]
    | Callable[[str, tuple[int, ...]], ArrayLike]
)
# Of all layers, or one for each.
_Rates: TypeAlias = float | list[float] | tuple[float, ...]
_Zoneout: TypeAlias = float | tuple[float, float] | list[float | tuple[float, float]]
_Params: TypeAlias = Iterable[Parameter] | Iterable[dict[str, Any]]

class _BuildInfo(TypedDict):
    version: str
    instruction_set: str
    num_threads: int
    profile: str

@final
class Parameter:
    def __new__(cls, array: ArrayLike, name: str = "") -> Self: ...
    @property
    def data(self) -> _Floats: ...
    @property
    def grad(self) -> _Floats: ...
    @property
    def name(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype[np.floating[Any]]: ...
    @property
    def version(self) -> int: ...
    def assign(self, array: ArrayLike) -> None: ...

@disjoint_base
class Module:
    @property
    def training(self) -> bool: ...
    @property
    def dtype(self) -> _DtypeName: ...
    @property
    def num_parameters(self) -> int: ...
    def train(self, mode: bool = True) -> Self: ...
    def eval(self) -> Self: ...
    def named_parameters(self) -> Iterator[tuple[str, Parameter]]: ...
    def parameters(self) -> Iterator[Parameter]: ...
    def zero_grad(self) -> None: ...
    def state_dict(self) -> dict[str, _Floats]: ...
    def load_state_dict(self, mapping: Mapping[str, ArrayLike], strict: bool = True) -> None: ...
    def astype(self, dtype: _DtypeName) -> Self: ...
    # Parameters by name.
    def __getattr__(self, name: str) -> _Floats: ...
    def __setattr__(self, name: str, value: Any, /) -> None: ...

@final
class RecurrentCache:
    @property
    def masks(self) -> dict[str, NDArray[Any]]: ...

@disjoint_base
class RecurrentLayer(Module, Generic[_State, _StateLike, _StateGradient]):
    @property
    def input_size(self) -> int: ...
    @property
    def hidden_size(self) -> int: ...
    @property
    def num_layers(self) -> int: ...
    @property
    def output_size(self) -> int: ...
    @property
    def batch_first(self) -> bool: ...
    @property
    def bidirectional(self) -> bool: ...
    @property
    def return_sequences(self) -> bool: ...
    @property
    def config(self) -> dict[str, Any]: ...
    def stream(self, batch_size: int = 1) -> Stream: ...
    def __call__(
        self,
        x: ArrayLike,
        state: _StateLike | None = None,
        *,
        lengths: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        resets: ArrayLike | None = None,
    ) -> tuple[_Floats, _State]: ...
    def forward_with_cache(
        self,
        x: ArrayLike,
        state: _StateLike | None = None,
        *,
        lengths: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        resets: ArrayLike | None = None,
    ) -> tuple[_Floats, _State, RecurrentCache]: ...
    @overload
    def backward(
        self,
        dy: ArrayLike | None = None,
        dstate: _StateGradient | None = None,
        *,
        cache: RecurrentCache,
        input_grad: Literal[True] = True,
    ) -> tuple[_Floats, _State]: ...
    @overload
    def backward(
        self,
        dy: ArrayLike | None = None,
        dstate: _StateGradient | None = None,
        *,
        cache: RecurrentCache,
        input_grad: Literal[False],
    ) -> tuple[None, _State]: ...
    @overload
    def backward(
        self,
        dy: ArrayLike | None = None,
        dstate: _StateGradient | None = None,
        *,
        cache: RecurrentCache,
        input_grad: bool = True,
    ) -> tuple[_Floats | None, _State]: ...

class LSTM(RecurrentLayer[_Pair, _PairLike, _PairGradient]):
    def __new__(
        cls,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bias: bool = True,
        batch_first: bool = False,
        bidirectional: bool = False,
        reverse: bool = False,
        merge_mode: Literal["concat", "sum", "average", "mul"] = "concat",
        return_sequences: bool = True,
        dropout: _Rates = 0.0,
        input_dropout: _Rates = 0.0,
        recurrent_dropout: _Rates = 0.0,
        output_dropout: _Rates = 0.0,
        update_dropout: _Rates = 0.0,
        weight_dropout: _Rates = 0.0,
        variational: bool = True,
        zoneout: _Zoneout = 0.0,
        zoneout_eval: Literal["expectation", "identity"] = "expectation",
        proj_size: int = 0,
        peephole: bool = False,
        coupled: bool = False,
        clip: float | None = None,
        layer_norm: bool = False,
        forget_bias: float | None = None,
        init: _Init = "torch",
        dtype: _DtypeName = "float32",
        seed: int | None = None,
    ) -> Self: ...

class GRU(RecurrentLayer[_Floats, ArrayLike, ArrayLike]):
    def __new__(
        cls,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bias: bool = True,
        batch_first: bool = False,
        bidirectional: bool = False,
        reverse: bool = False,
        merge_mode: Literal["concat", "sum", "average", "mul"] = "concat",
        return_sequences: bool = True,
        dropout: _Rates = 0.0,
        input_dropout: _Rates = 0.0,
        recurrent_dropout: _Rates = 0.0,
        output_dropout: _Rates = 0.0,
        update_dropout: _Rates = 0.0,
        weight_dropout: _Rates = 0.0,
        variational: bool = True,
        zoneout: _Rates = 0.0,
        zoneout_eval: Literal["expectation", "identity"] = "expectation",
        clip: float | None = None,
        layer_norm: bool = False,
        reset_after: bool = True,
        init: _Init = "torch",
        dtype: _DtypeName = "float32",
        seed: int | None = None,
    ) -> Self: ...

class RNN(RecurrentLayer[_Floats, ArrayLike, ArrayLike]):
    def __new__(
        cls,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bias: bool = True,
        batch_first: bool = False,
        bidirectional: bool = False,
        reverse: bool = False,
        merge_mode: Literal["concat", "sum", "average", "mul"] = "concat",
        return_sequences: bool = True,
        dropout: _Rates = 0.0,
        input_dropout: _Rates = 0.0,
        recurrent_dropout: _Rates = 0.0,
        output_dropout: _Rates = 0.0,
        update_dropout: _Rates = 0.0,
        weight_dropout: _Rates = 0.0,
        variational: bool = True,
        zoneout: _Rates = 0.0,
        zoneout_eval: Literal["expectation", "identity"] = "expectation",
        clip: float | None = None,
        layer_norm: bool = False,
        nonlinearity: Literal["tanh", "relu"] = "tanh",
        init: _Init = "torch",
        dtype: _DtypeName = "float32",
        seed: int | None = None,
    ) -> Self: ...

@disjoint_base
class RecurrentCell(Module, Generic[_State, _StateLike, _StateGradient]):
    @property
    def input_size(self) -> int: ...
    @property
    def hidden_size(self) -> int: ...
    @property
    def config(self) -> dict[str, Any]: ...
    def __call__(self, x: ArrayLike, state: _StateLike | None = None) -> _State: ...
    def forward_with_cache(
        self, x: ArrayLike, state: _StateLike | None = None
    ) -> tuple[_State, RecurrentCache]: ...
    @overload
    def backward(
        self,
        dstate: _StateGradient,
        *,
        cache: RecurrentCache,
        input_grad: Literal[True] = True,
    ) -> tuple[_Floats, _State]: ...
    @overload
    def backward(
        self, dstate: _StateGradient, *, cache: RecurrentCache, input_grad: Literal[False]
    ) -> tuple[None, _State]: ...
    @overload
    def backward(
        self, dstate: _StateGradient, *, cache: RecurrentCache, input_grad: bool = True
    ) -> tuple[_Floats | None, _State]: ...

class LSTMCell(RecurrentCell[_Pair, _PairLike, _PairGradient]):
    def __new__(
        cls,
        input_size: int,
        hidden_size: int,
        *,
        bias: bool = True,
        coupled: bool = False,
        clip: float | None = None,
        forget_bias: float | None = None,
        init: _Init = "torch",
        dtype: _DtypeName = "float32",
        seed: int | None = None,
    ) -> Self: ...

class PeepholeLSTMCell(RecurrentCell[_Pair, _PairLike, _PairGradient]):
    def __new__(
        cls,
        input_size: int,
        hidden_size: int,
        *,
        bias: bool = True,
        coupled: bool = False,
        clip: float | None = None,
        forget_bias: float | None = None,
        init: _Init = "torch",
        dtype: _DtypeName = "float32",
        seed: int | None = None,
    ) -> Self: ...

class GRUCell(RecurrentCell[_Floats, ArrayLike, ArrayLike]):
    def __new__(
        cls,
        input_size: int,
        hidden_size: int,
        *,
        bias: bool = True,
        reset_after: bool = True,
        clip: float | None = None,
        init: _Init = "torch",
        dtype: _DtypeName = "float32",
        seed: int | None = None,
    ) -> Self: ...

class RNNCell(RecurrentCell[_Floats, ArrayLike, ArrayLike]):
    def __new__(
        cls,
        input_size: int,
        hidden_size: int,
        *,
        bias: bool = True,
        nonlinearity: Literal["tanh", "relu"] = "tanh",
        clip: float | None = None,
        init: _Init = "torch",
        dtype: _DtypeName = "float32",
        seed: int | None = None,
    ) -> Self: ...

@final
class LinearCache: ...

@disjoint_base
class Linear(Module):
    def __new__(
        cls,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        dtype: _DtypeName = "float32",
        seed: int | None = None,
    ) -> Self: ...
    @property
    def in_features(self) -> int: ...
    @property
    def out_features(self) -> int: ...
    @property
    def config(self) -> dict[str, Any]: ...
    def __call__(self, x: ArrayLike) -> _Floats: ...
    def forward_with_cache(self, x: ArrayLike) -> tuple[_Floats, LinearCache]: ...
    @overload
    def backward(
        self, dy: ArrayLike, *, cache: LinearCache, input_grad: Literal[True] = True
    ) -> _Floats: ...
    @overload
    def backward(
        self, dy: ArrayLike, *, cache: LinearCache, input_grad: Literal[False]
    ) -> None: ...
    @overload
    def backward(
        self, dy: ArrayLike, *, cache: LinearCache, input_grad: bool = True
    ) -> _Floats | None: ...

@final
class EmbeddingCache: ...

@disjoint_base
class Embedding(Module):
    def __new__(
        cls,
        n: int,
        dim: int,
        *,
        padding_idx: int | None = None,
        dtype: _DtypeName = "float32",
        seed: int | None = None,
    ) -> Self: ...
    @property
    def n(self) -> int: ...
    @property
    def dim(self) -> int: ...
    @property
    def padding_idx(self) -> int | None: ...
    @property
    def config(self) -> dict[str, Any]: ...
    def __call__(self, x: ArrayLike) -> _Floats: ...
    def forward_with_cache(self, x: ArrayLike) -> tuple[_Floats, EmbeddingCache]: ...
    def backward(
        self, dy: ArrayLike, *, cache: EmbeddingCache, input_grad: bool = True
    ) -> None: ...

@final
class LayerNormCache: ...

@disjoint_base
class LayerNorm(Module):
    def __new__(
        cls,
        n: int,
        *,
        eps: float = 1e-5,
        dtype: _DtypeName = "float32",
        seed: int | None = None,
    ) -> Self: ...
    @property
    def n(self) -> int: ...
    @property
    def eps(self) -> float: ...
    @property
    def config(self) -> dict[str, Any]: ...
    def __call__(self, x: ArrayLike) -> _Floats: ...
    def forward_with_cache(self, x: ArrayLike) -> tuple[_Floats, LayerNormCache]: ...
    @overload
    def backward(
        self, dy: ArrayLike, *, cache: LayerNormCache, input_grad: Literal[True] = True
    ) -> _Floats: ...
    @overload
    def backward(
        self, dy: ArrayLike, *, cache: LayerNormCache, input_grad: Literal[False]
    ) -> None: ...
    @overload
    def backward(
        self, dy: ArrayLike, *, cache: LayerNormCache, input_grad: bool = True
    ) -> _Floats | None: ...

@final
class DropoutCache:
    @property
    def mask(self) -> _Floats | None: ...

@disjoint_base
class Dropout(Module):
    def __new__(
        cls, p: float = 0.5, variational: bool = False, *, batch_first: bool = False
    ) -> Self: ...
    @property
    def p(self) -> float: ...
    @property
    def variational(self) -> bool: ...
    # Raises AttributeError without `variational`.
    @property
    def batch_first(self) -> bool: ...
    @property
    def config(self) -> dict[str, Any]: ...
    def __call__(self, x: ArrayLike) -> _Floats: ...
    def forward_with_cache(self, x: ArrayLike) -> tuple[_Floats, DropoutCache]: ...
    @overload
    def backward(
        self, dy: ArrayLike, *, cache: DropoutCache, input_grad: Literal[True] = True
    ) -> _Floats: ...
    @overload
    def backward(
        self, dy: ArrayLike, *, cache: DropoutCache, input_grad: Literal[False]
    ) -> None: ...
    @overload
    def backward(
        self, dy: ArrayLike, *, cache: DropoutCache, input_grad: bool = True
    ) -> _Floats | None: ...

@final
class ZoneoutCache:
    @property
    def mask(self) -> NDArray[np.bool_] | tuple[NDArray[np.bool_], NDArray[np.bool_]] | None: ...

@disjoint_base
class Zoneout(Module):
    def __new__(
        cls,
        cell: float,
        hidden: float,
        *,
        zoneout_eval: Literal["expectation", "identity"] = "expectation",
    ) -> Self: ...
    @property
    def cell(self) -> float: ...
    @property
    def hidden(self) -> float: ...
    @property
    def zoneout_eval(self) -> Literal["expectation", "identity"]: ...
    @property
    def config(self) -> dict[str, Any]: ...
    # A tuple is a pair of states (h, c); whatever else is one state.
    @overload
    def __call__(self, old_state: _PairLike, new_state: _PairLike) -> _Pair: ...
    @overload
    def __call__(self, old_state: ArrayLike, new_state: ArrayLike) -> _Floats: ...
    @overload
    def forward_with_cache(
        self, old_state: _PairLike, new_state: _PairLike
    ) -> tuple[_Pair, ZoneoutCache]: ...
    @overload
    def forward_with_cache(
        self, old_state: ArrayLike, new_state: ArrayLike
    ) -> tuple[_Floats, ZoneoutCache]: ...
    @overload
    def backward(self, dstate: _PairLike, *, cache: ZoneoutCache) -> tuple[_Pair, _Pair]: ...
    @overload
    def backward(self, dstate: ArrayLike, *, cache: ZoneoutCache) -> tuple[_Floats, _Floats]: ...

@final
class Stream:
    @property
    def batch_size(self) -> int: ...
    @property
    def input_size(self) -> int: ...
    @property
    def output_size(self) -> int: ...
    @property
    def dtype(self) -> _DtypeName: ...
    # As the network's own: an entry, or a tuple with an entry a layer.
    @property
    def state(self) -> Any: ...
    @state.setter
    def state(self, value: Any) -> None: ...
    def step(self, x: ArrayLike, out: _Floats | None = None) -> _Floats: ...
    def reset(self, rows: ArrayLike | None = None) -> None: ...
    def clone(self) -> Stream: ...
    def __copy__(self) -> Stream: ...
    def __deepcopy__(self, memo: Any, /) -> Stream: ...

@disjoint_base
class Loss:
    @property
    def reduction(self) -> _Reduction: ...
    # An array with reduction "none".
    def __call__(
        self,
        pred: ArrayLike,
        target: ArrayLike,
        mask: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Any: ...
    def value_and_grad(
        self,
        pred: ArrayLike,
        target: ArrayLike,
        mask: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> tuple[Any, _Floats]: ...
    def total_weight(
        self,
        pred: ArrayLike,
        target: ArrayLike,
        mask: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> float: ...
    def __getnewargs_ex__(self) -> tuple[tuple[()], dict[str, Any]]: ...

class MSELoss(Loss):
    def __new__(cls, *, reduction: _Reduction = "mean") -> Self: ...

class MAELoss(Loss):
    def __new__(cls, *, reduction: _Reduction = "mean") -> Self: ...

class HuberLoss(Loss):
    def __new__(cls, delta: float = 1.0, *, reduction: _Reduction = "mean") -> Self: ...

class SmoothL1Loss(Loss):
    def __new__(cls, beta: float = 1.0, *, reduction: _Reduction = "mean") -> Self: ...

class CrossEntropyLoss(Loss):
    def __new__(
        cls,
        weight: ArrayLike | None = None,
        ignore_index: int | None = None,
        label_smoothing: float = 0.0,
        *,
        reduction: _Reduction = "mean",
    ) -> Self: ...

class BCEWithLogitsLoss(Loss):
    def __new__(
        cls, pos_weight: ArrayLike | None = None, *, reduction: _Reduction = "mean"
    ) -> Self: ...

class QuantileLoss(Loss):
    def __new__(cls, quantiles: ArrayLike, *, reduction: _Reduction = "mean") -> Self: ...

class GaussianNLLLoss(Loss):
    def __new__(cls, *, full: bool = False, reduction: _Reduction = "mean") -> Self: ...

@disjoint_base
class Optimizer:
    @property
    def lr(self) -> float: ...
    @lr.setter
    def lr(self, value: float) -> None: ...
    @property
    def param_groups(self) -> tuple[ParameterGroup, ...]: ...
    def _group(self, index: int) -> dict[str, Any]: ...
    def _change_group(self, index: int, options: dict[str, Any]) -> None: ...
    def step(self) -> None: ...
    def zero_grad(self) -> None: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...
    def __setstate__(self, state: Mapping[str, Any], /) -> None: ...

class SGD(Optimizer):
    def __new__(
        cls,
        params: _Params,
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> Self: ...

class Adam(Optimizer):
    def __new__(
        cls,
        params: _Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> Self: ...

class AdamW(Optimizer):
    def __new__(
        cls,
        params: _Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> Self: ...

class RMSprop(Optimizer):
    def __new__(
        cls,
        params: _Params,
        lr: float = 0.01,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        *,
        maximize: bool = False,
    ) -> Self: ...

class Adagrad(Optimizer):
    def __new__(
        cls,
        params: _Params,
        lr: float = 0.01,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        *,
        maximize: bool = False,
    ) -> Self: ...

class Adadelta(Optimizer):
    def __new__(
        cls,
        params: _Params,
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> Self: ...

class NAdam(Optimizer):
    def __new__(
        cls,
        params: _Params,
        lr: float = 0.002,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 0.004,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
    ) -> Self: ...

class RAdam(Optimizer):
    def __new__(
        cls,
        params: _Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
    ) -> Self: ...

def clip_grad_norm_(
    params: Parameter | Iterable[Parameter], max_norm: float, error_if_nonfinite: bool = False
) -> float: ...
def clip_grad_value_(params: Parameter | Iterable[Parameter], value: float) -> None: ...
def zero_grad_(params: Parameter | Iterable[Parameter]) -> None: ...
def manual_seed(seed: int) -> None: ...
def get_rng_state() -> tuple[int, int]: ...
def set_rng_state(state: tuple[int, int]) -> None: ...
def shuffled(n: int, seed: int, epoch: int) -> NDArray[np.int64]: ...
def stream(layers: tuple[object, ...], batch_size: int) -> Stream: ...
def set_num_threads(n: int) -> None: ...
def get_num_threads() -> int: ...
def build_info() -> _BuildInfo: ...
def input_copies() -> int: ...
def write_tensors(
    path: str | PathLike[str], arrays: dict[str, NDArray[Any]], metadata: dict[str, str]
) -> None: ...
def read_tensors(
    path: str | PathLike[str],
) -> tuple[dict[str, NDArray[Any]], dict[str, str]]: ...
