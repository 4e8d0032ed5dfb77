"""The peers by name: what else people would use for a table of formulas."""

from __future__ import annotations

from typing import Any

from external import EXTERNAL, ExternalClassifier, ExternalRegressor
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)
from sklearn.pipeline import make_pipeline

from sklearn_kt import CompositionTokenizer
from sklearn_kt.evaluation import MODELS, MagpieFeaturizer, make_model

SEED = 0
N_TREES = 300


def _boosting(kind: str) -> Any:
    if kind == "regression":
        return HistGradientBoostingRegressor(random_state=SEED)
    return HistGradientBoostingClassifier(random_state=SEED)


def _extra_trees(kind: str) -> Any:
    forest = ExtraTreesRegressor if kind == "regression" else ExtraTreesClassifier
    return forest(N_TREES, random_state=SEED)


#: Peers that run in the environment of the project.
LOCAL = {
    "dummy": lambda kind: make_model("dummy", kind),
    "et-fractions": lambda kind: make_model("et-fractions", kind, random_state=SEED),
    "gb-fractions": lambda kind: make_pipeline(CompositionTokenizer("fraction"), _boosting(kind)),
    "rf-magpie": lambda kind: make_model("rf-magpie", kind, random_state=SEED),
    "gb-magpie": lambda kind: make_pipeline(MagpieFeaturizer(), _boosting(kind)),
    "et-magpie": lambda kind: make_pipeline(MagpieFeaturizer(), _extra_trees(kind)),
}
#: What our models are without pretraining, where the command line has no name for it.
ABLATIONS = {
    "imkt-fast-scratch": lambda kind: make_model(
        "imkt-scratch", kind, random_state=SEED
    ).set_params(readout="fast"),
}
#: Names of all peers.
PEERS = (*LOCAL, *EXTERNAL)
#: Our own models: those of the command line that are not peers, and their ablations.
OURS = (*(name for name in MODELS if name not in LOCAL), *ABLATIONS)


class External:
    """Makes the estimator of a peer in an environment of its own."""

    def __init__(self, peer: str) -> None:
        self.peer = peer

    def __call__(self, kind: str) -> Any:
        """Build an estimator that is not fitted."""
        kinds = {"regression": ExternalRegressor, "classification": ExternalClassifier}
        return kinds[kind](self.peer, SEED)


def model(name: str) -> Any:
    """Return what the benchmarks take for a model of this name."""
    here = LOCAL | ABLATIONS
    if name in here:
        return here[name]
    return External(name) if name in EXTERNAL else name
