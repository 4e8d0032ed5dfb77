"""Positions that a space group has for atoms, from its operations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from sklearn_kt.structures.symmetry import GRID, setting

__all__ = ["Sites", "sites_of_hall"]

# Every position without free coordinates is at multiples of this part of a lattice vector,
# and every position with some has points there that are on no position of higher symmetry.
_PARTS = 24


@dataclass(frozen=True)
class Sites:
    """Positions of one setting.

    Parameters
    ----------
    free : frozenset of int
        Multiplicities of positions with free coordinates: any number of sites may be
        on these.
    fixed : dict of int to ndarray of shape (n, multiplicity, 3)
        By multiplicity, the images in the conventional cell of each position without
        free coordinates; the least image is the first. One site may be on each.
    planes : dict of int to (ndarray of shape (k, 3), ndarray of shape (k, 3, 3))
        By multiplicity, a point of each line and plane of a position with free
        coordinates, and the projection along it.
    """

    free: frozenset[int]
    fixed: Mapping[int, np.ndarray]
    planes: Mapping[int, tuple[np.ndarray, np.ndarray]]


@lru_cache(maxsize=600)
def sites_of_hall(hall: int) -> Sites:
    """Find the positions of a setting.

    Parameters
    ----------
    hall : int
        Number of the setting in spglib.

    Returns
    -------
    sites : Sites
        Wyckoff positions of the same multiplicity are not told apart.

    Examples
    --------
    >>> rock_salt = sites_of_hall(523)  # Fm-3m
    >>> {m: len(images) for m, images in sorted(rock_salt.fixed.items())}
    {4: 2, 8: 1, 24: 1}
    >>> sorted(rock_salt.free)
    [24, 32, 48, 96, 192]
    """
    rotations, translations, _ = setting(hall)
    shifts = translations * _PARTS // GRID
    points = np.indices((_PARTS,) * 3, dtype=np.int32).reshape(3, -1)
    identity = np.eye(3, dtype=np.int32)
    stays = np.empty((len(rotations), points.shape[1]), np.float32)
    for row, rotation, shift in zip(
        stays, rotations.astype(np.int32), shifts.astype(np.int32), strict=True
    ):
        row[:] = (((rotation - identity) @ points + shift[:, None]) % _PARTS == 0).all(axis=0)
    count = stays.sum(axis=0)
    multiplicity = np.rint(len(rotations) / count).astype(int)
    # the mean of the operations that leave a point alone projects onto where it may go
    projections = (stays.T @ rotations.reshape(-1, 9).astype(np.float32)) / count[:, None]
    projections = projections.reshape(-1, 3, 3)
    dimension = np.rint(np.trace(projections, axis1=1, axis2=2)).astype(int)
    fixed, planes = {}, {}
    for m in np.unique(multiplicity).tolist():
        here = points[:, (dimension == 0) & (multiplicity == m)].T.astype(np.int64)
        if len(here):
            fixed[m] = _orbits(here, rotations, shifts) / _PARTS
        rows = (dimension > 0) & (multiplicity == m)
        # the general position needs no table: every point is on it
        if rows.any() and m < len(rotations):
            along = projections[rows]
            origin = points[:, rows].T / _PARTS
            origin = origin - np.einsum("nij,nj->ni", along, origin)
            table = np.hstack([origin, along.reshape(-1, 9)]).round(5) + 0.0
            table = np.unique(table, axis=0)
            planes[m] = table[:, :3], table[:, 3:].reshape(-1, 3, 3)
    free = frozenset(np.unique(multiplicity[dimension > 0]).tolist())
    return Sites(free, fixed, planes)


def _orbits(points: np.ndarray, rotations: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """Sort points into sets of equivalent ones."""
    left = {tuple(point) for point in points.tolist()}
    found = []
    while left:
        point = np.array(min(left))
        images = np.unique((rotations @ point + shifts) % _PARTS, axis=0)
        left -= {tuple(image) for image in images.tolist()}
        found.append(images)
    return np.array(found)
