"""What is found out before the seconds that libraries take to load."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sklearn_kt._files import check_place
from sklearn_kt.exceptions import InputError

from .options import listed, set_numbers

__all__ = [
    "CATEGORIES",
    "CONDITIONS",
    "check_conditions",
    "check_filter",
    "check_new",
    "check_output",
    "check_table_output",
    "is_classifier",
]

# what a saved model says of its conditions, and which of them are categories
CONDITIONS, CATEGORIES = "conditions", "conditions by category"
CLASSES = "classes"


def check_output(output: str | Path, *inputs: str | None) -> None:
    """Refuse a file that cannot be written, or that the command reads."""
    check_place(output)
    for given in inputs:
        if given is not None and _is_same_file(Path(output), given):
            raise InputError(
                f"{output} is what is read ({given}), and would be overwritten: name another file"
                " to write."
            )


def check_table_output(output: str | None, *inputs: str) -> None:
    """Refuse a table that cannot be written, or that the command reads."""
    from sklearn_kt.tables import writable_format

    if output is not None:
        writable_format(output)
        check_output(output, *inputs)


def _is_same_file(output: Path, given: str) -> bool:
    """Tell whether names lead to one regular file: a terminal may be read and written to."""
    from sklearn_kt.tables import STDIN

    # of formulas, or of what does not exist yet
    with contextlib.suppress(OSError, ValueError):
        found = os.fstat(sys.stdin.fileno()) if given == STDIN else Path(given).stat()
        return output.is_file() and os.path.samestat(output.stat(), found)
    return False


def check_conditions(
    about: Mapping[str, Any], args: argparse.Namespace, columns: Sequence[str]
) -> None:
    """Check --set and the columns of a table by what a saved model says of its conditions.

    Of a model that says nothing, the same is found out when it is loaded.
    """
    from sklearn_kt.screening.names import check_conditions as check_names

    if CATEGORIES not in about:
        return
    names, categories = (
        [n for n in listed(str(about.get(k, ""))) if n] for k in (CONDITIONS, CATEGORIES)
    )
    check_names(names, args.conditions, columns)
    for name, values in args.conditions.items():
        if name not in categories:
            set_numbers(name, values)


def is_classifier(about: Mapping[str, Any]) -> bool:
    """Tell a saved classifier, as far as it says what it is."""
    return about.get("task") == "classification"


def check_new(output: str) -> None:
    """Refuse a file of a screening that exists, unless a killed run left its folder beside it."""
    if Path(output).exists() and not Path(f"{os.path.realpath(output)}.parts").exists():
        raise InputError(f"{output} exists already: delete it, or choose another name.")


def check_filter(
    args: argparse.Namespace, about: Mapping[str, Any], columns: Sequence[str]
) -> None:
    """Check the filter and the rank of a screening by the columns that there will be.

    Parameters
    ----------
    args : argparse.Namespace
        Of ``screen``.
    about : mapping
        What the model says of itself; if it names no target, its columns may have any names.
    columns : sequence of str
        Of the source and of what is added to it.
    """
    from sklearn_kt.screening.expressions import compared_columns, unknown_column

    filtered = [] if args.where is None else compared_columns(args.where)
    if is_classifier(about):
        classes = [f"probability_{name}" for name in listed(str(about.get(CLASSES) or "CLASS"))]
        columns = [*columns, *classes] if about.get(CLASSES) else columns
        if args.top_k is not None and args.sort_by is None:
            raise InputError(
                "--top-k ranks by numbers, and the prediction is a class: name what ranks, such as"
                f" --sort-by {classes[-1]}."
            )
    # what the model does not say may be there
    unsaid = {"prediction": not about.get("target"), "probability_": not about.get(CLASSES)}
    open_ended = tuple(stem for stem, is_unsaid in unsaid.items() if is_unsaid)
    for option, names in (("--where", filtered), ("--sort-by", [args.sort_by or ""])):
        for name in names:
            if name and name not in columns and not name.startswith(open_ended):
                raise InputError(f"{option}: {unknown_column(name, columns)}")
