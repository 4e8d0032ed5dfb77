"""MatBench's tasks from calculations, by the formula alone: ours, peers, and what is recorded."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pandas as pd

from benchmarks.accuracy.compare import LABELS_UNKNOWN, PUBLISHED
from benchmarks.common import Kept
from benchmarks.models import is_ours
from sklearn_kt.benchmarking import read_leaderboard

from .contents import DUMMY, FAST, MAIN
from .tables import figure, table

# scores of others that are no submission to MatBench, one row for each model, task and fold
REPORTED = "reported.csv"
# submissions that read formulas alone in these tasks too; all others read crystals
READ_FORMULAS = ("CrabNet", "Finder_v1.2_composition")
# without weights, and with those that know no label of the task
SCRATCH = ("imkt-scratch", "imkt-fast-scratch")
PRETRAINED = (MAIN, FAST)


def recorded_errors(kept: Kept) -> pd.DataFrame:
    """Mean MAEs that others have recorded: model, task, mae, and whether it reads formulas."""
    submitted = read_leaderboard(kept.folder / PUBLISHED)
    submitted["by_formula"] = submitted["model"].isin(READ_FORMULAS)
    reported = pd.read_csv(kept.folder / REPORTED, float_precision="round_trip")
    reported["by_formula"] = True
    found = pd.concat([submitted, reported])
    found = found[found["task"].isin(kept.tasks) & (found["model"] != DUMMY)]
    keys = ["model", "task", "by_formula"]
    return found.groupby(keys, as_index=False, sort=False)["mae"].mean()


def calculated_short(kept: Kept) -> str:
    """Spell each task: our error beside the best of the others."""
    return "\n".join(_lines(kept)) + "\n"


def _lines(kept: Kept) -> Iterator[str]:
    recorded = recorded_errors(kept)
    errors = kept.summary().pivot_table("mae", "task", "model", sort=False)
    peers = [m for m in errors if not is_ours(m) and m != DUMMY]
    rows, ahead, behind = [], [], []
    for task, part in kept.tasks.items():
        own = {m: errors[m].get(task, math.nan) for m in (*SCRATCH, *PRETRAINED) if m in errors}
        found = recorded[recorded["task"] == task].set_index("model")
        by_formula = found[found["by_formula"]]["mae"]
        by_crystal = found[~found["by_formula"]]["mae"]
        others = pd.concat([errors.loc[task, peers], by_formula]).dropna()
        best = min(value for model, value in own.items() if model in SCRATCH and value == value)
        name = task.removeprefix("matbench_")
        (ahead if best < others.min() else behind).append(
            f"{name} ({best / others.min():.2f} of {others.idxmin()})"
        )
        cells = [figure(own.get(m, math.nan)) for m in (*SCRATCH, *PRETRAINED)]
        rows.append(
            [
                f"{name}{f', {part.unit}' if part.unit else ''}",
                f"{part.n_samples:,}",
                *cells,
                *(_best(scores) for scores in (errors.loc[task, peers], by_formula, by_crystal)),
            ]
        )
    head = [
        *("task", "rows"),
        *(f"`{m}`" for m in (*SCRATCH, *PRETRAINED)),
        *("best peer run here", "recorded, by formula", "recorded, by crystal"),
    ]
    yield table(head, rows)
    yield (
        "Mean MAE over the official folds. Without pretraining, the better of ours has the "
        "smallest error of all that read formulas alone on "
        f"{len(ahead)} of {len(rows)} tasks{': ' if ahead else ''}{', '.join(ahead)}"
        f"{'; not on ' if behind else ''}{', '.join(behind)}.\n"
    )
    twice = [
        f"{found['test_rows_in_train'] / found['test_rows']:.0%} of "
        f"{task.removeprefix('matbench_')}".replace("%", " %")
        for task, found in kept.about["audit"]["tasks"].items()
    ]
    yield (
        "A formula can have several crystals, which the folds do not keep together. Test rows "
        f"whose composition is also in the training part: {', '.join(twice)}.\n"
    )
    if not any(m in errors for m in PRETRAINED):
        return
    names = " and ".join(f"`{task.removeprefix('matbench_')}`" for task in LABELS_UNKNOWN)
    yield (
        f"Of these tasks the checkpoint was pretrained on no label of {names} alone, so that "
        "models that start from it ran on nothing else here.\n"
    )


def _best(scores: pd.Series) -> str:
    """Spell the smallest error, and whose it is."""
    scores = scores.dropna()
    return f"{figure(scores.min())} ({scores.idxmin()})" if len(scores) else "-"
