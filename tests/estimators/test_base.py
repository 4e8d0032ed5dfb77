"""What all estimators of compositions have in common."""

from __future__ import annotations

import inspect
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from _crystals import Cubes, Size
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.ensemble import ExtraTreesRegressor, RandomForestClassifier
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags

from sklearn_kt import (
    BlendedKTClassifier,
    BlendedKTRegressor,
    CompositionEmbedder,
    CompositionTokenizer,
    ExplicitKTClassifier,
    ExplicitKTRegressor,
    ImplicitKTClassifier,
    ImplicitKTRegressor,
    load_model,
    save_model,
)
from sklearn_kt.compositions import composition_groups
from sklearn_kt.conditions import ConditionEncoder
from sklearn_kt.estimators.base import elements_of, encoder_of, reads_compositions
from sklearn_kt.estimators.kernels import smooth_readout
from sklearn_kt.estimators.readouts import default_readouts
from sklearn_kt.exceptions import CompositionError, CompositionWarning, ConditionWarning, InputError
from sklearn_kt.structures import CrystalGraphRegressor

pytestmark = pytest.mark.usefixtures("few_trees")

METALS, HALOGENS = ("Li", "Na", "K", "Rb", "Cs", "Ag"), ("F", "Cl", "Br", "I")
FORMULAS = [f"{a}{b}" for a in METALS[:4] for b in HALOGENS]
TARGET = np.linspace(6, 3, len(FORMULAS))
LABELS = np.where(np.median(TARGET) < TARGET, "high", "low")

number, label = (
    ImplicitKTRegressor(None, readout=Ridge()),
    ImplicitKTClassifier(None, readout=GaussianNB()),
)
explicit: dict[str, Any] = {"generator": Cubes(), "embedder": Size(), "checkpoint": None}
MODELS: list[tuple[Any, Any]] = [
    (ImplicitKTRegressor(None, readout="fast"), TARGET),
    (ImplicitKTClassifier(None, readout="fast"), LABELS),
    (ExplicitKTRegressor(**explicit, readout=Ridge(), composition_estimator=number), TARGET),
    (ExplicitKTClassifier(**explicit, readout=GaussianNB(), composition_estimator=label), LABELS),
    (BlendedKTRegressor([("a", number)], cv=2), TARGET),
    (BlendedKTClassifier([("a", label)], cv=2), LABELS),
    (CompositionEmbedder(None), None),
]


@pytest.mark.parametrize(("model", "y"), MODELS, ids=lambda v: type(v).__name__)
def test_what_fit_sets_is_documented(model: Any, y: Any) -> None:
    fitted = clone(model).fit(FORMULAS, y)
    section = inspect.getdoc(type(model)).partition("Attributes\n----------")[2]
    section = section.partition("See Also")[0]
    documented = {
        name
        for line in re.findall(r"^(\w+_(?:, \w+_)*) :", section, re.M)
        for name in line.split(", ")
    }
    set_by_fit = {name for name in vars(fitted) if not name.startswith("_")}
    assert set_by_fit - model.get_params().keys() - documented == set()


def test_who_takes_parsed_compositions() -> None:
    for model, _ in MODELS:
        assert reads_compositions(model)
        assert reads_compositions(make_pipeline(model, Ridge()))
        assert get_tags(model).input_tags.string
    for other in (
        Ridge(),
        CompositionTokenizer(),
        object(),
        make_pipeline(RandomForestClassifier()),
    ):
        assert not reads_compositions(other)


# Five measurements of each composition, written in two ways, whose value says nothing of others.
REPEATED = [f"{a}{n}{b}{n}" for n in (1, 2, 1, 2, 1) for a in METALS for b in HALOGENS]
NOISE = np.tile(np.random.default_rng(0).permutation(np.arange(24.0)), 5)
HIGH = np.where(NOISE > 11, "high", "low")
forest = ImplicitKTRegressor(None, readout=ExtraTreesRegressor(20, random_state=0))
on_columns = make_pipeline(CompositionEmbedder(None), clone(number))


def inner_score(model: Any) -> float:
    inner = getattr(model, "structure_model_", model)
    return (inner.scores_ if "scores_" in vars(inner) else inner.readout_scores_)["blend"]


@pytest.mark.parametrize(
    ("model", "y", "guess"),
    [
        (ImplicitKTRegressor(None, readout="fast", random_state=0), NOISE, 6 / NOISE.std()),
        (ImplicitKTClassifier(None, readout="fast", random_state=0), HIGH, np.log(2)),
        (ExplicitKTRegressor(**explicit, random_state=0), NOISE, 6 / NOISE.std()),
        (BlendedKTRegressor([("a", forest)], random_state=0), NOISE, 6),
    ],
    ids=["numbers", "classes", "structures", "blend"],
)
def test_rows_of_one_composition_stay_together(model: Any, y: np.ndarray, guess: float) -> None:
    fitted = clone(model).fit(REPEATED, y)
    assert fitted.repeated_rows_ == 96
    # nothing is to be learned; a model that has seen the composition remembers it
    assert inner_score(fitted) > 0.7 * guess


