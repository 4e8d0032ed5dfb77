"""Estimators of formulas under scikit-learn's numeric check suite.

``sklearn.utils.estimator_checks`` feeds matrices of numbers. The mixins here spell every row as
a formula, one element per column, and call the real methods with strings. Declare the
subclass at module level, so that it can be pickled::

    class SpelledTokenizer(SpelledTransformer, CompositionTokenizer): ...
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted, validate_data

from sklearn_kt.compositions import ELEMENTS


def spell(X: np.ndarray) -> list[str]:
    """Write rows of numbers as formulas; larger numbers are larger amounts."""
    amounts = np.logaddexp(0, X) + 1e-3
    return [
        "".join(
            symbol + repr(amount).replace("e+", "e")
            # the suite never has more columns than there are elements
            for symbol, amount in zip(ELEMENTS[: len(row)], row, strict=True)
        )
        for row in amounts.tolist()
    ]


class _Spelled:
    def fit(self, X: Any, y: Any = None, **params: Any) -> Any:
        X = validate_data(self, X, dtype=np.float64)
        numeric = {
            name: getattr(self, name)
            for name in ("n_features_in_", "feature_names_in_")
            if hasattr(self, name)
        }
        super().fit(spell(X), y, **params)  # type: ignore[misc]
        # the real fit saw one column
        self.__dict__.update(numeric)
        return self

    def _spelled(self, X: Any) -> list[str]:
        if get_tags(self).requires_fit:
            check_is_fitted(self)
        return spell(validate_data(self, X, dtype=np.float64, reset=False))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.input_tags.two_d_array = True
        tags.input_tags.one_d_array = False
        tags.input_tags.string = False
        return tags


class SpelledTransformer(_Spelled):
    """Mixin for transformers."""

    def transform(self, X: Any) -> Any:
        return super().transform(self._spelled(X))  # type: ignore[misc]


class SpelledRegressor(_Spelled):
    """Mixin for regressors."""

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Any:
        return super().fit(X, y, sample_weight=sample_weight)

    def predict(self, X: Any) -> Any:
        return super().predict(self._spelled(X))  # type: ignore[misc]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        # fractions forget the scale of a row, which the suite's targets depend on
        tags.regressor_tags.poor_score = True
        return tags


class SpelledClassifier(_Spelled):
    """Mixin for classifiers."""

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Any:
        return super().fit(X, y, sample_weight=sample_weight)

    def predict(self, X: Any) -> Any:
        return super().predict(self._spelled(X))  # type: ignore[misc]

    def predict_proba(self, X: Any) -> Any:
        return super().predict_proba(self._spelled(X))  # type: ignore[misc]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.poor_score = True
        return tags
