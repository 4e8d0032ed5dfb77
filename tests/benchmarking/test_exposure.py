"""Predictions are compared on rows that a model could have seen and on the others."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from _benchmarks import small_matbench
from sklearn.model_selection import KFold

from sklearn_kt.benchmarking import audit_predictions, exposure, matbench_tasks
from sklearn_kt.benchmarking.exposure import compare_exposed, find_exposed
from sklearn_kt.exceptions import InputError


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return small_matbench(monkeypatch, tmp_path / "data")


def predictions(task: Any, values: np.ndarray, model: str = "a") -> pd.DataFrame:
    return pd.DataFrame({"model": model, "task": task.name, "id": task.ids, "prediction": values})


def test_rows_that_could_have_been_seen(small: Path) -> None:
    gap, metal = matbench_tasks(["matbench_expt_gap", "matbench_expt_is_metal"], small)
    seen = find_exposed(metal, small)
    assert set(find_exposed(gap, small)) == {"sibling"}
    plain = list(KFold(5, shuffle=True, random_state=18012019).split(metal.y))
    for fold, (_, test) in metal.folds.items():
        for row in test:
            # the tables have the same compositions in the same order
            assert seen["sibling"][row] == (row in gap.folds[fold][0])
            assert seen["plain folds"][row] == (row in plain[fold][0])


def test_a_model_that_has_seen_its_answers_is_found(small: Path) -> None:
    tasks = {task.name: task for task in matbench_tasks(None, small)}
    gap = tasks["matbench_expt_gap"]
    honest = gap.y + np.tile([0.5, 1.5], 20)
    seen = find_exposed(gap, small)["sibling"] == 1
    other = np.where(seen, gap.y, honest)
    frame = pd.concat([predictions(gap, honest), predictions(gap, other, "b")])
    found = audit_predictions(frame.sample(frac=1, random_state=0), data_dir=small)
    found = found.set_index("model")
    assert found.loc["a", "low"] < 0 < found.loc["a", "high"]
    assert found.loc["b", "low"] > 0
    assert found.loc["b", "exposed"] == 0
    assert found.loc["b", "other"] == pytest.approx(np.abs(honest - gap.y)[~seen].mean())
    assert found["exposed_rows"].tolist() == [seen.sum()] * 2


def test_scores_of_classes() -> None:
    y = np.array([True] * 4 + [False] * 8)
    exposed = np.tile([1.0, 0.0], 6)
    exposed[-1] = np.nan
    wrong = np.array([0, 1, 0, 1, 0, 0, 0, 0, 0, 1, 0, 1], bool)
    probabilities = np.where(y ^ wrong, 0.9, 0.1)
    found = compare_exposed("classification", y, probabilities, exposed)
    assert (found["exposed"], found["exposed_rows"]) == (1.0, 6)
    # both of the first class, and one of three of the second, are wrong
    assert (found["other"], found["other_rows"]) == (pytest.approx(1 / 3), 5)
    assert found["difference"] == pytest.approx(2 / 3)
    same = compare_exposed("classification", y, y ^ wrong, exposed)
    assert same == found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns="id"), "'id' is missing"),
        (lambda f: f.assign(task="matbench_mp_gap"), "row 0: 'matbench_mp_gap' is none of the"),
        (lambda f: f.assign(id="mb-1"), "row 0: a, matbench_expt_gap: 'mb-1' is no id"),
        (lambda f: pd.concat([f, f]), "row 40: .* is predicted twice"),
        (lambda f: f.assign(prediction=np.inf), "row 0: .* is inf; it must be a finite number"),
        (lambda f: f.assign(prediction="wide"), "row 0: .* is 'wide'; it must be a finite"),
        (lambda f: f.assign(prediction=True), "row 0: .* is True; it must be a finite number"),
        (lambda f: f.assign(prediction=f["prediction"].mask(f.index == 3)), "row 3: .* is nan"),
        (lambda f: f.assign(model=f["model"].mask(f.index == 2)), "row 2: the model is nan; fill"),
        (lambda f: f.assign(model=None), "row 0: the model is None; fill it in or leave"),
        (lambda f: f.assign(task=None), "row 0: the task is None"),
        (lambda f: f.assign(id=None), "row 0: the id is None"),
        (lambda f: f.iloc[:0], "predictions has no rows"),
        (lambda f: f.to_dict("list"), "must be a DataFrame of pandas or polars, got dict"),
        (lambda f: pl.from_pandas(f).lazy(), "pandas or polars, got LazyFrame"),
    ],
)
def test_predictions_that_cannot_be_compared(change: Any, message: str, small: Path) -> None:
    (gap,) = matbench_tasks("matbench_expt_gap", small)
    with pytest.raises(InputError, match=message):
        audit_predictions(change(predictions(gap, gap.y)), data_dir=small)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(2, "2"), (-1, "-1"), (1.5, "1.5"), (85.0, "85.0"), ("metal", "'metal'"), ("2", "'2'")],
)
def test_labels_and_probabilities_of_another_kind(value: Any, shown: str, small: Path) -> None:
    (metal,) = matbench_tasks("matbench_expt_is_metal", small)
    frame = predictions(metal, metal.y.astype(object))
    frame.loc[5, "prediction"] = value
    match = (
        f"row 5: a, matbench_expt_is_metal: the prediction of {metal.ids[5]} is "
        f"{shown}; it must be True, False, or the probability of True, from 0 to 1"
    )
    with pytest.raises(InputError, match=re.escape(match)):
        audit_predictions(frame, data_dir=small)


@pytest.mark.parametrize("level", [95, 1.5, 0, 1, -0.5, np.nan, "0.95", None])
def test_levels_that_are_none(level: Any, small: Path) -> None:
    (gap,) = matbench_tasks("matbench_expt_gap", small)
    with pytest.raises(InputError, match=r"level must lie between 0 and 1, such as 0\.95, got"):
        audit_predictions(predictions(gap, gap.y), data_dir=small, level=level)


def test_labels_of_every_kind_are_the_same(small: Path) -> None:
    gap, metal = matbench_tasks(["matbench_expt_gap", "matbench_expt_is_metal"], small)
    values = metal.y.copy()
    values[::3] = ~values[::3]
    spelled = [values, values.astype(int), values.astype(str), np.where(values, 0.9, 0.1)]
    frames = [predictions(metal, of, str(i)) for i, of in enumerate(spelled)]
    # beside numbers of another task, which makes the column one of objects
    frame = pd.concat([predictions(gap, gap.y), *frames])
    found = audit_predictions(frame, data_dir=small)
    assert set(found["model"]) == {"a", "0", "1", "2", "3"}
    rows = [part.drop(columns="model").reset_index(drop=True)
            for name, part in found.groupby("model") if name != "a"]  # fmt: skip
    for other in rows[1:]:
        pd.testing.assert_frame_equal(rows[0], other)
    polars = pl.from_pandas(predictions(metal, values))
    again = audit_predictions(polars, data_dir=small).drop(columns="model")
    pd.testing.assert_frame_equal(rows[0], again)


def test_tasks_to_which_no_way_applies(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (gap,) = matbench_tasks("matbench_expt_gap", small)
    monkeypatch.setattr(exposure, "find_exposed", lambda task, data_dir: {})
    with pytest.raises(InputError, match="no label of matbench_expt_gap could have been seen"):
        audit_predictions(predictions(gap, gap.y), data_dir=small)


def test_steels_have_no_row(data_dir: Path) -> None:
    steels, gap = matbench_tasks(["matbench_steels", "matbench_expt_gap"], data_dir / "matbench")
    frame = pd.concat([predictions(task, task.y) for task in (steels, gap)])
    assert audit_predictions(frame, data_dir=data_dir / "matbench")["task"].tolist() == [gap.name]
    with pytest.raises(InputError, match="no label of matbench_steels could have been seen"):
        audit_predictions(predictions(steels, steels.y), data_dir=data_dir / "matbench")
