"""Properties from crystals by a graph network that is trained end to end."""

from __future__ import annotations

import sys
import warnings
from numbers import Integral, Real
from typing import Any, ClassVar, Literal, Self, overload

import numpy as np
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_consistent_length
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted
from tqdm import tqdm

from sklearn_kt._settings import own_settings
from sklearn_kt._targets import (
    ClassTargets,
    GapRegressorMixin,
    NumberTargets,
    check_known,
    of_rows,
    read_groups,
    read_weighed,
    relative_weights,
)
from sklearn_kt.compositions import composition_groups
from sklearn_kt.exceptions import CompositionWarning, InputError
from sklearn_kt.fitting import fit_context
from sklearn_kt.randomness import random_state_of, torch_generator_kept

from .candidate import candidates_of_rows

__all__ = ["CrystalGraphClassifier", "CrystalGraphRegressor"]

# Rows from which a tenth can tell when to stop.
_MIN_EARLY_STOPPING_ROWS = 50


class _BaseCrystalGraph(BaseEstimator):
    """Graphs, training and outputs; subclasses add what targets mean."""

    _parameter_constraints: ClassVar[dict[str, list]] = {
        "pooling": [StrOptions({"attention", "boltzmann", "mean"})],
        "temperature": [Interval(Real, 0, None, closed="neither")],
        "pretrained": ["boolean"],
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "backbone_learning_rate": [Interval(Real, 0, None, closed="left")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "early_stopping": [StrOptions({"auto"}), "boolean"],
        "patience": [Interval(Integral, 1, None, closed="left")],
        "device": [str],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        *,
        pooling: str = "attention",
        temperature: float = 0.05,
        pretrained: bool = True,
        max_epochs: int = 30,
        batch_size: int = 16,
        learning_rate: float = 1e-3,
        backbone_learning_rate: float = 3e-4,
        weight_decay: float = 0.01,
        dropout: float = 0.1,
        early_stopping: bool | str = "auto",
        patience: int = 8,
        device: str = "auto",
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.pooling = pooling
        self.temperature = temperature
        self.pretrained = pretrained
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.backbone_learning_rate = backbone_learning_rate
        self.weight_decay = weight_decay
        self.dropout = dropout
        self.early_stopping = early_stopping
        self.patience = patience
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    @own_settings()
    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any, groups: Any = None, sample_weight: Any = None) -> Self:
        """Fine-tune the network.

        Parameters
        ----------
        X : sequence of length n_samples
            In each row a :class:`pymatgen.core.Structure`, a :class:`Candidate`, a
            list of them, or None.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets; of several columns of numbers, NaN is what was not measured.
        groups : array-like of shape (n_samples,), optional
            Rows of one group are on one side where training stops early. None groups rows
            whose crystals are of one composition.
        sample_weight : array-like of shape (n_samples,), optional
            How much each row counts in the loss and in what stops training; only ratios matter,
            and rows of weight 0 are as if they were not there.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        CheckpointError
            If the package chgnet is missing.
        InputError
            If no row has a crystal that CHGNet can take, a weight is negative or no number, or
            all are 0.
        TrainingError
            If the loss is not finite.

        Warns
        -----
        CompositionWarning
            If rows have no such crystal; they are left out.
        """
        from sklearn_kt.encoder.training import split_off, train

        from .network import CrystalNetwork, pretrained_backbone

        y, weights, kept = read_weighed(self._read_targets, y, sample_weight)
        data = self._graphs(X)
        check_consistent_length(range(len(data)), kept)
        if groups is not None:
            groups = read_groups(groups, len(data))[kept]
        places = np.flatnonzero(kept)
        data = data.take(places)
        known = np.flatnonzero(data.lengths)
        if not len(known):
            raise InputError("none of the rows has a crystal that CHGNet can take.")
        if len(known) < len(data):
            missing = places[data.lengths == 0][:3].tolist()
            warnings.warn(
                f"{len(data) - len(known)} of {len(data)} rows have no crystal that CHGNet can "
                f"take and are left out (first rows: {missing}).",
                CompositionWarning,
                stacklevel=2,
            )
        if groups is None:
            together = composition_groups(data.take(known).compositions())
        else:
            together = groups[known]
        self.repeated_rows_ = len(known) - len(np.unique(together))
        if y.ndim == 2:
            check_known(y[known], rows=" with a crystal")
        weights = relative_weights(weights)
        self.targets_.standardise(y[known], of_rows(weights, known))
        encoded = self.targets_.encode(y)

        def taken(rows: np.ndarray) -> Any:
            return data.take(rows, encoded[rows], of_rows(weights, rows))

        seed = int(random_state_of(self.random_state).randint(np.iinfo(np.int32).max))
        fit_rows, watched = split_off(
            known,
            seed,
            self.early_stopping,
            _MIN_EARLY_STOPPING_ROWS,
            groups=together if self.repeated_rows_ else None,
        )
        validation = None if watched is None else taken(watched)
        config, pretrained = pretrained_backbone()
        self.module_ = {
            "config": config,
            "n_outputs": self.targets_.n_outputs,
            "pooling": self.pooling,
            "temperature": float(self.temperature),
            "dropout": float(self.dropout),
        }
        settings = self._settings(seed, validation is not None)
        with tqdm(
            total=settings.max_epochs, desc="epochs", disable=not self.verbose, file=sys.stderr
        ) as bar:

            def on_epoch(loss: float) -> None:
                bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
                bar.update()

            net, self.history_ = train(
                CrystalNetwork,
                self.module_,
                pretrained if self.pretrained else None,
                taken(fit_rows),
                settings,
                validation=validation,
                on_epoch=on_epoch,
            )
        self.weights_ = {key: value.numpy() for key, value in net.module_.state_dict().items()}
        self.n_features_in_ = 1
        if watched is not None:
            self._learn_error(data.take(watched), y[watched], of_rows(weights, watched))
        return self

    @own_settings()
    def candidate_weights(self, X: Any) -> list[np.ndarray]:
        """Weights of the crystals of each row in the pooling.

        Parameters
        ----------
        X : sequence of length n_samples
            As in :meth:`fit`.

        Returns
        -------
        weights : list of ndarray of shape (n_crystals,)
            They sum to 1; of crystals that CHGNet can take, in their order.
        """
        check_is_fitted(self)
        return self._run(X)[2]

    def _graphs(self, X: Any) -> Any:
        """Build graphs of rows that are not graphs yet."""
        from .network import CrystalRows

        if isinstance(X, CrystalRows):
            return X
        return CrystalRows.read(candidates_of_rows(X), progress=bool(self.verbose))

    def _settings(self, seed: int, stops: bool) -> Any:
        from sklearn_kt.encoder.training import TrainingSettings, resolve_device

        return TrainingSettings(
            loss=self.targets_.loss,
            n_outputs=self.targets_.n_outputs,
            max_epochs=self.max_epochs,
            batch_size=self.batch_size,
            learning_rate=float(self.learning_rate),
            backbone_learning_rate=float(self.backbone_learning_rate),
            weight_decay=float(self.weight_decay),
            dropout=float(self.dropout),
            patience=self.patience if stops else None,
            device=resolve_device(self.device),
            seed=seed,
        )

    def _run(self, X: Any) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
        """Run the network: outputs of rows, of their crystals, and weights of these."""
        rows = self._graphs(X)
        known = np.flatnonzero(rows.lengths)
        n_outputs = self.targets_.n_outputs
        outputs = np.full((len(rows), n_outputs), np.nan)
        each = [np.empty((0, n_outputs)) for _ in range(len(rows))]
        shares = [np.empty(0) for _ in range(len(rows))]
        if len(known):
            found = self._network_outputs(rows.take(known))
            outputs[known] = found[0]
            for i, values, weights in zip(known.tolist(), *found[1:], strict=True):
                each[i], shares[i] = values, weights
        return outputs, each, shares

    def _network_outputs(self, rows: Any) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
        import torch

        from sklearn_kt.encoder.training import resolve_device

        from .network import CrystalNetwork, run_network

        # building a network draws random numbers
        with torch_generator_kept():
            network = CrystalNetwork(**self.module_).eval()
        state = {key: torch.from_numpy(np.array(v)) for key, v in self.weights_.items()}
        network.load_state_dict(state)
        return run_network(network, rows, resolve_device(self.device))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        return tags


class CrystalGraphRegressor(GapRegressorMixin, _BaseCrystalGraph):
    """Predict a property from crystals with CHGNet's graph network, fine-tuned.

    Parameters
    ----------
    pooling : {"attention", "boltzmann", "mean"}, default="attention"
        How several crystals of one row become one: by weights that are learned and
        start from Boltzmann's; by weights that fall with CHGNet's energy; or equally.
    temperature : float, default=0.05
        Unit of energy of the Boltzmann weights, in eV/atom.
    pretrained : bool, default=True
        Start from CHGNet's weights; False starts from random ones.
    max_epochs : int, default=30
        Passes over the rows.
    batch_size : int, default=16
        Rows at once.
    learning_rate : float, default=1e-3
        Of pooling and head.
    backbone_learning_rate : float, default=3e-4
        Of CHGNet's layers; 0 freezes them.
    weight_decay : float, default=0.01
        Of AdamW.
    dropout : float, default=0.1
        In front of the last layer.
    loss : {"absolute_error", "huber", "squared_error"}, default="absolute_error"
        What training minimises.
    early_stopping : bool or "auto", default="auto"
        Hold out a tenth of the rows and stop when they gain nothing any more;
        ``"auto"`` does from 50 rows on.
    patience : int, default=8
        Epochs without a gain before training stops.
    device : str, default="auto"
        Where to train and predict; ``"auto"`` is a GPU if there is one.
    random_state : int, RandomState instance or None, default=None
        Seed.
    verbose : int, default=0
        1 shows progress.

    Attributes
    ----------
    history_ : list of dict
        Losses by epoch.
    weights_ : dict of str to ndarray
        Of the network.
    module_ : dict
        Architecture of the network.
    targets_ : NumberTargets
        Shape and scale of y, and the loss.
    error_ : ndarray of shape (n_outputs,)
        Root mean square error on the rows held out; only with early stopping.
    repeated_rows_ : int
        Training rows whose composition, or group, an earlier row has.
    n_features_in_ : int
        1.

    See Also
    --------
    StructureEmbedder : CHGNet as it is, for any scikit-learn model.
    sklearn_kt.ExplicitKTRegressor : Takes this as `readout`.

    Notes
    -----
    Needs the extra ``structures``. Of each crystal the network keeps the mean of the
    atoms' features after the last layer of CHGNet [1]_, and their mean and standard
    deviation before it. Attention over crystals is that of multiple-instance
    learning [2]_. CHGNet was trained on calculations of the Materials Project: do
    not evaluate on its energies. On one core an epoch took 0.024 s per crystal of 7
    atoms on average.

    References
    ----------
    .. [1] B. Deng et al., "CHGNet as a pretrained universal neural network potential
       for charge-informed atomistic modelling", Nature Machine Intelligence 5, 1031
       (2023).
    .. [2] M. Ilse, J. M. Tomczak, M. Welling, "Attention-based deep multiple instance
       learning", ICML 2018.

    Examples
    --------
    >>> from sklearn_kt.structures import CrystalGraphRegressor, PrototypeGenerator
    >>> crystals = PrototypeGenerator(n_candidates=2).transform(["NaCl", "MgO", "LiF", "Si"])
    >>> gaps = [8.5, 7.8, 13.6, 1.1]  # eV
    >>> model = CrystalGraphRegressor(max_epochs=2, random_state=0).fit(crystals, gaps)
    >>> model.predict(crystals).shape
    (4,)
    """

    _parameter_constraints: ClassVar[dict[str, list]] = {
        **_BaseCrystalGraph._parameter_constraints,
        "loss": [StrOptions({"absolute_error", "huber", "squared_error"})],
    }

    def __init__(
        self,
        *,
        pooling: str = "attention",
        temperature: float = 0.05,
        pretrained: bool = True,
        max_epochs: int = 30,
        batch_size: int = 16,
        learning_rate: float = 1e-3,
        backbone_learning_rate: float = 3e-4,
        weight_decay: float = 0.01,
        dropout: float = 0.1,
        loss: str = "absolute_error",
        early_stopping: bool | str = "auto",
        patience: int = 8,
        device: str = "auto",
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        super().__init__(
            pooling=pooling,
            temperature=temperature,
            pretrained=pretrained,
            max_epochs=max_epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            backbone_learning_rate=backbone_learning_rate,
            weight_decay=weight_decay,
            dropout=dropout,
            early_stopping=early_stopping,
            patience=patience,
            device=device,
            random_state=random_state,
            verbose=verbose,
        )
        self.loss = loss

    @overload
    def predict(self, X: Any, return_std: Literal[False] = ...) -> np.ndarray: ...

    @overload
    def predict(self, X: Any, return_std: Literal[True]) -> tuple[np.ndarray, np.ndarray]: ...

    @own_settings()
    def predict(
        self, X: Any, return_std: bool = False
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Predict the property.

        Parameters
        ----------
        X : sequence of length n_samples
            As in :meth:`fit`.
        return_std : bool, default=False
            Also return the standard deviation: of the rows held out in the fit, and
            of what the crystals of the row give each.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            NaN where a row has no crystal that CHGNet can take.
        std : ndarray of the same shape
            Only with ``return_std=True``.

        Raises
        ------
        InputError
            If ``return_std`` is asked of a model that was fitted without early
            stopping.
        """
        check_is_fitted(self)
        outputs, each, shares = self._run(X)
        mean = self.targets_.decode(outputs)
        if not return_std:
            return mean
        if not hasattr(self, "error_"):
            raise InputError("return_std needs a fit with early_stopping=True.")
        if np.isnan(self.error_).any():
            raise InputError(
                f"return_std: target {np.flatnonzero(np.isnan(self.error_))[0]} was measured in "
                "none of the rows that were held out in the fit; fit with another random_state."
            )
        spread = np.full_like(outputs, np.nan)
        for row, (values, weights) in enumerate(zip(each, shares, strict=True)):
            if len(weights):
                spread[row] = weights @ (values - weights @ values) ** 2
        std = np.hypot(self.targets_.decode_width(np.sqrt(spread)), self.error_)
        return mean, std

    def _read_targets(self, y: Any) -> np.ndarray:
        self.targets_ = NumberTargets(self.loss)
        return self.targets_.read(self, y)

    def _learn_error(self, rows: Any, y: np.ndarray, weights: np.ndarray | None) -> None:
        found = self.targets_.decode(self._run(rows)[0])
        errors = np.ma.masked_invalid(found - y)
        # NaN for a target that none of these rows has
        mean = np.ma.average(errors**2, axis=0, weights=weights)
        self.error_ = np.atleast_1d(np.ma.filled(np.sqrt(mean), np.nan))


class CrystalGraphClassifier(ClassifierMixin, _BaseCrystalGraph):
    """Predict a class from crystals with CHGNet's graph network, fine-tuned.

    Parameters
    ----------
    pooling : {"attention", "boltzmann", "mean"}, default="attention"
        As for :class:`CrystalGraphRegressor`, like the others.
    temperature : float, default=0.05
        Unit of energy of the Boltzmann weights, in eV/atom.
    pretrained : bool, default=True
        Start from CHGNet's weights.
    max_epochs : int, default=30
        Passes over the rows.
    batch_size : int, default=16
        Rows at once.
    learning_rate : float, default=1e-3
        Of pooling and head.
    backbone_learning_rate : float, default=3e-4
        Of CHGNet's layers; 0 freezes them.
    weight_decay : float, default=0.01
        Of AdamW.
    dropout : float, default=0.1
        In front of the last layer.
    early_stopping : bool or "auto", default="auto"
        Hold out a tenth of the rows and stop when they gain nothing any more.
    patience : int, default=8
        Epochs without a gain before training stops.
    device : str, default="auto"
        Where to train and predict.
    random_state : int, RandomState instance or None, default=None
        Seed.
    verbose : int, default=0
        1 shows progress.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels.
    history_ : list of dict
        Losses by epoch.
    weights_ : dict of str to ndarray
        Of the network.
    module_ : dict
        Architecture of the network.
    targets_ : ClassTargets
        Classes, and how labels are read.
    repeated_rows_ : int
        Training rows whose composition, or group, an earlier row has.
    n_features_in_ : int
        1.

    See Also
    --------
    CrystalGraphRegressor : The same for numbers, with notes and references.

    Examples
    --------
    >>> from sklearn_kt.structures import CrystalGraphClassifier, PrototypeGenerator
    >>> crystals = PrototypeGenerator(n_candidates=1).transform(["NaCl", "MgO", "Cu", "NiTi"])
    >>> kinds = ["insulator", "insulator", "metal", "metal"]
    >>> model = CrystalGraphClassifier(max_epochs=2, random_state=0).fit(crystals, kinds)
    >>> model.predict_proba(crystals).shape
    (4, 2)
    """

    @overload
    def predict(self, X: Any, return_proba: Literal[False] = ...) -> np.ndarray: ...

    @overload
    def predict(self, X: Any, return_proba: Literal[True]) -> tuple[np.ndarray, np.ndarray]: ...

    @own_settings()
    def predict(
        self, X: Any, return_proba: bool = False
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Predict the most probable class.

        Parameters
        ----------
        X : sequence of length n_samples
            As in :meth:`fit`.
        return_proba : bool, default=False
            Also return the probabilities of :meth:`predict_proba`, which then take no time.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            None, in an object array, where a row has no crystal that CHGNet can take.
        probabilities : ndarray of shape (n_samples, n_classes)
            Only with ``return_proba=True``.
        """
        check_is_fitted(self)
        probabilities = softmax(self._run(X)[0], axis=1)
        labels = self.targets_.decode(probabilities)
        return (labels, probabilities) if return_proba else labels

    @own_settings()
    def predict_proba(self, X: Any) -> np.ndarray:
        """Predict class probabilities.

        Parameters
        ----------
        X : sequence of length n_samples
            As in :meth:`fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Columns in the order of ``classes_``; NaN where a row has no crystal that
            CHGNet can take.
        """
        check_is_fitted(self)
        return softmax(self._run(X)[0], axis=1)

    def _read_targets(self, y: Any) -> np.ndarray:
        self.targets_ = ClassTargets()
        y = self.targets_.read(self, y)
        self.classes_ = self.targets_.classes
        if len(self.classes_) < 2:
            raise InputError("y has one class only; a classifier needs two or more.")
        return y

    def _learn_error(self, rows: Any, y: np.ndarray, weights: np.ndarray | None) -> None:
        """Probabilities tell the error."""
