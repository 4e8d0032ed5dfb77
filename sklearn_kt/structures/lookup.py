"""Structures of your own: a folder of CIF files, or a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, ClassVar

from .base import FormulaGenerator
from .candidate import Candidate
from .reading import read_structures
from .stoichiometry import Stoichiometry, integer_formula

__all__ = ["StructureLookup"]


class StructureLookup(FormulaGenerator):
    """Give the crystals that are known for a composition.

    Parameters
    ----------
    source : str, Path, DataFrame or sequence of pymatgen.core.Structure
        A folder with ``.cif`` files (sub-folders included); a table ``.csv``,
        ``.json`` or ``.parquet``, or a data frame, with a column ``structure``
        (pymatgen's dictionaries or their JSON) or ``cif`` (text), and optionally
        ``energy``; or the crystals themselves.
    skip_bad : bool, default=False
        Leave out crystals that cannot be read or are disordered, with a warning
        that counts them; False raises.
    n_candidates : int, default=5
        At most so many for each composition.
    max_atoms : int, default=1000
        Largest integer formula that is looked up.
    max_error : float, default=0.0
        Largest fraction of atoms that may differ for compositions that are not
        integer formulas; 0 finds exact matches only.
    errors : {"raise", "nan"}, default="raise"
        What a row that is not a composition does: raise, or have no candidate.

    See Also
    --------
    EnsembleGenerator : Known structures first, generated ones where there is none.

    Notes
    -----
    Crystals of one composition come in the order of ``energy`` (lowest first) if the
    table has it, else in that of the source. Their score is 1. Folders and files are
    read once per instance; make a new one when they change.

    Examples
    --------
    >>> from pymatgen.core import Lattice, Structure
    >>> from sklearn_kt.structures import StructureLookup
    >>> salt = Structure.from_spacegroup(
    ...     "Fm-3m", Lattice.cubic(5.69), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    ... )
    >>> found = StructureLookup([salt]).generate(["Na2Cl2", "KCl"])
    >>> [len(candidates) for candidates in found]
    [1, 0]
    """

    _parameter_constraints: ClassVar[dict[str, list]] = {
        **FormulaGenerator._parameter_constraints,
        "source": [object],
        "skip_bad": ["boolean"],
    }

    def __init__(
        self,
        source: Any,
        *,
        skip_bad: bool = False,
        n_candidates: int = 5,
        max_atoms: int = 1000,
        max_error: float = 0.0,
        errors: str = "raise",
    ) -> None:
        self.source = source
        self.skip_bad = skip_bad
        self.n_candidates = n_candidates
        self.max_atoms = max_atoms
        self.max_error = max_error
        self.errors = errors

    def _can_make(self, formula: Stoichiometry) -> bool:
        return _key(formula.counts) in self._known()

    def _generate_one(self, formula: Stoichiometry, wanted: int) -> list[Candidate]:
        return self._known().get(_key(formula.counts), [])[:wanted]

    def _known(self) -> dict[tuple, list[Candidate]]:
        """Candidates by composition, read on first use."""
        cached = self.__dict__.get("_index_of_source")
        if cached is None or cached[0] is not self.source:
            index: dict[tuple, list[Candidate]] = {}
            for candidate in read_structures(self.source, skip_bad=self.skip_bad):
                formula = integer_formula(Counter(candidate.numbers.tolist()))
                index.setdefault(_key(formula.counts), []).append(candidate)
            for candidates in index.values():
                candidates.sort(key=lambda c: c.provenance.get("energy", 0.0))
            cached = self._index_of_source = (self.source, index)
        return cached[1]


def _key(counts: Mapping[int, int]) -> tuple[tuple[int, int], ...]:
    return tuple(sorted(counts.items()))
