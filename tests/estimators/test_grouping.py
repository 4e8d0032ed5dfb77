"""Rows of one composition stay together in whatever a model of the user's own splits."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import BaggingRegressor, StackingRegressor, VotingRegressor
from sklearn.feature_selection import RFECV, SelectFromModel
from sklearn.linear_model import LassoCV, LogisticRegression, LogisticRegressionCV, Ridge, RidgeCV
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    RandomizedSearchCV,
    StratifiedGroupKFold,
    TunedThresholdClassifierCV,
)
from sklearn.multioutput import RegressorChain
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from sklearn_kt import (
    BlendedKTClassifier,
    BlendedKTRegressor,
    CompositionTokenizer,
    ExplicitKTClassifier,
    ExplicitKTRegressor,
    ImplicitKTClassifier,
    ImplicitKTRegressor,
    load_model,
    save_model,
)
from sklearn_kt.compositions import composition_groups
from sklearn_kt.estimators.grouping import row_params
from sklearn_kt.estimators.readouts import EachTargetRegressor
from sklearn_kt.exceptions import TrainingWarning

pytestmark = pytest.mark.filterwarnings(
    "ignore:lbfgs failed to converge", "ignore:Objective did not converge"
)

METALS = ("Li", "Na", "K", "Rb", "Cs", "Cu", "Ag", "Tl", "Be", "Mg", "Ca", "Sr")
# each composition three times, in several spellings, and never one after the other
FORMULAS = [f"{metal}{n}Cl{n}" for n in (1, 2, 3) for metal in METALS]
SAME = composition_groups(FORMULAS)
ROWS = np.arange(36)
# of the user: twelve groups, which contiguous folds would split
THEIRS = np.random.default_rng(1).permutation(ROWS // 3)
Y = np.random.default_rng(0).normal(size=36)
LABELS = np.where(SAME % 2, "odd", "even")
LASSO = LassoCV(alphas=[1.0, 2.0])


class _Spy:
    """Notes the rows that each fit sees, which are told by their weights."""

    fits: ClassVar[list[np.ndarray]] = []

    def fit(self, X: Any, y: Any, sample_weight: Any) -> Any:
        self.fits.append(sample_weight.astype(int) - 1)
        return super().fit(X, y)  # type: ignore[misc]


class _SpiedRidge(_Spy, Ridge):
    pass


class _SpiedLogistic(_Spy, LogisticRegression):
    pass


def _crystals(rows: list[list[str]]) -> np.ndarray:
    return np.array([[len(row[0]) if row else np.nan] for row in rows])


class _Crystals:
    """Has one of each composition but those of silver."""

    def generate(self, compositions: Any, n_candidates: int) -> list[list[str]]:
        return [[] if "Ag" in formula else [formula] for formula in compositions.formulas()]


def _search(classes: bool, **options: Any) -> GridSearchCV:
    if classes:
        return GridSearchCV(_SpiedLogistic(), {"C": [1.0, 2.0]}, **options)
    return GridSearchCV(_SpiedRidge(), {"alpha": [1.0, 2.0]}, **options)


def _whole(classes: bool, n: int) -> Any:
    return (StratifiedGroupKFold if classes else GroupKFold)(n)


def _model(name: str, classes: bool, search: Any) -> Any:
    tokens = make_pipeline(CompositionTokenizer("fraction"), search)
    if name == "implicit":
        return (ImplicitKTClassifier if classes else ImplicitKTRegressor)(None, readout=search)
    if name == "explicit":
        return (ExplicitKTClassifier if classes else ExplicitKTRegressor)(
            _Crystals(),
            embedder=FunctionTransformer(_crystals, validate=False),
            checkpoint=None,
            readout=search,
            composition_estimator=tokens,
        )
    blend: Any = BlendedKTClassifier if classes else BlendedKTRegressor
    return blend([("search", tokens)], cv=_whole(classes, 2))


@pytest.mark.filterwarnings("ignore:.* have no structure")
@pytest.mark.parametrize("groups", [None, THEIRS], ids=["compositions", "groups"])
@pytest.mark.parametrize("cv", [3, None, "own"], ids=str)
@pytest.mark.parametrize("classes", [False, True], ids=["numbers", "classes"])
@pytest.mark.parametrize("name", ["implicit", "explicit", "blended"])
def test_searches_keep_groups_whole(name: str, classes: bool, cv: Any, groups: Any) -> None:
    cv = _whole(classes, 3) if cv == "own" else cv
    search = _search(classes, cv=cv)
    y, together = LABELS if classes else Y, SAME if groups is None else groups
    _Spy.fits.clear()
    _model(name, classes, search).fit(FORMULAS, y, groups=groups, sample_weight=ROWS + 1)
    n_fits = 2 * (5 if cv is None else 3) + 1
    assert len(_Spy.fits) == n_fits * {"implicit": 1, "explicit": 2, "blended": 3}[name]
    learned_from = set(np.concatenate(_Spy.fits).tolist())
    assert learned_from == set(ROWS.tolist())
    for rows in _Spy.fits:
        outside = np.setdiff1d(ROWS, rows)
        shared = np.intersect1d(together[rows], together[outside])
        # those of silver, which the structures lack
        assert all("Ag" in FORMULAS[row] for row in outside if together[row] in shared)
    assert search.cv is cv


@pytest.mark.parametrize("groups", [None, ROWS], ids=["compositions", "groups"])
def test_rows_that_stand_alone(groups: Any) -> None:
    formulas = FORMULAS if groups is not None else [f"Na{n}Cl" for n in range(1, 37)]
    for cv in (3, KFold(3), GroupKFold(3)):
        model = _model("implicit", False, _search(False, cv=cv))
        _Spy.fits.clear()
        model.fit(formulas, Y, groups=groups, sample_weight=ROWS + 1)
        assert len(_Spy.fits) == 7
        assert type(model.readouts_["estimator"].cv) is type(cv)


def test_folds_are_as_many_and_of_the_same_kind() -> None:
    for classes, kind in ((False, GroupKFold), (True, StratifiedGroupKFold)):
        model = _model("implicit", classes, _search(classes, cv=3))
        model.fit(FORMULAS, LABELS if classes else Y, sample_weight=ROWS + 1)
        cv = model.readouts_["estimator"].cv
        assert type(cv) is kind
        assert cv.n_splits == 3


WHOLE = [
    LASSO,
    clone(LASSO).set_params(cv=GroupKFold(3)),
    RidgeCV(cv=4),
    StackingRegressor([("ridge", Ridge())], final_estimator=Ridge()),
    RFECV(Ridge(), step=0.9),
    LogisticRegressionCV(Cs=2, l1_ratios=(0,), scoring="accuracy", use_legacy_attributes=False),
    CalibratedClassifierCV(LogisticRegression(), cv=3),
    TunedThresholdClassifierCV(LogisticRegression(), cv=3),
]


@pytest.mark.parametrize("model", WHOLE, ids=lambda model: type(model).__name__)
def test_models_that_take_no_groups_get_folds_of_them(model: Any) -> None:
    classes = model in WHOLE[-3:]
    asked = model.cv
    for wrapped in (model, make_pipeline(StandardScaler(), model)):
        ours: Any = _model("implicit", classes, wrapped).fit(FORMULAS, LABELS if classes else Y)
        fitted = ours.readouts_["estimator"]
        folds = (fitted[-1] if wrapped is not model else fitted).cv
        assert len(folds) == {None: 5, 3: 3, 4: 4}.get(asked, 3)
        for train, test in folds:
            assert not set(SAME[train]) & set(SAME[test])
            assert len(train) + len(test) == 36
    assert model.cv is asked


class _Stranger(Ridge):
    """Makes folds in a way of its own."""

    def __init__(self, cv: int = 3) -> None:
        super().__init__()
        self.cv = cv


APART: list[tuple[Any, str]] = [
    (GridSearchCV(Ridge(), {}, cv=KFold(3)), "GridSearchCV"),
    (GridSearchCV(Ridge(), {}, cv=[(ROWS[:20], ROWS[20:])]), "GridSearchCV"),
    (RandomizedSearchCV(LASSO, {}, n_iter=1), "LassoCV"),
    (clone(LASSO).set_params(cv=KFold(3)), "LassoCV"),
    (RidgeCV(), "RidgeCV"),
    (make_pipeline(SelectFromModel(LASSO, threshold=-np.inf), Ridge()), "LassoCV"),
    (StackingRegressor([("a", LASSO), ("b", LASSO)], final_estimator=Ridge()), "LassoCV"),
    (VotingRegressor([("a", GridSearchCV(Ridge(), {}))]), "GridSearchCV"),
    (_Stranger(), "_Stranger"),
    (TunedThresholdClassifierCV(LogisticRegression(), cv=0.3), "TunedThresholdClassifierCV"),
]


@pytest.mark.parametrize(("model", "name"), APART, ids=[name for _, name in APART])
def test_what_splits_groups_all_the_same_is_named(model: Any, name: str) -> None:
    classes = "Classifier" in name
    ours, y = _model("implicit", classes, model), LABELS if classes else Y
    with pytest.warns(TrainingWarning, match=f"the folds of {name} put rows") as caught:
        ours.fit(FORMULAS, y)
    assert [item.category for item in caught].count(TrainingWarning) == 1
    # rows that stand alone are split as asked
    ours.fit(FORMULAS, y, groups=ROWS)


def test_what_makes_no_folds_and_keeps_groups_by_itself_is_left_alone() -> None:
    _model("implicit", False, RegressorChain(Ridge())).fit(FORMULAS, np.column_stack([Y, Y]))
    inner = ImplicitKTRegressor(None, readout=clone(LASSO).set_params(cv=2))
    for member in (inner, GridSearchCV(inner, {}, cv=2)):
        BlendedKTRegressor([("ours", member)], cv=2).fit(FORMULAS, Y)


def test_tables_with_conditions() -> None:
    table = pd.DataFrame({"formula": FORMULAS, "temperature": ROWS * 10.0})
    _Spy.fits.clear()
    _model("implicit", False, _search(False, cv=3)).fit(table, Y, sample_weight=ROWS + 1)
    for rows in _Spy.fits:
        assert not set(SAME[rows]) & set(SAME[np.setdiff1d(ROWS, rows)])


@pytest.mark.parametrize("cv", [2, GroupKFold(2)], ids=str)
@pytest.mark.parametrize("model", [_search(False), LASSO], ids=["search", "lasso"])
def test_targets_with_gaps_are_split_each_by_itself(model: Any, cv: Any) -> None:
    few = np.isin(SAME, [0, 2, 3])
    y = np.column_stack([Y, np.where(few, Y, np.nan)])
    _Spy.fits.clear()
    weights = ROWS + 1 if model is not LASSO else None
    ours = _model("implicit", False, clone(model).set_params(cv=cv))
    ours.fit(FORMULAS, y, sample_weight=weights)
    if weights is None:
        found = [part for part, _ in ours.readouts_["estimator"].estimators_[1].cv]
        assert {len(part) for part in found} == {3, 6}
        parts = [np.flatnonzero(few)[part] for part in found]
    else:
        parts = [rows for rows in _Spy.fits if few[rows].all()]
        assert len(parts) == 5
    for rows in parts:
        assert not set(SAME[rows]) & set(SAME[np.setdiff1d(np.flatnonzero(few), rows)])


def test_models_are_saved_with_their_folds(tmp_path: Path) -> None:
    for number, readout in enumerate((GridSearchCV(Ridge(), {}, cv=3), LASSO)):
        model = _model("implicit", False, readout).fit(FORMULAS, Y)
        save_model(model, tmp_path / f"{number}.model")
        again = load_model(tmp_path / f"{number}.model")
        assert_array_equal(again.predict(FORMULAS), model.predict(FORMULAS))


def test_groups_are_named_as_a_model_takes_them() -> None:
    groups, ours = np.arange(4), ImplicitKTRegressor(None)
    around = TransformedTargetRegressor(ours)
    search = GridSearchCV(Ridge(), {})
    for model, name in [
        (ours, "groups"),
        (around, "groups"),
        (EachTargetRegressor(Ridge()), "groups"),
        (GridSearchCV(ours, {}), "groups"),
        (search, "groups"),
        (TransformedTargetRegressor(search), "groups"),
        (make_pipeline(StandardScaler(), around), "transformedtargetregressor__groups"),
        (make_pipeline(StandardScaler(), search), "gridsearchcv__groups"),
    ]:
        assert list(row_params(model, None, groups)) == [name]
    # scikit-learn would refuse them
    for model in (Ridge(), VotingRegressor([("a", ours)]), BaggingRegressor(ours), LASSO):
        assert row_params(model, None, groups) == {}
