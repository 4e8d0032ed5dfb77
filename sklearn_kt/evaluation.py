"""Honest cross-validation of several models on identical folds.

:func:`make_folds` never puts one composition on both sides of a split,
:func:`cross_validate_models` fits every model on the same folds and keeps every
out-of-fold prediction, and :data:`MODELS` names the models the command line
compares, from a constant guess to knowledge transfer.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import inspect
import math
import os
import platform
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from time import perf_counter
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    f1_score,
    mean_absolute_error,
    r2_score,
    roc_auc_score,
    root_mean_squared_error,
)
from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils import check_consistent_length
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import validate_data

from ._settings import own_settings
from ._targets import as_numbers
from .compositions import ELEMENTS, CompositionBatch, composition_groups, read_compositions
from .estimators.readouts import decide, forests_in_order
from .exceptions import CompositionWarning, InputError
from .fitting import fit_context
from .tokenizer import CompositionTokenizer

__all__ = [
    "METRICS",
    "MODELS",
    "EvaluationResult",
    "FoldPrediction",
    "MagpieFeaturizer",
    "ModelScores",
    "cross_validate_models",
    "fit_and_predict",
    "fold_metrics",
    "make_folds",
    "make_model",
    "offers_std",
]

TaskKind = Literal["regression", "classification"]
Fold = tuple[np.ndarray, np.ndarray]

METRICS: Mapping[str, Mapping[str, str]] = {
    "regression": {"mae": "MAE", "rmse": "RMSE", "r2": "R²"},
    "classification": {
        "accuracy": "accuracy",
        "balanced_accuracy": "balanced accuracy",
        "roc_auc": "ROC AUC",
        "f1": "F1",
    },
}
"""What is measured on each fold, by task kind, with the names shown in tables."""

_N_TREES = 300
_PACKAGES = (
    "sklearn_kt",
    "numpy",
    "pandas",
    "scikit-learn",
    "torch",
    "skorch",
    "transformers",
    "pymatgen",
    "matminer",
)


class MagpieFeaturizer(TransformerMixin, BaseEstimator):
    """Magpie features of compositions, as computed by matminer.

    Statistics (minimum, maximum, range, mean, average deviation, mode) over the
    elements of a composition of 22 tabulated elemental properties: 132 numbers a row.

    Parameters
    ----------
    errors : {"raise", "nan"}, default="raise"
        What ``transform`` does with rows that are not compositions: an error that
        names them, or a row of NaN and a warning. ``fit`` always raises.

    Attributes
    ----------
    n_features_in_ : int
        Always 1. Only after ``fit``.
    feature_names_in_ : ndarray of str, shape (1,)
        Name of the column. Only after ``fit`` with a DataFrame.

    See Also
    --------
    sklearn_kt.CompositionTokenizer : Much faster; keeps the composition itself.

    Notes
    -----
    Elemental properties that Magpie lacks are replaced by their mean over the
    elements (``impute_nan=True`` of matminer), so no feature is NaN. matminer runs in
    one process here: its own pool is slower and can hang.

    References
    ----------
    L. Ward, A. Agrawal, A. Choudhary and C. Wolverton, "A general-purpose machine
    learning framework for predicting properties of inorganic materials", npj Comput.
    Mater. 2, 16028 (2016). https://doi.org/10.1038/npjcompumats.2016.28

    Examples
    --------
    >>> from sklearn_kt.evaluation import MagpieFeaturizer
    >>> featurizer = MagpieFeaturizer().fit(["Fe2O3"])
    >>> featurizer.transform(["Fe2O3", "SiO2"]).shape
    (2, 132)
    >>> str(featurizer.get_feature_names_out()[0])
    'MagpieData minimum Number'
    """

    _parameter_constraints: ClassVar[dict] = {"errors": [StrOptions({"raise", "nan"})]}

    def __init__(self, *, errors: Literal["raise", "nan"] = "raise") -> None:
        self.errors = errors

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None) -> MagpieFeaturizer:
        """Check the compositions; nothing is learned.

        Parameters
        ----------
        X : array-like of compositions, shape (n_samples,) or (n_samples, 1)
            Anything :func:`~sklearn_kt.read_compositions` takes.
        y : None
            Ignored.

        Returns
        -------
        self : MagpieFeaturizer
            The featurizer itself.
        """
        if len(read_compositions(X)) == 0:
            raise InputError("X is empty: at least one composition is needed.")
        if hasattr(X, "columns"):
            validate_data(self, X, skip_check_array=True, reset=True)
        self.n_features_in_ = 1
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Compute the features.

        Parameters
        ----------
        X : array-like of compositions, shape (n_samples,) or (n_samples, 1)
            Anything :func:`~sklearn_kt.read_compositions` takes.

        Returns
        -------
        features : float64 ndarray of shape (n_samples, 132)
            One row per composition, in order.

        Raises
        ------
        CompositionError
            If a row is not a composition and ``errors="raise"``.
        """
        # fit may never have been called
        self._validate_params()
        batch = read_compositions(X, errors=self.errors)
        if hasattr(X, "columns") and hasattr(self, "feature_names_in_"):
            validate_data(self, X, skip_check_array=True, reset=False)
        featurizer = _magpie()
        features = np.full((len(batch), len(featurizer.feature_labels())), np.nan)
        rows = np.flatnonzero(batch.valid)
        if len(rows):
            features[rows] = featurizer.featurize_many(
                _pymatgen_compositions(batch[rows]), pbar=False
            )
        return features

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the 132 features.

        Parameters
        ----------
        input_features : None
            Ignored; the names do not depend on the input.

        Returns
        -------
        names : object ndarray of shape (132,)
            matminer's labels.
        """
        return np.asarray(_magpie().feature_labels(), dtype=object)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        tags.transformer_tags.preserves_dtype = []
        tags.requires_fit = False
        return tags


def _magpie() -> Any:
    """Build matminer's featurizer, set up explicitly and for one process."""
    from matminer.featurizers.composition import ElementProperty

    with warnings.catch_warnings():
        # matminer announces here that it imputes, which is chosen on purpose
        warnings.simplefilter("ignore")
        featurizer = ElementProperty.from_preset("magpie", impute_nan=True)
    featurizer.set_n_jobs(1)
    return featurizer


