"""CrystaLLM: a language model that writes crystals as CIF files."""

from __future__ import annotations

from .generator import CrystaLLMGenerator
from .model import CrystaLLM, load_crystallm
from .text import CIFRejectedError, crystal_of_text, text_of_crystal
from .trainer import TrainingPlan, train_crystallm

__all__ = [
    "CIFRejectedError",
    "CrystaLLM",
    "CrystaLLMGenerator",
    "TrainingPlan",
    "crystal_of_text",
    "load_crystallm",
    "text_of_crystal",
    "train_crystallm",
]
