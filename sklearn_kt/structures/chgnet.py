"""The CHGNet potential: pooled features, energies and relaxation of crystals.

The only code of the package that runs CHGNet [1]_. The weights are those in the
package ``chgnet`` (extra ``structures``); nothing is downloaded.

References
----------
.. [1] B. Deng et al., "CHGNet as a pretrained universal neural network potential for
   charge-informed atomistic modelling", Nature Machine Intelligence 5, 1031 (2023).
"""

from __future__ import annotations

import contextlib
import io
import math
import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from sklearn_kt.exceptions import CheckpointError
from sklearn_kt.randomness import torch_generator_kept

from .candidate import Candidate
from .elements import may_lack_properties

if TYPE_CHECKING:
    from pymatgen.core import Structure

__all__ = [
    "FEATURE_NAMES",
    "chgnet_outputs",
    "chgnet_version",
    "crystal_graph",
    "load_chgnet",
    "rank_by_energy",
    "relax_candidate",
    "relax_candidates",
]

FEATURE_NAMES: tuple[str, ...] = (
    *(f"crystal_{i}" for i in range(64)),
    *(f"atom_mean_{i}" for i in range(64)),
    *(f"atom_std_{i}" for i in range(64)),
    "magmom_mean",
    "magmom_max",
)
"""Columns of :func:`chgnet_outputs`'s features."""
# trained on hydrogen to plutonium, without Po, At, Rn, Fr and Ra
_KNOWN = frozenset(range(1, 95)) - {84, 85, 86, 87, 88}
# relaxations that leave these bounds have flown apart or collapsed
_MAX_VOLUME_CHANGE = 2.5


@lru_cache(maxsize=1)
def load_chgnet() -> Any:
    """Load CHGNet's weights on the CPU, once; without the package chgnet, say what to install."""
    try:
        from chgnet.model import CHGNet
    except ImportError as error:
        raise CheckpointError(
            "CHGNet needs the package chgnet, which carries the weights: "
            "pip install 'sklearn_kt[structures]'."
        ) from error

    # it prints its size, and draws random numbers before it has its weights
    with torch_generator_kept(), contextlib.redirect_stdout(io.StringIO()):
        return CHGNet.load(use_device="cpu", verbose=False).eval()


def chgnet_version() -> str:
    """Version of the installed potential, for keys of caches.

    Returns
    -------
    version : str
        As in ``0.4.2``.
    """
    load_chgnet()
    return version("chgnet")


def chgnet_outputs(
    structures: Sequence[Structure], batch_size: int = 16
) -> tuple[np.ndarray, np.ndarray]:
    """Pooled features and energies of crystals.

    Parameters
    ----------
    structures : sequence of pymatgen.core.Structure
        n crystals.
    batch_size : int, default=16
        Crystals at once.

    Returns
    -------
    features : ndarray of float32, shape (n, 194)
        The crystal feature, mean and standard deviation of the atom features, mean
        and maximum of the magnetic moments. NaN where a crystal has partial occupancies,
        an isolated atom, or an element that CHGNet does not know.
    energies : ndarray of shape (n,)
        In eV/atom, NaN for the same crystals.
    """
    import torch

    features = np.full((len(structures), len(FEATURE_NAMES)), np.nan, np.float32)
    energies = np.full(len(structures), np.nan)
    model = load_chgnet()
    graphs = [crystal_graph(structure) for structure in structures]
    rows = [row for row, graph in enumerate(graphs) if graph is not None]
    for start in range(0, len(rows), batch_size):
        part = rows[start : start + batch_size]
        with torch.no_grad():
            result = model(
                [graphs[row] for row in part],
                task="em",
                return_crystal_feas=True,
                return_atom_feas=True,
            )
        for i, row in enumerate(part):
            atoms, moments = result["atom_fea"][i], result["m"][i]
            pooled = [
                result["crystal_fea"][i],
                atoms.mean(dim=0),
                atoms.std(dim=0, correction=0),
                moments.mean().reshape(1),
                moments.max().reshape(1),
            ]
            features[row] = torch.cat(pooled).numpy()
            energies[row] = float(result["e"][i])
    return features, energies


def crystal_graph(structure: Structure) -> Any:
    """Build CHGNet's graph of a crystal.

    Parameters
    ----------
    structure : pymatgen.core.Structure
        Crystal.

    Returns
    -------
    graph : chgnet.graph.CrystalGraph or None
        None if CHGNet cannot take it: partial occupancies, an element that it does not
        know, or an isolated atom.
    """
    if not structure.is_ordered or not _KNOWN.issuperset(structure.atomic_numbers):
        return None
    with may_lack_properties():
        try:
            return load_chgnet().graph_converter(structure)
        except ValueError as error:
            if "isolated atom" not in str(error):
                raise
            return None


def rank_by_energy(candidates: Sequence[Candidate], scale: float | None = None) -> list[Candidate]:
    """Order candidates by CHGNet's energy.

    Parameters
    ----------
    candidates : sequence of Candidate
        Of one composition.
    scale : float or None, default=None
        In eV/atom: by the logarithm of the score minus the energy above the lowest in
        this unit. None ranks by the energy alone.

    Returns
    -------
    ranked : list of Candidate
        With ``energy`` (eV/atom) in their provenance, and the scores that they had; those
        without an energy come last.
    """
    _, energies = chgnet_outputs([candidate.structure for candidate in candidates])
    lowest = np.nanmin(energies) if np.isfinite(energies).any() else 0.0
    keyed = []
    for candidate, energy in zip(candidates, energies.tolist(), strict=True):
        if not math.isfinite(energy):
            key = math.inf
        elif scale is None:
            key = energy
        else:
            key = (energy - lowest) / scale - math.log(max(candidate.score, 1e-300))
        provenance = {**candidate.provenance, "energy": energy}
        keyed.append((key, replace(candidate, provenance=provenance)))
    return [candidate for _, candidate in sorted(keyed, key=lambda pair: pair[0])]


def relax_candidates(candidates: Sequence[Candidate], steps: int) -> list[Candidate]:
    """Relax crystals as :func:`relax_candidate` does, and leave out those that it cannot."""
    relaxed = (relax_candidate(candidate, steps) for candidate in candidates)
    return [candidate for candidate in relaxed if candidate is not None]


def relax_candidate(candidate: Candidate, steps: int) -> Candidate | None:
    """Relax atoms and cell.

    Parameters
    ----------
    candidate : Candidate
        Where to start.
    steps : int
        Most steps of the optimiser (FIRE).

    Returns
    -------
    relaxed : Candidate or None
        None if the crystal cannot be taken, or its volume changed by more than a
        factor of 2.5, or atoms overlap.
    """
    model = load_chgnet()
    from chgnet.model import StructOptimizer

    structure = candidate.structure
    if crystal_graph(structure) is None:
        return None
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        # its default would make the shared model's graphs tolerate isolated atoms for good
        optimiser = StructOptimizer(model=model, use_device="cpu", on_isolated_atoms="error")
        try:
            result = optimiser.relax(structure, steps=steps, verbose=False, relax_cell=True)
        except (ValueError, RuntimeError, TypeError):
            return None  # an atom became isolated on the way
    relaxed = Candidate.from_structure(
        cast("Structure", result["final_structure"]),
        candidate.score,
        **candidate.provenance,
        relaxed=steps,
    )
    if not relaxed.is_sound():
        return None
    change = abs(np.linalg.det(relaxed.lattice) / np.linalg.det(candidate.lattice))
    return relaxed if 1 / _MAX_VOLUME_CHANGE < change < _MAX_VOLUME_CHANGE else None
