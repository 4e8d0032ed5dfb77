"""A crystal, drawn."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from sklearn_kt.compositions import ELEMENTS
from sklearn_kt.exceptions import InputError
from sklearn_kt.structures.symmetry import quiet_spglib

from ._style import COLOURS, figure_of, formula_text
from .elements import by_electronegativity

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from sklearn_kt.structures import Candidate

__all__ = ["StructureDisplay"]

# in the order of electronegativity; grey instead of black
_ATOM_COLOURS = (*(COLOURS[i] for i in (2, 0, 3, 4, 5)), "#F0E442", "#999999")
# crystals are seen from a little to the right and above, as in most drawings
_TURN, _TILT = np.radians([17.0, 12.0])
_ATOM_SCALE = 0.38
_UNKNOWN_RADIUS, _SMALLEST_RADIUS = 1.5, 0.8
_SYMMETRY = 0.1
# in Angstrom, and over the distance of an atom's nearest neighbour
_FARTHEST_BOND, _LONGER_BOND = 5.0, 1.15
# atoms that lie on a face of the cell are drawn on the opposite face too
_ON_FACE = 0.02


class StructureDisplay:
    """Pictures of the crystals proposed for a composition.

    Parameters
    ----------
    candidates : sequence of Candidate
        Of a generator of :mod:`sklearn_kt.structures`, best first.

    Attributes
    ----------
    axes_ : ndarray of matplotlib.axes.Axes
        One per crystal drawn.
    figure_ : matplotlib.figure.Figure
        Their figure.

    See Also
    --------
    sklearn_kt.structures.PrototypeGenerator : Proposes crystals.

    Notes
    -----
    Each picture is a parallel projection of the unit cell, with its space group
    (tolerance 0.1 Angstrom), the crystal it was substituted from with its source, and the
    generator's score; known crystals with their energy above the hull, where it is known.
    Discs have atomic radii, scaled down, and at least 0.8 Angstrom before that; all pictures have
    one scale. Lines join an atom with those that are at most 15 % farther than its nearest
    neighbour, within 5 Angstrom.

    Examples
    --------
    >>> from sklearn_kt.plotting import StructureDisplay
    >>> from sklearn_kt.structures import PrototypeGenerator
    >>> display = StructureDisplay.from_estimator(PrototypeGenerator(), "CsPbI3", n_candidates=2)
    >>> len(display.axes_)
    2
    """

    axes_: np.ndarray
    figure_: Figure

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self.candidates = list(candidates)

    @classmethod
    def from_estimator(
        cls,
        generator: Any,
        composition: Any,
        *,
        n_candidates: int = 3,
        axes: Sequence[Axes] | None = None,
    ) -> StructureDisplay:
        """Generate crystals and draw them.

        Parameters
        ----------
        generator : structure generator
            Of :mod:`sklearn_kt.structures`.
        composition : str, pymatgen Composition or dict
            What the crystals are made of.
        n_candidates : int, default=3
            At most so many.
        axes : sequence of matplotlib.axes.Axes, default=None
            As for :meth:`plot`.

        Returns
        -------
        StructureDisplay
            Plotted.
        """
        [candidates] = generator.generate([composition], n_candidates)
        if not candidates:
            raise InputError(
                f"{type(generator).__name__} has no crystal for {composition}; ask another "
                "generator, or raise max_error."
            )
        return cls(candidates).plot(axes=axes)

    def plot(self, *, axes: Sequence[Axes] | None = None) -> StructureDisplay:
        """Draw the crystals side by side.

        Parameters
        ----------
        axes : sequence of matplotlib.axes.Axes, default=None
            One per crystal; None makes a figure.

        Returns
        -------
        StructureDisplay
            With ``axes_`` and ``figure_``.

        Raises
        ------
        InputError
            If there is nothing to draw, or another number of axes.
        """
        n = len(self.candidates)
        if n == 0:
            raise InputError("there are no candidates to draw.")
        if axes is None:
            import matplotlib.pyplot as plt

            _, grid = plt.subplots(
                1, n, figsize=(0.6 + 3.1 * n, 3.9), layout="constrained", squeeze=False
            )
            axes = grid[0]
        self.axes_ = np.array(axes, dtype=object).ravel()
        if len(self.axes_) != n:
            raise InputError(f"{n} crystals need {n} axes, got {len(self.axes_)}.")
        self.figure_ = figure_of(self.axes_[0])
        numbers = np.unique(np.concatenate([c.numbers for c in self.candidates])).tolist()
        symbols = by_electronegativity(ELEMENTS[z - 1] for z in numbers)
        colours = {s: _ATOM_COLOURS[i % len(_ATOM_COLOURS)] for i, s in enumerate(symbols)}
        for candidate, ax in zip(self.candidates, self.axes_, strict=True):
            self._draw(candidate, ax, colours)
        # one scale for all, so that an atom has the same size in each
        limits = np.array([[ax.get_xlim(), ax.get_ylim()] for ax in self.axes_])
        reach = np.ptp(limits, axis=2).max(axis=0) / 2
        for ax, middle in zip(self.axes_, limits.mean(axis=2), strict=True):
            (left, low), (right, high) = middle - reach, middle + reach
            ax.set(xlim=(left, right), ylim=(low, high))
            # which is wider or higher decides what an equal aspect does to the limits
            ax.update_datalim([(left, low), (right, high)])
        return self

    def _draw(self, candidate: Candidate, ax: Axes, colours: Mapping[str, str]) -> None:
        from matplotlib.collections import LineCollection
        from matplotlib.lines import Line2D
        from matplotlib.patches import Circle

        view = _view(candidate.lattice)
        corners = np.array(list(np.ndindex(2, 2, 2)), float) @ view
        edges = [(a, b) for a in range(8) for b in range(a + 1, 8) if (a ^ b).bit_count() == 1]
        furthest = int(corners[:, 2].argmin())
        for a, b in edges:
            ends = corners[[a, b]]
            line = ":" if furthest in (a, b) else "-"
            ax.plot(ends[:, 0], ends[:, 1], color="0.35", linewidth=0.9, linestyle=line, zorder=1)
        sites, coords = _whole_cell(candidate)
        places = coords @ view
        symbols = [ELEMENTS[z - 1] for z in candidate.numbers[sites].tolist()]
        radii = _ATOM_SCALE * np.array([_radius(symbol) for symbol in symbols])
        ranks = np.argsort(np.argsort(places[:, 2], kind="stable"))
        for place, radius, rank, symbol in zip(places, radii, ranks, symbols, strict=True):
            disc = Circle(
                place[:2], radius, facecolor=colours[symbol], edgecolor="white", linewidth=0.8
            )
            disc.set_zorder(2 + rank)
            ax.add_patch(disc)
        # from surface to surface, behind the nearer atom and before the farther one
        for i, j in _bonds(candidate, sites, places):
            way = (places[j] - places[i]) / np.linalg.norm(places[j] - places[i])
            ends = np.array([places[i] + radii[i] * way, places[j] - radii[j] * way])
            bond = LineCollection([ends[:, :2]], colors="0.55", linewidths=1.6)
            bond.set_zorder(2.5 + min(ranks[i], ranks[j]))
            ax.add_collection(bond)
        everything = np.vstack([corners, places])[:, :2]
        low, high = everything.min(axis=0) - 1, everything.max(axis=0) + 1
        ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
        # the layout only keeps title and legend on the page where the axes stay as it made them
        ax.set_aspect("equal", adjustable="datalim")
        ax.set_axis_off()
        ax.set_title(_crystal_title(candidate), fontsize=9.5)
        dots = [
            Line2D([], [], marker="o", linestyle="", markersize=8, color=colours[s], label=s)
            for s in colours
            if s in symbols
        ]
        ax.legend(
            handles=dots,
            loc="upper center",
            bbox_to_anchor=(0.5, 0.02),
            ncols=min(len(dots), 5),
            frameon=False,
            fontsize=9,
            handletextpad=0.0,
            columnspacing=0.8,
        )


def _view(lattice: np.ndarray) -> np.ndarray:
    """Lattice vectors on the page (x, y) and towards the reader (z), one per row."""
    up = lattice[2] / np.linalg.norm(lattice[2])
    # the first vector points to the right, or the second where the first runs along the third
    right = lattice[0] - lattice[0] @ up * up
    right /= np.linalg.norm(right)
    upright = np.column_stack([right, up, np.cross(right, up)])
    turn, tilt = (
        np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]]) for a in (_TURN, _TILT)
    )
    about_up, about_right = np.eye(3), np.eye(3)
    about_up[np.ix_([0, 2], [0, 2])] = turn
    about_right[1:, 1:] = tilt
    return lattice @ upright @ about_up @ about_right


def _whole_cell(candidate: Candidate) -> tuple[np.ndarray, np.ndarray]:
    """Sites and coordinates of all atoms in and on the cell."""
    coords = candidate.coords - np.floor(candidate.coords + _ON_FACE)
    sites, places = [], []
    for site, place in enumerate(coords):
        near = np.abs(place) <= _ON_FACE
        for shift in np.ndindex(*(1 + near)):
            sites.append(site)
            places.append(place + shift)
    return np.array(sites), np.array(places)


def _bonds(candidate: Candidate, sites: np.ndarray, places: np.ndarray) -> list[list[int]]:
    """Pairs of drawn atoms that are hardly farther apart than one of them and its nearest."""
    found, _, _, lengths = candidate.structure.get_neighbor_list(_FARTHEST_BOND)
    nearest = np.full(len(candidate.numbers), np.inf)
    np.minimum.at(nearest, found, lengths)
    # an atom without a neighbour has no bond
    nearest[np.isinf(nearest)] = 0
    apart = np.linalg.norm(places[:, None] - places, axis=2)
    reach = _LONGER_BOND * nearest[sites]
    return np.argwhere(np.triu(apart <= np.maximum(reach[:, None], reach), 1)).tolist()


@cache
def _radius(symbol: str) -> float:
    from pymatgen.core import Element

    radius = Element(symbol).atomic_radius
    return _UNKNOWN_RADIUS if radius is None else max(float(radius), _SMALLEST_RADIUS)


def _crystal_title(candidate: Candidate) -> str:
    cell = (candidate.lattice.tolist(), candidate.coords.tolist(), candidate.numbers.tolist())
    with quiet_spglib() as spglib:
        found = spglib.get_spacegroup(cell, symprec=_SYMMETRY)
    # "P6_3/m (176)": digits below the line, and bars instead of minus signs
    group = (
        re.sub(r"-(\d)", r"$\\bar{\1}$", str(found).split(" ")[0]) if found else "symmetry unknown"
    )
    group = re.sub(r"_(\d)", r"$_{\1}$", group)
    lines = [f"{formula_text(candidate.formula)}, {group}"]
    told = candidate.provenance
    source = f" ({told['source']})" if "source" in told else ""
    if told.get("template") == candidate.formula:
        lines.append(f"a known crystal{source}")
    elif "template" in told:
        after = formula_text(str(told["template"]))
        lines.append(f"after {after}{source}, score {candidate.score:.2f}")
    elif math.isfinite(candidate.score):
        lines.append(f"score {candidate.score:.2f}")
    if "e_hull" in told:
        lines.append(f"{told['e_hull']:.3f} eV/atom above the hull")
    return "\n".join(lines)
