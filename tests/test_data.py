"""Windows, padding, splitting, checking."""

from __future__ import annotations

import re

import numpy as np
import pytest

from recurrust import data
from recurrust.exceptions import ConfigError, DtypeError, NonFiniteError, ShapeError


class TestWindows:
    def test_values_of_a_series_with_one_axis(self):
        x, y = data.windows(np.arange(7.0), window=3, horizon=2)
        assert x.shape == (3, 3, 1)
        np.testing.assert_array_equal(x[:, :, 0], [[0, 1, 2], [1, 2, 3], [2, 3, 4]])
        np.testing.assert_array_equal(y, [[3, 4], [4, 5], [5, 6]])

    def test_values_of_several_features(self):
        series = np.arange(10.0).reshape(5, 2)
        x, y = data.windows(series, window=2, horizon=1)
        np.testing.assert_array_equal(x, [series[0:2], series[1:3], series[2:4]])
        np.testing.assert_array_equal(y, [series[2:3], series[3:4], series[4:5]])

    def test_stride(self):
        x, y = data.windows(np.arange(9), window=2, horizon=1, stride=3)
        np.testing.assert_array_equal(x[:, :, 0], [[0, 1], [3, 4], [6, 7]])
        np.testing.assert_array_equal(y, [[2], [5], [8]])

    def test_number_of_windows_is_as_documented(self):
        for steps in range(5, 30):
            for stride in range(1, 6):
                x, _ = data.windows(np.zeros(steps), window=3, horizon=2, stride=stride)
                assert len(x) == (steps - 5) // stride + 1

    def test_results_are_read_only_views(self):
        series = np.arange(100.0).reshape(50, 2)
        x, y = data.windows(series, window=10, horizon=5)
        assert np.shares_memory(x, series)
        assert np.shares_memory(y, series)
        series[12, 1] = -1.0
        assert x[3, 9, 1] == -1.0
        assert y[0, 2, 1] == -1.0
        for view in (x, y):
            assert view.strides[-1] == series.itemsize
            with pytest.raises(ValueError, match="read-only"):
                view[0] = 0
        assert series.flags.writeable

    @pytest.mark.parametrize("name", ["window", "horizon", "stride"])
    def test_sizes_below_one_are_refused(self, name):
        sizes = {"window": 2, "horizon": 1, "stride": 1, name: 0}
        with pytest.raises(ConfigError, match=f"{name} must be at least 1, got 0"):
            data.windows(np.zeros(9), **sizes)

    @pytest.mark.parametrize("value", [2.5, 2.0, True, "2", None])
    @pytest.mark.parametrize("name", ["window", "horizon", "stride"])
    def test_sizes_that_are_no_integers_are_refused(self, name, value):
        sizes = {"window": 2, "horizon": 1, "stride": 1, name: value}
        with pytest.raises(DtypeError, match=f"{name} must be an integer .*got {value!r}"):
            data.windows(np.zeros(9), **sizes)

    def test_too_short_a_series_names_what_it_needs(self):
        with pytest.raises(ShapeError, match=r"4 steps.*window=3 and horizon=2 need at least 5"):
            data.windows(np.zeros(4), window=3, horizon=2)

    @pytest.mark.parametrize("shape", [(), (4, 3, 2)])
    def test_wrong_number_of_axes(self, shape):
        with pytest.raises(ShapeError, match="series must have shape"):
            data.windows(np.zeros(shape), window=1, horizon=1)


