"""Readouts, weights of a blend and the error model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.base import BaseEstimator
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_kt import ImplicitKTClassifier
from sklearn_kt.estimators.readouts import (
    ErrorModel,
    KernelRegressor,
    MedianTreesRegressor,
    decide,
    default_readouts,
    select_weights,
)

BLOCKS = ("embedding", "properties", "descriptors", "fractions")


def test_readouts_follow_what_is_there() -> None:
    plain = default_readouts(BLOCKS[2:], 100, classification=False)
    assert set(plain) == {"trees", "fraction_trees"}
    assert set(default_readouts((), 100, classification=False)) == {"trees"}
    numbers = default_readouts(BLOCKS, 100, classification=False)
    assert set(numbers) == {"transfer_trees", "trees", "fraction_trees", "kernel"}
    assert numbers["transfer_trees"].blocks == ("properties", "descriptors", "fractions")
    assert "kernel" not in default_readouts(BLOCKS, 9_000, classification=False)
    assert "kernel" not in default_readouts(BLOCKS, 100, classification=False, fast=True)
    assert "kernel" not in default_readouts(BLOCKS, 100, classification=False, n_outputs=2)
    classes = default_readouts(BLOCKS, 100, classification=True)
    assert set(classes) == {"transfer_trees", "trees", "fraction_trees", "boosting"}
    quick = default_readouts(BLOCKS, 100, classification=True, fast=True)
    assert set(quick) == {"transfer_trees", "trees", "fraction_trees"}
    quick = default_readouts(BLOCKS, 100, classification=False, fast=True)
    assert set(quick) == {"transfer_trees", "fraction_trees"}
    text = default_readouts(("embedding", *BLOCKS[2:]), 100, classification=True)
    assert text["transfer_trees"].blocks == ("embedding", "descriptors", "fractions")


@parametrize_with_checks([MedianTreesRegressor(10), KernelRegressor()])
def test_sklearn_contract(estimator: BaseEstimator, check: Any) -> None:
    check(estimator)


@pytest.mark.parametrize("n_outputs", [1, 2])
def test_median_of_the_trees(n_outputs: int) -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 3)), rng.normal(size=(40, n_outputs)).squeeze()
    forest = MedianTreesRegressor(7, random_state=0).fit(X, y)
    new = rng.normal(size=(9, 3))
    each = [tree.predict(new) for tree in forest.estimators_]
    assert_allclose(forest.predict(new), np.sort(each, axis=0)[3])
    assert_allclose(forest.set_params(n_jobs=2).predict(new), np.sort(each, axis=0)[3])


def test_what_trees_predict_suits_the_loss() -> None:
    for median, kind in ((True, MedianTreesRegressor), (False, ExtraTreesRegressor)):
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


def test_weights_find_the_blend_that_cancels_errors() -> None:
    rng = np.random.default_rng(0)
    truth, noise = rng.normal(size=(2, 500, 1))
    outputs = {"a": truth + noise, "b": truth - noise / 3, "c": rng.normal(size=(500, 1))}
    weights = select_weights(outputs, lambda blend: float(np.mean((blend - truth) ** 2)))
    assert set(weights) == {"a", "b"}
    assert weights["a"] == pytest.approx(0.25, abs=0.051)
    assert sum(weights.values()) == pytest.approx(1)


def test_weights_never_lose_to_the_best_model() -> None:
    rng = np.random.default_rng(1)
    truth = rng.normal(size=(50, 1))
    for _ in range(20):
        outputs = {k: truth + rng.normal(size=(50, 1)) * rng.uniform(0.1, 3) for k in "abcd"}

        def loss(blend: np.ndarray) -> float:
            return float(np.abs(blend - truth).mean())

        weights = select_weights(outputs, loss)
        blend = sum(w * outputs[k] for k, w in weights.items())
        assert loss(np.asarray(blend)) <= min(map(loss, outputs.values())) + 1e-12


def test_error_model_learns_where_errors_are_large() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(1500, 3))
    residuals = rng.normal(size=(1500, 2)) * np.column_stack([0.1 + x[:, 0], np.full(1500, 5.0)])
    model = ErrorModel(0).fit(x[:1000], residuals[:1000])
    std = model.std(x[1000:])
    assert std.shape == (500, 2)
    assert np.corrcoef(std[:, 0], x[1000:, 0])[0, 1] > 0.9
    assert_allclose(np.mean((residuals[1000:] / std) ** 2, axis=0), 1, atol=0.25)
    for coverage in (0.5, 0.8, 0.95):
        inside = np.abs(residuals[1000:]) < model.width(x[1000:], coverage)
        assert_allclose(inside.mean(axis=0), coverage, atol=0.06)


def test_error_model_without_errors() -> None:
    x = np.random.default_rng(0).normal(size=(30, 2))
    model = ErrorModel(0).fit(x, np.zeros((30, 1)))
    assert np.isfinite(model.std(x)).all()
    assert (model.width(x, 0.9) < 1e-9).all()


def test_intervals_have_a_width_where_most_errors_are_zero() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(1500, 1))
    known = x[:, 0] < 0.7
    residuals = np.where(known, 0, rng.normal(size=1500))[:, None]
    model = ErrorModel(0).fit(x[:1000], residuals[:1000])
    inside = np.abs(residuals[1000:]) <= model.width(x[1000:], 0.5)
    assert inside[known[1000:]].mean() > 0.95
    assert 0.3 < inside[~known[1000:]].mean() < 0.7
