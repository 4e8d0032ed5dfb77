"""Data sets: what they hold, and that a table that is not the official one is refused."""

from __future__ import annotations

import contextlib
import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.utils import Bunch

from sklearn_kt import datasets
from sklearn_kt._files import DATA
from sklearn_kt.compositions import composition_groups
from sklearn_kt.datasets import (
    MATBENCH_TASKS,
    MatbenchTask,
    load_expt_gap,
    load_matbench,
    load_seebeck,
    load_thermoelectrics,
)
from sklearn_kt.exceptions import DatasetError, InputError, PretrainingOverlapWarning

FORMULAS = ["NaN", "NaCl", "Fe2O3", "CO", "SiO2", "LiF", "MgO", "KBr", "ZnS", "GaAs"]
VALUES = [0.5, 8.5, 2.2, 5.0, 9.0, 14.2, 7.8, 7.4, 3.7, 1.4]


@pytest.fixture(autouse=True)
def no_data_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SKLEARN_KT_DATA", raising=False)
    monkeypatch.delenv("MATMINER_DATA", raising=False)


# --- measurements in the package --------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "n_rows", "in_folds"), [("S", 8392, 7863), ("kl", 2036, 1819), (None, 8458, 7961)]
)
def test_thermoelectrics_hold_what_was_measured(
    target: str | None, n_rows: int, in_folds: int
) -> None:
    data = load_thermoelectrics(target)
    assert data.data.columns.tolist() == data.feature_names == ["formula", "temperature"]
    assert len(data.data) == len(data.target) == len(data.groups) == len(data.frame) == n_rows
    assert data.data["temperature"].between(10, 1275).all()
    values = data.target.reshape(n_rows, -1)
    assert values.shape[1] == len(data.target_names) == (1 if target else 7)
    # gaps stay gaps, and no row is all gap
    assert np.isnan(values).any() == (target is None)
    assert np.isfinite(values).any(axis=1).all()
    assert_groups_are_compositions(data)
    tests = [test for _, test in data.folds]
    assert len(np.unique(np.concatenate(tests))) == sum(map(len, tests)) == in_folds
    formulas = data.data["formula"].to_numpy()
    for train, test in data.folds:
        assert len(train) + len(test) == in_folds
        assert not set(formulas[train]) & set(formulas[test])
    assert f"{n_rows:,} of 8,458" in data.DESCR


def assert_groups_are_compositions(data: Bunch) -> None:
    expected = composition_groups(data.data["formula"])
    assert np.array_equal(data.groups, expected)


