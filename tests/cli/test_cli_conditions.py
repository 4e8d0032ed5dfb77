"""Conditions on the command line: columns, and values for all rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from _commands import Run, assert_one_line
from sklearn.linear_model import Ridge

from sklearn_kt import ImplicitKTRegressor
from sklearn_kt.persistence import save_model

FORMULAS = [f"{a}{b}" for a in ("Li", "Na", "K", "Rb") for b in ("F", "Cl", "Br", "I")]


@pytest.fixture
def fitted(run: Run, tmp_path: Path) -> str:
    """Train on a property that is a tenth of the temperature, or less by 5 when cast."""
    table = pd.DataFrame(
        {
            "formula": np.repeat(FORMULAS, 3),
            "temperature": np.tile([300, 400, 500], 16),
            "route": ["SPS", "cast"] * 24,
        }
    )
    table["S"] = table["temperature"] / 10 - 5 * (table["route"] == "cast")
    table.to_csv(tmp_path / "measured.csv", index=False)
    code, _, err = run(
        *("fit", "measured.csv", "--target", "S", "--conditions", "temperature,route"),
        *("--model", "et-fractions", "-o", "S.model", "--n-jobs", 1),
    )
    assert code == 0, err
    return "S.model"


def test_predict_with_columns(run: Run, fitted: str, tmp_path: Path) -> None:
    new = pd.DataFrame({"route": ["cast", "SPS"], "temperature": [300, 500], "formula": "NaCl"})
    new.to_csv(tmp_path / "new.csv", index=False)
    code, _, err = run("predict", fitted, "new.csv", "-o", "out.csv")
    assert code == 0, err
    np.testing.assert_allclose(pd.read_csv(tmp_path / "out.csv")["prediction_S"], [25, 50], atol=2)


def test_predict_with_values(run: Run, fitted: str, tmp_path: Path) -> None:
    arguments = ["predict", fitted, "NaCl", "KBr", "-o", "out.csv"]
    code, _, err = run(*arguments, "--set", "temperature=300:500:100", "--set", "route=SPS,cast")
    assert code == 0, err
    out = pd.read_csv(tmp_path / "out.csv")
    assert out["formula"].tolist() == ["NaCl"] * 6 + ["KBr"] * 6
    assert out["temperature"].tolist() == [300, 300, 400, 400, 500, 500] * 2
    assert out["route"].tolist() == ["SPS", "cast"] * 6
    expected = out["temperature"] / 10 - 5 * (out["route"] == "cast")
    np.testing.assert_allclose(out["prediction_S"], expected, atol=2)


@pytest.mark.slow
def test_screening_takes_the_best_value(run: Run, fitted: str, tmp_path: Path) -> None:
    pd.DataFrame({"formula": ["NaCl", "Na2Cl2", "KBr"]}).to_csv(tmp_path / "s.csv", index=False)
    arguments = [
        "screen",
        fitted,
        "s.csv",
        "--quiet",
        "--no-std",
        "--set",
        "temperature=300:500:100",
    ]
    code, _, err = run(*arguments, "--set", "route=SPS,cast", "-o", "best.csv")
    assert code == 0, err
    best = pd.read_csv(tmp_path / "best.csv")
    assert best[["formula", "temperature", "route"]].to_numpy().tolist() == [
        ["NaCl", 500.0, "SPS"],
        ["KBr", 500.0, "SPS"],
    ]
    arguments += ["--set", "route=cast", "--ascending", "--top-k", 1]
    code, _, err = run(*arguments, "-o", "worst.parquet")
    assert code == 0, err
    assert pd.read_parquet(tmp_path / "worst.parquet")["temperature"].tolist() == [300.0]
    # rows that differ in a column of conditions are no duplicates
    rows = {"formula": ["NaCl", "NaCl", "Na2Cl2"], "temperature": [300, 500, 500], "route": "SPS"}
    pd.DataFrame(rows).to_parquet(tmp_path / "rows.parquet")
    code, _, err = run("screen", fitted, "rows.parquet", "--quiet", "--no-std", "-o", "all.csv")
    assert code == 0, err
    np.testing.assert_allclose(pd.read_csv(tmp_path / "all.csv")["prediction_S"], [30, 50], atol=2)


def test_names_of_categories_may_be_numbers(run: Run, tmp_path: Path) -> None:
    routes = pd.Categorical([3, 4] * 16)
    table = pd.DataFrame({"formula": np.repeat(FORMULAS, 2), "route": routes})
    model = ImplicitKTRegressor(None, readout=Ridge(1e-6)).fit(table, [30.0, 40.0] * 16)
    save_model(model, tmp_path / "m", about={"target": "S"})
    code, out, err = run("predict", "m", "NaCl", "--set", "route=3,4")
    assert code == 0, err
    assert [line.split(",")[1] for line in out.splitlines()] == ["route", "3", "4"]
    np.testing.assert_allclose(
        [float(r.split(",")[2]) for r in out.splitlines()[1:]], [30, 40], atol=0.1
    )
    pd.DataFrame({"formula": ["NaCl"], "route": [" 4 "]}).to_csv(tmp_path / "s.csv", index=False)
    for arguments in (["predict", "m", "s.csv"], ["screen", "m", "s.csv", "--no-std", "--quiet"]):
        assert run(*arguments, "-o", f"{arguments[0]}.csv")[0] == 0
        found = pd.read_csv(tmp_path / f"{arguments[0]}.csv")["prediction_S"]
        np.testing.assert_allclose(found, [40], atol=0.1)


def test_decimal_commas_of_conditions(run: Run, fitted: str, tmp_path: Path) -> None:
    lines = ["formula;temperature;route;S", "NaCl;300,0;SPS;30,5"]
    (tmp_path / "new.csv").write_text("\n".join(lines))
    code, _, err = run("predict", fitted, "new.csv", "--decimal", ",")
    assert code == 0, err
    assert "scored: MAE " in err
    code, _, err = run("predict", fitted, "new.csv")
    assert code == 2
    assert "holds '300,0', where the training table held numbers" in err


def test_decimal_commas_of_a_screening(run: Run, fitted: str, tmp_path: Path) -> None:
    lines = ["Na;Cl;temperature;route;price", "50,5;49,5;300,0;SPS;1,5", "40;60;500,0;SPS;2,5"]
    (tmp_path / "new.csv").write_text("\n".join(lines))
    arguments = ["screen", fitted, "new.csv", "--amounts", "atomic"]
    arguments += ["--where", "price > 2", "--no-std", "--quiet", "-o", "out.csv"]
    code, _, err = run(*arguments)
    assert code == 2
    assert_one_line(err, "line 2: ", "'50,5', which is not a number", "--decimal ,")
    code, _, err = run(*arguments, "--decimal", ",")
    assert code == 0, err
    out = pd.read_csv(tmp_path / "out.csv")
    assert out["price"].tolist() == [2.5]
    np.testing.assert_allclose(out["prediction_S"], [50], atol=2)


def test_values_that_are_tried_are_not_scored(run: Run, fitted: str, tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text("formula,route,S\nNaCl,SPS,30\n")
    code, _, err = run("predict", fitted, "new.csv", "--set", "temperature=300,500", "-o", "p.csv")
    assert code == 0, err
    assert "note: column 'S' of new.csv is not scored: it was measured under one of the 2 " in err
    assert "scored: MAE" not in err
    # one value is that of the measurement
    code, _, err = run("predict", fitted, "new.csv", "--set", "temperature=300", "-o", "p.csv")
    assert code == 0, err
    assert "scored: MAE " in err


def test_pictures_are_named_after_formula_and_values(run: Run, fitted: str, tmp_path: Path) -> None:
    code, _, err = run(
        *("explain", fitted, "NaCl", "--set", "temperature=500", "--set", "route=SPS")
    )
    assert code == 0, err
    assert "wrote: NaCl_temperature_500_route_SPS.png" in err
    assert (tmp_path / "NaCl_temperature_500_route_SPS.png").exists()


def test_explanations_of_values(run: Run, fitted: str, tmp_path: Path) -> None:
    arguments = ["explain", fitted, "NaCl", "--set", "temperature=500", "--set", "route=SPS"]
    code, out, err = run(*arguments, "--background", "measured.csv", "-o", "a.png")
    assert code == 0, err
    assert out.startswith("NaCl, temperature = 500, route = SPS: k-SII")
    rows = [line.split() for line in out.splitlines()[3:]]
    assert rows[0][0] == "temperature"
    assert {"Na", "Cl", "temperature", "route"} < {row[0] for row in rows if row}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict", "S.model", "NaCl"], "needs the condition 'temperature'"),
        (["predict", "S.model", "NaCl", "--set", "temperature=300"], "needs the condition 'route'"),
        (
            ["predict", "S.model", "measured.csv", "--set", "route=SPS"],
            "'route' is given, and a column",
        ),
        (
            ["predict", "S.model", "measured.csv", "--set", "pressure=1"],
            "has no condition 'pressure'",
        ),
        (
            ["screen", "S.model", "measured.csv", "--no-std", "-o", "o.csv", "--set", "pressure=1"],
            "no condition 'pressure'; it has 'temperature', 'route'",
        ),
        (
            ["predict", "S.model", "NaCl", "--set", "temperature=300,hot", "--set", "route=SPS"],
            "--set temperature: 'hot' is not a number",
        ),
        (
            ["predict", "S.model", "NaCl", "--set", "temperature=inf", "--set", "route=SPS"],
            "--set temperature of the condition 'temperature' holds inf",
        ),
        (
            ["predict", "S.model", "NaCl", "--set", "temperature=300", "--set", "route=SPS,dried"],
            "--set route holds the unknown category 'dried' of 'route'",
        ),
        (
            ["explain", "S.model", "NaCl", "--set", "temperature=1,2", "--set", "route=SPS"],
            "an explanation is of one value, got 2",
        ),
    ],
)
def test_conditions_that_are_wrong(
    run: Run, fitted: str, arguments: list[str], message: str
) -> None:
    code, _, err = run(*arguments)
    assert code == 2
    assert_one_line(err.splitlines(keepends=True)[-1], message)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("temperature", "hot", "new.csv, line 5 of the condition 'temperature' holds 'hot'"),
        ("route", "milled", "new.csv, line 5 holds the unknown category 'milled' of 'route'"),
    ],
)
def test_cells_that_are_wrong_are_named_by_their_line(
    run: Run, fitted: str, tmp_path: Path, column: str, value: str, message: str
) -> None:
    new = pd.DataFrame({"formula": ["NaCl"] * 5, "temperature": 300, "route": "SPS"}, dtype=object)
    new.loc[1, "formula"] = "no formula"
    new.loc[3, column] = value
    new.to_csv(tmp_path / "new.csv", index=False)
    code, _, err = run("predict", fitted, "new.csv", "--errors", "nan", "--batch-size", 2)
    assert code == 2
    assert message in err.splitlines()[-1]
    code, _, err = run(
        "screen", fitted, "new.csv", "--errors", "nan", "--no-std", "--quiet", "-o", "o.csv"
    )
    assert code == 2
    assert message in err.splitlines()[-1]


@pytest.mark.filterwarnings("always::sklearn_kt.exceptions.ConditionWarning")
def test_extrapolations_are_said_once(run: Run, fitted: str, tmp_path: Path) -> None:
    pd.DataFrame({"formula": FORMULAS, "temperature": 900, "route": "SPS"}).to_csv(
        tmp_path / "new.csv", index=False
    )
    code, _, err = run("predict", fitted, "new.csv", "--batch-size", 5, "-o", "o.csv")
    assert code == 0, err
    assert err.count("training range of 300 to 500 (new.csv, line 2: 900)") == 1
    assert err.count("extrapolations") == 1


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ("formula", "'formula' is the column of compositions"),
        ("temperature", "measured.csv, line 4: '<5' in the column of conditions 'temperature'"),
    ],
)
def test_columns_that_cannot_be_conditions(
    run: Run, tmp_path: Path, conditions: str, message: str
) -> None:
    table = pd.DataFrame(
        {"formula": FORMULAS, "temperature": ["300", "400", "<5", *["500"] * 13], "S": range(16)}
    )
    table.to_csv(tmp_path / "measured.csv", index=False)
    arguments = ["fit", "measured.csv", "--target", "S", "--model", "et-fractions", "-o", "S.model"]
    code, _, err = run(*arguments, "--conditions", conditions)
    assert code == 2
    assert_one_line(err, message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("temperature", "NAME=VALUE is needed"),
        ("temperature=500:300:100", "must go from first to last"),
        ("temperature=300:500:0", "must go from first to last"),
        ("temperature=300:500:inf", "must be of finite numbers"),
        ("route=SPS,,cast", "an empty value"),
    ],
)
def test_values_that_cannot_be_read(
    run: Run, text: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        run("predict", "no.model", "NaCl", "--set", text)
    assert message in capsys.readouterr().err


def test_conditions_that_are_not_asked_for_are_told_of(run: Run, tmp_path: Path) -> None:
    rows = {"formula": FORMULAS, "temperature": 300, "note": "a", "S": range(len(FORMULAS))}
    pd.DataFrame(rows).to_csv(tmp_path / "t.csv", index=False)
    arguments = ["evaluate", "--data", "t.csv", "--target", "S", "--models", "dummy"]
    code, _, err = run(*arguments, "--folds", 2)
    assert code == 0, err
    told = "not read: of t.csv, 'temperature': to learn from a condition, say --conditions temper"
    assert told in err
    code, _, err = run(*arguments, "--folds", 2, "--conditions", "temperature")
    assert "not read" not in err
