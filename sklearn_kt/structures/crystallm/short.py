"""The short form of CrystaLLM's text: what the rest of it does not follow from.

The published text repeats itself: the space group fixes its number and most of the
cell, the formula fixes the element properties, the site symmetry fixes coordinates
to the last digit. A small model that is trained for hours, not weeks, is better
off without. The short form has the same tokens in the same order; nothing but
digits is lost (lengths have two decimals, angles one, coordinates three).
"""

from __future__ import annotations

import re

import numpy as np

from sklearn_kt.compositions import ELEMENTS
from sklearn_kt.structures.elements import may_lack_properties
from sklearn_kt.structures.symmetry import (
    GRID,
    hall_numbers,
    lattice_vectors,
    orbit_images,
    setting,
)

from .sites import sites_of_hall
from .text import CIFRejectedError, atom_properties, field, sites_of

__all__ = ["GROUP_KEY", "free_parameters", "lengthen", "short_fraction", "shorten"]

_LENGTHS = ("_cell_length_a", "_cell_length_b", "_cell_length_c")
_ANGLES = ("_cell_angle_alpha", "_cell_angle_beta", "_cell_angle_gamma")
GROUP_KEY = "_symmetry_space_group_name_H-M"
"""Key of the space group's line."""
_FREE_MONOCLINIC = (*_LENGTHS, _ANGLES[1])
# Atoms that are nearer than this (Angstrom) cannot both be there.
_OVERLAP = 0.8
# Steps along no line or plane of symmetry, in fractions of the cell.
_BESIDE = np.array([[0, 0, 0], [0.11, 0.17, 0.13], [-0.13, 0.07, -0.19], [0.21, -0.12, 0.08]])
_ROUNDS = 4


def shorten(text: str) -> str:
    r"""Leave out what follows from the rest.

    What stays is the header, the space group, the free parameters of the cell, and element,
    multiplicity and coordinates of each site; it ends with a blank line.
    """
    symbol = field(text, GROUP_KEY).strip("'")
    number = hall_numbers()[symbol][1]
    lines = [text.partition("\n")[0], f"{GROUP_KEY} {symbol}"]
    for name in free_parameters(number):
        digits = 2 if name in _LENGTHS else 1
        lines.append(f"{name} {float(field(text, name)):.{digits}f}")
    for element, multiplicity, coords in sites_of(text):
        lines.append(" ".join([element, str(multiplicity), *map(short_fraction, coords)]))
    return "\n".join(lines) + "\n\n"


def lengthen(short: str, *, largest_move: float = 0.5, special: bool = False) -> str:
    """Put back what was left out.

    Parameters
    ----------
    short : str
        As :func:`shorten` gives, or a model writes.
    largest_move : float, default=0.5
        A site is moved at most so far (Angstrom) onto the position that its
        multiplicity asks for.
    special : bool, default=False
        Where there is no such position, or another atom is on it, take the nearest one
        of the multiplicity that is empty, however far.

    Returns
    -------
    text : str
        In the published form.

    Raises
    ------
    CIFRejectedError
        If something is missing, or a site has no such position nearby.
    """
    from pymatgen.core import Composition

    name = re.match(r"data_([A-Za-z0-9]+)\n", short)
    if name is None:
        raise CIFRejectedError("syntax", "the text does not begin with data_ and a formula")
    parts = re.findall(r"([A-Z][a-z]?)(\d{1,4})", name[1])
    if "".join(map("".join, parts)) != name[1] or any(e not in ELEMENTS for e, _ in parts):
        raise CIFRejectedError("syntax", f"data_{name[1]} is not a formula")
    symbol = field(short, GROUP_KEY)
    if symbol not in hall_numbers():
        raise CIFRejectedError("space group", f"{symbol!r} is not a space group")
    hall, number = hall_numbers()[symbol]
    cell = _cell(short, number)
    lattice = lattice_vectors(np.array(list(cell.values())))
    volume = abs(float(np.linalg.det(lattice)))
    if not np.isfinite(volume) or volume < 1:
        raise CIFRejectedError("cell", f"{list(cell.values())} span no volume")
    rows = []
    taken: list[np.ndarray] = []
    for i, (element, multiplicity, coords) in enumerate(_short_sites(short)):
        try:
            placed = _placed(np.array(coords), multiplicity, hall, lattice, largest_move)
            if special and _distance(placed, taken, lattice) < _OVERLAP:
                raise CIFRejectedError("overlap", "another atom is there")
        except CIFRejectedError:
            if not special:
                raise
            elsewhere = _empty(np.array(coords), multiplicity, hall, lattice, taken)
            if elsewhere is None:
                raise
            placed = elsewhere
        position = np.rint(placed * GRID).astype(np.int64)
        taken.append(orbit_images(position, *setting(hall)[:2]) / GRID)
        numbers = " ".join(f"{value:.4f}" for value in placed)
        rows.append(f"{element} {element}{i} {multiplicity} {numbers} 1\n")
    with may_lack_properties():
        composition = Composition(name[1])
        reduced, units = composition.get_reduced_composition_and_factor()
    total = composition.formula if len(composition) == 1 else f"'{composition.formula}'"
    parameters = "".join(f"{key} {value:.4f}\n" for key, value in cell.items())
    return (
        f"{name[0]}{atom_properties(name[1])}{GROUP_KEY} {symbol}\n{parameters}"
        f"_symmetry_Int_Tables_number {number}\n"
        f"_chemical_formula_structural {reduced.reduced_formula}\n"
        f"_chemical_formula_sum {total}\n_cell_volume {volume:.4f}\n"
        f"_cell_formula_units_Z {int(units)}\n"
        "loop_\n_symmetry_equiv_pos_site_id\n_symmetry_equiv_pos_as_xyz\n1 'x, y, z'\n"
        "loop_\n_atom_site_type_symbol\n_atom_site_label\n_atom_site_symmetry_multiplicity\n"
        "_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\n_atom_site_occupancy\n"
        f"{''.join(rows)}\n"
    )


