"""``sklearn-kt inspect``: lines of the file, what is printed, the page."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from _commands import Run, assert_one_line, files

ROWS = "name;composition;gap (eV)\na;ZnO;3,4\nb;Zn2O2;3,1\nc;water;1\nd;YBCO;\n"


def test_text_and_page(run: Run, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(ROWS)
    asked = ("inspect", "t.csv", "--target", "gap (eV)", "--decimal", ",")
    code, out, err = run(*asked)
    assert code == 0
    assert err.count("\n") == 1
    assert "read from its column 'composition'" in err
    for part in (
        "t.csv: 4 rows\n",
        "line 4  'water'  element symbols",
        "line 5, 'YBCO'",
        "ZnO              2  3.1 to 3.4",
        "Target gap (eV)\n1 to 3.4 eV; median 3.1",
        "3 numbers, 1 empty cell.",
    ):
        assert part in out
    assert files(tmp_path) == ["t.csv"]
    code, again, err = run(*asked, "--output", "look.html")
    assert (code, again) == (0, out)
    assert err.endswith("sklearn-kt: wrote: look.html\n")
    assert "inspect t.csv" in (tmp_path / "look.html").read_text(encoding="utf-8")


def test_columns_of_elements(run: Run) -> None:
    code, out, _ = run(
        "inspect", "-", "--amounts", "weight", stdin="alloy,Fe,Cr\na,70,30\nb,60,40\nc,,\n"
    )
    assert code == 0
    assert "2 different compositions of 2 elements." in out
    assert "alloy" in out


def test_errors(run: Run, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("formula,gap,gap\nMgO,1,1\n")
    for arguments, said in (
        (["--output", "look.pdf"], "name it .html"),
        (["--target", "gap"], "'gap' occurs 2 times in t.csv"),
        (["--conditions", "T"], "'T' is not among the columns of t.csv"),
        (["--target", "gap", "--unit", "eV"], "'gap' occurs 2 times"),
    ):
        code, out, err = run("inspect", "t.csv", *arguments)
        assert (code, out) == (2, "")
        assert_one_line(err, said)
    code, _, err = run("inspect", "-", stdin="formula,gap\n")
    assert code == 2
    assert_one_line(err, "has a header but no rows")


def test_needs_no_torch(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("formula,gap\nMgO,7.8\nNaCl,8.5\n")
    code = (
        "import sys; from sklearn_kt.cli import main\n"
        "main(['inspect', 't.csv', '--target', 'gap'])\n"
        "sys.exit(', '.join({'torch', 'matplotlib', 'pymatgen', 'skorch'} & {*sys.modules}) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "Pretraining has seen the composition of 2 rows (100 %)." in done.stdout
