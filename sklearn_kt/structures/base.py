"""What every generator of structures has in common, and what is asked of one."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils._param_validation import Interval, StrOptions

from sklearn_kt.compositions import ELEMENTS, CompositionBatch, read_compositions
from sklearn_kt.exceptions import InputError, NearFormulaWarning
from sklearn_kt.fitting import fit_context

from .candidate import Candidate, candidates_of_rows
from .stoichiometry import Stoichiometry, integer_formulas, near_formulas

__all__ = [
    "BaseStructureGenerator",
    "FormulaGenerator",
    "ask",
    "check_generator",
    "warn_of_near_formulas",
]


# Amounts that are written with three decimals may be off by this fraction of the atoms.
_ROUNDING = 5e-4


class BaseStructureGenerator(TransformerMixin, BaseEstimator):
    """A generator as a transformer; subclasses add ``_generate``, which gets what is read.

    :meth:`generate` is all that :class:`~sklearn_kt.ExplicitKTRegressor` and
    :class:`EnsembleGenerator` ask of a generator: one of your own need not derive from
    this class.

    Examples
    --------
    >>> from pymatgen.core import Lattice, Structure
    >>> from sklearn_kt.structures import BaseStructureGenerator, Candidate
    >>> class OneIronAtom(BaseStructureGenerator):
    ...     def __init__(self, n_candidates=1, errors="raise"):
    ...         self.n_candidates, self.errors = n_candidates, errors
    ...
    ...     def _generate(self, batch, wanted):
    ...         iron = Candidate.from_structure(Structure(Lattice.cubic(2.9), ["Fe"], [[0, 0, 0]]))
    ...         return [[iron] if formula == "Fe" else [] for formula in batch.formulas()]
    >>> [of_iron, of_gold] = OneIronAtom().generate(["Fe", "Au"])
    >>> [candidate.formula for candidate in of_iron], of_gold
    (['Fe'], [])
    """

    _parameter_constraints: ClassVar[dict[str, list]] = {
        "n_candidates": [Interval(Integral, 1, None, closed="left")],
        "errors": [StrOptions({"raise", "nan"})],
    }

    n_candidates: int
    errors: str

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None) -> Self:
        """Check the parameters and the compositions; nothing is learned.

        Parameters
        ----------
        X : array-like of compositions, shape (n_samples,)
            As in :func:`~sklearn_kt.read_compositions`.
        y : ignored
            For pipelines.

        Returns
        -------
        self : object
            The generator.
        """
        read_compositions(X, errors=self.errors)
        self.n_features_in_ = 1
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Generate ``n_candidates`` for each composition.

        Parameters
        ----------
        X : array-like of compositions, shape (n_samples,)
            As in :func:`~sklearn_kt.read_compositions`.

        Returns
        -------
        candidates : ndarray of object, shape (n_samples,)
            A list of :class:`Candidate` in each row, as :meth:`generate` gives.
        """
        found = self.generate(X)
        out = np.empty(len(found), object)
        out[:] = found
        return out

    def generate(self, compositions: Any, n_candidates: int | None = None) -> list[list[Candidate]]:
        """Propose crystals.

        Parameters
        ----------
        compositions : array-like of compositions, shape (n,)
            As in :func:`~sklearn_kt.read_compositions`.
        n_candidates : int or None, default=None
            At most so many for each; None takes the parameter.

        Returns
        -------
        candidates : list of list of Candidate
            One list per row in the rows' order, best candidate first; empty where
            there is none.

        Raises
        ------
        CompositionError
            If a row is not a composition and ``errors="raise"``.
        InputError
            If a parameter does not serve.

        Warns
        -----
        NearFormulaWarning
            If compositions are not integer formulas and were replaced by near ones;
            the provenance of their candidates has the error.
        """
        self._validate_params()
        wanted = self.n_candidates if n_candidates is None else int(n_candidates)
        if wanted < 1:
            raise InputError(f"n_candidates must be at least 1, got {wanted}.")
        return self._generate(read_compositions(compositions, errors=self.errors), wanted)

    @abstractmethod
    def _generate(self, batch: CompositionBatch, wanted: int) -> list[list[Candidate]]:
        """Candidates for each row, best first; rows that are not compositions have none."""

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.requires_fit = False
        return tags


