"""Pretraining corpora: compositions, what is computed about them, and structures.

A corpus is a folder of NumPy files that are memory-mapped, so that ten million
formulas need disk, not RAM. :func:`build_corpus` writes one from any tables.

Notes
-----
**Several entries of one formula** (polymorphs, or one compound in two tables):
the corpus has one row per reduced composition. For each property the value of
the entry lowest in energy above the hull is kept; where no entry's energy is
known, the median of all (for a yes/no property, their mean). The structure kept
is that of the entry lowest in energy above the hull; unknown energies come last,
then file order decides.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from sklearn_kt._files import file_digest, new_folder, replacing
from sklearn_kt._property_names import read_property_table
from sklearn_kt.compositions import (
    ELEMENTS,
    CompositionBatch,
    composition_keys,
    read_compositions,
)
from sklearn_kt.encoder.pool import find_sorted
from sklearn_kt.exceptions import DatasetError, InputError

if TYPE_CHECKING:
    from pymatgen.core import Structure

__all__ = [
    "PROPERTIES",
    "UNIT_FORMS",
    "Corpus",
    "CorpusTable",
    "Property",
    "build_corpus",
]

# layout of a corpus folder
FORMAT_VERSION = 2

UNIT_FORMS = {"log": "log10", "log1p": "log(1 + x)", "binary": "logit"}
"""What the unit of a head begins with, where it predicts something else than the value."""

_META = "corpus.json"
_TRANSFORMS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "identity": lambda x: x,
    "log": np.log10,
    "log1p": np.log1p,
    "binary": lambda x: x,
}
# Share of the values at either end that is pulled in to the quantile.
_CLIPPED = 5e-4


@dataclass(frozen=True)
class Property:
    """One column of targets.

    Parameters
    ----------
    name : str
        Name of the column.
    unit : str, default=""
        Physical unit of the values as given.
    transform : {"identity", "log", "log1p", "binary"}, default="identity"
        Applied before standardising; ``"log"`` is the decimal logarithm. A
        ``"binary"`` column holds probabilities of yes and is not standardised.
    low, high : float, default=-inf, inf
        Values outside are failed calculations and are left out.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_kt.pretraining import Property
    >>> gap = Property("gap", "eV", low=0, high=20)
    >>> gap.known(np.array([1.1, -0.5, np.nan, 25.0])).tolist()
    [True, False, False, False]
    """

    name: str
    unit: str = ""
    transform: str = "identity"
    low: float = -math.inf
    high: float = math.inf

    def __post_init__(self) -> None:
        if self.transform not in _TRANSFORMS:
            raise InputError(
                f"property {self.name!r}: transform must be one of {sorted(_TRANSFORMS)}, "
                f"got {self.transform!r}."
            )
        if self.transform == "log" and not self.low > 0:
            raise InputError(f"property {self.name!r}: a logarithm needs low > 0, got {self.low}.")

    def known(self, values: np.ndarray) -> np.ndarray:
        """Tell which values count.

        Parameters
        ----------
        values : ndarray of float64, shape (n,)
            In the property's unit; NaN is unknown.

        Returns
        -------
        known : bool ndarray of shape (n,)
            Finite and within the bounds.
        """
        with np.errstate(invalid="ignore"):
            return np.isfinite(values) & (values >= self.low) & (values <= self.high)


@dataclass
class CorpusTable:
    """Rows that enter a corpus together.

    Parameters
    ----------
    compositions : array-like of compositions, shape (n,)
        Anything :func:`~sklearn_kt.compositions.read_compositions` reads.
    targets : dict of str to array-like of shape (n,), default={}
        Property name to values in the property's unit; NaN is unknown.
    e_hull : array-like of shape (n,), optional
        Energy above the convex hull in eV/atom; NaN is unknown.
    structures : sequence of dict or None, optional
        Crystals, as the keys ``lattice`` (a, b, c, alpha, beta, gamma in
        Angstrom and degrees), ``species`` (list of [symbol, count] in site
        order) and ``coords`` (fractional); None where a row has none.
    name : str, default="table"
        Named in messages.

    Examples
    --------
    >>> from sklearn_kt.pretraining import CorpusTable
    >>> table = CorpusTable(["NaCl", "Si"], {"gap": [5.0, float("nan")]}, name="gaps")
    >>> table.name, list(table.targets)
    ('gaps', ['gap'])
    """

    compositions: Any
    targets: Mapping[str, Any] = field(default_factory=dict)
    e_hull: Any = None
    structures: Sequence[Mapping[str, Any] | None] | None = None
    name: str = "table"


PROPERTIES: tuple[Property, ...] = tuple(
    Property(
        row["name"],
        row["unit"],
        row["transform"],
        low=json.loads(row["low"] or "-Infinity"),
        high=json.loads(row["high"] or "Infinity"),
    )
    for row in read_property_table()
)
"""Every property of the shipped checkpoint's corpus, from the table in the package."""


