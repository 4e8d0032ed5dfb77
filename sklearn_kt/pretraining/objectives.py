"""One pretraining: the model, its objectives, its batches and its scores.

This module imports torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from sklearn_kt._settings import own_settings
from sklearn_kt.compositions import ELEMENTS, CompositionBatch
from sklearn_kt.encoder.encoder import element_inputs
from sklearn_kt.encoder.modeling import CompositionEncoder, CompositionEncoderConfig
from sklearn_kt.encoder.precision import products_in, resolve_precision
from sklearn_kt.encoder.resumable import ResumableRun, adamw
from sklearn_kt.encoder.training import resolve_device
from sklearn_kt.encoder.weights import load_checkpoint
from sklearn_kt.exceptions import InputError
from sklearn_kt.randomness import seed_torch, torch_generator_kept
from sklearn_kt.tokenizer import CLS_ID, MASK_ID

from .corpus import Corpus
from .parallel import Workers

__all__ = ["PretrainingModel", "PretrainingRun", "evaluate"]

# Batches sorted by length at a time, as in sklearn_kt.encoder.training.
_BUCKET_BATCHES = 16
# Standardised targets beyond this count linearly.
_SMOOTH_L1_BETA = 0.5
_AMOUNT_BETA = 0.05
# Columns with fewer values than this get no more weight per value.
_SMALLEST_COLUMN = 2000
_EMBEDDING_BATCH = 1024
# First learned temperature of InfoNCE, as in CLIP.
_TEMPERATURE = 0.07


class PretrainingModel(nn.Module):
    """Encoder and one head per objective."""

    def __init__(self, spec: dict[str, Any], teachers: Mapping[str, int]) -> None:
        super().__init__()
        encoder = CompositionEncoder(CompositionEncoderConfig(**spec["config"]))
        self.encoder = encoder
        width, hidden = encoder.output_size, encoder.config.hidden_size
        self.elements = nn.Linear(hidden, len(ELEMENTS))
        self.amounts = nn.Linear(hidden, 1)
        self.teachers = nn.ModuleDict(
            {
                name: nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, dims))
                for name, dims in teachers.items()
            }
        )
        self.log_scales = nn.ParameterDict(
            {name: nn.Parameter(torch.tensor(-math.log(_TEMPERATURE))) for name in teachers}
        )

    def inputs(self, batch: CompositionBatch) -> Iterable[np.ndarray]:
        """Make what `forward` takes, of compositions."""
        return element_inputs(batch).values()

    def forward(
        self, input_ids: torch.Tensor, fractions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Token states and pooled embedding."""
        states = self.encoder.encode(input_ids, fractions)
        return states, self.encoder.pool(states, input_ids, fractions)


