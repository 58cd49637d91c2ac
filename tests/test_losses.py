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
from reference.losses import (
    absolute_errors,
    binary_cross_entropies,
    cross_entropies,
    gaussian,
    huber,
    pinball,
    reduce,
    smooth_l1,
    squared_errors,
)

REDUCTIONS = ["mean", "sum", "none"]
LEVELS = [0.1, 0.5, 0.75]
# What compares one number with one other.
DIFFERENCES: list[tuple[Any, dict[str, float], Any]] = [
    (rr.MSELoss, {}, squared_errors),
    (rr.MAELoss, {}, absolute_errors),
    *((rr.HuberLoss, {"delta": delta}, huber) for delta in (0.1, 1.0, 2.5)),
    *((rr.SmoothL1Loss, {"beta": beta}, smooth_l1) for beta in (0.0, 0.1, 1.0, 2.5)),
]


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
    for kind, options, formula in DIFFERENCES:
        loss = kind(**options, reduction=reduction)
        pred, target = rng.normal(size=(2, *shape)).astype(dtype)
        for given_weights in weightings(rng, shape):
            expected = reduce(formula(pred, target, **options), reduction, **given_weights)
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


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(), (5,), (5, 3), (4, 3, 3), (300, 3)])
def test_answers(
    shape: tuple[int, ...], reduction: str, dtype: str, rng: np.random.Generator
) -> None:
    """Probabilities for targets, and weights of positive answers for each class or for all."""
    tolerance = 1e-12 if dtype == "float64" else 2e-6
    logits = rng.normal(size=shape, scale=5).astype(dtype)
    target = rng.choice([0, 1, 0.3], size=shape).astype(dtype)
    for pos_weight in (None, 2.5, [0.0, 1.0, 3.0]):
        if isinstance(pos_weight, list) and shape[-1:] != (3,):
            continue
        loss = rr.BCEWithLogitsLoss(pos_weight, reduction=reduction)
        losses = binary_cross_entropies(logits, target, 1.0 if pos_weight is None else pos_weight)
        for given_weights in weightings(rng, shape):
            expected = reduce(losses, reduction, **given_weights)
            value, gradient = loss.value_and_grad(logits, target, **given_weights)
            assert_close(value, expected, tolerance, str(pos_weight))
            assert_close(loss(logits, target, **given_weights), expected, tolerance)
            assert gradient.shape == shape
            assert gradient.dtype == dtype
    for answers in (target.round().astype(bool), target.round().astype(np.int8)):
        assert_close(loss(logits, answers), loss(logits, target.round()), 0.0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(), (5,), (4, 3), (300,)])
def test_distributions(
    shape: tuple[int, ...], reduction: str, dtype: str, rng: np.random.Generator
) -> None:
    """Some predictions for each target; masks and weights are those of the targets."""
    tolerance = 1e-12 if dtype == "float64" else 2e-6
    target = rng.normal(size=shape).astype(dtype)
    for loss, formula, options, width in (
        (rr.QuantileLoss(LEVELS, reduction=reduction), pinball, {"quantiles": LEVELS}, 3),
        (rr.QuantileLoss([0.3], reduction=reduction), pinball, {"quantiles": [0.3]}, 1),
        (rr.GaussianNLLLoss(reduction=reduction), gaussian, {}, 2),
        (rr.GaussianNLLLoss(full=True, reduction=reduction), gaussian, {"full": True}, 2),
    ):
        pred = rng.normal(size=(*shape, width), scale=2).astype(dtype)
        losses = formula(pred, target, **options)
        for given_weights in weightings(rng, shape):
            expected = reduce(losses, reduction, **given_weights)
            value, gradient = loss.value_and_grad(pred, target, **given_weights)
            assert_close(value, expected, tolerance, "value")
            assert_close(loss(pred, target, **given_weights), expected, tolerance)
            assert gradient.shape == pred.shape
            assert gradient.dtype == dtype
            if reduction == "none":
                assert value.shape == shape


