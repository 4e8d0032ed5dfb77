"""Solid solutions: parents, supercells, rounding, and where the elements go."""

from __future__ import annotations

import warnings
from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from sklearn_kt.compositions import ELEMENTS
from sklearn_kt.exceptions import NearFormulaWarning
from sklearn_kt.structures import Candidate, PrototypeGenerator, load_library
from sklearn_kt.structures.solutions import is_uneven, mixtures_of, spread, supercell
from sklearn_kt.structures.symmetry import found_group

# the parent's space group
KNOWN = {
    "Al0.3Ga0.7As": 216,
    "PbTe0.7Se0.3": 225,
    "Cd0.2Zn0.8Te": 216,
    "Hg0.8Cd0.2Te": 216,
    "FeCoNi": 225,
    "Cu0.7Zn0.3": 225,
    "Si0.8Ge0.2": 227,
    "Zn0.9Mg0.1O": 186,
    "Bi0.4Sb1.6Te3": 166,
    "CuIn0.7Ga0.3Se2": 122,
    "Mg2Si0.4Sn0.6": 225,
    "Ba0.3Sr0.7TiO3": 221,
    "Ce0.9Gd0.1O1.95": 225,
    # halves and quarters, which other crystals have as an order
    "NaCl0.75Br0.25": 225,
    "PbTe0.75Se0.25": 225,
    "PbTe0.75S0.25": 225,
    "SnTe0.75Se0.25": 225,
    "Pb0.75Sn0.25Te": 225,
    "Si0.75Ge0.25": 227,
    "Al0.5Ga0.5As": 216,
}


def number(symbol: str) -> int:
    return ELEMENTS.index(symbol) + 1


def best(formula: str, **parameters: float) -> Candidate:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NearFormulaWarning)
        [[candidate]] = PrototypeGenerator(**parameters).generate([formula], 1)
    return candidate


def parts(candidate: Candidate) -> dict[str, float]:
    counts = Counter(ELEMENTS[z - 1] for z in candidate.numbers.tolist())
    return {symbol: n / len(candidate.numbers) for symbol, n in counts.items()}


