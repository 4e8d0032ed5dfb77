"""Every fit ends complete or leaves nothing behind, wherever it is cut off."""

from __future__ import annotations

import copy
import importlib
import inspect
import pkgutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from pymatgen.core import Lattice, Structure
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.naive_bayes import GaussianNB

import sklearn_kt
from sklearn_kt import (
    BlendedKTClassifier,
    BlendedKTRegressor,
    CompositionEmbedder,
    CompositionTokenizer,
    ExplicitKTClassifier,
    ExplicitKTRegressor,
    ImplicitKTClassifier,
    ImplicitKTRegressor,
)
from sklearn_kt.estimators import readouts, selection, uncertainty
from sklearn_kt.estimators.readouts import MedianTreesRegressor
from sklearn_kt.estimators.uncertainty import ErrorModel
from sklearn_kt.fitting import fit_context
from sklearn_kt.persistence import load_model, save_model
from sklearn_kt.pretraining import CorpusTable, CrossModalPretrainer, Property, build_corpus
from sklearn_kt.structures import (
    Candidate,
    CrystalGraphClassifier,
    CrystalGraphRegressor,
    PrototypeGenerator,
    StructureEmbedder,
)

PACKAGE = str(Path(sklearn_kt.__file__).parent)
FITTING = inspect.getsourcefile(fit_context)
FORMULAS = [f"{a}{b}" for a in ("Li", "Na", "K", "Rb", "Mg", "Ca") for b in ("F", "Cl", "Br", "O")]
TARGET = np.linspace(6, 3, len(FORMULAS)) + np.arange(len(FORMULAS)) % 4
LABELS = np.where(np.median(TARGET) < TARGET, "ionic", "metallic")
SALTS = [
    Structure.from_spacegroup("Pm-3m", Lattice.cubic(a), ["Cs", x], [[0, 0, 0], [0.5] * 3])
    for a, x in ((4.1, "Cl"), (4.3, "Br"), (4.6, "I"))
]


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


def quick(model: Any) -> Any:
    return model.set_params(checkpoint=None, backbone="tiny", n_estimators=2, max_epochs=1)


def of_crystals(kind: type, **parameters: Any) -> Any:
    return kind(Cubes(), embedder=Volume(), checkpoint=None, **parameters)


numbers, classes = ImplicitKTRegressor, ImplicitKTClassifier
ridge, bayes = numbers(None, readout=Ridge()), classes(None, readout=GaussianNB())
# estimator, y, and the method that needs a fit
ON_FORMULAS: dict[str, tuple[Any, Any, str]] = {
    "blend": (quick(numbers(random_state=0)), TARGET, "predict"),
    "blend of classes": (quick(classes(random_state=0)), LABELS, "predict_proba"),
    "readout": (ridge, TARGET, "predict"),
    "explicit": (
        of_crystals(ExplicitKTRegressor, readout=Ridge(), composition_estimator=ridge),
        TARGET,
        "predict",
    ),
    "explicit classes": (
        of_crystals(ExplicitKTClassifier, readout=GaussianNB(), composition_estimator=bayes),
        LABELS,
        "predict",
    ),
    "blended": (BlendedKTRegressor([("ridge", ridge)], cv=2, random_state=0), TARGET, "predict"),
    "blended classes": (
        BlendedKTClassifier([("bayes", bayes)], cv=2, random_state=0),
        LABELS,
        "predict",
    ),
    "embedder": (CompositionEmbedder(None), None, "transform"),
}


@pytest.fixture(autouse=True)
def few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readouts, "_N_TREES", {"auto": 2, "fast": 2})
    monkeypatch.setattr(uncertainty, "_N_TREES", 25)
    monkeypatch.setattr(selection, "_ROUNDS", 2)


class Cut:
    """Raise at a given step: where a function of the package, of any thread, begins or ends.

    Steps of ``fitting.py`` itself do not count: before its first and after its last one the
    old and the new fit are whole.
    """

    def __init__(self, step: float, error: type[BaseException] = KeyboardInterrupt) -> None:
        self.step, self.error, self.done = step, error, 0

    def __enter__(self) -> Cut:
        sys.setprofile(self._count)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _count(self, frame: Any, event: str, _: object) -> None:
        name = frame.f_code.co_filename
        if event in ("call", "return") and name.startswith(PACKAGE) and name != FITTING:
            self.done += 1
            if self.done > self.step:
                raise self.error


def check_cuts(model: Any, fit: Callable[[Any], Any], use: Callable[[Any], Any], n: int) -> None:
    """Cut first and second fits at n random steps each."""
    whole = fit(clone(model))
    tried = clone(model)
    with Cut(np.inf) as counted:
        fit(tried)
    kept = vars(clone(model)).keys()

    @settings(max_examples=n, suppress_health_check=list(HealthCheck))
    @given(
        st.integers(0, counted.done - 1),
        st.booleans(),
        st.sampled_from([KeyboardInterrupt, SystemExit, ZeroDivisionError]),
    )
    def cut(step: int, again: bool, error: type[BaseException]) -> None:
        tried = copy.deepcopy(whole) if again else clone(model)
        with pytest.raises(error), Cut(step, error):
            fit(tried)
        # what scikit-learn's own forests keep of their last fit is no matter of ours
        left = vars(tried).keys() - kept
        assert all(
            isinstance(tried, MedianTreesRegressor) and not name.endswith("_") for name in left
        )
        with pytest.raises(NotFittedError):
            use(tried)

    cut()
    assert vars(fit(whole)).keys() > kept
    use(whole)


