"""Optimizers and clipping beside their NumPy references."""

from __future__ import annotations

import copy
import gc
import itertools
import pickle
import threading
import weakref
from collections import UserDict
from collections.abc import MutableMapping
from typing import Any

import numpy as np
import pytest

import recurrust as rr
from reference import optimizers
from reference.comparison import assert_close

KINDS = {
    "sgd": rr.SGD,
    "adam": rr.Adam,
    "adamw": rr.AdamW,
    "rmsprop": rr.RMSprop,
    "adagrad": rr.Adagrad,
    "adadelta": rr.Adadelta,
    "nadam": rr.NAdam,
    "radam": rr.RAdam,
}
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "sgd": [
        {"momentum": momentum, "dampening": dampening, "weight_decay": decay, "nesterov": nesterov}
        for momentum, dampening, decay, nesterov in itertools.product(
            (0, 0.9), (0, 0.2), (0, 0.1), (False, True)
        )
        if not nesterov or (momentum and not dampening)
    ],
    "adam": [
        {"betas": betas, "eps": eps, "weight_decay": decay, "amsgrad": amsgrad}
        for betas, eps, decay, amsgrad in itertools.product(
            ((0.9, 0.999), (0.5, 0.5), (0.0, 0.9)), (1e-8, 1.0), (0, 0.1), (False, True)
        )
    ],
    "rmsprop": [
        {"alpha": alpha, "eps": eps, "weight_decay": decay, "momentum": m, "centered": centered}
        for alpha, eps, decay, m, centered in itertools.product(
            (0.99, 0.5), (1e-8, 1.0), (0, 0.1), (0, 0.9), (False, True)
        )
    ],
    "adagrad": [
        {"lr_decay": fall, "weight_decay": decay, "initial_accumulator_value": start, "eps": eps}
        for fall, decay, start, eps in itertools.product(
            (0, 0.3), (0, 0.1), (0, 0.5), (1e-10, 1.0)
        )
    ],
    "adadelta": [
        {"rho": rho, "eps": eps, "weight_decay": decay}
        for rho, eps, decay in itertools.product((0.9, 0.5, 0.0, 1.0), (1e-6, 1.0), (0, 0.1))
    ],
    "nadam": [
        {"betas": betas, "eps": eps, "weight_decay": decay, "momentum_decay": fall,
         "decoupled_weight_decay": decoupled}
        for betas, eps, decay, fall, decoupled in itertools.product(
            ((0.9, 0.999), (0.5, 0.5), (0.0, 0.9)), (1e-8, 1.0), (0, 0.1), (0.004, 0, 2.0),
            (False, True),
        )
    ],
    "radam": [
        {"betas": betas, "eps": eps, "weight_decay": decay, "decoupled_weight_decay": decoupled}
        for betas, eps, decay, decoupled in itertools.product(
            # The second moment counts from the sixth update on; never; soon.
            ((0.9, 0.999), (0.5, 0.5), (0.0, 0.9)), (1e-8, 1.0), (0, 0.1), (False, True)
        )
    ],
}  # fmt: skip
OPTIONS["adamw"] = OPTIONS["adam"]
# Less than a register, just around one, and many with a rest.
SHAPES = ((), (3,), (15,), (17,), (10, 101))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize("name", KINDS)
def test_every_combination_of_options(
    name: str, maximize: bool, dtype: str, rng: np.random.Generator
) -> None:
    update = getattr(optimizers, name)
    for options in OPTIONS[name]:
        starts = [rng.normal(size=shape).astype(dtype) for shape in SHAPES]
        parameters = [rr.Parameter(start) for start in starts]
        optimizer = KINDS[name](parameters, lr=0.01, maximize=maximize, **options)
        expected = [start.astype(np.float64) for start in starts]
        memories: list[optimizers.Memory] = [{} for _ in starts]
        for step in range(1, 21):
            for parameter, target, memory in zip(parameters, expected, memories, strict=True):
                gradient = rng.normal(size=parameter.shape).astype(dtype)
                parameter.grad[...] = gradient
                update(
                    target, gradient.astype(float), memory, step,
                    lr=0.01, maximize=maximize, **options,
                )  # fmt: skip
            optimizer.step()
        for parameter, target in zip(parameters, expected, strict=True):
            tolerance = 1e-12 if dtype == "float64" else 1e-5
            assert_close(parameter.data, target, tolerance, str(options))


