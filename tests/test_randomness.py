"""The same numbers with any number of threads and jobs, and no global generator moved."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from chgnet.model import CHGNet  # noqa: F401 its import adds warning filters
from joblib import parallel_config
from numpy.testing import assert_allclose, assert_array_equal
from pymatgen.core import Lattice, Structure
from sklearn.base import BaseEstimator, clone
from sklearn.ensemble import ExtraTreesClassifier, RandomForestRegressor, _forest
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR

from sklearn_kt import (
    BlendedKTRegressor,
    CompositionEmbedder,
    ExplicitKTRegressor,
    ImplicitKTClassifier,
    ImplicitKTRegressor,
)
from sklearn_kt.cli import main
from sklearn_kt.encoder.modeling import FeatureEncoder, FrozenEncoder
from sklearn_kt.encoder.training import one_thread
from sklearn_kt.estimators import kernels
from sklearn_kt.estimators.kernels import KernelRegressor, smooth_readout
from sklearn_kt.estimators.uncertainty import ErrorModel
from sklearn_kt.evaluation import make_model
from sklearn_kt.evaluation.runner import fit_and_predict
from sklearn_kt.persistence import load_model, save_model
from sklearn_kt.randomness import random_state_of, seed_torch, torch_generator_kept
from sklearn_kt.structures import Candidate, CrystalGraphRegressor

pytestmark = pytest.mark.usefixtures("few_trees")

FORMULAS = [f"{a}{b}" for a in ("Li", "Na", "K", "Rb", "Mg", "Ca") for b in ("F", "Cl", "Br", "O")]
TARGET = np.linspace(6, 3, len(FORMULAS)) + np.arange(len(FORMULAS)) % 4
FOREST = RandomForestRegressor(20, n_jobs=4, random_state=0)
LABELS = np.where(np.median(TARGET) < TARGET, "ionic", "metallic")
TINY: dict[str, Any] = {
    "checkpoint": None,
    "backbone": "tiny",
    "readout": "head",
    "n_estimators": 1,
    "max_epochs": 2,
}


class Cubes(BaseEstimator):
    """A generator of cubes with one atom."""

    def generate(self, compositions: Any, n_candidates: int) -> list[list[Candidate]]:
        return [
            [Candidate((4 + len(name)) * np.eye(3), np.array([11]), np.zeros((1, 3)))]
            for name in compositions.formulas()
        ]


class Volume(BaseEstimator):
    """An embedder that sees cells only."""

    def transform(self, X: list) -> np.ndarray:
        return np.array([[row[0].structure.volume] for row in X])


@pytest.fixture
def disorder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the trees of scikit-learn's forests get done in another order each time."""
    add, rng = _forest._accumulate_prediction, np.random.default_rng()

    def late(*arguments: Any) -> None:
        time.sleep(rng.uniform(0, 1e-3))
        add(*arguments)

    monkeypatch.setattr(_forest, "_accumulate_prediction", late)


def explicit(readout: Any) -> ExplicitKTRegressor:
    options: Any = {"checkpoint": None, "fallback": "nan"}
    return ExplicitKTRegressor(Cubes(), embedder=Volume(), readout=readout, **options)


MODELS = {
    "blend": (ImplicitKTRegressor(n_estimators=1, max_epochs=1), TARGET),
    "blend of classes": (ImplicitKTClassifier(n_estimators=1, max_epochs=1), LABELS),
    "support vectors": (ImplicitKTRegressor(None, readout=SVR()), TARGET),
    "pipeline": (
        ImplicitKTRegressor(
            None, readout=make_pipeline(StandardScaler(), RandomForestRegressor(3))
        ),
        TARGET,
    ),
    "explicit": (explicit(smooth_readout()), TARGET),
    "blended": (BlendedKTRegressor([("smooth", explicit(smooth_readout()))], cv=2), TARGET),
    "embedder": (CompositionEmbedder(), None),
}


@pytest.mark.usefixtures("untouched_globals")
@pytest.mark.parametrize("name", MODELS)
def test_fits_and_predictions_move_no_generator(name: str) -> None:
    model, y = MODELS[name]
    fitted = clone(model).fit(FORMULAS, y)
    getattr(fitted, "predict", getattr(fitted, "transform", None))(FORMULAS)


@pytest.mark.usefixtures("untouched_globals")
def test_saved_models_move_no_generator(tmp_path: Path) -> None:
    fitted = ImplicitKTRegressor(**TINY).fit(FORMULAS, TARGET)
    load_model(save_model(fitted, tmp_path / "model")).predict(FORMULAS)


