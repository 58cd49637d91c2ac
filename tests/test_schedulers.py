"""Learning rate schedules: the rates, their state, and what is refused."""

from __future__ import annotations

import copy
import json
import math
import pickle
import sys
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest

import recurrust as rr
from reference import golden

mpl.use("Agg")

Build = Callable[[Any], rr.LRScheduler]


def sgd(lr: float = 0.1) -> rr.SGD:
    return rr.SGD([rr.Parameter(np.zeros(2))], lr=lr)


class Groups:
    """An optimizer of the user's own with groups that can be written to, as PyTorch's."""

    def __init__(self, *groups: dict[str, Any]) -> None:
        self.param_groups = [dict(group) for group in groups]

    @property
    def lr(self) -> float:
        return self.param_groups[0]["lr"]

    @lr.setter
    def lr(self, value: float) -> None:
        raise AssertionError("groups are written to one by one")

    def all(self, name: str = "lr") -> list[Any]:
        return [group[name] for group in self.param_groups]


def stepped(scheduler: rr.LRScheduler, n: int, metrics: Any = None) -> list[float]:
    """The optimizer's rates over n steps, the first before any step."""
    rates = []
    for index in range(n):
        rates.append(scheduler.optimizer.lr)
        scheduler.step(None if metrics is None else metrics[index])
    return rates


def half(step: int) -> float:
    """A factor of a module, which a pickle can name."""
    return 0.5**step


class InverseSquareRootLR(rr.LRScheduler):
    """What a user writes: the ten lines of the documentation."""

    def __init__(self, optimizer: Any, warmup_steps: int) -> None:
        self.warmup_steps = warmup_steps
        super().__init__(optimizer)

    def rate(self, step: int, base_lr: float) -> float:
        return base_lr / max(1, step / self.warmup_steps) ** 0.5


# One of each, with a change within ten steps.
SCHEDULES: dict[str, Build] = {
    "constant": lambda optimizer: rr.ConstantLR(optimizer, 0.5, 3),
    "lambda": lambda optimizer: rr.LambdaLR(optimizer, half),
    "step": lambda optimizer: rr.StepLR(optimizer, 2),
    "multistep": lambda optimizer: rr.MultiStepLR(optimizer, [2, 4]),
    "exponential": lambda optimizer: rr.ExponentialLR(optimizer, 0.9),
    "linear": lambda optimizer: rr.LinearLR(optimizer),
    "polynomial": lambda optimizer: rr.PolynomialLR(optimizer, 7, 2.0),
    "cosine": lambda optimizer: rr.CosineAnnealingLR(optimizer, 5),
    "restarts": lambda optimizer: rr.CosineAnnealingWarmRestarts(optimizer, 2, 2),
    "onecycle": lambda optimizer: rr.OneCycleLR(optimizer, 0.5, 12),
    "cyclic": lambda optimizer: rr.CyclicLR(optimizer, 0.01, 0.1, 3),
    "plateau": lambda optimizer: rr.ReduceLROnPlateau(optimizer, patience=1, cooldown=1),
    "warmup": lambda optimizer: rr.WarmupLR(optimizer, 4),
    "warmup_then_plateau": lambda optimizer: rr.WarmupLR(
        optimizer, 3, after=rr.ReduceLROnPlateau(optimizer, patience=0)
    ),
    "sequential": lambda optimizer: rr.SequentialLR(
        optimizer,
        [
            rr.LinearLR(optimizer, total_iters=2),
            rr.WarmupLR(optimizer, 2, after=rr.StepLR(optimizer, 1)),
            rr.OneCycleLR(optimizer, 0.5, 5),
        ],
        [2, 6],
    ),
    "own": lambda optimizer: InverseSquareRootLR(optimizer, 2),
}
NAMES = sorted(SCHEDULES)
METRICS = [1.0, 0.9, 0.95, 0.95, 0.5, 0.6, 0.7, 0.7, 0.7, 0.4, 0.4, 0.4]


# ------------------------------------------------------------------------------- PyTorch's rates

KINDS = {
    "step": rr.StepLR,
    "multistep": rr.MultiStepLR,
    "exponential": rr.ExponentialLR,
    "cosine": rr.CosineAnnealingLR,
    "cosine_restarts": rr.CosineAnnealingWarmRestarts,
    "linear": rr.LinearLR,
    "polynomial": rr.PolynomialLR,
    "constant": rr.ConstantLR,
    "onecycle": rr.OneCycleLR,
    "onecycle_linear": rr.OneCycleLR,
    "cyclic_triangular": rr.CyclicLR,
    "cyclic_triangular2": rr.CyclicLR,
    "cyclic_exp": rr.CyclicLR,
    "plateau": rr.ReduceLROnPlateau,
    "plateau_abs_cooldown": rr.ReduceLROnPlateau,
}
DESCRIPTIONS = golden.descriptions()["schedulers"]
COMPOSED: dict[str, Callable[[Any, dict[str, Any]], rr.LRScheduler]] = {
    "warmup_then_cosine": lambda optimizer, case: rr.WarmupLR(
        optimizer,
        case["warmup"],
        case["start_factor"],
        after=rr.CosineAnnealingLR(optimizer, case["T_max"], case["eta_min"]),
    ),
    "warmup_then_cosine, sequential": lambda optimizer, case: rr.SequentialLR(
        optimizer,
        [
            rr.LinearLR(optimizer, case["start_factor"], total_iters=case["warmup"]),
            rr.CosineAnnealingLR(optimizer, case["T_max"], case["eta_min"]),
        ],
        [case["warmup"]],
    ),
}


def test_every_golden_row_has_a_test() -> None:
    rows = set(golden.arrays("schedulers")) - {"plateau_metrics"}
    assert rows == set(DESCRIPTIONS) == {*KINDS, *(name.split(",")[0] for name in COMPOSED)}


@pytest.mark.parametrize("name", [*KINDS, *COMPOSED])
def test_golden(name: str) -> None:
    row, data = name.split(",")[0], golden.arrays("schedulers")
    optimizer, case = sgd(golden.descriptions()["schedulers_base_lr"]), DESCRIPTIONS[row]
    scheduler = COMPOSED[name](optimizer, case) if row != name or row in COMPOSED else None
    scheduler = scheduler or KINDS[name](optimizer, **case)
    preview = scheduler.preview(40)
    rates = stepped(scheduler, 40, data["plateau_metrics"])
    np.testing.assert_allclose(rates, data[row], rtol=0, atol=1e-12)
    if "plateau" not in row:
        np.testing.assert_array_equal(preview, rates)