def _pymatgen_compositions(batch: CompositionBatch) -> list:
    from pymatgen.core import Composition

    symbols = [ELEMENTS[z - 1] for z in batch.atomic_numbers.tolist()]
    amounts = batch.amounts.tolist()
    ends = batch.offsets.tolist()
    return [
        Composition(dict(zip(symbols[start:end], amounts[start:end], strict=True)))
        for start, end in pairwise(ends)
    ]


def _dummy(kind: TaskKind, random_state: int | None, n_jobs: int | None) -> BaseEstimator:
    """Constant guess: the mean of the training targets, or the class frequencies."""
    if kind == "regression":
        return DummyRegressor()
    return DummyClassifier(strategy="prior")


def _extra_trees(kind: TaskKind, random_state: int | None, n_jobs: int | None) -> BaseEstimator:
    """Extra-trees (300) on raw element fractions."""
    forest = ExtraTreesRegressor if kind == "regression" else ExtraTreesClassifier
    return make_pipeline(
        CompositionTokenizer("fraction"),
        forest(_N_TREES, random_state=random_state, n_jobs=n_jobs),
    )


def _magpie_forest(kind: TaskKind, random_state: int | None, n_jobs: int | None) -> BaseEstimator:
    """Random forest (300) on matminer's Magpie features."""
    importlib.import_module("matminer.featurizers.composition")
    forest = RandomForestRegressor if kind == "regression" else RandomForestClassifier
    return make_pipeline(
        MagpieFeaturizer(), forest(_N_TREES, random_state=random_state, n_jobs=n_jobs)
    )


def _implicit_scratch(
    kind: TaskKind, random_state: int | None, n_jobs: int | None
) -> BaseEstimator:
    """Implicit knowledge transfer (imKT) without pretrained weights."""
    return _implicit(kind, None, random_state, n_jobs)


def _implicit_pretrained(
    kind: TaskKind, random_state: int | None, n_jobs: int | None
) -> BaseEstimator:
    """Implicit knowledge transfer (imKT) from the bundled checkpoint."""
    return _implicit(kind, "default", random_state, n_jobs)


def _implicit_fast(kind: TaskKind, random_state: int | None, n_jobs: int | None) -> BaseEstimator:
    """Implicit knowledge transfer (imKT): readouts on the bundled checkpoint, no networks."""
    return _implicit(kind, "default", random_state, n_jobs, readout="fast")


def _explicit(kind: TaskKind, random_state: int | None, n_jobs: int | None) -> BaseEstimator:
    """Explicit knowledge transfer (exKT): readouts on generated crystal structures."""
    explicit = importlib.import_module("sklearn_kt.estimators.explicit")
    importlib.import_module("sklearn_kt.structures.chgnet").load_chgnet()
    name = "ExplicitKTRegressor" if kind == "regression" else "ExplicitKTClassifier"
    return getattr(explicit, name)(random_state=random_state, n_jobs=n_jobs)


