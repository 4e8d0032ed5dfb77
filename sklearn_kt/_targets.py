"""Targets: how y is read, what models learn of it, and how their outputs become answers.

:class:`NumberTargets` and :class:`ClassTargets` have the same methods, so that an estimator's
``fit`` need not know which of the two it has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import RegressorMixin
from sklearn.metrics import log_loss, r2_score, recall_score
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    PredefinedSplit,
    StratifiedGroupKFold,
    StratifiedKFold,
)
from sklearn.utils import TargetTags, check_consistent_length
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d, validate_data

from ._scaling import ColumnScaler
from .exceptions import InputError

__all__ = [
    "MIN_FOLD_ROWS",
    "ClassTargets",
    "GapRegressorMixin",
    "NumberTargets",
    "as_numbers",
    "check_known",
    "class_counts",
    "most_probable",
    "of_rows",
    "read_groups",
    "read_weighed",
    "read_weights",
    "relative_weights",
    "takes_gaps",
    "votes",
]

# Rows (of each class) that every inner fold needs; those of one group count once.
MIN_FOLD_ROWS = 4
# Targets are standardised, with weights too; double precision holds no squares beyond these.
_LARGEST, _NARROWEST = 1e150, 1e-150

Folds = list[tuple[np.ndarray, np.ndarray]]


@dataclass(slots=True)
class GapTags(TargetTags):
    """scikit-learn's tags of y, several targets of which may be NaN in some rows."""


def takes_gaps(model: Any) -> bool:
    """Tell whether an estimator takes several targets that not all rows have."""
    tags = model.__sklearn_tags__() if hasattr(model, "__sklearn_tags__") else None
    return isinstance(getattr(tags, "target_tags", None), GapTags)


