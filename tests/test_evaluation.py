"""Cross-validation: honest folds, right scores, every row predicted once."""

from __future__ import annotations

import json
import math
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pymatgen.core import Composition
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.linear_model import BayesianRidge, LogisticRegression, Ridge
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.model_selection import FixedThresholdClassifier, KFold, StratifiedKFold
from sklearn.pipeline import make_pipeline

from sklearn_kt import CompositionTokenizer, ImplicitKTRegressor
from sklearn_kt.compositions import composition_groups
from sklearn_kt.evaluation import (
    METRICS,
    MODELS,
    MagpieFeaturizer,
    cross_validate_models,
    make_folds,
    make_model,
    offers_std,
)
from sklearn_kt.exceptions import (
    CompositionError,
    CompositionWarning,
    InputError,
    PretrainingOverlapWarning,
)

X = [f"{a}{b}" for a in ("Li", "Na", "K", "Rb", "Cs") for b in ("F", "Cl", "Br", "I", "H", "N")]
Y = np.array([Composition(formula).weight for formula in X])
LABELS = np.array(["heavy" if weight > 100 else "light" for weight in Y])


def ridge() -> Any:
    return make_pipeline(CompositionTokenizer("fraction"), Ridge())


def logistic() -> Any:
    return make_pipeline(CompositionTokenizer("fraction"), LogisticRegression())


def regress(models: Any, folds: Any = None, **options: Any) -> Any:
    folds = folds or make_folds(X, Y, task_kind="regression", n_splits=3)
    return cross_validate_models(models, X, Y, folds, task_kind="regression", **options)


def classify(models: Any, y: Any = LABELS, folds: Any = None, **options: Any) -> Any:
    folds = folds or make_folds(X, y, task_kind="classification", n_splits=3)
    return cross_validate_models(models, X, y, folds, task_kind="classification", **options)


# --- Magpie ----------------------------------------------------------------------------------


def test_magpie_keeps_rows_in_order() -> None:
    featurizer = MagpieFeaturizer()
    together = featurizer.transform(X)
    assert together.shape == (30, 132)
    assert np.isfinite(together).all()
    np.testing.assert_array_equal(together[::-1], featurizer.transform(X[::-1]))
    np.testing.assert_array_equal(together[[7]], featurizer.transform([X[7]]))


def test_magpie_agrees_with_matminer() -> None:
    from matminer.featurizers.composition import ElementProperty

    official = ElementProperty.from_preset("magpie", impute_nan=True)
    formulas = ["Fe2O3", "Fe0.62C0.000953Mn0.000521Ni0.192", "Ca(OH)2", "NaN", "Xe"]
    expected = [official.featurize(Composition(formula)) for formula in formulas]
    np.testing.assert_array_equal(MagpieFeaturizer().transform(formulas), expected)
    names = MagpieFeaturizer().get_feature_names_out()
    assert names.tolist() == official.feature_labels()


def test_magpie_imputes_elements_without_data() -> None:
    rows = [{"Og": 1}, {"Lr": 1, "O": 1}, "D2O"]
    assert np.isfinite(MagpieFeaturizer().transform(rows)).all()


def test_magpie_bad_rows() -> None:
    with pytest.raises(CompositionError, match="Row 1, "):
        MagpieFeaturizer().transform(["Fe2O3", "Xx"])
    featurizer = MagpieFeaturizer(errors="nan")
    with pytest.warns(CompositionWarning, match="1 of 3"):
        features = featurizer.transform(["Fe2O3", "Xx", "SiO2"])
    assert np.isnan(features).all(axis=1).tolist() == [False, True, False]
    with pytest.warns(CompositionWarning):
        assert np.isnan(featurizer.transform(["Xx"])).all()
    with pytest.raises(CompositionError):
        featurizer.fit(["Xx"])
    with pytest.raises(InputError, match="empty"):
        featurizer.fit([])


