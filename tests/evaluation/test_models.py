"""Magpie features and named models: the official numbers, built as asked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from pymatgen.core import Composition
from sklearn.base import clone
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import BayesianRidge, Ridge
from sklearn.pipeline import make_pipeline

from sklearn_kt import CompositionTokenizer, ImplicitKTRegressor
from sklearn_kt.estimators.readouts import offers_std
from sklearn_kt.evaluation import MODELS, MagpieFeaturizer, make_model
from sklearn_kt.evaluation.scores import HEADLINES
from sklearn_kt.exceptions import CompositionError, CompositionWarning, InputError

X = [f"{a}{b}" for a in ("Li", "Na", "K", "Rb", "Cs") for b in ("F", "Cl", "Br", "I", "H", "N")]


# --- Magpie ----------------------------------------------------------------------------------


def test_magpie_keeps_rows_in_order() -> None:
    featurizer = MagpieFeaturizer()
    together = featurizer.transform(X)
    assert together.shape == (30, 132)
    assert np.isfinite(together).all()
    np.testing.assert_array_equal(together[::-1], featurizer.transform(X[::-1]))
    np.testing.assert_array_equal(together[[7]], featurizer.transform([X[7]]))


def test_magpie_agrees_with_matminer() -> None:
    from matminer.featurizers.composition import ElementProperty

    official = ElementProperty.from_preset("magpie", impute_nan=True)
    formulas = ["Fe2O3", "Fe0.62C0.000953Mn0.000521Ni0.192", "Ca(OH)2", "NaN", "Xe"]
    expected = [official.featurize(Composition(formula)) for formula in formulas]
    np.testing.assert_array_equal(MagpieFeaturizer().transform(formulas), expected)
    names = MagpieFeaturizer().get_feature_names_out()
    assert names.tolist() == official.feature_labels()


def test_magpie_imputes_elements_without_data() -> None:
    rows = [{"Og": 1}, {"Lr": 1, "O": 1}, "D2O"]
    assert np.isfinite(MagpieFeaturizer().transform(rows)).all()


def test_magpie_bad_rows() -> None:
    with pytest.raises(CompositionError, match="Row 1, "):
        MagpieFeaturizer().transform(["Fe2O3", "Xx"])
    featurizer = MagpieFeaturizer(errors="nan")
    with pytest.warns(CompositionWarning, match="1 of 3"):
        features = featurizer.transform(["Fe2O3", "Xx", "SiO2"])
    assert np.isnan(features).all(axis=1).tolist() == [False, True, False]
    with pytest.warns(CompositionWarning):
        assert np.isnan(featurizer.transform(["Xx"])).all()
    with pytest.raises(CompositionError):
        featurizer.fit(["Xx"])
    with pytest.raises(InputError, match="empty"):
        featurizer.fit([])


def test_magpie_is_a_transformer() -> None:
    frame = pd.DataFrame({"composition": X})
    featurizer = clone(MagpieFeaturizer()).set_output(transform="pandas")
    features = featurizer.fit_transform(frame)
    assert features.columns[0] == "MagpieData minimum Number"
    assert featurizer.feature_names_in_.tolist() == ["composition"]
    with pytest.raises(ValueError, match="feature names"):
        featurizer.transform(frame.rename(columns={"composition": "formula"}))
    assert not featurizer.__sklearn_tags__().requires_fit


# --- models ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", HEADLINES)
@pytest.mark.parametrize("name", MODELS)
def test_models_are_built(name: str, kind: Any) -> None:
    model = make_model(name, kind, random_state=7, n_jobs=1)
    clone(model)
    assert model.__sklearn_tags__().estimator_type == kind.replace(
        "regression", "regressor"
    ).replace("classification", "classifier")
    seeds = [v for k, v in model.get_params().items() if k.endswith("random_state")]
    assert 7 in seeds or name == "dummy"
    assert MODELS[name].label


def test_model_names_and_kinds_are_checked() -> None:
    with pytest.raises(InputError, match=r"Unknown model 'rf'.*rf-magpie"):
        make_model("rf", "regression")
    with pytest.raises(InputError, match="kind must be"):
        make_model("dummy", "ranking")  # type: ignore[arg-type]


def test_offers_std() -> None:
    assert offers_std(make_pipeline(CompositionTokenizer("fraction"), BayesianRidge()))
    assert offers_std(ImplicitKTRegressor())
    assert not offers_std(make_pipeline(CompositionTokenizer("fraction"), Ridge()))
    # it would claim to be certain
    assert not offers_std(DummyRegressor())


def test_pretrained_models_start_from_the_checkpoint() -> None:
    for name, about in MODELS.items():
        parameters = make_model(name, "regression").get_params()
        # the models of a blend are made when it is fitted
        started = "default" in map(str, parameters.values()) or name == "blended"
        assert about.pretrained == started, name
