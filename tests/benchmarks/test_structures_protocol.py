"""The protocol by which generated crystals are compared with known ones."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from _crystals import as_row

from benchmarks.common import RESULTS, read_json
from benchmarks.site.tables import OTHER_GENERATORS, structures_text
from benchmarks.structures import Protocol, run_protocol
from sklearn_kt.structures import PrototypeGenerator, PrototypeLibrary, load_library
from sklearn_kt.structures.reading import read_structure
from sklearn_kt.structures.stoichiometry import Stoichiometry

# one of the library, and one that it does not know
KNOWN, NEW = "KBr", "Rb2InAgBr6"


@pytest.fixture(autouse=True)
def two_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.structures.N_CANDIDATES", 2)


@pytest.fixture(scope="module")
def library() -> PrototypeLibrary:
    return load_library()


@pytest.fixture(scope="module")
def tests() -> list[dict[str, Any]]:
    found = PrototypeGenerator().generate([KNOWN, NEW], 1)
    return [as_row(best.structure, f"test-{i}") for i, [best] in enumerate(found)]


def test_test_compositions_are_out_of_the_library(
    library: PrototypeLibrary, tests: list[dict[str, Any]]
) -> None:
    protocol = Protocol(library, tests)
    shipped, out = (protocol.score(tests[0], part) for part in ("shipped", "without_test"))
    assert shipped["known"]
    assert shipped["right"] == 1
    # the library's own crystal, to its last digits; without it that of a sibling
    assert shipped["volume_error"] < 1e-4 < out["volume_error"]
    assert out["right"] == 1
    assert not protocol.score(tests[1], "shipped")["known"]


def test_the_family_is_out_too(library: PrototypeLibrary, tests: list[dict[str, Any]]) -> None:
    protocol = Protocol(library, tests)
    near, far = (protocol.score(tests[0], part) for part in ("without_test", "without_family"))
    # other alkali halides are nearer in size than what else has this prototype
    assert far["rms_first"] != near["rms_first"] or far["volume_error"] > near["volume_error"]


def test_cells_of_other_sizes_do_not_count(
    library: PrototypeLibrary, tests: list[dict[str, Any]]
) -> None:
    structure = read_structure(tests[0])
    protocol = Protocol(library, tests)
    sizes = {
        len(protocol.library.cell(row)[1])
        for row in protocol.allowed(structure, Stoichiometry({19: 1, 35: 1}), "shipped")[:20]
    }
    assert sizes == {2}
    five = structure * (5, 1, 1)
    assert protocol.score(as_row(five, "x"), "shipped")["right"] == 0


def test_a_user_tells_the_formula_alone(
    library: PrototypeLibrary, tests: list[dict[str, Any]]
) -> None:
    protocol = Protocol(library, tests)
    for row in tests:
        found = protocol.score(row, "as_called")
        assert found["right"] == 1
        assert found["volume_error"] < 1e-4
    # the cell is not told: a larger one is the same crystal
    five = protocol.score(as_row(read_structure(tests[0]) * (5, 1, 1), "x"), "as_called")
    assert five["right"] == 1
    assert five["volume_error"] < 1e-4


def test_a_run_goes_on_where_it_was(
    library: PrototypeLibrary,
    tests: list[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run(n: int | None) -> dict[str, Any]:
        args = argparse.Namespace(n=n, n_energy=0, output=tmp_path / "structures.json")
        return run_protocol(library, tests, "mp20", args)

    part = run(1)
    assert (part["structures"], part["without_test"]["n"]) == (2, 1)
    whole = run(None)
    assert whole["shipped"]["n"] == 2
    assert whole["shipped"]["known_compositions"] == 1
    # all is scored by now
    monkeypatch.setattr(Protocol, "score", None)
    assert run(None) == whole


def test_page_says_of_how_many_structures() -> None:
    content = read_json("structures", RESULTS)
    assert content is not None
    text = structures_text(content)
    for part in content["results"].values():
        assert f"{part['without_test']['n']:,} of {part['structures']:,}" in text


def test_published_numbers_have_sources() -> None:
    published = pd.read_csv(OTHER_GENERATORS)
    assert published["source"].str.startswith("https://").all()
    assert not published.duplicated(["set", "model", "candidates"]).any()
    content = read_json("structures", RESULTS)
    assert content is not None
    row = "| MP-20, DiffCSP | 51.49 % | 0.0631 | 77.93 % | 0.0492 | <https://arxiv.org/abs/2309.04475>"
    assert row in structures_text(content)
