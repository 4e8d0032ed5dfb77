"""What a run that goes on must have in common with the one that was stopped, by content."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Sequence
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import numpy as np
import torch
from joblib.hashing import NumpyHasher
from sklearn.base import BaseEstimator
from tqdm.auto import tqdm

from sklearn_kt.exceptions import InputError

__all__ = ["SourceFiles", "model_digest"]

_BLOCK = 2**20
# parameters, what the last call said and what it read once: they change no prediction
_WITHOUT_EFFECT = ("_index_of_source", "fallback_rows_", "n_jobs", "verbose")


class SourceFiles:
    """Files by their content, which must stay as it is while they are read.

    Parameters
    ----------
    paths : sequence of Path
        Read once, at the speed of the disk.
    verbose : int
        1 shows progress on stderr.

    Attributes
    ----------
    digests : list of str
        SHA-256 of each file.
    """

    def __init__(self, paths: Sequence[Path], verbose: int) -> None:
        self._paths = paths
        self._states = [self._state(path) for path in paths]
        self.digests = []
        with tqdm(
            desc="checksum of the source",
            total=sum(path.stat().st_size for path in paths),
            unit="B",
            unit_scale=True,
            disable=not (verbose and paths),
        ) as bar:
            for path in paths:
                digest = hashlib.sha256()
                with path.open("rb") as file:
                    while block := file.read(_BLOCK):
                        digest.update(block)
                        bar.update(len(block))
                self.digests.append(digest.hexdigest())

    def check(self) -> None:
        """Raise InputError if a file was changed since its content was read."""
        for path, state in zip(self._paths, self._states, strict=True):
            if self._state(path) != state:
                raise InputError(
                    f"{path} was changed while it was screened. Put it back to go on, or delete "
                    "the folder of finished parts to begin anew."
                )

    @staticmethod
    def _state(path: Path) -> tuple[int, ...]:
        found = path.stat()
        # the time of the last change of any kind, which nobody can set back, unlike that of content
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def model_digest(estimator: Any) -> str:
    """Tell a fitted model from others by all that it has learned.

    Parameters
    ----------
    estimator : estimator
        Any that can be pickled, and functions without a name beside.

    Returns
    -------
    digest : str
        The same in every process; numbers of jobs and verbosity do not count.

    Raises
    ------
    InputError
        If it holds what cannot be read, such as an open file.

    Examples
    --------
    >>> from sklearn.dummy import DummyRegressor
    >>> from sklearn_kt.screening.identity import model_digest
    >>> one, two = (DummyRegressor().fit([[0]], [y]) for y in (1.0, 2.0))
    >>> model_digest(one) == model_digest(two)
    False
    """
    try:
        return _Hasher("sha1").hash(estimator)
    except (pickle.PicklingError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"this {type(estimator).__name__} holds something that cannot be told from other "
            f"things ({error}), so that a stopped run could go on with another model. Leave it out."
        ) from error


class _Hasher(NumpyHasher):
    """Hashes by content also what a pickle would give by its place in memory."""

    def save(self, obj: Any) -> None:
        if isinstance(obj, torch.Tensor):
            # NumPy has no bfloat16
            data = obj.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
            obj = ("tensor", str(obj.dtype), tuple(obj.shape), data)
        elif isinstance(obj, np.ma.MaskedArray):
            # as in the results of searches; behind the mask there is whatever was in memory
            obj = ("masked", obj.filled(0), np.ma.getmaskarray(obj))
        elif isinstance(obj, np.ndarray) and obj.dtype.names:
            # between the fields of a tree's nodes there are bytes that nobody has set
            obj = ("array", [(name, np.ascontiguousarray(obj[name])) for name in obj.dtype.names])
        elif isinstance(obj, type):
            obj = ("class", obj.__module__, obj.__qualname__)
        elif isinstance(obj, FunctionType):
            code = obj.__code__
            constants = [value for value in code.co_consts if not isinstance(value, CodeType)]
            cells = [cell.cell_contents for cell in obj.__closure__ or ()]
            bound = (cells, obj.__defaults__, obj.__kwdefaults__)
            obj = (obj.__module__, obj.__qualname__, code.co_code, constants, bound)
        elif isinstance(obj, BaseEstimator):
            state = {name: v for name, v in vars(obj).items() if name not in _WITHOUT_EFFECT}
            obj = (type(obj), state)
        super().save(obj)

    def _batch_setitems(self, items: Any, *_: Any) -> None:
        # sorted, joblib's way, an item that cannot be pickled is left out without a word
        for item in items:
            self.save(item)
