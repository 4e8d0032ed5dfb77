"""Running on fixed splits: only training rows are seen, and a stopped run goes on."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from joblib import parallel_config
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.linear_model import BayesianRidge, LogisticRegression, Ridge
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline

from sklearn_kt import CompositionTokenizer, ImplicitKTRegressor
from sklearn_kt.benchmarking import (
    SCORES,
    BenchmarkResult,
    BenchmarkTask,
    FoldRecord,
    read_records,
    run_tasks,
    score_predictions,
)
from sklearn_kt.exceptions import DatasetError, InputError

FORMULAS = np.array(
    [f"{a}{b}" for a in ("Li", "Na", "K", "Rb", "Cs") for b in ("F", "Cl", "Br", "I")], dtype=object
)
IDS = np.array([f"row-{number}" for number in range(20)], dtype=object)
Y = np.linspace(-1.0, 4.0, 20) ** 2
FOLDS = {k: (np.flatnonzero(np.arange(20) % 4 != k), np.arange(k, 20, 4)) for k in range(4)}


def table(kind: Any = "regression", **changes: Any) -> BenchmarkTask:
    y = Y if kind == "regression" else Y > 3
    fields: dict[str, Any] = {"formulas": FORMULAS, "y": y, "ids": IDS, "folds": FOLDS}
    return BenchmarkTask(f"small_{kind}", kind, **(fields | changes))


def fractions(last: Any) -> Any:
    return make_pipeline(CompositionTokenizer("fraction"), last)


class Spy(RegressorMixin, BaseEstimator):
    """Remembers what it was shown; the last fold of a run can be made to fail."""

    seen: ClassVar[list[tuple[list, list, list]]] = []
    fail_after: ClassVar[int] = 99

    def __init__(self, shift: float = 0.0, n_jobs: int | None = None) -> None:
        self.shift = shift
        self.n_jobs = n_jobs

    def fit(self, X: Any, y: Any) -> Spy:
        if len(self.seen) >= self.fail_after:
            raise KeyboardInterrupt
        self.shown_ = list(X), list(y)
        return self

    def predict(self, X: Any) -> np.ndarray:
        self.seen.append((*self.shown_, list(X)))
        return np.full(len(X), np.mean(self.shown_[1]) + self.shift)


@pytest.fixture(autouse=True)
def _fresh_spy() -> Iterator[None]:
    Spy.seen.clear()
    Spy.fail_after = 99
    yield
    Spy.seen.clear()


# --- what a model sees -----------------------------------------------------------------------


def test_models_see_training_rows_only() -> None:
    records = run_tasks({"spy": Spy()}, [table()])
    assert [record.fold for record in records] == [0, 1, 2, 3]
    for record, (X_train, y_train, X_test) in zip(records, Spy.seen, strict=True):
        train, test = FOLDS[record.fold]
        assert X_train == FORMULAS[train].tolist()
        assert y_train == Y[train].tolist()
        assert X_test == FORMULAS[test].tolist()
        np.testing.assert_array_equal(record.predictions, np.mean(Y[train]))


def network() -> ImplicitKTRegressor:
    """Scales targets, stops early, and weighs a network and forests by inner folds."""
    return ImplicitKTRegressor(
        None, backbone="tiny", n_estimators=1, max_epochs=2, early_stopping=True, random_state=0
    )


@pytest.mark.parametrize("model", [fractions(Ridge()), network()], ids=["ridge", "imkt"])
def test_targets_of_test_rows_change_no_prediction(model: Any) -> None:
    """Whatever stands in the test part's targets, the predictions are the same."""
    before = run_tasks({"model": model}, [table()], folds=[1])
    y = Y.copy()
    y[FOLDS[1][1]] = 1e6
    after = run_tasks({"model": model}, [table(y=y)], folds=[1])
    np.testing.assert_array_equal(before[0].predictions, after[0].predictions)
    assert before[0].digest != after[0].digest


