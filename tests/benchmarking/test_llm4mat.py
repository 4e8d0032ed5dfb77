"""LLM4Mat-Bench: its layout, its rules, its published numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sklearn_kt.benchmarking import (
    LLM4MAT_DATASETS,
    llm4mat_averages,
    llm4mat_comparison,
    llm4mat_tasks,
)
from sklearn_kt.evaluation import QUANTITIES, evaluate
from sklearn_kt.exceptions import DatasetError, InputError

PARTS = ("train", "validation", "test")
# README of the benchmark: regression, classification; without the one that its numbers by
# property contradict
AVERAGES = {
    "MP": ("CGCNN (CIF) 5.319 0.846, Llama 2 0-shot 0.389 0.491, Llama 2 5-shot 0.627 0.507,"
           " MatBERT 5.317 0.722, LLM-Prop 4.394 0.691"),
    "JARVIS-DFT": "CGCNN (CIF) 7.048, Llama 2 5-shot 0.704, MatBERT 4.103, LLM-Prop 2.912",
    "SNUMAT": ("CGCNN (CIF) 1.973 0.722, Llama 2 0-shot 0.940, Llama 2 5-shot 1.157 0.466,"
               " MatBERT 1.828 0.712, LLM-Prop 1.509"),
    "GNoME": "CGCNN (CIF) 19.478, Llama 2 5-shot 0.499, MatBERT 12.834, LLM-Prop 15.599",
    "hMOF": "CGCNN (CIF) 2.257, Llama 2 0-shot 0.174, MatBERT 1.430, LLM-Prop 1.479",
    "Cantor HEA": "CGCNN (CIF) 17.780, Llama 2 0-shot 0.034, MatBERT 6.769, LLM-Prop 8.400",
    "JARVIS-QETB": "CGCNN (CIF) 61.729, Llama 2 5-shot 1.047, MatBERT 11.952, LLM-Prop 59.443",
    "OQMD": "CGCNN (CIF) 14.496, Llama 2 0-shot 0.105, MatBERT 5.772, LLM-Prop 6.020",
    "QMOF": "CGCNN (CIF) 3.076, Llama 2 5-shot 0.932, MatBERT 2.049, LLM-Prop 1.958",
    "OMDB": "CGCNN (CIF) 2.751, Llama 2 0-shot 0.885, MatBERT 1.554, LLM-Prop 1.507",
}  # fmt: skip


def formulas(n: int, shift: int) -> list[str]:
    return [f"Na{k}Cl{k + 1}" for k in range(1 + shift, n + 1 + shift)]


def write(folder: Path, dataset: str, name: str | None = None, **columns: Any) -> Path:
    """Write small files in the layout of the benchmark."""
    home = folder / (name or LLM4MAT_DATASETS[dataset].folders[0])
    home.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for number, (part, n) in enumerate(zip(PARTS, (12, 4, 6), strict=True)):
        table: dict[str, Any] = {"material_id": [f"{part}{row}" for row in range(n)]}
        table["formula_pretty" if dataset == "MP" else "formula"] = formulas(n, 20 * number)
        for prop in LLM4MAT_DATASETS[dataset].properties.values():
            values: Any = rng.normal(size=n)
            if prop.kind == "classification":
                labels = ("Indirect", "Direct") if "irect_" in prop.column else ("False", "True")
                values = [labels[row % 2] for row in range(n)]
            table[prop.column] = values
        table["description"] = "a crystal, with\ncommas and lines"
        for column, made in columns.items():
            table[column] = made(n) if callable(made) else made
        pd.DataFrame(table).to_csv(home / f"{part}.csv", index=False)
    return home


def change(path: Path, column: str, row: int, value: Any) -> None:
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    table.loc[row, column] = value
    table.to_csv(path, index=False)


@pytest.mark.slow
@pytest.mark.parametrize("dataset", LLM4MAT_DATASETS)
def test_every_property_runs(dataset: str, tmp_path: Path) -> None:
    write(tmp_path, dataset)
    result = evaluate("dummy", llm4mat_tasks(tmp_path, dataset, subset=True))
    table = llm4mat_comparison(result)
    assert len(table) == len(LLM4MAT_DATASETS[dataset].properties)
    assert not table["complete"].any()
    assert {"CGCNN (CIF)", "MatBERT", "LLM-Prop", "Llama 2 5-shot"} <= set(table.columns)
    assert table["dummy"].notna().all()


def test_what_is_declared() -> None:
    assert len(LLM4MAT_DATASETS) == 10
    properties = [p for spec in LLM4MAT_DATASETS.values() for p in spec.properties.values()]
    assert len(properties) == 65
    assert {p.quantity for p in properties} - {None} <= set(QUANTITIES)
    # number of compounds used, published beside the parts
    used = (146143, 75965, 10372, 376276, 132743, 84019, 623989, 964403, 7656, 12122)
    for spec, total in zip(LLM4MAT_DATASETS.values(), used, strict=True):
        assert sum(spec.rows.values()) == total
    assert sum(p.kind == "classification" for p in properties) == 5
    assert LLM4MAT_DATASETS["MP"].properties["band_gap"].unit == "eV"
    assert np.isnan(LLM4MAT_DATASETS["SNUMAT"].properties["SOC"].published["Llama 2 0-shot"])


@pytest.mark.parametrize("dataset", LLM4MAT_DATASETS)
def test_published_averages_are_those_of_the_properties(dataset: str, tmp_path: Path) -> None:
    """Each number was copied from one table; the averages stand in another."""
    write(tmp_path, dataset)
    averages = llm4mat_averages(evaluate("dummy", llm4mat_tasks(tmp_path, dataset, subset=True)))
    averages = averages.set_index("kind")
    assert (averages["n_properties"] == averages["of"]).all()
    for said in AVERAGES[dataset].split(", "):
        words = said.split()
        numbers = [float(word) for word in words if "." in word]
        name = " ".join(word for word in words if "." not in word)
        kinds = ("regression", "classification")
        for kind, number in zip(kinds, numbers, strict=False):
            # published numbers and weights are rounded
            assert averages.loc[kind, name] == pytest.approx(number, abs=0.005), name


def test_scores(tmp_path: Path) -> None:
    home = write(tmp_path, "SNUMAT")
    properties = ["SOC", "Band_gap_GGA"]
    out = tmp_path / "out"
    tasks = llm4mat_tasks(home, "SNUMAT", properties, subset=True)
    result = evaluate("et-fractions", tasks, output_dir=out)
    [path] = out.glob("*.json")
    assert set(result.audit["tasks"]) == {"SNUMAT.SOC", "SNUMAT.Band_gap_GGA"}
    assert json.loads(path.read_text(encoding="utf-8"))["audit"] == result.audit
    test = pd.read_csv(home / "test.csv")
    record = next(r for r in result.records if r.task == "SNUMAT.Band_gap_GGA")
    y = test["Band_gap_GGA"]
    expected = (y - y.mean()).abs().mean() / np.abs(y - record.predictions).mean()
    table = llm4mat_comparison(result).set_index("property")
    assert table.loc["Bandgap GGA", "et-fractions"] == pytest.approx(expected)
    assert table.loc["SOC", "metric"] == "AUC of labels"
    frame = result.to_frame().set_index("task")
    assert table.loc["SOC", "et-fractions"] == frame.loc["SNUMAT.SOC", "balanced_accuracy"]
    assert table.loc["SOC", "et-fractions ROC AUC"] == frame.loc["SNUMAT.SOC", "roc_auc"]
    averages = llm4mat_averages(result).set_index("kind")
    assert averages.loc["classification", ["n_properties", "of"]].tolist() == [1, 3]
    assert averages.loc["classification", "MatBERT"] == 0.82
    assert np.isnan(averages.loc["classification", "Llama 2 0-shot"])


def test_rows_without_a_value(tmp_path: Path) -> None:
    home = write(tmp_path, "MP")
    for row, value in enumerate(["", "nan", "NaN", "inf", "-inf", "na"]):
        change(home / "train.csv", "band_gap", row, value)
    change(home / "test.csv", "formula_pretty", 2, "NaN")
    [task] = llm4mat_tasks(tmp_path, "MP", "band_gap", subset=True)
    assert len(task.folds[0][0]) == 6
    assert task.notes["rows_without_value"] == {"train": 6, "validation": 0, "test": 0}
    assert task.ids[0] == "train-6"
    # sodium nitride is no missing value
    assert task.formulas[task.folds[0][1][2]] == "NaN"


def test_labels(tmp_path: Path) -> None:
    home = write(tmp_path, "SNUMAT")
    change(home / "train.csv", "Direct_or_indirect", 0, "Null")
    [task] = llm4mat_tasks(tmp_path, "SNUMAT", "Direct_or_indirect", subset=True)
    assert task.y.dtype == bool
    assert task.y[:3].tolist() == [True, False, True]
    assert task.ids[0] == "train-1"
    change(home / "train.csv", "Direct_or_indirect", 1, "perhaps")
    with pytest.raises(DatasetError, match=r"train.csv, row 1: 'perhaps' .* is not a label"):
        llm4mat_tasks(tmp_path, "SNUMAT", "Direct_or_indirect", subset=True)


def test_validation_rows_are_for_training_if_asked(tmp_path: Path) -> None:
    write(tmp_path, "OMDB")
    [without] = llm4mat_tasks(tmp_path, "OMDB", "bandgap", subset=True)
    [with_them] = llm4mat_tasks(tmp_path, "OMDB", "bandgap", subset=True, include_validation=True)
    assert len(without.folds[0][0]) == 12
    assert len(with_them.folds[0][0]) == 16
    np.testing.assert_array_equal(without.folds[0][1], with_them.folds[0][1])
    assert without.digest(0) != with_them.digest(0)


def test_crystals_without_formulas(tmp_path: Path) -> None:
    cif = "data_x\n_chemical_formula_structural NaCl\n_chemical_formula_sum   'Na1 Cl1'\nloop_\n"
    home = write(tmp_path, "QMOF", cif_structure=cif)
    for part in PARTS:
        table = pd.read_csv(home / f"{part}.csv").drop(columns="formula")
        table.to_csv(home / f"{part}.csv", index=False)
    [task] = llm4mat_tasks(tmp_path, "QMOF", "lcd", subset=True)
    assert set(task.formulas) == {"Na1 Cl1"}
    change(home / "test.csv", "cif_structure", 3, "data_x")
    with pytest.raises(DatasetError, match=r"test.csv, row 3: .* no _chemical_formula_sum"):
        llm4mat_tasks(tmp_path, "QMOF", "lcd", subset=True)


def test_incomplete_files_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "MP")
    with pytest.raises(DatasetError, match=r"has 12 rows; the published train part .* 125,825"):
        llm4mat_tasks(tmp_path, "MP", "band_gap")


def test_data_sets_that_are_there(tmp_path: Path) -> None:
    write(tmp_path, "OMDB")
    write(tmp_path, "Cantor HEA", name="hea")
    tasks = llm4mat_tasks(tmp_path, subset=True)
    assert {task.notes["dataset"] for task in tasks} == {"OMDB", "Cantor HEA"}
    assert "Cantor_HEA.e_per_atom" in {task.name for task in tasks}


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (("nothing", None), "is not a data set of LLM4Mat-Bench: MP, JARVIS-DFT"),
        (("OMDB", "gap"), "'gap' is not a property of OMDB, which has bandgap"),
    ],
)
def test_unknown_names(arguments: tuple, match: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=match):
        llm4mat_tasks(tmp_path, *arguments)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="None of the folders mp, jarvis_dft"):
        llm4mat_tasks(tmp_path)
    with pytest.raises(DatasetError, match=r"No train.csv of OMDB .* subfolder omdb"):
        llm4mat_tasks(tmp_path, "OMDB")
    home = write(tmp_path, "OMDB")
    (home / "validation.csv").unlink()
    with pytest.raises(DatasetError, match=r"validation.csv cannot be read"):
        llm4mat_tasks(tmp_path, "OMDB", subset=True)
    write(tmp_path, "OMDB")
    change(home / "test.csv", "bandgap", 0, "2 eV")
    with pytest.raises(DatasetError, match=r"row 0: '2 eV' in column 'bandgap' is not a number"):
        llm4mat_tasks(tmp_path, "OMDB", subset=True)
    pd.DataFrame({"formula": ["NaCl"]}).to_csv(home / "train.csv", index=False)
    with pytest.raises(DatasetError, match="has no column 'bandgap'"):
        llm4mat_tasks(tmp_path, "OMDB", subset=True)
    pd.DataFrame({"bandgap": [1.0]}).to_csv(home / "train.csv", index=False)
    with pytest.raises(DatasetError, match="none of the columns formula, formula_pretty"):
        llm4mat_tasks(tmp_path, "OMDB", subset=True)
