"""Predictions are compared on rows that a model could have seen and on the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from _benchmarks import small_matbench
from sklearn.model_selection import KFold

from sklearn_kt.benchmarking import audit_predictions, matbench_tasks
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


def test_predictions_that_cannot_be_compared(small: Path) -> None:
    (gap,) = matbench_tasks("matbench_expt_gap", small)
    frame = predictions(gap, gap.y)
    for bad, message in [
        (frame.drop(columns="id"), "'id' is missing"),
        (frame.assign(task="matbench_mp_gap"), "'matbench_mp_gap' is none of the composition"),
        (frame.assign(id="mb-1"), "a, matbench_expt_gap: 'mb-1' is no id of the task"),
        (pd.concat([frame, frame]), "is predicted twice"),
        (frame.assign(prediction=np.inf), "the prediction of .* is inf"),
    ]:
        with pytest.raises(InputError, match=message):
            audit_predictions(bad, data_dir=small)
