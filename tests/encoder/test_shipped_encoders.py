"""What the encoders in the package promise: smooth in amounts, and nothing of what is not there."""

from __future__ import annotations

import numpy as np
import pytest

from sklearn_kt import CompositionEmbedder
from sklearn_kt.datasets import load_expt_gap

GAPS = ["band_gap_mp", "band_gap_oqmd", "band_gap_aflow"]
SOLUTIONS = {
    "Al-Ga-As": lambda x: {"Al": x, "Ga": 1 - x, "As": 1},
    "Cd-Zn-Te": lambda x: {"Cd": x, "Zn": 1 - x, "Te": 1},
    "Mg-Zn-O": lambda x: {"Mg": x, "Zn": 1 - x, "O": 1},
    "Na-Cl-Br": lambda x: {"Na": 1, "Cl": 1 - x, "Br": x},
    "Pb-Sn-Te": lambda x: {"Pb": 1 - x, "Sn": x, "Te": 1},
}
HOSTS = {
    "Si": "P",
    "ZnS": "Mn",
    "GaAs": "Eu",
    "NaCl": "Fe",
    "Fe": "C",
    "BaTiO3": "La",
    "Al2O3": "Cr",
}


@pytest.fixture(scope="module", params=["default", "small"])
def heads(request: pytest.FixtureRequest) -> CompositionEmbedder:
    return CompositionEmbedder(request.param, blocks=["properties"]).fit(["NaCl"])


def test_traces_that_vanish_have_no_say(heads: CompositionEmbedder) -> None:
    X, _ = load_expt_gap(return_X_y=True)
    spread = heads.transform(X[::20]).std(axis=0)
    pure = heads.transform([*HOSTS])
    doped = heads.transform([f"{host}{trace}0.00000001" for host, trace in HOSTS.items()])
    assert (np.abs(doped - pure) / spread).max() < 1e-3
    # one in a thousand has
    doped = heads.transform([f"{host}{trace}0.002" for host, trace in HOSTS.items()])
    assert (np.abs(doped - pure) / spread).max() > 1


@pytest.mark.parametrize("solution", [*SOLUTIONS])
def test_gaps_change_smoothly_along_a_solid_solution(
    heads: CompositionEmbedder, solution: str
) -> None:
    amounts = np.linspace(0, 1, 101)
    mixed = [{k: v for k, v in SOLUTIONS[solution](x).items() if v} for x in amounts]
    names = [f"property_{name}" for name in GAPS]
    columns = np.flatnonzero(np.isin(heads.get_feature_names_out(), names))
    gaps = heads.transform(mixed)[:, columns]
    assert gaps.shape == (101, 3)
    variation = np.abs(np.diff(gaps, axis=0)).sum(axis=0)
    # a curve with one maximum or minimum has at most 2
    assert (variation / np.ptp(gaps, axis=0)).mean() < 3
