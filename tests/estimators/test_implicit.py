"""Implicit estimators: scikit-learn's contract, containers, readouts, faults."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from _shims import SpelledClassifier, SpelledRegressor
from numpy.testing import assert_allclose, assert_array_equal
from pymatgen.core import Composition
from sklearn.base import BaseEstimator, clone, is_classifier
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import (
    BaggingRegressor,
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    StackingRegressor,
)
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_kt import (
    CompositionEmbedder,
    CompositionTokenizer,
    ImplicitKTClassifier,
    ImplicitKTRegressor,
    load_model,
    save_model,
)
from sklearn_kt.encoder import load_checkpoint
from sklearn_kt.encoder.modeling import CompositionEncoder
from sklearn_kt.estimators import implicit_base, readouts, selection
from sklearn_kt.estimators.implicit_base import BaseImplicitKT
from sklearn_kt.estimators.readouts import Readout
from sklearn_kt.evaluation import CompositionPool
from sklearn_kt.exceptions import (
    CheckpointError,
    CompositionError,
    CompositionWarning,
    InputError,
    TrainingError,
)
from sklearn_kt.pretraining import CorpusTable

pytestmark = pytest.mark.usefixtures("few_trees")

FORMULAS = [
    f"{metal}{n}{anion}{m}"
    for metal in ("Li", "Na", "Mg", "Ca", "Al", "Fe", "Ti", "Zn")
    for anion in ("O", "S", "Cl")
    for n, m in ((1, 1), (2, 1), (1, 2))
]
# smooth in composition, so that small networks learn it
TARGET = np.array([Composition(f).average_electroneg for f in FORMULAS])
LABELS = np.where(np.median(TARGET) < TARGET, "ionic", "metallic")
QUICK: dict[str, Any] = {
    "checkpoint": None,
    "backbone": "tiny",
    "readout": "head",
    "n_estimators": 2,
    "max_epochs": 5,
    "random_state": 0,
}

# enough to pass the checks' thresholds, and quick
SMALL: dict[str, Any] = {
    "checkpoint": None,
    "backbone": "tiny",
    "readout": "head",
    "n_estimators": 2,
    "max_epochs": 30,
    "batch_size": 64,
    "learning_rate": 1e-2,
}


def regressor(**changes: Any) -> ImplicitKTRegressor:
    return ImplicitKTRegressor(**{**QUICK, **changes})


def classifier(**changes: Any) -> ImplicitKTClassifier:
    return ImplicitKTClassifier(**{**QUICK, **changes})


@pytest.fixture(scope="module")
def fitted() -> ImplicitKTRegressor:
    return regressor().fit(FORMULAS, TARGET)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint") / "encoder"
    return regressor(max_epochs=30).fit(FORMULAS, TARGET).save_pretrained(folder)


@parametrize_with_checks(
    [
        ImplicitKTRegressor(**SMALL),
        ImplicitKTClassifier(**SMALL),
        ImplicitKTRegressor(None, backbone="tiny", readout=Ridge()),
        ImplicitKTClassifier(None, backbone="tiny", readout=LogisticRegression()),
    ]
)
def test_sklearn_contract(estimator: BaseEstimator, check: Any) -> None:
    check(_exact(estimator, check))


class SpelledImplicitRegressor(SpelledRegressor, ImplicitKTRegressor):
    """The real regressor on formulas under the suite's numbers."""


class SpelledImplicitClassifier(SpelledClassifier, ImplicitKTClassifier):
    """The real classifier on formulas under the suite's numbers."""


@parametrize_with_checks(
    [
        SpelledImplicitRegressor(**{**SMALL, "max_epochs": 2}),
        SpelledImplicitClassifier(**{**SMALL, "max_epochs": 2}),
    ]
)
def test_sklearn_contract_on_spelled_numbers(estimator: BaseEstimator, check: Any) -> None:
    check(_exact(estimator, check))


def _exact(estimator: Any, check: Any) -> Any:
    """Give a check that asks for 7 digits something else than networks, which draw at random."""
    if "equivalence" in check.func.__name__ and estimator.readout == "head":
        logistic = make_pipeline(StandardScaler(), LogisticRegression())
        readout = logistic if is_classifier(estimator) else Ridge()
        return estimator.set_params(readout=readout)
    return estimator


@pytest.mark.slow
def test_network_learns_and_generalises() -> None:
    test = np.arange(len(FORMULAS)) % 4 == 0
    X = np.array(FORMULAS, dtype=object)
    model = regressor(max_epochs=60).fit(X[~test], TARGET[~test])
    assert r2_score(TARGET[test], model.predict(X[test])) > 0.8
    classes = classifier(max_epochs=60).fit(X[~test], LABELS[~test])
    assert classes.score(X[test], LABELS[test]) > 0.7


CONTAINERS = {
    "list": list,
    "tuple": tuple,
    "unicode array": np.array,
    "object array": lambda f: np.array(f, dtype=object),
    "column array": lambda f: np.array(f, dtype=object)[:, None],
    "series": pd.Series,
    "string series": lambda f: pd.Series(f, dtype="string"),
    "category series": lambda f: pd.Series(f, dtype="category"),
    "indexed series": lambda f: pd.Series(f, index=np.arange(len(f))[::-1]),
    "polars series": pl.Series,
    "compositions": lambda f: [Composition(x) for x in f],
    "composition series": lambda f: pd.Series([Composition(x) for x in f]),
    "dicts": lambda f: [dict(Composition(x).as_dict()) for x in f],
}