def test_test_rows_do_not_speak_to_each_other() -> None:
    """A row is predicted alike whatever other rows are asked for with it."""
    train, test = FOLDS[1]
    model = network().fit(FORMULAS[train], Y[train])
    together = model.predict(FORMULAS[test])
    alone = [model.predict([formula])[0] for formula in FORMULAS[test]]
    np.testing.assert_allclose(together, alone, rtol=1e-5)


def test_one_row_on_both_sides_is_refused() -> None:
    with pytest.raises(DatasetError, match="disjoint"):
        table(folds={0: (np.arange(10), np.arange(9, 20))})
    with pytest.raises(DatasetError, match="distinct ids"):
        table(ids=np.array(["same"] * 20, dtype=object))


# --- going on after a stop -------------------------------------------------------------------


def test_stopped_run_goes_on(tmp_path: Path) -> None:
    Spy.fail_after = 2
    with pytest.raises(KeyboardInterrupt):
        run_tasks({"spy": Spy()}, [table()], output_dir=tmp_path)
    assert len(Spy.seen) == 2
    Spy.fail_after = 99
    records = run_tasks({"spy": Spy()}, [table()], output_dir=tmp_path)
    assert len(Spy.seen) == 4
    assert [record.fold for record in records] == [0, 1, 2, 3]
    again = run_tasks({"spy": Spy()}, [table()], output_dir=tmp_path)
    assert len(Spy.seen) == 4
    for one, other in zip(records, again, strict=True):
        np.testing.assert_array_equal(one.predictions, other.predictions)
        assert replace(one, predictions=None, versions={}) == replace(
            other, predictions=None, versions={}
        )
    assert not list(tmp_path.rglob(".*"))


def test_other_model_or_table_is_not_taken_for_an_earlier_one(tmp_path: Path) -> None:
    run_tasks({"spy": Spy()}, [table()], folds=[0], output_dir=tmp_path)
    # how many jobs a model uses changes no prediction
    run_tasks({"spy": Spy(n_jobs=2)}, [table()], folds=[0], output_dir=tmp_path)
    assert len(Spy.seen) == 1
    with pytest.raises(InputError, match=r"another model under the name 'spy'.*shift=1"):
        run_tasks({"spy": Spy(1.0)}, [table()], folds=[0], output_dir=tmp_path)
    with pytest.raises(InputError, match="another table or split"):
        run_tasks({"spy": Spy()}, [table(y=Y + 1)], folds=[0], output_dir=tmp_path)


def test_other_weights_under_one_name_are_another_model(tmp_path: Path) -> None:
    def small(seed: int, checkpoint: Path | None = None) -> Any:
        options = {"n_estimators": 1, "max_epochs": 1, "readout": "head", "random_state": seed}
        if checkpoint is None:
            return ImplicitKTRegressor(None, backbone="tiny", **options)
        return ImplicitKTRegressor(checkpoint, **options)

    folder = tmp_path / "weights"
    small(0).fit(FORMULAS, Y).save_pretrained(folder)
    model = {"imkt": small(0, folder)}
    [record] = run_tasks(model, [table()], folds=[0], output_dir=tmp_path / "out")
    assert "weights: sha256" in record.estimator
    for file in folder.iterdir():
        file.unlink()
    small(1).fit(FORMULAS, Y).save_pretrained(folder)
    with pytest.raises(InputError, match="another model under the name 'imkt'"):
        run_tasks(model, [table()], folds=[0], output_dir=tmp_path / "out")


