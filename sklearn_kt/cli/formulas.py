"""Tables of formulas, read and written as the options say."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sklearn_kt._files import replacing
from sklearn_kt.exceptions import InputError

if TYPE_CHECKING:
    import pyarrow as pa

    from sklearn_kt.compositions import CompositionBatch
    from sklearn_kt.tables import Batch, Table, TableWriter

__all__ = ["FormulaReader", "table_writer"]


class FormulaReader:
    """Reads the compositions of a table: a column of formulas, or one column per element."""

    def __init__(self, table: Table, args: argparse.Namespace, target: str | None = None) -> None:
        from sklearn_kt.tables import CompositionColumns

        self.name = table.name
        self.amounts = args.amounts
        self._columns = CompositionColumns(
            table.schema, table.name, args.formula_column, args.amounts, target
        )

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
            raise InputError(f"{self.name}, {findings.rejection(place)}")
        findings.warn(lambda row: f"{self.name}, {place(row)}")
        return batch

    def formulas(self, values: list[Any], batch: CompositionBatch) -> list[Any]:
        """Spell what was read as in the table, or in atoms what was read as something else."""
        return values if self.amounts is None else batch.formulas()


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
