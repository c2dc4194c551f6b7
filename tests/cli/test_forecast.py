"""Files in, forecasts out."""

import csv
import io
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from xlstmd.cli import forecast as command

LONG = """unique_id,ds,y
pump-7,2024-01-03,3.5
pump-7,2024-01-01,1
pump-8,2024-01-01,10
pump-7,2024-01-02,
pump-8,2024-01-03,NaN
pump-8,2024-01-02,20
"""


@pytest.fixture
def long_csv(tmp_path):
    """Gives a file of two series."""
    path = tmp_path / "long.csv"
    path.write_text(LONG)
    return path


def read(text):
    return list(csv.DictReader(io.StringIO(text)))


class TestOutput:
    def test_csv_has_one_row_a_point_in_the_order_of_time(self, cli, long_csv, tmp_path):
        out = tmp_path / "out.csv"
        ended = cli("forecast", long_csv, "--horizon", 2, "--quantiles", "0.1,0.5", "--output", out)
        assert (ended.code, ended.out, ended.err) == (0, "", "")
        assert out.read_text() == (
            "unique_id,ds,mean,q0.1,q0.5\n"
            "pump-7,2024-01-04,3.75,2.7,3.5\n"
            "pump-7,2024-01-05,3.75,2.7,3.5\n"
            "pump-8,2024-01-04,20.25,19.2,20\n"
            "pump-8,2024-01-05,20.25,19.2,20\n"
        )

    def test_dash_is_stdout(self, cli, long_csv):
        ended = cli("forecast", long_csv, "--horizon", 1, "--output", "-")
        rows = read(ended.out)
        assert [row["unique_id"] for row in rows] == ["pump-7", "pump-8"]
        assert list(rows[0])[3:] == [f"q0.{level}" for level in range(1, 10)]

    def test_parquet_keeps_types(self, cli, tmp_path):
        times = pa.array(np.arange(3) * 3_600_000, pa.timestamp("ms", "Europe/Berlin"))
        table = pa.table({"unique_id": pa.array([5, 5, 5]), "ds": times, "y": [1.0, 2.0, 3.0]})
        parquet.write_table(table, tmp_path / "in.parquet")
        ended = cli(
            "forecast", tmp_path / "in.parquet", "--horizon", 2, "--output", tmp_path / "out.pq"
        )
        assert ended.code == 0
        answer = parquet.read_table(tmp_path / "out.pq")
        assert answer.schema.field("unique_id").type == pa.int64()
        assert answer.schema.field("ds").type == times.type
        hours = answer["ds"].cast(pa.int64()).to_numpy() / 3_600_000
        np.testing.assert_array_equal(hours, [3, 4])

    def test_the_output_can_be_the_input(self, cli, long_csv, tmp_path):
        out = tmp_path / "out.csv"
        cli("forecast", long_csv, "--horizon", 3, "--output", out)
        ended = cli("forecast", out, "--horizon", 1, "--column", "mean", "--output", "-")
        assert [row["ds"] for row in read(ended.out)] == ["2024-01-07", "2024-01-07"]

    def test_numbers_come_back_exactly(self, cli, tmp_path):
        value = math.pi * 1e-7
        (tmp_path / "x.csv").write_text(f"{value!r}\n")
        ended = cli("forecast", tmp_path / "x.csv", "--horizon", 1, "--output", "-")
        assert float(read(ended.out)[0]["q0.5"]) == value

    def test_times_are_written_without_empty_digits(self, cli, tmp_path):
        (tmp_path / "x.csv").write_text(
            "unique_id,ds,y\na,2024-01-01T00:00:00Z,1\na,2024-01-01T06:00:00Z,2\n"
        )
        ended = cli("forecast", tmp_path / "x.csv", "--horizon", 1, "--output", "-")
        assert read(ended.out)[0]["ds"] == "2024-01-01 12:00:00Z"

    def test_ids_with_commas_and_quotes_survive(self, cli, tmp_path):
        (tmp_path / "x.csv").write_text('unique_id,ds,y\n"a, ""b""",1,1\n"a, ""b""",2,1\n')
        ended = cli("forecast", tmp_path / "x.csv", "--horizon", 1, "--output", "-")
        assert read(ended.out)[0]["unique_id"] == 'a, "b"'

    def test_a_folder_that_does_not_exist_is_4(self, cli, long_csv, tmp_path):
        out = tmp_path / "none" / "out.csv"
        assert cli("forecast", long_csv, "--horizon", 1, "--output", out).code == 4


