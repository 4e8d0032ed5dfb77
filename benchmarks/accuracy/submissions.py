"""Recorded submissions to MatBench, split by whether they could have seen their answers.

    python -m benchmarks.accuracy.submissions

Puts the recorded predictions of matbench/recorded_predictions/ in SKLEARN_KT_DATA beside the
targets, and what could have been seen of each row, into
benchmarks/results/matbench/recorded.parquet. The page about them is computed from that file and
from our own predictions, when the site is built.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.accuracy.compare import POOL
from benchmarks.common import RESULTS
from sklearn_kt._files import replacing
from sklearn_kt.benchmarking import matbench_tasks
from sklearn_kt.benchmarking.exposure import EXPOSURES, find_exposed
from sklearn_kt.datasets import data_home
from sklearn_kt.evaluation import CompositionPool, Task

SUBMISSIONS = "recorded.parquet"
PRETRAINING = "pretraining"
# columns that are no submissions
ABOUT = ("task", "fold", "id", "y", *EXPOSURES, PRETRAINING)


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args()
    home = data_home()
    if home is None:
        parser.error("set SKLEARN_KT_DATA to the folder of the data files")
    pool = CompositionPool.load(POOL)
    folder = home / "matbench" / "recorded_predictions"
    tables = [rows_of(task, folder, pool) for task in matbench_tasks()]
    path = args.results / "matbench" / SUBMISSIONS
    with replacing(path) as part:
        pd.concat(tables).to_parquet(part, index=False, compression="zstd")


def rows_of(task: Task, folder: Path, pool: CompositionPool) -> pd.DataFrame:
    """Give the test rows of a task, fold after fold, with what was predicted."""
    name = task.name.removeprefix("matbench_")
    recorded = pd.read_csv(folder / f"{name}.csv.gz").set_index("mbid").drop(columns="test_fold")
    order = np.concatenate([test for _, test in task.folds.values()])
    frame = pd.DataFrame(
        {
            "task": task.name,
            "fold": np.repeat(list(task.folds), [len(test) for _, test in task.folds.values()]),
            "id": task.ids[order],
            "y": task.y[order].astype(float),
        }
    )
    for way, flags in find_exposed(task).items():
        frame[way] = flags[order]
    frame[PRETRAINING] = pool.contains(task.formulas).astype(float)[order]
    return frame.join(recorded, on="id")


if __name__ == "__main__":
    main()
