"""What all estimators of compositions have in common."""

from __future__ import annotations

import inspect
import re
from typing import Any

import numpy as np
import pytest
import sklearn
from _crystals import Cubes, Size
from sklearn.base import clone
from sklearn.ensemble import ExtraTreesRegressor, RandomForestClassifier
from sklearn.linear_model import Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags

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
from sklearn_kt.estimators.base import reads_compositions
from sklearn_kt.exceptions import InputError

METALS, HALOGENS = ("Li", "Na", "K", "Rb", "Cs", "Ag"), ("F", "Cl", "Br", "I")
FORMULAS = [f"{a}{b}" for a in METALS[:4] for b in HALOGENS]
TARGET = np.linspace(6, 3, len(FORMULAS))
LABELS = np.where(np.median(TARGET) < TARGET, "high", "low")

number, label = (
    ImplicitKTRegressor(None, readout=Ridge()),
    ImplicitKTClassifier(None, readout=GaussianNB()),
)
explicit: dict[str, Any] = {"generator": Cubes(), "embedder": Size(), "checkpoint": None}
MODELS: list[tuple[Any, Any]] = [
    (ImplicitKTRegressor(None, readout="fast"), TARGET),
    (ImplicitKTClassifier(None, readout="fast"), LABELS),
    (ExplicitKTRegressor(**explicit, readout=Ridge(), composition_estimator=number), TARGET),
    (ExplicitKTClassifier(**explicit, readout=GaussianNB(), composition_estimator=label), LABELS),
    (BlendedKTRegressor([("a", number)], cv=2), TARGET),
    (BlendedKTClassifier([("a", label)], cv=2), LABELS),
    (CompositionEmbedder(None), None),
]


@pytest.mark.parametrize(("model", "y"), MODELS, ids=lambda v: type(v).__name__)
def test_what_fit_sets_is_documented(model: Any, y: Any) -> None:
    fitted = clone(model).fit(FORMULAS, y)
    section = inspect.getdoc(type(model)).partition("Attributes\n----------")[2]
    section = section.partition("See Also")[0]
    documented = {
        name
        for line in re.findall(r"^(\w+_(?:, \w+_)*) :", section, re.M)
        for name in line.split(", ")
    }
    set_by_fit = {name for name in vars(fitted) if not name.startswith("_")}
    assert set_by_fit - model.get_params().keys() - documented == set()


def test_who_takes_parsed_compositions() -> None:
    for model, _ in MODELS:
        assert reads_compositions(model)
        assert reads_compositions(make_pipeline(model, Ridge()))
        assert get_tags(model).input_tags.string
    for other in (
        Ridge(),
        CompositionTokenizer(),
        object(),
        make_pipeline(RandomForestClassifier()),
    ):
        assert not reads_compositions(other)


# Five measurements of each composition, written in two ways, whose value says nothing of others.
REPEATED = [f"{a}{n}{b}{n}" for n in (1, 2, 1, 2, 1) for a in METALS for b in HALOGENS]
NOISE = np.tile(np.random.default_rng(0).permutation(np.arange(24.0)), 5)
HIGH = np.where(NOISE > 11, "high", "low")
forest = ImplicitKTRegressor(None, readout=ExtraTreesRegressor(20, random_state=0))
on_columns = make_pipeline(CompositionEmbedder(None), clone(number))


def inner_score(model: Any) -> float:
    inner = getattr(model, "structure_model_", model)
    return (inner.scores_ if "scores_" in vars(inner) else inner.readout_scores_)["blend"]


@pytest.mark.parametrize(
    ("model", "y", "guess"),
    [
        (ImplicitKTRegressor(None, readout="fast", random_state=0), NOISE, 6 / NOISE.std()),
        (ImplicitKTClassifier(None, readout="fast", random_state=0), HIGH, np.log(2)),
        (ExplicitKTRegressor(**explicit, random_state=0), NOISE, 6 / NOISE.std()),
        (BlendedKTRegressor([("a", forest)], random_state=0), NOISE, 6),
    ],
    ids=["numbers", "classes", "structures", "blend"],
)
def test_rows_of_one_composition_stay_together(model: Any, y: np.ndarray, guess: float) -> None:
    fitted = clone(model).fit(REPEATED, y)
    assert fitted.repeated_rows_ == 96
    # nothing is to be learned; a model that has seen the composition remembers it
    assert inner_score(fitted) > 0.7 * guess


def test_groups_of_the_user_replace_compositions_and_reach_inner_models() -> None:
    for groups, repeats in ((None, 96), (np.arange(120), 0), (["a", "b"] * 60, 118)):
        blend = BlendedKTRegressor([("p", clone(on_columns)), ("n", clone(number))], cv=2)
        blend.fit(REPEATED, NOISE, groups=groups)
        parts = (blend, *(model for _, model in sorted(blend.named_estimators_.items())))
        for part in parts:
            last = part[-1] if isinstance(part, Pipeline) else part
            assert last.repeated_rows_ == repeats
    with pytest.raises(InputError, match="row 3 has no group"):
        clone(number).fit(REPEATED, NOISE, groups=[1, 1, 1, None] * 30)


def test_groups_are_routed() -> None:
    X, groups = np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) // 2
    assert clone(number).fit(X, X[:, 0]).repeated_rows_ == 0
    with sklearn.config_context(enable_metadata_routing=True):
        routed = make_pipeline(StandardScaler(), clone(number).set_fit_request(groups=True))
        assert routed.fit(X, X[:, 0], groups=groups)[-1].repeated_rows_ == 10


def test_repeats_are_reported(capsys: pytest.CaptureFixture[str]) -> None:
    quiet, loud = number, clone(number).set_params(verbose=1)
    for model in (quiet, loud):
        model.fit(REPEATED, NOISE)
    assert capsys.readouterr().err.count("96 of 120 rows repeat a composition") == 1
    assert "96, never split" in loud._repr_html_()
    assert "never split" not in clone(number).fit(FORMULAS, TARGET)._repr_html_()
