"""One formula: its parser, what else it may mean, and what is said of it.

What is read how is told by :mod:`sklearn_kt.compositions`, the gate above this module.
"""

from __future__ import annotations

import hashlib
import math
import re
import reprlib
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

from .exceptions import CompositionWarning

__all__ = [
    "ATOMIC_NUMBERS",
    "CLEANED",
    "ELEMENTS",
    "NUMBER",
    "SHOWN_ROWS",
    "Doubt",
    "Findings",
    "NotAComposition",
    "amounts_of_formula",
    "checked_amounts",
    "file_stem",
    "listing",
    "shorten",
    "written",
]

ELEMENTS: tuple[str, ...] = tuple(
    re.findall(
        r"\w+",
        "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As "
        "Se Br Kr Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu "
        "Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np "
        "Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og",
    )
)
"""Symbols of the 118 elements; ``ELEMENTS[Z - 1]`` has atomic number ``Z``."""

ATOMIC_NUMBERS = {symbol: z for z, symbol in enumerate(ELEMENTS, start=1)}
ATOMIC_NUMBERS.update({"D": 1, "T": 1})

# pymatgen's Composition.amount_tolerance
_TOLERANCE = 1e-8

# what is also a name or a placeholder is left to the full parser
_ACTINIUM = ATOMIC_NUMBERS["Ac"]
_RARE = frozenset([_ACTINIUM, *range(ATOMIC_NUMBERS["Fm"], len(ELEMENTS) + 1)])
_PLAIN_NUMBERS = {
    symbol: z for symbol, z in ATOMIC_NUMBERS.items() if z not in _RARE and symbol not in "DT"
}
_PLAIN_NUMBERS["Ac"] = _ACTINIUM
_EXPONENT = r"(?:e[+-]?\d+|E[+-]\d+)?"
# looks ahead once, because most numbers are digits and nothing else
NUMBER = rf"(?:\d+(?:(?=[./eE])(?:/\d{{1,3}}(?![\d.])|(?:\.\d*)?{_EXPONENT}))?|\.\d+{_EXPONENT})"
# short digit runs cannot overflow; possessive, so that long strings need no memory
_PLAIN = re.compile(r"(?:[A-Z][a-z]?(?:[0-9]{1,15}(?:\.[0-9]{1,20})?)?)++")
_PLAIN_TOKENS = re.compile(r"([A-Z][a-z]?)([0-9.]*)")
_TOKEN = re.compile(
    rf"\s*(?:(?P<symbol>[A-Z][a-z]*)\s*(?P<amount>{NUMBER})?"
    rf"|(?P<mark>[()·])\s*(?P<factor>{NUMBER})?)"
)
_MULTIPLIER = re.compile(rf"\s*({NUMBER})")
CLEANED = str.maketrans(
    {
        **{chr(0x2080 + digit): str(digit) for digit in range(10)},
        **dict.fromkeys("[{", "("),
        **dict.fromkeys("]}", ")"),
        **dict.fromkeys("•∙⋅‧・･ꞏ●*\u2217\u00d7", "·"),
        "@": None,
    }
)
# what may be among them; faster than to translate every formula
_UNCLEAN = re.compile(r"[^A-Za-z0-9().]")
# an amount of these before '/' is the end of a formula more often than a numerator: TiO2/5Ag
_ANIONS = frozenset(re.findall(r"\w+", "B C N O F P S Cl Se Br Te I H"))

# What follows a dot or a space and may be a part of its own: 5H2O, 2B2O3, 2Mg(OH)2.
_SYMBOL = re.compile(r"[A-Z][a-z]?")
_WHOLE_ATOM = r"[A-Z][a-z]?+\s*+\d*+\s*+"
_WHOLE = re.compile(
    rf"(?:{_WHOLE_ATOM}|\((?:{_WHOLE_ATOM}|\((?:{_WHOLE_ATOM})++\)\d*+\s*+)++\)\s*+\d*+\s*+)++"
)
_LIGAND = re.compile(r"\(?\s*(?:[HD]2\s*O|N\s*[HD]3)\s*\)?\s*")
_MAYBE_PART = re.compile(r"\.[1-9]\d*[A-Z][a-z]?\d*[A-Z]")
_AFTER_DOT = re.compile(r"(\s*)(\d*)(/\d+)?\s*")
_SPACED_NUMBER = re.compile(r"(?<=[A-Za-z)])\s+(?=\d{1,2}\(?[A-Z])")

