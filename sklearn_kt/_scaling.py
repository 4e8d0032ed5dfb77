"""Columns are standardised in one way, of rows that have weights and of rows that have none."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.preprocessing import StandardScaler

from .fitting import fit_context

__all__ = ["ColumnScaler"]


class ColumnScaler(StandardScaler):
    """scikit-learn's scaler, that says nothing of constant columns of rows with weights.

    Their variance, which is 0, may round to less, of whose root NumPy would warn; scikit-learn
    leaves such columns unscaled all the same.
    """

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Learn means and deviations.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,), default=None
            As for :class:`sklearn.preprocessing.StandardScaler`.

        Returns
        -------
        self : ColumnScaler
            Fitted.
        """
        with np.errstate(invalid="ignore"):
            return super().fit(X, y, sample_weight)
