"""What :func:`sklearn_kt.export.export_onnx` traces: fitted networks, from tokens to answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

__all__ = ["Classifier", "Embedder", "Regressor"]


class Embedder(nn.Module):
    """Frozen encoder, its outputs apart."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids: torch.Tensor, fractions: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Embedding, and properties if there are any."""
        out = self.encoder(input_ids=input_ids, fractions=fractions)
        width = self.encoder.embedding_size
        return (out[:, :width], out[:, width:]) if self.encoder.property_names else (out,)


class Regressor(nn.Module):
    """Ensemble, in the units of the targets."""

    center: torch.Tensor
    scale: torch.Tensor

    def __init__(self, nets: list[nn.Module], mean: bool, scaler: Any) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)
        self.mean = mean
        self.register_buffer("center", torch.tensor(scaler.mean_, dtype=torch.float32))
        self.register_buffer("scale", torch.tensor(scaler.scale_, dtype=torch.float32))

    def forward(self, input_ids: torch.Tensor, fractions: torch.Tensor) -> torch.Tensor:
        """Prediction, (n, n_outputs)."""
        members = [net(input_ids=input_ids, fractions=fractions) for net in self.nets]
        if len(members) == 1 or self.mean:
            out = torch.stack(members).mean(dim=0)
        else:
            ranked = torch.stack(members).sort(dim=0).values
            out = ranked[(len(members) - 1) // 2 : len(members) // 2 + 1].mean(dim=0)
        return out * self.scale + self.center


class Classifier(nn.Module):
    """Ensemble of calibrated probabilities, weighted by class."""

    weights: torch.Tensor

    def __init__(self, nets: list[nn.Module], temperature: float, weights: np.ndarray) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)
        self.temperature = temperature
        # the smallest share of float64 is none in float32
        least = torch.finfo(torch.float32).tiny
        shares = torch.tensor(weights, dtype=torch.float32)
        self.register_buffer("weights", shares.clamp(min=least))

    def forward(self, input_ids: torch.Tensor, fractions: torch.Tensor) -> torch.Tensor:
        """Probabilities, (n, n_classes)."""
        members = [net(input_ids=input_ids, fractions=fractions) for net in self.nets]
        scaled = (torch.stack(members) / self.temperature).softmax(dim=-1).mean(dim=0)
        weighted = scaled * self.weights
        return weighted / weighted.sum(dim=1, keepdim=True)
