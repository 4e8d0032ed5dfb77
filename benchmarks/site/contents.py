"""What results say: our models beside the best peer of each task."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.accuracy.compare import PUBLISHED
from benchmarks.common import RESULTS, Kept
from benchmarks.models import is_ours
from sklearn_kt.benchmarking import leaderboard, read_leaderboard
from sklearn_kt.evaluation import compare_models
from sklearn_kt.evaluation.result import plain

BENCHMARKS = {
    "matbench": "MatBench",
    "jarvis": "JARVIS-DFT",
    "thermoelectrics": "Thermoelectrics",
}
MAIN, FAST = "imkt", "imkt-fast"
# those of ours that have a column in the tables; the first that is complete stands for us
SHOWN = (MAIN, FAST, "exkt")
# the same without weights
SCRATCH = ("imkt-scratch", "imkt-fast-scratch")
# knows nothing of the formulas, and is nobody's choice
DUMMY = "dummy"
# what errors of all models are divided by in the picture of accuracy and time
REFERENCE = "rf-magpie"
# MAEs of Gupta et al. (2021), Table 4
GUPTA = "gupta2021.csv"
ERRORS = {"mae": "MAE", "roc_auc": "1 - ROC AUC", "accuracy": "1 - accuracy"}


def read_kept(name: str, results: Path = RESULTS) -> Kept | None:
    """Read a benchmark, without models that have not all folds of a task."""
    kept = Kept.read(results / name)
    return None if kept is None else kept.finished()


def read(name: str, results: Path = RESULTS) -> dict[str, Any] | None:
    """Read what a benchmark found, as plain Python objects; None where it has not run."""
    kept = read_kept(name, results)
    if kept is None:
        return None
    content = {
        "benchmark": name,
        "command": kept.about["command"],
        "date": kept.about["date"],
        "tasks": {
            task: {"kind": part.kind, "unit": part.unit} for task, part in kept.tasks.items()
        },
        "audit": kept.about["audit"],
        "summary": kept.summary().to_dict("records"),
        "summary_unseen": kept.summary("unseen").to_dict("records"),
        "statistics": {"differences": list(differences(kept))},
    }
    if (kept.folder / PUBLISHED).exists():
        published = read_leaderboard(kept.folder / PUBLISHED)
        content["published"] = {
            task: leaderboard(kept, published, task)[["model", "ours"]].to_dict("records")
            for task in kept.tasks
        }
    if (kept.folder / GUPTA).exists():
        content["gupta"] = beside_gupta(kept)["ratio"].to_dict()
    return plain(content)


def beside_gupta(kept: Kept) -> pd.DataFrame:
    """Give the MAEs of Gupta et al. (2021) on the same splits, and those of our default."""
    found = pd.read_csv(kept.folder / GUPTA).set_index("table")
    ours = kept.only(models=[MAIN]).summary().set_index("task")["mae"]
    found = found.loc[[name for name in ours.index if name in found.index]]
    found["ours"] = ours
    found["best"] = found[["scratch_mae", "transfer_mae"]].min(axis=1)
    found["ratio"] = found["ours"] / found["best"]
    return found


def read_all(results: Path = RESULTS) -> dict[str, dict[str, Any]]:
    """Read the benchmarks that have run, by name."""
    return {name: found for name in BENCHMARKS if (found := read(name, results))}


def differences(kept: Kept) -> Iterator[dict[str, Any]]:
    """Compare all models of each task with those that are shown, fold by fold."""
    for task in kept.tasks:
        part = kept.only([task])
        for baseline in SHOWN:
            if baseline in part.models and len(part.models) > 1:
                yield from compare_models(part, baseline).to_dict("records")


@dataclass(frozen=True)
class Row:
    """One task: the error of our model, ``main``, beside that of the best peer.

    ``ratio`` is ours over theirs, ``low`` and ``high`` its 95 % interval where the two were
    compared fold by fold, and ``verdict`` what the interval says of ours.
    """

    benchmark: str
    task: str
    unit: str
    score: str
    main: str
    errors: dict[str, float]
    peer: str
    ratio: float
    low: float
    high: float
    verdict: str


def error_of(row: Mapping[str, Any], score: str) -> float:
    """Spell a score so that smaller is better; NaN where there is none."""
    value = row.get(score)
    if value is None:
        return math.nan
    return value if score == "mae" else 1 - value


def ran_everywhere(content: Mapping[str, Any]) -> list[str]:
    """Which of the models shown have run on every task."""
    done = {(run["model"], run["task"]) for run in content["summary"]}
    return [m for m in SHOWN if all((m, task) in done for task in content["tasks"])]


def leading(content: Mapping[str, Any]) -> str:
    """Name the model that stands for us: our default, unless only the fast one is complete."""
    return next(iter(ran_everywhere(content)), MAIN)


def compare(
    content: Mapping[str, Any], summary: str = "summary", main: str | None = None
) -> list[Row]:
    """Compare our model with the best peer of each task, by the score all of them have."""
    main = main or leading(content)
    differences = {}
    if summary == "summary":
        for found in content["statistics"].get("differences", ()):
            if found["baseline"] == main:
                differences[found["task"], found["model"]] = found
    rows = []
    for task, about in content["tasks"].items():
        runs = {r["model"]: r for r in content[summary] if r["task"] == task}
        folds = max((r["n_folds"] for r in runs.values()), default=0)
        runs = {m: r for m, r in runs.items() if r["n_folds"] == folds and m != DUMMY}
        if main not in runs:
            continue
        score = next(s for s in ERRORS if not math.isnan(error_of(runs[main], s)))
        errors = {m: error_of(r, score) for m, r in runs.items()}
        peers = [m for m in errors if not is_ours(m) and not math.isnan(errors[m])]
        if not peers:
            continue
        peer = min(peers, key=errors.__getitem__)
        low, high, verdict = math.nan, math.nan, ""
        if (found := differences.get((task, peer))) is not None:
            # peer minus ours, of scores: errors of classes have the other sign
            sign = 1 if score == "mae" else -1
            low, high = sorted(1 - sign * found[end] / errors[peer] for end in ("low", "high"))
            verdict = {"win": "loss", "loss": "win"}.get(found["verdict"], "tie")
        rows.append(
            Row(
                benchmark=content["benchmark"],
                task=task.removeprefix("matbench_"),
                unit=about["unit"],
                score=score,
                main=main,
                errors=errors,
                peer=peer,
                ratio=errors[main] / errors[peer],
                low=low,
                high=high,
                verdict=verdict,
            )
        )
    return rows


def audit_of(content: Mapping[str, Any], task: str) -> dict[str, Any]:
    """Give what the audit found of a task, by its name or without its benchmark's."""
    tasks = content["audit"]["tasks"]
    return next(tasks[name] for name in tasks if task in (name, name.removeprefix("matbench_")))


