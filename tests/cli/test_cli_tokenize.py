"""``sklearn-kt tokenize``: tokens of a table in any format."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from _commands import FORMULAS, Run, assert_one_line, files, read

from sklearn_kt import CompositionTokenizer


@pytest.mark.parametrize("scheme", ["element", "formula", "fraction"])
def test_tokenize(run: Run, table: Path, scheme: str) -> None:
    code, out, _ = run("tokenize", table, "--scheme", scheme, "--batch-size", 5)
    assert code == 0
    rows = read(out)
    tokenizer = CompositionTokenizer(scheme)
    assert rows[0] == ["formula", *tokenizer.get_feature_names_out()]
    values = [[float(value) for value in row[1:]] for row in rows[1:]]
    np.testing.assert_array_equal(values, tokenizer.transform(FORMULAS))


def test_tokenize_too_long(run: Run) -> None:
    code, _, err = run("tokenize", "--max-length", 2, stdin="formula\nFe\nFe2O3\n")
    assert code == 2
    assert_one_line(err, "stdin", "max_length")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("latin.csv", "formula,gap\nFe,1\nCo,ä\n".encode("latin-1")),
        ("cut.csv.gz", gzip.compress(os.urandom(5000))[:-50]),
        ("plain.csv.gz", b"formula,gap\nFe,1\n"),
        ("text.parquet", b"formula,gap\nFe,1\n"),
        ("empty.parquet", b""),
    ],
)
def test_unreadable_files(run: Run, tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    code, out, err = run("tokenize", name, "--output", "tokens.csv")
    assert (code, out) == (2, "")
    assert_one_line(err, name)
    assert files(tmp_path) == [name]


def test_says_what_it_wrote(run: Run, tmp_path: Path) -> None:
    code, out, err = run("tokenize", "Fe2O3", "NaCl", "--output", "tokens.jsonl")
    assert (code, out, err) == (0, "", "sklearn-kt: wrote: tokens.jsonl: 2 rows\n")
    assert files(tmp_path) == ["tokens.jsonl"]


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.parquet", "bom.csv"])
def test_table_formats(run: Run, tmp_path: Path, name: str) -> None:
    frame = pd.DataFrame({"formula": FORMULAS, "note": ["a,b", 'say "x"', *"é" * 10]})
    if name.endswith("parquet"):
        frame["formula"] = frame["formula"].astype("category")
        frame.to_parquet(tmp_path / name)
    else:
        frame.to_csv(tmp_path / name, index=False, encoding="utf-8-sig" if "bom" in name else None)
    code, out, _ = run("tokenize", name, "--scheme", "fraction", "--batch-size", 5)
    assert code == 0
    rows = read(out)
    assert rows[0][:3] == ["formula", "H", "He"]
    assert [row[0] for row in rows[1:]] == FORMULAS
    # NaN is sodium nitride
    assert float(rows[1][rows[0].index("Na")]) == 0.5


def test_missing_formula_in_parquet(run: Run, tmp_path: Path) -> None:
    pd.DataFrame({"formula": ["Fe", None]}).to_parquet(tmp_path / "t.parquet")
    code, _, err = run("tokenize", "t.parquet")
    assert code == 2
    assert_one_line(err, "t.parquet, row 1: None is not a composition")
