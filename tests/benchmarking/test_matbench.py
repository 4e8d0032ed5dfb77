"""MatBench: official folds, official files, scores that can be computed again."""

from __future__ import annotations

import importlib.util
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from _benchmarks import MADE, SYMBOLS, formulas, small_matbench
from pymatgen.core import Composition, Lattice, Structure
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import BayesianRidge, LogisticRegression, Ridge
from sklearn.model_selection import FixedThresholdClassifier, KFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from sklearn_kt import CompositionTokenizer
from sklearn_kt.benchmarking import (
    COMPOSITION_TASKS,
    leaderboard,
    matbench_tasks,
    official,
    official_tasks,
    read_leaderboard,
    record_official,
    rescore_official,
    write_official,
)
from sklearn_kt.datasets import MATBENCH_TASKS
from sklearn_kt.evaluation import CompositionPool, EvaluationResult, evaluate, score_predictions
from sklearn_kt.exceptions import DatasetError, InputError
from sklearn_kt.pretraining import CorpusTable

HAS_MATBENCH = importlib.util.find_spec("matbench") is not None
needs_matbench = pytest.mark.skipif(
    not HAS_MATBENCH, reason="pip install --no-deps matbench==0.6: no official objects to test with"
)


def fractions(last: Any) -> Any:
    return make_pipeline(CompositionTokenizer("fraction"), last)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    return small_matbench(monkeypatch, tmp_path / "tables")


class Constant(RegressorMixin, BaseEstimator):
    """Says 1, in a type that JSON does not know."""

    def fit(self, X: Any, y: Any) -> Constant:
        return self

    def predict(self, X: Any) -> np.ndarray:
        return np.ones(len(X), np.float32)


def run(
    models: Any, names: Any = None, data_dir: Any = None, output_dir: Any = None, **options: Any
) -> EvaluationResult:
    """Run models on tasks and write the official files, as the command line does."""
    result = evaluate(models, matbench_tasks(names, data_dir), output_dir=output_dir, **options)
    for model in official.complete_models(result) if output_dir is not None else ():
        write_official(result, output_dir / f"{model}.results.json.gz", model)
    return result


# --- without matbench ------------------------------------------------------------------------


@pytest.mark.slow
def test_results_and_files(small: Path, tmp_path: Path) -> None:
    models = {"dummy": "dummy", "et": "et-fractions"}
    result = run(models, data_dir=small, output_dir=tmp_path / "out", n_jobs=None)
    assert list(result.tasks) == ["matbench_expt_gap", "matbench_expt_is_metal"]
    assert len(result.records) == 2 * 2 * 5
    content = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    assert content["audit"] == result.audit
    for name in models:
        official = json.loads((tmp_path / "out" / f"{name}.results.json.gz").read_text())
        assert official["user_metadata"]["audit"] == result.audit
        fold = official["tasks"]["matbench_expt_is_metal"]["results"]["fold_3"]
        assert fold.keys() == {"data", "uncertainty", "parameters", "scores"}
        assert {type(value) for value in fold["data"].values()} == {float}


@pytest.mark.slow
def test_rescoring_gives_the_scores_of_the_table(small: Path, tmp_path: Path) -> None:
    result = run("et-fractions", data_dir=small, output_dir=tmp_path)
    frame = result.to_frame().set_index(["task", "fold"])
    again = rescore_official(tmp_path / "et-fractions.results.json.gz", small)
    again = again.set_index(["task", "fold"])
    for column in ("mae", "rmse", "mape", "max_error", "r2", "roc_auc", "roc_auc_of_labels", "f1"):
        np.testing.assert_allclose(again[column], frame[column], rtol=0, atol=1e-9)
    gap, metal = again.loc["matbench_expt_gap"], again.loc["matbench_expt_is_metal"]
    for column in ("mae", "rmse", "mape", "max_error"):
        np.testing.assert_allclose(gap[f"recorded_{column}"], gap[column], rtol=0, atol=1e-9)
    np.testing.assert_allclose(metal["recorded_rocauc"], metal["roc_auc_of_labels"], atol=1e-9)


