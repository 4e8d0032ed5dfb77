"""Structures, their features and a readout, for numbers and classes alike."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from copy import copy
from numbers import Integral
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

from sklearn_kt._settings import own_settings
from sklearn_kt._targets import check_known
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
from .readouts import with_seed

__all__ = ["BaseExplicitKT"]

_SHOWN = 3
# readouts of crystals, not of columns
_NETWORKS = (CrystalGraphClassifier, CrystalGraphRegressor)


class BaseExplicitKT(FormulaMixin, FittedReprMixin, BaseEstimator):
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
            self.structure_model_ = fit_rows(model, data, y, table.together, table.weights)
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
            self.composition_model_ = fit_rows(estimator, data, y, table.together, table.weights)
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
                model, _rows_of(features, rows), part.targets, part.together, part.weights
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
