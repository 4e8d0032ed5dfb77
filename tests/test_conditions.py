"""Conditions beside compositions: how a table's columns are told apart, encoded and refused."""

from __future__ import annotations

import datetime
import warnings
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from pymatgen.core import Composition
from sklearn.base import clone

from sklearn_kt.conditions import ConditionEncoder, composition_column
from sklearn_kt.exceptions import CompositionError, ConditionWarning, InputError

TABLE: dict[str, list] = {
    "route": ["SPS", "cast", None, "cast"],
    "formula": ["NaCl", "KCl", "MgO", "PbTe"],
    "temperature": [300.0, None, 500.0, 900.0],
    "annealed": [True, False, True, True],
    "hours": [1, 2, 3, 4],
}
NAMES = [
    *("temperature", "hours", "missingindicator_temperature", "route_SPS", "route_cast"),
    *("route_missing", "annealed_False", "annealed_True"),
]
SEEN = pd.DataFrame(
    {"formula": ["NaCl", "KCl"], "t": [300.0, 400.0], "route": ["milled", "molten"]}
)


def beside(**columns: Any) -> pd.DataFrame:
    n = len(next(iter(columns.values())))
    return pd.DataFrame({"formula": ["NaCl", "KCl", "MgO", "PbTe"][:n], **columns})


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_numbers_and_categories_become_columns(frame: Any) -> None:
    table = frame(TABLE)
    encoder = ConditionEncoder().fit(table)
    assert encoder.composition_column_ == "formula"
    assert encoder.get_feature_names_out().tolist() == NAMES
    encoded = encoder.transform(table)
    assert encoded.dtype == np.float64
    assert encoded[1].tolist() == [500, 2, 1, 0, 1, 0, 1, 0]
    assert encoded[2].tolist() == [500, 3, 0, 0, 0, 1, 0, 1]
    # order does not matter, nor who made the table
    turned = {name: TABLE[name] for name in reversed(TABLE)}
    for other in (pd.DataFrame(turned), pl.DataFrame(turned), table[1:]):
        rows = len(other)
        assert np.array_equal(encoder.transform(other), encoded[-rows:])
    batch = encoder.read(table)
    assert batch.formulas() == TABLE["formula"]
    assert batch.names == tuple(NAMES)
    for rows in (slice(1, 3), [1, 2], np.array([False, True, True, False])):
        part = batch[rows]
        assert part.formulas() == ["KCl", "MgO"]
        assert np.array_equal(part.conditions, encoded[1:3])
    assert len(batch[[]]) == len(batch[[]].conditions) == 0


@pytest.mark.parametrize(
    "values",
    [
        pd.array([300, None, 500], dtype="Int64"),
        pd.array([300, None, 500], dtype="Float32"),
        [300, None, 500.0],
        pd.Series([300, np.nan, np.int8(50)], dtype=object),
        [np.float32(300), pd.NA, 500],
        [Decimal("300"), None, Fraction(1, 3)],
    ],
)
def test_kinds_of_numbers(values: Any) -> None:
    encoder = ConditionEncoder().fit(beside(t=values))
    assert encoder.numbers_ == ["t"]
    assert encoder.imputer_.indicator_.features_.tolist() == [0]


