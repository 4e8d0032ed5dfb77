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
