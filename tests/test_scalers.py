"""Scalers: what they measure, what they do, and how they are kept."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest

import recurrust as rr
from recurrust import _core, data
from recurrust.exceptions import (
    ConfigError,
    DtypeError,
    FileFormatError,
    NonFiniteError,
    ShapeError,
    StateError,
)

BOTH = [data.StandardScaler, data.MinMaxScaler, lambda: data.MinMaxScaler((-1.0, 3.0))]


class TestStandardScaler:
    def test_statistics_run_over_all_but_features(self):
        values = np.random.default_rng(0).normal(3.0, 2.0, (4, 5, 3))
        scaler = data.StandardScaler().fit(values)
        np.testing.assert_allclose(scaler.mean, values.mean((0, 1)), rtol=1e-14)
        np.testing.assert_allclose(scaler.scale, values.std((0, 1)), rtol=1e-14)
        scaled = scaler.transform(values)
        np.testing.assert_allclose(scaled.mean((0, 1)), 0, atol=1e-14)
        np.testing.assert_allclose(scaled.std((0, 1)), 1, rtol=1e-14)
        np.testing.assert_allclose(scaler.inverse_transform(scaled), values, rtol=1e-14)

    def test_one_axis_is_one_feature(self):
        scaler = data.StandardScaler()
        scaled = scaler.fit_transform(np.array([1.0, 2.0, 3.0]))
        np.testing.assert_allclose(scaled, [-np.sqrt(1.5), 0, np.sqrt(1.5)])
        # Predictions of any shape can be turned back.
        np.testing.assert_allclose(scaler.inverse_transform(np.zeros((2, 3))), np.full((2, 3), 2.0))

    def test_nan_is_left_out_and_stays(self):
        values = np.array([[1.0, 5.0], [np.nan, 7.0], [3.0, np.nan]])
        scaler = data.StandardScaler()
        scaled = scaler.fit_transform(values)
        np.testing.assert_allclose(scaler.mean, [2.0, 6.0])
        np.testing.assert_allclose(scaler.scale, [1.0, 1.0])
        np.testing.assert_allclose(scaled, [[-1, -1], [np.nan, 1], [1, np.nan]])

    def test_a_deviation_that_is_almost_nothing(self):
        scaler = data.StandardScaler()
        scaled = scaler.fit_transform([0.0, 1e-310])
        assert np.isfinite(scaled).all()
        np.testing.assert_array_equal(scaler.inverse_transform(scaled), [0.0, 1e-310])

    @pytest.mark.parametrize("value", [0.0, 0.1, 1e6 + 0.1, -3e-20])
    def test_constant_feature_is_only_shifted(self, value):
        values = np.stack([np.full(1001, value), np.arange(1001.0)], axis=1)
        scaler = data.StandardScaler()
        scaled = scaler.fit_transform(values)
        assert scaler.scale[0] == 1.0
        np.testing.assert_allclose(scaled[:, 0], 0, atol=1e-9)
        np.testing.assert_allclose(scaler.inverse_transform(scaled), values, rtol=1e-12)

    def test_dtype_is_kept(self):
        scaler = data.StandardScaler().fit([1, 2, 3])
        assert scaler.transform(np.float32([1.0])).dtype == np.float32
        assert scaler.inverse_transform(np.float32([1.0])).dtype == np.float32
        assert scaler.transform([1, 2]).dtype == np.float64

    def test_errors(self):
        scaler = data.StandardScaler()
        with pytest.raises(StateError, match="call fit first"):
            scaler.transform([1.0])
        with pytest.raises(NonFiniteError, match="feature 1 of data holds an infinity"):
            scaler.fit([[1.0, np.inf]])
        with pytest.raises(NonFiniteError, match="feature 0 of data holds nothing but NaN"):
            scaler.fit([[np.nan, 1.0]])
        with pytest.raises(ShapeError, match="at least one value"):
            scaler.fit(np.zeros((0, 3)))
        with pytest.raises(DtypeError, match="real numbers"):
            scaler.fit(["a"])
        # None of the failed calls has fitted anything.
        assert repr(scaler) == "StandardScaler()"
        scaler.fit(np.zeros((2, 3)))
        with pytest.raises(ShapeError, match=r"3 features.*\(2, 4\)"):
            scaler.transform(np.zeros((2, 4)))


class TestMinMaxScaler:
    def test_the_ends_become_the_range(self):
        values = np.random.default_rng(1).normal(3.0, 2.0, (4, 5, 3))
        scaler = data.MinMaxScaler((-1.0, 1.0)).fit(values)
        np.testing.assert_array_equal(scaler.minimum, values.min((0, 1)))
        np.testing.assert_array_equal(scaler.maximum, values.max((0, 1)))
        scaled = scaler.transform(values)
        np.testing.assert_array_equal(scaled.min((0, 1)), [-1.0] * 3)
        np.testing.assert_array_equal(scaled.max((0, 1)), [1.0] * 3)
        low, high = values.min((0, 1)), values.max((0, 1))
        np.testing.assert_allclose(scaled, 2 * (values - low) / (high - low) - 1, atol=1e-14)
        np.testing.assert_allclose(scaler.inverse_transform(scaled), values, rtol=1e-14)

    def test_values_beyond_leave_the_range(self):
        scaler = data.MinMaxScaler().fit([2.0, 6.0])
        np.testing.assert_array_equal(scaler.transform([0.0, 4.0, 10.0]), [-0.5, 0.5, 2.0])

    def test_nan_is_left_out_and_stays(self):
        scaler = data.MinMaxScaler()
        scaled = scaler.fit_transform([[1.0, np.nan], [np.nan, 7.0], [3.0, 5.0]])
        np.testing.assert_array_equal(scaled, [[0, np.nan], [np.nan, 1], [1, 0]])
        np.testing.assert_array_equal(
            scaler.inverse_transform(scaled), [[1.0, np.nan], [np.nan, 7.0], [3.0, 5.0]]
        )

    @pytest.mark.parametrize("value", [0.0, 0.1, 1e6 + 0.1, -3e-20])
    def test_constant_feature_is_only_shifted(self, value):
        scaler = data.MinMaxScaler((2.0, 4.0))
        scaled = scaler.fit_transform([[value, 0.0], [value, 1.0]])
        np.testing.assert_array_equal(scaled, [[2.0, 2.0], [2.0, 4.0]])
        np.testing.assert_array_equal(scaler.inverse_transform(scaled)[:, 0], [value, value])

    @pytest.mark.parametrize(
        "ends", [(1.0, 1.0), (1.0, 0.0), (0.0,), (0, 1, 2), (0.0, np.inf), (np.nan, 1.0)]
    )
    def test_ranges_that_are_none(self, ends):
        with pytest.raises(ConfigError, match="feature_range must be two finite numbers"):
            data.MinMaxScaler(ends)

    @pytest.mark.parametrize("ends", [3, ("a", "b"), None])
    def test_ranges_that_are_no_numbers(self, ends):
        with pytest.raises(DtypeError, match="feature_range must be a"):
            data.MinMaxScaler(ends)

    def test_repr(self):
        assert repr(data.MinMaxScaler()) == "MinMaxScaler(feature_range=(0.0, 1.0))"
        fitted = data.MinMaxScaler((0, 2)).fit([1.0, 3.0])
        text = "MinMaxScaler(feature_range=(0.0, 2.0), minimum=1.0, maximum=3.0)"
        assert repr(fitted) == text


@pytest.mark.parametrize("make", BOTH)
class TestAllScalers:
    def test_dtype_is_kept(self, make):
        scaler = make().fit([[1, 2], [3, 4]])
        assert scaler.transform(np.float32([[1.0, 2.0]])).dtype == np.float32
        assert scaler.inverse_transform(np.float32([[1.0, 2.0]])).dtype == np.float32
        assert scaler.transform([[1, 2]]).dtype == np.float64

    def test_entries_of_different_shapes(self, make):
        with pytest.raises(rr.ShapeError, match="data must be one array, but its entries have"):
            make().fit([[[1.0], [2.0]], [[1.0]]])
        with pytest.raises(rr.ShapeError, match="data must be one array, but its entries have"):
            make().fit([1.0, 2.0]).transform([[1.0], [1.0, 2.0]])

    def test_inputs_are_left_alone(self, make):
        values = np.array([[1.0, 2.0], [3.0, 5.0]])
        before = values.copy()
        scaler = make()
        scaler.inverse_transform(scaler.fit_transform(values))
        np.testing.assert_array_equal(values, before)

    def test_rows_that_are_held_out_change_nothing(self, make):
        train, test = data.train_test_split_time(np.arange(10.0) ** 2, test_size=3)
        scaler = make().fit(train)
        before = scaler.state_dict()
        scaler.transform(test)
        assert scaler.state_dict() == before

    def test_some_features(self, make):
        values = np.random.default_rng(2).normal(size=(20, 3)) * [1.0, 10.0, 100.0]
        scaler = make().fit(values)
        scaled = scaler.transform(values)
        # One feature, in the shape of predictions several steps ahead.
        pred = scaled[:18, 1].reshape(6, 3)
        np.testing.assert_array_equal(
            scaler[1].inverse_transform(pred),
            scaler.inverse_transform(scaled)[:18, 1].reshape(6, 3),
        )
        for chosen in ([2, 0], slice(1, None), np.array([True, False, True])):
            np.testing.assert_array_equal(
                scaler[chosen].transform(values[:, chosen]), scaled[:, chosen]
            )
        # Its own statistics, not views of the other's.
        scaler[1].fit([0.0, 1.0])
        np.testing.assert_array_equal(scaler.transform(values), scaled)

    def test_features_that_are_not_there(self, make):
        with pytest.raises(StateError, match="call fit first"):
            make()[0]
        with pytest.raises(ShapeError, match="one feature only"):
            make().fit([1.0, 2.0])[0]
        scaler = make().fit([[1.0, 2.0], [3.0, 4.0]])
        with pytest.raises(IndexError):
            scaler[2]
        with pytest.raises(ShapeError, match="on one axis"):
            scaler[None]

    @pytest.mark.parametrize("shape", [(9,), (9, 1), (3, 3, 4)])
    def test_state_and_pickle(self, make, shape):
        values = np.random.default_rng(3).normal(size=shape)
        scaler = make().fit(values)
        expected = scaler.transform(values)
        other = make()
        other.load_state_dict(scaler.state_dict())
        np.testing.assert_array_equal(other.transform(values), expected)
        np.testing.assert_array_equal(
            pickle.loads(pickle.dumps(scaler)).transform(values), expected
        )
        # State dicts are copies.
        for array in scaler.state_dict().values():
            array[...] = 7.0
        np.testing.assert_array_equal(scaler.transform(values), expected)

    def test_states_that_do_not_fit_change_nothing(self, make):
        scaler = make().fit([[1.0, 2.0], [3.0, 4.0]])
        before, (first, second) = repr(scaler), scaler.state_dict()
        for wrong, text in [
            (3, "got 3"),
            ({}, r"got \[\]"),
            ({first: [1.0]}, "keys"),
            ({first: [1.0], second: [2.0, 3.0]}, r"\(1,\) and \(2,\)"),
            ({first: [[1.0]], second: [[2.0]]}, r"\(1, 1\)"),
            ({first: "a", second: "b"}, "must hold numbers"),
            ({first: np.nan, second: 1.0}, "not that of a"),
            ({first: 1.0, second: np.inf}, "not that of a"),
            ({first: 1.0, second: -1.0}, "not that of a"),
        ]:
            with pytest.raises(ConfigError, match=text):
                scaler.load_state_dict(wrong)
        assert repr(scaler) == before
        with pytest.raises(StateError, match="call fit first"):
            make().state_dict()

    def test_numbers_too_large_to_be_scaled(self, make):
        scaler = make()
        with pytest.raises(NonFiniteError, match="feature 1 of data is too large"):
            scaler.fit([[0.0, -1e308], [1.0, 1e308]])
        with pytest.raises(StateError):
            scaler.transform([[0.0, 0.0]])


class Own(data.StandardScaler):
    pass


class TestFiles:
    @pytest.fixture
    def path(self, tmp_path):
        return tmp_path / "model.safetensors"

    def test_scalers_come_back_with_the_model(self, path):
        rng = np.random.default_rng(4)
        x, y = rng.normal(5.0, 3.0, (40, 6, 3)), rng.normal(-2.0, 0.1, 40)
        model = rr.Sequential(
            rr.LSTM(3, 4, batch_first=True, return_sequences=False, seed=1), rr.Linear(4, 1, seed=2)
        )
        scalers = {
            "x": data.StandardScaler().fit(x),
            "y": data.MinMaxScaler((-1, 1)).fit(y),
        }
        rr.save(model, path, scalers=scalers)
        model_again, again = rr.load(path), rr.load_scalers(path)
        assert list(again) == ["x", "y"]
        assert [type(scaler) for scaler in again.values()] == [type(s) for s in scalers.values()]

        def predict(model, scalers):
            outputs = model(scalers["x"].transform(x).astype(np.float32))
            return scalers["y"].inverse_transform(outputs)

        np.testing.assert_array_equal(predict(model_again, again), predict(model, scalers))
        for name, scaler in scalers.items():
            assert repr(again[name]) == repr(scaler)

    def test_no_scalers(self, path):
        rr.save(rr.Linear(1, 1), path)
        assert rr.load_scalers(path) == {}
        rr.save(rr.Linear(1, 1), path, scalers={})
        assert rr.load_scalers(path) == {}

    def test_a_byte_that_changed(self, path):
        rr.save(rr.Linear(1, 1), path, scalers={"x": data.StandardScaler().fit([1.25, 3.75])})
        content = path.read_bytes()
        assert content.count(b"2.5") == 1
        path.write_bytes(content.replace(b"2.5", b"2.6"))
        with pytest.raises(FileFormatError):
            rr.load_scalers(path)
        with pytest.raises(FileFormatError):
            rr.load(path)

    @pytest.mark.parametrize(
        ("scalers", "error", "text"),
        [
            (data.StandardScaler(), DtypeError, "scalers must be a mapping"),
            ({"x": 3}, DtypeError, "such as rr.data.StandardScaler.*got 'x': 3"),
            ({3: data.StandardScaler().fit([1.0])}, DtypeError, "got 3: StandardScaler"),
            ({"x": data.StandardScaler()}, StateError, "StandardScaler has not been fitted"),
            ({"x": Own().fit([1.0])}, ConfigError, r"scalers\['x'\] \(Own\) is not one of"),
        ],
    )
    def test_what_can_not_be_saved_leaves_the_file_alone(self, path, scalers, error, text):
        rr.save(rr.Linear(1, 1, seed=1), path)
        before = path.read_bytes()
        with pytest.raises(error, match=text):
            rr.save(rr.Linear(1, 1, seed=2), path, scalers=scalers)
        assert path.read_bytes() == before

    @pytest.mark.parametrize(
        "described",
        [
            "{",
            "3",
            {"x": 3},
            {"x": {"kind": "Own", "config": {}, "state": {}}},
            {"x": {"kind": "StandardScaler", "config": {"a": 1}, "state": {}}},
            {"x": {"kind": "StandardScaler", "config": {}, "state": {"mean": 1.0, "scale": 0.0}}},
            {"x": {"kind": "MinMaxScaler", "config": {"feature_range": "ab"}, "state": {}}},
        ],
    )
    def test_descriptions_that_do_not_fit(self, path, described):
        rr.save(rr.Linear(1, 1), path, scalers={})
        arrays, metadata = _core.read_tensors(str(path))
        metadata["scalers"] = described if isinstance(described, str) else json.dumps(described)
        _core.write_tensors(str(path), arrays, metadata)
        with pytest.raises(FileFormatError, match="does not describe scalers"):
            rr.load_scalers(path)
        # The model is there all the same.
        assert isinstance(rr.load(path), rr.Linear)
