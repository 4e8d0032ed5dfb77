"""Figures and page: complete, self-contained, and true to the scores."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from sklearn_kt.evaluation import EvaluationResult, ModelScores
from sklearn_kt.exceptions import InputError
from sklearn_kt.report import (
    format_sample,
    prediction_sample,
    summary_table,
    write_html_report,
    write_parity_plot,
    write_roc_plot,
)


def regression(n_rows: int = 40, models: tuple[str, ...] = ("plain", "sure")) -> EvaluationResult:
    rng = np.random.default_rng(0)
    y = rng.normal(size=n_rows) * 100
    scores = {}
    for number, name in enumerate(models):
        folds = [
            {"mae": 12.3 - number, "rmse": 20.0, "r2": 0.5, **times(n_rows)},
            {"mae": 14.3 - number, "rmse": 22.0, "r2": 0.7, **times(n_rows)},
        ]
        scores[name] = ModelScores(name, f"{name}()", folds, y + rng.normal(size=n_rows) * 20)
    if "sure" in scores:
        scores["sure"].std = np.linspace(1, 2, n_rows)
    return result("regression", y, scores)


def times(n_rows: int) -> dict[str, float]:
    return {"fit_seconds": 2.0, "predict_seconds": 0.01, "n_test": n_rows // 2}


def result(kind: Any, y: np.ndarray, models: dict[str, ModelScores]) -> EvaluationResult:
    return EvaluationResult(
        task_kind=kind,
        formulas=[f"Fe{number + 1}O" for number in range(len(y))],
        y=y,
        fold_of_row=np.arange(len(y)) % 2,
        classes=np.unique(y) if kind == "classification" else None,
        models=models,
        random_state=0,
        date="2026-01-31 12:00 UTC",
        versions={"python": "3.11", "sklearn_kt": "0.1"},
    )


def classification(labels: tuple[str, ...] = ("glass", "metal"), count: int = 2) -> Any:
    rng = np.random.default_rng(0)
    y = np.array(labels)[rng.integers(len(labels), size=60)]
    classes = np.unique(y)
    scores = {}
    for name in ["forest", "network", "other"][:count]:
        chances = rng.random((60, len(classes))) + (y[:, None] == classes)
        chances /= chances.sum(axis=1, keepdims=True)
        metrics = {"accuracy": 0.8, "balanced_accuracy": 0.75, "roc_auc": 0.9, "f1": 0.7}
        scores[name] = ModelScores(
            name, name, [{**metrics, **times(60)}] * 2, classes[chances.argmax(axis=1)]
        )
        scores[name].probabilities = chances
    return result("classification", y, scores)


class Page(HTMLParser):
    """What a browser would find."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.cells: list[list[str]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "link"):
            self.open.append(tag)
        if tag == "tr":
            self.cells.append([])
        if tag in ("td", "th"):
            self.cells[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data
        if self.open and self.open[-1] in ("td", "th"):
            self.cells[-1][-1] += data


# --- tables ----------------------------------------------------------------------------------


def test_summary_of_a_regression() -> None:
    table = summary_table(regression())
    assert table.columns.tolist() == ["model", "MAE", "RMSE", "R²", "fit s", "predict rows/s"]
    assert table.iloc[0].tolist() == [
        *("plain", "13.3 ± 1.0", "21.0 ± 1.0", "0.600 ± 0.100", "2", "2,000")
    ]


def test_summary_of_a_classification() -> None:
    table = summary_table(classification())
    assert table.columns.tolist()[1:5] == ["accuracy", "balanced accuracy", "ROC AUC", "F1"]
    assert table.iloc[1].tolist()[:3] == ["network", "0.800 ± 0.000", "0.750 ± 0.000"]
    unknown = classification()
    for fold in unknown.models["network"].folds:
        fold["roc_auc"] = float("nan")
    assert summary_table(unknown)["ROC AUC"].tolist() == ["0.900 ± 0.000", "-"]


@pytest.mark.parametrize(
    ("mae", "shown"),
    [(0.0123456, "0.0123 ± 0.0000"), (1.2, "1.20 ± 0.00"), (4321.0, "4321 ± 0"), (0.0, "0.00")],
)
def test_summary_has_three_figures(mae: float, shown: str) -> None:
    scores = regression(models=("plain",))
    for fold in scores.models["plain"].folds:
        fold["mae"] = mae
    assert summary_table(scores)["MAE"][0].startswith(shown)


def test_sample_takes_the_best_with_uncertainty() -> None:
    evaluated = regression()
    for fold in evaluated.models["plain"].folds:
        fold["mae"] = 0.0
    name, table = prediction_sample(evaluated, 6)
    assert name == "sure"
    assert table.columns.tolist() == ["formula", "true", "predicted", "std"]
    assert len(table) == 6
    scores = evaluated.models["sure"]
    for row in table.itertuples():
        at = evaluated.formulas.index(row.formula)
        assert (row.true, row.predicted) == (evaluated.y[at], scores.predictions[at])
        assert row.std == scores.std[at]
    pd.testing.assert_frame_equal(table, prediction_sample(evaluated, 6)[1])
    assert not table.equals(prediction_sample(evaluated, 6, random_state=1)[1])
    name, table = prediction_sample(evaluated, 100, model="plain")
    assert name == "plain"
    assert "std" not in table
    assert table["formula"].tolist() == evaluated.formulas
    with pytest.raises(InputError, match="No model 'best'; evaluated were plain, sure"):
        prediction_sample(evaluated, model="best")


def test_sample_of_a_classification() -> None:
    evaluated = classification()
    name, table = prediction_sample(evaluated)
    assert name == "forest"
    for fold in evaluated.models["network"].folds:
        fold["balanced_accuracy"] += 0.1
    assert prediction_sample(evaluated)[0] == "network"
    assert (table["probability"] >= 0.5).all()
    text = format_sample(table)
    assert text["true"].isin(["glass", "metal"]).all()
    # a model that decides against the odds is shown with the odds of its decision
    scores = evaluated.models["network"]
    scores.predictions = np.full(60, "metal")
    table = prediction_sample(evaluated, 60)[1]
    assert table["probability"].tolist() == scores.probabilities[:, 1].tolist()
    assert text["probability"].str.fullmatch(r"[01]\.\d{3}").all()


def test_sample_text_has_equal_decimals() -> None:
    table = pd.DataFrame(
        {"formula": ["A", "B"], "true": [737.58, -2.889], "predicted": [1.0, 0.04], "std": [9, 1.5]}
    )
    text = format_sample(table)
    assert text["true"].tolist() == ["737.6", "-2.9"]
    assert text["predicted"].tolist() == ["1.0", "0.0"]
    assert text["std"].tolist() == ["9.0", "1.5"]


# --- figures ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n_rows", "count"), [(40, 1), (40, 2), (40, 4), (2000, 1), (2000, 5)], ids=str
)
def test_parity_plot(n_rows: int, count: int, tmp_path: Path) -> None:
    evaluated = regression(n_rows, tuple(f"model {number}" for number in range(count)))
    path = write_parity_plot(evaluated, tmp_path / "p.png", target_name="gap", unit="eV")
    assert path == tmp_path / "p.png"
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert min(image.size) > 400
        # something is drawn, on white
        extrema = image.convert("L").getextrema()
    assert extrema[0] < 50
    assert extrema[1] == 255