# Letters that are read as elements and often mean something else.
_NUMERALS = re.compile(r"\(\s*(?:I{1,3}|IV|VI{0,3}|IX)\s*\)|(?<!\()II+(?![a-z])")
_PHASE = re.compile(r"(?<=[A-Za-z0-9])\s*\((?![IVX]+\))([A-Z][a-z]?|[A-Z]{2,})\)$")
_NAMES = frozenset(
    re.findall(
        r"\w+",
        "YBCO BSCCO BFO BTO STO KNN KDP KTP KTN BBO CIS ITO FTO COF BNT NBT BST SBN PBN CNT CNF "
        "CNTs CDs SWCNT FCC BCC HCP PVC PVP SUS Ti6Al4V Ti6Al7Nb",
    )
)
_UNUSUAL = re.compile(
    r"OAc(?![a-z\d.])|\(Ac\)"
    r"|(?:Fm|Md|No|Lr|Rf|Db|Sg|Bh|Hs|Mt|Ds|Rg|Cn|Nh|Fl|Mc|Lv|Ts|Og)(?![a-z\d.])"
)
_ISOTOPE = re.compile(r"[DT](?![a-z])")
_BESIDE_DEUTERIUM = frozenset(re.findall(r"\w+", "H D T B C N O F Si P S Cl Se Br I"))
_BESIDE_TRITIUM = frozenset(re.findall(r"\w+", "H D T O"))
_IONS = frozenset(re.findall(r"\w+", "OH OD CN SCN NCS OCN NCO OOH OCl OBr SH HS CO NO HF"))
_CATION = re.compile(r"(?:N[HD]4|PH4|H3O|VO|UO2|BiO|NO)(?:\)\d*)?$")

_DOUBTS = {
    "parts": "a '.' or a space may separate parts or belong to a number",
    "numerals": "Roman numerals were read as iodine and vanadium; oxidation states are left out "
    "of a formula",
    "isotopes": "D or T was read as hydrogen, as for deuterium and tritium; for what else it may "
    "mean (didymium, any transition metal) write the elements",
    "words": "letters after a space or alone in brackets at the end were read as elements; words "
    "and phases are left out of a formula",
    "names": "a common abbreviation or name was read as the elements it spells; for what it "
    "stands for write the elements",
}
"""What may have been meant otherwise, by kind; each kind has a warning of its own."""

_UNKNOWN_AMOUNTS = "xyznδ"
# formulas that can be names of files, up to so many characters
_STEM = re.compile(r"(?!\.)(?:[A-Z][a-z]?|[0-9.()])+")
_MAX_STEM = 60
# bismuth: heavier elements are no part of most formulas
_LAST_COMMON = 83
# minus sign, en dash, hyphen (last, for character classes); superscripts
_MINUS = "\u2212\u2013-"
_CHARGE = "+^⁺⁻⁰¹²³⁴⁵⁶⁷⁸⁹" + _MINUS

_WINDOW = 80
_LONGEST_FRACTION = 3
_LONGEST_MULTIPLIER = 2
# longer texts are not looked at as a whole for what they may be instead of a formula
_LONGEST_NAME = 200
# what is not a formula, by what is known of it
_MONTHS = "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec"
_DATE = re.compile(rf"\d{{1,4}}-(?:{_MONTHS})|(?:{_MONTHS})-\d{{1,4}}")
# alpha-, β-, 4H-, 1T'-, cubic
_FORM = re.compile(
    r"((?:[a-z]{1,14}|[\u0391-\u03c9]|\d{1,2}[CHRTO])['\u2032]{0,2}(?:-|\s+))([A-Z(\[].*)"
)
_ALLOY_PART = re.compile(r"(\d+(?:\.\d+)?)([A-Z][a-z]?)")
# Reading takes a second per million characters.
_MAX_CHARACTERS = 1_000_000

