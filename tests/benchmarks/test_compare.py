"""The benchmarks: what they write can be computed again, and says what was audited."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from _benchmarks import formulas, small_matbench
from sklearn.metrics import mean_absolute_error, roc_auc_score

from benchmarks.accuracy import compare
from benchmarks.common import Kept
from benchmarks.models import MODELS
from benchmarks.site.contents import read, read_kept
from benchmarks.site.details import benchmark_text
from benchmarks.site.pages import write_pages
from benchmarks.site.tables import speed_text
from benchmarks.speed import sizes
from sklearn_kt.benchmarking import matbench_tasks, rescore_official
from sklearn_kt.benchmarking.matbench import QUANTITY_OF
from sklearn_kt.evaluation import CompositionPool, read_records
from sklearn_kt.evaluation.records import add_record
from sklearn_kt.evaluation.runner import build_model
from sklearn_kt.pretraining import CorpusTable

GAP, METAL = "matbench_expt_gap", "matbench_expt_is_metal"
RAN = ["dummy", "gb-fractions"]


@pytest.fixture(scope="module")
def patch() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def run(patch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Two small tables under the names of official ones, run as ``make bench-matbench`` does."""
    folder = tmp_path_factory.mktemp("bench")
    tables = small_matbench(patch, folder / "tables")
    pool = CorpusTable(formulas(3), {"band_gap_mp": [1.0, 2.0, np.nan]})
    CompositionPool.from_tables([pool], name="three").save(folder / "pool.npz")
    results = folder / "results"
    patch.setattr(
        sys,
        "argv",
        [
            *("compare", "matbench", "--models", *RAN),
            *("--data-dir", str(tables), "--results", str(results)),
            *("--pool", str(folder / "pool.npz")),
        ],
    )
    compare.main()
    kept = Kept.read(results / "matbench")
    assert kept is not None
    tasks = {task.name: task for task in matbench_tasks(None, tables)}
    return {"results": results, "kept": kept, "tasks": tasks, "tables": tables}


def rows_of(page: str, heading: str) -> list[list[str]]:
    """Cells of the first table of what is folded away under a heading."""
    text = page.partition(f":::::{{dropdown}} {heading}\n")[2]
    lines = re.search(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)
    assert lines, f"no table below {heading!r}"
    cells = [[c.strip() for c in line.strip("|\n").split("|")] for line in lines[0].splitlines()]
    return [cells[0], *cells[2:]]


def test_tables_are_scores_of_the_predictions(run: dict[str, Any]) -> None:
    """By scikit-learn's own functions, from the files of the folds."""
    summary = run["kept"].summary().set_index(["model", "task"])
    assert len(summary) == 4
    for (model, name), row in summary.iterrows():
        task = run["tasks"][name]
        scores = []
        for record in read_records(run["results"] / "matbench", [task], [model]):
            y = task.y[task.folds[record.fold][1]]
            if task.kind == "regression":
                scores.append(mean_absolute_error(y, record.predictions))
            else:
                scores.append(roc_auc_score(y, record.probabilities[:, 1]))
        score = "mae" if task.kind == "regression" else "roc_auc"
        assert row[score] == pytest.approx(np.mean(scores), abs=1e-9)
        assert row[f"{score}_std"] == pytest.approx(np.std(scores), abs=1e-9)
    header, *rows = rows_of(benchmark_text(run["kept"]), "Scores, time and memory")
    assert len(rows) == 4
    for cells in rows:
        shown = dict(zip(header, cells, strict=True))
        row = summary.loc[shown["model"], shown["task"]]
        label, score = ("ROC AUC", "roc_auc") if np.isnan(row["mae"]) else ("MAE", "mae")
        assert shown[label] == f"{row[score]:.4f} ± {row[f'{score}_std']:.4f}"


def test_official_files_give_the_same_scores(run: dict[str, Any]) -> None:
    summary = run["kept"].summary().set_index("model")
    for model in RAN:
        path = run["results"] / "matbench" / model / "results.json.gz"
        again = rescore_official(path, run["tables"]).groupby("task")
        for _, row in summary.loc[[model]].iterrows():
            for score in ("mae", "rmse", "roc_auc", "roc_auc_of_labels", "f1"):
                value = again[score].mean()[row["task"]]
                assert value == pytest.approx(row[score], abs=1e-9, nan_ok=True)


