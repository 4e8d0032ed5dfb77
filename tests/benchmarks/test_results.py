"""The recorded results: audited, and scores can be computed again from kept predictions."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from benchmarks.accuracy.compare import LOADERS
from benchmarks.accuracy.intervals import BOUNDS, GROUP_LEVELS, TASKS, bound_columns
from benchmarks.accuracy.transfer import MODELS as TRANSFER_MODELS
from benchmarks.common import RESULTS, Kept, read_json
from benchmarks.models import MODELS
from sklearn_kt.benchmarking import jarvis_tasks, matbench_tasks
from sklearn_kt.compositions import read_compositions
from sklearn_kt.evaluation import score_predictions
from sklearn_kt.traces import TRACE

BENCHMARKS = ["matbench", "calculated", "jarvis", "thermoelectrics", "explicit"]


@pytest.fixture(params=BENCHMARKS)
def kept(request: pytest.FixtureRequest) -> Kept:
    found = Kept.read(RESULTS / request.param)
    if found is None:
        pytest.skip(f"{request.param} is not there: its benchmark has not been run")
    return found


def test_scores_are_those_of_the_predictions(kept: Kept) -> None:
    scores = kept.scores.set_index(["rows", "model", "task", "fold"])
    seen = 0
    for model in kept.models:
        for task, about in kept.tasks.items():
            for record in kept.records(task, model):
                part = kept.parts[task, record.fold]
                for rows, chosen in (("all", slice(None)), ("unseen", part.unseen)):
                    if rows == "unseen" and rows not in scores.index.get_level_values("rows"):
                        continue
                    again = score_predictions(
                        about.kind,
                        part.y[chosen],
                        record.predictions[chosen],
                        None if record.probabilities is None else record.probabilities[chosen],
                        None if about.kind == "regression" else np.array([0.0, 1.0]),
                    )
                    row = scores.loc[rows, model, task, record.fold]
                    for name, value in again.items():
                        assert row[name] == pytest.approx(value, rel=1e-9, abs=1e-9, nan_ok=True)
                    assert row["fit_seconds"] == pytest.approx(record.fit_seconds, nan_ok=True)
                    seen += 1
    assert seen == len(kept.scores)


def test_results_were_audited(kept: Kept) -> None:
    audit = kept.about["audit"]
    assert set(audit["tasks"]) == set(kept.tasks)
    for name, found in audit["tasks"].items():
        assert found["test_ids_in_train"] == 0, name
    assert kept.about["command"].startswith("python -m benchmarks.accuracy.")
    if kept.folder.name == "explicit":
        return
    assert audit["pool"]["compositions"] > 400_000
    for name, found in audit["tasks"].items():
        unseen = sum(part.unseen.sum() for part in kept.parts.values() if part.task == name)
        assert found["test_rows"] - found["test_rows_in_pool"] == unseen
    if kept.folder.name == "matbench":
        gap = audit["tasks"]["matbench_expt_gap"]
        assert gap["siblings"]["matbench_expt_is_metal"]["test_rows_there"] == gap["test_rows"]


@pytest.mark.parametrize("name", LOADERS)
def test_test_parts_are_those_of_the_tables(name: str, data_dir: Path) -> None:
    kept = Kept.read(RESULTS / name)
    if kept is None:
        pytest.skip(f"{name} is not there: its benchmark has not been run")
    tasks = {task.name: task for task in LOADERS[name](None)}
    for (task, fold), part in kept.parts.items():
        assert part.digest == tasks[task].digest(fold)


@pytest.mark.parametrize("path", sorted(RESULTS.rglob("*.parquet")), ids=lambda path: path.name)
def test_results_name_no_folders_of_the_machine(path: Path) -> None:
    table = pq.read_table(path)
    said = [value.decode(errors="ignore") for value in (table.schema.metadata or {}).values()]
    if "estimator" in table.column_names:
        said += table["estimator"].to_pylist()
    assert not [
        text for text in said if re.search(r"(?<![\w.<])/(root|home|tmp|work|Users)/", text)
    ]


def test_results_are_few_files() -> None:
    # one for each benchmark and model, and few beside
    assert sum(path.is_file() for path in RESULTS.rglob("*") if path.parent.name != "folds") < 40
    models = {path.stem for path in RESULTS.glob("*/folds/*.parquet")}
    assert models <= {*MODELS, *TRANSFER_MODELS}


def test_coverage_is_that_of_the_bounds_that_are_kept() -> None:
    """Again, and otherwise: by counting rows."""
    content = read_json("intervals")
    assert content is not None
    kept = pq.read_table(RESULTS / BOUNDS).to_pylist()
    assert len(content["weights"]) == 1
    for row in content["rows"]:
        low, high = bound_columns(row["nominal"])
        ours = [one for one in kept if one["task"] == row["task"]]
        inside = [one[low] <= one["y"] <= one[high] for one in ours]
        assert row["n_test"] == len(ours)
        assert row["covered"] == pytest.approx(np.mean(inside), abs=1e-12)
        assert row["mean_width"] == pytest.approx(
            np.mean([one[high] - one[low] for one in ours]), rel=1e-5
        )
        folds = {one["fold"] for one in ours}
        assert row["worst_fold"] == min(
            np.mean([i for i, one in zip(inside, ours, strict=True) if one["fold"] == fold])
            for fold in folds
        )
        groups = {group for one in ours for group in one["groups"]}
        assert row["groups"].keys() == (groups if row["nominal"] in GROUP_LEVELS else set())
        for group, found in row["groups"].items():
            chosen = [i for i, one in zip(inside, ours, strict=True) if group in one["groups"]]
            assert (found["n_test"], found["covered"]) == (len(chosen), np.mean(chosen))
    assert {row["task"] for row in content["rows"]} == set(TASKS)


def test_targets_of_the_intervals_are_those_of_the_tables(data_dir: Path) -> None:
    kept = pd.read_parquet(RESULTS / BOUNDS)
    for name in TASKS:
        load = matbench_tasks if name.startswith("matbench") else jarvis_tasks
        [task] = load(name, data_dir / "matbench" if name.startswith("matbench") else data_dir)
        rows = np.concatenate([test for _, test in task.folds.values()])
        found = kept[kept["task"] == name]
        assert found["id"].tolist() == task.ids[rows].tolist()
        np.testing.assert_array_equal(found["y"], task.y[rows].astype(np.float32))


def test_shares_of_found_structures_are_those_of_the_crystals() -> None:
    content = read_json("structures")
    assert content is not None
    frame = pd.read_parquet(RESULTS / "structures.parquet")
    seen = 0
    for (name, setting), rows in frame.groupby(["set", "setting"]):
        found = content["results"][name][setting]
        # of the first right candidate, 0 where none is
        place = rows["right"]
        known = rows["known"].astype(bool)
        assert found["n"] == len(rows)
        assert found["known_compositions"] == known.sum()
        for key, value in {
            "coverage": (rows["candidates"] > 0).mean(),
            "top1": (place == 1).mean(),
            "top20": place.between(1, 20).mean(),
            "top1_of_known": (place[known] == 1).mean(),
            "top1_of_others": (place[~known] == 1).mean(),
        }.items():
            # both are rounded
            assert found[key] == pytest.approx(value, abs=1e-4), (name, setting, key)
        seen += len(rows)
    assert seen == len(frame) > 50_000


@pytest.mark.usefixtures("data_dir")
@pytest.mark.parametrize("name", ["calculated", "jarvis"])
def test_tables_that_were_not_run_again_have_no_traces(name: str) -> None:
    """What CHANGED in benchmarks/models.py leaves out."""
    formulas = np.concatenate([task.formulas for task in LOADERS[name](None)])
    fractions = read_compositions(np.unique(formulas.astype(str))).fractions()
    assert fractions[fractions > 0].min() > TRACE
    # nor are two of the most abundant elements nearly alike, without being so
    first, second = np.sort(fractions, axis=1)[:, :-3:-1].T
    apart = first - second
    assert apart[apart > 1e-12].min() > TRACE


TRACES_SINCE = "2026-11-27 20:22"
"""When traces began to count in proportion, in UTC."""


@pytest.mark.parametrize("name", ["matbench", "thermoelectrics", "explicit"])
def test_tables_with_traces_were_run_since(name: str) -> None:
    kept = Kept.read(RESULTS / name)
    assert kept is not None
    # peers, and tables of ordered crystals, know nothing of traces
    models = [m for m in kept.models if m not in MODELS or not MODELS[m].peer]
    tasks = [task for task in kept.tasks if task.startswith(("matbench", "thermoelectrics"))]
    for task in tasks:
        for model in models:
            for record in kept.records(task, model):
                # explicit transfer keeps the day alone
                since = TRACES_SINCE[: len(record.date.removesuffix(" UTC"))]
                assert record.date >= since, (model, task, record.fold)