def test_thermoelectrics_as_a_pair_and_other_splits() -> None:
    X, y = load_thermoelectrics("zT", return_X_y=True)
    other = load_thermoelectrics("zT", seed=88)
    assert X.equals(other.data)
    assert np.array_equal(y, other.target)
    assert load_thermoelectrics("zT").folds[0][1].tolist() != other.folds[0][1].tolist()
    assert other.unit == ""
    assert load_thermoelectrics(None).unit[:2] == ["uV/K", "S/cm"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "T"}, "one of S, sigma, PF, zT, k, kl, ke, got 'T'"),
        ({"seed": 2}, "seed 2 for S; the seeds are 1, 88, 123, 1201"),
        ({"target": None, "seed": 88}, "seed 88 for all targets; the seeds are 1[.]"),
    ],
)
def test_thermoelectrics_that_are_not_there(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_thermoelectrics(**options)


def test_gaps_are_the_official_table() -> None:
    gaps = load_expt_gap()
    assert gaps.data.shape == gaps.target.shape == (4604,)
    assert (gaps.target == 0).sum() == 2450
    assert gaps.unit == "eV"
    assert [len(test) for _, test in gaps.folds] == [921, 921, 921, 921, 920]
    X, y = load_expt_gap(return_X_y=True, as_frame=True)
    assert X["composition"].tolist() == gaps.data.tolist()
    assert y.tolist() == gaps.target.tolist()


@pytest.mark.parametrize("name", ["thermoelectrics", "matbench_expt_gap"])
def test_tables_have_cards_with_source_and_licence(name: str) -> None:
    card = (DATA / f"{name}.md").read_text(encoding="utf-8")
    for needed in (
        "## Source",
        "https://github.com/",
        "## Licence",
        "MIT License",
        "Copyright (c)",
    ):
        assert needed in card
    header = _header(DATA / f"{name}.csv.gz")
    assert all(f"`{column}`" in card for column in header if not column.startswith("fold_"))


def _header(path: Path) -> list[str]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return file.readline().strip().split(",")


# --- Seebeck ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def seebeck() -> Bunch:
    return load_seebeck()


def test_seebeck_is_the_whole_table(seebeck: Bunch) -> None:
    data = seebeck
    assert data.data.shape == data.target.shape == data.groups.shape == (47_737,)
    assert data.data.dtype == object
    assert data.target.dtype == np.float64
    assert np.isfinite(data.target).all()
    assert data.frame["mp_id"].is_unique
    assert data.frame.columns.tolist() == ["mp_id", "formula", "S_p"]
    assert data.unit == "uV/K"
    assert "10.1038/sdata.2017.85" in data.DESCR
    assert "p-type" in data.DESCR


def test_seebeck_values_by_carrier(seebeck: Bunch) -> None:
    for data, value in [(seebeck, 545.90221), (load_seebeck("n"), -489.89384)]:
        frame = data.frame.set_index("mp_id")
        assert frame.loc["mp-1000"].tolist() == ["BaTe", value]


def test_seebeck_groups_are_compositions(seebeck: Bunch) -> None:
    data = seebeck
    groups = composition_groups(data.data)
    assert len(np.unique(groups)) == len(np.unique(data.groups)) == 34_630
    # one-to-one: as many pairs as groups on either side
    assert len(set(zip(groups, data.groups, strict=True))) == 34_630


def test_seebeck_sample_is_seeded_and_in_table_order(seebeck: Bunch) -> None:
    whole = seebeck.frame
    first, again = (load_seebeck(n_samples=200, random_state=3).frame for _ in range(2))
    other = load_seebeck(n_samples=200, random_state=4).frame
    pd.testing.assert_frame_equal(first, again)
    assert not first.equals(other)
    positions = whole.set_index("mp_id").index.get_indexer(first["mp_id"])
    assert (np.diff(positions) > 0).all()
    assert first.index.tolist() == list(range(200))


def test_seebeck_return_types() -> None:
    X, y = load_seebeck(n_samples=5, random_state=0, return_X_y=True)
    assert isinstance(X, np.ndarray)
    assert isinstance(y, np.ndarray)
    X, y = load_seebeck(n_samples=5, random_state=0, return_X_y=True, as_frame=True)
    assert X.columns.tolist() == ["formula"]
    assert y.name == "S_p"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"carrier": "holes"}, 'must be "p" or "n"'),
        ({"n_samples": 0}, "between 1 and 47737"),
        ({"n_samples": 47_738}, "between 1 and 47737"),
    ],
)
def test_seebeck_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_seebeck(**arguments)


def test_seebeck_archive_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "_SEEBECK_ARCHIVE", "no/such.tar.xz")
    with pytest.raises(DatasetError, match="reinstall"):
        load_seebeck()


def test_seebeck_archive_damaged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "table.tar.xz").write_bytes(b"not an archive")
    monkeypatch.setattr(datasets, "_matminer_folder", lambda: tmp_path)
    monkeypatch.setattr(datasets, "_SEEBECK_ARCHIVE", "table.tar.xz")
    with pytest.raises(DatasetError, match="cannot be read"):
        load_seebeck()


def test_seebeck_other_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "SEEBECK_ROWS", 50_000)
    with pytest.raises(DatasetError, match="47737 rows where 50000"):
        load_seebeck()


