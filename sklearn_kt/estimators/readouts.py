"""scikit-learn models that turn frozen features into predictions."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs, parallel_config
from scipy.stats import trim_mean
from sklearn.base import BaseEstimator, clone
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
)
from sklearn.ensemble._forest import BaseForest
from sklearn.model_selection._search import BaseSearchCV
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing, check_random_state, gen_even_slices
from sklearn.utils._metadata_requests import _routing_enabled
from sklearn.utils._param_validation import Options
from sklearn.utils.metadata_routing import process_routing
from sklearn.utils.validation import _check_sample_weight, check_is_fitted

from sklearn_kt._model_guards import objects_in
from sklearn_kt._settings import own_settings
from sklearn_kt._targets import as_numbers
from sklearn_kt.compositions import CompositionBatch
from sklearn_kt.fitting import fit_context

from .grouping import fit_together, row_params
from .kernels import MAX_KERNEL_ROWS, kernel_readout

__all__ = [
    "EachTargetRegressor",
    "MeanTreesRegressor",
    "MedianTreesRegressor",
    "Readout",
    "VotingTreesClassifier",
    "default_readouts",
]

# Medians gain from more trees for longer than means do. So many predict; to weigh models, as
# many as the quick ones have are enough.
_N_TREES = {"auto": 200, "fast": 100}
# Share of the trees that is left out on either side. Grouped 5-fold errors of 100 trees by their
# median, middle fifth and middle half: 0.3248, 0.3234 and 0.3235 eV (1,500 rows of expt_gap); 90.3,
# 90.1 and 90.4 MPa (steels); 88.7, 89.4 and 90.8 uV/K (1,500 Seebeck coefficients).
_TRIMMED = 0.4
# Part of the columns that a tree chooses each split from.
_COLUMNS, _FEWER_COLUMNS, _QUICK_COLUMNS = 1 / 3, 0.2, 0.1
# The same of amounts alone. Grouped 3-fold errors with all columns and with half: 0.476 and 0.466
# eV (expt_gap), 78.5 and 77.3 MPa (steels), 47.5 and 45.9 uV/K (thermoelectrics), 22.6 and 21.6
# GPa (JARVIS' bulk moduli), 45.8 and 45.0 1/cm (infrared modes).
_AMOUNTS = 0.5


@dataclass(frozen=True)
class Readout:
    """A scikit-learn model and the blocks of features it is fitted on.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LinearRegression
    >>> from sklearn_kt.estimators.readouts import Readout
    >>> readout = Readout(("fractions",), LinearRegression())
    >>> columns, targets = np.array([[0.0], [0.5], [1.0]]), np.array([[1.0], [2.0], [3.0]])
    >>> readout.fitted(columns, targets, seed=0).predict([[0.25]]).round(2)
    array([1.5])
    """

    blocks: tuple[str, ...]
    estimator: BaseEstimator
    # fitted in place of the other to inner folds, which tell what it is worth
    quicker: BaseEstimator | None = None

    def fitted(
        self,
        columns: np.ndarray,
        targets: np.ndarray,
        seed: int,
        weights: np.ndarray | None = None,
        groups: np.ndarray | None = None,
        *,
        inner: bool = False,
    ) -> Any:
        """Fit a copy of the model, seeded, to what its blocks say and to encoded targets."""
        one_column = targets.ndim == 2 and targets.shape[1] == 1
        estimator = self.quicker if inner and self.quicker is not None else self.estimator
        model = with_seed(for_targets(clone(estimator), targets), seed)
        y = targets[:, 0] if one_column else targets
        return fit_together(model, columns, y, groups, **row_params(model, weights))


class EachTargetRegressor(MultiOutputRegressor):
    """Fit a copy of a regressor to each of several targets, on the rows that have it.

    Parameters
    ----------
    estimator : regressor
        For one target.
    n_jobs : int or None, default=None
        Processes that predict.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LinearRegression
    >>> from sklearn_kt.estimators.readouts import EachTargetRegressor
    >>> X, y = np.arange(3.0)[:, None], np.array([[0, 9], [1, np.nan], [np.nan, 7]])
    >>> EachTargetRegressor(LinearRegression()).fit(X, y).predict([[3.0]])
    array([[3., 6.]])
    """

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any, groups: Any = None, **params: Any) -> Self:
        """Fit the copies.

        Parameters
        ----------
        X : array-like or CompositionBatch, of n_samples
            What the regressor takes.
        y : array-like of shape (n_samples, n_outputs)
            Targets, NaN where a row lacks one.
        groups : array-like of shape (n_samples,), optional
            Rows that stay together in what the regressor splits.
        **params : array-like of shape (n_samples,) or None
            What the regressor's ``fit`` takes for each row, such as ``sample_weight``.

        Returns
        -------
        self : EachTargetRegressor
            Fitted.
        """
        if _routing_enabled():
            params = process_routing(self, "fit", **params).estimator.fit
        self.estimators_ = []
        for column in as_numbers(y).T:
            rows = np.flatnonzero(~np.isnan(column))
            given = {name: _taken(values, rows) for name, values in params.items()}
            model, part, together = clone(self.estimator), _taken(X, rows), _taken(groups, rows)
            self.estimators_.append(fit_together(model, part, column[rows], together, **given))
        return self


def _taken(values: Any, rows: np.ndarray) -> Any:
    """Select rows of what has some."""
    if values is None or np.isscalar(values):
        return values
    return values[rows] if isinstance(values, CompositionBatch) else _safe_indexing(values, rows)


def for_targets(estimator: Any, targets: np.ndarray) -> Any:
    """Give a regressor that takes several targets, and the gaps of these, if there are such."""
    several = targets.ndim == 2 and targets.shape[1] > 1
    if not several or isinstance(estimator, EachTargetRegressor):
        return estimator
    if _takes_several(estimator) and not np.isnan(targets).any():
        return estimator
    return EachTargetRegressor(estimator)


def _takes_several(model: Any) -> bool:
    """Tell whether a regressor takes several targets; one that says nothing of it may."""
    if not hasattr(model, "__sklearn_tags__") or model.__sklearn_tags__().target_tags.multi_output:
        return True
    # a search does not pass on what its model says of itself
    return isinstance(model, BaseSearchCV) and _takes_several(model.estimator)


class DrawnTreesMixin:
    """A forest of whole trees whose rows have weights; to the left of scikit-learn's.

    Trees that are grown until each leaf is of one row predict what such a row says, however
    little it weighs. Here, a tree sees each row as often as it weighs, on average: 0.3 is a row
    in three of ten trees, and 3 three rows in each. Weights with a mean below 1 are scaled up to
    that. With 40 % of a table spoiled and weighed 0.02, the error of 900 measured gaps is 0.49 eV
    in this way, 1.25 with scikit-learn's weights, and 0.51 without those rows.

    Rows are drawn systematically: J. Carpenter, P. Clifford, P. Fearnhead, "Improved particle
    filter for nonlinear problems", IEE Proceedings 146, 2 (1999).
    """

    _parameter_constraints: ClassVar[dict[str, list]] = {
        # every fit begins anew
        "warm_start": [Options(bool, {False})],
    }

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Grow the trees.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets, or classes.
        sample_weight : array-like of shape (n_samples,), default=None
            How often a tree sees each row, on average.

        Returns
        -------
        self : object
            Fitted.
        """
        forest: Any = self
        if sample_weight is None or forest.bootstrap:
            return super().fit(X, y, sample_weight)  # type: ignore[misc]
        weights = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        weights = weights / min(weights.mean(), 1)
        state = check_random_state(forest.random_state)
        jobs = []
        for _ in range(forest.n_estimators):
            jobs.append(delayed(self._with_one_tree)(X, y, weights, copy.deepcopy(state)))
            # scikit-learn's forests draw a seed for each of their trees
            state.randint(np.iinfo(np.int32).max)
        with_one = Parallel(n_jobs=forest.n_jobs, require="sharedmem")(jobs)
        learned = {name: value for name, value in vars(with_one[0]).items() if name.endswith("_")}
        trees = [one.estimators_[0] for one in with_one]
        self.__dict__ |= {**learned, "estimators_": trees}
        return self

    def _with_one_tree(
        self, X: Any, y: Any, weights: np.ndarray, state: np.random.RandomState
    ) -> Any:
        one = clone(self).set_params(n_estimators=1, n_jobs=None, random_state=state)
        rng = np.random.default_rng(copy.deepcopy(state).randint(np.iinfo(np.int32).max))
        order = rng.permutation(len(weights))
        held = np.floor(np.cumsum(weights[order]) + rng.random())
        counts = np.empty(len(weights))
        counts[order] = np.diff(held, prepend=0)
        return super(DrawnTreesMixin, one).fit(X, y, counts)  # type: ignore[misc]