@given(
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple),
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(["mse", "mae", "ce", "bce", "quantile"]),
)
def test_total_weight_joins_means_of_parts(shape: tuple[int, ...], seed: int, kind: str) -> None:
    """Means of parts, weighted by their denominators, are the mean of the whole."""
    rng = np.random.default_rng(seed)
    pred = rng.normal(size=(*shape, 3))
    losses: dict[str, Any] = {
        "mse": rr.MSELoss(),
        "mae": rr.MAELoss(),
        "bce": rr.BCEWithLogitsLoss([1.0, 2.0, 0.5]),
        "quantile": rr.QuantileLoss(LEVELS),
    }
    target: Any = rng.normal(size=shape if kind == "quantile" else pred.shape)
    if kind in losses:
        loss = losses[kind]
    else:
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
        (rr.HuberLoss(), rng.normal(size=(4, 3))),
        (rr.SmoothL1Loss(), rng.normal(size=(4, 3))),
        (rr.BCEWithLogitsLoss(), rng.uniform(size=(4, 3))),
        (rr.QuantileLoss(LEVELS), rng.normal(size=4)),
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
        (rr.HuberLoss(reduction=reduction), np.zeros((2, 3))),
        (rr.BCEWithLogitsLoss(reduction=reduction), np.zeros((2, 3))),
        (rr.QuantileLoss(LEVELS, reduction=reduction), np.zeros(2)),
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
    for kind in (rr.MSELoss, rr.MAELoss, rr.HuberLoss, rr.SmoothL1Loss):
        assert np.isnan(kind()(np.array([1.0, np.nan]), np.zeros(2)))
        assert kind()(np.array([1.0, np.inf]), np.zeros(2)) == np.inf
        values = kind(reduction="none")(np.array([2.0, np.nan, -np.inf]), np.zeros(3))
        np.testing.assert_array_equal(np.isfinite(values), [True, False, False])
    assert np.isnan(rr.CrossEntropyLoss()(np.array([[0.0, np.nan]]), [0]))
    assert rr.CrossEntropyLoss()(np.array([[0.0, -np.inf]]), [0]) == 0
    assert rr.CrossEntropyLoss()(np.array([[0.0, -np.inf]]), [1]) == np.inf


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nothing_that_counts_is_zero_for_a_normal_distribution(dtype: str) -> None:
    loss = rr.GaussianNLLLoss(full=True)
    pred = np.full((2, 2), np.nan, dtype)
    value, gradient = loss.value_and_grad(pred, np.zeros(2), mask=[False, False])
    assert value == 0
    np.testing.assert_array_equal(gradient, np.zeros((2, 2)))
    value, gradient = loss.value_and_grad(pred[:0], np.zeros(0))
    assert value == 0
    assert gradient.shape == (0, 2)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_kinks_belong_to_the_parabola_and_have_no_slope_at_zero(dtype: str) -> None:
    pred = np.array([-3, -2, -1, 0, 1, 2, 3], dtype)
    target = np.zeros(7, dtype)
    for loss, values, slopes in (
        (rr.HuberLoss(2.0, reduction="none"), [4, 2, 0.5, 0, 0.5, 2, 4], [-2, -2, -1, 0, 1, 2, 2]),
        (rr.SmoothL1Loss(2.0, reduction="none"), [2, 1, 0.25, 0, 0.25, 1, 2],
         [-1, -1, -0.5, 0, 0.5, 1, 1]),
        (rr.SmoothL1Loss(0.0, reduction="none"), [3, 2, 1, 0, 1, 2, 3], [-1, -1, -1, 0, 1, 1, 1]),
    ):  # fmt: skip
        value, gradient = loss.value_and_grad(pred, target)
        np.testing.assert_array_equal(value, values)
        np.testing.assert_array_equal(gradient, slopes)
    loss = rr.QuantileLoss([0.25, 0.25, 0.75], reduction="sum")
    value, gradient = loss.value_and_grad(np.array([[1.0, -1.0, 0.0]], dtype), [0.0])
    assert value == pytest.approx((0.75 + 0.25) / 3, rel=1e-7)
    np.testing.assert_allclose(gradient, [[0.25, -0.25 / 3, 0]], rtol=1e-7)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_extreme_differences(dtype: str) -> None:
    """Straight lines don't overflow where a parabola would."""
    far = np.array([1e30, -1e30], dtype)
    for loss, expected in ((rr.HuberLoss(0.5), 0.5e30), (rr.SmoothL1Loss(0.5), 1e30)):
        value, gradient = loss.value_and_grad(far, np.zeros(2))
        assert value == pytest.approx(expected, rel=1e-6)
        np.testing.assert_allclose(gradient, expected / 1e30 * np.array([0.5, -0.5]))
        assert loss(np.array([np.inf], dtype), [0.0]) == np.inf
    tiny = rr.SmoothL1Loss(1e-320)
    value, gradient = tiny.value_and_grad(np.array([0.0, 1.0], dtype), np.zeros(2))
    assert value == 0.5
    np.testing.assert_array_equal(gradient, [0, 0.5])
    huge = rr.HuberLoss(1e300)
    assert huge(np.array([3.0], dtype), [1.0]) == 2
    value, gradient = rr.QuantileLoss([0.25]).value_and_grad(far[:, None], np.zeros(2))
    assert value == pytest.approx(0.5e30, rel=1e-6)
    np.testing.assert_allclose(gradient, [[0.375], [-0.125]])
    assert rr.QuantileLoss([0.25])(np.array([[-np.inf]], dtype), [0.0]) == np.inf
    assert np.isnan(rr.QuantileLoss([0.25])(np.array([[np.nan]], dtype), [0.0]))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_extreme_logits_of_answers(dtype: str) -> None:
    loss = rr.BCEWithLogitsLoss(reduction="none")
    logits = np.array([1e4, 1e4, -1e4, -1e4, np.inf, np.inf, -np.inf, -np.inf, 0, 0], dtype)
    target = np.array([1, 0] * 5)
    value, gradient = loss.value_and_grad(logits, target)
    half = np.log(2)
    expected = [0, 1e4, 1e4, 0, 0, np.inf, np.inf, 0, half, half]
    np.testing.assert_allclose(value, expected, rtol=1e-7)
    np.testing.assert_allclose(gradient, [0, 1, -1, 0, 0, 1, -1, 0, -0.5, 0.5], rtol=1e-7)
    assert np.isnan(loss(np.array([np.nan], dtype), [1]))
    assert np.isnan(loss(np.array([0.0], dtype), [np.nan]))


