"""Explanations: checked by mathematics, not by snapshots."""

from __future__ import annotations

import subprocess
import sys
import warnings
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from _crystals import QUICK
from pymatgen.core import Composition
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import BaggingRegressor, RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import LinearSVC

from sklearn_kt import (
    BlendedKTRegressor,
    CompositionTokenizer,
    ExplicitKTRegressor,
    ImplicitKTClassifier,
    ImplicitKTRegressor,
)
from sklearn_kt.compositions import parse_formula, read_compositions
from sklearn_kt.evaluation import MagpieFeaturizer
from sklearn_kt.exceptions import CompositionError, ConditionWarning, ExplanationWarning, InputError
from sklearn_kt.explanation import INDICES, explain, explain_dataset

EFFICIENT = [index for index in INDICES if index != "SII"]
FORMULAS = ["LiFePO4", "Fe2O3", "NaCl", "SiO2", "Li2O", "FeP", "MgO", "Al2O3", "GaAs", "P2O5"]
TARGETS = np.array([3.7, 2.2, 8.5, 8.9, 7.9, 0.1, 7.8, 8.8, 1.4, 5.5])
STEEL = (
    "Fe0.62C0.000953Mn0.000521Si0.00102Cr0.00011Ni0.192Mo0.0176V0.000112Nb0.0000616Co0.146"
    "Al0.00318Ti0.0185Cu0.001W0.0001"
)
UNSEEN = "ignore:.*in no composition:sklearn_kt.exceptions.ExplanationWarning"
TINY = {
    "checkpoint": None,
    "backbone": "tiny",
    "readout": "head",
    "n_estimators": 1,
    "max_epochs": 2,
    "random_state": 0,
}


@pytest.fixture(scope="module")
def regressor() -> ImplicitKTRegressor:
    return ImplicitKTRegressor(**TINY).fit(FORMULAS, TARGETS)


@pytest.fixture(scope="module")
def classifier() -> ImplicitKTClassifier:
    return ImplicitKTClassifier(**TINY).fit(FORMULAS, np.where(TARGETS > 5, "wide", "narrow"))


@pytest.fixture(scope="module")
def magpie():
    return make_pipeline(MagpieFeaturizer(), Ridge()).fit(FORMULAS, TARGETS)


def fractions(formula: str) -> dict[str, float]:
    amounts = parse_formula(formula)
    return {symbol: amount / sum(amounts.values()) for symbol, amount in amounts.items()}


def sharing(game: dict[frozenset, float], symbols: tuple[str, ...], who: str) -> float:
    """Shapley value by its definition, over coalitions given as sets of symbols."""
    others = [s for s in symbols if s != who]
    total, n = 0.0, len(symbols)
    for size in range(n):
        weight = 1.0 / (n * len(list(combinations(others, size))))
        for team in combinations(others, size):
            total += weight * (game[frozenset((*team, who))] - game[frozenset(team)])
    return total


def total(values) -> float:
    return sum(values[subset] for subset in values.subsets())


def is_iron_oxide(formulas: list[str]) -> list[float]:
    """2 for iron with oxygen, 0.5 for lithium; the mean over the pure elements is 0."""
    present = [set(parse_formula(formula)) for formula in formulas]
    return [2.0 * ({"Fe", "O"} <= p) + 0.5 * ("Li" in p) - 0.5 * ("Na" in p) for p in present]


# ---------------------------------------------------------------- axioms


@pytest.mark.parametrize("index", EFFICIENT)
@pytest.mark.parametrize("baseline", ["drop", "mask", "background"])
def test_efficiency(regressor, index: str, baseline: str) -> None:
    background = FORMULAS if baseline == "background" else None
    prediction = regressor.predict(["LiFePO4"])[0]
    for order in range(1, 5):
        values = explain(
            regressor,
            "LiFePO4",
            index=index,
            max_order=order,
            baseline=baseline,
            background=background,
        )
        assert not values.estimated
        # shapiq's FSII pins the two ends with a large weight, not exactly
        tolerance = 1e-6 if index == "FSII" else 1e-9
        assert total(values) == pytest.approx(prediction - values.baseline_value, abs=tolerance)


@pytest.mark.parametrize("index", EFFICIENT)
def test_efficiency_of_tokens(regressor, index: str) -> None:
    for baseline in ("drop", "mask"):
        values = explain(regressor, "Fe2O3", index=index, players="tokens", baseline=baseline)
        gap = regressor.predict(["Fe2O3"])[0] - values.baseline_value
        assert total(values) == pytest.approx(gap, abs=1e-6)


