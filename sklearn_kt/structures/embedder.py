"""Structures as columns of numbers: pooled CHGNet features."""

from __future__ import annotations

import hashlib
import sys
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from scipy.special import softmax
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils._param_validation import Interval, StrOptions

from sklearn_kt.fitting import fit_context

from .cache import DiskCache
from .candidate import Candidate, candidates_of_rows
from .chgnet import FEATURE_NAMES, chgnet_outputs, chgnet_version

__all__ = ["StructureEmbedder"]

_ENERGY = "energy_per_atom"
_WIDTH = len(FEATURE_NAMES) + 1
# Crystals whose features a process remembers: 0.8 kB each.
_REMEMBERED = 50_000
# Rows handled together, and written to the cache together.
_CHUNK = 64
_DECIMALS = 5

_memory: OrderedDict[str, np.ndarray] = OrderedDict()


class StructureEmbedder(TransformerMixin, BaseEstimator):
    """Pooled features of the CHGNet potential, one row per composition.

    Of each crystal the crystal feature, mean and standard deviation of the atom
    features, mean and maximum of the predicted magnetic moments (194 numbers [1]_),
    and the energy. Several crystals of one row are averaged.

    Parameters
    ----------
    pooling : {"boltzmann", "mean", "first"}, default="boltzmann"
        How several crystals of one row are averaged: with weights that fall with
        their energy, with equal weights, or by taking the first alone.
    temperature : float, default=0.05
        Unit of energy of the Boltzmann weights, in eV/atom.
    spread : bool, default=False
        Append the standard deviation of every column over the crystals of the row.
    cache_dir : str, Path or None, default=None
        Folder for features by content of the crystal, shared by processes. A
        process remembers its last 50,000 crystals anyway.
    n_jobs : int or None, default=None
        Processes.
    verbose : int, default=0
        1 shows progress.

    See Also
    --------
    sklearn_kt.ExplicitKTRegressor : Generates structures, embeds and predicts.

    Notes
    -----
    Needs the extra ``structures``, whose package carries the weights. CHGNet was
    trained on calculations of the Materials Project: do not evaluate on its
    energies.

    References
    ----------
    .. [1] B. Deng et al., "CHGNet as a pretrained universal neural network potential
       for charge-informed atomistic modelling", Nature Machine Intelligence 5, 1031
       (2023).

    Examples
    --------
    >>> from sklearn_kt.structures import PrototypeGenerator, StructureEmbedder
    >>> crystals = PrototypeGenerator(n_candidates=2).transform(["NaCl", "Og2O"])
    >>> features = StructureEmbedder().transform(crystals)
    >>> features.shape, [bool(row) for row in np.isnan(features).any(axis=1)]
    ((2, 195), [False, True])
    """

    _parameter_constraints: ClassVar[dict[str, list]] = {
        "pooling": [StrOptions({"boltzmann", "mean", "first"})],
        "temperature": [Interval(Real, 0, None, closed="neither")],
        "spread": ["boolean"],
        "cache_dir": [str, Path, None],
        "n_jobs": [Integral, None],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        pooling: str = "boltzmann",
        *,
        temperature: float = 0.05,
        spread: bool = False,
        cache_dir: str | Path | None = None,
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.pooling = pooling
        self.temperature = temperature
        self.spread = spread
        self.cache_dir = cache_dir
        self.n_jobs = n_jobs
        self.verbose = verbose

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None) -> Self:
        """Check the parameters and X; nothing is learned.

        Parameters
        ----------
        X : sequence of length n_samples
            As in :meth:`transform`.
        y : ignored
            For pipelines.

        Returns
        -------
        self : object
            The transformer.
        """
        candidates_of_rows(X)
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Embed structures.

        Parameters
        ----------
        X : sequence of length n_samples
            In each row a :class:`pymatgen.core.Structure`, a :class:`Candidate`, a
            list of them, or None.

        Returns
        -------
        ndarray of shape (n_samples, n_features_out)
            NaN where a row has no crystal that CHGNet can take. A row's values do
            not depend on the other rows.

        Raises
        ------
        InputError
            If a row is something else, or a crystal is disordered.
        CheckpointError
            If the package chgnet is missing.
        """
        self._validate_params()
        rows = candidates_of_rows(X)
        if self.pooling == "first":
            rows = [row[:1] for row in rows]
        known = self._embed([candidate for row in rows for candidate in row])
        out = np.full((len(rows), len(self.get_feature_names_out())), np.nan)
        for i, row in enumerate(rows):
            values = np.array([known[_key(candidate)] for candidate in row]).reshape(-1, _WIDTH)
            values = values[np.isfinite(values).all(axis=1)].astype(np.float64)
            if len(values):
                weights = np.ones(len(values)) / len(values)
                if self.pooling == "boltzmann":
                    weights = softmax(-values[:, -1] / self.temperature)
                mean = weights @ values
                out[i, :_WIDTH] = mean
                if self.spread:
                    out[i, _WIDTH:] = np.sqrt(weights @ (values - mean) ** 2)
        return out

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the output columns.

        Parameters
        ----------
        input_features : ignored
            For scikit-learn's interface.

        Returns
        -------
        ndarray of str
            ``crystal_0``, ..., ``energy_per_atom``; with ``spread`` each again.
        """
        names = [*FEATURE_NAMES, _ENERGY]
        if self.spread:
            names += [f"{name}_spread" for name in names]
        return np.array(names, dtype=object)

    def _embed(self, candidates: Sequence[Candidate]) -> dict[str, np.ndarray]:
        """Features by content: from memory, from disk, or computed."""
        from tqdm import tqdm

        wanted = {_key(candidate): candidate for candidate in candidates}
        found = {key: _memory[key] for key in wanted if key in _memory}
        cache = None if self.cache_dir is None else DiskCache(self.cache_dir)
        prefix = ""
        if cache is not None and len(found) < len(wanted):
            prefix = f"chgnet-{chgnet_version()}-"
            stored = cache.get(prefix + key for key in wanted if key not in found)
            for key, value in stored.items():
                row = np.frombuffer(value, "<f4")
                if row.shape == (_WIDTH,):
                    found[key.removeprefix(prefix)] = row
        missing = [key for key in wanted if key not in found]
        chunks = [missing[i : i + _CHUNK] for i in range(0, len(missing), _CHUNK)]
        jobs = ([wanted[key] for key in chunk] for chunk in chunks)
        with tqdm(
            total=len(missing), desc="CHGNet", disable=not self.verbose, file=sys.stderr
        ) as progress:
            for chunk, values in zip(chunks, self._run(jobs, len(chunks)), strict=True):
                fresh = dict(zip(chunk, values, strict=True))
                found |= fresh
                if cache is not None:
                    cache.put({prefix + k: v.astype("<f4").tobytes() for k, v in fresh.items()})
                progress.update(len(chunk))
        _memory.update(found)
        while len(_memory) > _REMEMBERED:
            _memory.popitem(last=False)
        return found

    def _run(self, jobs: Iterable[list[Candidate]], n: int) -> Iterator[np.ndarray]:
        if n < 2 or effective_n_jobs(self.n_jobs) == 1:
            return (_features(job) for job in jobs)
        return Parallel(n_jobs=self.n_jobs, return_as="generator")(
            delayed(_features)(job) for job in jobs
        )

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.requires_fit = False
        return tags


def _features(candidates: Sequence[Candidate]) -> np.ndarray:
    """Features and energy of each crystal; one at a time, so that rows do not interact."""
    features, energies = chgnet_outputs([c.structure for c in candidates], batch_size=1)
    return np.column_stack([features, energies]).astype(np.float32)


def _key(candidate: Candidate) -> str:
    parts = (
        np.round(candidate.lattice, _DECIMALS) + 0.0,
        candidate.numbers.astype(np.int64),
        np.round(candidate.coords, _DECIMALS) + 0.0,
    )
    return hashlib.sha256(b"".join(np.ascontiguousarray(p).tobytes() for p in parts)).hexdigest()
