"""What fitted models promise along the amounts of elements: a trace that vanishes has no say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sklearn_kt import ImplicitKTClassifier, ImplicitKTRegressor
from sklearn_kt.datasets import load_expt_gap
from sklearn_kt.estimators import implicit_base

# on either site, or beside both
HOSTS = {
    "ZnS": "Zn{0}S",
    "GaAs": "GaAs{0}",
    "PbTe": "Pb{0}Te",
    "SnO2": "SnO2",
    "Cu2O": "Cu2O{0}",
    "SrTiO3": "SrTi{0}O3",
    "InP": "In{0}P",
    "CdTe": "CdTe{0}",
    "Bi2Te3": "Bi2Te3",
    "MgO": "Mg{0}O",
}
# the last is in no row of the table
FOREIGN = ("Mn", "Cs", "Tl", "Gd", "He")
PURE = np.repeat([*HOSTS], len(FOREIGN)).tolist()

pytestmark = pytest.mark.filterwarnings("ignore::sklearn_kt.exceptions.UnseenElementWarning")


def doped(amount: float) -> list[str]:
    return [
        f"{text.format(f'{1 - amount:.10f}')}{x}{amount:.10f}"
        for text in HOSTS.values()
        for x in FOREIGN
    ]


def table(step: int) -> tuple[Any, np.ndarray]:
    X, y = load_expt_gap(return_X_y=True)
    return list(np.ravel(X)[::step]), np.asarray(y)[::step]


def repeated() -> tuple[Any, np.ndarray]:
    """Make a table in which compositions, hosts among them, have several rows that differ."""
    X, y = table(9)
    X, y = [*X[:400], *HOSTS], np.concatenate([y[:400], np.full(len(HOSTS), 2.0)])
    noise = np.random.default_rng(0).normal(scale=0.8, size=150)
    return [*X, *X[-150:]], np.concatenate([y, y[-150:] + noise])


@pytest.fixture(
    scope="module", params=["known", "repeated", pytest.param("networks", marks=pytest.mark.slow)]
)
def fitted(request: pytest.FixtureRequest) -> ImplicitKTRegressor:
    if request.param == "networks":
        with pytest.MonkeyPatch.context() as patch:
            # so that few rows tell what pretraining knows from what it does not
            patch.setattr(implicit_base, "_MIN_SEEN", 20)
            model = ImplicitKTRegressor(max_epochs=2, random_state=0).fit(*table(6))
        assert model.pool_keys_ is not None
        return model
    model = ImplicitKTRegressor(readout="fast", random_state=0)
    model.fit(*(table(4) if request.param == "known" else repeated()))
    # what pretraining knows of the hosts, or rows say of them, is in it
    if request.param == "known":
        assert model.pool_keys_ is not None
    else:
        assert model.training_compositions_ is not None
    return model


def test_a_trace_that_vanishes_has_no_say(fitted: ImplicitKTRegressor) -> None:
    spread = load_expt_gap(return_X_y=True)[1].std()
    pure, std = fitted.predict(PURE, return_std=True)
    said, told = fitted.predict(doped(1e-8), return_std=True)
    assert (np.abs(said - pure) / spread).max() < 1e-3
    np.testing.assert_allclose(told, std, rtol=1e-3)
    # a twentieth of the atoms has
    assert np.median(np.abs(fitted.predict(doped(0.05)) - pure) / spread) > 0.05


def test_traces_have_no_say_in_classes() -> None:
    X, y = table(4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(implicit_base, "_MIN_SEEN", 2)
        model = ImplicitKTClassifier(readout="fast", random_state=0).fit(X, y > 1)
    assert model.pool_keys_ is not None
    pure, said = (model.predict_proba(rows)[:, 1] for rows in (PURE, doped(1e-8)))
    assert np.abs(pure - said).max() < 1e-3