def test_magpie_is_a_transformer() -> None:
    frame = pd.DataFrame({"composition": X})
    featurizer = clone(MagpieFeaturizer()).set_output(transform="pandas")
    features = featurizer.fit_transform(frame)
    assert features.columns[0] == "MagpieData minimum Number"
    assert featurizer.feature_names_in_.tolist() == ["composition"]
    with pytest.raises(ValueError, match="feature names"):
        featurizer.transform(frame.rename(columns={"composition": "formula"}))
    assert not featurizer.__sklearn_tags__().requires_fit


# --- models ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", METRICS)
@pytest.mark.parametrize("name", MODELS)
def test_models_are_built(name: str, kind: Any) -> None:
    model = make_model(name, kind, random_state=7, n_jobs=1)
    clone(model)
    assert model.__sklearn_tags__().estimator_type == kind.replace(
        "regression", "regressor"
    ).replace("classification", "classifier")
    seeds = [v for k, v in model.get_params().items() if k.endswith("random_state")]
    assert 7 in seeds or name == "dummy"
    assert MODELS[name].__doc__


def test_model_names_and_kinds_are_checked() -> None:
    with pytest.raises(InputError, match=r"Unknown model 'rf'.*rf-magpie"):
        make_model("rf", "regression")
    with pytest.raises(InputError, match="task_kind"):
        make_model("dummy", "ranking")  # type: ignore[arg-type]


def test_offers_std() -> None:
    assert offers_std(make_pipeline(CompositionTokenizer("fraction"), BayesianRidge()))
    assert offers_std(ImplicitKTRegressor())
    assert not offers_std(ridge())
    # it would claim to be certain
    assert not offers_std(DummyRegressor())


# --- compositions and folds ------------------------------------------------------------------


def test_folds_of_distinct_compositions_are_scikit_learns() -> None:
    folds = make_folds(X, Y, task_kind="regression", n_splits=4, random_state=5)
    expected = KFold(4, shuffle=True, random_state=5).split(X)
    for fold, (train, test) in zip(folds, expected, strict=True):
        np.testing.assert_array_equal(fold[0], train)
        np.testing.assert_array_equal(fold[1], test)
    folds = make_folds(X, LABELS, task_kind="classification", n_splits=4, random_state=5)
    stratified = StratifiedKFold(4, shuffle=True, random_state=5).split(X, LABELS)
    for fold, (train, _) in zip(folds, stratified, strict=True):
        np.testing.assert_array_equal(fold[0], train)


@pytest.mark.parametrize("kind", METRICS)
def test_folds_never_share_a_composition(kind: Any) -> None:
    rows = [*X, *(formula + "0.5" for formula in X[::3]), *(f"({f})3" for f in X[::2])]
    y = np.arange(len(rows)) % 2
    groups = composition_groups(rows)
    folds = make_folds(rows, y, task_kind=kind, n_splits=4)
    assert sorted(np.concatenate([test for _, test in folds])) == list(range(len(rows)))
    for train, test in folds:
        assert not set(groups[train]) & set(groups[test])
    other = make_folds(rows, y, task_kind=kind, n_splits=4, random_state=1)
    assert any(
        len(a[1]) != len(b[1]) or (a[1] != b[1]).any() for a, b in zip(folds, other, strict=True)
    )


def test_folds_that_cannot_be_made() -> None:
    with pytest.raises(InputError, match="number of distinct compositions, 2; got 3"):
        make_folds(["NaCl", "Na2Cl2", "KCl"], [1, 2, 3], task_kind="regression", n_splits=3)
    with pytest.raises(InputError, match="got 1"):
        make_folds(X, Y, task_kind="regression", n_splits=1)
    y = np.array(["rare"] * 2 + ["common"] * 28)
    for labels in (y, y.astype(object)):
        with pytest.raises(InputError, match="Class 'rare' has 2 rows, fewer than the 3 folds"):
            make_folds(X, labels, task_kind="classification", n_splits=3)
    with pytest.raises(ValueError, match="inconsistent"):
        make_folds(X, Y[:-1], task_kind="regression")


