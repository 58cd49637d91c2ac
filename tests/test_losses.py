"""Losses: values, gradients, weights, and what counts."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import recurrust as rr
from reference.comparison import assert_close
from reference.losses import absolute_errors, cross_entropies, reduce, squared_errors

REDUCTIONS = ["mean", "sum", "none"]


def weightings(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """No weights, and masks and weights of every number of leading axes, alone and together."""
    yield {}
    for axes in range(1, len(shape) + 1):
        mask = rng.random(shape[:axes]) < 0.7
        weight = rng.uniform(0.1, 3, shape[:axes])
        weight[..., 0] = 0
        yield {"mask": mask}
        yield {"sample_weight": weight}
        yield {"mask": mask, "sample_weight": rng.uniform(0.1, 3, shape[:1])}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(5,), (5, 1), (4, 3, 2)])
def test_errors_of_numbers(
    shape: tuple[int, ...], reduction: str, dtype: str, rng: np.random.Generator
) -> None:
    tolerance = 1e-12 if dtype == "float64" else 2e-6
    for kind, formula in ((rr.MSELoss, squared_errors), (rr.MAELoss, absolute_errors)):
        loss = kind(reduction=reduction)
        pred, target = rng.normal(size=(2, *shape)).astype(dtype)
        for given_weights in weightings(rng, shape):
            expected = reduce(formula(pred, target), reduction, **given_weights)
            value, gradient = loss.value_and_grad(pred, target, **given_weights)
            assert_close(value, expected, tolerance, "value")
            assert_close(loss(pred, target, **given_weights), expected, tolerance)
            assert gradient.dtype == dtype
            assert gradient.shape == shape
            if reduction == "none":
                assert value.dtype == dtype
            else:
                assert type(value) is float


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(6,), (4, 3)])
def test_cross_entropy(
    shape: tuple[int, ...], reduction: str, dtype: str, rng: np.random.Generator
) -> None:
    tolerance = 1e-12 if dtype == "float64" else 2e-6
    classes = 5
    logits = rng.normal(size=(*shape, classes), scale=3).astype(dtype)
    for weight, smoothing, ignore in itertools.product(
        (None, rng.uniform(0.2, 2, classes)), (0.0, 0.3), (None, 2)
    ):
        options = {"weight": weight, "label_smoothing": smoothing, "ignore_index": ignore}
        loss = rr.CrossEntropyLoss(**options, reduction=reduction)
        targets: list[Any] = [rng.integers(0, classes, shape)]
        if ignore is None:
            targets.append(rng.dirichlet(np.ones(classes), size=shape).astype(dtype))
        for target, given_weights in itertools.product(targets, weightings(rng, shape)):
            losses, own = cross_entropies(logits, target, **options)
            expected = reduce(losses, reduction, own_weight=own, **given_weights)
            value, gradient = loss.value_and_grad(logits, target, **given_weights)
            assert_close(value, expected, tolerance, str(options))
            assert_close(loss(logits, target, **given_weights), expected, tolerance)
            assert gradient.shape == logits.shape


@given(
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple),
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(["mse", "mae", "ce"]),
)
def test_total_weight_joins_means_of_parts(shape: tuple[int, ...], seed: int, kind: str) -> None:
    """Means of parts, weighted by their denominators, are the mean of the whole."""
    rng = np.random.default_rng(seed)
    pred = rng.normal(size=(*shape, 3))
    loss: Any = {"mse": rr.MSELoss, "mae": rr.MAELoss}.get(kind, rr.CrossEntropyLoss)()
    target: Any = rng.normal(size=pred.shape)
    if kind == "ce":
        loss = rr.CrossEntropyLoss(weight=[0.5, 1.0, 2.0], ignore_index=7)
        target = rng.choice([0, 1, 2, 7], shape)
    weights = {"sample_weight": rng.uniform(0, 2, shape[:1]), "mask": rng.random(shape) < 0.8}
    whole = loss(pred, target, **weights)
    at = shape[0] // 2
    sums, totals = 0.0, 0.0
    for part in (slice(None, at), slice(at, None)):
        own = {name: array[part] for name, array in weights.items()}
        total = loss.total_weight(pred[part], target[part], **own)
        sums += total * loss(pred[part], target[part], **own)
        totals += total
    assert totals == pytest.approx(loss.total_weight(pred, target, **weights), rel=1e-12)
    assert whole == pytest.approx(sums / totals if totals else 0.0, rel=1e-12)


def test_what_does_not_count_may_be_anything(rng: np.random.Generator) -> None:
    pred = rng.normal(size=(4, 3))
    mask = np.array([True, False, True, False])
    for loss, target in (
        (rr.MSELoss(), rng.normal(size=(4, 3))),
        (rr.MAELoss(), rng.normal(size=(4, 3))),
        (rr.CrossEntropyLoss(), rng.dirichlet(np.ones(3), 4)),
        (rr.CrossEntropyLoss(), rng.integers(0, 3, 4)),
    ):
        value, gradient = loss.value_and_grad(pred[mask], target[mask])
        for filling in (np.nan, np.inf, -np.inf):
            spoiled, spoiled_target = pred.copy(), target.copy()
            spoiled[~mask] = filling
            if spoiled_target.dtype.kind == "f":
                spoiled_target[~mask] = filling
            for weights in ({"mask": mask}, {"sample_weight": mask.astype(float)}):
                got, got_gradient = loss.value_and_grad(spoiled, spoiled_target, **weights)
                assert got == pytest.approx(value, rel=1e-14)
                np.testing.assert_allclose(got_gradient[mask], gradient, rtol=1e-14)
                assert not got_gradient[~mask].any()


def test_classes_that_do_not_count_need_not_exist(rng: np.random.Generator) -> None:
    pred = rng.normal(size=(4, 3))
    mask = np.array([True, False, True, False])
    loss = rr.CrossEntropyLoss(weight=[1.0, 2.0, 3.0])
    expected = loss(pred[mask], [0, 2])
    for padding in (-1, 3, -100, 10**6):
        target = [0, padding, 2, padding]
        for weights in ({"mask": mask}, {"sample_weight": mask.astype(float)}):
            value, gradient = loss.value_and_grad(pred, target, **weights)
            assert value == pytest.approx(expected, rel=1e-14)
            assert not gradient[~mask].any()
            assert loss.total_weight(pred, target, **weights) == 4
        with pytest.raises(rr.ConfigError, match=r"target\[1\]"):
            loss(pred, target, mask=[True, True, True, False])
        with pytest.raises(rr.ConfigError, match=r"target\[3\]"):
            loss(pred, target, mask=mask | np.array([False, False, False, True]))


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_nothing_that_counts_is_zero(reduction: str) -> None:
    for loss, target in (
        (rr.MSELoss(reduction=reduction), np.zeros((2, 3))),
        (rr.CrossEntropyLoss(reduction=reduction), [0, 1]),
    ):
        for weights in ({"mask": [False, False]}, {"sample_weight": [0.0, 0.0]}):
            value, gradient = loss.value_and_grad(np.ones((2, 3)), target, **weights)
            assert not np.any(value)
            assert not gradient.any()
            assert loss.total_weight(np.ones((2, 3)), target, **weights) == 0
        value, gradient = loss.value_and_grad(np.ones((0, 3)), target[:0])
        assert not np.any(value)
        assert gradient.shape == (0, 3)


def test_nonfinite_losses_are_told_as_they_are() -> None:
    for kind in (rr.MSELoss, rr.MAELoss):
        assert np.isnan(kind()(np.array([1.0, np.nan]), np.zeros(2)))
        assert kind()(np.array([1.0, np.inf]), np.zeros(2)) == np.inf
        values = kind(reduction="none")(np.array([2.0, np.nan, -np.inf]), np.zeros(3))
        np.testing.assert_array_equal(np.isfinite(values), [True, False, False])
    assert np.isnan(rr.CrossEntropyLoss()(np.array([[0.0, np.nan]]), [0]))
    assert rr.CrossEntropyLoss()(np.array([[0.0, -np.inf]]), [0]) == 0
    assert rr.CrossEntropyLoss()(np.array([[0.0, -np.inf]]), [1]) == np.inf


def test_absolute_error_has_no_slope_where_it_is_zero() -> None:
    value, gradient = rr.MAELoss(reduction="sum").value_and_grad(
        np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0])
    )
    assert value == 2
    np.testing.assert_array_equal(gradient, [0, -1, 1])


def test_sums_of_many_single_numbers_are_exact() -> None:
    """A running float32 sum would lose the later terms."""
    pred = np.full(2_000_000, 0.1, np.float32)
    expected = float(np.float64(np.float32(0.1)) ** 2)
    assert rr.MSELoss()(pred, np.zeros_like(pred)) == pytest.approx(expected, rel=1e-6)
    assert rr.MAELoss(reduction="sum")(pred, np.zeros_like(pred)) == pytest.approx(
        2_000_000 * float(np.float32(0.1)), rel=1e-6
    )


def test_any_layout_and_dtype_of_arguments(rng: np.random.Generator) -> None:
    wide = rng.normal(size=(8, 6))
    loss = rr.MSELoss()
    expected = loss(wide[::2, 1::2].copy(), wide[1::2, ::2].copy())
    assert loss(wide[::2, 1::2], wide[1::2, ::2]) == expected
    assert loss(wide[::2, 1::2].T, wide[1::2, ::2].T) == pytest.approx(expected, rel=1e-14)
    assert loss(wide[:4, :3].tolist(), wide[:4, :3].tolist()) == 0
    assert loss([1, 2], [1, 4]) == 2
    assert loss(np.array([1.0, 2.0], "f4"), np.array([1, 4])) == 2
    assert loss(np.float64(3.0), 1.0) == 4
    logits = rng.normal(size=(4, 3))
    expected = rr.CrossEntropyLoss()(logits, [0, 1, 2, 0])
    for dtype in ("int8", "uint8", "int64", "float32", "float64"):
        assert rr.CrossEntropyLoss()(logits, np.array([0, 1, 2, 0], dtype)) == expected


def test_repr_and_reduction() -> None:
    for reduction in REDUCTIONS:
        assert rr.MAELoss(reduction=reduction).reduction == reduction
        assert repr(rr.MAELoss(reduction=reduction)) == f'MAELoss(reduction="{reduction}")'
    text = repr(rr.CrossEntropyLoss([1.0, 2.0], 3, 0.25))
    for part in ("weight=", "ignore_index=3", "label_smoothing=0.25"):
        assert part in text
