"""The scripts in benchmarks/: what they write can be computed again, and says what was audited."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import mean_absolute_error, roc_auc_score

from sklearn_kt import datasets
from sklearn_kt.benchmarking import (
    CompositionPool,
    FoldRecord,
    matbench,
    matbench_task,
    rescore_matbench,
)
from sklearn_kt.benchmarking.runner import build_model
from sklearn_kt.datasets import MatbenchTask
from sklearn_kt.pretraining import CorpusTable

ROOT = Path(__file__).parents[1]
METALS, OTHERS = ("Li", "Na", "K", "Mg", "Fe"), ("F", "O")
FORMULAS = [f"{a}{n}{b}" for a in METALS for b in OTHERS for n in range(1, 5)]
MODELS = ["dummy", "et-fractions"]


@pytest.fixture(scope="module")
def patch() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def bench_models(patch: pytest.MonkeyPatch) -> ModuleType:
    patch.syspath_prepend(str(ROOT / "benchmarks"))
    import bench_models

    return bench_models


@pytest.fixture(scope="module")
def run(
    bench_models: ModuleType,
    patch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Any]:
    """Two small tables under the names of official ones, run as ``make bench-matbench`` does."""
    folder = tmp_path_factory.mktemp("bench")
    gap = np.random.default_rng(0).normal(size=len(FORMULAS)) ** 2
    columns: dict[str, Any] = {"gap expt": gap, "is_metal": gap < 0.4}
    specs = {
        "matbench_expt_gap": ("regression", "gap expt"),
        "matbench_expt_is_metal": ("classification", "is_metal"),
    }
    declared = {}
    for name, (kind, target) in specs.items():
        y = columns[target].astype(float)
        weighted = np.average(y, weights=np.arange(1, len(y) + 1))
        declared[name] = MatbenchTask(
            len(y), target, "", kind, "Made for tests.", y.mean(), weighted, False
        )
        table = pd.DataFrame({"composition": FORMULAS, target: columns[target]})
        table.to_csv(folder / f"{name}.csv", index=False)
    for module in (datasets, matbench):
        patch.setattr(module, "MATBENCH_TASKS", declared)
    pool = CorpusTable(FORMULAS[:3], {"band_gap_mp": [1.0, 2.0, np.nan]})
    CompositionPool.from_tables([pool], name="three").save(folder / "pool.npz")
    results = folder / "results"
    patch.setattr(
        sys,
        "argv",
        [
            *("bench_models.py", "matbench", "--tasks", *specs, "--models", *MODELS),
            *("--data-dir", str(folder), "--results", str(results)),
            *("--pool", str(folder / "pool.npz")),
        ],
    )
    bench_models.main()
    return {
        "folder": results,
        "content": json.loads((results / "matbench.json").read_text(encoding="utf-8")),
        "page": (results / "matbench.md").read_text(encoding="utf-8"),
        "tasks": {name: matbench_task(name, folder) for name in specs},
        "tables": folder,
    }


def rows_of(page: str, heading: str) -> list[list[str]]:
    """Cells of the first table below a heading."""
    text = page.partition(f"## {heading}\n")[2]
    lines = re.search(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)
    assert lines, f"no table below {heading!r}"
    cells = [[c.strip() for c in line.strip("|\n").split("|")] for line in lines[0].splitlines()]
    return [cells[0], *cells[2:]]


def test_tables_are_scores_of_the_predictions(run: dict[str, Any]) -> None:
    """By scikit-learn's own functions, from the files of the folds."""
    summary = {(row["model"], row["task"]): row for row in run["content"]["summary"]}
    assert len(summary) == 4
    for (model, name), row in summary.items():
        task = run["tasks"][name]
        scores = []
        for fold, (_, test) in task.folds.items():
            path = run["folder"] / "matbench" / "folds" / model / f"{name}-{fold}.json.gz"
            record = FoldRecord.read(path)
            if task.kind == "regression":
                scores.append(mean_absolute_error(task.y[test], record.predictions))
            else:
                scores.append(roc_auc_score(task.y[test], record.probabilities))
        score = "mae" if task.kind == "regression" else "roc_auc"
        assert row[score] == pytest.approx(np.mean(scores), abs=1e-9)
        assert row[f"{score}_std"] == pytest.approx(np.std(scores), abs=1e-9)
    header, *rows = rows_of(run["page"], "Scores, time and memory")
    assert len(rows) == 4
    for cells in rows:
        shown = dict(zip(header, cells, strict=True))
        row = summary[shown["model"], shown["task"]]
        label, score = ("ROC AUC", "roc_auc") if row["mae"] is None else ("MAE", "mae")
        assert shown[label] == f"{row[score]:.4f} ± {row[f'{score}_std']:.4f}"


