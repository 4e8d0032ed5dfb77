"""The audit: it finds what was put there, and a pool that is kept says the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sklearn_kt import BlendedKTRegressor, ImplicitKTRegressor
from sklearn_kt._files import DATA
from sklearn_kt.compositions import composition_keys, read_compositions
from sklearn_kt.evaluation import (
    QUANTITIES,
    CompositionPool,
    Sibling,
    Task,
    audit_tasks,
    evaluate,
)
from sklearn_kt.evaluation.audit import find_pool
from sklearn_kt.evaluation.runner import checkpoints_of
from sklearn_kt.exceptions import DatasetError, InputError
from sklearn_kt.pretraining import (
    PROPERTIES,
    CorpusTable,
    Property,
    build_corpus,
)

NAN = float("nan")


def table(formulas: list[str], **known: Any) -> CorpusTable:
    return CorpusTable(formulas, known)


def task(formulas: list[str], n_train: int, **changes: Any) -> Task:
    n = len(formulas)
    fields: dict[str, Any] = {
        "name": "made",
        "kind": "regression",
        "formulas": np.array(formulas, dtype=object),
        "y": np.zeros(n),
        "ids": np.arange(n),
        "folds": {0: (np.arange(n_train), np.arange(n_train, n))},
    }
    return Task(**(fields | changes))


def test_folds_and_audit_agree() -> None:
    pool = CompositionPool.from_tables([table(["FeO2"])])
    made = task(["FeO2", "Fe0.33333333O0.66666667"], 1)
    report, unseen = audit_tasks([made], pool=pool)
    assert report["tasks"]["made"]["test_rows_in_train"] == 1
    assert unseen["made"].tolist() == [False, False]


def test_shipped_pool_knows_decimal_spellings() -> None:
    folder = DATA / "checkpoints" / "default"
    pool = CompositionPool.load(folder / "pool.npz")
    asked = ["NaCl", "BaMg0.333O3Ta0.667", "Ba0.2Mg0.0666O0.6Ta0.1334", "HeXe"]
    assert pool.contains(asked).tolist() == [True, True, True, False]


# --- pools -----------------------------------------------------------------------------------


def test_pool_knows_compositions_not_spellings() -> None:
    pool = CompositionPool.from_tables([table(["Fe2O3", "LiFePO4"]), table(["Na0.5Cl0.5"])])
    asked = ["O3Fe2", "Fe4O6", "FeO", "Li2Fe2P2O8", "NaCl", "Fe2O3.0001"]
    assert pool.contains(asked).tolist() == [True, True, False, True, True, False]
    assert len(pool) == 3


def test_pool_knows_which_property() -> None:
    # a composition in two tables, a value that is unknown, one that no calculation gives
    pool = CompositionPool.from_tables(
        [
            table(["NaCl", "KCl"], band_gap_mp=[5.0, NAN]),
            table(["Na2Cl2", "Si"], formation_energy_oqmd=[-2.0, -99.0]),
        ]
    )
    asked = ["KCl", "NaCl", "Si", "Ge"]
    assert pool.knows(asked, "band gap").tolist() == [False, True, False, False]
    assert pool.knows(asked, "formation energy").tolist() == [False, True, False, False]
    assert pool.knows(asked, "formation_energy_oqmd").tolist() == [False, True, False, False]
    assert pool.knows(asked, "bulk modulus").tolist() == [False] * 4
    assert pool.contains(asked).tolist() == [True, True, True, False]


def test_quantities_are_columns_of_the_corpus() -> None:
    assert {name for names in QUANTITIES.values() for name in names} <= {
        prop.name for prop in PROPERTIES
    }


def test_pool_of_a_corpus_is_that_of_its_tables(tmp_path: Path) -> None:
    tables = [table(["NaCl", "KCl"], gap=[5.0, NAN]), table(["MgO", "Na2Cl2"], gap=[7.0, 5.1])]
    properties = [Property("gap", "eV", low=0, high=20)]
    corpus = build_corpus(tmp_path / "corpus", tables, properties)
    one, other = CompositionPool.from_corpus(corpus), CompositionPool.from_tables(
        tables, properties
    )  # fmt: skip
    np.testing.assert_array_equal(one.keys, other.keys)
    np.testing.assert_array_equal(one.known, other.known)
    assert one.elements == other.elements == ["O", "Na", "Mg", "Cl", "K"]


@given(
    amounts=st.lists(st.integers(1, 2**20), min_size=1, max_size=30, unique=True),
    known=st.data(),
)
def test_saved_pools_are_the_same(
    amounts: list[int], known: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    gaps = known.draw(st.lists(st.sampled_from([NAN, 1.0]), min_size=30, max_size=30))
    rows = [f"Na{amount}Cl" for amount in amounts]
    pool = CompositionPool.from_tables([table(rows, band_gap_mp=gaps[: len(rows)])], name="own")
    path = tmp_path_factory.mktemp("pool") / "pool.npz"
    pool.save(path)
    again = CompositionPool.load(path)
    np.testing.assert_array_equal(pool.keys, again.keys)
    np.testing.assert_array_equal(pool.known, again.known)
    assert again.properties == pool.properties
    assert again.elements == pool.elements == ["Na", "Cl"]
    assert again.name == "own"
    assert again.contains(rows).all()


@pytest.mark.parametrize("content", [b"", b"nothing", b"PK\x03\x04"])
def test_not_a_pool(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "pool.npz"
    with pytest.raises(DatasetError, match="not a pool"):
        CompositionPool.load(path)
    path.write_bytes(content)
    with pytest.raises(DatasetError, match="not a pool"):
        CompositionPool.load(path)
    np.savez(path, other=np.zeros(3))
    with pytest.raises(DatasetError, match="not a pool"):
        CompositionPool.load(path)


def test_empty_pools() -> None:
    with pytest.raises(InputError, match="at least one"):
        CompositionPool.from_tables([])
    with pytest.raises(InputError, match="at least one composition"):
        CompositionPool(np.array([], np.uint64), ["gap"], np.zeros((0, 1), bool))


def test_union() -> None:
    left = CompositionPool.from_tables([table(["NaCl"], band_gap_mp=[1.0])], name="left")
    keys = composition_keys(read_compositions(["KCl", "NaCl"]))
    right = CompositionPool(keys, ["other"], np.array([[True], [True]]), name="right")
    both = left | right
    assert both.name == "left and right"
    assert len(both) == 2
    assert both.knows(["NaCl", "KCl"], "band gap").tolist() == [True, False]
    assert both.knows(["NaCl", "KCl"], "other").tolist() == [True, True]


# --- audits ----------------------------------------------------------------------------------


def test_audit_counts_what_was_put_there() -> None:
    made = task(["NaCl", "KCl", "Na2Cl2", "MgO", "MgO", "Si"], 2, quantity="band gap")
    pool = CompositionPool.from_tables(
        [table(["MgO", "KCl", "Si"], band_gap_mp=[1.0, 1.0, NAN], band_gap_oqmd=[2.0, NAN, NAN])]
    )
    report, unseen = audit_tasks([made], pool=pool)
    found = report["tasks"]["made"]
    assert found["rows"] == 6
    assert found["distinct_compositions"] == 4
    assert found["test_rows"] == 4
    assert found["test_ids_in_train"] == 0
    assert found["test_rows_in_train"] == 1
    assert found["test_rows_in_pool"] == 3
    assert found["train_rows_in_pool"] == 1
    assert found["test_rows_with_quantity_in_pool"] == 2
    assert found["sources"]["band_gap_mp"] == 2
    assert found["sources"]["band_gap_oqmd"] == 2
    assert found["sources"]["band_gap_aflow"] == 0
    assert unseen["made"].tolist() == [True, False, True, False, False, False]
    assert report["pool"]["compositions"] == 3


def test_audit_of_folds_counts_each_fold_by_itself() -> None:
    """A composition in two folds is in the training part of each when the other is tested."""
    rows = ["NaCl", "KCl", "Cl2Na2", "MgO"]
    folds = {0: (np.array([2, 3]), np.array([0, 1])), 1: (np.array([0, 1]), np.array([2, 3]))}
    report, unseen = audit_tasks([task(rows, 2, folds=folds)])
    assert report["tasks"]["made"]["test_rows_in_train"] == 2
    assert report["pool"] == {"missing": "no pool was given"}
    assert unseen == {}


def test_audit_names_siblings() -> None:
    siblings = {
        "metal": Sibling("metal is gap == 0", lambda: np.array(["K2Cl2", "Si"], dtype=object)),
        "away": Sibling("other", lambda: None),
    }
    report, _ = audit_tasks([task(["NaCl", "KCl"], 1, name="gap", siblings=siblings)])
    found = report["tasks"]["gap"]["siblings"]
    assert found["metal"] == {"why": "metal is gap == 0", "test_rows_there": 1}
    assert "away was not found" in found["away"]["unchecked"]


def test_checkpoints_of_the_parts_of_a_blend_count() -> None:
    made = task(["NaCl", "KCl", "MgO", "LiF", "Si", "Ge"], 4)
    assert [p.name for p in checkpoints_of({"blended": "blended"}, [made])] == ["default"]
    alone = BlendedKTRegressor([("a", ImplicitKTRegressor(None))])
    assert checkpoints_of({"alone": alone}, [made]) == []


def test_pool_beside_a_checkpoint_is_found(tmp_path: Path) -> None:
    made = task(["NaCl", "KCl", "MgO", "LiF", "Si", "Ge"], 4)
    settings = {"n_estimators": 1, "max_epochs": 1, "readout": "head", "random_state": 0}
    scratch = ImplicitKTRegressor(None, backbone="tiny", **settings)
    folder = tmp_path / "weights"
    scratch.fit(made.formulas, made.y).save_pretrained(folder)
    models = {"scratch": scratch, "imkt": ImplicitKTRegressor(folder, **settings)}

    def run(chosen: Any) -> Any:
        # each model is fitted once
        return evaluate(chosen, made, output_dir=tmp_path)

    alone = run({"scratch": scratch})
    assert alone.audit["pool"] == {"missing": "no model starts from a checkpoint"}
    without = run(models)
    assert "weights has no pool.npz" in without.audit["pool"]["missing"]
    CompositionPool.from_tables([table(["Ge"])], name="small").save(folder / "pool.npz")
    found = run(models)
    assert found.audit["pool"]["name"] == "small"
    # the same rows for all models, whatever they were pretrained on
    assert found.to_frame("unseen")["n_test"].tolist() == [1, 1]


def test_pool_of_several_checkpoints(tmp_path: Path) -> None:
    folders = []
    for name, formula in (("one", "NaCl"), ("two", "KCl")):
        (tmp_path / name).mkdir()
        CompositionPool.from_tables([table([formula])]).save(tmp_path / name / "pool.npz")
        folders.append(tmp_path / name)
    pool, why = find_pool(None, folders)
    assert pool is not None
    assert pool.contains(["NaCl", "KCl", "Si"]).tolist() == [True, True, False]
    assert pool.elements == ["Na", "Cl", "K"]
    bare = CompositionPool(pool.keys, ["gap"], np.zeros((2, 1)))
    assert (pool | bare).elements is None
    assert why == ""
    given, _ = find_pool(folders[0] / "pool.npz", folders)
    assert given is not None
    assert len(given) == 1