SHOWN_ROWS = 3
_SHOWN_CHARACTERS = 60
# cuts containers short before it spells them, however long or deep they are
_REPR = reprlib.Repr()
_REPR.maxother = _SHOWN_CHARACTERS


class NotAComposition(Exception):  # noqa: N818
    """Why one value is not a composition; the gate adds row and value."""


def shorten(value: object) -> str:
    if isinstance(value, str | bytes) and len(value) > _SHOWN_CHARACTERS:
        return f"{value[:_SHOWN_CHARACTERS]!r}... ({len(value)} characters)"
    if isinstance(value, str):
        return repr(str(value))
    shown = repr(value) if isinstance(value, bytes) else _REPR.repr(value)
    return shown if len(shown) <= _SHOWN_CHARACTERS else f"{shown[:_SHOWN_CHARACTERS]}..."


class Doubt(NamedTuple):
    """What a formula may mean otherwise: a kind of :data:`_DOUBTS` and spellings of all."""

    kind: str
    reading: str | None = None
    others: tuple[str, ...] = ()


@dataclass
class Findings:
    """What is to be said of rows that were read.

    Parameters
    ----------
    n_rows : int
        Number of rows.
    rejected : list of (int, object, str)
        Row, value and reason of each that is not a composition.
    doubted : list of (int, object, dict, Doubt)
        Row, value and amounts of each that may mean something else.
    """

    n_rows: int
    rejected: list[tuple[int, Any, str]] = field(default_factory=list)
    doubted: list[tuple[int, Any, dict[int, float], Doubt]] = field(default_factory=list)

    def warn(self, place: Callable[[int], str] = "Row {}".format) -> None:
        """Warn of what may mean something else, once for each kind."""
        for text in self.doubts(place):
            warnings.warn(
                f"In {text} A spelling given here is read without a warning.",
                CompositionWarning,
                stacklevel=3,
            )

    def doubts(self, place: Callable[[int], str]) -> Iterator[str]:
        """Say of each kind of doubt in how many rows it is, and list some."""
        for kind, text in _DOUBTS.items():
            rows = [found for found in self.doubted if found[3].kind == kind]
            if rows:
                listed = [
                    f"{place(row)}, {shorten(value)}, was read as {_meanings(amounts, doubt)}."
                    for row, value, amounts, doubt in rows[:SHOWN_ROWS]
                ]
                yield f"{len(rows)} of {self.n_rows} rows {text}. {listing(listed, len(rows))}"

    def rejection(self, place: Callable[[int], str]) -> str:
        """Say of the first row that it is not a composition and why, then count and list more."""
        row, value, reason = self.rejected[0]
        text = f"{place(row)}: {shorten(value)} is not a composition: {reason}."
        if len(self.rejected) == 1:
            return text
        listed = [
            f"{place(row)}, {shorten(value)}: {reason}."
            for row, value, reason in self.rejected[1:SHOWN_ROWS]
        ]
        return (
            f"{text} So it is with {len(self.rejected)} of {self.n_rows} rows, the next: "
            f"{listing(listed, len(self.rejected) - 1)} Correct or drop them."
        )


def listing(listed: list[str], n_rows: int) -> str:
    return " ".join(listed) + (" And so on." if n_rows > len(listed) else "")


def _meanings(amounts: dict[int, float], doubt: Doubt) -> str:
    """Spell what was read and, where it is known, what else may be meant."""
    kind, reading, others = doubt
    read = reading if reading and _readable(reading, amounts) else written(amounts)
    spelled = []
    for other in others:
        if _readable(other):
            spelled.append(shorten(other.strip()))
        elif kind == "parts":
            spelled.append(shorten(written(_read_text(other))))
    return shorten(read) + (f"; otherwise write {' or '.join(spelled)}" if spelled else "")


