"""``sklearn-kt evaluate``: scores, results and pictures."""

from __future__ import annotations

import json
import os
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from _benchmarks import formulas, small_matbench
from _commands import FORMULAS, GAPS, Run, assert_one_line, files
from sklearn.dummy import DummyClassifier, DummyRegressor

from sklearn_kt.cli import evaluate as evaluate_command
from sklearn_kt.evaluation import MODELS, CompositionPool
from sklearn_kt.evaluation.models import NamedModel
from sklearn_kt.pretraining import CorpusTable

WRITTEN = ["folds", "parity.png", "predictions.csv", "report.html", "results.json"]


def test_evaluate_table(run: Run, table: Path) -> None:
    code, out, err = run(
        *("evaluate", "--data", table, "--target", "gap", "--models", "dummy,et-fractions"),
        *("--folds", 3, "--show-predictions", 4, "--n-jobs", 1),
    )
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == f"{table}: regression of gap, 12 rows, 3 folds"
    times = ["fit", "s", "predict", "s", "peak", "MB"]
    assert lines[2].split() == ["model", "MAE", "RMSE", "R²", *times]
    assert [line.split()[0] for line in lines[3:5]] == ["dummy", "et-fractions"]
    # aligned: the last column ends where its name does
    assert len({len(line) for line in lines[2:5]}) == 1
    assert "4 out-of-fold predictions of dummy" in lines[6]
    assert lines[8].split() == ["formula", "true", "predicted"]
    assert lines[14] == "Paired differences"
    assert lines[17].split()[:4] == ["et-fractions", "vs.", "dummy", "MAE"]
    assert lines[-1] == f"{table}, of 12 test rows: composition also in train 0"
    assert f"et-fractions, {table}, fold 2: MAE" in err
    assert files(table.parent) == ["gaps.csv"]


def test_evaluate_writes_results(run: Run, table: Path, tmp_path: Path) -> None:
    arguments = ["evaluate", "--data", "gaps.csv", "--target", "gap", "--models", "dummy"]
    code, _, err = run(*arguments, "--output-dir", "new/results", "--random-state", 3)
    assert code == 0
    folder = tmp_path / "new" / "results"
    assert files(folder) == WRITTEN
    assert "new/results/report.html" in err
    content = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    assert content["command"] == (
        "sklearn-kt evaluate --data gaps.csv --target gap --models dummy"
        " --output-dir new/results --random-state 3"
    )
    assert content["tasks"]["gaps.csv"]["target"] == "gap"
    frame = pd.read_csv(folder / "predictions.csv", keep_default_na=False)
    assert sorted(frame["formula"]) == sorted(FORMULAS)
    assert content["command"] in (folder / "report.html").read_text(encoding="utf-8")
    assert (folder / "parity.png").read_bytes().startswith(b"\x89PNG")
    # what is there is not run again
    code, _, err = run(*arguments, "--output-dir", "new/results", "--random-state", 3)
    assert code == 0
    assert "fold 4: found, not run again" in err
    # other folds are another table
    code, _, err = run(*arguments, "--output-dir", "new/results")
    assert code == 2
    assert_one_line(err, "another table or split than gaps.csv", "use another output folder")
    assert files(folder) == WRITTEN


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
    assert files(tmp_path / "out") == sorted({*WRITTEN, "roc.png"} - {"parity.png"})
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


def test_pretrained_model_is_not_believed_on_its_own_data(
    run: Run, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dummy = replace(MODELS["dummy"], pretrained=True)
    monkeypatch.setitem(MODELS, "imkt", dummy)  # type: ignore[arg-type]
    arguments = ["evaluate", "--data-dir", data_dir / "matbench", "--models", "imkt"]
    code, _, err = run(*arguments, "--dataset", "matbench_jdft2d")
    assert code == 0
    assert "pretrained on data like those of matbench_jdft2d" in err
    _, _, err = run(*arguments, "--dataset", "matbench_steels")
    assert "pretrained" not in err
    _, _, err = run("evaluate", "--dataset", "seebeck", "--n-samples", 60, "--models", "imkt")
    assert "pretrained on data like those of seebeck" in err


def test_evaluate_matbench(run: Run, data_dir: Path) -> None:
    arguments = ["evaluate", "--data-dir", data_dir / "matbench", "--models", "dummy"]
    code, out, _ = run(*arguments, "--dataset", "matbench_expt_gap")
    assert code == 0
    # Cu1.8S1 and Cu9S5 are one composition
    assert "matbench_expt_gap, of 4604 test rows: composition also in train 4;" in out
    assert "regression of gap expt in eV, 4604 rows, 5 folds" in out
    # the recorded score of MatBench's dummy, which guesses the mean
    assert out.splitlines()[3].split()[:4] == ["dummy", "1.1435", "±", "0.0310"]
    code, out, _ = run(*arguments, "--dataset", "matbench_glass")
    assert code == 0
    assert "classification of gfa, 5680 rows" in out
    assert "0.5000 ± 0.0000" in out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "seebeck", "--models", "rf"], "Unknown model 'rf'"),
        (["--dataset", "seebeck", "--models", "dummy,dummy"], "named twice"),
        (["--dataset", "seebeck", "--target", "y"], "--target belongs to --data and to thermo"),
        (["--dataset", "seebeck", "--task", "classification"], "seebeck is a regression"),
        (["--dataset", "seebeck", "--n-samples", "99999"], "between 1 and 47737"),
        (["--dataset", "expt_gap"], "Unknown data set 'expt_gap'"),
        (["--dataset", "matbench_steels", "--folds", "3"], "has official folds"),
        (["--dataset", "matbench_steels", "--n-samples", "9"], "has official folds"),
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
        (
            ["--data", "gaps.csv", "--target", "gap", "--output-dir", "gaps.csv"],
            "gaps.csv is a file; name a folder",
        ),
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
    written = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    before = {path: path.read_bytes() for path in written if "folds" not in path.parts}
    (tmp_path / "out" / "folds" / "dummy.parquet").unlink()

    class Interrupted(DummyRegressor):
        def predict(self, X: Any) -> Any:  # type: ignore[override]
            raise KeyboardInterrupt

    dummy = replace(MODELS["dummy"], build=lambda *_: Interrupted())
    monkeypatch.setitem(MODELS, "dummy", dummy)  # type: ignore[arg-type]
    for folder in ("out", "other"):
        code, out, err = run(*arguments, "--output-dir", folder)
        assert (code, out) == (130, "")
        assert "interrupted: the same command goes on with the folds that are missing" in err
    assert {path: path.read_bytes() for path in before} == before
    assert files(tmp_path) == ["gaps.csv", "out"]