@pytest.mark.parametrize(
    "values",
    [
        pd.Categorical(["a", "b", "a"]),
        pd.Categorical([1, 2, 1]),
        pd.array([True, None, False], dtype="boolean"),
        [True, None, False],
        ["2D", "3D", " "],
        pd.array(["x", None, "y"], dtype="string"),
    ],
)
def test_kinds_of_categories(values: Any) -> None:
    table = beside(t=values)
    encoder = ConditionEncoder().fit(table)
    assert encoder.categories_ == ["t"]
    assert encoder.transform(table).sum() == 3
    # one row, whatever its type has become
    row = beside(t=[table["t"].tolist()[0]])
    assert np.array_equal(encoder.transform(row), encoder.transform(table[:1]))


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ([300.0, np.inf, 1.0], "row 1 of the condition 't' holds inf"),
        (pd.Series([10**400, 1, 2], dtype=object), "row 0 of the condition 't' holds inf"),
        ([300.0, 1.0, -1e39], r"row 2 of the condition 't' holds -1e\+39"),
        ([300.0, "hot", 1.0], "'t' holds 300.0 in row 0 and 'hot' in row 1.*column of numbers"),
        (["K", "300", "400"], "'t' holds '300' in row 1 and 'K' in row 0.*without units"),
        (["300", "400", "500"], "'300' in row 0, as text.*pandas.to_numeric"),
        (["300 K", "400 K", None], "'300 K' in row 0, as text"),
        (["<5", "7,5", "nan"], "'<5' in row 0, as text"),
        ([np.nan, np.nan, np.nan], "'t' is missing in every row"),
        ([None, None, None], "'t' is missing in every row"),
        ([datetime.date(2020, 1, 1)] * 3, "row 0 .* type date; conditions are numbers"),
        (pd.to_datetime(["2020-01-01"] * 3), "row 0 .* type Timestamp"),
        ([1j, 2, 3], "row 0 .* type complex"),
        ([["a"], ["b"], ["c"]], "row 0 .* type list"),
    ],
)
def test_columns_that_are_no_conditions(column: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ConditionEncoder().fit(beside(t=column))


def test_only_tables_are_encoded() -> None:
    with pytest.raises(InputError, match="Got ndarray where a table"):
        ConditionEncoder().fit(SEEN).transform(SEEN.to_numpy())


def test_places_are_named_as_the_caller_does() -> None:
    encoder = ConditionEncoder().fit(SEEN)
    found = encoder.unlike_training(pd.DataFrame({"t": [350.0, 900.0]}), "line {}".format)
    assert list(found) == [("t", "outside")]
    assert "(line 1: 900)" in found["t", "outside"]


def test_constant_conditions_are_said_once() -> None:
    table = beside(t=[300.0] * 3, route=["milled"] * 3, x=[1, 2, 3])
    with pytest.warns(ConditionWarning, match="'t' is 300, 'route' is 'milled'") as caught:
        ConditionEncoder().fit(table)
    assert len(caught) == 1


def test_names_of_rows_are_no_conditions() -> None:
    table = pd.DataFrame({"formula": ["NaCl", "KCl"] * 20, "t": np.arange(40.0)})
    ConditionEncoder().fit(table.assign(route=["milled", "cast"] * 20))
    names = [f"sample {n}" for n in range(39)]
    with pytest.warns(ConditionWarning, match=r"names rows.*'id' \(39 values in 40 rows\)"):
        ConditionEncoder().fit(table.assign(id=[*names, names[0]]))


def test_what_lies_outside_the_training_table() -> None:
    encoder = ConditionEncoder().fit(SEEN.assign(x=[1.0, 2.0]))
    table = SEEN.assign(t=[200.0, 900.0], x=[1.5, np.nan])
    with pytest.warns(ConditionWarning) as caught:
        encoded = encoder.transform(table)
    assert encoded[:, :2].tolist() == [[200, 1.5], [900, 1.5]]
    assert len(caught) == 1
    text = str(caught[0].message)
    assert "2 of 2 rows have a 't' outside the training range of 300 to 400 (row 0: 200)" in text
    assert "1 of 2 rows have no 'x' (row 1), which no training row lacked" in text
    assert "median of 1.5 stands in" in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"route": ["milled", "cast"]}, "row 1 holds the unknown category 'cast'.*'milled', 'mol"),
        ({"route": ["milled", None]}, "row 1 has no 'route'.*'milled'"),
        ({"t": ["low", "high"]}, "row 0 of the condition 't' holds 'low', where .* numbers"),
        ({"t": ["300", "400"]}, "row 0 of the condition 't' holds '300', where .* numbers"),
        ({"t": [True, False]}, "row 0 of the condition 't' holds True"),
        ({"t": [300, np.inf]}, "row 1 of the condition 't' holds inf"),
        ({"more": [1, 2]}, "X has 'more', which fit did not see; pass the columns 'formula', 't'"),
        ({"formula": ["NaCl", "xyz"]}, "Row 1, 'xyz'"),
    ],
)
def test_tables_unlike_that_of_fit(changes: dict, message: str) -> None:
    encoder = ConditionEncoder().fit(SEEN)
    with pytest.raises(InputError, match=message):
        encoder.read(SEEN.assign(**changes))


