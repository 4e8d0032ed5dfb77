"""Crystals as the text that CrystaLLM reads and writes.

The text is pymatgen's CIF with the true space group, the symmetry-unique sites with
their multiplicities, a single symmetry operation, a table of element properties, and
four decimals. The other operations are put back when it is read.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sklearn_kt.compositions import ELEMENTS
from sklearn_kt.exceptions import InputError
from sklearn_kt.structures.candidate import Candidate
from sklearn_kt.structures.elements import electronegativity, may_lack_properties
from sklearn_kt.structures.symmetry import (
    GRID,
    analyse,
    found_group,
    group_of_hall,
    hall_numbers,
    lattice_vectors,
    orbit_images,
    setting,
)

if TYPE_CHECKING:
    from pymatgen.core import Structure

__all__ = [
    "CIFRejectedError",
    "bond_score",
    "crystal_of_text",
    "prompt",
    "text_of_crystal",
    "text_of_orbits",
]

_LENGTHS = (0.5, 1000.0)
_ANGLES = (10.0, 170.0)
# A model of 1024 tokens writes about 40 rows.
_MAX_SITES = 1_000
_IDENTITY = "loop_\n_symmetry_equiv_pos_site_id\n_symmetry_equiv_pos_as_xyz\n1 'x, y, z'\n"
# parameters of a cell
CELL = (
    "_cell_length_a",
    "_cell_length_b",
    "_cell_length_c",
    "_cell_angle_alpha",
    "_cell_angle_beta",
    "_cell_angle_gamma",
)
_COLUMNS = ("type_symbol", "label", "symmetry_multiplicity", "fract_x", "fract_y", "fract_z")
_SITE_LOOP = "loop_\n" + "".join(f"_atom_site_{name}\n" for name in (*_COLUMNS, "occupancy"))
# Coordinates this near to a multiple of 1/24 are one: they were rounded to four decimals.
_ROUNDED = 2e-4
# Allen's electronegativities of the noble gases that Pauling has none for
_ALLEN = {"He": 4.160, "Ne": 4.787, "Ar": 3.242}
_IONIC_DIFFERENCE = 1.7
_BOND_TOLERANCE = 0.32
_HYDROGEN_RATIO = 2.5


class CIFRejectedError(InputError):
    """Text that is not a valid crystal.

    Parameters
    ----------
    reason : str
        One of "length", "syntax", "cell", "formula", "multiplicity", "space group",
        "overlap" and "bonds".
    detail : str
        What was found.
    bond_score : float, default=0.0
        Share of the bonds that are possible, if only bonds are not.
    """

    def __init__(self, reason: str, detail: str, bond_score: float = 0.0) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.bond_score = bond_score

    def __reduce__(self) -> tuple:
        return type(self), (self.reason, self.detail, self.bond_score)


def text_of_crystal(structure: Structure) -> str:
    r"""Write a crystal.

    Parameters
    ----------
    structure : pymatgen.core.Structure
        Ordered, any cell.

    Returns
    -------
    text : str
        Of the standardised cell; ends with a blank line.

    Raises
    ------
    InputError
        If the crystal is disordered, or spglib finds no symmetry.

    Examples
    --------
    >>> from pymatgen.core import Lattice, Structure
    >>> from sklearn_kt.structures.crystallm import text_of_crystal
    >>> sites = [[0, 0, 0], [0.5, 0.5, 0.5]]
    >>> salt = Structure.from_spacegroup(225, Lattice.cubic(5.64), ["Na", "Cl"], sites)
    >>> print(*text_of_crystal(salt).splitlines()[:8], sep="\n")
    data_Na4Cl4
    loop_
    _atom_type_symbol
    _atom_type_electronegativity
    _atom_type_radius
    _atom_type_ionic_radius
    Na 0.9300 1.8000 1.1600
    Cl 3.1600 1.0000 0.7800
    """
    if not structure.is_ordered:
        raise InputError("CrystaLLM's text has no partially occupied sites.")
    found = analyse(Candidate.from_structure(structure))
    if found is None:
        raise InputError("the crystal has no symmetry that spglib finds.")
    return text_of_orbits(found.hall, found.lattice, found.orbits)


def text_of_orbits(
    hall: int, parameters: Sequence[float], orbits: Iterable[tuple[int, int, Sequence[int]]]
) -> str:
    """Write a crystal whose symmetry is known.

    Parameters
    ----------
    hall : int
        Setting of the space group, numbered as in spglib.
    parameters : sequence of float, length 6
        Conventional a, b, c in Angstrom; alpha, beta, gamma in degrees.
    orbits : iterable of (int, int, sequence of int)
        Atomic number, multiplicity and position on the grid of each symmetry-unique
        site, as in :class:`~sklearn_kt.structures.PrototypeLibrary`.

    Returns
    -------
    text : str
        As :func:`text_of_crystal` gives.
    """
    from pymatgen.core import Composition

    rotations, translations, _ = setting(hall)
    amounts: Counter[str] = Counter()
    rows = []
    for number, multiplicity, position in orbits:
        images = orbit_images(np.asarray(position, np.int64), rotations, translations) / GRID
        first = min(map(tuple, images.tolist()))
        symbol = ELEMENTS[number - 1]
        amounts[symbol] += multiplicity
        rows.append((electronegativity(symbol), -multiplicity, first, symbol))
    rows.sort()
    with may_lack_properties():
        cell = Composition(amounts)
        reduced, units = cell.get_reduced_composition_and_factor()
        formula = cell.formula
    symbol, number = group_of_hall(hall)
    lengths = dict(zip(CELL, parameters, strict=True))
    volume = abs(float(np.linalg.det(lattice_vectors(np.array(parameters)))))
    name = formula.replace(" ", "")
    total = f"'{formula}'" if len(amounts) > 1 else formula
    sites = "".join(
        f"{symbol} {symbol}{i} {-multiplicity} {' '.join(f'{v:.4f}' for v in first)} 1\n"
        for i, (_, multiplicity, first, symbol) in enumerate(rows)
    )
    return (
        f"data_{name}\n{atom_properties(name)}_symmetry_space_group_name_H-M {symbol}\n"
        f"{''.join(f'{key} {value:.4f}' + chr(10) for key, value in lengths.items())}"
        f"_symmetry_Int_Tables_number {number}\n"
        f"_chemical_formula_structural {reduced.reduced_formula}\n"
        f"_chemical_formula_sum {total}\n_cell_volume {volume:.4f}\n"
        f"_cell_formula_units_Z {int(units)}\n{_IDENTITY}{_SITE_LOOP}{sites}\n"
    )


def prompt(
    formula: Mapping[int, int], z: int, space_group: str | None = None, *, properties: bool = True
) -> str:
    r"""Write the start of a crystal's text.

    Parameters
    ----------
    formula : dict of int to int
        Atoms of each atomic number in one formula unit.
    z : int
        Formula units in the cell.
    space_group : str, optional
        Hermann-Mauguin symbol, as in ``Fm-3m``.
    properties : bool, default=True
        Whether the table of elements stands before the space group; the short form
        has none.

    Returns
    -------
    text : str
        The header with the cell's formula; with a space group also its line.

    Examples
    --------
    >>> prompt({11: 1, 17: 1}, 4)
    'data_Na4Cl4\n'
    """
    from pymatgen.core import Composition

    with may_lack_properties():
        cell = Composition({ELEMENTS[number - 1]: n * z for number, n in formula.items()})
        name = cell.formula.replace(" ", "")
    if space_group is None:
        return f"data_{name}\n"
    table = atom_properties(name) if properties else ""
    return f"data_{name}\n{table}_symmetry_space_group_name_H-M {space_group}\n"


def crystal_of_text(text: str, *, check_bonds: bool = True) -> Candidate:
    """Read a crystal, with all checks.

    Parameters
    ----------
    text : str
        As CrystaLLM writes it, of either dialect.
    check_bonds : bool, default=True
        Reject bonds of impossible lengths too, which takes most of the time.

    Returns
    -------
    candidate : Candidate
        The conventional cell, with the space group in its provenance.

    Raises
    ------
    CIFRejectedError
        With the reason.

    Examples
    --------
    >>> from pymatgen.core import Lattice, Structure
    >>> from sklearn_kt.structures.crystallm import crystal_of_text, text_of_crystal
    >>> sites = [[0, 0, 0], [0.5, 0.5, 0.5]]
    >>> salt = Structure.from_spacegroup(225, Lattice.cubic(5.64), ["Na", "Cl"], sites)
    >>> candidate = crystal_of_text(text_of_crystal(salt))
    >>> candidate.formula, len(candidate.numbers), candidate.provenance["space_group"]
    ('NaCl', 8, 'Fm-3m')
    """
    text = re.sub(r"<\w+>\n?|[\[\]]", "", text)
    text = "\n".join(re.sub(r"[ \t]+", " ", line.strip()) for line in text.splitlines())
    parameters = np.array([_number(text, name) for name in CELL])
    lengths, angles = parameters[:3], parameters[3:]
    if (
        (lengths < _LENGTHS[0]).any()
        or (lengths > _LENGTHS[1]).any()
        or (angles < _ANGLES[0]).any()
        or (angles > _ANGLES[1]).any()
    ):
        raise CIFRejectedError("cell", f"lengths and angles {parameters.tolist()}")
    lattice = lattice_vectors(parameters)
    if not np.isfinite(lattice).all() or abs(np.linalg.det(lattice)) < 1:
        raise CIFRejectedError("cell", f"the angles {angles.tolist()} span no volume")
    symbol = field(text, "_symmetry_space_group_name_H-M").strip("'")
    halls = hall_numbers()
    if symbol not in halls:
        raise CIFRejectedError("space group", f"{symbol[:80]!r} is not a space group")
    rotations, translations, _ = setting(halls[symbol][0])
    numbers: list[int] = []
    positions: list[np.ndarray] = []
    # first atom and number of atoms of each orbit
    orbits: dict[int, int] = {}
    for element, multiplicity, coords in sites_of(text):
        images = orbit_images(_to_grid(coords), rotations, translations)
        if len(images) != multiplicity:
            raise CIFRejectedError(
                "multiplicity",
                f"{element} at {coords} has {len(images)} images in {symbol}, not {multiplicity}",
            )
        orbits[len(numbers)] = len(images)
        numbers += [ELEMENTS.index(element) + 1] * len(images)
        positions.append(images / GRID)
    _check_formula(text, numbers)
    provenance = {"space_group": symbol}
    candidate = Candidate(
        lattice, np.array(numbers), np.concatenate(positions), provenance=provenance
    )
    if not candidate.is_sound():
        raise CIFRejectedError("overlap", "atoms are on top of each other")
    found = found_group(candidate)
    if found != halls[symbol][1]:
        raise CIFRejectedError("space group", f"{symbol} is stated, but the crystal has {found}")
    if check_bonds:
        score = bond_score(candidate.structure, orbits)
        if score < 1:
            raise CIFRejectedError(
                "bonds", f"{score:.2f} of the bonds have possible lengths", score
            )
    return candidate


def bond_score(structure: Structure, orbits: Mapping[int, int] | None = None) -> float:
    """Share of bonds whose lengths are possible.

    Parameters
    ----------
    structure : pymatgen.core.Structure
        Crystal.
    orbits : dict of int to int, optional
        One atom of each kind that symmetry makes equal, and how many there are; the
        others need not be looked at. None looks at all.

    Returns
    -------
    score : float
        1 if each neighbour pair of CrystalNN is within 32 % of the sum of the ionic
        radii (for a difference in electronegativity of at least 1.7) or atomic
        radii; with hydrogen, below 2.5 times. 0 if there are no bonds at all.
    """
    from pymatgen.analysis.local_env import CrystalNN

    good = total = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        neighbours = CrystalNN()
        for i, weight in (orbits or dict.fromkeys(range(len(structure)), 1)).items():
            site = structure[i]
            try:
                shell = neighbours.get_nn_info(structure, i)
            except (ValueError, RuntimeError):
                return 0.0
            for other in shell:
                first, second = site.specie, other["site"].specie
                ratio = float(np.linalg.norm(other["site"].coords - site.coords))
                ratio /= _expected_length(first, second)
                limit = _HYDROGEN_RATIO if "H" in (first.symbol, second.symbol) else None
                total += weight
                good += weight * (ratio < limit if limit else abs(ratio - 1) < _BOND_TOLERANCE)
    return good / total if total else 0.0


def atom_properties(formula: str) -> str:
    """Table of electronegativities and radii, as pymatgen has them."""
    from pymatgen.core import Element

    rows = []
    with may_lack_properties():
        for symbol in dict.fromkeys(re.findall(r"[A-Z][a-z]?", formula)):
            element = Element(symbol)
            negativity = _ALLEN.get(symbol, element.X)
            radius = float(element.atomic_radius or element.van_der_waals_radius or 0.0)
            ionic = float(element.average_ionic_radius)
            rows.append(f"{symbol} {negativity:.4f} {radius:.4f} {ionic:.4f}\n")
    names = ("symbol", "electronegativity", "radius", "ionic_radius")
    return "loop_\n" + "".join(f"_atom_type_{name}\n" for name in names) + "".join(rows)


def field(text: str, name: str) -> str:
    """Take what stands behind a name on its line."""
    found = re.search(rf"^{re.escape(name)} (.+)$", text, re.MULTILINE)
    if found is None:
        raise CIFRejectedError("syntax", f"there is no {name}")
    return found[1].strip()


def _number(text: str, name: str) -> float:
    value = field(text, name)
    if re.fullmatch(r"\d{1,6}(\.\d{1,10})?", value) is None:
        raise CIFRejectedError("syntax", f"{name} is {value[:80]!r}")
    return float(value)


def sites_of(text: str) -> list[tuple[str, int, list[float]]]:
    """Take element, multiplicity and coordinates of each site."""
    block = text.partition("_atom_site_type_symbol")[2]
    rows = [line.split() for line in block.splitlines() if line and not line.startswith("_")]
    if len(rows) > _MAX_SITES:
        raise CIFRejectedError("syntax", f"{len(rows)} sites are more than {_MAX_SITES}")
    sites = []
    for row in rows:
        try:
            element, multiplicity, coords = row[0], int(row[2]), [float(v) for v in row[3:6]]
            if len(row) != len(_COLUMNS) + 1 or element not in ELEMENTS or float(row[6]) != 1:
                raise ValueError
        except (ValueError, IndexError):
            raise CIFRejectedError("syntax", f"the site {' '.join(row)[:80]!r}") from None
        if not np.isfinite(coords).all() or np.abs(coords).max() > 10:
            raise CIFRejectedError("syntax", f"the site {' '.join(row)[:80]!r}")
        sites.append((element, multiplicity, coords))
    if not sites:
        raise CIFRejectedError("syntax", "there are no sites")
    return sites


def _to_grid(coords: list[float]) -> np.ndarray:
    values = np.array(coords)
    special = np.rint(values * 24) / 24
    values = np.where(np.abs(values - special) < _ROUNDED, special, values)
    return np.rint(values * GRID).astype(np.int64) % GRID


def _check_formula(text: str, numbers: list[int]) -> None:
    from pymatgen.core import Composition

    found = re.match(r"data_(\S+)", text)
    if found is None:
        raise CIFRejectedError("syntax", "the text does not begin with data_")
    with may_lack_properties():
        sites = Composition({ELEMENTS[z - 1]: numbers.count(z) for z in set(numbers)})
        stated = {
            "data_": found[1],
            "_chemical_formula_sum": field(text, "_chemical_formula_sum").strip("'"),
            "_chemical_formula_structural": field(text, "_chemical_formula_structural"),
        }
        for name, value in stated.items():
            try:
                same = Composition(value).reduced_formula == sites.reduced_formula
            # pymatgen counts 1e400 atoms as infinitely many
            except (ValueError, OverflowError):
                same = False
            if not same:
                raise CIFRejectedError(
                    "formula", f"{name} says {value}, the sites are {sites.formula}"
                )
        if Composition(stated["data_"]) != sites:
            raise CIFRejectedError(
                "multiplicity", f"data_ says {found[1]}, the sites are {sites.formula}"
            )


def _expected_length(first: Any, second: Any) -> float:
    a, b = sorted((first, second), key=lambda e: e.X)
    if b.X - a.X >= _IONIC_DIFFERENCE:
        length = float(a.average_cationic_radius) + float(b.average_anionic_radius)
        if length > 0:
            return length
    radii = [float(e.atomic_radius or e.van_der_waals_radius or 1.5) for e in (a, b)]
    return sum(radii)
