"""Fits of models from anywhere, with weights of rows, and with rows that stay together."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import RidgeClassifierCV, RidgeCV
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    StratifiedGroupKFold,
    StratifiedKFold,
    check_cv,
)
from sklearn.model_selection._search import BaseSearchCV
from sklearn.multioutput import ClassifierChain, RegressorChain
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter

from sklearn_kt.exceptions import InputError, TrainingWarning

__all__ = ["fit_together", "row_params"]

# What scikit-learn makes of a number of folds, and what keeps groups whole.
_WHOLE: dict[type, Any] = {KFold: GroupKFold, StratifiedKFold: StratifiedGroupKFold}


def fit_together(
    model: Any, X: Any, y: Any, groups: np.ndarray | None = None, **params: Any
) -> Any:
    """Fit a model, and keep rows of one group together in the folds that it makes.

    Parameters
    ----------
    model : estimator
        Not a user's own, but a copy: its ``cv`` may be replaced. None or a number of folds
        becomes as many folds of groups where rows repeat. A search gets the groups; what takes
        none gets lists of rows.
    X, y : array-like of n_samples
        What the model takes.
    groups : ndarray of int, shape (n_samples,), optional
        Rows of one group have one number; None tells nothing.
    **params : object
        Of ``fit``.

    Returns
    -------
    model : estimator
        Fitted.

    Warns
    -----
    TrainingWarning
        If folds of it split groups all the same.
    """
    if groups is None:
        return model.fit(X, y, **params)
    with warnings.catch_warnings():
        # what comes of that is told here
        warnings.filterwarnings("ignore", "The groups parameter is ignored")
        if loose := _set_folds(model, X, y, groups):
            warnings.warn(
                f"the folds of {', '.join(dict.fromkeys(loose))} put rows of one composition or "
                "group on both sides, so that what they choose is judged by rows like those it has "
                "seen. Pass a number of folds or GroupKFold as cv; inside another model that makes "
                "folds, fix what they choose, or search for it around the whole. "
                "groups=range(len(X)) says that rows stand alone.",
                TrainingWarning,
                stacklevel=2,
            )
        return model.fit(X, y, **params, **row_params(model, None, groups))


def _set_folds(model: Any, X: Any, y: Any, groups: np.ndarray) -> list[str]:
    """Have a model keep groups whole, and name the parts of it that do not."""
    if has_fit_parameter(model, "groups"):
        return []
    parts = list(_parts(model))
    if isinstance(model, Pipeline | TransformedTargetRegressor):
        return [name for part in parts for name in _set_folds(part, X, y, groups)]
    repeats = len(np.unique(groups)) < len(groups)
    # what is inside sees other rows than the model, or is not told of groups
    loose = [name for part in parts for name in _splitters(part)] if repeats else []
    if hasattr(model, "cv") and _splits_groups(model, X, y, groups, repeats):
        loose.append(type(model).__name__)
    return loose


def _splits_groups(model: Any, X: Any, y: Any, groups: np.ndarray, repeats: bool) -> bool:
    """Have a model with folds keep groups whole, and tell if it splits them all the same."""
    cv = model.cv
    if _goes_without_folds(model):
        return False
    if "cv_object" not in getattr(model, "_parameter_constraints", {}).get("cv", ()):
        # a stranger's
        return repeats
    if isinstance(cv, float) or (cv is None and isinstance(model, RidgeCV | RidgeClassifierCV)):
        # a share of the rows, and each row by itself
        return repeats
    splitter = check_cv(cv, y, classifier=is_classifier(model))
    counted = cv is None or isinstance(cv, Integral)
    if counted and not repeats:
        return False
    if counted:
        splitter = _WHOLE[type(splitter)](splitter.get_n_splits())
    folds = list(splitter.split(X, y, groups))
    model.cv = splitter if isinstance(model, BaseSearchCV) else folds
    return any(np.isin(groups[test], groups[train]).any() for train, test in folds)


def _goes_without_folds(model: Any) -> bool:
    chain = isinstance(model, RegressorChain | ClassifierChain)
    return isinstance(model.cv, str) or (chain and model.cv is None)


def _splitters(model: Any) -> Iterator[str]:
    """Name what makes folds in a model and its parts, but for what is told of groups by itself."""
    if has_fit_parameter(model, "groups"):
        return
    if hasattr(model, "cv") and not _goes_without_folds(model):
        yield type(model).__name__
    for part in _parts(model):
        yield from _splitters(part)


def _parts(model: Any) -> Iterator[Any]:
    """Give the models that a model is made of or around, themselves or in lists with names."""
    for value in model.get_params(deep=False).values() if hasattr(model, "get_params") else ():
        for item in value if isinstance(value, list) else [value]:
            for part in item if isinstance(item, tuple) else [item]:
                if hasattr(part, "fit") and not isinstance(part, type):
                    yield part


def row_params(
    model: Any, weights: np.ndarray | None, groups: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Give weights and groups of rows the names by which a model's ``fit`` takes them.

    In a pipeline, each step that takes some gets them; what is made around a model hands them on.

    Raises
    ------
    InputError
        If there are weights and the model takes none.
    """
    params: dict[str, np.ndarray] = {}
    for parameter, values in (("sample_weight", weights), ("groups", groups)):
        if values is not None:
            params |= dict.fromkeys(_names_of(parameter, model), values)
    return params


def _names_of(parameter: str, model: Any) -> list[str]:
    """Name what a model's ``fit`` takes weights, or groups, by."""
    if isinstance(model, Pipeline):
        steps = [(name, step) for name, step in model.steps if hasattr(step, "fit")]
        last = steps[-1][0] if steps else ""
        takers = [
            (name, step)
            for name, step in steps
            if parameter == "groups" or name == last or has_fit_parameter(step, parameter)
        ]
        return [f"{step}__{name}" for step, taker in takers for name in _names_of(parameter, taker)]
    if parameter == "groups" and isinstance(model, BaseSearchCV):
        # for its folds, whatever it searches
        return [parameter]
    kinds = {taken.kind for taken in inspect.signature(model.fit).parameters.values()}
    # scikit-learn's other models that are made around some refuse groups
    hands_on = parameter == "sample_weight" or isinstance(model, TransformedTargetRegressor)
    if inspect.Parameter.VAR_KEYWORD in kinds and hands_on:
        # made around others, to which it hands on what it is given
        for attribute in ("estimator", "regressor"):
            if hasattr(inner := getattr(model, attribute, None), "fit"):
                return _names_of(parameter, inner)
        inner = [part for _, part in getattr(model, "estimators", ()) if hasattr(part, "fit")]
        if inner:
            # each is given them by the same name
            return [*{name for part in inner for name in _names_of(parameter, part)}]
    if has_fit_parameter(model, parameter):
        return [parameter]
    if parameter == "sample_weight":
        raise InputError(
            f"{type(model).__name__} takes no sample_weight in fit; use a model that does, or fit "
            "without sample_weight."
        )
    return []