@pytest.mark.parametrize("name", KINDS)
def test_defaults(name: str) -> None:
    parameters = [rr.Parameter(np.ones(3)) for _ in range(2)]
    defaults = {
        "sgd": {"lr": 1e-3, "momentum": 0.0, "weight_decay": 0.0},
        "adam": {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0},
        "adamw": {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 1e-2},
        "rmsprop": {"lr": 1e-2, "alpha": 0.99, "eps": 1e-8, "weight_decay": 0.0},
        "adagrad": {
            "lr": 1e-2, "lr_decay": 0.0, "weight_decay": 0.0, "initial_accumulator_value": 0.0,
            "eps": 1e-10,
        },
        "adadelta": {"lr": 1.0, "rho": 0.9, "eps": 1e-6, "weight_decay": 0.0},
        "nadam": {
            "lr": 2e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0,
            "momentum_decay": 4e-3, "decoupled_weight_decay": False,
        },
        "radam": {
            "lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0,
            "decoupled_weight_decay": False,
        },
    }[name]  # fmt: skip
    (group,) = KINDS[name](parameters).param_groups
    assert defaults.items() <= group.items()
    assert group["params"] == parameters


def test_what_is_remembered_has_pytorch_s_names(rng: np.random.Generator) -> None:
    for kind, names in (
        (rr.Adagrad, {"step", "sum"}),
        (rr.Adadelta, {"step", "square_avg", "acc_delta"}),
        (rr.NAdam, {"step", "mu_product", "exp_avg", "exp_avg_sq"}),
        (rr.RAdam, {"step", "exp_avg", "exp_avg_sq"}),
    ):
        parameter = rr.Parameter(np.ones(3))
        optimizer = kind([parameter])
        assert optimizer.state_dict()["state"] == {}
        parameter.grad[...] = gradient = rng.normal(size=3)
        optimizer.step()
        (state,) = optimizer.state_dict()["state"].values()
        assert set(state) == names
        assert state["step"] == 1
        if kind is rr.NAdam:
            np.testing.assert_array_equal(
                state["mu_product"], np.float32(0.9 * (1 - 0.96**0.004 / 2))
            )
        if kind in (rr.NAdam, rr.RAdam):
            np.testing.assert_allclose(state["exp_avg"], 0.1 * gradient, rtol=1e-14)
            np.testing.assert_allclose(state["exp_avg_sq"], 0.001 * gradient**2, rtol=1e-12)
    optimizer = rr.Adagrad([parameter], initial_accumulator_value=0.25)
    optimizer.step()
    np.testing.assert_allclose(
        optimizer.state_dict()["state"][0]["sum"], 0.25 + gradient**2, rtol=1e-15
    )


def test_every_parameter_has_a_product_of_its_own() -> None:
    """One that joins later starts from the beginning, and so does its count of steps."""
    early, late = rr.Parameter(np.ones(2)), rr.Parameter(np.ones(2))
    optimizer = rr.NAdam([early, late], lr=0.01)
    early.grad[...] = 0.5
    optimizer.step()
    first = early.data.copy()
    late.grad[...] = 0.5
    optimizer.step()
    np.testing.assert_array_equal(late.data, first)
    states = optimizer.state_dict()["state"]
    assert [states[index]["step"] for index in (0, 1)] == [2, 1]
    assert 0.2 < states[0]["mu_product"] < 0.21 < 0.45 < states[1]["mu_product"] < 0.46


def test_a_momentum_of_almost_one_keeps_nadam_finite() -> None:
    parameter = rr.Parameter(np.ones(2))
    optimizer = rr.NAdam([parameter], betas=(1 - 1e-12, 0.999), momentum_decay=1e9)
    parameter.grad[...] = 1.0
    for _ in range(3):
        optimizer.step()
    assert np.isfinite(parameter.data).all()