@pytest.mark.parametrize("container", CONTAINERS)
def test_every_container_gives_the_same_prediction(
    fitted: ImplicitKTRegressor, container: str
) -> None:
    X = CONTAINERS[container](FORMULAS[:12])
    assert_allclose(fitted.predict(X), fitted.predict(FORMULAS[:12]), rtol=1e-6)
    assert fitted.n_features_in_ == 1


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_dataframes_keep_their_column_name(frame: type) -> None:
    model = regressor(max_epochs=1).fit(frame({"formula": FORMULAS}), TARGET)
    assert list(model.feature_names_in_) == ["formula"]
    assert model.predict(frame({"formula": FORMULAS[:3]})).shape == (3,)
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame({"other": FORMULAS[:3]}))


def test_token_matrix_is_read_as_its_compositions(fitted: ImplicitKTRegressor) -> None:
    tokens = CompositionTokenizer().transform(FORMULAS)
    pipeline = make_pipeline(CompositionTokenizer(), regressor()).fit(FORMULAS, TARGET)
    expected = fitted.predict(FORMULAS)
    assert_allclose(pipeline.predict(FORMULAS), expected, rtol=1e-6)
    assert_allclose(fitted.predict(tokens), expected, rtol=1e-6)


def test_length_and_order_of_predictions(fitted: ImplicitKTRegressor) -> None:
    X = ["NaCl", "NaCl", "Cu", "LiFePO4", "NaCl"]
    y = fitted.predict(X)
    assert len(y) == 5
    assert_allclose(y[[0, 1, 4]], y[0], rtol=1e-6)
    assert_allclose(fitted.predict(X[::-1]), y[::-1], rtol=1e-5)


