"""States and streams that went wrong in other libraries."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import recurrust as rr
from reference.comparison import assert_close
from reference.layers import KINDS, gradients_of


def zeroed(state: Any, rows: Any) -> Any:
    """A copy of a state in which some rows start anew."""
    if isinstance(state, tuple):
        return tuple(zeroed(part, rows) for part in state)
    state = state.copy()
    state[:, rows] = 0
    return state


def parts(state: Any) -> tuple[Any, ...]:
    return state if isinstance(state, tuple) else (state,)


def assert_same(state: Any, expected: Any) -> None:
    for got, wanted in zip(parts(state), parts(expected), strict=True):
        np.testing.assert_array_equal(got, wanted)


def trained(kind: str, x: Any, y: Any) -> rr.Sequential:
    """A network that has seen nothing but batches of 32."""
    layer = getattr(rr, kind)(3, 8, batch_first=True, seed=1)
    model = rr.Sequential(layer, rr.Linear(8, 2, seed=2))
    optimizer = rr.Adam(model.parameters(), lr=0.01)
    trainer = rr.Trainer(model, rr.MSELoss(), optimizer, seed=3)
    trainer.fit(x, y, epochs=2, batch_size=32, verbose=0)
    return model.eval()


@pytest.mark.parametrize("kind", KINDS)
def test_u77_one_row_after_training_with_32(kind: str, rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(64, 6, 3)).astype("f4"), rng.normal(size=(64, 6, 2)).astype("f4")
    model = trained(kind, x, y)
    expected = model(x)
    for row in (0, 40):
        assert_close(model(x[row : row + 1])[0], expected[row], 1e-6)
        stream = model.stream(1)
        steps = np.stack([stream.step(step) for step in x[row]])
        assert_close(steps, expected[row], 1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_u77_another_number_of_rows_in_the_middle(kind: str, rng: np.random.Generator) -> None:
    layer = getattr(rr, kind)(3, 5, 2, seed=1)
    x = rng.normal(size=(4, 32, 3)).astype("f4")
    stream = layer.stream(32)
    stream.step(x[0])
    state = stream.state
    for rows in (1, 31, 0):
        with pytest.raises(ValueError, match=rf"x: expected shape \(32, 3\) .*, got \({rows}, 3\)"):
            stream.step(x[1, :rows])
        with pytest.raises(ValueError, match=rf"h: expected shape \(2, {rows}, 5\), got \(2, 32"):
            layer(x[:, :rows], state)
        assert_same(stream.state, state)
    # It goes on as if nothing had been; other rows have streams or states of their own.
    np.testing.assert_array_equal(stream.step(x[1]), layer(x[1:2], state)[0][0])
    few = layer.stream(1)
    few.state = tuple(p[:, 3:4] for p in state) if kind == "LSTM" else state[:, 3:4]
    assert_close(few.step(x[1, 3:4]), layer(x[1:2], state)[0][0, 3:4], 1e-6)


def test_u77_the_error_tells_what_to_do() -> None:
    stream = rr.LSTM(3, 5).stream(32)
    with pytest.raises(ValueError, match="batch_size"):
        stream.step(np.zeros((1, 3), "f4"))


@pytest.mark.parametrize("kind", KINDS)
def test_u79_a_warm_state_comes_back(kind: str, rng: np.random.Generator) -> None:
    """Zeros would click: what follows must be what would have followed, to the bit."""
    layer = getattr(rr, kind)(2, 12, 2)
    model = rr.Sequential(layer, rr.Linear(12, 1))
    x = rng.normal(size=(50, 2)).astype("f4")
    for network in (layer, model):
        stream = network.stream()
        for step in x[:30]:
            stream.step(step)
        warm = stream.state
        expected = np.stack([stream.step(step) for step in x[30:]])

        stream.reset()
        cold = np.stack([stream.step(step) for step in x[30:]])
        np.testing.assert_array_equal(cold[0], network.stream().step(x[30]))
        assert np.abs(cold[0] - expected[0]).max() > 1e-3
        for again in (stream, network.stream()):
            again.state = warm
            got = np.stack([again.step(step) for step in x[30:]])
            np.testing.assert_array_equal(got, expected)


def test_u79_what_reset_does_is_documented() -> None:
    assert "zero" in (type(rr.RNN(1, 1).stream()).reset.__doc__ or "")


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_u81_one_call_with_starts_is_a_loop_over_steps(
    kind: str, num_layers: int, rng: np.random.Generator
) -> None:
    """Episodes of a few environments side by side, forwards and backwards, and in a stream."""
    layer = getattr(rr, kind)(6, 64, num_layers, seed=1)
    x, dy = rng.normal(size=(128, 8, 6)).astype("f4"), rng.normal(size=(128, 8, 64)).astype("f4")
    starts = rng.random((128, 8)) < 0.05
    starts[0, :2], starts[0, 2:] = True, False
    states = rng.normal(size=(2, num_layers, 8, 64)).astype("f4")
    before = tuple(states) if kind == "LSTM" else states[0]

    y, final, cache = layer.forward_with_cache(x, before, resets=starts)
    np.testing.assert_array_equal(layer(x, before, resets=starts)[0], y)
    dx, dbefore = layer.backward(dy, final, cache=cache)
    gradients = gradients_of(layer)

    state, outputs, caches = before, [], []
    for step, start in zip(x, starts, strict=True):
        output, state, step_cache = layer.forward_with_cache(step[None], zeroed(state, start))
        outputs.append(output[0])
        caches.append(step_cache)
    assert_close(np.stack(outputs), y, 1e-6)
    for got, expected in zip(parts(state), parts(final), strict=True):
        assert_close(got, expected, 1e-6)

    layer.zero_grad()
    dstate, inputs = final, []
    for step_dy, step_cache, start in zip(dy[::-1], caches[::-1], starts[::-1], strict=True):
        dstep, dstate = layer.backward(step_dy[None], dstate, cache=step_cache)
        dstate = zeroed(dstate, start)
        inputs.append(dstep[0])
    assert_close(np.stack(inputs[::-1]), dx, 1e-5)
    for got, expected in zip(parts(dstate), parts(dbefore), strict=True):
        assert_close(got, expected, 1e-5)
        assert not got[:, :2].any()
        assert got[:, 2:].any()
    for name, gradient in gradients_of(layer).items():
        assert_close(gradient, gradients[name], 1e-5, name)

    stream = layer.stream(8)
    stream.state = before
    for step, start, expected in zip(x, starts, y, strict=True):
        stream.reset(start)
        np.testing.assert_array_equal(stream.step(step), expected)
    assert_same(stream.state, final)
