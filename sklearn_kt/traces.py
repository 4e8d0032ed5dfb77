"""Traces: elements of less than a thousandth of the atoms, which count in proportion.

A trace that vanishes must not change a prediction. What asks whether an element is there, or
whether a composition is one that is known, asks here, and gets a number between no and yes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import product

import numpy as np

from .compositions import CompositionBatch

__all__ = ["TRACE", "find_hosts", "presence"]

TRACE = 1e-3
"""Fraction of the atoms from which an element counts as present.

On inner folds of steels, thermoelectrics, glasses and gaps it is as good as any trace counting in
full; from 0.005 on thermoelectrics lose.
"""

# Ways to put traces on sites that are tried; where there are more, all go to one
_MOST_WAYS = 64


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
    >>> import numpy as np
    >>> from sklearn_kt.traces import presence
    >>> presence(np.array([0.0, 0.0005, 0.2])).tolist()
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
        What ``find`` says of the composition, else of a host: what is left without the least
        elements, each of which was added, or takes the places of one of the others. Of several
        hosts the one that leaves out least.
    parts : ndarray of shape (n,)
        How far a row is what was found: 1 of the composition itself, less of a host by what was
        left out, in parts of :data:`TRACE`, 0 where nothing was found.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_kt import read_compositions
    >>> from sklearn_kt.traces import find_hosts
    >>> def find(batch):
    ...     return np.array([0 if f == "GaAs" else -1 for f in batch.reduced().formulas()])
    >>> batch = read_compositions(["GaAs", "GaAsMn0.0005", "Ga0.9995Mn0.0005As", "ZnS"])
    >>> places, parts = find_hosts(find, batch)
    >>> places.tolist(), parts.round(2).tolist()
    ([0, 0, 0, -1], [1.0, 0.75, 0.75, 0.0])
    """
    places = np.array(find(batch))
    parts = (places >= 0).astype(float)
    row = np.repeat(np.arange(len(batch)), batch.n_elements)
    fractions = batch.amounts / np.bincount(row, batch.amounts, len(batch))[row]
    asked = np.unique(row[(places[row] < 0) & (fractions < TRACE)])
    if not len(asked):
        return places, parts
    entries = [slice(*batch.offsets[place : place + 2]) for place in asked]
    tried = [
        (place, *host)
        for place, part in zip(asked, entries, strict=True)
        for host in _hosts(batch.atomic_numbers[part], fractions[part])
    ]
    rows, left_out, numbers, amounts = zip(*tried, strict=True)
    offsets = np.cumsum([0, *map(len, numbers)])
    found = find(CompositionBatch(np.concatenate(numbers), np.concatenate(amounts), offsets))
    hits = np.flatnonzero(found >= 0)
    # of a row's hosts those come first that leave out least
    which, first = np.unique(np.array(rows)[hits], return_index=True)
    places[which] = found[hits[first]]
    parts[which] = 1 - np.array(left_out)[hits[first]] / TRACE
    return places, parts


def _hosts(
    numbers: np.ndarray, fractions: np.ndarray
) -> Iterator[tuple[float, np.ndarray, np.ndarray]]:
    """Name what a composition may be with traces: the part left out, elements and amounts."""
    order = np.argsort(fractions, kind="stable")
    numbers, fractions = numbers[order], fractions[order]
    for n in range(1, len(numbers)):
        traces, rest = fractions[:n], fractions[n:]
        if traces.sum() >= TRACE:
            return
        # each trace is added, or takes the places of one of the others
        sites: Iterable[tuple[int, ...]] = product(range(len(rest) + 1), repeat=n)
        if (len(rest) + 1) ** n > _MOST_WAYS:
            sites = ((site,) * n for site in range(len(rest) + 1))
        for chosen in sites:
            given = np.bincount(chosen, traces, len(rest) + 1)[1:]
            yield traces.sum(), numbers[n:], rest + given
