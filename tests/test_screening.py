"""Screening: what is read and written, what survives a kill, and clusters."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from _crystals import QUICK, SALTS
from _screening_model import MeanNumber
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    KFold,
    cross_val_score,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklearn_kt import (
    CompositionEmbedder,
    CompositionTokenizer,
    ExplicitKTRegressor,
    ImplicitKTClassifier,
    ImplicitKTRegressor,
)
from sklearn_kt.cli import main
from sklearn_kt.compositions import (
    ELEMENTS,
    composition_groups,
    parse_formula,
    read_compositions,
)
from sklearn_kt.exceptions import (
    CompositionError,
    CompositionWarning,
    EngineError,
    InputError,
    MissingStructureWarning,
)
from sklearn_kt.persistence import load_model, save_model
from sklearn_kt.screening import charge_neutral_formulas, screen
from sklearn_kt.screening import screener as screener_module
from sklearn_kt.screening import sources as sources_module
from sklearn_kt.screening.expressions import parse_expression
from sklearn_kt.screening.identity import model_digest
from sklearn_kt.screening.sources import open_source
from sklearn_kt.screening.tasks import row_keys
from sklearn_kt.structures import StructureLookup
from sklearn_kt.tables import open_table, open_writer, writable_format

METALS = ["Li", "Na", "Mg", "Al", "Ti", "Fe", "Cu", "Zn", "Zr", "Ba"]
ANIONS = ["O", "S", "F", "Cl"]
FORMULAS = [
    f"{a}{n}{x}{m}" for a, x, n, m in itertools.product(METALS, ANIONS, (1, 2, 3), (1, 2, 3, 4))
]
N_DISTINCT = len({*composition_groups(FORMULAS)})


def _tiny(classifier: bool = False) -> Any:
    kind = ImplicitKTClassifier if classifier else ImplicitKTRegressor
    y = ["a", "b"] * 6 if classifier else np.arange(12.0)
    return kind(
        None, backbone="tiny", readout="head", n_estimators=1, max_epochs=2, random_state=0
    ).fit(FORMULAS[::40], y)


@pytest.fixture(scope="module")
def model() -> Any:
    return _tiny()


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "in.parquet"
    columns = {"formula": FORMULAS, "number": np.arange(len(FORMULAS))}
    pq.write_table(pa.table(columns), path, row_group_size=40)
    return path


def test_rows_and_predictions_are_those_of_predict(model: Any, table: Path, tmp_path: Path) -> None:
    result = screen(model, table, tmp_path / "out.parquet", return_std=False, deduplicate=False)
    frame = pd.read_parquet(result.path)
    assert frame.columns.tolist() == ["formula", "number", "prediction"]
    assert frame["formula"].tolist() == FORMULAS
    assert frame["number"].tolist() == list(range(len(FORMULAS)))
    np.testing.assert_array_equal(frame["prediction"], model.predict(FORMULAS))
    assert result.n_rows == result.n_written == len(FORMULAS)
    assert result.n_rejected == 0
    assert {path.name for path in tmp_path.iterdir()} == {"in.parquet", "out.parquet"}


def test_batches_do_not_change_a_bit(model: Any, table: Path, tmp_path: Path) -> None:
    columns = []
    for batch_rows in (7, 65_536):
        sink = tmp_path / f"{batch_rows}.parquet"
        screen(model, table, sink, return_std=False, batch_rows=batch_rows)
        columns.append(pd.read_parquet(sink))
    pd.testing.assert_frame_equal(*columns, check_exact=True)


def test_equal_compositions_are_kept_once_and_the_first(tmp_path: Path) -> None:
    formulas = ["LiFePO4", "NaCl", "Li2Fe2P2O8", "O4PFeLi", "Na0.5Cl0.5", "LiFePO3.99"]
    result = screen(MeanNumber().fit(None), formulas, tmp_path / "out.parquet", batch_rows=2)
    assert pd.read_parquet(result.path)["formula"].tolist() == ["LiFePO4", "NaCl", "LiFePO3.99"]
    assert result.n_rows == 6
    result = screen(MeanNumber().fit(None), formulas, tmp_path / "all.parquet", deduplicate=False)
    assert (result.n_written, result.n_predicted) == (6, 3)


def test_duplicates_are_found_in_several_buckets(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(screener_module, "_KEYS_AT_ONCE", 100)
    result = screen(MeanNumber().fit(None), table, tmp_path / "out.parquet")
    frame = pd.read_parquet(result.path)
    assert len(frame) == N_DISTINCT
    assert len({*composition_groups(frame["formula"].tolist())}) == N_DISTINCT
    # first of each, in the order of the source
    first = pd.Series(composition_groups(FORMULAS)).drop_duplicates().index
    assert frame["number"].tolist() == first.tolist()


@given(
    st.lists(
        st.dictionaries(st.sampled_from(ELEMENTS), st.integers(1, 60), min_size=1, max_size=6),
        min_size=1,
        max_size=20,
    ),
    st.integers(1, 9),
)
def test_keys_know_fractions_and_nothing_else(rows: list[dict[str, int]], factor: int) -> None:
    scaled = [{symbol: factor * n for symbol, n in reversed(list(row.items()))} for row in rows]
    keys, again = row_keys(read_compositions(rows)), row_keys(read_compositions(scaled))
    assert (keys == again).all()
    assert len(np.unique(keys)) == len({*composition_groups(rows)})


class Tied(MeanNumber):
    """Predicts the same for all, and a standard deviation that tells them apart."""

    def predict(self, X: Any, return_std: bool = False) -> Any:
        mean = super().predict(X)
        return (np.ones_like(mean), mean) if return_std else np.ones_like(mean)


def test_of_equal_predictions_the_surest_come_first(tmp_path: Path) -> None:
    formulas = ["CsI", "NaCl", "LiF", "KBr", "MgO", "Li2F2"]
    for ascending in (False, True):
        sink = tmp_path / f"{ascending}.csv"
        screen(Tied().fit(None), formulas, sink, top_k=3, ascending=ascending, batch_rows=2)
        assert pd.read_csv(sink)["formula"].tolist() == ["LiF", "MgO", "NaCl"]
    screen(Tied().fit(None), formulas, tmp_path / "p.csv", top_k=3, return_std=False)
    assert pd.read_csv(tmp_path / "p.csv")["formula"].tolist() == formulas[:3]


def test_top_k_is_the_head_of_the_sorted_whole(table: Path, tmp_path: Path) -> None:
    model = MeanNumber().fit(None)
    everything = pd.read_parquet(screen(model, table, tmp_path / "all.parquet").path)
    for ascending in (False, True):
        sink = tmp_path / f"{ascending}.parquet"
        result = screen(model, table, sink, top_k=17, sort_by="prediction_std", ascending=ascending)
        expected = everything.sort_values("prediction_std", ascending=ascending, kind="stable")
        pd.testing.assert_frame_equal(
            pd.read_parquet(result.path), expected.head(17).reset_index(drop=True)
        )


@pytest.mark.parametrize(
    "where",
    [
        "prediction > 20 and number < 300 and not formula == 'Zr1O1'",
        (pc.field("prediction") > 20)
        & (pc.field("number") < 300)
        & (pc.field("formula") != "Zr1O1"),
    ],
    ids=["text", "expression"],
)
def test_filters(where: Any, table: Path, tmp_path: Path) -> None:
    model = MeanNumber().fit(None)
    frame = pd.read_parquet(
        screen(model, table, tmp_path / "o.parquet", where=where, deduplicate=False).path
    )
    expected = model.predict(FORMULAS) > 20
    expected &= np.arange(len(FORMULAS)) < 300
    expected &= np.array(FORMULAS) != "Zr1O1"
    assert frame["number"].tolist() == np.flatnonzero(expected).tolist()


def test_classes_come_with_probabilities(tmp_path: Path) -> None:
    model = _tiny(classifier=True)
    frame = pd.read_parquet(screen(model, FORMULAS[:30], tmp_path / "o.parquet").path)
    assert frame.columns.tolist() == ["formula", "prediction", "probability_a", "probability_b"]
    np.testing.assert_array_equal(
        frame[["probability_a", "probability_b"]], model.predict_proba(frame["formula"].tolist())
    )
    assert frame["prediction"].tolist() == model.predict(frame["formula"].tolist()).tolist()


def test_classes_and_probabilities_come_from_one_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = _tiny(classifier=True)
    passes = []
    run_nets = ImplicitKTClassifier._ensemble

    def counted(self: Any, inputs: Any) -> Any:
        passes.append(len(inputs))
        return run_nets(self, inputs)

    monkeypatch.setattr(ImplicitKTClassifier, "_ensemble", counted)
    for number, estimator in enumerate([model, Pipeline([("model", model)])]):
        screen(estimator, FORMULAS[:30], tmp_path / f"{number}.parquet", batch_rows=30)
        # one for the model's identity
        assert len(passes) == 2 * (number + 1)


def test_classes_are_those_that_the_model_decides_for(tmp_path: Path) -> None:
    inner = make_pipeline(CompositionTokenizer("fraction"), LogisticRegression())
    model = FixedThresholdClassifier(inner, threshold=0.999, pos_label="b")
    model.fit(FORMULAS[::40], ["a", "b"] * 6)
    frame = pd.read_parquet(screen(model, FORMULAS[:30], tmp_path / "o.parquet").path)
    assert frame["prediction"].unique().tolist() == ["a"]
    assert (frame["probability_b"] > 0.5).any()
    labels = make_pipeline(CompositionTokenizer("fraction"), RidgeClassifier())
    labels.fit(FORMULAS[::40], ["a", "b"] * 6)
    frame = pd.read_parquet(screen(labels, FORMULAS[:30], tmp_path / "p.parquet").path)
    assert frame.columns.tolist() == ["formula", "prediction"]
    assert frame["prediction"].tolist() == labels.predict(frame["formula"].tolist()).tolist()


@pytest.mark.parametrize("ending", [".csv", ".csv.gz"])
def test_csv_and_the_formula_nan(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"in{ending}"
    frame = pd.DataFrame({"price": [1.5, None, 3.0, 4.0], "x": ["NaN", "No", "KCl", "InN"]})
    frame.to_csv(path, index=False)
    result = screen(MeanNumber().fit(None), path, tmp_path / "o.parquet", formula_column="x")
    out = pd.read_parquet(result.path)
    assert out["x"].tolist() == ["NaN", "No", "KCl", "InN"]
    # where the sink has types, numbers are numbers
    np.testing.assert_array_equal(out["price"], frame["price"])
    assert out.columns.tolist() == ["price", "x", "prediction", "prediction_std"]
    result = screen(
        MeanNumber().fit(None), path, tmp_path / "p.parquet", formula_column="x", columns=[]
    )
    assert "price" not in pd.read_parquet(result.path).columns
    model = MeanNumber().fit(None)
    for number, options in enumerate(({"where": "price > 2"}, {"top_k": 2, "sort_by": "price"})):
        sink = tmp_path / f"{number}.csv.gz"
        screen(model, path, sink, formula_column="x", **options)
        assert sorted(pd.read_csv(sink)["price"]) == [3.0, 4.0]
    # of an expression it is not known what is a number
    above = pc.field("price") > 2
    with pytest.raises(InputError, match="numbers"):
        screen(model, path, tmp_path / "e.csv", formula_column="x", where=above)
    screen(model, path, tmp_path / "e.csv", formula_column="x", where=above, numbers=["price"])
    assert (tmp_path / "e.csv").read_bytes() == gzip.decompress(
        (tmp_path / "0.csv.gz").read_bytes()
    )
    # all others stay the text that they are
    (tmp_path / "t.csv").write_text("formula,a,b\nNaCl,1.50,x\nKCl,2,5\n")
    screen(model, tmp_path / "t.csv", tmp_path / "t.jsonl", where="b == 'x' and a > 1")
    assert json.loads((tmp_path / "t.jsonl").read_text())["a"] == 1.5
    screen(model, tmp_path / "t.csv", tmp_path / "u.csv", columns=["a"])
    assert pd.read_csv(tmp_path / "u.csv", dtype=str)["a"].tolist() == ["1.50", "2"]
    with pytest.raises(InputError, match=r"t\.csv, line 2: 'x' in column 'b' is not a number"):
        screen(model, tmp_path / "t.csv", tmp_path / "v.csv", where="b > 1")


@pytest.mark.slow
def test_text_that_looks_like_other_things_survives(tmp_path: Path) -> None:
    # the type of a column does not depend on its first megabyte
    ids = ["00123", *map(str, range(200_000)), "NA", "true", "x"]
    frame = pd.DataFrame({"formula": ["NaCl"] * len(ids), "id": ids})
    frame.to_csv(tmp_path / "in.csv", index=False)
    model = MeanNumber().fit(None)
    screen(model, tmp_path / "in.csv", tmp_path / "o.parquet", deduplicate=False)
    assert pd.read_parquet(tmp_path / "o.parquet")["id"].tolist() == ids


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".parquet", ".PARQUET", ".jsonl.gz"])
def test_every_format_in_and_out(ending: str, tmp_path: Path) -> None:
    formulas = ["NaN", "NaCl", "CO", "Co"]
    table = pa.table({"formula": formulas, "id": ["00123", "NA", "1", ""]})
    source, sink = tmp_path / f"in{ending}", tmp_path / f"out{ending}"
    with open_writer(source, writable_format(source), table.schema) as writer:
        writer.write_table(table)
    result = screen(MeanNumber().fit(None), source, sink, return_std=False, batch_rows=3)
    assert (result.n_rows, result.n_written) == (4, 4)
    with open_table(sink, 9) as out:
        [batch] = out.batches
    assert batch.table.select(["formula", "id"]).equals(table)
    expected = MeanNumber().fit(None).predict(formulas)
    assert [float(value) for value in batch.values(2)] == expected.tolist()


def test_names_of_files_are_checked_first(tmp_path: Path) -> None:
    model = MeanNumber().fit(None)
    with pytest.raises(InputError, match=r"cannot be written as \.xls"):
        screen(model, ["NaCl"], tmp_path / "o.xls")
    (tmp_path / "in.csv").write_text("a,formula,a\n1,NaCl,2\n")
    with pytest.raises(InputError, match="'a' occurs 2 times"):
        screen(model, tmp_path / "in.csv", tmp_path / "o.csv")
    screen(model, tmp_path / "in.csv", tmp_path / "o.csv", columns=[])
    pq.write_table(pa.table({"formula": ["NaCl"]}), tmp_path / "in.PARQUET")
    with pytest.raises(InputError, match="have types already"):
        screen(model, tmp_path / "in.PARQUET", tmp_path / "p.csv", numbers=["formula"])


def test_rows_that_are_no_compositions(tmp_path: Path) -> None:
    formulas = ["NaCl", "nacl", "KCl", "Xx2", "K2Cl2"]
    model = MeanNumber().fit(None)
    with pytest.raises(CompositionError, match=r"source, row 1: 'nacl' is not") as caught:
        screen(model, formulas, tmp_path / "o.parquet", batch_rows=2)
    assert caught.value.row == 1
    # nothing was finished, nothing is left
    assert list(tmp_path.iterdir()) == []
    result = screen(model, formulas, tmp_path / "p.parquet", batch_rows=2, errors="nan")
    frame = pd.read_parquet(result.path)
    assert result.n_rejected == 2
    assert frame["formula"].tolist() == ["NaCl", "nacl", "KCl", "Xx2"]
    assert frame["prediction"].isna().tolist() == [False, True, False, True]
    result = screen(model, formulas, tmp_path / "q.parquet", errors="nan", top_k=4)
    assert pd.read_parquet(result.path)["formula"].tolist() == ["KCl", "NaCl"]


def test_a_batch_without_any_composition(tmp_path: Path) -> None:
    result = screen(
        MeanNumber().fit(None), ["?", "!"], tmp_path / "o.parquet", batch_rows=1, errors="nan"
    )
    assert (result.n_rejected, result.n_written, result.n_predicted) == (2, 2, 0)


def test_an_empty_source(tmp_path: Path) -> None:
    for number, options in enumerate(({}, {"top_k": 3})):
        sink = tmp_path / f"{number}.parquet"
        result = screen(MeanNumber().fit(None), [], sink, **options)
        assert result.n_rows == len(pd.read_parquet(sink)) == 0


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_amounts_by_weight(ending: str, tmp_path: Path) -> None:
    alloys = pd.DataFrame({"name": ["a", "b"], "Ti": [90.0, 70], "Al": [6.0, 0], "V": [4.0, 30]})
    formulas = alloys["name"].map({"a": "Ti90Al6V4", "b": "Ti70V30"})
    expected = read_compositions(formulas, amounts="weight").formulas()
    model = make_pipeline(CompositionTokenizer("fraction"), Ridge())
    model.fit(FORMULAS[::20], np.arange(24.0))
    for number, frame in enumerate((alloys, alloys.assign(formula=formulas))):
        source = tmp_path / f"in{number}{ending}"
        frame.to_csv(source, index=False) if ending == ".csv" else frame.to_parquet(source)
        result = screen(
            model,
            source,
            tmp_path / f"out{number}.parquet",
            amounts="weight",
            columns=["name"],
            return_std=False,
            batch_rows=1,
        )
        found = pd.read_parquet(result.path)
        columns = ["name", "Ti", "Al", "V"] if number == 0 else ["name", "formula"]
        assert found.columns.tolist() == [*columns, "prediction"]
        np.testing.assert_array_equal(found["prediction"], model.predict(expected))
    with pytest.raises(InputError, match=r"elements, say what they count: .*--amounts weight"):
        screen(model, tmp_path / f"in0{ending}", tmp_path / "o.parquet")
    screen(model, formulas, tmp_path / "text.csv", amounts="weight", return_std=False)
    text = pd.read_csv(tmp_path / "text.csv")
    np.testing.assert_array_equal(text["prediction"], found["prediction"])


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"where": "no_such > 1"}, "no_such"),
        ({"where": "prediction >"}, "cannot be read"),
        ({"where": "__import__('os')"}, "may not hold"),
        ({"where": "prediction == 'a'"}, "cannot be applied"),
        ({"top_k": 0}, "at least 1"),
        ({"top_k": 3, "sort_by": "number_of"}, "none of the columns"),
        ({"formula_column": "name"}, "is not among the columns"),
        ({"columns": ["name"]}, "is not among the columns"),
        ({"amounts": "mass"}, "must be 'atomic', 'weight' or None"),
        ({"errors": "ignore"}, "must be 'raise' or 'nan'"),
        ({"batch_rows": 0}, "at least 1"),
    ],
)
def test_what_cannot_be_used_is_said_first(
    options: dict[str, Any], text: str, table: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=text):
        screen(MeanNumber().fit(None), table, tmp_path / "o.parquet", **options)
    assert list(tmp_path.iterdir()) == [table]


def test_sources_that_cannot_be_used(tmp_path: Path) -> None:
    model = MeanNumber().fit(None)
    sink = tmp_path / "o.parquet"
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no parquet")
    (tmp_path / "ragged.csv").write_text("formula,x\nNaCl,1\nKCl\n")
    (tmp_path / "bytes.csv").write_bytes(b"formula\n\xff\xfe\n")
    (tmp_path / "blank.csv").write_text("formula\nNaCl\n\nKCl\n")
    pq.write_table(pa.table({"formula": ["A"], "prediction": [1]}), tmp_path / "clash.parquet")
    (tmp_path / "empty").mkdir()
    for source, text in (
        ("bad.parquet", "is not a parquet file that can be read"),
        ("ragged.csv", "line 3: 1 fields where the header has 2"),
        ("bytes.csv", "is not UTF-8"),
        ("blank.csv", "line 3 is blank"),
        ("clash.parquet", "already|rename"),
        ("missing.parquet", "There is no file"),
        ("empty", "holds no"),
        ("data.xlsx", "There is no file"),
    ):
        with pytest.raises(InputError, match=text):
            screen(model, tmp_path / source, sink)
    with pytest.raises(InputError, match="path or an iterable"):
        screen(model, 5, sink)
    with pytest.raises(InputError, match="as text"):
        screen(model, [{"Na": 1}], sink)
    # its names are formulas, and are not what is meant
    for frame in (pd.DataFrame({"S": ["PbTe"]}), pl.DataFrame({"S": ["PbTe"]})):
        with pytest.raises(InputError, match="pass its column of formulas"):
            screen(model, frame, sink)
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "folder" / "b.parquet").mkdir(parents=True)
    for source in (tmp_path / "pipe.csv", tmp_path / "folder"):
        with pytest.raises(InputError, match="no regular file"):
            screen(model, source, sink)
    sink.write_bytes(b"")
    with pytest.raises(InputError, match="exists already"):
        screen(model, ["NaCl"], sink)


def test_a_model_that_cannot(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="out-of-fold"):
        screen(_tiny_without_errors(), ["NaCl"], tmp_path / "o.parquet")
    embedder = CompositionEmbedder(None).fit(["NaCl"])
    with pytest.raises(InputError, match="cannot predict"):
        screen(embedder, ["NaCl"], tmp_path / "o.parquet", return_std=False)
    # it passes on no standard deviations
    forest = ImplicitKTRegressor(None, readout="fast")
    of_logarithms = TransformedTargetRegressor(forest, func=np.log, inverse_func=np.exp)
    of_logarithms.fit([f"Na{n}Cl" for n in range(1, 15)], np.arange(1.0, 15))
    with pytest.raises(InputError, match="return_std=False"):
        screen(of_logarithms, ["NaCl"], tmp_path / "o.parquet")


def _tiny_without_errors() -> Any:
    return ImplicitKTRegressor(
        None, backbone="tiny", readout="head", n_estimators=1, max_epochs=1, random_state=0
    ).fit(["NaCl", "KCl", "LiF"], [1.0, 2.0, 3.0])


def test_a_folder_of_files_is_one_source(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name, part in (("b", FORMULAS[100:]), ("a", FORMULAS[:100])):
        pq.write_table(pa.table({"formula": part}), folder / f"{name}.parquet")
    result = screen(MeanNumber().fit(None), folder, tmp_path / "o.parquet", deduplicate=False)
    assert pd.read_parquet(result.path)["formula"].tolist() == FORMULAS
    pq.write_table(pa.table({"formula": ["A"], "b": [1]}), folder / "c.parquet")
    with pytest.raises(InputError, match="other columns"):
        screen(MeanNumber().fit(None), folder, tmp_path / "p.parquet")


# a shell may have left SIGINT ignored
_CHILD = """
import signal
import sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)
from _screening_model import MeanNumber
from sklearn_kt.screening import screen
folder = Path(sys.argv[1])
screen(MeanNumber().fit(None), folder / "in.parquet", folder / "out.parquet")
"""


_PATH = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])


def _start(folder: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(folder)],
        env={**os.environ, "PYTHONPATH": _PATH, "SCREENING_DELAY": "0.4"},
    )


def _wait_for_parts(folder: Path, n: int, timeout: float = 240) -> None:
    end = time.monotonic() + timeout
    # with its record a part is done
    while len(list(folder.glob("out.parquet.parts/part-*.json"))) < n:
        assert time.monotonic() < end, "no parts were written"
        time.sleep(0.01)


@pytest.mark.slow
def test_after_a_kill_the_run_goes_on_to_the_same_bytes(table: Path, tmp_path: Path) -> None:
    process = _start(tmp_path)
    try:
        _wait_for_parts(tmp_path, 2)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    parts = tmp_path / "out.parquet.parts"
    kept = {path.name: path.stat().st_mtime_ns for path in parts.glob("part-*.parquet")}
    assert 2 <= len(kept) < 12
    assert not (tmp_path / "out.parquet").exists()
    # a part that the kill cut short in the worst of places
    damaged = sorted(kept)[0]
    (parts / damaged).write_bytes((parts / damaged).read_bytes()[:-9])
    with pytest.raises(InputError, match="another model"):
        screen(MeanNumber(scale=2.0).fit(None), table, tmp_path / "out.parquet")
    with pytest.raises(InputError, match="another settings"):
        screen(MeanNumber().fit(None), table, tmp_path / "out.parquet", top_k=3)

    calls: list[int] = []
    predict = MeanNumber.predict

    def counting(self: MeanNumber, X: Any, return_std: bool = False) -> Any:
        calls.append(len(X))
        return predict(self, X, return_std)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MeanNumber, "predict", counting)
        with pytest.warns(CompositionWarning, match="is damaged"):
            again = screen(MeanNumber().fit(None), table, tmp_path / "out.parquet")
    # the probe, and the tasks without an intact part
    assert len(calls) == 1 + 12 - (len(kept) - 1)
    straight = screen(MeanNumber().fit(None), table, tmp_path / "straight.parquet")
    assert again.path.read_bytes() == straight.path.read_bytes()
    assert again.n_rows == straight.n_rows == len(FORMULAS)
    assert not parts.exists()


@pytest.mark.slow
def test_two_processes_cannot_write_one_sink(table: Path, tmp_path: Path) -> None:
    process = _start(tmp_path)
    try:
        _wait_for_parts(tmp_path, 1)
        with pytest.raises(InputError, match="Another process"):
            screen(MeanNumber().fit(None), table, tmp_path / "out.parquet")
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_done(table: Path, tmp_path: Path) -> None:
    process = _start(tmp_path)
    try:
        _wait_for_parts(tmp_path, 2)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) in (1, 130, -signal.SIGINT)
    finally:
        process.kill()
        process.wait()
    parts = [path.name for path in (tmp_path / "out.parquet.parts").iterdir()]
    assert sum(name.startswith("part-") for name in parts) >= 2
    assert not [name for name in parts if name.startswith(".")]
    result = screen(MeanNumber().fit(None), table, tmp_path / "out.parquet")
    assert result.n_written == N_DISTINCT


# runs that kill themselves: one process for each folder, all forked from one that has imported
_KILLED = """
import os, shutil, signal, sys
from pathlib import Path
import filelock  # makes and removes a folder when it is imported: before anything is patched
from _screening_model import MeanNumber
from sklearn_kt.screening import screen, screener

