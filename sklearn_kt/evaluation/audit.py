"""What test rows share with training rows, pretraining and sibling tasks.

:func:`audit_tasks` counts, task by task, the test rows whose composition is also in the
training part of their fold, in the pool that a checkpoint was pretrained on (and of which the
pool knows the very property that is asked for), and in a sibling task whose labels give the
answer away. Compositions are compared reduced: ``Fe2O3``, ``O3Fe2`` and ``Fe4O6`` are one.

Notes
-----
Some overlap is part of a benchmark (polymorphs on both sides of an official split) and some of
transfer learning (a band gap calculated by DFT helps with a measured one). The audit says how
much there is; scores on the test rows that the pool has never seen stand beside the others.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sklearn_kt._files import replacing
from sklearn_kt.compositions import ELEMENTS, composition_keys, read_compositions
from sklearn_kt.encoder.pool import KEY_BITS, POOL_FILE, find_keys, read_pool, short_keys
from sklearn_kt.exceptions import DatasetError, InputError
from sklearn_kt.pretraining import PROPERTIES, Corpus, CorpusTable, Property

from .task import Task

__all__ = ["QUANTITIES", "CompositionPool", "audit_tasks"]

QUANTITIES: Mapping[str, tuple[str, ...]] = {
    "band gap": (
        "band_gap_mp",
        "band_gap_oqmd",
        "band_gap_aflow",
        "band_gap_wbm",
        "band_gap_perovskite_direct",
        "band_gap_perovskite_indirect",
    ),
    "metallicity": (
        "is_metal_mp",
        "is_metal_oqmd",
        "is_metal_aflow",
        "is_metal_wbm",
        "band_gap_perovskite_direct",
        "band_gap_perovskite_indirect",
    ),
    "formation energy": (
        "formation_energy_mp",
        "formation_energy_oqmd",
        "formation_energy_critexam",
        "formation_energy_wbm",
        "formation_energy_elpasolite",
        "formation_energy_elpasolite_iii_vi",
    ),
    "energy above hull": (
        "energy_above_hull_mp",
        "energy_above_hull_oqmd",
        "decomposition_energy_critexam",
    ),
    "energy per atom": (
        "energy_per_atom_oqmd",
        "energy_per_atom_oqmd_part",
        "energy_per_atom_aflow",
    ),
    "volume per atom": ("volume_per_atom",),
    "perovskite heat of formation": ("heat_perovskite",),
    "bulk modulus": ("bulk_modulus_mp", "bulk_modulus_aflow"),
    "shear modulus": ("shear_modulus_mp", "shear_modulus_aflow"),
    "magnetization": ("magnetization_mp",),
    "last phonon peak": ("last_phonon_peak_mp",),
    # n^2 is the electronic dielectric constant
    "refractive index": ("refractive_index_mp", "dielectric_electronic_mp"),
    "dielectric constant": (
        "refractive_index_mp",
        "dielectric_electronic_mp",
        "dielectric_total_mp",
    ),
    "piezoelectric modulus": ("piezoelectric_modulus_mp",),
    "Seebeck coefficient": ("seebeck_p_mp", "seebeck_n_mp"),
    "p-type Seebeck coefficient": ("seebeck_p_mp",),
    "n-type Seebeck coefficient": ("seebeck_n_mp",),
    "power factor": ("power_factor_p_mp", "power_factor_n_mp"),
    "p-type power factor": ("power_factor_p_mp",),
    "n-type power factor": ("power_factor_n_mp",),
    "effective mass": ("effective_mass_p_mp", "effective_mass_n_mp"),
    "electron effective mass": ("effective_mass_n_mp",),
}
"""What benchmarks ask for, and the columns of the pretraining corpus that hold it."""


class CompositionPool:
    """Compositions that weights were pretrained on, and what was known of each.

    Parameters
    ----------
    keys : ndarray of uint64, shape (n,)
        Of :func:`~sklearn_kt.compositions.composition_keys`; the upper 40 bits are kept.
    properties : sequence of str
        Names of the properties.
    known : bool ndarray of shape (n, n_properties)
        Which property is known of which composition.
    name : str, default="pool"
        Used in reports.
    elements : sequence of str or None, default=None
        Symbols of the elements of the compositions; None if they are not known.

    Attributes
    ----------
    keys : ndarray of uint64, shape (n,)
        Sorted and distinct, 40 bits.
    properties : list of str
        Names of the properties.
    known : bool ndarray of shape (n, n_properties)
        In the order of ``keys``.
    elements : list of str or None
        As given.

    See Also
    --------
    sklearn_kt.pretraining.build_corpus : The corpus itself.

    Notes
    -----
    A pool holds hashes and elements, neither formulas nor values, so that it is small enough to lie
    beside a checkpoint. Of formulas that are not in a pool of half a million, one in two
    million is taken for one of it.

    Examples
    --------
    >>> from sklearn_kt.evaluation import CompositionPool
    >>> from sklearn_kt.pretraining import CorpusTable
    >>> table = CorpusTable(["NaCl", "Si"], {"band_gap_mp": [5.0, float("nan")]})
    >>> pool = CompositionPool.from_tables([table])
    >>> pool.contains(["Na2Cl2", "Si", "Ge"])
    array([ True,  True, False])
    >>> pool.knows(["Na2Cl2", "Si", "Ge"], "band gap")
    array([ True, False, False])
    """

    def __init__(
        self,
        keys: np.ndarray,
        properties: Sequence[str],
        known: np.ndarray,
        *,
        name: str = "pool",
        elements: Sequence[str] | None = None,
    ) -> None:
        listed = None if elements is None else list(elements)
        self._set(short_keys(keys), list(properties), np.asarray(known, bool), name, listed)

    @classmethod
    def from_tables(
        cls,
        tables: Iterable[CorpusTable],
        properties: Sequence[Property] = PROPERTIES,
        *,
        name: str = "pool",
    ) -> CompositionPool:
        """Collect the compositions of tables, such as :func:`~sklearn_kt.pretraining.dft_tables`.

        Parameters
        ----------
        tables : iterable of CorpusTable
            Read one after the other.
        properties : sequence of Property
            Values that a corpus leaves out count as unknown.
        name : str, default="pool"
            Used in reports.

        Returns
        -------
        pool : CompositionPool
            One entry per reduced composition.
        """
        keys, known, numbers = [], [], np.array([], int)
        for table in tables:
            batch = read_compositions(table.compositions)
            mask = np.zeros((len(batch), len(properties)), bool)
            for column, prop in enumerate(properties):
                if prop.name in table.targets:
                    values = np.asarray(table.targets[prop.name], np.float64)
                    mask[:, column] = prop.known(values)
            numbers = np.union1d(numbers, batch.atomic_numbers)
            keys.append(composition_keys(batch))
            known.append(mask)
        if not keys:
            raise InputError("no table was given: a pool needs at least one.")
        names = [prop.name for prop in properties]
        symbols = [ELEMENTS[z - 1] for z in numbers]
        return cls(np.concatenate(keys), names, np.concatenate(known), name=name, elements=symbols)

    @classmethod
    def from_corpus(cls, corpus: Corpus, *, name: str = "pool") -> CompositionPool:
        """Take the compositions of a corpus.

        Parameters
        ----------
        corpus : Corpus
            What the weights were pretrained on.
        name : str, default="pool"
            Used in reports.

        Returns
        -------
        pool : CompositionPool
            One entry per row of the corpus.
        """
        known = np.isfinite(corpus.targets)
        return cls(corpus.keys, corpus.property_names, known, name=name, elements=corpus.elements)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> CompositionPool:
        """Read a file written by :meth:`save`.

        Parameters
        ----------
        path : path-like
            The file.

        Returns
        -------
        pool : CompositionPool
            As it was saved.

        Raises
        ------
        DatasetError
            If the file is missing, damaged or of another kind.
        """
        found = read_pool(path, "properties", "known", "name")
        keys, properties, known = found["keys"], found["properties"], found["known"]
        # a bit for each key, eight to a byte
        shape = (-(-len(keys) // 8), properties.size)
        if properties.ndim != 1 or known.dtype != np.uint8 or known.shape != shape:
            raise DatasetError(
                f"{path} is not a pool of compositions: what is known is {known.dtype} of shape "
                f"{known.shape} for {len(keys)} keys and {properties.size} properties; write it "
                "with CompositionPool.save."
            )
        pool = cls.__new__(cls)
        bits = np.unpackbits(known, axis=0, count=len(keys)).astype(bool)
        pool._set(keys, properties.tolist(), bits, str(found["name"]), found["elements"])
        return pool

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a compact file.

        Parameters
        ----------
        path : path-like
            Usually ``pool.npz`` in the folder of the checkpoint.
        """
        # differences of sorted keys, byte by byte: the upper bytes are zero and cost nothing
        steps = np.diff(self.keys, prepend=np.uint64(0)).astype("<u8").view(np.uint8)
        steps = steps.reshape(-1, 8)
        used = int(np.flatnonzero(steps.any(axis=0)).max(initial=0)) + 1
        arrays: dict[str, Any] = {
            "steps": np.ascontiguousarray(steps[:, :used].T),
            "known": np.packbits(self.known, axis=0),
            "properties": np.array(self.properties),
            "name": np.array(self.name),
        }
        if self.elements is not None:
            arrays["elements"] = np.array(self.elements)
        with replacing(path) as part, part.open("wb") as file:
            np.savez_compressed(file, **arrays)

    def contains(self, compositions: Any) -> np.ndarray:
        """Tell which compositions are in the pool.

        Parameters
        ----------
        compositions : array-like of compositions, shape (m,)
            Anything :func:`~sklearn_kt.read_compositions` takes.

        Returns
        -------
        inside : bool ndarray of shape (m,)
            In the order of the rows.
        """
        return find_keys(self.keys, compositions) >= 0

    def knows(self, compositions: Any, quantity: str) -> np.ndarray:
        """Tell of which compositions the pool knows a quantity.

        Parameters
        ----------
        compositions : array-like of compositions, shape (m,)
            Anything :func:`~sklearn_kt.read_compositions` takes.
        quantity : str
            A key of :data:`QUANTITIES`, or the name of a property of the pool.

        Returns
        -------
        known : bool ndarray of shape (m,)
            In the order of the rows.
        """
        columns = [
            self.properties.index(name)
            for name in QUANTITIES.get(quantity, (quantity,))
            if name in self.properties
        ]
        rows = find_keys(self.keys, compositions)
        return (rows >= 0) & self.known[rows][:, columns].any(axis=1)

    def __len__(self) -> int:
        return len(self.keys)

    def __or__(self, other: CompositionPool) -> CompositionPool:
        names = list(dict.fromkeys([*self.properties, *other.properties]))
        known = np.zeros((len(self) + len(other), len(names)), bool)
        for pool, rows in ((self, slice(None, len(self))), (other, slice(len(self), None))):
            known[rows, [names.index(name) for name in pool.properties]] = pool.known
        union = CompositionPool.__new__(CompositionPool)
        keys = np.concatenate([self.keys, other.keys])
        elements = None
        if self.elements is not None and other.elements is not None:
            elements = sorted({*self.elements, *other.elements}, key=ELEMENTS.index)
        union._set(keys, names, known, f"{self.name} and {other.name}", elements)
        return union

    def _set(
        self,
        keys: np.ndarray,
        properties: list[str],
        known: np.ndarray,
        name: str,
        elements: list[str] | None,
    ) -> None:
        if known.shape != (len(keys), len(properties)) or len(keys) == 0:
            raise InputError(
                f"known has shape {known.shape} for {len(keys)} keys and {len(properties)} "
                "properties; a pool needs at least one composition."
            )
        self.keys, row = np.unique(keys, return_inverse=True)
        self.known = np.zeros((len(self.keys), len(properties)), bool)
        np.logical_or.at(self.known, row, known)
        self.properties = properties
        self.name = name
        self.elements = elements


