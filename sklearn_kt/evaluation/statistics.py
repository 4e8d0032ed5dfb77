"""Comparing models: paired differences with intervals, wins and losses, ranks.

Models that ran on the same folds are compared fold by fold, so that what is hard about a fold
cancels out.

Notes
-----
**Folds.** The training parts of a cross-validation overlap, so the variance of a mean
difference is larger than that of independent folds; the t interval is corrected for it [1]_:
``s^2 (1 / k + n_test / n_train)`` for k folds.

**One split.** Where a task has one test part, intervals are percentiles of a bootstrap of its
compositions: all rows of one composition are drawn together. They say how certain the
difference is on these rows, not how it varies with the training part.

**Many tasks.** Mean ranks are compared by the Friedman test, and pairs of models by Nemenyi's
critical difference [2]_.

References
----------
.. [1] C. Nadeau and Y. Bengio, "Inference for the generalization error", Machine Learning 52,
   239-281 (2003). https://doi.org/10.1023/A:1024068626366
.. [2] J. Demsar, "Statistical comparisons of classifiers over multiple data sets", J. Mach.
   Learn. Res. 7, 1-30 (2006).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from sklearn_kt.exceptions import InputError

from .result import EvaluationResult
from .scores import HEADLINES, SCORES

__all__ = [
    "Ranking",
    "compare_models",
    "mean_reduction",
    "rank_models",
    "win_tie_loss",
]


@dataclass
class Ranking:
    """Mean ranks of models over tasks.

    Parameters
    ----------
    table : DataFrame
        Columns ``model``, ``mean_rank`` (1 is best) and ``best`` (number of tasks on which the
        model is best or tied with the best), sorted.
    tasks : list of str
        The tasks that all models ran on.
    p_value : float
        Of the Friedman test that all models are equal; NaN for fewer than three models.
    critical_difference : float
        Models whose mean ranks differ by less are not told apart (Nemenyi).

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_kt.evaluation import rank_models
    >>> rows = [("a", "gap", 0.3), ("b", "gap", 0.4), ("a", "size", 2.0), ("b", "size", 3.0)]
    >>> summary = pd.DataFrame(rows, columns=["model", "task", "mae"])
    >>> ranking = rank_models(summary, {"gap": "regression", "size": "regression"})
    >>> ranking.tasks, round(float(ranking.critical_difference), 2)
    (['gap', 'size'], 1.39)
    """

    table: pd.DataFrame
    tasks: list[str]
    p_value: float
    critical_difference: float


def compare_models(
    result: EvaluationResult,
    baseline: str | None = None,
    *,
    scores: Mapping[str, str] = HEADLINES,
    confidence: float = 0.95,
    n_resamples: int = 2000,
    random_state: int = 0,
) -> pd.DataFrame:
    """Compare models task by task.

    Parameters
    ----------
    result : EvaluationResult
        Of models that ran on the same folds.
    baseline : str or None, default=None
        Compare all others with this model; None compares all pairs.
    scores : mapping of str to str, default=HEADLINES
        The score for each task kind, a key of
        :data:`~sklearn_kt.evaluation.SCORES`. One split is compared by ``"mae"`` only.
    confidence : float, default=0.95
        Of the intervals.
    n_resamples : int, default=2000
        Of the bootstrap, for tasks with one split.
    random_state : int, default=0
        Seed of the bootstrap.

    Returns
    -------
    frame : DataFrame
        One row per task and pair: ``task``, ``score``, ``model``, ``baseline``,
        ``model_score``, ``baseline_score``, ``difference`` (model minus baseline, mean over
        the folds), ``low`` and ``high`` of its interval, ``n_folds``, ``method``
        ("corrected t" or "bootstrap") and ``verdict``: "win" or "loss" of the model when the
        interval leaves out zero, else "tie".

    Raises
    ------
    InputError
        If the baseline is unknown or the models ran on different folds.

    Examples
    --------
    >>> from sklearn.dummy import DummyRegressor
    >>> from sklearn_kt.evaluation import compare_models, evaluate, table_task
    >>> X, y, split = [f"Na{n}Cl" for n in range(1, 13)], [5.0] * 12, [(range(6), range(6, 12))]
    >>> task = table_task(X, y, kind="regression", folds=split)
    >>> models = {"mean": DummyRegressor(), "zero": DummyRegressor(strategy="constant", constant=0)}
    >>> row = compare_models(evaluate(models, task), "zero").iloc[0]
    >>> row["model"], float(row["difference"]), row["verdict"]
    ('mean', -5.0, 'win')
    """
    models = result.models
    if baseline is not None and baseline not in models:
        raise InputError(f"{baseline!r} is not among the models: {', '.join(models)}.")
    pairs = (
        list(itertools.combinations(models, 2))
        if baseline is None
        else [(model, baseline) for model in models if model != baseline]
    )
    frame = result.to_frame().sort_values("fold", kind="stable")
    runs = dict(iter(frame.groupby(["model", "task"])))
    rows = []
    for name, task in result.tasks.items():
        score = scores[task.kind]
        means: dict[str, np.ndarray] = {}
        for model, other in pairs:
            ours, theirs = (_of(runs, which, name) for which in (model, other))
            if ours["fold"].tolist() != theirs["fold"].tolist():
                raise InputError(f"{model} and {other} ran on different folds of {name}.")
            difference = ours[score].to_numpy(float) - theirs[score].to_numpy(float)
            if len(difference) > 1:
                ratio = float((ours["n_test"] / ours["n_train"]).mean())
                low, high = _corrected_interval(difference, ratio, confidence)
                method = "corrected t"
            elif score == "mae":
                means = means or _resampled_means(result, name, models, n_resamples, random_state)
                tail = (1 - confidence) / 2
                low, high = np.quantile(means[model] - means[other], [tail, 1 - tail]).tolist()
                method = "bootstrap"
            else:
                raise InputError(
                    f"{name} has one split, which is compared by the MAE; got {score!r}."
                )
            rows.append(
                {
                    "task": name,
                    "score": score,
                    "model": model,
                    "baseline": other,
                    "model_score": float(ours[score].mean()),
                    "baseline_score": float(theirs[score].mean()),
                    "difference": float(difference.mean()),
                    "low": low,
                    "high": high,
                    "n_folds": len(difference),
                    "method": method,
                    "verdict": _verdict(low, high, score),
                }
            )
    return pd.DataFrame(rows)


def win_tie_loss(comparison: pd.DataFrame) -> pd.DataFrame:
    """Count wins, ties and losses.

    Parameters
    ----------
    comparison : DataFrame
        Of :func:`compare_models`.

    Returns
    -------
    frame : DataFrame
        One row per pair: ``model``, ``baseline``, ``win``, ``tie``, ``loss`` (numbers of tasks).

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_kt.evaluation import win_tie_loss
    >>> rows = [("x", "a", "b", "win"), ("y", "a", "b", "tie"), ("z", "a", "b", "win")]
    >>> win_tie_loss(pd.DataFrame(rows, columns=["task", "model", "baseline", "verdict"]))
      model baseline  win  tie  loss
    0     a        b    2    1     0
    """
    counts = comparison.pivot_table(
        "task", ["model", "baseline"], "verdict", aggfunc="count", fill_value=0, sort=False
    )
    counts.columns.name = None
    return counts.reindex(columns=["win", "tie", "loss"], fill_value=0).reset_index()


def rank_models(
    summary: pd.DataFrame, kinds: Mapping[str, str], *, scores: Mapping[str, str] = HEADLINES
) -> Ranking:
    """Rank models on each task and average the ranks.

    Parameters
    ----------
    summary : DataFrame
        Columns ``model``, ``task`` and the scores, as of
        :meth:`~sklearn_kt.evaluation.EvaluationResult.summary`; recorded scores may be added.
    kinds : mapping of str to str
        Kind of each task.
    scores : mapping of str to str, default=HEADLINES
        The score for each task kind.

    Returns
    -------
    ranking : Ranking
        Over the tasks on which every model has a score.

    Raises
    ------
    InputError
        If there is no such task, or fewer than two models.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_kt.evaluation import rank_models
    >>> rows = [("a", "gap", 0.3), ("b", "gap", 0.4), ("a", "size", 2.0), ("b", "size", 3.0)]
    >>> summary = pd.DataFrame(rows, columns=["model", "task", "mae"])
    >>> rank_models(summary, {"gap": "regression", "size": "regression"}).table
      model  mean_rank  best
    0     a        1.0     2
    1     b        2.0     0
    """
    losses = {}
    for name, group in summary[summary["task"].isin(list(kinds))].groupby("task", sort=False):
        score = scores[kinds[str(name)]]
        values = group.set_index("model")[score]
        losses[str(name)] = values if SCORES[score].smaller_is_better else -values
    table = pd.DataFrame(losses).T.dropna()
    n_tasks, n_models = table.shape
    if n_tasks == 0 or n_models < 2:
        raise InputError(
            "Ranking needs at least two models and a task on which all of them have a score."
        )
    ranks = table.rank(axis=1)
    best = table.eq(table.min(axis=1), axis=0).sum()
    ranked = pd.DataFrame({"mean_rank": ranks.mean(), "best": best}).sort_values("mean_rank")
    p_value = math.nan
    if n_models > 2 and n_tasks > 1:
        p_value = float(stats.friedmanchisquare(*(table[model] for model in table)).pvalue)
    quantile = stats.studentized_range.ppf(0.95, n_models, math.inf) / math.sqrt(2)
    return Ranking(
        ranked.rename_axis("model").reset_index(),
        list(table.index),
        p_value,
        float(quantile * math.sqrt(n_models * (n_models + 1) / (6 * n_tasks))),
    )


def mean_reduction(
    summary: pd.DataFrame, model: str, reference: str | None = None, *, score: str = "mae"
) -> float:
    """Average, over tasks, by what part a model's error is smaller than another's.

    Parameters
    ----------
    summary : DataFrame
        Columns ``model``, ``task`` and the score, as of
        :meth:`~sklearn_kt.evaluation.EvaluationResult.summary`.
    model : str
        The model.
    reference : str or None, default=None
        The other; None takes the best of all others on each task.
    score : str, default="mae"
        An error, smaller is better. Tasks without it are left out.

    Returns
    -------
    reduction : float
        ``mean(1 - error / reference error)`` over the tasks that both have; 0.25 means a
        quarter less.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_kt.evaluation import mean_reduction
    >>> rows = [("a", "gap", 0.3), ("b", "gap", 0.4), ("a", "size", 2.0), ("b", "size", 4.0)]
    >>> summary = pd.DataFrame(rows, columns=["model", "task", "mae"])
    >>> round(mean_reduction(summary, "a", "b"), 3)
    0.375
    """
    table = summary.pivot_table(score, "task", "model", dropna=False)
    for name in (model, reference):
        if name is not None and name not in table:
            raise InputError(f"{name!r} is not among the models: {', '.join(table)}.")
    others = table.drop(columns=model).min(axis=1) if reference is None else table[reference]
    parts = (1 - table[model] / others).dropna()
    if parts.empty:
        raise InputError(f"No task has the {score!r} of both.")
    return float(parts.mean())


def _of(runs: Mapping[Any, pd.DataFrame], model: str, task: str) -> pd.DataFrame:
    if (model, task) not in runs:
        raise InputError(f"{model} has no result on {task}.")
    return runs[model, task]


def _corrected_interval(
    difference: np.ndarray, ratio: float, confidence: float
) -> tuple[float, float]:
    k = len(difference)
    deviation = math.sqrt(difference.var(ddof=1) * (1 / k + ratio))
    half = stats.t.ppf((1 + confidence) / 2, k - 1) * deviation
    return float(difference.mean() - half), float(difference.mean() + half)


def _resampled_means(
    result: EvaluationResult,
    name: str,
    models: Sequence[str],
    n_resamples: int,
    random_state: int,
) -> dict[str, np.ndarray]:
    """MAEs of the models on resamples of the test part; compositions are drawn, not rows."""
    errors, groups = {}, np.array([], np.int64)
    for model in models:
        errors[model], groups = result.absolute_errors(name, model)
    sizes = np.bincount(groups)
    drawn = _draws(len(sizes), n_resamples, random_state)
    rows = drawn @ sizes
    # the same resamples for all, so that what is hard about one cancels out
    return {
        model: drawn @ np.bincount(groups, weights=error) / rows for model, error in errors.items()
    }


@lru_cache(maxsize=1)
def _draws(n_groups: int, n_resamples: int, random_state: int) -> np.ndarray:
    """How often each composition is drawn; the same for all comparisons of a task."""
    rng = np.random.default_rng(random_state)
    drawn = np.empty((n_resamples, n_groups))
    for counts in drawn:
        counts[:] = np.bincount(rng.integers(n_groups, size=n_groups), minlength=n_groups)
    return drawn


def _verdict(low: float, high: float, score: str) -> str:
    if low <= 0 <= high or math.isnan(low):
        return "tie"
    return "win" if (high < 0) == SCORES[score].smaller_is_better else "loss"
