"""Errors against conditions, and the rows that models get most wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_report import Page, classification, records, task

from sklearn_kt.evaluation import EvaluationResult, write_html_report
from sklearn_kt.evaluation.by_condition import errors_by_condition, worst_rows
from sklearn_kt.evaluation.report import format_sample

N = 60
TEMPERATURE = np.linspace(300, 890, N)
ROUTE = np.array(["cast", " cast", "SPS", None] * 15, dtype=object)


@pytest.fixture
def measured() -> EvaluationResult:
    """Errors that grow with the temperature, and are large for one route of a second model."""
    conditions = pd.DataFrame(
        {"temperature": TEMPERATURE, "route": ROUTE, "kept": [True, None] * (N // 2)}
    )
    made = task(np.zeros(N), "regression", conditions=conditions, unit="uV/K", target="S")
    found = records(made, "hot", TEMPERATURE - 300)
    found += records(made, "cast", np.where(ROUTE == "SPS", 1.0, 0.0))
    return EvaluationResult({made.name: made}, found)


def test_errors_by_condition(measured: EvaluationResult) -> None:
    tables = errors_by_condition(measured, "made")
    assert list(tables) == ["temperature", "route", "kept"]
    hot = tables["temperature"]
    assert hot["values"].iloc[0] == "300 to 398.3"
    assert hot["rows"].tolist() == [10] * 6
    assert hot["hot"].tolist() == pytest.approx(np.arange(45, 600, 100))
    route = tables["route"].set_index("values")
    assert route["rows"].to_dict() == {"SPS": 15, "cast": 30, "missing": 15}
    assert route["cast"].to_dict() == {"SPS": 1, "cast": 0, "missing": 0}
    assert tables["kept"]["values"].tolist() == ["True", "missing"]
    assert errors_by_condition(classification(), "made") == {}


def test_few_numbers_and_many_categories() -> None:
    conditions = pd.DataFrame(
        {"t": [300, 400, 500] * 20, "by": [f"lab {i % 20}" for i in range(N)]}
    )
    made = task(np.zeros(N), "regression", conditions=conditions)
    tables = errors_by_condition(
        EvaluationResult({"made": made}, records(made, "flat", np.ones(N))), "made"
    )
    assert tables["t"]["values"].tolist() == ["300", "400", "500"]
    assert tables["by"]["values"].iloc[-1] == "others"
    assert tables["by"]["rows"].sum() == N
    assert len(tables["by"]) == 9


def test_worst_rows(measured: EvaluationResult) -> None:
    worst = worst_rows(measured, "made", "hot")
    assert list(worst) == ["formula", "temperature", "route", "kept", "true", "predicted"]
    assert worst["temperature"].tolist() == TEMPERATURE[:-11:-1].tolist()
    # what is right is not among the worst
    assert len(worst_rows(measured, "made", "cast", 40)) == 15
    classes = classification()
    wrong = worst_rows(classes, "made", "forest", 100)
    assert (wrong["true"] != wrong["predicted"]).all()
    assert wrong["probability"].is_monotonic_decreasing


def test_conditions_of_rows_are_spelled_short(measured: EvaluationResult) -> None:
    measured.tasks["made"].conditions["temperature"] += 1 / 3
    text = format_sample(worst_rows(measured, "made", "hot", 4))
    assert text["temperature"].tolist() == ["890.333", "880.333", "870.333", "860.333"]
    assert text["route"].tolist() == ["", "SPS", " cast", "cast"]


def test_page_names_conditions(measured: EvaluationResult, tmp_path: Path) -> None:
    path = write_html_report(measured, tmp_path / "report.html")
    page = Page(path.read_text(encoding="utf-8"))
    assert ["temperature", "rows", "hot", "cast"] in page.cells
    assert ["missing", "15", "310.00", "0.0000"] in page.cells
    assert "The 10 largest errors" in page.text
    assert "mean absolute error (uV/K)" in page.text
    assert sum(tag == "img" for tag, _ in page.tags) == 2