def build_corpus(
    folder: str | Path,
    tables: Iterable[CorpusTable],
    properties: Sequence[Property] = PROPERTIES,
    *,
    verbose: int = 0,
) -> Corpus:
    """Write a corpus folder.

    Parameters
    ----------
    folder : str or Path
        Target; it must not exist, or be an empty folder. It appears in one
        piece: an interrupted call leaves nothing behind.
    tables : iterable of CorpusTable
        Read one after the other.
    properties : sequence of Property
        Columns of the target table. Every value name in `tables` must be among them.
    verbose : int, default=0
        Print one line per table on stderr.

    Returns
    -------
    Corpus
        The opened folder.

    Raises
    ------
    InputError
        If a table has an unknown property or columns of different lengths.
    CompositionError
        If a row is not a composition.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> table = CorpusTable(["NaCl", "Na2Cl2", "Si"], {"gap": [5.0, 5.2, 0.6]})
    >>> with tempfile.TemporaryDirectory() as home:
    ...     corpus = build_corpus(Path(home) / "corpus", [table], [Property("gap", "eV")])
    ...     len(corpus), corpus.property_names
    (2, ['gap'])
    """
    folder = Path(folder)
    column_of = {prop.name: i for i, prop in enumerate(properties)}
    rows = _Rows()
    observed: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []
    crystals = _Crystals()
    hulls: list[tuple[np.ndarray, np.ndarray]] = []
    with new_folder(folder) as staging:
        for table in tables:
            batch = read_compositions(table.compositions)
            row = rows.add(batch)
            hull = _column(table, "e_hull", table.e_hull, len(batch))
            hulls.append((row, hull))
            for name, values in table.targets.items():
                if name not in column_of:
                    raise InputError(
                        f"{table.name} has values for {name!r}, which is not among the properties; "
                        "add a Property of that name."
                    )
                value = _column(table, name, values, len(batch))
                known = properties[column_of[name]].known(value)
                observed.append(
                    (
                        np.full(known.sum(), column_of[name], np.int16),
                        row[known],
                        value[known],
                        hull[known],
                    )
                )
            if table.structures is not None:
                crystals.add(row, hull, table)
            if verbose:
                _say(f"{table.name}: {len(batch)} rows, {rows.count} distinct compositions")
        _write(staging, rows, properties, observed, hulls, crystals)
    return Corpus(folder)