class SpreadTreesMixin(DrawnTreesMixin):
    """A forest for numbers that tells how far its trees are apart; to the left of scikit-learn's.

    Subclasses say what becomes of what the trees predict, an array of shape (n_trees, n_samples)
    or (n_trees, n_samples, n_outputs).
    """

    def predict(self, X: Any, return_spread: bool = False) -> Any:
        """Predict what the trees say together.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.
        return_spread : bool, default=False
            Also return the standard deviation among the trees.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Predictions.
        spread : ndarray of the same shape
            Only with ``return_spread=True``. It is no expected error, but tells of one.
        """
        check_is_fitted(self)
        forest: Any = self
        X = forest._validate_X_predict(X)
        trees = np.stack(
            Parallel(n_jobs=forest.n_jobs, require="sharedmem")(
                delayed(tree.predict)(X, check_input=False) for tree in forest.estimators_
            )
        )
        y = self._combined(trees)
        return (y, trees.std(axis=0)) if return_spread else y

    def _combined(self, trees: np.ndarray) -> np.ndarray:
        raise NotImplementedError


class MeanTreesRegressor(SpreadTreesMixin, ExtraTreesRegressor):
    """Extremely randomised trees that draw their rows by weights, if these have some.

    Parameters are those of :class:`sklearn.ensemble.ExtraTreesRegressor`, without its warm start.

    Examples
    --------
    >>> from sklearn_kt.estimators.readouts import MeanTreesRegressor
    >>> X, y = [[0], [0], [1], [1]], [0, 9, 1, 9]
    >>> model = MeanTreesRegressor(500, random_state=0).fit(X, y, [1, 0.01, 1, 0.01])
    >>> bool(abs(model.predict([[0]]) - 0)[0] < 0.3)
    True
    """

    _parameter_constraints: ClassVar[dict[str, list]] = {
        **ExtraTreesRegressor._parameter_constraints,
        **DrawnTreesMixin._parameter_constraints,
    }

    def _combined(self, trees: np.ndarray) -> np.ndarray:
        return trees.mean(axis=0)


