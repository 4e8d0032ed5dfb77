"""Matrix products in bfloat16, where that is faster: on a GPU, and on processors made for it.

Weights, sums and everything but products stay in float32.

References
----------
D. Kalamkar et al., "A study of BFLOAT16 for deep learning training", arXiv:1905.12322 (2019).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils import skip_init
from torch.overrides import TorchFunctionMode

__all__ = ["products_in", "resolve_precision"]

# Multiplications from which on a layer gains: one of fewer takes the time of the calls around it.
_LEAST_WORK = 3_000_000
# A product of training, and how much faster bfloat16 has to be: where a processor has instructions
# for it, it is 2.5 times as fast, and where not it is no faster.
_ROWS, _INPUTS, _OUTPUTS = 384, 256, 1024
_FASTER = 1.4
_REPEATS = 5


class _Product(torch.autograd.Function):
    """A linear layer in float32 whose products, backward too, are of bfloat16."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        half, half_weight = x.bfloat16(), weight.bfloat16()
        ctx.save_for_backward(half, half_weight)
        out = F.linear(half, half_weight).float()
        return out if bias is None else out + bias

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        half = gradient.bfloat16()
        of_x, of_weight, of_bias = ctx.needs_input_grad
        rows = half.flatten(0, -2)
        return (
            (half @ weight).float() if of_x else None,
            (rows.t() @ x.flatten(0, -2)).float() if of_weight else None,
            gradient.flatten(0, -2).sum(dim=0) if of_bias else None,
        )


class _Products(TorchFunctionMode):
    """Linear layers by :class:`_Product`, in this thread alone."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is F.linear:
            return _linear(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _linear(
    input: torch.Tensor,  # noqa: A002
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
) -> torch.Tensor:
    matrices = input.ndim > 1 and weight.ndim == 2
    pays = matrices and input.numel() * len(weight) >= _LEAST_WORK
    if pays and input.dtype == weight.dtype == torch.float32:
        return _Product.apply(input, weight, bias)
    return F.linear(input, weight, bias)


def products_in(precision: str, device: str) -> AbstractContextManager[Any]:
    """Compute products of linear layers in a precision of :func:`resolve_precision`.

    It holds for this thread alone: others may predict in float32 meanwhile. On a CPU, products
    of :func:`torch.nn.functional.linear` are meant, and what comes of them has one derivative.
    """
    if precision == "float32":
        return nullcontext()
    kind = torch.device(device).type
    # autocast is no faster than float32 on a CPU: it takes too much else into bfloat16
    return _Products() if kind == "cpu" else torch.autocast(kind, torch.bfloat16)


def resolve_precision(precision: str, device: str) -> str:
    """Turn ``"auto"`` into "bfloat16" where that is faster: on CUDA, and where it is measured."""
    if precision != "auto":
        return precision
    kind = torch.device(device).type
    faster = _faster_here() if kind == "cpu" else kind == "cuda"
    return "bfloat16" if faster else "float32"


@lru_cache(maxsize=1)
def _faster_here() -> bool:
    """Measure a layer, forward and backward: the fastest of a few runs, whatever else runs."""
    # a fit may be called where gradients are off
    with torch.inference_mode(False), torch.enable_grad():
        seconds = {precision: _measured(precision) for precision in ("float32", "bfloat16")}
    return seconds["float32"] > _FASTER * seconds["bfloat16"]


def _measured(precision: str) -> float:
    """Seconds of the fastest run."""
    from .training import one_thread

    layer = skip_init(nn.Linear, _INPUTS, _OUTPUTS)
    nn.init.ones_(layer.weight)
    x = torch.ones(_ROWS, _INPUTS, requires_grad=True)
    runs = []
    with one_thread(layer), products_in(precision, "cpu"):
        for _ in range(_REPEATS):
            start = time.perf_counter()
            layer(x).sum().backward()
            runs.append(time.perf_counter() - start)
    return min(runs)
