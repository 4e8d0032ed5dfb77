"""Results on disk: bytes by key, and the crystals of generators."""

from __future__ import annotations

import sqlite3
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from _crystals import SALTS, rocksalt
from pymatgen.core import Lattice, Structure
from sklearn.base import clone

from sklearn_kt.exceptions import CompositionWarning, InputError, NearFormulaWarning
from sklearn_kt.structures import (
    Cached,
    EnsembleGenerator,
    PrototypeGenerator,
    RandomGenerator,
    StructureLookup,
)
from sklearn_kt.structures import cache as cache_module
from sklearn_kt.structures.cache import DiskCache


class TestDiskCache:
    def test_damaged_file_is_moved_aside(self, tmp_path: Path) -> None:
        (tmp_path / "structures.sqlite").write_bytes(b"this is no database" * 100)
        cache = DiskCache(tmp_path)
        with pytest.warns(CompositionWarning, match="was damaged"):
            assert cache.get(["a"]) == {}
        cache.put({"a": b"1"})
        assert cache.get(["a"]) == {"a": b"1"}
        assert len(list(tmp_path.glob("*.damaged-*"))) == 1

    def test_damaged_value_is_not_given(self, tmp_path: Path) -> None:
        cache = DiskCache(tmp_path)
        cache.put({"a": b"1", "b": b"2"})
        with sqlite3.connect(cache.path) as connection:
            connection.execute("UPDATE items SET value = x'00' WHERE key = 'a'")
        connection.close()
        assert cache.get(["a", "b"]) == {"b": b"2"}

    def test_full_disk(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        cache = DiskCache(tmp_path)
        connect = cache._connect

        def full() -> sqlite3.Connection:
            connection = connect()
            connection.execute("PRAGMA max_page_count = 4")
            return connection

        monkeypatch.setattr(cache, "_connect", full)
        noise = np.random.default_rng(0).bytes(100_000)
        with pytest.warns(CompositionWarning, match="full"):
            cache.put({"a": noise})
        monkeypatch.undo()
        assert cache.get(["a"]) == {}
        cache.put({"a": b"1"})
        assert cache.get(["a"]) == {"a": b"1"}

    def test_folder_that_cannot_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(InputError, match="cannot be made"):
            DiskCache(tmp_path / "file")

    def test_many_writers(self, tmp_path: Path) -> None:
        def write(i: int) -> None:
            DiskCache(tmp_path).put({f"{i}-{j}": bytes([j]) for j in range(20)})

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(write, range(8)))
        keys = [f"{i}-{j}" for i in range(8) for j in range(20)]
        assert len(DiskCache(tmp_path).get(keys)) == 160


class Counting:
    """A generator that tells what it was asked for, and warns of salt."""

    def __init__(self, length: float = 4.0) -> None:
        self.length = length
        self.asked: list[str] = []

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        return {"length": self.length}

    def generate(self, compositions: Any, n_candidates: int) -> list[Any]:
        if "KBr" in compositions.formulas() and len(self.asked) == 2:
            raise KeyboardInterrupt
        self.asked += compositions.formulas()
        if "NaCl" in compositions.formulas():
            warnings.warn("salt", CompositionWarning, stacklevel=2)
        return [Structure(Lattice.cubic(self.length), ["Cs"], [[0, 0, 0]])] * len(compositions)


def plain(found: list[list[Any]]) -> list[str]:
    return [str([candidate.to_dict() for candidate in row]) for row in found]


class TestCached:
    @pytest.mark.slow
    @pytest.mark.parametrize(
        "generator",
        [
            PrototypeGenerator(),
            EnsembleGenerator([StructureLookup(SALTS), PrototypeGenerator()]),
            RandomGenerator(n_samples=1, rank_by="order"),
        ],
        ids=lambda generator: type(generator).__name__,
    )
    def test_second_run_reads_what_any_generator_gave(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, generator: Any
    ) -> None:
        formulas = ["RbCl", "CsPbI3", "RbCl"]
        cached = Cached(generator, tmp_path)
        first = cached.generate(formulas, 2)
        assert plain(first) == plain(generator.generate(formulas, 2))
        with monkeypatch.context() as patch:
            patch.setattr(type(generator), "generate", lambda *_: pytest.fail("asked again"))
            again = cached.generate(formulas[::-1], 2)
        assert plain(again) == plain(first)[::-1]
        # fewer are not those of more
        assert len(cached.generate(["CsPbI3"], 1)[0]) == 1

    def test_what_tells_generators_apart(self, tmp_path: Path) -> None:
        first, other = Counting(), Counting(5.0)
        for generator in (first, other, first):
            Cached(generator, tmp_path).generate(["KCl"], 1)
        assert first.asked == other.asked == ["KCl"]

    def test_a_file_that_changed_is_read_again(self, tmp_path: Path) -> None:
        known, volumes = tmp_path / "known", []
        known.mkdir()
        for length in (5.0, 6.0):
            rocksalt("Na", "Cl", length).to(str(known / "mine.cif"))
            [[found]] = Cached(StructureLookup(str(known)), tmp_path).generate(["NaCl"], 1)
            volumes.append(found.structure.volume)
        np.testing.assert_allclose(volumes, [125, 216], rtol=1e-3)

    def test_near_formulas_are_warned_of_once(self, tmp_path: Path) -> None:
        cached = Cached(PrototypeGenerator(), tmp_path)
        for _ in range(2):
            with pytest.warns(NearFormulaWarning, match="2 of 3 compositions") as caught:
                cached.generate(["Ba0.98La0.02TiO3", "NaCl", "Sr0.98La0.02TiO3"], 1)
            assert len(caught) == 1

    @pytest.mark.slow
    def test_warnings_of_processes_are_heard(self, tmp_path: Path) -> None:
        with pytest.warns(CompositionWarning, match="salt") as caught:
            Cached(Counting(), n_jobs=2).generate(["NaCl", "KCl", "CsCl"], 1)
        assert len(caught) == 1

    def test_parallel_is_the_same(self) -> None:
        formulas = ["RbCl", "CsPbI3", "LiFePO4", "Bi2Te3"]
        with joblib.parallel_config(backend="threading"):
            two = Cached(PrototypeGenerator(), n_jobs=2).generate(formulas, 2)
        assert plain(two) == plain(PrototypeGenerator().generate(formulas, 2))

    def test_interrupted_run_keeps_what_was_done(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(cache_module, "_CHUNK", 1)
        generator = Counting()
        formulas = ["CsI", "KCl", "KBr", "RbCl"]
        with pytest.raises(KeyboardInterrupt):
            Cached(generator, tmp_path).generate(formulas)
        generator.asked.append("again")
        assert all(Cached(generator, tmp_path).generate(formulas))
        assert generator.asked == ["CsI", "KCl", "again", "KBr", "RbCl"]

    def test_rows_that_are_no_compositions(self, tmp_path: Path) -> None:
        cached = Cached(PrototypeGenerator(), tmp_path, errors="nan")
        with pytest.warns(CompositionWarning, match="not a composition"):
            assert [len(row) for row in cached.generate(["?", "NaCl"], 1)] == [0, 1]
        assert clone(cached).generate([]) == []

    def test_what_cannot_be_kept(self, tmp_path: Path) -> None:
        class Local:
            def __init__(self) -> None:
                self.function = lambda: None

            def generate(self, compositions: Any, n_candidates: int) -> list[Any]:
                return []

        with pytest.raises(InputError, match="cannot be told from others"):
            Cached(Local(), tmp_path).generate(["NaCl"])
        with pytest.raises(ValueError, match="generator"):
            Cached("prototypes", tmp_path).generate(["NaCl"])
