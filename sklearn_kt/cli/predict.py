"""``sklearn-kt predict``: a table through a saved model, batch by batch."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from sklearn_kt.exceptions import InputError

from .console import tell
from .formulas import FormulaReader, table_writer
from .options import add_errors, add_model, add_stream, load_model

if TYPE_CHECKING:
    import pyarrow as pa

    from sklearn_kt.compositions import CompositionBatch


def add_parser(commands: Any) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "predict",
        help="predict with a saved model",
        description="Predict with a saved model: the columns of the table, then 'prediction' (and"
        " probabilities of classes; prediction_0, prediction_1, ... of several targets). Reads and"
        " writes in batches, so tables may be larger than memory.",
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
    import pyarrow as pa

    from sklearn_kt.tables import open_table, writable_format

    if args.output is not None:
        writable_format(args.output)
    model = load_model(args)
    added = _added(model, args)
    rejected: list[str] = []
    with open_table(args.data, args.batch_size) as table:
        reader = FormulaReader(table, args)
        clash = sorted({*added.names} & set(table.schema.names))
        if clash:
            raise InputError(f"{table.name} already has a column {clash[0]!r}: rename it.")
        schema = pa.schema([*table.schema.remove_metadata(), *added])
        with table_writer(args.output, schema) as writer:
            for batch in table.batches:
                formulas = reader.values(batch)
                compositions = reader.read(formulas, batch.place, args.errors)
                rejected += [
                    f"{batch.place(row)} ({formulas[row]!r})"
                    for row, valid in enumerate(compositions.valid.tolist())
                    if not valid
                ]
                spelled = reader.formulas(formulas, compositions)
                columns = _columns(model, compositions, spelled, added, args)
                rows = pa.Table.from_arrays([*batch.table.columns, *columns], schema=schema)
                writer.write_table(rows)
    if rejected:
        tell(
            "warning",
            f"{len(rejected)} rows of {table.name} are not compositions and have no prediction;"
            f" the first is {rejected[0]}.",
        )


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


def _columns(
    model: Any,
    compositions: CompositionBatch,
    formulas: list[Any],
    added: pa.Schema,
    args: argparse.Namespace,
) -> list[pa.Array]:
    """Predict the rows that are compositions; the others are null."""
    import numpy as np
    import pyarrow as pa

    from sklearn_kt.screening.tasks import predictions

    valid = compositions.valid
    if not valid.any():
        return [pa.nulls(len(valid), field.type) for field in added]
    text = np.array(formulas, dtype=object)[valid]
    found = predictions(model, compositions[np.flatnonzero(valid)], text, args.return_std)
    # position of each row's prediction
    chosen = pa.array(np.cumsum(valid) - 1, mask=~valid)
    return [found[field.name].take(chosen).cast(field.type) for field in added]
