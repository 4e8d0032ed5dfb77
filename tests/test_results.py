"""The recorded results in benchmarks/results/: audited, and scores of kept predictions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sklearn.metrics import mean_absolute_error, roc_auc_score

from sklearn_kt.benchmarking import jarvis_task, matbench_task, read_records

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"


@pytest.fixture(params=["matbench", "jarvis"])
def committed(request: pytest.FixtureRequest) -> dict[str, Any]:
    path = RESULTS / f"{request.param}.json"
    if not path.exists():
        pytest.skip(f"{path.name} is not there: `make bench-{request.param}` has not been run")
    return json.loads(path.read_text(encoding="utf-8"))


def test_committed_means_are_those_of_the_folds(committed: dict[str, Any]) -> None:
    for summary, folds in (("summary", "folds"), ("summary_unseen", "folds_unseen")):
        frame = pd.DataFrame(committed[folds])
        means = frame.groupby(["model", "task"]).mean(numeric_only=True)
        for row in committed[summary]:
            for score in ("mae", "roc_auc", "fit_seconds", "predict_seconds"):
                if row.get(score) is not None:
                    expected = means.loc[(row["model"], row["task"]), score]
                    assert row[score] == pytest.approx(expected, abs=1e-9)


def test_committed_scores_are_those_of_the_predictions(
    committed: dict[str, Any], data_dir: Path
) -> None:
    name = committed["benchmark"]
    load = matbench_task if name == "matbench" else jarvis_task
    tasks = {task: load(task) for task in committed["tasks"]}
    runs = {(r["model"], r["task"], r["fold"]): r for r in committed["folds"]}
    records = read_records(RESULTS / name, list(tasks.values()))
    # a task is shown when all its folds are done
    kept = {(record.model, record.task, record.fold): record for record in records}
    assert set(runs) <= set(kept)
    for key, run in runs.items():
        record = kept[key]
        task = tasks[record.task]
        y = task.y[task.folds[record.fold][1]]
        if task.kind == "regression":
            again = mean_absolute_error(y, record.predictions)
            assert run["mae"] == pytest.approx(again, rel=1e-9)
        else:
            again = roc_auc_score(y, record.predictions)
            assert run["roc_auc_of_labels"] == pytest.approx(again, abs=1e-9)
            if record.probabilities is not None:
                again = roc_auc_score(y, record.probabilities)
                assert run["roc_auc"] == pytest.approx(again, abs=1e-9)


def test_committed_results_were_audited(committed: dict[str, Any]) -> None:
    audit = committed["audit"]
    assert audit["pool"]["compositions"] > 400_000
    assert set(audit["tasks"]) == set(committed["tasks"])
    for name, found in audit["tasks"].items():
        assert found["test_ids_in_train"] == 0, name
        assert 0 <= found["test_rows_in_pool"] <= found["test_rows"]
    if committed["benchmark"] == "matbench":
        gap = audit["tasks"]["matbench_expt_gap"]
        assert gap["siblings"]["matbench_expt_is_metal"]["test_rows_there"] == gap["test_rows"]
    assert committed["command"].startswith("python benchmarks/bench_models.py")