def test_official_files_give_the_same_scores(run: dict[str, Any]) -> None:
    for model in MODELS:
        path = run["folder"] / "matbench" / model / "results.json.gz"
        again = rescore_matbench(path, run["tables"]).groupby("task")
        for row in run["content"]["summary"]:
            if row["model"] == model:
                for score in ("mae", "rmse", "roc_auc", "roc_auc_of_labels", "f1"):
                    value = again[score].mean()[row["task"]]
                    expected = np.nan if row[score] is None else row[score]
                    assert value == pytest.approx(expected, abs=1e-9, nan_ok=True)


def test_audit_is_in_file_and_page(run: dict[str, Any]) -> None:
    found = run["content"]["audit"]
    assert found["pool"]["name"] == "three"
    gap = found["tasks"]["matbench_expt_gap"]
    assert gap["test_ids_in_train"] == 0
    assert gap["test_rows_in_pool"] == 3
    assert gap["test_rows_with_quantity_in_pool"] == 2
    # the labels of one table are those of the other
    assert gap["siblings"]["matbench_expt_is_metal"]["test_rows_there"] == len(FORMULAS)
    assert f"in matbench_expt_is_metal {len(FORMULAS)}" in run["page"]
    unseen = {(r["model"], r["task"]): r for r in run["content"]["summary_unseen"]}
    assert {row["n_test"] for row in unseen.values()} == {len(FORMULAS) - 3}
    assert "Test rows that pretraining has not seen" in run["page"]


def test_nothing_is_run_twice(
    run: dict[str, Any], bench_models: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("rendering runs nothing")

    monkeypatch.setattr(bench_models, "run_matbench", refuse)
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--render-only"])
    bench_models.main()
    again = json.loads((run["folder"] / "matbench.json").read_text(encoding="utf-8"))
    for key in ("summary", "folds", "audit", "statistics"):
        assert again[key] == run["content"][key]


def test_what_is_not_complete_is_left_out(
    run: dict[str, Any],
    bench_models: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Of a model with all folds of one task and one fold of another, the first is compared."""
    shutil.copytree(run["folder"] / "matbench" / "folds", tmp_path / "matbench" / "folds")
    gap, metal = run["tasks"]
    for name, fold in [*((gap, fold) for fold in run["tasks"][gap].folds), (metal, 0)]:
        file = f"{name}-{fold}.json.gz"
        record = FoldRecord.read(run["folder"] / "matbench" / "folds" / "dummy" / file)
        record = replace(record, model="imkt-fast")
        (tmp_path / "matbench" / "folds" / "imkt-fast").mkdir(exist_ok=True)
        record.write(tmp_path / "matbench" / "folds" / "imkt-fast" / file)
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--results", str(tmp_path), "--render-only"])
    bench_models.main()
    content = json.loads((tmp_path / "matbench.json").read_text(encoding="utf-8"))
    shown = {(row["model"], row["task"]) for row in content["summary"]}
    assert shown == {("imkt-fast", gap), *((m, t) for m in MODELS for t in (gap, metal))}
    statistics = content["statistics"]
    assert {row["model"] for row in statistics["ranking"]} == set(MODELS)
    rows = [row for row in statistics["differences"] if row["baseline"] == "imkt-fast"]
    found = {(row["task"], row["model"]): row for row in rows}
    assert set(found) == {(gap, model) for model in MODELS}
    assert found[gap, "dummy"]["difference"] == 0
    page = (tmp_path / "matbench.md").read_text(encoding="utf-8")
    assert re.search(r"one fold after the other: .*imkt-fast \S+ \(1 of 2 tasks\)", page)


@pytest.mark.parametrize("kind", ["regression", "classification"])
def test_ablations_differ_from_our_models_in_the_weights_alone(
    bench_models: ModuleType, kind: str
) -> None:
    for name, scratch in bench_models.SCRATCH.items():
        ours, without = (
            build_model(bench_models.model(model), kind, name=model, random_state=0).get_params()
            for model in (name, scratch)
        )
        assert {key for key in ours if ours[key] != without[key]} == {"checkpoint"}
        assert without["checkpoint"] is None


def test_speed_is_measured_once_and_within_the_limit(
    patch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    patch.syspath_prepend(str(ROOT / "benchmarks"))
    import bench_speed

    arguments = ["--parts", "tokenise", "--sizes", "10", "20", "--results", str(tmp_path)]

    def run(*more: str) -> tuple[dict[str, Any], str]:
        patch.setattr(sys, "argv", ["bench_speed.py", *arguments, *more])
        bench_speed.main()
        found = json.loads((tmp_path / "speed.json").read_text(encoding="utf-8"))
        return found["parts"]["tokenise"], capsys.readouterr().err

    parts, err = run("--limit", "0")
    assert parts["10"]["wall_s"] > 0
    assert parts["20"] == {"left_out": "> 0 s"}
    assert err.count("tokenise") == 2
    assert run("--limit", "0") == (parts, "")
    # a longer limit is a reason to measure again
    parts, _ = run("--limit", "60")
    assert parts["20"]["peak_mb"] > 0
    page = (tmp_path / "speed.md").read_text(encoding="utf-8")
    assert "| part | 10 | 20 |" in page
    assert f"| tokenise | {parts['10']['wall_s']:.3g} (" in page