@pytest.mark.parametrize("index", INDICES)
def test_known_interaction_is_recovered(index: str) -> None:
    values = explain(is_iron_oxide, "LiFePO4", index=index)
    table = values.to_frame().set_index("interaction")["value"]
    # SII and SV give each of the two its half of the pair
    half = 1.0 if index in ("SII", "SV") else 0.0
    expected = {"Li": 0.5, "Fe": half, "O": half, "P": 0.0}
    if index != "SV":
        expected |= {"Fe-O": 2.0, "Li-Fe": 0.0, "Li-P": 0.0}
        expected |= {"Li-O": 0.0, "Fe-P": 0.0, "P-O": 0.0}
    assert table.to_dict() == pytest.approx(expected, abs=1e-6)
    assert values.baseline_value == pytest.approx(0)


def test_symmetry() -> None:
    def model(formulas: list[str]) -> list[float]:
        return [len(formula) ** 2.0 + ("O" in formula) for formula in formulas]

    for index in INDICES:
        # one letter each: the model cannot tell them apart
        values = explain(model, "KFCO", index=index)
        assert values[(0,)] == pytest.approx(values[(1,)], abs=1e-5)
        assert values[(0, 3)] == pytest.approx(values[(1, 3)], abs=1e-5)
        assert abs(values[(0,)] - values[(3,)]) > 1e-3


@pytest.mark.parametrize("index", INDICES)
@pytest.mark.filterwarnings(UNSEEN)
def test_dummy(index: str) -> None:
    def blind_to_lithium(formulas: list[str]) -> list[float]:
        return [len(set(parse_formula(f)) - {"Li"}) ** 3.0 for f in formulas]

    # lithium alone is worth nothing, as nobody is
    values = explain(blind_to_lithium, "LiFePO4", index=index, background=["Li"])
    assert values.baseline_value == 0
    for subset in values.subsets():
        if 0 in subset:
            assert values[subset] == pytest.approx(0, abs=1e-5)
    assert max(abs(values[subset]) for subset in values.subsets()) > 0.1


@pytest.mark.parametrize("index", [i for i in INDICES if i != "SV"])
def test_order_one_is_the_shapley_value(regressor, index: str) -> None:
    shapley = explain(regressor, "LiFePO4", index="SV")
    assert shapley.max_order == 1
    values = explain(regressor, "LiFePO4", index=index, max_order=1)
    for player in range(4):
        assert values[(player,)] == pytest.approx(shapley[(player,)], abs=1e-6)


def test_values_against_the_definition() -> None:
    """Dropping leaves the other elements as written; nothing left is the mean of elements."""
    seen: set[str] = set()

    def model(formulas: list[str]) -> np.ndarray:
        seen.update(formulas)
        return np.array([sum(map(len, parse_formula(f))) + len(f) ** 2 for f in formulas])

    values = explain(model, "MgAl2O4", index="SV")
    assert {"MgAl2", "MgO4", "Al2O4", "Mg", "Al2", "O4", "MgAl2O4", "H", "Pu"} <= seen
    parts = {"Mg": "Mg", "Al": "Al2", "O": "O4"}
    game = {
        frozenset(team): float(model(["".join(parts[s] for s in team)])[0])
        for size in (1, 2, 3)
        for team in combinations(parts, size)
    }
    game[frozenset()] = values.baseline_value
    for position, symbol in enumerate(parts):
        assert values[(position,)] == pytest.approx(sharing(game, tuple(parts), symbol))


@pytest.mark.filterwarnings(UNSEEN)
def test_background_fills_the_share_of_what_is_absent() -> None:
    def share_of_oxygen(formulas: list[str]) -> list[float]:
        return [fractions(formula).get("O", 0.0) for formula in formulas]

    values = explain(share_of_oxygen, "CaTiO3", baseline="background", background=["O", "Fe"])
    # linear in fractions: no interactions, and each share is oxygen of the background or not
    assert values.baseline_value == pytest.approx(0.5)
    assert values[(0,)] == values[(1,)] == pytest.approx(-0.1)
    assert values[(2,)] == pytest.approx(0.3)
    assert max(abs(values[pair]) for pair in combinations(range(3), 2)) < 1e-12


