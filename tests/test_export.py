"""Networks in bfloat16, and as ONNX graphs in another runtime."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.pipeline import make_pipeline

from sklearn_kt import CompositionEmbedder, ImplicitKTClassifier, ImplicitKTRegressor
from sklearn_kt.cli import main
from sklearn_kt.exceptions import InputError
from sklearn_kt.export import _graph, export_onnx, onnx_inputs, reduce_precision
from sklearn_kt.persistence import save_model

FORMULAS = [f"{a}{b}" for a in ("Li", "Na", "K2", "Rb", "Cs") for b in ("F", "Cl3", "BrO", "I")]
TARGET = np.linspace(6, 3, len(FORMULAS)) + np.arange(len(FORMULAS)) % 4
# of other lengths than those seen in fitting, and hard for rounded amounts
UNSEEN = ["Fe", "LiFePO4", "Bi0.5Sb1.5Te3", "Na0.99995Eu0.00005Cl", "K2NaAlF6", "HgBa2Ca2Cu3O8F"]
TINY: dict[str, Any] = {
    "checkpoint": None,
    "backbone": "tiny",
    "readout": "head",
    "max_epochs": 2,
    "random_state": 0,
}


@pytest.fixture(scope="module")
def embedder() -> CompositionEmbedder:
    return CompositionEmbedder(blocks=["embedding", "properties"]).fit(FORMULAS)


def session(path: Path) -> Any:
    onnxruntime = pytest.importorskip("onnxruntime")
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


@pytest.mark.slow
def test_reduced_precision_changes_little_and_leaves_the_model_alone(
    embedder: CompositionEmbedder,
) -> None:
    exact = embedder.transform(FORMULAS + UNSEEN)
    reduced = reduce_precision(embedder)
    found = reduced.transform(FORMULAS + UNSEEN)
    change = np.abs(found - exact) / exact.std(axis=0)
    # eight bits: more than float32 rounds, less than anybody sees
    assert 1e-5 < change.mean() < 0.02
    assert change.max() < 0.3
    assert_array_equal(embedder.transform(FORMULAS + UNSEEN), exact)
    # amounts keep their bits: a dopant of 5e-5 is told from none
    doped, pure = reduced.transform(["Na0.99995Eu0.00005Cl", "NaCl"])
    assert np.abs(doped - pure).max() > 1e-3


def test_reduced_predictions_do_not_depend_on_their_batch() -> None:
    model = reduce_precision(ImplicitKTRegressor(**TINY, n_estimators=1).fit(FORMULAS, TARGET))
    together = model.predict(FORMULAS + UNSEEN)
    alone = np.concatenate([model.predict([formula]) for formula in FORMULAS + UNSEEN])
    assert_array_equal(together, alone)


def test_encoders_inside_other_models_are_reduced() -> None:
    trees = ExtraTreesRegressor(5, random_state=0)
    pipeline = make_pipeline(CompositionEmbedder(blocks=["embedding"]), trees)
    pipeline.fit(FORMULAS, TARGET)
    reduced = reduce_precision(pipeline)
    assert np.any(reduced[0].transform(UNSEEN) != pipeline[0].transform(UNSEEN))
    assert reduced[-1] is not pipeline[-1]
    assert_array_equal(reduced.get_params()["memory"], pipeline.get_params()["memory"])


def test_command_line_screens_in_bfloat16(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    model = ImplicitKTRegressor(**TINY, n_estimators=1).fit(FORMULAS, TARGET)
    save_model(model, tmp_path / "m")
    table, sink = tmp_path / "in.csv", tmp_path / "out.parquet"
    table.write_text("formula\n" + "\n".join(UNSEEN), encoding="utf-8")
    command = ["screen", str(tmp_path / "m"), str(table), "--no-std", "--bfloat16"]
    assert main([*command, "--output", str(sink)]) == 0
    assert_array_equal(pd.read_parquet(sink)["prediction"], reduce_precision(model).predict(UNSEEN))
    assert "wrote" in capsys.readouterr().err


def test_what_cannot_be_reduced_or_saved(tmp_path: Path) -> None:
    for model in (CompositionEmbedder(), ExtraTreesRegressor()):
        with pytest.raises(InputError, match="no composition encoder"):
            reduce_precision(model)
    numbers = ImplicitKTRegressor(**TINY, n_estimators=1).fit(np.eye(20), TARGET)
    with pytest.raises(InputError, match="no composition encoder"):
        reduce_precision(numbers)
    tiny = ImplicitKTRegressor(**TINY, n_estimators=1).fit(FORMULAS, TARGET)
    with pytest.raises(InputError, match="reduce it after loading"):
        save_model(reduce_precision(tiny), tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.usefixtures("untouched_globals")
def test_fine_tuned_checkpoint_in_another_runtime(
    tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    pytest.importorskip("onnxruntime")
    model = ImplicitKTRegressor(
        readout="head", n_estimators=1, max_epochs=1, batch_size=20, random_state=0
    ).fit(FORMULAS, TARGET)
    path = export_onnx(model, tmp_path / "gap.onnx")
    assert [entry.name for entry in tmp_path.iterdir()] == ["gap.onnx"]
    assert capfd.readouterr() == ("", "")
    graph = session(path)
    (found,) = graph.run(["prediction"], onnx_inputs(UNSEEN))
    assert_allclose(found[:, 0], model.predict(UNSEEN), rtol=0, atol=1e-4 * TARGET.std())
    # one row, and many
    (found,) = graph.run(None, onnx_inputs(["Fe"]))
    assert_allclose(found[:, 0], model.predict(["Fe"]), rtol=0, atol=1e-4 * TARGET.std())
    (found,) = graph.run(None, onnx_inputs(UNSEEN * 50))
    assert_allclose(found[:, 0], model.predict(UNSEEN * 50), rtol=0, atol=1e-4 * TARGET.std())


@pytest.mark.slow
def test_frozen_encoder_in_another_runtime(embedder: CompositionEmbedder, tmp_path: Path) -> None:
    graph = session(export_onnx(embedder, tmp_path / "encoder.onnx"))
    found = np.hstack(graph.run(["embeddings", "properties"], onnx_inputs(UNSEEN)))
    exact = embedder.transform(UNSEEN)
    assert (np.abs(found - exact) / exact.std(axis=0)).max() < 1e-4
    about = graph.get_modelmeta().custom_metadata_map
    assert json.loads(about["properties"]) == embedder.encoder_.property_names


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error"])
@pytest.mark.parametrize("n_estimators", [1, 2, 3, 4])
def test_graphs_vote_as_ensembles_do(loss: str, n_estimators: int) -> None:
    targets = np.column_stack([TARGET, -100 * TARGET**2])
    # too few rows for inner folds: members see the same rows, and differ by their seeds
    model = ImplicitKTRegressor(**TINY, loss=loss, n_estimators=n_estimators)
    model.fit(FORMULAS[:8], targets[:8])
    assert len(model.nets_) == n_estimators
    graph, names, _ = _graph(model)
    inputs = {name: torch.from_numpy(array) for name, array in onnx_inputs(UNSEEN).items()}
    with torch.no_grad():
        found = graph(**inputs).numpy()
    assert names == ["prediction"]
    assert_allclose(found, model.predict(UNSEEN), rtol=1e-5)


@pytest.mark.slow
def test_probabilities_in_another_runtime(tmp_path: Path) -> None:
    labels = np.where(np.median(TARGET) < TARGET, "high", "low")
    model = ImplicitKTClassifier(**TINY, n_estimators=1, class_weight={"high": 3, "low": 1})
    model.fit(FORMULAS, labels)
    graph = session(export_onnx(model, tmp_path / "m.onnx"))
    (found,) = graph.run(["probabilities"], onnx_inputs(UNSEEN))
    assert_allclose(found, model.predict_proba(UNSEEN), rtol=0, atol=1e-5)
    about = graph.get_modelmeta().custom_metadata_map
    assert json.loads(about["classes"]) == ["high", "low"]


def test_what_cannot_be_exported(
    embedder: CompositionEmbedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnx")
    trees = ImplicitKTRegressor(readout=ExtraTreesRegressor(3)).fit(FORMULAS, TARGET)
    numbers = ImplicitKTRegressor(**TINY, n_estimators=1).fit(np.eye(20), TARGET)
    table = pd.DataFrame({"formula": FORMULAS, "t": TARGET})
    for model, message in [
        (CompositionEmbedder(None).fit(table), "conditions t, and graphs read compositions"),
        (trees, "predicts by estimator"),
        (numbers, "network on features"),
        (CompositionEmbedder(None).fit(FORMULAS), "no encoder"),
        (make_pipeline(embedder), "not a Pipeline"),
    ]:
        with pytest.raises(InputError, match=message):
            export_onnx(model, tmp_path / "m.onnx")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(InputError, match=r"pip install 'sklearn_kt\[onnx\]'"):
        export_onnx(embedder, tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []
