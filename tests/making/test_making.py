"""The scripts that made the data in the package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from _crystals import SALTS, as_row, rocksalt
from numpy.testing import assert_allclose, assert_array_equal
from pymatgen.core import Composition, Lattice, Structure

from making.crystallm import held_out_compositions, training_texts
from making.energies import main as complete_energies
from making.energies import with_energies
from making.prototypes import (
    LIBRARY_SOURCES,
    build_library,
    crystals_of,
    held_out_ids,
    polymorphs,
    save_library,
)
from making.prototypes import main as make_prototypes
from sklearn_kt import pretraining
from sklearn_kt.exceptions import DatasetError, InputError
from sklearn_kt.structures import load_library
from sklearn_kt.structures.reading import read_rows


def test_sources_are_those_of_pretraining() -> None:
    allowed = {source.path for source in pretraining.SOURCES}
    assert {path for path, _, _ in LIBRARY_SOURCES} <= allowed


def test_held_out_crystals_are_not_in_it(data_dir: Path) -> None:
    library = load_library()
    held_out = held_out_ids(data_dir)
    assert len(held_out) > 10_000
    sources = {library.source(row) for row in range(len(library))}
    assert not sources & held_out


def test_duplicates_are_kept_once() -> None:
    rows = [as_row(SALTS[0], "a-1"), as_row(SALTS[0], "a-2"), as_row(SALTS[1], "a-3")]
    assert len(build_library(crystals_of(rows))) == 2


def polymorph_rows(*energies: float | None) -> list[dict[str, Any]]:
    """Potassium chloride in two structures, and sodium chloride in one."""
    dense = Structure(Lattice.cubic(3.8), ["K", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    crystals = enumerate(zip((dense, SALTS[1], SALTS[0]), energies, strict=True))
    return [as_row(crystal, f"a-{i}") | {"e": energy} for i, (crystal, energy) in crystals]


def test_stated_energies_are_above_the_lowest() -> None:
    library = build_library(crystals_of(polymorph_rows(0.3, -0.1, 0.2), "e"))
    # a stable crystal's negative distance from decomposition is no energy above the hull
    assert_allclose(library.arrays["e_polymorph"], [0.3, 0, 0])


def test_missing_energies_are_computed(tmp_path: Path) -> None:
    library = build_library(crystals_of(polymorph_rows(0.3, None, 0.2), "e"))
    assert_array_equal(np.isnan(library.arrays["e_polymorph"]), [True, True, False])
    stated, computed = tmp_path / "stated.npz", tmp_path / "computed.jsonl"
    save_library(library, stated)
    out = tmp_path / "out.npz"
    command = [str(stated), "--computed", str(computed), "--output", str(out)]
    assert complete_energies(command) == 0
    energies = load_library(out).arrays["e_polymorph"]
    assert_array_equal(energies[1:], 0)
    assert 0.02 < energies[0] < 0.5
    # a run goes on from what is there, and does not believe lines of another library
    lines = [[0, "a-0", -2.0], [1, "other-1", -9.0]]
    computed.write_text("".join(json.dumps(line) + "\n" for line in lines))
    again = tmp_path / "again.npz"
    assert complete_energies([*command[:-1], str(again)]) == 0
    assert 1 < load_library(again).arrays["e_polymorph"][0] < 2
    assert len(computed.read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("hull", "computed", "expected"),
    [
        # what sources tell stays, and what is missing is put on the zero of the lowest of them
        ([0.1, None, 0.05, 0.2], [-2.0, -2.2, -2.05, -1.9], [0.2, 0.0, 0.15, 0.3]),
        # what its source has on the hull is the lowest
        ([-0.3, None, 0.2], [-2.0, -2.2, -1.9], [0.0, 1e-4, 0.2]),
        ([0.0, None, None], [-2.0, -1.8, np.nan], [0.0, 0.2, np.nan]),
        ([None, None, 0.0], [-2.0, -2.2, np.nan], [0.2, 0.0, np.nan]),
        ([None, None], [np.nan, np.nan], [np.nan, np.nan]),
        ([None, None], [-1.0, -1.5], [0.5, 0.0]),
    ],
)
def test_energies_are_completed(
    hull: list[float | None], computed: list[float], expected: list[float]
) -> None:
    cells = [rocksalt("K", "Cl", a) for a in (5.0, 6.0, 7.0, 8.0)][: len(hull)]
    rows = [
        as_row(cell, f"a-{i}") | {"e": e}
        for i, (cell, e) in enumerate(zip(cells, hull, strict=True))
    ]
    library = build_library(crystals_of(rows, "e"))
    found = with_energies(library, dict(enumerate(computed))).arrays["e_polymorph"]
    assert_allclose(found, expected, atol=1e-6)


def test_shipped_library_is_complete() -> None:
    arrays = load_library().arrays
    energies = arrays["e_polymorph"]
    unknown = np.isnan(energies)
    assert unknown.mean() < 0.001
    for rows in polymorphs(arrays):
        assert unknown[rows].all() or np.nanmin(energies[rows]) == 0


def test_nothing_to_build_of() -> None:
    overlapping = as_row(SALTS[6], "a-1") | {"coords": [[0, 0, 0], [0, 0, 0]]}
    with pytest.raises(InputError, match="no crystal"):
        build_library(crystals_of([overlapping]))


def test_build_command(data_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="is missing"):
        make_prototypes(["--data-dir", str(tmp_path), "--output", str(tmp_path / "x.npz")])
    row = next(read_rows(data_dir / "structures/oqmd_icsd_32k.jsonl.gz"))
    assert {"id", "lattice", "species", "coords", "stability"} <= set(row)


def test_training_texts_leave_out_what_is_for_evaluation(data_dir: Path) -> None:
    held_out = held_out_compositions(data_dir)
    for text, _ in zip(training_texts(data_dir), range(100), strict=False):
        formula = Composition(text[5 : text.index("\n")]).reduced_composition
        assert frozenset((e.Z, int(n)) for e, n in formula.items()) not in held_out
    assert len(held_out) > 20_000
