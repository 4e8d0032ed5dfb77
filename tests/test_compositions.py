"""The gate for compositions: containers, formulas, rejections, agreement with pymatgen."""

from __future__ import annotations

import inspect
import math
import pickle
import re
import subprocess
import sys
import warnings
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse
from hypothesis import assume, example, given
from hypothesis import strategies as st
from pymatgen.core import Composition, DummySpecies, Element, Lattice, Species, Structure
from sklearn.model_selection import KFold, train_test_split

from sklearn_kt._formula import file_stem
from sklearn_kt.compositions import (
    ELEMENTS,
    CompositionBatch,
    composition_groups,
    composition_keys,
    is_composition_input,
    parse_formula,
    read_compositions,
)
from sklearn_kt.exceptions import CompositionError, CompositionWarning, InputError

FORMULAS = ["Fe2O3", "LiFePO4", "NaN"]


def _objects(values: list) -> np.ndarray:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


COMPOSITIONS = [Composition(formula) for formula in FORMULAS]
STRUCTURE = Structure(Lattice.cubic(4), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
MAPPINGS = [{"Fe": 2, "O": 3}, {"Li": 1, "Fe": 1.0, "P": np.int64(1), "O": 4}, {"Na": 1, "N": 1}]

CONTAINERS = {
    "list": FORMULAS,
    "tuple": tuple(FORMULAS),
    "U array": np.array(FORMULAS),
    "U array (n, 1)": np.array(FORMULAS)[:, None],
    "object array": np.array(FORMULAS, dtype=object),
    "object array (n, 1)": np.array(FORMULAS, dtype=object)[:, None],
    "StringDType array": np.array(FORMULAS, dtype=np.dtypes.StringDType()),
    "list of np.str_": list(np.array(FORMULAS)),
    "list of one-element lists": [[formula] for formula in FORMULAS],
    "list of one-element tuples": [(formula,) for formula in FORMULAS],
    "object array of lists": _objects([[formula] for formula in FORMULAS]),
    "masked array": np.ma.array(FORMULAS, mask=False),
    "memory map": np.array(FORMULAS).view(np.memmap),
    "Series object": pd.Series(FORMULAS, index=[7, 7, -1], dtype=object),
    "Series string": pd.Series(FORMULAS, dtype="string[python]"),
    "Series pyarrow": pd.Series(FORMULAS, dtype="string[pyarrow]"),
    "Series category": pd.Series(FORMULAS, dtype="category"),
    "Index": pd.Index(FORMULAS),
    "ExtensionArray": pd.array(FORMULAS, dtype="string"),
    "Categorical": pd.Categorical(FORMULAS),
    "DataFrame": pd.DataFrame({"formula": FORMULAS}, index=[3, 1, 2]),
    "DataFrame category": pd.DataFrame({"formula": FORMULAS}, dtype="category"),
    "polars Series": pl.Series(FORMULAS),
    "polars Categorical": pl.Series(FORMULAS, dtype=pl.Categorical),
    "polars DataFrame": pl.DataFrame({"formula": FORMULAS}),
    "Compositions": COMPOSITIONS,
    "Compositions tuple": tuple(COMPOSITIONS),
    "Compositions object array": _objects(COMPOSITIONS),
    "Compositions object array (n, 1)": _objects(COMPOSITIONS)[:, None],
    "Compositions Series": pd.Series(COMPOSITIONS),
    "Compositions DataFrame": pd.DataFrame({"composition": pd.Series(COMPOSITIONS)}),
    "Compositions polars": pl.Series(COMPOSITIONS, dtype=pl.Object),
    "mappings": MAPPINGS,
    "mappings object array": _objects(MAPPINGS),
    "mappings Series": pd.Series(MAPPINGS),
    "mappings polars struct": pl.DataFrame(
        {
            "Fe": [2, 1, None],
            "Na": [None, None, 1],
            "Li": [None, 1, None],
            "P": [None, 1, None],
            "N": [None, None, 1],
            "O": [3, 4, None],
        }
    ).to_struct(),
    "mixed": [FORMULAS[0], COMPOSITIONS[1], MAPPINGS[2]],
    "batch": read_compositions(FORMULAS),
}


@pytest.mark.parametrize("X", CONTAINERS.values(), ids=CONTAINERS)
def test_containers(X: object) -> None:
    batch = read_compositions(X)
    assert len(batch) == 3
    amounts = [
        dict(zip(batch[[i]].atomic_numbers, batch[[i]].amounts, strict=True)) for i in range(3)
    ]
    assert amounts == [{26: 2, 8: 3}, {3: 1, 26: 1, 15: 1, 8: 4}, {11: 1, 7: 1}]
    assert is_composition_input(X)


@pytest.mark.parametrize("X", CONTAINERS.values(), ids=CONTAINERS)
def test_containers_without_rows(X: object) -> None:
    batch = read_compositions(X[:0])  # type: ignore[index]
    assert len(batch) == 0
    assert batch.fractions().shape == (0, 118)
    assert batch.formulas() == []


def test_input_is_left_alone() -> None:
    frame = pd.DataFrame({"formula": ["Fe2O3", "x"]}, index=[5, 5])
    before = frame.copy(deep=True)
    with pytest.warns(CompositionWarning):
        read_compositions(frame, errors="nan")
    pd.testing.assert_frame_equal(frame, before)


@pytest.mark.parametrize(
    "value",
    ["Fe2O3", Composition("Fe2O3"), {"Fe": 2, "O": 3}, b"Fe2O3", np.array("Fe2O3")],
    ids=repr,
)
def test_single_value(value: object) -> None:
    with pytest.raises(InputError, match="wrap it in a list"):
        read_compositions(value)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (pd.DataFrame({"a": ["Fe"], "b": ["O"]}), r"2 columns \['a', 'b'\].*Select it"),
        (pd.DataFrame(index=[0, 1]), "0 columns"),
        (pl.DataFrame({"a": ["Fe"], "b": ["O"]}), "2 columns"),
        (pl.LazyFrame({"a": ["Fe"]}), "collect"),
        (np.array([["Fe", "O"]]), r"shape \(1, 2\)"),
        (np.array(COMPOSITIONS[:1] + COMPOSITIONS[2:], dtype=object), "pass a list of them"),
        (np.ones((2, 3)), r"shape \(2, 3\)"),
        (np.full((1, 1, 1), "Fe"), r"shape \(1, 1, 1\)"),
        (iter(["Fe"]), "type list_iterator"),
        (STRUCTURE, r"single Structure.*\[value.composition\]"),
        ({"Fe"}, "type set"),
        (None, "type NoneType"),
        (3, "type int"),
        (scipy.sparse.eye(2), "type dia_"),
    ],
)
def test_not_a_container(X: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_compositions(X)


def test_errors_parameter() -> None:
    with pytest.raises(InputError, match="'ignore'"):
        read_compositions(["Fe"], errors="ignore")


FORMULA_CASES = {
    "Fe2O3": {"Fe": 2, "O": 3},
    "Co": {"Co": 1},
    "CO": {"C": 1, "O": 1},
    "H1O1": {"H": 1, "O": 1},
    "HO2H": {"H": 2, "O": 2},
    "Ba0.5Sr0.5TiO3": {"Ba": 0.5, "Sr": 0.5, "Ti": 1, "O": 3},
    "O.5": {"O": 0.5},
    "Fe2O3.": {"Fe": 2, "O": 3},
    "Fe1e-3": {"Fe": 0.001},
    "O2.5e-1": {"O": 0.25},
    "O2e2": {"O": 200},
    "Ca(OH)2": {"Ca": 1, "O": 2, "H": 2},
    "Ca(OH)": {"Ca": 1, "O": 1, "H": 1},
    "(Fe2O3)2.5": {"Fe": 5, "O": 7.5},
    "(Fe2O3) .5": {"Fe": 1, "O": 1.5},
    "[Co(NH3)6]Cl3": {"Co": 1, "N": 6, "H": 18, "Cl": 3},
    "K4[Fe(CN)6]": {"K": 4, "Fe": 1, "C": 6, "N": 6},
    "{Fe[O(H)2]3}2": {"Fe": 2, "O": 6, "H": 12},
    "(Fe]2O": {"Fe": 2, "O": 1},
    "Y3N@C80": {"Y": 3, "N": 1, "C": 80},
    " Fe 2\tO\n3 ": {"Fe": 2, "O": 3},
    "Fe\xa02 O3": {"Fe": 2, "O": 3},
    "NaN": {"Na": 1, "N": 1},
    "D2O": {"H": 2, "O": 1},
    "HDT": {"H": 3},
    "La2Sr0CuO4": {"La": 2, "Cu": 1, "O": 4},
    "Fe1e-9O": {"O": 1},
    "Fe٣": {"Fe": 3},
    "Fe₂O₃": {"Fe": 2, "O": 3},
    "Ca₁₀(PO₄)₆(OH)₂": {"Ca": 10, "P": 6, "O": 26, "H": 2},
    "Li₀.₅CoO₂": {"Li": 0.5, "Co": 1, "O": 2},
    "CuSO4·5H2O": {"Cu": 1, "S": 1, "O": 9, "H": 10},
    "CuSO4•5H2O": {"Cu": 1, "S": 1, "O": 9, "H": 10},
    "CuSO4∙5H2O": {"Cu": 1, "S": 1, "O": 9, "H": 10},
    "CuSO4⋅5H2O": {"Cu": 1, "S": 1, "O": 9, "H": 10},
    "CuSO₄·5H₂O": {"Cu": 1, "S": 1, "O": 9, "H": 10},
    "CuSO4 · 5 H2O": {"Cu": 1, "S": 1, "O": 9, "H": 10},
    "CuSO4 . 5H2O": {"Cu": 1, "S": 1, "O": 9, "H": 10},
    "CuSO4. 5H2O": {"Cu": 1, "S": 1, "O": 9, "H": 10},
    "CaSO4·0.5H2O": {"Ca": 1, "S": 1, "O": 4.5, "H": 1},
    "CaSO4·.5H2O": {"Ca": 1, "S": 1, "O": 4.5, "H": 1},
    "2CaSO4·H2O": {"Ca": 2, "S": 2, "O": 9, "H": 2},
    "3Al2O3·2SiO2": {"Al": 6, "O": 13, "Si": 2},
    "FeCl3.H2O": {"Fe": 1, "Cl": 3, "H": 2, "O": 1},
    "K.Na": {"K": 1, "Na": 1},
    "Ba0.5Sr0.5O . 2H2O": {"Ba": 0.5, "Sr": 0.5, "O": 3, "H": 4},
    "MgCl2·6(H2O)": {"Mg": 1, "Cl": 2, "H": 12, "O": 6},
    "MgCl2 * 6 H2O": {"Mg": 1, "Cl": 2, "H": 12, "O": 6},
    "CaO.Al2O3.2SiO2": {"Ca": 1, "O": 8, "Al": 2, "Si": 2},
    "3CaO.Al2O3": {"Ca": 3, "O": 6, "Al": 2},
    "3MgO.2SiO2.2H2O": {"Mg": 3, "O": 9, "Si": 2, "H": 4},
    "5Mg(OH)2.MgCl2.8H2O": {"Mg": 6, "O": 18, "H": 26, "Cl": 2},
    "(CaO.Al2O3)2": {"Ca": 2, "O": 8, "Al": 4},
    "(2CaO·SiO2)0.5": {"Ca": 1, "O": 2, "Si": 0.5},
    "CaSO4.0.5H2O": {"Ca": 1, "S": 1, "O": 4.5, "H": 1},
    "CaSO4 . 0.5 H2O": {"Ca": 1, "S": 1, "O": 4.5, "H": 1},
    "CuCl.1.5H2O": {"Cu": 1, "Cl": 1, "H": 3, "O": 1.5},
    "Fe0.9.2H2O": {"Fe": 0.9, "H": 4, "O": 2},
    "Fe2O3.1.05H2O": {"Fe": 2, "O": 4.05, "H": 2.1},
    "CaSO4·1/2H2O": {"Ca": 1, "S": 1, "O": 4.5, "H": 1},
    "CaSO4.1/2H2O": {"Ca": 1, "S": 1, "O": 4.5, "H": 1},
    "Na0.35CoO2·1.3H2O": {"Na": 0.35, "Co": 1, "O": 3.3, "H": 2.6},
    "Fe0.62Ni0.38": {"Fe": 0.62, "Ni": 0.38},
    "Fe.5Ni.5": {"Fe": 0.5, "Ni": 0.5},
    "Ba.6K.4Fe2As2": {"Ba": 0.6, "K": 0.4, "Fe": 2, "As": 2},
    "Ba0.6K0.4Fe2As2": {"Ba": 0.6, "K": 0.4, "Fe": 2, "As": 2},
    "La1.85Sr0.15CuO4": {"La": 1.85, "Sr": 0.15, "Cu": 1, "O": 4},
    "Al0.3Ga0.7As": {"Al": 0.3, "Ga": 0.7, "As": 1},
    "Li1.2Mn0.54Ni0.13Co0.13O2": {"Li": 1.2, "Mn": 0.54, "Ni": 0.13, "Co": 0.13, "O": 2},
    "Li1.5Al0.5Ge1.5(PO4)3": {"Li": 1.5, "Al": 0.5, "Ge": 1.5, "P": 3, "O": 12},
    "Bi2.1Sr1.9CaCu2O8": {"Bi": 2.1, "Sr": 1.9, "Ca": 1, "Cu": 2, "O": 8},
    "Pb(Mg1/3Nb2/3)O3": {"Pb": 1, "Mg": 1 / 3, "Nb": 2 / 3, "O": 3},
    "Li[Li1/3Ti5/3]O4": {"Li": 1 + 1 / 3, "Ti": 5 / 3, "O": 4},
    "(NaCl)1/2(KCl)1/2": {"Na": 0.5, "Cl": 1, "K": 0.5},
    "Fe1E-3O": {"Fe": 0.001, "O": 1},
    "Fe1e+1O": {"Fe": 10, "O": 1},
    "DCl": {"H": 1, "Cl": 1},
    "LiD": {"Li": 1, "H": 1},
    "Na2SO4 CaSO4": {"Na": 2, "S": 2, "O": 8, "Ca": 1},
    "NH4 Cl": {"N": 1, "H": 4, "Cl": 1},
    "K OH": {"K": 1, "O": 1, "H": 1},
    "Fm2O3": {"Fm": 2, "O": 3},
    "ClOAc1": {"Cl": 1, "O": 1, "Ac": 1},
    "YOF": {"Y": 1, "O": 1, "F": 1},
}


@pytest.mark.parametrize(("formula", "amounts"), FORMULA_CASES.items())
def test_formulas(formula: str, amounts: dict[str, float]) -> None:
    parsed = parse_formula(formula)
    assert parsed == amounts
    assert list(parsed) == list(amounts)
    batch = read_compositions([formula])
    assert [ELEMENTS[z - 1] for z in batch.atomic_numbers] == list(amounts)
    assert batch.amounts.tolist() == list(amounts.values())


REJECTED = [
    ("Xx", "unknown element 'Xx'"),
    ("Xx0Fe", "unknown element 'Xx'"),
    ("Fe2Qq3O", "unknown element 'Qq'"),
    ("NA", "unknown element 'A'; symbols are written like 'Fe'"),
    ("J2O", "unknown element 'J'"),
    ("Lax", "the amount 'x' of La is not a number"),
    ("Fe0O0", "all amounts are zero"),
    ("Fe0", "all amounts are zero"),
    ("(FeO)0", "all amounts are zero"),
    ("Fe1e-12", "all amounts are zero"),
    ("Fe-1O3", "a negative amount after 'Fe'"),
    ("Fe-1Fe2", "a negative amount after 'Fe'"),
    ("", "an empty string"),
    (" \t\n", "an empty string"),
    ("@", "an empty string"),
    ("fe2o3", "capital letter"),
    ("nacl", "capital letter"),
    ("nan", "capital letter"),
    ("x", "capital letter"),
    ("Fe3+", "a charge"),
    ("SO4 2-", "a charge"),
    ("SO4-2", "a charge"),
    ("Na+", "a charge"),
    ("Cl-", "a charge"),
    ("Fe³⁺", "a charge"),
    ("Fe^3+", "a charge"),
    ("Fe2O3-x", "the amount '-x' is not a number"),
    ("Fe2O3\u2212x", "the amount '\u2212x' is not a number"),
    ("YBa2Cu3O7-δ", "the amount '-δ' is not a number"),
    ("La2-xSrxCuO4", "the amount '-x' is not a number"),
    ("CuSO4·xH2O", "the amount 'x' is not a number"),
    ("CuSO4·nH2O", "the amount 'n' is not a number"),
    ("O10=z", "unexpected character '=' after 'O10'"),
    ("Br0.5!1.5", "unexpected character '!' after 'Br0.5'"),
    ("LiFePO4/C", "a '/' between formulas"),
    ("Fe2O3, SiO2", "unexpected character ','"),
    ("Fe\0O", r"unexpected character '\x00'"),
    ("氧化铁", "unexpected character '氧'"),
    ("Fe+O", "a charge"),
    ("5H2O", "the number '5' belongs to no element; a number of formula units is left out: "),
    ("2(Fe2O3)", "the number '2' belongs to no element"),
    ("2(CaO.SiO2)", "the number '2' belongs to no element"),
    ("CuSO4 5H2O", "the number '5' belongs to no element; begin a part with '·': write 'CuSO4·5"),
    ("TiO2/5Ag", "a '/' between formulas or in the amount of O"),
    ("SiO3/2", "an amount as a decimal, 'O1.5'"),
    ("Mg1/0O", "not one of small integers"),
    (f"Mg{'1' * 5000}/3O", "not one of small integers"),
    ("Ti-6Al-4V", "an alloy, in per cent by weight: write 'Ti90Al6V4' and read it with amounts"),
    ("Al-4.5Cu", "write 'Al95.5Cu4.5'"),
    ("60SiO2-40Na2O", "joined by a hyphen or '+'; for amounts in moles: write '60SiO2·40Na2O'"),
    ("0.7PbTiO3 + 0.3PbZrO3", "write '0.7PbTiO3·0.3PbZrO3'"),
    ("SiO2-Na2O", "formulas joined by a hyphen, of unknown shares"),
    ("\u03b1-Fe2O3", "'\u03b1-' names a form, which is left out of a formula: write 'Fe2O3'"),
    ("4H-SiC", "'4H-' names a form"),
    ("1T'-MoTe2", "names a form"),
    ("cubic ZrO2", "write 'ZrO2'"),
    ("{'Fe': 2, 'O': 3}", "the text of a mapping"),
    ('{"Fe": 2}', "the text of a mapping"),
    ("2-Feb", "a date, which a spreadsheet makes"),
    ("Fe0,5Ni0,5", "a decimal comma: write 'Fe0.5Ni0.5'"),
    ("3.5", "the number '3.5' belongs to no element"),
    ("Fe(", "opened and never closed"),
    ("(Fe2O3", "opened and never closed"),
    ("Fe)", "closed that was never opened"),
    ("Fe)(O", "closed that was never opened"),
    ("()", "a pair of brackets is empty"),
    ("Fe( )2", "a pair of brackets is empty"),
    ("O..5", "a number is not complete"),
    ("O2e", "a number is not complete"),
    ("O1.2.3", "a number is not complete"),
    ("O2*3", "a part before or after a dot is empty"),
    ("Fe·", "before or after a dot is empty"),
    ("·Fe", "before or after a dot is empty"),
    ("Fe··O", "before or after a dot is empty"),
    ("H1e400", "the amount of H is not finite"),
    ("H" + 400 * "9", "the amount of H is not finite"),
    ("H1e308O1e308", "the total amount is not finite"),
    ("(H1e200)1e200", "the amount of H is not finite"),
    (None, "a missing value"),
    (math.nan, "keep_default_na=False"),
    (np.float32("nan"), "keep_default_na=False"),
    (pd.NA, "a missing value"),
    (pd.NaT, "a missing value"),
    (1, "a number"),
    (2.5, "a number"),
    (True, "a number"),
    (np.int8(3), "a number"),
    (np.True_, "a number"),
    (b"Fe2O3", "decode"),
    (Element("Fe"), "type Element"),
    (object, "type type"),
    (("Fe", "O"), "a tuple of 2 values"),
    ((), "a tuple of 0 values"),
    ((("Fe",),), "type tuple"),
    ((None,), "a missing value"),
]


@pytest.mark.parametrize(("value", "reason"), REJECTED)
def test_rejected(value: object, reason: str) -> None:
    rows = ["Fe2O3", value]
    with pytest.raises(CompositionError) as caught:
        read_compositions(rows)
    error = caught.value
    assert error.row == 1
    assert error.value is value
    assert reason in error.reason
    assert str(error).startswith("1 of 2 rows is not a composition. Row 1, ")
    assert error.reason in str(error)
    assert "errors='nan'" in str(error)
    with pytest.warns(CompositionWarning, match="1 of 2 rows is not a composition and gives NaN"):
        batch = read_compositions(rows, errors="nan")
    assert batch.valid.tolist() == [True, False]
    if isinstance(value, str):
        with pytest.raises(CompositionError) as caught:
            parse_formula(value)
        assert caught.value.reason == error.reason


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({}, "an empty mapping"),
        (Composition(), "an empty mapping"),
        ({"Fe": 0}, "all amounts are zero"),
        ({"Fe": -1, "O": 2}, r"the amount of Fe is negative (-1)"),
        (Composition({"Fe": -1}, allow_negative=True), "the amount of Fe is negative"),
        ({"Xx": 1}, "unknown element 'Xx'"),
        ({"Fe3+": 1}, "unknown element 'Fe3+'"),
        (Composition({DummySpecies("X"): 1, "O": 1}), "unknown element 'X'"),
        (Composition("Xx2O3"), "unknown element 'Xx'"),
        ({"Fe": None}, "is missing"),
        ({"Fe": math.nan}, "is missing"),
        ({"Fe": "2"}, "is '2', which is not a number"),
        ({"Fe": True}, "is True, which is not a number"),
        ({"Fe": 1j}, "is 1j, which is not a number"),
        ({"Fe": Decimal(2)}, "which is not a number"),
        ({"Fe": math.inf}, "not finite"),
        ({"Fe": 10**400}, "not finite"),
        ({26: 2}, "the key 26 is not an element symbol"),
        ({None: 2}, "the key None is not an element symbol"),
    ],
    ids=repr,
)
def test_rejected_mapping(value: object, reason: str) -> None:
    with pytest.raises(CompositionError) as caught:
        read_compositions([value])
    assert reason in caught.value.reason
    assert caught.value.value is value


