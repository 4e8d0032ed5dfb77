"""The error model."""

from __future__ import annotations

import numpy as np
from numpy.testing import assert_allclose

from sklearn_kt.estimators.uncertainty import ErrorModel


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
