"""README's table and the pages about results say what the result files say."""

from __future__ import annotations

import math
import re
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks.accuracy.submissions import SUBMISSIONS
from benchmarks.common import RESULTS, name_weights, read_json, weights_named, weights_of
from benchmarks.models import BFLOAT16_SINCE, CHANGED, MODELS
from benchmarks.site import (
    calculated,
    contents,
    figures,
    knowledge,
    notes,
    provenance,
    readme,
    submissions,
    tables,
)
from benchmarks.site.contents import beside_gupta, read_kept
from benchmarks.site.details import benchmark_text, reductions
from benchmarks.site.pages import overview_page, short_page, short_texts, write_pages
from benchmarks.site.submissions import submissions_text
from sklearn_kt._files import DATA
from sklearn_kt.benchmarking import thermoelectric_tasks
from sklearn_kt.compositions import composition_keys, read_compositions
from sklearn_kt.evaluation import compare_models

ROOT = Path(__file__).parents[2]
# of the tables of the ablation
ALLOYS = ("matbench_steels", "matbench_glass")


AUDITED = {
    **{"test_rows": 9, "test_rows_in_pool": 2, "test_rows_in_train": 1},
    **{"quantity": "band gap", "test_rows_with_quantity_in_pool": 3},
}


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
        "audit": {"tasks": dict.fromkeys(tasks, AUDITED)},
    } | about


MADE = {
    "gap": {"imkt": 0.5, "imkt-fast": 0.6, "rf-magpie": 1.0, "et": 2.0, "dummy": 0.1, "exkt": 0.4},
    "is_metal": {"imkt": 0.9, "imkt-fast": 0.8, "rf-magpie": 0.92, "et": 0.6, "dummy": 0.5},
}


def difference(task: str, peer: str, low: float, high: float, verdict: str) -> dict[str, Any]:
    """Make a difference, peer minus ours, with the verdict on the peer."""
    return {"task": task, "model": peer, "baseline": "imkt", "low": low, "high": high,
            "verdict": verdict, "difference": (low + high) / 2,
            "score": "roc_auc" if task.startswith("is_") else "mae"}  # fmt: skip


def test_best_peer_and_ratio() -> None:
    found = [
        difference("gap", "rf-magpie", 0.4, 0.6, "loss"),
        difference("is_metal", "rf-magpie", -0.01, 0.05, "tie"),
    ]
    gap, metal = contents.compare(result(MADE, statistics={"differences": found}))
    # neither a guess of the mean nor a model of ours is a peer
    assert (gap.peer, gap.ratio, gap.verdict) == ("rf-magpie", 0.5, "win")
    # ours is between 1.0 - 0.6 and 1.0 - 0.4
    assert (gap.low, gap.high) == pytest.approx((0.4, 0.6))
    # errors of classes are what is missing to 1
    assert metal.ratio == pytest.approx(0.1 / 0.08)
    assert metal.verdict == "tie"
    # tied, but behind by the mean
    assert contents.Verdicts.of([gap, metal]) == contents.Verdicts(1, 1, 0, 1)
    # the peer's AUC is larger by -0.01 to 0.05: our error is 0.07 to 0.13
    assert (metal.low, metal.high) == pytest.approx((0.07 / 0.08, 0.13 / 0.08))
    assert contents.mean_reduction([gap, metal]) == pytest.approx(0.5)
    fast = contents.compare(result(MADE), main="imkt-fast")
    assert contents.mean_reduction(fast) == pytest.approx(0.4)
    assert math.isnan(contents.mean_reduction([gap, metal], reference="imkt-scratch"))


