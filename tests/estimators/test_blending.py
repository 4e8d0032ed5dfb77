"""Blends of several models: scikit-learn's contract, weights, faults."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from pymatgen.core import Composition
from sklearn.base import BaseEstimator, clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import ExtraTreesRegressor, StackingRegressor, VotingRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_kt import (
    BlendedKTClassifier,
    BlendedKTRegressor,
    CompositionEmbedder,
    ExplicitKTRegressor,
    ImplicitKTClassifier,
    ImplicitKTRegressor,
)
from sklearn_kt.exceptions import (
    CompositionError,
    CompositionWarning,
    InputError,
    MissingStructureWarning,
)

pytestmark = pytest.mark.usefixtures("few_trees")

METALS = ("Li", "Na", "K", "Rb", "Mg", "Ca")
FORMULAS = [f"{m}{n}{x}" for m in METALS for x in ("F", "Cl", "Br", "O") for n in (1, 2)]
TARGET = np.array([Composition(f).average_electroneg for f in FORMULAS])
LABELS = np.where(np.median(TARGET) < TARGET, "ionic", "metallic")


def ridge(alpha: float = 1.0) -> ImplicitKTRegressor:
    return ImplicitKTRegressor(checkpoint=None, readout=Ridge(alpha))


def logistic() -> ImplicitKTClassifier:
    readout = make_pipeline(StandardScaler(), LogisticRegression())
    return ImplicitKTClassifier(checkpoint=None, readout=readout)


@pytest.mark.parametrize("with_conditions", [False, True])
@pytest.mark.parametrize(
    "around",
    [
        lambda model: GridSearchCV(model, {"ridge__alpha": [1.0, 1e3]}, cv=2),
        lambda model: StackingRegressor([("only", model)], cv=2),
        lambda model: VotingRegressor([("only", model)]),
        lambda model: TransformedTargetRegressor(model),
    ],
    ids=["search", "stacking", "voting", "targets"],
)
def test_members_made_around_ours(around: Any, with_conditions: bool) -> None:
    X = pd.DataFrame({"formula": FORMULAS, "t": np.arange(len(FORMULAS))})
    if not with_conditions:
        X = X["formula"]
    model = make_pipeline(CompositionEmbedder(checkpoint=None), Ridge())
    blend = BlendedKTRegressor([("around", around(model))], cv=2, random_state=0).fit(X, TARGET)
    assert blend.scores_["around"] < 0.25
    assert np.isfinite(blend.predict(X[:3])).all()


@parametrize_with_checks(
    [
        BlendedKTRegressor([("near", ridge()), ("far", ridge(1e3))], cv=2, random_state=0),
        BlendedKTClassifier([("only", logistic())], cv=2, random_state=0),
    ]
)
def test_sklearn_contract(estimator: BaseEstimator, check: Any) -> None:
    check(estimator)


class Constant(BaseEstimator):
    """A model that is always wrong by the same amount."""

    def __init__(self, value: float = 0.0) -> None:
        self.value = value

    def fit(self, X: Any, y: Any) -> Constant:
        return self

    def predict(self, X: Any) -> np.ndarray:
        return np.full(len(X), self.value)


def test_parameters_of_members() -> None:
    model = BlendedKTRegressor([("a", ImplicitKTRegressor()), ("b", ridge())], cv=2)
    assert model.set_params(a__n_estimators=3) is model
    assert model.estimators[0][1].n_estimators == 3
    deep = model.get_params(deep=True)
    assert deep["a__n_estimators"] == 3
    assert deep["b__readout__alpha"] == 1.0
    assert set(model.get_params(deep=False)) < {"estimators", "cv", "random_state"} | set(deep)
    other = ridge(5.0)
    model.set_params(a=other, b__readout__alpha=7.0)
    assert model.named_estimators["a"] is other
    assert clone(model).get_params()["b__readout__alpha"] == 7.0
    with pytest.raises(ValueError, match="Invalid parameter 'c'"):
        model.set_params(c__alpha=1)
    model.set_params(b="drop").fit(FORMULAS, TARGET)
    assert list(model.named_estimators_) == ["a"]
    assert model.named_estimators_["a"] is model.estimators_[0]
    assert model.named_estimators_.a.readout.alpha == 5.0
    # the defaults are made while fitting
    assert BlendedKTRegressor().named_estimators == {}
    assert not hasattr(BlendedKTRegressor(), "named_estimators_")


def test_search_over_members() -> None:
    model = BlendedKTRegressor([("a", ridge()), ("b", Constant(1.0))], cv=2, random_state=0)
    grid = {"a__readout__alpha": [1e-3, 1e6], "b": ["drop"]}
    folds = KFold(2, shuffle=True, random_state=0)
    search = GridSearchCV(model, grid, cv=folds).fit(FORMULAS, TARGET)
    assert search.best_params_ == {"a__readout__alpha": 1e-3, "b": "drop"}


def test_intervals() -> None:
    model = BlendedKTRegressor([("a", ridge())], random_state=0).fit(FORMULAS, TARGET)
    mean, std = model.predict(FORMULAS, return_std=True)
    narrow, wide = (model.predict_interval(FORMULAS, coverage) for coverage in (0.5, 0.9))
    assert wide.shape == (len(FORMULAS), 2)
    assert_allclose(wide.mean(axis=1), mean)
    assert (np.ptp(narrow, axis=1) <= np.ptp(wide, axis=1)).all()
    assert (std > 0).all()
    inside = (wide[:, 0] <= TARGET) & (wide[:, 1] >= TARGET)
    assert inside.mean() >= 0.8
    with pytest.raises(InputError, match="coverage must lie between 0 and 1"):
        model.predict_interval(FORMULAS, 1.0)


def test_weights_follow_errors() -> None:
    model = BlendedKTRegressor([("good", ridge(0.1)), ("bad", Constant(50.0))], random_state=0)
    model.fit(FORMULAS, TARGET)
    assert model.weights_ == {"good": 1.0}
    assert list(model.named_estimators_) == ["good"]
    assert model.scores_["good"] < model.scores_["bad"]
    assert model.scores_["blend"] == model.scores_["good"]
    assert_allclose(model.predict(FORMULAS), model.estimators_[0].predict(FORMULAS))


def test_opposite_errors_cancel() -> None:
    y = np.full(24, 0.5)
    model = BlendedKTRegressor([("low", Constant(0.0)), ("high", Constant(1.0))])
    model.fit(FORMULAS[:24], y)
    assert model.weights_ == {"low": 0.5, "high": 0.5}
    assert model.scores_ == {"low": 0.5, "high": 0.5, "blend": 0.0}
    assert_allclose(model.predict(["NaCl"]), 0.5)


@pytest.mark.slow
def test_transfer_of_both_kinds() -> None:
    trees = ExtraTreesRegressor(20)
    models = [
        ("imkt", ImplicitKTRegressor(readout=trees, random_state=0)),
        ("exkt", ExplicitKTRegressor(readout=trees, n_candidates=1, fallback="raise")),
        ("pipeline", make_pipeline(CompositionEmbedder(), StandardScaler(), Ridge())),
    ]
    model = BlendedKTRegressor(models, cv=2, random_state=0).fit(pd.Series(FORMULAS), TARGET)
    assert model.score(FORMULAS, TARGET) > 0.9
    mean, std = model.predict(["CsF", "CsCl"], return_std=True)
    assert (std > 0).all()
    assert_array_equal(pickle.loads(pickle.dumps(model)).predict(["CsF", "CsCl"]), mean)


def test_defaults_are_the_two_transfers() -> None:
    named = BlendedKTRegressor().default_models(7, 8_001)
    assert [type(m).__name__ for m in named.values()] == [
        "ImplicitKTRegressor",
        "ExplicitKTRegressor",
    ]
    assert {m.random_state for m in named.values()} == {7}


def test_classes() -> None:
    model = BlendedKTClassifier([("a", logistic()), ("b", logistic())], random_state=0)
    model.fit(FORMULAS, LABELS)
    assert model.score(FORMULAS, LABELS) > 0.9
    labels, probabilities = model.predict(FORMULAS, return_proba=True)
    assert labels.tolist() == model.predict(FORMULAS).tolist()
    assert_allclose(probabilities, model.predict_proba(FORMULAS), rtol=0, atol=0)
    assert_allclose(probabilities.sum(axis=1), 1)
    few = BlendedKTClassifier([("a", logistic()), ("b", logistic())]).fit(
        ["NaCl", "KCl", "Cu", "Fe"], [0, 0, 1, 1]
    )
    assert few.weights_ == {"a": 0.5, "b": 0.5}
    assert few.scores_ == {}


def test_too_few_rows_for_uncertainty() -> None:
    model = BlendedKTRegressor([("a", ridge())]).fit(FORMULAS[:8], TARGET[:8])
    for ask in (
        lambda: model.predict(FORMULAS, return_std=True),
        lambda: model.predict_interval(FORMULAS),
    ):
        with pytest.raises(InputError, match="at least 12 rows"):
            ask()


@pytest.mark.parametrize(
    ("estimators", "message"),
    [
        ([], "list of pairs"),
        ([ridge()], "list of pairs"),
        ([("a", "drop")], "not 'drop'"),
        ([("a", 1), ("a", 2)], "not unique.*name of its own"),
        ([("cv", ridge())], "conflict with constructor arguments"),
        ([("a__b", ridge())], "must not contain __"),
        ((("a", ridge()),), "must be an instance of 'list'"),
    ],
)
def test_bad_estimators(estimators: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BlendedKTRegressor(estimators).fit(FORMULAS, TARGET)


def test_bad_rows() -> None:
    with pytest.raises(CompositionError, match="xyz"):
        BlendedKTRegressor([("a", ridge())]).fit(["NaCl", "xyz"], [1, 2])
    with pytest.raises(ValueError, match="cv"):
        BlendedKTRegressor(cv=1).fit(FORMULAS, TARGET)


class Gappy(Constant):
    """Knows nothing of fluorides."""

    fallback = "nan"

    def predict(self, X: Any) -> np.ndarray:
        formulas = list(X.formulas()) if hasattr(X, "formulas") else list(X)
        gaps = np.array(["F" in f for f in formulas])
        self.fallback_rows_ = np.flatnonzero(gaps).tolist()
        return np.where(gaps, np.nan, self.value)


def test_others_stand_in_where_one_has_no_answer() -> None:
    y = np.full(len(FORMULAS), 0.5)
    model = BlendedKTRegressor([("all", Constant(0.0)), ("most", Gappy(1.0))])
    model.fit(FORMULAS, y)
    assert set(model.weights_) == {"all", "most"}
    with pytest.warns(
        CompositionWarning, match=r"1 of 2 rows .* \(rows 1\); .* stand in for 'most'"
    ):
        values = model.predict(["NaCl", "NaF"])
    assert values[1] == 0.0 < values[0]


def test_one_without_a_weight_stands_in() -> None:
    models = [("far", Constant(9.0)), ("near", Constant(5.0)), ("exact", Gappy(0.5))]
    y = np.where(["F" in f for f in FORMULAS], 5.0, 0.5)
    model = BlendedKTRegressor(models).fit(FORMULAS, y)
    # on fluorides it is as good as the mean of the two others, and the best of these is kept
    assert model.weights_["exact"] == 1.0
    assert model.weights_ == {"exact": 1.0, "near": 0.0}
    with pytest.warns(CompositionWarning, match="stand in for 'exact'"):
        assert model.predict(["NaCl", "NaF"]).tolist() == [0.5, 5.0]
    assert model.predict(["NaCl"]).tolist() == [0.5]
    # where there is nobody else, the gap is said to be one
    alone = BlendedKTRegressor(models[2:]).fit(FORMULAS[2:8], y[2:8])
    with pytest.warns(MissingStructureWarning, match="the prediction is NaN"):
        assert np.isnan(alone.predict(["NaF"])).all()


def test_one_without_a_weight_stands_in_for_classes() -> None:
    class Halves(Gappy):
        classes_ = np.array(["ionic", "metallic"])

        def predict_proba(self, X: Any) -> np.ndarray:
            known = self.predict(X)
            return np.column_stack([known, 1 - known])

    class Always(Halves):
        fallback = "composition"

        def predict(self, X: Any) -> np.ndarray:
            return np.full(len(X), self.value)

    y = np.array(["ionic" if "F" in f else "metallic" for f in FORMULAS])
    models = [("sure", Halves(0.01)), ("unsure", Always(0.4))]
    model = BlendedKTClassifier(models).fit(FORMULAS, y)
    assert model.weights_ == {"sure": 1.0, "unsure": 0.0}
    with pytest.warns(CompositionWarning, match="stand in for 'sure'"):
        assert_allclose(model.predict_proba(["NaF", "NaCl"]), [[0.4, 0.6], [0.01, 0.99]])


def test_default_explicit_model_leaves_rows_without_structures_to_the_other() -> None:
    for blend in (BlendedKTRegressor(), BlendedKTClassifier()):
        explicit = [m for name, m in blend.default_models(7, 100).items() if name != "imkt"]
        assert all(m.fallback == "nan" for m in explicit)
    assert list(BlendedKTRegressor().default_models(7, 100)) == ["imkt", "exkt", "exkt_kernel"]
    assert list(BlendedKTClassifier().default_models(7, 100)) == ["imkt", "exkt"]
