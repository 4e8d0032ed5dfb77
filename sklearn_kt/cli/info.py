"""``sklearn-kt info``: what a saved model says of itself."""

from __future__ import annotations

import argparse
import shutil
import textwrap
from typing import Any

from .console import printable
from .options import HELD_OUT, MODEL_FILE, model_targets


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
    from sklearn_kt.persistence import describe_model

    found = describe_model(args.model)
    rows = {**found["about"], "class": found["model"], "sklearn_kt": found["sklearn_kt"]}
    errors = _errors(model_targets(found["about"]))
    width = max(len(printable(name)) for name in rows) + 2
    wrapper = textwrap.TextWrapper(
        max(shutil.get_terminal_size().columns, 2 * width), break_long_words=False
    )
    wrapper.subsequent_indent = " " * width
    print(printable(args.model), end="\n\n")
    for name, value in rows.items():
        unit = errors.get(name, "")
        text = printable(value if isinstance(value, str) else f"{value:,.6g} {unit}".rstrip())
        # what does not apply, such as conditions, is stored empty
        if text:
            wrapper.initial_indent = printable(name).ljust(width)
            print(wrapper.fill(text))


def _errors(targets: dict[str, str]) -> dict[str, str]:
    """Give the unit of each held-out error, by its name."""
    name = HELD_OUT.format("mae")
    if len(targets) == 1:
        return dict.fromkeys([name], *targets.values())
    return {f"{name} of {target}": unit for target, unit in targets.items()}
