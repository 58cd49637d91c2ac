"""Dropout and zoneout that went wrong in other libraries."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import recurrust as rr
from reference.layers import KINDS, REGULARIZATION, make_case

EVERYTHING: dict[str, Any] = {
    "dropout": 0.5,
    "input_dropout": 0.5,
    "recurrent_dropout": 0.5,
    "output_dropout": 0.5,
    "update_dropout": 0.5,
    "weight_dropout": 0.5,
    "zoneout": 0.5,
}


def inputs(*shape: int) -> Any:
    return np.sin(np.arange(np.prod(shape), dtype="f4")).reshape(shape)


@pytest.mark.parametrize("kind", KINDS)
def test_u39_dropout_between_layers_of_one_layer(kind: str) -> None:
    with pytest.warns(UserWarning, match="num_layers=1.*input_dropout or output_dropout") as caught:
        layer = getattr(rr, kind)(3, 5, dropout=0.5, seed=1)
    assert len(caught) == 1
    x = inputs(4, 2, 3)
    np.testing.assert_array_equal(layer(x)[0], getattr(rr, kind)(3, 5, seed=1)(x)[0])


def test_u42_masks_are_fresh_when_batch_or_length_change() -> None:
    layer = rr.LSTM(3, 5, 2, bidirectional=True, **EVERYTHING)
    shapes = [(5, 3), (6, 4), (5, 3), (1, 1), (5, 3)]
    seen = []
    for shape in shapes:
        *_, cache = layer.forward_with_cache(inputs(*shape, 3))
        assert cache.masks["zoneout_cell_l1"].shape == (*shape, 5)
        seen.append(cache.masks)
    assert not np.array_equal(seen[0]["zoneout_cell_l1"], seen[2]["zoneout_cell_l1"])
    assert not np.array_equal(seen[0]["input_dropout_l1"], seen[4]["input_dropout_l1"])


@pytest.mark.parametrize("kind", KINDS)
def test_u44_dropout_with_an_initial_state(kind: str) -> None:
    layer = getattr(rr, kind)(3, 5, 2, **EVERYTHING)
    state = inputs(2, 4, 5)
    initial = (state, 2 * state) if kind == "LSTM" else state
    results = []
    for _ in range(2):
        rr.manual_seed(4)
        results.append(layer(inputs(6, 4, 3), initial)[0])
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("name", [name for name in REGULARIZATION if name != "zoneout"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_u45_nothing_drops_at_evaluation(kind: str, bidirectional: bool, name: str) -> None:
    build = getattr(rr, kind)
    layer = build(3, 5, 2, bidirectional=bidirectional, seed=1, **REGULARIZATION[name]).eval()
    plain = build(3, 5, 2, bidirectional=bidirectional, seed=1)
    x = inputs(6, 4, 3)
    expected = plain(x)[0]
    for y in (layer(x)[0], layer(x)[0], layer.forward_with_cache(x)[0]):
        np.testing.assert_array_equal(y, expected)


def test_u45_nor_in_a_trainers_evaluation() -> None:
    model = rr.Sequential(rr.LSTM(3, 5, 2, batch_first=True, **EVERYTHING), rr.Linear(5, 1))
    trainer = rr.Trainer(model, rr.MSELoss(), rr.SGD(model.parameters(), 0.1))
    x, y = inputs(8, 6, 3), inputs(8, 6, 1)
    assert trainer.evaluate(x, y) == trainer.evaluate(x, y)
    np.testing.assert_array_equal(trainer.predict(x), trainer.predict(x))
    assert model[0].training


@pytest.mark.parametrize("kind", KINDS)
def test_u49_the_output_is_what_the_next_step_sees(kind: str, rng: np.random.Generator) -> None:
    """What a unit keeps is what came out one step before."""
    case = make_case(rng, 6, 3, 4, 7, kind=kind, dtype="float64", zoneout=0.5)
    y, state, cache = case.forward()
    h = state[0] if kind == "LSTM" else state
    np.testing.assert_array_equal(y[-1], h[0])
    kept = cache.masks["zoneout_hidden_l0"] == 1
    np.testing.assert_array_equal(y[1:][kept[1:]], y[:-1][kept[1:]])
    assert (y[1:] != y[:-1])[~kept[1:]].all()


def test_u50_zoneouts_of_cell_and_hidden_state_are_independent(rng: np.random.Generator) -> None:
    x = inputs(5, 3, 4)
    h, c = rng.normal(size=(2, 1, 3, 7)).astype("f4")
    y, (h_n, c_n) = rr.LSTM(4, 7, zoneout=(1.0, 0.0))(x, (h, c))
    np.testing.assert_array_equal(c_n, c)
    assert not np.isclose(h_n, h).any()
    y, (h_n, c_n) = rr.LSTM(4, 7, zoneout=(0.0, 1.0))(x, (h, c))
    np.testing.assert_array_equal(h_n, h)
    np.testing.assert_array_equal(y, np.broadcast_to(h, y.shape))
    assert not np.isclose(c_n, c).any()


@pytest.mark.parametrize("kind", KINDS)
def test_u52_gradients_know_the_masks(kind: str, rng: np.random.Generator) -> None:
    """Central differences of every parameter, all masks at once, replayed for every difference."""
    layer = getattr(rr, kind)(2, 3, 2, bidirectional=True, dtype="float64", seed=3, **EVERYTHING)
    model = rr.Sequential(layer, rr.Linear(6, 1, dtype="float64", seed=4))
    x, y = rng.normal(size=(5, 2, 2)), rng.normal(size=(5, 2, 1))
    rr.testing.check_gradients(model, x, y, rr.MSELoss())


@pytest.mark.parametrize("kind", KINDS)
def test_u53_output_dropout_leaves_the_recurrence_alone(kind: str) -> None:
    layer = getattr(rr, kind)(3, 5, 2, output_dropout=0.5, seed=1)
    plain = getattr(rr, kind)(3, 5, 2, seed=1)
    x = inputs(6, 4, 3)
    y, state, cache = layer.forward_with_cache(x)
    expected, expected_state = plain(x)
    np.testing.assert_array_equal(np.asarray(state), np.asarray(expected_state))
    mask = cache.masks["output_dropout"]
    assert 0 < (mask == 0).mean() < 1
    np.testing.assert_array_equal(y, expected * mask)
