"""What the command line says about benchmarks."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import pandas as pd

from sklearn_kt.datasets import MATBENCH_TASKS
from sklearn_kt.exceptions import InputError

from .matbench import (
    COMPOSITION_TASKS,
    find_leaderboard,
    leaderboard,
    read_leaderboard,
    run_matbench,
)
from .statistics import compare_models
from .tables import audit_lines, comparison_text, leaderboard_text, summary_text

__all__ = ["matbench_tables"]

_GROUPS = {"composition": COMPOSITION_TASKS, "all": tuple(MATBENCH_TASKS)}

_UNSEEN = {
    "regression": {"n_test": "rows", "mae": "MAE", "rmse": "RMSE"},
    "classification": {
        "n_test": "rows",
        "roc_auc": "ROC AUC",
        "roc_auc_of_labels": "ROC AUC of labels",
        "accuracy": "accuracy",
    },
}


def matbench_tables(args: argparse.Namespace) -> Iterator[tuple[str, pd.DataFrame, list[str]]]:
    """Run ``sklearn-kt matbench``; yield title, table and closing lines of each part.

    Parameters
    ----------
    args : argparse.Namespace
        ``tasks``, ``models``, ``data_dir``, ``leaderboard``, ``output_dir``, ``pool``,
        ``random_state`` and ``n_jobs`` of the command line.

    Yields
    ------
    part : tuple of (str, DataFrame of str, list of str)
        One leaderboard per task, then times, and scores on unseen rows.
    """
    names = _split(args.models)
    path = args.leaderboard or find_leaderboard(args.data_dir)
    published = None if path is None else read_leaderboard(path)
    result = run_matbench(
        {name: name for name in names},
        _GROUPS.get(args.tasks) or _split(args.tasks),
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
        yield title, leaderboard_text(leaderboard(result, published, name)), lines
    yield "Time and memory of a fold", summary_text(result.summary(), {}), audit_lines(result.audit)
    if len(names) > 1:
        lines = ["fold by fold; 95 % intervals, corrected for overlapping training parts"]
        yield "Paired differences", comparison_text(compare_models(result, names[0])), lines
    if result.unseen:
        for kind, scores in _UNSEEN.items():
            chosen = result.summary("unseen")
            chosen = chosen[[result.tasks[task].kind == kind for task in chosen["task"]]]
            if len(chosen):
                title = f"Scores on test rows that pretraining has not seen ({kind})"
                yield title, summary_text(chosen, scores, times=False), []


def _split(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if len(set(names)) < len(names):
        raise InputError(f"A name occurs twice in {text}.")
    return names
