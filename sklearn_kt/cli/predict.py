"""``sklearn-kt predict``: a table through a saved model, batch by batch."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from sklearn_kt.exceptions import InputError

from .formulas import FormulaReader, extended, given_table, table_writer
from .options import add_errors, add_model, add_stream, load_model

if TYPE_CHECKING:
    import pyarrow as pa


def add_parser(commands: Any) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "predict",
        help="predict with a saved model",
        description="Predict with a saved model: the columns of the table, then 'prediction' (and"
        " probabilities of classes; prediction_0, prediction_1, ... of several targets). Reads and"
        " writes in batches, so tables may be larger than memory.",
        examples=(
            "predict gap.model GaN CuInSe2",
            "predict gap.model new.csv -o predictions.csv",
        ),
    )
    add_model(parser)
    add_stream(parser)
    parser.add_argument(
        "--return-std",
        action="store_true",
        help="add 'prediction_std', the standard deviation that the model predicts",
    )
    add_errors(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from sklearn_kt.tables import writable_format

    if args.output is not None:
        writable_format(args.output)
    with given_table(args) as table:
        # what is wrong with the columns is said before the seconds that libraries take
        reader = FormulaReader(table, args)
        model = load_model(args)
        added = _added(model, args)
        from sklearn_kt.screening.tasks import predictions

        rows = extended(
            table,
            reader,
            args,
            added,
            lambda batch, formulas: predictions(model, batch, formulas, args.return_std),
        )
        with table_writer(args.output, next(rows).schema) as writer:
            for part in rows:
                writer.write_table(part)


def _added(model: Any, args: argparse.Namespace) -> pa.Schema:
    """Name the columns that the model adds, with their types, by a first prediction."""
    import numpy as np
    import pyarrow as pa

    from sklearn_kt.compositions import read_compositions
    from sklearn_kt.screening.tasks import predictions

    if args.return_std:
        from sklearn_kt.evaluation.runner import offers_std

        if not offers_std(model):
            raise InputError(
                f"The model in {args.model} gives no standard deviation: leave out --return-std."
            )
    salt = np.array(["NaCl"], dtype=object)
    found = predictions(model, read_compositions(salt), salt, args.return_std)
    return pa.schema([(name, column.type) for name, column in found.items()])