class Corpus:
    """A corpus folder, memory-mapped.

    Parameters
    ----------
    folder : str or Path
        Written by :func:`build_corpus`.

    Attributes
    ----------
    keys : ndarray of uint64, shape (n,)
        See :func:`~sklearn_kt.compositions.composition_keys`.
    e_hull : ndarray of float32, shape (n,)
        Energy above the hull in eV/atom; NaN where unknown.
    targets : ndarray of float32, shape (n, n_properties)
        Transformed and standardised property values; NaN where unknown.
    properties : list of Property
        The columns of ``targets``.
    centres, scales : ndarray of shape (n_properties,)
        What standardising subtracted and divided by, after the transform.
    structure_rows : ndarray of int64, shape (n_structures,)
        Row of each stored crystal.

    Raises
    ------
    DatasetError
        If the folder is not a corpus or is damaged.

    See Also
    --------
    build_corpus : Writes the folder.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as home:
    ...     folder = Path(home) / "corpus"
    ...     _ = build_corpus(folder, [CorpusTable(["NaCl", "Si2"])], [])
    ...     corpus = Corpus(folder)
    ...     corpus.rows_of(["Si", "Ge"]).tolist()
    [1, -1]
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        meta = self._read_meta()
        self.properties = [Property(**p["property"]) for p in meta["properties"]]
        self.centres = np.array([p["centre"] for p in meta["properties"]])
        self.scales = np.array([p["scale"] for p in meta["properties"]])
        self.keys = self._open("keys")
        self.e_hull = self._open("e_hull")
        self.targets = self._open("targets")
        self.structure_rows = self._open("structure_rows")
        self._offsets = self._open("offsets")
        self._numbers = self._open("atomic_numbers")
        self._amounts = self._open("amounts")
        if len({len(self.keys), len(self.e_hull), len(self.targets), len(self._offsets) - 1}) > 1:
            raise DatasetError(f"{self.folder} is damaged: its files differ in length.")

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def property_names(self) -> list[str]:
        """Names of the columns of ``targets``."""
        return [prop.name for prop in self.properties]

    @property
    def n_elements(self) -> np.ndarray:
        """Distinct elements of each row, int64, shape (n,)."""
        return np.diff(self._offsets)

    @property
    def elements(self) -> list[str]:
        """Symbols of the elements of all rows."""
        return [ELEMENTS[z - 1] for z in np.unique(self._numbers)]

    def compositions(self, rows: np.ndarray) -> CompositionBatch:
        """Reduced compositions of some rows.

        Parameters
        ----------
        rows : ndarray of int64, shape (m,)
            Positions in the corpus.

        Returns
        -------
        batch : CompositionBatch
            One row per position.
        """
        starts = self._offsets[rows]
        lengths = self._offsets[rows + 1] - starts
        offsets = np.concatenate(([0], np.cumsum(lengths)))
        entries = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)
        return CompositionBatch(
            self._numbers[entries].astype(np.int64), np.asarray(self._amounts[entries]), offsets
        )

    def rows_of(self, compositions: Any) -> np.ndarray:
        """Find compositions.

        Parameters
        ----------
        compositions : array-like of compositions, shape (m,)
            Anything :func:`~sklearn_kt.compositions.read_compositions` reads.

        Returns
        -------
        rows : ndarray of int64, shape (m,)
            Row of each, -1 where the corpus does not have it.
        """
        wanted = composition_keys(read_compositions(compositions))
        order = np.argsort(self.keys, kind="stable")
        places = find_sorted(self.keys[order], wanted)
        return np.where(places >= 0, order[places], -1)

    def structure(self, index: int) -> Structure:
        """Read one crystal.

        Parameters
        ----------
        index : int
            Position in ``structure_rows``.

        Returns
        -------
        structure : pymatgen.core.Structure
            The crystal of row ``structure_rows[index]``.
        """
        from pymatgen.core import Lattice, Structure

        start, stop = self._open("site_offsets")[index : index + 2]
        species = [ELEMENTS[z - 1] for z in self._open("sites")[start:stop]]
        lattice = Lattice.from_parameters(*self._open("lattices")[index].astype(float))
        return Structure(lattice, species, self._open("site_coords")[start:stop].astype(float))

    def structure_sizes(self) -> np.ndarray:
        """Count the atoms in each crystal's cell.

        Returns
        -------
        sizes : ndarray of int64, shape (n_structures,)
            In the order of ``structure_rows``.
        """
        return np.diff(self._open("site_offsets"))

    def digests(self, teachers: Iterable[str] = ()) -> list[str]:
        """Tell this corpus from others by its content.

        Parameters
        ----------
        teachers : iterable of str, default=()
            Names of the embedding tables that count.

        Returns
        -------
        digests : list of str
            SHA-256 of the description, of the arrays of compositions, targets and crystals, and
            of the tables.
        """
        # the names of tables have a part more
        arrays = sorted(p.name for p in self.folder.glob("*.npy") if p.name.count(".") == 1)
        tables = [f"{name}.{part}.npy" for name in sorted(teachers) for part in ("rows", "teacher")]
        return [file_digest(self.folder / name) for name in [_META, *arrays, *tables]]

    @property
    def teachers(self) -> list[str]:
        """Names of the embedding tables in the folder."""
        suffix = ".teacher.npy"
        return sorted(p.name.removesuffix(suffix) for p in self.folder.glob(f"*{suffix}"))

    def teacher(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Embeddings of a teacher.

        Parameters
        ----------
        name : str
            One of ``teachers``.

        Returns
        -------
        index : ndarray of int64, shape (n,)
            Position in ``embeddings`` of each corpus row, -1 where it has none.
        embeddings : ndarray of float32, shape (m, d)
            Memory-mapped.
        """
        if name not in self.teachers:
            known = ", ".join(self.teachers) or "none"
            raise DatasetError(
                f"the corpus {self.folder} has no embeddings of a teacher {name!r} (it has: "
                f"{known}); add them with sklearn_kt.pretraining.embed_corpus."
            )
        return self._open(f"{name}.rows"), self._open(f"{name}.teacher")

    def add_teacher(self, name: str, rows: np.ndarray, embeddings: np.ndarray) -> None:
        """Store a teacher's embeddings of some rows; an older table of that name is replaced.

        Parameters
        ----------
        name : str
            File name of the table.
        rows : ndarray of int64, shape (m,)
            Corpus rows, each at most once.
        embeddings : ndarray of shape (m, d)
            One vector per row, finite.
        """
        rows, embeddings = np.asarray(rows), np.asarray(embeddings, np.float32)
        if embeddings.ndim != 2 or len(rows) != len(embeddings):
            raise InputError(
                f"teacher {name!r}: need one vector per row, got {len(rows)} rows and an array "
                f"of shape {embeddings.shape}."
            )
        if not np.isfinite(embeddings).all():
            bad = int(np.flatnonzero(~np.isfinite(embeddings).all(axis=1))[0])
            raise InputError(f"teacher {name!r}: vector {bad} is not finite; leave that row out.")
        if len(np.unique(rows)) != len(rows):
            raise InputError(f"teacher {name!r}: a row has two vectors; average or choose first.")
        index = np.full(len(self), -1, np.int64)
        index[rows] = np.arange(len(rows))
        with (
            replacing(self.folder / f"{name}.rows.npy") as rows_part,
            replacing(self.folder / f"{name}.teacher.npy") as teacher_part,
        ):
            np.save(rows_part, index)
            np.save(teacher_part, embeddings)

    def unscale(self, targets: np.ndarray) -> np.ndarray:
        """Undo the standardising.

        Parameters
        ----------
        targets : ndarray of shape (..., n_properties)
            Standardised values.

        Returns
        -------
        values : ndarray of shape (..., n_properties)
            In the properties' units; logarithms stay logarithms.
        """
        return targets * self.scales + self.centres

    def _open(self, name: str) -> np.ndarray:
        path = self.folder / f"{name}.npy"
        try:
            return np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise DatasetError(
                f"{path} cannot be read ({error}); the corpus is incomplete or damaged: build "
                "it again."
            ) from error

    def _read_meta(self) -> dict[str, Any]:
        path = self.folder / _META
        try:
            meta = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DatasetError(
                f"{self.folder} is not a corpus folder ({error}); write one with "
                "sklearn_kt.pretraining.build_corpus."
            ) from error
        if meta.get("format_version", math.inf) > FORMAT_VERSION:
            raise DatasetError(
                f"{self.folder} has corpus format {meta.get('format_version')!r}; this "
                f"sklearn_kt reads formats up to {FORMAT_VERSION}. Upgrade sklearn_kt."
            )
        return meta


