"""The scores of predictions: names, labels, what is better, and how each is computed.

Notes
-----
**Two rules for the ROC AUC.** MatBench (since 0.1) thresholds probabilities at 0.5
before it computes its "rocauc", and LLM4Mat-Bench's code rounds them; both are the AUC
of labels, which for two classes is the balanced accuracy. The AUC of the probabilities
is another, larger number. Both are given, as ``roc_auc_of_labels`` and ``roc_auc``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from sklearn.metrics import f1_score, max_error, r2_score, recall_score, roc_auc_score

from sklearn_kt._settings import own_settings
from sklearn_kt.exceptions import InputError

__all__ = [
    "HEADLINES",
    "SCORES",
    "Score",
    "TaskKind",
    "check_kind",
    "score_predictions",
    "scores_of",
]

TaskKind: TypeAlias = Literal["regression", "classification"]

HEADLINES: Mapping[str, str] = {"regression": "mae", "classification": "roc_auc"}
"""The score that models are compared by, for each task kind."""

# MatBench leaves targets nearer to zero out of its MAPE
_MAPE_MIN = 1e-5


@dataclass(frozen=True)
class Score:
    """One score of the predictions of a fold.

    Parameters
    ----------
    name : str
        Its name in frames and files.
    label : str
        Its name in tables.
    kind : {"regression", "classification"}
        Of the tasks that have it.
    compute : callable
        Takes targets and predictions; for classes those, probabilities and class labels.
    smaller_is_better : bool, default=False
        Whether it is an error.
    in_target_units : bool, default=False
        Whether its size is that of the target.
    needs_probabilities : bool, default=False
        Whether it is NaN for a classifier without probabilities.
    shown : bool, default=False
        Whether tables show it unless asked for others.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_kt.evaluation import SCORES
    >>> mae = SCORES["mae"]
    >>> mae.label, mae.kind, mae.smaller_is_better
    ('MAE', 'regression', True)
    >>> float(mae.compute(np.array([1.0, 2.0]), np.array([1.5, 2.0])))
    0.25
    """

    name: str
    label: str
    kind: TaskKind
    compute: Callable[..., float]
    smaller_is_better: bool = False
    in_target_units: bool = False
    needs_probabilities: bool = False
    shown: bool = False


def _mae(y: np.ndarray, predictions: np.ndarray) -> float:
    return np.abs(y - predictions).mean()


def _rmse(y: np.ndarray, predictions: np.ndarray) -> float:
    return np.sqrt(((y - predictions) ** 2).mean())


def _r2(y: np.ndarray, predictions: np.ndarray) -> float:
    return r2_score(y, predictions) if len(y) > 1 else math.nan


def _mape(y: np.ndarray, predictions: np.ndarray) -> float:
    far = np.abs(y) > _MAPE_MIN
    return np.abs((y[far] - predictions[far]) / y[far]).mean() if far.any() else math.nan


def _mad_mae(y: np.ndarray, predictions: np.ndarray) -> float:
    error = _mae(y, predictions)
    return np.abs(y - y.mean()).mean() / error if error > 0 else math.nan


def _accuracy(y: np.ndarray, labels: np.ndarray, *_: np.ndarray | None) -> float:
    return (y == labels).mean()


def _balanced_accuracy(y: np.ndarray, labels: np.ndarray, *_: np.ndarray | None) -> float:
    return recall_score(y, labels, labels=np.unique(y), average="macro", zero_division=0)


def _roc_auc(
    y: np.ndarray, labels: np.ndarray, probabilities: np.ndarray, classes: np.ndarray
) -> float:
    if len(classes) == 2:
        return roc_auc_score(y == classes[1], probabilities[:, 1])
    if len(np.unique(y)) < len(classes):
        return math.nan
    return roc_auc_score(y, probabilities, multi_class="ovr", average="macro", labels=classes)


def _roc_auc_of_labels(
    y: np.ndarray, labels: np.ndarray, probabilities: np.ndarray | None, classes: np.ndarray
) -> float:
    if len(classes) > 2:
        return math.nan
    return roc_auc_score(y == classes[1], labels == classes[1])


def _f1(
    y: np.ndarray, labels: np.ndarray, probabilities: np.ndarray | None, classes: np.ndarray
) -> float:
    if len(classes) == 2:
        return f1_score(y == classes[1], labels == classes[1])
    return f1_score(y, labels, average="macro")


_ERROR = {"smaller_is_better": True, "in_target_units": True}

SCORES: Mapping[str, Score] = {
    score.name: score
    for score in (
        Score("mae", "MAE", "regression", _mae, **_ERROR, shown=True),
        Score("rmse", "RMSE", "regression", _rmse, **_ERROR, shown=True),
        Score("r2", "R²", "regression", _r2, shown=True),
        Score("mape", "MAPE", "regression", _mape, smaller_is_better=True),
        Score("max_error", "max. error", "regression", max_error, **_ERROR),
        Score("mad_mae", "MAD:MAE", "regression", _mad_mae),
        Score("accuracy", "accuracy", "classification", _accuracy, shown=True),
        Score(
            "balanced_accuracy",
            "balanced accuracy",
            "classification",
            _balanced_accuracy,
            shown=True,
        ),
        Score(
            "roc_auc",
            "ROC AUC",
            "classification",
            _roc_auc,
            needs_probabilities=True,
            shown=True,
        ),
        Score("roc_auc_of_labels", "ROC AUC of labels", "classification", _roc_auc_of_labels),
        Score("f1", "F1", "classification", _f1, shown=True),
    )
}
"""What is measured on each fold, by name."""


def scores_of(kind: str, *, shown: bool = False) -> dict[str, Score]:
    """Give the scores of a task kind by name; all, or those that tables show."""
    check_kind(kind)
    return {
        name: score
        for name, score in SCORES.items()
        if score.kind == kind and (score.shown or not shown)
    }


def check_kind(kind: str) -> None:
    """Refuse what is no task kind."""
    if kind not in HEADLINES:
        raise InputError(f"kind must be 'regression' or 'classification', got {kind!r}.")


@own_settings()
def score_predictions(
    kind: TaskKind,
    y: np.ndarray,
    predictions: np.ndarray,
    probabilities: np.ndarray | None = None,
    classes: np.ndarray | None = None,
) -> dict[str, float]:
    """Score predictions, with both rules for the ROC AUC.

    Parameters
    ----------
    kind : {"regression", "classification"}
        What was predicted.
    y : ndarray of shape (n_test,)
        Targets: numbers, or class labels.
    predictions : ndarray of shape (n_test,)
        Numbers, or class labels.
    probabilities : ndarray of shape (n_test, n_classes) or None, default=None
        Without them the ROC AUC is NaN.
    classes : ndarray of shape (n_classes,) or None, default=None
        Class labels in sorted order; None takes False and True. The positive class of two is
        the last one.

    Returns
    -------
    scores : dict of str to float
        The keys of :data:`SCORES` for this kind; NaN where a score is not defined. ``mad_mae``
        is the mean absolute deviation of `y` from its mean, divided by the MAE.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_kt.evaluation import score_predictions
    >>> y, p = np.array([False, False, True, True]), np.array([0.1, 0.6, 0.7, 0.8])
    >>> both = np.column_stack([1 - p, p])
    >>> scores = score_predictions("classification", y, p > 0.5, both)
    >>> scores["roc_auc"], scores["roc_auc_of_labels"]
    (1.0, 0.75)
    """
    values: tuple[np.ndarray | None, ...] = (y, predictions)
    if kind == "classification":
        values = (*values, probabilities, np.array([False, True]) if classes is None else classes)
    found = dict.fromkeys(scores_of(kind), math.nan)
    # where all rows are of one class, it is the only score that says something
    defined = len(y) > 0 and (kind == "regression" or len(np.unique(y)) > 1)
    for name in found if defined else ["accuracy"] if kind == "classification" and len(y) else []:
        if probabilities is not None or not SCORES[name].needs_probabilities:
            found[name] = float(SCORES[name].compute(*values))
    return found
