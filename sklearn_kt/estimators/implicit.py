"""Implicit knowledge transfer: estimators on a composition encoder.

The encoder reads a formula as a set of element tokens; what it knows of
structures and electronic properties comes from its pretrained weights. The
estimators here fine-tune it on a table, read its frozen embeddings with a
scikit-learn model, or blend both.
"""

from __future__ import annotations

from functools import partial
from numbers import Real
from pathlib import Path
from typing import Any, ClassVar, Literal, overload

import numpy as np
from scipy.special import softmax
from sklearn.base import ClassifierMixin
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.utils._param_validation import HasMethods, StrOptions
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.validation import check_is_fitted

from sklearn_kt._settings import own_settings
from sklearn_kt._targets import MIN_FOLD_ROWS, ClassTargets, GapRegressorMixin, NumberTargets, votes
from sklearn_kt.encoder.encoder import Data, side_by_side
from sklearn_kt.exceptions import InputError

from .implicit_base import CUSTOM, MIN_FOLDS, BaseImplicitKT, valid_chunks
from .networks import fit_temperature
from .readouts import predict_with_spread
from .uncertainty import ErrorModel, check_coverage, with_spreads

__all__ = ["ImplicitKTClassifier", "ImplicitKTRegressor"]


class ImplicitKTRegressor(GapRegressorMixin, BaseImplicitKT):
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
          :class:`CompositionEmbedder` in a pipeline. If it makes folds, as a search does,
          these keep repeated compositions together: ``cv=3`` becomes ``GroupKFold(3)``.

        Tables of fewer than 12 rows (of one of several targets), of which those of one
        composition or group count once, have nothing to compare on: ``"auto"`` and ``"fast"`` then
        fit their best guess alone, a forest that sees predicted properties, and there are no
        uncertainties. It also has a part of blends that fewer than 100 such rows have judged.
        ``"auto"`` leaves tables of more than 50,000 rows to the networks.
    n_estimators : int or "auto", default="auto"
        Networks in the ensemble, each trained without one of ten inner folds (fewer on
        small tables); a single one sees all rows in the end. ``"auto"`` is four, or two from
        10,000 rows on. With ``readout="auto"`` the first two show whether networks lower the
        error by one percent: if not, there are none.
    max_epochs : int or "auto", default="auto"
        Passes over the training rows; ``"auto"`` aims at 2000 weight updates
        (30 to 150 epochs) from scratch, at 500 (14 to 60) from pretrained weights.
    batch_size : int or "auto", default="auto"
        Rows per update; ``"auto"`` is about a fortieth of the rows, 16 to 128.
    learning_rate : float, default=1e-3
        Peak rate of the head, after a warm-up over a tenth of the updates and
        before the decay to zero.
    backbone_learning_rate : float or "auto", default="auto"
        Peak rate of the backbone: ``learning_rate`` from scratch, a third of it
        for pretrained weights, 5e-5 for Hugging Face text encoders.
    frozen_blocks : int or "auto", default="auto"
        Lower blocks of a pretrained encoder of elements that networks leave as they are, so that
        they are run once and not in every pass; ``"auto"`` is half of them in every other
        network, and none in the rest.
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
    composition_column : str or None, default=None
        Column of compositions in a table with conditions beside them; None finds it.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Of the matrix products in the training of networks. ``"auto"`` is bfloat16 on a CUDA GPU,
        and on a processor that is measured to be faster with it, where networks train up to twice
        as fast; else float32. The networks of two kinds of processors then differ by rounding, as
        two seeds' do by more; ``"float32"`` avoids that. Weights, sums and readouts are in float32
        or more in any case, and so are predictions on a CPU.
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
    precision_ : {"float32", "bfloat16"} or None
        Of products in the training of networks, kept or not; None if none was trained.
    readout_weights_ : dict of str to float, or to ndarray of shape (n_outputs,)
        Share of each model in a prediction: ``"network"``, readouts by name; of several targets,
        its share in each.
    new_readout_weights_ : dict of str to float, or to ndarray of shape (n_outputs,)
        The same for compositions that the checkpoint was not pretrained on, where there are
        enough of both to tell; else as ``readout_weights_``.
    pool_keys_ : ndarray of uint64, or None
        Hashes of the compositions that the checkpoint was pretrained on, where these are
        predicted with other weights than new ones; else None.
    readout_scores_ : dict of str to float, or to ndarray of shape (n_outputs,)
        Mean absolute error of each model, and of the ``"blend"``, on the inner folds' held-out
        rows, in the units of the targets.
    held_out_scores_ : dict of str to float, or to ndarray of shape (n_outputs,)
        Mean absolute error, in the units of the targets, and R² of the blend on the inner folds'
        held-out rows (``"mae"``, ``"r2"``), of each of several targets; empty on few rows. The
        blend's weights were chosen on the same rows, which flatters it slightly.
    readouts_ : dict of str to object
        Fitted scikit-learn readouts with a share.
    readout_blocks_ : dict of str to tuple of str
        Blocks of features that each readout reads.
    encoder_ : Encoder
        What reads X; its pretrained network is there if it feeds a readout.
    error_model_ : ErrorModel or None
        What expects errors; None without inner folds.
    training_compositions_ : TrainingCompositions or None
        What readouts say of compositions of the training table, where rows that repeat some show
        that they should not believe it all; else None.
    targets_ : NumberTargets
        Shape and scale of y, and the loss.
    input_kind_ : {"compositions", "measurements", "features"}
        Kind of X seen in ``fit``: compositions, these with conditions, or numbers.
    condition_encoder_ : ConditionEncoder
        How a table with conditions is read; only for such a table.
    condition_names_ : ndarray of str
        Columns that conditions become; only where there are some.
    n_held_out_ : int
        Rows of the inner folds, which were held out in turn; 0 on few rows.
    n_samples_fit_ : int
        Rows that were learned from.
    repeated_rows_ : int
        Training rows whose composition, or group, an earlier row has.
    elements_ : ndarray of str
        Symbols of the elements in the training table; only for compositions.
    n_features_in_ : int
        Columns of X; 1 for compositions.
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

    Several targets are learned together, each standardised; where rows lack some, networks are
    trained on those that are there, and readouts, weights and errors are those of the rows that
    have a target.

    With a pretrained checkpoint, features of compositions that it has seen are better than those of
    others: models are weighed for the two apart where the table has 100 of either.

    An element of less than a thousandth of the atoms counts in proportion
    (:mod:`sklearn_kt.traces`): with a pretrained checkpoint a trace that vanishes changes no
    prediction, and a composition that pretraining, or the table, has without it is predicted as
    between that one and a new one.

    Where 30 compositions have several rows, these tell how much one says of another: forests and
    kernels then predict a composition of the training table between its rows and what they say
    without them (:class:`~sklearn_kt.estimators.repeats.TrainingCompositions`); not with
    conditions.

    The idea of implicit transfer is that of [1]_; architecture, readouts and
    defaults are this package's own.

    References
    ----------
    .. [1] I. Rubtsov, I. Dudakov, Y. Kuratov, V. Korolev, "Enhancing
       composition-based materials property prediction by cross-modal knowledge
       transfer", arXiv:2511.03371 (2025).

    Examples
    --------
    461 measured band gaps teach this; measured are 1.4 and 8.5 eV:

    >>> from sklearn_kt import ImplicitKTRegressor
    >>> from sklearn_kt.datasets import load_expt_gap
    >>> X, y = load_expt_gap(return_X_y=True)
    >>> model = ImplicitKTRegressor(readout="fast", random_state=0).fit(X[::10], y[::10])
    >>> model.predict(["GaAs", "NaCl"]).round()
    array([1., 8.])
    """

    _parameter_constraints: ClassVar[dict[str, list]] = {
        **BaseImplicitKT._parameter_constraints,
        "loss": [StrOptions({"absolute_error", "huber", "squared_error"})],
    }

    def __init__(
        self,
        checkpoint: str | Path | None = "default",
        *,
        backbone: str | Path | None = None,
        local_files_only: bool = True,
        readout: Any = "auto",
        n_estimators: int | str = "auto",
        max_epochs: int | str = "auto",
        batch_size: int | str = "auto",
        learning_rate: float = 1e-3,
        backbone_learning_rate: float | str = "auto",
        frozen_blocks: int | str = "auto",
        weight_decay: float = 0.01,
        dropout: float = 0.1,
        loss: str = "absolute_error",
        early_stopping: bool | str = False,
        patience: int = 20,
        errors: str = "raise",
        composition_column: str | None = None,
        precision: str = "auto",
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
        self.frozen_blocks = frozen_blocks
        self.weight_decay = weight_decay
        self.dropout = dropout
        self.loss = loss
        self.early_stopping = early_stopping
        self.patience = patience
        self.errors = errors
        self.composition_column = composition_column
        self.precision = precision
        self.device = device
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    @overload
    def predict(
        self, X: Any, return_std: Literal[False] = ..., coverage: None = ...
    ) -> np.ndarray: ...

    @overload
    def predict(
        self, X: Any, return_std: Literal[True], coverage: float | None = ...
    ) -> tuple[np.ndarray, ...]: ...

    @overload
    def predict(
        self, X: Any, return_std: bool = ..., *, coverage: float
    ) -> tuple[np.ndarray, ...]: ...

    @own_settings()
    def predict(
        self, X: Any, return_std: bool = False, coverage: float | None = None
    ) -> np.ndarray | tuple[np.ndarray, ...]:
        """Predict the property.

        Parameters
        ----------
        X : array-like of compositions, table, or matrix of shape (n_samples, n_features)
            As in :meth:`fit`.
        return_std : bool, default=False
            Also return the standard deviation of the error, calibrated on the inner
            folds' errors.
        coverage : float or None, default=None
            Also return the intervals of :meth:`predict_interval`, from the same pass.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            In the rows' order and in the units of the targets.
        std : ndarray of the same shape
            Only with ``return_std=True``.
        bounds : ndarray of shape (n_samples, 2) or (n_samples, n_outputs, 2)
            Only with ``coverage``.

        Raises
        ------
        InputError
            If ``return_std`` or ``coverage`` is asked of a model without inner folds; see
            :meth:`predict_interval`.
        """
        check_is_fitted(self)
        measures = []
        if return_std or coverage is not None:
            measures = self._errors().measures(return_std, coverage)
        mean, spreads = self._outputs(self._read(X, errors=self.errors), measures)
        widths = [self.targets_.decode_width(spread) for spread in spreads]
        return with_spreads(self.targets_.decode(mean), widths, coverage)

    @own_settings()
    def predict_interval(self, X: Any, coverage: float = 0.9) -> np.ndarray:
        """Predict intervals that hold the property with a given probability.

        Parameters
        ----------
        X : array-like of compositions, table, or matrix of shape (n_samples, n_features)
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

        Warns
        -----
        IntervalWarning
            If fewer compositions than that coverage takes have errors that are known: of
            9 for 90 %, 19 for 95 %, and 99 for 99 %.

        Notes
        -----
        Normalised conformal prediction on the errors of the inner folds
        (:class:`sklearn_kt.estimators.uncertainty.ErrorModel`). Intervals of compounds with
        elements that no training row had are wider. Other compounds unlike the table's have larger
        errors than any interval says.

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
        check_coverage(coverage)
        return self.predict(X, coverage=coverage)[1]

    def _answers(self, outputs: np.ndarray) -> np.ndarray:
        return self.targets_.decode(outputs)

    def _read_targets(self, y: Any) -> np.ndarray:
        self.targets_ = NumberTargets(self.loss)
        return self.targets_.read(self, y)

    def _learn_targets(self, y: np.ndarray, weights: np.ndarray | None) -> None:
        self.targets_.standardise(y, weights)

    def _calibrate(self, truth: np.ndarray, raw: np.ndarray, weights: np.ndarray | None) -> None:
        """Networks for numbers need none."""

    def _net_outputs(self, raw: np.ndarray) -> np.ndarray:
        return raw

    def _readout_outputs(
        self, name: str, fitted: Any, features: np.ndarray, spread: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        both = self._run_readout(name, partial(predict_with_spread, fitted, spread), features)
        values, apart = np.moveaxis(both, -1, 0)
        # a readout of the user's own learns the targets as they are
        return (self.targets_.scaled(values) if name == CUSTOM else values), apart

    def _error_blocks(self) -> tuple[str, ...]:
        return tuple(block for block in self.encoder_.blocks if block != "embedding")

    def _errors(self) -> ErrorModel:
        if self.error_model_ is None:
            raise InputError(
                "there are no out-of-fold errors to take uncertainties from; fit with readout "
                f"'auto', 'fast' or 'head' on at least {MIN_FOLD_ROWS * MIN_FOLDS} rows of "
                "different compositions or groups."
            )
        return self.error_model_


class ImplicitKTClassifier(ClassifierMixin, BaseImplicitKT):
    """Predict a class from chemical formulas with a transferred encoder.

    Parameters
    ----------
    checkpoint : str, Path or None, default="default"
        As for :class:`ImplicitKTRegressor`, like all that is not explained here.
    backbone : {"tiny", "small", "base"}, str, Path or None, default=None
        With ``checkpoint=None``: an encoder to train from scratch, or a Hugging Face one.
    local_files_only : bool, default=True
        Never use the network.
    readout : {"auto", "fast", "head"} or scikit-learn classifier, default="auto"
        What turns the encoder into probabilities; a classifier needs ``predict_proba``, and
        if it makes folds, ``cv=3`` becomes ``StratifiedGroupKFold(3)`` where compositions repeat.
        Tables of fewer than 12 rows of each class, of which those of one composition or group
        count once, have nothing to compare on: a forest that sees predicted properties is then
        fitted alone.
    n_estimators : int or "auto", default="auto"
        Networks in the ensemble, as of :class:`ImplicitKTRegressor`.
    max_epochs : int or "auto", default="auto"
        Passes over the training rows.
    batch_size : int or "auto", default="auto"
        Rows per update.
    learning_rate : float, default=1e-3
        Peak rate of the head.
    backbone_learning_rate : float or "auto", default="auto"
        Peak rate of the backbone.
    frozen_blocks : int or "auto", default="auto"
        Lower blocks of a pretrained encoder that networks leave as they are; ``"auto"`` is half of
        them in every other network, and none in the rest.
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
        Keep the weights of the epoch that is best on a tenth of the rows, stratified by
        class and held out of each member; ``"auto"`` does so from 500 rows on.
    patience : int, default=20
        Epochs without progress after which early stopping ends training.
    errors : {"raise", "nan"}, default="raise"
        What ``predict`` does with a row that is not a composition: raise, or
        give NaN probabilities and the label None (in an object array) and warn
        once with the count. ``fit`` always raises.
    composition_column : str or None, default=None
        Column of compositions in a table with conditions beside them; None finds it.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Of the matrix products in the training of networks. ``"auto"`` is bfloat16 on a CUDA GPU,
        and on a processor that is measured to be faster with it, where networks train up to twice
        as fast; else float32. The networks of two kinds of processors then differ by rounding, as
        two seeds' do by more; ``"float32"`` avoids that. Weights, sums and readouts are in float32
        or more in any case, and so are predictions on a CPU.
    device : str, default="auto"
        ``"auto"`` (a GPU when there is one), ``"cpu"``, ``"cuda"``, ...
    n_jobs : int or None, default=None
        Networks trained at a time, in processes of their own.
    random_state : int, RandomState instance or None, default=None
        Seeds initial weights, batches, splits, and a readout that has no seed.
    verbose : int, default=0
        1 shows a progress bar.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels.
    nets_ : list of skorch.NeuralNet
        Trained networks, trimmed, on the CPU; empty if the readout alone predicts.
    history_ : list of list of dict
        Training curve of each network: ``epoch``, ``train_loss``, ``valid_loss``.
    precision_ : {"float32", "bfloat16"} or None
        Of products in the training of networks, kept or not; None if none was trained.
    readout_weights_ : dict of str to float
        Share of each model in a prediction: ``"network"``, readouts by name.
    new_readout_weights_ : dict of str to float
        The same for compositions that the checkpoint was not pretrained on, as of
        :class:`ImplicitKTRegressor`; there are enough if there are so many of each class.
    pool_keys_ : ndarray of uint64, or None
        As of :class:`ImplicitKTRegressor`.
    readout_scores_ : dict of str to float
        Log-loss of each model, and of the ``"blend"``, on the inner folds' held-out rows.
    held_out_scores_ : dict of str to float
        Accuracies and log-loss of the blend on the inner folds' held-out rows (``"accuracy"``,
        ``"balanced_accuracy"``, ``"log_loss"``); empty on few rows.
    readouts_ : dict of str to object
        Fitted scikit-learn readouts with a share.
    readout_blocks_ : dict of str to tuple of str
        Blocks of features that each readout reads.
    encoder_ : Encoder
        What reads X; its pretrained network is there if it feeds a readout.
    error_model_ : None
        Probabilities are their own uncertainty.
    training_compositions_ : None
        As of :class:`ImplicitKTRegressor`, for numbers alone.
    temperature_ : float
        Softmax temperature of the networks, fitted to the inner folds; 1 without them.
    class_weights_ : ndarray of shape (n_classes,)
        What probabilities are multiplied by.
    targets_ : ClassTargets
        Classes, and how labels are read.
    input_kind_ : {"compositions", "measurements", "features"}
        Kind of X seen in ``fit``: compositions, these with conditions, or numbers.
    condition_encoder_ : ConditionEncoder
        How a table with conditions is read; only for such a table.
    condition_names_ : ndarray of str
        Columns that conditions become; only where there are some.
    n_held_out_ : int
        Rows of the inner folds, which were held out in turn; 0 on few rows.
    n_samples_fit_ : int
        Rows that were learned from.
    repeated_rows_ : int
        Training rows whose composition, or group, an earlier row has.
    elements_ : ndarray of str
        Symbols of the elements in the training table; only for compositions.
    n_features_in_ : int
        Columns of X; 1 for compositions.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Column names, if X was a dataframe.

    See Also
    --------
    ImplicitKTRegressor : The same for numbers.

    Notes
    -----
    Several columns of classes are learned by scikit-learn's
    :class:`~sklearn.multioutput.MultiOutputClassifier` around this estimator.

    References
    ----------
    .. [1] I. Rubtsov, I. Dudakov, Y. Kuratov, V. Korolev, "Enhancing
       composition-based materials property prediction by cross-modal knowledge
       transfer", arXiv:2511.03371 (2025).

    Examples
    --------
    Whether a compound is a metal, from 93 that were measured:

    >>> from sklearn_kt import ImplicitKTClassifier
    >>> from sklearn_kt.datasets import load_expt_gap
    >>> X, gap = load_expt_gap(return_X_y=True)
    >>> model = ImplicitKTClassifier(readout="fast", random_state=0).fit(X[::50], gap[::50] == 0)
    >>> model.predict(["GaAs", "NaCl", "NiTi"])
    array([False, False,  True])
    >>> model.predict_proba(["GaAs", "NaCl", "NiTi"])[:, 1].round(1)
    array([0., 0., 1.])
    """

    _parameter_constraints: ClassVar[dict[str, list]] = {
        **BaseImplicitKT._parameter_constraints,
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
        n_estimators: int | str = "auto",
        max_epochs: int | str = "auto",
        batch_size: int | str = "auto",
        learning_rate: float = 1e-3,
        backbone_learning_rate: float | str = "auto",
        frozen_blocks: int | str = "auto",
        weight_decay: float = 0.01,
        dropout: float = 0.1,
        class_weight: Any = None,
        early_stopping: bool | str = False,
        patience: int = 20,
        errors: str = "raise",
        composition_column: str | None = None,
        precision: str = "auto",
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
        self.frozen_blocks = frozen_blocks
        self.weight_decay = weight_decay
        self.dropout = dropout
        self.class_weight = class_weight
        self.early_stopping = early_stopping
        self.patience = patience
        self.errors = errors
        self.composition_column = composition_column
        self.precision = precision
        self.device = device
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    @overload
    def predict(self, X: Any, return_proba: Literal[False] = ...) -> np.ndarray: ...

    @overload
    def predict(self, X: Any, return_proba: Literal[True]) -> tuple[np.ndarray, np.ndarray]: ...

    @own_settings()
    def predict(
        self, X: Any, return_proba: bool = False
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Predict the most probable class, or what a readout of your own decides.

        Parameters
        ----------
        X : array-like of compositions, table, or matrix of shape (n_samples, n_features)
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
        if CUSTOM in self.readouts_ and (self.class_weights_ == 1).all():
            decided = self._votes(data)
            if not return_proba:
                return self.targets_.decode(decided)
        probabilities = self._probabilities(data)
        labels = self.targets_.decode(probabilities if decided is None else decided)
        return (labels, self._smoothed(probabilities)) if return_proba else labels

    @own_settings()
    def predict_proba(self, X: Any) -> np.ndarray:
        """Predict class probabilities.

        Parameters
        ----------
        X : array-like of compositions, table, or matrix of shape (n_samples, n_features)
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
        if self.nets_ or CUSTOM in self.readouts_:
            return None
        models = self.readouts_.values()
        if not all(isinstance(model, ExtraTreesClassifier) for model in models):
            return None
        return min(model.n_estimators for model in models)

    def _votes(self, data: Data) -> np.ndarray:
        """Tabulate, as 0 and 1, what the readout of the user's own decides."""
        out = np.full((len(data), self.targets_.n_outputs), np.nan)
        names = self.readout_blocks_[CUSTOM]
        predict = self.readouts_[CUSTOM].predict
        for part, rows in valid_chunks(data):
            columns = side_by_side(self._features(part, names), names)
            out[rows] = votes(self.classes_, self._run_readout(CUSTOM, predict, columns))
        return out

    def _probabilities(self, data: Data) -> np.ndarray:
        return self._answers(self._outputs(data)[0])

    def _read_targets(self, y: Any) -> np.ndarray:
        self.targets_ = ClassTargets()
        y = self.targets_.read(self, y)
        self.classes_ = self.targets_.classes
        self.temperature_ = 1.0
        return y

    def _learn_targets(self, y: np.ndarray, weights: np.ndarray | None) -> None:
        _check_class_weight(self.class_weight)
        shares = compute_class_weight(
            self.class_weight, classes=self.classes_, y=y, sample_weight=weights
        )
        # no share of 0, which would leave a certain row without any probability
        self.class_weights_ = np.maximum(shares, np.finfo(float).tiny)

    def _calibrate(self, truth: np.ndarray, raw: np.ndarray, weights: np.ndarray | None) -> None:
        self.temperature_ = fit_temperature(self.targets_, truth, raw, weights)

    def _net_outputs(self, raw: np.ndarray) -> np.ndarray:
        return softmax(raw / self.temperature_, axis=1)

    def _readout_outputs(
        self, name: str, fitted: Any, features: np.ndarray, spread: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        found = self._run_readout(name, fitted.predict_proba, features)
        return found, np.zeros_like(found)

    def _answers(self, probabilities: np.ndarray) -> np.ndarray:
        weighted = probabilities * self.class_weights_
        return weighted / weighted.sum(axis=1, keepdims=True)

    def _error_blocks(self) -> tuple[str, ...]:
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