def _format_amount(amount: float) -> str:
    if amount == 1:
        return ""
    if amount.is_integer() and amount < 2**53:
        return str(int(amount))
    return repr(amount).replace("e+", "e")


def amounts_of_formula(formula: str, doubts: list[Doubt]) -> dict[int, float]:
    """Read a formula; what it may mean otherwise is appended to `doubts`."""
    if len(formula) > _MAX_CHARACTERS:
        raise NotAComposition(
            f"a text of {len(formula):,} characters; a formula has at most {_MAX_CHARACTERS:,}"
        )
    if (
        _PLAIN.fullmatch(formula)
        and not ("." in formula and _MAYBE_PART.search(formula))
        and formula not in _NAMES
    ):
        pairs = _PLAIN_TOKENS.findall(formula)
        try:
            plain = {
                _PLAIN_NUMBERS[symbol]: float(amount) if amount else 1.0 for symbol, amount in pairs
            }
        except KeyError:
            pass
        else:
            # repeated elements and zeros are left to the full parser
            if (
                len(plain) == len(pairs)
                and min(plain.values()) >= _TOLERANCE
                and not (_ACTINIUM in plain and "OAc" in formula)
            ):
                return plain
    text = formula.translate(CLEANED) if _UNCLEAN.search(formula) else formula
    words = text.split()
    if not words:
        raise NotAComposition("an empty string")
    if len(words) > 1:
        text = " ".join(words)
    reading, others = _separated(text) if "." in text or len(words) > 1 else (text, [])
    try:
        amounts = _read_text(reading)
    except NotAComposition as rejected:
        raise NotAComposition(_explain_text(formula) or str(rejected)) from None
    others = [other for other in others if _reads_otherwise(other, amounts)]
    if others:
        doubts.append(Doubt("parts", reading, tuple(others)))
    _doubt_letters(text, words, amounts, doubts)
    return amounts


def _read_text(text: str) -> dict[int, float]:
    """Read a formula in which ``·`` separates parts and every ``.`` is a decimal point."""
    return checked_amounts(_parsed(text).items())


def _separated(text: str) -> tuple[str, list[str]]:
    """Write ``·`` for every ``.`` that separates parts, and how else the text can be read.

    A ``.`` before a letter or a bracket separates, and so does one of ``4.0.5H2O``. One
    before a whole multiple of what looks like a part of its own (water, ammonia, a compound
    that repeats an element written before) does so too, but may be meant as a decimal point.
    """
    if "." not in text or ".." in text:
        return text, _spaced(text)
    dots = [match.start() for match in re.finditer(r"\.", text)]
    sure: list[int] = []
    likely: list[int] = []
    unlikely: list[int] = []
    swapped: dict[int, int] = {}
    # where the part after the dot ends, if no decimal point lies before
    end: int | None = len(text)
    # from the right, because the end of a part tells what the dot before it is
    while dots:
        at = dots.pop()
        after = _AFTER_DOT.match(text, at + 1)
        assert after is not None
        gap, digits, fraction = after.groups()
        ahead = text[after.end() : after.end() + 1]
        before = text[max(0, at - _WINDOW) : at]
        written = before.rstrip()
        ended = written.rstrip("0123456789")
        whole = written[len(ended) :]
        separator = at
        if not (ahead == "(" or "A" <= ahead <= "Z") or ended.rstrip()[-1:] in ("", "·", "("):
            # what follows is no part, or the dot is in the multiplier of one
            separator = -1
        elif not digits or fraction or gap or (whole and written != before):
            sure.append(at)
        elif dots and text[dots[-1] + 1 : at].strip().isdecimal():
            first = dots.pop()
            if dots and text[dots[-1] + 1 : first].strip().isdecimal():
                # three in a row are no formula
                return text, []
            separator, other = _one_of_two(text, first, at)
            if other is None:
                sure.append(separator)
            else:
                likely.append(separator)
                swapped[separator] = other
        elif digits[0] == "0" or (whole and not whole.strip("0")):
            separator = -1
        elif end is not None and _looks_like_part(digits, text[after.end() : end], text, at):
            likely.append(at)
        else:
            separator = -1
            if len(digits) <= _LONGEST_MULTIPLIER and len(_elements_before(text, at)) > 1:
                unlikely.append(at)
        end = separator if separator >= 0 else None
    if not (sure or likely):
        return text, _spaced(text)
    others = []
    for dot in unlikely[-SHOWN_ROWS:]:
        others.append([*sure, *likely, dot])
    if len(unlikely) > 1:
        others.append([*sure, *likely, *unlikely])
    if swapped:
        others.append([*sure, *(swapped.get(dot, dot) for dot in likely)])
    elif not sure:
        others.append([])
    return _with_separators(text, [*sure, *likely]), [
        _with_separators(text, positions) for positions in others
    ]


