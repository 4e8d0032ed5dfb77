"""Cross-modal pretraining of the composition encoder.

One model, three objectives at once: hidden elements and amounts are filled in,
computed properties are predicted, and pooled states are aligned to the embeddings of
teachers that see the crystal. This module imports torch.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from numbers import Integral, Real
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted
from torch import nn
from torch.nn import functional as F  # noqa: N812

from sklearn_kt._files import replacing
from sklearn_kt._settings import own_settings
from sklearn_kt.compositions import ELEMENTS
from sklearn_kt.encoder.modeling import CompositionEncoder, CompositionEncoderConfig
from sklearn_kt.encoder.training import resolve_device
from sklearn_kt.encoder.weights import PRESETS, load_checkpoint, save_checkpoint
from sklearn_kt.exceptions import CheckpointError, InputError, TrainingError
from sklearn_kt.fitting import fit_context
from sklearn_kt.randomness import seed_torch, torch_generator_kept
from sklearn_kt.tokenizer import CLS_ID, MASK_ID, token_matrix

from .corpus import Corpus
from .parallel import Workers

__all__ = ["CrossModalPretrainer"]

_STATE = "state.pt"
_STATE_VERSION = 2
_ALIGNMENTS = ("mse", "cosine", "infonce")
# Batches sorted by length at a time, as in sklearn_kt.encoder.training.
_BUCKET_BATCHES = 16
_GRADIENT_NORM = 1.0
# Standardised targets beyond this count linearly.
_SMOOTH_L1_BETA = 0.5
_AMOUNT_BETA = 0.05
# Columns with fewer values than this get no more weight per value.
_SMALLEST_COLUMN = 2000
_EMBEDDING_BATCH = 1024
# First learned temperature of InfoNCE, as in CLIP.
_TEMPERATURE = 0.07


class _PretrainingModel(nn.Module):
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

    def forward(
        self, input_ids: torch.Tensor, fractions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Token states and pooled embedding."""
        states = self.encoder.encode(input_ids, fractions)
        return states, self.encoder.pool(states, input_ids, fractions)


