"""Dropouts and zoneout of recurrent layers: values, gradients, masks, modes."""

from __future__ import annotations

import copy
import itertools
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recurrust as rr
from reference import golden
from reference.comparison import assert_all_close
from reference.layers import (
    KINDS,
    REGULARIZATION,
    VARIANTS,
    Arrays,
    gradients_of,
    make_case,
    outputs_of,
    randomize,
)

FLAGS = ("lengths", "mask", "resets")
# Other options of the layer that regularisation meets.
STRUCTURES: dict[str, dict[str, Any]] = {
    "reverse": {"bidirectional": False, "reverse": True},
    "one direction": {"bidirectional": False},
    "batch first": {"batch_first": True},
    "final output": {"return_sequences": False},
    "sum": {"merge_mode": "sum"},
    "mul": {"merge_mode": "mul"},
    "without bias": {"bias": False},
}
# Each of the above with each other, but the two forms of one option.
PAIRS = [
    pair
    for pair in itertools.combinations(REGULARIZATION, 2)
    if pair[0].partition(",")[0] != pair[1].partition(",")[0]
]
PAIRED_PAIRS = 42


def assert_equals_reference(
    rng: np.random.Generator, kind: str, dtype: str = "float64", **options: Any
) -> None:
    """Values and gradients, in both modes, through two layers and directions and all flags."""
    everything = {"num_layers": 2, "bidirectional": True, "dtype": dtype, **options}
    case = make_case(rng, 5, 3, 4, 7, kind=kind, flags=FLAGS, **everything)
    tolerance, gradient_tolerance = golden.tolerances(dtype)
    for _ in range(2):
        outputs, gradients = case.by_recurrust()
        expected_outputs, expected_gradients = case.by_reference()
        assert_all_close(outputs, expected_outputs, tolerance)
        assert_all_close(gradients, expected_gradients, gradient_tolerance, 0.05)
        case.layer.eval()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", REGULARIZATION)
@pytest.mark.parametrize("kind", KINDS)
def test_each_alone(rng: np.random.Generator, kind: str, name: str, dtype: str) -> None:
    assert_equals_reference(rng, kind, dtype, **REGULARIZATION[name])


@pytest.mark.parametrize("name", REGULARIZATION)
@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("kind", KINDS)
def test_with_every_structure(
    rng: np.random.Generator, kind: str, structure: str, name: str
) -> None:
    assert_equals_reference(rng, kind, **{**STRUCTURES[structure], **REGULARIZATION[name]})


def test_the_pairs_are_all_that_there_are() -> None:
    print(len(PAIRS), "pairs; both forms of one option exclude each other")
    assert len(PAIRS) == PAIRED_PAIRS


@pytest.mark.parametrize("pair", PAIRS, ids=" + ".join)
@pytest.mark.parametrize("kind", KINDS)
def test_every_pair(rng: np.random.Generator, kind: str, pair: tuple[str, str]) -> None:
    first, second = (REGULARIZATION[name] for name in pair)
    assert_equals_reference(rng, kind, **{**first, **second})


@pytest.mark.parametrize("variant", VARIANTS)
def test_all_at_once_with_every_variant(rng: np.random.Generator, variant: str) -> None:
    everything = {
        key: value for options in REGULARIZATION.values() for key, value in options.items()
    }
    for variational in (False, True):
        options = {**VARIANTS[variant], **everything, "variational": variational}
        assert_equals_reference(rng, **options)


@pytest.mark.parametrize("pair", [(0.3, 0.2), (0.0, 0.5), (1.0, 0.0)])
def test_zoneout_of_cell_and_hidden_state(
    rng: np.random.Generator, pair: tuple[float, float]
) -> None:
    assert_equals_reference(rng, "LSTM", zoneout=pair)


@pytest.mark.parametrize("units", [1, 16, 17, 33, 47, 233])
@pytest.mark.parametrize("rows", [1, 2, 7])
@pytest.mark.parametrize("kind", KINDS)
def test_sizes_around_registers(rng: np.random.Generator, kind: str, rows: int, units: int) -> None:
    options = {"zoneout": 0.3, "recurrent_dropout": 0.3, "update_dropout": 0.2}
    case = make_case(rng, 4, rows, 3, units, kind=kind, dtype="float64", **options)
    randomize(case.layer, rng, min(0.5, units**-0.5))
    outputs, gradients = case.by_recurrust()
    expected_outputs, expected_gradients = case.by_reference()
    assert_all_close(outputs, expected_outputs, 1e-12)
    assert_all_close(gradients, expected_gradients, 1e-12, 0.05)


