"""Elements that no training row had: said once, and not of those that some row had."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.preprocessing import FunctionTransformer

from sklearn_kt import (
    BlendedKTClassifier,
    BlendedKTRegressor,
    CompositionEmbedder,
    ExplicitKTClassifier,
    ExplicitKTRegressor,
    ImplicitKTClassifier,
    ImplicitKTRegressor,
    read_compositions,
)
from sklearn_kt.estimators.base import UnseenElements, told_once
from sklearn_kt.exceptions import CompositionWarning, UnseenElementWarning
from sklearn_kt.explanation import explain

pytestmark = pytest.mark.filterwarnings(
    "error::sklearn_kt.exceptions.UnseenElementWarning", "ignore:.* have no structure"
)

FORMULAS = [f"{a}{b}" for a in ("Li", "Na", "K", "Rb") for b in ("F", "Cl", "Br", "I")]
NUMBERS = np.arange(16) % 7 + np.linspace(0, 1, 16)
QUICK: dict[str, Any] = {"readout": "fast", "random_state": 0}


class _Halides:
    """Says of every composition but some that it is a crystal."""

    def generate(self, compositions: Any, n_candidates: int) -> list[list[str]]:
        return [[] if "I" in formula else [formula] for formula in compositions.formulas()]


def _sizes(rows: list[list[str]]) -> np.ndarray:
    return np.array([[len(row[0]) if row else np.nan] for row in rows])


def _models() -> dict[str, Any]:
    regressor, classifier = ImplicitKTRegressor(None, **QUICK), ImplicitKTClassifier(None, **QUICK)
    columns: dict[str, Any] = {
        "generator": _Halides(),
        "embedder": FunctionTransformer(_sizes, validate=False),
        "checkpoint": None,
        "random_state": 0,
    }
    return {
        "implicit": regressor,
        "own readout": ImplicitKTRegressor(None, readout=ExtraTreesRegressor(5)),
        "implicit classes": classifier,
        "explicit": ExplicitKTRegressor(**columns),
        "explicit classes": ExplicitKTClassifier(**columns),
        "blended": BlendedKTRegressor([("a", regressor), ("b", ExplicitKTRegressor(**columns))]),
        "blended classes": BlendedKTClassifier([("a", classifier)], cv=2),
    }


@pytest.mark.parametrize("name", _models())
def test_models_say_it_once(name: str) -> None:
    model = _models()[name]
    y = np.tile(["a", "b"], 8) if name.endswith("classes") else NUMBERS
    # parts of it that see some folds alone say nothing
    model.fit(FORMULAS, y)
    known = ["NaCl", "K3RbI4"]
    expected = model.predict(known)
    with pytest.warns(UnseenElementWarning) as caught:
        found = model.predict(["NaCl", "MgO", "K3RbI4", "CsI"])
    assert [w.category for w in caught].count(UnseenElementWarning) == 1
    message = str(next(w for w in caught if w.category is UnseenElementWarning).message)
    assert message.startswith(
        "2 of 4 rows hold elements that no training row had, O, Mg, Cs (row 1"
    )
    assert "row 1: MgO; row 3: CsI)" in message
    assert_array_equal(found[[0, 2]], expected)


def test_probabilities_and_intervals_say_it_too() -> None:
    classifier = ImplicitKTClassifier(None, **QUICK).fit(FORMULAS, np.tile(["a", "b"], 8))
    regressor = ImplicitKTRegressor(None, **QUICK).fit(FORMULAS, NUMBERS)
    calls: list[Any] = [
        lambda: classifier.predict_proba(["MgO"]),
        lambda: classifier.predict(["MgO"], return_proba=True),
        lambda: regressor.predict(["MgO"], return_std=True),
        lambda: regressor.predict_interval(["MgO"]),
    ]
    for call in calls:
        with pytest.warns(UnseenElementWarning) as caught:
            call()
        assert len(caught) == 1


def test_tables_with_conditions_and_rows_of_no_weight() -> None:
    table = pd.DataFrame({"formula": ["CsI", *FORMULAS], "t": [3.0, *np.arange(16.0)]})
    weights = np.array([0.0, *[1.0] * 16])
    model = ImplicitKTRegressor(None, **QUICK)
    model.fit(table, [0, *NUMBERS], sample_weight=weights)
    with pytest.warns(UnseenElementWarning, match="1 of 17 rows .* Cs "):
        model.predict(table)
    model.predict(table[1:])


def test_rows_that_are_no_compositions_hold_no_elements() -> None:
    unseen = UnseenElements(["Li", "F"])
    with pytest.warns(CompositionWarning, match="not a composition"):
        unseen.add(read_compositions(["", "MgO", "LiF"], errors="nan"))
    assert (unseen.n_rows, unseen.n_unseen, unseen.first) == (3, 1, ["row 1: MgO"])


def test_what_learns_nothing_of_elements_says_nothing() -> None:
    CompositionEmbedder(None).fit(["NaCl"]).transform(["MgO"])
    rows = np.arange(32.0).reshape(16, 2)
    ImplicitKTRegressor(None, **QUICK).fit(rows, NUMBERS).predict(rows + 100)


def test_explanations_say_it_their_way() -> None:
    model = ImplicitKTRegressor(None, **QUICK).fit(FORMULAS, NUMBERS)
    with pytest.warns(
        UserWarning, match="in no composition that the model was fitted on"
    ) as caught:
        explain(model, ["MgO"])
    assert UnseenElementWarning not in {w.category for w in caught}


def test_rows_of_several_batches_are_counted_together() -> None:
    unseen = UnseenElements(["Na", "Cl"])
    unseen.add(read_compositions(["NaCl", "MgO"]), "line {}".format)
    unseen.add(read_compositions(["MgO", "Na", "CaO", "KCl"]), "line 1{}".format)
    with pytest.warns(UnseenElementWarning) as caught:
        unseen.warn()
    assert len(caught) == 1
    text = str(caught[0].message)
    assert text.startswith("4 of 6 rows")
    assert ", O, Mg, K, Ca (" in text
    assert "(line 1: MgO; line 10: MgO; line 12: CaO; ...)" in text
    assert unseen.elements == {"Mg": 2, "O": 3, "Ca": 1, "K": 1}


def test_nobody_remembers() -> None:
    unseen = UnseenElements(None)
    unseen.add(read_compositions(["NaCl"]))
    unseen.warn()
    assert unseen.n_unseen == 0


@pytest.mark.parametrize("name", ["implicit", "explicit", "blended"])
def test_intervals_are_wider(name: str) -> None:
    model = _models()[name].fit(FORMULAS, NUMBERS)
    rows, part = ["NaCl", "XeKr", "NaKr"], np.array([0, 1, 0.5])
    with told_once():
        y, std, bounds = model.predict(rows, return_std=True, coverage=0.8)
    assert_allclose(bounds.sum(axis=1), 2 * y)
    # as if some row had had them
    model.elements_ = np.array(["Cl", "Kr", "Na", "Xe"])
    known = model.predict(rows, return_std=True, coverage=0.8)
    assert_array_equal(y, known[0])
    assert_allclose(std, known[1] * (1 + part))
    assert_allclose(np.ptp(bounds, axis=1), np.ptp(known[2], axis=1) * (1 + part))
