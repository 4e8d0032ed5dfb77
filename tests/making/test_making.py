"""The scripts that made the data in the package."""

from __future__ import annotations

from pathlib import Path

import pytest
from _crystals import SALTS, as_row
from pymatgen.core import Composition

from making.crystallm import held_out_compositions, training_texts
from making.prototypes import LIBRARY_SOURCES, build_library, crystals_of, held_out_ids
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
