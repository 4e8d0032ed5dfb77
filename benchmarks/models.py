"""Every model that is compared, by name: ours and what else people would use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)
from sklearn.pipeline import make_pipeline

from benchmarks.peers.external import EXTERNAL, External
from sklearn_kt import CompositionTokenizer
from sklearn_kt.evaluation import MODELS as NAMED
from sklearn_kt.evaluation import MagpieFeaturizer, make_model

SEED = 0


@dataclass(frozen=True)
class Compared:
    """A model of the comparisons.

    Parameters
    ----------
    label : str
        What it is, in a few words.
    model : str or callable
        What :func:`sklearn_kt.evaluation.evaluate` takes.
    peer : bool, default=False
        Whether it is not ours.
    scratch : str or None, default=None
        Name of the same model without pretrained weights.
    """

    label: str
    model: str | Callable[[str], Any]
    peer: bool = False
    scratch: str | None = None

    @property
    def reads_conditions(self) -> bool:
        """Whether it can be given a table of formulas and conditions."""
        return not self.peer or isinstance(self.model, str)


def _boosting(kind: str) -> Any:
    if kind == "regression":
        return HistGradientBoostingRegressor(random_state=SEED)
    return HistGradientBoostingClassifier(random_state=SEED)


def _named(name: str, *, peer: bool = False, scratch: str | None = None) -> Compared:
    return Compared(NAMED[name].label, name, peer, scratch)


MODELS: Mapping[str, Compared] = {
    "dummy": _named("dummy", peer=True),
    "et-fractions": _named("et-fractions", peer=True),
    "gb-fractions": Compared(
        "histogram gradient boosting on element fractions",
        lambda kind: make_pipeline(CompositionTokenizer("fraction"), _boosting(kind)),
        peer=True,
    ),
    "rf-magpie": _named("rf-magpie", peer=True),
    "gb-magpie": Compared(
        "histogram gradient boosting on Magpie features",
        lambda kind: make_pipeline(MagpieFeaturizer(), _boosting(kind)),
        peer=True,
    ),
    "et-magpie": _named("et-magpie", peer=True),
    "imkt-scratch": _named("imkt-scratch"),
    "imkt-fast": _named("imkt-fast", scratch="imkt-fast-scratch"),
    "imkt": _named("imkt", scratch="imkt-scratch"),
    "exkt": _named("exkt"),
    "blended": _named("blended"),
    "imkt-fast-scratch": Compared(
        "readouts on an encoder without pretrained weights",
        lambda kind: make_model("imkt-scratch", kind, random_state=SEED).set_params(readout="fast"),
    ),
    **{
        name: Compared(about.label, External(name, SEED), peer=True)
        for name, about in EXTERNAL.items()
    },
}
"""The default order of a run."""


# when fits changed last, in UTC: what is older was fitted otherwise than by the present code. Not
# for traces of elements, which count otherwise since 2026-11-27 20:20: tests say that tables with
# traces ran since, and that the others have none
CHANGED: Mapping[str, str] = {
    "imkt": "2026-11-27 04:34",
    "imkt-scratch": "2026-11-27 04:34",
    "imkt-fast": "2026-11-26 20:24",
    "imkt-fast-scratch": "2026-11-26 20:24",
}
"""Of models of ours; those that are not here start from weights, which tell it."""

# in UTC: the day of the weights in the package
WEIGHTS_SINCE = "2026-11-26 21:33"

# in UTC: before, networks were trained with products in float32 on every processor
BFLOAT16_SINCE = "2026-11-27 10:28"


def is_ours(name: str) -> bool:
    """Whether a model is one of this package; what is not known is a peer."""
    return name in MODELS and not MODELS[name].peer
