"""Backbones of the implicit estimators and the one gate for their weights."""

from __future__ import annotations

from .weights import (
    PRESETS,
    list_checkpoints,
    load_backbone,
    load_checkpoint,
    save_checkpoint,
    without_heads,
)

__all__ = [
    "PRESETS",
    "list_checkpoints",
    "load_backbone",
    "load_checkpoint",
    "save_checkpoint",
    "without_heads",
]
