"""Implicit knowledge transfer: estimators on a composition encoder.

The encoder reads a formula as a set of element tokens; what it knows of
structures and electronic properties comes from its pretrained weights. The
estimators here fine-tune it on a table, read its frozen embeddings with a
scikit-learn model, or blend both.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from functools import partial
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import KFold, StratifiedKFold, train_test_split
from sklearn.preprocessing import LabelEncoder, StandardScaler
from sklearn.utils import check_consistent_length
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.validation import check_is_fitted
from tqdm.auto import tqdm

from sklearn_kt._settings import own_settings
from sklearn_kt._targets import most_probable, read_labels, read_numbers, votes
from sklearn_kt.compositions import CompositionBatch
from sklearn_kt.encoder import Encoder, save_checkpoint
from sklearn_kt.encoder.encoder import Data, chunks, side_by_side
from sklearn_kt.exceptions import CompositionWarning, InputError
from sklearn_kt.fitting import fit_context
from sklearn_kt.randomness import random_state_of

from .base import FormulaMixin
from .html_repr import FittedReprMixin
from .readouts import (
    MIN_FOLD_ROWS,
    ErrorModel,
    Readout,
    default_readouts,
    predict_in_order,
    select_weights,
    with_seed,
)

if TYPE_CHECKING:
    from skorch import NeuralNet

    from sklearn_kt.encoder.training import Inputs, TrainingSettings

__all__ = ["ImplicitKTClassifier", "ImplicitKTRegressor"]

# Weight updates that max_epochs="auto" aims at, and the epochs it is clipped to:
# from scratch, and from pretrained weights, which have little left to learn.
_UPDATES = {False: 2000, True: 500}
_EPOCHS = {False: (30, 150), True: (10, 60)}
# Inner folds; each network does without one, so that many cost it few rows.
_FOLDS = {"network": 10, "fast": 3}
_MIN_FOLDS = 3
# readout="auto" leaves larger tables to the networks.
_MAX_TREE_ROWS = 50_000
# Tables smaller than this are trained on whole: a validation split would be noise.
_MIN_EARLY_STOPPING_ROWS = 500
_VALIDATION = 0.1
# Bounds of the logarithm of the softmax temperature.
_LOG_TEMPERATURES = (-1.0, 3.0)
_NETWORK = "network"
_CUSTOM = "estimator"
# Set by fit, beside what ends in an underscore.
_PRIVATE = ("_readouts", "_error_blocks", "_flat", "_loss", "_class_weights")


class _BaseImplicitKT(FormulaMixin, FittedReprMixin, BaseEstimator):
    """Fitting and ensemble prediction; subclasses add what targets mean."""

    _parameter_constraints: ClassVar[dict[str, list]] = {
        "checkpoint": [str, Path, None],
        "backbone": [str, Path, None],
        "local_files_only": ["boolean"],
        "readout": [StrOptions({"auto", "fast", "head"}), HasMethods(["fit", "predict"])],
        "n_estimators": [Interval(Integral, 1, None, closed="left")],
        "max_epochs": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "batch_size": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "backbone_learning_rate": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"})],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "early_stopping": ["boolean", StrOptions({"auto"})],
        "patience": [Interval(Integral, 1, None, closed="left")],
        "errors": [StrOptions({"raise", "nan"})],
        "device": [str],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    @own_settings()
    @fit_context(prefer_skip_nested_validation=True, private=_PRIVATE)
    def fit(self, X: Any, y: Any) -> Any:
        """Fit to compositions and their property.

        Parameters
        ----------
        X : array-like of compositions, or matrix of shape (n_samples, n_features)
            Formulas, :class:`pymatgen.core.Composition` objects or dicts in any
            container that :func:`~sklearn_kt.read_compositions` takes; or rows
            that are already numbers.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets, without NaN.

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
        """
        y = self._read_targets(y)
        data = self._read(X, reset=True)
        check_consistent_length(range(len(data)), y)
        targets = self._encode_targets(y)
        self.encoder_ = self._load_encoder(data)
        rng = random_state_of(self.random_state)
        seeds = [int(s) for s in rng.randint(np.iinfo(np.int32).max, size=self.n_estimators + 1)]

        self.nets_: list[NeuralNet] = []
        self.history_: list[list[dict[str, float]]] = []
        self.readouts_: dict[str, Any] = {}
        self._readouts: dict[str, Readout] = {}
        self.readout_scores_: dict[str, float] = {}
        self.error_model_: ErrorModel | None = None
        self._error_blocks: tuple[str, ...] = ()
        if isinstance(self.readout, str):
            self._fit_blend(data, targets, seeds)
        else:
            self.readout_weights_ = {_CUSTOM: 1.0}
            self._readouts = {_CUSTOM: Readout(self.encoder_.blocks, clone(self.readout))}
            self._fit_readouts(self._features(data, self._readout_blocks()), y, seeds[-1])
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

    def _load_encoder(self, data: Data) -> Encoder:
        if isinstance(data, CompositionBatch):
            return Encoder.load(
                self.checkpoint, self.backbone, local_files_only=self.local_files_only
            )
        if self.checkpoint is not None:
            warnings.warn(
                f"X is a numeric matrix: the checkpoint {str(self.checkpoint)!r} reads "
                "compositions and has no part in this model; pass checkpoint=None to say so.",
                CompositionWarning,
                stacklevel=3,
            )
        return Encoder.of_numbers(data, self.backbone)

    def _features(self, data: Data, names: Collection[str]) -> dict[str, np.ndarray]:
        return self.encoder_.features(data, names, device=self.device)

    def _fit_blend(self, data: Data, targets: np.ndarray, seeds: list[int]) -> None:
        """Fit networks and readouts, and weigh them by inner folds that neither saw."""
        seed = seeds[-1]
        everything = np.arange(len(data))
        loss, n_outputs = self._objective()
        networks = self.readout != "fast"
        if self.readout == "fast" or (self.readout == "auto" and len(data) <= _MAX_TREE_ROWS):
            self._readouts = default_readouts(
                self.encoder_.blocks,
                len(data),
                classification=loss == "log_loss",
                median=loss != "squared_error",
                n_outputs=n_outputs,
                fast=not networks,
                n_jobs=self.n_jobs,
            )
        folds = self._inner_folds(targets, seed, networks)
        if not folds:
            # too few rows to compare anything on
            self._readouts = {} if networks else dict(list(self._readouts.items())[:1])
            self.readout_weights_ = (
                {_NETWORK: 1.0} if networks else dict.fromkeys(self._readouts, 1.0)
            )
            if networks:
                self._fit_nets(data, targets, seeds, [everything] * self.n_estimators)
            else:
                features = self._features(data, self._readout_blocks())
                self._fit_readouts(features, targets, seed)
            return
        self._error_blocks = self._blocks_of_errors()
        held_out = np.concatenate([test for _, test in folds])
        features = self._features(data, self._readout_blocks() | {*self._error_blocks})
        outputs = self._out_of_fold(data, features, targets, seeds, folds, networks)
        truth = targets[held_out]

        def score(blend: np.ndarray) -> float:
            return self._score(truth, blend)

        self.readout_weights_ = select_weights(outputs, score)
        parts = [w * outputs[name] for name, w in self.readout_weights_.items()]
        blended = np.sum(parts, axis=0)
        self.readout_scores_ = {name: score(values) for name, values in outputs.items()}
        self.readout_scores_["blend"] = score(blended)
        if _NETWORK not in self.readout_weights_:
            self.nets_, self.history_ = [], []
        elif self.n_estimators == 1:
            # the scout did without a fifth of the rows; the one network kept sees them all
            self._fit_nets(data, targets, seeds, [everything])
        self._readouts = {k: v for k, v in self._readouts.items() if k in self.readout_weights_}
        self._fit_readouts(features, targets, seed)
        if self._error_blocks:
            known = side_by_side(features, self._error_blocks)[held_out]
            self.error_model_ = ErrorModel(seed, self.n_jobs).fit(known, truth - blended)
        if not self._readouts and self.error_model_ is None:
            self.encoder_ = self.encoder_.without_network()

    def _inner_folds(
        self, targets: np.ndarray, seed: int, networks: bool
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Folds to judge models on; none if the table, or a class, is too small."""
        n_folds = max(_FOLDS["network"], self.n_estimators) if networks else _FOLDS["fast"]
        stratify = targets if targets.ndim == 1 else None
        counts = np.array([len(targets)]) if stratify is None else np.bincount(stratify)
        n_folds = min(n_folds, counts.min() // MIN_FOLD_ROWS)
        least = max(_MIN_FOLDS, self.n_estimators) if networks else _MIN_FOLDS
        if n_folds < least or (stratify is not None and len(counts) < 2):
            return []
        splitter = KFold if stratify is None else StratifiedKFold
        cv = splitter(n_folds, shuffle=True, random_state=seed)
        folds = list(cv.split(np.arange(len(targets)), stratify))
        # few networks judge, and are judged by, few folds
        return folds[: self.n_estimators] if networks else folds

    def _out_of_fold(
        self,
        data: Data,
        features: dict[str, np.ndarray],
        targets: np.ndarray,
        seeds: list[int],
        folds: list[tuple[np.ndarray, np.ndarray]],
        networks: bool,
    ) -> dict[str, np.ndarray]:
        """Run every model on the rows it was not fitted on, fold after fold."""
        outputs: dict[str, list[np.ndarray]] = {}
        if networks:
            self._fit_nets(data, targets, seeds, [train for train, _ in folds])
            raw = [
                self._run_net(net, self.encoder_.inputs(data[test]))
                for net, (_, test) in zip(self.nets_, folds, strict=True)
            ]
            self._calibrate_nets(np.concatenate([targets[test] for _, test in folds]), raw)
            outputs[_NETWORK] = [self._net_outputs(values) for values in raw]
        jobs = [(name, fold) for name in self._readouts for fold in folds]
        columns = self._readout_columns(features)
        for name, (train, test) in tqdm(jobs, "readouts", disable=not self.verbose):
            fitted = self._fit_one(
                self._readouts[name], columns[name][train], targets[train], seeds[-1]
            )
            values = self._readout_outputs(name, fitted, columns[name][test])
            outputs.setdefault(name, []).append(values)
        return {name: np.concatenate(values) for name, values in outputs.items()}

    def _readout_blocks(self) -> set[str]:
        return {block for readout in self._readouts.values() for block in readout.blocks}

    def _readout_columns(self, features: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        blocks = {name: readout.blocks for name, readout in self._readouts.items()}
        matrices = {names: side_by_side(features, names) for names in set(blocks.values())}
        return {name: matrices[names] for name, names in blocks.items()}

    def _fit_readouts(
        self, features: dict[str, np.ndarray], targets: np.ndarray, seed: int
    ) -> None:
        columns = self._readout_columns(features)
        self.readouts_ = {
            name: self._fit_one(readout, columns[name], targets, seed)
            for name, readout in self._readouts.items()
        }

    def _fit_one(
        self, readout: Readout, features: np.ndarray, targets: np.ndarray, seed: int
    ) -> Any:
        estimator = with_seed(clone(readout.estimator), seed)
        one_column = targets.ndim == 2 and targets.shape[1] == 1
        return estimator.fit(features, targets[:, 0] if one_column else targets)

    def _run_readout(
        self, name: str, predict: Callable[[np.ndarray], np.ndarray], features: np.ndarray
    ) -> np.ndarray:
        # matrix products, which a readout of the user's own may use, round by their shape
        n_jobs = 1 if name == _CUSTOM else self.n_jobs
        return np.asarray(predict_in_order(predict, features, n_jobs))

    def _fit_nets(
        self,
        data: Data,
        targets: np.ndarray,
        seeds: list[int],
        members: list[np.ndarray],
    ) -> None:
        """Train one network on each set of rows."""
        inputs = self.encoder_.inputs(data)
        spec, weights = self.encoder_.trainable()
        settings = self._settings(len(members[0]), pretrained=weights is not None)
        jobs = []
        for rows, seed in zip(members, seeds, strict=False):
            fit_rows, valid_rows = self._validation_split(rows, targets, seed)
            validation = (
                None if valid_rows is None else inputs.take(valid_rows, targets[valid_rows])
            )
            patience = None if validation is None else self.patience
            jobs.append(
                {
                    "spec": spec,
                    "weights": weights,
                    "data": inputs.take(fit_rows, targets[fit_rows]),
                    "settings": replace(settings, seed=seed, patience=patience),
                    "validation": validation,
                }
            )
        results = _train_all(jobs, settings.max_epochs, self.n_jobs, self.verbose)
        self.nets_ = [net for net, _ in results]
        self.history_ = [history for _, history in results]

    def _settings(self, n_rows: int, *, pretrained: bool) -> TrainingSettings:
        from sklearn_kt.encoder.training import TrainingSettings, resolve_device

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
                rate = 5e-5
        loss, n_outputs = self._objective()
        return TrainingSettings(
            loss=loss,
            n_outputs=n_outputs,
            max_epochs=epochs,
            batch_size=batch,
            learning_rate=float(self.learning_rate),
            backbone_learning_rate=float(rate),
            weight_decay=float(self.weight_decay),
            dropout=float(self.dropout),
            patience=None,
            device=resolve_device(self.device),
            seed=0,
        )

    def _validation_split(
        self, rows: np.ndarray, targets: np.ndarray, seed: int
    ) -> tuple[np.ndarray, np.ndarray | None]:
        wanted = self.early_stopping
        if wanted == "auto":
            wanted = len(rows) >= _MIN_EARLY_STOPPING_ROWS
        if not wanted:
            return rows, None
        if len(rows) < 2:
            raise InputError(
                "early_stopping=True needs at least 2 rows; pass early_stopping=False."
            )
        stratify = targets[rows] if targets.ndim == 1 else None
        if stratify is not None:
            counts = np.bincount(stratify)
            smallest = counts[counts > 0].min()
            if smallest * _VALIDATION < 1 or smallest < 2:
                stratify = None
        fit_rows, valid_rows = train_test_split(
            rows, test_size=_VALIDATION, random_state=seed, stratify=stratify
        )
        return fit_rows, valid_rows

    def _outputs(
        self, data: Data, measure: Callable[[np.ndarray], np.ndarray] | None = None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Blended outputs and the size of their errors, if one is to measure it.

        Rows that are not compositions (``errors="nan"``) are NaN.
        """
        out = np.full((len(data), self._objective()[1]), np.nan)
        spread = None if measure is None else out.copy()
        names = self._readout_blocks()
        if measure is not None:
            names |= {*self._error_blocks}
        for part, rows in self._valid_chunks(data):
            features = self._features(part, names)
            blend: Any = 0.0
            if _NETWORK in self.readout_weights_:
                blend = self.readout_weights_[_NETWORK] * self._run_nets(self.encoder_.inputs(part))
            columns = self._readout_columns(features)
            for name, fitted in self.readouts_.items():
                values = self._readout_outputs(name, fitted, columns[name])
                blend = blend + self.readout_weights_[name] * values
            out[rows] = blend
            if spread is not None and measure is not None:
                spread[rows] = measure(side_by_side(features, self._error_blocks))
        return out, spread

    def _run_nets(self, inputs: Inputs) -> np.ndarray:
        """Answer of the ensemble of networks."""
        return self._combine([self._net_outputs(self._run_net(net, inputs)) for net in self.nets_])

    def _run_net(self, net: NeuralNet, inputs: Inputs) -> np.ndarray:
        from sklearn_kt.encoder.training import forward, resolve_device

        return forward(net.module_, inputs, device=resolve_device(self.device)).astype(np.float64)

    def _valid_chunks(self, data: Data) -> Iterator[tuple[Data, np.ndarray]]:
        valid = data.valid if isinstance(data, CompositionBatch) else np.ones(len(data), bool)
        rows = np.flatnonzero(valid)
        for chunk in chunks(len(rows)):
            yield data[rows[chunk]], rows[chunk]


class ImplicitKTRegressor(RegressorMixin, _BaseImplicitKT):
    """Predict a property from chemical formulas with a transferred encoder.

    Parameters
    ----------
    checkpoint : str, Path or None, default="default"
        Pretrained composition encoder: the name of a bundled checkpoint or a
        folder written by :meth:`save_pretrained`. None trains from scratch.
    backbone : {"tiny", "small", "base"}, str, Path or None, default=None
        With ``checkpoint=None``: size of an encoder trained from scratch (None is
        ``"small"``), or a Hugging Face text encoder: a local folder, or a name.
    local_files_only : bool, default=True
        Never use the network. False lets a Hugging Face ``backbone`` given by
        name be downloaded.
    readout : {"auto", "fast", "head"} or scikit-learn regressor, default="auto"
        What turns the encoder into predictions:

        - ``"auto"``: networks fine-tuned end to end, and scikit-learn models on frozen
          features (:func:`~sklearn_kt.estimators.readouts.default_readouts`), blended with the
          weights that serve best on inner folds that neither has seen;
        - ``"fast"``: forests without networks, in seconds;
        - ``"head"``: the networks alone;
        - a regressor: fitted alone on all blocks of frozen features, like
          :class:`CompositionEmbedder` in a pipeline.

        Tables of fewer than 12 rows have nothing to compare on: networks are then
        trained alone, and there are no uncertainties. ``"auto"`` leaves
        tables of more than 50,000 rows to the networks.
    n_estimators : int, default=5
        Networks in the ensemble, each trained without one of ten inner folds (fewer on
        small tables); a single one sees all rows in the end.
    max_epochs : int or "auto", default="auto"
        Passes over the training rows; ``"auto"`` aims at 2000 weight updates
        (30 to 150 epochs) from scratch, at 500 (10 to 60) from pretrained weights.
    batch_size : int or "auto", default="auto"
        Rows per update; ``"auto"`` is about a fortieth of the rows, 16 to 128.
    learning_rate : float, default=1e-3
        Peak rate of the head, after a warm-up over a tenth of the updates and
        before the decay to zero.
    backbone_learning_rate : float or "auto", default="auto"
        Peak rate of the backbone: ``learning_rate`` from scratch, a third of it
        for pretrained weights, 5e-5 for Hugging Face text encoders.
    weight_decay : float, default=0.01
        Of AdamW.
    dropout : float, default=0.1
        In the head.
    loss : {"absolute_error", "huber", "squared_error"}, default="absolute_error"
        Training loss, on standardised targets. Ensembles answer to it: with
        ``"squared_error"`` they predict the mean of their members, else the median.
    early_stopping : bool or "auto", default=False
        Keep the weights of the epoch that is best on a shuffled tenth of the
        rows, held out of each member; ``"auto"`` does so from 500 rows on. Off
        by default: the rate decays to zero anyway, and every row is trained on.
    patience : int, default=20
        Epochs without progress after which early stopping ends training.
    errors : {"raise", "nan"}, default="raise"
        What ``predict`` does with a row that is not a composition: raise, or
        predict NaN and warn once with the count. ``fit`` always raises.
    device : str, default="auto"
        ``"auto"`` (a GPU when there is one), ``"cpu"``, ``"cuda"``, ...
    n_jobs : int or None, default=None
        Networks trained at a time, in processes of their own.
    random_state : int, RandomState instance or None, default=None
        Seeds initial weights, batches, splits, and a readout that has no seed; None draws
        a new seed from the operating system. The global generators of numpy and torch are
        left alone, and threads that fit at a time train their networks in turn.
    verbose : int, default=0
        1 shows a progress bar with the loss and the time left.

    Attributes
    ----------
    nets_ : list of skorch.NeuralNet
        Trained networks, trimmed, on the CPU; empty if the readout alone predicts.
    history_ : list of list of dict
        Training curve of each network: ``epoch``, ``train_loss``, ``valid_loss``.
    readout_weights_ : dict of str to float
        Share of each model in a prediction: ``"network"``, readouts by name.
    readout_scores_ : dict of str to float
        Out-of-fold loss of each model, and of the ``"blend"`` (standardised units).
    readouts_ : dict of str to object
        Fitted scikit-learn readouts with a share.
    encoder_ : Encoder
        What reads X; its pretrained network is there if it feeds a readout.
    error_model_ : ErrorModel or None
        What expects errors; None without inner folds.
    input_kind_ : {"compositions", "features"}
        Kind of X seen in ``fit``.
    elements_ : ndarray of str
        Symbols of the elements in the training table; only for compositions.
    n_features_in_ : int
        1 for compositions, else the number of columns.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Column names, if X was a dataframe.

    See Also
    --------
    ImplicitKTClassifier : The same for classes.
    CompositionEmbedder : Frozen embeddings for a model of your own.

    Notes
    -----
    A composition enters as fractions: ``LiFePO4`` and ``Li2Fe2P2O8`` get the
    same prediction. Numeric rows (matminer features, say) are standardised and
    go through a small residual network instead of the encoder; the output of
    :class:`CompositionTokenizer` with ``scheme="element"`` is recognised and
    read as the compositions it encodes.

    The idea of implicit transfer is that of [1]_; architecture, readouts and
    defaults are this package's own.

    References
    ----------
    .. [1] I. Rubtsov, I. Dudakov, Y. Kuratov, V. Korolev, "Enhancing
       composition-based materials property prediction by cross-modal knowledge
       transfer", arXiv:2511.03371 (2025).

    Examples
    --------
    >>> from sklearn_kt import ImplicitKTRegressor
    >>> X = ["NaCl", "KCl", "MgO", "CaO", "Si", "Ge", "GaAs", "ZnO"]
    >>> y = [8.5, 8.4, 7.8, 6.9, 1.1, 0.7, 1.4, 3.4]  # band gap in eV
    >>> model = ImplicitKTRegressor(
    ...     None, backbone="tiny", readout="head", n_estimators=2, max_epochs=5, random_state=0
    ... ).fit(X, y)
    >>> model.predict(["LiF", "SiC"]).shape
    (2,)
    """

    _parameter_constraints: ClassVar[dict[str, list]] = {
        **_BaseImplicitKT._parameter_constraints,
        "loss": [StrOptions({"absolute_error", "huber", "squared_error"})],
    }

    def __init__(
        self,
        checkpoint: str | Path | None = "default",
        *,
        backbone: str | Path | None = None,
        local_files_only: bool = True,
        readout: Any = "auto",
        n_estimators: int = 5,
        max_epochs: int | str = "auto",
        batch_size: int | str = "auto",
        learning_rate: float = 1e-3,
        backbone_learning_rate: float | str = "auto",
        weight_decay: float = 0.01,
        dropout: float = 0.1,
        loss: str = "absolute_error",
        early_stopping: bool | str = False,
        patience: int = 20,
        errors: str = "raise",
        device: str = "auto",
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.checkpoint = checkpoint
        self.backbone = backbone
        self.local_files_only = local_files_only
        self.readout = readout
        self.n_estimators = n_estimators
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.backbone_learning_rate = backbone_learning_rate
        self.weight_decay = weight_decay
        self.dropout = dropout
        self.loss = loss
        self.early_stopping = early_stopping
        self.patience = patience
        self.errors = errors
        self.device = device
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    @own_settings()
    def predict(
        self, X: Any, return_std: bool = False
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Predict the property.

        Parameters
        ----------
        X : array-like of compositions, or matrix of shape (n_samples, n_features)
            As in :meth:`fit`.
        return_std : bool, default=False
            Also return the standard deviation of the error, calibrated on the inner
            folds' errors.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            In the rows' order and in the units of the targets.
        std : ndarray of the same shape
            Only with ``return_std=True``.

        Raises
        ------
        InputError
            If ``return_std`` is asked of a model without inner folds; see
            :meth:`predict_interval`.
        """
        check_is_fitted(self)
        measure = self._errors().std if return_std else None
        mean, spread = self._outputs(self._read(X, errors=self.errors), measure)
        if spread is None:
            return self._unscale(mean)
        return self._unscale(mean), self._unscale_spread(spread)

    @own_settings()
    def predict_interval(self, X: Any, coverage: float = 0.9) -> np.ndarray:
        """Predict intervals that hold the property with a given probability.

        Parameters
        ----------
        X : array-like of compositions, or matrix of shape (n_samples, n_features)
            As in :meth:`fit`.
        coverage : float, default=0.9
            Share of new compounds, like those of the training table, whose property
            lies inside.

        Returns
        -------
        ndarray of shape (n_samples, 2) or (n_samples, n_outputs, 2)
            Lower and upper bounds, in the units of the targets.

        Raises
        ------
        InputError
            If the model has no inner folds to learn its errors from: it was fitted
            with a readout of your own, or on a handful of rows.

        Notes
        -----
        Normalised conformal prediction on the errors of the inner folds
        (:class:`sklearn_kt.estimators.readouts.ErrorModel`). New compounds unlike the table's have
        larger errors than any interval says.

        Examples
        --------
        >>> from sklearn_kt import ImplicitKTRegressor
        >>> X = [f"{a}{b}" for a in ("Li", "Na", "K", "Rb", "Cs") for b in ("F", "Cl", "Br", "I")]
        >>> y = [6.0, 5.2, 4.7, 4.1, 5.7, 5.0, 4.5, 3.9, 5.2, 4.9, 4.4, 3.9, 5.0, 4.8, 4.3, 3.8,
        ...      4.9, 4.6, 4.2, 3.7]
        >>> model = ImplicitKTRegressor(readout="fast", random_state=0).fit(X, y)
        >>> model.predict_interval(["NaAt"], coverage=0.8).shape
        (1, 2)
        """
        check_is_fitted(self)
        width = partial(self._errors().width, coverage=coverage)
        outputs, spread = self._outputs(self._read(X, errors=self.errors), width)
        assert spread is not None
        mean, half = self._unscale(outputs), self._unscale_spread(spread)
        return np.stack([mean - half, mean + half], axis=-1)

    def _read_targets(self, y: Any) -> np.ndarray:
        y = read_numbers(self, y, multi_output=True)
        self._flat = y.ndim == 1
        return y

    def _encode_targets(self, y: np.ndarray) -> np.ndarray:
        self._loss = self.loss
        columns = y.reshape(len(y), -1)
        self.target_scaler_ = StandardScaler().fit(columns)
        return self.target_scaler_.transform(columns).astype(np.float32)

    def _objective(self) -> tuple[str, int]:
        return self._loss, len(self.target_scaler_.scale_)

    def _calibrate_nets(self, targets: np.ndarray, raw: list[np.ndarray]) -> None:
        """Networks for numbers need none."""

    def _net_outputs(self, raw: np.ndarray) -> np.ndarray:
        return raw

    def _combine(self, members: list[np.ndarray]) -> np.ndarray:
        """Let the networks vote as their loss demands."""
        return (np.mean if self._loss == "squared_error" else np.median)(members, axis=0)

    def _readout_outputs(self, name: str, fitted: Any, features: np.ndarray) -> np.ndarray:
        values = self._run_readout(name, fitted.predict, features).reshape(len(features), -1)
        # a readout of the user's own learns the targets as they are
        return self.target_scaler_.transform(values) if name == _CUSTOM else values

    def _score(self, targets: np.ndarray, outputs: np.ndarray) -> float:
        error = np.abs(outputs - targets)
        return float(np.mean(error**2 if self._loss == "squared_error" else error))

    def _blocks_of_errors(self) -> tuple[str, ...]:
        return tuple(block for block in self.encoder_.blocks if block != "embedding")

    def _errors(self) -> ErrorModel:
        if self.error_model_ is None:
            raise InputError(
                "there are no out-of-fold errors to take uncertainties from; fit with readout "
                f"'auto', 'fast' or 'head' on at least {MIN_FOLD_ROWS * _MIN_FOLDS} rows."
            )
        return self.error_model_

    def _unscale(self, scaled: np.ndarray) -> np.ndarray:
        values = self.target_scaler_.inverse_transform(scaled)
        return values[:, 0] if self._flat else values

    def _unscale_spread(self, scaled: np.ndarray) -> np.ndarray:
        values = scaled * self.target_scaler_.scale_
        return values[:, 0] if self._flat else values

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


class ImplicitKTClassifier(ClassifierMixin, _BaseImplicitKT):
    """Predict a class from chemical formulas with a transferred encoder.

    Parameters
    ----------
    checkpoint : str, Path or None, default="default"
        Pretrained composition encoder: the name of a bundled checkpoint or a
        folder written by :meth:`save_pretrained`. None trains from scratch.
    backbone : {"tiny", "small", "base"}, str, Path or None, default=None
        With ``checkpoint=None``: size of an encoder trained from scratch (None is
        ``"small"``), or a Hugging Face text encoder: a local folder, or a name.
    local_files_only : bool, default=True
        Never use the network. False lets a Hugging Face ``backbone`` given by
        name be downloaded.
    readout : {"auto", "fast", "head"} or scikit-learn classifier, default="auto"
        What turns the encoder into probabilities:

        - ``"auto"``: networks fine-tuned end to end, and scikit-learn models on frozen
          features (:func:`~sklearn_kt.estimators.readouts.default_readouts`), blended with the
          weights that serve best on inner folds that neither has seen;
        - ``"fast"``: forests without networks, in seconds;
        - ``"head"``: the networks alone;
        - a classifier (with ``predict_proba``): fitted alone on all blocks of frozen features, like
          :class:`CompositionEmbedder` in a pipeline.

        Tables of fewer than 12 rows of each class have nothing to compare on: networks
        are then trained alone. ``"auto"`` leaves tables of more than
        50,000 rows to the networks.
    n_estimators : int, default=5
        Networks in the ensemble, each trained without one of ten inner folds (fewer on
        small tables); a single one sees all rows in the end.
    max_epochs : int or "auto", default="auto"
        Passes over the training rows; ``"auto"`` aims at 2000 weight updates
        (30 to 150 epochs) from scratch, at 500 (10 to 60) from pretrained weights.
    batch_size : int or "auto", default="auto"
        Rows per update; ``"auto"`` is about a fortieth of the rows, 16 to 128.
    learning_rate : float, default=1e-3
        Peak rate of the head, after a warm-up over a tenth of the updates and
        before the decay to zero.
    backbone_learning_rate : float or "auto", default="auto"
        Peak rate of the backbone: ``learning_rate`` from scratch, a third of it
        for pretrained weights, 5e-5 for Hugging Face text encoders.
    weight_decay : float, default=0.01
        Of AdamW.
    dropout : float, default=0.1
        In the head.
    class_weight : dict, "balanced" or None, default=None
        How much a class counts: the models' probabilities are multiplied by its weight and
        made to add up to 1 again. ``"balanced"`` gives each class the weight that it lacks in
        number and maximises balanced accuracy; None keeps probabilities true to the training
        table.
    early_stopping : bool or "auto", default=False
        Keep the weights of the epoch that is best on a tenth of the rows,
        stratified by class and held out of each member; ``"auto"`` does so from
        500 rows on.
    patience : int, default=20
        Epochs without progress after which early stopping ends training.
    errors : {"raise", "nan"}, default="raise"
        What ``predict`` does with a row that is not a composition: raise, or
        give NaN probabilities and the label None (in an object array) and warn
        once with the count. ``fit`` always raises.
    device : str, default="auto"
        ``"auto"`` (a GPU when there is one), ``"cpu"``, ``"cuda"``, ...
    n_jobs : int or None, default=None
        Networks trained at a time, in processes of their own.
    random_state : int, RandomState instance or None, default=None
        Seeds initial weights, batches, splits, and a readout that has no seed; None draws
        a new seed from the operating system. The global generators of numpy and torch are
        left alone, and threads that fit at a time train their networks in turn.
    verbose : int, default=0
        1 shows a progress bar with the loss and the time left.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels.
    nets_ : list of skorch.NeuralNet
        Trained networks, trimmed, on the CPU; empty if the readout alone predicts.
    history_ : list of list of dict
        Training curve of each network: ``epoch``, ``train_loss``, ``valid_loss``.
    readout_weights_ : dict of str to float
        Share of each model in a prediction: ``"network"``, readouts by name.
    readout_scores_ : dict of str to float
        Out-of-fold loss of each model, and of the ``"blend"``.
    readouts_ : dict of str to object
        Fitted scikit-learn readouts with a share.
    encoder_ : Encoder
        What reads X; its pretrained network is there if it feeds a readout.
    temperature_ : float
        Softmax temperature of the networks, fitted to the inner folds; 1 without them.
    input_kind_ : {"compositions", "features"}
        Kind of X seen in ``fit``.
    elements_ : ndarray of str
        Symbols of the elements in the training table; only for compositions.
    n_features_in_ : int
        1 for compositions, else the number of columns.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Column names, if X was a dataframe.

    See Also
    --------
    ImplicitKTRegressor : The same for numbers.

    References
    ----------
    .. [1] I. Rubtsov, I. Dudakov, Y. Kuratov, V. Korolev, "Enhancing
       composition-based materials property prediction by cross-modal knowledge
       transfer", arXiv:2511.03371 (2025).

    Examples
    --------
    >>> from sklearn_kt import ImplicitKTClassifier
    >>> X = ["NaCl", "MgO", "SiO2", "Cu", "FeAl", "NiTi"]
    >>> y = ["insulator", "insulator", "insulator", "metal", "metal", "metal"]
    >>> model = ImplicitKTClassifier(
    ...     None, backbone="tiny", readout="head", n_estimators=1, max_epochs=5, random_state=0
    ... ).fit(X, y)
    >>> model.predict_proba(["KCl", "CoAl"]).shape
    (2, 2)
    """

    _parameter_constraints: ClassVar[dict[str, list]] = {
        **_BaseImplicitKT._parameter_constraints,
        "readout": [StrOptions({"auto", "fast", "head"}), HasMethods(["fit", "predict_proba"])],
        "class_weight": [dict, StrOptions({"balanced"}), None],
    }

    def __init__(
        self,
        checkpoint: str | Path | None = "default",
        *,
        backbone: str | Path | None = None,
        local_files_only: bool = True,
        readout: Any = "auto",
        n_estimators: int = 5,
        max_epochs: int | str = "auto",
        batch_size: int | str = "auto",
        learning_rate: float = 1e-3,
        backbone_learning_rate: float | str = "auto",
        weight_decay: float = 0.01,
        dropout: float = 0.1,
        class_weight: Any = None,
        early_stopping: bool | str = False,
        patience: int = 20,
        errors: str = "raise",
        device: str = "auto",
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.checkpoint = checkpoint
        self.backbone = backbone
        self.local_files_only = local_files_only
        self.readout = readout
        self.n_estimators = n_estimators
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.backbone_learning_rate = backbone_learning_rate
        self.weight_decay = weight_decay
        self.dropout = dropout
        self.class_weight = class_weight
        self.early_stopping = early_stopping
        self.patience = patience
        self.errors = errors
        self.device = device
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    @own_settings()
    def predict(
        self, X: Any, return_proba: bool = False
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Predict the most probable class, or what a readout of your own decides.

        Parameters
        ----------
        X : array-like of compositions, or matrix of shape (n_samples, n_features)
            As in :meth:`fit`.
        return_proba : bool, default=False
            Also return the probabilities of :meth:`predict_proba`, which then take no time.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            In the rows' order.
        probabilities : ndarray of shape (n_samples, n_classes)
            Only with ``return_proba=True``.

        Notes
        -----
        A readout with a threshold of its own
        (:class:`~sklearn.model_selection.FixedThresholdClassifier`) keeps it, unless
        `class_weight` weighs its probabilities.
        """
        check_is_fitted(self)
        data = self._read(X, errors=self.errors)
        decided = None
        if _CUSTOM in self.readouts_ and (self._class_weights == 1).all():
            decided = self._votes(data)
            if not return_proba:
                return most_probable(self.classes_, decided)
        probabilities = self._probabilities(data)
        labels = most_probable(self.classes_, probabilities if decided is None else decided)
        return (labels, self._smoothed(probabilities)) if return_proba else labels

    @own_settings()
    def predict_proba(self, X: Any) -> np.ndarray:
        """Predict class probabilities.

        Parameters
        ----------
        X : array-like of compositions, or matrix of shape (n_samples, n_features)
            As in :meth:`fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Columns in the order of ``classes_``.

        Notes
        -----
        Where forests alone have a say, as with ``readout="fast"``, one more tree is counted
        that votes for all classes alike [1]_: 100 trees that agree say 0.995 of two
        classes, not 1. Labels and the order of rows stay as they are.

        References
        ----------
        .. [1] F. Provost, P. Domingos, "Tree induction for probability-based ranking",
           Machine Learning 52, 199-215 (2003). Smoothed frequencies.
        """
        check_is_fitted(self)
        return self._smoothed(self._probabilities(self._read(X, errors=self.errors)))

    def _smoothed(self, probabilities: np.ndarray) -> np.ndarray:
        n_trees = self._n_voters()
        if n_trees is None:
            return probabilities
        # as if one more tree voted for all classes alike: the order of classes and rows stays
        return (n_trees * probabilities + 1 / len(self.classes_)) / (n_trees + 1)

    def _n_voters(self) -> int | None:
        """Count the trees whose votes are all there is; None if something else has a say."""
        if _NETWORK in self.readout_weights_ or _CUSTOM in self.readout_weights_:
            return None
        models = self.readouts_.values()
        if not all(isinstance(model, ExtraTreesClassifier) for model in models):
            return None
        return min(model.n_estimators for model in models)

    def _votes(self, data: Data) -> np.ndarray:
        """Tabulate, as 0 and 1, what the readout of the user's own decides."""
        out = np.full((len(data), len(self.classes_)), np.nan)
        for part, rows in self._valid_chunks(data):
            columns = self._readout_columns(self._features(part, self._readout_blocks()))
            predict = self.readouts_[_CUSTOM].predict
            labels = self._run_readout(_CUSTOM, predict, columns[_CUSTOM])
            out[rows] = votes(self.classes_, labels)
        return out

    def _probabilities(self, data: Data) -> np.ndarray:
        return self._weigh(self._outputs(data)[0])

    def _read_targets(self, y: Any) -> np.ndarray:
        return read_labels(self, y)

    def _encode_targets(self, y: np.ndarray) -> np.ndarray:
        encoder = LabelEncoder().fit(y)
        self.classes_ = encoder.classes_
        self.temperature_ = 1.0
        _check_class_weight(self.class_weight)
        weights = compute_class_weight(self.class_weight, classes=self.classes_, y=y)
        # no share of 0, which would leave a certain row without any probability
        self._class_weights = np.maximum(weights, np.finfo(float).tiny)
        return encoder.transform(y).astype(np.int64)

    def _objective(self) -> tuple[str, int]:
        return "log_loss", len(self.classes_)

    def _calibrate_nets(self, targets: np.ndarray, raw: list[np.ndarray]) -> None:
        """Fit the temperature of the softmax to rows that the networks have not seen.

        C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On calibration of modern neural
        networks", ICML 2017. Fine-tuned networks are far too sure of themselves.
        """
        from scipy.optimize import minimize_scalar

        logits = np.concatenate(raw)

        def loss(log_temperature: float) -> float:
            return self._score(targets, softmax(logits / np.exp(log_temperature), axis=1))

        best = minimize_scalar(loss, bounds=_LOG_TEMPERATURES, method="bounded")
        self.temperature_ = float(np.exp(best.x))

    def _net_outputs(self, raw: np.ndarray) -> np.ndarray:
        return softmax(raw / self.temperature_, axis=1)

    def _combine(self, members: list[np.ndarray]) -> np.ndarray:
        return np.mean(members, axis=0)

    def _readout_outputs(self, name: str, fitted: Any, features: np.ndarray) -> np.ndarray:
        return self._run_readout(name, fitted.predict_proba, features)

    def _score(self, targets: np.ndarray, outputs: np.ndarray) -> float:
        return float(log_loss(targets, outputs, labels=np.arange(len(self.classes_))))

    def _weigh(self, probabilities: np.ndarray) -> np.ndarray:
        weighted = probabilities * self._class_weights
        return weighted / weighted.sum(axis=1, keepdims=True)

    def _blocks_of_errors(self) -> tuple[str, ...]:
        """Probabilities are their own uncertainty."""
        return ()


def _check_class_weight(class_weight: Any) -> None:
    if not isinstance(class_weight, dict):
        return
    for label, weight in class_weight.items():
        if not isinstance(weight, Real) or not 0 <= float(weight) < np.inf:
            raise InputError(
                f"class_weight gives class {label!r} the weight {weight!r}; weights are finite "
                "numbers, and none is negative."
            )
    if not 0 < sum(class_weight.values()) < np.inf:
        raise InputError(f"class_weight={class_weight!r} adds up to 0, or to infinity.")


def _train_all(
    jobs: list[dict[str, Any]], epochs: int, n_jobs: int | None, verbose: int
) -> list[tuple[NeuralNet, list[dict[str, float]]]]:
    from sklearn_kt.encoder.training import train

    if effective_n_jobs(n_jobs) > 1 and len(jobs) > 1:
        parallel = Parallel(n_jobs=n_jobs, return_as="generator")
        results = parallel(delayed(train)(**job) for job in jobs)
        return list(tqdm(results, "networks", len(jobs), disable=not verbose))
    with tqdm(total=epochs * len(jobs), unit="epoch", disable=not verbose) as bar:

        def on_epoch(loss: float) -> None:
            bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
            bar.update()

        trained = []
        for member, job in enumerate(jobs, start=1):
            bar.set_description(f"network {member}/{len(jobs)}", refresh=False)
            trained.append(train(**job, on_epoch=on_epoch))
            # a network that stopped early leaves no gap in the bar
            bar.update(epochs * member - bar.n)
        return trained
