"""Fitting and prediction of implicit transfer, for numbers and classes alike."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, clone, is_regressor
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_is_fitted
from tqdm.auto import tqdm

from sklearn_kt._settings import own_settings
from sklearn_kt._targets import Folds, relative_weights
from sklearn_kt.compositions import CompositionBatch, composition_groups, composition_keys
from sklearn_kt.conditions import MeasuredBatch
from sklearn_kt.encoder import Encoder, save_checkpoint
from sklearn_kt.encoder.encoder import Data, chunks, side_by_side
from sklearn_kt.encoder.pool import find_keys, pool_keys
from sklearn_kt.exceptions import CompositionWarning, InputError
from sklearn_kt.fitting import fit_context
from sklearn_kt.randomness import random_state_of
from sklearn_kt.traces import find_hosts

from .base import FormulaMixin, Rows
from .html_repr import FittedReprMixin, LossCurve, Value, each, shares
from .networks import run_network, train_networks
from .readouts import Readout, default_readouts, predict_in_order
from .repeats import TrainingCompositions, enough_repeated
from .selection import TRUSTED, count_judged, disagreement, weigh
from .uncertainty import ErrorModel

if TYPE_CHECKING:
    from skorch import NeuralNet

    from sklearn_kt.encoder.training import Inputs, TrainingSettings

__all__ = ["CUSTOM", "MIN_FOLDS", "NETWORK", "BaseImplicitKT", "valid_chunks"]

# Networks, of few and of many rows, and how many rows are many: there each takes long, and two
# folds are enough to weigh models by.
_NETWORKS = {False: 4, True: 2}
_MANY_ROWS = 10_000
# So many random numbers at least, of which the last is for readouts: these are the same for all
# numbers of networks below it.
_SEEDS = 6
# Weight updates that max_epochs="auto" aims at, and the epochs it is clipped to: from scratch, and
# from pretrained weights, which have little left to learn. Two networks of 14 epochs are as good as
# four of 8 or 9, and quicker: 8.21 and 8.24 GPa (7,800 of JARVIS' bulk moduli; smaller batches are
# no help), two of 12 and four of 8 0.147 eV (20,500 of its gaps).
_UPDATES = {False: 2000, True: 500}
_EPOCHS = {False: (30, 150), True: (14, 60)}
# Rate of a text encoder's backbone.
_TEXT_RATE = 5e-5
# Errors of networks on unseen rows with none and with half of four blocks frozen, which takes 0.55
# of the time: 0.182 and 0.153 (1,000 of JARVIS' gaps, standardised), 0.202 and 0.192 eV (4,000),
# 0.165 and 0.163 (1,000 formation energies, standardised), but 0.133 and 0.143 eV/atom (4,000).
# Three blocks are better still on few rows, and worse on those: 0.150. Networks of both kinds err
# otherwise than each other, so that a mixture is best: of three with frozen blocks, of two without,
# of two of each 0.152, 0.155, 0.147 eV (20,500 of the gaps), 8.59, 8.29, 8.24 GPa (7,800 bulk
# moduli). A third that outvotes the other kind spoils it: 8.34 and 8.21 GPa of three and two.
_FROZEN_PART = 0.5
# Inner folds; each network does without one, so that many cost it few rows.
_FOLDS = {"network": 10, "fast": 3}
MIN_FOLDS = 3
# Compositions that pretraining has seen, and others, that are needed to weigh models for each:
# fewer say little of which is best. Each of several targets needs as many.
_MIN_SEEN = 100
# So many networks show first, beside the readouts, whether they are worth the time of the others:
# whether the error of all compositions, or of those pretraining has or has not seen, gets smaller
# by this part.
_SCOUTS = 2
_WORTH = 0.01
# Rows that are enough to weigh models beside networks by, of at least as many folds as there are
# scouts: forests need not be grown for more folds than hold so many.
_JUDGED_ROWS = 2_000
# readout="auto" leaves larger tables to the networks.
_MAX_TREE_ROWS = 50_000
NETWORK = "network"
CUSTOM = "estimator"


class BaseImplicitKT(FormulaMixin, FittedReprMixin, BaseEstimator):
    """Fitting and ensemble prediction; subclasses add what targets mean."""

    _parameter_constraints: ClassVar[dict[str, list]] = {
        "checkpoint": [str, Path, None],
        "backbone": [str, Path, None],
        "local_files_only": ["boolean"],
        "readout": [StrOptions({"auto", "fast", "head"}), HasMethods(["fit", "predict"])],
        "n_estimators": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "max_epochs": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "batch_size": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "backbone_learning_rate": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"})],
        "frozen_blocks": [Interval(Integral, 0, None, closed="left"), StrOptions({"auto"})],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "early_stopping": ["boolean", StrOptions({"auto"})],
        "patience": [Interval(Integral, 1, None, closed="left")],
        "errors": [StrOptions({"raise", "nan"})],
        "composition_column": [str, None],
        "precision": [StrOptions({"auto", "float32", "bfloat16"})],
        "device": [str],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    @own_settings()
    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any, groups: Any = None, sample_weight: Any = None) -> Self:
        """Fit to compositions and their property.

        Parameters
        ----------
        X : array-like of compositions, table, or matrix of shape (n_samples, n_features)
            Formulas, :class:`pymatgen.core.Composition` objects or dicts in any
            container that :func:`~sklearn_kt.read_compositions` takes; a DataFrame of pandas
            or polars with a column of them and columns of conditions, as
            :class:`~sklearn_kt.conditions.ConditionEncoder` reads it; or rows
            that are already numbers.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets. Of several columns of numbers, NaN is what was not measured; every row has
            at least one.
        groups : array-like of shape (n_samples,), optional
            Rows of one group are on one side of each inner fold and wherever else rows are
            split, by a readout of your own, too. None groups rows of one composition; rows of
            numbers stand alone.
        sample_weight : array-like of shape (n_samples,), optional
            How much each row counts, in everything that is learned, weighed or scored. Only
            ratios matter, except to a readout of your own, which gets them as they are. Rows of
            weight 0 are as if they were not there, but must be readable.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        CompositionError
            If a row is not a composition.
        CheckpointError
            If pretrained weights are missing or damaged.
        TrainingError
            If the training loss is not finite.
        InputError
            If a weight is negative or no number, all are 0, or the readout takes none.

        Warns
        -----
        TrainingWarning
            If folds of a readout of your own split groups.
        """
        table, _ = self._read_rows(X, y, groups, sample_weight)
        self._learn_targets(table.targets, table.weights)
        self.encoder_ = self._load_encoder(table.data, table.weights)
        n_networks = self._n_networks(len(table))
        rng = random_state_of(self.random_state)
        drawn = rng.randint(np.iinfo(np.int32).max, size=max(_SEEDS, n_networks + 1))
        seeds = [int(seed) for seed in (*drawn[:n_networks], drawn[-1])]

        self.nets_: list[NeuralNet] = []
        self.history_: list[list[dict[str, float]]] = []
        self.precision_: str | None = None
        self.readouts_: dict[str, Any] = {}
        self.readout_blocks_: dict[str, tuple[str, ...]] = {}
        self.readout_scores_: dict[str, Any] = {}
        self.pool_keys_: np.ndarray | None = None
        self.held_out_scores_: dict[str, Any] = {}
        self.n_held_out_ = 0
        self.error_model_: ErrorModel | None = None
        self.training_compositions_: TrainingCompositions | None = None
        if isinstance(self.readout, str):
            encoded, weights = self.targets_.encode(table.targets), relative_weights(table.weights)
            self._fit_blend(replace(table, targets=encoded, weights=weights), seeds)
        else:
            self.readout_weights_: dict[str, Any] = {CUSTOM: 1.0}
            own = {CUSTOM: Readout(self.encoder_.blocks, clone(self.readout))}
            features = self._features(table.data, self.encoder_.blocks)
            self._fit_readouts(own, features, table, seeds[-1])
        if self.pool_keys_ is None:
            self.new_readout_weights_ = self.readout_weights_
        return self

    def save_pretrained(self, folder: str | Path, *, member: int = 0) -> Path:
        """Save a fine-tuned encoder as a checkpoint folder.

        Parameters
        ----------
        folder : str or Path
            A new or empty folder; later passed as ``checkpoint=``.
        member : int, default=0
            Which network of the ensemble.

        Returns
        -------
        pathlib.Path
            The folder: config, safetensors weights, tokenizer and card.
        """
        from sklearn_kt.encoder.training import backbone_weights

        check_is_fitted(self)
        if not self.nets_:
            raise InputError(
                f"the readouts in use ({', '.join(self.readout_weights_)}) include no network; fit "
                "with readout='head' to save a fine-tuned encoder."
            )
        card = (
            f"# Encoder fine-tuned by {type(self).__name__}\n\n"
            f"Ensemble member {member} of {len(self.nets_)}; started from "
            f"{'the checkpoint ' + Path(self.checkpoint).name if self.checkpoint else 'scratch'}.\n"
            "\nDo not evaluate it on rows it was fitted on.\n"
        )
        spec, _ = self.encoder_.trainable()
        return save_checkpoint(spec, backbone_weights(self.nets_[member]), folder, card=card)

    def network_outputs(self, inputs: Inputs) -> np.ndarray:
        """Give what the networks alone say of inputs, such as those with tokens hidden.

        Parameters
        ----------
        inputs : sklearn_kt.encoder.training.Inputs
            As ``encoder_.inputs`` makes them.

        Returns
        -------
        ndarray of shape (n_samples,), (n_samples, n_outputs) or (n_samples, n_classes)
            In the units of the targets, or probabilities.
        """
        check_is_fitted(self)
        return self._answers(self._ensemble(inputs))

    def _load_encoder(self, data: Data, weights: np.ndarray | None) -> Encoder:
        if isinstance(data, CompositionBatch):
            encoder = Encoder.load(
                self.checkpoint, self.backbone, local_files_only=self.local_files_only
            )
            return encoder.for_rows(data, weights)
        if self.checkpoint is not None:
            warnings.warn(
                f"X is a numeric matrix: the checkpoint {str(self.checkpoint)!r} reads "
                "compositions and has no part in this model; pass checkpoint=None to say so.",
                CompositionWarning,
                stacklevel=3,
            )
        return Encoder.of_numbers(data, self.backbone, weights)

    def _features(self, data: Data, names: Collection[str]) -> dict[str, np.ndarray]:
        return self.encoder_.features(data, names, device=self.device)

    def _fit_blend(self, table: Rows, seeds: list[int]) -> None:
        """Fit networks and readouts, and weigh them by inner folds that neither saw."""
        networks = self.readout != "fast"
        readouts: dict[str, Readout] = {}
        if self.readout == "fast" or (self.readout == "auto" and len(table) <= _MAX_TREE_ROWS):
            readouts = default_readouts(
                self.encoder_.blocks,
                len(table),
                classification=self.targets_.loss == "log_loss",
                median=self.targets_.loss != "squared_error",
                n_outputs=self.targets_.n_outputs,
                fast=not networks,
                repeats=table.groups is not None,
                n_conditions=self.encoder_.n_conditions,
                n_jobs=self.n_jobs,
            )
        n_networks = len(seeds) - 1
        most = max(_FOLDS["network"], n_networks) if networks else _FOLDS["fast"]
        folds = self.targets_.folds(table.targets, most, MIN_FOLDS, seeds[-1], table.groups)
        if folds:
            self._fit_and_weigh(table, readouts, seeds, folds)
        elif readouts:
            # too few rows to compare anything on
            best_guess = dict(list(readouts.items())[:1])
            self.readout_weights_ = dict.fromkeys(best_guess, 1.0)
            features = self._features(table.data, _blocks_of(best_guess))
            self._fit_readouts(best_guess, features, table, seeds[-1])
        else:
            self.readout_weights_ = {NETWORK: 1.0}
            inputs = self.encoder_.inputs(table.data)
            self._fit_nets(table, inputs, seeds, [np.arange(len(table))] * n_networks)
        if not self.readouts_ and self.error_model_ is None:
            self.encoder_ = self.encoder_.without_network()

    def _fit_and_weigh(
        self, table: Rows, readouts: dict[str, Readout], seeds: list[int], folds: Folds
    ) -> None:
        seed = seeds[-1]
        error_blocks = self._error_blocks()
        features = self._features(table.data, _blocks_of(readouts) | {*error_blocks})
        networks = self.readout != "fast"
        # few networks judge, and are judged by, few folds
        judging = folds[: len(seeds) - 1] if networks else folds
        if networks and readouts:
            judging = _enough(judging)
        outputs, apart = self._readouts_out_of_fold(readouts, features, table, seed, judging)
        held_out = np.concatenate([test for _, test in judging])
        if networks:
            found = self._networks_out_of_fold(table, seeds, folds, judging, outputs)
            outputs = {**found, **outputs}
            judged, left = table[held_out], folds[len(judging) :]
            counts = count_judged(self.targets_, judged.targets, judged.groups)
            if not found and left and counts.min() < TRUSTED:
                # without networks, nothing is in the way of judging all rows
                more = self._readouts_out_of_fold(readouts, features, table, seed, left)
                outputs, apart = (
                    {name: np.concatenate([values, rest[name]]) for name, values in done.items()}
                    for done, rest in zip((outputs, apart), more, strict=True)
                )
                judging, held_out = folds, np.concatenate([test for _, test in folds])
        judged = table[held_out]
        truth, weights = judged.targets, judged.weights
        new = self._weigh(outputs, judged)
        blended = self._blended(outputs, new)
        beliefs = self._beliefs(outputs, apart, blended, new) if error_blocks else None
        outputs["blend"] = blended
        self.readout_scores_ = {
            name: self.targets_.error(truth, out, weights) for name, out in outputs.items()
        }
        self.held_out_scores_ = self.targets_.held_out(truth, blended, weights)
        self.n_held_out_ = len(held_out)
        used = self._used()
        if NETWORK not in used:
            self.nets_, self.history_ = [], []
        elif len(self.nets_) == 1:
            # the scout did without a fifth of the rows; the one network kept sees them all
            inputs = self.encoder_.inputs(table.data)
            self._fit_nets(table, inputs, seeds, [np.arange(len(table))])
        chosen = {name: readout for name, readout in readouts.items() if name in used}
        self._fit_readouts(chosen, features, table, seed)
        if is_regressor(self) and self.readouts_:
            self._learn_repeats(table, judging, outputs, apart, features, chosen, seed)
        if error_blocks:
            known = side_by_side(features, error_blocks)[held_out]
            errors = ErrorModel(seed, self.n_jobs)
            residuals = truth - blended
            self.error_model_ = errors.fit(known, residuals, judged.groups, weights, beliefs)

    def _learn_repeats(
        self,
        table: Rows,
        folds: Folds,
        outputs: Mapping[str, np.ndarray],
        apart: Mapping[str, np.ndarray],
        features: dict[str, np.ndarray],
        readouts: dict[str, Readout],
        seed: int,
    ) -> None:
        """Learn what readouts are to say of compositions that they were fitted on.

        Outputs of folds are those of rows whose composition they have not seen, if they hold all
        rows, and groups are compositions; else readouts are run on folds that do.
        """
        data = table.data
        if not isinstance(data, CompositionBatch) or isinstance(data, MeasuredBatch):
            # rows of one composition and other conditions have other features
            return
        codes = composition_groups(data)
        if not enough_repeated(codes):
            return
        held_out = np.concatenate([test for _, test in folds])
        if len(held_out) < len(table) or not np.array_equal(codes, table.together):
            table = replace(table, groups=codes)
            folds = self.targets_.folds(table.targets, MIN_FOLDS, MIN_FOLDS, seed, codes)
            if not folds:
                return
            held_out = np.concatenate([test for _, test in folds])
            outputs, apart = self._readouts_out_of_fold(readouts, features, table, seed, folds)
        order = np.argsort(held_out)
        said = {name: outputs[name][order] for name in readouts}
        spreads = {name: apart[name][order] for name in readouts}
        new = self._new_part(data)
        total = self._blended(dict.fromkeys(said, np.ones(table.targets.shape)), new)
        # NaN where networks alone have a say
        blend = self._blended(said, new) / np.where(total > 0, total, np.nan)
        learned = TrainingCompositions().fit(
            composition_keys(data),
            said,
            spreads,
            blend,
            table.targets,
            table.weights,
            squared=self.targets_.loss == "squared_error",
        )
        # what trees have learned by heart is right where rows of a composition always agree
        if (learned.shares_ < 1).any():
            self.training_compositions_ = learned

    def _weigh(self, outputs: dict[str, np.ndarray], judged: Rows) -> np.ndarray:
        """Weigh models by what they say of unseen rows; alike for all, or by what is in the pool.

        What pretraining has learned by heart it predicts better than what it has not: the
        features of seen compositions would be trusted for new ones. Returns how far rows are
        predicted as new.
        """
        # networks need more rows than readouts
        guess = next((name for name in outputs if name != NETWORK), None)

        def weights_of(rows: np.ndarray) -> dict[str, Any]:
            part = judged[rows]
            found = {name: values[rows] for name, values in outputs.items()}
            return weigh(
                self.targets_, found, part.targets, part.weights, groups=part.groups, guess=guess
            )

        is_pretrained = isinstance(judged.data, CompositionBatch) and self.checkpoint is not None
        # on fewer rows the file is not read: it would change nothing
        if is_pretrained and len(judged) >= 2 * _MIN_SEEN:
            self.pool_keys_ = pool_keys(self.checkpoint)
        new = self._new_part(judged.data)
        kinds = _kinds(new)
        parts = [judged[rows] for rows in kinds]
        if min(self.targets_.counts(p.targets, p.groups).min() for p in parts) < _MIN_SEEN:
            self.pool_keys_ = None
            self.readout_weights_ = weights_of(np.arange(len(judged)))
            return np.zeros_like(new)
        self.readout_weights_, self.new_readout_weights_ = map(weights_of, kinds)
        return new

    def _new_part(self, data: Data) -> np.ndarray:
        """Tell how far rows are predicted as compositions that pretraining has not seen: 0 to 1."""
        if self.pool_keys_ is None or not isinstance(data, CompositionBatch):
            return np.zeros(len(data))
        _, known = find_hosts(partial(find_keys, self.pool_keys_), data)
        return 1 - known

    def _used(self) -> set[str]:
        """Models that have a share in some prediction."""
        beside = {} if self.pool_keys_ is None else self.new_readout_weights_
        return {*self.readout_weights_, *beside}

    def _blended(self, outputs: Mapping[str, np.ndarray], new: np.ndarray) -> np.ndarray:
        """Blend what the models say of rows, of which some are new to pretraining."""
        blend: Any = 0.0
        for name, values in outputs.items():
            blend = blend + self._share(name, new) * values
        return blend

    def _share(self, name: str, new: np.ndarray) -> Any:
        """Give the share of a model in the prediction of each row."""
        share = self.readout_weights_.get(name, 0.0)
        if new.any():
            part = new[:, None]
            share = (1 - part) * share + part * self.new_readout_weights_.get(name, 0.0)
        return share

    def _beliefs(
        self,
        outputs: Mapping[str, np.ndarray],
        apart: Mapping[str, np.ndarray],
        blend: np.ndarray,
        new: np.ndarray,
    ) -> np.ndarray:
        """Give what is predicted, and what tells how sure that is: (n, n_outputs, 4).

        How far the models are from what they say together, and the trees of each from each other;
        and how far a row is one that pretraining has not seen.
        """
        shares = {name: self._share(name, new) for name in outputs}
        trees: Any = sum(shares[name] * spread for name, spread in apart.items())
        columns = [blend, disagreement(outputs, shares, blend), trees, new[:, None]]
        return np.stack([np.broadcast_to(column, blend.shape) for column in columns], axis=-1)

    def _networks_out_of_fold(
        self,
        table: Rows,
        seeds: list[int],
        folds: Folds,
        judging: Folds,
        beside: dict[str, np.ndarray],
    ) -> dict[str, np.ndarray]:
        """Train a network on each fold, calibrate them, and run those that are judged on the rest.

        The first ones may show that they add nothing to the outputs of others: then none is left.
        """
        # more networks than folds go round
        members = [folds[i % len(folds)][0] for i in range(len(seeds) - 1)]
        scouts = min(_SCOUTS, len(members)) if beside else len(members)
        # once, with what the frozen blocks say of it
        inputs = self.encoder_.inputs(table.data)
        self._fit_nets(table, inputs, seeds, members[:scouts])
        outputs, judged = self._judged_networks(table, judging[:scouts])
        if not beside:
            return {NETWORK: outputs}
        before = {name: values[: len(judged)] for name, values in beside.items()}
        with_them = self._blend_errors({NETWORK: outputs, **before}, judged)
        if (with_them > (1 - _WORTH) * self._blend_errors(before, judged)).all():
            self.nets_, self.history_ = [], []
            return {}
        if scouts == len(members):
            return {NETWORK: outputs}
        self._fit_nets(table, inputs, seeds, members[scouts:], first=scouts)
        return {NETWORK: self._judged_networks(table, judging)[0]}

    def _judged_networks(self, table: Rows, folds: Folds) -> tuple[np.ndarray, Rows]:
        """Calibrate networks, and give what each says of its fold, and these rows."""
        raw = [
            run_network(net, self.encoder_.inputs(table.data[test]), self.device)
            for net, (_, test) in zip(self.nets_, folds, strict=False)
        ]
        judged = table[np.concatenate([test for _, test in folds])]
        self._calibrate(judged.targets, np.concatenate(raw), judged.weights)
        return np.concatenate([self._net_outputs(values) for values in raw]), judged

    def _blend_errors(self, outputs: dict[str, np.ndarray], judged: Rows) -> np.ndarray:
        """Give the errors of a blend: of all rows, and of those that are weighed by themselves."""
        new = self._weigh(outputs, judged)
        blended = self._blended(outputs, new)
        kinds = [np.arange(len(new))]
        if new.any():
            kinds += _kinds(new)
        errors = []
        for rows in kinds:
            part = judged[rows]
            errors.append(self.targets_.score(part.targets, blended[rows], part.weights))
        return np.array(errors)

    def _readouts_out_of_fold(
        self,
        readouts: dict[str, Readout],
        features: dict[str, np.ndarray],
        table: Rows,
        seed: int,
        folds: Folds,
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Run every readout on the rows it was not fitted on, fold after fold.

        Returns outputs, and how far the trees of those that are forests are apart.
        """
        outputs: dict[str, list[np.ndarray]] = {name: [] for name in readouts}
        apart: dict[str, list[np.ndarray]] = {name: [] for name in readouts}
        columns = _columns(features, {name: r.blocks for name, r in readouts.items()})
        jobs = [(name, fold) for name in readouts for fold in folds]
        for name, (train, test) in tqdm(jobs, "readouts", disable=not self.verbose):
            part = table[train]
            fitted = readouts[name].fitted(
                columns[name][train],
                part.targets,
                seed,
                part.weights,
                part.together,
                inner=True,
            )
            values, spread = self._readout_outputs(name, fitted, columns[name][test], True)
            outputs[name].append(values)
            apart[name].append(spread)
        joined = [
            {name: np.concatenate(parts) for name, parts in found.items()}
            for found in (outputs, apart)
        ]
        return joined[0], joined[1]

    def _fit_readouts(
        self,
        readouts: dict[str, Readout],
        features: dict[str, np.ndarray],
        table: Rows,
        seed: int,
    ) -> None:
        self.readout_blocks_ = {name: readout.blocks for name, readout in readouts.items()}
        columns = _columns(features, self.readout_blocks_)
        self.readouts_ = {
            name: readout.fitted(columns[name], table.targets, seed, table.weights, table.together)
            for name, readout in readouts.items()
        }

    def _fit_nets(
        self,
        table: Rows,
        inputs: Inputs,
        seeds: list[int],
        members: list[np.ndarray],
        first: int = 0,
    ) -> None:
        """Train a network on each set of rows, in place of those there are from the first on."""
        settings = self._settings(len(members[0]))
        self.precision_ = settings.precision
        results = train_networks(
            self.encoder_,
            inputs,
            table,
            members,
            seeds[first:],
            [self._frozen_blocks(first + i) for i in range(len(members))],
            settings,
            early_stopping=self.early_stopping,
            n_jobs=self.n_jobs,
            verbose=self.verbose,
        )
        self.nets_[first:] = [net for net, _ in results]
        self.history_[first:] = [history for _, history in results]

    def _settings(self, n_rows: int) -> TrainingSettings:
        from sklearn_kt.encoder.precision import resolve_precision
        from sklearn_kt.encoder.training import TrainingSettings, resolve_device

        pretrained = self.encoder_.network is not None
        batch = self.batch_size
        if batch == "auto":
            batch = int(np.clip(2 ** round(math.log2(max(n_rows / 40, 1))), 16, 128))
        epochs = self.max_epochs
        if epochs == "auto":
            epochs = math.ceil(_UPDATES[pretrained] * batch / n_rows)
            epochs = int(np.clip(epochs, *_EPOCHS[pretrained]))
        rate = self.backbone_learning_rate
        if rate == "auto":
            rate = self.learning_rate / 3 if pretrained else self.learning_rate
            if self.encoder_.spec["kind"] == "text":
                rate = _TEXT_RATE
        device = resolve_device(self.device)
        return TrainingSettings(
            loss=self.targets_.loss,
            n_outputs=self.targets_.n_outputs,
            max_epochs=epochs,
            batch_size=batch,
            learning_rate=float(self.learning_rate),
            backbone_learning_rate=float(rate),
            weight_decay=float(self.weight_decay),
            dropout=float(self.dropout),
            patience=self.patience,
            device=device,
            seed=0,
            precision=resolve_precision(self.precision, device),
        )

    def _n_networks(self, n_rows: int) -> int:
        """Give how many networks there are to be."""
        if self.n_estimators == "auto":
            return _NETWORKS[n_rows >= _MANY_ROWS]
        return int(self.n_estimators)

    def _frozen_blocks(self, network: int) -> int:
        """Give how many lower blocks a network does not train."""
        spec, blocks = self.encoder_.spec, 0
        if self.encoder_.network is not None and spec["kind"] == "composition":
            blocks = int(spec["config"]["num_hidden_layers"])
        if self.frozen_blocks == "auto":
            return 0 if network % 2 else int(_FROZEN_PART * blocks)
        if self.frozen_blocks > blocks:
            raise InputError(
                f"frozen_blocks={self.frozen_blocks}, but the networks start from {blocks} "
                "pretrained blocks of elements; pass at most so many, or 'auto'."
            )
        return int(self.frozen_blocks)

    def _outputs(
        self, data: Data, measures: Sequence[Callable[..., np.ndarray]] = ()
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """Blended outputs, and what is measured of the columns that errors depend on.

        Rows that are not compositions (``errors="nan"``) are NaN.
        """
        out = np.full((len(data), self.targets_.n_outputs), np.nan)
        spreads = [out.copy() for _ in measures]
        error_blocks = self._error_blocks() if measures else ()
        names = {block for blocks in self.readout_blocks_.values() for block in blocks}
        for part, rows in valid_chunks(data):
            features = self._features(part, names | {*error_blocks})
            outputs, apart = {}, {}
            if self.nets_:
                outputs[NETWORK] = self._ensemble(self.encoder_.inputs(part))
            columns = _columns(features, self.readout_blocks_)
            for name, fitted in self.readouts_.items():
                outputs[name], apart[name] = self._readout_outputs(
                    name, fitted, columns[name], bool(measures)
                )
            if (seen := self.training_compositions_) is not None and isinstance(
                part, CompositionBatch
            ):
                hosts = find_hosts(lambda batch: seen.find(composition_keys(batch)), part)
                seen.replace(*hosts, outputs, apart)
            new = self._new_part(part)
            out[rows] = self._blended(outputs, new)
            if measures:
                known = side_by_side(features, error_blocks)
                beliefs = self._beliefs(outputs, apart, out[rows], new)
                unseen = self._unseen_part(part)
            for spread, measure in zip(spreads, measures, strict=True):
                spread[rows] = measure(known, beliefs=beliefs, unseen=unseen)
        return out, spreads

    def _ensemble(self, inputs: Inputs) -> np.ndarray:
        return self.targets_.combine(
            [self._net_outputs(run_network(net, inputs, self.device)) for net in self.nets_]
        )

    def _run_readout(
        self, name: str, predict: Callable[[np.ndarray], np.ndarray], features: np.ndarray
    ) -> np.ndarray:
        # matrix products, which a readout of the user's own may use, round by their shape
        n_jobs = 1 if name == CUSTOM else self.n_jobs
        return np.asarray(predict_in_order(predict, features, n_jobs))

    def _learned(self) -> dict[str, Value]:
        from sklearn_kt.encoder.training import resolve_device

        # a readout of the user's own is called by its class
        weights = {
            type(self.readouts_[name]).__name__ if name == CUSTOM else name: share
            for name, share in self.readout_weights_.items()
        }
        device = resolve_device(self.device)
        rows: dict[str, Value] = {
            "encoder": self._about_encoder(),
            "started from": self._origin(),
            "prediction": shares(weights, self.readout_scores_, self.targets_.measure),
        }
        if self.pool_keys_ is not None:
            rows["of formulas new to pretraining"] = shares(self.new_readout_weights_)
        rows |= self._about_rows()
        if (seen := self.training_compositions_) is not None:
            parts = each(100 * seen.shares_, ".0f")
            rows["compositions of the table"] = f"predicted {parts} % of the way to a known value"
        if self.nets_:
            epochs = sorted({len(history) for history in self.history_})
            spread = str(epochs[0]) if len(epochs) == 1 else f"{epochs[0]} to {epochs[-1]}"
            trained = f"{len(self.nets_)}, trained for {spread} epochs in {self.precision_}"
            rows["networks"] = trained
        rows["device"] = device if device == self.device else f"{device} (device={self.device!r})"
        if self.history_:
            rows["training curve"] = LossCurve(self.history_)
        return rows

    def _about_encoder(self) -> str:
        kind, config = self.encoder_.spec["kind"], self.encoder_.spec["config"]
        if kind == "features":
            return f"none: residual network on {config['n_features']} columns of numbers"
        name = f"text ({config['model_type']})" if kind == "text" else "elements"
        sizes = [f"width {config['hidden_size']}"] if "hidden_size" in config else []
        if "num_hidden_layers" in config:
            sizes.append(f"{config['num_hidden_layers']} layers")
        modules = [*(net.module_ for net in self.nets_), self.encoder_.network]
        if modules[0] is not None:
            n_parameters = sum(p.numel() for p in modules[0].backbone.parameters())
            sizes.append(f"{n_parameters:,} parameters")
        return ", ".join([f"transformer on {name}", *sizes])

    def _origin(self) -> str:
        kind = self.encoder_.spec["kind"]
        if kind == "text":
            return f"Hugging Face model {self.backbone}"
        if self.checkpoint is None or kind == "features":
            return "random weights"
        return f"checkpoint {self.checkpoint}"


def _enough(folds: Folds) -> Folds:
    """Give the first folds, as many as hold rows enough to weigh models by."""
    rows = np.cumsum([len(test) for _, test in folds])
    return folds[: max(_SCOUTS, int(np.searchsorted(rows, _JUDGED_ROWS)) + 1)]


def _kinds(new: np.ndarray) -> list[np.ndarray]:
    """Part rows into those that pretraining has rather seen, and those that it has rather not."""
    return [np.flatnonzero(new < 0.5), np.flatnonzero(new >= 0.5)]


def _columns(
    features: dict[str, np.ndarray], blocks: dict[str, tuple[str, ...]]
) -> dict[str, np.ndarray]:
    """Give each readout its columns; those that are alike are held once."""
    matrices = {names: side_by_side(features, names) for names in set(blocks.values())}
    return {name: matrices[names] for name, names in blocks.items()}


def _blocks_of(readouts: dict[str, Readout]) -> set[str]:
    return {block for readout in readouts.values() for block in readout.blocks}


def valid_chunks(data: Data) -> Iterator[tuple[Data, np.ndarray]]:
    """Rows that are compositions, and their places, so many at a time."""
    valid = data.valid if isinstance(data, CompositionBatch) else np.ones(len(data), bool)
    rows = np.flatnonzero(valid)
    for chunk in chunks(len(rows)):
        yield data[rows[chunk]], rows[chunk]
