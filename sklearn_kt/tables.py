"""Tables in files: one reader and one writer for all commands.

The ending of a name tells the format, in upper or lower case. Every column is kept as it is:
text files hold text, in which ``00123``, ``NA`` and the formula ``NaN`` stay what they are, and
the other formats bring their types. A table is read in batches, however long it is, and every
row has a place (a line, a row) that messages name.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import math
import sys
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from difflib import get_close_matches
from itertools import chain
from pathlib import Path
from typing import Any, Protocol, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from ._cells import FORMULA_COLUMN, as_number, is_empty, without_unit
from ._formula import ELEMENTS
from ._headers import begins_with_data, check_separated, delimiter_of
from .exceptions import InputError

__all__ = [
    "STDIN",
    "Batch",
    "CompositionColumns",
    "Table",
    "TableWriter",
    "arrow_errors",
    "check_columns",
    "did_you_mean",
    "formula_table",
    "has_types",
    "is_table_name",
    "only_column",
    "open_table",
    "open_writer",
    "readable_format",
    "writable_format",
]

# what names stdin
STDIN = "-"
_TEXT = (".csv", ".tsv", ".jsonl")
# .txt is CSV
_FORMATS = (*_TEXT, *(f"{ending}.gz" for ending in _TEXT), ".txt", ".parquet", ".xlsx")
# characters of a record: more is no table, and would fill the memory
_MAX_RECORD = 2**22
# bytes that a workbook may unpack to; all of it is held in memory
_MAX_WORKBOOK = 2**29
# rows of a sheet, with the header's
_MAX_SHEET = 2**20
# integers up to here are exact as floating-point numbers
_MAX_EXACT = 2**53
_READ_ERRORS = (csv.Error, EOFError, OSError, zlib.error, ValueError, RecursionError)


@dataclass(frozen=True)
class Batch:
    """Some rows of a table.

    Parameters
    ----------
    table : pyarrow.Table
        The rows.
    unit : str
        What a place is called: line or row.
    numbers : sequence of int
        Number of each row's place.
    """

    table: pa.Table
    unit: str
    numbers: Sequence[int]

    def place(self, row: int) -> str:
        """Name the place of a row, for messages."""
        return f"{self.unit} {self.numbers[row]}"

    def values(self, at: int) -> list[Any]:
        """Return a column as Python objects."""
        return self.table.column(at).to_pylist()


@dataclass(frozen=True)
class Table:
    """A table that is read batch by batch.

    Parameters
    ----------
    name : str
        For messages.
    schema : pyarrow.Schema
        Names and types of the columns.
    batches : iterator of Batch
        The rows, once.
    total : callable
        Given the rows read so far, how many there are in all, as far as is known.
    header : str, default=""
        Place of the row that names the columns, of a format that has no other names.
    """

    name: str
    schema: pa.Schema
    batches: Iterator[Batch]
    total: Callable[[int], int | None]
    header: str = ""

    def column(self, name: str) -> int:
        """Position of a column that must be there once."""
        return only_column(self.schema, name, self.name)


class CompositionColumns:
    """Where the compositions of a table stand: a column of formulas, or a column per element.

    Parameters
    ----------
    schema : pyarrow.Schema
        Names of the columns.
    table : str
        What messages call the table.
    formula_column : str
        Column of formulas.
    amounts : {"atomic", "weight"} or None
        What amounts count; None where nobody said it, which allows formulas only.
    targets : collection of str, default=()
        Columns that are none of them, whatever their names.
    decimal : str, default="."
        Mark before the decimals of amounts in columns of elements.

    Attributes
    ----------
    names : tuple of str
        The column of formulas, or those of elements.

    Raises
    ------
    InputError
        If there are none, or two of one name.
    """

    def __init__(
        self,
        schema: pa.Schema,
        table: str,
        formula_column: str,
        amounts: str | None,
        targets: Collection[str] = (),
        decimal: str = ".",
    ) -> None:
        elements = [name for name in schema.names if name in ELEMENTS and name not in targets]
        self.decimal = decimal
        self.are_elements = formula_column not in schema.names and bool(elements)
        if self.are_elements and amounts is None:
            raise InputError(
                f"Column {formula_column!r} is not among the columns of {table}:"
                f" {', '.join(schema.names)}. To read the columns that are named by elements, say"
                " what they count: amounts='atomic' or amounts='weight' (--amounts atomic or"
                " --amounts weight)."
            )
        self.names = tuple(elements) if self.are_elements else (formula_column,)
        for name in self.names:
            only_column(schema, name, table)

    def values(self, table: pa.Table) -> list[Any]:
        """Take the compositions of some rows as they are in the table."""
        columns = [table.column(name).to_pylist() for name in self.names]
        if not self.are_elements:
            return columns[0]
        amounts = [[_amount(value, self.decimal) for value in column] for column in columns]
        return [dict(zip(self.names, row, strict=True)) for row in zip(*amounts, strict=True)]


def _amount(value: Any, decimal: str) -> Any:
    """Read the text of an amount; what is no number is left for the gate to name."""
    if isinstance(value, str):
        if is_empty(value):
            return None
        number = as_number(value, decimal)
        return value if number is None else number
    return value


def only_column(schema: pa.Schema, name: str, table: str) -> int:
    """Tell the position of a column that must be there once."""
    count = schema.names.count(name)
    if count == 1:
        return schema.names.index(name)
    found = f"occurs {count} times in" if count else "is not among the columns of"
    near = did_you_mean(name, schema.names)
    raise InputError(f"Column {name!r} {found} {table}: {', '.join(schema.names)}.{near}")


def did_you_mean(name: str, names: Iterable[str], spell: Callable[[str], str] = repr) -> str:
    """Ask, to end a message, whether a name like this was meant.

    Letters are of any case, and units in brackets need not be there.
    """
    known = [other for other in names if other != name]
    folded = {without_unit(other).casefold(): other for other in known}
    folded |= {other.casefold(): other for other in known}
    asked = name.casefold()
    near = get_close_matches(asked, folded, n=1) or [n for n in folded if n.startswith(asked)]
    return f" Did you mean {spell(folded[near[0]])}?" if near else ""


class TableWriter(Protocol):
    """Writes rows to an open file."""

    def write_table(self, table: pa.Table) -> None:
        """Append rows."""


def readable_format(path: str | Path) -> str:
    """Tell the format of a file to read by its name, with ``.gz`` where it is compressed.

    A name without an ending, as of a pipe, is CSV.
    """
    return _format(Path(path), "read")


def is_table_name(name: str) -> bool:
    """Tell whether a text ends as the name of a table that can be read does."""
    return name.lower().endswith(_FORMATS)


def writable_format(path: str | Path) -> str:
    """Tell the format of a file to write, as :func:`readable_format` does."""
    found = _format(Path(path), "written")
    if found == ".xlsx":
        # known now, not after hours of predictions
        _openpyxl(Path(path), "writing")
    return found


def has_types(kind: str) -> bool:
    """Tell whether a format brings the types of its columns; the others hold text."""
    return not kind.startswith((".csv", ".tsv"))


def _format(path: Path, done: str) -> str:
    endings = [suffix.lower() for suffix in path.suffixes]
    if not endings:
        return ".csv"
    ending = "".join(endings[-2:]) if endings[-1] == ".gz" else endings[-1]
    if ending not in _FORMATS:
        raise InputError(
            f"{path}: tables cannot be {done} as {ending}. The formats are {', '.join(_FORMATS)}."
        )
    return ".csv" if ending == ".txt" else ending


def formula_table(formulas: Sequence[str], column: str) -> Table:
    """Make a table of formulas.

    Parameters
    ----------
    formulas : sequence of str
        One a row.
    column : str
        Name of their column.

    Returns
    -------
    table : Table
        Its places are the numbers of the formulas, from 1.
    """
    rows = pa.table({column: pa.array(formulas, pa.string())})
    numbers = range(1, len(formulas) + 1)
    batches = iter([Batch(rows, "formula", numbers)])
    return Table("the command line", rows.schema, batches, lambda _: len(formulas))


@contextlib.contextmanager
def open_table(source: str | Path, batch_rows: int) -> Iterator[Table]:
    """Open a table to read: a file in one of the formats, or CSV from stdin, named ``"-"``.

    Its errors are :class:`~sklearn_kt.exceptions.InputError` or :class:`OSError`.
    """
    if str(source) == STDIN:
        if sys.stdin is None:
            raise InputError("stdin is closed: name a file, or redirect one to it.")
        yield _delimited(sys.stdin, "stdin", batch_rows, None, lambda done: None)
        return
    path = Path(source)
    kind = readable_format(path)
    if has_types(kind) and path.exists() and not path.is_file():
        raise InputError(
            f"{path} is no regular file, and {kind} is not read in one go: write it to a file"
            " first. CSV can be a stream."
        )
    if kind == ".parquet":
        with arrow_errors(str(path)), pq.ParquetFile(path) as file:
            rows = file.metadata.num_rows
            yield Table(
                str(path), file.schema_arrow, _parquet_batches(file, batch_rows), lambda _: rows
            )
    elif kind == ".xlsx":
        yield _workbook(path, batch_rows)
    else:
        with path.open("rb") as raw, _text(raw, kind) as text:
            total = _estimate(path, raw)
            if kind.startswith(".jsonl"):
                with path.open("rb") as again, _text(again, kind) as first_pass:
                    columns = _columns(_json_records(first_pass, str(path)))
                records = _json_records(text, str(path))
                yield _typed(str(path), columns, records, "line", batch_rows, total)
            else:
                delimiter = "\t" if kind.startswith(".tsv") else None
                yield _delimited(text, str(path), batch_rows, delimiter, total)


@contextlib.contextmanager
def arrow_errors(name: str) -> Iterator[None]:
    """Turn pyarrow's errors about a file into ours; full disks and missing files stay OSErrors."""
    try:
        yield
    except pa.ArrowException as error:
        if isinstance(error, OSError):
            raise
        raise InputError(f"{name} is not a parquet file that can be read: {error}.") from error


