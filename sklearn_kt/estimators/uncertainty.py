"""What to expect of an error, from errors on rows that were not seen."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.model_selection import GroupKFold
from sklearn.utils.validation import check_is_fitted

from sklearn_kt._targets import of_rows
from sklearn_kt.exceptions import InputError
from sklearn_kt.fitting import fit_context

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


class ErrorModel(BaseEstimator):
    """Expected size of an error, learned from errors on rows that were not seen.

    Intervals are conformal: the quantile of out-of-fold errors, each divided by the error
    that a forest expects for its row [1]_. Forest and quantile see different rows, since
    the forest speaks for a row only with those trees that have not seen it; where rows belong
    together, or have weights, it is forests that have not seen any of its group. Errors below a
    twentieth of the mean error count as that, so that intervals have a width; where many
    errors are 0, they cover more than they have to. Each of several targets has a forest and
    quantiles of its own.

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

        Returns
        -------
        self : ErrorModel
            Fitted.
        """
        self.forests_: list[ExtraTreesRegressor] = []
        self.ratios_: list[np.ndarray] = []
        self.counts_: list[np.ndarray] = []
        for column in residuals.T:
            rows = np.flatnonzero(~np.isnan(column))
            weights = of_rows(sample_weight, rows)
            forest, kept, ratios = self._learn(
                features[rows], np.abs(column[rows]), of_rows(groups, rows), weights
            )
            counts = np.ones(len(kept)) if weights is None else weights[kept]
            order = np.argsort(ratios)
            self.forests_.append(forest)
            self.ratios_.append(ratios[order])
            self.counts_.append(counts[order] / counts.mean())
        return self

    def std(self, features: np.ndarray) -> np.ndarray:
        """Give the standard deviation of each error, (n, n_outputs)."""
        check_is_fitted(self)
        pairs = zip(self.ratios_, self.counts_, strict=True)
        return self._expected(features) * [np.sqrt(np.average(r**2, weights=n)) for r, n in pairs]

    def width(self, features: np.ndarray, coverage: float) -> np.ndarray:
        """Give half the width of intervals that cover that share of truths, (n, n_outputs)."""
        check_is_fitted(self)
        check_coverage(coverage)
        quantiles = [
            _quantile(r, n, coverage) for r, n in zip(self.ratios_, self.counts_, strict=True)
        ]
        return self._expected(features) * quantiles

    def measures(
        self, return_std: bool, coverage: float | None
    ) -> list[Callable[[np.ndarray], np.ndarray]]:
        """Give what measures deviations, and widths, as far as they are asked for."""
        found: list[Callable[[np.ndarray], np.ndarray]] = [self.std] if return_std else []
        return found if coverage is None else [*found, partial(self.width, coverage=coverage)]

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

    def _expected(self, features: np.ndarray) -> np.ndarray:
        expected = [predict_in_order(f.predict, features, self.n_jobs) for f in self.forests_]
        return np.column_stack(expected)


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


def _quantile(ratios: np.ndarray, counts: np.ndarray, coverage: float) -> float:
    """Give the finite-sample quantile of split-conformal prediction; ratios are sorted.

    Counts, whose mean is 1, say how often each ratio is counted; that of the new row is 1.
    """
    held = np.cumsum(counts)
    rank = np.searchsorted(held, coverage * (held[-1] + 1))
    return ratios[min(rank, len(ratios) - 1)]