@pytest.mark.parametrize("product", [-0.1, 1.5, np.nan, np.inf, [0.5, 0.5], [], "half", None])
def test_a_product_that_can_not_be_is_refused(product: Any) -> None:
    parameter = rr.Parameter(np.ones(2))
    optimizer = rr.NAdam([parameter])
    parameter.grad[...] = 1.0
    optimizer.step()
    before = optimizer.state_dict()
    wrong = optimizer.state_dict()
    wrong["state"][0]["mu_product"] = product
    with pytest.raises((ValueError, TypeError), match="mu_product"):
        optimizer.load_state_dict(wrong)
    del wrong["state"][0]["mu_product"]
    with pytest.raises(rr.ConfigError, match="mu_product"):
        optimizer.load_state_dict(wrong)
    after = optimizer.state_dict()
    assert after["param_groups"] == before["param_groups"]
    assert after["state"][0]["mu_product"] == before["state"][0]["mu_product"]
    # As PyTorch keeps it.
    wrong["state"][0]["mu_product"] = np.array(0.25, np.float32)
    optimizer.load_state_dict(wrong)
    assert optimizer.state_dict()["state"][0]["mu_product"] == 0.25


def test_radam_waits_for_its_second_moment() -> None:
    """Until then, steps are proportional to the gradients."""
    small, large = rr.Parameter(np.zeros(1)), rr.Parameter(np.zeros(1))
    optimizer = rr.RAdam([small, large], lr=0.1)
    for step in range(1, 8):
        small.grad[...], large.grad[...] = 0.1, 10.0
        before = [small.data.copy(), large.data.copy()]
        optimizer.step()
        moved = [(p.data - b)[0] for p, b in zip((small, large), before, strict=True)]
        if step <= 5:
            np.testing.assert_allclose(moved, [-0.01, -1.0], rtol=1e-12)
        else:
            # A hundredfold gradient moves no further: only eps tells them apart.
            np.testing.assert_allclose(moved[0], moved[1], rtol=1e-5)
            assert -0.1 < moved[0] < 0


def test_groups_have_options_of_their_own() -> None:
    layer, other = rr.Linear(2, 3, dtype="float64"), rr.Parameter(np.ones(2))
    optimizer = rr.SGD(
        [{"params": layer.parameters(), "lr": 0.5}, {"params": [other], "weight_decay": 1.0}],
        lr=0.25,
    )
    before = layer.state_dict()
    for parameter in (*layer.parameters(), other):
        parameter.grad[...] = 1.0
    optimizer.step()
    for name, array in layer.state_dict().items():
        np.testing.assert_array_equal(array, before[name] - 0.5)
    np.testing.assert_array_equal(other.data, 1 - 0.25 * (1 + 1))
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.25]
    assert optimizer.lr == 0.5
    optimizer.lr = 2.0
    assert [group["lr"] for group in optimizer.param_groups] == [2.0, 2.0]
    optimizer.step()
    np.testing.assert_array_equal(other.data, 0.5 - 2 * (1 + 0.5))


@pytest.mark.parametrize("name", KINDS)
def test_a_loaded_state_goes_on_bit_for_bit(name: str, rng: np.random.Generator) -> None:
    options = OPTIONS[name][-1]
    gradients = rng.normal(size=(12, 5)).astype("f4")

    def start() -> tuple[Any, Any]:
        parameter = rr.Parameter(np.linspace(-1, 1, 5, dtype="f4"))
        return parameter, KINDS[name]([parameter], lr=0.05, **options)

    def go(parameter: Any, optimizer: Any, steps: range) -> None:
        for step in steps:
            parameter.grad[...] = gradients[step]
            optimizer.step()

    one, optimizer = start()
    go(one, optimizer, range(12))
    two, optimizer = start()
    go(two, optimizer, range(7))
    saved, values = optimizer.state_dict(), two.data.copy()
    go(two, optimizer, range(7, 9))  # the saved state is a copy
    three, resumed = start()
    three.assign(values)
    resumed.lr = 1.0  # comes back with the state
    resumed.load_state_dict(saved)
    go(three, resumed, range(7, 12))
    np.testing.assert_array_equal(three.data, one.data)


def test_zero_grad_and_parameters_without_gradients() -> None:
    used, unused = rr.Parameter(np.ones(2)), rr.Parameter(np.ones(2))
    used.grad[...] = 1.0
    optimizer = rr.SGD([used, unused], lr=1.0, weight_decay=1.0)
    optimizer.step()
    np.testing.assert_array_equal(used.data, [-1, -1])
    np.testing.assert_array_equal(unused.data, [1, 1])
    optimizer.zero_grad()
    assert not used.grad.any()
    assert rr.SGD(iter([used])).param_groups[0]["params"] == [used]


