"""What every generator of structures has in common: parameters, batches, cache."""

from __future__ import annotations

import hashlib
import json
import sys
import warnings
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from numbers import Integral, Real
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils._param_validation import Interval, StrOptions, validate_parameter_constraints

from sklearn_kt.compositions import ELEMENTS, CompositionBatch, read_compositions
from sklearn_kt.exceptions import CompositionWarning, InputError
from sklearn_kt.fitting import fit_context

from .cache import DiskCache
from .candidate import Candidate
from .stoichiometry import Stoichiometry, integer_formulas, near_formulas

__all__ = ["BaseStructureGenerator", "FormulaGenerator"]

# Compositions handed to a worker at a time, and written to the cache together.
_CHUNK = 64


class BaseStructureGenerator(TransformerMixin, BaseEstimator):
    """A generator as a transformer; subclasses add :meth:`generate`.

    That method is all that :class:`~sklearn_kt.ExplicitKTRegressor` and
    :class:`EnsembleGenerator` ask of a generator: one of your own need not derive from
    this class.
    """

    _parameter_constraints: ClassVar[dict[str, list]] = {
        "n_candidates": [Interval(Integral, 1, None, closed="left")],
        "errors": [StrOptions({"raise", "nan"})],
    }

    n_candidates: int
    errors: str

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None) -> Any:
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

    @abstractmethod
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
        """

    def _asked(self, compositions: Any, n_candidates: int | None) -> tuple[CompositionBatch, int]:
        """Read what :meth:`generate` was given."""
        validate_parameter_constraints(
            self._parameter_constraints, self.get_params(deep=False), type(self).__name__
        )
        wanted = self.n_candidates if n_candidates is None else int(n_candidates)
        if wanted < 1:
            raise InputError(f"n_candidates must be at least 1, got {wanted}.")
        return read_compositions(compositions, errors=self.errors), wanted

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.requires_fit = False
        return tags


class FormulaGenerator(BaseStructureGenerator):
    """A generator that takes one integer formula at a time: near formulas, cache, processes."""

    _parameter_constraints: ClassVar[dict[str, list]] = {
        **BaseStructureGenerator._parameter_constraints,
        "max_atoms": [Interval(Integral, 1, None, closed="left")],
        "max_error": [Interval(Real, 0, 1, closed="left")],
        "cache_dir": [str, Path, None],
        "n_jobs": [Integral, None],
        "verbose": ["verbose"],
    }

    max_atoms: int
    max_error: float
    cache_dir: str | Path | None
    n_jobs: int | None
    verbose: int

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

        Warns
        -----
        CompositionWarning
            If compositions are not integer formulas and were replaced by near ones;
            the provenance of their candidates has the error.
        """
        batch, wanted = self._asked(compositions, n_candidates)
        exact = integer_formulas(batch, self.max_atoms)
        formulas = [
            self._formula(amounts, formula)
            for amounts, formula in zip(_amounts_of(batch), exact, strict=True)
        ]
        distinct: dict[str, Stoichiometry] = {}
        for formula in formulas:
            if formula is not None:
                distinct.setdefault(_name(formula), formula)
        found = self._generate_cached(distinct, wanted)
        out: list[list[Candidate]] = []
        errors = []
        for formula in formulas:
            candidates = [] if formula is None else found[_name(formula)]
            if formula is not None and formula.error and candidates:
                errors.append(formula.error)
                candidates = [_with_error(c, formula.error) for c in candidates]
            out.append(list(candidates))
        if errors:
            warnings.warn(
                f"{len(errors)} of {len(out)} compositions are not integer formulas of at most "
                f"{self.max_atoms} atoms and were replaced by the nearest ones; up to "
                f"{max(errors):.1%} of the atoms differ (provenance['composition_error']).",
                CompositionWarning,
                stacklevel=2,
            )
        return out

    def _formula(
        self, amounts: Mapping[int, float] | None, exact: Stoichiometry | None
    ) -> Stoichiometry | None:
        if amounts is None:
            return None
        if exact is not None and (self._can_make(exact) or _is_whole(amounts)):
            return exact
        return near_formulas(amounts, self.max_atoms, self.max_error, self._can_make)

    def _can_make(self, formula: Stoichiometry) -> bool:
        """Whether the generator may find anything: near formulas are chosen by it."""
        return True

    def _generate_cached(
        self, formulas: Mapping[str, Stoichiometry], wanted: int
    ) -> dict[str, list[Candidate]]:
        from tqdm import tqdm

        cache = None if self.cache_dir is None else DiskCache(self.cache_dir)
        found: dict[str, list[Candidate]] = {}
        key_of: dict[str, str] = {}
        if cache is not None:
            parts = [type(self).__name__, self._signature(), wanted]
            signature = json.dumps(parts, sort_keys=True)
            key_of = {n: hashlib.sha256(f"{signature}\n{n}".encode()).hexdigest() for n in formulas}
            stored = cache.get(key_of.values())
            for name, key in key_of.items():
                if key in stored:
                    states = json.loads(stored[key])
                    found[name] = [Candidate.from_dict(state) for state in states]
        missing = [name for name in formulas if name not in found]
        chunks = [missing[i : i + _CHUNK] for i in range(0, len(missing), _CHUNK)]
        with tqdm(
            total=len(formulas),
            initial=len(found),
            desc=type(self).__name__,
            disable=not self.verbose,
            file=sys.stderr,
        ) as progress:
            for chunk, results in zip(
                chunks, self._run([[formulas[n] for n in c] for c in chunks], wanted), strict=True
            ):
                fresh = dict(zip(chunk, results, strict=True))
                found |= fresh
                if cache is not None:
                    cache.put(
                        {
                            key_of[name]: json.dumps([c.to_dict() for c in candidates]).encode()
                            for name, candidates in fresh.items()
                        }
                    )
                progress.update(len(chunk))
        return found

    def _run(
        self, chunks: Sequence[Sequence[Stoichiometry]], wanted: int
    ) -> Iterator[list[list[Candidate]]]:
        if self.n_jobs in (None, 1) or len(chunks) < 2:
            return (self._generate_chunk(chunk, wanted) for chunk in chunks)
        parallel = Parallel(n_jobs=self.n_jobs, return_as="generator")
        return parallel(delayed(self._generate_chunk)(chunk, wanted) for chunk in chunks)

    def _generate_chunk(
        self, formulas: Sequence[Stoichiometry], wanted: int
    ) -> list[list[Candidate]]:
        return [self._generate_one(formula, wanted) for formula in formulas]

    @abstractmethod
    def _generate_one(self, formula: Stoichiometry, wanted: int) -> list[Candidate]:
        """Candidates for one formula, best first."""

    @abstractmethod
    def _signature(self) -> Any:
        """Give what candidates depend on beside the formula; fit for JSON."""


def _amounts_of(batch: CompositionBatch) -> Iterator[dict[int, float] | None]:
    """Amounts of each row; None for rows that are not compositions."""
    bounds = batch.offsets.tolist()
    numbers, amounts = batch.atomic_numbers.tolist(), batch.amounts.tolist()
    for start, stop in pairwise(bounds):
        row = dict(zip(numbers[start:stop], amounts[start:stop], strict=True))
        yield row or None


def _is_whole(amounts: Mapping[int, float]) -> bool:
    return all(float(a).is_integer() for a in amounts.values())


def _name(formula: Stoichiometry) -> str:
    return "".join(f"{ELEMENTS[z - 1]}{n}" for z, n in sorted(formula.counts.items()))


def _with_error(candidate: Candidate, error: float) -> Candidate:
    return Candidate(
        candidate.lattice,
        candidate.numbers,
        candidate.coords,
        candidate.score,
        {**candidate.provenance, "composition_error": error},
    )
