"""What files are understood, and what is said of the others."""

import io

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from xlstmd.cli import tables
from xlstmd.cli.tables import read_series
from xlstmd.errors import InputError
from xlstmd.models.frames import from_frame


@pytest.fixture
def file(tmp_path):
    """Gives a function that writes a file and gives its path."""

    def write(content, name="x.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


def refused(*arguments):
    with pytest.raises(InputError) as caught:
        read_series(*arguments)
    return caught.value


class TestSingleColumn:
    @pytest.mark.parametrize(
        "text", ["load\n1\n2\n\n4\n", "load\r\n1\r\n2\r\n\r\n4\r\n", "load\n1\n2\nNaN\n4"]
    )
    def test_a_header_is_the_id(self, file, text):
        table = read_series(file(text))
        assert table["unique_id"].to_pylist() == ["load"] * 4
        assert table["ds"].to_pylist() == [0, 1, 2, 3]
        history = from_frame(table).histories[0]
        assert [value if value == value else None for value in history] == [1, 2, None, 4]

    @pytest.mark.parametrize("text", ["1\n2\n3\n", "1\n2\n3", "\ufeff1\n2\n3\n"])
    def test_a_header_may_be_absent(self, file, text):
        table = read_series(file(text))
        assert table["unique_id"].to_pylist() == ["y"] * 3
        assert [float(value) for value in table["y"].to_pylist()] == [1.0, 2.0, 3.0]

    def test_one_of_several_can_be_taken(self, file):
        table = read_series(file("time,load,price\n08:00,1,9\n09:00,2,8\n"), "price")
        assert table["unique_id"].to_pylist() == ["price", "price"]
        assert table["y"].to_pylist() == ["9", "8"]

    def test_parquet_may_have_one_column(self, tmp_path):
        parquet.write_table(pa.table({"load": [1.0, None]}), tmp_path / "x.parquet")
        assert read_series(str(tmp_path / "x.parquet"))["y"].to_pylist() == [1.0, None]


class TestLongForm:
    def test_ids_stay_text(self, file):
        table = read_series(file("unique_id,ds,y\n007,1,1\nNA,1,2\n"))
        assert from_frame(table).ids.to_pylist() == ["007", "NA"]

    def test_other_columns_and_orders_do_not_matter(self, file):
        table = read_series(file("y,site,ds,unique_id\n5,x,1,a\n6,x,2,a\n"))
        assert table.column_names == ["unique_id", "ds", "y"]
        assert table["y"].to_pylist() == ["5", "6"]

    def test_the_values_may_have_another_name(self, file):
        table = read_series(file("unique_id,ds,load\na,1,5\n"), "load")
        assert table.column_names == ["unique_id", "ds", "y"]

    @pytest.mark.parametrize("mark", [";", "\t"])
    def test_other_delimiters_are_seen(self, file, mark):
        table = read_series(file(f"unique_id{mark}ds{mark}y\na{mark}1{mark}5\n"))
        assert table["y"].to_pylist() == ["5"]

    def test_quotes_and_empty_lines_are_read(self, file):
        table = read_series(file('"unique_id","ds","y"\n\n"a, b","1","5"\n\n'))
        assert table.to_pylist() == [{"unique_id": "a, b", "ds": "1", "y": "5"}]

    def test_stdin_is_read(self, monkeypatch):
        stdin = io.TextIOWrapper(io.BytesIO(b"unique_id,ds,y\na,1,5\n"))
        monkeypatch.setattr(tables.sys, "stdin", stdin)
        assert read_series("-")["y"].to_pylist() == ["5"]


class TestRefusals:
    @pytest.mark.parametrize("content", ["", "\n", "  \n\n"])
    def test_empty_files(self, file, content):
        assert refused(file(content)).code == "empty"

    def test_a_header_alone(self, file):
        with pytest.raises(InputError) as caught:
            from_frame(read_series(file("unique_id,ds,y\n")))
        assert caught.value.code == "empty"

    def test_rows_of_other_lengths(self, file):
        error = refused(file("unique_id,ds,y\na,1,5\na,2\n"))
        assert error.field == "input"
        assert "Row #3" in error.got

    def test_bytes_that_are_no_text(self, file):
        assert refused(file(b"unique_id,ds,y\n\xff\xfe,1,2\n")).code == "undecodable"
        assert refused(file(b"\xff\xfe1\n2\n")).code == "undecodable"

    def test_a_file_that_is_no_parquet(self, file):
        error = refused(file("unique_id,ds,y\n", "x.parquet"))
        assert (error.field, error.expected) == ("input", "a parquet file")

    @pytest.mark.parametrize("name", ["none.csv", "none.parquet"])
    def test_a_file_that_is_not_there(self, name):
        error = refused(name)
        assert error.code == "not_found"
        assert name in error.got

    def test_a_folder(self, tmp_path):
        assert refused(str(tmp_path)).field == "input"

    def test_other_columns(self, file):
        error = refused(file("time,load\n1,2\n"))
        assert error.field == "input.columns"
        assert error.got == "time, load"
        assert "--column" in error.expected

    def test_a_column_that_is_not_there(self, file):
        error = refused(file("time,load\n1,2\n"), "price")
        assert error.expected == "price once"

    def test_values_under_another_name(self, file):
        assert "--column" in refused(file("unique_id,ds,load\na,1,5\n")).expected