@pytest.mark.filterwarnings(UNSEEN)
def test_tokens_of_dropped_amounts() -> None:
    seen: set[str] = set()

    def model(formulas: list[str]) -> list[float]:
        seen.update(formulas)
        return [float(len(f)) for f in formulas]

    values = explain(model, "Fe2O3", players="tokens", background=["Si"])
    assert values.player_names == ["Fe", "2 (Fe)", "O", "3 (O)"]
    assert seen == {"Si", "Fe", "Fe2", "O", "O3", "FeO", "Fe2O", "FeO3", "Fe2O3"}


# ---------------------------------------------------------------- masks


def test_masks_are_those_of_pretraining(regressor) -> None:
    """The network itself, fed by hand."""
    import torch

    values = explain(regressor, "Fe2O3", baseline="mask", max_order=1)
    net = regressor.nets_[0].module_.eval()
    ids = torch.tensor([[2, 4, 4], [2, 12, 4], [2, 4, 30], [2, 12, 30]])
    shares = torch.tensor([[1, -1, -1], [1, 0.6, -1], [1, -1, 0.4], [1, 0.6, 0.4]])
    with torch.inference_mode():
        out = net(input_ids=ids, fractions=shares).numpy().astype(float)
    empty, oxygen, iron, whole = regressor.targets_.decode(out).ravel()
    assert values.baseline_value == pytest.approx(empty, abs=1e-5)
    assert values[(0,)] == pytest.approx((iron - empty + whole - oxygen) / 2, abs=1e-5)
    assert values[(1,)] == pytest.approx((oxygen - empty + whole - iron) / 2, abs=1e-5)


@pytest.mark.slow
def test_who_cannot_see_masks_says_so(magpie, minilm_dir) -> None:
    trees = ImplicitKTRegressor(None, readout=Ridge()).fit(FORMULAS, TARGETS)
    text = ImplicitKTRegressor(**{**TINY, "backbone": minilm_dir, "max_epochs": 1})
    text.fit(FORMULAS[:2], TARGETS[:2])
    for model, reason in (
        (magpie, "Pipeline reads whole formulas"),
        (trees, "its readouts 'estimator' see features"),
        (text, "of kind 'text'"),
        (is_iron_oxide, "function reads"),
    ):
        with pytest.raises(InputError, match=f"{reason}.*use baseline='drop'"):
            explain(model, "Fe2O3", baseline="mask")
    assert explain(text, "FeO").n_players == 2


# ---------------------------------------------------------------- models


def test_pipeline_with_matminer_features(magpie) -> None:
    values = explain(magpie, "LiFePO4")
    gap = magpie.predict(["LiFePO4"])[0] - values.baseline_value
    assert total(values) == pytest.approx(gap)


def test_composition_objects_stay_objects() -> None:
    from matminer.featurizers.composition import ElementFraction

    featurizer = ElementFraction()
    featurizer.set_n_jobs(1)
    model = make_pipeline(featurizer, Ridge())
    objects = [Composition(formula) for formula in FORMULAS]
    model.fit(objects, TARGETS)
    values = explain(model, Composition("LiFePO4"))
    gap = model.predict([Composition("LiFePO4")])[0] - values.baseline_value
    assert total(values) == pytest.approx(gap)
    assert len(explain_dataset(model, objects[:3])) > 0
    assert len(explain_dataset(model, pd.Series(objects[:3]))) > 0


def test_explicit_and_blended_models() -> None:
    implicit = ImplicitKTRegressor(None, readout=Ridge())
    explicit = ExplicitKTRegressor(**QUICK, readout=Ridge(), composition_estimator=implicit)
    blended = BlendedKTRegressor([("implicit", implicit), ("explicit", clone(explicit))])
    for model in (explicit, blended.set_params(random_state=0)):
        # the background holds only what has a structure
        model.fit(FORMULAS * 2, np.tile(TARGETS, 2))
        values = explain(model, "LiFePO4", background=FORMULAS)
        gap = model.predict(["LiFePO4"])[0] - values.baseline_value
        assert total(values) == pytest.approx(gap)
        assert values.baseline_value == pytest.approx(model.predict(FORMULAS).mean())
        with pytest.warns(ExplanationWarning, match="^U: in no composition that the model"):
            explain(model, "UO2", background=FORMULAS)