@pytest.mark.parametrize(
    ("trained", "met"),
    [
        ([" annealed", "cast"], ["annealed ", " cast"]),
        (pd.Categorical([3, 4]), [3.0, np.float32(4)]),
        (pd.Categorical([3.0, 4.0]), ["3", " 4"]),
        (pd.Categorical(["3", "4"]), [Decimal(3), np.int8(4)]),
        ([True, False], ["True", "False"]),
    ],
)
def test_categories_are_met_however_they_are_spelled(trained: Any, met: Any) -> None:
    encoder = ConditionEncoder().fit(beside(t=trained))
    expected = encoder.transform(beside(t=trained))
    assert len(expected.T) == 2
    for values in (met, pd.Categorical(met)):
        assert np.array_equal(
            encoder.transform(beside(t=pd.Series(values, dtype=object))), expected
        )


def test_messages_stay_short() -> None:
    routes = [f"route {i}" for i in range(300)] * 2
    table = pd.DataFrame({"formula": ["NaCl"] * 600, "t": routes})
    encoder = ConditionEncoder().fit(table)
    with pytest.raises(InputError, match=r"300 in all") as caught:
        encoder.transform(table.assign(t="x" * 9_999))
    assert len(str(caught.value)) < 500


def test_columns_that_are_missing() -> None:
    encoder = ConditionEncoder().fit(SEEN)
    for frame in (SEEN.drop(columns="t"), pl.DataFrame(SEEN.drop(columns="t").to_dict("list"))):
        with pytest.raises(InputError, match="X lacks 't', which fit saw"):
            encoder.transform(frame)
    renamed = SEEN.rename(columns={"formula": "name"})
    with pytest.raises(InputError, match=r"X lacks 'formula'.* and has 'name'"):
        encoder.read(renamed)


def test_the_column_of_compositions() -> None:
    table = pd.DataFrame({"T": [300.0, 400.0], "what": ["NaCl", "MgO"], "by": ["arc", "melt"]})
    assert composition_column(table) == "what"
    assert composition_column(table, "by") == "by"
    # the gate names the row, where it is clear what the column is
    assert composition_column(table.assign(by=[True, False], what=["x", "y"])) == "what"
    assert composition_column(table.assign(what=pd.Categorical(["NaCl", "KCl"]))) == "what"
    objects = table.assign(what=[Composition("NaCl"), {"K": 1}])
    assert composition_column(objects) == "what"
    with pytest.raises(InputError, match="'what', 'two' read as compositions"):
        composition_column(table.assign(two=["KCl", "SPS"]))
    with pytest.raises(InputError, match="'what' holds 'xyz', 'by' holds 'arc'"):
        composition_column(table.assign(what=["xyz", "xyz"]))
    with pytest.raises(InputError, match=r"'formula' is none of the columns.*'T', 'what'"):
        composition_column(table, "formula")
    with pytest.raises(InputError, match="all hold numbers"):
        composition_column(table[["T"]])
    with pytest.raises(InputError, match="several columns 'T'"):
        composition_column(table.set_axis(["T", "T", "by"], axis=1))
    with pytest.raises(InputError, match="column 0 of X is called 0"):
        composition_column(table.set_axis(range(3), axis=1))
    with pytest.raises(InputError, match="Got list"):
        composition_column(["NaCl"])


def test_a_bad_formula_hides_no_column() -> None:
    # SPS and HP are formulas, too: nobody may take the column of formulas for one of categories
    table = beside(route=["SPS", "HP", "SPS", "HP"])
    table.loc[2, "formula"] = "?"
    with pytest.raises(InputError, match="'formula', 'route' read as compositions"):
        ConditionEncoder().fit(table)
    with pytest.raises(CompositionError, match="Row 2"):
        ConditionEncoder("formula").fit(table).read(table)


def test_settings_of_the_host_and_clones() -> None:
    encoder = ConditionEncoder().fit(SEEN)
    with sklearn.config_context(transform_output="pandas"):
        assert encoder.transform(SEEN).columns.tolist() == ["t", "route_milled", "route_molten"]
        assert isinstance(encoder.read(SEEN).conditions, np.ndarray)
    assert clone(ConditionEncoder("by")).composition_column == "by"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder.transform(SEEN)