def test_models_without_probabilities(small: Path, tmp_path: Path) -> None:
    run(
        {"svc": fractions(LinearSVC())}, "matbench_expt_is_metal", data_dir=small,
        output_dir=tmp_path,
    )  # fmt: skip
    official = json.loads((tmp_path / "svc.results.json.gz").read_text())
    fold = official["tasks"]["matbench_expt_is_metal"]["results"]["fold_0"]
    assert {type(value) for value in fold["data"].values()} == {bool}
    again = rescore_official(tmp_path / "svc.results.json.gz", small)
    assert again["roc_auc"].isna().all()
    assert again["roc_auc_of_labels"].tolist() == again["recorded_rocauc"].tolist()


def test_a_threshold_of_its_own(small: Path, tmp_path: Path) -> None:
    model = FixedThresholdClassifier(fractions(LogisticRegression()), threshold=0.35)
    result = run({"bold": model}, "matbench_expt_is_metal", data_dir=small, output_dir=tmp_path)
    for record in result.records:
        assert record.probabilities is not None
        assert record.predictions.tolist() == (record.probabilities[:, 1] >= 0.35).tolist()
    # probabilities in the official file would be read as other labels
    official = tmp_path / "bold.results.json.gz"
    data = json.loads(official.read_text())["tasks"]["matbench_expt_is_metal"]["results"]
    assert bool in {type(value) for value in data["fold_0"]["data"].values()}
    again = rescore_official(official, small)
    for own, theirs in (("roc_auc_of_labels", "recorded_rocauc"), ("f1", "recorded_f1")):
        np.testing.assert_allclose(again[own], result.to_frame()[own])
        np.testing.assert_allclose(again[own], again[theirs])


def test_tasks_that_do_not_suit_the_estimator(small: Path) -> None:
    with pytest.raises(InputError, match="is a regressor, but a task is a classification"):
        run(DummyRegressor(), data_dir=small)


def test_audit_is_part_of_the_result(small: Path, tmp_path: Path) -> None:
    pool = CompositionPool.from_tables(
        [CorpusTable(formulas(5), {"band_gap_mp": [1.0, 2.0, np.nan, 0.0, -1.0]})], name="five"
    )
    result = run("dummy", data_dir=small, pool=pool, output_dir=tmp_path)
    found = result.audit["tasks"]["matbench_expt_gap"]
    assert found["test_rows_in_pool"] == 5
    assert found["test_rows_with_quantity_in_pool"] == 3
    assert found["sources"]["band_gap_mp"] == 3
    assert found["siblings"]["matbench_expt_is_metal"]["test_rows_there"] == 40
    assert result.to_frame("unseen")["n_test"].sum() == 2 * 35
    content = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert content["audit"]["pool"]["name"] == "five"
    assert content["summary_unseen"]


def test_sibling_table_that_is_away(small: Path) -> None:
    (small / "matbench_expt_is_metal.csv").unlink()
    result = run("dummy", "matbench_expt_gap", data_dir=small)
    about = result.audit["tasks"]["matbench_expt_gap"]["siblings"]["matbench_expt_is_metal"]
    assert "not found" in about["unchecked"]
    assert result.audit["pool"] == {"missing": "no model starts from a checkpoint"}


def test_an_official_file_needs_all_folds(small: Path, tmp_path: Path) -> None:
    result = run("dummy", "matbench_expt_gap", data_dir=small, folds=[0, 2], output_dir=tmp_path)
    assert not list(tmp_path.glob("*.json.gz"))
    with pytest.raises(InputError, match="no fold_1, fold_3, fold_4 of matbench_expt_gap"):
        official.official_results(result)
    with pytest.raises(InputError, match="must be one of dummy"):
        official.official_results(result, "other")
    # the two folds are not run again
    whole = run("dummy", "matbench_expt_gap", data_dir=small, output_dir=tmp_path)
    assert whole.records[0].date == result.records[0].date
    assert (tmp_path / "dummy.results.json.gz").exists()


@pytest.mark.parametrize("content", ["", "{}", '{"tasks": []}', '{"tasks": {"a": 1}}'])
def test_not_a_results_file(content: str, tmp_path: Path) -> None:
    path = tmp_path / "results.json.gz"
    path.write_text(content)
    with pytest.raises(DatasetError, match="not an official results file"):
        rescore_official(path)


def test_results_of_other_rows(small: Path, tmp_path: Path) -> None:
    run("dummy", "matbench_expt_gap", data_dir=small, output_dir=tmp_path)
    path = tmp_path / "dummy.results.json.gz"
    content = json.loads(path.read_text())
    data = content["tasks"]["matbench_expt_gap"]["results"]["fold_4"]["data"]
    data.popitem()
    path.write_text(json.dumps(content))
    with pytest.raises(DatasetError, match="fold 4, are not those of the official fold"):
        rescore_official(path, small)


