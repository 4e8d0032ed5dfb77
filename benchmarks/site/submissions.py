"""The page about recorded submissions: scores on rows that could have been seen, and on others."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from benchmarks.accuracy.submissions import ABOUT, PRETRAINING, SUBMISSIONS
from benchmarks.common import Kept
from benchmarks.models import is_ours
from sklearn_kt.benchmarking.exposure import EXPOSURES, compare_exposed

from .contents import DUMMY, SHOWN
from .tables import figure, folded, table

# peers of ours that stand beside the submissions
BESIDE = (*SHOWN, "rf-magpie", "et-magpie")
WAYS = {
    **EXPOSURES,
    PRETRAINING: "the composition is in the pool that our checkpoint was pretrained on",
}
# rows of each kind, and of each class, that say something
LEAST = 100
TITLES = {
    "sibling": "Labels of a sibling task",
    "plain folds": "Plain folds for stratified ones",
    PRETRAINING: "Compositions of our pretraining",
}
SCORES = {"mae": "MAE", "balanced_accuracy": "balanced accuracy"}


def submissions_text(kept: Kept) -> str:
    """Spell how submissions fare on both kinds of rows."""
    if not (kept.folder / SUBMISSIONS).exists():
        return "Not made yet: `python -m benchmarks.accuracy.submissions` does.\n"
    frame = pd.read_parquet(kept.folder / SUBMISSIONS)
    return "\n".join(_lines(kept, frame)) + "\n"


def _lines(kept: Kept, frame: pd.DataFrame) -> Iterator[str]:
    for way, what in WAYS.items():
        yield f"{TITLES[way]}, rows that could have been seen: {what}.\n"
        for name, rows in frame.groupby("task", sort=False):
            found = list(compared(kept, str(name), rows, way))
            if not found:
                continue
            score = SCORES[found[0][1]["score"]]
            first = found[0][1]
            head = [
                "model",
                f"{score}, {first['exposed_rows']:,} rows that could",
                f"{first['other_rows']:,} others",
                "better by, with its 95 % interval",
            ]
            yield folded(
                f"{TITLES[way]}: {name}",
                table(head, [[model, *_cells(about)] for model, about in found]),
            )


def compared(kept: Kept, task: str, rows: pd.DataFrame, way: str) -> Iterator[tuple[str, dict]]:
    """Compare every submission, and our own runs, on the rows of a task."""
    exposed, y = rows[way].to_numpy(), rows["y"].to_numpy()
    kind = kept.tasks[task].kind
    # the way says nothing of the task, or nearly all rows, or those of a class, are of one kind
    classes = np.zeros(len(y)) if kind == "regression" else y
    counts = pd.crosstab(classes, exposed).reindex(columns=[0.0, 1.0], fill_value=0)
    if counts.empty or counts.to_numpy().min() < LEAST:
        return
    submissions = [name for name in rows.columns if name not in ABOUT and rows[name].notna().any()]
    for name in submissions:
        if name != DUMMY:
            yield name, compare_exposed(kind, y, rows[name].to_numpy(), exposed)
    for name in BESIDE:
        records = kept.records(task, name) if name in kept.models else []
        if [record.fold for record in records] != sorted(set(rows["fold"])):
            continue
        values = np.concatenate(
            [r.predictions if r.probabilities is None else r.predictions == 1 for r in records]
        )
        label = f"**{name}** *" if is_ours(name) else f"{name} *"
        yield label, compare_exposed(kind, y, values.astype(float), exposed)


def _cells(found: dict) -> list[str]:
    low, high = found["low"], found["high"]
    text = f"{found['difference']:+.3f} ({low:+.3f} to {high:+.3f})"
    return [
        figure(found["exposed"]),
        figure(found["other"]),
        f"**{text}**" if low > 0 else text,
    ]