class TestParents:
    @pytest.mark.parametrize(("formula", "group"), KNOWN.items())
    def test_known_solution_has_its_parent_with_mixed_sites(self, formula: str, group: int) -> None:
        candidate = best(formula)
        about = candidate.provenance
        assert int(about["prototype"].partition(":")[0]) == group
        assert 0 < about["distance"] <= 3.5
        assert 0 < candidate.score < 1
        assert not about["known"]
        assert len(candidate.numbers) <= 60
        # elements that share a site, put back, are the parent
        back = {
            number(new): number(old)
            for old, names in about["replaced"].items()
            for new in "".join(c if c.isalpha() else " " for c in names).split()
        }
        parent = Candidate(
            candidate.lattice,
            np.array([back[z] for z in candidate.numbers.tolist()]),
            candidate.coords,
        )
        assert found_group(parent) == group
        assert candidate.is_sound()

    def test_farther_parents_score_less(self) -> None:
        shares = (0.1, 0.2, 0.3, 0.4)
        found = [best(f"Cd{x}Zn{1 - x:.1f}Te") for x in shares]
        distances = [candidate.provenance["distance"] for candidate in found]
        assert distances == sorted(distances)
        assert len(set(distances)) == 4
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NearFormulaWarning)
            near = PrototypeGenerator(max_distance=distances[0] - 0.01, max_error=0.001)
            assert near.generate(["Cd0.1Zn0.9Te"]) == [[]]

    def test_equal_elements_of_an_alloy_take_one_site(self) -> None:
        candidate = best("FeCoNiCrMn")
        assert candidate.provenance["prototype"].startswith("225:")
        assert parts(candidate) == dict.fromkeys(["Fe", "Co", "Ni", "Cr", "Mn"], 0.2)

    def test_ordered_compounds_stay_ordered(self) -> None:
        # sites in halves and quarters, and crystals of the very formula that are near
        for formula in ("ZnCdTe2", "MgZn3O4", "Mn7CdO12", "Mg15Sb", "Rb2InAgBr6"):
            assert "cells" not in best(formula).provenance

    @pytest.mark.parametrize(
        "formula", ["Cu0.75Au0.25", "CuAu", "FeNi3", "Na4SnO3", "LiFePO4", "MoSSe", "Bi2Te2Se"]
    )
    def test_known_order_comes_first(self, formula: str) -> None:
        assert best(formula).provenance["known"]

    def test_order_and_solution_are_ranked_together(self) -> None:
        [found] = PrototypeGenerator().generate(["La0.75Sr0.25MnO3"], 10)
        scores = [candidate.score for candidate in found]
        assert scores == sorted(scores, reverse=True)
        assert sum(scores) < 1
        shared = ["cells" in candidate.provenance for candidate in found]
        assert 0 < sum(shared) < len(shared)
        [less] = PrototypeGenerator().generate(["La0.75Sr0.25MnO3"], 1)
        assert less[0].score == found[0].score

    def test_unlike_elements_do_not_share(self) -> None:
        assert PrototypeGenerator().generate(["Na37Cl12Xe5"]) == [[]]

    def test_what_rounds_to_nothing_leaves_the_parent_itself(self) -> None:
        candidate = best("Ba0.98La0.02TiO3")
        assert candidate.formula == "BaTiO3"
        assert candidate.provenance["known"]

    def test_volume_is_the_mean_of_the_known_parents(self) -> None:
        library = load_library()

        def volume(candidate: Candidate) -> float:
            return abs(np.linalg.det(candidate.lattice)) / len(candidate.numbers)

        def known(anion: str) -> float:
            rows = library.members((1, 1))
            elements = library.elements(rows, 2)
            rows = rows[
                (np.sort(elements) == sorted([82, number(anion)])).all(axis=1)
                & (library.labels[library.arrays["prototype"][rows]] == "225:1(4m-3m),1(4m-3m)")
            ]
            assert len(rows)
            return float(library.arrays["volume"][rows].mean())

        expected = 0.7 * known("Te") + 0.3 * known("Se")
        assert volume(best("PbTe0.7Se0.3")) == pytest.approx(expected, rel=1e-6)

    def test_composition_counts_and_not_how_it_is_written(self) -> None:
        first, *others = [best(f) for f in ("Al0.3Ga0.7As", "AsGa0.7Al0.3", "Al3Ga7As10")]
        for other in others:
            assert_array_equal(first.numbers, other.numbers)
            assert_array_equal(first.coords, other.coords)
            assert first.provenance["template"] == other.provenance["template"]
            assert first.score == pytest.approx(other.score)