def test_parity_plot_of_a_constant(tmp_path: Path) -> None:
    evaluated = regression(models=("plain",))
    evaluated.y[:] = 3.0
    evaluated.models["plain"].predictions[:] = 3.0
    assert write_parity_plot(evaluated, tmp_path / "p.png").stat().st_size > 1000


@pytest.mark.parametrize("labels", [("glass", "metal"), ("a", "b", "c"), tuple("abcdefghijk")])
def test_roc_plot(labels: tuple[str, ...], tmp_path: Path) -> None:
    path = write_roc_plot(classification(labels), str(tmp_path / "r.png"))
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.convert("L").getextrema()[0] < 50


def test_roc_plot_without_probabilities(tmp_path: Path) -> None:
    evaluated = classification(count=1)
    evaluated.models["forest"].probabilities = None
    assert write_roc_plot(evaluated, tmp_path / "r.png").is_file()


def test_plots_know_their_task(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="write_roc_plot"):
        write_parity_plot(classification(), tmp_path / "p.png")
    with pytest.raises(InputError, match="write_parity_plot"):
        write_roc_plot(regression(), tmp_path / "r.png")
    assert not list(tmp_path.iterdir())


def test_figures_need_no_pyplot(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import test_report as t;"
        "t.write_parity_plot(t.regression(), sys.argv[2] + '/p.png');"
        "t.write_roc_plot(t.classification(), sys.argv[2] + '/r.png');"
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parent), str(tmp_path)]
    assert subprocess.run(command, check=False).returncode == 0


