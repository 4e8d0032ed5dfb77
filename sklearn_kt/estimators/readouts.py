"""What turns frozen features into predictions, and predictions into an ensemble.

Default scikit-learn readouts, greedy weights for blending models, and a model of the
size of errors, all judged on rows that the models have not seen.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs, parallel_config
from sklearn.base import BaseEstimator, clone
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
)
from sklearn.ensemble._forest import BaseForest
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR
from sklearn.utils import gen_even_slices
from sklearn.utils._param_validation import Options
from sklearn.utils.validation import check_is_fitted

from sklearn_kt._model_guards import objects_in
from sklearn_kt._settings import own_settings
from sklearn_kt.exceptions import InputError
from sklearn_kt.fitting import fit_context

__all__ = [
    "ErrorModel",
    "KernelRegressor",
    "MedianTreesRegressor",
    "Readout",
    "default_readouts",
    "select_weights",
]

# Medians gain from more trees for longer than means do.
_N_TREES = {"auto": 200, "fast": 100}
_N_ERROR_TREES = 100
# Part of the columns that a tree chooses each split from.
_COLUMNS, _QUICK_COLUMNS = 1 / 3, 0.1
# Rows (of each class) that every inner fold needs.
MIN_FOLD_ROWS = 4
# A kernel's time grows with the square of the rows.
MAX_KERNEL_ROWS = 8_000
_SELECTION_ROUNDS = 20
# The error model needs the shape of the errors, not every row.
_MAX_ERROR_ROWS = 20_000
# Errors, and expected ones, count as at least this part of the mean one.
_SMALLEST_ERROR = 0.05


@dataclass(frozen=True)
class Readout:
    """A scikit-learn model and the blocks of features it is fitted on."""

    blocks: tuple[str, ...]
    estimator: BaseEstimator


class MedianTreesRegressor(ExtraTreesRegressor):
    """Extremely randomised trees that predict the median of their trees, not the mean.

    Parameters are those of :class:`sklearn.ensemble.ExtraTreesRegressor`, without its warm start.

    Notes
    -----
    Fully grown trees each predict a value that was measured for a similar row, so that their
    median estimates the conditional median [1]_, which has the smallest absolute error. It
    leaves out the odd value, and where half of the trees agree it is what they agree on: the
    gap of a metal is 0, not a little more.

    References
    ----------
    .. [1] N. Meinshausen, "Quantile regression forests", JMLR 7, 983-999 (2006).

    Examples
    --------
    >>> from sklearn_kt.estimators.readouts import MedianTreesRegressor
    >>> X, y = [[0], [1], [2], [3], [4], [5]], [0, 0, 0, 0, 9, 9]
    >>> model = MedianTreesRegressor(max_features=1.0, random_state=0).fit(X, y)
    >>> model.predict([[2.4], [3.4], [4.1]])
    array([0., 0., 9.])
    """

    _parameter_constraints: ClassVar[dict[str, list]] = {
        **ExtraTreesRegressor._parameter_constraints,
        # every fit begins anew
        "warm_start": [Options(bool, {False})],
    }

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> MedianTreesRegressor:
        """Grow the trees.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            As for :class:`sklearn.ensemble.ExtraTreesRegressor`.

        Returns
        -------
        self : MedianTreesRegressor
            Fitted.
        """
        return super().fit(X, y, sample_weight)

    def predict(self, X: Any) -> np.ndarray:
        """Predict the median of the trees.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Predictions.
        """
        check_is_fitted(self)
        X = self._validate_X_predict(X)
        trees = Parallel(n_jobs=self.n_jobs, require="sharedmem")(
            delayed(tree.predict)(X, check_input=False) for tree in self.estimators_
        )
        return np.median(trees, axis=0)


class KernelRegressor(SVR):
    """Support-vector regression that leaves NumPy's global generator alone.

    scikit-learn's draws from it a seed for libsvm, which has no use for one in a regression.

    Parameters
    ----------
    C : float, default=1.0
        Inverse of the strength of the regularisation.
    epsilon : float, default=0.1
        Errors up to this cost nothing.
    """

    _parameter_constraints: ClassVar[dict[str, list]] = {
        name: SVR._parameter_constraints[name] for name in ("C", "epsilon")
    }

    def __init__(self, *, C: float = 1.0, epsilon: float = 0.1) -> None:
        super().__init__(C=C, epsilon=epsilon)
        self.random_state = 0

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any) -> KernelRegressor:
        """Find the support vectors.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.
        y : array-like of shape (n_samples,)
            Targets.

        Returns
        -------
        self : KernelRegressor
            Fitted.
        """
        return super().fit(X, y)


def default_readouts(
    blocks: tuple[str, ...],
    n_rows: int,
    *,
    classification: bool,
    median: bool = True,
    n_outputs: int = 1,
    fast: bool = False,
    n_jobs: int | None = None,
) -> dict[str, Readout]:
    """Readouts that the estimators choose from.

    Parameters
    ----------
    blocks : tuple of str
        Blocks of features that are there, of
        :class:`~sklearn_kt.CompositionEmbedder`'s, or ``"columns"`` of numbers.
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
    numbers = MedianTreesRegressor if median else ExtraTreesRegressor
    forest: Any = ExtraTreesClassifier if classification else numbers
    # classes lose little by fewer columns to choose from, numbers do
    columns = _QUICK_COLUMNS if fast and classification else _COLUMNS
    trees = forest(_N_TREES["fast" if fast else "auto"], max_features=columns, n_jobs=n_jobs)
    plain = tuple(block for block in blocks if block not in ("embedding", "properties"))
    # dozens of predicted properties serve trees better than hundreds of raw columns
    transfer = ("properties" if "properties" in blocks else "embedding", *plain)
    pretrained = "embedding" in blocks
    readouts = {}
    if pretrained:
        readouts["transfer_trees"] = Readout(transfer, trees)
    if classification or not (pretrained and fast):
        readouts["trees"] = Readout(plain, trees)
    if "fractions" in blocks:
        part = _QUICK_COLUMNS if fast and classification else 1.0
        amounts = clone(trees).set_params(max_features=part)
        readouts["fraction_trees"] = Readout(("fractions",), amounts)
    if not pretrained or fast:
        return readouts
    if classification:
        readouts["boosting"] = Readout(transfer, HistGradientBoostingClassifier())
    elif n_rows <= MAX_KERNEL_ROWS and n_outputs == 1:
        machine = make_pipeline(StandardScaler(), KernelRegressor(C=10, epsilon=0.02))
        readouts["kernel"] = Readout(blocks, machine)
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


