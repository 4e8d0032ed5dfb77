"""Figures and page: complete, self-contained, and true to the scores."""

from __future__ import annotations

import base64
import io
import os
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

from sklearn_kt.evaluation import (
    EvaluationResult,
    FoldRecord,
    Task,
    audit_tasks,
    write_html_report,
    write_plot,
)
from sklearn_kt.evaluation.by_condition import worst_rows
from sklearn_kt.evaluation.report import format_sample, prediction_sample
from sklearn_kt.evaluation.text import summary_text
from sklearn_kt.exceptions import InputError

DATE, VERSIONS = "2026-01-31 12:00 UTC", {"python": "3.11", "sklearn_kt": "0.1"}


def task(y: np.ndarray, kind: Any, **about: Any) -> Task:
    rows = np.arange(len(y))
    formulas = np.array([f"Fe{number + 1}O" for number in rows], dtype=object)
    folds = {k: (rows[rows % 2 != k], rows[rows % 2 == k]) for k in range(2)}
    return Task(about.pop("name", "made"), kind, formulas, y, rows, folds, **about)


def records(
    about: Task, model: str, predictions: np.ndarray, std: Any = None, probabilities: Any = None
) -> list[FoldRecord]:
    def of(values: Any, test: np.ndarray) -> Any:
        return None if values is None else values[test]

    return [
        FoldRecord(
            model=model,
            task=about.name,
            fold=fold,
            estimator=f"{model}()",
            digest="",
            predictions=predictions[test],
            std=of(std, test),
            probabilities=of(probabilities, test),
            fit_seconds=2.0,
            predict_seconds=0.01,
            peak_mb=100.0,
            n_jobs=1,
            date=DATE,
            versions=VERSIONS,
        )
        for fold, (_, test) in about.folds.items()
    ]


def regression(
    n_rows: int = 40, models: tuple[str, ...] = ("plain", "sure"), **about: Any
) -> EvaluationResult:
    rng = np.random.default_rng(0)
    made = task(rng.normal(size=n_rows) * 100, "regression", **about)
    found = []
    for number, name in enumerate(models):
        std = np.linspace(1, 2, n_rows) if name == "sure" else None
        error = rng.normal(size=n_rows) * (20 - number)
        found += records(made, name, made.y + error, std)
    return EvaluationResult({made.name: made}, found)


def classification(
    labels: tuple[str, ...] = ("glass", "metal"), models: Any = ("forest", "network"), **about: Any
) -> EvaluationResult:
    rng = np.random.default_rng(0)
    made = task(np.array(labels)[rng.integers(len(labels), size=60)], "classification", **about)
    found = []
    for name in models:
        chances = rng.random((60, len(made.classes))) + (made.y[:, None] == made.classes)
        chances /= chances.sum(axis=1, keepdims=True)
        found += records(made, name, made.classes[chances.argmax(axis=1)], None, chances)
    return EvaluationResult({made.name: made}, found)


def of_row(evaluated: EvaluationResult, model: str, name: str) -> np.ndarray:
    """Predictions of a model in the order of the table."""
    folds = evaluated.of("made", model)
    values = np.concatenate([getattr(record, name) for record in folds])
    test = np.concatenate([evaluated.tasks["made"].folds[record.fold][1] for record in folds])
    return values[np.argsort(test)]


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


# --- samples -----------------------------------------------------------------------------------


def test_sample_takes_the_best_with_uncertainty() -> None:
    evaluated = regression()
    made = evaluated.tasks["made"]
    for record in evaluated.of("made", "plain"):
        record.predictions = made.y[made.folds[record.fold][1]]
    name, table = prediction_sample(evaluated, 6)
    assert name == "sure"
    assert table.columns.tolist() == ["formula", "true", "predicted", "std"]
    assert len(table) == 6
    for row in table.itertuples():
        at = made.formulas.tolist().index(row.formula)
        assert row.true == made.y[at]
        assert row.predicted == of_row(evaluated, "sure", "predictions")[at]
        assert row.std == of_row(evaluated, "sure", "std")[at]
    pd.testing.assert_frame_equal(table, prediction_sample(evaluated, 6)[1])
    assert not table.equals(prediction_sample(evaluated, 6, random_state=1)[1])
    name, table = prediction_sample(evaluated, 100, model="plain")
    assert name == "plain"
    assert "std" not in table
    assert table["formula"].tolist() == made.formulas.tolist()
    with pytest.raises(InputError, match=r"'best' has no result.* models are plain, sure"):
        prediction_sample(evaluated, model="best")
    with pytest.raises(InputError, match="task must be one of made; got 'other'"):
        prediction_sample(evaluated, task="other")


