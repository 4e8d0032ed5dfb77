"""Backbones of the implicit estimators and the one gate for their weights."""

from __future__ import annotations

from .encoder import Encoder
from .weights import (
    PRESETS,
    held_out_scores,
    list_checkpoints,
    load_checkpoint,
    save_checkpoint,
)

__all__ = [
    "PRESETS",
    "Encoder",
    "held_out_scores",
    "list_checkpoints",
    "load_checkpoint",
    "save_checkpoint",
]
