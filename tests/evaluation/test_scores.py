"""Scores: by hand, both rules for the AUC, and none where none is defined."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score, r2_score, roc_auc_score

from sklearn_kt.evaluation.scores import HEADLINES, SCORES, score_predictions, scores_of


def test_both_rules_for_the_auc() -> None:
    y = np.array([False, True, False, True, True])
    p = np.array([0.2, 0.4, 0.3, 0.6, 0.9])
    scores = score_predictions("classification", y, p > 0.5, np.column_stack([1 - p, p]))
    assert scores.keys() == scores_of("classification").keys()
    assert scores["roc_auc"] == pytest.approx(roc_auc_score(y, p))
    assert scores["roc_auc_of_labels"] == pytest.approx(scores["balanced_accuracy"])
    assert scores["roc_auc"] > scores["roc_auc_of_labels"]
    assert math.isnan(score_predictions("classification", y, p > 0.5)["roc_auc"])


def test_scores_that_are_not_defined() -> None:
    one_class = score_predictions("classification", np.array([True]), np.array([True]))
    assert one_class.pop("accuracy") == 1
    assert all(math.isnan(value) for value in one_class.values())
    empty = score_predictions("regression", np.array([]), np.array([]))
    assert all(math.isnan(value) for value in empty.values())
    single = score_predictions("regression", np.array([0.0]), np.array([1.0]))
    assert single["mae"] == 1
    assert math.isnan(single["r2"])
    assert math.isnan(single["mape"])


def test_mad_mae_is_that_of_the_test_rows() -> None:
    y = np.array([0.0, 2.0, 4.0])
    assert score_predictions("regression", y, y + 0.5)["mad_mae"] == pytest.approx(4 / 3 / 0.5)


def test_numbers_by_hand() -> None:
    y, predictions = np.array([1.0, 2.0, 4.0]), np.array([2.0, 2.0, 2.0])
    scores = score_predictions("regression", y, predictions)
    assert scores["mae"] == 1
    assert scores["rmse"] == pytest.approx(math.sqrt(5 / 3))
    assert scores["max_error"] == 2
    assert scores["mape"] == pytest.approx((1 + 0 + 0.5) / 3)
    assert scores["r2"] == pytest.approx(r2_score(y, predictions))


def test_many_classes() -> None:
    rng = np.random.default_rng(0)
    classes = np.array(["a", "b", "c"])
    y = classes[rng.integers(3, size=60)]
    chances = rng.dirichlet(np.ones(3), size=60)
    labels = classes[chances.argmax(axis=1)]
    scores = score_predictions("classification", y, labels, chances, classes)
    assert scores["accuracy"] == (y == labels).mean()
    assert scores["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(y, labels))
    assert scores["f1"] == pytest.approx(f1_score(y, labels, average="macro"))
    expected = roc_auc_score(y, chances, multi_class="ovr", average="macro", labels=classes)
    assert scores["roc_auc"] == pytest.approx(expected)
    assert math.isnan(scores["roc_auc_of_labels"])
    # a class that no test row has
    some = y != "b"
    scores = score_predictions("classification", y[some], labels[some], chances[some], classes)
    assert math.isnan(scores["roc_auc"])
    recalls = [(labels[y == label] == label).mean() for label in "ac"]
    assert scores["balanced_accuracy"] == pytest.approx(np.mean(recalls))


def test_registry() -> None:
    for kind, headline in HEADLINES.items():
        assert SCORES[headline].kind == kind
        assert SCORES[headline].shown
    errors = {name for name, score in SCORES.items() if score.smaller_is_better}
    assert errors == {"mae", "rmse", "mape", "max_error"}
    assert SCORES["roc_auc"].needs_probabilities
