"""recurrust's side of every comparison."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

import recurrust as rr
from sides import Arrays, Builder, Builders, Data, Side, UnavailableError, named

BUILD = rr.build_info()
# Before anything sets it.
DEFAULT_THREADS = rr.get_num_threads()

# How often an episode ends and another begins.
EPISODE_STEPS = 32

SHARING_THREADS = 8
SHARED_CALLS = 200


def has(cell: str) -> bool:
    """Tell whether there is a layer of a cell."""
    return hasattr(rr, cell)


def layer_of(data: Data, **options: Any) -> Any:
    """Return the recurrent layer of a case with its weights."""
    case = data.case
    layer = getattr(rr, case.cell)(
        case.shape.inputs,
        case.shape.hidden,
        case.num_layers,
        bidirectional=case.bidirectional,
        dtype=case.dtype,
        **options,
    )
    layer.load_state_dict(data.weights)
    return layer


def _inference(data: Data, lengths: NDArray[Any] | None = None) -> Side:
    layer = layer_of(data).eval()

    def with_lengths(x: NDArray[Any]) -> object:
        return layer(x, lengths=lengths)

    call: Callable[[Any], Any] = layer if lengths is None else with_lengths
    return Side(call, data.inputs, lambda: named(*call(data.inputs[0])))


def _training(data: Data, lengths: NDArray[Any] | None = None) -> Side:
    layer = layer_of(data)
    dy = data.dy

    def call(x: NDArray[Any]) -> tuple[Any, ...]:
        layer.zero_grad()
        y, state, cache = layer.forward_with_cache(x, lengths=lengths)
        dx, _ = layer.backward(dy, cache=cache)
        return y, state, dx

    def outputs() -> Arrays:
        y, state, dx = call(data.inputs[0])
        gradients = {f"d{name}": p.grad.copy() for name, p in layer.named_parameters()}
        return {**named(y, state), "dx": dx, **gradients}

    return Side(call, data.inputs, outputs)


def _option(data: Data) -> Side:
    """A layer with an option, whose results are its own."""
    case = data.case
    layer = getattr(rr, case.cell)(case.shape.inputs, case.shape.hidden, **case.options)

    def call(x: NDArray[Any]) -> object:
        layer.zero_grad()
        *_, cache = layer.forward_with_cache(x)
        return layer.backward(data.dy, cache=cache)

    return Side(call, data.inputs, None)


def _streaming(data: Data) -> Side:
    layer = layer_of(data).eval()
    if not hasattr(layer, "stream"):
        raise UnavailableError("recurrust has no stream")
    stream = layer.stream(batch_size=1)
    buffers = [x[0, 0] for x in data.inputs]

    def outputs() -> Arrays:
        stream.reset()
        for x in buffers:
            y = stream.step(x)
        return {"y": y}

    return Side(stream.step, buffers, outputs)


def _trainer(data: Data) -> Any:
    """Return a trainer of the recurrent layer and a linear one on its last output."""
    lstm = layer_of(data, batch_first=True, return_sequences=False)
    linear = rr.Linear(*reversed(data.head["weight"].shape), dtype=lstm.dtype)
    linear.load_state_dict(data.head)
    network = rr.Sequential(lstm, linear)
    optimizer = rr.Adam(network.parameters(), lr=1e-3)
    return rr.Trainer(network, rr.MSELoss(), optimizer, clip_norm=1.0, seed=0)


def _step(data: Data) -> Side:
    trainer = _trainer(data)
    batches = data.samples()

    def call(batch: tuple[NDArray[Any], NDArray[Any]]) -> float:
        loss: float = trainer.train_step(*batch)
        return loss

    return Side(call, batches, lambda: {"losses": np.array([call(batch) for batch in batches * 2])})


def _epoch(data: Data) -> Side:
    trainer = _trainer(data)
    options = {"epochs": 1, "batch_size": data.case.shape.batch, "verbose": 0}

    def call(samples: tuple[NDArray[Any], NDArray[Any]]) -> object:
        return trainer.fit(*samples, **options)

    def outputs() -> Arrays:
        # Orders differ.
        history = trainer.fit(*data.epoch(), shuffle=False, **options)
        return {"loss": np.array(history["loss"])}

    return Side(call, [data.epoch()], outputs)


def _ragged(build: Callable[[Data, NDArray[Any] | None], Side]) -> Builder:
    return lambda data: build(data, data.lengths)


def _dense(build: Callable[[Data], Side]) -> Builder:
    # Steps past a sequence's end are not the same.
    return lambda data: replace(build(data), outputs=None)


def _on_threads(count: int, build: Callable[[Data], Side]) -> Builder:
    @contextmanager
    def context() -> Iterator[None]:
        before = rr.get_num_threads()
        rr.set_num_threads(count)
        try:
            yield
        finally:
            rr.set_num_threads(before)

    def builder(data: Data) -> Side:
        side = build(data)
        outputs = side.outputs
        assert outputs is not None

        def in_context() -> Arrays:
            with context():
                return outputs()

        return replace(side, outputs=in_context, context=context)

    return builder


def _shared(data: Data) -> Side:
    """Several threads call one layer."""
    layer = layer_of(data).eval()
    results: list[NDArray[Any]] = [data.dy] * SHARING_THREADS

    def work(index: int, x: NDArray[Any]) -> None:
        for _ in range(SHARED_CALLS):
            results[index], _ = layer(x)

    def call(x: NDArray[Any]) -> None:
        threads = [threading.Thread(target=work, args=(i, x)) for i in range(SHARING_THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def outputs() -> Arrays:
        call(data.inputs[0])
        return {"y": np.stack(results)}

    return Side(call, data.inputs, outputs)


def _one_after_the_other(data: Data) -> Side:
    layer = layer_of(data).eval()

    def call(x: NDArray[Any]) -> None:
        for _ in range(SHARING_THREADS * SHARED_CALLS):
            layer(x)

    def outputs() -> Arrays:
        return {"y": np.stack([layer(data.inputs[0])[0]] * SHARING_THREADS)}

    return Side(call, data.inputs, outputs)


def _episodes(data: Data) -> Side:
    """Sequences of several episodes, at whose starts the state is zero."""
    layer = layer_of(data).eval()
    resets = np.zeros(data.inputs[0].shape[:2], bool)
    resets[::EPISODE_STEPS] = True

    def call(x: NDArray[Any]) -> Any:
        return layer(x, resets=resets)

    return Side(call, data.inputs, lambda: named(*call(data.inputs[0])))


def _episodes_step_by_step(data: Data) -> Side:
    layer = layer_of(data).eval()

    def call(x: NDArray[Any]) -> Any:
        outputs = []
        state = None
        for step in range(len(x)):
            if step % EPISODE_STEPS == 0:
                state = None
            y, state = layer(x[step : step + 1], state)
            outputs.append(y)
        return np.concatenate(outputs), state

    return Side(call, data.inputs, lambda: named(*call(data.inputs[0])))


BUILDERS: dict[str, Builders] = {
    "recurrust": {
        "inference": _inference,
        "training": _training,
        "streaming": _streaming,
        "step": _step,
        "epoch": _epoch,
        "ragged inference": _ragged(_inference),
        "ragged training": _ragged(_training),
        "two threads inference": _on_threads(2, _inference),
        "two threads training": _on_threads(2, _training),
        "default threads": _on_threads(DEFAULT_THREADS, _inference),
        "shared": _shared,
        "option": _option,
        "episodes": _episodes,
    },
    "dense call": {
        "ragged inference": _dense(_inference),
        "ragged training": _dense(_training),
    },
    "plain layer": {"option": _dense(_training)},
    "one thread": {
        "two threads inference": _on_threads(1, _inference),
        "two threads training": _on_threads(1, _training),
        "default threads": _on_threads(1, _inference),
    },
    "one after the other": {"shared": _one_after_the_other},
    "step by step": {"episodes": _episodes_step_by_step},
}


def load(name: str, threads: int) -> Builders:
    """Return what one side can build, with this many threads for all it doesn't say otherwise."""
    rr.set_num_threads(threads)
    return BUILDERS[name]
