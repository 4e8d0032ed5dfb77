"""Making the prototype library: ``python -m making.prototypes``.

Reads crystals, finds their symmetry with spglib, keeps one crystal per composition
and prototype, and fits two tables to them: the distance between elements, by
neighbourhood components analysis [1]_ on the task of naming a composition's
prototype from those of other compositions, and the size of elements, by least
squares with one constant per prototype.

References
----------
.. [1] J. Goldberger, G. Hinton, S. Roweis, R. Salakhutdinov, "Neighbourhood
   components analysis", NIPS 17 (2004).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sklearn_kt._files import replacing
from sklearn_kt.compositions import ELEMENTS
from sklearn_kt.datasets import data_home
from sklearn_kt.exceptions import InputError
from sklearn_kt.structures.candidate import Candidate
from sklearn_kt.structures.elements import element_features, families
from sklearn_kt.structures.library import FORMAT_VERSION, PrototypeLibrary, has_anion
from sklearn_kt.structures.prototypes import permutations_of
from sklearn_kt.structures.reading import read_rows, read_structure
from sklearn_kt.structures.symmetry import Crystal, analyse

__all__ = ["HELD_OUT", "LIBRARY_SOURCES", "Entry", "build_library", "crystals_of", "main"]

#: Files of the shipped library, most trusted first: path in the data folder, splits
#: to take (all if empty), and key of the energy above the hull.
LIBRARY_SOURCES: tuple[tuple[str, tuple[str, ...], str | None], ...] = (
    ("structures/mp20_subset.jsonl.gz", ("train", "val"), "e_above_hull"),
    ("structures/mpts52_val_test.jsonl.gz", ("val",), "e_above_hull"),
    ("structures/phonon_dielectric_mp.jsonl.gz", (), None),
    ("structures/dielectric_mp_1056.jsonl.gz", (), None),
    ("structures/piezo_mp_941.jsonl.gz", (), None),
    ("structures/oqmd_icsd_32k.jsonl.gz", (), "stability"),
    ("structures/aflow_5prop.jsonl.gz", (), None),
)
#: Crystals with these identifiers are never in the library.
HELD_OUT: tuple[tuple[str, str], ...] = (
    ("structures/mp20_subset.jsonl.gz", "test"),
    ("structures/mpts52_val_test.jsonl.gz", "test"),
)

_MAX_ATOMS = 200
_MAX_ELEMENTS = 10
# Cells of one composition and prototype whose volumes differ by less are one crystal.
_SAME_VOLUME = 0.05
# Penalty on element sizes away from those of the other kind of compound.
_SIZE_RIDGE = 1.0
_WIDTH = 24
_EPOCHS = 3
_BATCH = 64
_MAX_NEIGHBOURS = 1500


class Entry(NamedTuple):
    """A crystal, where it is from, and its energy above the hull (eV/atom; NaN if not known)."""

    crystal: Crystal
    identifier: str
    e_hull: float


def crystals_of(rows: Iterable[dict[str, Any]], e_hull: str | None = None) -> Iterator[Entry]:
    """Analyse crystals as the data files hold them.

    Parameters
    ----------
    rows : iterable of dict
        As :func:`~sklearn_kt.structures.reading.read_structure` takes, with ``id``.
    e_hull : str, optional
        Key of the energy above the hull.

    Yields
    ------
    Entry
        Without crystals that cannot be analysed, or are too large for a library.
    """
    for row in rows:
        if sum(count for _, count in row["species"]) > _MAX_ATOMS:
            continue
        crystal = analyse(Candidate.from_structure(read_structure(row)))
        if crystal is None or len(crystal.elements) > _MAX_ELEMENTS:
            continue
        energy = row.get(e_hull) if e_hull else None
        yield Entry(crystal, row["id"], float("nan") if energy is None else float(energy))


def build_library(
    crystals: Iterable[Entry], *, random_state: int = 0, verbose: int = 0
) -> PrototypeLibrary:
    """Make a library of crystals.

    Parameters
    ----------
    crystals : iterable of Entry
        Most trusted first. Of those with one composition, one prototype and nearly
        one volume the first is kept.
    random_state : int, default=0
        Seed of the fit of element distances.
    verbose : int, default=0
        Show progress on stderr.

    Returns
    -------
    library : PrototypeLibrary
        Its ``arrays`` are what :func:`numpy.savez_compressed` writes.

    Raises
    ------
    InputError
        If no crystal is left.
    """
    kept: list[Entry] = []
    known: dict[tuple, list[float]] = {}
    for entry in crystals:
        crystal = entry.crystal
        key = (frozenset(zip(crystal.elements, crystal.amounts, strict=True)), crystal.label)
        volumes = known.setdefault(key, [])
        if all(abs(v / crystal.volume - 1) > _SAME_VOLUME for v in volumes):
            volumes.append(crystal.volume)
            kept.append(entry)
    if not kept:
        raise InputError("there is no crystal to make a library of.")
    arrays = _pack(kept)
    arrays["e_polymorph"] = stated_energies(arrays)
    arrays["size"] = _fit_sizes(arrays)
    arrays["distance"], arrays["weights"] = _fit_distances(arrays, random_state, verbose)
    return PrototypeLibrary(arrays)


def _pack(entries: Sequence[Entry]) -> dict[str, np.ndarray]:
    n = len(entries)
    crystals = [entry.crystal for entry in entries]
    labels, prototype = _numbered(c.label for c in crystals)
    places = [entry.identifier.rpartition("-") for entry in entries]
    names, source = _numbered(place for place, _, _ in places)
    elements = np.zeros((n, _MAX_ELEMENTS), np.uint8)
    amounts = np.zeros((n, _MAX_ELEMENTS), np.uint16)
    for row, crystal in enumerate(crystals):
        elements[row, : len(crystal.elements)] = crystal.elements
        amounts[row, : len(crystal.amounts)] = crystal.amounts
    orbits = [orbit for crystal in crystals for orbit in crystal.orbits]
    return {
        "version": np.array(FORMAT_VERSION),
        "hall": np.array([c.hall for c in crystals], np.uint16),
        "lattice": np.round([c.lattice for c in crystals], 4).astype(np.float32),
        "volume": np.array([c.volume for c in crystals], np.float32),
        "e_hull": np.array([entry.e_hull for entry in entries], np.float32),
        "prototype": prototype,
        "elements": elements,
        "amounts": amounts,
        "orbit_start": np.cumsum([0, *(len(c.orbits) for c in crystals)]).astype(np.int32),
        "orbit_element": np.array([o[0] for o in orbits], np.uint8),
        "orbit_multiplicity": np.array([o[1] for o in orbits], np.uint16),
        "orbit_position": np.array([o[2] for o in orbits], np.uint16),
        "source": source.astype(np.uint8),
        "source_name": names,
        "source_number": np.array([int(number) for _, _, number in places], np.int32),
        "labels": labels,
    }


def stated_energies(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """Energies of crystals above the lowest one of their composition, as their sources tell.

    Parameters
    ----------
    arrays : dict of str to ndarray
        Those of a library.

    Returns
    -------
    energies : ndarray of shape (n_crystals,)
        In eV/atom; 0 for the only crystal of a composition. NaN for all of a composition
        that has a crystal without an energy above the hull.
    """
    # below 0 is the distance of a stable crystal from decomposition
    hull = arrays["e_hull"].clip(min=0)
    energies = np.zeros_like(hull)
    for rows in polymorphs(arrays):
        energies[rows] = hull[rows] - hull[rows].min()
    return energies


def polymorphs(arrays: Mapping[str, np.ndarray]) -> list[list[int]]:
    """Rows of each composition that has several crystals."""
    found: dict[frozenset, list[int]] = {}
    slots = zip(arrays["elements"].tolist(), arrays["amounts"].tolist(), strict=True)
    for row, (elements, amounts) in enumerate(slots):
        found.setdefault(frozenset(zip(elements, amounts, strict=True)), []).append(row)
    return [rows for rows in found.values() if len(rows) > 1]


def _numbered(names: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
    """Sort out the distinct names, and number each of them."""
    distinct, numbers = np.unique(np.array(list(names)), return_inverse=True)
    return distinct, numbers.astype(np.int32)


def _fit_sizes(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Logarithmic volumes of elements, alone and beside an anion, by ridge regression."""
    elements, amounts = arrays["elements"].astype(int), arrays["amounts"].astype(float)
    fractions = amounts / amounts.sum(axis=1, keepdims=True)
    width = len(ELEMENTS) + 1
    design = np.zeros((len(elements), 2 * width))
    columns = elements + width * has_anion(elements).astype(int)[:, None]
    rows = np.repeat(np.arange(len(elements)), elements.shape[1])
    np.add.at(design, (rows, columns.ravel()), fractions.ravel())
    target = np.log(arrays["volume"].astype(float))
    centre = target.mean()

    def ridge(x: np.ndarray, y: np.ndarray, prior: np.ndarray) -> np.ndarray:
        gram = x.T @ x + _SIZE_RIDGE * np.eye(x.shape[1])
        return prior + np.linalg.solve(gram, x.T @ (y - x @ prior))

    pooled = ridge(design, target, np.full(2 * width, centre))
    # differences within a prototype say how sizes differ; the pooled fit only fills gaps
    counts = np.bincount(arrays["prototype"])
    means = np.zeros((len(counts), 2 * width))
    np.add.at(means, arrays["prototype"], design)
    level = np.bincount(arrays["prototype"], target) / counts
    within = design - (means / counts[:, None])[arrays["prototype"]]
    sizes = ridge(within, target - level[arrays["prototype"]], pooled)
    return sizes.reshape(2, width).astype(np.float32)