class FormulaGenerator(BaseStructureGenerator):
    """A generator that takes one integer formula at a time, or one near it.

    Examples
    --------
    >>> from pymatgen.core import Lattice, Structure
    >>> from sklearn_kt.structures import Candidate, FormulaGenerator
    >>> class OneAtom(FormulaGenerator):
    ...     def __init__(self, n_candidates=1, errors="raise", max_atoms=1, max_error=0.1):
    ...         self.n_candidates, self.errors = n_candidates, errors
    ...         self.max_atoms, self.max_error = max_atoms, max_error
    ...
    ...     def _generate_one(self, formula, wanted):
    ...         crystal = Structure(Lattice.cubic(3), [*formula.counts], [[0, 0, 0]])
    ...         return [Candidate.from_structure(crystal)]
    >>> [[gold], none] = OneAtom().generate(["Au2", "NaCl"])
    >>> gold.formula, none
    ('Au', [])
    """

    _parameter_constraints: ClassVar[dict[str, list]] = {
        **BaseStructureGenerator._parameter_constraints,
        "max_atoms": [Interval(Integral, 1, None, closed="left")],
        "max_error": [Interval(Real, 0, 1, closed="left")],
    }

    max_atoms: int
    max_error: float

    def _generate(self, batch: CompositionBatch, wanted: int) -> list[list[Candidate]]:
        exact = integer_formulas(batch, self.max_atoms)
        # what comes more than once is asked for once
        rows: dict[tuple, list[Candidate]] = {}
        found: dict[str, list[Candidate]] = {}

        def generate(formula: Stoichiometry) -> list[Candidate]:
            name = _name(formula)
            if name not in found:
                found[name] = self._generate_one(formula, wanted)
            return found[name]

        out = []
        for amounts, formula in zip(_amounts_of(batch), exact, strict=True):
            key = tuple(amounts.items())
            if amounts and key not in rows:
                rows[key] = self._candidates(amounts, formula, wanted, generate)
            out.append(list(rows.get(key, [])))
        warn_of_near_formulas(out, stacklevel=3)
        return out

    def _candidates(
        self,
        amounts: Mapping[int, float],
        exact: Stoichiometry | None,
        wanted: int,
        generate: Callable[[Stoichiometry], list[Candidate]],
    ) -> list[Candidate]:
        # the quick question first: what can be made is looked for
        if exact is not None and (_is_whole(amounts) or self._can_make(exact)):
            return generate(exact) or self._generate_mixed(amounts, wanted)
        if mixed := self._generate_mixed(amounts, wanted):
            return mixed
        near = near_formulas(amounts, self.max_atoms, self.max_error, self._can_make)
        if near is None:
            return []
        noted = _noted(generate(near), amounts)
        # 1e-9: sums of fractions round
        return [c for c in noted if error_of(c) <= self.max_error + 1e-9]

    def _can_make(self, formula: Stoichiometry) -> bool:
        """Whether the generator may find anything: near formulas are chosen by it."""
        return True

    @abstractmethod
    def _generate_one(self, formula: Stoichiometry, wanted: int) -> list[Candidate]:
        """Candidates for one formula, best first."""

    def _generate_mixed(self, amounts: Mapping[int, float], wanted: int) -> list[Candidate]:
        """Candidates for a solid solution, best first; of generators that know such."""
        return []


def ask(generator: Any, batch: CompositionBatch, wanted: int) -> list[list[Candidate]]:
    """Ask any generator for crystals, and see that it answers for each row.

    Parameters
    ----------
    generator : object
        With ``generate(compositions, n_candidates)``.
    batch : CompositionBatch
        Compositions.
    wanted : int
        At most so many crystals for each.

    Returns
    -------
    candidates : list of list of Candidate
        One list per row.

    Raises
    ------
    InputError
        If it is no generator, or returns something else.
    """
    check_generator(generator)
    found = candidates_of_rows(generator.generate(batch, wanted)) if len(batch) else []
    if len(found) != len(batch):
        raise InputError(
            f"{generator!r} returned {len(found)} lists of crystals for {len(batch)} "
            "compositions; generate must return one for each, empty where there is none."
        )
    return found


def check_generator(generator: Any) -> None:
    """Refuse what has no ``generate``, and classes in place of their objects."""
    if not hasattr(generator, "generate") or isinstance(generator, type):
        raise InputError(
            f"{generator!r} is not a structure generator; pass an object with the method "
            "generate(compositions, n_candidates), such as those of sklearn_kt.structures."
        )


def warn_of_near_formulas(found: Sequence[Sequence[Candidate]], stacklevel: int) -> None:
    """Warn of rows whose crystals are of other compositions, as their provenance says."""
    first = [candidates[0].provenance for candidates in found if candidates]
    errors = [error for p in first if (error := p.get("composition_error", 0.0)) > _ROUNDING]
    if errors:
        warnings.warn(
            f"{len(errors)} of {len(found)} compositions are not integer formulas as small as the "
            "generator's max_atoms, or than its supercells, and were replaced by the nearest ones; "
            f"up to {max(errors):.1%} of the atoms differ (provenance['composition_error']).",
            NearFormulaWarning,
            stacklevel=stacklevel + 1,
        )


def _amounts_of(batch: CompositionBatch) -> Iterator[dict[int, float]]:
    """Amounts of each row; none for rows that are not compositions."""
    bounds = batch.offsets.tolist()
    numbers, amounts = batch.atomic_numbers.tolist(), batch.amounts.tolist()
    for start, stop in pairwise(bounds):
        yield dict(zip(numbers[start:stop], amounts[start:stop], strict=True))


def _is_whole(amounts: Mapping[int, float]) -> bool:
    return all(float(a).is_integer() for a in amounts.values())


def _name(formula: Stoichiometry) -> str:
    return "".join(f"{ELEMENTS[z - 1]}{n}" for z, n in sorted(formula.counts.items()))


def error_of(candidate: Candidate) -> float:
    """Fraction of a candidate's atoms by which its composition is off."""
    return float(candidate.provenance.get("composition_error", 0.0))


def _noted(candidates: Sequence[Candidate], amounts: Mapping[int, float]) -> list[Candidate]:
    """Candidates whose provenance tells how far their atoms are from the amounts asked for.

    A solid solution may stand for a near formula, in a cell that is too small even for that.
    """
    asked, noted = np.zeros(len(ELEMENTS) + 1), []
    asked[list(amounts)] = np.array(list(amounts.values())) / sum(amounts.values())
    for candidate in candidates:
        placed = np.bincount(candidate.numbers, minlength=len(asked)) / len(candidate.numbers)
        told = {"composition_error": float(np.abs(placed - asked).sum() / 2)}
        noted.append(replace(candidate, provenance={**candidate.provenance, **told}))
    return noted