def test_defaults_are_pytorchs() -> None:
    """But for the momentum, which is not cycled unless asked for."""
    optimizer = sgd(0.3)
    assert rr.ConstantLR(optimizer).preview(6).tolist() == [*[0.3 / 3] * 5, 0.3]
    optimizer.lr = 0.3
    expected = [0.1, 0.14, 0.18, 0.22, 0.26, 0.3, 0.3]
    np.testing.assert_allclose(rr.LinearLR(optimizer).preview(7), expected, rtol=1e-15)
    optimizer.lr = 0.1
    expected = [0.1, 0.08, 0.06, 0.04, 0.02, 0.0, 0.0]
    np.testing.assert_allclose(rr.PolynomialLR(optimizer).preview(7), expected, rtol=1e-14)
    assert rr.StepLR(optimizer, 1).gamma == rr.MultiStepLR(optimizer, []).gamma == 0.1
    restarts = rr.CosineAnnealingWarmRestarts(optimizer, 3)
    assert (restarts.T_mult, restarts.eta_min) == (1, 0.0)
    cycle = rr.OneCycleLR(optimizer, 1.0, 10)
    assert (cycle.pct_start, cycle.anneal_strategy, cycle.three_phase) == (0.3, "cos", False)
    assert (cycle.div_factor, cycle.final_div_factor, cycle.cycle_momentum) == (25, 1e4, False)
    assert (cycle.base_momentum, cycle.max_momentum) == ([0.85], [0.95])
    waves = rr.CyclicLR(optimizer, 0.1, 0.2)
    assert (waves.step_size_up, waves.step_size_down, waves.mode) == (2000, 2000, "triangular")
    assert (waves.gamma, waves.cycle_momentum) == (1.0, False)
    assert (waves.base_momentum, waves.max_momentum) == ([0.8], [0.9])
    plateau = rr.ReduceLROnPlateau(optimizer)
    assert (plateau.mode, plateau.factor, plateau.patience) == ("min", 0.1, 10)
    assert (plateau.threshold, plateau.threshold_mode, plateau.cooldown) == (1e-4, "rel", 0)
    assert (plateau.min_lr, plateau.eps) == ([0.0], 1e-8)


# --------------------------------------------------------------------------- what others got wrong


def test_u66_cosine_reaches_its_minimum_and_rises_again() -> None:
    rates = rr.CosineAnnealingLR(sgd(), 10).preview(21)
    np.testing.assert_allclose(rates[[0, 5, 15, 20]], [0.1, 0.05, 0.05, 0.1], rtol=1e-12)
    assert rates[10] == 0
    restarting = rr.CosineAnnealingWarmRestarts(sgd(), 10).preview(21)
    np.testing.assert_allclose(restarting[[0, 5, 10, 15, 20]], [0.1, 0.05, 0.1, 0.05, 0.1])
    with pytest.raises(ValueError, match="T_max must be at least 1, got 0"):
        rr.CosineAnnealingLR(sgd(), 0)


def test_u68_peaks_of_triangular2() -> None:
    rates = rr.CyclicLR(sgd(), 0.1, 1.0, 4, mode="triangular2").preview(21)
    np.testing.assert_allclose(rates[[0, 4, 8, 12, 16, 20]], [0.1, 1.0, 0.1, 0.55, 0.1, 0.325])


def test_u60_plateau_waits_for_patience_and_one_more() -> None:
    scheduler = rr.ReduceLROnPlateau(sgd(), patience=2)
    rates = stepped(scheduler, 8, [1.0] * 8)[1:]
    np.testing.assert_allclose(rates, [0.1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.001], rtol=1e-15)


def test_cooldown_notes_improvements() -> None:
    scheduler = rr.ReduceLROnPlateau(sgd(), factor=0.5, patience=0, cooldown=3)
    rates = stepped(scheduler, 8, [1.0, 1.0, 0.2, 0.5, 0.5, 0.5, 0.1, 0.1])
    # Reduced after the second, cooled down till the fifth; 0.5 is then worse than 0.2.
    assert rates == [0.1, 0.1, 0.05, 0.05, 0.05, 0.05, 0.025, 0.025]
    assert scheduler.best == 0.1


def test_u62_relative_and_absolute_thresholds() -> None:
    metrics = [100, 99.995, 99.99]
    for mode, rate in (("rel", 0.01), ("abs", 0.1)):
        scheduler = rr.ReduceLROnPlateau(sgd(), patience=1, threshold_mode=mode)
        for metric in metrics:
            scheduler.step(metric)
        assert scheduler.optimizer.lr == pytest.approx(rate), mode
        assert f"threshold_mode='{mode}'" in repr(scheduler)


@pytest.mark.parametrize("threshold_mode", ["rel", "abs"])
@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("start", [-2.0, 2.0])
def test_plateau_needs_an_improvement_also_where_metrics_are_negative(
    start: float, mode: str, threshold_mode: str
) -> None:
    better = -1 if mode == "min" else 1
    margin = 0.1 * (2 if threshold_mode == "rel" else 1)
    for change, improves in ((0.0, False), (0.9, False), (1.1, True), (-0.5, False)):
        options = {"mode": mode, "threshold": 0.1, "threshold_mode": threshold_mode}
        scheduler = rr.ReduceLROnPlateau(sgd(), patience=0, **options)
        scheduler.step(start)
        scheduler.step(start + better * change * margin)
        assert (scheduler.num_bad_epochs == 0 and scheduler.optimizer.lr == 0.1) is improves
        assert scheduler.best == (start + better * change * margin if improves else start)


def test_plateau_takes_nothing_infinite_for_an_improvement() -> None:
    for mode in ("min", "max"):
        scheduler = rr.ReduceLROnPlateau(sgd(), mode, patience=2)
        for metric in (math.nan, math.inf, -math.inf):
            assert scheduler.optimizer.lr == 0.1
            scheduler.step(metric)
        assert scheduler.best is None
        assert scheduler.optimizer.lr == pytest.approx(0.01)


def test_plateau_stops_at_its_lowest_rate_and_starts_from_zero() -> None:
    rates = rr.ReduceLROnPlateau(sgd(), factor=0.1, patience=0, min_lr=0.004).preview(5)
    # The metric of the preview is never an improvement.
    np.testing.assert_allclose(rates, [0.1, 0.01, 0.004, 0.004, 0.004])
    scheduler = rr.ReduceLROnPlateau(sgd(), patience=0, eps=0.09)
    assert scheduler.preview(3).tolist() == [0.1, 0.1, 0.1]
    assert rr.ReduceLROnPlateau(sgd(0.0), patience=0).preview(3).tolist() == [0, 0, 0]


