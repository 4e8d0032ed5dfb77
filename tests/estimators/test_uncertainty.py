"""The error model."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from numpy.testing import assert_allclose

from sklearn_kt import ImplicitKTRegressor
from sklearn_kt.estimators.uncertainty import ErrorModel
from sklearn_kt.exceptions import IntervalWarning


def test_error_model_learns_where_errors_are_large() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(1500, 3))
    residuals = rng.normal(size=(1500, 2)) * np.column_stack([0.1 + x[:, 0], np.full(1500, 5.0)])
    model = ErrorModel(0).fit(x[:1000], residuals[:1000])
    std = model.std(x[1000:])
    assert std.shape == (500, 2)
    assert np.corrcoef(std[:, 0], x[1000:, 0])[0, 1] > 0.9
    assert_allclose(np.mean((residuals[1000:] / std) ** 2, axis=0), 1, atol=0.25)
    for coverage in (0.5, 0.8, 0.95):
        inside = np.abs(residuals[1000:]) < model.width(x[1000:], coverage)
        assert_allclose(inside.mean(axis=0), coverage, atol=0.06)


def test_error_model_without_errors() -> None:
    x = np.random.default_rng(0).normal(size=(30, 2))
    model = ErrorModel(0).fit(x, np.zeros((30, 1)))
    assert np.isfinite(model.std(x)).all()
    assert (model.width(x, 0.9) < 1e-9).all()


def test_intervals_have_a_width_where_most_errors_are_zero() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(1500, 1))
    known = x[:, 0] < 0.7
    residuals = np.where(known, 0, rng.normal(size=1500))[:, None]
    model = ErrorModel(0).fit(x[:1000], residuals[:1000])
    inside = np.abs(residuals[1000:]) <= model.width(x[1000:], 0.5)
    assert inside[known[1000:]].mean() > 0.95
    assert 0.3 < inside[~known[1000:]].mean() < 0.7


def test_intervals_hold_for_new_groups() -> None:
    rng = np.random.default_rng(0)
    # ten rows of a group share their error, which nothing in the columns explains
    groups = np.repeat(np.arange(300), 10)
    x, residuals = rng.uniform(size=(300, 3))[groups], rng.standard_t(2, size=(300, 1))[groups]
    known, new = groups < 200, groups >= 200
    model = ErrorModel(0).fit(x[known], residuals[known], groups[known])
    inside = np.abs(residuals[new]) < model.width(x[new], 0.8)
    assert_allclose(inside.mean(), 0.8, atol=0.08)


def test_each_target_has_errors_of_its_own() -> None:
    rng = np.random.default_rng(0)
    x, residuals = rng.normal(size=(60, 3)), rng.normal(size=(60, 2)) * [1, 100]
    residuals[::2, 0] = np.nan
    model = ErrorModel(0).fit(x, residuals)
    for target, rows in enumerate([slice(1, None, 2), slice(None)]):
        alone = ErrorModel(0).fit(x[rows], residuals[rows, [target]].reshape(-1, 1))
        assert_allclose(model.std(x)[:, [target]], alone.std(x))
        assert_allclose(model.width(x, 0.8)[:, [target]], alone.width(x, 0.8))


def _with_a_mass(n: int = 2000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Half of the targets are 0 and most of these predicted as 0; errors elsewhere are large."""
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(n, 3))
    truth = np.where(rng.uniform(size=n) < 0.5, 0, rng.uniform(1, 5, n))
    found = np.where(truth > 0, truth + rng.normal(size=n), 0)
    missed = rng.uniform(size=n) < 0.04
    found[missed] = np.where(truth[missed] > 0, 0, 1)
    return x, truth, found


def test_rows_at_the_value_of_many_have_quantiles_of_their_own() -> None:
    x, truth, found = _with_a_mass()
    beliefs, residuals = found[:, None, None], (truth - found)[:, None]
    # the forest sees nothing that tells them apart
    model = ErrorModel(0).fit(x[:1000], residuals[:1000], beliefs=beliefs[:1000])
    inside = np.abs(residuals[1000:, 0]) <= model.width(x[1000:], 0.8, beliefs[1000:])[:, 0]
    away = np.abs(found[1000:]) > 0.5
    assert 0.75 < inside[away].mean() < 0.87
    assert inside[~away].mean() > 0.9
    # without it, the half that is predicted exactly makes up for the other
    alike = ErrorModel(0).fit(x[:1000], residuals[:1000])
    assert (np.abs(residuals[1000:, 0]) <= alike.width(x[1000:], 0.8)[:, 0])[away].mean() < 0.72


@pytest.mark.parametrize("what", ["no such value", "few rows", "one group"])
def test_quantiles_are_of_all_rows_where_nothing_tells_them_apart(what: str) -> None:
    x, truth, found = _with_a_mass()
    groups = None
    if what == "no such value":
        truth = truth + np.linspace(0, 1, len(truth))
    elif what == "few rows":
        x, truth, found = x[:90], truth[:90], found[:90]
    else:
        # a composition that was measured often is no property of the others
        groups = np.where(truth == 0, 0, np.arange(len(truth)))
    residuals = (truth - found)[:, None]
    model = ErrorModel(0).fit(x, residuals, groups, beliefs=found[:, None, None])
    assert np.isnan(model.masses_).all()