# --- cross-validation ------------------------------------------------------------------------


def test_regression_scores_by_hand() -> None:
    folds = make_folds(X, Y, task_kind="regression", n_splits=3)
    result = regress({"ridge": ridge(), "mean": DummyRegressor()}, folds)
    scores = result.models["ridge"]
    predictions = np.empty(len(X))
    for number, (train, test) in enumerate(folds):
        model = ridge().fit(np.array(X)[train], Y[train])
        predictions[test] = model.predict(np.array(X)[test])
        errors = predictions[test] - Y[test]
        fold = scores.folds[number]
        assert fold["mae"] == pytest.approx(np.abs(errors).mean())
        assert fold["rmse"] == pytest.approx(np.sqrt((errors**2).mean()))
        spread = ((Y[test] - Y[test].mean()) ** 2).sum()
        assert fold["r2"] == pytest.approx(1 - (errors**2).sum() / spread)
        assert fold["n_test"] == len(test)
        assert (result.fold_of_row[test] == number).all()
    np.testing.assert_allclose(scores.predictions, predictions)
    assert scores.mean("mae") == pytest.approx(np.mean([f["mae"] for f in scores.folds]))
    assert scores.spread("mae") == pytest.approx(np.std([f["mae"] for f in scores.folds]))
    assert scores.fit_seconds > 0
    assert scores.predict_rate > 0
    assert scores.std is None
    assert result.n_folds == 3
    assert list(result.models) == ["ridge", "mean"]


def test_classification_scores_by_hand() -> None:
    result = classify({"logistic": logistic()})
    scores = result.models["logistic"]
    assert result.classes.tolist() == ["heavy", "light"]
    assert scores.probabilities.sum(axis=1) == pytest.approx(1)
    assert (scores.predictions == result.classes[scores.probabilities.argmax(axis=1)]).all()
    for number, fold in enumerate(scores.folds):
        test = result.fold_of_row == number
        hit = scores.predictions[test] == LABELS[test]
        recalls = [hit[LABELS[test] == label].mean() for label in result.classes]
        assert fold["accuracy"] == pytest.approx(hit.mean())
        assert fold["balanced_accuracy"] == pytest.approx(np.mean(recalls))
        assert fold["roc_auc"] == pytest.approx(
            roc_auc_score(LABELS[test] == "light", scores.probabilities[test, 1])
        )
        true = (LABELS[test] == "light") & hit
        claimed = (scores.predictions[test] == "light").sum() + (LABELS[test] == "light").sum()
        assert fold["f1"] == pytest.approx(2 * true.sum() / claimed)


@pytest.mark.parametrize(
    "y", [LABELS == "heavy", (LABELS == "heavy").astype(int), LABELS.astype(object)], ids=str
)
def test_any_labels(y: np.ndarray) -> None:
    scores = classify({"logistic": logistic()}, y).models["logistic"]
    assert scores.predictions.dtype == y.dtype
    reference = classify({"logistic": logistic()}).models["logistic"]
    assert scores.mean("balanced_accuracy") == pytest.approx(reference.mean("balanced_accuracy"))


def test_three_classes_one_absent_from_a_training_part() -> None:
    y = np.array(["a", "b"] * 13 + ["c"] * 4)
    rows = np.arange(30)
    # all of "c" in one test part
    folds = [(rows[:20], rows[20:]), (rows[10:], rows[:10]), (np.r_[0:10, 20:30], rows[10:20])]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = classify({"logistic": logistic()}, y, folds)
    scores = result.models["logistic"]
    assert scores.probabilities.shape == (30, 3)
    assert (scores.probabilities[20:, 2] == 0).all()
    assert (scores.probabilities[:10, 2] > 0).all()
    result = classify({"logistic": logistic()}, np.array(["a", "b", "c"] * 10))
    # the columns of the fractions tell the classes apart by their anions
    assert result.models["logistic"].mean("roc_auc") > 0.9


