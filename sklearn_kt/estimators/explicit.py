"""Explicit knowledge transfer: properties by way of generated crystal structures.

A generator proposes crystals for each composition, CHGNet turns them into numbers,
and a scikit-learn model reads those beside what the formula says by itself.
Training and prediction see structures of the same kind, so the model learns how far
they can be trusted.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from copy import copy
from numbers import Integral
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, overload

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from sklearn_kt._settings import own_settings
from sklearn_kt._targets import ClassTargets, GapRegressorMixin, NumberTargets, check_known, votes
from sklearn_kt.compositions import CompositionBatch
from sklearn_kt.conditions import MeasuredBatch
from sklearn_kt.encoder import Encoder
from sklearn_kt.encoder.encoder import Data, side_by_side
from sklearn_kt.exceptions import CompositionWarning, InputError, MissingStructureWarning
from sklearn_kt.fitting import fit_context
from sklearn_kt.randomness import random_state_of
from sklearn_kt.structures import (
    Cached,
    CrystalGraphClassifier,
    CrystalGraphRegressor,
    PrototypeGenerator,
    StructureEmbedder,
)
from sklearn_kt.structures.candidate import candidates_of_rows, origin_of

from .base import FormulaMixin, fit_rows, told_once
from .html_repr import FittedReprMixin, Value
from .implicit import ImplicitKTClassifier, ImplicitKTRegressor
from .readouts import decide, with_seed
from .uncertainty import check_coverage, widening

__all__ = ["ExplicitKTClassifier", "ExplicitKTRegressor"]

_SHOWN = 3
# readouts of crystals, not of columns
_NETWORKS = (CrystalGraphClassifier, CrystalGraphRegressor)


class _BaseExplicitKT(FormulaMixin, FittedReprMixin, BaseEstimator):
    """Structures, features and fallback; subclasses add what targets mean."""

    _parameter_constraints: ClassVar[dict[str, list]] = {
        "generator": [HasMethods(["generate"]), None],
        "embedder": [HasMethods(["transform"]), None],
        "checkpoint": [str, Path, None],
        "n_candidates": [Interval(Integral, 1, None, closed="left")],
        "fallback": [StrOptions({"composition", "raise", "nan"})],
        "errors": [StrOptions({"raise", "nan"})],
        "composition_column": [str, None],
        "cache_dir": [str, Path, None],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        generator: Any = None,
        *,
        embedder: Any = None,
        checkpoint: str | Path | None = "default",
        readout: Any = "fast",
        n_candidates: int = 1,
        fallback: str = "composition",
        composition_estimator: Any = None,
        errors: str = "raise",
        composition_column: str | None = None,
        cache_dir: str | Path | None = None,
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.generator = generator
        self.embedder = embedder
        self.checkpoint = checkpoint
        self.readout = readout
        self.n_candidates = n_candidates
        self.fallback = fallback
        self.composition_estimator = composition_estimator
        self.errors = errors
        self.composition_column = composition_column
        self.cache_dir = cache_dir
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    @own_settings()
    @fit_context(prefer_skip_nested_validation=False)
    def fit(
        self,
        X: Any,
        y: Any,
        structures: Sequence[Any] | None = None,
        groups: Any = None,
        sample_weight: Any = None,
    ) -> Self:
        """Fit to compositions and their property.

        Parameters
        ----------
        X : array-like of compositions, table, or matrix of shape (n_samples, n_features)
            Formulas, :class:`pymatgen.core.Composition` objects or dicts in any
            container that :func:`~sklearn_kt.read_compositions` takes; a DataFrame of pandas
            or polars with a column of them and columns of conditions, as
            :class:`~sklearn_kt.conditions.ConditionEncoder` reads it; or rows
            that are already numbers, which need no structures.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets, with NaN for some of several as in :meth:`ImplicitKTRegressor.fit`.
        structures : sequence of length n_samples, optional
            Crystals to train on in place of generated ones: a pymatgen
            ``Structure``, a list of them, or None in each row; a row with None
            gets generated ones. Predictions from generated structures are worse
            than those from true ones; a model trained on true ones does not know
            that.
        groups : array-like of shape (n_samples,), optional
            Rows that stay together, as in :meth:`ImplicitKTRegressor.fit`; models that split
            rows themselves get them too.
        sample_weight : array-like of shape (n_samples,), optional
            How much each row counts, as in :meth:`ImplicitKTRegressor.fit`. Readout and
            composition model get the weights as they are.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        CompositionError
            If a row is not a composition.
        CheckpointError
            If the package chgnet is missing.
        InputError
            If a row has no structure and ``fallback="raise"``, or none has one; if a weight is
            negative or no number, all are 0, or a model takes none.

        Warns
        -----
        CompositionWarning
            If rows have no structure.
        """
        table, kept = self._read_rows(X, y, groups, sample_weight)
        given = _given(structures, len(kept))
        data, y, places = table.data, table.targets, np.flatnonzero(kept)
        self.structure_model_: Any = None
        self.composition_model_: Any = None
        self.fallback_rows_: list[int] = []
        # parameters that are set later do not change what the fitted estimator predicts
        self.generator_, self.embedder_ = copy(self.generator), copy(self.embedder)
        self.n_candidates_, self.fallback_ = self.n_candidates, self.fallback
        self.encoder_: Encoder | None = None
        network = isinstance(self.readout, _NETWORKS)
        if isinstance(data, np.ndarray):
            if network:
                raise InputError(
                    f"{type(self.readout).__name__} reads crystals, and X holds numbers; pass "
                    "compositions, or another readout."
                )
            model = self._model(self.readout)
            self.structure_model_ = fit_rows(model, data, y, table.groups, table.weights)
            return self
        if network and isinstance(data, MeasuredBatch):
            raise InputError(
                f"{type(self.readout).__name__} reads crystals, which know nothing of the "
                f"conditions {', '.join(data.names)}; pass compositions alone, or another readout."
            )
        if not network:
            self.encoder_ = Encoder.load(self.checkpoint).for_rows(data)
        features, has_structure = self._features(data, [given[row] for row in places])
        self._report(data, ~has_structure, "fit", places)
        rows = np.flatnonzero(has_structure)
        if self.fallback == "composition":
            estimator = self.composition_estimator
            if estimator is None:
                estimator = self._model("fast").set_params(checkpoint=self.checkpoint)
            estimator = with_seed(clone(estimator), _seed(self.random_state))
            self.composition_model_ = fit_rows(estimator, data, y, table.groups, table.weights)
        elif not len(rows):
            raise InputError(
                "none of the rows has a structure to learn from; pass structures=, another "
                "generator, or fallback='composition'."
            )
        if len(rows):
            seed = _seed(self.random_state)
            model = with_seed(clone(self.readout), seed) if network else self._model(self.readout)
            part = table[rows]
            if y.ndim == 2:
                check_known(part.targets, rows=" with a structure")
            self.structure_model_ = fit_rows(
                model, _rows_of(features, rows), part.targets, part.groups, part.weights
            )
        return self

    def _features(self, data: CompositionBatch, given: list[Any]) -> tuple[Any, np.ndarray]:
        """Prepare what the readout reads, and tell which rows have structures.

        A network reads graphs, others read columns of structures and of what formulas say.
        """
        rows = np.flatnonzero(data.valid)
        if not len(rows):
            return np.empty((len(data), 0)), np.zeros(len(data), bool)
        asked = [i for i in rows.tolist() if given[i] is None]
        if asked:
            generator = self.generator_
            if generator is None:
                generator = Cached(
                    PrototypeGenerator(), self.cache_dir, n_jobs=self.n_jobs, verbose=self.verbose
                )
            found = generator.generate(data[np.array(asked)], self.n_candidates_)
            for i, candidates in zip(asked, found, strict=True):
                given[i] = candidates
        if self.encoder_ is None:
            from sklearn_kt.structures.network import CrystalRows

            crystals = candidates_of_rows(
                [given[i] if data.valid[i] else None for i in range(len(data))]
            )
            graphs = CrystalRows.read(crystals, progress=bool(self.verbose))
            return graphs, graphs.lengths > 0
        embedder = self.embedder_
        if embedder is None:
            embedder = StructureEmbedder(
                spread=self.n_candidates_ > 1,
                cache_dir=self.cache_dir,
                n_jobs=self.n_jobs,
                verbose=self.verbose,
            )
        columns = np.asarray(embedder.transform([given[i] for i in rows]), float)
        columns = columns.reshape(len(rows), -1)
        # dozens of predicted properties serve better than hundreds of raw columns
        left_out = "embedding" if "properties" in self.encoder_.blocks else ""
        names = [name for name in self.encoder_.blocks if name != left_out]
        known = side_by_side(self.encoder_.features(data[rows], names), names)
        origin = np.array([origin_of(given[i]) for i in rows])
        width = columns.shape[1] + origin.shape[1] + known.shape[1]
        features = np.full((len(data), width), np.nan)
        features[rows] = np.hstack([columns, origin, known])
        has_structure = np.zeros(len(data), bool)
        has_structure[rows] = np.isfinite(columns).all(axis=1)
        return features, has_structure

    def _report(
        self, data: CompositionBatch, missing: np.ndarray, method: str, places: np.ndarray
    ) -> None:
        """Raise or warn about rows that have no structure, and list their places in X."""
        rows = np.flatnonzero(missing & data.valid)
        self.fallback_rows_ = places[rows].tolist()
        if not len(rows):
            return
        shown = ", ".join(
            f"row {places[row]} ({name})"
            for row, name in zip(rows[:_SHOWN], data[rows[:_SHOWN]].formulas(), strict=True)
        )
        more = ", ..." if len(rows) > _SHOWN else ""
        text = f"{len(rows)} of {len(data)} compositions have no structure: {shown}{more}"
        if self.fallback_ == "raise":
            raise InputError(
                f"{text}. Pass structures=, another generator, or fallback='composition' or 'nan'."
            )
        kept = (
            "the composition model stands in"
            if self.fallback_ == "composition"
            else ("they are left out" if method == "fit" else "their predictions are NaN")
        )
        warnings.warn(
            f"{text}; {kept} (fallback={self.fallback_!r}, attribute fallback_rows_).",
            MissingStructureWarning if self.fallback_ == "nan" else CompositionWarning,
            stacklevel=3,
        )

    def _model(self, readout: Any) -> Any:
        """Model of numeric rows, or of compositions once it is given a checkpoint."""
        return self._implicit(
            checkpoint=None,
            readout=readout,
            n_jobs=self.n_jobs,
            random_state=_seed(self.random_state),
            verbose=self.verbose,
        )

    def _outputs(
        self,
        X: Any,
        structures: Sequence[Any] | None,
        run: Callable[[Any, Any, np.ndarray], np.ndarray],
        shape: tuple[int, ...],
    ) -> np.ndarray:
        """Run the two models, each on its rows; NaN, of the shape of a row, where there is none.

        They are also told which part of each row's atoms is of elements that no training row had,
        as far as they do not see it.
        """
        data: Data = self._read(X, errors=self.errors)
        if isinstance(data, np.ndarray):
            self.fallback_rows_ = []
            return run(self.structure_model_, data, self._unseen_part(data))
        features, has_structure = self._features(data, _given(structures, len(data)))
        self._report(data, ~has_structure, "predict", np.arange(len(data)))
        has_structure &= self.structure_model_ is not None
        parts: list[tuple[Any, np.ndarray, Any]] = [
            (self.structure_model_, np.flatnonzero(has_structure), features)
        ]
        if self.composition_model_ is not None:
            others = np.flatnonzero(~has_structure & data.valid)
            parts.append((self.composition_model_, others, data))
        out = np.full((len(data), *shape), np.nan)
        unseen = self._unseen_part(data)
        for model, rows, columns in parts:
            if len(rows):
                # compositions are looked at by the model of them
                hidden = np.zeros(len(rows)) if columns is data else unseen[rows]
                with told_once():
                    out[rows] = run(model, _rows_of(columns, rows), hidden)
        return out

    def _learned(self) -> dict[str, Value]:
        if self.input_kind_ == "features":
            return {"prediction from columns": _about(self.structure_model_), **self._about_rows()}
        generator = PrototypeGenerator if self.generator_ is None else type(self.generator_)
        rows: dict[str, Value] = {"structures from": generator.__name__}
        if self.structure_model_ is not None:
            rows["rows with a structure"] = _about(self.structure_model_)
        if self.composition_model_ is not None:
            rows["rows without one"] = _about(self.composition_model_)
        rows |= self._about_rows()
        rows["last call"] = f"{len(self.fallback_rows_):,} rows without a structure"
        return rows


class ExplicitKTRegressor(GapRegressorMixin, _BaseExplicitKT):
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
        **_BaseExplicitKT._parameter_constraints,
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
        """
        check_coverage(coverage)
        return self.predict(X, coverage=coverage, structures=structures)[1]

    def _read_targets(self, y: Any) -> np.ndarray:
        self.targets_ = NumberTargets()
        return self.targets_.read(self, y)


