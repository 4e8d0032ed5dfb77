"""``sklearn-kt explain``: a table and a picture."""

from __future__ import annotations

from argparse import Namespace
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
from _commands import Run, assert_one_line
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline

from sklearn_kt import CompositionTokenizer, explain
from sklearn_kt.cli.explain import _label
from sklearn_kt.persistence import load_model, save_model

FORMULAS = ["NaCl", "KCl", "LiF", "Fe2O3", "SiO2", "MgO", "LiFePO4", "GaAs", "ZnS", "KBr"]
GAPS = np.array([8.5, 8.4, 14.2, 2.2, 9.0, 7.8, 3.7, 1.4, 3.7, 7.4])


@pytest.fixture
def run(run: Run) -> Run:
    return partial(run, "explain")


def fitted(y: np.ndarray, last: Any) -> Any:
    return make_pipeline(CompositionTokenizer("fraction"), last).fit(FORMULAS, y)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    save_model(fitted(GAPS, Ridge()), tmp_path / "gap.model")
    return tmp_path / "gap.model"


def test_table_and_picture(run: Run, model: Path, tmp_path: Path) -> None:
    code, out, err = run(model, "LiFePO4", "--label", "band gap (eV)")
    assert (code, err) == (0, "sklearn-kt: wrote: LiFePO4.png\n")
    values = explain(load_model(model), "LiFePO4")
    head, blank, names, *rows = out.splitlines()
    assert head.startswith("LiFePO4: k-SII up to order 2, exact; baseline ")
    assert float(head.rpartition(" ")[2]) == pytest.approx(
        load_model(model).predict(["LiFePO4"])[0], rel=1e-5
    )
    assert (blank, names.split()) == ("", ["interaction", "order", "value"])
    strongest = values.to_frame().iloc[0]
    assert rows[0].split()[0] == strongest["interaction"]
    assert float(rows[0].split()[2]) == pytest.approx(strongest["value"], rel=1e-3)
    assert len(rows) == 10
    assert matplotlib.image.imread(tmp_path / "LiFePO4.png").shape[2] == 4


def test_options(run: Run, model: Path, tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("name\n" + "\n".join(FORMULAS) + "\n")
    code, out, _ = run(
        *(model, "Fe2O3", "--index", "SII", "--players", "elements", "--max-order", 1),
        *("--baseline", "background", "--background", "train.csv", "--formula-column", "name"),
        *("--output", "effects.svg"),
    )
    assert code == 0
    mean = load_model(model).predict(FORMULAS).mean()
    assert f"baseline {mean:.6g}" in out
    assert (tmp_path / "effects.svg").read_text().startswith("<?xml")


@pytest.mark.parametrize("labels", [("metal", "salt", "oxide"), (1, 2, 3)])
def test_classes_are_named_as_they_are_spelled(run: Run, tmp_path: Path, labels: tuple) -> None:
    y = np.resize(np.array(labels), len(FORMULAS))
    classifier = fitted(y, LogisticRegression())
    save_model(classifier, tmp_path / "kind.model")
    code, out, _ = run("kind.model", "NaCl", "--target", labels[2], "--response", "probability")
    assert code == 0
    column = classifier.classes_.tolist().index(labels[2])
    expected = classifier.predict_proba(["NaCl"])[0, column]
    assert float(out.splitlines()[0].rpartition(" ")[2]) == pytest.approx(expected, rel=1e-5)
    code, _, err = run("kind.model", "NaCl", "--target", "7")
    assert code == 2
    assert "target='7' is none of the classes" in err


def test_output_by_number(run: Run, tmp_path: Path) -> None:
    save_model(fitted(np.column_stack([GAPS, -GAPS]), Ridge()), tmp_path / "two.model")
    code, _, err = run("two.model", "NaCl")
    assert code == 2
    assert "choose one with target=0 to 1" in err
    assert run("two.model", "NaCl", "--target", "1")[0] == 0


def test_output_by_name(run: Run, tmp_path: Path) -> None:
    two = fitted(np.column_stack([GAPS, GAPS[::-1]]), Ridge())
    save_model(two, tmp_path / "m", about={"target": "gap,S", "targets": 2})
    code, named, _ = run("m", "NaCl", "--target", "S")
    assert code == 0
    assert named == run("m", "NaCl", "--target", 1)[1] != run("m", "NaCl", "--target", 0)[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gap.model", "nacl"], "'nacl' is not a composition"),
        (["gap.model", "NaCl", "--baseline", "mask"], "use baseline='drop'"),
        (["gap.model", "NaCl", "--background", "no.csv"], "no.csv"),
        (["gap.model", "NaCl", "--output", "no/folder.png"], "does not exist"),
        (["no.model", "NaCl", "--output", "o.xyz"], "o.xyz: pictures cannot be written as .xyz"),
        (["raw.model", "NaCl"], "not fitted"),
    ],
)
def test_errors_are_one_line_and_leave_no_file(
    run: Run, model: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    save_model(make_pipeline(CompositionTokenizer("fraction"), Ridge()), tmp_path / "raw.model")
    before = sorted(tmp_path.iterdir())
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert message in err
    assert sorted(tmp_path.iterdir()) == before


def test_several_formulas(run: Run, model: Path, tmp_path: Path) -> None:
    code, out, err = run(model, "NaCl", "MgO")
    assert (code, err) == (0, "sklearn-kt: wrote: NaCl.png\nsklearn-kt: wrote: MgO.png\n")
    tables = out.split("\n\nMgO: ")
    assert len(tables) == 2
    assert run(model, "MgO")[1] == f"MgO: {tables[1]}"
    assert (tmp_path / "MgO.png").exists()
    code, out, err = run(model, "NaCl", "MgO", "--output", "both.png")
    assert (code, out) == (2, "")
    assert_one_line(err, "2 formulas", "leave it out")
    code, out, err = run(model, "NaCl", "-o", "e.xyz")
    assert (code, out) == (2, "")
    assert_one_line(err, ".xyz")


@pytest.mark.parametrize(
    ("about", "target", "label"),
    [
        ({}, None, "prediction"),
        ({"target": "gap", "unit": "eV", "task": "regression"}, None, "gap (eV)"),
        ({"target": "gap (eV)", "unit": "eV", "task": "regression"}, None, "gap (eV)"),
        ({"target": "kind", "unit": "", "task": "classification"}, "metal", "prediction"),
        *(
            ({"target": "S,zT", "unit": "uV/K,", "targets": 2, "task": "regression"}, *case)
            for case in ((None, "S (uV/K)"), ("zT", "zT"), ("1", "zT"))
        ),
    ],
)
def test_pictures_are_labelled_by_the_target(about: dict, target: str | None, label: str) -> None:
    assert _label(Namespace(target=target), about) == label
