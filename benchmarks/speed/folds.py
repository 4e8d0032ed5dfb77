"""Seconds and memory of one fold of each MatBench task that reads formulas, on one core.

OMP_NUM_THREADS=1 SKLEARN_KT_DATA=<folder> python -m benchmarks.speed.folds
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.common import how_made, write_json
from sklearn_kt.benchmarking import matbench_tasks
from sklearn_kt.evaluation import evaluate
from sklearn_kt.evaluation.text import summary_text

MODELS = ("imkt-fast", "rf-magpie", "imkt")
SHOWN = ["model", "task", "fit_seconds", "predict_seconds", "peak_mb"]


def main() -> None:
    """Run, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data-dir", type=Path, help="default: SKLEARN_KT_DATA")
    args = parser.parse_args()
    result = evaluate(MODELS, matbench_tasks(None, args.data_dir), folds=[0], verbose=1)
    summary = result.summary()
    write_json("cost", {**how_made(), "summary": summary[SHOWN].to_dict("records")})
    print(summary_text(summary).to_string(index=False))


if __name__ == "__main__":
    main()
