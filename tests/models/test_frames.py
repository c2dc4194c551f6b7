"""Laws of long frames: series out of them, forecasts back as the same kind of frame."""

import datetime
import os
import subprocess
import sys
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pandas
import polars
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import echo_forecast
from tests.small_models import random_forecaster
from xlstmd.errors import InputError
from xlstmd.models.calendar import parse_freq
from xlstmd.models.frames import from_frame, level_name, to_frame
from xlstmd.models.grid import DAY, EPOCH, find_step, following, positions

LEVELS = (0.1, 0.5, 0.9)
BERLIN = "Europe/Berlin"
MAKERS = {
    "pandas": pandas.DataFrame,
    "polars": lambda columns: polars.DataFrame(columns, strict=False),
    "pyarrow": pa.table,
}


def long(times, values=None, ids=None):
    """Makes the columns of a long frame."""
    count = len(times)
    values = list(range(1, count + 1)) if values is None else values
    return {"unique_id": ids or ["a"] * count, "ds": list(times), "y": list(values)}


def dates(start, count, freq="D", **options):
    return list(pandas.date_range(start, periods=count, freq=freq, **options).to_pydatetime())


def forecast(frame, horizon=3, **options):
    series = from_frame(frame, **options)
    return to_frame(series, echo_forecast(series.histories, horizon, LEVELS))


def future(times, horizon=3, **options):
    """Gives the times that follow, through a pyarrow table."""
    return forecast(pa.table(long(times)), horizon, **options)["ds"].to_pylist()


def refused(columns, **options):
    with pytest.raises(InputError) as caught:
        from_frame(pa.table(columns), field="input", **options)
    return caught.value


class TestKinds:
    @pytest.mark.parametrize("kind", MAKERS)
    def test_the_answer_is_a_frame_of_the_same_kind(self, kind):
        frame = MAKERS[kind](long(dates("2024-01-01", 4), [1.0, 2.0, None, 4.0]))
        answer = forecast(frame)
        assert type(answer) is type(frame)
        names = list(answer.column_names if kind == "pyarrow" else answer.columns)
        assert names == ["unique_id", "ds", "mean", "q0.1", "q0.5", "q0.9"]

    @pytest.mark.parametrize("kind", MAKERS)
    def test_all_kinds_say_the_same(self, kind):
        columns = long(
            dates("2024-01-01", 3) + dates("2024-02-01", 2), ids=["b", "b", "b", "a", "a"]
        )
        answer = pa.table(columns)
        expected = forecast(answer, 2).to_pylist()
        got = forecast(MAKERS[kind](columns), 2)
        if kind == "pandas":
            got = pa.Table.from_pandas(got)
        elif kind == "polars":
            got = got.to_arrow()
        assert got.to_pylist() == expected

    def test_rows_are_ordered_by_first_appearance_and_time(self):
        columns = long([2, 1, 1, 2, 3], ids=["b", "b", "a", "a", "a"])
        answer = forecast(pa.table(columns), 2)
        assert answer["unique_id"].to_pylist() == ["b", "b", "a", "a"]
        assert answer["ds"].to_pylist() == [3, 4, 4, 5]

    def test_the_frame_that_came_in_is_not_modified(self):
        frame = pandas.DataFrame(long(dates("2024-01-03", 2)[::-1], [1.0, None]))
        before = frame.copy(deep=True)
        forecast(frame)
        pandas.testing.assert_frame_equal(frame, before)

    def test_pandas_may_have_the_ids_as_its_index(self):
        frame = pandas.DataFrame(long([1, 2])).set_index("unique_id")
        assert list(forecast(frame)["unique_id"]) == ["a"] * 3

    def test_pandas_categories_come_back_as_their_values(self):
        frame = pandas.DataFrame(long([1, 2])).astype({"unique_id": "category"})
        assert list(forecast(frame)["unique_id"]) == ["a"] * 3

    def test_polars_categories_come_back_as_their_values(self):
        frame = polars.DataFrame(long([1, 2])).cast({"unique_id": polars.Categorical})
        assert forecast(frame)["unique_id"].to_list() == ["a"] * 3

    def test_ids_keep_their_type(self):
        answer = forecast(pandas.DataFrame(long([1, 2], ids=[7, 7])))
        assert answer["unique_id"].dtype == np.int64

    @pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
    def test_pandas_times_keep_their_resolution(self, unit):
        frame = pandas.DataFrame(long(dates("2024-01-01", 3)))
        frame["ds"] = frame["ds"].astype(f"datetime64[{unit}]")
        assert forecast(frame)["ds"].dtype == frame["ds"].dtype

    def test_pyarrow_alone_is_enough(self):
        code = (
            "import sys\n"
            "class Absent:\n"
            "    def find_spec(self, name, path=None, target=None):\n"
            "        if name in ('pandas', 'polars', 'torch'): raise ImportError(name)\n"
            "sys.meta_path.insert(0, Absent())\n"
            "import pyarrow\n"
            "from tests.fakes import echo_forecast\n"
            "from xlstmd.models.frames import from_frame, to_frame\n"
            "table = pyarrow.table({'unique_id': ['a', 'a'], 'ds': [1, 2], 'y': [1, 2]})\n"
            "series = from_frame(table)\n"
            "answer = to_frame(series, echo_forecast(series.histories, 3, [0.5]))\n"
            "assert answer.num_rows == 3\n"
        )
        root = Path(__file__).parents[2]
        environment = os.environ | {"PYTHONPATH": f"{root / 'src'}{os.pathsep}{root}"}
        subprocess.run([sys.executable, "-c", code], check=True, env=environment)

    @pytest.mark.parametrize("other", [[1.0, 2.0], {"y": [1]}, polars.LazyFrame({"y": [1]})])
    def test_other_things_are_refused(self, other):
        with pytest.raises(InputError, match="frame: expected a pandas, polars or pyarrow table"):
            from_frame(other)