def test_certain_answers_keep_all_their_digits() -> None:
    """ln(1 + exp(-x)) and the probability itself, which 1 - p would lose."""
    logits = np.array([1e-3, 0.5, 1.0, 5.0, 20.0, 35.0, 50.0, 200.0, 600.0])
    for sign, target in ((1, 1.0), (-1, 0.0)):
        value, gradient = rr.BCEWithLogitsLoss(reduction="none").value_and_grad(
            sign * logits, np.full(9, target)
        )
        np.testing.assert_allclose(value, np.log1p(np.exp(-logits)), rtol=1e-12)
        unlikely = np.exp(-logits) / (1 + np.exp(-logits))
        np.testing.assert_allclose(gradient, -sign * unlikely, rtol=1e-12)


def test_extreme_normal_distributions() -> None:
    loss = rr.GaussianNLLLoss(reduction="none")
    # Mean, log variance, target, loss, slopes.
    cases = [
        (1.0, 0.0, 1.0, 0.0, (0.0, 0.5)),
        (1.0, -1e4, 1.0, -5e3, (0.0, 0.5)),
        (1.0, 1e4, 3.0, 5e3, (0.0, 0.5)),
        (0.0, 40.0, 1.0, 20 + np.exp(-40) / 2, (-np.exp(-40), (1 - np.exp(-40)) / 2)),
        (0.0, -40.0, 1.0, -20 + np.exp(40) / 2, (-np.exp(40), (1 - np.exp(40)) / 2)),
        # Neither the square of the difference nor the variance is a number.
        (1e160, 800.0, 0.0, 400 + np.exp(320 * np.log(10) - 800) / 2,
         (np.exp(160 * np.log(10) - 800), 0.5 - np.exp(320 * np.log(10) - 800) / 2)),
    ]  # fmt: skip
    for mean, log_variance, target, expected, slopes in cases:
        value, gradient = loss.value_and_grad(np.array([[mean, log_variance]]), [target])
        np.testing.assert_allclose(value, [expected], rtol=1e-11)
        np.testing.assert_allclose(gradient, [slopes], rtol=1e-11, atol=1e-300)
    assert loss(np.array([[np.inf, 0.0]]), [0.0]) == np.inf
    assert loss(np.array([[0.0, np.inf]]), [0.0]) == np.inf
    for pred, target in (((np.nan, 0.0), 0.0), ((0.0, np.nan), 1.0), ((0.0, 0.0), np.nan)):
        assert np.isnan(loss(np.array([pred]), [target]))


def test_losses_have_their_least_value_where_they_should(rng: np.random.Generator) -> None:
    """Quantiles of the data; mean and variance of the data."""
    data = rng.normal(loc=2, scale=3, size=999)
    loss = rr.QuantileLoss(LEVELS)
    best = np.quantile(data, LEVELS, method="inverted_cdf")
    least = loss(np.tile(best, (999, 1)), data)
    for step in (-0.05, 0.05):
        assert loss(np.tile(best + step, (999, 1)), data) > least
    best = np.array([data.mean(), np.log(data.var())])
    _, gradient = rr.GaussianNLLLoss().value_and_grad(np.tile(best, (999, 1)), data)
    np.testing.assert_allclose(gradient.sum(axis=0), [0, 0], atol=1e-13)


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
    for part in ("weight=[1.0, 2.0]", "ignore_index=3", "label_smoothing=0.25"):
        assert part in text
    assert repr(rr.HuberLoss(0.5)) == 'HuberLoss(delta=0.5, reduction="mean")'
    assert repr(rr.SmoothL1Loss(0)) == 'SmoothL1Loss(beta=0.0, reduction="mean")'
    assert repr(rr.BCEWithLogitsLoss()) == 'BCEWithLogitsLoss(reduction="mean")'
    assert repr(rr.BCEWithLogitsLoss(2)) == 'BCEWithLogitsLoss(pos_weight=[2.0], reduction="mean")'
    assert repr(rr.QuantileLoss((0.5,))) == 'QuantileLoss(quantiles=[0.5], reduction="mean")'
    assert repr(rr.GaussianNLLLoss()) == 'GaussianNLLLoss(reduction="mean")'
    assert repr(rr.GaussianNLLLoss(full=True)) == 'GaussianNLLLoss(full=True, reduction="mean")'