def _blended(kind: TaskKind, random_state: int | None, n_jobs: int | None) -> BaseEstimator:
    """Blend of implicit and explicit knowledge transfer, weighed on inner folds."""
    blending = importlib.import_module("sklearn_kt.estimators.blending")
    importlib.import_module("sklearn_kt.encoder.training")
    importlib.import_module("sklearn_kt.structures.chgnet").load_chgnet()
    name = "BlendedKTRegressor" if kind == "regression" else "BlendedKTClassifier"
    return getattr(blending, name)(random_state=random_state, n_jobs=n_jobs)


def _implicit(
    kind: TaskKind,
    checkpoint: str | None,
    random_state: int | None,
    n_jobs: int | None,
    readout: str = "auto",
) -> BaseEstimator:
    importlib.import_module("sklearn_kt.encoder.training")
    implicit = importlib.import_module("sklearn_kt.estimators.implicit")
    name = "ImplicitKTRegressor" if kind == "regression" else "ImplicitKTClassifier"
    return getattr(implicit, name)(
        checkpoint, readout=readout, random_state=random_state, n_jobs=n_jobs
    )


ModelFactory = Callable[[TaskKind, int | None, int | None], BaseEstimator]

MODELS: Mapping[str, ModelFactory] = {
    "dummy": _dummy,
    "et-fractions": _extra_trees,
    "rf-magpie": _magpie_forest,
    "imkt-scratch": _implicit_scratch,
    "imkt-fast": _implicit_fast,
    "imkt": _implicit_pretrained,
    "exkt": _explicit,
    "blended": _blended,
}
"""Models by name; each factory takes the task kind, a seed and a number of jobs.

A factory also imports what its model needs, so that imports are not timed as
training.
"""


def make_model(
    name: str,
    task_kind: TaskKind,
    *,
    random_state: int | None = None,
    n_jobs: int | None = None,
) -> BaseEstimator:
    """Build a model of :data:`MODELS`.

    Parameters
    ----------
    name : str
        A key of :data:`MODELS`.
    task_kind : {"regression", "classification"}
        What is predicted.
    random_state : int or None, default=None
        Seed of the model.
    n_jobs : int or None, default=None
        Jobs in parallel, as in scikit-learn; -1 uses every core.

    Returns
    -------
    model : estimator
        Not fitted.

    Raises
    ------
    InputError
        If the name or the task kind is unknown.

    Examples
    --------
    >>> from sklearn_kt.evaluation import make_model
    >>> make_model("dummy", "regression")
    DummyRegressor()
    """
    _check_task_kind(task_kind)
    if name not in MODELS:
        raise InputError(f"Unknown model {name!r}. The models are: {', '.join(MODELS)}.")
    return MODELS[name](task_kind, random_state, n_jobs)


def offers_std(model: Any) -> bool:
    """Tell whether ``predict`` of a model takes ``return_std``.

    Parameters
    ----------
    model : estimator
        Perhaps a Pipeline; then its last step counts.

    Returns
    -------
    offers : bool
        Never true for a constant guess, whose deviation of zero says nothing.
    """
    last = model.steps[-1][1] if isinstance(model, Pipeline) else model
    return (
        not isinstance(last, DummyRegressor)
        and "return_std" in inspect.signature(last.predict).parameters
    )