class _Rows:
    """Distinct reduced compositions in order of appearance."""

    def __init__(self) -> None:
        self.row_of: dict[int, int] = {}
        self.parts: list[CompositionBatch] = []
        self.keys: list[np.ndarray] = []

    @property
    def count(self) -> int:
        return len(self.row_of)

    def add(self, batch: CompositionBatch) -> np.ndarray:
        keys = composition_keys(batch)
        rows = np.empty(len(batch), np.int64)
        new = []
        for i, key in enumerate(keys.tolist()):
            row = self.row_of.get(key)
            if row is None:
                row = self.row_of[key] = len(self.row_of)
                new.append(i)
            rows[i] = row
        self.parts.append(batch[np.array(new, np.int64)])
        self.keys.append(keys[new])
        return rows


class _Crystals:
    """The lowest crystal of each row."""

    def __init__(self) -> None:
        self.best: dict[int, tuple[float, Mapping[str, Any]]] = {}

    def add(self, rows: np.ndarray, hull: np.ndarray, table: CorpusTable) -> None:
        assert table.structures is not None
        if len(table.structures) != len(rows):
            raise InputError(
                f"{table.name}: {len(table.structures)} structures for {len(rows)} rows."
            )
        energies = np.where(np.isfinite(hull), hull, np.inf)
        crystals = zip(rows.tolist(), energies.tolist(), table.structures, strict=True)
        for row, energy, crystal in crystals:
            if crystal is not None and (row not in self.best or energy < self.best[row][0]):
                kept = {key: crystal[key] for key in ("lattice", "species", "coords")}
                self.best[row] = energy, kept


