"""Optimizers and losses that went wrong in other libraries."""

from __future__ import annotations

import numpy as np
import pytest

import recurrust as rr


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_u54_adam_counts_steps_and_not_tensors(dtype: str) -> None:
    for kind in (rr.Adam, rr.AdamW):
        parameters = [rr.Parameter(np.ones(1, dtype)) for _ in range(2)]
        optimizer = kind(parameters, lr=1e-3, weight_decay=0.0)
        for parameter in parameters:
            parameter.grad[...] = 0.1
        optimizer.step()
        for parameter in parameters:
            np.testing.assert_allclose(parameter.data, 0.999, rtol=0, atol=2e-7)
        assert parameters[0].data == parameters[1].data


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_u56_epsilon_is_outside_of_the_root(dtype: str) -> None:
    for build, moved in (
        (lambda parameters: rr.RMSprop(parameters, lr=1.0, alpha=0.99, eps=1.0), 0.9090909),
        (lambda parameters: rr.Adam(parameters, lr=1.0, eps=1.0), 0.5),
    ):
        parameter = rr.Parameter(np.zeros(1, dtype))
        optimizer = build([parameter])
        parameter.grad[...] = 1.0
        optimizer.step()
        np.testing.assert_allclose(parameter.data, -moved, rtol=1e-6)


def test_u61_a_plateau_without_cooldown_waits_again_after_each_cut() -> None:
    optimizer = rr.SGD([rr.Parameter(np.zeros(1))], lr=0.1)
    scheduler = rr.ReduceLROnPlateau(optimizer, factor=0.5, patience=2, cooldown=0)
    rates = []
    for _ in range(10):
        scheduler.step(1.0)
        rates.append(optimizer.lr)
    assert rates == [0.1] * 3 + [0.05] * 3 + [0.025] * 3 + [0.0125]


def test_u59_clipping_is_joint() -> None:
    parameters = [rr.Parameter(np.zeros(1)) for _ in range(2)]
    for parameter, gradient in zip(parameters, (3.0, 4.0), strict=True):
        parameter.grad[...] = gradient
    for bad in (0, -1.0):
        with pytest.raises(ValueError, match="max_norm"):
            rr.clip_grad_norm_(parameters, bad)
    assert rr.clip_grad_norm_(parameters, 1) == 5.0
    np.testing.assert_allclose(parameters[0].grad, 0.6, atol=1e-6)
    np.testing.assert_allclose(parameters[1].grad, 0.8, atol=1e-6)


@pytest.mark.parametrize(
    "kind", [rr.MSELoss, rr.MAELoss, rr.HuberLoss, rr.SmoothL1Loss, rr.BCEWithLogitsLoss]
)
def test_u69_targets_are_never_broadcast(kind: type) -> None:
    loss = kind()
    for pred, target in [((4, 1), (4,)), ((4,), (4, 1)), ((4, 1), (1, 1)), ((4, 1), ())]:
        for call in (loss, loss.value_and_grad):
            with pytest.raises(ValueError, match="shape") as caught:
                call(np.zeros(pred), np.zeros(target))
            assert str(pred) in str(caught.value)
            assert str(target) in str(caught.value)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_u70_extreme_logits(dtype: str) -> None:
    loss = rr.CrossEntropyLoss()
    value, gradient = loss.value_and_grad(np.array([[1000, -1000]], dtype), [1])
    assert value == 2000
    np.testing.assert_array_equal(gradient, [[1, -1]])
    value, gradient = loss.value_and_grad(np.array([[-1e30, 1e30]], dtype), [0])
    assert value == pytest.approx(2e30)
    np.testing.assert_array_equal(gradient, [[-1, 1]])
    for logit in (0.0, 5.0, -700.0):
        value, gradient = loss.value_and_grad(np.full((2, 3), logit, dtype), [0, 2])
        assert value == pytest.approx(1.0986123, abs=1e-7)
        np.testing.assert_allclose(gradient.sum(axis=1), 0, atol=1e-7)


@pytest.mark.parametrize("label", [3, -1, 1.5, float("nan"), -100, 2**40])
def test_u71_labels_out_of_range_are_refused(label: float) -> None:
    for position in (0, 2):
        target = [0.0, 1.0, 2.0]
        target[position] = label
        for given in (target, np.array(target)):
            with pytest.raises(ValueError, match=rf"target\[{position}\]"):
                rr.CrossEntropyLoss()(np.zeros((3, 3)), given)
    sequence = np.zeros((2, 2, 3))
    with pytest.raises(ValueError, match=r"target\["):
        rr.CrossEntropyLoss()(sequence, np.array([[0, 1], [2, label]]))
    with pytest.raises(ValueError, match=r"target\["):
        rr.CrossEntropyLoss(ignore_index=-2).value_and_grad(np.zeros((1, 3)), [label])


def test_u71_ignoring_is_asked_for() -> None:
    pred = np.random.default_rng(3).normal(size=(3, 3))
    loss = rr.CrossEntropyLoss(ignore_index=-100)
    value, gradient = loss.value_and_grad(pred, [0, -100, 2])
    rest, rest_gradient = rr.CrossEntropyLoss().value_and_grad(pred[[0, 2]], [0, 2])
    assert value == pytest.approx(rest, rel=1e-14)
    np.testing.assert_allclose(gradient[[0, 2]], rest_gradient, rtol=1e-14)
    assert not gradient[1].any()
    for reduction in ("mean", "sum", "none"):
        loss = rr.CrossEntropyLoss(ignore_index=-100, reduction=reduction)
        value, gradient = loss.value_and_grad(pred, [-100] * 3)
        assert not np.any(value)
        assert not gradient.any()