def test_one_cycle_ends_at_the_first_rate_over_the_final_factor() -> None:
    scheduler = rr.OneCycleLR(sgd(), 0.5, 10, div_factor=10, final_div_factor=100)
    rates = scheduler.preview(30)
    np.testing.assert_allclose(rates[[0, 2, 9]], [0.05, 0.5, 0.0005], rtol=1e-12)
    assert (rates[9:] == rates[9]).all()  # however long the training goes on
    by_epochs = rr.OneCycleLR(
        sgd(), 0.5, epochs=5, steps_per_epoch=2, div_factor=10, final_div_factor=100
    )
    np.testing.assert_array_equal(by_epochs.preview(30), rates)
    for start, peak in ((0.1, 0), (1.0, 9)):
        assert rr.OneCycleLR(sgd(), 0.5, 10, pct_start=start).preview(10).argmax() == peak
    assert rr.OneCycleLR(sgd(), 0.5, 1).preview(2).tolist() == [0.5 / 25 / 1e4] * 2


def test_one_cycle_in_three_phases() -> None:
    scheduler = rr.OneCycleLR(
        sgd(), 1.0, 12, pct_start=0.25, anneal_strategy="linear", div_factor=10,
        final_div_factor=10, three_phase=True,
    )  # fmt: skip
    expected = [0.1, 0.55, 1.0, 0.55, 0.1]
    rates = scheduler.preview(12)
    np.testing.assert_allclose(rates[:5], expected, rtol=1e-12)
    np.testing.assert_allclose(rates[4:], np.linspace(0.1, 0.01, 8), rtol=1e-12)


def test_cyclic_with_a_scale_of_ones_own() -> None:
    def scale(count: int) -> float:
        counts.append(count)
        return 1 / (1 + count)

    counts: list[int] = []
    options = {"step_size_up": 2, "step_size_down": 1, "mode": "exp_range", "gamma": 0.0}
    scheduler = rr.CyclicLR(sgd(), 0.0, 6.0, scale_fn=scale, **options)
    np.testing.assert_allclose(scheduler.preview(6), [0, 1.5, 3, 0, 1, 2])
    assert set(counts) == {1, 2}
    counts.clear()
    scheduler = rr.CyclicLR(sgd(), 0.0, 6.0, scale_fn=scale, scale_mode="iterations", **options)
    np.testing.assert_allclose(scheduler.preview(6), [0, 1.5, 2, 0, 0.6, 1])
    assert set(counts) == {0, 1, 2, 3, 4, 5}


def test_milestones_in_any_order_count_as_often_as_they_are_listed() -> None:
    rates = rr.MultiStepLR(sgd(1.0), iter([4, 2, 2, 0]), gamma=0.5).preview(6)
    assert rates.tolist() == [0.5, 0.5, 0.125, 0.125, 0.0625, 0.0625]


def test_lambda_is_a_factor_of_the_base_rate() -> None:
    assert rr.LambdaLR(sgd(), half).preview(4).tolist() == [0.1, 0.05, 0.025, 0.0125]


# ---------------------------------------------------------------------------- what all have alike


@pytest.mark.parametrize("name", NAMES)
def test_first_rate_holds_from_construction_on(name: str) -> None:
    optimizer = sgd()
    scheduler = SCHEDULES[name](optimizer)
    assert optimizer.lr == scheduler.preview(1)[0]
    assert scheduler.step_count == 0


@pytest.mark.parametrize("name", NAMES)
def test_preview_equals_stepping_and_changes_nothing(name: str) -> None:
    scheduler = SCHEDULES[name](sgd())
    for metric in METRICS[:3]:
        scheduler.step(metric)
    before, rate = scheduler.state_dict(), scheduler.optimizer.lr
    preview = scheduler.preview(9)
    assert preview.shape == (9,)
    assert len(set(preview)) > 1 or name == "constant"
    assert (scheduler.state_dict(), scheduler.optimizer.lr) == (before, rate)
    # The metric of a preview never improves.
    np.testing.assert_array_equal(stepped(scheduler, 9, [math.nan] * 9), preview)


@pytest.mark.parametrize("name", NAMES)
def test_state_goes_on_exactly(name: str) -> None:
    whole = stepped(SCHEDULES[name](sgd()), len(METRICS), METRICS)
    scheduler = SCHEDULES[name](sgd())
    stepped(scheduler, 5, METRICS)
    saved = json.loads(json.dumps(scheduler.state_dict()))  # nothing but plain numbers
    stepped(scheduler, 3, METRICS[5:])  # the saved state is a copy
    # A new process: the optimizer's rate came back with the optimizer, the base rate has not.
    resumed = SCHEDULES[name](sgd(0.037))
    resumed.load_state_dict(saved)
    assert resumed.optimizer.lr == whole[5]
    assert stepped(resumed, len(METRICS) - 5, METRICS[5:]) == whole[5:]


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
@pytest.mark.parametrize("name", NAMES)
def test_copies_go_on_with_their_optimizer(name: str, duplicate: Callable[[Any], Any]) -> None:
    scheduler = SCHEDULES[name](sgd())
    stepped(scheduler, 5, METRICS)
    optimizer, other = duplicate((scheduler.optimizer, scheduler))
    assert other.optimizer is optimizer
    assert optimizer is not scheduler.optimizer
    assert repr(other) == repr(scheduler)
    before = scheduler.optimizer.lr
    rates = stepped(other, 7, METRICS[5:])
    assert scheduler.optimizer.lr == before
    assert rates == stepped(scheduler, 7, METRICS[5:])


def test_a_shallow_copy_has_steps_of_its_own() -> None:
    scheduler = SCHEDULES["sequential"](sgd())
    other = copy.copy(scheduler)
    assert other.optimizer is scheduler.optimizer
    before = scheduler.state_dict()
    rates = stepped(other, 8)
    assert scheduler.state_dict() == before
    assert stepped(scheduler, 8)[1:] == rates[1:]


@pytest.mark.parametrize("name", NAMES)
def test_what_was_set_by_hand_lasts_until_the_next_step(name: str) -> None:
    scheduler = SCHEDULES[name](sgd())
    expected = scheduler.preview(2)[1]
    scheduler.optimizer.lr = 7.0
    scheduler.step(math.nan)
    assert scheduler.optimizer.lr == expected


def test_a_schedule_in_ten_lines() -> None:
    scheduler = InverseSquareRootLR(sgd(), 2)
    np.testing.assert_allclose(scheduler.preview(9)[[0, 2, 8]], [0.1, 0.1, 0.05])
    assert repr(scheduler) == "InverseSquareRootLR(warmup_steps=2, step_count=0)"
    scheduler.step()
    assert repr(scheduler) == "InverseSquareRootLR(warmup_steps=2, step_count=1)"


def test_repr_of_a_composition() -> None:
    optimizer = sgd()
    scheduler = rr.WarmupLR(optimizer, 3, after=rr.StepLR(optimizer, 2))
    assert repr(scheduler) == (
        "WarmupLR(warmup_steps=3, start_factor=0.1, "
        "after=StepLR(step_size=2, gamma=0.1, step_count=0), step_count=0)"
    )


