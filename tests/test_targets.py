"""Targets are numbers that can be computed with, for every regressor."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.linear_model import Ridge

from sklearn_kt import BlendedKTRegressor, ExplicitKTRegressor, ImplicitKTRegressor
from sklearn_kt._targets import ClassTargets, NumberTargets, as_numbers, read_groups
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
        assert_allclose(model.predict(X), X[:, 0] * unit, atol=1e-4 * unit)


@pytest.mark.parametrize("shape", [(30,), (30, 1), (30, 2)])
def test_numbers_come_back_in_their_units_and_shape(shape: tuple[int, ...]) -> None:
    y = np.random.default_rng(0).normal(50, 7, shape)
    targets = NumberTargets()
    read = targets.read(Ridge(), y)
    # not standardised: as they are
    assert targets.encode(read) is read
    targets.standardise(read)
    encoded = targets.encode(read)
    assert encoded.shape == (30, targets.n_outputs)
    assert_allclose(encoded.std(axis=0), 1, rtol=1e-6)
    assert_allclose(targets.decode(encoded.astype(float)), y, rtol=1e-6)
    widths = targets.decode_width(np.ones(encoded.shape))
    assert_allclose(widths, np.broadcast_to(y.std(axis=0), shape))
    assert targets.decode(encoded[:0]).shape == (0, *shape[1:])


def test_the_loss_says_how_networks_vote_and_blends_are_judged() -> None:
    members = [np.full((2, 1), value) for value in (0.0, 1.0, 5.0)]
    truth = np.array([[1.0], [3.0]])
    for loss, vote, score in (("absolute_error", 1, 1), ("squared_error", 2, 1)):
        targets = NumberTargets(loss)
        voted = targets.combine(members)
        assert (voted == vote).all()
        assert targets.score(truth, voted) == score


def test_classes_come_back_as_labels() -> None:
    y = np.array(["c", "a", "b", "a"] * 8)
    targets = ClassTargets()
    encoded = targets.encode(targets.read(Ridge(), y))
    assert encoded.tolist() == [2, 0, 1, 0] * 8
    probabilities = np.eye(3)[encoded]
    probabilities[1] = np.nan
    labels = targets.decode(probabilities)
    assert labels[1] is None
    assert (np.delete(labels, 1) == np.delete(y, 1)).all()
    assert targets.score(encoded, np.full((32, 3), 1 / 3)) == pytest.approx(np.log(3))


def test_folds_are_as_many_as_rows_and_classes_allow() -> None:
    numbers, classes = NumberTargets(), ClassTargets()
    rows = np.zeros(20)
    assert len(numbers.folds(rows, 10, 3, 0)) == 5
    assert numbers.folds(rows[:11], 10, 3, 0) == []
    encoded = classes.encode(classes.read(Ridge(), ["a"] * 12 + ["b"] * 40))
    folds = classes.folds(encoded, 10, 3, 0)
    assert [(encoded[test] == 0).sum() for _, test in folds] == [4, 4, 4]
    assert classes.folds(encoded, 10, 4, 0) == []
    assert classes.folds(np.zeros(40, int), 10, 3, 0) == []


def test_folds_keep_groups_whole_and_count_each_once() -> None:
    groups = np.repeat(np.arange(24), 5)
    numbers, classes = NumberTargets(), ClassTargets()
    encoded = classes.encode(classes.read(Ridge(), np.where(groups < 12, "a", "b")))
    for targets in (numbers, classes):
        folds = targets.folds(encoded, 10, 3, 0, groups)
        assert len(folds) == (6 if targets is numbers else 3)
        for train, test in folds:
            assert not set(groups[train]) & set(groups[test])
        assert sorted(np.concatenate([test for _, test in folds])) == list(range(120))
        assert targets.folds(encoded, 10, 7, 0, groups) == []
    shares = [encoded[test].mean() for _, test in folds]
    assert np.ptp(shares) < 0.1


def test_folds_leave_a_class_to_learn_from() -> None:
    # one group is as large as all others of its class, which then share a fold
    groups = np.concatenate([np.arange(12), np.full(5000, 12), np.arange(13, 30)])
    encoded = np.concatenate([np.zeros(12, int), np.zeros(5000, int), np.ones(17, int)])
    for train, test in ClassTargets().folds(encoded, 10, 3, 0, groups):
        assert set(encoded[train]) == {0, 1}
        assert len(test)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (["a", None, "b"], "row 1 has no group"),
        ([1, 2, np.nan], "row 2 has no group"),
        ([[1], [2], [3]], "one column.*shape"),
        ([1, 2], "inconsistent numbers of samples"),
    ],
)
def test_bad_groups_are_named(groups: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_groups(groups, 3)


@pytest.mark.parametrize("repeats", [1, 3])
@pytest.mark.parametrize("shares", [(0.2, 0.9), (0.1, 0.5, 0.5), (0.15, 0.2, 0.3, 0.4, 0.9)])
def test_folds_hold_their_part_of_every_target(shares: tuple[float, ...], repeats: int) -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(300), repeats)
    known = (rng.random((300, len(shares))) < shares)[groups]
    known[~known.any(axis=1), -1] = True
    encoded = np.where(known, 1.0, np.nan)
    folds = NumberTargets().folds(encoded, 10, 3, 0, groups if repeats > 1 else None)
    distinct = [len(np.unique(groups[column])) for column in known.T]
    assert 3 <= len(folds) <= min(10, min(distinct) // 4)
    assert sorted(np.concatenate([test for _, test in folds])) == list(range(len(known)))
    for train, test in folds:
        assert not set(groups[train]) & set(groups[test])
        assert known[test].sum(axis=0).min() >= 2
        # a target's share of a fold is near its share of the table
        assert_allclose(known[test].mean(axis=0), known.mean(axis=0), atol=0.15)


def test_a_target_that_one_group_holds_has_no_folds() -> None:
    encoded = np.column_stack([np.ones(60), np.where(np.arange(60) < 30, 1.0, np.nan)])
    groups = np.where(np.arange(60) < 30, 0, np.arange(60))
    assert NumberTargets().folds(encoded, 10, 3, 0, groups) == []


def test_scores_are_those_of_the_rows_that_have_a_target() -> None:
    targets = NumberTargets()
    y = np.array([[1.0, 10.0], [np.nan, 20.0], [3.0, np.nan], [5.0, 60.0]])
    targets.standardise(targets.read(Ridge(), y))
    assert_allclose(targets.scaler.mean_, [3, 30])
    encoded = targets.encode(y)
    assert (np.isnan(encoded) == np.isnan(y)).all()
    outputs = np.zeros((4, 2))
    scores = targets.held_out(encoded, outputs)
    assert_allclose(scores["mae"], [4 / 3, 20], rtol=1e-6)
    assert_allclose(scores["r2"], [0, 0], atol=1e-6)
    assert_allclose(targets.error(encoded, outputs), scores["mae"])
    # a mean over the targets, in standard units
    assert targets.score(encoded, outputs) == pytest.approx(
        np.mean(scores["mae"] / targets.scaler.scale_)
    )


@pytest.mark.filterwarnings("error")
def test_classes_that_are_predicted_alone_count_for_nothing() -> None:
    targets = ClassTargets()
    targets.read(Ridge(), np.array(["a", "b", "c"]))
    truth, found = np.array([0, 0, 0, 1]), np.eye(3)[[0, 0, 2, 1]]
    scores = targets.held_out(truth, found)
    assert scores["accuracy"] == 0.75
    assert scores["balanced_accuracy"] == pytest.approx((2 / 3 + 1) / 2)
    assert scores["log_loss"] == targets.error(truth, found)


def test_counts_are_of_each_target_or_class_and_count_a_group_once() -> None:
    gaps = np.array([[1.0, np.nan], [2.0, 5.0], [3.0, np.nan], [4.0, 6.0]])
    assert NumberTargets().counts(gaps).tolist() == [4, 2]
    assert NumberTargets().counts(gaps, np.array([0, 1, 1, 1])).tolist() == [2, 1]
    classes = ClassTargets()
    classes.n_outputs = 3
    assert classes.counts(np.array([0, 0, 1])).tolist() == [2, 1, 0]
    assert classes.counts(np.array([0, 0, 1]), np.array([7, 7, 7])).tolist() == [1, 1, 0]
