"""What is predicted of compositions that the training table holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from sklearn_kt import ImplicitKTRegressor, load_model, save_model
from sklearn_kt.compositions import composition_groups, read_compositions
from sklearn_kt.datasets import load_expt_gap
from sklearn_kt.estimators.repeats import TrainingCompositions, enough_repeated


def _rows(agreement: float, n: int = 400, rows: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Draw rows whose variance is that of their composition by this part."""
    rng = np.random.default_rng(0)
    keys = np.repeat(np.arange(n, dtype=np.uint64), rows)
    own = rng.normal(size=(n * rows, 1)) * np.sqrt(1 - agreement)
    return keys, rng.normal(size=n)[keys.astype(int)][:, None] * np.sqrt(agreement) + own


def _fitted(keys: np.ndarray, truth: np.ndarray, **options: Any) -> TrainingCompositions:
    said = np.zeros_like(truth)
    return TrainingCompositions().fit(keys, {"a": said}, {"a": said + 2}, said, truth, **options)


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize(("agreement", "share"), [(0.0, 0.05), (0.5, 0.6), (0.99, 1.0)])
def test_share_is_the_part_that_rows_have_in_common(
    agreement: float, share: float, squared: bool
) -> None:
    seen = _fitted(*_rows(agreement, 2000), squared=squared)
    assert_allclose(seen.shares_, share, atol=0.11)


def test_several_rows_say_more_than_one() -> None:
    keys, truth = _rows(0.5)
    few = np.concatenate([[1000], keys]).astype(np.uint64), np.vstack([[[8.0]], truth])
    seen = _fitted(*few)
    share = seen.shares_[0]
    assert 0.4 < share < 0.9
    [once, twice] = seen.find(np.array([1000, 0], np.uint64))
    assert_allclose(seen.outputs_["a"][once], 8 * share, rtol=1e-6)
    part = 2 * share / (1 + share)
    assert_allclose(seen.outputs_["a"][twice], part * truth[:2].mean(), rtol=1e-5)
    assert seen.spreads_["a"][once] == 2


def test_rows_count_by_their_weights() -> None:
    keys, truth = _rows(0.5)
    weights = np.tile([1.5, 0.5], 400)
    seen = _fitted(keys, truth, sample_weight=weights)
    share = seen.shares_[0]
    mean = (1.5 * truth[0] + 0.5 * truth[1]) / 2
    assert_allclose(seen.outputs_["a"][0], 2 * share / (1 + share) * mean, rtol=1e-5)


def test_heavy_rows_are_no_evidence_of_themselves() -> None:
    keys, truth = _rows(0.5)
    for weights in ([1e17, 1], [1e-17, 1]):
        seen = _fitted(keys, truth, sample_weight=np.array(weights * 400))
        assert 0 < seen.shares_[0] <= 1
        assert np.isfinite(seen.outputs_["a"]).all()


def test_a_composition_with_many_rows_counts_once() -> None:
    keys, truth = _rows(0.9, 100)
    rng = np.random.default_rng(1)
    # rows that have nothing in common, five times as many as all others
    many = np.full(1000, 999, np.uint64), rng.normal(size=(1000, 1)) * 3
    seen = _fitted(np.concatenate([keys, many[0]]), np.vstack([truth, many[1]]))
    assert seen.shares_[0] > 0.7


def test_squared_errors_have_a_share_of_their_own() -> None:
    keys, truth = _rows(0.9)
    truth[::40] += 12
    absolute, squared = (_fitted(keys, truth, squared=s).shares_[0] for s in (False, True))
    assert squared < absolute


def test_targets_that_a_composition_lacks_are_left() -> None:
    keys, truth = _rows(0.5)
    truth = np.hstack([truth, truth, truth])
    truth[:2, 1] = np.nan
    # too few compositions have several rows of this
    truth[50:, 2] = np.nan
    said = np.full_like(truth, 3.0)
    blend = said.copy()
    # networks alone have a say
    blend[2:4, 0] = np.nan
    seen = TrainingCompositions().fit(keys, {"a": said}, {"a": said}, blend, truth)
    assert seen.shares_[2] == 1
    now, apart = {"a": np.full((3, 3), 7.0)}, {"a": np.full((3, 3), 8.0)}
    places = seen.find(np.array([0, 1, 999], np.uint64))
    seen.replace(places, np.array([1.0, 1.0, 0.0]), now, apart)
    assert_array_equal(now["a"] == 7, [[False, True, True], [True, False, True], [True] * 3])
    assert_array_equal(apart["a"], np.where(now["a"] == 7, 8, 3))