def test_groups_of_the_user_replace_compositions_and_reach_inner_models() -> None:
    for groups, repeats in ((None, 96), (np.arange(120), 0), (["a", "b"] * 60, 118)):
        blend = BlendedKTRegressor([("p", clone(on_columns)), ("n", clone(number))], cv=2)
        blend.fit(REPEATED, NOISE, groups=groups)
        parts = (blend, *(model for _, model in sorted(blend.named_estimators_.items())))
        for part in parts:
            last = part[-1] if isinstance(part, Pipeline) else part
            assert last.repeated_rows_ == repeats
    with pytest.raises(InputError, match="row 3 has no group"):
        clone(number).fit(REPEATED, NOISE, groups=[1, 1, 1, None] * 30)


def test_groups_are_routed() -> None:
    X, groups = np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) // 2
    assert clone(number).fit(X, X[:, 0]).repeated_rows_ == 0
    with sklearn.config_context(enable_metadata_routing=True):
        routed = make_pipeline(StandardScaler(), clone(number).set_fit_request(groups=True))
        assert routed.fit(X, X[:, 0], groups=groups)[-1].repeated_rows_ == 10


def test_repeats_are_reported(capsys: pytest.CaptureFixture[str]) -> None:
    quiet, loud = number, clone(number).set_params(verbose=1)
    for model in (quiet, loud):
        model.fit(REPEATED, NOISE)
    assert capsys.readouterr().err.count("96 of 120 rows repeat a composition") == 1
    assert "96, never split" in loud._repr_html_()
    assert "never split" not in clone(number).fit(FORMULAS, TARGET)._repr_html_()


# What is measured depends on temperature and route alone: a member that does not see them knows
# nothing. Formulas repeat, so that inner folds are of formulas.
rng = np.random.default_rng(0)
MEASURED = pd.DataFrame(
    {
        "hours": rng.permutation([1.0, 2.0, np.nan] * 40),
        "formula": REPEATED,
        "temperature": rng.permutation(np.repeat(np.linspace(300, 900, 12), 10)),
        "route": rng.permutation(["milled", "molten"] * 60),
    }
)
HOT = MEASURED["temperature"].to_numpy() > 600
EFFECT = MEASURED["temperature"].to_numpy() / 100 + 6 * (MEASURED["route"] == "molten").to_numpy()
STATE = np.where(np.median(EFFECT) < EFFECT, "high", "low")
fast = ImplicitKTRegressor(None, readout="fast", random_state=0)
quick_forest = ImplicitKTRegressor(None, readout=ExtraTreesRegressor(10, random_state=0))
votes = RandomForestClassifier(10, max_features=None, random_state=0)
quick_votes = ImplicitKTClassifier(None, readout=votes)
tiny: dict[str, Any] = {"backbone": "tiny", "readout": "head", "n_estimators": 1, "max_epochs": 20}
tiny |= {"batch_size": 12, "learning_rate": 0.003, "random_state": 0}
shipped = {**tiny, "backbone": None, "max_epochs": 30}
CONDITIONED: dict[str, tuple[Any, Any]] = {
    "fast": (fast, EFFECT),
    "networks": (ImplicitKTRegressor(None, **tiny), EFFECT),
    "networks on frozen blocks": (ImplicitKTRegressor(**shipped), EFFECT),
    "structures": (
        ExplicitKTRegressor(
            **explicit, readout=quick_forest.readout, composition_estimator=quick_forest
        ),
        EFFECT,
    ),
    "kernel of structures": (
        ExplicitKTRegressor(**explicit, readout=smooth_readout(5), composition_estimator=number),
        EFFECT,
    ),
    "structure classes": (
        ExplicitKTClassifier(
            **explicit, readout=quick_votes.readout, composition_estimator=quick_votes
        ),
        STATE,
    ),
    "blend": (BlendedKTRegressor([("a", quick_forest), ("b", number)], cv=2), EFFECT),
    "blend classes": (BlendedKTClassifier([("a", quick_votes)], cv=2), STATE),
    "pipeline": (make_pipeline(CompositionEmbedder(None), quick_forest.readout), EFFECT),
}
KNOWN, NEW = np.arange(96), np.arange(96, 120)