def test_zeroing_the_gradients_of_parameters() -> None:
    layer, own, fresh = rr.Linear(2, 3), rr.Parameter(np.ones(17)), rr.Parameter(np.ones(2))
    weight, bias = layer.parameters()
    for parameter in (weight, bias, own):
        parameter.grad[...] = 1.0
    rr._core.zero_grad_(iter([weight, own, fresh]))
    assert not weight.grad.any()
    assert not own.grad.any()
    np.testing.assert_array_equal(bias.grad, np.ones(3))
    # A parameter that never had a gradient stays one that optimizers leave alone.
    rr.SGD([fresh], lr=1.0, weight_decay=1.0).step()
    np.testing.assert_array_equal(fresh.data, [1, 1])
    rr._core.zero_grad_(bias)
    assert not bias.grad.any()
    own.grad[...] = 2.0
    for wrong in (3, [own, 3], [own, own.grad]):
        with pytest.raises(rr.DtypeError, match="params"):
            rr._core.zero_grad_(wrong)
    np.testing.assert_array_equal(own.grad, np.full(17, 2.0))


def test_groups_over_parts_of_modules(rng: np.random.Generator) -> None:
    """Parameters of two layers and the user's own, mixed, with rates of their own."""
    for dtype, tolerance in (("float32", 1e-6), ("float64", 1e-14)):
        first, second = rr.Linear(5, 7, dtype=dtype), rr.LSTM(3, 5, dtype=dtype)
        own = rr.Parameter(rng.normal(size=19).astype(dtype))
        members = [*first.parameters(), *second.parameters(), own]
        order = [members[index] for index in rng.permutation(len(members))]
        groups = [(order[:3], 0.1), (order[3:4], 0.0), (order[4:], 0.01)]
        optimizer = rr.Adam([{"params": members, "lr": lr} for members, lr in groups])
        expected = {id(member): member.data.astype(float) for member in members}
        memories: dict[int, optimizers.Memory] = {id(member): {} for member in members}
        for step in range(1, 6):
            for group, lr in groups:
                for member in group:
                    gradient = rng.normal(size=member.shape).astype(dtype)
                    member.grad[...] = gradient
                    key = id(member)
                    optimizers.adam(
                        expected[key], gradient.astype(float), memories[key], step, lr=lr
                    )
            optimizer.step()
        for member in members:
            assert_close(member.data, expected[id(member)], tolerance, member.name)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_centred_rmsprop_survives_constant_gradients(dtype: str) -> None:
    """The variance goes to zero, and rounding must not take it below."""
    for gradient in (0.1, 1.0, 1e-3, 12345.678):
        parameter = rr.Parameter(np.zeros(4, dtype))
        optimizer = rr.RMSprop([parameter], lr=1e-3, alpha=0.9, centered=True)
        parameter.grad[...] = gradient
        for _ in range(2000):
            optimizer.step()
        assert np.isfinite(parameter.data).all(), gradient


@pytest.mark.parametrize("name", KINDS)
def test_extreme_gradients_stay_finite(name: str) -> None:
    for gradient in (0.0, 1e-30, 1e-45, 1e15, -1e18):
        parameter = rr.Parameter(np.ones(3, "f4"))
        optimizer = KINDS[name]([parameter], lr=1e-3)
        for _ in range(8):
            parameter.grad[...] = gradient
            optimizer.step()
        assert np.isfinite(parameter.data).all(), gradient


def test_rate_zero_changes_nothing() -> None:
    for name, kind in KINDS.items():
        parameter = rr.Parameter(np.linspace(-1, 1, 7))
        before = parameter.data.copy()
        optimizer = kind([parameter], lr=0.0, weight_decay=0.5)
        parameter.grad[...] = 1.0
        optimizer.step()
        np.testing.assert_array_equal(parameter.data, before, err_msg=name)


