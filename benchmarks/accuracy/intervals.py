"""How often the truth lies inside predicted intervals, on the test rows of official folds.

    SKLEARN_KT_DATA=<folder> python -m benchmarks.accuracy.intervals

Fits the regression tasks of MatBench that read formulas (all five folds) and two JARVIS-DFT
tables (their fixed split) and compares the share of covered test rows with the nominal
one, over all test rows of a task and over groups of them: those predicted to have the most
frequent value (a gap of 0) or not, known or new to pretraining, and by the anion. Writes
results/intervals.json. About 10 minutes on one core with the fast readout.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.accuracy.compare import POOL
from benchmarks.common import how_made, write_json
from sklearn_kt.benchmarking import jarvis_tasks, matbench_tasks
from sklearn_kt.compositions import ELEMENTS, read_compositions
from sklearn_kt.encoder.pool import find_keys, read_pool
from sklearn_kt.estimators.base import told_once
from sklearn_kt.evaluation import make_model

TASKS = ("matbench_steels", "matbench_expt_gap", "piezo_max_dij", "bulkmoduluskv")
LEVELS = (0.5, 0.68, 0.8, 0.9, 0.95)
# groups are shown at these
GROUP_LEVELS = (0.8, 0.9)
# the first of which a formula has some decides
ANIONS = {
    "oxides": ("O",),
    "halides": ("F", "Cl", "Br", "I"),
    "chalcogenides": ("S", "Se", "Te"),
    "pnictides": ("N", "P", "As", "Sb", "Bi"),
}
# part of the targets that makes a value frequent, and how near to it a prediction means it, in
# standard deviations
FREQUENT, NEAR = 0.1, 0.02


def rows_of(name: str, model: str, data_dir: Path | None) -> list[dict[str, Any]]:
    """Coverage and mean width of one task at every level."""
    [task] = (matbench_tasks if name.startswith("matbench") else jarvis_tasks)(name, data_dir)
    inside: dict[float, list[np.ndarray]] = {level: [] for level in LEVELS}
    widths: dict[float, list[np.ndarray]] = {level: [] for level in LEVELS}
    found: list[dict[str, np.ndarray]] = []
    for train, test in task.folds.values():
        estimator: Any = make_model(model, "regression", random_state=0)
        estimator.fit(task.formulas[train], task.y[train])
        for level in LEVELS:
            with told_once():
                predictions, bounds = estimator.predict(task.formulas[test], coverage=level)
            low, high = bounds.T
            inside[level].append((low <= task.y[test]) & (task.y[test] <= high))
            widths[level].append(high - low)
        found.append(groups_of(task.formulas[test], predictions, task.y))
        print(name, f"{len(inside[LEVELS[0]])} of {len(task.folds)} folds", file=sys.stderr)
    groups = {group: np.concatenate([part[group] for part in found]) for group in found[0]}
    return [
        {
            "task": name,
            "unit": task.unit,
            "nominal": level,
            "covered": float(np.concatenate(inside[level]).mean()),
            "worst_fold": float(min(part.mean() for part in inside[level])),
            "mean_width": float(np.concatenate(widths[level]).mean()),
            "n_test": int(sum(map(len, inside[level]))),
            "groups": {
                group: {
                    "n_test": int(rows.sum()),
                    "covered": float(np.concatenate(inside[level])[rows].mean()),
                }
                for group, rows in groups.items()
                if level in GROUP_LEVELS and rows.any()
            },
        }
        for level in LEVELS
    ]


def groups_of(
    formulas: np.ndarray, predictions: np.ndarray, known: np.ndarray
) -> dict[str, np.ndarray]:
    """Tell which rows are of which group; known are the targets of the table."""
    groups = {}
    values, counts = np.unique(known, return_counts=True)
    if counts.max() >= FREQUENT * len(known):
        value = values[counts.argmax()]
        near = np.abs(predictions - value) <= NEAR * known.std()
        groups |= {f"predicted as {value:g}": near, "predicted as another value": ~near}
    seen = find_keys(read_pool(POOL)["keys"], formulas) >= 0
    groups |= {"known to pretraining": seen, "new to pretraining": ~seen}
    amounts = read_compositions(formulas).fractions()
    left = np.ones(len(formulas), dtype=bool)
    for name, symbols in ANIONS.items():
        holds = (amounts[:, np.isin(ELEMENTS, symbols)] > 0).any(axis=1)
        groups[name] = left & holds
        left &= ~holds
    return groups | {"without anions": left}


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
    shown = pd.DataFrame(rows).drop(columns="groups")
    print(shown.to_string(index=False, float_format="{:.3f}".format))


if __name__ == "__main__":
    main()