def test_what_is_known_fades() -> None:
    keys, truth = _rows(0.5)
    seen = _fitted(keys, truth)
    now, apart = {"a": np.full((3, 1), 7.0)}, {"a": np.full((3, 1), 8.0)}
    seen.replace(np.array([4, 4, 4]), np.array([1.0, 0.25, 0.0]), now, apart)
    known = seen.outputs_["a"][4]
    assert_allclose(now["a"], [known, 0.25 * known + 0.75 * 7, [7]], rtol=1e-6)
    assert_allclose(apart["a"], [[2], [6.5], [8]])


def test_rows_without_a_say_tell_nothing() -> None:
    keys, truth = _rows(0.5)
    said = np.zeros_like(truth)
    seen = TrainingCompositions().fit(keys, {"a": said}, {"a": said}, said + np.nan, truth)
    assert_array_equal(seen.shares_, 1)


def test_compositions_are_found_by_their_keys() -> None:
    keys = np.array([5, 9, 5, 2**64 - 1], np.uint64)
    seen = _fitted(keys, np.zeros((4, 1)))
    assert_array_equal(seen.find(np.array([9, 0, 5, 2**64 - 1], np.uint64)), [1, -1, 0, 2])
    assert seen.find(np.array([], np.uint64)).shape == (0,)


def test_enough_compositions_have_several_rows() -> None:
    assert enough_repeated(np.repeat(np.arange(30), 2))
    assert not enough_repeated(np.repeat(np.arange(29), 4))


@dataclass
class _Measured:
    """Gaps, 60 of which were measured twice, with much noise."""

    X: list[str]
    y: np.ndarray
    clean: np.ndarray


@pytest.fixture(scope="module")
def table() -> _Measured:
    """Every twentieth measured gap, with noise of 2 eV."""
    X, y = load_expt_gap(return_X_y=True)
    X, y = list(X[::20]), np.asarray(y[::20])
    rng = np.random.default_rng(0)
    again = rng.permutation(len(X))[:60]
    clean = np.concatenate([y, y[again]])
    noisy = clean + rng.normal(size=len(clean)) * 2
    return _Measured([*X, *(X[row] for row in again)], noisy, clean)


def _model(**options: Any) -> ImplicitKTRegressor:
    return ImplicitKTRegressor(readout="fast", random_state=0, **options)


def test_noise_of_a_composition_is_not_learned_by_heart(table: _Measured, tmp_path: Path) -> None:
    X, y = table.X, table.y
    model = _model().fit(X, y)
    seen = model.training_compositions_
    assert seen is not None
    assert seen.shares_[0] < 0.8
    assert "known value" in model._repr_html_()
    found, bounds = model.predict(X, coverage=0.8)
    # the composition of the first row, written otherwise, and one that no row has
    new = ["KBr0.37Cl0.63"]
    first, other = model.predict([f"({X[0]})2", *new])
    assert first == found[0]
    save_model(model, tmp_path / "gap.model")
    assert_array_equal(load_model(tmp_path / "gap.model").predict(X), found)
    again = clone(model).fit(X, y)
    again.training_compositions_ = None
    by_heart, narrow = again.predict(X, coverage=0.8)
    assert_array_equal(again.predict(new), other)
    assert np.abs(found - table.clean).mean() < 0.9 * np.abs(by_heart - table.clean).mean()
    # what is measured once more
    more = table.clean + np.random.default_rng(1).normal(size=len(X)) * 2
    inside, inside_narrow = (
        ((b[:, 0] <= more) & (more <= b[:, 1])).mean() for b in (bounds, narrow)
    )
    assert inside > 0.77
    assert inside > inside_narrow + 0.03