class CrossModalPretrainer(BaseEstimator):
    """Pretrain a composition encoder on masked formulas, properties and teachers.

    Parameters
    ----------
    encoder : str or dict, default="base"
        A name of :data:`sklearn_kt.encoder.PRESETS`, or the sizes of a
        ``CompositionEncoderConfig``.
    initial : str, Path or None, default=None
        Checkpoint whose weights the run begins with: blocks, the amount features both have, and
        the heads of properties of the same name. `encoder` must have its width and depth. Rows
        that it was trained on are held out only if it held out the same (`validation_fraction`).
    property_weight : float, default=1.0
        Weight of the property heads' loss.
    property_balance : float, default=0.5
        A property with N known values contributes in proportion to ``N ** property_balance``:
        1 counts every value the same, 0 every property.
    masked_weight : float, default=0.5
        Weight of masked modelling.
    masked_fraction : float, default=0.15
        Probability that a row is masked, and not for properties and teachers. A row of which
        nothing is known is visited as much more rarely, and then masked.
    mask_rate : float, default=0.3
        Share of a masked row's elements, and of its amounts, that are hidden; at least one
        element.
    teachers : dict of str to float or None, default=None
        Teacher name (an embedding table of the corpus) to weight.
    alignment : {"mse", "cosine", "infonce"} or dict, default="mse"
        How projections are aligned to embeddings; a dict gives it per teacher.
    stability_temperature : float or None, default=0.25
        Each epoch visits a row with probability ``exp(-e_hull / temperature)`` (eV/atom), so
        that stable compounds are seen more often; None visits every row.
    unknown_stability : float, default=0.4
        That probability for rows whose energy above the hull is unknown.
    batch_size : int, default=512
        Compositions per step.
    max_steps : int, default=10000
        Optimiser steps.
    max_seconds : float or None, default=None
        End the schedule by this wall clock if that comes first. The learning rate then
        follows the clock, and two runs differ.
    learning_rate : float, default=1e-3
        Peak of AdamW's learning rate; it rises linearly and falls to zero as a cosine.
    warmup : float, default=0.05
        Share of the run in which it rises.
    weight_decay : float, default=0.05
        Of AdamW.
    averaging : float, default=0.999
        Decay of the running mean of the weights, which is what is evaluated and saved.
    validation_fraction : float, default=0.02
        Share of compositions held out, chosen by key: the same in every run and corpus.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Of matrix products; "auto" is bfloat16 on a GPU, and float32 elsewhere.
    device : str, default="auto"
        "auto", "cpu", "cuda", ...
    checkpoint_dir : str, Path or None, default=None
        Where the run's state is written; `fit` goes on from a state found there.
    checkpoint_every : int, default=500
        Steps between states, and between held-out scores.
    random_state : int, default=0
        Seed of weights, order, masks and dropout.
    verbose : int, default=0
        Show progress on stderr.

    Attributes
    ----------
    spec_ : dict
        Architecture of the encoder (plain data).
    model_ : torch.nn.Module
        Encoder and heads, with averaged weights.
    n_steps_ : int
        Steps done.
    history_ : list of dict
        Per state: step, seconds, losses and held-out scores.

    See Also
    --------
    sklearn_kt.pretraining.build_corpus : Writes what `fit` takes.
    sklearn_kt.ImplicitKTRegressor : Uses what `save` writes, by ``checkpoint=folder``.

    Notes
    -----
    Started by ``accelerate launch``, several processes share every batch and average their
    gradients; InfoNCE then contrasts within each share. A state can be taken up by another
    number of processes.

    The paper biases masked modelling toward thermodynamically stable compounds; how is not known
    to us. Sampling by energy above the hull is our own choice, and so are the masking rates
    and the default alignment.

    References
    ----------
    .. [1] I. Rubtsov et al., "Enhancing composition-based materials property prediction by
       cross-modal knowledge transfer", arXiv:2511.03371 (2025).

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sklearn_kt.pretraining import (
    ...     CorpusTable, CrossModalPretrainer, Property, build_corpus
    ... )
    >>> table = CorpusTable(["NaCl", "KCl", "Si", "GaAs"], {"gap": [5.0, 5.2, 0.6, 0.2]})
    >>> with tempfile.TemporaryDirectory() as home:
    ...     corpus = build_corpus(Path(home) / "corpus", [table], [Property("gap", "eV")])
    ...     pretrainer = CrossModalPretrainer("tiny", max_steps=2, batch_size=2)
    ...     _ = pretrainer.fit(corpus)
    ...     folder = pretrainer.save(Path(home) / "weights", card="Toy.")
    >>> pretrainer.n_steps_
    2
    """

    _parameter_constraints: dict = {  # noqa: RUF012
        "encoder": [StrOptions(set(PRESETS)), dict],
        "initial": [str, Path, None],
        "property_weight": [Interval(Real, 0, None, closed="left")],
        "property_balance": [Interval(Real, 0, 1, closed="both")],
        "masked_weight": [Interval(Real, 0, None, closed="left")],
        "masked_fraction": [Interval(Real, 0, 1, closed="both")],
        "mask_rate": [Interval(Real, 0, 1, closed="both")],
        "teachers": [dict, None],
        "alignment": [StrOptions(set(_ALIGNMENTS)), dict],
        "stability_temperature": [Interval(Real, 0, None, closed="neither"), None],
        "unknown_stability": [Interval(Real, 0, 1, closed="right")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "max_steps": [Interval(Integral, 1, None, closed="left")],
        "max_seconds": [Interval(Real, 0, None, closed="neither"), None],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "warmup": [Interval(Real, 0, 1, closed="both")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "averaging": [Interval(Real, 0, 1, closed="left")],
        "validation_fraction": [Interval(Real, 0, 0.5, closed="both")],
        "precision": [StrOptions({"auto", "float32", "bfloat16"})],
        "device": [str],
        "checkpoint_dir": [str, Path, None],
        "checkpoint_every": [Interval(Integral, 1, None, closed="left")],
        "random_state": [Interval(Integral, 0, None, closed="left")],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        encoder: str | dict[str, Any] = "base",
        *,
        initial: str | Path | None = None,
        property_weight: float = 1.0,
        property_balance: float = 0.5,
        masked_weight: float = 0.5,
        masked_fraction: float = 0.15,
        mask_rate: float = 0.3,
        teachers: dict[str, float] | None = None,
        alignment: str | dict[str, str] = "mse",
        stability_temperature: float | None = 0.25,
        unknown_stability: float = 0.4,
        batch_size: int = 512,
        max_steps: int = 10_000,
        max_seconds: float | None = None,
        learning_rate: float = 1e-3,
        warmup: float = 0.05,
        weight_decay: float = 0.05,
        averaging: float = 0.999,
        validation_fraction: float = 0.02,
        precision: str = "auto",
        device: str = "auto",
        checkpoint_dir: str | Path | None = None,
        checkpoint_every: int = 500,
        random_state: int = 0,
        verbose: int = 0,
    ) -> None:
        self.encoder = encoder
        self.initial = initial
        self.property_weight = property_weight
        self.property_balance = property_balance
        self.masked_weight = masked_weight
        self.masked_fraction = masked_fraction
        self.mask_rate = mask_rate
        self.teachers = teachers
        self.alignment = alignment
        self.stability_temperature = stability_temperature
        self.unknown_stability = unknown_stability
        self.batch_size = batch_size
        self.max_steps = max_steps
        self.max_seconds = max_seconds
        self.learning_rate = learning_rate
        self.warmup = warmup
        self.weight_decay = weight_decay
        self.averaging = averaging
        self.validation_fraction = validation_fraction
        self.precision = precision
        self.device = device
        self.checkpoint_dir = checkpoint_dir
        self.checkpoint_every = checkpoint_every
        self.random_state = random_state
        self.verbose = verbose

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Corpus, y: Any = None) -> CrossModalPretrainer:
        """Pretrain, from the beginning or from the state in `checkpoint_dir`.

        Parameters
        ----------
        X : Corpus
            What to train on.
        y : None
            Ignored.

        Returns
        -------
        self : CrossModalPretrainer
            Pretrained.

        Raises
        ------
        InputError
            If `X` is not a corpus, no objective is left, or `initial` has other sizes.
        DatasetError
            If the corpus lacks a teacher.
        CheckpointError
            If the state in `checkpoint_dir` is damaged or belongs to another run, or there is no
            `initial` checkpoint.
        TrainingError
            If the loss is not finite.
        """
        run = self._start(X)
        if run.step < self.max_steps:
            # Ctrl-C must not leave the global generator seeded
            with torch_generator_kept(run.device):
                self._train(run)
        self._finish(run)
        return self

    def evaluate(self, X: Corpus) -> dict[str, float]:
        """Score the held-out compositions.

        Parameters
        ----------
        X : Corpus
            The corpus of `fit`, or another with the same properties.

        Returns
        -------
        scores : dict of str to float
            ``mae_<property>`` in the property's unit (of its logarithm where it has one),
            ``auc_<property>`` for yes/no properties, ``cosine_<teacher>``.
        """
        check_is_fitted(self)
        held_out = self._held_out(X)
        device = resolve_device(self.device)
        self.model_.to(device)
        try:
            return _evaluate(self.model_, X, held_out, list(self.teachers or ()), device, False)
        finally:
            self.model_.to("cpu")

    def save(self, folder: str | Path, card: str) -> Path:
        """Write the encoder as a checkpoint, float16.

        Parameters
        ----------
        folder : str or Path
            Target; it must not exist, or be an empty folder.
        card : str
            Markdown text that says what the weights were trained on.

        Returns
        -------
        folder : pathlib.Path
            For ``checkpoint=`` of the estimators.
        """
        check_is_fitted(self)
        weights = {k: v.half() for k, v in self.model_.encoder.state_dict().items()}
        return save_checkpoint(self.spec_, weights, folder, card=card)

    def _start(self, corpus: Corpus) -> _Run:
        if not isinstance(corpus, Corpus):
            raise InputError(
                f"fit takes a Corpus, got {type(corpus).__name__}; write one with "
                "sklearn_kt.pretraining.build_corpus, or open a folder with Corpus(folder)."
            )
        teachers = dict(self.teachers or {})
        unknown = {**self.alignment} if isinstance(self.alignment, dict) else {}
        for name, kind in unknown.items():
            if kind not in _ALIGNMENTS or name not in teachers:
                raise InputError(
                    f"alignment {name!r}: {kind!r} needs a teacher of that name and one of "
                    f"{_ALIGNMENTS}."
                )
        tables = {name: corpus.teacher(name) for name in teachers}
        if not (
            (self.masked_weight and self.masked_fraction)
            or (
                self.masked_fraction < 1
                and ((self.property_weight and corpus.properties) or any(teachers.values()))
            )
        ):
            raise InputError(
                "no objective is left: raise masked_weight, property_weight or a teacher's weight."
            )
        sizes = PRESETS[self.encoder] if isinstance(self.encoder, str) else self.encoder
        defaults = CompositionEncoderConfig()
        keys = (
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "intermediate_size",
            "drop_path",
            "n_frequencies",
            "n_log_frequencies",
            "amount_attention",
        )
        wrong = sorted(set(sizes) - set(keys))
        if wrong:
            raise InputError(f"encoder has no size {wrong[0]!r}; sizes are {keys}.")
        config = {key: sizes.get(key, getattr(defaults, key)) for key in keys}
        if self.property_weight and corpus.properties:
            config["properties"] = _describe_properties(corpus)
        return _Run(self, corpus, {"kind": "composition", "config": config}, tables)

    def _held_out(self, corpus: Corpus) -> np.ndarray:
        # keys are hashes: their order is arbitrary, and the same everywhere
        return np.asarray(corpus.keys) < np.uint64(self.validation_fraction * 2.0**64)

    def _train(self, run: _Run) -> None:
        from tqdm import tqdm

        bar = tqdm(
            total=self.max_steps,
            initial=run.step,
            desc="pretraining",
            disable=not self.verbose or not run.workers.is_first,
            file=sys.stderr,
            mininterval=5,
        )
        with bar:
            while run.step < self.max_steps and (progress := run.progress()) < 1:
                run.one_step(progress)
                bar.update(1)
                if run.step % self.checkpoint_every == 0:
                    run.report()
                    bar.set_postfix(loss=f"{run.history[-1]['loss']:.3f}")
                    self._write(run)
        if run.losses:
            run.report()
            self._write(run)

    def _write(self, run: _Run) -> None:
        if self.checkpoint_dir is not None and run.workers.is_first:
            run.write(Path(self.checkpoint_dir))

    def _finish(self, run: _Run) -> None:
        run.model.load_state_dict(run.average)
        self.model_ = run.model.to("cpu").eval()
        self.spec_ = run.spec
        self.n_steps_ = run.step
        self.history_ = run.history

    def _signature(self, corpus: Corpus, spec: dict[str, Any], teachers: Iterable[str]) -> str:
        """Tell runs apart: what must not change when one is taken up again."""
        free = ("verbose", "device", "precision", "checkpoint_dir", "checkpoint_every")
        params = {k: v for k, v in self.get_params().items() if k not in free}
        params["initial"] = params["initial"] and str(params["initial"])
        # only what is kept is compared, and reading all of a corpus takes a while
        content = corpus.digests(teachers) if self.checkpoint_dir is not None else []
        return json.dumps([params, spec, content], sort_keys=True, default=float)


class _Run:
    """State of one `fit`."""

    def __init__(
        self,
        params: CrossModalPretrainer,
        corpus: Corpus,
        spec: dict[str, Any],
        tables: dict[str, tuple[np.ndarray, np.ndarray]],
    ) -> None:
        self.params, self.corpus, self.spec, self.tables = params, corpus, spec, tables
        self.signature = params._signature(corpus, spec, tables)
        self.workers = Workers(resolve_device(params.device))
        self.device = self.workers.device
        self.autocast = params.precision == "bfloat16" or (
            params.precision == "auto" and self.device.startswith("cuda")
        )
        held_out = params._held_out(corpus)
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
            self.model = _PretrainingModel(spec, dims).to(self.device)
        if params.initial is not None:
            _take_over(self.model.encoder, *load_checkpoint(params.initial))
        decayed = [p for p in self.model.parameters() if p.dim() > 1]
        others = [p for p in self.model.parameters() if p.dim() <= 1]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": params.weight_decay},
                {"params": others, "weight_decay": 0.0},
            ],
            lr=params.learning_rate,
            betas=(0.9, 0.98),
            fused=True,
        )
        self.step, self.epoch, self.position = 0, 0, 0
        self.seconds_before, self.began = 0.0, time.monotonic()
        self.history: list[dict[str, float]] = []
        self.losses: dict[str, list[torch.Tensor]] = {}
        self.average = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        self._batches: list[np.ndarray] | None = None
        if params.checkpoint_dir is not None and (Path(params.checkpoint_dir) / _STATE).exists():
            self._read(Path(params.checkpoint_dir))

    def seconds(self) -> float:
        """Wall-clock time of all parts of the run."""
        return self.seconds_before + time.monotonic() - self.began

    def progress(self) -> float:
        """Share of the schedule that is over."""
        done = self.step / self.params.max_steps
        if self.params.max_seconds is not None:
            done = max(done, self.workers.agree(self.seconds()) / self.params.max_seconds)
        return min(done, 1.0)

    def one_step(self, progress: float) -> None:
        """One optimiser step at that share of the schedule."""
        rows = self.workers.share(self._next_rows())
        params, warmup = self.params, self.params.warmup
        seed_torch(_seed(params.random_state, self.step, self.workers.rank), self.device)
        rate = (
            progress / warmup + 1 / params.max_steps
            if progress < warmup
            else 0.5 * (1 + math.cos(math.pi * (progress - warmup) / max(1 - warmup, 1e-9)))
        )
        for group in self.optimizer.param_groups:
            group["lr"] = params.learning_rate * min(rate, 1.0)
        self.model.train()
        losses = self._losses(rows)
        total = sum(losses.values(), start=torch.zeros((), device=self.device))
        if not torch.isfinite(total):
            raise TrainingError(
                f"the pretraining loss became {float(total.detach())} in step {self.step}; lower "
                "learning_rate."
            )
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        self.workers.average_gradients(self.model.parameters())
        nn.utils.clip_grad_norm_(self.model.parameters(), _GRADIENT_NORM)
        self.optimizer.step()
        self.step += 1
        # a mean over few steps at first, so that the random start is forgotten
        decay = min(params.averaging, self.step / (self.step + 10))
        with torch.no_grad():
            state = self.model.state_dict()
            torch._foreach_lerp_(
                [self.average[key] for key in state], list(state.values()), 1 - decay
            )
        for name, value in {"loss": total, **losses}.items():
            self.losses.setdefault(name, []).append(value.detach())

    def report(self) -> None:
        """Add the mean losses since the last call and held-out scores to the history."""
        entry = {name: float(torch.stack(values).mean()) for name, values in self.losses.items()}
        self.losses = {}
        own = {key: value.clone() for key, value in self.model.state_dict().items()}
        self.model.load_state_dict(self.average)
        scores = _evaluate(
            self.model, self.corpus, self.held_out, list(self.tables), self.device, self.autocast
        )
        self.model.load_state_dict(own)
        self.history.append(
            {"step": self.step, "epoch": self.epoch, "seconds": self.seconds(), **entry, **scores}
        )

    def write(self, folder: Path) -> None:
        """Write the state; the old one stays until the new one is complete."""
        folder.mkdir(parents=True, exist_ok=True)
        state = {
            "version": _STATE_VERSION,
            "signature": self.signature,
            "step": self.step,
            "epoch": self.epoch,
            "position": self.position,
            "seconds": self.seconds(),
            "history": self.history,
            "model": self.model.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
        }
        with replacing(folder / _STATE) as part:
            torch.save(state, part)

    def _read(self, folder: Path) -> None:
        path = folder / _STATE
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
            version, signature = state["version"], state["signature"]
        except (OSError, RuntimeError, UnpicklingError, EOFError, KeyError, TypeError) as error:
            first = str(error).strip().split("\n")[0][:200]
            raise CheckpointError(
                f"the pretraining state {path} cannot be read ({first}); it is damaged: delete it "
                "to begin again, or choose another checkpoint_dir."
            ) from error
        if version > _STATE_VERSION or signature != self.signature:
            raise CheckpointError(
                f"the pretraining state {path} belongs to a run with other parameters, another "
                "corpus or another version of sklearn_kt; choose another checkpoint_dir, or "
                "delete it to begin again."
            )
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average = state["average"]
        self.step, self.epoch, self.position = state["step"], state["epoch"], state["position"]
        self.seconds_before, self.history = state["seconds"], state["history"]

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

    def _next_rows(self) -> np.ndarray:
        if self._batches is None:
            self._batches = list(self._epoch_batches())
        if self.position >= len(self._batches):
            self.epoch, self.position = self.epoch + 1, 0
            self._batches = list(self._epoch_batches())
        rows = self._batches[self.position]
        self.position += 1
        return rows

    def _epoch_batches(self) -> Iterator[np.ndarray]:
        generator = np.random.default_rng([self.params.random_state, self.epoch])
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
        for start in starts:
            yield order[start : start + size]

    def _losses(self, rows: np.ndarray) -> dict[str, torch.Tensor]:
        params = self.params
        ids, fractions = _inputs(self.corpus, rows, self.device)
        elements = ids > CLS_ID
        chosen = torch.rand(len(rows), device=self.device) < params.masked_fraction
        chosen |= torch.from_numpy(self.unlabelled[rows]).to(self.device)
        scores = torch.rand(ids.shape, device=self.device).masked_fill(~elements, 2.0)
        hidden = (scores < params.mask_rate) | (scores == scores.amin(dim=1, keepdim=True))
        hidden = hidden & elements & chosen[:, None]
        amount = torch.rand(ids.shape, device=self.device) < params.mask_rate
        amount = amount & elements & chosen[:, None]
        with torch.autocast(torch.device(self.device).type, torch.bfloat16, self.autocast):
            states, pooled = self.model(
                ids.masked_fill(hidden, MASK_ID), fractions.masked_fill(amount, -1.0)
            )
            whole = ~chosen
            at = whole.nonzero().squeeze(1)
            losses = {}
            if params.masked_weight and chosen.any():
                losses["masked"] = params.masked_weight * self._masked_loss(
                    states, ids, fractions, hidden, amount
                )
            if params.property_weight and self.corpus.properties and len(at):
                losses["property"] = params.property_weight * self._property_loss(
                    pooled[at], rows[at.cpu().numpy()]
                )
            for name, weight in (params.teachers or {}).items():
                loss = self._alignment_loss(name, pooled, rows, whole)
                if loss is not None and weight:
                    losses[name] = weight * loss
        return losses

    def _masked_loss(
        self,
        states: torch.Tensor,
        ids: torch.Tensor,
        fractions: torch.Tensor,
        hidden: torch.Tensor,
        amount: torch.Tensor,
    ) -> torch.Tensor:
        logits = self.model.elements(states[hidden]).float()
        loss = F.cross_entropy(logits, ids[hidden] - MASK_ID - 1)
        if amount.any():
            guessed = self.model.amounts(states[amount]).squeeze(-1).float()
            loss = loss + F.smooth_l1_loss(guessed, fractions[amount], beta=_AMOUNT_BETA)
        return loss

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