def test_a_better_peer_is_named() -> None:
    lost = difference("is_metal", "rf-magpie", 0.01, 0.03, "win")
    content = result(MADE, statistics={"differences": [lost]})
    assert contents.Verdicts.of(contents.compare(content)) == contents.Verdicts(1, 0, 1, 1)
    text = "\n".join(tables.losses({"jarvis": content}))
    assert "is_metal: rf-magpie 0.0800, `imkt` 0.100 (1 - ROC AUC); the difference is" in text
    assert "gap" not in text
    won = result({"gap": MADE["gap"]})
    assert "On no task" in "\n".join(tables.losses({"jarvis": won}))
    board = [{"model": m, "ours": m != "CrabNet"} for m in ("et", "CrabNet", "imkt", "roost")]
    won["published"] = {"matbench_gap": board}
    text = "\n".join(tables.losses({"matbench": won | {"benchmark": "matbench"}}))
    assert "submissions above `imkt` are CrabNet (" in text
    assert tables.above_ours({"matbench": won}) == {"gap": ["CrabNet"]}
    block = readme.readme_block({"jarvis": content})
    assert "its): JARVIS-DFT: is_metal (rf-magpie, 1.250). Beyond chance: is_metal." in block
    assert "On these another model" not in readme.readme_block(
        {"jarvis": result({"gap": MADE["gap"]})}
    )
    text = tables.beside_transfer({"a": 0.5, "b": 1.1, "c": 0.8})
    assert "is 0.800 in the mean; theirs is the smaller on 1 of 3: b (1.10)." in text


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
    assert "| [JARVIS-DFT](jarvis.md) | `imkt-fast` | 1 / 0 / 1 | 1 of 2 | 40 % | - |" in text
    assert "Peers that were run. JARVIS-DFT: crabnet (1), et, " in text
    assert "| [MatBench](matbench.md) | `imkt` | 1 / 0 / 1 | 1 of 2 | 50 % |" in text
    # the explicit model has not run on both
    assert "| `exkt` |" not in text
    scores["is_metal"]["exkt"] = 0.95
    content = result(scores)
    text = "\n".join(tables.overview({"jarvis": content}))
    assert "| [JARVIS-DFT](jarvis.md) | `exkt` | 2 / 0 / 0 | 2 of 2 | 60 % |" in text
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
        assert path.read_text().startswith(("Not run yet: `", "No results yet.")), path.name
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
    assert rows[2] == (
        "| gap | MAE, eV | 0.500 | 0.600 | 0.400 | 1.00 (rf-magpie) | 0.50 | - | 33 % |"
    )
    assert rows[3].startswith("| is_metal |")
    assert "those of `imkt`" in text


def test_readme_is_written_between_its_marks(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text(f"above\n{readme.BEGIN}\nold\n{readme.END}\nbelow\n")
    content = result(MADE)
    # few rows tell nothing of a table
    content["audit"]["tasks"]["gap"] = AUDITED | {"test_rows": 30, "test_rows_in_pool": 10}
    readme.write_readme({"jarvis": content}, path)
    text = path.read_text()
    assert text.startswith(f"above\n{readme.BEGIN}\n\n| predicted |")
    assert text.endswith(f"\n\n{readme.END}\nbelow\n")
    row = "| 30 calculated quantities | MAE over the best other's, mean | 0.500 | 0.600 | 1 |"
    assert row in text
    assert "- JARVIS-DFT (2026-01-02, `make bench-jarvis`): of 2 tasks, `imkt` is beyond" in text
    assert (
        "run here on 1, tied with it on 0, worse on 1; its mean error is the smaller on 1" in text
    )
    assert "over the best other's is 0.500 in the mean (of 1 tables with 20 such rows)" in text
    assert "old" not in text
    content["audit"]["tasks"]["gap"]["test_rows_in_pool"] = 11
    readme.write_readme({"jarvis": content}, path)
    assert "in the mean (of" not in path.read_text()


def test_headline_is_a_ratio_to_the_forest(tmp_path: Path) -> None:
    found = readme.headline({"jarvis": result(MADE)})["30 calculated quantities"]
    # of a gap and of what is missing to an AUC of 1
    assert found["sklearn_kt"] == pytest.approx(math.sqrt(0.5 * 0.1 / 0.08))
    assert found["best other"] == pytest.approx(1)
    figures.draw_headline({"gaps": found}, tmp_path / "drawn.svg")
    # where that has not run, another forest has 1, and is named
    only = result({"gap": {"imkt-fast": 1.1, "et-magpie": 1.0, "et-fractions": 1.25, "gb": 0.9}})
    named = readme.headline({"thermoelectrics": only | {"benchmark": "thermoelectrics"}})
    assert named == {
        "7 thermoelectric properties at T,\nwhere et-magpie has 1": pytest.approx(
            {"sklearn_kt": 1.1, "best other": 0.9}
        )
    }
    drawn = (tmp_path / "drawn.svg").read_text()
    assert "gaps" in drawn
    figures.draw_headline({"gaps": found}, tmp_path / "drawn.svg")
    assert (tmp_path / "drawn.svg").read_text() == drawn


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
            "| MP-20 | as a user calls it, formula alone | 70.4 % (69 % to 71 %) | "
            "90.5 % (90 % to 91 %) |",
        ),
        ("submissions", "| darwin | expt_gap | 0.269 | 0.364 | MAE | Labels of a sibling task |"),
        ("transfer", "| pretraining: the checkpoint | 24 % ± 4 % | 14 of 14 tables |"),
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