class TestTerminal:
    def test_a_table_and_a_chart_are_printed(self, cli, long_csv):
        ended = cli("forecast", long_csv, "--horizon", 4, "--quantiles", "0.1,0.5,0.9")
        assert ended.code == 0
        for expected in ("pump-7, forecast by echo@1", "pump-8", "2024-01-07", "q0.9", "20.25"):
            assert expected in ended.out
        assert "pump-7: history, median, and quantiles 0.1 and 0.9" in ended.out
        assert "\x1b" not in ended.out

    def test_much_is_cut_short(self, cli, tmp_path):
        rows = "".join(f"s{index},{step},1\n" for index in range(9) for step in range(3))
        (tmp_path / "x.csv").write_text(f"unique_id,ds,y\n{rows}")
        ended = cli("forecast", tmp_path / "x.csv", "--horizon", 50)
        assert "6 more series; --output writes them all" in ended.out
        assert "38 more steps" in ended.out
        assert "s3," not in ended.out

    def test_ids_are_no_markup(self, cli, tmp_path):
        (tmp_path / "x.csv").write_text("unique_id,ds,y\n[red]x[/],1,1\n[red]x[/],2,1\n")
        assert "[red]x[/], forecast" in cli("forecast", tmp_path / "x.csv", "--horizon", 1).out

    def test_a_history_that_ends_missing_is_drawn(self, cli, tmp_path):
        (tmp_path / "x.csv").write_text("1\n" + "\n" * 300)
        assert cli("forecast", tmp_path / "x.csv", "--horizon", 3).code == 0


class TestPicture:
    @pytest.mark.parametrize(
        ("name", "head"), [("a.png", b"\x89PNG"), ("a.svg", b"<?xml"), ("a.pdf", b"%PDF")]
    )
    def test_a_picture_is_drawn(self, cli, long_csv, tmp_path, name, head):
        picture = tmp_path / name
        ended = cli("forecast", long_csv, "--horizon", 3, "--plot", picture, "--output", "-")
        assert ended.code == 0
        assert picture.read_bytes().startswith(head)

    @pytest.mark.parametrize("levels", ["0.5", "0.9,0.1", "0.2,0.7,0.4,0.9"])
    def test_any_levels_can_be_drawn(self, cli, long_csv, tmp_path, levels):
        picture = tmp_path / "a.png"
        ended = cli("forecast", long_csv, "--horizon", 3, "--quantiles", levels, "--plot", picture)
        assert ended.code == 0


class TestModel:
    def test_the_model_is_loaded_by_name_or_path(self, cli, echo, long_csv):
        cli("forecast", long_csv, "--horizon", 1, "--model", "./mine", "--output", "-")
        cli("forecast", long_csv, "--horizon", 1, "--output", "-")
        assert echo.asked_for == ["./mine", None]

    def test_bad_input_is_found_before_a_model_is_loaded(self, cli, echo, tmp_path):
        (tmp_path / "x.csv").write_text("unique_id,ds,y\na,1,x\n")
        assert cli("forecast", tmp_path / "x.csv", "--horizon", 1).code == 3
        assert echo.asked_for == []

    def test_thousands_of_series_go_in_batches(self, cli, echo, tmp_path):
        rows = "".join(f"s{index},{step},{index}\n" for index in range(2_000) for step in (1, 2))
        (tmp_path / "x.csv").write_text(f"unique_id,ds,y\n{rows}")
        ended = cli("forecast", tmp_path / "x.csv", "--horizon", 2, "--output", "-")
        answer = read(ended.out)
        assert [float(row["q0.5"]) for row in answer[::2]] == list(range(2_000))
        assert max(call[0] for call in echo.calls) <= command.SERIES_A_CALL
        assert "2000/2000" in ended.err

    def test_freq_and_horizon_reach_the_series(self, cli, echo, tmp_path):
        (tmp_path / "x.csv").write_text("unique_id,ds,y\na,2024-01-31,1\n")
        ended = cli("forecast", tmp_path / "x.csv", "--horizon", 2, "--freq", "ME", "--output", "-")
        assert [row["ds"] for row in read(ended.out)] == ["2024-02-29", "2024-03-31"]
        assert echo.calls == [(1, 2, (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9))]