class LabelsOnly(ClassifierMixin, BaseEstimator):
    """A classifier without probabilities."""

    def fit(self, X: Any, y: Any) -> LabelsOnly:
        self.classes_ = np.unique(y)
        return self

    def predict(self, X: Any) -> np.ndarray:
        return np.full(len(X), self.classes_[0])


def test_classifier_without_probabilities() -> None:
    scores = classify({"labels": LabelsOnly()}).models["labels"]
    assert scores.probabilities is None
    assert math.isnan(scores.mean("roc_auc"))
    assert scores.mean("balanced_accuracy") == pytest.approx(0.5)


def test_a_model_is_scored_as_it_decides() -> None:
    cautious = FixedThresholdClassifier(logistic(), threshold=0.9, pos_label="light")
    folds = make_folds(X, LABELS, task_kind="classification", n_splits=3)
    scores = classify({"cautious": cautious}, folds=folds).models["cautious"]
    for train, test in folds:
        fitted = clone(cautious).fit(np.array(X)[train], LABELS[train])
        expected = fitted.predict(np.array(X)[test])
        assert scores.predictions[test].tolist() == expected.tolist()
    most_probable = np.array(["heavy", "light"])[scores.probabilities.argmax(axis=1)]
    assert (scores.predictions != most_probable).any()
    by_hand = [balanced_accuracy_score(LABELS[t], scores.predictions[t]) for _, t in folds]
    assert scores.mean("balanced_accuracy") == pytest.approx(np.mean(by_hand))


def test_all_models_see_the_same_folds_and_formulas() -> None:
    seen: list[tuple] = []

    class Spy(RegressorMixin, BaseEstimator):
        def __init__(self, name: str = "") -> None:
            self.name = name

        def fit(self, X: Any, y: Any) -> Spy:
            seen.append((self.name, tuple(X), tuple(y)))
            return self

        def predict(self, X: Any) -> np.ndarray:
            return np.zeros(len(X))

    regress({"first": Spy("first"), "second": Spy("second")})
    first = [fold[1:] for fold in seen if fold[0] == "first"]
    second = [fold[1:] for fold in seen if fold[0] == "second"]
    assert first == second
    assert len(first) == 3
    assert {formula for fold in first for formula in fold[0]} == set(X)


@pytest.mark.parametrize(
    "rows",
    [
        tuple(X),
        np.array(X),
        np.array(X)[:, None],
        pd.Series(X, index=range(100, 130)),
        pd.DataFrame({"c": X}, index=range(100, 130)),
        [Composition(formula) for formula in X],
    ],
    ids=lambda rows: type(rows).__name__,
)
def test_any_container(rows: Any) -> None:
    folds = make_folds(rows, Y, task_kind="regression", n_splits=3)
    result = cross_validate_models(
        {"ridge": ridge()}, rows, pd.Series(Y), folds, task_kind="regression"
    )
    reference = regress({"ridge": ridge()}).models["ridge"]
    np.testing.assert_allclose(result.models["ridge"].predictions, reference.predictions)


def test_formulas_stay_as_written() -> None:
    rows = ["Ca(OH)2", "Fe₂O₃", "SiO2", "NaN"]
    folds = [(np.array([0, 1]), np.array([2, 3])), (np.array([2, 3]), np.array([0, 1]))]
    result = cross_validate_models(["dummy"], rows, range(4), folds, task_kind="regression")
    assert result.formulas == rows


def test_named_models_are_reproducible() -> None:
    first, second = (regress(["et-fractions"], random_state=3) for _ in range(2))
    np.testing.assert_array_equal(
        first.models["et-fractions"].predictions, second.models["et-fractions"].predictions
    )
    other = regress(["et-fractions"], random_state=4).models["et-fractions"].predictions
    assert (other != first.models["et-fractions"].predictions).any()