def known_tables() -> dict[str, Any]:
    """Ten tables: pretraining knows the quantity of five, for a third of the rows."""
    scores = {
        f"t{i}": {"imkt": 0.6 + 0.02 * i, "imkt-scratch": 0.8, "rf-magpie": 1.0} for i in range(10)
    }
    content = result(scores)
    unseen = [dict(run) for run in content["summary"]]
    for run in unseen:
        run["mae"] = {"imkt": 0.76, "imkt-scratch": 0.8, "rf-magpie": 1.0}[run["model"]]
    tasks = {}
    for i, task in enumerate(content["tasks"]):
        tasks[task] = AUDITED | {"test_rows": 60, "test_rows_in_pool": 40 + (i == 9)}
        tasks[task]["test_rows_with_quantity_in_pool"] = 20 if i < 5 else 12
    return content | {"summary_unseen": unseen, "audit": {"tasks": tasks}}


def test_results_by_what_pretraining_knows() -> None:
    content = known_tables()
    known, others = knowledge.by_knowledge(content, "imkt")
    # a fifth is not more than a fifth
    assert [[row.task for row in part] for part in (known, others)] == [
        [f"t{i}" for i in range(5)],
        [f"t{i}" for i in range(5, 10)],
    ]
    assert knowledge.mean_ratio(known) == pytest.approx(0.64)
    # the tenth table has nineteen new rows
    assert knowledge.over_scratch(content, "imkt", new=True) == pytest.approx([0.95] * 9)
    ratios = knowledge.over_scratch(content, "imkt", new=False)
    assert ratios == pytest.approx([(0.6 + 0.02 * i) / 0.8 for i in range(9)])
    text = "\n".join(knowledge.knowledge_lines({"jarvis": content}))
    assert "| JARVIS-DFT | `imkt` | 0.640 (5) | 0.740 (5) |" in text
    assert "| JARVIS-DFT | `imkt` | 9 | 0.850 ± 0.023 | 0.950 ± 0.000 |" in text
    block = readme.readme_block({"jarvis": content})
    assert "on the 5 tables whose quantity pretraining knows for more than a fifth" in block
    assert "and on the 5 others: `imkt` 0.640 and 0.740." in block
    assert "0.850 ± 0.023 on all test rows, 0.950 ± 0.000 on formulas new" in block
    # too few tables for a mean
    assert "pretraining knows for" not in readme.readme_block({"jarvis": result(MADE)})