class TestPadSequences:
    def test_values_and_lengths(self):
        padded, lengths = data.pad_sequences([[[1.0, 2.0]], [[3.0, 4.0], [5.0, 6.0]]])
        np.testing.assert_array_equal(padded, [[[1, 2], [0, 0]], [[3, 4], [5, 6]]])
        np.testing.assert_array_equal(lengths, [1, 2])
        assert lengths.dtype == np.int64

    def test_value_and_dtype(self):
        padded, lengths = data.pad_sequences([np.int32([7]), np.int32([]), np.int32([8, 9])])
        assert padded.dtype == np.int32
        np.testing.assert_array_equal(padded, [[7, 0], [0, 0], [8, 9]])
        np.testing.assert_array_equal(lengths, [1, 0, 2])
        padded, _ = data.pad_sequences([[1.0], [2.0, 3.0]], value=-1)
        np.testing.assert_array_equal(padded, [[1, -1], [2, 3]])

    @pytest.mark.parametrize(
        ("dtype", "value"),
        [
            (np.int64, np.nan),
            (np.int64, 0.5),
            (np.int64, np.inf),
            (np.int64, 2**70),
            (np.int64, 2.0**63),
            (np.uint8, -1),
            (np.uint8, 256),
            (np.bool_, 2),
            (np.float32, 1e300),
            (np.float16, 1e5),
        ],
    )
    def test_a_value_that_the_dtype_can_not_hold(self, dtype, value):
        sequences = [np.ones(2, dtype), np.ones(1, dtype)]
        text = (
            rf"value={re.escape(str(value))} can't be held by sequences of dtype {dtype.__name__}"
        )
        with pytest.raises(ConfigError, match=text.removesuffix("_")):
            data.pad_sequences(sequences, value=value)

    @pytest.mark.parametrize(
        ("dtype", "value"),
        [
            (np.int64, 2**60 + 1),
            (np.int64, -1.0),
            (np.uint8, 255),
            (np.bool_, True),
            (np.float32, 0.1),
            (np.float32, np.nan),
            (np.float32, -np.inf),
        ],
    )
    def test_a_value_that_the_dtype_can_hold(self, dtype, value):
        padded, _ = data.pad_sequences([np.ones(2, dtype), np.ones(1, dtype)], value=value)
        assert padded.dtype == dtype
        np.testing.assert_array_equal(padded, np.array([[1, 1], [1, value]], dtype))

    def test_a_value_that_is_no_number(self):
        with pytest.raises(DtypeError, match="value must be a number, got 'x'"):
            data.pad_sequences([[1], [2]], value="x")

    def test_nothing_to_pad(self):
        with pytest.raises(ShapeError, match="empty"):
            data.pad_sequences([])

    def test_entries_of_different_shapes(self):
        with pytest.raises(ShapeError, match="sequence 1 must be one array, but its entries have"):
            data.pad_sequences([[[1.0, 2.0]], [[1.0, 2.0], [3.0]]])

    def test_different_features(self):
        with pytest.raises(ShapeError, match=r"sequence 1 has shape \(4, 3\)"):
            data.pad_sequences([np.zeros((4, 2)), np.zeros((4, 3))])

    def test_no_axis_and_no_numbers(self):
        with pytest.raises(ShapeError, match="sequence 1"):
            data.pad_sequences([np.zeros(2), np.zeros(())])
        with pytest.raises(DtypeError, match="sequence 0"):
            data.pad_sequences([["a", "b"]])