def make_folds(
    X: Any,
    y: Any,
    *,
    task_kind: TaskKind,
    n_splits: int = 5,
    random_state: int | None = 0,
) -> list[Fold]:
    """Split a table into folds that share no composition.

    When every composition occurs once, the folds are those of a shuffled
    :class:`~sklearn.model_selection.KFold` (or
    :class:`~sklearn.model_selection.StratifiedKFold` for classes). When compositions
    repeat, all rows of one stay on the same side
    (:class:`~sklearn.model_selection.GroupKFold` and
    :class:`~sklearn.model_selection.StratifiedGroupKFold`), since a model that has
    seen a composition in training would only have to remember it.

    Parameters
    ----------
    X : array-like of compositions, shape (n_samples,) or (n_samples, 1)
        Anything :func:`~sklearn_kt.read_compositions` takes.
    y : array-like of shape (n_samples,)
        Targets; used to stratify classes.
    task_kind : {"regression", "classification"}
        What is predicted.
    n_splits : int, default=5
        Number of folds.
    random_state : int or None, default=0
        Seed of the shuffling.

    Returns
    -------
    folds : list of (train, test) pairs of int64 ndarray
        Row positions; each row is in exactly one test part.

    Raises
    ------
    InputError
        If there are fewer compositions, or fewer rows of a class, than folds.

    Examples
    --------
    >>> from sklearn_kt.evaluation import make_folds
    >>> formulas = ["NaCl", "KCl", "Cl2Na2", "LiF"]
    >>> folds = make_folds(formulas, [1, 2, 3, 4], task_kind="regression", n_splits=2)
    >>> [test.tolist() for _, test in folds]
    [[1, 3], [0, 2]]
    """
    _check_task_kind(task_kind)
    groups = composition_groups(X)
    y = np.asarray(y)
    check_consistent_length(groups, y)
    n_distinct = len(np.unique(groups))
    if not 2 <= n_splits <= n_distinct:
        raise InputError(
            f"The number of folds must be between 2 and the number of distinct compositions,"
            f" {n_distinct}; got {n_splits}."
        )
    repeated = n_distinct < len(groups)
    settings: dict[str, Any] = {"shuffle": True, "random_state": random_state}
    if task_kind == "regression":
        splitter = (GroupKFold if repeated else KFold)(n_splits, **settings)
    else:
        labels, counts = np.unique(y, return_counts=True)
        if counts.min() < n_splits:
            raise InputError(
                f"Class {labels.tolist()[counts.argmin()]!r} has {counts.min()} rows, fewer than"
                f" the {n_splits} folds. Use fewer folds or drop the class."
            )
        splitter = (StratifiedGroupKFold if repeated else StratifiedKFold)(n_splits, **settings)
    return list(splitter.split(groups, y, groups if repeated else None))


@dataclass
class ModelScores:
    """Scores and out-of-fold predictions of one model.

    Parameters
    ----------
    name : str
        Name of the model.
    description : str
        The estimator with its parameters.
    folds : list of dict
        For each fold the metrics of :data:`METRICS`, ``fit_seconds``,
        ``predict_seconds`` and ``n_test``.
    predictions : ndarray of shape (n_samples,)
        Out-of-fold predictions, in row order.
    std : float64 ndarray of shape (n_samples,) or None
        Predicted standard deviations, from models that give one.
    probabilities : float64 ndarray of shape (n_samples, n_classes) or None
        Out-of-fold class probabilities, from classifiers.
    """

    name: str
    description: str
    folds: list[dict[str, float]]
    predictions: np.ndarray
    std: np.ndarray | None = None
    probabilities: np.ndarray | None = None

    @property
    def fit_seconds(self) -> float:
        """Seconds of training, mean over the folds."""
        return float(np.mean([fold["fit_seconds"] for fold in self.folds]))

    @property
    def predict_rate(self) -> float:
        """Rows predicted in a second, over all folds."""
        seconds = sum(fold["predict_seconds"] for fold in self.folds)
        return sum(fold["n_test"] for fold in self.folds) / max(seconds, 1e-9)

    def mean(self, metric: str) -> float:
        """Mean of a metric over the folds."""
        return float(np.mean([fold[metric] for fold in self.folds]))

    def spread(self, metric: str) -> float:
        """Take the (population) standard deviation of a metric over the folds."""
        return float(np.std([fold[metric] for fold in self.folds]))


