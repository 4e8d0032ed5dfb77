"""Models on folds: tasks, one resumable run, scores, audit, statistics, report.

:func:`evaluate` runs models on :class:`Task` objects, which :func:`table_task` makes of a table
of your own (no composition on both sides of a split) and :mod:`sklearn_kt.benchmarking` of the
tables of public benchmarks.
"""

from __future__ import annotations

from .audit import QUANTITIES, CompositionPool, audit_tasks
from .magpie import MagpieFeaturizer
from .models import MODELS, NamedModel, make_model
from .records import FoldRecord, read_records
from .report import prediction_sample, write_html_report, write_parity_plot, write_roc_plot
from .result import EvaluationResult
from .runner import FoldPrediction, evaluate, fit_and_predict
from .scores import HEADLINES, SCORES, Score, score_predictions, scores_of
from .statistics import Ranking, compare_models, mean_reduction, rank_models, win_tie_loss
from .task import Sibling, Task, make_folds, table_task
from .text import audit_lines, comparison_text, summary_text

__all__ = [
    "HEADLINES",
    "MODELS",
    "QUANTITIES",
    "SCORES",
    "CompositionPool",
    "EvaluationResult",
    "FoldPrediction",
    "FoldRecord",
    "MagpieFeaturizer",
    "NamedModel",
    "Ranking",
    "Score",
    "Sibling",
    "Task",
    "audit_lines",
    "audit_tasks",
    "compare_models",
    "comparison_text",
    "evaluate",
    "fit_and_predict",
    "make_folds",
    "make_model",
    "mean_reduction",
    "prediction_sample",
    "rank_models",
    "read_records",
    "score_predictions",
    "scores_of",
    "summary_text",
    "table_task",
    "win_tie_loss",
    "write_html_report",
    "write_parity_plot",
    "write_roc_plot",
]
