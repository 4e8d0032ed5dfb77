"""``sklearn-kt predict``: a table through a saved model, batch by batch."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from sklearn_kt.exceptions import InputError

from .console import tell
from .formulas import checked, composition_reader, table_writer, texts
from .options import add_errors, add_model, add_stream, load_model

if TYPE_CHECKING:
    import pyarrow as pa

    from sklearn_kt.tables import Batch


def add_parser(commands: Any) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "predict",
        help="predict with a saved model",
        description="Predict with a saved model: the columns of the table, then 'prediction' (and"
        " probabilities of classes). Reads and writes in batches, so tables may be larger than"
        " memory.",
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
    import numpy as np
    import pyarrow as pa

    from sklearn_kt.screening.screener import predictions
    from sklearn_kt.tables import open_table, writable_format

    if args.output is not None:
        writable_format(args.output)
    model = load_model(args)
    classes = list(model.classes_) if hasattr(model, "predict_proba") else []
    if args.return_std:
        from sklearn_kt.evaluation.runner import offers_std

        if not offers_std(model):
            raise InputError(
                f"The model in {args.model} gives no standard deviation: leave out --return-std."
            )
    added = ["prediction", *(["prediction_std"] if args.return_std else [])]
    added += [f"probability_{label}" for label in classes]
    kinds = [pa.float64()] * len(added)
    if hasattr(model, "classes_"):
        kinds[0] = pa.array(np.asarray(model.classes_).tolist()).type
    new = [pa.field(name, kind) for name, kind in zip(added, kinds, strict=True)]
    rejected: list[str] = []

    def predicted(name: str, batch: Batch, formulas: list[Any]) -> pa.Table:
        compositions = checked(formulas, batch.place, name, args, args.errors)
        rejected.extend(
            f"{batch.place(row)} ({formulas[row]!r})"
            for row in np.flatnonzero(~compositions.valid).tolist()
        )
        rows = np.flatnonzero(compositions.valid)
        columns = [pa.nulls(len(formulas), kind) for kind in kinds]
        if len(rows):
            text = np.array(texts(formulas, compositions, args), dtype=object)[rows]
            found = predictions(model, compositions[rows], text, args.return_std)
            if list(found) != added:
                raise InputError("The model predicts several targets; the command line writes one.")
            # position of each row's prediction; rows without one are null
            positions = np.cumsum(compositions.valid) - 1
            chosen = pa.array(positions, mask=~compositions.valid)
            columns = [column.take(chosen) for column in found.values()]
        table = batch.table
        for field, column in zip(new, columns, strict=True):
            table = table.append_column(field, column.cast(field.type))
        return table

    with open_table(args.data, args.batch_size) as table:
        compositions_of = composition_reader(table, args)
        clash = sorted(set(added) & set(table.schema.names))
        if clash:
            raise InputError(f"{table.name} already has a column {clash[0]!r}: rename it.")
        schema = pa.schema([*table.schema.remove_metadata(), *new])
        with table_writer(args.output, schema) as writer:
            for batch in table.batches:
                found = predicted(table.name, batch, compositions_of(batch))
                writer.write_table(found.cast(schema))
    if rejected:
        tell(
            "warning",
            f"{len(rejected)} rows of {table.name} are not compositions and have no prediction;"
            f" the first is {rejected[0]}.",
        )
