"""A cache of results by content, on disk, for several processes at once."""

from __future__ import annotations

import hashlib
import sqlite3
import time
import warnings
import zlib
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path

from sklearn_kt.exceptions import CompositionWarning, InputError

__all__ = ["DiskCache"]

_FILE = "structures.sqlite"
# Seconds to wait for another process that writes.
_PATIENCE = 60
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