@dataclass
class EvaluationResult:
    """What :func:`cross_validate_models` returns.

    Parameters
    ----------
    task_kind : {"regression", "classification"}
        What was predicted.
    formulas : list of str
        Compositions, in row order.
    y : ndarray of shape (n_samples,)
        True targets.
    fold_of_row : int64 ndarray of shape (n_samples,)
        Number of the fold in which a row was predicted.
    classes : ndarray or None
        Class labels, in the order of the columns of the probabilities.
    models : dict of str to ModelScores
        Results by model name.
    random_state : int or None
        Seed of the models.
    n_jobs : int or None
        Jobs in parallel.
    date : str
        When the run began, in UTC.
    versions : dict of str to str
        Versions of Python, of the packages and the machine.
    """

    task_kind: TaskKind
    formulas: list[str]
    y: np.ndarray
    fold_of_row: np.ndarray
    classes: np.ndarray | None
    models: dict[str, ModelScores]
    random_state: int | None = None
    n_jobs: int | None = None
    date: str = ""
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def n_folds(self) -> int:
        """Number of folds."""
        return int(self.fold_of_row.max()) + 1

    def to_frame(self) -> pd.DataFrame:
        """One row per model and fold.

        Returns
        -------
        frame : DataFrame of shape (n_models * n_folds, 2 + n_metrics + 3)
            Columns ``model``, ``fold``, the metrics, ``fit_seconds``,
            ``predict_seconds`` and ``n_test``.
        """
        return pd.DataFrame(
            [
                {"model": scores.name, "fold": number, **fold}
                for scores in self.models.values()
                for number, fold in enumerate(scores.folds)
            ]
        )

    def to_dict(
        self, *, dataset: Mapping[str, Any] | None = None, command: str | None = None
    ) -> dict[str, Any]:
        """Everything, as plain Python objects for :func:`json.dump`.

        Parameters
        ----------
        dataset : mapping or None, default=None
            What describes the data: name, target, unit, source.
        command : str or None, default=None
            The command that made the result.

        Returns
        -------
        content : dict
            Scores by model and fold, their means, out-of-fold predictions by row,
            seeds, versions, machine and date. Values that are not finite are None.
        """
        metrics = METRICS[self.task_kind]
        return plain(
            {
                "dataset": dict(dataset or {}),
                "task": self.task_kind,
                "n_samples": len(self.y),
                "n_folds": self.n_folds,
                "random_state": self.random_state,
                "n_jobs": self.n_jobs,
                "command": command,
                "date": self.date,
                "versions": self.versions,
                "models": {
                    scores.name: {
                        "estimator": scores.description,
                        "mean": {metric: scores.mean(metric) for metric in metrics},
                        "std": {metric: scores.spread(metric) for metric in metrics},
                        "fit_seconds": scores.fit_seconds,
                        "predict_rows_per_second": scores.predict_rate,
                        "folds": scores.folds,
                    }
                    for scores in self.models.values()
                },
                "classes": self.classes,
                "rows": {
                    "formula": self.formulas,
                    "target": self.y,
                    "fold": self.fold_of_row,
                    "predictions": {
                        scores.name: {
                            "prediction": scores.predictions,
                            "std": scores.std,
                            "probabilities": scores.probabilities,
                        }
                        for scores in self.models.values()
                    },
                },
            }
        )


def cross_validate_models(
    models: Iterable[str] | Mapping[str, BaseEstimator],
    X: Any,
    y: Any,
    folds: Iterable[Fold],
    *,
    task_kind: TaskKind,
    random_state: int | None = 0,
    n_jobs: int | None = None,
    verbose: int = 0,
) -> EvaluationResult:
    """Cross-validate models on the same folds and keep every prediction.

    Parameters
    ----------
    models : iterable of str or mapping of str to estimator
        Names of :data:`MODELS`, or own estimators by name; these are cloned and
        must take formulas, as a Pipeline that starts with
        :class:`~sklearn_kt.CompositionTokenizer` does.
    X : array-like of compositions, shape (n_samples,) or (n_samples, 1)
        Anything :func:`~sklearn_kt.read_compositions` takes. Models see formulas.
    y : array-like of shape (n_samples,)
        Targets: numbers, or class labels.
    folds : iterable of (train, test) pairs of int array-like
        Row positions, as :func:`make_folds` or ``load_matbench(...).folds`` give
        them; each row must be in exactly one test part.
    task_kind : {"regression", "classification"}
        What is predicted.
    random_state : int or None, default=0
        Seed of the named models.
    n_jobs : int or None, default=None
        Jobs in parallel within the named models; models and folds run one after the
        other, so that times can be compared.
    verbose : int, default=0
        If positive, show progress on stderr.

    Returns
    -------
    result : EvaluationResult
        Scores by fold, out-of-fold predictions, times, versions.

    Raises
    ------
    InputError
        If names, targets or folds cannot be used.
    CompositionError
        If a row is not a composition.

    Warns
    -----
    CompositionWarning
        If test rows have a composition that the same fold trains on.

    Notes
    -----
    Times are wall clock; reading the formulas counts, imports do not. What is timed is
    ``predict``, with ``return_std`` where a model has it.

    Class labels are what ``predict`` says, and probabilities what ``predict_proba`` says: a
    :class:`~sklearn.model_selection.FixedThresholdClassifier` is scored as it decides.

    Examples
    --------
    >>> from sklearn_kt.evaluation import cross_validate_models, make_folds
    >>> X, y = ["NaCl", "KCl", "LiF", "NaF"], [5.0, 4.0, 9.0, 8.0]
    >>> folds = make_folds(X, y, task_kind="regression", n_splits=2)
    >>> result = cross_validate_models(["dummy"], X, y, folds, task_kind="regression")
    >>> result.models["dummy"].mean("mae")
    4.0
    """
    _check_task_kind(task_kind)
    batch = read_compositions(X)
    formulas = _as_formulas(X, batch)
    y = _check_targets(y, len(batch), task_kind)
    checked = _check_folds(folds, len(batch))
    _warn_repeated(composition_groups(batch), checked)
    if isinstance(models, str):
        raise InputError(f"models must be a list of names, got the text {models!r}.")
    if isinstance(models, Mapping):
        estimators = {name: clone(model) for name, model in models.items()}
    else:
        estimators = {
            name: make_model(name, task_kind, random_state=random_state, n_jobs=n_jobs)
            for name in models
        }
    if not estimators:
        raise InputError("No model to evaluate.")

    result = EvaluationResult(
        task_kind=task_kind,
        formulas=formulas.tolist(),
        y=y,
        fold_of_row=_fold_of_row(checked, len(batch)),
        classes=np.unique(y) if task_kind == "classification" else None,
        models={},
        random_state=random_state,
        n_jobs=n_jobs,
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        versions=library_versions(),
    )
    with progress(verbose, total=len(estimators) * len(checked)) as report:
        for name, estimator in estimators.items():
            scores = ModelScores(
                name, _describe(estimator), [], np.empty(len(batch), dtype=y.dtype)
            )
            result.models[name] = scores
            for number, (train, test) in enumerate(checked, start=1):
                label = f"{name}, fold {number} of {len(checked)}"
                report(label, None)
                fold = _run_fold(estimator, formulas, train, test, result, scores)
                scores.folds.append(fold)
                report(label, _fold_line(fold, task_kind))
    return result


