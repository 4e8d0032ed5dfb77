"""Benchmarks: any scikit-learn estimator on official splits, with an audit and statistics."""

from __future__ import annotations

from .audit import QUANTITIES, CompositionPool, audit_tasks
from .jarvis import JARVIS_TABLES, jarvis_task, run_jarvis
from .llm4mat import (
    LLM4MAT_DATASETS,
    llm4mat_averages,
    llm4mat_comparison,
    llm4mat_task,
    run_llm4mat,
)
from .matbench import (
    COMPOSITION_TASKS,
    MatbenchResult,
    leaderboard,
    matbench_task,
    read_leaderboard,
    rescore_matbench,
    run_matbench,
)
from .protocol import run_benchmark
from .runner import (
    SCORES,
    BenchmarkResult,
    BenchmarkTask,
    FoldRecord,
    read_records,
    run_tasks,
    score_predictions,
)
from .statistics import (
    HEADLINES,
    Ranking,
    compare_models,
    mean_reduction,
    rank_models,
    win_tie_loss,
)

__all__ = [
    "COMPOSITION_TASKS",
    "HEADLINES",
    "JARVIS_TABLES",
    "LLM4MAT_DATASETS",
    "QUANTITIES",
    "SCORES",
    "BenchmarkResult",
    "BenchmarkTask",
    "CompositionPool",
    "FoldRecord",
    "MatbenchResult",
    "Ranking",
    "audit_tasks",
    "compare_models",
    "jarvis_task",
    "leaderboard",
    "llm4mat_averages",
    "llm4mat_comparison",
    "llm4mat_task",
    "matbench_task",
    "mean_reduction",
    "rank_models",
    "read_leaderboard",
    "read_records",
    "rescore_matbench",
    "run_benchmark",
    "run_jarvis",
    "run_llm4mat",
    "run_matbench",
    "run_tasks",
    "score_predictions",
    "win_tie_loss",
]
