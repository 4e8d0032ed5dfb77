"""Properties without a fit: units, errors, what was seen, and the columns of a screening."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from _screening_model import MeanNumber
from numpy.testing import assert_allclose
from scipy import constants

from sklearn_kt import CompositionEmbedder, read_compositions
from sklearn_kt._files import DATA
from sklearn_kt.encoder import held_out_scores, load_checkpoint
from sklearn_kt.evaluation import CompositionPool
from sklearn_kt.exceptions import (
    CheckpointError,
    CompositionError,
    CompositionWarning,
    InputError,
    UnseenElementWarning,
)
from sklearn_kt.pretraining import PROPERTIES
from sklearn_kt.properties import PropertyHeads, list_properties, predict_properties
from sklearn_kt.screening import screen

FORMULAS = ["MgO", "W", "Fe2O3"]
CHECKPOINT = DATA / "checkpoints" / "default"


def test_values_are_those_of_the_heads_in_units() -> None:
    embedder = CompositionEmbedder(blocks=["properties"]).fit(FORMULAS)
    raw = pd.DataFrame(embedder.transform(FORMULAS), columns=embedder.get_feature_names_out())
    names = ["formation_energy_mp", "bulk_modulus_mp", "energy_above_hull_mp", "is_metal_mp"]
    found = predict_properties(FORMULAS, names)
    assert found["formula"].tolist() == np.repeat(FORMULAS, 4).tolist()
    values = found["value"].to_numpy().reshape(3, 4).T
    energy, modulus, hull, metal = (raw[f"property_{name}"] for name in names)
    assert_allclose(values[0], energy)
    assert_allclose(values[1], 10**modulus)
    assert_allclose(values[2], np.maximum(np.expm1(hull), 0))
    assert values[2].min() == 0
    assert_allclose(values[3], 1 / (1 + np.exp(-metal)))
    scores = held_out_scores("default")
    errors = found["error"].to_numpy().reshape(3, 4).T
    assert_allclose(errors[0], scores["mae_formation_energy_mp"])
    assert_allclose(errors[1], values[1] * (10 ** scores["mae_bulk_modulus_mp"] - 1))
    assert_allclose(
        np.log1p(values[2] + errors[2]) - np.log1p(values[2]), scores["mae_energy_above_hull_mp"]
    )
    assert np.isnan(errors[3]).all()
    assert found["unit"].tolist()[:4] == ["eV/atom", "GPa", "eV/atom", "probability"]
    assert found["held_out"].tolist()[1:4] == [
        "factor 1.15",
        "MAE 0.0693 eV/atom near 0, factor 1.07 far above",
        "ROC AUC 0.925",
    ]


def test_one_of_each_quantity_or_all() -> None:
    table = list_properties()
    assert table["name"].tolist() == [
        entry["name"] for entry in load_checkpoint("default")[0]["config"]["properties"]
    ]
    assert not table["held_out"].eq("unknown").any()
    assert not table[["property", "source"]].eq("").any(axis=None)
    every = predict_properties(["W"], "all")
    assert every["property"].tolist() == table["property"].tolist()
    # a quantity stands for the first table that has it, spelled with spaces or lines, in any case
    some = predict_properties(["W"])
    assert some["property"].tolist() == table["property"].unique().tolist()
    one = PropertyHeads.load(["Band gap", "debye_temperature", "band_gap_oqmd"])
    assert [head.name for head in one.heads.values()] == [
        "band_gap_mp",
        "debye_temperature_aflow",
        "band_gap_oqmd",
    ]
    assert list(one.heads) == ["Band_gap", "debye_temperature", "band_gap_oqmd"]


def test_every_property_has_a_name_and_a_source() -> None:
    table = pd.read_csv(DATA / "properties.csv")
    assert [prop.name for prop in PROPERTIES] == table["name"].tolist()
    assert not table[["quantity", "source"]].isna().any(axis=None)
    # what one quantity is, another is not, but for the energies of cells
    units = table[table["unit"] != "eV/cell"].groupby("quantity")["unit"].nunique(dropna=False)
    assert (units == 1).all()


def test_units_of_transport_are_those_of_its_table() -> None:
    folder = resources.files("matminer.utils.data_files.mp_transport")
    with tarfile.open(str(folder / "transport_database.tar.xz")) as archive:
        table = pd.read_csv(archive.extractfile("transport_database.csv"))
    units = pd.read_csv(DATA / "properties.csv").set_index("name")["unit"]
    for kind in "pn":
        sigma = table[f"sigma_{kind}"] * 1e15  # 1/(ohm m s)
        seebeck = table[f"S_{kind}"] * 1e-6  # V/K
        assert units[f"power_factor_{kind}_mp"] == "GW/(m K^2 s)"
        factor = seebeck**2 * sigma / 1e9
        assert_allclose((table[f"PF_{kind}"] / factor).median(), 1, rtol=0.01)
        assert units[f"effective_mass_{kind}_mp"] == "m_e"
        carriers = 1e24  # 1/m^3
        mass = carriers * constants.e**2 / sigma / constants.m_e
        # equal but for crystals that conduct better one way
        assert_allclose((table[f"m_{kind}"] / mass).quantile(0.25), 1, rtol=0.01)


def test_seen_is_what_the_pool_knows() -> None:
    formulas = ["Mg2O2", "HfZr", "Fe0.9Co0.1Os3Tc", "BaTiO3"]
    names = ["band_gap_mp", "refractive_index_mp"]
    seen = predict_properties(formulas, names)["seen"].to_numpy().reshape(-1, 2)
    pool = CompositionPool.load(CHECKPOINT / "pool.npz")
    for column, name in enumerate(names):
        known, inside = pool.knows(formulas, name), pool.contains(formulas)
        expected = np.where(known, "label", np.where(inside, "formula", "no"))
        assert seen[:, column].tolist() == expected.tolist()
    assert {*seen.ravel()} == {"label", "formula", "no"}


@pytest.mark.parametrize("checkpoint", ["default", "small"])
def test_elements_that_pretraining_never_saw(checkpoint: str) -> None:
    formulas = ["MgO", "PoO2", "Og", "PuO2", "Mg0.9Po0.1O"]
    with pytest.warns(UnseenElementWarning) as caught:
        found = predict_properties(formulas, ["band gap", "metal"], checkpoint=checkpoint)
    assert len(caught) == 1
    assert str(caught[0].message) == (
        "3 of 5 rows hold elements that no formula of pretraining had, Po, Og (row 1: PoO2; row 2: "
        "Og; row 4: Mg0.9Po0.1O): what is predicted of them is guessed from other elements. Leave "
        "such predictions out."
    )
    assert caught[0].filename == __file__
    assert not found["value"].isna().any()
    gaps, metals = found[::2].reset_index(), found[1::2]
    guessed = [False, True, True, False, True]
    assert gaps["error"].isna().tolist() == gaps["held_out"].eq("unknown").tolist() == guessed
    assert metals["held_out"].eq("unknown").tolist() == guessed
    assert gaps["error"][0] > 0
    # nothing of rows that are no compositions
    with pytest.warns(CompositionWarning) as caught:
        predict_properties(["MgO", ""], ["band gap"], errors="nan")
    assert UnseenElementWarning not in {item.category for item in caught}


def test_a_checkpoint_without_scores_and_pool(tmp_path: Path) -> None:
    folder = tmp_path / "own"
    shutil.copytree(CHECKPOINT, folder, ignore=shutil.ignore_patterns("pool.npz", "held_out.json"))
    predict_properties(["Og"], ["band gap"], checkpoint=folder)
    found = predict_properties(["W"], ["band gap", "bulk modulus"], checkpoint=folder)
    bundled = predict_properties(["W"], ["band gap", "bulk modulus"])
    assert_allclose(found["value"], bundled["value"])
    assert found["error"].isna().all()
    assert found[["seen", "held_out"]].eq("unknown").all(axis=None)
    for text in ("[1]", "{", '{"mae_band_gap_mp": []}'):
        (folder / "held_out.json").write_text(text)
        with pytest.raises(CheckpointError, match="does not hold scores"):
            held_out_scores(folder)


def test_rows_that_are_no_compositions() -> None:
    with pytest.raises(CompositionError, match="Zz"):
        predict_properties(["MgO", "Zz"])
    with pytest.warns(CompositionWarning, match="Zz"):
        found = predict_properties(["Zz", "MgO"], ["band gap"], errors="nan")
    assert found["formula"].tolist() == ["", "MgO"]
    assert found["value"].isna().tolist() == found["error"].isna().tolist() == [True, False]
    assert found["seen"].tolist() == ["", "label"]
    assert predict_properties([], ["band gap"]).empty


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        (["bandgap"], "Did you mean 'band_gap'"),
        (["colour"], "is no property of the checkpoint 'default'"),
        (["band gap", "band_gap"], "named twice"),
        ("band gap", r"pass \['band gap'\]"),
        ([], "empty"),
    ],
)
def test_names_that_are_none(properties: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        PropertyHeads.load(properties)


def test_the_card_says_what_the_file_does() -> None:
    rows = {}
    for line in (CHECKPOINT / "README.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 3 and cells[2].startswith(("MAE", "ROC AUC")):
            kind, number = ("mae", 1) if cells[2].startswith("MAE") else ("auc", 2)
            rows[f"{kind}_{cells[0]}"] = float(cells[2].split()[number])
    scores = json.loads((CHECKPOINT / "held_out.json").read_text(encoding="utf-8"))
    assert rows == {name: s for name, s in scores.items() if not name.startswith("cosine_")}


def test_a_screening_filters_by_properties(tmp_path: Path) -> None:
    formulas = ["MgO", "W", "Fe2O3", "NaCl", "Mg2O2"]
    model = MeanNumber().fit(formulas)
    options = {"properties": ["band gap", "bulk_modulus_aflow"], "where": "band_gap > 1.5"}
    result = screen(model, formulas, tmp_path / "o.csv", return_std=False, **options)
    found = pd.read_csv(result.path)
    assert list(found) == ["formula", "prediction", "band_gap", "bulk_modulus_aflow"]
    expected = PropertyHeads.load(options["properties"]).predict(read_compositions(formulas))
    kept = [row for row in range(4) if expected["band_gap"][row] > 1.5]
    assert found["formula"].tolist() == [formulas[row] for row in kept]
    assert_allclose(found["bulk_modulus_aflow"], expected["bulk_modulus_aflow"][kept], rtol=1e-5)
    with pytest.raises(InputError, match="'prediction' is no property"):
        screen(model, formulas, tmp_path / "p.csv", properties=["prediction"])


def test_a_screening_tells_of_elements_that_properties_never_saw(tmp_path: Path) -> None:
    formulas = ["MgO", "PoO", "MgO", "RaO", "NaCl"]
    model = MeanNumber().fit(formulas)
    plain = screen(model, formulas, tmp_path / "plain.csv", return_std=False)
    assert (plain.n_unpretrained, plain.unpretrained_elements) == (0, {})
    options: dict[str, Any] = {"return_std": False, "properties": ["band gap"], "batch_rows": 2}
    with pytest.warns(
        UnseenElementWarning, match=r"2 of 5 rows .* no formula of pretraining had, Po, Ra: "
    ) as caught:
        found = screen(model, formulas, tmp_path / "gaps.csv", **options)
    assert len(caught) == 1
    assert (found.n_unpretrained, found.unpretrained_elements) == (2, {"Po": 1, "Ra": 1})


@pytest.mark.slow
def test_imports_neither_models_of_transformers_nor_the_compiler_of_torch() -> None:
    code = (
        "import sys; from sklearn_kt.properties import predict_properties\n"
        "predict_properties(['MgO'])\n"
        "sys.exit(', '.join({'sympy', 'torch._dynamo', 'transformers'} & {*sys.modules}) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