class PretrainingRun(ResumableRun):
    """One `fit` of a pretrainer: its batches and objectives."""

    model: PretrainingModel

    def __init__(
        self,
        params: Any,
        corpus: Corpus,
        spec: dict[str, Any],
        tables: dict[str, tuple[np.ndarray, np.ndarray]],
        held_out: np.ndarray,
        signature: str,
    ) -> None:
        self.params, self.corpus, self.spec, self.tables = params, corpus, spec, tables
        self.workers = Workers(resolve_device(params.device))
        device = self.workers.device
        self.precision = resolve_precision(params.precision, device)
        self.held_out = held_out
        if held_out.all():
            raise InputError("every composition is held out; lower validation_fraction.")
        self.unlabelled = self._unlabelled()
        self.chance = self._chances() * ~held_out
        self.column_weights = self._column_weights()
        self.binary = np.array([p.transform == "binary" for p in corpus.properties], bool)
        with torch_generator_kept():
            seed_torch(params.random_state)
            dims = {name: table[1].shape[1] for name, table in tables.items()}
            model = self._build(dims).to(device)
        optimizer = adamw(
            model,
            weight_decay=params.weight_decay,
            lr=params.learning_rate,
            betas=(0.9, 0.98),
            fused=True,
        )
        super().__init__(
            model,
            optimizer,
            signature=signature,
            folder=None if params.checkpoint_dir is None else Path(params.checkpoint_dir),
            max_steps=params.max_steps,
            save_every=params.checkpoint_every,
            averaging=params.averaging,
        )

    def _build(self, teachers: Mapping[str, int]) -> PretrainingModel:
        """Make the model, with heads of so many numbers for each teacher."""
        model = PretrainingModel(self.spec, teachers)
        if self.params.initial is not None:
            _take_over(model.encoder, *load_checkpoint(self.params.initial))
        return model

    def _progress(self) -> float:
        done = super()._progress()
        if self.params.max_seconds is not None:
            done = max(done, self.workers.agree(self.seconds()) / self.params.max_seconds)
        return min(done, 1.0)

    def _rate(self, progress: float) -> float:
        warmup = self.params.warmup
        rate = (
            progress / warmup + 1 / self.max_steps
            if progress < warmup
            else 0.5 * (1 + math.cos(math.pi * (progress - warmup) / max(1 - warmup, 1e-9)))
        )
        return self.params.learning_rate * min(rate, 1.0)

    def _seed(self) -> int:
        parts = (self.params.random_state, self.step, self.workers.rank)
        return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)

    def _backward(self, loss: torch.Tensor) -> None:
        super()._backward(loss)
        self.workers.average_gradients(self.model.parameters())

    def _scores(self) -> dict[str, float]:
        teachers = list(self.tables)
        return evaluate(self.model, self.corpus, self.held_out, teachers, self.device)

    def _unlabelled(self) -> np.ndarray:
        """Rows of which no value and no embedding is known."""
        parts = range(0, len(self.corpus), 1 << 20)
        targets = self.corpus.targets
        known = [np.isfinite(targets[start : start + (1 << 20)]).any(axis=1) for start in parts]
        return ~np.logical_or.reduce(
            [np.concatenate(known), *(index >= 0 for index, _ in self.tables.values())]
        )

    def _chances(self) -> np.ndarray:
        params, hull = self.params, np.asarray(self.corpus.e_hull)
        chance = np.ones(len(hull))
        if params.stability_temperature is not None:
            # float64: a corpus of unstable compounds must not round to no rows
            stable = np.exp(-np.maximum(hull.astype(float), 0) / params.stability_temperature)
            chance = np.where(np.isnan(hull), params.unknown_stability, stable)
        # as often masked as any other row, and no visit in vain
        return np.where(self.unlabelled, chance * params.masked_fraction, chance)

    def _column_weights(self) -> np.ndarray:
        counts = np.zeros(len(self.corpus.properties))
        for start in range(0, len(self.corpus), 1 << 20):
            counts += np.isfinite(self.corpus.targets[start : start + (1 << 20)]).sum(axis=0)
        used = counts > 0
        raw = np.maximum(counts, _SMALLEST_COLUMN) ** (self.params.property_balance - 1.0)
        raw[~used] = 0.0
        # so that the expected loss of a row is a weighted mean over the values
        norm = float((raw * counts).sum()) / len(self.corpus)
        return raw / norm if norm else raw

    def _batches(self, epoch: int) -> list[np.ndarray]:
        generator = np.random.default_rng([self.params.random_state, epoch])
        chosen = np.flatnonzero(generator.random(len(self.chance)) < self.chance)
        if not len(chosen):
            # a corpus of few, very unstable rows
            chosen = np.array([int(np.argmax(self.chance))])
        generator.shuffle(chosen)
        size = self.params.batch_size
        lengths = self.corpus.n_elements
        step = size * _BUCKET_BATCHES
        buckets = [chosen[i : i + step] for i in range(0, len(chosen), step)]
        order = np.concatenate([b[np.argsort(lengths[b], kind="stable")] for b in buckets])
        starts = np.arange(0, len(order), size)
        generator.shuffle(starts)
        return [order[start : start + size] for start in starts]

    def _losses(self, rows: np.ndarray) -> dict[str, torch.Tensor]:
        params, rows = self.params, self.workers.share(rows)
        inputs = _inputs(self.model, self.corpus, rows, self.device)
        chosen = torch.rand(len(rows), device=self.device) < params.masked_fraction
        chosen |= torch.from_numpy(self.unlabelled[rows]).to(self.device)
        losses = {}
        pooled, masked = self._fill_in(inputs, chosen)
        with self._precision():
            whole = ~chosen
            at = whole.nonzero().squeeze(1)
            if params.masked_weight and chosen.any():
                losses["masked"] = params.masked_weight * masked
            if params.property_weight and self.corpus.properties and len(at):
                losses["property"] = params.property_weight * self._property_loss(
                    pooled[at], rows[at.cpu().numpy()]
                )
            for name, weight in (params.teachers or {}).items():
                loss = self._alignment_loss(name, pooled, rows, whole)
                if loss is not None and weight:
                    losses[name] = weight * loss
        return losses

    def _precision(self) -> AbstractContextManager[Any]:
        return products_in(self.precision, self.device)

    def _hide(self, tokens: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Choose a share of the tokens of some rows, and at least one of each."""
        scores = torch.rand(tokens.shape, device=self.device).masked_fill(~tokens, 2.0)
        hidden = (scores < self.params.mask_rate) | (scores == scores.amin(dim=1, keepdim=True))
        return hidden & tokens & rows[:, None]

    def _fill_in(
        self, inputs: Sequence[torch.Tensor], chosen: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Read a batch of which the chosen rows are masked: pooled states, and the loss of these.

        The loss is NaN if no row is chosen.
        """
        ids, fractions = inputs
        elements = ids > CLS_ID
        hidden = self._hide(elements, chosen)
        amount = torch.rand(ids.shape, device=self.device) < self.params.mask_rate
        amount = amount & elements & chosen[:, None]
        with self._precision():
            states, pooled = self.model(
                ids.masked_fill(hidden, MASK_ID), fractions.masked_fill(amount, -1.0)
            )
            logits = self.model.elements(states[hidden]).float()
            loss = F.cross_entropy(logits, ids[hidden] - MASK_ID - 1)
            if amount.any():
                guessed = self.model.amounts(states[amount]).squeeze(-1).float()
                loss = loss + F.smooth_l1_loss(guessed, fractions[amount], beta=_AMOUNT_BETA)
        return pooled, loss

    def _property_loss(self, pooled: torch.Tensor, rows: np.ndarray) -> torch.Tensor:
        guessed = self.model.encoder.properties(pooled).float()
        targets = torch.from_numpy(np.asarray(self.corpus.targets[rows])).to(self.device)
        known = torch.isfinite(targets)
        targets = torch.where(known, targets, 0.0)
        binary = torch.from_numpy(self.binary).to(self.device)
        loss = torch.where(
            binary,
            F.binary_cross_entropy_with_logits(guessed, targets, reduction="none")
            if self.binary.any()
            else torch.zeros_like(guessed),
            F.smooth_l1_loss(guessed, targets, reduction="none", beta=_SMOOTH_L1_BETA),
        )
        weights = torch.from_numpy(self.column_weights).float().to(self.device)
        return (loss * known * weights).sum() / len(rows)

    def _alignment_loss(
        self, name: str, pooled: torch.Tensor, rows: np.ndarray, whole: torch.Tensor
    ) -> torch.Tensor | None:
        index, embeddings = self.tables[name]
        place = np.asarray(index[rows])
        usable = (place >= 0) & whole.cpu().numpy()
        if not usable.any():
            return None
        target = torch.from_numpy(np.asarray(embeddings[place[usable]])).to(self.device)
        chosen = torch.from_numpy(usable).to(self.device)
        guessed = self.model.teachers[name](pooled[chosen]).float()
        kind = self.params.alignment
        kind = kind.get(name, "mse") if isinstance(kind, dict) else kind
        if kind == "mse":
            loss = F.mse_loss(guessed, target)
        elif kind == "cosine":
            loss = (1 - F.cosine_similarity(guessed, target)).mean()
        else:
            scale = self.model.log_scales[name].exp().clamp(max=100.0)
            logits = scale * F.normalize(guessed) @ F.normalize(target).T
            labels = torch.arange(len(target), device=self.device)
            loss = (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2
        # rows without an embedding count as zero, so that few pairs do not outweigh the batch
        return loss * len(target) / len(rows)


@torch.no_grad()
def _take_over(
    encoder: CompositionEncoder, spec: dict[str, Any], weights: dict[str, torch.Tensor]
) -> None:
    """Copy what another encoder knows: see `initial`."""
    config, source = encoder.config, CompositionEncoderConfig(**spec["config"])
    sizes = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    for size in sizes:
        if getattr(config, size) != getattr(source, size):
            raise InputError(
                f"the initial checkpoint has {size} {getattr(source, size)}, the encoder "
                f"{getattr(config, size)}; they must be the same."
            )
    state = encoder.state_dict()
    own = {name: state[name] for name in weights if name.startswith("blocks.")}
    for name in ("tokens.weight", "norm.weight", "norm.bias", "amounts.masked"):
        own[name] = state[name]
    for name in ("amounts.project.bias", "trunk.0.weight", "trunk.0.bias"):
        if name in state and name in weights:
            own[name] = state[name]
    for name, tensor in own.items():
        tensor.copy_(weights[name])
    amounts = state["amounts.project.weight"].zero_()
    columns = _amount_columns(source)
    for at, column in enumerate(_amount_columns(config)):
        if column in columns:
            amounts[:, at] = weights["amounts.project.weight"][:, columns.index(column)]
    known = {entry["name"]: (row, entry) for row, entry in enumerate(source.properties)}
    for at, entry in enumerate(config.properties):
        if entry["name"] in known:
            row, old = known[entry["name"]]
            # the same values in other standard units
            ratio = old["scale"] / entry["scale"]
            shift = (old["center"] - entry["center"]) / entry["scale"]
            state["heads.weight"][at] = weights["heads.weight"][row] * ratio
            state["heads.bias"][at] = weights["heads.bias"][row] * ratio + shift


def _amount_columns(config: CompositionEncoderConfig) -> list[tuple[str, ...]]:
    """Name the inputs of an encoder's amount features."""
    octaves = [("linear", str(k)) for k in range(config.n_frequencies)]
    octaves += [("log", str(k)) for k in range(config.n_log_frequencies)]
    waves = [(wave, *octave) for wave in ("sin", "cos") for octave in octaves]
    return [("x",), ("log",), *waves]


def _inputs(
    model: PretrainingModel, corpus: Corpus, rows: np.ndarray, device: str
) -> list[torch.Tensor]:
    arrays = model.inputs(corpus.compositions(rows))
    return [torch.from_numpy(array).to(device) for array in arrays]


@own_settings()
@torch.no_grad()
def evaluate(
    model: PretrainingModel,
    corpus: Corpus,
    held_out: np.ndarray,
    teachers: list[str],
    device: str,
) -> dict[str, float]:
    """Score a model on some rows: `CrossModalPretrainer.evaluate` says how.

    Parameters
    ----------
    model : PretrainingModel
        On `device`.
    corpus : Corpus
        With the properties of the model.
    held_out : ndarray of bool
        Rows to score.
    teachers : list of str
        Those to score the alignment to.
    device : str
        Where to compute.

    Returns
    -------
    scores : dict of str to float
        By name.
    """
    from sklearn.metrics import roc_auc_score

    rows = np.flatnonzero(held_out)
    if not len(rows):
        return {}
    rows = rows[np.argsort(corpus.n_elements[rows], kind="stable")]
    model.eval()
    pooled = []
    for start in range(0, len(rows), _EMBEDDING_BATCH):
        part = rows[start : start + _EMBEDDING_BATCH]
        pooled.append(model(*_inputs(model, corpus, part, device))[1])
    embedded = torch.cat(pooled)
    scores: dict[str, float] = {}
    properties = list(enumerate(corpus.properties)) if model.encoder.config.properties else []
    if properties:
        guessed = model.encoder.properties(embedded).cpu().numpy()
        targets = np.asarray(corpus.targets[rows])
    for column, prop in properties:
        known = np.isfinite(targets[:, column])
        if not known.any():
            continue
        truth, guess = targets[known, column], guessed[known, column]
        if prop.transform != "binary":
            mae = float(np.abs(truth - guess).mean() * corpus.scales[column])
            scores[f"mae_{prop.name}"] = mae
        elif len(np.unique(truth > 0.5)) == 2:
            scores[f"auc_{prop.name}"] = float(roc_auc_score(truth > 0.5, guess))
    for name in teachers:
        index, embeddings = corpus.teacher(name)
        place = np.asarray(index[rows])
        usable = place >= 0
        if usable.any():
            target = torch.from_numpy(np.asarray(embeddings[place[usable]])).to(device)
            aligned = model.teachers[name](embedded[torch.from_numpy(usable).to(device)])
            scores[f"cosine_{name}"] = float(F.cosine_similarity(aligned, target).mean())
    return scores
