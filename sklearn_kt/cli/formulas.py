"""Tables of formulas, read and written as the options say."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sklearn_kt._files import replacing
from sklearn_kt.exceptions import InputError

from .cells import as_number

if TYPE_CHECKING:
    import pyarrow as pa

    from sklearn_kt.compositions import CompositionBatch
    from sklearn_kt.tables import Batch, Table, TableWriter

__all__ = ["checked", "checked_formulas", "composition_reader", "table_writer", "texts"]


def composition_reader(
    table: Table, args: argparse.Namespace, target: str | None = None
) -> Callable[[Batch], list[Any]]:
    """Tell how the compositions of a table are read: a column of formulas, or one per element."""
    from sklearn_kt.compositions import ELEMENTS

    names = table.schema.names
    elements = [name for name in names if name in ELEMENTS and name != target]
    if args.formula_column in names or not elements:
        at = table.column(args.formula_column)
        return lambda batch: batch.values(at)
    if args.amounts is None:
        raise InputError(
            f"Column {args.formula_column!r} is not among the columns of {table.name}:"
            f" {', '.join(names)}. To read the columns that are named by elements, say --amounts"
            " atomic or --amounts weight."
        )
    columns = {name: table.column(name) for name in elements}

    def rows(batch: Batch) -> list[Any]:
        values = [map(_amount, batch.values(at)) for at in columns.values()]
        return [dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True)]

    return rows


def _amount(value: Any) -> Any:
    """Read the text of an amount; what is no number is left for the gate to name."""
    if isinstance(value, str):
        if not value.strip():
            return None
        number = as_number(value, ".")
        return value if number is None else number
    return value


def checked_formulas(
    values: list[Any], place: Callable[[int], str], name: str, args: argparse.Namespace
) -> list[Any]:
    """Formulas of rows all of which are compositions."""
    return texts(values, checked(values, place, name, args, "raise"), args)


def texts(values: list[Any], batch: CompositionBatch, args: argparse.Namespace) -> list[Any]:
    """Formulas as they are in the table; other compositions are written in atoms."""
    return values if args.amounts is None else batch.formulas()


def checked(
    values: list[Any],
    place: Callable[[int], str],
    name: str,
    args: argparse.Namespace,
    errors: str,
) -> CompositionBatch:
    """Read compositions; messages name the places in the file."""
    from sklearn_kt.compositions import read_rows

    batch, findings = read_rows(values, amounts=args.amounts or "atomic")
    if findings.rejected and errors == "raise":
        raise InputError(f"{name}, {findings.rejection(place)}")
    findings.warn(lambda row: f"{name}, {place(row)}")
    return batch


@contextlib.contextmanager
def table_writer(output: str | None, schema: pa.Schema) -> Iterator[TableWriter]:
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
