"""Enumeration of candidate compositions, by SMACT."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import combinations
from typing import Any

from tqdm.auto import tqdm

from sklearn_kt.compositions import ELEMENTS
from sklearn_kt.exceptions import InputError

__all__ = ["charge_neutral_formulas"]


def charge_neutral_formulas(
    elements: Iterable[str],
    max_atoms: int,
    *,
    n_elements: int | Iterable[int] = (2, 3),
    oxidation_states: str = "icsd24",
    verbose: int = 0,
) -> Iterator[str]:
    """Enumerate charge-neutral formulas of some elements, the most ionic first.

    Parameters
    ----------
    elements : iterable of str
        Symbols to combine.
    max_atoms : int
        Atoms in a formula, at most.
    n_elements : int or iterable of int, default=(2, 3)
        Distinct elements in a formula.
    oxidation_states : {"icsd24", "icsd16", "smact14", "pymatgen_sp", "wiki"}, default="icsd24"
        SMACT's set of oxidation states to combine.
    verbose : int, default=0
        1 shows on stderr how many combinations of elements are done.

    Yields
    ------
    str
        Formulas, reduced, each once, in an order that is the same at every call; elements by
        electronegativity. One combination of elements is in memory at a time: for each number of
        elements, those whose electronegativities lie farthest apart come first, and of one
        combination the formulas of the fewest atoms.

    Raises
    ------
    InputError
        If an element is unknown or has no oxidation state in the set, or SMACT is missing.

    See Also
    --------
    sklearn_kt.screening.screen : Takes such an enumeration as its source.

    Notes
    -----
    A formula is neutral for some choice of one oxidation state for each element, in which the
    more electronegative elements are the anions (the filters of SMACT [1]_). Mixed valence,
    as in Fe3O4, is not enumerated. The order puts first what is likeliest to exist: neutral
    compounds of elements that are alike are mostly alloys. On one core SMACT makes about a thousand
    formulas of three elements a second, and some hundred of four, fewer the more atoms they have.

    References
    ----------
    .. [1] D. W. Davies et al., "SMACT: Semiconducting Materials by Analogy and Chemical
       Theory", Journal of Open Source Software 4, 1361 (2019).

    Examples
    --------
    >>> from sklearn_kt.screening import charge_neutral_formulas
    >>> list(charge_neutral_formulas(["Ca", "Al", "F"], 4))
    ['CaF2', 'AlF3']
    >>> list(charge_neutral_formulas(["Ga", "As", "Na", "Cl"], 2, n_elements=2))
    ['NaCl', 'GaCl', 'NaAs', 'AsCl', 'GaAs']
    """
    try:
        import smact
    except ImportError as error:
        raise InputError(
            "charge_neutral_formulas needs SMACT: pip install 'sklearn_kt[enumerate]'."
        ) from error
    symbols = list(dict.fromkeys(elements))
    unknown = [symbol for symbol in symbols if symbol not in ELEMENTS]
    if unknown:
        raise InputError(f"{unknown[0]!r} is not an element symbol.")
    sizes = [n_elements] if isinstance(n_elements, int) else list(n_elements)
    if not sizes or min(sizes) < 1 or max(sizes) > max_atoms:
        raise InputError(
            f"n_elements={n_elements!r} must be between 1 and max_atoms={max_atoms!r}."
        )
    found: list[Any] = [smact.Element(symbol) for symbol in symbols]
    for element in found:
        _check_element(element, oxidation_states)
    found.sort(key=lambda element: (element.pauling_eneg, element.number))
    return _formulas(found, max_atoms, sizes, oxidation_states, verbose)


def _check_element(element: Any, oxidation_states: str) -> None:
    """Ask SMACT for the element alone, which raises what a combination would."""
    from smact.screening import smact_filter

    if element.pauling_eneg is None:
        raise InputError(f"{element.symbol} has no Pauling electronegativity; leave it out.")
    try:
        smact_filter([element], threshold=1, oxidation_states_set=oxidation_states)
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise InputError(
            f"{element.symbol} cannot be combined with oxidation_states={oxidation_states!r} "
            f"({error}); leave it out, or choose another set."
        ) from error


def _combinations(elements: list[Any], size: int) -> Iterator[tuple[Any, ...]]:
    """Combine elements, given by electronegativity, those that lie farthest apart first."""
    if size == 1:
        yield from combinations(elements, 1)
        return
    ends = list(combinations(range(len(elements)), 2))
    ends.sort(key=lambda pair: elements[pair[0]].pauling_eneg - elements[pair[1]].pauling_eneg)
    for low, high in ends:
        for between in combinations(elements[low + 1 : high], size - 2):
            yield elements[low], *between, elements[high]


def _formulas(
    elements: list[Any], max_atoms: int, sizes: list[int], oxidation_states: str, verbose: int
) -> Iterator[str]:
    from smact.screening import smact_filter

    for size in sizes:
        total = math.comb(len(elements), size)
        for combination in tqdm(
            _combinations(elements, size),
            f"{size} elements",
            total,
            unit=" combinations",
            disable=not verbose,
        ):
            found: list[Any] = smact_filter(
                combination,
                threshold=max_atoms - size + 1,
                species_unique=False,
                oxidation_states_set=oxidation_states,
            )
            for symbols, ratio in sorted(found, key=lambda formula: sum(formula[1])):
                if sum(ratio) <= max_atoms:
                    yield "".join(
                        symbol if amount == 1 else f"{symbol}{amount}"
                        for symbol, amount in zip(symbols, ratio, strict=True)
                    )
