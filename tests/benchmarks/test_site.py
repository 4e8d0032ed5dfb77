"""README's table and the pages about results say what the result files say."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks.common import RESULTS, read_json
from benchmarks.models import MODELS
from benchmarks.site import contents, figures, readme, tables
from benchmarks.site.contents import read_kept
from benchmarks.site.details import benchmark_text, beside_gupta, reductions
from benchmarks.site.pages import overview_page, short_page, short_texts, write_pages
from benchmarks.site.submissions import submissions_text
from sklearn_kt._files import DATA

ROOT = Path(__file__).parents[2]


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


def test_best_peer_and_ratio() -> None:
    found = [
        difference("gap", "rf-magpie", 0.4, 0.6, "loss"),
        difference("is_metal", "rf-magpie", -0.01, 0.05, "tie"),
    ]
    gap, metal = contents.compare(result(MADE, statistics={"differences": found}))
    # neither a guess of the mean nor a model of ours is a peer
    assert (gap.peer, gap.ratio, gap.verdict, gap.holds) == ("rf-magpie", 0.5, "win", True)
    # ours is between 1.0 - 0.6 and 1.0 - 0.4
    assert (gap.low, gap.high) == pytest.approx((0.4, 0.6))
    # errors of classes are what is missing to 1
    assert metal.ratio == pytest.approx(0.1 / 0.08)
    assert (metal.verdict, metal.holds) == ("tie", True)
    # the peer's AUC is larger by -0.01 to 0.05: our error is 0.07 to 0.13
    assert (metal.low, metal.high) == pytest.approx((0.07 / 0.08, 0.13 / 0.08))
    assert contents.mean_reduction([gap, metal]) == pytest.approx(0.5)
    fast = contents.compare(result(MADE), main="imkt-fast")
    assert contents.mean_reduction(fast) == pytest.approx(0.4)
    assert math.isnan(contents.mean_reduction([gap, metal], reference="imkt-scratch"))


def test_a_better_peer_is_named() -> None:
    lost = difference("is_metal", "rf-magpie", 0.01, 0.03, "win")
    content = result(MADE, statistics={"differences": [lost]})
    assert [row.holds for row in contents.compare(content)] == [True, False]
    text = "\n".join(tables.losses({"jarvis": content}))
    assert "is_metal: rf-magpie 0.0800, `imkt` 0.100 (1 - ROC AUC); the difference is" in text
    assert "gap" not in text
    won = result({"gap": MADE["gap"]})
    assert "On no task" in "\n".join(tables.losses({"jarvis": won}))
    board = [{"model": m, "ours": m != "CrabNet"} for m in ("et", "CrabNet", "imkt", "roost")]
    won["published"] = {"matbench_gap": board}
    text = "\n".join(tables.losses({"matbench": won | {"benchmark": "matbench"}}))
    assert "submissions above `imkt` are CrabNet (" in text


def test_the_fast_setting_stands_in_where_the_default_has_not_run() -> None:
    scores = {name: dict(found) for name, found in MADE.items()}
    del scores["is_metal"]["imkt"]
    scores["gap"]["crabnet"] = 1.5
    content = result(scores)
    gap, metal = contents.compare(content)
    assert (gap.main, metal.main) == ("imkt-fast", "imkt-fast")
    assert gap.ratio == pytest.approx(0.6)
    both = {"jarvis": content, "matbench": result(MADE)}
    assert tables.spoken(both) == "`imkt-fast` (JARVIS-DFT) and `imkt` (MatBench)"
    text = "\n".join(tables.overview(both))
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
    text = "\n".join(tables.overview({"jarvis": content}))
    assert "| [JARVIS-DFT](jarvis.md) | `exkt` | 2 of 2 | 60 % |" in text
    # and stands beside the implicit ones, not for them
    assert contents.leading(content) == "imkt-fast"


def test_models_without_all_folds_are_left_out() -> None:
    content = result({"gap": MADE["gap"] | {"late": 0.01}})
    for run in content["summary"]:
        run["n_folds"] = 1 if run["model"] == "late" else 5
    [row] = contents.compare(content)
    assert row.peer == "rf-magpie"
    assert "late" not in contents.costs(content)


def test_accuracy_where_one_class_is_all_there_is() -> None:
    content = result({"is_metal": {"imkt": None, "et": None}})
    for run, accuracy in zip(content["summary"], (0.9, 0.8), strict=True):
        run["accuracy"] = accuracy
    [row] = contents.compare(content)
    assert (row.score, row.ratio) == ("accuracy", pytest.approx(0.5))


def test_costs_and_front() -> None:
    points = contents.costs(result(MADE))
    assert points["imkt"] == pytest.approx((1.0, math.sqrt(0.5 * 0.1 / 0.08)))
    assert points["rf-magpie"] == pytest.approx((3.0, 1.0))
    assert "dummy" not in points
    assert contents.front({"a": (1, 5), "b": (2, 6), "c": (3, 4), "d": (3, 4.5)}) == ["a", "c"]


@pytest.mark.parametrize(
    ("number", "text"),
    [(0.24551, "0.246"), (79.99, "80.0"), (1234.5, "1234"), (0.0433, "0.0433"), (0, "0.00")],
)
def test_three_figures(number: float, text: str) -> None:
    assert tables.figure(number) == text
    assert tables.figure(math.nan) == "-"


def test_pages_of_small_results(tmp_path: Path) -> None:
    (tmp_path / "speed.json").write_text((RESULTS / "speed.json").read_text())
    write_pages(tmp_path / "generated", tmp_path)
    page = (tmp_path / "generated" / "speed.inc").read_text()
    assert page.endswith("\n![The same as a picture.](generated/speed.png)\n")
    assert (tmp_path / "generated" / "speed.png").read_bytes().startswith(b"\x89PNG")


def test_pages_of_nothing(tmp_path: Path) -> None:
    pages = tmp_path / "generated"
    write_pages(pages, tmp_path)
    included = set()
    for page in (ROOT / "docs" / "results").glob("*.md"):
        included |= set(re.findall(r"\{include\} generated/(.*)", page.read_text("utf-8")))
    assert {path.name for path in pages.iterdir()} == included
    for path in pages.iterdir():
        assert path.read_text().startswith("Not run yet: `"), path.name
    assert readme.readme_block({}) == "Benchmarks: not run yet.\n"


def test_overview_of_results(tmp_path: Path) -> None:
    text = overview_page({"jarvis": result(MADE)}, tmp_path)
    assert "[JARVIS-DFT](jarvis.md)" in text
    assert "{dropdown} Errors on these rows" in text
    line = "| JARVIS-DFT gap | 7 of 9 | MAE, eV | 0.500 | 0.600 | 0.400 | 1.00 (rf-magpie) | 0.50 |"
    assert line in text
    for picture in re.findall(rf"{tmp_path.name}/(\w+\.svg)", text):
        assert (tmp_path / picture).read_text().startswith("<?xml")


def test_a_benchmark_begins_with_a_picture_and_a_table(tmp_path: Path) -> None:
    text = short_page(result(MADE), tmp_path)
    assert text.startswith(f"```{{figure}} {tmp_path.name}/jarvis.svg\n")
    assert "gap" in (tmp_path / "jarvis.svg").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert rows[2].startswith("| gap | MAE, eV | 0.500 | 0.600 | 0.400 | 1.00 (rf-magpie) | 0.50 |")
    assert rows[3].startswith("| is_metal |")
    assert "those of `imkt`" in text


def test_readme_is_written_between_its_marks(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text(f"above\n{readme.BEGIN}\nold\n{readme.END}\nbelow\n")
    content = result(MADE)
    # few rows tell nothing of a table
    content["audit"]["tasks"]["gap"] = {"test_rows": 30, "test_rows_in_pool": 10}
    readme.write_readme({"jarvis": content}, path)
    text = path.read_text()
    assert text.startswith(f"above\n{readme.BEGIN}\n\n| predicted |")
    assert text.endswith(f"\n\n{readme.END}\nbelow\n")
    row = "| 30 calculated properties | MAE over the best other's, mean | 0.500 | 0.600 | 1 |"
    assert row in text
    assert "on 1 of 2 tasks (2026-01-02, `make bench-jarvis`)" in text
    assert "the mean ratio is 0.500 (of 1 tables with 20 such rows)" in text
    assert "old" not in text
    content["audit"]["tasks"]["gap"]["test_rows_in_pool"] = 11
    readme.write_readme({"jarvis": content}, path)
    assert "the mean ratio" not in path.read_text()


def test_headline_is_a_ratio_to_the_forest(tmp_path: Path) -> None:
    found = readme.headline({"jarvis": result(MADE)})["30 calculated properties"]
    # of a gap and of what is missing to an AUC of 1
    assert found["sklearn_kt"] == pytest.approx(math.sqrt(0.5 * 0.1 / 0.08))
    assert found["best other"] == pytest.approx(1)
    figures.draw_headline({"gaps": found}, tmp_path / "drawn.svg")
    assert "gaps" in (tmp_path / "drawn.svg").read_text()


@pytest.fixture(scope="module")
def short_parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], Path]:
    folder = tmp_path_factory.mktemp("short")
    return short_texts(RESULTS, folder), folder


@pytest.fixture(scope="module")
def recorded() -> dict[str, Any]:
    return contents.read_all()


def test_readme_shows_the_committed_results(recorded: dict[str, Any]) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    _, begin, rest = text.partition(readme.BEGIN)
    shown, end, _ = rest.partition(readme.END)
    assert begin
    assert end
    assert shown.strip() == readme.readme_block(recorded).strip(), (
        "README.md is older than benchmarks/results/: run `python -m benchmarks.site.readme`"
    )


@pytest.mark.parametrize("name", ["matbench", "jarvis"])
def test_reductions_are_those_of_the_benchmark(name: str, recorded: dict[str, Any]) -> None:
    """Two ways to the same number: the benchmark's own statistics, and the page's."""
    rows = contents.compare(recorded[name])
    kept = contents.read_kept(name)
    assert kept is not None
    against_peers, against_scratch = reductions(kept).values()
    assert contents.mean_reduction(rows) == pytest.approx(against_peers, abs=1e-9)
    reference = MODELS[contents.leading(recorded[name])].scratch
    assert contents.mean_reduction(rows, reference) == pytest.approx(against_scratch, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "row"),
    [
        (
            "structures",
            "| MP-20 | as a user calls it, formula alone | 68.4 % (65 % to 71 %) | "
            "89.0 % (87 % to 91 %) |",
        ),
        ("submissions", "| darwin | expt_gap | 0.269 | 0.364 | MAE | Labels of a sibling task |"),
        ("transfer", "| pretraining: the checkpoint | 23 % ± 4 % | 14 of 14 tables |"),
    ],
)
def test_other_pages_begin_with_a_picture_and_a_table(
    name: str, row: str, short_parts: tuple[dict[str, str], Path]
) -> None:
    texts, folder = short_parts
    text = texts[f"{name}_short"]
    assert text.startswith(f"```{{figure}} {folder.name}/{name}.svg\n")
    assert row in text.splitlines()
    assert (folder / f"{name}.svg").read_text().startswith("<?xml")


def test_slips_of_recorded_submissions_are_found() -> None:
    text = submissions_text(read_kept("matbench"))
    for row in (
        "| darwin | 0.269 | 0.364 | **+0.095 (+0.037 to +0.153)** |",
        "| modnet_v0.1.12 (own repository) | 0.990 | 0.847 | **+0.143 (+0.119 to +0.167)** |",
    ):
        assert row in text
    assert "nan" not in text


def test_what_a_part_of_pretraining_adds() -> None:
    content = read_json("ablation")
    assert content is not None
    text = tables.ablation_text(content)
    card = (DATA / "checkpoints" / "default" / "README.md").read_text(encoding="utf-8")
    for with_it, without in tables.STEPS:
        change, _ = tables.added_value(content, with_it, without)
        assert f"| {with_it} | {without} | {change} |" in text
        # one of the two that add all is enough
        assert change.removesuffix(" %") in card or without == "masked+stability+structure"


def test_our_errors_beside_those_of_gupta() -> None:
    kept = read_kept("jarvis")
    assert kept is not None
    found = beside_gupta(kept)
    assert len(found) == 30
    errors, _ = kept.absolute_errors("meps", "imkt")
    assert found.loc["meps", "ratio"] == pytest.approx(errors.mean() / 1.78, rel=0.01)
    page = benchmark_text(kept)
    assert f"on {(found['ratio'] < 1).sum()} of 30 tables" in page
    # which models that is the best of
    assert re.search(r"Of 30 tasks, run on some: .*crabnet \(\d+\).* Not run: ", page)


def test_intervals_are_shown_by_group() -> None:
    groups = {"oxides": {"n_test": 300, "covered": 0.71}, "few": {"n_test": 3, "covered": 0.5}}
    row = {"task": "x", "unit": "eV", "nominal": 0.8, "covered": 0.81, "worst_fold": 0.7}
    row |= {"mean_width": 1.2, "n_test": 303, "groups": groups}
    text = tables.intervals_text({"model": "imkt-fast", "rows": [row]})
    assert "| x | oxides | 300 | 80 % | 71.0 % | yes |" in text
    assert "few" not in text
