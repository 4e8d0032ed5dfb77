"""Where formulas come from: files of tables, and iterables, cut into tasks.

A task is the unit of work that is kept when a run stops: so many rows, of a parquet file within one
row group.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sklearn_kt._numbers import number_columns, with_numbers
from sklearn_kt.exceptions import InputError
from sklearn_kt.tables import (
    STDIN,
    CompositionColumns,
    arrow_errors,
    has_types,
    only_column,
    open_table,
    readable_format,
)

__all__ = ["Source", "Task", "open_source", "source_files"]

# A row group is cut into at most so many tasks: each has to unpack what lies before it.
_TASKS_OF_A_GROUP = 256


@dataclass(frozen=True)
class Task:
    """Some rows of a source.

    Parameters
    ----------
    index : int
        Position among the tasks of the source.
    place : str
        What a message calls it.
    first_row : int
        Position, in the file or iterable, of the row that it begins with.
    unit : str
        What a place in a message is called: line or row.
    numbers : sequence of int
        Number of each row's place, as in messages of all commands.
    columns : tuple of str
        To read.
    path : str or None
        Parquet file to read; whoever runs the task reads it.
    row_group : int
        Of that file.
    offset : int
        Rows of that group that come before.
    table : pyarrow.Table or None
        The rows themselves, if there is no parquet file.
    """

    index: int
    place: str
    first_row: int
    unit: str
    numbers: Sequence[int]
    columns: tuple[str, ...]
    path: str | None = None
    row_group: int = 0
    offset: int = 0
    table: pa.Table | None = None

    @property
    def rows(self) -> int:
        """How many it has."""
        return len(self.numbers)

    def place_of(self, row: int) -> str:
        """Name the place of a row, for messages."""
        return f"{self.place}, {self.unit} {self.numbers[row]}"

    def tables(self, batch_rows: int) -> Iterator[pa.Table]:
        """Yield the rows, so many at a time."""
        if self.table is not None:
            for start in range(0, len(self.table), batch_rows):
                yield self.table.slice(start, batch_rows)
            return
        before, left = self.offset, self.rows
        with arrow_errors(str(self.path)), pq.ParquetFile(self.path) as file:
            for batch in file.iter_batches(
                batch_rows, row_groups=[self.row_group], columns=list(self.columns)
            ):
                wanted = batch.slice(before, left)
                before, left = max(before - len(batch), 0), left - len(wanted)
                if len(wanted):
                    yield pa.Table.from_batches([wanted])
                if not left:
                    return

    def digest(self, compositions: CompositionColumns) -> str:
        """Tell these rows from others, if they are at hand; a file is known by its content."""
        if self.table is None:
            return ""
        text = json.dumps(compositions.values(self.table), default=str)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


@dataclass(frozen=True)
class Source:
    """A source that is cut into tasks.

    Parameters
    ----------
    schema : pyarrow.Schema
        Of the tables that its tasks give.
    compositions : CompositionColumns
        Where compositions stand in them.
    identity : list of dict
        What a run that goes on compares beside the content of files.
    tasks : callable
        Returns an iterator over the tasks, the same at every call.
    rows : callable
        Given the rows read so far, how many there are in all, as far as is known.
    files : tuple of Path
        What it is read from.
    """

    schema: pa.Schema
    compositions: CompositionColumns
    identity: list[dict[str, Any]]
    tasks: Callable[[], Iterator[Task]] = field(repr=False)
    rows: Callable[[int], int | None] = field(repr=False)
    files: tuple[Path, ...] = ()


def open_source(
    source: Any,
    formula_column: str,
    amounts: str | None,
    columns: list[str] | None,
    numbers: list[str],
    task_rows: int,
    decimal: str = ".",
    *,
    compared: Collection[str] = (),
    texts: Collection[str] = (),
    typed: bool = False,
) -> Source:
    """Open a source.

    Parameters
    ----------
    source : str, Path or iterable of formulas
        A table (:mod:`sklearn_kt.tables`), a folder of parquet files, or formulas.
    formula_column : str
        Column of the formulas.
    amounts : {"atomic", "weight"} or None
        What amounts count, also those in columns of elements where there are no formulas.
    columns : list of str or None
        Columns to keep beside the compositions; None keeps all.
    numbers : list of str
        Columns of text to read as numbers.
    task_rows : int
        Rows of a task; of a large row group, a multiple of it.
    decimal : str, default="."
        Mark before the decimals of numbers in text.
    compared : collection of str, default=()
        Columns that a filter or rank needs as numbers: of a text file they are read as such.
    texts : collection of str, default=()
        Columns that a filter compares with text.
    typed : bool, default=False
        Read all columns of a text file that hold numbers, and no text of a filter, as numbers.

    Returns
    -------
    Source
        Its files are opened again for each task.

    Raises
    ------
    InputError
        If it cannot be read or lacks a column.
    """
    if not isinstance(source, str | Path):
        if columns or numbers:
            raise InputError(
                "an iterable of formulas has no other columns: leave columns and numbers out."
            )
        if hasattr(source, "columns"):
            raise InputError(
                "source is a table, which is not read by rows: pass its column of formulas, or "
                "write it to a file, whose other columns can be conditions, filters and ranks."
            )
        if not isinstance(source, Iterable):
            raise InputError(
                f"source must be a path or an iterable of formulas, got {type(source).__name__}."
            )
        return _iterable_source(source, formula_column, task_rows)
    path = Path(source)
    paths = source_files(path)
    if readable_format(paths[0]) != ".parquet":
        types = dict.fromkeys(numbers, pa.float64())
        if not has_types(readable_format(path)):
            types |= dict.fromkeys(compared, pa.float64())
            if typed:
                types |= number_columns(path, decimal, [formula_column, *texts])
        return _table_source(
            path, formula_column, amounts, columns, numbers, types, task_rows, decimal
        )
    if numbers:
        raise InputError(f"the columns of {path} have types already: leave numbers out.")
    return _parquet_source(paths, formula_column, amounts, columns, task_rows)


def source_files(source: str | Path) -> list[Path]:
    """Find the files of a source, which must be there and can be read more than once.

    Parameters
    ----------
    source : str or Path
        As of :func:`open_source`.

    Returns
    -------
    paths : list of Path
        One, or those of a folder.

    Raises
    ------
    InputError
        If there is none, or it is a stream.
    """
    if str(source) == STDIN:
        raise InputError(
            "a source is read more than once, and stdin can be read once: write it to a file first."
        )
    path = Path(source)
    paths = [path]
    if path.is_dir():
        paths = sorted(file for file in path.iterdir() if file.suffix.lower() == ".parquet")
    if not paths:
        raise InputError(f"The folder {path} holds no .parquet files.")
    for file in paths:
        if not file.exists():
            raise InputError(f"There is no file {file}.")
        if not file.is_file():
            raise InputError(
                f"{file} is no regular file, and a source is read more than once: write it to a"
                " file first."
            )
    return paths


def _wanted(
    schema: pa.Schema, name: str, compositions: CompositionColumns, columns: list[str] | None
) -> list[str]:
    """Columns to read, in the order of the file."""
    kept = schema.names if columns is None else [*compositions.names, *columns]
    for column in kept:
        only_column(schema, column, name)
    return [name for name in schema.names if name in kept]


def _parquet_source(
    paths: list[Path],
    formula_column: str,
    amounts: str | None,
    columns: list[str] | None,
    task_rows: int,
) -> Source:
    tasks: list[Task] = []
    identity = []
    schema = None
    for path in paths:
        with arrow_errors(str(path)), pq.ParquetFile(path) as file:
            found = file.schema_arrow
            compositions = CompositionColumns(found, str(path), formula_column, amounts)
            wanted = _wanted(found, str(path), compositions, columns)
            kept = pa.schema([found.field(name) for name in wanted])
            sizes = [
                file.metadata.row_group(group).num_rows
                for group in range(file.metadata.num_row_groups)
            ]
        if schema is not None and not kept.equals(schema):
            raise InputError(f"{path} has other columns, or of other types, than {paths[0]}.")
        schema = kept
        identity.append({"file": path.name, "row_groups": sizes})
        first = 0
        for group, rows in enumerate(sizes):
            step = task_rows * max(math.ceil(rows / _TASKS_OF_A_GROUP / task_rows), 1)
            tasks += [
                Task(
                    index=len(tasks) + number,
                    place=str(path),
                    first_row=first + offset,
                    unit="row",
                    numbers=range(first + offset, first + min(offset + step, rows)),
                    columns=tuple(wanted),
                    path=str(path.resolve()),
                    row_group=group,
                    offset=offset,
                )
                for number, offset in enumerate(range(0, rows, step))
            ]
            first += rows
    total = sum(task.rows for task in tasks)
    assert schema is not None
    return Source(
        schema, compositions, identity, lambda: iter(tasks), lambda _: total, tuple(paths)
    )


def _table_source(
    path: Path,
    formula_column: str,
    amounts: str | None,
    columns: list[str] | None,
    numbers: list[str],
    types: dict[str, pa.DataType],
    task_rows: int,
    decimal: str,
) -> Source:
    with open_table(path, task_rows) as table:
        compositions = CompositionColumns(
            table.schema, str(path), formula_column, amounts, decimal=decimal
        )
        wanted = _wanted(table.schema, str(path), compositions, columns)
        for name in numbers:
            only_column(table.schema, name, str(path))
        kept = {name: kind for name, kind in types.items() if name in wanted}
        schema = with_numbers(table, kept, decimal).schema
    totals: list[Callable[[int], int | None]] = [table.total]

    def tasks() -> Iterator[Task]:
        with open_table(path, task_rows) as table:
            totals[0] = table.total
            batches = with_numbers(table, kept, decimal).batches
            for index, batch in enumerate(batches):
                yield Task(
                    index,
                    str(path),
                    index * task_rows,
                    batch.unit,
                    batch.numbers,
                    tuple(wanted),
                    table=batch.table.select(wanted),
                )

    identity = [{"file": path.name, "task_rows": task_rows}]
    return Source(
        pa.schema([schema.field(name) for name in wanted]),
        compositions,
        identity,
        tasks,
        lambda done: totals[0](done),
        (path,),
    )


def _iterable_source(formulas: Iterable[Any], formula_column: str, task_rows: int) -> Source:
    schema = pa.schema([(formula_column, pa.string())])
    known = len(formulas) if isinstance(formulas, Sized) else None

    def tasks() -> Iterator[Task]:
        iterator = iter(formulas)
        for index in count():
            part = list(islice(iterator, task_rows))
            if not part:
                return
            try:
                rows = pa.table({formula_column: pa.array(part, pa.string())})
            except (pa.ArrowException, UnicodeError) as error:
                raise InputError(f"source does not yield formulas as text: {error}") from error
            first = index * task_rows
            numbers = range(first, first + len(rows))
            yield Task(index, "source", first, "row", numbers, (formula_column,), table=rows)

    identity = [{"formulas": known, "task_rows": task_rows}]
    return Source(
        schema,
        CompositionColumns(schema, "source", formula_column, None),
        identity,
        tasks,
        lambda _: known,
    )