# ------------------------------------------------------------------------------------------- masks


def masks_of(layer: Any, x: Any, **flags: Any) -> Arrays:
    masks: Arrays = layer.forward_with_cache(x, **flags)[-1].masks
    return masks


def test_names_and_shapes() -> None:
    everything = {
        key: value for options in REGULARIZATION.values() for key, value in options.items()
    }
    options: dict[str, Any] = {**everything, "num_layers": 2, "bidirectional": True}
    for variational, steps in ((True, 1), (False, 5)):
        layer = rr.LSTM(3, 4, **{**options, "variational": variational})
        expected = {
            "dropout_l0": (5, 2, 8),
            "output_dropout": (5, 2, 8),
            "input_dropout_l0": (steps, 2, 3),
            "input_dropout_l1": (steps, 2, 8),
        }
        for suffix in ("_l0", "_l0_reverse", "_l1", "_l1_reverse"):
            expected |= {
                f"recurrent_dropout{suffix}": (steps, 2, 4),
                f"update_dropout{suffix}": (5, 2, 4),
                f"weight_dropout{suffix}": (16, 4),
                f"zoneout_hidden{suffix}": (5, 2, 4),
                f"zoneout_cell{suffix}": (5, 2, 4),
            }
        masks = masks_of(layer, np.zeros((5, 2, 3), "f4"))
        assert {name: mask.shape for name, mask in masks.items()} == expected
        # One sequence has no axis of rows.
        masks = masks_of(layer, np.zeros((5, 3), "f4"))
        assert masks["zoneout_cell_l0"].shape == (5, 4)
        assert masks["input_dropout_l0"].shape == (steps, 3)
    layer = rr.GRU(3, 4, return_sequences=False, batch_first=True, output_dropout=0.5)
    assert masks_of(layer, np.zeros((2, 5, 3), "f4"))["output_dropout"].shape == (2, 4)
    assert masks_of(layer, np.zeros((5, 3), "f4"))["output_dropout"].shape == (4,)


def test_a_mask_is_a_copy() -> None:
    layer = rr.RNN(2, 3, zoneout=0.5)
    _, _, cache = layer.forward_with_cache(np.zeros((4, 2, 2), "f4"))
    kept = cache.masks["zoneout_hidden_l0"].copy()
    cache.masks["zoneout_hidden_l0"][:] = 7
    np.testing.assert_array_equal(cache.masks["zoneout_hidden_l0"], kept)


@pytest.mark.parametrize("rate", [0.05, 0.25, 0.9])
def test_rates_are_kept(rate: float) -> None:
    """Half a million places: five standard deviations; units, rows and steps alike."""
    rr.manual_seed(11)
    layer = rr.LSTM(8, 100, zoneout=rate, update_dropout=rate)
    masks = masks_of(layer, np.zeros((50, 100, 8), "f4"))
    assert set(np.unique(masks["zoneout_hidden_l0"])) == {0, 1}
    kept = np.float32(1 / (1 - rate))
    assert set(np.unique(masks["update_dropout_l0"])) == {0, kept}
    for hit in (
        masks["zoneout_hidden_l0"] == 1,
        masks["zoneout_cell_l0"] == 1,
        masks["update_dropout_l0"] == 0,
    ):
        for axes in ((0, 1, 2), (0, 1), (0, 2), (1, 2)):
            count = np.prod([hit.shape[axis] for axis in axes])
            deviation = (rate * (1 - rate) / count) ** 0.5
            assert np.abs(hit.mean(axes) - rate).max() < 5 * deviation


def test_masks_are_unlike_each_other() -> None:
    """Of layers, directions, options, calls and steps: none correlates with another."""
    rr.manual_seed(5)
    options: dict[str, Any] = {"zoneout": 0.5, "update_dropout": 0.5, "num_layers": 2}
    layer = rr.LSTM(40, 40, bidirectional=True, **options)
    x = np.zeros((30, 40, 40), "f4")
    masks = {
        f"{call} {name}": mask for call in range(2) for name, mask in masks_of(layer, x).items()
    }
    assert len(masks) == 24
    spins = {name: np.where(mask == 0, -1.0, 1.0) for name, mask in masks.items()}
    for one, other in itertools.combinations(spins.values(), 2):
        assert abs((one * other).mean()) < 6 / one.size**0.5
    for spin in spins.values():
        for axis in range(3):
            neighbours = spin * np.roll(spin, 1, axis)
            assert abs(neighbours.mean()) < 6 / spin.size**0.5


