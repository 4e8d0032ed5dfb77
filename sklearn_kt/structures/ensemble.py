"""Several generators as one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from sklearn.utils._param_validation import StrOptions

from sklearn_kt.exceptions import InputError

from .base import BaseStructureGenerator, Candidate
from .prototypes import PrototypeGenerator
from .stoichiometry import Stoichiometry

__all__ = ["EnsembleGenerator", "alike", "distinct"]


class EnsembleGenerator(BaseStructureGenerator):
    """Ask several generators, drop duplicates, and rank what is left.

    Parameters
    ----------
    generators : list of generators or None, default=None
        In the order of trust; None is :class:`PrototypeGenerator` alone.
    last_resort : generator or None, default=None
        Asked where the generators have no candidate.
    rank_by : {"order", "energy"}, default="order"
        By turns, the best of each generator first; or by the energy that CHGNet
        predicts (needs the extra ``structures``).
    n_candidates : int, default=5
        At most so many for each composition, of as many from each generator.
    max_atoms : int, default=200
        Compositions whose integer formula has more atoms are replaced by the
        nearest smaller one.
    max_error : float, default=0.05
        Largest fraction of atoms that may differ then.
    errors : {"raise", "nan"}, default="raise"
        What a row that is not a composition does: raise, or have no candidate.
    cache_dir : str, Path or None, default=None
        Folder for results, shared by processes; None keeps none.
    n_jobs : int or None, default=None
        Processes.
    verbose : int, default=0
        1 shows progress.

    See Also
    --------
    StructureLookup : Known crystals; put it first.
    RandomGenerator : A last resort.

    Notes
    -----
    Two candidates are duplicates if pymatgen's ``StructureMatcher`` says so with its
    defaults; the first is kept.

    Examples
    --------
    >>> from sklearn_kt.structures import EnsembleGenerator, PrototypeGenerator
    >>> twice = EnsembleGenerator([PrototypeGenerator(), PrototypeGenerator()])
    >>> len(twice.generate(["CsCl"], n_candidates=2)[0])
    2
    """

    _parameter_constraints: ClassVar[dict[str, list]] = {
        **BaseStructureGenerator._parameter_constraints,
        "generators": [list, tuple, None],
        "last_resort": [BaseStructureGenerator, None],
        "rank_by": [StrOptions({"order", "energy"})],
    }

    def __init__(
        self,
        generators: Sequence[BaseStructureGenerator] | None = None,
        *,
        last_resort: BaseStructureGenerator | None = None,
        rank_by: str = "order",
        n_candidates: int = 5,
        max_atoms: int = 200,
        max_error: float = 0.05,
        errors: str = "raise",
        cache_dir: str | Path | None = None,
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.generators = generators
        self.last_resort = last_resort
        self.rank_by = rank_by
        self.n_candidates = n_candidates
        self.max_atoms = max_atoms
        self.max_error = max_error
        self.errors = errors
        self.cache_dir = cache_dir
        self.n_jobs = n_jobs
        self.verbose = verbose

    def _members(self) -> list[BaseStructureGenerator]:
        members = [PrototypeGenerator()] if self.generators is None else list(self.generators)
        for member in members:
            if not isinstance(member, BaseStructureGenerator):
                raise InputError(
                    f"{member!r} is not a structure generator; pass objects of "
                    "sklearn_kt.structures."
                )
        if not members:
            raise InputError("an ensemble needs at least one generator.")
        return members

    def _can_make(self, formula: Stoichiometry) -> bool:
        members = self._members()
        if self.last_resort is not None:
            members.append(self.last_resort)
        return any(member._can_make(formula) for member in members)

    def _generate_chunk(
        self, formulas: Sequence[Stoichiometry], wanted: int
    ) -> list[list[Candidate]]:
        columns = [member._generate_chunk(formulas, wanted) for member in self._members()]
        merged = [self._merge(lists, wanted) for lists in zip(*columns, strict=True)]
        if self.last_resort is not None:
            for i, formula in enumerate(formulas):
                if not merged[i]:
                    merged[i] = self.last_resort._generate_one(formula, wanted)
        return merged

    def _generate_one(self, formula: Stoichiometry, wanted: int) -> list[Candidate]:
        return self._generate_chunk([formula], wanted)[0]

    def _merge(self, lists: Sequence[list[Candidate]], wanted: int) -> list[Candidate]:
        depth = max(map(len, lists))
        turns = [found[i] for i in range(depth) for found in lists if i < len(found)]
        if len(lists) > 1:
            turns = distinct(turns)
        if self.rank_by == "energy":
            from .chgnet import rank_by_energy

            turns = rank_by_energy(turns)
        return turns[:wanted]

    def _signature(self) -> Any:
        members = self._members()
        if self.last_resort is not None:
            members.append(self.last_resort)
        if any(member._signature() is None for member in members):
            # crystals of the user's may change under the same name
            raise InputError(
                "an ensemble with a StructureLookup cannot be cached as a whole; pass "
                "cache_dir to its other generators."
            )
        parts = [[type(m).__name__, m._signature(), m.max_atoms] for m in members]
        return [self.rank_by, self.last_resort is None, parts]


def distinct(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Drop crystals that match an earlier one.

    Parameters
    ----------
    candidates : sequence of Candidate
        Best first.

    Returns
    -------
    kept : list of Candidate
        In the same order.
    """
    return [group[0] for group in alike(candidates)]


def alike(candidates: Sequence[Candidate]) -> list[list[Candidate]]:
    """Group crystals that match.

    Parameters
    ----------
    candidates : sequence of Candidate
        Best first.

    Returns
    -------
    groups : list of list of Candidate
        By pymatgen's ``StructureMatcher`` with its defaults, compared with the first
        of each group; groups and members in the order given.
    """
    from pymatgen.analysis.structure_matcher import StructureMatcher

    matcher = StructureMatcher()
    groups: list[list[Candidate]] = []
    structures: list[Any] = []
    for candidate in candidates:
        structure = candidate.structure
        for group, other in zip(groups, structures, strict=True):
            if matcher.fit(structure, other):
                group.append(candidate)
                break
        else:
            groups.append([candidate])
            structures.append(structure)
    return groups
