"""What commands find out before they load anything."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from _commands import FORMULAS, GAPS, Run, assert_one_line, read
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import BayesianRidge
from sklearn.pipeline import make_pipeline

from sklearn_kt import CompositionTokenizer, persistence
from sklearn_kt.cli.checks import CATEGORIES
from sklearn_kt.persistence import save_model


@pytest.mark.parametrize(
    "command",
    [
        ("fit", "gaps.csv", "--target", "gap", "-o", "gaps.csv"),
        ("fit", "gaps.csv", "--target", "gap", "-o", "link.csv"),
        ("tokenize", "gaps.csv", "-o", "gaps.csv"),
        ("tokenize", "link.csv", "-o", "./gaps.csv"),
        ("properties", "gaps.csv", "-o", "gaps.csv"),
        ("predict", "gap.model", "gaps.csv", "-o", "gaps.csv"),
        ("predict", "model.csv", "gaps.csv", "-o", "model.csv"),
        ("screen", "gap.model", "gaps.csv", "-o", "gaps.csv"),
        ("inspect", "gaps.csv", "--target", "gap", "-o", "link.html"),
        ("explain", "gap.model", "NaCl", "--background", "gaps.csv", "-o", "link.png"),
        ("evaluate", "--data", "predictions.csv", "--target", "gap", "--output-dir", "."),
    ],
    ids=" ".join,
)
def test_what_is_read_is_not_written(run: Run, table: Path, model: Path, command: tuple) -> None:
    for name in ("link.csv", "link.html", "link.png", "predictions.csv"):
        (table.parent / name).symlink_to(table)
    (table.parent / "model.csv").symlink_to(model)
    before = table.read_bytes(), model.read_bytes()
    code, out, err = run(*command)
    assert (code, out) == (2, "")
    assert_one_line(err, Path(command[-1]).name, "what is read", "name another file")
    assert (table.read_bytes(), model.read_bytes()) == before


def test_a_redirected_table_is_not_written(
    run: Run, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with table.open(encoding="utf-8") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        code, _, err = run("tokenize", "-", "-o", table)
    assert code == 2
    assert_one_line(err, "gaps.csv", "what is read (-)")


def test_your_own_crystals_are_not_written(run: Run, tmp_path: Path) -> None:
    code, _, err = run("structures", "NaCl", "--known", tmp_path)
    assert code == 2
    assert_one_line(err, "--known", "--output-dir")


def test_a_file_is_no_folder(run: Run, tmp_path: Path) -> None:
    (tmp_path / "crystals.csv").write_text("formula\n")
    code, _, err = run("structures", "MgO", "--output-dir", tmp_path / "crystals.csv")
    assert code == 2
    assert_one_line(err, "crystals.csv is a file; name a folder")


@pytest.mark.filterwarnings("default:.*has no header")
@pytest.mark.parametrize("name", ["list.txt", "list.csv", "list.tsv", "list.xlsx", "-"])
def test_a_list_without_a_header_keeps_its_first_formula(
    run: Run, model: Path, name: str, tmp_path: Path
) -> None:
    formulas = ["GaN", "ZnO", "MgO"]
    if name.endswith(".xlsx"):
        pd.DataFrame({"": formulas}).to_excel(tmp_path / name, index=False, header=False)
    elif name != "-":
        (tmp_path / name).write_text("\n".join([*formulas, ""]))
    stdin = "\n".join([*formulas, ""])
    for command in (("predict", model, name), ("tokenize", name)):
        code, out, err = run(*command, stdin=stdin)
        assert code == 0
        rows = read(out)
        assert rows[0][0] == "formula"
        assert [row[0] for row in rows[1:]] == formulas
        assert "has no header" in err
        assert "'GaN'" in err
    if name not in ("-", "list.xlsx"):
        code, out, err = run("inspect", name)
        assert code == 0
        assert "3 rows" in out
        code, _, err = run("screen", model, name, "-o", "out.csv", "--quiet")
        assert code == 0
        assert "3 rows of 3" in err


@pytest.mark.filterwarnings("default:.*has no header")
def test_one_formula_is_a_list_and_amounts_of_one_element_are_not(run: Run) -> None:
    assert [row[0] for row in read(run("tokenize", stdin="GaN\n")[1])] == ["formula", "GaN"]
    code, out, err = run("tokenize", "--amounts", "weight", stdin="Fe\n100\n")
    assert (code, err) == (0, "")
    assert [row[0] for row in read(out)] == ["formula", "Fe100"]


def test_data_in_place_of_a_header(run: Run) -> None:
    code, out, err = run("tokenize", stdin="GaN,3.4\nZnO,3.3\n")
    assert (code, out) == (2, "")
    assert_one_line(err, "stdin, line 1: 'GaN' is a formula", "--formula-column GaN")
    # whose name it is, after all
    code, out, _ = run("tokenize", "--formula-column", "GaN", stdin="GaN,3.4\nZnO,3.3\n")
    assert [row[0] for row in read(out)] == ["GaN", "ZnO"]
    # columns of numbers are called what they like
    code, out, _ = run("tokenize", stdin="B,compound,CO2\n1,GaN,2\n2,ZnO,3\n")
    assert [row[0] for row in read(out)] == ["compound", "GaN", "ZnO"]


@pytest.mark.parametrize(
    "text",
    [
        "formula  gap\nGaN  2\n",
        "formula band gap\nGaN 2\n",
        "GaN  2\nZnO 3.3\n",
        "GaN  2\n",
        "  formula  gap\n0  GaN  2.0\n",
    ],
)
def test_blanks_do_not_separate_columns(run: Run, text: str) -> None:
    code, out, err = run("tokenize", stdin=text)
    assert (code, out) == (2, "")
    assert_one_line(err, "stdin, line 1", "blanks do not separate columns", "commas")


def test_a_name_of_two_words_is_one_column(run: Run) -> None:
    code, out, _ = run("tokenize", stdin="chemical formula\nFe2 O3\nNa Cl\n")
    assert code == 0
    assert len(read(out)) == 3


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("composition,gap\n", "no rows"),
        ("composition,gap\nGaN,2\n", "beside composition"),
    ],
)
def test_a_table_without_formulas(run: Run, text: str, part: str) -> None:
    code, _, err = run("fit", "-", "--target", "composition", "-o", "m", stdin=text)
    assert code == 2
    assert_one_line(err, part, "--formula-column")


@pytest.fixture
def about(run: Run, tmp_path: Path) -> None:
    """Write models that say of themselves what ``fit`` says, and tables."""
    bayes = make_pipeline(CompositionTokenizer("fraction"), BayesianRidge()).fit(FORMULAS, GAPS)
    said = {"target": "gap (eV)", "task": "regression", "conditions": "", CATEGORIES: ""}
    save_model(bayes, tmp_path / "gap.model", about=said)
    said |= {"conditions": "temperature, route", CATEGORIES: "route"}
    save_model(bayes, tmp_path / "at.model", about=said)
    said = {"target": "metal", "task": "classification", "classes": "no, yes", CATEGORIES: ""}
    save_model(bayes, tmp_path / "metal.model", about=said)
    (tmp_path / "t.csv").write_text("formula,cost\nNaCl,9\nKCl,10\n")
    (tmp_path / "has.csv").write_text("formula,prediction_gap (eV)\nNaCl,9\n")
    (tmp_path / "at.csv").write_text("formula,temperature,route\nNaCl,9,cast\n")
    (tmp_path / "ragged.csv").write_text("formula,cost\nNaCl,9\nKCl\n")
    (tmp_path / "blank.csv").write_text("formula,cost\nNaCl,9\n\nKCl,2\n")
    (tmp_path / "bad.csv").write_text("formula,cost\nNaCl,9\nnacl,2\n")


SCREEN = ("screen", "gap.model", "t.csv", "-o", "o.csv")


@pytest.mark.usefixtures("about")
@pytest.mark.parametrize(
    ("command", "parts"),
    [
        (("predict", "at.model", "NaCl"), ["'temperature'", "--set 'temperature=VALUE'"]),
        (("predict", "at.model", "NaCl", "--set", "temp=3"), ["'temp'", "mean 'temperature'?"]),
        (
            ("predict", "at.model", "NaCl", "--set", "temperature=hot", "--set", "route=cast"),
            ["--set temperature: 'hot' is not a number"],
        ),
        (("predict", "at.model", "at.csv", "--set", "route=cast"), ["'route'", "leave one out"]),
        (("predict", "gap.model", "NaCl", "--set", "T=3"), ["no condition 'T'; it has none"]),
        (("screen", "at.model", *SCREEN[2:]), ["--set 'temperature=VALUE'"]),
        (("explain", "at.model", "NaCl"), ["--set 'temperature=VALUE'"]),
        (("predict", "metal.model", "NaCl", "--interval", "0.9"), ["leave out --interval"]),
        (("predict", "metal.model", "NaCl", "--return-std"), ["leave out --return-std"]),
        (("predict", "gap.model", "has.csv"), ["already has a column 'prediction_gap (eV)'"]),
        (("screen", "gap.model", "has.csv", "-o", "o.csv"), ["'prediction_gap (eV)'"]),
        (("predict", "gap.model", "NaCl", "nacl"), ["formula 2", "--errors nan"]),
        (("explain", "gap.model", "NaCl", "nacl"), ["formula 2: 'nacl'"]),
        (("predict", "gap.model", "ragged.csv"), ["line 3"]),
        (("predict", "gap.model", "blank.csv"), ["line 3"]),
        (("predict", "gap.model", "bad.csv"), ["line 3", "--errors nan"]),
        (("screen", "gap.model", "bad.csv", "-o", "o.csv"), ["line 3", "--errors nan"]),
        (("predict", "gap.model", ""), ["neither a table nor a formula"]),
        (("screen", "gap.model", "-", "-o", "o.csv"), ["stdin", "write it to a file"]),
        (("screen", "gap.model", "t.csv", "-o", "at.csv"), ["exists already", "another name"]),
        ((*SCREEN, "--where", "cost >"), ["cannot be read"]),
        (
            (*SCREEN, "--where", "prediction_gap > 1"),
            ["no column 'prediction_gap'", 'Did you mean col("prediction_gap (eV)")?'],
        ),
        ((*SCREEN, "--where", "costs < 1"), ["no column 'costs'", "Did you mean cost?"]),
        ((*SCREEN, "--top-k", "3", "--sort-by", "price"), ["--sort-by", "'price'"]),
        ((*SCREEN, "--properties", "gap"), ["'gap' is no property", "Did you mean 'band_gap'"]),
        (("properties", "NaCl", "--properties", "hull"), ["'energy_above_hull'"]),
        (
            ("screen", "metal.model", "t.csv", "-o", "o.csv", "--top-k", "3"),
            ["--sort-by probability_yes"],
        ),
        (
            ("screen", "metal.model", "t.csv", "-o", "o.csv", "--where", "probability_on > 1"),
            ["Did you mean probability_no?"],
        ),
    ],
    ids=lambda value: " ".join(value),
)
def test_what_needs_no_model_is_said_before_one_is_loaded(
    run: Run, command: tuple, parts: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def load(*_: object, **__: object) -> None:
        pytest.fail("the model was loaded")

    monkeypatch.setattr(persistence, "load_model", load)
    code, out, err = run(*command)
    assert (code, out) == (2, "")
    assert_one_line(err, *parts)
    assert not (tmp_path / "o.csv").exists()


def test_checks_need_no_torch(about: None, tmp_path: Path) -> None:
    program = """