def test_columns_as_fitted() -> None:
    frame = pd.DataFrame({"formula": FORMULAS})
    fraction = make_pipeline(CompositionTokenizer("fraction"), Ridge())
    named = fraction.fit(frame, TARGETS)
    plain = total(explain(named, "LiFePO4"))
    search = GridSearchCV(fraction, {"ridge__alpha": [1.0]}, cv=2).fit(frame, TARGETS)
    assert total(explain(search, "LiFePO4")) == pytest.approx(plain)
    bagging = BaggingRegressor(fraction, n_estimators=2, random_state=0)
    assert explain(bagging.fit(frame, TARGETS), "LiFePO4").n_players == 4
    assert explain(bagging.fit(frame.to_numpy(), TARGETS), "LiFePO4").n_players == 4
    wide = LinearRegression().fit(np.eye(10), TARGETS)
    with pytest.raises(InputError, match="fitted on 10 columns"):
        explain(wide, "LiFePO4")


def test_classifier(classifier) -> None:
    label = {"wide": 1, "narrow": 0}
    for name, column in label.items():
        p = classifier.predict_proba(["LiFePO4"])[0, column]
        odds = explain(classifier, "LiFePO4", target=name)
        share = explain(classifier, "LiFePO4", target=name, response="probability")
        assert total(odds) + odds.baseline_value == pytest.approx(np.log(p / (1 - p)))
        assert total(share) + share.baseline_value == pytest.approx(p)
    # the second of two classes; the odds of the other are the opposite
    default, other = explain(classifier, "LiFePO4"), explain(classifier, "LiFePO4", target="narrow")
    assert default[(0, 3)] == pytest.approx(-other[(0, 3)])
    masked = explain(classifier, "LiFePO4", baseline="mask")
    p = classifier.predict_proba(["LiFePO4"])[0, 1]
    assert total(masked) + masked.baseline_value == pytest.approx(np.log(p / (1 - p)))


def test_class_of_many() -> None:
    labels = np.array(["a", "b", "c", "a", "b", "c", "a", "b", "c", "a"])
    model = make_pipeline(CompositionTokenizer("fraction"), LogisticRegression())
    model.fit(FORMULAS, labels)
    predicted = model.predict(["NaCl"])[0]
    by_default = explain(model, "NaCl")
    assert by_default.interactions == explain(model, "NaCl", target=predicted).interactions

    class Stubborn(LogisticRegression):
        def predict(self, X):
            return self.classes_[self.predict_proba(X).argmin(axis=1)]

    stubborn = make_pipeline(CompositionTokenizer("fraction"), Stubborn()).fit(FORMULAS, labels)
    decided = stubborn.predict(["NaCl"])[0]
    assert decided != predicted
    expected = explain(stubborn, "NaCl", target=decided)
    assert explain(stubborn, "NaCl").interactions == expected.interactions
    with pytest.raises(InputError, match="target is needed: one of the classes 'a', 'b', 'c'"):
        explain_dataset(model, ["NaCl"])
    assert len(explain_dataset(model, ["NaCl"], target="b")) == 3
    with pytest.raises(InputError, match="target='d' is none of the classes"):
        explain(model, "NaCl", target="d")


def test_certain_classifiers_are_clipped_with_a_warning() -> None:
    forest = RandomForestClassifier(5, random_state=0)
    model = make_pipeline(CompositionTokenizer("fraction"), forest).fit(FORMULAS, TARGETS > 5)
    with pytest.warns(ExplanationWarning, match=r"cut off at ±13\.8"):
        assert np.isfinite(total(explain(model, "NaCl")))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        explain(model, "NaCl", response="probability")


def test_classifier_without_probabilities() -> None:
    model = make_pipeline(CompositionTokenizer("fraction"), LinearSVC()).fit(FORMULAS, TARGETS > 5)
    with pytest.raises(InputError, match="no predict_proba"):
        explain(model, "NaCl")


def test_output_columns() -> None:
    model = ImplicitKTRegressor(**TINY).fit(FORMULAS, np.column_stack([TARGETS, -TARGETS]))
    with pytest.raises(InputError, match="2 outputs; choose one with target=0 to 1"):
        explain(model, "NaCl")
    second = model.predict(["NaCl"])[0, 1]
    for baseline in ("drop", "mask"):
        values = explain(model, "NaCl", target=1, baseline=baseline)
        assert total(values) + values.baseline_value == pytest.approx(second, abs=1e-5)
    with pytest.raises(InputError, match="target=2 is none"):
        explain(model, "NaCl", target=2)
    with pytest.raises(InputError, match="number of an output column"):
        explain(model, "NaCl", target="gap")


def test_functions_get_formulas_as_text() -> None:
    def model(formulas):
        assert type(formulas) is list
        assert all(type(formula) is str for formula in formulas)
        return np.ones((len(formulas), 1))

    assert total(explain(model, {"Na": 1, "Cl": 1})) == 0
    assert total(explain(model, Composition("NaCl").formula)) == 0


