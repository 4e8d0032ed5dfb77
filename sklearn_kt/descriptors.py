"""Elemental descriptors: statistics of element properties over a composition.

Trees on small tables learn more from "mean electronegativity" than from a learned
embedding; these columns also cost microseconds. The recipe is Magpie's, but that traces count in
proportion.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pandas as pd

from sklearn_kt._files import DATA

from .compositions import ELEMENTS, CompositionBatch
from .traces import TRACE, presence

__all__ = ["descriptor_names", "elemental_descriptors"]

_TABLE = DATA / "elements.csv"
_STATISTICS = ("mean", "deviation", "maximum", "minimum", "range", "mode")
# Norms of the fractions: how even a composition is.
_NORMS = (2, 3, 5, 10)


def elemental_descriptors(batch: CompositionBatch) -> np.ndarray:
    """Describe compositions by the properties of their elements.

    Parameters
    ----------
    batch : CompositionBatch
        ``n`` valid compositions.

    Returns
    -------
    ndarray of shape (n, n_descriptors)
        For each element property its fraction-weighted mean and mean absolute
        deviation, maximum, minimum, range, and value for the most abundant element
        (the first by atomic number of several); then the number of elements, the
        p-norms of the fractions (p = 2, 3, 5, 10) and their entropy. An element of less
        than a thousandth of the atoms counts in proportion among the extremes, which it
        draws away from the mean, and as such a part of an element; amounts that differ by
        less are the same to the most abundant element.

    See Also
    --------
    descriptor_names : Names of the columns.

    Notes
    -----
    The statistics are those of Magpie [1]_, in which any trace counts in full. The properties
    are pymatgen's, shipped as a table with the package, so that predictions do not depend on
    pymatgen's version. A property that is unknown for an element takes its median over the
    elements.

    References
    ----------
    .. [1] L. Ward, A. Agrawal, A. Choudhary, C. Wolverton, "A general-purpose machine
       learning framework for predicting properties of inorganic materials",
       npj Comput. Mater. 2, 16028 (2016).

    Examples
    --------
    >>> from sklearn_kt import read_compositions
    >>> from sklearn_kt.descriptors import descriptor_names, elemental_descriptors
    >>> values = elemental_descriptors(read_compositions(["NaCl"]))
    >>> dict(zip(descriptor_names(), values[0].tolist()))["range_electronegativity"]
    2.23
    """
    _, table = _elements()
    fractions = batch.fractions()
    starts = batch.offsets[:-1]
    rows = np.repeat(np.arange(len(batch)), np.diff(batch.offsets))
    values = table[batch.atomic_numbers - 1]
    shares = fractions[rows, batch.atomic_numbers - 1][:, None]
    mean = np.add.reduceat(shares * values, starts)
    deviation = np.add.reduceat(shares * np.abs(values - mean[rows]), starts)
    present = presence(shares)
    # the values themselves, to the last digit, of all but traces
    reached = np.where(present < 1, mean[rows] + present * (values - mean[rows]), values)
    highest = np.maximum.reduceat(reached, starts)
    lowest = np.minimum.reduceat(reached, starts)
    # the first of the elements that are as abundant as any, by atomic number
    mode = table[(fractions > fractions.max(axis=1, keepdims=True) - TRACE).argmax(axis=1)]
    positive = np.where(fractions > 0, fractions, 1.0)
    evenness = [(fractions**p).sum(axis=1) ** (1 / p) for p in _NORMS]
    entropy = -(fractions * np.log(positive)).sum(axis=1)
    return np.column_stack(
        [
            mean,
            deviation,
            highest,
            lowest,
            highest - lowest,
            mode,
            np.add.reduceat(present[:, 0], starts),
            *evenness,
            entropy,
        ]
    )


def descriptor_names() -> list[str]:
    """Name the columns of :func:`elemental_descriptors`.

    Returns
    -------
    list of str
        Such as ``mean_electronegativity``.

    Examples
    --------
    >>> from sklearn_kt.descriptors import descriptor_names
    >>> descriptor_names()[0], descriptor_names()[-1]
    ('mean_atomic_number', 'entropy')
    """
    names, _ = _elements()
    return [
        *(f"{statistic}_{name}" for statistic in _STATISTICS for name in names),
        "n_elements",
        *(f"norm_{p}" for p in _NORMS),
        "entropy",
    ]


@lru_cache(maxsize=1)
def _elements() -> tuple[list[str], np.ndarray]:
    """Names and values (118, n_properties), without gaps."""
    # the symbol Na must stay text
    table = pd.read_csv(_TABLE, keep_default_na=False, na_values=[""], index_col="symbol")
    table = table.loc[list(ELEMENTS)].astype(float)
    return list(table.columns), table.fillna(table.median()).to_numpy()
