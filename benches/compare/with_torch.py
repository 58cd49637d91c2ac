"""PyTorch's side of every comparison: eager, as its users write it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sides import Arrays, Builders, Data, Side, named


def _module_of(data: Data, *, batch_first: bool = False) -> Any:
    case = data.case
    module = getattr(torch.nn, case.cell)(
        case.shape.inputs,
        case.shape.hidden,
        case.num_layers,
        bidirectional=case.bidirectional,
        batch_first=batch_first,
        dtype=getattr(torch, case.dtype),
    )
    module.load_state_dict({name: torch.from_numpy(array) for name, array in data.weights.items()})
    return module


def _named(y: Any, state: Any) -> dict[str, NDArray[Any]]:
    return {name: tensor.detach().numpy() for name, tensor in named(y, state).items()}


def _forward(data: Data, module: Any) -> Callable[[Any], Any]:
    """Return the call of a module; with lengths, packing and padding are part of it."""
    if data.lengths is None:
        call: Callable[[Any], Any] = module
        return call
    lengths = torch.from_numpy(data.lengths)
    steps = data.case.shape.steps
    rnn = torch.nn.utils.rnn

    def packed(x: Any) -> Any:
        y, state = module(rnn.pack_padded_sequence(x, lengths, enforce_sorted=False))
        return rnn.pad_packed_sequence(y, total_length=steps)[0], state

    return packed


def _inference(data: Data) -> Side:
    call = _forward(data, _module_of(data).eval())
    buffers = [torch.from_numpy(x) for x in data.inputs]

    def outputs() -> Arrays:
        with torch.inference_mode():
            return _named(*call(buffers[0]))

    return Side(call, buffers, outputs, torch.inference_mode)


def _training(data: Data) -> Side:
    module = _module_of(data)
    parameters = list(module.parameters())
    forward = _forward(data, module)
    buffers = [torch.from_numpy(x).requires_grad_() for x in data.inputs]
    dy = torch.from_numpy(data.dy)

    def call(x: Any) -> tuple[Any, Any]:
        x.grad = None
        for parameter in parameters:
            parameter.grad = None
        y, state = forward(x)
        y.backward(dy)
        return y, state

    def outputs() -> Arrays:
        named = _named(*call(buffers[0]))
        gradients = {f"d{name}": p.grad.numpy() for name, p in module.named_parameters()}
        return {**named, "dx": buffers[0].grad.numpy(), **gradients}

    return Side(call, buffers, outputs)


def _training_step(data: Data, fused: bool) -> Callable[[Any, Any], Any]:
    """Return the function that makes one step of training and returns its loss."""
    lstm = _module_of(data, batch_first=True)
    linear = torch.nn.Linear(*reversed(data.head["weight"].shape), dtype=lstm.weight_ih_l0.dtype)
    linear.load_state_dict({name: torch.from_numpy(array) for name, array in data.head.items()})
    parameters = [*lstm.parameters(), *linear.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=1e-3, fused=fused)
    loss_function = torch.nn.MSELoss()

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad(set_to_none=True)
        loss = loss_function(linear(lstm(x)[0][:, -1]), y)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        return loss

    return step


def _step(data: Data, fused: bool) -> Side:
    step = _training_step(data, fused)
    batches = [(torch.from_numpy(x), torch.from_numpy(y)) for x, y in data.samples()]

    def outputs() -> Arrays:
        return {"losses": np.array([step(*batch).item() for batch in batches * 2])}

    return Side(lambda batch: step(*batch), batches, outputs)


def _epoch(data: Data, fused: bool) -> Side:
    """A plain loop over batches, shuffled, that sums up the losses."""
    step = _training_step(data, fused)
    x, y = (torch.from_numpy(array) for array in data.epoch())
    size = data.case.shape.batch

    def epoch(order: Any) -> float:
        losses: list[float] = [step(x[i], y[i]).item() for i in order.split(size)]
        return sum(losses) / len(losses)

    def call(samples: int) -> float:
        return epoch(torch.randperm(samples))

    return Side(call, [len(x)], lambda: {"loss": np.array([epoch(torch.arange(len(x)))])})


BUILDERS: dict[str, Builders] = {
    "torch": {
        "inference": _inference,
        "training": _training,
        "step": partial(_step, fused=False),
        "epoch": partial(_epoch, fused=False),
        "ragged inference": _inference,
        "ragged training": _training,
    },
    "torch with fused Adam": {
        "step": partial(_step, fused=True),
        "epoch": partial(_epoch, fused=True),
    },
}


def load(name: str, threads: int) -> Builders:
    """Return what one side can build, with this many threads."""
    torch.set_num_threads(threads)
    return BUILDERS[name]
