"""What the commands say: one line for a message on stderr, tables on stdout."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from sklearn_kt._cells import aligned

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["one_line_warnings", "print_table", "printable", "spell_scores", "tell"]


def tell(kind: str, text: str) -> None:
    """Write one line to stderr, such as ``sklearn-kt: wrote: gap.model``."""
    print(f"sklearn-kt: {kind}: {printable(' '.join(text.split()))}", file=sys.stderr)


def printable(text: str) -> str:
    """Write out what would command the terminal or cannot be encoded; names come from files."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


@contextlib.contextmanager
def one_line_warnings() -> Iterator[None]:
    """Show each warning once, as one line, without the place in the code."""
    told = set()

    # what is read in batches warns in each
    def show(message: Warning | str, *_: object, **__: object) -> None:
        if str(message) not in told:
            told.add(str(message))
            tell("warning", str(message))

    original = warnings.showwarning
    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = original


def spell_scores(scores: Mapping[str, float], unit: str) -> str:
    """Spell scores of predictions, errors in the unit of the target."""
    labels = {
        "mae": "MAE",
        "r2": "R²",
        "balanced_accuracy": "balanced accuracy",
        "roc_auc": "ROC AUC",
        "log_loss": "log-loss",
    }
    return ", ".join(
        f"{labels.get(name, name)} {score:.3g}{f' {unit}' if name == 'mae' and unit else ''}"
        for name, score in scores.items()
    )


def print_table(title: str, table: pd.DataFrame) -> None:
    """Print text aligned: names to the left, figures to the right."""
    print(printable(title), end="\n\n")
    columns = [[printable(cell) for cell in (name, *table[name])] for name in table]
    print(*aligned(columns), sep="\n")
