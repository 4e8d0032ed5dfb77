"""Generators of structures: candidates, library, containers, caches, faults."""

from __future__ import annotations

import argparse
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from _crystals import SALTS, as_row, rocksalt
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Composition, Lattice, Structure
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from making.prototypes import Entry, build_library, crystals_of, save_library
from sklearn_kt.cli import main
from sklearn_kt.cli.structures import GENERATORS
from sklearn_kt.compositions import ELEMENTS, read_compositions
from sklearn_kt.exceptions import (
    CheckpointError,
    CompositionError,
    CompositionWarning,
    DatasetError,
    InputError,
)
from sklearn_kt.structures import (
    BaseStructureGenerator,
    Candidate,
    EnsembleGenerator,
    PrototypeGenerator,
    PrototypeLibrary,
    StructureLookup,
    load_library,
)
from sklearn_kt.structures.stoichiometry import (
    Stoichiometry,
    integer_formula,
    integer_formulas,
    near_formulas,
)
from sklearn_kt.structures.symmetry import analyse


@pytest.fixture(scope="module")
def small_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [as_row(s, f"made-{i}") for i, s in enumerate(SALTS)]
    library = build_library(crystals_of(rows, "e"))
    path = tmp_path_factory.mktemp("library") / "small.npz"
    save_library(library, path)
    return path


class TestLibrary:
    def test_shipped_library_gives_its_crystals_back(self) -> None:
        library = load_library()
        rows = np.random.default_rng(0).choice(len(library), 60, replace=False)
        for row in rows.tolist():
            lattice, numbers, coords = library.cell(row)
            candidate = Candidate(lattice, numbers, coords)
            assert candidate.formula == library.formula(row)
            again = analyse(candidate)
            assert again is not None
            assert again.label == library.labels[library.arrays["prototype"][row]]
            assert again.volume == pytest.approx(float(library.arrays["volume"][row]), rel=1e-3)

    @pytest.mark.parametrize(
        ("group", "lattice", "second"),
        [
            ("P1", Lattice.from_parameters(5, 6, 7, 80, 95, 103), [0.4, 0.45, 0.53]),
            ("C2/c", Lattice.monoclinic(7, 8, 9, 100), [0.2, 0.3, 0.4]),
            ("Immm", Lattice.orthorhombic(6, 8, 10), [0.3, 0, 0]),
            ("Fddd", Lattice.orthorhombic(6, 8, 10), [0.125, 0.125, 0.4]),
            ("Amm2", Lattice.orthorhombic(6, 8, 10), [0.5, 0.3, 0.6]),
            ("R-3m", Lattice.hexagonal(4, 14), [0, 0, 0.23]),
            ("Ia-3d", Lattice.cubic(12), [0.125, 0, 0.25]),
            ("P6_3/mmc", Lattice.hexagonal(4, 9), [1 / 3, 2 / 3, 0.6]),
        ],
    )
    def test_every_centring_comes_back(self, group: str, lattice: Lattice, second: list) -> None:
        structure = Structure.from_spacegroup(
            group, lattice, ["Na", "Cl"], [[0, 0, 0], second]
        ).get_primitive_structure()
        crystal = analyse(Candidate.from_structure(structure))
        assert crystal is not None
        library = build_library([Entry(crystal, "x-1", float("nan"))])
        rebuilt = Candidate(*library.cell(0)).structure
        assert len(rebuilt) == len(structure)
        assert StructureMatcher(scale=False, primitive_cell=False).fit(structure, rebuilt)

    def test_damaged_file(self, tmp_path: Path, small_library: Path) -> None:
        path = tmp_path / "damaged.npz"
        path.write_bytes(small_library.read_bytes()[:2000])
        with pytest.raises(CheckpointError, match="cannot be read"):
            PrototypeGenerator(path).generate(["NaCl"])
        with pytest.raises(CheckpointError, match="cannot be read"):
            load_library(tmp_path / "missing.npz")

    def test_libraries_that_grow_are_refused(self, tmp_path: Path) -> None:
        # 80 kB that would be 80 MB
        np.savez_compressed(tmp_path / "bomb.npz", version=np.zeros(80_000_000, np.uint8))
        with pytest.raises(CheckpointError, match=r"cannot be read .*would unpack to 80,0"):
            load_library(tmp_path / "bomb.npz")

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({"version": np.array(99)}, "format version is 99"),
            ({"lattice": None}, "'lattice' is missing"),
            ({"volume": np.zeros((2, 2))}, "has 2 dimensions"),
        ],
    )
    def test_wrong_file(
        self, tmp_path: Path, small_library: Path, change: dict, reason: str
    ) -> None:
        with np.load(small_library) as file:
            arrays = {**dict(file), **change}
        path = tmp_path / "wrong.npz"
        np.savez(path, **{k: v for k, v in arrays.items() if v is not None})
        with pytest.raises(CheckpointError, match=reason):
            load_library(path)


