"""`Zoneout` beside its equations: what keeps its old value, and whose gradient goes where."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import recurrust as rr
from reference.differences import central_differences

Array = NDArray[Any]
SHAPES = ((), (4,), (3, 4), (2, 3, 4), (0, 4))


def pair(
    rng: np.random.Generator, shape: tuple[int, ...], dtype: str = "f8"
) -> tuple[Array, Array]:
    h, c = rng.normal(size=(2, *shape)).astype(dtype)
    return h, c


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("cell", "hidden"), [(0.3, 0.6), (0.0, 1.0), (1.0, 0.0), (0.0, 0.0)])
def test_training(cell: float, hidden: float, dtype: str, rng: np.random.Generator) -> None:
    zoneout = rr.Zoneout(cell, hidden)
    for shape in SHAPES:
        old, new, dstate = (pair(rng, shape, dtype) for _ in range(3))
        state, cache = zoneout.forward_with_cache(old, new)
        dold, dnew = zoneout.backward(dstate, cache=cache)
        masks = cache.mask
        assert masks is not None
        for part, probability in enumerate((hidden, cell)):
            mask = masks[part]
            assert (mask.dtype, mask.shape) == (bool, shape)
            if probability in (0, 1):
                assert (mask == bool(probability)).all()
            for got, expected in (
                (state[part], np.where(mask, old[part], new[part])),
                (dold[part], np.where(mask, dstate[part], 0)),
                (dnew[part], np.where(mask, 0, dstate[part])),
            ):
                assert got.dtype == dtype
                np.testing.assert_array_equal(got, expected)


def test_hidden_states_alone(rng: np.random.Generator) -> None:
    zoneout = rr.Zoneout(1.0, 0.5)  # the cell's rate plays no part
    old, new, dstate = rng.normal(size=(3, 6, 50))
    state, cache = zoneout.forward_with_cache(old, new)
    mask = cache.mask
    assert isinstance(mask, np.ndarray)
    assert 0 < mask.mean() < 1
    np.testing.assert_array_equal(state, np.where(mask, old, new))
    dold, dnew = zoneout.backward(dstate, cache=cache)
    np.testing.assert_array_equal(dold, dstate * mask)
    np.testing.assert_array_equal(dnew, dstate * ~mask)
    # Lists are states, tuples are pairs of them.
    ones = zoneout([0.0, 0.0], [1.0, 1.0])
    assert ones.shape == (2,)
    assert zoneout((0.0, 0.0), (1.0, 1.0))[1] == 0


def test_masks_are_drawn_from_the_process_stream() -> None:
    zoneout = rr.Zoneout(0.25, 0.75)
    old, new = np.zeros((200, 300)), np.ones((200, 300))
    rr.manual_seed(3)
    before = rr.get_rng_state()
    h, c = zoneout((old, old), (new, new))
    for part, probability in ((h, 0.75), (c, 0.25)):
        # Five standard errors.
        allowed = 5 * np.sqrt(probability * (1 - probability) / part.size)
        assert abs((1 - part).mean() - probability) < allowed
    # The two are independent of each other, and of the next call's.
    both = ((1 - h) * (1 - c)).mean()
    assert abs(both - 0.75 * 0.25) < 5 * 0.5 / np.sqrt(h.size)
    again = zoneout((old, old), (new, new))
    assert (again[0] != h).any()
    assert (again[1] != c).any()
    # One ticket a call; with it the masks come again.
    rr.set_rng_state(before)
    np.testing.assert_array_equal(zoneout(old, new), h)
    after_one = rr.get_rng_state()
    rr.set_rng_state(before)
    zoneout((old, old), (new, new))
    assert rr.get_rng_state() == after_one


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_evaluation(dtype: str, rng: np.random.Generator) -> None:
    old, new, dstate = (pair(rng, (3, 4), dtype) for _ in range(3))
    rates = (0.125, 0.75)  # exact in binary: of h, of c
    stream = rr.get_rng_state()
    zoneout = rr.Zoneout(rates[1], rates[0]).eval()
    state, cache = zoneout.forward_with_cache(old, new)
    dold, dnew = zoneout.backward(dstate, cache=cache)
    assert cache.mask is None
    for part, rate in enumerate(rates):
        expected = rate * old[part] + (1 - rate) * new[part]
        np.testing.assert_allclose(state[part], expected, rtol=4 * np.finfo(dtype).eps, atol=1e-7)
        np.testing.assert_array_equal(dold[part], rate * dstate[part], strict=True)
        np.testing.assert_array_equal(dnew[part], (1 - rate) * dstate[part], strict=True)
    identity = rr.Zoneout(*rates, zoneout_eval="identity").eval()
    state, cache = identity.forward_with_cache(old, new)
    dold, dnew = identity.backward(dstate, cache=cache)
    for part in range(2):
        np.testing.assert_array_equal(state[part], new[part], strict=True)
        np.testing.assert_array_equal(dold[part], np.zeros_like(old[part]))
        np.testing.assert_array_equal(dnew[part], dstate[part], strict=True)
    assert not np.shares_memory(state[0], new[0])
    assert rr.get_rng_state() == stream


def test_the_expectation_is_that_of_training(rng: np.random.Generator) -> None:
    zoneout = rr.Zoneout(0.3, 0.3)
    old, new = rng.normal(size=(2, 4))
    mean = np.mean([zoneout(old, new) for _ in range(4000)], axis=0)
    deviation = np.abs(old - new) * np.sqrt(0.3 * 0.7 / 4000)
    assert (np.abs(mean - zoneout.eval()(old, new)) < 5 * deviation).all()


@pytest.mark.parametrize("training", [True, False])
def test_central_differences(training: bool, rng: np.random.Generator) -> None:
    zoneout = rr.Zoneout(0.4, 0.3)
    if not training:
        zoneout.eval()
    old, new, dstate = (pair(rng, (3, 2)) for _ in range(3))
    stream = rr.get_rng_state()
    for part in range(2):
        for which in range(2):

            def moved(at: Array, part: int = part, which: int = which) -> Array:
                states = [list(old), list(new)]
                states[which][part] = at
                rr.set_rng_state(stream)
                return zoneout(tuple(states[0]), tuple(states[1]))[part] * dstate[part]

            expected = central_differences(moved, (old, new)[which][part])
            rr.set_rng_state(stream)
            _, cache = zoneout.forward_with_cache(old, new)
            got = zoneout.backward(dstate, cache=cache)[which][part]
            np.testing.assert_allclose(got, expected, rtol=0, atol=1e-8)


def test_what_does_not_stay_leaves_no_trace() -> None:
    fine, bad = np.ones(8), np.full(8, np.nan)
    assert (rr.Zoneout(0, 0)(bad, fine) == 1).all()
    assert (rr.Zoneout(0, 1)(fine, bad) == 1).all()
    assert (rr.Zoneout(0, 0).eval()(bad, fine) == 1).all()
    assert (rr.Zoneout(0, 1).eval()(fine, bad) == 1).all()
    # Nor do the gradients, however large.
    for p in (0, 1):
        zoneout = rr.Zoneout(0, p).eval()
        _, cache = zoneout.forward_with_cache(fine, fine)
        gradients = zoneout.backward(np.full(8, np.inf), cache=cache)
        assert (gradients[p] == 0).all()


def test_a_recurrence_of_ones_own(rng: np.random.Generator) -> None:
    """h becomes zoneout(h, tanh(W h + x)), step by step; the first h by central differences."""
    zoneout = rr.Zoneout(0.0, 0.5)
    weight = rng.normal(size=(3, 3)) / 2
    x = rng.normal(size=(5, 2, 3))
    start, dlast = rng.normal(size=(2, 2, 3))
    stream = rr.get_rng_state()

    def run(h: Array) -> tuple[Array, list[Any]]:
        rr.set_rng_state(stream)
        tape = []
        for step in x:
            new = np.tanh(h @ weight.T + step)
            h, cache = zoneout.forward_with_cache(h, new)
            tape.append((new, cache))
        return h, tape

    _, tape = run(start)
    dh = dlast
    for new, cache in reversed(tape):
        dh, dnew = zoneout.backward(dh, cache=cache)
        dh = dh + (dnew * (1 - new**2)) @ weight
    expected = central_differences(lambda at: run(at)[0] * dlast, start)
    np.testing.assert_allclose(dh, expected, rtol=0, atol=1e-7 * abs(expected).max())


def test_bad_states() -> None:
    zoneout = rr.Zoneout(0.5, 0.5)
    h = np.zeros((2, 3))
    stream = rr.get_rng_state()
    bad: list[tuple[Any, Any, type[Exception], str]] = [
        (h, (h, h), rr.ConfigError, r"^new_state: expected h, as old_state is, got a tuple"),
        (
            (h, h),
            h,
            rr.ConfigError,
            r"^new_state: expected a tuple \(h, c\), as old_state is, got h",
        ),
        ((h, h, h), (h, h, h), rr.ConfigError, r"^old_state: expected h or a tuple .*tuple of 3"),
        (h, h[:1], rr.ShapeError, r"^new_state: expected shape \(2, 3\), got \(1, 3\)"),
        ((h, h), (h, h[0]), rr.ShapeError, r"^new_state: c: expected shape \(2, 3\), got \(3,\)"),
        (None, h, rr.DtypeError, r"^old_state: expected an array of numbers, got None"),
        (
            (h, None),
            (h, h),
            rr.DtypeError,
            r"^old_state: c: expected an array of numbers, got None",
        ),
        (h, h + 0j, rr.DtypeError, r"^new_state: "),
    ]
    for old, new, error, message in bad:
        for call in (zoneout, zoneout.forward_with_cache):
            with pytest.raises(error, match=message):
                call(old, new)
    assert rr.get_rng_state() == stream
    _, cache = zoneout.forward_with_cache((h, h), (h, h))
    for dstate, error, message in (
        (h, rr.ConfigError, r"^dstate: expected a tuple \(h, c\), as the state was, got h"),
        ((h, h[:1]), rr.ShapeError, r"^dstate: c: expected shape \(2, 3\), got \(1, 3\)"),
        ((h, "x"), rr.DtypeError, r"^dstate: c: "),
    ):
        with pytest.raises(error, match=message):
            zoneout.backward(dstate, cache=cache)
    for foreign in (None, 3, rr.Dropout().forward_with_cache(h)[1]):
        with pytest.raises(rr.DtypeError, match=r"^cache: "):
            zoneout.backward((h, h), cache=foreign)


def test_options_stay() -> None:
    zoneout = rr.Zoneout(0.25, 0.5, zoneout_eval="identity")
    assert (zoneout.cell, zoneout.hidden, zoneout.zoneout_eval) == (0.25, 0.5, "identity")
    assert zoneout.config == {"cell": 0.25, "hidden": 0.5, "zoneout_eval": "identity"}
    assert repr(zoneout) == 'Zoneout(0.25, 0.5, zoneout_eval="identity")'
    assert repr(rr.Zoneout(0, 1)) == "Zoneout(0, 1)"
    assert list(zoneout.parameters()) == []
    zoneout.eval()
    twins = (copy.deepcopy(zoneout), pickle.loads(pickle.dumps(zoneout)), zoneout.astype("float64"))
    for twin in twins:
        assert (twin.config, twin.training) == (zoneout.config, False)
    with pytest.raises(TypeError):
        rr.Zoneout(0.5)