@pytest.mark.slow
def test_loading_imports_no_matminer() -> None:
    code = (
        "import sys; from sklearn_kt.datasets import load_seebeck; load_seebeck(n_samples=1);"
        "sys.exit(bool({'matminer', 'pymatgen', 'torch'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- MatBench: a small stand-in --------------------------------------------------------------


def small_spec(kind: str = "regression", **changes: Any) -> MatbenchTask:
    y = np.array(VALUES if kind == "regression" else [v > 6 for v in VALUES], dtype=float)
    fields: dict[str, Any] = {
        "n_rows": 10,
        "target": "gap",
        "unit": "eV",
        "kind": kind,
        "about": "Made for tests.",
        "mean": y.mean(),
        "ordered_mean": np.average(y, weights=np.arange(1, 11)),
        "has_structures": False,
    }
    return MatbenchTask(**(fields | changes))


@pytest.fixture
def task(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(datasets, "MATBENCH_TASKS", {"matbench_small": small_spec()})
    return "matbench_small"


@pytest.fixture
def table() -> pd.DataFrame:
    return pd.DataFrame({"composition": FORMULAS, "gap": VALUES})


def write_json(table: pd.DataFrame, path: Path) -> None:
    with gzip.open(path, "wt", encoding="utf-8") as file:
        json.dump(table.to_dict(orient="split"), file)


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".json.gz"])
def test_matbench_formats(task: str, table: pd.DataFrame, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"{task}{suffix}"
    if suffix == ".json.gz":
        write_json(table, path)
    else:
        table.to_csv(path, index=False)
    data = load_matbench(task, tmp_path)
    assert data.data.tolist() == FORMULAS
    assert data.target.tolist() == VALUES
    assert data.frame.columns.tolist() == ["mbid", "composition", "gap", "test_fold"]
    assert data.frame["mbid"].iloc[[0, 9]].tolist() == ["mb-small-01", "mb-small-10"]
    assert data.unit == "eV"
    assert str(path) in data.DESCR
    expected = KFold(5, shuffle=True, random_state=18012019).split(FORMULAS)
    for (train, test), (official_train, official_test) in zip(data.folds, expected, strict=True):
        np.testing.assert_array_equal(train, official_train)
        np.testing.assert_array_equal(test, official_test)
    X, y = load_matbench(task, tmp_path, return_X_y=True, as_frame=True)
    assert X.columns.tolist() == ["composition"]
    assert y.name == "gap"


def test_matbench_classification(
    monkeypatch: pytest.MonkeyPatch, table: pd.DataFrame, tmp_path: Path
) -> None:
    spec = small_spec("classification", unit="")
    monkeypatch.setattr(datasets, "MATBENCH_TASKS", {"matbench_small": spec})
    table["gap"] = table["gap"] > 6
    table.to_csv(tmp_path / "matbench_small.csv", index=False)
    data = load_matbench("matbench_small", tmp_path)
    assert data.target.dtype == bool
    splitter = StratifiedKFold(5, shuffle=True, random_state=18012019)
    for fold, expected in zip(data.folds, splitter.split(FORMULAS, data.target), strict=True):
        np.testing.assert_array_equal(fold[1], expected[1])
    table["gap"] = table["gap"].astype(int)
    table.to_csv(tmp_path / "matbench_small.csv", index=False)
    with pytest.raises(DatasetError, match="row 0: '0' in column 'gap' is not True or False"):
        load_matbench("matbench_small", tmp_path)


def test_matbench_structures_give_compositions(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spec = small_spec(has_structures=True)
    monkeypatch.setattr(datasets, "MATBENCH_TASKS", {"matbench_small": spec})

    def site(*species: tuple[str, float]) -> dict[str, Any]:
        return {"species": [{"element": e, "occu": o} for e, o in species]}

    ordered = {"sites": [site(("Te", 1)), site(("Ba", 1)), site(("Te", 1))]}
    disordered = {"sites": [site(("Fe", 0.25), ("Ni", 0.75)), site(("O", 1))]}
    structures = [ordered, disordered] * 5
    rows = pd.DataFrame({"structure": structures, "gap": VALUES})
    write_json(rows, tmp_path / "matbench_small.json.gz")
    with pytest.warns(PretrainingOverlapWarning, match="checkpoint=None"):
        data = load_matbench("matbench_small", tmp_path)
    assert data.data[:2].tolist() == ["Te2Ba1", "Fe0.25Ni0.75O1"]
    assert "polymorphs repeat" in data.DESCR
    rows.loc[3, "structure"] = [{"lattice": []}]
    write_json(rows, tmp_path / "matbench_small.json.gz")
    with pytest.raises(DatasetError, match="row 3 does not hold a pymatgen structure"):
        load_matbench("matbench_small", tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.iloc[:9], "has 9 rows; the official matbench_small has 10"),
        (lambda t: t.iloc[::-1], "values or order"),
        (lambda t: t.assign(gap=t["gap"] * 1.001), "values or order"),
        (lambda t: t.rename(columns={"gap": "e"}), r"no column \['gap'\]"),
        (lambda t: t.assign(gap=[*VALUES[:4], "?", *VALUES[5:]]), r"row 4: '\?' in column 'gap'"),
        (lambda t: t.assign(gap=[*VALUES[:4], "", *VALUES[5:]]), "row 4: '' in column 'gap'"),
        (lambda t: t.assign(test_fold=[0, 1, 2, 3, 4] * 2), "test_fold"),
    ],
)
def test_matbench_wrong_table(
    task: str, table: pd.DataFrame, change: Any, message: str, tmp_path: Path
) -> None:
    change(table).to_csv(tmp_path / f"{task}.csv", index=False)
    with pytest.raises(DatasetError, match=message):
        load_matbench(task, tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("matbench_small.csv", b""),
        ("matbench_small.csv", b'composition,gap\n"NaCl,1\n'),
        ("matbench_small.csv", b"composition,gap\n\xff\xfe,1\n"),
        ("matbench_small.csv.gz", b"plain text"),
        ("matbench_small.json.gz", gzip.compress(b"{}" * 40)[:20]),
        ("matbench_small.json.gz", gzip.compress(b"{broken")),
        ("matbench_small.json.gz", gzip.compress(b"[1, 2]")),
    ],
)
def test_matbench_damaged_file(task: str, name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DatasetError, match=name):
        load_matbench(task, tmp_path)