def kill(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def after_two_parts():
    add, done = screener._add, []
    def count(*arguments):
        add(*arguments)
        done.append(1)
        if len(done) == 2:
            kill()
    screener._add = count

def before_the_sink():
    replace = Path.replace
    Path.replace = lambda path, to: kill() if to.name == "out.parquet" else replace(path, to)

def before_removing():
    screener.remove_folder = kill

def while_removing():
    shutil.rmtree = lambda path, **_: path.exists() and kill()

for folder in map(Path, sys.argv[1:]):
    child = os.fork()
    if not child:
        [source] = folder.glob("in.*")
        globals()[folder.name.partition("-")[0]]()
        screen(MeanNumber().fit(None), source, folder / "out.parquet", batch_rows=40)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of runs that were killed at a moment, by its name and the ending of the source."""
    frame = pd.DataFrame({"formula": FORMULAS, "x": np.arange(len(FORMULAS)) / 7})
    home = tmp_path_factory.mktemp("killed")
    moments = ["before_the_sink", "before_removing", "while_removing", "after_two_parts"]
    names = [*(f"{moment}-parquet" for moment in moments), "after_two_parts-csv"]
    for name in names:
        (home / name).mkdir()
        if name.endswith("csv"):
            frame.to_csv(home / name / "in.csv", index=False)
        else:
            frame.to_parquet(home / name / "in.parquet", row_group_size=40, compression=None)
    subprocess.run(
        [sys.executable, "-c", _KILLED, *(home / name for name in names)],
        env={**os.environ, "PYTHONPATH": _PATH},
        check=True,
    )
    return {name: home / name for name in names}


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@pytest.mark.parametrize("change", ["other values", "permuted"])
def test_a_source_of_other_content_is_refused(
    change: str, ending: str, killed: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(killed[f"after_two_parts-{ending}"], folder)
    assert len(list(folder.glob("out.parquet.parts/part-*.json"))) == 2
    source = folder / f"in.{ending}"
    before = source.read_bytes()
    if ending == "csv":
        lines = source.read_text().splitlines(keepends=True)
        if change == "permuted":
            lines[1:] = lines[:0:-1]
        else:
            lines[300] = lines[300].replace("7", "8")
        source.write_text("".join(lines))
    else:
        frame = pd.read_parquet(source)
        frame["x"] *= 1 if change == "permuted" else -1
        frame = frame[::-1] if change == "permuted" else frame
        frame.to_parquet(source, row_group_size=40, compression=None, index=False)
    os.utime(source, ns=(0, 0))
    with pytest.raises(InputError, match="begun with another source"):
        screen(MeanNumber().fit(None), source, folder / "out.parquet", batch_rows=40)
    source.write_bytes(before)
    # the time of a file does not matter, its content does
    result = screen(MeanNumber().fit(None), source, folder / "out.parquet", batch_rows=40)
    assert result.n_rows == len(FORMULAS)
    assert sorted(path.name for path in folder.iterdir()) == [source.name, "out.parquet"]


def test_a_source_that_changes_while_it_is_read(table: Path, tmp_path: Path) -> None:
    class Meddling(MeanNumber):
        def predict(self, X: Any, return_std: bool = False) -> Any:
            os.utime(table, ns=(len(X), len(X)))
            return super().predict(X, return_std)

    with pytest.raises(InputError, match="was changed while it was screened"):
        screen(Meddling().fit(None), table, tmp_path / "out.parquet")
    assert list(tmp_path.iterdir()) == [table]

    class Forging(MeanNumber):
        def predict(self, X: Any, return_std: bool = False) -> Any:
            before = table.stat()
            table.write_bytes(table.read_bytes())
            os.utime(table, ns=(before.st_atime_ns, before.st_mtime_ns))
            assert table.stat().st_mtime_ns == before.st_mtime_ns
            return super().predict(X, return_std)

    with pytest.raises(InputError, match="was changed while it was screened"):
        screen(Forging().fit(None), table, tmp_path / "out.parquet")


class Lookup(RegressorMixin, BaseEstimator):
    """Knows one composition from all others, which a few probes do not show."""

    def __init__(self, formula: str, n_jobs: int = 1) -> None:
        self.formula = formula
        self.n_jobs = n_jobs

    def predict(self, X: Any) -> Any:
        return np.array([float(str(x) == self.formula) for x in X])


def _stopping(formulas: list[str]) -> Iterator[str]:
    yield from formulas
    raise KeyboardInterrupt


class Once:
    """An iterable that stops, and then gives all."""

    def __init__(self, *iterators: Iterator[str]) -> None:
        self.iterators = iter(iterators)

    def __iter__(self) -> Iterator[str]:
        return next(self.iterators)


def test_another_model_or_filter_is_refused(tmp_path: Path) -> None:
    sink = tmp_path / "o.parquet"
    rows = FORMULAS[:80]
    long = pc.field("prediction").isin([*range(40)])
    other = pc.field("prediction").isin([*range(20), 99, *range(21, 40)])
    assert str(long) == str(other)
    options: dict[str, Any] = {"batch_rows": 40, "return_std": False}
    stopping = Once(_stopping(rows[:50]), *map(iter, [rows] * 4))
    with pytest.raises(KeyboardInterrupt):
        screen(Lookup("Li1O3"), stopping, sink, where=long, **options)
    with pytest.raises(InputError, match="another model"):
        screen(Lookup("Li1O4"), stopping, sink, where=long, **options)
    with pytest.raises(InputError, match="another settings"):
        screen(Lookup("Li1O3"), stopping, sink, where=other, **options)
    with pytest.raises(InputError, match="another settings"):
        screen(Lookup("Li1O3"), stopping, sink, where=long, amounts="weight", **options)
    result = screen(Lookup("Li1O3", n_jobs=2), stopping, sink, where=long, **options)
    assert result.n_rows == 80


@pytest.mark.slow
def test_models_are_known_by_what_they_learned(model: Any, tmp_path: Path) -> None:
    forest = ExtraTreesRegressor(3, random_state=0)
    trees = make_pipeline(CompositionTokenizer("fraction"), forest)
    same, again, other = (
        clone(trees).fit(FORMULAS[::20], np.arange(24.0) + add) for add in (0, 0, 1)
    )
    assert model_digest(same) == model_digest(again) != model_digest(other)
    before = model_digest(model)
    model.predict(FORMULAS[:3])
    assert model_digest(model) == before
    paths = [save_model(same, tmp_path / "trees"), save_model(model, tmp_path / "net")]
    # also in another process, whose hashes of text are other ones
    code = (
        "import sys; from sklearn_kt.persistence import load_model; "
        "from sklearn_kt.screening.identity import model_digest; "
        "print(*[model_digest(load_model(path)) for path in sys.argv[1:]])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code, *paths],
        env={**os.environ, "PYTHONHASHSEED": "5"},
        capture_output=True,
        check=True,
        text=True,
    )
    assert found.stdout.split() == [model_digest(load_model(path)) for path in paths]


def test_what_a_call_leaves_behind_is_no_other_model() -> None:
    """So that a run goes on in the session in which it was stopped."""
    lookup = StructureLookup(SALTS)
    settings = {**QUICK, "generator": lookup, "checkpoint": None, "readout": Ridge()}
    model = ExplicitKTRegressor(fallback="nan", **settings).fit(
        ["NaCl", "KCl", "KBr", "NaBr"], [1.0, 2.0, 3.0, 4.0]
    )
    digests = [model_digest(model), model_digest(lookup)]
    with pytest.warns(MissingStructureWarning, match="TcO2"):
        model.predict(["NaCl", "TcO2"])
    lookup.generate(["NaCl"])
    assert model.fallback_rows_ == [1]
    assert [model_digest(model), model_digest(lookup)] == digests


@pytest.mark.parametrize(
    "values",
    [pd.Series([300.0, 400.0], [7, 8]), range(300, 500, 100), [Decimal(300), Decimal(400)]],
    ids=["series", "range", "decimals"],
)
def test_values_of_a_condition_are_in_any_container(values: Any, tmp_path: Path) -> None:
    table = pd.DataFrame({"formula": ["NaCl", "KCl", "LiF"], "T": [300, 350, 400]})
    model = make_pipeline(CompositionEmbedder(None), Ridge()).fit(table, [1.0, 2.0, 3.0])
    result = screen(
        model, ["NaCl"], tmp_path / "o.parquet", conditions={"T": values}, return_std=False
    )
    assert result.n_written == 1
    assert float(pd.read_parquet(result.path)["T"][0]) in (300, 400)


def test_searches_are_known_by_what_they_found() -> None:
    X, y = np.arange(24.0)[:, None] ** 2, np.arange(24.0)
    one, same, other = (
        GridSearchCV(Ridge(), {"alpha": alphas}, cv=2).fit(X, y)
        for alphas in ([1, 2], [1, 2], [1, 3])
    )
    for search in (one, same, other):
        # they differ from run to run
        for name in [name for name in search.cv_results_ if "_time" in name]:
            del search.cv_results_[name]
        del search.refit_time_
    assert model_digest(one) == model_digest(same) != model_digest(other)
    values, mask = np.array([1, 2]), np.array([False, True])
    digests = [
        model_digest(np.ma.MaskedArray(data, hidden))
        for data, hidden in ((values, mask), (values + mask, mask), (values, ~mask))
    ]
    assert digests[0] == digests[1] != digests[2]


def test_models_are_known_by_their_functions() -> None:
    # a function without a name is known by what it does
    twice, thrice = (FunctionTransformer(lambda x, by=by: x * by) for by in (2, 3))
    assert model_digest(twice) != model_digest(thrice)
    with pytest.raises(InputError, match="cannot be told from other"):
        model_digest(FunctionTransformer(kw_args={"lock": threading.Lock()}))


@pytest.mark.parametrize("moment", ["before_the_sink", "before_removing", "while_removing"])
def test_a_kill_at_the_end_leaves_nothing_to_adopt(moment: str, killed: dict[str, Path]) -> None:
    folder = killed[f"{moment}-parquet"]
    table, sink = folder / "in.parquet", folder / "out.parquet"
    parts = folder / "out.parquet.parts"
    assert sink.exists() == (moment != "before_the_sink")
    assert parts.exists() == (moment != "while_removing")
    written = sink.read_bytes() if sink.exists() else None
    with pytest.raises(InputError, match="another model" if parts.exists() else "exists already"):
        screen(MeanNumber(scale=2.0).fit(None), table, sink, batch_rows=40)
    assert written is None or sink.read_bytes() == written
    if parts.exists():
        # finished parts are not made again, nor is a finished file
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(screener_module, "write_part", lambda *_: pytest.fail("again"))
            if written:
                patch.setattr(screener_module, "_merge", lambda *_: pytest.fail("again"))
            result = screen(MeanNumber().fit(None), table, sink, batch_rows=40)
        assert (result.n_rows, result.n_written) == (len(FORMULAS), N_DISTINCT)
    straight = screen(MeanNumber().fit(None), table, folder / "s.parquet", batch_rows=40)
    assert sink.read_bytes() == straight.path.read_bytes()
    assert not parts.exists()


def test_parts_that_nothing_vouches_for(killed: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(killed["after_two_parts-parquet"], folder)
    source, sink = folder / "in.parquet", folder / "out.parquet"
    parts = folder / "out.parquet.parts"
    # a file that somebody else put there is not overwritten
    sink.write_text("precious")
    with pytest.raises(InputError, match="exists already"):
        screen(MeanNumber().fit(None), source, sink, batch_rows=40)
    assert sink.read_text() == "precious"
    sink.unlink()
    # a part of another run is made again
    record = parts / "part-00000001.json"
    about = json.loads(record.read_text())
    record.write_text(json.dumps({**about, "run": "x"}))
    kept = (parts / "screening.json").read_bytes()
    (parts / "screening.json").unlink()
    with pytest.raises(InputError, match="Nothing tells"):
        screen(MeanNumber().fit(None), source, sink, batch_rows=40)
    (parts / "screening.json").write_bytes(kept)
    with pytest.warns(CompositionWarning, match="another run"):
        result = screen(MeanNumber().fit(None), source, sink, batch_rows=40)
    assert (result.n_rows, result.n_written) == (len(FORMULAS), N_DISTINCT)
    # a folder of the same name with other things in it is nobody's to remove
    other = tmp_path / "other.parquet.parts"
    other.mkdir()
    (other / "thesis").touch()
    with pytest.raises(InputError, match="not an empty folder"):
        screen(MeanNumber().fit(None), source, tmp_path / "other.parquet")
    assert (other / "thesis").exists()


def _with_other_numbers(parts: Path) -> None:
    part = parts / "part-00000000.parquet"
    table = pq.read_table(part)
    pq.write_table(table.set_column(2, table.schema.field(2), pa.array([9.0] * len(table))), part)


def _under_another_number(parts: Path) -> None:
    for ending in ("parquet", "json"):
        (parts / f"part-00000001.{ending}").rename(parts / f"part-00000005.{ending}")


def _edit(parts: Path, **changes: Any) -> None:
    record = parts / "part-00000001.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), **changes}))


@pytest.mark.parametrize(
    "damage",
    [
        _with_other_numbers,
        _under_another_number,
        lambda parts: (parts / "part-00000001.json").write_text("[]"),
        lambda parts: _edit(parts, rejected="none"),
    ],
)
def test_damaged_parts_are_made_again(damage: Any, killed: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(killed["after_two_parts-parquet"], folder)
    damage(folder / "out.parquet.parts")
    with pytest.warns(CompositionWarning, match="is damaged .* and is made again"):
        again = screen(
            MeanNumber().fit(None), folder / "in.parquet", folder / "out.parquet", batch_rows=40
        )
    straight = screen(
        MeanNumber().fit(None), folder / "in.parquet", folder / "s.parquet", batch_rows=40
    )
    assert again.path.read_bytes() == straight.path.read_bytes()
    assert again.n_rows == straight.n_rows


@pytest.mark.parametrize("text", ["", "null", "{}", '{"format": "x"}'])
def test_a_damaged_manifest_is_an_error(text: str, killed: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(killed["after_two_parts-parquet"], folder)
    (folder / "out.parquet.parts" / "screening.json").write_text(text)
    with pytest.raises(InputError, match=r"screening.json is damaged"):
        screen(MeanNumber().fit(None), folder / "in.parquet", folder / "out.parquet", batch_rows=40)


def test_damaged_counts_are_an_error(killed: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(killed["after_two_parts-parquet"], folder)
    (folder / "out.parquet.parts" / "done.json").write_text('{"n_rows": 1}')
    (folder / "out.parquet").write_text("complete")
    with pytest.raises(InputError, match=r"done.json is damaged .* is complete"):
        screen(MeanNumber().fit(None), folder / "in.parquet", folder / "out.parquet", batch_rows=40)
    assert (folder / "out.parquet").read_text() == "complete"


def test_the_moment_that_another_process_finishes(table: Path, tmp_path: Path) -> None:
    sink = tmp_path / "out.parquet"
    begun, outcome = threading.Event(), []
    remove = screener_module.remove_folder

    def second() -> None:
        begun.set()
        try:
            screen(MeanNumber(scale=2.0).fit(None), table, sink)
        except InputError as error:
            outcome.append(str(error))

    other = threading.Thread(target=second)

    def slowly(folder: Path) -> None:
        other.start()
        begun.wait()
        time.sleep(0.2)
        remove(folder)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(screener_module, "remove_folder", slowly)
        result = screen(MeanNumber().fit(None), table, sink)
        other.join()
    assert len(outcome) == 1
    assert "exists already" in outcome[0] or "Another process" in outcome[0]
    assert pd.read_parquet(sink)["prediction"].iloc[0] < 6
    assert result.n_written == N_DISTINCT
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.parquet", "out.parquet"]


def test_a_large_row_group_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "in.parquet"
    pd.DataFrame({"formula": FORMULAS, "n": range(len(FORMULAS))}).to_parquet(source)
    assert pq.read_metadata(source).num_row_groups == 1
    tasks = list(open_source(source, "formula", None, None, [], 100).tasks())
    assert [task.rows for task in tasks] == [100, 100, 100, 100, 80]
    assert [task.first_row for task in tasks] == [0, 100, 200, 300, 400]
    assert tasks[1].place_of(7) == f"{source}, row 107"
    found = pa.concat_tables(part for task in tasks for part in task.tables(30))
    assert found["n"].to_pylist() == list(range(len(FORMULAS)))
    # each task unpacks what lies before it
    monkeypatch.setattr(sources_module, "_TASKS_OF_A_GROUP", 8)
    assert [task.rows for task in open_source(source, "formula", None, None, [], 7).tasks()] == [
        *[63] * 7,
        39,
    ]
    result = screen(MeanNumber().fit(None), source, tmp_path / "o.parquet", deduplicate=False)
    assert pd.read_parquet(result.path)["n"].tolist() == list(range(len(FORMULAS)))


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_little_is_lost_whatever_the_format(
    ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As read by default: a table that a kill meets in the middle is not begun again."""
    n_rows = 40_000
    formulas = [f"Na{n // 200 + 1}Cl{n % 200 + 1}" for n in range(n_rows)]
    source = tmp_path / f"in.{ending}"
    frame = pd.DataFrame({"formula": formulas})
    if ending == "csv":
        frame.to_csv(source, index=False)
    elif ending == "jsonl":
        frame.to_json(source, orient="records", lines=True)
    else:
        frame.to_parquet(source, row_group_size=10**6)
    done: list[int] = []
    predict = MeanNumber.predict

    def counting(self: MeanNumber, X: Any, return_std: bool = False) -> Any:
        done.append(len(X))
        if sum(done) > n_rows / 2:
            raise KeyboardInterrupt
        return predict(self, X, return_std)

    monkeypatch.setattr(MeanNumber, "predict", counting)
    with pytest.raises(KeyboardInterrupt):
        screen(MeanNumber().fit(None), source, tmp_path / "o.csv", deduplicate=False)
    kept = sum(
        json.loads(path.read_text())["rows"] for path in tmp_path.glob("o.csv.parts/part-*.json")
    )
    assert n_rows / 2 - kept < 10_000
    monkeypatch.setattr(MeanNumber, "predict", predict)
    result = screen(MeanNumber().fit(None), source, tmp_path / "o.csv", deduplicate=False)
    assert result.n_written == n_rows


def test_sinks_that_are_no_new_files(tmp_path: Path) -> None:
    model = MeanNumber().fit(None)
    link = tmp_path / "link.parquet"
    link.symlink_to(os.devnull)
    for sink in (Path(os.devnull), link):
        with pytest.raises(InputError, match="is no file"):
            screen(model, ["NaCl"], sink)
        assert sink.is_char_device()
    link.unlink()
    (tmp_path / "far").mkdir()
    link.symlink_to(tmp_path / "far" / "o.parquet")
    assert screen(model, ["NaCl"], link).path == link
    assert [path.name for path in (tmp_path / "far").iterdir()] == ["o.parquet"]
    assert link.is_symlink()
    assert len(pd.read_parquet(link)) == 1


def test_an_iterable_that_changed_is_noticed(tmp_path: Path) -> None:
    model, sink = MeanNumber().fit(None), tmp_path / "o.parquet"
    with pytest.raises(KeyboardInterrupt):
        screen(model, Once(_stopping(FORMULAS[:100])), sink, batch_rows=30)
    with pytest.raises(InputError, match="other formulas from row 0 on"):
        screen(model, Once(iter(FORMULAS[5:])), sink, batch_rows=30)
    result = screen(model, Once(iter(FORMULAS)), sink, batch_rows=30)
    assert result.n_rows == len(FORMULAS)
    assert result.n_written == N_DISTINCT


def test_a_run_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    parts = tmp_path / "o.parquet.parts"
    parts.mkdir()
    (parts / "screening.json").write_text(json.dumps({"format": 99}))
    (parts / "part-00000000.parquet").touch()
    with pytest.raises(InputError, match="newer sklearn_kt"):
        screen(MeanNumber().fit(None), ["NaCl"], tmp_path / "o.parquet")
    (parts / "screening.json").write_text("{")
    with pytest.raises(InputError, match="damaged"):
        screen(MeanNumber().fit(None), ["NaCl"], tmp_path / "o.parquet")


def test_progress_has_rate_and_time_left(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    screen(MeanNumber(delay=0.02).fit(None), table, tmp_path / "o.parquet", verbose=1)
    err = capsys.readouterr().err
    assert "formulas/s" in err
    assert "480/480" in err


def test_expressions() -> None:
    frame = pa.table({"a": [1.0, 2.0, 3.0, None], "band gap": [1, 0, 1, 0], "s": list("xyzx")})
    for text, expected in (
        ("a > 1", [2.0, 3.0]),
        ("1 < a < 3", [2.0]),
        ("a + 1 == 2 or s in ['y']", [1.0, 2.0]),
        ("not a > 1", [1.0]),
        ("-a * 2 <= -4", [2.0, 3.0]),
        ("col('band gap') == 1 and s not in ('x',)", [3.0]),
    ):
        assert frame.filter(parse_expression(text))["a"].to_pylist() == expected, text


def test_divisions_and_overflows(tmp_path: Path) -> None:
    frame = pa.table({"n": [1, 0, 3, 2**52], "x": [1.0, 0.0, -0.0, None]})
    for text, expected in (
        ("1 / n > 0.3", [1, 0, 3]),
        ("n / 2 == 1.5", [3]),
        ("n / 0 > 1", [1, 3, 2**52]),
        ("1 / x < 0", [3]),
        ("0 / n == 0", [1, 3, 2**52]),
        ("n > 1.5", [3, 2**52]),
    ):
        assert frame.filter(parse_expression(text))["n"].to_pylist() == expected, text
    source = tmp_path / "in.parquet"
    pq.write_table(frame.append_column("formula", pa.array(FORMULAS[:4])), source, row_group_size=2)
    model = MeanNumber().fit(None)
    for where, row in (("n * 4096 > 1", 3), (pc.scalar(1) / pc.field("n") > 0, 1)):
        for rows in (1, 9):
            with pytest.raises(InputError, match=rf"in.parquet, row {row}: where=.* computed"):
                screen(model, source, tmp_path / "o.parquet", where=where, batch_rows=rows)
            shutil.rmtree(tmp_path / "o.parquet.parts", ignore_errors=True)
    result = screen(model, source, tmp_path / "o.parquet", where="n * 4096.0 > 1")
    assert result.n_written == 3


@given(st.text(max_size=40))
def test_expressions_of_any_text(text: str) -> None:
    with contextlib.suppress(InputError):
        parse_expression(text)


@pytest.mark.parametrize("text", ["(" * 1_500, "-" * 1_900 + "1", "a" * 3_000, "a > 1" + "0" * 30])
def test_expressions_of_hostile_text(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_expression(text)
    assert len(str(caught.value)) < 400


def test_enumeration_is_neutral_lazy_and_repeatable() -> None:
    formulas = list(charge_neutral_formulas(["Fe", "Li", "O", "P"], 8, n_elements=[2, 3, 4]))
    assert {"Li2O", "FeO", "Fe2O3", "Li3PO4", "LiFePO4"} <= set(formulas)
    assert "Fe3O4" not in formulas
    assert len(formulas) == len({*composition_groups(formulas)})
    assert read_compositions(formulas).valid.all()
    assert formulas == list(
        charge_neutral_formulas(["Li", "Fe", "P", "O"], 8, n_elements=(2, 3, 4))
    )
    # all of the periodic table would take days
    lazy = charge_neutral_formulas([*ELEMENTS[2:9], *ELEMENTS[18:60]], 12, n_elements=4)
    assert len(list(itertools.islice(lazy, 3))) == 3


@pytest.mark.parametrize("states", ["icsd24", "smact14", "pymatgen_sp"])
def test_enumeration_is_of_what_smact_allows(states: str) -> None:
    import smact
    from smact.screening import smact_filter

    # carbon and selenium are equally electronegative
    symbols = ["C", "Se", "H", "P", "Fe", "O"]
    allowed = set()
    for size in (2, 3):
        for found in itertools.combinations([smact.Element(symbol) for symbol in symbols], size):
            filtered = smact_filter(
                found, threshold=7, species_unique=False, oxidation_states_set=states
            )
            allowed |= {
                frozenset(zip(names, amounts, strict=True))
                for names, amounts in filtered
                if sum(amounts) <= 8
            }
    formulas = list(charge_neutral_formulas(symbols, 8, oxidation_states=states))
    assert len(formulas) == len(allowed)
    assert {frozenset(parse_formula(formula).items()) for formula in formulas} == allowed


def test_enumeration_begins_with_what_is_likeliest(capsys: pytest.CaptureFixture) -> None:
    import smact

    formulas = list(
        charge_neutral_formulas(["Ga", "As", "Na", "Cl", "O"], 8, n_elements=[2, 3], verbose=1)
    )
    assert len(formulas) == len(set(formulas))
    # each combination four times, in a bar of its own for each number of elements
    assert "40/40" in capsys.readouterr().err
    sizes = [len(parse_formula(formula)) for formula in formulas]
    assert sizes == sorted(sizes)
    # of those whose ions are common, the most ionic first
    apart = []
    for formula in formulas[: formulas.index("GaAs") + 1]:
        values = [smact.Element(symbol).pauling_eneg for symbol in parse_formula(formula)]
        apart.append(min(values) - max(values))
    assert len(apart) > 5
    assert apart == sorted(apart)
    # known compounds before others of the same elements, and before odd ones of other elements
    formulas = list(charge_neutral_formulas(["Fe", "O", "Ti", "Li"], 8, n_elements=2))
    iron = [formula for formula in formulas if {*parse_formula(formula)} == {"Fe", "O"}]
    assert iron[:2] == ["Fe2O3", "FeO"]
    assert iron[-1] == "FeO6"
    titanium = [formula for formula in formulas if {*parse_formula(formula)} == {"Ti", "O"}]
    assert titanium[:3] == ["TiO2", "Ti2O3", "TiO"]
    assert {*formulas[:4]} == {"Li2O", "TiO2", "Fe2O3", "FeO"}
    kesterite = charge_neutral_formulas(["Cu", "Zn", "Sn", "S"], 8, n_elements=4)
    assert "ZnCu2SnS4" in itertools.islice(kesterite, 2)


def test_enumeration_of_what_cannot_be() -> None:
    for elements, options, text in (
        (["Xx"], {}, "'Xx' is not an element"),
        (["He", "O"], {}, "He"),
        (["Li", "O"], {"n_elements": 9}, "between 1"),
        (["Li", "O"], {"oxidation_states": "mine"}, "mine"),
        (["Ra", "O"], {}, "Ra has no oxidation state in the set"),
    ):
        with pytest.raises(InputError, match=text):
            charge_neutral_formulas(elements, 6, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, host="127.0.0.1"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.mark.slow
def test_a_cluster_that_loses_a_worker_writes_the_same(
    client: Any, table: Path, tmp_path: Path
) -> None:
    straight = screen(MeanNumber().fit(None), table, tmp_path / "straight.parquet")
    pids = client.run(os.getpid)
    assert len(pids) == 2

    class Killing:
        """Kills a worker once the run is under way."""

        def __init__(self) -> None:
            self.done = False

        def __call__(self, *_: Any) -> None:
            if not self.done:
                self.done = True
                os.kill(next(iter(pids.values())), signal.SIGKILL)

    kill = Killing()
    add = screener_module._add

    def count(*parts: Any) -> None:
        add(*parts)
        kill()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(screener_module, "_add", count)
        result = screen(
            MeanNumber(delay=0.1).fit(None), table, tmp_path / "out.parquet", client=client
        )
    assert kill.done
    assert result.path.read_bytes() == straight.path.read_bytes()
    assert result.n_predicted == straight.n_predicted


@pytest.mark.slow
def test_a_cluster_reads_csv(client: Any, tmp_path: Path) -> None:
    pd.DataFrame({"formula": FORMULAS}).to_csv(tmp_path / "in.csv", index=False)
    for name, options in (("straight", {}), ("cluster", {"client": client})):
        screen(
            MeanNumber().fit(None),
            tmp_path / "in.csv",
            tmp_path / f"{name}.parquet",
            batch_rows=100,
            **options,
        )
    frames = [pd.read_parquet(tmp_path / f"{name}.parquet") for name in ("straight", "cluster")]
    pd.testing.assert_frame_equal(*frames, check_exact=True)


@pytest.mark.slow
def test_errors_of_a_cluster_are_ours(client: Any, tmp_path: Path) -> None:
    with pytest.raises(CompositionError, match="row 3: 'x' is not"):
        screen(
            MeanNumber().fit(None),
            ["NaCl", "KCl", "LiF", "x"],
            tmp_path / "o.parquet",
            batch_rows=2,
            client=client,
        )
    # by default a task may end four workers
    client.cluster.scheduler.allowed_failures = 0
    with pytest.raises(EngineError, match="gave up on rows from 0"):
        screen(Deadly().fit(None), ["NaCl"] * 9, tmp_path / "p.parquet", client=client)


class Deadly(MeanNumber):
    """Ends every worker that predicts with it."""

    def predict(self, X: Any, return_std: bool = False) -> Any:
        if len(X) != len(screener_module._PROBE):
            os._exit(1)
        return super().predict(X, return_std)


@pytest.mark.slow
def test_searches_and_cross_validation_on_a_cluster(client: Any) -> None:
    import joblib

    # without networks, which take each worker ten seconds to import
    model = make_pipeline(CompositionTokenizer("fraction"), Ridge())
    X, y = FORMULAS[::20], np.arange(24.0)
    alone = cross_val_score(model, X, y, cv=2)
    search = GridSearchCV(model, {"ridge__alpha": [0.1, 1e9]}, cv=KFold(4, shuffle=True))
    # the test before this one ended workers, which start again
    client.wait_for_workers(2, timeout=200)
    with joblib.parallel_config(backend="dask", client=client, wait_for_workers_timeout=200):
        together = cross_val_score(model, X, y, cv=2)
        search.fit(X, y)
    np.testing.assert_array_equal(alone, together)
    assert search.best_params_ == {"ridge__alpha": 0.1}


@pytest.mark.slow
def test_command_line(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    trees = make_pipeline(CompositionTokenizer("fraction"), Ridge())
    save_model(trees.fit(FORMULAS[::20], np.arange(24.0)), "m")
    options = ["--no-std", "--where", "number < 100", "--top-k", "9", "--columns", "number"]
    options += ["--amounts", "weight"]
    assert main(["screen", "m", "in.parquet", "--output", "o.parquet", *options]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "wrote: o.parquet: 9 rows of 480" in err
    frame = pd.read_parquet("o.parquet")
    assert frame["number"].max() < 100
    assert frame["prediction"].is_monotonic_decreasing
    atoms = read_compositions(frame["formula"], amounts="weight").formulas()
    np.testing.assert_array_equal(frame["prediction"], trees.predict(atoms))
    # the bar is on stderr, and can be switched off
    assert "480/480" in err
    assert main(["screen", "m", "in.parquet", "--output", "o.parquet", "--quiet"]) == 2
    assert capsys.readouterr().err.startswith("sklearn-kt: error: ")
    assert main(["screen", "m", "in.parquet", "--output", "p.parquet", "--quiet", "--no-std"]) == 0
    assert capsys.readouterr().err.count("\n") == 1
    no_one = ["--scheduler", "tcp://127.0.0.1:9"]
    assert main(["screen", "m", "in.parquet", "--output", "q.parquet", *no_one]) == 2
    assert "no Dask scheduler at tcp://127.0.0.1:9" in capsys.readouterr().err
