"""What to expect of an error, from errors on rows that were not seen."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable
from functools import partial
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.model_selection import GroupKFold
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.validation import check_is_fitted

from sklearn_kt._targets import of_rows
from sklearn_kt.exceptions import InputError, IntervalWarning
from sklearn_kt.fitting import fit_context
from sklearn_kt.traces import presence

from .readouts import predict_in_order

__all__ = ["ErrorModel"]

_N_TREES = 100
# Part of the columns that a tree chooses each split from.
_COLUMNS = 1 / 3
# Folds of groups, as many as there are if these are fewer, and trees that speak for them. Interval
# scores of five folds of 100 trees and of these: 345.6 and 346.0 uV/K (90 %, thermoelectrics).
_FOLDS, _FOLD_TREES = 3, 50
# The shape of the errors is needed, not every row.
_MAX_ROWS = 20_000
# Errors, and expected ones, count as at least this part of the mean one.
_SMALLEST = 0.05
# Targets of which this part has one value are told apart by whether that value is predicted, where
# so many rows are on either side.
_MASS, _MIN_SIDE = 0.1, 50
# of numbers of rows
_ROUNDING = 1e-6


class ErrorModel(BaseEstimator):
    """Expected size of an error, learned from errors on rows that were not seen.

    Intervals are conformal: the quantile of out-of-fold errors, each divided by the error
    that a forest expects for its row [1]_. Forest and quantile see different rows, since
    the forest speaks for a row only with those trees that have not seen it; where rows belong
    together, or have weights, it is forests that have not seen any of its group. Errors below a
    twentieth of the mean error count as that, so that intervals have a width; where many
    errors are 0, they cover more than they have to. Each of several targets has a forest and
    quantiles of its own.

    Three things are ours. The forest sees what the model believes beside what the row is: its
    prediction, and how far its members, and the trees of its forests, are apart (interval score at
    90 %, expt_gap and thermoelectric Seebeck coefficients: -2 to -5 %, and -13 %). Where a part of
    the targets has one value, such as the gap of metals, rows for which that value is predicted
    have quantiles of their own [2]_: those of expt_gap with a gap are covered to 80 % at a nominal
    80 %, and to 63 % otherwise. Rows with elements that no training row had are given the wider
    of these quantiles, times 1 + x for x of their atoms: with some elements held out, 90 %
    intervals of such rows cover 95 % (expt_gap) and 86 % (Seebeck coefficients), and without that
    90 % and 74 %.

    Parameters
    ----------
    random_state : int
        Seed of the forest.
    n_jobs : int or None, default=None
        Threads.

    References
    ----------
    .. [1] H. Papadopoulos, A. Gammerman, V. Vovk, "Normalized nonconformity measures for
       regression conformal prediction", AIA 2008.
    .. [2] V. Vovk, D. Lindsay, I. Nouretdinov, A. Gammerman, "Mondrian confidence machine",
       technical report, Royal Holloway (2003).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_kt.estimators.uncertainty import ErrorModel
    >>> x = np.linspace(0, 1, 200)[:, None]
    >>> errors = np.where(np.arange(200) % 2, 1.0, -1.0)[:, None] * np.where(x < 0.5, 0.2, 1.0)
    >>> model = ErrorModel(random_state=0).fit(x, errors)
    >>> small, large = model.std(np.array([[0.1], [0.9]]))[:, 0]
    >>> bool(0.1 < small < 0.4), bool(0.7 < large < 1.3)
    (True, True)
    >>> half, most = (model.width(np.array([[0.9]]), c).item() for c in (0.5, 0.95))
    >>> half < most
    True
    """

    _parameter_constraints: ClassVar[dict[str, list]] = {
        "random_state": [Integral],
        "n_jobs": [Integral, None],
    }

    def __init__(self, random_state: int, n_jobs: int | None = None) -> None:
        self.random_state = random_state
        self.n_jobs = n_jobs

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        features: np.ndarray,
        residuals: np.ndarray,
        groups: np.ndarray | None = None,
        sample_weight: np.ndarray | None = None,
        beliefs: np.ndarray | None = None,
    ) -> Self:
        """Learn from out-of-fold residuals.

        Parameters
        ----------
        features : ndarray of shape (n, n_features)
            Of the rows.
        residuals : ndarray of shape (n, n_outputs)
            Truth minus prediction; NaN where a row lacks one of several targets.
        groups : ndarray of int, shape (n,), optional
            Rows that belong together, such as those of one composition; two groups or more.
        sample_weight : ndarray of shape (n,), optional
            Weights of the rows, all positive: what is expected, and how often it is exceeded, is
            counted with them. Only their ratios matter.
        beliefs : ndarray of shape (n, n_outputs, n_beliefs), optional
            What the model says of each row and target: the prediction first, then what tells how
            sure it is.

        Returns
        -------
        self : ErrorModel
            Fitted.
        """
        self.forests_: list[ExtraTreesRegressor] = []
        # two of each target, for rows away from its most frequent value and at it: ratios in their
        # order, and how often each counts
        self.ratios_: list[np.ndarray] = []
        self.counts_: list[np.ndarray] = []
        # of how many groups these are
        self.vouching_: list[int] = []
        # the most frequent value of each target, and how near to it predictions mean it; or NaN
        self.masses_ = np.full((residuals.shape[1], 2), np.nan)
        for target, column in enumerate(residuals.T):
            rows = np.flatnonzero(~np.isnan(column))
            weights, together = of_rows(sample_weight, rows), of_rows(groups, rows)
            columns = _beside(features, beliefs, target)[rows]
            forest, kept, ratios = self._learn(columns, np.abs(column[rows]), together, weights)
            rows = rows[kept]
            counts = np.ones(len(rows)) if sample_weight is None else sample_weight[rows]
            if beliefs is not None:
                said = beliefs[rows, target, 0]
                self.masses_[target] = _find_mass(said + column[rows], said, of_rows(groups, rows))
            at_mass = self._is_at_mass(beliefs, target, len(features))[rows]
            order = np.argsort(ratios)
            self.forests_.append(forest)
            for part in (order[~at_mass[order]], order[at_mass[order]]):
                self.ratios_.append(ratios[part])
                self.counts_.append(counts[part] / (counts[part].mean() if len(part) else 1))
                said_of = rows[part] if groups is None else np.unique(groups[rows[part]])
                self.vouching_.append(len(said_of))
        return self

    def std(
        self,
        features: np.ndarray,
        beliefs: np.ndarray | None = None,
        unseen: np.ndarray | None = None,
    ) -> np.ndarray:
        """Give the standard deviation of each error, (n, n_outputs).

        Beliefs are those of ``fit``; unseen is which part of each row's atoms are of elements that
        no training row had, (n,).
        """
        return self._spread(
            lambda r, n: np.sqrt(np.average(r**2, weights=n)), features, beliefs, unseen
        )

    def width(
        self,
        features: np.ndarray,
        coverage: float,
        beliefs: np.ndarray | None = None,
        unseen: np.ndarray | None = None,
    ) -> np.ndarray:
        """Give half the width of intervals that cover that share of truths, (n, n_outputs)."""
        check_coverage(coverage)
        return self._spread(lambda r, n: _quantile(r, n, coverage), features, beliefs, unseen)

    def measures(self, return_std: bool, coverage: float | None) -> list[Callable[..., np.ndarray]]:
        """Give what measures deviations, and widths, as far as they are asked for.

        Warns where that coverage lies beyond the largest error that is known.
        """
        found: list[Callable[..., np.ndarray]] = [self.std] if return_std else []
        if coverage is None:
            return found
        check_coverage(coverage)
        self._warn_of(float(coverage))
        return [*found, partial(self.width, coverage=coverage)]

    def _warn_of(self, coverage: float) -> None:
        """Warn where fewer compositions than it takes vouch for a coverage."""
        needed = math.ceil(coverage / (1 - coverage) - _ROUNDING)
        # a side of the most frequent value that no row is on says nothing
        part = min(np.flatnonzero(self.vouching_), key=lambda at: self.vouching_[at])
        if self.vouching_[part] >= needed:
            return
        where = f" of target {part // 2}" if len(self.forests_) > 1 else ""
        if self.vouching_[part ^ 1]:
            where += f", where the most frequent value is {'' if part % 2 else 'not '}predicted"
        warnings.warn(
            f"Intervals of {100 * coverage:.10g} % ask for errors of {needed:,} compositions, and "
            f"known are those of {self.vouching_[part]:,}{where}. They reach as far as the largest "
            "of these, compared with what was expected there, which is not enough. Ask for less "
            "coverage, or add compositions to the training table.",
            IntervalWarning,
            stacklevel=_outside(),
        )

    def _learn(
        self,
        features: np.ndarray,
        errors: np.ndarray,
        groups: np.ndarray | None,
        weights: np.ndarray | None,
    ) -> tuple[ExtraTreesRegressor, np.ndarray, np.ndarray]:
        """Fit the forest of one target to some rows; their errors in parts of what it expects."""
        rows = np.arange(len(errors))
        if len(errors) > _MAX_ROWS:
            rng = np.random.default_rng(self.random_state)
            rows = rng.choice(len(errors), _MAX_ROWS, replace=False)
            features, errors = features[rows], errors[rows]
            groups, weights = of_rows(groups, rows), of_rows(weights, rows)
        # where most errors are 0, as for metals' gaps, half of them would make intervals of width 0
        typical = np.average(errors, weights=weights)
        errors = np.maximum(errors, max(_SMALLEST * typical, np.finfo(float).tiny))
        # a forest draws heavy rows for every tree, and none of them could speak for such a row
        whole = groups is None and weights is None
        forest = ExtraTreesRegressor(
            _N_TREES,
            max_features=_COLUMNS,
            min_samples_leaf=5,
            bootstrap=True,
            oob_score=whole,
            random_state=self.random_state,
            n_jobs=self.n_jobs,
        )
        if not whole:
            groups = np.arange(len(errors)) if groups is None else groups
            cv = GroupKFold(min(_FOLDS, len(np.unique(groups))))
            expected = np.empty_like(errors)
            for train, test in cv.split(features, groups=groups):
                part = clone(forest).set_params(n_estimators=_FOLD_TREES)
                part.fit(features[train], errors[train], of_rows(weights, train))
                expected[test] = predict_in_order(part.predict, features[test], self.n_jobs)
        forest.fit(features, errors, weights)
        if whole:
            expected = forest.oob_prediction_
            # one number a row is enough from here on
            del forest.oob_prediction_
        return forest, rows, errors / expected

    def _spread(
        self,
        statistic: Callable[[np.ndarray, np.ndarray], float],
        features: np.ndarray,
        beliefs: np.ndarray | None,
        unseen: np.ndarray | None,
    ) -> np.ndarray:
        """Multiply expected errors with a statistic of the ratios of rows that are alike."""
        check_is_fitted(self)
        unseen = np.zeros(len(features)) if unseen is None else unseen
        beyond = presence(unseen)
        spreads = []
        for target, forest in enumerate(self.forests_):
            columns = _beside(features, beliefs, target)
            expected = predict_in_order(forest.predict, columns, self.n_jobs)
            both = slice(2 * target, 2 * target + 2)
            pairs = zip(self.ratios_[both], self.counts_[both], strict=True)
            found = np.array([statistic(r, n) if len(r) else 0.0 for r, n in pairs])
            side = self._is_at_mass(beliefs, target, len(features)).astype(int)
            # nobody knows on which side rows are of whose elements nothing is known
            spreads.append(expected * ((1 - beyond) * found[side] + beyond * found.max()))
        return np.column_stack(spreads) * widening(unseen)[:, None]

    def _is_at_mass(self, beliefs: np.ndarray | None, target: int, n_rows: int) -> np.ndarray:
        """Tell for which rows the most frequent value is predicted, if that is told apart."""
        value, reach = self.masses_[target]
        if beliefs is None or np.isnan(value):
            return np.zeros(n_rows, dtype=bool)
        return np.abs(beliefs[:, target, 0] - value) <= reach


def widening(unseen: np.ndarray) -> np.ndarray:
    """By how much wider errors are expected, by the part of atoms of unseen elements."""
    return 1 + unseen


def _outside() -> int:
    """Count the frames up to the first outside of the package, as `warnings.warn` counts them."""
    frame, level = sys._getframe(1), 1
    while frame.f_back and frame.f_globals["__name__"].startswith(("sklearn_kt.", "contextlib")):
        frame, level = frame.f_back, level + 1
    return level


def check_coverage(coverage: Any) -> None:
    """Refuse what is no share of the truths."""
    if not isinstance(coverage, Real) or not 0 < float(coverage) < 1:
        raise InputError(f"coverage must lie between 0 and 1, got {coverage!r}.")


def with_spreads(y: np.ndarray, spreads: list[np.ndarray], coverage: float | None) -> Any:
    """Give predictions alone, or with deviations and the bounds of intervals, as asked for."""
    if coverage is not None:
        *spreads, half = spreads
        spreads.append(np.stack([y - half, y + half], axis=-1))
    return (y, *spreads) if spreads else y


def _beside(features: np.ndarray, beliefs: np.ndarray | None, target: int) -> np.ndarray:
    return features if beliefs is None else np.hstack([features, beliefs[:, target]])


def _find_mass(
    truth: np.ndarray, predictions: np.ndarray, groups: np.ndarray | None
) -> tuple[float, float]:
    """Find a value that many targets have, and up to which distance predictions mean it.

    NaN if there is none, or predictions do not tell. Equal rows of a group count once.
    """
    none = np.nan, np.nan
    # what was added to a prediction has lost its last digits
    digits = np.round(truth / max(np.abs(truth).max(), np.finfo(float).tiny), 9)
    codes = np.unique(digits, return_inverse=True)[1]
    members = np.arange(len(codes)) if groups is None else groups
    distinct = np.unique(np.column_stack([codes, members]), axis=0)
    shares = np.bincount(distinct[:, 0]) / len(distinct)
    has_value = codes == shares.argmax()
    if shares.max() < _MASS:
        return none
    value = np.median(truth[has_value])
    distance = np.abs(predictions - value)
    stump = DecisionTreeClassifier(max_depth=1, min_samples_leaf=_MIN_SIDE, random_state=0)
    tree = stump.fit(distance[:, None], has_value).tree_
    reach = float(tree.threshold[0])
    near = distance <= reach
    tells = tree.node_count > 1 and has_value[near].mean() > has_value[~near].mean()
    return (float(value), reach) if tells else none


def _quantile(ratios: np.ndarray, counts: np.ndarray, coverage: float) -> float:
    """Give the finite-sample quantile of split-conformal prediction; ratios are sorted.

    Counts, whose mean is 1, say how often each ratio is counted; that of the new row is 1.
    """
    held = np.cumsum(counts)
    rank = np.searchsorted(held, coverage * (held[-1] + 1))
    return ratios[min(rank, len(ratios) - 1)]
