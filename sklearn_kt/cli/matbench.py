"""``sklearn-kt matbench``: models on a public benchmark, beside its leaderboard."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sklearn_kt.exceptions import InputError

from .console import print_table, tell
from .options import add_data_dir, add_models, add_seed

if TYPE_CHECKING:
    import pandas as pd

_UNSEEN = {
    "regression": {"n_test": "rows", "mae": "MAE", "rmse": "RMSE"},
    "classification": {
        "n_test": "rows",
        "roc_auc": "ROC AUC",
        "roc_auc_of_labels": "ROC AUC of labels",
        "accuracy": "accuracy",
    },
}


def add_parser(commands: Any) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "matbench",
        help="run MatBench and print the leaderboard",
        description="Run models on the official folds of MatBench v0.1 and print where they stand"
        " among published submissions, with an audit of what test rows share with training and"
        " pretraining.",
    )
    parser.add_argument(
        "--tasks",
        default="composition",
        metavar="A,B,...",
        help="tasks, or 'composition' (the four whose input is a formula) or 'all' (structure"
        " tasks by composition) (default: %(default)s)",
    )
    add_models(parser)
    add_data_dir(parser)
    parser.add_argument(
        "--leaderboard",
        metavar="PATH",
        help="recorded scores of published submissions by fold: a CSV file, or a folder with"
        " leaderboard_scores.csv (default: the data folder, if it has that file)",
    )
    parser.add_argument(
        "--output-dir",
        metavar="DIR",
        help="keep the predictions of each fold there, so that a stopped run goes on, and write"
        " matbench.json and the official results files",
    )
    parser.add_argument(
        "--pool",
        metavar="FILE",
        help="compositions that the checkpoint was pretrained on (default: those beside it)",
    )
    add_seed(parser)
    parser.add_argument(
        "--n-jobs", type=int, default=1, metavar="N", help="folds run at the same time (default: 1)"
    )
    parser.set_defaults(run=run, interrupted="with an --output-dir, the same command goes on")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    for title, table, lines in _tables(args):
        print_table(title, table)
        print("", *lines, sep="\n", end="\n\n")
    if args.output_dir:
        tell("wrote", f"{Path(args.output_dir) / 'matbench.json'} and the files beside it")


def _tables(args: argparse.Namespace) -> Iterator[tuple[str, pd.DataFrame, list[str]]]:
    """Yield title, table and closing lines of each part."""
    from sklearn_kt.benchmarking import matbench, tables
    from sklearn_kt.benchmarking.statistics import compare_models
    from sklearn_kt.datasets import MATBENCH_TASKS

    groups = {"composition": matbench.COMPOSITION_TASKS, "all": tuple(MATBENCH_TASKS)}
    names = _split(args.models)
    path = args.leaderboard or matbench.find_leaderboard(args.data_dir)
    published = None if path is None else matbench.read_leaderboard(path)
    result = matbench.run_matbench(
        {name: name for name in names},
        groups.get(args.tasks) or _split(args.tasks),
        data_dir=args.data_dir,
        output_dir=args.output_dir,
        pool=args.pool,
        random_state=args.random_state,
        n_jobs=args.n_jobs,
        verbose=1,
        metadata={"command": args.command_line},
        command=args.command_line,
    )
    for name in result.tasks:
        spec = MATBENCH_TASKS[name]
        title = f"{name}: {spec.kind} of {spec.target}{f' in {spec.unit}' if spec.unit else ''}"
        lines = ["* run here; the others are recorded scores of published submissions"]
        if published is None:
            lines = ["* run here; no recorded scores were found (--leaderboard)"]
        yield title, tables.leaderboard_text(matbench.leaderboard(result, published, name)), lines
    times = tables.summary_text(result.summary(), {})
    yield "Time and memory of a fold", times, tables.audit_lines(result.audit)
    if len(names) > 1:
        lines = ["fold by fold; 95 % intervals, corrected for overlapping training parts"]
        yield "Paired differences", tables.comparison_text(compare_models(result, names[0])), lines
    if result.unseen:
        for kind, scores in _UNSEEN.items():
            chosen = result.summary("unseen")
            chosen = chosen[[result.tasks[task].kind == kind for task in chosen["task"]]]
            if len(chosen):
                title = f"Scores on test rows that pretraining has not seen ({kind})"
                yield title, tables.summary_text(chosen, scores, times=False), []


def _split(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if len(set(names)) < len(names):
        raise InputError(f"A name occurs twice in {text}.")
    return names