def _write(
    folder: Path,
    rows: _Rows,
    properties: Sequence[Property],
    observed: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]],
    hulls: list[tuple[np.ndarray, np.ndarray]],
    crystals: _Crystals,
) -> None:
    n = rows.count
    if n == 0:
        raise InputError("the tables hold no rows; a corpus needs at least one composition.")
    np.save(folder / "keys.npy", np.concatenate(rows.keys))
    lengths = np.concatenate([part.n_elements for part in rows.parts])
    np.save(folder / "offsets.npy", np.concatenate(([0], np.cumsum(lengths))).astype(np.int64))
    numbers = np.concatenate([part.atomic_numbers for part in rows.parts]).astype(np.uint8)
    np.save(folder / "atomic_numbers.npy", numbers)
    amounts = [part.reduced().amounts for part in rows.parts]
    np.save(folder / "amounts.npy", np.concatenate(amounts))
    row, hull = (np.concatenate(arrays) for arrays in zip(*hulls, strict=True))
    lowest = np.full(n, np.inf)
    known = np.isfinite(hull)
    np.minimum.at(lowest, row[known], hull[known])
    lowest[np.isinf(lowest)] = np.nan
    np.save(folder / "e_hull.npy", lowest.astype(np.float32))
    targets = np.lib.format.open_memmap(
        folder / "targets.npy", mode="w+", dtype=np.float32, shape=(n, len(properties))
    )
    targets[:] = np.nan
    described = []
    for column, prop in enumerate(properties):
        parts = [o[1:] for o in observed if len(o[0]) and o[0][0] == column]
        centre, scale, count = 0.0, 1.0, 0
        if parts:
            row, value, hull = (np.concatenate(p) for p in zip(*parts, strict=True))
            where, values = _one_per_row(row, value, hull, prop)
            values = _TRANSFORMS[prop.transform](values)
            count = len(values)
            if prop.transform != "binary":
                values = np.clip(values, *np.quantile(values, [_CLIPPED, 1 - _CLIPPED]))
                centre, scale = float(values.mean()), float(values.std()) or 1.0
            targets[where, column] = (values - centre) / scale
        described.append(
            {
                "property": {
                    k: v
                    for k, v in asdict(prop).items()
                    if not (isinstance(v, float) and math.isinf(v))
                },
                "centre": centre,
                "scale": scale,
                "count": count,
            }
        )
    targets.flush()
    del targets
    _write_crystals(folder, crystals)
    meta = {"format_version": FORMAT_VERSION, "n_rows": n, "properties": described}
    (folder / _META).write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")


def _one_per_row(
    row: np.ndarray, value: np.ndarray, hull: np.ndarray, prop: Property
) -> tuple[np.ndarray, np.ndarray]:
    """Ground state where its energy is known, else the median (see the module's notes)."""
    frame = pd.DataFrame({"row": row, "value": value, "hull": hull})
    known = frame[frame["hull"].notna()].sort_values(["row", "hull"], kind="stable")
    ground = known.drop_duplicates("row").set_index("row")["value"]
    other = frame[~frame["row"].isin(ground.index)].groupby("row")["value"]
    rest = other.mean() if prop.transform == "binary" else other.median()
    both = pd.concat([ground, rest])
    return both.index.to_numpy(), both.to_numpy()


def _write_crystals(folder: Path, crystals: _Crystals) -> None:
    rows = sorted(crystals.best)
    best = [crystals.best[row][1] for row in rows]
    sites = [
        [ELEMENTS.index(symbol) + 1 for symbol, count in crystal["species"] for _ in range(count)]
        for crystal in best
    ]
    sizes = np.array([len(s) for s in sites], np.int64)
    np.save(folder / "structure_rows.npy", np.array(rows, np.int64))
    np.save(folder / "site_offsets.npy", np.concatenate(([0], np.cumsum(sizes))).astype(np.int64))
    np.save(folder / "sites.npy", np.array([z for s in sites for z in s], np.uint8))
    lattices = np.array([crystal["lattice"] for crystal in best], np.float32)
    np.save(folder / "lattices.npy", lattices.reshape(len(best), 6))
    coords = np.array([xyz for crystal in best for xyz in crystal["coords"]], np.float32)
    np.save(folder / "site_coords.npy", coords.reshape(-1, 3))


def _column(table: CorpusTable, name: str, values: Any, n: int) -> np.ndarray:
    if values is None:
        return np.full(n, np.nan)
    column = np.asarray(values, np.float64)
    if column.shape != (n,):
        raise InputError(
            f"{table.name}: {name!r} has shape {column.shape}, but there are {n} compositions."
        )
    return column


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