# --- page ------------------------------------------------------------------------------------


@pytest.mark.parametrize("evaluated", [regression(), classification()], ids=["regr", "class"])
def test_page_is_complete(evaluated: EvaluationResult, tmp_path: Path) -> None:
    path = write_html_report(
        evaluated,
        tmp_path / "report.html",
        title="Band gaps",
        description="First part,\nstill first.\n\nSecond part.\n",
        target_name="gap",
        unit="eV",
        command="sklearn-kt evaluate --data gaps.csv",
    )
    page = Page(path.read_text(encoding="utf-8"))
    table = summary_table(evaluated)
    assert page.cells[0] == table.columns.tolist()
    assert page.cells[1 : 1 + len(table)] == table.to_numpy().tolist()
    sample = format_sample(prediction_sample(evaluated)[1])
    assert page.cells[1 + len(table) :] == [sample.columns.tolist(), *sample.to_numpy().tolist()]
    for part in (
        "Band gaps",
        "gap (eV)",
        "2-fold cross-validated",
        "still first.",
        "sklearn-kt evaluate --data gaps.csv",
        "2026-01-31 12:00 UTC",
        "sklearn_kt",
        prediction_sample(evaluated)[0],
    ):
        assert part in page.text
    assert sum(attrs.get("class") == "data" for _, attrs in page.tags) == 2


def test_page_is_self_contained(tmp_path: Path) -> None:
    path = write_html_report(regression(), tmp_path / "report.html")
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    sources = [v for _, attrs in page.tags for k, v in attrs.items() if k in ("src", "href")]
    assert len(sources) == 1
    prefix, _, data = sources[0].partition(",")
    assert prefix == "data:image/png;base64"
    assert base64.b64decode(data, validate=True).startswith(b"\x89PNG")
    assert not {"script", "link", "iframe"} & {tag for tag, _ in page.tags}
    assert not re.search(r"url\(|@import", text)
    assert ("meta", {"charset": "utf-8"}) in page.tags
    assert "Data" not in page.text.split()


def test_page_escapes_what_users_write(tmp_path: Path) -> None:
    evaluated = regression()
    evaluated.formulas[:] = ["<img src=x onerror=alert(1)>"] * len(evaluated.formulas)
    evil = '"><script>alert(1)</script>'
    path = write_html_report(
        evaluated,
        tmp_path / "report.html",
        title=evil,
        description=evil,
        target_name=evil,
        unit=evil,
        command=evil,
    )
    page = Page(path.read_text(encoding="utf-8"))
    assert "script" not in {tag for tag, _ in page.tags}
    assert sum(tag == "img" for tag, _ in page.tags) == 1
    assert page.text.count(evil) >= 4


@pytest.mark.parametrize("text", ["cost $_{US$", "$5 and $6", r"\$_", "a\n" * 500, "\0"])
def test_pictures_take_any_text(text: str, tmp_path: Path) -> None:
    evaluated = regression(models=(text,))
    write_parity_plot(evaluated, tmp_path / "p.svg", target_name=text, unit=text)
    svg = (tmp_path / "p.svg").read_text(encoding="utf-8")
    assert ("US" in text) == ("true cost $_{US$ (cost" in svg)
    write_html_report(evaluated, tmp_path / "p.html", target_name=text, unit=text, title=text)
    classes = classification((text, "other"), count=1)
    classes.models["forest"].name = text
    write_roc_plot(classes, tmp_path / "r.png")


def test_pictures_of_unknown_kinds(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be written as \.xyz.*png"):
        write_parity_plot(regression(), tmp_path / "p.xyz")
    assert list(tmp_path.iterdir()) == []


def test_page_marks_the_best_of_each_column(tmp_path: Path) -> None:
    evaluated = regression()
    for fold in evaluated.models["plain"].folds:
        fold["r2"] += 0.1
    path = write_html_report(evaluated, tmp_path / "report.html")
    marked = re.findall(r'<td class="best">([^<]*)</td>', path.read_text(encoding="utf-8"))
    assert sorted(marked) == ["0.700 ± 0.100", "12.3 ± 1.0", "21.0 ± 1.0"]
    alone = write_html_report(regression(models=("plain",)), tmp_path / "alone.html")
    assert '"best"' not in alone.read_text(encoding="utf-8")
