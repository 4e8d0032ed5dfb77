"""How often the truth lies inside predicted intervals, on the test rows of official folds.

    SKLEARN_KT_DATA=<folder> python -m benchmarks.accuracy.intervals

Fits the regression tasks of MatBench that read formulas (all five folds) and four JARVIS-DFT
tables (their fixed split) and compares the share of covered test rows with the nominal
one, over all test rows of a task and over groups of them: those predicted to have the most
frequent value (a gap of 0) or not, known or new to pretraining, of a composition that the training
table has too or has not, and by the anion. Writes results/intervals.json, and the bounds of every
test row, from which it is computed, into results/intervals.parquet. About 15 minutes on one core
with the fast readout.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.accuracy.compare import POOL
from benchmarks.common import RESULTS, how_made, weights_named, write_json
from sklearn_kt._files import replacing
from sklearn_kt.benchmarking import jarvis_tasks, matbench_tasks
from sklearn_kt.compositions import ELEMENTS, composition_groups, read_compositions
from sklearn_kt.encoder.pool import find_keys, read_pool
from sklearn_kt.estimators.base import told_once
from sklearn_kt.evaluation import make_model
from sklearn_kt.evaluation.runner import describe_model

TASKS = (
    "matbench_steels",
    "matbench_expt_gap",
    "piezo_max_dij",
    "bulkmoduluskv",
    "ehull",
    "optb88vdw_bandgap",
)
BOUNDS = "intervals.parquet"
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


def bounds_of(name: str, model: str, data_dir: Path | None) -> pd.DataFrame:
    """Target and bounds of every test row of a task, and the groups that it is of."""
    [task] = (matbench_tasks if name.startswith("matbench") else jarvis_tasks)(name, data_dir)
    codes = composition_groups(task.formulas)
    found = []
    for fold, (train, test) in task.folds.items():
        estimator: Any = make_model(model, "regression", random_state=0)
        estimator.fit(task.formulas[train], task.y[train])
        columns = {"y": task.y[test]}
        for level in LEVELS:
            with told_once():
                predictions, bounds = estimator.predict(task.formulas[test], coverage=level)
            columns |= dict(zip(bound_columns(level), bounds.T, strict=True))
        groups = groups_of(task.formulas[test], predictions, task.y)
        repeats = np.isin(codes[test], codes[train])
        groups |= {"compositions of the table": repeats, "other compositions": ~repeats}
        frame = pd.DataFrame(columns, dtype=np.float32)
        frame.insert(0, "task", name)
        frame.insert(1, "unit", task.unit)
        frame.insert(2, "fold", fold)
        frame.insert(3, "id", task.ids[test])
        # one column, whatever the groups of the other tasks are
        frame["groups"] = [
            [group for group, rows in groups.items() if rows[i]] for i in range(len(test))
        ]
        found.append(frame)
        print(name, f"{len(found)} of {len(task.folds)} folds", file=sys.stderr)
    return pd.concat(found, ignore_index=True)


def bound_columns(level: float) -> tuple[str, str]:
    """Name the columns of an interval's bounds."""
    return f"low_{level:g}", f"high_{level:g}"


def coverage(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Coverage and mean width of each task at every level."""
    rows = []
    for name, part in frame.groupby("task", sort=False):
        groups = dict.fromkeys(group for names in part["groups"] for group in names)
        members = {
            group: np.array([group in names for names in part["groups"]]) for group in groups
        }
        for level in LEVELS:
            low, high = (part[column] for column in bound_columns(level))
            inside = part["y"].between(low, high)
            rows.append(
                {
                    "task": name,
                    "unit": part["unit"].iloc[0],
                    "nominal": level,
                    "covered": float(inside.mean()),
                    "worst_fold": float(inside.groupby(part["fold"]).mean().min()),
                    "mean_width": float((high - low).astype(float).mean()),
                    "n_test": len(part),
                    "groups": {
                        group: {
                            "n_test": int(chosen.sum()),
                            "covered": float(inside[chosen].mean()),
                        }
                        for group, chosen in members.items()
                        if level in GROUP_LEVELS
                    },
                }
            )
    return rows


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
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args()
    frame = pd.concat(
        [bounds_of(name, args.model, args.data_dir) for name in args.tasks], ignore_index=True
    )
    with replacing(args.results / BOUNDS) as path:
        frame.to_parquet(path, index=False, compression="zstd")
    rows = coverage(frame)
    estimator = make_model(args.model, "regression", random_state=0)
    content = {
        **how_made(),
        "model": args.model,
        "weights": sorted(weights_named(describe_model(estimator)).values()),
        "largest_deviation": max(abs(row["covered"] - row["nominal"]) for row in rows),
        "rows": rows,
    }
    write_json("intervals", content, args.results)
    shown = pd.DataFrame(rows).drop(columns="groups")
    print(shown.to_string(index=False, float_format="{:.3f}".format))


if __name__ == "__main__":
    main()