@pytest.mark.parametrize(
    ("value", "formula"),
    [
        ({"D": 2, "O": 1}, "H2O"),
        ({"D": 1, "T": 1, "H": 1}, "H3"),
        ({"Fe": Fraction(1, 4), "O": np.float32(0.5)}, "Fe0.25O0.5"),
        ({"Fe": 0, "O": 1, "H": -1e-17}, "O"),
        ({Element("Fe"): 1, Species("O", -2): 2}, "FeO2"),
        (Composition({Species("Fe", 2): 1, Species("Fe", 3): 2, Species("O", -2): 4}), "Fe3O4"),
        (Composition("Fe2O3", strict=True), "Fe2O3"),
        (Composition("D2O"), "H2O"),
    ],
    ids=repr,
)
def test_mappings(value: object, formula: str) -> None:
    assert read_compositions([value]).formulas() == [formula]


def test_masked_rows_are_missing() -> None:
    for dtype in ("U5", object):
        with pytest.raises(CompositionError) as caught:
            read_compositions(np.ma.array(["Fe2O3", "SiO2"], mask=[False, True], dtype=dtype))
        assert (caught.value.row, caught.value.reason) == (1, "a missing value")


def test_polars_null_is_missing_and_null_field_absent() -> None:
    with pytest.raises(CompositionError, match="Row 1, None: a missing value"):
        read_compositions(pl.Series(["Fe", None]))
    struct = pl.DataFrame({"Fe": [1, None], "O": [None, 2]}).to_struct()
    assert read_compositions(struct).formulas() == ["Fe", "O2"]