def test_predicted_std_is_kept() -> None:
    bayes = make_pipeline(CompositionTokenizer("fraction"), BayesianRidge())
    result = regress({"mean": DummyRegressor(), "bayes": bayes})
    assert result.models["mean"].std is None
    assert (result.models["bayes"].std > 0).all()


def test_implicit_estimator_gives_std() -> None:
    model = ImplicitKTRegressor(
        None, backbone="tiny", n_estimators=2, max_epochs=1, readout="head", random_state=0
    )
    folds = make_folds(X, Y, task_kind="regression", n_splits=2)
    scores = regress({"imkt": model}, folds).models["imkt"]
    assert np.isfinite(scores.predictions).all()
    assert (scores.std > 0).all()


def test_given_estimators_are_not_touched() -> None:
    model = ridge()
    regress({"ridge": model})
    assert not hasattr(model[-1], "coef_")


def test_interrupt_goes_through() -> None:
    class Interrupted(DummyRegressor):
        def fit(self, X: Any, y: Any) -> Interrupted:  # type: ignore[override]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        regress({"interrupted": Interrupted()}, verbose=1)


def test_progress_is_on_stderr(capsys: pytest.CaptureFixture) -> None:
    regress(["dummy"])
    assert capsys.readouterr() == ("", "")
    regress(["dummy"], verbose=1)
    out, err = capsys.readouterr()
    assert out == ""
    assert "dummy, fold 3 of 3: MAE " in err


# --- what is refused -------------------------------------------------------------------------

ROWS = np.arange(30)


@pytest.mark.parametrize(
    ("folds", "message"),
    [
        ([(ROWS, ROWS[:3])], "trains and tests on the same 3 rows, such as row 0"),
        ([(ROWS[:20], ROWS[20:])], "20 rows are in none and 0 in several, such as row 0"),
        (
            [(ROWS[:15], ROWS[15:]), (ROWS[15:20], ROWS[:15]), (ROWS[:5], ROWS[29:])],
            "0 rows are in none and 1 in several, such as row 29",
        ),
        ([(ROWS[:15], ROWS[15:] + 1)], "outside 0 to 29"),
        ([(ROWS[:15] - 1, ROWS[15:])], "outside 0 to 29"),
        ([(ROWS < 15, ROWS >= 15)], "row positions"),
        ([(ROWS[:0], ROWS)], "The train part of fold 0"),
        ([], "No folds"),
    ],
)
def test_bad_folds(folds: list, message: str) -> None:
    with pytest.raises(InputError, match=message):
        cross_validate_models(["dummy"], X, Y, folds, task_kind="regression")


def test_repeated_compositions_across_folds_are_counted() -> None:
    rows = ["NaCl", "Cl2Na2", "KCl", "LiF", "F3Li3", "MgO"]
    folds = [(np.array([1, 2, 5]), np.array([0, 3, 4])), (np.array([0, 3, 4]), np.array([1, 2, 5]))]
    with pytest.warns(CompositionWarning, match="2 of 6 test rows"):
        cross_validate_models(["dummy"], rows, range(6), folds, task_kind="regression")


@pytest.mark.parametrize(
    ("y", "kind", "message"),
    [
        (Y[:-1], "regression", "one target for each of the 30 rows"),
        (np.c_[Y, Y], "regression", "one target for each"),
        (LABELS, "regression", "must be numbers"),
        (np.where(np.arange(30) == 4, np.nan, Y), "regression", "target of row 4 is nan"),
        (np.where(np.arange(30) == 4, np.inf, Y), "regression", "target of row 4 is inf"),
        (Y + 0.5, "classification", "labels of at least two classes"),
        (["a"] * 30, "classification", "All targets are 'a': one class only"),
        (np.array(["a"] * 30, dtype=object), "classification", "All targets are 'a'"),
    ],
)
def test_bad_targets(y: Any, kind: Any, message: str) -> None:
    folds = make_folds(X, Y, task_kind="regression", n_splits=3)
    with pytest.raises(InputError, match=message):
        cross_validate_models(["dummy"], X, y, folds, task_kind=kind)