def decide(model: Any, X: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """Give the labels that a classifier decides for, and its probabilities if it has any.

    Ours, also as the last step of a Pipeline, give both from one pass through the networks.
    """
    last = model.steps[-1][1] if isinstance(model, Pipeline) else model
    if "return_proba" in inspect.signature(last.predict).parameters:
        return model.predict(X, return_proba=True)
    labels = np.asarray(model.predict(X))
    return labels, model.predict_proba(X) if hasattr(model, "predict_proba") else None


def select_weights(
    outputs: Mapping[str, np.ndarray], score: Callable[[np.ndarray], float]
) -> dict[str, float]:
    """Weigh models by greedy selection on rows that none of them has seen.

    Parameters
    ----------
    outputs : dict of str to ndarray of shape (n, k)
        Out-of-fold outputs of each model.
    score : callable
        Loss of blended outputs; lower is better.

    Returns
    -------
    dict of str to float
        Weights of the models chosen; they sum to 1.

    Notes
    -----
    Starting from nothing, the model that lowers the blend's loss most is added, again and
    again with replacement; the best round counts [1]_. Unlike a regression on the outputs
    this cannot run away on a few hundred rows.

    References
    ----------
    .. [1] R. Caruana, A. Niculescu-Mizil, G. Crew, A. Ksikes, "Ensemble selection from
       libraries of models", ICML 2004.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_kt.estimators.readouts import select_weights
    >>> truth = np.array([[0.0], [1.0], [2.0]])
    >>> outputs = {"high": truth + 1, "low": truth - 1, "far": truth + 9}
    >>> select_weights(outputs, lambda blend: float(np.abs(blend - truth).mean()))
    {'high': 0.5, 'low': 0.5}
    """
    names = list(outputs)
    counts = dict.fromkeys(names, 0)
    total: Any = 0.0
    best, best_counts = np.inf, counts
    for rounds in range(1, _SELECTION_ROUNDS + 1):
        losses = [score((total + outputs[name]) / rounds) for name in names]
        winner = int(np.argmin(losses))
        total = total + outputs[names[winner]]
        counts = {**counts, names[winner]: counts[names[winner]] + 1}
        if losses[winner] < best:
            best, best_counts = losses[winner], counts
    chosen = sum(best_counts.values())
    return {name: count / chosen for name, count in best_counts.items() if count}


class ErrorModel(BaseEstimator):
    """Expected size of an error, learned from errors on rows that were not seen.

    Intervals are conformal: the quantile of out-of-fold errors, each divided by the error
    that a forest expects for its row [1]_. Forest and quantile see different rows, since
    the forest speaks for a row only with those trees that have not seen it. Errors below a
    twentieth of the mean error count as that, so that intervals have a width; where many
    errors are 0, they cover more than they have to.

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
    def fit(self, features: np.ndarray, residuals: np.ndarray) -> ErrorModel:
        """Learn from out-of-fold residuals.

        Parameters
        ----------
        features : ndarray of shape (n, n_features)
            Of the rows.
        residuals : ndarray of shape (n, n_outputs)
            Truth minus prediction.

        Returns
        -------
        self : ErrorModel
            Fitted.
        """
        errors = np.abs(residuals)
        if len(errors) > _MAX_ERROR_ROWS:
            rng = np.random.default_rng(self.random_state)
            rows = rng.choice(len(errors), _MAX_ERROR_ROWS, replace=False)
            features, errors = features[rows], errors[rows]
        self.floor_ = np.maximum(_SMALLEST_ERROR * errors.mean(axis=0), np.finfo(float).tiny)
        # where most errors are 0, as for metals' gaps, half of them would make intervals of width 0
        errors = np.maximum(errors, self.floor_)
        self.forest_ = ExtraTreesRegressor(
            _N_ERROR_TREES,
            max_features=_COLUMNS,
            min_samples_leaf=5,
            bootstrap=True,
            oob_score=True,
            random_state=self.random_state,
            n_jobs=self.n_jobs,
        ).fit(features, errors.squeeze(axis=1) if errors.shape[1] == 1 else errors)
        expected = self.forest_.oob_prediction_.reshape(errors.shape)
        self.ratios_ = np.sort(errors / expected, axis=0)
        # one number a row is enough from here on
        del self.forest_.oob_prediction_
        return self

    def std(self, features: np.ndarray) -> np.ndarray:
        """Give the standard deviation of each error, (n, n_outputs)."""
        check_is_fitted(self)
        return self._expected(features) * np.sqrt((self.ratios_**2).mean(axis=0))

    def width(self, features: np.ndarray, coverage: float) -> np.ndarray:
        """Give half the width of intervals that cover that share of truths, (n, n_outputs)."""
        check_is_fitted(self)
        if not 0 < coverage < 1:
            raise InputError(f"coverage must lie between 0 and 1, got {coverage!r}.")
        n = len(self.ratios_)
        # the finite-sample quantile of split-conformal prediction
        rank = min(int(np.ceil(coverage * (n + 1))), n) - 1
        return self._expected(features) * self.ratios_[rank]

    def _expected(self, features: np.ndarray) -> np.ndarray:
        expected = predict_in_order(self.forest_.predict, features, self.n_jobs)
        return expected.reshape(len(features), -1)
