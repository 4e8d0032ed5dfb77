"""Our results beside those of published MatBench submissions."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from sklearn_kt.datasets import MATBENCH_TASKS, data_home
from sklearn_kt.evaluation import SCORES, EvaluationResult
from sklearn_kt.evaluation.text import figure
from sklearn_kt.exceptions import DatasetError, InputError

__all__ = ["find_leaderboard", "leaderboard", "leaderboard_text", "read_leaderboard"]

# the score that the official leaderboard ranks by
_HEADLINE = {"regression": "mae", "classification": "roc_auc_of_labels"}
_LEADERBOARD = "leaderboard_scores.csv"
_COLUMNS = {"algorithm", "task", "fold"}


def read_leaderboard(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read recorded scores of published submissions.

    Parameters
    ----------
    path : path-like
        A CSV file with the columns ``algorithm``, ``task``, ``fold`` and the scores under
        matbench's names (``mae``, ``rmse``, ``mape``, ``max_error``, ``accuracy``,
        ``balanced_accuracy``, ``f1``, ``rocauc``); or a folder with such a file named
        ``leaderboard_scores.csv``.

    Returns
    -------
    frame : DataFrame
        Columns ``model``, ``task``, ``fold`` and the scores under the names of
        :data:`~sklearn_kt.evaluation.SCORES`: matbench's "rocauc" is
        ``roc_auc_of_labels``.

    Raises
    ------
    DatasetError
        If the file is missing or has other columns.

    Examples
    --------
    >>> from sklearn_kt.benchmarking import read_leaderboard
    >>> read_leaderboard("no/such/folder")
    Traceback (most recent call last):
        ...
    sklearn_kt.exceptions.DatasetError: no/such/folder cannot be read: ...
    """
    path = Path(path)
    if path.is_dir():
        path = path / _LEADERBOARD
    try:
        frame = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} cannot be read: {error}") from error
    missing = sorted(_COLUMNS - set(frame.columns))
    if missing:
        raise DatasetError(f"{path} has no column {missing[0]!r}; its columns are {list(frame)}.")
    return frame.rename(columns={"algorithm": "model", "rocauc": "roc_auc_of_labels"})


def find_leaderboard(data_dir: str | os.PathLike[str] | None) -> Path | None:
    """Find recorded scores beside the tables; None where there are none."""
    home = data_dir or data_home()
    if home is None:
        return None
    for path in (Path(home) / _LEADERBOARD, Path(home) / "matbench" / _LEADERBOARD):
        if path.is_file():
            return path
    return None


def leaderboard(
    result: EvaluationResult | None, published: pd.DataFrame | None, task: str
) -> pd.DataFrame:
    """Rank our models among published submissions of one task.

    Parameters
    ----------
    result : EvaluationResult or None
        Our results; models with fewer folds than others get a row without a rank.
    published : DataFrame or None
        Of :func:`read_leaderboard`.
    task : str
        Name of the task.

    Returns
    -------
    frame : DataFrame
        Sorted by the score that the official leaderboard sorts by: the MAE, or the ROC AUC of
        labels. Columns ``rank``, ``model``, ``ours`` (bool), ``n_folds``, and mean and
        (population) standard deviation over the folds of each score. Published
        submissions have no ``roc_auc``: their files mostly hold labels.

    Raises
    ------
    InputError
        If there is no such task, or no score of it.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_kt.benchmarking import leaderboard
    >>> published = pd.DataFrame(
    ...     {"model": ["a", "b"], "task": "matbench_steels", "fold": 0, "mae": [90.0, 80.0]}
    ... )
    >>> leaderboard(None, published, "matbench_steels")[["rank", "model", "mae"]]
       rank model   mae
    0     1     b  80.0
    1     2     a  90.0
    """
    if task not in MATBENCH_TASKS:
        raise InputError(
            f"{task!r} is not a MatBench v0.1 task. The tasks are: {', '.join(MATBENCH_TASKS)}."
        )
    spec = MATBENCH_TASKS[task]
    parts = []
    if published is not None:
        parts.append(published[published["task"] == task].assign(ours=False))
    if result is not None:
        ours = result.to_frame()
        parts.append(ours[ours["task"] == task].assign(ours=True))
    if not parts:
        raise InputError("Neither our results nor published scores were given.")
    frame = pd.concat(parts, ignore_index=True)
    if frame.empty:
        raise InputError(f"No scores of {task} were given.")
    names = [
        name
        for name in (
            ("mae", "rmse")
            if spec.kind == "regression"
            else ("roc_auc_of_labels", "roc_auc", "f1", "accuracy")
        )
        if name in frame
    ]
    grouped = frame.groupby(["model", "ours"], sort=False)
    table = grouped[names].mean().join(grouped[names].std(ddof=0).add_suffix("_std"))
    table.insert(0, "n_folds", grouped.size())
    headline = SCORES[_HEADLINE[spec.kind]]
    table = table.reset_index().sort_values(
        headline.name, ascending=headline.smaller_is_better, kind="stable", ignore_index=True
    )
    complete = table["n_folds"] == table["n_folds"].max()
    table.insert(0, "rank", complete.cumsum().where(complete).astype("Int64"))
    return table


def leaderboard_text(table: pd.DataFrame) -> pd.DataFrame:
    """Spell a :func:`leaderboard`, scores as mean ± standard deviation over the folds.

    Our models are marked with an asterisk.
    """
    labels = {name: score.label for name, score in SCORES.items()}
    labels["roc_auc_of_labels"] = "ROC AUC (MatBench's rule)"
    labels["roc_auc"] = "ROC AUC (of scores)"
    text = pd.DataFrame()
    text["rank"] = ["-" if pd.isna(rank) else str(rank) for rank in table["rank"]]
    text["model"] = [
        f"{name} *" if ours else name
        for name, ours in zip(table["model"], table["ours"], strict=True)
    ]
    for name in table:
        if name in labels:
            text[labels[name]] = [
                figure(mean, spread)
                for mean, spread in zip(table[name], table[f"{name}_std"], strict=True)
            ]
    return text