class VotingTreesClassifier(DrawnTreesMixin, ExtraTreesClassifier):
    """Extremely randomised trees that draw their rows by weights, if these have some.

    Parameters are those of :class:`sklearn.ensemble.ExtraTreesClassifier`, without its warm start.

    Examples
    --------
    >>> from sklearn_kt.estimators.readouts import VotingTreesClassifier
    >>> X, y = [[0], [0], [1], [1]], ["metal", "oxide", "oxide", "metal"]
    >>> model = VotingTreesClassifier(random_state=0).fit(X, y, [1, 0.01, 1, 0.01])
    >>> model.predict([[0], [1]]).tolist()
    ['metal', 'oxide']
    """

    _parameter_constraints: ClassVar[dict[str, list]] = {
        **ExtraTreesClassifier._parameter_constraints,
        **DrawnTreesMixin._parameter_constraints,
    }


class MedianTreesRegressor(SpreadTreesMixin, ExtraTreesRegressor):
    """Extremely randomised trees that predict the median of their trees, smoothed, not the mean.

    Parameters are those of :class:`sklearn.ensemble.ExtraTreesRegressor`, without its warm start.

    Notes
    -----
    Fully grown trees each predict a value that was measured for a similar row, so that their
    median estimates the conditional median [1]_, which has the smallest absolute error. It
    leaves out the odd value, and where most trees agree it is what they agree on: the gap of a
    metal is 0, not a little more. Being one of the values that were measured, it would be the same
    for many rows, so that the best could not be told apart: the mean of the middle fifth of the
    trees is taken, whose error is the same.

    References
    ----------
    .. [1] N. Meinshausen, "Quantile regression forests", JMLR 7, 983-999 (2006).

    Examples
    --------
    >>> from sklearn_kt.estimators.readouts import MedianTreesRegressor
    >>> X, y = [[0], [1], [2], [3], [4], [5]], [0, 0, 0, 0, 9, 9]
    >>> model = MedianTreesRegressor(max_features=1.0, random_state=0).fit(X, y)
    >>> model.predict([[2.4], [3.1], [4.1]])
    array([0., 0., 9.])
    """

    _parameter_constraints: ClassVar[dict[str, list]] = {
        **ExtraTreesRegressor._parameter_constraints,
        **DrawnTreesMixin._parameter_constraints,
    }

    def _combined(self, trees: np.ndarray) -> np.ndarray:
        return trim_mean(trees, _TRIMMED, axis=0)


