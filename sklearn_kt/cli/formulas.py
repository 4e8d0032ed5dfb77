"""Formulas from arguments and tables, read and written as the options say."""

from __future__ import annotations

import argparse
import contextlib
import warnings
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sklearn_kt._cells import FORMULA_COLUMN, is_decimal_comma, is_empty
from sklearn_kt._files import replacing
from sklearn_kt.exceptions import CompositionError, CompositionWarning, InputError

from .console import tell

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from sklearn_kt.compositions import CompositionBatch
    from sklearn_kt.estimators.base import UnseenElements
    from sklearn_kt.tables import Batch, Table, TableWriter

__all__ = [
    "FormulaReader",
    "check_added",
    "extended",
    "formulas_among",
    "given_table",
    "read_formulas",
    "with_values",
    "write_rows",
]

# values of a column that tell whether it holds formulas
_LOOKED_AT = 100


class FormulaReader:
    """Reads the compositions of a table: a column of formulas, or one column per element."""

    def __init__(
        self, table: Table, args: argparse.Namespace, targets: Collection[str] = ()
    ) -> None:
        from sklearn_kt.tables import CompositionColumns

        self.name = table.name
        self.amounts = args.amounts
        self.remedy = getattr(args, "remedy", "")
        self.column, self.batches = _formula_column(table, args, targets)
        self._columns = CompositionColumns(
            table.schema, table.name, self.column, args.amounts, targets, args.decimal
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Columns that hold the compositions."""
        return self._columns.names

    def values(self, batch: Batch) -> list[Any]:
        """Take the compositions of some rows as they are in the table."""
        return self._columns.values(batch.table)

    def read(
        self, values: list[Any], place: Callable[[int], str], errors: str = "raise"
    ) -> CompositionBatch:
        """Read compositions; messages name the places in the file."""
        from sklearn_kt.compositions import read_rows

        batch, findings = read_rows(values, amounts=self.amounts or "atomic")
        if findings.rejected and errors == "raise":
            text = f"{self.name}, {findings.rejection(place)} {self.remedy}".rstrip()
            value = findings.rejected[0][1]
            if isinstance(value, dict) and any(map(is_decimal_comma, value.values())):
                text += " For a decimal comma say --decimal ,."
            raise InputError(text)
        findings.warn(lambda row: f"{self.name}, {place(row)}")
        return batch

    def check(self, errors: str) -> None:
        """Read the first rows: what is wrong with them is said before models are loaded."""
        first = next(self.batches, None)
        if first is None:
            return
        self.batches = chain([first], self.batches)
        with warnings.catch_warnings():
            # said again when they are predicted
            warnings.simplefilter("ignore", CompositionWarning)
            self.read(self.values(first), first.place, errors)

    def formulas(self, values: list[Any], batch: CompositionBatch) -> list[Any]:
        """Spell what was read as in the table, or in atoms what was read as something else."""
        return values if self.amounts is None else batch.formulas()


def _formula_column(
    table: Table, args: argparse.Namespace, targets: Collection[str]
) -> tuple[str, Iterator[Batch]]:
    """Find the column of formulas, and give the rows that looking at them took from the table.

    It is the one that was asked for, or "formula", or the only one that reads as formulas.
    """
    from sklearn_kt._formula import ELEMENTS
    from sklearn_kt._headers import reads_as_formula

    names = table.schema.names
    has_elements = args.amounts is not None and any(name in ELEMENTS for name in names)
    if args.formula_column is not None or FORMULA_COLUMN in names or has_elements:
        return args.formula_column or FORMULA_COLUMN, table.batches
    first = next(table.batches, None)
    if first is None:
        raise InputError(
            f"{table.name} has no column {FORMULA_COLUMN!r} and no rows, which would tell where"
            " formulas are: name their column by --formula-column."
        )
    found = [
        name
        for at, name in enumerate(names)
        if name not in targets and _are_formulas(first.values(at)[:_LOOKED_AT])
    ]
    if len(found) > 1:
        raise InputError(
            f"{table.name} has no column {FORMULA_COLUMN!r}, and {len(found)} of its columns read"
            f" as formulas ({', '.join(found)}): name one by --formula-column."
        )
    if found and table.header and reads_as_formula(found[0]):
        raise InputError(
            f"{table.name}, {table.header}: {found[0]!r} is a formula like those below it, and not"
            f" the name of a column. Put a header before it, in which the formulas are called"
            f" {FORMULA_COLUMN!r}; if it is the name, say --formula-column {found[0]}."
        )
    if found:
        tell("note", f"the formulas of {table.name} are read from its column {found[0]!r}.")
    elif not any(name in ELEMENTS for name in names):
        beside = f" beside {', '.join(targets)}" if targets else ""
        raise InputError(
            f"{table.name} has no column {FORMULA_COLUMN!r}, and none of its columns{beside} reads"
            f" as formulas ({', '.join(names)}): name it by --formula-column."
        )
    return found[0] if found else FORMULA_COLUMN, chain([first], table.batches)


def _are_formulas(values: list[Any]) -> bool:
    """Tell whether most values are formulas; the others are named when the table is read."""
    from sklearn_kt.compositions import read_rows

    given = [value for value in values if not is_empty(value)]
    return 2 * len(read_rows(given)[1].rejected) < len(given)


def formulas_among(data: list[str]) -> list[str] | None:
    """Return the arguments if they are formulas, None if they are one table."""
    from sklearn_kt.compositions import parse_formula
    from sklearn_kt.tables import STDIN, is_table_name

    tables = [text for text in data if text == STDIN or is_table_name(text)]
    if len(data) > 1:
        if tables:
            raise InputError(
                f"{tables[0]} is a table: name one table and nothing else, or formulas."
            )
        return data
    if tables:
        return None
    [text] = data
    if not text:
        raise InputError("'' is neither a table nor a formula: name one.")
    try:
        parse_formula(text)
    except CompositionError as error:
        if Path(text).exists():
            return None
        raise InputError(f"There is no file {text!r}, and it is no formula: {error}") from error
    return data


def read_formulas(formulas: list[str]) -> None:
    """Check formulas that were given as such."""
    from sklearn_kt.compositions import read_rows

    findings = read_rows(formulas)[1]
    if findings.rejected:
        raise InputError(findings.rejection(lambda row: f"formula {row + 1}"))


@contextlib.contextmanager
def given_table(args: argparse.Namespace) -> Iterator[Table]:
    """Open the table that was named, or one of the formulas that were."""
    from sklearn_kt._numbers import with_numbers
    from sklearn_kt.tables import formula_table, open_table

    formulas = formulas_among(args.data)
    if formulas is not None:
        yield formula_table(formulas, args.formula_column or FORMULA_COLUMN)
        return
    with open_table(args.data[0], args.batch_size) as table:
        yield with_numbers(table, _types_to_write(table, args), args.decimal)


def _types_to_write(table: Table, args: argparse.Namespace) -> dict[str, pa.DataType]:
    """Find the columns of a text file that are numbers in an output that has types."""
    from sklearn_kt._numbers import number_columns
    from sklearn_kt.tables import (
        STDIN,
        check_columns,
        has_types,
        readable_format,
        writable_format,
    )

    [source] = args.data
    if args.output is None or not has_types(writable_format(args.output)):
        return {}
    is_stream = source == STDIN or not Path(source).is_file()
    if not is_stream and not has_types(readable_format(source)):
        return number_columns(Path(source), args.decimal, [args.formula_column or FORMULA_COLUMN])
    check_columns(table.schema, writable_format(args.output))
    if is_stream and len(table.schema) > 1:
        tell(
            "note",
            f"all columns of {table.name} are text in {args.output}, as a stream is read once; of"
            " a file, numbers would be numbers.",
        )
    return {}


def with_values(table: Table, reader: FormulaReader, conditions: dict[str, list[Any]]) -> Table:
    """Add columns of conditions to a table: every row with every combination of their values.

    Its reader reads the new rows.
    """
    if not conditions:
        return table
    import numpy as np
    import pyarrow as pa

    from sklearn_kt.screening.conditions import grid_of
    from sklearn_kt.tables import Batch

    if clash := sorted({*conditions} & set(table.schema.names)):
        raise InputError(f"{table.name} has a column {clash[0]!r}: leave out --set {clash[0]}=…")
    grid = pa.Table.from_pandas(grid_of(conditions), preserve_index=False)
    grid = grid.replace_schema_metadata()

    def repeated(batches: Iterator[Batch]) -> Iterator[Batch]:
        for batch in batches:
            rows = np.repeat(np.arange(len(batch.table)), len(grid))
            wider = batch.table.take(rows)
            values = grid.take(np.tile(np.arange(len(grid)), len(batch.table)))
            for field in grid.schema:
                wider = wider.append_column(field, values.column(field.name))
            yield Batch(wider, batch.unit, [batch.numbers[row] for row in rows.tolist()])

    reader.batches = repeated(reader.batches)
    return replace(table, schema=pa.schema([*table.schema, *grid.schema]))


def check_added(table: Table, names: Collection[str]) -> None:
    """Refuse a table that has a column which is to be added."""
    if clash := [name for name in table.schema.names if name in names]:
        raise InputError(f"{table.name} already has a column {clash[0]!r}: rename it.")


def extended(
    table: Table,
    reader: FormulaReader,
    args: argparse.Namespace,
    added: pa.Schema,
    predict: Callable[[CompositionBatch, np.ndarray, pa.Table], dict[str, pa.Array]],
    unseen: UnseenElements | None = None,
) -> Iterator[pa.Table]:
    """Add columns to a table, batch by batch; rows that are no compositions have nulls there.

    Parameters
    ----------
    table : Table
        With columns of other names.
    reader : FormulaReader
        Of the table.
    args : argparse.Namespace
        With ``errors``.
    added : pyarrow.Schema
        Of the new columns.
    predict : callable
        Takes compositions, all valid, their formulas and their rows; returns the new columns.
    unseen : UnseenElements or None, default=None
        Counts the rows with elements that the model has not seen, which are told of at the end.

    Yields
    ------
    pyarrow.Table
        Rows of the table, in their order.
    """
    import numpy as np
    import pyarrow as pa

    check_added(table, added.names)
    schema = pa.schema([*table.schema.remove_metadata(), *added])
    rejected: list[str] = []
    # of no rows, too
    yield schema.empty_table()
    for batch in reader.batches:
        values = reader.values(batch)
        compositions = reader.read(values, batch.place, args.errors)
        if unseen is not None:
            unseen.add(compositions, batch.place)
        valid = compositions.valid
        rejected += [
            f"{batch.place(row)} ({values[row]!r})" for row in np.flatnonzero(~valid).tolist()
        ]
        text = np.array(reader.formulas(values, compositions), dtype=object)[valid]
        columns = [pa.nulls(len(valid), field.type) for field in added]
        if len(text):
            rows = np.flatnonzero(valid)
            found = predict(compositions[rows], text, batch.table.take(rows))
            # position of each row's prediction
            chosen = pa.array(np.cumsum(valid) - 1, mask=~valid)
            columns = [found[field.name].take(chosen).cast(field.type) for field in added]
        yield pa.Table.from_arrays([*batch.table.columns, *columns], schema=schema)
    if rejected:
        tell(
            "warning",
            f"{len(rejected)} rows of {table.name} are not compositions and have no prediction;"
            f" the first is {rejected[0]}.",
        )
    if unseen is not None:
        unseen.warn()


def write_rows(
    rows: Iterator[pa.Table], schema: pa.Schema, output: str | None, more: str = ""
) -> None:
    """Write a table part by part, and say how long it is, and more, unless it goes to stdout."""
    n_rows = 0
    if output is None:
        # what fails before the first row leaves nothing on stdout
        first = next(rows, None)
        rows = chain([] if first is None else [first], rows)
    with _table_writer(output, schema) as writer:
        for part in rows:
            writer.write_table(part)
            n_rows += len(part)
    if output is not None:
        tell("wrote", f"{output}: {n_rows:,} rows{more}")


@contextlib.contextmanager
def _table_writer(output: str | None, schema: pa.Schema) -> Iterator[TableWriter]:
    """Open the table to write: a file that appears when it is complete, or stdout."""
    from sklearn_kt.tables import open_writer, writable_format

    if output is None:
        with open_writer(None, ".csv", schema) as writer:
            yield writer
        return
    with (
        replacing(Path(output)) as path,
        open_writer(path, writable_format(output), schema) as writer,
    ):
        yield writer
