"""``sklearn-kt evaluate``: scores, results and pictures."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from _commands import FORMULAS, GAPS, Run, assert_one_line, files
from sklearn.dummy import DummyRegressor

from sklearn_kt import evaluation
from sklearn_kt.evaluation import MODELS


def test_evaluate_table(run: Run, table: Path) -> None:
    code, out, err = run(
        *("evaluate", "--data", table, "--target", "gap", "--models", "dummy,et-fractions"),
        *("--folds", 3, "--show-predictions", 4, "--n-jobs", 1),
    )
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == f"{table}: regression of gap, 12 rows, 3 folds"
    assert lines[2].split() == ["model", "MAE", "RMSE", "R²", "fit", "s", "predict", "rows/s"]
    assert [line.split()[0] for line in lines[3:5]] == ["dummy", "et-fractions"]
    # aligned: the last column ends where its name does
    assert len({len(line) for line in lines[2:5]}) == 1
    assert "4 out-of-fold predictions of dummy" in lines[6]
    assert lines[8].split() == ["formula", "true", "predicted"]
    assert len(lines) == 13
    assert "et-fractions, fold 3 of 3" in err
    assert files(table.parent) == ["gaps.csv"]


def test_evaluate_writes_results(run: Run, table: Path, tmp_path: Path) -> None:
    arguments = ["evaluate", "--data", "gaps.csv", "--target", "gap", "--models", "dummy"]
    code, _, err = run(*arguments, "--output-dir", "new/results", "--random-state", 3)
    assert code == 0
    folder = tmp_path / "new" / "results"
    assert files(folder) == ["parity.png", "report.html", "results.json"]
    assert "new/results/report.html" in err
    content = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    assert content["command"] == (
        "sklearn-kt evaluate --data gaps.csv --target gap --models dummy"
        " --output-dir new/results --random-state 3"
    )
    assert content["dataset"]["target"] == "gap"
    assert content["random_state"] == 3
    assert content["rows"]["formula"] == FORMULAS
    assert content["command"] in (folder / "report.html").read_text(encoding="utf-8")
    assert (folder / "parity.png").read_bytes().startswith(b"\x89PNG")
    # a second run replaces them
    assert run(*arguments, "--output-dir", "new/results")[0] == 0
    content = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    assert content["random_state"] == 0
    assert files(folder) == ["parity.png", "report.html", "results.json"]


def test_evaluate_classification(run: Run, table: Path, tmp_path: Path) -> None:
    frame = pd.read_csv(table, keep_default_na=False)
    frame["kind"] = np.where(frame["gap"] > 3, "wide", "narrow")
    frame["wide"] = (frame["gap"] > 3).astype(int)
    frame.to_parquet(tmp_path / "gaps.parquet")
    arguments = ["evaluate", "--data", "gaps.parquet", "--models", "dummy", "--folds", 2]
    code, out, _ = run(*arguments, "--target", "kind", "--output-dir", "out")
    assert code == 0
    assert "classification of kind" in out
    assert "balanced accuracy" in out
    assert files(tmp_path / "out") == ["report.html", "results.json", "roc.png"]
    code, out, err = run(*arguments, "--target", "wide")
    assert code == 2
    assert_one_line(err, "two different numbers", "--task")
    assert run(*arguments, "--target", "wide", "--task", "classification")[0] == 0
    assert run(*arguments, "--target", "wide", "--task", "regression")[0] == 0


def test_evaluate_keeps_compositions_together(run: Run, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("formula,y\nFe2O3,1\nO3Fe2,2\nNaCl,3\nClNa,4\n")
    arguments = ["evaluate", "--data", "t.csv", "--target", "y", "--models", "dummy"]
    assert run(*arguments, "--folds", 2)[0] == 0
    code, _, err = run(*arguments, "--folds", 3)
    assert code == 2
    assert_one_line(err, "distinct compositions, 2; got 3")


def test_evaluate_seebeck(run: Run, tmp_path: Path) -> None:
    code, out, _ = run(
        *("evaluate", "--dataset", "seebeck", "--carrier", "n", "--n-samples", 60),
        *("--models", "dummy", "--output-dir", "out"),
    )
    assert code == 0
    assert "regression of n-type Seebeck coefficient in µV/K, 60 rows, 5 folds" in out
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "10.1038/sdata.2017.85" in page


@pytest.mark.filterwarnings("always::sklearn_kt.exceptions.CompositionWarning")
def test_pretrained_model_is_not_believed_on_its_own_data(
    run: Run, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(evaluation.MODELS, "imkt", MODELS["dummy"])  # type: ignore[index]
    arguments = ["evaluate", "--data-dir", data_dir / "matbench", "--models", "imkt"]
    code, _, err = run(*arguments, "--dataset", "matbench_jdft2d")
    assert code == 0
    assert "pretrained on data like those of matbench_jdft2d" in err
    _, _, err = run(*arguments, "--dataset", "matbench_steels")
    assert "pretrained" not in err


@pytest.mark.filterwarnings("always::sklearn_kt.exceptions.CompositionWarning")
def test_evaluate_matbench(run: Run, data_dir: Path) -> None:
    arguments = ["evaluate", "--data-dir", data_dir / "matbench", "--models", "dummy"]
    code, out, err = run(*arguments, "--dataset", "matbench_expt_gap")
    assert code == 0
    # Cu1.8S1 and Cu9S5 are one composition
    assert "sklearn-kt: warning: 4 of 4604 test rows" in err
    assert "regression of gap expt in eV, 4604 rows, 5 folds" in out
    # the recorded score of MatBench's dummy, which guesses the mean
    assert out.splitlines()[3].split()[:4] == ["dummy", "1.14", "±", "0.03"]
    code, out, _ = run(*arguments, "--dataset", "matbench_glass")
    assert code == 0
    assert "classification of gfa, 5680 rows" in out
    assert "0.500 ± 0.000" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "seebeck", "--models", "rf"], "Unknown model 'rf'"),
        (["--dataset", "seebeck", "--models", "dummy,dummy"], "named twice"),
        (["--dataset", "seebeck", "--target", "y"], "--target and --decimal belong to --data"),
        (["--dataset", "seebeck", "--task", "classification"], "seebeck is a regression"),
        (["--dataset", "seebeck", "--n-samples", "99999"], "between 1 and 47737"),
        (["--dataset", "expt_gap"], "Unknown data set 'expt_gap'"),
        (["--dataset", "matbench_steels", "--folds", "3"], "five official folds"),
        (["--dataset", "matbench_steels", "--n-samples", "9"], "five official folds"),
        (["--dataset", "matbench_steels", "--data-dir", "nowhere"], "is in: nowhere"),
        (["--data", "gaps.csv"], "--target is needed"),
        (["--data", "gaps.csv", "--target", "e"], "'e' is not among the columns of gaps.csv: id,"),
        (["--data", "gaps.csv", "--target", "gap", "--formula-column", "x"], "Column 'x'"),
        (["--data", "gaps.csv", "--target", "gap", "--folds", "13"], "got 13"),
        (["--data", "gaps.csv", "--target", "gap", "--n-samples", "13"], "has 12 rows"),
        (
            ["--data", "gaps.csv", "--target", "formula", "--task", "classification"],
            "Class 'CO' has 1 rows",
        ),
        (["--data", "no.csv", "--target", "gap"], "no.csv: No such file"),
        (["--data", ".", "--target", "gap"], "Is a directory"),
        (["--data", "gaps.csv", "--target", "gap", "--output-dir", "gaps.csv"], "gaps.csv: "),
    ],
)
def test_evaluate_errors(run: Run, table: Path, arguments: list[str], message: str) -> None:
    before = table.read_bytes()
    code, out, err = run("evaluate", *arguments)
    assert code == 2
    assert out == ""
    assert_one_line(err, message)
    assert files(table.parent) == ["gaps.csv"]
    assert table.read_bytes() == before


def test_evaluate_failure_leaves_old_results(
    run: Run, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["evaluate", "--data", "gaps.csv", "--target", "gap", "--models", "dummy"]
    assert run(*arguments, "--output-dir", "out")[0] == 0
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}

    class Interrupted(DummyRegressor):
        def predict(self, X: Any) -> Any:  # type: ignore[override]
            raise KeyboardInterrupt

    monkeypatch.setitem(evaluation.MODELS, "dummy", lambda *_: Interrupted())  # type: ignore[arg-type]
    for folder in ("out", "other"):
        code, out, err = run(*arguments, "--output-dir", folder)
        assert (code, out) == (130, "")
        assert err.endswith("sklearn-kt: interrupted: no file was written\n")
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert files(tmp_path) == ["gaps.csv", "out"]


def test_results_are_kept_whatever_happens_to_the_pictures(
    run: Run, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "cost $_{US$"
    pd.read_csv(table, keep_default_na=False).rename(columns={"gap": name}).to_csv("t.csv")
    arguments = ["evaluate", "--data", "t.csv", "--target", name, "--models", "dummy"]
    assert run(*arguments, "--output-dir", "out")[0] == 0
    assert files(tmp_path / "out") == ["parity.png", "report.html", "results.json"]

    def fails(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sklearn_kt.report.write_parity_plot", fails)
    code, out, err = run(*arguments, "--output-dir", "other")
    assert code == 130
    assert "MAE" in out
    assert "interrupted: results.json was written" in err
    assert files(tmp_path / "other") == ["results.json"]


def test_names_neither_command_the_terminal_nor_lose_results(run: Run, tmp_path: Path) -> None:
    source = os.fsdecode(b"gaps\xff.csv")
    name = "\x1b[31mgap\nnew"
    rows = {"formula": FORMULAS, name: GAPS}
    try:
        pd.DataFrame(rows).to_csv(source, index=False)
    except OSError:
        pytest.skip("the file system takes UTF-8 alone")
    arguments = ["evaluate", "--data", source, "--models", "dummy", "--output-dir", "out"]
    code, out, _ = run(*arguments, "--target", name)
    assert code == 0
    assert "regression of \\x1b[31mgap\\nnew" in out.splitlines()[0]
    assert files(tmp_path / "out") == ["parity.png", "report.html", "results.json"]
    code, _, err = run(*arguments, "--target", "gap")
    assert code == 2
    assert_one_line(err, "'gap' is not among the columns", "\\udcff", "\\x1b[31mgap")
    assert "\x1b" not in out + err
