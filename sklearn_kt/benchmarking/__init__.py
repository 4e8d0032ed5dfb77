"""Public benchmarks: tables with official splits, official files, published results.

The tasks run like any other, by :func:`sklearn_kt.evaluation.evaluate`.
"""

from __future__ import annotations

from .exposure import EXPOSURES, audit_predictions
from .jarvis import JARVIS_TABLES, jarvis_tasks
from .llm4mat import LLM4MAT_DATASETS, llm4mat_averages, llm4mat_comparison, llm4mat_tasks
from .matbench import COMPOSITION_TASKS, matbench_tasks
from .official import (
    official_tasks,
    record_official,
    rescore_official,
    write_official,
)
from .published import leaderboard, read_leaderboard
from .thermoelectrics import thermoelectric_tasks

__all__ = [
    "COMPOSITION_TASKS",
    "EXPOSURES",
    "JARVIS_TABLES",
    "LLM4MAT_DATASETS",
    "audit_predictions",
    "jarvis_tasks",
    "leaderboard",
    "llm4mat_averages",
    "llm4mat_comparison",
    "llm4mat_tasks",
    "matbench_tasks",
    "official_tasks",
    "read_leaderboard",
    "record_official",
    "rescore_official",
    "thermoelectric_tasks",
    "write_official",
]