def free_parameters(number: int) -> tuple[str, ...]:
    """Parameters of the conventional cell that a space group leaves free."""
    if number < 3:
        return (*_LENGTHS, *_ANGLES)
    if number < 16:
        return _FREE_MONOCLINIC
    if number < 75:
        return _LENGTHS
    return _LENGTHS[::2] if number < 195 else _LENGTHS[:1]


def _cell(text: str, number: int) -> dict[str, float]:
    free = free_parameters(number)
    values = {}
    for name in free:
        found = field(text, name)
        if re.fullmatch(r"\d{1,4}(\.\d{1,6})?", found) is None:
            raise CIFRejectedError("syntax", f"{name} is {found!r}")
        values[name] = float(found)
    a = values[_LENGTHS[0]]
    tied = {_LENGTHS[1]: a, _LENGTHS[2]: a, **dict.fromkeys(_ANGLES, 90.0)}
    if 143 <= number < 195:
        tied[_ANGLES[2]] = 120.0
    cell = {name: values.get(name, tied.get(name, 0.0)) for name in (*_LENGTHS, *_ANGLES)}
    if not all(0.5 <= cell[k] <= 1000 for k in _LENGTHS) or not all(
        10 <= cell[k] <= 170 for k in _ANGLES
    ):
        raise CIFRejectedError("cell", f"lengths and angles {list(cell.values())}")
    return cell


def _short_sites(text: str) -> list[tuple[str, int, list[float]]]:
    sites = []
    for line in text.split("\n")[1:]:
        if not line or line.startswith("_"):
            continue
        row = line.split()
        try:
            element, multiplicity, coords = row[0], int(row[1]), [float(v) for v in row[2:]]
        except (ValueError, IndexError):
            raise CIFRejectedError("syntax", f"the site {line!r}") from None
        inside = len(coords) == 3 and all(-10 <= v <= 10 for v in coords)
        if not inside or element not in ELEMENTS or not 0 < multiplicity <= 192:
            raise CIFRejectedError("syntax", f"the site {line!r}")
        sites.append((element, multiplicity, coords))
    if not sites:
        raise CIFRejectedError("syntax", "there are no sites")
    return sites


def _empty(
    coords: np.ndarray, multiplicity: int, hall: int, lattice: np.ndarray, taken: list[np.ndarray]
) -> np.ndarray | None:
    """Find the nearest empty position of a multiplicity."""
    sites = sites_of_hall(hall)
    options = sites.fixed.get(multiplicity, np.empty((0, 0, 3))).reshape(-1, 3)
    if multiplicity in sites.planes:
        lines, along = sites.planes[multiplicity]
        across = np.eye(3) - along
        # where lines meet, sites have fewer images: points beside it are tried, too
        for point in coords + _BESIDE:
            # of the lattice's images of each line or plane, one near by; then the point on it
            origins = lines + np.rint(np.einsum("nij,nj->ni", across, point - lines))
            nearest = point - np.einsum("nij,nj->ni", across, point - origins)
            options = np.concatenate([options, nearest])
    delta = options - coords
    delta -= np.rint(delta)
    rotations, shifts, _ = setting(hall)
    for i in np.argsort(np.linalg.norm(delta @ lattice, axis=1), kind="stable"):
        position = np.rint(options[i] * GRID).astype(np.int64) % GRID
        images = orbit_images(position, rotations, shifts) / GRID
        if (
            len(images) == multiplicity
            and _distance(images[0], [*taken, images[1:]], lattice) > _OVERLAP
        ):
            return position / GRID
    return None


def _distance(position: np.ndarray, taken: list[np.ndarray], lattice: np.ndarray) -> float:
    """Distance to the nearest atom."""
    others = np.concatenate([np.empty((0, 3)), *taken])
    if not len(others):
        return np.inf
    delta = others - position
    delta -= np.rint(delta)
    return float(np.linalg.norm(delta @ lattice, axis=1).min())


def _placed(
    coords: np.ndarray, multiplicity: int, hall: int, lattice: np.ndarray, largest_move: float
) -> np.ndarray:
    """Move a site onto the nearest position with the multiplicity stated."""
    rotations, shifts, _ = setting(hall)
    translations = shifts / GRID
    order, rest = divmod(len(rotations), multiplicity)
    images = rotations @ coords + translations
    away = images - coords
    away -= np.rint(away)
    nearest = np.argsort(np.linalg.norm(away @ lattice, axis=1), kind="stable")[: max(order, 1)]
    placed = coords
    for _ in range(_ROUNDS):
        away = (rotations @ placed + translations - placed)[nearest]
        away -= np.rint(away)
        placed = placed + away.mean(axis=0)
    moved = float(np.linalg.norm((placed - coords) @ lattice))
    position = np.rint(placed * GRID).astype(np.int64) % GRID
    n_images = len(orbit_images(position, rotations, shifts))
    if rest or n_images != multiplicity or moved > largest_move:
        raise CIFRejectedError(
            "multiplicity",
            f"no position of multiplicity {multiplicity} is within {largest_move} Angstrom of "
            f"{coords.tolist()}",
        )
    return position / GRID


def short_fraction(value: float) -> str:
    """Spell a coordinate."""
    rounded = f"{value % 1:.3f}"
    if rounded == "1.000":
        rounded = "0.000"
    return re.sub(r"(\.\d+?)0+$", r"\1", rounded)