def test_results_are_kept_whatever_happens_to_the_pictures(
    run: Run, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "cost $_{US$"
    pd.read_csv(table, keep_default_na=False).rename(columns={"gap": name}).to_csv("t.csv")
    arguments = ["evaluate", "--data", "t.csv", "--target", name, "--models", "dummy"]
    assert run(*arguments, "--output-dir", "out")[0] == 0
    assert files(tmp_path / "out") == WRITTEN

    def fails(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sklearn_kt.evaluation.report.write_plot", fails)
    code, out, err = run(*arguments, "--output-dir", "other")
    assert code == 130
    assert "MAE" in out
    assert "interrupted: results.json was written" in err
    assert files(tmp_path / "other") == ["folds", "predictions.csv", "results.json"]


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
    assert files(tmp_path / "out") == WRITTEN
    code, _, err = run(*arguments, "--target", "gap")
    assert code == 2
    assert_one_line(err, "'gap' is not among the columns", "\\udcff", "\\x1b[31mgap")
    assert "\x1b" not in out + err


@pytest.mark.slow
def test_benchmarks_with_leaderboard_pool_and_official_files(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = small_matbench(monkeypatch, tmp_path / "tables")
    uniform = NamedModel(
        "",
        lambda kind, *_: (
            DummyRegressor(strategy="median") if kind == "regression" else DummyClassifier()
        ),
    )
    monkeypatch.setitem(MODELS, "middle", uniform)  # type: ignore[arg-type]
    recorded = [
        {"algorithm": "Good", "task": "matbench_expt_gap", "fold": fold, "mae": 0.1 + fold / 100}
        for fold in range(5)
    ]
    pd.DataFrame(recorded).to_csv(tables / "leaderboard_scores.csv", index=False)
    CompositionPool.from_tables([CorpusTable(formulas(5))]).save(tmp_path / "pool.npz")
    names = "matbench_expt_gap,matbench_expt_is_metal"
    command = ["evaluate", "--models", "dummy,middle", "--dataset", names]
    command += ["--data-dir", tables, "--pool", "pool.npz", "--output-dir", "out"]
    code, out, err = run(*command)
    assert code == 0
    lines = [line.split() for line in out.splitlines()]
    assert ["1", "Good", "0.1200", "±", "0.0141", "-"] in lines
    assert any(line[1:3] == ["dummy", "*"] for line in lines)
    assert "1 tasks" not in out
    assert "of 40 test rows: composition also in train 0; in the pool 5" in out
    assert "pretraining has not seen: matbench_expt_gap: regression" in out
    assert "Paired differences" in out
    assert "dummy, matbench_expt_gap, fold 4: MAE" in err
    for model in ("dummy", "middle"):
        assert (tmp_path / "out" / model / "results.json.gz").is_file()
    assert {"parity-matbench_expt_gap.png", "roc-matbench_expt_is_metal.png"} <= set(
        files(tmp_path / "out")
    )
    assert run(*command)[1] == out


def test_rows_that_pretraining_has_not_seen(run: Run, table: Path, tmp_path: Path) -> None:
    arguments = ["evaluate", "--data", "gaps.csv", "--target", "gap", "--models", "dummy"]
    for known, shown in ((FORMULAS[:9], True), (FORMULAS, False)):
        CompositionPool.from_tables([CorpusTable(known)]).save(tmp_path / "pool.npz")
        code, out, _ = run(*arguments, "--pool", "pool.npz")
        assert code == 0
        assert f"in the pool {len(known)}" in out
        # a table of no rows says nothing
        assert ("pretraining has not seen: gaps.csv: regression of gap, 3 rows" in out) == shown
        assert out.count("MAE") == 1 + shown


def test_evaluate_with_conditions(run: Run, tmp_path: Path) -> None:
    formulas = [f"{a}{b}" for a in ("Li", "Na", "K", "Rb") for b in ("F", "Cl", "Br")]
    frame = pd.DataFrame(
        {
            "sample": np.repeat(formulas, 2),
            "temperature": np.tile([300, 400, 500, 400], 6),
            # formulas too
            "route": np.tile(["SPS", "HP", "HP", "SPS"], 6),
        }
    )
    frame["S"] = frame["temperature"] / 10
    frame.to_csv(tmp_path / "measured.csv", index=False)
    arguments = [
        "evaluate",
        "--data",
        "measured.csv",
        "--formula-column",
        "sample",
        "--target",
        "S",
    ]
    arguments += ["--models", "dummy,et-fractions", "--folds", 3]
    code, out, _ = run(*arguments, "--conditions", "temperature,route", "--output-dir", "out")
    assert code == 0
    scores = {line.split()[0]: line.split()[1] for line in out.splitlines()[3:5]}
    assert (scores["dummy"], scores["et-fractions"]) == ("5.6250", "0.0000")
    kept = pd.read_csv(tmp_path / "out" / "predictions.csv")
    np.testing.assert_array_equal(kept["temperature"] / 10, kept["true"])
    for given, message in [
        ("temperature,heat", "Column 'heat' is not among"),
        ("temperature,S", "'S' is the target"),
    ]:
        code, _, err = run(*arguments, "--conditions", given)
        assert code == 2
        assert_one_line(err, message)
    code, _, err = run(
        *("evaluate", "--dataset", "thermoelectrics", "--target", "kl"),
        *("--conditions", "pressure", "--models", "dummy"),
    )
    assert code == 2
    assert_one_line(err, "no condition pressure; it has temperature")


def test_evaluate_recorded_folds_of_thermoelectrics(run: Run) -> None:
    code, out, _ = run(
        *("evaluate", "--dataset", "thermoelectrics", "--target", "kl", "--models", "dummy"),
        *("--conditions", "temperature", "--show-predictions", 2),
    )
    assert code == 0
    assert "thermoelectrics_kl: regression of kl in W/(m K), 1819 rows, 5 folds" in out
    assert "temperature" in out
    code, _, err = run("evaluate", "--dataset", "thermoelectrics", "--target", "gap")
    assert code == 2
    assert_one_line(err, "target must be one of S, sigma")


def test_evaluate_several_targets(run: Run, tmp_path: Path) -> None:
    frame = pd.DataFrame({"formula": FORMULAS, "T": [300, 400, 500] * 4, "S/K": GAPS, "zT": GAPS})
    frame.loc[:2, "zT"] = np.nan
    frame.loc[11, "S/K"] = np.nan
    frame.to_csv(tmp_path / "measured.csv", index=False)
    arguments = ["evaluate", "--data", "measured.csv", "--target", "S/K, zT", "--models"]
    arguments += ["dummy,et-fractions", "--conditions", "T", "--output-dir", "out"]
    code, out, err = run(*arguments, "--unit", "uV/K,", "--folds", 3)
    assert code == 0, err
    rows = {tuple(line.split()[:2]): line.split() for line in out.splitlines()}
    assert rows["dummy", "S/K"][2] == "(uV/K)"
    # each as if it were alone
    known = frame.dropna(subset="zT").rename(columns={"zT": "y"})
    known.to_csv(tmp_path / "zT.csv", index=False)
    alone = ["evaluate", "--data", "zT.csv", "--target", "y", "--models", "et-fractions"]
    score = run(*alone, "--conditions", "T", "--folds", 3)[1].splitlines()[3].split()[1]
    assert rows["et-fractions", "zT"][2] == score
    assert "S/K, of 11 test rows" in out
    assert "zT, of 9 test rows" in out
    assert "dummy, S/K, fold 2: MAE" in err
    assert " uV/K, R²" in err
    content = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    assert [task["unit"] for task in content["tasks"].values()] == ["uV/K", ""]
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "<title>measured.csv</title>" in page
    assert "S/K (uV/K)" in page
    assert len([*(tmp_path / "out").glob("parity-*.png")]) == 2
    code, _, err = run(*arguments[:-2], "--folds", 10)
    assert code == 2
    assert_one_line(err, "Column 'zT': The number of folds", "9; got 10")


def test_only_what_was_pretrained_on_is_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    for dataset, warned in (("pseebeck", False), ("pseebeck, seebeck", True)):
        evaluate_command._warn_pretrained(Namespace(models="imkt", dataset=dataset), [])
        assert ("like those of seebeck" in capsys.readouterr().err) == warned