def default_readouts(
    blocks: tuple[str, ...],
    n_rows: int,
    *,
    classification: bool,
    median: bool = True,
    n_outputs: int = 1,
    fast: bool = False,
    repeats: bool = False,
    n_conditions: int = 0,
    n_jobs: int | None = None,
) -> dict[str, Readout]:
    """Readouts that the estimators choose from.

    Parameters
    ----------
    blocks : tuple of str
        Blocks of features that are there, of
        :class:`~sklearn_kt.CompositionEmbedder`'s, or ``"columns"`` of numbers. Every readout
        sees ``"conditions"``.
    n_rows : int
        Training rows; the kernel is left out for more than 8,000.
    classification : bool
        Classes or numbers.
    median : bool, default=True
        Whether trees for numbers predict medians, which suits absolute errors, or means,
        which suits squared ones.
    n_outputs : int, default=1
        Target columns.
    fast : bool, default=False
        Whether to do with fewer and quicker forests, and without kernel and boosting.
    repeats : bool, default=False
        Whether rows belong together, as those of one composition do; boosting, which would
        watch some of them to stop early, then does not.
    n_conditions : int, default=0
        Columns of the block ``"conditions"``.
    n_jobs : int or None, default=None
        Processes of the forests.

    Returns
    -------
    dict of str to Readout
        ``"fraction_trees"`` and ``"trees"`` see what a formula says by itself, amounts alone
        or with what is known of the elements; the others what the pretrained encoder adds:
        ``"transfer_trees"``, and ``"kernel"`` (numbers) or ``"boosting"`` (classes). The
        first is the best guess where nothing can be compared.

    Examples
    --------
    >>> from sklearn_kt.estimators.readouts import default_readouts
    >>> list(default_readouts(("descriptors", "fractions"), 500, classification=False))
    ['trees', 'fraction_trees']
    """
    numbers = MedianTreesRegressor if median else MeanTreesRegressor
    forest: Any = VotingTreesClassifier if classification else numbers
    # classes lose little by fewer columns to choose from, numbers do; not those of measurements
    # with conditions: 44.50 and 44.45 uV/K (thermoelectrics) by a third and by a fifth
    columns = _COLUMNS
    if fast and (classification or n_conditions):
        columns = _QUICK_COLUMNS if classification else _FEWER_COLUMNS
    trees = forest(_N_TREES["fast" if fast else "auto"], max_features=columns, n_jobs=n_jobs)

    def grown(names: tuple[str, ...], **changes: Any) -> Readout:
        model = clone(trees).set_params(**changes)
        return Readout(names, model, clone(model).set_params(n_estimators=_N_TREES["fast"]))

    plain = tuple(block for block in blocks if block not in ("embedding", "properties"))
    # dozens of predicted properties serve trees better than hundreds of raw columns
    transfer = ("properties" if "properties" in blocks else "embedding", *plain)
    pretrained = "embedding" in blocks
    readouts = {}
    if pretrained:
        readouts["transfer_trees"] = grown(transfer)
    # properties, which are those of pure crystals and known by heart of some, may hide the rest
    readouts["trees"] = grown(plain)
    if "fractions" in blocks:
        part = _QUICK_COLUMNS if fast and classification else _AMOUNTS
        seen = tuple(block for block in blocks if block in ("fractions", "conditions"))
        readouts["fraction_trees"] = grown(seen, max_features=part)
    if not pretrained or fast:
        return readouts
    if classification:
        stops: Any = False if repeats else "auto"
        boosting = HistGradientBoostingClassifier(early_stopping=stops)
        readouts["boosting"] = Readout(transfer, boosting)
    elif n_rows <= MAX_KERNEL_ROWS:
        kernel: Any = kernel_readout("formulas", n_conditions)
        # it learns one target at a time
        kernel = kernel if n_outputs == 1 else EachTargetRegressor(kernel)
        readouts["kernel"] = Readout(blocks, kernel)
    return readouts


