"""``sklearn-kt inspect``: a table before anything is fitted to it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sklearn_kt.exceptions import InputError

from .checks import check_output
from .console import printable, tell
from .formulas import FormulaReader
from .options import BATCH_ROWS, FORMATS, add_columns, add_conditions
from .problem import target_names, units_of


def add_parser(commands: Any) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "inspect",
        help="look at a table before fitting: repeats, elements, target, bad rows",
        description="Look at a table before anything is fitted to it, and print what was found:"
        " rows that are no compositions, formulas that may mean something else, repeats whose"
        " targets disagree, elements with few rows, the spread of the target, columns that look"
        " like conditions, and what pretraining has seen.",
        examples=(
            "inspect gaps.csv --target gap",
            "inspect measured.csv --target S,zT --conditions temperature --output look.html",
        ),
    )
    parser.add_argument("data", metavar="DATA", help=f"table: {FORMATS}, or - (CSV from stdin)")
    add_columns(parser)
    add_conditions(parser)
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="page to write, too, with pictures: .html"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    if args.output is not None:
        if Path(args.output).suffix.lower() not in (".html", ".htm"):
            raise InputError(f"{args.output}: what was found is written as a page: name it .html.")
        check_output(args.output, args.data)

    import pyarrow as pa

    from sklearn_kt.tables import open_table

    compositions: list[Any] = []
    batches: list[pa.Table] = []
    places: list[str] = []
    with open_table(args.data, BATCH_ROWS) as table:
        targets = [] if args.target is None else target_names(args.target, table)
        for name in (*targets, *(args.conditions or ())):
            table.column(name)
        reader = FormulaReader(table, args, targets)
        for batch in reader.batches:
            compositions += reader.values(batch)
            batches.append(batch.table)
            places += map(batch.place, range(len(batch.table)))
    if not batches:
        raise InputError(f"{table.name} has a header but no rows.")
    beside = pa.concat_tables(batches)
    beside = beside.select([name for name in beside.schema.names if name not in reader.names])

    from sklearn_kt.evaluation import inspect_table

    frame = beside.to_pandas()
    frame.index = places
    frame.insert(0, reader.column, compositions)
    found = inspect_table(
        frame,
        targets,
        composition_column=reader.column,
        conditions=args.conditions or (),
        units=units_of(targets, args.unit),
        task=args.task,
        amounts=args.amounts or "atomic",
        decimal=args.decimal,
        name=printable(table.name),
    )
    print(*map(printable, str(found).split("\n")), sep="\n")
    if args.output is not None:
        found.write_html(args.output, command=args.command_line)
        tell("wrote", args.output)
