"""Traces: elements of less than a thousandth of the atoms, which count in proportion.

A trace that vanishes must not change a prediction. What asks whether an element is there, or
whether a composition is one that is known, asks here, and gets a number between no and yes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .compositions import CompositionBatch

__all__ = ["TRACE", "find_hosts", "presence"]

TRACE = 1e-3
"""Fraction of the atoms from which an element counts as present.

On inner folds of steels, thermoelectrics, glasses and gaps it is as good as any trace counting in
full; from 0.005 on thermoelectrics lose.
"""


def presence(fractions: np.ndarray) -> np.ndarray:
    """Tell how far elements are present: from 0 to 1 at :data:`TRACE`.

    Parameters
    ----------
    fractions : ndarray
        Atomic fractions, or sums of such.

    Returns
    -------
    ndarray of the same shape
        Between 0 and 1.

    Examples
    --------
    >>> from sklearn_kt.traces import presence
    >>> presence([0.0, 0.0005, 0.2]).tolist()
    [0.0, 0.5, 1.0]
    """
    return np.minimum(np.asarray(fractions) / TRACE, 1)


def find_hosts(
    find: Callable[[CompositionBatch], np.ndarray], batch: CompositionBatch
) -> tuple[np.ndarray, np.ndarray]:
    """Find compositions, or what they would be without their traces.

    Parameters
    ----------
    find : callable
        Gives the place of each composition, or -1.
    batch : CompositionBatch
        ``n`` valid compositions.

    Returns
    -------
    places : ndarray of int, shape (n,)
        What ``find`` says of the composition, else of its host: without traces, whose atoms were
        added, or take the places of one of the others.
    parts : ndarray of shape (n,)
        How far a row is what was found: 1 of the composition itself, less of a host by what the
        traces make up of :data:`TRACE`, 0 where nothing was found.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_kt import read_compositions
    >>> from sklearn_kt.traces import find_hosts
    >>> def find(batch):
    ...     return np.array([["GaAs"].index(f) if f == "GaAs" else -1 for f in batch.formulas()])
    >>> batch = read_compositions(["GaAs", "GaAsMn0.0005", "Ga0.9995Mn0.0005As", "ZnS"])
    >>> places, parts = find_hosts(find, batch)
    >>> places.tolist(), parts.round(2).tolist()
    ([0, 0, 0, -1], [1.0, 0.75, 0.75, 0.0])
    """
    places = find(batch)
    parts = (places >= 0).astype(float)
    row = np.repeat(np.arange(len(batch)), batch.n_elements)
    totals = np.bincount(row, batch.amounts, len(batch))
    small = batch.amounts < TRACE * totals[row]
    traces = np.bincount(row[small], batch.amounts[small], len(batch))
    asked = np.flatnonzero((places < 0) & (traces > 0) & (traces < TRACE * totals))
    if not len(asked):
        return places, parts
    main = _without(batch, small)[asked]
    # as it is left, and with the atoms of the traces given to each element in turn
    tried = main.n_elements + 1
    hosts = main[np.repeat(np.arange(len(asked)), tried)]
    turn = np.arange(tried.sum()) - np.repeat(np.cumsum(tried) - tried, tried)
    amounts = hosts.amounts.copy()
    given = turn > 0
    amounts[hosts.offsets[:-1][given] + turn[given] - 1] += np.repeat(traces[asked], tried)[given]
    found = find(CompositionBatch(hosts.atomic_numbers, amounts, hosts.offsets))
    # a row's candidates stand together: the last one written is the first that was found
    for place in np.flatnonzero(found >= 0)[::-1]:
        of = asked[np.searchsorted(np.cumsum(tried), place, side="right")]
        places[of], parts[of] = found[place], 1 - traces[of] / (TRACE * totals[of])
    return places, parts


def _without(batch: CompositionBatch, left_out: np.ndarray) -> CompositionBatch:
    """Leave entries out."""
    row = np.repeat(np.arange(len(batch)), batch.n_elements)
    kept = np.bincount(row[~left_out], minlength=len(batch))
    offsets = np.concatenate(([0], np.cumsum(kept)))
    return CompositionBatch(batch.atomic_numbers[~left_out], batch.amounts[~left_out], offsets)
