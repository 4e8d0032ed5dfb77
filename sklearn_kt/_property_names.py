"""Names of computed properties, found before the seconds that torch takes to load."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from ._files import DATA
from ._model_guards import read_json
from .exceptions import InputError

__all__ = [
    "bundled_properties",
    "choose_properties",
    "first_of_each",
    "identifier",
    "read_property_table",
]


def read_property_table() -> list[dict[str, str]]:
    """Read what the package says of each property of the shipped checkpoint's corpus."""
    with (DATA / "properties.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def bundled_properties() -> dict[str, str]:
    """Name the heads of the default checkpoint, with the quantity that each predicts."""
    quantities = {row["name"]: row["quantity"] for row in read_property_table()}
    found = read_json(DATA / "checkpoints" / "default" / "config.json")
    names = [entry["name"] for entry in found["properties"]]
    return {name: quantities.get(name, name) for name in names}


def choose_properties(
    asked: Sequence[str], quantities: Mapping[str, str], checkpoint: str
) -> dict[str, str]:
    """Find the heads that are asked for, by their names or by what they predict.

    Parameters
    ----------
    asked : sequence of str
        Names, with blanks or lines between words.
    quantities : mapping of str to str
        Heads of a checkpoint, and the quantity of each.
    checkpoint : str
        What messages call it.

    Returns
    -------
    chosen : dict of str to str
        Head of each name that was asked for, in that order.

    Raises
    ------
    InputError
        If one is unknown, or named twice.
    """
    first = first_of_each(quantities)
    heads = {**first, **{name: name for name in quantities}}
    known = {name.casefold(): head for name, head in heads.items()}
    chosen: dict[str, str] = {}
    for text in asked:
        name = identifier(text)
        if name.casefold() not in known:
            near = _like(name.casefold(), [*known])
            hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
            raise InputError(
                f"{text!r} is no property of the checkpoint {checkpoint!r}.{hint} The properties"
                f" are {', '.join(first)}; list_properties() ('sklearn-kt properties --list') has"
                " their sources."
            )
        if name in chosen:
            raise InputError(f"the property {text!r} is named twice.")
        chosen[name] = known[name.casefold()]
    if not chosen:
        raise InputError("properties is empty; None gives one of each kind.")
    return chosen


def first_of_each(quantities: Mapping[str, str]) -> dict[str, str]:
    """Give each quantity the first of its heads, which stands for it."""
    first: dict[str, str] = {}
    for name, quantity in quantities.items():
        first.setdefault(identifier(quantity), name)
    return first


def identifier(text: str) -> str:
    """Write a name as one word."""
    return "_".join(text.split())


def _like(name: str, known: Sequence[str]) -> list[str]:
    """Find names that have all words of another, or are spelled like it."""
    words = set(re.split("[_-]", name))
    return [other for other in known if words <= {*re.split("[_-]", other)}][:3] or (
        get_close_matches(name, known, n=3)
    )
