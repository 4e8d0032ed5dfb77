"""Products in bfloat16: near those in float32, for one thread, and where they are faster."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from sklearn_kt import ImplicitKTRegressor
from sklearn_kt.encoder import precision
from sklearn_kt.encoder.precision import products_in, resolve_precision

# so many rows, inputs and outputs are worth it
ROWS, WIDE = 64, 256


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
    assert len(pass_through(plain, "bfloat16", ROWS, WIDE)) == 3
    layer.requires_grad_(False)
    assert len(pass_through(layer, "bfloat16", ROWS, WIDE)) == 2


def test_small_products_and_other_types_are_left_alone() -> None:
    for layer, x in (
        (nn.Linear(WIDE, 3), numbers(ROWS, WIDE)),
        (nn.Linear(3, WIDE), numbers(ROWS, 3)),
        (nn.Linear(WIDE, WIDE), numbers(2, WIDE)),
        (nn.Linear(WIDE, WIDE).double(), numbers(ROWS, WIDE).double()),
    ):
        with products_in("bfloat16", "cpu"):
            out = layer(x)
        assert torch.equal(out, layer(x))
        assert out.dtype == x.dtype


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
    # not measured: what has been tried on no such device is not chosen for it
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


def test_measuring_leaves_the_global_state_alone(untouched_globals: None) -> None:
    threads = torch.get_num_threads()
    assert precision._faster_here.__wrapped__() in (True, False)
    assert torch.get_num_threads() == threads


@pytest.fixture(scope="module")
def fitted() -> dict[str, ImplicitKTRegressor]:
    X = ["NaCl", "KCl", "MgO", "CaO", "SrO", "LiF", "NaF", "KBr", "RbI", "GaAs", "ZnSe", "CdTe"]
    y = np.arange(12.0)
    return {
        name: ImplicitKTRegressor(
            readout="head", n_estimators=1, max_epochs=2, precision=chosen, random_state=0
        ).fit(X, y)
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
    assert answers[0] == pytest.approx(answers[1], abs=0.5)


def test_unknown_precisions_are_refused() -> None:
    with pytest.raises(ValueError, match="precision"):
        ImplicitKTRegressor(precision="float16").fit(["NaCl", "KCl"], [1.0, 2.0])