def test_bad_models_and_rows() -> None:
    with pytest.raises(InputError, match="Unknown model"):
        regress(["dummy", "rf"])
    with pytest.raises(InputError, match="list of names"):
        regress("dummy")
    with pytest.raises(InputError, match="No model"):
        regress([])
    with pytest.raises(CompositionError, match="Row 2, "):
        cross_validate_models(["dummy"], ["Fe", "Co", "xx"], [1, 2, 3], [], task_kind="regression")

    class TwoColumns(DummyRegressor):
        def predict(self, X: Any) -> np.ndarray:  # type: ignore[override]
            return np.zeros((len(X), 2))

    with pytest.raises(InputError, match=r"wide gave predictions of shape \(10, 2\)"):
        regress({"wide": TwoColumns()})


# --- what is kept ----------------------------------------------------------------------------


def test_to_frame() -> None:
    frame = regress({"ridge": ridge(), "mean": DummyRegressor()}).to_frame()
    assert frame.columns.tolist() == [
        *("model", "fold", "mae", "rmse", "r2"),
        *("fit_seconds", "predict_seconds", "n_test"),
    ]
    assert frame["model"].tolist() == ["ridge"] * 3 + ["mean"] * 3
    assert frame["fold"].tolist() == [0, 1, 2] * 2


@pytest.mark.parametrize("kind", METRICS)
def test_to_dict_is_json(kind: str) -> None:
    if kind == "regression":
        result = regress(["dummy", "et-fractions"], random_state=11)
    else:
        result = classify({"dummy": DummyClassifier(), "labels": LabelsOnly()}, random_state=11)
    content = result.to_dict(dataset={"name": "halides"}, command="sklearn-kt evaluate")
    read = json.loads(json.dumps(content, allow_nan=False))
    assert read == content
    assert read["dataset"] == {"name": "halides"}
    assert read["command"] == "sklearn-kt evaluate"
    assert read["random_state"] == 11
    assert read["n_samples"] == 30
    assert read["rows"]["formula"] == X
    assert read["rows"]["fold"] == result.fold_of_row.tolist()
    assert len(read["rows"]["predictions"]["dummy"]["prediction"]) == 30
    assert {"python", "scikit-learn", "torch", "sklearn_kt"} <= set(read["versions"])
    assert "UTC" in read["date"]
    for name, scores in result.models.items():
        for metric in METRICS[kind]:
            mean = scores.mean(metric)
            expected = None if math.isnan(mean) else pytest.approx(mean)
            assert read["models"][name]["mean"][metric] == expected
    if kind == "classification":
        assert read["models"]["labels"]["mean"]["roc_auc"] is None
        assert read["classes"] == ["heavy", "light"]


def test_real_folds_keep_compositions_apart(data_dir: Any) -> None:
    from sklearn_kt.datasets import load_matbench

    steels = load_matbench("matbench_steels", data_dir / "matbench")
    forest = make_pipeline(
        CompositionTokenizer("fraction"), ExtraTreesRegressor(30, random_state=0)
    )
    result = cross_validate_models(
        {"trees": forest}, steels.data, steels.target, steels.folds, task_kind="regression"
    )
    # extra-trees on fractions are known to reach about 80 MPa here
    assert 70 < result.models["trees"].mean("mae") < 95
    with pytest.warns(PretrainingOverlapWarning, match="phonons"):
        phonons = load_matbench("matbench_phonons", data_dir / "matbench")
    with pytest.warns(CompositionWarning, match=r"\d+ of 1265 test rows"):
        cross_validate_models(
            ["dummy"], phonons.data, phonons.target, phonons.folds, task_kind="regression"
        )