def _one_of_two(text: str, first: int, second: int) -> tuple[int, int | None]:
    """Tell which dot of ``4.0.5H2O`` separates, and the other one if it may be that."""
    before = text[max(0, first - _WINDOW) : first]
    whole = before[len(before.rstrip("0123456789")) :]
    between = text[first + 1 : second]
    if (whole and not whole.strip("0")) or (between[0] == "0" and between.strip("0 ")):
        return second, None
    if not whole or not between.strip("0") or between[0] == " " or text[second + 1] == "0":
        return first, None
    return (second, first) if whole == "1" else (first, second)


def _elements_before(text: str, at: int) -> set[str]:
    """Elements of what stands before a dot, back to the last ``·`` or as far as matters."""
    start = max(0, at - _WINDOW)
    return set(_SYMBOL.findall(text, max(start, text.rfind("·", start, at)), at))


def _looks_like_part(digits: str, part: str, text: str, at: int) -> bool:
    """Whether the text between a ``.`` with digits and the next separator is one."""
    found = _WHOLE.match(part)
    if not found or not (found.end() == len(part) or part[found.end()] == ")"):
        return False
    if _LIGAND.fullmatch(found[0]):
        return True
    elements = set(_SYMBOL.findall(found[0]))
    before = _elements_before(text, at)
    return (
        len(digits) <= _LONGEST_MULTIPLIER
        and len(before) > 1
        and len(elements) > 1
        and bool(before & elements or elements >= {"C", "H"})
    )


def _spaced(text: str) -> list[str]:
    """Write ``·`` before a number after a space that may begin a part: ``NaCl 2H2O``."""
    other = _SPACED_NUMBER.sub("·", text)
    return [other] if other != text else []


def _with_separators(text: str, dots: Iterable[int]) -> str:
    bounds = [-1, *sorted(dots), len(text)]
    return "·".join(text[start + 1 : stop].strip() for start, stop in pairwise(bounds))


def _reads_otherwise(text: str, amounts: dict[int, float]) -> bool:
    try:
        return _read_text(text) != amounts
    except NotAComposition:
        return False


def _doubt_letters(
    text: str, words: list[str], amounts: dict[int, float], doubts: list[Doubt]
) -> None:
    # most formulas are done with after some searches for a character
    if ("I" in text or "V)" in text) and _NUMERALS.search(text):
        doubts.append(Doubt("numerals", others=(_NUMERALS.sub("", text),)))
    if ("D" in text or "T" in text) and _ISOTOPE.search(text):
        symbols = set(_SYMBOL.findall(text))
        if (
            re.search(r"DD|TT", text)
            or ("T" in symbols and not symbols <= _BESIDE_TRITIUM)
            or (text.lstrip(" (")[:1] == "D" and not symbols <= _BESIDE_DEUTERIUM)
        ):
            doubts.append(Doubt("isotopes"))
    if len(amounts) > 1 and not _RARE.isdisjoint(amounts) and _UNUSUAL.search(text):
        doubts.append(Doubt("names"))
    # such as a route (HP, SPS) or a shape (NW)
    if text.endswith(")") and (phase := _PHASE.search(text)) and phase[1] not in _IONS:
        doubts.append(Doubt("words", others=(_PHASE.sub("", text),)))
        return
    if len(words) == 1:
        if words[0] in _NAMES:
            doubts.append(Doubt("names"))
        return
    for position in range(1, len(words)):
        if _is_word(words[position], words[position - 1]):
            doubts.append(Doubt("words", others=(" ".join(words[:position]),)))
            break