def test_sample_of_a_classification() -> None:
    evaluated = classification()
    name, table = prediction_sample(evaluated)
    assert (table["probability"] >= 0.5).all()
    text = format_sample(table)
    assert text["true"].isin(["glass", "metal"]).all()
    assert text["probability"].str.fullmatch(r"[01]\.\d{3}").all()
    for record in evaluated.of("made", name):
        record.predictions = np.full(len(record.predictions), "metal")
    assert prediction_sample(evaluated)[0] != name
    # a model that decides against the odds is shown with the odds of its decision
    table = prediction_sample(evaluated, 60, model=name)[1]
    assert table["probability"].tolist() == of_row(evaluated, name, "probabilities")[:, 1].tolist()


def test_sample_text_has_equal_decimals() -> None:
    table = pd.DataFrame(
        {"formula": ["A", "B"], "true": [737.58, -2.889], "predicted": [1.0, 0.04], "std": [9, 1.5]}
    )
    text = format_sample(table)
    assert text["true"].tolist() == ["737.6", "-2.9"]
    assert text["predicted"].tolist() == ["1.0", "0.0"]
    assert text["std"].tolist() == ["9.0", "1.5"]


# --- figures ---------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n_rows", "count"), [(40, 1), (40, 2), (40, 4), (2000, 1), (2000, 5)], ids=str
)
def test_parity_plot(n_rows: int, count: int, tmp_path: Path) -> None:
    models = tuple(f"model {number}" for number in range(count))
    evaluated = regression(n_rows, models, target="gap", unit="eV")
    path = write_plot(evaluated, tmp_path / "p.png")
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
    evaluated.tasks["made"].y[:] = 3.0
    for record in evaluated.records:
        record.predictions[:] = 3.0
    assert write_plot(evaluated, tmp_path / "p.png").stat().st_size > 1000


@pytest.mark.parametrize("labels", [("glass", "metal"), ("a", "b", "c"), tuple("abcdefghijk")])
def test_roc_plot(labels: tuple[str, ...], tmp_path: Path) -> None:
    path = write_plot(classification(labels), str(tmp_path / "r.png"))
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.convert("L").getextrema()[0] < 50


def test_roc_plot_without_probabilities(tmp_path: Path) -> None:
    evaluated = classification(models=["forest"])
    for record in evaluated.records:
        record.probabilities = None
    assert write_plot(evaluated, tmp_path / "r.png").is_file()


@pytest.mark.slow
def test_figures_need_no_display(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import test_report as t;"
        "t.write_plot(t.regression(), sys.argv[2] + '/p.png');"
        "t.write_plot(t.classification(), sys.argv[2] + '/r.png');"
        "import matplotlib.pyplot as plt; sys.exit(len(plt.get_fignums()))"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parent), str(tmp_path)]
    # this one would fail at its first figure
    environment = {**os.environ, "MPLBACKEND": "tkagg", "DISPLAY": ""}
    assert subprocess.run(command, check=False, env=environment).returncode == 0


# --- page ------------------------------------------------------------------------------------


ABOUT = {
    "target": "gap",
    "unit": "eV",
    "description": "First part,\nstill first.\n\nSecond part.\n",
}


@pytest.mark.parametrize("make", [regression, classification])
def test_page_is_complete(make: Any, tmp_path: Path) -> None:
    evaluated = make(**ABOUT)
    evaluated.audit = audit_tasks(list(evaluated.tasks.values()))[0]
    path = write_html_report(
        evaluated,
        tmp_path / "report.html",
        title="Band gaps",
        command="sklearn-kt evaluate --data gaps.csv",
    )
    page = Page(path.read_text(encoding="utf-8"))
    table = summary_text(evaluated.summary()).drop(columns="task")
    assert page.cells[0] == table.columns.tolist()
    assert page.cells[1 : 1 + len(table)] == table.to_numpy().tolist()
    sample = format_sample(prediction_sample(evaluated)[1])
    rest = page.cells[1 + len(table) :]
    assert rest[:6] == [sample.columns.tolist(), *sample.to_numpy().tolist()]
    # the worst of the best model, none of which is wrong about classes; no conditions, no table
    name = "sure" if make is regression else "forest"
    worst = format_sample(worst_rows(evaluated, "made", name)).to_numpy().tolist()
    assert rest[7:] == worst
    assert len(worst) == (10 if make is regression else 0)
    assert "by condition" not in page.text
    for part in (
        "Band gaps",
        "gap (eV)",
        "2-fold cross-validated",
        "still first.",
        "sklearn-kt evaluate --data gaps.csv",
        DATE,
        "sklearn_kt",
        prediction_sample(evaluated)[0],
        "composition also in train 0",
    ):
        assert part in page.text
    assert sum(attrs.get("class") == "data" for _, attrs in page.tags) == 2 + 2


