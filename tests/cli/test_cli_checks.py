"""What commands find out before they load anything."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
import pytest
from _commands import Run, assert_one_line, read


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
