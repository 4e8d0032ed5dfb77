"""``sklearn-kt info``: what a saved model says of itself."""

from __future__ import annotations

import argparse
from typing import Any

from .console import print_table
from .options import MODEL_FILE


def add_parser(commands: Any) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "info",
        help="show what a saved model was fitted on and how well it does",
        description="Print what a saved model says of itself: its target and unit, the rows it was"
        " fitted on, the error on rows that its inner folds held out, the date. The model is not"
        " loaded.",
        examples=("info gap.model", "info models/strength.model"),
    )
    parser.add_argument("model", metavar="MODEL", help=MODEL_FILE)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    import pandas as pd

    from sklearn_kt.persistence import describe_model

    found = describe_model(args.model)
    rows = {**found["about"], "class": found["model"], "sklearn_kt": found["sklearn_kt"]}
    spelled = [value if isinstance(value, str) else f"{value:,.6g}" for value in rows.values()]
    print_table(args.model, pd.DataFrame({"about": [*rows], "": spelled}))
