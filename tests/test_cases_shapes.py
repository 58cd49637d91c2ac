"""Shapes, lengths, masks and layouts that went wrong in other libraries."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import recurrust as rr
from reference.comparison import assert_all_close, assert_close
from reference.fixed import accumulator
from reference.layers import gradients_of, make_case, outputs_of, randomize, reference_of


def test_u01_no_steps_pass_the_state_through(rng: np.random.Generator) -> None:
    for options in ({}, {"bidirectional": True, "num_layers": 2}, {"batch_first": True}):
        layer = rr.LSTM(5, 6, dtype="float64", **options)
        rows = layer.num_layers * (2 if layer.bidirectional else 1)
        x = np.zeros((10, 0, 5) if layer.batch_first else (0, 10, 5))
        h0, c0, dh, dc = rng.normal(size=(4, rows, 10, 6))
        y, (h, c), cache = layer.forward_with_cache(x, (h0, c0))
        assert y.shape == (*x.shape[:2], layer.output_size)
        np.testing.assert_array_equal(h, h0)
        np.testing.assert_array_equal(c, c0)
        y, (h, c) = layer(x, (h0, c0))
        np.testing.assert_array_equal(h, h0)
        np.testing.assert_array_equal(c, c0)
        dx, (dh0, dc0) = layer.backward(y, (dh, dc), cache=cache)
        assert dx.shape == x.shape
        np.testing.assert_array_equal(dh0, dh)
        np.testing.assert_array_equal(dc0, dc)
        assert not any(gradient.any() for gradient in gradients_of(layer).values())


def test_u01_no_steps_of_the_last_output_is_the_initial_state(rng: np.random.Generator) -> None:
    layer = rr.LSTM(5, 6, num_layers=2, return_sequences=False, dtype="float64")
    h0, c0 = rng.normal(size=(2, 2, 3, 6))
    y, _ = layer(np.zeros((0, 3, 5)), (h0, c0))
    np.testing.assert_array_equal(y, h0[-1])


def test_u02_no_rows(rng: np.random.Generator) -> None:
    layer = rr.LSTM(4, 6, bidirectional=True)
    x = np.zeros((3, 0, 4), "f4")
    y, (h, c), cache = layer.forward_with_cache(x, lengths=[])
    assert y.shape == (3, 0, 12)
    assert h.shape == c.shape == (2, 0, 6)
    dx, (dh, dc) = layer.backward(y, (h, c), cache=cache)
    assert (dx.shape, dh.shape, dc.shape) == (x.shape, h.shape, c.shape)
    assert not any(gradient.any() for gradient in gradients_of(layer).values())
    y, (h, c) = layer(np.zeros((0, 0, 4), "f4"))
    assert (y.shape, h.shape, c.shape) == ((0, 0, 12), (2, 0, 6), (2, 0, 6))
    assert rr.LSTM(4, 6, return_sequences=False)(x)[0].shape == (0, 6)
    h, c = rr.LSTMCell(4, 6)(np.zeros((0, 4), "f4"))
    assert h.shape == c.shape == (0, 6)
    assert rr.Linear(4, 6)(np.zeros((3, 0, 4), "f4")).shape == (3, 0, 6)
    with pytest.raises(ValueError, match=r"x.*4 features.*0"):
        layer(np.zeros((3, 2, 0), "f4"))


def test_u04_an_empty_row_does_not_depend_on_the_others(rng: np.random.Generator) -> None:
    for options in ({}, {"bidirectional": True, "num_layers": 2}, {"return_sequences": False}):
        layer = rr.LSTM(2, 5, **options)
        x = rng.normal(size=(3, 2, 2)).astype("f4")
        rows = layer.num_layers * (2 if layer.bidirectional else 1)
        state = tuple(rng.normal(size=(2, rows, 2, 5)).astype("f4"))
        results = [outputs_of(*layer(x, state, lengths=lengths)) for lengths in ([0, 3], [0, 2])]
        results.append(outputs_of(*layer(x, state, lengths=[0, 0])))
        for result in results:
            for name, array in result.items():
                first = array[0] if name == "y" and not layer.return_sequences else array[:, 0]
                again = results[0][name]
                np.testing.assert_array_equal(
                    first, again[0] if name == "y" and not layer.return_sequences else again[:, 0]
                )
            np.testing.assert_array_equal(result["h_n"][:, 0], state[0][:, 0])
            np.testing.assert_array_equal(result["c_n"][:, 0], state[1][:, 0])
            if layer.return_sequences:
                assert not result["y"][:, 0].any()
            else:
                np.testing.assert_array_equal(result["y"][0], state[0][-1, 0])


def test_u05_unsorted_lengths_keep_the_order_of_the_caller(rng: np.random.Generator) -> None:
    lengths = [2, 3, 1]
    for options in ({}, {"bidirectional": True, "num_layers": 2}, {"reverse": True}):
        layer = rr.LSTM(4, 6, **options)
        x = rng.normal(size=(3, 3, 4)).astype("f4")
        y, (h, c) = layer(x, lengths=lengths)
        for row, length in enumerate(lengths):
            solo_y, (solo_h, solo_c) = layer(x[:length, row : row + 1])
            np.testing.assert_allclose(y[:length, row], solo_y[:, 0], rtol=0, atol=1e-6)
            np.testing.assert_allclose(h[:, row], solo_h[:, 0], rtol=0, atol=1e-6)
            np.testing.assert_allclose(c[:, row], solo_c[:, 0], rtol=0, atol=1e-6)
            assert not y[length:, row].any()


@pytest.mark.parametrize("count", [1, 3])
def test_u07_lengths_and_masks_of_the_wrong_size(count: int) -> None:
    layer = rr.LSTM(2, 3)
    x = np.zeros((3, count, 2), "f4")
    good = [3] * count
    with pytest.raises(ValueError, match=r"lengths\[0\].*0 to 3.*4"):
        layer(x, lengths=[4, *good[1:]])
    with pytest.raises(ValueError, match=r"lengths\[0\].*0 to 3.*-1"):
        layer(x, lengths=[-1, *good[1:]])
    with pytest.raises(ValueError, match=rf"lengths.*\({count},\).*\({count + 1},\)"):
        layer(x, lengths=[*good, 3])
    with pytest.raises(ValueError, match=rf"mask.*\(3, {count}\).*\(4, {count}\)"):
        layer(x, mask=np.ones((4, count), bool))
    y, _ = layer(x, lengths=good)
    np.testing.assert_array_equal(y, layer(x)[0])
    for dtype in ("int8", "uint64", "int32"):
        np.testing.assert_array_equal(layer(x, lengths=np.array(good, dtype))[0], y)
    for wrong in ([2**63 - 1, *good[1:]], [2**64 - 1, *good[1:]]):
        with pytest.raises(ValueError, match="lengths"):
            layer(x, lengths=np.array(wrong, "uint64"))


@pytest.mark.parametrize("bidirectional", [False, True])
def test_u08_a_hole_carries_the_state_and_outputs_zero(bidirectional: bool) -> None:
    layer = accumulator(bidirectional=bidirectional)
    y, (h, c) = layer(np.ones((3, 1, 1)), mask=[[True], [False], [True]])
    np.testing.assert_allclose(c.ravel(), 1.5231883, atol=1e-6)
    np.testing.assert_allclose(h.ravel(), 0.9092517, atol=1e-6)
    assert not y[1].any()
    expected = [[0.6420150, 0.9092517], [0, 0], [0.9092517, 0.6420150]]
    np.testing.assert_allclose(y[:, 0], np.array(expected)[:, : y.shape[2]], atol=1e-6)


def test_u10_states_have_one_layout(rng: np.random.Generator) -> None:
    layer = rr.LSTM(3, 6, batch_first=True, dtype="float64")
    x = rng.normal(size=(2, 5, 3))
    y, (h, c) = layer(x)
    assert y.shape == (2, 5, 6)
    assert h.shape == c.shape == (1, 2, 6)
    further, _ = layer(x, (h, c))
    whole, _ = layer(np.concatenate([x, x], axis=1))
    assert_close(further, whole[:, 5:], 1e-12)
    np.testing.assert_array_equal(h[0], y[:, -1])


@pytest.mark.parametrize("T", [1, 4])
def test_u11_batch_first_is_the_transpose(T: int, rng: np.random.Generator) -> None:
    for options in ({}, {"bidirectional": True}, {"num_layers": 2, "reverse": True}):
        layer = rr.LSTM(3, 5, **options)
        batch_major = rr.LSTM(3, 5, batch_first=True, **options)
        batch_major.load_state_dict(layer.state_dict())
        x = rng.normal(size=(T, 4, 3)).astype("f4")
        flags: dict[str, Any] = {"lengths": rng.integers(0, T, 4, endpoint=True)}
        mask = rng.random((T, 4)) < 0.8
        y, state = layer(x, mask=mask, **flags)
        y2, state2 = batch_major(np.ascontiguousarray(x.swapaxes(0, 1)), mask=mask.T, **flags)
        np.testing.assert_array_equal(y2, y.swapaxes(0, 1))
        for got, expected in zip(state2, state, strict=True):
            np.testing.assert_array_equal(got, expected)


def test_u14_two_directions_keep_the_rows_apart(rng: np.random.Generator) -> None:
    layer = rr.LSTM(2, 4, bidirectional=True)
    batch_major = rr.LSTM(2, 4, bidirectional=True, batch_first=True)
    batch_major.load_state_dict(layer.state_dict())
    x = rng.normal(size=(3, 2, 2)).astype("f4") * [[[1.0], [5.0]]]
    y, (h, c) = layer(x)
    y2, (h2, c2) = batch_major(x.swapaxes(0, 1))
    np.testing.assert_array_equal(y, y2.swapaxes(0, 1))
    np.testing.assert_array_equal(h, h2)
    np.testing.assert_array_equal(c, c2)
    assert np.abs(y[:, 0] - y[:, 1]).max() > 0.01
    np.testing.assert_array_equal(h[1], y[0, :, 4:])


def test_u15_the_width_is_checked_with_and_without_a_state() -> None:
    layer = rr.LSTM(13, 4)
    state = (np.zeros((1, 5, 4)), np.zeros((1, 5, 4)))
    for given in (None, state):
        with pytest.raises(ValueError, match=r"x.*13.*2"):
            layer(np.zeros((3, 5, 2)), given)


def test_u17_malformed_states_are_refused() -> None:
    layer = rr.LSTM(2, 3)
    x = np.zeros((4, 5, 2), "f4")
    h = np.zeros((1, 5, 3), "f4")
    five = np.zeros((1, 1, 1, 5, 3), "f4")
    for state in (
        h,
        five,
        (five, five),
        (h,),
        (h, None),
        (None, h),
        (None, None),
        "hc",
        ("h", "c"),
        {"h": h, "c": h},
        (h, h, h),
        ((h, h),),
        (h[:, :1], h[:, :1]),
        object(),
        (object(), object()),
        np.zeros((2, 1, 5, 3), "f4"),
    ):
        with pytest.raises((TypeError, ValueError), match="state"):
            layer(x, state)
    assert np.isfinite(layer(x, (h, h))[0]).all()


def test_u18_the_message_tells_the_shape_that_came() -> None:
    with pytest.raises(ValueError, match=r"x: .*4-D \(5, 100, 10, 10\)"):
        rr.LSTM(10, 3)(np.zeros((5, 100, 10, 10), "f4"))


@pytest.mark.parametrize(
    ("argument", "values"),
    [
        ("num_layers", [0, -1, -49]),
        ("hidden_size", [0, -3]),
        ("input_size", [0, -3]),
        ("dropout", [1.5, 110, -0.1, float("nan")]),
        ("recurrent_dropout", [1.5, -0.1, float("nan")]),
        ("zoneout", [2, -1, float("nan")]),
    ],
)
def test_u19_impossible_options_name_the_argument(argument: str, values: list[Any]) -> None:
    for value in values:
        with pytest.raises(ValueError, match=f"^{argument}: expected") as caught:
            rr.LSTM(**{"input_size": 2, "hidden_size": 3, argument: value})
        assert "not available" not in str(caught.value)


def test_u20_one_sequence_has_no_batch_axis(rng: np.random.Generator) -> None:
    for options in ({}, {"batch_first": True}, {"bidirectional": True}):
        layer = rr.LSTM(3, 4, num_layers=2, **options)
        rows = 4 if layer.bidirectional else 2
        x = rng.normal(size=(5, 3)).astype("f4")
        y, (h, c) = layer(x)
        assert y.shape == (5, layer.output_size)
        assert h.shape == c.shape == (rows, 4)
        batched, (hb, cb) = layer(x[None] if layer.batch_first else x[:, None])
        np.testing.assert_array_equal(y, batched[0] if layer.batch_first else batched[:, 0])
        np.testing.assert_array_equal(h, hb[:, 0])
        np.testing.assert_array_equal(c, cb[:, 0])
        y2, _ = layer(x, (h, c), lengths=3, mask=[True, False, True, True, True])
        assert not y2[[1, 3, 4]].any()
        assert y2[[0, 2]].all()
    last, _ = rr.LSTM(3, 4, return_sequences=False)(x)
    assert last.shape == (4,)


def test_u22_sixteen_layers(rng: np.random.Generator) -> None:
    case = make_case(rng, 5, 3, 4, 6, num_layers=16, dtype="float64")
    outputs, gradients = case.by_recurrust()
    expected_outputs, expected_gradients = case.by_reference()
    assert_all_close(outputs, expected_outputs, 1e-12)
    assert_all_close(gradients, expected_gradients, 1e-12)

    layer, loss = rr.LSTM(4, 6, num_layers=16), rr.MSELoss()
    randomize(layer, rng, scale=0.7)
    optimizer = rr.Adam(layer.parameters(), lr=1e-2)
    x, target = rng.normal(size=(5, 3, 4)).astype("f4"), np.full((5, 3, 6), 0.3, "f4")
    before = layer.state_dict()
    values = []
    for _ in range(20):
        optimizer.zero_grad()
        y, _, cache = layer.forward_with_cache(x)
        value, dy = loss.value_and_grad(y, target)
        layer.backward(dy, cache=cache)
        optimizer.step()
        values.append(value)
    assert values[-1] < 0.5 * values[0]
    for name, array in layer.state_dict().items():
        assert (array != before[name]).any(), name
    assert_close(layer(x)[0], reference_of(layer).forward(x)[0], 2e-6)