def _describe_properties(corpus: Corpus) -> list[dict[str, Any]]:
    """Say in the config what the heads predict."""
    described = []
    columns = zip(corpus.properties, corpus.centres, corpus.scales, strict=True)
    for prop, center, scale in columns:
        form = {"log": "log10", "log1p": "log(1 + x)", "binary": "logit"}.get(prop.transform, "")
        unit = f"{form} {prop.unit}".strip() if form else prop.unit
        binary = prop.transform == "binary"
        described.append(
            {
                "name": prop.name,
                "unit": unit,
                "center": 0.0 if binary else float(center),
                "scale": 1.0 if binary else float(scale),
            }
        )
    return described


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


def _seed(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)


def _inputs(corpus: Corpus, rows: np.ndarray, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    ids, amounts = token_matrix(corpus.compositions(rows))
    fractions = (amounts / amounts[:, :1]).astype(np.float32)
    return torch.from_numpy(ids).to(device), torch.from_numpy(fractions).to(device)


@own_settings()
@torch.no_grad()
def _evaluate(
    model: _PretrainingModel,
    corpus: Corpus,
    held_out: np.ndarray,
    teachers: list[str],
    device: str,
    autocast: bool,
) -> dict[str, float]:
    from sklearn.metrics import roc_auc_score

    rows = np.flatnonzero(held_out)
    if not len(rows):
        return {}
    rows = rows[np.argsort(corpus.n_elements[rows], kind="stable")]
    model.eval()
    pooled = []
    for start in range(0, len(rows), _EMBEDDING_BATCH):
        part = rows[start : start + _EMBEDDING_BATCH]
        with torch.autocast(torch.device(device).type, torch.bfloat16, autocast):
            pooled.append(model(*_inputs(corpus, part, device))[1].float())
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