def test_splits_of_the_committed_results(recorded: dict[str, Any]) -> None:
    content = recorded["jarvis"]
    known, others = knowledge.by_knowledge(content, "imkt-fast")
    assert (len(known), len(others)) == (12, 18)
    assert {"pseebeck", "npowerfact", "ppowerfact", "nem300k"} <= {row.task for row in known}
    # what README and the overview say in words
    assert knowledge.mean_ratio(known) < knowledge.mean_ratio(others) < 1
    everywhere, new = (
        knowledge.over_scratch(content, "imkt-fast", new=only) for only in (False, True)
    )
    assert len(everywhere) == len(new) == 25
    assert 1 - mean(new) < (1 - mean(everywhere)) / 2
    kept = read_kept("jarvis")
    assert kept is not None
    for name, part in (("deltae", kept.parts["deltae", 0]), ("nem300k", kept.parts["nem300k", 0])):
        errors = [kept.absolute_errors(name, m)[0] for m in ("imkt-fast", "imkt-fast-scratch")]
        ratio = errors[0][part.unseen].mean() / errors[1][part.unseen].mean()
        assert any(ratio == pytest.approx(value) for value in new)


def test_where_readme_says_that_transfer_does_not_help(recorded: dict[str, Any]) -> None:
    matbench = read_kept("matbench")
    assert matbench is not None
    steels = next(row for row in contents.compare(recorded["matbench"]) if row.task == "steels")
    assert (steels.peer, steels.verdict) == ("et-fractions", "tie")
    found = compare_models(matbench.only(["matbench_steels"]), "imkt-fast").set_index("model")
    assert found.loc["imkt-fast-scratch", "verdict"] == "tie"
    glass = {
        model: compare_models(matbench.only(["matbench_glass"]), model).set_index("model")
        for model in ("imkt", "imkt-fast")
    }
    scratch = -glass["imkt-fast"].loc["imkt-fast-scratch", "difference"]
    fast, default = sorted(-found.loc["et-fractions", "difference"] for found in glass.values())
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    said = f"({scratch:.3f} and {fast:.3f} to {default:.3f} of ROC AUC)".replace("0.", ".")
    assert f"on metallic glasses ahead of either by little {said}" in text
    shells = notes.matbench_notes(matbench).partition("open f shells: ")[2]
    errors = {m: float(e) for m, e in re.findall(r"`(\S+)` (\d\.\d+)", shells.partition(". ")[0])}
    assert errors["imkt"] > errors["imkt-scratch"]


def test_against_each_peer() -> None:
    found = [
        difference("gap", "rf-magpie", 0.4, 0.6, "loss"),
        difference("gap", "et", -0.4, 0.6, "tie"),
        difference("is_metal", "et", 0.4, 0.6, "win"),
        difference("gap", "dummy", 0.4, 0.6, "loss"),
    ]
    text = "\n".join(notes.against_peers(result(MADE, statistics={"differences": found})))
    assert "| et | 0 | 1 (gap) | 1 (is_metal) | 1 of 2 |" in text
    assert "| rf-magpie | 1 (gap) | 0 | 0 | 1 of 1 |" in text
    assert "dummy" not in text


def test_notes_of_the_committed_results() -> None:
    matbench, thermo = read_kept("matbench"), read_kept("thermoelectrics")
    assert matbench is not None
    assert thermo is not None
    text = notes.matbench_notes(matbench)
    assert "All 911 of expt_gap are semiconductors" in text
    new = np.concatenate(
        [part.unseen for (task, _), part in matbench.parts.items() if task == notes.GAP]
    )
    shown = [
        f"`{m}` {matbench.absolute_errors(notes.GAP, m)[0][new].mean():.3f}"
        for m in ("imkt", "imkt-scratch", "et-magpie")
    ]
    assert f"MAE in eV: {', '.join(shown)}. On the 107 with cerium" in text
    assert re.search(r"Steels, MAE in MPa: `imkt` \d+\.\d, `imkt-fast` \d+\.\d, `exkt` ", text)
    text = notes.thermoelectrics_notes(thermo)
    assert "Cu5SnSbSe7): 12 of S, 12 of sigma, 12 of PF, 12 of zT, 12 of k." in text
    assert "618 of the 7,863 test rows of S" in text
    assert "`imkt` on 6 of 7, not on ke (0.195)" in text
    ranks = r"`imkt` 1\.14, `imkt-fast-scratch` 2\.86, `imkt-fast` 3\.14, `et-fractions` 3\.29, "
    assert re.search(f"of 6 models on 7 properties: {ranks}", text)
    # the pair that is named
    S = thermoelectric_tasks("S")[0]
    rows = [S.formulas.tolist().index(f) for f in ("Cu2.5Sn0.5Sb0.5Se3.5", "Cu5SnSbSe7")]
    assert len(np.unique(composition_keys(read_compositions(S.formulas[rows])))) == 1
    fold = {row: f for f, (_, test) in S.folds.items() for row in test}
    assert fold[rows[0]] != fold[rows[1]]