# ---------------------------------------------------------------- budgets


@pytest.mark.slow
@pytest.mark.filterwarnings(UNSEEN)
@pytest.mark.parametrize(
    ("index", "approximator"),
    [(i, a) for i in INDICES for a in ("auto", "kernel", "svarm", "permutation")],
)
def test_estimates_come_near_the_exact_values(index: str, approximator: str) -> None:
    rng = np.random.default_rng(0)
    single = rng.normal(size=118)
    pair = rng.normal(size=(118, 118)) / 4

    def model(formulas: list[str]) -> np.ndarray:
        present = (read_compositions(formulas).fractions() > 0).astype(float)
        return present @ single + np.einsum("ij,jk,ik->i", present, np.triu(pair, 1), present)

    if (index, approximator) in {("STII", "kernel"), ("FSII", "permutation")}:
        with pytest.raises(InputError, match=f"does not estimate {index}; use one of 'svarm'|'k"):
            explain(model, STEEL, index=index, approximator=approximator, budget=1000)
        return
    formula = "LiNaKRbCsFeOSN"
    background = ["Cl"]
    exact = explain(model, formula, index=index, background=background)
    options = {"index": index, "approximator": approximator, "background": background}
    errors = []
    for budget in (200, 420):
        drawn = [
            explain(model, formula, budget=budget, random_state=seed, **options)
            for seed in range(3)
        ]
        assert all(values.estimated for values in drawn)
        errors.append(
            np.mean([(values[s] - exact[s]) ** 2 for values in drawn for s in exact.subsets()])
        )
    scale = np.mean([exact[s] ** 2 for s in exact.subsets()])
    assert errors[1] < scale
    assert errors[1] < errors[0] or errors[0] < 1e-9 * scale
    again = explain(model, formula, budget=200, random_state=0, **options)
    once_more = explain(model, formula, budget=200, random_state=0, **options)
    assert again.interactions == once_more.interactions


@pytest.mark.filterwarnings(UNSEEN)
def test_steel_of_fourteen_elements(regressor) -> None:
    values = explain(regressor, STEEL, random_state=0)
    assert (values.n_players, values.estimated, values.estimation_budget) == (14, True, 4096)
    gap = regressor.predict([STEEL])[0] - values.baseline_value
    assert total(values) == pytest.approx(gap, abs=1e-5)


@pytest.mark.filterwarnings(UNSEEN)
def test_exact_faithful_values_do_not_fill_the_memory() -> None:
    calls = []

    def model(formulas: list[str]) -> list[float]:
        calls.append(len(formulas))
        return [float("Fe" in f and "Ni" in f) for f in formulas]

    values = explain(model, STEEL, index="FSII", budget=2**14, background=["O"])
    assert values[(0, 5)] == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("index", INDICES)
def test_budget_too_small(index: str) -> None:
    with pytest.raises(InputError, match=r"budget=10 is too small .* 16384 give exact values"):
        explain(is_iron_oxide, STEEL, index=index, budget=10)


# ---------------------------------------------------------------- bad input


def test_single_element(regressor) -> None:
    with pytest.warns(ExplanationWarning, match="Si has 1 player"):
        values = explain(regressor, "Si")
    assert values.max_order == 1
    assert total(values) == pytest.approx(regressor.predict(["Si"])[0] - values.baseline_value)
    for index in INDICES:
        one = explain(regressor, "Si", index=index, max_order=1)
        assert one[(0,)] == pytest.approx(values[(0,)])


def test_unfitted() -> None:
    with pytest.raises(NotFittedError):
        explain(ImplicitKTRegressor(), "NaCl")
    with pytest.raises(NotFittedError):
        explain(make_pipeline(MagpieFeaturizer(), Ridge()), "NaCl")


