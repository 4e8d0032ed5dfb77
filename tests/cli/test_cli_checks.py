"""What commands find out before they load anything."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from _commands import Run, assert_one_line


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