@pytest.mark.parametrize("name", CONDITIONED)
def test_every_member_sees_conditions(name: str, tmp_path: Path) -> None:
    model, y = CONDITIONED[name]
    table, new = MEASURED.iloc[KNOWN], MEASURED.iloc[NEW]
    fitted = clone(model).fit(table, y[KNOWN])
    assert fitted.score(new, y[NEW]) > (0.7 if y is EFFECT else 0.8)
    answers = fitted.predict(new)
    # order of columns, kind of table, rows that come with it
    turned = new[[*reversed(new.columns)]]
    others = [turned, pl.DataFrame(turned.to_dict("list")), new[::-1]]
    for other, order in zip(others, (1, 1, -1), strict=True):
        assert np.array_equal(fitted.predict(other), answers[::order])
    assert np.array_equal(pickle.loads(pickle.dumps(fitted)).predict(new), answers)
    if name in ("networks", "blend", "pipeline"):
        loaded = load_model(save_model(fitted, tmp_path / "model"))
        assert np.array_equal(loaded.predict(new), answers)
    last = fitted[0] if isinstance(fitted, Pipeline) else fitted
    assert last.feature_names_in_.tolist() == MEASURED.columns.tolist()
    assert last.n_features_in_ == 4
    assert "temperature" in last.condition_names_
    if hasattr(last, "_repr_html_") and last is fitted:
        assert "conditions" in last._repr_html_()


def test_rows_without_structures_keep_their_conditions() -> None:
    table = MEASURED.assign(formula=[name.replace("Ag", "Tc") for name in REPEATED])
    lacking = table["formula"].str.contains("Tc").to_numpy()
    model = clone(CONDITIONED["structures"][0])
    with pytest.warns(CompositionWarning, match="20 of 120"):
        model.fit(table, EFFECT)
    with pytest.warns(CompositionWarning, match="20 of 120"):
        cold = model.predict(table.assign(temperature=300.0, route="milled"))
    assert cold[lacking].max() < 6


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fast", "blend"])
def test_errors_are_of_conditions(name: str) -> None:
    noise = np.where(HOT, 1, 0.01) * np.random.default_rng(1).choice([1, -1], 120)
    fitted = clone(CONDITIONED[name][0]).fit(MEASURED, noise)
    widths = np.ptp(fitted.predict_interval(MEASURED, 0.8), axis=1)
    for values in (widths, fitted.predict(MEASURED, return_std=True)[1]):
        assert values[HOT].mean() > 1.5 * values[~HOT].mean()


def test_readouts_read_conditions_and_a_plain_forest_is_among_them() -> None:
    blocks = ("embedding", "properties", "descriptors", "fractions", "conditions")
    for quick, more in ((True, set()), (False, {"kernel"})):
        readouts = default_readouts(blocks, 99, classification=False, fast=quick, n_conditions=2)
        assert readouts.keys() == {"trees", "fraction_trees", "transfer_trees", *more}
        assert all("conditions" in readout.blocks for readout in readouts.values())


def test_kernels_see_a_condition_among_hundreds_of_columns() -> None:
    columns = CompositionEmbedder().fit(MEASURED).transform(MEASURED)
    readouts = default_readouts(
        ("embedding", "fractions", "conditions"), 99, classification=False, n_conditions=5
    )
    kernel = readouts["kernel"].estimator.fit(columns[KNOWN], EFFECT[KNOWN])
    assert kernel.score(columns[NEW], EFFECT[NEW]) > 0.9


def test_conditions_in_searches_and_folds() -> None:
    model = quick_forest
    groups = composition_groups(MEASURED["formula"])
    scores = cross_val_score(model, MEASURED, EFFECT, cv=GroupKFold(3), groups=groups)
    assert scores.min() > 0.7
    grid = {"readout__min_samples_leaf": [1, 40]}
    search = GridSearchCV(model, grid, cv=GroupKFold(3)).fit(MEASURED, EFFECT, groups=groups)
    assert search.best_params_ == {"readout__min_samples_leaf": 1}
    assert search.predict(MEASURED).shape == (120,)


def test_what_a_model_remembers_is_found_inside_others() -> None:
    grid = {"readout__min_samples_leaf": [1]}
    search = GridSearchCV(quick_forest, grid, cv=GroupKFold(2))
    search.fit(MEASURED, EFFECT, groups=composition_groups(MEASURED["formula"]))
    scaled = TransformedTargetRegressor(quick_forest).fit(MEASURED, EFFECT)
    piped = make_pipeline(CompositionEmbedder(None), Ridge()).fit(MEASURED, EFFECT)
    expected = ConditionEncoder().fit(MEASURED).typical_
    for model in (search, scaled, piped):
        assert encoder_of(model).typical_ == expected
        assert elements_of(model) == search.best_estimator_.elements_.tolist()
    beside = make_column_transformer((ConditionEncoder(), slice(None)))
    forest = make_pipeline(beside, Ridge()).fit(MEASURED, EFFECT)
    assert encoder_of(forest).typical_ == expected
    assert elements_of(forest) is encoder_of(Ridge()) is None