# --- leaderboard -----------------------------------------------------------------------------


@pytest.fixture
def published(tmp_path: Path) -> Path:
    rows = [
        {"algorithm": name, "task": "matbench_expt_gap", "fold": fold, "mae": mae + fold / 100}
        for name, mae in (("Good", 0.1), ("Bad", 9.0))
        for fold in range(5)
    ]
    rows += [
        {"algorithm": "Good", "task": "matbench_expt_is_metal", "fold": fold, "rocauc": 0.9}
        for fold in range(5)
    ]
    path = tmp_path / "leaderboard_scores.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def test_leaderboard_ranks_us(small: Path, published: Path) -> None:
    result = run({"ours": "dummy"}, data_dir=small)
    # a folder that holds the file
    recorded = read_leaderboard(published.parent)
    table = leaderboard(result, recorded, "matbench_expt_gap")
    assert table["model"].tolist() == ["Good", "ours", "Bad"]
    assert table["rank"].tolist() == [1, 2, 3]
    assert table["ours"].tolist() == [False, True, False]
    assert table["mae"].iloc[0] == pytest.approx(0.12)
    assert table["mae_std"].iloc[0] == pytest.approx(np.std([0, 1, 2, 3, 4]) / 100)
    table = leaderboard(result, recorded, "matbench_expt_is_metal")
    assert table["model"].tolist() == ["Good", "ours"]
    assert table["roc_auc_of_labels"].tolist() == [0.9, 0.5]
    assert np.isnan(table["roc_auc"].iloc[0])


def test_leaderboard_without_all_folds_has_no_rank(small: Path, published: Path) -> None:
    result = run({"ours": "dummy"}, "matbench_expt_gap", data_dir=small, folds=[0])
    table = leaderboard(result, read_leaderboard(published), "matbench_expt_gap")
    assert table["rank"].isna().tolist() == [False, True, False]
    assert table["rank"].dropna().tolist() == [1, 2]
    with pytest.raises(InputError, match="Neither"):
        leaderboard(None, None, "matbench_expt_gap")
    with pytest.raises(InputError, match="'steels' is not a MatBench"):
        leaderboard(result, None, "steels")
    with pytest.raises(InputError, match="No scores of matbench_expt_is_metal"):
        leaderboard(result, None, "matbench_expt_is_metal")


def test_leaderboard_files(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="cannot be read"):
        read_leaderboard(tmp_path)
    (tmp_path / "scores.csv").write_text("algorithm,task\na,b\n")
    with pytest.raises(DatasetError, match="no column 'fold'"):
        read_leaderboard(tmp_path / "scores.csv")


# --- with matbench ---------------------------------------------------------------------------


@pytest.fixture
def quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def benchmark(*names: str) -> Any:
    """Build the official object with tables made up in the official sizes."""
    from matbench.bench import MatbenchBenchmark

    built = MatbenchBenchmark(autoload=False, subset=list(names))
    rng = np.random.default_rng(0)
    for task in built.tasks:
        n = task.metadata.n_samples
        y = rng.gamma(2.0, size=n)
        if task.metadata.task_type == "classification":
            y = y > 1.5
        ids = [*task.validation.fold_0.train, *task.validation.fold_0.test]
        columns = {task.metadata.input_type: inputs(task, n), task.metadata.target: y}
        task.df = pd.DataFrame(columns, index=sorted(ids))
    return built


def inputs(task: Any, n: int) -> list[Any]:
    if task.metadata.input_type == "composition":
        return (MADE * 10)[:n]
    lattice = Lattice.cubic(4.0)
    sites = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0, 0], [0, 0.5, 0.5]]
    few = [Structure(lattice, [symbol, symbol, "O", "O"], sites) for symbol in SYMBOLS]
    return [few[row % len(few)] for row in range(n)]


