"""Error against the size of the training table, with and without pretraining.

    SKLEARN_KT_DATA=<folder> python -m benchmarks.accuracy.learning_curve --work <folder>

Nested random samples of the training rows of matbench_expt_gap (official fold 0) and of two
JARVIS-DFT tables (their fixed split); always the same test rows. Folds are kept in --work, and a
run that was stopped goes on. Writes results/learning_curve.json.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.common import how_made, weights_named, write_json
from benchmarks.site.figures import LEARNERS
from sklearn_kt.benchmarking import jarvis_tasks, matbench_tasks
from sklearn_kt.evaluation import Task, evaluate

SIZES = (50, 100, 300, 1000, 3000)
TABLES = ("matbench_expt_gap", "bulkmoduluskv", "meps")


def samples(task: Task) -> list[Task]:
    """Make a task of each size of the training part."""
    train, test = task.folds[0]
    # every smaller sample is a part of the larger ones
    order = np.random.default_rng(0).permutation(train)
    return [
        replace(task, name=f"{task.name}.{size}", folds={0: (order[:size], test)}) for size in SIZES
    ]


def main() -> None:
    """Run what is missing, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--work", type=Path, required=True, help="where folds are kept")
    parser.add_argument("--data-dir", type=Path, help="default: SKLEARN_KT_DATA")
    args = parser.parse_args()
    tables = [
        *matbench_tasks(TABLES[0], args.data_dir),
        *jarvis_tasks(TABLES[1:], args.data_dir),
    ]
    tasks = [sample for table in tables for sample in samples(table)]
    result = evaluate(list(LEARNERS), tasks, output_dir=args.work, verbose=1)
    frame = result.summary()
    names = frame["task"].str.rpartition(".")
    frame = frame.assign(
        table=names[0],
        rows=names[2].astype(int),
        unit=[result.tasks[name].unit for name in frame["task"]],
        fit_s=frame["fit_seconds"].round(1),
    )
    frame = frame.sort_values("rows", kind="stable")
    scores = frame[["table", "unit", "model", "rows", "mae", "fit_s"]]
    # folds that were kept may be of other weights than those of today
    weights = sorted({sha for r in result.records for sha in weights_named(r.estimator).values()})
    about = {**how_made(), "weights": weights}
    write_json("learning_curve", {**about, "scores": scores.to_dict("records")})
    columns = scores.pivot_table(index=["table", "rows"], columns="model", values="mae", sort=False)
    print(columns.to_string(float_format="{:.3g}".format))


if __name__ == "__main__":
    main()