def _parquet_batches(file: pq.ParquetFile, batch_rows: int) -> Iterator[Batch]:
    start = 0
    for rows in file.iter_batches(batch_size=batch_rows):
        yield Batch(pa.Table.from_batches([rows]), "row", range(start, start + len(rows)))
        start += len(rows)


def _text(raw: Any, kind: str) -> TextIO:
    stream = gzip.GzipFile(fileobj=raw) if kind.endswith(".gz") else raw
    return io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")


def _estimate(path: Path, raw: Any) -> Callable[[int], int | None]:
    """Estimate rows from the share of the bytes that was read."""
    size = path.stat().st_size

    def total(done: int) -> int | None:
        if raw.closed:
            return done
        read = raw.tell() if path.is_file() else 0
        return round(done * size / read) if read else None

    return total


class _Lines:
    """Lines of a text, none of which is longer than a record may be."""

    def __init__(self, file: TextIO, name: str) -> None:
        self.file = file
        self.name = name
        self.number = 0
        self.taken = 0

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        try:
            line = self.file.readline(_MAX_RECORD + 1)
        except UnicodeDecodeError as error:
            raise InputError(
                f"{self.name} is not UTF-8 text (line {self.number + 1} or a later one: {error})."
                " Save it as CSV in UTF-8; tables of other formats are told by their ending:"
                f" {', '.join(_FORMATS)}."
            ) from error
        if not line:
            raise StopIteration
        self.number += 1
        # a quoted field may go on for many lines
        self.taken += len(line)
        if self.taken > _MAX_RECORD:
            raise InputError(
                f"{self.name} has more than {_MAX_RECORD:,} characters in one record, up to line"
                f" {self.number}: it is no table, or a quote is not closed."
            )
        return line


