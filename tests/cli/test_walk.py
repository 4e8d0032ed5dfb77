"""A day's work on the command line: each task takes what those before left in the folder."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from _commands import Run, files, read

from sklearn_kt.datasets import load_expt_gap

TARGET = "gap (eV)"


@pytest.fixture
def tables(tmp_path: Path) -> None:
    """Write what a laboratory has: measured gaps, new formulas, a property at temperatures."""
    formulas, gaps = load_expt_gap(return_X_y=True)
    measured = pd.DataFrame({"compound": formulas, TARGET: gaps})
    measured[::100].to_csv(tmp_path / "gaps.csv", index=False)
    new = measured[3::400]
    new.to_csv(tmp_path / "new.csv", index=False, sep=";")
    new.to_parquet(tmp_path / "new.parquet", index=False)
    new.to_excel(tmp_path / "new.xlsx", index=False)
    measured[["compound"]][5::100].to_parquet(tmp_path / "many.parquet", index=False)
    seebeck = pd.DataFrame({"formula": np.repeat(formulas[:40:4], 3)})
    seebeck["T (K)"] = [300, 500, 700] * 10
    seebeck["S"] = seebeck["T (K)"] / 10
    seebeck.to_csv(tmp_path / "seebeck.csv", index=False)


@pytest.mark.usefixtures("tables")
def test_ten_tasks(run: Run, tmp_path: Path) -> None:
    def done(*arguments: object, stdin: str = "") -> tuple[str, str]:
        code, out, err = run(*arguments, stdin=stdin)
        assert code == 0, err
        return out, err

    # 1. look at the table
    out, err = done("inspect", "gaps.csv", "--target", TARGET, "-o", "look.html")
    assert "are read from its column 'compound'" in err
    for part in ("gaps.csv: 47 rows", f"Target {TARGET}", "Skew", "Pretraining has seen"):
        assert part in out
    assert "<img" in (tmp_path / "look.html").read_text(encoding="utf-8")

    # 2. fit
    _, err = done(
        *("fit", "gaps.csv", "--target", TARGET, "--model", "imkt-fast", "-o", "gap.model"),
        *("--n-jobs", 1),
    )
    assert "fitted: gaps.csv: 47 rows" in err
    assert re.search(r"held out: MAE [\d.]+ eV, R² [-\d.]+, on rows", err)

    # 3. ask what the model is: long lines are folded, what does not apply is left out
    lines = done("info", "gap.model")[0].splitlines()
    about = dict(re.split(r" {2,}", line, maxsplit=1) for line in lines[2:] if line[0] != " ")
    assert (about["target"], about["unit"], about["rows"]) == (TARGET, "eV", "47")
    assert re.fullmatch(r"[\d.]+ eV", about["held-out mae"])
    assert max(map(len, lines)) <= 80
    assert "conditions" not in about

    # 4. predict a few formulas, given as such and by a pipe
    few = done("predict", "gap.model", "MgO", "W", "--digits", 3)[0]
    assert done("predict", "gap.model", "--digits", 3, stdin="formula\nMgO\nW\n")[0] == few
    [_, insulator, metal] = read(few)
    assert float(insulator[1]) > 2 > float(metal[1])

    # 5. predict files, with intervals; those that hold the answer are scored
    names = [f"prediction{part}_{TARGET}" for part in ("", "_low", "_high")]
    found = []
    for source, output in (
        ("new.csv", "p.xlsx"),
        ("new.parquet", "p.csv"),
        ("new.xlsx", "p.parquet"),
    ):
        _, err = done("predict", "gap.model", source, "--interval", 0.9, "-o", output)
        assert re.search(r"scored: MAE [\d.]+ eV, R² [-\d.]+, against column 'gap \(eV\)'", err)
        reader = {"xlsx": pd.read_excel, "csv": pd.read_csv, "parquet": pd.read_parquet}
        predicted = reader[output.rpartition(".")[2]](output)
        assert list(predicted) == ["compound", TARGET, *names]
        found.append(predicted[names].to_numpy())
        assert (found[-1][:, 1] <= found[-1][:, 2]).all()
    np.testing.assert_allclose(found, [found[0]] * 3)

    # 6. compare models, and go on with one more
    compare = ("evaluate", "--data", "gaps.csv", "--target", TARGET, "--folds", 2)
    compare += ("--output-dir", "results", "--models")
    done(*compare, "dummy")
    out, err = done(*compare, "dummy,et-fractions")
    assert err.count("found, not run again") == 2
    assert re.search(r"et-fractions +[\d.]+ ± ", out)
    assert "report.html" in files(tmp_path / "results")

    # 7. screen, by the model and by a property that needs none
    screening = ("screen", "gap.model", "many.parquet", "--properties", "energy above hull")
    screening += ("--where", "energy_above_hull < 0.1", "--top-k", 5, "--quiet", "-o", "best.csv")
    assert "wrote: best.csv: 5 rows of 46\n" in done(*screening)[1]
    best = pd.read_csv("best.csv")
    assert best[names[0]].is_monotonic_decreasing
    assert (best["energy_above_hull"] < 0.1).all()

    # 8. explain several
    out, _ = done("explain", "gap.model", "CdTe", "CdS")
    assert out.count("k-SII up to order 2, exact") == 2
    assert {"CdTe.png", "CdS.png"} <= set(files(tmp_path))

    # 9. properties without a fit, of formulas and of a table
    assert re.search(r"band gap +[\d.]+ ± ", done("properties", "MgO", "BaTiO3")[0])
    done("properties", "new.csv", "--properties", "band gap", "-o", "wide.parquet")
    wide = pd.read_parquet("wide.parquet")
    assert len(wide) == 12
    assert np.corrcoef(wide.iloc[:, -1], wide[TARGET].astype(float))[0, 1] > 0.5

    # 10. a property at temperatures
    out, _ = done("inspect", "seebeck.csv", "--target", "S")
    assert re.search(r"T \(K\) +numbers .* by its name", out)
    done(
        *("fit", "seebeck.csv", "--target", "S", "--unit", "µV/K", "--conditions", "T (K)"),
        *("--model", "et-fractions", "-o", "S.model", "--n-jobs", 1),
    )
    ask = ("predict", "S.model", "PbTe", "SnTe", "--set")
    rows = read(done(*ask, "T (K)=300:700:200")[0])
    assert [row[:2] for row in rows[1:4]] == [["PbTe", f"{t}.0"] for t in (300, 500, 700)]
    np.testing.assert_allclose([float(row[2]) for row in rows[1:]], [30, 50, 70] * 2, atol=5)
    code, _, err = run(*ask, "t (k)=300")
    assert code == 2
    assert "no condition 't (k)'; it has 'T (K)'. Did you mean 'T (K)'?" in err
