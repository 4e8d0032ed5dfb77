"""What all estimators of compositions have in common."""

from __future__ import annotations

import inspect
import re
from typing import Any

import numpy as np
import pytest
from _crystals import Cubes, Size
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
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

FORMULAS = [f"{a}{b}" for a in ("Li", "Na", "K", "Rb") for b in ("F", "Cl", "Br", "I")]
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