class GapRegressorMixin(RegressorMixin):
    """A regressor of one target, or of several that not all rows have."""

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Give R², of several targets the mean over these, each on the rows that have it.

        Parameters
        ----------
        X : array-like of n_samples
            As in ``fit``.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets, NaN where a row lacks one of several.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        Returns
        -------
        float
            1 at best.
        """
        y = as_numbers(y)
        weights = read_weights(sample_weight, len(y))
        if y.ndim == 1 or y.shape[1] == 1 or not np.isnan(y).any():
            return super().score(X, y, weights)
        found = self.predict(X)
        if weights is not None:
            y, found, weights = (values[weights > 0] for values in (y, found, weights))
        check_known(y, rows="" if weights is None else " with a weight")
        scores = [
            r2_score(y[rows, at], found[rows, at], sample_weight=of_rows(weights, rows))
            for rows, at in _known(y)
        ]
        return float(np.mean(scores))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags = GapTags(**{**asdict(tags.target_tags), "multi_output": True})
        return tags


class NumberTargets:
    """Targets of a regression; standardised, once :meth:`standardise` was called.

    Of several targets, those that a row lacks are NaN: each is learned from, and judged on, the
    rows that have it.

    Parameters
    ----------
    loss : {"absolute_error", "huber", "squared_error"}, default="absolute_error"
        What networks minimise, and whether blends are judged by absolute or squared errors.

    Attributes
    ----------
    shape : tuple of int
        Of an answer for one row: ``()`` or ``(n_outputs,)``.
    n_outputs, n_targets : int
        Columns of what models learn; each is a target.
    scaler : ColumnScaler or None
        Between the units of the targets and those of models.
    measure : str
        What :meth:`error` is called.

    Notes
    -----
    Transforms of skewed targets were tried and do not pay: the error of 1,000 thermoelectrics'
    conductivities (``readout="fast"``, three folds of formulas) is 440 S/cm as they are, 448 after
    Yeo and Johnson's transform and 458 by normal quantiles.
    """

    measure = "mean absolute error"

    def __init__(self, loss: str = "absolute_error") -> None:
        self.loss = loss
        self.scaler: ColumnScaler | None = None

    def read(self, estimator: Any, y: Any) -> np.ndarray:
        """Check y: float64, finite where it is known, neither too large nor too close together."""
        names = list(getattr(y, "columns", ()))
        gaps: Any = False
        if y is not None:
            y = as_numbers(y)
            gaps = np.isnan(y) if y.ndim == 2 and y.shape[1] > 1 else gaps
        # NaN is refused in a single column
        filled = np.where(gaps, 0, y) if np.any(gaps) else y
        if y is not None and y.ndim:
            _check_finite(filled)
        y = validate_data(estimator, y=filled, multi_output=True, y_numeric=True)
        if np.any(gaps):
            y = np.where(gaps, np.nan, y)
            check_known(y, names)
        largest = np.unravel_index(np.nanargmax(np.abs(y)), y.shape)
        if abs(y[largest]) > _LARGEST:
            raise InputError(
                f"row {largest[0]} of y holds {y[largest]:g}, whose square is beyond double "
                "precision; pass targets in another unit."
            )
        narrow = np.nanmax(y, axis=0) - np.nanmin(y, axis=0)
        if ((narrow > 0) & (narrow < _NARROWEST)).any():
            raise InputError(
                f"the targets differ by {narrow[narrow > 0].min():g} at most, whose square is "
                "below double precision; pass targets in another unit."
            )
        self.shape = y.shape[1:]
        self.n_outputs = self.n_targets = int(np.prod(self.shape, dtype=int))
        return y

    def standardise(self, y: np.ndarray, weights: np.ndarray | None = None) -> None:
        """Learn mean and deviation of each target, of the rows that are trained on."""
        self.scaler = ColumnScaler().fit(y.reshape(len(y), -1), sample_weight=weights)

    def encode(self, y: np.ndarray) -> np.ndarray:
        """Give what models learn, (n, n_outputs); y itself if it is not standardised."""
        return y if self.scaler is None else self.scaled(y).astype(np.float32)

    def scaled(self, values: np.ndarray) -> np.ndarray:
        """Give numbers in the units of the targets those of models, (n, n_outputs)."""
        assert self.scaler is not None
        return self.scaler.transform(values.reshape(len(values), -1))

    def decode(self, outputs: np.ndarray) -> np.ndarray:
        """Give outputs the units and the shape of the targets."""
        if self.scaler is not None:
            # its inverse_transform takes no empty tables
            outputs = outputs * self.scaler.scale_ + self.scaler.mean_
        return outputs.reshape(len(outputs), *self.shape)

    def decode_width(self, widths: np.ndarray) -> np.ndarray:
        """Give deviations of outputs the units and the shape of the targets."""
        if self.scaler is not None:
            widths = widths * self.scaler.scale_
        return widths.reshape(len(widths), *self.shape)

    def combine(self, members: list[np.ndarray]) -> np.ndarray:
        """Let the networks of an ensemble vote as their loss demands."""
        return (np.mean if self.loss == "squared_error" else np.median)(members, axis=0)

    def score(
        self, truth: np.ndarray, outputs: np.ndarray, weights: np.ndarray | None = None
    ) -> float:
        """Loss of outputs, a mean over the targets; truth is encoded."""
        errors = np.abs(outputs - truth).reshape(len(truth), -1)
        if self.loss == "squared_error":
            errors = errors**2
        return float(self._means(errors, truth, weights).mean())

    def error(
        self, truth: np.ndarray, outputs: np.ndarray, weights: np.ndarray | None = None
    ) -> Any:
        """Mean absolute error in the units of the targets, of several an array."""
        y, answers = self._in_units(truth, outputs)
        mae = self._means(np.abs(y - answers), truth, weights)
        return float(mae[0]) if self.n_targets == 1 else mae

    def held_out(
        self, truth: np.ndarray, outputs: np.ndarray, weights: np.ndarray | None = None
    ) -> dict[str, Any]:
        """Score outputs for the user, in the units of the targets; truth is encoded.

        Of several targets, arrays of their scores.
        """
        y, answers = self._in_units(truth, outputs)
        r2 = np.array(
            [
                r2_score(y[known], answers[known], sample_weight=of_rows(weights, known[0]))
                for known in _known(y)
            ]
        )
        return {
            "mae": self.error(truth, outputs, weights),
            "r2": float(r2[0]) if self.n_targets == 1 else r2,
        }

    def folds(
        self,
        encoded: np.ndarray,
        most: int,
        least: int,
        seed: int,
        groups: np.ndarray | None = None,
    ) -> Folds:
        """Split rows into as many folds as they allow; none if they do not allow the least.

        Rows of one group are on one side of each fold, and of several targets each is on both: it
        is the one that the fewest rows have that says how many folds there are.
        """
        gaps = np.isnan(encoded)
        if gaps.any():
            return _spread(~gaps, most, least, seed, groups)
        n_distinct = len(encoded if groups is None else np.unique(groups))
        n_folds = min(most, n_distinct // MIN_FOLD_ROWS)
        if n_folds < least:
            return []
        splitter = (KFold if groups is None else GroupKFold)(
            n_folds, shuffle=True, random_state=seed
        )
        return list(splitter.split(encoded, groups=groups))

    def counts(self, encoded: np.ndarray, groups: np.ndarray | None = None) -> np.ndarray:
        """Count the rows that have each target; those of one group count once."""
        members = np.arange(len(encoded)) if groups is None else groups
        return np.array([len(np.unique(members[known])) for known, _ in _known(encoded)])

    def check_folds(self, encoded: np.ndarray, folds: Folds, groups: np.ndarray) -> None:
        """Refuse folds of a user's own that leave a target out of what is learned or judged."""
        which = "the target" if self.n_targets == 1 else "target {}"
        for number, (train, _) in enumerate(folds):
            if 0 in (n := self.counts(encoded[train], groups[train])):
                raise InputError(
                    f"fold {number} of cv trains on no row with {which.format(n.argmin())}; "
                    "pass a number of folds, or folds that all have some."
                )
        held_out = np.concatenate([test for _, test in folds])
        n = self.counts(encoded[held_out], groups[held_out])
        # the least that scores and errors are taken from
        if n.min() < 2:
            raise InputError(
                f"cv holds out {n.min()} compositions or groups with {which.format(n.argmin())}, "
                "too few to judge models on; pass folds that hold out more."
            )

    def _in_units(self, *columns: np.ndarray) -> Iterator[np.ndarray]:
        """Give columns of what models learn the units of the targets, (n, n_targets)."""
        return (self.decode(values).reshape(len(values), -1) for values in columns)

    def _means(
        self, errors: np.ndarray, truth: np.ndarray, weights: np.ndarray | None
    ) -> np.ndarray:
        """Mean of each target's errors, (n_targets,), of the rows that have it."""
        means = [
            np.average(errors[known], weights=of_rows(weights, known[0])) for known in _known(truth)
        ]
        return np.array(means)


