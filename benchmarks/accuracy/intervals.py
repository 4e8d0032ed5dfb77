"""How often the truth lies inside predicted intervals, on the test rows of official folds.

    SKLEARN_KT_DATA=<folder> python -m benchmarks.accuracy.intervals

Fits the regression tasks of MatBench that read formulas (all five folds) and two JARVIS-DFT
tables (their fixed split) and compares the share of covered test rows with the nominal
one, over all test rows of a task. Writes results/intervals.json. About 4 minutes on one core
with the fast readout.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.common import how_made, write_json
from sklearn_kt.benchmarking import jarvis_tasks, matbench_tasks
from sklearn_kt.evaluation import make_model

TASKS = ("matbench_steels", "matbench_expt_gap", "piezo_max_dij", "bulkmoduluskv")
LEVELS = (0.5, 0.68, 0.8, 0.9, 0.95)


def rows_of(name: str, model: str, data_dir: Path | None) -> list[dict[str, Any]]:
    """Coverage and mean width of one task at every level."""
    [task] = (matbench_tasks if name.startswith("matbench") else jarvis_tasks)(name, data_dir)
    inside: dict[float, list[np.ndarray]] = {level: [] for level in LEVELS}
    widths: dict[float, list[np.ndarray]] = {level: [] for level in LEVELS}
    for train, test in task.folds.values():
        estimator: Any = make_model(model, "regression", random_state=0)
        estimator.fit(task.formulas[train], task.y[train])
        for level in LEVELS:
            low, high = estimator.predict_interval(task.formulas[test], level).T
            inside[level].append((low <= task.y[test]) & (task.y[test] <= high))
            widths[level].append(high - low)
        print(name, f"{len(inside[LEVELS[0]])} of {len(task.folds)} folds", file=sys.stderr)
    return [
        {
            "task": name,
            "unit": task.unit,
            "nominal": level,
            "covered": float(np.concatenate(inside[level]).mean()),
            "worst_fold": float(min(part.mean() for part in inside[level])),
            "mean_width": float(np.concatenate(widths[level]).mean()),
            "n_test": int(sum(map(len, inside[level]))),
        }
        for level in LEVELS
    ]


def main() -> None:
    """Run, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--model", default="imkt-fast", help="as of sklearn-kt (default: imkt-fast)"
    )
    parser.add_argument("--tasks", nargs="+", default=TASKS)
    parser.add_argument("--data-dir", type=Path, help="default: SKLEARN_KT_DATA")
    args = parser.parse_args()
    rows = [row for name in args.tasks for row in rows_of(name, args.model, args.data_dir)]
    content = {
        **how_made(),
        "model": args.model,
        "largest_deviation": max(abs(row["covered"] - row["nominal"]) for row in rows),
        "rows": rows,
    }
    write_json("intervals", content)
    print(pd.DataFrame(rows).to_string(index=False, float_format="{:.3f}".format))


if __name__ == "__main__":
    main()