@pytest.mark.slow
@needs_matbench
def test_official_objects(quiet: None, tmp_path: Path) -> None:
    from matbench.bench import MatbenchBenchmark

    official = benchmark("matbench_steels", "matbench_jdft2d", "matbench_glass")

    def model(kind: str) -> Any:
        return fractions(BayesianRidge() if kind == "regression" else LogisticRegression())

    result = evaluate({"bayes": model}, official_tasks(official))
    record_official(official, result)
    write_official(result, tmp_path / "bayes.results.json.gz")
    assert official.is_recorded
    assert official.is_valid
    summary = result.summary().set_index("task")
    # matbench's own code gives the scores of our table
    for name, names in (
        ("matbench_steels", {"mae", "rmse", "mape", "max_error"}),
        ("matbench_glass", {"accuracy", "balanced_accuracy", "f1"}),
    ):
        for metric in names:
            theirs = official.scores[name][metric]
            assert theirs["mean"] == pytest.approx(summary.loc[name, metric], abs=1e-9)
            assert theirs["std"] == pytest.approx(summary.loc[name, f"{metric}_std"], abs=1e-9)
    theirs = official.scores.matbench_glass.rocauc["mean"]
    assert theirs == pytest.approx(summary.loc["matbench_glass", "roc_auc_of_labels"], abs=1e-9)
    assert result.tasks["matbench_jdft2d"].formulas[0] == "Li2O2"

    # the file written without matbench is one of matbench's
    path = tmp_path / "bayes.results.json.gz"
    read = MatbenchBenchmark.from_file(path)
    assert read.is_valid
    assert read.scores.matbench_steels.mae == official.scores.matbench_steels.mae
    assert read.user_metadata["algorithm"] == "bayes"
    theirs, ours = tmp_path / "theirs.json", json.loads(path.read_text())
    official.to_file(theirs)
    written = json.loads(theirs.read_text())
    for content in (written, ours):
        content.pop("datestamp")
        content.pop("hash")
    for key in ("@module", "@class", "version", "benchmark_name", "user_metadata"):
        assert written[key] == ours[key]
    for name, task in written["tasks"].items():
        for fold, results in task["results"].items():
            own = ours["tasks"][name]["results"][fold]
            assert results["data"] == own["data"]
            assert results["parameters"] == own["parameters"]
            for row, about in (own["uncertainty"] or {}).items():
                assert results["uncertainty"][row] == pytest.approx(about)
            # probabilities are thresholded first by matbench, so there is no difference
            assert results["scores"] == pytest.approx(own["scores"], abs=1e-9)


@needs_matbench
def test_official_fold_api_is_what_models_see(quiet: None) -> None:
    official = benchmark("matbench_steels")
    [task] = official.tasks
    shown: list[tuple[list, list]] = []

    class Noting(Constant):
        def fit(self, X: Any, y: Any) -> Any:
            shown.append((list(X), list(y)))
            return self

    record_official(official, evaluate(Noting(), official_tasks(official)))
    for fold, (X, y) in enumerate(shown):
        train_inputs, train_outputs = task.get_train_and_val_data(fold)
        assert train_inputs.tolist() == X
        assert train_outputs.tolist() == y
    # float32 is not what matbench can write, but what it got is
    assert official.is_valid


@needs_matbench
def test_ten_lines(quiet: None, tmp_path: Path) -> None:
    official = benchmark("matbench_steels")
    result = evaluate(fractions(Ridge()), official_tasks(official))
    record_official(official, result)
    official.to_file(tmp_path / "results.json.gz")
    assert type(official).from_file(tmp_path / "results.json.gz").is_valid


