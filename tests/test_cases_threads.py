"""Threads, processes and signals that other extensions could not bear."""

from __future__ import annotations

import copy
import io
import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import joblib
import numpy as np
import pytest

import recurrust as rr
from reference.interrupt import interrupt_during, slow_input
from reference.layers import outputs_of, randomize


def test_u99_eight_threads_use_one_model(rng: np.random.Generator) -> None:
    small = rr.LSTM(3, 4)
    large = rr.Sequential(rr.LSTM(8, 48, 2, bidirectional=True), rr.Linear(96, 3)).eval()
    for model, width in ((small, 3), (large, 8)):
        same = rng.normal(size=(12, 3, width)).astype("f4")
        own = [rng.normal(size=(12, 3, width)).astype("f4") for _ in range(8)]

        def output(x: Any, model: Any = model) -> Any:
            result = model(x)
            return result[0] if isinstance(result, tuple) else result

        expected_same = output(same)
        expected = [output(x) for x in own]
        start = threading.Barrier(8)

        def run(number: int, own: Any = own, same: Any = same, output: Any = output) -> list[Any]:
            start.wait()  # noqa: B023
            return [output(own[number] if turn % 2 else same) for turn in range(200)]

        with ThreadPoolExecutor(8) as pool:
            for number, results in enumerate(pool.map(run, range(8))):
                for turn, result in enumerate(results):
                    wanted = expected[number] if turn % 2 else expected_same
                    np.testing.assert_array_equal(result, wanted)


def test_u101_other_threads_run_during_a_long_forward() -> None:
    layer = rr.LSTM(64, 256)
    x = slow_input(layer)
    y, _ = layer(x)
    running, ticks, during = threading.Event(), 0, 0
    stop = threading.Event()

    def tick() -> None:
        nonlocal ticks, during
        while not stop.is_set():
            time.sleep(0.001)
            ticks += 1
            during += running.is_set()

    thread = threading.Thread(target=tick)
    thread.start()
    try:
        running.set()
        again, _ = layer(x)
        running.clear()
    finally:
        stop.set()
        thread.join()
    np.testing.assert_array_equal(again, y)
    assert during > 50, f"{during} of {ticks} ticks"


def test_u101_changing_the_input_meanwhile_does_no_harm(rng: np.random.Generator) -> None:
    layer = rr.LSTM(16, 64)
    x = rng.normal(size=(300, 16, 16)).astype("f4")
    stop = threading.Event()

    def change() -> None:
        while not stop.is_set():
            x[...] = 1 - x

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(5):
            y, _ = layer(x)
            assert np.isfinite(y).all()
            y, _, cache = layer.forward_with_cache(x)
            # The cache has its own copy, so it has one gradient.
            layer.zero_grad()
            dx, _ = layer.backward(y, cache=cache)
            again, _ = layer.backward(y, cache=cache)
            np.testing.assert_array_equal(dx, again)
    finally:
        stop.set()
        thread.join()


def test_u102_a_long_forward_can_be_interrupted() -> None:
    layer = rr.LSTM(32, 128, num_layers=2)
    x = slow_input(layer)
    before = layer.state_dict()
    expected, _ = layer(x[:3])
    for call in (layer, layer.forward_with_cache):
        interrupt_during(lambda call=call: call(x))
    for name, array in layer.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    np.testing.assert_array_equal(layer(x[:3])[0], expected)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs a signal at a given time")
def test_a_handler_that_changes_the_weights_is_told(rng: np.random.Generator) -> None:
    """It runs inside the call that reads them, so waiting would be forever."""
    layer = rr.LSTM(32, 128, num_layers=2)
    x = slow_input(layer)
    parameter = next(iter(layer.parameters()))
    value = rng.normal(size=parameter.shape).astype("f4")
    parameter.grad[...] = 1
    weights, before = layer.state_dict(), parameter.data.copy()
    expected, _ = layer(x)
    changes: list[Callable[[], object]] = [
        lambda: parameter.assign(value),
        lambda: layer.load_state_dict(weights),
        rr.SGD(layer.parameters(), lr=0.1).step,
    ]

    def handler(change: Callable[[], object], raised: list[BaseException]) -> Callable[..., None]:
        def handle(*_: object) -> None:
            try:
                change()
            except rr.StateError as error:
                raised.append(error)
            # Reading is fine.
            np.testing.assert_array_equal(layer(x[:3])[0], expected[:3])

        return handle

    for change in changes:
        raised: list[BaseException] = []
        previous = signal.signal(signal.SIGALRM, handler(change, raised))
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            y, _ = layer(x)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, previous)
        (error,) = raised
        assert "a signal's handler can't change the weights" in str(error)
        np.testing.assert_array_equal(y, expected)
        np.testing.assert_array_equal(parameter.data, before)
    parameter.assign(value)
    np.testing.assert_array_equal(parameter.data, value)