def test_several_bad_rows() -> None:
    rows = ["Fe", "x", None, "SiO2", 3.0, "Qq"]
    with pytest.raises(CompositionError) as caught:
        read_compositions(pd.Series(rows, index=list("abcdef"), dtype=object))
    text = str(caught.value)
    assert "4 of 6 rows are not compositions. Row 1, 'x': " in text
    assert "Row 2, None: a missing value. Row 4, 3.0: a number" in text
    assert "And so on." in text
    assert "Qq" not in text
    with pytest.warns(CompositionWarning) as warned:
        batch = read_compositions(rows, errors="nan")
    assert len(warned) == 1
    assert "4 of 6 rows are not compositions and give NaN. Row 1, 'x'" in str(warned[0].message)
    assert batch.n_elements.tolist() == [1, 0, 0, 2, 0, 0]
    assert np.isnan(batch.fractions()).all(axis=1).tolist() == (~batch.valid).tolist()
    assert batch.formulas() == ["Fe", "", "", "SiO2", "", ""]


def test_batch_with_empty_rows_is_read_again() -> None:
    with pytest.warns(CompositionWarning):
        batch = read_compositions(["Fe", None], errors="nan")
    with pytest.raises(CompositionError, match="Row 1"):
        read_compositions(batch)
    with pytest.warns(CompositionWarning, match="1 of 2"):
        assert read_compositions(batch, errors="nan") is batch


