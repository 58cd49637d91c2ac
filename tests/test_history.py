"""The record of a run, as it goes through a checkpoint."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

import recurrust as rr


def history():
    made = rr.History(["loss", "lr"])
    for epoch, loss in enumerate([0.1 + 0.2, math.nan, 5e-324, math.inf], 3):
        made.append(epoch, {"loss": loss, "lr": 1 / 3})
    return made


def test_state_is_exact_also_through_json():
    state = json.loads(json.dumps(history().state_dict()))
    other = rr.History(["something else"])
    other.load_state_dict(state)
    assert other.epochs == [3, 4, 5, 6]
    assert list(other) == ["loss", "lr"]
    np.testing.assert_array_equal(other["loss"], [0.1 + 0.2, math.nan, 5e-324, math.inf])
    assert repr(other) == repr(history())
    # It goes on without touching the state.
    other.append(7, {"loss": 1.0, "lr": 1.0})
    assert len(state["epochs"]) == len(state["values"]["loss"]) == 4


def test_state_is_a_copy():
    made = history()
    made.state_dict()["values"]["loss"].append(1.0)
    made.state_dict()["epochs"].append(7)
    assert len(made["loss"]) == len(made.epochs) == 4


def test_state_of_arrays():
    other = rr.History(())
    other.load_state_dict({"epochs": np.arange(2), "values": {"loss": np.float32([0.5, 0.25])}})
    assert (other.epochs, other["loss"]) == ([0, 1], [0.5, 0.25])
    assert type(other["loss"][0]) is float


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (3, "not that of a history"),
        ({"epochs": [1]}, "not that of a history: KeyError.*values"),
        ({"epochs": [1], "values": [1.0]}, "not that of a history"),
        ({"epochs": [1], "values": {"loss": ["a"]}}, "not that of a history"),
        ({"epochs": [1], "values": {"loss": [1.0, 2.0]}}, "1 epochs, but 2 values of 'loss'"),
    ],
)
def test_states_that_do_not_fit_change_nothing(state, text):
    made = history()
    with pytest.raises(rr.ConfigError, match=text):
        made.load_state_dict(state)
    assert repr(made) == repr(history())


def test_an_empty_history(tmp_path):
    made = rr.History(["loss"])
    assert repr(made) == "epoch  loss"
    assert len(made.plot(tmp_path / "a.png").axes) == 1
    assert made.to_pandas().shape == (0, 1)
    other = rr.History(())
    other.load_state_dict(made.state_dict())
    assert list(other) == ["loss"]
