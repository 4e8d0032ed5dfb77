"""Predictions, their deviations and intervals come from one pass, in all regressors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline

from sklearn_kt import BlendedKTRegressor, ExplicitKTRegressor, ImplicitKTRegressor
from sklearn_kt.estimators.readouts import offers_intervals
from sklearn_kt.exceptions import InputError

pytestmark = pytest.mark.usefixtures("few_trees")

X = np.random.default_rng(0).normal(size=(40, 3))
QUICK: dict[str, Any] = {"checkpoint": None, "readout": "fast", "random_state": 0}
REGRESSORS = {
    "implicit": ImplicitKTRegressor(**QUICK),
    "explicit": ExplicitKTRegressor(random_state=0),
    "blended": BlendedKTRegressor([("a", ImplicitKTRegressor(**QUICK))], cv=2, random_state=0),
}


@pytest.mark.parametrize("y", [X[:, 0], X[:, :2]], ids=["one", "two"])
@pytest.mark.parametrize("name", REGRESSORS)
def test_what_is_asked_for(name: str, y: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    model = REGRESSORS[name].fit(X, y)
    alone, std = model.predict(X[:5], return_std=True)
    bounds = model.predict_interval(X[:5], 0.8)
    assert bounds.shape == (*alone.shape, 2)
    passes = []
    read = type(model)._read
    monkeypatch.setattr(
        type(model), "_read", lambda self, *a, **k: passes.append(self) or read(self, *a, **k)
    )
    found = model.predict(X[:5], return_std=True, coverage=0.8)
    assert passes.count(model) == 1
    for part, expected in zip(found, (alone, std, bounds), strict=True):
        assert_array_equal(part, expected)
    assert_array_equal(model.predict(X[:5], coverage=0.8)[1], bounds)
    assert_array_equal(model.predict(X[:5]), alone)
    for coverage in (0, 1, -0.1, None, "wide"):
        with pytest.raises(InputError, match="coverage must lie between 0 and 1"):
            model.predict_interval(X[:5], coverage)
    assert offers_intervals(model)
    assert not offers_intervals(make_pipeline(Ridge()))