@pytest.mark.parametrize(
    "content", [b"", b"no gzip", gzip.compress(b"{"), gzip.compress(b'{"format": 2}')]
)
def test_damaged_record(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "folds" / "spy" / "small_regression-0.json.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(DatasetError, match="delete it to run the fold again"):
        run_tasks({"spy": Spy()}, [table()], folds=[0], output_dir=tmp_path)


def test_records_are_read_as_written(tmp_path: Path) -> None:
    models = {"bayes": fractions(BayesianRidge())}
    [record] = run_tasks(models, [table()], folds=[2], output_dir=tmp_path)
    [path] = (tmp_path / "folds" / "bayes").iterdir()
    again = FoldRecord.read(path)
    np.testing.assert_array_equal(record.std, again.std)
    np.testing.assert_array_equal(record.predictions, again.predictions)
    assert again.probabilities is None
    assert again.peak_mb is None or again.peak_mb > 10
    assert again.versions == record.versions
    content = path.read_bytes()
    again.write(path)
    assert path.read_bytes() == content


def test_records_of_earlier_runs(tmp_path: Path) -> None:
    both = [table(), table("classification")]
    run_tasks({"et": "et-fractions", "dummy": "dummy"}, both, folds=[1], output_dir=tmp_path)
    run_tasks({"dummy": "dummy"}, both[:1], folds=[3], output_dir=tmp_path)
    found = read_records(tmp_path, both)
    assert [(r.model, r.task.partition("_")[2], r.fold) for r in found] == [
        ("dummy", "regression", 1),
        ("dummy", "regression", 3),
        ("dummy", "classification", 1),
        ("et", "regression", 1),
        ("et", "classification", 1),
    ]
    assert len(read_records(tmp_path, both[1:])) == 2
    with pytest.raises(InputError, match="another table or split"):
        read_records(tmp_path, [table(y=Y + 1)])


class Elsewhere(Spy):
    """Works in another process, and says what that one needed."""

    def fit(self, X: Any, y: Any) -> Elsewhere:
        self.usage_ = {"fit_seconds": 7.0, "peak_mb": 8.0, "versions": {"peer": "9"}}
        return super().fit(X, y)


def test_what_another_process_needed() -> None:
    [record] = run_tasks({"peer": Elsewhere()}, [table()], folds=[0])
    assert (record.fit_seconds, record.peak_mb) == (7.0, 8.0)
    assert record.predict_seconds < 7
    assert record.versions["peer"] == "9"
    assert "sklearn_kt" in record.versions


def test_folds_in_parallel_are_the_same() -> None:
    models = {"ridge": fractions(Ridge()), "logistic": "dummy"}
    alone = run_tasks(models, [table()])
    with parallel_config("threading"):
        together = run_tasks(models, [table()], n_jobs=2)
    assert [record.n_jobs for record in together] == [2] * 8
    for one, other in zip(alone, together, strict=True):
        assert (one.model, one.fold) == (other.model, other.fold)
        np.testing.assert_array_equal(one.predictions, other.predictions)


# --- models ----------------------------------------------------------------------------------


def test_models_by_name_and_by_function() -> None:
    def factory(kind: str) -> Any:
        return DummyRegressor() if kind == "regression" else DummyClassifier(strategy="prior")

    both = [table(), table("classification")]
    records = run_tasks({"dummy": "dummy", "made": factory}, both, folds=[0])
    assert len(records) == 4
    for kind in range(2):
        assert records[kind].estimator == records[kind + 2].estimator
    assert records[1].predictions.dtype == bool
    np.testing.assert_allclose(records[1].probabilities, np.mean(Y[FOLDS[0][0]] > 3))


@pytest.mark.parametrize(
    ("models", "match"),
    [
        ({"a": DummyClassifier()}, "a is a classifier, but a task is a regression"),
        ({"a": "no-such-model"}, "Unknown model 'no-such-model'"),
        ({"a": 3}, "neither an estimator nor a name"),
    ],
)
def test_unsuitable_models(models: Any, match: str) -> None:
    with pytest.raises(InputError, match=match):
        run_tasks(models, [table()])


def test_nothing_to_run() -> None:
    with pytest.raises(InputError, match="Nothing to run"):
        run_tasks({}, [table()])
    with pytest.raises(InputError, match="no fold 7; it has 0, 1, 2, 3"):
        run_tasks({"spy": Spy()}, [table()], folds=[7])


class Bad(RegressorMixin, BaseEstimator):
    def fit(self, X: Any, y: Any) -> Bad:
        return self

    def predict(self, X: Any) -> np.ndarray:
        return np.full(len(X), np.nan)


class Improbable(ClassifierMixin, BaseEstimator):
    def fit(self, X: Any, y: Any) -> Improbable:
        self.classes_ = np.array([False, True])
        return self

    def predict(self, X: Any) -> np.ndarray:
        return np.ones(len(X), bool)

    def predict_proba(self, X: Any) -> np.ndarray:
        return np.tile([-1.0, 2.0], (len(X), 1))


def test_predictions_that_cannot_be_scored() -> None:
    with pytest.raises(InputError, match="prediction for 'LiF' is nan"):
        run_tasks({"bad": Bad()}, [table()], folds=[0])
    with pytest.raises(InputError, match="probabilities outside 0 to 1"):
        run_tasks({"bad": Improbable()}, [table("classification")], folds=[0])


# --- scores ----------------------------------------------------------------------------------


def test_both_rules_for_the_auc() -> None:
    y = np.array([False, True, False, True, True])
    p = np.array([0.2, 0.4, 0.3, 0.6, 0.9])
    scores = score_predictions("classification", y, p > 0.5, p)
    assert scores.keys() == SCORES["classification"].keys()
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


def test_result_tables(tmp_path: Path) -> None:
    tasks = {task.name: task for task in (table(), table("classification"))}
    models = {"dummy": "dummy", "et": "et-fractions"}
    records = run_tasks(models, list(tasks.values()), folds=[0, 1])
    result = BenchmarkResult("small", tasks, records)
    frame = result.to_frame()
    assert frame[["n_train", "n_test"]].drop_duplicates().to_numpy().tolist() == [[15, 5]]
    summary = result.summary().set_index(["model", "task"])
    chosen = frame[(frame["model"] == "et") & (frame["task"] == "small_regression")]
    row = summary.loc["et", "small_regression"]
    assert row["mae"] == pytest.approx(chosen["mae"].mean())
    assert row["mae_std"] == pytest.approx(chosen["mae"].std(ddof=0))
    assert row["n_folds"] == 2
    assert row["n_test"] == 10
    with pytest.raises(InputError, match="pretraining pool are not known"):
        result.summary("unseen")
    with pytest.raises(InputError, match="'all' or 'unseen'"):
        result.to_frame("some")
    result.write(tmp_path / "result.json", command="made by a test")
    content = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    assert content["command"] == "made by a test"
    assert len(content["folds"]) == 8
    assert content["estimators"]["et"]["small_regression"].startswith("Pipeline(")
    assert "summary_unseen" not in content


def test_scores_on_unseen_rows() -> None:
    task = table()
    unseen = np.arange(20) >= 10
    result = BenchmarkResult(
        "small", {task.name: task}, run_tasks({"spy": Spy()}, [task]), {}, {task.name: unseen}
    )
    frame = result.to_frame("unseen")
    assert frame["n_test"].sum() == 10
    for record, mae in zip(result.records, frame["mae"], strict=True):
        test = FOLDS[record.fold][1]
        expected = np.abs(Y[test] - record.predictions)[unseen[test]].mean()
        assert mae == pytest.approx(expected)
    assert result.to_dict()["summary_unseen"][0]["n_test"] == 10
    short = replace(result.records[0], predictions=np.zeros(3))
    with pytest.raises(DatasetError, match="3 predictions for 5 test rows"):
        BenchmarkResult("small", {task.name: task}, [short]).to_frame()


def test_progress_is_on_stderr(capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    run_tasks({"dummy": "dummy"}, [table()], folds=[0], output_dir=tmp_path, verbose=1)
    run_tasks({"logistic": fractions(LogisticRegression())}, [table("classification")], folds=[0])
    run_tasks({"dummy": "dummy"}, [table()], output_dir=tmp_path, verbose=1)
    out, err = capsys.readouterr()
    assert out == ""
    assert "dummy, small_regression, fold 0: MAE" in err
    assert "dummy, small_regression, fold 0: found, not run again" in err
    assert "logistic" not in err