def test_long_values_are_shortened() -> None:
    for value in [
        "Fe" + "q" * 5000,
        b"x" * 5000,
        {"Q" * 5000: 1},
        ["Fe"] * 5000,
        Composition("Fe2O3") and None,
    ]:
        with pytest.raises(CompositionError) as caught:
            read_compositions([value])
        assert len(str(caught.value)) < 500
    with pytest.raises(CompositionError, match=r"5001 characters"):
        read_compositions(["f" * 5001])


def test_deep_values_are_refused() -> None:
    deep: list = []
    for _ in range(10**5):
        deep = [deep]
    with pytest.raises(CompositionError, match="type list"):
        read_compositions([deep])
    with pytest.raises(CompositionError, match="which is not a number"):
        read_compositions([{"Fe": deep}])
    assert is_composition_input([deep]) is True


def test_error_survives_pickling() -> None:
    with pytest.raises(CompositionError) as caught:
        read_compositions(["Fe", "Xx"])
    error = pickle.loads(pickle.dumps(caught.value))
    assert (str(error), error.row, error.value) == (str(caught.value), 1, "Xx")


def _warned(formula: str) -> list[str]:
    """Messages of the gate, which parse_formula gives too."""
    with warnings.catch_warnings(record=True) as gate:
        warnings.simplefilter("always")
        batch = read_compositions([formula])
    with warnings.catch_warnings(record=True) as single:
        warnings.simplefilter("always")
        amounts = parse_formula(formula)
    assert list(amounts.values()) == batch.amounts.tolist()
    messages = [str(warning.message) for warning in gate]
    assert [str(warning.message) for warning in single] == messages
    assert {warning.category for warning in gate} <= {CompositionWarning}
    assert {warning.filename for warning in gate} <= {__file__}
    return messages


def _quiet(formula: str) -> dict[str, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CompositionWarning)
        return parse_formula(formula)


@pytest.mark.parametrize(
    ("formula", "read", "other"),
    [
        ("CuSO4.5H2O", "CuSO4·5H2O", "CuSO5.5H2"),
        ("CuSO₄.5H₂O", "CuSO4·5H2O", "CuSO5.5H2"),
        ("MgCl2.6H2O", "MgCl2·6H2O", "Mg1Cl2.6e0H2O1"),
        ("Na2CO3.10H2O", "Na2CO3·10H2O", "Na2CO4.1H2"),
        ("Ca(OH)2.5H2O", "Ca(OH)2·5H2O", "CaO3.5H4.5"),
        ("CuCl.2H2O", "CuCl·2H2O", "CuCl0.2H2O"),
        ("CuCl .2H2O", "CuCl·2H2O", "CuCl0.2H2O"),
        ("CuSO4.5(H2O)", "CuSO4·5(H2O)", "CuSO5.5H2"),
        ("CuSO4.5D2O", "CuSO4·5D2O", "CuSO5.5H2"),
        ("Li2O.2B2O3", "Li2O·2B2O3", "Li2O3.2B2"),
        ("NiCl2.6NH3", "NiCl2·6NH3", "Ni1Cl2.6e0N1H3"),
        ("(NiCl2.6NH3)2", "(NiCl2·6NH3)2", "Ni2Cl5.2N2H6"),
        ("PbTe.2Bi2Te3", "PbTe·2Bi2Te3", "PbTe3.2Bi2"),
        ("CaO·Al2O3.2SiO2", "CaO·Al2O3·2SiO2", "CaO6.2Al2Si"),
        ("Na0.35CoO2.1.3H2O", "Na0.35CoO2·1.3H2O", "Na0.35CoO2.1·3H2O"),
        ("KMg2.5Si4O10.H2O", "KMg2.5Si4O10·H2O", "KMg2·5Si4O10·H2O"),
        ("NaCl 2H2O", "NaCl2H2O", "NaCl·2H2O"),
        ("SiC 4H", "SiC4H", "SiC·4H"),
    ],
)
def test_dots_that_may_be_decimal_points(formula: str, read: str, other: str) -> None:
    (text,) = _warned(formula)
    assert text.startswith("In 1 of 1 rows a '.' or a space may separate parts or belong to")
    assert f"was read as {read!r}; otherwise write {other!r}." in text
    assert parse_formula(read) == _quiet(formula)
    assert parse_formula(other) != _quiet(formula)