def test_page_of_several_tasks(tmp_path: Path) -> None:
    numbers, classes = regression(name="gaps"), classification(name="metals")
    both = EvaluationResult(numbers.tasks | classes.tasks, numbers.records + classes.records)
    page = Page(write_html_report(both, tmp_path / "r.html").read_text(encoding="utf-8"))
    assert sum(tag == "img" for tag, _ in page.tags) == 2
    assert "gaps" in page.text
    assert "metals" in page.text
    with pytest.raises(InputError, match="one of gaps, metals; got None"):
        write_plot(both, tmp_path / "p.png")
    assert write_plot(both, tmp_path / "p.png", task="gaps").is_file()


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


@pytest.mark.parametrize("n_rows", [40, 1600])
def test_points_say_what_they_are(n_rows: int, tmp_path: Path) -> None:
    evaluated = regression(n_rows, unit="eV")
    page = Page(write_html_report(evaluated, tmp_path / "r.html").read_text(encoding="utf-8"))
    [source] = [attrs["src"] for tag, attrs in page.tags if tag == "img"]
    picture = Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))).convert("L")
    circles = [attrs for tag, attrs in page.tags if tag == "circle"]
    # those of many rows that are most wrong, in each panel
    assert len(circles) == 2 * min(n_rows, 1500)
    inked = 0
    for circle in circles:
        share = [float(circle[name].rstrip("%")) / 100 for name in ("cx", "cy")]
        x, y = (round(part * size) for part, size in zip(share, picture.size, strict=True))
        inked += picture.getpixel((x, y)) < 250
    # hexagons that count rows leave out a few at the edge
    assert inked > 0.99 * len(circles)
    told = format_sample(worst_rows(evaluated, "made", "sure", 1500)).iloc[0]
    parts = [told["formula"], *(f"{name}: {told[name]}" for name in ("true", "predicted", "std"))]
    assert "\n".join(parts) in page.text


def test_page_escapes_what_users_write(tmp_path: Path) -> None:
    evil = '"><script>alert(1)</script>'
    evaluated = regression(target=evil, unit=evil, description=evil)
    evaluated.tasks["made"].formulas[:] = "<img src=x onerror=alert(1)>"
    path = write_html_report(
        evaluated,
        tmp_path / "report.html",
        title=evil,
        command=evil,
    )
    page = Page(path.read_text(encoding="utf-8"))
    assert "script" not in {tag for tag, _ in page.tags}
    assert sum(tag == "img" for tag, _ in page.tags) == 1
    assert page.text.count(evil) >= 4


@pytest.mark.slow
@pytest.mark.parametrize("text", ["cost $_{US$", "$5 and $6", r"\$_", "a\n" * 500, "\0"])
def test_pictures_take_any_text(text: str, tmp_path: Path) -> None:
    evaluated = regression(models=(text,), target=text, unit=text)
    write_plot(evaluated, tmp_path / "p.svg")
    svg = (tmp_path / "p.svg").read_text(encoding="utf-8")
    assert ("US" in text) == ("true cost $_{US$ (cost" in svg)
    write_html_report(evaluated, tmp_path / "p.html", title=text)
    write_plot(classification((text, "other"), models=[text]), tmp_path / "r.png")


def test_pictures_of_unknown_kinds(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be written as \.xyz.*png"):
        write_plot(regression(), tmp_path / "p.xyz")
    assert list(tmp_path.iterdir()) == []


def test_page_marks_the_best_of_each_column(tmp_path: Path) -> None:
    evaluated = regression()
    path = write_html_report(evaluated, tmp_path / "report.html")
    marked = re.findall(r'<td class="best">([^<]*)</td>', path.read_text(encoding="utf-8"))
    table = summary_text(evaluated.summary()).set_index("model")
    means = evaluated.summary().set_index("model")
    best = [
        table.loc[means["mae"].idxmin(), "MAE"],
        table.loc[means["rmse"].idxmin(), "RMSE"],
        table.loc[means["r2"].idxmax(), "R²"],
    ]
    assert marked == best
    alone = write_html_report(regression(models=("plain",)), tmp_path / "alone.html")
    assert '"best"' not in alone.read_text(encoding="utf-8")
