"""Tables: every format brings every value through, and what cannot be read says why."""

from __future__ import annotations

import csv
import gzip
import io
import os
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sklearn_kt import tables
from sklearn_kt.exceptions import InputError
from sklearn_kt.tables import (
    _delimited,
    open_table,
    open_writer,
    readable_format,
    writable_format,
)

ROWS = [
    {"formula": "NaN", "id": "00123", "note": "NA"},
    {"formula": "NaCl", "id": "7", "note": "true"},
    {"formula": "Fe₂O₃", "id": "", "note": 'a,b;"c"\td\n1e5'},
]


def read(path: Path, batch_rows: int = 2) -> tuple[pa.Schema, list[dict], list[str]]:
    rows, places = [], []
    with open_table(path, batch_rows) as table:
        for batch in table.batches:
            assert batch.table.schema.names == table.schema.names
            assert 0 < len(batch.table) <= batch_rows
            rows += batch.table.to_pylist()
            places += [batch.place(row) for row in range(len(batch.table))]
    return table.schema, rows, places


def workbook(path: Path, *rows: Any, **sheets: Any) -> Path:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    for name in sheets:
        book.create_sheet(name)
    book.save(path)
    return path


@pytest.mark.parametrize("name", ["a.csv", "A.CSV", "a.tsv", "a.csv.gz", "a.jsonl", "A.Jsonl.GZ"])
def test_text_stays_what_it_is(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    table = pa.Table.from_pylist(ROWS)
    with open_writer(path, writable_format(path), table.schema) as writer:
        writer.write_table(table[:1])
        writer.write_table(table[1:])
    schema, rows, places = read(path)
    assert rows == ROWS
    assert schema == table.schema
    assert places == ["line 1", "line 2", "line 3"] if "json" in name.lower() else places[0][-1]
    again = tmp_path / f"again-{name}"
    with open_writer(again, writable_format(path), table.schema) as writer:
        writer.write_table(table)
    assert again.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("name", ["a.parquet", "A.PARQUET"])
def test_types_of_parquet(name: str, tmp_path: Path) -> None:
    table = pa.table(
        {
            "formula": pa.array(["NaN", "NaCl", None]).dictionary_encode(),
            "id": pa.array([2**60, 1, None]),
            "day": [datetime(2020, 1, 1), None, datetime(1990, 1, 1)],
        }
    )
    with open_writer(tmp_path / name, writable_format(name), table.schema) as writer:
        writer.write_table(table)
    schema, rows, places = read(tmp_path / name)
    assert schema == table.schema
    assert rows == table.to_pylist()
    assert places == ["row 0", "row 1", "row 2"]


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("formula;gap", "Fe;8,5"),
        ("formula\tgap", "Fe\t8,5"),
        ('formula;"gap, eV"', "Fe;8,5"),
        ('formula,"a;b;c;d"', 'Fe,"8,5"'),
        ('"for;mula",gap', 'Fe,"8,5"'),
    ],
)
def test_semicolons_and_tabs(header: str, row: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(f"{header}\n{row}\n")
    _, rows, places = read(tmp_path / "t.csv")
    assert [[*row.values()] for row in rows] == [["Fe", "8,5"]]
    assert places == ["line 2"]


def test_types_of_json_come_from_all_lines(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(
        '{"formula": "NaN", "a": 1, "b": 1, "c": true, "d": 1, "e": 9007199254740993}\n\n'
        '{"formula": "NA", "a": 2.5, "b": "x", "c": null, "e": 0.5, "f": {"g": [1]}}\n'
    )
    schema, rows, places = read(path, 1)
    assert [str(type_) for type_ in schema.types] == [
        "string", "double", "string", "bool", "int64", "string", "string"
    ]  # fmt: skip
    assert [row["formula"] for row in rows] == ["NaN", "NA"]
    assert [row["b"] for row in rows] == ["1", "x"]
    assert [row["d"] for row in rows] == [1, None]
    # a floating-point number would lose its last digit
    assert rows[0]["e"] == "9007199254740993"
    assert rows[1]["f"] == '{"g": [1]}'
    assert places == ["line 1", "line 3"]


def test_workbooks(tmp_path: Path) -> None:
    day = datetime(2020, 1, 1)
    path = workbook(
        tmp_path / "t.XLSX",
        ["formula", "gap", "id", "day", "mixed"],
        ["NaN", 0.5, "00123", day, "NA"],
        ["CO", 5, "7", None, 1.5],
        [None, None, None, None, None],
    )
    schema, rows, places = read(path)
    assert schema.names == ["formula", "gap", "id", "day", "mixed"]
    assert [[*row.values()] for row in rows] == [
        ["NaN", 0.5, "00123", day, "NA"],
        ["CO", 5.0, "7", None, "1.5"],
    ]
    assert places == ["row 2", "row 3"]
    # as pandas writes its index
    path = workbook(tmp_path / "index.xlsx", [None, "formula"], [0, "CO"])
    assert read(path)[1] == [{"": 0, "formula": "CO"}]


def test_workbooks_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bad.xlsx").write_bytes(b"PK no workbook")
    cases = {
        tmp_path / "bad.xlsx": "is not an .xlsx file",
        workbook(tmp_path / "two.xlsx", ["formula"], ["Fe"], other=1): "2 sheets .Sheet, other.",
        workbook(tmp_path / "empty.xlsx"): "is empty",
        workbook(tmp_path / "twice.xlsx", ["a", "a"], [1, 2]): "2 columns are named 'a'",
    }
    for path, message in cases.items():
        with pytest.raises(InputError, match=message):
            read(path)
    monkeypatch.setattr(tables, "_MAX_WORKBOOK", 100)
    with pytest.raises(InputError, match="unpacks to"):
        read(tmp_path / "two.xlsx")
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(InputError, match=r"pip install 'sklearn_kt\[excel\]'"):
        read(tmp_path / "two.xlsx")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", "a,b\n1\n", "line 2: 1 fields where the header has 2"),
        ("t.csv", b"\xff\xfef\0o\0", "is not UTF-8 text"),
        ("t.csv", gzip.compress(b"a\n1\n"), "is not UTF-8 text"),
        ("t.csv", "a\n" + "b" * 200_000, "cannot be read from line 2"),
        ("t.jsonl", '{"a": 1}\n[1]\n', "line 2: an object is needed"),
        ("t.jsonl", '{"a": 1}\n{"a": 1, "a": 2}\n', "line 2: a key is given twice"),
        ("t.jsonl", '{"a": 1', "cannot be read, line 1"),
        ("t.jsonl", '{"a": 1}\n{"\\ud800": 1}\n', "cannot be read, line 2"),
        ("t.jsonl", "[" * 100_000, "cannot be read, line 1"),
        ("t.jsonl", "", "is empty"),
        ("t.parquet", b"PAR1", "is not a parquet file"),
        ("t.xls", b"", r"cannot be read as \.xls\. The formats are .*\.xlsx"),
        ("t.json", b"[]", r"cannot be read as \.json"),
    ],
)
def test_what_cannot_be_read(name: str, content: Any, message: str, tmp_path: Path) -> None:
    content = content if isinstance(content, bytes) else content.encode()
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read(tmp_path / name)


