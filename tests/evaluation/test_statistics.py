"""Comparisons: known values, right direction, nothing compared that cannot be."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sklearn_kt.evaluation import (
    EvaluationResult,
    FoldRecord,
    Task,
    compare_models,
    mean_reduction,
    rank_models,
    win_tie_loss,
)
from sklearn_kt.exceptions import InputError

N = 60
FORMULAS = np.array([f"Na{n + 1}Cl" for n in range(N)], dtype=object)
FOLDS = {k: (np.flatnonzero(np.arange(N) % 5 != k), np.arange(k, N, 5)) for k in range(5)}


def task(name: str = "gap", folds: Any = FOLDS, kind: Any = "regression") -> Task:
    y = np.zeros(N) if kind == "regression" else np.arange(N) % 2 == 0
    return Task(name, kind, FORMULAS, y, np.arange(N), folds)


def record(model: str, of: Task, fold: int, predictions: Any) -> FoldRecord:
    probabilities = None
    if of.kind == "classification":
        probabilities = np.column_stack([1 - predictions, predictions])
        predictions = predictions > 0.5
    return FoldRecord(
        model, of.name, fold, model, "", predictions, None, probabilities, 1.0, 1.0, None, 1, "", {}
    )


def result(of: Task, **errors: Any) -> EvaluationResult:
    """Models whose predictions are these errors, row by row."""
    records = [
        record(model, of, fold, np.asarray(error, float)[test])
        for model, error in errors.items()
        for fold, (_, test) in of.folds.items()
    ]
    return EvaluationResult({of.name: of}, records)


def test_corrected_interval_is_that_of_the_paper() -> None:
    rng = np.random.default_rng(0)
    a, b = np.abs(rng.normal(1, 0.2, N)), np.abs(rng.normal(2, 0.2, N))
    [row] = compare_models(result(task(), a=a, b=b)).to_dict("records")
    folds = np.array([a[test].mean() - b[test].mean() for _, test in FOLDS.values()])
    half = stats.t.ppf(0.975, 4) * math.sqrt(folds.var(ddof=1) * (1 / 5 + 12 / 48))
    assert row["difference"] == pytest.approx(folds.mean())
    assert (row["low"], row["high"]) == pytest.approx((folds.mean() - half, folds.mean() + half))
    assert row["verdict"] == "win"
    assert row["method"] == "corrected t"
    assert row["n_folds"] == 5
    [other_way] = compare_models(result(task(), a=a, b=b), "a").to_dict("records")
    assert other_way["model"] == "b"
    assert other_way["verdict"] == "loss"


def test_one_split_is_compared_by_its_compositions() -> None:
    split = {0: (np.arange(20), np.arange(20, N))}
    rng = np.random.default_rng(0)
    better, worse = np.abs(rng.normal(1, 0.5, N)), np.abs(rng.normal(1.4, 0.5, N))
    [row] = compare_models(result(task(folds=split), a=better, b=worse)).to_dict("records")
    gain = (better - worse)[20:]
    expected = stats.bootstrap((gain,), np.mean, method="percentile", rng=1).confidence_interval
    assert row["method"] == "bootstrap"
    assert row["difference"] == pytest.approx(gain.mean())
    assert (row["low"], row["high"]) == pytest.approx(tuple(expected), abs=0.03)
    # forty rows of one composition are one observation: no interval leaves out zero
    same = Task(
        "gap", "regression", np.array(["NaCl"] * N, dtype=object), np.zeros(N), np.arange(N), split
    )
    [row] = compare_models(result(same, a=better, b=worse)).to_dict("records")
    assert row["low"] == row["high"] == pytest.approx(gain.mean())
    with pytest.raises(InputError, match="one split, which is compared by the MAE"):
        compare_models(result(task(folds=split), a=better, b=worse), scores={"regression": "rmse"})


def test_larger_aucs_win() -> None:
    of = task(kind="classification")
    rng = np.random.default_rng(0)
    good = np.where(of.y, 0.7, 0.3) + rng.normal(0, 0.05, N)
    [row] = compare_models(result(of, bad=rng.uniform(size=N), good=good)).to_dict("records")
    assert row["score"] == "roc_auc"
    assert row["verdict"] == "loss"


def test_equal_models_tie() -> None:
    errors = np.linspace(0, 1, N)
    [row] = compare_models(result(task(), a=errors, b=errors)).to_dict("records")
    assert row["verdict"] == "tie"
    assert row["low"] == row["high"] == 0


def test_wins_ties_and_losses() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.1, (3, N))
    made = result(task(), a=1 + noise[0], b=2 + noise[1], c=2 + noise[2])
    table = win_tie_loss(compare_models(made)).set_index(["model", "baseline"])
    assert table.loc[("a", "b")].tolist() == [1, 0, 0]
    assert table.loc[("b", "c")].tolist() == [0, 1, 0]
    against = win_tie_loss(compare_models(made, "a")).set_index("model")
    assert against["loss"].tolist() == [1, 1]


def test_what_cannot_be_compared() -> None:
    made = result(task(), a=np.ones(N), b=np.ones(N))
    with pytest.raises(InputError, match="'c' is not among the models: a, b"):
        compare_models(made, "c")
    missing = EvaluationResult(made.tasks, [r for r in made.records if r.model == "a"])
    missing.records.append(record("b", made.tasks["gap"], 0, np.ones(12)))
    with pytest.raises(InputError, match="different folds of gap"):
        compare_models(missing)
    two = {"gap": made.tasks["gap"], "size": task("size")}
    with pytest.raises(InputError, match="a has no result on size"):
        compare_models(EvaluationResult(two, made.records))


def test_critical_difference_is_that_of_demsar() -> None:
    """Four models, 14 data sets: 1.25 in section 3.2.2 of the paper."""
    rng = np.random.default_rng(0)
    rows = [(m, f"t{t}", rng.uniform()) for m in "abcd" for t in range(14)]
    summary = pd.DataFrame(rows, columns=["model", "task", "mae"])
    kinds = {f"t{t}": "regression" for t in range(14)}
    ranking = rank_models(summary, kinds)
    assert ranking.critical_difference == pytest.approx(1.25, abs=0.005)
    assert len(ranking.tasks) == 14
    assert ranking.table["mean_rank"].mean() == pytest.approx(2.5)
    assert 0 < ranking.p_value <= 1


def test_ranks_follow_the_direction_of_the_score() -> None:
    rows = [
        ("a", "gap", 1.0, None),
        ("b", "gap", 2.0, None),
        ("a", "metal", None, 0.9),
        ("b", "metal", None, 0.8),
        ("a", "half", 1.0, None),
    ]
    summary = pd.DataFrame(rows, columns=["model", "task", "mae", "roc_auc"])
    kinds = {"gap": "regression", "metal": "classification", "half": "regression"}
    ranking = rank_models(summary, kinds)
    # one task lacks a model and does not count
    assert ranking.tasks == ["gap", "metal"]
    assert ranking.table["model"].tolist() == ["a", "b"]
    assert ranking.table["best"].tolist() == [2, 0]
    assert math.isnan(ranking.p_value)
    with pytest.raises(InputError, match="at least two models"):
        rank_models(summary[summary["model"] == "a"], kinds)


def test_mean_reduction() -> None:
    rows = [
        ("a", "gap", 3.0),
        ("b", "gap", 4.0),
        ("c", "gap", 6.0),
        ("a", "size", 2.0),
        ("b", "size", 4.0),
        ("c", "size", 2.0),
        ("b", "half", 1.0),
        ("a", "metal", None),
    ]
    summary = pd.DataFrame(rows, columns=["model", "task", "mae"])
    assert mean_reduction(summary, "a", "b") == pytest.approx((0.25 + 0.5) / 2)
    # against the best other one of each task
    assert mean_reduction(summary, "a") == pytest.approx((0.25 + 0.0) / 2)
    with pytest.raises(InputError, match="'d' is not among"):
        mean_reduction(summary, "a", "d")
    with pytest.raises(InputError, match="No task"):
        mean_reduction(summary[summary["task"] != "gap"].iloc[[0, 3]], "a", "b")
