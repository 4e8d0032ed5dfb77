"""Tables of text: mean and spread, digits that say something, nothing invented."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from sklearn_kt.evaluation.text import figure, summary_text


@pytest.mark.parametrize(
    ("mean", "spread", "text"),
    [
        (79.6634, 9.4921, "79.66 ± 9.49"),
        (0.98612, 0.00041, "0.9861 ± 0.0004"),
        # piezoelectric coefficients in C/N
        (1.2345e-11, 2e-12, "0.0000000000123 ± 0.0000000000020"),
        (0.0, 0.0, "0.0000 ± 0.0000"),
        (12.0, math.nan, "12.00"),
        (math.nan, 1.0, "-"),
    ],
)
def test_figures(mean: float, spread: float, text: str) -> None:
    assert figure(mean, spread) == text


def test_summary_shows_what_there_is() -> None:
    summary = pd.DataFrame(
        {
            "model": ["a", "b"],
            "task": ["gap", "metal"],
            "n_folds": [5, 1],
            "n_test": [100, 20],
            "mae": [0.5, math.nan],
            "mae_std": [0.1, math.nan],
            "mape": [3.0, math.nan],
            "r2": [0.001, math.nan],
            "roc_auc": [math.nan, 0.9],
            "roc_auc_std": [math.nan, 0.0],
            "f1": [math.nan, math.nan],
            "fit_seconds": [1234.5, 0.1],
            "peak_mb": [math.nan, 800.0],
        }
    )
    text = summary_text(summary)
    assert text.columns.tolist() == ["model", "task", "MAE", "R²", "ROC AUC", "fit s", "peak MB"]
    assert text.iloc[0].tolist() == [
        *("a", "gap", "0.5000 ± 0.1000", "0.0010", "-", "1.23e+03", "-")
    ]
    # one fold has no spread
    assert text["ROC AUC"].tolist() == ["-", "0.9000"]
    text = summary_text(summary, ["mape"], rows=True, times=False)
    assert text.columns.tolist() == ["model", "task", "rows", "MAPE"]
    assert text["rows"].tolist() == ["100", "20"]