def test_a_restored_state_replays_them_and_evaluation_draws_nothing() -> None:
    layer = rr.GRU(2, 5, recurrent_dropout=0.5, zoneout=0.2)
    x = np.ones((6, 3, 2), "f4")
    rr.manual_seed(3)
    state = rr.get_rng_state()
    first = outputs_of(*layer(x))
    second = outputs_of(*layer(x))
    assert not np.array_equal(first["y"], second["y"])
    rr.set_rng_state(state)
    for name, array in outputs_of(*layer.forward_with_cache(x)[:2]).items():
        np.testing.assert_array_equal(array, first[name])
    assert rr.get_rng_state() != state
    layer.eval()
    state = rr.get_rng_state()
    *_, cache = layer.forward_with_cache(x)
    layer(x)
    assert rr.get_rng_state() == state
    assert cache.masks == {}


def test_without_rates_training_draws_nothing_either() -> None:
    layer = rr.LSTM(2, 5, num_layers=2, dropout=[0.0, 0.5], output_dropout=[0.5, 0.0])
    state = rr.get_rng_state()
    *_, cache = layer.forward_with_cache(np.ones((6, 3, 2), "f4"))
    assert rr.get_rng_state() == state
    assert cache.masks == {}


def test_an_error_draws_nothing() -> None:
    layer = rr.LSTM(2, 5, zoneout=0.5)
    state = rr.get_rng_state()
    with pytest.raises(rr.ShapeError):
        layer(np.ones((6, 3, 4), "f4"))
    assert rr.get_rng_state() == state


@pytest.mark.parametrize("name", REGULARIZATION)
@pytest.mark.parametrize("kind", KINDS)
def test_a_cache_serves_again_and_after_others(
    rng: np.random.Generator, kind: str, name: str
) -> None:
    """Its masks stay its own, whatever was drawn since."""
    case = make_case(rng, 5, 3, 4, 7, kind=kind, num_layers=2, **REGULARIZATION[name])
    *_, cache = case.forward()
    results = []
    for _ in range(2):
        case.layer.zero_grad()
        dx, _ = case.backward(cache)
        results.append({"dx": dx, **gradients_of(case.layer)})
        case.layer.forward_with_cache(case.x)
    for key, array in results[0].items():
        np.testing.assert_array_equal(array, results[1][key], err_msg=key)


# ---------------------------------------------------------------------------------------- extremes


@pytest.mark.parametrize("name", REGULARIZATION)
@pytest.mark.parametrize("kind", KINDS)
def test_rate_zero_has_the_bits_of_none(rng: np.random.Generator, kind: str, name: str) -> None:
    plain = getattr(rr, kind)(4, 17, num_layers=2, bidirectional=True, seed=1)
    zeros = {
        key: 0.0 if isinstance(value, float) else value
        for key, value in REGULARIZATION[name].items()
    }
    layer = getattr(rr, kind)(4, 17, num_layers=2, bidirectional=True, seed=1, **zeros)
    x = rng.normal(size=(9, 5, 4)).astype("f4")
    dy = rng.normal(size=(9, 5, 34)).astype("f4")
    results = []
    for model in (plain, layer):
        y, state, cache = model.forward_with_cache(x)
        dx, _ = model.backward(dy, cache=cache)
        results.append(outputs_of(y, state) | {"dx": dx} | gradients_of(model))
    for key, array in results[0].items():
        np.testing.assert_array_equal(array, results[1][key], err_msg=key)


@pytest.mark.parametrize("name", REGULARIZATION)
@pytest.mark.parametrize("kind", KINDS)
def test_rate_one_is_finite(rng: np.random.Generator, kind: str, name: str) -> None:
    ones = {
        key: 1.0 if isinstance(value, float) else value
        for key, value in REGULARIZATION[name].items()
    }
    case = make_case(rng, 5, 3, 4, 7, kind=kind, num_layers=2, dtype="float64", **ones)
    outputs, gradients = case.by_recurrust()
    expected_outputs, expected_gradients = case.by_reference()
    for got in (outputs, gradients):
        assert all(np.isfinite(array).all() for array in got.values())
    assert_all_close(outputs, expected_outputs, 1e-12)
    assert_all_close(gradients, expected_gradients, 1e-12, 0.05)


def test_zoneout_of_everything_keeps_the_initial_state(rng: np.random.Generator) -> None:
    layer = rr.LSTM(4, 7, zoneout=1.0)
    x = rng.normal(size=(5, 3, 4)).astype("f4")
    state = tuple(rng.normal(size=(2, 1, 3, 7)).astype("f4"))
    for mode in (layer.train, layer.eval):
        mode()
        y, final = layer(x, state)
        for got, expected in zip(final, state, strict=True):
            np.testing.assert_array_equal(got, expected)
        np.testing.assert_array_equal(y, np.broadcast_to(state[0], (5, 3, 7)))


