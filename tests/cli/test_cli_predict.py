"""``sklearn-kt predict``: every row of the table, in its order."""

from __future__ import annotations

import os
import stat
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from _commands import FORMULAS, GAPS, Run, assert_one_line, files, read
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.pipeline import make_pipeline

from sklearn_kt import CompositionTokenizer, ImplicitKTRegressor
from sklearn_kt.persistence import describe_model, load_model, save_model
from sklearn_kt.tables import open_table


@pytest.mark.slow
def test_fit_and_predict(run: Run, table: Path, tmp_path: Path) -> None:
    code, out, err = run(
        *("fit", table, "--target", "gap", "--model", "et-fractions", "--output", "gap.model")
    )
    assert (code, out) == (0, "")
    assert "wrote: gap.model" in err
    code, out, err = run("predict", "gap.model", table)
    assert code == 0
    assert err.startswith("sklearn-kt: scored: MAE ")
    assert "R²" in err
    assert f"against column 'gap' of {table} (12 rows)" in err
    # a forest alone held nothing out to compare with
    assert "look better than new ones" not in err
    rows = read(out)
    assert rows[0] == ["id", "formula", "gap", "prediction_gap"]
    assert [row[:3] for row in rows] == read(table.read_text())
    predictions = [float(row[3]) for row in rows[1:]]
    expected = load_model(tmp_path / "gap.model").predict(FORMULAS)
    assert predictions == pytest.approx(expected, abs=1e-12)
    code, out, err = run("predict", "gap.model", table, "--output", "p.csv", "--batch-size", 5)
    assert (code, out) == (0, "")
    assert err.startswith("sklearn-kt: wrote: p.csv: 12 rows\nsklearn-kt: scored: ")
    assert read((tmp_path / "p.csv").read_text())[0] == rows[0]
    again = [float(row[3]) for row in read((tmp_path / "p.csv").read_text())[1:]]
    assert again == pytest.approx(predictions, abs=1e-12)
    # as open as any new file
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE((tmp_path / "p.csv").stat().st_mode) == 0o666 & ~mask


@pytest.mark.slow
def test_fit_classifier_and_predict_from_stdin(run: Run, tmp_path: Path) -> None:
    frame = pd.DataFrame({"c": FORMULAS, "metal": [gap < 1 for gap in GAPS]})
    frame.to_csv(tmp_path / "t.csv", index=False)
    code, _, err = run(
        *("fit", "t.csv", "--formula-column", "c", "--target", "metal"),
        *("--model", "et-fractions", "--output", "m", "--n-jobs", 1),
    )
    assert code == 0
    assert "classification of metal" in err
    code, out, _ = run("predict", "m", "--formula-column", "c", stdin="c\nCo\nNaCl\n")
    assert code == 0
    rows = read(out)
    assert rows[0] == ["c", "prediction_metal", "probability_False", "probability_True"]
    assert [row[1] for row in rows[1:]] == ["True", "False"]
    assert all(float(row[2]) + float(row[3]) == pytest.approx(1) for row in rows[1:])
    code, _, err = run("predict", "m", "--formula-column", "c", "--return-std", stdin="c\nCo\n")
    assert code == 2
    assert_one_line(err, "gives no standard deviation")


def test_classes_are_those_that_the_model_decides_for(run: Run, tmp_path: Path) -> None:
    inner = make_pipeline(CompositionTokenizer("fraction"), LogisticRegression())
    model = FixedThresholdClassifier(inner, threshold=0.999, pos_label="metal")
    model.fit(FORMULAS, ["metal" if gap < 8 else "gap" for gap in GAPS])
    save_model(model, tmp_path / "m")
    code, out, _ = run("predict", "m", stdin="formula\nCo\nNaCl\n")
    assert code == 0
    assert [row[1] for row in read(out)[1:]] == ["gap", "gap"]
    assert float(read(out)[1][3]) > 0.5


def test_several_targets_are_written_as_screen_writes_them(
    run: Run, table: Path, tmp_path: Path
) -> None:
    model = make_pipeline(CompositionTokenizer("fraction"), Ridge())
    save_model(model.fit(FORMULAS, np.column_stack([GAPS, GAPS[::-1]])), tmp_path / "m")
    assert run("predict", "m", table, "--output", "p.csv")[0] == 0
    assert run("screen", "m", table, "--output", "s.csv", "--no-std", "--quiet")[0] == 0
    assert (tmp_path / "p.csv").read_text() == (tmp_path / "s.csv").read_text()
    head = (tmp_path / "p.csv").read_text().partition("\n")[0]
    assert head == "id,formula,gap,prediction_0,prediction_1"
    code, _, err = run("predict", "m", table, "--return-std")
    assert code == 2
    assert_one_line(err, "gives no standard deviation")


