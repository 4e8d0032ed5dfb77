"""Columns are standardised, of rows with weights and of rows without."""

from __future__ import annotations

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.preprocessing import StandardScaler

from sklearn_kt._scaling import ColumnScaler
from sklearn_kt._targets import NumberTargets
from sklearn_kt.estimators.kernels import ConditionScaler


def test_constant_columns_of_rows_with_weights() -> None:
    rng = np.random.default_rng(0)
    for value in rng.random(50):
        column, weights = np.full((42, 1), value), rng.random(42)
        # warnings are errors
        scaler = ColumnScaler().fit(column, sample_weight=weights)
        assert_array_equal(scaler.scale_, [1])
        assert_allclose(scaler.transform(column), 0, atol=1e-12)
    X = rng.normal(size=(42, 2))
    assert_allclose(
        ColumnScaler().fit(X, None, weights).transform(X),
        StandardScaler().fit(X, None, weights).transform(X),
    )


def test_constant_targets_and_conditions_with_weights() -> None:
    rng = np.random.default_rng(0)
    for value in rng.random(30):
        weights = rng.random(12)
        targets = NumberTargets()
        targets.standardise(np.full(12, value), weights)
        assert_allclose(targets.encode(np.full(12, value)), 0, atol=1e-7)
        columns = np.column_stack([np.full(12, value), rng.normal(size=12)])
        assert ConditionScaler(1).fit(columns, None, weights).scale_[0] == 1