def _check_task_kind(task_kind: str) -> None:
    if task_kind not in METRICS:
        raise InputError(f"task_kind must be 'regression' or 'classification', got {task_kind!r}.")


def _as_formulas(X: Any, batch: CompositionBatch) -> np.ndarray:
    """Formulas as the user wrote them, else as the gate writes them."""
    column = X.iloc[:, 0] if isinstance(X, pd.DataFrame) else X
    written: list = []
    if isinstance(column, Sequence | np.ndarray | pd.Series):
        written = list(column)
    if not all(isinstance(value, str) for value in written) or len(written) != len(batch):
        written = batch.formulas()
    return np.array(written, dtype=object)


def _check_targets(y: Any, n_rows: int, task_kind: TaskKind) -> np.ndarray:
    y = np.asarray(y)
    if y.shape != (n_rows,):
        raise InputError(f"y must have one target for each of the {n_rows} rows, got {y.shape}.")
    if task_kind == "regression":
        y = as_numbers(y)
        if not np.isfinite(y).all():
            row = int(np.flatnonzero(~np.isfinite(y))[0])
            raise InputError(f"The target of row {row} is {y[row]}; drop or correct such rows.")
    elif type_of_target(y) not in ("binary", "multiclass"):
        raise InputError(
            "The targets of a classification must be labels of at least two classes; these are"
            f" {type_of_target(y)}."
        )
    elif len(np.unique(y)) < 2:
        raise InputError(f"All targets are {y.tolist()[0]!r}: one class only.")
    return y


def _check_folds(folds: Iterable[Fold], n_rows: int) -> list[Fold]:
    """Folds as integer arrays, none of which tests a row it trains on."""
    checked = []
    tested = np.zeros(n_rows, dtype=np.int64)
    for number, (train, test) in enumerate(folds):
        parts = []
        for part, positions in (("train", train), ("test", test)):
            rows = np.asarray(positions)
            if rows.ndim != 1 or rows.dtype.kind not in "iu" or len(rows) == 0:
                raise InputError(
                    f"The {part} part of fold {number} must be row positions (integers), at"
                    " least one."
                )
            if rows.min() < 0 or rows.max() >= n_rows:
                raise InputError(
                    f"The {part} part of fold {number} has row {rows.min()} or {rows.max()},"
                    f" outside 0 to {n_rows - 1}."
                )
            parts.append(rows)
        shared = np.intersect1d(parts[0], parts[1])
        if len(shared):
            raise InputError(
                f"Fold {number} trains and tests on the same {len(shared)} rows, such as row"
                f" {shared[0]}."
            )
        np.add.at(tested, parts[1], 1)
        checked.append((parts[0], parts[1]))
    if not checked:
        raise InputError("No folds given.")
    if (tested != 1).any():
        row = int(np.flatnonzero(tested != 1)[0])
        raise InputError(
            f"Each row must be tested in exactly one fold; {np.sum(tested == 0)} rows are in"
            f" none and {np.sum(tested > 1)} in several, such as row {row}."
        )
    return checked


