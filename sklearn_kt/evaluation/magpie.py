"""Magpie features of compositions, by matminer."""

from __future__ import annotations

import warnings
from itertools import pairwise
from typing import Any, ClassVar, Literal, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import validate_data

from sklearn_kt.compositions import ELEMENTS, CompositionBatch, read_compositions
from sklearn_kt.exceptions import InputError
from sklearn_kt.fitting import fit_context

__all__ = ["MagpieFeaturizer"]


class MagpieFeaturizer(TransformerMixin, BaseEstimator):
    """Magpie features of compositions, as computed by matminer.

    Statistics (minimum, maximum, range, mean, average deviation, mode) over the
    elements of a composition of 22 tabulated elemental properties: 132 numbers a row.

    Parameters
    ----------
    errors : {"raise", "nan"}, default="raise"
        What ``transform`` does with rows that are not compositions: an error that
        names them, or a row of NaN and a warning. ``fit`` always raises.

    Attributes
    ----------
    n_features_in_ : int
        Always 1. Only after ``fit``.
    feature_names_in_ : ndarray of str, shape (1,)
        Name of the column. Only after ``fit`` with a DataFrame.

    See Also
    --------
    sklearn_kt.CompositionTokenizer : Much faster; keeps the composition itself.

    Notes
    -----
    Elemental properties that Magpie lacks are replaced by their mean over the
    elements (``impute_nan=True`` of matminer), so no feature is NaN. matminer runs in
    one process here: its own pool is slower and can hang.

    References
    ----------
    L. Ward, A. Agrawal, A. Choudhary and C. Wolverton, "A general-purpose machine
    learning framework for predicting properties of inorganic materials", npj Comput.
    Mater. 2, 16028 (2016). https://doi.org/10.1038/npjcompumats.2016.28

    Examples
    --------
    >>> from sklearn_kt.evaluation import MagpieFeaturizer
    >>> featurizer = MagpieFeaturizer().fit(["Fe2O3"])
    >>> featurizer.transform(["Fe2O3", "SiO2"]).shape
    (2, 132)
    >>> str(featurizer.get_feature_names_out()[0])
    'MagpieData minimum Number'
    """

    _parameter_constraints: ClassVar[dict] = {"errors": [StrOptions({"raise", "nan"})]}

    def __init__(self, *, errors: Literal["raise", "nan"] = "raise") -> None:
        self.errors = errors

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None) -> Self:
        """Check the compositions; nothing is learned.

        Parameters
        ----------
        X : array-like of compositions, shape (n_samples,) or (n_samples, 1)
            Anything :func:`~sklearn_kt.read_compositions` takes.
        y : None
            Ignored.

        Returns
        -------
        self : MagpieFeaturizer
            The featurizer itself.
        """
        if len(read_compositions(X)) == 0:
            raise InputError("X is empty: at least one composition is needed.")
        if hasattr(X, "columns"):
            validate_data(self, X, skip_check_array=True, reset=True)
        self.n_features_in_ = 1
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Compute the features.

        Parameters
        ----------
        X : array-like of compositions, shape (n_samples,) or (n_samples, 1)
            Anything :func:`~sklearn_kt.read_compositions` takes.

        Returns
        -------
        features : float64 ndarray of shape (n_samples, 132)
            One row per composition, in order.

        Raises
        ------
        CompositionError
            If a row is not a composition and ``errors="raise"``.
        """
        # fit may never have been called
        self._validate_params()
        batch = read_compositions(X, errors=self.errors)
        if hasattr(X, "columns") and hasattr(self, "feature_names_in_"):
            validate_data(self, X, skip_check_array=True, reset=False)
        featurizer = _magpie()
        features = np.full((len(batch), len(featurizer.feature_labels())), np.nan)
        rows = np.flatnonzero(batch.valid)
        if len(rows):
            features[rows] = featurizer.featurize_many(
                _pymatgen_compositions(batch[rows]), pbar=False
            )
        return features

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the 132 features.

        Parameters
        ----------
        input_features : None
            Ignored; the names do not depend on the input.

        Returns
        -------
        names : object ndarray of shape (132,)
            matminer's labels.
        """
        return np.asarray(_magpie().feature_labels(), dtype=object)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        tags.transformer_tags.preserves_dtype = []
        tags.requires_fit = False
        return tags


def _magpie() -> Any:
    """Build matminer's featurizer, set up explicitly and for one process."""
    from matminer.featurizers.composition import ElementProperty

    with warnings.catch_warnings():
        # matminer announces here that it imputes, which is chosen on purpose
        warnings.simplefilter("ignore")
        featurizer = ElementProperty.from_preset("magpie", impute_nan=True)
    featurizer.set_n_jobs(1)
    return featurizer


def _pymatgen_compositions(batch: CompositionBatch) -> list:
    from pymatgen.core import Composition

    symbols = [ELEMENTS[z - 1] for z in batch.atomic_numbers.tolist()]
    amounts = batch.amounts.tolist()
    ends = batch.offsets.tolist()
    return [
        Composition(dict(zip(symbols[start:end], amounts[start:end], strict=True)))
        for start, end in pairwise(ends)
    ]
