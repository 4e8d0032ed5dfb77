"""Several models of formulas as one, weighed by what they say of unseen rows."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from numbers import Integral
from typing import Any, ClassVar, Literal, Self, cast, overload

import numpy as np
from scipy.stats import rankdata
from sklearn.base import ClassifierMixin, clone, is_regressor
from sklearn.ensemble._base import _BaseHeterogeneousEnsemble
from sklearn.model_selection import PredefinedSplit, check_cv
from sklearn.utils import Bunch
from sklearn.utils._param_validation import HasMethods, Interval
from sklearn.utils.validation import check_is_fitted
from tqdm.auto import tqdm

from sklearn_kt._settings import own_settings
from sklearn_kt._targets import (
    MIN_FOLD_ROWS,
    ClassTargets,
    Folds,
    GapRegressorMixin,
    NumberTargets,
    relative_weights,
)
from sklearn_kt.conditions import MeasuredBatch
from sklearn_kt.descriptors import elemental_descriptors
from sklearn_kt.encoder.encoder import Data
from sklearn_kt.exceptions import InputError, MissingStructureWarning, NearFormulaWarning
from sklearn_kt.fitting import fit_context
from sklearn_kt.randomness import random_state_of

from .base import FormulaMixin, Rows, fit_rows, told_once
from .explicit import ExplicitKTClassifier, ExplicitKTRegressor
from .html_repr import FittedReprMixin, Value, shares
from .implicit import ImplicitKTClassifier, ImplicitKTRegressor
from .kernels import MAX_KERNEL_ROWS, smooth_readout
from .readouts import forests_in_order
from .selection import disagreement, weigh
from .uncertainty import ErrorModel, check_coverage, with_spreads

__all__ = ["BlendedKTClassifier", "BlendedKTRegressor"]

_SHOWN = 3


class _BaseBlendedKT(FormulaMixin, FittedReprMixin, _BaseHeterogeneousEnsemble):
    """Out-of-fold blending; subclasses add what targets mean."""

    _parameter_constraints: ClassVar[dict[str, list]] = {
        "estimators": [list, None],
        "cv": [
            Interval(Integral, 2, None, closed="left"),
            HasMethods(["split", "get_n_splits"]),
            "array-like",
        ],
        "composition_column": [str, None],
        "random_state": ["random_state"],
        "n_jobs": [Integral, None],
        "verbose": ["verbose"],
    }

    # what a default model is of
    _implicit: ClassVar[Any]
    _explicit: ClassVar[Any]

    def __init__(
        self,
        estimators: list[tuple[str, Any]] | None = None,
        *,
        cv: Any = 3,
        composition_column: str | None = None,
        random_state: Any = None,
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.estimators = estimators
        self.cv = cv
        self.composition_column = composition_column
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose

    @own_settings()
    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any, groups: Any = None, sample_weight: Any = None) -> Self:
        """Fit every model on folds to weigh it, then on all rows.

        Parameters
        ----------
        X : array-like of compositions, table, or matrix of shape (n_samples, n_features)
            As in :meth:`ImplicitKTRegressor.fit`.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets; several only of numbers, with NaN as in :meth:`ImplicitKTRegressor.fit`. A
            model from elsewhere is then fitted to each target by itself, on the rows that have it.
        groups : array-like of shape (n_samples,), optional
            Rows that stay together, as in :meth:`ImplicitKTRegressor.fit`; models that split
            rows themselves get them too.
        sample_weight : array-like of shape (n_samples,), optional
            How much each row counts, as in :meth:`ImplicitKTRegressor.fit`: all models get
            the weights, and are weighed and scored with them.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        CompositionError
            If a row is not a composition.
        InputError
            If the estimators are not named pairs; if a weight is negative or no number, all
            are 0, or a model takes none; if ``cv`` splits rows that stay together.
        """
        table, kept = self._read_rows(X, y, groups, sample_weight)
        data = table.data
        seed = int(random_state_of(self.random_state).randint(np.iinfo(np.int32).max))
        n_conditions = len(data.names) if isinstance(data, MeasuredBatch) else 0
        named = self._named(seed, len(data), n_conditions)
        encoded = self.targets_.encode(table.targets)
        folds = self._folds(table, encoded, seed, kept)
        self.error_model_: ErrorModel | None = None
        self.scores_: dict[str, Any] = {}
        self.held_out_scores_: dict[str, Any] = {}
        self.n_held_out_ = 0
        if folds:
            held_out = np.concatenate([test for _, test in folds])
            outputs: dict[str, list[np.ndarray]] = {name: [] for name in named}
            jobs = [(name, fold) for name in named for fold in folds]
            for name, (train, test) in tqdm(jobs, "folds", disable=not self.verbose):
                with _others_stand_in():
                    # of all rows it is told below
                    warnings.simplefilter("ignore", NearFormulaWarning)
                    fitted = _fitted(named[name], table[train])
                    outputs[name].append(self._output(fitted, data[test]))
            filled = _filled({name: np.concatenate(parts) for name, parts in outputs.items()})
            truth, judged = encoded[held_out], table[held_out]
            weights = relative_weights(judged.weights)
            self.weights_: dict[str, Any] = weigh(self.targets_, filled, truth, weights)
            blended = sum(w * filled[name] for name, w in self.weights_.items())
            apart = disagreement(filled, self.weights_, blended)
            filled["blend"] = blended
            self.scores_ = {
                name: self.targets_.error(truth, out, weights) for name, out in filled.items()
            }
            self.held_out_scores_ = self.targets_.held_out(truth, blended, weights)
            self.n_held_out_ = len(held_out)
            rows = replace(judged, weights=weights)
            self._fit_error_model(rows, truth, blended, apart, seed)
            if (stand_in := self._stand_in(named)) is not None:
                self.weights_[stand_in] = 0.0
        else:
            # too few rows to compare anything on
            self.weights_ = {name: 1 / len(named) for name in named}
        with _near_formulas_once():
            self.estimators_ = [
                _fitted(named[name], table)
                for name in tqdm(self.weights_, "models", disable=not self.verbose)
            ]
        return self

    @property
    def named_estimators(self) -> Bunch:
        """Models to choose from, by name; empty where ``estimators`` is None."""
        return Bunch(**dict(self.estimators or []))

    @property
    def named_estimators_(self) -> Bunch:
        """Fitted models by name."""
        return Bunch(**dict(zip(self.weights_, self.estimators_, strict=True)))

    def default_models(self, seed: int, n_rows: int, n_conditions: int = 0) -> dict[str, Any]:
        """Name the models that are weighed where ``estimators`` is None.

        Parameters
        ----------
        seed : int
            Random state of each.
        n_rows : int
            Rows of the table; kernels are left out of long ones.
        n_conditions : int, default=0
            Columns that the conditions of its rows become.

        Returns
        -------
        models : dict of str to estimator
            Not fitted.
        """
        common: dict[str, Any] = {"random_state": seed, "n_jobs": self.n_jobs}
        models = {
            "imkt": self._implicit(**common),
            # where there is no structure, the others stand in
            "exkt": self._explicit(fallback="nan", **common),
        }
        # which is for numbers
        if is_regressor(self) and n_rows <= MAX_KERNEL_ROWS:
            readout = smooth_readout(n_conditions)
            models["exkt_kernel"] = self._explicit(readout=readout, fallback="nan", **common)
        return models

    def _named(self, seed: int, n_rows: int, n_conditions: int) -> dict[str, Any]:
        if self.estimators is None:
            return self.default_models(seed, n_rows, n_conditions)
        pairs = list(self.estimators)
        if not all(isinstance(p, tuple | list) and len(p) == 2 for p in pairs):
            raise InputError("estimators must be a list of pairs (name, estimator).")
        try:
            self._validate_names([name for name, _ in pairs])
        except (ValueError, TypeError) as error:
            raise InputError(f"{error}; give each of the estimators a name of its own.") from error
        named = {name: model for name, model in pairs if model != "drop"}
        if not named:
            raise InputError("estimators must be a list of pairs, one of which is not 'drop'.")
        return named

    def _folds(self, table: Rows, encoded: np.ndarray, seed: int, kept: np.ndarray) -> Folds:
        """Split rows, or take the user's folds, of which only the rows that are kept count."""
        if isinstance(self.cv, Integral):
            return self.targets_.folds(encoded, self.cv, self.cv, seed, table.groups)
        splitter, everything = check_cv(self.cv), np.arange(len(kept))
        if hasattr(self.cv, "split") and not isinstance(self.cv, PredefinedSplit):
            with warnings.catch_warnings():
                # what comes of that is looked at below
                warnings.filterwarnings("ignore", "The groups parameter is ignored")
                folds = list(splitter.split(encoded, encoded, table.together))
        else:
            places = np.cumsum(kept) - 1
            parts = [[everything[rows] for rows in fold] for fold in splitter.split()]
            folds = [(places[a[kept[a]]], places[b[kept[b]]]) for a, b in parts]
        folds = [(train, test) for train, test in folds if len(test)]
        if not folds:
            raise InputError(f"cv={self.cv!r} gives no fold that rows are held out of.")
        for train, test in folds:
            shared = np.flatnonzero(np.isin(table.together[test], table.together[train]))
            if len(shared):
                row = everything[kept][test[shared[0]]]
                raise InputError(
                    f"cv puts row {row} on the other side of a fold than rows of its composition "
                    "or group; pass a number of folds or GroupKFold, or groups=range(len(X)) to "
                    "say that rows stand alone."
                )
        self.targets_.check_folds(encoded, folds, table.together)
        return folds

    def _stand_in(self, named: Mapping[str, Any]) -> str | None:
        """Name the best model that always predicts, if no model with a weight does."""
        steady = [name for name, model in named.items() if not _may_lack_rows(model)]
        if not steady or any(name in self.weights_ for name in steady):
            return None
        losses = [np.atleast_1d(self.scores_[name]) for name in steady]
        # of several targets, the model that is best on most: they have units of their own
        return steady[rankdata(losses, axis=0).sum(axis=1).argmin()]

    def _blend(self, data: Data) -> tuple[np.ndarray, np.ndarray]:
        """Blended outputs of rows, and how far the models are from these."""
        named = self.named_estimators_
        with _others_stand_in(), _near_formulas_once():
            outputs = {
                name: self._output(named[name], data)
                for name, weight in self.weights_.items()
                if np.any(weight)
            }
        missing = np.isnan(np.stack(list(outputs.values()))).all(axis=0)
        rows = _gaps(missing)
        for name, weight in self.weights_.items():
            if not np.any(weight) and len(rows):
                outputs[name] = np.full(missing.shape, np.nan)
                with told_once():
                    outputs[name][rows] = self._output(named[name], data[rows])
        filled = _filled(outputs)
        blend = np.sum([self.weights_[name] * out for name, out in filled.items()], axis=0)
        left = _gaps(np.isnan(blend))
        for name, out in outputs.items():
            rows = np.setdiff1d(_gaps(np.isnan(out)), left)
            if np.any(self.weights_[name]) and len(rows):
                self._warn(rows, len(blend), f"the other models stand in for {name!r}")
        if len(left):
            self._warn(left, len(blend), "no model stands in, and the prediction is NaN")
        return blend, disagreement(filled, self.weights_, blend)

    def _warn(self, rows: np.ndarray, n_rows: int, what: str) -> None:
        shown = ", ".join(map(str, rows[:_SHOWN])) + (", ..." if len(rows) > _SHOWN else "")
        warnings.warn(
            f"{len(rows)} of {n_rows} rows have no structure for a model of "
            f"{type(self).__name__} (rows {shown}); {what}.",
            MissingStructureWarning,
            stacklevel=4,
        )

    def _learned(self) -> dict[str, Value]:
        prediction = shares(self.weights_, self.scores_, self.targets_.measure)
        return {"prediction": prediction, **self._about_rows()}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        # rows are read here, whatever the models could read
        tags.input_tags.allow_nan = tags.input_tags.sparse = False
        return tags


