"""Products in bfloat16: near those in float32, for one thread, and where they are faster."""

from __future__ import annotations

import copy
import threading
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from _training import SETTINGS
from sklearn.base import clone
from torch import nn
from torch.nn import functional as F  # noqa: N812

from sklearn_kt import ImplicitKTRegressor, read_compositions
from sklearn_kt.encoder import Encoder, precision, training
from sklearn_kt.encoder.precision import products_in, resolve_precision
from sklearn_kt.estimators.base import Rows
from sklearn_kt.estimators.networks import train_networks

# so many rows, inputs and outputs are worth it
ROWS, WIDE = 64, 256
SALTS = ["NaCl", "KCl", "MgO", "CaO", "SrO", "LiF", "NaF", "KBr", "RbI", "GaAs", "ZnSe", "CdTe"]


@pytest.fixture
def layer() -> nn.Linear:
    generator = torch.Generator().manual_seed(0)
    layer = nn.Linear(WIDE, 2 * WIDE)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return layer


def numbers(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def pass_through(layer: nn.Module, chosen: str, *shape: int) -> list[torch.Tensor]:
    """Output, and gradients of inputs and parameters."""
    x = numbers(*shape).requires_grad_()
    layer.zero_grad()
    with products_in(chosen, "cpu"):
        out = layer(x)
        (out * out.detach().cos()).sum().backward()
    assert x.grad is not None
    gradients = [p.grad.clone() for p in layer.parameters() if p.grad is not None]
    return [out.detach(), x.grad, *gradients]


@pytest.mark.parametrize("shape", [(ROWS, WIDE), (16, ROWS // 16, WIDE)])
def test_products_and_gradients_are_near_those_of_float32(
    layer: nn.Linear, shape: tuple[int, ...]
) -> None:
    exact = pass_through(layer, "float32", *shape)
    near = pass_through(layer, "bfloat16", *shape)
    assert len(exact) == len(near) == 4
    for a, b in zip(exact, near, strict=True):
        assert b.dtype == torch.float32
        assert a.shape == b.shape
        error = float((a - b).norm() / a.norm())
        # eight bits of each factor; the gradients here depend on the output, too
        assert 0 < error < 0.1
    assert float((exact[0] - near[0]).norm() / exact[0].norm()) < 0.01


def test_layers_without_a_bias_and_frozen_ones(layer: nn.Linear) -> None:
    plain = nn.Linear(WIDE, WIDE, bias=False)
    frozen = copy.deepcopy(layer).requires_grad_(False)
    for one, n_found in ((plain, 3), (frozen, 2)):
        exact, near = (pass_through(one, chosen, ROWS, WIDE) for chosen in ("float32", "bfloat16"))
        assert len(exact) == len(near) == n_found
        for a, b in zip(exact, near, strict=True):
            assert 0 < float((a - b).norm() / a.norm()) < 0.1


def test_inputs_that_need_no_gradient_get_none(
    layer: nn.Linear, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    backward = precision._Product.backward

    def noted(*args: Any) -> Any:
        found.append(backward(*args))
        return found[-1]

    monkeypatch.setattr(precision._Product, "backward", noted)
    with products_in("bfloat16", "cpu"):
        layer(numbers(ROWS, WIDE)).sum().backward()
    [(of_x, of_weight, of_bias)] = found
    assert of_x is None
    assert of_weight is not None
    assert of_bias is not None


def test_there_is_one_derivative(layer: nn.Linear) -> None:
    x = numbers(ROWS, WIDE).requires_grad_()
    with products_in("bfloat16", "cpu"):
        [gradient] = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_small_products_and_other_types_are_left_alone() -> None:
    for layer, x in (
        (nn.Linear(WIDE, 3), numbers(ROWS, WIDE)),
        (nn.Linear(3, WIDE), numbers(ROWS, 3)),
        # 2.9 and 3.1 million multiplications; the latter is in the next test
        (nn.Linear(WIDE, WIDE), numbers(44, WIDE)),
        (nn.Linear(4 * WIDE, 4 * WIDE), numbers(4 * WIDE)),
        (nn.Linear(WIDE, WIDE).double(), numbers(ROWS, WIDE).double()),
    ):
        with products_in("bfloat16", "cpu"):
            out = layer(x)
        assert torch.equal(out, layer(x))
        assert out.dtype == x.dtype


def test_products_are_reduced_from_where_it_pays() -> None:
    layer, x = nn.Linear(WIDE, WIDE), numbers(48, WIDE)
    with products_in("bfloat16", "cpu"):
        reduced = layer(x)
    assert not torch.equal(reduced, layer(x))


def test_other_threads_stay_in_float32(layer: nn.Linear) -> None:
    x, found = numbers(ROWS, WIDE), []
    with products_in("bfloat16", "cpu"):
        thread = threading.Thread(target=lambda: found.append(layer(x)))
        thread.start()
        thread.join()
        here = layer(x)
    assert torch.equal(found[0], layer(x))
    assert not torch.equal(here, layer(x))


def test_it_ends_with_an_error(layer: nn.Linear) -> None:
    x = numbers(ROWS, WIDE)
    with pytest.raises(KeyboardInterrupt), products_in("bfloat16", "cpu"):
        raise KeyboardInterrupt
    assert torch.equal(layer(x), F.linear(x, layer.weight, layer.bias))


@pytest.mark.parametrize("faster", [True, False])
def test_auto_is_what_is_faster(faster: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_faster_here", lambda: faster)
    assert resolve_precision("auto", "cpu") == ("bfloat16" if faster else "float32")
    # on a GPU nothing is measured, and bfloat16 was tried on those of CUDA alone
    assert resolve_precision("auto", "cuda:1") == "bfloat16"
    assert resolve_precision("auto", "mps") == "float32"
    for chosen in ("float32", "bfloat16"):
        assert resolve_precision(chosen, "cpu") == chosen


@pytest.mark.parametrize(("seconds", "faster"), [((4.0, 2.0), True), ((4.0, 3.5), False)])
def test_the_fastest_runs_are_compared(
    seconds: tuple[float, float], faster: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that something else held up does not count."""
    ticks = []
    for one in seconds:
        for run in range(precision._REPEATS):
            ticks += [0.0, one if run == 2 else 100.0]
    clock = iter(ticks)
    monkeypatch.setattr(precision, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    assert precision._faster_here.__wrapped__() is faster
    assert next(clock, None) is None


@pytest.mark.parametrize("around", [nullcontext, torch.no_grad, torch.inference_mode])
def test_measuring_leaves_the_global_state_alone(around: Any, untouched_globals: None) -> None:
    threads = torch.get_num_threads()
    with around():
        gradients = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        assert precision._faster_here.__wrapped__() in (True, False)
        assert (torch.is_grad_enabled(), torch.is_inference_mode_enabled()) == gradients
    assert torch.get_num_threads() == threads


def test_measuring_is_on_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    threads, before = set(), torch.get_num_threads()

    def noted(*args: Any) -> Any:
        threads.add(torch.get_num_threads())
        return F.linear(*args)

    monkeypatch.setattr(precision, "_linear", noted)
    torch.set_num_threads(2)
    try:
        precision._measured("bfloat16")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert threads == {1}


@pytest.fixture(scope="module")
def fitted() -> dict[str, ImplicitKTRegressor]:
    y = np.arange(12.0)
    return {
        name: ImplicitKTRegressor(
            readout="head", n_estimators=1, max_epochs=2, precision=chosen, random_state=0
        ).fit(SALTS, y)
        for name, chosen in (("exact", "float32"), ("near", "bfloat16"), ("again", "bfloat16"))
    }


def test_networks_differ_by_rounding_alone(fitted: dict[str, ImplicitKTRegressor]) -> None:
    exact, near, again = (
        np.concatenate([p.detach().ravel() for p in fitted[name].nets_[0].module_.parameters()])
        for name in ("exact", "near", "again")
    )
    assert near.dtype == np.float32
    assert not np.array_equal(exact, near)
    assert np.array_equal(near, again)
    assert np.abs(exact - near).max() < 0.05 * np.abs(exact).max()
    answers = [model.predict(["NaBr"]) for model in fitted.values()]
    assert answers[1] == answers[2]
    assert answers[0] == pytest.approx(answers[1], abs=0.05)
    assert [model.precision_ for model in fitted.values()] == ["float32", "bfloat16", "bfloat16"]
    assert "epochs in bfloat16" in fitted["near"]._repr_html_()


def test_readouts_alone_have_no_precision(fitted: dict[str, ImplicitKTRegressor]) -> None:
    fast = clone(fitted["near"]).set_params(readout="fast").fit(SALTS, np.arange(12.0))
    assert fast.precision_ is None


@pytest.mark.parametrize(
    ("device", "chosen", "amp"),
    [("cuda", "bfloat16", True), ("cuda", "float32", False), ("cpu", "bfloat16", False)],
)
def test_networks_of_a_gpu_know_it(
    device: str, chosen: str, amp: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What they are made with; no GPU is needed to see that."""
    made = []
    monkeypatch.setattr(training, "train", lambda **job: made.append(job) or (None, []))
    settings = replace(SETTINGS, device=device, precision=chosen)
    table = Rows(read_compositions(SALTS), np.arange(12.0), None, None)
    encoder = Encoder.load("small")
    train_networks(
        encoder, encoder.inputs(table.data), table, [np.arange(12)], [0], [0], settings,
        early_stopping=False, n_jobs=1, verbose=0,
    )  # fmt: skip
    assert [job["parameters"]["amp"] for job in made] == [amp]


def test_a_fit_in_another_thread_changes_no_prediction(
    fitted: dict[str, ImplicitKTRegressor],
) -> None:
    model, alone, errors = fitted["exact"], fitted["exact"].predict(SALTS), []
    stop = threading.Event()

    def fit() -> None:
        while not stop.is_set():
            clone(fitted["near"]).fit(SALTS, np.arange(12.0))

    thread = threading.Thread(target=fit)
    thread.start()
    try:
        for _ in range(10):
            errors.append(np.abs(model.predict(SALTS) - alone).max())
    finally:
        stop.set()
        thread.join()
    assert set(errors) == {0.0}


def test_unknown_precisions_are_refused() -> None:
    with pytest.raises(ValueError, match="precision"):
        ImplicitKTRegressor(precision="float16").fit(["NaCl", "KCl"], [1.0, 2.0])
