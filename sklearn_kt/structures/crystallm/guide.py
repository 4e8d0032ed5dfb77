"""What may come next in a text of the short form.

A network that was trained for hours writes the grammar of a text well, and counts atoms
badly. Here a token is allowed only if the text can still become a crystal of the
composition: the sites are those of the header's elements, in its order, their
multiplicities occur in the space group and add up, and no position without free
coordinates is taken twice.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import product

from sklearn_kt.structures.symmetry import hall_numbers

from .cif_tokenizer import CIFTokenizer
from .short import GROUP_KEY, free_parameters, short_fraction
from .sites import sites_of_hall

__all__ = ["Guide"]

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
        Space groups whose sites can make up the cell; of that of the prompt alone, if it
        has one.
    """

    def __init__(self, tokenizer: CIFTokenizer, prompt: str) -> None:
        self.tokenizer = tokenizer
        self.prompt = prompt
        name = prompt.partition("\n")[0].removeprefix("data_")
        self._atoms = {e: int(n) for e, n in re.findall(r"([A-Z][a-z]?)(\d+)", name)}
        self._number = {token: i for i, token in enumerate(tokenizer.tokens)}
        asked = prompt.split("\n")[1].partition(" ")[2]
        amounts = tuple(self._atoms.values())
        self.groups = [
            symbol
            for symbol in sorted({asked} if asked else tokenizer.space_groups & set(hall_numbers()))
            if _fits(amounts, *_places(hall_numbers()[symbol][0]))
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
            Never empty if there are `groups`.
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
        free, fixed = _places(hall)
        empty = dict(fixed)
        taken = set()
        for site in filter(None, sites):
            element, count, place = site.split(" ", 2)
            left[element] -= int(count)
            if int(count) in empty:
                empty[int(count)] -= 1
                taken.add(place)
        missing = [element for element, n in left.items() if n > 0]
        if not missing:
            return ["\n"]
        element = missing[0]
        cells = line.split(" ", 2)
        if len(cells) == 1:
            return [" "] if line else [element]
        if len(cells) == 3:
            if int(cells[1]) in empty:
                places = [f"{p}\n" for p in _texts(hall)[int(cells[1])] if p not in taken]
                return _following(cells[2], places)
            coordinate = cells[2].split(" ")
            return _fraction(coordinate[-1], "\n" if len(coordinate) == 3 else " ")
        n, *others = (left[e] for e in missing)
        options = []
        for m in (*free, *(m for m, places in empty.items() if places)):
            then = tuple((k, places - (k == m)) for k, places in empty.items())
            if m <= n and _fits((n - m, *others), free, then):
                options.append(f"{m} ")
        return _following(cells[1], options)


@lru_cache(maxsize=600)
def _places(hall: int) -> tuple[tuple[int, ...], tuple[tuple[int, int], ...]]:
    """Multiplicities of which there may be any number, and how often there are others."""
    sites = sites_of_hall(hall)
    fixed = ((m, len(images)) for m, images in sites.fixed.items() if m not in sites.free)
    return tuple(sorted(sites.free)), tuple(sorted(fixed))


@lru_cache(maxsize=600)
def _texts(hall: int) -> dict[int, list[str]]:
    """Coordinates of the positions without free ones, as the short form has them."""
    return {
        m: [" ".join(map(short_fraction, orbit[0])) for orbit in images]
        for m, images in sites_of_hall(hall).fixed.items()
    }


@lru_cache(maxsize=50_000)
def _fits(
    amounts: tuple[int, ...], free: tuple[int, ...], fixed: tuple[tuple[int, int], ...]
) -> bool:
    """Whether sites can make up all amounts of atoms together."""
    if not amounts:
        return True
    n, *others = amounts
    for counts in product(*(range(min(places, n // m) + 1) for m, places in fixed)):
        rest = n - sum(k * m for k, (m, _) in zip(counts, fixed, strict=True))
        if rest >= 0 and rest in _sums(free, n):
            then = tuple((m, p - k) for k, (m, p) in zip(counts, fixed, strict=True))
            if _fits(tuple(others), free, then):
                return True
    return False


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


def _following(begun: str, texts: Sequence[str]) -> list[str]:
    """Characters that lead on to one of the texts."""
    return sorted({t[len(begun)] for t in texts if t.startswith(begun) and t != begun})


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
