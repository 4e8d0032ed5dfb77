"""Several targets, not all of which are measured in every row, in all regressors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import cross_val_score
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_kt import (
    BlendedKTRegressor,
    CompositionEmbedder,
    ExplicitKTRegressor,
    ImplicitKTClassifier,
    ImplicitKTRegressor,
)
from sklearn_kt.estimators.html_repr import fitted_html
from sklearn_kt.exceptions import InputError
from sklearn_kt.persistence import load_model, save_model

pytestmark = pytest.mark.usefixtures("few_trees")

rng = np.random.default_rng(0)
X = rng.normal(size=(60, 3))
# of scales that a mean over both would hide the second in
FULL = np.column_stack([1000 + 100 * X[:, 0], X[:, 1] ** 2])
GAPS = FULL.copy()
GAPS[::3, 0] = np.nan
GAPS[1::3, 1] = np.nan
KNOWN = ~np.isnan(GAPS)
QUICK: dict[str, Any] = {"checkpoint": None, "backbone": "tiny", "random_state": 0}
NETWORKS: dict[str, Any] = {**QUICK, "readout": "head", "n_estimators": 2, "max_epochs": 2}
EXACT = ImplicitKTRegressor(None, readout=Ridge(1e-9))
REGRESSORS: dict[str, Any] = {
    "implicit": EXACT,
    "explicit": ExplicitKTRegressor(readout=Ridge(1e-9)),
    # one of ours, and others that take no gaps themselves
    "blended": BlendedKTRegressor(
        [
            ("ours", EXACT),
            ("pipeline", make_pipeline(StandardScaler(), Ridge(1e-9))),
            ("nested", TransformedTargetRegressor(EXACT, transformer=StandardScaler())),
        ],
        random_state=0,
    ),
}


@pytest.mark.parametrize("regressor", REGRESSORS.values(), ids=REGRESSORS)
def test_each_target_is_learned_from_the_rows_that_have_it(regressor: Any) -> None:
    model = clone(regressor).fit(X, GAPS)
    for target in range(2):
        rows = KNOWN[:, target]
        alone = EXACT.fit(X[rows], GAPS[rows, target])
        assert_allclose(model.predict(X)[:, target], alone.predict(X), rtol=1e-6)
    expected = [r2_score(GAPS[k, t], model.predict(X)[k, t]) for t, k in enumerate(KNOWN.T)]
    assert model.score(X, GAPS) == pytest.approx(np.mean(expected))
    assert model.score(X, FULL) == pytest.approx(r2_score(FULL, model.predict(X)))
    assert np.isfinite(cross_val_score(EXACT, X, GAPS, cv=2)).all()


@pytest.mark.parametrize("regressor", REGRESSORS.values(), ids=REGRESSORS)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (([3, 8], np.nan), r"row 3 of y has none of the 2 targets \(2 such rows\); leave it out"),
        ((np.s_[:, 1], np.nan), "column 1 of y has no value in any of the 60 rows; leave it out"),
        (((2, 0), np.inf), "y contains infinity in row 2; a target is a finite number"),
        (((2, 0), 1e300), r"row 2 of y holds 1e\+300"),
    ],
)
def test_bad_targets_are_named(regressor: Any, change: Any, message: str) -> None:
    y, (place, value) = FULL.copy(), change
    y[place] = value
    # gaps elsewhere
    y[20:, 1] = np.nan
    with pytest.raises(ValueError, match=message):
        clone(regressor).fit(X, y)


@pytest.mark.parametrize("regressor", REGRESSORS.values(), ids=REGRESSORS)
@pytest.mark.parametrize("columns", [slice(0, 1), 0])
def test_a_single_target_has_no_gaps(regressor: Any, columns: Any) -> None:
    with pytest.raises(ValueError, match=r"contains NaN in row 0 \(20 such rows\)"):
        clone(regressor).fit(X, GAPS[:, columns])


@pytest.mark.parametrize(
    "table",
    [
        lambda y: pd.DataFrame(y, columns=["S", "zT"]),
        lambda y: pd.DataFrame(y, columns=["S", "zT"]).convert_dtypes(),
        lambda y: pl.DataFrame(y, schema=["S", "zT"]).fill_nan(None),
        lambda y: [[None if np.isnan(v) else v for v in row] for row in y],
    ],
)
def test_tables_of_targets(table: Any) -> None:
    expected = EXACT.fit(X, GAPS).predict(X)
    assert_array_equal(EXACT.fit(X, table(GAPS)).predict(X), expected)
    bare = GAPS[::3]
    name = "'S'" if hasattr(table(bare), "columns") else "0"
    with pytest.raises(InputError, match=f"column {name} of y has no value"):
        EXACT.fit(X[::3], table(bare))


def test_weights_and_errors_are_those_of_a_target(tmp_path: Path) -> None:
    model = ImplicitKTRegressor(None, readout="fast", random_state=0).fit(X, GAPS)
    assert_allclose(sum(model.readout_weights_.values()), [1, 1])
    assert set(model.held_out_scores_) == {"mae", "r2"}
    assert model.held_out_scores_["mae"].shape == (2,)
    y, std = model.predict(X[:5], return_std=True)
    bounds = model.predict_interval(X[:5], coverage=0.8)
    assert y.shape == std.shape == (5, 2)
    assert bounds.shape == (5, 2, 2)
    # in the units of each
    assert (std[:, 0] > 10 * std[:, 1]).all()
    inside = (bounds[..., 0] < y) & (y < bounds[..., 1])
    assert inside.all()
    loaded = load_model(save_model(model, tmp_path / "gaps.model"))
    assert_array_equal(loaded.predict_interval(X[:5], coverage=0.8), bounds)
    assert "100%, 100% trees" in fitted_html(model)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_networks_learn_what_is_there(early_stopping: bool) -> None:
    model = ImplicitKTRegressor(**NETWORKS, early_stopping=early_stopping).fit(X, GAPS)
    losses = [epoch[key] for epoch in model.history_[0] for key in epoch]
    assert np.isfinite(losses).all()
    assert np.isfinite(model.predict_interval(X, coverage=0.8)).all()
    # what fills the gaps of other rows has no part in it
    np.testing.assert_raises(
        AssertionError, assert_array_equal, model.predict(X), clone(model).fit(X, FULL).predict(X)
    )


def test_a_target_of_few_rows_leaves_nothing_to_compare_on() -> None:
    y = FULL.copy()
    y[11:, 0] = np.nan
    few = ImplicitKTRegressor(None, readout="fast", random_state=0).fit(X, y)
    assert few.readout_weights_ == {"trees": 1.0}
    with pytest.raises(InputError, match="no out-of-fold errors"):
        few.predict_interval(X)
    y[11, 0] = FULL[11, 0]
    enough = ImplicitKTRegressor(None, readout="fast", random_state=0).fit(X, y)
    assert enough.predict_interval(X).shape == (60, 2, 2)


def test_a_blend_has_weights_and_errors_of_each_target() -> None:
    class Forgetful(Ridge):
        """Knows the first target only."""

        def predict(self, X: Any) -> np.ndarray:
            return super().predict(X) * [1, 0] if self.coef_.ndim == 2 else super().predict(X)

    models = [("first", Forgetful(1e-9)), ("second", Ridge(1e6))]
    y = np.column_stack([X[:, 0], np.full(60, 7.0)])
    blend = BlendedKTRegressor(models, cv=2, random_state=0).fit(X, y)
    assert_allclose(blend.weights_["first"], [1, 0])
    assert_allclose(blend.weights_["second"], [0, 1])
    assert blend.scores_["blend"].shape == (2,)
    assert_allclose(blend.predict(X), y, atol=1e-6)
    std = blend.predict(X, return_std=True)[1]
    assert std.shape == (60, 2)
    assert blend.predict_interval(X).shape == (60, 2, 2)
    assert "100%, 0% first" in fitted_html(blend)


def test_several_classes_are_told_by_a_meta_estimator() -> None:
    formulas, y = ["NaCl", "MgO", "Cu", "Fe"], [["a", "x"], ["a", "y"], ["b", "x"], ["b", "y"]]
    model = ImplicitKTClassifier(None, readout=ExtraTreesClassifier(5), random_state=0)
    assert MultiOutputClassifier(model).fit(formulas, y).predict(["KCl"]).shape == (1, 2)
    with pytest.raises(ValueError, match="1d array"):
        model.fit(formulas, y)


def test_a_readout_in_a_pipeline_of_compositions() -> None:
    formulas = ["NaCl", "MgO", "KCl", "CaO", "Si", "Ge", "LiF", "ZnO"] * 2
    y = FULL[:16] * np.where(np.arange(32).reshape(16, 2) % 3, 1, np.nan)
    pipeline = make_pipeline(CompositionEmbedder(None), Ridge())
    blend = BlendedKTRegressor([("ridge", pipeline)], cv=2).fit(formulas, y)
    assert blend.predict(formulas).shape == (16, 2)