def _delimited(
    file: TextIO,
    name: str,
    batch_rows: int,
    delimiter: str | None,
    total: Callable[[int], int | None],
) -> Table:
    records = _delimited_records(file, name, delimiter)
    first = next(records, None)
    if first is None:
        raise InputError(f"{name} is empty: a header line with column names is needed.")
    # stdin may begin with a mark of its encoding, too
    header = [column.removeprefix("\ufeff") for column in first[1]]
    place = f"line {first[0]}"
    if len(header) == 1:
        second = next(records, None)
        records = chain([] if second is None else [second], records)
        cells = header[0], None if second is None else second[1][0]
        check_separated(name, place, *cells)
        if begins_with_data(name, place, *cells):
            records = chain([(first[0], header)], records)
            header, place = [FORMULA_COLUMN], ""
    schema = pa.schema([pa.field(column, pa.string()) for column in header])

    def checked() -> Iterator[tuple[int, list[Any]]]:
        for line, record in records:
            if len(record) != len(header):
                raise InputError(
                    f"{name}, line {line}: {len(record)} fields where the header has {len(header)}."
                )
            yield line, record

    batches = _batches(checked(), schema, name, "line", batch_rows)
    return Table(name, schema, batches, total, place)


def _delimited_records(
    file: TextIO, name: str, delimiter: str | None
) -> Iterator[tuple[int, list[str]]]:
    """Yield records with the line they begin on; only blank lines at the end are left out."""
    lines = _Lines(file, name)
    line, blank = 1, None
    try:
        first = next(lines, None)
        if first is None:
            return
        reader = csv.reader(
            chain([first], lines), delimiter=delimiter or delimiter_of(first), strict=True
        )
        for record in reader:
            if not record:
                blank = blank or line
            elif blank is not None:
                raise InputError(f"{name}, line {blank} is blank, but rows follow.")
            else:
                yield line, record
            line, lines.taken = reader.line_num + 1, 0
    except InputError:
        raise
    except _READ_ERRORS as error:
        raise InputError(f"{name} cannot be read from line {line} on: {error}.") from error


