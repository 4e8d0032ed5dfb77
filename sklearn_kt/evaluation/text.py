"""Results as text tables, for the command line and the documentation."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from .scores import SCORES

__all__ = ["audit_lines", "comparison_text", "figure", "summary_text"]

_TIMES = {"fit_seconds": "fit s", "predict_seconds": "predict s", "peak_mb": "peak MB"}


def figure(mean: float, spread: float | None = None, *, in_target_units: bool = True) -> str:
    """Spell a score, with its spread over the folds; targets may be small numbers."""
    if mean is None or not math.isfinite(mean):
        return "-"
    if isinstance(mean, int | np.integer):
        return str(mean)
    decimals = 4 if abs(mean) < 10 else 2
    if in_target_units and 0 < abs(mean) < 0.01:
        decimals = 2 - math.floor(math.log10(abs(mean)))
    if spread is None or not math.isfinite(spread):
        return f"{mean:.{decimals}f}"
    return f"{mean:.{decimals}f} ± {spread:.{decimals}f}"


def summary_text(
    summary: pd.DataFrame,
    scores: Iterable[str] | None = None,
    *,
    rows: bool = False,
    times: bool = True,
) -> pd.DataFrame:
    """Spell the summary of a result: model, task, scores, and seconds and memory of a fold.

    Scores are mean ± standard deviation over the folds: those asked for, or those that tables
    show, as far as they are there. `rows` shows the number of test rows, too.
    """
    if scores is None:
        shown = (name for name, score in SCORES.items() if score.shown and name in summary)
        scores = [name for name in shown if summary[name].notna().any()]
    text = summary[["model", "task"]].astype(str)
    if rows:
        text["rows"] = summary["n_test"].map(str)
    for name in scores:
        spread = summary.get(f"{name}_std", pd.Series(math.nan, summary.index))
        # one fold has no spread
        single = summary.get("n_folds", pd.Series(2, summary.index)) < 2
        text[SCORES[name].label] = [
            figure(mean, None if alone else std, in_target_units=SCORES[name].in_target_units)
            for mean, std, alone in zip(summary[name], spread, single, strict=True)
        ]
    for name, label in _TIMES.items():
        if times and name in summary:
            text[label] = ["-" if pd.isna(value) else f"{value:.3g}" for value in summary[name]]
    return text


def comparison_text(comparison: pd.DataFrame) -> pd.DataFrame:
    """Spell what :func:`compare_models` found: differences with intervals, verdicts."""
    text = comparison[["task"]].astype(str)
    text["models"] = comparison["model"] + " vs. " + comparison["baseline"]
    text["score"] = [SCORES[name].label for name in comparison["score"]]
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
    """Say what :func:`audit_tasks` found: a line about the pool, then one a task."""
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