class TestPrototypeGenerator:
    def test_known_composition_comes_back_as_itself(self, small_library: Path) -> None:
        [candidates] = PrototypeGenerator(small_library).generate(["KBr"])
        best = candidates[0]
        assert StructureMatcher(scale=False).fit(best.structure, SALTS[2])
        assert best.score == 1
        assert best.provenance["template"] == "KBr"

    def test_known_crystals_come_in_the_order_of_energy(self, tmp_path: Path) -> None:
        cells = [rocksalt("K", "Cl", a) for a in (6.36, 7.0, 5.8)]
        cells.append(Structure(Lattice.cubic(3.8), ["K", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]))
        rows = [as_row(cell, f"a-{i}") for i, cell in enumerate(cells)]
        library = build_library(crystals_of(rows))
        energies = np.array([0.2, np.nan, 0.3, 0.1], np.float32)
        library = PrototypeLibrary({**library.arrays, "e_polymorph": energies})
        save_library(library, tmp_path / "x.npz")
        [candidates] = PrototypeGenerator(tmp_path / "x.npz").generate(["KCl"])
        # crystals of one prototype are one candidate, the lowest of them
        assert [c.provenance["source"] for c in candidates] == ["a-3", "a-0"]
        assert [c.provenance["e_polymorph"] for c in candidates] == [0.1, 0.2]
        assert [c.score for c in candidates] == [1, 1]

    @pytest.mark.parametrize(
        ("formula", "groups"),
        [
            ("MgO", {225}),
            ("CaO", {225}),
            ("PbTe", {225}),
            ("PbS", {225}),
            ("Mg2Si", {225}),
            ("GaN", {186}),
            ("AlN", {186}),
            ("Si", {227}),
            ("W", {229}),
            ("BaTiO3", {38, 99, 160}),
        ],
    )
    def test_stable_polymorph_comes_first(self, formula: str, groups: set[int]) -> None:
        [[best]] = PrototypeGenerator().generate([formula], 1)
        assert int(best.provenance["prototype"].partition(":")[0]) in groups
        assert best.provenance["e_polymorph"] == 0

    def test_score_falls_with_the_distance(self) -> None:
        formulas = ["KBr", "Rb2InAgBr6", "NeO3", "HeO"]
        found = PrototypeGenerator(max_distance=100).generate(formulas, 1)
        best = [candidate for [candidate] in found]
        distances = [candidate.provenance["distance"] for candidate in best]
        assert distances == sorted(distances)
        assert best[0].score == 1
        assert best[1].score > 0.5
        assert best[2].score < 0.5
        assert best[3].score < 0.01
        assert [candidate.provenance["known"] for candidate in best] == [True, False, False, False]
        near = PrototypeGenerator(max_distance=1).generate(formulas, 1)
        assert [bool(row) for row in near] == [True, True, False, False]

    @pytest.mark.parametrize("formula", ["HeO", "BXe2", "NeO3"])
    def test_far_prototype_is_refused(self, formula: str) -> None:
        assert not PrototypeGenerator().generate([formula])[0]
        [[found]] = PrototypeGenerator(max_distance=100).generate([formula], 1)
        assert found.score < 0.1

    def test_sibling_gives_prototype_and_volume(self, small_library: Path) -> None:
        rows = [as_row(s, f"made-{i}") for i, s in enumerate(SALTS) if i != 2]
        path = small_library.with_name("without.npz")
        save_library(build_library(crystals_of(rows, "e")), path)
        [candidates] = PrototypeGenerator(path).generate(["KBr"])
        assert StructureMatcher().fit(candidates[0].structure, SALTS[2])
        assert candidates[0].structure.volume * 4 == pytest.approx(SALTS[2].volume, rel=0.2)
        assert [c.score for c in candidates] == sorted((c.score for c in candidates), reverse=True)

    def test_shipped_library_on_textbook_compounds(self) -> None:
        formulas = [
            "NaCl",
            "CsCl",
            "ZnS",
            "CaF2",
            "SrTiO3",
            "MgAl2O4",
            "Cs2NaBiCl6",
            "Cu",
            "LiFePO4",
        ]
        found = PrototypeGenerator().generate(formulas, 3)
        for formula, candidates in zip(formulas, found, strict=True):
            assert 1 <= len(candidates) <= 3
            for candidate in candidates:
                assert candidate.formula == Composition(formula).reduced_formula
                assert candidate.is_sound()
        assert found[0][0].provenance["prototype"] == "225:1(4m-3m),1(4m-3m)"

    def test_lead_free_perovskite_that_is_not_in_the_library(self) -> None:
        [candidates] = PrototypeGenerator(n_candidates=10).generate(["RbYbF3"])
        assert any(c.provenance["prototype"].startswith("221:") for c in candidates)

    @pytest.mark.parametrize("formula", ["Og2O", "Na37Cl12Xe5"])
    def test_no_template(self, formula: str) -> None:
        assert PrototypeGenerator().generate([formula]) == [[]]

    def test_equal_amounts_of_many_elements(self, small_library: Path) -> None:
        species = ["Li", "Na", "K", "Rb", "Cs", "F"]
        coords = [[i / 6 + 0.01 * i, 0.1 * i, 0.05 * i] for i in range(6)]
        structure = Structure(Lattice.cubic(9), species, coords)
        path = small_library.with_name("six.npz")
        save_library(build_library(crystals_of([as_row(structure, "a-1")], "e")), path)
        [candidates] = PrototypeGenerator(path).generate([structure.formula])
        assert StructureMatcher(scale=False).fit(candidates[0].structure, structure)

    def test_fractional_formula_reports_its_error(self) -> None:
        with pytest.warns(CompositionWarning, match="1 of 2 compositions are not integer"):
            near, exact = PrototypeGenerator().generate(["Ba0.98La0.02TiO3", "BaTiO3"])
        assert near[0].formula == "BaTiO3"
        assert near[0].provenance["composition_error"] == pytest.approx(0.004)
        assert "composition_error" not in exact[0].provenance
        assert PrototypeGenerator(max_error=0.001).generate(["Ba0.98La0.02TiO3"]) == [[]]

    def test_exact_fractions_need_no_warning(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            [candidates] = PrototypeGenerator().generate(["Ba0.5Sr0.5TiO3"])
        assert candidates[0].formula == "SrBaTi2O6" or Composition(
            candidates[0].formula
        ) == Composition("BaSrTi2O6")

    def test_large_formula_is_approximated_or_left(self) -> None:
        with pytest.warns(CompositionWarning, match="max_atoms"):
            [candidates] = PrototypeGenerator(max_atoms=20).generate(["Sr50Ti50O149"])
        assert candidates[0].formula == "SrTiO3"
        assert candidates[0].provenance["composition_error"] < 0.01

    def test_containers_order_and_repeats(self, small_library: Path) -> None:
        generator = PrototypeGenerator(small_library)
        formulas = ["RbCl", "SrTiO3", "RbCl", "Rb2Cl2"]
        expected = [[c.formula for c in row] for row in generator.generate(formulas)]
        assert expected[0] == expected[2] == expected[3]
        for container in (
            pd.Series(formulas),
            pd.DataFrame({"formula": formulas}),
            np.array(formulas),
            [Composition(f) for f in formulas],
        ):
            assert [[c.formula for c in row] for row in generator.generate(container)] == expected

    def test_rows_that_are_not_compositions(self) -> None:
        with pytest.raises(CompositionError, match="xyz"):
            PrototypeGenerator().generate(["NaCl", "xyz"])
        with pytest.warns(CompositionWarning, match="not a composition"):
            found = PrototypeGenerator(errors="nan").generate(["NaCl", "xyz"])
        assert found[0]
        assert found[1] == []

    def test_transformer(self, small_library: Path) -> None:
        generator = PrototypeGenerator(small_library, n_candidates=2)
        pipeline = make_pipeline(generator, FunctionTransformer())
        out = pipeline.fit_transform(["KBr", "NaCl"])
        assert out.shape == (2,)
        assert out[0][0].formula == "KBr"
        copied = pickle.loads(pickle.dumps(clone(generator).fit(["KBr"])))
        assert copied.transform(["KBr"])[0][0].formula == "KBr"

    @pytest.mark.parametrize(
        "bad", [{"n_candidates": 0}, {"rank_by": "luck"}, {"relax": -1}, {"max_error": 1.5}]
    )
    def test_bad_parameters(self, bad: dict) -> None:
        with pytest.raises(ValueError, match=next(iter(bad))):
            PrototypeGenerator(**bad).generate(["NaCl"])
        with pytest.raises(InputError, match="at least 1"):
            PrototypeGenerator().generate(["NaCl"], 0)


class TestLookup:
    def test_folder(self, tmp_path: Path) -> None:
        (tmp_path / "sub").mkdir()
        SALTS[0].to(str(tmp_path / "one.cif"))
        SALTS[4].to(str(tmp_path / "sub" / "two.CIF"), fmt="cif")
        lookup = StructureLookup(tmp_path)
        salt, titanate, nothing = lookup.generate(["NaCl", "SrTiO3", "KCl"])
        assert salt[0].formula == "NaCl"
        assert salt[0].provenance["source"] == "one.cif"
        assert titanate[0].formula == "SrTiO3"
        assert nothing == []

    @pytest.mark.parametrize("suffix", ["csv", "json", "parquet", "frame"])
    def test_table_with_energies(self, tmp_path: Path, suffix: str) -> None:
        short = rocksalt("Na", "Cl", 5.0)
        frame = pd.DataFrame(
            {"cif": [short.to(fmt="cif"), SALTS[0].to(fmt="cif")], "energy": [0.3, 0.1]}
        )
        source: Any = tmp_path / f"table.{suffix}"
        if suffix == "frame":
            source = frame
        elif suffix == "csv":
            frame.to_csv(source, index=False)
        else:
            getattr(frame, f"to_{suffix}")(source)
        [candidates] = StructureLookup(source).generate(["NaCl"])
        assert_allclose([c.provenance["energy"] for c in candidates], [0.1, 0.3])
        assert candidates[0].structure.volume == pytest.approx(SALTS[0].volume, rel=1e-3)

    def test_structure_dictionaries(self) -> None:
        frame = pd.DataFrame({"structure": [SALTS[0].as_dict(), SALTS[1].to_json()]})
        assert all(StructureLookup(frame).generate(["NaCl", "KCl"]))

    def test_bad_files_are_named(self, tmp_path: Path) -> None:
        SALTS[0].to(str(tmp_path / "good.cif"))
        (tmp_path / "bad.cif").write_text("data_x\n_cell_length_a huge\n")
        disordered = SALTS[0].copy()
        disordered.replace_species({"Na": {"Na": 0.5, "K": 0.5}})
        disordered.to(str(tmp_path / "disordered.cif"))
        with pytest.raises(InputError, match=r"2 of 3 crystals cannot be used: bad\.cif"):
            StructureLookup(tmp_path).generate(["NaCl"])
        with pytest.warns(CompositionWarning, match=r"disordered\.cif \(.*partially occupied"):
            found = StructureLookup(tmp_path, skip_bad=True).generate(["NaCl"])
        assert len(found[0]) == 1

    def test_overlapping_atoms(self) -> None:
        flat = Structure(Lattice.cubic(4), ["Na", "Cl"], [[0, 0, 0], [0.001, 0, 0]])
        with pytest.raises(InputError, match="overlap"):
            StructureLookup([flat]).generate(["NaCl"])

    @pytest.mark.parametrize(
        ("source", "message"),
        [
            ("no/such/folder", "neither a folder nor a file"),
            (pd.DataFrame({"x": [1]}), "needs a column 'structure' or 'cif'"),
            (["NaCl"], "structure 0 is a str"),
            (7, "must be a folder, a table or a sequence"),
        ],
    )
    def test_bad_sources(self, source: Any, message: str) -> None:
        with pytest.raises(InputError, match=message):
            StructureLookup(source).generate(["NaCl"])

    def test_empty_folder(self, tmp_path: Path) -> None:
        with pytest.raises(DatasetError, match=r"no \.cif files"):
            StructureLookup(tmp_path).generate(["NaCl"])
        (tmp_path / "table.txt").write_text("x")
        with pytest.raises(DatasetError, match=r"\.parquet"):
            StructureLookup(tmp_path / "table.txt").generate(["NaCl"])


class Cubes:
    """All that a generator needs."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def generate(self, compositions: Any, n_candidates: int) -> list[list[Structure]]:
        self.asked.append(compositions.formulas())
        out = []
        for formula in self.asked[-1]:
            symbols = [
                element for element, n in Composition(formula).items() for _ in range(int(n))
            ]
            coords = [[i / len(symbols)] * 3 for i in range(len(symbols))]
            out.append([Structure(Lattice.cubic(9), symbols, coords)])
        return out


class TestEnsemble:
    def test_known_first_then_generated(self, small_library: Path) -> None:
        odd = rocksalt("K", "Br", 6.1)
        ensemble = EnsembleGenerator(
            [StructureLookup([odd]), PrototypeGenerator(small_library, max_distance=100)]
        )
        [candidates] = ensemble.generate(["KBr"], 3)
        assert candidates[0].provenance["generator"] == "StructureLookup"
        labels = [c.provenance["generator"] for c in candidates]
        assert labels.count("PrototypeGenerator") >= 1
        # the generated rock salt is the known one again
        matcher = StructureMatcher()
        assert not any(matcher.fit(c.structure, odd) for c in candidates[1:])

    def test_what_no_member_can(self, small_library: Path) -> None:
        ensemble = EnsembleGenerator([PrototypeGenerator(small_library)])
        assert ensemble.generate(["Fe2O3"]) == [[]]

    def test_anything_that_generates(self) -> None:
        cubes = Cubes()
        ensemble = EnsembleGenerator([cubes, StructureLookup(SALTS)], errors="nan")
        with pytest.warns(CompositionWarning, match="not a composition"):
            found = ensemble.generate(["NaCl", "Na2Cl2", "?", "CsPbI3"], 2)
        assert [len(candidates) for candidates in found] == [2, 2, 0, 1]
        assert "generator" not in found[0][0].provenance
        assert found[0][1].provenance["generator"] == "StructureLookup"
        # of a composition written twice once
        assert cubes.asked == [["NaCl", "CsPbI3"]]
        fallback = EnsembleGenerator([StructureLookup(SALTS)], last_resort=cubes)
        assert len(fallback.generate(["CsPbI3"])[0]) == 1
        assert clone(ensemble).generate(["CsPbI3"])[0][0].formula == "CsPbI3"

    def test_members_must_answer_for_each_row(self) -> None:
        class Silent:
            def generate(self, compositions: Any, n_candidates: int) -> list:
                return []

        with pytest.raises(InputError, match="0 lists of crystals for 1 compositions"):
            EnsembleGenerator([Silent()]).generate(["NaCl"])

    @pytest.mark.parametrize("generators", [[], ["prototypes"], [PrototypeGenerator]])
    def test_bad_members(self, generators: list) -> None:
        with pytest.raises(InputError, match="generator"):
            EnsembleGenerator(generators).generate(["NaCl"])


class TestCandidate:
    def test_round_trip(self) -> None:
        candidate = Candidate.from_structure(SALTS[4], 0.5, generator="test")
        again = Candidate.from_dict(candidate.to_dict())
        assert again.structure == candidate.structure
        assert again.provenance == {"generator": "test"}

    @pytest.mark.parametrize(
        "candidate",
        [
            Candidate(np.eye(3), np.array([], int), np.zeros((0, 3))),
            Candidate(4 * np.eye(3), np.array([1]), np.array([[0, np.nan, 0]])),
            Candidate(np.diag([4, 4, 0.1]), np.array([1]), np.zeros((1, 3))),
            Candidate(np.zeros((3, 3)), np.array([1]), np.zeros((1, 3))),
            Candidate(4 * np.eye(3), np.array([1, 1]), np.array([[0, 0, 0], [0, 0, 0.99]])),
        ],
    )
    def test_unsound(self, candidate: Candidate) -> None:
        assert not candidate.is_sound()

    def test_arrays_are_checked(self) -> None:
        lattice, numbers, coords = 4 * np.eye(3), [55, 17], [[0, 0, 0], [0.5, 0.5, 0.5]]
        assert Candidate(lattice, numbers, coords).structure.formula == "Cs1 Cl1"
        with pytest.raises(InputError, match=r"in this order; got \(2,\), \(3, 3\), \(2, 3\)"):
            Candidate(numbers, lattice, coords)
        for strange in (0, 119, 17.5):
            with pytest.raises(InputError, match=f"holds the number {strange}, which no element"):
                Candidate(lattice, [55, strange], coords)

    def test_every_generator_is_one(self) -> None:
        for cls in (PrototypeGenerator, EnsembleGenerator, StructureLookup):
            assert issubclass(cls, BaseStructureGenerator)


@given(st.dictionaries(st.integers(1, 94), st.integers(1, 12), min_size=1, max_size=5))
def test_integer_formulas_are_found(counts: dict[int, int]) -> None:
    divisor = int(np.gcd.reduce(list(counts.values())))
    reduced = {z: n // divisor for z, n in counts.items()}
    assert integer_formula(counts).counts == reduced
    rows = [{ELEMENTS[z - 1]: n / of for z, n in counts.items()} for of in (1, 7)]
    assert integer_formulas(read_compositions(rows), 100) == [Stoichiometry(reduced)] * 2


def test_integer_formulas_of_many_atoms() -> None:
    batch = read_compositions(["Fe3001O2", "Fe6002O4", "Fe1.5O", "Fe", "Fe0.12345O"])
    found = [None if f is None else f.counts for f in integer_formulas(batch, 4000)]
    assert found == [{26: 3001, 8: 2}, {26: 3001, 8: 2}, {26: 3, 8: 2}, {26: 1}, None]
    assert integer_formulas(batch, 4) == [None, None, None, Stoichiometry({26: 1}), None]


@given(
    st.dictionaries(st.integers(1, 94), st.floats(0.01, 10), min_size=1, max_size=5),
    st.integers(1, 40),
)
def test_near_formulas_are_as_near_as_they_say(amounts: dict[int, float], size: int) -> None:
    found = near_formulas(amounts, size, 0.2, lambda formula: True)
    if found is None:
        return
    assert found.n_atoms <= size
    total = sum(amounts.values())
    error = sum(abs(n / total - found.counts.get(z, 0) / found.n_atoms) for z, n in amounts.items())
    assert error / 2 == pytest.approx(found.error, abs=1e-9)
    assert found.error <= 0.2


class TestCommand:
    # pymatgen's reader says so of every third written as a decimal number
    @pytest.mark.filterwarnings("ignore:Issues encountered while parsing CIF")
    def test_candidates_are_printed_and_written(
        self, tmp_path: Path, capsys: pytest.CaptureFixture
    ) -> None:
        assert main(["structures", "BaTiO3", "--n", "3", "--output-dir", str(tmp_path)]) == 0
        out = capsys.readouterr().out
        assert "BaTiO3: 3 candidates" in out
        assert all(column in out for column in ("e_hull", "e_polymorph", "source"))
        files = sorted(tmp_path.glob("*.cif"))
        assert [f.name for f in files] == [f"BaTiO3_{i}.cif" for i in (1, 2, 3)]
        for file in files:
            assert Structure.from_file(file).composition.reduced_formula == "BaTiO3"
            assert file.name in out

    def test_every_formula_has_files_of_its_own(self, tmp_path: Path) -> None:
        formulas = ["Fe₂O₃", "Fe₃O₄", "(Na)Cl", "NaCl", "NaBr" * 40, "NaBr" * 41]
        known = tmp_path / "known"
        known.mkdir()
        rocksalt("C", "O", 5.0).to(str(known / "co.cif"))
        Structure(np.eye(3) * 2.8, ["Co"], [[0, 0, 0]]).to(str(known / "metal.cif"))
        out = tmp_path / "out"
        arguments = ["--n", "1", "--known", str(known), "--output-dir", str(out)]
        assert main(["structures", *formulas, "CO", "Co", *arguments]) == 0
        names = {file.name.lower() for file in out.iterdir()}
        assert len(names) == len(formulas) + 2
        assert {"c_o_1.cif", "co_1.cif", "nacl_1.cif"} < names
        assert max(map(len, names)) < 100

    def test_known_structures_come_first(
        self, tmp_path: Path, capsys: pytest.CaptureFixture
    ) -> None:
        known = tmp_path / "known"
        known.mkdir()
        rocksalt("Cs", "Cl", 7.0).to(str(known / "mine.cif"))
        out_dir = tmp_path / "out"
        arguments = ["structures", "CsCl", "--n", "2", "--known", str(known)]
        assert main([*arguments, "--output-dir", str(out_dir)]) == 0
        assert "mine.cif" in capsys.readouterr().out

    @pytest.mark.parametrize("name", GENERATORS)
    def test_generators_have_names_and_hear_the_options(self, name: str) -> None:
        args = argparse.Namespace(generator=[name], rank_by="energy", relax=0)
        generator = GENERATORS[name][1](args)
        assert name in type(generator).__name__.lower()
        assert generator.rank_by == "energy"

    def test_several_generators_take_turns(
        self, tmp_path: Path, capsys: pytest.CaptureFixture
    ) -> None:
        arguments = ["structures", "MgO", "--n", "3", "--output-dir", str(tmp_path), "--generator"]
        assert main([*arguments, "prototype, random"]) == 0
        assert len(list(tmp_path.iterdir())) == 3
        assert "MgO: 3 candidates" in capsys.readouterr().out
        with pytest.raises(SystemExit):
            main([*arguments, "prototype,dice"])
        assert "'dice' is none of prototype, crystallm, random" in capsys.readouterr().err

    def test_what_a_generator_cannot(self, capsys: pytest.CaptureFixture) -> None:
        assert main(["structures", "NaCl", "--generator", "crystallm", "--relax", "5"]) == 2
        assert "leave out --relax" in capsys.readouterr().err

    def test_nothing_found(self, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
        assert main(["structures", "Og2O", "--output-dir", str(tmp_path / "o")]) == 2
        assert "no candidate for Og2O" in capsys.readouterr().err
        assert not (tmp_path / "o").exists()


def test_numbers_are_arrays() -> None:
    [candidates] = PrototypeGenerator().generate(["NaCl"], 1)
    assert_array_equal(np.sort(candidates[0].numbers), [11, 17])