class TestValues:
    @pytest.mark.parametrize("kind", MAKERS)
    def test_nothing_and_nan_are_missing(self, kind):
        series = from_frame(MAKERS[kind](long([1, 2, 3, 4], [1.0, None, float("nan"), 4.0])))
        np.testing.assert_array_equal(series.histories[0], [1.0, np.nan, np.nan, 4.0])

    @pytest.mark.parametrize("dtype", ["Int64", "float32", "Float64", "uint8", "double[pyarrow]"])
    def test_all_number_types_of_pandas_are_read(self, dtype):
        frame = pandas.DataFrame(long([1, 2])).astype({"y": dtype})
        np.testing.assert_array_equal(from_frame(frame).histories[0], [1.0, 2.0])

    def test_text_is_read(self):
        text = [" 1.5", "", "NaN", "null", "-2e3", "NA", "7 "]
        series = from_frame(pa.table(long(range(7), text)))
        expected = [1.5, np.nan, np.nan, np.nan, -2000.0, np.nan, 7.0]
        np.testing.assert_array_equal(series.histories[0], expected)

    def test_text_that_is_no_number_is_named(self):
        text = ["1"] * 17 + ["1,5"] + ["2"]
        error = refused(long(range(19), text))
        assert str(error) == "input.y[17]: expected a number or nothing, got '1,5'"
        assert error.code == "bad_type"

    @pytest.mark.parametrize("value", [float("inf"), float("-inf")])
    def test_infinite_values_are_refused(self, value):
        error = refused(long([1, 2, 3], [1.0, value, 2.0]))
        assert (error.field, error.code) == ("input.y[1]", "non_finite")

    def test_text_beyond_float64_is_refused(self):
        assert refused(long([1, 2], ["1", "1e999"])).field == "input.y[1]"

    @pytest.mark.parametrize("values", [[True, False], [[1.0], [2.0]], [b"1", b"2"]])
    def test_values_of_other_types_are_refused(self, values):
        error = refused(long([1, 2], values))
        assert (error.field, error.code) == ("input.y", "bad_type")

    def test_a_series_without_a_value_is_named(self):
        columns = long([1, 2, 1, 2], [1.0, 2.0, None, None], ids=["a", "a", "dry", "dry"])
        error = refused(columns)
        assert error.code == "empty"
        assert "'dry'" in error.got

    def test_mixed_types_of_pandas_are_refused(self):
        frame = pandas.DataFrame(long([1, 2], [1.0, "x"]))
        with pytest.raises(InputError, match=r"frame\.y"):
            from_frame(frame)


