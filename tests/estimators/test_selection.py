"""Weights of a blend."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from sklearn_kt._targets import ClassTargets, NumberTargets
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
    # 25 rows have the first target, 50 the other
    guessed = weigh(targets, outputs, truth, guess="far")
    assert guessed["first"].tolist() == [0.25, 0]
    assert guessed["second"].tolist() == [0, 0.5]
    assert guessed["far"].tolist() == [0.75, 0.5]


def test_classes_are_judged_by_all_their_rows_and_groups_once() -> None:
    truth = np.repeat([0, 1], [60, 20])
    sure = np.eye(2)[truth] * 0.8 + 0.1
    outputs = {"right": sure, "wrong": 1 - sure}
    targets = ClassTargets()
    targets.read(LogisticRegression(), np.repeat(["a", "b"], [60, 20]))
    assert weigh(targets, outputs, truth, guess="wrong") == {
        "right": 0.8,
        "wrong": pytest.approx(0.2),
    }
    groups = np.arange(80) // 2
    assert weigh(targets, outputs, truth, groups=groups, guess="wrong")["right"] == 0.4
    # enough of them
    many = {name: np.tile(values, (2, 1)) for name, values in outputs.items()}
    assert weigh(targets, many, np.tile(truth, 2), guess="wrong") == {"right": 1.0}