def test_weights_of_results_are_told(tmp_path: Path) -> None:
    present = weights_of()["default"]
    named = name_weights("Model(random_state=0)", {"default": present})
    assert weights_named(named) == {"default": present}
    assert weights_of(None) == weights_named("Model()") == {}
    said = provenance.weights_said
    assert said([], {present}) == "not named"
    assert said([present, present], {present}) == "in the package"
    assert said(["0" * 64], {present}) == "others"
    assert said([present, "0" * 64], {present}) == "both"
    assert provenance.provenance_text(tmp_path) == "No results yet.\n"
    text = provenance.provenance_text(RESULTS)
    assert re.search(r"^\| intervals \|  \| \S+ \| in the package \|", text, re.MULTILINE)
    rows = re.findall(r"^\| JARVIS-DFT \| `(\S+)` \|.*\| (.*) \| (.*) \|$", text, re.MULTILINE)
    about = {model: (weights, older) for model, weights, older in rows}
    assert about["imkt-fast-scratch"][0] == "none"
    kept = read_kept("jarvis")
    assert kept is not None
    fast = [record.date for task in kept.tasks for record in kept.records(task, "imkt-fast")]
    before = sum(date < CHANGED["imkt-fast"] for date in fast)
    assert about["imkt-fast"] == ("in the package", f"{before} of {len(fast)}")
    # what is dated later had products in bfloat16
    dates = [record.date for task in kept.tasks for record in kept.records(task, "imkt")]
    older = sum(date < BFLOAT16_SINCE for date in dates)
    said = f"{older} of {len(dates)} folds of `imkt` on JARVIS-DFT"
    assert (said in text) == (older > 0)
    assert "explicit" not in text.partition("in float32 as today")[2]
    assert "rf-magpie" not in about


def test_calculated_tasks_are_shown_beside_what_is_recorded() -> None:
    kept = read_kept("calculated")
    if kept is None:
        pytest.skip("no calculated task has been run: python -m benchmarks.accuracy.compare")
    text = calculated.calculated_short(kept)
    lines = {line.split(" | ")[0].strip("| "): line for line in text.splitlines() if "| " in line}
    published = pd.read_csv(kept.folder / "published.csv").rename(columns={"algorithm": "model"})
    reported = pd.read_csv(kept.folder / calculated.REPORTED)
    # each of TabPFN's rows says where it is from
    board = benchmark_text(kept).partition("Leaderboard of matbench_log_gvrh")[2]
    assert "TabPFN, Magpie |" in board.partition("Leaderboard of")[0]
    assert reported["source"].str.startswith("https://").all()
    for task, part in kept.tasks.items():
        cells = lines[task.removeprefix("matbench_") + (f", {part.unit}" if part.unit else "")]
        frames = [
            published[published["model"].isin(calculated.READ_FORMULAS)],
            reported,
        ]
        found = pd.concat([f[f["task"] == task] for f in frames]).groupby("model")["mae"].mean()
        assert f"| {tables.figure(found.min())} ({found.idxmin()}) |" in cells
        mine = {}
        for model in calculated.SCRATCH:
            folds = [
                np.abs(r.predictions - kept.parts[task, r.fold].y).mean()
                for r in kept.records(task, model)
            ]
            if folds:
                assert len(folds) == 5
                mine[model] = float(np.mean(folds))
        best = min(mine, key=mine.__getitem__)
        assert f"| {tables.figure(mine[best])} ({best}) |" in cells
    # nothing that knows a label has a number
    assert all(
        {record.model for record in kept.records(task, model)} == set()
        for task in kept.tasks
        for model in ("imkt", "imkt-fast")
        if task != "matbench_jdft2d"
    )


