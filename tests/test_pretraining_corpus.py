"""Corpora: what a row means, what may enter, and what happens to damaged files."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_kt.exceptions import CompositionError, DatasetError, InputError
from sklearn_kt.pretraining import (
    PROPERTIES,
    SOURCES,
    Corpus,
    CorpusTable,
    Property,
    Source,
    build_corpus,
    dft_tables,
)

GAP = Property("gap", "eV", low=0, high=20)
METAL = Property("metal", "", "binary", low=0, high=1)
# evaluation data, experimental data, and data derived from another code's benchmark tables
FORBIDDEN = (
    "matbench/",
    "composition/jarvis_crossproperty/",
    "composition/hse_pbe_1134",
    "composition/boltztrap_mp_9k",
    "composition/llm4mat_mp_test_bandgap_partial",
    "structures/jarvis_supercon_dft",
    "structures/matbench_phonons",
    "seebeck",
    "expt",
    "steels",
    "glass",
)
SALT = {
    "lattice": [5.69, 5.69, 5.69, 90, 90, 90],
    "species": [["Na", 1], ["Cl", 1]],
    "coords": [[0, 0, 0], [0.5, 0.5, 0.5]],
}


def value(corpus: Corpus, formula: str, name: str) -> float:
    column = corpus.property_names.index(name)
    scaled = corpus.targets[corpus.rows_of([formula])[0]]
    return float(corpus.unscale(scaled)[column])


def test_polymorphs_ground_state_else_median(tmp_path: Path) -> None:
    formulas = ["SiO2", "Si2O4", "SiO2", "TiO2", "Ti2O4", "TiO2", "MgO"]
    table = CorpusTable(
        formulas,
        {"gap": [1, 2, 3, 1, 2, 6, 5], "metal": [0, 1, 1, 0, 0, 1, 0]},
        e_hull=[0.3, 0.0, np.nan, np.nan, np.nan, np.nan, 0.1],
    )
    corpus = build_corpus(tmp_path / "c", [table], [GAP, METAL])
    assert len(corpus) == 3
    assert value(corpus, "SiO2", "gap") == pytest.approx(2, abs=0.01)
    assert value(corpus, "TiO2", "gap") == pytest.approx(2, abs=0.01)
    assert value(corpus, "SiO2", "metal") == 1
    assert value(corpus, "TiO2", "metal") == pytest.approx(1 / 3)
    assert_allclose(corpus.e_hull, [0.0, np.nan, 0.1])


def test_values_beyond_the_bounds_are_left_out_and_outliers_pulled_in(tmp_path: Path) -> None:
    n = 4000
    formulas = [f"Fe{i + 1}O{i + 2}" for i in range(n)]
    gaps = np.linspace(0, 1, n)
    gaps[:3] = [-1, 30, 19]
    corpus = build_corpus(tmp_path / "c", [CorpusTable(formulas, {"gap": gaps})], [GAP])
    assert np.isnan(value(corpus, formulas[0], "gap"))
    assert np.isnan(value(corpus, formulas[1], "gap"))
    assert 0.99 < value(corpus, formulas[2], "gap") < 10
    known = corpus.targets[np.isfinite(corpus.targets)]
    assert_allclose([known.mean(), known.std()], [0, 1], atol=1e-3)


def test_polymorphs_of_a_part_of_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = next(s for s in SOURCES if s.lowest)
    monkeypatch.setattr("sklearn_kt.pretraining.sources.SOURCES", (source,))
    [beside] = source.beside.values()
    rows = {
        source.path: (["SiO2", "GaAs", "SiO2", "NaN"], [-1.0, -3.0, -2.0, -4.0]),
        beside: (["SiO2", "GaAs", "SiO2", "NaN"], [11.0, 12.0, 13.0, 14.0]),
        source.unless: (["GaAs"], [-5.0]),
    }
    for path, (formula, target) in rows.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame({"formula": formula, "target": target}).to_csv(tmp_path / path, index=False)
    [table] = dft_tables(tmp_path)
    assert table.compositions == ["SiO2", "NaN"]
    assert_array_equal(table.targets["energy_per_atom_oqmd_part"], [-2.0, -4.0])
    assert_array_equal(table.targets["volume_per_atom"], [13.0, 14.0])
    pd.DataFrame({"formula": ["SiO2"], "target": [1.0]}).to_csv(tmp_path / beside, index=False)
    with pytest.raises(DatasetError, match="has other rows than"):
        list(dft_tables(tmp_path))


def test_logarithm(tmp_path: Path) -> None:
    prop = Property("modulus", "GPa", "log", low=1)
    table = CorpusTable(["Fe", "W"], {"modulus": [100.0, 1000.0]})
    corpus = build_corpus(tmp_path / "c", [table], [prop])
    assert value(corpus, "W", "modulus") == pytest.approx(3, abs=0.01)
    with pytest.raises(InputError, match="low > 0"):
        Property("modulus", transform="log")
    with pytest.raises(InputError, match="transform must be one of"):
        Property("modulus", transform="square")


def test_compositions_are_reduced(tmp_path: Path) -> None:
    formulas = ["Li2Fe2P2O8", "Na0.3CoO2", "Fe0.333333O0.666667", "Fe0.12345679O0.87654321"]
    corpus = build_corpus(tmp_path / "c", [CorpusTable(formulas)], [])
    batch = corpus.compositions(np.array([1, 0, 2, 3]))
    assert batch[:3].formulas() == ["Na3Co10O20", "LiFePO4", "FeO2"]
    assert_allclose(batch[3:].fractions().max(), 0.87654321)
    assert_array_equal(corpus.rows_of(["CoNa0.3O2", "LiFePO4", "Xe", "O4Fe2"]), [1, 0, -1, 2])


def test_structures_lowest_in_energy_and_rows_without_one(tmp_path: Path) -> None:
    other = {**SALT, "lattice": [6, 6, 6, 90, 90, 90]}
    table = CorpusTable(
        ["NaCl", "NaCl", "NaCl", "Si"],
        e_hull=[np.nan, 0.2, 0.1, 0.0],
        structures=[other, other, SALT, None],
    )
    corpus = build_corpus(tmp_path / "c", [table], [])
    assert_array_equal(corpus.structure_rows, [0])
    assert_array_equal(corpus.structure_sizes(), [2])
    structure = corpus.structure(0)
    assert structure.composition.reduced_formula == "NaCl"
    assert structure.volume == pytest.approx(5.69**3, rel=1e-5)


def test_bad_tables(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'colour', which is not among the properties"):
        build_corpus(tmp_path / "c", [CorpusTable(["Si"], {"colour": [1]})], [GAP])
    with pytest.raises(InputError, match=r"'gap' has shape \(2,\)"):
        build_corpus(tmp_path / "c", [CorpusTable(["Si"], {"gap": [1, 2]})], [GAP])
    with pytest.raises(InputError, match="0 structures for 1 rows"):
        build_corpus(tmp_path / "c", [CorpusTable(["Si"], structures=[])], [GAP])
    with pytest.raises(InputError, match="hold no rows"):
        build_corpus(tmp_path / "c", [], [GAP])
    with pytest.raises(CompositionError):
        build_corpus(tmp_path / "c", [CorpusTable(["fluffium"])], [GAP])
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="not an empty folder"):
        build_corpus(tmp_path, [CorpusTable(["Si"])], [GAP])


def test_damaged_corpora(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="not a corpus folder"):
        Corpus(tmp_path)
    folder = tmp_path / "c"
    corpus = build_corpus(folder, [CorpusTable(["Si", "Ge"])], [GAP])
    assert isinstance(corpus.targets, np.memmap)
    np.save(folder / "e_hull.npy", np.zeros(1, np.float32))
    with pytest.raises(DatasetError, match="differ in length"):
        Corpus(folder)
    (folder / "e_hull.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(DatasetError, match="incomplete or damaged"):
        Corpus(folder)
    meta = json.loads((folder / "corpus.json").read_text())
    (folder / "corpus.json").write_text(json.dumps({**meta, "format_version": 99}))
    with pytest.raises(DatasetError, match="corpus format 99"):
        Corpus(folder)


def test_allow_list_names_no_evaluation_data() -> None:
    names = {prop.name for prop in PROPERTIES}
    paths = [source.path for source in SOURCES]
    assert len(set(paths)) == len(paths)
    for source in SOURCES:
        folders = ("composition/", "structures/") if source.package is None else ("utils/",)
        assert source.path.startswith(folders)
        assert source.package in (None, "matminer")
        assert not any(part in source.path.lower() for part in FORBIDDEN)
        assert set(source.columns.values()) <= names
        assert source.origin


def _files() -> list[tuple[Source, str]]:
    """Every file that the allow-list names."""
    return [(source, path) for source in SOURCES for path in (source.path, *source.beside.values())]


def _fake_data(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file of the allow-list with one row, and forbidden files with xenon in them."""
    monkeypatch.setattr("sklearn_kt.pretraining.sources._package_folder", lambda package: home)
    for source in SOURCES:
        path = home / source.path
        path.parent.mkdir(parents=True, exist_ok=True)
        values = dict.fromkeys(source.columns, 2.0)
        if source.path.startswith("structures/"):
            with gzip.open(path, "wt") as file:
                file.write(json.dumps({"id": "a-1", **SALT, **values}) + "\n")
        else:
            row = {"material_id": "a-1", source.formula: "NaN", "target": 2.0, **values}
            for name in (path, *(home / other for other in source.beside.values())):
                pd.DataFrame([row]).to_csv(name, index=False)
    for name in (
        "matbench/matbench_expt_gap.csv",
        "composition/hse_pbe_1134.csv.gz",
        "composition/boltztrap_mp_9k.csv.gz",
        "composition/jarvis_crossproperty/deltae.csv.gz",
        "composition/crabnet_ext/expt_bandgap.csv.gz",
        "structures/jarvis_supercon_dft.jsonl.gz",
    ):
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame([{"formula": "XeF2", "target": 1.0}]).to_csv(path, index=False)