@pytest.mark.usefixtures("untouched_globals")
def test_the_graph_network_moves_no_generator() -> None:
    salts = [
        Structure.from_spacegroup("Pm-3m", Lattice.cubic(a), ["Cs", x], [[0, 0, 0], [0.5] * 3])
        for a, x in ((4.1, "Cl"), (4.3, "Br"))
    ]
    CrystalGraphRegressor(max_epochs=1, device="cpu").fit(salts, [1.0, 2.0]).predict(salts)


def test_random_state() -> None:
    generator = np.random.RandomState(3)
    assert random_state_of(generator) is generator
    assert random_state_of(5).randint(99) == np.random.RandomState(5).randint(99)
    assert random_state_of(None).randint(2**31 - 1) != random_state_of(None).randint(2**31 - 1)


def test_seed_reaches_what_a_readout_is_made_of() -> None:
    forest = make_pipeline(StandardScaler(), RandomForestRegressor(3))
    model = ImplicitKTRegressor(None, readout=forest, random_state=0)
    first, again = (clone(model).fit(FORMULAS, TARGET).predict(FORMULAS) for _ in range(2))
    assert_array_equal(first, again)
    assert forest[-1].random_state is None
    kept = make_pipeline(StandardScaler(), RandomForestRegressor(3, random_state=7))
    fitted = model.set_params(readout=kept).fit(FORMULAS, TARGET).readouts_["estimator"]
    assert fitted[-1].random_state == 7


def test_kernel_predicts_as_that_of_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    X, y, weights = rng.normal(size=(90, 7)), rng.normal(size=90), rng.random(90)
    theirs = SVR(C=3.0, epsilon=0.02)
    ours = clone(KernelRegressor(C=3.0, epsilon=0.02)).fit(X, y)
    assert_allclose(ours.predict(X), theirs.fit(X, y).predict(X), rtol=1e-9)
    assert ours.gamma_ == pytest.approx(theirs._gamma)
    ours.fit(X, y, weights)
    theirs.set_params(gamma=ours.gamma_).fit(X, y, weights)
    assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-9)
    weights[::3] = 0
    assert_allclose(
        ours.fit(X, y, weights).predict(X),
        theirs.set_params(gamma=ours.gamma_).fit(X, y, weights).predict(X),
        rtol=1e-9,
    )
    # large tables are left to libsvm
    monkeypatch.setattr(kernels, "MAX_KERNEL_ROWS", 80)
    assert_allclose(ours.fit(X, y, weights).predict(X), theirs.predict(X), rtol=1e-9)
    # to the bit, whatever rows stand beside one
    assert_array_equal(ours.predict(X[::-1])[::-1], ours.predict(X))
    assert_array_equal([ours.predict(row[None])[0] for row in X], ours.predict(X))


@pytest.mark.slow
@pytest.mark.usefixtures("disorder")
@pytest.mark.parametrize(
    ("model", "y", "method"),
    [
        (ImplicitKTRegressor(None, readout="fast", loss="squared_error"), TARGET, "predict"),
        (ImplicitKTClassifier(None, readout="fast"), LABELS, "predict_proba"),
        (ImplicitKTRegressor(None, readout=FOREST), TARGET, "predict"),
        (
            BlendedKTRegressor([("forest", make_pipeline(CompositionEmbedder(None), FOREST))]),
            TARGET,
            "predict",
        ),
    ],
)
def test_any_number_of_jobs_gives_the_same_bits(model: Any, y: Any, method: str) -> None:
    found = []
    for n_jobs in (1, 4, 4):
        fitted = clone(model).set_params(random_state=0, n_jobs=n_jobs).fit(FORMULAS, y)
        found.append(getattr(fitted, method)(FORMULAS))
    assert_array_equal(found[0], found[1])
    assert_array_equal(found[0], found[2])


@pytest.mark.usefixtures("disorder")
def test_errors_and_intervals_are_the_same_bits() -> None:
    X, residuals = np.random.default_rng(0).normal(size=(2, 50, 2))
    one, four = (ErrorModel(0, n_jobs).fit(X, residuals) for n_jobs in (1, 4))
    for _ in range(2):
        assert_array_equal(four.std(X), one.std(X))
        assert_array_equal(four.width(X, 0.8), one.width(X, 0.8))
    assert_array_equal(four.std(X[:1]), one.std(X)[:1])


