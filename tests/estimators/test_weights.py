"""Weights of rows, in all estimators: losses, readouts, blends, scores and errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from pymatgen.core import Lattice, Structure
from sklearn.base import clone
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import ExtraTreesRegressor, VotingRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import log_loss, mean_absolute_error, r2_score
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    PredefinedSplit,
    cross_validate,
)
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_kt import (
    BlendedKTClassifier,
    BlendedKTRegressor,
    CompositionEmbedder,
    ExplicitKTClassifier,
    ExplicitKTRegressor,
    ImplicitKTClassifier,
    ImplicitKTRegressor,
)
from sklearn_kt.estimators import readouts, uncertainty
from sklearn_kt.estimators.kernels import smooth_readout
from sklearn_kt.estimators.readouts import (
    EachTargetRegressor,
    MeanTreesRegressor,
    MedianTreesRegressor,
    VotingTreesClassifier,
    default_readouts,
)
from sklearn_kt.estimators.uncertainty import ErrorModel
from sklearn_kt.exceptions import InputError

pytestmark = pytest.mark.usefixtures("few_trees")

rng = np.random.default_rng(0)
X = rng.normal(size=(80, 3))
Y = X[:, 0] + 0.1 * rng.normal(size=80)
LABELS = np.where(Y > 0, "metal", "oxide")
NEW = rng.normal(size=(200, 3))
# of the first half of the table nothing is true
SPOILED = np.arange(80) < 40
LIES = np.where(SPOILED, 50.0, Y)
FALSE = np.where(SPOILED, np.where(Y > 0, "oxide", "metal"), LABELS)
GAPS = np.column_stack([LIES, LIES])
GAPS[::3, 0] = np.nan
GAPS[1::3, 1] = np.nan
NETWORKS: dict[str, Any] = {
    **{"checkpoint": None, "backbone": "tiny", "readout": "head", "random_state": 0},
    **{"n_estimators": 1, "max_epochs": 12, "batch_size": 20, "learning_rate": 1e-2},
}
RIDGE = ImplicitKTRegressor(None, readout=Ridge())
LOGISTIC = make_pipeline(StandardScaler(), LogisticRegression())
REGRESSORS: dict[str, Any] = {
    "networks": ImplicitKTRegressor(**NETWORKS),
    "stopped networks": ImplicitKTRegressor(**{**NETWORKS, "max_epochs": 12}, early_stopping=True),
    "forests": ImplicitKTRegressor(None, readout="fast", random_state=0),
    "means": ImplicitKTRegressor(None, readout="fast", loss="squared_error", random_state=0),
    "kernel": ImplicitKTRegressor(None, readout=smooth_readout()),
    "explicit": ExplicitKTRegressor(random_state=0),
    "blended": BlendedKTRegressor(
        [("ridge", RIDGE), ("pipe", make_pipeline(Ridge()))], cv=2, random_state=0
    ),
}
CLASSIFIERS: dict[str, Any] = {
    "networks": ImplicitKTClassifier(**NETWORKS),
    "forests": ImplicitKTClassifier(None, readout="fast", random_state=0),
    "explicit": ExplicitKTClassifier(readout=LOGISTIC, random_state=0),
    "blended": BlendedKTClassifier([("only", ImplicitKTClassifier(None, readout=LOGISTIC))], cv=2),
}


@pytest.fixture(autouse=True)
def few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    # each row needs some trees that have not seen it
    monkeypatch.setattr(uncertainty, "_N_TREES", 30)
    monkeypatch.setattr(readouts, "_N_TREES", {"auto": 12, "fast": 12})


class TestReading:
    @pytest.mark.parametrize("model", [REGRESSORS["explicit"], REGRESSORS["blended"], RIDGE])
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ((3, -1.0), "row 3 of sample_weight holds -1; .* give it the weight 0"),
            ((3, np.nan), "row 3 of sample_weight holds nan"),
            ((3, np.inf), "row 3 of sample_weight holds inf"),
            ((np.s_[:], 0.0), "the weights of all 80 rows are zero"),
            ((3, 1e300), "row 3 of sample_weight holds 1e[+]300, whose square is beyond"),
        ],
    )
    def test_bad_weights_are_named(self, model: Any, change: Any, message: str) -> None:
        weights, (place, value) = np.ones(80), change
        weights[place] = value
        with pytest.raises(InputError, match=message):
            clone(model).fit(X, Y, sample_weight=weights)

    @pytest.mark.parametrize(
        ("weights", "message"),
        [
            (np.ones(79), r"the shape \(79,\), but X has 80 rows"),
            (np.ones((80, 1)), r"the shape \(80, 1\)"),
            (["1"] * 79 + ["heavy"], "weights must be numbers, but row 79 of sample_weight holds"),
            ("heavy", "weights must be numbers, but sample_weight is .*'heavy'"),
            (np.ones(80, dtype=complex), "weights are finite numbers"),
            (0, "are zero"),
        ],
    )
    def test_what_are_no_weights(self, weights: Any, message: str) -> None:
        with pytest.raises(InputError, match=message):
            RIDGE.fit(X, Y, sample_weight=weights)

    @pytest.mark.parametrize(
        "container", [list, tuple, pd.Series, lambda w: pl.Series(w.tolist()), lambda w: w > 0]
    )
    def test_containers(self, container: Any) -> None:
        weights = (np.arange(80) % 2).astype(float)
        expected = RIDGE.fit(X[1::2], Y[1::2]).predict(NEW)
        found = RIDGE.fit(X, Y, sample_weight=container(weights)).predict(NEW)
        assert_allclose(found, expected)

    def test_a_weight_for_all(self) -> None:
        expected = RIDGE.fit(np.repeat(X, 3, axis=0), np.repeat(Y, 3)).predict(NEW)
        assert_allclose(RIDGE.fit(X, Y, sample_weight=3).predict(NEW), expected)

    def test_scores(self) -> None:
        model, weights = RIDGE.fit(X, Y), np.arange(80)
        assert model.score(X, Y, weights) == pytest.approx(
            r2_score(Y, model.predict(X), sample_weight=weights)
        )
        several = EachTargetRegressor(Ridge()).fit(X, GAPS)
        model = ImplicitKTRegressor(None, readout=several).fit(X, GAPS)
        known = ~np.isnan(GAPS)
        expected = [
            r2_score(GAPS[k, t], model.predict(X)[k, t], sample_weight=weights[k])
            for t, k in enumerate(known.T)
        ]
        assert model.score(X, GAPS, weights) == pytest.approx(np.mean(expected))
        with pytest.raises(InputError, match="row 4 of sample_weight holds -1"):
            model.score(X, GAPS, np.where(np.arange(80) == 4, -1, 1))
        with pytest.raises(InputError, match="row 4 of sample_weight holds -1"):
            RIDGE.fit(X, Y).score(X, Y, np.where(np.arange(80) == 4, -1, 1))


@pytest.mark.parametrize("name", REGRESSORS)
def test_lies_without_weight_are_not_believed(name: str) -> None:
    model = clone(REGRESSORS[name])
    clean = model.fit(X[~SPOILED], Y[~SPOILED]).predict(NEW)
    without = model.fit(X, LIES, sample_weight=~SPOILED).predict(NEW)
    assert_allclose(without, clean)
    light = model.fit(X, LIES, sample_weight=np.where(SPOILED, 1e-3, 1)).predict(NEW)
    # of a table whose lies count in full it is more than 10
    assert mean_absolute_error(NEW[:, 0], light) < 1


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_false_labels_without_weight_are_not_believed(name: str) -> None:
    model, truth = clone(CLASSIFIERS[name]), np.where(NEW[:, 0] > 0, "metal", "oxide")
    clean = model.fit(X[~SPOILED], LABELS[~SPOILED]).predict_proba(NEW)
    without = model.fit(X, FALSE, sample_weight=~SPOILED).predict_proba(NEW)
    assert_allclose(without, clean, atol=1e-6)
    light = model.fit(X, FALSE, sample_weight=np.where(SPOILED, 0.05, 1)).score(NEW, truth)
    # half of the labels are false
    assert light > 0.8


@pytest.mark.parametrize("name", ["networks", "forests", "kernel", "explicit", "blended"])
def test_targets_with_gaps_have_weights(name: str) -> None:
    if name == "kernel":
        readout = EachTargetRegressor(smooth_readout())
        model = ImplicitKTRegressor(None, readout=readout)
    else:
        model = clone(REGRESSORS[name])
    clean = model.fit(X[~SPOILED], GAPS[~SPOILED]).predict(NEW)
    without = model.fit(X, GAPS, sample_weight=~SPOILED).predict(NEW)
    # weights round another way, and libsvm stops at a thousandth
    assert_allclose(without, clean, atol=5e-3 if name == "kernel" else 0)
    light = model.fit(X, GAPS, sample_weight=np.where(SPOILED, 1e-3, 1)).predict(NEW)
    assert mean_absolute_error(np.column_stack([NEW[:, 0]] * 2), light) < 1


@pytest.mark.parametrize("name", ["networks", "forests", "explicit", "blended"])
def test_equal_weights_change_nothing(name: str) -> None:
    model = clone(REGRESSORS[name])
    expected = model.fit(X, Y).predict(NEW)
    assert_allclose(model.fit(X, Y, sample_weight=np.ones(80)).predict(NEW), expected)


class TestNetworks:
    @pytest.mark.parametrize("loss", ["absolute_error", "huber", "squared_error"])
    def test_only_ratios_matter(self, loss: str) -> None:
        model = ImplicitKTRegressor(**{**NETWORKS, "max_epochs": 2}, loss=loss)
        weights = rng.random(80)
        found = [model.fit(X, Y, sample_weight=w).predict(NEW) for w in (weights, 1e-300 * weights)]
        assert_allclose(*found, rtol=1e-4)
        losses = [epoch[key] for history in model.history_ for epoch in history for key in epoch]
        assert np.isfinite(losses).all()

    def test_calibration(self) -> None:
        model = ImplicitKTClassifier(**NETWORKS)
        sure = model.fit(X, FALSE, sample_weight=np.where(SPOILED, 1e-6, 1)).temperature_
        assert sure < model.fit(X, FALSE).temperature_


class TestForests:
    @pytest.mark.parametrize("kind", [MeanTreesRegressor, MedianTreesRegressor])
    @pytest.mark.parametrize("n_jobs", [None, 2])
    def test_trees_are_scikit_learns(self, kind: Any, n_jobs: int | None) -> None:
        forest = kind(10, random_state=np.random.RandomState(3), n_jobs=n_jobs)
        plain = clone(forest).fit(X, Y)
        weighed = clone(forest).fit(X, Y, np.full(80, 2))
        # threads add up in another order
        assert_allclose(weighed.predict(NEW), plain.predict(NEW), rtol=1e-12)
        seeds = [tree.random_state for tree in plain.estimators_]
        assert [tree.random_state for tree in weighed.estimators_] == seeds
        assert weighed.n_estimators == len(weighed.estimators_) == 10

    def test_a_tree_sees_rows_as_often_as_they_weigh(self) -> None:
        weights = np.array([0.1, 0.5, 1, 2.4])
        forest = MeanTreesRegressor(120, random_state=0)
        values = np.array([0.0, 1, 10, 100])
        forest.fit(values[:, None], values, weights)
        trees = [tree.tree_ for tree in forest.estimators_]
        seen = np.array(
            [
                [t.weighted_n_node_samples[t.value[:, 0, 0] == value].max(initial=0) for t in trees]
                for value in values
            ]
        ).T
        assert_allclose(seen.mean(axis=0), weights, atol=0.12)
        assert set(seen[:, 3]) == {2, 3}

    def test_drawn_by_scikit_learn_where_it_draws(self) -> None:
        forest = MeanTreesRegressor(10, bootstrap=True, random_state=0).fit(X, Y, np.ones(80))
        theirs = ExtraTreesRegressor(10, bootstrap=True, random_state=0).fit(X, Y, np.ones(80))
        assert_array_equal(forest.predict(NEW), theirs.predict(NEW))

    def test_classes_that_a_tree_may_miss(self) -> None:
        weights = np.where(LABELS == "metal", 1, 1e-4)
        forest = VotingTreesClassifier(20, random_state=0).fit(X, LABELS, weights)
        assert forest.predict_proba(NEW).shape == (200, 2)
        assert (forest.predict(NEW) == "metal").all()

    def test_all_default_readouts_take_weights(self) -> None:
        blocks = ("embedding", "properties", "descriptors", "fractions")
        weights = np.where(SPOILED, 1e-3, 1)
        for readout in default_readouts(blocks, 80, classification=False).values():
            fitted = readout.fitted(X, LIES[:, None], 0, weights)
            assert mean_absolute_error(NEW[:, 0], fitted.predict(NEW)) < 1
        for readout in default_readouts(blocks, 80, classification=True).values():
            assert readout.fitted(X, FALSE, 0, weights).predict(NEW).shape == (200,)


class TestScoresAndErrors:
    def test_of_a_blend_of_readouts(self) -> None:
        weights = np.where(SPOILED, 1e-6, 1)
        model = REGRESSORS["forests"].fit(X, LIES, sample_weight=weights)
        assert model.held_out_scores_["mae"] < 1
        assert model.held_out_scores_["r2"] > 0.5
        width = np.ptp(model.predict_interval(NEW, 0.8), axis=1).mean()
        assert 0.1 < width < 4
        assert model.predict(NEW, return_std=True)[1].mean() < 2
        several = REGRESSORS["forests"].fit(X, GAPS, sample_weight=weights)
        assert (several.held_out_scores_["mae"] < 1).all()
        assert np.ptp(several.predict_interval(NEW, 0.8), axis=2).mean() < 4

    def test_of_classes(self) -> None:
        weights = np.where(SPOILED, 1e-6, 1)
        model = clone(CLASSIFIERS["forests"]).fit(X, FALSE, sample_weight=weights)
        assert model.held_out_scores_["accuracy"] > 0.8
        assert model.held_out_scores_["balanced_accuracy"] > 0.8
        assert model.readout_scores_["blend"] == model.held_out_scores_["log_loss"]
        balanced = ImplicitKTClassifier(None, readout=LOGISTIC, class_weight="balanced")
        heavy = np.where(LABELS == "metal", 3.0, 1.0)
        balanced.fit(X, LABELS, sample_weight=heavy)
        n_metal, n_oxide = 3 * (LABELS == "metal").sum(), (LABELS == "oxide").sum()
        ratio = balanced.class_weights_[1] / balanced.class_weights_[0]
        assert ratio == pytest.approx(n_metal / n_oxide)

    def test_of_a_blend_of_models(self) -> None:
        # each is right about one half
        models = [("high", DummyRegressor(strategy="constant", constant=50)), ("true", Ridge())]
        heavy = np.where(SPOILED, 1, 1e-6)
        blend = BlendedKTRegressor(models, cv=2, random_state=0)
        assert blend.fit(X, LIES, sample_weight=heavy).weights_["high"] == 1
        assert blend.scores_["blend"] < 1
        assert blend.held_out_scores_["mae"] < 1
        assert np.ptp(blend.predict_interval(NEW, 0.8), axis=1).max() < 2
        assert "high" not in blend.fit(X, LIES, sample_weight=1 / heavy).weights_

    @pytest.mark.parametrize("groups", [None, np.arange(80) // 2])
    def test_errors_that_are_expected(self, groups: Any) -> None:
        residuals = np.where(SPOILED, 50.0, rng.normal(size=80))[:, None]
        weights = np.where(SPOILED, 1e-4, 1)
        model = ErrorModel(0).fit(X, residuals, groups, weights)
        assert model.std(NEW).mean() < 3
        assert 1 < model.width(NEW, 0.8).mean() < 5
        assert ErrorModel(0).fit(X, residuals, groups).width(NEW, 0.8).mean() > 20

    def test_quantiles_count_as_rows_weigh(self) -> None:
        ratios, counts = np.arange(1.0, 10), np.full(9, 1.0)
        assert uncertainty._quantile(ratios, counts, 0.9) == 9
        assert uncertainty._quantile(ratios, counts, 0.5) == 5
        heavy = np.array([9.0, 1, 1, 1, 1, 1, 1, 1, 2]) / 2
        assert uncertainty._quantile(ratios, heavy, 0.4) == 1


class TestRowsWithoutWeight:
    """They are read, and are then as if they were not there."""

    def test_what_is_learned_of_tables(self) -> None:
        table = pd.DataFrame(
            {
                "formula": ["NaCl", "KCl", "MgO", "CaO", "Si", "Ge"] * 4,
                "temperature": np.arange(24.0) * 100,
                "route": ["melted", "cast", "pressed"] * 8,
            }
        )
        y = np.arange(24.0)
        weights = (table["route"] != "cast") & (table["formula"] != "Si")
        part = table[weights]
        for frame in (table, pl.from_pandas(table)):
            model = ImplicitKTRegressor(None, readout=Ridge()).fit(frame, y, sample_weight=weights)
            alone = clone(model).fit(part, y[weights])
            assert_allclose(model.predict(part), alone.predict(part))
            assert model.elements_.tolist() == alone.elements_.tolist()
            assert "Si" not in model.elements_
            assert model.repeated_rows_ == alone.repeated_rows_
            assert model.n_features_in_ == 3
            assert_array_equal(model.condition_encoder_.ranges_, alone.condition_encoder_.ranges_)
            with pytest.raises(InputError, match="unknown category 'cast'"):
                model.predict(table)

    def test_their_mistakes_are_named_by_their_place(self) -> None:
        formulas, weights = ["NaCl", "KCl", "Xx2", "MgO"], [0, 1, 0, 1]
        with pytest.raises(InputError, match="Row 2, 'Xx2'"):
            RIDGE.fit(formulas, [1.0, 2, 3, 4], sample_weight=weights)
        with pytest.raises(ValueError, match="NaN"):
            RIDGE.fit(formulas, [1.0, 2, np.nan, 4], sample_weight=weights)

    def test_classes_and_targets(self) -> None:
        labels = np.where(SPOILED, "unknown", LABELS)
        model = ImplicitKTClassifier(None, readout=LOGISTIC).fit(X, labels, sample_weight=~SPOILED)
        assert model.classes_.tolist() == ["metal", "oxide"]
        y = pd.DataFrame({"S": Y, "zT": np.where(SPOILED, Y, np.nan)})
        with pytest.raises(InputError, match=r"'zT' .* in any of the 40 rows with a weight"):
            RIDGE.fit(X, y, sample_weight=~SPOILED)

    def test_groups(self) -> None:
        model = REGRESSORS["forests"].fit(
            X, Y, groups=["a"] * 40 + [*range(40)], sample_weight=~SPOILED
        )
        assert model.repeated_rows_ == 0

    def test_structures(self) -> None:
        class Nothing:
            def generate(self, compositions: Any, n_candidates: int) -> list[list[Any]]:
                return [[]] * len(compositions)

        formulas, y = ["NaCl", "Cu", "MgO", "KCl", "CaO"], np.arange(5.0)
        known: list[Any] = [Structure(Lattice.cubic(3 + a), ["Na"], [[0, 0, 0]]) for a in range(5)]
        model = ExplicitKTRegressor(Nothing(), readout=Ridge(), fallback="nan", checkpoint=None)
        weights = np.array([1, 0, 1, 1, 1])
        with pytest.warns(UserWarning, match=r"1 of 4 compositions .* row 4 \(CaO\)"):
            model.fit(formulas, y, structures=[*known[:4], None], sample_weight=weights)
        assert model.fallback_rows_ == [4]
        found = model.predict(formulas[:1], structures=known[:1])
        rows = [0, 2, 3]
        part = [known[row] for row in rows]
        alone = clone(model).fit([formulas[row] for row in rows], y[rows], structures=part)
        assert_allclose(found, alone.predict(formulas[:1], structures=known[:1]))
        with pytest.raises(InputError, match="structures has 4 rows, but X has 5"):
            model.fit(formulas, y, structures=known[:4], sample_weight=weights)


class TestReadoutsOfOnesOwn:
    @pytest.mark.parametrize(
        "readout",
        [
            Ridge(),
            make_pipeline(StandardScaler(), "passthrough", Ridge()),
            GridSearchCV(Ridge(), {"alpha": [1.0]}, cv=2),
            GridSearchCV(make_pipeline(Ridge()), {"ridge__alpha": [1.0]}, cv=2),
            VotingRegressor([("ridge", Ridge())]),
            smooth_readout(),
        ],
    )
    def test_take_weights(self, readout: Any) -> None:
        model = ImplicitKTRegressor(None, readout=readout)
        light = model.fit(X, LIES, sample_weight=np.where(SPOILED, 1e-4, 1)).predict(NEW)
        assert mean_absolute_error(NEW[:, 0], light) < 1

    @pytest.mark.parametrize(
        "readout",
        [
            KNeighborsRegressor(),
            make_pipeline(StandardScaler(), KNeighborsRegressor()),
            GridSearchCV(KNeighborsRegressor(), {"n_neighbors": [2]}, cv=2),
            EachTargetRegressor(KNeighborsRegressor()),
        ],
    )
    def test_or_are_named(self, readout: Any) -> None:
        for model in (
            ImplicitKTRegressor(None, readout=readout),
            ExplicitKTRegressor(readout=readout),
            BlendedKTRegressor([("near", readout), ("ridge", Ridge())], cv=2),
        ):
            with pytest.raises(InputError, match="KNeighborsRegressor takes no sample_weight"):
                model.fit(X, np.column_stack([Y, Y]), sample_weight=np.arange(80))
        ImplicitKTRegressor(None, readout=readout).fit(X, np.column_stack([Y, Y]))


class TestFoldsOfOnesOwn:
    def test_are_taken(self) -> None:
        models = [("near", Ridge()), ("far", Ridge(1e3))]
        fold, weights = np.arange(80) % 4, np.where(np.arange(80) < 20, 0, 1)
        folds = [(np.flatnonzero(fold != part), np.flatnonzero(fold == part)) for part in range(4)]
        found = []
        for cv in (folds, PredefinedSplit(fold), [(fold != p, fold == p) for p in range(4)]):
            blend = BlendedKTRegressor(models, cv=cv, random_state=0)
            found.append(blend.fit(X, Y, sample_weight=weights).scores_)
        assert found[0] == found[1] == found[2]
        assert BlendedKTRegressor(models, cv=KFold(3)).fit(X, Y).scores_

    def test_rows_that_belong_together_stay_so(self) -> None:
        groups = np.arange(80) // 2
        blend = BlendedKTRegressor([("ridge", Ridge())], cv=GroupKFold(4))
        assert blend.fit(X, Y, groups).scores_
        with pytest.raises(InputError, match=r"cv puts row \d+ on the other side"):
            blend.set_params(cv=KFold(3, shuffle=True, random_state=0)).fit(X, Y, groups)
        with pytest.raises(InputError, match="gives no fold"):
            blend.set_params(cv=[]).fit(X, Y)

    def test_leave_something_to_learn_from_and_to_judge_by(self) -> None:
        few = np.where(np.arange(80) < 4, Y, np.nan)
        y, first, others = np.column_stack([Y, few]), np.arange(40), np.arange(40, 80)
        blend = BlendedKTRegressor([("ridge", RIDGE)], cv=[(others, first)])
        with pytest.raises(InputError, match="fold 0 of cv trains on no row with target 1"):
            blend.fit(X, y)
        with pytest.raises(InputError, match="fold 0 of cv trains on no row with the target"):
            blend.fit(X, Y, sample_weight=np.arange(80) < 40)
        with pytest.raises(InputError, match=r"holds out 0 .* with target 1, too few"):
            blend.set_params(cv=[(first, others)]).fit(X, y)
        with pytest.raises(InputError, match=r"holds out 1 .* with the target, too few"):
            blend.fit(X, Y, np.minimum(np.arange(80), 40))
        labels = np.where(np.arange(80) < 4, "rare", "common")
        model = BlendedKTClassifier([("only", CLASSIFIERS["blended"].estimators[0][1])])
        with pytest.raises(InputError, match="fold 0 of cv trains on no row of the class 'rare'"):
            model.set_params(cv=[(others, first)]).fit(X, labels)


class TestRouting:
    """scikit-learn hands weights and groups on, as it was asked to."""

    weights = np.where(SPOILED, 0.0, 1.0)
    groups = np.arange(80) // 2
    expected = RIDGE.fit(X[~SPOILED], Y[~SPOILED]).predict(NEW)

    def test_by_the_name_of_a_step(self) -> None:
        pipe = Pipeline([("model", RIDGE)]).fit(X, LIES, model__sample_weight=self.weights)
        assert_allclose(pipe.predict(NEW), self.expected)
        search = GridSearchCV(RIDGE, {"readout__alpha": [1.0]}, cv=2)
        search.fit(X, LIES, sample_weight=np.where(SPOILED, 1e-9, 1))
        assert_allclose(search.predict(NEW), self.expected, atol=1e-3)

    @pytest.mark.parametrize(
        "model",
        [
            RIDGE,
            ExplicitKTRegressor(readout=Ridge()),
            BlendedKTRegressor([("ridge", Ridge()), ("ours", RIDGE)], cv=2),
        ],
    )
    def test_by_request(self, model: Any) -> None:
        with sklearn.config_context(enable_metadata_routing=True):
            asked = clone(model).set_fit_request(sample_weight=True, groups=True)
            pipe = make_pipeline(asked)
            given = {"sample_weight": self.weights, "groups": self.groups}
            assert_allclose(pipe.fit(X, LIES, **given).predict(NEW), self.expected)
            asked.set_score_request(sample_weight=True)
            light = {**given, "sample_weight": np.where(SPOILED, 1e-9, 1)}
            search = GridSearchCV(pipe, {}, cv=GroupKFold(2)).fit(X, LIES, **light)
            assert_allclose(search.predict(NEW), self.expected, atol=1e-3)
            assert search.best_score_ > 0.9
            scores = cross_validate(asked, X, LIES, cv=GroupKFold(2), params=light)
            assert (scores["test_score"] > 0.9).all()

    def test_in_a_blend_and_for_each_target(self) -> None:
        y = np.column_stack([LIES, LIES])
        with sklearn.config_context(enable_metadata_routing=True):
            ours = clone(RIDGE).set_fit_request(sample_weight=True)
            each = EachTargetRegressor(ours)
            pipe = make_pipeline(each).fit(pd.DataFrame(X), y, sample_weight=list(self.weights))
            assert_allclose(pipe.predict(NEW)[:, 1], self.expected)
            renamed = EachTargetRegressor(clone(RIDGE).set_fit_request(sample_weight="certainty"))
            pipe = make_pipeline(renamed).fit(X, y, certainty=self.weights)
            assert_allclose(pipe.predict(NEW)[:, 1], self.expected)
            blend = BlendedKTRegressor([("each", each), ("pipe", make_pipeline(ours))], cv=2)
            blend.set_fit_request(sample_weight=True)
            pipe = make_pipeline(blend).fit(X, y, sample_weight=self.weights)
            assert_allclose(pipe.predict(NEW)[:, 1], self.expected)


def test_a_pipeline_of_formulas_in_a_blend() -> None:
    formulas = ["NaCl", "MgO", "KCl", "CaO", "Si", "Ge", "LiF", "ZnO"] * 2
    y, weights = np.arange(16.0), np.arange(16) % 3
    pipeline = make_pipeline(CompositionEmbedder(None), StandardScaler(), Ridge())
    blend = BlendedKTRegressor([("ridge", pipeline)], cv=2).fit(formulas, y, sample_weight=weights)
    kept = np.flatnonzero(weights)
    params = {f"{name}__sample_weight": weights[kept] for name in ("standardscaler", "ridge")}
    alone = pipeline.fit([formulas[row] for row in kept], y[kept], **params)
    assert_allclose(blend.predict(formulas), alone.predict(formulas))


def test_probabilities_are_those_of_weighed_rows() -> None:
    model = ImplicitKTClassifier(None, readout=LOGISTIC)
    heavy = np.where(LABELS == "metal", 100.0, 1.0)
    far = model.fit(np.zeros_like(X), LABELS, sample_weight=heavy).predict_proba(NEW)
    share = heavy[LABELS == "metal"].sum() / heavy.sum()
    assert_allclose(far[:, 0], share, atol=1e-3)
    assert log_loss(LABELS, far[:80], sample_weight=heavy) < 0.2