def test_user_code_may_ask_the_optimizer_while_it_loads() -> None:
    """Otherwise the call would wait for itself; in a thread, so that it can't stop the tests."""
    parameter = rr.Parameter(np.ones(3))
    optimizer = rr.Adam([parameter], lr=0.5)
    parameter.grad[...] = 1.0
    optimizer.step()
    asked = []

    class Curious(UserDict[Any, Any]):
        def __getitem__(self, key: Any) -> Any:
            asked.append(optimizer.lr)
            return super().__getitem__(key)

    class Lazy:
        def __init__(self, array: Any) -> None:
            self.array = array

        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            asked.append(optimizer.lr)
            return self.array

    saved = optimizer.state_dict()
    saved["state"][0] = {
        key: Lazy(value) if isinstance(value, np.ndarray) else value
        for key, value in saved["state"][0].items()
    }
    thread = threading.Thread(target=optimizer.load_state_dict, args=(Curious(saved),), daemon=True)
    thread.start()
    thread.join(timeout=10)
    assert not thread.is_alive(), "waits for itself"
    assert set(asked) == {0.5}


# ------------------------------------------------------------------------------------------ groups


def two_groups() -> rr.SGD:
    groups = [{"params": [rr.Parameter(np.ones(2))], "lr": lr} for lr in (0.5, 0.25)]
    return rr.SGD(groups, momentum=0.5)


def test_groups_are_live_mappings() -> None:
    optimizer = two_groups()
    first, second = optimizer.param_groups
    assert isinstance(first, MutableMapping)
    options = {
        "lr": 0.5, "momentum": 0.5, "dampening": 0.0, "weight_decay": 0.0, "nesterov": False,
        "maximize": False,
    }  # fmt: skip
    names = [*options, "params"]
    assert list(first) == list(first.keys()) == names
    assert len(first) == 7
    assert {name: first[name] for name in options} == options
    assert "params" in first
    assert "betas" not in first
    assert first.get("betas", 3) == 3
    assert first == optimizer.param_groups[0]
    assert first != second
    assert repr(first) == (
        "ParameterGroup(1 parameters, lr=0.5, momentum=0.5, dampening=0.0, weight_decay=0.0, "
        "nesterov=False, maximize=False)"
    )
    first["lr"] = np.float32(2)
    second["momentum"] = 0
    first.update({"weight_decay": 0.125}, nesterov=np.bool_(True))
    second.update([("maximize", True)])
    assert second.setdefault("lr", 9.0) == 0.25
    assert dict(first) == {
        **options, "lr": 2.0, "weight_decay": 0.125, "nesterov": True, "params": first["params"]
    }  # fmt: skip
    assert dict(optimizer.param_groups[1].items()) == {
        **options, "lr": 0.25, "momentum": 0.0, "maximize": True, "params": second["params"]
    }  # fmt: skip
    assert type(first["lr"]) is float
    assert type(first["nesterov"]) is bool
    assert optimizer.lr == 2.0
    optimizer.lr = 0.75
    assert (first["lr"], second["lr"]) == (0.75, 0.75)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"lr": -1}, rr.ConfigError, "lr: expected a finite number, 0 or more, got -1"),
        ({"lr": np.nan}, rr.ConfigError, "lr: .* got nan"),
        ({"lr": "1"}, rr.DtypeError, "lr: expected a finite number, 0 or more, got '1'"),
        ({"lr": None}, rr.DtypeError, "lr: .* got None"),
        ({"dampening": np.inf}, rr.ConfigError, "dampening: expected a finite number, got inf"),
        ({"maximize": 1}, rr.DtypeError, "maximize: expected True or False, got 1"),
        ({"momentum": 0.9, "lr": -2.0}, rr.ConfigError, "lr: .* got -2.0"),
        ({"nesterov": True, "momentum": 0}, rr.ConfigError, "nesterov: expected False unless"),
        ({"betas": (0.9, 0.99)}, rr.ConfigError, "expected an option among .*, got 'betas'"),
        ({"lr": 1.0, "LR": 1.0}, rr.ConfigError, r"among \['lr', 'momentum', .*got 'LR'"),
        ({3: 1.0}, rr.ConfigError, "an option among .*got 3"),
        ({"params": []}, rr.ConfigError, "params: expected no change, .*keeps its parameters"),
    ],
)
def test_impossible_changes_of_a_group(
    change: dict[Any, Any], error: type[Exception], message: str
) -> None:
    optimizer = two_groups()
    group = optimizer.param_groups[0]
    before = [dict(group) for group in optimizer.param_groups]
    with pytest.raises(error, match=message):
        group.update(change)
    if len(change) == 1:
        with pytest.raises(error, match=message):
            group[next(iter(change))] = next(iter(change.values()))
    assert [dict(group) for group in optimizer.param_groups] == before


