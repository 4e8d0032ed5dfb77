"""README's table and the pages about results say what the result files say."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"


@pytest.fixture(scope="module")
def summary() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        import summary

        yield summary


def result(scores: dict[str, dict[str, float | None]], **about: Any) -> dict[str, Any]:
    """Make the content of a result file, of one fold, from a score of each task and model."""
    tasks, runs = {}, []
    for task, of_models in scores.items():
        kind = "classification" if task.startswith("is_") else "regression"
        score = "roc_auc" if kind == "classification" else "mae"
        tasks[task] = {"kind": kind, "unit": "" if kind == "classification" else "eV"}
        for seconds, (model, value) in enumerate(of_models.items(), start=1):
            run = {"model": model, "task": task, "n_folds": 1, score: value}
            runs.append(run | {"fit_seconds": seconds - 0.5, "predict_seconds": 0.5})
    return {
        "benchmark": "jarvis",
        "command": "python x",
        "date": "2026-01-02 03:04 UTC",
        "tasks": tasks,
        "summary": runs,
        "summary_unseen": runs,
        "statistics": {"differences": []},
        "audit": {"tasks": {t: {"test_rows": 9, "test_rows_in_pool": 2} for t in tasks}},
    } | about


MADE = {
    "gap": {"imkt": 0.5, "imkt-fast": 0.6, "rf-magpie": 1.0, "et": 2.0, "dummy": 0.1, "exkt": 0.4},
    "is_metal": {"imkt": 0.9, "imkt-fast": 0.8, "rf-magpie": 0.92, "et": 0.6, "dummy": 0.5},
}


def difference(task: str, peer: str, low: float, high: float, verdict: str) -> dict[str, Any]:
    """Make a difference, peer minus ours, with the verdict on the peer."""
    return {"task": task, "model": peer, "baseline": "imkt", "low": low, "high": high,
            "verdict": verdict}  # fmt: skip


def test_best_peer_and_ratio(summary: ModuleType) -> None:
    found = [
        difference("gap", "rf-magpie", 0.4, 0.6, "loss"),
        difference("is_metal", "rf-magpie", -0.01, 0.05, "tie"),
    ]
    gap, metal = summary.compare(result(MADE, statistics={"differences": found}))
    # neither a guess of the mean nor a model of ours is a peer
    assert (gap.peer, gap.ratio, gap.verdict, gap.holds) == ("rf-magpie", 0.5, "win", True)
    # ours is between 1.0 - 0.6 and 1.0 - 0.4
    assert (gap.low, gap.high) == pytest.approx((0.4, 0.6))
    # errors of classes are what is missing to 1
    assert metal.ratio == pytest.approx(0.1 / 0.08)
    assert (metal.verdict, metal.holds) == ("tie", True)
    # the peer's AUC is larger by -0.01 to 0.05: our error is 0.07 to 0.13
    assert (metal.low, metal.high) == pytest.approx((0.07 / 0.08, 0.13 / 0.08))
    assert summary.mean_reduction([gap, metal]) == pytest.approx(0.5)
    fast = summary.compare(result(MADE), main="imkt-fast")
    assert summary.mean_reduction(fast) == pytest.approx(0.4)
    assert math.isnan(summary.mean_reduction([gap, metal], reference="imkt-scratch"))


def test_a_better_peer_is_named(summary: ModuleType) -> None:
    lost = difference("is_metal", "rf-magpie", 0.01, 0.03, "win")
    content = result(MADE, statistics={"differences": [lost]})
    assert [row.holds for row in summary.compare(content)] == [True, False]
    text = "\n".join(summary.losses({"jarvis": content}))
    assert "is_metal: rf-magpie 0.0800, `imkt` 0.100 (1 - ROC AUC); the difference is" in text
    assert "gap" not in text
    won = result({"gap": MADE["gap"]})
    assert "On no task" in "\n".join(summary.losses({"jarvis": won}))
    board = [{"model": m, "ours": m != "CrabNet"} for m in ("et", "CrabNet", "imkt", "roost")]
    won["published"] = {"matbench_gap": board}
    text = "\n".join(summary.losses({"matbench": won | {"benchmark": "matbench"}}))
    assert "submissions above `imkt` are CrabNet (" in text


def test_the_fast_setting_stands_in_where_the_default_has_not_run(summary: ModuleType) -> None:
    scores = {name: dict(found) for name, found in MADE.items()}
    del scores["is_metal"]["imkt"]
    scores["gap"]["crabnet"] = 1.5
    content = result(scores)
    gap, metal = summary.compare(content)
    assert (gap.main, metal.main) == ("imkt-fast", "imkt-fast")
    assert gap.ratio == pytest.approx(0.6)
    contents = {"jarvis": content, "matbench": result(MADE)}
    assert summary.spoken(contents) == "`imkt-fast` (JARVIS-DFT) and `imkt` (MatBench)"
    text = "\n".join(summary.overview(contents))
    assert "| [JARVIS-DFT](jarvis.md) | `imkt` |" not in text
    assert (
        "| [JARVIS-DFT](jarvis.md) | `imkt-fast` | 1 of 2 | 40 % | - | crabnet (1), et, rf-magpie |"
        in text
    )
    assert "| [MatBench](matbench.md) | `imkt` | 1 of 2 | 50 % |" in text
    # the explicit model has not run on both
    assert "| `exkt` |" not in text
    scores["is_metal"]["exkt"] = 0.95
    content = result(scores)
    text = "\n".join(summary.overview({"jarvis": content}))
    assert "| [JARVIS-DFT](jarvis.md) | `exkt` | 2 of 2 | 60 % |" in text
    # and stands beside the implicit ones, not for them
    assert summary.leading(content) == "imkt-fast"


def test_models_without_all_folds_are_left_out(summary: ModuleType) -> None:
    content = result({"gap": MADE["gap"] | {"late": 0.01}})
    for run in content["summary"]:
        run["n_folds"] = 1 if run["model"] == "late" else 5
    [row] = summary.compare(content)
    assert row.peer == "rf-magpie"
    assert "late" not in summary.costs(content)


def test_accuracy_where_one_class_is_all_there_is(summary: ModuleType) -> None:
    content = result({"is_metal": {"imkt": None, "et": None}})
    for run, accuracy in zip(content["summary"], (0.9, 0.8), strict=True):
        run["accuracy"] = accuracy
    [row] = summary.compare(content)
    assert (row.score, row.ratio) == ("accuracy", pytest.approx(0.5))


def test_costs_and_front(summary: ModuleType) -> None:
    points = summary.costs(result(MADE))
    assert points["imkt"] == pytest.approx((1.0, math.sqrt(0.5 * 0.1 / 0.08)))
    assert points["rf-magpie"] == pytest.approx((3.0, 1.0))
    assert "dummy" not in points
    assert summary.front({"a": (1, 5), "b": (2, 6), "c": (3, 4), "d": (3, 4.5)}) == ["a", "c"]


@pytest.mark.parametrize(
    ("number", "text"),
    [(0.24551, "0.246"), (79.99, "80.0"), (1234.5, "1234"), (0.0433, "0.0433"), (0, "0.00")],
)
def test_three_figures(summary: ModuleType, number: float, text: str) -> None:
    assert summary.figure(number) == text
    assert summary.figure(math.nan) == "-"


def test_pages_of_what_there_is(summary: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "jarvis.json").write_text(json.dumps(result(MADE)))
    (tmp_path / "jarvis.md").write_text("# jarvis\n\nTables.\n")
    (tmp_path / "speed.md").write_text("# Speed\n\nSeconds.\n")
    (tmp_path / "speed.png").write_bytes(b"a picture")
    pages = tmp_path / "generated"
    summary.write_pages(pages, tmp_path)
    overview = (pages / "overview.inc").read_text()
    assert "[JARVIS-DFT](jarvis.md)" in overview
    line = "| JARVIS-DFT gap | 7 of 9 | MAE, eV | 0.500 | 0.600 | 0.400 | 1.00 (rf-magpie) | 0.50 |"
    assert line in overview
    for picture in re.findall(r"generated/(\w+\.svg)", overview):
        assert (pages / picture).read_text().startswith("<?xml")
    assert (pages / "jarvis.inc").read_text() == "Tables.\n"
    assert (pages / "speed.inc").read_text() == (
        "Seconds.\n\n![The same as a picture.](generated/speed.png)\n"
    )
    assert (pages / "speed.png").read_bytes() == b"a picture"
    # as before after a second build
    summary.write_pages(pages, tmp_path)
    assert (pages / "overview.inc").read_text() == overview


def test_pages_of_nothing(summary: ModuleType, tmp_path: Path) -> None:
    pages = tmp_path / "generated"
    summary.write_pages(pages, tmp_path)
    included = set()
    for page in (ROOT / "docs" / "results").glob("*.md"):
        included |= set(re.findall(r"\{include\} generated/(.*)", page.read_text("utf-8")))
    assert {path.name for path in pages.iterdir()} == included
    for path in pages.iterdir():
        assert path.read_text().startswith("Not run yet: `"), path.name
    assert summary.readme_block(tmp_path) == "Benchmarks: not run yet.\n"


def test_readme_is_written_between_its_marks(summary: ModuleType, tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"above\n{summary.BEGIN}\nold\n{summary.END}\nbelow\n")
    content = result(MADE)
    # few rows tell nothing of a table
    content["audit"]["tasks"]["gap"] = {"test_rows": 30, "test_rows_in_pool": 10}
    (tmp_path / "jarvis.json").write_text(json.dumps(content))
    summary.write_readme(tmp_path, readme)
    text = readme.read_text()
    assert text.startswith(f"above\n{summary.BEGIN}\n\n| test |")
    assert text.endswith(f"\n\n{summary.END}\nbelow\n")
    row = "| 2 JARVIS-DFT tables | mean of MAE / best peer's | 0.500 | 0.600 | - | 1 |"
    assert f"{row} 0.500 (1 tables) |" in text
    assert "on 1 of 2 tasks (2026-01-02, `make bench-jarvis`)" in text
    assert "old" not in text
    content["audit"]["tasks"]["gap"]["test_rows_in_pool"] = 11
    (tmp_path / "jarvis.json").write_text(json.dumps(content))
    summary.write_readme(tmp_path, readme)
    assert f"{row} - |" in readme.read_text()


def test_readme_shows_the_committed_results(summary: ModuleType) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    _, begin, rest = text.partition(summary.BEGIN)
    shown, end, _ = rest.partition(summary.END)
    assert begin
    assert end
    assert shown.strip() == summary.readme_block().strip(), (
        "README.md is older than benchmarks/results/: run `python benchmarks/summary.py`"
    )


@pytest.mark.parametrize("name", ["matbench", "jarvis"])
def test_reductions_are_those_of_the_benchmark(summary: ModuleType, name: str) -> None:
    """Two ways to the same number: the benchmark's own statistics, and the page's."""
    content = summary.read(name)
    if content is None:
        pytest.skip(f"{name}.json is not there: `make bench-{name}` has not been run")
    rows = summary.compare(content)
    expected = content["statistics"]["mean_mae_reduction_to_best_peer"]
    assert summary.mean_reduction(rows) == pytest.approx(expected, abs=1e-9)
    scratch = content["statistics"].get("mean_mae_reduction_to_scratch", math.nan)
    reference = summary.SCRATCH[summary.leading(content)]
    assert summary.mean_reduction(rows, reference) == pytest.approx(scratch, abs=1e-9, nan_ok=True)
