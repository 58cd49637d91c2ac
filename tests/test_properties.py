"""What must hold for any shapes, options and values (float64, to 1e-12)."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import recurrust as rr
from reference.comparison import assert_all_close, assert_close
from reference.layers import Arrays, Case, gradients_of, make_case, outputs_of

seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(1, 9)
one_way = {
    "hidden_size": st.integers(1, 20),
    "num_layers": st.integers(1, 3),
    "bias": st.booleans(),
    "state": st.booleans(),
}
any_way = {**one_way, "bidirectional": st.booleans(), "return_sequences": st.booleans()}


def build(seed: int, T: int, B: int, hidden_size: int, **options: Any) -> Case:
    rng = np.random.default_rng(seed)
    return make_case(rng, T, B, 1 + seed % 5, hidden_size, dtype="float64", **options)


def rows_of(state: Any, rows: Any) -> Any:
    return None if state is None else tuple(array[:, rows] for array in state)


@given(seed=seeds, T=st.integers(1, 15), B=sizes, **one_way)
def test_step_by_step_is_the_whole_sequence(seed: int, T: int, B: int, **options: Any) -> None:
    case = build(seed, T, B, **options)
    y, final = case.layer(case.x, case.state)
    state, steps = case.state, []
    for step in case.x:
        out, state = case.layer(step[None], state)
        steps.append(out)
    assert_all_close(outputs_of(np.concatenate(steps), state), outputs_of(y, final), 1e-12)


@given(seed=seeds, T=st.integers(1, 15), B=sizes, hidden_size=st.integers(1, 20))
def test_cell_by_cell_is_the_whole_sequence(seed: int, T: int, B: int, hidden_size: int) -> None:
    case = build(seed, T, B, hidden_size)
    layer, x = case.layer, case.x
    cell = rr.LSTMCell(layer.input_size, hidden_size, dtype="float64")
    cell.load_state_dict(
        {name.removesuffix("_l0"): array for name, array in layer.state_dict().items()}
    )
    assert case.state is not None
    y, (h_n, c_n), cache = case.forward()
    dx, (dh0, dc0) = case.backward(cache)
    h, c = case.state[0][0], case.state[1][0]
    caches, steps = [], []
    for step in x:
        (h, c), cell_cache = cell.forward_with_cache(step, (h, c))
        caches.append(cell_cache)
        steps.append(h)
    assert_all_close(
        outputs_of(np.stack(steps), (h[None], c[None])), outputs_of(y, (h_n, c_n)), 1e-12
    )
    # Back through the cells, by hand.
    assert case.dy is not None
    assert case.dhn is not None
    assert case.dcn is not None
    dh, dc = case.dhn[0], case.dcn[0]
    inputs = []
    for dy, cell_cache in zip(case.dy[::-1], caches[::-1], strict=True):
        step_dx, (dh, dc) = cell.backward((dh + dy, dc), cache=cell_cache)
        inputs.append(step_dx)
    got = {"x": np.stack(inputs[::-1]), "h": dh[None], "c": dc[None]}
    assert_all_close(got, {"x": dx, "h": dh0, "c": dc0}, 1e-12)
    whole = gradients_of(layer)
    for name, gradient in gradients_of(cell).items():
        assert_close(gradient, whole[f"{name}_l0"], 1e-12, name)


@given(seed=seeds, T=st.integers(1, 30), B=sizes, split=st.floats(0, 1), **one_way)
def test_two_parts_are_the_whole_sequence(
    seed: int, T: int, B: int, split: float, **options: Any
) -> None:
    """Forwards and backwards: the gradient of the state goes from the later part to the earlier."""
    case = build(seed, T, B, **options)
    layer, at = case.layer, round(split * T)
    assert case.dy is not None
    y, final, cache = case.forward()
    dx, (dh, dc) = case.backward(cache)
    expected = {"x": dx, "h0": dh, "c0": dc, **gradients_of(layer)}
    layer.zero_grad()
    first, between, first_cache = layer.forward_with_cache(case.x[:at], case.state)
    second, end, second_cache = layer.forward_with_cache(case.x[at:], between)
    assert_all_close(outputs_of(np.concatenate([first, second]), end), outputs_of(y, final), 1e-12)
    later_dx, handed = layer.backward(case.dy[at:], (case.dhn, case.dcn), cache=second_cache)
    earlier_dx, (dh, dc) = layer.backward(case.dy[:at], handed, cache=first_cache)
    got = {"x": np.concatenate([earlier_dx, later_dx]), "h0": dh, "c0": dc, **gradients_of(layer)}
    assert_all_close(got, expected, 1e-12)


@given(seed=seeds, T=st.integers(1, 12), B=st.integers(1, 30), **any_way)
def test_rows_are_independent(seed: int, T: int, B: int, **options: Any) -> None:
    case = build(seed, T, B, flags=("lengths", "mask", "resets"), **options)
    y, state = case.layer(case.x, case.state, **case.flags)
    order = np.random.default_rng(seed).permutation(B)
    row_axis = 1 if case.layer.return_sequences else 0
    for rows in (order, order[:1], order[: B // 2 + 1], np.repeat(order[:2], 3)):
        flags = {name: np.take(array, rows, axis=-1) for name, array in case.flags.items()}
        got = case.layer(case.x[:, rows], rows_of(case.state, rows), **flags)
        expected = outputs_of(np.take(y, rows, row_axis), rows_of(state, rows))
        for name, array in outputs_of(*got).items():
            np.testing.assert_allclose(array, expected[name], rtol=0, atol=1e-12)


@given(seed=seeds, T=st.integers(1, 12), B=sizes, reverse=st.booleans(), **any_way)
def test_padded_rows_equal_solo_rows(
    seed: int, T: int, B: int, reverse: bool, **options: Any
) -> None:
    """Outputs and gradients; the batch's weight gradients are the sums of the rows'."""
    if reverse:
        options["bidirectional"] = False
    case = build(seed, T, B, flags=("lengths",), reverse=reverse, **options)
    layer = case.layer
    assert case.dy is not None
    y, state, cache = case.forward()
    dx, (dh, dc) = case.backward(cache)
    weights = gradients_of(layer)
    layer.zero_grad()
    for row, length in enumerate(case.flags["lengths"]):
        one = slice(row, row + 1)
        solo_y, solo_state, solo_cache = layer.forward_with_cache(
            case.x[:length, one], rows_of(case.state, one)
        )
        in_time = layer.return_sequences
        expected = outputs_of(y[:length, one] if in_time else y[one], rows_of(state, one))
        for name, array in outputs_of(solo_y, solo_state).items():
            np.testing.assert_allclose(array, expected[name], rtol=0, atol=1e-12)
        dy = case.dy[:length, one] if in_time else case.dy[one]
        solo_dx, (solo_dh, solo_dc) = layer.backward(
            dy, rows_of((case.dhn, case.dcn), one), cache=solo_cache
        )
        scale = max(1.0, np.abs(dx).max())
        np.testing.assert_allclose(solo_dx, dx[:length, one], rtol=0, atol=1e-12 * scale)
        np.testing.assert_allclose(solo_dh, dh[:, one], rtol=0, atol=1e-12 * scale)
        np.testing.assert_allclose(solo_dc, dc[:, one], rtol=0, atol=1e-12 * scale)
        assert not dx[length:, row].any()
    assert_all_close(gradients_of(layer), weights, 1e-12)


@given(seed=seeds, T=st.integers(1, 12), B=sizes, reverse=st.booleans(), **any_way)
def test_batch_first_is_the_transpose(
    seed: int, T: int, B: int, reverse: bool, **options: Any
) -> None:
    if reverse:
        options["bidirectional"] = False
    case = build(seed, T, B, flags=("lengths", "mask", "resets"), reverse=reverse, **options)
    layer = rr.LSTM(**{**case.layer.config, "batch_first": True})
    layer.load_state_dict(case.layer.state_dict())
    assert case.dy is not None

    def swapped(array: Any) -> Any:
        return array.swapaxes(0, 1)

    flags = {n: a if n == "lengths" else swapped(a) for n, a in case.flags.items()}
    in_time = layer.return_sequences
    other = Case(
        layer, swapped(case.x), case.state, flags,
        swapped(case.dy) if in_time else case.dy, case.dhn, case.dcn,
        case.random_state,
    )  # fmt: skip
    (outputs, gradients), (expected_outputs, expected_gradients) = (
        other.by_recurrust(),
        case.by_recurrust(),
    )
    gradients["x"] = swapped(gradients["x"])
    if in_time:
        for name in ("y", "uncached y"):
            outputs[name] = swapped(outputs[name])
    assert_all_close(outputs, expected_outputs, 1e-12)
    assert_all_close(gradients, expected_gradients, 1e-12)


@given(seed=seeds, T=st.integers(1, 12), B=sizes, **one_way)
def test_reverse_is_the_flipped_sequence(seed: int, T: int, B: int, **options: Any) -> None:
    """In one layer; in a stack, every layer goes backwards."""
    case = build(seed, T, B, reverse=True, **options)
    forwards = rr.LSTM(**{**case.layer.config, "reverse": False})
    forwards.load_state_dict(case.layer.state_dict())
    y, state = case.layer(case.x, case.state)
    flipped_y, flipped_state = forwards(case.x[::-1], case.state)
    assert_all_close(outputs_of(y, state), outputs_of(flipped_y[::-1], flipped_state), 1e-12)


@given(seed=seeds, T=st.integers(2, 12), B=sizes, at=st.integers(0, 11), **one_way)
def test_a_reset_starts_a_new_sequence(seed: int, T: int, B: int, at: int, **options: Any) -> None:
    case = build(seed, T, B, **options)
    at %= T
    resets = np.zeros((T, B), bool)
    resets[at] = True
    y, state = case.layer(case.x, case.state, resets=resets)
    before, _ = case.layer(case.x[:at], case.state)
    after, end = case.layer(case.x[at:])
    assert_all_close(outputs_of(y, state), outputs_of(np.concatenate([before, after]), end), 1e-12)


@given(seed=seeds, T=st.integers(1, 12), B=sizes, **any_way)
def test_lengths_are_a_mask_and_a_full_mask_is_none(
    seed: int, T: int, B: int, **options: Any
) -> None:
    case = build(seed, T, B, flags=("lengths",), **options)
    lengths = case.flags.pop("lengths")
    mask = np.arange(T)[:, None] < lengths

    def both(**flags: Any) -> Arrays:
        case.flags.clear()
        case.flags.update(flags)
        outputs, gradients = case.by_recurrust()
        return outputs | {f"d{name}": array for name, array in gradients.items()}

    assert_all_close(both(mask=mask), both(lengths=lengths), 0.0)
    assert_all_close(both(mask=np.ones((T, B), bool)), both(), 0.0)
    assert_all_close(both(lengths=np.full(B, T)), both(), 0.0)
    assert_all_close(both(resets=np.zeros((T, B), bool)), both(), 0.0)


@given(seed=seeds, T=st.integers(1, 12), B=sizes, **any_way)
def test_the_last_output_is_the_final_state(seed: int, T: int, B: int, **options: Any) -> None:
    options["return_sequences"] = True
    case = build(seed, T, B, flags=("lengths", "mask"), **options)
    y, (h, _) = case.layer(case.x, case.state, **case.flags)
    last = rr.LSTM(**{**case.layer.config, "return_sequences": False})
    last.load_state_dict(case.layer.state_dict())
    got, (h2, _) = last(case.x, case.state, **case.flags)
    np.testing.assert_allclose(h2, h, rtol=0, atol=1e-12)
    directions = 2 if case.layer.bidirectional else 1
    np.testing.assert_array_equal(got, np.concatenate(h2[-directions:], axis=-1))
    valid = case.flags["mask"] & (np.arange(T)[:, None] < case.flags["lengths"])
    for row in range(B):
        steps = np.flatnonzero(valid[:, row])
        if steps.size:
            hidden = case.layer.hidden_size
            np.testing.assert_array_equal(y[steps[-1], row, :hidden], h[-directions, row])


@given(seed=seeds, T=st.integers(1, 12), B=sizes, **any_way)
def test_the_same_call_gives_the_same_bits(seed: int, T: int, B: int, **options: Any) -> None:
    case = build(seed, T, B, flags=("lengths", "mask", "resets"), **options)
    first = case.by_recurrust()
    threads = rr.get_num_threads()
    try:
        rr.set_num_threads(1 + seed % 4)
        second = case.by_recurrust()
    finally:
        rr.set_num_threads(threads)
    for one, two in zip(first, second, strict=True):
        assert_all_close(two, one, 0.0)
