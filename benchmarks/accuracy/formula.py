"""A language model that reads the formula as a string, pretrained like our encoder.

The paper's encoder is a masked language model of formulas; ours reads a set of elements with
amounts. For the ablation, BERT reads the tokens of ``CompositionTokenizer("formula")`` (elements,
digits, the decimal point) in written order and is pretrained on the same corpus with the same
objectives; only masking differs, since digits are tokens here. Sizes and all other choices are
ours: the paper's are not known to us.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import torch
from tokenizers import models, pre_tokenizers
from torch import nn
from torch.nn import functional as F  # noqa: N812
from transformers import BertConfig, PreTrainedTokenizerFast

from sklearn_kt import CompositionTokenizer
from sklearn_kt._files import new_folder
from sklearn_kt.compositions import ELEMENTS, CompositionBatch, read_compositions
from sklearn_kt.encoder.modeling import TextEncoder
from sklearn_kt.pretraining.objectives import PretrainingModel, PretrainingRun
from sklearn_kt.pretraining.pretrainer import CrossModalPretrainer
from sklearn_kt.tokenizer import (
    CLS_ID,
    MASK_ID,
    PAD_ID,
    SEP_ID,
    UNK_ID,
    VOCABULARY,
    composition_text,
)

__all__ = ["FormulaPretrainer", "formula_tokenizer"]

# tokens of the longest formula that is read
_LONGEST = 256


class _FormulaEncoder(nn.Module):
    """BERT on tokens, and heads that read properties from its pooled states."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        sizes = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
        self.text = TextEncoder(
            BertConfig(
                vocab_size=len(VOCABULARY),
                max_position_embeddings=_LONGEST,
                pad_token_id=PAD_ID,
                **{size: config[size] for size in sizes},
            )
        )
        self.output_size = self.text.output_size
        # as the encoder of elements says it
        self.config = SimpleNamespace(
            hidden_size=config["hidden_size"], properties=config.get("properties", [])
        )
        if self.config.properties:
            self.trunk = nn.Sequential(
                nn.Linear(self.output_size, config["hidden_size"]), nn.GELU(), nn.Dropout(0.1)
            )
            self.heads = nn.Linear(config["hidden_size"], len(self.config.properties))

    def properties(self, pooled: torch.Tensor) -> torch.Tensor:
        """Standardised properties, logits where they are yes or no."""
        return self.heads(self.trunk(pooled))


class _FormulaModel(PretrainingModel):
    """The encoder, and one head per objective."""

    def __init__(self, spec: dict[str, Any], teachers: Mapping[str, int]) -> None:
        super().__init__(spec, teachers)
        self.encoder = _FormulaEncoder(spec["config"])
        self.elements = nn.Linear(self.encoder.config.hidden_size, len(VOCABULARY))
        del self.amounts

    def inputs(self, batch: CompositionBatch) -> list[np.ndarray]:
        """Tokens of each formula, as long as the longest."""
        ids = CompositionTokenizer("formula", max_length=_LONGEST).fit_transform(batch)
        return [ids[:, : int((ids != PAD_ID).sum(axis=1).max())]]

    def forward(self, input_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Token states and pooled embedding."""
        mask = (input_ids != PAD_ID).long()
        states = self.encoder.text.model(input_ids=input_ids, attention_mask=mask)[0]
        return states, self.encoder.text.pool(states, mask)


class _FormulaRun(PretrainingRun):
    """Masked tokens in place of masked elements and amounts."""

    def _build(self, teachers: Mapping[str, int]) -> PretrainingModel:
        return _FormulaModel(self.spec, teachers)

    def _fill_in(
        self, inputs: Sequence[torch.Tensor], chosen: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        (ids,) = inputs
        tokens = (ids != PAD_ID) & (ids != CLS_ID) & (ids != SEP_ID)
        hidden = self._hide(tokens, chosen)
        with self._precision():
            states, pooled = self.model(ids.masked_fill(hidden, MASK_ID))
            logits = self.model.elements(states[hidden]).float()
            return pooled, F.cross_entropy(logits, ids[hidden])


class FormulaPretrainer(CrossModalPretrainer):
    """Pretrain BERT on formulas; `save` writes what ``backbone=`` of the estimators reads."""

    _run: ClassVar = _FormulaRun

    def save(self, folder: str | Path, card: str) -> Path:
        """Write weights and tokenizer as transformers does, and the card."""
        folder = Path(folder)
        with new_folder(folder) as staging:
            self.model_.encoder.text.model.save_pretrained(staging)
            formula_tokenizer().save_pretrained(staging)
            (staging / "README.md").write_text(card, encoding="utf-8")
        return folder


def formula_tokenizer() -> PreTrainedTokenizerFast:
    """Make the tokenizer that gives the names of elements the ids of their symbols.

    Estimators hand element names to text encoders, which any tokenizer keeps apart.
    """
    tokenizer = CompositionTokenizer("formula", max_length=_LONGEST).to_pretrained_tokenizer()
    names = composition_text(read_compositions(list(ELEMENTS)))
    words = dict(zip(ELEMENTS, names, strict=True))
    vocabulary = {words.get(token, token): i for i, token in enumerate(VOCABULARY)}
    backend = tokenizer.backend_tokenizer
    backend.model = models.WordLevel(vocabulary, unk_token=VOCABULARY[UNK_ID])
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Digits(individual_digits=True)]
    )
    return tokenizer