@pytest.mark.slow
@pytest.mark.parametrize("name", ON_FORMULAS)
def test_cut_fit_of_formulas(name: str) -> None:
    model, y, method = ON_FORMULAS[name]
    check_cuts(model, lambda m: m.fit(FORMULAS, y), lambda m: getattr(m, method)(FORMULAS), 6)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [CrystalGraphRegressor, CrystalGraphClassifier])
def test_cut_fit_of_crystals(kind: type) -> None:
    model = kind(max_epochs=1, device="cpu", early_stopping=True)
    y = [1.0, 2.0, 3.0] if kind is CrystalGraphRegressor else ["a", "b", "a"]
    check_cuts(model, lambda m: m.fit(SALTS, y), lambda m: m.predict(SALTS), 3)


@pytest.mark.parametrize("model", [MedianTreesRegressor(3), ErrorModel(0)])
def test_cut_fit_of_readouts(model: Any) -> None:
    X, y = np.random.default_rng(0).normal(size=(2, 20, 2))
    check_cuts(
        model, lambda m: m.fit(X, y), lambda m: getattr(m, "std", getattr(m, "predict", None))(X), 4
    )


def test_cut_pretraining(tmp_path: Path) -> None:
    table = CorpusTable(FORMULAS, {"gap": TARGET})
    corpus = build_corpus(tmp_path / "corpus", [table], [Property("gap", "eV")])
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    model = CrossModalPretrainer(sizes, max_steps=2, batch_size=8, validation_fraction=0.2)
    check_cuts(model, lambda m: m.fit(corpus), lambda m: m.evaluate(corpus), 3)


@pytest.mark.parametrize(
    "model", [CompositionTokenizer(), PrototypeGenerator(), StructureEmbedder()], ids=repr
)
def test_what_learns_nothing_keeps_nothing_of_a_fit_that_failed(model: Any) -> None:
    X = SALTS if isinstance(model, StructureEmbedder) else FORMULAS
    model.fit(X)
    with pytest.raises(ValueError, match=r"[Rr]ow 1"):
        model.fit([X[0], 17])
    assert not [name for name in vars(model) if name.endswith("_")]


def test_refit_that_raises_leaves_no_fit(tmp_path: Path) -> None:
    model = ImplicitKTRegressor(None, readout=Ridge()).fit(FORMULAS, TARGET)
    for changes, y in (({}, TARGET[1:]), ({}, [*TARGET[1:], np.nan]), ({"n_jobs": "all"}, TARGET)):
        model.set_params(n_jobs=None).fit(FORMULAS, TARGET)
        with pytest.raises(ValueError, match=r"inconsistent|NaN|n_jobs"):
            model.set_params(**changes).fit(FORMULAS, y)
        with pytest.raises(NotFittedError):
            model.predict(FORMULAS)
    again = load_model(save_model(model, tmp_path / "model"))
    assert vars(again).keys() == vars(clone(model)).keys()
    with pytest.raises(NotFittedError):
        again.predict(FORMULAS)


def test_nothing_is_seen_of_a_fit_before_its_end() -> None:
    model = ImplicitKTRegressor(None, readout=Watching(), random_state=0)
    Watching.watched = model
    assert model.fit(FORMULAS, TARGET) is model
    assert Watching.seen == vars(clone(model)).keys()
    assert_array_equal(model.predict(FORMULAS[:2]), [3, 3])


class Watching(RegressorMixin, BaseEstimator):
    """A readout that looks at the estimator it is fitted in."""

    watched: Any = None
    seen: Any = None

    def fit(self, X: Any, y: Any) -> Watching:
        type(self).seen = vars(self.watched).keys()
        self.n_ = 3
        return self

    def predict(self, X: Any) -> np.ndarray:
        return np.full(len(X), self.n_)


def test_two_threads_may_fit_one_estimator() -> None:
    model = ImplicitKTRegressor(None, readout=Ridge())
    expected = [clone(model).fit(FORMULAS, y).predict(FORMULAS).tolist() for y in (TARGET, -TARGET)]
    threads = [threading.Thread(target=model.fit, args=(FORMULAS, y)) for y in (TARGET, -TARGET)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # one of the two fits, not some of each
    assert model.predict(FORMULAS).tolist() in expected


def test_settings_and_notes_outlive_a_fit() -> None:
    model = CompositionEmbedder(None).set_output(transform="pandas")
    model.note = "mine"
    for _ in range(2):
        assert list(model.fit(FORMULAS).transform(FORMULAS[:1]).columns[:1]) != [0]
    with pytest.raises(ValueError, match="Row 0"):
        model.fit(["Xx"])
    assert model.note == "mine"
    assert model.fit(FORMULAS).transform(FORMULAS[:1]).columns[-1] == "fraction_Og"


def test_trees_have_no_warm_start() -> None:
    with pytest.raises(ValueError, match="warm_start"):
        MedianTreesRegressor(2, warm_start=True).fit([[0], [1]], [0, 1])


def _estimators() -> Iterator[type]:
    for info in pkgutil.walk_packages([PACKAGE], "sklearn_kt."):
        if not info.name.endswith("__main__"):
            module = importlib.import_module(info.name)
            for found in vars(module).values():
                if inspect.isclass(found) and found.__module__ == info.name:
                    yield found


def test_every_fit_runs_in_this_context() -> None:
    fits = {kind: kind.fit for kind in _estimators() if hasattr(kind, "fit")}
    assert {CompositionTokenizer, CrossModalPretrainer, ErrorModel} < fits.keys()
    bare = [kind for kind, fit in fits.items() if not _runs_in_context(fit)]
    assert not bare


def _runs_in_context(fit: Any) -> bool:
    while fit.__code__.co_filename != FITTING and hasattr(fit, "__wrapped__"):
        fit = fit.__wrapped__
    return fit.__code__.co_filename == FITTING