def test_recurrent_dropout_never_touches_the_carried_state() -> None:
    """The update gate is open: the state stays, however much of it the weights don't see."""
    layer = rr.GRU(1, 64, recurrent_dropout=0.9, variational=False)
    for parameter in layer.parameters():
        parameter.assign(np.zeros(parameter.shape, "f4"))
    bias = np.zeros(192, "f4")
    bias[64:128] = 100
    layer.bias_ih_l0 = bias
    state = np.linspace(-1, 1, 64, dtype="f4").reshape(1, 1, 64)
    y, _ = layer(np.zeros((50, 1, 1), "f4"), state)
    np.testing.assert_array_equal(y, np.broadcast_to(state, (50, 1, 64)))


# -------------------------------------------------------------------------------- threads and sets


@pytest.mark.parametrize(
    "sizes",
    [(20, 40, 8, 64), (60, 1, 16, 300), (5, 30, 300, 500), (40, 2, 16, 233)],
    ids=["rows", "one row", "far weights", "two rows"],
)
@pytest.mark.parametrize("kind", KINDS)
def test_threads_never_change_a_bit(
    rng: np.random.Generator, kind: str, sizes: tuple[int, int, int, int]
) -> None:
    steps, rows, inputs, units = sizes
    options: dict[str, Any] = {
        "zoneout": 0.2,
        "update_dropout": 0.2,
        "recurrent_dropout": 0.2,
        "weight_dropout": 0.2,
        "input_dropout": 0.2,
    }
    layer = getattr(rr, kind)(inputs, units, bidirectional=True, **options)
    x = rng.normal(size=(steps, rows, inputs)).astype("f4")
    dy = rng.normal(size=(steps, rows, 2 * units)).astype("f4")
    flags = {"mask": rng.random((steps, rows)) < 0.9, "resets": rng.random((steps, rows)) < 0.1}
    flags["mask"][steps // 2] = False
    state = rr.get_rng_state()
    results: list[Arrays] = []
    for count in (1, 2, 3):
        rr.set_num_threads(count)
        rr.set_rng_state(state)
        y, final, cache = layer.forward_with_cache(x, **flags)
        layer.zero_grad()
        dx, _ = layer.backward(dy, final, cache=cache)
        results.append(outputs_of(y, final) | {"dx": dx} | gradients_of(layer))
    for result in results[1:]:
        for key, array in result.items():
            np.testing.assert_array_equal(array, results[0][key], err_msg=key)


# ------------------------------------------------------------------------------------------ streams


@pytest.mark.parametrize("evaluation", ["expectation", "identity"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_is_evaluation(kind: str, evaluation: str, rng: np.random.Generator) -> None:
    options: dict[str, Any] = {"zoneout": 0.3, "input_dropout": 0.4, "recurrent_dropout": 0.2}
    layer = getattr(rr, kind)(4, 20, 2, **options, dropout=0.1, zoneout_eval=evaluation)
    x = rng.normal(size=(6, 4)).astype("f4")
    y, _ = layer.eval()(x)
    layer.train()
    stream = layer.stream()
    for step, expected in zip(x, y, strict=True):
        np.testing.assert_array_equal(stream.step(step), expected)
    again = pickle.loads(pickle.dumps(stream))
    np.testing.assert_array_equal(again.step(x[0]), stream.step(x[0]))


# ------------------------------------------------------------------------------------------ options


@pytest.mark.parametrize(
    "options",
    [
        {"dropout": 0.25, "variational": False},
        {"dropout": [0.25, 0.5]},
        {"input_dropout": (0.25, 0.0), "weight_dropout": [0.0, 0.5]},
        {"zoneout": (0.1, 0.2)},
        {"zoneout": [0.1, 0.2], "zoneout_eval": "identity"},
        {"zoneout": [(0.1, 0.2), 0.5]},
    ],
)
def test_copies_and_files_have_the_options(options: dict[str, Any], tmp_path: Path) -> None:
    layer = rr.LSTM(3, 4, 2, **options)
    rr.save(layer, tmp_path / "layer.safetensors")
    others = [
        copy.deepcopy(layer),
        pickle.loads(pickle.dumps(layer)),
        layer.astype("float64").astype("float32"),
        rr.load(tmp_path / "layer.safetensors"),
        eval(repr(layer).partition("#")[0], {"LSTM": rr.LSTM}),
    ]
    x = np.ones((5, 2, 3), "f4")
    state = rr.get_rng_state()
    expected = masks_of(layer, x)
    assert expected
    for other in others:
        assert other.config == layer.config
        rr.set_rng_state(state)
        masks = masks_of(other, x)
        assert masks.keys() == expected.keys()
        for name, mask in masks.items():
            np.testing.assert_array_equal(mask, expected[name])


def test_a_list_has_a_rate_for_each_layer() -> None:
    layer = rr.LSTM(3, 40, 3, zoneout=[0.0, (0.25, 0.0), 1.0], dropout=[0.0, 1.0, 0.5])
    masks = masks_of(layer, np.ones((50, 20, 3), "f4"))
    hits = {name: (mask == (0 if "dropout" in name else 1)).mean() for name, mask in masks.items()}
    assert sorted(hits) == ["dropout_l1", "zoneout_cell_l1", "zoneout_cell_l2", "zoneout_hidden_l2"]
    assert hits["dropout_l1"] == hits["zoneout_cell_l2"] == hits["zoneout_hidden_l2"] == 1
    assert abs(hits["zoneout_cell_l1"] - 0.25) < 0.02


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"dropout": 1.5}, rr.ConfigError, "dropout: expected a probability"),
        ({"dropout": -0.1}, rr.ConfigError, "dropout: expected a probability"),
        ({"recurrent_dropout": float("nan")}, rr.ConfigError, "recurrent_dropout"),
        ({"input_dropout": "0.5"}, rr.DtypeError, "input_dropout"),
        ({"output_dropout": None}, rr.DtypeError, "output_dropout"),
        ({"weight_dropout": [0.5]}, rr.ConfigError, r"num_layers=2\), got a list of 1"),
        ({"update_dropout": [0.5, "x"]}, rr.DtypeError, "update_dropout"),
        ({"zoneout": (0.1, 0.2, 0.3)}, rr.ConfigError, "zoneout: expected a number or a pair"),
        ({"zoneout": [0.1, 0.2, 0.3]}, rr.ConfigError, r"num_layers=2\), got a list of 3"),
        ({"zoneout": [(0.1, 0.2, 0.3), 0.1]}, rr.ConfigError, "pair"),
        ({"zoneout": 2}, rr.ConfigError, "zoneout: expected a probability"),
        ({"zoneout_eval": "sample"}, rr.ConfigError, "zoneout_eval"),
        ({"variational": 1}, rr.DtypeError, "variational"),
    ],
)
def test_bad_options(options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        rr.LSTM(3, 4, 2, **options)


def test_cells_with_one_state_have_no_pairs() -> None:
    with pytest.raises(rr.DtypeError, match="zoneout"):
        rr.GRU(3, 4, 2, zoneout=[(0.1, 0.2), 0.3])
    assert rr.GRU(3, 4, 2, zoneout=(0.1, 0.3)).config["zoneout"] == [0.1, 0.3]


def test_configurations_tell_pairs_from_lists() -> None:
    """Also where a file has made tuples of lists, or lists of tuples."""
    for zoneout, shown in (
        (0.3, 0.3),
        ([0.3, 0.3], 0.3),
        ((0.3, 0.3), 0.3),
        ((0.1, 0.2), [(0.1, 0.2), (0.1, 0.2)]),
        ([0.1, 0.2], [(0.1, 0.1), (0.2, 0.2)]),
        ([(0.1, 0.2), 0.3], [(0.1, 0.2), (0.3, 0.3)]),
        (((0.1, 0.2), [0.3, 0.4]), [(0.1, 0.2), (0.3, 0.4)]),
    ):
        assert rr.LSTM(3, 4, 2, zoneout=zoneout).config["zoneout"] == shown


def test_dropout_between_layers_needs_several() -> None:
    with pytest.warns(UserWarning, match="num_layers=1"):
        layer = rr.LSTM(3, 4, dropout=0.5)
    x = np.ones((5, 2, 3), "f4")
    assert masks_of(layer, x) == {}


def test_check_gradients_replays_masks(rng: np.random.Generator) -> None:
    model = rr.Sequential(
        rr.LSTM(2, 3, 2, dtype="float64", zoneout=0.3, recurrent_dropout=0.3, dropout=0.3),
        rr.Linear(3, 1, dtype="float64"),
    )
    x, y = rng.normal(size=(5, 2, 2)), rng.normal(size=(5, 2, 1))
    rr.testing.check_gradients(model, x, y, rr.MSELoss())
