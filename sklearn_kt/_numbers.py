"""Columns of text files that hold numbers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from ._cells import as_number, is_empty, number_kind
from .exceptions import InputError
from .tables import Batch, Table, only_column, open_table

__all__ = ["as_numbers", "number_columns", "with_numbers"]

# rows that are looked at together
_ROWS = 10_000
# digits that a 64-bit integer always holds, and those that are exact as a floating-point number
_LONG, _EXACT = 18, 15


def number_columns(
    path: Path, decimal: str, without: Collection[str] = ()
) -> dict[str, pa.DataType]:
    """Find the columns of a text file that hold numbers and empty cells only.

    Parameters
    ----------
    path : Path
        A regular file, which is read to its end.
    decimal : str
        Mark before the decimals.
    without : collection of str, default=()
        Columns that are text, whatever they hold.

    Returns
    -------
    types : dict of str to pyarrow.DataType
        Of the columns whose numbers are all as programs write them: ``00123`` is text.
    """
    with open_table(path, _ROWS) as table:
        names = table.schema.names
        kinds: dict[str, set[str]] = {
            name: set() for name in names if names.count(name) == 1 and name not in without
        }
        for batch in table.batches:
            for name in [*kinds]:
                kinds[name] |= {
                    _kind(cell, decimal)
                    for cell in batch.values(names.index(name))
                    if not is_empty(cell)
                }
                if "text" in kinds[name]:
                    del kinds[name]
    found = {}
    for name, kind in kinds.items():
        if kind and kind <= {"int", "long"}:
            found[name] = pa.int64()
        elif kind and kind <= {"int", "float"}:
            found[name] = pa.float64()
    return found


def _kind(cell: str, decimal: str) -> str:
    kind = number_kind(cell, decimal)
    if kind != "int" or len(cell.strip()) <= _EXACT:
        return kind or "text"
    return "long" if len(cell.strip()) <= _LONG else "text"


def with_numbers(table: Table, types: Mapping[str, pa.DataType], decimal: str) -> Table:
    """Read columns of a table of text as numbers; empty cells become null."""
    empty = Batch(table.schema.empty_table(), "", [])
    batches = (
        replace(batch, table=as_numbers(batch, types, table.name, decimal))
        for batch in table.batches
    )
    schema = as_numbers(empty, types, table.name, decimal).schema
    return replace(table, schema=schema, batches=batches)


def as_numbers(
    batch: Batch, types: Mapping[str, pa.DataType], name: str, decimal: str = "."
) -> pa.Table:
    """Read columns of text as numbers of a type; empty cells become null.

    `name` is that of the table, for messages, and `decimal` the mark before decimals.
    """
    table = batch.table
    for column, kind in types.items():
        at = only_column(table.schema, column, name)
        if not pa.types.is_string(table.schema.field(at).type):
            continue
        numbers: list[float | None] = []
        for row, value in enumerate(table.column(at).to_pylist()):
            number = None if is_empty(value) else as_number(value, decimal)
            if number is None and not is_empty(value):
                raise InputError(
                    f"{name}, {batch.place(row)}: {value.strip()!r} in column {column!r} is not a"
                    " number. Correct or empty such cells."
                )
            # not by way of a float, which does not hold large integers
            numbers.append(number if number is None or kind != pa.int64() else int(value))
        table = table.set_column(at, column, pa.array(numbers, kind))
    return table
