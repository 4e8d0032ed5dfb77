"""Columns of text files that hold numbers."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from sklearn_kt._numbers import as_numbers, number_columns, with_numbers
from sklearn_kt.exceptions import InputError
from sklearn_kt.tables import open_table

FLOAT = pa.float64()


def test_text_as_numbers(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n 1.5,x\n,y\n1e3,z\n")
    with open_table(tmp_path / "t.csv", 10) as table:
        [batch] = table.batches
    assert as_numbers(batch, {"a": FLOAT}, "t")["a"].to_pylist() == [1.5, None, 1000.0]
    (tmp_path / "g.csv").write_text("a;b\n1,5;x\n2;\n")
    with open_table(tmp_path / "g.csv", 10) as table:
        [german] = table.batches
    assert as_numbers(german, {"a": FLOAT}, "g", ",")["a"].to_pylist() == [1.5, 2.0]
    with pytest.raises(InputError, match="g, line 2: '1,5' in column 'a' is not a number"):
        as_numbers(german, {"a": FLOAT}, "g")
    with pytest.raises(InputError, match="t, line 2: 'x' in column 'b' is not a number"):
        as_numbers(batch, {"b": FLOAT}, "t")
    with pytest.raises(InputError, match="'c' is not among"):
        as_numbers(batch, {"c": FLOAT}, "t")


def test_columns_of_numbers_are_found(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(
        "formula,id,code,gap,count,long,huge,mixed,note,empty,twice,twice\n"
        "NaN,1,00123,0.0,1,123456789012345678,1234567890123456789,0.5,NA,,1,2\n"
        "KCl, 2 ,7,-1e-05,,1,1,1234567890123456,1,,1,2\n"
    )
    found = number_columns(path, ".")
    integers = dict.fromkeys(("id", "count", "long"), pa.int64())
    assert found == {**integers, "gap": FLOAT}
    assert "gap" not in number_columns(path, ".", without=["gap"])
    with open_table(path, 1) as text:
        table = with_numbers(text, found, ".")
        first, second = table.batches
    assert first.place(0) == "line 2"
    assert table.schema.equals(first.table.schema)
    assert first.table["long"].to_pylist() == [123456789012345678]
    assert second.table.select(["id", "code", "gap", "count"]).to_pylist() == [
        {"id": 2, "code": "7", "gap": -1e-05, "count": None}
    ]


def test_decimal_commas_of_columns(tmp_path: Path) -> None:
    path = tmp_path / "g.csv"
    path.write_text("a;b\n1,5;1.5\n2;2\n")
    assert number_columns(path, ",") == {"a": FLOAT}
    assert number_columns(path, ".") == {"b": FLOAT}
