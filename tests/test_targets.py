"""Targets are numbers that can be computed with, for every regressor."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge

from sklearn_kt import BlendedKTRegressor, ExplicitKTRegressor, ImplicitKTRegressor
from sklearn_kt._targets import as_numbers
from sklearn_kt.evaluation import table_task
from sklearn_kt.exceptions import InputError
from sklearn_kt.structures import CrystalGraphRegressor

X = np.arange(8.0).reshape(4, 2)
REGRESSORS: dict[str, Any] = {
    "implicit": ImplicitKTRegressor(None, readout=Ridge()),
    "explicit": ExplicitKTRegressor(),
    "blended": BlendedKTRegressor([("one", Ridge())]),
    "graph": CrystalGraphRegressor(),
}
BAD = {
    "large": ([1, 2, 1e300, 4], r"row 2 of y holds 1e\+300.*another unit"),
    "negative": ([1, 2, 3, -1e200], r"row 3 of y holds -1e\+200"),
    "narrow": ([1e-200, 2e-200, 0, 0], "differ by 2e-200 at most.*another unit"),
    "dates": (np.array(["2020", "2021", "2022", "2023"], "M8[D]"), "row 0.*datetime64"),
    "durations": (pd.Series(pd.to_timedelta([1, 2, 3, 4])), "row 0.*timedelta64"),
    "timestamps": ([1, pd.Timestamp(0), 3, 4], "row 1.*of type Timestamp"),
    "zoned": (pd.Series(pd.date_range("2020", periods=4, tz="UTC")), "row 0.*of type Timestamp"),
    "date": ([1, 2, datetime.date(2020, 1, 1), 4], "row 2.*of type date"),
    "text": (["1", "2", "three", "4"], "row 2.*'three'"),
    "huge": ([1, 2, 3, 10**400], "row 3.*of type int"),
    "second column": ([[1, 2], [1, 2], [1, pd.Timestamp(0)], [1, 2]], "row 2.*Timestamp"),
}


@pytest.mark.parametrize("regressor", REGRESSORS.values(), ids=REGRESSORS)
@pytest.mark.parametrize(("y", "message"), BAD.values(), ids=BAD)
def test_what_is_no_usable_number_is_named(regressor: Any, y: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        regressor.fit(X, y)


def test_evaluation_refuses_dates() -> None:
    with pytest.raises(InputError, match="must be numbers"):
        table_task(["Fe", "Co", "Ni", "Cu"], BAD["dates"][0], kind="regression")


@pytest.mark.parametrize("y", [[1, 2.5, Decimal(3), True], pd.Series([1, 2, 3, 4], dtype="Int64")])
def test_numbers_stay_numbers(y: Any) -> None:
    assert as_numbers(y).tolist() == [float(value) for value in y]


def test_far_but_usable_targets_are_learned() -> None:
    for unit in (1e-140, 1.0, 1e140):
        model = ImplicitKTRegressor(None, readout=Ridge(1e-9)).fit(X, X[:, 0] * unit)
        np.testing.assert_allclose(model.predict(X), X[:, 0] * unit, atol=1e-4 * unit)