class TestRows:
    @given(order=st.permutations(range(8)))
    def test_the_order_of_rows_does_not_matter(self, order):
        columns = long([1, 2, 3, 4] * 2, np.arange(8.0), ids=["a"] * 4 + ["b"] * 4)
        shuffled = {name: [column[row] for row in order] for name, column in columns.items()}
        series = from_frame(pa.table(shuffled))
        found = dict(zip(series.ids.to_pylist(), series.histories, strict=True))
        np.testing.assert_array_equal(found["a"], np.arange(4.0))
        np.testing.assert_array_equal(found["b"], np.arange(4.0, 8.0))

    def test_a_time_twice_is_refused(self):
        error = refused(long(["2024-01-02", "2024-01-01", "2024-01-02"]))
        assert error.field == "input.ds[2]"
        assert error.got == "2024-01-02 again in series 'a'"

    def test_the_same_time_in_two_series_is_fine(self):
        assert len(from_frame(pa.table(long([1, 1], ids=["a", "b"]))).histories) == 2

    def test_missing_columns_are_named(self):
        error = refused({"unique_id": ["a"], "time": [1], "y": [1.0]})
        assert (error.field, error.code) == ("input.columns", "missing_field")
        assert error.got == "unique_id, time, y"

    def test_no_rows_are_refused(self):
        empty = pa.table({"unique_id": pa.array([], pa.string()), "ds": pa.array([], pa.int64())})
        error = refused(empty.append_column("y", pa.array([], pa.float64())))
        assert error.code == "empty"

    def test_a_row_without_id_is_refused(self):
        assert refused(long([1, 2], ids=["a", None])).field == "input.unique_id[1]"

    @pytest.mark.parametrize("times", [[1, None], ["2024-01-01", ""], ["2024-01-01", None]])
    def test_a_row_without_time_is_refused(self, times):
        assert refused(long(times)).field == "input.ds[1]"

    def test_gaps_that_nobody_can_mean_are_refused(self):
        error = refused(long([0, 1, 10**12]))
        assert error.field == "input.ds"
        assert "at most" in error.expected


class TestCounts:
    def test_whole_numbers_go_on_by_their_step(self):
        assert future([10, 15, 20]) == [25, 30, 35]

    def test_gaps_are_missing_points(self):
        series = from_frame(pa.table(long([0, 5, 10, 25])))
        np.testing.assert_array_equal(series.histories[0], [1, 2, 3, np.nan, np.nan, 4])

    def test_each_series_has_its_own_step(self):
        columns = long([0, 1, 0, 7], ids=["a", "a", "b", "b"])
        assert forecast(pa.table(columns), 2)["ds"].to_pylist() == [2, 3, 14, 21]

    def test_a_single_point_takes_the_step_of_the_others(self):
        columns = long([0, 7, 3], ids=["a", "a", "b"])
        assert forecast(pa.table(columns), 2)["ds"].to_pylist() == [14, 21, 10, 17]

    def test_a_single_point_alone_goes_on_by_one(self):
        assert future([41], 2) == [42, 43]

    def test_off_the_grid_is_refused(self):
        error = refused(long([0, 2, 5, 7]))
        assert error.field == "input.ds[2]"
        assert "freq" in error.expected

    def test_freq_sets_the_step(self):
        assert future([0, 4, 6], 2, freq="2") == [8, 10]

    @pytest.mark.parametrize("freq", ["h", "0", "-1", "1.5", "²"])
    def test_freq_of_whole_numbers_is_one(self, freq):
        assert refused(long([1, 2]), freq=freq).field == "freq"

    def test_small_types_do_not_wrap_around(self):
        columns = long([0, 100])
        columns["ds"] = pa.array(columns["ds"], pa.int8())
        with pytest.raises(InputError, match="horizon"):
            forecast(pa.table(columns), 3)

    def test_the_largest_number_does_not_wrap_around(self):
        with pytest.raises(InputError, match="horizon"):
            future([2**63 - 3, 2**63 - 2], 3)