def test_only_files_of_the_allow_list_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fake_data(tmp_path / "data", monkeypatch)
    opened = []
    read_csv, gzip_open = pd.read_csv, gzip.open
    monkeypatch.setattr(pd, "read_csv", lambda p, **k: opened.append(p) or read_csv(p, **k))
    monkeypatch.setattr(gzip, "open", lambda p, *a, **k: opened.append(p) or gzip_open(p, *a, **k))
    corpus = build_corpus(tmp_path / "c", dft_tables(tmp_path / "data"))
    allowed = {tmp_path / "data" / path for _, path in _files()}
    assert {path for path in opened if isinstance(path, Path)} == allowed
    # NaN is sodium nitride here, not a missing value
    assert_array_equal(corpus.rows_of(["NaN", "NaCl", "XeF2"]) >= 0, [True, True, False])
    assert value(corpus, "NaN", "is_metal_oqmd") == 0


def test_missing_or_changed_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DatasetError, match="is missing; set SKLEARN_KT_DATA"):
        list(dft_tables(tmp_path))
    _fake_data(tmp_path, monkeypatch)
    pd.DataFrame([{"formula": "Si"}]).to_csv(tmp_path / SOURCES[0].path, index=False)
    with pytest.raises(DatasetError, match="no column"):
        list(dft_tables(tmp_path))


@pytest.mark.slow
def test_real_files_of_the_allow_list(
    tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [(source.package, path) for source, path in _files()]
    assert [p for package, p in names if not package and not (data_dir / p).is_file()] == []
    small = ("phonon_dielectric", "mp_shear", "aflow_5prop", "mp2018_multiprop", "transport")
    kept = tuple(s for s in SOURCES if any(part in s.path for part in small))
    monkeypatch.setattr("sklearn_kt.pretraining.sources.SOURCES", kept)
    corpus = build_corpus(tmp_path / "c", dft_tables(data_dir))
    counts = dict(zip(corpus.property_names, np.isfinite(corpus.targets).sum(0), strict=True))
    assert len(corpus) > 50_000
    assert counts["band_gap_mp"] > 33_000
    assert counts["last_phonon_peak_mp"] > 1000
    assert counts["seebeck_p_mp"] > 34_000
    assert value(corpus, "BaTe", "seebeck_p_mp") == pytest.approx(545.9, abs=0.1)
    assert len(corpus.structure_rows) > 5000
    # silicon's indirect PBE gap, 0.6 eV
    assert value(corpus, "Si", "band_gap_mp") == pytest.approx(0.6, abs=0.1)