@pytest.mark.parametrize(
    ("betas", "error", "message"),
    [
        ((0.9, 1.0), rr.ConfigError, r"betas\[1\]: .*below 1, got 1.0"),
        ((-0.1, 0.9), rr.ConfigError, r"betas\[0\]: .*got -0.1"),
        ((0.9,), rr.DtypeError, "betas: expected a pair"),
        (0.9, rr.DtypeError, "betas: expected a pair"),
    ],
)
def test_impossible_betas_of_a_group(betas: Any, error: type[Exception], message: str) -> None:
    (group,) = rr.Adam([rr.Parameter(np.ones(2))]).param_groups
    with pytest.raises(error, match=message):
        group["betas"] = betas
    assert group["betas"] == (0.9, 0.999)


def test_options_of_a_group_neither_come_nor_go() -> None:
    (group,) = rr.Adam([rr.Parameter(np.ones(2))]).param_groups
    before = dict(group)
    for read in (lambda: group["momentum"], lambda: group[0]):
        with pytest.raises(KeyError):
            read()
    for delete in (lambda: group.pop("lr"), group.popitem, group.clear):
        with pytest.raises(TypeError, match="can't be deleted"):
            delete()
    with pytest.raises(TypeError, match="can't be deleted"):
        del group["eps"]
    with pytest.raises(rr.ConfigError, match="got 'initial_lr'"):
        group.setdefault("initial_lr", 0.5)
    with pytest.raises(TypeError, match="unhashable"):
        group[[]] = 1
    with pytest.raises(rr.ConfigError, match="index of one of 1 groups, got 1"):
        type(group)(rr.Adam([rr.Parameter(np.ones(2))]), 1)
    group["params"].clear()  # a copy
    assert dict(group) == before
    assert len(before["params"]) == 1


@pytest.mark.parametrize("name", KINDS)
def test_options_that_are_set_are_those_of_the_constructor(
    name: str, rng: np.random.Generator
) -> None:
    gradients = rng.normal(size=(5, 17))
    for options in OPTIONS[name]:
        one, two = (rr.Parameter(np.linspace(-1, 1, 17)) for _ in range(2))
        built = KINDS[name]([one], lr=0.05, maximize=True, **options)
        changed = KINDS[name]([two])
        changed.param_groups[0].update(lr=0.05, maximize=True, **options)
        for gradient in gradients:
            for parameter, optimizer in ((one, built), (two, changed)):
                parameter.grad[...] = gradient
                optimizer.step()
        np.testing.assert_array_equal(one.data, two.data, str(options))
        assert repr(built) == repr(changed)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("sgd", [{}, {"momentum": 0.9}, {"lr": 0.1, "nesterov": True}, {"nesterov": False}]),
        ("sgd", [{"momentum": 0.9}, {"momentum": 0}, {"weight_decay": 0.1}, {"momentum": 0.5}]),
        ("adam", [{}, {"amsgrad": True}, {"betas": (0.5, 0.99)}, {"lr": 0.2}, {"eps": 0.1}]),
        ("adam", [{"amsgrad": True}, {"amsgrad": False, "betas": (0.9, 0.5)}, {"amsgrad": True}]),
        ("rmsprop", [{}, {"momentum": 0.9}, {"centered": True}, {"alpha": 0.9, "momentum": 0}]),
        ("rmsprop", [{"centered": True}, {"centered": False}, {"lr": 0.1}, {"centered": True}]),
        ("adagrad", [{}, {"lr_decay": 0.1}, {"eps": 0.1}, {"lr": 1.0}]),
    ],
)
def test_options_that_change_between_steps(
    name: str, changes: list[dict[str, Any]], dtype: str, rng: np.random.Generator
) -> None:
    update = getattr(optimizers, name)
    start = rng.normal(size=17).astype(dtype)
    parameter, expected = rr.Parameter(start), start.astype(float)
    optimizer = KINDS[name]([parameter])
    memory: optimizers.Memory = {}
    options: dict[str, Any] = {}
    steps = [change for change in changes for _ in range(3)]
    for step, change in enumerate(steps, 1):
        optimizer.param_groups[0].update(change)
        options.update(change)
        parameter.grad[...] = gradient = rng.normal(size=17).astype(dtype)
        optimizer.step()
        update(expected, gradient.astype(float), memory, step, **options)
        if step % 3 == 1:
            # A copy right after a change has all that is needed, and nothing is lost.
            copied = pickle.loads(pickle.dumps(optimizer))
            assert repr(copied) == repr(optimizer)
            optimizer.load_state_dict(optimizer.state_dict())
    assert_close(parameter.data, expected, 1e-12 if dtype == "float64" else 1e-5, str(changes))