def _is_word(word: str, before: str) -> bool:
    """Whether letters after a space are rather a word than elements."""
    capitals = sum(map(str.isupper, word[:_WINDOW]))
    if not word[0].isupper() or not word.isalnum() or word in _IONS or before[-1] in "·.":
        return False
    if capitals > 1:
        return word.isalpha()
    before = before[-_WINDOW:]
    return sum(map(str.isupper, before)) > 1 and not _CATION.search(before)


def _readable(spelling: str, amounts: dict[int, float] | None = None) -> bool:
    """Whether a spelling is read without a doubt, and as `amounts`."""
    doubts: list[Doubt] = []
    try:
        read = amounts_of_formula(spelling, doubts)
    except NotAComposition:
        return False
    return not doubts and amounts in (None, read)


def _advice(spelling: str) -> str:
    """Advise a spelling at the end of a reason, if it can be read."""
    return f": write {shorten(spelling)}" if _readable(spelling) else ""


def written(amounts: dict[int, float]) -> str:
    """Write amounts as a formula that is read back exactly and without a doubt."""
    formula = "".join(ELEMENTS[z - 1] + _format_amount(amount) for z, amount in amounts.items())
    if not (_MAYBE_PART.search(formula) or formula in _NAMES or _UNUSUAL.search(formula)):
        return formula
    return formula if _readable(formula) else _explicit(amounts)


def _explicit(amounts: dict[int, float]) -> str:
    """Write every amount, and decimals with an exponent, so that no dot can begin a part."""
    numbers = [_format_amount(amount) or "1" for amount in amounts.values()]
    return "".join(
        f"{ELEMENTS[z - 1]}{number}{'e0' if '.' in number and 'e' not in number else ''}"
        for z, number in zip(amounts, numbers, strict=True)
    )


def _parsed(text: str) -> dict[str, float]:
    """Read brackets and parts, in the order of pymatgen's arithmetic.

    A stack of open brackets keeps the time linear. Of each bracket it holds the (symbol,
    amount) read so far, where in them the part begins, and the part's multiplier.
    """
    end = len(text.rstrip())
    stack: list[tuple[list[tuple[str, float]], int, str | None, bool]] = []
    pairs: list[tuple[str, float]] = []
    first, several = 0, False
    multiplier: str | None = None
    position = 0
    while position < end:
        token = _TOKEN.match(text, position, end)
        if token is None:
            leading = None if position else _MULTIPLIER.match(text, 0, end)
            if leading is None:
                raise NotAComposition(_explain(text, position))
            multiplier, position = leading[1], leading.end()
            continue
        position = token.end()
        symbol, amount, mark, factor = token.groups()
        if symbol:
            if not amount:
                pairs.append((symbol, 1.0))
            elif "/" not in amount:
                pairs.append((symbol, float(amount)))
            elif symbol in _ANIONS:
                raise NotAComposition(_explain_slash(symbol, amount))
            else:
                pairs.append((symbol, _number(amount)))
        elif mark == "(":
            stack.append((pairs, first, multiplier, several))
            pairs, first, multiplier, several = [], 0, factor, False
        elif mark == ")":
            if not stack:
                raise NotAComposition("a bracket is closed that was never opened")
            if multiplier or several:
                _end_part(pairs, first, multiplier, several)
            elif not pairs:
                raise NotAComposition("a pair of brackets is empty")
            group = _merged(pairs, _number(factor) if factor else 1.0)
            pairs, first, multiplier, several = stack.pop()
            pairs.extend(group.items())
        else:
            several = True
            _end_part(pairs, first, multiplier, several)
            first, multiplier = len(pairs), factor
    if stack:
        raise NotAComposition("a bracket is opened and never closed")
    if multiplier or several:
        _end_part(pairs, first, multiplier, several)
    return _merged(pairs, 1.0)


