"""CHGNet: features, energies, relaxation, and pooling over candidates."""

from __future__ import annotations

import pickle
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from pymatgen.core import Lattice, Structure
from sklearn.base import clone

from sklearn_kt.exceptions import CheckpointError, InputError
from sklearn_kt.structures import Candidate, PrototypeGenerator, StructureEmbedder
from sklearn_kt.structures import embedder as embedder_module
from sklearn_kt.structures.chgnet import (
    chgnet_outputs,
    load_chgnet,
    rank_by_energy,
    relax_candidate,
)


def cscl(a: float, first: str = "Cs", second: str = "Cl") -> Structure:
    return Structure(Lattice.cubic(a), [first, second], [[0, 0, 0], [0.5, 0.5, 0.5]])


@pytest.fixture(autouse=True)
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedder_module, "_memory", type(embedder_module._memory)())


class TestCHGNet:
    def test_features_and_energies(self) -> None:
        features, energies = chgnet_outputs([cscl(4.1), cscl(5.0)])
        assert features.shape == (2, 194)
        assert np.isfinite(features).all()
        assert energies[0] < energies[1]

    @pytest.mark.parametrize(
        "structure",
        [
            Structure(Lattice.cubic(20), ["Na"], [[0, 0, 0]]),
            cscl(4, "Am", "O"),
            cscl(4, "Ra", "O"),
        ],
        ids=["isolated", "beyond plutonium", "not in its training"],
    )
    def test_what_it_cannot_take_is_nan(self, structure: Structure) -> None:
        features, energies = chgnet_outputs([cscl(4.1), structure])
        assert np.isfinite(features[0]).all()
        assert np.isnan(features[1]).all()
        assert_array_equal(np.isnan(energies), [False, True])

    def test_single_atoms_and_noble_gases(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            helium = Candidate(3.5 * np.eye(3), np.array([2]), np.zeros((1, 3)))
            _, energies = chgnet_outputs([helium.structure])
        assert np.isfinite(energies).all()

    def test_ranking(self) -> None:
        candidates = [Candidate.from_structure(cscl(a), 0.3) for a in (5.5, 4.1, 4.8)]
        candidates.append(Candidate.from_structure(cscl(4, "Am", "O"), 0.3))
        ranked = rank_by_energy(candidates)
        assert [round(c.structure.lattice.a, 1) for c in ranked] == [4.1, 4.8, 5.5, 4.0]
        assert np.isnan(ranked[-1].provenance["energy"])
        assert [c.score for c in ranked] == [0.3] * 4
        # where energies hardly differ, the old scores decide
        close = [Candidate.from_structure(cscl(a), s) for a, s in ((4.10, 0.1), (4.12, 0.9))]
        assert rank_by_energy(close, scale=0.1)[0].structure.lattice.a == pytest.approx(4.12)

    def test_relaxation_lowers_the_energy(self) -> None:
        start = Candidate.from_structure(cscl(4.6), 0.5, generator="test")
        relaxed = relax_candidate(start, 5)
        assert relaxed is not None
        assert relaxed.provenance == {"generator": "test", "relaxed": 5}
        before, after = chgnet_outputs([start.structure, relaxed.structure])[1]
        assert after < before
        assert relax_candidate(Candidate.from_structure(cscl(20)), 5) is None

    def test_generator_relaxes_and_ranks(self, capsys: pytest.CaptureFixture) -> None:
        generator = PrototypeGenerator(rank_by="both", relax=2, pool=2)
        [candidates] = generator.generate(["CsCl"], 2)
        assert candidates[0].provenance["relaxed"] == 2
        assert all(0 <= candidate.score <= 1 for candidate in candidates)
        assert capsys.readouterr().out == ""

    def test_package_that_is_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        load_chgnet.cache_clear()
        monkeypatch.setitem(sys.modules, "chgnet.model", None)
        with pytest.raises(CheckpointError, match=r"pip install 'sklearn_kt\[structures\]'"):
            StructureEmbedder().transform([cscl(4.1)])
        monkeypatch.undo()
        load_chgnet.cache_clear()


class TestEmbedder:
    def test_rows_of_all_kinds(self) -> None:
        candidate = Candidate.from_structure(cscl(4.1))
        X = [cscl(4.1), candidate, [candidate], None, [], float("nan"), cscl(20)]
        out = StructureEmbedder().transform(X)
        assert out.shape == (7, 195)
        assert_array_equal(out[1], out[0])
        assert_array_equal(out[2], out[0])
        assert np.isnan(out[3:]).all()

    def test_pooling(self) -> None:
        row = [cscl(4.1), cscl(4.5)]
        singles = StructureEmbedder().transform(row)
        energies = singles[:, -1]
        mean = StructureEmbedder("mean", spread=True).transform([row])[0]
        assert_allclose(mean[:195], singles.mean(axis=0), rtol=1e-6)
        assert_allclose(mean[195:], singles.std(axis=0), rtol=1e-4, atol=1e-6)
        boltzmann = StructureEmbedder(temperature=0.05).transform([row])[0]
        weight = 1 / (1 + np.exp(-(energies[1] - energies[0]) / 0.05))
        assert weight > 0.6
        assert boltzmann[-1] == pytest.approx(weight * energies[0] + (1 - weight) * energies[1])
        assert_array_equal(StructureEmbedder("first").transform([row])[0], singles[0])
        # a crystal that cannot be taken does not spoil the row
        spoiled = StructureEmbedder("mean").transform([[cscl(4.1), cscl(20)]])[0]
        assert_array_equal(spoiled, singles[0])

    def test_rows_do_not_depend_on_others(self, monkeypatch: pytest.MonkeyPatch) -> None:
        X = [cscl(a) for a in (4.0, 4.1, 4.2)]
        together = StructureEmbedder().transform(X)
        embedder_module._memory.clear()
        assert_array_equal(StructureEmbedder().transform(X[::-1])[::-1], together)

    def test_cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        embedder = StructureEmbedder(cache_dir=tmp_path)
        first = embedder.transform([cscl(4.1), cscl(20)])
        embedder_module._memory.clear()
        with monkeypatch.context() as patch:
            patch.setattr(embedder_module, "_features", None)
            assert_array_equal(embedder.transform([cscl(4.1), cscl(20)]), first)
            # and memory serves an embedder without a folder
            assert_array_equal(StructureEmbedder().transform([cscl(4.1)]), first[:1])

    def test_memory_is_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(embedder_module, "_REMEMBERED", 2)
        out = StructureEmbedder().transform([cscl(a) for a in (4.0, 4.1, 4.2)])
        assert np.isfinite(out).all()
        assert len(embedder_module._memory) == 2

    def test_estimator_contract(self) -> None:
        embedder = StructureEmbedder("mean", spread=True)
        names = embedder.get_feature_names_out()
        assert len(names) == len(set(names)) == 390
        copied = pickle.loads(pickle.dumps(clone(embedder).fit([None])))
        assert copied.fit_transform([cscl(4.1)]).shape == (1, 390)

    @pytest.mark.parametrize(
        ("X", "message"),
        [
            (["NaCl"], "row 0 holds a str"),
            ([None, 7], "row 1 holds a int"),
            (cscl(4.1), "must be a sequence"),
            ("NaCl", "must be a sequence"),
            ({cscl(4.1).formula}, "must be a sequence"),
            ({"a": cscl(4.1)}, "must be a sequence"),
            (pd.DataFrame({"a": [None]}), "must be a sequence"),
            (iter([None]), "must be a sequence"),
        ],
    )
    def test_bad_rows(self, X: Any, message: str) -> None:
        with pytest.raises(InputError, match=message):
            StructureEmbedder().transform(X)

    def test_disordered_crystal(self) -> None:
        structure = cscl(4.1)
        structure.replace_species({"Cs": {"Cs": 0.5, "Rb": 0.5}})
        with pytest.raises(InputError, match="partially occupied"):
            StructureEmbedder().transform([structure])

    def test_bad_parameters(self) -> None:
        with pytest.raises(ValueError, match="temperature"):
            StructureEmbedder(temperature=0).transform([None])