def _warn_repeated(groups: np.ndarray, folds: list[Fold]) -> None:
    repeated = sum(int(np.isin(groups[test], groups[train]).sum()) for train, test in folds)
    if repeated:
        warnings.warn(
            f"{repeated} of {len(groups)} test rows have a composition that is also in the"
            " training part of their fold, which flatters every model. Folds of make_folds"
            " keep compositions together; official folds may not.",
            CompositionWarning,
            stacklevel=3,
        )


def _fold_of_row(folds: list[Fold], n_rows: int) -> np.ndarray:
    fold_of_row = np.empty(n_rows, dtype=np.int64)
    for number, (_, test) in enumerate(folds):
        fold_of_row[test] = number
    return fold_of_row


def _describe(estimator: BaseEstimator) -> str:
    return " ".join(str(estimator).split())


def library_versions() -> dict[str, str]:
    """Versions of Python and of what results depend on, and the machine."""
    versions = {"python": platform.python_version()}
    versions |= {name: importlib.metadata.version(name) for name in _PACKAGES}
    versions["machine"] = f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPU cores"
    return versions


def _run_fold(
    estimator: BaseEstimator,
    formulas: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
    result: EvaluationResult,
    scores: ModelScores,
) -> dict[str, float]:
    """Fit on one fold, keep its predictions in ``scores`` and measure them."""
    y = result.y
    fold = fit_and_predict(
        estimator,
        formulas[train],
        y[train],
        formulas[test],
        task_kind=result.task_kind,
        classes=result.classes,
        name=scores.name,
    )
    scores.predictions[test] = fold.predictions
    if fold.std is not None:
        if scores.std is None:
            scores.std = np.full(len(y), np.nan)
        scores.std[test] = fold.std
    if fold.probabilities is not None:
        if scores.probabilities is None:
            scores.probabilities = np.zeros((len(y), fold.probabilities.shape[1]))
        scores.probabilities[test] = fold.probabilities
    return {
        **fold_metrics(
            y[test],
            fold.predictions,
            task_kind=result.task_kind,
            probabilities=fold.probabilities,
            classes=result.classes,
        ),
        "fit_seconds": fold.fit_seconds,
        "predict_seconds": fold.predict_seconds,
        "n_test": len(test),
    }


@dataclass
class FoldPrediction:
    """What a model says about the test part of one fold.

    Parameters
    ----------
    predictions : ndarray of shape (n_test,)
        Numbers, or class labels: what ``predict`` says. A model with a threshold of its own
        may decide for a class that is not the most probable.
    std : float64 ndarray of shape (n_test,) or None
        Predicted standard deviations, from models that give one.
    probabilities : float64 ndarray of shape (n_test, n_classes) or None
        Class probabilities, from classifiers that give them.
    fit_seconds, predict_seconds : float
        Wall clock.
    model : estimator
        Fitted.
    """

    predictions: np.ndarray
    std: np.ndarray | None
    probabilities: np.ndarray | None
    fit_seconds: float
    predict_seconds: float
    model: Any


@own_settings()
def fit_and_predict(
    estimator: BaseEstimator,
    X_train: Any,
    y_train: np.ndarray,
    X_test: Any,
    *,
    task_kind: TaskKind,
    classes: np.ndarray | None = None,
    name: str = "The model",
) -> FoldPrediction:
    """Fit a clone of a model and predict; it sees nothing but these arguments.

    Parameters
    ----------
    estimator : estimator
        Cloned first.
    X_train, X_test : array-like of compositions
        What the model reads.
    y_train : ndarray of shape (n_train,)
        Targets of the training part; those of the test part are not asked for.
    task_kind : {"regression", "classification"}
        What is predicted.
    classes : ndarray of shape (n_classes,) or None, default=None
        All class labels in sorted order: the columns of the probabilities. One may
        be absent from the training part.
    name : str, default="The model"
        Used in messages.

    Returns
    -------
    fold : FoldPrediction
        Predictions and times.

    Raises
    ------
    InputError
        If the model does not give one prediction per row.

    Examples
    --------
    >>> from sklearn.dummy import DummyRegressor
    >>> from sklearn_kt.evaluation import fit_and_predict
    >>> fold = fit_and_predict(
    ...     DummyRegressor(), ["NaCl", "KCl"], [8.0, 6.0], ["LiF"], task_kind="regression"
    ... )
    >>> fold.predictions
    array([7.])
    """
    model: Any = clone(estimator)
    start = perf_counter()
    forests_in_order(model.fit(X_train, y_train))
    fitted = perf_counter()
    std = given = probabilities = None
    predictions = None
    if task_kind == "classification":
        predictions, given = decide(model, X_test)
    elif offers_std(model):
        # an ensemble of one has no spread; any other error comes again below
        with contextlib.suppress(InputError):
            predictions, std = model.predict(X_test, return_std=True)
    if predictions is None:
        predictions = model.predict(X_test)
    predicted = perf_counter()
    if given is not None:
        labels = model.classes_ if classes is None else classes
        probabilities = np.zeros((len(given), len(labels)))
        probabilities[:, np.searchsorted(labels, model.classes_)] = given
    predictions = np.asarray(predictions)
    if predictions.shape != (len(X_test),):
        raise InputError(
            f"{name} gave predictions of shape {predictions.shape} for {len(X_test)} rows."
        )
    return FoldPrediction(
        predictions, std, probabilities, fitted - start, predicted - fitted, model
    )


