"""Properties and families of elements, by atomic number."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np

from sklearn_kt.compositions import ELEMENTS

__all__ = ["electronegativity", "element_features", "families", "may_lack_properties"]


def element_features() -> np.ndarray:
    """Standardised properties that element distances start from.

    Returns
    -------
    features : ndarray of shape (n_elements + 1, n_features)
        Row Z is the element with atomic number Z; row 0 is zero.
    """
    from pymatgen.core import Element

    blocks = "spdf"
    rows = []
    with may_lack_properties():
        for symbol in ELEMENTS:
            element = Element(symbol)
            states = element.common_oxidation_states or element.oxidation_states or (0,)
            radius = element.atomic_radius or element.atomic_radius_calculated or np.nan
            rows.append(
                [
                    element.X,
                    float(element.mendeleev_no or np.nan),
                    float(radius),
                    element.group,
                    element.row,
                    float(max(states)),
                    float(min(states)),
                    *(2.0 * (element.block == block) for block in blocks),
                ]
            )
    table = np.array(rows, float)
    table = np.where(np.isfinite(table), table, np.nanmean(table, axis=0))
    table = (table - table.mean(axis=0)) / table.std(axis=0)
    return np.vstack([np.zeros(table.shape[1]), table])


def families() -> np.ndarray:
    """Chemical family of each atomic number: group of the table, lanthanides and actinides.

    Returns
    -------
    family : ndarray of int, shape (n_elements + 1,)
        Equal numbers are one family.
    """
    from pymatgen.core import Element

    out = np.zeros(len(ELEMENTS) + 1, int)
    for z, symbol in enumerate(ELEMENTS, start=1):
        element = Element(symbol)
        out[z] = 19 if element.is_lanthanoid else 20 if element.is_actinoid else element.group
    return out


@cache
def electronegativity(symbol: str) -> float:
    """Pauling's; infinite, so that such elements come last, where there is none."""
    from pymatgen.core import Element

    with may_lack_properties():
        value = float(Element(symbol).X)
    return math.inf if math.isnan(value) else value


@contextmanager
def may_lack_properties() -> Iterator[None]:
    """Let elements lack properties without a warning of pymatgen, as noble gases do."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No (data available|Pauling electronegativity)")
        yield
