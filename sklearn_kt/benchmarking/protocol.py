"""What all benchmarks have in common: run, audit, keep."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from .audit import CompositionPool, Relation, audit_tasks, find_pool
from .runner import (
    BenchmarkResult,
    BenchmarkTask,
    Model,
    checkpoints_of,
    named_models,
    run_tasks,
)

__all__ = ["run_benchmark"]


def run_benchmark(
    benchmark: str,
    estimator: Model | Mapping[str, Model],
    tasks: Sequence[BenchmarkTask],
    *,
    folds: Iterable[int] | None = None,
    output_dir: str | os.PathLike[str] | None = None,
    pool: CompositionPool | str | os.PathLike[str] | None = None,
    relations: Sequence[Relation] = (),
    siblings: Mapping[str, BenchmarkTask] | None = None,
    command: str | None = None,
    random_state: int | None = 0,
    n_jobs: int | None = None,
    verbose: int = 0,
) -> BenchmarkResult:
    """Run estimators on tables with fixed splits, and audit the splits.

    Parameters
    ----------
    benchmark : str
        Its name; that of the JSON file in `output_dir` too.
    estimator : estimator, str, callable, or mapping of str to these
        As for :func:`~sklearn_kt.benchmarking.run_matbench`.
    tasks : sequence of BenchmarkTask
        The tables.
    folds : iterable of int or None, default=None
        Numbers of the folds; None runs all.
    output_dir : path-like or None, default=None
        Folder that keeps each fold's predictions at once, in ``folds/``; a run that was
        stopped goes on from there. At the end it gets ``<benchmark>.json``.
    pool : CompositionPool, path-like or None, default=None
        Compositions that the models were pretrained on, for the audit. None takes
        ``pool.npz`` in the folders of the checkpoints that the models start from.
    relations : sequence of Relation, default=()
        Known leaks between tasks.
    siblings : mapping of str to BenchmarkTask or None, default=None
        Tables of related tasks that are not among `tasks`.
    command : str or None, default=None
        The command that made the result; kept in the JSON file.
    random_state : int or None, default=0
        Seed of models given by name.
    n_jobs : int or None, default=None
        Folds that run at the same time, with joblib.
    verbose : int, default=0
        If positive, show progress on stderr.

    Returns
    -------
    result : BenchmarkResult
        Predictions, scores and audit.

    Raises
    ------
    InputError
        If an estimator does not suit a task, or `output_dir` holds the results of another
        model under the same name.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_kt.benchmarking import BenchmarkTask, run_benchmark
    >>> formulas = np.array(["NaCl", "KCl", "LiF"], dtype=object)
    >>> split = {0: (np.array([0, 1]), np.array([2]))}
    >>> gaps = BenchmarkTask(
    ...     "gaps", "regression", formulas, np.array([8.5, 8.4, 14.2]), np.arange(3), split
    ... )
    >>> result = run_benchmark("mine", "dummy", [gaps])
    >>> result.summary()[["model", "task", "mae"]]
       model  task   mae
    0  dummy  gaps  5.75
    """
    models = named_models(estimator)
    records = run_tasks(
        models,
        tasks,
        folds=folds,
        output_dir=output_dir,
        random_state=random_state,
        n_jobs=n_jobs,
        verbose=verbose,
    )
    known, why = find_pool(pool, checkpoints_of(models, tasks))
    audit, unseen = audit_tasks(
        tasks, pool=known, pool_missing=why, relations=relations, siblings=siblings
    )
    result = BenchmarkResult(benchmark, {task.name: task for task in tasks}, records, audit, unseen)
    if output_dir is not None:
        result.write(Path(output_dir) / f"{benchmark}.json", command=command)
    return result
