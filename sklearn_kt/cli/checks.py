"""What is found out before the seconds that libraries take to load."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from sklearn_kt._files import check_place
from sklearn_kt.exceptions import InputError

__all__ = ["check_output", "check_table_output"]


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
