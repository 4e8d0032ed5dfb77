"""The graph network: batches, pooling, training, the estimators around it."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from pymatgen.core import Lattice, Structure
from sklearn.base import clone
from torch import nn

from sklearn_kt.encoder import training
from sklearn_kt.encoder.training import split_off
from sklearn_kt.exceptions import CompositionWarning, InputError, TrainingError
from sklearn_kt.persistence import load_model, save_model
from sklearn_kt.structures import (
    Candidate,
    CrystalGraphClassifier,
    CrystalGraphRegressor,
)
from sklearn_kt.structures.chgnet import chgnet_outputs
from sklearn_kt.structures.network import (
    CrystalNetwork,
    CrystalRows,
    pretrained_backbone,
    run_network,
)

SALTS = [
    Structure.from_spacegroup("Fm-3m", Lattice.cubic(a), [m, x], [[0, 0, 0], [0.5] * 3])
    for m, x, a in [
        ("Na", "Cl", 5.6), ("K", "Cl", 6.3), ("Li", "F", 4.0), ("Na", "F", 4.6),
        ("K", "Br", 6.6), ("Rb", "Cl", 6.6), ("Mg", "O", 4.2), ("Ca", "O", 4.8),
    ]
]  # fmt: skip
SALTS = [salt.get_primitive_structure() for salt in SALTS]
LENGTHS = np.array([s.volume for s in SALTS])
# an atom in the void, and an element that CHGNet does not know
LONELY = Structure(Lattice.cubic(20), ["He"], [[0, 0, 0]])
UNKNOWN = Structure(Lattice.cubic(4), ["Og"], [[0, 0, 0]])
QUICK: dict[str, Any] = {"max_epochs": 2, "batch_size": 4, "device": "cpu", "random_state": 0}


def rows_of(*rows: list[Structure]) -> CrystalRows:
    return CrystalRows.read([[Candidate.from_structure(s) for s in row] for row in rows])


def network(pooling: str, n_outputs: int = 1) -> CrystalNetwork:
    config, weights = pretrained_backbone()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = CrystalNetwork(config, n_outputs, pooling, 0.05, 0.1).eval()
    module.backbone.load_state_dict(weights)
    return module


class TestNetwork:
    def test_features_are_those_of_chgnet(self) -> None:
        module = network("mean")
        module.norm = nn.Identity()
        batch, _ = rows_of(SALTS[:2], SALTS[2:3])[np.arange(2)]
        with torch.no_grad():
            found = module.crystals(batch).numpy()
        known, _ = chgnet_outputs(SALTS[:3])
        # the crystal's feature is a sum over its two atoms
        assert_allclose(found[:, :64], known[:, :64] / 2, atol=1e-5)
        assert_allclose(found[:, 64:128], known[:, 64:128], atol=1e-5)
        # deviations are never quite zero
        assert_allclose(found[:, 128:], np.sqrt(known[:, 128:192] ** 2 + 1e-6), atol=1e-4)

    def test_crystals_that_cannot_be_taken_are_left_out(self) -> None:
        rows = rows_of([LONELY, SALTS[0]], [UNKNOWN], [])
        assert [len(row) for row in rows.graphs] == [1, 0, 0]
        assert_array_equal(rows.lengths > 0, [True, False, False])

    def test_pooling(self) -> None:
        rows = rows_of([SALTS[0], SALTS[0].copy().apply_strain(0.06)], SALTS[1:2])
        assert np.ptp(rows.energies[0]) > 0.01
        boltzmann = np.exp(-(rows.energies[0] - rows.energies[0].min()) / 0.05)
        boltzmann /= boltzmann.sum()
        outputs = {}
        for pooling, known in (
            ("mean", [0.5, 0.5]), ("boltzmann", boltzmann), ("attention", boltzmann)
        ):  # fmt: skip
            outputs[pooling], each, weights = run_network(network(pooling), rows, "cpu")
            assert_allclose(weights[0], known, rtol=1e-4)
            assert_allclose(weights[1], [1.0])
            assert_allclose(each[1], outputs[pooling][1:], rtol=1e-5)
        assert outputs["mean"][0] != pytest.approx(outputs["boltzmann"][0], rel=1e-4)

    def test_attention_learns(self) -> None:
        module = network("attention")
        batch, _ = rows_of(SALTS[:2], SALTS[2:4])[np.arange(2)]
        module(**batch).sum().backward()
        assert module.attention[2].weight.grad.abs().max() > 0
        assert module.backbone.atom_embedding.embedding.weight.grad.abs().max() > 0

    def test_rows_do_not_depend_on_others(self) -> None:
        module = network("attention")
        together, *_ = run_network(module, rows_of(SALTS[:2], SALTS[2:3]), "cpu")
        alone, *_ = run_network(module, rows_of(SALTS[2:3]), "cpu")
        assert_array_equal(together[1], alone[0])
        with torch.no_grad():
            batch, _ = rows_of(SALTS[:2], SALTS[2:3])[np.arange(2)]
            assert_allclose(module(**batch).numpy(), together, atol=1e-5)


class TestRegressor:
    @pytest.mark.slow
    def test_learns(self, untouched_globals: None) -> None:
        model = CrystalGraphRegressor(
            **{**QUICK, "max_epochs": 12}, early_stopping=False, backbone_learning_rate=1e-3
        ).fit(SALTS, LENGTHS)
        assert len(model.history_) == 12
        assert np.abs(model.predict(SALTS) - LENGTHS).mean() < LENGTHS.std() / 2
        again = clone(model).fit(SALTS, LENGTHS)
        assert_array_equal(again.predict(SALTS), model.predict(SALTS))

    def test_frozen_backbone_stays(self) -> None:
        model = CrystalGraphRegressor(**QUICK, backbone_learning_rate=0.0).fit(SALTS, LENGTHS)
        _, weights = pretrained_backbone()
        for name, value in weights.items():
            assert_array_equal(model.weights_[f"backbone.{name}"], value.numpy())
        free = CrystalGraphRegressor(**QUICK, pretrained=False).fit(SALTS, LENGTHS)
        changed = free.weights_["backbone.atom_embedding.embedding.weight"]
        assert not np.allclose(changed, weights["atom_embedding.embedding.weight"].numpy())

    def test_rows_without_crystals(self) -> None:
        model = CrystalGraphRegressor(**QUICK)
        with pytest.warns(CompositionWarning, match=r"1 of 9 rows .*first rows: \[8\]"):
            model.fit([*SALTS, None], [*LENGTHS, 1.0])
        found = model.predict([SALTS[0], None, UNKNOWN, [UNKNOWN, SALTS[0]]])
        assert_array_equal(np.isnan(found), [False, True, True, False])
        assert found[3] == found[0]
        assert [len(w) for w in model.candidate_weights([None, SALTS[:3]])] == [0, 3]
        assert np.isnan(model.predict([None])).all()
        with pytest.raises(InputError, match="none of the rows"):
            model.fit([None, LONELY], [1.0, 2.0])

    def test_spread_of_crystals_is_part_of_the_deviation(self) -> None:
        model = CrystalGraphRegressor(**QUICK, early_stopping=True, pooling="mean")
        model.fit(SALTS, LENGTHS)
        mean, std = model.predict([SALTS[0], [SALTS[0], SALTS[4]]], return_std=True)
        each = model.predict([SALTS[0], SALTS[4]])
        assert std[0] == pytest.approx(model.error_[0])
        assert std[1] == pytest.approx(np.hypot(model.error_[0], each.std()), rel=1e-4)
        assert mean[0] == each[0]
        blind = CrystalGraphRegressor(**QUICK).fit(SALTS, LENGTHS)
        with pytest.raises(InputError, match="early_stopping=True"):
            blind.predict(SALTS, return_std=True)

    def test_stops_early(self) -> None:
        model = CrystalGraphRegressor(
            **{**QUICK, "max_epochs": 30}, early_stopping=True, patience=1, learning_rate=0.5
        ).fit(SALTS, LENGTHS)
        assert len(model.history_) < 30
        assert "valid_loss" in model.history_[0]

    def test_crystals_of_one_composition_stop_together(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen = []

        def spied(*args: Any, **kwargs: Any) -> Any:
            seen.append(split_off(*args, **kwargs))
            return seen[-1]

        monkeypatch.setattr(training, "split_off", spied)
        model = CrystalGraphRegressor(**QUICK, early_stopping=True)
        rows, y = [*SALTS, None, *SALTS], np.r_[LENGTHS, 0, LENGTHS]
        with pytest.warns(CompositionWarning, match="1 of 17 rows"):
            model.fit(rows, y)
        assert model.repeated_rows_ == 8
        assert [sorted(part % 9) for part in seen[0]] == [
            sorted(2 * [*part]) for part in (set(seen[0][0] % 9), set(seen[0][1] % 9))
        ]
        model.fit(SALTS, LENGTHS, groups=[0, 0, 0, 0, 1, 1, 1, 1])
        assert {len(part) for part in seen[1]} == {4}

    def test_several_outputs(self) -> None:
        y = np.column_stack([LENGTHS, -LENGTHS])
        model = CrystalGraphRegressor(**QUICK).fit(SALTS, y)
        assert model.predict(SALTS[:3]).shape == (3, 2)

    def test_saved_models(self, tmp_path: Path) -> None:
        model = CrystalGraphRegressor(**QUICK).fit(SALTS, LENGTHS)
        for other in (
            pickle.loads(pickle.dumps(model)),
            load_model(save_model(model, tmp_path / "model.kt")),
        ):
            assert_array_equal(other.predict(SALTS), model.predict(SALTS))

    def test_bad_input(self) -> None:
        with pytest.raises(ValueError, match="NaN"):
            CrystalGraphRegressor(**QUICK).fit(SALTS, np.full(8, np.nan))
        with pytest.raises(ValueError, match="inconsistent numbers"):
            CrystalGraphRegressor(**QUICK).fit(SALTS, LENGTHS[:3])
        with pytest.raises(InputError, match="row 0 holds a str"):
            CrystalGraphRegressor(**QUICK).fit(["NaCl"], [1.0])
        with pytest.raises(TrainingError, match="learning_rate"):
            CrystalGraphRegressor(**QUICK, learning_rate=1e30).fit(SALTS, LENGTHS)

    def test_interrupt_goes_on_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def interrupted(*_: Any, **__: Any) -> Any:
            raise KeyboardInterrupt

        monkeypatch.setattr(CrystalNetwork, "weights", interrupted)
        with pytest.raises(KeyboardInterrupt):
            CrystalGraphRegressor(**QUICK, early_stopping=True).fit(SALTS, LENGTHS)


class TestClassifier:
    def test_labels(self) -> None:
        labels = np.where(np.median(LENGTHS) < LENGTHS, "wide", "narrow")
        model = CrystalGraphClassifier(
            **{**QUICK, "max_epochs": 12}, backbone_learning_rate=1e-3, early_stopping=False
        ).fit(SALTS, labels)
        assert (model.predict(SALTS) == labels).mean() > 0.8
        probabilities = model.predict_proba([SALTS[0], None])
        assert_allclose(probabilities[0].sum(), 1)
        assert np.isnan(probabilities[1]).all()
        assert model.predict([SALTS[0], None])[1] is None
        with pytest.raises(InputError, match="one class"):
            CrystalGraphClassifier(**QUICK).fit(SALTS[:2], ["a", "a"])


@pytest.mark.parametrize("stops", [False, True])
def test_rows_without_weight_are_not_there(stops: bool) -> None:
    lies, kept = LENGTHS.copy(), np.arange(len(SALTS)) % 3 > 0
    lies[~kept] = 1e4
    crystals = [LONELY if row == 1 else salt for row, salt in enumerate(SALTS)]
    model = CrystalGraphRegressor(**QUICK, early_stopping=stops)
    groups = np.arange(len(SALTS))
    with pytest.warns(CompositionWarning, match=r"first rows: \[1\]"):
        weighed = clone(model).fit(crystals, lies, groups, kept)
    with pytest.warns(CompositionWarning, match=r"first rows: \[0\]"):
        alone = model.fit([c for c, k in zip(crystals, kept, strict=True) if k], LENGTHS[kept])
    assert_allclose(weighed.predict(SALTS[:3]), alone.predict(SALTS[:3]))
    with pytest.raises(InputError, match="row 2 of sample_weight holds -1"):
        model.fit(SALTS, LENGTHS, sample_weight=np.where(groups == 2, -1, 1))


def test_weights_count_in_the_loss_and_in_the_error() -> None:
    weights = np.arange(len(SALTS)) + 1
    model = CrystalGraphRegressor(**QUICK, early_stopping=True)
    alike = clone(model).fit(SALTS, LENGTHS, sample_weight=np.full(len(SALTS), 3))
    plain = clone(model).fit(SALTS, LENGTHS)
    assert_array_equal(alike.predict(SALTS), plain.predict(SALTS))
    weighed = clone(model).fit(SALTS, LENGTHS, sample_weight=weights)
    assert weighed.history_[0]["train_loss"] != plain.history_[0]["train_loss"]
    assert np.isfinite(weighed.predict(SALTS, return_std=True)[1]).all()