@pytest.mark.parametrize(
    ("formula", "kind", "read", "other"),
    [
        ("Fe(III)2O3", "Roman numerals", "FeI6O3", "Fe2O3"),
        ("Sn(IV)O2", "Roman numerals", "SnIVO2", "SnO2"),
        ("Fe(II)", "Roman numerals", "FeI2", "Fe"),
        ("V(V)2O5", "Roman numerals", "V3O5", "V2O5"),
        ("FeIIFeIII2O4", "Roman numerals", "Fe2I6O4", "FeFe2O4"),
        ("Cs2[Au(I)Cl2]", "Roman numerals", "Cs2AuICl2", "Cs2(AuCl2)"),
        ("DD0.08Fe2Ni2Sb12", "D or T", "H1.08Fe2Ni2Sb12", None),
        ("DFe4Sb12", "D or T", "HFe4Sb12", None),
        ("TFe2", "D or T", "HFe2", None),
        ("LaT2Si2", "D or T", "LaH2Si2", None),
        ("PbTe NCs", "letters after a space", "PbTeNCs", "PbTe"),
        ("ZnO NP", "letters after a space", "ZnONP", "ZnO"),
        ("LiFePO4 C", "letters after a space", "LiFePO4C", "LiFePO4"),
        ("TiO2 P25", "letters after a space", "TiO2P25", "TiO2"),
        ("TiO2(B)", "letters after a space or alone in brackets", "TiO2B", "TiO2"),
        ("VO2 (B)", "letters after a space or alone in brackets", "VO2B", "VO2"),
        ("Mg3Sb2 (HP)", "letters after a space or alone in brackets", "Mg3Sb2HP", "Mg3Sb2"),
        ("PbTe(SPS)", "letters after a space or alone in brackets", "PbTeS2P", "PbTe"),
        ("Bi2Te3(NW)", "letters after a space or alone in brackets", "Bi2Te3NW", "Bi2Te3"),
        ("Fe2O3 CNTs", "letters after a space", "Fe2O3C1N1Ts1", "Fe2O3"),
        ("YBCO", "a common abbreviation", "Y1B1C1O1", None),
        ("Ti6Al4V", "a common abbreviation", "Ti6Al4V1", None),
        ("Zn(OAc)2", "a common abbreviation", "ZnO2Ac2", None),
        ("NaOAc", "a common abbreviation", "Na1O1Ac1", None),
        ("CTs", "a common abbreviation", "C1Ts1", None),
    ],
)
def test_letters_with_another_meaning(
    formula: str, kind: str, read: str, other: str | None
) -> None:
    texts = _warned(formula)
    (text,) = [text for text in texts if text.startswith(f"In 1 of 1 rows {kind}")]
    expected = f"was read as {read!r}" + (f"; otherwise write {other!r}" if other else "")
    assert f"{expected}." in text
    assert parse_formula(read) == _quiet(formula)


def test_each_kind_of_doubt_is_counted() -> None:
    rows = ["Fe(III)2O3", "CuSO4.5H2O", "Fe", "YBCO", ["CuSO4.6H2O"], *["MgCl2.6H2O"] * 3]
    with pytest.warns(CompositionWarning) as warned:
        read_compositions(rows)
    dots, numerals, names = [str(warning.message) for warning in warned]
    assert dots.startswith("In 5 of 8 rows a '.'")
    assert "Row 1, 'CuSO4.5H2O'" in dots
    assert "Row 4, 'CuSO4.6H2O'" in dots
    assert "Row 5" in dots
    assert "Row 6" not in dots
    assert "And so on." in dots
    assert numerals.startswith("In 1 of 8 rows Roman")
    assert names.startswith("In 1 of 8 rows a common")


def test_doubts_are_told_beside_rejected_rows() -> None:
    with pytest.warns(CompositionWarning) as warned:
        read_compositions(["x", "CuSO4.5H2O"], errors="nan")
    assert [str(warning.message)[:14] for warning in warned] == ["1 of 2 rows is", "In 1 of 2 rows"]


_parts = st.sampled_from(
    ["CaO", "Al2O3", "Mg(OH)2", "MgCl2", "CuCl", "K2[PtCl4]", "Na0.35CoO2", "Fe2O3", "La1.85O4"]
)
_multipliers = st.sampled_from(["", "2", "10", "0.5", "1.5", "2.25", "1/2"])
_dots = st.sampled_from([".", "·", "•", "*", "⋅", "∙", " . ", " · ", " * ", ". ", " ."])


@given(_multipliers, _parts, _multipliers, _parts, _multipliers, _dots)
@example("", "CaO", "", "Al2O3", "2", ".")
@example("5", "Mg(OH)2", "", "MgCl2", "8", ".")
@example("", "Na0.35CoO2", "0.5", "CuCl", "1.5", ".")
def test_parts_in_every_style(m1: str, x: str, m2: str, y: str, m3: str, dot: str) -> None:
    expected: dict[str, float] = {}
    for multiplier, part in ((m1, x), (m2, y), (m3, "H2O")):
        factor = float(Fraction(multiplier)) if multiplier else 1.0
        for symbol, amount in parse_formula(part).items():
            expected[symbol] = expected.get(symbol, 0.0) + factor * amount
    formula = f"{m1}{x}{dot}{m2}{y}{dot}{m3}H2O"
    texts = _warned(formula)
    candidates = [_quiet(formula)]
    for text in texts:
        candidates += [
            parse_formula(other) for other in re.findall(r"(?:write|or) '([^']*)'", text)
        ]
    assert any(candidate == pytest.approx(expected) for candidate in candidates)
    if "." not in dot:
        assert not texts


@given(st.text(alphabet="FeOHCuSIVDTNP2B()·.0123 -s/*", max_size=14))
@example("CuSO4.5H2O")
@example("O.2B2O3.1.5H2O")
@example("DD0.08Fe2.5H2O")
@example("60SiO2-40Na2O")
def test_advice_is_read_silently_as_promised(text: str) -> None:
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            read = parse_formula(text)
    except CompositionError as error:
        for spelling in re.findall(r"write '([^']*)'", error.reason):
            if "by weight" in error.reason:
                read_compositions([spelling], amounts="weight")
            else:
                parse_formula(spelling)
        return
    for warning in warned:
        message = str(warning.message)
        for spelling in re.findall(r"was read as '([^']*)'", message):
            assert parse_formula(spelling) == pytest.approx(read)
        for spelling in re.findall(r"(?:write|or) '([^']*)'", message):
            parse_formula(spelling)


def test_amounts_by_weight() -> None:
    steel = {"Fe": 70.0, "Cr": 20.0, "Ni": 10.0}
    atoms = {z: steel[ELEMENTS[z - 1]] / Element.from_Z(z).atomic_mass for z in (26, 24, 28)}
    expected = np.array(list(atoms.values())) * 100 / sum(atoms.values())
    frame = pd.DataFrame([steel, steel])
    for X in ([steel] * 2, frame, pl.DataFrame(frame), ["Fe70Cr20Ni10", "Fe 70 Cr 20 Ni 10"]):
        batch = read_compositions(X, amounts="weight")
        np.testing.assert_allclose(batch.amounts, [*expected, *expected], rtol=1e-6)
    water = read_compositions([{"H": 2 * 1.00794, "O": 15.9994}], amounts="weight")
    np.testing.assert_allclose(water.fractions()[0, [0, 7]], [2 / 3, 1 / 3], rtol=1e-4)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("Al2O3·5H2O", "each with its number"),
        ("Ti90(AlV)10", "each with its number"),
        ("TiAl6V4", "each with its number"),
        (Composition("Fe2O3"), "counts atoms"),
        ({"Xx": 1}, "unknown element"),
    ],
    ids=repr,
)
def test_no_amounts_by_weight(value: object, reason: str) -> None:
    with pytest.raises(CompositionError, match=reason):
        read_compositions([value], amounts="weight")


def test_parameter_amounts() -> None:
    with pytest.raises(InputError, match="'atomic' or 'weight', got 'mass'"):
        read_compositions(["Fe"], amounts="mass")
    with pytest.raises(InputError, match="counts atoms"):
        read_compositions(read_compositions(["Fe"]), amounts="weight")