def test_a_state_saved_between_a_change_and_a_step() -> None:
    parameter = rr.Parameter(np.ones(3))
    optimizer = rr.RMSprop([parameter])
    parameter.grad[...] = 1.0
    optimizer.step()
    (group,) = optimizer.param_groups
    group.update(momentum=0.5, centered=True)
    state = optimizer.state_dict()
    assert set(state["state"][0]) == {"step", "square_avg", "momentum_buffer", "grad_avg"}
    np.testing.assert_array_equal(state["state"][0]["grad_avg"], np.zeros(3))
    optimizer.step()
    group["momentum"] = 0.0
    state = optimizer.state_dict()
    velocity = state["state"][0]["momentum_buffer"]
    assert (velocity > 0.9).all()
    fresh = rr.RMSprop([rr.Parameter(np.ones(3))])
    fresh.load_state_dict(state)
    np.testing.assert_array_equal(fresh.state_dict()["state"][0]["momentum_buffer"], velocity)
    state["state"][0]["momentum_buffer"] = None  # as PyTorch may have it
    fresh.load_state_dict(state)
    assert "momentum_buffer" not in fresh.state_dict()["state"][0]
    state["param_groups"][0]["momentum"] = 0.5  # now it is needed
    with pytest.raises(rr.DtypeError, match="momentum_buffer"):
        fresh.load_state_dict(state)
    assert fresh.param_groups[0]["momentum"] == 0.0


def test_a_group_keeps_its_optimizer() -> None:
    optimizer = two_groups()
    reference = weakref.ref(optimizer)
    group = optimizer.param_groups[1]
    del optimizer
    gc.collect()
    group["lr"] = 0.125
    assert group["lr"] == 0.125
    twin = copy.deepcopy(group)
    twin["lr"] = 3.0
    assert (group["lr"], twin["lr"]) == (0.125, 3.0)
    assert twin["params"][0] is not group["params"][0]
    assert pickle.loads(pickle.dumps(group))["lr"] == 0.125
    shared = copy.copy(group)
    shared["lr"] = 4.0
    assert group["lr"] == 4.0
    del group, shared
    gc.collect()
    assert reference() is None


def test_copies_keep_the_options_of_groups() -> None:
    optimizer = two_groups()
    optimizer.param_groups[1].update(lr=0.125, nesterov=True)
    for twin in (pickle.loads(pickle.dumps(optimizer)), copy.deepcopy(optimizer)):
        assert repr(twin) == repr(optimizer)
        twin.param_groups[1]["lr"] = 1.0
    assert optimizer.param_groups[1]["lr"] == 0.125


def test_a_group_that_changes_while_it_is_changed() -> None:
    (group, _) = two_groups().param_groups

    class Meddling:
        calls = 0

        def __float__(self) -> float:
            Meddling.calls += 1
            group["weight_decay"] = 0.125
            return 0.25

    group["lr"] = Meddling()
    assert (group["lr"], group["weight_decay"]) == (0.25, 0.125)
    assert Meddling.calls == 2