class BlendedKTRegressor(GapRegressorMixin, _BaseBlendedKT):
    """Blend implicit and explicit transfer, or models of your own.

    Parameters
    ----------
    estimators : list of (str, regressor) or None, default=None
        Regressors that read compositions: those of this package, or pipelines that
        begin with :class:`CompositionEmbedder`. None is :class:`ImplicitKTRegressor`,
        :class:`ExplicitKTRegressor`, and for at most 8,000 rows the latter with
        :func:`~sklearn_kt.estimators.kernels.smooth_readout`. Where a model predicts NaN, as
        explicit transfer does for rows without a structure, the mean of the others
        stands in, with a warning. ``set_params(name=other)`` replaces one,
        ``set_params(name="drop")`` leaves it out, ``set_params(name__alpha=1)`` sets
        a parameter of it.
    cv : int, splitter or list of (train, test), default=3
        Folds to judge the models on; an integer is how many, in which rows of one composition or
        group stay together. Each model is fitted once for each, and once more.
    composition_column : str or None, default=None
        Column of compositions in a table with conditions beside them; None finds it.
    random_state : int, RandomState instance or None, default=None
        Seeds folds and default models.
    n_jobs : int or None, default=None
        Processes within the default models.
    verbose : int, default=0
        1 shows progress.

    Attributes
    ----------
    estimators_ : list of regressor
        Models with a weight, fitted on all rows; where each of these may lack a
        structure, also the best of those that need none. In the order of ``weights_``.
    named_estimators_ : Bunch
        The same by name.
    weights_ : dict of str to float, or to ndarray of shape (n_outputs,)
        Share of each model in a prediction, of several targets in each; 0 for one that only
        stands in where the others have no structure.
    scores_ : dict of str to float, or to ndarray of shape (n_outputs,)
        Mean absolute error of each model on rows it was not fitted on, and of the
        blend on the same rows; empty for tables of fewer than ``4 * cv`` rows (of one of several
        targets; those of one composition or group count once), whose models have equal weights.
    held_out_scores_ : dict of str to float, or to ndarray of shape (n_outputs,)
        Mean absolute error, in the units of the targets, and R² of the blend on the inner folds'
        held-out rows (``"mae"``, ``"r2"``), of each of several targets; empty on few rows.
    error_model_ : ErrorModel or None
        What expects errors; None for tables that are too small.
    targets_ : NumberTargets
        Shape of y.
    input_kind_ : {"compositions", "measurements", "features"}
        Kind of X seen in ``fit``: compositions, these with conditions, or numbers.
    condition_encoder_ : ConditionEncoder
        How a table with conditions is read; only for such a table.
    condition_names_ : ndarray of str
        Columns that conditions become; only where there are some.
    n_held_out_ : int
        Rows of the inner folds, which were held out in turn; 0 on few rows.
    n_samples_fit_ : int
        Rows that were learned from.
    repeated_rows_ : int
        Training rows whose composition, or group, an earlier row has.
    elements_ : ndarray of str
        Symbols of the elements in the training table; only for compositions.
    n_features_in_ : int
        Columns of X; 1 for compositions.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Column names, if X was a dataframe.

    See Also
    --------
    sklearn.ensemble.StackingRegressor : A model of the outputs in place of weights.

    Notes
    -----
    Weights are found by greedy selection with replacement [1]_, on the absolute
    error. The blend's own score is optimistic, as it was chosen on these rows.

    References
    ----------
    .. [1] R. Caruana, A. Niculescu-Mizil, G. Crew, A. Ksikes, "Ensemble selection
       from libraries of models", ICML 2004.

    Examples
    --------
    Two readouts of the pretrained encoder, from 461 measured band gaps; measured are 1.4 and
    6.2 eV:

    >>> from sklearn.ensemble import ExtraTreesRegressor
    >>> from sklearn.linear_model import Ridge
    >>> from sklearn_kt import BlendedKTRegressor, ImplicitKTRegressor
    >>> from sklearn_kt.datasets import load_expt_gap
    >>> X, y = load_expt_gap(return_X_y=True)
    >>> trees = ExtraTreesRegressor(30, random_state=0)
    >>> models = [
    ...     ("linear", ImplicitKTRegressor(readout=Ridge())),
    ...     ("trees", ImplicitKTRegressor(readout=trees)),
    ... ]
    >>> model = BlendedKTRegressor(models, cv=3).fit(X[::10], y[::10])
    >>> model.predict(["GaAs", "AlN"]).round()
    array([1., 5.])
    >>> model.weights_["trees"] > 0.5
    True
    """

    _implicit = ImplicitKTRegressor
    _explicit = ExplicitKTRegressor

    @overload
    def predict(
        self, X: Any, return_std: Literal[False] = ..., coverage: None = ...
    ) -> np.ndarray: ...

    @overload
    def predict(
        self, X: Any, return_std: Literal[True], coverage: float | None = ...
    ) -> tuple[np.ndarray, ...]: ...

    @overload
    def predict(
        self, X: Any, return_std: bool = ..., *, coverage: float
    ) -> tuple[np.ndarray, ...]: ...

    @own_settings()
    def predict(
        self, X: Any, return_std: bool = False, coverage: float | None = None
    ) -> np.ndarray | tuple[np.ndarray, ...]:
        """Predict the property.

        Parameters
        ----------
        X : array-like of compositions, table, or matrix of shape (n_samples, n_features)
            As in :meth:`fit`.
        return_std : bool, default=False
            Also return the standard deviation of the error, calibrated on rows that
            the models were not fitted on.
        coverage : float or None, default=None
            Also return the intervals of :meth:`predict_interval`, from the same pass.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            In the rows' order and in the units of the targets.
        std : ndarray of the same shape
            Only with ``return_std=True``.
        bounds : ndarray of shape (n_samples, 2) or (n_samples, n_outputs, 2)
            Only with ``coverage``.

        Raises
        ------
        InputError
            If ``return_std`` or ``coverage`` is asked of a model fitted on too few rows.
        """
        check_is_fitted(self)
        measures = []
        if return_std or coverage is not None:
            measures = self._errors().measures(return_std, coverage)
        data = self._read(X)
        blend, apart = self._blend(data)
        spreads = []
        if measures:
            known, beliefs = _error_features(data), _beliefs(blend, apart)
            unseen = self._unseen_part(data)
            spreads = [m(known, beliefs=beliefs, unseen=unseen) for m in measures]
        return with_spreads(blend, [s.reshape(blend.shape) for s in spreads], coverage)

    @own_settings()
    def predict_interval(self, X: Any, coverage: float = 0.9) -> np.ndarray:
        """Predict intervals that hold the property with a given probability.

        Parameters
        ----------
        X : array-like of compositions, table, or matrix of shape (n_samples, n_features)
            As in :meth:`fit`.
        coverage : float, default=0.9
            Share of new compounds, like those of the training table, whose property
            lies inside.

        Returns
        -------
        ndarray of shape (n_samples, 2) or (n_samples, n_outputs, 2)
            Lower and upper bounds, in the units of the targets.

        Raises
        ------
        InputError
            If the model was fitted on too few rows.

        Warns
        -----
        IntervalWarning
            If fewer compositions than that coverage takes have errors that are known: of
            9 for 90 %, 19 for 95 %, and 99 for 99 %.

        Notes
        -----
        As for :meth:`ImplicitKTRegressor.predict_interval`; weights were chosen on the
        rows that the errors are taken from, so that intervals are a little short.
        """
        check_coverage(coverage)
        return self.predict(X, coverage=coverage)[1]

    def _errors(self) -> ErrorModel:
        if self.error_model_ is None:
            raise InputError(
                "there are no out-of-fold errors to take uncertainties from; fit on at least "
                f"{MIN_FOLD_ROWS * self.cv} rows of different compositions or groups."
            )
        return self.error_model_

    def _read_targets(self, y: Any) -> np.ndarray:
        self.targets_ = NumberTargets()
        return self.targets_.read(self, y)

    def _output(self, estimator: Any, data: Data) -> np.ndarray:
        return np.asarray(estimator.predict(data), float).reshape(len(data), *self.targets_.shape)

    def _fit_error_model(
        self, rows: Rows, truth: np.ndarray, output: np.ndarray, apart: np.ndarray, seed: int
    ) -> None:
        residuals = (truth - output).reshape(len(truth), -1)
        errors = ErrorModel(seed, self.n_jobs)
        self.error_model_ = errors.fit(
            _error_features(rows.data),
            residuals,
            rows.groups,
            rows.weights,
            _beliefs(output, apart),
        )