def _fit_distances(
    arrays: dict[str, np.ndarray], seed: int, verbose: int
) -> tuple[np.ndarray, np.ndarray]:
    """Squared distances between elements; and how amounts and energies weigh."""
    import torch
    from tqdm import tqdm

    features = torch.tensor(element_features(), dtype=torch.float32)
    generator = torch.Generator().manual_seed(seed)
    rng = np.random.default_rng(seed)
    start = torch.randn(features.shape[1], _WIDTH, generator=generator) / _WIDTH**0.5
    weight = start.requires_grad_()
    offset = torch.zeros(len(features), _WIDTH, requires_grad=True)
    # exponent of the amounts, weight of the energy above the hull, unknown energies
    scalars = torch.tensor([0.5, 5.0, 0.3], requires_grad=True)
    optimiser = torch.optim.AdamW(
        [
            {"params": [weight, scalars], "weight_decay": 0.0, "lr": 0.02},
            {"params": [offset], "weight_decay": 0.1, "lr": 0.02},
        ]
    )
    groups = _training_groups(arrays)
    batches = [
        (group, part)
        for group in groups
        for part in np.array_split(group["queries"], max(1, -(-len(group["queries"]) // _BATCH)))
        if len(part)
    ]
    steps = _EPOCHS * len(batches)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, [0.02, 0.02], total_steps=max(steps, 2)
    )
    family = families()
    progress = tqdm(total=steps, desc="element distances", disable=not verbose, file=sys.stderr)
    for _ in range(_EPOCHS):
        for choice in rng.permutation(len(batches)):
            group, queries = batches[choice]
            table = features @ weight + offset
            squared = _squared_distances(table)
            loss = _nca_loss(group, queries, squared, scalars, family, rng)
            if loss is not None:
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
            schedule.step()
            progress.update()
            if loss is not None and progress.n % 50 == 0:
                progress.set_postfix(loss=f"{float(loss.detach()):.3f}", refresh=False)
    progress.close()
    with torch.no_grad():
        table = features @ weight + offset
        out = _squared_distances(table).numpy().astype(np.float32)
    return out, scalars.detach().numpy()


def _squared_distances(table: Any) -> Any:
    import torch

    norms = table.square().sum(dim=1)
    # rounding makes a distance of zero slightly negative
    squared = (norms[:, None] + norms[None] - 2 * table @ table.T).clamp(min=0)
    return squared * (1 - torch.eye(len(table)))


def _training_groups(arrays: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """Crystals of one anonymous formula, and those whose prototype others share."""
    library = PrototypeLibrary({**arrays})
    hull = np.nan_to_num(arrays["e_hull"], nan=0.1)
    groups = []
    for amounts in sorted({tuple(a for a in row if a) for row in arrays["amounts"].tolist()}):
        rows = library.members(amounts)
        ways = permutations_of(amounts, 24)
        if ways is None or len(rows) < 3:
            continue
        if len(rows) > _MAX_NEIGHBOURS:
            rows = np.sort(
                np.random.default_rng(len(rows)).choice(rows, _MAX_NEIGHBOURS, replace=False)
            )
        elements = library.elements(rows, len(amounts))
        keys = [frozenset(zip(z, amounts, strict=True)) for z in elements.tolist()]
        number = {key: i for i, key in enumerate(dict.fromkeys(keys))}
        composition = np.array([number[key] for key in keys])
        prototype = arrays["prototype"][rows]
        # a composition asks for its most stable crystal
        order = np.lexsort((hull[rows], composition))
        first = order[np.unique(composition[order], return_index=True)[1]]
        queries = [
            q
            for q in first
            if ((prototype == prototype[q]) & (composition != composition[q])).any()
        ]
        if queries:
            groups.append(
                {
                    "queries": np.array(queries),
                    "elements": elements,
                    "composition": composition,
                    "prototype": prototype,
                    "ways": ways,
                    "shares": np.array(amounts) / sum(amounts),
                    "e_hull": arrays["e_hull"][rows],
                }
            )
    return groups


def _nca_loss(
    group: dict[str, Any],
    queries: np.ndarray,
    squared: Any,
    scalars: Any,
    family: np.ndarray,
    rng: np.random.Generator,
) -> Any:
    """Mean negative logarithm of the probability of the right prototype."""
    import torch

    elements, ways = group["elements"], group["ways"]
    weights = torch.tensor(group["shares"], dtype=torch.float32) ** scalars[0]
    asked = elements[queries][:, ways]  # query, way, slot
    numbers = torch.as_tensor(elements)
    total = torch.zeros(len(queries), len(ways), len(elements))
    for slot in range(elements.shape[1]):
        pairs = squared[torch.as_tensor(asked[:, :, slot])][:, :, numbers[:, slot]]
        total = total + weights[slot] * pairs
    energy = torch.as_tensor(group["e_hull"].copy())
    known = energy.nan_to_num().clamp(0, 0.5) * scalars[1]
    energy = torch.where(torch.isnan(energy), scalars[2], known)
    logits = -total.amin(dim=1) - energy
    hidden = group["composition"][queries][:, None] == group["composition"][None]
    same = group["prototype"][queries][:, None] == group["prototype"][None]
    # half of the questions are asked without chemical siblings
    kin = (
        np.sort(family[elements[queries]], axis=1)[:, None] == np.sort(family[elements], axis=1)
    ).all(axis=2)
    hidden |= kin & (rng.random(len(queries)) < 0.5)[:, None]
    mask = torch.as_tensor(hidden)
    answered = torch.as_tensor((same & ~hidden).any(axis=1))
    if not answered.any():
        return None
    logits = logits.masked_fill(mask, -torch.inf)[answered]
    right = logits.masked_fill(~torch.as_tensor(same)[answered], -torch.inf)
    return (logits.logsumexp(dim=1) - right.logsumexp(dim=1)).mean()


def save_library(library: PrototypeLibrary, path: Path) -> None:
    """Write a library file in one piece.

    Parameters
    ----------
    library : PrototypeLibrary
        What to write.
    path : Path
        File to write or replace.
    """
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **library.arrays)  # type: ignore[arg-type]


def held_out_ids(home: Path) -> set[str]:
    """Collect identifiers of crystals that are kept for evaluation.

    Parameters
    ----------
    home : Path
        Folder with the sub-folder ``structures``.

    Returns
    -------
    identifiers : set of str
        Those of :data:`HELD_OUT`.
    """
    return {
        row["id"]
        for path, split in HELD_OUT
        for row in read_rows(home / path)
        if row["split"] == split
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Write the library of the package from the files of :data:`LIBRARY_SOURCES`.

    Parameters
    ----------
    argv : sequence of str or None, default=None
        Arguments; None takes those of the process.

    Returns
    -------
    code : int
        0.
    """
    from tqdm import tqdm

    parser = argparse.ArgumentParser(
        prog="python -m making.prototypes", description="Write a prototype library."
    )
    parser.add_argument("--data-dir", type=Path, default=data_home(), metavar="DIR")
    parser.add_argument("--output", required=True, type=Path, metavar="FILE")
    parser.add_argument("--random-state", type=int, default=0, metavar="SEED")
    args = parser.parse_args(argv)
    if args.data_dir is None:
        parser.error("set SKLEARN_KT_DATA or pass --data-dir")
    home = args.data_dir
    held_out = held_out_ids(home)

    def crystals() -> Iterator[Entry]:
        for path, splits, e_hull in LIBRARY_SOURCES:
            rows = (
                row
                for row in read_rows(home / path)
                if row["id"] not in held_out and (not splits or row["split"] in splits)
            )
            yield from tqdm(crystals_of(rows, e_hull), desc=path, file=sys.stderr)

    library = build_library(crystals(), random_state=args.random_state, verbose=1)
    save_library(library, args.output)
    size = args.output.stat().st_size / 1e6
    print(f"{len(library)} crystals, {len(library.labels)} prototypes, {size:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
