"""Steps of the training on texts: batches, loss and rate. This module imports torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sklearn_kt.encoder.resumable import ResumableRun, adamw

if TYPE_CHECKING:
    from .trainer import TrainingPlan

__all__ = ["TextRun", "batches_of", "text_loss"]

# Texts are sorted by length within so many batches.
_SORTED_BATCHES = 40
_NO_LABEL = -100


class TextRun(ResumableRun):
    """One training on the tokens of texts, of which some are only for validation."""

    def __init__(
        self,
        tokens: Mapping[str, list[np.ndarray]],
        source: str,
        folder: Path,
        plan: TrainingPlan,
        device: str,
    ) -> None:
        self.plan, self.texts, self.held_out = plan, tokens["train"], tokens["validation"]
        network = plan.untrained().network.to(device)
        super().__init__(
            network,
            adamw(
                network,
                weight_decay=plan.weight_decay,
                lr=plan.learning_rate,
                betas=(0.9, 0.99),
            ),
            signature=source,
            folder=folder,
            max_steps=plan.steps,
            save_every=plan.save_every,
            averaging=plan.average,
        )

    def _batches(self, epoch: int) -> list[np.ndarray]:
        rng = np.random.default_rng([self.plan.seed, epoch])
        return batches_of(_lengths(self.texts), self.plan, rng)

    def _losses(self, rows: np.ndarray) -> dict[str, torch.Tensor]:
        texts = [self.texts[i] for i in rows]
        return {"train": text_loss(self.model, texts, self.plan, self.device)}

    def _rate(self, progress: float) -> float:
        plan = self.plan
        if self.step < plan.warmup:
            return plan.learning_rate * ((self.step + 1) / plan.warmup)
        share = (self.step - plan.warmup) / max(plan.steps - plan.warmup, 1)
        return plan.learning_rate * (0.01 + 0.495 * (1 + math.cos(math.pi * share)))

    def _seed(self) -> int:
        return self.plan.seed * 1_000_003 + self.step

    def _scores(self) -> dict[str, float]:
        lengths = _lengths(self.held_out)
        total = 0.0
        for rows in batches_of(lengths, self.plan, np.random.default_rng(0)):
            texts = [self.held_out[i] for i in rows]
            loss = text_loss(self.model, texts, self.plan, self.device)
            total += float(loss) * int((lengths[rows] - 1).sum())
        valid = total / max(int((lengths - 1).sum()), 1)
        return {"epochs": self.epochs(), "texts": len(self.texts), "valid": valid}


def _lengths(texts: Sequence[np.ndarray]) -> np.ndarray:
    return np.array([len(text) for text in texts])


def batches_of(
    lengths: np.ndarray, plan: TrainingPlan, rng: np.random.Generator
) -> list[np.ndarray]:
    """Texts of one epoch, those of like lengths together."""
    order = rng.permutation(len(lengths))
    per_batch = max(1, int(plan.batch_tokens / lengths.mean()))
    batches = []
    for start in range(0, len(order), _SORTED_BATCHES * per_batch):
        chunk = order[start : start + _SORTED_BATCHES * per_batch]
        chunk = chunk[np.argsort(lengths[chunk], kind="stable")]
        begin = 0
        for end in range(1, len(chunk) + 1):
            full = end < len(chunk) and (end + 1 - begin) * lengths[chunk[end]] > plan.batch_tokens
            if full or end == len(chunk):
                batches.append(chunk[begin:end])
                begin = end
    return [batches[i] for i in rng.permutation(len(batches))]


def text_loss(network: Any, texts: Sequence[np.ndarray], plan: TrainingPlan, device: str) -> Any:
    """Mean loss per token."""
    width = max(map(len, texts))
    ids = np.zeros((len(texts), width), np.int64)
    labels = np.full_like(ids, _NO_LABEL)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = labels[row, : len(text)] = text
    # texts begin at the left and attention looks back only: padding needs no mask
    with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=plan.bf16):
        logits = network(input_ids=torch.from_numpy(ids[:, :-1]).to(device)).logits
    targets = torch.from_numpy(labels[:, 1:]).to(device)
    return torch.nn.functional.cross_entropy(
        logits.float().flatten(0, 1), targets.flatten(), ignore_index=_NO_LABEL
    )