def test_columns_of_elements() -> None:
    frame = pd.DataFrame({"Fe": [2, 0], "O": [3.0, 2.0], "Si": [0, 1]}, index=[5, 5])
    for X in (frame, pl.DataFrame(frame), frame.astype("Float64")):
        assert read_compositions(X).formulas() == ["Fe2O3", "O2Si"]
    assert read_compositions(frame[["Fe"]].iloc[:1]).formulas() == ["Fe2"]
    assert read_compositions(frame[:0]).formulas() == []
    frame.iloc[1, 1] = math.nan
    for X in (frame, pl.DataFrame(frame), pl.DataFrame(frame, nan_to_null=True)):
        with pytest.raises(CompositionError, match=r"Row 1, .* the amount of 'O' is missing"):
            read_compositions(X)
    with pytest.raises(InputError, match="takes those if elements name them"):
        read_compositions(frame.assign(target=1.0))
    with pytest.raises(InputError, match="2 columns"):
        read_compositions(pd.DataFrame({"Fe": ["Fe2O3"], "Ni": ["NiO"]}))


@pytest.mark.parametrize(
    "X",
    [
        "Fe2O3",
        b"Fe2O3",
        {"Fe": 1},
        Composition("Fe"),
        [],
        [b"Fe"],
        [None, "Fe"],
        [math.nan, "Fe"],
        [None],
        ["Fe", 3],
        [math.nan, math.nan],
        pd.Series(["1.5"]),
        pd.Series([None, "Fe"]),
        pd.Series([None], dtype=object),
        pd.Series([pd.NA], dtype="string"),
        pd.DataFrame({"a": [None]}, dtype=object),
        np.array([], dtype="U1"),
        np.array([], dtype=object),
        _objects([None, Composition("Fe")]),
        pl.Series([None, "Fe"]),
        _objects([["Fe"]]),
        [3, "Fe"],
        [pd.Timestamp(0), "Fe"],
        [[1.0, 2.0], "Fe"],
        [["Fe", "O"]],
        [[1.0, "Fe"]],
        np.array("Fe"),
        np.full((2, 2), "Fe"),
        np.full((2, 1, 1), "Fe"),
        np.array(COMPOSITIONS[:1] + COMPOSITIONS[2:], dtype=object),
        np.array(["2020"], dtype="M8[D]"),
        pd.Series([1, "Fe"]),
        pd.Series(pd.to_datetime(["2020"])),
        pd.DataFrame({"a": ["Fe"], "b": ["O"]}),
        pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, "Fe"]}),
        pl.DataFrame({"a": [1.0], "b": ["O"]}),
        pl.LazyFrame({"a": [1.0]}),
        pa.array(["Fe"]),
        pa.chunked_array([["Fe"]]),
        pa.table({"a": ["Fe"]}),
        STRUCTURE,
        [STRUCTURE],
        Element("Fe"),
        [Species("Fe", 3)],
        {"Fe", "O"},
        iter(["Fe"]),
        None,
        object(),
    ],
    ids=lambda X: type(X).__name__,
)
def test_is_composition_input(X: object) -> None:
    assert is_composition_input(X) is True


@pytest.mark.parametrize(
    "X",
    [
        np.ones(3),
        np.ones((3, 1)),
        np.ones((3, 2)),
        np.array(1.0),
        np.ones((2, 2), dtype=object),
        np.ones((2, 1), dtype=object),
        np.ones(2, dtype=object),
        np.full((2, 1), None),
        pd.DataFrame({"a": [1.0], "b": [None]}),
        pl.DataFrame({"a": [1.0], "b": [True]}),
        pa.array([1.0]),
        [Decimal(1), np.bool_(True)],
        np.array([], dtype=float),
        [[1.0, 2.0]],
        [[1.0]],
        [[]],
        [1, 2],
        [None, 1.0],
        (np.ones(2),),
        pd.Series([1.0, 2.0]),
        pd.Series([1, 2], dtype="category"),
        pd.Series([True]),
        pd.DataFrame({"a": [1.0]}),
        pd.DataFrame({"a": [math.nan]}),
        pl.Series([1.0]),
        pl.DataFrame({"a": [1.0]}),
        scipy.sparse.csr_matrix((2, 1)),
        scipy.sparse.csr_array((2, 1)),
        3.0,
    ],
    ids=lambda X: type(X).__name__,
)
def test_is_numeric_input(X: object) -> None:
    assert is_composition_input(X) is False


VALUES = ["NaCl", 5, 5.5, math.nan, None, True, pd.Timestamp(0), [1.0, 2.0], ["Fe"], STRUCTURE]


@given(st.lists(st.sampled_from(VALUES), min_size=1, max_size=5), st.data())
def test_decision_does_not_depend_on_the_order(values: list, data: st.DataObject) -> None:
    again = data.draw(st.permutations(values))
    assert is_composition_input(values) is is_composition_input(again)
    assert is_composition_input(_objects(values)) is is_composition_input(_objects(again))
    assert is_composition_input(pd.Series(values)) is is_composition_input(pd.Series(again))


def test_batch_indexing() -> None:
    with pytest.warns(CompositionWarning):
        batch = read_compositions(["Fe2O3", "", "Si", "LiFePO4"], errors="nan")
    formulas = np.array(batch.formulas(), dtype=object)
    for rows in (
        slice(1, 3),
        slice(None, None, -2),
        slice(0, 0),
        [3, 0, 3, 1],
        [-1],
        np.array([True, False, True, False]),
        np.array([], dtype=np.int64),
    ):
        assert batch[rows].formulas() == formulas[rows].tolist()
        assert batch[rows].offsets.dtype == np.int64
        assert batch[rows].atomic_numbers.dtype == np.int64
    assert batch[[]].formulas() == []
    assert batch.shape == (4,)
    with pytest.raises(InputError, match=r"batch\[\[row\]\]"):
        batch[1]
    with pytest.raises(IndexError):
        batch[[4]]


def test_scikit_learn_splits_batches() -> None:
    formulas = ["Fe2O3", "Si", "NaCl", "MgO"]
    batch = read_compositions(formulas)
    train, test, _, y_test = train_test_split(batch, range(4), shuffle=False, test_size=1)
    assert train.formulas() == formulas[:3]
    assert test.formulas() == formulas[3:]
    assert y_test == [3]
    assert [test.tolist() for _, test in KFold(2).split(batch)] == [[0, 1], [2, 3]]


def test_batch_fields() -> None:
    batch = read_compositions(["Fe2O3", "Si"])
    for field, dtype in (("atomic_numbers", "int64"), ("amounts", "float64"), ("offsets", "int64")):
        assert getattr(batch, field).dtype == dtype
    assert batch.offsets.tolist() == [0, 2, 3]
    assert batch.n_elements.tolist() == [2, 1]
    copy = pickle.loads(pickle.dumps(batch))
    assert isinstance(copy, CompositionBatch)
    assert copy.formulas() == batch.formulas()


def test_fractions() -> None:
    fractions = read_compositions(["Fe2O3", "SiO2", "H1e308"]).fractions()
    assert fractions.shape == (3, 118)
    assert fractions[0, [25, 7]].tolist() == [0.4, 0.6]
    assert fractions[1, [13, 7]].tolist() == [1 / 3, 2 / 3]
    assert fractions[2, 0] == 1
    np.testing.assert_allclose(fractions.sum(axis=1), 1, rtol=1e-15)
    assert np.count_nonzero(fractions) == 5


def test_elements() -> None:
    assert [Element.from_Z(z).symbol for z in range(1, 119)] == list(ELEMENTS)