def test_columns_are_called_by_their_targets(run: Run, tmp_path: Path) -> None:
    frame = pd.DataFrame({"formula": FORMULAS * 2, "gap": GAPS * 2, "S": GAPS[::-1] * 2})
    frame.loc[[1, 2], "S"] = np.nan
    frame.to_csv(tmp_path / "t.csv", index=False)
    fit = ["fit", "t.csv", "--target", "gap,S", "--unit", "eV,uV/K", "--model", "imkt-fast"]
    assert run(*fit, "-o", "m")[0] == 0
    code, _, err = run(
        *("predict", "m", "t.csv", "--return-std", "--interval", 0.8, "-o", "p.csv", "--quiet")
    )
    assert code == 0, err
    stems = ("prediction", "prediction_std", "prediction_low", "prediction_high")
    columns = [f"{stem}_{name}" for stem in stems for name in ("gap", "S")]
    found = pd.read_csv(tmp_path / "p.csv")
    assert list(found) == [*frame, *columns]
    model = load_model(tmp_path / "m")
    y, std = model.predict(FORMULAS * 2, return_std=True)
    low, high = np.moveaxis(model.predict_interval(FORMULAS * 2, coverage=0.8), -1, 0)
    np.testing.assert_allclose(found[columns], np.hstack([y, std, low, high]))
    # each is scored by the rows that have it
    assert "wrote: p.csv: 24 rows; gap in eV; S in uV/K" in err
    assert "against column 'gap' of t.csv (24 rows)" in err
    mae = np.abs(y[:, 1] - frame["S"]).mean()
    assert f"scored: MAE {mae:.3g} uV/K" in err
    assert "'S' of t.csv (22 rows; 2 rows lack a value or a prediction)" in err
    assert run("screen", "m", "t.csv", "-o", "s.csv", "--quiet", "--sort-by", columns[1])[0] == 0
    assert list(pd.read_csv(tmp_path / "s.csv")) == [*frame, *columns[:4]]
    code, _, err = run("screen", "m", "t.csv", "-o", "s.parquet", "--top-k", 1, "--quiet")
    assert code == 0
    assert "gap in eV" in err
    [best] = pd.read_parquet(tmp_path / "s.parquet")["formula"]
    assert best == FORMULAS[y[:12, 0].argmax()]


def test_intervals_that_few_rows_speak_for_are_warned_of_once(run: Run, tmp_path: Path) -> None:
    frame = pd.DataFrame({"formula": FORMULAS, "gap": GAPS})
    frame.to_csv(tmp_path / "t.csv", index=False)
    assert run("fit", "t.csv", "--target", "gap", "--model", "imkt-fast", "-o", "m")[0] == 0
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        code, _, err = run("predict", "m", "t.csv", "--interval", 0.99, "-o", "p.csv", "--quiet")
    assert code == 0
    assert err.count("warning: Intervals of 99 % ask for errors of 99 compositions") == 1
    assert "known are those of 12." in err


def test_columns_of_one_name_are_refused(run: Run, table: Path, tmp_path: Path) -> None:
    frame = pd.read_csv(table, keep_default_na=False).assign(std_gap=GAPS)
    frame.to_csv(tmp_path / "t.csv", index=False)
    assert run("fit", "t.csv", "--target", "gap,std_gap", "--model", "imkt-fast", "-o", "m")[0] == 0
    code, _, err = run("predict", "m", "NaCl", "--return-std")
    assert code == 2
    assert_one_line(err, "Two columns would be called 'prediction_std_gap'")


def test_predict_std(run: Run, table: Path, model: Path) -> None:
    code, out, _ = run("predict", model, table, "--return-std")
    assert code == 0
    rows = read(out)
    assert rows[0][3:] == ["prediction", "prediction_std"]
    mean, std = load_model(model).predict(FORMULAS, return_std=True)
    # full precision
    assert [float(row[3]) for row in rows[1:]] == mean.tolist()
    assert [float(row[4]) for row in rows[1:]] == std.tolist()


def test_predict_trusts_what_is_named(run: Run, model: Path) -> None:
    kind = "scipy.sparse._csr.csr_matrix"
    odd = load_model(model)
    odd[-1].rows_ = csr_matrix(np.eye(2))
    save_model(odd, model)
    code, out, err = run("predict", model, stdin="formula\nNaCl\n")
    assert (code, out) == (2, "")
    assert kind in err
    assert "--trust NAME" in err
    code, out, _ = run("predict", model, "--trust", kind, stdin="formula\nNaCl\n")
    assert code == 0
    assert len(read(out)) == 2


