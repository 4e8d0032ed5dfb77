"""Implicit knowledge transfer: estimators on a composition encoder.

The encoder reads a formula as a set of element tokens; what it knows of
structures and electronic properties comes from its pretrained weights. The
estimators here fine-tune it on a table, read its frozen embeddings with a
scikit-learn model, or blend both.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
from joblib import Parallel, delayed, effective_n_jobs
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    RegressorMixin,
    TransformerMixin,
    _fit_context,
    clone,
)
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor
from sklearn.metrics import log_loss
from sklearn.model_selection import KFold, StratifiedKFold, train_test_split
from sklearn.preprocessing import LabelEncoder, StandardScaler
from sklearn.utils import check_array, check_consistent_length, check_random_state
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data
from tqdm.auto import tqdm

from .compositions import ELEMENTS, CompositionBatch, is_composition_input, read_compositions
from .encoder import PRESETS, load_backbone, load_checkpoint, save_checkpoint
from .exceptions import InputError
from .tokenizer import (
    batch_from_tokens,
    composition_text,
    is_token_matrix,
    load_text_tokenizer,
    token_matrix,
)

if TYPE_CHECKING:
    from skorch import NeuralNet

    from .training import Inputs, TrainingSettings

__all__ = ["CompositionEmbedder", "ImplicitKTClassifier", "ImplicitKTRegressor"]

# Rows handled at a time by predict and transform, so that memory stays flat.
_CHUNK = 16_384
# Weight updates that max_epochs="auto" aims at, and the epochs it is clipped to:
# from scratch, and from pretrained weights, which have little left to learn.
_UPDATES = {False: 2000, True: 800}
_EPOCHS = {False: (30, 150), True: (10, 60)}
# Rows (of each class) that every fold of the inner cross-validation needs.
_MIN_FOLD_ROWS = 4
# readout="auto" compares with trees up to this many rows only.
_MAX_TREE_ROWS = 20_000
_N_TREES = 300
# Tables smaller than this are trained on whole: a validation split would be noise.
_MIN_EARLY_STOPPING_ROWS = 500
_VALIDATION = 0.1
_HOLD_OUT = 0.2
# "auto" takes the blend where it beats the better single model by this ratio.
_BLEND_MARGIN = 0.005
_BLEND_GRID = np.linspace(0.0, 1.0, 21)

Data = CompositionBatch | np.ndarray
Weights = dict[str, Any] | None  # name -> torch.Tensor


class _BackboneMixin:
    """Reading X and feeding a backbone, shared by the estimators and the embedder."""

    backbone: str | Path | None
    checkpoint: str | Path | None
    local_files_only: bool
    errors: str
    device: str
    encoder_: Any
    input_kind_: str

    def _read(self, X: Any, *, reset: bool) -> Data:
        """Compositions as a batch or rows of numbers, checked against ``fit``."""
        data: Data
        if is_composition_input(X) or _holds_text(X):
            if hasattr(X, "columns"):
                # remembers and compares the column's name
                validate_data(self, X, skip_check_array=True, reset=reset)
            elif reset:
                self.n_features_in_ = 1
                self.__dict__.pop("feature_names_in_", None)
            data = read_compositions(X, errors="raise" if reset else self.errors)
            if len(data) == 0:
                raise InputError(
                    "Found array with 0 sample(s) while a minimum of 1 is required: X is empty."
                )
        elif reset or self.input_kind_ == "features":
            data = validate_data(self, X, reset=reset, dtype=np.float64)
        else:
            data = check_array(X, dtype=np.float64, input_name="X")
        if isinstance(data, np.ndarray) and is_token_matrix(data):
            data = batch_from_tokens(data)
        kind = "compositions" if isinstance(data, CompositionBatch) else "features"
        if reset:
            self.input_kind_ = kind
        elif kind != self.input_kind_:
            raise InputError(
                f"{type(self).__name__} was fitted on {self.input_kind_}, but X holds {kind}; "
                "pass the kind of X that fit saw."
            )
        return data

    def _resolve_backbone(self, data: Data) -> Weights:
        """Set ``spec_`` from ``checkpoint`` and ``backbone``; return pretrained weights."""
        if self.backbone is not None and self.checkpoint is not None:
            raise InputError(
                "a checkpoint brings its own architecture; pass checkpoint or backbone and leave "
                "the other None."
            )
        self.spec_: dict[str, Any]
        self.text_tokenizer_: Any = None
        preset = str(self.backbone or "small")
        if isinstance(data, np.ndarray):
            if self.checkpoint is not None or preset not in PRESETS:
                raise InputError(
                    "pretrained weights read compositions, but X is a numeric matrix; pass "
                    "formulas, or checkpoint=None and a preset as backbone."
                )
            self.feature_scaler_ = StandardScaler().fit(data)
            width = PRESETS[preset]["hidden_size"]
            self.spec_ = {"kind": "features", "config": {"n_features": data.shape[1]}}
            self.spec_["config"]["hidden_size"] = width
            return None
        if self.checkpoint is not None:
            self.spec_, weights = load_checkpoint(self.checkpoint)
            return weights
        if preset in PRESETS:
            self.spec_ = {"kind": "composition", "config": dict(PRESETS[preset])}
            return None
        local = self.local_files_only
        tokenizer = load_text_tokenizer(preset, local_files_only=local)
        # the bare tokenizer: transformers' wrapper would carry the folder's path into pickles
        self.text_tokenizer_ = tokenizer.backend_tokenizer
        self.text_tokenizer_.no_truncation()
        self.text_tokenizer_.enable_padding(
            pad_id=tokenizer.pad_token_id, pad_token=tokenizer.pad_token
        )
        self.spec_, weights = load_backbone(preset, local_files_only=local)
        return weights

    def _inputs(self, data: Data) -> Inputs:
        """Arrays that the backbone's ``forward`` takes."""
        from .training import Inputs

        if isinstance(data, np.ndarray):
            return Inputs({"features": self.feature_scaler_.transform(data).astype(np.float32)})
        if self.text_tokenizer_ is not None:
            encoded = self.text_tokenizer_.encode_batch(composition_text(data))
            arrays = {
                "input_ids": np.array([row.ids for row in encoded]),
                "attention_mask": np.array([row.attention_mask for row in encoded]),
            }
            lengths = arrays["attention_mask"].sum(axis=1)
            limit = self.spec_["config"].get("max_position_embeddings", np.inf)
            if lengths.max() > limit:
                raise InputError(
                    f"{data[[int(lengths.argmax())]].formulas()[0]!r} spelled out takes "
                    f"{lengths.max()} tokens, but the backbone reads at most {limit}; use an "
                    "element encoder (backbone=None) for such formulas."
                )
            return Inputs(arrays, lengths)
        ids, amounts = token_matrix(data)
        fractions = (amounts / amounts[:, :1]).astype(np.float32)
        return Inputs({"input_ids": ids, "fractions": fractions}, data.n_elements + 1)

    def _features(self, data: Data, fractions: bool = True) -> np.ndarray:
        """Frozen embeddings, then atomic fractions: what a scikit-learn readout sees."""
        from .training import forward, resolve_device

        if isinstance(data, np.ndarray):
            return data
        blocks = []
        for rows in _chunks(len(data)):
            parts = []
            if self.encoder_ is not None:
                device = resolve_device(self.device)
                parts.append(forward(self.encoder_, self._inputs(data[rows]), device=device))
            if fractions:
                parts.append(data[rows].fractions())
            blocks.append(np.hstack(parts))
        return np.vstack(blocks)