@needs_matbench
def test_official_objects_get_their_tables(
    quiet: None, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matbench.bench import MatbenchBenchmark

    official = MatbenchBenchmark(autoload=False, subset=["matbench_steels", "matbench_jdft2d"])
    tasks = official_tasks(official, data_dir=data_dir / "matbench")
    record_official(official, evaluate(Constant(), tasks))
    assert official.is_valid
    [steels] = matbench_tasks("matbench_steels", data_dir / "matbench")
    assert official.scores.matbench_steels.mae["mean"] == pytest.approx(
        np.mean([np.abs(steels.y[test] - 1).mean() for _, test in steels.folds.values()])
    )


@needs_matbench
def test_official_objects_that_cannot_be_used(quiet: None, tmp_path: Path) -> None:
    official = benchmark("matbench_steels")
    tasks = official_tasks(official)
    result = evaluate({"a": Constant(), "b": Constant()}, tasks)
    with pytest.raises(InputError, match=r"predictions of one algorithm.* not of a, b"):
        record_official(official, result)
    with pytest.raises(InputError, match="needs all folds"):
        record_official(official, evaluate(Constant(), tasks, folds=[0]))
    with pytest.raises(InputError, match="matbench_glass is not in the benchmark"):
        official_tasks(official, "matbench_glass")
    record_official(official, evaluate(Constant(), tasks))
    with pytest.raises(InputError, match="Fold 0 of matbench_steels is already recorded"):
        official_tasks(official)
    empty = benchmark("matbench_steels")
    empty.tasks_map.matbench_steels.df = None
    with pytest.raises(DatasetError, match=r"None of matbench_steels\.csv"):
        official_tasks(empty, data_dir=tmp_path)


@needs_matbench
@pytest.mark.parametrize("name", [n for n, s in MATBENCH_TASKS.items() if s.kind == "regression"])
def test_folds_are_the_official_ones(name: str) -> None:
    """KFold needs nothing but the number of rows, so this needs no tables."""
    from matbench.metadata import mbv01_validation

    spec, width = MATBENCH_TASKS[name], len(str(MATBENCH_TASKS[name].n_rows))
    prefix = name.replace("matbench_", "mb-").replace("_", "-")
    ids = np.array([f"{prefix}-{row:0{width}d}" for row in range(1, spec.n_rows + 1)])
    splits = KFold(5, shuffle=True, random_state=18012019).split(ids)
    for number, (train, test) in enumerate(splits):
        official = mbv01_validation["splits"][name][f"fold_{number}"]
        assert list(official["train"]) == ids[train].tolist()
        assert list(official["test"]) == ids[test].tolist()


@needs_matbench
@pytest.mark.parametrize(
    "name", [n for n, s in MATBENCH_TASKS.items() if s.kind == "classification"]
)
def test_stratified_folds_are_the_official_ones(name: str, data_dir: Path) -> None:
    from matbench.metadata import mbv01_validation

    [task] = matbench_tasks(name, data_dir / "matbench")
    splits = StratifiedKFold(5, shuffle=True, random_state=18012019).split(task.y, task.y)
    for number, (train, test) in enumerate(splits):
        official = mbv01_validation["splits"][name][f"fold_{number}"]
        assert list(official["train"]) == task.ids[train].tolist()
        assert list(official["test"]) == task.ids[test].tolist()
        np.testing.assert_array_equal(task.folds[number][1], test)


# --- real tables -----------------------------------------------------------------------------


def test_published_dummy_is_ours(data_dir: Path) -> None:
    """The recorded constant guess of MatBench agrees with ours, fold by fold."""
    folder = data_dir / "matbench"
    result = run("dummy", ["matbench_steels", "matbench_expt_gap"], data_dir=folder)
    recorded = read_leaderboard(folder)
    recorded = recorded[recorded["model"] == "dummy"].set_index(["task", "fold"])["mae"]
    ours = result.to_frame().set_index(["task", "fold"])["mae"]
    np.testing.assert_allclose(ours, recorded[ours.index], rtol=1e-5)
    assert result.audit["tasks"]["matbench_expt_gap"]["siblings"]["matbench_expt_is_metal"][
        "test_rows_there"
    ] == 4604  # fmt: skip
    assert result.audit["tasks"]["matbench_steels"]["test_rows_in_train"] == 0


def test_composition_tasks() -> None:
    assert COMPOSITION_TASKS == (
        "matbench_steels",
        "matbench_expt_gap",
        "matbench_expt_is_metal",
        "matbench_glass",
    )


def test_composition_objects_are_read() -> None:
    made = official._formulas(pd.Series([Composition("Fe2O3"), "NaN", Composition("Si")]))
    assert made.tolist() == ["Fe2O3", "NaN", "Si"]


@needs_matbench
def test_scores_are_those_of_matbench() -> None:
    from matbench.data_ops import score_array

    rng = np.random.default_rng(0)
    y, predictions = rng.normal(size=50), rng.normal(size=50)
    y[3] = 0.0
    ours = score_predictions("regression", y, predictions)
    theirs = score_array(y, predictions.tolist(), "regression")
    assert {name: ours[name] for name in theirs} == pytest.approx(theirs, abs=1e-12)
    labels, p = y > 0.3, rng.uniform(size=50)
    ours = score_predictions("classification", labels, p > 0.5, np.column_stack([1 - p, p]))
    theirs = score_array(labels, p.tolist(), "classification")
    assert ours["roc_auc_of_labels"] == pytest.approx(theirs.pop("rocauc"), abs=1e-12)
    assert {name: ours[name] for name in theirs} == pytest.approx(theirs, abs=1e-12)