def _json_records(file: TextIO, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the objects of a file with one on each line."""
    lines = _Lines(file, name)
    try:
        for line in lines:
            lines.taken = 0
            if not line.strip():
                continue
            record = json.loads(line, object_pairs_hook=_distinct)
            if not isinstance(record, dict):
                raise InputError(
                    f"{name}, line {lines.number}: an object is needed, as in"
                    ' {"formula": "NaCl"}.'
                )
            yield lines.number, record
    except InputError:
        raise
    except _READ_ERRORS as error:
        raise InputError(f"{name} cannot be read, line {lines.number or 1}: {error}.") from error


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    # half of a character, which no table can hold, raises a ValueError
    "".join(found).encode()
    if len(found) < len(pairs):
        raise ValueError(f"a key is given twice in an object with {', '.join(found)}")
    return found


def _openpyxl(path: Path, doing: str) -> Any:
    try:
        import openpyxl
    except ImportError as error:
        raise InputError(
            f"{path}: {doing} .xlsx needs openpyxl: pip install 'sklearn_kt[excel]'; or take CSV in"
            " UTF-8."
        ) from error
    return openpyxl


def _workbook(path: Path, batch_rows: int) -> Table:
    openpyxl = _openpyxl(path, "reading")
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(part.file_size for part in archive.infolist())
        if size > _MAX_WORKBOOK:
            raise InputError(f"{path} unpacks to {size:,} bytes: save the table as CSV in UTF-8.")
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        with contextlib.closing(book):
            if len(book.worksheets) != 1:
                raise InputError(
                    f"{path} has {len(book.worksheets)} sheets ({', '.join(book.sheetnames)}): save"
                    " the one to read as a workbook of its own, or as CSV in UTF-8."
                )
            rows = [list(row) for row in book.worksheets[0].iter_rows(values_only=True)]
    except InputError:
        raise
    except FileNotFoundError:
        raise
    # a damaged workbook raises whatever openpyxl stumbles over
    except Exception as error:
        raise InputError(f"{path} is not an .xlsx file that can be read: {error}.") from error
    while rows and all(value is None for value in rows[-1]):
        rows.pop()
    if not rows:
        raise InputError(f"{path} is empty: a header row with column names is needed.")
    width = max(at + 1 for row in rows for at, value in enumerate(row) if value is not None)
    header = [_as_text(value) if value is not None else "" for value in rows[0][:width]]
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise InputError(
            f"{path}: {header.count(repeated[0])} columns are named {repeated[0]!r} in the first"
            " row; give each a name of its own."
        )
    # rows of a sheet count from 1, the header's
    first, place = 2, "row 1"
    if len(header) == 1:
        second = None if len(rows) < 2 or rows[1][0] is None else _as_text(rows[1][0])
        if begins_with_data(str(path), place, header[0], second):
            header, first, place = [FORMULA_COLUMN], 1, ""
    records = [
        (number, dict(zip(header, row, strict=False)))
        for number, row in enumerate(rows[first - 1 :], first)
    ]
    columns = _columns(records) or dict.fromkeys(header, pa.string())
    table = _typed(str(path), columns, iter(records), "row", batch_rows, lambda _: len(records))
    return replace(table, header=place)


def _columns(records: Iterable[tuple[int, dict[str, Any]]]) -> dict[str, pa.DataType]:
    """Find the type of each column from all of its values; what is mixed is text."""
    kinds: dict[str, set[str]] = {}
    for _, record in records:
        for name, value in record.items():
            found = kinds.setdefault(name, set())
            if value is not None:
                found.add(_kind(value))
    return {name: _type(found) for name, found in kinds.items()}


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return "int" if abs(value) <= _MAX_EXACT else "long"
    if isinstance(value, float):
        return "float"
    return "time" if isinstance(value, datetime) else "text"


def _type(kinds: set[str]) -> pa.DataType:
    if not kinds:
        return pa.string()
    for some, type_ in (
        ({"bool"}, pa.bool_()),
        ({"int", "long"}, pa.int64()),
        ({"int", "float"}, pa.float64()),
        ({"time"}, pa.timestamp("us")),
    ):
        if kinds <= some:
            return type_
    return pa.string()


def _as_text(value: Any) -> str:
    """Write a value of a column that is not of one type; what JSON has, as JSON."""
    return json.dumps(value) if isinstance(value, bool | int | float | list | dict) else str(value)


def _typed(
    name: str,
    columns: dict[str, pa.DataType],
    records: Iterator[tuple[int, dict[str, Any]]],
    unit: str,
    batch_rows: int,
    total: Callable[[int], int | None],
) -> Table:
    """Make a table of records whose columns are known; what a record lacks is null."""
    if not columns:
        raise InputError(f"{name} is empty: rows with named columns are needed.")
    schema = pa.schema(list(columns.items()))
    texts = {column for column, type_ in columns.items() if type_ == pa.string()}

    def rows() -> Iterator[tuple[int, list[Any]]]:
        for number, record in records:
            row = [record.get(column) for column in columns]
            for at, column in enumerate(columns):
                if column in texts and row[at] is not None:
                    row[at] = _as_text(row[at])
            yield number, row

    return Table(name, schema, _batches(rows(), schema, name, unit, batch_rows), total)


def _batches(
    rows: Iterator[tuple[int, list[Any]]],
    schema: pa.Schema,
    name: str,
    unit: str,
    batch_rows: int,
) -> Iterator[Batch]:
    held: list[list[Any]] = []
    numbers: list[int] = []

    def batch() -> Batch:
        columns = zip(*held, strict=True)
        try:
            arrays = [
                pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)
            ]
        except (pa.ArrowException, ValueError) as error:
            raise InputError(
                f"{name} cannot be read, {unit} {numbers[0]} to {numbers[-1]}: {error}."
            ) from error
        return Batch(pa.Table.from_arrays(arrays, schema=schema), unit, numbers)

    for number, row in rows:
        held.append(row)
        numbers.append(number)
        if len(held) == batch_rows:
            yield batch()
            held, numbers = [], []
    if held:
        yield batch()


@contextlib.contextmanager
def open_writer(path: Path | None, kind: str, schema: pa.Schema) -> Iterator[TableWriter]:
    """Open a table to write, in a format of :func:`writable_format`, whatever the file's name.

    None is stdout.
    """
    check_columns(schema, kind)
    if path is None:
        yield _DelimitedWriter(sys.stdout, ",", schema)
    elif kind == ".parquet":
        with pq.ParquetWriter(path, schema) as writer:
            yield writer
    elif kind == ".xlsx":
        workbook = _WorkbookWriter(path, schema)
        with contextlib.closing(workbook.sheet):
            yield workbook
        workbook.save()
    else:
        with path.open("wb") as raw, contextlib.ExitStack() as stack:
            # no time and no name, so that equal tables are equal files
            stream: Any = (
                stack.enter_context(gzip.GzipFile("", "wb", fileobj=raw, mtime=0))
                if kind.endswith(".gz")
                else raw
            )
            text = stack.enter_context(io.TextIOWrapper(stream, encoding="utf-8", newline=""))
            if kind.startswith(".jsonl"):
                yield _JsonWriter(text)
            else:
                yield _DelimitedWriter(text, "\t" if kind.startswith(".tsv") else ",", schema)


def check_columns(schema: pa.Schema, kind: str) -> None:
    """Refuse repeated columns where a format cannot hold them."""
    if has_types(kind):
        for name in schema.names:
            if schema.names.count(name) > 1:
                raise InputError(
                    f"Column {name!r} occurs {schema.names.count(name)} times, which {kind} cannot"
                    " hold: rename one."
                )


class _DelimitedWriter:
    """Lines of fields."""

    def __init__(self, file: TextIO, delimiter: str, schema: pa.Schema) -> None:
        self.writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
        self.writer.writerow(schema.names)

    def write_table(self, table: pa.Table) -> None:
        """Append rows."""
        # Python's numbers, which csv writes in full precision
        columns = [column.to_pylist() for column in table.columns]
        self.writer.writerows(zip(*columns, strict=True))


class _WorkbookWriter:
    """Rows of the one sheet of a workbook."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path = path
        self.book = _openpyxl(path, "writing").Workbook(write_only=True)
        self.sheet = self.book.create_sheet()
        self.sheet.append(schema.names)
        self.rows = 1

    def write_table(self, table: pa.Table) -> None:
        """Append rows."""
        from openpyxl.utils.exceptions import IllegalCharacterError

        self.rows += len(table)
        if self.rows > _MAX_SHEET:
            raise InputError(
                f"a sheet of .xlsx holds {_MAX_SHEET:,} rows, and there are more: write .csv or"
                " .parquet."
            )
        for row in zip(*(column.to_pylist() for column in table.columns), strict=True):
            # a sheet knows no NaN and no infinity
            known = [
                None if isinstance(value, float) and not math.isfinite(value) else value
                for value in row
            ]
            try:
                self.sheet.append(known)
            except (IllegalCharacterError, TypeError, ValueError) as error:
                raise InputError(
                    f"{row} cannot be a row of a sheet ({error}): write .csv or .parquet."
                ) from error

    def save(self) -> None:
        """Write the file."""
        with self.path.open("wb") as file:
            self.book.save(file)


class _JsonWriter:
    """One object a line."""

    def __init__(self, file: TextIO) -> None:
        self.file = file

    def write_table(self, table: pa.Table) -> None:
        """Append rows."""
        for row in table.to_pylist():
            # JSON knows no NaN
            known = {
                name: None if isinstance(value, float) and math.isnan(value) else value
                for name, value in row.items()
            }
            try:
                line = json.dumps(known, ensure_ascii=False, allow_nan=False, default=str)
            except ValueError as error:
                raise InputError(
                    f"{known} cannot be a line of JSON ({error}): write .csv or .parquet."
                ) from error
            self.file.write(f"{line}\n")
