"""Measured thermoelectrics as tasks."""

from __future__ import annotations

import numpy as np
import pytest

from sklearn_kt.benchmarking import thermoelectric_tasks
from sklearn_kt.datasets import load_thermoelectrics
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
