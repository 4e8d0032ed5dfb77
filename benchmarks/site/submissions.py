"""The page about recorded submissions: scores on rows that could have been seen, and on others."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from sklearn.metrics import mean_absolute_error, roc_auc_score

from benchmarks.accuracy.compare import PUBLISHED
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
# what is said of the rows, in a sentence and in a column
ROWS = {
    **dict.fromkeys(EXPOSURES, ("rows whose label could have been seen", "rows that could")),
    PRETRAINING: ("rows that our pretraining knows", "rows in the pool"),
}
# how a submission is called that is recorded elsewhere, and on the leaderboard without it
_OWN = " (own repository)"
# probabilities that are labels of True, agreement to four figures, and intervals that miss
_THRESHOLD, _SAME, _MISSED = 0.5, 5e-5, 0.05
SCORES = {"mae": "MAE", "balanced_accuracy": "balanced accuracy"}


def submissions_text(kept: Kept) -> str:
    """Spell how submissions fare on both kinds of rows."""
    if not (kept.folder / SUBMISSIONS).exists():
        return "Not made yet: `python -m benchmarks.accuracy.submissions` does.\n"
    frame = pd.read_parquet(kept.folder / SUBMISSIONS)
    return "\n".join([*_rescored_lines(kept, frame), *_lines(kept, frame)]) + "\n"


def rescored(kept: Kept, frame: pd.DataFrame) -> pd.DataFrame:
    """Score every submission on every task by MatBench's rule, beside the recorded score."""
    published = pd.read_csv(kept.folder / PUBLISHED)
    recorded = published.groupby(["task", "algorithm"])[["mae", "rocauc"]].mean()
    rows = []
    for task, part in frame.groupby("task", sort=False):
        numbers = kept.tasks[str(task)].kind == "regression"
        for name in submissions_of(part):
            scores = [
                mean_absolute_error(fold["y"], fold[name])
                if numbers
                else roc_auc_score(fold["y"], fold[name] > _THRESHOLD)
                for _, fold in part.groupby("fold")
            ]
            algorithm = name.removesuffix(_OWN)
            known = (task, algorithm) in recorded.index
            rows.append(
                {
                    "task": task,
                    "submission": name,
                    "score": "MAE" if numbers else "ROC AUC of labels",
                    "again": float(np.mean(scores)),
                    "recorded": recorded.loc[(task, algorithm), "mae" if numbers else "rocauc"]
                    if known
                    else np.nan,
                }
            )
    return pd.DataFrame(rows)


def submissions_of(frame: pd.DataFrame) -> list[str]:
    """Name the submissions that have predictions in a frame."""
    return [name for name in frame.columns if name not in ABOUT and frame[name].notna().any()]


def _rescored_lines(kept: Kept, frame: pd.DataFrame) -> Iterator[str]:
    found = rescored(kept, frame)
    compared = found.dropna(subset="recorded")
    same = np.isclose(compared["again"], compared["recorded"], rtol=_SAME, atol=0)
    yield (
        f"Of {found['submission'].nunique()} submissions, {len(found)} predictions of a task are "
        "recorded and scored again by MatBench's rule, the mean over the folds. The leaderboard "
        f"has a score of {len(compared)} of them: {int(same.sum())} are the same to four figures."
        "\n"
    )
    cells = [
        [
            *(row["submission"], row["task"], row["score"], f"{row['again']:.4f}"),
            "-" if np.isnan(row["recorded"]) else f"{row['recorded']:.4f}",
        ]
        for row in found.to_dict("records")
    ]
    head = ["submission", "task", "score", "scored again", "on the leaderboard"]
    yield folded("Every recorded submission, scored again", table(head, cells))


def _lines(kept: Kept, frame: pd.DataFrame) -> Iterator[str]:
    for way, what in WAYS.items():
        yield f"{TITLES[way]}, {ROWS[way][0]}: {what}.\n"
        for name, rows in frame.groupby("task", sort=False):
            found = list(compared(kept, str(name), rows, way))
            if not found:
                continue
            score = SCORES[found[0][1]["score"]]
            first = found[0][1]
            head = [
                "model",
                f"{score}, {first['exposed_rows']:,} {ROWS[way][1]}",
                f"{first['other_rows']:,} others",
                "better by, with its 95 % interval",
            ]
            cells = [[model, *_cells(about, way != PRETRAINING)] for model, about in found]
            yield folded(f"{TITLES[way]}: {name}", table(head, cells))


def multiplicity(kept: Kept, frame: pd.DataFrame) -> str:
    """Say how many intervals there are, and how many of them chance alone would put aside."""
    n = sum(
        len(list(compared(kept, str(name), rows, way)))
        for way in WAYS
        for name, rows in frame.groupby("task", sort=False)
    )
    return (
        f"On this page are {n} intervals at 95 %. Of so many, about {n * _MISSED:.0f} would miss "
        "the true difference by chance alone, half of these on the side of better: one interval "
        "just beyond zero says nothing."
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
    for name in submissions_of(rows):
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


def _cells(found: dict, bold: bool) -> list[str]:
    low, high = found["low"], found["high"]
    text = f"{found['difference']:+.3f} ({low:+.3f} to {high:+.3f})"
    return [
        figure(found["exposed"]),
        figure(found["other"]),
        f"**{text}**" if bold and low > 0 else text,
    ]
