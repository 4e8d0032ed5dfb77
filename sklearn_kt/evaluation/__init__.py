"""Models on folds: tasks, one resumable run, scores, audit, statistics, report.

:func:`evaluate` runs models on :class:`Task` objects, which :func:`table_task` makes of a table
of your own (no composition on both sides of a split) and :mod:`sklearn_kt.benchmarking` of the
tables of public benchmarks.
"""

from __future__ import annotations

from .audit import QUANTITIES, CompositionPool, audit_tasks
from .inspection import TableInspection, inspect_table
from .magpie import MagpieFeaturizer
from .models import MODELS, make_model
from .records import FoldRecord, read_records
from .report import write_html_report, write_plot
from .result import EvaluationResult
from .runner import evaluate
from .scores import SCORES, Score, score_predictions
from .statistics import Ranking, compare_models, mean_reduction, rank_models, win_tie_loss
from .task import Sibling, Task, make_folds, table_task

__all__ = [
    "MODELS",
    "QUANTITIES",
    "SCORES",
    "CompositionPool",
    "EvaluationResult",
    "FoldRecord",
    "MagpieFeaturizer",
    "Ranking",
    "Score",
    "Sibling",
    "TableInspection",
    "Task",
    "audit_tasks",
    "compare_models",
    "evaluate",
    "inspect_table",
    "make_folds",
    "make_model",
    "mean_reduction",
    "rank_models",
    "read_records",
    "score_predictions",
    "table_task",
    "win_tie_loss",
    "write_html_report",
    "write_plot",
]