@pytest.mark.parametrize("loss", ["absolute_error", "squared_error"])
def test_outputs_and_spreads_are_those_of_folds_of_compositions(
    table: _Measured, loss: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = table.X, table.y
    weights = np.random.default_rng(2).uniform(0.5, 2, size=len(X))
    calls: dict[str, Any] = {}
    fit = TrainingCompositions.fit

    def kept(self: TrainingCompositions, *args: Any, **options: Any) -> TrainingCompositions:
        names = ("keys", "outputs", "spreads", "blend", "truth", "weights")
        calls.update(zip(names, args, strict=True), **options)
        return fit(self, *args, **options)

    monkeypatch.setattr(TrainingCompositions, "fit", kept)
    model = _model(loss=loss).fit(X, y, sample_weight=weights)
    assert calls["squared"] == (loss == "squared_error")
    assert_allclose(calls["weights"], weights / weights.mean())
    assert_allclose(model.targets_.decode(calls["truth"]), y, rtol=1e-5, atol=1e-5)
    # of folds that leave the composition out, and in the order of the rows
    for said in (*calls["outputs"].values(), *calls["spreads"].values()):
        by_composition = pd.DataFrame(said[:, 0]).groupby(composition_groups(X))
        assert by_composition.nunique().max().item() == 1
    out_of_fold = model.targets_.decode(calls["blend"])
    assert np.corrcoef(out_of_fold, table.clean)[0, 1] > 0.6
    seen = model.training_compositions_
    share = seen.shares_[0]
    row = next(row for row, formula in enumerate(X) if X.count(formula) == 1)
    n = weights[row] / weights.mean()
    part = n * share / (1 - share + n * share)
    alone = calls["blend"][row]
    expected = model.targets_.decode((alone + part * (calls["truth"][row] - alone))[None])
    assert_allclose(model.predict([X[row]]), expected, rtol=1e-4)
    asked = read_compositions([X[row]])
    [told] = model._outputs(asked, [lambda _, beliefs, unseen: beliefs[:, :, 2]])[1]
    shares = model.readout_weights_
    assert_allclose(told[0], sum(shares[name] * calls["spreads"][name][row] for name in shares))


def test_what_rows_agree_on_is_believed() -> None:
    X, y = load_expt_gap(return_X_y=True)
    X, y = list(X[::20]), np.asarray(y[::20])
    model = _model().fit(X, y)
    model.fit(X + X[:60], np.concatenate([y, y[:60]]))
    assert model.training_compositions_ is None
    assert_allclose(model.predict(X[60:]), y[60:], atol=0.05)


def test_networks_are_judged_by_some_folds_and_readouts_by_all(table: _Measured) -> None:
    model = ImplicitKTRegressor(n_estimators=2, max_epochs=1, random_state=0)
    model.fit(table.X, table.y)
    seen = model.training_compositions_
    assert seen is not None
    assert set(seen.outputs_) == set(model.readouts_)
    assert len(seen.keys_) == len(table.X) - 60


def test_compositions_are_left_out_whatever_the_groups(table: _Measured) -> None:
    X, y = table.X, table.y
    alone = _model().fit(X, y, groups=np.arange(len(X))).training_compositions_
    families = _model().fit(X, y, groups=[formula[:1] for formula in X]).training_compositions_
    assert alone is not None
    assert families is not None
    assert alone.shares_[0] < 0.9
    assert families.shares_[0] < 0.9


def test_few_repeats_tell_nothing(table: _Measured) -> None:
    assert _model().fit(table.X[:-40], table.y[:-40]).training_compositions_ is None


def test_conditions_tell_rows_of_a_composition_apart(table: _Measured) -> None:
    kelvin = np.linspace(300, 900, len(table.X))
    frame = pd.DataFrame({"formula": table.X, "temperature": kelvin})
    assert _model().fit(frame, table.y).training_compositions_ is None


def test_each_target_has_a_share(table: _Measured) -> None:
    targets = np.column_stack([table.y, table.clean])
    # measured of the first rows of each composition alone
    targets[30:-60, 1] = np.nan
    model = _model().fit(table.X, targets)
    seen = model.training_compositions_
    assert seen is not None
    noisy, exact = seen.shares_
    assert noisy < 0.8
    assert exact == 1
    found = model.predict(table.X)
    model.training_compositions_ = None
    by_heart = model.predict(table.X)
    assert_array_equal(found[:, 1], by_heart[:, 1])
    assert (found[:, 0] != by_heart[:, 0]).all()