def audit_tasks(
    tasks: Sequence[Task],
    *,
    pool: CompositionPool | None = None,
    pool_missing: str = "no pool was given",
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Count what test rows share with training rows, pretraining and sibling tasks.

    Parameters
    ----------
    tasks : sequence of Task
        The tables with their splits.
    pool : CompositionPool or None, default=None
        What the models were pretrained on.
    pool_missing : str, default="no pool was given"
        Why there is no pool; said in the report.

    Returns
    -------
    report : dict
        Of plain Python values, with the keys ``pool`` and ``tasks``. For each task:
        ``rows``, ``test_rows``; ``test_rows_in_train`` (same composition in the training
        part of the same fold) and ``test_ids_in_train`` (the same row: always 0, or an
        error); ``test_rows_in_pool`` and ``train_rows_in_pool``; ``quantity``,
        ``test_rows_with_quantity_in_pool`` and, by column of the corpus, ``sources``;
        ``siblings``, with ``test_rows_there``, or with ``unchecked`` and the reason.
    unseen : dict of str to bool ndarray
        For each task the rows (of the whole table) whose composition the pool does not
        have; empty without a pool.

    Examples
    --------
    >>> from sklearn_kt.evaluation import CompositionPool, audit_tasks, table_task
    >>> from sklearn_kt.pretraining import CorpusTable
    >>> X, split = ["NaCl", "KCl", "Si"], [([0], [1, 2])]
    >>> task = table_task(X, [8.5, 8.4, 1.1], kind="regression", folds=split, name="gaps")
    >>> pool = CompositionPool.from_tables([CorpusTable(["Si"])])
    >>> report, unseen = audit_tasks([task], pool=pool)
    >>> found = report["tasks"]["gaps"]
    >>> found["test_rows_in_train"], found["test_rows_in_pool"], unseen["gaps"].tolist()
    (0, 1, [True, True, False])
    """
    report: dict[str, Any] = {
        "pool": {"missing": pool_missing}
        if pool is None
        else {"name": pool.name, "compositions": len(pool), "key_bits": KEY_BITS},
        "tasks": {},
    }
    unseen: dict[str, np.ndarray] = {}
    for task in tasks:
        batch = read_compositions(task.formulas)
        keys = composition_keys(batch)
        test_rows = np.concatenate([test for _, test in task.folds.values()])
        found: dict[str, Any] = {
            "rows": len(keys),
            "distinct_compositions": len(np.unique(keys)),
            "test_rows": len(test_rows),
            "test_ids_in_train": sum(
                len(np.intersect1d(task.ids[train].astype(str), task.ids[test].astype(str)))
                for train, test in task.folds.values()
            ),
            "test_rows_in_train": sum(
                int(np.isin(keys[test], keys[train]).sum()) for train, test in task.folds.values()
            ),
        }
        if pool is not None:
            inside = pool.contains(batch)
            unseen[task.name] = ~inside
            found["test_rows_in_pool"] = int(inside[test_rows].sum())
            found["train_rows_in_pool"] = int(
                inside[np.unique(np.concatenate([train for train, _ in task.folds.values()]))].sum()
            )
            found["quantity"] = task.quantity
            if task.quantity is not None:
                tested = batch[test_rows]
                found["test_rows_with_quantity_in_pool"] = int(
                    pool.knows(tested, task.quantity).sum()
                )
                found["sources"] = {
                    name: int(pool.knows(tested, name).sum())
                    for name in QUANTITIES[task.quantity]
                    if name in pool.properties
                }
        found["siblings"] = {}
        for other, sibling in task.siblings.items():
            about: dict[str, Any] = {"why": sibling.why}
            formulas = sibling.formulas()
            if formulas is None:
                about["unchecked"] = f"the table of {other} was not found"
            else:
                there = composition_keys(read_compositions(formulas))
                about["test_rows_there"] = int(np.isin(keys[test_rows], there).sum())
            found["siblings"][other] = about
        report["tasks"][task.name] = found
    return report, unseen


def find_pool(
    pool: CompositionPool | str | os.PathLike[str] | None, checkpoints: Sequence[Path]
) -> tuple[CompositionPool | None, str]:
    """Return the pool to audit with, or None and why there is none."""
    if isinstance(pool, CompositionPool):
        return pool, ""
    if pool is not None:
        return CompositionPool.load(pool), ""
    if not checkpoints:
        return None, "no model starts from a checkpoint"
    union: CompositionPool | None = None
    for folder in checkpoints:
        if not (folder / POOL_FILE).is_file():
            return None, (
                f"the checkpoint {folder.name} has no {POOL_FILE} and pool= was not given, so what "
                "it was pretrained on is not known here"
            )
        beside = CompositionPool.load(folder / POOL_FILE)
        union = beside if union is None else union | beside
    return union, ""