class ClassTargets:
    """Targets of a classification.

    Attributes
    ----------
    classes : ndarray of shape (n_outputs,)
        Labels in order.
    shape : tuple of int
        Of the probabilities for one row.
    n_outputs : int
        Classes.
    n_targets : int
        1.
    measure : str
        What :meth:`error` is called.
    """

    loss = "log_loss"
    measure = "log-loss"
    n_targets = 1

    def read(self, estimator: Any, y: Any) -> np.ndarray:
        """Check y: labels in one column."""
        y = column_or_1d(validate_data(estimator, y=y), warn=True)
        check_classification_targets(y)
        self.classes = np.unique(y)
        self.shape = self.classes.shape
        self.n_outputs = len(self.classes)
        return y

    def standardise(self, y: np.ndarray, weights: np.ndarray | None = None) -> None:
        """Labels have no units."""

    def encode(self, y: np.ndarray) -> np.ndarray:
        """Give the place of each label among the classes."""
        return np.searchsorted(self.classes, y).astype(np.int64)

    def decode(self, probabilities: np.ndarray) -> np.ndarray:
        """Name the most probable class of each row; None where there is none."""
        return most_probable(self.classes, probabilities)

    def combine(self, members: list[np.ndarray]) -> np.ndarray:
        """Give the mean of probabilities."""
        return np.mean(members, axis=0)

    def score(
        self, truth: np.ndarray, probabilities: np.ndarray, weights: np.ndarray | None = None
    ) -> float:
        """Loss of probabilities; truth is encoded."""
        labels = np.arange(self.n_outputs)
        return float(log_loss(truth, probabilities, labels=labels, sample_weight=weights))

    def error(
        self, truth: np.ndarray, probabilities: np.ndarray, weights: np.ndarray | None = None
    ) -> float:
        """Log-loss of probabilities."""
        return self.score(truth, probabilities, weights)

    def held_out(
        self, truth: np.ndarray, probabilities: np.ndarray, weights: np.ndarray | None = None
    ) -> dict[str, float]:
        """Score probabilities for the user; truth is encoded."""
        found = probabilities.argmax(axis=1)
        # balanced_accuracy_score warns of classes that are predicted and not there
        recall = recall_score(
            truth, found, labels=np.unique(truth), average="macro", sample_weight=weights
        )
        return {
            "accuracy": float(np.average(found == truth, weights=weights)),
            "balanced_accuracy": float(recall),
            "log_loss": self.score(truth, probabilities, weights),
        }

    def folds(
        self,
        encoded: np.ndarray,
        most: int,
        least: int,
        seed: int,
        groups: np.ndarray | None = None,
    ) -> Folds:
        """Split rows, stratified, into as many folds as the smallest class allows.

        Rows of one group are on one side of each fold.
        """
        counts = class_counts(encoded, groups)
        n_folds = min(most, counts.min() // MIN_FOLD_ROWS)
        if n_folds < least or len(counts) < 2:
            return []
        splitter = (StratifiedKFold if groups is None else StratifiedGroupKFold)(
            n_folds, shuffle=True, random_state=seed
        )
        folds = list(splitter.split(encoded, encoded, groups))
        # a group so large that the others of its class fell into its fold leaves none to learn from
        whole = all(len(np.unique(encoded[train])) == len(counts) for train, _ in folds)
        return folds if whole else []

    def counts(self, encoded: np.ndarray, groups: np.ndarray | None = None) -> np.ndarray:
        """Count the rows of each class; those of one group count once."""
        return class_counts(encoded, groups, self.n_outputs)

    def check_folds(self, encoded: np.ndarray, folds: Folds, groups: np.ndarray) -> None:
        """Refuse folds of a user's own that leave a class out of what is learned."""
        for number, (train, _) in enumerate(folds):
            lacking = np.setdiff1d(np.arange(self.n_outputs), encoded[train])
            if len(lacking):
                raise InputError(
                    f"fold {number} of cv trains on no row of the class "
                    f"{self.classes[lacking[0]].item()!r}; pass a number of folds, or folds that "
                    "all have some."
                )


def _check_finite(y: np.ndarray) -> None:
    """Refuse what is no number to learn, by its first row."""
    bad = np.argwhere(~np.isfinite(y))
    if len(bad):
        what = "NaN" if np.isnan(y[tuple(bad[0])]) else "infinity"
        rows = np.unique(bad[:, 0])
        more = f" ({len(rows)} such rows)" if len(rows) > 1 else ""
        raise InputError(
            f"y contains {what} in row {rows[0]}{more}; a target is a finite number: correct such "
            "rows, or leave them out."
        )


def check_known(y: np.ndarray, names: Sequence[Any] = (), rows: str = "") -> None:
    """Refuse rows that lack all of several targets, and targets that all rows lack."""
    gaps = np.isnan(y)
    if gaps.all(axis=1).any():
        empty = np.flatnonzero(gaps.all(axis=1))
        more = f" ({len(empty)} such rows)" if len(empty) > 1 else ""
        raise InputError(
            f"row {empty[0]} of y has none of the {y.shape[1]} targets{more}; leave it out."
        )
    if gaps.all(axis=0).any():
        column = np.flatnonzero(gaps.all(axis=0))[0]
        name = repr(names[column]) if len(names) else column
        raise InputError(
            f"column {name} of y has no value in any of the {len(y)} rows{rows}; leave it out, or "
            "add rows that have it."
        )


def _known(truth: np.ndarray) -> list[tuple[np.ndarray, int]]:
    """Index the rows of each target that have it, in arrays of shape (n, n_targets)."""
    columns = np.atleast_2d(truth.T)
    return [(np.flatnonzero(~np.isnan(column)), at) for at, column in enumerate(columns)]


def of_rows(values: np.ndarray | None, rows: np.ndarray) -> np.ndarray | None:
    """Select entries of what every row has one of, if there are any."""
    return None if values is None else values[rows]


def _spread(
    known: np.ndarray, most: int, least: int, seed: int, groups: np.ndarray | None
) -> Folds:
    """Split rows, with their groups whole, so that every fold has its part of every target."""
    members = np.arange(len(known)) if groups is None else groups
    distinct, members = np.unique(members, return_inverse=True)
    held = np.zeros((len(distinct), known.shape[1]), dtype=bool)
    np.logical_or.at(held, members, known)
    n_folds = min(most, held.sum(axis=0).min() // MIN_FOLD_ROWS)
    # those that have the same targets stand together, the rarest first, and are dealt out in turn
    order = np.random.default_rng(seed).permutation(len(held))
    rarest_last = np.argsort(held.sum(axis=0), kind="stable")[::-1]
    order = order[np.lexsort(held[order][:, rarest_last].T)]
    fold = np.empty(len(held), dtype=int)
    while n_folds >= least:
        fold[order] = np.arange(len(held)) % n_folds
        # two rows are the least that scores and errors are taken from
        if min(held[fold == part].sum(axis=0).min() for part in range(n_folds)) > 1:
            return list(PredefinedSplit(fold[members]).split())
        n_folds -= 1
    return []


def class_counts(
    encoded: np.ndarray, groups: np.ndarray | None = None, n_classes: int = 0
) -> np.ndarray:
    """Count the rows of each class; those of one group count once."""
    if groups is not None:
        encoded = np.unique(np.column_stack([encoded, groups]), axis=0)[:, 0]
    return np.bincount(encoded, minlength=n_classes)


def read_groups(groups: Any, n_rows: int) -> np.ndarray:
    """Read a user's groups as numbers, in the order in which they appear."""
    values = np.asarray(groups)
    if values.ndim != 1:
        raise InputError(
            f"groups must be one column, with an entry for each row; got shape {values.shape}."
        )
    check_consistent_length(range(n_rows), values)
    codes = pd.factorize(values)[0].astype(np.int64)
    if (codes < 0).any():
        raise InputError(
            f"row {np.flatnonzero(codes < 0)[0]} has no group; name one for each row, or leave "
            "groups out."
        )
    return codes


def read_weights(sample_weight: Any, n_rows: int) -> np.ndarray | None:
    """Read weights of rows as float64, one for all or one for each; None if there are none."""
    if sample_weight is None:
        return None
    weights = as_numbers(sample_weight, "sample_weight", "weights")
    if weights.ndim == 0:
        weights = np.full(n_rows, weights)
    if weights.shape != (n_rows,):
        raise InputError(
            f"sample_weight has the shape {weights.shape}, but X has {n_rows} rows; pass one "
            "column, with a weight for each row."
        )
    bad = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if weights.dtype.kind == "c" or len(bad):
        row = bad[0] if len(bad) else 0
        raise InputError(
            f"row {row} of sample_weight holds {weights[row]:g}; weights are finite numbers, and "
            "none is negative. Leave such a row out, or give it the weight 0."
        )
    if not weights.any():
        raise InputError(
            f"the weights of all {n_rows} rows are zero, which leaves none to learn from; pass "
            "a positive one, or sample_weight=None."
        )
    if weights.max() > _LARGEST:
        raise InputError(
            f"row {weights.argmax()} of sample_weight holds {weights.max():g}, whose square is "
            "beyond double precision; divide the weights by a number."
        )
    return weights


def read_weighed(
    read: Callable[[Any], np.ndarray], y: Any, sample_weight: Any
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """Read targets and weights, and tell which rows of y are learned from.

    Rows of weight zero must be readable, and are then as if they were not there: they are not
    among the targets and weights.
    """
    names = list(getattr(y, "columns", ()))
    y = read(y)
    weights = read_weights(sample_weight, len(y))
    if weights is None or weights.all():
        return y, weights, np.ones(len(y), dtype=bool)
    kept = weights > 0
    if y.ndim == 2:
        check_known(y[kept], names, " with a weight")
    return read(y[kept]), weights[kept], kept


def relative_weights(weights: np.ndarray | None) -> np.ndarray | None:
    """Give weights a mean of 1: only their ratios count. None if all rows have the same."""
    if weights is None or (weights == weights[0]).all():
        return None
    # without denormal numbers
    weights = weights / weights.max()
    return weights / weights.mean()


def as_numbers(y: Any, name: str = "y", what: str = "the targets of a regression") -> np.ndarray:
    """Values as float64; dates, which NumPy would count in some unit, are none."""
    array = np.asarray(y)
    if array.dtype.kind in "biufc":
        # scikit-learn refuses complex ones
        return array if array.dtype.kind == "c" else array.astype(np.float64)
    numbers = np.empty(array.shape)
    for place, value in np.ndenumerate(array):
        try:
            if isinstance(value, np.datetime64 | np.timedelta64):
                raise TypeError
            numbers[place] = np.nan if value is None or value is pd.NA else float(value)
        except (TypeError, ValueError, OverflowError):
            row = f"row {place[0]} of {name} holds" if place else f"{name} is"
            raise InputError(
                f"{what} must be numbers, but {row} {value!r}, of type {type(value).__name__}."
            ) from None
    return numbers


def most_probable(classes: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Name the most probable class of each row; None, in an object array, for rows of NaN."""
    missing = np.isnan(probabilities).any(axis=1)
    labels = classes[np.where(missing[:, None], 0, probabilities).argmax(axis=1)]
    if missing.any():
        labels = labels.astype(object)
        labels[missing] = None
    return labels


def votes(classes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Undo :func:`most_probable`: 1 for the class of each row, else 0; rows of None are NaN."""
    named = np.array([label is not None for label in labels], dtype=bool)
    out = np.full((len(labels), len(classes)), np.nan)
    chosen = np.asarray(labels)[named].astype(classes.dtype)
    out[named] = np.eye(len(classes))[np.searchsorted(classes, chosen)]
    return out
