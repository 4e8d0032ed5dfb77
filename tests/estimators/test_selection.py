"""Weights of a blend."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from sklearn_kt._targets import NumberTargets
from sklearn_kt.estimators.selection import select_weights, weigh


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


def test_each_target_has_weights_of_its_own() -> None:
    truth = np.random.default_rng(0).normal(size=(50, 2))
    outputs = {
        "first": truth + np.array([0, 9]),
        "second": truth + np.array([9, 0]),
        "far": truth + 9,
    }
    truth[::2, 0] = np.nan
    targets = NumberTargets()
    targets.read(Ridge(), truth)
    weights = weigh(targets, outputs, truth)
    assert set(weights) == {"first", "second"}
    assert weights["first"].tolist() == [1, 0]
    assert weights["second"].tolist() == [0, 1]
