"""Numbers do not depend on what the host program has set for all of scikit-learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from joblib import Parallel, delayed
from sklearn import config_context
from sklearn.base import clone, is_classifier
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_kt import (
    BlendedKTRegressor,
    CompositionEmbedder,
    CompositionTokenizer,
    ExplicitKTRegressor,
    ImplicitKTClassifier,
    ImplicitKTRegressor,
    explain,
)
from sklearn_kt.evaluation import evaluate, score_predictions, table_task
from sklearn_kt.persistence import load_model, save_model
from sklearn_kt.plotting import EmbeddingDisplay
from sklearn_kt.screening import screen
from sklearn_kt.structures import PrototypeGenerator

FORMULAS = [f"{a}{b}" for a in ("Li", "Na", "K", "Rb", "Cs", "Ag") for b in ("F", "Cl", "Br", "I")]
GAPS = np.random.default_rng(0).normal(5, 2, len(FORMULAS))
KINDS = np.where(GAPS > 5, "wide", "narrow")
NUMBERS = np.random.default_rng(1).normal(size=(len(FORMULAS), 6))
UNSEEN = ["NaAt", "MgO", "AgCl"]

OTHERS = {
    "enable_metadata_routing": True,
    "array_api_dispatch": True,
    "assume_finite": True,
    "working_memory": 1,
    "pairwise_dist_chunk_size": 1,
}
HOSTS: dict[str, dict[str, Any]] = {
    "pandas": {"transform_output": "pandas"},
    "polars": {"transform_output": "polars", **OTHERS},
}


class Sizes:
    """Columns of structures without CHGNet."""

    def transform(self, X: Any) -> np.ndarray:
        return np.array(
            [
                [row[0].structure.volume, len(row[0].numbers)] if row else [np.nan, np.nan]
                for row in X
            ]
        )


def _scaled(model: Any) -> Any:
    return make_pipeline(StandardScaler(), PCA(4, svd_solver="full"), model)


MODELS: dict[str, tuple[Any, Any, Any]] = {
    "fast": (ImplicitKTRegressor(None, readout="fast", random_state=0), NUMBERS, GAPS),
    "own readout": (ImplicitKTRegressor(None, readout=_scaled(Ridge())), FORMULAS, GAPS),
    "neighbours": (ImplicitKTRegressor(None, readout=KNeighborsRegressor()), FORMULAS, GAPS),
    "classes": (ImplicitKTClassifier(None, readout=_scaled(LogisticRegression())), FORMULAS, KINDS),
    "networks": (
        ImplicitKTClassifier(
            None, backbone="tiny", readout="head", n_estimators=1, max_epochs=1, random_state=0
        ),
        NUMBERS,
        KINDS,
    ),
    "explicit": (
        ExplicitKTRegressor(
            embedder=Sizes(), checkpoint=None, readout=_scaled(Ridge()), fallback="nan"
        ),
        FORMULAS,
        GAPS,
    ),
    "blended": (
        BlendedKTRegressor(
            [
                ("ours", ImplicitKTRegressor(None, readout=_scaled(Ridge()))),
                ("pipeline", make_pipeline(CompositionEmbedder(None), _scaled(Ridge()))),
            ],
            cv=2,
            random_state=0,
        ),
        FORMULAS,
        GAPS,
    ),
}


def _numbers(model: Any, X: Any) -> np.ndarray:
    return model.predict_proba(X) if is_classifier(model) else model.predict(X)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.filterwarnings("ignore:.*have no structure")
def test_fits_and_predictions_are_the_same(name: str) -> None:
    model, X, y = MODELS[name]
    unseen = UNSEEN if X is FORMULAS else NUMBERS[:3]
    fitted = clone(model).fit(X, y)
    expected = _numbers(fitted, unseen)
    for host in HOSTS.values():
        with config_context(**host):
            under_host = clone(model).fit(X, y)
            for found in (_numbers(under_host, unseen), _numbers(fitted, unseen)):
                assert type(found) is np.ndarray
                np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(_numbers(under_host, unseen), expected)


def test_uncertainties_are_the_same() -> None:
    model = ImplicitKTRegressor(None, readout="fast", random_state=0).fit(NUMBERS, GAPS)
    expected = model.predict_interval(NUMBERS)
    with config_context(**HOSTS["polars"]):
        np.testing.assert_array_equal(model.predict_interval(NUMBERS), expected)


def test_threads_and_workers_give_the_same() -> None:
    model, X, y = MODELS["own readout"]
    expected = clone(model).fit(X, y).predict(UNSEEN)

    def run() -> np.ndarray:
        return clone(model).fit(X, y).predict(UNSEEN)

    with config_context(**HOSTS["pandas"]):
        for found in Parallel(n_jobs=2, backend="threading")(delayed(run)() for _ in range(2)):
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "transformer", [CompositionEmbedder(None), CompositionTokenizer("fraction")]
)
def test_transformers_honour_the_host(transformer: Any) -> None:
    fitted = transformer.fit(FORMULAS)
    expected = fitted.transform(UNSEEN)
    names = fitted.get_feature_names_out().tolist()
    for output, frame in (("pandas", pd.DataFrame), ("polars", pl.DataFrame)):
        with config_context(transform_output=output):
            given = fitted.transform(UNSEEN)
            again = clone(transformer).fit_transform(UNSEEN)
        for table in (given, again):
            assert isinstance(table, frame)
            assert list(table.columns) == names
        np.testing.assert_array_equal(given.to_numpy(), expected)
    chosen = clone(transformer).set_output(transform="pandas").fit(FORMULAS)
    assert isinstance(chosen.transform(UNSEEN), pd.DataFrame)
    with config_context(transform_output="pandas"):
        chosen = clone(transformer).set_output(transform="default").fit(FORMULAS)
        assert type(chosen.transform(UNSEEN)) is np.ndarray


@pytest.mark.parametrize("where", ["X", "y"])
def test_missing_numbers_are_refused_though_the_host_assumes_there_are_none(where: str) -> None:
    X, y = NUMBERS.copy(), GAPS.copy()
    (X if where == "X" else y)[1] = np.nan
    with config_context(assume_finite=True):
        for model in (ImplicitKTRegressor(None, readout="fast"), ExplicitKTRegressor()):
            with pytest.raises(ValueError, match="contains NaN"):
                model.fit(X, y)
        with pytest.raises(ValueError, match="contains NaN"):
            ImplicitKTRegressor(None, readout=Ridge()).fit(NUMBERS, GAPS).predict(X * np.nan)
        with pytest.raises(ValueError, match="contains NaN"):
            score_predictions("regression", GAPS, GAPS * np.nan)


def test_functions_give_the_same(tmp_path: Path) -> None:
    pipeline = make_pipeline(CompositionEmbedder(None), _scaled(Ridge()))
    models = {"ours": MODELS["own readout"][0], "pipeline": pipeline}
    task = table_task(FORMULAS, GAPS, kind="regression", n_splits=2)
    fitted = clone(models["ours"]).fit(FORMULAS, GAPS)
    save_model(fitted, tmp_path / "model")

    def run(sub: str) -> list[Any]:
        (tmp_path / sub).mkdir()
        evaluated = evaluate(models, task)
        screen(fitted, UNSEEN, tmp_path / sub / "out.parquet", return_std=False)
        plotted = EmbeddingDisplay.from_estimator(
            CompositionEmbedder(None).fit(FORMULAS), FORMULAS, GAPS
        )
        return [
            *(record.predictions for record in evaluated.records),
            pd.read_parquet(tmp_path / sub / "out.parquet")["prediction"].to_numpy(),
            load_model(tmp_path / "model").predict(UNSEEN),
            explain(fitted, "NaCl", background=FORMULAS, baseline="background").values,  # noqa: PD011
            plotted.points,
        ]

    expected = run("default")
    for name, host in HOSTS.items():
        with config_context(**host):
            for found, known in zip(run(name), expected, strict=True):
                np.testing.assert_array_equal(found, known)


# what says how to predict, not what
HOW = {"errors", "device", "n_jobs", "verbose", "cache_dir"}


@pytest.mark.parametrize(
    ("model", "X", "y"),
    [
        (
            ImplicitKTRegressor(
                None,
                backbone="tiny",
                readout="head",
                n_estimators=3,
                max_epochs=1,
                loss="squared_error",
                random_state=0,
            ),
            NUMBERS,
            GAPS,
        ),
        (
            ImplicitKTClassifier(None, readout="fast", class_weight="balanced", random_state=0),
            NUMBERS,
            KINDS,
        ),
        MODELS["explicit"],
        MODELS["blended"],
    ],
    ids=["head", "classes", "explicit", "blended"],
)
def test_parameters_set_after_a_fit_change_nothing(model: Any, X: Any, y: Any) -> None:
    unseen = ["NaCl", "MgO", "AgCl"] if X is FORMULAS else NUMBERS[:3]
    fitted = clone(model).fit(X, y)
    expected = _numbers(fitted, unseen)
    for name in fitted.get_params(deep=False).keys() - HOW:
        # whatever reads it fails
        setattr(fitted, name, object())
    np.testing.assert_array_equal(_numbers(fitted, unseen), expected)


@pytest.mark.slow
def test_nested_parameters_set_after_a_fit_change_nothing() -> None:
    model = ExplicitKTRegressor(
        PrototypeGenerator(max_atoms=40), embedder=Sizes(), checkpoint=None, readout=Ridge()
    )
    model.fit(FORMULAS, GAPS)
    expected = model.predict(FORMULAS)
    model.set_params(generator__max_atoms=1)
    np.testing.assert_array_equal(model.predict(FORMULAS), expected)
