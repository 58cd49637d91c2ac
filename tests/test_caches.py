"""Caches are immutable: usable twice, in any order, and never with other weights."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest

import recurrust as rr
from reference.comparison import assert_all_close
from reference.interrupt import interrupt_during, slow_input
from reference.layers import Arrays, gradients_of, make_case, randomize

OPTIONS: list[dict[str, Any]] = [
    {},
    {"num_layers": 2, "bidirectional": True, "merge_mode": "mul"},
    {"reverse": True, "return_sequences": False, "batch_first": True},
]
FLAGS = ("lengths", "mask", "resets")


def cases(rng: np.random.Generator, dtype: str = "float64") -> Any:
    for options in OPTIONS:
        yield make_case(rng, 7, 5, 3, 4, flags=FLAGS, dtype=dtype, **options)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_backward_adds_to_the_gradients(dtype: str, rng: np.random.Generator) -> None:
    for case in cases(rng, dtype):
        _, _, cache = case.forward()
        dx, (dh, dc) = case.backward(cache)
        once = gradients_of(case.layer)
        again, (dh_again, dc_again) = case.backward(cache)
        for first, second in ((dx, again), (dh, dh_again), (dc, dc_again)):
            np.testing.assert_array_equal(first, second)
        for name, gradient in gradients_of(case.layer).items():
            np.testing.assert_array_equal(gradient, once[name] * 2)
            assert np.abs(gradient).max() > 0, name


def test_backward_adds_to_what_was_there(rng: np.random.Generator) -> None:
    case = make_case(rng, 4, 3, 2, 3, dtype="float64")
    _, _, cache = case.forward()
    case.backward(cache)
    alone = gradients_of(case.layer)
    for parameter in case.layer.parameters():
        parameter.grad[...] = 1000.0
    case.backward(cache)
    for name, gradient in gradients_of(case.layer).items():
        np.testing.assert_array_equal(gradient, 1000.0 + alone[name])


def test_caches_live_side_by_side(rng: np.random.Generator) -> None:
    """Two forward passes, then their backward passes in either order and once more."""
    for options in OPTIONS:
        one = make_case(rng, 7, 5, 3, 4, flags=FLAGS, dtype="float64", **options)
        other = make_case(rng, 3, 8, 3, 4, dtype="float64", **options)
        layer = one.layer

        def run(case: Any, layer: Any = layer) -> Any:
            return layer.forward_with_cache(case.x, case.state, **case.flags)[-1]

        def back(case: Any, cache: Any, layer: Any = layer) -> Arrays:
            layer.zero_grad()
            dx, (dh, dc) = layer.backward(case.dy, (case.dhn, case.dcn), cache=cache)
            return {"x": dx, "h0": dh, "c0": dc, **gradients_of(layer)}

        expected_one = back(one, run(one))
        expected_other = back(other, run(other))
        cache_one, cache_other = run(one), run(other)
        for case, cache, expected in [
            (one, cache_one, expected_one),
            (other, cache_other, expected_other),
            (one, cache_one, expected_one),
        ]:
            assert_all_close(back(case, cache), expected, 0.0)


def change_by_assign(layer: Any) -> None:
    layer.weight_hh_l0 = np.zeros(layer.weight_hh_l0.shape)


def change_by_parameter(layer: Any) -> None:
    dict(layer.named_parameters())["bias_ih_l0"].assign(np.zeros(layer.bias_ih_l0.shape))


def change_by_loading(layer: Any) -> None:
    layer.load_state_dict({name: 0 * array for name, array in layer.state_dict().items()})


def change_by_optimizer(layer: Any) -> None:
    optimizer = rr.SGD(layer.parameters(), lr=0.1)
    for parameter in layer.parameters():
        parameter.grad[...] = 1.0
    optimizer.step()


@pytest.mark.parametrize(
    "change", [change_by_assign, change_by_parameter, change_by_loading, change_by_optimizer]
)
def test_cache_is_refused_after_the_weights_changed(change: Any, rng: np.random.Generator) -> None:
    case = make_case(rng, 4, 3, 2, 3)
    _, _, cache = case.forward()
    change(case.layer)
    case.layer.zero_grad()
    with pytest.raises(rr.StateError, match="weights"):
        case.backward(cache)
    assert all(not gradient.any() for gradient in gradients_of(case.layer).values())
    # A cache made since then works.
    _, _, cache = case.forward()
    case.backward(cache)
    assert all(gradient.any() for gradient in gradients_of(case.layer).values())


def test_cell_and_linear_refuse_caches_of_other_weights(rng: np.random.Generator) -> None:
    cell = rr.LSTMCell(2, 3)
    x = rng.normal(size=(4, 2)).astype("f4")
    (h, c), cache = cell.forward_with_cache(x)
    cell.weight_ih = np.ones((12, 2))
    with pytest.raises(rr.StateError):
        cell.backward((h, c), cache=cache)
    linear = rr.Linear(2, 3)
    y, cache = linear.forward_with_cache(x)
    linear.weight = np.ones((3, 2))
    with pytest.raises(rr.StateError):
        linear.backward(y, cache=cache)


def test_cache_of_another_layer_is_refused(rng: np.random.Generator) -> None:
    x = rng.normal(size=(4, 3, 2)).astype("f4")
    layers = [
        rr.LSTM(2, 3),
        rr.LSTM(2, 3),  # the same shape, other weights
        rr.LSTM(2, 5),
        rr.LSTM(2, 3, dtype="float64"),
        rr.Linear(2, 3),
        rr.Dropout(0.5),
    ]
    dtypes = [getattr(layer, "dtype", "float32") for layer in layers]
    caches = [
        layer.forward_with_cache(x.astype(dtype))[-1]
        for layer, dtype in zip(layers, dtypes, strict=True)
    ]
    cell = rr.LSTMCell(2, 3)
    layers.append(cell)
    caches.append(cell.forward_with_cache(x[0])[-1])
    dstate = (np.ones((3, 3), "f4"), None)
    for index, layer in enumerate(layers):
        dy = dstate if layer is cell else np.ones((4, 3, getattr(layer, "output_size", 3)), "f4")
        for other, cache in enumerate(caches):
            if index != other:
                with pytest.raises((rr.StateError, rr.DtypeError)):
                    layer.backward(dy, cache=cache)
    for layer in layers:
        assert all(not p.grad.any() for p in getattr(layer, "parameters", lambda: ())())


@pytest.mark.parametrize("cache", [None, 3, "cache", (), np.zeros(3)])
def test_what_is_no_cache_is_refused(cache: Any) -> None:
    for layer, argument in [
        (rr.LSTM(2, 3), np.zeros((4, 3, 3), "f4")),
        (rr.LSTMCell(2, 3), (np.zeros((4, 3), "f4"), None)),
        (rr.Linear(2, 3), np.zeros((4, 3), "f4")),
        (rr.Dropout(), np.zeros((4, 3), "f4")),
    ]:
        with pytest.raises(TypeError, match="cache"):
            layer.backward(argument, cache=cache)
        with pytest.raises(TypeError, match="cache"):
            layer.backward(argument)


def test_errors_leave_the_gradients_as_they_were(rng: np.random.Generator) -> None:
    for case in cases(rng):
        _, _, cache = case.forward()
        case.backward(cache)
        before = gradients_of(case.layer)
        states = case.dhn
        wrong_dy = [case.dy[:-1], case.dy[..., :-1], case.dy[0, 0], "dy", case.dy.astype(complex)]
        wrong_dstate = [(states[:, :-1], None), (states, states[..., :1]), states, (states,), 3]
        for dy in wrong_dy:
            with pytest.raises((ValueError, TypeError), match="dy"):
                case.layer.backward(dy, (states, states), cache=cache)
        for dstate in wrong_dstate:
            with pytest.raises((ValueError, TypeError), match="dstate"):
                case.layer.backward(case.dy, dstate, cache=cache)
        assert_all_close(gradients_of(case.layer), before, 0.0)


def test_interrupt_leaves_the_gradients_as_they_were(rng: np.random.Generator) -> None:
    """Ctrl-C while a long backward pass runs in the main thread."""
    layer = rr.LSTM(32, 128, num_layers=2)
    y, _, cache = layer.forward_with_cache(slow_input(layer))
    for parameter in layer.parameters():
        parameter.grad[...] = rng.normal(size=parameter.shape)
    before = gradients_of(layer)
    interrupt_during(lambda: layer.backward(y, cache=cache))
    assert_all_close(gradients_of(layer), before, 0.0)
    # The layer and the cache still work.
    layer.zero_grad()
    layer.backward(y, cache=cache)
    assert all(np.isfinite(g).all() and g.any() for g in gradients_of(layer).values())


def test_cache_keeps_its_own_copy_of_the_operands(rng: np.random.Generator) -> None:
    for case in cases(rng):
        y, (h, c), cache = case.forward()
        dx, _ = case.backward(cache)
        expected = {"x": dx, **gradients_of(case.layer)}
        case.layer.zero_grad()
        _, _, cache = case.forward()
        case.x[...] = np.nan
        for array in (y, h, c, *case.state):
            array[...] = np.nan
        case.flags["lengths"][...] = -1
        case.flags["mask"][...] = True
        case.flags["resets"][...] = True
        dx, _ = case.backward(cache)
        assert_all_close({"x": dx, **gradients_of(case.layer)}, expected, 0.0)


def test_linear_and_cell_caches_keep_their_own_copies(rng: np.random.Generator) -> None:
    linear, cell = rr.Linear(2, 3), rr.LSTMCell(2, 3)
    for layer in (linear, cell):
        randomize(layer, rng)
        x, dy = rng.normal(size=(4, 2)).astype("f4"), rng.normal(size=(4, 3)).astype("f4")
        argument = dy if layer is linear else (dy, dy)

        def gradients(spoil: bool, layer: Any = layer, x: Any = x, dy: Any = argument) -> Arrays:
            layer.zero_grad()
            given = x.copy()
            result, cache = layer.forward_with_cache(given)
            if spoil:
                given[...] = np.nan
                for array in result if isinstance(result, tuple) else (result,):
                    array[...] = np.nan
            layer.backward(dy, cache=cache)
            return gradients_of(layer)

        assert_all_close(gradients(spoil=True), gradients(spoil=False), 0.0)


def test_cache_outlives_the_arrays_it_came_from(rng: np.random.Generator) -> None:
    layer = rr.LSTM(2, 3, dtype="float64")
    x, dy = rng.normal(size=(5, 4, 2)), rng.normal(size=(5, 4, 3))
    _, _, cache = layer.forward_with_cache(x.copy())
    gc.collect()
    expected, _ = layer.backward(dy, cache=layer.forward_with_cache(x)[-1])
    got, _ = layer.backward(dy, cache=cache)
    np.testing.assert_array_equal(got, expected)


def test_gradient_of_the_input_can_be_left_out(rng: np.random.Generator) -> None:
    for case in cases(rng):
        _, _, cache = case.forward()
        _, (dh, dc) = case.backward(cache)
        with_dx = gradients_of(case.layer)
        case.layer.zero_grad()
        dx, (dh2, dc2) = case.layer.backward(
            case.dy, (case.dhn, case.dcn), cache=cache, input_grad=False
        )
        assert dx is None
        assert_all_close(
            {"h0": dh2, "c0": dc2, **gradients_of(case.layer)},
            {"h0": dh, "c0": dc, **with_dx},
            0.0,
        )
    linear = rr.Linear(2, 3)
    y, cache = linear.forward_with_cache(np.ones((4, 2), "f4"))
    assert linear.backward(y, cache=cache, input_grad=False) is None
    np.testing.assert_allclose(linear.weight.shape, (3, 2))
    assert dict(linear.named_parameters())["weight"].grad.any()


def test_nothing_that_comes_back_gives_zero_gradients(rng: np.random.Generator) -> None:
    case = make_case(rng, 4, 3, 2, 3)
    _, _, cache = case.forward()
    dx, (dh, dc) = case.layer.backward(cache=cache)
    assert dx.shape == case.x.shape
    for gradient in (dx, dh, dc, *gradients_of(case.layer).values()):
        assert not gradient.any()


def test_backward_works_in_evaluation_mode_and_after_switching(rng: np.random.Generator) -> None:
    case = make_case(rng, 4, 3, 2, 3)
    _, _, cache = case.forward()
    dx, _ = case.backward(cache)
    case.layer.eval()
    again, _ = case.backward(cache)
    np.testing.assert_array_equal(dx, again)
    evaluated, _ = case.backward(case.forward()[-1])
    np.testing.assert_array_equal(dx, evaluated)