def test_chunks_change_nothing(
    fitted: ImplicitKTRegressor, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fitted.predict(FORMULAS)
    monkeypatch.setattr("sklearn_kt.encoder.encoder._CHUNK", 5)
    assert_allclose(fitted.predict(FORMULAS), whole, rtol=1e-5)


def test_bad_rows_raise_in_fit_and_predict(fitted: ImplicitKTRegressor) -> None:
    with pytest.raises(CompositionError, match="Row 1, 'Xx2O3'"):
        fitted.predict(["NaCl", "Xx2O3"])
    with pytest.raises(CompositionError, match="unknown element"):
        regressor(errors="nan").fit(["NaCl", "Xx2O3"], [1.0, 2.0])
    with pytest.raises(InputError, match="0 sample"):
        fitted.predict([])
    with pytest.raises(InputError, match="one column of compositions"):
        fitted.predict(pd.DataFrame({"formula": ["NaCl"], "gap": [8.5]}))
    with pytest.raises(CompositionError, match="keep_default_na=False"):
        fitted.predict(["NaCl", float("nan")])


def test_bad_rows_become_nan_when_asked() -> None:
    model = regressor(errors="nan", max_epochs=1).fit(FORMULAS, TARGET)
    with pytest.warns(CompositionWarning, match="2 of 4 rows") as caught:
        y, std = model.predict(["NaCl", None, "xx", "NaN"], return_std=True)
    assert [warning.category for warning in caught].count(CompositionWarning) == 1
    assert_array_equal(np.isnan(y), [False, True, True, False])
    assert_array_equal(np.isnan(std), [False, True, True, False])
    with pytest.warns(CompositionWarning):
        assert np.isnan(model.predict(["?"])).all()


def test_classifier_marks_bad_rows() -> None:
    model = classifier(errors="nan", max_epochs=1).fit(FORMULAS, LABELS)
    with pytest.warns(CompositionWarning):
        probabilities = model.predict_proba(["NaCl", "??"])
    assert_array_equal(np.isnan(probabilities), [[False, False], [True, True]])
    with pytest.warns(CompositionWarning):
        labels = model.predict(["NaCl", "??"])
    assert labels[0] in LABELS
    assert labels[1] is None


@pytest.mark.parametrize("bad", [np.nan, np.inf, None])
def test_targets_must_be_finite(bad: float | None) -> None:
    y = TARGET.astype(object if bad is None else float)
    y[3] = bad
    with pytest.raises(ValueError, match=r"NaN|infinity|float"):
        regressor().fit(FORMULAS, y)


def test_targets_must_match_rows() -> None:
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        regressor().fit(FORMULAS, TARGET[:-1])
    with pytest.raises(ValueError, match="Unknown label type"):
        classifier().fit(FORMULAS, TARGET)


@pytest.mark.slow
def test_several_targets(fitted: ImplicitKTRegressor) -> None:
    y = np.column_stack([TARGET, 1000 * TARGET])
    model = regressor(readout="auto", max_epochs=20).fit(FORMULAS, y)
    mean, std = model.predict(FORMULAS, return_std=True)
    assert mean.shape == std.shape == y.shape
    assert r2_score(y, mean) > 0.5
    column = regressor(max_epochs=5).fit(FORMULAS, TARGET[:, None]).predict(FORMULAS)
    assert_allclose(column[:, 0], fitted.predict(FORMULAS), rtol=1e-5)


def test_uncertainty_is_calibrated() -> None:
    rng = np.random.default_rng(0)
    X = [f"Na{a}Cl{b}" for a, b in zip(*rng.uniform(0.1, 2, (2, 600)).round(3), strict=True)]
    share = np.array([Composition(f).get_atomic_fraction("Na") for f in X])
    # noise that grows with the share of sodium
    y = 10 * share + rng.normal(size=600) * (0.1 + 2 * share)
    model = regressor(readout="fast").fit(X[:400], y[:400])
    mean, std = model.predict(X[400:], return_std=True)
    assert 0.6 < np.mean(((y[400:] - mean) / std) ** 2) < 1.7
    assert std[share[400:] > 0.7].mean() > 2 * std[share[400:] < 0.2].mean()
    for coverage in (0.5, 0.9):
        low, high = model.predict_interval(X[400:], coverage).T
        assert_allclose((low + high) / 2, mean)
        assert abs(np.mean((low < y[400:]) & (y[400:] < high)) - coverage) < 0.08


def test_uncertainty_of_several_targets_and_bad_rows() -> None:
    y = np.column_stack([TARGET, -100 * TARGET])
    model = regressor(errors="nan").fit(FORMULAS, y)
    with pytest.warns(CompositionWarning):
        intervals = model.predict_interval(["NaCl", "xx"])
    assert intervals.shape == (2, 2, 2)
    assert np.isfinite(intervals[0]).all()
    assert np.isnan(intervals[1]).all()
    assert (intervals[0, :, 0] < intervals[0, :, 1]).all()


def test_uncertainty_needs_inner_folds(fitted: ImplicitKTRegressor) -> None:
    with pytest.raises(InputError, match="'auto', 'fast' or 'head'"):
        regressor(readout=Ridge()).fit(FORMULAS, TARGET).predict(FORMULAS, return_std=True)
    with pytest.raises(InputError, match="at least 12 rows"):
        regressor().fit(FORMULAS[:5], TARGET[:5]).predict_interval(FORMULAS)
    with pytest.raises(InputError, match="coverage"):
        fitted.predict_interval(FORMULAS, 90)


def test_readout_equals_embedder_in_a_pipeline(checkpoint: Path) -> None:
    trees = ExtraTreesRegressor(20, random_state=0)
    model = ImplicitKTRegressor(checkpoint, readout=trees).fit(FORMULAS, TARGET)
    pipeline = make_pipeline(CompositionEmbedder(checkpoint), clone(trees)).fit(FORMULAS, TARGET)
    assert model.readout_weights_ == {"estimator": 1.0}
    assert model.nets_ == []
    new = ["SrO", "KCl", "Fe0.5Ni0.5"]
    # the readout's targets are scaled and scaled back
    assert_allclose(model.predict(new), pipeline.predict(new), rtol=1e-12)


@pytest.mark.slow
def test_auto_takes_what_wins_on_inner_folds() -> None:
    settings: dict[str, Any] = {"readout": "auto", "n_estimators": 2, "max_epochs": 1}
    model = regressor(**settings, learning_rate=1e-6).fit(FORMULAS, TARGET)
    # networks that have learned nothing: trees win, and no network is kept
    assert set(model.readout_weights_) <= {"trees", "fraction_trees"}
    assert model.nets_ == []
    scores = model.readout_scores_
    assert "network" not in scores
    assert scores["blend"] <= scores["trees"]


def test_large_tables_have_few_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    settings: dict[str, Any] = {"n_estimators": "auto", "max_epochs": 1}
    assert len(regressor(**settings).fit(FORMULAS, TARGET).nets_) == 4
    monkeypatch.setattr(implicit_base, "_MANY_ROWS", len(FORMULAS))
    assert len(regressor(**settings).fit(FORMULAS, TARGET).nets_) == 2


def test_readouts_are_the_same_whatever_the_number_of_networks() -> None:
    fits = [regressor(readout="fast", n_estimators=n).fit(FORMULAS, TARGET) for n in ("auto", 1, 5)]
    for model in fits[1:]:
        assert_array_equal(model.predict(["NaCl", "MgO"]), fits[0].predict(["NaCl", "MgO"]))


def test_fast_trains_no_network(checkpoint: Path) -> None:
    model = ImplicitKTRegressor(checkpoint, readout="fast", random_state=0).fit(FORMULAS, TARGET)
    assert model.nets_ == []
    assert "network" not in model.readout_scores_
    assert set(model.readout_scores_) == {"transfer_trees", "trees", "fraction_trees", "blend"}
    assert r2_score(TARGET, model.predict(FORMULAS)) > 0.8
    few = ImplicitKTRegressor(None, readout="fast", random_state=0).fit(FORMULAS[:9], TARGET[:9])
    assert few.readout_weights_ == {"trees": 1.0}


@pytest.mark.slow
def test_auto_never_sees_more_than_the_given_rows() -> None:
    # the choice is a function of X and y alone: shuffled foreign rows change nothing
    first = regressor(readout="auto", max_epochs=3).fit(FORMULAS, TARGET)
    again = regressor(readout="auto", max_epochs=3).fit(FORMULAS, TARGET)
    assert first.readout_scores_ == again.readout_scores_


def test_a_handful_of_rows_is_left_to_the_best_guess() -> None:
    model = regressor(readout="auto").fit(FORMULAS[:5], TARGET[:5])
    assert model.readout_weights_ == {"trees": 1.0}
    assert model.nets_ == []
    head = regressor(readout="head").fit(FORMULAS[:5], TARGET[:5])
    assert head.readout_weights_ == {"network": 1.0}


def test_few_rows_say_little_of_which_model_is_best(monkeypatch: pytest.MonkeyPatch) -> None:
    def constants(*args: Any, **kwargs: Any) -> dict[str, Readout]:
        numbers = {"guess": 9.0, "better": 0.0}
        return {
            name: Readout(("fractions",), DummyRegressor(strategy="constant", constant=number))
            for name, number in numbers.items()
        }

    monkeypatch.setattr(implicit_base, "default_readouts", constants)
    # all rows are judged; those of one composition count once
    X, y = FORMULAS[:40] * 3, np.tile(TARGET[:40], 3)
    model = ImplicitKTRegressor(None, readout="fast").fit(X, y)
    assert model.readout_weights_ == {"better": pytest.approx(0.4), "guess": pytest.approx(0.6)}
    assert model.n_held_out_ == 120


@pytest.mark.parametrize("n", [12, 15])
def test_twelve_rows_are_enough_to_judge(n: int) -> None:
    quick = {"max_epochs": 2, "n_estimators": 4}
    model = regressor(readout="auto", **quick).fit(FORMULAS[:n], TARGET[:n])
    assert model.n_held_out_ == n
    assert set(model.readout_scores_) >= {"trees", "blend"}
    assert (np.ptp(model.predict_interval(FORMULAS[:3]), axis=1) > 0).all()
    # each network does without a fold, and more networks than folds go round
    head = regressor(readout="head", **quick).fit(FORMULAS[:n], TARGET[:n])
    assert len(head.nets_) == 4
    assert head.n_held_out_ == n


def test_without_networks_few_rows_are_all_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(implicit_base, "_WORTH", 1.0)
    model = regressor(readout="auto", max_epochs=2).fit(FORMULAS, TARGET)
    assert model.nets_ == []
    assert model.n_held_out_ == len(FORMULAS)
    monkeypatch.setattr(implicit_base, "TRUSTED", 10)
    enough = regressor(readout="auto", max_epochs=2).fit(FORMULAS, TARGET)
    assert enough.n_held_out_ < len(FORMULAS)


@pytest.mark.slow
@pytest.mark.parametrize("n_estimators", [1, 3])
def test_blend_with_any_number_of_networks(n_estimators: int) -> None:
    model = regressor(readout="auto", n_estimators=n_estimators, max_epochs=60)
    model.fit(FORMULAS, TARGET)
    assert sum(model.readout_weights_.values()) == pytest.approx(1)
    assert model.readout_weights_["network"] > 0
    assert len(model.nets_) == n_estimators
    # which has a part for want of rows
    assert model.readout_scores_["blend"] < model.readout_scores_["trees"]
    assert r2_score(TARGET, model.predict(FORMULAS)) > 0.8


@pytest.mark.slow
def test_classifier_readouts(checkpoint: Path) -> None:
    for readout in ("auto", "fast"):
        model = ImplicitKTClassifier(
            checkpoint, readout=readout, n_estimators=2, max_epochs=10, random_state=0
        ).fit(FORMULAS, LABELS)
        probabilities = model.predict_proba(FORMULAS)
        assert_allclose(probabilities.sum(axis=1), 1)
        assert model.score(FORMULAS, LABELS) > 0.8
        assert {"fraction_trees", "transfer_trees"} <= set(model.readout_scores_)
        assert ("boosting" in model.readout_scores_) == (readout == "auto")
    with pytest.raises(ValueError, match="predict_proba"):
        classifier(readout=Ridge()).fit(FORMULAS, LABELS)


def test_a_readout_keeps_its_decisions() -> None:
    labels = np.where(np.quantile(TARGET, 0.5) < TARGET, "b", "a")
    logistic = make_pipeline(StandardScaler(), LogisticRegression())
    bold = FixedThresholdClassifier(logistic, threshold=0.01, pos_label="b")
    model = ImplicitKTClassifier(readout=bold, errors="nan").fit(FORMULAS, labels)
    probability = model.predict_proba(FORMULAS)[:, 1]
    expected = np.where(probability >= 0.01, "b", "a")
    assert (expected != np.where(probability > 0.5, "b", "a")).any()
    assert model.predict(FORMULAS).tolist() == expected.tolist()
    assert model.predict(FORMULAS).dtype == labels.dtype
    with pytest.warns(CompositionWarning):
        assert model.predict([FORMULAS[0], "no"]).tolist() == [expected[0], None]
    # weights multiply probabilities, on which the readout has not decided
    weighted = clone(model).set_params(class_weight={"a": 1, "b": 3}).fit(FORMULAS, labels)
    probabilities = weighted.predict_proba(FORMULAS)
    assert (weighted.predict(FORMULAS) == weighted.classes_[probabilities.argmax(axis=1)]).all()


@pytest.mark.slow
def test_class_weights_multiply_probabilities() -> None:
    labels = np.where(np.quantile(TARGET, 0.2) < TARGET, "many", "few")
    plain = ImplicitKTClassifier(readout="fast", random_state=0).fit(FORMULAS, labels)
    n = readouts._N_TREES["fast"]
    votes = ((n + 1) * plain.predict_proba(FORMULAS) - 1 / 2) / n
    expected = votes / [(labels == c).mean() for c in plain.classes_]
    expected /= expected.sum(axis=1, keepdims=True)
    expected = (n * expected + 1 / 2) / (n + 1)
    for weights in ("balanced", {c: 1 / (labels == c).mean() for c in plain.classes_}):
        model = ImplicitKTClassifier(readout="fast", class_weight=weights, random_state=0)
        probabilities = model.fit(FORMULAS, labels).predict_proba(FORMULAS)
        assert_allclose(probabilities, expected)
        assert (model.predict(FORMULAS) == plain.classes_[probabilities.argmax(axis=1)]).all()
    with pytest.raises(ValueError, match=r"few.*many.*not in class_weight"):
        ImplicitKTClassifier(readout="fast", class_weight={"other": 2}).fit(FORMULAS, labels)


def test_more_than_two_classes_and_any_labels() -> None:
    y = np.digitize(TARGET, np.quantile(TARGET, [0.3, 0.6])) * 10
    model = classifier(max_epochs=30).fit(FORMULAS, y)
    assert list(model.classes_) == [0, 10, 20]
    assert model.predict_proba(FORMULAS).shape == (len(FORMULAS), 3)
    booleans = classifier(max_epochs=5).fit(FORMULAS, LABELS == "ionic")
    assert booleans.predict(FORMULAS).dtype == bool


def test_checkpoint_is_where_training_starts(checkpoint: Path) -> None:
    warm = ImplicitKTRegressor(checkpoint, readout="head", n_estimators=1, max_epochs=3)
    cold = regressor(n_estimators=1, max_epochs=3)
    warm.set_params(random_state=0).fit(FORMULAS, TARGET)
    cold.fit(FORMULAS, TARGET)
    error = [np.abs(model.predict(FORMULAS) - TARGET).mean() for model in (warm, cold)]
    assert error[0] < error[1]


def test_networks_leave_lower_blocks_as_they_are(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = []
    embed = CompositionEncoder._embed

    def counted(self: CompositionEncoder, *inputs: Any) -> Any:
        passes.append(self.training)
        return embed(self, *inputs)

    monkeypatch.setattr(CompositionEncoder, "_embed", counted)
    settings: dict[str, Any] = {**QUICK, "checkpoint": checkpoint, "backbone": None}
    model = ImplicitKTRegressor(**settings, frozen_blocks=1).fit(FORMULAS, TARGET)
    # run once for all rows, and where networks predict
    assert not any(passes)
    start = load_checkpoint(checkpoint)[1]
    for net in model.nets_:
        assert _moved(net, start) == {"blocks.1."}
    everything = ImplicitKTRegressor(**settings, frozen_blocks=0).fit(FORMULAS, TARGET)
    assert any(passes)
    for net in everything.nets_:
        assert _moved(net, start) == {"tokens.", "amounts.", "blocks.0.", "blocks.1."}
    head = ImplicitKTRegressor(**settings, frozen_blocks=2)
    assert head.fit(FORMULAS, TARGET).predict(["NaCl"]).shape == (1,)


def test_every_other_network_trains_all_blocks(checkpoint: Path) -> None:
    settings = {**QUICK, "n_estimators": 4, "checkpoint": checkpoint, "backbone": None}
    model = ImplicitKTRegressor(**settings).fit(FORMULAS, TARGET)
    start = load_checkpoint(checkpoint)[1]
    frozen = [("tokens." not in _moved(net, start)) for net in model.nets_]
    assert frozen == [True, False, True, False]


def _moved(net: Any, start: dict[str, torch.Tensor]) -> set[str]:
    """Parts of the backbone that training has changed."""
    found = net.module_.backbone.state_dict()
    moved = [key for key, value in found.items() if not torch.equal(value, start[key])]
    parts = ("tokens.", "amounts.", "blocks.0.", "blocks.1.")
    return {part for part in parts if any(key.startswith(part) for key in moved)}


@pytest.mark.parametrize(("pretrained", "blocks"), [(True, 2), (False, 0)])
def test_only_pretrained_blocks_are_frozen(checkpoint: Path, pretrained: bool, blocks: int) -> None:
    begin = {"checkpoint": checkpoint, "backbone": None} if pretrained else {}
    model = ImplicitKTRegressor(**{**QUICK, **begin}, frozen_blocks=blocks + 1)
    with pytest.raises(InputError, match=f"start from {blocks} pretrained blocks"):
        model.fit(FORMULAS, TARGET)


@pytest.mark.parametrize("kind", [ImplicitKTRegressor, ImplicitKTClassifier])
def test_networks_that_add_nothing_are_not_trained(
    monkeypatch: pytest.MonkeyPatch, kind: type[BaseImplicitKT]
) -> None:
    y = TARGET if kind is ImplicitKTRegressor else LABELS
    model = kind(**{**QUICK, "readout": "auto", "n_estimators": 4})

    def fitted(worth: float, scouts: int = 2) -> Any:
        monkeypatch.setattr(implicit_base, "_WORTH", worth)
        monkeypatch.setattr(implicit_base, "_SCOUTS", scouts)
        return clone(model).fit(FORMULAS, y)

    # no error gets smaller by all of it
    without = fitted(1.0)
    assert without.nets_ == []
    assert without.history_ == []
    assert "network" not in without.readout_scores_
    # scouts and the others are the networks that there would be without them
    found, expected = fitted(-9.0), fitted(-9.0, scouts=4)
    assert found.readout_scores_ == expected.readout_scores_
    assert found.readout_weights_ == expected.readout_weights_
    assert len(found.nets_) == len(expected.nets_)
    assert_array_equal(found.predict(FORMULAS), expected.predict(FORMULAS))


def test_large_tables_weigh_models_on_few_folds(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.arange(10_000)
    for size, folds in ((100, 5), (900, 3), (1_000, 2), (10_000, 2)):
        found = implicit_base._enough([(rows, rows[:size])] * 5)
        assert len(found) == folds
    model = ImplicitKTRegressor(**{**QUICK, "readout": "auto", "n_estimators": 4})
    monkeypatch.setattr(implicit_base, "_WORTH", -9.0)
    all_of_them = clone(model).fit(FORMULAS, TARGET)
    monkeypatch.setattr(implicit_base, "_JUDGED_ROWS", 5)
    few = clone(model).fit(FORMULAS, TARGET)
    assert 14 <= few.n_held_out_ <= 16 < 28 <= all_of_them.n_held_out_
    assert set(few.readout_scores_) >= {"network", "trees", "blend"}
    assert few.predict(FORMULAS).shape == TARGET.shape


def test_forests_are_judged_by_fewer_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readouts, "_N_TREES", {"auto": 6, "fast": 3})
    column = TARGET[:, None]
    for fast, trees in ((False, [6, 3]), (True, [3, 3])):
        found = readouts.default_readouts(("columns",), 99, classification=False, fast=fast)
        models = [found["trees"].fitted(column, column, 0, inner=inner) for inner in (False, True)]
        assert [model.n_estimators for model in models] == trees


def test_default_is_the_bundled_checkpoint() -> None:
    default = ImplicitKTRegressor(readout="fast", random_state=0).fit(FORMULAS, TARGET)
    assert default.checkpoint == "default"
    assert "band_gap_mp" in default.encoder_.property_names
    # too few to tell seen compositions from others
    assert default.pool_keys_ is None
    assert default.new_readout_weights_ is default.readout_weights_


def _constants(*args: Any, **kwargs: Any) -> dict[str, Readout]:
    return {
        name: Readout(("fractions",), DummyRegressor(strategy="constant", constant=value))
        for name, value in (("high", 1.0), ("low", -1.0))
    }


def test_new_compositions_have_weights_of_their_own(
    monkeypatch: pytest.MonkeyPatch, checkpoint: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr(implicit_base, "_MIN_SEEN", len(FORMULAS))
    monkeypatch.setattr(selection, "TRUSTED", len(FORMULAS))
    monkeypatch.setattr(implicit_base, "default_readouts", _constants)
    new = [f"{formula}Og{0.1 + n / 100:.2f}" for n, formula in enumerate(FORMULAS)]
    X, y = [*FORMULAS, *new], [*TARGET + 9, *TARGET]
    folder = tmp_path / "seen"
    shutil.copytree(checkpoint, folder)
    CompositionPool.from_tables([CorpusTable(FORMULAS)]).save(folder / "pool.npz")
    fit = ImplicitKTRegressor(folder, readout="fast", random_state=0).fit
    model = fit(X, y)
    assert model.readout_weights_ == {"high": 1.0}
    assert model.new_readout_weights_ == {"low": 1.0}
    seen, unseen = model.predict(["MgO", "MgOOg0.5"])
    assert seen - unseen > 6
    # with traces it fades, whatever they are of; a new one stays new
    almost, between, new_still = model.predict(["MgOOg1e-7", "MgO0.999Og0.001", "MgOOg0.5Ts0.001"])
    assert almost == pytest.approx(seen, abs=1e-3)
    assert between == pytest.approx((seen + unseen) / 2, abs=1e-2)
    assert new_still == unseen
    # as precise for one as for the other
    assert np.ptp(model.predict_interval(["MgO"])) < 6
    assert "new to pretraining" in model._repr_html_()
    for again in (pickle.loads(pickle.dumps(model)), _kept(model, tmp_path / "kept")):
        assert again.predict(["MgO", "MgOOg0.5"]).tolist() == [seen, unseen]
    # too few of a kind
    for fitted in (fit(X[1:], y[1:]), fit(X[:-1], y[:-1])):
        assert fitted.pool_keys_ is None
        assert fitted.new_readout_weights_ is fitted.readout_weights_
    (folder / "pool.npz").unlink()
    assert fit(X, y).pool_keys_ is None


def _kept(model: ImplicitKTRegressor, path: Path) -> Any:
    save_model(model, path)
    return load_model(path)


@pytest.mark.slow
def test_bundled_checkpoint_knows_chemistry() -> None:
    X, test = np.array(FORMULAS, dtype=object), np.arange(len(FORMULAS)) % 3 == 0
    errors = {}
    for checkpoint in ("default", None):
        model = ImplicitKTRegressor(
            checkpoint, readout="head", n_estimators=1, max_epochs=10, random_state=0
        ).fit(X[~test], TARGET[~test])
        errors[checkpoint] = np.abs(model.predict(X[test]) - TARGET[test]).mean()
    assert errors["default"] < 0.6 * errors[None]


def test_checkpoint_faults(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="pass checkpoint=None"):
        ImplicitKTRegressor(checkpoint, backbone="tiny").fit(FORMULAS, TARGET)
    with pytest.warns(CompositionWarning, match="has no part in this model"):
        ImplicitKTRegressor(checkpoint, readout=Ridge()).fit(np.eye(8), np.arange(8.0))
    with pytest.raises(InputError, match="numeric matrix"):
        ImplicitKTRegressor(None, backbone="bert").fit(np.eye(8), np.arange(8.0))
    with pytest.raises(CheckpointError, match="neither a bundled name"):
        ImplicitKTRegressor("no-such").fit(FORMULAS, TARGET)
    copy = shutil.copytree(checkpoint, tmp_path / "copy")
    model = ImplicitKTRegressor(copy, readout="head", n_estimators=1, max_epochs=1)
    model.fit(FORMULAS, TARGET)
    expected = model.predict(FORMULAS)
    shutil.rmtree(copy)
    assert_array_equal(pickle.loads(pickle.dumps(model)).predict(FORMULAS), expected)
    with pytest.raises(CheckpointError, match="neither a bundled name"):
        clone(model).fit(FORMULAS, TARGET)
    with pytest.raises(InputError, match="include no network"):
        regressor(readout=Ridge()).fit(FORMULAS, TARGET).save_pretrained(tmp_path / "x")


@pytest.mark.slow
def test_hugging_face_backbone(minilm_dir: Path, untouched_globals: None) -> None:
    X, y = FORMULAS[::6], TARGET[::6]
    model = ImplicitKTRegressor(
        None, backbone=minilm_dir, readout="head", n_estimators=1, max_epochs=2, random_state=0
    ).fit(X, y)
    expected = model.predict(X)
    assert np.isfinite(expected).all()
    again = pickle.loads(pickle.dumps(model))
    assert_allclose(again.predict(X), expected, rtol=1e-6)
    embedder = CompositionEmbedder(None, backbone=minilm_dir, blocks=["embedding"])
    embedded = embedder.fit_transform(["Co", "CO"])
    assert np.abs(embedded[0] - embedded[1]).max() > 0.01


def test_fitted_state_names_no_folder(minilm_dir: Path) -> None:
    model = CompositionEmbedder(None, backbone=minilm_dir).fit(["NaCl"])
    model.backbone = None
    assert str(minilm_dir).encode() not in pickle.dumps(model)


def test_meta_estimators() -> None:
    X = pd.DataFrame({"formula": FORMULAS})
    quick = regressor(n_estimators=1, max_epochs=2)
    for model in (
        BaggingRegressor(quick, n_estimators=2, random_state=0),
        StackingRegressor(
            [("kt", quick), ("ridge", make_pipeline(CompositionTokenizer("fraction"), Ridge()))],
            cv=2,
        ),
        TransformedTargetRegressor(quick, func=np.log, inverse_func=np.exp),
        make_pipeline(ColumnTransformer([("x", CompositionEmbedder(None), "formula")]), Ridge()),
    ):
        assert np.isfinite(model.fit(X, TARGET).predict(X)).all()
    assert np.isfinite(cross_val_score(quick, FORMULAS, TARGET, cv=2)).all()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:A worker stopped while:UserWarning")
def test_grid_search_in_two_processes() -> None:
    grid = {"learning_rate": np.logspace(-3, -2, 2), "max_epochs": [1, 2]}
    search = GridSearchCV(regressor(n_estimators=1), grid, cv=2, n_jobs=2)
    search.fit(np.array(FORMULAS, dtype=object)[:, None], TARGET)
    assert search.best_params_["max_epochs"] in (1, 2)
    parallel = regressor(n_jobs=2).fit(FORMULAS, TARGET)
    assert_allclose(
        parallel.predict(FORMULAS), regressor().fit(FORMULAS, TARGET).predict(FORMULAS), rtol=1e-4
    )


def test_persistence(fitted: ImplicitKTRegressor, tmp_path: Path) -> None:
    expected = fitted.predict(FORMULAS)
    assert_array_equal(pickle.loads(pickle.dumps(fitted)).predict(FORMULAS), expected)
    joblib.dump(fitted, tmp_path / "model.joblib")
    assert_array_equal(joblib.load(tmp_path / "model.joblib").predict(FORMULAS), expected)
    assert len(pickle.dumps(fitted)) < 2_000_000
    assert not hasattr(clone(fitted), "nets_")


def test_same_seed_same_predictions(untouched_globals: None) -> None:
    first, again, other = (
        regressor(random_state=seed).fit(FORMULAS, TARGET).predict(FORMULAS) for seed in (0, 0, 1)
    )
    assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-6


@pytest.mark.slow
def test_numeric_rows_are_a_documented_input() -> None:
    X = np.random.default_rng(0).normal(size=(80, 5)) * [1, 10, 100, 1e6, 1e-6]
    y = (X / X.std(axis=0)).sum(axis=1)
    model = regressor(max_epochs=100, learning_rate=5e-3).fit(X, y)
    assert model.input_kind_ == "features"
    assert r2_score(y, model.predict(X)) > 0.8
    with pytest.raises(InputError, match="fitted on features, but X holds compositions"):
        model.predict(FORMULAS)
    with pytest.raises(InputError, match="fitted on compositions, but X holds features"):
        regressor(max_epochs=1).fit(FORMULAS, TARGET).predict(X)


def test_unfitted_and_bad_parameters() -> None:
    for model in (regressor(), classifier(), CompositionEmbedder()):
        with pytest.raises(NotFittedError):
            getattr(model, "predict", getattr(model, "transform", None))(FORMULAS)
    for changes in ({"n_estimators": 0}, {"readout": "magic"}, {"loss": "log"}, {"errors": "drop"}):
        with pytest.raises(ValueError, match=next(iter(changes))):
            regressor(**changes).fit(FORMULAS, TARGET)
    with pytest.raises(InputError, match="device='abacus'"):
        regressor(device="abacus").fit(FORMULAS, TARGET)


def test_diverging_training_is_reported() -> None:
    with pytest.raises(TrainingError, match="learning_rate"):
        regressor(learning_rate=1e30, max_epochs=50).fit(FORMULAS, TARGET)


def test_interrupt_reaches_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sklearn_kt.encoder.training._Batches.__iter__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        regressor(early_stopping=True).fit(FORMULAS, TARGET)


def test_progress_bar_only_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    regressor(max_epochs=2).fit(FORMULAS, TARGET)
    assert capsys.readouterr() == ("", "")
    regressor(max_epochs=2, verbose=1).fit(FORMULAS, TARGET)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "network 2/2" in captured.err
    assert "loss=" in captured.err


def test_constant_target() -> None:
    model = regressor(readout="auto").fit(FORMULAS, np.full(len(FORMULAS), 3.0))
    assert_allclose(model.predict(FORMULAS), 3.0, atol=0.5)


def test_history_holds_the_training_curve(fitted: ImplicitKTRegressor) -> None:
    assert len(fitted.history_) == 2
    assert [row["epoch"] for row in fitted.history_[0]] == [1, 2, 3, 4, 5]
    stopped = regressor(early_stopping=True).fit(FORMULAS, TARGET)
    assert "valid_loss" in stopped.history_[0][0]


def test_early_stopping_is_off_for_tiny_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    model = regressor(early_stopping="auto", max_epochs=1)
    assert "valid_loss" not in model.fit(FORMULAS, TARGET).history_[0][0]
    monkeypatch.setattr("sklearn_kt.estimators.networks._MIN_EARLY_STOPPING_ROWS", 50)
    assert "valid_loss" in model.fit(FORMULAS, TARGET).history_[0][0]


def test_both_estimators_share_their_parameters() -> None:
    shared = set(BaseImplicitKT._parameter_constraints)
    assert set(ImplicitKTRegressor().get_params()) == shared | {"loss"}
    assert set(ImplicitKTClassifier().get_params()) == shared | {"class_weight"}


@pytest.mark.parametrize("weight", [-1, np.nan, np.inf, "2", None])
def test_class_weights_that_are_none(weight: Any) -> None:
    model = ImplicitKTClassifier(None, readout="fast", class_weight={"a": 1, "b": weight})
    with pytest.raises(InputError, match=r"class 'b' the weight"):
        model.fit([[0.0], [1.0]], ["a", "b"])
    with pytest.raises(InputError, match="adds up to 0"):
        model.set_params(class_weight={"a": 0, "b": 0}).fit([[0.0], [1.0]], ["a", "b"])


@pytest.mark.parametrize("class_weight", [None, "balanced", {0: 1, 1: 1e6, 2: 1}])
def test_forests_are_never_certain(class_weight: Any) -> None:
    X = np.repeat(np.arange(6.0), 4)[:, None]
    y = np.repeat([0, 1, 2], 8)
    model = ImplicitKTClassifier(
        None, readout="fast", class_weight=class_weight, random_state=0
    ).fit(X, y)
    rows = np.linspace(-1, 7, 50)[:, None]
    votes, probabilities = model._probabilities(rows), model.predict_proba(rows)
    assert votes.min() < 1e-9
    # the trees, and one that votes for each class alike
    n = readouts._N_TREES["fast"]
    np.testing.assert_allclose(probabilities, (n * votes + 1 / 3) / (n + 1))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    np.testing.assert_array_equal(model.predict(rows), probabilities.argmax(axis=1))
    np.testing.assert_array_equal(model.predict(rows), votes.argmax(axis=1))


def test_probabilities_of_a_readout_of_ones_own_are_its_own() -> None:
    X, y = [[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1]
    model = ImplicitKTClassifier(None, readout=ExtraTreesClassifier(10)).fit(X, y)
    np.testing.assert_array_equal(model.predict_proba([[-9.0], [9.0]]), np.eye(2))