def _end_part(
    pairs: list[tuple[str, float]], first: int, multiplier: str | None, several: bool
) -> None:
    """Multiply the part that begins at `first`."""
    if multiplier and not several:
        raise NotAComposition(
            f"the number {multiplier!r} belongs to no element; write the formula of one unit, "
            "without a number before it"
        )
    if len(pairs) == first:
        raise NotAComposition("a part before or after a dot is empty")
    if multiplier:
        pairs[first:] = _merged(pairs[first:], _number(multiplier)).items()


def _number(text: str) -> float:
    numerator, slash, denominator = text.partition("/")
    if not slash:
        return float(text)
    if len(numerator) > _LONGEST_FRACTION or not int(denominator):
        raise NotAComposition(f"the fraction {shorten(text)} is not one of small integers")
    return int(numerator) / int(denominator)


def _merged(pairs: list[tuple[str, float]], factor: float) -> dict[str, float]:
    amounts = {symbol: amount * factor for symbol, amount in pairs}
    if len(amounts) < len(pairs):
        amounts = dict.fromkeys(amounts, 0.0)
        for symbol, amount in pairs:
            amounts[symbol] += amount * factor
    return amounts


def checked_amounts(pairs: Iterable[tuple[str, float]]) -> dict[int, float]:
    amounts: dict[int, float] = {}
    for symbol, amount in pairs:
        number = ATOMIC_NUMBERS.get(symbol)
        if number is None:
            raise NotAComposition(_explain_symbol(symbol))
        if not math.isfinite(amount):
            raise NotAComposition(f"the amount of {symbol} is not finite")
        if amount <= -_TOLERANCE:
            raise NotAComposition(f"the amount of {symbol} is negative ({amount:g})")
        if amount >= _TOLERANCE:
            amounts[number] = amounts.get(number, 0.0) + amount
    if not amounts:
        raise NotAComposition("all amounts are zero (smaller than 1e-8)")
    if not math.isfinite(sum(amounts.values())):
        raise NotAComposition("the total amount is not finite")
    return amounts


def file_stem(formula: str) -> str:
    """Name a file after a formula: other formulas have other names, in upper case and in lower.

    Where capitals alone tell symbols apart, the reading that is rarer gets a line between the
    letters: ``Co`` and ``C_O``, ``PO4`` and ``P_o4``. What is too long for a name, or has other
    characters, ends with a hash.
    """
    if len(formula) > _MAX_STEM or not _STEM.fullmatch(formula):
        text = re.sub(r"[^A-Za-z0-9]+", "_", unicodedata.normalize("NFKC", formula))
        digest = hashlib.blake2b(formula.encode("utf-8", "surrogatepass"), digest_size=6)
        return f"{text[: _MAX_STEM // 2] or '_'}-{digest.hexdigest()}"

    def mark(pair: re.Match) -> str:
        first, second = pair.groups()
        number = ATOMIC_NUMBERS.get(first + second.lower())
        if number is None or first not in ATOMIC_NUMBERS:
            return first
        # polonium and the actinides are rarer than phosphates and nitrates
        return f"{first}_" if second.isupper() == (number <= _LAST_COMMON) else first

    return re.sub(r"([A-Z])(?=([A-Za-z]))", mark, formula)


def _explain_symbol(symbol: str) -> str:
    if symbol[:-1] in ATOMIC_NUMBERS and symbol[-1] in _UNKNOWN_AMOUNTS:
        return f"the amount {symbol[-1]!r} of {symbol[:-1]} is not a number; put one in its place"
    hint = "; symbols are written like 'Fe'" if len(symbol) == 1 else ""
    return f"unknown element {shorten(symbol)}{hint}"


def _explain_slash(symbol: str, amount: str) -> str:
    number = _number(amount)
    return (
        f"a '/' between formulas or in the amount of {symbol}; write a mixture as one formula with "
        f"its amounts, and an amount as a decimal, '{symbol}{number:.6g}'"
    )