def test_audit_is_kept_and_shown(run: dict[str, Any]) -> None:
    found = run["kept"].about["audit"]
    assert found["pool"]["name"] == "three"
    gap = found["tasks"][GAP]
    assert gap["test_ids_in_train"] == 0
    assert gap["test_rows_in_pool"] == 3
    assert gap["test_rows_with_quantity_in_pool"] == 2
    # the labels of one table are those of the other
    assert gap["siblings"][METAL]["test_rows_there"] == 40
    page = benchmark_text(run["kept"])
    assert f"in {METAL} 40" in page
    assert set(run["kept"].summary("unseen")["n_test"]) == {37}
    assert "Test rows that pretraining has not seen" in page


def test_nothing_is_run_twice(run: dict[str, Any], capsys: pytest.CaptureFixture) -> None:
    before = (run["results"] / "matbench" / "scores.csv").read_text()
    compare.main()
    assert capsys.readouterr().err.count("found, not run again") == 2 * 2 * 5
    assert (run["results"] / "matbench" / "scores.csv").read_text() == before


def test_what_is_not_complete_is_left_out(run: dict[str, Any], tmp_path: Path) -> None:
    """Of a model with all folds of one task and one fold of another, the first is compared."""
    folder = tmp_path / "matbench"
    shutil.copytree(run["results"] / "matbench", folder)
    tasks = list(run["tasks"].values())
    gap, metal = (read_records(folder, [task], ["dummy"]) for task in tasks)
    for record, task in [*((record, tasks[0]) for record in gap), (metal[0], tasks[1])]:
        add_record(folder, replace(record, model="imkt-fast"), task)
    compare.keep_all(folder, "matbench", tasks, CompositionPool.load(
        run["tables"].parent / "pool.npz"
    ), run["tables"])  # fmt: skip
    content = read("matbench", tmp_path)
    assert content is not None
    shown = {(row["model"], row["task"]) for row in content["summary"]}
    assert shown == {("imkt-fast", GAP), *((m, t) for m in RAN for t in (GAP, METAL))}
    rows = content["statistics"]["differences"]
    assert {row["baseline"] for row in rows} == {"imkt-fast"}
    found = {(row["task"], row["model"]): row for row in rows}
    assert set(found) == {(GAP, model) for model in RAN}
    assert found[GAP, "dummy"]["difference"] == 0
    kept = read_kept("matbench", tmp_path)
    assert kept is not None
    page = benchmark_text(kept)
    assert {row[0] for row in rows_of(page, "Ranks")[1:]} == set(RAN)
    assert re.search(r"one fold after the other: .*imkt-fast \S+ \(1 of 2 tasks\)", page)
    assert re.search(r"Of 2 tasks, run on some: .*imkt-fast \(1\).* Not run: .*crabnet", page)
    pages = tmp_path / "generated"
    write_pages(pages, tmp_path)
    # the page that includes it has a title of its own
    assert (pages / "matbench.inc").read_text() == page
    # nothing stands for us on both tasks
    assert "ratios.svg" not in (pages / "overview.inc").read_text()


def test_what_starts_from_labels_of_a_task_does_not_run_on_it() -> None:
    for model, about in MODELS.items():
        allowed = {t for t in compare.CALCULATED if compare.may_run(model, "calculated", t)}
        expected = set(compare.CALCULATED)
        if not about.peer and "scratch" not in model:
            # of all but this the quantity is one that pretraining knows
            expected -= set(QUANTITY_OF)
            assert expected == {"matbench_jdft2d"}
        assert allowed == expected
        assert compare.may_run(model, "matbench", GAP)
    assert not compare.may_run("imkt", "calculated", "matbench_phonons")
    assert compare.may_run("imkt", "calculated", "matbench_jdft2d")


@pytest.mark.parametrize("kind", ["regression", "classification"])
def test_ablations_differ_from_our_models_in_the_weights_alone(
    kind: Any,
) -> None:
    for name, about in MODELS.items():
        if about.scratch is None:
            continue
        ours, without = (
            build_model(MODELS[model].model, kind, name=model, random_state=0).get_params()
            for model in (name, about.scratch)
        )
        assert {key for key in ours if ours[key] != without[key]} == {"checkpoint"}
        assert without["checkpoint"] is None


def test_speed_is_measured_once_and_within_the_limit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    arguments = ["--parts", "tokenise", "--sizes", "10", "20", "--results", str(tmp_path)]

    def run(*more: str) -> tuple[dict[str, Any], str]:
        monkeypatch.setattr(sys, "argv", ["sizes", *arguments, *more])
        sizes.main()
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
    page = speed_text(json.loads((tmp_path / "speed.json").read_text(encoding="utf-8")))
    assert "| part | 10 | 20 |" in page
    assert f"| tokenise | {parts['10']['wall_s']:.3g} (" in page
