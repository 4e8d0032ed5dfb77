"""What readers want of the pages that are no benchmark: a picture and a small table each."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.accuracy.submissions import SUBMISSIONS
from benchmarks.common import Kept

from .contents import MAIN
from .details import transfer_errors
from .figures import Mark, draw_marks
from .submissions import SCORES, TITLES, compared, multiplicity
from .tables import SETS, figure, interval, percent, rises, share, table

# what a reader asks of
LIBRARIES = {
    "as_called": "as a user calls it, formula alone",
    "shipped": "as shipped, with the number of atoms told",
    "without_test": "without the compositions of the test part",
}
FOUND = {"top1": "first candidate", "top20": "one of 20"}
# ways in which a label, and not only calculated properties, could have been seen
SLIPS = ("sibling", "plain folds")
# the forest that stands beside a submission
BESIDE = "rf-magpie *"
# rows that the learning curve is read at
FEW_ROWS, MORE_ROWS = 100, 1000


def structures_short(content: Mapping[str, Any], folder: Path) -> str:
    """Spell how often the known crystal is found, and draw it."""
    marks: dict[str, dict[str, Mark]] = {}
    rows = []
    for name, part in content["results"].items():
        for kind, label in LIBRARIES.items():
            n, found = part[kind]["n"], [part[kind][key] for key in FOUND]
            marks[f"{SETS[name]}, {kind.replace('_', ' ')}"] = {
                label: (value, *interval(value, n))
                for label, value in zip(FOUND.values(), found, strict=True)
            }
            rows.append([SETS[name], label, *(share(value, n) for value in found)])
    draw_marks(marks, folder / "structures.svg", "share of structures that are found")
    said = "Structures that are found, with 95 % intervals; right is better."
    head = ["test part", "library", *FOUND.values()]
    return f"{_picture(folder, 'structures', said)}\n{table(head, rows)}"


def submissions_short(kept: Kept, folder: Path) -> str:
    """Spell which submissions are better on rows whose label could have been seen."""
    if not (kept.folder / SUBMISSIONS).exists():
        return "Not made yet: `python -m benchmarks.accuracy.submissions` does.\n"
    frame = pd.read_parquet(kept.folder / SUBMISSIONS)
    marks: dict[str, dict[str, Mark]] = {}
    rows = []
    for way in SLIPS:
        for task, part in frame.groupby("task", sort=False):
            found = dict(compared(kept, str(task), part, way))
            better = {name: about for name, about in found.items() if about["low"] > 0}
            name = str(task).removeprefix("matbench_")
            for model, about in better.items():
                beside = {model.partition(" ")[0]: about, BESIDE: found[BESIDE]}
                for label, one in beside.items():
                    marks[f"{name}: {label}"] = {"": (one["difference"], one["low"], one["high"])}
                numbers = [figure(about[kind]) for kind in ("exposed", "other")]
                rows.append([model, name, *numbers, SCORES[about["score"]], TITLES[way]])
    label = "better on these rows by"
    draw_marks(marks, folder / "submissions.svg", label, line=0)
    said = (
        "Submissions that are better beyond chance on rows whose label could have been seen, and a "
        "random forest beside each; MAE in eV, or balanced accuracy, with 95 % intervals."
    )
    head = ["submission", "task", "on these rows", "others", "score", "what could have been seen"]
    picture = _picture(folder, "submissions", said)
    return f"{picture}\n{table(head, rows)}\n{multiplicity(kept, frame)}\n"


def transfer_short(
    ablation: Mapping[str, Any], curve: Mapping[str, Any], explicit: Kept, folder: Path
) -> str:
    """Spell by how much pretraining, structures and rows each make errors smaller."""
    pretrained = ablation["relative_reduction"].values()
    earlier = "" if curve.get("weights") else " (earlier weights)"
    parts = {
        "pretraining: the checkpoint": [found["default"] for found in pretrained],
        f"the same, {ablation['steps']:,} steps": [found["all"] for found in pretrained],
        "structures, by the blend": [
            1 - found["blended"] / found["imkt"] for found in transfer_errors(explicit).values()
        ],
        f"{MORE_ROWS:,} rows in place of {FEW_ROWS}{earlier}": _reductions_by_rows(curve),
    }
    marks, rows = {}, []
    for name, found in parts.items():
        mean, error = statistics.mean(found), statistics.stdev(found) / math.sqrt(len(found))
        marks[name] = {"": (mean, mean - error, mean + error)}
        smaller = f"{sum(part > 0 for part in found)} of {len(found)} tables"
        rows.append([name, f"{percent(mean)} ± {percent(error)}", smaller])
    draw_marks(marks, folder / "transfer.svg", "part by which the error is smaller", line=0)
    said = "Mean part by which errors are smaller over the tables, with its standard error."
    return (
        f"{_picture(folder, 'transfer', said)}\n"
        f"{table(['with', 'error smaller by', 'smaller on'], rows)}\n{rises(curve, [MAIN])}"
    )


def _reductions_by_rows(curve: Mapping[str, Any]) -> list[float]:
    """By what part the error of our default is smaller with more rows, for each table."""
    found = pd.DataFrame(curve["scores"])
    errors = found[found["model"] == MAIN].pivot_table("mae", "table", "rows", sort=False)
    return (1 - errors[MORE_ROWS] / errors[FEW_ROWS]).tolist()


def _picture(folder: Path, name: str, said: str) -> str:
    options = f":alt: {said}\n:figclass: narrow"
    return f"```{{figure}} {folder.name}/{name}.svg\n{options}\n\n{said}\n```\n"