def test_predict_bad_rows(run: Run, model: Path, tmp_path: Path) -> None:
    text = "formula\nFe2O3\nXx\nNaN\nnot\n\n"
    code, out, err = run("predict", model, "--output", "p.csv", stdin=text)
    assert (code, out) == (2, "")
    assert_one_line(err, "stdin, line 3: 'Xx' is not a composition: unknown element")
    assert files(tmp_path) == ["gap.model"]
    for size in (1, 2, 100):
        code, out, err = run(
            "predict", model, "--errors", "nan", "--batch-size", size, "--return-std", stdin=text
        )
        assert code == 0
        rows = read(out)
        assert [row[0] for row in rows] == ["formula", "Fe2O3", "Xx", "NaN", "not"]
        assert [bool(row[1]) for row in rows[1:]] == [True, False, True, False]
        assert rows[2] == ["Xx", "", ""]
        assert err.count("\n") == 1
        assert err.startswith("sklearn-kt: warning: 2 rows of stdin are not compositions")
        assert "line 3 ('Xx')" in err


def test_predict_error_names_the_line_in_a_later_batch(run: Run, model: Path) -> None:
    text = "formula\n" + "Fe2O3\n" * 7 + "Yy\n"
    code, _, err = run("predict", model, "--batch-size", 3, stdin=text)
    assert code == 2
    assert_one_line(err, "line 9: 'Yy'")


@pytest.mark.filterwarnings("always::sklearn_kt.exceptions.CompositionWarning")
def test_doubts_name_the_place_in_the_file(run: Run, model: Path) -> None:
    text = "formula\nFe2O3\nCuSO4.5H2O\nXx\nCuSO4·5H2O\n"
    code, _, err = run("predict", model, "--errors", "nan", stdin=text)
    assert code == 0
    assert err.startswith("sklearn-kt: warning: In 1 of 4 rows a '.'")
    assert "stdin, line 3, 'CuSO4.5H2O', was read as 'CuSO4·5H2O'" in err
    assert "1 rows of stdin are not compositions" in err


def test_predict_no_rows(run: Run, model: Path) -> None:
    assert run("predict", model, stdin="formula\n") == (0, "formula,prediction\n", "")
    code, out, err = run("predict", model, stdin="")
    assert (code, out) == (2, "")
    assert_one_line(err, "stdin is empty")


def test_predict_does_not_shadow_a_column(run: Run, model: Path) -> None:
    code, out, err = run("predict", model, stdin="formula,prediction\nFe,1\n")
    assert (code, out) == (2, "")
    assert_one_line(err, "already has a column 'prediction'")


@pytest.mark.parametrize("name", ["o.parquet", "o.PARQUET", "o.tsv", "o.jsonl", "o.csv.gz"])
def test_predict_writes_what_the_name_says(
    run: Run, model: Path, tmp_path: Path, name: str
) -> None:
    ids = ["00123", "NA", "", "NaN"]
    lines = [f"{formula},{id_}" for formula, id_ in zip(["NaN", "CO", "?", "Co"], ids, strict=True)]
    source = "\n".join(["formula,id", *lines])
    code, out, _ = run("predict", model, "--output", name, "--errors", "nan", stdin=source)
    assert (code, out) == (0, "")
    with open_table(tmp_path / name, 9) as table:
        [batch] = table.batches
    assert batch.values(0) == ["NaN", "CO", "?", "Co"]
    assert batch.values(1) == ids
    expected = load_model(model).predict(["NaN", "CO", "Co"])
    found = [value for value in batch.values(2) if value not in (None, "")]
    assert [float(value) for value in found] == expected.tolist()
    assert batch.values(2)[2] in (None, "")


def test_predict_passes_repeated_columns_on(run: Run, model: Path) -> None:
    source = "a,formula,a\n1,NaCl,2\n"
    code, out, _ = run("predict", model, stdin=source)
    assert code == 0
    assert [row[:3] for row in read(out)] == [["a", "formula", "a"], ["1", "NaCl", "2"]]
    code, _, err = run("predict", model, "--output", "o.parquet", stdin=source)
    assert code == 2
    assert_one_line(err, "'a' occurs 2 times")


def test_formulas_as_arguments(run: Run, model: Path) -> None:
    code, out, err = run("predict", model, "NaCl", "Fe0.5Ni0.5", "--digits", 3)
    assert (code, err) == (0, "")
    expected = load_model(model).predict(["NaCl", "Fe0.5Ni0.5"])
    assert read(out) == [
        ["formula", "prediction"],
        *(
            [formula, str(float(f"{value:.3g}"))]
            for formula, value in zip(["NaCl", "Fe0.5Ni0.5"], expected, strict=True)
        ),
    ]
    code, _, err = run("predict", model, "NaCl", "NaKl")
    assert code == 2
    assert_one_line(err, "formula 2", "NaKl")