def test_threads_that_change_different_options_lose_none() -> None:
    (group, _) = two_groups().param_groups
    wrong = []

    def change(name: str) -> None:
        for index in range(2000):
            group[name] = float(index)
            if group[name] != index:
                wrong.append((name, index))

    threads = [threading.Thread(target=change, args=(n,)) for n in ("lr", "weight_decay")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert (group["lr"], group["weight_decay"]) == (1999.0, 1999.0)


# ---------------------------------------------------------------------------------------- clipping


def with_gradients(*gradients: Any) -> list[rr.Parameter]:
    parameters = []
    for gradient in gradients:
        array = np.asarray(gradient)
        parameter = rr.Parameter(np.zeros_like(array))
        parameter.grad[...] = array
        parameters.append(parameter)
    return parameters


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_clipping_the_norm(dtype: str, rng: np.random.Generator) -> None:
    for max_norm in (0.1, 1.0, 1e6):
        gradients = [rng.normal(size=shape).astype(dtype) for shape in ((4, 3), (7,), ())]
        parameters = with_gradients(*gradients)
        norm = rr.clip_grad_norm_(iter(parameters), max_norm)
        expected = np.sqrt(sum(float((g.astype(float) ** 2).sum()) for g in gradients))
        assert type(norm) is float
        assert norm == pytest.approx(expected, rel=1e-6 if dtype == "float32" else 1e-14)
        factor = min(1.0, max_norm / (expected + 1e-6))
        for parameter, gradient in zip(parameters, gradients, strict=True):
            assert_close(parameter.grad, gradient * factor, 2e-7 if dtype == "float32" else 1e-14)
            if factor == 1:
                np.testing.assert_array_equal(parameter.grad, gradient)


def test_clipping_very_large_and_very_small_gradients() -> None:
    for scale in (1e200, 1e300, 1e-200, 1e-310):
        (parameter,) = parameters = with_gradients([3 * scale, 4 * scale])
        assert rr.clip_grad_norm_(parameters, 1.0) == pytest.approx(5 * scale, rel=1e-6)
        if scale > 1:
            np.testing.assert_allclose(parameter.grad, [0.6, 0.8], rtol=1e-6)
    (parameter,) = parameters = with_gradients(np.array([3e30, 4e30], "f4"))
    assert rr.clip_grad_norm_(parameters, 1.0) == pytest.approx(5e30, rel=1e-6)
    np.testing.assert_allclose(parameter.grad, [0.6, 0.8], rtol=1e-6)
    mixed = with_gradients(np.array([3e30], "f4"), np.array([4e30]))
    assert rr.clip_grad_norm_(mixed, 1.0) == pytest.approx(5e30, rel=1e-6)
    np.testing.assert_allclose([p.grad[0] for p in mixed], [0.6, 0.8], rtol=1e-6)


def test_clipping_nothing() -> None:
    assert rr.clip_grad_norm_([], 1.0) == 0
    fresh = rr.Parameter(np.ones(3))
    assert rr.clip_grad_norm_([fresh], 1.0) == 0
    zero = with_gradients(np.zeros(3))
    assert rr.clip_grad_norm_(zero, 1.0, error_if_nonfinite=True) == 0
    assert not zero[0].grad.any()
    rr.clip_grad_value_([], 1.0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_clipping_values(dtype: str) -> None:
    parameters = with_gradients(np.array([-3, -0.5, 0, 0.5, 3], dtype), np.array([[9.0]], dtype))
    assert rr.clip_grad_value_(parameters, 0.75) is None
    np.testing.assert_array_equal(parameters[0].grad, [-0.75, -0.5, 0, 0.5, 0.75])
    np.testing.assert_array_equal(parameters[1].grad, [[0.75]])
    (infinite,) = with_gradients(np.array([np.inf, -np.inf], dtype))
    rr.clip_grad_value_([infinite], 2.0)
    np.testing.assert_array_equal(infinite.grad, [2, -2])


@pytest.mark.parametrize("step", [3.0, np.array(3.0), np.array([3], np.int32)])
def test_a_count_may_come_as_pytorch_keeps_it(step: object) -> None:
    parameter = rr.Parameter(np.ones(2))
    optimizer = rr.Adam([parameter])
    parameter.grad[...] = 1
    optimizer.step()
    state = optimizer.state_dict()
    state["state"][0]["step"] = step
    optimizer.load_state_dict(state)
    assert optimizer.state_dict()["state"][0]["step"] == 3
    state["state"][0]["step"] = -1
    with pytest.raises(rr.ConfigError, match="step"):
        optimizer.load_state_dict(state)