def with_seed(estimator: Any, seed: int) -> Any:
    """Seed an estimator, and those it is made of, that have a ``random_state`` of None; return it.

    Left at None, they would draw from NumPy's global generator.
    """
    parts = estimator.get_params().values() if hasattr(estimator, "get_params") else ()
    for part in (estimator, *parts):
        # not a parameter of SVR, which draws a seed all the same
        if getattr(part, "random_state", seed) is None:
            part.random_state = seed
    return estimator


def predict_with_spread(model: Any, spread: bool, X: np.ndarray) -> np.ndarray:
    """Predict numbers and, if asked for, how far a forest's trees are apart: (n, n_outputs, 2).

    Other models say nothing of the latter, which is 0.
    """
    if spread and isinstance(model, EachTargetRegressor):
        parts = [predict_with_spread(one, spread, X) for one in model.estimators_]
        return np.concatenate(parts, axis=1)
    if spread and isinstance(model, SpreadTreesMixin):
        y, apart = model.predict(X, return_spread=True)
    else:
        y = np.asarray(model.predict(X))
        apart = np.zeros(y.shape)
    return np.stack([y.reshape(len(X), -1), apart.reshape(len(X), -1)], axis=-1)


def predict_in_order(
    predict: Callable[[np.ndarray], np.ndarray], X: np.ndarray, n_jobs: int | None = None
) -> np.ndarray:
    """Predict to the same bits with any number of threads.

    Threads of a scikit-learn forest share its trees and add them up as they get done, so that
    sums round differently each time. Here they share the rows, and trees keep their order.

    Parameters
    ----------
    predict : callable
        Method of a fitted model that treats each row by itself.
    X : ndarray of shape (n, n_features)
        Rows.
    n_jobs : int or None, default=None
        Threads.

    Returns
    -------
    ndarray of shape (n, ...)
        What `predict` gives.
    """
    parts = gen_even_slices(len(X), min(len(X), effective_n_jobs(n_jobs)))
    jobs = (delayed(_one_thread)(predict, X[part]) for part in parts)
    return np.concatenate(Parallel(n_jobs=n_jobs, require="sharedmem")(jobs))


def forests_in_order(model: Any) -> Any:
    """Have scikit-learn's forests in a fitted model predict without threads; return the model.

    What the package predicts with is kept in order by :func:`predict_in_order`; this is for
    models of others.
    """
    for item in objects_in(model):
        # unfitted ones are parameters
        if isinstance(item, BaseForest) and hasattr(item, "estimators_"):
            item.n_jobs = None
    return model


def _one_thread(predict: Callable[[np.ndarray], np.ndarray], X: np.ndarray) -> np.ndarray:
    # settings are those of a thread
    with parallel_config("sequential"), own_settings():
        return predict(X)


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
    return _predict_takes(model, "return_std")


def offers_intervals(model: Any) -> bool:
    """Tell whether ``predict`` of a model, or of the last step of a Pipeline, takes ``coverage``.

    Parameters
    ----------
    model : estimator
        Perhaps a Pipeline.

    Returns
    -------
    offers : bool
        Whether it gives the bounds of intervals.
    """
    return _predict_takes(model, "coverage")


def _predict_takes(model: Any, parameter: str) -> bool:
    last = last_step(model)
    return (
        not isinstance(last, DummyRegressor)
        and parameter in inspect.signature(last.predict).parameters
    )


def last_step(model: Any) -> Any:
    """Give the model that predicts: the last step of a Pipeline, or the model itself."""
    return model.steps[-1][1] if isinstance(model, Pipeline) else model


def decide(model: Any, X: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """Give the labels that a classifier decides for, and its probabilities if it has any.

    Ours, also as the last step of a Pipeline, give both from one pass through the networks.
    """
    if _predict_takes(model, "return_proba"):
        return model.predict(X, return_proba=True)
    labels = np.asarray(model.predict(X))
    return labels, model.predict_proba(X) if hasattr(model, "predict_proba") else None
