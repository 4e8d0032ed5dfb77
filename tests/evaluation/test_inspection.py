"""A look at a table: what is counted, named, and left alone."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

from sklearn_kt.evaluation import inspect_table
from sklearn_kt.exceptions import InputError

TABLE = pd.DataFrame(
    {
        "id": range(8),
        "formula": ["Fe2O3", "Fe4O6", "O3Fe2", "Xx2", None, "NaCl", "YBCO", "MgO"],
        "gap (eV)": ["2.2", "2.0", "0", "1", "", "8.5", "n.d.", "7.8"],
        "kind": ["ins", "ins", "metal", "ins", "", "ins", "ins", None],
        "temperature": [300, 400, 300, 300, 300, 300, 300, 300],
        "route": ["cast", "SPS", "cast", "cast", "", "cast", "SPS", "cast"],
        "lab": ["A", "A", "A", "B", "B", "B", "B", "B"],
    }
)


def test_counts() -> None:
    before = TABLE.copy()
    found = inspect_table(TABLE, "gap (eV)")
    pd.testing.assert_frame_equal(TABLE, before)
    assert (found.n_rows, found.n_compositions, found.n_seen) == (8, 4, 5)
    assert found.rejected["row"].tolist() == ["row 3", "row 4"]
    assert "a missing value" in found.rejected["reason"][1]
    assert len(found.doubts) == 1
    assert "row 6, 'YBCO'" in found.doubts[0]
    assert found.repeats.to_numpy().tolist() == [["Fe2O3", 3]]
    [conflict] = found.conflicts.to_dict("records")
    assert conflict.pop("spread") == pytest.approx(2.2)
    assert conflict == {
        "target": "gap (eV)",
        "composition": "Fe2O3",
        "count": 3,
        "values": "0 to 2.2",
    }
    elements = found.elements.set_index("element")
    assert elements["rows"].head(2).to_dict() == {"O": 5, "Fe": 3}
    assert elements["share"]["O"] == pytest.approx(5 / 6)
    [target] = found.targets
    assert (target.unit, target.task, target.n_empty) == ("eV", "regression", 1)
    assert target.known.tolist() == [2.2, 2.0, 0.0, 1.0, 8.5, 7.8]
    assert target.spoiled.to_numpy().tolist() == [["row 6", "n.d."]]


def test_conditions_tell_rows_of_a_composition_apart() -> None:
    found = inspect_table(TABLE, "gap (eV)", conditions=["temperature"])
    assert found.repeats.to_numpy().tolist() == [["Fe2O3", 300.0, 2]]
    assert found.conflicts["values"].tolist() == ["0 to 2.2"]
    assert not len(inspect_table(TABLE, "gap (eV)", conditions=["temperature", "id"]).repeats)
    # 300 and 300.0 are one condition, and so are two empty cells
    table = pd.DataFrame({"formula": ["MgO"] * 4, "T": ["300", "300.0", None, " "], "y": range(4)})
    assert inspect_table(table, "y", conditions=["T"]).repeats["count"].tolist() == [2, 2]


def test_columns_that_look_like_conditions() -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "formula": np.repeat(["MgO", "NaCl", "KCl", "LiF", "GaAs", "ZnO"], 5),
            "step": [1, 2, 3, 4, 5] * 6,
            "way": ["cast", "SPS", "cast", "SPS", "x"] * 6,
            "density": rng.normal(size=30),
            "crystal": np.repeat(["a", "b", "c", "d", "e", "f"], 5),
            "T (K)": rng.normal(size=30),
            "same": 1,
            "fold": [0] * 29 + [1],
            "nothing": None,
            "mixed": ["RT", 300] * 15,
        }
    )
    columns = inspect_table(table).columns.set_index("column")
    assert columns["condition"].to_dict() == {
        "step": "by its values",
        "way": "by its values",
        "density": "",
        "crystal": "",
        "T (K)": "by its name",
        "same": "",
        "fold": "",
        "nothing": "",
        "mixed": "by its values",
    }
    assert columns["holds"][["way", "same", "nothing", "mixed"]].tolist() == [
        "text",
        "numbers",
        "nothing",
        "text, and 15 numbers",
    ]
    assert columns["vary"]["crystal"] == 0
    assert columns["empty"]["nothing"] == 30
    columns = inspect_table(table, conditions=["crystal"]).columns.set_index("column")
    assert columns["condition"]["crystal"] == "given"


def test_target_of_numbers() -> None:
    y = [0.0] * 30 + [*np.linspace(1, 2, 20)] + [50.0]
    table = pd.DataFrame({"formula": [f"Fe{n}O" for n in range(1, 52)], "y": y})
    found = inspect_table(table, "y", units=["eV"], checkpoint=None)
    [target] = found.targets
    assert target.spikes.to_dict() == {0.0: pytest.approx(30 / 51)}
    assert target.outliers.to_dict() == {50: 50.0}
    text = str(found)
    assert "0 makes up 58.8 % of the values." in text
    assert "a long tail of large values" in text
    assert "50 (row 50)" in text
    assert "Target y (eV)\n0 to 50 eV; median 0" in text
    assert "Pretraining" not in text
    for values, said in (
        ([1.0] * 51, "nothing to learn"),
        ([0.0, 1.0, 1.0] * 17, "two different numbers only"),
        (np.geomspace(1, 1e4, 51), "over 4.0 powers of ten"),
        ([None] * 51, "0 labels, 51 empty cells."),
    ):
        assert said in str(inspect_table(table.assign(y=values), "y", checkpoint=None))


def test_target_of_classes() -> None:
    found = inspect_table(TABLE, "kind")
    [target] = found.targets
    assert (target.task, target.n_empty) == ("classification", 2)
    assert "2 classes: ins 5 (83.3 %), metal 1 (16.7 %)." in str(found)
    assert found.conflicts["values"].tolist() == ["ins, metal"]
    found = inspect_table(TABLE.assign(kind=[0, 1] * 4), "kind", task="classification")
    assert found.targets[0].task == "classification"


def test_decimal_commas_and_weights() -> None:
    table = pl.DataFrame({"alloy": ["Ti90Al6V4", "Ti90Al10"], "y": ["1,5", "2,5"]})
    found = inspect_table(table, "y", decimal=",", amounts="weight")
    assert found.targets[0].known.tolist() == [1.5, 2.5]
    assert found.n_compositions == 2
    assert found.elements["element"].tolist() == ["Al", "Ti", "V"]


def test_columns_of_any_names_and_types() -> None:
    table = pd.DataFrame(
        {
            0: ["MgO", "NaCl", "MgO"],
            "count": pd.array([1, None, 3], dtype="Int64"),
            ("a", "b"): pd.date_range("2020-01-01", periods=3),
            "list": [[1], None, [2]],
            "label": pd.Categorical(["a", "b", "b"]),
            "huge": [1e308, 1e300, -1e308],
        },
        index=["x", "x", "y"],
    )
    found = inspect_table(table, ["count", "label", "huge"], checkpoint=None)
    assert [target.task for target in found.targets] == [
        "regression",
        "classification",
        "regression",
    ]
    assert found.columns["column"].tolist() == ["('a', 'b')", "list"]
    assert found.columns["holds"].tolist() == ["text", "text"]
    assert found.conflicts["spread"].tolist()[::2] == [2.0, np.inf]
    assert "-1e+308 to 1e+308" in str(found)


def test_long_lists_are_cut_and_counted(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {"formula": ["MgO", *["x"] * 8, *["NaCl"] * 9], "y": [*map(float, range(18))]}
    )
    found = inspect_table(table, "y", composition_column="formula", checkpoint=None)
    text = str(found)
    assert "8 rows; the first 5:" in text
    assert text.count("element symbols begin") == 5
    page = found.write_html(tmp_path / "look.html").read_text(encoding="utf-8")
    assert page.count("element symbols begin") == 8


def test_nothing_but_bad_rows() -> None:
    table = pd.DataFrame({"formula": ["x", "y"], "y": [1.0, 2.0], "T": [1, 2]})
    found = inspect_table(table, "y", composition_column="formula", conditions=["T"])
    assert (found.n_compositions, len(found.rejected), len(found.conflicts)) == (0, 2, 0)
    assert "0 different compositions" in str(found)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": "gap"}, "'gap' is not among the columns of table"),
        ({"target": ["kind", "kid"]}, "Did you mean 'kind'?"),
        ({"conditions": ["rout"]}, "Did you mean 'route'?"),
        ({"composition_column": "x"}, "'x' is not among"),
        ({"target": "kind", "conditions": ["kind"]}, "'kind' is named twice among"),
        ({"target": "formula", "composition_column": "formula"}, "'formula' is named twice among"),
        ({"checkpoint": "nowhere"}, "checkpoint 'nowhere' has no pool.npz"),
        ({"table": TABLE.iloc[:0]}, "has no rows"),
        ({"table": pd.concat([TABLE, TABLE[["kind"]]], axis=1)}, "'kind' occurs 2 times"),
        ({"table": TABLE[["lab", "route"]]}, "no column of X reads as compositions"),
        ({"table": ["MgO"]}, "a table is needed"),
        ({"amounts": "mass"}, "amounts must be"),
        ({"task": "ranking"}, "task must be"),
        ({"target": "kind", "units": ["a", "b"]}, "one for each of 1 targets"),
    ],
)
def test_errors(change: dict, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        inspect_table(**{"table": TABLE, **change})


def test_page(tmp_path: Path) -> None:
    evil = "<script>x</script> $_{US$"
    table = TABLE.rename(columns={"gap (eV)": evil})
    table.loc[3, "formula"] = evil
    found = inspect_table(table, [evil, "kind"], name=evil)
    path = found.write_html(tmp_path / "look.html", command=f"sklearn-kt inspect {evil}")
    page = path.read_text(encoding="utf-8")
    assert "<script>" not in page
    # periodic table, two targets
    assert page.count("data:image/png;base64,") == 3
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert "sklearn-kt inspect &lt;script" in page
    assert "sklearn_kt</dt>" in page