@pytest.mark.slow
def test_intervals_and_what_is_remembered_of_a_fit(run: Run, tmp_path: Path) -> None:
    gaps = pd.DataFrame(
        {"formula": FORMULAS * 2, "gap (eV)": [*GAPS, *(gap + 0.1 for gap in GAPS)]}
    )
    gaps.to_csv(tmp_path / "t.csv", index=False)
    code, _, err = run("fit", "t.csv", "--target", "gap (eV)", "--model", "imkt-fast", "-o", "m")
    assert code == 0
    said = err.splitlines()
    assert "fitted: t.csv: 24 rows, 17 elements, 12 rows that repeat a composition" in err
    scores = load_model(tmp_path / "m").held_out_scores_
    held_out = f"held out: MAE {scores['mae']:.3g} eV, R² {scores['r2']:.3g}, on rows"
    assert any(held_out in line for line in said)
    about = describe_model(tmp_path / "m")["about"]
    assert about["target"] == "gap (eV)"
    assert about["unit"] == "eV"
    assert about["rows"] == 24
    assert about["held-out mae"] == scores["mae"]
    code, out, err = run("info", "m")
    assert (code, err) == (0, "")
    error = f"{scores['mae']:.6g} eV"
    for part in ("gap (eV)", "imkt-fast", "24", error, "ImplicitKTRegressor", about["date"]):
        assert part in out
    code, out, err = run("predict", "m", "LiCl", "BN", "--interval", 0.8, "-o", "p.xlsx")
    assert code == 0
    found = pd.read_excel(tmp_path / "p.xlsx", keep_default_na=False)
    stems = ("prediction", "prediction_low", "prediction_high")
    assert list(found) == ["formula", *(f"{stem}_gap (eV)" for stem in stems)]
    assert (found["prediction_low_gap (eV)"] < found["prediction_high_gap (eV)"]).all()
    assert err.endswith("p.xlsx: 2 rows\n")
    # rows of the fit are no test of it
    code, _, err = run("predict", "m", "t.csv", "-o", "known.csv")
    assert code == 0
    told = (
        "note: rows that a model was fitted on look better than new ones: those that the fit held"
    )
    assert f"{told} out had MAE {scores['mae']:.3g} eV." in err
    # of a table, the rows that have a value
    (tmp_path / "new.csv").write_text("formula,gap (eV)\nNaCl,8.5\nKCl,\nMgO,none\n")
    code, _, err = run("predict", "m", "new.csv")
    assert code == 0
    assert "MAE" in err
    assert " eV" in err
    assert "(1 rows; 2 rows lack a value or a prediction)" in err


@pytest.mark.parametrize(
    ("options", "part"),
    [(("--interval", "0.9"), "gives no intervals"), (("--digits", "0"), "at least 1")],
)
def test_what_a_model_cannot_give(
    run: Run, model: Path, capsys: pytest.CaptureFixture, options: tuple, part: str
) -> None:
    try:
        code, _, err = run("predict", model, "NaCl", *options)
    except SystemExit as left:
        code, err = left.code, capsys.readouterr().err
    assert code == 2
    assert part in err


@pytest.mark.filterwarnings("always::sklearn_kt.exceptions.UnseenElementWarning")
def test_elements_that_no_training_row_had(run: Run, tmp_path: Path) -> None:
    formulas = [f"{a}{b}" for a in ("Li", "Na", "K", "Rb") for b in ("F", "Cl", "Br", "I")]
    model = ImplicitKTRegressor(None, readout="fast", random_state=0).fit(formulas, range(16))
    save_model(model, tmp_path / "gap.model")
    new = pd.DataFrame({"formula": ["NaCl", "KI", "CsI", "LiF", "MgO"]})
    new.to_csv(tmp_path / "new.csv", index=False)
    code, _, err = run("predict", "gap.model", "new.csv", "--batch-size", 2, "-o", "o.csv")
    assert code == 0, err
    assert err.count("2 of 5 rows hold elements that no training row had, O, Mg, Cs (") == 1
    assert "(line 4: CsI; line 6: MgO)" in err
    assert err.count("no training row") == 1
    code, _, err = run("predict", "gap.model", "NaCl", "-o", "p.csv")
    assert code == 0
    assert "no training row" not in err
    code, _, err = run(
        "screen", "gap.model", "new.csv", "--batch-size", 2, "--quiet", "-o", "s.csv"
    )
    assert code == 0, err
    assert err.count("2 of 5 rows hold elements that no training row had, O, Mg, Cs:") == 1
    assert err.count("no training row") == 1