def test_embedder_passes_conditions_through() -> None:
    encoder = ConditionEncoder().fit(MEASURED)
    encoded, first = encoder.transform(MEASURED), encoder.get_feature_names_out()[0]
    for blocks in ("all", ["fractions"], ("conditions", "fractions")):
        embedder = CompositionEmbedder(None, blocks=blocks).fit(MEASURED)
        columns = embedder.transform(MEASURED)
        names = embedder.get_feature_names_out().tolist()
        assert columns.shape[1] == len(names)
        at = names.index(first)
        assert np.array_equal(columns[:, at : at + encoded.shape[1]], encoded)
    with pytest.raises(InputError, match="asks for 'conditions'"):
        CompositionEmbedder(None, blocks=["conditions"]).fit(FORMULAS)


def test_the_kind_of_table_is_that_of_fit() -> None:
    model = clone(number)
    on_table, on_formulas = clone(model).fit(MEASURED, EFFECT), clone(model).fit(FORMULAS, TARGET)
    with pytest.raises(
        InputError, match=r"conditions .'hours', 'formula'.* but X holds compositions"
    ):
        on_table.predict(FORMULAS)
    with pytest.raises(InputError, match="X lacks 'route'"):
        on_table.predict(MEASURED.drop(columns="route"))
    with pytest.raises(InputError, match="X lacks 'formula', 'route', which fit saw"):
        on_table.predict(MEASURED[["hours", "temperature"]])
    with pytest.raises(InputError, match="4 columns"):
        on_formulas.predict(MEASURED)
    batch = on_table.condition_encoder_.read(MEASURED)
    assert np.array_equal(on_table.predict(batch), on_table.predict(MEASURED))
    with pytest.raises(InputError, match="fitted on compositions, but X holds a table"):
        on_formulas.predict(batch)
    other = MEASURED.drop(columns="hours")
    with pytest.raises(InputError, match="was fitted with the conditions hours"):
        on_table.predict(ConditionEncoder().fit(other).read(other))
    with pytest.raises(InputError, match="pass a MeasuredBatch"):
        clone(model).fit(batch, EFFECT).predict(MEASURED)
    with pytest.raises(InputError, match="X is empty"):
        on_table.predict(MEASURED[:0])


def test_the_column_of_compositions_can_be_named() -> None:
    table = MEASURED.assign(other=["SPS", "HP"] * 60)
    with pytest.raises(InputError, match="'formula', 'other' read as compositions"):
        clone(number).fit(table, EFFECT)
    model = clone(number).set_params(composition_column="formula")
    assert "other_HP" in clone(model).fit(table, EFFECT).condition_names_
    assert clone(model).fit(MEASURED[["formula"]], EFFECT).input_kind_ == "compositions"
    with pytest.raises(InputError, match="X is a list"):
        clone(model).fit(FORMULAS, TARGET)
    with pytest.raises(InputError, match="none of the columns"):
        clone(model).fit(table.rename(columns={"formula": "name"}), EFFECT)
    # tables of numbers, or of elements, are what they were
    numbers = MEASURED[["temperature"]].assign(x=1.0)
    assert clone(number).fit(numbers, EFFECT).input_kind_ == "features"
    assert clone(number).fit(numbers.assign(Fe=1.0), EFFECT).input_kind_ == "features"


def test_rows_that_are_no_compositions_beside_conditions() -> None:
    table = MEASURED.copy()
    table.loc[3, "formula"] = "xyz"
    for model in (number, CompositionEmbedder(None)):
        with pytest.raises(CompositionError, match="Row 3"):
            clone(model).fit(table, EFFECT)
    model = clone(number).set_params(errors="nan").fit(MEASURED, EFFECT)
    with pytest.warns(UserWarning, match="Row 3"):
        assert np.flatnonzero(np.isnan(model.predict(table))).tolist() == [3]


@pytest.mark.parametrize("name", ["structures", "blend"])
def test_extrapolations_are_said_once(name: str) -> None:
    model, y = CONDITIONED[name]
    fitted = clone(model).fit(MEASURED, y)
    with pytest.warns(ConditionWarning, match="range of 300 to 900") as caught:
        fitted.predict(MEASURED.assign(temperature=1200.0))
    assert len(caught) == 1


def test_crystals_know_nothing_of_conditions() -> None:
    model = ExplicitKTRegressor(generator=Cubes(), readout=CrystalGraphRegressor())
    with pytest.raises(InputError, match="reads crystals, which know nothing of the conditions"):
        model.fit(MEASURED, EFFECT)
