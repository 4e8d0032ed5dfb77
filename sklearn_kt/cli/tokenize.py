"""``sklearn-kt tokenize``: what the models read of a formula."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from sklearn_kt.exceptions import InputError

from .checks import check_table_output
from .formulas import FormulaReader, given_table, write_rows
from .options import add_stream, positive

if TYPE_CHECKING:
    import pyarrow as pa

    from sklearn_kt.tables import Table
    from sklearn_kt.tokenizer import CompositionTokenizer


def add_parser(commands: Any) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "tokenize",
        help="write the tokens of formulas",
        description="Write formulas and the columns that CompositionTokenizer makes of them.",
        examples=(
            "tokenize Fe2O3 LiFePO4",
            "tokenize new.csv --scheme fraction -o fractions.parquet",
        ),
    )
    add_stream(parser)
    parser.add_argument(
        "--scheme",
        choices=("element", "formula", "fraction"),
        default="element",
        help="kind of tokens (default: element)",
    )
    parser.add_argument("--max-length", type=positive, metavar="L", help="tokens in a row")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    check_table_output(args.output, *args.data)

    import pyarrow as pa

    from sklearn_kt.tokenizer import CompositionTokenizer

    tokenizer = CompositionTokenizer(args.scheme, max_length=args.max_length)
    kind = pa.from_numpy_dtype(tokenizer.transform(["H"]).dtype)
    with given_table(args) as table:
        reader = FormulaReader(table, args)
        names = tokenizer.get_feature_names_out().tolist()
        schema = pa.schema(
            [
                pa.field(reader.column, pa.string()),
                *(pa.field(name, kind) for name in names),
            ]
        )
        write_rows(_tokens(table, reader, tokenizer, schema), schema, args.output)


def _tokens(
    table: Table, reader: FormulaReader, tokenizer: CompositionTokenizer, schema: pa.Schema
) -> Iterator[pa.Table]:
    """Give the formulas and their tokens, batch by batch."""
    import pyarrow as pa

    for batch in reader.batches:
        formulas = reader.values(batch)
        compositions = reader.read(formulas, batch.place)
        try:
            tokens = tokenizer.transform(compositions)
        except InputError as error:
            raise InputError(f"{table.name}, from {batch.place(0)} on: {error}") from error
        text = pa.array(reader.formulas(formulas, compositions), pa.string())
        columns = [pa.array(column) for column in tokens.T]
        yield pa.Table.from_arrays([text, *columns], schema=schema)