class TestTimes:
    @pytest.mark.parametrize(
        ("start", "freq"),
        [
            ("2024-02-27", "D"),
            ("2024-02-26", "W-MON"),
            ("2024-02-28 22:00", "h"),
            ("2024-02-28 22:00", "15min"),
            ("2024-01-31", "ME"),
            ("2024-01-01", "MS"),
            ("2023-03-31", "QE"),
            ("2020-12-31", "YE"),
            ("2024-02-26", "B"),
        ],
    )
    def test_times_go_on_as_pandas_has_it(self, start, freq):
        times = dates(start, 14, freq)
        assert future(times[:9], 5) == times[9:]

    @pytest.mark.parametrize("freq", ["D", "h", "ME", "MS", "B", "W-MON", "QS"])
    def test_left_out_rows_are_missing_points(self, freq):
        times = dates("2024-01-01", 40, freq)
        left_out = {3, 11, 12, 30}
        rows = [row for row in range(40) if row not in left_out]
        series = from_frame(pa.table(long([times[row] for row in rows], rows)))
        expected = [np.nan if row in left_out else row for row in range(40)]
        np.testing.assert_array_equal(series.histories[0], expected)

    def test_irregular_times_are_refused(self):
        times = dates("2024-01-01", 3, "h") + dates("2024-01-01 02:17", 2, "h")
        error = refused(long(times))
        assert error.field == "input.ds[3]"
        assert error.got == "2024-01-01T02:17:00 in series 'a'"

    def test_freq_may_be_given(self):
        assert future(dates("2024-01-01", 1), 2, freq="MS") == dates("2024-02-01", 2, "MS")

    def test_freq_that_does_not_fit_is_refused(self):
        error = refused(long(dates("2024-01-01", 5, "h")), freq="D")
        assert error.field == "input.ds[1]"
        assert error.expected == "times on a grid of D"

    def test_a_single_time_without_freq_is_refused(self):
        error = refused(long(["2024-01-01"]))
        assert error.field == "input.ds[0]"
        assert "freq" in error.expected

    def test_dates_stay_dates(self):
        assert future([datetime.date(2024, 1, day) for day in (1, 2)], 1) == [
            datetime.date(2024, 1, 3)
        ]

    def test_dates_become_times_where_the_step_is_finer(self):
        got = future([datetime.date(2024, 1, 1)], 1, freq="h")
        assert got == [datetime.datetime(2024, 1, 1, 1)]

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            (["2024-01-01", "2024-01-02"], datetime.date(2024, 1, 3)),
            (["2024-01-01 00:00", "2024-01-01 01:00"], datetime.datetime(2024, 1, 1, 2)),
            (
                ["2024-01-01T00:00:01", "2024-01-01T00:00:01.5"],
                datetime.datetime(2024, 1, 1, 0, 0, 2),
            ),
            (["7", " 9"], 11),
        ],
    )
    def test_text_is_read(self, text, expected):
        assert future(text, 1) == [expected]

    @pytest.mark.parametrize(
        "text",
        [
            ["2024-01-01T00:00:00Z", "2024-01-01T01:00:00Z"],
            ["2024-01-01T01:00:00+01:00", "2024-01-01T03:00:00+02:00"],
            ["2024-01-01", "2024-01-01T01:00:00Z"],
        ],
    )
    def test_text_with_an_offset_is_utc(self, text):
        assert future(text, 1) == [datetime.datetime(2024, 1, 1, 2, tzinfo=datetime.UTC)]

    def test_text_that_is_no_time_is_named(self):
        error = refused(long(["2024-01-01", "2024-01-02", "yesterday"]))
        assert error.field == "input.ds[2]"

    @pytest.mark.parametrize("times", [[1.5, 2.5], [True, False]])
    def test_other_types_are_refused(self, times):
        error = refused(long(times))
        assert (error.field, error.code) == ("input.ds", "bad_type")

    def test_nanoseconds_are_refused(self):
        columns = long([1, 2])
        columns["ds"] = pa.array([1, 2], pa.timestamp("ns"))
        assert refused(columns).field == "input.ds"

    def test_times_end_with_the_year_9999(self):
        with pytest.raises(InputError, match="9999"):
            future([datetime.date(9999, 12, day) for day in (29, 30)], 2)

    def test_history_and_future_times_belong_together(self):
        times = dates("2024-01-31", 6, "ME")
        series = from_frame(pa.table(long([times[0], times[1], times[3]])))
        assert series.history_times(0).to_pylist() == times[:4]
        assert series.future_times(0, 2).to_pylist() == times[4:]


class TestZones:
    def frame(self, start, count, freq):
        times = pandas.date_range(start, periods=count, freq=freq, tz=BERLIN)
        return pandas.DataFrame({"unique_id": "a", "ds": times, "y": np.arange(1.0, count + 1)})

    def test_days_are_those_on_the_wall(self):
        """The last of March has 23 hours there."""
        frame = self.frame("2024-03-29", 2, pandas.DateOffset(days=1))
        got = list(forecast(frame, 2)["ds"])
        assert got == [pandas.Timestamp(f"2024-{day}", tz=BERLIN) for day in ("03-31", "04-01")]

    def test_days_across_a_change_are_regular(self):
        frame = self.frame("2024-03-29", 5, pandas.DateOffset(days=1))
        series = from_frame(frame)
        np.testing.assert_array_equal(series.histories[0], [1, 2, 3, 4, 5])

    def test_months_are_those_on_the_wall(self):
        frame = self.frame("2024-01-01", 3, "MS")
        got = list(forecast(frame, 2)["ds"])
        assert got == [pandas.Timestamp(f"2024-{day}", tz=BERLIN) for day in ("04-01", "05-01")]

    def test_hours_are_those_that_pass(self):
        frame = self.frame("2024-03-30 22:00", 3, "h")
        got = list(forecast(frame, 3)["ds"])
        expected = pandas.date_range("2024-03-30 22:00", periods=6, freq="h", tz=BERLIN)[3:]
        assert got == list(expected)

    def test_hours_across_a_change_are_regular(self):
        frame = self.frame("2024-10-26 20:00", 12, "h")
        assert len(from_frame(frame).histories[0]) == 12

    def test_the_zone_is_kept(self):
        frame = self.frame("2024-06-01", 3, "h")
        assert forecast(frame)["ds"].dtype == frame["ds"].dtype

    def test_polars_keeps_the_zone(self):
        times = [datetime.datetime(2024, 6, day, tzinfo=ZoneInfo(BERLIN)) for day in (1, 2)]
        frame = polars.DataFrame(long(times))
        assert forecast(frame)["ds"].dtype == frame["ds"].dtype


