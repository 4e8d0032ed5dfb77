"""``sklearn-kt properties``: what the pretrained encoder says of formulas, without a fit."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from .checks import check_table_output
from .console import print_table, tell
from .formulas import FormulaReader, extended, formulas_among, given_table, write_rows
from .options import add_errors, add_properties, add_stream, property_names

if TYPE_CHECKING:
    from sklearn_kt.tables import Table

_MARKS = {"label": " *", "formula": " +", "unknown": " ?"}
_LEGEND = (
    "±: mean error on compositions held out of pretraining, as an error of this value, where it is"
    " known. *: pretraining had this property of the formula; +: had others of it. These are"
    " calculated numbers: gaps of semilocal functionals are too small by a third to a half,"
    " those of oxides such as Fe2O3 by more."
)


def add_parser(commands: Any) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "properties",
        help="predict computed properties, without a table and without a fit",
        description="Predict computed properties (band gap, energy above hull, moduli, ...) by the"
        " encoder in the package. Formulas print a table, with errors and what pretraining has"
        " seen of them; a table gets a column for each property.",
        examples=(
            "properties MgO W BaTiO3",
            "properties candidates.csv --properties 'band gap,energy above hull' -o wide.parquet",
        ),
    )
    add_stream(parser)
    add_properties(parser)
    parser.add_argument("--list", action="store_true", help="print the properties and exit")
    parser.add_argument(
        "--csv", action="store_true", help="print CSV, a row for each formula and property"
    )
    add_errors(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    check_table_output(args.output, *args.data)
    if args.list:
        from sklearn_kt.properties import list_properties

        print_table("properties, by source", list_properties())
        return
    show = _add_columns if formulas_among(args.data) is None else _show
    with given_table(args) as table:
        show(table, args)


def _show(table: Table, args: argparse.Namespace) -> None:
    """Show a few formulas: a row for each property, or for each formula and property."""
    import pyarrow as pa

    from sklearn_kt.properties import predict_properties

    reader = FormulaReader(table, args)
    [batch] = reader.batches
    formulas = reader.values(batch)
    compositions = reader.read(formulas, batch.place, args.errors)
    found = predict_properties(compositions, property_names(args))
    if args.csv or args.output is not None:
        rows = pa.Table.from_pandas(found, preserve_index=False).replace_schema_metadata()
        write_rows(iter([rows]), rows.schema, args.output)
        return
    cells = found["value"].map("{:.3g}".format)
    errors = found["error"].map(" ± {:.2g}".format).where(found["error"].notna(), "")
    found["cell"] = cells + errors + found["seen"].map(_MARKS).fillna("")
    names = found["property"].iloc[: len(found) // len(formulas)]
    shown = found.iloc[: len(names)][["property"]].copy()
    for at, formula in enumerate(formulas):
        shown[formula] = found["cell"].iloc[at * len(names) : (at + 1) * len(names)].to_numpy()
    shown["unit"] = found["unit"].iloc[: len(names)]
    shown["source"] = found["source"].iloc[: len(names)]
    print_table(", ".join(formulas), shown)
    tell("note", _LEGEND)


def _add_columns(table: Table, args: argparse.Namespace) -> None:
    """Write a table with a column for each property, batch by batch."""
    reader = FormulaReader(table, args)

    import pyarrow as pa

    from sklearn_kt.properties import PropertyHeads

    heads = PropertyHeads.load(property_names(args))
    rows = extended(
        table,
        reader,
        args,
        pa.schema([(name, pa.float64()) for name in heads.heads]),
        lambda batch, *_: {name: pa.array(v) for name, v in heads.predict(batch).items()},
        heads.unseen_elements(),
    )
    write_rows(rows, next(rows).schema, args.output)
