"""Explicit estimators: scikit-learn's contract, structures, fallbacks, faults."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import polars as pl
import pytest
from _crystals import QUICK, rocksalt
from _shims import SpelledClassifier, SpelledRegressor
from numpy.testing import assert_allclose, assert_array_equal
from pymatgen.core import Composition, Lattice, Structure
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_kt import BlendedKTRegressor, ExplicitKTClassifier, ExplicitKTRegressor
from sklearn_kt.compositions import read_compositions
from sklearn_kt.encoder import encoder
from sklearn_kt.encoder.weights import CheckpointFiles
from sklearn_kt.exceptions import (
    CompositionError,
    CompositionWarning,
    InputError,
    NearFormulaWarning,
)
from sklearn_kt.persistence import load_model, save_model
from sklearn_kt.structures import (
    CrystalGraphClassifier,
    CrystalGraphRegressor,
    PrototypeGenerator,
    StructureLookup,
)

pytestmark = pytest.mark.usefixtures("few_trees")

METALS = ("Li", "Na", "K", "Rb", "Mg", "Ca")
FORMULAS = [f"{m}{n}{x}" for m in METALS for x in ("F", "Cl", "Br", "O") for n in (1, 2)]
TARGET = np.array([Composition(f).average_electroneg for f in FORMULAS])
LABELS = np.where(np.median(TARGET) < TARGET, "ionic", "metallic")
TREES = ExtraTreesRegressor(20)
VOTES = ExtraTreesClassifier(20)
LOGISTIC = make_pipeline(StandardScaler(), LogisticRegression())


def regressor(**changes: Any) -> ExplicitKTRegressor:
    return ExplicitKTRegressor(
        **{**QUICK, "readout": TREES, "composition_estimator": Means(), **changes}
    )


class Means(BaseEstimator):
    """A composition model that is told from the others."""

    def fit(self, X: Any, y: Any) -> Means:
        self.mean_ = np.mean(y, axis=0)
        return self

    def predict(self, X: Any) -> np.ndarray:
        return np.full((len(X), *np.shape(self.mean_)), self.mean_)


@parametrize_with_checks(
    [ExplicitKTRegressor(readout=Ridge()), ExplicitKTClassifier(readout=LOGISTIC)]
)
def test_sklearn_contract(estimator: BaseEstimator, check: Any) -> None:
    check(estimator)


class SpelledExplicitRegressor(SpelledRegressor, ExplicitKTRegressor):
    """The real regressor on formulas under the suite's numbers."""


class SpelledExplicitClassifier(SpelledClassifier, ExplicitKTClassifier):
    """The real classifier on formulas under the suite's numbers."""


@parametrize_with_checks(
    [
        SpelledExplicitRegressor(**QUICK, readout=Ridge(), fallback="raise"),
        SpelledExplicitClassifier(**QUICK, readout=LOGISTIC, fallback="raise"),
    ]
)
def test_sklearn_contract_on_formulas(estimator: BaseEstimator, check: Any) -> None:
    check(estimator)