class ExplicitKTClassifier(ClassifierMixin, _BaseExplicitKT):
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
        **_BaseExplicitKT._parameter_constraints,
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


def _about(model: Any) -> list[str]:
    """Name a model, and what has a share of it, if it is one of ours."""
    learned = model._learned() if isinstance(model, FittedReprMixin) else {}
    parts = learned.get("prediction")
    return [type(model).__name__, *(parts if isinstance(parts, list) else [])]


def _given(structures: Sequence[Any] | None, n_rows: int) -> list[Any]:
    """List the structures of rows, None where there is none."""
    given: list[Any] = [None] * n_rows if structures is None else list(structures)
    if len(given) != n_rows:
        raise InputError(
            f"structures has {len(given)} rows, but X has {n_rows}; pass None where a row has no "
            "structure."
        )
    return given


def _rows_of(columns: Any, rows: np.ndarray) -> Any:
    """Select rows of columns, compositions or graphs."""
    return (
        columns[rows] if isinstance(columns, np.ndarray | CompositionBatch) else columns.take(rows)
    )


def _seed(random_state: Any) -> int:
    """Integer for models that are made more than once."""
    if isinstance(random_state, Integral):
        return int(random_state)
    return int(random_state_of(random_state).randint(np.iinfo(np.int32).max))
