"""Default readouts, and what they are made of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_kt import ImplicitKTClassifier, ImplicitKTRegressor
from sklearn_kt.estimators.kernels import KernelRegressor, smooth_readout
from sklearn_kt.estimators.readouts import (
    EachTargetRegressor,
    MeanTreesRegressor,
    MedianTreesRegressor,
    VotingTreesClassifier,
    decide,
    default_readouts,
)

BLOCKS = ("embedding", "properties", "descriptors", "fractions")


def test_readouts_follow_what_is_there() -> None:
    plain = default_readouts(BLOCKS[2:], 100, classification=False)
    assert set(plain) == {"trees", "fraction_trees"}
    assert set(default_readouts(("columns",), 100, classification=False)) == {"trees"}
    numbers = default_readouts(BLOCKS, 100, classification=False)
    assert set(numbers) == {"transfer_trees", "trees", "fraction_trees", "kernel"}
    assert numbers["transfer_trees"].blocks == ("properties", "descriptors", "fractions")
    assert "kernel" not in default_readouts(BLOCKS, 9_000, classification=False)
    assert "kernel" not in default_readouts(BLOCKS, 100, classification=False, fast=True)
    several = default_readouts(BLOCKS, 100, classification=False, n_outputs=2)
    assert isinstance(several["kernel"].estimator, EachTargetRegressor)
    classes = default_readouts(BLOCKS, 100, classification=True)
    assert set(classes) == {"transfer_trees", "trees", "fraction_trees", "boosting"}
    for kind in (True, False):
        quick = default_readouts(BLOCKS, 100, classification=kind, fast=True)
        assert set(quick) == {"transfer_trees", "trees", "fraction_trees"}
    text = default_readouts(("embedding", *BLOCKS[2:]), 100, classification=True)
    assert text["transfer_trees"].blocks == ("embedding", "descriptors", "fractions")


# scikit-learn's forests take the logarithm of shares of 0
@pytest.mark.filterwarnings("ignore:divide by zero encountered in log:RuntimeWarning")
@parametrize_with_checks(
    [
        MedianTreesRegressor(10),
        MeanTreesRegressor(10),
        VotingTreesClassifier(10),
        # the same support vectors however the rows are given
        KernelRegressor(tol=1e-12),
    ]
)
def test_sklearn_contract(estimator: BaseEstimator, check: Any) -> None:
    check(estimator)


@pytest.mark.parametrize("n_outputs", [1, 2])
def test_middle_of_the_trees(n_outputs: int) -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 3)), rng.normal(size=(40, n_outputs)).squeeze()
    forest = MedianTreesRegressor(20, random_state=0).fit(X, y)
    new = rng.normal(size=(9, 3))
    each = [tree.predict(new) for tree in forest.estimators_]
    middle = np.sort(each, axis=0)[8:12].mean(axis=0)
    assert_allclose(forest.predict(new), middle)
    assert_allclose(forest.set_params(n_jobs=2).predict(new), middle)


def test_few_rows_share_a_prediction() -> None:
    # measured values are few, and the median of fully grown trees is one of them
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 4))
    forest = MedianTreesRegressor(50, random_state=0).fit(X, np.round(X[:, 0] + X[:, 1], 1))
    new = rng.normal(size=(200, 4))
    each = [tree.predict(new) for tree in forest.estimators_]
    medians, predicted = np.median(each, axis=0), forest.predict(new)
    assert len(np.unique(predicted.round(12))) > 1.5 * len(np.unique(medians.round(12)))


def test_what_trees_predict_suits_the_loss() -> None:
    for median, kind in ((True, MedianTreesRegressor), (False, MeanTreesRegressor)):
        readouts = default_readouts(BLOCKS, 100, classification=False, median=median)
        assert type(readouts["trees"].estimator) is kind


def test_decisions_beside_probabilities() -> None:
    X, y = np.arange(6.0)[:, None], ["a", "b"] * 3
    logistic = make_pipeline(LogisticRegression())
    cautious = FixedThresholdClassifier(logistic, threshold=0.99, pos_label="b").fit(X, y)
    labels, probabilities = decide(cautious, X)
    assert labels.tolist() == ["a"] * 6
    np.testing.assert_array_equal(probabilities, cautious.predict_proba(X))
    assert decide(make_pipeline(RidgeClassifier()).fit(X, y), X)[1] is None
    ours = ImplicitKTClassifier(None, readout=cautious.estimator, random_state=0).fit(X, y)
    for model in (ours, Pipeline([("ours", ours)])):
        labels, probabilities = decide(model, X)
        assert labels.tolist() == model.predict(X).tolist()
        np.testing.assert_array_equal(probabilities, model.predict_proba(X))


def test_smooth_readout_follows_scale() -> None:
    X = np.linspace(0, 1, 40)[:, None]
    for scale in (1e-3, 1e3):
        y = scale * np.sin(6 * X[:, 0])
        model = smooth_readout().fit(X, y)
        assert_allclose(model.predict(X), y, atol=0.05 * scale)
        same = TransformedTargetRegressor(
            clone(model).set_params(kernelregressor__scale_targets=False),
            transformer=StandardScaler(),
        )
        assert_array_equal(model.predict(X), same.fit(X, y).predict(X))
    # a row that hardly weighs does not blur the others
    X, y = np.vstack([X, [[9]]]), np.append(y, 1e6 * scale)
    light = smooth_readout().fit(X, y, kernelregressor__sample_weight=[1] * 40 + [1e-15])
    assert_allclose(light.predict(X[:40]), y[:40], atol=0.05 * scale)


@pytest.mark.parametrize("readout", [smooth_readout(), GridSearchCV(SVR(), {"C": [1]}), SVR()])
def test_what_learns_one_target_learns_several_in_turn(readout: Any) -> None:
    X = np.linspace(0, 1, 12)[:, None]
    y = np.column_stack([X[:, 0], 5 - X[:, 0]])
    found = ImplicitKTRegressor(None, readout=readout).fit(X, y).predict(X)
    alone = [ImplicitKTRegressor(None, readout=readout).fit(X, t).predict(X) for t in y.T]
    assert_array_equal(found, np.column_stack(alone))
    together = ImplicitKTRegressor(None, readout=GridSearchCV(Ridge(), {})).fit(X, y)
    assert isinstance(together.readouts_["estimator"], GridSearchCV)
