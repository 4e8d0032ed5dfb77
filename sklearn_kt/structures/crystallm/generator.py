"""Structures by a language model of CIF files."""

from __future__ import annotations

import hashlib
from collections import Counter
from functools import lru_cache
from numbers import Integral, Real
from pathlib import Path
from typing import Any, ClassVar

from sklearn.utils._param_validation import Interval, StrOptions

from sklearn_kt.compositions import ELEMENTS
from sklearn_kt.exceptions import InputError
from sklearn_kt.structures.base import BaseStructureGenerator, Candidate
from sklearn_kt.structures.ensemble import distinct
from sklearn_kt.structures.stoichiometry import Stoichiometry

from .model import CrystaLLM, load_crystallm
from .text import CIFRejectedError, crystal_of_text, prompt
from .tokenizer import CIFTokenizer

__all__ = ["CrystaLLMGenerator"]

# Formula units to try, the commonest first.
_UNITS = (4, 2, 1, 3, 8, 6)


class CrystaLLMGenerator(BaseStructureGenerator):
    """Write CIF files with CrystaLLM, and keep the valid ones.

    Parameters
    ----------
    checkpoint : str or Path
        Folder of a model: a published ``ckpt.pt``, the Hugging Face port, or one
        written by ``sklearn-kt train-crystallm``.
    space_group : str or None, default=None
        Hermann-Mauguin symbol to prompt with, as in ``Fm-3m``; None leaves it to the
        model.
    z : int or "search", default="search"
        Formula units in the conventional cell; ``"search"`` takes 4, 2, 1, 3, 8 and
        6 in turn.
    n_samples : int, default=12
        Texts to write for each composition.
    batch_size : int, default=6
        Texts at once.
    temperature : float, default=1.0
        Below 1 the likelier texts are favoured.
    top_k : int or None, default=10
        Draw each token from so many.
    top_p : float or None, default=None
        Draw each token from the likeliest that have this probability together.
    max_new_tokens : int, default=1000
        Longest text.
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
    cache_dir : str, Path or None, default=None
        Folder for results, shared by processes; None keeps none.
    n_jobs : int or None, default=None
        Processes, each with a model of its own.
    verbose : int, default=0
        1 shows progress.

    See Also
    --------
    PrototypeGenerator : Needs no model.

    Notes
    -----
    Candidates are ranked by the mean log-likelihood of their tokens; duplicates are
    dropped. Provenance has the counts of rejected texts by reason. The published
    models were trained on all of their data, test split included: do not evaluate
    them on the Materials Project or OQMD.

    References
    ----------
    .. [1] L. M. Antunes, K. T. Butler, R. Grau-Crespo, "Crystal structure generation
       with autoregressive large language modeling", Nature Communications 15, 10570
       (2024).

    Examples
    --------
    Needs a model on disk:

    >>> generator = CrystaLLMGenerator("path/of/crystallm_v1_small")  # doctest: +SKIP
    >>> generator.generate(["BaTiO3"])  # doctest: +SKIP
    """

    _parameter_constraints: ClassVar[dict[str, list]] = {
        **BaseStructureGenerator._parameter_constraints,
        "checkpoint": [str, Path],
        "space_group": [str, None],
        "z": [Interval(Integral, 1, None, closed="left"), StrOptions({"search"})],
        "n_samples": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
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
        checkpoint: str | Path,
        *,
        space_group: str | None = None,
        z: int | str = "search",
        n_samples: int = 12,
        batch_size: int = 6,
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
        cache_dir: str | Path | None = None,
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.checkpoint = checkpoint
        self.space_group = space_group
        self.z = z
        self.n_samples = n_samples
        self.batch_size = batch_size
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
        self.cache_dir = cache_dir
        self.n_jobs = n_jobs
        self.verbose = verbose

    def _can_make(self, formula: Stoichiometry) -> bool:
        return all(ELEMENTS[z - 1] in CIFTokenizer().elements for z in formula.counts)

    def _generate_one(self, formula: Stoichiometry, wanted: int) -> list[Candidate]:
        if self.space_group is not None and self.space_group not in CIFTokenizer().space_groups:
            raise InputError(
                f"the space group {self.space_group!r} has no token; write it as in 'Fm-3m' or "
                "'P2_1/c'."
            )
        units: tuple[int, ...] = _UNITS if self.z == "search" else (int(self.z),)
        units = tuple(u for u in units if u * formula.n_atoms <= self.max_cell_atoms)
        if not units or not self._can_make(formula):
            return []
        model = _load(str(self.checkpoint), self.local_files_only, self.device)
        rejected: Counter[str] = Counter()
        valid: list[Candidate] = []
        for turn, start in enumerate(range(0, self.n_samples, self.batch_size)):
            seed = f"{self.random_state}\n{sorted(formula.counts.items())}\n{turn}"
            samples = model.generate(
                prompt(formula.counts, units[turn % len(units)], self.space_group),
                min(self.batch_size, self.n_samples - start),
                temperature=self.temperature,
                top_k=self.top_k,
                top_p=self.top_p,
                max_new_tokens=self.max_new_tokens,
                seed=int.from_bytes(hashlib.sha256(seed.encode()).digest()[:6], "little"),
            )
            for sample in samples:
                if not sample.finished:
                    rejected["length"] += 1
                    continue
                try:
                    crystal = crystal_of_text(sample.text, check_bonds=self.check_bonds)
                except CIFRejectedError as error:
                    rejected[error.reason] += 1
                    continue
                provenance = {
                    "generator": "CrystaLLMGenerator",
                    "space_group": crystal.provenance["space_group"],
                    "z": units[turn % len(units)],
                }
                valid.append(
                    Candidate(
                        crystal.lattice,
                        crystal.numbers,
                        crystal.coords,
                        sample.log_likelihood,
                        provenance,
                    )
                )
        valid.sort(key=lambda candidate: -candidate.score)
        counts = {"samples": self.n_samples, "rejected": dict(rejected)}
        return [
            Candidate(c.lattice, c.numbers, c.coords, c.score, {**c.provenance, **counts})
            for c in distinct(valid)[:wanted]
        ]

    def _signature(self) -> Any:
        names = ["space_group", "z", "n_samples", "batch_size", "temperature", "top_k", "top_p"]
        names += ["max_new_tokens", "max_cell_atoms", "check_bonds", "random_state"]
        return [_digest(str(self.checkpoint)), *(getattr(self, name) for name in names)]


@lru_cache(maxsize=2)
def _load(checkpoint: str, local_files_only: bool, device: str) -> CrystaLLM:
    return load_crystallm(checkpoint, local_files_only=local_files_only, device=device)


@lru_cache(maxsize=8)
def _digest(checkpoint: str) -> str:
    """Identify weights by content, or a hub's model by its name."""
    digest = hashlib.sha256(checkpoint.encode() if not Path(checkpoint).is_dir() else b"")
    for file in sorted(Path(checkpoint).glob("*")):
        if file.suffix in {".pt", ".safetensors"}:
            with file.open("rb") as handle:
                digest.update(hashlib.file_digest(handle, "sha256").digest())
    return digest.hexdigest()[:16]