@pytest.mark.slow
@pytest.mark.usefixtures("disorder")
@pytest.mark.parametrize("kind", ["regression", "classification"])
def test_forests_to_compare_with_are_the_same_bits(kind: Any) -> None:
    y = TARGET if kind == "regression" else LABELS
    found = [
        fit_and_predict(
            make_model("et-fractions", kind, random_state=0, n_jobs=n_jobs),
            FORMULAS, y, FORMULAS, kind=kind,
        )
        for n_jobs in (1, 4)
    ]  # fmt: skip
    assert_array_equal(found[0].predictions, found[1].predictions)
    assert_array_equal(found[0].probabilities, found[1].probabilities)


@pytest.mark.slow
@pytest.mark.usefixtures("disorder")
def test_commands_write_the_same_bytes(tmp_path: Path) -> None:
    data = tmp_path / "data.csv"
    data.write_text("\n".join(["formula", *FORMULAS]))
    forest = make_pipeline(CompositionEmbedder(None), ExtraTreesClassifier(20, random_state=0))
    model = ImplicitKTRegressor(None, readout="fast", random_state=0)
    for kind, jobs, y in (
        (model, "n_jobs", TARGET),
        (forest, "extratreesclassifier__n_jobs", LABELS),
    ):
        written = set()
        for n_jobs in (1, 4):
            fitted = clone(kind).set_params(**{jobs: n_jobs}).fit(FORMULAS, y)
            path = str(save_model(fitted, tmp_path / f"{n_jobs}.model"))
            out = tmp_path / f"{n_jobs}.csv"
            assert not main(["predict", path, str(data), "--output", str(out)])
            written.add(out.read_bytes())
            if kind is model:
                screened = tmp_path / f"{n_jobs}.parquet"
                assert not main(["predict", path, str(data), "--output", str(out), "--return-std"])
                assert not main(["screen", path, str(data), "--output", str(screened)])
                written |= {out.read_bytes(), screened.read_bytes()}
        assert len(written) == (3 if kind is model else 1)


def test_threads_do_not_break_each_others_seeds() -> None:
    model = ImplicitKTRegressor(**TINY, random_state=0)
    alone = cross_val_score(model, np.array(FORMULAS), TARGET, cv=4)
    before = torch.get_rng_state(), torch.get_num_threads(), repr(np.random.get_state())  # noqa: NPY002
    with parallel_config("threading"):
        together = cross_val_score(model, np.array(FORMULAS), TARGET, cv=4, n_jobs=4)
    assert_array_equal(together, alone)
    assert_array_equal(torch.get_rng_state(), before[0])
    assert (torch.get_num_threads(), repr(np.random.get_state())) == before[1:]  # noqa: NPY002


@pytest.mark.usefixtures("untouched_globals")
def test_what_is_built_meanwhile_waits_for_the_generator() -> None:
    spec = {"kind": "features", "config": {"n_features": 2, "hidden_size": 2}}
    with torch_generator_kept():
        weights = FeatureEncoder(2, 2).state_dict()
        seed_torch(0)
        expected = [torch.rand(1).item(), torch.rand(1).item()]
    with torch_generator_kept():
        seed_torch(0)
        builder = threading.Thread(target=FrozenEncoder, args=(spec, weights))
        found = [torch.rand(1).item()]
        builder.start()
        builder.join(0.3)
        found.append(torch.rand(1).item())
    builder.join()
    assert found == expected


def test_seed_on_the_cpu_leaves_gpus_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(seed: int) -> None:
        pytest.fail("seeded")

    monkeypatch.setattr(torch.cuda, "manual_seed_all", fail)
    ImplicitKTRegressor(**TINY).fit(FORMULAS, TARGET)


@pytest.mark.parametrize("first_out", ["host", "other"])
def test_threads_leave_the_number_of_torchs_threads(first_out: str) -> None:
    network = torch.nn.Linear(1, 1)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    inside, leave = threading.Event(), threading.Event()
    seen: list[int] = []

    def other() -> None:
        with one_thread(network):
            inside.set()
            leave.wait(60)
        seen.append(torch.get_num_threads())

    def fresh() -> None:
        seen.append(torch.get_num_threads())

    try:
        thread = threading.Thread(target=other)
        with one_thread(network):
            thread.start()
            assert inside.wait(60)
            assert torch.get_num_threads() == 1
            if first_out == "other":
                leave.set()
                thread.join()
                assert torch.get_num_threads() == 1
        leave.set()
        thread.join()
        late = threading.Thread(target=fresh)
        late.start()
        late.join()
        assert [torch.get_num_threads(), *seen] == [3, 3, 3]
    finally:
        torch.set_num_threads(before)