import sys
from sklearn_kt.cli import main
commands = (
    ["predict", "at.model", "NaCl"],
    ["predict", "gap.model", "ragged.csv"],
    ["screen", "gap.model", "t.csv", "-o", "o.csv", "--where", "x > 1"],
    ["screen", "gap.model", "t.csv", "-o", "o.csv", "--properties", "x"],
    ["explain", "gap.model", "x"],
)
for command in commands:
    assert main(command) == 2
assert not {"torch", "sklearn"} & {*sys.modules}
"""
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, capture_output=True)


def test_numbers_of_a_text_file_reach_formats_with_types(run: Run, model: Path) -> None:
    Path("t.csv").write_text("id,code,formula,gap\n1,00123,NaN,0.0\n2,7,KCl,\n")
    for command in (("predict", model), ("properties", "--properties", "band gap")):
        code, _, err = run(*command, "t.csv", "-o", "p.jsonl")
        assert code == 0, err
        first, second = map(json.loads, Path("p.jsonl").read_text().splitlines())
        assert [first[name] for name in ("id", "code", "formula", "gap")] == [1, "00123", "NaN", 0]
        assert second["gap"] is None
        run(*command, "t.csv", "-o", "p.parquet")
        assert pd.read_parquet("p.parquet")["gap"].dtype == float
        # text stays text in a file of text
        run(*command, "t.csv", "-o", "p.csv")
        assert read(Path("p.csv").read_text())[1][:4] == ["1", "00123", "NaN", "0.0"]
    _, _, err = run("predict", model, "-", "-o", "p.jsonl", stdin=Path("t.csv").read_text())
    assert "note: all columns of stdin are text in p.jsonl" in err
    assert json.loads(Path("p.jsonl").read_text().splitlines()[0])["gap"] == "0.0"


def test_numbers_of_a_text_file_filter(run: Run, model: Path) -> None:
    Path("t.csv").write_text("id,formula,cost\n01,NaCl,9\n02,KCl,100\n03,LiF,20\n")
    screening = ("screen", model, "t.csv", "--quiet", "-o")
    code, _, err = run(*screening, "o.csv", "--where", "cost < 50 and id != '01'")
    assert code == 0, err
    assert read(Path("o.csv").read_text())[1][:3] == ["03", "LiF", "20.0"]
    code, _, err = run(*screening, "p.csv", "--top-k", 1, "--sort-by", "cost")
    assert code == 0, err
    assert read(Path("p.csv").read_text())[1][1] == "KCl"


def test_rows_that_teach_nothing_are_dropped(run: Run, table: Path) -> None:
    frame = pd.read_csv(table, keep_default_na=False, dtype=str)
    # of the formulas, NaN is sodium nitride
    assert frame["formula"][0] == "NaN"
    marks = ["NaN", "nan", "NA", "n/a", "null"]
    frame.loc[1:5, "gap"] = marks
    frame.loc[6:7, "formula"] = ["?", "nacl"]
    frame.to_csv(table, index=False)
    fit = ("fit", table, "--target", "gap", "--model", "et-fractions", "-o", "m")
    code, _, err = run(*fit, "--errors", "drop")
    assert code == 2
    assert "line 3: column 'gap' is empty (5 such rows)" in err
    assert "--missing drop" in err
    code, _, err = run(*fit, "--missing", "drop")
    assert code == 2
    assert "line 8: '?' is not a composition" in err
    assert "--errors drop leaves them out" in err
    code, _, err = run(*fit, "--missing", "drop", "--errors", "drop")
    assert code == 0, err
    assert f"dropped: 5 of 12 rows of {table}, without gap: line 3, line 4" in err
    assert "dropped: 2 of 7 rows of" in err
    assert "that are no compositions: line 8 ('?'), line 9 ('nacl')" in err
    assert "5 rows," in err
    assert "rows that are no compositions" in run("info", "m")[1]
    out = run("inspect", table, "--target", "gap")[1]
    assert "7 numbers, 5 empty cells." in out


def test_marks_of_missing_numbers_may_be_classes(run: Run) -> None:
    rows = "".join(f"Na{n}Cl,{'none' if n % 2 else 'p'}\n" for n in range(1, 13))
    Path("t.csv").write_text(f"formula,doping\n{rows}")
    code, _, err = run(
        *("fit", "t.csv", "--target", "doping", "--missing", "drop", "--n-jobs", 1),
        *("--model", "et-fractions", "-o", "m"),
    )
    assert code == 0, err
    assert "dropped" not in err


def test_a_target_of_one_value_is_warned_of(run: Run) -> None:
    rows = "".join(f"Na{n}Cl,1.5\n" for n in range(1, 13))
    Path("t.csv").write_text(f"formula,gap\n{rows}")
    _, _, err = run("fit", "t.csv", "--target", "gap", "--model", "et-fractions", "-o", "m")
    assert "warning: all values of column 'gap' of t.csv are 1.5: there is nothing to learn" in err


def test_units_need_not_be_typed_in_names(run: Run) -> None:
    Path("t.csv").write_text("formula,gap (eV)\nNaCl,8\n")
    code, _, err = run("fit", "t.csv", "--target", "gap", "-o", "m")
    assert code == 2
    assert_one_line(err, "Did you mean 'gap (eV)'?")


def test_decimal_commas_that_are_not_scored(run: Run, tmp_path: Path, about: None) -> None:
    Path("t.csv").write_text("formula;gap (eV)\nNaCl;8,5\n")
    code, _, err = run("predict", "gap.model", "t.csv")
    assert code == 0
    assert "holds nothing to score by. For a decimal comma say --decimal ,." in err
    assert "scored: MAE" in run("predict", "gap.model", "t.csv", "--decimal", ",")[2]


def test_a_terminal_shows_digits_that_mean_something(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    mean = make_pipeline(CompositionTokenizer("fraction"), DummyRegressor())
    mean.fit(["NaCl", "KCl"], [-1e-9, -1e-9])
    said = {"target": "gap (eV)", "unit": "eV", "task": "regression", "held-out mae": 0.35}
    save_model(mean, "zero.model", about=said)
    mean.fit(["NaCl", "KCl"], [1.23456789, 1.23456789])
    save_model(mean, "one.model", about=said)
    # what is no terminal gets all digits
    assert read(run("predict", "zero.model", "NaCl")[1])[1][1] == "-1e-09"
    monkeypatch.setattr("sklearn_kt.cli.predict.sys.stdout.isatty", lambda: True)
    assert read(run("predict", "zero.model", "NaCl")[1])[1][1] == "0.0"
    assert read(run("predict", "one.model", "NaCl")[1])[1][1] == "1.2346"
    assert read(run("predict", "one.model", "NaCl", "--digits", 7)[1])[1][1] == "1.234568"


def test_a_table_that_fails_at_once_leaves_nothing_on_stdout(run: Run, about: None) -> None:
    for table in ("bad.csv", "ragged.csv"):
        code, out, _ = run("tokenize", table)
        assert (code, out) == (2, "")
