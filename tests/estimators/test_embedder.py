"""Embeddings of compositions as columns of a scikit-learn transformer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from _shims import SpelledTransformer
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator
from sklearn.exceptions import SkipTestWarning
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsRegressor
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks

from sklearn_kt import (
    BlendedKTRegressor,
    CompositionEmbedder,
    CompositionTokenizer,
    ExplicitKTRegressor,
    ImplicitKTRegressor,
    read_compositions,
)
from sklearn_kt.descriptors import elemental_descriptors
from sklearn_kt.encoder import load_checkpoint, save_checkpoint
from sklearn_kt.encoder.weights import without_heads
from sklearn_kt.exceptions import CompositionWarning, InputError

FORMULAS = ["NaCl", "LiFePO4", "Fe0.62Ni0.38", "Cu"]


class SpelledEmbedder(SpelledTransformer, CompositionEmbedder):
    """The real embedder under the suite's numbers."""


@parametrize_with_checks([SpelledEmbedder(), SpelledEmbedder(None)])
def test_sklearn_contract_on_spelled_numbers(estimator: BaseEstimator, check: Any) -> None:
    check(estimator)


def test_embedder_declares_that_it_reads_no_matrix() -> None:
    with pytest.warns(SkipTestWarning, match="two_d_array=False"):
        checks = list(estimator_checks_generator(CompositionEmbedder(None)))
    for estimator, check in checks:
        check(estimator)


def test_output_names_and_bad_rows() -> None:
    embedder = CompositionEmbedder(errors="nan").set_output(transform="pandas")
    with pytest.warns(CompositionWarning):
        frame = embedder.fit(FORMULAS).transform(["NaCl", "xx", "Na2Cl2"])
    assert embedder.blocks_ == ("embedding", "properties", "descriptors", "fractions")
    assert frame.shape == (3, 512 + 45 + 192 + 118)
    assert frame.columns[0] == "embedding_0"
    assert frame["fraction_Na"][0] == 0.5
    assert frame["range_electronegativity"][0] == pytest.approx(2.23)
    # the gap of rock salt by PBE is 5.0 eV
    assert frame["property_band_gap_mp"][0] == pytest.approx(5.0, abs=0.6)
    assert frame.iloc[1].isna().all()
    assert_allclose(frame.iloc[0], frame.iloc[2], rtol=1e-5, atol=1e-6)


def test_blocks_come_in_the_order_asked_for() -> None:
    both = CompositionEmbedder(blocks=["fractions", "descriptors"]).fit_transform(FORMULAS)
    batch = read_compositions(FORMULAS)
    assert_array_equal(both, np.hstack([batch.fractions(), elemental_descriptors(batch)]))
    nothing = CompositionEmbedder(None).fit(FORMULAS)
    assert nothing.blocks_ == ("descriptors", "fractions")


def test_blocks_that_are_not_there(tmp_path: Any) -> None:
    with pytest.raises(InputError, match="asks for 'embedding'"):
        CompositionEmbedder(None, blocks=["embedding"]).fit(FORMULAS)
    with pytest.raises(InputError, match="asks for 'colour'"):
        CompositionEmbedder(blocks=["colour"]).fit(FORMULAS)
    with pytest.raises(InputError, match="asks for 'nothing'"):
        CompositionEmbedder(blocks=[]).fit(FORMULAS)
    with pytest.raises(InputError, match="numeric matrix"):
        CompositionEmbedder(None).fit(np.eye(3))
    # a fine-tuned encoder has no property heads
    folder = save_checkpoint(*without_heads(*load_checkpoint("default")), tmp_path / "x", card="")
    bare = CompositionEmbedder(folder).fit(FORMULAS)
    assert bare.blocks_ == ("embedding", "descriptors", "fractions")
    whole = CompositionEmbedder(blocks=["embedding"]).fit_transform(FORMULAS)
    assert_allclose(bare.transform(FORMULAS)[:, :512], whole, rtol=1e-6)


def test_estimators_remember_the_elements_of_their_table() -> None:
    model = ImplicitKTRegressor(None, readout=Ridge()).fit(["NaCl", "MgO", "Na2O"], [1.0, 2.0, 3.0])
    assert model.elements_.tolist() == ["Cl", "Mg", "Na", "O"]
    model.fit([[0.0], [1.0], [2.0]], [1.0, 2.0, 3.0])
    assert not hasattr(model, "elements_")


ROWS = ["NaCl", 5, None, np.nan, pd.Timestamp(0), [1.0, 2.0], ["MgO"], "x", {"Si": 1}]


@settings(max_examples=15)
@given(st.permutations(ROWS))
@pytest.mark.filterwarnings("ignore::sklearn_kt.exceptions.CompositionWarning")
def test_rows_are_told_one_by_one_in_any_order(rows: list) -> None:
    known = {"NaCl": 8.5, "MgO": 7.8, "Si": 1.1}
    model = ImplicitKTRegressor(None, readout=KNeighborsRegressor(1), errors="nan")
    model.fit(list(known), list(known.values()))
    expected = [
        known["NaCl"]
        if row == "NaCl"
        else known["MgO"]
        if row == ["MgO"]
        else known["Si"]
        if isinstance(row, dict)
        else np.nan
        for row in rows
    ]
    embedder = CompositionEmbedder(None, blocks=["fractions"], errors="nan").fit(["NaCl"])
    for X in (rows, pd.Series(rows), pl.Series(rows, dtype=pl.Object)):
        assert_allclose(model.predict(X), expected)
        assert_array_equal(np.isnan(embedder.transform(X)[:, 0]), np.isnan(expected))
    with pytest.raises(InputError, match="6 of 9 rows are not compositions"):
        model.set_params(errors="raise").predict(rows)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (pl.LazyFrame({"a": ["NaCl"]}), "collect"),
        (pa.array(["NaCl"]), "type StringArray"),
        (pa.table({"a": ["NaCl"]}), "type Table"),
        ((f for f in ["NaCl"]), "type generator"),
        ({"NaCl"}, "type set"),
        (np.array("NaCl"), "0-dimensional"),
        (pd.DataFrame({"a": [1.0, 2.0], "b": [1.0, "NaCl"]}), "2 columns"),
        (pd.Series(pd.to_datetime(["2020"])), "type Timestamp"),
        ([5.0], "a number"),
        (np.ones((2, 1)), "a number"),
        ([[1.0, 2.0], [3.0]], "a list of 2 values"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_matrix_goes_to_the_gate(X: Any, message: str) -> None:
    models: list[Any] = [
        ImplicitKTRegressor(None, readout=Ridge()),
        ExplicitKTRegressor(embedder=_Sizes(), checkpoint=None, readout=Ridge(), fallback="raise"),
        BlendedKTRegressor([("one", ImplicitKTRegressor(None, readout=Ridge()))]),
        CompositionEmbedder(None),
        CompositionTokenizer(),
    ]
    for model in models:
        model.fit(["NaCl", "MgO", "Si"], [8.5, 7.8, 1.1])
        with pytest.raises(InputError, match=message):
            getattr(model, "transform" if hasattr(model, "transform") else "predict")(X)


class _Sizes:
    def transform(self, X: Any) -> np.ndarray:
        return np.array([[row[0].structure.volume] for row in X])
