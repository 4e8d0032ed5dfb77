"""Measured thermoelectrics as tasks."""

from __future__ import annotations

import numpy as np
import pytest

from sklearn_kt._files import DATA
from sklearn_kt.benchmarking import thermoelectric_tasks
from sklearn_kt.datasets import load_thermoelectrics
from sklearn_kt.evaluation import CompositionPool, audit_tasks
from sklearn_kt.exceptions import InputError


def test_tasks_are_the_recorded_folds() -> None:
    tasks = {task.target: task for task in thermoelectric_tasks()}
    assert list(tasks) == load_thermoelectrics(None).target_names
    table = load_thermoelectrics("zT", seed=1)
    for fold, (train, test) in enumerate(table.folds):
        np.testing.assert_array_equal(tasks["zT"].folds[fold][0], train)
        np.testing.assert_array_equal(tasks["zT"].folds[fold][1], test)
    for task in tasks.values():
        for train, test in task.folds.values():
            assert not set(task.formulas[train]) & set(task.formulas[test])
        assert task.inputs(np.arange(2)).columns.tolist() == ["formula", "temperature"]


def test_other_splits_and_targets() -> None:
    (task,) = thermoelectric_tasks("kl", seed=88)
    assert task.name == "thermoelectrics_kl"
    assert task.digest(0) != thermoelectric_tasks(["kl"])[0].digest(0)
    with pytest.raises(InputError, match="target must be one of"):
        thermoelectric_tasks("gap")


def test_what_the_pool_has_calculated_is_audited() -> None:
    pool = CompositionPool.load(DATA / "checkpoints" / "default" / "pool.npz")
    report, _ = audit_tasks(thermoelectric_tasks(), pool=pool)
    found = {name.partition("_")[2]: about for name, about in report["tasks"].items()}
    known = "test_rows_with_quantity_in_pool"
    assert (found["S"][known], found["S"]["test_rows"]) == (618, 7863)
    assert {name for name, about in found.items() if known in about} == {"S", "PF"}
