"""Fitted estimators in notebooks."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from sklearn_kt import (
    BlendedKTClassifier,
    BlendedKTRegressor,
    ExplicitKTRegressor,
    ImplicitKTClassifier,
    ImplicitKTRegressor,
)
from sklearn_kt.estimators.html_repr import fitted_html
from sklearn_kt.structures import Candidate

pytestmark = pytest.mark.usefixtures("few_trees")

FORMULAS = [
    f"{a}{b}" for a in ("Li", "Na", "K", "Rb", "Cs", "Cu") for b in ("F", "Cl", "Br", "I", "H")
]
TARGETS = np.linspace(0, 1, len(FORMULAS))
TINY: dict[str, Any] = {"checkpoint": None, "backbone": "tiny", "max_epochs": 3, "random_state": 0}


class Table(HTMLParser):
    """Rows of the first table, as text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: dict[str, str] = {}
        self.name, self.cell = "", ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.cell = tag if tag in ("th", "td") else self.cell

    def handle_endtag(self, tag: str) -> None:
        self.cell = "" if tag in ("th", "td") else self.cell

    def handle_data(self, data: str) -> None:
        if self.cell == "th":
            self.name = data
        elif self.cell == "td":
            self.rows[self.name] = self.rows.get(self.name, "") + data


def test_networks() -> None:
    model = ImplicitKTRegressor(
        **TINY, readout="head", n_estimators=2, early_stopping=True, device="cpu"
    ).fit(FORMULAS, TARGETS)
    text = fitted_html(model)
    # well-formed, and nothing comes from elsewhere
    root = ET.fromstring(text.replace("<details open", "<details").replace("<br>", "<br/>"))
    assert "http" not in text
    rows = Table(text).rows
    parameters = sum(p.numel() for p in model.nets_[0].module_.backbone.parameters())
    assert rows["encoder"] == (
        f"transformer on elements, width 64, 2 layers, {parameters:,} parameters"
    )
    assert rows["started from"] == "random weights"
    scores = model.held_out_scores_
    error = f"mean absolute error {scores['mae']:.3g}"
    assert rows["prediction"] == f"100% network (held-out {error})"
    assert rows["rows"] == str(len(FORMULAS))
    n_held_out = model.n_held_out_
    assert 0 < n_held_out <= len(FORMULAS)
    assert rows["held-out rows"] == (
        f"{n_held_out}: {error} in the unit of y, R² {scores['r2']:.3g}"
    )
    assert rows["networks"] == f"2, trained for 3 epochs in {model.precision_}"
    assert rows["device"] == "cpu"
    assert rows["training curve"].startswith("loss of training and validation: from ")
    # narrow pages, such as those of phones, cut nothing
    picture = root.find(".//svg")
    assert picture is not None
    assert (picture.get("height"), "max-width:100%" in picture.get("style", "")) == (None, True)
    assert all("overflow-wrap:anywhere" in cell.get("style", "") for cell in root.iter("td"))
    lines = root.findall(".//polyline")
    assert len(lines) == 4
    for line in lines:
        points = np.array([p.split(",") for p in line.get("points", "").split()], dtype=float)
        assert points.shape == (3, 2)
        assert (np.diff(points[:, 0]) > 0).all()
        assert (points >= 0).all()
        assert (points <= [260, 90]).all()


@pytest.mark.slow
def test_readouts() -> None:
    model = ImplicitKTRegressor(None, readout="fast", random_state=0).fit(FORMULAS, TARGETS)
    rows = Table(fitted_html(model)).rows
    known = {"rows", "encoder", "started from", "prediction", "held-out rows", "device"}
    assert set(rows) == known
    for name in model.readout_weights_:
        assert name in rows["prediction"]
    repeated = ImplicitKTRegressor(None, readout="fast", random_state=0)
    rows = Table(fitted_html(repeated.fit([*FORMULAS, "LiF"], [*TARGETS, 0.5]))).rows
    assert rows["repeated rows"].startswith("1, never split")
    own = ImplicitKTRegressor("default", readout=Ridge()).fit(FORMULAS, TARGETS)
    rows = Table(fitted_html(own)).rows
    assert rows["prediction"] == "100% Ridge"
    assert rows["started from"] == "checkpoint default"
    assert "parameters" in rows["encoder"]