def test_u102_handlers_of_other_signals_run_meanwhile() -> None:
    layer = rr.LSTM(32, 128, num_layers=2)
    x = slow_input(layer)
    expected, _ = layer(x)
    calls = []

    def note(number: int, frame: Any) -> None:
        calls.append(number)

    def refuse(number: int, frame: Any) -> None:
        raise ArithmeticError("from the handler")

    before = signal.signal(signal.SIGUSR1, note)
    try:
        timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGUSR1))
        timer.start()
        y, _ = layer(x)
        np.testing.assert_array_equal(y, expected)
        assert calls == [signal.SIGUSR1], "the call ended before the signal came"
        timer.join()
        signal.signal(signal.SIGUSR1, refuse)
        timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGUSR1))
        timer.start()
        with pytest.raises(ArithmeticError, match="from the handler"):
            layer(x)
        timer.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
    np.testing.assert_array_equal(layer(x)[0], expected)


class OwnLSTM(rr.LSTM):
    """A class of the user's own."""


def trained(kind: Any) -> Any:
    """An optimizer with momentum in its memory."""
    parameter = rr.Parameter(np.ones((2, 3)), name="w")
    optimizer = kind([parameter], lr=0.1, **({"momentum": 0.9} if kind is rr.SGD else {}))
    parameter.grad[...] = 0.5
    optimizer.step()
    return optimizer


OBJECTS: dict[str, Callable[[], Any]] = {
    "LSTM": lambda: rr.LSTM(3, 4),
    "LSTM64": lambda: rr.LSTM(3, 4, 2, bias=False, bidirectional=True, merge_mode="sum",
                              return_sequences=False, batch_first=True, dtype="float64").eval(),
    "LSTM reverse": lambda: rr.LSTM(3, 4, reverse=True),
    "OwnLSTM": lambda: OwnLSTM(3, 4),
    "LSTMCell": lambda: rr.LSTMCell(3, 4),
    "Linear": lambda: rr.Linear(3, 4, bias=False),
    "Dropout": lambda: rr.Dropout(0.25).eval(),
    "Sequential": lambda: rr.Sequential(rr.LSTM(3, 4), rr.Dropout(0.5), rr.Linear(4, 2)).eval(),
}  # fmt: skip
LOSSES: dict[str, Callable[[], Any]] = {
    "MSELoss": lambda: rr.MSELoss(reduction="none"),
    "MAELoss": lambda: rr.MAELoss(reduction="sum"),
    "HuberLoss": lambda: rr.HuberLoss(0.25, reduction="sum"),
    "SmoothL1Loss": lambda: rr.SmoothL1Loss(0.25),
    "BCEWithLogitsLoss": lambda: rr.BCEWithLogitsLoss([1.0, 2.0, 3.0], reduction="sum"),
    "QuantileLoss": lambda: rr.QuantileLoss([0.1, 0.5, 0.9], reduction="none"),
    "GaussianNLLLoss": lambda: rr.GaussianNLLLoss(full=True),
    "CrossEntropyLoss": lambda: rr.CrossEntropyLoss([1.0, 2.0, 3.0], 2, 0.1, reduction="sum"),
}
ERRORS = [
    rr.RecurrustError, rr.ShapeError, rr.ConfigError, rr.StateError, rr.FileFormatError,
    rr.NonFiniteError, rr.DtypeError,
]  # fmt: skip


def through_joblib(value: Any) -> Any:
    file = io.BytesIO()
    joblib.dump(value, file)
    file.seek(0)
    return joblib.load(file)


WAYS: dict[str, Callable[[Any], Any]] = {
    **{
        f"pickle {protocol}": lambda value, protocol=protocol: pickle.loads(
            pickle.dumps(value, protocol)
        )
        for protocol in range(2, 6)
    },
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "joblib": through_joblib,
}


def output(layer: Any) -> Any:
    """The outputs of a layer for fixed inputs."""
    x = np.random.default_rng(1).normal(size=(5, 2, 3))
    if isinstance(layer, rr.LSTMCell):
        return layer(x[0])
    result = layer(x)
    return outputs_of(*result)["y"] if isinstance(result, tuple) else result


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", OBJECTS)
def test_u109_copies_of_layers_predict_the_same(kind: str, way: str) -> None:
    layer = OBJECTS[kind]()
    twin = WAYS[way](layer)
    assert type(twin) is type(layer)
    assert repr(twin) == repr(layer)
    assert twin.config == layer.config
    assert twin.training == layer.training
    np.testing.assert_array_equal(output(twin), output(layer))
    names = [name for name, _ in layer.named_parameters()]
    assert [name for name, _ in twin.named_parameters()] == names
    pairs = list(zip(twin.parameters(), layer.parameters(), strict=True))
    for copied, original in pairs:
        assert copied is not original or way == "copy"
        np.testing.assert_array_equal(copied.data, original.data)
    if way != "copy" and pairs:
        # The copy is independent.
        before = layer.state_dict()
        randomize(twin, np.random.default_rng(2))
        for name, array in layer.state_dict().items():
            np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", LOSSES)