class BlendedKTClassifier(ClassifierMixin, _BaseBlendedKT):
    """Blend the probabilities of implicit and explicit transfer, or of your own models.

    Parameters
    ----------
    estimators : list of (str, classifier) or None, default=None
        As for :class:`BlendedKTRegressor`, with ``predict_proba``.
    cv : int, splitter or list of (train, test), default=3
        Folds to judge the models on, stratified if it is how many.
    composition_column : str or None, default=None
        Column of compositions in a table with conditions beside them; None finds it.
    random_state : int, RandomState instance or None, default=None
        Seeds folds and default models.
    n_jobs : int or None, default=None
        Processes within the default models.
    verbose : int, default=0
        1 shows progress.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels.
    estimators_ : list of classifier
        Models with a weight, fitted on all rows; where each of these may lack a
        structure, also the best of those that need none. In the order of ``weights_``.
    named_estimators_ : Bunch
        The same by name.
    weights_ : dict of str to float
        Share of each model in a probability; 0 for one that only stands in where
        the others have no structure.
    scores_ : dict of str to float
        Log-loss of each model, and of the blend, on rows it was not fitted on; empty
        if a class has fewer than ``4 * cv`` rows; those of one group count once.
    held_out_scores_ : dict of str to float
        Accuracies and log-loss of the blend on the inner folds' held-out rows (``"accuracy"``,
        ``"balanced_accuracy"``, ``"log_loss"``); empty on few rows.
    error_model_ : None
        Probabilities are their own uncertainty.
    targets_ : ClassTargets
        Classes, and how labels are read.
    input_kind_ : {"compositions", "measurements", "features"}
        Kind of X seen in ``fit``: compositions, these with conditions, or numbers.
    condition_encoder_ : ConditionEncoder
        How a table with conditions is read; only for such a table.
    condition_names_ : ndarray of str
        Columns that conditions become; only where there are some.
    n_held_out_ : int
        Rows of the inner folds, which were held out in turn; 0 on few rows.
    n_samples_fit_ : int
        Rows that were learned from.
    repeated_rows_ : int
        Training rows whose composition, or group, an earlier row has.
    elements_ : ndarray of str
        Symbols of the elements in the training table; only for compositions.
    n_features_in_ : int
        Columns of X; 1 for compositions.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Column names, if X was a dataframe.

    See Also
    --------
    BlendedKTRegressor : The same for numbers.

    Notes
    -----
    Probabilities are blended, as in soft voting, and the most probable class is predicted: a
    threshold of a member's own has no say. Give the blend one, as in
    ``FixedThresholdClassifier(BlendedKTClassifier(), threshold=0.8)``.

    Examples
    --------
    Whether a compound has a band gap, from 93 that were measured:

    >>> from sklearn.ensemble import ExtraTreesClassifier
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn_kt import BlendedKTClassifier, CompositionTokenizer, ImplicitKTClassifier
    >>> from sklearn_kt.datasets import load_expt_gap
    >>> X, gap = load_expt_gap(return_X_y=True)
    >>> trees = ExtraTreesClassifier(30, random_state=0)
    >>> models = [
    ...     ("linear", make_pipeline(CompositionTokenizer("fraction"), LogisticRegression())),
    ...     ("trees", ImplicitKTClassifier(readout=trees)),
    ... ]
    >>> model = BlendedKTClassifier(models, cv=3).fit(X[::50], gap[::50] > 0)
    >>> model.predict(["GaAs", "NaCl", "NiTi"])
    array([ True,  True, False])
    """

    _implicit = ImplicitKTClassifier
    _explicit = ExplicitKTClassifier

    @overload
    def predict(self, X: Any, return_proba: Literal[False] = ...) -> np.ndarray: ...

    @overload
    def predict(self, X: Any, return_proba: Literal[True]) -> tuple[np.ndarray, np.ndarray]: ...

    @own_settings()
    def predict(
        self, X: Any, return_proba: bool = False
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Predict the most probable class.

        Parameters
        ----------
        X : array-like of compositions, table, or matrix of shape (n_samples, n_features)
            As in :meth:`fit`.
        return_proba : bool, default=False
            Also return the probabilities of :meth:`predict_proba`, which then take no time.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            In the rows' order.
        probabilities : ndarray of shape (n_samples, n_classes)
            Only with ``return_proba=True``.
        """
        check_is_fitted(self)
        probabilities, _ = self._blend(self._read(X))
        labels = self.targets_.decode(probabilities)
        return (labels, probabilities) if return_proba else labels

    @own_settings()
    def predict_proba(self, X: Any) -> np.ndarray:
        """Predict class probabilities.

        Parameters
        ----------
        X : array-like of compositions, table, or matrix of shape (n_samples, n_features)
            As in :meth:`fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Columns in the order of ``classes_``.
        """
        check_is_fitted(self)
        return self._blend(self._read(X))[0]

    def _read_targets(self, y: Any) -> np.ndarray:
        self.targets_ = ClassTargets()
        y = self.targets_.read(self, y)
        self.classes_ = self.targets_.classes
        return y

    def _output(self, estimator: Any, data: Data) -> np.ndarray:
        return np.asarray(estimator.predict_proba(data), float)

    def _fit_error_model(self, *unused: Any) -> None:
        """Probabilities are their own uncertainty."""


def _fitted(model: Any, table: Rows) -> Any:
    """Fit a copy of a model that predicts to the same bits each time."""
    fitted = fit_rows(clone(model), table.data, table.targets, table.together, table.weights)
    return forests_in_order(fitted)


def _may_lack_rows(model: Any) -> bool:
    """Whether a model predicts NaN for rows without a structure."""
    return getattr(model, "fallback", None) == "nan"


@contextmanager
def _others_stand_in() -> Iterator[None]:
    """Hush each model about rows that it leaves to the others; the blend says it of all."""
    with told_once():
        warnings.simplefilter("ignore", MissingStructureWarning)
        yield


@contextmanager
def _near_formulas_once() -> Iterator[None]:
    """Let only the first of several models tell of near formulas: all get the same crystals."""
    with warnings.catch_warnings():
        show, told = warnings.showwarning, False

        def show_once(message: Any, category: type[Warning], *where: Any, **more: Any) -> None:
            nonlocal told
            if category is NearFormulaWarning:
                if told:
                    return
                told = True
            show(message, category, *where, **more)

        warnings.showwarning = cast("Any", show_once)
        yield


def _gaps(missing: np.ndarray) -> np.ndarray:
    """Rows in which something is missing."""
    return np.flatnonzero(missing if missing.ndim == 1 else missing.any(axis=1))


def _filled(outputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Put the mean of the other models where one has no output."""
    values = np.stack(list(outputs.values()))
    missing = np.isnan(values)
    if not missing.any():
        return dict(outputs)
    count = np.maximum((~missing).sum(axis=0), 1)
    mean = np.where(missing.all(axis=0), np.nan, np.nansum(values, axis=0) / count)
    return dict(zip(outputs, np.where(missing, mean, values), strict=True))


def _beliefs(blend: np.ndarray, apart: np.ndarray) -> np.ndarray:
    """Give what is predicted, and how far the models are apart: (n, n_outputs, 2)."""
    columns = [column.reshape(len(blend), -1) for column in (blend, apart)]
    # where nothing is predicted, nothing is expected of it
    return np.nan_to_num(np.stack(columns, axis=-1))


def _error_features(data: Data) -> np.ndarray:
    """Columns that errors are learned from; numeric rows are their own."""
    if isinstance(data, np.ndarray):
        return data
    beside = [data.conditions] if isinstance(data, MeasuredBatch) else []
    return np.hstack([elemental_descriptors(data), data.fractions(), *beside])
