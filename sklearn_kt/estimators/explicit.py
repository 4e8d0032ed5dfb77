"""Explicit knowledge transfer: properties by way of generated crystal structures.

A generator proposes crystals for each composition, CHGNet turns them into numbers,
and a scikit-learn model reads those beside what the formula says by itself.
Training and prediction see structures of the same kind, so the model learns how far
they can be trusted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, overload

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils._param_validation import HasMethods, StrOptions
from sklearn.utils.validation import check_is_fitted

from sklearn_kt._settings import own_settings
from sklearn_kt._targets import ClassTargets, GapRegressorMixin, NumberTargets, votes
from sklearn_kt.exceptions import InputError

from .explicit_base import BaseExplicitKT
from .implicit import ImplicitKTClassifier, ImplicitKTRegressor
from .readouts import decide
from .uncertainty import check_coverage, widening

__all__ = ["ExplicitKTClassifier", "ExplicitKTRegressor"]


class ExplicitKTRegressor(GapRegressorMixin, BaseExplicitKT):
    """Predict a property from chemical formulas by way of generated structures.

    Parameters
    ----------
    generator : structure generator or None, default=None
        Anything with ``generate(compositions, n_candidates)``, of
        :mod:`sklearn_kt.structures`; None is :class:`PrototypeGenerator`.
    embedder : transformer or None, default=None
        Turns a list of candidates per row into columns; None is
        :class:`~sklearn_kt.structures.StructureEmbedder`.
    checkpoint : str, Path or None, default="default"
        Composition encoder whose predicted properties stand beside the columns of
        structures, as for :class:`CompositionEmbedder`; None leaves them out.
    readout : {"fast"} or regressor, default="fast"
        Model of the columns: structures, how far the first of them can be trusted (its
        distance, composition error and score, and whether it is known), predicted
        properties, elemental descriptors and atomic fractions, in this order. ``"fast"`` is
        extra-trees, with errors calibrated on inner folds. A
        :class:`~sklearn_kt.structures.CrystalGraphRegressor` reads the crystals themselves:
        CHGNet is fine-tuned end to end, far slower, and `embedder` and `checkpoint` have no
        part in it.
    n_candidates : int, default=1
        Structures generated for each composition. Several are averaged with
        Boltzmann weights, and their spread is a feature; a graph network pools them
        by attention.
    fallback : {"composition", "raise", "nan"}, default="composition"
        What happens to rows without a structure: `composition_estimator` predicts
        them, an error names them, or they are left out of the fit and predicted as
        NaN. They are counted in a warning and listed in ``fallback_rows_``.
    composition_estimator : regressor or None, default=None
        Fitted on all rows; None is :class:`ImplicitKTRegressor` with
        ``readout="fast"``.
    errors : {"raise", "nan"}, default="raise"
        What ``predict`` does with a row that is not a composition: raise, or
        predict NaN and warn once with the count. ``fit`` always raises.
    composition_column : str or None, default=None
        Column of compositions in a table with conditions beside them; None finds it.
    cache_dir : str, Path or None, default=None
        Folder for structures and their features by content, shared by processes;
        used by the default generator and embedder.
    n_jobs : int or None, default=None
        Processes.
    random_state : int, RandomState instance or None, default=None
        Seed of the readout.
    verbose : int, default=0
        1 shows progress.

    Attributes
    ----------
    generator_, embedder_, n_candidates_, fallback_ : object
        Parameters as they were in ``fit``: what is set later changes no prediction.
    encoder_ : Encoder or None
        What says the columns beside those of structures; None for numeric rows and for
        graph networks.
    structure_model_ : estimator or None
        Model of rows that have structures; None if no training row had one.
    composition_model_ : estimator or None
        Model of rows that have none.
    fallback_rows_ : list of int
        Rows without a structure in the last call of ``fit`` or ``predict``.
    targets_ : NumberTargets
        Shape of y.
    input_kind_ : {"compositions", "measurements", "features"}
        Kind of X seen in ``fit``: compositions, these with conditions, or numbers.
    condition_encoder_ : ConditionEncoder
        How a table with conditions is read; only for such a table.
    condition_names_ : ndarray of str
        Columns that conditions become; only where there are some.
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
    ImplicitKTRegressor : Transfer without structures.
    BlendedKTRegressor : Both, blended.

    Notes
    -----
    The default embedder needs the extra ``structures``. A composition that the
    prototype library holds gets its known structure, others get substituted ones, solid
    solutions an ordered supercell of a parent's; what no cell holds gets the structure of the
    nearest stoichiometry, with a warning.
    The idea of explicit transfer is that of [1]_, which used another generator.

    References
    ----------
    .. [1] I. Rubtsov, I. Dudakov, Y. Kuratov, V. Korolev, "Enhancing
       composition-based materials property prediction by cross-modal knowledge
       transfer", arXiv:2511.03371 (2025).

    Examples
    --------
    Trees on the crystals of twelve solids with their band gaps; measured are 8.2 and 0.4 eV:

    >>> from sklearn.ensemble import ExtraTreesRegressor
    >>> from sklearn_kt import ExplicitKTRegressor
    >>> X = ["NaCl", "KCl", "KBr", "MgO", "CaO", "SrO", "Si", "Ge", "GaAs", "InP", "ZnO", "ZnS"]
    >>> y = [8.5, 8.4, 7.4, 7.8, 6.9, 5.7, 1.1, 0.7, 1.4, 1.3, 3.4, 3.7]
    >>> trees = ExtraTreesRegressor(30, random_state=0)
    >>> model = ExplicitKTRegressor(readout=trees, fallback="raise").fit(X, y)
    >>> model.predict(["RbCl", "InAs"]).round()
    array([8., 1.])
    """

    _implicit = ImplicitKTRegressor
    _parameter_constraints: ClassVar[dict[str, list]] = {
        **BaseExplicitKT._parameter_constraints,
        "readout": [StrOptions({"fast"}), HasMethods(["fit", "predict"])],
        "composition_estimator": [HasMethods(["fit", "predict"]), None],
    }

    @overload
    def predict(
        self,
        X: Any,
        return_std: Literal[False] = ...,
        structures: Sequence[Any] | None = ...,
        coverage: None = ...,
    ) -> np.ndarray: ...

    @overload
    def predict(
        self,
        X: Any,
        return_std: Literal[True],
        structures: Sequence[Any] | None = ...,
        coverage: float | None = ...,
    ) -> tuple[np.ndarray, ...]: ...

    @overload
    def predict(
        self,
        X: Any,
        return_std: bool = ...,
        structures: Sequence[Any] | None = ...,
        *,
        coverage: float,
    ) -> tuple[np.ndarray, ...]: ...

    @own_settings()
    def predict(
        self,
        X: Any,
        return_std: bool = False,
        structures: Sequence[Any] | None = None,
        coverage: float | None = None,
    ) -> np.ndarray | tuple[np.ndarray, ...]:
        """Predict the property.

        Parameters
        ----------
        X : array-like of compositions, table, or matrix of shape (n_samples, n_features)
            As in :meth:`fit`.
        return_std : bool, default=False
            Also return the standard deviation of the error, calibrated on the inner
            folds' errors.
        structures : sequence of length n_samples, optional
            Crystals in place of generated ones, as in :meth:`fit`.
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
            If ``return_std`` or ``coverage`` is asked of a model that knows nothing of its errors.
        """
        check_is_fitted(self)
        asked: dict[str, Any] = {"return_std": True} if return_std else {}
        asked |= {} if coverage is None else {"coverage": coverage}
        shape = self.targets_.shape
        if not asked:
            return self._outputs(X, structures, lambda model, rows, _: model.predict(rows), shape)

        def run(model: Any, rows: Any, unseen: np.ndarray) -> np.ndarray:
            try:
                y, *more = model.predict(rows, **asked)
            except TypeError as error:
                what = "return_std" if coverage is None else "intervals"
                raise InputError(
                    f"{type(model).__name__} has no {what}; use another readout, "
                    "composition_estimator or fallback."
                ) from error
            if coverage is not None:
                more.extend(np.moveaxis(more.pop(), -1, 0))
            # a deviation is measured from 0, bounds from the prediction
            middles = [np.zeros_like(y)] * return_std + [y] * (len(more) - return_std)
            beyond = (widening(unseen) - 1).reshape(-1, *[1] * (np.ndim(y) - 1))
            more = [m + (m - mid) * beyond for m, mid in zip(more, middles, strict=True)]
            return np.stack([y, *more], axis=1)

        n_parts = 1 + return_std + 2 * (coverage is not None)
        y, *more = np.moveaxis(self._outputs(X, structures, run, (n_parts, *shape)), 1, 0)
        if coverage is not None:
            *more, low, high = more
            more.append(np.stack([low, high], axis=-1))
        return (y, *more)

    @own_settings()
    def predict_interval(
        self, X: Any, coverage: float = 0.9, structures: Sequence[Any] | None = None
    ) -> np.ndarray:
        """Predict intervals that hold the property with a given probability.

        Parameters
        ----------
        X : array-like of compositions, table, or matrix of shape (n_samples, n_features)
            As in :meth:`fit`.
        coverage : float, default=0.9
            Share of new compounds, like those of the training table, whose property
            lies inside.
        structures : sequence of length n_samples, optional
            Crystals in place of generated ones, as in :meth:`fit`.

        Returns
        -------
        ndarray of shape (n_samples, 2) or (n_samples, n_outputs, 2)
            Lower and upper bounds, in the units of the targets.

        Raises
        ------
        InputError
            If a model in use has no inner folds to learn its errors from.

        Warns
        -----
        IntervalWarning
            If fewer compositions than that coverage takes have errors that are known: of
            9 for 90 %, 19 for 95 %, and 99 for 99 %.
        """
        check_coverage(coverage)
        return self.predict(X, coverage=coverage, structures=structures)[1]

    def _read_targets(self, y: Any) -> np.ndarray:
        self.targets_ = NumberTargets()
        return self.targets_.read(self, y)


class ExplicitKTClassifier(ClassifierMixin, BaseExplicitKT):
    """Predict a class from chemical formulas by way of generated structures.

    Parameters
    ----------
    generator : structure generator or None, default=None
        As for :class:`ExplicitKTRegressor`.
    embedder : transformer or None, default=None
        As for :class:`ExplicitKTRegressor`.
    checkpoint : str, Path or None, default="default"
        As for :class:`ExplicitKTRegressor`.
    readout : {"fast"} or classifier, default="fast"
        Model of the columns; a classifier needs ``predict_proba``. A
        :class:`~sklearn_kt.structures.CrystalGraphClassifier` reads the crystals.
    n_candidates : int, default=1
        Structures generated for each composition.
    fallback : {"composition", "raise", "nan"}, default="composition"
        What happens to rows without a structure; with ``"nan"`` their label is None
        (in an object array).
    composition_estimator : classifier or None, default=None
        Fitted on all rows; None is :class:`ImplicitKTClassifier` with
        ``readout="fast"``.
    errors : {"raise", "nan"}, default="raise"
        What ``predict`` does with a row that is not a composition.
    composition_column : str or None, default=None
        Column of compositions in a table with conditions beside them; None finds it.
    cache_dir : str, Path or None, default=None
        Folder for structures and their features by content.
    n_jobs : int or None, default=None
        Processes.
    random_state : int, RandomState instance or None, default=None
        Seed of the readout.
    verbose : int, default=0
        1 shows progress.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels.
    generator_, embedder_, n_candidates_, fallback_ : object
        Parameters as they were in ``fit``: what is set later changes no prediction.
    encoder_ : Encoder or None
        What says the columns beside those of structures; None for numeric rows and for
        graph networks.
    structure_model_ : estimator or None
        Model of rows that have structures; None if no training row had one.
    composition_model_ : estimator or None
        Model of rows that have none.
    fallback_rows_ : list of int
        Rows without a structure in the last call of ``fit`` or ``predict``.
    targets_ : ClassTargets
        Classes, and how labels are read.
    input_kind_ : {"compositions", "measurements", "features"}
        Kind of X seen in ``fit``: compositions, these with conditions, or numbers.
    condition_encoder_ : ConditionEncoder
        How a table with conditions is read; only for such a table.
    condition_names_ : ndarray of str
        Columns that conditions become; only where there are some.
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
    ExplicitKTRegressor : The same for numbers.

    References
    ----------
    .. [1] I. Rubtsov, I. Dudakov, Y. Kuratov, V. Korolev, "Enhancing
       composition-based materials property prediction by cross-modal knowledge
       transfer", arXiv:2511.03371 (2025).

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklearn_kt import ExplicitKTClassifier
    >>> X = ["NaCl", "MgO", "SiO2", "Cu", "FeAl", "NiTi"]
    >>> y = ["insulator", "insulator", "insulator", "metal", "metal", "metal"]
    >>> readout = make_pipeline(StandardScaler(), LogisticRegression())
    >>> model = ExplicitKTClassifier(readout=readout, fallback="raise").fit(X, y)
    >>> model.predict(["KCl", "CoAl"])
    array(['insulator', 'metal'], dtype=...)
    >>> model.predict_proba(["KCl", "CoAl"]).round(1)
    array([[1., 0.],
           [0., 1.]])
    """

    _implicit = ImplicitKTClassifier
    _parameter_constraints: ClassVar[dict[str, list]] = {
        **BaseExplicitKT._parameter_constraints,
        "readout": [StrOptions({"fast"}), HasMethods(["fit", "predict_proba"])],
        "composition_estimator": [HasMethods(["fit", "predict_proba"]), None],
    }

    @overload
    def predict(
        self, X: Any, return_proba: Literal[False] = ..., structures: Sequence[Any] | None = ...
    ) -> np.ndarray: ...

    @overload
    def predict(
        self, X: Any, return_proba: Literal[True], structures: Sequence[Any] | None = ...
    ) -> tuple[np.ndarray, np.ndarray]: ...

    @own_settings()
    def predict(
        self, X: Any, return_proba: bool = False, structures: Sequence[Any] | None = None
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Predict the class that the readout decides for.

        Parameters
        ----------
        X : array-like of compositions, table, or matrix of shape (n_samples, n_features)
            As in :meth:`fit`.
        return_proba : bool, default=False
            Also return the probabilities of :meth:`predict_proba`, which then take no time.
        structures : sequence of length n_samples, optional
            Crystals in place of generated ones, as in :meth:`fit`.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            In the rows' order.
        probabilities : ndarray of shape (n_samples, n_classes)
            Only with ``return_proba=True``.
        """
        check_is_fitted(self)

        def both(model: Any, rows: Any, _: np.ndarray) -> np.ndarray:
            labels, probabilities = decide(model, rows)
            return np.stack(
                [votes(self.classes_, labels), self._aligned(model, probabilities)], axis=1
            )

        if not return_proba:
            return self.targets_.decode(
                self._outputs(
                    X,
                    structures,
                    lambda model, rows, _: votes(self.classes_, model.predict(rows)),
                    self.targets_.shape,
                ),
            )
        pair = self._outputs(X, structures, both, (2, *self.targets_.shape))
        return self.targets_.decode(pair[:, 0]), pair[:, 1]

    @own_settings()
    def predict_proba(self, X: Any, structures: Sequence[Any] | None = None) -> np.ndarray:
        """Predict class probabilities.

        Parameters
        ----------
        X : array-like of compositions, table, or matrix of shape (n_samples, n_features)
            As in :meth:`fit`.
        structures : sequence of length n_samples, optional
            Crystals in place of generated ones, as in :meth:`fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Columns in the order of ``classes_``.
        """
        check_is_fitted(self)
        return self._outputs(
            X,
            structures,
            lambda model, rows, _: self._aligned(model, model.predict_proba(rows)),
            self.targets_.shape,
        )

    def _aligned(self, model: Any, probabilities: Any) -> np.ndarray:
        """Give every class its column: rows with structures may hold fewer than all rows."""
        out = np.zeros((len(probabilities), len(self.classes_)))
        out[:, np.searchsorted(self.classes_, model.classes_)] = probabilities
        return out

    def _read_targets(self, y: Any) -> np.ndarray:
        self.targets_ = ClassTargets()
        y = self.targets_.read(self, y)
        self.classes_ = self.targets_.classes
        return y
