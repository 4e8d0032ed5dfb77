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
from sklearn_kt.descriptors import descriptor_names, elemental_descriptors, without_traces


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


@given(_amounts, st.sampled_from(ELEMENTS))
def test_a_trace_that_vanishes_has_no_say(amounts: dict[str, float], foreign: str) -> None:
    host = {symbol: amount for symbol, amount in amounts.items() if symbol != foreign}
    if not host:
        return
    doped = host | {foreign: 1e-9 * sum(host.values())}
    pure = elemental_descriptors(read_compositions(list(ELEMENTS)))
    names = np.array(descriptor_names())
    means = np.char.startswith(names, "mean_")
    # of each property what elements differ by
    scale = np.concatenate([np.tile(np.ptp(pure[:, means], axis=0), 6), np.ones(6)])
    first, second = elemental_descriptors(read_compositions([host, doped]))
    shares = np.sort(list(host.values()))
    tied = len(shares) > 1 and np.isclose(shares[-1], shares[-2])
    free = ~(tied & np.char.startswith(names, "mode_"))
    assert (np.abs(first - second)[free] <= 2e-6 * scale[free]).all()
    assert without_traces(read_compositions([doped])).formulas() == (
        without_traces(read_compositions([host])).formulas()
    )


def test_traces_count_in_proportion_up_to_a_thousandth_of_the_atoms() -> None:
    amounts = (0.0002, 0.0004, 0.002)
    frame = describe("ZnS", *(f"Zn{1 - x}S{1}Cs{x}" for x in amounts))
    lowest = frame["minimum_electronegativity"]
    assert frame["n_elements"].to_list() == pytest.approx([2, 2.1, 2.2, 3], abs=1e-12)
    # a main element's is the least until cesium's is nearer to it than to the mean
    assert lowest.is_monotonic_decreasing
    assert lowest.iloc[-1] == pytest.approx(Element("Cs").X)
    # what pymatgen counts, above that
    assert describe("Fe0.62Ni0.19Cr0.19")["n_elements"].item() == 3


def test_leaving_out_traces() -> None:
    batch = read_compositions(["ZnSMn0.0005", "Fe0.999C0.001", "NaCl"])
    assert without_traces(batch).formulas() == ["ZnS", "Fe0.999C0.001", "NaCl"]
    assert len(without_traces(batch[[]])) == 0
