"""Which compositions a checkpoint was pretrained on, as hashes in a file beside it."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from sklearn_kt.compositions import composition_keys, read_compositions
from sklearn_kt.exceptions import DatasetError

from .weights import checkpoint_folder

__all__ = ["KEY_BITS", "POOL_FILE", "find_keys", "pool_keys", "read_pool", "short_keys"]

POOL_FILE = "pool.npz"
"""Name of a pool's file in the folder of a checkpoint."""

KEY_BITS = 40
"""Of the 64 bits of a key: with half a million compositions, one wrong match in two million."""


def pool_keys(checkpoint: str | Path) -> np.ndarray | None:
    """Read the keys of the compositions that a checkpoint was pretrained on.

    Parameters
    ----------
    checkpoint : str or Path
        As for :func:`~sklearn_kt.encoder.load_checkpoint`.

    Returns
    -------
    keys : ndarray of uint64, or None
        Sorted and distinct; None if there is no such file in the folder.

    Raises
    ------
    DatasetError
        If the file is damaged or of another kind.
    """
    path = checkpoint_folder(checkpoint) / POOL_FILE
    return read_pool(path)["keys"] if path.is_file() else None


def read_pool(path: str | os.PathLike[str], *more: str) -> dict[str, np.ndarray]:
    """Read the keys of a pool's file, and other arrays in it by name.

    Raises
    ------
    DatasetError
        If the file is missing, damaged or of another kind.
    """
    try:
        with Path(path).open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            packed = file["steps"]
            steps = np.zeros((len(packed.T), 8), np.uint8)
            steps[:, : len(packed)] = packed.T
            keys = np.cumsum(steps.view("<u8")[:, 0], dtype=np.uint64)
            return {"keys": keys, **{name: file[name] for name in more}}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DatasetError(
            f"{path} is not a pool of compositions that can be read ({error}); write it with "
            "CompositionPool.save."
        ) from error


def short_keys(keys: np.ndarray) -> np.ndarray:
    """Keep the upper bits of :func:`~sklearn_kt.compositions.composition_keys`."""
    return np.asarray(keys, np.uint64) >> np.uint64(64 - KEY_BITS)


def find_keys(keys: np.ndarray, compositions: Any) -> np.ndarray:
    """Find compositions among sorted keys.

    Parameters
    ----------
    keys : ndarray of uint64, shape (n,)
        Of :func:`pool_keys`.
    compositions : array-like of compositions, shape (m,)
        Anything :func:`~sklearn_kt.read_compositions` takes, all valid.

    Returns
    -------
    places : ndarray of int, shape (m,)
        -1 of those that are not there.
    """
    wanted = short_keys(composition_keys(read_compositions(compositions)))
    places = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
    return np.where(keys[places] == wanted, places, -1)
