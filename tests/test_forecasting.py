"""Reading series, baselines, scores, and the forecaster."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest

import recurrust as rr
from recurrust import forecasting
from recurrust.forecasting import Forecaster, Score, TimeAxis, read_csv
from recurrust.forecasting.baselines import Autoregression, DampedPersistence

ELNINO = Path(__file__).parent.parent / "examples" / "data" / "elnino.csv"
MONTHS = "JAN,FEB,MAR,APR,MAY,JUN,JUL,AUG,SEP,OCT,NOV,DEC"


def write(folder: Path, text: str, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def seasonal_series(steps: int = 160) -> np.ndarray:
    """A season, a slow wave that can be learned, and a little noise."""
    time = np.arange(steps)
    noise = np.random.default_rng(7).normal(scale=0.1, size=steps)
    return 20 + 3 * np.sin(2 * np.pi * time / 12) + np.sin(2 * np.pi * time / 31) + noise


def quick(**options: object) -> Forecaster:
    return Forecaster(**({"epochs": 3, "patience": 3, "hidden_size": 4} | options))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def scores() -> dict[str, Score]:
    """Errors of the baselines on the last fifth of the monthly sea temperatures."""
    values = read_csv(ELNINO).values
    train_size = forecasting.training_size(len(values), 0.2)
    assert train_size == 585
    origins = forecasting.held_out_origins(len(values), train_size, 12)
    assert (origins[0], origins[-1], len(origins)) == (585, 720, 136)
    made = forecasting.baseline_forecasts(values, train_size, origins, 12, window=12, period=12)
    actual = values[origins[:, np.newaxis] + np.arange(12)]
    return {name: Score.of(forecasts, actual) for name, forecasts in made.items()}


class TestBaselines:
    @pytest.mark.parametrize(
        ("name", "first", "all_steps"),
        [
            ("persistence", 1.157, 2.958),
            ("seasonal naive", 1.433, 1.261),
            ("climatology", 0.741, 0.751),
            ("AR(12)", 0.540, 0.928),
            ("AR(2) on anomalies", 0.457, 0.801),
            ("damped persistence", 0.4695, 0.7705),
        ],
    )
    def test_errors_on_monthly_sea_temperatures(
        self, scores: dict[str, Score], name: str, first: float, all_steps: float
    ) -> None:
        assert scores[name].rmse_first == pytest.approx(first, abs=5e-4)
        assert scores[name].rmse == pytest.approx(all_steps, abs=5e-4)

    def test_no_baseline_is_missing(self, scores: dict[str, Score]) -> None:
        assert len(scores) == 6

    def test_forecasts_by_hand(self) -> None:
        values = np.array([1.0, 2.0, 4.0, 3.0, 5.0, 7.0])
        origins = np.array([4, 6])
        made = forecasting.baseline_forecasts(values, 6, origins, 3, window=1, period=2)
        np.testing.assert_allclose(made["persistence"], [[3, 3, 3], [7, 7, 7]])
        np.testing.assert_allclose(made["seasonal naive"], [[4, 3, 4], [5, 7, 5]])
        np.testing.assert_allclose(made["climatology"], [[10 / 3, 4, 10 / 3], [10 / 3, 4, 10 / 3]])

    def test_without_a_season_there_are_no_anomalies(self) -> None:
        values = np.arange(20.0) ** 1.5
        made = forecasting.baseline_forecasts(values, 16, np.array([16]), 2, window=3, period=None)
        assert list(made) == ["persistence", "mean", "AR(3)", "AR(2)", "damped persistence"]
        np.testing.assert_allclose(made["mean"], values[:16].mean())

    def test_autoregression_finds_its_own_coefficients(self) -> None:
        values = np.zeros(60)
        values[:2] = 1.0, -2.0
        for step in range(2, 60):
            values[step] = 0.3 + 1.2 * values[step - 1] - 0.9 * values[step - 2]
        fitted = Autoregression.fit(values[:40], 2)
        np.testing.assert_allclose(fitted.coefficients, [-0.9, 1.2], rtol=1e-9)
        assert fitted.intercept == pytest.approx(0.3, rel=1e-9)
        np.testing.assert_allclose(
            fitted.predict(values, np.array([40, 50]), 10),
            [values[40:50], values[50:60]],
            rtol=1e-8,
        )

    def test_damped_persistence_is_least_squares(self) -> None:
        values = np.random.default_rng(3).normal(size=50).cumsum()
        fitted = DampedPersistence.fit(values, 4)
        for step in range(1, 5):
            slope, intercept = np.polyfit(values[:-step], values[step:], 1)
            rest = values[step:] - slope * values[:-step] - intercept
            assert fitted.slope[step - 1] == pytest.approx(slope)
            assert fitted.intercept[step - 1] == pytest.approx(intercept)
            assert fitted.spread[step - 1] == pytest.approx(rest.std())

    @pytest.mark.parametrize(
        "call", [lambda x: DampedPersistence.fit(x, 4), lambda x: Autoregression.fit(x, 6)]
    )
    def test_too_few_values(self, call: object) -> None:
        with pytest.raises(rr.ShapeError, match="values has 6 steps"):
            call(np.arange(6.0))  # type: ignore[operator]


class TestScores:
    def test_values(self) -> None:
        score = Score.of(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[1.0, 0.0], [0.0, 4.0]]))
        assert score.rmse == pytest.approx(np.sqrt(13 / 4))
        assert score.mae == pytest.approx(5 / 4)
        assert score.rmse_first == pytest.approx(np.sqrt(9 / 2))
        assert score.mae_first == pytest.approx(3 / 2)
        np.testing.assert_allclose(score.rmse_by_step, np.sqrt([9 / 2, 4 / 2]))

    def test_table_marks_the_best_of_each_column(self) -> None:
        actual = np.zeros((1, 2))
        scores = {
            "LSTM": Score.of(np.array([[1.0, 1.0]]), actual),
            "mean": Score.of(np.array([[2.0, 0.25]]), actual),
        }
        header, names, *rows = forecasting.comparison_table(scores, 2, "day").splitlines()
        assert header.split() == ["one", "day", "ahead", "days", "1", "to", "2"]
        assert names.split() == ["RMSE", "MAE"] * 2
        assert [row.split() for row in rows] == [
            ["LSTM", "1.00*", "1.00*", "1.00*", "1.00*"],
            ["mean", "2.00", "2.00", "1.43", "1.12"],
        ]

    def test_verdict_says_who_wins(self) -> None:
        actual = np.zeros((1, 2))
        scores = {
            "LSTM": Score.of(np.array([[1.0, 3.0]]), actual),
            "mean": Score.of(np.array([[2.0, 1.0]]), actual),
            "AR(2)": Score.of(np.array([[2.5, 0.0]]), actual),
        }
        assert forecasting.verdict(scores, "LSTM", 2, "day") == [
            "One day ahead: the LSTM wins. RMSE of LSTM 1.00; the best baseline is mean 2.00.",
            "Days 1 to 2: simple baselines win. RMSE of mean 1.58, AR(2) 1.77; LSTM 2.24.",
        ]

    def test_verdict_on_a_tie_and_one_step(self) -> None:
        score = Score.of(np.zeros((1, 1)), np.zeros((1, 1)))
        assert forecasting.verdict({"LSTM": score, "mean": score}, "LSTM", 1) == [
            "One step ahead: mean is as good as the LSTM, RMSE 0.00."
        ]

    @pytest.mark.parametrize(
        ("errors", "text"), [((0.0123, 450.0), "0.0123"), ((2e-9, 3e-9), "2.000e-09")]
    )
    def test_three_digits_of_the_best_show(self, errors: tuple[float, float], text: str) -> None:
        first, second = (Score.of(np.full((1, 1), error), np.zeros((1, 1))) for error in errors)
        table = forecasting.comparison_table({"LSTM": first, "mean": second}, 1)
        assert table.splitlines()[2].split() == ["LSTM", f"{text}*", f"{text}*"]

    @pytest.mark.parametrize(
        ("steps", "fraction", "expected"), [(732, 0.2, 585), (10, 0.9, 1), (10, 0.3, 7)]
    )
    def test_training_size(self, steps: int, fraction: float, expected: int) -> None:
        assert forecasting.training_size(steps, fraction) == expected

    @pytest.mark.parametrize("fraction", [0.0, 1.0, float("nan")])
    def test_fraction_out_of_range(self, fraction: float) -> None:
        with pytest.raises(rr.ConfigError, match=r"test_fraction must be in \(0, 1\)"):
            forecasting.training_size(10, fraction)

    def test_test_part_shorter_than_the_horizon(self) -> None:
        with pytest.raises(rr.ConfigError, match="the test part has 3 steps, but horizon=4"):
            forecasting.held_out_origins(10, 7, 4)


class TestSeason:
    def test_means(self) -> None:
        np.testing.assert_allclose(
            forecasting.seasonal_means(np.array([1.0, 2.0, 3.0, 4.0, 8.0]), 2), [4.0, 3.0]
        )

    @pytest.mark.parametrize("period", [0, 6])
    def test_impossible_period(self, period: int) -> None:
        with pytest.raises(rr.ConfigError, match="period must be between 1 and 5"):
            forecasting.seasonal_means(np.arange(5.0), period)

    @pytest.mark.parametrize("period", [4, 7, 12, 24])
    def test_finds_a_noisy_season_on_a_trend(self, period: int) -> None:
        random = np.random.default_rng(period)
        time = np.arange(300)
        values = np.sin(2 * np.pi * time / period) + 0.01 * time + random.normal(0, 0.7, 300)
        assert forecasting.find_period(values) == period

    def test_finds_the_year_in_monthly_sea_temperatures(self) -> None:
        assert forecasting.find_period(read_csv(ELNINO).values[:585]) == 12

    @pytest.mark.parametrize(
        "values",
        [
            np.random.default_rng(1).normal(size=300),
            np.arange(100.0),
            np.full(100, 3.0),
            np.arange(5.0),
            np.random.default_rng(1).normal(scale=1e300, size=100),
        ],
        ids=["noise", "line", "constant", "short", "huge"],
    )
    def test_finds_none_where_there_is_none(self, values: np.ndarray) -> None:
        assert forecasting.find_period(values) is None


class TestTimeAxis:
    @pytest.mark.parametrize(
        ("labels", "unit", "following"),
        [
            (["1999", "2000"], "year", ["2001", "2002"]),
            (["0", "5"], "step", ["10", "15"]),
            (["2010-11", "2010-12"], "month", ["2011-01", "2011-02"]),
            (["2010/11/01", "2010/12/01"], "step", ["2010/12/31", "2011/01/30"]),
            (["2010-10-15", "2010-11-15", "2010-12-15"], "month", ["2011-01-15", "2011-02-15"]),
            (["2010-10-31", "2010-11-30", "2010-12-31"], "month", ["2011-01-31", "2011-02-28"]),
            (["2010-12-30", "2010-12-31"], "day", ["2011-01-01", "2011-01-02"]),
            (["2010-12-18", "2010-12-25"], "week", ["2011-01-01", "2011-01-08"]),
            (["2010-Q3", "2010-Q4"], "quarter", ["2011-Q1", "2011-Q2"]),
            (["2010q3", "2010q4"], "quarter", ["2011q1", "2011q2"]),
            (
                ["2010-12-31 22:00", "2010-12-31 23:00"],
                "hour",
                ["2011-01-01 00:00", "2011-01-01 01:00"],
            ),
            (["2010-01", "2011-01"], "year", ["2012-01", "2013-01"]),
            (["Mon", "Tue", "Wed"], "step", ["4", "5"]),
            (["2010-01", "2010-02", "2010-04"], "step", ["4", "5"]),
            (["2010-13", "2010-14"], "step", ["3", "4"]),
            (["1", "1"], "step", ["3", "4"]),
            (["2010"], "step", ["2", "3"]),
        ],
    )
    def test_continues_labels(self, labels: list[str], unit: str, following: list[str]) -> None:
        axis = TimeAxis.read(labels)
        assert axis.unit == unit
        assert axis.following(2) == following
        assert len(axis.extended(2)) == len(labels) + 2

    def test_year_length(self) -> None:
        assert TimeAxis.read(["2010-11", "2010-12"]).year_length == 12
        assert TimeAxis.read(["2010Q1", "2010Q2"]).year_length == 4
        assert TimeAxis.counted(9).year_length is None

    def test_order_matters(self) -> None:
        with pytest.raises(rr.FileFormatError, match="date: '2010-02' follows '2010-03'"):
            TimeAxis.read(["2010-03", "2010-02"], "date")


class TestReadCsv:
    def test_wide(self) -> None:
        series = read_csv(ELNINO)
        assert (series.name, series.form, len(series)) == ("elnino", "wide", 732)
        np.testing.assert_array_equal(series.values[[0, 1, 12, -1]], [23.11, 24.2, 24.19, 22.07])
        assert series.time.labels[:2] == ("1950-01", "1950-02")
        assert series.time.following(2) == ["2011-01", "2011-02"]

    def test_long_with_dates(self, tmp_path: Path) -> None:
        series = read_csv(write(tmp_path, "when,sales\n2001-01,5\n2001-02,-6.5\n\n2001-03,1e1\n"))
        assert (series.name, series.form) == ("sales", "long")
        assert series.values.tolist() == [5.0, -6.5, 10.0]
        assert (series.time.name, series.time.labels[0]) == ("when", "2001-01")

    def test_time_is_told_by_name(self, tmp_path: Path) -> None:
        series = read_csv(write(tmp_path, "year;spots\n1700;5\n1701;11\n"))
        assert series.name == "spots"
        assert series.time.following(1) == ["1702"]

    def test_year_and_month_in_two_columns(self, tmp_path: Path) -> None:
        series = read_csv(write(tmp_path, "Year,Month,v\n2000,11,5\n2000,12,6\n2001,1,7\n"))
        assert (series.name, series.values.tolist()) == ("v", [5.0, 6.0, 7.0])
        assert series.time.labels == ("2000-11", "2000-12", "2001-01")
        assert series.time.following(1) == ["2001-02"]

    @pytest.mark.parametrize("months", [("Nov", "Dec", "Jan"), ("november", "12", "jan.")])
    def test_months_in_a_column_may_have_names(
        self, tmp_path: Path, months: tuple[str, ...]
    ) -> None:
        rows = [f"{year},{month},5" for year, month in zip((2000, 2000, 2001), months, strict=True)]
        series = read_csv(write(tmp_path, "\n".join(["year,month,v", *rows])))
        assert series.time.labels == ("2000-11", "2000-12", "2001-01")
        assert (series.time.unit, series.time.following(1)) == ("month", ["2001-02"])

    def test_months_that_are_none_are_counted(self, tmp_path: Path) -> None:
        series = read_csv(write(tmp_path, "year,month,v\n2000,Jan,5\n2000,Moon,6\n2000,Mar,7\n"))
        assert series.time.labels == ("2000-01", "2000-Moon", "2000-03")
        assert series.time.following(1) == ["4"]

    def test_chosen_columns(self, tmp_path: Path) -> None:
        path = write(tmp_path, "a\tb\tc\n1\t10\t5\n2\t20\t7\n")
        series = read_csv(path, column="B", time_column="c")
        assert series.values.tolist() == [10.0, 20.0]
        assert series.time.labels == ("5", "7")

    def test_bare_numbers(self, tmp_path: Path) -> None:
        series = read_csv(write(tmp_path, "3\n1\n2\n"))
        assert (series.name, series.values.tolist()) == ("table", [3.0, 1.0, 2.0])
        assert series.time.following(1) == ["4"]

    @pytest.mark.parametrize(
        "header",
        [f"YEAR,{MONTHS}", "12,11,10,9,8,7,6,5,4,3,2,1,Year", "year,mean," + MONTHS.title()],
    )
    def test_wide_headers(self, tmp_path: Path, header: str) -> None:
        columns = header.lower().split(",")
        months = [name[:3] for name in MONTHS.lower().split(",")]
        rows = []
        for year in (2000, 2001):
            cells = {"year": str(year), "mean": "-1"}
            cells |= {name: str(year * 100 + month) for month, name in enumerate(months, 1)}
            cells |= {str(month): str(year * 100 + month) for month in range(1, 13)}
            rows.append(",".join(cells[column] for column in columns))
        series = read_csv(write(tmp_path, "\n".join([header, *rows])))
        expected = [year * 100 + month for year in (2000, 2001) for month in range(1, 13)]
        assert series.values.tolist() == expected

    def test_wide_table_with_an_unfinished_year(self, tmp_path: Path) -> None:
        text = f"YEAR,{MONTHS}\n2000,{','.join('1' * 12)}\n2001,7,8{',' * 10}\n"
        series = read_csv(write(tmp_path, text))
        assert series.values.tolist() == [1.0] * 12 + [7.0, 8.0]
        assert series.time.following(1) == ["2001-03"]

    def test_a_month_of_a_wide_table_can_be_read_alone(self) -> None:
        series = read_csv(ELNINO, column="JAN")
        assert (series.form, len(series), series.time.unit) == ("long", 61, "year")
        assert series.values[:2].tolist() == [23.11, 24.19]

    @pytest.mark.parametrize(
        ("text", "options", "message"),
        [
            ("", {}, "is empty"),
            ("\n \n", {}, "is empty"),
            ("a,b\n", {}, "has a header, but no rows of values"),
            ("date,v\n1,2\n2,x\n3,4\n", {}, "row 3, column 'v': 'x' is not a number"),
            ("time,v\n1,2\n2,abc\n", {}, "row 3, column 'v': 'abc' is not a number"),
            ("time,v\n1,a\n2,b\n3,4\n", {}, "row 2, column 'v': 'a' is not a number"),
            ("v\n1\n" + "9" * 400, {}, "row 3, column 'v': '9{59} is not finite"),
            ("date,v\n1,2\n2,1_0\n3,4\n", {"column": "v"}, "'1_0' is not a number"),
            ("date,v\n1,2\n2,\n3,4\n", {}, "row 3, column 'v' is blank"),
            ("date,v\n1,2\n2,NaN\n3,4\n", {}, "row 3, column 'v' is 'NaN'"),
            ("date,v\n1,2\n2,-inf\n3,4\n", {}, "row 3, column 'v': '-inf' is not finite"),
            ("date,v\n1,2\n2,3,4\n", {}, "row 3 has 3 cells where 2 are expected"),
            ("date,v\n1,x\n2,y\n", {}, "has no column of numbers; the columns are 'date', 'v'"),
            ("a,b\n1,2\n", {}, "several columns of numbers; name one of 'a', 'b'"),
            ("a,b\n1,2\n", {"column": "c"}, "column: .* no column 'c'; the columns are 'a', 'b'"),
            ("a,b\n1,2\n", {"column": "a", "time_column": "z"}, "time_column: .* no column 'z'"),
            ("a,a\n1,2\n", {"column": "a"}, "several columns named 'a'"),
            ("a,b\n1,2\n", {"column": "a", "time_column": "a"}, "column and time_column are both"),
            ("a,b\n1,2\n", {"form": "wide"}, "no column for each of the twelve months"),
            ("a,b\n1,2\n", {"form": "tall"}, "form must be"),
            (f"Y,{MONTHS}\n1,2{',2' * 11}\n", {"form": "wide", "column": "JAN"}, "no meaning"),
            (f"{MONTHS}\n1{',2' * 11}\n", {}, "no column with the year"),
            (f"Y,{MONTHS}\n2000{',2' * 12}\n2002{',2' * 12}\n", {}, "'2002' is not the year"),
            (f"Y,{MONTHS}\n2000,2,{',2' * 10}\n2001{',2' * 12}\n", {}, "column 'FEB' is blank"),
            ("date,v\n2001-02,1\n2001-01,2\n", {}, "date: '2001-01' follows '2001-02'"),
            ('v\n1\n"2\n', {}, "is not a CSV table"),
        ],
    )  # fmt: skip
    def test_errors(self, tmp_path: Path, text: str, options: dict[str, str], message: str) -> None:
        path = write(tmp_path, text)
        with pytest.raises((rr.FileFormatError, rr.ConfigError), match=message):
            read_csv(path, **options)  # type: ignore[arg-type]

    def test_not_text(self, tmp_path: Path) -> None:
        path = tmp_path / "table.csv"
        path.write_bytes(b"v\n\xff\xfe\n")
        with pytest.raises(rr.FileFormatError, match="is not text in UTF-8"):
            read_csv(path)

    def test_byte_order_mark(self, tmp_path: Path) -> None:
        path = tmp_path / "table.csv"
        path.write_bytes(b"\xef\xbb\xbfv\n1\n2\n")
        assert read_csv(path, column="v").values.tolist() == [1.0, 2.0]


class TestForecaster:
    def test_learns_what_lines_cannot(self) -> None:
        """A wave of 31 steps: its future is no function of its last value alone."""
        values = seasonal_series(400)
        forecaster = Forecaster(6, period=12, epochs=60).fit(values[:320])
        origins = forecasting.held_out_origins(400, 320, 6)
        actual = values[origins[:, np.newaxis] + np.arange(6)]
        baselines = forecasting.baseline_forecasts(values, 320, origins, 6, window=12, period=12)
        damped = Score.of(baselines["damped persistence"], actual)
        assert Score.of(forecaster.predict(values, origins), actual).rmse < 0.6 * damped.rmse

    def test_goes_on_counting(self) -> None:
        values = np.arange(1.0, 101.0)
        np.testing.assert_allclose(
            Forecaster(5).fit(values).forecast(values), [101, 102, 103, 104, 105], rtol=0.02
        )

    def test_unfinished_season_on_a_trend(self) -> None:
        time = np.arange(127)
        series = 0.5 * time + np.sin(2 * np.pi * time / 12)
        forecast = quick(horizon=6, period=12, learning_rate=1e-12).fit(series[:116])
        np.testing.assert_allclose(forecast.forecast(series[:121]), series[121:], atol=0.1)

    def test_constant_series(self) -> None:
        values = np.full(60, 0.1)
        np.testing.assert_allclose(quick(horizon=3).fit(values).forecast(values), 0.1, rtol=1e-6)

    def test_horizon_beyond_the_window(self) -> None:
        values = seasonal_series()
        forecast = quick(horizon=12, window=6, period=12).fit(values).forecast(values)
        assert forecast.shape == (12,)
        assert np.abs(forecast - 20).max() < 6

    def test_untrained_head_leaves_damped_persistence(self) -> None:
        values = seasonal_series()
        forecaster = quick(horizon=4, period=12, learning_rate=1e-12).fit(values)
        origins = np.arange(100, 120)
        expected = forecasting.baseline_forecasts(values, 160, origins, 4, window=2, period=12)
        np.testing.assert_allclose(
            forecaster.predict(values, origins),
            expected["damped persistence"],
            rtol=1e-6,
        )

    def test_same_seed_same_forecast(self) -> None:
        values = seasonal_series()
        first, again, other = (
            quick(period=12, seed=seed).fit(values).forecast(values) for seed in (1, 1, 2)
        )
        np.testing.assert_array_equal(first, again)
        assert not np.array_equal(first, other)

    def test_random_stream_is_left_alone(self) -> None:
        rr.manual_seed(5)
        before = rr.get_rng_state()
        quick().fit(seasonal_series())
        assert rr.get_rng_state() == before

    def test_only_values_before_the_origin_matter(self) -> None:
        values = seasonal_series()
        forecaster = quick(period=12).fit(values[:120])
        changed = values.copy()
        changed[130:] = 1e6
        origins = np.array([120, 130])
        np.testing.assert_array_equal(
            forecaster.predict(values, origins), forecaster.predict(changed, origins)
        )
        assert not np.array_equal(
            forecaster.predict(values, [131]), forecaster.predict(changed, [131])
        )

    def test_offset_shifts_the_season(self) -> None:
        values = seasonal_series()
        forecaster = quick(period=12).fit(values)
        np.testing.assert_allclose(
            forecaster.forecast(values[5:], offset=5), forecaster.forecast(values), rtol=1e-12
        )

    def test_saved_and_loaded(self, tmp_path: Path) -> None:
        values = seasonal_series()
        forecaster = quick(period=12, window=9, num_layers=2).fit(values)
        beside = forecaster.save(tmp_path / "model.safetensors")
        assert beside == tmp_path / "model.json"
        restored = Forecaster.load(tmp_path / "model.safetensors")
        np.testing.assert_array_equal(restored.forecast(values), forecaster.forecast(values))
        assert (restored.window, restored.best_epoch) == (9, forecaster.best_epoch)

    def test_damaged_description(self, tmp_path: Path) -> None:
        beside = quick().fit(seasonal_series()).save(tmp_path / "model.safetensors")
        described = json.loads(beside.read_text())
        for damaged in ({}, described | {"format": "other"}, described | {"preparation": 1}):
            beside.write_text(json.dumps(damaged))
            with pytest.raises(rr.FileFormatError, match="does not describe a forecaster"):
                Forecaster.load(tmp_path / "model.safetensors")

    @pytest.mark.parametrize(
        ("name", "value"), [("horizon", 3), ("hidden_size", 3), ("num_layers", 2)]
    )
    def test_files_of_different_forecasters(self, tmp_path: Path, name: str, value: int) -> None:
        first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
        options = {"horizon": 2, "hidden_size": 4, "num_layers": 1}
        quick(**options).fit(seasonal_series()).save(first)
        quick(**{**options, name: value}).fit(seasonal_series()).save(second)
        second.replace(first)
        text = rf"first\.json has {name}={options[name]}, but the network in .* has {value}"
        with pytest.raises(rr.FileFormatError, match=text):
            Forecaster.load(first)

    def test_damaged_horizon_and_foreign_network(self, tmp_path: Path) -> None:
        path = tmp_path / "model.safetensors"
        beside = quick(horizon=2).fit(seasonal_series()).save(path)
        described = json.loads(beside.read_text())
        text = beside.read_text()
        described["options"]["horizon"] = 3
        beside.write_text(json.dumps(described))
        with pytest.raises(rr.FileFormatError, match="preparation is for 2 steps, but horizon=3"):
            Forecaster.load(path)
        beside.write_bytes(b"\xff")
        with pytest.raises(rr.FileFormatError, match="does not describe a forecaster"):
            Forecaster.load(path)
        beside.write_text(text)
        rr.save(rr.Sequential(rr.Linear(1, 2)), path)
        with pytest.raises(rr.FileFormatError, match="does not hold the network of a forecaster"):
            Forecaster.load(path)

    def test_both_files_need_a_name(self, tmp_path: Path) -> None:
        with pytest.raises(rr.ConfigError, match=r"must not end in \.json"):
            quick().fit(seasonal_series()).save(tmp_path / "model.json")
        assert not list(tmp_path.iterdir())

    def test_least_steps_is_exact(self) -> None:
        forecaster = quick(horizon=5, window=7)
        steps = forecaster.least_steps
        assert steps == 24  # 8 windows of 12 steps, and a validation tail of 5
        forecaster.fit(seasonal_series(steps))
        with pytest.raises(rr.ShapeError, match=r"values has 23 steps, .* need at least 24"):
            forecaster.fit(seasonal_series(steps - 1))

    def test_failed_fit_changes_nothing(self) -> None:
        values = seasonal_series()
        forecaster = quick().fit(values)
        before = forecaster.forecast(values)
        for bad, error in (
            (np.full(160, np.nan), rr.NonFiniteError),
            (np.ones((160, 1)), rr.ShapeError),
            (["warm"] * 160, rr.DtypeError),
            (values * 1e300, rr.ConfigError),
        ):
            with pytest.raises(error):
                forecaster.fit(bad)
        np.testing.assert_array_equal(forecaster.forecast(values), before)

    def test_not_fitted(self, tmp_path: Path) -> None:
        with pytest.raises(rr.StateError, match="call fit first"):
            Forecaster().forecast(seasonal_series())
        with pytest.raises(rr.StateError, match="call fit first"):
            Forecaster().save(tmp_path / "model.safetensors")

    def test_origins_out_of_range(self) -> None:
        values = seasonal_series()
        forecaster = quick().fit(values)
        for origins in ([11], [161]):
            with pytest.raises(rr.ConfigError, match="origins must be between window=12 and"):
                forecaster.predict(values, origins)
        with pytest.raises(rr.ShapeError, match=r"origins must have shape \(N,\)"):
            forecaster.predict(values, 50)
        assert forecaster.predict(values, []).shape == (0, 12)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("horizon", 0),
            ("window", 0),
            ("hidden_size", 0),
            ("num_layers", 0),
            ("period", 1),
            ("epochs", 0),
            ("patience", 0),
            ("batch_size", 0),
            ("seed", -1),
            ("dropout", 1.0),
            ("learning_rate", 0.0),
            ("learning_rate", float("inf")),
            ("weight_decay", -0.1),
            ("validation_fraction", 1.0),
        ],
    )
    def test_options_out_of_range(self, name: str, value: float) -> None:
        with pytest.raises(rr.ConfigError, match=f"^{name} must be"):
            Forecaster(**{name: value})  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("name", "value", "error"),
        [
            ("horizon", 2**31, rr.ConfigError),
            ("num_layers", 101, rr.ConfigError),
            ("seed", 2**64, rr.ConfigError),
            ("window", 2.5, rr.DtypeError),
            ("period", "a", rr.DtypeError),
            ("epochs", True, rr.DtypeError),
            ("dropout", "a", rr.DtypeError),
            ("learning_rate", None, rr.DtypeError),
        ],
    )
    def test_options_too_great_or_of_the_wrong_kind(
        self, name: str, value: object, error: type[Exception]
    ) -> None:
        with pytest.raises(error, match=f"^{name} must be .*got {value!r}"):
            Forecaster(**{name: value})  # type: ignore[arg-type]

    def test_copy_forecasts_alike(self) -> None:
        values = seasonal_series()
        forecaster = quick().fit(values)
        np.testing.assert_array_equal(
            copy.deepcopy(forecaster).forecast(values), forecaster.forecast(values)
        )