class _BaseImplicitKT(_BackboneMixin, BaseEstimator):
    """Fitting and ensemble prediction; subclasses add what targets mean."""

    _parameter_constraints: ClassVar[dict[str, list]] = {
        "checkpoint": [str, Path, None],
        "backbone": [str, Path, None],
        "local_files_only": ["boolean"],
        "readout": [StrOptions({"auto", "head", "stack"}), HasMethods(["fit", "predict"])],
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

    @_fit_context(prefer_skip_nested_validation=True)
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
        weights = self._resolve_backbone(data)
        rng = check_random_state(self.random_state)
        seeds = [int(s) for s in rng.randint(np.iinfo(np.int32).max, size=self.n_estimators + 1)]

        self.nets_: list[NeuralNet] = []
        self.history_: list[list[dict[str, float]]] = []
        self.readout_estimator_: Any = None
        self.encoder_ = None
        self.readout_scores_: dict[str, float] = {}
        self.readout_weight_ = 1.0
        self.readout_ = self._plan_readout(targets)
        everything = np.arange(len(data))
        if self.readout_ == "head":
            self._fit_nets(data, targets, weights, seeds, [everything] * self.n_estimators)
        elif self.readout_ == "estimator":
            self.encoder_ = _frozen(self.spec_, weights)
            self.readout_weight_ = 0.0
            self.readout_estimator_ = self._fit_readout(self._features(data), y, seeds[-1])
        else:
            self._cross_fit(data, y, targets, weights, seeds)
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
        from .training import backbone_weights

        check_is_fitted(self)
        if not self.nets_:
            raise InputError(
                f"readout {self.readout_!r} trained no network; fit with readout='head' to save "
                "a fine-tuned encoder."
            )
        card = (
            f"# Encoder fine-tuned by {type(self).__name__}\n\n"
            f"Ensemble member {member} of {len(self.nets_)}; started from "
            f"{'the checkpoint ' + Path(self.checkpoint).name if self.checkpoint else 'scratch'}.\n"
            "\nDo not evaluate it on rows it was fitted on.\n"
        )
        return save_checkpoint(self.spec_, backbone_weights(self.nets_[member]), folder, card=card)

    def _plan_readout(self, targets: np.ndarray) -> str:
        if not isinstance(self.readout, str):
            return "estimator"
        if self.readout == "head":
            return "head"
        rows = _MIN_FOLD_ROWS * max(2, self.n_estimators)
        counts = np.bincount(targets) if targets.ndim == 1 else np.array([len(targets)])
        enough = counts.min() >= rows and (targets.ndim == 2 or len(counts) > 1)
        if self.readout == "stack" and not enough:
            raise InputError(
                f"readout='stack' with n_estimators={self.n_estimators} needs at least {rows} rows"
                " (of each class) for its inner folds; use readout='head', a scikit-learn "
                "estimator, or fewer n_estimators."
            )
        if self.readout == "auto" and (not enough or len(targets) > _MAX_TREE_ROWS):
            return "head"
        return self.readout

    def _fit_nets(
        self,
        data: Data,
        targets: np.ndarray,
        weights: Weights,
        seeds: list[int],
        members: list[np.ndarray],
    ) -> None:
        """Train one network on each set of rows."""
        inputs = self._inputs(data)
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
                    "spec": self.spec_,
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
        from .training import TrainingSettings, resolve_device

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
            if self.spec_["kind"] == "text":
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

    def _cross_fit(
        self, data: Data, y: np.ndarray, targets: np.ndarray, weights: Weights, seeds: list[int]
    ) -> None:
        """Score networks and readout on inner folds that neither saw, and weigh them."""
        seed = seeds[-1]
        folds = self._inner_folds(targets, seed)
        self._fit_nets(data, targets, weights, seeds, [train for train, _ in folds])
        self.encoder_ = _frozen(self.spec_, weights)
        features = self._features(data)
        head, readout = [], []
        for net, (train, test) in zip(self.nets_, folds, strict=True):
            head.append(self._net_outputs(net, self._inputs(data[test])))
            fitted = self._fit_readout(features[train], y[train], seed)
            readout.append(self._readout_outputs(fitted, features[test]))
        truth = targets[np.concatenate([test for _, test in folds])]
        pair = np.concatenate(head), np.concatenate(readout)
        losses = [self._score(truth, w * pair[0] + (1 - w) * pair[1]) for w in _BLEND_GRID]
        best = int(np.argmin(losses))
        self.readout_scores_ = {
            "head": losses[-1],
            "estimator": losses[0],
            "stack": losses[best],
        }
        self.readout_weight_ = float(_BLEND_GRID[best])
        if self.readout == "auto":
            single = min(("head", "estimator"), key=self.readout_scores_.__getitem__)
            if losses[best] > (1 - _BLEND_MARGIN) * self.readout_scores_[single]:
                self.readout_, self.readout_weight_ = single, float(single == "head")
            else:
                self.readout_ = "stack"
        if self.readout_ == "head":
            self.encoder_ = None
        else:
            self.readout_estimator_ = self._fit_readout(features, y, seed)
        if self.readout_ == "estimator":
            self.nets_, self.history_ = [], []
        elif self.n_estimators == 1:
            # the scout saw 80 % of the rows; the one network kept sees them all
            self._fit_nets(data, targets, weights, seeds, [np.arange(len(targets))])

    def _inner_folds(self, targets: np.ndarray, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
        rows = np.arange(len(targets))
        stratify = targets if targets.ndim == 1 else None
        if self.n_estimators == 1:
            return [
                train_test_split(rows, test_size=_HOLD_OUT, random_state=seed, stratify=stratify)
            ]
        splitter = KFold if stratify is None else StratifiedKFold
        cv = splitter(self.n_estimators, shuffle=True, random_state=seed)
        return list(cv.split(rows, stratify))

    def _fit_readout(self, features: np.ndarray, y: np.ndarray, seed: int) -> Any:
        if isinstance(self.readout, str):
            estimator = self._default_readout(features.shape[1])
        else:
            estimator = clone(self.readout)
        parameters = estimator.get_params() if hasattr(estimator, "get_params") else {}
        if "random_state" in parameters and parameters["random_state"] is None:
            estimator.set_params(random_state=seed)
        return estimator.fit(features, y)

    def _outputs(self, data: Data, *, spread: bool = False) -> tuple[np.ndarray, np.ndarray | None]:
        """Blended outputs of all rows, and their standard deviation if asked for.

        Rows that are not compositions (``errors="nan"``) come back as NaN.
        """
        valid = data.valid if isinstance(data, CompositionBatch) else np.ones(len(data), bool)
        rows = np.flatnonzero(valid)
        means, stds = [], []
        for chunk in _chunks(len(rows)):
            part = data[rows[chunk]]
            mean, std = 0.0, 0.0
            if self.readout_weight_ > 0:
                inputs = self._inputs(part)
                members = np.stack([self._net_outputs(net, inputs) for net in self.nets_])
                mean = self.readout_weight_ * members.mean(axis=0)
                if spread:
                    std = self.readout_weight_ * members.std(axis=0, ddof=1)
            if self.readout_weight_ < 1:
                features = self._features(part)
                share = 1 - self.readout_weight_
                mean = mean + share * self._readout_outputs(self.readout_estimator_, features)
                if spread:
                    std = std + share * self._readout_std(features)
            means.append(mean)
            stds.append(std)
        out = np.full((len(data), self._objective()[1]), np.nan)
        deviation = np.full_like(out, np.nan) if spread else None
        if len(rows):
            out[rows] = np.concatenate(means)
            if deviation is not None:
                deviation[rows] = np.concatenate(stds)
        return out, deviation

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        return tags


class ImplicitKTRegressor(RegressorMixin, _BaseImplicitKT):
    """Predict a property from chemical formulas with a transferred encoder.

    Parameters
    ----------
    checkpoint : str, Path or None, default=None
        Pretrained composition encoder: the name of a bundled checkpoint or a
        folder written by :meth:`save_pretrained`. None trains from scratch.
    backbone : {"tiny", "small", "base"}, str, Path or None, default=None
        Size of an encoder trained from scratch (None is ``"small"``), or a
        Hugging Face text encoder: a local folder, or a name.
    local_files_only : bool, default=True
        Never use the network. False lets a Hugging Face ``backbone`` given by
        name be downloaded.
    readout : {"auto", "head", "stack"} or scikit-learn regressor, default="auto"
        What turns the encoder into predictions:

        - ``"head"``: an ensemble of networks fine-tuned end to end;
        - a regressor: fitted on frozen embeddings beside atomic fractions, like
          :class:`CompositionEmbedder` in a pipeline;
        - ``"stack"``: networks and extra-trees blended with the weight that is
          best on inner folds neither has seen;
        - ``"auto"``: the best of the three on those folds. Tables with fewer
          than four rows per fold, or more than 20,000 rows, use ``"head"``.
    n_estimators : int, default=5
        Networks in the ensemble. With ``"auto"`` and ``"stack"`` each is trained
        without one of ``n_estimators`` inner folds.
    max_epochs : int or "auto", default="auto"
        Passes over the training rows; ``"auto"`` aims at 2000 weight updates
        (30 to 150 epochs) from scratch, at 800 (10 to 60) from pretrained weights.
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
        Training loss, on standardised targets.
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
        Seeds initial weights, batches and splits. The global generators of
        numpy and torch are left alone.
    verbose : int, default=0
        1 shows a progress bar with the loss and the time left.

    Attributes
    ----------
    nets_ : list of skorch.NeuralNet
        Trained networks, trimmed, on the CPU; empty if the readout alone predicts.
    history_ : list of list of dict
        Training curve of each network: ``epoch``, ``train_loss``, ``valid_loss``.
    readout_ : {"head", "estimator", "stack"}
        The readout in use.
    readout_weight_ : float
        Share of the networks in a prediction.
    readout_scores_ : dict
        Inner-fold loss of each readout (standardised units), if compared.
    readout_estimator_ : object or None
        Fitted scikit-learn readout.
    encoder_ : torch.nn.Module or None
        Frozen pretrained backbone that feeds ``readout_estimator_``.
    input_kind_ : {"compositions", "features"}
        Kind of X seen in ``fit``.
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
    ...     backbone="tiny", readout="head", n_estimators=2, max_epochs=5, random_state=0
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
        checkpoint: str | Path | None = None,
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

    def predict(
        self, X: Any, return_std: bool = False
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Predict the property.

        Parameters
        ----------
        X : array-like of compositions, or matrix of shape (n_samples, n_features)
            As in :meth:`fit`.
        return_std : bool, default=False
            Also return the standard deviation over the ensemble: the networks,
            and the trees of the readout. It measures disagreement, not the
            whole error, and is not calibrated.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            In the rows' order and in the units of the targets.
        std : ndarray of the same shape
            Only with ``return_std=True``.
        """
        check_is_fitted(self)
        if return_std:
            self._check_spread()
        data = self._read(X, reset=False)
        scaled, spread = self._outputs(data, spread=return_std)
        mean = self.target_scaler_.inverse_transform(scaled)
        mean = mean[:, 0] if self._flat else mean
        if spread is None:
            return mean
        std = spread * self.target_scaler_.scale_
        return mean, std[:, 0] if self._flat else std

    def _read_targets(self, y: Any) -> np.ndarray:
        y = validate_data(self, y=y, multi_output=True, y_numeric=True)
        self._flat = y.ndim == 1
        # again: None in an object array becomes NaN only when it is converted
        return check_array(y, ensure_2d=False, dtype=np.float64, input_name="y")

    def _encode_targets(self, y: np.ndarray) -> np.ndarray:
        columns = y.reshape(len(y), -1)
        self.target_scaler_ = StandardScaler().fit(columns)
        return self.target_scaler_.transform(columns).astype(np.float32)

    def _objective(self) -> tuple[str, int]:
        return self.loss, len(self.target_scaler_.scale_)

    def _default_readout(self, n_features: int) -> ExtraTreesRegressor:
        # the few elements of a formula are all looked at; of an embedding's columns a third
        # is a third of the time and nearly as good
        share = 1.0 if n_features <= len(ELEMENTS) else 1 / 3
        return ExtraTreesRegressor(_N_TREES, max_features=share, n_jobs=self.n_jobs)

    def _net_outputs(self, net: NeuralNet, inputs: Inputs) -> np.ndarray:
        from .training import forward, resolve_device

        return forward(net.module_, inputs, device=resolve_device(self.device)).astype(np.float64)

    def _readout_outputs(self, estimator: Any, features: np.ndarray) -> np.ndarray:
        return self.target_scaler_.transform(estimator.predict(features).reshape(len(features), -1))

    def _score(self, targets: np.ndarray, outputs: np.ndarray) -> float:
        error = np.abs(outputs - targets)
        return float(np.mean(error**2 if self.loss == "squared_error" else error))

    def _check_spread(self) -> None:
        if self.readout_weight_ > 0 and len(self.nets_) < 2:
            raise InputError(
                "return_std needs an ensemble, but n_estimators=1; fit with n_estimators >= 2."
            )
        if self.readout_weight_ < 1 and not hasattr(self.readout_estimator_, "estimators_"):
            raise InputError(
                f"return_std needs a readout that is an ensemble of regressors (estimators_), "
                f"which {type(self.readout_estimator_).__name__} is not; use a forest, or "
                "readout='head'."
            )

    def _readout_std(self, features: np.ndarray) -> np.ndarray:
        trees = np.ravel(self.readout_estimator_.estimators_)
        outputs = np.stack([self._readout_outputs(tree, features) for tree in trees])
        return outputs.std(axis=0, ddof=1)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


class ImplicitKTClassifier(ClassifierMixin, _BaseImplicitKT):
    """Predict a class from chemical formulas with a transferred encoder.

    Parameters
    ----------
    checkpoint : str, Path or None, default=None
        Pretrained composition encoder: the name of a bundled checkpoint or a
        folder written by :meth:`save_pretrained`. None trains from scratch.
    backbone : {"tiny", "small", "base"}, str, Path or None, default=None
        Size of an encoder trained from scratch (None is ``"small"``), or a
        Hugging Face text encoder: a local folder, or a name.
    local_files_only : bool, default=True
        Never use the network. False lets a Hugging Face ``backbone`` given by
        name be downloaded.
    readout : {"auto", "head", "stack"} or scikit-learn classifier, default="auto"
        What turns the encoder into probabilities, as for
        :class:`ImplicitKTRegressor`; a classifier needs ``predict_proba``.
        Readouts are compared by log-loss on stratified inner folds.
    n_estimators : int, default=5
        Networks in the ensemble. With ``"auto"`` and ``"stack"`` each is trained
        without one of ``n_estimators`` inner folds.
    max_epochs : int or "auto", default="auto"
        Passes over the training rows; ``"auto"`` aims at 2000 weight updates
        (30 to 150 epochs) from scratch, at 800 (10 to 60) from pretrained weights.
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
        Seeds initial weights, batches and splits. The global generators of
        numpy and torch are left alone.
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
    readout_ : {"head", "estimator", "stack"}
        The readout in use.
    readout_weight_ : float
        Share of the networks in a probability.
    readout_scores_ : dict
        Inner-fold log-loss of each readout, if compared.
    readout_estimator_ : object or None
        Fitted scikit-learn readout.
    encoder_ : torch.nn.Module or None
        Frozen pretrained backbone that feeds ``readout_estimator_``.
    input_kind_ : {"compositions", "features"}
        Kind of X seen in ``fit``.
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
    ...     backbone="tiny", readout="head", n_estimators=1, max_epochs=5, random_state=0
    ... ).fit(X, y)
    >>> model.predict_proba(["KCl", "CoAl"]).shape
    (2, 2)
    """

    _parameter_constraints: ClassVar[dict[str, list]] = {
        **_BaseImplicitKT._parameter_constraints,
        "readout": [StrOptions({"auto", "head", "stack"}), HasMethods(["fit", "predict_proba"])],
    }

    def __init__(
        self,
        checkpoint: str | Path | None = None,
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
        self.early_stopping = early_stopping
        self.patience = patience
        self.errors = errors
        self.device = device
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def predict(self, X: Any) -> np.ndarray:
        """Predict the most probable class.

        Parameters
        ----------
        X : array-like of compositions, or matrix of shape (n_samples, n_features)
            As in :meth:`fit`.

        Returns
        -------
        ndarray of shape (n_samples,)
            Labels, in the rows' order.
        """
        check_is_fitted(self)
        probabilities, _ = self._outputs(self._read(X, reset=False))
        missing = np.isnan(probabilities).any(axis=1)
        labels = self.classes_[np.where(missing[:, None], 0, probabilities).argmax(axis=1)]
        if missing.any():
            labels = labels.astype(object)
            labels[missing] = None
        return labels

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
        """
        check_is_fitted(self)
        return self._outputs(self._read(X, reset=False))[0]

    def _read_targets(self, y: Any) -> np.ndarray:
        y = validate_data(self, y=y)
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        return y

    def _encode_targets(self, y: np.ndarray) -> np.ndarray:
        encoder = LabelEncoder().fit(y)
        self.classes_ = encoder.classes_
        return encoder.transform(y).astype(np.int64)

    def _objective(self) -> tuple[str, int]:
        return "log_loss", len(self.classes_)

    def _default_readout(self, n_features: int) -> ExtraTreesClassifier:
        return ExtraTreesClassifier(_N_TREES, n_jobs=self.n_jobs)

    def _net_outputs(self, net: NeuralNet, inputs: Inputs) -> np.ndarray:
        from scipy.special import softmax

        from .training import forward, resolve_device

        logits = forward(net.module_, inputs, device=resolve_device(self.device))
        return softmax(logits.astype(np.float64), axis=1)

    def _readout_outputs(self, estimator: Any, features: np.ndarray) -> np.ndarray:
        return estimator.predict_proba(features)

    def _score(self, targets: np.ndarray, outputs: np.ndarray) -> float:
        return float(log_loss(targets, outputs, labels=np.arange(len(self.classes_))))


class CompositionEmbedder(_BackboneMixin, TransformerMixin, BaseEstimator):
    """Frozen embeddings of compositions, for a scikit-learn model of your own.

    Parameters
    ----------
    checkpoint : str, Path or None, default=None
        Pretrained composition encoder, as for :class:`ImplicitKTRegressor`.
        None, without a ``backbone``, leaves the atomic fractions alone.
    backbone : str, Path or None, default=None
        Hugging Face text encoder: a local folder, or a name.
    local_files_only : bool, default=True
        Never use the network.
    fractions : bool, default=True
        Append the 118 atomic fractions: trees on small tables need them.
    errors : {"raise", "nan"}, default="raise"
        What ``transform`` does with a row that is not a composition: raise, or
        return a row of NaN and warn once with the count.
    device : str, default="auto"
        ``"auto"`` (a GPU when there is one), ``"cpu"``, ``"cuda"``, ...

    Attributes
    ----------
    encoder_ : torch.nn.Module or None
        The frozen backbone.
    n_features_in_ : int
        1.

    See Also
    --------
    ImplicitKTRegressor : ``readout=model`` does the same as this in a pipeline.

    Examples
    --------
    >>> from sklearn.ensemble import ExtraTreesRegressor
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn_kt import CompositionEmbedder
    >>> model = make_pipeline(CompositionEmbedder(), ExtraTreesRegressor(10, random_state=0))
    >>> model.fit(["NaCl", "MgO", "Si"], [8.5, 7.8, 1.1]).predict(["MgO"])
    array([7.8])
    """

    _parameter_constraints: ClassVar[dict[str, list]] = {
        "checkpoint": [str, Path, None],
        "backbone": [str, Path, None],
        "local_files_only": ["boolean"],
        "fractions": ["boolean"],
        "errors": [StrOptions({"raise", "nan"})],
        "device": [str],
    }

    def __init__(
        self,
        checkpoint: str | Path | None = None,
        *,
        backbone: str | Path | None = None,
        local_files_only: bool = True,
        fractions: bool = True,
        errors: str = "raise",
        device: str = "auto",
    ) -> None:
        self.checkpoint = checkpoint
        self.backbone = backbone
        self.local_files_only = local_files_only
        self.fractions = fractions
        self.errors = errors
        self.device = device

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None) -> CompositionEmbedder:
        """Load the backbone; nothing is learned from X.

        Parameters
        ----------
        X : array-like of compositions
            As in :meth:`ImplicitKTRegressor.fit`.
        y : ignored
            For pipelines.

        Returns
        -------
        self : object
            The fitted transformer.
        """
        data = self._read_compositions(X, reset=True)
        weights = self._resolve_backbone(data)
        if weights is None and not self.fractions:
            raise InputError(
                "there are no pretrained weights to embed with; pass checkpoint= or a Hugging "
                "Face backbone=, or fractions=True."
            )
        self.encoder_ = _frozen(self.spec_, weights)
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Embed compositions.

        Parameters
        ----------
        X : array-like of compositions
            As in :meth:`fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_features_out)
            Embedding columns, then atomic fractions.
        """
        check_is_fitted(self)
        data = self._read_compositions(X, reset=False)
        out = np.full((len(data), len(self.get_feature_names_out())), np.nan)
        rows = np.flatnonzero(data.valid)
        if len(rows):
            out[rows] = self._features(data[rows], self.fractions)
        return out

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the output columns.

        Parameters
        ----------
        input_features : ignored
            For scikit-learn's interface.

        Returns
        -------
        ndarray of str
            ``embedding_0``, ..., then ``fraction_H`` to ``fraction_Og``.
        """
        check_is_fitted(self)
        width = 0 if self.encoder_ is None else self.encoder_.output_size
        names = [f"embedding_{i}" for i in range(width)]
        if self.fractions:
            names += [f"fraction_{symbol}" for symbol in ELEMENTS]
        return np.array(names, dtype=object)

    def _read_compositions(self, X: Any, *, reset: bool) -> CompositionBatch:
        data = self._read(X, reset=reset)
        if isinstance(data, np.ndarray):
            raise InputError(
                "CompositionEmbedder embeds compositions, but X is a numeric matrix that "
                "CompositionTokenizer did not make; pass formulas."
            )
        return data

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        return tags


def _holds_text(X: Any) -> bool:
    """Whether a data frame has text beside other columns: the gate says which to select."""
    return isinstance(X, pd.DataFrame) and any(isinstance(v, str) for v in X[:1].to_numpy().ravel())


def _chunks(n: int) -> Iterator[slice]:
    for start in range(0, n, _CHUNK):
        yield slice(start, min(start + _CHUNK, n))


def _frozen(spec: dict[str, Any], weights: Weights) -> Any:
    """Backbone with pretrained weights; None without them: random ones know nothing."""
    if weights is None:
        return None
    from .encoder.modeling import frozen_backbone

    return frozen_backbone(spec, weights)


def _train_all(
    jobs: list[dict[str, Any]], epochs: int, n_jobs: int | None, verbose: int
) -> list[tuple[NeuralNet, list[dict[str, float]]]]:
    from .training import train

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