def new_rows(content: Mapping[str, Any], task: str) -> tuple[int, int]:
    """Count test rows that pretraining has not seen, and all test rows."""
    found = audit_of(content, task)
    return found["test_rows"] - found["test_rows_in_pool"], found["test_rows"]


def known_part(content: Mapping[str, Any], task: str) -> float:
    """Give the part of the test rows of which pretraining knows the quantity asked for."""
    found = audit_of(content, task)
    return found.get("test_rows_with_quantity_in_pool", 0) / found["test_rows"]


@dataclass(frozen=True)
class Verdicts:
    """On how many tasks ours is better, tied or worse by the interval, and ahead by the mean."""

    better: int
    tied: int
    worse: int
    ahead: int

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Verdicts:
        """Count; where there is no interval, the mean decides."""
        found = [verdict(row) for row in rows]
        counts = [found.count(kind) for kind in ("win", "tie", "loss")]
        return cls(*counts, sum(row.ratio < 1 for row in rows))


def verdict(row: Row) -> str:
    """Say what is shown of a row: its interval's verdict, or where there is none its mean's."""
    return row.verdict or ("win" if row.ratio <= 1 else "loss")


def mean_reduction(rows: Sequence[Row], reference: str | None = None) -> float:
    """Average, over tasks with numbers, of the part by which the error is smaller."""
    parts = [
        1 - row.errors[row.main] / row.errors[reference or row.peer]
        for row in rows
        if row.score == "mae" and (reference or row.peer) in row.errors
    ]
    return float(np.mean(parts)) if parts else math.nan


def costs(content: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """Seconds of a fold and error over the reference's: geometric means over all tasks."""
    rows = [row for row in compare(content) if REFERENCE in row.errors]
    models = {m for row in rows for m in row.errors}
    models = {m for m in models if all(not math.isnan(r.errors.get(m, math.nan)) for r in rows)}
    seconds: dict[str, list[float]] = {m: [] for m in models}
    for run in content["summary"]:
        if run["model"] in models:
            seconds[run["model"]].append(run["fit_seconds"] + run["predict_seconds"])
    return {
        m: (
            float(np.exp(np.log(seconds[m]).mean())),
            float(np.exp(np.mean([np.log(r.errors[m] / r.errors[REFERENCE]) for r in rows]))),
        )
        for m in sorted(models)
    }


def front(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """Models that no other beats in both time and error, the fastest first."""
    chosen: list[str] = []
    for model in sorted(points, key=points.__getitem__):
        if not chosen or points[model][1] < points[chosen[-1]][1]:
            chosen.append(model)
    return chosen