def test_no_model() -> None:
    with pytest.raises(InputError, match=r"fitted estimator or a function.*got str"):
        explain("model", "NaCl")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"index": "shap"}, "index must be one of 'k-SII', .* got 'shap'"),
        ({"max_order": 0}, "max_order must be an integer of at least 1, got 0"),
        ({"max_order": 1.5}, "max_order must be"),
        ({"max_order": True}, "max_order must be"),
        ({"players": "atoms"}, "players must be"),
        ({"baseline": "zero"}, "baseline must be"),
        ({"approximator": "x"}, "approximator must be"),
        ({"response": "logit"}, "response must be"),
        ({"budget": 0}, "budget must be"),
        ({"budget": 2.5}, "budget must be"),
        ({"baseline": "background"}, "needs background="),
        ({"baseline": "mask", "background": ["NaCl"]}, "uses no background"),
        ({"background": []}, "background is empty"),
        ({"baseline": "background", "background": ["O"], "players": "tokens"}, "no meaning"),
    ],
)
def test_bad_options(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        explain(is_iron_oxide, "Fe2O3", **options)


def test_not_a_composition() -> None:
    with pytest.raises(CompositionError, match="fe2o3"):
        explain(is_iron_oxide, "fe2o3")
    with pytest.raises(CompositionError):
        explain_dataset(is_iron_oxide, ["Fe2O3", "fe2o3"])
    with pytest.raises(InputError, match="X is empty"):
        explain_dataset(is_iron_oxide, [])


def test_order_beyond_the_players() -> None:
    with pytest.warns(ExplanationWarning, match="max_order=2 is used"):
        assert explain(is_iron_oxide, "FeO", max_order=3).max_order == 2


def test_element_that_the_background_lacks() -> None:
    with pytest.warns(ExplanationWarning, match="^Xe, U: in no composition of the background"):
        explain(is_iron_oxide, "UXeO", background=FORMULAS)
    with pytest.warns(ExplanationWarning, match="^U: in no composition of the background"):
        explain_dataset(is_iron_oxide, ["UO2", "NaCl"], background=FORMULAS)


def test_element_that_the_model_never_saw(regressor, classifier) -> None:
    search = GridSearchCV(ImplicitKTRegressor(None, readout=Ridge()), {"random_state": [0]}, cv=2)
    scaled = TransformedTargetRegressor(ImplicitKTRegressor(None, readout=Ridge()))
    piped = make_pipeline(FunctionTransformer(), ImplicitKTRegressor(None, readout=Ridge()))
    others = [model.fit(FORMULAS, TARGETS) for model in (search, scaled, piped)]
    for model in (regressor, classifier, *others):
        with pytest.warns(ExplanationWarning, match="^Xe, U: in no composition that the model"):
            explain(model, "UXeO")
    with pytest.warns(ExplanationWarning, match="^U: in no composition that the model was fitted"):
        explain_dataset(regressor, ["UO2", "NaCl"])
    # said once, whether or not the background has the element
    for background in (FORMULAS, [*FORMULAS, "UO2"]):
        with pytest.warns(ExplanationWarning, match="^U: in no composition that the") as caught:
            explain(regressor, "UO2", background=background)
        assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        explain(regressor, "LiFePO4", background=FORMULAS)


def test_formula_unlike_the_background() -> None:
    oxides = [f"{a}{n}O{m}" for a in ("Fe", "Mg") for n in (1, 2, 3) for m in (1, 2, 3, 4, 5)]
    with pytest.warns(ExplanationWarning, match=r"^Fe9Mg: unlike .* Fe3O, differs in 25%"):
        explain(is_iron_oxide, "Fe9Mg", background=oxides)
    with pytest.warns(ExplanationWarning, match=r"^1 of 2 formulas, such as Fe9Mg: unlike"):
        explain_dataset(is_iron_oxide, ["Fe9Mg", "Fe2O3"], background=oxides)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # between its neighbours; spelled otherwise; a background too small to have a usual distance
        explain(is_iron_oxide, "Fe9O10", background=oxides)
        explain(is_iron_oxide, "Fe4O6", background=oxides)
        explain(is_iron_oxide, "Fe9Mg", background=oxides[::3])
    with pytest.warns(ExplanationWarning, match="^U: in no composition of the b") as caught:
        explain(is_iron_oxide, "UFe9", background=oxides)
    assert len(caught) == 1


def test_coalition_without_a_prediction() -> None:
    def model(formulas: list[str]) -> list[float]:
        return [np.nan if f == "FeP" else 1.0 for f in formulas]

    with pytest.raises(InputError, match="predicts nan for FeP, a coalition"):
        explain(model, "LiFePO4")


def test_features_that_pure_elements_lack() -> None:
    def features(X) -> np.ndarray:
        table = read_compositions(X).fractions()
        return np.where((table > 0).sum(axis=1, keepdims=True) > 1, table, np.nan)

    model = make_pipeline(FunctionTransformer(features), Ridge()).fit(FORMULAS, TARGETS)
    with pytest.raises(InputError, match=r"cannot predict \['H', .*contains NaN.*'background'"):
        explain(model, "NaCl")
    values = explain(model, "NaCl", baseline="background", background=FORMULAS)
    assert total(values) == pytest.approx(model.predict(["NaCl"])[0] - values.baseline_value)


def test_errors_without_a_text_have_a_name() -> None:
    def mute(formulas: list[str]) -> list[float]:
        raise ValueError

    with pytest.raises(InputError, match=r"compositions \(ValueError\)\. It has to read formulas"):
        explain(mute, "NaCl")


def test_function_of_another_shape() -> None:
    with pytest.raises(InputError, match=r"shape \(1,\) for 94 formulas"):
        explain(lambda formulas: [1.0], "NaCl")


@pytest.mark.slow
def test_shapiq_is_optional() -> None:
    code = (
        "import sys; sys.modules['shapiq'] = None\n"
        "from sklearn_kt import explain\n"
        "explain(lambda formulas: [1.0] * len(formulas), 'NaCl')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install 'sklearn_kt[explain]'" in done.stderr


# ---------------------------------------------------------------- data sets


def test_dataset_is_the_mean_of_its_formulas(regressor) -> None:
    table = explain_dataset(regressor, FORMULAS, max_order=3).set_index("elements")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExplanationWarning)
        each = [explain(regressor, formula, max_order=3) for formula in FORMULAS]
    found: dict[str, list[float]] = {}
    for values in each:
        for subset in values.subsets():
            name = "-".join(sorted(values.player_names[i] for i in subset))
            found.setdefault(name, []).append(values[subset])
    assert set(table.index) == set(found)
    for name, numbers in found.items():
        row = table.loc[name]
        assert row["count"] == len(numbers)
        assert row["order"] == name.count("-") + 1
        assert row["mean"] == pytest.approx(np.mean(numbers), abs=1e-6)
        assert row["mean_abs"] == pytest.approx(np.mean(np.abs(numbers)), abs=1e-6)
        assert row["std"] == pytest.approx(np.std(numbers), abs=1e-6)


def test_dataset_masks_rows_of_all_lengths(regressor) -> None:
    rows = ["LiFePO4", "Si", "NaCl"]
    table = explain_dataset(regressor, rows, baseline="mask").set_index("elements")["mean"]
    alone = explain(regressor, "NaCl", baseline="mask")
    assert table["Na"] == pytest.approx(alone[(0,)], abs=1e-5)
    assert table["Cl-Na"] == pytest.approx(alone[(0, 1)], abs=1e-5)


@pytest.mark.filterwarnings(UNSEEN)
def test_dataset_counts_equal_rows_and_predicts_them_once() -> None:
    class Counter:
        rows: list[str] = []  # noqa: RUF012

        def predict(self, X) -> np.ndarray:
            self.rows.extend(X)
            return np.array([float(len(parse_formula(f))) ** 2 for f in X])

    model = Counter()
    table = explain_dataset(model, ["Fe2O3", "O3Fe2", "Fe4O6", "FeO"], background=["Si"])
    assert table["count"].tolist() == [4, 4, 4]
    # the background; iron, oxygen and two oxides
    assert len(model.rows) == 1 + 4


def test_dataset_support_and_order() -> None:
    table = explain_dataset(is_iron_oxide, ["Fe2O3", "FeO", "NaCl"], min_support=2)
    assert table["elements"].tolist() == ["Fe", "O", "Fe-O"]
    assert table["order"].is_monotonic_increasing
    none = explain_dataset(is_iron_oxide, ["Fe2O3"], min_support=2)
    assert none.empty
    assert list(none) == list(table)
    with pytest.raises(InputError, match="min_support"):
        explain_dataset(is_iron_oxide, ["Fe2O3"], min_support=0)


def test_dataset_in_several_batches(monkeypatch) -> None:
    whole = explain_dataset(is_iron_oxide, FORMULAS)
    monkeypatch.setattr("sklearn_kt.explanation.values.CHUNK", 8)
    pd.testing.assert_frame_equal(explain_dataset(is_iron_oxide, FORMULAS), whole)


@pytest.mark.filterwarnings(UNSEEN)
def test_dataset_samples_large_formulas(regressor) -> None:
    table = explain_dataset(regressor, [STEEL, "Fe2O3"], budget=300, random_state=0)
    assert table.set_index("elements").loc["Fe", "count"] == 2
    assert len(table[table["order"] == 2]) == 14 * 13 / 2 + 1


def test_dataset_shows_progress(capsys) -> None:
    explain_dataset(is_iron_oxide, ["FeO"])
    assert capsys.readouterr().err == ""
    explain_dataset(is_iron_oxide, ["FeO"], verbose=1)
    assert "1/1" in capsys.readouterr().err


@pytest.mark.filterwarnings(UNSEEN)
def test_globals_stay(untouched_globals, regressor) -> None:
    explain(regressor, STEEL, budget=200, random_state=0)
    explain(regressor, "NaCl")


# --- conditions --------------------------------------------------------------------------------


def seebeck(table: pd.DataFrame) -> list[float]:
    """Tellurides gain with temperature, everything with one route."""
    rows = zip(table["formula"], table["temperature"], table["route"], strict=True)
    return [2.0 * ("Te" in f) + t / 100 * ("Te" in f) + (route == "SPS") for f, t, route in rows]


MEASURED = pd.DataFrame(
    {
        "route": ["cast", "cast", "SPS"] * 2,
        "temperature": [300.0, 400.0, 500.0] * 2,
        "material": ["PbSe", "NaCl", "PbTe"] * 2,
    }
)
GIVEN = {"temperature": 600.0, "route": "SPS"}


@pytest.mark.parametrize("players", ["elements", "tokens"])
def test_conditions_play(players: str) -> None:
    values = explain(seebeck, "PbTe", conditions=GIVEN, background=MEASURED, players=players)
    assert values.player_names == ["Pb", "Te", "temperature", "route"]
    assert values.formula == "PbTe, temperature = 600, route = SPS"
    # one of three of the background is a telluride, typically measured at 400 K and cast
    assert values.baseline_value == pytest.approx((2 + 4) / 3)
    table = values.to_frame().set_index("interaction")["value"]
    assert table["route"] == pytest.approx(1)
    assert table["Pb"] + table["Te"] + table["temperature"] + table.filter(like="-").sum() == (
        pytest.approx(9 - 1 - 2)
    )
    assert table["Te-route"] == pytest.approx(0)


def test_conditions_of_a_background_stay_with_their_rows() -> None:
    together = explain(
        seebeck, "PbTe", conditions=GIVEN, background=MEASURED, baseline="background", max_order=4
    )
    assert together.baseline_value == pytest.approx(
        np.mean(seebeck(MEASURED.rename(columns={"material": "formula"})))
    )
    assert together.baseline_value + together.to_frame()["value"].sum() == pytest.approx(9)


def test_conditions_of_a_fitted_model() -> None:
    table = pd.DataFrame({"material": FORMULAS * 2, "temperature": np.repeat([300.0, 600.0], 10)})
    y = np.concatenate([TARGETS, TARGETS + 5])
    model = ImplicitKTRegressor(None, readout="fast", random_state=0).fit(table, y)
    values = explain(model, "NaCl", conditions={"temperature": 600})
    at = [
        model.predict(pd.DataFrame({"material": ["NaCl"], "temperature": [t]})) for t in (450, 600)
    ]
    assert values.baseline_value + values.to_frame()["value"].sum() == pytest.approx(at[1][0])
    order_one = explain(model, "NaCl", conditions={"temperature": 600}, index="SV")
    assert order_one[(2,)] > 0
    frame = explain_dataset(model, table)
    assert frame.set_index("elements").loc["temperature", "count"] == 20
    with pytest.raises(InputError, match="reads the columns 'material', 'temperature'; say what"):
        explain(model, "NaCl")
    with pytest.raises(InputError, match="but the conditions given are 'pressure'"):
        explain(model, "NaCl", conditions={"pressure": 1})
    with pytest.raises(InputError, match="cannot hide conditions"):
        explain(model, "NaCl", conditions={"temperature": 600}, baseline="mask")
    with pytest.raises(InputError, match=r"^row 0 of the condition 'temperature' holds 'hot'"):
        explain(model, "NaCl", conditions={"temperature": "hot"})
    with pytest.warns(ConditionWarning, match="training range of 300 to 600") as caught:
        explain(model, "NaCl", conditions={"temperature": 900})
    assert len(caught) == 1


def test_what_conditions_typically_are_must_be_known() -> None:
    with pytest.raises(InputError, match="pass the training table"):
        explain(seebeck, "PbTe", conditions=GIVEN)
    with pytest.raises(InputError, match="background must be a table"):
        explain(seebeck, "PbTe", conditions=GIVEN, background=["PbTe"])
    with pytest.raises(InputError, match="no column 'route'"):
        explain(seebeck, "PbTe", conditions=GIVEN, background=MEASURED.drop(columns="route"))
