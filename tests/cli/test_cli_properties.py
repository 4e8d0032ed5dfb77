"""``sklearn-kt properties``: formulas print a table, a table gets columns."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd
import pytest
from _commands import FORMULAS, Run, assert_one_line
from numpy.testing import assert_allclose

from sklearn_kt.properties import predict_properties


def test_formulas_print_a_table(run: Run) -> None:
    code, out, err = run("properties", "MgO", "CO", "--properties", "band gap,metal")
    assert code == 0
    title, _, header, gap, metal = out.splitlines()
    assert title == "MgO, CO"
    assert header.split() == ["property", "MgO", "CO", "unit", "source"]
    value, error, unit = predict_properties(["MgO"], ["band gap"]).loc[
        0, ["value", "error", "unit"]
    ]
    assert gap.startswith("band gap")
    assert f"{value:.3g} ± {error:.2g} *" in gap
    assert unit in gap.split()
    assert "probability" in metal
    assert "±" not in metal
    assert "held out" in err


@pytest.mark.filterwarnings("always::sklearn_kt.exceptions.UnseenElementWarning")
def test_formulas_of_which_no_error_is_known(run: Run) -> None:
    code, out, err = run("properties", "MgO", "PoO", "--properties", "band gap")
    assert code == 0
    [row] = [line for line in out.splitlines() if line.startswith("band gap")]
    assert row.count("±") == 1
    assert "no formula of pretraining had, Po (row 1: PoO)" in err
    code, out, err = run("properties", "-", "--properties", "band gap", stdin="formula\nW\nPoO\n")
    assert code == 0
    assert len(out.splitlines()) == 3
    assert "1 of 2 rows hold elements" in err
    assert "(line 3: PoO)" in err


def test_formulas_as_a_file_or_csv(run: Run, tmp_path: Path) -> None:
    expected = predict_properties(["MgO", "W"], ["band gap", "bulk modulus"])
    options = ("MgO", "W", "--properties", "band gap,bulk modulus")
    code, out, _ = run("properties", *options, "--csv")
    assert code == 0
    pd.testing.assert_frame_equal(pd.read_csv(io.StringIO(out)), expected)
    told = "sklearn-kt: wrote: p.jsonl: 4 rows\n"
    assert run("properties", *options, "-o", "p.jsonl") == (0, "", told)
    found = pd.read_json(tmp_path / "p.jsonl", lines=True)
    pd.testing.assert_frame_equal(found, expected)


def test_a_table_gets_a_column_each(run: Run, table: Path, tmp_path: Path) -> None:
    code, out, err = run(
        *("properties", table, "--properties", "energy above hull,band_gap_oqmd", "-o", "p.csv"),
        *("--batch-size", 5),
    )
    assert (code, out, err) == (0, "", "sklearn-kt: wrote: p.csv: 12 rows\n")
    found = pd.read_csv(tmp_path / "p.csv", keep_default_na=False)
    assert list(found) == ["id", "formula", "gap", "energy_above_hull", "band_gap_oqmd"]
    assert found["formula"].tolist() == FORMULAS
    values = predict_properties(FORMULAS, ["band_gap_oqmd"])["value"]
    assert_allclose(found["band_gap_oqmd"], values, atol=1e-5)
    code, out, err = run("properties", "-", "--errors", "nan", stdin="formula\nMgO\nZz\n")
    assert code == 0
    assert out.splitlines()[2] == "Zz" + "," * 26
    assert "line 3 ('Zz')" in err


def test_list(run: Run) -> None:
    code, out, _ = run("properties", "--list")
    assert code == 0
    assert "band_gap_mp" in out
    assert "Materials Project" in out


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("MgOx",), ("'MgOx'", "no formula")),
        (("no.csv",), ("no.csv", "No such file")),
        (("gaps.csv", "MgO"), ("gaps.csv is a table",)),
        (("MgO", "Zz"), ("formula 2", "Zz")),
        (("MgO", "--properties", "colour"), ("'colour' is no property",)),
        (("MgO", "-o", "p.doc"), ("p.doc", ".doc")),
    ],
)
def test_errors_are_one_line(run: Run, table: Path, arguments: tuple, parts: tuple) -> None:
    code, out, err = run("properties", *arguments)
    assert (code, out) == (2, "")
    assert_one_line(err, *parts)