def test_beliefs_tell_of_errors() -> None:
    rng = np.random.default_rng(0)
    x, apart = rng.uniform(size=(800, 2)), rng.uniform(0.1, 2, 800)
    residuals = (rng.normal(size=800) * apart)[:, None]
    beliefs = np.stack([rng.normal(size=800), apart], axis=1)[:, None]
    model = ErrorModel(0).fit(x[:500], residuals[:500], beliefs=beliefs[:500])
    assert np.corrcoef(model.std(x[500:], beliefs[500:])[:, 0], apart[500:])[0, 1] > 0.9


def test_elements_that_no_training_row_had_widen() -> None:
    x, truth, found = _with_a_mass()
    beliefs = found[:, None, None]
    model = ErrorModel(0).fit(x, (truth - found)[:, None], beliefs=beliefs)
    part = np.tile([0.0, 0.25, 1.0], 100)
    known, new = (model.width(x[:300], 0.8, beliefs[:300], u)[:, 0] for u in (0 * part, part))
    away, many = np.abs(found[:300]) > 0.5, (found[:300] == 0) & (part > 0)
    assert_allclose(new[away], (known * (1 + part))[away], rtol=0.05)
    # whether such a row is of the many is not known
    assert (new[many] > 3 * known[many]).all()
    std = [model.std(x[:300], beliefs[:300], u)[:, 0] for u in (0 * part, part)]
    assert (std[1] >= 0.999 * std[0] * (1 + part)).all()


@pytest.mark.parametrize(("rows", "coverage"), [(19, 0.95), (9, 0.9), (4, 0.8), (99, 0.99)])
def test_coverage_that_no_error_speaks_for(rows: int, coverage: float) -> None:
    rng = np.random.default_rng(0)
    x, residuals = rng.uniform(size=(rows, 2)), rng.normal(size=(rows, 1))
    # the largest of so many errors is exceeded by a new one with just that probability
    ErrorModel(0).fit(x, residuals).measures(False, coverage)
    fewer = ErrorModel(0).fit(x[1:], residuals[1:])
    text = (
        f"Intervals of {100 * coverage:g} % ask for errors of {rows} .* are those of {rows - 1}. "
    )
    with pytest.warns(IntervalWarning, match=text) as caught:
        fewer.measures(True, coverage)
    assert caught[0].filename == __file__
    fewer.measures(True, None)
    # ten rows of one composition have no more to say than one
    ten = np.repeat(np.arange(rows), 10)
    ErrorModel(0).fit(x[ten], residuals[ten], ten).measures(False, coverage)
    with pytest.warns(IntervalWarning, match=f"are those of {rows - 1}. "):
        ErrorModel(0).fit(x[ten[10:]], residuals[ten[10:]], ten[10:]).measures(False, coverage)


def test_what_speaks_least_is_named() -> None:
    rng = np.random.default_rng(0)
    x, residuals = rng.uniform(size=(300, 2)), rng.normal(size=(300, 2))
    residuals[:290, 1] = np.nan
    with pytest.warns(IntervalWarning, match=r"known are those of 10 of target 1\. They"):
        ErrorModel(0).fit(x, residuals).measures(False, 0.95)
    # 60 rows of 300 are told to be those of the most frequent value
    truth = np.where(np.arange(300) < 60, 0.0, 10 + x[:, 0])
    said = truth + rng.normal(scale=0.01, size=300)
    model = ErrorModel(0).fit(x, (truth - said)[:, None], beliefs=said[:, None, None])
    with pytest.warns(IntervalWarning, match=r"of 60, where the most frequent value is predicted"):
        model.measures(False, 0.99)


@pytest.mark.parametrize("coverage", [Fraction(999, 1000), np.float32(0.999), 0.9999999])
def test_kinds_of_coverage(coverage: float) -> None:
    rng = np.random.default_rng(0)
    model = ErrorModel(0).fit(rng.uniform(size=(30, 2)), rng.normal(size=(30, 1)))
    with pytest.warns(IntervalWarning, match=r"Intervals of 99\.9\d* % ask") as caught:
        [width] = model.measures(False, coverage)
    assert "of 100 %" not in str(caught[0].message)
    assert np.isfinite(width(np.zeros((1, 2)))).all()


def test_the_warning_points_to_who_asked() -> None:
    formulas = [
        f"{metal}{anion}" for metal in ("Li", "Na", "K", "Rb") for anion in ("F", "Cl", "Br")
    ]
    model = ImplicitKTRegressor(None, readout="fast", random_state=0).fit(formulas, range(12))
    model.predict_interval(formulas, 0.9)
    for ask in (model.predict_interval, lambda X, coverage: model.predict(X, coverage=coverage)):
        with pytest.warns(IntervalWarning, match="99 compositions") as caught:
            ask(formulas, coverage=0.99)
        assert [warning.filename for warning in caught] == [__file__]
