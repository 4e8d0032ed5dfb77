"""The models that the command line and the benchmarks compare, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.pipeline import Pipeline, make_pipeline

from sklearn_kt._cells import FORMULA_COLUMN
from sklearn_kt.conditions import ConditionEncoder
from sklearn_kt.exceptions import InputError
from sklearn_kt.tokenizer import CompositionTokenizer

from .magpie import MagpieFeaturizer
from .scores import TaskKind, check_kind

__all__ = ["MODELS", "N_TREES", "NamedModel", "make_model"]

N_TREES = 300


@dataclass(frozen=True)
class NamedModel:
    """A model that can be asked for by name.

    Parameters
    ----------
    label : str
        What it is, in a few words.
    build : callable
        Takes the task kind, a seed and a number of jobs. It also imports what the model needs,
        so that imports are not timed as training.
    pretrained : bool, default=False
        Whether it starts from the bundled checkpoint.
    """

    label: str
    build: Callable[[TaskKind, int | None, int | None], BaseEstimator]
    pretrained: bool = False


def _dummy(kind: TaskKind, random_state: int | None, n_jobs: int | None) -> BaseEstimator:
    return DummyRegressor() if kind == "regression" else DummyClassifier(strategy="prior")


def _extra_trees(kind: TaskKind, random_state: int | None, n_jobs: int | None) -> BaseEstimator:
    forest = ExtraTreesRegressor if kind == "regression" else ExtraTreesClassifier
    return make_pipeline(
        CompositionTokenizer("fraction"),
        forest(N_TREES, random_state=random_state, n_jobs=n_jobs),
    )


def _on_magpie(**forests: type[BaseEstimator]) -> Callable[..., BaseEstimator]:
    """Make forests on Magpie features: a class for each task kind."""

    def build(kind: TaskKind, random_state: int | None, n_jobs: int | None) -> BaseEstimator:
        import matminer.featurizers.composition  # noqa: F401

        forest: Any = forests[kind]
        return make_pipeline(
            MagpieFeaturizer(), forest(N_TREES, random_state=random_state, n_jobs=n_jobs)
        )

    return build


def _implicit(checkpoint: str | None, readout: str = "auto") -> Callable[..., BaseEstimator]:
    def build(kind: TaskKind, random_state: int | None, n_jobs: int | None) -> BaseEstimator:
        import sklearn_kt.encoder.training  # noqa: F401
        from sklearn_kt.estimators.implicit import ImplicitKTClassifier, ImplicitKTRegressor

        model: Any = ImplicitKTRegressor if kind == "regression" else ImplicitKTClassifier
        return model(checkpoint, readout=readout, random_state=random_state, n_jobs=n_jobs)

    return build


def _explicit(kind: TaskKind, random_state: int | None, n_jobs: int | None) -> BaseEstimator:
    from sklearn_kt.estimators.explicit import ExplicitKTClassifier, ExplicitKTRegressor
    from sklearn_kt.structures.chgnet import load_chgnet

    load_chgnet()
    model: Any = ExplicitKTRegressor if kind == "regression" else ExplicitKTClassifier
    return model(random_state=random_state, n_jobs=n_jobs)


def _blended(kind: TaskKind, random_state: int | None, n_jobs: int | None) -> BaseEstimator:
    import sklearn_kt.encoder.training  # noqa: F401
    from sklearn_kt.estimators.blending import BlendedKTClassifier, BlendedKTRegressor
    from sklearn_kt.structures.chgnet import load_chgnet

    load_chgnet()
    model: Any = BlendedKTRegressor if kind == "regression" else BlendedKTClassifier
    return model(random_state=random_state, n_jobs=n_jobs)


MODELS: Mapping[str, NamedModel] = {
    "dummy": NamedModel("mean of the training targets, or class frequencies", _dummy),
    "et-fractions": NamedModel("extra-trees (300) on element fractions", _extra_trees),
    "rf-magpie": NamedModel(
        "random forest (300) on matminer's Magpie features",
        _on_magpie(regression=RandomForestRegressor, classification=RandomForestClassifier),
    ),
    "et-magpie": NamedModel(
        "extra-trees (300) on Magpie features",
        _on_magpie(regression=ExtraTreesRegressor, classification=ExtraTreesClassifier),
    ),
    "imkt-scratch": NamedModel(
        "implicit knowledge transfer without pretrained weights", _implicit(None)
    ),
    "imkt-fast": NamedModel(
        "implicit knowledge transfer: readouts on the bundled checkpoint, no networks",
        _implicit("default", "fast"),
        pretrained=True,
    ),
    "imkt": NamedModel(
        "implicit knowledge transfer from the bundled checkpoint",
        _implicit("default"),
        pretrained=True,
    ),
    "exkt": NamedModel(
        "explicit knowledge transfer: readouts on generated crystal structures",
        _explicit,
        pretrained=True,
    ),
    "blended": NamedModel(
        "implicit and explicit knowledge transfer, weighed on inner folds",
        _blended,
        pretrained=True,
    ),
}
"""Models by name."""


def make_model(
    name: str,
    kind: TaskKind,
    *,
    random_state: int | None = None,
    n_jobs: int | None = None,
    conditions: bool = False,
) -> BaseEstimator:
    """Build a model of :data:`MODELS`.

    Parameters
    ----------
    name : str
        A key of :data:`MODELS`.
    kind : {"regression", "classification"}
        What is predicted.
    random_state : int or None, default=None
        Seed of the model.
    n_jobs : int or None, default=None
        Jobs in parallel, as in scikit-learn; -1 uses every core.
    conditions : bool, default=False
        Whether it will read a table: the column ``formula``, then conditions. A forest then has
        them beside the features of the formula.

    Returns
    -------
    model : estimator
        Not fitted.

    Raises
    ------
    InputError
        If the name or the task kind is unknown.

    Examples
    --------
    >>> from sklearn_kt.evaluation import make_model
    >>> make_model("dummy", "regression")
    DummyRegressor()
    """
    check_kind(kind)
    if name not in MODELS:
        raise InputError(f"Unknown model {name!r}. The models are: {', '.join(MODELS)}.")
    model = MODELS[name].build(kind, random_state, n_jobs)
    if not conditions:
        return model
    if isinstance(model, Pipeline):
        return _beside_conditions(model)
    if "composition_column" in model.get_params():
        # a category such as SPS reads as a formula, too
        model.set_params(composition_column=FORMULA_COLUMN)
    return model


def _beside_conditions(model: Pipeline) -> Pipeline:
    """Let the first step read the formulas of a table, and the next one its conditions too."""
    (name, featurizer), *rest = model.steps
    parts = [
        (name, featurizer, FORMULA_COLUMN),
        ("conditions", ConditionEncoder(FORMULA_COLUMN), slice(None)),
    ]
    return Pipeline([("columns", ColumnTransformer(parts)), *rest])