def test_rates_far_out() -> None:
    """A closed form needs no history: a long run costs as much as a short one."""
    scheduler = rr.CosineAnnealingLR(sgd(), 10)
    scheduler.load_state_dict({"step_count": 10**9 + 5, "base_lrs": [0.1]})
    assert scheduler.optimizer.lr == pytest.approx(0.05)
    fading = rr.ExponentialLR(sgd(), 0.5)
    fading.load_state_dict({"step_count": 10**6, "base_lrs": [0.1]})
    assert fading.optimizer.lr == 0.0


# ---------------------------------------------------------------------------------- compositions


def test_sequential_starts_each_at_its_own_first_step() -> None:
    optimizer = sgd()
    scheduler = rr.SequentialLR(
        optimizer,
        [
            rr.ExponentialLR(optimizer, 0.5),
            rr.CyclicLR(optimizer, 0.01, 0.03, 2),
            rr.ReduceLROnPlateau(optimizer, factor=0.5, patience=0),
            rr.LambdaLR(optimizer, half),
        ],
        [2, 5, 9],
    )
    metrics = [None] * 5 + [1.0, 1.0, 0.5, 0.5, 0.5, None, None]
    rates = stepped(scheduler, 12, metrics)
    expected = [0.1, 0.05, 0.01, 0.02, 0.03, 0.1, 0.1, 0.05, 0.05, 0.1, 0.05, 0.025]
    np.testing.assert_allclose(rates, expected, rtol=1e-15)