def test_u109_copies_of_losses(kind: str, way: str) -> None:
    loss = LOSSES[kind]()
    twin = WAYS[way](loss)
    assert repr(twin) == repr(loss)
    pred = np.random.default_rng(1).normal(size=(4, 3))
    target: Any = [0, 1, 2, 1] if "Cross" in kind else pred[::-1].copy()
    if kind in ("QuantileLoss", "GaussianNLLLoss"):
        pred, target = pred[:, : 3 if kind == "QuantileLoss" else 2], target[:, 0]
    for got, expected in zip(
        twin.value_and_grad(pred, target), loss.value_and_grad(pred, target), strict=True
    ):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("way", [way for way in WAYS if way != "copy"])
@pytest.mark.parametrize(
    "kind",
    [rr.SGD, rr.Adam, rr.AdamW, rr.RMSprop, rr.Adagrad, rr.Adadelta, rr.NAdam, rr.RAdam],
)
def test_u109_copies_of_optimizers_go_on_the_same(kind: Any, way: str) -> None:
    optimizer = trained(kind)
    twin = WAYS[way](optimizer)
    assert repr(twin) == repr(optimizer)
    results = []
    for each in (optimizer, twin):
        (parameter,) = each.param_groups[0]["params"]
        assert parameter.name == "w"
        for gradient in (1.0, -2.0):
            parameter.grad[...] = gradient
            each.step()
        results.append(parameter.data)
    np.testing.assert_array_equal(*results)
    assert not np.shares_memory(*results)


@pytest.mark.parametrize("way", [way for way in WAYS if way != "copy"])
def test_u109_an_optimizer_copied_with_its_model_still_belongs_to_it(way: str) -> None:
    model = rr.Sequential(rr.LSTM(3, 4), rr.Linear(4, 2))
    optimizer = rr.Adam(model.parameters(), lr=0.1)
    twin, twin_optimizer = WAYS[way]((model, optimizer))
    for parameter in twin.parameters():
        parameter.grad[...] = 1.0
    before, twin_before = model.state_dict(), twin.state_dict()
    twin_optimizer.step()
    for name, array in twin.state_dict().items():
        np.testing.assert_allclose(array, twin_before[name] - 0.1, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(model.state_dict()[name], before[name])
    assert twin_optimizer.param_groups[0]["params"][0] is next(iter(twin.parameters()))


@pytest.mark.parametrize("way", WAYS)
def test_u109_copies_of_parameters(way: str) -> None:
    for array in (np.arange(6.0).reshape(2, 3), np.ones(3, "f4")):
        parameter = rr.Parameter(array, name="w")
        twin = WAYS[way](parameter)
        assert (twin.name, twin.dtype, twin.shape) == ("w", array.dtype, array.shape)
        np.testing.assert_array_equal(twin.data, array)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ERRORS)
def test_u109_copies_of_errors(kind: Any, way: str) -> None:
    error = WAYS[way](kind("what went wrong"))
    assert type(error) is kind
    assert error.args == ("what went wrong",)


@pytest.mark.parametrize("way", WAYS)
def test_u109_copies_of_caught_errors(way: str) -> None:
    with pytest.raises(rr.ShapeError) as caught:
        rr.LSTM(3, 4)(np.zeros((5, 2, 2)))
    assert WAYS[way](caught.value).args == caught.value.args


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_u109_layers_travel_to_other_processes(method: str) -> None:
    layers = [build() for build in OBJECTS.values()]
    for layer in layers:
        output(layer)  # whatever a layer keeps between calls
    expected = [output(layer) for layer in layers]
    with multiprocessing.get_context(method).Pool(2) as pool:
        for got, wanted in zip(pool.map(output, layers), expected, strict=True):
            np.testing.assert_array_equal(got, wanted)


def test_u109_layers_travel_to_joblibs_workers() -> None:
    layers = [OBJECTS[kind]() for kind in ("LSTM", "LSTMCell", "Sequential")]
    with joblib.Parallel(n_jobs=2) as parallel:
        results = parallel(joblib.delayed(output)(layer) for layer in layers)
    for got, layer in zip(results, layers, strict=True):
        np.testing.assert_array_equal(got, output(layer))
