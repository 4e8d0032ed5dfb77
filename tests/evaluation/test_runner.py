"""Running on fixed splits: only training rows are seen, and a stopped run goes on."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from joblib import parallel_config
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.linear_model import BayesianRidge, LogisticRegression, Ridge
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.pipeline import make_pipeline
from sklearn.tree import ExtraTreeClassifier, ExtraTreeRegressor

from sklearn_kt import CompositionTokenizer, ImplicitKTRegressor
from sklearn_kt.evaluation import (
    EvaluationResult,
    FoldRecord,
    Task,
    evaluate,
    read_records,
    table_task,
)
from sklearn_kt.evaluation.records import add_record
from sklearn_kt.evaluation.runner import library_versions
from sklearn_kt.exceptions import DatasetError, InputError

FORMULAS = np.array(
    [f"{a}{b}" for a in ("Li", "Na", "K", "Rb", "Cs") for b in ("F", "Cl", "Br", "I")], dtype=object
)
IDS = np.array([f"row-{number}" for number in range(20)], dtype=object)
Y = np.linspace(-1.0, 4.0, 20) ** 2
FOLDS = {k: (np.flatnonzero(np.arange(20) % 4 != k), np.arange(k, 20, 4)) for k in range(4)}


def table(kind: Any = "regression", name: str = "", **changes: Any) -> Task:
    y = Y if kind == "regression" else Y > 3
    fields: dict[str, Any] = {"formulas": FORMULAS, "y": y, "ids": IDS, "folds": FOLDS}
    return Task(name or f"small_{kind}", kind, **(fields | changes))


def run(models: Any, tasks: Any, **options: Any) -> list[FoldRecord]:
    return evaluate(models, tasks, **options).records


def fractions(last: Any) -> Any:
    return make_pipeline(CompositionTokenizer("fraction"), last)


def tree(kind: str) -> Any:
    """A fit that is quick and says something."""
    return fractions(ExtraTreeRegressor() if kind == "regression" else ExtraTreeClassifier())


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
    records = run({"spy": Spy()}, [table()])
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
    before = run({"model": model}, [table()], folds=[1])
    y = Y.copy()
    y[FOLDS[1][1]] = 1e6
    after = run({"model": model}, [table(y=y)], folds=[1])
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
    with pytest.raises(InputError, match="disjoint"):
        table(folds={0: (np.arange(10), np.arange(9, 20))})
    with pytest.raises(InputError, match="distinct ids"):
        table(ids=np.array(["same"] * 20, dtype=object))


# --- going on after a stop -------------------------------------------------------------------


def test_stopped_run_goes_on(tmp_path: Path) -> None:
    Spy.fail_after = 2
    with pytest.raises(KeyboardInterrupt):
        run({"spy": Spy()}, [table()], output_dir=tmp_path)
    assert len(Spy.seen) == 2
    Spy.fail_after = 99
    records = run({"spy": Spy()}, [table()], output_dir=tmp_path)
    assert len(Spy.seen) == 4
    assert [record.fold for record in records] == [0, 1, 2, 3]
    again = run({"spy": Spy()}, [table()], output_dir=tmp_path)
    assert len(Spy.seen) == 4
    for one, other in zip(records, again, strict=True):
        np.testing.assert_array_equal(one.predictions, other.predictions)
        assert replace(one, predictions=None, versions={}) == replace(
            other, predictions=None, versions={}
        )
    assert not list(tmp_path.rglob(".*"))


def test_other_model_or_table_is_not_taken_for_an_earlier_one(tmp_path: Path) -> None:
    run({"spy": Spy()}, [table()], folds=[0], output_dir=tmp_path)
    # how many jobs a model uses changes no prediction
    run({"spy": Spy(n_jobs=2)}, [table()], folds=[0], output_dir=tmp_path)
    assert len(Spy.seen) == 1
    with pytest.raises(InputError, match=r"another model under the name 'spy'.*shift=1"):
        run({"spy": Spy(1.0)}, [table()], folds=[0], output_dir=tmp_path)
    with pytest.raises(InputError, match="another table or split"):
        run({"spy": Spy()}, [table(y=Y + 1)], folds=[0], output_dir=tmp_path)


def test_other_weights_under_one_name_are_another_model(tmp_path: Path) -> None:
    def small(seed: int, checkpoint: Path | None = None) -> Any:
        options = {"n_estimators": 1, "max_epochs": 1, "readout": "head", "random_state": seed}
        if checkpoint is None:
            return ImplicitKTRegressor(None, backbone="tiny", **options)
        return ImplicitKTRegressor(checkpoint, **options)

    folder = tmp_path / "weights"
    small(0).fit(FORMULAS, Y).save_pretrained(folder)
    model = {"imkt": small(0, folder)}
    [record] = run(model, [table()], folds=[0], output_dir=tmp_path / "out")
    assert "weights: sha256" in record.estimator
    for file in folder.iterdir():
        file.unlink()
    small(1).fit(FORMULAS, Y).save_pretrained(folder)
    with pytest.raises(InputError, match="another model under the name 'imkt'"):
        run(model, [table()], folds=[0], output_dir=tmp_path / "out")


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "other table", "other length"])
def test_damaged_records(damage: str, tmp_path: Path) -> None:
    run({"spy": Spy()}, [table()], folds=[0], output_dir=tmp_path)
    path = tmp_path / "folds" / "spy.parquet"
    whole = path.read_bytes()
    if damage == "other table":
        pd.DataFrame({"task": ["small_regression"], "fold": [0]}).to_parquet(path)
    elif damage == "other length":
        kept = pq.read_table(path).to_pylist()
        kept[0]["predictions"] = [0.0]
        pq.write_table(pa.Table.from_pylist(kept, pq.read_schema(path)), path)
    else:
        path.write_bytes(
            {"empty": b"", "text": b"no table", "cut": whole[: len(whole) // 2]}[damage]
        )
    before = path.read_bytes()
    with pytest.raises(DatasetError, match="delete it to run the folds again"):
        run({"spy": Spy()}, [table()], output_dir=tmp_path)
    assert path.read_bytes() == before


def test_records_are_read_as_written(tmp_path: Path) -> None:
    labels = np.array(["low", "mid", "high"], dtype=object)[np.arange(20) % 3]
    tasks = [table(), table("classification"), table("classification", name="three", y=labels)]

    def model(kind: str) -> Any:
        return fractions(BayesianRidge() if kind == "regression" else LogisticRegression())

    records = run({"model": model}, tasks, folds=[2, 0], output_dir=tmp_path)
    again = read_records(tmp_path, tasks)
    assert {record.predictions.dtype.kind for record in again} == {"f", "b", "O"}
    assert [(r.task, r.fold) for r in again] == [(t.name, fold) for t in tasks for fold in (0, 2)]
    for record in again:
        [one] = [r for r in records if (r.task, r.fold) == (record.task, record.fold)]
        for name, value in vars(one).items():
            np.testing.assert_array_equal(getattr(record, name), value)
    assert records[0].std is not None
    assert records[-1].probabilities.shape == (5, 3)
    path = tmp_path / "folds" / "model.parquet"
    content = path.read_bytes()
    add_record(tmp_path, records[-1], tasks[-1])
    assert len(read_records(tmp_path, tasks)) == len(records)
    assert len(path.read_bytes()) == len(content)
    assert not list(tmp_path.rglob(".*"))


def test_two_processes_write_one_file(tmp_path: Path) -> None:
    task = table(folds={k: FOLDS[k % 4] for k in range(12)})
    records = run({"dummy": "dummy"}, [task])
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda record: add_record(tmp_path, record, task), records))
    assert [record.fold for record in read_records(tmp_path, [task])] == list(range(12))


def test_records_of_earlier_runs(tmp_path: Path) -> None:
    both = [table(), table("classification")]
    run({"et": tree, "dummy": "dummy"}, both, folds=[1], output_dir=tmp_path)
    run({"dummy": "dummy"}, both[:1], folds=[3], output_dir=tmp_path)
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
    [record] = run({"peer": Elsewhere()}, [table()], folds=[0])
    assert (record.fit_seconds, record.peak_mb) == (7.0, 8.0)
    assert record.predict_seconds < 7
    assert record.versions["peer"] == "9"
    assert "sklearn_kt" in record.versions


def test_folds_in_parallel_are_the_same() -> None:
    models = {"ridge": fractions(Ridge()), "logistic": "dummy"}
    alone = run(models, [table()])
    with parallel_config("threading"):
        together = run(models, [table()], n_jobs=2)
    assert [record.n_jobs for record in together] == [2] * 8
    for one, other in zip(alone, together, strict=True):
        assert (one.model, one.fold) == (other.model, other.fold)
        np.testing.assert_array_equal(one.predictions, other.predictions)


# --- models ----------------------------------------------------------------------------------


def test_models_by_name_and_by_function() -> None:
    def factory(kind: str) -> Any:
        return DummyRegressor() if kind == "regression" else DummyClassifier(strategy="prior")

    both = [table(), table("classification")]
    records = run({"dummy": "dummy", "made": factory}, both, folds=[0])
    assert len(records) == 4
    for kind in range(2):
        assert records[kind].estimator == records[kind + 2].estimator
    assert records[1].predictions.dtype == bool
    np.testing.assert_allclose(records[1].probabilities[:, 1], np.mean(Y[FOLDS[0][0]] > 3))


@pytest.mark.parametrize(
    ("models", "match"),
    [
        ({"a": DummyClassifier()}, "a is a classifier, but a task is a regression"),
        ({"a": "no-such-model"}, "Unknown model 'no-such-model'"),
        ({"a": 3}, "neither an estimator nor a name"),
        (3, "neither an estimator nor a name"),
        ({3: "dummy"}, "must be texts, got 3"),
        (["dummy", "dummy"], "named twice"),
    ],
)
def test_unsuitable_models(models: Any, match: str) -> None:
    with pytest.raises(InputError, match=match):
        run(models, [table()])


def test_nothing_to_run() -> None:
    with pytest.raises(InputError, match="Nothing to run"):
        run(["dummy"], [])
    with pytest.raises(InputError, match="No model to run"):
        run({}, [table()])
    with pytest.raises(InputError, match="no fold 7; it has 0, 1, 2, 3"):
        run({"spy": Spy()}, [table()], folds=[7])


def test_three_classes_one_absent_from_a_training_part() -> None:
    y = np.array(["a", "b"] * 8 + ["c"] * 4)
    rows = np.arange(20)
    # all of "c" in one test part
    folds = [(rows[:16], rows[16:]), (rows[6:], rows[:6]), (np.r_[0:6, 16:20], rows[6:16])]
    task = table_task(FORMULAS, y, kind="classification", folds=folds)
    result = evaluate({"logistic": fractions(LogisticRegression())}, task)
    without, *others = result.records
    assert without.probabilities.shape == (4, 3)
    assert (without.probabilities[:, 2] == 0).all()
    assert all((record.probabilities[:, 2] > 0).all() for record in others)
    # one class tells nothing of a ranking
    assert result.to_frame()["roc_auc"].isna().all()
    y = np.array(["a", "b", "c", "d"] * 5)
    task = table_task(FORMULAS, y, kind="classification", n_splits=4)
    result = evaluate({"logistic": fractions(LogisticRegression())}, task)
    # the columns of the fractions tell the classes apart by their anions
    assert result.summary()["roc_auc"][0] > 0.9


class LabelsOnly(ClassifierMixin, BaseEstimator):
    """A classifier without probabilities."""

    def fit(self, X: Any, y: Any) -> LabelsOnly:
        self.classes_ = np.unique(y)
        return self

    def predict(self, X: Any) -> np.ndarray:
        return np.full(len(X), self.classes_[0])


def test_classifier_without_probabilities() -> None:
    result = evaluate({"labels": LabelsOnly()}, table("classification"))
    assert result.records[0].probabilities is None
    assert result.summary()["roc_auc"].isna().all()
    assert result.summary()["balanced_accuracy"][0] == 0.5
    assert result.predictions()["probability"].isna().all()


@pytest.mark.parametrize("labels", [Y > 3, (Y > 3).astype(int), np.where(Y > 3, "yes", "no")])
def test_any_labels(labels: np.ndarray) -> None:
    task = table("classification", y=labels)
    result = evaluate({"logistic": fractions(LogisticRegression())}, task)
    assert result.records[0].predictions.dtype == labels.dtype
    reference = evaluate({"logistic": fractions(LogisticRegression())}, table("classification"))
    assert result.summary()["roc_auc"][0] == pytest.approx(reference.summary()["roc_auc"][0])


def test_a_model_is_scored_as_it_decides() -> None:
    cautious = FixedThresholdClassifier(fractions(LogisticRegression()), threshold=0.9)
    result = evaluate({"cautious": cautious}, table("classification"))
    for record in result.records:
        train, test = FOLDS[record.fold]
        fitted = clone(cautious).fit(FORMULAS[train], Y[train] > 3)
        assert record.predictions.tolist() == fitted.predict(FORMULAS[test]).tolist()
    chances = np.concatenate([record.probabilities[:, 1] for record in result.records])
    decided = np.concatenate([record.predictions for record in result.records])
    assert (decided != (chances > 0.5)).any()
    frame = result.predictions()
    np.testing.assert_array_equal(frame["probability"], np.where(decided, chances, 1 - chances))


def test_predicted_std_is_kept() -> None:
    implicit = ImplicitKTRegressor(
        None, backbone="tiny", n_estimators=2, max_epochs=1, readout="head", random_state=0
    )
    models = {"mean": DummyRegressor(), "bayes": fractions(BayesianRidge()), "imkt": implicit}
    mean, *others = run(models, [table()], folds=[0])
    assert mean.std is None
    assert all((record.std > 0).all() for record in others)


def test_named_models_are_reproducible() -> None:
    first, second, other = (
        run("et-fractions", table(), folds=[0], random_state=seed)[0].predictions
        for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, second)
    assert (other != first).any()


def test_given_estimators_are_not_touched() -> None:
    model = fractions(Ridge())
    run({"ridge": model}, [table()])
    assert not hasattr(model[-1], "coef_")


class TwoColumns(DummyRegressor):
    def predict(self, X: Any) -> np.ndarray:  # type: ignore[override]
        return np.zeros((len(X), 2))


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
        run({"bad": Bad()}, [table()], folds=[0])
    with pytest.raises(InputError, match=r"wide, .* gave predictions of shape \(5, 2\)"):
        run({"wide": TwoColumns()}, [table()], folds=[0])
    with pytest.raises(InputError, match="probabilities outside 0 to 1"):
        run({"bad": Improbable()}, [table("classification")], folds=[0])


# --- results -----------------------------------------------------------------------------------


def test_result_tables(tmp_path: Path) -> None:
    tasks = {task.name: task for task in (table(), table("classification"))}
    models = {"dummy": "dummy", "et": tree}
    records = run(models, list(tasks.values()), folds=[0, 1])
    result = EvaluationResult(tasks, records)
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
    result = EvaluationResult(
        {task.name: task}, run({"spy": Spy()}, [task]), {}, {task.name: unseen}
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
        EvaluationResult({task.name: task}, [short]).to_frame()


def test_progress_is_on_stderr(capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    run({"dummy": "dummy"}, [table()], folds=[0], output_dir=tmp_path, verbose=1)
    run({"logistic": fractions(LogisticRegression())}, [table("classification")], folds=[0])
    run({"dummy": "dummy"}, [table()], output_dir=tmp_path, verbose=1)
    out, err = capsys.readouterr()
    assert out == ""
    assert "dummy, small_regression, fold 0: MAE" in err
    assert "dummy, small_regression, fold 0: found, not run again" in err
    assert "logistic" not in err


def test_two_tasks_of_one_name() -> None:
    with pytest.raises(InputError, match="same name"):
        evaluate("dummy", [table(), table()])


def test_predictions_of_each_row() -> None:
    result = evaluate({"dummy": "dummy", "ridge": fractions(Ridge())}, table())
    frame = result.predictions()
    assert len(frame) == 2 * 20
    assert frame.columns.tolist() == [
        *("task", "model", "fold", "id", "formula", "true", "predicted", "std", "probability")
    ]
    ridge = frame[frame["model"] == "ridge"].set_index("id").loc[IDS]
    np.testing.assert_array_equal(ridge["true"], Y)
    assert ridge["formula"].tolist() == FORMULAS.tolist()
    mae = result.to_frame().groupby("model")["mae"].mean()["ridge"]
    assert np.abs(ridge["true"] - ridge["predicted"]).mean() == pytest.approx(mae)
    with pytest.raises(InputError, match="'imkt' has no result on 'small_regression'"):
        result.of("small_regression", "imkt")


def test_names_that_are_no_file_names(tmp_path: Path) -> None:
    for name in ("a/b", "", ".hidden", "a b"):
        with pytest.raises(InputError, match="would be a file name"):
            evaluate({name: "dummy"}, table(), output_dir=tmp_path)
    assert not list(tmp_path.iterdir())
    assert evaluate({"a b": "dummy"}, table()).models == ["a b"]


def test_the_machine_is_named_with_its_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H200")
    machine = library_versions()["machine"]
    assert machine.endswith(" CPU cores, NVIDIA H200")
    # what has not loaded torch has not used it
    monkeypatch.delitem(sys.modules, "torch")
    assert f"{library_versions()['machine']}, NVIDIA H200" == machine