def test_gate_loads_neither_pymatgen_nor_polars() -> None:
    code = (
        "import sys; from sklearn_kt.compositions import is_composition_input, read_compositions; "
        "read_compositions(['Fe2O3', {'Fe': 1}]); is_composition_input([[1.0]]); "
        "print([m for m in ('pymatgen', 'polars', 'torch') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_parse_formula_takes_strings_only() -> None:
    with pytest.raises(InputError, match="takes one str, got dict"):
        parse_formula({"Fe": 1})  # type: ignore[arg-type]


HUGE = {
    "open brackets": ("(" * 10**5, CompositionError),
    "nested brackets": ("(" * 10**5 + "H" + ")" * 10**5, {"H": 1}),
    "nested factors": ("(" * 10**5 + "H" + ")2" * 10**5, CompositionError),
    "many brackets": ("(FeO)2" * 10**5, {"Fe": 2e5, "O": 2e5}),
    "many tokens": ("FeO2" * 2 * 10**5, {"Fe": 2e5, "O": 4e5}),
    "one bad character": ("FeO2" * 10**5 + "!", CompositionError),
    "digits": ("H" + "1" * 10**7, CompositionError),
    "digits and dot": ("H" + "1" * 10**6 + ".5H2O", CompositionError),
    "spaces": ("Fe" + " " * 10**5 + "O", {"Fe": 1, "O": 1}),
    "spaces and a dot": ("H" + " " * 10**5 + ".2H2O", {"H": 5, "O": 2}),
    "brackets and dots": ("(NiCl2.6NH3)" * 10**3, {"Ni": 1e3, "Cl": 2e3, "N": 6e3, "H": 18e3}),
    "too long": ("FeO2" * 250_000 + "H", CompositionError),
    "spaces and bad": ("Fe" + " " * 10**7 + "!", CompositionError),
    "dots": ("Fe" + "." * 10**6, CompositionError),
    "middle dots": ("Fe" + "·" * 10**6, CompositionError),
    "lower case": ("Fe" + "a" * 10**7, CompositionError),
    "zeros before hydrates": ("F0.5H2O·" * 10**5 + "F", {"F": 5e4 + 1, "H": 2e5, "O": 1e5}),
    "hydrate-like": ("F.2H2OF" * 10**3, {"F": 3996.2, "H": 3998, "O": 1999}),
}


@pytest.mark.slow
@pytest.mark.parametrize(("formula", "expected"), HUGE.values(), ids=HUGE)
@pytest.mark.timeout(60)  # quadratic time would take hours
def test_huge_formulas(formula: str, expected: object) -> None:
    if expected is CompositionError:
        with pytest.raises(CompositionError):
            read_compositions([formula])
    else:
        assert _quiet(formula) == pytest.approx(expected)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CompositionWarning)
            assert read_compositions([formula]).valid.all()


# Agreement with pymatgen: equal to the last bit wherever pymatgen finds a real composition.


def _pymatgen(formula: str) -> dict[str, float] | None:
    try:
        composition = Composition(formula)
    except Exception:  # whatever pymatgen raises, it does not accept the string
        return None
    if not composition.valid or composition.num_atoms <= 0:
        return None
    return composition.get_el_amt_dict()


@pytest.mark.slow
def test_agrees_with_pymatgen_on_real_formulas(data_dir: Path) -> None:
    formulas: set[str] = set()
    for table in [
        *(data_dir / "matbench").glob("*.csv*"),
        *(data_dir / "composition").glob("*.csv.gz"),
    ]:
        columns = pd.read_csv(table, nrows=0).columns.intersection(["composition", "formula"])
        if len(columns):
            column = pd.read_csv(table, usecols=columns, keep_default_na=False)[columns[0]]
            formulas.update(column[column != ""])
    assert len(formulas) >= 100_000
    assert "NaN" in formulas
    ordered = sorted(formulas)
    batch = read_compositions(ordered)
    symbols = [ELEMENTS[z - 1] for z in batch.atomic_numbers]
    amounts = batch.amounts.tolist()
    different = []
    for row, formula in enumerate(ordered):
        entries = slice(batch.offsets[row], batch.offsets[row + 1])
        ours = dict(zip(symbols[entries], amounts[entries], strict=True))
        if ours != _pymatgen(formula):
            different.append(formula)
    assert not different
    assert [row for row in batch.formulas() if not row] == []


_numbers = st.one_of(
    st.just(""),
    st.integers(0, 200).map(str),
    st.floats(1e-12, 1e6).map(lambda x: repr(x).replace("e+", "e")),
    st.sampled_from(["1", "1.0", "0.5", ".5", "2.", "1e2", "2.5e-3", "0", "1e-9", "007"]),
)
_spaces = st.sampled_from(["", "", "", " ", "\t", "\xa0 "])
_tokens = st.tuples(
    st.sampled_from([*ELEMENTS, "D", "T", "H", "O"]), _spaces, _numbers, _spaces
).map("".join)


def _bracketed(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    # exponents after a bracket with a minus sign are read here but not by pymatgen
    factors = st.sampled_from(["", "1", "2", "12", "0.5", ".25", "3.", "1e1", "0"])
    return st.tuples(st.sampled_from(["()", "[]", "{}"]), inner, _spaces, factors, _spaces).map(
        lambda t: f"{t[0][0]}{t[1]}{t[0][1]}{''.join(t[2:])}"
    )


generated_formulas = st.recursive(
    _tokens, lambda inner: _bracketed(inner) | st.lists(inner, min_size=1, max_size=4).map("".join)
)


@given(generated_formulas)
@example("(H1e-5D2)0.1(H3)")
@example("C(Co)O")
@example("Fe1e-3O")
def test_agrees_with_pymatgen_on_generated_formulas(formula: str) -> None:
    expected = _pymatgen(formula)
    assume(expected is not None)
    texts = _warned(formula)
    ours = _quiet(formula)
    if not any("may separate parts" in text for text in texts):
        assert ours == expected
        assert expected is not None
        assert list(ours) == list(expected)


@given(st.text(alphabet="FeOHCoDx()[]·.0123e- +@", max_size=12))
def test_agrees_with_pymatgen_on_noise(text: str) -> None:
    expected = _pymatgen(text)
    try:
        ours, reason = _quiet(text), ""
    except CompositionError as error:
        ours, reason = None, error.reason
    if expected is not None and ours != expected:
        # stricter than pymatgen, only where the documentation says so
        assert ours is None
        assert reason.startswith(
            ("a pair of brackets is empty", "unknown element", "a negative amount", "the amount")
        )


@given(st.one_of(st.text(), st.text(alphabet="FeO2()[]{}.·•0123456789eE+-* \n₂xXD")))
def test_text_gives_a_composition_or_its_error(text: str) -> None:
    try:
        amounts = _quiet(text)
    except CompositionError as error:
        rejected = error
    else:
        assert amounts
        assert set(amounts) <= set(ELEMENTS)
        assert all(1e-8 <= amount < math.inf for amount in amounts.values())
        return
    assert rejected.reason
    assert rejected.value == text


_values = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.just(pd.NA)
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.dictionaries(st.sampled_from([*ELEMENTS[:9], "", "x", None, 1]), inner, max_size=3),
        st.tuples(inner),
    ),
    max_leaves=4,
)


@given(st.lists(_values, max_size=3))
def test_any_rows_give_compositions_or_the_error(rows: list) -> None:
    is_composition_input(rows)
    try:
        batch = read_compositions(rows)
    except CompositionError as error:
        rejected = error
    else:
        assert len(batch) == len(rows)
        assert batch.valid.all()
        return
    assert rejected.row is not None
    assert rejected.value is rows[rejected.row]


_amounts = st.floats(1e-8, 1e300) | st.integers(1, 10**17).map(float)


