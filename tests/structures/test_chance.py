"""Random crystals, and the last resort of an ensemble."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from sklearn_kt.cli import main
from sklearn_kt.exceptions import CheckpointError
from sklearn_kt.structures import EnsembleGenerator, PrototypeGenerator, RandomGenerator
from sklearn_kt.structures import chance as chance_module
from sklearn_kt.structures.chance import volume_per_atom
from sklearn_kt.structures.symmetry import analyse, group_of_hall, setting

# the library has no crystal of this anonymous formula
STRANGE = "Na13Cl7F23"
QUICK = RandomGenerator(n_samples=2, rank_by="order")


def test_crystals_of_the_composition() -> None:
    found = QUICK.generate(["NaCl", "BaTiO3"])
    for candidates, formula, volume in zip(found, ("NaCl", "BaTiO3"), (22.4, 12.8), strict=True):
        assert len(candidates) == 2
        for candidate in candidates:
            assert candidate.formula == formula
            assert candidate.is_sound()
            structure = candidate.structure
            assert structure.volume / len(structure) == pytest.approx(volume, rel=0.2)
            found_group = analyse(candidate)
            assert found_group is not None
            # a draw may come out more symmetric than it was asked to
            operations = len(setting(found_group.hall)[0])
            asked = candidate.provenance["space_group"]
            assert operations > 2 or group_of_hall(found_group.hall)[1] == asked


def test_rows_do_not_depend_on_others() -> None:
    alone = QUICK.generate(["BaTiO3"])[0]
    beside = QUICK.generate(["NaCl", "BaTiO3"])[1]
    assert_array_equal(alone[0].coords, beside[0].coords)
    other = RandomGenerator(n_samples=2, rank_by="order", random_state=1).generate(["BaTiO3"])[0]
    assert alone[0].provenance != other[0].provenance or not np.array_equal(
        alone[0].coords, other[0].coords
    )


def test_ranked_by_energy() -> None:
    [found] = RandomGenerator(n_samples=3).generate(["MgO"])
    energies = [candidate.provenance["energy"] for candidate in found]
    assert energies == sorted(energies)


def test_unknown_elements_have_none() -> None:
    assert QUICK.generate(["Og2O"]) == [[]]
    assert volume_per_atom({29: 1}) == pytest.approx(12, rel=0.2)


def test_groups_without_room(monkeypatch: pytest.MonkeyPatch) -> None:
    # Ia-3d has no position for one atom of each of two elements
    monkeypatch.setattr(chance_module, "_group_shares", lambda: (np.array([230]), np.array([1.0])))
    assert RandomGenerator(n_samples=1, max_cell_atoms=2).generate(["NaCl"]) == [[]]


def test_last_resort() -> None:
    members = [PrototypeGenerator()]
    assert EnsembleGenerator(members).generate([STRANGE]) == [[]]
    ensemble = EnsembleGenerator(members, last_resort=QUICK)
    strange, salt = ensemble.generate([STRANGE, "NaCl"], n_candidates=1)
    assert strange[0].provenance["generator"] == "RandomGenerator"
    assert salt[0].provenance["generator"] == "PrototypeGenerator"


def test_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyxtal", None)
    with pytest.raises(CheckpointError, match=r"sklearn_kt\[structures-random\]"):
        QUICK.generate(["NaCl"])


@pytest.mark.slow
def test_command(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    arguments = ["--generator", "random", "--n", "1", "--output-dir", str(tmp_path)]
    assert main(["structures", "NaCl", *arguments]) == 0
    assert "NaCl: 1 candidates" in capsys.readouterr().out
    assert len([*tmp_path.glob("*.cif")]) == 1
