"""Embeddings of compositions as columns of a scikit-learn transformer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from _shims import SpelledTransformer
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator
from sklearn.exceptions import SkipTestWarning
from sklearn.linear_model import Ridge
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks

from sklearn_kt import CompositionEmbedder, ImplicitKTRegressor, read_compositions
from sklearn_kt.descriptors import elemental_descriptors
from sklearn_kt.encoder import load_checkpoint, save_checkpoint, without_heads
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
    assert frame.shape == (3, 512 + 38 + 192 + 118)
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
