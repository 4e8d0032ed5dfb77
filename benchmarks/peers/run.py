"""Run one of the peers on folds of a benchmark, in its own environment, by one command.

    python benchmarks/peers/run.py crabnet --tasks matbench_steels --folds 0

The environment is made at the first run (in .venv-peers, or in $PEER_ENVIRONMENTS), from the
pinned versions in requirements/. Folds that have a result are not run again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from external import EXTERNAL, install
from sklearn_kt.benchmarking.tables import summary_text
from zoo import OURS, PEERS, model

from sklearn_kt.benchmarking import COMPOSITION_TASKS, JARVIS_TABLES, run_jarvis, run_matbench

RESULTS = Path(__file__).parents[1] / "results"


def main() -> None:
    """Run and print scores, times and memory."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("models", nargs="+", choices=(*PEERS, *OURS), metavar="MODEL")
    parser.add_argument("--benchmark", choices=("matbench", "jarvis"), default="matbench")
    parser.add_argument("--tasks", nargs="+", help="default: the composition tasks; all tables")
    parser.add_argument("--folds", nargs="+", type=int, help="of MatBench; default: all")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--output-dir", type=Path, help="default: benchmarks/results/BENCHMARK")
    parser.add_argument("--n-jobs", type=int, default=1, help="folds at the same time")
    args = parser.parse_args()
    for name in set(args.models) & set(EXTERNAL):
        install(name)
    models = {name: model(name) for name in args.models}
    output = args.output_dir or RESULTS / args.benchmark
    options = {"data_dir": args.data_dir, "n_jobs": args.n_jobs, "verbose": 1}
    if args.benchmark == "matbench":
        tasks, folds = args.tasks or COMPOSITION_TASKS, args.folds
        result = run_matbench(models, tasks, folds=folds, output_dir=output, **options)
    else:
        result = run_jarvis(models, args.tasks or JARVIS_TABLES, output_dir=output, **options)
    scores = {"mae": "MAE", "roc_auc": "ROC AUC", "roc_auc_of_labels": "ROC AUC of labels"}
    summary = result.summary()
    shown = {name: label for name, label in scores.items() if name in summary}
    print(summary_text(summary, shown).to_string(index=False))


if __name__ == "__main__":
    main()
