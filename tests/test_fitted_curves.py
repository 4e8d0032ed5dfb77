"""What fitted models promise along the amounts of elements: a trace that vanishes has no say."""

from __future__ import annotations

import numpy as np
import pytest

from sklearn_kt import ImplicitKTRegressor
from sklearn_kt.datasets import load_expt_gap

HOSTS = ("ZnS", "GaAs", "PbTe", "SnO2", "Cu2O", "SrTiO3", "InP", "CdTe", "Bi2Te3", "MoS2")
FOREIGN = ("Mn", "Cs", "Tl", "B", "Gd")


@pytest.fixture(scope="module", params=["fast", pytest.param("auto", marks=pytest.mark.slow)])
def fitted(request: pytest.FixtureRequest) -> ImplicitKTRegressor:
    X, y = load_expt_gap(return_X_y=True)
    # with compositions that pretraining knows, and others, whose weights differ
    model = ImplicitKTRegressor(readout=request.param, max_epochs=2, random_state=0)
    model.fit(X[::4], y[::4])
    assert request.param == "auto" or model.pool_keys_ is not None
    return model


def doped(amount: float) -> list[str]:
    return [f"{host}{element}{amount:.10f}" for host in HOSTS for element in FOREIGN]


def test_a_trace_that_vanishes_has_no_say(fitted: ImplicitKTRegressor) -> None:
    _, y = load_expt_gap(return_X_y=True)
    pure = np.repeat(fitted.predict(HOSTS), len(FOREIGN))
    changes = {a: np.abs(fitted.predict(doped(a)) - pure) / y.std() for a in (1e-8, 0.05)}
    assert changes[1e-8].max() < 1e-3
    # a twentieth of the atoms has
    assert np.median(changes[0.05]) > 0.05
    low, high = (fitted.predict_interval(names) for names in (HOSTS, doped(1e-8)))
    np.testing.assert_allclose(np.repeat(low, len(FOREIGN), axis=0), high, atol=1e-2)