def test_matbench_places(
    task: str, table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, matminer, package = tmp_path / "own", tmp_path / "matminer", tmp_path / "package"
    for folder in (own / "matbench", matminer, package / "datasets"):
        folder.mkdir(parents=True)
        table.to_csv(folder / f"{task}.csv", index=False)
    monkeypatch.setattr(datasets, "_matminer_folder", lambda: package)
    assert f"{package / 'datasets'}" in load_matbench(task).DESCR
    monkeypatch.setenv("MATMINER_DATA", str(matminer))
    assert f"{matminer}" in load_matbench(task).DESCR
    monkeypatch.setenv("SKLEARN_KT_DATA", str(own))
    assert f"{own / 'matbench'}" in load_matbench(task).DESCR
    table.to_csv(own / f"{task}.csv", index=False)
    assert f"{own / task}" in load_matbench(task).DESCR
    # an explicit folder is the only one
    with pytest.raises(DatasetError, match="None of"):
        load_matbench(task, tmp_path)


def test_matbench_subfolder_of_a_given_folder(
    task: str, table: pd.DataFrame, tmp_path: Path
) -> None:
    (tmp_path / "matbench").mkdir()
    for folder in (tmp_path / "matbench", tmp_path):
        table.to_csv(folder / f"{task}.csv", index=False)
        assert f"{folder / task}" in load_matbench(task, tmp_path).DESCR


def test_matbench_missing_names_places_and_way_out(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SKLEARN_KT_DATA", str(tmp_path))
    with pytest.raises(DatasetError) as caught:
        load_matbench(task)
    text = str(caught.value)
    for part in (f"{task}.json.gz", str(tmp_path / "matbench"), "SKLEARN_KT_DATA", "download=True"):
        assert part in text


def test_matbench_unknown_task() -> None:
    # a wrong argument, as for the other loaders: no file is missing or damaged
    with pytest.raises(InputError, match=r"'expt_gap' is not .*matbench_expt_gap") as caught:
        load_matbench("expt_gap")
    assert type(caught.value) is InputError


def test_matbench_downloads_only_when_asked(
    task: str, table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def load_dataset(name: str, data_home: str) -> None:
        calls.append(name)
        write_json(table, Path(data_home) / f"{name}.json.gz")

    monkeypatch.setattr("matminer.datasets.load_dataset", load_dataset)
    folder = tmp_path / "new"
    with pytest.raises(DatasetError):
        load_matbench(task, folder)
    assert not calls
    assert load_matbench(task, folder, download=True).target.tolist() == VALUES
    # now it is there
    assert load_matbench(task, folder, download=True).target.tolist() == VALUES
    assert calls == [task]


def test_matbench_download_fails(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load_dataset(name: str, data_home: str) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr("matminer.datasets.load_dataset", load_dataset)
    with pytest.raises(DatasetError, match=r"could not download matbench_small.*no route to host"):
        load_matbench(task, tmp_path, download=True)


# --- MatBench: the real tables ---------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", MATBENCH_TASKS)
def test_matbench_real(name: str, data_dir: Path) -> None:
    folder = data_dir / "matbench"
    calculated = MATBENCH_TASKS[name].has_structures
    with pytest.warns(PretrainingOverlapWarning) if calculated else contextlib.nullcontext():
        data = load_matbench(name, folder)
    (path,) = folder.glob(f"{name}.csv*")
    table = pd.read_csv(path, keep_default_na=False)
    assert len(data.target) == MATBENCH_TASKS[name].n_rows
    assert data.data.tolist() == table["composition"].tolist()
    assert data.target.tolist() == table[MATBENCH_TASKS[name].target].tolist()
    assert data.frame["mbid"].tolist() == table["mbid"].tolist()
    for number, (train, test) in enumerate(data.folds):
        np.testing.assert_array_equal(test, np.flatnonzero(table["test_fold"] == number))
        np.testing.assert_array_equal(train, np.flatnonzero(table["test_fold"] != number))
    one_row_each = not MATBENCH_TASKS[name].has_structures
    assert one_row_each == ("polymorphs" not in data.DESCR)
    assert ("other's test fold" in data.DESCR) == ("expt" in name)


@pytest.mark.parametrize(
    ("name", "repeated"),
    [
        ("matbench_steels", 0),
        ("matbench_expt_gap", 3),
        ("matbench_expt_is_metal", 4),
        ("matbench_glass", 0),
    ],
)
def test_matbench_real_repeats(name: str, repeated: int, data_dir: Path) -> None:
    data = load_matbench(name, data_dir / "matbench")
    assert len(data.data) - composition_groups(data.data).max() - 1 == repeated
    assert (f"({repeated} compositions" in data.DESCR) == bool(repeated)


@pytest.mark.filterwarnings("ignore::sklearn_kt.exceptions.PretrainingOverlapWarning")
def test_matbench_real_structures(data_dir: Path) -> None:
    official = load_matbench("matbench_phonons", data_dir / "structures")
    table = load_matbench("matbench_phonons", data_dir / "matbench")
    # the table is rounded to 10 decimals
    np.testing.assert_allclose(official.target, table.target, rtol=0, atol=1e-9)
    both = composition_groups([*official.data, *table.data])
    np.testing.assert_array_equal(both[:1265], both[1265:])