class Endless:
    """A text that never ends, and counts what is taken of it."""

    def __init__(self, start: str, then: str) -> None:
        self.start, self.then, self.taken = start, then, 0

    def readline(self, limit: int) -> str:
        text, self.start = (self.start or self.then * (limit // len(self.then)))[:limit], ""
        self.taken += len(text)
        return text


@pytest.mark.parametrize("then", ["x", "x,", '","\n'])
def test_a_record_without_end_is_not_read_into_memory(then: str) -> None:
    file: Any = Endless('formula\n"', then)
    file.start = "formula\n"
    with pytest.raises(InputError, match=r"more than 4,194,304 characters in one record|field"):
        for _ in _delimited(file, "stdin", 10, None, lambda _: None).batches:
            pass
    assert file.taken < 2 * tables._MAX_RECORD


def test_endings_of_what_is_written() -> None:
    assert writable_format("a.b.Parquet") == ".parquet"
    assert writable_format("/dev/null") == readable_format("pipe") == ".csv"
    for name in ("o.xls", "o.feather", "o.parquet.gz", "o.gz"):
        with pytest.raises(InputError, match="tables cannot be written as"):
            writable_format(name)


def test_what_a_format_cannot_hold(tmp_path: Path) -> None:
    schema = pa.schema([("a", pa.float64()), ("a", pa.float64())])
    for kind in (".parquet", ".jsonl"):
        with (
            pytest.raises(InputError, match="'a' occurs 2 times"),
            open_writer(tmp_path / "o", kind, schema),
        ):
            pass
    with (
        pytest.raises(InputError, match=r"write \.csv or \.parquet"),
        open_writer(tmp_path / "o", ".jsonl", schema.remove(0)) as writer,
    ):
        writer.write_table(pa.table({"a": [float("nan"), float("inf")]}))


def test_a_workbook_reads_as_it_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = pa.table(
        {"formula": ["NaN", "CO", None], "x": [1.5, float("nan"), None], "n": [2, None, 3]}
    )
    with open_writer(tmp_path / "o.xlsx", ".xlsx", rows.schema) as writer:
        writer.write_table(rows.slice(0, 1))
        writer.write_table(rows.slice(1))
    with open_table(tmp_path / "o.xlsx", 10) as table:
        [batch] = table.batches
    assert batch.table.to_pydict() == {**rows.to_pydict(), "x": [1.5, None, None]}
    schema = pa.schema([("a", pa.string())])
    with (
        pytest.raises(InputError, match="cannot be a row of a sheet"),
        open_writer(tmp_path / "p.xlsx", ".xlsx", schema) as writer,
    ):
        writer.write_table(pa.table({"a": ["\x00"]}))
    monkeypatch.setattr(tables, "_MAX_SHEET", 3)
    with (
        pytest.raises(InputError, match="holds 3 rows"),
        open_writer(tmp_path / "p.xlsx", ".xlsx", rows.schema) as writer,
    ):
        writer.write_table(rows)


def test_a_column_of_a_name_like_it_is_proposed(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("Formula,band_gap,price\nMgO,1,2\n")
    with open_table(tmp_path / "t.csv", 10) as table:
        for name, meant in (("formula", "Formula"), ("bandgap", "band_gap"), ("PRICE", "price")):
            with pytest.raises(InputError, match=rf"'{name}' is not .* Did you mean '{meant}'\?"):
                table.column(name)
        with pytest.raises(InputError, match=r"price\.$"):
            table.column("strength")


FIELDS = st.text(st.characters(codec="utf-8"), max_size=8)


@given(st.lists(st.tuples(FIELDS, FIELDS), min_size=1, max_size=5), st.sampled_from(",;\t"))
def test_any_text_survives(rows: list[tuple[str, str]], delimiter: str) -> None:
    def lines() -> Iterator[tuple[str, str]]:
        yield "formula", "x"
        yield from rows

    buffer = io.StringIO()
    csv.writer(buffer, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows(lines())
    table = _delimited(io.StringIO(buffer.getvalue(), newline=""), "t", 2, None, lambda _: None)
    found = [tuple(row.values()) for batch in table.batches for row in batch.table.to_pylist()]
    assert found == rows


@pytest.mark.parametrize("ending", ["jsonl", "parquet", "xlsx"])
def test_streams_of_what_is_read_twice_are_refused(ending: str, tmp_path: Path) -> None:
    # it would wait for a second writer, for ever
    os.mkfifo(tmp_path / f"pipe.{ending}")
    with (
        pytest.raises(InputError, match="no regular file"),
        tables.open_table(tmp_path / f"pipe.{ending}", 10),
    ):
        pass
