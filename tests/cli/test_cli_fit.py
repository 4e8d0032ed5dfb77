"""``sklearn-kt fit``: what a table must be like, and what its target is."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from _commands import FORMULAS, GAPS, Run, assert_one_line, files, read
from sklearn.base import BaseEstimator

from sklearn_kt import evaluation
from sklearn_kt.cli.options import BATCH_ROWS
from sklearn_kt.compositions import read_compositions

WEIGHTS = "name,Fe,Cr,Ni,gap\na,70,20,10,1\nb,90,10,0,2\n" + "c,50,25,25,3\nd,60,20,20,4\n" * 4


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty: a header line"),
        ("formula,gap\n", "has a header but no rows"),
        ("formula,gap\nFe,1\nXx2O3,2\n", "line 3: 'Xx2O3' is not a composition: unknown element"),
        ("formula,gap\nFe,1\n,2\n", "line 3: '' is not a composition"),
        ('formula,gap\n"Fe\n2O3",1\nx,2\n', "line 4: 'x' is not a composition"),
        ("formula,gap\nFe,1\nCo,two\n", "line 3: 'two' in column 'gap' is not a finite number"),
        ("formula,gap\nFe,1\nCo,nan\n", "line 3: column 'gap' is empty (1 such rows)"),
        ("formula,gap\nFe,1\nCo,\n", "line 3: column 'gap' is empty (1 such rows)"),
        ("formula,gap\nFe,1\nCo\n", "line 3: 1 fields where the header has 2"),
        ("formula,gap\nFe,1\nCo,2,3\n", "line 3: 3 fields where the header has 2"),
        ("formula,gap\nFe,1\n\nCo,2\n", "line 3 is blank"),
        ('formula,gap\nFe,1\n"Co,2\n', "cannot be read from line 3 on"),
        ("formula,gap,gap\nFe,1,1\n", "'gap' occurs 2 times"),
    ],
)
def test_bad_csv(run: Run, tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "bad.csv").write_text(content)
    code, out, err = run("fit", "bad.csv", "--target", "gap", "--output", "m")
    assert (code, out) == (2, "")
    assert_one_line(err, "bad.csv", message)
    assert files(tmp_path) == ["bad.csv"]


@pytest.mark.parametrize(
    ("values", "first", "count"),
    [
        (["8,5", "9", "8,25"], "line 2: '8,5'", "2 such rows of 3"),
        (["8,5", "9,25", "1e3 "], "line 2: '8,5'", "2 such rows of 3"),
        (["8,5", "9,25", "7,5"], "line 2: '8,5'", "--decimal ,;"),
        (["glass", "0.66±0.1", "metal"], "line 3: '0.66±0.1'", "--task classification"),
        (["1,066.5", "2,031.5", "5"], "line 2: '1,066.5'", "2 such rows of 3"),
        (["<0.1", "~5", "> 7"], "line 2: '<0.1'", "3 such rows of 3"),
        (["5 eV", "300K", "5%"], "line 2: '5 eV'", "3 such rows of 3"),
        (["1.23(4)", "1-2", "10^3"], "line 2: '1.23(4)'", "3 such rows of 3"),
        (["5mA", "(3)", "ca. 5"], "3 different texts in 3 rows", "--task classification"),
        (["metal", "nan", "metal"], "line 3: 'nan'", "Correct or drop such rows"),
        (["2020-01-01", "1 066", "3.5D+03"], "line 2: '2020-01-01'", "3 such rows of 3"),
        (["1_0", "7", "8"], "line 2: '1_0'", "Correct or drop such rows"),
        (["  ", "7", "8"], "line 2: column 'gap' is empty", "(1 such rows)"),
    ],
)
def test_text_like_numbers_is_no_class(
    run: Run, tmp_path: Path, values: list[str], first: str, count: str
) -> None:
    frame = pd.DataFrame({"formula": FORMULAS[:3], "gap": values})
    frame.to_csv(tmp_path / "t.csv", index=False)
    fit = ("fit", "t.csv", "--target", "gap", "--model", "dummy", "--output", "m")
    code, out, err = run(*fit)
    assert (code, out) == (2, "")
    assert_one_line(err, first, count)
    assert ("--decimal" in err) == first.endswith("'8,5'")
    assert run("evaluate", "--data", "t.csv", "--target", "gap", "--models", "dummy")[0] == 2
    # unless one says so
    code, _, err = run(*fit, "--task", "classification")
    assert code == (2 if "empty" in first else 0)


def test_decimal_comma(run: Run, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("formula;gap\nFe;8,5\nCo;\u22121\nNi;1e3 \n", encoding="utf-8")
    fit = ("fit", "t.csv", "--target", "gap", "--model", "dummy", "--output", "m")
    code, _, err = run(*fit, "--decimal", ",")
    assert code == 0
    assert "regression of gap" in err
    assert float(read(run("predict", "m", stdin="formula\nFe\n")[1])[1][1]) == 1007.5 / 3
    (tmp_path / "t.csv").write_text("formula;gap\nFe;8,5\nCo;1.066,5\n")
    code, _, err = run(*fit, "--decimal", ",")
    assert code == 2
    assert_one_line(err, "line 3: '1.066,5'")
    code, _, err = run("evaluate", "--dataset", "seebeck", "--decimal", ",")
    assert code == 2
    assert_one_line(err, "--decimal belongs to --data")


@pytest.mark.parametrize("kinds", [["2D", "3D"], ["4mm", "-42m"], ["2/m", "m-3m"], ["NA", "3d"]])
def test_classes_with_digits(run: Run, tmp_path: Path, kinds: list[str]) -> None:
    pd.DataFrame({"formula": FORMULAS, "kind": kinds * 6}).to_csv(tmp_path / "t.csv", index=False)
    code, _, err = run(*("fit", "t.csv", "--target", "kind", "--model", "dummy", "--output", "m"))
    assert code == 0
    assert "classification of kind" in err


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([pd.Timestamp("2020-01-01")] * 12, "is not a finite number"),
        ([[1, 2]] * 12, "is not a finite number"),
    ],
)
def test_targets_of_other_types(run: Run, tmp_path: Path, values: list, message: str) -> None:
    frame = pd.DataFrame({"formula": FORMULAS, "y": values})
    frame.to_parquet(tmp_path / "t.PARQUET")
    code, _, err = run(*("fit", "t.PARQUET", "--target", "y", "--model", "dummy", "--output", "m"))
    assert code == 2
    assert_one_line(err, "row 0", message)


def test_all_bad_rows_are_counted(run: Run, tmp_path: Path) -> None:
    rows = [*["Fe2O3,1"] * BATCH_ROWS, *["Xx,1"] * 4]
    (tmp_path / "t.csv").write_text("\n".join(["formula,gap", "Qq,1", *rows]))
    code, _, err = run("fit", "t.csv", "--target", "gap", "--output", "m")
    assert code == 2
    assert_one_line(
        err,
        "t.csv, line 2: 'Qq' is not a composition: unknown element 'Qq'. So it is with 5 of 10005",
        "line 10003, 'Xx': unknown element 'Xx'. line 10004, 'Xx'",
        "And so on. Correct or drop them.",
    )


@pytest.mark.slow
def test_columns_of_elements(run: Run, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(WEIGHTS)
    options = ("--target", "gap", "--model", "et-fractions", "--output", "m")
    code, _, err = run("fit", "t.csv", *options)
    assert code == 2
    assert_one_line(
        err,
        "Column 'formula' is not among the columns of t.csv",
        "--amounts atomic or --amounts weight",
    )
    assert run("fit", "t.csv", *options, "--amounts", "weight")[0] == 0
    code, out, _ = run("predict", "m", "t.csv", "--amounts", "weight")
    assert code == 0
    assert read(out)[0] == ["name", "Fe", "Cr", "Ni", "gap", "prediction_gap"]
    # extra-trees remember what they were fitted on
    np.testing.assert_allclose([float(row[5]) for row in read(out)[1:5]], [1, 2, 3, 4])
    code, out, _ = run("tokenize", "t.csv", "--amounts", "weight")
    [formula, *_] = read(out)[1]
    expected = read_compositions([{"Fe": 70, "Cr": 20, "Ni": 10}], amounts="weight")
    assert [formula] == expected.formulas()
    code, out, _ = run("tokenize", "--amounts", "weight", stdin="formula\nFe70Cr20Ni10\n")
    assert read(out)[1][0] == formula


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("70,20,10", "70,,10", "line 2: {'Cr': None, 'Fe': 70.0, 'Ni': 10.0} is not a compo"),
        ("70,20,10", "70,x,10", "the amount of 'Cr' is 'x', which is not a number"),
        ("70,20,10", "0,0,0", "all amounts are zero"),
        ("Fe,Cr,Ni", "Fe,Fe,Ni", "occurs 2 times"),
        (
            "Fe,Cr,Ni",
            "fe,cr,ni",
            "no column 'formula', and none of its columns beside gap reads as",
        ),
    ],
)
def test_bad_columns_of_elements(
    run: Run, tmp_path: Path, old: str, new: str, message: str
) -> None:
    (tmp_path / "t.csv").write_text(WEIGHTS.replace(old, new))
    code, _, err = run("fit", "t.csv", "--amounts", "weight", "--target", "gap", "--output", "m")
    assert code == 2
    assert_one_line(err, message)


def test_interrupted_fit_leaves_existing_model(
    run: Run, table: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted(BaseEstimator):
        def fit(self, X: Any, y: Any) -> None:
            raise KeyboardInterrupt

    dummy = replace(evaluation.MODELS["dummy"], build=lambda *_: Interrupted())
    monkeypatch.setitem(evaluation.MODELS, "dummy", dummy)
    before = model.read_bytes()
    code, out, err = run(
        "fit", table, "--target", "gap", "--model", "dummy", "--output", "gap.model"
    )
    assert (code, out, err) == (130, "", "sklearn-kt: interrupted: no file was written\n")
    assert model.read_bytes() == before
    assert files(tmp_path) == ["gap.model", "gaps.csv"]


SEVERAL = "formula,S [uV/K],zT\n" + "".join(
    f"{formula},{number},{'' if number % 3 else number / 10}\n"
    for number, formula in enumerate(FORMULAS[:15])
)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["dummy", "imkt-fast"])
def test_several_targets_with_empty_cells(run: Run, tmp_path: Path, model: str) -> None:
    (tmp_path / "t.csv").write_text(SEVERAL)
    target = ("--target", "S [uV/K], zT", "--unit", "uV/K,")
    code, _, err = run("fit", "t.csv", *target, "--model", model, "-o", "m")
    assert code == 0, err
    header = read(run("predict", "m", "NaCl")[1])[0]
    assert header == ["formula", "prediction_S [uV/K]", "prediction_zT"]
    out = run("info", "m")[1]
    assert "S [uV/K],zT" in out
    assert "uV/K," in out


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("formula,a,b\nFe,1,\nCo,,\nNi,,2\n", (), "line 3: the columns a, b are all empty"),
        ("formula,a,b\nFe,1,\nCo,2,\n", (), "Column 'b' of t.csv is empty in all rows"),
        ("formula,a,b\nFe,1,x\nCo,,2\n", (), "line 2: 'x' in column 'b' is not a finite number"),
        ("formula,a,b\nFe,1,1\n", ("--unit", "eV"), "names 1 units for 2 targets"),
        ("formula,a,b\nFe,1,1\n", ("--task", "classification"), "not classes"),
        ("formula,a,b\nFe,1,1\n", ("--target", "a,c"), "'c'"),
        ("formula,a,b\nFe,1,1\n", ("--target", "a,a"), "named twice"),
        ("formula,a,b\nFe,1,1\n", ("--target", "a,b", "--conditions", "b"), "'b' is the target"),
    ],
)
def test_bad_columns_of_several_targets(
    run: Run, tmp_path: Path, content: str, options: tuple[str, ...], message: str
) -> None:
    (tmp_path / "t.csv").write_text(content)
    code, _, err = run("fit", "t.csv", "--target", "a,b", *options, "-o", "m")
    assert code == 2
    assert_one_line(err, message)


class TestWeights:
    table = pd.DataFrame({"formula": FORMULAS * 2, "gap": GAPS + [99.0] * len(GAPS)})

    def test_rows_without_weight_are_left_out(self, run: Run, tmp_path: Path) -> None:
        self.table[: len(GAPS)].to_csv(tmp_path / "clean.csv", index=False)
        weights = ["1"] * len(GAPS) + ["0"] * len(GAPS)
        self.table.assign(w=weights).to_csv(tmp_path / "all.csv", index=False)
        common = ("--target", "gap", "--model", "et-fractions", "-o")
        assert run("fit", "clean.csv", *common, "clean.model")[0] == 0
        status, _, said = run("fit", "all.csv", *common, "all.model", "--weights", "w")
        assert status == 0
        n = len(GAPS)
        assert f"{n} rows and {n} of weight 0, " in said
        # which repeat the others
        assert "repeat" not in said
        clean, weighed = (run("predict", f"{name}.model", "NaF")[1] for name in ("clean", "all"))
        assert float(read(weighed)[1][-1]) == pytest.approx(float(read(clean)[1][-1]), abs=3)
        assert "weights" in run("info", "all.model")[1]

    @pytest.mark.parametrize(
        ("weight", "options", "message"),
        [
            ("-1", (), "line 3: '-1' in column 'w' is no weight"),
            ("", (), "line 3: '' in column 'w' is no weight"),
            ("heavy", (), "line 3: 'heavy' in column 'w' is no weight"),
            ("1", ("--conditions", "w"), "--weights: 'w' is a target or a condition"),
        ],
    )
    def test_bad_ones(
        self, run: Run, tmp_path: Path, weight: str, options: tuple[str, ...], message: str
    ) -> None:
        weights = ["1", weight] + ["1"] * (len(self.table) - 2)
        self.table.assign(w=weights).to_csv(tmp_path / "bad.csv", index=False)
        code, _, err = run(
            "fit", "bad.csv", "--target", "gap", "--weights", "w", "-o", "m", *options
        )
        assert code == 2
        assert_one_line(err, message)


def test_rows_without_a_target_are_dropped_when_asked(run: Run, tmp_path: Path) -> None:
    rows = "Fe,1,2\nXx,, \nCo,3,\nNi,,4\nCu,5,6\n"
    (tmp_path / "t.csv").write_text(f"formula,gap,S\n{rows}")
    fit = ("fit", "t.csv", "--model", "dummy", "--output", "m", "--target")
    code, _, err = run(*fit, "gap")
    assert code == 2
    assert_one_line(err, "line 3: 'Xx' is not a composition")
    code, _, err = run(*fit, "gap", "--missing", "drop")
    assert code == 0
    assert "dropped: 2 of 5 rows of t.csv, without gap: line 3, line 5\n" in err
    assert float(read(run("predict", "m", stdin="formula\nFe\n")[1])[1][1]) == 3
    about = run("info", "m")[1]
    assert re.search(r"rows without a target +2\n", about)
    assert re.search(r"rows +3\n", about)
    code, _, err = run(
        "evaluate", "--data", "t.csv", "--target", "gap,S", "--missing", "drop", "--models", "dummy"
    )
    assert "dropped: 1 of 5 rows of t.csv, without gap, S: line 3\n" in err
    (tmp_path / "t.csv").write_text("formula,gap\nFe, \nCo,\n")
    code, _, err = run(*fit, "gap", "--missing", "drop")
    assert code == 2
    assert_one_line(err, "t.csv has no row with gap")
    code, _, err = run("evaluate", "--dataset", "seebeck", "--missing", "drop")
    assert code == 2
    assert_one_line(err, "--missing belongs to --data")


def test_a_number_that_is_none_is_no_target(run: Run, tmp_path: Path) -> None:
    table = pa.table({"formula": FORMULAS[:4], "gap": [1.0, np.nan, 3.0, 4.0]})
    pq.write_table(table, tmp_path / "t.parquet")
    fit = ("fit", "t.parquet", "--target", "gap", "--model", "dummy", "--output", "m")
    code, _, err = run(*fit)
    assert code == 2
    assert_one_line(err, "row 1: column 'gap' is empty (1 such rows)", "--missing drop")
    assert run(*fit, "--missing", "drop")[0] == 0
