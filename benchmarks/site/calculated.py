"""MatBench's tasks from calculations, by the formula alone: ours, peers, and what is recorded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from benchmarks.accuracy.compare import LABELS_UNKNOWN, PUBLISHED
from benchmarks.common import Kept
from benchmarks.models import is_ours
from sklearn_kt.benchmarking import read_leaderboard

from .contents import DUMMY, FAST, MAIN, SCRATCH
from .tables import figure, percent, table

# scores of others that are no submission to MatBench, one row for each model, task and fold
REPORTED = "reported.csv"
# submissions that read formulas alone in these tasks too; all others read crystals
READ_FORMULAS = ("CrabNet", "Finder_v1.2_composition")
# with weights that know no label of the task
PRETRAINED = (MAIN, FAST)
# part by which errors may differ and count as level: about the interval of the difference of two
# models over five folds of perovskites, the largest task
_LEVEL = 0.02


def recorded_errors(kept: Kept) -> pd.DataFrame:
    """Mean MAEs that others have recorded: model, task, mae, and whether it reads formulas."""
    found = pd.read_csv(kept.folder / REPORTED, float_precision="round_trip")
    found["by_formula"] = True
    # not there without the recorded scores of submissions
    if (kept.folder / PUBLISHED).exists():
        submitted = read_leaderboard(kept.folder / PUBLISHED)
        submitted["by_formula"] = submitted["model"].isin(READ_FORMULAS)
        found = pd.concat([submitted, found])
    found = found[found["task"].isin(kept.tasks) & (found["model"] != DUMMY)]
    keys = ["model", "task", "by_formula"]
    return found.groupby(keys, as_index=False, sort=False)["mae"].mean()


@dataclass(frozen=True)
class _Compared:
    """Errors on one task, by model: ours, peers run here, and what others recorded."""

    name: str
    unit: str
    n_rows: int
    ours: pd.Series
    peers: pd.Series
    by_formula: pd.Series
    by_crystal: pd.Series

    def of(self, models: Sequence[str]) -> pd.Series:
        """Errors of some models of ours."""
        return self.ours[[model for model in models if model in self.ours]]

    @property
    def scratch(self) -> tuple[float, str]:
        """The smaller error of ours without pretraining, and whose it is."""
        found = self.of(SCRATCH)
        return found.min(), found.idxmin()

    @property
    def best(self) -> tuple[float, str]:
        """The smallest error of the others that read formulas, and whose it is."""
        found = pd.concat([self.peers, self.by_formula]).dropna()
        return found.min(), found.idxmin()


def compared(kept: Kept) -> Iterator[_Compared]:
    """Compare ours with the others, on each task that ours have run on without pretraining."""
    recorded = recorded_errors(kept)
    errors = kept.summary().pivot_table("mae", "task", "model", sort=False)
    peers = [m for m in errors if not is_ours(m) and m != DUMMY]
    for task, part in kept.tasks.items():
        found = recorded[recorded["task"] == task].set_index("model")
        ours = errors.loc[task].dropna()
        if not {*SCRATCH} & {*ours.index}:
            continue
        yield _Compared(
            task.removeprefix("matbench_"),
            part.unit,
            part.n_samples,
            ours,
            errors.loc[task, peers],
            found[found["by_formula"]]["mae"],
            found[~found["by_formula"]]["mae"],
        )


def calculated_losses(kept: Kept) -> Iterator[str]:
    """Write where others that read formulas have a smaller error than ours without pretraining."""
    for one in compared(kept):
        (error, model), (other, whose) = one.scratch, one.best
        if other < error:
            unit = f", {one.unit}" if one.unit else ""
            yield (
                f"- MatBench {one.name} by the formula, without pretraining: {whose} "
                f"{figure(other)}, `{model}` {figure(error)} (MAE{unit}; "
                "[calculated tasks](calculated.md))."
            )


def calculated_short(kept: Kept) -> str:
    """Spell each task: our error beside the best of the others."""
    return "\n".join(_lines(kept)) + "\n"


def _lines(kept: Kept) -> Iterator[str]:
    rows: list[list[str]] = []
    said: dict[str, list[str]] = {"smaller": [], "level": [], "larger": []}
    for one in compared(kept):
        (error, _), (other, whose) = one.scratch, one.best
        ratio = error / other
        level = abs(ratio - 1) <= _LEVEL
        verdict = "level" if level else "smaller" if ratio < 1 else "larger"
        said[verdict].append(f"{one.name} ({ratio:.2f} of {whose})")
        rows.append(
            [
                f"{one.name}{f', {one.unit}' if one.unit else ''}",
                f"{one.n_rows:,}",
                *(_best(one.of(models)) for models in (SCRATCH, PRETRAINED)),
                *(_best(scores) for scores in (one.peers, one.by_formula, one.by_crystal)),
            ]
        )
    head = [
        *("task", "rows"),
        *("ours, without pretraining", "with it"),
        *("best peer run here", "recorded, by formula", "recorded, by crystal"),
    ]
    yield table(head, rows)
    yield (
        "Mean MAE over the official folds; the best of others is chosen by it, and so is the "
        "better of ours. Beside the best of those recorded or run here that read formulas alone, "
        f"the error of ours without pretraining is smaller on {_listed(said['smaller'])}; within "
        f"{percent(_LEVEL)}, which five folds do not tell apart, on {_listed(said['level'])}; "
        f"larger on {_listed(said['larger'])}.\n"
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
    names = " and ".join(f"`{task.removeprefix('matbench_')}`" for task in LABELS_UNKNOWN)
    yield (
        f"Of these tasks {names} is the only one of which the checkpoint has seen no label: models "
        "that start from it run on nothing else here.\n"
    )


def _listed(tasks: Sequence[str]) -> str:
    return f"{len(tasks)}: {', '.join(tasks)}" if tasks else "none"


def _best(scores: pd.Series) -> str:
    """Spell the smallest error, and whose it is."""
    scores = scores.dropna()
    return f"{figure(scores.min())} ({scores.idxmin()})" if len(scores) else "-"