class TestSplit:
    def test_entries_of_different_shapes(self):
        with pytest.raises(ShapeError, match="array 1 must be one array, but its entries have"):
            data.train_test_split_time([1, 2], [[1.0], [1.0, 2.0]])

    def test_fraction_and_count_keep_the_order(self):
        x = np.arange(10).reshape(10, 1)
        y = np.arange(10) * 2
        x_train, x_test, y_train, y_test = data.train_test_split_time(x, y, test_size=0.3)
        np.testing.assert_array_equal(x_train[:, 0], np.arange(7))
        np.testing.assert_array_equal(x_test[:, 0], [7, 8, 9])
        np.testing.assert_array_equal(y_train, np.arange(7) * 2)
        np.testing.assert_array_equal(y_test, [14, 16, 18])
        past, future = data.train_test_split_time(y, test_size=4)
        np.testing.assert_array_equal(past, y[:6])
        np.testing.assert_array_equal(future, y[6:])

    def test_gap(self):
        past, future = data.train_test_split_time(np.arange(10), test_size=3, gap=2)
        np.testing.assert_array_equal(past, np.arange(5))
        np.testing.assert_array_equal(future, [7, 8, 9])

    def test_recommended_gap_leaves_no_value_in_both_parts(self):
        series, window, horizon, stride = np.arange(40), 5, 3, 2
        x, y = data.windows(series, window, horizon, stride)
        gap = (window + horizon - 1) // stride
        x_train, x_test, y_train, y_test = data.train_test_split_time(x, y, test_size=4, gap=gap)
        seen = {*x_train.ravel(), *y_train.ravel()}
        assert seen.isdisjoint({*x_test.ravel(), *y_test.ravel()})

    @pytest.mark.parametrize(
        "options", [{"test_size": 0}, {"test_size": 1.0}, {"test_size": 5, "gap": 5}, {"gap": -1}]
    )
    def test_empty_parts_are_refused(self, options):
        with pytest.raises(ConfigError):
            data.train_test_split_time(np.arange(10), **options)

    @pytest.mark.parametrize("kind", [float, np.float32, np.float64])
    def test_fractions_of_numpy_are_fractions(self, kind):
        train, test = data.train_test_split_time(np.arange(10), test_size=kind(0.2))
        assert (train.tolist(), test.tolist()) == (list(range(8)), [8, 9])
        assert len(data.train_test_split_time(np.arange(10), test_size=np.int64(3))[1]) == 3

    @pytest.mark.parametrize("size", [np.nan, np.inf, -0.1, 0.0, 1.0, 2.0, np.float32(1.5)])
    def test_fractions_out_of_range(self, size):
        with pytest.raises(ConfigError, match=r"test_size must be a fraction .* got "):
            data.train_test_split_time(np.arange(10), test_size=size)

    @pytest.mark.parametrize("size", [True, np.True_, "0.2", None])
    def test_sizes_that_are_no_numbers(self, size):
        with pytest.raises(DtypeError, match="test_size must be a number, got"):
            data.train_test_split_time(np.arange(10), test_size=size)
        with pytest.raises(DtypeError, match="gap must be an integer of at least 0, got"):
            data.train_test_split_time(np.arange(10), gap=size)

    def test_different_counts_and_no_array(self):
        with pytest.raises(ShapeError, match=r"\[3, 4\]"):
            data.train_test_split_time(np.zeros(3), np.zeros(4))
        with pytest.raises(ConfigError, match="at least one array"):
            data.train_test_split_time()


class TestCheckFinite:
    @pytest.mark.parametrize(
        ("shape", "place", "text"),
        [
            ((5,), (3,), "x is nan at row 3"),
            ((5, 2), (3, 1), "x is nan at row 3, column 1"),
            ((5, 4, 2), (3, 2, 1), "x is nan at row 3, step 2, column 1"),
            ((5, 4, 2, 2), (3, 2, 1, 0), "row 3, axis 1 index 2, axis 2 index 1, axis 3 index 0"),
        ],
    )
    def test_first_place_is_named(self, shape, place, text):
        values = np.zeros(shape)
        data.check_finite(values, "x")
        values[place] = np.nan
        values[-1] = np.inf
        with pytest.raises(NonFiniteError, match=text):
            data.check_finite(values, "x")

    def test_large_arrays_are_searched_to_the_end(self):
        values = np.zeros((3000, 1000), dtype=np.float32)
        values[2999, 999] = -np.inf
        with pytest.raises(NonFiniteError, match="array is -inf at row 2999, column 999"):
            data.check_finite(values)

    def test_steps_past_the_length_are_not_looked_at(self):
        values = np.zeros((2, 3, 1))
        values[0, 2] = np.nan
        data.check_finite(values, lengths=[2, 3])
        with pytest.raises(NonFiniteError, match="row 0, step 2, column 0"):
            data.check_finite(values, lengths=[3, 3])

    def test_entries_of_different_shapes(self):
        with pytest.raises(ShapeError, match="x must be one array, but its entries have different"):
            data.check_finite([[1.0], [1.0, 2.0]], "x")

    def test_integers_pass_and_text_does_not(self):
        data.check_finite(np.arange(3))
        data.check_finite(np.zeros((0, 4)))
        with pytest.raises(DtypeError, match="x must hold real numbers"):
            data.check_finite(np.array(["a"]), "x")
