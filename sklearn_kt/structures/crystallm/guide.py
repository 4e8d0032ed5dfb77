"""What may come next in a text of the short form.

A network that was trained for hours writes the grammar of a text well, and counts atoms
badly. Here a token is allowed only if the text can still become a crystal of the
composition: the sites are those of the header's elements, in its order, and their
multiplicities occur in the space group and add up.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from sklearn_kt.structures.library import load_library

from .short import GROUP_KEY, free_parameters
from .text import hall_numbers
from .tokenizer import CIFTokenizer

__all__ = ["Guide", "multiplicities"]

_DIGITS = "0123456789"
_LONGEST_FRACTION = len("0.000")


class Guide:
    """Tells which tokens may follow.

    Parameters
    ----------
    tokenizer : CIFTokenizer
        Of the network.
    prompt : str
        Start of the text: the header, and possibly the line of the space group.

    Attributes
    ----------
    groups : list of str
        Space groups whose sites can make up the cell.
    """

    def __init__(self, tokenizer: CIFTokenizer, prompt: str) -> None:
        self.tokenizer = tokenizer
        self.prompt = prompt
        name = prompt.partition("\n")[0].removeprefix("data_")
        self._atoms = {e: int(n) for e, n in re.findall(r"([A-Z][a-z]?)(\d+)", name)}
        self._number = {token: i for i, token in enumerate(tokenizer.tokens)}
        known = multiplicities()
        self.groups = [
            symbol
            for symbol in sorted(tokenizer.space_groups & set(hall_numbers()))
            if all(
                n in _sums(known.get(hall_numbers()[symbol][0], ()), n)
                for n in self._atoms.values()
            )
        ]

    def allowed(self, written: Sequence[int]) -> list[int]:
        """Tokens that may come after those written since the prompt.

        Parameters
        ----------
        written : sequence of int
            Tokens that were allowed themselves.

        Returns
        -------
        tokens : list of int
            Never empty, but for compositions that no space group can hold.
        """
        *lines, line = (self.prompt + self.tokenizer.decode(written)).split("\n")
        if len(lines) == 1:
            return self._tokens(_beginning(line, GROUP_KEY) or self._group(line))
        hall, number = hall_numbers()[lines[1].partition(" ")[2]]
        names = free_parameters(number)
        if len(lines) < 2 + len(names):
            name = names[len(lines) - 2]
            return self._tokens(_beginning(line, name) or _length(line.partition(" ")[2], name))
        return self._tokens(self._site(lines[2 + len(names) :], line, hall))

    def _tokens(self, texts: Sequence[str]) -> list[int]:
        return [self._number[text] for text in texts]

    def _group(self, line: str) -> list[str]:
        if line.partition(" ")[2]:
            return ["\n"]
        return [f"{symbol}_sg" for symbol in self.groups]

    def _site(self, sites: list[str], line: str, hall: int) -> list[str]:
        left = dict(self._atoms)
        for site in sites:
            if site:
                element, count = site.split(" ")[:2]
                left[element] -= int(count)
        missing = [element for element, n in left.items() if n > 0]
        if not missing:
            return ["\n"]
        element = missing[0]
        cells = line.split(" ")
        if len(cells) == 1:
            return [" "] if line else [element]
        if len(cells) > 2:
            return _fraction(cells[-1], "\n" if len(cells) == 5 else " ")
        known = multiplicities()[hall]
        n = left[element]
        options = [str(m) for m in known if m <= n and n - m in _sums(known, n)]
        begun = cells[1]
        following = {o[len(begun)] for o in options if o.startswith(begun) and o != begun}
        return [*sorted(following), *([" "] if begun in options else [])]


@lru_cache(maxsize=1)
def multiplicities() -> dict[int, tuple[int, ...]]:
    """Multiplicities that sites of known crystals have.

    Returns
    -------
    multiplicities : dict of int to tuple of int
        By the setting of the space group, as spglib numbers it.
    """
    arrays = load_library().arrays
    halls = np.repeat(arrays["hall"], np.diff(arrays["orbit_start"]))
    pairs = np.unique(np.column_stack([halls, arrays["orbit_multiplicity"]]), axis=0)
    found: dict[int, tuple[int, ...]] = {}
    for hall, count in pairs.tolist():
        found[hall] = (*found.get(hall, ()), count)
    return found


@lru_cache(maxsize=20_000)
def _sums(parts: tuple[int, ...], largest: int) -> frozenset[int]:
    """Numbers of atoms that sites of some multiplicities make."""
    found = {0}
    for n in range(1, largest + 1):
        if any(n - part in found for part in parts):
            found.add(n)
    return frozenset(found)


def _beginning(line: str, name: str) -> list[str]:
    """Next token of a line that begins with a name and a blank; none if they are written."""
    if line.startswith(f"{name} "):
        return []
    return [" "] if line else [name]


def _length(value: str, name: str) -> list[str]:
    """Next character of a parameter of the cell."""
    decimals = 2 if "length" in name else 1
    whole, point, part = value.partition(".")
    if point:
        return [*_DIGITS] if len(part) < decimals else ["\n"]
    if not whole:
        return [*_DIGITS[1:]]
    largest = 2 if decimals == 2 else 3
    return [*_DIGITS, "."] if len(whole) < largest else ["."]


def _fraction(value: str, end: str) -> list[str]:
    """Next character of a coordinate."""
    if len(value) < 2:
        return ["."] if value else ["0"]
    if len(value) == 2:
        return [*_DIGITS]
    return [*_DIGITS, end] if len(value) < _LONGEST_FRACTION else [end]
