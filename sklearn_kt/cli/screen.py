"""``sklearn-kt screen``: a table of any length through a model, the best of it kept."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from sklearn_kt.exceptions import InputError

from .checks import check_conditions, check_filter, check_new, check_table_output, is_classifier
from .console import tell
from .formulas import FormulaReader
from .options import (
    FORMATS,
    add_batch_size,
    add_compositions,
    add_errors,
    add_model,
    add_properties,
    add_quiet,
    add_set,
    load_model,
    model_targets,
    positive,
    property_names,
    set_conditions,
    spell_units,
)

_BATCH_ROWS = 8_192


def add_parser(commands: Any) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "screen",
        help="predict for a table of any length and keep the best",
        description="Stream a table through a saved model into another table, with filters or"
        " ranking. A run that was stopped goes on when it is started again.",
        examples=(
            "screen gap.model millions.parquet --top-k 1000 -o best.csv",
            "screen gap.model new.csv --properties 'energy above hull'"
            " --where 'prediction_gap > 1 and energy_above_hull < 0.05' -o good.csv",
        ),
    )
    add_model(parser)
    parser.add_argument(
        "source", metavar="SOURCE", help=f"table: {FORMATS}, or a folder of .parquet"
    )
    parser.add_argument(
        "--columns", metavar="A,B,...", help="columns of SOURCE to keep (default: all)"
    )
    add_properties(parser)
    parser.add_argument(
        "--where",
        metavar="FILTER",
        help="rows to keep, as in 'prediction_gap > 1.5 and energy_above_hull < 0.05'; names with"
        ' blanks or signs are written col("prediction_gap (eV)")',
    )
    parser.add_argument(
        "--top-k", type=positive, metavar="K", help="keep the K rows of the highest --sort-by"
    )
    parser.add_argument(
        "--sort-by",
        metavar="COLUMN",
        help="column that ranks (default: the prediction, of the first of several targets)",
    )
    parser.add_argument("--ascending", action="store_true", help="rank the lowest first")
    parser.add_argument(
        "--no-std", action="store_true", help="no standard deviations, which take time"
    )
    parser.add_argument(
        "--keep-duplicates",
        action="store_true",
        help="keep rows of a composition that was there before (LiFePO4, Li2Fe2P2O8)",
    )
    add_set(parser)
    add_errors(parser)
    add_batch_size(parser, _BATCH_ROWS)
    parser.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="Dask cluster to predict on, as in tcp://host:8786 (needs the extra 'distributed')",
    )
    parser.add_argument(
        "--bfloat16",
        action="store_true",
        help="run the encoder with 8 bits of precision, faster on processors made for it",
    )
    add_quiet(parser)
    add_compositions(parser)
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="FILE",
        help="file to write: .parquet, .csv, .tsv, .jsonl, .txt or .xlsx",
    )
    parser.set_defaults(run=run, interrupted="the same command goes on")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    check_table_output(args.output, args.model, args.source)

    from sklearn_kt.persistence import describe_model

    check_new(args.output)
    about = describe_model(args.model)["about"]
    targets = model_targets(about)
    # what is wrong with the columns is said before the seconds that libraries take
    formula_column = _formula_column(args, about)
    model = load_model(args)

    from sklearn_kt.export import reduce_precision
    from sklearn_kt.screening import screen

    if args.bfloat16:
        model = reduce_precision(model)
    with _cluster(args.scheduler) as client:
        result = screen(
            model,
            args.source,
            args.output,
            formula_column=formula_column,
            amounts=args.amounts,
            columns=None if args.columns is None else args.columns.split(","),
            decimal=args.decimal,
            return_std=not args.no_std,
            properties=property_names(args) or (),
            conditions=set_conditions(model, args),
            targets=list(targets),
            where=args.where,
            top_k=args.top_k,
            sort_by=args.sort_by,
            ascending=args.ascending,
            deduplicate=not args.keep_duplicates,
            errors=args.errors,
            batch_rows=args.batch_size,
            verbose=0 if args.quiet else 1,
            client=client,
        )
    tell(
        "wrote",
        f"{result.path}: {result.n_written:,} rows of {result.n_rows:,}"
        f"{f', {result.n_rejected:,} of which are no compositions' if result.n_rejected else ''}"
        f"{spell_units(targets)}",
    )


def _formula_column(args: argparse.Namespace, about: Mapping[str, Any]) -> str:
    """Find the column of formulas by the first rows of the source, or of its first file.

    What does not go together with them and with the model is an error.
    """
    from sklearn_kt.screening.sources import source_files
    from sklearn_kt.tables import open_table

    with open_table(source_files(args.source)[0], args.batch_size) as table:
        reader = FormulaReader(table, args)
        names = table.schema.names
        check_conditions(about, args, names)
        kept = names if args.columns is None else [*reader.names, *args.columns.split(",")]
        added = [f"prediction_{target}" for target in model_targets(about)]
        if not args.no_std and not is_classifier(about):
            added += [f"prediction_std_{target}" for target in model_targets(about)]
        added += property_names(args) or ()
        for name in kept:
            table.column(name)
            if name in added:
                raise InputError(
                    f"{table.name} has a column {name!r}, which is added: rename it, or leave it"
                    " out by --columns."
                )
        check_filter(args, about, [*kept, *added, *args.conditions])
        reader.check(args.errors)
        return reader.column


def _cluster(address: str | None) -> AbstractContextManager[Any]:
    """Connect to a scheduler of Dask, if one is named."""
    if address is None:
        return contextlib.nullcontext()
    try:
        from distributed import Client
    except ImportError as error:
        raise InputError(
            "--scheduler needs Dask: pip install 'sklearn_kt[distributed]'."
        ) from error
    try:
        return Client(address, timeout=5)
    except (OSError, ValueError) as error:
        raise InputError(f"There is no Dask scheduler at {address}: {error}") from error
