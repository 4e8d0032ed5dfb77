"""Tasks: honest folds, tables that can be run, and none that cannot."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pymatgen.core import Composition
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from sklearn_kt import ImplicitKTRegressor
from sklearn_kt.compositions import composition_groups
from sklearn_kt.evaluation import Task, evaluate, make_folds, make_model, table_task
from sklearn_kt.evaluation.scores import HEADLINES
from sklearn_kt.exceptions import CompositionError, CompositionWarning, InputError

X = [f"{a}{b}" for a in ("Li", "Na", "K", "Rb", "Cs") for b in ("F", "Cl", "Br", "I", "H", "N")]
Y = np.array([Composition(formula).weight for formula in X])
LABELS = np.array(["heavy" if weight > 100 else "light" for weight in Y])


# --- compositions and folds ------------------------------------------------------------------


def test_folds_of_distinct_compositions_are_scikit_learns() -> None:
    folds = make_folds(X, Y, kind="regression", n_splits=4, random_state=5)
    expected = KFold(4, shuffle=True, random_state=5).split(X)
    for fold, (train, test) in zip(folds, expected, strict=True):
        np.testing.assert_array_equal(fold[0], train)
        np.testing.assert_array_equal(fold[1], test)
    folds = make_folds(X, LABELS, kind="classification", n_splits=4, random_state=5)
    stratified = StratifiedKFold(4, shuffle=True, random_state=5).split(X, LABELS)
    for fold, (train, _) in zip(folds, stratified, strict=True):
        np.testing.assert_array_equal(fold[0], train)


@pytest.mark.parametrize("kind", HEADLINES)
def test_folds_never_share_a_composition(kind: Any) -> None:
    rows = [*X, *(formula + "0.5" for formula in X[::3]), *(f"({f})3" for f in X[::2])]
    y = np.arange(len(rows)) % 2
    groups = composition_groups(rows)
    folds = make_folds(rows, y, kind=kind, n_splits=4)
    assert sorted(np.concatenate([test for _, test in folds])) == list(range(len(rows)))
    for train, test in folds:
        assert not set(groups[train]) & set(groups[test])
    other = make_folds(rows, y, kind=kind, n_splits=4, random_state=1)
    assert any(
        len(a[1]) != len(b[1]) or (a[1] != b[1]).any() for a, b in zip(folds, other, strict=True)
    )


def test_folds_that_cannot_be_made() -> None:
    with pytest.raises(InputError, match="number of distinct compositions, 2; got 3"):
        make_folds(["NaCl", "Na2Cl2", "KCl"], [1, 2, 3], kind="regression", n_splits=3)
    with pytest.raises(InputError, match="got 1"):
        make_folds(X, Y, kind="regression", n_splits=1)
    y = np.array(["rare"] * 2 + ["common"] * 28)
    for labels in (y, y.astype(object)):
        with pytest.raises(InputError, match="Class 'rare' has 2 rows, fewer than the 3 folds"):
            make_folds(X, labels, kind="classification", n_splits=3)
    with pytest.raises(ValueError, match="inconsistent"):
        make_folds(X, Y[:-1], kind="regression")


@pytest.mark.parametrize("kind", HEADLINES)
def test_groups_stay_together_and_so_do_compositions(kind: Any) -> None:
    rows = [*X, *(f"({formula})2" for formula in X)]
    y = np.arange(len(rows)) % 2
    groups = [f"paper {number // 3}" for number in range(len(rows))]
    compositions = composition_groups(rows)
    for train, test in make_folds(rows, y, groups, kind=kind, n_splits=4):
        assert not set(compositions[train]) & set(compositions[test])
        assert not {groups[row] for row in train} & {groups[row] for row in test}
    # by way of one composition in both, two groups become one
    with pytest.raises(InputError, match="distinct groups, 1; got 2"):
        make_folds(["NaCl", "KCl", "KCl"], y[:3], ["a", "a", "b"], kind=kind, n_splits=2)
    with pytest.raises(InputError, match="row 1 has no group"):
        make_folds(["NaCl", "KCl", "LiF"], y[:3], ["a", None, "b"], kind=kind, n_splits=2)
    with pytest.raises(InputError, match="leave out one"):
        table_task(["NaCl", "KCl"], [0, 1], [1, 2], kind="regression", folds=[([0], [1])])


# --- tables of one's own ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "rows",
    [
        tuple(X),
        np.array(X),
        np.array(X)[:, None],
        pd.Series(X, index=range(100, 130)),
        pd.DataFrame({"c": X}, index=range(100, 130)),
        [Composition(formula) for formula in X],
    ],
    ids=lambda rows: type(rows).__name__,
)
def test_any_container(rows: Any) -> None:
    made = table_task(rows, pd.Series(Y), kind="regression", n_splits=3)
    expected = table_task(X, Y, kind="regression", n_splits=3)
    assert [Composition(f) for f in made.formulas] == [Composition(f) for f in X]
    np.testing.assert_array_equal(made.y, expected.y)
    for fold, (_, test) in made.folds.items():
        np.testing.assert_array_equal(test, expected.folds[fold][1])


def test_formulas_stay_as_written() -> None:
    rows = ["Ca(OH)2", "Fe₂O₃", "SiO2", "NaN"]
    assert table_task(rows, range(4), kind="regression", n_splits=2).formulas.tolist() == rows


def test_titles() -> None:
    about = {"kind": "regression", "n_splits": 2, "name": "gaps", "target": "gap"}
    assert table_task(X, Y, **about, unit="eV").title == "gaps: regression of gap in eV"
    assert table_task(X, Y, **about).title == "gaps: regression of gap"


@pytest.mark.parametrize("labels", [LABELS, LABELS.astype(object), LABELS == "heavy"])
def test_digests_are_those_of_the_targets(labels: np.ndarray) -> None:
    about = {"kind": "classification", "n_splits": 2}
    made, again = (table_task(X, labels, **about) for _ in range(2))
    assert made.digest(0) == again.digest(0) != made.digest(1)
    other = labels.copy()
    other[0] = other[other != other[0]][0]
    folds = list(made.folds.values())
    changed = Task(
        "table", "classification", made.formulas, other, made.ids, dict(enumerate(folds))
    )
    assert changed.digest(0) != made.digest(0)


# --- what is refused -------------------------------------------------------------------------

ROWS = np.arange(30)


@pytest.mark.parametrize(
    ("folds", "message"),
    [
        ([(ROWS, ROWS[:3])], "fold 0 has 3 rows in both, such as row 0"),
        ([(ROWS[:15], [20, 20])], "test part of fold 0 repeats a row"),
        ([(ROWS[:15], ROWS[15:] + 1)], "outside 0 to 29"),
        ([(ROWS[:15] - 1, ROWS[15:])], "outside 0 to 29"),
        ([(ROWS < 15, ROWS >= 15)], "row positions"),
        ([(ROWS[:0], ROWS)], "the train part of fold 0"),
        ([], "has no folds"),
    ],
)
def test_bad_folds(folds: list, message: str) -> None:
    with pytest.raises(InputError, match=message):
        table_task(X, Y, kind="regression", folds=folds)


def test_repeated_compositions_across_folds_are_counted() -> None:
    rows = ["NaCl", "Cl2Na2", "KCl", "LiF", "F3Li3", "MgO"]
    folds = [(np.array([1, 2, 5]), np.array([0, 3, 4])), (np.array([0, 3, 4]), np.array([1, 2, 5]))]
    with pytest.warns(CompositionWarning, match="2 of 6 test rows"):
        table_task(rows, range(6), kind="regression", folds=folds)


@pytest.mark.parametrize(
    ("y", "kind", "message"),
    [
        (Y[:-1], "regression", "one target for each of the 30 rows"),
        (np.c_[Y, Y], "regression", "one target for each"),
        (LABELS, "regression", "must be numbers"),
        (np.where(np.arange(30) == 4, np.nan, Y), "regression", "target of row 4 is nan"),
        (np.where(np.arange(30) == 4, np.inf, Y), "regression", "target of row 4 is inf"),
        (Y + 0.5, "classification", "labels of at least two classes"),
        (["a"] * 30, "classification", "All targets are 'a': one class only"),
        (np.array(["a"] * 30, dtype=object), "classification", "All targets are 'a'"),
    ],
)
def test_bad_targets(y: Any, kind: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        table_task(X, y, kind=kind)


def test_what_is_no_table() -> None:
    with pytest.raises(CompositionError, match="Row 2, "):
        table_task(["Fe", "Co", "xx"], [1, 2, 3], kind="regression")
    with pytest.raises(InputError, match="'regression' or 'classification', got 'ranking'"):
        table_task(X, Y, kind="ranking")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="distinct ids"):
        Task("t", "regression", np.array(X), Y, np.zeros(30), {0: (ROWS[:9], ROWS[9:])})


def test_official_folds_share_compositions(data_dir: Any) -> None:
    from sklearn_kt.benchmarking import matbench_tasks

    [phonons] = matbench_tasks("matbench_phonons", data_dir / "matbench")
    folds = phonons.folds.values()
    with pytest.warns(CompositionWarning, match=r"\d+ of 1265 test rows"):
        table_task(phonons.formulas, phonons.y, kind="regression", folds=folds)
    found = evaluate("dummy", phonons).audit["tasks"]["matbench_phonons"]
    assert found["test_rows_in_train"] > 0


# --- conditions ------------------------------------------------------------------------------


def measured() -> Task:
    """Every compound at two temperatures, rows of one compound on one side."""
    formulas = np.repeat(np.array(X[:8], dtype=object), 2)
    heat = np.tile([300.0, 400.0], 8)
    folds = make_folds(formulas, heat, kind="regression", n_splits=2)
    return Task(
        "measured",
        "regression",
        formulas,
        heat / 100,
        np.arange(16),
        dict(enumerate(folds)),
        conditions=pd.DataFrame({"temperature": heat, "route": ["cast", "SPS"] * 8}),
    )


def test_models_see_conditions() -> None:
    task = measured()
    read = task.inputs(task.folds[1][1])
    assert list(read) == ["formula", "temperature", "route"]
    assert read.index.tolist() == list(range(len(read)))
    # nothing but the temperature tells targets apart
    result = evaluate(["dummy", "et-fractions"], task)
    assert dict(result.summary().set_index("model")["mae"]) == {"dummy": 0.5, "et-fractions": 0.0}
    frame = result.predictions()
    assert list(frame)[4:8] == ["formula", "temperature", "route", "true"]
    np.testing.assert_array_equal(frame["temperature"] / 100, frame["true"])


def test_folds_depend_on_conditions() -> None:
    task = measured()
    assert task.conditions is not None
    warmer = task.conditions.assign(temperature=task.conditions["temperature"] + 1)
    assert replace(task, conditions=warmer).digest(0) != task.digest(0)
    assert replace(task, conditions=None).digest(0) != task.digest(0)


def test_conditions_that_do_not_fit() -> None:
    task = measured()
    with pytest.raises(InputError, match="3 rows of conditions for 16 targets"):
        replace(task, conditions=pd.DataFrame({"t": [1, 2, 3]}))
    with pytest.raises(InputError, match="no condition can be called 'formula'"):
        replace(task, conditions=pd.DataFrame({"formula": task.formulas}))


def test_conditions_that_a_fold_cannot_learn_are_named_before_any_fit(tmp_path: Path) -> None:
    """With their rows of the table, not of a part of it."""
    task = measured()
    assert task.conditions is not None
    rare = task.conditions.assign(route=["once", *task.conditions["route"][1:]])
    unknown = replace(task, conditions=rare)
    number = next(n for n, (_, test) in task.folds.items() if 0 in test)
    told = f"fold {number}: row 0 holds the unknown category 'once' .* leave"
    search = GridSearchCV(ImplicitKTRegressor(None), {"max_epochs": [1]})
    for model in ("et-fractions", search):
        with pytest.raises(InputError, match=told):
            evaluate({"dummy": "dummy", "other": model}, unknown, output_dir=tmp_path)
    # nothing was run
    assert not list(tmp_path.iterdir())
    # other folds, and models that do not read conditions as ours do, are not held up
    beside = ColumnTransformer([("route", OneHotEncoder(handle_unknown="ignore"), ["route"])])
    own = make_pipeline(beside, Ridge())
    assert len(evaluate({"dummy": "dummy", "own": own}, unknown).records) == 4
    assert len(evaluate("et-fractions", unknown, folds=[1 - number]).records) == 1
    last = task.folds[number][0][-1]
    heat = task.conditions["temperature"].copy()
    heat[last] = np.inf
    spoiled = replace(task, conditions=task.conditions.assign(temperature=heat))
    with pytest.raises(InputError, match=f"^row {last} of the condition 'temperature' holds inf"):
        evaluate(["dummy", "et-fractions"], spoiled)


def test_tables_of_measurements_are_tasks() -> None:
    task = measured()
    table = task.inputs(np.arange(16)).rename(columns={"formula": "sample"})
    made = table_task(table[["temperature", "sample", "route"]], task.y, kind="regression")
    assert list(made.inputs(np.arange(2))) == ["formula", "temperature", "route"]
    np.testing.assert_array_equal(made.formulas, task.formulas)
    model = make_model("imkt-fast", "regression", random_state=0, conditions=True)
    assert model.composition_column == "formula"
