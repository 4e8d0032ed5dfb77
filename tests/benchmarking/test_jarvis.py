"""JARVIS-DFT tables: the published split, nothing missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sklearn_kt import read_compositions
from sklearn_kt._files import DATA
from sklearn_kt.benchmarking import JARVIS_TABLES, jarvis, jarvis_tasks
from sklearn_kt.benchmarking.jarvis import JarvisTable
from sklearn_kt.evaluation import QUANTITIES, CompositionPool, audit_tasks, evaluate
from sklearn_kt.exceptions import DatasetError, InputError
from sklearn_kt.pretraining import CorpusTable

FORMULAS = ["NaN", "NaCl", "KCl", "LiF", "Na2Cl2", "MgO"]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    tables = {"gap": JarvisTable(4, 2, "gap", "eV", "band gap")}
    monkeypatch.setattr(jarvis, "JARVIS_TABLES", tables)
    table = pd.DataFrame({"formula": FORMULAS, "target": np.arange(6.0)})
    table["split"] = ["train"] * 4 + ["test"] * 2
    table.to_csv(tmp_path / "gap.csv.gz", index=False)
    return tmp_path


def test_run(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = CompositionPool.from_tables([CorpusTable(["MgO"], {"band_gap_oqmd": [1.0]})])
    tasks = jarvis_tasks(data_dir=small)
    result = evaluate("dummy", tasks, output_dir=small / "out", pool=pool, command="test")
    [record] = result.records
    np.testing.assert_array_equal(record.predictions, [1.5, 1.5])
    found = result.audit["tasks"]["gap"]
    assert found["test_rows_in_train"] == 1
    assert found["test_rows_in_pool"] == 1
    assert found["test_rows_with_quantity_in_pool"] == 1
    assert result.to_frame("unseen")["mae"].tolist() == [2.5]
    assert result.tasks["gap"].formulas[0] == "NaN"
    content = json.loads((small / "out" / "results.json").read_text(encoding="utf-8"))
    assert content["command"] == "test"
    assert content["audit"] == result.audit
    assert content["summary_unseen"][0]["mae"] == 2.5
    # the folder above is found, too, and so is the environment's
    (small / "composition" / "jarvis_crossproperty").mkdir(parents=True)
    (small / "gap.csv.gz").rename(small / "composition" / "jarvis_crossproperty" / "gap.csv.gz")
    monkeypatch.setenv("SKLEARN_KT_DATA", str(small))
    assert jarvis_tasks("gap")[0].digest(0) == record.digest


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"split": ["train"] * 5 + ["test"]}, r"has 5 train and 1 test rows of 6; .* 4 and 2"),
        ({"split": ["train"] * 3 + ["val"] + ["test"] * 2}, "has 3 train"),
        ({"target": [1.0, 2.0, np.inf, 0.0, 0.0, 0.0]}, "row 2: the target inf"),
        ({"target": ["1", "x", "2", "3", "4", "5"]}, "cannot be read"),
        ({"split": None}, "cannot be read"),
    ],
)
def test_other_tables_are_refused(change: dict[str, Any], match: str, small: Path) -> None:
    path = small / "gap.csv.gz"
    table = pd.read_csv(path, keep_default_na=False)
    for name, values in change.items():
        table = table.drop(columns=name) if values is None else table.assign(**{name: values})
    table.to_csv(path, index=False)
    with pytest.raises(DatasetError, match=match):
        jarvis_tasks("gap", small)


def test_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SKLEARN_KT_DATA", raising=False)
    with pytest.raises(DatasetError, match=r"SKLEARN_KT_DATA, which is not set"):
        jarvis_tasks("deltae")
    with pytest.raises(InputError, match="'nothing' is not one of the tables"):
        jarvis_tasks("nothing", tmp_path)


def test_quantities_are_those_of_the_audit() -> None:
    assert len(JARVIS_TABLES) == 30
    assert {spec.quantity for spec in JARVIS_TABLES.values()} - {None} <= set(QUANTITIES)
    # of these the pool has nothing
    assert {name for name, spec in JARVIS_TABLES.items() if spec.quantity is None} == {
        *("encut", "kaa", "klu", "min_ir_mode", "min_mode", "piezo_max_diio", "piezo_max_dij"),
        *(f"etc{i}" for i in (11, 12, 13, 22, 33, 44, 55, 66)),
    }


def test_transport_is_asked_for_by_carrier(data_dir: Path) -> None:
    names = ["pseebeck", "npowerfact", "ppowerfact", "nem300k"]
    pool = CompositionPool.load(DATA / "checkpoints" / "default" / "pool.npz")
    report, _ = audit_tasks(jarvis_tasks(names, data_dir), pool=pool)
    found = {name: report["tasks"][name] for name in names}
    assert {name: about["sources"] for name, about in found.items()} == {
        "pseebeck": {"seebeck_p_mp": 972},
        "npowerfact": {"power_factor_n_mp": 1072},
        "ppowerfact": {"power_factor_p_mp": 1087},
        "nem300k": {"effective_mass_n_mp": 1073},
    }
    assert [about["test_rows"] for about in found.values()] == [1444, 1677, 1676, 1625]


def test_real_tables(data_dir: Path) -> None:
    formulas: set[str] = set()
    for name in JARVIS_TABLES:
        [task] = jarvis_tasks(name, data_dir)
        train, test = task.folds[0]
        assert len(train) + len(test) == len(task.y)
        formulas |= set(task.formulas)
    # the published table of meps has two dates where formulas were
    assert read_compositions(list(formulas)).valid.all()
    folder = data_dir / "composition" / "jarvis_crossproperty"
    assert {path.name.partition(".")[0] for path in folder.iterdir()} == set(JARVIS_TABLES)
    result = evaluate("dummy", jarvis_tasks(["piezo_max_dij", "piezo_max_eij"], folder))
    for record in result.records:
        task = result.tasks[record.task]
        train, test = task.folds[0]
        np.testing.assert_allclose(record.predictions, task.y[train].mean())
        assert result.audit["tasks"][record.task]["test_rows_in_train"] > 0
