"""Which compositions, as hashes, and elements a checkpoint was pretrained on: a file beside it."""

from __future__ import annotations

import os
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from sklearn_kt._model_guards import check_arrays
from sklearn_kt.compositions import ELEMENTS, composition_keys, read_compositions
from sklearn_kt.exceptions import DatasetError

from .weights import checkpoint_folder

__all__ = [
    "KEY_BITS",
    "POOL_FILE",
    "find_keys",
    "pool_elements",
    "pool_keys",
    "read_pool",
    "short_keys",
]

POOL_FILE = "pool.npz"
"""Name of a pool's file in the folder of a checkpoint."""

KEY_BITS = 40
"""Of the 64 bits of a key: with half a million compositions, one wrong match in two million."""

# Keys hardly shrink, so that pools do to a half; each byte of a file may become a few of memory.
_UNPACKED_ALWAYS, _UNPACKED_RATIO = 2**20, 16


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
    return _of_checkpoint(checkpoint, "keys")


def pool_elements(checkpoint: str | Path) -> list[str] | None:
    """Read the symbols of the elements of the compositions that a checkpoint was pretrained on.

    Parameters
    ----------
    checkpoint : str or Path
        As for :func:`~sklearn_kt.encoder.load_checkpoint`.

    Returns
    -------
    elements : list of str, or None
        None if there is no such file in the folder, or it does not tell them.

    Raises
    ------
    DatasetError
        If the file is damaged or of another kind.
    """
    return _of_checkpoint(checkpoint, "elements")


def _of_checkpoint(checkpoint: str | Path, name: str) -> Any:
    path = checkpoint_folder(checkpoint) / POOL_FILE
    return read_pool(path)[name] if path.is_file() else None


def read_pool(path: str | os.PathLike[str], *more: str) -> dict[str, Any]:
    """Read the keys and elements of a pool's file, and other arrays in it by name.

    Raises
    ------
    DatasetError
        If the file is missing, damaged or of another kind.
    """
    try:
        with Path(path).open("rb") as opened:
            _check_size(opened)
            with np.load(opened, allow_pickle=False) as file:
                packed = file["steps"]
                if packed.dtype != np.uint8 or packed.ndim != 2 or not packed.size:
                    raise ValueError(f"its steps are {packed.dtype} of shape {packed.shape}")
                steps = np.zeros((len(packed.T), 8), np.uint8)
                steps[:, : len(packed)] = packed.T
                keys = np.cumsum(steps.view("<u8")[:, 0], dtype=np.uint64)
                found: dict[str, Any] = {"keys": keys, "elements": None}
                # those of earlier versions tell none
                if "elements" in file:
                    elements = file["elements"]
                    if elements.ndim != 1 or not np.isin(elements, ELEMENTS).all():
                        raise ValueError("its elements are no list of symbols")
                    found["elements"] = elements.tolist()
                return found | {name: file[name] for name in more}
    except (
        *(OSError, ValueError, KeyError, EOFError, RuntimeError),
        *(zipfile.BadZipFile, zlib.error),
    ) as error:
        raise DatasetError(
            f"{path} is not a pool of compositions that can be read ({error}); write it with "
            "CompositionPool.save."
        ) from error


def _check_size(opened: BinaryIO) -> None:
    """Refuse what would grow far beyond its size, before it is unpacked."""
    size = os.fstat(opened.fileno()).st_size
    with zipfile.ZipFile(opened) as archive:
        check_arrays(archive, size, "it")
        unpacked = sum(info.file_size for info in archive.infolist())
    if unpacked > max(_UNPACKED_ALWAYS, _UNPACKED_RATIO * size):
        raise ValueError(f"it would unpack to {unpacked:,} bytes, far more than pools do")
    opened.seek(0)


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
    return find_sorted(keys, short_keys(composition_keys(read_compositions(compositions))))


def find_sorted(keys: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Give the place of each wanted key among sorted ones, of which there are some; or -1."""
    places = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
    return np.where(keys[places] == wanted, places, -1)
