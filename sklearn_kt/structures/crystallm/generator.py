"""Structures by a language model of CIF files."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from functools import lru_cache
from numbers import Integral, Real
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from scipy.special import softmax
from sklearn.utils._param_validation import Interval, StrOptions

from sklearn_kt.compositions import ELEMENTS
from sklearn_kt.exceptions import InputError
from sklearn_kt.structures.base import FormulaGenerator
from sklearn_kt.structures.candidate import Candidate
from sklearn_kt.structures.chgnet import rank_by_energy
from sklearn_kt.structures.ensemble import alike
from sklearn_kt.structures.stoichiometry import Stoichiometry, integer_formula

from .cif_tokenizer import ELEMENT_TOKENS, CIFTokenizer
from .guide import Guide
from .model import CrystaLLM, load_crystallm
from .search import Found, tree_search
from .short import lengthen
from .text import CIFRejectedError, crystal_of_text, prompt

__all__ = ["CrystaLLMGenerator"]

# Formula units that are looked at.
_UNITS = (1, 2, 3, 4, 5, 6, 8, 9, 10, 12, 16, 18, 20, 24, 32, 36, 48)


class CrystaLLMGenerator(FormulaGenerator):
    """Write CIF files with CrystaLLM, and keep the valid ones.

    Parameters
    ----------
    checkpoint : str, Path or None, default=None
        Folder of a model: a published ``ckpt.pt``, the Hugging Face port, or one
        written by ``sklearn-kt train-crystallm``; None is the small one in the
        package.
    space_group : str or None, default=None
        Hermann-Mauguin symbol to prompt with, as in ``Fm-3m``; None leaves it to the
        model.
    z : int or "search", default="search"
        Formula units in the conventional cell; ``"search"`` shares the samples out
        by the probabilities that the model gives to the headers.
    n_samples : int, default=20
        Texts to write for each composition.
    search : {"sample", "tree"}, default="sample"
        Draw texts independently; or search a tree of their beginnings, led by
        CHGNet's energy per atom (needs the extra ``structures``) and far slower.
    rank_by : {"votes", "likelihood", "energy"}, default="votes"
        How distinct crystals are ordered: by how many of the valid texts come to
        them, equal ones by likelihood; by the mean log-likelihood of the tokens; or
        by CHGNet's energy.
    guided : bool, default=True
        Of models of the short form: allow only what can still become a crystal of the
        composition (:mod:`sklearn_kt.structures.crystallm.guide`), and move sites onto
        the nearest position that their multiplicity allows. Other models write freely.
    temperature : float, default=1.0
        Below 1 the likelier texts are favoured.
    top_k : int or None, default=10
        Draw each token from so many.
    top_p : float or None, default=None
        Draw each token from the likeliest that have this probability together.
    max_new_tokens : int, default=1000
        Longest text; the model's context bounds it too.
    max_cell_atoms : int, default=60
        Cells with more atoms are not asked for.
    check_bonds : bool, default=True
        Reject crystals with bonds of impossible lengths.
    local_files_only : bool, default=True
        Never use the network; False lets a `checkpoint` given by name be downloaded.
    device : str, default="cpu"
        Where to compute.
    random_state : int, default=0
        Seed of the draws, with the formula: results do not depend on other rows.
    n_candidates : int, default=5
        At most so many crystals for each composition.
    max_atoms : int, default=60
        Compositions whose integer formula has more atoms are replaced by the
        nearest smaller one.
    max_error : float, default=0.05
        Largest fraction of atoms that may differ then.
    errors : {"raise", "nan"}, default="raise"
        What a row that is not a composition does: raise, or have no candidate.

    See Also
    --------
    PrototypeGenerator : Needs no model.

    Notes
    -----
    A text is kept if it can be read, its formula is the one asked for, its
    multiplicities add up, its space group is the true one, and no atoms or bonds are
    impossible [1]_. Provenance has the counts of rejected texts by reason. The model
    in the package writes the short form of the text
    (:mod:`sklearn_kt.structures.crystallm.short`). The published models were trained
    on all of their data, test split included: do not evaluate them on the Materials
    Project or OQMD.

    References
    ----------
    .. [1] L. M. Antunes, K. T. Butler, R. Grau-Crespo, "Crystal structure generation
       with autoregressive large language modeling", Nature Communications 15, 10570
       (2024).

    Examples
    --------
    >>> from sklearn_kt.structures import CrystaLLMGenerator
    >>> generator = CrystaLLMGenerator(n_samples=4, z=4, space_group="Fm-3m")
    >>> [candidates] = generator.generate(["MgO"], n_candidates=1)
    >>> [candidate.formula for candidate in candidates]
    ['MgO']
    """

    _parameter_constraints: ClassVar[dict[str, list]] = {
        **FormulaGenerator._parameter_constraints,
        "checkpoint": [str, Path, None],
        "space_group": [str, None],
        "z": [Interval(Integral, 1, None, closed="left"), StrOptions({"search"})],
        "n_samples": [Interval(Integral, 1, None, closed="left")],
        "search": [StrOptions({"sample", "tree"})],
        "rank_by": [StrOptions({"votes", "likelihood", "energy"})],
        "guided": ["boolean"],
        "temperature": [Interval(Real, 0, None, closed="neither")],
        "top_k": [Interval(Integral, 1, None, closed="left"), None],
        "top_p": [Interval(Real, 0, 1, closed="right"), None],
        "max_new_tokens": [Interval(Integral, 1, None, closed="left")],
        "max_cell_atoms": [Interval(Integral, 1, None, closed="left")],
        "check_bonds": ["boolean"],
        "local_files_only": ["boolean"],
        "device": [str],
        "random_state": [Integral],
    }

    def __init__(
        self,
        checkpoint: str | Path | None = None,
        *,
        space_group: str | None = None,
        z: int | str = "search",
        n_samples: int = 20,
        search: str = "sample",
        rank_by: str = "votes",
        guided: bool = True,
        temperature: float = 1.0,
        top_k: int | None = 10,
        top_p: float | None = None,
        max_new_tokens: int = 1000,
        max_cell_atoms: int = 60,
        check_bonds: bool = True,
        local_files_only: bool = True,
        device: str = "cpu",
        random_state: int = 0,
        n_candidates: int = 5,
        max_atoms: int = 60,
        max_error: float = 0.05,
        errors: str = "raise",
    ) -> None:
        self.checkpoint = checkpoint
        self.space_group = space_group
        self.z = z
        self.n_samples = n_samples
        self.search = search
        self.rank_by = rank_by
        self.guided = guided
        self.temperature = temperature
        self.top_k = top_k
        self.top_p = top_p
        self.max_new_tokens = max_new_tokens
        self.max_cell_atoms = max_cell_atoms
        self.check_bonds = check_bonds
        self.local_files_only = local_files_only
        self.device = device
        self.random_state = random_state
        self.n_candidates = n_candidates
        self.max_atoms = max_atoms
        self.max_error = max_error
        self.errors = errors

    def _can_make(self, formula: Stoichiometry) -> bool:
        return all(ELEMENTS[z - 1] in ELEMENT_TOKENS for z in formula.counts)

    def _generate_one(self, formula: Stoichiometry, wanted: int) -> list[Candidate]:
        if self.space_group is not None and self.space_group not in CIFTokenizer().space_groups:
            raise InputError(
                f"the space group {self.space_group!r} has no token; write it as in 'Fm-3m' or "
                "'P2_1/c'."
            )
        found, rejected = self._propose(formula)
        counts = {"samples": self.n_samples, "rejected": dict(rejected)}
        return [replace(c, provenance={**c.provenance, **counts}) for c in found[:wanted]]

    def _propose(self, formula: Stoichiometry) -> tuple[list[Candidate], Counter[str]]:
        """Distinct crystals, best first, and the texts rejected by reason."""
        rejected: Counter[str] = Counter()
        valid: list[Candidate] = []
        units: tuple[int, ...] = _UNITS if self.z == "search" else (int(self.z),)
        units = tuple(u for u in units if u * formula.n_atoms <= self.max_cell_atoms)
        if not units or not self._can_make(formula):
            return valid, rejected
        model = _load(self._source(), self.local_files_only, self.device)
        for z, n in _shares(model, formula, units, self.n_samples):
            for text, likelihood, finished in self._texts(model, formula, z, n):
                try:
                    if not finished:
                        raise CIFRejectedError("length", "the text has no end")
                    crystal = self._read_text(model, text, formula)
                except CIFRejectedError as error:
                    rejected[error.reason] += 1
                    continue
                provenance = {
                    "generator": "CrystaLLMGenerator",
                    "space_group": crystal.provenance["space_group"],
                    "z": z,
                    "log_likelihood": likelihood,
                }
                valid.append(replace(crystal, score=likelihood, provenance=provenance))
        return self._ranked(valid), rejected

    def _source(self) -> str | None:
        return None if self.checkpoint is None else str(self.checkpoint)

    def _texts(
        self, model: CrystaLLM, formula: Stoichiometry, z: int, n: int
    ) -> list[tuple[str, float, bool]]:
        """Texts with their likelihoods, and whether they came to an end."""
        seed = f"{self.random_state}\n{sorted(formula.counts.items())}\n{z}"
        settings: dict[str, Any] = {
            "temperature": self.temperature,
            "top_k": self.top_k,
            "top_p": self.top_p,
            "max_new_tokens": self.max_new_tokens,
            "seed": int.from_bytes(hashlib.sha256(seed.encode()).digest()[:6], "little"),
        }
        start = prompt(formula.counts, z, self.space_group, properties=model.form == "full")
        if self._guides(model):
            guide = Guide(model.tokenizer, start)
            if not guide.groups:
                return []
            settings["allowed"] = guide.allowed
        if self.search == "sample":
            return [
                (s.text, s.log_likelihood, s.finished) for s in model.generate(start, n, **settings)
            ]

        def judge(found: Found) -> None:
            try:
                crystal = self._read_text(model, found.text, formula)
            except CIFRejectedError as error:
                # the better the bonds, the less it costs
                found.penalty = error.bond_score - 1
                return
            found.score = rank_by_energy([crystal])[0].provenance["energy"]

        texts = tree_search(model, start, judge, n_simulations=n, **settings)
        return [(f.text, f.log_likelihood, f.finished) for f in texts]

    def _guides(self, model: CrystaLLM) -> bool:
        return self.guided and model.form == "short"

    def _read_text(self, model: CrystaLLM, text: str, formula: Stoichiometry) -> Candidate:
        """Read a crystal of either form, and see that it is what was asked for."""
        if model.form == "short":
            guided = self._guides(model)
            text = lengthen(text, largest_move=2.0 if guided else 0.5, special=guided)
        crystal = crystal_of_text(text, check_bonds=self.check_bonds)
        found = integer_formula(Counter(crystal.numbers.tolist()))
        if dict(found.counts) != dict(formula.counts):
            raise CIFRejectedError("formula", f"the crystal is {crystal.formula}")
        return crystal

    def _ranked(self, valid: list[Candidate]) -> list[Candidate]:
        """Distinct crystals, best first."""
        valid = sorted(valid, key=lambda candidate: -candidate.score)
        groups = alike(valid)
        if self.rank_by == "likelihood":
            return [group[0] for group in groups]
        votes = [
            replace(
                group[0],
                score=len(group) / len(valid),
                provenance={**group[0].provenance, "votes": len(group)},
            )
            for group in groups
        ]
        if self.rank_by == "energy":
            return rank_by_energy(votes) if votes else []
        return sorted(votes, key=lambda candidate: -candidate.score)


def _shares(
    model: CrystaLLM, formula: Stoichiometry, units: tuple[int, ...], n_samples: int
) -> list[tuple[int, int]]:
    """Share the texts out over formula units, by the headers' probabilities."""
    if len(units) == 1:
        return [(units[0], n_samples)]
    logs = model.log_likelihoods([prompt(formula.counts, z) for z in units])
    share = n_samples * softmax(logs)
    counts = np.floor(share).astype(int)
    for i in np.argsort(counts - share, kind="stable")[: n_samples - counts.sum()]:
        counts[i] += 1
    order = np.argsort(-share, kind="stable").tolist()
    return [(units[i], int(counts[i])) for i in order if counts[i]]


@lru_cache(maxsize=2)
def _load(checkpoint: str | None, local_files_only: bool, device: str) -> CrystaLLM:
    return load_crystallm(checkpoint, local_files_only=local_files_only, device=device)