@pytest.mark.parametrize(
    "order", [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
)
def test_base_rates_are_those_before_the_first_part_was_built(order: tuple[int, ...]) -> None:
    optimizer = sgd()
    build = [
        lambda: rr.LinearLR(optimizer, 0.5, total_iters=2),
        lambda: rr.OneCycleLR(optimizer, 0.8, 10),
        lambda: rr.WarmupLR(optimizer, 2, 0.25, after=rr.ConstantLR(optimizer, 0.5, 2)),
    ]
    parts = {index: build[index]() for index in order}
    inner = rr.SequentialLR(optimizer, [parts[0], parts[2]], [3])
    scheduler = rr.SequentialLR(optimizer, [inner, parts[1]], [9])
    assert scheduler.base_lrs == inner.base_lrs == parts[2].base_lrs == [0.1]
    expected = [0.05, 0.075, 0.1, 0.0125, 0.03125, 0.05, 0.05, 0.1, 0.1, 0.032]
    np.testing.assert_allclose(scheduler.preview(10), expected, rtol=1e-14)


def test_warmup_rises_to_the_first_rate_of_what_follows() -> None:
    optimizer = sgd()
    scheduler = rr.WarmupLR(optimizer, 2, 0.0, after=rr.CyclicLR(optimizer, 0.4, 0.8, 1))
    np.testing.assert_allclose(scheduler.preview(6), [0, 0.2, 0.4, 0.8, 0.4, 0.8])
    alone = rr.WarmupLR(sgd(0.4), 4, 0.5)
    np.testing.assert_allclose(alone.preview(6), [0.2, 0.25, 0.3, 0.35, 0.4, 0.4])


def test_warmup_before_a_plateau() -> None:
    scheduler = SCHEDULES["warmup_then_plateau"](sgd())
    rates = stepped(scheduler, 7, [None, None, None, 1.0, 1.0, 0.5, 0.5])
    np.testing.assert_allclose(rates, [0.01, 0.04, 0.07, 0.1, 0.1, 0.01, 0.01], rtol=1e-14)
    assert scheduler.optimizer.lr == pytest.approx(0.001)


# ---------------------------------------------------------------------------------------- groups


def test_groups_keep_their_base_rates() -> None:
    optimizer = Groups({"lr": 0.4}, {"lr": 0.1})
    scheduler = rr.WarmupLR(optimizer, 2, 0.5, after=rr.StepLR(optimizer, 1, 0.5))
    preview = scheduler.preview(4)
    np.testing.assert_allclose(preview, [[0.2, 0.05], [0.3, 0.075], [0.4, 0.1], [0.2, 0.05]])
    for expected in preview:
        assert optimizer.all() == expected.tolist()
        scheduler.step()


def test_limits_of_each_group() -> None:
    optimizer = Groups({"lr": 0.4}, {"lr": 0.1})
    rates = rr.OneCycleLR(optimizer, [0.5, 0.25], 10, div_factor=5).preview(3)
    np.testing.assert_allclose(rates[[0, 2]], [[0.1, 0.05], [0.5, 0.25]])
    rates = rr.CyclicLR(optimizer, [0.0, 0.1], [0.2, 0.5], 2).preview(3)
    np.testing.assert_allclose(rates, [[0, 0.1], [0.1, 0.3], [0.2, 0.5]])
    optimizer = Groups({"lr": 0.4}, {"lr": 0.1})
    scheduler = rr.ReduceLROnPlateau(optimizer, patience=0, min_lr=[0.3, 0.02])
    np.testing.assert_allclose(scheduler.preview(3), [[0.4, 0.1], [0.3, 0.02], [0.3, 0.02]])


def two_groups(kind: Any = rr.SGD, **options: Any) -> Any:
    starts = ([1.0, -2.0], [0.5, 3.0])
    parameters = [rr.Parameter(np.array(start)) for start in starts]
    groups = [
        {"params": [parameter], "lr": lr}
        for parameter, lr in zip(parameters, (0.1, 0.02), strict=True)
    ]
    return kind(groups, **options)


@pytest.mark.parametrize(
    "build",
    [
        lambda o: rr.StepLR(o, 2, 0.5),
        lambda o: rr.CosineAnnealingLR(o, 5),
        lambda o: rr.WarmupLR(o, 2, after=rr.ExponentialLR(o, 0.5)),
        lambda o: rr.ReduceLROnPlateau(o, patience=0, factor=0.5),
    ],
)
def test_groups_of_recurrust_have_rates_of_their_own(build: Build) -> None:
    optimizer = two_groups()
    scheduler = build(optimizer)
    preview = scheduler.preview(6)
    np.testing.assert_allclose(preview[:, 0], 5 * preview[:, 1], rtol=1e-15)
    assert len(set(preview[:, 0])) > 2
    for expected in preview:
        assert [group["lr"] for group in optimizer.param_groups] == expected.tolist()
        scheduler.step(math.nan)


@pytest.mark.parametrize("groups", [[], [{"params": []}, {"params": []}]])
def test_groups_without_rates(groups: list[Any]) -> None:
    class Own:
        lr, param_groups = 0.1, groups

    optimizer = Own()
    rr.StepLR(optimizer, 1, 0.5).step()
    assert optimizer.lr == 0.05
    assert all("lr" not in group for group in groups)
    with pytest.raises(rr.ConfigError, match="cycle_momentum needs"):
        rr.OneCycleLR(optimizer, 0.5, 10, cycle_momentum=True)


def test_momentum_is_cycled_only_if_asked_for() -> None:
    optimizer = Groups({"lr": 0.1, "momentum": 0.5}, {"lr": 0.1, "betas": (0.5, 0.9)})
    rr.OneCycleLR(optimizer, 0.5, 10).step()
    rr.CyclicLR(optimizer, 0.01, 0.1, 3).step()
    assert optimizer.param_groups[0]["momentum"] == 0.5
    assert optimizer.param_groups[1]["betas"] == (0.5, 0.9)
    scheduler = rr.OneCycleLR(
        optimizer, 0.5, 11, pct_start=3 / 11, anneal_strategy="linear", cycle_momentum=True
    )
    momenta = []
    for _ in range(11):
        momenta.append(optimizer.param_groups[0]["momentum"])
        assert optimizer.param_groups[1]["betas"] == (momenta[-1], 0.9)
        scheduler.step()
    np.testing.assert_allclose(momenta[:3], [0.95, 0.9, 0.85])
    np.testing.assert_allclose(momenta[2:], np.linspace(0.85, 0.95, 9))


def test_momentum_of_three_phases_and_of_cycles() -> None:
    optimizer = Groups({"lr": 0.1, "momentum": 0.5})
    options = {"pct_start": 0.25, "anneal_strategy": "linear", "cycle_momentum": True}
    scheduler = rr.OneCycleLR(optimizer, 1.0, 12, three_phase=True, **options)
    momenta = []
    for _ in range(12):
        momenta.append(optimizer.param_groups[0]["momentum"])
        scheduler.step()
    np.testing.assert_allclose(momenta, [0.95, 0.9, 0.85, 0.9, *[0.95] * 8])
    inner = rr.CyclicLR(optimizer, 0.1, 1.0, 2, mode="triangular2", cycle_momentum=True)
    scheduler = rr.SequentialLR(optimizer, [rr.WarmupLR(optimizer, 1, after=inner)], [])
    momenta = []
    for _ in range(8):
        momenta.append(optimizer.param_groups[0]["momentum"])
        scheduler.step()
    np.testing.assert_allclose(momenta, [0.9, 0.9, 0.85, 0.8, 0.85, 0.9, 0.875, 0.85])


# What PyTorch 2.15 makes of the same: rates and momenta of each group, and parameters at the end.
AS_PYTORCH: list[tuple[Any, Build, Any, Any, Any]] = [
    (
        rr.SGD,
        lambda o: rr.OneCycleLR(
            o, [0.5, 0.1], 9, cycle_momentum=True, base_momentum=[0.6, 0.7],
            max_momentum=[0.9, 0.95],
        ),
        [
            [0.02, 0.325679118, 0.497207718, 0.44928333, 0.352822364, 0.231318551, 0.114364977,
             0.0304464849, 2e-06],
            [0.004, 0.0651358235, 0.0994415435, 0.0898566659, 0.0705644729, 0.0462637103,
             0.0228729953, 0.00608929698, 4e-07],
        ],
        [
            [0.9, 0.708950551, 0.601675376, 0.630430124, 0.688306935, 0.761209514, 0.83138194,
             0.881733236, 0.9],
            [0.95, 0.790792126, 0.701396147, 0.725358437, 0.773589112, 0.834341262, 0.892818283,
             0.934777697, 0.95],
        ],
        [[-1.0247238382199664, -0.25350135917081557], [0.045276467664828984, -0.7027487633006784]],
    ),
    (
        rr.RMSprop,
        lambda o: rr.CyclicLR(
            o, [0.01, 0.02], [0.1, 0.2], 2, 3, "triangular2", cycle_momentum=True,
            base_momentum=[0.5, 0.6], max_momentum=[0.9, 0.8],
        ),
        [
            [0.01, 0.055, 0.1, 0.07, 0.04, 0.01, 0.0325, 0.055, 0.04],
            [0.02, 0.11, 0.2, 0.14, 0.08, 0.02, 0.065, 0.11, 0.08],
        ],
        [
            [0.9, 0.7, 0.5, 0.633333333, 0.766666667, 0.9, 0.8, 0.7, 0.766666667],
            [0.8, 0.7, 0.6, 0.666666667, 0.733333333, 0.8, 0.75, 0.7, 0.733333333],
        ],
        [[-1.3268764167630986, -0.9390151485772013], [-0.24124509353819582, 0.12539360200005303]],
    ),
    (
        rr.Adam,
        lambda o: rr.OneCycleLR(
            o, [0.5, 0.1], 9, anneal_strategy="linear", cycle_momentum=True, three_phase=True
        ),
        [
            [0.02, 0.302352941, 0.415294118, 0.132941176, 0.0173915652, 0.0130441739,
             0.00869678261, 0.0043493913, 2e-06],
            [0.004, 0.0604705882, 0.0830588235, 0.0265882353, 0.00347831304, 0.00260883478,
             0.00173935652, 0.000869878261, 4e-07],
        ],
        [
            [0.95, 0.891176471, 0.867647059, 0.926470588, 0.95, 0.95, 0.95, 0.95, 0.95],
            [0.95, 0.891176471, 0.867647059, 0.926470588, 0.95, 0.95, 0.95, 0.95, 0.95],
        ],
        [[0.1935910854777596, -1.261416031609515], [0.3450057089159246, 2.842547764075883]],
    ),
    (
        rr.NAdam,
        lambda o: rr.OneCycleLR(
            o, [0.5, 0.1], 9, cycle_momentum=True, base_momentum=[0.6, 0.7],
            max_momentum=[0.9, 0.95],
        ),
        [
            [0.02, 0.325679118, 0.497207718, 0.44928333, 0.352822364, 0.231318551, 0.114364977,
             0.0304464849, 2e-06],
            [0.004, 0.0651358235, 0.0994415435, 0.0898566659, 0.0705644729, 0.0462637103,
             0.0228729953, 0.00608929698, 4e-07],
        ],
        [
            [0.9, 0.708950551, 0.601675376, 0.630430124, 0.688306935, 0.761209514, 0.83138194,
             0.881733236, 0.9],
            [0.95, 0.790792126, 0.701396147, 0.725358437, 0.773589112, 0.834341262, 0.892818283,
             0.934777697, 0.95],
        ],
        [[-0.6619161374362551, -0.9641085018439649], [0.22772509092491172, 2.653542449872034]],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "build", "rates", "momenta", "ends"), AS_PYTORCH)
def test_rates_and_momenta_of_groups_are_pytorch_s(
    kind: Any, build: Build, rates: Any, momenta: Any, ends: Any
) -> None:
    optimizer = two_groups(kind)
    scheduler = build(optimizer)
    seen: list[Any] = []
    first, second = (group["params"][0] for group in optimizer.param_groups)
    for step in range(9):
        for group in optimizer.param_groups:
            momentum = group["betas"][0] if "betas" in group else group["momentum"]
            seen.append([group["lr"], momentum])
        first.grad[...] = 0.5 * first.data + 0.1 * step
        second.grad[...] = 2 * second.data - 0.3
        optimizer.step()
        scheduler.step()
    for got, expected in zip(np.array(seen).reshape(9, 2, 2).T, (rates, momenta), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-8)
    np.testing.assert_allclose([first.data, second.data], ends, rtol=1e-12)
    if "betas" in optimizer.param_groups[0]:
        assert optimizer.param_groups[0]["betas"][1] == 0.999


def test_momentum_that_an_optimizer_lacks_is_refused() -> None:
    for build in (
        lambda optimizer: rr.OneCycleLR(optimizer, 0.5, 10, cycle_momentum=True),
        lambda optimizer: rr.CyclicLR(optimizer, 0.1, 0.5, cycle_momentum=True),
    ):
        for optimizer in (Groups({"lr": 0.1}), two_groups(rr.Adagrad), two_groups(rr.Adadelta)):
            with pytest.raises(rr.ConfigError, match=r"cycle_momentum needs .*momentum or betas"):
                build(optimizer)


@pytest.mark.parametrize(
    ("kind", "options", "limits", "message"),
    [
        (rr.Adam, {}, (0.5, 1.0), r"betas\[0\]: expected .* below 1, got 1.0"),
        (rr.Adam, {}, (1.5, 0.5), r"betas\[0\]: expected .* below 1, got 1.5"),
        (rr.SGD, {"nesterov": True, "momentum": 0.5}, ([0.5, 0.0], 0.9), "nesterov: .*momentum=0"),
    ],
)
def test_momentum_that_an_optimizer_can_not_have_is_refused_before_it_is_due(
    kind: Any, options: dict[str, Any], limits: tuple[Any, Any], message: str
) -> None:
    optimizer = two_groups(kind, **options)
    before = repr(optimizer)
    for build in (
        lambda: rr.OneCycleLR(optimizer, 0.5, 10, 1, 1, 0.3, "cos", True, *limits),
        lambda: rr.CyclicLR(optimizer, 0.1, 0.5, 3, None, "triangular", 1, None, "cycle", True,
                            *limits),
    ):  # fmt: skip
        with pytest.raises(rr.ConfigError, match=message):
            build()
        assert repr(optimizer) == before


def test_a_step_to_an_impossible_momentum_changes_nothing() -> None:
    """Neither the rates, nor the groups before the one that can't have it."""
    optimizer = two_groups(rr.Adam)
    scheduler = rr.CyclicLR(
        optimizer, 0.1, 0.15, 2, scale_fn=[1, 1, -1].__getitem__, scale_mode="iterations",
        cycle_momentum=True, base_momentum=[0.85, 0.7], max_momentum=0.9,
    )  # fmt: skip
    scheduler.step()
    before = repr(optimizer)
    with pytest.raises(rr.ConfigError, match=r"betas\[0\]: .*got 1.1"):
        scheduler.step()
    assert repr(optimizer) == before
    assert scheduler.step_count == 1
    assert optimizer.lr == 0.125


# --------------------------------------------------------------------------------------- errors

REFUSED: list[tuple[Callable[[Any], Any], type[Exception], str]] = [
    (lambda o: rr.ConstantLR(o, -1.0), rr.ConfigError, "factor must be finite and at least 0"),
    (lambda o: rr.ConstantLR(o, 0.5, 0), rr.ConfigError, "total_iters must be at least 1, got 0"),
    (lambda o: rr.StepLR(o, 0), rr.ConfigError, "step_size must be at least 1, got 0"),
    (lambda o: rr.StepLR(o, 2.0), rr.DtypeError, "step_size must be an integer .*got 2.0"),
    (lambda o: rr.StepLR(o, 2, math.nan), rr.ConfigError, "gamma must be finite .*got nan"),
    (lambda o: rr.StepLR(o, 2, "a"), rr.DtypeError, "gamma must be a number, got 'a'"),
    (lambda o: rr.MultiStepLR(o, 5), rr.DtypeError, "milestones must be a list of int"),
    (lambda o: rr.MultiStepLR(o, [2, -1]), rr.ConfigError, r"milestones\[1\] must .*got -1"),
    (lambda o: rr.MultiStepLR(o, "ab"), rr.DtypeError, r"milestones\[0\] must .*got 'a'"),
    (lambda o: rr.ExponentialLR(o, None), rr.DtypeError, "gamma must be a number, got None"),
    (lambda o: rr.LinearLR(o, math.inf), rr.ConfigError, "start_factor must .*got inf"),
    (lambda o: rr.LinearLR(o, 1, -1), rr.ConfigError, "end_factor must .*got -1"),
    (lambda o: rr.LinearLR(o, total_iters=0), rr.ConfigError, "total_iters must .*got 0"),
    (lambda o: rr.PolynomialLR(o, 0), rr.ConfigError, "total_iters must .*got 0"),
    (lambda o: rr.PolynomialLR(o, 5, -1), rr.ConfigError, "power must .*got -1"),
    (lambda o: rr.CosineAnnealingLR(o, 5, -1), rr.ConfigError, "eta_min must .*got -1"),
    (lambda o: rr.CosineAnnealingWarmRestarts(o, 0), rr.ConfigError, "T_0 must .*got 0"),
    (lambda o: rr.CosineAnnealingWarmRestarts(o, 5, 0), rr.ConfigError, "T_mult must .*got 0"),
    (lambda o: rr.CosineAnnealingWarmRestarts(o, 5, 1.5), rr.DtypeError, "T_mult must .*got 1.5"),
    (lambda o: rr.OneCycleLR(o, 0.5), rr.ConfigError, "needs total_steps, or both epochs and"),
    (lambda o: rr.OneCycleLR(o, 0.5, epochs=3), rr.ConfigError, "needs total_steps, or both"),
    (lambda o: rr.OneCycleLR(o, 0.5, 0), rr.ConfigError, "total_steps must .*got 0"),
    (
        lambda o: rr.OneCycleLR(o, 0.5, epochs=3, steps_per_epoch=0),
        rr.ConfigError,
        "steps_per_epoch must .*got 0",
    ),
    (lambda o: rr.OneCycleLR(o, -0.5, 9), rr.ConfigError, "max_lr must .*got -0.5"),
    (lambda o: rr.OneCycleLR(o, [0.5, 1], 9), rr.ConfigError, "max_lr must have one .* of 1 gr"),
    (lambda o: rr.OneCycleLR(o, [-1], 9), rr.ConfigError, r"max_lr\[0\] must .*got -1"),
    (lambda o: rr.OneCycleLR(o, None, 9), rr.DtypeError, "max_lr must be a list of numbers, or"),
    (lambda o: rr.OneCycleLR(o, np.array(1), 9), rr.DtypeError, "max_lr must be a list of numbers"),
    (lambda o: rr.OneCycleLR(o, 10**400, 9), rr.ConfigError, "max_lr must be within the range"),
    (
        lambda o: rr.OneCycleLR(o, 1, 9, cycle_momentum="no"),
        rr.DtypeError,
        "cycle_momentum must be True or False, got 'no'",
    ),
    (lambda o: rr.OneCycleLR(o, 1, 9, three_phase=1), rr.DtypeError, "three_phase must be True"),
    (
        lambda o: rr.CyclicLR(o, 0, 1, cycle_momentum=None),
        rr.DtypeError,
        "cycle_momentum must be True or False, got None",
    ),
    (
        lambda o: rr.OneCycleLR(o, 1, 9, pct_start=1.5),
        rr.ConfigError,
        "pct_start must be finite and from 0 to 1, got 1.5",
    ),
    (
        lambda o: rr.OneCycleLR(o, 1, 9, anneal_strategy="exp"),
        rr.ConfigError,
        'anneal_strategy must be "cos" or "linear", got \'exp\'',
    ),
    (lambda o: rr.OneCycleLR(o, 1, 9, div_factor=0), rr.ConfigError, "div_factor must be above 0"),
    (
        lambda o: rr.OneCycleLR(o, 1, 9, final_div_factor=0),
        rr.ConfigError,
        "final_div_factor must be above 0",
    ),
    (lambda o: rr.CyclicLR(o, "a", 1), rr.DtypeError, r"base_lr\[0\] must be a number, got 'a'"),
    (lambda o: rr.CyclicLR(o, 0.1, 1, 0), rr.ConfigError, "step_size_up must .*got 0"),
    (lambda o: rr.CyclicLR(o, 0.1, 1, 1, 0), rr.ConfigError, "step_size_down must .*got 0"),
    (lambda o: rr.CyclicLR(o, 0.1, 1, mode="x"), rr.ConfigError, "mode must be .*got 'x'"),
    (lambda o: rr.CyclicLR(o, 0.1, 1, gamma=-1), rr.ConfigError, "gamma must .*got -1"),
    (lambda o: rr.CyclicLR(o, 0.1, 1, scale_fn=1), rr.DtypeError, "scale_fn must .*got 1"),
    (lambda o: rr.CyclicLR(o, 0.1, 1, scale_mode=1), rr.ConfigError, "scale_mode must .*got 1"),
    (
        lambda o: rr.CyclicLR(o, 0.1, 1, scale_fn=str),
        rr.DtypeError,
        "what scale_fn returns must be a number, got '1'",
    ),
    (lambda o: rr.ReduceLROnPlateau(o, "low"), rr.ConfigError, 'mode must be "min" or "max"'),
    (lambda o: rr.ReduceLROnPlateau(o, factor=1), rr.ConfigError, "factor must be below 1, got 1"),
    (lambda o: rr.ReduceLROnPlateau(o, patience=-1), rr.ConfigError, "patience must .*got -1"),
    (lambda o: rr.ReduceLROnPlateau(o, threshold=-1), rr.ConfigError, "threshold must .*got -1"),
    (lambda o: rr.ReduceLROnPlateau(o, threshold_mode="x"), rr.ConfigError, "threshold_mode must"),
    (lambda o: rr.ReduceLROnPlateau(o, cooldown=-1), rr.ConfigError, "cooldown must .*got -1"),
    (lambda o: rr.ReduceLROnPlateau(o, min_lr=-1), rr.ConfigError, "min_lr must .*got -1"),
    (lambda o: rr.ReduceLROnPlateau(o, eps=-1), rr.ConfigError, "eps must .*got -1"),
    (lambda o: rr.LambdaLR(o, 0.5), rr.DtypeError, "lr_lambda must be a function .*got 0.5"),
    (lambda o: rr.LambdaLR(o, lambda step: -1), rr.ConfigError, "lr_lambda returns must .*got -1"),
    (lambda o: rr.LambdaLR(o, str), rr.DtypeError, "what lr_lambda returns must be a number"),
    (lambda o: rr.WarmupLR(o, 0), rr.ConfigError, "warmup_steps must .*got 0"),
    (lambda o: rr.WarmupLR(o, 5, 1.5), rr.ConfigError, "start_factor must .*from 0 to 1, got 1.5"),
    (lambda o: rr.WarmupLR(o, 5, after=1), rr.DtypeError, "after must be a schedule .*got 1"),
    (
        lambda o: rr.WarmupLR(o, 5, after=rr.StepLR(sgd(), 1)),
        rr.ConfigError,
        "after was built on another optimizer",
    ),
    (lambda o: rr.SequentialLR(o, 5, []), rr.DtypeError, "schedulers must be a list of sch"),
    (lambda o: rr.SequentialLR(o, [], 5), rr.DtypeError, "milestones must be a list of integers"),
    (lambda o: rr.SequentialLR(o, [], []), rr.ConfigError, "at least one schedule"),
    (lambda o: rr.SequentialLR(o, [1], []), rr.DtypeError, r"schedulers\[0\] must be a schedule"),
    (
        lambda o: rr.SequentialLR(o, [rr.StepLR(sgd(), 1)], []),
        rr.ConfigError,
        r"schedulers\[0\] was built on another optimizer",
    ),
    (
        lambda o: rr.SequentialLR(o, [rr.StepLR(o, 1)], [3]),
        rr.ConfigError,
        r"milestones must have one number less than .*\(1\), got \[3\]",
    ),
    (
        lambda o: rr.SequentialLR(o, [rr.StepLR(o, 1) for _ in range(3)], [3, 3]),
        rr.ConfigError,
        r"milestones must be rising, got \[3, 3\]",
    ),
    (
        lambda o: rr.SequentialLR(o, [rr.StepLR(o, 1) for _ in range(2)], [0]),
        rr.ConfigError,
        r"milestones\[0\] must be at least 1, got 0",
    ),
    (
        lambda o: rr.SequentialLR(o, [rr.StepLR(o, 1)] * 2, [3]),
        rr.ConfigError,
        "can't be in another one twice",
    ),
    (lambda o: rr.LRScheduler(o), NotImplementedError, r"LRScheduler must define rate\("),
]


@pytest.mark.parametrize(("build", "error", "text"), REFUSED)
def test_impossible_options(build: Build, error: type[Exception], text: str) -> None:
    optimizer = sgd()
    with pytest.raises(error, match=text):
        build(optimizer)
    assert optimizer.lr == 0.1


@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_optimizer(name: str) -> None:
    for wrong in (None, 3, rr.MSELoss()):
        with pytest.raises(rr.DtypeError, match=r"optimizer must be such as rr\.Adam\(.*with lr"):
            SCHEDULES[name](wrong)
    with pytest.raises(rr.DtypeError, match="optimizer must be an instance"):
        SCHEDULES[name](rr.SGD)


def test_parts_that_took_steps_are_refused() -> None:
    optimizer = sgd()
    part = rr.StepLR(optimizer, 1)
    part.step()
    with pytest.raises(rr.ConfigError, match="after must not have taken steps, but took 1"):
        rr.WarmupLR(optimizer, 2, after=part)


def test_a_failed_step_changes_nothing() -> None:
    optimizer = sgd()
    plateau = rr.ReduceLROnPlateau(optimizer, patience=0)
    scheduler = rr.SequentialLR(
        optimizer, [rr.StepLR(optimizer, 1), rr.WarmupLR(optimizer, 1, after=plateau)], [1]
    )
    for _ in range(2):
        scheduler.step()
    before, rate = scheduler.state_dict(), optimizer.lr
    for wrong in (None, "a", [1.0]):
        with pytest.raises(rr.DtypeError, match="metric must be a number"):
            scheduler.step(wrong)
        assert (scheduler.state_dict(), optimizer.lr) == (before, rate)
    scheduler.step(1.0)
    assert plateau.best == 1.0


@pytest.mark.parametrize("bad", [-1.0, math.nan, math.inf, "a"])
def test_a_rate_that_cannot_be_used_changes_nothing(bad: Any) -> None:
    class Breaking(rr.LRScheduler):
        def rate(self, step: int, base_lr: float) -> float:
            return base_lr if step < 2 else bad

    scheduler = Breaking(sgd())
    scheduler.step()
    with pytest.raises((rr.ConfigError, rr.DtypeError), match="learning rate must be"):
        scheduler.step()
    assert (scheduler.step_count, scheduler.optimizer.lr) == (1, 0.1)


def test_a_rate_beyond_all_numbers() -> None:
    scheduler = rr.ExponentialLR(sgd(), 10.0)
    with pytest.raises(rr.ConfigError, match="rate of step 400 is beyond the range"):
        scheduler.load_state_dict({"step_count": 400, "base_lrs": [0.1]})
    with pytest.raises(rr.ConfigError, match="beyond the range"):
        scheduler.preview(400)
    assert (scheduler.step_count, scheduler.optimizer.lr) == (0, 0.1)


@pytest.mark.parametrize("n", [0, -1, 1.5, None, True])
def test_impossible_numbers_of_steps(n: Any) -> None:
    scheduler = rr.StepLR(sgd(), 1)
    for call in (scheduler.preview, scheduler.plot):
        with pytest.raises((rr.ConfigError, rr.DtypeError), match="n must be"):
            call(n)


@pytest.mark.parametrize("name", ["step", "plateau", "sequential"])
def test_foreign_states_are_refused(name: str) -> None:
    scheduler = SCHEDULES[name](sgd())
    stepped(scheduler, 4, METRICS)
    before, rate = scheduler.state_dict(), scheduler.optimizer.lr
    bad: list[Any] = [None, 3, {}, {**before, "extra": 1}]
    bad += [{**before, "step_count": value} for value in (-1, 1.5, None)]
    bad += [{**before, "base_lrs": value} for value in ([0.1, 0.1], [], [-1.0], ["a"], None)]
    if name == "plateau":
        bad += [{**before, "best": value} for value in ("a", math.nan)]
        bad += [{**before, key: -1} for key in ("num_bad_epochs", "cooldown_counter")]
        bad += [{**before, "lrs": [0.1, 0.2]}]
    if name == "sequential":
        parts = before["schedulers"]
        bad += [{**before, "schedulers": value} for value in (parts[:2], None, [*parts[:2], {}])]
    for state in bad:
        with pytest.raises((rr.ConfigError, rr.DtypeError), match="state"):
            scheduler.load_state_dict(state)
        assert (scheduler.state_dict(), scheduler.optimizer.lr) == (before, rate)


# ---------------------------------------------------------------------------------------- plots


def test_plot(tmp_path: Any) -> None:
    from matplotlib import pyplot as plt

    scheduler = SCHEDULES["onecycle"](sgd())
    scheduler.step()
    for ending, start in (("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")):
        path = tmp_path / f"rates.{ending}"
        figure = scheduler.plot(12, path)
        assert path.read_bytes().startswith(start)
    assert not plt.get_fignums()
    assert figure is not None
    (axis,) = figure.axes
    (line,) = axis.get_lines()
    assert np.asarray(line.get_xdata()).tolist() == list(range(1, 13))
    assert np.asarray(line.get_ydata()).tolist() == scheduler.preview(12).tolist()
    assert (axis.get_title(), axis.get_xlabel()) == ("OneCycleLR", "step")
    shown = scheduler.plot(1)
    assert shown is not None
    assert plt.get_fignums() == [shown.number]
    plt.close(shown)
    figure = rr.StepLR(Groups({"lr": 0.1}, {"lr": 0.2}), 2).plot(5, tmp_path / "groups.png")
    assert figure is not None
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert labels == ["group 0", "group 1"]


def test_text_plot_without_matplotlib(
    tmp_path: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, module, None)
    assert rr.LinearLR(sgd(), 0.0, 1.0, total_iters=11).plot(14) is None
    assert capsys.readouterr().out.splitlines() == [
        "0.1 |           ***",
        "    |          *",
        "    |         *",
        "    |        *",
        "    |       *",
        "    |      *",
        "    |     *",
        "    |    *",
        "    |   *",
        "    |  *",
        "    | *",
        "  0 |*",
        "    +--------------",
        "     learning rate, steps 0 to 13",
    ]
    scheduler = rr.ConstantLR(sgd(), 1.0)
    scheduler.step()
    scheduler.plot(3)
    assert capsys.readouterr().out.splitlines() == [
        "0.1 |***",
        "    +---",
        "     learning rate, steps 1 to 3",
    ]
    rr.ExponentialLR(Groups({"lr": 1.0}, {"lr": 0.5}), 1.0).plot(1000)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "  1 |" + "*" * 64
    assert lines[11] == "0.5 |" + "o" * 64
    path = tmp_path / "rates.png"
    with pytest.raises(ImportError):
        scheduler.plot(3, path)
    assert not path.exists()
