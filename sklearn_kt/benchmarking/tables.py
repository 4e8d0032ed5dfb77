"""Results as text tables, for the command line and the documentation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from .runner import SCORES

__all__ = ["audit_lines", "comparison_text", "leaderboard_text", "summary_text"]

_TIMES = {"fit_seconds": "fit s", "predict_seconds": "predict s", "peak_mb": "peak MB"}


def figure(mean: float, spread: float | None = None) -> str:
    """Spell a score, with its spread over the folds."""
    if mean is None or not math.isfinite(mean):
        return "-"
    if isinstance(mean, int | np.integer):
        return str(mean)
    decimals = 4 if abs(mean) < 10 else 2
    if spread is None or not math.isfinite(spread):
        return f"{mean:.{decimals}f}"
    return f"{mean:.{decimals}f} ± {spread:.{decimals}f}"


def leaderboard_text(table: pd.DataFrame) -> pd.DataFrame:
    """Spell a leaderboard; our models are marked with an asterisk.

    Parameters
    ----------
    table : DataFrame
        Of :func:`~sklearn_kt.benchmarking.leaderboard`.

    Returns
    -------
    text : DataFrame of str
        Rank, model, and each score as mean ± standard deviation over the folds.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_kt.benchmarking import leaderboard
    >>> from sklearn_kt.benchmarking.tables import leaderboard_text
    >>> published = pd.DataFrame(
    ...     {"model": "a", "task": "matbench_steels", "fold": [0, 1], "mae": [90.0, 80.0]}
    ... )
    >>> leaderboard_text(leaderboard(None, published, "matbench_steels"))
      rank model           MAE
    0    1     a  85.00 ± 5.00
    """
    labels = {name: label for kind in SCORES.values() for name, label in kind.items()}
    labels["roc_auc_of_labels"] = "ROC AUC (MatBench's rule)"
    labels["roc_auc"] = "ROC AUC (of scores)"
    text = pd.DataFrame()
    text["rank"] = ["-" if pd.isna(rank) else str(rank) for rank in table["rank"]]
    text["model"] = [
        f"{name} *" if ours else name
        for name, ours in zip(table["model"], table["ours"], strict=True)
    ]
    for name in table:
        if name in labels:
            text[labels[name]] = [
                figure(mean, spread)
                for mean, spread in zip(table[name], table[f"{name}_std"], strict=True)
            ]
    return text


def summary_text(
    summary: pd.DataFrame, scores: Mapping[str, str], *, times: bool = True
) -> pd.DataFrame:
    """Spell the summary of a result.

    Parameters
    ----------
    summary : DataFrame
        Of :meth:`~sklearn_kt.benchmarking.BenchmarkResult.summary`, or some of its rows.
    scores : mapping of str to str
        Columns to show, with their titles.
    times : bool, default=True
        Show seconds and memory too.

    Returns
    -------
    text : DataFrame of str
        Model, task, scores, and seconds and memory of a fold.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_kt.benchmarking.tables import summary_text
    >>> summary = pd.DataFrame({"model": ["a"], "task": ["gaps"], "mae": [0.5]})
    >>> summary_text(summary, {"mae": "MAE"})
      model  task     MAE
    0     a  gaps  0.5000
    """
    text = summary[["model", "task"]].astype(str)
    for name, label in scores.items():
        spread = summary.get(f"{name}_std", pd.Series(math.nan, summary.index))
        # one fold has no spread
        single = summary.get("n_folds", pd.Series(2, summary.index)) < 2
        text[label] = [
            figure(mean, None if alone else std)
            for mean, std, alone in zip(summary[name], spread, single, strict=True)
        ]
    for name, label in _TIMES.items():
        if times and name in summary:
            text[label] = ["-" if pd.isna(value) else f"{value:.3g}" for value in summary[name]]
    return text


def comparison_text(comparison: pd.DataFrame) -> pd.DataFrame:
    """Spell paired differences.

    Parameters
    ----------
    comparison : DataFrame
        Of :func:`~sklearn_kt.benchmarking.compare_models`.

    Returns
    -------
    text : DataFrame of str
        Task, the two models, the difference of their scores with its interval, the verdict.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_kt.benchmarking.tables import comparison_text
    >>> row = {"task": "gap", "model": "a", "baseline": "b", "score": "mae", "difference": -0.5}
    >>> row |= {"low": -0.7, "high": -0.3, "verdict": "win"}
    >>> comparison_text(pd.DataFrame([row]))
      task   models score            difference verdict
    0  gap  a vs. b   MAE  -0.50 (-0.70, -0.30)     win
    """
    labels = {name: label for kind in SCORES.values() for name, label in kind.items()}
    text = comparison[["task"]].astype(str)
    text["models"] = comparison["model"] + " vs. " + comparison["baseline"]
    text["score"] = comparison["score"].map(labels)
    text["difference"] = [
        f"{difference:.{_decimals(high - low)}f} ({low:.{_decimals(high - low)}f},"
        f" {high:.{_decimals(high - low)}f})"
        for difference, low, high in zip(
            comparison["difference"], comparison["low"], comparison["high"], strict=True
        )
    ]
    text["verdict"] = comparison["verdict"]
    return text


def _decimals(width: float) -> int:
    """Digits after the point that show two figures of an interval's width."""
    return max(0, 1 - math.floor(math.log10(width))) if width > 0 else 4


def audit_lines(audit: Mapping[str, Any]) -> list[str]:
    """Say in a few lines what an audit found.

    Parameters
    ----------
    audit : mapping
        The report of :func:`~sklearn_kt.benchmarking.audit_tasks`.

    Returns
    -------
    lines : list of str
        One about the pool, then one or more per task.

    Examples
    --------
    >>> from sklearn_kt.benchmarking.tables import audit_lines
    >>> audit_lines({"pool": {"missing": "no pool was given"}, "tasks": {}})
    ['pretraining pool: not checked (no pool was given)']
    """
    pool = audit["pool"]
    if "missing" in pool:
        lines = [f"pretraining pool: not checked ({pool['missing']})"]
    else:
        lines = [f"pretraining pool: {pool['name']}, {pool['compositions']:,} compositions"]
    for name, found in audit["tasks"].items():
        said = [f"composition also in train {found['test_rows_in_train']}"]
        if "test_rows_in_pool" in found:
            said.append(f"in the pool {found['test_rows_in_pool']}")
        if "test_rows_with_quantity_in_pool" in found:
            known = found["test_rows_with_quantity_in_pool"]
            said.append(f"{found['quantity']} known to the pool {known}")
        for other, about in found["siblings"].items():
            said.append(f"in {other} {about.get('test_rows_there', 'not checked')}")
        lines.append(f"{name}, of {found['test_rows']} test rows: {'; '.join(said)}")
    return lines
