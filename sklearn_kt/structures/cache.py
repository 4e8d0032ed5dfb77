"""Results that are kept on disk: bytes by key, and crystals of any generator."""

from __future__ import annotations

import hashlib
import json
import pickle
import sqlite3
import sys
import time
import warnings
import zlib
from collections.abc import Iterable, Mapping
from contextlib import closing
from functools import lru_cache
from itertools import pairwise
from numbers import Integral
from pathlib import Path
from typing import Any, ClassVar

import joblib
import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from sklearn.utils._param_validation import HasMethods

from sklearn_kt._files import DATA, file_digest
from sklearn_kt._version import __version__
from sklearn_kt.compositions import CompositionBatch
from sklearn_kt.exceptions import CompositionWarning, InputError, NearFormulaWarning

from .base import BaseStructureGenerator, ask, warn_of_near_formulas
from .candidate import Candidate

__all__ = ["Cached", "DiskCache"]

_FILE = "structures.sqlite"
# Seconds to wait for another process that writes.
_PATIENCE = 60
# Compositions that a process is asked for at a time, and that are stored together.
_CHUNK = 64
_CHUNKS_PER_JOB = 4
# Parameters that crystals do not depend on, beside the number that is asked for.
_HOW = {"n_candidates", "errors", "n_jobs", "verbose", "cache_dir"}
# Parameters that one statement may have, whatever SQLite's build.
_AT_ONCE = 500


class DiskCache:
    """Bytes by key, in one SQLite file.

    A value is stored with its checksum and given back only if it is intact. A file
    that is no database is moved aside, with a warning; when the disk is full, what
    was computed is used but not stored, with a warning.

    Parameters
    ----------
    folder : str or Path
        Made if it is not there.

    Raises
    ------
    InputError
        If the folder cannot be made.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     cache = DiskCache(folder)
    ...     cache.put({"a": b"1"})
    ...     cache.get(["a", "b"])
    {'a': b'1'}
    """

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / _FILE
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"the cache folder {folder} cannot be made ({error.strerror}); pass another "
                "cache_dir, or None."
            ) from error

    def get(self, keys: Iterable[str]) -> dict[str, bytes]:
        """Look keys up.

        Parameters
        ----------
        keys : iterable of str
            What to look for.

        Returns
        -------
        values : dict of str to bytes
            Without the keys that are not there, or whose values are damaged.
        """
        wanted = list(keys)
        found: dict[str, bytes] = {}
        try:
            with closing(self._connect()) as connection:
                for start in range(0, len(wanted), _AT_ONCE):
                    part = wanted[start : start + _AT_ONCE]
                    marks = ",".join("?" * len(part))
                    # only question marks are put into the text
                    query = f"SELECT key, value, digest FROM items WHERE key IN ({marks})"  # noqa: S608
                    for key, value, digest in connection.execute(query, part):
                        if _digest(value) == digest:
                            found[key] = zlib.decompress(value)
        except sqlite3.DatabaseError as error:
            self._recover(error)
        return found

    def put(self, values: Mapping[str, bytes]) -> None:
        """Store values, all of them or none.

        Parameters
        ----------
        values : mapping of str to bytes
            Replaces what was there.
        """
        rows = []
        for key, value in values.items():
            packed = zlib.compress(value)
            rows.append((key, packed, _digest(packed)))
        try:
            with closing(self._connect()) as connection, connection:
                connection.executemany("INSERT OR REPLACE INTO items VALUES (?, ?, ?)", rows)
        except sqlite3.DatabaseError as error:
            self._recover(error)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=_PATIENCE)
        try:
            with connection:
                connection.execute(
                    "CREATE TABLE IF NOT EXISTS items"
                    " (key TEXT PRIMARY KEY, value BLOB NOT NULL, digest BLOB NOT NULL)"
                )
        except BaseException:
            connection.close()
            raise
        return connection

    def _recover(self, error: sqlite3.DatabaseError) -> None:
        if isinstance(error, sqlite3.OperationalError):
            # full disk, no permission, or locked for longer than our patience
            warnings.warn(
                f"the cache {self.path} cannot be used ({error}); results are computed and not "
                "stored.",
                CompositionWarning,
                stacklevel=4,
            )
            return
        aside = self.path.with_name(f"{_FILE}.damaged-{time.time_ns()}")
        try:
            self.path.rename(aside)
        except FileNotFoundError:
            return  # another process was first
        warnings.warn(
            f"the cache {self.path} was damaged ({error}) and is now {aside.name}; a new one is "
            "started.",
            CompositionWarning,
            stacklevel=4,
        )