def test_more_rows_that_do_worse_are_told() -> None:
    errors = {50: 0.4, 100: 0.5, 300: 0.51, 1000: 0.3}
    scores = [
        {"table": "gap", "unit": "eV", "model": m, "rows": n, "mae": e if m == "imkt" else 1 / n}
        for n, e in errors.items()
        for m in ("imkt", "rf-magpie")
    ]
    text = tables.rises({"scores": scores})
    assert "`imkt` on gap 0.400 eV with 50 rows and 0.500 with 100. One" in text
    assert tables.rises({"scores": scores}, ["rf-magpie"]) == ""


def test_every_submission_is_scored_again() -> None:
    kept = read_kept("matbench")
    assert kept is not None
    frame = pd.read_parquet(kept.folder / SUBMISSIONS)
    found = submissions.rescored(kept, frame)
    assert set(found["task"]) == set(kept.tasks)
    steels = found[found["task"] == "matbench_steels"].set_index("submission")
    assert len(steels) == 12
    # the leaderboard's own, to four figures
    compared = found.dropna(subset="recorded")
    assert len(compared) >= 30
    np.testing.assert_allclose(compared["again"], compared["recorded"], rtol=5e-5)
    assert steels.loc["RFLR", "again"] == pytest.approx(90.59, abs=0.01)
    text = submissions_text(kept)
    assert f"{len(compared)} of them: {len(compared)} are the same to four figures" in text


def test_nothing_is_told_of_others_by_what_our_pretraining_knows() -> None:
    text = submissions_text(read_kept("matbench"))
    ours = text.partition("Compositions of our pretraining, rows that our pretraining knows")[2]
    assert "rows in the pool" in ours
    assert "could" not in ours
    assert not re.search(r"\*\*\+", ours)


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
    whole = {name: found for name, found in content["errors"].items() if name not in ALLOYS}
    assert len(whole) == len(content["errors"]) - len(ALLOYS)
    change, _ = tables.added_value({"errors": whole}, "formula", "all")
    assert f"{change} without steels and metallic glasses" in card
    # "larger by more than half"
    assert all(
        content["errors"][name]["formula"] > 1.5 * content["errors"][name]["all"] for name in ALLOYS
    )


def test_our_errors_beside_those_of_gupta(recorded: dict[str, Any]) -> None:
    kept = read_kept("jarvis")
    assert kept is not None
    found = beside_gupta(kept)
    assert len(found) == 30
    errors, _ = kept.absolute_errors("meps", "imkt")
    assert found.loc["meps", "ratio"] == pytest.approx(errors.mean() / 1.78, rel=0.01)
    page = benchmark_text(kept)
    assert f"on {(found['ratio'] < 1).sum()} of 30 tables" in page
    assert tables.beside_transfer(found["ratio"].to_dict()) in "\n".join(tables.losses(recorded))
    # machines of single folds are told, not those of the first alone
    assert re.search(r"\nimkt, 2 of 30 folds: python .* machine Linux x86_64, 16 CPU cores", page)
    # which models that is the best of
    assert re.search(r"Of 30 tasks, run on some: .*crabnet \(\d+\).* Not run: ", page)


def test_intervals_are_shown_by_group() -> None:
    groups = {"oxides": {"n_test": 300, "covered": 0.71}, "few": {"n_test": 3, "covered": 0.5}}
    row = {"task": "x", "unit": "eV", "nominal": 0.8, "covered": 0.81, "worst_fold": 0.7}
    row |= {"mean_width": 1.2, "n_test": 303, "groups": groups}
    text = tables.intervals_text({"model": "imkt-fast", "rows": [row]})
    assert "| x | oxides | 300 | 80 % | 71.0 % | yes |" in text
    assert "few" not in text
