"""What is wrong with a table of conditions is said alike by all estimators, and no row is lost."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from _crystals import Cubes
from numpy.testing import assert_array_equal
from sklearn.base import clone, is_classifier
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline

from sklearn_kt import (
    BlendedKTClassifier,
    BlendedKTRegressor,
    CompositionEmbedder,
    ExplicitKTClassifier,
    ExplicitKTRegressor,
    ImplicitKTClassifier,
    ImplicitKTRegressor,
)
from sklearn_kt.estimators import uncertainty
from sklearn_kt.exceptions import CompositionWarning, ConditionWarning, InputError
from sklearn_kt.persistence import load_model, save_model
from sklearn_kt.structures import StructureEmbedder

pytestmark = pytest.mark.usefixtures("few_trees")

FORMULAS = ["NaCl", "KCl", "MgO", "CaO", "Si", "Ge", "GaAs", "ZnO", "LiF", "NaF", "BaO", "SrO"]
TABLE = pd.DataFrame(
    {
        "formula": np.repeat(FORMULAS, 2),
        "temperature": [300.0, 600.0, 450.0] * 8,
        "route": ["cast", "cast", "SPS", "milled"] * 6,
    }
)
NUMBERS = TABLE["temperature"].to_numpy() / 100 + (TABLE["route"] == "cast").to_numpy()
CLASSES = np.where(TABLE["temperature"] > 400, "high", "low")
REGRESSOR = ImplicitKTRegressor(None, readout=KNeighborsRegressor(1), errors="nan")
CLASSIFIER = ImplicitKTClassifier(None, readout=GaussianNB(), errors="nan")


class Nothing:
    """Finds no structures, so that all rows are those of the composition model."""

    def generate(self, compositions: Any, n_candidates: int = 1) -> list[list]:
        return [[] for _ in range(len(compositions))]


class One(StructureEmbedder):
    """One column, missing where there is no structure."""

    def transform(self, X: Any) -> np.ndarray:
        return np.array([[1.0 if candidates else np.nan] for candidates in X])


EXPLICIT: dict[str, Any] = {"checkpoint": None, "embedder": One(), "errors": "nan"}
CUBES: dict[str, Any] = {**EXPLICIT, "generator": Cubes()}
MODELS: dict[str, Any] = {
    "implicit": REGRESSOR,
    "implicit classes": CLASSIFIER,
    "explicit": ExplicitKTRegressor(**CUBES, readout=KNeighborsRegressor(1)),
    "explicit classes": ExplicitKTClassifier(**CUBES, readout=GaussianNB()),
    "no structures": ExplicitKTRegressor(
        Nothing(), **EXPLICIT, readout=KNeighborsRegressor(1), composition_estimator=REGRESSOR
    ),
    "blended": BlendedKTRegressor([("a", REGRESSOR)], cv=2, random_state=0),
    "blended classes": BlendedKTClassifier([("a", CLASSIFIER)], cv=2, random_state=0),
}
for name in ("explicit", "explicit classes"):
    MODELS[name].set_params(
        composition_estimator=CLASSIFIER if is_classifier(MODELS[name]) else REGRESSOR
    )


@pytest.fixture(autouse=True)
def few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uncertainty, "_N_TREES", 4)


def fitted(model: Any, table: Any = TABLE) -> Any:
    return clone(model).fit(table, CLASSES if is_classifier(model) else NUMBERS)


@pytest.mark.filterwarnings("ignore:.*have no structure")
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_what_is_wrong_with_conditions(model: Any, tmp_path: Path) -> None:
    whole = fitted(model)
    expected = whole.predict(TABLE)
    for change, message in [
        ({"temperature": np.inf}, "row 0 of the condition 'temperature' holds inf"),
        ({"temperature": "300"}, "row 0 of the condition 'temperature' holds '300'"),
        ({"route": "new"}, "row 0 holds the unknown category 'new' of 'route'"),
        ({"route": None}, "row 0 has no 'route'"),
        ({"more": 1}, "X has 'more', which fit did not see"),
    ]:
        with pytest.raises(InputError, match=message):
            whole.predict(TABLE.assign(**change))
    with pytest.raises(InputError, match="X lacks 'temperature', which fit saw"):
        whole.predict(TABLE.drop(columns="temperature"))
    for change, message in [
        ({"temperature": ["K", *["300"] * 23]}, "'K' in row 0"),
        ({"temperature": np.inf}, "row 0 of the condition 'temperature' holds inf"),
        ({"two": FORMULAS * 2}, "'formula', 'two' read as compositions"),
        ({"formula": ["xyz", *TABLE["formula"][1:]]}, "Row 0, 'xyz'"),
    ]:
        with pytest.raises(InputError, match=message):
            fitted(model, TABLE.assign(**change))
    with pytest.warns(ConditionWarning, match="'route' is 'cast'"):
        fitted(model, TABLE.assign(route="cast"))
    for value, message in [(900.0, "range of 300 to 600"), (np.nan, "which no training row lac")]:
        with pytest.warns(ConditionWarning, match=message) as caught:
            assert len(whole.predict(TABLE.assign(temperature=value))) == len(TABLE)
        assert [w.category for w in caught].count(ConditionWarning) == 1
    # blanks are no part of a name, and containers change nothing
    blank = pl.DataFrame(TABLE.assign(route=" " + TABLE["route"]).to_dict("list"))
    assert_array_equal(whole.predict(blank), expected)
    turned = TABLE[["route", "temperature", "formula"]]
    assert_array_equal(pickle.loads(pickle.dumps(whole)).predict(turned), expected)
    trusted = [f"{kind.__module__}.{kind.__name__}" for kind in (One, Nothing, Cubes)]
    loaded = load_model(save_model(whole, tmp_path / "m"), trusted=trusted)
    assert_array_equal(loaded.predict(turned), expected)


@pytest.mark.filterwarnings("ignore:.*have no structure")
@pytest.mark.parametrize("name", [name for name in MODELS if "blended" not in name])
def test_rows_that_are_no_compositions_beside_conditions(name: str) -> None:
    model = fitted(MODELS[name])
    expected = model.predict(TABLE[:4])
    bad = TABLE[:4].copy()
    bad.loc[[1, 2], "formula"] = ["xyz", None]
    with pytest.warns(CompositionWarning, match="2 of 4 rows are not compositions"):
        found = model.predict(bad)
    assert_array_equal(pd.isna(found), [False, True, True, False])
    assert_array_equal(found[[0, 3]], expected[[0, 3]])
    # a condition must be right in any case
    bad.loc[1, "route"] = "new"
    with (
        pytest.warns(CompositionWarning),
        pytest.raises(InputError, match="row 1 holds the unknown category"),
    ):
        model.predict(bad)


@pytest.mark.filterwarnings("ignore:.*have no structure")
@pytest.mark.parametrize("name", ["implicit", "explicit", "blended"])
def test_searches_and_folds_of_groups(name: str) -> None:
    y, groups = NUMBERS, TABLE["formula"]
    cv = GroupKFold(3)
    grid = {"composition_column": [None, "formula"]}
    search = GridSearchCV(MODELS[name], grid, cv=cv, error_score="raise")
    assert search.fit(TABLE, y, groups=groups).predict(TABLE[:2]).shape == (2,)
    scores = cross_val_score(MODELS[name], TABLE, y, groups=groups, cv=cv, error_score="raise")
    assert np.isfinite(scores).all()
    pipeline = make_pipeline(CompositionEmbedder(None), KNeighborsRegressor(1))
    assert np.isfinite(cross_val_score(pipeline, TABLE, y, groups=groups, cv=cv)).all()


def test_columns_that_names_do_not_tell_apart() -> None:
    twice = TABLE.rename(columns={"route": "temperature"})
    with pytest.raises(InputError, match="several columns 'temperature'"):
        fitted(REGRESSOR, twice)
    with pytest.raises(InputError, match=r"column 1 of X is called 0; .* which are text"):
        fitted(REGRESSOR, TABLE.rename(columns={"temperature": 0}))
