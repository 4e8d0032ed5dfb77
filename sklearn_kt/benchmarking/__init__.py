"""Benchmarks: any scikit-learn estimator on official splits, with an audit and statistics."""

from __future__ import annotations

from .audit import QUANTITIES, CompositionPool, audit_tasks
from .matbench import (
    COMPOSITION_TASKS,
    MatbenchResult,
    leaderboard,
    matbench_task,
    read_leaderboard,
    rescore_matbench,
    run_matbench,
)
from .runner import (
    SCORES,
    BenchmarkResult,
    BenchmarkTask,
    FoldRecord,
    run_tasks,
    score_predictions,
)

__all__ = [
    "COMPOSITION_TASKS",
    "QUANTITIES",
    "SCORES",
    "BenchmarkResult",
    "BenchmarkTask",
    "CompositionPool",
    "FoldRecord",
    "MatbenchResult",
    "audit_tasks",
    "leaderboard",
    "matbench_task",
    "read_leaderboard",
    "rescore_matbench",
    "run_matbench",
    "run_tasks",
    "score_predictions",
]
