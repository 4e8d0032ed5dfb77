"""Cross-modal pretraining of the composition encoder.

One model, three objectives at once: hidden elements and amounts are filled in,
computed properties are predicted, and pooled states are aligned to the embeddings of
teachers that see the crystal. This module imports torch.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from numbers import Integral, Real
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from sklearn_kt.encoder.modeling import CompositionEncoderConfig
from sklearn_kt.encoder.training import resolve_device
from sklearn_kt.encoder.weights import ENCODER_SIZES, PRESETS, save_checkpoint
from sklearn_kt.exceptions import InputError
from sklearn_kt.fitting import fit_context

from .corpus import UNIT_FORMS, Corpus
from .objectives import PretrainingRun, evaluate

__all__ = ["CrossModalPretrainer"]

_ALIGNMENTS = ("mse", "cosine", "infonce")


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
        Of matrix products; "auto" is bfloat16 on a GPU, and on a processor that is measured to be
        faster with it; else float32.
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
    scores_ : dict of str to float
        The last held-out scores, as of :meth:`evaluate`.

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

    _parameter_constraints: ClassVar[dict[str, list]] = {
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

    _run: ClassVar[type[PretrainingRun]] = PretrainingRun

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
    def fit(self, X: Corpus, y: Any = None) -> Self:
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
        first = run.workers.is_first
        run.train("pretraining", verbose=self.verbose if first else 0, writes=first)
        run.model.load_state_dict(run.average)
        self.model_ = run.model.to("cpu").eval()
        self.spec_ = run.spec
        self.n_steps_ = run.step
        self.history_ = run.history
        self.scores_ = {
            key: round(value, 4)
            for key, value in (run.history[-1] if run.history else {}).items()
            if key.startswith(("mae_", "auc_", "cosine_"))
        }
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
            return evaluate(self.model_, X, held_out, list(self.teachers or ()), device)
        finally:
            self.model_.to("cpu")

    def save(self, folder: str | Path, card: str) -> Path:
        """Write the encoder as a checkpoint, float16, with ``scores_``.

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
        return save_checkpoint(self.spec_, weights, folder, card=card, scores=self.scores_)

    def _start(self, corpus: Corpus) -> PretrainingRun:
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
        wrong = sorted(set(sizes) - set(ENCODER_SIZES))
        if wrong:
            raise InputError(f"encoder has no size {wrong[0]!r}; sizes are {ENCODER_SIZES}.")
        config = {key: sizes.get(key, getattr(defaults, key)) for key in ENCODER_SIZES}
        if self.property_weight and corpus.properties:
            config["properties"] = _describe_properties(corpus)
        spec = {"kind": "composition", "config": config}
        signature = self._signature(corpus, spec, tables)
        return self._run(self, corpus, spec, tables, self._held_out(corpus), signature)

    def _held_out(self, corpus: Corpus) -> np.ndarray:
        # keys are hashes: their order is arbitrary, and the same everywhere
        return np.asarray(corpus.keys) < np.uint64(self.validation_fraction * 2.0**64)

    def _signature(self, corpus: Corpus, spec: dict[str, Any], teachers: Iterable[str]) -> str:
        """Tell runs apart: what must not change when one is taken up again."""
        free = ("verbose", "device", "precision", "checkpoint_dir", "checkpoint_every")
        params = {k: v for k, v in self.get_params().items() if k not in free}
        params["initial"] = params["initial"] and str(params["initial"])
        # only what is kept is compared, and reading all of a corpus takes a while
        content = corpus.digests(teachers) if self.checkpoint_dir is not None else []
        return json.dumps([params, spec, content], sort_keys=True, default=float)


def _describe_properties(corpus: Corpus) -> list[dict[str, Any]]:
    """Say in the config what the heads predict."""
    described = []
    columns = zip(corpus.properties, corpus.centres, corpus.scales, strict=True)
    for prop, center, scale in columns:
        form = UNIT_FORMS.get(prop.transform, "")
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