def _digest(value: bytes) -> bytes:
    return hashlib.blake2b(value, digest_size=8).digest()


class Cached(BaseStructureGenerator):
    """Keep the crystals of a generator on disk, and share its work out to processes.

    Parameters
    ----------
    generator : object
        Anything with ``generate(compositions, n_candidates)`` whose answer for a composition
        does not depend on the others that it is asked for, such as all of this package.
    cache_dir : str, Path or None, default=None
        Folder for crystals, which processes may share; None keeps none.
    n_jobs : int or None, default=None
        Processes, each with a copy of `generator`.
    verbose : int, default=0
        1 shows progress.
    n_candidates : int, default=5
        At most so many for each composition.
    errors : {"raise", "nan"}, default="raise"
        What a row that is not a composition does: raise, or have no candidate.

    Notes
    -----
    Crystals are found again by the composition as it is written, the number asked for, the class
    of `generator`, its parameters and the content of files that these name, and the version of
    this package; those from the disk have six decimals. What a run that was stopped has finished
    is kept.

    Examples
    --------
    >>> import tempfile
    >>> from sklearn_kt.structures import Cached, PrototypeGenerator
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     generator = Cached(PrototypeGenerator(), folder)
    ...     first = generator.generate(["CsPbI3"], 1)
    ...     again = generator.generate(["CsPbI3"], 1)
    >>> first[0][0].formula == again[0][0].formula
    True
    """

    _parameter_constraints: ClassVar[dict[str, list]] = {
        **BaseStructureGenerator._parameter_constraints,
        "generator": [HasMethods(["generate"])],
        "cache_dir": [str, Path, None],
        "n_jobs": [Integral, None],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        generator: Any,
        cache_dir: str | Path | None = None,
        *,
        n_jobs: int | None = None,
        verbose: int = 0,
        n_candidates: int = 5,
        errors: str = "raise",
    ) -> None:
        self.generator = generator
        self.cache_dir = cache_dir
        self.n_jobs = n_jobs
        self.verbose = verbose
        self.n_candidates = n_candidates
        self.errors = errors

    def _generate(self, batch: CompositionBatch, wanted: int) -> list[list[Candidate]]:
        names = _spelled(batch)
        rows: dict[str, int] = {}
        for row, name in enumerate(names):
            if name:
                rows.setdefault(name, row)
        cache = None if self.cache_dir is None else DiskCache(self.cache_dir)
        key_of: dict[str, str] = {}
        if cache is not None:
            prefix = json.dumps([_identity(self.generator), _shipped(), wanted])
            key_of = {n: hashlib.sha256(f"{prefix}\n{n}".encode()).hexdigest() for n in rows}
        found = _stored(cache, key_of)
        self._generate_missing(batch, rows, wanted, found, cache, key_of)
        out = [list(found[name]) if name else [] for name in names]
        warn_of_near_formulas(out, stacklevel=3)
        return out

    def _generate_missing(
        self,
        batch: CompositionBatch,
        rows: Mapping[str, int],
        wanted: int,
        found: dict[str, list[Candidate]],
        cache: DiskCache | None,
        key_of: Mapping[str, str],
    ) -> None:
        """Add the crystals that are not found yet, and store them."""
        from tqdm import tqdm

        missing = [name for name in rows if name not in found]
        jobs = effective_n_jobs(self.n_jobs)
        size = max(1, min(_CHUNK, -(-len(missing) // (_CHUNKS_PER_JOB * jobs))))
        chunks = [missing[i : i + size] for i in range(0, len(missing), size)]
        calls = (
            delayed(_listened)(self.generator, batch[np.array([rows[n] for n in c])], wanted)
            for c in chunks
        )
        progress = tqdm(
            total=len(rows),
            initial=len(found),
            desc="crystals",
            unit=" formulas",
            disable=not self.verbose,
            file=sys.stderr,
        )
        heard: dict[tuple[type[Warning], str], None] = {}
        with progress:
            parallel = Parallel(n_jobs=jobs, return_as="generator")
            for chunk, (crystals, said) in zip(chunks, parallel(calls), strict=True):
                fresh = dict(zip(chunk, crystals, strict=True))
                found |= fresh
                heard |= dict.fromkeys(said)
                if cache is not None:
                    cache.put({key_of[n]: _packed(c, self.generator) for n, c in fresh.items()})
                progress.update(len(chunk))
        for category, text in heard:
            warnings.warn(text, category, stacklevel=4)


def _listened(
    generator: Any, batch: CompositionBatch, wanted: int
) -> tuple[list[list[Candidate]], list[tuple[type[Warning], str]]]:
    """Crystals, and the warnings of a process that nobody listens to otherwise."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = ask(generator, batch, wanted)
    # rows with near formulas are counted together, at the end
    said: list[tuple[type[Warning], str]] = [
        (w.category, str(w.message))
        for w in caught
        if issubclass(w.category, UserWarning) and w.category is not NearFormulaWarning
    ]
    return found, said


def _spelled(batch: CompositionBatch) -> list[str]:
    """Each row as it is written, since ties go by the order; empty if it is no composition."""
    numbers, amounts = batch.atomic_numbers.tolist(), batch.amounts.tolist()
    return [
        " ".join(f"{z}:{n!r}" for z, n in zip(numbers[i:j], amounts[i:j], strict=True))
        for i, j in pairwise(batch.offsets.tolist())
    ]


def _stored(cache: DiskCache | None, key_of: Mapping[str, str]) -> dict[str, list[Candidate]]:
    if cache is None:
        return {}
    stored = cache.get(key_of.values())
    return {
        name: [Candidate.from_dict(state) for state in json.loads(stored[key])]
        for name, key in key_of.items()
        if key in stored
    }


def _packed(candidates: list[Candidate], generator: Any) -> bytes:
    try:
        return json.dumps([candidate.to_dict() for candidate in candidates]).encode()
    except TypeError as error:
        raise InputError(
            f"the provenance of crystals of {type(generator).__name__} cannot be stored ({error});"
            " let it hold numbers, text, lists and dicts only, or pass cache_dir=None."
        ) from error


def _identity(value: Any) -> Any:
    """Tell one generator from another by plain data: class, parameters, content of files."""
    if hasattr(value, "get_params") and not isinstance(value, type):
        params = value.get_params(deep=False)
        kept = {k: _identity(v) for k, v in sorted(params.items()) if k not in _HOW}
        return [f"{type(value).__module__}.{type(value).__qualname__}", kept]
    if isinstance(value, str | Path) and Path(value).exists():
        files = [Path(value)] if Path(value).is_file() else sorted(Path(value).rglob("*"))
        return [file_digest(path) for path in files if path.is_file()]
    if isinstance(value, list | tuple):
        return [_identity(item) for item in value]
    try:
        return value if isinstance(value, str | int | float | None) else joblib.hash(value)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise InputError(
            f"{value!r} cannot be told from others ({error}): give the generator a get_params of "
            "plain values, or make it fit for pickling."
        ) from error


@lru_cache(maxsize=1)
def _shipped() -> list[str]:
    """Tell the data that generators take from the package."""
    folder = DATA / "crystallm"
    return [
        __version__,
        *map(file_digest, (DATA / "prototypes.npz", folder / "model.safetensors")),
    ]