class TestStructures:
    def test_generated_for_fit_and_predict(self) -> None:
        model = regressor(fallback="raise").fit(FORMULAS, TARGET)
        assert model.score(FORMULAS, TARGET) > 0.9
        assert model.composition_model_ is None
        assert model.fallback_rows_ == []

    def test_given_ones_are_used(self) -> None:
        given: list[Any] = [Structure(Lattice.cubic(3 + t), ["Na"], [[0, 0, 0]]) for t in TARGET]
        shuffled = np.random.default_rng(0).permutation(TARGET)
        wrong = [Structure(Lattice.cubic(3 + t), ["Na"], [[0, 0, 0]]) for t in shuffled]
        readout = make_pipeline(StandardScaler(), Ridge())
        true = regressor(readout=readout).fit(FORMULAS, TARGET, structures=given)
        misled = regressor(readout=readout).fit(FORMULAS, TARGET, structures=wrong)
        assert abs(true.predict(FORMULAS) - misled.predict(FORMULAS)).max() > 1e-3
        assert_allclose(
            true.predict(FORMULAS, structures=[*given[:2], *[None] * (len(given) - 2)])[:2],
            true.predict(FORMULAS[:2], structures=given[:2]),
        )
        with pytest.raises(InputError, match="structures has 1 rows, but X has 48"):
            true.predict(FORMULAS, structures=given[:1])

    def test_several_candidates(self) -> None:
        model = regressor(n_candidates=3).fit(FORMULAS, TARGET)
        assert model.score(FORMULAS, TARGET) > 0.9

    def test_lookup_as_generator(self) -> None:
        crystals = [Structure(Lattice.cubic(4), ["N", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])]
        model = regressor(generator=StructureLookup(crystals), fallback="composition")
        with pytest.warns(CompositionWarning, match="48 of 48 compositions have no structure"):
            model.fit(FORMULAS, TARGET)
        assert model.structure_model_ is None
        assert_allclose(model.predict(["NO"]), TARGET.mean())

    @pytest.mark.slow
    @pytest.mark.filterwarnings("ignore::sklearn_kt.exceptions.CompositionWarning")
    def test_defaults_end_to_end(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(encoder, "_loaded", {})
        loads = []
        load = CheckpointFiles.load

        def counted(files: CheckpointFiles) -> Any:
            loads.append(files.folder)
            return load(files)

        monkeypatch.setattr(CheckpointFiles, "load", counted)
        model = ExplicitKTRegressor(random_state=0).fit(FORMULAS, TARGET)
        # one encoder in all parts of the model, and in its file
        assert len(loads) == 1
        for whole in (model, load_model(save_model(model, tmp_path / "model"))):
            assert whole.encoder_ is whole.composition_model_.encoder_
        mean, std = model.predict(["CsCl", "Og2O"], return_std=True)
        assert np.isfinite(mean).all()
        assert (std > 0).all()
        assert model.fallback_rows_ == [1]
        bounds = model.predict_interval(["CsCl", "Og2O"])
        assert (bounds[:, 0] < mean).all()
        assert (mean < bounds[:, 1]).all()
        again = pickle.loads(pickle.dumps(model))
        assert_array_equal(again.predict(["CsCl"]), mean[:1])

    def test_fractional_compositions_are_told(self) -> None:
        model = regressor(generator=PrototypeGenerator(), fallback="raise")
        model.fit(FORMULAS, TARGET)
        with pytest.warns(CompositionWarning, match="nearest ones"):
            model.predict(["Na0.99K0.01Cl"])


class TestFallback:
    X: ClassVar[list[str]] = [*FORMULAS, "TcO2"]
    y = np.append(TARGET, 99.0)

    def test_composition_model_stands_in(self) -> None:
        model = regressor()
        with pytest.warns(CompositionWarning, match=r"1 of 49 .* row 48 \(TcO2\); the composition"):
            model.fit(self.X, self.y)
        assert model.fallback_rows_ == [48]
        with pytest.warns(CompositionWarning, match="2 of 3 compositions have no structure"):
            out = model.predict(["Tc2O", "NaF", "TcF"])
        assert_allclose(out[[0, 2]], self.y.mean())
        assert out[1] < 10
        assert model.fallback_rows_ == [0, 2]

    def test_raise(self) -> None:
        with pytest.raises(InputError, match=r"row 48 \(TcO2\).*fallback='composition'"):
            regressor(fallback="raise").fit(self.X, self.y)
        model = regressor(fallback="raise").fit(FORMULAS, TARGET)
        with pytest.raises(InputError, match=r"1 of 2 .* row 1 \(TcO\)"):
            model.predict(["NaF", "TcO"])

    def test_nan(self) -> None:
        model = regressor(fallback="nan")
        with pytest.warns(CompositionWarning, match="they are left out"):
            model.fit(self.X, self.y)
        assert model.composition_model_ is None
        with pytest.warns(CompositionWarning, match="their predictions are NaN"):
            out = model.predict(["NaF", "TcO"])
        assert_array_equal(np.isnan(out), [False, True])
        with pytest.warns(CompositionWarning):
            assert np.isnan(model.predict(["TcO"])).tolist() == [True]

    def test_nothing_to_learn_from(self) -> None:
        with pytest.warns(CompositionWarning), pytest.raises(InputError, match="none of the rows"):
            regressor(fallback="nan").fit(["TcO", "TcO2"], [1.0, 2.0])

    def test_readout_reads_how_far_structures_can_be_trusted(self) -> None:
        model = regressor(generator=PrototypeGenerator()).fit(FORMULAS[:6], TARGET[:6])
        asked = ["NaCl", "Rb2InAgBr6", "PbTe0.7Se0.3", "In0.53Ga0.47As", "KCl"]
        batch = read_compositions(asked)
        with pytest.warns(NearFormulaWarning):
            found = PrototypeGenerator().generate(batch, 1)
        given: list[Any] = [*found[:4], rocksalt("K", "Cl", 6.3)]
        columns, _ = model._features(batch, given)
        distance, error, score, known = columns[:, 1:5].T
        about = [candidate.provenance for [candidate] in found]
        assert known.tolist() == [1, 0, 0, 0, 1]
        assert_allclose(distance, [*(a["distance"] for a in about[:4]), 0])
        assert_allclose(error, [0, 0, 0, about[3]["composition_error"], 0])
        assert_allclose(score, [*(c.score for [c] in found[:4]), 1])

    def test_blend_tells_of_near_formulas_once(self) -> None:
        formulas = [*FORMULAS[:9], "In0.53Ga0.47As", "In0.54Ga0.46As", "In0.56Ga0.44As"]
        model = regressor(generator=PrototypeGenerator())
        blend = BlendedKTRegressor([("one", model), ("two", model)], cv=3, random_state=0)
        with pytest.warns(NearFormulaWarning) as caught:
            blend.fit(formulas, np.arange(12.0))
        [said] = [str(w.message) for w in caught if w.category is NearFormulaWarning]
        assert said.startswith("3 of 12 ")
        with pytest.warns(NearFormulaWarning) as caught:
            blend.predict(formulas)
        assert len([w for w in caught if w.category is NearFormulaWarning]) == 1

    def test_generators_that_tell_nothing_are_told_apart(self) -> None:
        model = regressor().fit(FORMULAS, TARGET)
        columns, _ = model._features(read_compositions(["NaF"]), [None])
        assert columns[0, 1:5].tolist() == [-1, 0, -1, 0]

    def test_classes_that_only_fallback_rows_have(self) -> None:
        model = ExplicitKTClassifier(
            **QUICK, readout=VOTES, composition_estimator=make_pipeline(Fractions(), VOTES)
        )
        with pytest.warns(CompositionWarning):
            model.fit([*FORMULAS, "TcO2", "TcO"], [*LABELS, "radioactive", "radioactive"])
        with pytest.warns(CompositionWarning):
            proba = model.predict_proba(["NaF", "TcO"])
        assert_allclose(proba.sum(axis=1), 1)
        assert proba.shape == (2, 3)
        assert proba[0, 2] == 0
        with pytest.warns(CompositionWarning):
            assert model.predict(["TcO2"]).tolist() == ["radioactive"]

    def test_labels_of_rows_without_prediction(self) -> None:
        model = ExplicitKTClassifier(**QUICK, readout=VOTES, fallback="nan").fit(FORMULAS, LABELS)
        with pytest.warns(CompositionWarning):
            assert model.predict(["NaF", "TcO"])[1] is None
        with pytest.warns(CompositionWarning):
            labels, probabilities = model.predict(["TcO"], return_proba=True)
        assert labels.tolist() == [None]
        assert np.isnan(probabilities).all()
        assert probabilities.shape == (1, 2)

    def test_uncertainty_of_rows_without_prediction(self) -> None:
        model = regressor(readout="fast", fallback="nan").fit(FORMULAS, TARGET)
        with pytest.warns(CompositionWarning):
            mean, std = model.predict(["TcO"], return_std=True)
        assert mean.shape == std.shape == (1,)
        assert np.isnan([mean, std]).all()
        with pytest.warns(CompositionWarning):
            assert model.predict_interval(["TcO"]).shape == (1, 2)

    def test_readout_and_composition_model_keep_their_decisions(self) -> None:
        def bold(model: Any) -> FixedThresholdClassifier:
            return FixedThresholdClassifier(model, threshold=0.01, pos_label="metallic")

        model = ExplicitKTClassifier(
            **QUICK,
            readout=bold(LOGISTIC),
            composition_estimator=make_pipeline(Fractions(), bold(LOGISTIC)),
        ).fit(FORMULAS, LABELS)
        with pytest.warns(CompositionWarning):
            probability = model.predict_proba([*FORMULAS, "TcO", "TcF"])[:, 1]
        expected = np.where(probability >= 0.01, "metallic", "ionic")
        assert (expected != np.where(probability > 0.5, "metallic", "ionic")).any()
        with pytest.warns(CompositionWarning):
            assert model.predict([*FORMULAS, "TcO", "TcF"]).tolist() == expected.tolist()
        with pytest.warns(CompositionWarning):
            both = model.predict([*FORMULAS, "TcO", "TcF"], return_proba=True)
        assert both[0].tolist() == expected.tolist()
        assert_allclose(both[1][:, 1], probability, rtol=0, atol=0)

    def test_composition_model_without_uncertainty(self) -> None:
        model = regressor(readout="fast").fit(FORMULAS, TARGET)
        assert model.predict(["NaF"], return_std=True)[1] > 0
        with pytest.warns(CompositionWarning), pytest.raises(InputError, match="no return_std"):
            model.predict(["TcO"], return_std=True)
        with pytest.warns(CompositionWarning), pytest.raises(InputError, match="no intervals"):
            model.predict_interval(["TcO"])


class Fractions(TransformerMixin, BaseEstimator):
    def fit(self, X: Any, y: Any = None) -> Fractions:
        return self

    def transform(self, X: Any) -> np.ndarray:
        return X.fractions()


class TestContainers:
    def test_all_give_the_same(self) -> None:
        model = regressor().fit(FORMULAS, TARGET)
        expected = model.predict(FORMULAS[:5])
        rows = FORMULAS[:5]
        for X in (
            np.array(rows),
            pd.Series(rows, index=[9, 8, 7, 6, 5]),
            pl.Series(rows),
            [Composition(f) for f in rows],
            [Composition(f).as_dict() for f in rows],
        ):
            assert_array_equal(model.predict(X), expected)

    def test_several_targets(self) -> None:
        y = np.column_stack([TARGET, -TARGET])
        model = regressor().fit(FORMULAS, y)
        assert model.predict(FORMULAS[:3]).shape == (3, 2)
        with pytest.warns(CompositionWarning):
            assert model.predict(["TcO"]).shape == (1, 2)

    def test_rows_that_are_not_compositions(self) -> None:
        with pytest.raises(CompositionError, match="xyz"):
            regressor().fit(["NaCl", "xyz"], [1, 2])
        model = regressor(errors="nan").fit(FORMULAS, TARGET)
        with pytest.warns(CompositionWarning, match="not a composition"):
            out = model.predict(["NaF", "xyz"])
        assert_array_equal(np.isnan(out), [False, True])
        with pytest.warns(CompositionWarning, match="not a composition"):
            assert np.isnan(model.predict(["xyz"])).all()

    def test_numbers_after_formulas(self) -> None:
        model = regressor().fit(FORMULAS, TARGET)
        with pytest.raises(InputError, match="fitted on compositions, but X holds features"):
            model.predict([[1.0, 2.0]])

    def test_searches_and_scores(self) -> None:
        search = GridSearchCV(regressor(), {"n_candidates": [1, 2]}, cv=2).fit(FORMULAS, TARGET)
        assert search.best_score_ > 0
        assert len(cross_val_score(clone(regressor()), FORMULAS, TARGET, cv=3)) == 3

    def test_same_seed_same_model(self) -> None:
        first, second = (regressor().fit(FORMULAS, TARGET).predict(FORMULAS) for _ in range(2))
        assert_array_equal(first, second)
        with pytest.raises(ValueError, match="fallback"):
            regressor(fallback="guess").fit(FORMULAS, TARGET)


class TestGraphNetworks:
    QUICK: ClassVar[dict[str, Any]] = {"max_epochs": 1, "batch_size": 16, "device": "cpu"}

    @pytest.mark.slow
    @pytest.mark.filterwarnings("ignore::sklearn_kt.exceptions.CompositionWarning")
    def test_regressor(self) -> None:
        network = CrystalGraphRegressor(**self.QUICK, early_stopping=True)
        model = ExplicitKTRegressor(
            readout=network, n_candidates=2, composition_estimator=Means(), random_state=0
        ).fit(FORMULAS[:12], TARGET[:12])
        assert model.encoder_ is None
        assert not hasattr(network, "weights_")
        found = model.predict(["CsCl", "Og2O", "NaF"])
        assert model.fallback_rows_ == [1]
        assert found[1] == pytest.approx(TARGET[:12].mean())
        crystals = PrototypeGenerator().generate(["CsCl"], 2)
        assert found[0] == model.structure_model_.predict(crystals)[0]
        again = clone(model).fit(FORMULAS[:12], TARGET[:12])
        assert_array_equal(again.predict(["CsCl", "NaF"]), found[[0, 2]])
        with pytest.raises(InputError, match="CrystalGraphRegressor has no intervals"):
            model.predict_interval(["NaF"])
        assert model.predict(["NaF"], return_std=True)[1] > 0
        with pytest.raises(InputError, match="reads crystals, and X holds numbers"):
            clone(model).fit(np.eye(3), [1.0, 2.0, 3.0])

    def test_classifier(self) -> None:
        model = ExplicitKTClassifier(
            readout=CrystalGraphClassifier(**self.QUICK), fallback="nan", random_state=0
        ).fit(FORMULAS[:12], LABELS[:12])
        assert set(model.predict(FORMULAS[:3])) <= set(LABELS)
        assert_allclose(model.predict_proba(FORMULAS[:3]).sum(axis=1), 1)
