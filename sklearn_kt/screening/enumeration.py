"""Enumeration of candidate compositions, by SMACT."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator
from itertools import combinations, product
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from sklearn_kt.compositions import ELEMENTS
from sklearn_kt.exceptions import InputError

__all__ = ["charge_neutral_formulas"]

# SMACT's sets, as attributes of its elements
_STATES = {
    "icsd24": "oxidation_states_icsd24",
    "icsd16": "oxidation_states_icsd16",
    "smact14": "oxidation_states_smact14",
    "pymatgen_sp": "oxidation_states_sp",
    "wiki": "oxidation_states_wiki",
}
# each pass over the combinations takes formulas at least as likely that no pass before has taken
_PASSES = (0.1, 0.01, 0.001, 0.0)
# choices of oxidation states that are looked at together
_BATCH = 256


def charge_neutral_formulas(
    elements: Iterable[str],
    max_atoms: int,
    *,
    n_elements: int | Iterable[int] = (2, 3),
    oxidation_states: str = "icsd24",
    verbose: int = 0,
) -> Iterator[str]:
    """Enumerate charge-neutral formulas of some elements, those of common ions first.

    Parameters
    ----------
    elements : iterable of str
        Symbols to combine.
    max_atoms : int
        Atoms in a formula, at most.
    n_elements : int or iterable of int, default=(2, 3)
        Distinct elements in a formula.
    oxidation_states : {"icsd24", "icsd16", "smact14", "pymatgen_sp", "wiki"}, default="icsd24"
        SMACT's set of oxidation states to combine; a state of 0 is left out.
    verbose : int, default=0
        1 shows on stderr how many combinations of elements are done.

    Yields
    ------
    str
        Formulas, reduced, each once, in an order that is the same at every call; elements by
        electronegativity. For each number of elements those come first whose oxidation states
        are common: likelier than a tenth, then than a hundredth, a thousandth, and the rest. Among
        these, combinations whose electronegativities lie farthest apart come first, and of one
        combination, which alone is in memory, the likeliest formulas.

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
    as in Fe3O4, is not enumerated. How likely a formula is says the product of the shares that the
    oxidation states have among those of their elements in the ICSD, as SMACT counts them: 0.61
    for Fe2O3, 0.37 for FeO, 0.003 for FeO3 and 2e-6 for FeO6. That of several choices is the
    largest. It knows neither the sizes of ions nor which occur together. On one core there are some
    ten thousand formulas of two elements a second and a hundred thousand of three or four.

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
    ['NaCl', 'GaAs', 'NaAs', 'GaCl', 'AsCl']
    >>> list(charge_neutral_formulas(["Fe", "O"], 8, n_elements=2))[:4]
    ['Fe2O3', 'FeO', 'FeO2', 'Fe2O']
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
    if oxidation_states not in _STATES:
        raise InputError(
            f"oxidation_states must be one of {', '.join(_STATES)}, got {oxidation_states!r}."
        )
    found: list[Any] = [smact.Element(symbol) for symbol in symbols]
    for element in found:
        if element.pauling_eneg is None:
            raise InputError(f"{element.symbol} has no Pauling electronegativity; leave it out.")
        if not _states(element, oxidation_states):
            raise InputError(
                f"{element.symbol} has no oxidation state in the set {oxidation_states!r}; leave "
                "it out, or choose another set."
            )
    found.sort(key=lambda element: (element.pauling_eneg, element.number))
    return _formulas(found, max_atoms, sizes, oxidation_states, verbose)


def _formulas(
    elements: list[Any], max_atoms: int, sizes: list[int], oxidation_states: str, verbose: int
) -> Iterator[str]:
    shares = {element.symbol: _shares(element, oxidation_states) for element in elements}
    for size in sizes:
        ratios = _ratios(size, max_atoms)
        with tqdm(
            desc=f"{size} elements",
            total=len(_PASSES) * math.comb(len(elements), size),
            unit=" combinations",
            disable=not verbose,
        ) as bar:
            below = np.inf
            for least in _PASSES:
                for combination in _combinations(elements, size):
                    likelihood = _likelihood(combination, shares, ratios, least)
                    chosen = np.flatnonzero((likelihood >= least) & (likelihood < below))
                    # of those equally likely, the fewest atoms first
                    for row in chosen[np.argsort(-likelihood[chosen], kind="stable")]:
                        yield "".join(
                            element.symbol if amount == 1 else f"{element.symbol}{amount}"
                            for element, amount in zip(combination, ratios[row], strict=True)
                        )
                    bar.update()
                below = least


def _states(element: Any, oxidation_states: str) -> list[int]:
    """Give the oxidation states of an element of SMACT other than 0."""
    return [state for state in getattr(element, _STATES[oxidation_states]) or () if state]


def _shares(element: Any, oxidation_states: str) -> dict[int, float]:
    """Give each oxidation state its share among those of the element in the ICSD."""
    counts = _counts().get(element.symbol, {})
    total = sum(counts.values()) or 1
    states = _states(element, oxidation_states)
    return {state: counts.get(state, 0) / total for state in states}


@functools.cache
def _counts() -> dict[str, dict[int, int]]:
    """Count in how many entries of the ICSD an element has an oxidation state other than 0."""
    from smact.utils.oxidation import ICSD24OxStatesFilter

    table = ICSD24OxStatesFilter().ox_states_df.query("oxidation_state != 0")
    return {
        symbol: dict(zip(rows["oxidation_state"], rows["results_count"], strict=True))
        for symbol, rows in table.groupby("element")
    }


def _ratios(size: int, max_atoms: int) -> np.ndarray:
    """List reduced amounts of so many elements, the fewest atoms first."""
    ends = np.array(list(combinations(range(1, max_atoms + 1), size)))
    amounts = np.diff(ends, axis=1, prepend=0)
    amounts = amounts[np.gcd.reduce(amounts, axis=1) == 1]
    return amounts[np.argsort(amounts.sum(axis=1), kind="stable")]


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


def _likelihood(
    combination: tuple[Any, ...],
    shares: dict[str, dict[int, float]],
    ratios: np.ndarray,
    least: float,
) -> np.ndarray:
    """Tell how likely each ratio of some elements is; -1 where less than that, or not neutral."""
    choices = [shares[element.symbol] for element in combination]
    likely = np.array([math.prod(of) for of in product(*(c.values() for c in choices))])
    states = np.array(list(product(*choices)), dtype=np.float32)
    # by electronegativity anions follow cations, and elements that are equal are of one sign
    falls = np.diff(np.sign(states), axis=1)
    apart = np.diff([element.pauling_eneg for element in combination]) > 0
    kept = (likely >= least) & ((falls == 0) | ((falls < 0) & apart)).all(axis=1)
    likely, states = likely[kept], states[kept]
    found = np.full(len(ratios), -1.0)
    # all choices for many elements at once would fill the memory
    for start in range(0, len(likely), _BATCH):
        rows = slice(start, start + _BATCH)
        neutral = states[rows] @ ratios.T.astype(np.float32) == 0
        best = np.where(neutral, likely[rows, None], -1.0).max(axis=0)
        np.maximum(found, best, out=found)
    return found