def test_numbers_and_classes() -> None:
    X = np.arange(60.0).reshape(30, 2)
    model = ImplicitKTClassifier(**TINY, readout="head", n_estimators=1)
    rows = Table(fitted_html(model.fit(X, TARGETS > 0.5))).rows
    assert rows["encoder"] == "none: residual network on 2 columns of numbers"
    assert rows["started from"] == "random weights"


@pytest.mark.slow
def test_text_encoder(minilm_dir) -> None:
    model = ImplicitKTRegressor(
        None, backbone=minilm_dir, readout="head", n_estimators=1, max_epochs=1, random_state=0
    ).fit(FORMULAS[:2], TARGETS[:2])
    rows = Table(fitted_html(model)).rows
    assert rows["encoder"].startswith("transformer on text (bert), width 384, 6 layers, 22,")
    assert rows["started from"] == f"Hugging Face model {minilm_dir}"


class Cubes:
    """Generates one atom in a cube, but for compounds of astatine."""

    def generate(self, compositions: Any, n_candidates: int | None = None) -> list[list[Candidate]]:
        cube = Candidate(4 * np.eye(3), np.array([11]), np.zeros((1, 3)))
        return [[] if "At" in formula else [cube] for formula in compositions.formulas()]


class Fingerprints:
    """Stands for CHGNet: two numbers per crystal, NaN where there is none."""

    def transform(self, X: Any) -> np.ndarray:
        return np.array([[len(c[0].numbers), 1.0] if c else [np.nan] * 2 for c in X])


@pytest.mark.filterwarnings("ignore:.*have no structure:sklearn_kt.exceptions.CompositionWarning")
def test_explicit_transfer() -> None:
    model = ExplicitKTRegressor(
        Cubes(),
        embedder=Fingerprints(),
        readout=Ridge(),
        composition_estimator=ImplicitKTRegressor(None, readout=Ridge()),
    )
    assert fitted_html(model) == ""
    rows = Table(fitted_html(model.fit([*FORMULAS, "NaAt"], [*TARGETS, 0.0]))).rows
    assert rows["structures from"] == "Cubes"
    assert rows["rows with a structure"].startswith("ImplicitKTRegressor")
    assert "100% Ridge" in rows["rows without one"]
    assert rows["last call"] == "1 rows without a structure"
    numbers = ExplicitKTRegressor(readout=Ridge()).fit(np.eye(30), TARGETS)
    assert [*Table(fitted_html(numbers)).rows] == ["prediction from columns", "rows"]


def test_blends() -> None:
    parts = [(f"a<{i}", ImplicitKTRegressor(None, readout=Ridge(10**i))) for i in range(2)]
    model = BlendedKTRegressor(parts, random_state=0)
    assert fitted_html(model) == ""
    prediction = Table(fitted_html(model.fit(FORMULAS, TARGETS))).rows["prediction"]
    error = "mean absolute error"
    for name, weight in model.weights_.items():
        assert f"{weight:.0%} {name} (held-out {error} {model.scores_[name]:.3g})" in prediction
    few = BlendedKTRegressor(parts, random_state=0).fit(FORMULAS[:6], TARGETS[:6])
    assert Table(fitted_html(few)).rows["prediction"] == "50% a<050% a<1"
    assert "_html_repr" not in vars(BlendedKTClassifier)
    assert "What was learned" in model._repr_html_()


def test_text_is_escaped() -> None:
    model = ImplicitKTRegressor(**TINY, readout="head", n_estimators=1).fit(
        FORMULAS[:4], TARGETS[:4]
    )
    model.checkpoint = "<script>"
    assert "<script>" not in fitted_html(model)
    assert Table(fitted_html(model)).rows["started from"] == "checkpoint <script>"


@pytest.mark.parametrize("fitted", [False, True])
def test_notebooks_show_it_below_the_parameters(fitted: bool) -> None:
    model = ImplicitKTRegressor(**TINY, readout="head", n_estimators=1)
    if fitted:
        model.fit(FORMULAS[:4], TARGETS[:4])
    text = model._repr_html_()
    assert "sk-container-id" in text
    assert ("What was learned" in text) == fitted
