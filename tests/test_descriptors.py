"""Elemental descriptors against pymatgen and by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from pymatgen.core import Composition, Element

from sklearn_kt import read_compositions
from sklearn_kt.compositions import ELEMENTS
from sklearn_kt.descriptors import descriptor_names, elemental_descriptors


def describe(*formulas: str) -> pd.DataFrame:
    values = elemental_descriptors(read_compositions(list(formulas)))
    return pd.DataFrame(values, columns=descriptor_names(), index=list(formulas))


def test_statistics_by_hand() -> None:
    row = describe("Al2O3").loc["Al2O3"]
    al, o = Element("Al").X, Element("O").X
    mean = 0.4 * al + 0.6 * o
    assert row["mean_electronegativity"] == pytest.approx(mean)
    assert row["deviation_electronegativity"] == pytest.approx(
        0.4 * abs(al - mean) + 0.6 * abs(o - mean)
    )
    assert row["maximum_electronegativity"] == pytest.approx(o)
    assert row["minimum_electronegativity"] == pytest.approx(al)
    assert row["range_electronegativity"] == pytest.approx(o - al)
    assert row["mode_atomic_number"] == 8
    assert row["n_elements"] == 2
    assert row["norm_2"] == pytest.approx(np.hypot(0.4, 0.6))
    assert row["entropy"] == pytest.approx(-0.4 * np.log(0.4) - 0.6 * np.log(0.6))


def test_means_are_those_of_pymatgen() -> None:
    formulas = ["LiFePO4", "BaTiO3", "Fe0.62Ni0.19Cr0.19", "U3O8"]
    expected = [Composition(f).average_electroneg for f in formulas]
    assert_allclose(describe(*formulas)["mean_electronegativity"], expected)


def test_every_element_is_described() -> None:
    frame = describe(*ELEMENTS)
    assert np.isfinite(frame.to_numpy()).all()
    assert list(frame["mean_atomic_number"]) == list(range(1, 119))
    assert (frame[[c for c in frame if c.startswith(("deviation", "range"))]] == 0).all(axis=None)
    assert frame.loc["Fe", "mean_d_electrons"] == 6
    assert frame.loc["Fe", "mean_d_vacancies"] == 4


@given(
    st.dictionaries(st.sampled_from(ELEMENTS), st.floats(0.01, 100), min_size=1, max_size=8),
    st.floats(0.1, 10),
)
def test_scale_and_order_of_a_formula_do_not_matter(
    amounts: dict[str, float], factor: float
) -> None:
    scaled = {symbol: amounts[symbol] * factor for symbol in reversed(amounts)}
    first, second = elemental_descriptors(read_compositions([amounts, scaled]))
    # equal shares may round to either side: then the most abundant element is a matter of chance
    shares = np.sort(list(amounts.values()))
    tied = len(shares) > 1 and np.isclose(shares[-1], shares[-2])
    free = np.array([not (tied and name.startswith("mode_")) for name in descriptor_names()])
    assert_allclose(first[free], second[free], rtol=1e-9, atol=1e-9)


_amounts = st.dictionaries(st.sampled_from(ELEMENTS), st.floats(0.01, 100), min_size=1, max_size=8)


@given(_amounts, st.sampled_from(ELEMENTS), st.integers(-1, 7))
def test_a_trace_that_vanishes_has_no_say(
    amounts: dict[str, float], foreign: str, replaced: int
) -> None:
    """Whether it is added, or takes the place of another element's atoms."""
    host = {symbol: amount for symbol, amount in amounts.items() if symbol != foreign}
    if not host:
        host = {"Si" if foreign == "C" else "C": 1.0}
    trace = 1e-8 * max(1, sum(host.values()))
    doped = host | {foreign: trace}
    if replaced >= 0:
        doped[list(host)[replaced % len(host)]] -= trace
    pure = elemental_descriptors(read_compositions(list(ELEMENTS)))
    names = np.array(descriptor_names())
    means = np.char.startswith(names, "mean_")
    # of each property what elements differ by
    scale = np.concatenate([np.tile(np.ptp(pure[:, means], axis=0), 6), np.ones(6)])
    first, second = elemental_descriptors(read_compositions([host, doped]))
    # at the very edge of being as abundant, what is the most abundant may change
    shares = np.array(list(host.values())) / sum(host.values())
    edge = (np.abs(shares.max() - shares - 1e-3) < 1e-6).any()
    free = ~(edge & np.char.startswith(names, "mode_"))
    most = 3 * trace / sum(host.values()) / 1e-3
    assert (np.abs(first - second)[free] <= most * scale[free]).all()


def test_traces_count_in_proportion_up_to_a_thousandth_of_the_atoms() -> None:
    frame = describe("ZnS", *(f"Zn{1 - x}SCs{x}" for x in (0.0002, 0.0004, 0.002)))
    lowest = frame["minimum_electronegativity"]
    assert frame["n_elements"].to_list() == pytest.approx([2, 2.1, 2.2, 3], abs=1e-12)
    # zinc's is the least until what cesium draws it to is below
    assert lowest.is_monotonic_decreasing
    assert lowest.iloc[-1] == pytest.approx(Element("Cs").X)
    assert describe("Fe0.62Ni0.19Cr0.19")["n_elements"].item() == 3


def test_nearly_as_abundant_is_as_abundant() -> None:
    formulas = ("GaAs", "Ga0.9999Al0.0001As", "GaAs0.9999P0.0001", "Ga0.9In0.1As", "GaAs0.9P0.1")
    assert describe(*formulas)["mode_atomic_number"].to_list() == [31, 31, 31, 33, 31]
