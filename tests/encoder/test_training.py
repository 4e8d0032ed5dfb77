"""The training loop: what estimators rely on and skorch does not promise."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from _training import SETTINGS
from numpy.testing import assert_allclose

from sklearn_kt.encoder.modeling import PropertyNetwork
from sklearn_kt.encoder.training import (
    Inputs,
    TrainingSettings,
    _Batches,
    _KnownLoss,
    forward,
    resolve_device,
    split_off,
    train,
)
from sklearn_kt.exceptions import InputError, TrainingError

SPEC = {"kind": "features", "config": {"n_features": 3, "hidden_size": 16}}
NETWORK = (PropertyNetwork, {"spec": SPEC, "n_outputs": 1, "dropout": 0.0})


def rows(n: int = 64, seed: int = 0) -> Inputs:
    features = np.random.default_rng(seed).normal(size=(n, 3)).astype(np.float32)
    return Inputs({"features": features}, targets=features.sum(axis=1, keepdims=True))


def settings(**changes: object) -> TrainingSettings:
    return TrainingSettings(**{**SETTINGS.__dict__, **changes})


def test_training_lowers_the_loss_and_is_reproducible() -> None:
    net, history = train(*NETWORK, None, rows(), settings(max_epochs=20, learning_rate=1e-2))
    again, _ = train(*NETWORK, None, rows(), settings(max_epochs=20, learning_rate=1e-2))
    assert history[-1]["train_loss"] < 0.2 * history[0]["train_loss"]
    data = rows(seed=1)
    assert (
        forward(net.module_, data, device="cpu") == forward(again.module_, data, device="cpu")
    ).all()


def test_global_state_is_left_alone(untouched_globals: None) -> None:
    train(*NETWORK, None, rows(), SETTINGS)


def test_result_does_not_depend_on_the_number_of_threads() -> None:
    threads = torch.get_num_threads()
    outputs = []
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            net, _ = train(*NETWORK, None, rows(), SETTINGS)
            outputs.append(forward(net.module_, rows(seed=1), device="cpu"))
            assert torch.get_num_threads() == number
    finally:
        torch.set_num_threads(threads)
    assert (outputs[0] == outputs[1]).all()


def test_net_is_trimmed_and_carries_no_device() -> None:
    net, _ = train(*NETWORK, None, rows(), SETTINGS)
    assert net.optimizer_ is None
    assert net.device == "cpu"
    assert not net.module_.training
    assert all(parameter.grad is None for parameter in net.module_.parameters())
    assert len(pickle.dumps(net)) < 100_000


def test_early_stopping_keeps_the_best_epoch() -> None:
    # the validation targets contradict the training targets: the first epoch is the best
    validation = rows(seed=1)
    validation.targets = -validation.targets
    changes = settings(max_epochs=50, patience=3, learning_rate=1e-2)
    net, history = train(*NETWORK, None, rows(), changes, validation=validation)
    losses = [row["valid_loss"] for row in history]
    assert len(history) < 50
    reached = np.mean((forward(net.module_, validation, device="cpu") - validation.targets) ** 2)
    assert_allclose(reached, min(losses), rtol=1e-5)


EXACT = (
    PropertyNetwork,
    {**NETWORK[1], "spec": {"kind": "features", "config": {**SPEC["config"], "dropout": 0.0}}},
)


@pytest.mark.parametrize("loss", ["absolute_error", "huber", "squared_error"])
@pytest.mark.parametrize("gaps", [False, True])
def test_weights_are_repeated_rows(loss: str, gaps: bool) -> None:
    data, counts = rows(12), np.arange(12) % 3 + 1
    targets = np.hstack([data.targets, -data.targets])
    targets[::2, 1] = np.nan if gaps else 1
    parameters = {**EXACT[1], "n_outputs": 2}
    # one batch of all rows
    once = settings(loss=loss, n_outputs=2, batch_size=64, max_epochs=10, learning_rate=1e-2)
    everything = np.arange(12)
    outputs, losses = [], []
    for some, weights in (
        (everything, counts),
        (everything, 100 * counts),
        (everything.repeat(counts), None),
        (everything, None),
    ):
        part = data.take(some, targets[some], weights)
        net, history = train(EXACT[0], parameters, None, part, once, validation=part)
        outputs.append(forward(net.module_, data, device="cpu"))
        losses.append([epoch["valid_loss"] for epoch in history])
    assert_allclose(outputs[1], outputs[0], rtol=1e-5, atol=1e-6)
    assert_allclose(outputs[2], outputs[0], rtol=1e-3, atol=1e-4)
    assert_allclose(losses[2], losses[0], rtol=1e-3)
    assert np.abs(outputs[3] - outputs[0]).max() > 1e-2


def test_weights_of_classes() -> None:
    data, counts = rows(12), np.arange(12) % 3 + 1
    labels, everything = (data.targets[:, 0] > 0).astype(np.int64), np.arange(12)
    parameters = {**EXACT[1], "n_outputs": 2}
    once = settings(loss="log_loss", n_outputs=2, batch_size=64, max_epochs=10)
    outputs = []
    for some, weights in ((everything, counts), (everything.repeat(counts), None)):
        part = data.take(some, labels[some], weights)
        net, _ = train(EXACT[0], parameters, None, part, once)
        outputs.append(forward(net.module_, data, device="cpu"))
    assert_allclose(outputs[1], outputs[0], rtol=1e-3, atol=1e-4)


def test_gaps_of_watched_rows_alone() -> None:
    data, watched = rows(), rows(seed=1)
    watched.targets[::2] = np.nan
    _, history = train(*NETWORK, None, data, settings(patience=5), validation=watched)
    assert np.isfinite([epoch["valid_loss"] for epoch in history]).all()


@pytest.mark.parametrize("patience", [None, 5])
def test_keyboard_interrupt_propagates(patience: int | None) -> None:
    def interrupt(loss: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(
            *NETWORK,
            None,
            rows(),
            settings(patience=patience),
            validation=rows(seed=1) if patience else None,
            on_epoch=interrupt,
        )


def test_loss_that_is_not_finite_raises() -> None:
    data = rows()
    data.targets[5] = np.inf
    with pytest.raises(TrainingError, match="loss became"):
        train(*NETWORK, None, data, SETTINGS)


def test_batches_hold_every_row_once_and_similar_lengths() -> None:
    lengths = np.random.default_rng(0).integers(2, 12, size=1000)
    ids = np.where(np.arange(12) < lengths[:, None], np.arange(1000)[:, None], 0)
    batches = list(_Batches(Inputs({"input_ids": ids}, lengths), 32, shuffle=True))
    seen = np.concatenate([batch["input_ids"][:, 0].numpy() for batch, _ in batches])
    assert sorted(seen) == list(range(1000))
    padding = sum((batch["input_ids"] == 0).sum().item() for batch, _ in batches)
    assert padding < 0.2 * (ids == 0).sum()


def test_forward_keeps_the_order_of_rows() -> None:
    class Echo(torch.nn.Module):
        def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
            return input_ids[:, :1].float()

    lengths = np.random.default_rng(0).integers(1, 9, size=100)
    inputs = Inputs({"input_ids": np.tile(np.arange(100)[:, None], 9)}, lengths)
    outputs = forward(Echo(), inputs, device="cpu")
    assert (outputs[:, 0] == np.arange(100)).all()


def test_rows_alike_are_run_once() -> None:
    # at a width of 16, which no preset has, a row's place in a batch may change the last bit
    spec = {"kind": "features", "config": {"n_features": 3, "hidden_size": 256}}
    network = PropertyNetwork(spec, n_outputs=1, n_conditions=1).eval()
    assert isinstance(network.backbone, torch.nn.Module)
    ran: list[int] = []
    network.backbone.register_forward_hook(lambda _, given, out: ran.append(len(out)))
    different = rows(100).arrays["features"]
    places = np.random.default_rng(0).permutation(np.repeat(np.arange(100), 7))
    conditions = np.linspace(-1, 1, len(places), dtype=np.float32)[:, None]
    inputs = Inputs({"features": different[places]}, conditions=conditions)
    outputs = forward(network, inputs, device="cpu")
    # two batches of 64
    assert sum(ran) == 128
    # to the bit, and the condition of each row is its own
    alone = [forward(network, inputs.take(np.array([row])), device="cpu") for row in range(20)]
    assert (outputs[:20] == np.concatenate(alone)).all()
    with torch.inference_mode():
        batch, _ = inputs[np.arange(len(places))]
        assert_allclose(outputs, network(**batch).numpy(), atol=1e-5)


def test_unusable_device_is_an_input_error() -> None:
    with pytest.raises(InputError, match="device='abacus'"):
        resolve_device("abacus")
    assert resolve_device("auto") in ("cpu", "cuda")


@pytest.mark.parametrize("classes", [False, True])
def test_rows_to_watch_are_of_other_groups(classes: bool) -> None:
    rows, groups = np.arange(300), np.repeat(np.arange(60), 5)
    labels = (groups % 4 == 0).astype(int) if classes else None
    fitted, watched = split_off(rows, 0, True, 500, labels, groups)
    assert watched is not None
    assert sorted([*fitted, *watched]) == rows.tolist()
    assert len(watched) == 30
    assert not set(groups[fitted]) & set(groups[watched])
    if labels is not None:
        assert 0 < labels[watched].mean() < 0.5
    # groups count, not rows
    assert split_off(rows, 0, "auto", 61, labels, groups)[1] is None
    with pytest.raises(InputError, match="two compositions or groups"):
        split_off(rows, 0, True, 500, labels, np.zeros(300, int))


def test_targets_that_are_not_known_have_no_part_in_the_loss() -> None:
    data = rows()
    two = np.column_stack([data.targets, data.targets])
    network = (NETWORK[0], {**NETWORK[1], "n_outputs": 2})
    histories = []
    for gap in (np.nan, 0.0):
        targets = two.copy()
        targets[1::2, 1] = gap
        _, history = train(*network, None, data.take(np.arange(64), targets), settings(n_outputs=2))
        histories.append([epoch["train_loss"] for epoch in history])
    assert np.isfinite(histories[0]).all()
    assert histories[0] != histories[1]
    known, loss = torch.tensor([[1.0, 2.0], [3.0, torch.nan]]), _KnownLoss(torch.nn.L1Loss)
    assert loss(torch.zeros(2, 2), known).item() == 2