class TestRounding:
    def test_error_is_told_and_warned_of(self) -> None:
        with pytest.warns(NearFormulaWarning, match="1 of 2 compositions"):
            [[near], [exact]] = PrototypeGenerator().generate(["In0.53Ga0.47As", "PbTe0.7Se0.3"], 1)
        assert near.provenance["composition_error"] == pytest.approx(0.0042, abs=1e-4)
        assert "composition_error" not in exact.provenance

    @pytest.mark.parametrize("formula", ["Zr0.5000005Hf0.4999995NiSn", "Al0.33334Ga0.66666As"])
    def test_rounded_amounts_need_no_warning(self, formula: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error", NearFormulaWarning)
            [[found]] = PrototypeGenerator().generate([formula], 1)
        assert found.provenance.get("composition_error", 0) < 1e-4

    @settings(max_examples=12, deadline=None)
    @given(
        x=st.floats(0.05, 0.95),
        y=st.floats(0.0, 0.3),
        size=st.integers(8, 60),
    )
    # half an atom of indium
    @example(x=0.125, y=0.25, size=8)
    # a sixteenth, which ten atoms do not hold, is the nearest formula
    @example(x=0.09375, y=0.0, size=10)
    def test_cell_is_the_composition_to_the_nearest_atom(
        self, x: float, y: float, size: int
    ) -> None:
        formula = f"In{x:.3f}Ga{1 - x:.3f}As{1 - y:.3f}P{y:.3f}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NearFormulaWarning)
            [found] = PrototypeGenerator(max_cell_atoms=size, max_error=0.2).generate([formula], 1)
        [candidate] = found
        x, y = round(x, 3), round(y, 3)
        asked = {"In": x / 2, "Ga": (1 - x) / 2, "As": (1 - y) / 2, "P": y / 2}
        placed = parts(candidate)
        error = sum(abs(placed.get(e, 0) - part) for e, part in asked.items()) / 2
        assert candidate.provenance.get("composition_error", 0) == pytest.approx(error, abs=1e-6)
        if "cells" in candidate.provenance:
            assert len(candidate.numbers) <= size
            # half an atom on each of two sites, and what a smaller cell may cost
            assert error <= 1 / (size - 1) + 0.005
            assert placed.get("In", 0) + placed.get("Ga", 0) == pytest.approx(0.5)

    def test_cell_is_bounded(self) -> None:
        assert len(best("Al0.3Ga0.7As", max_cell_atoms=8).numbers) <= 8
        with pytest.raises(ValueError, match="max_cell_atoms"):
            PrototypeGenerator(max_cell_atoms=0).generate(["NaCl"])


class TestMixtures:
    def test_all_ways_of_sharing_sites(self) -> None:
        amounts = {number(e): n for e, n in {"Ga": 0.7, "Al": 0.3, "As": 0.6, "P": 0.4}.items()}
        table = np.ones((119, 119))
        found = {
            tuple(sorted(mixture.formula.counts.values()))
            for mixture in mixtures_of(amounts, table, 30, 0.0001, lambda formula: True)
        }
        assert (1, 1) in found
        assert all(len(amounts) < 4 for amounts in found)

    def test_the_most_alike_of_many_go_together(self) -> None:
        numbers = list(range(21, 31))
        table = np.abs(np.subtract.outer(np.arange(119.0), np.arange(119.0)))
        mixtures = list(mixtures_of(dict.fromkeys(numbers, 1.0), table, 60, 0.05, lambda f: True))
        assert 1 < len(mixtures) <= 52
        assert all(
            max(share) - min(share) + 1 >= len(share) > 1
            for mixture in mixtures
            for share in mixture.shares.values()
        )
        assert list(mixtures_of({26: 1.0}, table, 60, 0.05, lambda f: True)) == []

    def test_uneven(self) -> None:
        assert is_uneven({13: 3, 31: 7})
        assert not is_uneven({13: 10, 31: 30})


class TestSupercell:
    @pytest.mark.parametrize("n_cells", [1, 2, 5, 8, 12, 27])
    @pytest.mark.parametrize("kind", ["cubic", "fcc", "long"])
    def test_compact(self, n_cells: int, kind: str) -> None:
        lattice = {
            "cubic": np.eye(3),
            "fcc": np.ones((3, 3)) - np.eye(3),
            "long": np.diag([1.0, 1.0, 4.0]),
        }[kind]
        vectors = supercell(lattice, n_cells)
        assert round(abs(np.linalg.det(vectors))) == n_cells
        shortest = np.linalg.norm(vectors @ lattice, axis=1).min()
        side = (n_cells * abs(np.linalg.det(lattice))) ** (1 / 3)
        assert shortest >= min(side, 4.0) * 0.7 if kind != "long" else shortest >= 1

    def test_elements_spread_out(self) -> None:
        cube = np.stack(np.meshgrid(*[[0, 0.5]] * 3), -1).reshape(-1, 3)
        numbers = spread(10 * np.eye(3), cube, {30: 6, 48: 2})
        first, second = cube[numbers == 48]
        # as far as two sites can be: across the cell
        assert np.abs(first - second).tolist() == [0.5, 0.5, 0.5]
        halves = spread(10 * np.eye(3), cube, {30: 4, 48: 4})
        # each neighbour is of the other kind, as in rock salt
        signs = (-1.0) ** (2 * cube).sum(axis=1)
        assert abs((signs * (halves == 48)).sum()) == 4
        assert_array_equal(spread(np.eye(3), cube, {30: 8}), np.full(8, 30))
