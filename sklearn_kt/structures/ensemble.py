"""Several generators as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from sklearn.utils._param_validation import HasMethods, StrOptions

from sklearn_kt.compositions import CompositionBatch, composition_groups
from sklearn_kt.exceptions import InputError

from .base import BaseStructureGenerator, ask, check_generator
from .candidate import Candidate
from .chgnet import rank_by_energy
from .prototypes import PrototypeGenerator

__all__ = ["EnsembleGenerator", "alike", "distinct"]


class EnsembleGenerator(BaseStructureGenerator):
    """Ask several generators, drop duplicates, and rank what is left.

    Parameters
    ----------
    generators : list of generators or None, default=None
        In the order of trust; None is :class:`PrototypeGenerator` alone. Anything with
        ``generate(compositions, n_candidates)``, which returns a list of crystals for
        each row. Each has its own cache, processes and largest formula.
    last_resort : generator or None, default=None
        Asked where the generators have no candidate.
    rank_by : {"order", "energy"}, default="order"
        By turns, the best of each generator first; or by the energy that CHGNet
        predicts (needs the extra ``structures``).
    n_candidates : int, default=5
        At most so many for each composition, of as many from each generator.
    errors : {"raise", "nan"}, default="raise"
        What a row that is not a composition does: raise, or have no candidate.

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
        "last_resort": [HasMethods(["generate"]), None],
        "rank_by": [StrOptions({"order", "energy"})],
    }

    def __init__(
        self,
        generators: Sequence[Any] | None = None,
        *,
        last_resort: Any = None,
        rank_by: str = "order",
        n_candidates: int = 5,
        errors: str = "raise",
    ) -> None:
        self.generators = generators
        self.last_resort = last_resort
        self.rank_by = rank_by
        self.n_candidates = n_candidates
        self.errors = errors

    def _generate(self, batch: CompositionBatch, wanted: int) -> list[list[Candidate]]:
        members = self._members()
        valid = np.flatnonzero(batch.valid)
        # each composition is asked for once
        _, first, copies = np.unique(
            composition_groups(batch[valid]), return_index=True, return_inverse=True
        )
        rows = batch[valid[first]]
        columns = [ask(member, rows, wanted) for member in members]
        merged = [self._merge(lists, wanted) for lists in zip(*columns, strict=True)]
        empty = [row for row, found in enumerate(merged) if not found]
        if self.last_resort is not None and empty:
            for row, found in zip(empty, ask(self.last_resort, rows[empty], wanted), strict=True):
                merged[row] = found[:wanted]
        out: list[list[Candidate]] = [[] for _ in range(len(batch))]
        for row, place in zip(valid.tolist(), copies.tolist(), strict=True):
            out[row] = list(merged[place])
        return out

    def _members(self) -> list[Any]:
        members = [PrototypeGenerator()] if self.generators is None else list(self.generators)
        for member in members:
            check_generator(member)
        if not members:
            raise InputError("an ensemble needs at least one generator.")
        return members

    def _merge(self, lists: Sequence[list[Candidate]], wanted: int) -> list[Candidate]:
        depth = max(map(len, lists))
        turns = [found[i] for i in range(depth) for found in lists if i < len(found)]
        if len(lists) > 1:
            turns = distinct(turns)
        if self.rank_by == "energy":
            turns = rank_by_energy(turns)
        return turns[:wanted]


def distinct(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Drop crystals that match an earlier one; the best come first."""
    return [group[0] for group in alike(candidates)]


def alike(candidates: Sequence[Candidate]) -> list[list[Candidate]]:
    """Group crystals that match, by pymatgen's ``StructureMatcher`` with its defaults.

    They are compared with the first of each group; groups and members keep their order.
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