class TestAnswers:
    def test_values_stand_in_their_rows(self):
        columns = long([1, 2, 1, 2], [1.0, 2.0, 10.0, 20.0], ids=["a", "a", "b", "b"])
        answer = forecast(pa.table(columns), 2)
        assert answer["q0.5"].to_pylist() == [2.0, 2.0, 20.0, 20.0]
        assert answer["mean"].to_pylist() == [2.25, 2.25, 20.25, 20.25]

    @pytest.mark.parametrize(
        ("level", "name"), [(0.1, "q0.1"), (0.025, "q0.025"), (np.float64(0.5), "q0.5")]
    )
    def test_levels_name_their_columns(self, level, name):
        assert level_name(level) == name

    def test_a_level_twice_is_refused(self):
        series = from_frame(pa.table(long([1, 2])))
        with pytest.raises(InputError, match=r"quantile_levels\[1\]"):
            to_frame(series, echo_forecast(series.histories, 2, (0.5, 0.5)))

    @pytest.mark.parametrize("kind", MAKERS)
    def test_a_forecaster_takes_frames(self, kind):
        forecaster = random_forecaster()
        values = np.sin(np.arange(40.0))
        answer = forecaster.predict(MAKERS[kind](long(dates("2024-01-01", 40), values)), 5, LEVELS)
        expected = forecaster.predict(values, 5, LEVELS)
        np.testing.assert_array_equal(np.asarray(answer["mean"]), expected.mean[0])
        np.testing.assert_array_equal(np.asarray(answer["q0.9"]), expected.quantiles[0, :, 2])


FREQS = ("s", "15min", "h", "D", "2W", "B", "3B", "MS", "ME", "2ME", "QS", "QE", "YS", "YE")


class TestGrid:
    @given(
        freq=st.sampled_from(FREQS),
        start=st.integers(-(10**4), 2 * 10**4),
        rows=st.sets(st.integers(0, 60), min_size=2),
    )
    def test_places_undo_following(self, freq, start, rows):
        step = parse_freq(freq)
        times = following(int(following(start * DAY, step, 1)[0]), step, 61)
        kept = sorted(rows)
        np.testing.assert_array_equal(positions(times[kept], step), np.array(kept) - kept[0])

    @given(
        freq=st.sampled_from(("h", "D", "W", "B", "MS", "ME", "QE", "YS")),
        start=st.integers(0, 2 * 10**4),
        left_out=st.sets(st.integers(20, 58), max_size=8),
    )
    def test_the_step_is_found_in_spite_of_gaps(self, freq, start, left_out):
        step = parse_freq(freq)
        times = following(int(following(start * DAY, step, 1)[0]), step, 60)
        found = find_step(np.delete(times, sorted(left_out)))
        assert found is not None
        np.testing.assert_array_equal(
            following(int(times[-1]), found, 9), following(int(times[-1]), step, 9)
        )

    def test_two_days_of_one_month_are_no_months(self):
        times = [datetime.date(2024, 1, day) for day in (1, 29)]
        numbers = np.array([(day - EPOCH.date()).days * DAY for day in times])
        assert find_step(numbers).count == 28 * DAY

    def test_days_with_a_gap_are_days_as_long_as_no_weekend_is_crossed(self):
        monday = 4 * DAY
        found = find_step(np.array([0, 1, 3]) * DAY + monday)
        assert found == parse_freq("D")

    def test_one_time_off_the_grid_explains_nothing(self):
        assert find_step(np.array([0, 60, 120, 180, 210, 240]) * 10**6) is None
