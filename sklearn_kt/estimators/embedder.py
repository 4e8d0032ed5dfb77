"""Frozen features of compositions, as columns for a scikit-learn model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import check_is_fitted

from sklearn_kt._settings import own_settings
from sklearn_kt.compositions import ELEMENTS, CompositionBatch
from sklearn_kt.descriptors import descriptor_names
from sklearn_kt.encoder import Encoder
from sklearn_kt.encoder.encoder import chunks, side_by_side
from sklearn_kt.exceptions import InputError
from sklearn_kt.fitting import fit_context

from .base import FormulaMixin

__all__ = ["CompositionEmbedder"]


class CompositionEmbedder(FormulaMixin, TransformerMixin, BaseEstimator):
    """Frozen embeddings of compositions, for a scikit-learn model of your own.

    Parameters
    ----------
    checkpoint : str, Path or None, default="default"
        Pretrained composition encoder, as for :class:`ImplicitKTRegressor`.
        None, without a ``backbone``, leaves descriptors and fractions.
    backbone : str, Path or None, default=None
        Hugging Face text encoder: a local folder, or a name; needs ``checkpoint=None``.
    local_files_only : bool, default=True
        Never use the network.
    blocks : "all" or sequence of str, default="all"
        Columns to return, in this order:

        - ``"embedding"``: the encoder's pooled state, for kernels and linear models;
        - ``"properties"``: computed properties that the checkpoint predicts (formation
          energy, band gap, moduli, ...; units in the checkpoint's card), for trees. Of elements
          that no formula of pretraining had they are guesses, which
          :func:`~sklearn_kt.properties.predict_properties` points out;
        - ``"descriptors"``: statistics of element properties
          (:func:`~sklearn_kt.descriptors.elemental_descriptors`);
        - ``"fractions"``: the 118 atomic fractions;
        - ``"conditions"``: the columns beside the compositions of X, numbers unscaled. They are
          returned in any case, if there are some.

        ``"all"`` is every block that there is.
    errors : {"raise", "nan"}, default="raise"
        What ``transform`` does with a row that is not a composition: raise, or
        return a row of NaN and warn once with the count.
    composition_column : str or None, default=None
        Column of compositions in a table with conditions beside them; None finds it.
    device : str, default="auto"
        ``"auto"`` (a GPU when there is one), ``"cpu"``, ``"cuda"``, ...

    Attributes
    ----------
    encoder_ : Encoder
        What computes the blocks.
    blocks_ : tuple of str
        The blocks returned.
    input_kind_ : {"compositions", "measurements"}
        Kind of X seen in ``fit``: compositions, or these with conditions.
    condition_encoder_ : ConditionEncoder
        How a table with conditions is read; only for such a table.
    condition_names_ : ndarray of str
        Columns that conditions become; only where there are some.
    elements_ : ndarray of str
        Symbols of the elements in it.
    n_features_in_ : int
        Columns of X.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Column names, if X was a dataframe.

    See Also
    --------
    ImplicitKTRegressor : ``readout=model`` does the same as this in a pipeline.

    Examples
    --------
    Trees on what the encoder knows, from 461 measured band gaps; measured are 1.4 and 6.2 eV:

    >>> from sklearn.ensemble import ExtraTreesRegressor
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn_kt import CompositionEmbedder
    >>> from sklearn_kt.datasets import load_expt_gap
    >>> X, y = load_expt_gap(return_X_y=True)
    >>> model = make_pipeline(CompositionEmbedder(), ExtraTreesRegressor(30, random_state=0))
    >>> model.fit(X[::10], y[::10]).predict(["GaAs", "AlN"]).round()
    array([1., 5.])
    """

    _learns_elements = False
    _parameter_constraints: ClassVar[dict[str, list]] = {
        "checkpoint": [str, Path, None],
        "backbone": [str, Path, None],
        "local_files_only": ["boolean"],
        "blocks": [StrOptions({"all"}), list, tuple],
        "errors": [StrOptions({"raise", "nan"})],
        "composition_column": [str, None],
        "device": [str],
    }

    def __init__(
        self,
        checkpoint: str | Path | None = "default",
        *,
        backbone: str | Path | None = None,
        local_files_only: bool = True,
        blocks: str | Sequence[str] = "all",
        errors: str = "raise",
        composition_column: str | None = None,
        device: str = "auto",
    ) -> None:
        self.checkpoint = checkpoint
        self.backbone = backbone
        self.local_files_only = local_files_only
        self.blocks = blocks
        self.errors = errors
        self.composition_column = composition_column
        self.device = device

    @own_settings()
    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None) -> Self:
        """Load the backbone; nothing is learned from X.

        Parameters
        ----------
        X : array-like of compositions, or table
            As in :meth:`ImplicitKTRegressor.fit`.
        y : ignored
            For pipelines.

        Returns
        -------
        self : object
            The fitted transformer.
        """
        data = self._read_compositions(X, reset=True)
        encoder = Encoder.load(
            self.checkpoint, self.backbone, local_files_only=self.local_files_only
        )
        self.encoder_ = encoder.for_rows(data)
        available = self.encoder_.blocks
        wanted = available if isinstance(self.blocks, str) else tuple(self.blocks)
        if wanted and "conditions" in available and "conditions" not in wanted:
            wanted = (*wanted, "conditions")
        missing = [name for name in wanted if name not in available]
        if missing or not wanted:
            raise InputError(
                f"blocks={self.blocks!r} asks for {missing[0] if missing else 'nothing'!r}; this "
                f"checkpoint and backbone have the blocks {available}."
            )
        self.blocks_ = wanted
        return self

    @own_settings()
    def transform(self, X: Any) -> np.ndarray:
        """Embed compositions.

        Parameters
        ----------
        X : array-like of compositions, or table
            As in :meth:`fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_features_out)
            The columns that :meth:`get_feature_names_out` names.
        """
        check_is_fitted(self)
        data = self._read_compositions(X, errors=self.errors)
        out = np.full((len(data), len(self.get_feature_names_out())), np.nan)
        valid = np.flatnonzero(data.valid)
        # of a long table only the result is held whole
        for part in chunks(len(valid)):
            rows = valid[part]
            features = self.encoder_.features(data[rows], self.blocks_, device=self.device)
            out[rows] = side_by_side(features, self.blocks_)
        return out

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the output columns.

        Parameters
        ----------
        input_features : ignored
            For scikit-learn's interface.

        Returns
        -------
        ndarray of str
            Such as ``embedding_0``, ``property_band_gap_mp``,
            ``mean_electronegativity``, ``fraction_Fe``.
        """
        check_is_fitted(self)
        names = {
            "embedding": [f"embedding_{i}" for i in range(self.encoder_.embedding_size)],
            "properties": [f"property_{name}" for name in self.encoder_.property_names],
            "descriptors": descriptor_names(),
            "fractions": [f"fraction_{symbol}" for symbol in ELEMENTS],
            "conditions": [*getattr(self, "condition_names_", ())],
        }
        return np.array([name for block in self.blocks_ for name in names[block]], dtype=object)

    def _read_compositions(self, X: Any, **options: Any) -> CompositionBatch:
        data = self._read(X, **options)
        if isinstance(data, np.ndarray):
            raise InputError(
                "CompositionEmbedder embeds compositions, but X is a numeric matrix that "
                "CompositionTokenizer did not make; pass formulas."
            )
        return data

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        return tags