def _explain_text(formula: str) -> str | None:
    """Say what a text as a whole is that cannot be read; None leaves it to the parser."""
    text = formula.strip()
    if len(text) > _LONGEST_NAME:
        return None
    if re.match(r"\{\s*['\"]", text):
        return (
            "the text of a mapping; make a mapping of it first, with ast.literal_eval or json.loads"
        )
    if _DATE.fullmatch(text):
        return "a date, which a spreadsheet makes of some formulas; write the formula anew"
    if re.search(r"\d,\d", text) and _readable(text.replace(",", ".")):
        return f"a decimal comma{_advice(text.replace(',', '.'))}"
    coefficient = _MULTIPLIER.match(text)
    if coefficient and _readable(text[coefficient.end() :]):
        return (
            f"the number {coefficient[1]!r} belongs to no element; a number of formula units is "
            f"left out{_advice(text[coefficient.end() :].strip())}"
        )
    form = _FORM.fullmatch(text)
    if form and _readable(form[2]):
        return f"{form[1]!r} names a form, which is left out of a formula{_advice(form[2].strip())}"
    return _explain_joined(re.split(rf"\s*[+{_MINUS}]\s*", text), text)


def _explain_joined(parts: list[str], text: str) -> str | None:
    """Say what formulas are that are joined by hyphens."""
    if len(parts) < 2 or not all(parts):
        return None
    alloy = [_ALLOY_PART.fullmatch(part) for part in parts[1:]]
    if parts[0] in ATOMIC_NUMBERS and all(alloy):
        weights = {part[2]: float(part[1]) for part in alloy if part}
        rest = round(100 - sum(weights.values()), 6)
        if parts[0] not in weights and rest > 0 and weights.keys() <= ATOMIC_NUMBERS.keys():
            mapping = {
                symbol: f"{weight:g}" for symbol, weight in {parts[0]: rest, **weights}.items()
            }
            spelled = "".join(f"{symbol}{weight}" for symbol, weight in mapping.items())
            return (
                "the designation of an alloy, in per cent by weight: write "
                f"{spelled!r} and read it with amounts='weight'"
            )
    joined = "·".join(parts)
    if all(part[0].isdecimal() for part in parts) and _readable(joined):
        return f"formulas joined by a hyphen or '+'; for amounts in moles{_advice(joined)}"
    if "+" not in text and all(map(_readable, parts)):
        return (
            "formulas joined by a hyphen, of unknown shares; write a mixture as one formula "
            f"with its amounts, for example {shorten('·'.join(f'0.5{part}' for part in parts))}"
        )
    return None


def _explain(text: str, position: int) -> str:
    """Say why no token of a formula begins at `position`."""
    before = text[:position].rstrip()
    rest = text[position:].lstrip()[:20]
    found, following = rest[0], rest[1:2]
    unknown = re.match(rf"[+±{_MINUS}]?\s*[{_UNKNOWN_AMOUNTS}](?![a-z])", rest)
    if unknown and (before or following.isupper()):
        return f"the amount {unknown[0]!r} is not a number; put a number in its place"
    if found in _MINUS and following.isdigit() and before[-1:].isalpha():
        return f"a negative amount after {before[-10:]!r}"
    if found in _CHARGE or re.match(rf"\d+[+{_MINUS}]", rest):
        return "a charge or a range of amounts; write the neutral formula with one amount each"
    if found == "/":
        return "a '/' between formulas; write a mixture as one formula with its amounts"
    if found.islower() and not before:
        return "element symbols begin with a capital letter, for example 'Fe2O3'"
    if found.isdecimal():
        number = rest[: len(rest) - len(rest.lstrip("0123456789."))] or found
        advice = (
            _advice(f"{before}·{text[position:].lstrip()}") if len(text) < _LONGEST_NAME else ""
        )
        return f"the number {number!r} belongs to no element; begin a part with '·'{advice}"
    if found in ".e*":
        return f"a number is not complete at {rest[:10]!r}"
    return f"unexpected character {found!r}" + (f" after {before[-10:]!r}" if before else "")
