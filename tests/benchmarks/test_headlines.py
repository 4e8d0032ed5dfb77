"""README's numbers once more, from predictions alone: none of the code that writes README."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

from benchmarks.accuracy.compare import LOADERS
from benchmarks.common import RESULTS
from benchmarks.site import contents, figures, readme
from sklearn_kt._files import DATA
from sklearn_kt.evaluation import CompositionPool

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
OURS = ("imkt", "imkt-fast", "imkt-scratch", "imkt-fast-scratch", "exkt")
NAMES = {
    "expt_gap": "measured band gaps",
    "expt_is_metal": "metal or not, measured",
    "glass": "glass-forming alloys",
    "steels": "yield strengths of steels",
}


def errors(benchmark: str, *, new: bool = False) -> pd.DataFrame:
    """MAE, or what is missing to a ROC AUC of 1: means over the folds, by table and model."""
    folder = RESULTS / benchmark
    parts = {(p["task"], p["fold"]): p for p in pq.read_table(folder / "tasks.parquet").to_pylist()}
    folds = pd.Series([task for task, _ in parts]).value_counts()
    found = []
    for file in sorted(folder.glob("folds/*.parquet")):
        for row in pq.read_table(file).to_pylist():
            part = parts[row["task"], row["fold"]]
            chosen = np.array(part["unseen"]) if new else np.ones(len(part["y"]), bool)
            y = np.array(part["y"])[chosen]
            if part["kind"] == "regression":
                error = np.abs(np.array(row["predictions"])[chosen] - y)
                score = float(error.mean()) if len(y) else np.nan
            elif len(set(y)) == 2:
                score = 1 - roc_auc_score(y, np.array(row["probabilities"][1::2])[chosen])
            else:
                score = np.nan
            found.append((row["task"], file.stem, score))
    frame = pd.DataFrame(found, columns=["task", "model", "error"])
    means = frame.groupby(["task", "model"])["error"].agg(["mean", "size"]).reset_index()
    whole = means[means["size"] == means["task"].map(folds)]
    return whole.pivot_table("mean", "task", "model")


def over_best_peer(found: pd.DataFrame, model: str) -> pd.Series:
    peers = found.drop(columns=[*OURS, "dummy"], errors="ignore")
    return found[model] / peers.min(axis=1)


def figure(value: float) -> str:
    """Three figures."""
    return f"{value:#.3g}"


def test_errors_on_matbench() -> None:
    found = errors("matbench")
    found.index = found.index.str.removeprefix("matbench_")
    peers = found.drop(columns=[*OURS, "dummy"], errors="ignore")
    for task, row in found.iterrows():
        best = peers.loc[task].idxmin()
        said = [figure(row[model]) for model in ("imkt", "imkt-fast", best)]
        assert re.search(
            rf"\| {NAMES[str(task)]} \| [^|]* \| {said[0]} \| {said[1]} \| {said[2]} \({best}\) \|",
            README,
        )
    gaps = errors("matbench", new=True).loc["matbench_expt_gap"]
    assert (
        f"had not seen: `imkt` {gaps['imkt']:.3f}, et-magpie {gaps['et-magpie']:.3f} eV." in README
    )


def test_means_over_tables() -> None:
    jarvis, new = (errors("jarvis", new=only) for only in (False, True))
    assert len(jarvis) == 30
    ours, fast = (over_best_peer(jarvis, model) for model in ("imkt", "imkt-fast"))
    row = f"| {ours.mean():.3f} | {fast.mean():.3f} | 1 |"
    assert f"| 30 calculated quantities | MAE over the best other's, mean {row}" in README
    assert f"its mean error is the smaller on {(ours < 1).sum()}." in README
    for task in ours.index[ours > 1]:
        assert re.search(rf"JARVIS-DFT: [^;]*{task} \(\S+, {ours[task]:.3f}\)", README)
    parts = pq.read_table(RESULTS / "jarvis" / "tasks.parquet", columns=["task", "unseen"])
    enough = [p["task"] for p in parts.to_pylist() if sum(p["unseen"]) >= 20]
    mean = over_best_peer(new, "imkt")[enough].mean()
    said = f"over the best other's is {mean:.3f} in the mean (of {len(enough)} tables with 20"
    assert f"the error of `imkt` {said} such rows)" in README
    worth = [(frame["imkt-fast"] / frame["imkt-fast-scratch"])[enough] for frame in (jarvis, new)]
    everywhere, unknown = (f"{r.mean():.3f} ± {r.sem():.3f}" for r in worth)
    assert f"{everywhere} on all test rows, {unknown} on formulas new to pretraining" in README
    gupta = pd.read_csv(RESULTS / "jarvis" / "gupta2021.csv").set_index("table")
    ratio = jarvis["imkt"] / gupta[["scratch_mae", "transfer_mae"]].min(axis=1)
    assert f"the error of `imkt` is {ratio.mean():.3f} in the mean" in README
    lost = ", ".join(f"{task} ({ratio[task]:.2f})" for task in ratio.index[ratio > 1])
    assert f"theirs is the smaller on {(ratio > 1).sum()} of 30: {lost}." in README
    ours, fast = (
        figure(over_best_peer(errors("thermoelectrics"), model).mean())
        for model in ("imkt", "imkt-fast")
    )
    row = f"MAE over the best other's, mean | {ours} | {fast} | 1 |"
    assert f"| 7 thermoelectric properties at T | {row}" in README


@pytest.mark.parametrize("name", ["matbench", "jarvis", "thermoelectrics"])
@pytest.mark.usefixtures("data_dir")
def test_which_formulas_are_new(name: str) -> None:
    """Each test row anew, by the list of compositions that is beside the weights."""
    pool = CompositionPool.load(DATA / "checkpoints" / "default" / "pool.npz")
    tasks = {task.name: task for task in LOADERS[name](None)}
    kept = contents.read_kept(name)
    assert kept is not None
    for (task, fold), part in kept.parts.items():
        _, test = tasks[task].folds[fold]
        new = ~pool.contains(np.asarray(tasks[task].formulas)[test])
        np.testing.assert_array_equal(part.unseen, new)


def test_the_picture_is_of_these_results() -> None:
    found = readme.headline(contents.read_all())
    said = figures.headline_said(found)
    assert said in readme.PICTURE.read_text(encoding="utf-8"), (
        "the picture is older than benchmarks/results/: run `python -m benchmarks.site.readme`"
    )
    matbench = errors("matbench")
    gap, forest = (over_best_peer(matbench, m)["matbench_expt_gap"] for m in ("imkt", "rf-magpie"))
    best = gap / forest
    assert f"measured band gaps: sklearn_kt {best:.3f}, best other {1 / forest:.3f}" in said
