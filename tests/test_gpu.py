"""Fits and predictions on a GPU, and models that leave it; skipped where there is none."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from torch.nn import functional

from sklearn_kt import (
    CompositionEmbedder,
    ImplicitKTClassifier,
    ImplicitKTRegressor,
    load_model,
    save_model,
)
from sklearn_kt.datasets import load_expt_gap
from sklearn_kt.encoder.precision import products_in
from sklearn_kt.pretraining import Corpus, CorpusTable, CrossModalPretrainer, Property, build_corpus
from sklearn_kt.pretraining.objectives import PretrainingRun
from sklearn_kt.properties import predict_properties

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")

# networks alone, one of them, and the readouts with networks among them
SETTINGS: dict[str, dict[str, Any]] = {
    "network": {"readout": "head", "n_estimators": 1},
    "scratch": {"readout": "head", "n_estimators": 1, "checkpoint": None, "max_epochs": 3},
    "blend": {"n_estimators": 2},
}
_CHILD = """
import sys
import numpy as np
import torch
from sklearn_kt import load_model
assert not torch.cuda.is_available()
np.save(sys.argv[2], load_model(sys.argv[1]).predict(sys.argv[3].split()))
"""


@pytest.fixture(scope="module")
def table() -> tuple[list[str], np.ndarray]:
    X, y = load_expt_gap(return_X_y=True)
    rows = np.random.default_rng(0).permutation(len(y))[:160]
    return [str(X[row]) for row in rows], np.asarray(y)[rows]


@pytest.fixture(scope="module", params=list(SETTINGS))
def fitted(
    request: pytest.FixtureRequest, table: tuple[list[str], np.ndarray]
) -> ImplicitKTRegressor:
    X, y = table
    return ImplicitKTRegressor(**SETTINGS[request.param], random_state=0).fit(X[:120], y[:120])


def test_networks_train_there_and_come_back(
    table: tuple[list[str], np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[tuple[str, torch.dtype]] = set()
    linear = functional.linear

    def watched(x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        out = linear(x, *args, **kwargs)
        if torch.is_grad_enabled():
            seen.add((out.device.type, out.dtype))
        return out

    monkeypatch.setattr(functional, "linear", watched)
    X, y = table
    model = ImplicitKTRegressor(**SETTINGS["network"], random_state=0).fit(X[:60], y[:60])
    assert ("cuda", torch.bfloat16) in seen
    assert not {kind for kind, _ in seen} - {"cuda"}
    for net in model.nets_:
        assert {value.device.type for value in net.module_.state_dict().values()} == {"cpu"}
    # where torch says where a storage was
    assert b"cuda:" not in pickle.dumps(model)


def test_learns(fitted: ImplicitKTRegressor, table: tuple[list[str], np.ndarray]) -> None:
    X, y = table
    if fitted.checkpoint is None:
        pytest.skip("three epochs from nothing are too few")
    predicted = fitted.predict(X[120:])
    assert np.abs(predicted - y[120:]).mean() < 0.6 * np.abs(np.median(y[:120]) - y[120:]).mean()


def test_predicts_the_same_without_the_gpu(
    fitted: ImplicitKTRegressor, table: tuple[list[str], np.ndarray], tmp_path: Path
) -> None:
    X, y = table
    here = fitted.predict(X)
    path = save_model(fitted, tmp_path / "model")
    assert_array_equal(load_model(path).predict(X), here)
    subprocess.run(
        [sys.executable, "-c", _CHILD, path, tmp_path / "out.npy", " ".join(X)],
        check=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )
    # products on the GPU and the processor are rounded differently
    assert_allclose(np.load(tmp_path / "out.npy"), here, atol=0.02 * y.std())


def test_same_seed_and_the_callers_generators(table: tuple[list[str], np.ndarray]) -> None:
    X, y = table
    model = ImplicitKTRegressor(**SETTINGS["network"], random_state=0)
    states = torch.random.get_rng_state(), torch.cuda.get_rng_state()
    first, second = (clone(model).fit(X[:60], y[:60]).predict(X) for _ in range(2))
    assert torch.equal(states[0], torch.random.get_rng_state())
    assert torch.equal(states[1], torch.cuda.get_rng_state())
    # sums on a GPU have no fixed order
    assert_allclose(first, second, atol=0.2 * y.std())
    other = clone(model).set_params(random_state=1).fit(X[:60], y[:60]).predict(X)
    assert np.abs(first - other).mean() > np.abs(first - second).mean()


def test_classes_and_searches(table: tuple[list[str], np.ndarray]) -> None:
    X, y = table
    labels = np.where(y > 0, "gap", "metal")
    search = GridSearchCV(
        ImplicitKTClassifier(**SETTINGS["network"], random_state=0),
        {"max_epochs": [2, 8]},
        cv=2,
        n_jobs=2,
    ).fit(X[:120], labels[:120])
    probabilities = search.predict_proba(X[120:])
    assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    # better than one class for all
    assert search.score(X[120:], labels[120:]) > 0.1 + np.mean(labels[120:] == "metal")


def test_embeddings_and_properties(table: tuple[list[str], np.ndarray]) -> None:
    X, _ = table
    there, here = (
        CompositionEmbedder(device=device).fit(X).transform(X) for device in ("cuda", "cpu")
    )
    assert_allclose(there, here, atol=1e-3 * here.std())
    there, here = (
        predict_properties(X[:20], device=device)["value"].to_numpy(float)
        for device in ("cuda", "cpu")
    )
    assert_array_equal(np.isnan(there), np.isnan(here))
    assert_allclose(there, here, rtol=1e-3, atol=1e-4)


def test_a_killed_pretraining_goes_on(
    tmp_path: Path, table: tuple[list[str], np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = table
    corpus: Corpus = build_corpus(
        tmp_path / "corpus", [CorpusTable(X, {"gap": y})], [Property("gap", "eV")]
    )
    pretrainer = CrossModalPretrainer("small", max_steps=12, batch_size=64, checkpoint_every=4)
    whole = clone(pretrainer).fit(corpus)
    one_step, steps = PretrainingRun.one_step, []

    def killed(self: PretrainingRun, progress: float) -> None:
        if self.step == 6 and len(steps) == 6:
            steps.append("killed")
            raise KeyboardInterrupt
        steps.append(self.step)
        one_step(self, progress)

    monkeypatch.setattr(PretrainingRun, "one_step", killed)
    part = clone(pretrainer).set_params(checkpoint_dir=tmp_path / "state")
    with pytest.raises(KeyboardInterrupt):
        part.fit(corpus)
    part.fit(corpus)
    # from the last state, which is of step 4 or that of the interruption
    assert steps[7] in (4, 6)
    other = clone(whole).set_params(random_state=1).fit(corpus)
    mine, same, others = (
        torch.cat([value.flatten() for value in fitted.model_.parameters()])
        for fitted in (part, whole, other)
    )
    assert mine.device.type == "cpu"
    assert (mine - same).abs().mean() < 0.05 * (others - same).abs().mean()
    folder = part.save(tmp_path / "checkpoint", card="On a GPU.")
    model = ImplicitKTRegressor(folder, **SETTINGS["network"], random_state=0).fit(X[:60], y[:60])
    assert np.isfinite(model.predict(X)).all()


def test_products_in_bfloat16() -> None:
    layer = torch.nn.Linear(8, 8, device="cuda")
    with products_in("bfloat16", "cuda"):
        assert layer(torch.ones(2, 8, device="cuda")).dtype == torch.bfloat16