@own_settings()
def fold_metrics(
    y: np.ndarray,
    predictions: np.ndarray,
    *,
    task_kind: TaskKind,
    probabilities: np.ndarray | None = None,
    classes: np.ndarray | None = None,
) -> dict[str, float]:
    """Measure the predictions of one fold.

    Parameters
    ----------
    y : ndarray of shape (n_test,)
        True targets.
    predictions : ndarray of shape (n_test,)
        Numbers, or class labels.
    task_kind : {"regression", "classification"}
        What was predicted.
    probabilities : ndarray of shape (n_test, n_classes) or None, default=None
        Without them the ROC AUC is NaN.
    classes : ndarray of shape (n_classes,) or None, default=None
        Class labels in sorted order; needed for classification.

    Returns
    -------
    metrics : dict of str to float
        The keys of :data:`METRICS`. The positive class of two is the last one.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_kt.evaluation import fold_metrics
    >>> fold_metrics(np.array([1.0, 2.0]), np.array([1.0, 3.0]), task_kind="regression")["mae"]
    0.5
    """
    if task_kind == "regression":
        return _regression_metrics(y, predictions)
    return _classification_metrics(y, predictions, probabilities, classes)


def _regression_metrics(y: np.ndarray, predictions: np.ndarray) -> dict[str, float]:
    return {
        "mae": float(mean_absolute_error(y, predictions)),
        "rmse": float(root_mean_squared_error(y, predictions)),
        "r2": float(r2_score(y, predictions)),
    }


def _classification_metrics(
    y: np.ndarray,
    predictions: np.ndarray,
    probabilities: np.ndarray | None,
    classes: np.ndarray | None,
) -> dict[str, float]:
    """Metrics of one fold; the positive class of two is the last in sorted order."""
    assert classes is not None
    binary = len(classes) == 2
    if probabilities is None:
        roc_auc = math.nan
    elif binary:
        roc_auc = float(roc_auc_score(y == classes[1], probabilities[:, 1]))
    else:
        roc_auc = float(
            roc_auc_score(y, probabilities, multi_class="ovr", average="macro", labels=classes)
        )
    if binary:
        f1 = f1_score(y == classes[1], predictions == classes[1])
    else:
        f1 = f1_score(y, predictions, average="macro")
    return {
        "accuracy": float(accuracy_score(y, predictions)),
        "balanced_accuracy": float(balanced_accuracy_score(y, predictions)),
        "roc_auc": roc_auc,
        "f1": float(f1),
    }


def _fold_line(fold: Mapping[str, float], task_kind: TaskKind) -> str:
    names = METRICS[task_kind]
    shown = ("mae", "r2") if task_kind == "regression" else ("balanced_accuracy", "roc_auc")
    figures = ", ".join(
        f"{names[metric]} {fold[metric]:{'.4g' if metric == 'mae' else '.3f'}}" for metric in shown
    )
    return f"{figures}, fit {fold['fit_seconds']:.1f} s"


@contextlib.contextmanager
def progress(verbose: int, total: int) -> Iterator[Callable[[str, str | None], None]]:
    """Yield ``report(label, outcome)``: None begins a fold, text ends it."""
    if verbose <= 0:
        yield lambda label, outcome: None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True, highlight=False)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description} ({task.completed:.0f} of {task.total:.0f} fits done)"),
        TimeElapsedColumn(),
    )
    live = Progress(*columns, console=console, transient=True, redirect_stdout=False)
    with live as bar:
        task = bar.add_task("starting", total=total)

        def report(label: str, outcome: str | None) -> None:
            bar.update(task, description=label, advance=0 if outcome is None else 1)
            if outcome is not None:
                console.print(f"{label}: {outcome}", markup=False, soft_wrap=True)

        yield report


def plain(value: Any) -> Any:
    """Turn arrays and NumPy scalars into Python objects, and NaN into None."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