@given(
    st.lists(
        st.dictionaries(st.sampled_from(ELEMENTS), _amounts, min_size=1, max_size=8), max_size=4
    )
)
@example([{"S": 4.5, "H": 2.0, "O": 1.0}])  # S4.5H2O would look like a hydrate
@example([{"H": 1e16}, {"H": 2.0**53}, {"H": 1e22, "He": 1e-8}])
def test_formulas_read_back_exactly(rows: list[dict[str, float]]) -> None:
    batch = read_compositions(rows)
    again = read_compositions(batch.formulas())
    np.testing.assert_array_equal(again.atomic_numbers, batch.atomic_numbers)
    np.testing.assert_array_equal(again.amounts, batch.amounts)
    np.testing.assert_array_equal(again.offsets, batch.offsets)
    np.testing.assert_allclose(batch.fractions().sum(axis=1), 1, rtol=1e-12)


def test_public_gate_signature() -> None:
    signature = inspect.signature(read_compositions)
    assert list(signature.parameters) == ["X", "errors", "amounts"]
    assert signature.parameters["errors"].kind is inspect.Parameter.KEYWORD_ONLY


# --- the same composition --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("formula", "reduced"),
    [
        ("Fe4O6", "Fe2O3"),
        ("Fe0.4O0.6", "Fe2O3"),
        ("Ba0.5Sr0.5TiO3", "BaSrTi2O6"),
        ("La0.67Sr0.33MnO3", "La67Sr33Mn100O300"),
        ("Fe0.33333333O0.66666667", "FeO2"),
        ("Fe0.333333O0.666667", "FeO2"),
        ("La0.14285714Sr0.28571429O0.57142857", "LaSr2O4"),
        ("H100000000000000000000", "H"),
        ("Fe0.3333O0.6667", "Fe0.3333O0.6667"),
        # an element too rare to count is there all the same
        ("FeC1e-8", "Fe0.99999999C1e-08"),
        # above 3,000 atoms: fractions, of which a tie is rounded up in every spelling
        ("Fe0.271828185O0.728171815", "Fe0.27182819O0.72817182"),
        ("Fe271828185O728171815", "Fe0.27182819O0.72817182"),
        ("Fe0.815484555O2.184515445", "Fe0.27182819O0.72817182"),
    ],
)
def test_reduced_amounts(formula: str, reduced: str) -> None:
    assert read_compositions([formula]).reduced().formulas() == [reduced]


def test_reduced_amounts_of_extreme_and_missing_rows() -> None:
    huge = CompositionBatch(np.array([26, 8]), np.array([1.5e308, 1.5e308]), np.array([0, 2]))
    assert huge.reduced().formulas() == ["FeO"]
    with pytest.warns(CompositionWarning):
        batch = read_compositions(["", "Fe2O4", None], errors="nan")
    assert batch.reduced().formulas() == ["", "FeO2", ""]
    assert len(batch[:0].reduced()) == 0
    everything = read_compositions([dict.fromkeys(ELEMENTS, 0.1)])
    assert everything.reduced().amounts.tolist() == [1.0] * len(ELEMENTS)


def test_groups_are_compositions() -> None:
    rows = ["Fe2O3", "O3Fe2", "Fe4O6", "Fe0.4O0.6", "FeO", "NaN", "NNa", "Fe100001O100000"]
    assert composition_groups(rows).tolist() == [0, 0, 0, 0, 1, 2, 2, 3]
    assert composition_groups([]).tolist() == []
    with pytest.raises(CompositionError, match="Row 1, "):
        composition_groups(["Fe", ""])


def test_keys_are_those_of_kept_pools() -> None:
    """Pools beside checkpoints hold these numbers."""
    keys = composition_keys(read_compositions(["NaCl", "Li2Fe2P2O8", "Ba0.5Sr0.5TiO3"]))
    assert keys.tolist() == [1607299415125307612, 8312686845290813631, 8836092156606545128]


# Og is what makes another composition below
_counts = st.dictionaries(
    st.sampled_from(ELEMENTS[:-1]), st.integers(1, 60), min_size=1, max_size=5
)


@given(_counts, st.integers(2, 9), st.randoms(use_true_random=False))
def test_whoever_asks_gets_one_answer(counts: dict[str, int], factor: int, random: Any) -> None:
    from sklearn_kt.evaluation import CompositionPool, Task, audit_tasks, make_folds
    from sklearn_kt.pretraining import CorpusTable
    from sklearn_kt.screening.tasks import row_keys
    from sklearn_kt.structures.stoichiometry import integer_formulas

    items = list(counts.items())
    random.shuffle(items)
    total = sum(counts.values())
    spellings: list[Any] = [
        counts,
        {symbol: n * factor for symbol, n in items},
        {symbol: n / 7 for symbol, n in items},
        "".join(f"{symbol}{n / total:.8f}" for symbol, n in items),
        "".join(f"{symbol}{n / total:.12g}" for symbol, n in items),
    ]
    other = {**counts, "Og": 1}
    rows = read_compositions([*spellings, other])
    same = [True] * len(spellings) + [False]
    assert composition_groups(rows).tolist() == [0] * len(spellings) + [1]
    for keys in (composition_keys(rows), row_keys(rows)):
        assert (keys == keys[0]).tolist() == same
    formulas = [dict(found.counts) for found in integer_formulas(rows, 1000) if found is not None]
    assert [formula == formulas[0] for formula in formulas] == same
    for spelling in (spellings[0], spellings[3]):
        pool = CompositionPool.from_tables([CorpusTable([spelling])])
        assert pool.contains(rows).tolist() == same
        task = Task(
            "made",
            "regression",
            np.array(rows.formulas(), dtype=object),
            np.zeros(len(rows)),
            np.arange(len(rows)),
            {0: (np.array([0]), np.arange(1, len(rows)))},
        )
        report, unseen = audit_tasks([task], pool=pool)
        assert report["tasks"]["made"]["test_rows_in_train"] == len(spellings) - 1
        assert (~unseen["made"]).tolist() == same
    folds = make_folds(rows, np.arange(len(rows)), kind="regression", n_splits=2)
    assert sorted(test.tolist() for _, test in folds) == [[*range(len(spellings))], [len(rows) - 1]]


# --- names of files ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("formula", "stem"),
    [
        ("NaCl", "NaCl"),
        ("CO", "C_O"),
        ("Co", "Co"),
        ("SiO2", "SiO2"),
        ("SIO2", "S_IO2"),
        ("LiFePO4", "LiFePO4"),
        ("LiFePo4", "LiFeP_o4"),
        ("CaNO3", "CaNO3"),
        ("Ca0.5(OH)2", "Ca0.5(OH)2"),
        ("Ra", "Ra"),
    ],
)
def test_formulas_as_names_of_files(formula: str, stem: str) -> None:
    assert file_stem(formula) == stem


@given(*[st.lists(st.sampled_from(ELEMENTS), min_size=1, max_size=4)] * 2)
@example(["C", "O"], ["Co"])
@example(["N", "Os"], ["No", "S"])
@example(["C", "N", "O"], ["Cn", "O"])
def test_no_two_formulas_share_a_file(one: list[str], other: list[str]) -> None:
    assume("".join(one) != "".join(other))
    assert file_stem("".join(one)).lower() != file_stem("".join(other)).lower()


def test_formulas_that_cannot_be_names_of_files() -> None:
    strange = [
        "Fe₂O₃",
        "Fe₃O₄",
        "Fe2O3",
        "CuSO4·5H2O",
        "../x",
        "a/b",
        "a\\b",
        "CON",
        ".5Na",
        "\ud800",
    ]
    strange += ["NaCl" * 40, "NaCl" * 41, "Fe1e3", "FE1E3", "a b", "a_b", ""]
    stems = [file_stem(formula) for formula in strange]
    assert len({stem.lower() for stem in stems}) == len(strange)
    for stem in stems:
        assert len(stem) <= 64
        assert not set(stem) - set(
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.()"
        )
        assert stem[0] not in ".-"
